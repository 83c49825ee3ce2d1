// SPDX-License-Identifier: Apache-2.0
// Classic consumer groups over the real loops: rebalances, static members, fencing, time-outs, offsets that outlive a restart, producer ids.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/broker.h"
#include "broker/groups.h"
#include "broker/kafka_error.h"
#include "unit/broker_fixture.h"

// ---- calls as things that can be waited for ------------------------------------------------------------------------------------------------

struct call {
    struct fixture *f;
    union {
        struct group_call call;
        struct group_join join;
        struct group_sync sync;
        struct group_heartbeat heartbeat;
        struct group_leave leave;
        struct group_commit commit;
        struct group_fetch fetch;
        struct group_list list;
        struct group_describe describe;
        struct group_delete delete;
        struct group_offsets_delete offsets_delete;
        struct producer_id_init init;
    };
    struct group_protocol protocols[2];
    struct group_assignment assignments[3];
    struct group_leaver leaver;
    struct group_offset offsets[4];
    struct arena arena;
    struct loop_event event;
    void (*fn)(struct call *c);
};

#include "unit/group_call.h"

static void go(struct call *c, struct fixture *f, void (*fn)(struct call *c)) { call_begin(c, f, f->loops[1], fn); }
static int wait_for(struct call *c) { return call_wait(c); }
static bool is_answered(struct call *c) { return loop_event_wait_us(&c->event, 0); }
static void end(struct call *c) { arena_fini(&c->arena); }

static void do_join(struct call *c) { group_join(c->f->broker, &c->join); }
static void do_sync(struct call *c) { group_sync(c->f->broker, &c->sync); }
static void do_heartbeat(struct call *c) { group_heartbeat(c->f->broker, &c->heartbeat); }
static void do_leave(struct call *c) { group_leave(c->f->broker, &c->leave); }
static void do_commit(struct call *c) { group_commit(c->f->broker, &c->commit); }
static void do_fetch(struct call *c) { group_fetch(c->f->broker, &c->fetch); }
static void do_list(struct call *c) { group_list(c->f->broker, &c->list); }
static void do_describe(struct call *c) { group_describe(c->f->broker, &c->describe); }
static void do_delete(struct call *c) { group_delete(c->f->broker, &c->delete); }
static void do_offsets_delete(struct call *c) { group_offsets_delete(c->f->broker, &c->offsets_delete); }
static void do_init(struct call *c) { broker_producer_id_init(c->f->broker, &c->init); }

static void join(struct call *c, struct fixture *f, const char *member, const char *instance, const char *topics, int session_ms) {
    *c = (struct call){.join = {.group_id = "g", .member_id = member, .group_instance_id = instance, .protocol_type = "consumer"}};
    c->join.client_id = "client";
    c->join.client_host = "/127.0.0.1";
    c->join.session_timeout_ms = session_ms;
    c->join.rebalance_timeout_ms = 60000;
    c->join.may_skip_assignment = true;
    c->protocols[0] = (struct group_protocol){"range", str_c(topics)};
    c->protocols[1] = (struct group_protocol){"roundrobin", str_c(topics)};
    c->join.protocols = c->protocols;
    c->join.n_protocols = 2;
    go(c, f, do_join);
}

static void sync(struct call *c, struct fixture *f, const char *member, const char *instance, int32_t generation, const char *const *ids, int n) {
    static const char *const parts[] = {"part-0", "part-1", "part-2"};
    *c = (struct call){.sync = {.group_id = "g", .member_id = member, .group_instance_id = instance, .generation = generation}};
    for (int i = 0; i < n; i++) c->assignments[i] = (struct group_assignment){ids[i], str_c(parts[i])};
    c->sync.assignments = c->assignments;
    c->sync.n_assignments = (size_t)n;
    go(c, f, do_sync);
}

static int heartbeat(struct fixture *f, const char *member, const char *instance, int32_t generation) {
    struct call c = {.heartbeat = {.group_id = "g", .member_id = member, .group_instance_id = instance, .generation = generation}};
    go(&c, f, do_heartbeat);
    int error = wait_for(&c);
    end(&c);
    return error;
}

