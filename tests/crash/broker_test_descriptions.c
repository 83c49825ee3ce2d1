// SPDX-License-Identifier: Apache-2.0
// Crash tests of topology descriptions and of features' levels: pushed, changed, taken away with the group, over a restart, with every operation on
// the disk as the last one, or failing once. What was acknowledged is told afterwards; a group that is gone leaves nothing.
#include "broker_ask.h"

#include "broker/broker.h"
#include "broker/features.h"
#include "broker/groups.h"
#include "broker/kafka_error.h"
#include "broker/store.h"

enum { EPOCH = 3 };

struct my {
    bool joined;
    int32_t epoch;                    // of the member
    const char *described, *attempted; // descriptions
    bool deleted, maybe_deleted;
    int16_t level, maybe_level; // of transaction.version
};

static bool start(struct server *v, struct sys *s) {
    static const struct broker_kv configs[] = {
        {"log.segment.bytes", "1048576"},
        {"group.streams.topology.description.plugin.class", "org.apache.kafka.server.streams.InMemoryTopologyDescriptionPlugin"}};
    return server_start(v, s, configs, sizeof configs / sizeof configs[0], "share.version=1");
}

// ---- calls that wait for their answer -------------------------------------------------------------------------------

static int beat(struct server *v, int32_t epoch, int32_t *next) {
    static const char *const in[] = {"in"};
    const struct streams_subtopology sub = {.id = "0", .sources = in, .n_sources = 1};
    const struct streams_topology t = {.epoch = EPOCH, .subtopologies = &sub, .n_subtopologies = 1};
    struct ask a;
    struct streams_heartbeat x = {.call = ask_begin(&a, v), .group_id = "app", .member_id = "m", .member_epoch = epoch, .client_id = "", .client_host = ""};
    x.rebalance_timeout_ms = epoch == 0 ? 60000 : -1;
    x.topology = epoch == 0 ? &t : NULL;
    x.owned.given = epoch == 0;
    group_streams_heartbeat(v->broker, &x);
    ask_close(&a);
    if (x.call.error == 0) *next = x.out_member_epoch;
    return x.call.error;
}

static bool push(struct server *v, struct my *m, const char *text) {
    struct ask a;
    struct streams_description x = {.call = ask_begin(&a, v), .group_id = "app", .member_id = "m", .topology_epoch = EPOCH, .description = str_c(text)};
    m->attempted = text;
    group_streams_description(v->broker, &x);
    ask_close(&a);
    if (x.call.error == 0) m->described = text;
    return x.call.error == 0;
}

static bool delete(struct server *v, struct my *m) {
    struct ask a;
    struct group_delete x = {.call = ask_begin(&a, v), .group_id = "app"};
    m->maybe_deleted = true;
    group_delete(v->broker, &x);
    ask_close(&a);
    m->deleted = x.call.error == 0;
    return m->deleted;
}

static bool set_level(struct server *v, struct my *m, int16_t level, int8_t change) {
    const struct broker_feature_update u = {STR("transaction.version"), level, change};
    m->maybe_level = level;
    if (broker_features_update(v->broker, &u, 1, false, NULL) != ERR_OK) return false;
    m->level = level;
    return true;
}

// ---- scenario -------------------------------------------------------------------------------------------------------

static bool first_life(struct server *v, struct my *m) {
    m->joined = beat(v, 0, &m->epoch) == 0;
    return m->joined && push(v, m, "one") && set_level(v, m, 1, FEATURE_SAFE_DOWNGRADE) && push(v, m, "two") && set_level(v, m, 2, FEATURE_UPGRADE);
}

static bool second_life(struct server *v, struct my *m) {
    int32_t gone;
    return push(v, m, "three") && set_level(v, m, 0, FEATURE_UNSAFE_DOWNGRADE) && beat(v, -1, &gone) == 0 && delete(v, m);
}

static void scenario(struct sys *s, void *state) {
    struct my *m = state;
    struct server v = {0};
    m->level = m->maybe_level = 2;
    bool on = start(&v, s) && first_life(&v, state);
    server_stop(&v);
    v = (struct server){0};
    if (!on) return;
    if (start(&v, s)) (void)second_life(&v, state);
    server_stop(&v);
}

static void recover(struct sys *s, void *state) {
    (void)state;
    struct server v = {0};
    (void)start(&v, s);
    server_stop(&v);
}

static void check(struct server *v, struct my *m) {
    struct ask a;
    struct streams_describe x = {.call = ask_begin(&a, v), .group_id = "app", .with_description = true};
    int16_t level = broker_feature_level(v->broker, FEATURE_TRANSACTION);
    assert_true(level == m->level || level == m->maybe_level);
    assert_int_equal(broker_feature_level(v->broker, FEATURE_SHARE), 1); // from the first open on
    group_streams_describe(v->broker, &x);
    ask_end(&a);
    int error = x.call.error;
    assert_true(error == 0 || error == KAFKA_GROUP_ID_NOT_FOUND);
    if (m->joined && !m->maybe_deleted) assert_int_equal(error, 0);
    if (m->deleted) assert_int_equal(error, KAFKA_GROUP_ID_NOT_FOUND);
    if (m->deleted) assert_int_equal(store_count(broker_store(v->broker), STORE_TOPOLOGY_DESCRIPTION), 0);
    if (error == 0 && m->described != NULL && !m->maybe_deleted) assert_int_equal(x.description_status, STREAMS_DESCRIPTION_AVAILABLE);
    if (error == 0 && x.description_status == STREAMS_DESCRIPTION_AVAILABLE) {
        struct str is = x.description;
        assert_true((m->described != NULL && str_eqc(is, m->described)) || (m->attempted != NULL && str_eqc(is, m->attempted)));
    }
    arena_fini(&a.arena);
}

static void verify(struct sys *s, void *state) {
    for (int round = 0; round < 2; round++) {
        struct server v = {0};
        if (!start(&v, s)) fail_msg("the broker does not open again: %s", why);
        check(&v, state);
        if (round == 0) sys_sim_crash_at(s, sys_sim_ops(s) + 1); // the close is cut at once
        server_stop(&v);
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
