// SPDX-License-Identifier: Apache-2.0
// Consumer groups of KIP-848: epochs, fencing, static members, migration, and a random play of members who join, subscribe, give up slowly, leave
// and of a broker that is killed in between: no partition is ever with two members, and in the end everything is assigned.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "broker/broker.h"
#include "broker/groups.h"
#include "broker/kafka_error.h"
#include "broker/partition_set.h"
#include "broker/txn.h"
#include "unit/broker_fixture.h"

struct call {
    struct fixture *f;
    union {
        struct group_call call;
        struct consumer_heartbeat heartbeat;
        struct consumer_describe describe;
        struct group_commit commit;
        struct group_fetch fetch;
        struct group_delete delete;
        struct txn_init init;
    };
    struct group_offset offset;
    struct arena arena;
    struct loop_event event;
    void (*fn)(struct call *c);
};

#include "unit/group_call.h"

static int run(struct call *c, struct fixture *f, void (*fn)(struct call *c)) { return call_run(c, f, f->loops[1], fn); }
static void do_heartbeat(struct call *c) { group_consumer_heartbeat(c->f->broker, &c->heartbeat); }
static void do_describe(struct call *c) { group_consumer_describe(c->f->broker, &c->describe); }
static void do_commit(struct call *c) { group_commit(c->f->broker, &c->commit); }
static void do_fetch(struct call *c) { group_fetch(c->f->broker, &c->fetch); }
static void do_txn_commit(struct call *c) { txn_offsets_commit(c->f->broker, &c->commit); }
static void do_txn_init(struct call *c) { txn_init(c->f->broker, &c->init); }
static void do_delete(struct call *c) { group_delete(c->f->broker, &c->delete); }

// ---- a member as a client keeps it ------------------------------------------------------------------------------------

enum { MEMBERS = 6, TOPICS = 3 };

struct client {
    char id[40];
    const char *instance;
    int32_t epoch; // -1 = is no member
    const char *topics[TOPICS];
    size_t n_topics;
    struct partition_set owned, next;
    int slow; // heartbeats until it has given up
    bool pending;
    int32_t next_ms; // when it is to come again
};

static int beat(struct fixture *f, struct client *x, int32_t epoch, bool with_owned) {
    struct call c = {.heartbeat = {.group_id = "g", .member_id = x->id, .group_instance_id = x->instance, .member_epoch = epoch}};
    struct group_partition owned[64];
    c.heartbeat.client_id = "client";
    c.heartbeat.client_host = "/127.0.0.1";
    c.heartbeat.member_id_required = true;
    c.heartbeat.rebalance_timeout_ms = epoch == 0 ? 60000 : -1;
    if (epoch == 0) {
        c.heartbeat.topics = x->topics;
        c.heartbeat.n_topics = x->n_topics;
    }
    if (with_owned || epoch == 0) {
        for (size_t i = 0; i < x->owned.n && epoch > 0; i++) {
            memcpy(owned[i].topic_id, x->owned.p[i].topic, 16);
            owned[c.heartbeat.n_owned++].partition = x->owned.p[i].partition;
        }
        c.heartbeat.owned = owned;
    }
    int error = run(&c, f, do_heartbeat);
    if (error == 0) x->epoch = c.heartbeat.out_member_epoch;
    if (error == 0) x->next_ms = c.heartbeat.heartbeat_ms;
    if (error == 0 && c.heartbeat.has_assignment) {
        x->next.n = 0;
        for (size_t i = 0; i < c.heartbeat.n_assignment; i++)
            partition_set_add(&x->next, c.heartbeat.assignment[i].topic_id, c.heartbeat.assignment[i].partition);
        x->pending = true;
    }
    arena_fini(&c.arena);
    return error;
}

static int join(struct fixture *f, struct client *x) {
    x->owned.n = x->next.n = 0;
    x->pending = false;
    return beat(f, x, 0, true);
}

static void new_id(struct fixture *f, struct client *x) {
    uint8_t id[16];
    char text[37];
    sys_uuid(f->sys, id);
    sys_uuid_text(id, text);
    (void)snprintf(x->id, sizeof x->id, "%s", text);
}

