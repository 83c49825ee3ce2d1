// SPDX-License-Identifier: Apache-2.0
// Opening a log: which segments can be trusted, which are scanned, what is cut off.
//
// A segment with a valid index file was synced before that file was written, so it and everything in front of it is whole. A recovery
// point (point.c) says the same of the first part of the active segment. What comes behind (the rest of it, and what was closed a moment
// ago) is walked batch by batch with CRC and offsets checked; at the first bad byte the log is cut, since nothing behind it can have been
// acknowledged. Then it is synced, before a reader sees it.
// After a clean close the active segment has an index too, and nothing is scanned.
#include <assert.h>

#include "base/log.h"
#include "log/segment.h"

struct recovery {
    struct log *log;
    bool clean;
    bool all_proven;     // after a clean close: nothing to scan, nothing to make durable
    bool rewrite;        // a sync failed in the last process
    size_t first_scan;   // index of the first segment to scan; segments.n = none
    struct err *err;
    uint64_t batches, cut;
    struct segment *into; // being scanned
};

static bool parse_name(const char *name, const char *suffix, int64_t *base) {
    size_t n = strlen(name), m = strlen(suffix);
    return n == 20 + m && strcmp(name + 20, suffix) == 0 && str_to_i64(str_n(name, 20), base) && *base >= 0;
}

static enum err_code open_segments(struct recovery *x, const struct sys_list *names) {
    struct log *l = x->log;
    for (size_t i = 0; i < names->n; i++) {
        int64_t base = 0;
        if (!parse_name(names->names[i], ".log", &base)) continue;
        struct segment *g = segment_open(l, base, false, x->err);
        if (g == NULL) return x->err->code;
        char *path = segment_path(l, base, "log");
        struct sys_stat st;
        if (g->size > 0) g->opened_ms = sys_stat(l->sys, path, &st, NULL) == ERR_OK ? st.mtime_us / 1000 : sys_now_us(l->sys) / 1000;
        mem_free(path);
        vec_add(&l->segments, g);
    }
    for (size_t i = 0; i < names->n; i++) {
        int64_t base = 0;
        if (!parse_name(names->names[i], ".txnindex", &base)) continue;
        for (size_t k = 0; k < l->segments.n; k++)
            if (l->segments.p[k]->base == base) l->segments.p[k]->aborted_on_disk = true;
        l->has_aborted = true;
    }
    return ERR_OK;
}

// Indexes and snapshots of segments that retention removed, half-written files.
static void remove_leftovers(struct recovery *x, const struct sys_list *names) {
    struct log *l = x->log;
    for (size_t i = 0; i < names->n; i++) {
        const char *name = names->names[i];
        int64_t base = 0;
        bool point = parse_name(name, ".point", &base), index = point || parse_name(name, ".index", &base) || parse_name(name, ".txnindex", &base);
        bool snapshot = !index && parse_name(name, ".snapshot", &base);
        bool remove = str_ends(str_c(name), STR(".tmp")) || str_ends(str_c(name), STR(".cleaned"));
        if (index || snapshot) {
            remove = true;
            for (size_t k = 0; k < l->segments.n && remove; k++) remove = l->segments.p[k]->base != base || (point && l->segments.p[k]->index_on_disk);
            if (snapshot && base == l->end) remove = false;
        }
        if (!remove) continue;
        char *path = mem_printf("%s/%s", l->dir, name);
        (void)sys_unlink(l->sys, path, NULL);
        mem_free(path);
    }
}

static void choose_scan(struct recovery *x) {
    struct log *l = x->log;
    size_t n = l->segments.n, trusted = 0; // segments [0, trusted) are whole
    for (size_t i = 0; i < n; i++) {
        struct segment *g = l->segments.p[i];
        bool last = i + 1 == n;
        if (segment_read_index_head(l, g) && (!last || x->clean)) {
            trusted = i + 1;
            continue;
        }
        struct point *p = i > trusted ? point_read(l, g) : NULL; // it proves what is in front of it
        if (p != NULL) trusted = i;
        point_free(p);
        g->index.n = g->aborted.n = 0;
    }
    x->first_scan = trusted;
    x->all_proven = n > 0 && trusted == n;
}

