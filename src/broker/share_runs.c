// SPDX-License-Identifier: Apache-2.0
// The in-flight records of a share-partition: looking up, splitting and joining runs, acknowledging, releasing, the end of locks.
// Acquiring is in share_acquire.c. Costs: a look-up is a binary search; a change of whole batches touches their runs; an acknowledgement that
// names single offsets rewrites the runs it touches in one pass.
#include "broker/share_runs.h"

#include <assert.h>
#include <string.h>

#include "broker/kafka_error.h"
#include "broker/share_runs_inside.h"

// ---- runs -----------------------------------------------------------------------------------------------------------

void share_runs_init(struct share_runs *r, int64_t start, const struct share_limits *limits) {
    *r = (struct share_runs){.start = start, .next = start, .lock_first_us = INT64_MAX, .limits = *limits};
}

void share_runs_fini(struct share_runs *r) { vec_fini(&r->v); }

size_t share_runs_find(const struct share_runs *r, int64_t offset) {
    size_t low = r->head, high = r->v.n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (r->v.p[mid].last < offset) low = mid + 1;
        else high = mid;
    }
    return low;
}

void share_runs_insert(struct share_runs *r, size_t at, const struct share_run *run) {
    if (r->head > 64 && r->head > r->v.n / 2) { // give back the room in front
        memmove(r->v.p, &r->v.p[r->head], (r->v.n - r->head) * sizeof *r->v.p);
        r->v.n -= r->head;
        at -= r->head;
        r->head = 0;
    }
    (void)vec_push(&r->v);
    memmove(&r->v.p[at + 1], &r->v.p[at], (r->v.n - 1 - at) * sizeof *r->v.p);
    r->v.p[at] = *run;
}

static bool is_done(uint8_t state) { return state == SHARE_ACKNOWLEDGED || state == SHARE_ARCHIVED; }

static bool are_equal(const struct share_run *a, const struct share_run *b) {
    if ((a->state == SHARE_ARCHIVING || a->change != 0) && a->rejected != b->rejected) return false;
    if (a->state != b->state || a->count != b->count || a->owner != b->owner || a->change != b->change) return false;
    if ((a->state == SHARE_ACQUIRED || a->change != 0) && a->lock_until_us != b->lock_until_us) return false; // a rollback wants it too
    if (a->change != 0 && (a->old_state != b->old_state || a->old_count != b->old_count || a->old_owner != b->old_owner)) return false;
    return a->batch_first == b->batch_first && a->last + 1 == b->first;
}

// Joins equal neighbours among the runs from index `from` on.
static void join_runs(struct share_runs *r, size_t from) {
    if (from > r->head) from--;
    size_t to = from;
    for (size_t i = from + 1; i < r->v.n; i++) {
        if (are_equal(&r->v.p[to], &r->v.p[i])) r->v.p[to].last = r->v.p[i].last;
        else r->v.p[++to] = r->v.p[i];
    }
    if (r->v.n > from) r->v.n = to + 1;
}

static void add_range(share_ranges *out, int64_t first, int64_t last, uint8_t state, int16_t count) {
    struct share_range *before = out->n == 0 ? NULL : vec_last(out);
    if (before != NULL && before->last + 1 == first && before->state == (int8_t)state && before->count == count) before->last = last;
    else vec_add(out, ((struct share_range){first, last, count, (int8_t)state}));
}

// `start` moves over all that is done with.
void share_runs_advance(struct share_runs *r) {
    bool moved = false;
    while (r->head < r->v.n && is_done(r->v.p[r->head].state) && r->v.p[r->head].change == 0) {
        const struct share_run *run = &r->v.p[r->head++];
        r->complete -= run->last - run->first + 1;
        moved = true;
    }
    if (!moved) return;
    if (r->head == r->v.n) {
        r->head = r->v.n = 0;
        r->start = r->next;
        assert(r->complete == 0);
    } else {
        r->start = r->v.p[r->head].first;
    }
}

bool share_runs_load(struct share_runs *r, const struct share_range *ranges, size_t n) {
    int64_t at = r->start;
    for (size_t i = 0; i < n; i++) {
        const struct share_range *x = &ranges[i];
        bool known = x->state == SHARE_AVAILABLE || (x->state >= SHARE_ACKNOWLEDGED && x->state <= SHARE_ARCHIVED);
        if (x->first < at || x->last < x->first || x->last == INT64_MAX || !known || x->count < 0) return false;
        if (x->first > at) vec_add(&r->v, ((struct share_run){.first = at, .last = x->first - 1, .batch_first = at, .batch_last = x->first - 1}));
        vec_add(&r->v, ((struct share_run){.first = x->first, .last = x->last, .batch_first = x->first, .batch_last = x->last, .count = x->count,
                                           .state = (uint8_t)x->state, .rejected = x->count < r->limits.max_count}));
        r->maybe_dead |= x->state == SHARE_ARCHIVING;
        if (is_done((uint8_t)x->state)) r->complete += x->last - x->first + 1;
        at = x->last + 1;
    }
    r->next = at;
    r->maybe_available = r->v.n > 0;
    share_runs_advance(r);
    return true;
}

