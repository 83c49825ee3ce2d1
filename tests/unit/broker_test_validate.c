// SPDX-License-Identifier: Apache-2.0
// What the broker refuses of a produce, record by record where it must, and compression.type.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "broker/dynamic.h"
#include "broker/kafka_error.h"
#include "broker_fixture.h"
#include "codec/compress.h"
#include "codec/crc32c.h"
#include "log/batch.h"

static void create(struct fixture *f, const char *name, const struct broker_kv *configs, size_t n) {
    struct err err = {0};
    if (broker_topic_create(f->broker, name, 1, configs, n, false, NULL, NULL, &err) != ERR_OK) fail_msg("%s", err.msg);
}

// n records; those with (keyless >> i & 1) have no key, those with (late >> i & 1) are a day late.
static void make(struct fixture *f, struct buf *out, int n, int codec, unsigned keyless, unsigned late) {
    struct batch_builder bb;
    int64_t now = fixture_now_ms(f);
    buf_clear(out);
    batch_begin(&bb, out, now);
    for (int i = 0; i < n; i++) {
        int64_t t = (late >> i & 1) != 0 ? now - 86400000 : now;
        batch_add(&bb, t, STR("key"), (keyless >> i & 1) != 0, STR("the value of a record, the value of a record"), false, NULL, 0);
    }
    batch_end(&bb);
    if (codec == 0) return;
    struct buf packed = {0};
    buf_put(&packed, out->p, BATCH_HEADER);
    assert_int_equal(compress_bytes((enum compress_kind)codec, str_n(out->p + BATCH_HEADER, out->n - BATCH_HEADER), &packed, NULL), ERR_OK);
    packed.p[22] |= (uint8_t)codec;
    buf_set_be32(&packed, 8, (uint32_t)(packed.n - BATCH_PREFIX));
    buf_set_be32(&packed, 17, crc32c(0, packed.p + 21, packed.n - 21));
    buf_fini(out);
    *out = packed;
}

static void seal(struct buf *b, int32_t count) { // the header says so many
    buf_set_be32(b, 23, (uint32_t)(count - 1));
    buf_set_be32(b, 57, (uint32_t)count);
    buf_set_be32(b, 8, (uint32_t)(b->n - BATCH_PREFIX));
    buf_set_be32(b, 17, crc32c(0, b->p + 21, b->n - 21));
}

static struct broker_produce produce_listing(struct fixture *f, const char *topic, struct str batches) {
    struct fixture_put x = {.f = f};
    x.produce = (struct broker_produce){.topic = topic, .batches = batches, .wait_durable = true, .list_errors = true};
    x.produce.done = fixture_put_done;
    x.produce.arg = &x;
    loop_event_init(&x.event);
    loop_post(f->loops[0], fixture_put_start, &x);
    loop_event_wait(&x.event);
    loop_event_fini(&x.event);
    return x.produce;
}

static void test_keys(void **state) {
    struct fixture *f = *state;
    struct broker_kv compact = {"cleanup.policy", "compact"};
    struct buf b = {0};
    create(f, "k", &compact, 1);
    make(f, &b, 1, 0, 1, 0);
    b.p[BATCH_HEADER + 3] = 2 * 9; // no key, and an offset that it cannot have
    seal(&b, 1);
    assert_int_equal(produce_listing(f, "k", buf_str(&b)).kafka_error, KAFKA_INVALID_RECORD);
    for (int codec = 0; codec < COMPRESS_COUNT; codec++) {
        make(f, &b, 6, codec, 1u << 2 | 1u << 5, 0);
        struct broker_produce r = produce_listing(f, "k", buf_str(&b));
        assert_int_equal(r.kafka_error, KAFKA_INVALID_RECORD);
        assert_int_equal(r.n_record_errors, 2);
        assert_true(r.record_errors[0].index == 2 && r.record_errors[1].index == 5);
        assert_string_equal(r.record_errors[1].message, "Compacted topic cannot accept message without key in topic partition k-0");
        assert_non_null(strstr(r.message, "rejected due to 2 record errors"));
        mem_free(r.record_errors);
        make(f, &b, 6, codec, 0, 0);
        r = produce_listing(f, "k", buf_str(&b));
        assert_int_equal(r.kafka_error, 0);
        assert_int_equal(r.base_offset, 6 * codec);
        assert_int_equal(r.n_record_errors, 0);
        make(f, &b, 6, codec, 1, 0);
        r = fixture_produce(f, "k", 0, buf_str(&b), true); // one that does not ask for the list
        assert_true(r.kafka_error == KAFKA_INVALID_RECORD && r.record_errors == NULL);
    }
    buf_fini(&b);
}

