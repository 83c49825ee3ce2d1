// SPDX-License-Identifier: Apache-2.0
// Acquiring records of a share-partition out of the batches that were read: those that are available again first, then new ones.
//
// Records that fail again and again are isolated (as Kafka does): from half of the deliveries on, a batch is handed out in ever smaller parts,
// and at the last delivery each record comes alone, so that one bad record does not take its batch with it.
#include <assert.h>

#include "broker/share_runs_inside.h"

struct acquiring {
    struct share_runs *r;
    const struct share_acquire *a;
    share_acquireds *out;
    int64_t low, high; // offsets that were read and may be acquired
    int64_t max;       // records
    int64_t acquired;
};

static int16_t throttle_from(const struct share_runs *r) {
    int half = (r->limits.max_count + 1) / 2;
    return (int16_t)(half < 2 ? 2 : half);
}

static bool is_free(const struct share_run *run) { return run->state == SHARE_AVAILABLE && run->change == 0; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void lock_run(struct acquiring *q, struct share_run *run) {
    run->state = SHARE_ACQUIRED;
    run->owner = q->a->owner;
    run->count++;
    run->lock_until_us = q->a->now_us + q->r->limits.lock_us;
    q->r->lock_first_us = smaller(q->r->lock_first_us, run->lock_until_us);
    q->acquired += run->last - run->first + 1;
    vec_add(q->out, ((struct share_acquired){run->first, run->last, run->count}));
}

// Offsets first to last of the run at `offset`, which holds them all.
static void acquire_piece(struct acquiring *q, int64_t first, int64_t last) {
    struct share_runs *r = q->r;
    size_t i = share_runs_cut(r, share_runs_find(r, first), first, last);
    assert(r->v.p[i].first == first && r->v.p[i].last == last);
    lock_run(q, &r->v.p[i]);
}

// What is available of one batch, in parts: clipped to what was read, to the record limit, to what isolation allows.
static int64_t acquire_parts(struct acquiring *q, int64_t batch_first, int64_t batch_last) {
    struct share_runs *r = q->r;
    int16_t limit = throttle_from(r), top = r->limits.max_count;
    int64_t taken = 0, most = INT64_MAX;
    for (int64_t at = larger(batch_first, q->low), end = smaller(batch_last, q->high); at <= end;) {
        size_t i = share_runs_find(r, at);
        if (i == r->v.n || r->v.p[i].first > end) break;
        const struct share_run *run = &r->v.p[i];
        int64_t first = larger(run->first, at), last = smaller(run->last, end);
        at = run->last + 1;
        if (!is_free(run)) continue;
        bool alone = top > 2 && run->count == top - 1;
        if (alone && taken > 0) break;
        if (run->count >= limit && most == INT64_MAX) most = larger(1, (batch_last - batch_first + 1) >> (run->count - limit + 1));
        int64_t room = most - taken;
        if (q->a->record_limit) room = smaller(room, q->max - q->acquired);
        if (alone) room = smaller(room, 1);
        if (room <= 0) break;
        if (last - first >= room) last = first + room - 1;
        int64_t got = last - first + 1;
        acquire_piece(q, first, last);
        taken += got;
        if (alone || taken >= most || (q->a->record_limit && q->acquired >= q->max)) break;
    }
    return taken;
}

static bool is_throttled(const struct acquiring *q, size_t i, size_t end) {
    for (; i < end; i++) {
        const struct share_run *run = &q->r->v.p[i];
        if (run->last >= q->low && run->first <= q->high && is_free(run) && run->count >= throttle_from(q->r)) return true;
    }
    return false;
}

// Those that were delivered before. Batch by batch; false = no more may be acquired.
static bool acquire_again(struct acquiring *q) {
    struct share_runs *r = q->r;
    for (int64_t at = q->low; at <= q->high && q->acquired < q->max;) {
        size_t i = share_runs_find(r, at), end = i;
        if (i == r->v.n || r->v.p[i].first > q->high) break;
        struct share_run run = r->v.p[i];
        while (end < r->v.n && r->v.p[end].batch_first == run.batch_first) end++;
        at = r->v.p[end - 1].last + 1;
        bool throttled = is_throttled(q, i, end);
        if (throttled && q->acquired > 0) return false;
        bool whole = run.first == run.batch_first && run.last == run.batch_last && run.first >= q->low && run.last <= q->high && !throttled;
        if (q->a->record_limit && run.last - run.first + 1 > q->max - q->acquired) whole = false;
        if (whole) {
            if (is_free(&run)) lock_run(q, &r->v.p[i]);
        } else if (acquire_parts(q, run.batch_first, run.batch_last) > 0 && throttled) {
            return false;
        }
    }
    return q->acquired < q->max;
}

static void add_batch(struct acquiring *q, int64_t first, int64_t last, int64_t locked_last) {
    struct share_runs *r = q->r;
    struct share_run run = {.first = first, .last = locked_last, .batch_first = first, .batch_last = last};
    vec_add(&r->v, run);
    lock_run(q, vec_last(&r->v));
    if (locked_last == last) return;
    run.first = locked_last + 1;
    run.last = last;
    vec_add(&r->v, run);
    r->maybe_available = true;
}

// Those that were never delivered, behind all that is known.
static void acquire_new(struct acquiring *q) {
    const struct share_acquire *a = q->a;
    struct share_runs *r = q->r;
    int64_t first = larger(q->low, r->next), last = q->high, left = q->max - q->acquired;
    if (first > last || left <= 0) return;
    bool limited = left < last - first + 1;
    if (limited) { // the batch that holds the last one comes whole
        int64_t want = first + left - 1;
        for (size_t i = 0; i < a->n_batches; i++) {
            if (a->batches[i].last < want) continue;
            last = smaller(last, larger(want, a->batches[i].last));
            break;
        }
    }
    if (share_runs_in_flight(r) == 0) r->start = first;
    int64_t from = first;
    if (a->record_limit) {
        add_batch(q, first, last, limited ? first + left - 1 : last);
    } else {
        for (size_t i = 0; i < a->n_batches && last - first + 1 > a->batch_size; i++) {
            int64_t base = a->batches[i].first;
            if (base > last) break;
            if (base - from < a->batch_size || base <= from) continue;
            add_batch(q, from, base - 1, base - 1);
            from = base;
        }
        add_batch(q, from, last, last);
    }
    r->next = last + 1;
}

// Available records in front of the first batch that was read are gone from the log (compaction).
static void archive_gone(struct share_runs *r, int64_t first, int64_t end) {
    for (int64_t at = first; at < end;) {
        size_t i = share_runs_find(r, at);
        if (i == r->v.n || r->v.p[i].first >= end) break;
        struct share_run run = r->v.p[i];
        at = run.last + 1;
        if (!is_free(&run)) continue;
        i = share_runs_cut(r, i, larger(run.first, first), smaller(run.last, end - 1));
        r->v.p[i].state = SHARE_ARCHIVED;
        r->complete += r->v.p[i].last - r->v.p[i].first + 1;
    }
}

int64_t share_runs_acquire(struct share_runs *r, const struct share_acquire *a, share_acquireds *out) {
    if (a->max_records <= 0 || a->n_batches == 0) return 0;
    struct acquiring q = {.r = r, .a = a, .out = out, .high = a->batches[a->n_batches - 1].last};
    if (q.high < r->start) return 0;
    int64_t room = r->limits.max_records - share_runs_in_flight(r);
    q.max = smaller(a->max_records, room);
    if (q.max <= 0) { // full: only what is known already may be acquired again
        if (a->fetch_offset >= r->next) return 0;
        q.max = smaller(a->max_records, r->next - a->fetch_offset);
        q.high = smaller(q.high, r->next - 1);
    }
    if (a->fetch_offset < a->batches[0].first) archive_gone(r, a->fetch_offset, a->batches[0].first);
    q.low = larger(a->batches[0].first, r->start);
    if (acquire_again(&q)) acquire_new(&q);
    share_runs_advance(r);
    return q.acquired;
}

void share_runs_hide(struct share_runs *r, int64_t first, int64_t last) {
    for (int64_t at = larger(first, r->start); at <= last;) {
        size_t i = share_runs_find(r, at);
        if (i == r->v.n || r->v.p[i].first > last) break;
        struct share_run run = r->v.p[i];
        at = run.last + 1;
        if (run.state != SHARE_ACQUIRED || run.change != 0) continue;
        i = share_runs_cut(r, i, larger(run.first, first), smaller(run.last, last));
        r->v.p[i].state = SHARE_ARCHIVED;
        r->v.p[i].owner = 0;
        r->complete += r->v.p[i].last - r->v.p[i].first + 1;
    }
    share_runs_advance(r);
}
