// SPDX-License-Identifier: Apache-2.0
// cols: builders against a model of plain arrays, roll-back of half-built rows, text and JSON of every kind, calendar.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "cols/builder.h"
#include "cols/cols.h"

static uint64_t rng_state = 88172645463325252ull;
static uint64_t rnd(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    return rng_state ^= rng_state << 17;
}

static struct cols_field flat_fields[] = {
    {"b", {.kind = COLS_BOOL}, true},
    {"i8", {.kind = COLS_INT8}, true},
    {"i64", {.kind = COLS_INT64}, true},
    {"f", {.kind = COLS_FLOAT}, true},
    {"d", {.kind = COLS_DOUBLE}, true},
    {"s", {.kind = COLS_STRING}, true},
    {"u", {.kind = COLS_UUID}, true},
};
static const struct cols_schema flat = {7, flat_fields};

enum { ROWS = 3000 };

static void check_flat(const struct cols_batch *b, size_t n, const uint64_t *seen) {
    struct err err;
    if (cols_batch_check(b, &err) != ERR_OK) fail_msg("%s", err.msg);
    assert_int_equal(b->n, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t v = seen[i];
        for (size_t c = 0; c < 7; c++) assert_int_equal(cols_is_valid(&b->columns[c], i), (v >> c & 7) != 0);
        if (v & 7) assert_int_equal(((uint8_t *)b->columns[0].values)[i >> 3] >> (i & 7) & 1, v >> 20 & 1);
        if (v >> 1 & 7) assert_int_equal(((int8_t *)b->columns[1].values)[i], (int8_t)v);
        if (v >> 2 & 7) assert_true(((int64_t *)b->columns[2].values)[i] == (int64_t)v);
        if (v >> 4 & 7) assert_true(((double *)b->columns[4].values)[i] == (double)v);
        if (v >> 5 & 7) {
            struct str s = cols_str(&b->columns[5], i);
            assert_int_equal(s.n, v % 30);
            for (size_t k = 0; k < s.n; k++) assert_int_equal(s.p[k], 'a' + (int)(v % 26));
        }
    }
}

static void put_flat(struct cols_builder *b, uint64_t v, size_t upto) {
    uint8_t sixteen[16] = {1};
    char text[30];
    memset(text, 'a' + (int)(v % 26), sizeof text);
    for (size_t c = 0; c < upto; c++) {
        if ((v >> c & 7) == 0) cols_put_null(b, c);
        else if (c == 0) cols_put_bool(b, c, v >> 20 & 1);
        else if (c < 3) cols_put_int(b, c, c == 1 ? (int8_t)v : (int64_t)v);
        else if (c < 5) cols_put_double(b, c, (double)v);
        else if (c == 5) cols_put_bytes(b, c, text, v % 30);
        else cols_put_bytes(b, c, sixteen, 16);
    }
}

static void test_flat(void **state) {
    (void)state;
    struct cols_builder *b = cols_builder_new(&flat, 10);
    for (int round = 0; round < 3; round++) { // the builder is used again
        uint64_t *seen = mem_alloc(ROWS * sizeof *seen);
        size_t n = 0;
        while (n < ROWS) {
            uint64_t v = rnd();
            if (rnd() % 5 == 0) { // a row that stops in the middle
                put_flat(b, v, rnd() % 8);
                cols_builder_rollback(b);
                continue;
            }
            put_flat(b, v, 7);
            cols_row_end(b);
            seen[n++] = v;
        }
        assert_int_equal(cols_builder_rows(b), ROWS);
        assert_true(cols_builder_bytes(b) > ROWS * 40);
        struct cols_batch *batch = cols_builder_finish(b);
        assert_int_equal(cols_builder_rows(b), 0);
        check_flat(batch, ROWS, seen);
        cols_batch_free(batch);
        mem_free(seen);
    }
    struct cols_batch *empty = cols_builder_finish(b);
    check_flat(empty, 0, NULL);
    cols_batch_free(empty);
    cols_builder_free(b);
}

