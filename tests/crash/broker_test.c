// SPDX-License-Identifier: Apache-2.0
// Crash tests of the broker: topics created, grown and deleted, produces of an idempotent producer, group commits and producer ids, with every
// operation on the disk as the last one, or failing once. Acknowledged is there; nothing is doubled; a retry gets the offset it had.
#include "broker_ask.h"

#include "broker/broker.h"
#include "broker/groups.h"
#include "broker/kafka_error.h"
#include "log/batch.h"

enum { TOPICS = 2, BATCHES = 12 };
static const char *const names[TOPICS] = {"a", "b"};

struct my {
    bool created[TOPICS], maybe_created[TOPICS];
    int partitions, maybe_partitions; // of "a"
    bool gone, maybe_gone;            // "b" was deleted
    int32_t produced[TOPICS];         // batches acknowledged; the sequence is the number
    int64_t offsets[TOPICS][BATCHES + 8];
    int64_t committed, maybe_committed;
    int64_t last_producer_id;
    int32_t epoch; // of the member "m" of a consumer group; 0 = none acknowledged
};

static bool start(struct server *v, struct sys *s) {
    static const struct broker_kv configs[] = {{"log.segment.bytes", "1048576"}};
    return server_start(v, s, configs, sizeof configs / sizeof configs[0], NULL);
}

// ---- calls that wait for their answer -------------------------------------------------------------------------------

static size_t value_size = 20; // of the next produces

static int produce(struct server *v, int topic, int32_t number, int64_t *offset) {
    static const char zeros[700000];
    struct buf b = {0};
    struct batch_builder bb;
    batch_begin(&bb, &b, 1000);
    batch_add(&bb, 1000, STR("key"), false, str_n(zeros, value_size), false, NULL, 0);
    bb.producer_id = 7;
    bb.producer_epoch = 0;
    bb.base_sequence = number;
    batch_end(&bb);
    struct broker_produce p = {.topic = names[topic], .batches = buf_str(&b), .wait_durable = true};
    int error = server_produce(v, &p);
    buf_fini(&b);
    *offset = p.base_offset;
    return error;
}

static int commit(struct server *v, int64_t offset) {
    struct ask a;
    struct group_offset o = {.topic = "a", .offset = offset, .leader_epoch = -1};
    struct group_commit x = {.call = ask_begin(&a, v), .group_id = "g", .member_id = "", .generation = -1, .offsets = &o, .n_offsets = 1};
    group_commit(v->broker, &x);
    ask_close(&a);
    return o.error;
}

static int64_t fetch(struct server *v) {
    struct ask a;
    struct group_offset o = {.topic = "a"};
    struct group_fetch x = {.call = ask_begin(&a, v), .group_id = "g", .offsets = &o, .n_offsets = 1};
    group_fetch(v->broker, &x);
    ask_close(&a);
    return o.offset;
}

static int64_t producer_id(struct server *v) {
    struct ask a;
    struct producer_id_init x = {.call = ask_begin(&a, v)};
    broker_producer_id_init(v->broker, &x);
    ask_close(&a);
    return x.call.error == 0 ? x.producer_id : -1;
}

// ---- the scenario ---------------------------------------------------------------------------------------------------

static bool create(struct server *v, struct my *m, int topic) {
    m->maybe_created[topic] = true;
    m->created[topic] = broker_topic_create(v->broker, names[topic], topic == 0 ? 2 : 1, NULL, 0, false, NULL, NULL, NULL) == ERR_OK;
    if (topic == 0 && m->created[0]) m->partitions = m->maybe_partitions = 2;
    return m->created[topic];
}

static bool put_some(struct server *v, struct my *m, int topic, int n) {
    for (int i = 0; i < n; i++) {
        int64_t offset;
        if (produce(v, topic, m->produced[topic], &offset) != 0) return false;
        m->offsets[topic][m->produced[topic]++] = offset;
    }
    return true;
}

// A member of a consumer group: what it was told of (epoch and assignment) is stored, so after a restart it goes on.
static int beat(struct server *v, int32_t epoch, int32_t *out, size_t *assigned) {
    static const char *const topics[] = {"a"};
    static const struct group_partition none[1];
    struct ask a;
    struct consumer_heartbeat x = {.call = ask_begin(&a, v), .group_id = "modern", .member_id = "m", .client_id = "", .client_host = ""};
    x.member_epoch = epoch;
    x.rebalance_timeout_ms = epoch == 0 ? 60000 : -1;
    if (epoch == 0) {
        x.topics = topics;
        x.n_topics = 1;
        x.owned = none;
    }
    group_consumer_heartbeat(v->broker, &x);
    ask_close(&a);
    *out = x.out_member_epoch;
    *assigned = x.n_assignment;
    return x.call.error;
}

