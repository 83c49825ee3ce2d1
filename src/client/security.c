// SPDX-License-Identifier: Apache-2.0
// client.properties taken apart: once for our own wire client, once in librdkafka's names. Files that it names are read when it is read.
#include "client/security.h"

#include <string.h>

#include "codec/properties.h"
#include "codec/tls.h"
#include "kafka/jaas.h"

enum { FILE_MAX = 1 << 20 };

struct reading {
    struct sys *sys;
    struct client_security *out;
    struct property *all;
    size_t n;
};

static const char *get(const struct reading *r, const char *name) {
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->all[i].name, name) == 0) return r->all[i].value;
    return NULL;
}

static void rd(struct reading *r, const char *name, const char *value) {
    if (value != NULL) r->out->rd[r->out->n_rd++] = (struct client_kv){name, value};
}

static enum err_code check_names(const struct reading *r, struct err *err) {
    static const char *const known[] = {"security.protocol", "ssl.truststore.type", "ssl.truststore.location", "ssl.truststore.certificates",
        "ssl.truststore.password", "ssl.keystore.type", "ssl.keystore.location", "ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.key.password",
        "ssl.keystore.password", "ssl.endpoint.identification.algorithm", "sasl.mechanism", "sasl.jaas.config"};
    for (size_t i = 0; i < r->n; i++) {
        struct str name = str_c(r->all[i].name);
        if (!str_starts(name, STR("ssl.")) && !str_starts(name, STR("sasl.")) && !str_starts(name, STR("security."))) continue;
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof known[0] && !found; k++) found = str_eq(name, str_c(known[k]));
        if (!found) return err_set(err, ERR_CONFIG, "line %d: %s is not supported here", r->all[i].line, r->all[i].name);
    }
    return ERR_OK;
}

// ---- TLS ----------------------------------------------------------------------------------------------------------------
static enum err_code read_pem(struct reading *r, const char *key, struct str *out, struct err *err) {
    const char *path = get(r, key);
    if (path == NULL) return ERR_OK;
    size_t n = 0;
    char *p = sys_read_file(r->sys, path, FILE_MAX, &n, err);
    if (p == NULL) return err_wrap(err, "%s", key), err->code = ERR_CONFIG;
    *out = arena_str(&r->out->arena, str_n(p, n));
    mem_free(p);
    if (memmem(out->p, out->n, "-----BEGIN ", 11) != NULL) return ERR_OK;
    return err_set(err, ERR_CONFIG, "%s: %s is no PEM file, other kinds are not supported here", key, path);
}

static enum err_code check_pem_type(const struct reading *r, const char *key, struct err *err) {
    const char *type = get(r, key);
    if (type == NULL || str_ieq(str_c(type), STR("PEM"))) return ERR_OK;
    return err_set(err, ERR_CONFIG, "%s=%s is not supported here, PEM is", key, type);
}

static enum err_code read_tls(struct reading *r, struct err *err) {
    struct tls_settings t = {0};
    const char *algorithm = get(r, "ssl.endpoint.identification.algorithm"), *trusted = get(r, "ssl.truststore.certificates");
    const char *chain = get(r, "ssl.keystore.certificate.chain"), *key = get(r, "ssl.keystore.key"), *password = get(r, "ssl.key.password");
    const char *store = get(r, "ssl.keystore.location"), *trust_store = get(r, "ssl.truststore.location");
    r->out->check_host = algorithm == NULL || algorithm[0] != 0;
    if (r->out->check_host && algorithm != NULL && !str_ieq(str_c(algorithm), STR("https")))
        return err_set(err, ERR_CONFIG, "ssl.endpoint.identification.algorithm=%s: https or nothing is expected", algorithm);
    if (check_pem_type(r, "ssl.truststore.type", err) != ERR_OK || check_pem_type(r, "ssl.keystore.type", err) != ERR_OK) return err->code;
    if (store != NULL && password == NULL) password = get(r, "ssl.keystore.password");
    if (trusted != NULL) t.trusted = str_c(trusted);
    if (chain != NULL) t.chain = str_c(chain);
    if (key != NULL) t.key = str_c(key);
    if (password != NULL) t.key_password = str_c(password);
    if ((chain == NULL) != (key == NULL)) return err_set(err, ERR_CONFIG, "ssl.keystore.certificate.chain and ssl.keystore.key belong together");
    if ((trusted != NULL && trust_store != NULL) || (chain != NULL && store != NULL))
        return err_set(err, ERR_CONFIG, "a store as a file and the same as text in the configuration exclude each other");
    if (read_pem(r, "ssl.truststore.location", &t.trusted, err) != ERR_OK || read_pem(r, "ssl.keystore.location", &t.store, err) != ERR_OK) return err->code;
    r->out->tls = tls_client_context_new(&t, err);
    if (r->out->tls == NULL) return err->code;
    rd(r, "ssl.endpoint.identification.algorithm", r->out->check_host ? "https" : "none");
    rd(r, "ssl.ca.pem", trusted);
    rd(r, "ssl.ca.location", trust_store);
    rd(r, "ssl.certificate.pem", chain);
    rd(r, "ssl.key.pem", key);
    rd(r, "ssl.certificate.location", store); // one file has both
    rd(r, "ssl.key.location", store);
    rd(r, "ssl.key.password", password);
    return ERR_OK;
}

