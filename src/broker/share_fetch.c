// SPDX-License-Identifier: Apache-2.0
// ShareFetch: the acknowledgements it carries, then records of the session's partitions, acquired for the member.
//
// A fetch reads all partitions that may give records, and acquires when that is min_bytes or its time is over; else it waits on them: for new
// records in the log, and for records that become available again. Those that were woken look again together, once a round of the loop, at what
// has moved; of the others they remember how much there was.
// Memory: the bytes that were read go to the caller, cut to the batches that hold acquired records.
#include <assert.h>

#include "base/metrics.h"
#include "broker/share_inside.h"

enum { FETCH_BYTES_MAX = 55 << 20, READ_STEP = 2 << 20, BATCHES_MAX = 100000 };

struct share_fetching {
    struct share *share;
    struct share_fetch *call;
    uint64_t id, owner;
    struct share_wait *waits; // one for each partition of the session
    size_t n;
    struct loop_timer timer;
    bool counted; // as waiting, in the metrics
    struct share_fetching *woken_next;
    bool woken, acks_running, fetched, over, missing; // missing: the states of some of its share-partitions
    bool loaded; // one, in this turn
    int refused; // Kafka's error, which is answered when the time is over
    struct share_group_config config;
    struct share_response_part *ack_out; // one for each part of the request
};

// ---- the end --------------------------------------------------------------------------------------------------------

static void unlink_wait(struct share_fetching *f, struct share_wait *w) {
    if (w->log_waits) broker_wait_remove(f->share->broker, &w->log);
    w->log_waits = false;
    if (!w->linked) return;
    w->linked = false;
    if (w->prev != NULL) w->prev->next = w->next;
    else w->part->waits = w->next;
    if (w->next != NULL) w->next->prev = w->prev;
}

static void forget_woken(struct share_fetching *f) {
    struct share *s = f->share;
    struct share_fetching *before = NULL;
    if (!f->woken) return;
    for (struct share_fetching *x = s->woken_first; x != f; x = x->woken_next) before = x;
    if (before == NULL) s->woken_first = f->woken_next;
    else before->woken_next = f->woken_next;
    if (s->woken_last == f) s->woken_last = before;
    f->woken = false;
}

static struct share_response_part *find_out(struct share_fetch *call, const uint8_t id[16], int32_t partition) {
    for (size_t i = 0; i < call->n_out; i++)
        if (call->out[i].partition == partition && memcmp(call->out[i].topic_id, id, 16) == 0) return &call->out[i];
    struct share_response_part *out = &call->out[call->n_out++];
    out->partition = partition;
    memcpy(out->topic_id, id, 16);
    return out;
}

// It looks at its partitions no more: they may go.
static void leave_parts(struct share_fetching *f) {
    for (size_t i = 0; i < f->n; i++) {
        struct share_part *p = f->waits[i].part;
        unlink_wait(f, &f->waits[i]);
        share_wait_clear(&f->waits[i]);
        if (p != NULL && p->leaving) share_part_leave(p);
    }
    f->n = 0;
}

static void fetching_free(struct share_fetching *f) {
    struct share *s = f->share;
    leave_parts(f);
    forget_woken(f);
    loop_timer_cancel(s->loop, &f->timer);
    if (f->counted) metric_add(M_KAFKA_PURGATORY, "ShareFetch", -1);
    map_remove(&s->fetches, str_n(&f->id, sizeof f->id));
    mem_free(f->waits);
    mem_free(f);
}

static void answer(struct share_fetching *f) {
    struct share_fetch *call = f->call;
    for (size_t i = 0; i < call->n_parts; i++) {
        if (call->parts[i].n_acks == 0) continue;
        struct share_response_part *out = find_out(call, call->parts[i].topic_id, call->parts[i].partition);
        out->ack_error = f->ack_out[i].ack_error;
        out->ack_message = f->ack_out[i].ack_message;
    }
    int error = f->refused;
    fetching_free(f);
    coordinator_answer(&call->call, error, "");
}

