// SPDX-License-Identifier: Apache-2.0
// The broker on the real disk with real loops: topics, configs, produce and read, idempotent producers, waits, back-pressure, restarts.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/broker.h"
#include "broker/kafka_error.h"
#include "log/batch.h"
#include "unit/broker_fixture.h"

static int setup(void **state) { return fixture_setup(state); }
static int teardown(void **state) { return fixture_teardown(state); }

static void build(struct buf *out, int64_t time, int records, size_t value_size, int64_t producer, int16_t epoch, int32_t sequence) {
    static char value[1 << 20];
    struct batch_builder bb;
    buf_clear(out);
    batch_begin(&bb, out, time);
    for (int i = 0; i < records; i++) batch_add(&bb, time, STR("k"), false, str_n(value, value_size), false, NULL, 0);
    bb.producer_id = producer;
    bb.producer_epoch = epoch;
    bb.base_sequence = sequence;
    batch_end(&bb);
}

static struct broker_produce put(struct fixture *f, const char *topic, int records, size_t size, int64_t producer, int16_t epoch, int32_t sequence) {
    struct buf b = {0};
    build(&b, fixture_now_ms(f), records, size, producer, epoch, sequence);
    struct broker_produce p = fixture_produce(f, topic, 0, buf_str(&b), true);
    buf_fini(&b);
    return p;
}

static void create(struct fixture *f, const char *name, int partitions) {
    struct err err = {0};
    if (broker_topic_create(f->broker, name, partitions, NULL, 0, false, NULL, NULL, &err) != ERR_OK) fail_msg("%s", err.msg);
}

static void test_topics(void **state) {
    struct fixture *f = *state;
    struct broker *b = f->broker;
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    struct broker_topic_info info;
    struct broker_kv configs[] = {{"retention.ms", "1000"}, {"cleanup.policy", "delete"}};
    assert_int_equal(broker_topic_create(b, "t.1", 3, configs, 2, true, &info, &a, &err), ERR_OK);
    assert_false(broker_topic_get(b, STR("t.1"), &a, &info)); // only validated
    assert_int_equal(broker_topic_create(b, "t.1", 3, configs, 2, false, &info, &a, &err), ERR_OK);
    assert_int_equal(info.partitions, 3);
    uint8_t zero[16] = {0}, id[16];
    assert_memory_not_equal(info.id, zero, 16);
    memcpy(id, info.id, 16);
    assert_int_equal(broker_topic_create(b, "t.1", 3, NULL, 0, false, NULL, NULL, &err), ERR_EXISTS);
    static const char *const bad[] = {"", ".", "..", "a/b", "a b", "\xc3\xa9", "x\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(broker_topic_create(b, bad[i], 1, NULL, 0, false, NULL, NULL, &err), ERR_TOPIC_NAME);
        assert_int_equal(err_info(ERR_TOPIC_NAME)->kafka, 17);
    }
    assert_int_equal(broker_topic_create(b, "zero", 0, NULL, 0, false, NULL, NULL, &err), ERR_PARTITIONS);
    assert_int_equal(broker_topic_create(b, "many", 20000, NULL, 0, false, NULL, NULL, &err), ERR_POLICY);
    assert_int_equal(broker_topic_create(b, "default", -1, NULL, 0, false, &info, &a, &err), ERR_OK);
    assert_int_equal(info.partitions, 4);
    assert_int_equal(broker_topic_grow(b, "t.1", 3, false, &err), ERR_PARTITIONS);
    assert_int_equal(broker_topic_grow(b, "t.1", 5, true, &err), ERR_OK);
    assert_int_equal(broker_topic_grow(b, "t.1", 5, false, &err), ERR_OK);
    assert_int_equal(broker_topic_grow(b, "none", 5, false, &err), ERR_NO_TOPIC);
    for (int clean = 1; clean >= 0; clean--) {
        fixture_restart(f, clean == 1);
        b = f->broker;
        struct broker_topic_info *all;
        assert_int_equal(broker_topic_list(b, &a, &all), 3);
        assert_string_equal(all[0].name, "__consumer_offsets");
        assert_true(all[0].internal);
        assert_string_equal(all[1].name, "default");
        assert_string_equal(all[2].name, "t.1");
        assert_true(broker_topic_get_id(b, id, &a, &info));
        assert_string_equal(info.name, "t.1");
        assert_int_equal(info.partitions, 5);
    }
    assert_int_equal(broker_topic_delete(b, "t.1", &err), ERR_OK);
    assert_int_equal(broker_topic_delete(b, "t.1", &err), ERR_NO_TOPIC);
    assert_false(broker_topic_get_id(b, id, &a, &info));
    create(f, "t.1", 1);
    assert_true(broker_topic_get(b, STR("t.1"), &a, &info));
    assert_memory_not_equal(info.id, id, 16);
    arena_fini(&a);
}