static bool note_batch(void *arg, const struct batch *b, uint64_t position) {
    struct recovery *x = arg;
    struct log *l = x->log;
    segment_note_batch(x->into, b, position, l->config.index_interval_bytes);
    struct log_aborted a;
    if ((b->attributes & BATCH_ATTR_CONTROL) != 0 && l->state.aborted != NULL && l->state.aborted(l->state.arg, b, &a))
        segment_note_aborted(l, x->into, &a);
    if (l->state.batch != NULL) l->state.batch(l->state.arg, b);
    x->batches++;
    return true;
}

static bool replay_batch(void *arg, const struct batch *b, uint64_t position) {
    struct recovery *x = arg;
    (void)position;
    x->log->state.batch(x->log->state.arg, b);
    return true;
}

// A trusted segment without a valid index: walked without cutting, since what follows it is whole.
static enum err_code reindex(struct recovery *x, size_t i) {
    struct log *l = x->log;
    struct segment *g = l->segments.p[i];
    struct log_state state = l->state;
    l->state = (struct log_state){0};
    x->into = g;
    struct scan c = {.file = g->file, .to = g->size, .check_crc = true, .expect = g->base, .fn = note_batch, .arg = x};
    c.gaps_below = l->gaps_below;
    enum err_code code = segment_scan(&c, x->err);
    l->state = state;
    if (code != ERR_OK) return code;
    if (c.zeros) { // closed, but the power went before its room was given back for good
        g->size = c.good_end;
        if (segment_trim(g, x->err) != ERR_OK) return x->err->code;
    } else if (c.stopped != NULL || c.good_end < g->size)
        log_error("log", "damaged segment: reads there will fail", "dir", l->dir, "segment", log_i64(g->base), "byte",
                  log_i64((int64_t)c.good_end), "why", c.stopped == NULL ? "cut off" : c.stopped, NULL);
    g->end = l->segments.p[i + 1]->base;
    g->index_loaded = true;
    log_warn("log", "index rebuilt", "dir", l->dir, "segment", log_i64(g->base), NULL);
    return ERR_OK;
}

static enum err_code settle_trusted(struct recovery *x) {
    struct log *l = x->log;
    for (size_t i = 0; i < x->first_scan; i++) {
        struct segment *g = l->segments.p[i];
        bool last = i + 1 == l->segments.n;
        g->closed = !last;
        enum err_code code = ERR_OK;
        if (!g->index_on_disk) code = reindex(x, i); // never the one that recovery goes on in
        else if (last) {
            g->closed = true; // so that the loader may run; it is nobody else's yet
            code = segment_load_index(l, g, x->err);
            if (code == ERR_OK && g->aborted_on_disk) code = segment_load_aborted(l, g, x->err); // it will get more
            g->closed = false;
        }
        if (code != ERR_OK) return code;
        segment_all_on_disk(g);
        g->snapshot_on_disk = true;
        l->end = g->end;
    }
    return ERR_OK;
}

// ---- the caller's state ---------------------------------------------------------------------------------------------

// The newest usable snapshot at or below the first scanned offset, then the trusted batches behind it.
static enum err_code load_state(struct recovery *x) {
    struct log *l = x->log;
    if (l->state.load == NULL) return ERR_OK;
    struct buf snapshot;
    buf_init(&snapshot, 0);
    int64_t at = -1;
    if (segment_read_snapshot(l, l->end, &snapshot) && l->state.load(l->state.arg, buf_str(&snapshot))) at = l->end;
    for (size_t i = x->first_scan; i > 0 && at < 0; i--) {
        buf_clear(&snapshot);
        int64_t base = l->segments.p[i - 1]->base;
        if (segment_read_snapshot(l, base, &snapshot) && l->state.load(l->state.arg, buf_str(&snapshot))) at = base;
    }
    buf_fini(&snapshot);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < x->first_scan && code == ERR_OK && at < l->end; i++) {
        struct segment *g = l->segments.p[i];
        if (g->end <= at) continue;
        struct scan c = {.file = g->file, .to = g->size, .expect = -1, .fn = replay_batch, .arg = x};
        code = segment_scan(&c, x->err);
    }
    return code;
}

// ---- the tail -------------------------------------------------------------------------------------------------------

// Sets a segment aside that lies behind a cut: it was never acknowledged, but a person may want to see it.
static enum err_code set_aside(struct recovery *x, struct segment *g) {
    struct log *l = x->log;
    char *from = segment_path(l, g->base, "log"), *to = segment_path(l, g->base, "log.dropped");
    log_warn("log", "segment behind the end of the log set aside", "file", to, "bytes", log_i64((int64_t)g->size), NULL);
    x->cut += g->size;
    enum err_code code = point_remove(l, g->base, x->err);
    if (code == ERR_OK) code = g->size == 0 ? sys_unlink(l->sys, from, x->err) : sys_rename(l->sys, from, to, x->err);
    mem_free(from);
    mem_free(to);
    segment_free(g);
    return code;
}

