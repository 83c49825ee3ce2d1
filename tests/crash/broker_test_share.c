// SPDX-License-Identifier: Apache-2.0
// Crash tests of share groups: joining, fetching, acknowledging, releasing, a restart in between, with every operation on the disk as the last
// one, or failing once. What was acknowledged never comes again, nothing else is lost, and delivery counts do not go back. A second group begins
// at the log's end: what it was given, and did not acknowledge, comes again.
#include "broker_server.h"

#include "broker/broker.h"
#include "unit/share_client.h"

enum { RECORDS = 24 };

enum fate { OPEN, ACCEPTED, MAYBE_ACCEPTED };
struct my {
    bool made; // topic and records
    uint8_t topic_id[16];
    int64_t produced;
    bool begun; // the group's start was set to the log's start
    int64_t given; // the first record that the second group was given; 0 = none
    enum fate fate[RECORDS];
    int16_t stored[RECORDS]; // deliveries that a release has made durable
};

static bool start(struct server *v, struct sys *s) {
    static const struct broker_kv configs[] = {{"log.segment.bytes", "1048576"}, {"share.coordinator.snapshot.update.records.per.snapshot", "2"}};
    return server_start(v, s, configs, sizeof configs / sizeof configs[0], NULL);
}

static struct share_client client(struct server *v, const struct my *m, const char *member) {
    struct share_client c = {.broker = v->broker, .loop = v->loop, .group = "g", .member = member, .topic = "t"};
    memcpy(c.topic_id, m->topic_id, 16);
    return c;
}

static bool make(struct server *v, struct my *m) {
    struct arena a;
    struct broker_topic_info info;
    arena_init(&a);
    bool ok = broker_topic_create(v->broker, "t", 1, NULL, 0, false, &info, &a, NULL) == ERR_OK;
    if (ok) memcpy(m->topic_id, info.id, 16);
    m->made = ok;
    arena_fini(&a);
    for (int i = 0; i < RECORDS / 8 && ok; i++) {
        struct broker_record r[8] = {0};
        for (int k = 0; k < 8; k++) r[k] = (struct broker_record){.value = STR("value"), .key_null = true, .timestamp_ms = 1000};
        ok = broker_append(v->broker, "t", 0, r, 8, NULL, NULL) == ERR_OK;
        if (ok) m->produced += 8;
    }
    if (!ok) return false;
    struct share_client c = client(v, m, "");
    struct share_offset o = {.topic = "t", .start = 0};
    m->begun = share_client_offsets(&c, SHARE_OFFSETS_ALTER, &o) == 0 && o.error == 0;
    return m->begun;
}

// The second group; a record comes when it has begun, which a write that fails once puts off.
static bool take_late(struct server *v, struct my *m) {
    struct share_client c = client(v, m, "late");
    struct broker_record r = {.value = STR("value"), .key_null = true, .timestamp_ms = 1000};
    c.group = "late";
    if (share_client_heartbeat(&c, 0, true) != 0 || share_client_fetch(&c, 0, 16, false, 0) != 0) return false;
    for (int round = 0; round < 4; round++) {
        if (broker_append(v->broker, "t", 0, &r, 1, NULL, NULL) != ERR_OK || share_client_fetch(&c, 0, 16, false, 0) != 0) return false;
        if (c.n_acquired == 0) continue;
        m->given = c.acquired[0].first;
        return true;
    }
    return false;
}

static void check_late(struct server *v, const struct my *m) {
    struct share_client c = client(v, m, "verify-late");
    c.group = "late";
    assert_int_equal(share_client_heartbeat(&c, 0, true), 0);
    assert_int_equal(share_client_fetch(&c, 0, 16, false, 0), 0);
    if (c.n_acquired == 0 || c.acquired[0].first != m->given) fail_msg("record %d was given once and is lost", (int)m->given);
    assert_int_equal(share_client_leave_session(&c), 0);
    assert_int_equal(share_client_heartbeat(&c, -1, false), 0);
}

static bool settle(struct share_client *c, struct my *m, int64_t first, int64_t last, int8_t type) {
    for (int64_t o = first; o <= last && type == SHARE_ACCEPT; o++) m->fate[o] = MAYBE_ACCEPTED;
    if (share_client_acknowledge(c, 0, first, last, type) != 0) return false;
    for (int64_t o = first; o <= last; o++) {
        if (type == SHARE_ACCEPT) m->fate[o] = ACCEPTED;
        else m->stored[o]++;
    }
    return true;
}

static bool first_life(struct server *v, struct my *m) {
    if (!make(v, m)) return false;
    struct share_client c = client(v, m, "m1");
    if (share_client_heartbeat(&c, 0, true) != 0 || share_client_fetch(&c, 0, 16, false, 0) != 0) return false;
    if (c.records < 16) return false;
    return settle(&c, m, 0, 3, SHARE_ACCEPT) && settle(&c, m, 5, 6, SHARE_RELEASE) && settle(&c, m, 9, 12, SHARE_ACCEPT) && settle(&c, m, 4, 4, SHARE_ACCEPT);
}

static bool second_life(struct server *v, struct my *m) {
    struct share_client c = client(v, m, "m2");
    if (share_client_heartbeat(&c, 0, true) != 0 || share_client_fetch(&c, 0, 100, false, 0) != 0) return false;
    return settle(&c, m, 13, 15, SHARE_ACCEPT) && settle(&c, m, 7, 8, SHARE_RELEASE) && share_client_leave_session(&c) == 0;
}

static void scenario(struct sys *s, void *state) {
    struct server v = {0};
    bool on = start(&v, s) && first_life(&v, state);
    server_stop(&v);
    v = (struct server){0};
    if (!on) return;
    if (start(&v, s) && second_life(&v, state)) (void)take_late(&v, state);
    server_stop(&v);
}

static void recover(struct sys *s, void *state) {
    (void)state;
    struct server v = {0};
    (void)start(&v, s);
    server_stop(&v);
}

// Everything that is available is taken: all records once, but those that were acknowledged.
static void check(struct server *v, struct my *m) {
    struct share_client c = client(v, m, "verify");
    bool seen[RECORDS] = {false};
    assert_int_equal(share_client_heartbeat(&c, 0, true), 0);
    for (int round = 0; round < 10; round++) {
        assert_int_equal(share_client_fetch(&c, 0, 100, false, 0), 0);
        for (size_t i = 0; i < c.n_acquired; i++)
            for (int64_t o = c.acquired[i].first; o <= c.acquired[i].last && o < RECORDS; o++) { // behind them is the second group's
                assert_true(!seen[o]);
                seen[o] = true;
                if (m->fate[o] == ACCEPTED) fail_msg("record %d was acknowledged and came again", (int)o);
                assert_true(c.acquired[i].count > m->stored[o] && c.acquired[i].count <= 5);
                m->fate[o] = OPEN;
            }
    }
    for (int o = 0; o < RECORDS; o++)
        if (!seen[o] && m->fate[o] == OPEN) fail_msg("record %d is lost", o);
    for (int o = 0; o < RECORDS; o++)
        if (!seen[o]) m->fate[o] = ACCEPTED;
    assert_int_equal(share_client_leave_session(&c), 0);
    assert_int_equal(share_client_heartbeat(&c, -1, false), 0);
}

static void verify(struct sys *s, void *state) {
    struct my *m = state;
    for (int round = 0; round < 2; round++) {
        struct server v = {0};
        if (!start(&v, s)) fail_msg("the broker does not open again: %s", why);
        if (m->begun && m->produced == RECORDS) check(&v, m);
        if (m->given > 0) check_late(&v, m);
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