// list<struct<k: string, l: list<int32>>>, map<string, int64>, struct<x: null, y: date>
static struct cols_field int_field = {"item", {.kind = COLS_INT32}, true};
static struct cols_field kl_fields[] = {{"k", {.kind = COLS_STRING}, false}, {"l", {.kind = COLS_LIST, .n_fields = 1, .fields = &int_field}, true}};
static struct cols_field item_field = {"item", {.kind = COLS_STRUCT, .n_fields = 2, .fields = kl_fields}, true};
static struct cols_field kv_fields[] = {{"key", {.kind = COLS_STRING}, false}, {"value", {.kind = COLS_INT64}, true}};
static struct cols_field xy_fields[] = {{"x", {.kind = COLS_NULL}, true}, {"y", {.kind = COLS_DATE}, true}};
static struct cols_field nested_fields[] = {
    {"list", {.kind = COLS_LIST, .n_fields = 1, .fields = &item_field}, true},
    {"map", {.kind = COLS_MAP, .n_fields = 2, .fields = kv_fields}, true},
    {"st", {.kind = COLS_STRUCT, .n_fields = 2, .fields = xy_fields}, true},
};
static const struct cols_schema nested = {3, nested_fields};

// Puts a random row; stops after `steps` puts (returns false then). The JSON of what was put goes to `want`.
static bool put_nested(struct cols_builder *b, int *steps, struct buf *want) {
#define STEP if ((*steps)-- <= 0) return false
    struct cols_out *list = &b->cols[0], *st = &list->children[0], *k = &st->children[0], *l = &st->children[1], *map = &b->cols[1];
    buf_puts(want, "{\"list\":");
    STEP;
    if (rnd() % 5 == 0) {
        cols_out_null(list);
        buf_puts(want, "null");
    } else {
        buf_puts(want, "[");
        for (size_t i = 0, n = rnd() % 4; i < n; i++) {
            if (i > 0) buf_puts(want, ",");
            STEP;
            if (rnd() % 4 == 0) {
                cols_out_null(st);
                buf_puts(want, "null");
                continue;
            }
            cols_out_struct(st);
            STEP;
            cols_out_bytes(k, "key", rnd() % 4);
            buf_puts(want, "{\"k\":");
            buf_printf(want, "\"%.*s\",\"l\":[", (int)(k->offsets[k->n] - k->offsets[k->n - 1]), "key");
            for (size_t j = 0, m = rnd() % 3; j < m; j++) {
                STEP;
                int32_t v = (int32_t)rnd();
                cols_out_i32(&l->children[0], v);
                buf_printf(want, "%s%d", j > 0 ? "," : "", v);
            }
            STEP;
            cols_out_list(l);
            buf_puts(want, "]}");
        }
        STEP;
        cols_out_list(list);
        buf_puts(want, "]");
    }
    buf_puts(want, ",\"map\":{");
    for (size_t i = 0, n = rnd() % 3; i < n; i++) {
        STEP;
        cols_out_bytes(&map->children[0].children[0], i == 0 ? "p" : "q", 1);
        STEP;
        cols_out_i64(&map->children[0].children[1], (int64_t)i);
        cols_out_struct(&map->children[0]);
        buf_printf(want, "%s\"%s\":%zu", i > 0 ? "," : "", i == 0 ? "p" : "q", i);
    }
    STEP;
    cols_out_list(map);
    STEP;
    cols_out_struct(&b->cols[2]);
    STEP;
    cols_out_null(&b->cols[2].children[0]);
    STEP;
    cols_out_i32(&b->cols[2].children[1], 19724);
    buf_puts(want, "},\"st\":{\"x\":null,\"y\":\"2024-01-02\"}}");
    return true;
}

