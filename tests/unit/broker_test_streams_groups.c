// SPDX-License-Identifier: Apache-2.0
// Streams groups of KIP-1071: the topology and its internal topics, tasks of members, stand-bys on other processes, restarts, refusals.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "broker/broker.h"
#include "broker/dynamic.h"
#include "broker/groups.h"
#include "broker/group_records.h"
#include "broker/kafka_error.h"
#include "unit/broker_fixture.h"

struct call {
    struct fixture *f;
    union {
        struct group_call call;
        struct streams_heartbeat heartbeat;
        struct streams_describe describe;
        struct group_commit commit;
    };
    struct group_offset offset;
    struct arena arena;
    struct loop_event event;
    void (*fn)(struct call *c);
};

#include "unit/group_call.h"

static int run(struct call *c, struct fixture *f, void (*fn)(struct call *c)) { return call_run(c, f, f->loops[1], fn); }
static void do_heartbeat(struct call *c) { group_streams_heartbeat(c->f->broker, &c->heartbeat); }
static void do_commit(struct call *c) { group_commit(c->f->broker, &c->commit); }
static void do_describe(struct call *c) { group_streams_describe(c->f->broker, &c->describe); }

enum { TASKS = 32 };

struct client {
    const char *id, *process, *instance; // NULL = no static member
    int32_t epoch;
    struct streams_task active[TASKS], standby[TASKS]; // what it has
    size_t n_active, n_standby;
    bool told; // there was an assignment in the last answer
    int status; // the last answer's first status, -1 = none
};

static const char *const in[] = {"in"}, *const sinks[] = {"app-count-repartition"};
static const struct broker_kv compact[] = {{"cleanup.policy", "compact"}};
static const struct streams_topic repartition = {.name = "app-count-repartition"};
static const struct streams_topic changelog = {.name = "app-count-changelog", .configs = compact, .n_configs = 1};
static const struct streams_subtopology subs[] = {
    {.id = "1", .repartition_sources = &repartition, .n_repartition_sources = 1, .changelogs = &changelog, .n_changelogs = 1},
    {.id = "0", .sources = in, .n_sources = 1, .repartition_sinks = sinks, .n_repartition_sinks = 1},
};
static const struct streams_topology topology = {.epoch = 0, .subtopologies = subs, .n_subtopologies = 2};

static const char *name_of(const char *subtopology) { return strcmp(subtopology, "0") == 0 ? "0" : "1"; }

static int beat(struct fixture *f, struct client *x, bool with_owned) {
    struct call c = {.heartbeat = {.group_id = "app", .member_id = x->id, .member_epoch = x->epoch, .process_id = x->process}};
    c.heartbeat.group_instance_id = x->instance;
    struct streams_heartbeat *h = &c.heartbeat;
    h->client_id = "client";
    h->client_host = "/127.0.0.1";
    h->endpoint = (struct streams_endpoint){"host", 9};
    h->rebalance_timeout_ms = x->epoch == 0 ? 60000 : -1;
    h->topology = x->epoch == 0 ? &topology : NULL;
    h->owned.given = with_owned || x->epoch == 0;
    if (x->epoch > 0) {
        h->owned.active = x->active, h->owned.n_active = x->n_active;
        h->owned.standby = x->standby, h->owned.n_standby = x->n_standby;
    }
    int error = run(&c, f, do_heartbeat);
    x->told = error == 0 && h->tasks.given;
    x->status = h->n_statuses > 0 ? h->statuses[0].code : -1;
    if (error == 0) x->epoch = h->out_member_epoch;
    if (x->told) {
        x->n_active = x->n_standby = 0;
        for (size_t i = 0; i < h->tasks.n_active; i++)
            x->active[x->n_active++] = (struct streams_task){name_of(h->tasks.active[i].subtopology), h->tasks.active[i].partition};
        for (size_t i = 0; i < h->tasks.n_standby; i++)
            x->standby[x->n_standby++] = (struct streams_task){name_of(h->tasks.standby[i].subtopology), h->tasks.standby[i].partition};
    }
    arena_fini(&c.arena);
    return error;
}

