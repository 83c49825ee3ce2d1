// SPDX-License-Identifier: Apache-2.0
// Appending, rolling, syncing and dropping segments of one partition's log. See log.h for threads and durability.
//
// The way of an append: the owner's thread copies the bytes into the block cache, then publishes size and end under the mutex; a worker takes
// what is there, writes it past the system's cache and makes it durable outside the mutex (write.c), and publishes that. While it runs, further
// appends gather for the next one.
#include <assert.h>

#include "base/log.h"
#include "base/metrics.h"
#include "log/compact_inside.h"

enum { OWN_CACHE = 8 << 20 };
static const char meta_text[] = "millrace-partition 1\n";

static struct segment *active(const struct log *l) { return *vec_last(&l->segments); } // under the mutex: compaction and retention change the list
static struct segment *active_now(struct log *l) { // the owner's: only it makes another one active
    sys_mutex_lock(&l->mutex);
    struct segment *g = active(l);
    sys_mutex_unlock(&l->mutex);
    return g;
}
static int64_t now_ms(const struct log *l) { return sys_now_us(l->sys) / 1000; }

// ---- open and close -------------------------------------------------------------------------------------------------

// Whole, but another number. What is not whole was cut short by a power cut, and is ours.
static bool is_other_version(const char *text) {
    struct str rest = str_c(text), prefix = STR("millrace-partition ");
    int64_t version = 0;
    if (!str_starts(rest, prefix) || !str_ends(rest, STR("\n"))) return false;
    return str_to_i64(str_n(rest.p + prefix.n, rest.n - prefix.n - 1), &version) && version != LOG_FORMAT_VERSION;
}

// Without a sync, since there may be thousands: the folder's comes with the first append's, and what a power cut leaves is mended here.
static enum err_code write_meta(struct log *l, const char *path, struct err *err) {
    struct sys_file *f = sys_open(l->sys, path, SYS_WRITE | SYS_CREATE | SYS_TRUNCATE, err);
    if (f == NULL) return err->code;
    enum err_code code = sys_pwrite(f, meta_text, sizeof meta_text - 1, 0, err);
    sys_close(f);
    return code;
}

static enum err_code check_meta(struct log *l, struct err *err) {
    char *path = mem_printf("%s/partition.meta", l->dir);
    enum err_code code = sys_exists(l->sys, l->dir) ? ERR_OK : sys_mkdir(l->sys, l->dir, err);
    if (code == ERR_OK && !sys_exists(l->sys, path)) {
        code = write_meta(l, path, err);
    } else if (code == ERR_OK) {
        char *text = sys_read_file(l->sys, path, 4096, NULL, err);
        if (text == NULL) code = err->code;
        else if (is_other_version(text))
            code = err_set(err, ERR_VERSION, "%s: written by another version of Millrace (this one reads format %d)", path, LOG_FORMAT_VERSION);
        else if (strcmp(text, meta_text) != 0) code = write_meta(l, path, err);
        mem_free(text);
    }
    mem_free(path);
    return code;
}

static void free_log(struct log *l) {
    for (size_t i = 0; i < l->segments.n; i++) segment_free(l->segments.p[i]);
    vec_fini(&l->segments);
    if (l->own_cache) log_cache_free(l->cache);
    sys_mutex_fini(&l->mutex);
    sys_mutex_fini(&l->names);
    mem_free(l->dir);
    mem_free(l);
}

struct log *log_open(struct sys *s, const char *dir, const struct log_config *config, const struct log_state *state, bool clean,
                     struct err *err) {
    return log_open_cached(s, NULL, dir, config, state, clean, err);
}

struct log *log_open_cached(struct sys *s, struct log_cache *cache, const char *dir, const struct log_config *config,
                            const struct log_state *state, bool clean, struct err *err) {
    struct err local = {0};
    if (err == NULL) err = &local;
    struct log *l = MEM_NEW(struct log);
    l->sys = s;
    l->dir = mem_strdup(dir);
    l->config = *config;
    l->own_cache = cache == NULL;
    l->cache = l->own_cache ? log_cache_new(OWN_CACHE) : cache;
    if (state != NULL) l->state = *state;
    sys_mutex_init(&l->mutex);
    sys_mutex_init(&l->names);
    for (size_t i = 0; i < LOG_HINTS; i++) l->hints[i].offset = -1;
    if (check_meta(l, err) == ERR_OK && log_recover(l, clean, err) == ERR_OK) return l;
    free_log(l);
    return NULL;
}

