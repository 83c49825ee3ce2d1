// SPDX-License-Identifier: Apache-2.0
// Transactions in the broker: the state machine, both protocol versions, what readers see, offsets, fencing, time-outs, restarts; and that what
// is late of one transaction never gets into the next one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "broker/kafka_error.h"
#include "broker/producers.h"
#include "broker/txn.h"
#include "broker/txn_state.h"
#include "unit/broker_fixture.h"
#include "unit/group_ask.h"
#include "log/batch.h"
#include "log/view.h"

// ---- calls that wait ------------------------------------------------------------------------------------------------

struct id {
    int64_t id;
    int16_t epoch;
    int error;
};

static struct id init_as(struct fixture *f, const char *name, int32_t timeout, int64_t id, int16_t epoch) {
    struct ask a;
    struct txn_init x = {.call.call = ask_begin(&a, f), .transactional_id = name, .timeout_ms = timeout, .producer_id = id, .producer_epoch = epoch};
    txn_init(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    return (struct id){x.out_id, x.out_epoch, x.call.call.error};
}
static struct id init(struct fixture *f, const char *name) { return init_as(f, name, 60000, -1, -1); }

static int add(struct fixture *f, const char *name, struct id p, const char *topic, int32_t partition, bool verify) {
    struct ask a;
    struct txn_partition what = {.topic = topic, .partition = partition};
    struct txn_add x = {.call.call = ask_begin(&a, f), .transactional_id = name, .producer_id = p.id, .producer_epoch = p.epoch};
    x.partitions = &what;
    x.n_partitions = 1;
    x.verify = verify;
    txn_add(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    return x.call.call.error != 0 ? x.call.call.error : what.error;
}

static struct id end(struct fixture *f, const char *name, struct id p, bool commit, bool v2) {
    struct ask a;
    struct txn_end x = {.call.call = ask_begin(&a, f), .transactional_id = name, .producer_id = p.id, .producer_epoch = p.epoch, .commit = commit, .v2 = v2};
    txn_end(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    return (struct id){x.out_id, x.out_epoch, x.call.call.error};
}

static const char *state_of(struct fixture *f, const char *name) {
    struct ask a;
    struct txn_describe x = {.call.call = ask_begin(&a, f), .transactional_id = name};
    txn_describe(f->broker, &x);
    ask_end(&a);
    static char text[32];
    snprintf(text, sizeof text, "%s", x.call.call.error == 0 ? x.state : "none");
    arena_fini(&a.arena);
    return text;
}

// Until all markers are written; the coordinator needs no more than its disk.
static void settled(struct fixture *f, const char *name) {
    while (strncmp(state_of(f, name), "Prepare", 7) == 0) {}
}

static struct broker_produce put(struct fixture *f, const char *topic, int32_t partition, struct id p, int32_t sequence, const char *name,
                                 enum broker_txn_level level) {
    struct buf b = {0};
    struct batch_builder bb;
    int64_t now = fixture_now_ms(f);
    batch_begin(&bb, &b, now);
    bb.producer_id = p.id;
    bb.producer_epoch = p.epoch;
    bb.base_sequence = sequence;
    if (name != NULL) bb.attributes |= BATCH_ATTR_TRANSACTION;
    batch_add(&bb, now, STR("k"), false, STR("v"), false, NULL, 0);
    batch_end(&bb);
    struct fixture_put x = {.f = f};
    x.produce = (struct broker_produce){.topic = topic, .partition = partition, .batches = buf_str(&b), .wait_durable = true,
                                        .transactional_id = name, .txn_level = level, .done = fixture_put_done};
    x.produce.arg = &x;
    loop_event_init(&x.event);
    loop_post(f->loops[1], fixture_put_start, &x);
    loop_event_wait(&x.event);
    loop_event_fini(&x.event);
    buf_fini(&b);
    return x.produce;
}
static int put_v2(struct fixture *f, int32_t partition, struct id p, int32_t sequence, const char *name) {
    return put(f, "t", partition, p, sequence, name, BROKER_TXN_ADD).kafka_error;
}

static int commit_offset(struct fixture *f, const char *name, struct id p, int64_t offset, bool v2) {
    struct ask a;
    struct group_offset o = {.topic = "t", .partition = 0, .offset = offset, .leader_epoch = -1};
    struct group_commit x = {.call = ask_begin(&a, f), .group_id = "g", .member_id = "", .generation = -1, .offsets = &o, .n_offsets = 1};
    x.transactional_id = name;
    x.producer_id = p.id;
    x.producer_epoch = p.epoch;
    x.txn_adds = v2;
    txn_offsets_commit(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    return x.call.error != 0 ? x.call.error : o.error;
}

static int commit_plain(struct fixture *f, int64_t offset) {
    struct ask a;
    struct group_offset o = {.topic = "t", .partition = 0, .offset = offset, .leader_epoch = -1};
    struct group_commit x = {.call = ask_begin(&a, f), .group_id = "g", .member_id = "", .generation = -1, .offsets = &o, .n_offsets = 1};
    group_commit(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    return x.call.error != 0 ? x.call.error : o.error;
}

static int64_t committed(struct fixture *f, int *error) {
    struct ask a;
    struct group_offset o = {.topic = "t", .partition = 0};
    struct group_fetch x = {.call = ask_begin(&a, f), .group_id = "g", .require_stable = true, .offsets = &o, .n_offsets = 1};
    group_fetch(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    *error = o.error;
    return o.offset;
}

struct seen {
    int64_t batches, markers, aborted, stable, high;
};

static struct seen look(struct fixture *f, int32_t partition) {
    struct log_view v = {0};
    struct arena a;
    struct broker_aborted *aborted;
    struct broker_offsets o;
    size_t n = 0;
    struct err err = {0};
    arena_init(&a);
    enum err_code code = broker_read_committed(f->broker, "t", partition, 0, 1 << 20, true, &v, &o, &a, &aborted, &n, &err);
    if (code != ERR_OK) fail_msg("%s", err.msg);
    struct seen s = {.aborted = (int64_t)n, .stable = o.stable, .high = o.high_watermark};
    struct buf whole = {0};
    for (size_t i = 0; i < v.pieces.n; i++) buf_put_str(&whole, v.pieces.p[i].bytes);
    struct batch b;
    for (size_t at = 0; at < whole.n; at += b.size) {
        assert_int_equal(batch_read(whole.p + at, whole.n - at, &b), BATCH_OK);
        if ((b.attributes & BATCH_ATTR_CONTROL) != 0) s.markers++;
        else s.batches++;
    }
    assert_int_equal(whole.n, v.n);
    buf_fini(&whole);
    log_view_release(&v);
    arena_fini(&a);
    return s;
}

// Offsets of what a program inside sees, as a sum of 1 << offset.
static uint64_t plain(struct fixture *f, int32_t partition) {
    struct buf b = {0};
    uint64_t set = 0;
    int64_t at = -1, next = 0;
    while (next != at) {
        at = next;
        buf_clear(&b);
        assert_int_equal(broker_read_plain(f->broker, "t", partition, at, 1, &b, &next, NULL, NULL), ERR_OK);
        struct batch x;
        for (size_t k = 0; k < b.n; k += x.size) {
            assert_int_equal(batch_read(b.p + k, b.n - k, &x), BATCH_OK);
            set |= (uint64_t)1 << x.base_offset;
        }
    }
    buf_fini(&b);
    return set;
}

static void topic(struct fixture *f) {
    struct err err = {0};
    if (broker_topic_create(f->broker, "t", 3, NULL, 0, false, NULL, NULL, &err) != ERR_OK) fail_msg("%s", err.msg);
}

// ---- tests ----------------------------------------------------------------------------------------------------------

static void test_states(void **unused) {
    (void)unused;
    struct txn_meta m, n;
    bool repeat;
    txn_meta_new(&m, 5, 1000, 100);
    assert_int_equal(txn_next_init(&m, -1, -1, 2000, -1, 101, &n), 0);
    assert_true(n.epoch == 0 && n.last_epoch == -1 && n.timeout_ms == 2000 && n.state == TXN_EMPTY);
    m = n;
    assert_int_equal(txn_next_init(&m, 5, 0, 2000, -1, 102, &n), 0); // KIP-360: a newer epoch for the same producer
    assert_true(n.epoch == 1 && n.last_epoch == 0);
    m = n;
    assert_int_equal(txn_next_init(&m, 5, 0, 2000, -1, 103, &n), 0); // the same once more: the answer was lost
    assert_true(n.epoch == 1);
    assert_int_equal(txn_next_init(&m, 5, 7, 2000, -1, 103, &n), KAFKA_PRODUCER_FENCED);
    assert_int_equal(txn_next_init(&m, 6, 1, 2000, -1, 103, &n), KAFKA_PRODUCER_FENCED);
    assert_int_equal(txn_next_add(&m, 6, 1, true, 104, &n), KAFKA_INVALID_PRODUCER_ID_MAPPING);
    assert_int_equal(txn_next_add(&m, 5, 0, true, 104, &n), KAFKA_PRODUCER_FENCED);
    assert_int_equal(txn_next_end(&m, 5, 1, true, false, -1, 104, &n, &repeat), KAFKA_INVALID_TXN_STATE); // nothing to end
    assert_int_equal(txn_next_add(&m, 5, 1, true, 104, &n), 0);
    assert_true(n.state == TXN_ONGOING && n.start_ms == 104);
    m = n;
    assert_int_equal(txn_next_init(&m, 5, 0, 1, -1, 105, &n), KAFKA_PRODUCER_FENCED); // late: it aborts nothing
    assert_int_equal(txn_next_init(&m, 5, 1, 1, -1, 105, &n), TXN_ABORT_FIRST);
    assert_int_equal(txn_next_init(&m, -1, -1, 1, -1, 105, &n), TXN_ABORT_FIRST);
    assert_int_equal(txn_next_end(&m, 5, 0, true, true, -1, 105, &n, &repeat), KAFKA_PRODUCER_FENCED);
    assert_int_equal(txn_next_end(&m, 5, 1, true, true, -1, 105, &n, &repeat), 0);
    assert_true(n.state == TXN_PREPARE_COMMIT && n.epoch == 2 && !repeat);
    m = n;
    assert_int_equal(txn_next_end(&m, 5, 1, true, true, -1, 106, &n, &repeat), KAFKA_CONCURRENT_TRANSACTIONS); // a repeat
    assert_int_equal(txn_next_end(&m, 5, 1, false, true, -1, 106, &n, &repeat), KAFKA_INVALID_TXN_STATE);
    assert_int_equal(txn_next_end(&m, 5, 2, true, true, -1, 106, &n, &repeat), KAFKA_PRODUCER_FENCED);
    assert_int_equal(txn_next_add(&m, 5, 2, true, 106, &n), KAFKA_CONCURRENT_TRANSACTIONS);
    txn_next_complete(&m, 107, &n);
    m = n;
    assert_true(m.state == TXN_COMPLETE_COMMIT && m.epoch == 2);
    assert_int_equal(txn_next_end(&m, 5, 1, true, true, -1, 108, &n, &repeat), 0);
    assert_true(repeat && n.epoch == 2);
    assert_int_equal(txn_next_end(&m, 5, 1, false, true, -1, 108, &n, &repeat), KAFKA_INVALID_TXN_STATE);
    assert_int_equal(txn_next_end(&m, 5, 2, true, true, -1, 108, &n, &repeat), KAFKA_INVALID_TXN_STATE); // nothing was added
    assert_int_equal(txn_next_end(&m, 5, 2, false, true, -1, 108, &n, &repeat), 0);                       // may be given up
    assert_true(n.state == TXN_PREPARE_ABORT && n.epoch == 3);
}

// Aborted at its time-out: an older client's EndTxn is fenced, a V2 client's abort is a repeat and brings the new epoch.
static void test_end_behind_a_fence(void **unused) {
    (void)unused;
    struct txn_meta m, n;
    bool repeat;
    txn_meta_new(&m, 5, 1000, 100);
    m.epoch = 3;
    m.state = TXN_ONGOING;
    txn_next_fence(&m, 101, &n);
    m = n;
    txn_next_complete(&m, 102, &n);
    m = n;
    assert_true(m.state == TXN_COMPLETE_ABORT && m.epoch == 4);
    assert_int_equal(txn_next_end(&m, 5, 3, true, false, -1, 103, &n, &repeat), KAFKA_PRODUCER_FENCED);
    assert_int_equal(txn_next_end(&m, 5, 3, false, false, -1, 103, &n, &repeat), KAFKA_PRODUCER_FENCED);
    assert_int_equal(txn_next_end(&m, 5, 3, true, true, -1, 103, &n, &repeat), KAFKA_INVALID_TXN_STATE);
    assert_int_equal(txn_next_end(&m, 5, 3, false, true, -1, 103, &n, &repeat), 0);
    assert_true(repeat && n.epoch == 4);
}

static void test_epochs_run_out(void **unused) {
    (void)unused;
    struct txn_meta m, n;
    bool repeat;
    txn_meta_new(&m, 5, 1000, 100);
    m.epoch = TXN_EPOCH_LAST;
    m.state = TXN_ONGOING;
    m.client_version = 2;
    assert_int_equal(txn_next_end(&m, 5, TXN_EPOCH_LAST, true, true, -1, 1, &n, &repeat), TXN_NEEDS_ID);
    assert_int_equal(txn_next_end(&m, 5, TXN_EPOCH_LAST, true, true, 9, 1, &n, &repeat), 0);
    assert_true(n.epoch == INT16_MAX && n.producer_id == 5 && n.next_id == 9); // the markers are still the old one's
    m = n;
    txn_next_complete(&m, 2, &n);
    m = n;
    assert_true(m.producer_id == 9 && m.epoch == 0 && m.previous_id == 5);
    assert_int_equal(txn_next_end(&m, 5, TXN_EPOCH_LAST, true, true, -1, 3, &n, &repeat), 0); // the answer was lost
    assert_true(repeat && n.producer_id == 9);
    m.epoch = TXN_EPOCH_LAST;
    assert_int_equal(txn_next_init(&m, -1, -1, 1000, -1, 4, &n), TXN_NEEDS_ID);
    assert_int_equal(txn_next_init(&m, -1, -1, 1000, 12, 4, &n), 0);
    assert_true(n.producer_id == 12 && n.epoch == 0);
}

static void test_v1(void **state) {
    struct fixture *f = *state;
    topic(f);
    assert_int_equal(init_as(f, "", 1000, -1, -1).error, KAFKA_INVALID_REQUEST);
    assert_int_equal(init_as(f, "a", 0, -1, -1).error, KAFKA_INVALID_TRANSACTION_TIMEOUT);
    assert_int_equal(init_as(f, "a", 900001, -1, -1).error, KAFKA_INVALID_TRANSACTION_TIMEOUT);
    struct id p = init(f, "a");
    assert_int_equal(p.error, 0);
    // a partition that is not in the transaction is refused, and nothing is written
    assert_int_equal(put(f, "t", 0, p, 0, "a", BROKER_TXN_VERIFY).kafka_error, KAFKA_INVALID_TXN_STATE);
    assert_int_equal(put(f, "t", 0, p, 0, "a", BROKER_TXN_VERIFY_ABORTABLE).kafka_error, KAFKA_TRANSACTION_ABORTABLE);
    assert_int_equal(look(f, 0).high, 0);
    assert_int_equal(add(f, "a", p, "t", 7, false), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(add(f, "a", p, "t", 0, true), KAFKA_TRANSACTION_ABORTABLE);
    assert_int_equal(add(f, "a", p, "t", 0, false), 0);
    assert_int_equal(add(f, "a", p, "t", 0, true), 0);
    assert_int_equal(put(f, "t", 0, p, 0, "a", BROKER_TXN_VERIFY).kafka_error, 0);
    assert_int_equal(put(f, "t", 0, p, 1, "a", BROKER_TXN_VERIFY).kafka_error, 0);
    assert_int_equal(put(f, "t", 0, p, 2, NULL, BROKER_TXN_VERIFY).kafka_error, KAFKA_INVALID_TXN_STATE); // plain, in the middle of it
    struct seen s = look(f, 0);
    assert_true(s.batches == 0 && s.stable == 0 && s.high == 2);
    assert_int_equal(end(f, "a", p, true, false).error, 0);
    settled(f, "a");
    assert_string_equal(state_of(f, "a"), "CompleteCommit");
    s = look(f, 0);
    assert_true(s.batches == 2 && s.markers == 1 && s.stable == 3 && s.aborted == 0);
    assert_int_equal(end(f, "a", p, true, false).error, 0); // a repeat
    assert_int_equal(end(f, "a", p, false, false).error, KAFKA_INVALID_TXN_STATE);
    assert_int_equal(add(f, "a", p, "t", 0, false), 0);
    assert_int_equal(put(f, "t", 0, p, 2, "a", BROKER_TXN_VERIFY).kafka_error, 0);
    assert_int_equal(end(f, "a", p, false, false).error, 0);
    settled(f, "a");
    assert_int_equal(put(f, "t", 0, p, 3, NULL, BROKER_TXN_VERIFY).kafka_error, 0); // offset 5
    for (int round = 0; round < 3; round++) {
        s = look(f, 0);
        assert_true(s.batches == 4 && s.markers == 2 && s.stable == 6 && s.aborted == 1);
        assert_int_equal(plain(f, 0), 1u << 0 | 1u << 1 | 1u << 5);
        fixture_restart(f, round == 0);
    }
}

static void test_v2_late(void **state) {
    struct fixture *f = *state;
    topic(f);
    struct id first = init(f, "a");
    assert_int_equal(put_v2(f, 0, first, 0, "a"), 0);
    assert_int_equal(put_v2(f, 1, first, 0, "a"), 0);
    struct id second = end(f, "a", first, true, true);
    assert_true(second.error == 0 && second.id == first.id && second.epoch == first.epoch + 1);
    settled(f, "a");
    // what is late of the first: into the time between, and into the middle of the second
    for (int round = 0; round < 2; round++) {
        assert_int_equal(put_v2(f, 0, first, 1, "a"), KAFKA_INVALID_PRODUCER_EPOCH);
        assert_int_equal(put_v2(f, 2, first, 0, "a"), KAFKA_INVALID_PRODUCER_EPOCH); // a partition that knows nothing of it
        assert_int_equal(commit_offset(f, "a", first, 5, true), KAFKA_INVALID_PRODUCER_EPOCH);
        assert_int_equal(add(f, "a", first, "t", 2, false), KAFKA_PRODUCER_FENCED);
        assert_int_equal(end(f, "a", first, false, true).error, round == 0 ? KAFKA_INVALID_TXN_STATE : KAFKA_PRODUCER_FENCED);
        if (round == 0) {
            struct id again = end(f, "a", first, true, true); // the repeat of what was done: told again, and nothing more
            assert_true(again.error == 0 && again.epoch == second.epoch);
            assert_int_equal(put_v2(f, 0, second, 0, "a"), 0);
        }
    }
    assert_string_equal(state_of(f, "a"), "Ongoing");
    assert_int_equal(end(f, "a", first, true, true).error, KAFKA_PRODUCER_FENCED);
    struct id third = end(f, "a", second, false, true);
    assert_int_equal(third.error, 0);
    assert_int_equal(put_v2(f, 0, third, 1, "a"), KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER); // a new epoch begins at 0
    assert_int_equal(put_v2(f, 0, third, 0, "a"), 0);
    assert_int_equal(end(f, "a", third, true, true).error, 0);
    settled(f, "a");
    struct seen s = look(f, 0);
    assert_true(s.batches == 3 && s.markers == 3 && s.aborted == 1 && s.stable == 6);
    assert_int_equal(plain(f, 0), 1u << 0 | 1u << 4);
    assert_int_equal(look(f, 2).high, 0);
}

static void test_offsets(void **state) {
    struct fixture *f = *state;
    int error;
    topic(f);
    struct id p = init(f, "a");
    assert_int_equal(commit_offset(f, "a", p, 1, false), KAFKA_INVALID_TXN_STATE); // V1: AddOffsetsToTxn was forgotten
    assert_int_equal(commit_offset(f, "a", p, 7, true), 0);
    assert_int_equal(committed(f, &error), -1);
    assert_int_equal(error, KAFKA_UNSTABLE_OFFSET_COMMIT);
    fixture_restart(f, false); // pending ones are found again
    assert_int_equal(committed(f, &error), -1);
    assert_int_equal(error, KAFKA_UNSTABLE_OFFSET_COMMIT);
    p = end(f, "a", p, true, true);
    assert_int_equal(p.error, 0);
    settled(f, "a");
    assert_int_equal(committed(f, &error), 7);
    assert_int_equal(error, 0);
    assert_int_equal(commit_offset(f, "a", p, 9, true), 0);
    p = end(f, "a", p, false, true);
    settled(f, "a");
    for (int round = 0; round < 3; round++) {
        assert_int_equal(committed(f, &error), 7);
        assert_int_equal(error, 0);
        fixture_restart(f, round == 0);
    }
}

// An offset that a transaction wrote and one that came without a transaction: the later record counts, not the later end.
static void test_offsets_order(void **state) {
    struct fixture *f = *state;
    int error;
    topic(f);
    struct id p = init(f, "a");
    for (int64_t round = 0; round < 4; round++) { // restarted: before the end, behind it, both, never
        bool plain_last = round != 1;
        if (!plain_last) assert_int_equal(commit_plain(f, 100 + round), 0);
        assert_int_equal(commit_offset(f, "a", p, 10 + round, true), 0);
        if (plain_last) assert_int_equal(commit_plain(f, 100 + round), 0);
        assert_int_equal(committed(f, &error), -1);
        assert_int_equal(error, KAFKA_UNSTABLE_OFFSET_COMMIT);
        if (round != 1 && round != 3) fixture_restart(f, round == 0);
        p = end(f, "a", p, true, true);
        assert_int_equal(p.error, 0);
        settled(f, "a");
        assert_int_equal(committed(f, &error), plain_last ? 100 + round : 10 + round);
        assert_int_equal(error, 0);
        if (round == 0 || round == 3) continue;
        fixture_restart(f, round == 1);
        assert_int_equal(committed(f, &error), plain_last ? 100 + round : 10 + round);
    }
}

static int delete_offset(struct fixture *f) {
    struct ask a;
    struct group_offset o = {.topic = "t", .partition = 0};
    struct group_offsets_delete x = {.call = ask_begin(&a, f), .group_id = "g", .offsets = &o, .n_offsets = 1};
    group_offsets_delete(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    return x.call.error != 0 ? x.call.error : o.error;
}

static int delete_group(struct fixture *f) {
    struct ask a;
    struct group_delete x = {.call = ask_begin(&a, f), .group_id = "g"};
    group_delete(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    return x.call.error;
}

// What is deleted while a transaction has a newer offset of it is gone whole: the transaction's end does not bring it back, before or after a
// restart. What the transaction writes behind the deletion counts.
static void test_offsets_deleted(void **state) {
    struct fixture *f = *state;
    int error;
    topic(f);
    struct id p = init(f, "a");
    for (int64_t round = 0; round < 6; round++) { // restarted: before the end, behind it
        assert_int_equal(commit_plain(f, 100), 0);
        assert_int_equal(commit_offset(f, "a", p, 10 + round, true), 0);
        if (round / 2 == 0) assert_int_equal(delete_offset(f), 0);
        if (round / 2 == 1) assert_int_equal(delete_group(f), 0);
        if (round / 2 == 2) {
            assert_int_equal(broker_topic_delete(f->broker, "t", NULL), ERR_OK);
            topic(f);
        }
        assert_int_equal(committed(f, &error), -1);
        assert_int_equal(error, 0);
        if (round % 2 == 0) fixture_restart(f, false);
        p = end(f, "a", p, true, true);
        assert_int_equal(p.error, 0);
        settled(f, "a");
        assert_int_equal(committed(f, &error), -1);
        assert_int_equal(error, 0);
        if (round % 2 == 1) fixture_restart(f, false);
        assert_int_equal(committed(f, &error), -1);
    }
    assert_int_equal(commit_plain(f, 100), 0);
    assert_int_equal(delete_group(f), 0);
    assert_int_equal(commit_offset(f, "a", p, 20, true), 0);
    p = end(f, "a", p, true, true);
    settled(f, "a");
    assert_int_equal(committed(f, &error), 20);
}

static bool group_is_there(struct fixture *f) {
    struct ask a;
    struct group_list x = {.call = ask_begin(&a, f)};
    group_list(f->broker, &x);
    ask_end(&a);
    if (x.n_groups > 0) assert_true(strcmp(x.groups[0].state, "Empty") == 0 && x.groups[0].protocol_type[0] == '\0');
    arena_fini(&a.arena);
    return x.n_groups > 0;
}

// A group that has nothing but offsets of an open transaction is an empty one: it can be deleted, before the end as after an abort, and what the
// transaction had of it does not come.
static void test_offsets_only_pending(void **state) {
    struct fixture *f = *state;
    int error;
    topic(f);
    struct id p = init(f, "a");
    for (int round = 0; round < 8; round++) { // aborted; restarted before and behind the deletion
        bool aborted = (round & 1) != 0;
        assert_int_equal(delete_group(f), KAFKA_GROUP_ID_NOT_FOUND);
        assert_int_equal(delete_offset(f), KAFKA_GROUP_ID_NOT_FOUND);
        assert_int_equal(commit_offset(f, "a", p, 10, true), 0);
        assert_true(group_is_there(f));
        if (aborted) {
            p = end(f, "a", p, false, true);
            settled(f, "a");
        }
        if ((round & 2) != 0) fixture_restart(f, false);
        assert_true(group_is_there(f));
        assert_int_equal(delete_group(f), 0);
        if ((round & 4) != 0) fixture_restart(f, false);
        assert_false(group_is_there(f));
        if (!aborted) p = end(f, "a", p, true, true);
        assert_int_equal(p.error, 0);
        settled(f, "a");
        assert_int_equal(committed(f, &error), -1);
        assert_int_equal(error, 0);
    }
    assert_int_equal(commit_offset(f, "a", p, 10, true), 0);
    assert_int_equal(delete_offset(f), 0);
    p = end(f, "a", p, true, true);
    settled(f, "a");
    assert_int_equal(committed(f, &error), -1);
}

// A commit of which nothing is written makes no group.
static void test_nothing_committed(void **state) {
    struct fixture *f = *state;
    topic(f);
    struct ask a;
    struct group_offset o = {.topic = "nobody", .leader_epoch = -1};
    struct group_commit x = {.call = ask_begin(&a, f), .group_id = "g", .member_id = "", .generation = -1, .offsets = &o, .n_offsets = 1};
    group_commit(f->broker, &x);
    ask_end(&a);
    arena_fini(&a.arena);
    assert_int_equal(o.error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_false(group_is_there(f));
}

struct ending { // a marker that ends a transaction's offsets, and DeleteGroups right behind it
    struct fixture *f;
    struct txn_marker_write marker;
    struct group_delete delete;
    bool delete_first;
};

static void end_and_delete(void *arg) { // on the coordinator's loop, so that the marker cannot be durable before the deletion is asked for
    struct ending *x = arg;
    if (x->delete_first) group_delete(x->f->broker, &x->delete);
    txn_write_marker(x->f->broker, &x->marker);
    if (!x->delete_first) group_delete(x->f->broker, &x->delete);
}

// The group is deleted while the marker of a transaction with an offset of it is being written: both are gone, in memory as on the disk.
static void test_group_deleted_at_the_end(void **state) {
    struct fixture *f = *state;
    int error;
    topic(f);
    struct id p = init(f, "a");
    for (int round = 0; round < 12; round++) {
        struct ask a, b;
        assert_int_equal(commit_plain(f, 100), 0);
        assert_int_equal(commit_offset(f, "a", p, 10 + round, true), 0);
        struct ending x = {.f = f, .delete_first = round % 3 == 2};
        x.marker = (struct txn_marker_write){.call = ask_begin(&a, f), .topic = "__consumer_offsets", .producer_id = p.id, .producer_epoch = p.epoch,
                                             .commit = true};
        x.delete = (struct group_delete){.call = ask_begin(&b, f), .group_id = "g"};
        loop_post(f->loops[0], end_and_delete, &x);
        ask_end(&a);
        ask_end(&b);
        arena_fini(&a.arena);
        arena_fini(&b.arena);
        assert_int_equal(x.marker.call.error, 0);
        assert_int_equal(x.delete.call.error, 0);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(committed(f, &error), -1);
            assert_int_equal(error, 0);
            assert_false(group_is_there(f));
            if (i == 0 && round % 4 == 3) fixture_restart(f, false);
        }
        p = end(f, "a", p, true, true);
        assert_int_equal(p.error, 0);
        settled(f, "a");
        assert_int_equal(committed(f, &error), -1);
    }
}

static void test_fencing(void **state) {
    struct fixture *f = *state;
    topic(f);
    struct id old = init(f, "a");
    assert_int_equal(put_v2(f, 0, old, 0, "a"), 0);
    struct id now = init(f, "a"); // aborts what the old one left, and waits for that
    assert_true(now.error == 0 && now.id == old.id && now.epoch > old.epoch);
    assert_int_equal(put_v2(f, 0, old, 1, "a"), KAFKA_INVALID_PRODUCER_EPOCH);
    assert_int_equal(put_v2(f, 1, old, 0, "a"), KAFKA_INVALID_PRODUCER_EPOCH);
    assert_int_equal(end(f, "a", old, true, true).error, KAFKA_PRODUCER_FENCED);
    assert_int_equal(init_as(f, "a", 60000, old.id, old.epoch).error, KAFKA_PRODUCER_FENCED);
    assert_int_equal(end(f, "nobody", old, true, true).error, KAFKA_INVALID_PRODUCER_ID_MAPPING);
    struct seen s = look(f, 0);
    assert_true(s.aborted == 1 && s.stable == s.high);
    assert_int_equal(put_v2(f, 0, now, 0, "a"), 0);
    assert_int_equal(end(f, "a", now, true, true).error, 0);
}

static void test_timeout(void **state) {
    struct fixture *f = *state;
    topic(f);
    struct id p = init_as(f, "a", 1, -1, -1);
    assert_int_equal(put_v2(f, 0, p, 0, "a"), 0);
    while (strcmp(state_of(f, "a"), "CompleteAbort") != 0) {} // the coordinator's clock does it
    struct seen s = look(f, 0);
    assert_true(s.aborted == 1 && s.markers == 1 && s.stable == s.high);
    assert_int_equal(put_v2(f, 0, p, 1, "a"), KAFKA_INVALID_PRODUCER_EPOCH);
    struct id again = init_as(f, "a", 60000, p.id, p.epoch); // KIP-588: it may go on with a new epoch
    assert_true(again.error == 0 && again.epoch > p.epoch);
}

static void test_restart_in_the_middle(void **state) {
    struct fixture *f = *state;
    topic(f);
    struct id a = init(f, "a"), b = init(f, "b");
    assert_int_equal(put_v2(f, 0, a, 0, "a"), 0);
    assert_int_equal(put_v2(f, 0, b, 0, "b"), 0);
    fixture_restart(f, false);
    assert_string_equal(state_of(f, "a"), "Ongoing");
    assert_int_equal(look(f, 0).stable, 0);
    assert_int_equal(put_v2(f, 0, a, 1, "a"), 0);
    a = end(f, "a", a, true, true);
    assert_int_equal(a.error, 0);
    settled(f, "a");
    assert_int_equal(look(f, 0).stable, 1); // b began at 1
    fixture_restart(f, true);
    assert_int_equal(look(f, 0).stable, 1);
    assert_int_equal(end(f, "b", b, false, true).error, 0);
    settled(f, "b");
    struct seen s = look(f, 0);
    assert_true(s.stable == 5 && s.aborted == 1 && s.batches == 3 && s.markers == 2);
    assert_int_equal(plain(f, 0), 1u << 0 | 1u << 2);
}

static void test_markers_by_hand(void **state) { // of a transaction that hangs
    struct fixture *f = *state;
    topic(f);
    struct id p = init(f, "a");
    assert_int_equal(put_v2(f, 0, p, 0, "a"), 0);
    struct ask a;
    struct txn_producers d = {.call = ask_begin(&a, f), .topic = "t"};
    txn_describe_producers(f->broker, &d);
    ask_end(&a);
    arena_fini(&a.arena);
    assert_true(d.n_producers == 1 && d.producers[0].producer_id == p.id && d.producers[0].txn_first == 0 && d.producers[0].last_sequence == 0);
    assert_int_equal(d.producers[0].coordinator_epoch, -1);
    mem_free(d.producers);
    struct txn_marker_write w = {.call = ask_begin(&a, f), .topic = "t", .producer_id = p.id, .producer_epoch = p.epoch};
    w.newer = true; // V2's own rule: the epoch must be above
    txn_write_marker(f->broker, &w);
    ask_end(&a);
    arena_fini(&a.arena);
    assert_int_equal(w.call.error, KAFKA_INVALID_PRODUCER_EPOCH);
    w = (struct txn_marker_write){.call = ask_begin(&a, f), .topic = "t", .producer_id = p.id, .producer_epoch = p.epoch, .coordinator_epoch = 3};
    txn_write_marker(f->broker, &w);
    ask_end(&a);
    arena_fini(&a.arena);
    assert_int_equal(w.call.error, 0);
    struct seen s = look(f, 0);
    assert_true(s.aborted == 1 && s.stable == s.high);
    w = (struct txn_marker_write){.call = ask_begin(&a, f), .topic = "t", .producer_id = p.id, .producer_epoch = p.epoch, .coordinator_epoch = 2};
    txn_write_marker(f->broker, &w);
    ask_end(&a);
    arena_fini(&a.arena);
    assert_int_equal(w.call.error, KAFKA_TRANSACTION_COORDINATOR_FENCED);
}

int main(void) {
#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states), cmocka_unit_test(test_epochs_run_out), cmocka_unit_test(test_end_behind_a_fence),
        T(test_v1), T(test_v2_late), T(test_offsets), T(test_offsets_order), T(test_offsets_deleted), T(test_offsets_only_pending), T(test_nothing_committed),
        T(test_group_deleted_at_the_end), T(test_fencing), T(test_timeout),
        T(test_restart_in_the_middle), T(test_markers_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
