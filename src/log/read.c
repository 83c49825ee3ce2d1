// SPDX-License-Identifier: Apache-2.0
// Reading a log: by offset, by time. Any thread. Nothing behind the durable end is ever returned.
//
// A read finds its segment and a position under the mutex (from where an earlier read stopped, or from the sparse index), takes a
// reference, and works on the file outside the mutex. Every batch that is returned had its CRC checked.
#include <assert.h>

#include "log/segment.h"

enum { READ_MIN = 16384 }; // bytes of one pread: enough to find a batch behind an index entry

// ---- where to begin -------------------------------------------------------------------------------------------------

// The segment that holds `offset`: the last one with base <= offset. Under the mutex.
static size_t find_segment(const struct log *l, int64_t offset) {
    size_t low = 0, high = l->segments.n;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (l->segments.p[mid]->base <= offset) low = mid;
        else high = mid;
    }
    return low;
}

static uint64_t find_position(const struct segment *g, int64_t offset) {
    size_t low = 0, high = g->index.n; // the last entry with base + relative <= offset
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (g->base + g->index.p[mid].relative <= offset) low = mid + 1;
        else high = mid;
    }
    return low == 0 ? 0 : g->index.p[low - 1].position;
}

struct cursor {
    struct segment *segment; // with a reference
    uint64_t position, limit;
};

// Loads the index of a closed segment when it is not there yet, which needs the mutex released.
static enum err_code ensure_index(struct log *l, struct segment *g, struct err *err) {
    sys_mutex_lock(&l->mutex);
    bool loaded = g->index_loaded || !g->closed;
    sys_mutex_unlock(&l->mutex);
    return loaded ? ERR_OK : segment_load_index(l, g, err);
}

static bool use_hint(const struct log *l, int64_t offset, struct cursor *c) {
    for (size_t i = 0; i < LOG_HINTS; i++) {
        if (l->hints[i].offset != offset || l->hints[i].base != c->segment->base) continue;
        c->position = l->hints[i].position;
        return c->position <= c->limit;
    }
    return false;
}

static void leave_hint(struct log *l, int64_t offset, const struct segment *g, uint64_t position) {
    sys_mutex_lock(&l->mutex);
    if (!g->dropped) { // else another file may have its name by now
        l->hints[l->next_hint] = (struct read_hint){offset, g->base, position};
        l->next_hint = (l->next_hint + 1) % LOG_HINTS;
    }
    sys_mutex_unlock(&l->mutex);
}

// ERR_OFFSET_RANGE, or a cursor; segment NULL = at the durable end.
static enum err_code locate(struct log *l, int64_t offset, struct cursor *c, struct err *err) {
    sys_mutex_lock(&l->mutex);
    int64_t start = log_start_locked(l), end = l->durable_end;
    *c = (struct cursor){0};
    bool hinted = false;
    if (offset >= start && offset < end) {
        size_t i = find_segment(l, offset);
        if (l->segments.p[i]->end <= offset && i + 1 < l->segments.n) i++; // a hole, after damage
        c->segment = l->segments.p[i];
        c->limit = c->segment->synced;
        segment_ref(c->segment);
        hinted = use_hint(l, offset, c);
    }
    sys_mutex_unlock(&l->mutex);
    if (offset < start || offset > end)
        return err_set(err, ERR_OFFSET_RANGE, "offset %lld is outside %lld..%lld", (long long)offset, (long long)start, (long long)end);
    if (c->segment == NULL || hinted) return ERR_OK;
    enum err_code code = ensure_index(l, c->segment, err);
    if (code != ERR_OK) {
        segment_unref(l, c->segment);
        return code;
    }
    sys_mutex_lock(&l->mutex);
    c->position = find_position(c->segment, offset);
    sys_mutex_unlock(&l->mutex);
    return ERR_OK;
}

// ---- by offset ------------------------------------------------------------------------------------------------------

static enum err_code damaged(const struct log *l, const struct segment *g, uint64_t position, struct err *err) {
    return err_set(err, ERR_CORRUPT, "%s/%020lld.log: damaged record batch at byte %llu", l->dir, (long long)g->base,
                   (unsigned long long)position);
}

static enum err_code read_at(const struct log *l, const struct cursor *c, struct buf *out, size_t n, struct err *err) {
    if (!buf_reserve(out, n)) return err_set(err, ERR_TOO_LARGE, "a read of %zu bytes is larger than its buffer's maximum", n);
    int64_t got = sys_pread(c->segment->file, out->p + out->n, n, c->position, err);
    if (got < 0) return err == NULL ? ERR_IO : err->code;
    if ((size_t)got < n) return damaged(l, c->segment, c->position + (uint64_t)got, err);
    return ERR_OK;
}

// How many bytes in front of the batch that holds `offset`; *found false: all n bytes are in front of it.
static size_t skip_before(const uint8_t *p, size_t n, int64_t offset, bool *found, bool *bad) {
    size_t at = 0;
    *found = *bad = false;
    while (at < n) {
        struct batch b = {0};
        enum batch_status status = batch_read(p + at, n - at, &b);
        if (status == BATCH_DAMAGED || status == BATCH_OLD) return *bad = true, at;
        if (status == BATCH_SHORT && n - at < BATCH_HEADER) break;
        if (batch_last_offset(&b) >= offset) return *found = true, at;
        if (status == BATCH_SHORT) return at + b.size; // it ends behind these bytes: go on there
        at += b.size;
    }
    return at;
}

