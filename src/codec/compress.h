// SPDX-License-Identifier: Apache-2.0
// Compression as Kafka, Avro and HTTP use it. Kinds have Kafka's numbers (attributes bits 0-2 of a record batch).
// Pure, any thread. Piece by piece: unpack.h. Output goes behind what `out` holds; when a call fails, `out` is as it was.
#ifndef CODEC_COMPRESS_H
#define CODEC_COMPRESS_H

#include "base/buf.h"
#include "base/err.h"

enum compress_kind { COMPRESS_NONE, COMPRESS_GZIP, COMPRESS_SNAPPY, COMPRESS_LZ4, COMPRESS_ZSTD, COMPRESS_COUNT };

// "none", "gzip", "snappy", "lz4", "zstd"; NULL = no such kind.
const char *compress_name(int kind);
int compress_kind_of(struct str name); // -1 = none of these

// Snappy is written in Java's framing ("xerial": \x82SNAPPY\0, blocks of 32 KiB), which all Kafka clients read; lz4 as an LZ4 frame.
// With a level as Kafka's compression.*.level counts it (gzip 1-9, lz4 1-17, zstd -131072-22); COMPRESS_LEVEL_DEFAULT; others ignore it.
enum { COMPRESS_LEVEL_DEFAULT = -2147483647 };
enum err_code compress_bytes_level(enum compress_kind kind, struct str in, int level, struct buf *out, struct err *err);
enum err_code compress_bytes(enum compress_kind kind, struct str in, struct buf *out, struct err *err);
// At most max_out bytes come out: ERR_TOO_LARGE. Damaged or cut input: ERR_CORRUPT. Snappy: both raw and framed. Several gzip members,
// LZ4 or zstd frames behind each other are read as one.
enum err_code decompress_bytes(enum compress_kind kind, struct str in, size_t max_out, struct buf *out, struct err *err);

// zlib streams without gzip's header (raw deflate), for Avro files and HTTP's "deflate".
enum err_code deflate_bytes(struct str in, struct buf *out, struct err *err);
enum err_code inflate_bytes(struct str in, size_t max_out, struct buf *out, struct err *err);

#endif