// The index of the active segment and the caller's state at the end, so that the next open has nothing to scan.
static enum err_code write_end(struct log *l, struct err *err) {
    struct segment *g = active_now(l);
    g->index_loaded = true;
    enum err_code code = segment_trim(g, err);
    if (code == ERR_OK) code = segment_write_aborted(l, g, "txnindex", err);
    if (code == ERR_OK) code = segment_write_index(l, g, "index", err);
    if (code != ERR_OK || l->state.save == NULL) return code;
    struct buf state;
    buf_init(&state, 0);
    l->state.save(l->state.arg, &state);
    code = segment_write_snapshot(l, l->end, buf_str(&state), err);
    buf_fini(&state);
    return code;
}

enum err_code log_close(struct log *l, struct err *err) {
    // Untouched since a clean open: index and snapshot are there. Never written: there is nothing to scan.
    bool skip = !l->offline && (l->untouched || l->end == 0);
    enum err_code code = skip ? ERR_OK : log_sync(l, err);
    if (code == ERR_OK && !skip) {
        log_tidy(l);
        code = write_end(l, err);
    }
    free_log(l);
    return code;
}

void log_discard(struct log *l) { free_log(l); }

void log_abandon(struct log *l) {
    sys_mutex_lock(&l->names);
    l->abandoned = true;
    sys_mutex_unlock(&l->names);
}

void log_configure(struct log *l, const struct log_config *config) {
    sys_mutex_lock(&l->mutex);
    l->config = *config;
    sys_mutex_unlock(&l->mutex);
}

// ---- append and roll ------------------------------------------------------------------------------------------------

static enum err_code go_offline(struct log *l, struct err *err, const char *what) {
    sys_mutex_lock(&l->mutex);
    l->offline = true;
    sys_mutex_unlock(&l->mutex);
    log_error("log", "partition is offline until the server is started again", "dir", l->dir, "why", what, "error",
              err == NULL ? "" : err->msg, NULL);
    return err == NULL ? ERR_OFFLINE : err->code;
}

static int64_t choose_jitter(const struct log *l) {
    int64_t most = l->config.segment_jitter_ms < l->config.segment_ms ? l->config.segment_jitter_ms : l->config.segment_ms;
    return most > 0 ? (int64_t)(sys_random_u64(l->sys) % (uint64_t)most) : 0;
}

enum err_code log_roll(struct log *l, struct err *err) {
    struct segment *old = active_now(l);
    if (old->size == 0) return ERR_OK;
    l->untouched = false;
    struct segment *g = segment_open(l, l->end, true, err);
    if (g == NULL) return err == NULL ? ERR_IO : err->code;
    if (l->state.save != NULL) {
        l->state.save(l->state.arg, &g->snapshot);
        g->has_snapshot = true;
    }
    sys_mutex_lock(&l->mutex);
    old->closed = true;
    g->jitter_ms = choose_jitter(l);
    old->index_loaded = true;
    point_forget(old); // its index comes
    vec_add(&l->segments, g);
    l->dir_changes++;
    sys_mutex_unlock(&l->mutex);
    return ERR_OK;
}

enum { INDEX_ENTRY_OF_KAFKA = 8 };

static bool is_due(const struct log *l, const struct segment *g, size_t more) {
    if (g->size == 0) return false;
    if (g->size + more > l->config.segment_bytes) return true;
    if (l->end - g->base > INT32_MAX) return true;
    if (l->config.segment_index_bytes > 0 && g->index.n > 0 && g->index.n >= l->config.segment_index_bytes / INDEX_ENTRY_OF_KAFKA) return true;
    return l->config.segment_ms > 0 && g->opened_ms >= 0 && now_ms(l) - g->opened_ms >= l->config.segment_ms - g->jitter_ms;
}

void log_roll_due(struct log *l) {
    sys_mutex_lock(&l->mutex);
    struct segment *g = active(l);
    bool due = is_due(l, g, 0);
    // Retention takes only closed segments: an active one whose newest record is too old is closed for it, as Kafka does.
    due = due || (g->size > 0 && l->config.retention_ms >= 0 && now_ms(l) - segment_newest_ms(g) > l->config.retention_ms);
    bool offline = l->offline;
    uint64_t grown = point_bytes(l) / POINT_UPKEEP_PART;
    sys_mutex_unlock(&l->mutex);
    struct err err = {0};
    if (due && !offline && log_roll(l, &err) != ERR_OK) log_warn("log", "could not close a segment", "dir", l->dir, "error", err.msg, NULL);
    if (!offline) point_take(l, active_now(l), grown);
}

static void note_control(struct log *l, struct segment *g, const struct batch *b) {
    struct log_aborted a;
    if (l->state.aborted != NULL && l->state.aborted(l->state.arg, b, &a)) segment_note_aborted(l, g, &a);
}

