// SPDX-License-Identifier: Apache-2.0
// The course of a compaction: which segments, what is known of keys and transactions, rewriting group by group.
//
//   MARKERS  only when there are transactions: which of those that begin in the new part of the log were aborted. Goes on behind it until all
//            are decided; one that is not keeps its segment and what follows out of this compaction.
//   KEYS     the newest offset of each key in the new part; ends early when the table is full
//   FILTER   all segments from the log's first one on, small ones together, into new segments; each takes the place of its old ones
//
// Each step reads a bounded number of bytes. Sources are closed, on disk and referenced: retention may drop them meanwhile, then their group is
// left alone. Nothing of the log changes before compact_swap.
#include <assert.h>

#include "base/log.h"
#include "log/compact_inside.h"

enum { MAP_BYTES = 128 << 20, STEP_BYTES = 4 << 20, WRITE_BYTES = 1 << 20 };
enum phase { MARKERS, KEYS, FILTER, DONE };

struct log_compaction {
    struct log *log;
    struct log_compaction_config config;
    struct compact_map map;
    struct compact_txns txns;
    struct compact_filter filter;
    VEC(struct segment *) sources; // with references
    int64_t from, upper; // offsets: the new part
    enum phase phase;
    bool markers_known, wants_markers, full;
    size_t at;         // in sources
    uint64_t position; // in that segment's file
    int64_t behind;    // MARKERS, behind the sources: base of the segment looked at, or below it
    // FILTER: the group under way
    size_t group_first, group_end;
    struct segment *out; // NULL = none
    struct buf pending;  // bytes behind out->size
    bool changed;
    struct log_compaction_stats stats;
    // one step
    uint64_t budget;
    enum err_code code;
    struct err *err;
};

// ---- which segments -------------------------------------------------------------------------------------------------

static bool is_settled(const struct log *l, const struct segment *g) {
    return g->closed && g->synced == g->size && g->index_on_disk && (!g->has_snapshot || g->snapshot_on_disk) && g->end <= l->durable_end;
}

static int64_t first_dirty(const struct log *l) { // under the mutex
    int64_t start = l->segments.p[0]->base, last = (*vec_last(&l->segments))->base;
    return l->clean_below < start ? start : l->clean_below > last ? last : l->clean_below;
}

// How many segments from the first one on may be compacted. Under the mutex.
static size_t eligible(const struct log *l, int64_t now, int64_t min_lag) {
    size_t n = 0;
    int64_t dirty = first_dirty(l);
    for (; n + 1 < l->segments.n; n++) {
        const struct segment *g = l->segments.p[n];
        if (!is_settled(l, g)) break;
        if (g->end > dirty && min_lag > 0 && segment_newest_ms(g) > now - min_lag) break;
    }
    return n;
}

static int64_t first_time(struct segment *g) {
    uint8_t head[BATCH_HEADER];
    struct batch b = {0};
    if (sys_pread(g->file, head, sizeof head, 0, NULL) != BATCH_HEADER) return -1;
    enum batch_status status = batch_read(head, sizeof head, &b);
    return status == BATCH_OK || status == BATCH_SHORT ? b.max_timestamp : -1;
}

static int64_t earliest_time(struct log *l, int64_t dirty, size_t n) {
    VEC(struct segment *) some = {0};
    int64_t earliest = -1;
    sys_mutex_lock(&l->mutex);
    for (size_t i = 0; i < n && i < l->segments.n; i++) {
        if (l->segments.p[i]->end <= dirty) continue;
        segment_ref(l->segments.p[i]);
        vec_add(&some, l->segments.p[i]);
    }
    sys_mutex_unlock(&l->mutex);
    for (size_t i = 0; i < some.n; i++) {
        int64_t t = first_time(some.p[i]);
        if (t > 0 && (earliest < 0 || t < earliest)) earliest = t;
        segment_unref(l, some.p[i]);
    }
    vec_fini(&some);
    return earliest;
}

