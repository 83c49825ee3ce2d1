// SPDX-License-Identifier: Apache-2.0
// See security.h.
#include "kafka/security.h"

#include <assert.h>

#include "base/log.h"
#include "codec/digest.h"
#include "kafka/key_set.h"
#include "kafka/tokens.h"

static const char *setting(const struct kafka_config *c, const char *name) {
    for (size_t i = 0; i < c->n_settings; i++)
        if (strcmp(c->settings[i].name, name) == 0 && c->settings[i].value[0] != 0) return c->settings[i].value;
    return NULL;
}

// "User:a;User:b"
static enum err_code read_super_users(struct security *s, const char *text, struct err *err) {
    struct str rest = str_c(text), one;
    size_t max = 1;
    for (const char *p = text; *p != 0; p++) max += *p == ';';
    s->super_users = ARENA_ARRAY(&s->arena, struct str, max);
    while (rest.n > 0) {
        str_cut(rest, ';', &one, &rest);
        one = str_trim(one);
        if (one.n == 0) continue;
        if (!str_starts(one, STR("User:")) || one.n == 5)
            return err_set(err, ERR_CONFIG, "super.users is a list of User:NAME with semicolons between, not \"%.*s\"", STR_ARG(one));
        s->super_users[s->n_super_users++] = arena_str(&s->arena, one);
    }
    return ERR_OK;
}

static enum err_code number(const struct kafka_config *c, const char *name, int64_t min, int64_t max, int64_t *out, struct err *err) {
    const char *v = setting(c, name);
    if (v == NULL || (str_to_i64(str_c(v), out) && *out >= min && *out <= max)) return ERR_OK;
    return err_set(err, ERR_CONFIG, "%s must be from %lld to %lld, not \"%.60s\"", name, (long long)min, (long long)max, v);
}

// Names that mean something here; others of the same families are refused, so that a slip of the pen does not leave a door open.
static bool known_setting(struct str name) {
    static const char *const names[] = {
        "listeners", "advertised.listeners", "listener.security.protocol.map", "inter.broker.listener.name", "security.inter.broker.protocol",
        "sasl.mechanism.inter.broker.protocol", "sasl.mechanism.controller.protocol", "authorizer.class.name", "super.users",
        "allow.everyone.if.no.acl.found", "connection.failed.authentication.delay.ms", "connections.max.reauth.ms", "early.start.listeners",
        "ssl.keystore.location", "ssl.keystore.type", "ssl.keystore.password", "ssl.key.password", "ssl.keystore.certificate.chain",
        "ssl.keystore.key", "ssl.truststore.location", "ssl.truststore.type", "ssl.truststore.password", "ssl.truststore.certificates",
        "ssl.client.auth", "ssl.enabled.protocols", "ssl.protocol", "ssl.cipher.suites", "ssl.principal.mapping.rules",
        "ssl.endpoint.identification.algorithm", "ssl.provider", "ssl.keymanager.algorithm", "ssl.trustmanager.algorithm",
        "ssl.secure.random.implementation", "ssl.allow.dn.changes", "ssl.allow.san.changes", "sasl.enabled.mechanisms", "sasl.jaas.config",
        "sasl.server.callback.handler.class", "sasl.login.callback.handler.class", "sasl.server.max.receive.size",
        "sasl.oauthbearer.jwks.endpoint.url", "sasl.oauthbearer.expected.audience", "sasl.oauthbearer.expected.issuer",
        "sasl.oauthbearer.scope.claim.name", "sasl.oauthbearer.sub.claim.name", "sasl.oauthbearer.clock.skew.seconds",
        "sasl.oauthbearer.jwks.endpoint.refresh.ms", "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
        "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", "delegation.token.secret.key", "delegation.token.max.lifetime.ms",
        "delegation.token.expiry.time.ms", "delegation.token.expiry.check.interval.ms", "principal.builder.class",
    };
    if (str_starts(name, STR("listener.name."))) { // then NAME, maybe MECHANISM, then a name of the list
        struct str rest = str_n(name.p + 14, name.n - 14), head;
        if (!str_cut(rest, '.', &head, &rest)) return false;
        if (known_setting(rest)) return true;
        for (int m = 0; m < SASL_N; m++) {
            struct str mechanism = str_c(sasl_mechanism_name((enum sasl_mechanism)m));
            if (rest.n > mechanism.n && str_ieq(str_n(rest.p, mechanism.n), mechanism) && rest.p[mechanism.n] == '.')
                return known_setting(str_n(rest.p + mechanism.n + 1, rest.n - mechanism.n - 1));
        }
        return false;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eqc(name, names[i])) return true;
    return false;
}

