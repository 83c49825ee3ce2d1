// SPDX-License-Identifier: Apache-2.0
// Share groups over the real loops: members and assignment, share sessions, acquiring and acknowledging, state that outlives a restart, locks
// that run out, offsets for administrators, transactions that were aborted.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/metrics.h"
#include "broker/broker.h"
#include "broker/dynamic.h"
#include "broker/kafka_error.h"
#include "broker/share.h"
#include "unit/broker_fixture.h"
#include "unit/share_client.h"

static void make_topic(struct fixture *f, const char *name, int32_t partitions, uint8_t id[16]) {
    struct broker_topic_info info;
    struct arena a;
    arena_init(&a);
    assert_int_equal(broker_topic_create(f->broker, name, partitions, NULL, 0, false, &info, &a, NULL), ERR_OK);
    memcpy(id, info.id, 16);
    arena_fini(&a);
}

static void put(struct fixture *f, const char *topic, int32_t partition, int n) { // one batch
    struct broker_record r[64] = {0};
    for (int i = 0; i < n; i++) r[i] = (struct broker_record){.value = STR("value"), .key_null = true, .timestamp_ms = -1};
    assert_int_equal(broker_append(f->broker, topic, partition, r, (size_t)n, NULL, NULL), ERR_OK);
}

static void put_value(struct fixture *f, const char *topic, int32_t partition, struct str value) {
    struct broker_record r = {.value = value, .key_null = true, .timestamp_ms = -1};
    assert_int_equal(broker_append(f->broker, topic, partition, &r, 1, NULL, NULL), ERR_OK);
}

static struct share_client client(struct fixture *f, const char *group, const char *member, const char *topic, const uint8_t id[16]) {
    struct share_client c = {.broker = f->broker, .loop = f->loops[1], .group = group, .member = member, .topic = topic, .connection = 1};
    memcpy(c.topic_id, id, 16);
    return c;
}

// A member that has joined and whose session reads partition 0; the group begins at the log's end.
static struct share_client joined(struct fixture *f, const char *member, const uint8_t id[16]) {
    struct share_client c = client(f, "g", member, "t", id);
    assert_int_equal(share_client_heartbeat(&c, 0, true), 0);
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 0), 0);
    return c;
}

static void acknowledged_never_comes_again(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    struct share_client c = joined(f, "m1", id);
    assert_int_equal(c.n_assigned, 1);
    put(f, "t", 0, 10);
    put(f, "t", 0, 10);
    assert_int_equal(share_client_fetch(&c, 0, 20, false, 1000), 0);
    assert_int_equal(c.records, 20);
    assert_true(c.bytes > 100);
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 4, SHARE_ACCEPT), 0);
    assert_int_equal(share_client_acknowledge(&c, 0, 5, 7, SHARE_RELEASE), 0);
    assert_int_equal(share_client_acknowledge(&c, 0, 8, 9, SHARE_REJECT), 0);
    assert_int_equal(share_client_acknowledge(&c, 0, 8, 9, SHARE_ACCEPT), KAFKA_INVALID_RECORD_STATE);
    fixture_restart(f, false); // 10 to 19 were acquired by nobody who is left
    c.broker = f->broker;
    assert_int_equal(share_client_fetch(&c, 0, 20, false, 0), KAFKA_SHARE_SESSION_NOT_FOUND);
    c.session = 0;
    assert_int_equal(share_client_fetch(&c, 0, 100, false, 1000), 0);
    int64_t seen = 0;
    for (size_t i = 0; i < c.n_acquired; i++) {
        assert_true(c.acquired[i].first >= 5 && !(c.acquired[i].first <= 9 && c.acquired[i].last >= 8));
        assert_int_equal(c.acquired[i].count, c.acquired[i].first < 8 ? 2 : 1);
        seen += c.acquired[i].last - c.acquired[i].first + 1;
    }
    assert_int_equal(seen, 13);
    assert_int_equal(share_client_heartbeat(&c, c.epoch, false), 0); // members outlive it too
}

