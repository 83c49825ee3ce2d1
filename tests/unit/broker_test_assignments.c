// SPDX-License-Identifier: Apache-2.0
// Assignments of groups over time, on a simulated clock and disk: their interval, commits of older epochs, subscriptions by regular expressions and
// the members' rights, share-partitions whose initialization fails, deletions whose tombstones cannot be written.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/assignment_pace.h"
#include "broker/dynamic.h"
#include "broker/kafka_error.h"
#include "broker/partition_set.h"
#include "sys/sim.h"
#include "unit/share_client.h"

enum { MS = 1000 };

struct fixture {
    struct sys *sys;
    struct loop *loop;
    struct pool *pool;
    struct broker *broker;
};

static void open(struct fixture *f) {
    struct err err = {0};
    static const struct broker_kv configs[] = {{"log.segment.bytes", "1048576"}, {"group.share.initialize.retry.interval.ms", "7000"}};
    struct broker_config c = {.dir = "log", .node_id = 1, .default_partitions = 1, .max_partitions = 100, .configs = configs, .n_configs = 2};
    f->pool = pool_new("test", 1, 50);
    f->loop = loop_new(f->sys, "test", &err);
    loop_start(f->loop);
    f->broker = broker_open(f->sys, &c, &f->loop, 1, f->pool, &err);
    if (f->broker == NULL) fail_msg("%s", err.msg);
}

static void close(struct fixture *f) {
    broker_close(f->broker);
    loop_stop(f->loop);
    loop_free(f->loop);
    pool_free(f->pool);
}

static int setup(void **state) {
    struct fixture *f = MEM_NEW(struct fixture);
    f->sys = sys_sim_new(1);
    open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    close(f);
    sys_sim_free(f->sys);
    mem_free(f);
    return 0;
}

static void restart(struct fixture *f) {
    close(f);
    open(f);
}

static void pass(struct fixture *f, int64_t ms) { sys_sim_advance(f->sys, ms * MS); }

