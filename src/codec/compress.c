// SPDX-License-Identifier: Apache-2.0
// Compression: one table of kinds with the function that packs. Unpacking is in unpack.c.
#include "codec/compress.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { XERIAL_BLOCK = 32 << 10 };

static const uint8_t xerial_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

// ---- none ---------------------------------------------------------------------------------------------------------------
static enum err_code none_pack(struct str in, int level, struct buf *out, struct err *err) {
    (void)err;
    (void)level;
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

static enum err_code gzip_pack(struct str in, int level, struct buf *out, struct err *err) { return zlib_pack(WINDOW_GZIP, level, in, out, err); }
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

// ---- zstd -----------------------------------------------------------------------------------------------------------------
static enum err_code zstd_pack(struct str in, int level, struct buf *out, struct err *err) {
    size_t bound = ZSTD_compressBound(in.n);
    if (!buf_reserve(out, bound)) return ERR_OK;
    size_t n = ZSTD_compress(out->p + out->n, bound, in.p, in.n, level == COMPRESS_LEVEL_DEFAULT ? ZSTD_CLEVEL_DEFAULT : level);
    if (ZSTD_isError(n)) return err_set(err, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(n));
    out->n += n;
    return ERR_OK;
}

// ---- the table --------------------------------------------------------------------------------------------------------------
static const struct kind {
    const char *name;
    enum err_code (*pack)(struct str in, int level, struct buf *out, struct err *err);
} kinds[COMPRESS_COUNT] = {
    [COMPRESS_NONE] = {"none", none_pack}, [COMPRESS_GZIP] = {"gzip", gzip_pack}, [COMPRESS_SNAPPY] = {"snappy", snappy_pack},
    [COMPRESS_LZ4] = {"lz4", lz4_pack},    [COMPRESS_ZSTD] = {"zstd", zstd_pack},
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

enum err_code deflate_bytes(struct str in, struct buf *out, struct err *err) {
    size_t start = out->n;
    return settle(zlib_pack(WINDOW_RAW, COMPRESS_LEVEL_DEFAULT, in, out, err), out, start, err);
}