static void check_state(struct fixture *f, const char *state) {
    struct call c = {.describe = {.group_id = "app"}};
    assert_int_equal(run(&c, f, do_describe), 0);
    assert_string_equal(c.describe.state, state);
    arena_fini(&c.arena);
}

static void settle(struct fixture *f, struct client *all, size_t n) {
    for (int round = 0; round < 8; round++)
        for (size_t i = 0; i < n; i++)
            if (all[i].epoch > 0) assert_int_equal(beat(f, &all[i], true), 0);
}

static void check_tasks(const struct client *all, size_t n, int partitions, bool standbys) {
    int seen[2][TASKS] = {{0}};
    for (size_t i = 0; i < n; i++) {
        if (all[i].epoch <= 0) continue;
        for (size_t k = 0; k < all[i].n_active; k++) seen[all[i].active[k].subtopology[0] - '0'][all[i].active[k].partition]++;
        for (size_t k = 0; k < all[i].n_standby; k++) {
            assert_string_equal(all[i].standby[k].subtopology, "1"); // the stateful one
            for (size_t o = 0; o < n; o++)
                for (size_t a = 0; a < all[o].n_active; a++)
                    if (strcmp(all[o].process, all[i].process) == 0 && all[o].epoch > 0)
                        assert_false(strcmp(all[o].active[a].subtopology, "1") == 0 && all[o].active[a].partition == all[i].standby[k].partition);
        }
        if (standbys) assert_true(all[i].n_standby > 0);
    }
    for (int s = 0; s < 2; s++)
        for (int p = 0; p < TASKS; p++) assert_int_equal(seen[s][p], p < partitions);
}

static void create(struct fixture *f, const char *name, int partitions) {
    assert_int_equal(broker_topic_create(f->broker, name, partitions, NULL, 0, false, NULL, NULL, NULL), ERR_OK);
}

static int setup(void **state) {
    int rc = fixture_setup(state);
    struct fixture *f = *state;
    (void)f;
    return rc;
}

static void test_tasks(void **state) {
    struct fixture *f = *state;
    struct client all[3] = {{.id = "a", .process = "p"}, {.id = "b", .process = "q"}, {.id = "c", .process = "p"}};
    assert_int_equal(beat(f, &all[0], true), 0);
    assert_int_equal(all[0].status, STREAMS_MISSING_SOURCE_TOPICS);
    assert_true(all[0].told && all[0].n_active == 0);
    check_state(f, "NotReady");
    create(f, "in", 6);
    for (int i = 0; i < 200000 && all[0].status != -1; i++) assert_int_equal(beat(f, &all[0], true), 0); // until the topics are made
    assert_int_equal(all[0].status, -1);
    struct arena a;
    struct broker_topic_info info;
    arena_init(&a);
    assert_true(broker_topic_get(f->broker, STR("app-count-repartition"), &a, &info));
    assert_int_equal(info.partitions, 6);
    assert_true(broker_topic_get(f->broker, STR("app-count-changelog"), &a, &info));
    assert_int_equal(info.partitions, 6);
    arena_fini(&a);
    settle(f, all, 1);
    check_tasks(all, 1, 6, false);
    check_state(f, "Stable");
    assert_int_equal(beat(f, &all[1], true), 0);
    settle(f, all, 2);
    check_tasks(all, 2, 6, false);
    assert_int_equal(all[0].n_active, 6);
    for (size_t i = 0; i < 2; i++) { // each has half of either subtopology
        size_t stateful = 0;
        for (size_t k = 0; k < all[i].n_active; k++) stateful += all[i].active[k].subtopology[0] == '1';
        assert_int_equal(stateful, 3);
    }
    struct client before = all[0];
    fixture_restart(f, false);
    settle(f, all, 2);
    assert_int_equal(all[0].epoch, before.epoch); // nobody had to join again
    assert_memory_equal(all[0].active, before.active, before.n_active * sizeof before.active[0]);
    assert_int_equal(beat(f, &all[2], true), 0);
    settle(f, all, 3);
    check_tasks(all, 3, 6, false);
    assert_int_equal(all[2].n_active, 4);
    const struct broker_kv standby = {"streams.num.standby.replicas", "1"}; // the group notices at the next heartbeat
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("app"), &standby, 1, false, NULL), ERR_OK);
    settle(f, all, 3);
    check_tasks(all, 3, 6, true);
    assert_int_equal(all[0].n_standby + all[1].n_standby + all[2].n_standby, 6);
    all[1].epoch = -1;
    assert_int_equal(beat(f, &all[1], false), 0);
    settle(f, all, 3);
    check_tasks(all, 3, 6, false);
    all[2].epoch = 77;
    assert_int_equal(beat(f, &all[2], false), KAFKA_FENCED_MEMBER_EPOCH);
    all[2].epoch = 0;
    assert_int_equal(beat(f, &all[2], true), 0); // joins again
    settle(f, all, 3);
    check_tasks(all, 3, 6, false);
}

