// SPDX-License-Identifier: Apache-2.0
// The dead-letter queue of share groups: what comes there and with which headers, what a restart has cut short, queues that may not be used.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "broker/broker.h"
#include "broker/dynamic.h"
#include "broker/features.h"
#include "broker/kafka_error.h"
#include "broker/share.h"
#include "log/batch.h"
#include "unit/broker_fixture.h"
#include "unit/share_client.h"

enum { PATIENCE_S = 60 }; // until a test takes it that what it waits for does not come

static void make_topic(struct fixture *f, const char *name, const struct broker_kv *configs, size_t n, uint8_t id[16]) {
    struct broker_topic_info info;
    struct arena a;
    arena_init(&a);
    assert_int_equal(broker_topic_create(f->broker, name, 1, configs, n, false, &info, &a, NULL), ERR_OK);
    if (id != NULL) memcpy(id, info.id, 16);
    arena_fini(&a);
}

static void put(struct fixture *f, int n) { // one batch: key k0 and value v0, and so on; every third has no value
    struct broker_record r[16] = {0};
    char keys[16][16], values[16][16];
    for (int i = 0; i < n; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "k%d", i);
        (void)snprintf(values[i], sizeof values[i], "v%d", i);
        r[i] = (struct broker_record){.key = str_c(keys[i]), .value = str_c(values[i]), .value_null = i % 3 == 2, .timestamp_ms = -1};
    }
    assert_int_equal(broker_append(f->broker, "t", 0, r, (size_t)n, NULL, NULL), ERR_OK);
}

static void set(struct fixture *f, enum broker_resource kind, const char *name, const char *config, const char *value) {
    struct broker_kv kv = {config, value};
    assert_int_equal(broker_resource_alter(f->broker, kind, str_c(name), &kv, 1, false, NULL), ERR_OK);
}

static const struct broker_kv enabled = {"errors.deadletterqueue.group.enable", "true"};

// A member that has joined, with six records acquired.
static struct share_client member(struct fixture *f, const char *queue) {
    struct share_client c = {.broker = f->broker, .loop = f->loops[1], .group = "g", .member = "m1", .topic = "t", .connection = 1};
    make_topic(f, "t", NULL, 0, c.topic_id);
    set(f, RESOURCE_GROUP, "g", "errors.deadletterqueue.topic.name", queue);
    set(f, RESOURCE_GROUP, "g", "share.auto.offset.reset", "earliest");
    set(f, RESOURCE_GROUP, "g", "share.delivery.count.limit", "2");
    assert_int_equal(share_client_heartbeat(&c, 0, true), 0);
    put(f, 6);
    assert_int_equal(share_client_fetch(&c, 0, 6, false, 10000), 0);
    assert_int_equal(c.records, 6);
    return c;
}

static void wait_for_done(struct share_client *c, int64_t records) { // of six: acknowledged or archived, durably
    struct share_offset o = {.topic = "t", .lag = -1};
    for (time_t from = time(NULL); o.lag != 6 - records && time(NULL) < from + PATIENCE_S;) assert_int_equal(share_client_offsets(c, SHARE_OFFSETS_DESCRIBE, &o), 0);
    assert_int_equal(o.lag, 6 - records);
}

struct seen {
    int64_t offset;
    char text[200]; // key=value, then the headers
};

static size_t read_queue(struct fixture *f, const char *queue, struct seen *out, size_t max) {
    struct buf data = {0};
    struct batch b;
    size_t n = 0;
    assert_int_equal(broker_read(f->broker, queue, 0, 0, 1 << 20, &data, NULL, NULL), ERR_OK);
    for (size_t at = 0; at < data.n; at += b.size) {
        struct batch_iter it;
        struct batch_record r;
        assert_int_equal(batch_read(data.p + at, data.n - at, &b), BATCH_OK);
        assert_int_equal(batch_iter_init(&it, &b, 0, NULL), ERR_OK);
        while (batch_iter_next(&it, &r, NULL) == 1) {
            struct batch_header h;
            assert_true(n < max);
            struct seen *s = &out[n++];
            int len = snprintf(s->text, sizeof s->text, "%.*s=%.*s", r.key_null ? 4 : (int)r.key.n, r.key_null ? "none" : r.key.p, r.value_null ? 4 : (int)r.value.n,
                               r.value_null ? "none" : r.value.p);
            for (struct str rest = r.headers; batch_header_next(&rest, &h);) {
                assert_memory_equal(h.key.p, "__dlq.errors.", 13);
                len += snprintf(s->text + len, sizeof s->text - (size_t)len, " %.*s:%.*s", (int)h.key.n - 13, h.key.p + 13, (int)h.value.n, h.value.p);
                if (str_eqc(h.key, "__dlq.errors.offset")) assert_true(str_to_i64(h.value, &s->offset));
            }
        }
        batch_iter_fini(&it);
    }
    buf_fini(&data);
    return n;
}

