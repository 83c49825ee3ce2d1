// SPDX-License-Identifier: Apache-2.0
// Segments of a log: files, the sparse index, snapshots, and the scanner that walks batches.
//
// An index file is written only after its segment was synced, so a valid one says that the segment is whole and on disk. Its head (with the
// segment's size, end and largest time) and its entries have a CRC each: the head is read at start, the entries at first use.
#include "log/segment.h"

#include <assert.h>

#include "base/log.h"
#include "codec/crc32c.h"

enum { INDEX_HEAD = 56, INDEX_ENTRY = 16, INDEX_VERSION = 1, SCAN_CHUNK = 1 << 20 };
#define INDEX_MAGIC 0x4d524958u    // "MRIX"
#define SNAPSHOT_MAGIC 0x4d52534eu // "MRSN"

char *segment_path(const struct log *l, int64_t base, const char *suffix) {
    return mem_printf("%s/%020lld.%s", l->dir, (long long)base, suffix);
}

// Before it is shared.
void segment_all_on_disk(struct segment *g) {
    g->synced = g->readable = g->written = g->zeroed = g->size;
    g->reserved = g->size;
    g->blocks.on_disk = g->size;
}

struct segment *segment_of_file(int64_t base, struct sys_file *f, uint64_t size) {
    struct segment *g = MEM_NEW(struct segment);
    g->base = g->end = base;
    g->file = f;
    g->size = size;
    segment_all_on_disk(g);
    g->max_time = INT64_MIN;
    g->opened_ms = -1;
    buf_init(&g->snapshot, 0);
    return g;
}

struct segment *segment_open(struct log *l, int64_t base, bool create, struct err *err) {
    char *path = segment_path(l, base, "log");
    struct sys_file *f = sys_open(l->sys, path, SYS_READ | SYS_WRITE | SYS_DIRECT | (create ? SYS_CREATE | SYS_TRUNCATE : 0), err);
    mem_free(path);
    if (f == NULL) return NULL;
    int64_t size = create ? 0 : sys_file_size(f, err);
    if (size < 0) {
        sys_close(f);
        return NULL;
    }
    return segment_of_file(base, f, (uint64_t)size);
}

void segment_free(struct segment *g) {
    if (g == NULL) return;
    block_list_fini(&g->blocks);
    sys_close(g->file);
    vec_fini(&g->index);
    vec_fini(&g->aborted);
    buf_fini(&g->snapshot);
    point_forget(g);
    mem_free(g);
}

void segment_ref(struct segment *g) { g->refs++; }

void segment_unref(struct log *l, struct segment *g) {
    sys_mutex_lock(&l->mutex);
    assert(g->refs > 0);
    bool last = --g->refs == 0 && g->dropped;
    sys_mutex_unlock(&l->mutex);
    if (last) segment_free(g);
}

void segment_note_batch(struct segment *g, const struct batch *b, uint64_t position, uint32_t interval) {
    uint64_t last = g->index.n == 0 ? 0 : vec_last(&g->index)->position;
    if (position - last >= interval && position > 0)
        vec_add(&g->index, ((struct index_entry){(uint32_t)(b->base_offset - g->base), (uint32_t)position, g->max_time}));
    if (b->max_timestamp > g->max_time) {
        g->max_time = b->max_timestamp;
        g->max_time_base = b->base_offset;
    }
    g->end = batch_last_offset(b) + 1;
}

// Records may carry no timestamp (-1): then the time of writing counts.
int64_t segment_newest_ms(const struct segment *g) { return g->max_time >= 0 ? g->max_time : g->opened_ms; }

// ---- index files ----------------------------------------------------------------------------------------------------

enum err_code segment_write_index(struct log *l, struct segment *g, const char *suffix, struct err *err) {
    assert(g->index_loaded);
    struct buf entries, file;
    buf_init(&entries, 0);
    buf_init(&file, 0);
    for (size_t i = 0; i < g->index.n; i++) {
        buf_put_be32(&entries, g->index.p[i].relative);
        buf_put_be32(&entries, g->index.p[i].position);
        buf_put_be64(&entries, (uint64_t)g->index.p[i].max_before);
    }
    buf_put_be32(&file, INDEX_MAGIC);
    buf_put_be32(&file, INDEX_VERSION);
    buf_put_be64(&file, g->size);
    buf_put_be64(&file, (uint64_t)g->end);
    buf_put_be64(&file, (uint64_t)g->max_time);
    buf_put_be64(&file, (uint64_t)g->max_time_base);
    buf_put_be32(&file, (uint32_t)g->index.n);
    buf_put_be32(&file, crc32c(0, entries.p, entries.n));
    buf_put_be32(&file, 0); // spare
    buf_put_be32(&file, crc32c(0, file.p, file.n));
    assert(file.n == INDEX_HEAD);
    buf_put(&file, entries.p, entries.n);
    char *path = segment_path(l, g->base, suffix);
    enum err_code code = sys_write_file(l->sys, path, buf_str(&file), err);
    mem_free(path);
    buf_fini(&entries);
    buf_fini(&file);
    return code;
}