static int leave(struct fixture *f, const char *member, const char *instance) {
    struct call c = {.leave = {.group_id = "g"}};
    c.leaver = (struct group_leaver){.member_id = member, .group_instance_id = instance};
    c.leave.members = &c.leaver;
    c.leave.n_members = 1;
    go(&c, f, do_leave);
    assert_int_equal(wait_for(&c), 0);
    end(&c);
    return c.leaver.error;
}

static int commit(struct fixture *f, const char *group, const char *member, int32_t generation, const char *topic, int32_t p, int64_t offset) {
    struct call c = {.commit = {.group_id = group, .member_id = member, .generation = generation}};
    c.offsets[0] = (struct group_offset){.topic = topic, .partition = p, .offset = offset, .leader_epoch = 4, .metadata = STR("no\0te")};
    c.commit.offsets = c.offsets;
    c.commit.n_offsets = 1;
    go(&c, f, do_commit);
    (void)wait_for(&c);
    end(&c);
    return c.offsets[0].error;
}

static int64_t fetch(struct fixture *f, const char *group, const char *topic, int32_t partition) {
    struct call c = {.fetch = {.group_id = group}};
    c.offsets[0] = (struct group_offset){.topic = topic, .partition = partition};
    c.fetch.offsets = c.offsets;
    c.fetch.n_offsets = 1;
    go(&c, f, do_fetch);
    assert_int_equal(wait_for(&c), 0);
    int64_t offset = c.offsets[0].offset;
    if (offset >= 0) assert_true(str_eq(c.offsets[0].metadata, STR("no\0te")) && c.offsets[0].leader_epoch == 4);
    end(&c);
    return offset;
}

// The group's state, and how many members it has.
static size_t describe(struct fixture *f, const char *state) {
    struct call c = {.describe = {.group_id = "g"}};
    go(&c, f, do_describe);
    (void)wait_for(&c);
    assert_string_equal(c.describe.state, state);
    size_t n = c.describe.n_members;
    end(&c);
    return n;
}

// Two members, stable; their ids in `ids`, the leader first. Returns the generation.
static int32_t make_pair(struct fixture *f, char *ids[2], const char *instance, int session_ms) {
    struct call a, b, c;
    join(&a, f, "", instance, "t", session_ms);
    assert_int_equal(wait_for(&a), 0);
    assert_int_equal(a.join.n_members, 1);
    assert_string_equal(a.join.leader, a.join.out_member_id);
    ids[0] = mem_strdup(a.join.out_member_id);
    join(&b, f, "", NULL, "t", session_ms);
    join(&c, f, ids[0], instance, "t", session_ms); // the first one comes back: both are there
    assert_int_equal(wait_for(&b), 0);
    assert_int_equal(wait_for(&c), 0);
    ids[1] = mem_strdup(b.join.out_member_id);
    assert_int_equal(b.join.generation, c.join.generation);
    assert_int_equal(c.join.n_members, 2);
    assert_int_equal(b.join.n_members, 0);
    assert_string_equal(b.join.leader, ids[0]);
    assert_string_equal(b.join.protocol_name, "range");
    int32_t generation = b.join.generation;
    end(&a), end(&b), end(&c);
    sync(&b, f, ids[1], NULL, generation, NULL, 0);
    sync(&a, f, ids[0], instance, generation, (const char *const *)ids, 2);
    assert_int_equal(wait_for(&a), 0);
    assert_int_equal(wait_for(&b), 0);
    assert_true(str_eqc(a.sync.assignment, "part-0") && str_eqc(b.sync.assignment, "part-1"));
    end(&a), end(&b);
    return generation;
}

static void free_pair(char *ids[2]) {
    mem_free(ids[0]);
    mem_free(ids[1]);
}

// ---- tests --------------------------------------------------------------------------------------------------------------------------------------

static int setup(void **state) { return fixture_setup(state); } // initial_delay_ms is 0
static int teardown(void **state) { return fixture_teardown(state); }