static const struct broker_config_entry *entry(struct broker *b, struct arena *a, const char *topic, const char *name) {
    struct broker_config_entry *e;
    size_t n = 0;
    if (topic == NULL) n = broker_configs(b, a, &e);
    else assert_int_equal(broker_topic_configs(b, topic, a, &e, &n, NULL), ERR_OK);
    for (size_t i = 0; i < n; i++)
        if (strcmp(e[i].name, name) == 0) return &e[i];
    fail_msg("no config %s", name);
    return NULL;
}

static void test_configs(void **state) {
    struct fixture *f = *state;
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    create(f, "c", 1);
    assert_string_equal(entry(f->broker, &a, "c", "retention.ms")->value, "604800000");
    assert_int_equal(entry(f->broker, &a, "c", "retention.ms")->source, 5);
    assert_int_equal(entry(f->broker, &a, "c", "segment.bytes")->source, 4); // set by the fixture for the broker
    assert_string_equal(entry(f->broker, &a, NULL, "log.segment.bytes")->value, "1048576");
    assert_string_equal(entry(f->broker, &a, NULL, "num.partitions")->value, "4");
    struct broker_kv change = {"retention.ms", "5"};
    assert_int_equal(broker_topic_alter(f->broker, "c", &change, 1, true, &err), ERR_OK);
    assert_int_equal(entry(f->broker, &a, "c", "retention.ms")->source, 5);
    assert_int_equal(broker_topic_alter(f->broker, "c", &change, 1, false, &err), ERR_OK);
    fixture_restart(f, true);
    assert_string_equal(entry(f->broker, &a, "c", "retention.ms")->value, "5");
    assert_int_equal(entry(f->broker, &a, "c", "retention.ms")->source, 1);
    change.value = NULL;
    assert_int_equal(broker_topic_alter(f->broker, "c", &change, 1, false, &err), ERR_OK);
    assert_string_equal(entry(f->broker, &a, "c", "retention.ms")->value, "604800000");
    static const struct {
        struct broker_kv kv;
        enum err_code code;
    } bad[] = {
        {{"no.such", "1"}, ERR_CONFIG},       {{"retention.ms", "x"}, ERR_CONFIG},          {{"retention.ms", "-2"}, ERR_CONFIG},
        {{"segment.bytes", "10"}, ERR_CONFIG}, {{"cleanup.policy", "burn"}, ERR_CONFIG},     {{"message.timestamp.type", "Now"}, ERR_CONFIG},
        {{"preallocate", "maybe"}, ERR_CONFIG}, {{"compression.type", "lzma"}, ERR_CONFIG}, {{"remote.storage.enable", "true"}, ERR_NOT_SUPPORTED},
        {{"segment.bytes", "3000000000"}, ERR_CONFIG}, {{"min.insync.replicas", "0"}, ERR_CONFIG},
        {{"retention.bytes", "1\n2"}, ERR_CONFIG},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(broker_topic_alter(f->broker, "c", &bad[i].kv, 1, false, &err), bad[i].code);
        assert_non_null(strstr(err.msg, bad[i].kv.name));
    }
    arena_fini(&a);
}