static void test_times(void **state) {
    struct fixture *f = *state;
    struct broker_kv before = {"message.timestamp.before.max.ms", "3600000"};
    struct buf b = {0};
    create(f, "t", &before, 1);
    make(f, &b, 4, COMPRESS_LZ4, 0, 1u << 1); // not the newest one: its header does not say
    struct broker_produce r = produce_listing(f, "t", buf_str(&b));
    assert_int_equal(r.kafka_error, KAFKA_INVALID_TIMESTAMP);
    assert_int_equal(r.n_record_errors, 1);
    assert_int_equal(r.record_errors[0].index, 1);
    mem_free(r.record_errors);
    make(f, &b, 4, COMPRESS_LZ4, 0, 0);
    assert_int_equal(produce_listing(f, "t", buf_str(&b)).kafka_error, 0);
    struct broker_kv append = {"message.timestamp.type", "LogAppendTime"};
    assert_int_equal(broker_topic_alter(f->broker, "t", &append, 1, false, NULL), ERR_OK);
    make(f, &b, 4, 0, 0, 15);
    assert_int_equal(produce_listing(f, "t", buf_str(&b)).kafka_error, 0); // they get the broker's
    buf_fini(&b);
}

// A producer that says its times are the broker's.
static void test_time_types(void **state) {
    struct fixture *f = *state;
    struct broker_kv append = {"message.timestamp.type", "LogAppendTime"};
    struct buf b = {0}, read = {0};
    struct err err = {0};
    struct batch x;
    create(f, "create", NULL, 0);
    create(f, "append", &append, 1);
    for (int round = 0; round < 3; round++) {
        make(f, &b, 3, 0, 0, 0);
        batch_set_append_time((uint8_t *)b.p, b.n, round == 2 ? -1 : fixture_now_ms(f));
        struct broker_produce r = produce_listing(f, round == 0 ? "append" : "create", buf_str(&b));
        assert_int_equal(r.kafka_error, round == 1 ? 0 : KAFKA_INVALID_TIMESTAMP);
        assert_int_equal(r.n_record_errors, round == 1 ? 0 : 3);
        assert_true(round == 1 || r.record_errors[2].index == 2);
        mem_free(r.record_errors);
    }
    make(f, &b, 3, 0, 0, 1u << 1);
    batch_set_append_time((uint8_t *)b.p, b.n, fixture_now_ms(f));
    struct broker_kv before = {"message.timestamp.before.max.ms", "3600000"};
    create(f, "before", &before, 1); // a record a day late, by its own time, which does not count here
    assert_int_equal(produce_listing(f, "before", buf_str(&b)).kafka_error, 0);
    assert_int_equal(broker_read(f->broker, "create", 0, 0, 1, &read, NULL, &err), ERR_OK);
    assert_int_equal(batch_read(read.p, read.n, &x), BATCH_OK);
    assert_true(batch_crc_ok(&x) && (x.attributes & BATCH_ATTR_APPEND_TIME) == 0);
    buf_fini(&b);
    buf_fini(&read);
}

