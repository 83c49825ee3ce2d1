// SPDX-License-Identifier: Apache-2.0
// Files of compaction and of the log's beginning: a new segment in the place of old ones, wholly or not at all; the files `cleaner` and `start`.
//
//   1. `N.log.cleaned` is written and synced, then `N.index.cleaned`.
//   2. The file `swap` names N, the offset behind the old segments and the size of the new one. With it the matter is decided.
//   3. The old segments' files go, the new ones get their names; the folder is synced; `swap` goes.
// When the process or the power ends before 2, recovery removes what is called cleaned; after 2 it does 3 again. When 3 fails in a running
// process, the log already lives by the new segment (its file is open) and the next compaction or retention does 3 first (SWAP_PENDING).
// When 2 fails and cannot be taken back, the next start decides: until then there is no further compaction or retention (SWAP_DOUBT).
//
// `cleaner` says what compaction has seen, and below which offset there may be gaps: it is on disk before the first swap. `start` is
// the first offset after a DeleteRecords. Both end with a CRC. A `cleaner` that is damaged costs a new compaction of everything.
#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "codec/crc32c.h"
#include "log/compact_inside.h"

// ---- small files: numbers, then their CRC ---------------------------------------------------------------------------

static char *file_path(const struct log *l, const char *name) { return mem_printf("%s/%s", l->dir, name); }

static enum err_code write_numbers(struct log *l, const char *name, const int64_t *v, size_t n, struct err *err) {
    struct buf out = {0};
    for (size_t i = 0; i < n; i++) buf_printf(&out, "%lld ", (long long)v[i]);
    buf_printf(&out, "%08x\n", crc32c(0, out.p, out.n));
    char *path = file_path(l, name);
    enum err_code code = sys_write_file(l->sys, path, buf_str(&out), err);
    mem_free(path);
    buf_fini(&out);
    return code;
}

static bool parse_numbers(struct str text, int64_t *v, size_t n) {
    struct str rest = text, word;
    for (size_t i = 0; i < n; i++)
        if (!str_cut(rest, ' ', &word, &rest) || !str_to_i64(word, &v[i])) return false;
    struct buf want = {0};
    buf_printf(&want, "%08x\n", crc32c(0, text.p, (size_t)(rest.p - text.p)));
    bool ok = str_eq(rest, buf_str(&want));
    buf_fini(&want);
    return ok;
}

enum numbers { NUMBERS_NONE, NUMBERS_READ, NUMBERS_DAMAGED };

static enum numbers read_numbers(struct log *l, const char *name, int64_t *v, size_t n, struct err *err) {
    char *path = file_path(l, name);
    enum numbers result = NUMBERS_NONE;
    err->code = ERR_OK;
    if (sys_exists(l->sys, path)) {
        size_t size = 0;
        char *text = sys_read_file(l->sys, path, 4096, &size, err);
        result = text != NULL && parse_numbers(str_n(text, size), v, n) ? NUMBERS_READ : NUMBERS_DAMAGED;
        mem_free(text);
    }
    mem_free(path);
    return result;
}

enum err_code compact_save_state(struct log *l, int64_t clean_below, int64_t gaps_below, struct err *err) {
    sys_mutex_lock(&l->names);
    int64_t v[2] = {clean_below, gaps_below > l->gaps_below ? gaps_below : l->gaps_below};
    enum err_code code = l->abandoned ? err_set(err, ERR_CLOSED, "%s: removed", l->dir) : write_numbers(l, "cleaner", v, 2, err);
    sys_mutex_unlock(&l->names);
    if (code != ERR_OK) return code;
    sys_mutex_lock(&l->mutex);
    l->clean_below = v[0];
    l->gaps_below = v[1];
    sys_mutex_unlock(&l->mutex);
    return ERR_OK;
}

// ---- the swap -------------------------------------------------------------------------------------------------------

static enum err_code unlink_if(struct log *l, const char *path, struct err *err) {
    return sys_exists(l->sys, path) ? sys_unlink(l->sys, path, err) : ERR_OK;
}

static enum err_code unlink_of(struct log *l, int64_t base, const char *suffix, struct err *err) {
    char *path = segment_path(l, base, suffix);
    enum err_code code = unlink_if(l, path, err);
    mem_free(path);
    return code;
}

void compact_unlink_cleaned(struct log *l, int64_t base) {
    if (l->swap == SWAP_DOUBT) return;
    (void)unlink_of(l, base, "log.cleaned", NULL);
    (void)unlink_of(l, base, "index.cleaned", NULL);
    (void)unlink_of(l, base, "txnindex.cleaned", NULL);
}