static void test_produce_read(void **state) {
    struct fixture *f = *state;
    create(f, "p", 2);
    int64_t next = 0;
    for (int i = 1; i <= 50; i++) {
        struct broker_produce p = put(f, "p", i, 100, -1, -1, -1);
        assert_int_equal(p.kafka_error, 0);
        assert_int_equal(p.base_offset, next);
        assert_int_equal(p.log_append_time_ms, -1);
        assert_int_equal(p.log_start_offset, 0);
        next += i;
    }
    struct broker_offsets o;
    assert_int_equal(broker_offsets(f->broker, "p", 0, &o, NULL), ERR_OK);
    assert_true(o.start == 0 && o.high_watermark == next && o.end == next);
    assert_int_equal(broker_offsets(f->broker, "p", 2, &o, NULL), ERR_NO_TOPIC);
    for (int round = 0; round < 3; round++) {
        struct buf b = {0};
        assert_int_equal(broker_read(f->broker, "p", 0, 3, 1 << 20, &b, &o, NULL), ERR_OK);
        struct batch x;
        assert_int_equal(batch_read(b.p, b.n, &x), BATCH_OK);
        assert_true(x.base_offset == 3 && x.count == 3 && o.high_watermark == next);
        buf_clear(&b);
        assert_int_equal(broker_read(f->broker, "p", 0, next, 100, &b, NULL, NULL), ERR_OK);
        assert_int_equal(b.n, 0);
        assert_int_equal(broker_read(f->broker, "p", 0, next + 1, 100, &b, &o, NULL), ERR_OFFSET_RANGE);
        assert_int_equal(o.high_watermark, next);
        assert_int_equal(broker_read(f->broker, "p", 1, 0, 100, &b, &o, NULL), ERR_OK);
        assert_int_equal(o.end, 0);
        buf_fini(&b);
        fixture_restart(f, round == 0);
    }
}

static int produce_raw(struct fixture *f, struct buf *b) {
    struct broker_produce p = fixture_produce(f, "r", 0, buf_str(b), true);
    assert_true(p.kafka_error == 0 || p.message[0] != '\0');
    return p.kafka_error;
}