// A batch whose records are not as many as it says, or not as long as they say.
static void test_counts(void **state) {
    struct fixture *f = *state;
    struct broker_kv compact = {"cleanup.policy", "compact"}; // there the records are looked at
    struct buf b = {0};
    create(f, "n", NULL, 0);
    create(f, "c", &compact, 1);
    for (int round = 0; round < 2; round++) {
        const char *topic = round == 0 ? "n" : "c";
        for (int32_t said = 4; said <= 6; said++) {
            make(f, &b, 5, 0, 0, 0);
            seal(&b, said);
            assert_int_equal(produce_listing(f, topic, buf_str(&b)).kafka_error, said == 5 ? 0 : KAFKA_INVALID_RECORD);
        }
        make(f, &b, 5, 0, 0, 0);
        b.n--; // the last record is cut short
        seal(&b, 5);
        assert_int_equal(produce_listing(f, topic, buf_str(&b)).kafka_error, KAFKA_INVALID_RECORD);
        make(f, &b, 5, 0, 0, 0);
        b.p[BATCH_HEADER] = 1; // a length of -1
        seal(&b, 5);
        assert_int_equal(produce_listing(f, topic, buf_str(&b)).kafka_error, KAFKA_INVALID_RECORD);
    }
    buf_fini(&b);
}

// One record whose bytes are these, length in front included. Answers the error code.
static int produce_bytes(struct fixture *f, const char *topic, const char *bytes, size_t n) {
    struct buf b = {0};
    make(f, &b, 1, 0, 0, 0);
    b.n = BATCH_HEADER;
    buf_put(&b, bytes, n);
    seal(&b, 1);
    int error = produce_listing(f, topic, buf_str(&b)).kafka_error;
    buf_fini(&b);
    return error;
}

// Records that are no records: length, attributes, time, offset, key, value, number of headers, headers. Numbers are zigzag: 1 is -1, 2 is 1.
static void test_malformed(void **state) {
    struct fixture *f = *state;
    struct broker_kv compact = {"cleanup.policy", "compact"};
    create(f, "n", NULL, 0);
    create(f, "c", &compact, 1);
#define ONE(bytes) {bytes, sizeof bytes - 1}
    static const struct {
        const char *p;
        size_t n;
    } good[] = {ONE("\x10\0\0\0\2k\2v\0"), ONE("\x0e\0\0\0\2k\1\0"), ONE("\x16\0\0\0\2k\2v\2\2h\1"), ONE("\x18\0\0\0\2k\2v\2\2h\2x"),
                ONE("\x18\0\x80\x80\x80\x80\0\0\2k\2v\0")},
      bad[] = {ONE("\0"), ONE("\2\0"), ONE("\4\0\0"), ONE("\x10\0\0\0\2k\2v\1"),                          // nothing; no offset; -1 headers
               ONE("\x10\0\0\0\2k\4v\0"), ONE("\x10\0\0\0\x20k\2v\0"),                                   // value, key longer than the record
               ONE("\x12\0\0\0\2k\2v\0\0"), ONE("\x0e\0\0\0\2k\2v"),                                     // something behind it, no headers' number
               ONE("\x14\0\0\0\2k\2v\2\1\1"), ONE("\x12\0\0\0\2k\2v\2\2"), ONE("\x16\0\0\0\2k\2v\4\2h\1"), // a header without a key, cut, one too few
               ONE("\x1a\0\0\x80\x80\x80\x80\x80\0\2k\2v\0"),                                              // an offset of six bytes
               ONE("\x24\0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0\0\2k\2v\0")};                    // a time of eleven
#undef ONE
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(produce_bytes(f, "n", good[i].p, good[i].n), 0);
        assert_int_equal(produce_bytes(f, "c", good[i].p, good[i].n), 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (produce_bytes(f, "n", bad[i].p, bad[i].n) != KAFKA_INVALID_RECORD) fail_msg("malformed record %zu was taken", i);
        if (produce_bytes(f, "c", bad[i].p, bad[i].n) != KAFKA_INVALID_RECORD) fail_msg("malformed record %zu was taken where records are read", i);
    }
}

