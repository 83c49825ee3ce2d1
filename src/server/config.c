// SPDX-License-Identifier: Apache-2.0
// Values of the configuration: parsing by kind, the sources and their precedence. One thread, at start; errors name place and mend.
#include "server/config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "codec/json.h"
#include "codec/yaml.h"
#include "sys/sys.h"

static const struct config_key keys[CONFIG_COUNT] = {
#define CONFIG(id, key_, kind_, def, min_, max_, choices_, doc_) [CFG_##id] = {key_, def, CONFIG_##kind_, min_, max_, choices_, doc_},
#include "server/config.def"
#undef CONFIG
};

static const char *const kind_names[] = {"host:port or off", "whole number", "size", "true or false", "choice", "path", "text"};
static const char *const source_names[] = {"default", "file", "environment", "flag"};

const struct config_key *config_key(enum config_id id) { return &keys[id]; }
const char *config_kind_name(enum config_kind k) { return kind_names[k]; }
const char *config_source_name(enum config_source s) { return source_names[s]; }
const char *config_text(const struct config *c, enum config_id id) { return c->values[id].text; }
int64_t config_num(const struct config *c, enum config_id id) { return c->values[id].num; }
const char *config_place(const struct config *c, enum config_id id) { return c->values[id].place != NULL ? c->values[id].place : "default"; }
bool config_bool(const struct config *c, enum config_id id) { return c->values[id].num != 0; }

int config_find(struct str key) {
    for (int i = 0; i < CONFIG_COUNT; i++)
        if (str_eqc(key, keys[i].key)) return i;
    return -1;
}

void config_env_name(enum config_id id, char out[64]) {
    int n = snprintf(out, 64, "MILLRACE_%s", keys[id].key);
    assert(n < 64);
    for (char *p = out; *p != 0; p++) {
        if (*p == '.') *p = '_';
        if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 'a' + 'A');
    }
}

// ---- values -----------------------------------------------------------------------------------------------------------------

bool listen_parse(struct str s, char host[256], int *port) {
    size_t colon = s.n;
    while (colon > 0 && s.p[colon - 1] != ':') colon--;
    int64_t number;
    if (colon < 2 || !str_to_i64(str_n(s.p + colon, s.n - colon), &number) || number < 0 || number > 65535) return false;
    struct str h = str_n(s.p, colon - 1);
    if (h.p[0] == '[') {
        if (h.n < 3 || h.p[h.n - 1] != ']') return false;
        h = str_n(h.p + 1, h.n - 2);
    } else if (memchr(h.p, ':', h.n) != NULL) {
        return false; // an IPv6 address needs brackets
    }
    if (h.n > 255) return false;
    memcpy(host, h.p, h.n);
    host[h.n] = 0;
    *port = (int)number;
    return true;
}

static bool size_parse(struct str s, int64_t *out) {
    static const struct {
        const char *name;
        int64_t factor;
    } units[] = {{"", 1}, {"B", 1}, {"KB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000}, {"KiB", 1 << 10}, {"MiB", 1 << 20},
                 {"GiB", 1 << 30}, {"TiB", 1LL << 40}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1LL << 40}};
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9') digits++;
    struct str unit = str_trim(str_n(s.p + digits, s.n - digits));
    int64_t n;
    if (!str_to_i64(str_n(s.p, digits), &n)) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (str_ieq(unit, str_c(units[i].name))) return !__builtin_mul_overflow(n, units[i].factor, out);
    return false;
}

static bool choice_ok(const char *choices, struct str value) {
    struct str rest = str_c(choices), one;
    while (rest.n > 0) {
        str_cut(rest, '|', &one, &rest);
        if (str_eq(one, value)) return true;
    }
    return false;
}

static bool bool_parse(struct str s, int64_t *out) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (int i = 0; i < 8; i++)
        if (str_ieq(s, str_c(words[i]))) return *out = i % 2, true;
    return false;
}

static enum err_code value_parse(const struct config_key *k, struct str v, int64_t *num, const char *place, struct err *err) {
    char host[256];
    int port;
    bool ok = true;
    *num = 0;
    switch (k->kind) {
    case CONFIG_LISTEN: ok = str_eq(v, STR("off")) || listen_parse(v, host, &port); break;
    case CONFIG_INT: ok = str_to_i64(v, num); break;
    case CONFIG_SIZE: ok = size_parse(v, num); break;
    case CONFIG_BOOL: ok = bool_parse(v, num); break;
    case CONFIG_CHOICE: ok = choice_ok(k->choices, v); break;
    case CONFIG_PATH:
    case CONFIG_TEXT: ok = v.n <= 4096 && memchr(v.p, 0, v.n) == NULL; break;
    }
    int shown = (int)(v.n < 60 ? v.n : 60);
    if (!ok) {
        if (k->kind == CONFIG_CHOICE)
            return err_set(err, ERR_CONFIG, "%s: %s must be one of %s, not \"%.*s\"", place, k->key, k->choices, shown, v.p);
        return err_set(err, ERR_CONFIG, "%s: %s must be a %s, not \"%.*s\"", place, k->key, config_kind_name(k->kind), shown, v.p);
    }
    if ((k->kind == CONFIG_INT || k->kind == CONFIG_SIZE) && (*num < k->min || *num > k->max))
        return err_set(err, ERR_CONFIG, "%s: %s must be from %" PRId64 " to %" PRId64 ", not %.*s", place, k->key, k->min, k->max, shown, v.p);
    return ERR_OK;
}

