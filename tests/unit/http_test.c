// SPDX-License-Identifier: Apache-2.0
// Parts of the REST door that need no server: times, tokens, who is on this machine, JSON from tables of fields.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/api.h"
#include "sys/sim.h"

static void expect_time(const char *text, int64_t us, const char *back) {
    int64_t got;
    char out[40];
    if (!api_time_parse(str_c(text), &got)) fail_msg("%s is a time", text);
    if (got != us) fail_msg("%s: %lld, not %lld", text, (long long)got, (long long)us);
    api_time_text(got, out);
    assert_string_equal(out, back);
}

static void test_times(void **state) {
    (void)state;
    expect_time("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z");
    expect_time("2026-01-31T12:00:00.5+01:30", 1769855400500000, "2026-01-31T10:30:00.500000Z");
    expect_time("2024-02-29 23:59:59.999999Z", 1709251199999999, "2024-02-29T23:59:59.999999Z");
    expect_time("1969-12-31T23:59:59.000001Z", -999999, "1969-12-31T23:59:59.000001Z");
    expect_time("1900-03-01T00:00:00-0000", -2203891200000000, "1900-03-01T00:00:00Z");
    expect_time("2026-06-01T10:00+02", 1780300800000000, "2026-06-01T08:00:00Z");
    static const char *const bad[] = {"",
                                      "2026-01-31",
                                      "2026-01-31T12:00:00",
                                      "2026-02-30T00:00:00Z",
                                      "2026-13-01T00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:60:00Z",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00Zx",
                                      "yesterday",
                                      "2026-1-1T00:00:00Z",
                                      "0000-01-01T00:00:00Z",
                                      "2023-02-29T00:00:00Z"};
    int64_t us;
    for (size_t i = 0; i < API_COUNT(bad); i++)
        if (api_time_parse(str_c(bad[i]), &us)) fail_msg("\"%s\" is no time", bad[i]);
}

// Every day of 400 years and back: the calendar repeats after that.
static void test_every_day(void **state) {
    (void)state;
    for (int64_t day = -73048; day < 73049; day++) {
        char text[40];
        int64_t us;
        api_time_text(day * 86400000000 + 1, text);
        assert_true(api_time_parse(str_c(text), &us));
        assert_int_equal(us, day * 86400000000 + 1);
    }
}