static void test_compression(void **state) {
    struct fixture *f = *state;
    static const char *const types[] = {"uncompressed", "gzip", "snappy", "lz4", "zstd"};
    struct buf b = {0}, read = {0};
    struct err err = {0};
    for (int to = 0; to < COMPRESS_COUNT; to++) {
        struct broker_kv configs[] = {{"compression.type", types[to]}, {"compression.zstd.level", "19"}, {"compression.lz4.level", "12"}, {"compression.gzip.level", "9"}};
        create(f, types[to], configs, 4);
        for (int from = 0; from < COMPRESS_COUNT; from++) {
            make(f, &b, 20, from, 0, 0);
            struct broker_produce r = produce_listing(f, types[to], buf_str(&b));
            if (r.kafka_error != 0) fail_msg("%s", r.message);
            assert_int_equal(r.base_offset, 20 * from);
            buf_clear(&read);
            assert_int_equal(broker_read(f->broker, types[to], 0, 20 * from, 1, &read, NULL, &err), ERR_OK);
            struct batch x;
            struct batch_iter it;
            struct batch_record rec;
            assert_int_equal(batch_read(read.p, read.n, &x), BATCH_OK);
            assert_true(batch_crc_ok(&x) && batch_codec(&x) == to && x.count == 20 && x.base_offset == 20 * from);
            assert_int_equal(batch_iter_init(&it, &x, 0, &err), ERR_OK);
            int n = 0;
            for (; batch_iter_next(&it, &rec, &err) == 1; n++) assert_true(str_eqc(rec.key, "key") && rec.offset == 20 * from + n);
            assert_int_equal(n, 20);
            batch_iter_fini(&it);
        }
    }
    buf_fini(&b);
    buf_fini(&read);
}

static void test_sizes(void **state) {
    struct fixture *f = *state;
    struct broker_kv configs[] = {{"max.message.bytes", "500"}, {"internal.segment.bytes", "400"}};
    struct buf b = {0};
    create(f, "s", configs, 1);
    make(f, &b, 10, 0, 0, 0);
    struct broker_produce r = produce_listing(f, "s", buf_str(&b));
    assert_int_equal(r.kafka_error, KAFKA_MESSAGE_TOO_LARGE);
    make(f, &b, 10, COMPRESS_ZSTD, 0, 0);
    assert_int_equal(produce_listing(f, "s", buf_str(&b)).kafka_error, 0); // as it is sent
    struct broker_kv plain = {"compression.type", "uncompressed"};
    assert_int_equal(broker_topic_alter(f->broker, "s", &plain, 1, false, NULL), ERR_OK);
    make(f, &b, 10, COMPRESS_ZSTD, 0, 0);
    assert_int_equal(produce_listing(f, "s", buf_str(&b)).kafka_error, KAFKA_MESSAGE_TOO_LARGE); // as it would be kept
    create(f, "l", &configs[1], 1);
    make(f, &b, 10, 0, 0, 0);
    assert_int_equal(produce_listing(f, "l", buf_str(&b)).kafka_error, KAFKA_RECORD_LIST_TOO_LARGE);
    make(f, &b, 2, 0, 0, 0);
    assert_int_equal(produce_listing(f, "l", buf_str(&b)).kafka_error, 0);
    buf_fini(&b);
}

// A record of make() has 53 bytes.
static void test_decompressed(void **state) {
    struct fixture *f = *state;
    struct broker_kv limit = {"max.decompressed.message.bytes", "53"};
    struct buf b = {0};
    create(f, "d", &limit, 1);
    for (int codec = 0; codec < COMPRESS_COUNT; codec++) {
        make(f, &b, 20, codec, 0, 0);
        assert_int_equal(produce_listing(f, "d", buf_str(&b)).kafka_error, 0);
    }
    limit.value = "52";
    assert_int_equal(broker_topic_alter(f->broker, "d", &limit, 1, false, NULL), ERR_OK);
    for (int codec = 0; codec < COMPRESS_COUNT; codec++) {
        make(f, &b, 20, codec, 0, 0);
        struct broker_produce r = produce_listing(f, "d", buf_str(&b));
        assert_int_equal(r.kafka_error, codec == 0 ? 0 : KAFKA_INVALID_RECORD); // what is not packed is seen as it is
        if (codec != 0) assert_string_equal(r.message, "Invalid record size: 53 exceeds the configured maximum record size of 52.");
    }
    create(f, "e", NULL, 0);
    make(f, &b, 20, COMPRESS_LZ4, 0, 0);
    assert_int_equal(produce_listing(f, "e", buf_str(&b)).kafka_error, 0);
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_BROKER_DEFAULT, STR(""), &limit, 1, false, NULL), ERR_OK); // for all topics, at once
    make(f, &b, 20, COMPRESS_LZ4, 0, 0);
    assert_int_equal(produce_listing(f, "e", buf_str(&b)).kafka_error, KAFKA_INVALID_RECORD);
    buf_fini(&b);
}

