// SPDX-License-Identifier: Apache-2.0
// Idempotent producers: see producers.h. Sequence numbers run to INT32_MAX and start again at 0.
#include "broker/producers.h"

#include <assert.h>
#include <stdlib.h>

#include "base/vec.h"

struct producer_batch {
    int32_t first_sequence, last_sequence;
    int64_t base_offset, last_offset;
};

struct producer {
    int64_t id, used_ms;
    int64_t last_timestamp;    // of its newest batch; -1 = none yet
    int64_t txn_first;         // where its open transaction begins; -1 = none
    int32_t coordinator_epoch; // of the newest marker; -1 = none yet
    int16_t epoch;
    int n; // 0 after a marker with a new epoch
    struct producer_batch batches[PRODUCER_BATCHES]; // oldest first
};

enum { SNAPSHOT_VERSION = 2 }; // 1: without last_timestamp, txn_first, coordinator_epoch

static void tell_count(struct producers *s) { atomic_store_explicit(&s->count, (int64_t)s->by_id.n, memory_order_relaxed); }
static struct str key_of(const int64_t *id) { return str_n(id, sizeof *id); }

void producers_init(struct producers *s) {
    map_init(&s->by_id);
    tell_count(s);
}

void producers_fini(struct producers *s) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->by_id, &it)) != NULL;) mem_free(e->value);
    map_fini(&s->by_id);
}

// ---- markers --------------------------------------------------------------------------------------------------------

enum { MARKER_ABORT = 0, MARKER_COMMIT = 1 };

bool txn_marker_read(const struct batch *b, struct txn_marker *out) {
    struct batch_iter it;
    struct batch_record r;
    bool ok = batch_iter_init(&it, b, 0, NULL) == ERR_OK && batch_iter_next(&it, &r, NULL) == 1;
    if (ok) { // key: version, type; value: version, coordinator epoch
        struct rd key = rd_of(r.key.p, r.key.n), value = rd_of(r.value.p, r.value.n);
        (void)rd_be16(&key);
        uint16_t type = rd_be16(&key);
        (void)rd_be16(&value);
        *out = (struct txn_marker){type == MARKER_COMMIT, (int32_t)rd_be32(&value)};
        ok = !key.failed && !value.failed && (type == MARKER_COMMIT || type == MARKER_ABORT);
    }
    batch_iter_fini(&it);
    return ok;
}

void txn_marker_write(struct buf *out, int64_t producer_id, int16_t epoch, const struct txn_marker *m, int64_t now_ms) {
    uint8_t key[4], value[6];
    struct buf k = {.p = key, .cap = sizeof key, .max = sizeof key}, v = {.p = value, .cap = sizeof value, .max = sizeof value};
    buf_put_be16(&k, 0);
    buf_put_be16(&k, m->commit ? MARKER_COMMIT : MARKER_ABORT);
    buf_put_be16(&v, 0);
    buf_put_be32(&v, (uint32_t)m->coordinator_epoch);
    struct batch_builder bb;
    batch_begin(&bb, out, now_ms);
    bb.producer_id = producer_id;
    bb.producer_epoch = epoch;
    bb.attributes = BATCH_ATTR_TRANSACTION | BATCH_ATTR_CONTROL;
    batch_add(&bb, now_ms, buf_str(&k), false, buf_str(&v), false, NULL, 0);
    batch_end(&bb);
}

// ---- checks ---------------------------------------------------------------------------------------------------------

enum producer_verdict producers_check_marker(const struct producers *s, const struct batch *b, const struct txn_marker *m, bool newer) {
    const struct producer *p = map_get(&s->by_id, key_of(&b->producer_id));
    if (p == NULL) return PRODUCER_APPEND;
    if (b->producer_epoch < p->epoch) return PRODUCER_FENCED;
    if (newer && b->producer_epoch == p->epoch && p->txn_first >= 0) return PRODUCER_FENCED;
    return m->coordinator_epoch < p->coordinator_epoch ? PRODUCER_COORDINATOR_OLD : PRODUCER_APPEND;
}

