// SPDX-License-Identifier: Apache-2.0
// codec: known answers, round trips with random data, refusal of damaged and oversized input.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "codec/crc32c.h"
#include "codec/varint.h"

static uint64_t rng_state = 88172645463325252ull;
static uint64_t rnd(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    return rng_state ^= rng_state << 17;
}

static void test_crc32c(void **state) {
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(crc32c_soft(0, "123456789", 9), 0xE3069283u);
    uint8_t zeros[32] = {0};
    assert_int_equal(crc32c(0, zeros, 32), 0x8A9136AAu); // RFC 3720 B.4
    size_t n = 70000;
    uint8_t *p = mem_alloc(n);
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)rnd();
    for (int i = 0; i < 300; i++) {
        size_t at = rnd() % 64, len = i < 100 ? (size_t)i * 17 : rnd() % (n - at);
        uint32_t want = crc32c_soft(0, p + at, len);
        assert_int_equal(crc32c(0, p + at, len), want);
        size_t cut = len == 0 ? 0 : rnd() % len;
        assert_int_equal(crc32c(crc32c(0, p + at, cut), p + at + cut, len - cut), want);
    }
    mem_free(p);
}

static void test_varint(void **state) {
    (void)state;
    for (int i = 0; i < 20000; i++) {
        int64_t v = (int64_t)(rnd() >> (rnd() % 64));
        if (rnd() & 1) v = -v;
        if (i == 0) v = INT64_MIN;
        if (i == 1) v = INT64_MAX;
        struct buf b;
        buf_init(&b, 0);
        buf_put_varint(&b, v);
        buf_put_uvarint(&b, (uint64_t)v);
        assert_int_equal(b.n, varint_size(v) + uvarint_size((uint64_t)v));
        struct rd r = rd_of(b.p, b.n);
        assert_true(rd_varint(&r) == v);
        assert_true(rd_uvarint(&r) == (uint64_t)v);
        assert_false(r.failed);
        assert_int_equal(rd_left(&r), 0);
        r = rd_of(b.p, varint_size(v) - 1);
        rd_varint(&r);
        assert_true(r.failed);
        buf_clear(&b);
        buf_put_varint(&b, (int32_t)v);
        r = rd_of(b.p, b.n);
        assert_int_equal(rd_varint32(&r), (int32_t)v);
        assert_false(r.failed);
        buf_fini(&b);
    }
    const uint8_t long64[] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02}, long32[] = {0xFF, 0xFF, 0xFF, 0xFF, 0x1F};
    struct rd r = rd_of(long64, sizeof long64);
    rd_uvarint(&r);
    assert_true(r.failed);
    r = rd_of(long32, sizeof long32);
    rd_uvarint32(&r);
    assert_true(r.failed);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crc32c), cmocka_unit_test(test_varint)};
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