int64_t share_runs_next_fetch(struct share_runs *r) {
    if (!r->maybe_available) return r->next;
    for (size_t i = r->head; i < r->v.n; i++)
        if (r->v.p[i].state == SHARE_AVAILABLE && r->v.p[i].change == 0) return r->v.p[i].first;
    r->maybe_available = false;
    return r->next;
}

int64_t share_runs_in_flight(const struct share_runs *r) { return r->head == r->v.n ? 0 : r->next - r->start; }

bool share_runs_can_acquire(struct share_runs *r) {
    return share_runs_next_fetch(r) != r->next || share_runs_in_flight(r) < r->limits.max_records;
}

// ---- acknowledging --------------------------------------------------------------------------------------------------

static int refuse(int error, const char **why, const char *text) {
    *why = text;
    return error;
}

static int check_run(const struct share_run *run, uint64_t owner, const char **why) {
    if (run->change != 0)
        return refuse(KAFKA_INVALID_RECORD_STATE, why, "The record state is invalid. The acknowledgement of delivery could not be completed.");
    if (run->state != SHARE_ACQUIRED)
        return refuse(KAFKA_INVALID_RECORD_STATE, why, "The batch cannot be acknowledged. The batch is not in the acquired state.");
    if (run->owner != owner) return refuse(KAFKA_INVALID_RECORD_STATE, why, "Member is not the owner of batch record");
    return 0;
}

static int check_ack(const struct share_runs *r, uint64_t owner, const struct share_ack *a, const char **why) {
    for (size_t i = 0; i < a->n_types; i++)
        if (a->types[i] < SHARE_GAP || a->types[i] > SHARE_RENEW) return refuse(KAFKA_INVALID_REQUEST, why, "Invalid acknowledge type.");
    if (a->n_types == 0 || a->last < a->first || (a->n_types > 1 && (int64_t)a->n_types != a->last - a->first + 1))
        return refuse(KAFKA_INVALID_REQUEST, why, "The acknowledgement types do not fit the offsets.");
    if (a->last < r->start) return 0; // all archived already
    bool moved = a->first < r->start;
    int64_t first = moved ? r->start : a->first;
    size_t i = share_runs_find(r, first), at = i;
    if (!moved && (i == r->v.n || r->v.p[i].first > first)) { // behind a run, or in front of all
        if (i == r->head) return refuse(KAFKA_INVALID_RECORD_STATE, why, "Batch record not found. The request batch offsets are not found in the cache.");
        if (i == r->v.n || r->v.p[i].first > a->last)
            return refuse(KAFKA_INVALID_REQUEST, why, "Batch record not found. The first offset in request is past acquired records.");
    }
    int64_t seen = -1;
    for (; i < r->v.n && r->v.p[i].first <= a->last; i++) {
        int error = check_run(&r->v.p[i], owner, why);
        if (error != 0) return error;
        seen = r->v.p[i].last;
    }
    if (i == at) return refuse(KAFKA_INVALID_RECORD_STATE, why, "Batch record not found. The request batch offsets are not found in the cache.");
    if (a->last > seen) return refuse(KAFKA_INVALID_REQUEST, why, "Batch record not found. The last offset in request is past acquired records.");
    return 0;
}

// After the last delivery, or when it was rejected.
static uint8_t failed(struct share_runs *r, struct share_run *run, bool rejected) {
    run->rejected = rejected;
    r->maybe_dead |= r->limits.dead_letters;
    return r->limits.dead_letters ? SHARE_ARCHIVING : SHARE_ARCHIVED;
}

// The change of one piece of an acquired run.
static void acknowledge_piece(struct share_runs *r, struct share_run *piece, int8_t type, uint64_t change, int64_t now_us, share_ranges *out) {
    if (type == SHARE_RENEW) {
        piece->lock_until_us = now_us + r->limits.lock_us;
        return;
    }
    piece->old_state = piece->state;
    piece->old_count = piece->count;
    piece->old_owner = piece->owner;
    piece->owner = 0;
    piece->change = change;
    bool spent = piece->count >= r->limits.max_count;
    if (type == SHARE_ACCEPT) piece->state = SHARE_ACKNOWLEDGED;
    else if (type == SHARE_GAP) piece->state = SHARE_ARCHIVED;
    else piece->state = type == SHARE_RELEASE && !spent ? SHARE_AVAILABLE : failed(r, piece, type == SHARE_REJECT);
    if (is_done(piece->state)) r->complete += piece->last - piece->first + 1;
    add_range(out, piece->first, piece->last, piece->state, piece->count);
}