struct index_head {
    uint64_t size;
    int64_t end, max_time, max_time_base;
    uint32_t n, entries_crc;
};

static bool parse_head(const void *p, size_t n, struct index_head *h) {
    if (n < INDEX_HEAD) return false;
    struct rd r = rd_of(p, INDEX_HEAD);
    uint32_t magic = rd_be32(&r), version = rd_be32(&r);
    h->size = rd_be64(&r);
    h->end = (int64_t)rd_be64(&r);
    h->max_time = (int64_t)rd_be64(&r);
    h->max_time_base = (int64_t)rd_be64(&r);
    h->n = rd_be32(&r);
    h->entries_crc = rd_be32(&r);
    (void)rd_be32(&r);
    return magic == INDEX_MAGIC && version == INDEX_VERSION && rd_be32(&r) == crc32c(0, p, INDEX_HEAD - 4);
}

static bool read_head(struct log *l, int64_t base, const char *suffix, struct index_head *h) {
    char *path = segment_path(l, base, suffix);
    struct sys_file *f = sys_exists(l->sys, path) ? sys_open(l->sys, path, SYS_READ, NULL) : NULL;
    mem_free(path);
    if (f == NULL) return false;
    uint8_t bytes[INDEX_HEAD];
    int64_t n = sys_pread(f, bytes, sizeof bytes, 0, NULL);
    int64_t size = sys_file_size(f, NULL);
    sys_close(f);
    return n == INDEX_HEAD && parse_head(bytes, sizeof bytes, h) && h->end >= base && size == INDEX_HEAD + (int64_t)h->n * INDEX_ENTRY;
}

bool segment_index_says(struct log *l, int64_t base, const char *suffix, uint64_t size, int64_t end) {
    struct index_head h;
    return read_head(l, base, suffix, &h) && h.size == size && h.end == end;
}

bool segment_read_index_head(struct log *l, struct segment *g) {
    struct index_head h;
    if (!read_head(l, g->base, "index", &h) || h.size != g->size) return false;
    g->end = h.end;
    g->max_time = h.max_time;
    g->max_time_base = h.max_time_base;
    g->index_on_disk = true;
    g->index_loaded = false;
    return true;
}

typedef VEC(struct index_entry) index_vec;

static bool read_entries(struct log *l, const struct segment *g, index_vec *out) {
    char *path = segment_path(l, g->base, "index");
    size_t n = 0;
    char *file = sys_read_file(l->sys, path, (size_t)BUF_MAX_DEFAULT, &n, NULL);
    mem_free(path);
    struct index_head h;
    bool ok = file != NULL && parse_head(file, n, &h) && n == INDEX_HEAD + (size_t)h.n * INDEX_ENTRY && h.size == g->size &&
              crc32c(0, file + INDEX_HEAD, n - INDEX_HEAD) == h.entries_crc;
    struct rd r = rd_of(ok ? file + INDEX_HEAD : NULL, ok ? n - INDEX_HEAD : 0);
    while (rd_left(&r) > 0) {
        uint32_t relative = rd_be32(&r), position = rd_be32(&r);
        vec_add(out, ((struct index_entry){relative, position, (int64_t)rd_be64(&r)}));
    }
    mem_free(file);
    return ok;
}

struct rebuild {
    struct segment *into;
    uint32_t interval;
};

static bool rebuild_batch(void *arg, const struct batch *b, uint64_t position) {
    struct rebuild *x = arg;
    segment_note_batch(x->into, b, position, x->interval);
    return true;
}

// Closed segments only: nothing but `index` changes, so the work is done outside the mutex on a copy.
enum err_code segment_load_index(struct log *l, struct segment *g, struct err *err) {
    assert(g->closed);
    struct segment copy = {.base = g->base, .end = g->base, .size = g->size, .max_time = INT64_MIN};
    index_vec v = {0};
    bool from_file = read_entries(l, g, &v);
    if (!from_file) {
        log_warn("log", "index rebuilt", "dir", l->dir, "segment", log_i64(g->base), NULL);
        struct rebuild x = {&copy, l->config.index_interval_bytes};
        struct scan c = {.file = g->file, .to = g->size, .expect = -1, .fn = rebuild_batch, .arg = &x};
        enum err_code code = segment_scan(&c, err);
        if (code != ERR_OK) {
            vec_fini(&copy.index);
            vec_fini(&v);
            return code;
        }
    }
    sys_mutex_lock(&l->mutex);
    if (!g->index_loaded) {
        vec_fini(&g->index);
        size_t n = from_file ? v.n : copy.index.n;
        vec_reserve(&g->index, n + 1);
        if (n > 0) memcpy(g->index.p, from_file ? v.p : copy.index.p, n * sizeof *v.p);
        g->index.n = n;
        g->index_loaded = true;
        if (!from_file) g->index_on_disk = false; // log_tidy writes it anew
    }
    sys_mutex_unlock(&l->mutex);
    vec_fini(&copy.index);
    vec_fini(&v);
    return ERR_OK;
}

