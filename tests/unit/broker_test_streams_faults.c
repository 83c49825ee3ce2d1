// SPDX-License-Identifier: Apache-2.0
// Streams groups whose work on the pool meets something else: a deletion that fails, pushes of topology descriptions at one time. On a simulated
// disk; the order of things is kept by holding the coordinator's loop and the topics' lock.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/coordinator.h"
#include "broker/kafka_error.h"
#include "sys/sim.h"

struct fixture {
    struct sys *sys;
    struct loop *loops[2]; // the coordinator's, and the callers'
    struct pool *pool;
    struct broker *broker;
};

enum { WORKERS = 2 };

static int setup(void **state) {
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    static const struct broker_kv configs[] = {
        {"log.segment.bytes", "1048576"},
        {"group.streams.initial.rebalance.delay.ms", "0"},
        {"group.streams.topology.description.plugin.class", "org.apache.kafka.server.streams.InMemoryTopologyDescriptionPlugin"}};
    struct broker_config c = {.dir = "log", .node_id = 1, .default_partitions = 1, .max_partitions = 100, .configs = configs, .n_configs = 3};
    f->sys = sys_sim_new(1);
    f->pool = pool_new("test", WORKERS, 200);
    for (int i = 0; i < 2; i++) {
        f->loops[i] = loop_new(f->sys, i == 0 ? "loop0" : "loop1", &err);
        loop_start(f->loops[i]);
    }
    f->broker = broker_open(f->sys, &c, f->loops, 2, f->pool, &err);
    if (f->broker == NULL) fail_msg("%s", err.msg);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    broker_close(f->broker);
    for (int i = 0; i < 2; i++) {
        loop_stop(f->loops[i]);
        loop_free(f->loops[i]);
    }
    pool_free(f->pool);
    sys_sim_free(f->sys);
    mem_free(f);
    return 0;
}

// ---- calls ----------------------------------------------------------------------------------------------------------