static void maybe_answer(struct share_fetching *f) {
    if (f->fetched && !f->acks_running) answer(f);
}

// ---- reading and acquiring ------------------------------------------------------------------------------------------

static void fail_wait(struct share_fetching *f, const struct share_wait *w, int error, const char *message) {
    struct share_response_part *out = find_out(f->call, w->topic_id, w->partition);
    out->error = error;
    out->message = message;
    f->fetched = true;
}

// The share-partition, or an error at once, or later, when its state is there. Only one is loaded in a turn of the loop: a fetch of many that
// nobody has read yet does not hold up the others, and is answered (as Kafka's) with the records of the first that has some.
static void take_part(struct share_fetching *f, struct share_wait *w) {
    int error;
    const char *message;
    bool in_memory = share_part_find(f->share, f->call->group_id, w->topic_id, w->partition) != NULL;
    if (!in_memory && f->loaded && f->call->max_wait_ms > 0 && !f->over) {
        w->missing = f->missing = true;
        share_fetching_wake(f);
        return;
    }
    f->loaded |= !in_memory;
    w->part = share_part_get(f->share, f->call->group_id, w->topic_id, w->partition, &error, &message);
    w->missing = w->part == NULL && error == 0;
    f->missing |= w->missing;
    if (error != 0) fail_wait(f, w, error, message);
}

// Those whose state others have changed, and those whose state was not there yet.
static void take_missing_parts(struct share_fetching *f) {
    f->missing = false;
    for (size_t i = 0; i < f->n; i++) {
        struct share_wait *w = &f->waits[i];
        struct share_part *p = w->part;
        if (p != NULL && p->dead && w->reading == NULL) {
            unlink_wait(f, w);
            share_wait_clear(w);
            w->part = NULL;
            w->known = false;
            w->missing = !p->unbegun;
            if (p->unbegun) fail_wait(f, w, KAFKA_STORAGE_ERROR, "Where the share-partition begins could not be stored.");
            share_part_leave(p);
        }
        if (w->missing) take_part(f, w);
    }
}

// What a fetch may get: its max_bytes, shared among the partitions that can give records (as Kafka's uniform strategy does).
struct shares {
    size_t max, n, each;
};

static bool may_give(const struct share_wait *w) {
    return w->part != NULL && !w->part->leaving && !w->part->beginning && share_runs_can_acquire(&w->part->runs);
}

static struct shares shares_of(const struct share_fetching *f) {
    struct shares s = {.max = f->call->max_bytes > FETCH_BYTES_MAX ? FETCH_BYTES_MAX : (size_t)f->call->max_bytes}; // above 0: nobody asks for nothing here
    for (size_t i = 0; i < f->n; i++) s.n += may_give(&f->waits[i]);
    s.each = s.n == 0 ? 0 : s.max / s.n;
    return s;
}

// min_bytes, but no more than can be had.
static size_t bytes_wanted(const struct share_fetching *f, const struct shares *s) {
    size_t want = f->call->min_bytes <= 0 ? 0 : (size_t)f->call->min_bytes;
    size_t most = s->n * s->each < s->max ? s->n * s->each : s->max;
    return want < most ? want : most;
}

// Of one partition: what it has, but no more than its share; all of its share when there is more than was read. One that is a segment behind, or
// more, is always enough, as in Kafka.
static size_t bytes_of(const struct share_wait *w, const struct shares *s) {
    if (w->behind) return s->max;
    return w->more || w->had > s->each ? s->each : w->had;
}

static int64_t last_of(const struct buf *data) { // the last offset; -1 = no batch
    int64_t last = -1;
    struct batch b;
    for (size_t at = 0; at < data->n; at += b.size) {
        if (batch_read(data->p + at, data->n - at, &b) != BATCH_OK) break;
        last = batch_last_offset(&b);
    }
    return last;
}

