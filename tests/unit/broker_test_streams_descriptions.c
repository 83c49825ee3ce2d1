// SPDX-License-Identifier: Apache-2.0
// Topology descriptions of streams groups (KIP-1331): who is asked and when, what is kept and told, restarts, refusals, deletion.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "broker/broker.h"
#include "broker/groups.h"
#include "broker/kafka_error.h"
#include "broker/store.h"
#include "broker/streams_group.h"
#include "unit/broker_fixture.h"

struct call {
    struct fixture *f;
    union {
        struct group_call call;
        struct streams_heartbeat heartbeat;
        struct streams_describe describe;
        struct streams_description description;
        struct group_delete delete;
    };
    struct arena arena;
    struct loop_event event;
    void (*fn)(struct call *c);
};

#include "unit/group_call.h"

static int run(struct call *c, struct fixture *f, void (*fn)(struct call *c)) { return call_run(c, f, f->loops[1], fn); }
static void do_heartbeat(struct call *c) { group_streams_heartbeat(c->f->broker, &c->heartbeat); }
static void do_describe(struct call *c) { group_streams_describe(c->f->broker, &c->describe); }
static void do_description(struct call *c) { group_streams_description(c->f->broker, &c->description); }
static void do_delete(struct call *c) { group_delete(c->f->broker, &c->delete); }

static int setup(void **state) {
    int rc = fixture_setup(state);
    struct fixture *f = *state;
    f->descriptions = true;
    fixture_restart(f, true);
    return rc;
}

// Whether the member is asked for the description. Epoch 0: it joins, with a topology of this epoch.
static bool asked(struct fixture *f, const char *member, int32_t *epoch, int32_t topology_epoch, bool knows) {
    static const char *const in[] = {"in"};
    const struct streams_subtopology sub = {.id = "0", .sources = in, .n_sources = 1};
    const struct streams_topology t = {.epoch = topology_epoch, .subtopologies = &sub, .n_subtopologies = 1};
    struct call c = {.heartbeat = {.group_id = "app", .member_id = member, .member_epoch = *epoch, .knows_descriptions = knows}};
    c.heartbeat.client_id = c.heartbeat.client_host = "";
    c.heartbeat.rebalance_timeout_ms = *epoch == 0 ? 60000 : -1;
    c.heartbeat.topology = *epoch == 0 ? &t : NULL;
    c.heartbeat.owned.given = *epoch == 0;
    assert_int_equal(run(&c, f, do_heartbeat), 0);
    *epoch = c.heartbeat.out_member_epoch;
    bool said = c.heartbeat.description_required;
    arena_fini(&c.arena);
    return said;
}

static int push(struct fixture *f, const char *group, const char *member, int32_t epoch, struct str description, const char *fault, const char *message) {
    struct call c = {.description = {.group_id = group, .member_id = member, .topology_epoch = epoch, .description = description, .fault = fault}};
    int error = run(&c, f, do_description);
    if (message != NULL) assert_string_equal(c.call.message, message);
    arena_fini(&c.arena);
    return error;
}

static void check_described(struct fixture *f, enum streams_description_status status, const char *text) {
    struct call c = {.describe = {.group_id = "app", .with_description = true}};
    assert_int_equal(run(&c, f, do_describe), 0);
    assert_int_equal(c.describe.description_status, status);
    if (text != NULL) assert_true(str_eqc(c.describe.description, text));
    arena_fini(&c.arena);
    c.describe.with_description = false;
    assert_int_equal(run(&c, f, do_describe), 0);
    assert_int_equal(c.describe.description_status, STREAMS_DESCRIPTION_NOT_REQUESTED);
    arena_fini(&c.arena);
}

static int delete(struct fixture *f) {
    struct call c = {.delete = {.group_id = "app"}};
    int error = run(&c, f, do_delete);
    arena_fini(&c.arena);
    return error;
}

static void test_kept(void **state) {
    struct fixture *f = *state;
    int32_t a = 0, b = 0, old = 0;
    assert_false(asked(f, "old", &old, 3, false)); // speaks version 0
    assert_true(asked(f, "a", &a, 3, true));
    assert_false(asked(f, "a", &a, 3, true)); // one at a time
    assert_false(asked(f, "b", &b, 3, true));
    check_described(f, STREAMS_DESCRIPTION_NOT_STORED, NULL);
    assert_int_equal(push(f, "app", "b", 3, STR("first"), NULL, ""), 0); // whoever comes
    check_described(f, STREAMS_DESCRIPTION_AVAILABLE, "first");
    assert_int_equal(push(f, "app", "a", 3, STR("second"), NULL, ""), 0);
    check_described(f, STREAMS_DESCRIPTION_AVAILABLE, "second");
    assert_int_equal(store_count(broker_store(f->broker), STORE_TOPOLOGY_DESCRIPTION), 1);
    fixture_restart(f, false);
    check_described(f, STREAMS_DESCRIPTION_AVAILABLE, "second");
    assert_false(asked(f, "a", &a, 3, true)); // it is there
    f->descriptions = false;
    fixture_restart(f, true);
    check_described(f, STREAMS_DESCRIPTION_NOT_STORED, NULL);
    assert_int_equal(push(f, "app", "a", 3, STR("x"), NULL, "The broker has no streams group topology description plugin configured."), KAFKA_UNSUPPORTED_VERSION);
}

