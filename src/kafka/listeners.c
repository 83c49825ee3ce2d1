// SPDX-License-Identifier: Apache-2.0
// From Kafka's configs to listeners. A config is looked up as listener.name.NAME.MECHANISM.KEY, listener.name.NAME.KEY, KEY, in this order.
//
// Run by the thread that opens the door, and listeners_reload by a worker; the mutex of a listener guards what a reload replaces.
#include <assert.h>

#include "base/log.h"
#include "broker/dynamic.h"
#include "kafka/jaas.h"
#include "kafka/key_set.h"
#include "kafka/listener.h"
#include "kafka/security.h"

enum { LISTENERS_MAX = 32, FILE_MAX = 4 << 20, FILE_PATHS = 2 };

// ---- looking up ---------------------------------------------------------------------------------------------------------
static const char *get(const struct listeners *l, const char *name) {
    const char *now = broker_config_of_listener(l->broker, name);
    for (size_t i = 0; i < l->n_tried; i++)
        if (strcmp(l->tried[i].name, name) == 0) now = l->tried[i].value;
    if (now != NULL) return now; // empty: the listener has none, whatever holds for all
    for (size_t i = 0; i < l->n_settings; i++)
        if (strcmp(l->settings[i].name, name) == 0) return l->settings[i].value[0] == 0 ? NULL : l->settings[i].value;
    return NULL;
}