static bool join(struct server *v, struct my *m) {
    int32_t epoch;
    size_t assigned;
    if (beat(v, 0, &epoch, &assigned) != 0) return false;
    assert_int_equal(assigned, 2);
    m->epoch = epoch;
    return true;
}

static bool put_commit(struct server *v, struct my *m, int64_t offset) {
    m->maybe_committed = offset;
    if (commit(v, offset) != 0) return false;
    m->committed = offset;
    return true;
}

static bool take_id(struct server *v, struct my *m) {
    int64_t id = producer_id(v);
    if (id < 0) return false;
    assert_true(id > m->last_producer_id);
    m->last_producer_id = id;
    return true;
}

static bool first_life(struct server *v, struct my *m) {
    if (!create(v, m, 0) || !put_some(v, m, 0, 3) || !put_commit(v, m, 1) || !join(v, m) || !create(v, m, 1)) return false;
    if (!put_some(v, m, 1, 2) || !take_id(v, m) || !put_commit(v, m, 2)) return false;
    m->maybe_partitions = 3;
    if (broker_topic_grow(v->broker, "a", 3, false, NULL) != ERR_OK) return false;
    m->partitions = 3;
    return true;
}

static bool second_life(struct server *v, struct my *m) {
    if (!put_some(v, m, 0, 3) || !put_commit(v, m, 5) || !take_id(v, m)) return false;
    m->maybe_gone = true;
    if (broker_topic_delete(v->broker, "b", NULL) != ERR_OK) return false;
    m->gone = true;
    return put_some(v, m, 0, 2);
}

static void scenario(struct sys *s, void *state) {
    struct my *m = state;
    struct server v = {0};
    m->last_producer_id = m->committed = m->maybe_committed = -1;
    bool on = start(&v, s) && first_life(&v, m);
    server_stop(&v);
    v = (struct server){0};
    if (!on) return;
    if (start(&v, s)) (void)second_life(&v, m);
    server_stop(&v);
}

static void recover(struct sys *s, void *state) {
    (void)state;
    struct server v = {0};
    (void)start(&v, s);
    server_stop(&v);
}

// ---- what must hold -------------------------------------------------------------------------------------------------

// Every record once, in order: the acknowledged ones, then at most one that was under way.
static void check_topic(struct server *v, const struct my *m, int topic) {
    struct buf b = {0};
    struct err err = {0};
    struct broker_offsets o;
    int64_t n = 0;
    if (broker_read(v->broker, names[topic], 0, 0, 1 << 20, &b, &o, &err) != ERR_OK) fail_msg("%s", err.msg);
    struct batch x;
    for (size_t at = 0; at < b.n; at += x.size, n++) {
        assert_int_equal(batch_read(b.p + at, b.n - at, &x), BATCH_OK);
        assert_int_equal(x.base_offset, n);
        assert_int_equal(x.base_sequence, n);
    }
    if (n < m->produced[topic] || n > m->produced[topic] + 1)
        fail_msg("topic %d: %d acknowledged, %d found", topic, (int)m->produced[topic], (int)n);
    assert_int_equal(o.high_watermark, n);
    buf_fini(&b);
}

// A client that got no answer tries again: the same offset, or a new one right behind.
static void retry(struct server *v, struct my *m, int topic) {
    int64_t offset;
    if (m->produced[topic] > 0) {
        assert_int_equal(produce(v, topic, m->produced[topic] - 1, &offset), 0);
        assert_int_equal(offset, m->offsets[topic][m->produced[topic] - 1]);
    }
    assert_true(put_some(v, m, topic, 1));
    assert_int_equal(m->offsets[topic][m->produced[topic] - 1], m->produced[topic] - 1);
}

static void check_topics(struct server *v, struct my *m) {
    struct arena a;
    arena_init(&a);
    struct broker_topic_info info;
    for (int i = 0; i < TOPICS; i++) {
        bool there = broker_topic_get(v->broker, str_c(names[i]), &a, &info);
        if (m->created[i] && !(i == 1 && m->maybe_gone)) assert_true(there);
        if (!m->maybe_created[i] || (i == 1 && m->gone)) assert_false(there);
        if (!there && m->produced[i] > 0) m->produced[i] = 0;
        if (there && i == 0 && m->partitions > 0) assert_in_range(info.partitions, m->partitions, m->maybe_partitions);
        if (!there) continue;
        check_topic(v, m, i);
        retry(v, m, i);
        check_topic(v, m, i);
    }
    arena_fini(&a);
}