// Of a group that begins at the log's end: what was given and not acknowledged, and what came after it had begun.
static void a_group_begins_once(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    put(f, "t", 0, 5);
    struct share_client c = joined(f, "m1", id);
    put(f, "t", 0, 10);
    assert_int_equal(share_client_fetch(&c, 0, 100, false, 20000), 0);
    assert_int_equal(c.records, 10);
    fixture_restart(f, false);
    c.broker = f->broker;
    c.session = 0;
    assert_int_equal(share_client_fetch(&c, 0, 100, false, 20000), 0);
    assert_int_equal(c.records, 10);
    assert_int_equal(c.acquired[0].first, 5);
    struct share_offset o = {.topic = "t"};
    assert_int_equal(share_client_offsets(&c, SHARE_OFFSETS_DESCRIBE, &o), 0);
    assert_true(o.start == -1 && o.lag == -1); // administrators see it when something was acknowledged, as in Kafka
    assert_int_equal(share_client_leave_session(&c), 0); // the last one: nothing of the group stays in memory
    put(f, "t", 0, 1);
    assert_int_equal(share_client_fetch(&c, 0, 100, false, 20000), 0);
    assert_int_equal(c.acquired[0].first, 5);
    assert_int_equal(share_client_acknowledge(&c, 0, 5, 6, SHARE_ACCEPT), 0);
    assert_int_equal(share_client_offsets(&c, SHARE_OFFSETS_DESCRIBE, &o), 0);
    assert_true(o.start == 5 && o.lag == 9); // the start as it was when that was written
}

// Nothing was given: it is the fetch that made it begin.
static void a_group_that_got_nothing_yet_has_begun(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    struct share_client c = joined(f, "m1", id);
    assert_int_equal(share_client_leave_session(&c), 0);
    put(f, "t", 0, 3);
    assert_int_equal(share_client_fetch(&c, 0, 100, false, 20000), 0);
    assert_int_equal(c.records, 3);
}

static void snapshots_and_updates_say_the_same(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    struct share_client c = joined(f, "m1", id);
    put(f, "t", 0, 40);
    assert_int_equal(share_client_fetch(&c, 0, 40, false, 1000), 0);
    for (int64_t at = 0; at < 40; at += 2) { // every second record: as many ranges, and several snapshots
        assert_int_equal(share_client_acknowledge(&c, 0, at, at, SHARE_ACCEPT), 0);
        if (at % 12 != 0) continue;
        fixture_restart(f, at % 24 == 0);
        c.broker = f->broker;
        c.session = 0;
        assert_int_equal(share_client_fetch(&c, 0, 40, false, 1000), 0);
        assert_int_equal(c.records, 40 - at / 2 - 1);
    }
}

static void sessions_have_epochs(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    struct share_client c = joined(f, "m1", id);
    c.session = 7;
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 0), KAFKA_INVALID_SHARE_SESSION_EPOCH);
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 0, SHARE_ACCEPT), KAFKA_INVALID_SHARE_SESSION_EPOCH);
    c.session = 1;
    put(f, "t", 0, 3);
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 1000), 0);
    assert_int_equal(c.records, 3);
    assert_int_equal(share_client_leave_session(&c), 0);
    assert_int_equal(share_client_leave_session(&c), KAFKA_SHARE_SESSION_NOT_FOUND);
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 1000), 0); // what the session held is there again
    assert_int_equal(c.records, 3);
    assert_int_equal(c.acquired[0].count, 2);
    share_connection_closed(f->broker, 1);
    struct share_client other = joined(f, "m2", id);
    if (other.records == 0) assert_int_equal(share_client_fetch(&other, 0, 10, false, 20000), 0); // it was on its way still
    assert_int_equal(other.records, 3);
}

struct poll {
    struct share_client *c;
    int error;
    struct loop_event done;
};
static void poll_work(void *arg) { // on a worker: it blocks
    struct poll *p = arg;
    p->error = share_client_fetch(p->c, 0, 10, true, 20000);
    loop_event_set(&p->done);
}

static void a_poll_waits_for_records(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    f->share_lock_ms = "1000";
    fixture_restart(f, true);
    make_topic(f, "t", 1, id);
    struct share_client c = joined(f, "m1", id);
    struct poll p = {.c = &c};
    loop_event_init(&p.done);
    struct pool *pool = pool_new("poll", 1, 10);
    assert_int_equal(pool_submit(pool, poll_work, &p, NULL), ERR_OK);
    put(f, "t", 0, 12);
    loop_event_wait(&p.done);
    assert_int_equal(p.error, 0);
    assert_int_equal(c.records, 10); // record_limit: no more than asked for
    loop_event_fini(&p.done);
    // a second member gets what is left, and, when the locks run out, the rest
    struct share_client d = client(f, "g", "m2", "t", id);
    int64_t again = 0;
    assert_int_equal(share_client_heartbeat(&d, 0, true), 0);
    for (int rounds = 0; again < 10 && rounds < 50; rounds++) {
        assert_int_equal(share_client_fetch(&d, 0, 100, true, 20000), 0);
        for (size_t i = 0; i < d.n_acquired; i++)
            if (d.acquired[i].first < 10 && d.acquired[i].count >= 2) again += d.acquired[i].last - d.acquired[i].first + 1;
    }
    assert_true(again >= 10); // more when a lock ran out once more meanwhile
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 9, SHARE_ACCEPT), KAFKA_INVALID_RECORD_STATE); // too late
    pool_free(pool);
}