static enum err_code take_name(struct log *l, int64_t base, const char *from_suffix, const char *suffix, struct err *err) {
    char *from = segment_path(l, base, from_suffix), *to = segment_path(l, base, suffix);
    enum err_code code = sys_exists(l->sys, from) ? sys_rename(l->sys, from, to, err) : ERR_OK;
    mem_free(from);
    mem_free(to);
    return code;
}

// Files of the segments with first < base < end: they are in the new one.
static enum err_code remove_between(struct log *l, int64_t first, int64_t end, struct err *err) {
    struct sys_list names = {0};
    enum err_code code = sys_list_dir(l->sys, l->dir, &names, err);
    for (size_t i = 0; i < names.n && code == ERR_OK; i++) {
        const char *name = names.names[i];
        int64_t base = 0;
        bool ours = strlen(name) > 21 && name[20] == '.' && str_to_i64(str_n(name, 20), &base) && base > first && base < end;
        if (!ours) continue;
        char *path = file_path(l, name);
        code = sys_unlink(l->sys, path, err);
        mem_free(path);
    }
    sys_list_free(&names);
    return code;
}

enum { SWAP_BASE, SWAP_END, SWAP_SIZE, SWAP_NUMBERS };

// Is the new segment there, under its first name or its last? If neither, this is the trace of an attempt that was taken back.
static bool is_there(struct log *l, const int64_t v[SWAP_NUMBERS]) {
    char *cleaned = segment_path(l, v[SWAP_BASE], "log.cleaned");
    struct sys_stat st;
    bool there = sys_stat(l->sys, cleaned, &st, NULL) == ERR_OK;
    there = there ? st.size == (uint64_t)v[SWAP_SIZE] : segment_index_says(l, v[SWAP_BASE], "index", (uint64_t)v[SWAP_SIZE], v[SWAP_END]) ||
                                                            segment_index_says(l, v[SWAP_BASE], "index.cleaned", (uint64_t)v[SWAP_SIZE], v[SWAP_END]);
    mem_free(cleaned);
    return there;
}

static enum err_code carry_out(struct log *l, const int64_t v[SWAP_NUMBERS], struct err *err) {
    char *swap = file_path(l, "swap");
    enum err_code code = ERR_OK;
    if (is_there(l, v)) {
        code = remove_between(l, v[SWAP_BASE], v[SWAP_END], err);
        if (code == ERR_OK) code = take_name(l, v[SWAP_BASE], "txnindex.cleaned", "txnindex", err);
        if (code == ERR_OK) code = take_name(l, v[SWAP_BASE], "log.cleaned", "log", err);
        if (code == ERR_OK) code = take_name(l, v[SWAP_BASE], "index.cleaned", "index", err);
        if (code == ERR_OK) code = sys_sync_dir(l->sys, l->dir, err);
    }
    if (code == ERR_OK) code = unlink_if(l, swap, err);
    if (code == ERR_OK) code = sys_sync_dir(l->sys, l->dir, err);
    mem_free(swap);
    return code;
}

enum err_code compact_swap_finish(struct log *l, struct err *err) {
    struct err local = {0};
    int64_t v[SWAP_NUMBERS];
    if (err == NULL) err = &local;
    if (l->swap == SWAP_NONE) return ERR_OK;
    if (l->swap == SWAP_DOUBT) return err_set(err, ERR_BUSY, "%s: a compaction failed halfway; the next start settles it", l->dir);
    enum numbers found = read_numbers(l, "swap", v, SWAP_NUMBERS, err);
    if (found == NUMBERS_DAMAGED) return err_set(err, ERR_CORRUPT, "%s/swap: damaged", l->dir);
    enum err_code code = found == NUMBERS_READ ? carry_out(l, v, err) : ERR_OK;
    if (code == ERR_OK) l->swap = SWAP_NONE;
    return code;
}

// Where sources[0..n) are in the list, or segments.n when retention has taken one of them. Under the mutex.
static size_t place_of(const struct log *l, struct segment *const *sources, size_t n) {
    for (size_t i = 0; i + n < l->segments.n; i++) { // never the last one, which is active
        if (l->segments.p[i] != sources[0]) continue;
        return l->segments.p[i + n - 1] == sources[n - 1] ? i : l->segments.n;
    }
    return l->segments.n;
}