static void create(struct fixture *f, const char *name, int partitions) {
    assert_int_equal(broker_topic_create(f->broker, name, partitions, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
}

static void set(struct fixture *f, const char *group, const char *name, const char *value) {
    const struct broker_kv kv = {name, value};
    struct err err = {0};
    if (broker_resource_alter(f->broker, RESOURCE_GROUP, str_c(group), &kv, 1, false, &err) != ERR_OK) fail_msg("%s", err.msg);
}

// ---- calls ----------------------------------------------------------------------------------------------------------

struct call {
    struct fixture *f;
    union {
        struct group_call call;
        struct consumer_heartbeat heartbeat;
        struct consumer_describe describe;
        struct group_commit commit;
        struct group_delete delete;
        struct group_list list;
    };
    struct group_offset offset;
    struct arena arena;
    struct loop_event event;
    void (*fn)(struct call *c);
};

#include "unit/group_call.h"

static int run(struct call *c, struct fixture *f, void (*fn)(struct call *c)) { return call_run(c, f, f->loop, fn); }
static void do_heartbeat(struct call *c) { group_consumer_heartbeat(c->f->broker, &c->heartbeat); }
static void do_describe(struct call *c) { group_consumer_describe(c->f->broker, &c->describe); }
static void do_commit(struct call *c) { group_commit(c->f->broker, &c->commit); }
static void do_delete(struct call *c) { group_delete(c->f->broker, &c->delete); }
static void do_list(struct call *c) { group_list(c->f->broker, &c->list); }

struct member {
    const char *id, *topic, *regex, *assignor; // what it says; NULL = nothing
    struct topic_rights rights;
    int32_t epoch, next_ms;
    struct partition_set has;
};

// With `gives` it says that it has what it was told last, else nothing of what it has.
static int beat(struct fixture *f, struct member *m, bool gives) {
    struct call c = {.heartbeat = {.group_id = "g", .member_id = m->id, .member_epoch = m->epoch, .member_id_required = true}};
    struct consumer_heartbeat *h = &c.heartbeat;
    struct group_partition owned[32];
    h->rebalance_timeout_ms = m->epoch == 0 ? 60000 : -1;
    h->client_id = "client";
    h->client_host = "/127.0.0.1";
    h->topics = m->topic == NULL ? NULL : &m->topic;
    h->n_topics = m->topic == NULL ? 0 : 1;
    h->regex = m->regex;
    h->assignor = m->assignor;
    h->rights = m->rights;
    for (size_t i = 0; i < m->has.n && m->epoch > 0 && gives; i++) {
        memcpy(owned[i].topic_id, m->has.p[i].topic, 16);
        owned[h->n_owned++].partition = m->has.p[i].partition;
    }
    if (gives || m->epoch == 0) h->owned = owned;
    int error = run(&c, f, do_heartbeat);
    if (error == 0) {
        m->epoch = h->out_member_epoch;
        m->next_ms = h->heartbeat_ms;
        m->topic = m->regex = m->assignor = NULL;
    }
    if (error == 0 && h->has_assignment) {
        m->has.n = 0;
        for (size_t i = 0; i < h->n_assignment; i++) partition_set_add(&m->has, h->assignment[i].topic_id, h->assignment[i].partition);
    }
    arena_fini(&c.arena);
    return error;
}

static void check(struct fixture *f, const char *state, int32_t epoch, int32_t assignment) {
    struct call c = {.describe = {.group_id = "g"}};
    assert_int_equal(run(&c, f, do_describe), 0);
    assert_string_equal(c.describe.state, state);
    assert_int_equal(c.describe.group_epoch, epoch);
    assert_int_equal(c.describe.assignment_epoch, assignment);
    arena_fini(&c.arena);
}

static int commit_with(struct fixture *f, const char *group, const char *member, int32_t epoch, int32_t partition, struct str metadata) {
    struct call c = {.commit = {.group_id = group, .member_id = member, .generation = epoch, .knows_epochs = true, .n_offsets = 1}};
    c.offset = (struct group_offset){.topic = "a", .partition = partition, .offset = 7, .metadata = metadata};
    c.commit.offsets = &c.offset;
    int error = run(&c, f, do_commit);
    arena_fini(&c.arena);
    return error;
}

static int commit(struct fixture *f, const char *group, const char *member, int32_t epoch, int32_t partition) {
    return commit_with(f, group, member, epoch, partition, STR(""));
}

// ---- the interval ---------------------------------------------------------------------------------------------------

static void test_interval(void **state) {
    struct fixture *f = *state;
    struct member x = {.id = "x", .topic = "a"}, y = {.id = "y", .topic = "a"}, z = {.id = "z", .topic = "a"}, w = {.id = "w", .topic = "a"};
    create(f, "a", 6);
    set(f, "g", "consumer.assignment.interval.ms", "1000");
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(x.has.n, 6); // the first one does not wait
    check(f, "Stable", 1, 1);
    assert_int_equal(beat(f, &y, true), 0);
    assert_int_equal(y.epoch, 1);
    assert_int_equal(y.has.n, 0);
    assert_int_equal(y.next_ms, 1000); // comes again when it is time
    check(f, "Assigning", 2, 1);
    pass(f, 400);
    assert_int_equal(beat(f, &z, true), 0);
    assert_int_equal(z.next_ms, 600);
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(x.has.n, 6);
    pass(f, 599);
    assert_int_equal(beat(f, &x, true), 0);
    check(f, "Assigning", 3, 1);
    pass(f, 1);
    assert_int_equal(beat(f, &x, true), 0); // both changes in one assignment
    assert_int_equal(x.has.n, 2);
    check(f, "Reconciling", 3, 3);
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(beat(f, &y, true), 0);
    assert_int_equal(beat(f, &z, true), 0);
    assert_int_equal(y.has.n + z.has.n, 4);
    check(f, "Stable", 3, 3);
    restart(f); // the time of the last assignment is stored
    assert_int_equal(beat(f, &w, true), 0);
    assert_int_equal(w.next_ms, 1000);
    check(f, "Assigning", 4, 3);
    set(f, "g", "consumer.assignment.interval.ms", "0");
    assert_int_equal(beat(f, &w, true), 0);
    check(f, "Reconciling", 4, 4);
    set(f, "g", "consumer.assignment.interval.ms", "15000");
    w.epoch = -1;
    assert_int_equal(beat(f, &w, false), 0);
    assert_int_equal(beat(f, &x, true), 0);
    check(f, "Assigning", 5, 4);
    sys_sim_set_now(f->sys, 0); // the clock was set back: nobody waits for it to come round
    assert_int_equal(beat(f, &x, true), 0);
    check(f, "Reconciling", 5, 5);
    partition_set_fini(&x.has), partition_set_fini(&y.has), partition_set_fini(&z.has), partition_set_fini(&w.has);
}

// What is not set costs small groups nothing, and large ones the whole interval.
static void test_default_interval(void **state) {
    struct fixture *f = *state;
    const struct coordinator c = {.broker = f->broker};
    const struct group g = {.coordinator = (struct coordinator *)&c, .id = (char *)(uintptr_t)"big"};
    static const struct {
        size_t size;
        int64_t wait_ms;
    } cases[] = {{2, 0}, {200, 0}, {1100, 12}, {5000, 250}, {10000, 1000}, {1000000, 1000}};
    struct assignment_pace p = {0};
    assert_int_equal(assignment_wait_ms(&g, &p, "consumer"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assignment_computed(&g, &p, cases[i].size);
        assert_int_equal(assignment_wait_ms(&g, &p, "consumer"), cases[i].wait_ms);
    }
    assignment_computed(&g, &p, 2);
    set(f, "big", "streams.assignment.interval.ms", "1000");
    assert_int_equal(assignment_wait_ms(&g, &p, "streams"), 1000);
    pass(f, 300);
    assert_int_equal(assignment_wait_ms(&g, &p, "streams"), 700);
    assert_int_equal(assignment_wait_ms(&g, &p, "share"), 0);
    const struct broker_kv wide = {"group.share.assignment.interval.ms", "99999"}; // for all share groups; over their maximum
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_BROKER_DEFAULT, STR(""), &wide, 1, false, NULL), ERR_OK);
    assert_int_equal(assignment_wait_ms(&g, &p, "share"), 15000 - 300);
    assert_int_equal(assignment_heartbeat_ms(700, 5000), 700);
    assert_int_equal(assignment_heartbeat_ms(3, 5000), 100);
    assert_int_equal(assignment_heartbeat_ms(7000, 5000), 5000);
}

// Between two assignments a member keeps nothing that it does not subscribe any more.
static void test_unsubscribes_while_waiting(void **state) {
    struct fixture *f = *state;
    struct member x = {.id = "x", .topic = "a"};
    create(f, "a", 4);
    create(f, "b", 2);
    set(f, "g", "consumer.assignment.interval.ms", "1000");
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(x.has.n, 4);
    x.topic = "b";
    assert_int_equal(beat(f, &x, false), 0);
    assert_int_equal(x.has.n, 0); // has to give up all
    assert_int_equal(x.epoch, 1);
    check(f, "Assigning", 2, 1);
    assert_int_equal(beat(f, &x, true), 0); // has done so
    assert_int_equal(x.has.n, 0);
    pass(f, 1000);
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(x.has.n, 2);
    check(f, "Stable", 2, 2);
    partition_set_fini(&x.has);
}

// Another assignor for the group is a reason for another assignment.
static void test_assignor_changes(void **state) {
    struct fixture *f = *state;
    struct member x = {.id = "x", .topic = "a"}, y = {.id = "y", .topic = "a"};
    create(f, "a", 2);
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(beat(f, &y, true), 0);
    check(f, "Reconciling", 2, 2);
    x.assignor = "uniform"; // it is that already
    assert_int_equal(beat(f, &x, true), 0);
    check(f, "Reconciling", 2, 2);
    y.assignor = "range"; // as many for the one as for the other
    assert_int_equal(beat(f, &y, true), 0);
    check(f, "Reconciling", 2, 2);
    x.assignor = "range";
    assert_int_equal(beat(f, &x, true), 0);
    check(f, "Reconciling", 3, 3);
    partition_set_fini(&x.has), partition_set_fini(&y.has);
}

// ---- commits of older epochs (KIP-1251) -----------------------------------------------------------------------------

static void test_older_epochs(void **state) {
    struct fixture *f = *state;
    struct member x = {.id = "x", .topic = "a"}, y = {.id = "y", .topic = "a"}, z = {.id = "z", .topic = "a"};
    create(f, "a", 6);
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(beat(f, &y, true), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(beat(f, &y, true), 0);
    assert_int_equal(x.has.n, 3);
    assert_int_equal(x.epoch, 2);
    int32_t old[3];
    for (int i = 0; i < 3; i++) old[i] = x.has.p[i].partition; // x has them since epoch 1
    assert_int_equal(beat(f, &z, true), 0);
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(x.has.n, 2);
    assert_int_equal(x.epoch, 2); // it gives one up
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) assert_int_equal(commit(f, "g", "x", 1, old[i]), 0); // also the one that it gives up
        assert_int_equal(commit(f, "g", "x", 0, old[0]), KAFKA_STALE_MEMBER_EPOCH);
        assert_int_equal(commit(f, "g", "x", 1, y.has.p[0].partition), KAFKA_STALE_MEMBER_EPOCH);
        assert_int_equal(commit(f, "g", "y", 1, y.has.p[0].partition), KAFKA_STALE_MEMBER_EPOCH);
        restart(f); // they are stored
    }
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(x.epoch, 3);
    for (int i = 0; i < 3; i++) {
        struct topic_partition tp = x.has.p[0];
        tp.partition = old[i];
        bool kept = partition_set_find(&x.has, &tp) != NULL;
        assert_int_equal(commit(f, "g", "x", 1, old[i]), kept ? 0 : KAFKA_STALE_MEMBER_EPOCH);
        assert_int_equal(commit(f, "g", "x", 2, old[i]), kept ? 0 : KAFKA_STALE_MEMBER_EPOCH);
    }
    partition_set_fini(&x.has), partition_set_fini(&y.has), partition_set_fini(&z.has);
}