void log_dirt(struct log *l, int64_t now, int64_t min_lag, bool earliest, struct log_dirt *out) {
    *out = (struct log_dirt){.earliest_ms = -1};
    sys_mutex_lock(&l->mutex);
    size_t n = l->offline ? 0 : eligible(l, now, min_lag);
    out->first_dirty = out->upper = first_dirty(l);
    for (size_t i = 0; i < n; i++) {
        const struct segment *g = l->segments.p[i];
        if (g->end <= out->first_dirty) out->clean_bytes += g->size;
        else out->dirty_bytes += g->size, out->upper = g->end;
    }
    sys_mutex_unlock(&l->mutex);
    if (earliest && out->dirty_bytes > 0) out->earliest_ms = earliest_time(l, out->first_dirty, n);
}

// ---- begin and end --------------------------------------------------------------------------------------------------

static void drop_sources(struct log_compaction *c, size_t keep) {
    for (size_t i = keep; i < c->sources.n; i++) segment_unref(c->log, c->sources.p[i]);
    if (keep < c->sources.n) c->sources.n = keep;
}

struct log_compaction *log_compaction_begin(struct log *l, const struct log_compaction_config *config) {
    struct log_compaction *c = MEM_NEW(struct log_compaction);
    c->log = l;
    c->config = *config;
    if (c->config.map_bytes == 0) c->config.map_bytes = MAP_BYTES;
    if (c->config.step_bytes == 0) c->config.step_bytes = STEP_BYTES;
    struct log_producer_last *producers = mem_alloc((config->n_producers + 1) * sizeof *producers);
    if (config->n_producers > 0) memcpy(producers, config->producers, config->n_producers * sizeof *producers);
    c->config.producers = producers;
    sys_mutex_lock(&l->mutex);
    size_t n = l->offline ? 0 : eligible(l, config->now_ms, config->min_lag_ms);
    c->from = c->upper = first_dirty(l);
    for (size_t i = 0; i < n; i++) {
        segment_ref(l->segments.p[i]);
        vec_add(&c->sources, l->segments.p[i]);
    }
    sys_mutex_unlock(&l->mutex);
    if (n > 0 && c->sources.p[n - 1]->end > c->upper) c->upper = c->sources.p[n - 1]->end;
    c->phase = c->upper > c->from ? KEYS : DONE;
    compact_map_init(&c->map, l->sys, c->config.map_bytes);
    c->map.latest = c->from - 1;
    compact_txns_init(&c->txns);
    buf_init(&c->pending, 0);
    c->filter = (struct compact_filter){.map = &c->map, .txns = &c->txns, .producers = producers, .n_producers = config->n_producers};
    c->filter.now_ms = config->now_ms;
    c->filter.delete_retention_ms = config->delete_retention_ms;
    buf_init(&c->filter.records, 0);
    buf_init(&c->filter.packed, 0);
    c->stats.segments_before = n;
    return c;
}

static void give_up_output(struct log_compaction *c) {
    if (c->out == NULL) return;
    int64_t base = c->out->base;
    segment_free(c->out);
    c->out = NULL;
    buf_clear(&c->pending);
    sys_mutex_lock(&c->log->names);
    if (!c->log->abandoned) compact_unlink_cleaned(c->log, base);
    sys_mutex_unlock(&c->log->names);
}

void log_compaction_end(struct log_compaction *c, struct log_compaction_stats *out) {
    give_up_output(c);
    drop_sources(c, 0);
    vec_fini(&c->sources);
    compact_map_fini(&c->map);
    compact_txns_fini(&c->txns);
    buf_fini(&c->pending);
    buf_fini(&c->filter.records);
    buf_fini(&c->filter.packed);
    mem_free((void *)(uintptr_t)c->config.producers);
    c->stats.records_read = c->filter.records_read;
    c->stats.records_kept = c->filter.records_kept;
    if (out != NULL) *out = c->stats;
    mem_free(c);
}