static char *lower(struct arena *a, const char *s) {
    char *p = arena_strdup(a, s);
    for (char *c = p; *c != 0; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    return p;
}

// NULL = nowhere, or empty.
static const char *get_for(struct listeners *l, const struct listener *k, int mechanism, const char *key) {
    const char *name = lower(&l->arena, k->name), *v = NULL;
    if (mechanism >= 0) {
        const char *m = lower(&l->arena, sasl_mechanism_name((enum sasl_mechanism)mechanism));
        v = get(l, arena_printf(&l->arena, "listener.name.%s.%s.%s", name, m, key));
    }
    if (v == NULL) v = get(l, arena_printf(&l->arena, "listener.name.%s.%s", name, key));
    if (v == NULL) v = get(l, key);
    return v == NULL || v[0] == 0 ? NULL : v;
}

static const char *get_own(struct listeners *l, const struct listener *k, const char *key) { // with the listener's name only
    return get(l, arena_printf(&l->arena, "listener.name.%s.%s", lower(&l->arena, k->name), key));
}

#define NUMBER_MAX (INT64_MAX / 1000000000) // for ever, and no overflow as microseconds added to a time

static enum err_code number_for(struct listeners *l, const struct listener *k, int mechanism, const char *key, int64_t *out, struct err *err) {
    const char *v = get_for(l, k, mechanism, key);
    if (v == NULL) return ERR_OK;
    if (!str_to_i64(str_c(v), out) || *out < 0) return err_set(err, ERR_CONFIG, "%s of listener %s: \"%.60s\" is not a number from 0", key, k->name, v);
    if (*out > NUMBER_MAX) *out = NUMBER_MAX;
    return ERR_OK;
}

bool is_loopback(const char *host) {
    if (strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0) return true;
    if (strncmp(host, "127.", 4) != 0) return false;
    for (const char *p = host; *p != 0; p++)
        if (*p != '.' && (*p < '0' || *p > '9')) return false; // 127.evil.example
    return true;
}

const char *listener_protocol(const struct listener *l) {
    return l->tls ? (l->sasl ? "SASL_SSL" : "SSL") : l->sasl ? "SASL_PLAINTEXT" : "PLAINTEXT";
}

// ---- files --------------------------------------------------------------------------------------------------------------
static enum err_code read_config_file(struct listener *k, struct sys *s, struct arena *a, const char *key, const char *path, struct str *out,
                                      struct err *err) {
    size_t n;
    struct sys_stat st;
    char *p = sys_stat(s, path, &st, err) == ERR_OK ? sys_read_file(s, path, FILE_MAX, &n, err) : NULL;
    if (p == NULL) return err_wrap(err, "%s of listener %s", key, k->name), err->code = ERR_CONFIG;
    *out = arena_str(a, str_n(p, n));
    mem_free(p);
    for (size_t i = 0; i < k->n_files; i++)
        if (strcmp(k->files[i].path, path) == 0) k->files[i].size = st.size, k->files[i].mtime_us = st.mtime_us, k->files[i].seen = true;
    return ERR_OK;
}

static void watch_file(struct listener *k, const char *path) {
    if (path == NULL || k->n_files == LISTENER_FILES) return;
    for (size_t i = 0; i < k->n_files; i++)
        if (strcmp(k->files[i].path, path) == 0) return;
    k->files[k->n_files++] = (struct watched_file){.path = path};
}

static struct str text_of(const char *s) { return s == NULL ? (struct str){NULL, 0} : str_c(s); }

// Java's names of protocols: "TLSv1.2,TLSv1.3".
static enum err_code versions_of(const char *list, struct tls_settings *t, const char *name, struct err *err) {
    struct str rest = str_c(list), one;
    while (rest.n > 0) {
        str_cut(rest, ',', &one, &rest);
        one = str_trim(one);
        int v = str_eq(one, STR("TLSv1.2")) ? 12 : str_eq(one, STR("TLSv1.3")) ? 13 : 0;
        if (v == 0) return err_set(err, ERR_CONFIG, "ssl.enabled.protocols of listener %s: TLSv1.2 and TLSv1.3 are there, not \"%.*s\"", name, STR_ARG(one));
        if (t->min_version == 0 || v < t->min_version) t->min_version = v;
        if (v > t->max_version) t->max_version = v;
    }
    return ERR_OK;
}

// Splits the one list of Kafka into TLS 1.3 suites and others. Java's names of TLS 1.2 suites are not OpenSSL's: those of OpenSSL are taken.
static void ciphers_of(struct listeners *l, const char *list, struct tls_settings *t) {
    struct buf suites, ciphers;
    buf_init(&suites, 1 << 16);
    buf_init(&ciphers, 1 << 16);
    struct str rest = str_c(list), one;
    while (rest.n > 0) {
        str_cut(rest, ',', &one, &rest);
        one = str_trim(one);
        bool v13 = str_starts(one, STR("TLS_AES_")) || str_starts(one, STR("TLS_CHACHA20_"));
        struct buf *b = v13 ? &suites : &ciphers;
        if (b->n > 0) buf_put_u8(b, ':');
        buf_put_str(b, one);
    }
    if (suites.n > 0) t->suites = arena_strdup(&l->arena, buf_cstr(&suites));
    if (ciphers.n > 0) t->ciphers = arena_strdup(&l->arena, buf_cstr(&ciphers));
    buf_fini(&suites);
    buf_fini(&ciphers);
}

// A context from the files as they are now.
static struct tls_context *make_context(struct listeners *l, struct listener *k, struct sys *s, struct err *err) {
    struct arena a = {0};
    struct tls_settings t = {.client_auth = k->client_auth};
    const char *store = get_for(l, k, -1, "ssl.keystore.location"), *trust = get_for(l, k, -1, "ssl.truststore.location");
    const char *key_password = get_for(l, k, -1, "ssl.key.password"), *protocols = get_for(l, k, -1, "ssl.enabled.protocols");
    const char *ciphers = get_for(l, k, -1, "ssl.cipher.suites");
    struct tls_context *c = NULL;
    t.chain = text_of(get_for(l, k, -1, "ssl.keystore.certificate.chain"));
    t.key = text_of(get_for(l, k, -1, "ssl.keystore.key"));
    t.key_password = text_of(key_password != NULL ? key_password : get_for(l, k, -1, "ssl.keystore.password"));
    t.trusted = text_of(get_for(l, k, -1, "ssl.truststore.certificates"));
    t.trusted_password = text_of(get_for(l, k, -1, "ssl.truststore.password"));
    if (ciphers != NULL) ciphers_of(l, ciphers, &t);
    if (store == NULL && (t.chain.p == NULL || t.key.p == NULL))
        err_set(err, ERR_CONFIG, "listener %s needs a certificate: set ssl.keystore.location to a PEM or PKCS #12 file with key and certificates, or "
                "ssl.keystore.certificate.chain and ssl.keystore.key to PEM texts", k->name);
    else if ((protocols == NULL || versions_of(protocols, &t, k->name, err) == ERR_OK) &&
             (store == NULL || read_config_file(k, s, &a, "ssl.keystore.location", store, &t.store, err) == ERR_OK) &&
             (trust == NULL || read_config_file(k, s, &a, "ssl.truststore.location", trust, &t.trusted, err) == ERR_OK)) {
        c = tls_context_new(&t, err);
        if (c == NULL) err_wrap(err, "listener %s", k->name);
    }
    arena_fini(&a);
    return c;
}

static struct jwks *make_jwks(struct listener *k, struct sys *s, struct err *err) {
    struct arena a = {0};
    struct str text;
    struct jwks *j = NULL;
    if (read_config_file(k, s, &a, "sasl.oauthbearer.jwks.endpoint.url", k->jwks_path, &text, err) == ERR_OK) j = jwks_parse(text, err);
    if (j != NULL && jwks_count(j) == 0) {
        jwks_free(j);
        j = NULL;
        err_set(err, ERR_CONFIG, "%s has no RSA or EC key in it", k->jwks_path);
    }
    arena_fini(&a);
    return j;
}

static bool files_changed(struct listener *k, struct sys *s) {
    bool changed = false;
    for (size_t i = 0; i < k->n_files; i++) {
        struct sys_stat st;
        if (sys_stat(s, k->files[i].path, &st, NULL) != ERR_OK) continue; // it is being replaced, or gone: the old stays
        changed |= !k->files[i].seen || st.size != k->files[i].size || st.mtime_us != k->files[i].mtime_us;
    }
    return changed;
}

// The same listeners with memory of their own for what is looked up: a reload leaves nothing behind.
static struct listeners view_of(const struct listeners *l) {
    struct listeners v = {.settings = l->settings, .n_settings = l->n_settings, .broker = l->broker};
    arena_init(&v.arena);
    return v;
}

static void watch_files(struct listeners *l, struct listener *k) {
    k->n_files = 0;
    if (k->tls) {
        watch_file(k, get_for(l, k, -1, "ssl.keystore.location"));
        watch_file(k, get_for(l, k, -1, "ssl.truststore.location"));
    }
    watch_file(k, k->jwks_path);
}

static bool is_named(struct listeners *l, const struct listener *k, const struct broker_kv *changes, size_t n) {
    struct str prefix = str_c(arena_printf(&l->arena, "listener.name.%s.", lower(&l->arena, k->name)));
    for (size_t i = 0; i < n; i++)
        if (str_starts(str_c(changes[i].name), prefix)) return true;
    return false;
}

enum err_code listeners_check(struct listeners *l, struct sys *s, const struct broker_kv *changes, size_t n, struct err *err) {
    struct listeners v = view_of(l);
    enum err_code code = ERR_OK;
    v.tried = changes;
    v.n_tried = n;
    for (size_t i = 0; i < l->n && code == ERR_OK; i++) {
        const struct listener *k = &l->p[i];
        struct listener probe = {.name = k->name, .tls = k->tls, .client_auth = k->client_auth}; // what never changes
        if (!probe.tls || !is_named(&v, k, changes, n)) continue;
        struct tls_context *c = make_context(&v, &probe, s, err);
        if (c == NULL) code = err->code = ERR_INVALID;
        tls_context_free(c);
    }
    arena_fini(&v.arena);
    return code;
}

static bool reload(struct listeners *l, struct sys *s, bool force) {
    bool any = false;
    for (size_t i = 0; i < l->n; i++) {
        struct listener *k = &l->p[i];
        if (!force && !files_changed(k, s)) continue;
        if (!k->tls && k->jwks_path == NULL) continue;
        struct err err = {0};
        watch_files(l, k);
        struct tls_context *context = k->tls ? make_context(l, k, s, &err) : NULL;
        struct jwks *jwks = k->jwks_path != NULL && err.code == ERR_OK ? make_jwks(k, s, &err) : NULL;
        if (err.code != ERR_OK) {
            log_error("kafka", "files of a listener cannot be used, the old ones stay in force", "listener", k->name, "error", err.msg, NULL);
            tls_context_free(context);
            continue;
        }
        sys_mutex_lock(&k->mutex);
        struct tls_context *old = k->context;
        struct jwks *old_keys = k->jwks;
        k->context = context;
        if (jwks != NULL) k->jwks = jwks;
        sys_mutex_unlock(&k->mutex);
        tls_context_free(old);
        if (jwks != NULL) jwks_free(old_keys);
        log_info("kafka", "files of a listener read again", "listener", k->name, NULL);
        any = true;
    }
    return any;
}

bool listeners_reload(struct listeners *l, struct sys *s, bool force) {
    struct listeners v = view_of(l);
    v.p = l->p;
    v.n = l->n;
    sys_mutex_lock(&l->reload);
    bool any = reload(&v, s, force);
    sys_mutex_unlock(&l->reload);
    arena_fini(&v.arena);
    return any;
}

struct tls *listener_tls(struct listener *k) {
    sys_mutex_lock(&k->mutex);
    struct tls *t = tls_new(k->context);
    sys_mutex_unlock(&k->mutex);
    return t;
}

// ---- TLS and SASL of one listener ---------------------------------------------------------------------------------------
static enum err_code init_tls(struct listeners *l, struct listener *k, struct sys *s, struct err *err) {
    // Kafka heeds the general key on SSL listeners only: with SASL_SSL it must be the listener's own.
    const char *auth = k->sasl ? get_own(l, k, "ssl.client.auth") : get_for(l, k, -1, "ssl.client.auth");
    const char *rules = get_for(l, k, -1, "ssl.principal.mapping.rules");
    if (auth == NULL || strcmp(auth, "none") == 0) k->client_auth = TLS_CLIENT_NONE;
    else if (strcmp(auth, "requested") == 0) k->client_auth = TLS_CLIENT_REQUESTED;
    else if (strcmp(auth, "required") == 0) k->client_auth = TLS_CLIENT_REQUIRED;
    else return err_set(err, ERR_CONFIG, "ssl.client.auth of listener %s: none, requested or required, not \"%.60s\"", k->name, auth);
    if (rules != NULL && principal_rules_parse(str_c(rules), &l->arena, &k->rules, err) != ERR_OK)
        return err_wrap(err, "ssl.principal.mapping.rules");
    watch_files(l, k);
    k->context = make_context(l, k, s, err);
    return k->context == NULL ? err->code : ERR_OK;
}

static enum err_code init_plain(struct listeners *l, struct listener *k, struct err *err) {
    struct jaas j;
    const char *text = get_for(l, k, SASL_PLAIN, "sasl.jaas.config");
    if (text == NULL)
        return err_set(err, ERR_CONFIG, "PLAIN on listener %s has no users: set listener.name.%s.plain.sasl.jaas.config to "
                       "org.apache.kafka.common.security.plain.PlainLoginModule required user_NAME=\"PASSWORD\";", k->name, lower(&l->arena, k->name));
    if (jaas_parse(str_c(text), &l->arena, &j, err) != ERR_OK) return err_wrap(err, "sasl.jaas.config of PLAIN on listener %s", k->name);
    k->users = ARENA_ARRAY(&l->arena, struct plain_user, j.n + 1);
    for (size_t i = 0; i < j.n; i++)
        if (str_starts(j.options[i].name, STR("user_")) && j.options[i].name.n > 5 && j.options[i].value.n > 0)
            k->users[k->n_users++] = (struct plain_user){str_n(j.options[i].name.p + 5, j.options[i].name.n - 5), j.options[i].value};
    if (k->n_users == 0) return err_set(err, ERR_CONFIG, "sasl.jaas.config of PLAIN on listener %s names no user: user_NAME=\"PASSWORD\"", k->name);
    return ERR_OK;
}

static enum err_code init_oauth(struct listeners *l, struct listener *k, struct sys *s, struct err *err) {
    struct sasl_oauth *o = &k->server.oauth;
    const char *url = get_for(l, k, SASL_OAUTHBEARER, "sasl.oauthbearer.jwks.endpoint.url");
    const char *handler = get_for(l, k, SASL_OAUTHBEARER, "sasl.server.callback.handler.class");
    const char *sub = get_for(l, k, SASL_OAUTHBEARER, "sasl.oauthbearer.sub.claim.name");
    const char *scope = get_for(l, k, SASL_OAUTHBEARER, "sasl.oauthbearer.scope.claim.name");
    o->sub_claim = sub == NULL ? "sub" : sub;
    o->scope_claim = scope == NULL ? "scope" : scope;
    o->issuer = get_for(l, k, SASL_OAUTHBEARER, "sasl.oauthbearer.expected.issuer");
    o->audiences = get_for(l, k, SASL_OAUTHBEARER, "sasl.oauthbearer.expected.audience");
    o->skew_s = 30;
    if (number_for(l, k, SASL_OAUTHBEARER, "sasl.oauthbearer.clock.skew.seconds", &o->skew_s, err) != ERR_OK) return err->code;
    k->unsecured_tokens = url == NULL && handler != NULL && str_ends(str_c(handler), STR("OAuthBearerUnsecuredValidatorCallbackHandler"));
    if (k->unsecured_tokens) {
        log_warn("kafka", "OAUTHBEARER accepts tokens without signatures: for development only", "listener", k->name, NULL);
        return ERR_OK;
    }
    if (url != NULL && (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0)) {
        const char *host = strstr(url, "://") + 3;
        if (memchr(host, '@', strcspn(host, "/?#")) != NULL)
            return err_set(err, ERR_CONFIG, "sasl.oauthbearer.jwks.endpoint.url of listener %s must not hold a password: addresses are logged", k->name);
        k->keys.url = url;
        k->keys.fetch = l->fetch;
        k->keys.stop = &l->closing;
        k->keys.refresh_ms = 3600000;
        k->keys.retry_ms = 100;
        k->keys.retry_max_ms = 10000;
        if (number_for(l, k, SASL_OAUTHBEARER, "sasl.oauthbearer.jwks.endpoint.refresh.ms", &k->keys.refresh_ms, err) != ERR_OK ||
            number_for(l, k, SASL_OAUTHBEARER, "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", &k->keys.retry_ms, err) != ERR_OK ||
            number_for(l, k, SASL_OAUTHBEARER, "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", &k->keys.retry_max_ms, err) != ERR_OK)
            return err->code;
        if (k->keys.refresh_ms < 1) return err_set(err, ERR_CONFIG, "sasl.oauthbearer.jwks.endpoint.refresh.ms of listener %s must be at least 1", k->name);
        return key_set_open(k, s, err);
    }
    if (url == NULL || strncmp(url, "file:", 5) != 0)
        return err_set(err, ERR_CONFIG, "OAUTHBEARER on listener %s: sasl.oauthbearer.jwks.endpoint.url must name a key set: file:///etc/keys.json, "
                       "https://… or http://…", k->name);
    const char *path = url + 5;
    while (path[0] == '/' && path[1] == '/') path++; // file:///x, file:/x
    k->jwks_path = path;
    watch_file(k, path);
    k->jwks = make_jwks(k, s, err);
    return k->jwks == NULL ? (err->code = ERR_CONFIG) : ERR_OK;
}

static enum err_code init_sasl(struct listeners *l, struct listener *k, struct sys *s, struct err *err) {
    const char *list = get_for(l, k, -1, "sasl.enabled.mechanisms");
    if (list == NULL)
        return err_set(err, ERR_CONFIG, "listener %s needs sasl.enabled.mechanisms: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER (Kafka's default, "
                       "GSSAPI, is not there)", k->name);
    struct str rest = str_c(list), one;
    bool any = false;
    while (rest.n > 0) {
        str_cut(rest, ',', &one, &rest);
        one = str_trim(one);
        if (one.n == 0) continue;
        int m = sasl_mechanism_of(one);
        if (m < 0)
            return err_set(err, ERR_CONFIG, "sasl.enabled.mechanisms of listener %s: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are there, not "
                           "\"%.*s\"", k->name, STR_ARG(one));
        k->mechanisms[m] = any = true;
        if (number_for(l, k, m, "connections.max.reauth.ms", &k->max_reauth_ms[m], err) != ERR_OK) return err->code;
    }
    if (!any) return err_set(err, ERR_CONFIG, "sasl.enabled.mechanisms of listener %s is empty", k->name);
    if (k->mechanisms[SASL_PLAIN] && init_plain(l, k, err) != ERR_OK) return err->code;
    if (k->mechanisms[SASL_OAUTHBEARER] && init_oauth(l, k, s, err) != ERR_OK) return err->code;
    return ERR_OK;
}

// ---- the list -----------------------------------------------------------------------------------------------------------
static bool upper_is(struct str s, const char *name) { return str_ieq(s, str_c(name)); }

static enum err_code protocol_of(struct listeners *l, struct listener *k, struct err *err) {
    const char *map = get(l, "listener.security.protocol.map");
    struct str protocol = str_c(k->name), rest = str_c(map == NULL ? "" : map), one, name, value;
    while (rest.n > 0) {
        str_cut(rest, ',', &one, &rest);
        if (!str_cut(one, ':', &name, &value))
            return err_set(err, ERR_CONFIG, "listener.security.protocol.map is a list of NAME:PROTOCOL, not \"%.*s\"", STR_ARG(one));
        if (upper_is(str_trim(name), k->name)) protocol = str_trim(value);
    }
    k->tls = str_ieq(protocol, STR("SSL")) || str_ieq(protocol, STR("SASL_SSL"));
    k->sasl = str_ieq(protocol, STR("SASL_PLAINTEXT")) || str_ieq(protocol, STR("SASL_SSL"));
    if (k->tls || k->sasl || str_ieq(protocol, STR("PLAINTEXT"))) return ERR_OK;
    return err_set(err, ERR_CONFIG, "listener %s has no protocol: add %s:PROTOCOL to listener.security.protocol.map, with PLAINTEXT, SSL, SASL_PLAINTEXT or "
                   "SASL_SSL", k->name, k->name);
}

// "NAME://host:port"; an empty host is all addresses.
static bool cut_endpoint(struct listeners *l, struct str one, const char **name, const char **host, int *port) {
    struct str rest;
    if (!str_cut(one, ':', &rest, &one) || rest.n == 0 || rest.n > 100 || !str_starts(one, STR("//"))) return false;
    *name = arena_strndup(&l->arena, rest.p, rest.n);
    struct str at = str_n(one.p + 2, one.n - 2);
    size_t colon = at.n;
    while (colon > 0 && at.p[colon - 1] != ':') colon--;
    int64_t number;
    if (colon == 0 || !str_to_i64(str_n(at.p + colon, at.n - colon), &number) || number < 0 || number > 65535) return false;
    struct str h = str_n(at.p, colon - 1);
    if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']') h = str_n(h.p + 1, h.n - 2);
    *host = arena_strndup(&l->arena, h.p, h.n);
    *port = (int)number;
    return true;
}