static void read_part(struct share_fetching *f, size_t i, const struct shares *s) {
    struct share_wait *w = &f->waits[i];
    if (w->reading != NULL) return;
    bool have = w->read && w->data.n > 0 && w->fetch_offset == share_runs_next_fetch(&w->part->runs); // a worker has read it
    w->known = false;
    if (!have) {
        share_wait_clear(w);
        struct share_read_ask ask = {.fetch = f->id, .index = i, .committed = f->config.read_committed, .bytes = s->each < READ_STEP ? s->each : READ_STEP};
        int error = share_read(f->share, w, &ask);
        if (error != 0) fail_wait(f, w, error, NULL);
    }
    if (!w->read) return; // not yet, or there was an error
    w->known = true;
    w->had = w->data.n;
    w->more = w->data.n > 0 && last_of(&w->data) + 1 < w->seen;
    w->behind = w->data.n > 0 && broker_is_behind(f->share->broker, w->part->topic, w->partition, w->fetch_offset, w->seen);
}

// How much there is. Only what has moved is read, but with `all` also what is known to have something and was read before.
static size_t read_parts(struct share_fetching *f, const struct shares *s, bool all) {
    size_t total = 0, held = 0;
    for (size_t i = 0; i < f->n && held < s->max; i++) {
        struct share_wait *w = &f->waits[i];
        if (!may_give(w)) continue;
        if (!w->known || (all && w->had > 0)) read_part(f, i, s);
        if (w->known) total += bytes_of(w, s);
        held += w->data.n;
    }
    return total;
}

static size_t list_batches(const struct buf *data, struct share_fetched **out) {
    VEC(struct share_fetched) v = {0};
    struct batch b;
    for (size_t at = 0; at < data->n && v.n < BATCHES_MAX; at += b.size) {
        if (batch_read(data->p + at, data->n - at, &b) != BATCH_OK) break;
        vec_add(&v, ((struct share_fetched){b.base_offset, batch_last_offset(&b)}));
    }
    *out = v.p;
    return v.n;
}

// Only the batches that hold acquired records.
static void cut(struct buf *data, int64_t first, int64_t last) {
    size_t from = data->n, to = 0;
    struct batch b;
    for (size_t at = 0; at < data->n; at += b.size) {
        if (batch_read(data->p + at, data->n - at, &b) != BATCH_OK) break;
        if (batch_last_offset(&b) < first || b.base_offset > last) continue;
        if (at < from) from = at;
        to = at + b.size;
    }
    data->n = to;
    if (from > 0) buf_consume(data, from < to ? from : to);
}

static bool is_aborted(const struct share_wait *w, const struct batch *b) {
    if ((b->attributes & BATCH_ATTR_TRANSACTION) == 0 || (b->attributes & BATCH_ATTR_CONTROL) != 0) return false;
    for (size_t i = 0; i < w->aborted.n; i++) {
        const struct broker_aborted *x = &w->aborted.p[i];
        if (x->producer_id == b->producer_id && b->base_offset >= x->first && b->base_offset <= x->last) return true;
    }
    return false;
}

// Without offsets first to last; how many were in it.
static int64_t take_out(share_acquireds *got, int64_t first, int64_t last) {
    share_acquireds out = {0};
    int64_t taken = 0;
    for (size_t i = 0; i < got->n; i++) {
        struct share_acquired x = got->p[i], front = x, behind = x;
        if (x.last < first || x.first > last) {
            vec_add(&out, x);
            continue;
        }
        front.last = first - 1;
        behind.first = last + 1;
        taken += (x.last < last ? x.last : last) - (x.first > first ? x.first : first) + 1;
        if (front.first <= front.last) vec_add(&out, front);
        if (behind.first <= behind.last) vec_add(&out, behind);
    }
    vec_fini(got);
    *got = out;
    return taken;
}

