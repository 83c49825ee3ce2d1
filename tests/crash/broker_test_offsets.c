// SPDX-License-Identifier: Apache-2.0
// Crash tests of committed offsets that go: with their topic, which is made again under its name, by age, and with their group, also when they are
// those of an open transaction. Every operation on the disk is the last one, or fails once. What went and was told of does not come back; what
// could not be written did not go.
#include "broker_ask.h"

#include "broker/coordinator.h"
#include "broker/kafka_error.h"
#include "broker/txn.h"

static bool start(struct server *v, struct sys *s) {
    static const struct broker_kv configs[] = {{"log.segment.bytes", "1048576"}, {"offsets.retention.minutes", "1"}};
    return server_start(v, s, configs, sizeof configs / sizeof configs[0], NULL);
}

// After a power cut.
static void again(struct server *v, struct sys *s) {
    server_stop(v);
    sys_sim_reboot(s);
    assert_true(start(v, s));
}

// ---- calls that wait for their answer -------------------------------------------------------------------------------

struct id {
    int64_t id;
    int16_t epoch;
    int error;
};

static int commit_to(struct server *v, const char *group, int32_t partition, int64_t offset, const struct id *txn) { // txn NULL = in none
    struct ask a;
    struct group_offset o = {.topic = "a", .partition = partition, .offset = offset, .leader_epoch = -1};
    struct group_commit x = {.call = ask_begin(&a, v), .group_id = group, .member_id = "", .generation = -1, .offsets = &o, .n_offsets = 1};
    if (txn != NULL) {
        x.transactional_id = "x";
        x.producer_id = txn->id;
        x.producer_epoch = txn->epoch;
        x.txn_adds = true;
        txn_offsets_commit(v->broker, &x);
    } else {
        group_commit(v->broker, &x);
    }
    ask_close(&a);
    return x.call.error != 0 ? x.call.error : o.error;
}

static int commit(struct server *v, const char *group, int64_t offset, const struct id *txn) {
    return commit_to(v, group, txn == NULL ? 0 : 1, offset, txn);
}

static int64_t fetch(struct server *v, const char *group, int32_t partition) {
    struct ask a;
    struct group_offset o = {.topic = "a", .partition = partition};
    struct group_fetch x = {.call = ask_begin(&a, v), .group_id = group, .offsets = &o, .n_offsets = 1};
    group_fetch(v->broker, &x);
    ask_close(&a);
    return o.offset;
}

static struct id init(struct server *v) {
    struct ask a;
    struct txn_init x = {.call.call = ask_begin(&a, v), .transactional_id = "x", .timeout_ms = 600000, .producer_id = -1, .producer_epoch = -1};
    txn_init(v->broker, &x);
    ask_close(&a);
    return (struct id){x.out_id, x.out_epoch, x.call.call.error};
}

static int end(struct server *v, struct id p) {
    struct ask a;
    struct txn_end x = {.call.call = ask_begin(&a, v), .transactional_id = "x", .producer_id = p.id, .producer_epoch = p.epoch, .commit = true, .v2 = true};
    txn_end(v->broker, &x);
    ask_close(&a);
    return x.call.call.error;
}

static int delete_group(struct server *v, const char *group) {
    struct ask a;
    struct group_delete x = {.call = ask_begin(&a, v), .group_id = group};
    group_delete(v->broker, &x);
    ask_close(&a);
    return x.call.error;
}

static size_t groups(struct server *v, const char *type) {
    struct ask a;
    struct group_list x = {.call = ask_begin(&a, v), .types = &type, .n_types = 1};
    group_list(v->broker, &x);
    ask_close(&a);
    return x.n_groups;
}

// A member of the consumer group "modern" comes (0) or leaves (-1).
static int beat(struct server *v, int32_t epoch) {
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
    return x.call.error;
}

static bool create(struct server *v) { return broker_topic_create(v->broker, "a", 2, NULL, 0, false, NULL, NULL, NULL) == ERR_OK; }

static bool topic_id(struct server *v, uint8_t id[16]) {
    struct arena a;
    struct broker_topic_info info;
    arena_init(&a);
    bool there = broker_topic_get(v->broker, STR("a"), &a, &info);
    if (there) memcpy(id, info.id, 16);
    arena_fini(&a);
    return there;
}