// ---- walking --------------------------------------------------------------------------------------------------------

// The batches of one segment from c->position on, until its end or the budget's. fn returns false to stop (c->code says why, or no reason).
static bool walk(struct log_compaction *c, struct segment *g, uint64_t to, bool (*fn)(void *, const struct batch *, uint64_t)) {
    struct scan s = {.file = g->file, .from = c->position, .to = to, .check_crc = true, .expect = -1, .fn = fn, .arg = c};
    enum err_code code = segment_scan(&s, c->err);
    if (c->code == ERR_OK) c->code = code;
    c->stats.bytes_read += s.good_end - c->position;
    c->position = s.good_end;
    if (c->code == ERR_OK && (s.stopped != NULL || s.zeros))
        c->code = err_set(c->err, ERR_CORRUPT, "%s/%020lld.log: byte %llu: %s; it is not compacted", c->log->dir, (long long)g->base,
                          (unsigned long long)s.good_end, s.zeros ? "zeros" : s.stopped);
    return c->code == ERR_OK && s.good_end >= to;
}

static bool spend(struct log_compaction *c, const struct batch *b) {
    if (c->budget == 0) return false;
    c->budget -= b->size < c->budget ? b->size : c->budget;
    return true;
}

static void enter(struct log_compaction *c, enum phase phase, size_t at) {
    c->phase = phase;
    c->at = at;
    c->position = 0;
}

static size_t first_new(const struct log_compaction *c) {
    size_t i = 0;
    while (i < c->sources.n && c->sources.p[i]->end <= c->from) i++;
    return i;
}

// ---- markers --------------------------------------------------------------------------------------------------------

static bool marker_batch(void *arg, const struct batch *b, uint64_t position) {
    struct log_compaction *c = arg;
    (void)position;
    if (!spend(c, b)) return false;
    if (batch_last_offset(b) < c->from) return true;
    c->full = !compact_txns_note(&c->txns, b, b->base_offset < c->upper);
    return !c->full && (b->base_offset < c->upper || c->txns.open.n > 0);
}

// The next segment to look at behind the sources: the one that begins at `base`. With a reference; NULL = nothing durable is left.
static struct segment *segment_behind(struct log *l, int64_t base, uint64_t *limit) {
    struct segment *found = NULL;
    sys_mutex_lock(&l->mutex);
    for (size_t i = 0; i < l->segments.n && found == NULL; i++)
        if (l->segments.p[i]->base >= base && l->segments.p[i]->synced > 0) found = l->segments.p[i];
    if (found != NULL) {
        segment_ref(found);
        *limit = found->synced;
    }
    sys_mutex_unlock(&l->mutex);
    return found;
}

static void markers_known(struct log_compaction *c) {
    int64_t undecided = compact_txns_first_open(&c->txns);
    size_t n = c->sources.n;
    while (n > 0 && c->sources.p[n - 1]->end > undecided) n--;
    drop_sources(c, n);
    c->upper = n > 0 && c->sources.p[n - 1]->end > c->from ? c->sources.p[n - 1]->end : c->from;
    compact_txns_sort(&c->txns);
    c->markers_known = true;
    if (c->upper > c->from) enter(c, KEYS, first_new(c));
    else c->phase = DONE;
}

static void step_markers(struct log_compaction *c) {
    bool inside = c->at < c->sources.n;
    uint64_t limit = inside ? c->sources.p[c->at]->size : 0;
    struct segment *g = inside ? c->sources.p[c->at] : c->txns.open.n > 0 ? segment_behind(c->log, c->behind, &limit) : NULL;
    bool ended = g == NULL;
    if (g != NULL && walk(c, g, limit, marker_batch)) {
        c->at += inside;
        c->behind = inside ? c->upper : g->base + 1;
        c->position = 0;
    }
    if (g != NULL && !inside) segment_unref(c->log, g);
    if (c->code == ERR_OK && (ended || c->full || (!inside && c->txns.open.n == 0))) markers_known(c);
}