static void partitions_are_shared_evenly(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    char names[7][16];
    struct share_client c[7];
    make_topic(f, "t", 4, id);
    for (int i = 0; i < 7; i++) {
        (void)snprintf(names[i], sizeof names[i], "m%d", i);
        c[i] = client(f, "g", names[i], "t", id);
        assert_int_equal(share_client_heartbeat(&c[i], 0, true), 0);
        int readers[4] = {0}, n = i + 1;
        for (int k = 0; k < n; k++) {
            assert_int_equal(share_client_heartbeat(&c[k], c[k].epoch, false), 0);
            assert_in_range(c[k].n_assigned, n <= 4 ? 4 / n : 1, n <= 4 ? (4 + n - 1) / n : 1);
            for (size_t p = 0; p < c[k].n_assigned; p++) readers[c[k].assigned[p]]++;
        }
        for (int p = 0; p < 4; p++) assert_in_range(readers[p], n <= 4 ? 1 : n / 4, n <= 4 ? 1 : (n + 3) / 4);
    }
    assert_int_equal(share_client_heartbeat(&c[0], c[0].epoch + 5, false), KAFKA_FENCED_MEMBER_EPOCH);
    assert_int_equal(share_client_heartbeat(&c[0], -1, false), 0);
    assert_int_equal(share_client_heartbeat(&c[0], 3, false), KAFKA_UNKNOWN_MEMBER_ID);
    struct share_client none = client(f, "other", "m", "t", id);
    assert_int_equal(share_client_heartbeat(&none, 3, false), KAFKA_GROUP_ID_NOT_FOUND);
}

static void offsets_are_altered_without_members(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    put(f, "t", 0, 10);
    struct share_client c = joined(f, "m1", id); // begins at 10
    struct share_offset o = {.topic = "t", .start = 3};
    assert_int_equal(share_client_offsets(&c, SHARE_OFFSETS_ALTER, &o), KAFKA_NON_EMPTY_GROUP);
    assert_int_equal(share_client_heartbeat(&c, -1, false), 0);
    assert_int_equal(share_client_offsets(&c, SHARE_OFFSETS_ALTER, &o), 0);
    assert_int_equal(o.error, 0);
    o = (struct share_offset){.topic = "t"};
    assert_int_equal(share_client_offsets(&c, SHARE_OFFSETS_DESCRIBE, &o), 0);
    assert_int_equal(o.start, 3);
    assert_int_equal(o.lag, 7);
    struct share_client again = joined(f, "m2", id);
    assert_int_equal(again.records, 7);
    assert_int_equal(again.acquired[0].first, 3);
    assert_int_equal(share_client_acknowledge(&again, 0, 3, 9, SHARE_ACCEPT), 0);
    assert_int_equal(share_client_offsets(&c, SHARE_OFFSETS_DESCRIBE, &o), 0);
    assert_int_equal(o.lag, 0);
    assert_int_equal(share_client_heartbeat(&again, -1, false), 0);
    o = (struct share_offset){.topic = "t"};
    assert_int_equal(share_client_offsets(&c, SHARE_OFFSETS_DELETE, &o), 0);
    assert_int_equal(o.error, 0);
    assert_int_equal(share_client_offsets(&c, SHARE_OFFSETS_DELETE, &o), 0);
    assert_int_equal(o.error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    o.topic = "nowhere";
    assert_int_equal(share_client_offsets(&c, SHARE_OFFSETS_ALTER, &o), 0);
    assert_int_equal(o.error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
}

// As a consumer that closes: it leaves the group, then acknowledges and ends its session.
static void a_session_outlives_its_membership(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    struct share_client c = joined(f, "m1", id);
    put(f, "t", 0, 10);
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 1000), 0);
    assert_int_equal(c.records, 10);
    int32_t session = c.session;
    assert_int_equal(share_client_heartbeat(&c, -1, false), 0);
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 3, SHARE_ACCEPT), 0);
    assert_int_equal(c.session, session + 1);
    assert_int_equal(share_client_leave_session(&c), 0);
    struct share_client d = joined(f, "m2", id);
    if (d.records == 0) assert_int_equal(share_client_fetch(&d, 0, 10, false, 20000), 0);
    assert_int_equal(d.records, 6);
    assert_int_equal(d.acquired[0].first, 4);
    assert_int_equal(d.acquired[0].count, 2);
}