enum producer_verdict producers_check(const struct producers *s, const struct batch *b, bool verified, int64_t *base, int64_t *last) {
    assert(b->producer_id >= 0);
    const struct producer *p = map_get(&s->by_id, key_of(&b->producer_id));
    bool in_txn = (b->attributes & BATCH_ATTR_TRANSACTION) != 0;
    if (p == NULL) return in_txn && !verified ? PRODUCER_UNVERIFIED : PRODUCER_APPEND; // forgotten or new: any sequence may begin
    if (b->producer_epoch < p->epoch) return PRODUCER_FENCED;
    if (b->producer_epoch > p->epoch) {
        if (in_txn && !verified) return PRODUCER_UNVERIFIED;
        return b->base_sequence == 0 ? PRODUCER_APPEND : PRODUCER_GAP;
    }
    // Before repeats: one of a transaction that has ended is told so, as Kafka does
    if (in_txn && p->txn_first < 0 && !verified) return PRODUCER_UNVERIFIED;
    int32_t last_sequence = batch_last_sequence(b);
    for (int i = 0; i < p->n; i++) {
        if (p->batches[i].first_sequence != b->base_sequence || p->batches[i].last_sequence != last_sequence) continue;
        *base = p->batches[i].base_offset;
        *last = p->batches[i].last_offset;
        return PRODUCER_REPEAT;
    }
    if (!in_txn && p->txn_first >= 0) return PRODUCER_IN_TXN;
    int32_t expected = p->n == 0 ? 0 : (int32_t)(((int64_t)p->batches[p->n - 1].last_sequence + 1) & INT32_MAX);
    return b->base_sequence == expected ? PRODUCER_APPEND : PRODUCER_GAP;
}

// Forgets the quarter of the time span that was used longest ago; at least one.
static void make_room(struct producers *s) {
    int64_t oldest = INT64_MAX, newest = INT64_MIN;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->by_id, &it)) != NULL;) {
        const struct producer *p = e->value;
        if (p->used_ms < oldest) oldest = p->used_ms;
        if (p->used_ms > newest) newest = p->used_ms;
    }
    producers_expire(s, oldest + (newest - oldest) / 4 + 1);
}

static void note_marker(struct producer *p, const struct batch *b) {
    struct txn_marker m;
    if (!txn_marker_read(b, &m)) return;
    p->coordinator_epoch = m.coordinator_epoch;
    p->txn_first = -1;
}

void producers_note(struct producers *s, const struct batch *b, int64_t now_ms) {
    if (b->producer_id < 0) return;
    struct producer *p = map_get(&s->by_id, key_of(&b->producer_id));
    if (p == NULL) {
        if (s->by_id.n >= PRODUCERS_MAX) make_room(s);
        p = MEM_NEW(struct producer);
        *p = (struct producer){.id = b->producer_id, .epoch = b->producer_epoch, .last_timestamp = -1, .txn_first = -1, .coordinator_epoch = -1};
        map_put(&s->by_id, key_of(&p->id), p);
        tell_count(s);
    }
    if (p->epoch != b->producer_epoch) {
        p->epoch = b->producer_epoch;
        p->n = 0;
    }
    p->used_ms = now_ms;
    p->last_timestamp = b->max_timestamp;
    if ((b->attributes & BATCH_ATTR_CONTROL) != 0) {
        note_marker(p, b);
        return;
    }
    if ((b->attributes & BATCH_ATTR_TRANSACTION) != 0 && p->txn_first < 0) p->txn_first = b->base_offset;
    if (b->base_sequence < 0) return; // the group coordinator's own batches in a transaction are not numbered
    if (p->n == PRODUCER_BATCHES) {
        memmove(p->batches, p->batches + 1, sizeof p->batches - sizeof p->batches[0]);
        p->n--;
    }
    p->batches[p->n++] = (struct producer_batch){b->base_sequence, batch_last_sequence(b), b->base_offset, batch_last_offset(b)};
}

// ---- transactions ---------------------------------------------------------------------------------------------------

int64_t producers_txn_first(const struct producers *s, int64_t producer_id) {
    const struct producer *p = map_get(&s->by_id, key_of(&producer_id));
    return p == NULL ? -1 : p->txn_first;
}

int64_t producers_first_open(const struct producers *s, int64_t except_id) {
    int64_t first = INT64_MAX;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->by_id, &it)) != NULL;) {
        const struct producer *p = e->value;
        if (p->txn_first >= 0 && p->id != except_id && p->txn_first < first) first = p->txn_first;
    }
    return first;
}

static int by_offset(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

int64_t *producers_all_open(const struct producers *s, size_t *n) {
    VEC(int64_t) v = {0};
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->by_id, &it)) != NULL;) {
        const struct producer *p = e->value;
        if (p->txn_first >= 0) vec_add(&v, p->txn_first);
    }
    if (v.n > 1) qsort(v.p, v.n, sizeof *v.p, by_offset);
    *n = v.n;
    return v.p;
}

static int by_info(const void *a, const void *b) {
    const struct producer_info *x = a, *y = b;
    return x->producer_id < y->producer_id ? -1 : x->producer_id > y->producer_id;
}