// ---- regular expressions --------------------------------------------------------------------------------------------

struct authorizer {
    _Atomic int asked;
    const char *_Atomic hidden;
};

static bool may_describe(void *arg, const char *principal, const char *host, const char *topic) {
    struct authorizer *a = arg;
    a->asked++;
    assert_string_equal(principal, "User:alice");
    assert_string_equal(host, "127.0.0.1");
    return a->hidden == NULL || strcmp(a->hidden, topic) != 0;
}

// Until the member has so many partitions; what is on the pool ends some time.
static void beat_until(struct fixture *f, struct member *m, size_t n) {
    for (int i = 0; i < 100000 && m->has.n != n; i++) assert_int_equal(beat(f, m, true), 0);
    assert_int_equal(m->has.n, n);
}

static void test_regex_rights(void **state) {
    struct fixture *f = *state;
    struct authorizer a = {.hidden = "a2"};
    struct member x = {.id = "x", .regex = "a.*", .rights = {may_describe, &a, "User:alice", "127.0.0.1"}};
    create(f, "a1", 1);
    create(f, "a2", 2);
    create(f, "b", 4);
    assert_int_equal(beat(f, &x, true), 0);
    beat_until(f, &x, 1); // not a2
    assert_true(a.asked >= 2); // and nothing about b, which does not match
    create(f, "a3", 8);
    beat_until(f, &x, 9);
    restart(f);
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(x.has.n, 9); // what was stored stands until the rights are asked again
    a.hidden = "a3";
    create(f, "a4", 16);
    beat_until(f, &x, 19);
    groups_stop(f->broker);
    int asked = a.asked;
    assert_int_equal(beat(f, &x, true), KAFKA_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(a.asked, asked);
    partition_set_fini(&x.has);
}

static void test_regex_without_authorizer(void **state) {
    struct fixture *f = *state;
    struct member x = {.id = "x", .regex = "a.*"};
    create(f, "a1", 1);
    create(f, "b", 2);
    assert_int_equal(beat(f, &x, true), 0);
    beat_until(f, &x, 1);
    create(f, "a2", 4);
    beat_until(f, &x, 5);
    x.regex = "b";
    assert_int_equal(beat(f, &x, false), 0); // until that is resolved it matches nothing: all has to be given up
    assert_int_equal(x.has.n, 0);
    beat_until(f, &x, 2);
    partition_set_fini(&x.has);
}

// ---- share groups ---------------------------------------------------------------------------------------------------

static struct share_client share_member(struct fixture *f, const char *id) {
    return (struct share_client){.broker = f->broker, .loop = f->loop, .group = "s", .member = id, .topic = "a"};
}

static void test_share_interval(void **state) {
    struct fixture *f = *state;
    struct share_client x = share_member(f, "x"), y = share_member(f, "y");
    create(f, "a", 4);
    set(f, "s", "share.assignment.interval.ms", "1000");
    assert_int_equal(share_client_heartbeat(&x, 0, true), 0);
    pass(f, 1000); // its first assignment was one without partitions
    assert_int_equal(share_client_heartbeat(&x, x.epoch, true), 0);
    assert_int_equal(x.n_assigned, 4);
    assert_int_equal(share_client_heartbeat(&y, 0, true), 0);
    assert_int_equal(y.n_assigned, 0);
    assert_int_equal(share_client_heartbeat(&x, x.epoch, true), 0);
    assert_int_equal(x.n_assigned, 4);
    pass(f, 1000);
    assert_int_equal(share_client_heartbeat(&y, y.epoch, false), 0);
    assert_int_equal(y.n_assigned, 2);
    assert_int_equal(share_client_heartbeat(&x, x.epoch, false), 0);
    assert_int_equal(x.n_assigned, 2);
}

static int64_t start_of(struct share_client *x, int32_t partition) {
    struct share_offset o = {.topic = "a", .partition = partition};
    assert_int_equal(share_client_offsets(x, SHARE_OFFSETS_DESCRIBE, &o), 0);
    return o.start;
}

// What is written into a partition before the group hears of it is not lost: it is read from its beginning, also with `latest`.
static void test_partitions_come(void **state) {
    struct fixture *f = *state;
    struct share_client x = share_member(f, "x");
    create(f, "a", 1);
    assert_int_equal(share_client_heartbeat(&x, 0, true), 0);
    assert_int_equal(x.n_assigned, 1);
    assert_int_equal(broker_topic_grow(f->broker, "a", 2, false, NULL), ERR_OK);
    for (int i = 0; i < 100000 && x.n_assigned != 2; i++) assert_int_equal(share_client_heartbeat(&x, x.epoch, false), 0);
    assert_int_equal(x.n_assigned, 2);
    assert_int_equal(start_of(&x, 0), -1);
    assert_int_equal(start_of(&x, 1), 0);
}

// ---- a disk that is full for a while --------------------------------------------------------------------------------

// Nothing fits into __consumer_offsets any more, not even into the room that its segment has.
static void fill(struct fixture *f) {
    static char text[GROUP_METADATA_MAX];
    memset(text, 'x', sizeof text);
    sys_sim_disk_size(f->sys, 1);
    for (size_t n = sizeof text; n > 0; n /= 2)
        while (commit_with(f, "c", "", -1, 0, str_n(text, n)) == 0) {}
}

// What could not be initialized is tried again after its time, neither before nor only when something changes.
static void test_initialize_again(void **state) {
    struct fixture *f = *state;
    struct share_client x = share_member(f, "x");
    create(f, "a", 4);
    assert_int_equal(commit(f, "c", "", -1, 0), 0); // from here on there is room for members, but none for __share_group_state
    sys_sim_disk_size(f->sys, 1);
    assert_int_equal(share_client_heartbeat(&x, 0, true), 0);
    assert_int_equal(x.n_assigned, 0);
    sys_sim_disk_size(f->sys, 0);
    pass(f, 6999);
    for (int i = 0; i < 20; i++) assert_int_equal(share_client_heartbeat(&x, x.epoch, false), 0);
    assert_int_equal(x.n_assigned, 0);
    pass(f, 1);
    for (int i = 0; i < 100000 && x.n_assigned == 0; i++) assert_int_equal(share_client_heartbeat(&x, x.epoch, false), 0);
    assert_int_equal(x.n_assigned, 4);
}

static size_t listed(struct fixture *f) {
    struct call c = {.f = NULL};
    assert_int_equal(run(&c, f, do_list), 0);
    size_t n = c.list.n_groups;
    arena_fini(&c.arena);
    return n;
}

static int delete(struct fixture *f, const char *group) {
    struct call c = {.delete = {.group_id = group}};
    int error = run(&c, f, do_delete);
    arena_fini(&c.arena);
    return error;
}

static void test_deletion_fails(void **state) {
    struct fixture *f = *state;
    struct member x = {.id = "x", .topic = "a"};
    struct share_client s = share_member(f, "x");
    create(f, "a", 2);
    assert_int_equal(beat(f, &x, true), 0);
    assert_int_equal(commit(f, "g", "x", x.epoch, 0), 0);
    x.epoch = -1;
    assert_int_equal(beat(f, &x, false), 0);
    assert_int_equal(share_client_heartbeat(&s, 0, true), 0);
    assert_int_equal(share_client_heartbeat(&s, -1, false), 0);
    assert_int_equal(commit(f, "c", "", -1, 0), 0); // a classic one
    assert_int_equal(listed(f), 3);
    static const char *const groups[] = {"g", "s", "c"};
    fill(f);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(delete(f, groups[i]), KAFKA_COORDINATOR_NOT_AVAILABLE);
            assert_int_equal(listed(f), 3);
        }
    check(f, "Empty", 2, 1);
    sys_sim_disk_size(f->sys, 0);
    x = (struct member){.id = "y", .topic = "a", .has = x.has};
    assert_int_equal(beat(f, &x, true), 0); // and it goes on
    assert_int_equal(x.has.n, 2);
    assert_int_equal(delete(f, "g"), KAFKA_NON_EMPTY_GROUP);
    x.epoch = -1;
    assert_int_equal(beat(f, &x, false), 0);
    s = share_member(f, "y");
    assert_int_equal(share_client_heartbeat(&s, 0, true), 0);
    assert_int_equal(s.n_assigned, 2);
    assert_int_equal(share_client_heartbeat(&s, -1, false), 0);
    for (size_t i = 0; i < 3; i++) assert_int_equal(delete(f, groups[i]), 0);
    for (size_t i = 0; i < 3; i++) assert_int_equal(delete(f, groups[i]), KAFKA_GROUP_ID_NOT_FOUND);
    restart(f);
    assert_int_equal(listed(f), 0);
    partition_set_fini(&x.has);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_interval, setup, teardown),
        cmocka_unit_test_setup_teardown(test_default_interval, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unsubscribes_while_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_assignor_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_older_epochs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_partitions_come, setup, teardown),
        cmocka_unit_test_setup_teardown(test_regex_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(test_regex_without_authorizer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_share_interval, setup, teardown),
        cmocka_unit_test_setup_teardown(test_initialize_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deletion_fails, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
