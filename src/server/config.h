// SPDX-License-Identifier: Apache-2.0
// The configuration: one table of keys (config.def); values from flags, environment, a YAML file and defaults, in this order of precedence.
//
// Filled at start by one thread, then read-only for all. Strings belong to the config.
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct json_t;
struct sys;

enum config_id {
#define CONFIG(id, key, kind, def, min, max, choices, doc) CFG_##id,
#include "server/config.def"
#undef CONFIG
    CONFIG_COUNT
};

enum config_kind { CONFIG_LISTEN, CONFIG_INT, CONFIG_SIZE, CONFIG_BOOL, CONFIG_CHOICE, CONFIG_PATH, CONFIG_TEXT };
enum config_source { CONFIG_FROM_DEFAULT, CONFIG_FROM_FILE, CONFIG_FROM_ENV, CONFIG_FROM_FLAG }; // a later one wins

struct config_key {
    const char *key, *default_value;
    enum config_kind kind;
    int64_t min, max;
    const char *choices, *doc;
};

struct config_value {
    char *text;  // as given; DIR/ of a PATH resolved by config_resolve
    int64_t num; // INT, SIZE in bytes, BOOL 0 or 1
    enum config_source source;
    char *place; // where it was given, for messages: "--set", "environment NAME", a file; NULL: the default
};

struct config {
    struct config_value values[CONFIG_COUNT];
};

void config_init(struct config *c); // defaults
void config_fini(struct config *c);

// All return ERR_CONFIG naming the key, the place it was given at, what is allowed, and for an unknown key the nearest one that there is.
enum err_code config_set(struct config *c, struct str key, struct str value, enum config_source source, const char *place, struct err *err);
enum err_code config_set_flag(struct config *c, const char *key_is_value, struct err *err); // "kafka.listen=127.0.0.1:0"
enum err_code config_load_env(struct config *c, const char *const *env,
                              struct err *err); // "NAME=value" strings, NULL-ended; unknown MILLRACE_… are logged
enum err_code config_load_file(struct config *c, struct sys *s, const char *path, struct err *err); // YAML: nested or with dotted keys
enum err_code config_load_tree(struct config *c, const struct json_t *tree, const char *place, struct err *err);
void config_resolve(struct config *c, const char *dir); // puts the data directory for DIR/ in paths

const char *config_text(const struct config *c, enum config_id id);
int64_t config_num(const struct config *c, enum config_id id);
bool config_bool(const struct config *c, enum config_id id);
const char *config_place(const struct config *c, enum config_id id); // for messages
// A LISTEN value: false = off. `host` is written NUL-terminated.
bool config_listen(const struct config *c, enum config_id id, char host[256], int *port);

const struct config_key *config_key(enum config_id id);
int config_find(struct str key);                         // -1 = none
const char *config_kind_name(enum config_kind k);
const char *config_source_name(enum config_source s);
void config_env_name(enum config_id id, char out[64]);   // "MILLRACE_KAFKA_LISTEN"
void config_put_markdown(struct buf *out);               // docs/CONFIG.md
bool listen_parse(struct str s, char host[256], int *port); // "host:port", "[::1]:port"; false = not of that form

#endif
