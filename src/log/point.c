// SPDX-License-Identifier: Apache-2.0
// Recovery points: what is known of the first part of an active segment, so that an open after a kill scans only what is behind it.
//
// N.point holds a size, the end offset there, the largest time, the sparse index and the aborted transactions so far, the caller's state at
// that end, and CRCs. The owner takes a point between two appends (its thread alone knows the caller's state); the worker that tidies writes
// it when the bytes in front of it are durable, by replacing the file of before. So a valid file proves that the segment's first `size`
// bytes, and every segment in front of it, are on disk: recovery never cuts there, and damage there answers ERR_CORRUPT to readers. A damaged
// or lost file costs a longer scan and nothing else. It goes when the segment's index is written.
//
// Two points may wait: one that is durable, and a newer one that is not yet, so that neither a slow worker nor a slow disk leaves none.
#include <assert.h>

#include "base/log.h"
#include "codec/crc32c.h"
#include "log/segment.h"

enum { POINT_HEAD = 64, POINT_VERSION = 1, POINT_ENTRY = 16, POINT_ABORTED = 32, POINT_BYTES = 32 << 20 };
#define POINT_MAGIC 0x4d525054u // "MRPT"

uint64_t point_bytes(const struct log *l) { return l->config.point_bytes > 0 ? l->config.point_bytes : POINT_BYTES; }

void point_free(struct point *p) {
    if (p == NULL) return;
    buf_fini(&p->state);
    mem_free(p);
}

void point_forget(struct segment *g) {
    point_free(g->point);
    point_free(g->newer);
    g->point = g->newer = NULL;
}

// ---- taking ---------------------------------------------------------------------------------------------------------

void point_take(struct log *l, struct segment *g, uint64_t grown) {
    if (g->size == g->pointed || g->size - g->pointed < grown) return;
    sys_mutex_lock(&l->mutex);
    bool room = g->newer == NULL || g->newer->size <= g->synced;
    sys_mutex_unlock(&l->mutex);
    if (!room) return;
    struct point *p = MEM_NEW(struct point);
    buf_init(&p->state, 0);
    p->has_state = l->state.save != NULL;
    if (p->has_state) l->state.save(l->state.arg, &p->state);
    sys_mutex_lock(&l->mutex);
    p->size = g->pointed = g->size;
    p->end = l->end;
    p->max_time = g->max_time;
    p->max_time_base = g->max_time_base;
    p->index_n = g->index.n;
    p->aborted_n = g->aborted.n;
    if (g->newer != NULL) {
        point_free(g->point);
        g->point = g->newer;
    }
    g->newer = p;
    sys_mutex_unlock(&l->mutex);
}

bool point_ready(const struct segment *g) {
    if (g->closed) return false;
    return (g->point != NULL && g->point->size <= g->synced) || (g->newer != NULL && g->newer->size <= g->synced);
}

bool point_wanted(const struct log *l, const struct segment *g) {
    return g->newer == NULL && g->size > g->pointed && g->size - g->pointed >= point_bytes(l) / POINT_UPKEEP_PART;
}

// ---- writing --------------------------------------------------------------------------------------------------------

// The newest that is durable, out of the segment, with the entries in front of it; NULL = none.
static struct point *take_ready(struct log *l, struct segment *g, struct buf *index, struct buf *aborted) {
    struct point *p = NULL;
    sys_mutex_lock(&l->mutex);
    if (point_ready(g)) {
        if (g->newer != NULL && g->newer->size <= g->synced) {
            p = g->newer;
            g->newer = NULL;
            point_free(g->point);
        } else {
            p = g->point;
        }
        g->point = NULL;
        buf_put(index, g->index.p, p->index_n * sizeof *g->index.p);
        buf_put(aborted, g->aborted.p, p->aborted_n * sizeof *g->aborted.p);
    }
    sys_mutex_unlock(&l->mutex);
    return p;
}

static void put_body(struct buf *out, const struct point *p, const struct index_entry *index, const struct log_aborted *aborted) {
    for (size_t i = 0; i < p->index_n; i++) {
        buf_put_be32(out, index[i].relative);
        buf_put_be32(out, index[i].position);
        buf_put_be64(out, (uint64_t)index[i].max_before);
    }
    for (size_t i = 0; i < p->aborted_n; i++) {
        buf_put_be64(out, (uint64_t)aborted[i].producer_id);
        buf_put_be64(out, (uint64_t)aborted[i].first);
        buf_put_be64(out, (uint64_t)aborted[i].last);
        buf_put_be64(out, (uint64_t)aborted[i].stable);
    }
    buf_put_str(out, buf_str(&p->state));
}

