// SPDX-License-Identifier: Apache-2.0
// The message interpreter: every message and version there and back with made-up content, known bytes, and damaged input.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "kafka/messages.h"

static void flatten(const struct kafka_out *o, struct buf *to) {
    size_t at = 0;
    for (size_t i = 0; i < o->splices.n; i++) {
        buf_put(to, o->buf.p + at, o->splices.p[i].at - at);
        buf_put_str(to, o->splices.p[i].bytes);
        at = o->splices.p[i].at;
    }
    buf_put(to, o->buf.p + at, o->buf.n - at);
}

static void encode_flat(const struct kafka_message *m, int version, const void *msg, struct buf *to) {
    struct kafka_out o;
    kafka_out_init(&o, 64 << 20);
    kafka_msg_encode(m, version, msg, &o);
    assert_false(o.buf.failed);
    buf_clear(to);
    flatten(&o, to);
    assert_int_equal(to->n, o.buf.n + o.spliced);
    kafka_out_fini(&o);
}

static void round_trip(const struct kafka_message *m, int version, uint64_t *seed) {
    struct arena a;
    arena_init(&a);
    void *in = arena_zalloc(&a, m->body->size), *back = arena_alloc(&a, m->body->size);
    memset(back, 0xAB, m->body->size); // every field must be set by the decoder
    kafka_msg_random(m, version, seed, &a, in);
    struct buf bytes = {0}, again = {0};
    encode_flat(m, version, in, &bytes);
    struct rd r = rd_of(bytes.p, bytes.n);
    struct err err = {0};
    if (kafka_msg_decode(m, version, &r, &a, back, &err) != ERR_OK) fail_msg("%s v%d: %s", m->name, version, err.msg);
    assert_int_equal(rd_left(&r), 0);
    if (!kafka_msg_equal(m, version, in, back)) fail_msg("%s v%d: not equal after a round trip", m->name, version);
    encode_flat(m, version, back, &again);
    assert_int_equal(bytes.n, again.n);
    assert_memory_equal(bytes.p, again.p, bytes.n);
    for (size_t cut = 0; cut < bytes.n; cut += 1 + bytes.n / 23) { // no prefix of a message is a message
        struct rd part = rd_of(bytes.p, cut);
        assert_int_not_equal(kafka_msg_decode(m, version, &part, &a, back, &err), ERR_OK);
    }
    buf_fini(&bytes);
    buf_fini(&again);
    arena_fini(&a);
}

static void test_round_trips(void **state) {
    (void)state;
    uint64_t seed = 88172645463325252ULL;
    size_t messages = 0;
    for (size_t i = 0; i < kafka_apis_n; i++) {
        const struct kafka_message *both[] = {kafka_apis[i].request, kafka_apis[i].response};
        for (size_t k = 0; k < 2; k++)
            for (int v = both[k]->min; v <= both[k]->max; v++, messages++)
                for (int n = 0; n < 3; n++) round_trip(both[k], v, &seed);
    }
    for (size_t i = 0; i < kafka_data_messages_n; i++)
        for (int v = kafka_data_messages[i]->min; v <= kafka_data_messages[i]->max; v++, messages++) round_trip(kafka_data_messages[i], v, &seed);
    assert_true(messages > 400); // Kafka 4.4 has 91 APIs in several versions each
}

static void test_damaged(void **state) { // must not crash or read outside (run under ASan)
    (void)state;
    uint64_t seed = 0x9E3779B97F4A7C15ULL;
    for (size_t i = 0; i < kafka_apis_n; i++) {
        const struct kafka_message *m = kafka_apis[i].request;
        for (int v = m->min; v <= m->max; v++) {
            struct arena a;
            arena_init(&a);
            void *msg = arena_zalloc(&a, m->body->size);
            kafka_msg_random(m, v, &seed, &a, msg);
            struct buf bytes = {0};
            encode_flat(m, v, msg, &bytes);
            for (int n = 0; n < 20 && bytes.n > 0; n++) {
                seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
                bytes.p[(seed >> 33) % bytes.n] = (uint8_t)(seed >> 20);
                struct rd r = rd_of(bytes.p, bytes.n);
                (void)kafka_msg_decode(m, v, &r, &a, msg, NULL);
            }
            buf_fini(&bytes);
            arena_fini(&a);
        }
    }
}