// ---- a topic that is made again -------------------------------------------------------------------------------------

enum { OLD = 5, OLD_IN_TXN = 6, NEW = 3 };

struct my {
    bool committed, in_txn, ended, remade, maybe_new, is_new;
    uint8_t first[16];
};

static void work(struct server *v, struct my *m) {
    if (!create(v) || !topic_id(v, m->first)) return;
    m->committed = commit(v, "g", OLD, NULL) == 0;
    struct id p = m->committed ? init(v) : (struct id){.error = -1};
    m->in_txn = p.error == 0 && commit(v, "g", OLD_IN_TXN, &p) == 0;
    if (!m->in_txn) return;
    m->remade = broker_topic_delete(v->broker, "a", NULL) == ERR_OK && create(v);
    if (!m->remade) return;
    assert_int_equal(fetch(v, "g", 0), -1);
    m->ended = end(v, p) == 0;
    assert_int_equal(fetch(v, "g", 1), -1);
    m->maybe_new = m->ended;
    m->is_new = m->ended && commit(v, "g", NEW, NULL) == 0;
}

static void scenario(struct sys *s, void *state) {
    struct server v = {0};
    if (start(&v, s)) work(&v, state);
    server_stop(&v);
}

static void recover(struct sys *s, void *state) {
    (void)state;
    struct server v = {0};
    (void)start(&v, s);
    server_stop(&v);
}

static void verify(struct sys *s, void *state) {
    const struct my *m = state;
    for (int round = 0; round < 2; round++) {
        struct server v = {0};
        uint8_t id[16];
        assert_true(start(&v, s));
        bool there = topic_id(&v, id);
        if (!there) assert_true(create(&v));
        bool same = there && memcmp(id, m->first, 16) == 0;
        if (m->remade) assert_true(there && !same);
        int64_t plain = fetch(&v, "g", 0), in_txn = fetch(&v, "g", 1);
        if (same && m->committed) assert_int_equal(plain, OLD);
        if (!same && m->is_new) assert_int_equal(plain, NEW);
        else if (!same) assert_true(plain == -1 || (plain == NEW && m->maybe_new)); // never what was of the topic before
        if (!same) assert_int_equal(in_txn, -1);
        server_stop(&v);
        sys_sim_reboot(s);
    }
}

static void test_topic_made_again(void **x) {
    (void)x;
    static const struct crash_test t = {
        .seeds = 3, .state_size = sizeof(struct my), .scenario = scenario, .recover = recover, .verify = verify, .kills = true, .faults = true};
    crash_try_all(&t);
}

// ---- one failed write -----------------------------------------------------------------------------------------------
// The n-th operation of a deletion fails, which may be its sync: then nobody knows what is on the disk until the next start. As long as a
// deletion was not answered, or might not be durable, memory still has what would be there then.

static const enum sys_sim_fault faults[] = {SYS_SIM_ENOSPC, SYS_SIM_EIO};

// The group "g" has an offset that is too old. False = there was no such operation.
static bool expire_once(enum sys_sim_fault fault, uint64_t n, int *kept) {
    struct sys *s = sys_sim_new(n);
    struct server v = {0};
    assert_true(start(&v, s) && create(&v));
    assert_int_equal(commit(&v, "g", OLD, NULL), 0);
    sys_sim_advance(s, 121 * (int64_t)1000000);
    uint64_t at = sys_sim_ops(s) + n;
    sys_sim_fail_at(s, at, fault);
    coordinator_upkeep(v.broker->coordinator);
    (void)commit(&v, "other", 1, NULL); // behind the tombstones, whatever becomes of it
    bool hit = sys_sim_ops(s) >= at;
    int64_t found = fetch(&v, "g", 0);
    *kept += found == OLD;
    assert_true(found == OLD || found == -1);
    for (int i = 0; i < 2; i++) {
        again(&v, s);
        if (found == -1) assert_int_equal(fetch(&v, "g", 0), -1); // what nobody saw any more does not come back
    }
    sys_sim_advance(s, 121 * (int64_t)1000000);
    coordinator_upkeep(v.broker->coordinator); // and what was kept goes now
    assert_int_equal(commit(&v, "other", 2, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fetch(&v, "g", 0), -1);
        assert_int_equal(groups(&v, "classic"), 1); // "other" only
        again(&v, s);
    }
    server_stop(&v);
    sys_sim_free(s);
    return hit;
}