enum err_code point_write(struct log *l, struct segment *g, struct err *err) {
    struct buf index, aborted, body, file;
    buf_init(&index, 0);
    buf_init(&aborted, 0);
    buf_init(&body, 0);
    buf_init(&file, 0);
    struct point *p = take_ready(l, g, &index, &aborted);
    enum err_code code = ERR_OK;
    if (p != NULL) {
        bool whole = !index.failed && !aborted.failed && !p->state.failed;
        if (whole) put_body(&body, p, (const void *)index.p, (const void *)aborted.p);
        buf_put_be32(&file, POINT_MAGIC);
        buf_put_be32(&file, POINT_VERSION);
        buf_put_be64(&file, p->size);
        buf_put_be64(&file, (uint64_t)p->end);
        buf_put_be64(&file, (uint64_t)p->max_time);
        buf_put_be64(&file, (uint64_t)p->max_time_base);
        buf_put_be32(&file, (uint32_t)p->index_n);
        buf_put_be32(&file, (uint32_t)p->aborted_n);
        buf_put_be32(&file, p->has_state);
        buf_put_be32(&file, 0); // spare
        buf_put_be32(&file, crc32c(0, body.p, body.n));
        buf_put_be32(&file, crc32c(0, file.p, file.n));
        assert(file.n == POINT_HEAD);
        buf_put_str(&file, buf_str(&body));
        char *path = segment_path(l, g->base, "point");
        if (whole && !body.failed && !file.failed) code = sys_write_file(l->sys, path, buf_str(&file), err);
        else code = err_set(err, ERR_TOO_LARGE, "%s: too large", path);
        mem_free(path);
    }
    point_free(p);
    buf_fini(&index);
    buf_fini(&aborted);
    buf_fini(&body);
    buf_fini(&file);
    return code;
}

enum err_code point_remove(struct log *l, int64_t base, struct err *err) {
    char *path = segment_path(l, base, "point");
    enum err_code code = sys_exists(l->sys, path) ? sys_unlink(l->sys, path, err) : ERR_OK;
    mem_free(path);
    return code;
}

// ---- reading --------------------------------------------------------------------------------------------------------

static bool parse(struct rd *r, struct point *p, int64_t base) {
    struct str file = str_n((const char *)r->p, rd_left(r));
    if (file.n < POINT_HEAD) return false;
    uint32_t magic = rd_be32(r), version = rd_be32(r);
    p->size = rd_be64(r);
    p->end = (int64_t)rd_be64(r);
    p->max_time = (int64_t)rd_be64(r);
    p->max_time_base = (int64_t)rd_be64(r);
    p->index_n = rd_be32(r);
    p->aborted_n = rd_be32(r);
    p->has_state = rd_be32(r) != 0;
    (void)rd_be32(r);
    uint32_t body_crc = rd_be32(r), head_crc = rd_be32(r);
    if (magic != POINT_MAGIC || version != POINT_VERSION || head_crc != crc32c(0, file.p, POINT_HEAD - 4)) return false;
    return p->size > 0 && p->end > base && rd_left(r) >= p->index_n * POINT_ENTRY + p->aborted_n * POINT_ABORTED &&
           crc32c(0, r->p, rd_left(r)) == body_crc;
}

struct point *point_read(struct log *l, struct segment *g) {
    char *path = segment_path(l, g->base, "point");
    size_t n = 0;
    char *file = sys_exists(l->sys, path) ? sys_read_file(l->sys, path, (size_t)BUF_MAX_DEFAULT, &n, NULL) : NULL;
    struct point *p = MEM_NEW(struct point);
    buf_init(&p->state, 0);
    struct rd r = rd_of(file, file == NULL ? 0 : n);
    if (!parse(&r, p, g->base)) {
        if (file != NULL) log_warn("log", "damaged recovery point: the segment is scanned", "file", path, NULL);
        point_free(p);
        p = NULL;
    } else {
        g->index.n = g->aborted.n = 0;
        for (size_t i = 0; i < p->index_n; i++) {
            uint32_t relative = rd_be32(&r), position = rd_be32(&r);
            vec_add(&g->index, ((struct index_entry){relative, position, (int64_t)rd_be64(&r)}));
        }
        for (size_t i = 0; i < p->aborted_n; i++) {
            struct log_aborted *a = vec_push(&g->aborted);
            a->producer_id = (int64_t)rd_be64(&r);
            a->first = (int64_t)rd_be64(&r);
            a->last = (int64_t)rd_be64(&r);
            a->stable = (int64_t)rd_be64(&r);
        }
        buf_put(&p->state, r.p, rd_left(&r));
    }
    mem_free(file);
    mem_free(path);
    return p;
}