// A batch of these offsets, counted from its own, all records with the batch's time.
static void make_offsets(struct fixture *f, struct buf *out, int codec, const uint8_t *offsets, int n) {
    struct buf records = {0};
    make(f, out, n, 0, 0, 0);
    for (int i = 0; i < n; i++) {
        const uint8_t record[] = {16, 0, 0, (uint8_t)(offsets[i] * 2), 2, 'k', 2, 'v', 0};
        buf_put(&records, record, sizeof record);
    }
    out->n = BATCH_HEADER;
    assert_int_equal(compress_bytes((enum compress_kind)codec, buf_str(&records), out, NULL), ERR_OK);
    out->p[22] = (uint8_t)codec;
    seal(out, n);
    buf_fini(&records);
}

static void read_batch(struct fixture *f, const char *topic, int64_t offset, struct buf *out, struct batch *b) {
    struct err err = {0};
    buf_clear(out);
    assert_int_equal(broker_read(f->broker, topic, 0, offset, 1, out, NULL, &err), ERR_OK);
    assert_int_equal(batch_read(out->p, out->n, b), BATCH_OK);
    assert_true(batch_crc_ok(b) && b->base_offset == offset);
}

// Offsets of an uncompressed batch and of one that is packed anew are made right; others cannot be, as in Kafka.
static void test_offsets(void **state) {
    struct fixture *f = *state;
    static const uint8_t right[] = {0, 1, 2}, wrong[] = {0, 2, 2};
    struct broker_kv zstd = {"compression.type", "zstd"};
    struct buf b = {0}, read = {0};
    int64_t ends[2] = {0};
    create(f, "o", NULL, 0);
    create(f, "z", &zstd, 1);
    for (int round = 0; round < 4 * COMPRESS_COUNT; round++) {
        int codec = round / 4;
        bool is_wrong = round % 2 == 1, packs = round % 4 >= 2, can = !is_wrong || (packs ? codec != COMPRESS_ZSTD : codec == COMPRESS_NONE);
        int64_t *end = &ends[packs];
        make_offsets(f, &b, codec, is_wrong ? wrong : right, 3);
        struct broker_produce r = produce_listing(f, packs ? "z" : "o", buf_str(&b));
        assert_int_equal(r.kafka_error, can ? 0 : KAFKA_UNKNOWN_SERVER_ERROR);
        if (!can) continue;
        assert_int_equal(r.base_offset, *end);
        struct batch x;
        struct batch_iter it;
        struct batch_record rec;
        read_batch(f, packs ? "z" : "o", *end, &read, &x);
        assert_int_equal(batch_iter_init(&it, &x, 0, NULL), ERR_OK);
        for (int i = 0; i < 3; i++) assert_true(batch_iter_next(&it, &rec, NULL) == 1 && rec.offset == *end + i);
        batch_iter_fini(&it);
        *end += 3;
    }
    buf_fini(&b);
    buf_fini(&read);
}

// What the header says of the records is made true; what is no stream is refused.
static void test_packed(void **state) {
    struct fixture *f = *state;
    struct buf b = {0}, read = {0};
    create(f, "p", NULL, 0);
    for (int codec = 0; codec < COMPRESS_COUNT; codec++) {
        make(f, &b, 5, codec, 0, 1u << 3);
        batch_set_max_timestamp(b.p, b.n, codec % 2 == 0 ? fixture_now_ms(f) + 1000000 : 5);
        struct broker_produce r = produce_listing(f, "p", buf_str(&b));
        assert_int_equal(r.kafka_error, 0);
        assert_int_equal(r.base_offset, 5 * codec);
        struct batch x;
        read_batch(f, "p", r.base_offset, &read, &x);
        assert_true(x.max_timestamp == x.base_timestamp && x.max_timestamp > fixture_now_ms(f) - 3600000);
        if (codec == COMPRESS_NONE) continue;
        make(f, &b, 5, codec, 0, 0);
        seal(&b, 6);
        assert_int_equal(produce_listing(f, "p", buf_str(&b)).kafka_error, KAFKA_INVALID_RECORD);
        make(f, &b, 5, codec, 0, 0);
        memset(b.p + BATCH_HEADER, 0xA5, b.n - BATCH_HEADER);
        seal(&b, 5);
        r = produce_listing(f, "p", buf_str(&b));
        assert_int_equal(r.kafka_error, KAFKA_UNKNOWN_SERVER_ERROR);
        assert_non_null(strstr(r.message, "Failed to decompress"));
    }
    buf_fini(&b);
    buf_fini(&read);
}

