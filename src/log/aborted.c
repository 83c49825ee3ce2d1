// SPDX-License-Identifier: Apache-2.0
// Which transactions were aborted, per segment: in memory while the segment is active, in N.txnindex beside a closed one.
//
// An entry belongs to the segment that holds its marker. The file is written before N.index, and a valid index says that everything of its
// segment is on disk: so a segment with an index and without this file has no aborts. What recovery scans is found out again from the
// markers (log_state.aborted). Readers who want committed data only ask here, and only when there was an abort at all: the lists of closed
// segments are read at first use. Every list is under the log's mutex; files are read outside it.
#include <assert.h>

#include "base/log.h"
#include "codec/crc32c.h"
#include "log/segment.h"

enum { ABORTED_ENTRY = 32, ABORTED_VERSION = 1, ABORTED_HEAD = 16 };
#define ABORTED_MAGIC 0x4d525458u // "MRTX"

void segment_note_aborted(struct log *l, struct segment *g, const struct log_aborted *a) {
    vec_add(&g->aborted, *a);
    atomic_store(&l->has_aborted, true);
}

enum err_code segment_write_aborted(struct log *l, struct segment *g, const char *suffix, struct err *err) {
    char *path = segment_path(l, g->base, suffix);
    bool cleaned = str_ends(str_c(suffix), STR(".cleaned"));
    enum err_code code = ERR_OK;
    if (g->aborted_on_disk) { // not read since it was opened, so not changed
    } else if (g->aborted.n == 0 && (!cleaned || !atomic_load(&l->has_aborted))) {
        if (sys_exists(l->sys, path)) code = sys_unlink(l->sys, path, err); // of a tail that recovery cut off
    } else {
        struct buf entries, file;
        buf_init(&entries, 0);
        buf_init(&file, 0);
        for (size_t i = 0; i < g->aborted.n; i++) {
            buf_put_be64(&entries, (uint64_t)g->aborted.p[i].producer_id);
            buf_put_be64(&entries, (uint64_t)g->aborted.p[i].first);
            buf_put_be64(&entries, (uint64_t)g->aborted.p[i].last);
            buf_put_be64(&entries, (uint64_t)g->aborted.p[i].stable);
        }
        buf_put_be32(&file, ABORTED_MAGIC);
        buf_put_be32(&file, ABORTED_VERSION);
        buf_put_be32(&file, (uint32_t)g->aborted.n);
        buf_put_be32(&file, crc32c(0, entries.p, entries.n));
        buf_put_str(&file, buf_str(&entries));
        code = file.failed ? err_set(err, ERR_TOO_LARGE, "%s: too many aborted transactions", path) : sys_write_file(l->sys, path, buf_str(&file), err);
        buf_fini(&entries);
        buf_fini(&file);
    }
    mem_free(path);
    return code;
}

static enum err_code read_file(struct log *l, const struct segment *g, log_aborteds *out, struct err *err) {
    char *path = segment_path(l, g->base, "txnindex");
    size_t n = 0;
    char *file = sys_read_file(l->sys, path, (size_t)BUF_MAX_DEFAULT, &n, err);
    struct rd r = rd_of(file, n);
    bool ok = file != NULL && rd_be32(&r) == ABORTED_MAGIC && rd_be32(&r) == ABORTED_VERSION;
    uint32_t count = rd_be32(&r), crc = rd_be32(&r);
    ok = ok && !r.failed && n == ABORTED_HEAD + (size_t)count * ABORTED_ENTRY && crc32c(0, r.p, rd_left(&r)) == crc;
    for (uint32_t i = 0; ok && i < count; i++) {
        struct log_aborted *a = vec_push(out);
        a->producer_id = (int64_t)rd_be64(&r);
        a->first = (int64_t)rd_be64(&r);
        a->last = (int64_t)rd_be64(&r);
        a->stable = (int64_t)rd_be64(&r);
    }
    enum err_code code = ok ? ERR_OK : err_set(err, ERR_CORRUPT, "%s: damaged; committed data of this segment cannot be told from aborted", path);
    mem_free(file);
    mem_free(path);
    return code;
}

enum err_code segment_load_aborted(struct log *l, struct segment *g, struct err *err) {
    log_aborteds read = {0};
    enum err_code code = read_file(l, g, &read, err);
    sys_mutex_lock(&l->mutex);
    if (code == ERR_OK && g->aborted_on_disk) {
        vec_fini(&g->aborted);
        g->aborted.p = read.p;
        g->aborted.n = read.n;
        g->aborted.cap = read.cap;
        g->aborted_on_disk = false;
        read.p = NULL;
    }
    sys_mutex_unlock(&l->mutex);
    mem_free(read.p);
    return code;
}