// ---- SASL ---------------------------------------------------------------------------------------------------------------
static enum err_code read_sasl(struct reading *r, struct err *err) {
    static const char *const names[] = {NULL, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};
    struct client_security *out = r->out;
    const char *mechanism = get(r, "sasl.mechanism"), *config = get(r, "sasl.jaas.config");
    if (mechanism == NULL) mechanism = "GSSAPI"; // Kafka's default
    for (int i = CLIENT_PLAIN; i <= CLIENT_SCRAM_SHA_512; i++)
        if (strcmp(mechanism, names[i]) == 0) out->mechanism = (enum client_mechanism)i, out->mechanism_name = names[i];
    if (out->mechanism == CLIENT_NO_LOGIN)
        return err_set(err, ERR_CONFIG, "sasl.mechanism=%s is not supported here; PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are", mechanism);
    if (config == NULL) return err_set(err, ERR_CONFIG, "sasl.jaas.config is missing: it has the user's name and password");
    struct jaas jaas;
    if (jaas_parse(str_c(config), &out->arena, &jaas, err) != ERR_OK) return err_wrap(err, "sasl.jaas.config");
    const char *module = out->mechanism == CLIENT_PLAIN ? "PlainLoginModule" : "ScramLoginModule";
    size_t n = strlen(module);
    if (jaas.module.n < n || memcmp(jaas.module.p + jaas.module.n - n, module, n) != 0)
        return err_set(err, ERR_CONFIG, "sasl.jaas.config: %s is for a %s", mechanism, module);
    for (size_t i = 0; i < jaas.n; i++) {
        const struct jaas_option *o = &jaas.options[i];
        if (str_eq(o->name, STR("username"))) out->user = o->value;
        else if (str_eq(o->name, STR("password"))) out->password = o->value;
        else if (str_eq(o->name, STR("tokenauth"))) out->token = str_ieq(o->value, STR("true"));
    }
    if (out->user.n == 0 || out->password.n == 0) return err_set(err, ERR_CONFIG, "sasl.jaas.config: username and password are expected");
    rd(r, "sasl.mechanism", out->mechanism_name);
    rd(r, "sasl.username", arena_strndup(&out->arena, out->user.p, out->user.n));
    rd(r, "sasl.password", arena_strndup(&out->arena, out->password.p, out->password.n));
    return ERR_OK;
}

static enum err_code read_all(struct reading *r, struct err *err) {
    static const struct {
        const char *name, *rd;
        bool tls, sasl;
    } protocols[] = {{"PLAINTEXT", "plaintext", false, false}, {"SSL", "ssl", true, false}, {"SASL_PLAINTEXT", "sasl_plaintext", false, true},
                     {"SASL_SSL", "sasl_ssl", true, true}};
    const char *protocol = get(r, "security.protocol");
    if (check_names(r, err) != ERR_OK) return err->code;
    if (protocol == NULL) protocol = "PLAINTEXT";
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++) {
        if (!str_ieq(str_c(protocol), str_c(protocols[i].name))) continue;
        rd(r, "security.protocol", protocols[i].rd);
        if (protocols[i].tls && read_tls(r, err) != ERR_OK) return err->code;
        return protocols[i].sasl ? read_sasl(r, err) : ERR_OK;
    }
    return err_set(err, ERR_CONFIG, "security.protocol=%s: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL is expected", protocol);
}

struct client_security *client_security_read(struct sys *s, const char *path, struct err *err) {
    struct client_security *c = MEM_NEW(struct client_security);
    struct reading r = {.sys = s, .out = c};
    size_t n = 0;
    arena_init(&c->arena);
    char *p = sys_read_file(s, path, PROPERTIES_TEXT_MAX, &n, err);
    bool ok = p != NULL && properties_parse(str_n(p, n), &c->arena, &r.all, &r.n, err) == ERR_OK && read_all(&r, err) == ERR_OK;
    mem_free(p);
    if (ok) return c;
    err_wrap(err, "%s", path);
    client_security_free(c);
    return NULL;
}

void client_security_free(struct client_security *c) {
    if (c == NULL) return;
    tls_context_free(c->tls);
    arena_fini(&c->arena);
    mem_free(c);
}