static void refused(struct fixture *f, struct streams_heartbeat h, int error) {
    struct call c = {.heartbeat = h};
    c.heartbeat.client_id = c.heartbeat.client_host = "";
    assert_int_equal(run(&c, f, do_heartbeat), error);
    assert_true(c.call.message[0] != '\0');
    arena_fini(&c.arena);
}

static void test_refusals(void **state) {
    struct fixture *f = *state;
    struct streams_heartbeat ok = {.group_id = "app", .member_id = "m", .rebalance_timeout_ms = 1, .topology = &topology, .owned = {.given = true}}, h;
    static const struct streams_subtopology twice[] = {{.id = "0"}, {.id = "0"}};
    static const struct streams_topology bad = {.subtopologies = twice, .n_subtopologies = 2}, other = {.subtopologies = twice, .n_subtopologies = 1};
    h = ok, h.member_id = "";
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.topology = NULL;
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.group_instance_id = " ";
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.topology = NULL, h.member_epoch = -2;
    refused(f, h, KAFKA_INVALID_REQUEST); // nobody comes back without an instance id
    h = ok, h.topology = NULL, h.member_epoch = -3, h.group_instance_id = "i";
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.topology = NULL, h.member_epoch = 4, h.owned = (struct streams_tasks){.mixed = true};
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.member_epoch = 4; // a topology only when joining
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.source_regex = true;
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.topology = &bad;
    refused(f, h, KAFKA_STREAMS_INVALID_TOPOLOGY);
    h = ok, h.topology = NULL, h.member_epoch = 4;
    refused(f, h, KAFKA_GROUP_ID_NOT_FOUND);
    struct client x = {.id = "a", .process = "p"};
    assert_int_equal(beat(f, &x, true), 0);
    h = ok, h.topology = &other;
    refused(f, h, KAFKA_INVALID_REQUEST);
    h = ok, h.topology = NULL, h.member_epoch = 4;
    refused(f, h, KAFKA_UNKNOWN_MEMBER_ID);
    h.group_instance_id = "i";
    refused(f, h, KAFKA_UNKNOWN_MEMBER_ID);
    h.member_epoch = -2;
    refused(f, h, KAFKA_UNKNOWN_MEMBER_ID);
}

// What the first member of `group` is told of a topology of one subtopology.
static void told(struct fixture *f, const char *group, const struct streams_subtopology *sub, const char *wanted) {
    const struct streams_topology t = {.subtopologies = sub, .n_subtopologies = 1};
    struct call c = {.heartbeat = {.group_id = group, .member_id = "m", .rebalance_timeout_ms = 1, .topology = &t, .owned = {.given = true}}};
    c.heartbeat.client_id = c.heartbeat.client_host = "";
    assert_int_equal(run(&c, f, do_heartbeat), 0);
    assert_true(c.heartbeat.n_statuses > 0);
    assert_int_equal(c.heartbeat.statuses[0].code, STREAMS_INCORRECTLY_PARTITIONED);
    assert_string_equal(c.heartbeat.statuses[0].detail, wanted);
    arena_fini(&c.arena);
}