struct call {
    struct fixture *f;
    union {
        struct group_call call;
        struct streams_heartbeat heartbeat;
        struct streams_description description;
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

static int run(struct call *c, struct fixture *f, void (*fn)(struct call *c)) { return call_run(c, f, f->loops[1], fn); }
static void do_heartbeat(struct call *c) { group_streams_heartbeat(c->f->broker, &c->heartbeat); }
static void do_description(struct call *c) { group_streams_description(c->f->broker, &c->description); }
static void do_commit(struct call *c) { group_commit(c->f->broker, &c->commit); }
static void do_delete(struct call *c) { group_delete(c->f->broker, &c->delete); }
static void do_list(struct call *c) { group_list(c->f->broker, &c->list); }

static void begin(struct call *c, struct fixture *f, void (*fn)(struct call *c)) { call_begin(c, f, f->loops[1], fn); }
static int end(struct call *c) {
    int error = call_wait(c);
    arena_fini(&c->arena);
    return error;
}

// A member of `group` joins (epoch 0) or goes (-1); *status is the answer's first status, -1 = none.
static int beat(struct fixture *f, const char *group, int32_t epoch, int *status) {
    static const char *const in[] = {"in"};
    static const struct streams_topic changelog = {.name = "app-changelog"};
    static const struct streams_subtopology sub = {.id = "0", .sources = in, .n_sources = 1, .changelogs = &changelog, .n_changelogs = 1};
    static const struct streams_topology t = {.epoch = 0, .subtopologies = &sub, .n_subtopologies = 1};
    struct call c = {.heartbeat = {.group_id = group, .member_id = "m", .member_epoch = epoch, .client_id = "", .client_host = "", .process_id = "p"}};
    c.heartbeat.rebalance_timeout_ms = epoch == 0 ? 60000 : -1;
    c.heartbeat.topology = epoch == 0 ? &t : NULL;
    c.heartbeat.owned.given = epoch == 0;
    int error = run(&c, f, do_heartbeat);
    if (status != NULL) *status = c.heartbeat.n_statuses > 0 ? c.heartbeat.statuses[0].code : -1;
    arena_fini(&c.arena);
    return error;
}

static void create_in(struct fixture *f) { assert_int_equal(broker_topic_create(f->broker, "in", 1, NULL, 0, false, NULL, NULL, NULL), ERR_OK); }

// ---- holding --------------------------------------------------------------------------------------------------------

struct gate { // holds a loop or a worker; static, for who stands at it may be about to go still
    struct loop_event reached, open;
};

static void stand(void *arg) {
    struct gate *g = arg;
    loop_event_set(&g->reached);
    loop_event_wait(&g->open);
}

static void open_all(struct gate *gates, size_t n) {
    for (size_t i = 0; i < n; i++) loop_event_set(&gates[i].open);
}

static void gates_init(struct gate *gates, size_t n) {
    for (size_t i = 0; i < n; i++) {
        loop_event_init(&gates[i].reached);
        loop_event_init(&gates[i].open);
    }
}

// All workers at once: what was submitted before has run, and its ends are posted.
static void hold_workers(struct fixture *f, struct gate gates[WORKERS]) {
    gates_init(gates, WORKERS);
    for (size_t i = 0; i < WORKERS; i++) assert_int_equal(pool_submit(f->pool, stand, &gates[i], NULL), ERR_OK);
    for (size_t i = 0; i < WORKERS; i++) loop_event_wait(&gates[i].reached);
}

static void hold_loop(struct loop *loop, struct gate *gate) {
    gates_init(gate, 1);
    loop_post(loop, stand, gate);
    loop_event_wait(&gate->reached);
}

static void pass(struct loop *loop, struct gate *gate) { // what was posted there before has run
    hold_loop(loop, gate);
    open_all(gate, 1);
}

// ---- internal topics ------------------------------------------------------------------------------------------------

static int commit(struct fixture *f, struct str metadata) {
    struct call c = {.commit = {.group_id = "c", .generation = -1, .n_offsets = 1}};
    c.offset = (struct group_offset){.topic = "in", .metadata = metadata};
    c.commit.offsets = &c.offset;
    int error = run(&c, f, do_commit);
    if (error == 0) error = c.offset.error;
    arena_fini(&c.arena);
    return error;
}

// Nothing fits into __consumer_offsets any more, not even into the room that its segment has.
static void fill(struct fixture *f) {
    static char metadata[GROUP_METADATA_MAX];
    memset(metadata, 'x', sizeof metadata);
    sys_sim_disk_size(f->sys, 1);
    for (size_t n = sizeof metadata; n > 0; n /= 2)
        while (commit(f, str_n(metadata, n)) == 0) {}
}

static bool is_there(struct fixture *f, const char *topic) {
    struct broker_topic_info info;
    struct arena a;
    arena_init(&a);
    bool there = broker_topic_get(f->broker, str_c(topic), &a, &info);
    arena_fini(&a);
    return there;
}

// The topics' end comes while the group is out of the way, for its deletion, which then fails: its next member has them made.
static void test_deletion_fails_meanwhile(void **state) {
    struct fixture *f = *state;
    static struct gate before, behind, callers[2], workers[WORKERS];
    struct call deletion = {.delete = {.group_id = "app"}};
    int status = -1;
    create_in(f);
    assert_int_equal(commit(f, STR("")), 0);
    sys_mutex_lock(&f->broker->change); // one worker makes the topics and waits here
    assert_int_equal(beat(f, "app", 0, &status), 0);
    assert_int_equal(status, STREAMS_MISSING_INTERNAL_TOPICS);
    assert_int_equal(beat(f, "app", -1, NULL), 0);
    fill(f);
    hold_loop(f->loops[0], &before);
    begin(&deletion, f, do_delete);
    pass(f->loops[1], &callers[0]); // it is the next thing there
    gates_init(&behind, 1);
    loop_post(f->loops[0], stand, &behind);
    open_all(&before, 1);
    loop_event_wait(&behind.reached);
    pass(f->loops[1], &callers[1]); // its first write has failed: then the group goes, and the second write fails
    sys_mutex_unlock(&f->broker->change);
    hold_workers(f, workers); // the topics could not be made, which comes between the two
    open_all(workers, WORKERS);
    open_all(&behind, 1);
    assert_int_equal(end(&deletion), KAFKA_COORDINATOR_NOT_AVAILABLE);
    assert_false(is_there(f, "app-changelog"));
    sys_sim_disk_size(f->sys, 0);
    for (int i = 0; i < 20000 && status != -1; i++) assert_int_equal(beat(f, "app", 0, &status), 0);
    assert_int_equal(status, -1);
}

// ---- descriptions ---------------------------------------------------------------------------------------------------

enum { PUSHES = 70, FIT = STREAMS_DESCRIPTIONS_MAX / STREAMS_DESCRIPTION_MAX };
static char text[STREAMS_DESCRIPTION_MAX];

static struct call push(const char *group) {
    return (struct call){.description = {.group_id = group, .member_id = "m", .description = str_n(text, sizeof text)}};
}

static size_t kept(const struct fixture *f) { return f->broker->coordinator->description_bytes; } // when nothing is under way

static void list(struct fixture *f) { // what was asked of the coordinator before has been looked at
    struct call c = {.f = NULL};
    assert_int_equal(run(&c, f, do_list), 0);
    arena_fini(&c.arena);
}

// Together they stay within their bound, also those that come at one time; what is not stored gives its room back.
static void test_pushes_at_one_time(void **state) {
    struct fixture *f = *state;
    static struct gate workers[2][WORKERS];
    static struct call calls[PUSHES];
    int refused = 0, status;
    memset(text, 'x', sizeof text);
    create_in(f);
    assert_int_equal(beat(f, "app", 0, &status), 0);
    assert_int_equal(beat(f, "two", 0, &status), 0);
    for (int round = 0; round < 2; round++) {
        hold_workers(f, workers[round]);
        for (int i = 0; i < PUSHES; i++) {
            calls[i] = push(i % 2 == 0 ? "app" : "two");
            begin(&calls[i], f, do_description);
        }
        list(f);
        assert_true(kept(f) <= STREAMS_DESCRIPTIONS_MAX + (round == 0 ? 0 : STREAMS_DESCRIPTION_MAX)); // the one that is replaced is there still
        if (round == 1) sys_sim_disk_size(f->sys, 1); // none is stored
        open_all(workers[round], WORKERS);
        refused = 0;
        for (int i = 0; i < PUSHES; i++) {
            int error = end(&calls[i]);
            assert_true(error == 0 || error == KAFKA_STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED);
            refused += error != 0;
        }
        assert_int_equal(refused, round == 0 ? PUSHES - FIT : PUSHES);
        list(f);
        assert_int_equal(kept(f), 2 * STREAMS_DESCRIPTION_MAX);
    }
    sys_sim_disk_size(f->sys, 0);
    struct call again = push("app");
    assert_int_equal(run(&again, f, do_description), 0);
    arena_fini(&again.arena);
    assert_int_equal(kept(f), 2 * STREAMS_DESCRIPTION_MAX);
}

// A group that ends while its description is on the way: the room comes back with it.
static void test_push_of_a_group_that_ends(void **state) {
    struct fixture *f = *state;
    static struct gate workers[WORKERS];
    struct call x = push("app"), deletion = {.delete = {.group_id = "app"}};
    create_in(f);
    assert_int_equal(beat(f, "app", 0, NULL), 0);
    hold_workers(f, workers);
    begin(&x, f, do_description);
    struct call leave = {.heartbeat = {.group_id = "app", .member_id = "m", .member_epoch = -1, .client_id = "", .client_host = ""}};
    leave.heartbeat.rebalance_timeout_ms = -1;
    begin(&leave, f, do_heartbeat);
    begin(&deletion, f, do_delete);
    open_all(workers, WORKERS);
    assert_int_equal(end(&leave), 0);
    (void)end(&x); // kept, and taken away with the group, or too late
    assert_int_equal(end(&deletion), 0);
    hold_workers(f, workers); // what was left over is taken away
    open_all(workers, WORKERS);
    list(f);
    assert_int_equal(kept(f), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_deletion_fails_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pushes_at_one_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_push_of_a_group_that_ends, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