// ---- keys -----------------------------------------------------------------------------------------------------------

static enum err_code note_keys(struct log_compaction *c, const struct batch *b) {
    struct batch_iter it;
    struct batch_record r;
    enum err_code code = batch_iter_init(&it, b, 0, c->err);
    int got = 0;
    while (code == ERR_OK && (got = batch_iter_next(&it, &r, c->err)) == 1) {
        if (r.key_null || r.offset < c->from) continue;
        bool put = compact_map_put(&c->map, r.key, r.offset);
        assert(put); // there was room for all
        (void)put;
    }
    batch_iter_fini(&it);
    return got < 0 ? ERR_CORRUPT : code;
}

static bool key_batch(void *arg, const struct batch *b, uint64_t position) {
    struct log_compaction *c = arg;
    (void)position;
    if (batch_last_offset(b) < c->from) return spend(c, b);
    bool transaction = (b->attributes & BATCH_ATTR_TRANSACTION) != 0;
    c->wants_markers = transaction && !c->markers_known;
    if (c->wants_markers || !spend(c, b)) return false;
    if ((b->attributes & BATCH_ATTR_CONTROL) == 0 && !compact_txns_is_aborted(&c->txns, b)) {
        c->full = compact_map_room(&c->map) < (size_t)b->count;
        if (c->full) return false;
        c->code = note_keys(c, b);
        if (c->code != ERR_OK) return false;
    }
    c->map.latest = batch_last_offset(b);
    return true;
}

static void keys_known(struct log_compaction *c) {
    size_t n = c->sources.n;
    while (n > 0 && c->sources.p[n - 1]->base > c->map.latest) n--;
    drop_sources(c, n);
    if (n == 0 || c->map.latest < c->from) {
        c->code = err_set(c->err, ERR_TOO_LARGE, "%s: the batch at offset %lld has more keys than the cleaner has memory for", c->log->dir,
                          (long long)c->from);
        return;
    }
    c->filter.map = &c->map;
    // From here on there may be gaps in the log, and recovery must know before it can meet one.
    c->code = compact_save_state(c->log, c->from, c->sources.p[n - 1]->end, c->err);
    enter(c, FILTER, 0);
    c->group_first = c->group_end = 0;
}

static void step_keys(struct log_compaction *c) {
    if (c->at < c->sources.n) {
        struct segment *g = c->sources.p[c->at];
        if (walk(c, g, g->size, key_batch)) {
            c->at++;
            c->position = 0;
        }
        if (c->wants_markers) {
            c->wants_markers = false;
            c->map.latest = c->from - 1;
            c->map.n = 0;
            for (size_t i = 0; i < c->map.n_slots; i++) c->map.slots[i].offset = -1;
            enter(c, MARKERS, first_new(c));
            return;
        }
    }
    if (c->code == ERR_OK && (c->full || c->at >= c->sources.n)) keys_known(c);
}

// ---- filter ---------------------------------------------------------------------------------------------------------

// As many sources as fit one segment.
static size_t group_end(const struct log_compaction *c, size_t first) {
    sys_mutex_lock(&c->log->mutex);
    uint64_t max = c->log->config.segment_bytes;
    sys_mutex_unlock(&c->log->mutex);
    size_t end = first + 1;
    uint64_t bytes = c->sources.p[first]->size;
    for (; end < c->sources.n; end++) {
        bytes += c->sources.p[end]->size;
        if (bytes > max || c->sources.p[end]->end - c->sources.p[first]->base > INT32_MAX) break;
    }
    return end;
}