static void verify(struct sys *s, void *state) {
    struct my *m = state;
    for (int round = 0; round < 2; round++) {
        struct server v = {0};
        if (!start(&v, s)) fail_msg("the broker does not open again: %s", why);
        check_topics(&v, m);
        int64_t committed = fetch(&v);
        if (committed != m->committed) assert_int_equal(committed, m->maybe_committed);
        if (m->created[0]) assert_true(put_commit(&v, m, committed + 1));
        assert_true(take_id(&v, m));
        if (m->epoch > 0) {
            int32_t epoch;
            size_t assigned;
            assert_int_equal(beat(&v, m->epoch, &epoch, &assigned), 0);
            assert_true(epoch >= m->epoch); // higher when the topic grew
            m->epoch = epoch;
        }
        if (round == 0) sys_sim_crash_at(s, sys_sim_ops(s) + 1); // the close is cut at once
        server_stop(&v);
        sys_sim_reboot(s);
    }
}

static void test_crash(void **x) {
    (void)x;
    static const struct crash_test t = {
        .seeds = 3, .state_size = sizeof(struct my), .scenario = scenario, .recover = recover, .verify = verify, .kills = true, .faults = true};
    crash_try_all(&t);
}

// Disk full while producing: KAFKA_STORAGE_ERROR (which clients retry), nothing acknowledged is lost, and it works again when there is room.
static void test_disk_full(void **x) {
    (void)x;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sys *s = sys_sim_new(seed);
        struct my m = {.committed = -1, .maybe_committed = -1, .last_producer_id = -1};
        struct server v = {0};
        assert_true(start(&v, s));
        assert_true(create(&v, &m, 0) && put_some(&v, &m, 0, 2));
        sys_sim_disk_size(s, 1); // whatever is there already is more
        int64_t offset;
        value_size = 600000 + seed * 997; // more than the room that is reserved behind small appends
        for (int i = 0; i < 3; i++) assert_int_equal(produce(&v, 0, m.produced[0], &offset), KAFKA_STORAGE_ERROR);
        struct err err = {0};
        assert_int_equal(broker_topic_create(v.broker, "b", 1, NULL, 0, false, NULL, NULL, &err), ERR_NO_SPACE);
        sys_sim_disk_size(s, 0);
        assert_true(put_some(&v, &m, 0, 1));
        value_size = 20;
        assert_true(put_some(&v, &m, 0, 2) && put_commit(&v, &m, 1) && create(&v, &m, 1));
        server_stop(&v);
        sys_sim_reboot(s);
        verify(s, &m);
        sys_sim_free(s);
    }
}

// A failed sync: no acknowledgement any more on that partition, others go on; a restart brings it back.
static void test_failed_sync(void **x) {
    (void)x;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sys *s = sys_sim_new(seed);
        struct my m = {.committed = -1, .maybe_committed = -1, .last_producer_id = -1};
        struct server v = {0};
        assert_true(start(&v, s));
        assert_true(create(&v, &m, 0) && create(&v, &m, 1) && put_some(&v, &m, 0, 2));
        sys_sim_fail_at(s, sys_sim_ops(s) + 1, SYS_SIM_FSYNC);
        int64_t offset;
        for (int i = 0; i < 3; i++) assert_int_equal(produce(&v, 0, m.produced[0], &offset), KAFKA_STORAGE_ERROR);
        assert_true(put_some(&v, &m, 1, 2));
        struct buf b = {0};
        struct broker_offsets o;
        assert_int_equal(broker_read(v.broker, "a", 0, 0, 1000, &b, &o, NULL), ERR_OK); // what was durable can be read, and no more
        assert_true(b.n > 0 && o.high_watermark == 2);
        buf_fini(&b);
        server_stop(&v);
        sys_sim_kill(s); // the process only: the cache still shows what the failed sync forgot
        struct server again = {0};
        assert_true(start(&again, s));
        assert_int_equal(produce(&again, 0, m.produced[0], &offset), 0); // the client's retry: the same record once
        m.offsets[0][m.produced[0]++] = offset;
        check_topic(&again, &m, 0);
        server_stop(&again);
        sys_sim_reboot(s);
        verify(s, &m);
        sys_sim_free(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {crash_unit_test(test_crash), crash_unit_test(test_disk_full), crash_unit_test(test_failed_sync)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