// Records of aborted transactions are done with at once: nobody gets them.
static int64_t hide_aborted(struct share_fetching *f, struct share_wait *w, share_acquireds *got) {
    int64_t hidden = 0;
    struct batch b;
    for (size_t at = 0; at < w->data.n; at += b.size) {
        if (batch_read(w->data.p + at, w->data.n - at, &b) != BATCH_OK) break;
        if (!is_aborted(w, &b)) continue;
        int64_t n = take_out(got, b.base_offset, batch_last_offset(&b));
        if (n > 0) share_runs_hide(&w->part->runs, b.base_offset, batch_last_offset(&b));
        hidden += n;
    }
    if (hidden > 0) w->known = false;
    if (hidden > 0 && got->n == 0) share_fetching_wake(f); // there may be more behind them
    return hidden;
}

static int64_t acquire_part(struct share_fetching *f, struct share_wait *w, int64_t max_records) {
    struct share_part *p = w->part;
    struct share_fetched *batches;
    share_acquireds got = {0};
    size_t n = list_batches(&w->data, &batches);
    struct share_acquire a = {.owner = f->owner, .now_us = sys_mono_us(f->share->broker->sys), .record_limit = f->call->record_limit,
                              .batch_size = f->call->batch_size <= 0 ? 1 : f->call->batch_size, .max_records = (int32_t)max_records,
                              .fetch_offset = w->fetch_offset, .batches = batches, .n_batches = n};
    int64_t records = share_runs_acquire(&p->runs, &a, &got);
    mem_free(batches);
    if (records > 0 && w->aborted.n > 0) records -= hide_aborted(f, w, &got);
    if (records == 0) {
        vec_fini(&got);
        return 0;
    }
    metric_add(M_SHARE_ACQUIRED, p->group, records);
    cut(&w->data, got.p[0].first, vec_last(&got)->last);
    struct share_response_part *out = find_out(f->call, p->topic_id, p->partition);
    out->records = w->data;
    out->acquired = got;
    w->data = (struct buf){0};
    share_part_rearm(p);
    return records;
}

static void acquire_parts(struct share_fetching *f) {
    int64_t left = f->call->max_records;
    for (size_t i = 0; i < f->n && left > 0; i++) {
        struct share_wait *w = &f->waits[i];
        if (!w->read || w->data.n == 0) continue;
        int64_t got = acquire_part(f, w, left);
        left -= got;
        f->fetched |= got > 0;
    }
}

// ---- waiting --------------------------------------------------------------------------------------------------------

static void log_moved(struct broker_wait *b) {
    struct share_wait *w = b->arg;
    w->log_waits = false;
    w->known = false;
    share_fetching_wake(w->fetching);
}

static void wait_on(struct share_fetching *f, struct share_wait *w) {
    struct share_part *p = w->part;
    if (p == NULL) return;
    if (!w->linked) {
        w->linked = true;
        w->prev = NULL;
        w->next = p->waits;
        if (p->waits != NULL) p->waits->prev = w;
        p->waits = w;
    }
    if (w->log_waits || !w->read) return;
    w->log = (struct broker_wait){.fn = log_moved, .arg = w, .back = f->share->loop, .committed = f->config.read_committed};
    w->log_waits = true;
    broker_wait_add(f->share->broker, p->topic, p->partition, w->seen, &w->log);
}

static bool is_reading(const struct share_fetching *f) {
    for (size_t i = 0; i < f->n; i++)
        if (f->waits[i].reading != NULL) return true;
    return false;
}

// With `last` its time is over; but what a worker is reading is waited for, else a slow disk would give nothing for ever.
static void look(struct share_fetching *f, bool last) {
    f->over = f->over || last || f->call->max_wait_ms <= 0;
    take_missing_parts(f);
    f->loaded = false;
    struct shares s = shares_of(f);
    size_t want = bytes_wanted(f, &s), bytes = read_parts(f, &s, false);
    if (bytes > 0 && (f->over || bytes >= want)) { // others may have acquired some of it meanwhile
        bytes = read_parts(f, &s, true);
        if (bytes > 0 && (f->over || bytes >= want)) acquire_parts(f);
    }
    if (f->over && !is_reading(f)) f->fetched = true;
    for (size_t i = 0; i < f->n && !f->fetched; i++) {
        wait_on(f, &f->waits[i]);
        share_wait_clear(&f->waits[i]);
    }
    if (f->fetched) leave_parts(f);
    maybe_answer(f);
}

