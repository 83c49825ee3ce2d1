// SPDX-License-Identifier: Apache-2.0
// How appended bytes get to the disk: room in the file ahead of them, and writing whole blocks past the system's cache.
//
// An append puts its bytes into the block cache (owner's thread, no input or output but a reservation now and then); the worker that syncs
// writes what gathered, in one call for most syncs. The last block of the file is written with zeros behind its bytes and written again
// when more came: the bytes that were durable are the same both times, so a write that is torn at a sector harms none of them.
// Room: the owner reserves disk space ahead, so that a full disk is met by an append, which is then refused without a trace, and not by the
// worker. Where appends are small and the sync's time counts, the worker also writes zeros ahead: a write over what was written needs no
// journal. Recovery takes zeros at the end of a file for what they are, and the room is given back when a segment is closed.
#include <assert.h>

#include "log/segment.h"

enum { SMALL_APPEND = 16 << 10, ROOM_MIN = 64 << 10, ROOM_MAX = 512 << 10, LARGE_ROOM_MIN = 1 << 20, LARGE_ROOM_MAX = 32 << 20 };
enum { ZEROS = 64 << 10, WRITE_MAX = 16 << 20 };

static uint64_t block_down(uint64_t at) { return at / SYS_BLOCK * SYS_BLOCK; }
static uint64_t block_up(uint64_t at) { return block_down(at + SYS_BLOCK - 1); }

static uint64_t between(uint64_t v, uint64_t low, uint64_t high) { return v < low ? low : v > high ? high : v; }

// ---- room -----------------------------------------------------------------------------------------------------------

static enum err_code reserve_to(struct segment *g, uint64_t end, struct err *err) {
    enum err_code code = sys_reserve(g->file, g->reserved, end - g->reserved, err);
    if (code == ERR_NOT_SUPPORTED) code = ERR_OK; // the file grows as it is written
    if (code == ERR_OK) g->reserved = end;
    return code;
}

enum err_code segment_reserve(struct segment *g, size_t n, uint64_t segment_max, struct err *err) {
    uint64_t end = block_up(g->size + n);
    if (end <= g->reserved) return ERR_OK;
    bool small = n <= SMALL_APPEND; // in proportion, so that thousands of small partitions do not fill the disk with room
    uint64_t more = small ? between(end, ROOM_MIN, ROOM_MAX) : between(end, LARGE_ROOM_MIN, LARGE_ROOM_MAX);
    uint64_t last = block_up(segment_max);
    if (end + more > last) more = end < last ? last - end : 0;
    if (more > 0 && reserve_to(g, end + more, NULL) == ERR_OK) return ERR_OK; // nobody needs `more`
    enum err_code code = reserve_to(g, end, err);
    if (code != ERR_OK) (void)sys_truncate(g->file, g->reserved, NULL); // a part may have been taken
    return code;
}

enum err_code segment_trim(struct segment *g, struct err *err) {
    if (g->reserved == g->size) return ERR_OK;
    enum err_code code = sys_truncate(g->file, g->size, err);
    if (code == ERR_OK) g->reserved = g->size;
    if (code == ERR_OK && g->zeroed > g->size) g->zeroed = g->size;
    return code;
}

// ---- writing --------------------------------------------------------------------------------------------------------

struct writing {
    struct log *log;
    struct segment *segment;
    uint64_t from, to; // whole blocks; what is to be written is in front of `bytes`
    uint64_t bytes;
    struct sys_iov iov[SYS_IOV_MAX];
    int n;
    uint8_t *last; // the last block: a copy, since appends go on behind the bytes
};

// The block was begun behind bytes that are on disk and no longer in memory.
static enum err_code fill_head(const struct writing *w, const struct block_dirty *d, struct err *err) {
    _Alignas(SYS_BLOCK) uint8_t old[SYS_BLOCK];
    size_t n = (size_t)(d->from - d->base);
    assert(n < SYS_BLOCK);
    int64_t got = sys_pread(w->segment->file, old, sizeof old, d->base, err);
    if (got < 0) return err->code;
    if ((size_t)got < n) return err_set(err, ERR_CORRUPT, "segment %lld became shorter", (long long)w->segment->base);
    memcpy(d->mem, old, n);
    *d->head = true;
    return ERR_OK;
}

// Pieces for [w->from, w->to): the memory of the blocks, and the copy for the last one when it is not full.
static enum err_code gather(struct writing *w, struct err *err) {
    uint64_t full = w->to < w->bytes ? w->to : block_down(w->bytes); // up to here it is written from where it lies
    for (uint64_t at = w->from; at < w->to && w->n < SYS_IOV_MAX;) {
        struct block_dirty d;
        uint64_t inside = at < w->segment->written ? w->segment->written : at;
        bool there = cache_dirty(w->log->cache, &w->segment->blocks, inside, &d);
        assert(there && d.base <= at); // what is not on disk is kept
        (void)there;
        if (!*d.head && at < d.from) {
            enum err_code code = fill_head(w, &d, err);
            if (code != ERR_OK) return code;
        }
        const uint8_t *p = d.mem + (at - d.base);
        if (at >= full) {
            memset(w->last, 0, SYS_BLOCK);
            memcpy(w->last, p, (size_t)(w->bytes - at));
            w->iov[w->n++] = (struct sys_iov){w->last, SYS_BLOCK};
            at += SYS_BLOCK;
            continue;
        }
        uint64_t end = block_down(d.to) < full ? block_down(d.to) : full;
        assert(end > at);
        w->iov[w->n++] = (struct sys_iov){p, (size_t)(end - at)};
        at = end;
        w->to = w->n == SYS_IOV_MAX ? at : w->to;
    }
    return ERR_OK;
}

// Zeros behind a small append, so that the next ones write over them.
static void add_zeros(struct writing *w) {
    static _Alignas(SYS_BLOCK) uint8_t zeros[ZEROS];
    uint64_t reserved = block_down(w->segment->reserved), more = between(w->to, ROOM_MIN, ROOM_MAX);
    if (w->to >= reserved) return;
    if (more > reserved - w->to) more = reserved - w->to;
    for (; more > 0 && w->n < SYS_IOV_MAX; more -= w->iov[w->n++].n) {
        w->iov[w->n] = (struct sys_iov){zeros, more < ZEROS ? (size_t)more : (size_t)ZEROS};
        w->to += w->iov[w->n].n;
    }
}

enum err_code segment_write_out(struct log *l, struct segment *g, uint64_t to, bool sync, struct err *err) {
    _Alignas(SYS_BLOCK) uint8_t last[SYS_BLOCK];
    bool separate = g->written > g->synced; // what was written before waits for the sync too
    bool small = to - g->written <= SMALL_APPEND;
    while (g->written < to) {
        struct writing w = {.log = l, .segment = g, .from = block_down(g->written), .to = block_up(to), .bytes = to, .last = last};
        if (w.to - w.from > WRITE_MAX) w.to = w.from + WRITE_MAX;
        enum err_code code = gather(&w, err);
        if (code != ERR_OK) return code;
        uint64_t done = w.to < to ? w.to : to;
        separate = separate || done < to;
        if (w.to > g->zeroed && small && done == to) add_zeros(&w);
        code = sys_pwritev(g->file, w.iov, w.n, w.from, sync && !separate, err);
        if (code != ERR_OK) return code;
        g->written = done;
        if (w.to > g->zeroed) g->zeroed = w.to;
    }
    if (sync && separate) {
        enum err_code code = sys_fdatasync(g->file, err);
        if (code != ERR_OK) return code;
    }
    cache_on_disk(l->cache, &g->blocks, g->written);
    return ERR_OK;
}
