// SPDX-License-Identifier: Apache-2.0
// Unit tests of base: errors, strings, buffers, arenas, vectors, maps, log lines, metrics.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/str.h"
#include "base/vec.h"

static void err_messages(void **state) {
    (void)state;
    struct err err = {0};
    assert_int_equal(err_set(&err, ERR_NO_TOPIC, "topic '%s'", "a"), ERR_NO_TOPIC);
    assert_string_equal(err.msg, "topic 'a'");
    assert_int_equal(err_wrap(&err, "produce to partition %d", 3), ERR_NO_TOPIC);
    assert_string_equal(err.msg, "produce to partition 3: topic 'a'");
    assert_int_equal(err_errno(&err, ENOSPC, "write x"), ERR_NO_SPACE);
    assert_string_equal(err.msg, "write x: No space left on device");
    assert_int_equal(err_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
    assert_int_equal(err_info(ERR_NO_SPACE)->http, 507);
    assert_true(err_info(ERR_SYNC_FAILED)->fatal);
    char longer[3 * ERR_MSG_MAX];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    err_set(&err, ERR_IO, "%s", longer);
    err_wrap(&err, "%s", longer);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
}

static void err_table_is_sound(void **state) {
    (void)state;
    for (int i = 0; i < ERR_COUNT; i++) {
        const struct err_info *info = err_info((enum err_code)i);
        assert_non_null(info->name);
        assert_int_equal(strlen(info->sqlstate), 5);
        assert_true(info->http >= 200 && info->http < 600);
        assert_true((i == ERR_OK) == (info->exit_code == 0));
    }
}

static void str_numbers(void **state) {
    (void)state;
    int64_t v;
    assert_true(str_to_i64(STR("-9223372036854775808"), &v) && v == INT64_MIN);
    assert_true(str_to_i64(STR("9223372036854775807"), &v) && v == INT64_MAX);
    static const char *const bad[] = {"", "-", "9223372036854775808", "-9223372036854775809", "1 ", " 1", "0x1", "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(str_to_i64(str_c(bad[i]), &v));
    double d;
    assert_true(str_to_double(STR("-1.5e3"), &d) && d == -1500);
    assert_false(str_to_double(STR("1.5x"), &d));
    assert_false(str_to_double(STR(" 1"), &d));
}

static void str_pieces(void **state) {
    (void)state;
    struct str head, tail;
    assert_true(str_cut(STR("a=b=c"), '=', &head, &tail));
    assert_true(str_eqc(head, "a") && str_eqc(tail, "b=c"));
    assert_false(str_cut(STR("abc"), '=', &head, &tail));
    assert_true(str_eqc(head, "abc") && tail.n == 0);
    assert_true(str_eqc(str_trim(STR(" \t a b\r\n")), "a b"));
    assert_true(str_ieq(STR("SeLect"), STR("sELECT")));
    assert_true(str_cmp(STR("a"), STR("ab")) < 0 && str_cmp(STR("b"), STR("ab")) > 0);
}

static void str_utf8(void **state) {
    (void)state;
    static const char *const good[] = {"", "plain ascii, longer than eight bytes", "Zürich 東京 😀", "\xED\x9F\xBF", "\xF4\x8F\xBF\xBF"};
    static const char *const bad[] = {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "12345678\xFF", "\x80", "\xF8\x88\x80\x80\x80"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(str_utf8_ok(str_c(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(str_utf8_ok(str_c(bad[i])));
}

static void buf_limits(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_puts(&b, "12345678");
    buf_put_be32(&b, 1);
    assert_true(b.failed);
    assert_int_equal(b.n, 8);
    buf_put_u8(&b, 1);
    assert_int_equal(b.n, 8); // stays failed
    buf_clear(&b);
    buf_put_be16(&b, 0x0102);
    buf_put_be64(&b, 0x0304050607080910);
    assert_false(b.failed);
    struct rd r = rd_of(b.p, b.n);
    assert_int_equal(rd_be16(&r), 0x0102);
    assert_int_equal(rd_be64(&r), 0x0304050607080910);
    assert_false(r.failed);
    assert_int_equal(rd_u8(&r), 0);
    assert_true(r.failed);
    buf_consume(&b, 2);
    assert_int_equal(b.p[0], 3);
    buf_fini(&b);
}

static void arena_lifetimes(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    for (int round = 0; round < 3; round++) {
        char *last = NULL;
        for (size_t i = 1; i < 3000; i++) {
            char *p = arena_alloc(&a, i);
            assert_int_equal((uintptr_t)p % 16, 0);
            memset(p, (int)i, i);
            if (last != NULL) assert_int_equal((unsigned char)last[0], (i - 1) & 255);
            last = p;
        }
        arena_reset(&a);
        assert_int_equal(a.used, 0);
    }
    assert_string_equal(arena_printf(&a, "%d-%s", 5, "x"), "5-x");
    arena_fini(&a);
}

static void map_against_model(void **state) {
    (void)state;
    enum { KEYS = 500 };
    static int values[KEYS];
    bool present[KEYS] = {false};
    struct map m;
    map_init(&m);
    srand(1);
    for (int step = 0; step < 20000; step++) {
        int k = rand() % KEYS;
        char key[16];
        snprintf(key, sizeof key, "key%d", k);
        if (rand() % 3 == 0) {
            assert_ptr_equal(map_remove(&m, str_c(key)), present[k] ? &values[k] : NULL);
            present[k] = false;
        } else {
            assert_ptr_equal(map_put(&m, str_c(key), &values[k]), present[k] ? &values[k] : NULL);
            present[k] = true;
        }
        assert_ptr_equal(map_getc(&m, key), present[k] ? &values[k] : NULL);
    }
    size_t n = 0, it = 0;
    for (int k = 0; k < KEYS; k++) n += present[k];
    assert_int_equal(m.n, n);
    for (struct map_entry *e; (e = map_next(&m, &it)) != NULL; n--) assert_ptr_equal(map_getc(&m, e->key), e->value);
    assert_int_equal(n, 0);
    map_fini(&m);
}

static void vec_push_remove(void **state) {
    (void)state;
    VEC(int) v = {0};
    for (int i = 0; i < 100; i++) vec_add(&v, i);
    vec_remove(&v, 10);
    assert_int_equal(v.n, 99);
    assert_int_equal(v.p[10], 11);
    assert_int_equal(*vec_last(&v), 99);
    vec_fini(&v);
}

static char log_line[512];
static void keep_line(void *arg, enum log_level level, struct str line) {
    (void)arg, (void)level;
    snprintf(log_line, sizeof log_line, STR_FMT, STR_ARG(line));
}
static int64_t fixed_clock(void *arg) {
    (void)arg;
    return 1700000000123456;
}

static void log_lines(void **state) {
    (void)state;
    log_set_sink(keep_line, NULL);
    log_set_clock(fixed_clock, NULL);
    log_info("room", "it happened", "key", "a \"b\"\n", "n", log_i64(-5), "empty", "", NULL);
    assert_string_equal(log_line, "2023-11-14T22:13:20.123456Z info  room \"it happened\" key=\"a \\\"b\\\"\\n\" n=-5 empty=\"\"\n");
    log_line[0] = 0;
    log_debug("room", "quiet", NULL);
    assert_string_equal(log_line, "");
    log_set_sink(NULL, NULL);
}

static void metrics_text(void **state) {
    (void)state;
    metrics_reset();
    metric_add(M_KAFKA_REQUESTS, "Produce", 3);
    metric_add(M_KAFKA_REQUESTS, "Fe\"tch", 1);
    metric_observe_us(M_LOG_SYNC_SECONDS, NULL, 700);
    struct buf out;
    buf_init(&out, 0);
    metrics_render(&out);
    const char *text = buf_cstr(&out);
    assert_non_null(strstr(text, "# TYPE millrace_kafka_requests_total counter\n"));
    assert_non_null(strstr(text, "millrace_kafka_requests_total{api=\"Produce\"} 3\n"));
    assert_non_null(strstr(text, "millrace_kafka_requests_total{api=\"Fe\\\"tch\"} 1\n"));
    assert_non_null(strstr(text, "millrace_log_fdatasync_seconds_bucket{le=\"0.0005\"} 0\n"));
    assert_non_null(strstr(text, "millrace_log_fdatasync_seconds_bucket{le=\"0.001\"} 1\n"));
    assert_non_null(strstr(text, "millrace_log_fdatasync_seconds_bucket{le=\"+Inf\"} 1\n"));
    assert_non_null(strstr(text, "millrace_log_fdatasync_seconds_sum 0.000700\n"));
    buf_fini(&out);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_messages),      cmocka_unit_test(err_table_is_sound), cmocka_unit_test(str_numbers),
        cmocka_unit_test(str_pieces),        cmocka_unit_test(str_utf8),           cmocka_unit_test(buf_limits),
        cmocka_unit_test(arena_lifetimes),   cmocka_unit_test(map_against_model),  cmocka_unit_test(vec_push_remove),
        cmocka_unit_test(log_lines),         cmocka_unit_test(metrics_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
