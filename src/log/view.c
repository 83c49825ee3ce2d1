// SPDX-License-Identifier: Apache-2.0
// Reading a log by offset, without copies: batches are answered where they lie in the block cache. Any thread. Nothing that readers may not see
// yet is ever returned.
//
// A read finds its segment and a position under the mutex (from where an earlier read stopped, or from the sparse index), takes a reference,
// and walks the batches in the cache's blocks, loading those that are not there (or answering ERR_BUSY). Every batch that is returned had
// its CRC checked, when it was appended or when it was first read from the disk into the block that it is returned from.
#include <assert.h>

#include "base/metrics.h"
#include "codec/crc32c.h"
#include "log/segment.h"

enum { AHEAD = 4 << 20, AT_CRC_START = 21 }; // a batch's CRC covers what is behind these bytes (batch.h)

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

bool log_same_segment(struct log *l, int64_t a, int64_t b) {
    sys_mutex_lock(&l->mutex);
    bool same = find_segment(l, a) == find_segment(l, b);
    sys_mutex_unlock(&l->mutex);
    return same;
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
    bool hinted; // a reader stopped here: it reads on
};

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

// ERR_OFFSET_RANGE, or a cursor; segment NULL = at the end of what may be read.
static enum err_code locate(struct log *l, int64_t offset, bool may_block, struct cursor *c, struct err *err) {
    sys_mutex_lock(&l->mutex);
    int64_t start = log_start_locked(l), end = l->read_end;
    *c = (struct cursor){0};
    if (offset >= start && offset < end) {
        size_t i = find_segment(l, offset);
        if (l->segments.p[i]->end <= offset && i + 1 < l->segments.n) i++; // a hole, after damage
        c->segment = l->segments.p[i];
        c->limit = c->segment->readable;
        segment_ref(c->segment);
        c->hinted = use_hint(l, offset, c);
    }
    sys_mutex_unlock(&l->mutex);
    if (offset < start || offset > end)
        return err_set(err, ERR_OFFSET_RANGE, "offset %lld is outside %lld..%lld", (long long)offset, (long long)start, (long long)end);
    if (c->segment == NULL || c->hinted) return ERR_OK;
    enum err_code code = may_block ? segment_ensure_index(l, c->segment, err) : segment_has_index(l, c->segment) ? ERR_OK : ERR_BUSY;
    if (code != ERR_OK) {
        segment_unref(l, c->segment);
        return code;
    }
    sys_mutex_lock(&l->mutex);
    c->position = find_position(c->segment, offset);
    sys_mutex_unlock(&l->mutex);
    return ERR_OK;
}

// ---- bytes ----------------------------------------------------------------------------------------------------------

struct walk {
    struct log *log;
    struct cursor at;
    bool may_block, ahead, records; // records: in a batch that was taken
    VEC(struct block_look) held; // by position
    struct err *err;
};

static enum err_code damaged(const struct walk *w, uint64_t position) {
    return err_set(w->err, ERR_CORRUPT, "%s/%020lld.log: damaged record batch at byte %llu", w->log->dir, (long long)w->at.segment->base,
                   (unsigned long long)position);
}

static enum err_code load(struct walk *w, uint64_t position) {
    struct segment *g = w->at.segment;
    struct block_load b;
    if (!cache_load_begin(w->log->cache, &g->blocks, position, w->at.limit, &b)) return ERR_OK; // somebody was faster
    size_t want = (size_t)(b.to - b.base);
    int64_t got = sys_pread(g->file, b.mem, (want + SYS_BLOCK - 1) / SYS_BLOCK * SYS_BLOCK, b.base, w->err);
    bool ok = got >= (int64_t)want;
    cache_load_end(w->log->cache, &b, ok);
    metric_add(M_LOG_CACHE_MISSES, NULL, 1);
    if (ok) return ERR_OK;
    return got < 0 ? w->err->code : damaged(w, b.base + (uint64_t)got);
}