enum err_code log_append(struct log *l, struct str batches, int32_t leader_epoch, struct log_appended *out, struct err *err) {
    assert(batches.n >= BATCH_HEADER);
    if (log_offline(l)) return err_set(err, ERR_OFFLINE, "%s: offline after an earlier failure", l->dir);
    if (batches.n > UINT32_MAX / 2) return err_set(err, ERR_TOO_LARGE, "%zu bytes in one append", batches.n);
    sys_mutex_lock(&l->mutex);
    struct segment *g = active(l);
    bool due = is_due(l, g, batches.n);
    uint32_t interval = l->config.index_interval_bytes;
    uint64_t segment_max = l->config.segment_bytes, grown = point_bytes(l);
    sys_mutex_unlock(&l->mutex);
    if (due) {
        enum err_code code = log_roll(l, err);
        if (code != ERR_OK) return code;
        g = active_now(l);
    }
    point_take(l, g, grown);
    l->untouched = false;
    uint8_t *p = (uint8_t *)(uintptr_t)batches.p; // the caller's bytes are writable by contract
    int64_t next = l->end;
    struct batch b;
    for (size_t at = 0; at < batches.n; at += b.size) {
        batch_set_offset(p + at, next, leader_epoch);
        enum batch_status status = batch_read(p + at, batches.n - at, &b);
        assert(status == BATCH_OK); // checked by the caller
        (void)status;
        next = batch_last_offset(&b) + 1;
    }
    struct err local = {0};
    enum err_code code = segment_reserve(g, batches.n, segment_max, err == NULL ? (err = &local) : err);
    if (code != ERR_OK) return code == ERR_NO_SPACE ? code : go_offline(l, err, "reserving room");
    cache_append(l->cache, &g->blocks, g->size, p, batches.n);
    *out = (struct log_appended){l->end, next - 1, batches.n};
    sys_mutex_lock(&l->mutex);
    for (size_t at = 0; at < batches.n; at += b.size) {
        (void)batch_read(p + at, batches.n - at, &b);
        segment_note_batch(g, &b, g->size + at, interval);
        if ((b.attributes & BATCH_ATTR_CONTROL) != 0) note_control(l, g, &b);
    }
    if (g->opened_ms < 0) g->opened_ms = now_ms(l);
    g->size += batches.n;
    l->end = next;
    sys_mutex_unlock(&l->mutex);
    return ERR_OK;
}

// ---- sync -----------------------------------------------------------------------------------------------------------

// A write that failed leaves the disk in the same doubt as a failed sync.
static enum err_code write_segment(struct log *l, struct segment *g, uint64_t to, bool sync, struct err *err) {
    int64_t from = sys_mono_us(l->sys);
    enum err_code code = segment_write_out(l, g, to, sync, err);
    if (sync) {
        metric_add(M_LOG_SYNCS, NULL, 1);
        metric_observe_us(M_LOG_SYNC_SECONDS, NULL, sys_mono_us(l->sys) - from);
    }
    if (code == ERR_OK) return ERR_OK;
    char *mark = mem_printf("%s/" LOG_UNSYNCED_MARK, l->dir);
    sys_mutex_lock(&l->names);
    if (!l->abandoned) (void)sys_write_file(l->sys, mark, STR("a sync failed\n"), NULL); // the best that can be done now
    sys_mutex_unlock(&l->names);
    mem_free(mark);
    return go_offline(l, err, "write and sync");
}

// Readers may see what was written: it survives the end of this process.
static void expose(struct log *l, struct segment *const *segments, const uint64_t *sizes, size_t n, int64_t end) {
    sys_mutex_lock(&l->mutex);
    for (size_t i = 0; i < n; i++)
        if (segments[i]->readable < sizes[i]) segments[i]->readable = sizes[i];
    if (l->read_end < end) l->read_end = end;
    sys_mutex_unlock(&l->mutex);
}