static void rejected_records_go_to_the_queue(void **state) {
    struct fixture *f = *state;
    struct seen seen[20];
    make_topic(f, "dlq.q", &enabled, 1, NULL);
    struct share_client c = member(f, "dlq.q");
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 1, SHARE_REJECT), 0);
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 0, SHARE_ACCEPT), KAFKA_INVALID_RECORD_STATE);
    wait_for_done(&c, 2);
    assert_int_equal(share_client_acknowledge(&c, 0, 2, 2, SHARE_GAP), 0); // there is no such record: nothing to bury
    assert_int_equal(share_client_acknowledge(&c, 0, 3, 3, SHARE_ACCEPT), 0);
    assert_int_equal(share_client_acknowledge(&c, 0, 4, 4, SHARE_REJECT), 0);
    wait_for_done(&c, 5);
    assert_int_equal(read_queue(f, "dlq.q", seen, 20), 3);
    assert_string_equal(seen[1].text, "none=none topic:t partition:0 offset:1 group:g delivery.count:1 message:Offset rejected by client.");
    assert_int_equal(seen[2].offset, 4);
}

static void the_last_delivery_ends_in_the_queue(void **state) {
    struct fixture *f = *state;
    struct seen seen[20];
    make_topic(f, "dlq.q", &enabled, 1, NULL);
    struct share_client c = member(f, "dlq.q");
    set(f, RESOURCE_GROUP, "g", "errors.deadletterqueue.copy.record.enable", "true");
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 5, SHARE_RELEASE), 0);
    int64_t got = 0;
    while (got < 6) { // the second delivery is the last
        assert_int_equal(share_client_fetch(&c, 0, 6, false, 10000), 0);
        for (size_t i = 0; i < c.n_acquired; i++) got += c.acquired[i].last - c.acquired[i].first + 1;
    }
    assert_int_equal(share_client_acknowledge(&c, 0, 1, 1, SHARE_ACCEPT), 0);
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 0, SHARE_RELEASE), 0);
    assert_int_equal(share_client_leave_session(&c), 0); // gives the others back
    wait_for_done(&c, 6);
    assert_int_equal(read_queue(f, "dlq.q", seen, 20), 5);
    assert_string_equal(seen[0].text, "k0=v0 topic:t partition:0 offset:0 group:g delivery.count:2 message:Offset delivery count exceeded the threshold.");
    assert_string_equal(seen[1].text, "k2=none topic:t partition:0 offset:2 group:g delivery.count:2 message:Offset delivery count exceeded the threshold.");
    assert_int_equal(seen[4].offset, 5);
}

static void plant(struct share_client_call *x) { share_state(x->broker, x->arg); }

// As a broker that ended between the acknowledgement and the dead letter leaves it.
static void what_was_cut_short_is_done_at_the_next_fetch(void **state) {
    struct fixture *f = *state;
    struct seen seen[20];
    struct share_client_call x;
    make_topic(f, "dlq.q", &enabled, 1, NULL);
    struct share_client c = member(f, "dlq.q");
    struct share_range range = {.first = 1, .last = 2, .count = 1, .state = SHARE_ARCHIVING};
    struct share_state_part part = {.state_epoch = -1, .leader_epoch = -1, .start = 0, .ranges = &range, .n_ranges = 1};
    struct share_state s = {.kind = SHARE_STATE_WRITE, .group_id = "g", .parts = &part, .n_parts = 1};
    memcpy(part.topic_id, c.topic_id, 16);
    share_client_go(&c, &x, &s.call, plant, &s);
    assert_int_equal(share_client_end(&c, &x), 0);
    assert_int_equal(part.error, 0);
    arena_fini(&x.arena);
    fixture_restart(f, false);
    c.broker = f->broker;
    c.session = 0;
    assert_int_equal(share_client_fetch(&c, 0, 6, false, 10000), 0);
    for (size_t i = 0; i < c.n_acquired; i++) assert_true(c.acquired[i].last < 1 || c.acquired[i].first > 2);
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 0, SHARE_ACCEPT), 0);
    wait_for_done(&c, 3);
    assert_int_equal(read_queue(f, "dlq.q", seen, 20), 2);
    assert_string_equal(seen[0].text, "none=none topic:t partition:0 offset:1 group:g delivery.count:1 message:Offset rejected by client.");
}

