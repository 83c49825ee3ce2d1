// SPDX-License-Identifier: Apache-2.0
// Compression: one table of kinds with their two functions. Output grows by doubling inside the buf, so that a small text which
// claims to be huge costs no memory before it proves it.
#include "codec/compress.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/mem.h"

enum { STEP = 64 << 10, XERIAL_BLOCK = 32 << 10, XERIAL_HEAD = 16 };

static const uint8_t xerial_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

static enum err_code corrupt(struct err *err, const char *kind, const char *why) {
    return err_set(err, ERR_CORRUPT, "%s data is damaged: %s", kind, why);
}

static enum err_code too_large(struct err *err, const char *kind, size_t max) {
    return err_set(err, ERR_TOO_LARGE, "%s data unpacks to more than %zu bytes", kind, max);
}

// Room for the next piece of output: at least one byte, never past start + max. 0 = the maximum is reached.
static size_t room(struct buf *out, size_t start, size_t max) {
    size_t have = out->n - start;
    if (have >= max) return 0;
    size_t want = have < STEP ? STEP : have;
    if (want > max - have) want = max - have;
    if (!buf_reserve(out, want)) return 0;
    return want;
}

// ---- none ---------------------------------------------------------------------------------------------------------------
static enum err_code none_pack(struct str in, int level, struct buf *out, struct err *err) {
    (void)err;
    (void)level;
    buf_put_str(out, in);
    return ERR_OK;
}

static enum err_code none_unpack(struct str in, size_t max, struct buf *out, struct err *err) {
    if (in.n > max) return too_large(err, "uncompressed", max);
    buf_put_str(out, in);
    return ERR_OK;
}

// ---- gzip, deflate --------------------------------------------------------------------------------------------------------
enum { WINDOW_GZIP = 15 + 16, WINDOW_RAW = -15 };