static void test_expiry(void **x) {
    (void)x;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        int kept = 0;
        uint64_t n = 1;
        while (expire_once(faults[i], n, &kept)) n++;
        assert_true(kept > 0 && n > 2);
    }
}

static bool delete_once(enum sys_sim_fault fault, uint64_t n, int *refused) {
    struct sys *s = sys_sim_new(n);
    struct server v = {0};
    assert_true(start(&v, s) && create(&v));
    assert_int_equal(beat(&v, 0), 0);
    assert_int_equal(beat(&v, -1), 0);
    uint64_t at = sys_sim_ops(s) + n;
    sys_sim_fail_at(s, at, fault);
    int error = delete_group(&v, "modern");
    bool hit = sys_sim_ops(s) >= at;
    assert_int_equal(groups(&v, "consumer"), error == 0 ? 0 : 1);
    *refused += error != 0;
    if (error != 0) error = delete_group(&v, "modern"); // with a disk that works again; after a failed sync that is so at the next start
    assert_int_not_equal(error, KAFKA_GROUP_ID_NOT_FOUND);
    again(&v, s);
    size_t left = groups(&v, "consumer");
    if (error == 0) assert_int_equal(left, 0);
    if (left > 0) assert_int_equal(delete_group(&v, "modern"), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(delete_group(&v, "modern"), KAFKA_GROUP_ID_NOT_FOUND);
        again(&v, s);
    }
    server_stop(&v);
    sys_sim_free(s);
    return hit;
}

static void test_delete(void **x) {
    (void)x;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        int refused = 0;
        uint64_t n = 1;
        while (delete_once(faults[i], n, &refused)) n++;
        assert_true(refused > 0 && n > 2);
    }
}

// ---- a group that has nothing but offsets of an open transaction ----------------------------------------------------

struct pending {
    struct id txn;
    bool written, maybe_deleted, deleted, maybe_ended, ended;
};

static void pending_scenario(struct sys *s, void *state) {
    struct server v = {0};
    struct pending *m = state;
    bool on = start(&v, s) && create(&v);
    if (on) m->txn = init(&v);
    m->written = on && m->txn.error == 0 && commit(&v, "g", OLD_IN_TXN, &m->txn) == 0;
    if (m->written) {
        assert_int_equal(groups(&v, "classic"), 1);
        m->maybe_deleted = true;
        m->deleted = delete_group(&v, "g") == 0;
        assert_int_equal(groups(&v, "classic"), m->deleted ? 0 : 1);
    }
    m->maybe_ended = m->deleted;
    m->ended = m->deleted && end(&v, m->txn) == 0;
    server_stop(&v);
}

static void pending_verify(struct sys *s, void *state) {
    const struct pending *m = state;
    for (int round = 0; round < 2; round++) {
        struct server v = {0};
        assert_true(start(&v, s));
        if (m->written && !m->maybe_deleted) assert_int_equal(groups(&v, "classic"), 1);
        if (m->deleted) assert_int_equal(groups(&v, "classic"), 0);
        if (round == 0 && m->written && !m->ended) {
            int error = end(&v, m->txn);
            if (!m->maybe_ended) assert_int_equal(error, 0);
        }
        assert_int_equal(init(&v).error, 0); // the markers are written
        int64_t found = fetch(&v, "g", 1);
        if (m->deleted) assert_int_equal(found, -1);
        else if (m->written && !m->maybe_deleted) assert_int_equal(found, OLD_IN_TXN);
        if (m->deleted) assert_int_equal(groups(&v, "classic"), 0);
        server_stop(&v);
        sys_sim_reboot(s);
    }
}

static void test_pending_deleted(void **x) {
    (void)x;
    static const struct crash_test t = {.seeds = 3, .state_size = sizeof(struct pending), .scenario = pending_scenario, .recover = recover,
                                        .verify = pending_verify, .kills = true, .faults = true};
    crash_try_all(&t);
}

// ---- while a deletion is being written ------------------------------------------------------------------------------

struct hold { // the worker, who writes
    struct loop_event begun, go;
};

static void hold_work(void *arg) {
    struct hold *h = arg;
    loop_event_set(&h->begun);
    loop_event_wait(&h->go);
}

