// SPDX-License-Identifier: Apache-2.0
// Decompression piece by piece, with contexts that serve again for the next input: bounded memory however much an input unpacks to, and no
// allocation per input. One thread at a time. For an input that is wanted whole: decompress_bytes in compress.h, which stands on this.
#ifndef CODEC_UNPACK_H
#define CODEC_UNPACK_H

#include <stdbool.h>

#include "codec/compress.h"

struct unpacker;
struct unpacker *unpacker_new(void); // cheap: the codecs' contexts are made at their first use and kept
void unpacker_free(struct unpacker *u);

// `in` must live until the end; what was unpacked before, to its end or not, is forgotten. ERR_NOT_SUPPORTED: no such kind; ERR_TOO_LARGE: zlib
// takes 2 GiB at once; ERR_NO_MEMORY.
enum err_code unpacker_begin(struct unpacker *u, enum compress_kind kind, struct str in, struct err *err);

// Appends the next bytes to `out`: as many as `about` (>= 1) while there are so many, fewer where out->max is near. Snappy gives whole blocks
// until that many came, raw snappy all at once. *ended: there is no more (the last bytes came with this call or before it).
// `out` never holds more than out->max: ERR_TOO_LARGE when it is full at the call and more would come, or when a block of snappy does not fit.
// ERR_CORRUPT: damaged or cut short, or zstd's window is more than 128 MiB. ERR_NO_MEMORY. After an error `out` is as it was at this call, and the
// input fails for good: unpacker_begin starts the next one.
// Speed: lz4 and zstd decode straight into `out` when it has room for a block (64 KiB from Kafka's clients) or for the frame's stated content.
// zstd also writes straight when all that can come fits into `about`.
enum err_code unpacker_some(struct unpacker *u, size_t about, struct buf *out, bool *ended, struct err *err);

// About how many bytes come out, from the input's outline alone; 0 = nobody knows. Damaged input may say anything.
size_t unpack_guess(enum compress_kind kind, struct str in);

#endif