// Gives up what is not its own any more, then takes the rest.
static void settle(struct client *all, size_t n, struct client *x) {
    struct partition_set kept = {0};
    partition_set_common(&kept, &x->owned, &x->next);
    partition_set_move(&x->owned, &kept);
    for (size_t i = 0; i < n; i++)
        if (&all[i] != x && all[i].epoch > 0) assert_false(partition_set_meets(&all[i].owned, &x->next)); // nobody else has it
    partition_set_copy(&x->owned, &x->next);
    x->pending = false;
}

static void step(struct fixture *f, struct client *all, size_t n, struct client *x) {
    if (x->pending && x->slow-- > 0) {
        assert_int_equal(beat(f, x, x->epoch, true), 0); // still has it all
        return;
    }
    bool changed = x->pending;
    if (x->pending) settle(all, n, x);
    assert_int_equal(beat(f, x, x->epoch, changed), 0);
}

static void free_client(struct client *x) {
    partition_set_fini(&x->owned);
    partition_set_fini(&x->next);
}

static void check_state(struct fixture *f, const char *state, int32_t epoch, size_t members) {
    struct call c = {.describe = {.group_id = "g"}};
    assert_int_equal(run(&c, f, do_describe), 0);
    assert_string_equal(c.describe.state, state);
    if (epoch >= 0) assert_int_equal(c.describe.group_epoch, epoch);
    assert_int_equal(c.describe.n_members, members);
    arena_fini(&c.arena);
}