static void test_known_bytes(void **state) { // ApiVersions v3 as librdkafka sends it, by hand from the protocol guide
    (void)state;
    static const uint8_t frame[] = {0, 18, 0, 3, 0, 0, 0, 7, 0, 7, 'r', 'd', 'k', 'a', 'f', 'k', 'a', 0,
                                    11, 'l', 'i', 'b', 'r', 'd', 'k', 'a', 'f', 'k', 'a', 6, '2', '.', '0', '.', '2', 0};
    struct rd r = rd_of(frame, sizeof frame);
    struct kafka_request_header h;
    assert_int_equal(kafka_header_decode(&r, &h, NULL), ERR_OK);
    assert_int_equal(h.api_key, KAFKA_API_API_VERSIONS);
    assert_int_equal(h.api_version, 3);
    assert_int_equal(h.correlation_id, 7);
    assert_true(str_eqc(h.client_id, "rdkafka"));
    struct arena a;
    arena_init(&a);
    struct kafka_api_versions_request req;
    assert_int_equal(kafka_msg_decode(&kafka_api_versions_request_m, 3, &r, &a, &req, NULL), ERR_OK);
    assert_true(str_eqc(req.client_software_name, "librdkafka"));
    assert_true(str_eqc(req.client_software_version, "2.0.2"));
    assert_int_equal(rd_left(&r), 0);

    struct kafka_api_versions_response res;
    kafka_msg_init(&kafka_api_versions_response_m, &res);
    struct kafka_api_versions_response_api_keys key = {18, 0, 4};
    res.api_keys.p = &key;
    res.api_keys.n = 1;
    struct kafka_out o;
    kafka_out_init(&o, 1 << 20);
    kafka_frame_begin_response(&o, &kafka_api_versions_response_m, 3, 7);
    kafka_msg_encode(&kafka_api_versions_response_m, 3, &res, &o);
    assert_int_equal(kafka_frame_end(&o, NULL), ERR_OK);
    // the header has no tagged fields, whatever the version
    static const uint8_t want[] = {0, 0, 0, 19, 0, 0, 0, 7, 0, 0, 2, 0, 18, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0};
    assert_int_equal(o.buf.n, sizeof want);
    assert_memory_equal(o.buf.p, want, sizeof want);
    kafka_out_fini(&o);
    arena_fini(&a);
}

static void test_records_not_copied(void **state) {
    (void)state;
    static uint8_t frame[16384];
    struct arena a;
    arena_init(&a);
    struct kafka_produce_request_topic_data_partition_data part = {.index = 3, .records = str_n(frame, 10000)};
    struct kafka_produce_request_topic_data topic = {.name = STR("t")};
    topic.partition_data.p = &part;
    topic.partition_data.n = 1;
    struct kafka_produce_request req;
    kafka_msg_init(&kafka_produce_request_m, &req);
    req.topic_data.p = &topic;
    req.topic_data.n = 1;
    struct kafka_out o;
    kafka_out_init(&o, 1 << 20);
    kafka_msg_encode(&kafka_produce_request_m, 9, &req, &o);
    assert_int_equal(o.splices.n, 1);
    assert_ptr_equal(o.splices.p[0].bytes.p, frame);
    assert_int_equal(o.spliced, 10000);
    assert_true(o.buf.n < 64);
    struct buf flat = {0};
    flatten(&o, &flat);
    struct rd r = rd_of(flat.p, flat.n);
    struct kafka_produce_request back;
    assert_int_equal(kafka_msg_decode(&kafka_produce_request_m, 9, &r, &a, &back, NULL), ERR_OK);
    const char *p = back.topic_data.p[0].partition_data.p[0].records.p;
    assert_true(p >= (const char *)flat.p && p + 10000 <= (const char *)flat.p + flat.n);
    buf_fini(&flat);
    kafka_out_fini(&o);
    arena_fini(&a);
}

static void test_hostile_counts(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    struct kafka_metadata_request req;
    static const uint8_t more_than_left[] = {0x7F, 0xFF, 0xFF, 0xFF, 0, 1, 'a'};
    struct rd r = rd_of(more_than_left, sizeof more_than_left);
    assert_int_equal(kafka_msg_decode(&kafka_metadata_request_m, 1, &r, &a, &req, NULL), ERR_PARSE);
    static const uint8_t negative[] = {0xFF, 0xFF, 0xFF, 0xFE};
    r = rd_of(negative, sizeof negative);
    assert_int_equal(kafka_msg_decode(&kafka_metadata_request_m, 1, &r, &a, &req, NULL), ERR_PARSE);
    // 8 MiB that claim to be 8 Mi topics of 3 bytes: refused before the memory is taken
    size_t n = 8 << 20;
    uint8_t *big = mem_zalloc(n + 8);
    big[0] = (uint8_t)(n >> 24), big[1] = (uint8_t)(n >> 16), big[2] = (uint8_t)(n >> 8), big[3] = (uint8_t)n;
    r = rd_of(big, n + 8);
    struct err err = {0};
    assert_int_equal(kafka_msg_decode(&kafka_metadata_request_m, 1, &r, &a, &req, &err), ERR_TOO_LARGE);
    assert_non_null(strstr(err.msg, "topics"));
    assert_true(a.used < KAFKA_DECODE_MAX);
    mem_free(big);
    arena_fini(&a);
}

static void test_print(void **state) {
    (void)state;
    struct kafka_find_coordinator_request req;
    kafka_msg_init(&kafka_find_coordinator_request_m, &req);
    req.key = STR("a\"b");
    struct buf b = {0};
    kafka_msg_print(&kafka_find_coordinator_request_m, 1, &req, 4096, &b);
    assert_string_equal(buf_cstr(&b), "{\"key\": \"a\\\"b\", \"key_type\": 0}");
    buf_fini(&b);
    assert_string_equal(kafka_error_name(KAFKA_UNKNOWN_TOPIC_OR_PARTITION), "UNKNOWN_TOPIC_OR_PARTITION");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),         cmocka_unit_test(test_damaged),        cmocka_unit_test(test_known_bytes),
        cmocka_unit_test(test_records_not_copied), cmocka_unit_test(test_hostile_counts), cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