static void test_copartitions(void **state) {
    struct fixture *f = *state;
    static const char *const both[] = {"right", "left"};
    static const int16_t all[] = {0, 1};
    static const struct streams_topic sized[] = {{.name = "four", .partitions = 4}, {.name = "five", .partitions = 5}};
    const struct streams_copartition sources = {.sources = all, .n_sources = 2}, mixed = {.sources = all, .n_sources = 1, .repartition_sources = all, .n_repartition_sources = 1},
                                     sinks_only = {.repartition_sources = all, .n_repartition_sources = 2};
    struct streams_subtopology sub = {.id = "0", .sources = both, .n_sources = 2, .repartition_sources = sized, .n_repartition_sources = 2, .n_copartitions = 1};
    create(f, "left", 2);
    create(f, "right", 3);
    sub.copartitions = &sources;
    told(f, "sources", &sub, "Following topics do not have the same number of partitions: [{left=2, right=3}]");
    sub.copartitions = &mixed;
    told(f, "mixed", &sub, "Number of partitions [4] of repartition topic [four] doesn't match number of partitions [3] of the source topic.");
    sub.copartitions = &sinks_only;
    told(f, "sinks", &sub, "Following topics do not have the same number of partitions: [{five=5, four=4}]");
}

static void test_shutdown(void **state) {
    struct fixture *f = *state;
    struct client all[2] = {{.id = "a", .process = "p"}, {.id = "b", .process = "q"}};
    create(f, "in", 2);
    for (int i = 0; i < 2; i++) assert_int_equal(beat(f, &all[i], true), 0);
    for (int i = 0; i < 200000 && all[1].status != -1; i++) settle(f, all, 2);
    struct call c = {.heartbeat = {.group_id = "app", .member_id = "a", .member_epoch = -1, .shutdown = true}};
    assert_int_equal(run(&c, f, do_heartbeat), 0); // asks the others to end too, and leaves
    arena_fini(&c.arena);
    assert_int_equal(beat(f, &all[1], true), 0);
    assert_int_equal(all[1].status, STREAMS_SHUTDOWN);
}

static int commit(struct fixture *f, const struct client *x, int32_t epoch, const char *topic, int32_t partition) {
    struct call c = {.commit = {.group_id = "app", .member_id = x->id, .generation = epoch, .knows_epochs = true, .n_offsets = 1}};
    c.offset = (struct group_offset){.topic = topic, .partition = partition, .offset = 7};
    c.commit.offsets = &c.offset;
    int error = run(&c, f, do_commit);
    arena_fini(&c.arena);
    return error;
}

// A commit of an older epoch counts for the tasks that the member has had since then.
static void check_older_epochs(struct fixture *f, const struct client *old, const struct client *young, int32_t before) {
    create(f, "other", 4);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < old->n_active; i++) {
            const char *topic = old->active[i].subtopology[0] == '0' ? "in" : "app-count-repartition";
            assert_int_equal(commit(f, old, before, topic, old->active[i].partition), 0);
            assert_int_equal(commit(f, old, 0, topic, old->active[i].partition), KAFKA_STALE_MEMBER_EPOCH);
            assert_int_equal(commit(f, old, old->epoch + 1, topic, old->active[i].partition), KAFKA_STALE_MEMBER_EPOCH);
        }
        for (size_t i = 0; i < young->n_active; i++) {
            const char *topic = young->active[i].subtopology[0] == '0' ? "in" : "app-count-repartition";
            assert_int_equal(commit(f, old, before, topic, young->active[i].partition), KAFKA_STALE_MEMBER_EPOCH);
            assert_int_equal(commit(f, young, before, topic, young->active[i].partition), KAFKA_STALE_MEMBER_EPOCH);
            assert_int_equal(commit(f, young, young->epoch, topic, young->active[i].partition), 0);
        }
        assert_int_equal(commit(f, old, before, "other", 0), KAFKA_STALE_MEMBER_EPOCH);
        fixture_restart(f, true); // they are stored
    }
}