// ---- several at once, some of which a worker looks at ---------------------------------------------------------------

static void put_of(struct fixture_put *x, struct fixture *f, const char *topic, const struct buf *bytes) {
    *x = (struct fixture_put){.f = f};
    x->produce = (struct broker_produce){.topic = topic, .batches = buf_str(bytes), .wait_durable = true, .done = fixture_put_done, .arg = x};
    loop_event_init(&x->event);
}

static void put_wait(struct fixture_put *x) {
    loop_event_wait(&x->event);
    loop_event_fini(&x->event);
}

enum { MANY = 12 };
struct many {
    struct fixture *f;
    struct fixture_put puts[MANY];
    struct buf bytes[MANY];
    int32_t counts[MANY];
};

static void many_start(void *arg) {
    struct many *m = arg;
    for (int i = 0; i < MANY; i++) fixture_put_start(&m->puts[i]);
}

// Every third batch is large, some of the others unpack to much. `producer` -1: of nobody.
static void many_make(struct many *m, const char *topic, int codec, int64_t producer) {
    struct buf plain = {0};
    uint64_t x = 88172645463325252u;
    int32_t sequence = 0;
    for (int i = 0; i < MANY; i++) {
        struct batch_builder bb;
        struct buf *out = &m->bytes[i];
        bool much = i % 4 == 1;
        int32_t n = m->counts[i] = i % 3 == 0 ? 1000 : much ? 4000 : 1;
        buf_clear(&plain);
        batch_begin(&bb, &plain, fixture_now_ms(m->f));
        for (int k = 0; k < n; k++) {
            char value[200] = {0};
            for (size_t at = 0; !much && at < sizeof value; at += 8) {
                x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                memcpy(value + at, &x, 8);
            }
            batch_add(&bb, bb.base_timestamp, STR("key"), false, str_n(value, sizeof value), false, NULL, 0);
        }
        if (producer >= 0) {
            bb.producer_id = producer;
            bb.producer_epoch = 0;
            bb.base_sequence = sequence;
            sequence += n;
        }
        batch_end(&bb);
        buf_clear(out);
        buf_put(out, plain.p, BATCH_HEADER);
        assert_int_equal(compress_bytes((enum compress_kind)codec, str_n(plain.p + BATCH_HEADER, plain.n - BATCH_HEADER), out, NULL), ERR_OK);
        out->p[22] |= (uint8_t)codec;
        seal(out, n);
        put_of(&m->puts[i], m->f, topic, out);
    }
    buf_fini(&plain);
}

static void many_wait(struct many *m) {
    for (int i = 0; i < MANY; i++) put_wait(&m->puts[i]);
}

static void many_free(struct many *m) {
    for (int i = 0; i < MANY; i++) buf_fini(&m->bytes[i]);
}

// They stay in the order in which they came, which an idempotent producer is strict about.
static void test_in_order(void **state) {
    struct fixture *f = *state;
    struct many m = {.f = f};
    for (int codec = 0; codec < COMPRESS_COUNT; codec++)
        for (int round = 0; round < 4; round++) {
            char topic[32];
            struct broker_kv to = {"compression.type", round / 2 == 0 ? "producer" : codec == COMPRESS_LZ4 ? "zstd" : "lz4"};
            (void)snprintf(topic, sizeof topic, "m-%d-%d", codec, round);
            create(f, topic, &to, 1);
            many_make(&m, topic, codec, round % 2 == 0 ? -1 : 7);
            loop_post(f->loops[round % 2], many_start, &m);
            many_wait(&m);
            int64_t offset = 0;
            for (int i = 0; i < MANY; i++) {
                if (m.puts[i].produce.kafka_error != 0) fail_msg("batch %d: %s", i, m.puts[i].produce.message);
                assert_int_equal(m.puts[i].produce.base_offset, offset);
                offset += m.counts[i];
            }
        }
    many_free(&m);
}