static void test_rebalance(void **state) {
    struct fixture *f = *state;
    char *ids[2];
    int32_t g = make_pair(f, ids, NULL, 30000);
    assert_int_equal(describe(f, "Stable"), 2);
    assert_int_equal(heartbeat(f, ids[0], NULL, g), 0);
    assert_int_equal(heartbeat(f, ids[0], NULL, g - 1), KAFKA_ILLEGAL_GENERATION);
    assert_int_equal(heartbeat(f, "nobody", NULL, g), KAFKA_UNKNOWN_MEMBER_ID);
    struct call a, b, c;
    join(&c, f, ids[1], NULL, "t", 30000); // a follower who asks again in a stable group is told what holds
    assert_int_equal(wait_for(&c), 0);
    assert_int_equal(c.join.generation, g);
    end(&c);
    sync(&c, f, ids[1], NULL, g, NULL, 0);
    assert_int_equal(wait_for(&c), 0);
    assert_true(str_eqc(c.sync.assignment, "part-1"));
    end(&c);
    join(&c, f, "", NULL, "t", 30000); // a third one: the others learn of it by heartbeat
    while (heartbeat(f, ids[0], NULL, g) != KAFKA_REBALANCE_IN_PROGRESS) continue;
    assert_false(is_answered(&c));
    assert_int_equal(describe(f, "PreparingRebalance"), 3);
    join(&a, f, ids[0], NULL, "t", 30000);
    assert_int_equal(leave(f, ids[1], NULL), 0); // the second leaves instead: the rebalance ends without it
    assert_int_equal(wait_for(&a), 0);
    assert_int_equal(wait_for(&c), 0);
    assert_int_equal(a.join.generation, g + 1);
    assert_int_equal(a.join.n_members, 2);
    assert_int_equal(describe(f, "CompletingRebalance"), 2);
    assert_int_equal(commit(f, "g", ids[0], g + 1, "t", 0, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION); // told in any case
    assert_int_equal(broker_topic_create(f->broker, "t", 1, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
    assert_int_equal(commit(f, "g", ids[0], g + 1, "t", 0, 1), KAFKA_REBALANCE_IN_PROGRESS);
    sync(&b, f, ids[0], NULL, g, NULL, 0);
    assert_int_equal(wait_for(&b), KAFKA_ILLEGAL_GENERATION);
    end(&b);
    sync(&b, f, c.join.out_member_id, NULL, g + 1, NULL, 0);
    assert_false(is_answered(&b));
    assert_int_equal(leave(f, c.join.out_member_id, NULL), 0); // leaves while it waits
    assert_int_equal(wait_for(&b), KAFKA_UNKNOWN_MEMBER_ID);
    end(&b);
    assert_int_equal(leave(f, ids[0], NULL), 0);
    assert_int_equal(describe(f, "Empty"), 0);
    assert_int_equal(leave(f, ids[0], NULL), KAFKA_UNKNOWN_MEMBER_ID);
    end(&a), end(&c);
    free_pair(ids);
}

static void test_join_refusals(void **state) {
    struct fixture *f = *state;
    struct call c;
    join(&c, f, "who", NULL, "t", 30000);
    assert_int_equal(wait_for(&c), KAFKA_UNKNOWN_MEMBER_ID);
    end(&c);
    join(&c, f, "", NULL, "t", 49); // the fixture's minimum is 50
    assert_int_equal(wait_for(&c), KAFKA_INVALID_SESSION_TIMEOUT);
    assert_int_equal(c.join.generation, -1);
    end(&c);
    char *ids[2];
    (void)make_pair(f, ids, NULL, 30000);
    c = (struct call){.join = {.group_id = "g", .member_id = "", .protocol_type = "consumer", .session_timeout_ms = 30000}};
    c.protocols[0] = (struct group_protocol){"sticky", STR("x")};
    c.join.protocols = c.protocols;
    c.join.n_protocols = 1;
    go(&c, f, do_join);
    assert_int_equal(wait_for(&c), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    end(&c);
    c = (struct call){.join = {.group_id = "", .member_id = "", .protocol_type = "consumer", .session_timeout_ms = 30000}};
    go(&c, f, do_join);
    assert_int_equal(wait_for(&c), KAFKA_INVALID_GROUP_ID);
    end(&c);
    free_pair(ids);
}

static void take_id(struct call *c, struct fixture *f) {
    *c = (struct call){.join = {.group_id = "g", .member_id = "", .protocol_type = "consumer", .session_timeout_ms = 30000}};
    c->join.require_member_id = true;
    c->join.client_id = "me";
    c->protocols[0] = (struct group_protocol){"range", STR("x")};
    c->join.protocols = c->protocols;
    c->join.n_protocols = 1;
    go(c, f, do_join);
    assert_int_equal(wait_for(c), KAFKA_MEMBER_ID_REQUIRED);
}

static void test_member_id_required(void **state) {
    struct fixture *f = *state;
    struct call c;
    take_id(&c, f);
    assert_int_equal(strncmp(c.join.out_member_id, "me-", 3), 0);
    assert_int_equal(describe(f, "Empty"), 0);
    struct call again;
    join(&again, f, c.join.out_member_id, NULL, "t", 30000);
    assert_int_equal(wait_for(&again), 0);
    assert_string_equal(again.join.out_member_id, c.join.out_member_id);
    end(&again);
    end(&c);
}

static void test_static_members(void **state) {
    struct fixture *f = *state;
    char *ids[2];
    int32_t g = make_pair(f, ids, "inst", 30000);
    struct call c;
    join(&c, f, "", "inst", "t", 30000); // the leader's process started anew: no rebalance, the same generation
    assert_int_equal(wait_for(&c), 0);
    assert_int_equal(c.join.generation, g);
    assert_true(c.join.skip_assignment);
    assert_string_not_equal(c.join.out_member_id, ids[0]);
    assert_int_equal(heartbeat(f, ids[0], "inst", g), KAFKA_FENCED_INSTANCE_ID); // its old self
    assert_int_equal(heartbeat(f, c.join.out_member_id, "inst", g), 0);
    assert_int_equal(heartbeat(f, ids[1], NULL, g), 0);
    struct call s;
    sync(&s, f, c.join.out_member_id, "inst", g, NULL, 0);
    assert_int_equal(wait_for(&s), 0);
    assert_true(str_eqc(s.sync.assignment, "part-0")); // its assignment is kept
    end(&s);
    assert_int_equal(leave(f, ids[0], "inst"), KAFKA_FENCED_INSTANCE_ID);
    assert_int_equal(leave(f, "", "inst"), 0); // an administrator removes it by its instance
    assert_int_equal(leave(f, "", "inst"), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(heartbeat(f, ids[1], NULL, g), KAFKA_REBALANCE_IN_PROGRESS);
    end(&c);
    free_pair(ids);
}

static void test_session_over(void **state) {
    struct fixture *f = *state;
    char *ids[2];
    int32_t g = make_pair(f, ids, NULL, 500);
    struct call c;
    while (heartbeat(f, ids[0], NULL, g) == 0) continue; // the other one is silent until its session is over
    join(&c, f, ids[0], NULL, "t", 30000);
    assert_int_equal(wait_for(&c), 0);
    assert_int_equal(c.join.n_members, 1);
    assert_int_equal(heartbeat(f, ids[1], NULL, g), KAFKA_UNKNOWN_MEMBER_ID);
    end(&c);
    free_pair(ids);
}

static void test_initial_delay(void **state) {
    struct fixture *f = *state;
    f->initial_delay_ms = 300;
    fixture_restart(f, true);
    struct call a, b;
    join(&a, f, "", NULL, "t", 30000);
    join(&b, f, "", NULL, "t", 30000); // comes within the delay: one rebalance for both
    assert_int_equal(wait_for(&a), 0);
    assert_int_equal(wait_for(&b), 0);
    assert_int_equal(a.join.generation, 1);
    assert_int_equal(b.join.generation, 1);
    assert_int_equal(a.join.n_members + b.join.n_members, 2);
    end(&a), end(&b);
}

// Both join at once; the first rebalance begins moment_us after them, for both.
static void join_within(struct fixture *f, int64_t moment_us) {
    struct call a, b;
    int64_t from = sys_mono_us(f->sys);
    join(&a, f, "", NULL, "t", 30000);
    join(&b, f, "", NULL, "t", 30000);
    assert_int_equal(wait_for(&a), 0);
    assert_int_equal(wait_for(&b), 0);
    int64_t waited = sys_mono_us(f->sys) - from;
    assert_true(waited >= moment_us && waited < 3000000);
    assert_int_equal(a.join.generation, 1);
    assert_int_equal(a.join.n_members + b.join.n_members, 2);
    end(&a), end(&b);
}

// Not set: it begins soon, and Kafka's default is what is shown.
static void test_default_delay(void **state) {
    struct fixture *f = *state;
    f->initial_delay_ms = -1;
    fixture_restart(f, true);
    join_within(f, 200000);
}

static void test_no_delay(void **state) { join_within(*state, 50000); }

// One that was given an id and died does not hold the others up for its session.
static void test_id_without_owner(void **state) {
    struct fixture *f = *state;
    f->initial_delay_ms = -1;
    fixture_restart(f, true);
    struct call dead, a;
    take_id(&dead, f);
    int64_t from = sys_mono_us(f->sys);
    join(&a, f, "", NULL, "t", 30000);
    assert_int_equal(wait_for(&a), 0);
    assert_int_equal(a.join.n_members, 1);
    assert_true(sys_mono_us(f->sys) - from < 25000000);
    end(&a), end(&dead);
}

static void create(struct fixture *f, const char *name, int partitions) {
    assert_int_equal(broker_topic_create(f->broker, name, partitions, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
}

static void test_offsets(void **state) {
    struct fixture *f = *state;
    create(f, "t", 2);
    assert_int_equal(fetch(f, "g", "t", 0), -1);
    assert_int_equal(commit(f, "g", "", -1, "t", 0, 11), 0); // without membership
    assert_int_equal(commit(f, "g", "", -1, "t", 1, 12), 0);
    assert_int_equal(commit(f, "g", "", -1, "none", 0, 12), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(commit(f, "new", "m", 3, "t", 0, 12), KAFKA_ILLEGAL_GENERATION);
    char *ids[2];
    int32_t g = make_pair(f, ids, NULL, 30000);
    assert_int_equal(commit(f, "g", "", -1, "t", 0, 99), KAFKA_UNKNOWN_MEMBER_ID); // it has members now
    assert_int_equal(commit(f, "g", ids[0], g + 1, "t", 0, 99), KAFKA_ILLEGAL_GENERATION);
    assert_int_equal(commit(f, "g", "nobody", g, "t", 0, 99), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(commit(f, "g", ids[0], g, "t", 0, 13), 0);
    struct call d = {.delete = {.group_id = "g"}};
    go(&d, f, do_delete);
    assert_int_equal(wait_for(&d), KAFKA_NON_EMPTY_GROUP);
    end(&d);
    for (int round = 0; round < 2; round++) {
        fixture_restart(f, round == 0);
        assert_int_equal(fetch(f, "g", "t", 0), 13);
        assert_int_equal(fetch(f, "g", "t", 1), 12);
        assert_int_equal(heartbeat(f, ids[0], NULL, g), 0); // members go on
        assert_int_equal(heartbeat(f, ids[1], NULL, g), 0);
        assert_int_equal(heartbeat(f, ids[1], NULL, g - 1), KAFKA_ILLEGAL_GENERATION);
    }
    struct call all = {.fetch = {.group_id = "g", .all = true}};
    go(&all, f, do_fetch);
    assert_int_equal(wait_for(&all), 0);
    assert_int_equal(all.fetch.n_offsets, 2);
    assert_true(all.fetch.offsets[0].partition == 0 && all.fetch.offsets[1].offset == 12);
    end(&all);
    assert_int_equal(leave(f, ids[0], NULL), 0);
    assert_int_equal(leave(f, ids[1], NULL), 0);
    char *again[2];
    assert_true(make_pair(f, again, NULL, 30000) > g); // generations go on
    assert_int_equal(leave(f, again[0], NULL), 0);
    assert_int_equal(leave(f, again[1], NULL), 0);
    free_pair(again);
    fixture_restart(f, true);
    struct call l = {.list = {.states = NULL}};
    go(&l, f, do_list);
    assert_int_equal(wait_for(&l), 0);
    assert_int_equal(l.list.n_groups, 1);
    assert_string_equal(l.list.groups[0].group_id, "g");
    assert_string_equal(l.list.groups[0].state, "Empty");
    assert_string_equal(l.list.groups[0].protocol_type, "consumer");
    end(&l);
    d = (struct call){.delete = {.group_id = "g"}};
    go(&d, f, do_delete);
    assert_int_equal(wait_for(&d), 0);
    end(&d);
    fixture_restart(f, true);
    assert_int_equal(fetch(f, "g", "t", 0), -1);
    assert_int_equal(describe(f, "Dead"), 0);
    free_pair(ids);
}

static int offsets_delete(struct fixture *f, const char *group, const char *topic, int *error) {
    struct call c = {.offsets_delete = {.group_id = group, .n_offsets = 1}};
    c.offsets[0] = (struct group_offset){.topic = topic};
    c.offsets_delete.offsets = c.offsets;
    go(&c, f, do_offsets_delete);
    int whole = wait_for(&c);
    *error = c.offsets[0].error;
    end(&c);
    return whole;
}

static void test_offsets_delete(void **state) {
    struct fixture *f = *state;
    int error;
    // version 0, topics ["t"], no user data
    static const char subscription[] = "\0\0\0\0\0\1\0\1t\377\377\377\377";
    struct call j;
    create(f, "t", 1);
    create(f, "u", 1);
    assert_int_equal(offsets_delete(f, "g", "t", &error), KAFKA_GROUP_ID_NOT_FOUND);
    assert_int_equal(offsets_delete(f, "", "t", &error), KAFKA_INVALID_GROUP_ID);
    assert_int_equal(commit(f, "g", "", -1, "t", 0, 11), 0);
    assert_int_equal(commit(f, "g", "", -1, "u", 0, 12), 0);
    join(&j, f, "", NULL, "", 30000);
    assert_int_equal(wait_for(&j), 0);
    char *id = mem_strdup(j.join.out_member_id);
    end(&j);
    assert_int_equal(leave(f, id, NULL), 0);
    mem_free(id);
    j = (struct call){.join = {.group_id = "g", .member_id = "", .protocol_type = "consumer", .session_timeout_ms = 30000}};
    j.join.rebalance_timeout_ms = 60000;
    j.protocols[0] = (struct group_protocol){"range", str_n(subscription, sizeof subscription - 1)};
    j.join.protocols = j.protocols;
    j.join.n_protocols = 1;
    go(&j, f, do_join);
    assert_int_equal(wait_for(&j), 0);
    end(&j);
    assert_int_equal(offsets_delete(f, "g", "t", &error), 0);
    assert_int_equal(error, KAFKA_GROUP_SUBSCRIBED_TO_TOPIC);
    assert_int_equal(offsets_delete(f, "g", "none", &error), 0);
    assert_int_equal(error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(offsets_delete(f, "g", "u", &error), 0);
    assert_int_equal(error, 0);
    fixture_restart(f, false);
    assert_int_equal(fetch(f, "g", "t", 0), 11);
    assert_int_equal(fetch(f, "g", "u", 0), -1);
}

// A topic that is made again under the same name begins without the offsets of the one that was deleted.
static void test_offsets_of_deleted_topic(void **state) {
    struct fixture *f = *state;
    create(f, "t", 2);
    create(f, "u", 1);
    assert_int_equal(commit(f, "g", "", -1, "t", 0, 11), 0);
    assert_int_equal(commit(f, "g", "", -1, "t", 1, 12), 0);
    assert_int_equal(commit(f, "g", "", -1, "u", 0, 13), 0);
    assert_int_equal(commit(f, "h", "", -1, "t", 0, 14), 0);
    assert_int_equal(broker_topic_delete(f->broker, "t", NULL), ERR_OK);
    create(f, "t", 2);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(fetch(f, "g", "t", 0), -1);
        assert_int_equal(fetch(f, "g", "t", 1), -1);
        assert_int_equal(fetch(f, "g", "u", 0), 13);
        assert_int_equal(fetch(f, "h", "t", 0), -1);
        fixture_restart(f, false);
    }
    assert_int_equal(commit(f, "g", "", -1, "t", 0, 3), 0);
    fixture_restart(f, true);
    assert_int_equal(fetch(f, "g", "t", 0), 3);
}

// A commit that is under way while its topic is deleted and made again: memory has it, or not, as the disk does.
static void test_commit_across_a_new_topic(void **state) {
    struct fixture *f = *state;
    for (int round = 0; round < 30; round++) {
        if (round == 0) assert_int_equal(broker_topic_create(f->broker, "t", 1, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
        struct call calls[8];
        for (int i = 0; i < 8; i++) {
            calls[i] = (struct call){.commit = {.group_id = "g", .member_id = "", .generation = -1}};
            calls[i].offsets[0] = (struct group_offset){.topic = "t", .offset = round * 10 + i, .leader_epoch = 4, .metadata = STR("no\0te")};
            calls[i].commit.offsets = calls[i].offsets;
            calls[i].commit.n_offsets = 1;
            go(&calls[i], f, do_commit);
            if (i != round % 8) continue;
            assert_int_equal(broker_topic_delete(f->broker, "t", NULL), ERR_OK);
            assert_int_equal(broker_topic_create(f->broker, "t", 1, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
        }
        for (int i = 0; i < 8; i++) {
            (void)wait_for(&calls[i]);
            end(&calls[i]);
        }
        int64_t found = fetch(f, "g", "t", 0);
        fixture_restart(f, round % 2 == 0);
        assert_int_equal(fetch(f, "g", "t", 0), found);
        if (round % 8 < 7) assert_int_equal(found, round * 10 + 7); // the last one came when the new topic was there
    }
}

static void test_stop_answers(void **state) {
    struct fixture *f = *state;
    f->initial_delay_ms = 3600000;
    fixture_restart(f, true);
    struct call a;
    join(&a, f, "", NULL, "t", 30000);
    while (describe(f, "PreparingRebalance") == 0) continue;
    fixture_restart(f, true); // who waits is told
    assert_int_equal(wait_for(&a), KAFKA_COORDINATOR_NOT_AVAILABLE);
    end(&a);
}

static void test_producer_ids(void **state) {
    struct fixture *f = *state;
    int64_t last = -1;
    for (int i = 0; i < 2500; i++) {
        struct call c = {.init = {.transactional_id = NULL}};
        go(&c, f, do_init);
        assert_int_equal(wait_for(&c), 0);
        assert_true(c.init.producer_id > last);
        assert_int_equal(c.init.producer_epoch, 0);
        last = c.init.producer_id;
        end(&c);
        if (i % 1000 == 999) fixture_restart(f, i % 2000 != 999);
    }
    struct call c = {.init = {.transactional_id = "tx"}};
    go(&c, f, do_init);
    assert_int_equal(wait_for(&c), KAFKA_UNSUPPORTED_VERSION);
    assert_non_null(strstr(c.init.call.message, "transactions are not supported"));
    end(&c);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_rebalance),    T(test_join_refusals), T(test_member_id_required), T(test_static_members), T(test_session_over),
        T(test_initial_delay), T(test_default_delay), T(test_no_delay), T(test_id_without_owner), T(test_offsets), T(test_offsets_delete), T(test_offsets_of_deleted_topic), T(test_commit_across_a_new_topic), T(test_stop_answers),       T(test_producer_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
