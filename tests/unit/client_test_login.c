// SPDX-License-Identifier: Apache-2.0
// A client's log-in against the server's half of SCRAM and against servers that are not who they should be.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/login.h"
#include "kafka/scram.h"

static struct str step(struct client_login *l, const char *challenge, bool ends) {
    struct str out;
    struct err err = {0};
    bool done;
    assert_int_equal(client_login_step(l, str_c(challenge), &out, &done, &err), ERR_OK);
    assert_int_equal(done, ends);
    return out;
}

static void refuses(struct client_login l, const char *challenge, enum err_code code) { // a copy: may be asked again
    struct str out;
    struct err err = {0};
    bool done;
    assert_int_equal(client_login_step(&l, str_c(challenge), &out, &done, &err), code);
}

static void test_plain(void **state) {
    (void)state;
    struct arena a = {0};
    struct client_security who = {.mechanism = CLIENT_PLAIN, .user = STR("ann"), .password = STR("s,=")};
    struct client_login l;
    client_login_init(&l, &who, STR("x"), &a);
    struct str out = step(&l, "", false);
    assert_int_equal(out.n, 8);
    assert_memory_equal(out.p, "\0ann\0s,=", 8);
    (void)step(&l, "", true);
    arena_fini(&a);
}

static void test_vector(void **state) { // RFC 7677, section 3
    (void)state;
    struct arena a = {0};
    struct client_security who = {.mechanism = CLIENT_SCRAM_SHA_256, .user = STR("user"), .password = STR("pencil")};
    struct client_login l;
    client_login_init(&l, &who, STR("rOprNGfwEbeRWgbNEkqO"), &a);
    assert_true(str_eqc(step(&l, "", false), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"));
    refuses(l, "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ERR_DENIED);  // no nonce of the server
    refuses(l, "r=another0000000000000x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ERR_DENIED);
    refuses(l, "r=rOprNGfwEbeRWgbNEkqOabc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", ERR_DENIED);
    refuses(l, "r=rOprNGfwEbeRWgbNEkqOabc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000000", ERR_DENIED);
    refuses(l, "r=rOprNGfwEbeRWgbNEkqOabc,s=?,i=4096", ERR_PARSE);
    refuses(l, "", ERR_PARSE);
    assert_true(str_eqc(step(&l, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", false),
                        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
    refuses(l, "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", ERR_DENIED); // a server that does not know the password
    refuses(l, "v=6rri", ERR_DENIED);
    refuses(l, "", ERR_DENIED);
    refuses(l, "e=invalid-proof", ERR_DENIED);
    (void)step(&l, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", true);
    arena_fini(&a);
}

// Names with the two letters that SCRAM has a meaning for, both hashes, a delegation token; a doubled nonce as librdkafka sent it; wrong nonces.
static void test_against_the_server(void **state) {
    (void)state;
    struct arena a = {0};
    for (int h = SCRAM_SHA_256; h <= SCRAM_SHA_512; h++) {
        struct scram_credential c;
        struct scram_first first;
        struct scram_final final;
        struct str answer;
        scram_credential_from_password((enum scram_hash)h, STR("salt of it"), 5000, STR("pass word"), &c);
        struct client_security who = {.mechanism = h == SCRAM_SHA_256 ? CLIENT_SCRAM_SHA_256 : CLIENT_SCRAM_SHA_512, .user = STR("a,b=c"), .password = STR("pass word"),
                                      .token = h == SCRAM_SHA_512};
        struct client_login l;
        client_login_init(&l, &who, STR("mine"), &a);
        assert_true(scram_parse_first(step(&l, "", false), &a, &first));
        assert_true(str_eqc(first.user, "a,b=c"));
        assert_int_equal(first.token_auth, h == SCRAM_SHA_512);
        struct str server_first = scram_server_first(&first, STR("yours"), &c, &a);
        struct str last = step(&l, server_first.p, false);
        assert_true(scram_parse_final(last, &a, &final));
        assert_true(scram_check(&first, server_first, STR("yours"), &final, &c, &a, &answer));
        (void)step(&l, answer.p, true);
        final.nonce = STR("yours");
        assert_false(scram_check(&first, server_first, STR("yours"), &final, &c, &a, &answer));
        final.nonce = STR("mineyoursX");
        assert_false(scram_check(&first, server_first, STR("yours"), &final, &c, &a, &answer));
        final.nonce = STR("minemineyours"); // the proof below is over without_proof, which is the client's own text
        assert_true(scram_check(&first, server_first, STR("yours"), &final, &c, &a, &answer));
    }
    arena_fini(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain), cmocka_unit_test(test_vector), cmocka_unit_test(test_against_the_server)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
