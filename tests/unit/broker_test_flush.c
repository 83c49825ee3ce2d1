// SPDX-License-Identifier: Apache-2.0
// flush.messages and flush.ms of a topic: acknowledged and seen when written, synced after so many records or so much time.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/metrics.h"
#include "broker_fixture.h"
#include "log/batch.h"

static void create(struct fixture *f, const char *name, const char *key, const char *value) {
    struct err err = {0};
    struct broker_kv kv = {key, value};
    if (broker_topic_create(f->broker, name, 1, &kv, key == NULL ? 0 : 1, false, NULL, NULL, &err) != ERR_OK) fail_msg("%s", err.msg);
}

// n produces, each acknowledged; returns how many syncs there were meanwhile. Each is seen at once.
static int64_t produce(struct fixture *f, const char *topic, int n) {
    struct buf b = {0};
    struct broker_offsets o;
    int64_t before = metric_get(M_LOG_SYNCS, NULL);
    for (int i = 0; i < n; i++) {
        struct batch_builder bb;
        buf_clear(&b);
        batch_begin(&bb, &b, fixture_now_ms(f));
        batch_add(&bb, fixture_now_ms(f), STR("k"), false, STR("v"), false, NULL, 0);
        batch_end(&bb);
        struct broker_produce r = fixture_produce(f, topic, 0, buf_str(&b), true);
        assert_int_equal(r.kafka_error, 0);
        assert_int_equal(broker_offsets(f->broker, topic, 0, &o, NULL), ERR_OK);
        assert_true(o.high_watermark > r.base_offset);
        buf_clear(&b);
        assert_int_equal(broker_read(f->broker, topic, 0, r.base_offset, 1, &b, NULL, NULL), ERR_OK);
        assert_true(b.n > 0);
    }
    buf_fini(&b);
    return metric_get(M_LOG_SYNCS, NULL) - before;
}

static void test_flush(void **state) {
    struct fixture *f = *state;
    create(f, "strict", NULL, NULL);
    create(f, "never", "flush.messages", "9223372036854775807");
    create(f, "ten", "flush.messages", "10");
    create(f, "one", "flush.messages", "1");
    create(f, "zero", "flush.ms", "0");
    assert_true(produce(f, "strict", 50) >= 50);
    assert_true(produce(f, "one", 50) >= 50);
    assert_true(produce(f, "zero", 50) >= 50);
    int64_t ten = produce(f, "ten", 50);
    assert_true(ten >= 4 && ten <= 12);
    assert_true(produce(f, "never", 50) <= 2);
    struct broker_kv strict = {"flush.messages", NULL}; // back to the default: from now on all waits
    assert_int_equal(broker_topic_alter(f->broker, "never", &strict, 1, false, NULL), ERR_OK);
    assert_true(produce(f, "never", 5) >= 5);
    struct broker_offsets o;
    fixture_restart(f, true);
    assert_int_equal(broker_offsets(f->broker, "ten", 0, &o, NULL), ERR_OK);
    assert_int_equal(o.high_watermark, 50);
}

// Nothing more comes: the time syncs what is there.
static void test_flush_ms(void **state) {
    struct fixture *f = *state;
    create(f, "t", "flush.ms", "1");
    int64_t before = metric_get(M_LOG_SYNCS, NULL);
    (void)produce(f, "t", 3);
    int64_t until = sys_mono_us(f->sys) + 30000000;
    while (metric_get(M_LOG_SYNCS, NULL) == before) assert_true(sys_mono_us(f->sys) < until);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_flush, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_flush_ms, fixture_setup, fixture_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