static void a_queue_that_may_not_be_used_stops_nobody(void **state) {
    struct fixture *f = *state;
    struct broker_topic_info info;
    struct seen seen[20];
    struct arena a;
    arena_init(&a);
    make_topic(f, "elsewhere", &enabled, 1, NULL); // not by its name
    make_topic(f, "dlq.off", NULL, 0, NULL);       // not by its config
    struct share_client c = member(f, "elsewhere");
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 0, SHARE_REJECT), 0);
    wait_for_done(&c, 1);
    set(f, RESOURCE_GROUP, "g", "errors.deadletterqueue.topic.name", "dlq.off");
    assert_int_equal(share_client_acknowledge(&c, 0, 1, 1, SHARE_REJECT), 0);
    wait_for_done(&c, 2);
    set(f, RESOURCE_GROUP, "g", "errors.deadletterqueue.topic.name", "dlq.new"); // not there, and not to be made
    assert_int_equal(share_client_acknowledge(&c, 0, 2, 2, SHARE_REJECT), 0);
    wait_for_done(&c, 3);
    assert_false(broker_topic_get(f->broker, STR("dlq.new"), &a, &info));
    assert_int_equal(read_queue(f, "elsewhere", seen, 20) + read_queue(f, "dlq.off", seen, 20), 0);
    set(f, RESOURCE_BROKER_DEFAULT, "", "errors.deadletterqueue.auto.create.topics.enable", "true");
    assert_int_equal(share_client_acknowledge(&c, 0, 3, 3, SHARE_REJECT), 0);
    wait_for_done(&c, 4);
    assert_int_equal(read_queue(f, "dlq.new", seen, 20), 1);
    set(f, RESOURCE_BROKER_DEFAULT, "", "errors.deadletterqueue.topic.name.prefix", "else");
    set(f, RESOURCE_GROUP, "g", "errors.deadletterqueue.topic.name", "elsewhere");
    assert_int_equal(share_client_acknowledge(&c, 0, 4, 4, SHARE_REJECT), 0);
    wait_for_done(&c, 5);
    assert_int_equal(read_queue(f, "elsewhere", seen, 20), 1);
    arena_fini(&a);
}

static void below_share_version_2_there_are_none(void **state) {
    struct fixture *f = *state;
    struct seen seen[20];
    make_topic(f, "dlq.q", &enabled, 1, NULL);
    struct share_client c = member(f, "dlq.q");
    const struct broker_feature_update lower = {STR("share.version"), 1, FEATURE_SAFE_DOWNGRADE}, higher = {STR("share.version"), 2, FEATURE_UPGRADE};
    assert_int_equal(broker_features_update(f->broker, &lower, 1, false, NULL), ERR_OK);
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 0, SHARE_REJECT), 0);
    wait_for_done(&c, 1);
    assert_int_equal(read_queue(f, "dlq.q", seen, 20), 0);
    assert_int_equal(broker_features_update(f->broker, &higher, 1, false, NULL), ERR_OK);
    assert_int_equal(share_client_acknowledge(&c, 0, 1, 1, SHARE_REJECT), 0);
    wait_for_done(&c, 2);
    assert_int_equal(read_queue(f, "dlq.q", seen, 20), 1);
    assert_int_equal(seen[0].offset, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rejected_records_go_to_the_queue, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(the_last_delivery_ends_in_the_queue, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_was_cut_short_is_done_at_the_next_fetch, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(below_share_version_2_there_are_none, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_queue_that_may_not_be_used_stops_nobody, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