// ---- compaction -----------------------------------------------------------------------------------------------------

struct carry {
    const log_aborteds *all; // by marker
    size_t at;
    struct segment *into;
};

static bool is_abort(const struct batch *b) {
    struct batch_iter it;
    struct batch_record r;
    bool abort = false;
    if (batch_iter_init(&it, b, 0, NULL) == ERR_OK && batch_iter_next(&it, &r, NULL) == 1) {
        struct rd key = rd_of(r.key.p, r.key.n);
        (void)rd_be16(&key); // version
        abort = rd_be16(&key) == 0 && !key.failed;
    }
    batch_iter_fini(&it);
    return abort;
}

static bool carry_batch(void *arg, const struct batch *b, uint64_t position) {
    struct carry *x = arg;
    (void)position;
    if ((b->attributes & BATCH_ATTR_CONTROL) == 0) return true;
    while (x->at < x->all->n && x->all->p[x->at].last < b->base_offset) x->at++;
    if (x->at < x->all->n && x->all->p[x->at].last == b->base_offset && is_abort(b)) vec_add(&x->into->aborted, x->all->p[x->at]);
    return x->at < x->all->n;
}

// A reader drops a producer's batches from `first` until it meets the marker: without the marker an entry would hide what comes later.
enum err_code segment_carry_aborted(struct log *l, struct segment *g, struct segment *const *sources, size_t n, struct err *err) {
    enum err_code code = ERR_OK;
    log_aborteds all = {0};
    if (!atomic_load(&l->has_aborted)) return ERR_OK;
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        if (sources[i]->aborted_on_disk) code = segment_load_aborted(l, sources[i], err);
        sys_mutex_lock(&l->mutex);
        for (size_t k = 0; k < sources[i]->aborted.n; k++) vec_add(&all, sources[i]->aborted.p[k]);
        sys_mutex_unlock(&l->mutex);
    }
    struct carry x = {.all = &all, .into = g};
    struct scan c = {.file = g->file, .to = g->size, .expect = -1, .fn = carry_batch, .arg = &x};
    if (code == ERR_OK && all.n > 0) code = segment_scan(&c, err);
    vec_fini(&all);
    return code;
}

// ---- look-ups -------------------------------------------------------------------------------------------------------

// The segment after `base` (from the one that holds it on), with a reference; NULL = none. *unread: its list is still on disk.
static struct segment *take_next(struct log *l, int64_t *base, bool *unread) {
    struct segment *g = NULL;
    sys_mutex_lock(&l->mutex);
    for (size_t i = 0; i < l->segments.n && g == NULL; i++)
        if (l->segments.p[i]->end > *base || i + 1 == l->segments.n) g = l->segments.p[i];
    if (g != NULL && g->end <= *base) g = NULL;
    if (g != NULL) {
        segment_ref(g);
        *base = g->end;
        *unread = g->aborted_on_disk;
    }
    sys_mutex_unlock(&l->mutex);
    return g;
}

// True = a later marker can only end a transaction that began at or behind `to`.
static bool collect(struct log *l, const struct segment *g, int64_t from, int64_t to, log_aborteds *out) {
    bool complete = false;
    sys_mutex_lock(&l->mutex);
    for (size_t i = 0; i < g->aborted.n && !complete; i++) {
        const struct log_aborted *a = &g->aborted.p[i];
        if (a->last >= from && a->first < to) vec_add(out, *a);
        complete = a->stable >= to;
    }
    sys_mutex_unlock(&l->mutex);
    return complete;
}

enum err_code log_aborted(struct log *l, int64_t from, int64_t to, log_aborteds *out, struct err *err) {
    if (!atomic_load(&l->has_aborted)) return ERR_OK;
    int64_t base = from;
    enum err_code code = ERR_OK;
    bool unread = false;
    struct segment *g;
    while (code == ERR_OK && (g = take_next(l, &base, &unread)) != NULL) {
        if (unread) code = segment_load_aborted(l, g, err);
        bool complete = code == ERR_OK && collect(l, g, from, to, out);
        segment_unref(l, g);
        if (complete) break;
    }
    return code;
}

bool log_has_aborted(struct log *l) { return atomic_load(&l->has_aborted); }