// For reading ahead: all blocks of a hole in one call. What fails is tried again by who needs it.
static void load_hole(struct walk *w, uint64_t from) {
    enum { RUN = AHEAD / BLOCK_BIG };
    struct segment *g = w->at.segment;
    struct block_load run[RUN];
    struct sys_iov iov[RUN];
    uint64_t to = from + AHEAD < w->at.limit ? from + AHEAD : w->at.limit;
    int n = 0;
    for (uint64_t at = cache_hole(w->log->cache, &g->blocks, from, to); at < to && n < RUN; at = run[n++].to) {
        if (!cache_load_begin(w->log->cache, &g->blocks, at, w->at.limit, &run[n])) break;
        size_t bytes = (size_t)(run[n].to - run[n].base);
        iov[n] = (struct sys_iov){run[n].mem, (bytes + SYS_BLOCK - 1) / SYS_BLOCK * SYS_BLOCK};
        if (bytes % SYS_BLOCK == 0) continue;
        n++; // what follows does not begin where this one ends
        break;
    }
    int64_t got = n == 0 ? 0 : sys_preadv(g->file, iov, n, run[0].base, NULL);
    for (int i = 0; i < n; i++) cache_load_end(w->log->cache, &run[i], got >= (int64_t)(run[i].to - run[0].base));
    metric_add(M_LOG_CACHE_MISSES, NULL, n);
}

// The block that holds the byte; it stays until the walk ends. The pointer is good until the next call.
static enum err_code hold(struct walk *w, uint64_t position, const struct block_look **out) {
    for (size_t i = w->held.n; i > 0; i--) {
        *out = &w->held.p[i - 1];
        if (position >= (*out)->from && position < (*out)->to) return ERR_OK;
    }
    for (;;) {
        struct block_look look;
        enum block_state state = cache_find(w->log->cache, &w->at.segment->blocks, position, w->may_block, w->ahead, &look);
        if (state == BLOCK_FOUND) {
            vec_add(&w->held, look);
            *out = vec_last(&w->held);
            metric_add(M_LOG_CACHE_HITS, NULL, 1);
            return ERR_OK;
        }
        if (!w->may_block) return ERR_BUSY;
        enum err_code code = load(w, position);
        if (code != ERR_OK) return code;
    }
}

static void let_go(struct walk *w, uint64_t from, uint64_t to, struct log_view *out) { // pieces of [from, to) go into the view
    for (size_t i = 0; i < w->held.n; i++) {
        struct block_look *k = &w->held.p[i];
        uint64_t a = k->from > from ? k->from : from, b = k->to < to ? k->to : to;
        if (a >= b) {
            cache_unref(w->log->cache, k->block);
            continue;
        }
        vec_add(&out->pieces, ((struct log_piece){str_n(k->p + (a - k->from), (size_t)(b - a)), k->block}));
        out->n += (size_t)(b - a);
        out->held += k->cap;
    }
    vec_fini(&w->held);
}

// ---- batches --------------------------------------------------------------------------------------------------------

// The header of the batch at `position`; b->p is not to be used. Only batches that are whole below the limit are good.
static enum err_code peek(struct walk *w, uint64_t position, struct batch *b) {
    uint8_t copy[BATCH_HEADER];
    const uint8_t *p = copy;
    uint64_t left = w->at.limit - position;
    if (left < BATCH_HEADER) return damaged(w, position);
    const struct block_look *k;
    enum err_code code = hold(w, position, &k);
    if (code != ERR_OK) return code;
    if (k->to - position >= BATCH_HEADER) {
        p = k->p + (position - k->from);
    } else {
        for (size_t n = 0; n < BATCH_HEADER;) {
            code = hold(w, position + n, &k);
            if (code != ERR_OK) return code;
            size_t part = (size_t)(k->to - (position + n));
            if (part > BATCH_HEADER - n) part = BATCH_HEADER - n;
            memcpy(copy + n, k->p + (position + n - k->from), part);
            n += part;
        }
    }
    enum batch_status status = batch_read(p, BATCH_HEADER, b);
    if ((status != BATCH_OK && status != BATCH_SHORT) || b->size > left) return damaged(w, position);
    return ERR_OK;
}

// Holds all of the batch; *checked is set when its CRC had to be computed.
static enum err_code check(struct walk *w, uint64_t position, const struct batch *b, bool *checked) {
    bool good = true;
    for (uint64_t at = position; at < position + b->size;) {
        const struct block_look *k;
        enum err_code code = hold(w, at, &k);
        if (code != ERR_OK) return code;
        uint64_t end = k->to < position + b->size ? k->to : position + b->size;
        good = good && at >= k->good_from && end <= k->good_to;
        at = end;
    }
    if (good) return ERR_OK;
    uint32_t crc = 0;
    for (uint64_t at = position + AT_CRC_START; at < position + b->size;) {
        const struct block_look *k;
        (void)hold(w, at, &k); // it is held
        uint64_t end = k->to < position + b->size ? k->to : position + b->size;
        crc = crc32c(crc, k->p + (at - k->from), (size_t)(end - at));
        at = end;
    }
    *checked = true;
    return crc == b->crc ? ERR_OK : damaged(w, position);
}