// With an interval, who comes in between has nothing yet, and is told why.
static void test_interval(void **state) {
    struct fixture *f = *state;
    struct client all[2] = {{.id = "a", .process = "p"}, {.id = "b", .process = "q"}};
    const struct broker_kv wait = {"streams.assignment.interval.ms", "15000"}, now = {"streams.assignment.interval.ms", "0"};
    create(f, "in", 4);
    assert_int_equal(beat(f, &all[0], true), 0);
    for (int i = 0; i < 100000 && all[0].n_active != 8; i++) assert_int_equal(beat(f, &all[0], true), 0); // until internal topics are there
    assert_int_equal(all[0].n_active, 8);
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("app"), &wait, 1, false, NULL), ERR_OK);
    assert_int_equal(beat(f, &all[1], true), 0);
    assert_int_equal(all[1].n_active, 0);
    assert_int_equal(all[1].status, STREAMS_ASSIGNMENT_DELAYED);
    check_state(f, "Assigning");
    assert_int_equal(beat(f, &all[0], true), 0);
    assert_int_equal(all[0].n_active, 8);
    int32_t before = all[0].epoch;
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("app"), &now, 1, false, NULL), ERR_OK);
    settle(f, all, 2);
    assert_int_equal(all[1].status, -1);
    check_tasks(all, 2, 4, false);
    check_state(f, "Stable");
    assert_true(all[0].epoch > before && all[1].n_active == 4);
    check_older_epochs(f, &all[0], &all[1], before);
}

// The state of a stand-by task is closed before the same member gets the task as an active one: with the heartbeat after the one that gave it up.
static void test_promotion(void **state) {
    struct fixture *f = *state;
    struct client all[2] = {{.id = "a", .process = "p"}, {.id = "b", .process = "q"}};
    const struct broker_kv standby = {"streams.num.standby.replicas", "1"};
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("app"), &standby, 1, false, NULL), ERR_OK);
    create(f, "in", 1);
    for (int i = 0; i < 2; i++) assert_int_equal(beat(f, &all[i], true), 0);
    for (int i = 0; i < 200000 && all[1].status != -1; i++) settle(f, all, 2);
    settle(f, all, 2);
    check_tasks(all, 2, 1, false);
    struct client *stays = all[0].n_standby > 0 ? &all[0] : &all[1], *goes = stays == &all[0] ? &all[1] : &all[0];
    assert_true(stays->n_standby == 1 && stays->n_active == 1 && goes->n_active == 1);
    goes->epoch = -1;
    assert_int_equal(beat(f, goes, false), 0);
    assert_int_equal(beat(f, stays, false), 0); // told to give the stand-by up
    assert_true(stays->told && stays->n_standby == 0 && stays->n_active == 1);
    int32_t epoch = stays->epoch;
    assert_int_equal(beat(f, stays, true), 0); // has given it up
    assert_true(stays->epoch > epoch && stays->n_standby == 0 && stays->n_active == 1);
    check_state(f, "Reconciling");
    assert_int_equal(beat(f, stays, false), 0);
    assert_int_equal(stays->n_active, 2);
    check_state(f, "Stable");
    check_tasks(stays, 1, 1, false);
}

static int32_t group_epoch(struct fixture *f, const char *instance) {
    struct call c = {.describe = {.group_id = "app"}};
    size_t found = 0;
    assert_int_equal(run(&c, f, do_describe), 0);
    for (size_t i = 0; i < c.describe.n_members; i++)
        found += c.describe.members[i].group_instance_id != NULL && strcmp(c.describe.members[i].group_instance_id, instance) == 0;
    assert_int_equal(found, 1);
    int32_t epoch = c.describe.group_epoch;
    arena_fini(&c.arena);
    return epoch;
}

static int32_t epoch_of(struct fixture *f) {
    struct call c = {.describe = {.group_id = "app"}};
    assert_int_equal(run(&c, f, do_describe), 0);
    int32_t epoch = c.describe.group_epoch;
    assert_int_equal(c.describe.assignment_epoch, epoch);
    arena_fini(&c.arena);
    return epoch;
}

