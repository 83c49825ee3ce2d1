// SPDX-License-Identifier: Apache-2.0
// The store's file and tables.
//
// File: a line that names the format, then frames: magic, length, CRC-32C, payload; one frame is one store_apply. A frame is written behind the
// last one and synced; only then does memory change. The last frame alone may be damaged (a crash in the middle of its write): it is cut off.
// When a whole frame stands behind a damaged one, something acknowledged was lost: ERR_CORRUPT.
// What is found at opening may have been written by a process that could not sync it: the file is then written anew. So it is when it is large
// and mostly stale.
// Locks: `change` makes changes one at a time and is held over the file; `mutex` guards the tables and is never held over it.
#include "broker/store.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/vec.h"
#include "codec/crc32c.h"

static const char head[] = "millrace-store 1\n";
enum {
    HEAD_N = sizeof head - 1,
    FRAME_HEAD = 12,
    KEY_MAX = 64 << 10,
    VALUE_MAX = 1 << 20,
    FRAME_MAX = 16 << 20,
    FILE_MAX = 256 << 20,
    REWRITE_MIN = 1 << 20, // below this the file is left alone
    REWRITE_TIMES = 4,     // as large as what is live
};
#define FRAME_MAGIC 0x4d525354u // "MRST"

struct record {
    struct str key, value; // one allocation, at key.p
};
typedef VEC(struct record) record_vec;

struct store {
    struct sys *sys;
    char *path;
    struct sys_mutex change, mutex;
    // under change
    struct sys_file *file; // NULL = not there yet
    uint64_t size;
    enum err_code broken; // what is on disk is not known: final
    // under mutex
    record_vec kinds[STORE_KINDS]; // sorted by key
    uint64_t live;
};

// ---- tables -------------------------------------------------------------------------------------------------------------