bool segment_has_index(struct log *l, struct segment *g) {
    sys_mutex_lock(&l->mutex);
    bool loaded = g->index_loaded || !g->closed;
    sys_mutex_unlock(&l->mutex);
    return loaded;
}

enum err_code segment_ensure_index(struct log *l, struct segment *g, struct err *err) {
    return segment_has_index(l, g) ? ERR_OK : segment_load_index(l, g, err);
}

// ---- snapshots ------------------------------------------------------------------------------------------------------

enum err_code segment_write_snapshot(struct log *l, int64_t base, struct str state, struct err *err) {
    struct buf file;
    buf_init(&file, 0);
    buf_put_be32(&file, SNAPSHOT_MAGIC);
    buf_put_be32(&file, crc32c(0, state.p, state.n));
    buf_put_str(&file, state);
    char *path = segment_path(l, base, "snapshot");
    enum err_code code = sys_write_file(l->sys, path, buf_str(&file), err);
    mem_free(path);
    buf_fini(&file);
    return code;
}

bool segment_read_snapshot(struct log *l, int64_t base, struct buf *out) {
    char *path = segment_path(l, base, "snapshot");
    size_t n = 0;
    char *file = sys_exists(l->sys, path) ? sys_read_file(l->sys, path, (size_t)BUF_MAX_DEFAULT, &n, NULL) : NULL;
    mem_free(path);
    struct rd r = rd_of(file, n);
    bool ok = file != NULL && rd_be32(&r) == SNAPSHOT_MAGIC;
    uint32_t crc = rd_be32(&r);
    ok = ok && !r.failed && crc32c(0, r.p, rd_left(&r)) == crc;
    if (ok) buf_put(out, r.p, rd_left(&r));
    mem_free(file);
    return ok;
}

// ---- the scanner ----------------------------------------------------------------------------------------------------

static bool all_zeros(struct sys_file *f, uint64_t from, uint64_t to, uint8_t *chunk, size_t cap, enum err_code *code, struct err *err) {
    while (from < to) {
        size_t want = cap < to - from ? cap : (size_t)(to - from);
        int64_t n = sys_pread(f, chunk, want, from, err);
        if (n < 0) *code = err == NULL ? ERR_IO : err->code;
        if (n <= 0) return false;
        for (int64_t i = 0; i < n; i++)
            if (chunk[i] != 0) return false;
        from += (uint64_t)n;
    }
    return true;
}

static const char *judge(struct scan *c, enum batch_status status, const struct batch *b) {
    switch (status) {
    case BATCH_SHORT: return "cut off";
    case BATCH_DAMAGED:
    case BATCH_RANGE: return "damaged header";
    case BATCH_OLD: return "not format 2";
    case BATCH_OK: break;
    }
    if (c->expect >= 0 && b->base_offset != c->expect && (b->base_offset < c->expect || b->base_offset > c->gaps_below)) return "unexpected offset";
    if (c->check_crc && !batch_crc_ok(b)) return "CRC mismatch";
    return NULL;
}

enum err_code segment_scan(struct scan *c, struct err *err) {
    uint64_t at = c->from; // of chunk[0]
    size_t want = SCAN_CHUNK, cap = 0;
    uint8_t *chunk = NULL;
    enum err_code code = ERR_OK;
    bool stop = false;
    c->good_end = c->from;
    c->stopped = NULL;
    c->zeros = false;
    while (at < c->to && !stop) {
        if (want > c->to - at) want = (size_t)(c->to - at);
        if (want > cap) {
            mem_free(chunk);
            chunk = mem_alloc(cap = want);
        }
        int64_t n = sys_pread(c->file, chunk, want, at, err);
        if (n < 0) {
            code = err == NULL ? ERR_IO : err->code;
            break;
        }
        size_t pos = 0, need = SCAN_CHUNK;
        while (pos < (size_t)n) {
            struct batch b = {0};
            enum batch_status status = batch_read(chunk + pos, (size_t)n - pos, &b);
            if (status == BATCH_SHORT && (uint64_t)n < c->to - at && (size_t)n == want) { // more is in the file
                size_t size = batch_size(chunk + pos, (size_t)n - pos);
                stop = size > c->to - at - pos;
                if (stop) c->stopped = "cut off";
                need = size > SCAN_CHUNK ? size : pos > 0 ? (size_t)SCAN_CHUNK : want * 2;
                break;
            }
            c->stopped = judge(c, status, &b);
            stop = c->stopped != NULL;
            if (stop) break;
            if (!c->fn(c->arg, &b, at + pos)) {
                stop = true;
                break;
            }
            if (c->expect >= 0) c->expect = batch_last_offset(&b) + 1;
            pos += b.size;
            c->good_end = at + pos;
        }
        if (n == 0) break; // shorter than promised: the caller compares good_end
        at += pos;
        want = need;
    }
    if (code == ERR_OK && c->stopped != NULL && all_zeros(c->file, c->good_end, c->to, chunk, cap, &code, err)) {
        c->zeros = true;
        c->stopped = NULL;
    }
    mem_free(chunk);
    return code;
}