static void test_refusals(void **state) {
    struct fixture *f = *state;
    struct buf b = {0};
    create(f, "r", 1);
    int64_t now = fixture_now_ms(f);
    build(&b, now, 2, 10, -1, -1, -1);
    struct broker_produce p = fixture_produce(f, "none", 0, buf_str(&b), true);
    assert_int_equal(p.kafka_error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    b.p[b.n - 1] ^= 1;
    assert_int_equal(produce_raw(f, &b), KAFKA_CORRUPT_MESSAGE);
    build(&b, now, 2, 10, -1, -1, -1);
    b.n--;
    assert_int_equal(produce_raw(f, &b), KAFKA_INVALID_RECORD);
    build(&b, now, 2, 10, -1, -1, -1);
    b.p[16] = 1;
    assert_int_equal(produce_raw(f, &b), KAFKA_INVALID_RECORD);
    build(&b, now, 2, (1 << 20) - 10, -1, -1, -1);
    assert_int_equal(produce_raw(f, &b), KAFKA_MESSAGE_TOO_LARGE);
    build(&b, now + 7200 * 1000, 1, 10, -1, -1, -1);
    assert_int_equal(produce_raw(f, &b), KAFKA_INVALID_TIMESTAMP);
    b.n = 0;
    assert_int_equal(produce_raw(f, &b), KAFKA_INVALID_RECORD);
    struct broker_kv compact = {"cleanup.policy", "compact"};
    assert_int_equal(broker_topic_alter(f->broker, "r", &compact, 1, false, NULL), ERR_OK);
    struct batch_builder bb;
    batch_begin(&bb, &b, now);
    batch_add(&bb, now, STR(""), true, STR("v"), false, NULL, 0);
    batch_end(&bb);
    assert_int_equal(produce_raw(f, &b), KAFKA_INVALID_RECORD);
    build(&b, now, 1, 10, -1, -1, -1);
    assert_int_equal(produce_raw(f, &b), 0);
    struct broker_offsets o;
    assert_int_equal(broker_offsets(f->broker, "r", 0, &o, NULL), ERR_OK);
    assert_int_equal(o.end, 1); // nothing refused was written
    buf_fini(&b);
}

static void test_append_time(void **state) {
    struct fixture *f = *state;
    struct broker_kv config = {"message.timestamp.type", "LogAppendTime"};
    assert_int_equal(broker_topic_create(f->broker, "lat", 1, &config, 1, false, NULL, NULL, NULL), ERR_OK);
    struct buf b = {0};
    build(&b, 1, 1, 10, -1, -1, -1);
    int64_t before = fixture_now_ms(f);
    struct broker_produce p = fixture_produce(f, "lat", 0, buf_str(&b), true);
    assert_true(p.kafka_error == 0 && p.log_append_time_ms >= before);
    buf_clear(&b);
    struct batch x;
    assert_int_equal(broker_read(f->broker, "lat", 0, 0, 1000, &b, NULL, NULL), ERR_OK);
    assert_int_equal(batch_read(b.p, b.n, &x), BATCH_OK);
    assert_true(batch_crc_ok(&x) && x.max_timestamp >= before && (x.attributes & BATCH_ATTR_APPEND_TIME) != 0);
    int64_t offset, found;
    assert_int_equal(broker_offset_for_time(f->broker, "lat", 0, before, &offset, &found, NULL), ERR_OK);
    assert_true(offset == 0 && found >= before);
    assert_int_equal(broker_offset_for_time(f->broker, "lat", 0, BROKER_OFFSET_LATEST, &offset, &found, NULL), ERR_OK);
    assert_int_equal(offset, 1);
    assert_int_equal(broker_offset_for_time(f->broker, "lat", 0, BROKER_OFFSET_EARLIEST, &offset, &found, NULL), ERR_OK);
    assert_int_equal(offset, 0);
    assert_int_equal(broker_offset_for_time(f->broker, "lat", 0, BROKER_OFFSET_MAX_TIMESTAMP, &offset, &found, NULL), ERR_OK);
    assert_true(offset == 0 && found >= before);
    buf_fini(&b);
}

static void test_idempotence(void **state) {
    struct fixture *f = *state;
    create(f, "i", 1);
    int32_t sequence = INT32_MAX - 20; // wraps on the way
    int64_t offsets[8];
    for (int i = 0; i < 8; i++) {
        struct broker_produce p = put(f, "i", 5, 10, 77, 3, sequence);
        assert_int_equal(p.kafka_error, 0);
        offsets[i] = p.base_offset;
        sequence = (int32_t)(((int64_t)sequence + 5) & INT32_MAX);
    }
    for (int round = 0; round < 3; round++) { // the same after a clean and an unclean restart
        for (int i = 3; i < 8; i++) {         // the last five are known
            int32_t s = (int32_t)(((int64_t)INT32_MAX - 20 + 5 * i) & INT32_MAX);
            struct broker_produce p = put(f, "i", 5, 10, 77, 3, s);
            assert_int_equal(p.kafka_error, 0);
            assert_int_equal(p.base_offset, offsets[i]);
        }
        assert_int_equal(put(f, "i", 5, 10, 77, 3, INT32_MAX - 20).kafka_error, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER); // too long ago
        assert_int_equal(put(f, "i", 5, 10, 77, 3, sequence + 1).kafka_error, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER);   // a gap
        assert_int_equal(put(f, "i", 5, 10, 77, 2, sequence).kafka_error, KAFKA_INVALID_PRODUCER_EPOCH);
        assert_int_equal(put(f, "i", 5, 10, 77, 4, 9).kafka_error, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER); // a new epoch begins at 0
        struct broker_offsets o;
        assert_int_equal(broker_offsets(f->broker, "i", 0, &o, NULL), ERR_OK);
        assert_int_equal(o.end, 40);
        fixture_restart(f, round == 0);
    }
    assert_int_equal(put(f, "i", 5, 10, 77, 4, 0).kafka_error, 0);
    assert_int_equal(put(f, "i", 5, 10, 77, 3, sequence).kafka_error, KAFKA_INVALID_PRODUCER_EPOCH);
    assert_int_equal(put(f, "i", 5, 10, 78, 0, 1234).kafka_error, 0); // unknown: may begin anywhere
}

static void test_append_inside(void **state) {
    struct fixture *f = *state;
    create(f, "in", 1);
    struct broker_header h = {STR("why"), STR("because")};
    struct broker_record records[2] = {
        {.key = STR("k"), .value = STR("v"), .timestamp_ms = 123456, .headers = &h, .n_headers = 1},
        {.key_null = true, .value_null = true, .timestamp_ms = -1},
    };
    int64_t base = -1;
    struct err err = {0};
    assert_int_equal(broker_append(f->broker, "in", 0, records, 2, &base, &err), ERR_OK);
    assert_int_equal(base, 0);
    assert_int_equal(broker_append(f->broker, "in", 0, records, 2, &base, &err), ERR_OK);
    assert_int_equal(base, 2);
    assert_int_equal(broker_append(f->broker, "none", 0, records, 2, &base, &err), ERR_NO_TOPIC);
    struct buf b = {0};
    assert_int_equal(broker_read(f->broker, "in", 0, 0, 1 << 20, &b, NULL, NULL), ERR_OK);
    struct batch x;
    struct batch_iter it;
    struct batch_record r;
    assert_int_equal(batch_read(b.p, b.n, &x), BATCH_OK);
    assert_int_equal(batch_iter_init(&it, &x, 0, NULL), ERR_OK);
    assert_int_equal(batch_iter_next(&it, &r, NULL), 1);
    assert_true(r.timestamp == 123456 && r.n_headers == 1 && str_eqc(r.value, "v"));
    assert_int_equal(batch_iter_next(&it, &r, NULL), 1);
    assert_true(r.key_null && r.value_null);
    batch_iter_fini(&it);
    char big[2 << 20] = {0};
    struct broker_record large = {.value = str_n(big, sizeof big), .key_null = true, .timestamp_ms = -1};
    assert_int_equal(broker_append(f->broker, "in", 0, &large, 1, &base, &err), ERR_TOO_LARGE);
    buf_fini(&b);
    // Kafka's own test values of the default partitioner (murmur2, made positive)
    assert_int_equal(broker_partition_of(STR("21"), 1000), (int32_t)((uint32_t)-973932308 & 0x7fffffff) % 1000);
    assert_int_equal(broker_partition_of(STR("foobar"), 1000), (int32_t)((uint32_t)-790332482 & 0x7fffffff) % 1000);
    assert_int_equal(broker_partition_of(STR("a-little-bit-long-string"), 1000), (int32_t)((uint32_t)-985981536 & 0x7fffffff) % 1000);
}

// ---- waits ----------------------------------------------------------------------------------------------------------

struct waiter {
    struct fixture *f;
    struct broker_wait wait;
    const char *topic;
    int64_t offset;
    int fired;
    struct loop_event added, done;
    bool remove;
};

static void waiter_fired(struct broker_wait *w) {
    struct waiter *x = w->arg;
    x->fired++;
    loop_event_set(&x->done);
}

static void waiter_add(void *arg) {
    struct waiter *x = arg;
    x->wait = (struct broker_wait){.fn = waiter_fired, .arg = x, .back = loop_current()};
    broker_wait_add(x->f->broker, x->topic, 0, x->offset, &x->wait);
    assert_int_equal(x->fired, 0); // never from inside
    if (x->remove) broker_wait_remove(x->f->broker, &x->wait);
    loop_event_set(&x->added);
}

static void waiter_start(struct waiter *x, struct fixture *f, const char *topic, int64_t offset, bool remove) {
    *x = (struct waiter){.f = f, .topic = topic, .offset = offset, .remove = remove};
    loop_event_init(&x->added);
    loop_event_init(&x->done);
    loop_post(f->loops[1], waiter_add, x);
    loop_event_wait(&x->added);
}

static void test_waits(void **state) {
    struct fixture *f = *state;
    create(f, "w", 1);
    struct waiter a, b, c, d, e;
    waiter_start(&a, f, "w", 0, false);
    waiter_start(&b, f, "w", 1, false);
    waiter_start(&c, f, "w", 0, true);
    waiter_start(&d, f, "none", 0, false);
    loop_event_wait(&d.done);
    assert_int_equal(a.fired, 0);
    put(f, "w", 1, 10, -1, -1, -1);
    loop_event_wait(&a.done);
    assert_int_equal(b.fired, 0);
    waiter_start(&e, f, "w", 0, false); // there already
    loop_event_wait(&e.done);
    waiter_start(&d, f, "w", 0, true); // removed when its answer is under way
    put(f, "w", 1, 10, -1, -1, -1);
    loop_event_wait(&b.done);
    assert_int_equal(c.fired, 0);
    assert_int_equal(d.fired, 0);
    waiter_start(&a, f, "w", 100, false);
    assert_int_equal(broker_topic_delete(f->broker, "w", NULL), ERR_OK);
    loop_event_wait(&a.done); // deletion wakes
}

struct soon {
    const struct broker_wait *wait;
    bool soon;
    struct loop_event asked;
};
static void ask_soon(void *arg) {
    struct soon *x = arg;
    x->soon = broker_wait_soon(x->wait);
    loop_event_set(&x->asked);
}
static bool comes_soon(struct fixture *f, const struct waiter *w) {
    struct soon x = {.wait = &w->wait};
    loop_event_init(&x.asked);
    loop_post(f->loops[1], ask_soon, &x);
    loop_event_wait(&x.asked);
    loop_event_fini(&x.asked);
    return x.soon;
}

struct occupied {
    struct loop_event go, gone;
};
static void occupy(void *arg) {
    struct occupied *x = arg;
    loop_event_wait(&x->go);
    loop_event_set(&x->gone);
}

static void test_wait_soon(void **state) { // both workers are busy: the sync is under way, but does not come to its end
    struct fixture *f = *state;
    create(f, "w", 1);
    struct waiter a;
    waiter_start(&a, f, "w", 0, false);
    assert_false(comes_soon(f, &a));
    struct occupied workers[2];
    for (int i = 0; i < 2; i++) {
        loop_event_init(&workers[i].go);
        loop_event_init(&workers[i].gone);
        assert_int_equal(pool_submit(f->pool, occupy, &workers[i], NULL), ERR_OK);
    }
    struct buf b = {0};
    build(&b, fixture_now_ms(f), 1, 10, -1, -1, -1);
    fixture_produce(f, "w", 0, buf_str(&b), false);
    while (!comes_soon(f, &a)) continue; // the answer may be a step ahead of the sync's begin
    assert_int_equal(a.fired, 0);
    for (int i = 0; i < 2; i++) loop_event_set(&workers[i].go);
    loop_event_wait(&a.done);
    assert_false(comes_soon(f, &a)); // it came
    for (int i = 0; i < 2; i++) {
        loop_event_wait(&workers[i].gone);
        loop_event_fini(&workers[i].go);
        loop_event_fini(&workers[i].gone);
    }
    buf_fini(&b);
}

// ---- many produces at once: order, group commit, back-pressure ------------------------------------------------------

enum { MANY = 2000 };
struct many {
    struct fixture *f;
    struct broker_produce produces[MANY];
    struct buf bytes[MANY];
    int answered;
    struct loop_event done;
};

static void many_done(struct broker_produce *p) {
    struct many *m = p->arg;
    if (++m->answered == MANY) loop_event_set(&m->done);
}

static void many_start(void *arg) {
    struct many *m = arg;
    for (int i = 0; i < MANY; i++) {
        m->produces[i] = (struct broker_produce){.topic = "m", .batches = buf_str(&m->bytes[i]), .wait_durable = i % 3 != 0, .done = many_done};
        m->produces[i].back = loop_current();
        m->produces[i].arg = m;
        broker_produce(m->f->broker, &m->produces[i]);
    }
}

static void test_many(void **state) {
    struct fixture *f = *state;
    static struct many m;
    create(f, "m", 1);
    for (int from = 0; from < 2; from++) {
        m = (struct many){.f = f};
        loop_event_init(&m.done);
        for (int i = 0; i < MANY; i++) build(&m.bytes[i], fixture_now_ms(f), 3, 1000, 5 + from, 0, i * 3);
        loop_post(f->loops[from], many_start, &m); // from the owner's loop and from another one
        loop_event_wait(&m.done);
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(m.produces[i].kafka_error, 0);
            assert_int_equal(m.produces[i].base_offset, (from * MANY + i) * 3);
            buf_fini(&m.bytes[i]);
        }
    }
    // The broker's maximum of 1 MB not durable was passed many times over, so produces waited; all were taken in order.
    int64_t offset = 0;
    struct buf b = {0};
    struct batch x;
    fixture_restart(f, true);
    while (offset < 2 * MANY * 3) {
        buf_clear(&b);
        assert_int_equal(broker_read(f->broker, "m", 0, offset, 1 << 18, &b, NULL, NULL), ERR_OK);
        for (size_t at = 0; at < b.n; at += x.size) {
            assert_int_equal(batch_read(b.p + at, b.n - at, &x), BATCH_OK);
            assert_int_equal(x.base_offset, offset);
            assert_int_equal(x.base_sequence, offset % (MANY * 3));
            offset += 3;
        }
    }
    buf_fini(&b);
}