static struct listener *find_listener(struct listeners *l, const char *name) {
    for (size_t i = 0; i < l->n; i++)
        if (str_ieq(str_c(l->p[i].name), str_c(name))) return &l->p[i];
    return NULL;
}

static enum err_code parse_listeners(struct listeners *l, struct err *err) {
    const char *text = get(l, "listeners");
    struct str rest = str_c(text == NULL ? "" : text), one;
    while (rest.n > 0) {
        struct listener k = {0};
        str_cut(rest, ',', &one, &rest);
        one = str_trim(one);
        if (!cut_endpoint(l, one, &k.name, &k.host, &k.port))
            return err_set(err, ERR_CONFIG, "listeners is a list of NAME://host:port, not \"%.*s\"", STR_ARG(one));
        if (str_ieq(str_c(k.name), STR("CONTROLLER"))) continue; // there is no controller to talk to
        if (find_listener(l, k.name) != NULL)
            return err_set(err, ERR_CONFIG, "two listeners are named %s (kafka.listen is the listener PLAINTEXT): give one another name, or set "
                           "kafka.listen=off", k.name);
        if (l->n == LISTENERS_MAX) return err_set(err, ERR_CONFIG, "more than %d listeners", LISTENERS_MAX);
        if (k.host[0] == 0) k.host = "0.0.0.0";
        l->p[l->n++] = k;
    }
    text = get(l, "advertised.listeners");
    rest = str_c(text == NULL ? "" : text);
    while (rest.n > 0) {
        const char *name, *host;
        int port;
        str_cut(rest, ',', &one, &rest);
        if (!cut_endpoint(l, str_trim(one), &name, &host, &port) || host[0] == 0)
            return err_set(err, ERR_CONFIG, "advertised.listeners is a list of NAME://host:port, not \"%.*s\"", STR_ARG(one));
        struct listener *k = find_listener(l, name);
        if (k == NULL) return err_set(err, ERR_CONFIG, "advertised.listeners names %s, which listeners does not", name);
        k->advertised_host = host;
        k->advertised_port = port;
    }
    return ERR_OK;
}