static void do_delete(struct share_client_call *x) { group_delete(x->broker, x->arg); }

// Who joins while a group of that name is being deleted keeps what it is given: the deletion takes only what was before.
static void a_deleted_group_takes_no_others_state_along(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    for (int i = 0; i < 20; i++) {
        struct share_client c = joined(f, "m1", id);
        assert_int_equal(share_client_heartbeat(&c, -1, false), 0);
        struct group_delete d = {.group_id = "g"};
        struct share_client_call x;
        share_client_go(&c, &x, &d.call, do_delete, &d);
        c.connection = 2;
        c.session = 0;
        int error;
        while ((error = share_client_heartbeat(&c, 0, true)) == KAFKA_COORDINATOR_NOT_AVAILABLE) {}
        assert_int_equal(error, 0);
        error = share_client_end(&c, &x);
        arena_fini(&x.arena);
        assert_int_equal(error, 0);
        assert_int_equal(c.n_assigned, 1);
        assert_int_equal(share_client_fetch(&c, 0, 10, false, 0), 0);
        put(f, "t", 0, 3);
        assert_int_equal(share_client_fetch(&c, 0, 10, false, 1000), 0);
        assert_int_equal(c.records, 3);
        assert_int_equal(share_client_acknowledge(&c, 0, c.acquired[0].first, c.acquired[0].last, SHARE_ACCEPT), 0);
        assert_int_equal(share_client_leave_session(&c), 0);
        share_connection_closed(f->broker, 1);
        share_connection_closed(f->broker, 2);
        assert_int_equal(share_client_heartbeat(&c, -1, false), 0);
        share_client_go(&c, &x, &d.call, do_delete, &d);
        assert_int_equal(share_client_end(&c, &x), 0);
        arena_fini(&x.arena);
    }
}

static void a_deleted_topic_takes_its_state_along(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    struct share_client c = joined(f, "m1", id);
    put(f, "t", 0, 5);
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 1000), 0);
    assert_int_equal(broker_topic_delete(f->broker, "t", NULL), ERR_OK);
    assert_int_equal(share_client_acknowledge(&c, 0, 0, 4, SHARE_ACCEPT), KAFKA_UNKNOWN_TOPIC_ID);
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 0), KAFKA_UNKNOWN_TOPIC_ID);
    const struct broker_kv earliest = {"share.auto.offset.reset", "earliest"};
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("g"), &earliest, 1, false, NULL), ERR_OK);
    make_topic(f, "t", 1, id);
    memcpy(c.topic_id, id, 16);
    c.session = 0;
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 0), 0); // at once: no state yet is no error, the group's member subscribes to it
    struct share_client stranger = client(f, "strangers", "m1", "t", id);
    assert_int_equal(share_client_fetch(&stranger, 0, 10, false, 0), KAFKA_UNKNOWN_SERVER_ERROR);
    put(f, "t", 0, 5);
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 1000), 0);
    assert_int_equal(c.records, 5);
}

// The client need not know of it: what asks before the state is there waits for it.
static void a_poll_waits_for_the_state_of_a_topic_made_again(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    const struct broker_kv earliest = {"share.auto.offset.reset", "earliest"};
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("g"), &earliest, 1, false, NULL), ERR_OK);
    struct share_client c = joined(f, "m1", id);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(broker_topic_delete(f->broker, "t", NULL), ERR_OK);
        make_topic(f, "t", 1, id);
        put(f, "t", 0, 4);
        memcpy(c.topic_id, id, 16);
        c.session = 0;
        assert_int_equal(share_client_fetch(&c, 0, 10, false, 20000), 0);
        assert_int_equal(c.records, 4);
    }
}

