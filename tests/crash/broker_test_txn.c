// SPDX-License-Identifier: Apache-2.0
// Crash tests of transactions: two partitions and a group's offset in each, committed and aborted in turn, with every operation on the disk as
// the last one, or failing once. The group commits offsets without a transaction too, in front of the transaction's: the later one counts.
// Afterwards no transaction is torn: all of it or nothing in both partitions and in the offsets; what was acknowledged as committed is there, what was not ended or was aborted is not; and the next transaction works.
#include "broker_ask.h"

#include "broker/broker.h"
#include "broker/kafka_error.h"
#include "broker/txn.h"
#include "log/batch.h"

enum { TXNS = 6, TOPICS = 2, PLAIN = 100 };
static const char *const names[TOPICS] = {"a", "b"};

struct my {
    bool created;
    int begun;                          // transactions that wrote something
    bool sent[TXNS + 4], told[TXNS + 4]; // EndTxn
    bool commit[TXNS + 4];
    bool plain_sent[TXNS + 4], plain_told[TXNS + 4]; // the offset PLAIN + number, in front of the transaction's
};

struct client { // a broker, and a producer of it
    struct server server;
    int64_t id;
    int16_t epoch;
    int32_t sequence[TOPICS];
};

static bool start(struct client *v, struct sys *s) {
    static const struct broker_kv configs[] = {{"log.segment.bytes", "1048576"}};
    *v = (struct client){0};
    return server_start(&v->server, s, configs, sizeof configs / sizeof configs[0], NULL);
}

static void stop(struct client *v) { server_stop(&v->server); }

// ---- calls that wait for their answer -------------------------------------------------------------------------------

static bool init(struct client *v) {
    struct ask a;
    struct txn_init x = {.call.call = ask_begin(&a, &v->server), .transactional_id = "x", .timeout_ms = 60000, .producer_id = -1, .producer_epoch = -1};
    txn_init(v->server.broker, &x);
    ask_close(&a);
    v->id = x.out_id;
    v->epoch = x.out_epoch;
    memset(v->sequence, 0, sizeof v->sequence);
    return x.call.call.error == 0;
}

static bool put(struct client *v, int topic, int number) {
    struct buf b = {0};
    struct batch_builder bb;
    uint8_t value = (uint8_t)number;
    batch_begin(&bb, &b, 1000);
    batch_add(&bb, 1000, STR("key"), false, str_n(&value, 1), false, NULL, 0);
    bb.producer_id = v->id;
    bb.producer_epoch = v->epoch;
    bb.base_sequence = v->sequence[topic]++;
    bb.attributes |= BATCH_ATTR_TRANSACTION;
    batch_end(&bb);
    struct broker_produce p = {.topic = names[topic], .batches = buf_str(&b), .wait_durable = true, .transactional_id = "x", .txn_level = BROKER_TXN_ADD};
    int error = server_produce(&v->server, &p);
    buf_fini(&b);
    return error == 0;
}

static bool put_offset(struct client *v, int64_t offset) {
    struct ask a;
    struct group_offset o = {.topic = "a", .offset = offset, .leader_epoch = -1};
    struct group_commit x = {.call = ask_begin(&a, &v->server), .group_id = "g", .member_id = "", .generation = -1, .offsets = &o, .n_offsets = 1};
    x.transactional_id = "x";
    x.producer_id = v->id;
    x.producer_epoch = v->epoch;
    x.txn_adds = true;
    txn_offsets_commit(v->server.broker, &x);
    ask_close(&a);
    return x.call.error == 0 && o.error == 0;
}

static bool put_plain_offset(struct client *v, int64_t offset) {
    struct ask a;
    struct group_offset o = {.topic = "a", .offset = offset, .leader_epoch = -1};
    struct group_commit x = {.call = ask_begin(&a, &v->server), .group_id = "g", .member_id = "", .generation = -1, .offsets = &o, .n_offsets = 1};
    group_commit(v->server.broker, &x);
    ask_close(&a);
    return x.call.error == 0 && o.error == 0;
}

static bool end(struct client *v, bool commit) {
    struct ask a;
    struct txn_end x = {.call.call = ask_begin(&a, &v->server), .transactional_id = "x", .producer_id = v->id, .producer_epoch = v->epoch, .commit = commit};
    x.v2 = true;
    txn_end(v->server.broker, &x);
    ask_close(&a);
    if (x.call.call.error != 0) return false;
    v->id = x.out_id;
    v->epoch = x.out_epoch;
    memset(v->sequence, 0, sizeof v->sequence);
    return true;
}

static int64_t offset_of(struct client *v, int *error) {
    struct ask a;
    struct group_offset o = {.topic = "a"};
    struct group_fetch x = {.call = ask_begin(&a, &v->server), .group_id = "g", .require_stable = true, .offsets = &o, .n_offsets = 1};
    group_fetch(v->server.broker, &x);
    ask_close(&a);
    *error = o.error;
    return o.offset;
}