static enum err_code check_open(const struct listener *k, bool allowed, struct err *err) {
    bool known = k->sasl || (k->tls && k->client_auth == TLS_CLIENT_REQUIRED);
    if (known || allowed || is_loopback(k->host)) return ERR_OK;
    return err_set(err, ERR_CONFIG, "listener %s at %s is open to everybody who can reach it: listen at 127.0.0.1, or ask for authentication (SASL, or "
                   "ssl.client.auth=required; docs/SECURITY.md), or set kafka.allow_anonymous=true when the network itself keeps others out",
                   k->name, k->host);
}

static enum err_code check_advertised(struct listener *k, struct err *err) {
    if (k->advertised_host == NULL) k->advertised_host = k->host;
    if (strcmp(k->advertised_host, "0.0.0.0") != 0 && strcmp(k->advertised_host, "::") != 0) return ERR_OK;
    return err_set(err, ERR_CONFIG, "clients cannot be told to connect to %s: set %s to a host:port that they reach", k->advertised_host,
                   strcmp(k->name, "PLAINTEXT") == 0 ? "kafka.advertised (or advertised.listeners)" : "advertised.listeners");
}

enum err_code listeners_init(struct listeners *l, struct sys *s, struct broker *broker, const struct kafka_config *config, struct security *security,
                             struct err *err) {
    *l = (struct listeners){.settings = config->settings, .n_settings = config->n_settings, .broker = broker};
    arena_init(&l->arena);
    sys_mutex_init(&l->reload);
    sys_mutex_init(&l->alter);
    l->p = ARENA_ARRAY(&l->arena, struct listener, LISTENERS_MAX);
    if (config->host != NULL)
        l->p[l->n++] = (struct listener){.name = "PLAINTEXT",
                                         .host = arena_strdup(&l->arena, config->host),
                                         .port = config->port,
                                         .advertised_host = config->advertised_host == NULL ? NULL : arena_strdup(&l->arena, config->advertised_host),
                                         .advertised_port = config->advertised_port};
    l->fetch = config->fetch;
    enum err_code code = parse_listeners(l, err);
    if (code == ERR_OK && l->n == 0) code = err_set(err, ERR_CONFIG, "there is no listener: set kafka.listen, or listeners in broker.properties");
    for (size_t i = 0; i < l->n; i++) sys_mutex_init(&l->p[i].mutex);
    for (size_t i = 0; i < l->n && code == ERR_OK; i++) {
        struct listener *k = &l->p[i];
        k->security = security;
        security_sasl_server(k);
        if (i > 0 || config->host == NULL) code = protocol_of(l, k, err);
        if (code == ERR_OK && k->tls) code = init_tls(l, k, s, err);
        if (code == ERR_OK && k->sasl) code = init_sasl(l, k, s, err);
        if (code == ERR_OK) code = check_open(k, config->allow_anonymous, err);
        if (code == ERR_OK) code = check_advertised(k, err);
    }
    if (code != ERR_OK) listeners_fini(l);
    return code;
}

void listeners_fini(struct listeners *l) {
    for (size_t i = 0; i < l->n; i++) {
        struct listener *k = &l->p[i];
        principal_rules_fini(&k->rules);
        tls_context_free(k->context);
        jwks_free(k->jwks);
        sys_mutex_fini(&k->mutex);
    }
    l->n = 0;
    sys_mutex_fini(&l->reload);
    sys_mutex_fini(&l->alter);
    arena_fini(&l->arena);
}
