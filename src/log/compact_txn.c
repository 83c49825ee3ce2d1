// SPDX-License-Identifier: Apache-2.0
// Transactions as compaction sees them, from nothing but the batches of the log: data batches with the transactional bit, then a marker of the
// same producer that says commit or abort.
#include <stdlib.h>

#include "log/compact_inside.h"

enum { ABORTED_MAX = 1 << 20 };

static struct str key_of(const int64_t *id) { return str_n(id, sizeof *id); }

void compact_txns_init(struct compact_txns *t) {
    *t = (struct compact_txns){0};
    map_init(&t->open);
    map_init(&t->seen);
}

static void free_all(struct map *m) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(m, &it)) != NULL;) mem_free(e->value);
    map_fini(m);
}

void compact_txns_fini(struct compact_txns *t) {
    free_all(&t->open);
    free_all(&t->seen);
    vec_fini(&t->aborted);
}

int compact_marker(const struct batch *b) {
    struct batch_iter it;
    struct batch_record r;
    int kind = MARKER_OTHER;
    if (batch_iter_init(&it, b, 0, NULL) == ERR_OK && batch_iter_next(&it, &r, NULL) == 1) {
        struct rd key = rd_of(r.key.p, r.key.n);
        (void)rd_be16(&key); // version
        uint16_t type = rd_be16(&key);
        if (!key.failed && type <= MARKER_COMMIT) kind = type;
    }
    batch_iter_fini(&it);
    return kind;
}

static void put(struct map *m, const struct batch *b) {
    struct compact_open *o = MEM_NEW(struct compact_open);
    *o = (struct compact_open){b->producer_id, b->base_offset};
    mem_free(map_put(m, key_of(&o->producer_id), o));
}

bool compact_txns_note(struct compact_txns *t, const struct batch *b, bool opens) {
    if ((b->attributes & BATCH_ATTR_TRANSACTION) == 0 || b->producer_id < 0) return true;
    struct str key = key_of(&b->producer_id);
    if ((b->attributes & BATCH_ATTR_CONTROL) == 0) {
        if (opens && map_get(&t->open, key) == NULL) put(&t->open, b);
        return true;
    }
    int kind = compact_marker(b);
    if (kind == MARKER_OTHER) return true;
    struct compact_open *o = map_remove(&t->open, key);
    bool full = o != NULL && kind == MARKER_ABORT && t->aborted.n >= ABORTED_MAX;
    if (o != NULL && kind == MARKER_ABORT && !full) vec_add(&t->aborted, ((struct compact_aborted){o->producer_id, o->first, b->base_offset}));
    if (full) mem_free(map_put(&t->open, key, o)); // as if it were not decided yet
    else mem_free(o);
    return !full;
}

int64_t compact_txns_first_open(const struct compact_txns *t) {
    int64_t first = INT64_MAX;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&t->open, &it)) != NULL;) {
        const struct compact_open *o = e->value;
        if (o->first < first) first = o->first;
    }
    return first;
}

static int by_producer(const void *a, const void *b) {
    const struct compact_aborted *x = a, *y = b;
    if (x->producer_id != y->producer_id) return x->producer_id < y->producer_id ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

void compact_txns_sort(struct compact_txns *t) {
    if (t->aborted.n > 1) qsort(t->aborted.p, t->aborted.n, sizeof *t->aborted.p, by_producer);
}

bool compact_txns_is_aborted(const struct compact_txns *t, const struct batch *b) {
    if ((b->attributes & BATCH_ATTR_TRANSACTION) == 0) return false;
    size_t low = 0, high = t->aborted.n; // the last one of this producer that began at or before the batch
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct compact_aborted *a = &t->aborted.p[mid];
        if (a->producer_id < b->producer_id || (a->producer_id == b->producer_id && a->first <= b->base_offset)) low = mid + 1;
        else high = mid;
    }
    return low > 0 && t->aborted.p[low - 1].producer_id == b->producer_id && b->base_offset < t->aborted.p[low - 1].last;
}

bool compact_txns_discard(struct compact_txns *t, const struct batch *b) {
    if ((b->attributes & BATCH_ATTR_TRANSACTION) == 0) return false;
    struct str key = key_of(&b->producer_id);
    if ((b->attributes & BATCH_ATTR_CONTROL) == 0) {
        put(&t->seen, b); // an empty batch too: without its marker the transaction would look open
        return compact_txns_is_aborted(t, b);
    }
    struct compact_open *o = map_remove(&t->seen, key);
    bool had_data = o != NULL;
    mem_free(o);
    return !had_data && compact_marker(b) != MARKER_OTHER;
}
