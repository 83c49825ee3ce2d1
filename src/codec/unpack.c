// SPDX-License-Identifier: Apache-2.0
// Decompression: one loop over what the libraries give, and snappy's blocks. The owner of an unpacker is one thread at a time; its contexts stay
// (gzip 40 KiB, lz4 twice the largest block of at most 4 MiB, zstd the window up to 8 MiB; larger ones go when their input ends).
// Output grows by doubling inside the buf, so that a small text which claims to be huge costs no memory before it proves it.
// decompress_bytes and inflate_bytes of compress.h are here as well. Errors: compress.h and unpack.h say. Durability: none.
#include "codec/unpack.h"

#include <assert.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#define ZSTD_STATIC_LINKING_ONLY // ZSTD_decompressBound
#include <zstd.h>
#include <zstd_errors.h>

#include "base/mem.h"

enum { STEP = 64 << 10, XERIAL_HEAD = 16, WINDOW_GZIP = 15 + 16, WINDOW_RAW = -15 };
enum { ZSTD_WHOLE_MAX = 1 << 20 }; // bytes that may be claimed before anything has proved to be there
enum { ZSTD_WINDOW_LOG_MAX = 27, ZSTD_KEPT_MAX = (8 + 1) << 20 }; // bytes of a context: a window of 8 MiB and what stands around it
enum { RAW_DEFLATE = COMPRESS_COUNT };                            // one more kind, inside this file

static const uint8_t xerial_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

struct unpacker {
    int kind;
    struct str in;
    size_t at;            // of `in`: read so far (zlib counts by itself)
    size_t max, given;    // bytes that may come out of it in all, and that came
    bool ended, xerial;   // all is given; snappy in Java's framing
    bool between;         // zstd: a frame begins at `at`
    enum err_code failed; // why there is nothing to unpack
    z_stream z;
    bool z_made;
    LZ4F_dctx *lz4;
    bool lz4_dirty; // its input did not come to an end
    ZSTD_DCtx *zstd;
};

static enum err_code corrupt(struct err *err, const char *kind, const char *why) {
    return err_set(err, ERR_CORRUPT, "%s data is damaged: %s", kind, why);
}

static const char *name_of(int kind) { return kind == RAW_DEFLATE ? "deflate" : compress_name(kind); }

// ---- steps of the libraries: at most n (>= 1) bytes to dst, *made of them; *ended stays false while there is more ---

static enum err_code zlib_step(struct unpacker *u, uint8_t *dst, size_t n, size_t *made, bool *ended, struct err *err) {
    z_stream *z = &u->z;
    uInt space = (uInt)(n < (1u << 30) ? n : 1u << 30);
    z->next_out = dst;
    z->avail_out = space;
    int rc = inflate(z, Z_FINISH); // "finish" saves the copy of the last 32 KiB when all fits; it goes on all the same when not
    *made = space - z->avail_out;
    if (rc == Z_STREAM_END) {
        *ended = z->avail_in == 0;
        if (!*ended && (u->kind == RAW_DEFLATE || inflateReset(z) != Z_OK)) return corrupt(err, name_of(u->kind), "bytes behind its end");
        return ERR_OK;
    }
    if (rc == Z_MEM_ERROR) return err_set(err, ERR_NO_MEMORY, "zlib has no memory");
    if (rc != Z_OK && rc != Z_BUF_ERROR) return corrupt(err, name_of(u->kind), z->msg != NULL ? z->msg : "not readable");
    if (z->avail_in == 0 && z->avail_out != 0) return corrupt(err, name_of(u->kind), "it is cut short");
    return ERR_OK;
}

static enum err_code lz4_step(struct unpacker *u, uint8_t *dst, size_t n, size_t *made, bool *ended, struct err *err) {
    size_t taken = u->in.n - u->at;
    *made = n;
    u->lz4_dirty = true;
    size_t hint = LZ4F_decompress(u->lz4, dst, made, u->in.p + u->at, &taken, NULL);
    if (LZ4F_isError(hint)) return corrupt(err, "lz4", LZ4F_getErrorName(hint));
    if (hint != 0 && taken == 0 && *made == 0) return corrupt(err, "lz4", "it is cut short");
    u->at += taken;
    *ended = hint == 0 && u->at == u->in.n;
    u->lz4_dirty = !*ended;
    return ERR_OK;
}

