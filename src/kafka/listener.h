// SPDX-License-Identifier: Apache-2.0
// Inside kafka only: the listeners of the door and what Kafka's configs say about each of them.
//
// Made at the door's opening from kafka.listen and Kafka's own configs (listeners, advertised.listeners, listener.security.protocol.map, ssl.*,
// sasl.*, each also as listener.name.NAME.… and listener.name.NAME.MECHANISM.…); then read-only but for the TLS context and the key set of
// tokens, which a worker replaces when their files change: these are guarded by the listener's mutex.
#ifndef KAFKA_LISTENER_H
#define KAFKA_LISTENER_H

#include <stdatomic.h>

#include "codec/jwt.h"
#include "codec/tls.h"
#include "kafka/door.h"
#include "kafka/principal.h"
#include "kafka/sasl.h"

struct security;

enum { LISTENER_FILES = 6, LISTENER_MAX_REAUTH_NONE = 0 };

struct watched_file { // a file whose content is in force
    const char *path;
    uint64_t size;
    int64_t mtime_us;
    bool seen;
};

struct plain_user {
    struct str name, password;
};

struct key_set { // where a listener's key set comes from when that is no file: key_set.h
    const char *url; // NULL = a file
    kafka_fetch *fetch;
    int64_t refresh_ms, retry_ms, retry_max_ms;
    int failures; // of the last times, the worker's
    _Atomic int64_t due_us, lacked_us; // monotonic; lacked: when an unknown key last made one due, 0 = never
    const atomic_bool *stop; // the door closes
};

struct listener {
    const char *name; // in capitals as it was given, "SASL_SSL"
    const char *host, *advertised_host;
    int port, advertised_port; // port: the one taken, once it listens
    bool tls, sasl;
    enum tls_client_auth client_auth;
    struct principal_rules rules; // ssl.principal.mapping.rules
    bool mechanisms[SASL_N];
    int64_t max_reauth_ms[SASL_N]; // connections.max.reauth.ms; 0 = none
    struct plain_user *users;      // of PLAIN
    size_t n_users;
    bool unsecured_tokens; // OAUTHBEARER without signatures, for development
    struct sasl_server server;
    struct security *security;
    // what files hold
    struct sys_mutex mutex;
    struct watched_file files[LISTENER_FILES];
    size_t n_files;
    struct tls_context *context;
    struct jwks *jwks;
    const char *jwks_path; // NULL = by `keys`
    struct key_set keys;
    // of door.c
    struct kafka_door *door;
    struct sys_sock *sock;
    struct loop_watch watch;
    struct loop_timer pause;
};

struct listeners {
    struct arena arena;
    struct listener *p;
    size_t n;
    const struct broker_kv *settings;
    size_t n_settings;
    struct broker *broker; // what was set while it ran comes first
    const struct broker_kv *tried; // changes that are looked at, in front of all else; value NULL = deleted
    size_t n_tried;
    struct sys_mutex reload; // one reload at a time
    struct sys_mutex alter;  // one change of certificates at a time, from its check to its reload
    kafka_fetch *fetch; // the door's config
    atomic_bool closing; // nothing is fetched any more, and what is being fetched is given up
};

// Reads the configs and the files they name. ERR_CONFIG names the key and the mend.
enum err_code listeners_init(struct listeners *l, struct sys *s, struct broker *broker, const struct kafka_config *config, struct security *security,
                             struct err *err);
void listeners_fini(struct listeners *l);
// Reads files again that have changed (all when `force`); what cannot be read is logged and the old stays. [block] True = something is new.
bool listeners_reload(struct listeners *l, struct sys *s, bool force);
// Would the listeners that these changes name work with them? ERR_INVALID says why not. [block]
enum err_code listeners_check(struct listeners *l, struct sys *s, const struct broker_kv *changes, size_t n, struct err *err);
struct tls *listener_tls(struct listener *l); // a connection's
// "SASL_SSL"
const char *listener_protocol(const struct listener *l);
bool is_loopback(const char *host);

#endif