static enum err_code write_out(struct log *l, bool sync, struct err *err) {
    struct err local = {0};
    if (err == NULL) err = &local;
    sys_mutex_lock(&l->mutex);
    bool offline = l->offline;
    uint64_t dir_changes = l->dir_changes;
    bool dir = sync && dir_changes != l->dir_synced;
    int64_t target = l->end;
    size_t first = l->segments.n; // the dirty ones are a suffix; it is never dropped, since it is not durable
    if (l->segments.p[first - 1]->size == 0) first--; // just opened: what is in front of it may not be on disk yet
    while (first > 0 && l->segments.p[first - 1]->synced < l->segments.p[first - 1]->size) first--;
    VEC(struct segment *) dirty = {0};
    VEC(uint64_t) sizes = {0};
    for (size_t i = first; i < l->segments.n; i++) {
        if (l->segments.p[i]->size == 0) continue;
        vec_add(&dirty, l->segments.p[i]);
        vec_add(&sizes, l->segments.p[i]->size);
    }
    sys_mutex_unlock(&l->mutex);
    enum err_code code = offline ? err_set(err, ERR_OFFLINE, "%s: offline after an earlier failure", l->dir) : ERR_OK;
    for (size_t i = 0; i < dirty.n && code == ERR_OK; i++) code = write_segment(l, dirty.p[i], sizes.p[i], sync, err);
    if (code == ERR_OK && dir && sys_sync_dir(l->sys, l->dir, err) != ERR_OK) code = go_offline(l, err, "sync of the folder");
    if (code == ERR_OK && sync) {
        sys_mutex_lock(&l->mutex);
        for (size_t i = 0; i < dirty.n; i++) {
            dirty.p[i]->synced = sizes.p[i];
            if (dirty.p[i]->readable < sizes.p[i]) dirty.p[i]->readable = sizes.p[i];
        }
        l->durable_end = target;
        if (l->read_end < target) l->read_end = target;
        l->dir_synced = dir_changes;
        sys_mutex_unlock(&l->mutex);
    } else if (code == ERR_OK) {
        expose(l, dirty.p, sizes.p, dirty.n, target);
    }
    vec_fini(&dirty);
    vec_fini(&sizes);
    return code;
}

enum err_code log_sync(struct log *l, struct err *err) { return write_out(l, true, err); }
enum err_code log_write(struct log *l, struct err *err) { return write_out(l, false, err); }

bool log_needs_sync(struct log *l) {
    sys_mutex_lock(&l->mutex);
    bool yes = !l->offline && (l->durable_end < l->end || l->dir_changes != l->dir_synced);
    sys_mutex_unlock(&l->mutex);
    return yes;
}

// ---- tidying and retention ------------------------------------------------------------------------------------------

static bool wants_tidy(const struct segment *g) {
    if (g->has_snapshot && !g->snapshot_on_disk) return true;
    return point_ready(g) || (g->closed && !g->index_on_disk && g->index_loaded && g->synced == g->size);
}

bool log_point_ready(struct log *l) {
    sys_mutex_lock(&l->mutex);
    bool yes = !l->offline && point_ready(active(l));
    sys_mutex_unlock(&l->mutex);
    return yes;
}

bool log_needs_tidy(struct log *l) {
    sys_mutex_lock(&l->mutex);
    bool yes = !l->offline && point_wanted(l, active(l));
    for (size_t i = l->segments.n; i > 0 && !yes && !l->offline; i--) yes = wants_tidy(l->segments.p[i - 1]);
    sys_mutex_unlock(&l->mutex);
    return yes;
}

static void set_flag(struct log *l, bool *flag) { // read by others under the mutex
    sys_mutex_lock(&l->mutex);
    *flag = true;
    sys_mutex_unlock(&l->mutex);
}

static enum err_code tidy_segment(struct log *l, struct segment *g, struct err *err) {
    enum err_code code = ERR_OK;
    if (g->has_snapshot && !g->snapshot_on_disk) {
        code = segment_write_snapshot(l, g->base, buf_str(&g->snapshot), err);
        if (code != ERR_OK) return code;
        buf_fini(&g->snapshot);
        set_flag(l, &g->snapshot_on_disk);
    }
    if (!g->closed) return point_write(l, g, err);
    if (g->index_on_disk) return ERR_OK;
    code = segment_trim(g, err);
    if (code == ERR_OK) code = sys_fdatasync(g->file, err); // its length
    if (code == ERR_OK) code = segment_write_aborted(l, g, "txnindex", err);
    if (code == ERR_OK) code = segment_write_index(l, g, "index", err);
    if (code == ERR_OK) code = point_remove(l, g->base, err); // the index says all that it said
    if (code == ERR_OK) set_flag(l, &g->index_on_disk);
    return code;
}

// The fields of closed segments that are read here without the mutex no longer change; index_on_disk and the snapshot are ours alone.
void log_tidy(struct log *l) {
    for (;;) {
        struct segment *g = NULL;
        sys_mutex_lock(&l->mutex);
        for (size_t i = 0; i < l->segments.n && g == NULL && !l->offline; i++)
            if (wants_tidy(l->segments.p[i]) && l->segments.p[i]->base <= l->durable_end) g = l->segments.p[i];
        if (g != NULL) segment_ref(g);
        sys_mutex_unlock(&l->mutex);
        if (g == NULL) return;
        struct err err = {0};
        sys_mutex_lock(&l->names);
        bool abandoned = l->abandoned;
        enum err_code code = abandoned ? ERR_CLOSED : tidy_segment(l, g, &err);
        sys_mutex_unlock(&l->names);
        segment_unref(l, g);
        if (code == ERR_OK) continue;
        if (abandoned) return;
        log_warn("log", "index not written, a restart will scan more", "dir", l->dir, "error", err.msg, NULL);
        return;
    }
}