// A member that joins again as it was is told of its tasks at once, in its epoch, and moves nothing; as another process it moves the group.
static void test_joins_again(void **state) {
    struct fixture *f = *state;
    struct client all[2] = {{.id = "a", .process = "p"}, {.id = "b", .process = "q"}};
    create(f, "in", 4);
    for (int i = 0; i < 2; i++) assert_int_equal(beat(f, &all[i], true), 0);
    for (int i = 0; i < 100000 && all[0].n_active + all[1].n_active < 8; i++) settle(f, all, 2);
    settle(f, all, 2);
    check_tasks(all, 2, 4, false);
    struct client before = all[0];
    int32_t epoch = epoch_of(f);
    for (int round = 0; round < 2; round++) {
        all[0] = (struct client){.id = "a", .process = "p"};
        assert_int_equal(beat(f, &all[0], true), 0);
        assert_true(all[0].told);
        assert_int_equal(all[0].epoch, before.epoch);
        assert_int_equal(all[0].n_active, before.n_active);
        for (size_t i = 0; i < before.n_active; i++) assert_int_equal(all[0].active[i].partition, before.active[i].partition);
        assert_int_equal(epoch_of(f), epoch);
        check_state(f, "Stable");
        fixture_restart(f, round == 0);
    }
    all[0] = (struct client){.id = "a", .process = "r"};
    assert_int_equal(beat(f, &all[0], true), 0);
    assert_int_equal(epoch_of(f), epoch + 1);
    settle(f, all, 2);
    check_tasks(all, 2, 4, false);
}

// What the last assignment was made with is kept: the number of stand-bys does not move the group again after a restart.
static void test_configs_are_kept(void **state) {
    struct fixture *f = *state;
    struct client all[2] = {{.id = "a", .process = "p"}, {.id = "b", .process = "q"}};
    const struct broker_kv standby = {"streams.num.standby.replicas", "1"}, tags = {"streams.rack.aware.assignment.tags", "zone,cluster"};
    create(f, "in", 2);
    for (int i = 0; i < 2; i++) assert_int_equal(beat(f, &all[i], true), 0);
    for (int i = 0; i < 100000 && all[0].n_active + all[1].n_active < 4; i++) settle(f, all, 2);
    settle(f, all, 2);
    int32_t epoch = epoch_of(f);
    fixture_restart(f, true);
    settle(f, all, 2);
    assert_int_equal(epoch_of(f), epoch);
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("app"), &standby, 1, false, NULL), ERR_OK);
    settle(f, all, 2);
    assert_int_equal(epoch_of(f), ++epoch);
    assert_int_equal(all[0].n_standby + all[1].n_standby, 2);
    fixture_restart(f, true);
    settle(f, all, 2);
    assert_int_equal(epoch_of(f), epoch);
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("app"), &tags, 1, false, NULL), ERR_OK);
    settle(f, all, 2);
    assert_int_equal(epoch_of(f), ++epoch); // as in Kafka, although its assignor does not look at them either
    fixture_restart(f, false);
    settle(f, all, 2);
    assert_int_equal(epoch_of(f), epoch);
}

static int say_offsets(struct fixture *f, int32_t epoch, struct streams_task_offsets at, struct streams_task_offsets ends) {
    struct call c = {.heartbeat = {.group_id = "app", .member_id = "a", .member_epoch = epoch, .client_id = "client", .client_host = "/127.0.0.1"}};
    c.heartbeat.rebalance_timeout_ms = -1;
    c.heartbeat.offsets = at;
    c.heartbeat.end_offsets = ends;
    int error = run(&c, f, do_heartbeat);
    if (error != 0) assert_string_equal(c.call.message, "Task offsets contain a duplicate entry for subtopology 1 and partition 0.");
    arena_fini(&c.arena);
    return error;
}