static enum err_code zlib_pack(int window, int level, struct str in, struct buf *out, struct err *err) {
    z_stream z = {0};
    if (in.n > UINT32_MAX / 2) return err_set(err, ERR_TOO_LARGE, "more than 2 GiB to compress at once");
    if (deflateInit2(&z, level >= 1 && level <= 9 ? level : Z_DEFAULT_COMPRESSION, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return err_set(err, ERR_NO_MEMORY, "zlib has no memory");
    size_t bound = deflateBound(&z, in.n);
    enum err_code code = ERR_OK;
    if (buf_reserve(out, bound)) {
        z.next_in = (Bytef *)(uintptr_t)in.p;
        z.avail_in = (uInt)in.n;
        z.next_out = out->p + out->n;
        z.avail_out = (uInt)bound;
        if (deflate(&z, Z_FINISH) == Z_STREAM_END)
            out->n += z.total_out;
        else
            code = err_set(err, ERR_INTERNAL, "zlib did not finish");
    }
    deflateEnd(&z);
    return code;
}

static enum err_code zlib_unpack(int window, struct str in, size_t max, struct buf *out, struct err *err) {
    z_stream z = {0};
    size_t start = out->n;
    if (in.n > UINT32_MAX / 2) return err_set(err, ERR_TOO_LARGE, "more than 2 GiB to unpack at once");
    if (inflateInit2(&z, window) != Z_OK) return err_set(err, ERR_NO_MEMORY, "zlib has no memory");
    z.next_in = (Bytef *)(uintptr_t)in.p;
    z.avail_in = (uInt)in.n;
    enum err_code code = ERR_OK;
    for (;;) {
        uint8_t spare; // when the maximum is reached: does anything more come?
        size_t n = room(out, start, max);
        if (out->failed) break;
        z.next_out = n == 0 ? &spare : out->p + out->n;
        z.avail_out = n == 0 ? 1 : (uInt)(n < (1u << 30) ? n : 1u << 30);
        uInt before = z.avail_out;
        int rc = inflate(&z, Z_NO_FLUSH);
        if (n == 0 && z.avail_out == 0) {
            code = too_large(err, "gzip", max);
            break;
        }
        if (n != 0) out->n += before - z.avail_out;
        if (rc == Z_STREAM_END) {
            if (z.avail_in == 0) break;
            if (window != WINDOW_GZIP || inflateReset(&z) != Z_OK) {
                code = corrupt(err, "gzip", "bytes behind its end");
                break;
            }
        } else if (rc != Z_OK || (z.avail_in == 0 && z.avail_out != 0)) {
            code = corrupt(err, "gzip", rc == Z_OK || rc == Z_BUF_ERROR ? "it is cut short" : z.msg != NULL ? z.msg : "not readable");
            break;
        }
    }
    inflateEnd(&z);
    return code;
}

static enum err_code gzip_pack(struct str in, int level, struct buf *out, struct err *err) { return zlib_pack(WINDOW_GZIP, level, in, out, err); }
static enum err_code gzip_unpack(struct str in, size_t max, struct buf *out, struct err *err) {
    return zlib_unpack(WINDOW_GZIP, in, max, out, err);
}

// ---- snappy ---------------------------------------------------------------------------------------------------------------
static enum err_code snappy_pack(struct str in, int level, struct buf *out, struct err *err) {
    (void)level;
    buf_put(out, xerial_magic, sizeof xerial_magic);
    buf_put_be32(out, 1); // version
    buf_put_be32(out, 1); // compatible with
    for (size_t at = 0; at < in.n; at += XERIAL_BLOCK) {
        size_t n = in.n - at < XERIAL_BLOCK ? in.n - at : XERIAL_BLOCK, got = snappy_max_compressed_length(n);
        size_t len_at = out->n;
        buf_put_be32(out, 0);
        if (!buf_reserve(out, got)) break;
        if (snappy_compress(in.p + at, n, (char *)out->p + out->n, &got) != SNAPPY_OK)
            return err_set(err, ERR_INTERNAL, "snappy refused a block");
        out->n += got;
        buf_set_be32(out, len_at, (uint32_t)got);
    }
    return ERR_OK;
}

static enum err_code snappy_block(const char *p, size_t n, size_t start, size_t max, struct buf *out, struct err *err) {
    size_t len;
    if (snappy_uncompressed_length(p, n, &len) != SNAPPY_OK) return corrupt(err, "snappy", "no length");
    if (len > max - (out->n - start)) return too_large(err, "snappy", max);
    if (len / 256 > n) return corrupt(err, "snappy", "the length is impossible"); // the best ratio of snappy is 64 bytes to 3
    if (!buf_reserve(out, len)) return ERR_OK;
    char spare; // no bytes at all: `out` may have no memory yet
    if (snappy_uncompress(p, n, len == 0 ? &spare : (char *)out->p + out->n, &len) != SNAPPY_OK) return corrupt(err, "snappy", "not readable");
    out->n += len;
    return ERR_OK;
}

static enum err_code snappy_unpack(struct str in, size_t max, struct buf *out, struct err *err) {
    size_t start = out->n;
    if (in.n < XERIAL_HEAD || memcmp(in.p, xerial_magic, sizeof xerial_magic) != 0)
        return snappy_block(in.p, in.n, start, max, out, err);
    struct rd r = rd_of(in.p + XERIAL_HEAD, in.n - XERIAL_HEAD);
    enum err_code code = ERR_OK;
    while (rd_left(&r) > 0 && code == ERR_OK && !out->failed) {
        uint32_t n = rd_be32(&r);
        if (n == 0x82534E41u) { // a further stream with its own head ("\x82SNA"), as appending writers make
            if (rd_bytes(&r, XERIAL_HEAD - 4) == NULL) return corrupt(err, "snappy", "it is cut short");
            continue;
        }
        const uint8_t *p = rd_bytes(&r, n);
        if (p == NULL) return corrupt(err, "snappy", "it is cut short");
        code = snappy_block((const char *)p, n, start, max, out, err);
    }
    return code;
}

// ---- lz4 ------------------------------------------------------------------------------------------------------------------
// 9 is Kafka's default and means the fast compressor there; any other level is one of high compression.
static enum err_code lz4_pack(struct str in, int level, struct buf *out, struct err *err) {
    enum { LZ4_DEFAULT = 9, LZ4_HIGH_MIN = 3 };
    bool fast = level == COMPRESS_LEVEL_DEFAULT || level == LZ4_DEFAULT;
    LZ4F_preferences_t prefs = {.compressionLevel = fast ? 0 : level < LZ4_HIGH_MIN ? LZ4_HIGH_MIN : level,
                                .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent}};
    size_t bound = LZ4F_compressFrameBound(in.n, &prefs);
    if (!buf_reserve(out, bound)) return ERR_OK;
    size_t n = LZ4F_compressFrame(out->p + out->n, bound, in.p, in.n, &prefs);
    if (LZ4F_isError(n)) return err_set(err, ERR_INTERNAL, "lz4: %s", LZ4F_getErrorName(n));
    out->n += n;
    return ERR_OK;
}

static enum err_code lz4_unpack(struct str in, size_t max, struct buf *out, struct err *err) {
    LZ4F_dctx *ctx;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&ctx, LZ4F_VERSION))) return err_set(err, ERR_NO_MEMORY, "lz4 has no memory");
    size_t start = out->n, at = 0, hint = 1;
    enum err_code code = ERR_OK;
    while (code == ERR_OK && !out->failed && (at < in.n || hint != 0)) {
        uint8_t spare;
        size_t n = room(out, start, max), taken = in.n - at, made = n == 0 ? 1 : n;
        if (out->failed) break;
        hint = LZ4F_decompress(ctx, n == 0 ? &spare : out->p + out->n, &made, in.p + at, &taken, NULL);
        if (LZ4F_isError(hint)) {
            code = corrupt(err, "lz4", LZ4F_getErrorName(hint));
        } else if (n == 0 && made > 0) {
            code = too_large(err, "lz4", max);
        } else {
            if (n != 0) out->n += made;
            at += taken;
            if (hint != 0 && taken == 0 && made == 0) code = corrupt(err, "lz4", "it is cut short");
        }
    }
    LZ4F_freeDecompressionContext(ctx);
    return code;
}