static enum err_code read_authorizer(struct security *s, const struct kafka_config *config, struct err *err) {
    const char *class = setting(config, "authorizer.class.name"), *everyone = setting(config, "allow.everyone.if.no.acl.found");
    const char *super = setting(config, "super.users");
    if (class != NULL && !str_ends(str_c(class), STR("StandardAuthorizer")) && !str_ends(str_c(class), STR("AclAuthorizer")))
        return err_set(err, ERR_CONFIG, "authorizer.class.name: org.apache.kafka.metadata.authorizer.StandardAuthorizer is there, not \"%.100s\"", class);
    s->authorizer = class != NULL;
    if (everyone != NULL && !str_ieq(str_c(everyone), STR("true")) && !str_ieq(str_c(everyone), STR("false")))
        return err_set(err, ERR_CONFIG, "allow.everyone.if.no.acl.found is true or false, not \"%.60s\"", everyone);
    s->allow_if_no_acl = everyone != NULL && str_ieq(str_c(everyone), STR("true"));
    if (!s->authorizer && (super != NULL || everyone != NULL))
        return err_set(err, ERR_CONFIG, "super.users and allow.everyone.if.no.acl.found mean nothing without an authorizer: set authorizer.class.name to "
                       "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
    return super == NULL ? ERR_OK : read_super_users(s, super, err);
}

static void load_acl(void *arg, struct str key, struct str value) {
    struct security *s = arg;
    struct acl a;
    (void)value;
    if (acl_from_key(key, &a)) acl_set_add(&s->acls, &a);
    else log_error("kafka", "a stored ACL cannot be read", NULL);
}

enum err_code security_init(struct security *s, struct sys *sys, struct store *store, const struct kafka_config *config, struct err *err) {
    int64_t receive_max = 524288, delay = 100;
    *s = (struct security){.sys = sys, .store = store};
    arena_init(&s->arena);
    acl_set_init(&s->acls);
    sys_mutex_init(&s->mutex);
    sys_mutex_init(&s->change);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < config->n_settings && code == ERR_OK; i++)
        if (!known_setting(str_c(config->settings[i].name)))
            code = err_set(err, ERR_CONFIG, "%.200s: no such config of listeners, TLS, SASL or authorization", config->settings[i].name);
    if (code == ERR_OK) code = read_authorizer(s, config, err);
    if (code == ERR_OK) code = number(config, "connection.failed.authentication.delay.ms", 0, 60000, &delay, err);
    if (code == ERR_OK) code = number(config, "sasl.server.max.receive.size", 1024, 100 << 20, &receive_max, err);
    s->token_secret = setting(config, "delegation.token.secret.key");
    s->token_max_ms = (int64_t)7 * 86400000;
    s->token_expiry_ms = 86400000;
    if (code == ERR_OK) code = number(config, "delegation.token.max.lifetime.ms", 1, INT64_C(1) << 50, &s->token_max_ms, err);
    if (code == ERR_OK) code = number(config, "delegation.token.expiry.time.ms", 1, INT64_C(1) << 50, &s->token_expiry_ms, err);
    s->failed_delay_ms = delay;
    s->sasl_receive_max = (size_t)receive_max;
    if (code == ERR_OK && s->authorizer && store != NULL) store_each(store, STORE_ACL, load_acl, s);
    if (code != ERR_OK) security_fini(s);
    return code;
}