static void test_layout(void **state) {
    struct fixture *f = *state;
    create(f, "v", 2);
    fixture_close(f, true);
    char *path = mem_printf("%s/topics", f->dir);
    char *text = sys_read_file(f->sys, path, 100000, NULL, NULL);
    assert_non_null(text);
    text[30] ^= 1;
    assert_int_equal(sys_write_file(f->sys, path, str_c(text), NULL), ERR_OK);
    struct err err = {0};
    assert_null(fixture_try_open(f, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_non_null(strstr(err.msg, path));
    assert_int_equal(sys_unlink(f->sys, path, NULL), ERR_OK);
    assert_null(fixture_try_open(f, &err)); // partitions without a catalog are not thrown away
    assert_int_equal(err.code, ERR_CORRUPT);
    text[30] ^= 1;
    assert_int_equal(sys_write_file(f->sys, path, str_c(text), NULL), ERR_OK);
    char *leftover = mem_printf("%s/gone-0", f->dir), *version = mem_printf("%s/version", f->dir);
    assert_int_equal(sys_mkdir(f->sys, leftover, NULL), ERR_OK);
    fixture_open(f);
    assert_false(sys_exists(f->sys, leftover));
    fixture_close(f, true);
    assert_int_equal(sys_write_file(f->sys, version, STR("millrace-log 7\n"), NULL), ERR_OK);
    assert_null(fixture_try_open(f, &err));
    assert_int_equal(err.code, ERR_VERSION);
    assert_int_equal(sys_write_file(f->sys, version, STR("millrace-log 1\n"), NULL), ERR_OK);
    fixture_open(f);
    mem_free(path);
    mem_free(text);
    mem_free(leftover);
    mem_free(version);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_topics), T(test_configs),       T(test_produce_read), T(test_refusals), T(test_append_time),
        T(test_idempotence), T(test_append_inside), T(test_waits),        T(test_wait_soon),
        T(test_many),        T(test_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
