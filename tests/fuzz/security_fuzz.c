// SPDX-License-Identifier: Apache-2.0
// What strangers send before they are known, and the texts of the configuration: SASL tokens, JSON web tokens and key sets, certificate stores, TLS
// records, principal mapping rules, JAAS and properties files. The first byte chooses.
#include <assert.h>
#include <stdint.h>

#include "codec/jwt.h"
#include "codec/properties.h"
#include "codec/tls.h"
#include "kafka/acl.h"
#include "kafka/jaas.h"
#include "kafka/principal.h"
#include "kafka/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool plain_ok(void *arg, struct str user, struct str password) { return (void)arg, user.n == password.n; }
static bool scram_find(void *arg, struct str user, enum scram_hash h, bool token, struct arena *a, struct scram_credential *out, struct str *owner,
                       int64_t *expires_ms) {
    (void)arg, (void)a;
    *out = (struct scram_credential){.hash = h, .iterations = 4096, .salt_n = 4};
    if (token) *owner = STR("owner"), *expires_ms = 1;
    return user.n % 2 == 0;
}
static json_t *claims(void *arg, struct str token, struct err *err) { return (void)arg, jwt_claims_unchecked(token, err); }
static void no_random(void *arg, void *p, size_t n) {
    (void)arg;
    memset(p, 1, n);
}
static int64_t now(void *arg) { return (void)arg, 1000; }

static void sasl_input(int mechanism, struct str in, struct arena *a) { // tokens separated by 0xff bytes
    static const struct sasl_server server = {.plain_ok = plain_ok, .scram_find = scram_find, .jwt_claims = claims, .random = no_random, .now_ms = now,
                                              .oauth = {.sub_claim = "sub", .scope_claim = "scope"}};
    struct sasl *s = sasl_new(&server, (enum sasl_mechanism)mechanism);
    enum sasl_result r = SASL_MORE;
    for (int i = 0; r == SASL_MORE && i < 4; i++) {
        struct str token, answer;
        struct err err = {0};
        str_cut(in, (char)0xff, &token, &in);
        r = sasl_step(s, token, a, &answer, &err);
        if (r == SASL_FAILED) assert(err.msg[0] != 0);
        if (r == SASL_DONE) assert(sasl_user(s).n > 0);
    }
    sasl_free(s);
}

static void rules_input(struct str in, struct arena *a) { // rules, 0xff, a name
    struct str text, name;
    struct principal_rules r;
    struct err err = {0};
    str_cut(in, (char)0xff, &text, &name);
    if (principal_rules_parse(text, a, &r, &err) != ERR_OK) return;
    struct buf out;
    buf_init(&out, 1 << 16);
    principal_map(&r, name, &out);
    buf_fini(&out);
    principal_rules_fini(&r);
}

static void jwt_input(struct str in) { // key set, 0xff, token
    struct str set, token;
    struct err err = {0};
    str_cut(in, (char)0xff, &set, &token);
    struct jwks *k = jwks_parse(set, &err);
    if (k == NULL) return;
    json_decref(jwt_verify(k, token, &err));
    jwks_free(k);
}

static void store_input(struct str in) {
    struct err err = {0};
    struct tls_settings s = {.store = in, .trusted = in, .key_password = STR("x"), .trusted_password = STR("x")};
    tls_context_free(tls_context_new(&s, &err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct arena a = {0};
    struct str in = str_n(data + 1, size - 1);
    struct err err = {0};
    struct jaas j;
    struct property *p;
    struct acl acl;
    size_t n;
    switch (data[0] % 10) {
    case 0:
    case 1:
    case 2:
    case 3: sasl_input(data[0] % 10, in, &a); break;
    case 4: rules_input(in, &a); break;
    case 5: jwt_input(in); break;
    case 6: store_input(in); break;
    case 7: (void)jaas_parse(in, &a, &j, &err); break;
    case 8: (void)properties_parse(in, &a, &p, &n, &err); break;
    case 9:
        if (acl_from_key(in, &acl)) assert(str_eq(acl_key(&acl, &a), in));
        break;
    default: break;
    }
    arena_fini(&a);
    return 0;
}