static void begin_group(struct log_compaction *c) {
    struct log *l = c->log;
    c->group_first = c->group_end;
    c->group_end = group_end(c, c->group_first);
    c->changed = c->group_end - c->group_first > 1;
    int64_t base = c->sources.p[c->group_first]->base;
    char *path = segment_path(l, base, "log.cleaned");
    sys_mutex_lock(&l->names);
    struct sys_file *f = NULL;
    if (l->abandoned) c->code = err_set(c->err, ERR_CLOSED, "%s: removed", l->dir);
    else if ((f = sys_open(l->sys, path, SYS_READ | SYS_WRITE | SYS_CREATE | SYS_TRUNCATE, c->err)) == NULL) c->code = c->err->code;
    sys_mutex_unlock(&l->names);
    mem_free(path);
    if (f != NULL) c->out = segment_of_file(base, f, 0);
}

static void write_pending(struct log_compaction *c) {
    if (c->code != ERR_OK || c->pending.n == 0) return;
    c->code = sys_pwrite(c->out->file, c->pending.p, c->pending.n, c->out->size, c->err);
    c->out->size += c->pending.n;
    buf_clear(&c->pending);
}

static bool filter_batch(void *arg, const struct batch *b, uint64_t position) {
    struct log_compaction *c = arg;
    const struct segment *g = c->sources.p[c->at];
    if (!spend(c, b)) return false;
    bool last = c->at + 1 == c->group_end && position + b->size == g->size;
    size_t before = c->pending.n;
    c->code = compact_filter_batch(&c->filter, b, last, &c->pending, &c->changed, c->err);
    if (c->code == ERR_OK && c->pending.failed) c->code = err_set(c->err, ERR_TOO_LARGE, "a batch is too large to rewrite");
    if (c->code != ERR_OK) return false;
    if (c->pending.n > before) {
        struct batch n;
        enum batch_status status = batch_read(c->pending.p + before, c->pending.n - before, &n);
        assert(status == BATCH_OK);
        (void)status;
        segment_note_batch(c->out, &n, c->out->size + before, c->log->config.index_interval_bytes);
    }
    if (c->pending.n >= WRITE_BYTES) write_pending(c);
    return c->code == ERR_OK;
}

static void end_group(struct log_compaction *c) {
    struct segment *g = c->out, *const *sources = &c->sources.p[c->group_first];
    size_t n = c->group_end - c->group_first;
    write_pending(c);
    if (c->code != ERR_OK) return;
    if (!c->changed) {
        give_up_output(c);
        c->stats.segments_after++;
        return;
    }
    assert(g->end == sources[n - 1]->end); // its last batch stays
    segment_all_on_disk(g);
    g->closed = g->index_loaded = true;
    g->opened_ms = sources[n - 1]->opened_ms;
    g->snapshot_on_disk = true;
    c->code = compact_swap(c->log, g, sources, n, c->err);
    if (c->code != ERR_OK) return;
    c->out = NULL;
    c->stats.bytes_written += g->size;
    c->stats.segments_after++;
}

static void step_filter(struct log_compaction *c) {
    if (c->out == NULL && c->group_end >= c->sources.n) {
        c->code = compact_save_state(c->log, c->map.latest + 1, -1, c->err);
        c->phase = DONE;
        return;
    }
    if (c->out == NULL) begin_group(c);
    if (c->code != ERR_OK) return;
    struct segment *g = c->sources.p[c->at];
    if (!walk(c, g, g->size, filter_batch)) return;
    c->position = 0;
    if (++c->at == c->group_end) end_group(c);
}

enum err_code log_compaction_step(struct log_compaction *c, bool *more, struct err *err) {
    struct err local = {0};
    c->err = err == NULL ? &local : err;
    c->code = ERR_OK;
    c->budget = c->config.step_bytes;
    while (c->budget > 0 && c->code == ERR_OK && c->phase != DONE) {
        switch (c->phase) {
        case MARKERS: step_markers(c); break;
        case KEYS: step_keys(c); break;
        case FILTER: step_filter(c); break;
        case DONE: break;
        }
    }
    if (c->code != ERR_OK) {
        give_up_output(c);
        c->phase = DONE;
    }
    *more = c->phase != DONE;
    return c->code;
}
