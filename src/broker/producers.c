// SPDX-License-Identifier: Apache-2.0
// Idempotent producers: see producers.h. Sequence numbers run to INT32_MAX and start again at 0.
#include "broker/producers.h"

#include <assert.h>
#include <stdlib.h>

struct producer_batch {
    int32_t first_sequence, last_sequence;
    int64_t base_offset, last_offset;
};

struct producer {
    int64_t id, used_ms;
    int16_t epoch;
    int n;
    struct producer_batch batches[PRODUCER_BATCHES]; // oldest first
};

enum { SNAPSHOT_VERSION = 1 };

static struct str key_of(const int64_t *id) { return str_n(id, sizeof *id); }

void producers_init(struct producers *s) { map_init(&s->by_id); }

void producers_fini(struct producers *s) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->by_id, &it)) != NULL;) mem_free(e->value);
    map_fini(&s->by_id);
}

enum producer_verdict producers_check(const struct producers *s, const struct batch *b, int64_t *base, int64_t *last) {
    assert(b->producer_id >= 0);
    const struct producer *p = map_get(&s->by_id, key_of(&b->producer_id));
    if (p == NULL) return PRODUCER_APPEND; // forgotten or new: any sequence may begin
    if (b->producer_epoch < p->epoch) return PRODUCER_FENCED;
    if (b->producer_epoch > p->epoch) return b->base_sequence == 0 ? PRODUCER_APPEND : PRODUCER_GAP;
    int32_t last_sequence = batch_last_sequence(b);
    for (int i = 0; i < p->n; i++) {
        if (p->batches[i].first_sequence != b->base_sequence || p->batches[i].last_sequence != last_sequence) continue;
        *base = p->batches[i].base_offset;
        *last = p->batches[i].last_offset;
        return PRODUCER_REPEAT;
    }
    int32_t expected = (int32_t)(((int64_t)p->batches[p->n - 1].last_sequence + 1) & INT32_MAX);
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

void producers_note(struct producers *s, const struct batch *b, int64_t now_ms) {
    if (b->producer_id < 0) return;
    struct producer *p = map_get(&s->by_id, key_of(&b->producer_id));
    if (p == NULL) {
        if (s->by_id.n >= PRODUCERS_MAX) make_room(s);
        p = MEM_NEW(struct producer);
        p->id = b->producer_id;
        p->epoch = b->producer_epoch;
        map_put(&s->by_id, key_of(&p->id), p);
    }
    if (p->epoch != b->producer_epoch) {
        p->epoch = b->producer_epoch;
        p->n = 0;
    }
    if (p->n == PRODUCER_BATCHES) {
        memmove(p->batches, p->batches + 1, sizeof p->batches - sizeof p->batches[0]);
        p->n--;
    }
    p->batches[p->n++] = (struct producer_batch){b->base_sequence, batch_last_sequence(b), b->base_offset, batch_last_offset(b)};
    p->used_ms = now_ms;
}

size_t producers_expire(struct producers *s, int64_t before_ms) {
    size_t gone = 0;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->by_id, &it)) != NULL;) {
        struct producer *p = e->value;
        if (p->used_ms >= before_ms) continue;
        map_remove(&s->by_id, key_of(&p->id));
        mem_free(p);
        gone++;
    }
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
        for (int i = 0; i < p->n; i++) {
            buf_put_be32(out, (uint32_t)p->batches[i].first_sequence);
            buf_put_be32(out, (uint32_t)p->batches[i].last_sequence);
            buf_put_be64(out, (uint64_t)p->batches[i].base_offset);
            buf_put_be64(out, (uint64_t)p->batches[i].last_offset);
        }
    }
}

static bool load_one(struct producers *s, struct rd *r, int64_t now_ms) {
    struct producer *p = MEM_NEW(struct producer);
    p->id = (int64_t)rd_be64(r);
    p->used_ms = (int64_t)rd_be64(r);
    p->epoch = (int16_t)rd_be16(r);
    p->n = rd_be16(r);
    bool ok = !r->failed && p->n >= 1 && p->n <= PRODUCER_BATCHES && p->id >= 0;
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
    bool ok = rd_be32(&r) == SNAPSHOT_VERSION;
    uint32_t n = rd_be32(&r);
    ok = ok && !r.failed && n <= PRODUCERS_MAX;
    for (uint32_t i = 0; i < n && ok; i++) ok = load_one(s, &r, now_ms);
    if (ok && rd_left(&r) == 0) return true;
    producers_fini(s);
    producers_init(s);
    return false;
}