static void time_over(void *arg) {
    struct share_fetching *f = arg;
    if (!f->fetched) look(f, true);
}

static void look_again(void *arg) {
    struct share *s = arg;
    s->woken_posted = false;
    struct share_fetching *end = s->woken_last; // those woken meanwhile have their turn later
    for (bool more = s->woken_first != NULL; more;) {
        struct share_fetching *f = s->woken_first;
        more = f != end && f->woken_next != NULL;
        s->woken_first = f->woken_next;
        if (s->woken_first == NULL) s->woken_last = NULL;
        f->woken = false;
        look(f, false);
    }
    if (s->woken_first == NULL || s->woken_posted) return;
    s->woken_posted = true;
    loop_post(s->loop, look_again, s);
}

void share_fetching_wake(struct share_fetching *f) {
    struct share *s = f->share;
    if (f->woken || f->fetched) return;
    f->woken = true;
    f->woken_next = NULL;
    if (s->woken_first == NULL) s->woken_first = f;
    else s->woken_last->woken_next = f;
    s->woken_last = f;
    if (s->woken_posted) return;
    s->woken_posted = true;
    loop_post(s->loop, look_again, s);
}

// ---- the request ----------------------------------------------------------------------------------------------------

static void session_ended(void *arg, int error, const char *message) {
    struct share_fetching *f = arg;
    (void)error;
    (void)message;
    f->acks_running = false;
    maybe_answer(f);
}

static void acks_ended(void *arg) {
    struct share_fetching *f = arg;
    struct share_session *x = NULL;
    if (f->call->session_epoch == SHARE_SESSION_FINAL) x = share_session_find(f->share, f->call->group_id, f->call->member_id);
    if (x != NULL) share_session_end(f->share, x, session_ended, f);
    else session_ended(f, 0, NULL);
}

// The session's partitions, from another one on each time, so that all get their turn.
static void take_parts(struct share_fetching *f, const struct share_session *x) {
    f->waits = mem_zalloc((x->parts.n + 1) * sizeof *f->waits);
    for (size_t i = 0; i < x->parts.n; i++) {
        const struct share_session_part *at = &x->parts.p[(i + (size_t)f->call->session_epoch) % x->parts.n];
        struct share_wait *w = &f->waits[f->n++];
        *w = (struct share_wait){.fetching = f, .partition = at->partition};
        memcpy(w->topic_id, at->topic_id, 16);
        take_part(f, w);
    }
}

static const char *check(const struct share_fetch *f) {
    if (f->group_id[0] == '\0') return "The group id is missing.";
    if (f->member_id[0] == '\0' || strlen(f->member_id) > 36) return "The member id is not valid.";
    if (!f->is_renew) return NULL;
    return f->max_bytes != 0 || f->min_bytes != 0 || f->max_records != 0 || f->max_wait_ms != 0
               ? "A request that renews must have max bytes, min bytes, max records and max wait 0."
               : NULL;
}

static struct share_fetching *fetching_new(struct share *s, struct share_fetch *call) {
    struct share_fetching *f = MEM_NEW(struct share_fetching);
    *f = (struct share_fetching){.share = s, .call = call, .id = call->id, .owner = share_owner(call->member_id)};
    map_put(&s->fetches, str_n(&f->id, sizeof f->id), f);
    return f;
}