enum { LONG = 1500, LATE = 20, ZEROS = 400 << 10 }; // the last ones find no room at all
struct long_ones {
    struct fixture_put puts[LONG];
    struct buf bytes[LONG];
};

static void long_start(void *arg) {
    struct long_ones *m = arg;
    for (int i = 0; i < LONG; i++) fixture_put_start(&m->puts[i]);
}

// More of them than the workers have room for: they come in their order all the same, and the loop goes on.
static void test_many_long(void **state) {
    struct fixture *f = *state;
    struct buf plain = {0}, one = {0};
    struct batch_builder bb;
    char *zeros = mem_zalloc(ZEROS);
    struct long_ones *m = mem_zalloc(sizeof *m);
    create(f, "long", NULL, 0);
    assert_int_equal(broker_topic_create(f->broker, "late", 2, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
    batch_begin(&bb, &plain, fixture_now_ms(f));
    batch_add(&bb, bb.base_timestamp, STR(""), true, str_n(zeros, ZEROS), false, NULL, 0);
    batch_end(&bb);
    buf_put(&one, plain.p, BATCH_HEADER);
    assert_int_equal(compress_bytes(COMPRESS_GZIP, str_n(plain.p + BATCH_HEADER, plain.n - BATCH_HEADER), &one, NULL), ERR_OK);
    one.p[22] |= COMPRESS_GZIP;
    seal(&one, 1);
    for (int i = 0; i < LONG; i++) {
        buf_put_str(&m->bytes[i], buf_str(&one));
        put_of(&m->puts[i], f, i < LONG - LATE ? "long" : "late", &m->bytes[i]);
        m->puts[i].produce.partition = i < LONG - LATE ? 0 : i % 2; // one of them has the loop of the others
    }
    loop_post(f->loops[0], long_start, m);
    for (int i = 0; i < LONG; i++) {
        put_wait(&m->puts[i]);
        assert_true(m->puts[i].produce.kafka_error == 0 && m->puts[i].produce.base_offset == (i < LONG - LATE ? i : (i - LONG + LATE) / 2));
        buf_fini(&m->bytes[i]);
    }
    buf_fini(&one);
    buf_fini(&plain);
    mem_free(zeros);
    mem_free(m);
}

// One that is no good holds nobody up, and the topic may go at any time.
static void test_between(void **state) {
    struct fixture *f = *state;
    struct many m = {.f = f};
    for (int codec = 1; codec < COMPRESS_COUNT; codec++) {
        create(f, "g", NULL, 0);
        many_make(&m, "g", codec, -1);
        for (int i = 3; i <= 6; i += 3) { // large ones
            memset(m.bytes[i].p + BATCH_HEADER + 20000, 0x5A, 2000);
            seal(&m.bytes[i], m.counts[i]);
        }
        loop_post(f->loops[0], many_start, &m);
        many_wait(&m);
        for (int i = 0; i < MANY; i++) {
            bool good = i != 3 && i != 6;
            if ((m.puts[i].produce.kafka_error == 0) != good) fail_msg("codec %d, batch %d: %s", codec, i, m.puts[i].produce.message);
            assert_int_equal(good, m.puts[i].produce.base_offset >= 0);
        }
        many_make(&m, "g", codec, -1);
        loop_post(f->loops[0], many_start, &m);
        assert_int_equal(broker_topic_delete(f->broker, "g", NULL), ERR_OK);
        many_wait(&m);
        for (int i = 0; i < MANY; i++)
            assert_true(m.puts[i].produce.kafka_error == 0 || m.puts[i].produce.kafka_error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    }
    many_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_keys, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_times, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_counts, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_malformed, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_time_types, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_compression, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_offsets, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_packed, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_in_order, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_many_long, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_between, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_sizes, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_decompressed, fixture_setup, fixture_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