static void replace(struct log *l, size_t at, struct segment *g, size_t n) {
    sys_mutex_lock(&l->mutex);
    for (size_t i = 0; i < n; i++) l->segments.p[at + i]->dropped = true; // the compaction's references keep them
    l->segments.p[at] = g;
    memmove(&l->segments.p[at + 1], &l->segments.p[at + n], (l->segments.n - at - n) * sizeof *l->segments.p);
    l->segments.n -= n - 1;
    for (size_t i = 0; i < LOG_HINTS; i++) l->hints[i].offset = -1; // positions are others now
    sys_mutex_unlock(&l->mutex);
}

static enum err_code swap_locked(struct log *l, struct segment *g, struct segment *const *sources, size_t n, struct err *err) {
    if (l->abandoned) return err_set(err, ERR_CLOSED, "%s: removed", l->dir);
    enum err_code code = compact_swap_finish(l, err);
    if (code != ERR_OK) return code;
    sys_mutex_lock(&l->mutex);
    size_t at = place_of(l, sources, n), count = l->segments.n;
    sys_mutex_unlock(&l->mutex);
    if (at == count) return err_set(err, ERR_CONFLICT, "%s: retention has removed what was compacted", l->dir);
    int64_t v[SWAP_NUMBERS] = {g->base, sources[n - 1]->end, (int64_t)g->size};
    code = segment_write_aborted(l, g, "txnindex.cleaned", err);
    if (code == ERR_OK) code = segment_write_index(l, g, "index.cleaned", err);
    if (code == ERR_OK) code = write_numbers(l, "swap", v, SWAP_NUMBERS, err);
    if (code != ERR_OK) { // it may be there all the same, and must not be found after a power cut
        char *swap = file_path(l, "swap");
        if (unlink_if(l, swap, NULL) != ERR_OK || sys_sync_dir(l->sys, l->dir, NULL) != ERR_OK) l->swap = SWAP_DOUBT;
        mem_free(swap);
        return code;
    }
    g->index_on_disk = true;
    replace(l, at, g, n);
    l->swap = SWAP_PENDING;
    struct err later = {0};
    if (compact_swap_finish(l, &later) != ERR_OK)
        log_warn("log", "files of a compaction are not in their places yet", "dir", l->dir, "error", later.msg, NULL);
    return ERR_OK;
}

enum err_code compact_swap(struct log *l, struct segment *g, struct segment *const *sources, size_t n, struct err *err) {
    enum err_code code = sys_fdatasync(g->file, err);
    if (code == ERR_OK) code = segment_carry_aborted(l, g, sources, n, err);
    if (code != ERR_OK) return code;
    sys_mutex_lock(&l->names);
    code = swap_locked(l, g, sources, n, err);
    sys_mutex_unlock(&l->names);
    return code;
}

// ---- the log's beginning, and recovery ------------------------------------------------------------------------------

enum err_code log_delete_before(struct log *l, int64_t offset, struct err *err) {
    sys_mutex_lock(&l->names);
    sys_mutex_lock(&l->mutex);
    int64_t start = log_start_locked(l), end = l->read_end;
    sys_mutex_unlock(&l->mutex);
    enum err_code code = ERR_OK;
    if (l->abandoned) code = err_set(err, ERR_CLOSED, "%s: removed", l->dir);
    else if (offset < 0 || offset > end)
        code = err_set(err, ERR_OFFSET_RANGE, "offset %lld is outside 0..%lld", (long long)offset, (long long)end);
    else if (offset > start) {
        code = write_numbers(l, "start", &offset, 1, err);
        if (code == ERR_OK) {
            sys_mutex_lock(&l->mutex);
            l->start = offset;
            sys_mutex_unlock(&l->mutex);
        }
    }
    sys_mutex_unlock(&l->names);
    return code;
}

enum err_code compact_recover(struct log *l, struct err *err) {
    int64_t v[2];
    switch (read_numbers(l, "cleaner", v, 2, err)) {
    case NUMBERS_NONE: break;
    case NUMBERS_READ:
        l->clean_below = v[0];
        l->gaps_below = v[1];
        break;
    case NUMBERS_DAMAGED:
        log_warn("log", "the cleaner's file is damaged: all is compacted anew", "dir", l->dir, NULL);
        l->gaps_below = INT64_MAX;
    }
    switch (read_numbers(l, "start", v, 1, err)) {
    case NUMBERS_NONE: break;
    case NUMBERS_READ: l->start = v[0]; break;
    case NUMBERS_DAMAGED: return err->code != ERR_OK ? err->code : err_set(err, ERR_CORRUPT, "%s/start: damaged", l->dir);
    }
    err_clear(err);
    l->swap = SWAP_PENDING;
    return compact_swap_finish(l, err);
}
