// SPDX-License-Identifier: Apache-2.0
// The in-flight records of a share-partition: named cases, and random histories against a model that keeps every record for itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "broker/kafka_error.h"
#include "broker/share_runs.h"

enum { LOCK = 1000 };
static const struct share_limits limits = {.max_count = 5, .max_records = 200, .lock_us = LOCK};

static int64_t acquire_one(struct share_runs *r, uint64_t owner, int64_t now, int64_t first, int64_t last, int32_t max, bool exact, share_acquireds *out) {
    struct share_fetched b = {first, last};
    struct share_acquire a = {.owner = owner, .now_us = now, .record_limit = exact, .batch_size = max, .max_records = max, .fetch_offset = first,
                              .batches = &b, .n_batches = 1};
    out->n = 0;
    return share_runs_acquire(r, &a, out);
}

static int ack_one(struct share_runs *r, uint64_t owner, int64_t now, int64_t first, int64_t last, int8_t type, uint64_t *change) {
    struct share_ack a = {first, last, &type, 1};
    share_ranges out = {0};
    const char *why;
    int error = share_runs_acknowledge(r, owner, now, &a, 1, &out, change, &why);
    vec_fini(&out);
    return error;
}

static void whole_batches_stay_whole(void **state) {
    (void)state;
    struct share_runs r;
    share_acquireds got = {0};
    uint64_t change;
    share_runs_init(&r, 0, &limits);
    assert_int_equal(acquire_one(&r, 1, 0, 0, 99, 10, false, &got), 100); // the soft limit: a batch comes whole
    assert_int_equal(got.n, 1);
    assert_int_equal(r.v.n - r.head, 1);
    assert_int_equal(ack_one(&r, 1, 0, 0, 99, SHARE_ACCEPT, &change), 0);
    assert_int_equal(r.v.n - r.head, 1);
    assert_int_equal(r.complete, 100);
    assert_int_equal(ack_one(&r, 1, 0, 0, 99, SHARE_ACCEPT, &change), KAFKA_INVALID_RECORD_STATE); // under way
    share_runs_commit(&r, r.last_change);
    assert_int_equal(r.start, 100);
    assert_int_equal(share_runs_in_flight(&r), 0);
    assert_int_equal(r.complete, 0);
    vec_fini(&got);
    share_runs_fini(&r);
}

static void record_limit_is_exact(void **state) {
    (void)state;
    struct share_runs r;
    share_acquireds got = {0};
    share_runs_init(&r, 0, &limits);
    assert_int_equal(acquire_one(&r, 1, 0, 0, 9, 3, true, &got), 3);
    assert_int_equal(got.p[0].last, 2);
    assert_int_equal(share_runs_next_fetch(&r), 3);
    assert_int_equal(acquire_one(&r, 2, 0, 0, 9, 4, true, &got), 4);
    assert_int_equal(got.p[0].first, 3);
    assert_int_equal(got.p[0].count, 1);
    assert_int_equal(acquire_one(&r, 3, 0, 0, 9, 100, true, &got), 3);
    assert_int_equal(share_runs_next_fetch(&r), 10);
    vec_fini(&got);
    share_runs_fini(&r);
}

static void deliveries_are_counted_and_limited(void **state) {
    (void)state;
    struct share_runs r;
    share_acquireds got = {0};
    share_ranges out = {0};
    uint64_t change;
    share_runs_init(&r, 0, &limits);
    int64_t delivered[4] = {0};
    for (int round = 0; round < 40 && r.start < 4; round++) {
        int64_t n = acquire_one(&r, 1, round * 10000, 0, 3, 100, false, &got);
        assert_true(n > 0);
        for (size_t i = 0; i < got.n; i++)
            for (int64_t o = got.p[i].first; o <= got.p[i].last; o++) assert_int_equal(++delivered[o], got.p[i].count);
        if (round % 2 == 0) {
            assert_int_equal(ack_one(&r, 1, 0, got.p[0].first, got.p[got.n - 1].last, SHARE_RELEASE, &change), 0);
            share_runs_commit(&r, change);
        } else {
            assert_int_equal(share_runs_expire(&r, round * 10000 + LOCK, &out), n);
        }
    }
    assert_int_equal(r.start, 4); // all archived after five deliveries each
    for (int i = 0; i < 4; i++) assert_int_equal(delivered[i], 5);
    vec_fini(&got);
    vec_fini(&out);
    share_runs_fini(&r);
}