// To the batch that holds `offset`, or the first one behind it where there is a gap.
static enum err_code seek(struct walk *w, int64_t offset) {
    while (w->at.position < w->at.limit) {
        struct batch b = {0};
        enum err_code code = peek(w, w->at.position, &b);
        if (code != ERR_OK || batch_last_offset(&b) >= offset) return code;
        w->at.position += b.size;
    }
    return damaged(w, w->at.position);
}

// Batches from the position on, at most `max` bytes but at least one. *next: the offset behind them. What is damaged, or not in memory, behind
// the first one ends the answer (half of what was asked for is worth one).
static enum err_code take(struct walk *w, size_t max, uint64_t *end, int64_t *next) {
    uint64_t from = w->at.position, at = from;
    enum err_code code = ERR_OK;
    bool checked = false;
    while (at < w->at.limit && code == ERR_OK) {
        struct batch b = {0};
        code = peek(w, at, &b);
        if (code != ERR_OK || (at > from && at - from + b.size > max)) break;
        code = check(w, at, &b, &checked);
        if (code != ERR_OK) break;
        at += b.size;
        w->records = w->records || b.count > 0;
        *next = batch_last_offset(&b) + 1;
    }
    if (checked && at > from) cache_good(w->log->cache, &w->at.segment->blocks, from, at);
    *end = at;
    if (code == ERR_OK || at == from) return code;
    if (code == ERR_BUSY && at - from < max / 2) return code;
    err_clear(w->err);
    return ERR_OK;
}

static enum err_code read_view(struct log *l, int64_t offset, size_t max_bytes, bool may_block, bool ahead, struct log_view *out, struct err *err) {
    assert(out->pieces.n == 0 && out->n == 0);
    struct walk w = {.log = l, .may_block = may_block, .ahead = ahead, .err = err};
    enum err_code code = locate(l, offset, may_block, &w.at, err);
    out->next = offset;
    if (code != ERR_OK || w.at.segment == NULL) return code;
    if (ahead) load_hole(&w, w.at.position);
    code = seek(&w, offset);
    uint64_t from = w.at.position, end = from;
    if (code == ERR_OK) code = take(&w, max_bytes, &end, &out->next);
    if (code != ERR_OK) end = from;
    let_go(&w, from, end, out);
    out->empty = out->n > 0 && !w.records;
    struct segment *g = w.at.segment;
    if (code == ERR_OK && !ahead) {
        leave_hint(l, out->next, g, end);
        if (w.at.hinted) cache_passed(l->cache, &g->blocks, from, end);
        uint64_t soon = end + AHEAD / 2 < w.at.limit ? end + AHEAD / 2 : w.at.limit;
        out->ahead = w.at.hinted && cache_hole(l->cache, &g->blocks, end, soon) < soon;
    }
    segment_unref(l, g);
    return code;
}

enum err_code log_read_view(struct log *l, int64_t offset, size_t max_bytes, bool may_block, struct log_view *out, struct err *err) {
    struct err local = {0};
    return read_view(l, offset, max_bytes, may_block, false, out, err == NULL ? &local : err);
}

enum err_code log_read_records(struct log *l, int64_t offset, size_t max_bytes, bool may_block, struct log_view *out, struct err *err) {
    enum { SEGMENTS_MAX = 1000 }; // passed over by one read
    enum err_code code = log_read_view(l, offset, max_bytes, may_block, out, err);
    for (int i = 0; code == ERR_OK && out->empty && out->next < log_read_end(l) && i < SEGMENTS_MAX; i++) {
        int64_t next = out->next;
        log_view_release(out);
        code = log_read_view(l, next, max_bytes, may_block, out, err);
    }
    return code;
}

void log_read_ahead(struct log *l, int64_t offset) {
    struct log_view v = {0};
    struct err err = {0};
    (void)read_view(l, offset, AHEAD, true, true, &v, &err); // who reads it next meets the error
    log_view_release(&v);
}

enum err_code log_read(struct log *l, int64_t offset, size_t max_bytes, struct buf *out, struct err *err) {
    struct log_view v = {0};
    enum err_code code = log_read_view(l, offset, max_bytes, true, &v, err);
    if (code == ERR_OK && !buf_reserve(out, v.n))
        code = err_set(err, ERR_TOO_LARGE, "a read of %zu bytes is larger than its buffer's maximum", v.n);
    for (size_t i = 0; i < v.pieces.n && code == ERR_OK; i++) buf_put_str(out, v.pieces.p[i].bytes);
    log_view_release(&v);
    return code;
}