static void test_refused(void **state) {
    struct fixture *f = *state;
    int32_t a = 0;
    assert_true(asked(f, "a", &a, 3, true));
    assert_int_equal(push(f, "app", "", 3, STR("x"), NULL, "MemberId can't be empty."), KAFKA_INVALID_REQUEST);
    assert_int_equal(push(f, "", "a", 3, STR("x"), NULL, "GroupId can't be empty."), KAFKA_INVALID_REQUEST);
    assert_int_equal(push(f, "none", "a", 3, STR("x"), NULL, "Group none not found."), KAFKA_GROUP_ID_NOT_FOUND);
    assert_int_equal(push(f, "app", "z", 3, STR("x"), NULL, "Member z is not a member of group app."), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(push(f, "app", "a", 4, STR("x"), NULL, "Topology epoch 4 does not match the group's current topology epoch 3."), KAFKA_INVALID_REQUEST);
    assert_int_equal(push(f, "app", "a", 3, STR("x"), "Unknown topology node type: 9", "Unknown topology node type: 9"), KAFKA_INVALID_REQUEST);
    check_described(f, STREAMS_DESCRIPTION_NOT_STORED, NULL);
    char *large = mem_zalloc(STREAMS_DESCRIPTION_MAX + 1);
    assert_int_equal(push(f, "app", "a", 3, str_n(large, STREAMS_DESCRIPTION_MAX + 1), NULL, "The topology description has 1000001 bytes, more than 1000000."),
                     KAFKA_STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED);
    check_described(f, STREAMS_DESCRIPTION_NOT_STORED, NULL);
    fixture_restart(f, false); // no wait is left, and still nobody is asked: it is refused for good
    assert_false(asked(f, "a", &a, 3, true));
    assert_int_equal(push(f, "app", "a", 3, str_n(large, STREAMS_DESCRIPTION_MAX), NULL, ""), 0); // as long as may be
    check_described(f, STREAMS_DESCRIPTION_AVAILABLE, NULL);
    mem_free(large);
}

static void forget(struct fixture *f) {
    const struct store_change change = {.kind = STORE_TOPOLOGY_DESCRIPTION, .key = STR("app"), .remove = true};
    assert_int_equal(store_apply(broker_store(f->broker), &change, 1, NULL), ERR_OK);
}

static void test_deleted(void **state) {
    struct fixture *f = *state;
    int32_t a = 0;
    assert_true(asked(f, "a", &a, 3, true));
    assert_int_equal(push(f, "app", "a", 3, STR("first"), NULL, ""), 0);
    assert_int_equal(delete(f), KAFKA_NON_EMPTY_GROUP);
    check_described(f, STREAMS_DESCRIPTION_AVAILABLE, "first");
    forget(f); // it got lost: the next describe finds out, and a member is asked anew
    check_described(f, STREAMS_DESCRIPTION_NOT_STORED, NULL);
    assert_true(asked(f, "a", &a, 3, true));
    assert_int_equal(push(f, "app", "a", 3, STR("second"), NULL, ""), 0);
    forget(f); // the same over a restart
    fixture_restart(f, false);
    assert_true(asked(f, "a", &a, 3, true));
    assert_int_equal(push(f, "app", "a", 3, STR("third"), NULL, ""), 0);
    a = -1;
    assert_false(asked(f, "a", &a, 3, true)); // leaves
    check_described(f, STREAMS_DESCRIPTION_AVAILABLE, "third");
    assert_int_equal(delete(f), 0);
    assert_int_equal(store_count(broker_store(f->broker), STORE_TOPOLOGY_DESCRIPTION), 0);
    const struct store_change orphan = {STORE_TOPOLOGY_DESCRIPTION, STR("gone"), STR("\0\0\0\3text"), false};
    assert_int_equal(store_apply(broker_store(f->broker), &orphan, 1, NULL), ERR_OK);
    fixture_restart(f, false);
    fixture_restart(f, true); // closing waits for what the start has begun
    assert_int_equal(store_count(broker_store(f->broker), STORE_TOPOLOGY_DESCRIPTION), 0);
    int32_t b = 0; // under the same name, as if it had never been
    assert_true(asked(f, "b", &b, 3, true));
    check_described(f, STREAMS_DESCRIPTION_NOT_STORED, NULL);
}

static void test_waits(void **state) {
    (void)state;
    struct streams_asking a = {.epoch = -1};
    int64_t now = 1000, wait = 30 * 1000;
    for (int i = 0; i < 12; i++) { // twice as long each time, an hour at most
        assert_true(streams_asking_due(&a, 3, now));
        assert_false(streams_asking_due(&a, 3, now + wait - 1));
        now += wait;
        wait = wait * 2 > 3600 * 1000 ? 3600 * 1000 : wait * 2;
    }
    assert_true(streams_asking_due(&a, 4, now)); // another topology begins anew
    assert_false(streams_asking_due(&a, 4, now + 29999));
    streams_asking_put_off(&a, 3, now + 29999); // late news of the one before
    assert_true(streams_asking_due(&a, 4, now + 30000));
    streams_asking_put_off(&a, 4, now + 30000); // it was sent, and could not be kept
    assert_false(streams_asking_due(&a, 4, now + 30000 + 119999));
    assert_true(streams_asking_due(&a, 4, now + 30000 + 120000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits),
        cmocka_unit_test_setup_teardown(test_kept, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_deleted, setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