static void bad_records_are_isolated(void **state) {
    (void)state;
    struct share_runs r;
    share_acquireds got = {0};
    share_ranges out = {0};
    share_runs_init(&r, 0, &limits);
    int64_t sizes[8];
    for (int i = 0; i < 5; i++) {
        sizes[i] = acquire_one(&r, 1, i * 10000, 0, 99, 100, false, &got);
        (void)share_runs_expire(&r, i * 10000 + LOCK, &out);
    }
    assert_int_equal(sizes[0], 100);
    assert_int_equal(sizes[2], 100); // delivered twice so far
    assert_int_equal(sizes[3], 50);  // half of the batch
    assert_int_equal(sizes[4], 1);   // the last delivery: alone
    assert_int_equal(r.start, 1);
    vec_fini(&got);
    vec_fini(&out);
    share_runs_fini(&r);
}

static void errors_are_kafkas(void **state) {
    (void)state;
    struct share_runs r;
    share_acquireds got = {0};
    uint64_t change;
    share_runs_init(&r, 10, &limits);
    (void)acquire_one(&r, 1, 0, 10, 19, 100, false, &got);
    assert_int_equal(ack_one(&r, 2, 0, 10, 19, SHARE_ACCEPT, &change), KAFKA_INVALID_RECORD_STATE); // not the owner
    assert_int_equal(ack_one(&r, 1, 0, 10, 20, SHARE_ACCEPT, &change), KAFKA_INVALID_REQUEST);      // behind all
    assert_int_equal(ack_one(&r, 1, 0, 20, 20, SHARE_ACCEPT, &change), KAFKA_INVALID_REQUEST);
    assert_int_equal(ack_one(&r, 1, 0, 0, 9, SHARE_ACCEPT, &change), 0); // below the start: archived already
    assert_int_equal(change, 0);
    assert_int_equal(ack_one(&r, 1, 0, 10, 19, 5, &change), KAFKA_INVALID_REQUEST);
    assert_int_equal(ack_one(&r, 1, 500, 12, 13, SHARE_RENEW, &change), 0);
    assert_int_equal(change, 0);
    share_ranges out = {0};
    assert_int_equal(share_runs_expire(&r, LOCK, &out), 8); // the renewed two are held on
    assert_int_equal(share_runs_expire(&r, LOCK + 500, &out), 2);
    vec_fini(&out);
    vec_fini(&got);
    share_runs_fini(&r);
}

static void gaps_and_compaction(void **state) {
    (void)state;
    struct share_runs r;
    share_acquireds got = {0};
    share_ranges out = {0};
    share_runs_init(&r, 0, &limits);
    const struct share_range stored[] = {{2, 3, 1, SHARE_ACKNOWLEDGED}, {6, 9, 2, SHARE_AVAILABLE}};
    assert_true(share_runs_load(&r, stored, 2));
    assert_int_equal(r.start, 0);
    assert_int_equal(r.complete, 2);
    assert_int_equal(share_runs_next_fetch(&r), 0);
    assert_int_equal(acquire_one(&r, 1, 0, 0, 9, 100, false, &got), 8);
    assert_int_equal(got.n, 3);
    assert_int_equal(got.p[0].count, 1);
    assert_int_equal(got.p[2].count, 3);
    (void)share_runs_expire(&r, LOCK, &out);
    // 0 to 5 are gone from the log: a read at 0 begins at 6
    struct share_fetched b = {6, 9};
    struct share_acquire a = {.owner = 1, .now_us = 5000, .batch_size = 10, .max_records = 100, .batches = &b, .n_batches = 1};
    got.n = 0;
    assert_true(share_runs_acquire(&r, &a, &got) > 0);
    assert_int_equal(r.start, 6);
    share_runs_log_start(&r, 100);
    assert_int_equal(r.start, 100);
    assert_int_equal(r.complete, 0);
    assert_int_equal(share_runs_next_fetch(&r), 100);
    const struct share_range bad[] = {{120, 110, 1, SHARE_AVAILABLE}};
    assert_false(share_runs_load(&r, bad, 1));
    vec_fini(&got);
    vec_fini(&out);
    share_runs_fini(&r);
}