static void test_loopback(void **state) {
    (void)state;
    static const char *const yes[] = {"localhost", "127.0.0.1", "127.0.0.1:8080", "localhost:1", "[::1]:80",
                                      "[::1]",     "::1",       "127.9.9.9",      "LOCALHOST"};
    static const char *const no[] = {
        "", "0.0.0.0", "192.168.0.1", "example.com", "127.evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "[::]:80"};
    for (size_t i = 0; i < API_COUNT(yes); i++)
        if (!httpd_is_loopback(str_c(yes[i]))) fail_msg("%s is this machine", yes[i]);
    for (size_t i = 0; i < API_COUNT(no); i++)
        if (httpd_is_loopback(str_c(no[i]))) fail_msg("%s is not this machine", no[i]);
}

static void open_auth(struct auth *a, struct config *c, struct sys *s) {
    struct err err;
    config_init(c);
    assert_int_equal(config_set_flag(c, "http.auth=users", &err), ERR_OK);
    assert_int_equal(config_set_flag(c, "http.users=ann:s3cret, bob:a:b", &err), ERR_OK);
    assert_int_equal(config_set_flag(c, "http.token_seconds=100", &err), ERR_OK);
    if (auth_init(a, s, c, "d", "0.0.0.0", &err) != ERR_OK) fail_msg("%s", err.msg);
}

static void test_tokens(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(3);
    struct config c, c2;
    struct auth a, again;
    struct arena arena;
    struct buf token;
    struct err err;
    const char *user = NULL;
    arena_init(&arena);
    buf_init(&token, 0);
    assert_int_equal(sys_mkdirs(s, "d", NULL), ERR_OK);
    sys_sim_set_now(s, 1700000000000000);
    open_auth(&a, &c, s);
    auth_put_token(&a, "ann \"the\" boss", &token);
    assert_int_equal(auth_check_token(&a, buf_str(&token), &arena, &user, &err), ERR_OK);
    assert_string_equal(user, "ann \"the\" boss");
    open_auth(&again, &c2, s); // the key is kept: after a restart the token is still good
    assert_int_equal(auth_check_token(&again, buf_str(&token), &arena, &user, &err), ERR_OK);
    for (size_t i = 0; i < token.n; i++) { // any other byte anywhere: refused
        uint8_t was = token.p[i];
        if (was == '.') continue;
        token.p[i] = was == 'A' ? 'B' : 'A';
        enum err_code code = auth_check_token(&a, buf_str(&token), &arena, &user, &err);
        if (code != ERR_UNAUTHENTICATED) fail_msg("byte %zu changed and still good", i);
        token.p[i] = was;
    }
    assert_int_equal(auth_check_token(&a, str_n(token.p, token.n - 1), &arena, &user, &err), ERR_UNAUTHENTICATED);
    assert_int_equal(auth_check_token(&a, STR(".."), &arena, &user, &err), ERR_UNAUTHENTICATED);
    sys_sim_advance(s, 101 * 1000000);
    assert_int_equal(auth_check_token(&a, buf_str(&token), &arena, &user, &err), ERR_UNAUTHENTICATED);
    assert_non_null(strstr(err.msg, "expired"));
    assert_int_equal(sys_unlink(s, "d/token.key", NULL), ERR_OK);
    sys_sim_set_now(s, 1700000000000000);
    config_fini(&c2);
    open_auth(&again, &c2, s); // another key
    assert_int_equal(auth_check_token(&again, buf_str(&token), &arena, &user, &err), ERR_UNAUTHENTICATED);
    assert_true(auth_password_ok(&a, "ann", "s3cret"));
    assert_true(auth_password_ok(&a, "bob", "a:b"));
    assert_false(auth_password_ok(&a, "ann", "a:b"));
    assert_false(auth_password_ok(&a, "ann", ""));
    assert_false(auth_password_ok(&a, "", ""));
    config_fini(&c);
    config_fini(&c2);
    buf_fini(&token);
    arena_fini(&arena);
    sys_sim_free(s);
}

static void test_tokens_end_with_the_users(void **state) {
    (void)state;
    static const char *const flags[] = {"http.auth=all_admins", "http.users=ann:1,bob:2", "http.auth=users", "http.users=bob:2"};
    struct sys *s = sys_sim_new(4);
    struct config c;
    struct auth a;
    struct err err;
    struct buf token;
    struct arena arena;
    const char *user;
    buf_init(&token, 0);
    arena_init(&arena);
    config_init(&c);
    assert_int_equal(sys_mkdirs(s, "d", NULL), ERR_OK);
    for (size_t i = 0; i < API_COUNT(flags); i++) {
        assert_int_equal(config_set_flag(&c, flags[i], &err), ERR_OK);
        assert_int_equal(auth_init(&a, s, &c, "d", "127.0.0.1", &err), ERR_OK);
        bool changed = i == 2 || i == 3; // users are not asked for before that
        if (i > 0) assert_int_equal(auth_check_token(&a, buf_str(&token), &arena, &user, &err), changed ? ERR_UNAUTHENTICATED : ERR_OK);
        buf_clear(&token);
        auth_put_token(&a, "ann", &token);
        assert_int_equal(auth_check_token(&a, buf_str(&token), &arena, &user, &err), ERR_OK);
    }
    config_fini(&c);
    buf_fini(&token);
    arena_fini(&arena);
    sys_sim_free(s);
}

static void test_open_doors_need_users(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(3);
    struct config c;
    struct auth a;
    struct err err;
    config_init(&c);
    assert_int_equal(sys_mkdirs(s, "d", NULL), ERR_OK);
    assert_int_equal(auth_init(&a, s, &c, "d", "127.0.0.1", &err), ERR_OK);
    assert_int_equal(auth_init(&a, s, &c, "d", "0.0.0.0", &err), ERR_CONFIG);
    assert_non_null(strstr(err.msg, "http.auth=users"));
    assert_int_equal(config_set_flag(&c, "http.auth=users", &err), ERR_OK);
    assert_int_equal(auth_init(&a, s, &c, "d", "127.0.0.1", &err), ERR_CONFIG);
    assert_non_null(strstr(err.msg, "http.users"));
    config_fini(&c);
    sys_sim_free(s);
}

static void test_objects_from_tables(void **state) {
    (void)state;
    struct thing {
        const char *name, *none, *json;
        int64_t when, never, took;
        int n;
        bool yes;
        double x;
    } t = {"a\"b", NULL, "{\"k\": [1]}", 1500000, FLOW_NO_TIME, 2500000, -3, true, 0.5};
#define AT(f) offsetof(struct thing, f)
    static const struct api_field fields[] = {
        {"name", API_STR, AT(name), NULL},  {"none", API_STR, AT(none), NULL},    {"json", API_JSON, AT(json), NULL},
        {"when", API_TIME, AT(when), NULL}, {"never", API_TIME, AT(never), NULL}, {"took", API_DURATION, AT(took), NULL},
        {"n", API_INT, AT(n), NULL},        {"yes", API_BOOL, AT(yes), NULL},     {"x", API_DOUBLE, AT(x), NULL},
        {"null", API_NULL, 0, NULL},        {"const", API_CONST, 0, "c"},         {"no", API_FALSE, 0, NULL},
    };
#undef AT
    struct arena arena;
    arena_init(&arena);
    json_t *o = api_object(fields, API_COUNT(fields), &t);
    assert_string_equal(
        json_text(o, JSON_COMPACT, &arena).p,
        "{\"name\":\"a\\\"b\",\"none\":null,\"json\":{\"k\":[1]},\"when\":\"1970-01-01T00:00:01.500000Z\",\"never\":null,\"took\":2.5,"
        "\"n\":-3,\"yes\":true,\"x\":0.5,\"null\":null,\"const\":\"c\",\"no\":false}");
    json_decref(o);
    arena_fini(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),  cmocka_unit_test(test_every_day),             cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_tokens), cmocka_unit_test(test_open_doors_need_users),
        cmocka_unit_test(test_tokens_end_with_the_users), cmocka_unit_test(test_objects_from_tables),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