static void wait_until_over(struct share_fetching *f) {
    loop_timer_set(f->share->loop, &f->timer, (int64_t)f->call->max_wait_ms * 1000, time_over, f);
    f->counted = true;
    metric_add(M_KAFKA_PURGATORY, "ShareFetch", 1);
}

// With too many sessions the answer comes when the time to wait is over, so that the client does not ask again and again.
static void refuse(struct share *s, struct share_fetch *call, int error, const char *why) {
    if (error != KAFKA_SHARE_SESSION_LIMIT_REACHED || call->max_wait_ms <= 0) {
        coordinator_answer(&call->call, error, why);
        return;
    }
    struct share_fetching *f = fetching_new(s, call);
    f->refused = error;
    wait_until_over(f);
}

static void fetch_on_loop(void *arg) {
    struct share_fetch *call = arg;
    struct share *s = call->call.self_[0];
    struct share_session *x = NULL;
    const char *why = check(call);
    int error = s->stopping ? KAFKA_COORDINATOR_NOT_AVAILABLE : why != NULL ? KAFKA_INVALID_REQUEST : share_session_begin(s, call, &x);
    if (error != 0) {
        refuse(s, call, error, why == NULL ? "" : why);
        return;
    }
    struct share_fetching *f = fetching_new(s, call);
    f->acks_running = true;
    f->config = share_config_of(s, call->group_id);
    call->lock_ms = (int32_t)(f->config.limits.lock_us / 1000);
    call->out = ARENA_ARRAY(call->call.arena, struct share_response_part, call->n_parts + x->parts.n + 1);
    f->ack_out = ARENA_ARRAY(call->call.arena, struct share_response_part, call->n_parts + 1);
    bool final = call->session_epoch == SHARE_SESSION_FINAL;
    if (!final && !call->is_renew && call->max_records > 0 && call->max_bytes > 0) take_parts(f, x); // may fail for some: then there is no waiting
    else f->fetched = true;
    share_acks_start(s, call->group_id, call->member_id, call->is_renew, call->parts, call->n_parts, f->ack_out, acks_ended, f);
    if (f->n > 0) look(f, f->fetched);
    // still here: acks_ended answers at the soonest
    if (!f->fetched) wait_until_over(f);
}

void share_fetch(struct broker *b, struct share_fetch *f) {
    f->call.self_[0] = b->share;
    f->call.error = 0;
    f->call.message[0] = '\0';
    f->out = NULL;
    f->n_out = 0;
    f->id = atomic_fetch_add(&b->share->last_fetch, 1) + 1;
    loop_post(b->share->loop, fetch_on_loop, f);
}

void share_fetches_look(struct share *s, const char *group) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->fetches, &it)) != NULL;) {
        struct share_fetching *f = e->value;
        if (f->missing && strcmp(f->call->group_id, group) == 0) share_fetching_wake(f);
    }
}

struct share_wait *share_fetch_wait(struct share *s, uint64_t fetch, size_t index) {
    struct share_fetching *f = map_get(&s->fetches, str_n(&fetch, sizeof fetch));
    return f == NULL || f->fetched || index >= f->n ? NULL : &f->waits[index];
}

struct cancel {
    struct share *share;
    uint64_t id;
};

static void cancel_on_loop(void *arg) {
    struct cancel *c = arg;
    struct share_fetching *f = map_get(&c->share->fetches, str_n(&c->id, sizeof c->id));
    mem_free(c);
    if (f == NULL || f->fetched) return;
    f->fetched = true;
    leave_parts(f);
    maybe_answer(f);
}

void share_fetch_cancel(struct broker *b, uint64_t id) {
    struct cancel *c = MEM_NEW(struct cancel);
    *c = (struct cancel){b->share, id};
    loop_post(b->share->loop, cancel_on_loop, c);
}

void share_fetches_stop(struct share *s) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->fetches, &it)) != NULL;) {
        struct share_fetching *f = e->value;
        if (f->fetched) continue;
        f->fetched = true;
        leave_parts(f);
        maybe_answer(f);
    }
}
