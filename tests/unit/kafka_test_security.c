// SPDX-License-Identifier: Apache-2.0
// The parts of the door's security that need no door: SCRAM against the vectors of its RFCs, SASL's state machines, principal mapping rules, JAAS texts,
// ACLs against a model that looks at every rule, and that each API has a rule of authorization.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "codec/digest.h"
#include "kafka/gate.h"
#include "kafka/jaas.h"
#include "kafka/listener.h"
#include "kafka/principal.h"
#include "kafka/sasl.h"

// ---- SCRAM ----------------------------------------------------------------------------------------------------------------
static struct str from64(const char *text, struct arena *a) {
    struct buf b;
    buf_init(&b, 1 << 12);
    assert_int_equal(base64_decode(str_c(text), &b, NULL), ERR_OK);
    struct str s = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return s;
}

static void test_scram_vector(void **state) { // RFC 7677, section 3: user "user", password "pencil"
    (void)state;
    struct arena a = {0};
    struct scram_credential c;
    struct scram_first first;
    struct scram_final final;
    struct str answer, nonce = STR("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    scram_credential_from_password(SCRAM_SHA_256, from64("W22ZaJ0SNY7soEsUEjb6gQ==", &a), 4096, STR("pencil"), &c);
    assert_true(scram_parse_first(STR("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), &a, &first));
    assert_true(str_eqc(first.user, "user"));
    assert_true(str_eqc(first.gs2_header, "n,,"));
    struct str server_first = scram_server_first(&first, nonce, &c, &a);
    assert_true(str_eqc(server_first, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
    assert_true(scram_parse_final(STR("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), &a, &final));
    assert_true(scram_check(&first, server_first, nonce, &final, &c, &a, &answer));
    assert_true(str_eqc(answer, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    ((char *)final.proof.p)[3] ^= 1; // wrong by one bit
    assert_false(scram_check(&first, server_first, nonce, &final, &c, &a, &answer));
    arena_fini(&a);
}

static void test_scram_messages(void **state) {
    (void)state;
    static const char *const bad_first[] = {
        "", "n", "n,", "n,,", "p=tls-unique,,n=u,r=x", "n,,n=,r=x", "n,,r=x", "n,,n=u", "n,,n=u,r=", "n,,n=u=2,r=x", "n,,n=u=2D,r=x", "n,,m=ext,n=u,r=x",
        "x,,n=u,r=x", "n,u,n=u,r=x", "n,,n=u,r=a b", "n,,n=u,r=x,junk",
    };
    struct arena a = {0};
    struct scram_first f;
    for (size_t i = 0; i < sizeof bad_first / sizeof *bad_first; i++)
        if (scram_parse_first(str_c(bad_first[i]), &a, &f)) fail_msg("taken: %s", bad_first[i]);
    assert_true(scram_parse_first(STR("y,a=al=2Ci=3Dce,n=al=2Ci=3Dce,r=x,tokenauth=true"), &a, &f));
    assert_true(str_eqc(f.user, "al,i=ce"));
    assert_true(str_eqc(f.authzid, "al,i=ce"));
    assert_true(f.token_auth);
    static const char *const bad_final[] = {"", "c=biws", "c=biws,r=x", "r=x,p=AA==", "c=biws,r=x,p=AA==,x=y", "c=*,r=x,p=AA==", "c=biws,r=x,p=*"};
    struct scram_final l;
    for (size_t i = 0; i < sizeof bad_final / sizeof *bad_final; i++)
        if (scram_parse_final(str_c(bad_final[i]), &a, &l)) fail_msg("taken: %s", bad_final[i]);
    arena_fini(&a);
}

// ---- SASL -----------------------------------------------------------------------------------------------------------------
static bool plain_ok(void *arg, struct str user, struct str password) {
    (void)arg;
    return str_eqc(user, "alice") && str_eqc(password, "secret");
}
static bool scram_find(void *arg, struct str user, enum scram_hash h, bool token, struct arena *a, struct scram_credential *out, struct str *owner,
                       int64_t *expires_ms) {
    (void)arg, (void)a, (void)owner, (void)expires_ms;
    if (token || !str_eqc(user, "alice")) return false;
    scram_credential_from_password(h, STR("salt of alice"), 4096, STR("secret"), out);
    return true;
}
static json_t *claims_of(void *arg, struct str token, struct err *err) {
    (void)arg;
    return jwt_claims_unchecked(token, err);
}
static void fixed_random(void *arg, void *p, size_t n) {
    (void)arg;
    memset(p, 7, n);
}
static int64_t fixed_now(void *arg) { return (void)arg, 1000000; }
static const struct sasl_server server = {.plain_ok = plain_ok, .scram_find = scram_find, .jwt_claims = claims_of, .random = fixed_random, .now_ms = fixed_now,
                                          .oauth = {.sub_claim = "sub", .scope_claim = "scope", .issuer = "me", .audiences = "a, b", .skew_s = 10}};

static enum sasl_result one_step(enum sasl_mechanism m, struct str token, struct arena *a, struct str *user) {
    struct sasl *s = sasl_new(&server, m);
    struct err err = {0};
    struct str answer;
    enum sasl_result r = sasl_step(s, token, a, &answer, &err);
    if (r == SASL_DONE) *user = arena_str(a, sasl_user(s));
    sasl_free(s);
    return r;
}

static void test_plain(void **state) {
    (void)state;
    struct arena a = {0};
    struct str user = {NULL, 0};
    assert_int_equal(one_step(SASL_PLAIN, STR("\0alice\0secret"), &a, &user), SASL_DONE);
    assert_true(str_eqc(user, "alice"));
    assert_int_equal(one_step(SASL_PLAIN, STR("alice\0alice\0secret"), &a, &user), SASL_DONE);
    const struct str bad[] = {STR(""), STR("\0alice"), STR("\0alice\0"), STR("\0\0secret"), STR("\0alice\0wrong"), STR("\0bob\0secret"),
                              STR("bob\0alice\0secret"), STR("\0alice\0secret\0"), STR("\0al\xff\0secret")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(one_step(SASL_PLAIN, bad[i], &a, &user), SASL_FAILED);
    arena_fini(&a);
}

// A client of SCRAM that knows a password, over our own arithmetic.
static enum sasl_result scram_client(enum sasl_mechanism m, const char *user, const char *password, struct arena *a) {
    enum scram_hash h = m == SASL_SCRAM_SHA_256 ? SCRAM_SHA_256 : SCRAM_SHA_512;
    size_t n = scram_key_size(h);
    struct sasl *s = sasl_new(&server, m);
    struct err err = {0};
    struct str first, answer, rest, one;
    const char *bare = arena_printf(a, "n=%s,r=abc", user);
    assert_int_equal(sasl_step(s, str_c(arena_printf(a, "n,,%s", bare)), a, &first, &err), SASL_MORE);
    str_cut(first, ',', &one, &rest);
    const char *without = arena_printf(a, "c=biws,%.*s", STR_ARG(one));
    str_cut(rest, ',', &one, &rest);
    struct str salt = from64(arena_strndup(a, one.p + 2, one.n - 2), a);
    uint8_t salted[64], client_key[64], stored[64], signature[64];
    if (h == SCRAM_SHA_256) digest_pbkdf2_sha256(str_c(password), salt, 4096, salted);
    else digest_pbkdf2_sha512(str_c(password), salt, 4096, salted);
    struct str message = str_c(arena_printf(a, "%s,%.*s,%s", bare, STR_ARG(first), without));
    if (h == SCRAM_SHA_256) {
        digest_hmac_sha256(str_n(salted, n), STR("Client Key"), client_key);
        digest_sha256(str_n(client_key, n), stored);
        digest_hmac_sha256(str_n(stored, n), message, signature);
    } else {
        digest_hmac_sha512(str_n(salted, n), STR("Client Key"), client_key);
        digest_sha512(str_n(client_key, n), stored);
        digest_hmac_sha512(str_n(stored, n), message, signature);
    }
    for (size_t i = 0; i < n; i++) client_key[i] ^= signature[i];
    struct buf b;
    buf_init(&b, 1 << 12);
    buf_puts(&b, without);
    buf_puts(&b, ",p=");
    base64_encode(str_n(client_key, n), &b);
    enum sasl_result r = sasl_step(s, buf_str(&b), a, &answer, &err);
    buf_fini(&b);
    sasl_free(s);
    if (r == SASL_DONE) assert_true(str_starts(answer, STR("v="))); // the answer outlives the struct
    return r;
}

static void test_scram_sessions(void **state) {
    (void)state;
    struct arena a = {0};
    for (int m = SASL_SCRAM_SHA_256; m <= SASL_SCRAM_SHA_512; m++) {
        assert_int_equal(scram_client((enum sasl_mechanism)m, "alice", "secret", &a), SASL_DONE);
        assert_int_equal(scram_client((enum sasl_mechanism)m, "alice", "Secret", &a), SASL_FAILED);
        assert_int_equal(scram_client((enum sasl_mechanism)m, "bob", "secret", &a), SASL_FAILED); // refused at the same step as a wrong password
    }
    arena_fini(&a);
}

static enum sasl_result oauth(const char *claims, struct arena *a, struct str *user) {
    struct buf b;
    buf_init(&b, 1 << 16);
    buf_puts(&b, "n,,\1auth=Bearer e30.");
    base64url_encode(str_c(claims), &b);
    buf_puts(&b, ".c2ln\1\1");
    enum sasl_result r = one_step(SASL_OAUTHBEARER, buf_str(&b), a, user);
    buf_fini(&b);
    return r;
}

static void test_oauth_claims(void **state) { // now is 1000 s
    (void)state;
    struct arena a = {0};
    struct str user = {NULL, 0};
    assert_int_equal(oauth("{\"sub\":\"carol\",\"exp\":1001,\"iss\":\"me\",\"aud\":\"b\"}", &a, &user), SASL_DONE);
    assert_true(str_eqc(user, "carol"));
    assert_int_equal(oauth("{\"sub\":\"carol\",\"exp\":991,\"iss\":\"me\",\"aud\":[\"x\",\"a\"],\"nbf\":1009,\"iat\":1009}", &a, &user), SASL_DONE); // clocks differ
    static const char *const bad[] = {
        "{\"sub\":\"carol\",\"exp\":990,\"iss\":\"me\",\"aud\":\"b\"}",  "{\"sub\":\"carol\",\"iss\":\"me\",\"aud\":\"b\"}",
        "{\"sub\":\"carol\",\"exp\":1001,\"iss\":\"you\",\"aud\":\"b\"}", "{\"sub\":\"carol\",\"exp\":1001,\"iss\":\"me\",\"aud\":\"c\"}",
        "{\"sub\":\"carol\",\"exp\":1001,\"iss\":\"me\"}",               "{\"exp\":1001,\"iss\":\"me\",\"aud\":\"b\"}",
        "{\"sub\":7,\"exp\":1001,\"iss\":\"me\",\"aud\":\"b\"}",          "{\"sub\":\"carol\",\"exp\":\"1001\",\"iss\":\"me\",\"aud\":\"b\"}",
        "{\"sub\":\"carol\",\"exp\":2000,\"nbf\":1011,\"iss\":\"me\",\"aud\":\"b\"}", "[]", "x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (oauth(bad[i], &a, &user) != SASL_MORE) fail_msg("taken: %s", bad[i]); // the error goes to the client, which then says that it has understood
    struct str authzid, token;
    assert_true(sasl_oauth_parse(STR("n,a=x,\1host=h\1auth=bearer abc\1\1"), &authzid, &token));
    assert_true(str_eqc(authzid, "x") && str_eqc(token, "abc"));
    const struct str broken[] = {STR(""), STR("n,,\1\1"), STR("n,,\1auth=Bearer \1\1"), STR("n,,\1auth=Basic abc\1\1"), STR("n,,\1auth=Bearer abc\1"),
                                 STR("y,,\1auth=Bearer abc\1\1"), STR("n,,\1auth=Bearer a\1auth=Bearer b\1\1"), STR("n,,\1auth=Bearer abc\1\1x")};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) assert_false(sasl_oauth_parse(broken[i], &authzid, &token));
    arena_fini(&a);
}

// ---- principals, JAAS -------------------------------------------------------------------------------------------------------
static void expect_mapped(const char *rules, const char *name, const char *mapped) {
    struct arena a = {0};
    struct principal_rules r;
    struct err err = {0};
    struct buf out;
    buf_init(&out, 1 << 12);
    if (principal_rules_parse(str_c(rules), &a, &r, &err) != ERR_OK) fail_msg("%s: %s", rules, err.msg);
    bool ok = principal_map(&r, str_c(name), &out);
    if (ok != (mapped != NULL) || (ok && strcmp(buf_cstr(&out), mapped) != 0)) fail_msg("%s of %s: %s", rules, name, ok ? buf_cstr(&out) : "none");
    buf_fini(&out);
    principal_rules_fini(&r);
    arena_fini(&a);
}

static void test_principals(void **state) { // the examples of Kafka's documentation, and more
    (void)state;
    static const char kafka[] = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L, "
                                "RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/L,DEFAULT";
    expect_mapped(kafka, "CN=serviceuser,OU=ServiceUsers,O=Unknown,L=Unknown,ST=Unknown,C=Unknown", "serviceuser");
    expect_mapped(kafka, "CN=adminUser,OU=Admin,O=Unknown,L=Unknown,ST=Unknown,C=Unknown", "adminuser@admin");
    expect_mapped(kafka, "O=x,cn=Duke.One,OU=y", "duke.one");
    expect_mapped(kafka, "OU=nobody", "OU=nobody");
    expect_mapped("", "CN=x", "CN=x");
    expect_mapped("DEFAULT", "CN=x", "CN=x");
    expect_mapped("RULE:^CN=a$/b/", "CN=x", NULL);
    expect_mapped("RULE:CN=(\\w+)\\/(.*)/$2-$1/U", "CN=ab/cd", "CD-AB");
    expect_mapped("RULE:^(a+)+$/x/,DEFAULT", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"); // bounded
    struct arena a = {0};
    static const char *const bad[] = {"RULE:", "RULE:a/b", "RULE:(/b/", "RULE:a/b/X", "default", "DEFAULT,", "RULE:a/b/ DEFAULT"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct principal_rules r;
        bool ok = principal_rules_parse(str_c(bad[i]), &a, &r, NULL) == ERR_OK;
        if (ok) principal_rules_fini(&r);
        if (ok && strcmp(bad[i], "DEFAULT,") != 0) fail_msg("taken: %s", bad[i]);
    }
    arena_fini(&a);
}

static void test_jaas(void **state) {
    (void)state;
    struct arena a = {0};
    struct jaas j;
    assert_int_equal(jaas_parse(STR("x.PlainLoginModule required username=\"a b\" user_a='it\"s' user_b=\"q\\\"\" ;"), &a, &j, NULL), ERR_OK);
    assert_true(str_eqc(j.module, "x.PlainLoginModule"));
    assert_int_equal(j.n, 3);
    assert_true(str_eqc(j.options[0].value, "a b") && str_eqc(j.options[1].value, "it\"s") && str_eqc(j.options[2].value, "q\""));
    assert_int_equal(jaas_parse(STR("M required;"), &a, &j, NULL), ERR_OK);
    static const char *const bad[] = {"", "M", "M maybe;", "M required", "M required a;", "M required a=;", "M required a=b", "M required =b;"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (jaas_parse(str_c(bad[i]), &a, &j, NULL) == ERR_OK) fail_msg("taken: %s", bad[i]);
    arena_fini(&a);
}

static void test_loopback(void **state) {
    (void)state;
    assert_true(is_loopback("127.0.0.1") && is_loopback("127.8.9.1") && is_loopback("::1") && is_loopback("localhost"));
    assert_false(is_loopback("0.0.0.0") || is_loopback("::") || is_loopback("10.0.0.1") || is_loopback("127.0.0.1.evil.example") || is_loopback(""));
}

// ---- ACLs against a model ---------------------------------------------------------------------------------------------------
static uint64_t seed = 88172645463325252;
static unsigned pick(unsigned n) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % n;
}
static const char *const names[] = {"a", "ab", "abc", "b", "bc", "*", "kafka-cluster"};
static const char *const principals[] = {"User:x", "User:y", "User:*"};
static const char *const hosts[] = {"1.1.1.1", "2.2.2.2", "*"};

static struct acl random_rule(void) {
    return (struct acl){.resource = (int8_t)(ACL_TOPIC + pick(2)), .pattern = (int8_t)(ACL_LITERAL + pick(2)), .operation = (int8_t)(ACL_ALL + pick(10)),
                        .permission = (int8_t)(pick(4) == 0 ? ACL_DENY : ACL_ALLOW), .name = str_c(names[pick(7)]), .principal = str_c(principals[pick(3)]),
                        .host = str_c(hosts[pick(3)])};
}

// What StandardAuthorizer does, rule by rule.
static enum acl_verdict model(const struct acl *rules, size_t n, struct str principal, struct str host, int op, int type, struct str name) {
    bool any = false, allowed = false;
    for (size_t i = 0; i < n; i++) {
        const struct acl *a = &rules[i];
        bool resource = a->resource == type && (a->pattern == ACL_PREFIXED ? str_starts(name, a->name) : str_eq(a->name, name) || str_eqc(a->name, "*"));
        if (!resource) continue;
        any = true;
        if (!str_eqc(a->principal, "User:*") && !str_eq(a->principal, principal)) continue;
        if (!str_eqc(a->host, "*") && !str_eq(a->host, host)) continue;
        bool same = a->operation == ACL_ALL || a->operation == op;
        if (a->permission == ACL_DENY && same) return ACL_DENIED;
        if (a->permission == ACL_DENY) continue;
        bool implied = op == ACL_DESCRIBE ? a->operation == ACL_READ || a->operation == ACL_WRITE || a->operation == ACL_DELETE || a->operation == ACL_ALTER
                                          : op == ACL_DESCRIBE_CONFIGS && a->operation == ACL_ALTER_CONFIGS;
        allowed |= same || implied;
    }
    return allowed ? ACL_ALLOWED : any ? ACL_DENIED : ACL_NO_RULES;
}

static void check_all(const struct acl_set *s, const struct acl *rules, size_t n) {
    for (int type = ACL_TOPIC; type <= ACL_GROUP; type++)
        for (int op = ACL_READ; op <= ACL_IDEMPOTENT_WRITE; op++)
            for (size_t k = 0; k < 5 * 2 * 2; k++) {
                struct str name = str_c(names[k % 5]), principal = str_c(principals[k / 5 % 2]), host = str_c(hosts[k / 10]);
                enum acl_verdict v = acl_set_check(s, principal, host, (enum acl_operation)op, (enum acl_resource)type, name);
                if (v != model(rules, n, principal, host, op, type, name)) fail_msg("%s type %d op %d: %d", names[k % 5], type, op, v);
            }
}

static void test_acls(void **state) {
    (void)state;
    for (int round = 0; round < 300; round++) {
        struct acl rules[24];
        size_t n = 0, max = 1 + pick(24);
        struct acl_set s;
        acl_set_init(&s);
        while (n < max) {
            struct acl a = random_rule();
            bool is_new = acl_set_add(&s, &a);
            if (is_new) rules[n++] = a;
            else assert_false(acl_set_add(&s, &a));
            if (!is_new && pick(3) == 0) break;
        }
        check_all(&s, rules, n);
        while (n > 0 && pick(4) != 0) {
            size_t i = pick((unsigned)n);
            assert_true(acl_set_remove(&s, &rules[i]));
            assert_false(acl_set_remove(&s, &rules[i]));
            rules[i] = rules[--n];
        }
        check_all(&s, rules, n);
        acl_set_fini(&s);
    }
}

// Is there any name for which it is allowed? The model tries all short names over the letters of the rules.
static void test_acl_any_name(void **state) {
    (void)state;
    static const char *const tried[] = {"a", "ab", "abc", "abz", "az", "b", "bc", "bcz", "bz", "z", "abcz", "kafka-cluster", "kafka-clusterz", "*"};
    int found = 0;
    for (int round = 0; round < 2000; round++) {
        struct acl rules[6];
        size_t n = 1 + pick(5);
        struct acl_set s;
        acl_set_init(&s);
        for (size_t i = 0; i < n; i++) rules[i] = random_rule(), acl_set_add(&s, &rules[i]);
        bool want = false;
        for (size_t i = 0; i < sizeof tried / sizeof *tried; i++)
            want |= model(rules, n, STR("User:x"), STR("1.1.1.1"), ACL_WRITE, ACL_TOPIC, str_c(tried[i])) == ACL_ALLOWED;
        bool got = acl_set_check_any(&s, STR("User:x"), STR("1.1.1.1"), ACL_WRITE, ACL_TOPIC);
        if (want && !got) fail_msg("round %d: there is a name, and none was found", round); // the other way round Kafka too is generous
        found += got;
        acl_set_fini(&s);
    }
    assert_in_range(found, 100, 1900);
}

static void count(void *arg, const struct acl *a) {
    (void)a;
    ++*(int *)arg;
}
static int matching(const struct acl_set *s, int pattern, const char *name) {
    int n = 0;
    struct acl f = {.resource = ACL_ANY_RESOURCE, .pattern = (int8_t)pattern, .operation = ACL_ANY_OPERATION, .permission = ACL_ANY_PERMISSION, .name = str_c(name)};
    acl_set_each(s, &f, count, &n);
    return n;
}
static void test_acl_filters(void **state) {
    (void)state;
    struct acl_set s;
    acl_set_init(&s);
    struct acl a = {.resource = ACL_TOPIC, .pattern = ACL_LITERAL, .operation = ACL_READ, .permission = ACL_ALLOW, .name = STR("foo"), .principal = STR("User:x"), .host = STR("*")};
    acl_set_add(&s, &a);
    a.name = STR("*");
    acl_set_add(&s, &a);
    a.pattern = ACL_PREFIXED;
    a.name = STR("fo");
    acl_set_add(&s, &a);
    assert_int_equal(matching(&s, ACL_ANY_PATTERN, NULL), 3);
    assert_int_equal(matching(&s, ACL_MATCH, "foo"), 3);
    assert_int_equal(matching(&s, ACL_MATCH, "bar"), 1);
    assert_int_equal(matching(&s, ACL_ANY_PATTERN, "foo"), 1);
    assert_int_equal(matching(&s, ACL_LITERAL, "foo"), 1);
    assert_int_equal(matching(&s, ACL_PREFIXED, "foo"), 0);
    assert_int_equal(matching(&s, ACL_PREFIXED, "fo"), 1);
    assert_int_equal(matching(&s, ACL_LITERAL, NULL), 2);
    acl_set_fini(&s);
}

static void test_every_api_has_a_gate(void **state) {
    (void)state;
    for (size_t i = 0; i < kafka_handlers_n; i++)
        if (gate_find(kafka_handlers[i].key) == NULL) fail_msg("API %d has no rule in gates.c", kafka_handlers[i].key);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scram_vector),   cmocka_unit_test(test_scram_messages), cmocka_unit_test(test_plain),      cmocka_unit_test(test_scram_sessions),
        cmocka_unit_test(test_oauth_claims),   cmocka_unit_test(test_principals),     cmocka_unit_test(test_jaas),       cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_acls),           cmocka_unit_test(test_acl_any_name),   cmocka_unit_test(test_acl_filters), cmocka_unit_test(test_every_api_has_a_gate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