static enum err_code rewrite_segment(struct recovery *x, struct segment *g, uint64_t from) {
    enum { CHUNK = 2 << 20 };
    uint8_t *chunk = sys_map_memory(CHUNK);
    enum err_code code = ERR_OK;
    for (uint64_t at = from / SYS_BLOCK * SYS_BLOCK; at < g->size && code == ERR_OK; at += CHUNK) {
        int64_t n = sys_pread(g->file, chunk, CHUNK, at, x->err);
        if (n < 0) {
            code = x->err->code;
        } else if ((uint64_t)n < CHUNK && at + (uint64_t)n < g->size) {
            code = err_set(x->err, ERR_CORRUPT, "segment %lld became shorter", (long long)g->base);
        } else { // in whole blocks, with zeros behind the end
            size_t whole = ((size_t)n + SYS_BLOCK - 1) / SYS_BLOCK * SYS_BLOCK;
            memset(chunk + n, 0, whole - (size_t)n);
            code = sys_pwrite(g->file, chunk, whole, at, x->err);
        }
    }
    sys_unmap_memory(chunk, CHUNK);
    return code == ERR_OK ? sys_truncate(g->file, g->size, x->err) : code;
}

// The file lost bytes that were durable. Their offsets are not given away again: reads there answer ERR_CORRUPT.
static enum err_code fill_up(struct recovery *x, struct segment *g, uint64_t size) {
    log_error("log", "segment is shorter than what was durable: reads behind its end will fail", "dir", x->log->dir, "segment",
              log_i64(g->base), "bytes", log_i64((int64_t)g->size), "durable", log_i64((int64_t)size), NULL);
    enum err_code code = sys_truncate(g->file, size, x->err);
    if (code == ERR_OK) {
        g->size = size;
        g->reserved = size;
    }
    return code;
}

// Where to begin: behind the recovery point, when there is one whose state the caller can use.
static enum err_code start_at_point(struct recovery *x, struct segment *g, uint64_t *from) {
    struct log *l = x->log;
    enum err_code code = ERR_OK;
    struct point *p = point_read(l, g);
    *from = 0;
    if (p != NULL && l->state.load != NULL && !(p->has_state && l->state.load(l->state.arg, buf_str(&p->state)))) {
        point_free(p);
        p = NULL;
        g->index.n = g->aborted.n = 0;
        code = load_state(x); // as it was
    }
    if (p == NULL) return code == ERR_OK ? point_remove(l, g->base, x->err) : code; // a cut in front of it would make it a lie
    if (g->size < p->size) code = fill_up(x, g, p->size);
    g->end = p->end;
    g->max_time = p->max_time;
    g->max_time_base = p->max_time_base;
    g->pointed = *from = p->size;
    if (g->aborted.n > 0) l->has_aborted = true;
    point_free(p);
    return code;
}

static enum err_code scan_segment(struct recovery *x, struct segment *g) {
    struct log *l = x->log;
    g->index.n = 0;
    g->index_on_disk = false;
    g->aborted.n = 0;
    g->aborted_on_disk = false;
    g->max_time = INT64_MIN;
    g->end = g->base;
    g->opened_ms = g->size > 0 ? g->opened_ms : -1;
    if (l->state.save != NULL && g->base > 0) { // the one of before may be missing; log_tidy writes it
        l->state.save(l->state.arg, &g->snapshot);
        g->has_snapshot = true;
    }
    uint64_t from = 0;
    enum err_code code = start_at_point(x, g, &from);
    if (code != ERR_OK) return code;
    x->into = g;
    struct scan c = {.file = g->file, .from = from, .to = g->size, .check_crc = true, .expect = g->end, .fn = note_batch, .arg = x};
    c.gaps_below = l->gaps_below;
    code = segment_scan(&c, x->err);
    if (code != ERR_OK) return code;
    if (c.zeros) {
        g->size = c.good_end;
        code = segment_trim(g, x->err);
        if (code != ERR_OK) return code;
        if (g->size == 0) g->opened_ms = -1;
    } else if (c.good_end < g->size) {
        log_warn("log", "cut off bytes that were never acknowledged", "dir", l->dir, "segment", log_i64(g->base), "at",
                 log_i64((int64_t)c.good_end), "bytes", log_i64((int64_t)(g->size - c.good_end)), "why",
                 c.stopped == NULL ? "file is shorter" : c.stopped, NULL);
        x->cut += g->size - c.good_end;
        code = sys_truncate(g->file, c.good_end, x->err);
        if (code != ERR_OK) return code;
        g->reserved = c.good_end;
        g->size = c.good_end;
    }
    l->end = g->end;
    g->index_loaded = true;
    if (x->rewrite) code = rewrite_segment(x, g, from);
    if (code == ERR_OK && g->base + (int64_t)g->size > 0) code = sys_fdatasync(g->file, x->err);
    segment_all_on_disk(g);
    return code;
}