struct rewrite {
    VEC(struct share_run) runs;
};

static void emit(struct rewrite *w, const struct share_run *run) {
    if (w->runs.n > 0 && are_equal(vec_last(&w->runs), run)) vec_last(&w->runs)->last = run->last;
    else vec_add(&w->runs, *run);
}

// One run, cut along the acknowledgements from acks[*k] on.
static void rewrite_run(struct share_runs *r, const struct share_run *run, const struct share_ack *acks, size_t n, size_t *k, uint64_t change,
                        int64_t now_us, struct rewrite *w, share_ranges *out) {
    for (int64_t at = run->first; at <= run->last;) {
        while (*k < n && acks[*k].last < at) (*k)++;
        struct share_run piece = *run;
        piece.first = at;
        if (*k == n || acks[*k].first > at) { // not acknowledged
            if (*k < n && acks[*k].first <= run->last) piece.last = acks[*k].first - 1;
        } else {
            const struct share_ack *a = &acks[*k];
            int64_t end = a->last < run->last ? a->last : run->last;
            int8_t type = a->types[a->n_types == 1 ? 0 : at - a->first];
            piece.last = end;
            if (a->n_types > 1) {
                int64_t same = at;
                while (same < end && a->types[same + 1 - a->first] == type) same++;
                piece.last = same;
            }
            acknowledge_piece(r, &piece, type, change, now_us, out);
        }
        at = piece.last + 1;
        emit(w, &piece);
    }
}

static void put_back(struct share_runs *r, size_t from, size_t to, const struct rewrite *w) {
    size_t behind = r->v.n - to, total = from + w->runs.n + behind;
    vec_reserve(&r->v, total);
    memmove(&r->v.p[from + w->runs.n], &r->v.p[to], behind * sizeof *r->v.p);
    if (w->runs.n > 0) memcpy(&r->v.p[from], w->runs.p, w->runs.n * sizeof *r->v.p);
    r->v.n = total;
}

int share_runs_acknowledge(struct share_runs *r, uint64_t owner, int64_t now_us, const struct share_ack *acks, size_t n, share_ranges *out,
                           uint64_t *change, const char **why) {
    *change = 0;
    *why = "";
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && acks[i].first <= acks[i - 1].last) return refuse(KAFKA_INVALID_REQUEST, why, "The acknowledgement batches overlap or are out of order.");
        int error = check_ack(r, owner, &acks[i], why);
        if (error != 0) return error;
    }
    if (n == 0 || acks[n - 1].last < r->start || r->head == r->v.n) return 0;
    size_t from = share_runs_find(r, acks[0].first), to = from, k = 0, before = out->n;
    struct rewrite w = {0};
    for (; to < r->v.n && r->v.p[to].first <= acks[n - 1].last; to++)
        rewrite_run(r, &r->v.p[to], acks, n, &k, r->last_change + 1, now_us, &w, out);
    put_back(r, from, to, &w);
    vec_fini(&w.runs);
    if (out->n > before) *change = ++r->last_change;
    return 0;
}

uint64_t share_runs_release(struct share_runs *r, uint64_t owner, share_ranges *out) {
    size_t before = out->n;
    for (size_t i = r->head; i < r->v.n; i++) {
        struct share_run *run = &r->v.p[i];
        if (run->state != SHARE_ACQUIRED || run->owner != owner || run->change != 0) continue;
        run->old_state = run->state;
        run->old_count = run->count;
        run->old_owner = run->owner;
        run->state = run->count >= r->limits.max_count ? failed(r, run, false) : SHARE_AVAILABLE;
        run->owner = 0;
        run->change = r->last_change + 1;
        if (is_done(run->state)) r->complete += run->last - run->first + 1;
        add_range(out, run->first, run->last, run->state, run->count);
    }
    return out->n > before ? ++r->last_change : 0;
}

void share_runs_commit(struct share_runs *r, uint64_t change) {
    for (size_t i = r->head; i < r->v.n; i++) {
        struct share_run *run = &r->v.p[i];
        if (run->change != change) continue;
        run->change = 0;
        if (run->state == SHARE_AVAILABLE) r->maybe_available = true;
    }
    join_runs(r, r->head);
    share_runs_advance(r);
}

