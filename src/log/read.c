// SPDX-License-Identifier: Apache-2.0
// Searching a log by time. Any thread; reads the disk. Nothing behind the durable end is ever found.
//
// The sparse index says where to begin; batches are walked from there, on the file, outside the mutex.
#include <assert.h>

#include "log/segment.h"

// ---- by time --------------------------------------------------------------------------------------------------------

struct time_search {
    int64_t t, start, limit; // first record with timestamp >= t, from offset `start` on, below `limit`
    int64_t offset, found;
    struct err *err;
    enum err_code code;
};

// The records say which one it is; when they cannot be read (damage), the batch's first offset answers.
static bool search_batch(void *arg, const struct batch *b, uint64_t position) {
    struct time_search *x = arg;
    (void)position;
    if (b->base_offset >= x->limit) return false;
    if (b->max_timestamp < x->t || batch_last_offset(b) < x->start) return true;
    struct batch_iter it;
    struct batch_record r;
    if (batch_iter_init(&it, b, 0, NULL) == ERR_OK) {
        while (x->offset < 0 && batch_iter_next(&it, &r, NULL) == 1) {
            if (r.timestamp < x->t || r.offset < x->start) continue;
            x->offset = r.offset;
            x->found = r.timestamp;
        }
    } else {
        x->offset = b->base_offset;
        x->found = b->max_timestamp;
    }
    batch_iter_fini(&it);
    return x->offset < 0;
}

static enum err_code search_segment(struct log *l, struct segment *g, struct time_search *x) {
    enum err_code code = segment_ensure_index(l, g, x->err);
    if (code != ERR_OK) return code;
    struct scan c = {.file = g->file, .expect = -1, .fn = search_batch, .arg = x};
    sys_mutex_lock(&l->mutex);
    c.to = g->readable;
    size_t low = 0, high = g->index.n; // the last entry whose predecessors are all older than t
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (g->index.p[mid].max_before < x->t) low = mid + 1;
        else high = mid;
    }
    c.from = low == 0 ? 0 : g->index.p[low - 1].position;
    sys_mutex_unlock(&l->mutex);
    return c.from >= c.to ? ERR_OK : segment_scan(&c, x->err);
}

// The next segment from *base on with a record at or after t; NULL = none. With a reference.
static struct segment *next_candidate(struct log *l, int64_t *base, int64_t t) {
    sys_mutex_lock(&l->mutex);
    struct segment *g = NULL;
    for (size_t i = 0; i < l->segments.n && g == NULL; i++) {
        struct segment *s = l->segments.p[i];
        if (s->base >= *base && s->base < l->read_end && s->size > 0 && s->max_time >= t) g = s;
    }
    if (g != NULL) {
        segment_ref(g);
        *base = g->base + 1;
    }
    sys_mutex_unlock(&l->mutex);
    return g;
}

enum err_code log_find_time(struct log *l, int64_t t, int64_t *offset, int64_t *found, struct err *err) {
    struct err local = {0};
    struct time_search x = {.t = t, .start = log_start(l), .limit = log_read_end(l), .offset = -1, .found = -1, .err = err == NULL ? &local : err};
    int64_t base = 0;
    enum err_code code = ERR_OK;
    while (x.offset < 0 && code == ERR_OK) {
        struct segment *g = next_candidate(l, &base, t);
        if (g == NULL) break;
        code = search_segment(l, g, &x);
        segment_unref(l, g);
    }
    *offset = x.offset;
    *found = x.found;
    return code;
}

struct max_search {
    int64_t limit, t;
};

static bool max_batch(void *arg, const struct batch *b, uint64_t position) {
    struct max_search *x = arg;
    (void)position;
    if (b->base_offset < x->limit && b->max_timestamp > x->t) x->t = b->max_timestamp;
    return b->base_offset < x->limit;
}

enum err_code log_find_max_time(struct log *l, int64_t *offset, int64_t *found, struct err *err) {
    struct max_search x = {.limit = log_read_end(l), .t = INT64_MIN};
    sys_mutex_lock(&l->mutex);
    struct segment *g = *vec_last(&l->segments);
    bool all = l->read_end == l->end;
    for (size_t i = 0; i < l->segments.n; i++)
        if ((all || l->segments.p[i] != g) && l->segments.p[i]->max_time > x.t) x.t = l->segments.p[i]->max_time;
    struct scan c = {.file = g->file, .to = g->readable, .expect = -1, .fn = max_batch, .arg = &x};
    segment_ref(g);
    sys_mutex_unlock(&l->mutex);
    // The newest record may be in a batch that is not to be seen yet: then the part in front of it is searched.
    enum err_code code = all ? ERR_OK : segment_scan(&c, err);
    segment_unref(l, g);
    *offset = *found = -1;
    return code != ERR_OK || x.t < 0 ? code : log_find_time(l, x.t, offset, found, err);
}