// ---- the scenario ---------------------------------------------------------------------------------------------------

static bool one(struct client *v, struct my *m, bool commit) {
    int n = m->begun++;
    m->commit[n] = commit;
    m->plain_sent[n] = true;
    m->plain_told[n] = put_plain_offset(v, PLAIN + n);
    if (!m->plain_told[n] && !(m->plain_told[n] = put_plain_offset(v, PLAIN + n))) return false; // a full disk may have room again
    if (!put(v, 0, n) || !put(v, 1, n) || !put_offset(v, n)) return false;
    m->sent[n] = true;
    m->told[n] = end(v, commit);
    return m->told[n];
}

static bool life(struct client *v, struct my *m, int from) {
    if (!init(v)) return false;
    for (int i = from; i < from + TXNS / 2; i++)
        if (!one(v, m, i % 2 == 0)) return false;
    return true;
}

static void scenario(struct sys *s, void *state) {
    struct my *m = state;
    struct client v;
    bool on = start(&v, s);
    for (int t = 0; t < TOPICS && on; t++) on = broker_topic_create(v.server.broker, names[t], 1, NULL, 0, false, NULL, NULL, NULL) == ERR_OK;
    m->created = on;
    if (on) on = life(&v, m, 0);
    stop(&v);
    if (!on) return;
    if (start(&v, s)) (void)life(&v, m, TXNS / 2);
    stop(&v);
}

static void recover(struct sys *s, void *state) {
    (void)state;
    struct client v;
    (void)start(&v, s);
    stop(&v);
}

// ---- what must hold -------------------------------------------------------------------------------------------------

// How often each transaction's record is seen by readers of committed data.
static void count(struct client *v, int topic, int *seen, int64_t *stable) {
    struct buf b = {0};
    struct broker_offsets o = {0};
    struct err err = {0};
    int64_t at = -1, next = 0;
    int last = -1;
    while (next != at) {
        at = next;
        buf_clear(&b);
        if (broker_read_plain(v->server.broker, names[topic], 0, at, 1 << 20, &b, &next, &o, &err) != ERR_OK) fail_msg("%s", err.msg);
        struct batch x;
        for (size_t k = 0; k < b.n; k += x.size) {
            struct batch_iter it;
            struct batch_record r;
            assert_int_equal(batch_read(b.p + k, b.n - k, &x), BATCH_OK);
            assert_int_equal(batch_iter_init(&it, &x, 0, NULL), ERR_OK);
            assert_int_equal(batch_iter_next(&it, &r, NULL), 1);
            int n = (uint8_t)r.value.p[0];
            assert_true(n > last); // in order, and once
            last = n;
            seen[n]++;
            batch_iter_fini(&it);
        }
    }
    assert_int_equal(o.stable, o.high_watermark);
    *stable = o.stable;
    buf_fini(&b);
}

static void check(struct client *v, const struct my *m) {
    int seen[TOPICS][256] = {{0}}, error = 0;
    int64_t stable, offset = offset_of(v, &error), may[TXNS + 5] = {-1}; // what the group's offset may be
    int n_may = 1;
    bool ok = false;
    for (int t = 0; t < TOPICS; t++) count(v, t, seen[t], &stable);
    for (int n = 0; n < m->begun; n++) {
        assert_int_equal(seen[0][n], seen[1][n]); // not torn
        if (!m->commit[n] || !m->sent[n]) assert_int_equal(seen[0][n], 0);
        if (m->commit[n] && m->told[n]) assert_int_equal(seen[0][n], 1);
        if (m->plain_told[n] || seen[0][n] > 0) n_may = 0;
        if (m->plain_sent[n] || seen[0][n] > 0) may[n_may++] = seen[0][n] > 0 ? n : PLAIN + n;
    }
    assert_int_equal(error, 0);
    for (int i = 0; i < n_may; i++) ok = ok || may[i] == offset;
    if (!ok) fail_msg("the offset is %lld, of the last transaction or commit would be %lld", (long long)offset, (long long)may[n_may - 1]);
}

static void verify(struct sys *s, void *state) {
    struct my *m = state;
    for (int round = 0; round < 2; round++) {
        struct client v;
        if (!start(&v, s)) fail_msg("the broker does not open again: %s", why);
        if (m->created) {
            assert_true(init(&v)); // settles what was under way
            check(&v, m);
            assert_true(one(&v, m, round == 0));
            assert_true(init(&v));
            check(&v, m);
        }
        if (round == 0) sys_sim_crash_at(s, sys_sim_ops(s) + 1); // the close is cut at once
        stop(&v);
        sys_sim_reboot(s);
    }
}

static void test_crash(void **x) {
    (void)x;
    static const struct crash_test t = {
        .seeds = 2, .state_size = sizeof(struct my), .scenario = scenario, .recover = recover, .verify = verify, .kills = true, .faults = true};
    crash_try_all(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {crash_unit_test(test_crash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