static void test_nested_rollback(void **state) {
    (void)state;
    struct cols_builder *b = cols_builder_new(&nested, 0);
    struct buf want, got;
    buf_init(&want, 0);
    buf_init(&got, 0);
    size_t n = 0, undone = 0;
    while (n < 2000) {
        int steps = rnd() % 3 == 0 ? (int)(rnd() % 20) : 1000;
        size_t at = want.n;
        if (put_nested(b, &steps, &want)) {
            cols_row_end(b);
            buf_puts(&want, "\n");
            n++;
        } else {
            cols_builder_rollback(b);
            want.n = at;
            undone++;
        }
    }
    assert_true(undone > 100);
    struct cols_batch *batch = cols_builder_finish(b);
    struct err err;
    if (cols_batch_check(batch, &err) != ERR_OK) fail_msg("%s", err.msg);
    for (size_t i = 0; i < n; i++) {
        cols_row_json(batch, i, &got);
        buf_puts(&got, "\n");
    }
    assert_string_equal(buf_cstr(&got), buf_cstr(&want));
    buf_fini(&want);
    buf_fini(&got);
    cols_batch_free(batch);
    cols_builder_free(b);
}

static void value_is(struct cols_type type, const void *value, size_t n, const char *text, const char *json) {
    struct cols_field f = {"v", type, true};
    struct cols_schema s = {1, &f};
    struct cols_builder *b = cols_builder_new(&s, 1);
    if (type.kind == COLS_DOUBLE || type.kind == COLS_FLOAT) cols_put_double(b, 0, *(const double *)value);
    else if (type.kind == COLS_BOOL) cols_put_bool(b, 0, *(const bool *)value);
    else if (type.kind == COLS_STRING || type.kind == COLS_BYTES || n == 16) cols_put_bytes(b, 0, value, n);
    else cols_put_int(b, 0, *(const int64_t *)value);
    cols_row_end(b);
    struct cols_batch *batch = cols_builder_finish(b);
    struct buf out;
    buf_init(&out, 0);
    cols_value_text(&batch->columns[0], 0, &out);
    assert_string_equal(buf_cstr(&out), text);
    buf_clear(&out);
    cols_value_json(&batch->columns[0], 0, &out);
    assert_string_equal(buf_cstr(&out), json);
    buf_fini(&out);
    cols_batch_free(batch);
    cols_builder_free(b);
}

#define INT_IS(k, v, text, json) value_is((struct cols_type){.kind = k}, &(int64_t){v}, 8, text, json)
#define DOUBLE_IS(k, v, text, json) value_is((struct cols_type){.kind = k}, &(double){v}, 8, text, json)

static void test_text(void **state) {
    (void)state;
    INT_IS(COLS_INT8, -128, "-128", "-128");
    INT_IS(COLS_UINT64, -1, "18446744073709551615", "18446744073709551615");
    INT_IS(COLS_DATE, -1, "1969-12-31", "\"1969-12-31\"");
    INT_IS(COLS_TIME, 11045000600, "03:04:05.0006", "\"03:04:05.0006\"");
    INT_IS(COLS_TIMESTAMP, 1704164645000006, "2024-01-02 03:04:05.000006", "\"2024-01-02T03:04:05.000006\"");
    value_is((struct cols_type){.kind = COLS_TIMESTAMP, .tz = true}, &(int64_t){-1}, 8, "1969-12-31 23:59:59.999999+00",
             "\"1969-12-31T23:59:59.999999Z\"");
    DOUBLE_IS(COLS_DOUBLE, 0.1, "0.1", "0.1");
    DOUBLE_IS(COLS_DOUBLE, 1.0 / 3, "0.3333333333333333", "0.3333333333333333");
    DOUBLE_IS(COLS_DOUBLE, NAN, "NaN", "\"NaN\"");
    DOUBLE_IS(COLS_FLOAT, 0.1, "0.1", "0.1");
    value_is((struct cols_type){.kind = COLS_BOOL}, &(bool){true}, 1, "true", "true");
    value_is((struct cols_type){.kind = COLS_STRING}, "a\"b", 3, "a\"b", "\"a\\\"b\"");
    value_is((struct cols_type){.kind = COLS_BYTES}, "\x00\xFF", 2, "\\x00ff", "\"AP8=\"");
    __int128 d = -5;
    value_is((struct cols_type){.kind = COLS_DECIMAL, .precision = 10, .scale = 2}, &d, 16, "-0.05", "-0.05");
    d = 123456;
    value_is((struct cols_type){.kind = COLS_DECIMAL, .precision = 10, .scale = 2}, &d, 16, "1234.56", "1234.56");
    value_is((struct cols_type){.kind = COLS_DECIMAL, .precision = 10, .scale = 0}, &d, 16, "123456", "123456");
    struct cols_interval iv = {14, 3, 3600000000000};
    value_is((struct cols_type){.kind = COLS_INTERVAL}, &iv, 16, "1 year 2 months 3 days 01:00:00", "\"1 year 2 months 3 days 01:00:00\"");
    uint8_t uuid[16];
    assert_true(cols_uuid_parse(STR("550E8400-e29b-41d4-a716-446655440000"), uuid));
    value_is((struct cols_type){.kind = COLS_UUID}, uuid, 16, "550e8400-e29b-41d4-a716-446655440000", "\"550e8400-e29b-41d4-a716-446655440000\"");
    assert_false(cols_uuid_parse(STR("550E8400-e29b-41d4-a716-44665544000g"), uuid));
}