static void check_offsets(struct fixture *f, size_t n, int64_t offset, size_t n_ends, int64_t end) {
    struct call c = {.describe = {.group_id = "app"}};
    assert_int_equal(run(&c, f, do_describe), 0);
    assert_int_equal(c.describe.n_members, 1);
    const struct streams_member_info *m = &c.describe.members[0];
    assert_int_equal(m->offsets.n, n);
    assert_int_equal(m->end_offsets.n, n_ends);
    if (n > 0) assert_string_equal(m->offsets.p[0].subtopology, "1");
    if (n > 0) assert_int_equal(m->offsets.p[0].partition, 1);
    if (n > 0) assert_int_equal(m->offsets.p[0].offset, offset);
    if (n_ends > 0) assert_int_equal(m->end_offsets.p[0].offset, end);
    arena_fini(&c.arena);
}

// How far the tasks are is told as the member said it last; of tasks that are not there nothing is kept.
static void test_offsets(void **state) {
    struct fixture *f = *state;
    struct client a = {.id = "a", .process = "p"};
    static const struct streams_task_offset at[] = {{"1", 1, 7}, {"1", 2, 8}, {"none", 0, 9}}, end[] = {{"1", 0, 70}}, twice[] = {{"1", 0, 1}, {"1", 1, 1}, {"1", 0, 2}};
    const struct streams_task_offsets none = {0}, empty = {true, NULL, 0};
    create(f, "in", 2);
    assert_int_equal(beat(f, &a, true), 0);
    for (int i = 0; i < 100000 && a.n_active < 4; i++) settle(f, &a, 1);
    check_offsets(f, 0, 0, 0, 0);
    assert_int_equal(say_offsets(f, a.epoch, (struct streams_task_offsets){true, at, 3}, none), 0);
    check_offsets(f, 1, 7, 0, 0);
    assert_int_equal(say_offsets(f, a.epoch, none, (struct streams_task_offsets){true, end, 1}), 0);
    check_offsets(f, 1, 7, 1, 70);
    assert_int_equal(say_offsets(f, a.epoch, empty, (struct streams_task_offsets){true, twice, 3}), KAFKA_INVALID_REQUEST);
    check_offsets(f, 1, 7, 1, 70);
    assert_int_equal(say_offsets(f, a.epoch, empty, none), 0);
    check_offsets(f, 0, 0, 1, 70);
    fixture_restart(f, true);
    check_offsets(f, 0, 0, 0, 0);
}

// A static member that goes for a while and comes back under another id finds its tasks, and moves nobody's.
static void test_static(void **state) {
    struct fixture *f = *state;
    struct client all[2] = {{.id = "a", .process = "p", .instance = "i"}, {.id = "b", .process = "q"}};
    struct client other = {.id = "c", .process = "p", .instance = "i"}, gone;
    create(f, "in", 4);
    for (int i = 0; i < 2; i++) assert_int_equal(beat(f, &all[i], true), 0);
    for (int i = 0; i < 100000 && all[0].n_active + all[1].n_active < 8; i++) settle(f, all, 2);
    settle(f, all, 2);
    check_tasks(all, 2, 4, false);
    assert_int_equal(beat(f, &other, true), KAFKA_UNRELEASED_INSTANCE_ID);
    other.epoch = all[0].epoch;
    assert_int_equal(beat(f, &other, true), KAFKA_FENCED_INSTANCE_ID);
    other.epoch = -2;
    assert_int_equal(beat(f, &other, true), KAFKA_FENCED_INSTANCE_ID);
    int32_t epoch = group_epoch(f, "i"), before = all[0].epoch;
    struct streams_task had[TASKS];
    memcpy(had, all[0].active, sizeof had);
    all[0].epoch = -2;
    assert_int_equal(beat(f, &all[0], false), 0);
    assert_int_equal(all[0].epoch, -2);
    for (int i = 0; i < 3; i++) assert_int_equal(beat(f, &all[1], true), 0);
    assert_int_equal(all[1].n_active, 4);
    fixture_restart(f, true);
    gone = all[0];
    all[0] = (struct client){.id = "c", .process = "p", .instance = "i"};
    assert_int_equal(beat(f, &all[0], true), 0);
    assert_int_equal(all[0].epoch, before);
    assert_int_equal(all[0].n_active, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(all[0].active[i].subtopology, had[i].subtopology);
        assert_int_equal(all[0].active[i].partition, had[i].partition);
    }
    assert_int_equal(group_epoch(f, "i"), epoch);
    gone.epoch = before;
    assert_int_equal(beat(f, &gone, true), KAFKA_FENCED_INSTANCE_ID);
    const char *topic = had[0].subtopology[0] == '0' ? "in" : "app-count-repartition";
    assert_int_equal(commit(f, &all[0], before - 1, topic, had[0].partition), 0); // it has had it from the beginning
    all[0].epoch = -1;
    assert_int_equal(beat(f, &all[0], false), 0);
    settle(f, all, 2);
    assert_int_equal(all[1].n_active, 8);
}