// The head of the frame at `at` (RFC 8878, 3.1.1.1): a kind of frame that is written today, and a window within the limit. The library looks at
// the window as well, but not when the frame comes out in one piece: here what is refused does not hang on the size of the pieces.
static enum err_code zstd_head(const struct unpacker *u, struct err *err) {
    enum { SINGLE_SEGMENT = 0x20 };
    const uint8_t *p = (const uint8_t *)u->in.p + u->at;
    size_t n = u->in.n - u->at;
    if (n < 6) return ERR_OK; // the library finds it cut short
    uint32_t magic = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    if ((magic & ~0xFu) == ZSTD_MAGIC_SKIPPABLE_START) return ERR_OK;
    if (magic != ZSTD_MAGICNUMBER) return corrupt(err, "zstd", "no frame begins here");
    if ((p[4] & SINGLE_SEGMENT) != 0) return ERR_OK;
    uint64_t base = 1ull << (10 + (p[5] >> 3)), window = base + base / 8 * (p[5] & 7);
    if (window > 1ull << ZSTD_WINDOW_LOG_MAX) return corrupt(err, "zstd", "its window is more than 128 MiB");
    return ERR_OK;
}

static enum err_code zstd_step(struct unpacker *u, uint8_t *dst, size_t n, size_t *made, bool *ended, struct err *err) {
    size_t most = (size_t)1 << ZSTD_WINDOW_LOG_MAX; // else a frame of one larger segment would be read whole, but not in pieces
    ZSTD_inBuffer src = {u->in.p, u->in.n, u->at};
    ZSTD_outBuffer to = {dst, n < most ? n : most, 0};
    if (u->between && zstd_head(u, err) != ERR_OK) return ERR_CORRUPT;
    size_t hint = ZSTD_decompressStream(u->zstd, &to, &src);
    if (ZSTD_isError(hint)) {
        if (ZSTD_getErrorCode(hint) == ZSTD_error_memory_allocation) return err_set(err, ERR_NO_MEMORY, "zstd has no memory");
        return corrupt(err, "zstd", ZSTD_getErrorName(hint));
    }
    if (hint != 0 && src.pos == u->at && to.pos == 0) return corrupt(err, "zstd", "it is cut short");
    *made = to.pos;
    u->at = src.pos;
    u->between = hint == 0;
    *ended = hint == 0 && u->at == u->in.n;
    return ERR_OK;
}

// All frames at once, straight to where they belong: in steps the library decodes into its own window and copies from there, unless the frame says
// how long it is. False = to be done in steps, which also say what is wrong.
static bool zstd_whole(struct unpacker *u, size_t about, struct buf *out) {
    unsigned long long bound = ZSTD_decompressBound(u->in.p, u->in.n);
    if (bound > about || bound > ZSTD_WHOLE_MAX || bound == 0) return false; // also when it is an error
    for (size_t n; u->at < u->in.n; u->at += n) {
        n = ZSTD_findFrameCompressedSize(u->in.p + u->at, u->in.n - u->at);
        if (!ZSTD_isError(n) && zstd_head(u, NULL) == ERR_OK) continue;
        u->at = 0;
        return false;
    }
    u->at = 0;
    if (!buf_reserve(out, (size_t)bound)) return false;
    size_t n = ZSTD_decompressDCtx(u->zstd, out->p + out->n, (size_t)bound, u->in.p, u->in.n);
    ZSTD_DCtx_reset(u->zstd, ZSTD_reset_session_only);
    if (ZSTD_isError(n)) return false;
    out->n += n;
    u->at = u->in.n;
    return u->ended = true;
}

typedef enum err_code step_fn(struct unpacker *u, uint8_t *dst, size_t n, size_t *made, bool *ended, struct err *err);
static step_fn *const steps[COMPRESS_COUNT + 1] = {
    [COMPRESS_GZIP] = zlib_step,
    [COMPRESS_LZ4] = lz4_step,
    [COMPRESS_ZSTD] = zstd_step,
    [RAW_DEFLATE] = zlib_step,
};

// ---- pieces ---------------------------------------------------------------------------------------------------------------
// How much `out` may still take: the rest of its own maximum and of the input's.
static size_t room(const struct unpacker *u, const struct buf *out) {
    size_t own = out->max > out->n ? out->max - out->n : 0, left = u->max - u->given;
    return own < left ? own : left;
}