static void hold_begin(struct hold *h, struct server *v) {
    loop_event_init(&h->begun);
    loop_event_init(&h->go);
    assert_int_equal(pool_submit(v->pool, hold_work, h, NULL), ERR_OK);
    loop_event_wait(&h->begun);
}

// The next operation on the disk that begins after this is of the worker.
static void hold_end(struct hold *h) { loop_event_set(&h->go); }

static void hold_fini(struct hold *h) {
    loop_event_fini(&h->begun);
    loop_event_fini(&h->go);
}

// The topic goes while its group is on its way out; the group comes back, for its tombstones could not be written, and comes without the topic.
static void test_topic_deleted_meanwhile(void **x) {
    (void)x;
    struct sys *s = sys_sim_new(1);
    struct server v = {0};
    struct hold h;
    struct ask a;
    assert_true(start(&v, s) && create(&v));
    assert_int_equal(commit(&v, "g", OLD, NULL), 0);
    hold_begin(&h, &v);
    struct group_delete d = {.call = ask_begin(&a, &v), .group_id = "g"};
    group_delete(v.broker, &d);
    assert_int_equal(groups(&v, "classic"), 0);
    assert_int_equal(broker_topic_delete(v.broker, "a", NULL), ERR_OK);
    assert_true(create(&v));
    sys_sim_fail_at(s, sys_sim_ops(s) + 1, SYS_SIM_ENOSPC);
    hold_end(&h);
    ask_close(&a);
    hold_fini(&h);
    assert_int_equal(d.call.error, KAFKA_COORDINATOR_NOT_AVAILABLE);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(groups(&v, "classic"), 1);
        assert_int_equal(fetch(&v, "g", 0), -1);
        again(&v, s);
    }
    assert_int_equal(delete_group(&v, "g"), 0);
    server_stop(&v);
    sys_sim_free(s);
}

// A transaction goes on with a group while that is on its way out: what it writes behind the deletion makes it a group again.
static void test_written_meanwhile(void **x) {
    (void)x;
    struct sys *s = sys_sim_new(1);
    struct server v = {0};
    struct hold h;
    struct ask a, b;
    assert_true(start(&v, s) && create(&v));
    struct id p = init(&v);
    assert_int_equal(commit(&v, "g", OLD_IN_TXN, &p), 0);
    hold_begin(&h, &v);
    struct group_delete d = {.call = ask_begin(&a, &v), .group_id = "g"};
    group_delete(v.broker, &d);
    assert_int_equal(groups(&v, "classic"), 0);
    struct group_offset o = {.topic = "a", .partition = 0, .offset = NEW, .leader_epoch = -1};
    struct group_commit c = {.call = ask_begin(&b, &v), .group_id = "g", .member_id = "", .generation = -1, .offsets = &o, .n_offsets = 1};
    c.transactional_id = "x";
    c.producer_id = p.id;
    c.producer_epoch = p.epoch;
    c.txn_adds = true;
    txn_offsets_commit(v.broker, &c);
    while (groups(&v, "classic") == 0) {} // until it is to be written
    hold_end(&h);
    ask_close(&a);
    ask_close(&b);
    hold_fini(&h);
    assert_int_equal(d.call.error, 0);
    assert_int_equal(c.call.error, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(groups(&v, "classic"), 1);
        server_stop(&v);
        if (i == 0) sys_sim_reboot(s);
        assert_true(start(&v, s));
    }
    assert_int_equal(end(&v, p), 0);
    assert_int_equal(init(&v).error, 0);
    assert_int_equal(fetch(&v, "g", 0), NEW);
    assert_int_equal(fetch(&v, "g", 1), -1);
    server_stop(&v);
    sys_sim_free(s);
}

// An offset that is old enough to go, but not while a transaction has a newer one: its tombstone would take that along at the next start.
static void test_expiry_in_transaction(void **x) {
    (void)x;
    struct sys *s = sys_sim_new(1);
    struct server v = {0};
    assert_true(start(&v, s) && create(&v));
    struct id p = init(&v);
    assert_int_equal(commit(&v, "g", OLD, NULL), 0);
    assert_int_equal(commit_to(&v, "g", 1, OLD, NULL), 0);
    sys_sim_advance(s, 121 * (int64_t)1000000);
    assert_int_equal(commit(&v, "g", OLD_IN_TXN, &p), 0);
    coordinator_upkeep(v.broker->coordinator);
    assert_int_equal(commit(&v, "other", 1, NULL), 0); // behind the tombstones
    assert_int_equal(fetch(&v, "g", 0), -1);
    assert_int_equal(fetch(&v, "g", 1), OLD);
    assert_int_equal(end(&v, p), 0);
    assert_int_equal(init(&v).error, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fetch(&v, "g", 1), OLD_IN_TXN);
        again(&v, s);
    }
    server_stop(&v);
    sys_sim_free(s);
}