static void create(struct fixture *f, const char *name, int partitions) {
    assert_int_equal(broker_topic_create(f->broker, name, partitions, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
}

static int commit_of(struct fixture *f, const char *member, int32_t epoch, bool new_version, int32_t partition) {
    struct call c = {.commit = {.group_id = "g", .member_id = member, .generation = epoch, .knows_epochs = new_version, .n_offsets = 1}};
    c.offset = (struct group_offset){.topic = "a", .partition = partition, .offset = 7};
    c.commit.offsets = &c.offset;
    int error = run(&c, f, do_commit);
    if (error != 0) assert_int_equal(c.offset.error, error);
    arena_fini(&c.arena);
    return c.offset.error;
}

static int commit(struct fixture *f, const char *member, int32_t epoch, bool new_version) { return commit_of(f, member, epoch, new_version, 0); }

// In a transaction a member's epoch is a generation: the request is older than STALE_MEMBER_EPOCH.
static void check_txn_commits(struct fixture *f, const char *member, int32_t epoch, int32_t partition) {
    const struct {
        const char *member;
        int32_t epoch;
        int error;
    } cases[] = {
        {member, epoch - 1, KAFKA_ILLEGAL_GENERATION}, {member, epoch + 1, KAFKA_ILLEGAL_GENERATION}, {member, -1, KAFKA_ILLEGAL_GENERATION},
        {"nobody", epoch, KAFKA_UNKNOWN_MEMBER_ID},    {member, epoch, 0}, {"", -1, 0}, // that one says nothing of its member
    };
    struct call c = {.init = {.transactional_id = "tx", .timeout_ms = 60000, .producer_id = -1, .producer_epoch = -1}};
    assert_int_equal(run(&c, f, do_txn_init), 0);
    int64_t id = c.init.out_id;
    int16_t producer_epoch = c.init.out_epoch;
    arena_fini(&c.arena);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        c = (struct call){.commit = {.group_id = "g", .member_id = cases[i].member, .generation = cases[i].epoch, .n_offsets = 1}};
        c.offset = (struct group_offset){.topic = "a", .partition = partition, .offset = 7};
        c.commit.offsets = &c.offset;
        c.commit.transactional_id = "tx";
        c.commit.producer_id = id;
        c.commit.producer_epoch = producer_epoch;
        c.commit.txn_adds = true;
        assert_int_equal(run(&c, f, do_txn_commit), cases[i].error);
        assert_int_equal(c.offset.error, cases[i].error);
        arena_fini(&c.arena);
    }
    c = (struct call){.init = {.transactional_id = "tx", .timeout_ms = 60000, .producer_id = -1, .producer_epoch = -1}};
    assert_int_equal(run(&c, f, do_txn_init), 0); // and it is aborted
    arena_fini(&c.arena);
}

// Members are asked to come often while something changes, and as configured else.
static void test_heartbeat_interval(void **state) {
    struct fixture *f = *state;
    struct client all[2] = {{.topics = {"a"}, .n_topics = 1}, {.topics = {"a"}, .n_topics = 1}}, *x = &all[0], *y = &all[1];
    create(f, "a", 4);
    new_id(f, x), new_id(f, y);
    assert_int_equal(join(f, x), 0);
    assert_int_equal(x->next_ms, 500); // the group is new: others may follow
    settle(all, 2, x);
    fixture_restart(f, true); // as after a while
    step(f, all, 2, x);
    assert_int_equal(x->next_ms, 5000);
    assert_int_equal(join(f, y), 0);
    assert_int_equal(y->next_ms, 500); // it waits for x
    step(f, all, 2, x);
    assert_int_equal(x->next_ms, 500); // is to give up
    for (int i = 0; i < 4; i++) step(f, all, 2, i % 2 == 0 ? x : y);
    assert_int_equal(x->owned.n, 2);
    assert_int_equal(y->owned.n, 2);
    fixture_restart(f, true);
    step(f, all, 2, x);
    step(f, all, 2, y);
    assert_int_equal(x->next_ms, 5000);
    assert_int_equal(y->next_ms, 5000);
    free_client(x), free_client(y);
}

static void test_epochs(void **state) {
    struct fixture *f = *state;
    struct client all[2] = {{.topics = {"a"}, .n_topics = 1}, {.topics = {"a"}, .n_topics = 1}}, *x = &all[0], *y = &all[1];
    create(f, "a", 4);
    new_id(f, x), new_id(f, y);
    assert_int_equal(beat(f, x, 3, true), KAFKA_GROUP_ID_NOT_FOUND);
    assert_int_equal(join(f, x), 0);
    assert_int_equal(x->epoch, 1);
    assert_int_equal(x->next.n, 4);
    settle(all, 2, x);
    check_state(f, "Stable", 1, 1);
    assert_int_equal(beat(f, y, 1, true), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(join(f, y), 0);
    assert_int_equal(y->epoch, 2);
    assert_int_equal(y->next.n, 0); // the first one has it all
    settle(all, 2, y);
    check_state(f, "Reconciling", 2, 2);
    step(f, all, 2, x); // is told to give up two, and stays in its epoch
    assert_int_equal(x->epoch, 1);
    assert_int_equal(x->next.n, 2);
    step(f, all, 2, y);
    assert_int_equal(y->pending, false);
    step(f, all, 2, x); // has given up
    assert_int_equal(x->epoch, 2);
    step(f, all, 2, y);
    assert_int_equal(y->next.n, 2);
    settle(all, 2, y);
    check_state(f, "Stable", 2, 2);
    assert_int_equal(beat(f, x, 9, true), KAFKA_FENCED_MEMBER_EPOCH);
    assert_int_equal(beat(f, x, 1, true), 0); // the answer with the new epoch was lost
    assert_int_equal(x->epoch, 2);
    assert_int_equal(beat(f, x, 1, false), KAFKA_FENCED_MEMBER_EPOCH);
    int32_t kept = x->owned.p[0].partition, given = y->owned.p[0].partition;
    assert_int_equal(commit_of(f, x->id, 1, true, kept), 0); // it has had that since then
    assert_int_equal(commit_of(f, x->id, 0, true, kept), KAFKA_STALE_MEMBER_EPOCH);
    assert_int_equal(commit_of(f, x->id, 3, true, kept), KAFKA_STALE_MEMBER_EPOCH);
    assert_int_equal(commit_of(f, x->id, 1, true, given), KAFKA_STALE_MEMBER_EPOCH);
    assert_int_equal(commit_of(f, y->id, 1, true, given), KAFKA_STALE_MEMBER_EPOCH);
    assert_int_equal(commit_of(f, y->id, 2, true, given), 0);
    assert_int_equal(commit_of(f, x->id, 1, true, 99), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(commit(f, x->id, 2, false), KAFKA_UNSUPPORTED_VERSION);
    assert_int_equal(commit(f, "nobody", 2, true), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(commit(f, x->id, 2, true), 0);
    check_txn_commits(f, x->id, 2, given);
    struct call c = {.fetch = {.group_id = "g", .member_id = x->id, .member_epoch = 1, .all = true}};
    assert_int_equal(run(&c, f, do_fetch), KAFKA_STALE_MEMBER_EPOCH);
    arena_fini(&c.arena);
    c = (struct call){.delete = {.group_id = "g"}};
    assert_int_equal(run(&c, f, do_delete), KAFKA_NON_EMPTY_GROUP);
    arena_fini(&c.arena);
    assert_int_equal(beat(f, x, -1, false), 0);
    assert_int_equal(x->epoch, -1);
    step(f, all, 2, y); // the group's epoch went up, and it gets the rest
    assert_int_equal(y->epoch, 3);
    assert_int_equal(y->next.n, 4);
    assert_int_equal(beat(f, y, -1, false), 0);
    check_state(f, "Empty", 4, 0);
    fixture_restart(f, false);
    check_state(f, "Empty", 4, 0);
    c = (struct call){.delete = {.group_id = "g"}};
    assert_int_equal(run(&c, f, do_delete), 0);
    arena_fini(&c.arena);
    fixture_restart(f, false);
    c = (struct call){.describe = {.group_id = "g"}};
    assert_int_equal(run(&c, f, do_describe), KAFKA_GROUP_ID_NOT_FOUND);
    arena_fini(&c.arena);
    free_client(x), free_client(y);
}

static void test_static(void **state) {
    struct fixture *f = *state;
    struct client x = {.instance = "i", .topics = {"a"}, .n_topics = 1}, y = x;
    create(f, "a", 3);
    new_id(f, &x), new_id(f, &y);
    assert_int_equal(join(f, &x), 0);
    settle(&x, 1, &x);
    assert_int_equal(join(f, &y), KAFKA_UNRELEASED_INSTANCE_ID);
    assert_int_equal(beat(f, &y, 1, true), KAFKA_FENCED_INSTANCE_ID);
    assert_int_equal(beat(f, &x, -2, false), 0);
    assert_int_equal(x.epoch, -2);
    fixture_restart(f, false);
    assert_int_equal(join(f, &y), 0); // takes its place, without a new epoch of the group
    assert_int_equal(y.next.n, 3);
    assert_int_equal(y.epoch, 1);
    assert_int_equal(beat(f, &x, 1, true), KAFKA_FENCED_INSTANCE_ID);
    check_state(f, "Stable", 1, 1);
    free_client(&x), free_client(&y);
}

// It may come back under the id of a member that is there: that one is gone, and has nothing left that could end later.
static void test_static_under_an_id_in_use(void **state) {
    struct fixture *f = *state;
    struct client x = {.instance = "i", .topics = {"a"}, .n_topics = 1}, y = {.topics = {"a"}, .n_topics = 1};
    create(f, "a", 3);
    new_id(f, &x), new_id(f, &y);
    assert_int_equal(join(f, &x), 0);
    settle(&x, 1, &x);
    assert_int_equal(join(f, &y), 0);
    assert_int_equal(beat(f, &x, -2, false), 0);
    y.instance = "i";
    assert_int_equal(join(f, &y), 0);
    check_state(f, "Stable", 3, 1);
    assert_int_equal(y.epoch, 3);
    assert_int_equal(y.next.n, 3);
    fixture_restart(f, false);
    check_state(f, "Stable", 3, 1);
    assert_int_equal(beat(f, &y, -1, false), 0);
    check_state(f, "Empty", 4, 0);
    free_client(&x), free_client(&y);
}

// One whose pattern matches nothing yet joins with an empty list, and is given partitions once it names topics.
static void test_joins_without_topics(void **state) {
    struct fixture *f = *state;
    struct client x = {.topics = {"a"}, .n_topics = 0};
    create(f, "a", 2);
    new_id(f, &x);
    assert_int_equal(join(f, &x), 0);
    assert_true(x.epoch > 0);
    assert_int_equal(x.next.n, 0);
    x.n_topics = 1;
    assert_int_equal(join(f, &x), 0);
    assert_int_equal(x.next.n, 2);
    free_client(&x);
}

static void refused(struct fixture *f, struct consumer_heartbeat h, int error) {
    struct call c = {.heartbeat = h};
    c.heartbeat.client_id = c.heartbeat.client_host = "";
    assert_int_equal(run(&c, f, do_heartbeat), error);
    assert_true(c.call.message[0] != '\0');
    arena_fini(&c.arena);
}

static void test_refusals(void **state) {
    struct fixture *f = *state;
    const char *topics[] = {"a"};
    struct group_partition none[1] = {{.partition = 0}};
    struct consumer_heartbeat ok = {.group_id = "g", .member_id = "m", .rebalance_timeout_ms = 1000, .topics = topics, .n_topics = 1, .owned = none}, h;
    h = ok, h.group_id = "";
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.member_id = "", h.member_id_required = true;
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.topics = NULL, h.n_topics = 0;
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.n_owned = 1;
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.rebalance_timeout_ms = -1;
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.member_epoch = -3;
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.member_epoch = -2;
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.assignor = "best";
    refused(f, h, KAFKA_UNSUPPORTED_ASSIGNOR);
    h = ok, h.regex = "a(";
    refused(f, h, KAFKA_INVALID_REGULAR_EXPRESSION);
    h = ok, h.member_epoch = -1;
    refused(f, h, KAFKA_GROUP_ID_NOT_FOUND);
    f->protocols = "classic, streams";
    fixture_restart(f, true);
    refused(f, ok, KAFKA_UNSUPPORTED_VERSION);
}

static uint32_t seed;
static uint32_t rnd(uint32_t n) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static void subscribe(struct client *x) {
    static const char *const names[TOPICS] = {"a", "b", "c"};
    x->n_topics = 0;
    for (size_t i = 0; i < TOPICS; i++)
        if (rnd(3) > 0 || i == 0) x->topics[x->n_topics++] = names[i];
}

static void come_or_go(struct fixture *f, struct client *x) {
    if (x->epoch > 0 && rnd(2) == 0) {
        x->owned.n = 0; // a client gives up before it says that it leaves
        assert_int_equal(beat(f, x, -1, false), 0);
        x->epoch = -1;
    } else if (x->epoch < 0) {
        new_id(f, x);
        subscribe(x);
        assert_int_equal(join(f, x), 0);
    }
}

static void test_random_play(void **state) {
    struct fixture *f = *state;
    struct client all[MEMBERS];
    size_t assigned = 0, members = 0;
    create(f, "a", 7);
    create(f, "b", 3);
    create(f, "c", 5);
    seed = 7;
    for (size_t i = 0; i < MEMBERS; i++) all[i] = (struct client){.epoch = -1};
    for (int round = 0; round < 1500; round++) {
        struct client *x = &all[rnd(MEMBERS)];
        if (rnd(12) == 0) come_or_go(f, x);
        else if (x->epoch > 0) step(f, all, MEMBERS, x);
        if (rnd(4) == 0) x->slow = (int)rnd(4);
        if (rnd(200) == 0) fixture_restart(f, rnd(2) == 0);
        if (round % 400 == 399) assert_int_equal(broker_topic_grow(f->broker, "b", 4 + round / 400, false, NULL), ERR_OK);
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        if (all[i].epoch < 0) {
            new_id(f, &all[i]);
            all[i].topics[0] = "a", all[i].topics[1] = "b", all[i].topics[2] = "c";
            all[i].n_topics = 3;
            assert_int_equal(join(f, &all[i]), 0);
        }
        all[i].slow = 0;
    }
    for (int round = 0; round < 10; round++)
        for (size_t i = 0; i < MEMBERS; i++) step(f, all, MEMBERS, &all[i]);
    check_state(f, "Stable", -1, MEMBERS);
    for (size_t i = 0; i < MEMBERS; i++) {
        assigned += all[i].owned.n;
        members += all[i].epoch == all[0].epoch;
    }
    assert_int_equal(members, MEMBERS);
    size_t total = 0;
    const char *names[] = {"a", "b", "c"};
    struct arena a;
    arena_init(&a);
    for (int i = 0; i < 3; i++) {
        struct broker_topic_info info;
        assert_true(broker_topic_get(f->broker, str_c(names[i]), &a, &info));
        total += (size_t)info.partitions;
    }
    arena_fini(&a);
    assert_int_equal(assigned, total);
    for (size_t i = 0; i < MEMBERS; i++) free_client(&all[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_heartbeat_interval, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_epochs, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_static, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_static_under_an_id_in_use, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_joins_without_topics, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_random_play, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