// It may come back under the id of a member that is there: that one is gone, and has nothing left that could end later.
static void test_static_under_an_id_in_use(void **state) {
    struct fixture *f = *state;
    struct client all[2] = {{.id = "a", .process = "p", .instance = "i"}, {.id = "b", .process = "q"}};
    create(f, "in", 4);
    for (int i = 0; i < 2; i++) assert_int_equal(beat(f, &all[i], true), 0);
    for (int i = 0; i < 100000 && all[0].n_active + all[1].n_active < 8; i++) settle(f, all, 2);
    int32_t epoch = group_epoch(f, "i");
    all[0].epoch = -2;
    assert_int_equal(beat(f, &all[0], false), 0);
    all[1] = (struct client){.id = "b", .process = "q", .instance = "i"};
    assert_int_equal(beat(f, &all[1], true), 0);
    assert_true(group_epoch(f, "i") > epoch);
    settle(f, all, 2);
    assert_int_equal(all[1].n_active, 8);
    fixture_restart(f, true);
    settle(f, all, 2);
    assert_int_equal(all[1].n_active, 8);
    all[1].epoch = -1;
    assert_int_equal(beat(f, &all[1], false), 0);
    check_state(f, "Empty");
}

static void append(struct fixture *f, const struct buf *key, const struct buf *value) {
    struct broker_record r = {.key = buf_str(key), .value = buf_str(value), .timestamp_ms = -1};
    assert_int_equal(broker_append(f->broker, "__consumer_offsets", 0, &r, 1, NULL, NULL), ERR_OK);
}

// A member came while its group was given up, and the end came before the group was whole on the disk again: its topology is not there. The
// member joins anew, and brings it.
static void test_topology_is_brought_again(void **state) {
    struct fixture *f = *state;
    struct client a = {.id = "a", .process = "p", .epoch = 5};
    struct buf key = {0}, value = {0};
    create(f, "in", 2);
    buf_put_be16(&key, 17); // StreamsGroupMetadata
    put_string(&key, STR("app"));
    buf_put_be16(&value, 0);
    buf_put_be32(&value, 5);
    buf_put_be64(&value, 0);
    put_no_tags(&value);
    append(f, &key, &value);
    buf_clear(&key), buf_clear(&value);
    buf_put_be16(&key, 22); // StreamsGroupCurrentMemberAssignment
    put_string(&key, STR("app"));
    put_string(&key, STR("a"));
    buf_put_be16(&value, 0);
    buf_put_be32(&value, 5), buf_put_be32(&value, 5);
    buf_put_u8(&value, 0);
    for (int i = 0; i < 6; i++) put_compact_count(&value, 0);
    put_no_tags(&value);
    append(f, &key, &value);
    buf_fini(&key), buf_fini(&value);
    fixture_restart(f, true);
    assert_int_equal(beat(f, &a, true), KAFKA_FENCED_MEMBER_EPOCH);
    a.epoch = 0;
    assert_int_equal(beat(f, &a, true), 0);
    for (int i = 0; i < 100000 && a.n_active < 4; i++) settle(f, &a, 1);
    assert_int_equal(a.n_active, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tasks, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_copartitions, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_interval, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_joins_again, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_offsets, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_configs_are_kept, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_static, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_static_under_an_id_in_use, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_shutdown, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_topology_is_brought_again, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_promotion, setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