void share_runs_rollback(struct share_runs *r, uint64_t change, int64_t now_us) {
    for (size_t i = r->head; i < r->v.n; i++) {
        struct share_run *run = &r->v.p[i];
        if (run->change != change) continue;
        if (is_done(run->state)) r->complete -= run->last - run->first + 1;
        bool over = run->old_state == SHARE_ACQUIRED && run->lock_until_us <= now_us, spent = run->old_count >= r->limits.max_count;
        run->state = !over ? run->old_state : spent ? failed(r, run, false) : SHARE_AVAILABLE;
        if (is_done(run->state)) r->complete += run->last - run->first + 1;
        run->owner = over ? 0 : run->old_owner;
        run->count = run->old_count;
        run->change = 0;
        if (over) r->maybe_available = true;
        else if (run->state == SHARE_ACQUIRED && run->lock_until_us < r->lock_first_us) r->lock_first_us = run->lock_until_us;
        r->maybe_dead |= run->state == SHARE_ARCHIVING;
    }
    join_runs(r, r->head);
    share_runs_advance(r);
}

int64_t share_runs_expire(struct share_runs *r, int64_t now_us, share_ranges *out) {
    int64_t records = 0, first_us = INT64_MAX;
    if (now_us < r->lock_first_us) return 0;
    for (size_t i = r->head; i < r->v.n; i++) {
        struct share_run *run = &r->v.p[i];
        if (run->state != SHARE_ACQUIRED) continue;
        if (run->lock_until_us > now_us) {
            if (run->lock_until_us < first_us) first_us = run->lock_until_us;
            continue;
        }
        run->state = run->count >= r->limits.max_count ? failed(r, run, false) : SHARE_AVAILABLE;
        run->owner = 0;
        records += run->last - run->first + 1;
        if (is_done(run->state)) r->complete += run->last - run->first + 1;
        else if (run->state == SHARE_AVAILABLE) r->maybe_available = true;
        add_range(out, run->first, run->last, run->state, run->count);
    }
    r->lock_first_us = first_us;
    if (records > 0) join_runs(r, r->head);
    share_runs_advance(r);
    return records;
}

// ---- dead letters ---------------------------------------------------------------------------------------------------

void share_runs_dead(struct share_runs *r, int64_t max_records, share_deads *out) {
    if (!r->maybe_dead) return;
    r->maybe_dead = false;
    for (size_t i = r->head; i < r->v.n; i++) {
        const struct share_run *run = &r->v.p[i];
        if (run->state != SHARE_ARCHIVING) continue;
        r->maybe_dead = true;
        if (run->change != 0 || max_records <= 0) continue;
        int64_t last = run->last - run->first < max_records ? run->last : run->first + max_records - 1;
        vec_add(out, ((struct share_dead){run->first, last, run->count, run->rejected}));
        max_records -= last - run->first + 1;
    }
}

size_t share_runs_cut(struct share_runs *r, size_t i, int64_t first, int64_t last) {
    struct share_run run = r->v.p[i];
    if (run.last > last) {
        struct share_run rest = run;
        rest.first = last + 1;
        share_runs_insert(r, i + 1, &rest);
        i = share_runs_find(r, run.first);
        r->v.p[i].last = last;
    }
    if (run.first < first) {
        struct share_run piece = r->v.p[i];
        piece.first = first;
        share_runs_insert(r, i + 1, &piece);
        i = share_runs_find(r, run.first);
        r->v.p[i++].last = first - 1;
    }
    return i;
}

uint64_t share_runs_archive(struct share_runs *r, const share_deads *dead, share_ranges *out) {
    size_t before = out->n;
    for (size_t k = 0; k < dead->n; k++) {
        const struct share_dead *d = &dead->p[k];
        for (size_t i = share_runs_find(r, d->first); i < r->v.n && r->v.p[i].first <= d->last; i++) {
            if (r->v.p[i].state != SHARE_ARCHIVING || r->v.p[i].change != 0) continue;
            i = share_runs_cut(r, i, d->first, d->last);
            struct share_run *run = &r->v.p[i];
            run->old_state = run->state;
            run->old_count = run->count;
            run->old_owner = 0;
            run->state = SHARE_ARCHIVED;
            run->change = r->last_change + 1;
            r->complete += run->last - run->first + 1;
            add_range(out, run->first, run->last, run->state, run->count);
        }
    }
    return out->n > before ? ++r->last_change : 0;
}

void share_runs_log_start(struct share_runs *r, int64_t log_start) {
    if (log_start <= r->start) return;
    while (r->head < r->v.n && r->v.p[r->head].last < log_start) {
        const struct share_run *run = &r->v.p[r->head++];
        if (is_done(run->state)) r->complete -= run->last - run->first + 1;
    }
    if (r->head < r->v.n && r->v.p[r->head].first < log_start) {
        struct share_run *run = &r->v.p[r->head];
        if (is_done(run->state)) r->complete -= log_start - run->first;
        run->first = log_start;
    }
    r->start = log_start;
    if (r->next < log_start) r->next = log_start;
    if (r->head == r->v.n) r->head = r->v.n = 0;
    share_runs_advance(r);
}
