// SPDX-License-Identifier: Apache-2.0
// Tokens, properties files and the server's side of TLS without sockets.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "codec/digest.h"
#include "codec/jwt.h"
#include "codec/properties.h"
#include "codec/tls.h"

// ---- tokens: made with openssl dgst; ES256 is the example of RFC 7515, A.3 -----------------------------------------------------
static const char rsa_set[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"2CWo8T3Z0EmzGSSrj7PrCxBGHPnWMvfEf9ERkXdlARxFUjXSy3AQN_qE2v4Pe9iiIMyS7R_Me"
    "mEL9aN7DAeA48-I40ojnxtEs-hOsIO9YiDm1lPMNWKLndNTKlu9oDvSYTUH2XL9OFoanAzKXnxk6fhqOaoh9G1vhM46iFROeGSBU"
    "H5Y77XktllEqCgyW_pevNGaEAzp-nAYspvrguidqxIMdRV-I06KSUhHd9TJ_n7NE9k6QG9R9KgNMJYLTN014z2C6TWR9RIy91Jsa"
    "zIutrnIOTaKNpzi_BYued-6HYa6Vth6hiQ1LiaFd4wecW8ZtAH2P9ZL3xnUmIJNsMh2qw\",\"e\":\"AQAB\"}]}";
static const char rsa_token[] =
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLCJleHAiOjEzMDA4MTkzODB9.F0Szx05sLm_S28i3oO5vNP0x3xfUs2FFmst6pbJ0sDUJlVLx"
    "5Tfz8RnGly9nIrKsNT9fc658U6a6koIrihreDx3u9M5C4_1zRH2SDnPj0WS-ar4awZ2Tw3uKgKxM_8X0CEYOto2xgOg4QVIJlrfxs7rQG-5mhj"
    "E6TVPxJPNsEhmr55rHaw_6ZzKMAzGzIhz1H29Z3KO8xI_cUHQNHD5q1_OQMK5-bVF5W90KcZ-Qft8o_O1mnqWBv-_J_3UxGi07BKkU4m1Qsi5S"
    "lZuoJRpTc501mq73hR18UrIA-sSnFxVTLIjp6w3_lXApxdAWG4aXjXQsP2ZDXge5i7tVhQsAQA";
static const char pss_token[] =
    "eyJhbGciOiJQUzI1NiJ9.eyJpc3MiOiJqb2UiLCJleHAiOjEzMDA4MTkzODB9.dhpCnTJMVmwwjgZFf3HhZoawhoj3rRsGk_MMROyGNbpswp8o"
    "Bo4_PbDIY8fvIYX6L2Uhf23feTKxi-WH2QAqXyKdcpEZLT0mWJtfwCyQE8H0PsirqO5xmtHn1b-XqIqskaiy-WCpIeMrZqFFUBjEXF9yiRt0zj"
    "Tp5VU5RWJpzpCO3B8spWHnAEamFj0oVdy0fIWNtS3f1KWM8RB3XLevMQXSP50ersXqGMrHlJSOeMVtK2nnd63bQvJGsFwYYkYkqsfRLBqYGlOq"
    "raBuy7C1CpuarSbarZ-CM2bpqOOA03xp7zytWZx38NolBlbdgfd9Kxc49etYfPb-YcGYkjeF7w";
static const char ec_set[] = "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"},{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_"
                             "FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";
static const char ec_token[] = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
                               "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

static void expect_token(const char *set, const char *token, bool good) {
    struct err err = {0};
    struct jwks *k = jwks_parse(str_c(set), &err);
    if (k == NULL) fail_msg("%s", err.msg);
    assert_int_equal(jwks_count(k), 1);
    json_t *claims = jwt_verify(k, str_c(token), &err);
    if ((claims != NULL) != good) fail_msg("%.40s...: %s", token, claims == NULL ? err.msg : "taken");
    if (good) assert_true(str_eqc(json_get_str(claims, "iss"), "joe"));
    json_decref(claims);
    jwks_free(k);
}

static void test_tokens(void **state) {
    (void)state;
    expect_token(rsa_set, rsa_token, true);
    expect_token(rsa_set, pss_token, true);
    expect_token(ec_set, ec_token, true);
    expect_token(ec_set, rsa_token, false);
    expect_token(rsa_set, ec_token, false);
    char broken[sizeof rsa_token];
    memcpy(broken, rsa_token, sizeof broken);
    broken[30] ^= 1; // a claim
    expect_token(rsa_set, broken, false);
    expect_token(rsa_set, "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UifQ.", false);       // {"alg":"none"}
    expect_token(rsa_set, "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UifQ.AAAA", false);   // {"alg":"HS256"}
    expect_token(rsa_set, "a.b", false);
    expect_token(rsa_set, "", false);
    static const char *const bad[] = {"", "{}", "[]", "{\"keys\":1}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_null(jwks_parse(str_c(bad[i]), NULL));
}

static void test_pbkdf2(void **state) { // RFC 7914, section 11
    (void)state;
    static const uint8_t want[8] = {0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f};
    uint8_t got[32];
    digest_pbkdf2_sha256(STR("passwd"), STR("salt"), 1, got);
    assert_memory_equal(got, want, sizeof want);
}

// ---- properties ---------------------------------------------------------------------------------------------------------------
static void test_properties(void **state) {
    (void)state;
    struct arena a = {0};
    struct property *p;
    size_t n;
    struct str text = STR("# c\n! c\n\n a = 1 \nb:2\r\nc 3\nd=x\\\n   y\\tz\\u0041\ne\\ f=g\\\\\nflag\na=4\nempty=\n");
    assert_int_equal(properties_parse(text, &a, &p, &n, NULL), ERR_OK);
    static const char *const want[][2] = {{"a", "4"}, {"b", "2"}, {"c", "3"}, {"d", "xy\tzA"}, {"e f", "g\\"}, {"flag", ""}, {"empty", ""}};
    assert_int_equal(n, 7);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(p[i].name, want[i][0]);
        assert_string_equal(p[i].value, want[i][1]);
    }
    assert_false(p[5].assigned);
    assert_true(p[6].assigned);
    assert_int_equal(p[0].line, 11);
    assert_int_equal(properties_parse(STR("a=\\u12"), &a, &p, &n, NULL), ERR_PARSE);
    assert_int_equal(properties_parse(STR("a=\\ud800"), &a, &p, &n, NULL), ERR_PARSE);
    assert_int_equal(properties_parse(STR("a=x\0y"), &a, &p, &n, NULL), ERR_PARSE);
    assert_int_equal(properties_parse(STR(""), &a, &p, &n, NULL), ERR_OK);
    assert_int_equal(n, 0);
    arena_fini(&a);
}

// ---- TLS: what is not TLS, and settings that cannot be --------------------------------------------------------------------------
static const char chain[] = "-----BEGIN CERTIFICATE-----\n"
                            "MIIBdjCCAR2gAwIBAgIUTESTCERTTHATCANNOTBEREAD==\n"
                            "-----END CERTIFICATE-----\n";

static void test_tls_settings(void **state) {
    (void)state;
    struct err err = {0};
    struct tls_settings s = {.chain = STR(""), .key = STR("")};
    assert_null(tls_context_new(&s, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    s.chain = str_c(chain);
    assert_null(tls_context_new(&s, &err));
    s = (struct tls_settings){.store = STR("neither PEM nor PKCS #12")};
    assert_null(tls_context_new(&s, &err));
    assert_non_null(strstr(err.msg, "PKCS #12"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens), cmocka_unit_test(test_pbkdf2), cmocka_unit_test(test_properties), cmocka_unit_test(test_tls_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