static void test_calendar(void **state) {
    (void)state;
    for (int64_t d = -1000000; d < 1000000; d += 37) {
        int64_t y;
        unsigned m, day;
        cols_civil_of(d, &y, &m, &day);
        assert_true(cols_days_of(y, m, day) == d);
        if (y < 1 || y > 9999) continue;
        struct buf b;
        int32_t back;
        buf_init(&b, 0);
        cols_date_text((int32_t)d, &b);
        assert_true(cols_date_parse(buf_str(&b), &back));
        assert_int_equal(back, d);
        buf_fini(&b);
    }
    int64_t us;
    bool tz;
    assert_true(cols_timestamp_parse(STR("2024-02-29T23:59:59.123456789+01:30"), &us, &tz));
    assert_true(tz && us == 1709245799123456);
    assert_true(cols_timestamp_parse(STR("2001-01-01"), &us, &tz));
    assert_true(!tz && us == 978307200000000);
    assert_false(cols_timestamp_parse(STR("2023-02-29"), &us, NULL));
    assert_false(cols_timestamp_parse(STR("2023-01-01T25:00"), &us, NULL));
    assert_false(cols_timestamp_parse(STR("2023-01-01 10:00 "), &us, NULL));
    __int128 d;
    assert_true(cols_decimal_parse(STR("-12.5"), 5, 2, &d));
    assert_true(d == -1250);
    assert_true(cols_decimal_parse(STR("12.500"), 5, 1, &d));
    assert_true(d == 125);
    assert_false(cols_decimal_parse(STR("12.55"), 5, 1, &d));
    assert_false(cols_decimal_parse(STR("12345"), 5, 1, &d));
    assert_false(cols_decimal_parse(STR("."), 5, 1, &d));
}

static void test_types(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    struct cols_schema *copy = cols_schema_copy(&nested, &a);
    for (size_t i = 0; i < nested.n; i++) assert_true(cols_type_eq(&copy->fields[i].type, &nested.fields[i].type));
    assert_false(cols_type_eq(&copy->fields[0].type, &copy->fields[1].type));
    assert_int_equal(cols_schema_find(copy, STR("map")), 1);
    assert_int_equal(cols_schema_find(copy, STR("Map")), -1);
    struct buf b;
    buf_init(&b, 0);
    cols_type_text(&copy->fields[0].type, &b);
    assert_string_equal(buf_cstr(&b), "list<struct<k: string, l: list<int32>>>");
    buf_fini(&b);
    arena_fini(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flat), cmocka_unit_test(test_nested_rollback), cmocka_unit_test(test_text), cmocka_unit_test(test_calendar),
        cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests_name("cols", tests, NULL, NULL);
}
