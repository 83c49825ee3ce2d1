// SPDX-License-Identifier: Apache-2.0
// The pass over a batch's records, packed by each codec and not.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "codec/compress.h"
#include "codec/crc32c.h"
#include "log/scan.h"

enum { BASE = 1000 };

static struct buf bytes; // of the batch at hand

static void seal(int codec, int32_t count) {
    bytes.p[22] = (uint8_t)codec;
    buf_set_be32(&bytes, 8, (uint32_t)(bytes.n - BATCH_PREFIX));
    buf_set_be32(&bytes, 23, (uint32_t)(count - 1));
    buf_set_be32(&bytes, 57, (uint32_t)count);
    buf_set_be32(&bytes, 17, crc32c(0, bytes.p + 21, bytes.n - 21));
}

// `records`, packed, behind a header that says `count`.
static struct batch batch_of(int codec, struct str records, int32_t count) {
    struct batch_builder bb;
    struct batch b;
    buf_clear(&bytes);
    batch_begin(&bb, &bytes, BASE);
    batch_add(&bb, BASE, STR("k"), false, STR("v"), false, NULL, 0);
    batch_end(&bb);
    bytes.n = BATCH_HEADER;
    assert_int_equal(compress_bytes((enum compress_kind)codec, records, &bytes, NULL), ERR_OK);
    seal(codec, count);
    assert_int_equal(batch_read(bytes.p, bytes.n, &b), BATCH_OK);
    return b;
}

// `n` records with values of `size` bytes that do not pack well; record i has the time BASE + i, and no key when i is `keyless`.
static void records_of(struct buf *out, int n, size_t size, int keyless) {
    struct batch_builder bb;
    uint64_t x = 88172645463325252u;
    char *value = mem_alloc(size + 8);
    buf_clear(out);
    batch_begin(&bb, out, BASE);
    for (int i = 0; i < n; i++) {
        for (size_t at = 0; at < size; at += 8) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            memcpy(value + at, &x, 8);
        }
        batch_add(&bb, BASE + i, STR("key"), i == keyless, str_n(value, size), false, NULL, 0);
    }
    mem_free(value);
    batch_end(&bb);
    buf_consume(out, BATCH_HEADER);
}

static enum batch_scan_end scan(struct batch_scanner *x, const struct batch *b, size_t max_plain, struct batch_scan *out) {
    struct err err = {0};
    return batch_codec(b) == COMPRESS_NONE ? batch_scan(b, out) : batch_scan_packed(x, b, max_plain, out, &err);
}

static void test_facts(void **state) {
    (void)state;
    static const struct {
        int n;
        size_t size;
    } shapes[] = {{1, 0}, {3, 10}, {5000, 90}, {40, 40000}, {3, 3 << 20}};
    struct batch_scanner *x = batch_scanner_new();
    struct buf plain = {0};
    struct batch_scan s;
    for (size_t shape = 0; shape < sizeof shapes / sizeof shapes[0]; shape++)
        for (int codec = 0; codec < COMPRESS_COUNT; codec++) {
            int n = shapes[shape].n, keyless = codec % 2 == 0 ? -1 : n / 2;
            records_of(&plain, n, shapes[shape].size, keyless);
            struct batch b = batch_of(codec, buf_str(&plain), n);
            assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_OK);
            assert_int_equal(s.max_timestamp, BASE + n - 1);
            assert_int_equal(s.min_timestamp, BASE);
            assert_int_equal(s.plain, plain.n);
            assert_true(s.largest > (int64_t)shapes[shape].size && s.largest < (int64_t)shapes[shape].size + 24);
            assert_true(s.in_order && s.key_missing == (keyless >= 0));
            b = batch_of(codec, buf_str(&plain), n + 1);
            assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_MALFORMED);
            if (n > 1) {
                b = batch_of(codec, buf_str(&plain), n - 1);
                assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_MALFORMED);
            }
            buf_put_u8(&plain, 0);
            b = batch_of(codec, buf_str(&plain), n);
            assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_MALFORMED);
            plain.n -= 2;
            b = batch_of(codec, buf_str(&plain), n);
            assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_MALFORMED);
        }
    buf_fini(&plain);
    batch_scanner_free(x);
}