static size_t fetch_two(struct share_client *c, int32_t *partition) { // how many gave records, and which did last
    struct share_client_call x;
    struct share_request_part parts[2] = {{.partition = 0}, {.partition = 1}};
    struct share_fetch f = {.group_id = c->group, .member_id = c->member, .connection = 1, .session_epoch = c->session++, .max_wait_ms = 20000,
                            .min_bytes = 1, .max_bytes = 1 << 20, .max_records = 100, .batch_size = 100, .parts = parts, .n_parts = 2};
    size_t n = 0;
    memcpy(parts[0].topic_id, c->topic_id, 16);
    memcpy(parts[1].topic_id, c->topic_id, 16);
    share_client_go(c, &x, &f.call, share_client_do_fetch, &f);
    assert_int_equal(share_client_end(c, &x), 0);
    for (size_t i = 0; i < f.n_out; i++) {
        assert_int_equal(f.out[i].error, 0);
        if (f.out[i].acquired.n > 0) n++, *partition = f.out[i].partition;
        buf_fini(&f.out[i].records);
        vec_fini(&f.out[i].acquired);
    }
    arena_fini(&x.arena);
    return n;
}

// Partitions that nobody has read yet come one by one, then together.
static void partitions_are_loaded_one_by_one(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    int32_t first = -1, second = -1;
    make_topic(f, "t", 2, id);
    const struct broker_kv earliest = {"share.auto.offset.reset", "earliest"};
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("g"), &earliest, 1, false, NULL), ERR_OK);
    struct share_client c = client(f, "g", "m1", "t", id);
    assert_int_equal(share_client_heartbeat(&c, 0, true), 0);
    put(f, "t", 0, 3);
    put(f, "t", 1, 3);
    assert_int_equal(fetch_two(&c, &first), 1);
    assert_int_equal(fetch_two(&c, &second), 1);
    assert_int_equal(first + second, 1);
    put(f, "t", 0, 3);
    put(f, "t", 1, 3);
    assert_int_equal(fetch_two(&c, &first), 2);
}

struct many { // a first fetch of many partitions, and what came of it
    size_t bytes;
    int64_t waited_us;
};

static struct many fetch_many(struct share_client *c, int32_t partitions, int32_t wait_ms, int32_t min_bytes, int32_t max_bytes) {
    struct share_client_call x;
    struct share_request_part *parts = mem_zalloc((size_t)partitions * sizeof *parts);
    struct share_fetch f = {.group_id = c->group, .member_id = c->member, .connection = 1, .session_epoch = c->session++, .max_wait_ms = wait_ms,
                            .min_bytes = min_bytes, .max_bytes = max_bytes, .max_records = 100000, .batch_size = 100, .parts = parts};
    struct many out = {.waited_us = sys_mono_us(sys_real())};
    for (; f.n_parts < (size_t)partitions; f.n_parts++) {
        parts[f.n_parts].partition = (int32_t)f.n_parts;
        memcpy(parts[f.n_parts].topic_id, c->topic_id, 16);
    }
    if (f.session_epoch > 0) f.n_parts = 0; // the session has them
    share_client_go(c, &x, &f.call, share_client_do_fetch, &f);
    assert_int_equal(share_client_end(c, &x), 0);
    out.waited_us = sys_mono_us(sys_real()) - out.waited_us;
    for (size_t i = 0; i < f.n_out; i++) {
        assert_int_equal(f.out[i].error, 0);
        out.bytes += f.out[i].records.n;
        buf_fini(&f.out[i].records);
        vec_fini(&f.out[i].acquired);
    }
    arena_fini(&x.arena);
    mem_free(parts);
    return out;
}

// A fetch looks at a partition once, and again only when something has moved there.
static void many_partitions_are_looked_at_once(void **state) {
    enum { PARTS = 300 };
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", PARTS, id);
    const struct broker_kv earliest = {"share.auto.offset.reset", "earliest"};
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("g"), &earliest, 1, false, NULL), ERR_OK);
    struct share_client c = client(f, "g", "m1", "t", id);
    assert_int_equal(share_client_heartbeat(&c, 0, true), 0);
    put(f, "t", 77, 3);
    int64_t before = metric_get(M_SHARE_READS, NULL);
    assert_int_equal(fetch_many(&c, PARTS, 1500, 1 << 20, 50 << 20).bytes > 0, 1); // more than there is: until the time is over
    int64_t reads = metric_get(M_SHARE_READS, NULL) - before;
    assert_in_range(reads, PARTS, PARTS + 2);
    before = metric_get(M_SHARE_READS, NULL);
    assert_int_equal(fetch_many(&c, PARTS, 0, 1, 50 << 20).bytes, 0); // all are loaded: one look
    assert_in_range(metric_get(M_SHARE_READS, NULL) - before, PARTS, PARTS + 2);
}