// ---- unknown keys -------------------------------------------------------------------------------------------------------------

static size_t distance(struct str a, struct str b) { // Levenshtein, of at most 63 bytes each
    size_t row[64];
    if (a.n > 63 || b.n > 63) return 64;
    for (size_t j = 0; j <= b.n; j++) row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t best = diagonal + (a.p[i - 1] != b.p[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b.n];
}

// The nearest key, or NULL when none is near: half of the letters may be wrong, and a key may be cut short.
static const char *nearest_key(struct str key) {
    size_t best = key.n / 2 + 1;
    const char *name = NULL;
    for (int i = 0; i < CONFIG_COUNT; i++) {
        size_t d = key.n >= 3 && str_starts(str_c(keys[i].key), key) ? 1 : distance(key, str_c(keys[i].key));
        if (d < best) best = d, name = keys[i].key;
    }
    return name;
}

static enum err_code unknown_key(struct str key, const char *place, struct err *err) {
    const char *near = nearest_key(key);
    return err_set(err, ERR_CONFIG, "%s: unknown key %.*s; %s%s%smillrace config --describe lists all", place, (int)(key.n < 60 ? key.n : 60), key.p,
                   near == NULL ? "" : "did you mean ", near == NULL ? "" : near, near == NULL ? "" : "? ");
}

// ---- sources ----------------------------------------------------------------------------------------------------------------

void config_init(struct config *c) {
    *c = (struct config){0};
    for (int i = 0; i < CONFIG_COUNT; i++) {
        struct err err;
        enum err_code code = value_parse(&keys[i], str_c(keys[i].default_value), &c->values[i].num, "default", &err);
        assert(code == ERR_OK);
        (void)code;
        c->values[i].text = mem_strdup(keys[i].default_value);
    }
}

void config_fini(struct config *c) {
    for (int i = 0; i < CONFIG_COUNT; i++) {
        mem_free(c->values[i].text);
        mem_free(c->values[i].place);
    }
    *c = (struct config){0};
}

enum err_code config_set(struct config *c, struct str key, struct str value, enum config_source source, const char *place, struct err *err) {
    int id = config_find(key);
    if (id < 0) return unknown_key(key, place, err);
    int64_t num;
    enum err_code code = value_parse(&keys[id], value, &num, place, err);
    if (code != ERR_OK) return code;
    struct config_value *v = &c->values[id];
    if (source < v->source) return ERR_OK; // a stronger source has spoken
    mem_free(v->text);
    mem_free(v->place);
    *v = (struct config_value){.text = mem_strndup(value.p, value.n), .num = num, .source = source, .place = mem_strdup(place)};
    return ERR_OK;
}

enum err_code config_set_flag(struct config *c, const char *text, struct err *err) {
    struct str key, value;
    if (!str_cut(str_c(text), '=', &key, &value)) return err_set(err, ERR_CONFIG, "--set %.60s: write key=value", text);
    return config_set(c, str_trim(key), str_trim(value), CONFIG_FROM_FLAG, "--set", err);
}

static int find_env(struct str name) {
    for (int i = 0; i < CONFIG_COUNT; i++) {
        char env[64];
        config_env_name((enum config_id)i, env);
        if (str_eqc(name, env)) return i;
    }
    return -1;
}

enum err_code config_load_env(struct config *c, const char *const *env, struct err *err) {
    for (; *env != NULL; env++) {
        struct str name, value;
        if (!str_starts(str_c(*env), STR("MILLRACE_")) || !str_cut(str_c(*env), '=', &name, &value)) continue;
        if (str_eqc(name, "MILLRACE_DATA")) continue; // the commands' --data
        int id = find_env(name);
        char place[96];
        snprintf(place, sizeof place, "environment %.*s", (int)(name.n < 64 ? name.n : 64), name.p);
        if (id < 0) {
            log_warn("config", "environment variable is not a configuration key", "name", log_str(name), NULL);
            continue; // may be for another program: not an error
        }
        enum err_code code = config_set(c, str_c(keys[id].key), value, CONFIG_FROM_ENV, place, err);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

// One value of the tree; `key` is its dotted name.
static enum err_code load_scalar(struct config *c, const char *key, const json_t *v, const char *place, struct err *err) {
    struct buf text;
    buf_init(&text, 1 << 16);
    if (json_is_string(v)) buf_puts(&text, json_string_value(v));
    else if (!json_is_null(v)) json_write(v, JSON_COMPACT | JSON_ENCODE_ANY, &text);
    enum err_code code = config_set(c, str_c(key), str_c(buf_cstr(&text)), CONFIG_FROM_FILE, place, err);
    buf_fini(&text);
    return code;
}

static enum err_code load_tree(struct config *c, const json_t *tree, const char *prefix, const char *place, struct err *err) {
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)tree, name, value) {
        char key[256];
        int n = snprintf(key, sizeof key, "%s%s%s", prefix, *prefix == 0 ? "" : ".", name);
        if (n >= (int)sizeof key) return err_set(err, ERR_CONFIG, "%s: the key %.60s... is too long", place, key);
        enum err_code code = json_is_object(value) ? load_tree(c, value, key, place, err) : load_scalar(c, key, value, place, err);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

enum err_code config_load_tree(struct config *c, const struct json_t *tree, const char *place, struct err *err) {
    if (json_is_null(tree)) return ERR_OK; // an empty file
    if (!json_is_object(tree)) return err_set(err, ERR_CONFIG, "%s: a mapping of keys to values is expected", place);
    return load_tree(c, tree, "", place, err);
}

enum err_code config_load_file(struct config *c, struct sys *s, const char *path, struct err *err) {
    size_t n;
    char *text = sys_read_file(s, path, YAML_TEXT_MAX, &n, err);
    if (text == NULL) {
        err_wrap(err, "--config");
        return err->code = ERR_CONFIG;
    }
    json_t *tree = yaml_parse(str_n(text, n), err);
    mem_free(text);
    if (tree == NULL) {
        err_wrap(err, "%s", path);
        return err->code = ERR_CONFIG;
    }
    enum err_code code = config_load_tree(c, tree, path, err);
    json_decref(tree);
    return code;
}

void config_resolve(struct config *c, const char *dir) {
    for (int i = 0; i < CONFIG_COUNT; i++) {
        struct config_value *v = &c->values[i];
        if (keys[i].kind != CONFIG_PATH || !str_starts(str_c(v->text), STR("DIR/"))) continue;
        char *path = mem_printf("%s/%s", dir, v->text + 4);
        mem_free(v->text);
        v->text = path;
    }
}

bool config_listen(const struct config *c, enum config_id id, char host[256], int *port) {
    assert(keys[id].kind == CONFIG_LISTEN);
    return listen_parse(str_c(c->values[id].text), host, port);
}

// ---- documentation ------------------------------------------------------------------------------------------------------------

void config_put_markdown(struct buf *out) {
    buf_puts(out, "# Configuration\n\n"
                  "Generated from `src/server/config.def` by `millrace config --describe --output markdown`; do not edit.\n\n"
                  "A new data directory needs no configuration. A value comes from, strongest first:\n\n"
                  "1. `millrace server --set key=value` (may be repeated),\n"
                  "2. the environment variable of the key: `MILLRACE_` and the key in capitals with `_` for `.`,\n"
                  "3. the YAML file of `--config FILE`: nested (`kafka: {listen: ...}`) or with dotted keys (`kafka.listen: ...`),\n"
                  "4. the default.\n\n"
                  "An unknown key or a bad value stops the server with exit code 78 and a message that names the key and the place. "
                  "`millrace config` shows the values in force and where each came from. `DIR` is the data directory.\n\n"
                  "| key | kind | default | environment | meaning |\n| --- | --- | --- | --- | --- |\n");
    for (int i = 0; i < CONFIG_COUNT; i++) {
        const struct config_key *k = &keys[i];
        char env[64];
        config_env_name((enum config_id)i, env);
        buf_printf(out, "| `%s` | ", k->key);
        if (k->kind == CONFIG_CHOICE) {
            struct str rest = str_c(k->choices), one;
            for (const char *sep = ""; rest.n > 0; sep = ", ") {
                str_cut(rest, '|', &one, &rest);
                buf_printf(out, "%s`%.*s`", sep, STR_ARG(one));
            }
        } else {
            buf_puts(out, config_kind_name(k->kind));
        }
        if (k->kind == CONFIG_INT) buf_printf(out, ", %" PRId64 " to %" PRId64, k->min, k->max);
        buf_printf(out, " | %s%s%s | `%s` | %s |\n", *k->default_value == 0 ? "" : "`", k->default_value, *k->default_value == 0 ? "" : "`", env,
                   k->doc);
    }
}