// Only for the first bytes of a call: `given` is right then.
static enum err_code too_large(const struct unpacker *u, const struct buf *out, struct err *err) {
    if (room(u, out) < u->max - u->given) return err_set(err, ERR_TOO_LARGE, "the output buffer takes at most %zu bytes", out->max);
    return err_set(err, ERR_TOO_LARGE, "%s data unpacks to more than %zu bytes", name_of(u->kind), u->max);
}

static enum err_code none_some(struct unpacker *u, size_t about, size_t most, struct buf *out, struct err *err) {
    size_t n = u->in.n - u->at;
    if (n > 0 && most == 0) return too_large(u, out, err);
    if (n > most) n = most;
    if (n > about) n = about;
    buf_put(out, u->in.p + u->at, n);
    u->at += n;
    u->ended = u->at == u->in.n;
    return ERR_OK;
}

// Each step is offered all the memory that `out` has, else as much again as came in this call.
static enum err_code steps_some(struct unpacker *u, size_t about, size_t most, struct buf *out, struct err *err) {
    size_t start = out->n, total = 0;
    if (about > most && most > 0) about = most; // the next call is told that it is full: the caller may make room before
    if (u->kind == COMPRESS_ZSTD && u->at == 0 && most > 0 && zstd_whole(u, about, out)) return ERR_OK;
    while (!u->ended && total < about) {
        uint8_t spare; // `out` is full: does anything more come?
        size_t n = most == 0 ? 1 : out->cap - out->n, made = 0;
        if (n < STEP && most > 0) n = total < STEP ? STEP : total;
        if (n > about - total) n = about - total;
        if (most > 0 && !buf_reserve(out, n)) break;
        enum err_code code = steps[u->kind](u, most == 0 ? &spare : out->p + out->n, n, &made, &u->ended, err);
        if (most == 0 && made > 0) return too_large(u, out, err); // even when a fault came right behind it
        if (code != ERR_OK) return code;
        out->n += made;
        total = out->n - start;
    }
    return ERR_OK;
}

// *fits: false when there is no room for the block; nothing is written then.
static enum err_code snappy_block(struct str in, size_t most, struct buf *out, bool *fits, struct err *err) {
    size_t len;
    if (snappy_uncompressed_length(in.p, in.n, &len) != SNAPPY_OK) return corrupt(err, "snappy", "no length");
    if (len / 22 > in.n) return corrupt(err, "snappy", "the length is impossible"); // the best ratio of snappy is 64 bytes to 3
    *fits = len <= most && buf_reserve(out, len);
    if (!*fits) return ERR_OK;
    char spare; // no bytes at all: `out` may have no memory yet
    if (snappy_uncompress(in.p, in.n, len == 0 ? &spare : (char *)out->p + out->n, &len) != SNAPPY_OK)
        return corrupt(err, "snappy", "not readable");
    out->n += len;
    return ERR_OK;
}

static enum err_code snappy_some(struct unpacker *u, size_t about, size_t most, struct buf *out, struct err *err) {
    size_t start = out->n;
    while (!u->ended && out->n - start < about) {
        struct str block = str_n(u->in.p + u->at, u->in.n - u->at);
        size_t next = u->in.n;
        if (u->xerial) {
            struct rd r = rd_of(block.p, block.n);
            uint32_t n = rd_be32(&r);
            bool head = n == 0x82534E41u; // a further stream with its own head ("\x82SNA"), as appending writers make
            const uint8_t *p = rd_bytes(&r, head ? XERIAL_HEAD - 4 : n);
            if (p == NULL) return corrupt(err, "snappy", "it is cut short");
            block = str_n(p, head ? 0 : n);
            next = u->in.n - rd_left(&r);
            if (head) {
                u->at = next;
                u->ended = next == u->in.n;
                continue;
            }
        }
        bool fits = false;
        enum err_code code = snappy_block(block, most - (out->n - start), out, &fits, err);
        if (code != ERR_OK) return code;
        if (!fits) return out->n > start ? ERR_OK : too_large(u, out, err); // with the next call: the caller may make room before
        u->at = next;
        u->ended = next == u->in.n;
    }
    return ERR_OK;
}