size_t producers_list(const struct producers *s, struct producer_info *out, size_t max) {
    size_t n = 0;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->by_id, &it)) != NULL && n < max;) {
        const struct producer *p = e->value;
        out[n++] = (struct producer_info){.producer_id = p->id, .last_timestamp = p->last_timestamp, .txn_first = p->txn_first, .epoch = p->epoch,
                                          .last_sequence = p->n == 0 ? -1 : p->batches[p->n - 1].last_sequence,
                                          .coordinator_epoch = p->coordinator_epoch};
    }
    if (n > 1) qsort(out, n, sizeof *out, by_info);
    return s->by_id.n;
}

// ---- expiry and snapshots -------------------------------------------------------------------------------------------

size_t producers_expire(struct producers *s, int64_t before_ms) {
    size_t gone = 0;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->by_id, &it)) != NULL;) {
        struct producer *p = e->value;
        if (p->used_ms >= before_ms || p->txn_first >= 0) continue;
        map_remove(&s->by_id, key_of(&p->id));
        mem_free(p);
        gone++;
    }
    tell_count(s);
    return gone;
}

static int by_id(const void *a, const void *b) {
    const struct log_producer_last *x = a, *y = b;
    return x->producer_id < y->producer_id ? -1 : x->producer_id > y->producer_id;
}

struct log_producer_last *producers_last(const struct producers *s, size_t *n) {
    struct log_producer_last *out = mem_alloc((s->by_id.n + 1) * sizeof *out);
    struct map_entry *e;
    *n = 0;
    for (size_t it = 0; (e = map_next(&s->by_id, &it)) != NULL;) {
        const struct producer *p = e->value;
        out[(*n)++] = (struct log_producer_last){p->id, p->n > 0 ? p->batches[p->n - 1].last_offset : -1, p->epoch};
    }
    if (*n > 1) qsort(out, *n, sizeof *out, by_id);
    return out;
}

void producers_save(const struct producers *s, struct buf *out) {
    buf_put_be32(out, SNAPSHOT_VERSION);
    buf_put_be32(out, (uint32_t)s->by_id.n);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->by_id, &it)) != NULL;) {
        const struct producer *p = e->value;
        buf_put_be64(out, (uint64_t)p->id);
        buf_put_be64(out, (uint64_t)p->used_ms);
        buf_put_be16(out, (uint16_t)p->epoch);
        buf_put_be16(out, (uint16_t)p->n);
        buf_put_be64(out, (uint64_t)p->last_timestamp);
        buf_put_be64(out, (uint64_t)p->txn_first);
        buf_put_be32(out, (uint32_t)p->coordinator_epoch);
        for (int i = 0; i < p->n; i++) {
            buf_put_be32(out, (uint32_t)p->batches[i].first_sequence);
            buf_put_be32(out, (uint32_t)p->batches[i].last_sequence);
            buf_put_be64(out, (uint64_t)p->batches[i].base_offset);
            buf_put_be64(out, (uint64_t)p->batches[i].last_offset);
        }
    }
}

static bool load_one(struct producers *s, struct rd *r, uint32_t version, int64_t now_ms) {
    struct producer *p = MEM_NEW(struct producer);
    p->id = (int64_t)rd_be64(r);
    p->used_ms = (int64_t)rd_be64(r);
    p->epoch = (int16_t)rd_be16(r);
    p->n = rd_be16(r);
    p->last_timestamp = version >= 2 ? (int64_t)rd_be64(r) : -1;
    p->txn_first = version >= 2 ? (int64_t)rd_be64(r) : -1;
    p->coordinator_epoch = version >= 2 ? (int32_t)rd_be32(r) : -1;
    bool ok = !r->failed && p->n >= 0 && p->n <= PRODUCER_BATCHES && p->id >= 0;
    for (int i = 0; ok && i < p->n; i++) {
        p->batches[i].first_sequence = (int32_t)rd_be32(r);
        p->batches[i].last_sequence = (int32_t)rd_be32(r);
        p->batches[i].base_offset = (int64_t)rd_be64(r);
        p->batches[i].last_offset = (int64_t)rd_be64(r);
    }
    ok = ok && !r->failed;
    if (p->used_ms > now_ms) p->used_ms = now_ms; // the clock was set back
    struct producer *old = ok ? map_put(&s->by_id, key_of(&p->id), p) : p;
    mem_free(old);
    return ok;
}

bool producers_load(struct producers *s, struct str snapshot, int64_t now_ms) {
    producers_fini(s);
    producers_init(s);
    struct rd r = rd_of(snapshot.p, snapshot.n);
    uint32_t version = rd_be32(&r);
    bool ok = version >= 1 && version <= SNAPSHOT_VERSION;
    uint32_t n = rd_be32(&r);
    ok = ok && !r.failed && n <= PRODUCERS_MAX;
    for (uint32_t i = 0; i < n && ok; i++) ok = load_one(s, &r, version, now_ms);
    tell_count(s);
    if (ok && rd_left(&r) == 0) return true;
    producers_fini(s);
    producers_init(s);
    return false;
}
