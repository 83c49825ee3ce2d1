// SPDX-License-Identifier: Apache-2.0
// __consumer_offsets and the cleaner: the topic stays small, and what a start reads of it says the same as before; what is deleted stays deleted.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/metrics.h"
#include "broker/broker.h"
#include "broker/kafka_error.h"
#include "unit/broker_fixture.h"
#include "unit/group_ask.h"
#include "unit/share_client.h"
#include "log/batch.h"

enum { PARTS = 16, METADATA = 200 };

static void commit_all(struct fixture *f, int64_t round) {
    struct ask a;
    struct group_offset o[PARTS];
    char metadata[METADATA];
    memset(metadata, 'm', sizeof metadata);
    for (int32_t p = 0; p < PARTS; p++)
        o[p] = (struct group_offset){.topic = "t", .partition = p, .offset = round * 1000 + p, .leader_epoch = 4, .metadata = str_n(metadata, METADATA)};
    struct group_commit x = {.call = ask_begin(&a, f), .group_id = "g", .member_id = "", .generation = -1, .offsets = o, .n_offsets = PARTS};
    group_commit(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    assert_int_equal(x.call.error, 0);
    for (int p = 0; p < PARTS; p++) assert_int_equal(o[p].error, 0);
}

static void check_all(struct fixture *f, int64_t round) {
    struct ask a;
    struct group_offset o[PARTS];
    for (int32_t p = 0; p < PARTS; p++) o[p] = (struct group_offset){.topic = "t", .partition = p};
    struct group_fetch x = {.call = ask_begin(&a, f), .group_id = "g", .offsets = o, .n_offsets = PARTS};
    group_fetch(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    for (int p = 0; p < PARTS; p++) assert_int_equal(o[p].offset, round * 1000 + p);
}

static int delete_group(struct fixture *f) {
    struct ask a;
    struct group_delete x = {.call = ask_begin(&a, f), .group_id = "g"};
    group_delete(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    return x.call.error;
}

static int64_t topic_bytes(struct fixture *f) { return broker_partition_bytes(f->broker, "__consumer_offsets", 0); }

// Commits until the cleaner has been there `times` more; returns the last round.
static int64_t churn(struct fixture *f, int64_t round, int64_t times) {
    int64_t until = metric_get(M_LOG_COMPACTIONS, NULL) + times;
    while (metric_get(M_LOG_COMPACTIONS, NULL) < until) {
        for (int i = 0; i < 50; i++) commit_all(f, ++round);
        broker_upkeep(f->broker);
        assert_true(round < 100000);
    }
    return round;
}

static void test_stays_small(void **state) {
    struct fixture *f = *state;
    assert_int_equal(broker_topic_create(f->broker, "t", PARTS, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
    int64_t round = churn(f, 0, 4), written = round * PARTS * METADATA;
    check_all(f, round);
    assert_true(topic_bytes(f) < written);
    for (int i = 0; i < 2; i++) {
        fixture_restart(f, i == 0);
        check_all(f, round);
    }
    // nothing is written any more: what is left is no more than twice what is live, and the last segments
    int64_t most = 2 * PARTS * (METADATA + 100) + 4 * (int64_t)(64 << 10);
    for (int64_t i = 0; topic_bytes(f) > most; i++) {
        broker_upkeep(f->broker);
        assert_true(i < 10000000);
    }
    check_all(f, round);
    round = churn(f, round, 1);
    assert_int_equal(delete_group(f), 0);
    for (int i = 0; i < 2; i++) {
        struct ask a;
        struct group_fetch x = {.call = ask_begin(&a, f), .group_id = "g", .all = true};
        group_fetch(f->broker, &x);
        ask_end(&a);
        arena_fini(&a.arena);
        assert_int_equal(x.n_offsets, 0);
        fixture_restart(f, i == 0);
    }
}

// A compaction leaves a member's assignment where it was, and its own record behind it when that was written anew.
static void test_share_member(void **state) {
    struct fixture *f = *state;
    struct broker_topic_info info;
    struct arena a;
    arena_init(&a);
    assert_int_equal(broker_topic_create(f->broker, "t", PARTS, NULL, 0, false, &info, &a, NULL), ERR_OK);
    struct share_client c = {.broker = f->broker, .loop = f->loops[1], .group = "s", .member = "m", .topic = "t", .connection = 1};
    memcpy(c.topic_id, info.id, 16);
    arena_fini(&a);
    assert_int_equal(share_client_heartbeat(&c, 0, true), 0);
    while (c.n_assigned == 0) assert_int_equal(share_client_heartbeat(&c, c.epoch, false), 0);
    assert_int_equal(c.n_assigned, PARTS);
    c.host = "/10.0.0.2"; // another address: the member's record is written anew
    assert_int_equal(share_client_heartbeat(&c, c.epoch, false), 0);
    int32_t epoch = c.epoch;
    (void)churn(f, 0, 3);
    fixture_restart(f, false);
    c.broker = f->broker;
    c.n_assigned = 0;
    assert_int_equal(share_client_heartbeat(&c, c.epoch, true), 0); // says what it reads, and is told what it has
    assert_int_equal(c.epoch, epoch);
    assert_int_equal(c.n_assigned, PARTS);
}

// An offset in the form before topic ids (value version 3) counts for whatever topic has the name; one in today's form for the topic it was
// committed of.
static void test_records_of_both_forms(void **state) {
    static const uint8_t other[16] = {1, 2, 3};
    struct fixture *f = *state;
    assert_int_equal(broker_topic_create(f->broker, "t", 2, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
    struct buf key = {0}, value = {0}, bytes = {0};
    struct batch_builder bb;
    batch_begin(&bb, &bytes, fixture_now_ms(f));
    for (uint32_t p = 0; p < 2; p++) {
        buf_clear(&key), buf_clear(&value);
        buf_put(&key, "\0\1\0\1g\0\1t", 8);
        buf_put_be32(&key, p);
        buf_put_be16(&value, p == 0 ? 3 : 4);
        buf_put_be64(&value, 40 + p);
        buf_put_be32(&value, 7);
        if (p == 0) buf_put(&value, "\0\1m", 3);
        else buf_put(&value, "\2m", 2);
        buf_put_be64(&value, (uint64_t)fixture_now_ms(f));
        if (p == 1) buf_put(&value, "\1\0\20", 3), buf_put(&value, other, sizeof other);
        batch_add(&bb, fixture_now_ms(f), buf_str(&key), false, buf_str(&value), false, NULL, 0);
    }
    batch_end(&bb);
    assert_int_equal(fixture_produce(f, "__consumer_offsets", 0, buf_str(&bytes), true).kafka_error, 0);
    buf_fini(&key), buf_fini(&value), buf_fini(&bytes);
    for (int i = 0; i < 2; i++) {
        fixture_restart(f, i == 0);
        struct ask a;
        struct group_offset o[2] = {{.topic = "t"}, {.topic = "t", .partition = 1}};
        struct group_fetch x = {.call = ask_begin(&a, f), .group_id = "g", .offsets = o, .n_offsets = 2};
        group_fetch(f->broker, &x);
        ask_end(&a);
        assert_true(o[0].offset == 40 && o[0].leader_epoch == 7 && str_eq(o[0].metadata, STR("m")));
        assert_int_equal(o[1].offset, -1);
        arena_fini(&a.arena);
    }
}

// It is there from the start, but who creates it before anybody used it gets it as he wants it, once; and it holds groups' records still.
static void test_created_by_a_client(void **state) {
    struct fixture *f = *state;
    const struct broker_kv wanted[] = {{"segment.bytes", "1048576"}}, wrong[] = {{"segment.bytes", "many"}};
    struct broker_topic_info info;
    struct arena a;
    arena_init(&a);
    assert_int_equal(broker_topic_create(f->broker, "__consumer_offsets", 3, wrong, 1, false, NULL, NULL, NULL), ERR_CONFIG);
    assert_int_equal(broker_topic_create(f->broker, "__consumer_offsets", 0, NULL, 0, false, NULL, NULL, NULL), ERR_PARTITIONS);
    assert_int_equal(broker_topic_create(f->broker, "__consumer_offsets", 5, wanted, 1, true, &info, &a, NULL), ERR_OK); // only validates
    assert_int_equal(info.partitions, 5);
    assert_int_equal(broker_topic_create(f->broker, "__consumer_offsets", 3, wanted, 1, false, &info, &a, NULL), ERR_OK);
    assert_int_equal(info.partitions, 3);
    assert_int_equal(broker_topic_create(f->broker, "__consumer_offsets", 3, wanted, 1, false, NULL, NULL, NULL), ERR_EXISTS);
    struct broker_config_entry *entries;
    size_t n;
    assert_int_equal(broker_topic_configs(f->broker, "__consumer_offsets", &a, &entries, &n, NULL), ERR_OK);
    int seen = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(entries[i].name, "segment.bytes") == 0) seen += strcmp(entries[i].value, "1048576") == 0;
        if (strcmp(entries[i].name, "cleanup.policy") == 0) seen += strcmp(entries[i].value, "compact") == 0; // not said: stays
    }
    assert_int_equal(seen, 2);
    assert_int_equal(broker_topic_create(f->broker, "t", PARTS, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
    commit_all(f, 1);
    fixture_restart(f, false);
    check_all(f, 1);
    assert_true(broker_topic_get(f->broker, STR("__consumer_offsets"), &a, &info) && info.partitions == 3);
    assert_int_equal(broker_topic_create(f->broker, "__consumer_offsets", 3, NULL, 0, false, NULL, NULL, NULL), ERR_EXISTS);
    arena_fini(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_stays_small, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_share_member, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_records_of_both_forms, fixture_setup, fixture_teardown),
                                       cmocka_unit_test_setup_teardown(test_created_by_a_client, fixture_setup, fixture_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
