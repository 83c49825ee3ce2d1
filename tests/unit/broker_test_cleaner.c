// SPDX-License-Identifier: Apache-2.0
// The cleaner on the real disk: compacted topics become small and lose nothing but what compaction may drop; DeleteRecords.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "broker_fixture.h"
#include "log/batch.h"

enum { KEYS = 50 };

static void create(struct fixture *f, const char *name, const struct broker_kv *configs, size_t n) {
    struct err err = {0};
    if (broker_topic_create(f->broker, name, 1, configs, n, false, NULL, NULL, &err) != ERR_OK) fail_msg("%s", err.msg);
}

static int64_t put(struct fixture *f, const char *topic, int key, int64_t value, bool deletion) {
    char k[32], v[300];
    int64_t offset = -1;
    struct err err = {0};
    snprintf(k, sizeof k, "key-%d", key);
    snprintf(v, sizeof v, "%0250lld", (long long)value);
    struct broker_record r = {.key = str_c(k), .value = str_c(v), .value_null = deletion, .timestamp_ms = -1};
    if (broker_append(f->broker, topic, 0, &r, 1, &offset, &err) != ERR_OK) fail_msg("%s", err.msg);
    return offset;
}

// The newest value of each key, as a consumer sees it from the start; -1 = none or deleted. Returns how many records there are.
static int64_t read_table(struct fixture *f, const char *topic, int64_t table[KEYS]) {
    struct broker_offsets o;
    struct buf b = {0};
    struct err err = {0};
    int64_t records = 0;
    assert_int_equal(broker_offsets(f->broker, topic, 0, &o, &err), ERR_OK);
    for (int k = 0; k < KEYS; k++) table[k] = -1;
    for (int64_t at = o.start; at < o.high_watermark;) {
        struct batch x;
        buf_clear(&b);
        if (broker_read(f->broker, topic, 0, at, 10000, &b, NULL, &err) != ERR_OK) fail_msg("%s", err.msg);
        assert_true(b.n > 0);
        for (size_t pos = 0; pos < b.n; pos += x.size) {
            struct batch_iter it;
            struct batch_record r;
            assert_int_equal(batch_read(b.p + pos, b.n - pos, &x), BATCH_OK);
            assert_int_equal(batch_iter_init(&it, &x, 0, NULL), ERR_OK);
            for (; batch_iter_next(&it, &r, NULL) == 1; records++) {
                int64_t key = 0, value = -1;
                assert_true(str_to_i64(str_n(r.key.p + 4, r.key.n - 4), &key) && (r.value_null || str_to_i64(r.value, &value)));
                table[key] = value;
            }
            batch_iter_fini(&it);
            at = batch_last_offset(&x) + 1;
        }
    }
    buf_fini(&b);
    return records;
}

static void test_compacts(void **state) {
    struct fixture *f = *state;
    static const struct broker_kv configs[] = {{"cleanup.policy", "compact"}, {"internal.segment.bytes", "20000"}, {"min.cleanable.dirty.ratio", "0.3"}};
    int64_t want[KEYS], table[KEYS], written = 0, records = INT64_MAX;
    create(f, "c", configs, 3);
    for (int k = 0; k < KEYS; k++) want[k] = -1;
    for (int round = 0; records > written / 3; round++) { // writes on until the cleaner was there
        for (int i = 0; i < 100; i++, written++) {
            int key = (int)((uint64_t)written * 2654435761u % KEYS);
            bool deletion = written % 11 == 0;
            put(f, "c", key, written, deletion);
            want[key] = deletion ? -1 : written;
        }
        broker_upkeep(f->broker);
        records = read_table(f, "c", table);
        assert_memory_equal(table, want, sizeof want);
        assert_true(round < 300);
    }
    for (int i = 0; i < 2; i++) {
        fixture_restart(f, i == 0);
        assert_true(read_table(f, "c", table) <= written);
        assert_memory_equal(table, want, sizeof want);
    }
    assert_int_equal(put(f, "c", 1, written, false), written); // offsets go on
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_compacts, fixture_setup, fixture_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