// ---- commits under way ----------------------------------------------------------------------------------------------

struct committing {
    struct ask a;
    struct group_offset offset;
    struct group_commit x;
};

// Returns when it is being written.
static void commit_begin(struct committing *c, struct server *v, const char *group, int32_t partition, int64_t offset) {
    c->offset = (struct group_offset){.topic = "a", .partition = partition, .offset = offset, .leader_epoch = -1};
    c->x = (struct group_commit){.call = ask_begin(&c->a, v), .group_id = group, .member_id = "", .generation = -1, .offsets = &c->offset, .n_offsets = 1};
    group_commit(v->broker, &c->x);
    (void)groups(v, "classic");
}

static int commit_end(struct committing *c) {
    ask_close(&c->a);
    return c->offset.error;
}

// One that the disk has no room for. It is refused at once, while those in front of it are still being written.
static int commit_too_large(struct server *v, struct sys *s, const char *group, const struct id *txn) {
    enum { OFFSETS = 100, METADATA = 4000 };
    static char metadata[METADATA];
    struct ask a;
    struct group_offset offsets[OFFSETS];
    struct group_commit x = {.call = ask_begin(&a, v), .group_id = group, .member_id = "", .generation = -1, .offsets = offsets, .n_offsets = OFFSETS};
    memset(metadata, 'm', METADATA);
    for (int i = 0; i < OFFSETS; i++)
        offsets[i] = (struct group_offset){.topic = "a", .partition = 1, .offset = i, .leader_epoch = -1, .metadata = str_n(metadata, METADATA)};
    sys_sim_disk_size(s, 1);
    if (txn != NULL) {
        x.transactional_id = "x";
        x.producer_id = txn->id;
        x.producer_epoch = txn->epoch;
        x.txn_adds = true;
        txn_offsets_commit(v->broker, &x);
    } else {
        group_commit(v->broker, &x);
    }
    ask_close(&a);
    sys_sim_disk_size(s, 0);
    return offsets[0].error;
}

// One comes when the deletion of its group waits for the one before it: it is deleted with the rest, also for the next start. When the tombstones
// cannot be written it is there with the rest.
static void test_commit_before_tombstones(void **x) {
    (void)x;
    for (int fails = 0; fails < 2; fails++) {
        struct sys *s = sys_sim_new(1);
        struct server v = {0};
        struct hold h;
        struct ask a;
        struct committing one, two;
        assert_true(start(&v, s) && create(&v));
        assert_int_equal(commit(&v, "other", OLD, NULL), 0);
        hold_begin(&h, &v);
        commit_begin(&one, &v, "g", 0, OLD);
        struct group_delete d = {.call = ask_begin(&a, &v), .group_id = "g"};
        group_delete(v.broker, &d);
        commit_begin(&two, &v, "g", 1, NEW);
        if (fails == 1) sys_sim_fail_at(s, sys_sim_ops(s) + 3, SYS_SIM_ENOSPC); // behind the write and the sync of both
        hold_end(&h);
        assert_int_equal(commit_end(&one), 0);
        assert_int_equal(commit_end(&two), 0);
        ask_close(&a);
        hold_fini(&h);
        assert_int_equal(d.call.error, fails == 1 ? KAFKA_COORDINATOR_NOT_AVAILABLE : 0);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(groups(&v, "classic"), fails == 1 ? 2 : 1);
            assert_int_equal(fetch(&v, "g", 0), fails == 1 ? OLD : -1);
            assert_int_equal(fetch(&v, "g", 1), fails == 1 ? NEW : -1);
            again(&v, s);
        }
        server_stop(&v);
        sys_sim_free(s);
    }
}