static struct segment *expired(struct log *l, int64_t now, int64_t before) {
    if (l->segments.n < 2) return NULL;
    struct segment *g = l->segments.p[0];
    if (l->segments.p[1]->has_snapshot && !l->segments.p[1]->snapshot_on_disk) return NULL; // else its state could not be built again
    if (!g->closed || g->end > l->durable_end || g->synced < g->size || l->dir_changes != l->dir_synced) return NULL;
    if (g->end <= before || g->end <= l->start) return g;
    if (l->config.retention_ms >= 0 && g->size > 0 && now - segment_newest_ms(g) > l->config.retention_ms) return g;
    if (l->config.retention_bytes < 0) return NULL;
    uint64_t total = 0;
    for (size_t i = 0; i < l->segments.n; i++) total += l->segments.p[i]->size;
    return total - g->size >= (uint64_t)l->config.retention_bytes ? g : NULL;
}

// Removed first, forgotten second: when the removal fails the log is as it was. Readers in the middle of it have the file open.
static enum err_code drop_first(struct log *l, struct segment *g, struct err *err) {
    static const char *const suffixes[] = {"point", "index", "txnindex", "snapshot", "log"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char *path = segment_path(l, g->base, suffixes[i]);
        enum err_code code = sys_exists(l->sys, path) ? sys_unlink(l->sys, path, err) : ERR_OK;
        mem_free(path);
        if (code != ERR_OK) return code;
    }
    sys_mutex_lock(&l->mutex);
    vec_remove(&l->segments, 0);
    g->dropped = true;
    bool idle = g->refs == 0;
    sys_mutex_unlock(&l->mutex);
    if (idle) segment_free(g);
    return ERR_OK;
}

size_t log_retain(struct log *l, int64_t now, int64_t before, struct err *err) {
    size_t dropped = 0;
    for (;;) {
        sys_mutex_lock(&l->names); // a compaction takes segments' places under it
        sys_mutex_lock(&l->mutex);
        struct segment *g = l->offline ? NULL : expired(l, now, before);
        sys_mutex_unlock(&l->mutex);
        if (g == NULL) {
            sys_mutex_unlock(&l->names);
            break;
        }
        bool gone = !l->abandoned && compact_swap_finish(l, err) == ERR_OK && drop_first(l, g, err) == ERR_OK;
        sys_mutex_unlock(&l->names);
        if (!gone) break;
        dropped++;
    }
    if (dropped > 0) {
        (void)sys_sync_dir(l->sys, l->dir, err);
        log_info("log", "segments removed by retention", "dir", l->dir, "segments", log_i64((int64_t)dropped), "start",
                 log_i64(log_start(l)), NULL);
    }
    return dropped;
}

// ---- numbers --------------------------------------------------------------------------------------------------------

int64_t log_start(struct log *l) {
    sys_mutex_lock(&l->mutex);
    int64_t v = log_start_locked(l);
    sys_mutex_unlock(&l->mutex);
    return v;
}

int64_t log_start_locked(const struct log *l) {
    int64_t base = l->segments.p[0]->base;
    return l->start > base ? l->start : base;
}

int64_t log_end(struct log *l) {
    sys_mutex_lock(&l->mutex);
    int64_t v = l->end;
    sys_mutex_unlock(&l->mutex);
    return v;
}

int64_t log_durable_end(struct log *l) {
    sys_mutex_lock(&l->mutex);
    int64_t v = l->durable_end;
    sys_mutex_unlock(&l->mutex);
    return v;
}

uint64_t log_bytes(struct log *l) {
    uint64_t v = 0;
    sys_mutex_lock(&l->mutex);
    for (size_t i = 0; i < l->segments.n; i++) v += l->segments.p[i]->size;
    sys_mutex_unlock(&l->mutex);
    return v;
}

int64_t log_read_end(struct log *l) {
    sys_mutex_lock(&l->mutex);
    int64_t v = l->read_end;
    sys_mutex_unlock(&l->mutex);
    return v;
}

bool log_offline(struct log *l) {
    sys_mutex_lock(&l->mutex);
    bool v = l->offline;
    sys_mutex_unlock(&l->mutex);
    return v;
}