// min_bytes is held against what the partitions can give, each no more than its share of max_bytes.
static void min_bytes_is_what_can_be_had(void **state) {
    enum { WAIT_MS = 2000000 };
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 3, id);
    const struct broker_kv earliest = {"share.auto.offset.reset", "earliest"};
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("g"), &earliest, 1, false, NULL), ERR_OK);
    struct share_client c = client(f, "g", "m1", "t", id);
    assert_int_equal(share_client_heartbeat(&c, 0, true), 0);
    (void)fetch_many(&c, 3, 0, 1, 1 << 20); // loads them
    for (int32_t p = 0; p < 3; p++)
        for (int i = 0; i < 40; i++) put(f, "t", p, 10); // batches that no share divides
    int64_t size = broker_partition_bytes(f->broker, "t", 0);
    // each gives a third, in whole batches, and min_bytes is all: no waiting for what cannot come
    int32_t max = (int32_t)size;
    struct many got = fetch_many(&c, 3, WAIT_MS, max, max);
    assert_in_range(got.bytes, 1, max);
    // much more than all have: until the time is over, though 2 MiB are read at a time
    got = fetch_many(&c, 3, 300, 40 << 20, 50 << 20);
    assert_true(got.bytes > 0 && got.waited_us >= 300000);
    // a segment behind is enough
    memset(&c, 0, sizeof c);
    c = client(f, "behind", "m1", "t", id);
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_GROUP, STR("behind"), &earliest, 1, false, NULL), ERR_OK);
    assert_int_equal(share_client_heartbeat(&c, 0, true), 0);
    static char big[200000];
    for (int i = 0; i < 8; i++) put_value(f, "t", 1, str_n(big, sizeof big)); // segments are of 1 MiB
    got = fetch_many(&c, 3, WAIT_MS, 40 << 20, 50 << 20);
    assert_true(got.bytes > 0);
}

static void a_fetch_of_no_bytes_gives_nothing_at_once(void **state) {
    struct fixture *f = *state;
    uint8_t id[16];
    make_topic(f, "t", 1, id);
    struct share_client c = joined(f, "m1", id);
    put(f, "t", 0, 3);
    c.max_bytes = -1;
    int64_t began = sys_mono_us(f->sys);
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 600000), 0);
    assert_true(sys_mono_us(f->sys) - began < 300000000);
    assert_int_equal(c.records, 0);
    c.max_bytes = 0;
    assert_int_equal(share_client_fetch(&c, 0, 10, false, 1000), 0);
    assert_int_equal(c.records, 3);
}

static void too_many_sessions_are_refused_after_a_while(void **state) {
    enum { SESSIONS = 8, WAIT_MS = 50 }; // as in the fixture
    struct fixture *f = *state;
    uint8_t id[16];
    char names[SESSIONS][16];
    make_topic(f, "t", 1, id);
    for (int i = 0; i < SESSIONS; i++) {
        (void)snprintf(names[i], sizeof names[i], "m%d", i);
        (void)joined(f, names[i], id);
    }
    struct share_client one = client(f, "g", "one", "t", id), first = client(f, "g", "m0", "t", id);
    int64_t began = sys_mono_us(f->sys);
    assert_int_equal(share_client_fetch(&one, 0, 10, false, WAIT_MS), KAFKA_SHARE_SESSION_LIMIT_REACHED);
    assert_true(sys_mono_us(f->sys) - began >= WAIT_MS * 1000);
    assert_int_equal(share_client_leave_session(&first), 0);
    assert_int_equal(share_client_fetch(&one, 0, 10, false, 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(acknowledged_never_comes_again, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_group_begins_once, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_group_that_got_nothing_yet_has_begun, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(snapshots_and_updates_say_the_same, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(sessions_have_epochs, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_poll_waits_for_records, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(partitions_are_shared_evenly, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(offsets_are_altered_without_members, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_session_outlives_its_membership, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_deleted_topic_takes_its_state_along, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_deleted_group_takes_no_others_state_along, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_poll_waits_for_the_state_of_a_topic_made_again, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(partitions_are_loaded_one_by_one, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(many_partitions_are_looked_at_once, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(min_bytes_is_what_can_be_had, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_fetch_of_no_bytes_gives_nothing_at_once, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(too_many_sessions_are_refused_after_a_while, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