// The same with a deletion of offsets: what is told of as gone is gone for the next start, too.
static void test_commit_before_offset_tombstones(void **x) {
    (void)x;
    struct sys *s = sys_sim_new(1);
    struct server v = {0};
    struct hold h;
    struct ask a;
    struct committing one, two;
    assert_true(start(&v, s) && create(&v));
    hold_begin(&h, &v);
    commit_begin(&one, &v, "g", 0, OLD);
    struct group_offset offsets[] = {{.topic = "a", .partition = 0}, {.topic = "a", .partition = 1}};
    struct group_offsets_delete d = {.call = ask_begin(&a, &v), .group_id = "g", .offsets = offsets, .n_offsets = 2};
    group_offsets_delete(v.broker, &d);
    commit_begin(&two, &v, "g", 1, NEW);
    hold_end(&h);
    assert_int_equal(commit_end(&one), 0);
    assert_int_equal(commit_end(&two), 0);
    ask_close(&a);
    hold_fini(&h);
    assert_true(d.call.error == 0 && offsets[0].error == 0 && offsets[1].error == 0);
    for (int i = 0; i < 2; i++) {
        for (int partition = 0; partition < 2; partition++) assert_int_equal(fetch(&v, "g", partition), -1);
        again(&v, s);
    }
    server_stop(&v);
    sys_sim_free(s);
}

// A commit that cannot be written makes no group, unless another one of it is being written.
static void test_nothing_written(void **x) {
    (void)x;
    struct sys *s = sys_sim_new(1);
    struct server v = {0};
    struct hold h;
    struct committing one;
    assert_true(start(&v, s) && create(&v));
    struct id p = init(&v);
    assert_int_equal(commit(&v, "other", OLD, &p), 0);
    for (int in_txn = 0; in_txn < 2; in_txn++) {
        assert_int_equal(commit_too_large(&v, s, "g", in_txn == 1 ? &p : NULL), KAFKA_COORDINATOR_NOT_AVAILABLE);
        assert_int_equal(groups(&v, "classic"), 1);
    }
    hold_begin(&h, &v);
    commit_begin(&one, &v, "g", 0, OLD);
    assert_int_equal(commit_too_large(&v, s, "g", NULL), KAFKA_COORDINATOR_NOT_AVAILABLE);
    hold_end(&h);
    assert_int_equal(commit_end(&one), 0);
    hold_fini(&h);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(groups(&v, "classic"), 2);
        assert_int_equal(fetch(&v, "g", 0), OLD);
        assert_int_equal(fetch(&v, "g", 1), -1);
        again(&v, s);
    }
    server_stop(&v);
    sys_sim_free(s);
}

// An offset that is old enough to go, and is committed anew just now: one that fails behind that does not make it go.
static void test_expiry_of_what_is_under_way(void **x) {
    (void)x;
    struct sys *s = sys_sim_new(1);
    struct server v = {0};
    struct hold h;
    struct committing one;
    assert_true(start(&v, s) && create(&v));
    assert_int_equal(commit(&v, "g", OLD, NULL), 0);
    sys_sim_advance(s, 121 * (int64_t)1000000);
    hold_begin(&h, &v);
    commit_begin(&one, &v, "g", 0, NEW);
    assert_int_equal(commit_too_large(&v, s, "g", NULL), KAFKA_COORDINATOR_NOT_AVAILABLE);
    coordinator_upkeep(v.broker->coordinator);
    (void)groups(&v, "classic"); // behind it
    hold_end(&h);
    assert_int_equal(commit_end(&one), 0);
    hold_fini(&h);
    assert_int_equal(commit(&v, "other", 1, NULL), 0); // behind the tombstones, if there were any
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fetch(&v, "g", 0), NEW);
        again(&v, s);
    }
    server_stop(&v);
    sys_sim_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {crash_unit_test(test_topic_made_again), crash_unit_test(test_expiry), crash_unit_test(test_delete),
                                       crash_unit_test(test_pending_deleted), crash_unit_test(test_topic_deleted_meanwhile),
                                       crash_unit_test(test_written_meanwhile), crash_unit_test(test_expiry_in_transaction),
                                       crash_unit_test(test_commit_before_tombstones), crash_unit_test(test_commit_before_offset_tombstones),
                                       crash_unit_test(test_nothing_written), crash_unit_test(test_expiry_of_what_is_under_way)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