// What is damaged leaves nothing behind in a scanner that serves again; what is too long is left in its middle.
static void test_damage(void **state) {
    (void)state;
    struct batch_scanner *x = batch_scanner_new();
    struct buf plain = {0};
    struct batch_scan s;
    records_of(&plain, 5000, 100, -1);
    for (int round = 0; round < 3; round++)
        for (int codec = 1; codec < COMPRESS_COUNT; codec++) {
            struct batch b = batch_of(codec, buf_str(&plain), 5000);
            assert_int_equal(scan(x, &b, 100000, &s), BATCH_SCAN_LONGER);
            assert_int_equal(scan(x, &b, plain.n - 1, &s), BATCH_SCAN_LONGER);
            assert_int_equal(scan(x, &b, plain.n, &s), BATCH_SCAN_OK);
            size_t whole = bytes.n;
            bytes.n = BATCH_HEADER + (whole - BATCH_HEADER) / 2; // cut short
            seal(codec, 5000);
            assert_int_equal(batch_read(bytes.p, bytes.n, &b), BATCH_OK);
            assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_UNREADABLE);
            bytes.n = whole;
            memset(bytes.p + BATCH_HEADER, 0xA5, whole - BATCH_HEADER);
            seal(codec, 5000);
            assert_int_equal(batch_read(bytes.p, bytes.n, &b), BATCH_OK);
            assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_UNREADABLE);
            b = batch_of(codec, STR(""), 1);
            assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_MALFORMED);
            bytes.n = BATCH_HEADER; // not even an empty stream
            seal(codec, 1);
            assert_int_equal(batch_read(bytes.p, bytes.n, &b), BATCH_OK);
            assert_int_equal(scan(x, &b, SIZE_MAX, &s), codec == COMPRESS_ZSTD ? BATCH_SCAN_MALFORMED : BATCH_SCAN_UNREADABLE);
        }
    buf_fini(&plain);
    batch_scanner_free(x);
}

// Frames that lz4 itself reads and Kafka's readers do not, or not to their end.
static void test_lz4_frames(void **state) {
    (void)state;
    struct batch_scanner *x = batch_scanner_new();
    struct buf plain = {0}, twice = {0};
    struct batch_scan s;
    records_of(&plain, 2, 100, -1);
    struct batch b = batch_of(COMPRESS_LZ4, buf_str(&plain), 2);
    assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_OK);
    buf_put(&twice, b.p + BATCH_HEADER, b.size - BATCH_HEADER);
    buf_put_str(&bytes, buf_str(&twice)); // a second frame
    seal(COMPRESS_LZ4, 4);
    assert_int_equal(batch_read(bytes.p, bytes.n, &b), BATCH_OK);
    assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_UNREADABLE);
    b = batch_of(COMPRESS_LZ4, buf_str(&plain), 2);
    bytes.p[BATCH_HEADER + 4] &= (uint8_t)~0x20; // blocks that stand on each other
    seal(COMPRESS_LZ4, 2);
    assert_int_equal(batch_read(bytes.p, bytes.n, &b), BATCH_OK);
    assert_int_equal(scan(x, &b, SIZE_MAX, &s), BATCH_SCAN_UNREADABLE);
    buf_fini(&plain);
    buf_fini(&twice);
    batch_scanner_free(x);
}

static void test_renumber(void **state) {
    (void)state;
    struct buf plain = {0}, wrong = {0}, right = {0};
    struct batch_scan s;
    records_of(&plain, 200, 20, 7);
    for (const uint8_t *p = plain.p; p < plain.p + plain.n; p += 1 + *p / 2) { // lengths, times and offsets of one or two bytes: offset becomes 3
        size_t size = *p / 2, time = p[2] < 128 ? 1 : 2, offset = p[2 + time] < 128 ? 1 : 2;
        buf_put_u8(&wrong, (uint8_t)((size - offset + 1) * 2));
        buf_put(&wrong, p + 1, 1 + time);
        buf_put_u8(&wrong, 6);
        buf_put(&wrong, p + 2 + time + offset, size - 1 - time - offset);
    }
    struct batch b = batch_of(COMPRESS_NONE, buf_str(&wrong), 200);
    assert_int_equal(batch_scan(&b, &s), BATCH_SCAN_OK);
    assert_true(!s.in_order && s.max_timestamp == BASE + 199);
    batch_renumber(buf_str(&wrong), 200, &right);
    assert_int_equal(right.n, plain.n);
    assert_memory_equal(right.p, plain.p, plain.n);
    buf_fini(&plain);
    buf_fini(&wrong);
    buf_fini(&right);
}

static int forget(void **state) {
    (void)state;
    buf_fini(&bytes);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_facts), cmocka_unit_test(test_damage), cmocka_unit_test(test_lz4_frames),
                                       cmocka_unit_test(test_renumber)};
    return cmocka_run_group_tests(tests, NULL, forget);
}
