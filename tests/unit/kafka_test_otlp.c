// SPDX-License-Identifier: Apache-2.0
// The reader of OTLP metrics: gauges, sums, attributes; cut and hostile bytes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "kafka/otlp.h"

static void put_bytes(struct buf *out, int field, struct str bytes) {
    buf_put_u8(out, (uint8_t)(field << 3 | 2));
    assert_true(bytes.n < 128 * 128);
    if (bytes.n >= 128) buf_put_u8(out, (uint8_t)(bytes.n & 0x7f) | 0x80);
    buf_put_u8(out, (uint8_t)(bytes.n >= 128 ? bytes.n >> 7 : bytes.n));
    buf_put_str(out, bytes);
}

static void put_fixed(struct buf *out, int field, const void *p) {
    buf_put_u8(out, (uint8_t)(field << 3 | 1));
    buf_put(out, p, 8);
}

// A metric with one data point: `kind` 5 gauge, 7 sum.
static void put_metric(struct buf *scope, const char *name, int kind, bool delta, bool integer, double value) {
    struct buf attribute = {.max = 1000}, text = {.max = 1000}, point = {.max = 1000}, data = {.max = 1000}, metric = {.max = 1000};
    put_bytes(&text, 1, STR("node 1"));
    put_bytes(&attribute, 1, STR("node"));
    put_bytes(&attribute, 2, buf_str(&text));
    int64_t whole = (int64_t)value;
    put_fixed(&point, 3, &whole); // a time, passed over
    if (integer) put_fixed(&point, 6, &whole);
    else put_fixed(&point, 4, &value);
    put_bytes(&point, 7, buf_str(&attribute));
    put_bytes(&data, 1, buf_str(&point));
    if (kind == 7) buf_put(&data, delta ? "\x10\x01" : "\x10\x02", 2);
    put_bytes(&metric, 1, str_c(name));
    put_bytes(&metric, 3, STR("unit"));
    put_bytes(&metric, kind, buf_str(&data));
    put_bytes(scope, 2, buf_str(&metric));
    buf_fini(&attribute), buf_fini(&text), buf_fini(&point), buf_fini(&data), buf_fini(&metric);
}

static void make(struct buf *out) {
    struct buf scope = {.max = 10000}, resource = {.max = 10000};
    put_metric(&scope, "a.gauge", 5, false, false, 1.5);
    put_metric(&scope, "a.total", 7, true, true, 42);
    put_metric(&scope, "b.total", 7, false, false, 7);
    put_bytes(&resource, 1, STR("")); // the resource
    put_bytes(&resource, 2, buf_str(&scope));
    put_bytes(out, 1, buf_str(&resource));
    buf_fini(&scope), buf_fini(&resource);
}

static void see(void *arg, const struct otlp_point *p) {
    char *out = arg;
    size_t n = strlen(out);
    assert_int_equal(p->n_labels, 2);
    (void)snprintf(out + n, 500 - n, "%.*s %s%s %g %.*s=%.*s; ", STR_ARG(p->name), p->sum ? "sum" : "gauge", p->delta ? " delta" : "", p->value,
                   STR_ARG(p->labels[0]), STR_ARG(p->labels[1]));
}

static void test_points(void **state) {
    (void)state;
    struct buf b = {.max = 20000};
    char seen[500] = "";
    make(&b);
    assert_int_equal(otlp_read(buf_str(&b), see, seen, NULL), ERR_OK);
    assert_string_equal(seen, "a.gauge gauge 1.5 node=node 1; a.total sum delta 42 node=node 1; b.total sum 7 node=node 1; ");
    buf_fini(&b);
}

static void nothing(void *arg, const struct otlp_point *p) {
    (void)arg;
    assert_true(p->n_labels <= 8);
}

static void test_damage(void **state) {
    (void)state;
    struct buf b = {.max = 20000};
    make(&b);
    for (size_t n = 1; n < b.n; n++) assert_int_equal(otlp_read(str_n(b.p, n), nothing, NULL, NULL), ERR_PARSE); // cut anywhere
    for (size_t i = 0; i < b.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            b.p[i] ^= (uint8_t)(1 << bit);
            (void)otlp_read(buf_str(&b), nothing, NULL, NULL); // never reads outside: the sanitizer says so
            b.p[i] ^= (uint8_t)(1 << bit);
        }
    assert_int_equal(otlp_read(STR("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), nothing, NULL, NULL), ERR_PARSE);
    assert_int_equal(otlp_read(STR(""), nothing, NULL, NULL), ERR_OK);
    buf_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_points), cmocka_unit_test(test_damage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