// ---- beginning and ending ---------------------------------------------------------------------------------------------------
static void drop_large(struct unpacker *u) {
    if (u->zstd == NULL || ZSTD_sizeof_DCtx(u->zstd) <= ZSTD_KEPT_MAX) return;
    ZSTD_freeDCtx(u->zstd);
    u->zstd = NULL;
}

static enum err_code zlib_begin(struct unpacker *u, struct err *err) {
    int window = u->kind == COMPRESS_GZIP ? WINDOW_GZIP : WINDOW_RAW;
    if (u->in.n > UINT32_MAX / 2) return err_set(err, ERR_TOO_LARGE, "more than 2 GiB to unpack at once");
    if ((u->z_made ? inflateReset2(&u->z, window) : inflateInit2(&u->z, window)) != Z_OK) return err_set(err, ERR_NO_MEMORY, "zlib has no memory");
    u->z_made = true;
    u->z.next_in = (Bytef *)(uintptr_t)u->in.p;
    u->z.avail_in = (uInt)u->in.n;
    return ERR_OK;
}

// A context whose input came to its end is as new. Any other one is not reset but made anew: before version 1.10 of the library the reset
// keeps the length that a broken frame stated, and holds the next frame to it (https://github.com/lz4/lz4/issues/1227).
static enum err_code lz4_begin(struct unpacker *u, struct err *err) {
    if (u->lz4_dirty) {
        LZ4F_freeDecompressionContext(u->lz4);
        u->lz4 = NULL;
        u->lz4_dirty = false;
    }
    if (u->lz4 == NULL && LZ4F_isError(LZ4F_createDecompressionContext(&u->lz4, LZ4F_VERSION))) {
        u->lz4 = NULL;
        return err_set(err, ERR_NO_MEMORY, "lz4 has no memory");
    }
    return ERR_OK;
}

static enum err_code zstd_begin(struct unpacker *u, struct err *err) {
    if (u->zstd != NULL) {
        ZSTD_DCtx_reset(u->zstd, ZSTD_reset_session_only);
    } else {
        u->zstd = ZSTD_createDCtx();
        if (u->zstd == NULL) return err_set(err, ERR_NO_MEMORY, "zstd has no memory");
        ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    }
    u->between = true;
    return ERR_OK;
}

static enum err_code begin(struct unpacker *u, int kind, struct str in, size_t max, struct err *err) {
    enum err_code code = ERR_OK;
    drop_large(u); // an input may have been left in its middle
    u->kind = kind;
    u->in = in.p == NULL ? str_n("", 0) : in;
    u->max = max;
    u->at = u->given = 0;
    u->ended = u->xerial = false;
    if (kind == COMPRESS_GZIP || kind == RAW_DEFLATE) code = zlib_begin(u, err);
    if (kind == COMPRESS_LZ4) code = lz4_begin(u, err);
    if (kind == COMPRESS_ZSTD) code = zstd_begin(u, err);
    if (kind == COMPRESS_SNAPPY && in.n >= XERIAL_HEAD && memcmp(in.p, xerial_magic, sizeof xerial_magic) == 0) {
        u->xerial = true;
        u->at = XERIAL_HEAD;
        u->ended = in.n == XERIAL_HEAD;
    }
    return u->failed = code;
}

static void fini(struct unpacker *u) {
    if (u->z_made) inflateEnd(&u->z);
    LZ4F_freeDecompressionContext(u->lz4);
    ZSTD_freeDCtx(u->zstd);
}

struct unpacker *unpacker_new(void) {
    struct unpacker *u = MEM_NEW(struct unpacker);
    u->failed = ERR_INTERNAL; // nothing has begun
    return u;
}

void unpacker_free(struct unpacker *u) {
    if (u == NULL) return;
    fini(u);
    mem_free(u);
}

enum err_code unpacker_begin(struct unpacker *u, enum compress_kind kind, struct str in, struct err *err) {
    u->failed = ERR_NOT_SUPPORTED;
    if (compress_name((int)kind) == NULL) return err_set(err, ERR_NOT_SUPPORTED, "compression type %d", (int)kind);
    return begin(u, (int)kind, in, SIZE_MAX, err);
}