// Moves the cursor to the batch that holds `offset`, reading into the free end of `out`; *have = bytes of it that are there already.
static enum err_code seek(const struct log *l, struct cursor *c, int64_t offset, size_t want, struct buf *out, size_t *have, struct err *err) {
    *have = 0;
    while (c->position < c->limit) {
        size_t n = want < READ_MIN ? READ_MIN : want;
        if (n > c->limit - c->position) n = (size_t)(c->limit - c->position);
        enum err_code code = read_at(l, c, out, n, err);
        if (code != ERR_OK) return code;
        bool found, bad;
        size_t skip = skip_before(out->p + out->n, n, offset, &found, &bad);
        if (bad || (skip == 0 && !found)) return damaged(l, c->segment, c->position + skip, err);
        c->position += skip;
        if (!found) continue;
        *have = n - skip;
        if (skip > 0) memmove(out->p + out->n, out->p + out->n + skip, *have);
        return ERR_OK;
    }
    return ERR_OK;
}

// Whole, undamaged batches among the n bytes, at most `max` bytes of them but at least one. *next = offset behind the last.
static size_t take_batches(const uint8_t *p, size_t n, size_t max, int64_t *next) {
    size_t taken = 0;
    struct batch b;
    while (taken < n && batch_read(p + taken, n - taken, &b) == BATCH_OK && (taken == 0 || taken + b.size <= max)) {
        if (!batch_crc_ok(&b)) break;
        taken += b.size;
        *next = batch_last_offset(&b) + 1;
    }
    return taken;
}

static enum err_code read_batches(struct log *l, struct cursor *c, int64_t offset, size_t max_bytes, struct buf *out, struct err *err) {
    size_t have = 0;
    enum err_code code = seek(l, c, offset, max_bytes, out, &have, err);
    if (code != ERR_OK) return code;
    if (have == 0) return damaged(l, c->segment, c->position, err);
    size_t first = batch_size(out->p + out->n, have);
    if (first > have) { // larger than what was asked for: it comes whole
        if (first > c->limit - c->position) return damaged(l, c->segment, c->position, err);
        code = read_at(l, c, out, first, err);
        if (code != ERR_OK) return code;
        have = first;
    }
    int64_t next = offset;
    size_t taken = take_batches(out->p + out->n, have, max_bytes, &next);
    if (taken == 0) return damaged(l, c->segment, c->position, err);
    out->n += taken;
    leave_hint(l, next, c->segment, c->position + taken);
    return ERR_OK;
}

enum err_code log_read(struct log *l, int64_t offset, size_t max_bytes, struct buf *out, struct err *err) {
    struct err local = {0};
    if (err == NULL) err = &local;
    struct cursor c;
    enum err_code code = locate(l, offset, &c, err);
    if (code != ERR_OK || c.segment == NULL) return code;
    code = read_batches(l, &c, offset, max_bytes, out, err);
    segment_unref(l, c.segment);
    return code;
}

struct log_block { // one reader's own
    struct buf bytes;
};

void log_view_release(struct log_view *v) {
    for (size_t i = 0; i < v->pieces.n; i++) {
        if (v->pieces.p[i].block == NULL) continue;
        buf_fini(&v->pieces.p[i].block->bytes);
        mem_free(v->pieces.p[i].block);
    }
    vec_fini(&v->pieces);
    *v = (struct log_view){0};
}

enum err_code log_read_view(struct log *l, int64_t offset, size_t max_bytes, bool may_block, struct log_view *out, struct err *err) {
    if (!may_block && offset >= log_start(l) && offset < log_durable_end(l)) return ERR_BUSY;
    struct log_block *b = MEM_NEW(struct log_block);
    buf_init(&b->bytes, 0);
    enum err_code code = log_read(l, offset, max_bytes, &b->bytes, err);
    vec_add(&out->pieces, ((struct log_piece){buf_str(&b->bytes), b}));
    if (code != ERR_OK || b->bytes.n == 0) {
        log_view_release(out);
        return code;
    }
    out->n = b->bytes.n;
    out->held = b->bytes.cap;
    return code;
}

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
    enum err_code code = ensure_index(l, g, x->err);
    if (code != ERR_OK) return code;
    struct scan c = {.file = g->file, .expect = -1, .fn = search_batch, .arg = x};
    sys_mutex_lock(&l->mutex);
    c.to = g->synced;
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
        if (s->base >= *base && s->base < l->durable_end && s->size > 0 && s->max_time >= t) g = s;
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
    struct time_search x = {.t = t, .start = log_start(l), .limit = log_durable_end(l), .offset = -1, .found = -1, .err = err == NULL ? &local : err};
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
    struct max_search x = {.limit = log_durable_end(l), .t = INT64_MIN};
    sys_mutex_lock(&l->mutex);
    struct segment *g = *vec_last(&l->segments);
    bool durable = l->durable_end == l->end;
    for (size_t i = 0; i < l->segments.n; i++)
        if ((durable || l->segments.p[i] != g) && l->segments.p[i]->max_time > x.t) x.t = l->segments.p[i]->max_time;
    struct scan c = {.file = g->file, .to = g->synced, .expect = -1, .fn = max_batch, .arg = &x};
    segment_ref(g);
    sys_mutex_unlock(&l->mutex);
    // The newest record may be in a batch that is not durable yet: then the durable part is searched.
    enum err_code code = durable ? ERR_OK : segment_scan(&c, err);
    segment_unref(l, g);
    *offset = *found = -1;
    return code != ERR_OK || x.t < 0 ? code : log_find_time(l, x.t, offset, found, err);
}