// ---- against the model ------------------------------------------------------------------------------------------------
enum { RECORDS = 600, OWNERS = 3 };
struct record {
    int state, count, old_count, old_state;
    uint64_t owner, old_owner, change;
    int64_t until;
    int stored_state, stored_count; // -1 = nothing stored
};
struct model {
    bool dead_letters;
    struct record rec[RECORDS];
    int64_t next, start;
};

static uint64_t seed;
static uint32_t rnd(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static int failed(const struct model *m) { return m->dead_letters ? SHARE_ARCHIVING : SHARE_ARCHIVED; }

static void model_advance(struct model *m) {
    while (m->start < m->next && m->rec[m->start].change == 0 && (m->rec[m->start].state == 2 || m->rec[m->start].state == 4)) m->start++;
}

static void store(struct model *m, const share_ranges *out) {
    for (size_t i = 0; i < out->n; i++)
        for (int64_t o = out->p[i].first; o <= out->p[i].last; o++) {
            m->rec[o].stored_state = out->p[i].state;
            m->rec[o].stored_count = out->p[i].count;
        }
}

static void compare(struct share_runs *r, const struct model *m) {
    assert_int_equal(r->start, m->start);
    assert_int_equal(r->next, m->next);
    int64_t at = m->start, complete = 0, free_first = m->next;
    for (size_t i = r->head; i < r->v.n; i++) {
        const struct share_run *run = &r->v.p[i];
        assert_int_equal(run->first, at);
        for (; at <= run->last; at++) {
            const struct record *x = &m->rec[at];
            assert_int_equal(x->state, run->state);
            assert_int_equal(x->count, run->count);
            assert_int_equal(x->owner, run->owner);
            assert_int_equal(x->change, run->change);
            if (x->state == SHARE_ACQUIRED) assert_int_equal(x->until, run->lock_until_us);
            complete += x->state == 2 || x->state == 4;
            if (x->state == 0 && x->change == 0 && at < free_first) free_first = at;
        }
    }
    assert_int_equal(at, m->next);
    assert_int_equal(complete, r->complete);
    assert_int_equal(share_runs_next_fetch(r), free_first);
}

static void random_acquire(struct share_runs *r, struct model *m, int64_t now) {
    struct share_fetched batches[4];
    share_acquireds got = {0};
    int64_t from = share_runs_next_fetch(r), size = 12;
    size_t n = 1 + rnd(3);
    int64_t base = from - from % size;
    for (size_t i = 0; i < n; i++, base += size) batches[i] = (struct share_fetched){base, base + size - 1};
    if (base > RECORDS) return;
    struct share_acquire a = {.owner = 1 + rnd(OWNERS), .now_us = now, .record_limit = rnd(2) == 0, .batch_size = 1 + (int32_t)rnd(30),
                              .max_records = 1 + (int32_t)rnd(40), .fetch_offset = from, .batches = batches, .n_batches = n};
    bool could = share_runs_can_acquire(r);
    int64_t total = share_runs_acquire(r, &a, &got), seen = 0, last = -1;
    assert_true((total > 0) == could);
    assert_true(!a.record_limit || total <= a.max_records);
    for (size_t i = 0; i < got.n; i++) {
        assert_true(got.p[i].first > last && got.p[i].first >= m->start && got.p[i].last <= base - 1);
        last = got.p[i].last;
        for (int64_t o = got.p[i].first; o <= last; o++, seen++) {
            struct record *x = &m->rec[o];
            assert_int_equal(x->state, SHARE_AVAILABLE);
            assert_int_equal(x->change, 0);
            x->state = SHARE_ACQUIRED;
            x->owner = a.owner;
            x->until = now + LOCK;
            assert_int_equal(++x->count, got.p[i].count);
            assert_true(x->count <= limits.max_count);
        }
    }
    assert_int_equal(seen, total);
    m->next = r->next;
    vec_fini(&got);
}

static int model_ack_error(const struct model *m, uint64_t owner, const struct share_ack *a) {
    if (a->last < m->start) return 0;
    int64_t first = a->first < m->start ? m->start : a->first;
    if (first >= m->next) return m->start == m->next ? KAFKA_INVALID_RECORD_STATE : KAFKA_INVALID_REQUEST;
    for (int64_t o = first; o <= a->last && o < m->next; o++)
        if (m->rec[o].state != SHARE_ACQUIRED || m->rec[o].change != 0 || m->rec[o].owner != owner) return KAFKA_INVALID_RECORD_STATE;
    return a->last >= m->next ? KAFKA_INVALID_REQUEST : 0;
}

struct pending {
    uint64_t change;
    share_ranges out;
};

static void random_ack(struct share_runs *r, struct model *m, int64_t now, struct pending *p) {
    int8_t types[64];
    uint64_t owner = 1 + rnd(OWNERS);
    struct share_ack a = {.types = types};
    int64_t o = m->start + (int64_t)rnd((uint32_t)(m->next - m->start) + 1);
    a.first = o;
    while (o < m->next && o - a.first < 40 && m->rec[o].state == SHARE_ACQUIRED && m->rec[o].owner == owner && rnd(12) != 0) o++;
    a.last = rnd(10) == 0 ? a.first + (int64_t)rnd(20) : o > a.first ? o - 1 : a.first;
    a.n_types = rnd(2) == 0 ? 1 : (size_t)(a.last - a.first + 1);
    for (size_t i = 0; i < a.n_types; i++) types[i] = (int8_t)rnd(5);
    const char *why;
    int error = share_runs_acknowledge(r, owner, now, &a, 1, &p->out, &p->change, &why);
    assert_int_equal(error, model_ack_error(m, owner, &a));
    if (error != 0) return;
    for (o = a.first < m->start ? m->start : a.first; o <= a.last; o++) {
        struct record *x = &m->rec[o];
        int8_t type = types[a.n_types == 1 ? 0 : o - a.first];
        if (type == SHARE_RENEW) {
            x->until = now + LOCK;
            continue;
        }
        x->old_state = SHARE_ACQUIRED;
        x->old_count = x->count;
        x->old_owner = x->owner;
        x->owner = 0;
        x->change = p->change;
        x->state = type == SHARE_ACCEPT ? 2 : type == SHARE_GAP ? 4 : type == SHARE_RELEASE && x->count < limits.max_count ? 0 : failed(m);
    }
}

static void end_change(struct share_runs *r, struct model *m, int64_t now, struct pending *p) {
    bool good = rnd(5) != 0;
    if (good) {
        store(m, &p->out);
        share_runs_commit(r, p->change);
    } else {
        share_runs_rollback(r, p->change, now);
    }
    for (int64_t o = 0; o < m->next; o++) {
        struct record *x = &m->rec[o];
        if (x->change != p->change) continue;
        x->change = 0;
        if (good) continue;
        bool over = x->until <= now && x->old_state == SHARE_ACQUIRED;
        x->state = !over ? x->old_state : x->old_count >= limits.max_count ? failed(m) : SHARE_AVAILABLE;
        x->owner = over ? 0 : x->old_owner;
        x->count = x->old_count;
    }
    model_advance(m);
    p->change = 0;
    vec_fini(&p->out);
}

static void random_expire(struct share_runs *r, struct model *m, int64_t now) {
    share_ranges out = {0};
    int64_t n = 0;
    bool due = now >= r->lock_first_us;
    for (int64_t o = m->start; o < m->next; o++) {
        struct record *x = &m->rec[o];
        if (x->state != SHARE_ACQUIRED || x->until > now) continue;
        x->state = x->count >= limits.max_count ? failed(m) : 0;
        x->owner = 0;
        n++;
    }
    assert_int_equal(share_runs_expire(r, now, &out), n);
    if (due) model_advance(m);
    store(m, &out);
    vec_fini(&out);
}

static void random_release(struct share_runs *r, struct model *m, struct pending *p) {
    uint64_t owner = 1 + rnd(OWNERS);
    p->change = share_runs_release(r, owner, &p->out);
    for (int64_t o = m->start; o < m->next && p->change != 0; o++) {
        struct record *x = &m->rec[o];
        if (x->state != SHARE_ACQUIRED || x->owner != owner) continue;
        x->old_state = SHARE_ACQUIRED;
        x->old_count = x->count;
        x->old_owner = owner;
        x->owner = 0;
        x->change = p->change;
        x->state = x->count >= limits.max_count ? failed(m) : 0;
    }
}

static void random_archive(struct share_runs *r, struct model *m, struct pending *p) {
    share_deads dead = {0};
    int64_t most = 1 + rnd(20), seen = 0, at = m->start;
    share_runs_dead(r, most, &dead);
    for (size_t i = 0; i < dead.n; i++)
        for (; at <= dead.p[i].last; at++) {
            bool in = at >= dead.p[i].first;
            assert_int_equal(in, m->rec[at].state == SHARE_ARCHIVING && m->rec[at].change == 0);
            seen += in;
            if (in) assert_int_equal(m->rec[at].count, dead.p[i].count);
        }
    assert_true(seen <= most);
    for (; at < m->next && seen < most; at++) assert_false(m->rec[at].state == SHARE_ARCHIVING && m->rec[at].change == 0);
    p->change = share_runs_archive(r, &dead, &p->out);
    assert_true((p->change != 0) == (seen > 0));
    for (size_t i = 0; i < dead.n; i++)
        for (int64_t o = dead.p[i].first; o <= dead.p[i].last; o++) {
            struct record *x = &m->rec[o];
            x->old_state = SHARE_ARCHIVING;
            x->old_count = x->count;
            x->old_owner = 0;
            x->change = p->change;
            x->state = SHARE_ARCHIVED;
        }
    vec_fini(&dead);
}

// A new process knows what was stored: nothing that was acknowledged comes again, and counts go on.
static void restart(struct share_runs *r, struct model *m) {
    share_ranges stored = {0};
    for (int64_t o = m->start; o < m->next; o++) {
        struct record *x = &m->rec[o];
        if (x->stored_state >= 0) vec_add(&stored, ((struct share_range){o, o, (int16_t)x->stored_count, (int8_t)x->stored_state}));
    }
    int64_t end = stored.n == 0 ? m->start : vec_last(&stored)->last + 1;
    int64_t start = r->start;
    share_runs_fini(r);
    share_runs_init(r, start, &limits);
    r->limits.dead_letters = m->dead_letters;
    assert_true(share_runs_load(r, stored.p, stored.n));
    for (int64_t o = m->start; o < RECORDS; o++) {
        struct record *x = &m->rec[o];
        x->state = o < end && x->stored_state >= 0 ? x->stored_state : SHARE_AVAILABLE;
        x->count = o < end && x->stored_state >= 0 ? x->stored_count : 0;
        x->owner = x->change = 0;
    }
    m->next = end;
    model_advance(m);
    vec_fini(&stored);
}

static void history(uint64_t from) {
    static struct model m;
    struct share_runs r;
    struct pending pending[3] = {0};
    seed = from;
    memset(&m, 0, sizeof m);
    for (int i = 0; i < RECORDS; i++) m.rec[i].stored_state = -1;
    share_runs_init(&r, 0, &limits);
    r.limits.dead_letters = m.dead_letters = from % 2 == 0;
    int64_t now = 0;
    for (int step = 0; step < 2000; step++) {
        struct pending *p = &pending[rnd(3)];
        now += (int64_t)rnd(60);
        uint32_t what = rnd(100);
        if (p->change != 0 && what < 50) end_change(&r, &m, now, p);
        else if (what < 30) random_acquire(&r, &m, now);
        else if (what < 80 && p->change == 0) random_ack(&r, &m, now, p);
        else if (what < 90) random_expire(&r, &m, now);
        else if (what < 93 && p->change == 0) random_release(&r, &m, p);
        else if (what < 97 && p->change == 0) random_archive(&r, &m, p);
        else if (what == 99 && pending[0].change == 0 && pending[1].change == 0 && pending[2].change == 0) restart(&r, &m);
        compare(&r, &m);
    }
    for (int i = 0; i < 3; i++) vec_fini(&pending[i].out);
    share_runs_fini(&r);
}

static void random_histories_follow_the_model(void **state) {
    (void)state;
    for (uint64_t i = 1; i <= 60; i++) history(i * 7919);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_batches_stay_whole),
        cmocka_unit_test(record_limit_is_exact),
        cmocka_unit_test(deliveries_are_counted_and_limited),
        cmocka_unit_test(bad_records_are_isolated),
        cmocka_unit_test(errors_are_kafkas),
        cmocka_unit_test(gaps_and_compaction),
        cmocka_unit_test(random_histories_follow_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