// ---- zstd -----------------------------------------------------------------------------------------------------------------
static enum err_code zstd_pack(struct str in, int level, struct buf *out, struct err *err) {
    size_t bound = ZSTD_compressBound(in.n);
    if (!buf_reserve(out, bound)) return ERR_OK;
    size_t n = ZSTD_compress(out->p + out->n, bound, in.p, in.n, level == COMPRESS_LEVEL_DEFAULT ? ZSTD_CLEVEL_DEFAULT : level);
    if (ZSTD_isError(n)) return err_set(err, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(n));
    out->n += n;
    return ERR_OK;
}

static enum err_code zstd_unpack(struct str in, size_t max, struct buf *out, struct err *err) {
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    if (ctx == NULL) return err_set(err, ERR_NO_MEMORY, "zstd has no memory");
    size_t start = out->n, hint = 1;
    ZSTD_inBuffer src = {in.p, in.n, 0};
    enum err_code code = ERR_OK;
    while (code == ERR_OK && !out->failed && (src.pos < src.size || hint != 0)) {
        uint8_t spare;
        size_t n = room(out, start, max), before = src.pos;
        if (out->failed) break;
        ZSTD_outBuffer dst = {n == 0 ? &spare : out->p + out->n, n == 0 ? 1 : n, 0};
        hint = ZSTD_decompressStream(ctx, &dst, &src);
        if (ZSTD_isError(hint)) {
            code = corrupt(err, "zstd", ZSTD_getErrorName(hint));
        } else if (n == 0 && dst.pos > 0) {
            code = too_large(err, "zstd", max);
        } else {
            if (n != 0) out->n += dst.pos;
            if (hint != 0 && src.pos == before && dst.pos == 0) code = corrupt(err, "zstd", "it is cut short");
        }
    }
    ZSTD_freeDCtx(ctx);
    return code;
}

// ---- the table --------------------------------------------------------------------------------------------------------------
static const struct kind {
    const char *name;
    enum err_code (*pack)(struct str in, int level, struct buf *out, struct err *err);
    enum err_code (*unpack)(struct str in, size_t max, struct buf *out, struct err *err);
} kinds[COMPRESS_COUNT] = {
    [COMPRESS_NONE] = {"none", none_pack, none_unpack},     [COMPRESS_GZIP] = {"gzip", gzip_pack, gzip_unpack},
    [COMPRESS_SNAPPY] = {"snappy", snappy_pack, snappy_unpack}, [COMPRESS_LZ4] = {"lz4", lz4_pack, lz4_unpack},
    [COMPRESS_ZSTD] = {"zstd", zstd_pack, zstd_unpack},
};

const char *compress_name(int kind) { return kind >= 0 && kind < COMPRESS_COUNT ? kinds[kind].name : NULL; }

int compress_kind_of(struct str name) {
    for (int i = 0; i < COMPRESS_COUNT; i++)
        if (str_eqc(name, kinds[i].name)) return i;
    return -1;
}

// Undoes what a failed call wrote, and turns a full buf into an error.
static enum err_code settle(enum err_code code, struct buf *out, size_t start, struct err *err) {
    if (code == ERR_OK && out->failed) code = err_set(err, ERR_TOO_LARGE, "the output buffer takes at most %zu bytes", out->max);
    if (code != ERR_OK) {
        out->n = start;
        out->failed = false;
    }
    return code;
}

enum err_code compress_bytes(enum compress_kind kind, struct str in, struct buf *out, struct err *err) {
    return compress_bytes_level(kind, in, COMPRESS_LEVEL_DEFAULT, out, err);
}

enum err_code compress_bytes_level(enum compress_kind kind, struct str in, int level, struct buf *out, struct err *err) {
    if (compress_name((int)kind) == NULL) return err_set(err, ERR_NOT_SUPPORTED, "compression type %d", (int)kind);
    size_t start = out->n;
    return settle(kinds[kind].pack(in, level, out, err), out, start, err);
}

enum err_code decompress_bytes(enum compress_kind kind, struct str in, size_t max_out, struct buf *out, struct err *err) {
    if (compress_name((int)kind) == NULL) return err_set(err, ERR_NOT_SUPPORTED, "compression type %d", (int)kind);
    size_t start = out->n;
    return settle(kinds[kind].unpack(in, max_out, out, err), out, start, err);
}

enum err_code deflate_bytes(struct str in, struct buf *out, struct err *err) {
    size_t start = out->n;
    return settle(zlib_pack(WINDOW_RAW, COMPRESS_LEVEL_DEFAULT, in, out, err), out, start, err);
}

enum err_code inflate_bytes(struct str in, size_t max_out, struct buf *out, struct err *err) {
    size_t start = out->n;
    return settle(zlib_unpack(WINDOW_RAW, in, max_out, out, err), out, start, err);
}