void security_fini(struct security *s) {
    acl_set_fini(&s->acls);
    sys_mutex_fini(&s->mutex);
    sys_mutex_fini(&s->change);
    arena_fini(&s->arena);
}

// ---- authorization ------------------------------------------------------------------------------------------------------
static bool is_super(const struct security *s, struct str principal) {
    for (size_t i = 0; i < s->n_super_users; i++)
        if (str_eq(s->super_users[i], principal)) return true;
    return false;
}

bool security_may(struct security *s, struct str principal, struct str host, enum acl_operation op, enum acl_resource type, struct str name) {
    if (is_super(s, principal)) return true;
    sys_mutex_lock(&s->mutex);
    enum acl_verdict v = acl_set_check(&s->acls, principal, host, op, type, name);
    sys_mutex_unlock(&s->mutex);
    return v == ACL_ALLOWED || (v == ACL_NO_RULES && s->allow_if_no_acl);
}

bool security_may_any(struct security *s, struct str principal, struct str host, enum acl_operation op, enum acl_resource type) {
    if (is_super(s, principal)) return true;
    sys_mutex_lock(&s->mutex);
    bool ok = acl_set_check_any(&s->acls, principal, host, op, type);
    if (!ok && s->allow_if_no_acl) ok = acl_set_check(&s->acls, principal, host, op, type, STR("hardcode")) != ACL_DENIED; // as Kafka's interface does
    sys_mutex_unlock(&s->mutex);
    return ok;
}

// ---- what SASL asks -----------------------------------------------------------------------------------------------------
static bool plain_ok(void *arg, struct str user, struct str password) {
    const struct listener *k = arg;
    const struct plain_user *found = NULL;
    for (size_t i = 0; i < k->n_users; i++)
        if (str_eq(k->users[i].name, user)) found = &k->users[i];
    uint8_t given[32], wanted[32]; // compared as digests: neither the length nor the place of a difference shows
    digest_sha256(password, given);
    digest_sha256(found == NULL ? STR("") : found->password, wanted);
    return digest_equal(given, wanted, sizeof given) && found != NULL;
}

static json_t *jwt_claims(void *arg, struct str token, struct err *err) {
    struct listener *k = arg;
    if (k->unsecured_tokens) return jwt_claims_unchecked(token, err);
    sys_mutex_lock(&k->mutex); // a reload waits, for the time of a signature's check
    json_t *claims = jwt_verify(k->jwks, token, err);
    sys_mutex_unlock(&k->mutex);
    if (claims == NULL && err->code == ERR_NOT_FOUND) key_set_lacks(k, k->security->sys);
    return claims;
}

static bool scram_find(void *arg, struct str user, enum scram_hash h, bool token, struct arena *a, struct scram_credential *out, struct str *owner,
                       int64_t *expires_ms) {
    struct listener *k = arg;
    if (!token) return scram_user_find(k->security, user, h, a, out);
    struct token t;
    if (!token_find(k->security, user, k->server.now_ms(k), a, &t)) return false;
    *out = t.keys[h == SCRAM_SHA_256 ? 0 : 1];
    *owner = str_n(t.owner.p + 5, t.owner.n - 5); // "User:"
    *expires_ms = t.expires_ms;
    return str_starts(t.owner, STR("User:"));
}

static void random_bytes(void *arg, void *p, size_t n) { sys_random(((struct listener *)arg)->security->sys, p, n); }
static int64_t now_ms(void *arg) { return sys_now_us(((struct listener *)arg)->security->sys) / 1000; }

void security_sasl_server(struct listener *k) {
    k->server.arg = k;
    k->server.plain_ok = plain_ok;
    k->server.scram_find = scram_find;
    k->server.jwt_claims = jwt_claims;
    k->server.random = random_bytes;
    k->server.now_ms = now_ms;
}