// Where the key is or belongs.
static size_t find(const record_vec *v, struct str key, bool *found) {
    size_t lo = 0, hi = v->n;
    *found = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(v->p[mid].key, key);
        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static struct record record_new(struct str key, struct str value) {
    char *p = mem_alloc(key.n + value.n + 1);
    if (key.n > 0) memcpy(p, key.p, key.n);
    if (value.n > 0) memcpy(p + key.n, value.p, value.n);
    return (struct record){str_n(p, key.n), str_n(p + key.n, value.n)};
}

static uint64_t record_size(const struct record *r) { return r->key.n + r->value.n + 10; }

static void change_one(struct store *st, const struct store_change *c) {
    record_vec *v = &st->kinds[c->kind];
    bool found;
    size_t at = find(v, c->key, &found);
    if (found) {
        st->live -= record_size(&v->p[at]);
        mem_free((char *)v->p[at].key.p);
        if (c->remove) vec_remove(v, at);
    }
    if (c->remove) return;
    if (!found) {
        (void)vec_push(v);
        memmove(&v->p[at + 1], &v->p[at], (v->n - at - 1) * sizeof *v->p);
    }
    v->p[at] = record_new(c->key, c->value);
    st->live += record_size(&v->p[at]);
}

static void free_tables(struct store *st) {
    for (int k = 0; k < STORE_KINDS; k++) {
        for (size_t i = 0; i < st->kinds[k].n; i++) mem_free((char *)st->kinds[k].p[i].key.p);
        vec_fini(&st->kinds[k]);
    }
}

// ---- frames -------------------------------------------------------------------------------------------------------------

static void put_change(struct buf *out, const struct store_change *c) {
    buf_put_u8(out, (uint8_t)c->kind);
    buf_put_u8(out, c->remove ? 1 : 0);
    buf_put_be32(out, (uint32_t)c->key.n);
    buf_put_be32(out, (uint32_t)(c->remove ? 0 : c->value.n));
    buf_put_str(out, c->key);
    if (!c->remove) buf_put_str(out, c->value);
}

static size_t begin_frame(struct buf *out) {
    size_t at = out->n;
    buf_put_be32(out, FRAME_MAGIC);
    buf_put_be64(out, 0); // length, CRC
    return at;
}

static void end_frame(struct buf *out, size_t at) {
    if (out->failed) return;
    size_t n = out->n - at - FRAME_HEAD;
    buf_set_be32(out, at + 4, (uint32_t)n);
    buf_set_be32(out, at + 8, crc32c(crc32c(0, out->p + at + 4, 4), out->p + at + FRAME_HEAD, n));
}

// The payload of the frame that begins at p; false = there is no whole frame.
static bool frame_at(const uint8_t *p, size_t left, struct str *payload) {
    struct rd r = rd_of(p, left);
    uint32_t magic = rd_be32(&r), n = rd_be32(&r), crc = rd_be32(&r);
    if (r.failed || magic != FRAME_MAGIC || n > FRAME_MAX || n > rd_left(&r)) return false;
    *payload = str_n(r.p, n);
    return crc == crc32c(crc32c(0, p + 4, 4), r.p, n);
}

static bool next_change(struct rd *r, struct store_change *c) {
    uint8_t kind = rd_u8(r), remove = rd_u8(r);
    uint32_t key_n = rd_be32(r), value_n = rd_be32(r);
    const uint8_t *key = rd_bytes(r, key_n), *value = rd_bytes(r, value_n);
    if (r->failed || kind == 0 || kind >= STORE_KINDS || remove > 1) return false;
    *c = (struct store_change){(enum store_kind)kind, str_n(key, key_n), str_n(value, value_n), remove == 1};
    return true;
}

static bool take_frame(struct store *st, struct str payload) {
    struct rd r = rd_of(payload.p, payload.n);
    struct store_change c;
    while (rd_left(&r) > 0) {
        if (!next_change(&r, &c)) return false;
        change_one(st, &c);
    }
    return true;
}

static bool frame_behind(const uint8_t *p, size_t n) {
    struct str payload;
    for (size_t i = 1; i + FRAME_HEAD <= n; i++)
        if (p[i] == (uint8_t)(FRAME_MAGIC >> 24) && frame_at(p + i, n - i, &payload)) return true;
    return false;
}

static enum err_code parse(struct store *st, const uint8_t *p, size_t n, struct err *err) {
    if (n < HEAD_N || memcmp(p, head, HEAD_N) != 0)
        return err_set(err, ERR_CORRUPT, "%s: does not begin as it should; restore it from a copy", st->path);
    size_t at = HEAD_N;
    struct str payload;
    while (at < n && frame_at(p + at, n - at, &payload)) {
        if (!take_frame(st, payload)) return err_set(err, ERR_VERSION, "%s: written by a later version of Millrace", st->path);
        at += FRAME_HEAD + payload.n;
    }
    if (at < n && frame_behind(p + at, n - at))
        return err_set(err, ERR_CORRUPT, "%s: damaged at byte %zu; restore it from a copy", st->path, at);
    if (at < n) log_info("broker", "dropping an unfinished change", "file", st->path, "bytes", log_i64((int64_t)(n - at)), NULL);
    st->size = at;
    return ERR_OK;
}

// ---- the file -----------------------------------------------------------------------------------------------------------

static enum err_code open_file(struct store *st, struct err *err) {
    sys_close(st->file);
    st->file = sys_open(st->sys, st->path, SYS_READ | SYS_WRITE, err);
    return st->file == NULL ? err->code : ERR_OK;
}

// The tables, and `more` (or NULL) on top, as a new file: one frame per record, and one for what is added.
static enum err_code rewrite(struct store *st, const struct buf *more, struct err *err) {
    struct buf out;
    buf_init(&out, FILE_MAX);
    buf_put(&out, head, HEAD_N);
    for (int k = 1; k < STORE_KINDS; k++)
        for (size_t i = 0; i < st->kinds[k].n; i++) {
            size_t at = begin_frame(&out);
            put_change(&out, &(struct store_change){(enum store_kind)k, st->kinds[k].p[i].key, st->kinds[k].p[i].value, false});
            end_frame(&out, at);
        }
    if (more != NULL) buf_put(&out, more->p, more->n);
    enum err_code code = out.failed ? err_set(err, ERR_TOO_LARGE, "%s would be larger than %d bytes", st->path, FILE_MAX)
                                    : sys_write_file(st->sys, st->path, buf_str(&out), err);
    uint64_t size = out.n;
    buf_fini(&out);
    if (code == ERR_OK) code = open_file(st, err);
    else if (code == ERR_NO_SPACE || code == ERR_TOO_LARGE) return code; // the old file is still in its place
    if (code == ERR_OK) st->size = size;
    else st->broken = ERR_SYNC_FAILED;
    return code;
}

// The disk is full: the file stays as it is, and what is in it is synced where it stands.
static enum err_code sync_as_it_is(struct store *st, struct err *err) {
    enum err_code code = open_file(st, err);
    if (code == ERR_OK) code = sys_truncate(st->file, st->size, err);
    return code == ERR_OK ? sys_fdatasync(st->file, err) : code;
}

struct store *store_open(struct sys *s, const char *path, struct err *err) {
    struct err local = {0};
    if (err == NULL) err = &local;
    struct store *st = MEM_NEW(struct store);
    st->sys = s;
    st->path = mem_strdup(path);
    sys_mutex_init(&st->change);
    sys_mutex_init(&st->mutex);
    if (!sys_exists(s, path)) return st;
    size_t n = 0;
    char *bytes = sys_read_file(s, path, FILE_MAX, &n, err);
    enum err_code code = bytes == NULL ? err->code : parse(st, (const uint8_t *)bytes, n, err);
    mem_free(bytes);
    if (code == ERR_OK) code = rewrite(st, NULL, err);
    if (code == ERR_NO_SPACE) code = sync_as_it_is(st, err);
    if (code == ERR_OK) return st;
    store_close(st);
    return NULL;
}

void store_close(struct store *st) {
    if (st == NULL) return;
    sys_close(st->file);
    free_tables(st);
    sys_mutex_fini(&st->change);
    sys_mutex_fini(&st->mutex);
    mem_free(st->path);
    mem_free(st);
}

static enum err_code append(struct store *st, const struct buf *frame, struct err *err) {
    if (st->size + frame->n > FILE_MAX) return rewrite(st, frame, err);
    enum err_code code = sys_pwrite(st->file, frame->p, frame->n, st->size, err);
    if (code != ERR_OK) { // what was written of it must not stand behind the next, shorter one
        if (sys_truncate(st->file, st->size, NULL) != ERR_OK) st->broken = ERR_SYNC_FAILED;
        return code;
    }
    code = sys_fdatasync(st->file, err);
    if (code == ERR_OK) st->size += frame->n;
    else st->broken = ERR_SYNC_FAILED;
    return code;
}

static enum err_code check(const struct store_change *changes, size_t n, struct buf *frame, struct err *err) {
    size_t at = begin_frame(frame);
    for (size_t i = 0; i < n; i++) {
        if (changes[i].key.n > KEY_MAX || changes[i].value.n > VALUE_MAX)
            return err_set(err, ERR_TOO_LARGE, "a key has at most %d bytes, a value %d", KEY_MAX, VALUE_MAX);
        put_change(frame, &changes[i]);
    }
    end_frame(frame, at);
    return frame->failed ? err_set(err, ERR_TOO_LARGE, "one change has at most %d bytes", FRAME_MAX) : ERR_OK;
}

enum err_code store_apply(struct store *st, const struct store_change *changes, size_t n, struct err *err) {
    struct err local = {0};
    if (err == NULL) err = &local;
    if (n == 0) return ERR_OK;
    struct buf frame;
    buf_init(&frame, FRAME_MAX);
    enum err_code code = check(changes, n, &frame, err);
    sys_mutex_lock(&st->change);
    if (code == ERR_OK && st->broken != ERR_OK)
        code = err_set(err, st->broken, "%s: an earlier change could not be synced; start the server again", st->path);
    if (code == ERR_OK) code = st->file == NULL ? rewrite(st, &frame, err) : append(st, &frame, err);
    if (code == ERR_OK) {
        sys_mutex_lock(&st->mutex);
        for (size_t i = 0; i < n; i++) change_one(st, &changes[i]);
        sys_mutex_unlock(&st->mutex);
        struct err later = {0}; // the change is done, whatever becomes of this
        if (st->size > REWRITE_MIN && st->size > st->live * REWRITE_TIMES && rewrite(st, NULL, &later) != ERR_OK)
            log_warn("broker", "the store's file was not rewritten", "error", later.msg, NULL);
    }
    sys_mutex_unlock(&st->change);
    buf_fini(&frame);
    return code;
}

// ---- reading ------------------------------------------------------------------------------------------------------------

bool store_get(struct store *st, enum store_kind kind, struct str key, struct arena *a, struct str *value) {
    bool found;
    sys_mutex_lock(&st->mutex);
    size_t at = find(&st->kinds[kind], key, &found);
    if (found) *value = arena_str(a, st->kinds[kind].p[at].value);
    sys_mutex_unlock(&st->mutex);
    return found;
}

void store_each(struct store *st, enum store_kind kind, void (*fn)(void *arg, struct str key, struct str value), void *arg) {
    struct arena a;
    arena_init(&a);
    sys_mutex_lock(&st->mutex);
    size_t n = st->kinds[kind].n;
    struct record *copy = ARENA_ARRAY(&a, struct record, n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct record *r = &st->kinds[kind].p[i];
        copy[i] = (struct record){arena_str(&a, r->key), arena_str(&a, r->value)};
    }
    sys_mutex_unlock(&st->mutex);
    for (size_t i = 0; i < n; i++) fn(arg, copy[i].key, copy[i].value);
    arena_fini(&a);
}

size_t store_count(struct store *st, enum store_kind kind) {
    sys_mutex_lock(&st->mutex);
    size_t n = st->kinds[kind].n;
    sys_mutex_unlock(&st->mutex);
    return n;
}