enum err_code unpacker_some(struct unpacker *u, size_t about, struct buf *out, bool *ended, struct err *err) {
    assert(about >= 1);
    if (u->failed != ERR_OK) return err_set(err, u->failed, "there is no input to unpack, or it has failed");
    size_t start = out->n;
    enum err_code code;
    if (out->max == 0) out->max = BUF_MAX_DEFAULT;
    if (out->failed) code = err_set(err, ERR_TOO_LARGE, "the output buffer takes at most %zu bytes", out->max);
    else code = (u->kind == COMPRESS_NONE ? none_some : u->kind == COMPRESS_SNAPPY ? snappy_some : steps_some)(u, about, room(u, out), out, err);
    if (code != ERR_OK) {
        out->n = start;
        out->failed = false;
        u->failed = code;
    }
    u->given += out->n - start;
    *ended = u->ended;
    if (u->ended || code != ERR_OK) drop_large(u);
    return code;
}

// ---- guesses ----------------------------------------------------------------------------------------------------------------
static uint32_t get_le32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

static size_t snappy_guess(struct str in) {
    size_t len = 0, all = 0;
    if (in.n < XERIAL_HEAD || memcmp(in.p, xerial_magic, sizeof xerial_magic) != 0)
        return snappy_uncompressed_length(in.p, in.n, &len) == SNAPPY_OK ? len : 0;
    struct rd r = rd_of(in.p + XERIAL_HEAD, in.n - XERIAL_HEAD);
    while (rd_left(&r) > 0) {
        uint32_t n = rd_be32(&r);
        const uint8_t *p = rd_bytes(&r, n);
        if (p == NULL || snappy_uncompressed_length((const char *)p, n, &len) != SNAPPY_OK) break;
        all += len;
    }
    return all;
}

static size_t lz4_guess(struct str in) { // LZ4 frame format 1.6: blocks of at most 64 KiB, 256 KiB, 1 MiB, 4 MiB
    enum { BLOCK_SUMS = 0x10, CONTENT_SIZE = 8 };
    size_t all = 0;
    struct rd r = rd_of(in.p, in.n);
    (void)rd_be32(&r);
    uint8_t flags = rd_u8(&r);
    size_t most = (size_t)1 << (8 + 2 * (rd_u8(&r) >> 4 & 7));
    (void)rd_bytes(&r, ((flags & CONTENT_SIZE) != 0 ? 8 : 0) + 1);
    for (const uint8_t *p; (p = rd_bytes(&r, 4)) != NULL && get_le32(p) != 0;) {
        uint32_t head = get_le32(p), n = head & INT32_MAX;
        if (rd_bytes(&r, (size_t)n + ((flags & BLOCK_SUMS) != 0 ? 4 : 0)) == NULL) break;
        all += head == n && (size_t)n * 255 > most ? most : head == n ? (size_t)n * 255 : n;
    }
    return all;
}

size_t unpack_guess(enum compress_kind kind, struct str in) {
    switch (kind) {
    case COMPRESS_GZIP: return in.n < 18 ? 0 : get_le32((const uint8_t *)in.p + in.n - 4);
    case COMPRESS_SNAPPY: return snappy_guess(in);
    case COMPRESS_LZ4: return lz4_guess(in);
    case COMPRESS_ZSTD: {
        unsigned long long bound = ZSTD_decompressBound(in.p, in.n);
        return bound == ZSTD_CONTENTSIZE_ERROR ? 0 : (size_t)bound;
    }
    default: return in.n;
    }
}

// ---- whole inputs -----------------------------------------------------------------------------------------------------------
static enum err_code unpack_all(int kind, struct str in, size_t max, struct buf *out, struct err *err) {
    struct unpacker u = {0};
    size_t start = out->n;
    bool ended = false;
    enum err_code code = begin(&u, kind, in, max, err);
    while (code == ERR_OK && !ended) code = unpacker_some(&u, SIZE_MAX, out, &ended, err);
    if (code != ERR_OK) out->n = start;
    fini(&u);
    return code;
}

enum err_code decompress_bytes(enum compress_kind kind, struct str in, size_t max_out, struct buf *out, struct err *err) {
    if (compress_name((int)kind) == NULL) return err_set(err, ERR_NOT_SUPPORTED, "compression type %d", (int)kind);
    return unpack_all((int)kind, in, max_out, out, err);
}

enum err_code inflate_bytes(struct str in, size_t max_out, struct buf *out, struct err *err) {
    return unpack_all(RAW_DEFLATE, in, max_out, out, err);
}