static enum err_code scan_tail(struct recovery *x) {
    struct log *l = x->log;
    size_t i = x->first_scan;
    enum err_code code = ERR_OK;
    bool cut = false;
    if (i == 0 && l->segments.n > 0) l->end = l->segments.p[0]->base;
    for (; i < l->segments.n && code == ERR_OK && !cut; i++) {
        struct segment *g = l->segments.p[i];
        cut = g->base != l->end;
        if (cut) break;
        uint64_t before = x->cut;
        code = scan_segment(x, g);
        cut = x->cut != before;
    }
    size_t keep = i;
    for (; i < l->segments.n; i++) {
        if (code == ERR_OK) code = set_aside(x, l->segments.p[i]);
        else segment_free(l->segments.p[i]);
    }
    l->segments.n = keep;
    return code;
}

static enum err_code finish(struct recovery *x) {
    struct log *l = x->log;
    if (l->segments.n == 0 || vec_last(&l->segments)[0]->base + (int64_t)INT32_MAX < l->end) {
        struct segment *g = segment_open(l, l->end, true, x->err);
        if (g == NULL) return x->err->code;
        g->index_loaded = true;
        vec_add(&l->segments, g);
    }
    struct segment *last = *vec_last(&l->segments);
    if (!last->index_loaded) { // all behind it was set aside
        last->closed = true;   // as the loader expects; it is nobody else's yet
        enum err_code code = segment_load_index(l, last, x->err);
        if (code == ERR_OK && last->aborted_on_disk) code = segment_load_aborted(l, last, x->err);
        if (code != ERR_OK) return code;
    }
    for (size_t i = 0; i < l->segments.n; i++) l->segments.p[i]->closed = i + 1 < l->segments.n;
    last->index_on_disk = false;
    l->durable_end = l->read_end = l->end;
    if (l->start > l->end) l->start = l->end; // what was behind it is lost
    l->untouched = x->all_proven && l->end > 0;
    if (l->end > 0 || last->base > 0) return x->all_proven ? ERR_OK : sys_sync_dir(l->sys, l->dir, x->err);
    l->dir_changes++; // nothing was ever written: the first append's sync makes the folder durable too
    return ERR_OK;
}

enum err_code log_recover(struct log *l, bool clean, struct err *err) {
    assert(err != NULL);
    char *mark = mem_printf("%s/" LOG_UNSYNCED_MARK, l->dir);
    struct recovery x = {.log = l, .rewrite = sys_exists(l->sys, mark), .err = err};
    x.clean = clean && !x.rewrite;
    struct sys_list names = {0};
    enum err_code code = compact_recover(l, err);
    if (code == ERR_OK) code = sys_list_dir(l->sys, l->dir, &names, err);
    if (code == ERR_OK) code = open_segments(&x, &names);
    if (code == ERR_OK) {
        choose_scan(&x);
        code = settle_trusted(&x);
    }
    if (code == ERR_OK) code = load_state(&x);
    if (code == ERR_OK) code = scan_tail(&x);
    if (code == ERR_OK) code = finish(&x);
    if (code == ERR_OK && x.rewrite) code = sys_unlink(l->sys, mark, err);
    if (code == ERR_OK) remove_leftovers(&x, &names);
    mem_free(mark);
    sys_list_free(&names);
    if (code != ERR_OK) return err_wrap(err, "log %s", l->dir);
    if (x.cut > 0 || x.batches > 0)
        log_info("log", "recovered", "dir", l->dir, "end", log_i64(l->end), "scanned batches", log_i64((int64_t)x.batches), "bytes cut",
                 log_i64((int64_t)x.cut), NULL);
    return ERR_OK;
}
