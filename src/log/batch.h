// SPDX-License-Identifier: Apache-2.0
// Kafka's record batch, format v2 (magic 2): a view of the header, checks, a builder, and an iterator over records.
//
// Pure functions over bytes, any thread. Layout (big endian): baseOffset 8, batchLength 4, partitionLeaderEpoch 4, magic 1, crc 4,
// attributes 2, lastOffsetDelta 4, baseTimestamp 8, maxTimestamp 8, producerId 8, producerEpoch 2, baseSequence 4, count 4, records.
// The CRC-32C covers attributes to the end, so base offset and leader epoch can be written in place.
#ifndef LOG_BATCH_H
#define LOG_BATCH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

enum {
    BATCH_HEADER = 61,      // bytes in front of the records
    BATCH_PREFIX = 12,      // base offset and length: the length counts from behind these
    BATCH_ATTR_CODEC = 7,   // compression: 0 none 1 gzip 2 snappy 3 lz4 4 zstd
    BATCH_ATTR_APPEND_TIME = 8,
    BATCH_ATTR_TRANSACTION = 16,
    BATCH_ATTR_CONTROL = 32,
    BATCH_ATTR_DELETE_HORIZON = 64, // the base timestamp says until when deletions in it stay (KIP-534)
    BATCH_ATTR_KNOWN = 127,
    BATCH_SIZE_MAX = 1 << 30, // larger sizes are damage
};

struct batch {
    const uint8_t *p; // the whole batch
    size_t size;      // header included
    int64_t base_offset;
    int32_t leader_epoch;
    uint32_t crc;
    int attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp, max_timestamp;
    int64_t producer_id; // -1 = none
    int16_t producer_epoch;
    int32_t base_sequence; // -1 = none
    int32_t count;
};
static inline int64_t batch_last_offset(const struct batch *b) { return b->base_offset + b->last_offset_delta; }
static inline int batch_codec(const struct batch *b) { return b->attributes & BATCH_ATTR_CODEC; }
static inline int32_t batch_last_sequence(const struct batch *b) { // sequences wrap to 0 after INT32_MAX
    return (int32_t)(((int64_t)b->base_sequence + b->last_offset_delta) & INT32_MAX);
}

enum batch_status {
    BATCH_OK,
    BATCH_SHORT,   // n bytes are fewer than the header or the batch needs
    BATCH_DAMAGED, // impossible length, unknown magic
    BATCH_OLD,     // magic 0 or 1
    BATCH_RANGE,   // impossible offsets or count
};
// Size of the batch that starts at p, from its prefix; 0 = fewer than BATCH_PREFIX bytes or an impossible length.
size_t batch_size(const void *p, size_t n);
// Reads the header without the CRC's check; fields are plausible when BATCH_OK. With BATCH_SHORT after at least BATCH_HEADER bytes, the fields
// are filled too and `size` is what it needs.
enum batch_status batch_read(const void *p, size_t n, struct batch *out);
bool batch_crc_ok(const struct batch *b);

// In place, for the broker: these bytes must be writable.
void batch_set_offset(uint8_t *p, int64_t base_offset, int32_t leader_epoch);
void batch_set_append_time(uint8_t *p, size_t size, int64_t now_ms); // timestamp type, max timestamp, CRC; each of the three takes unused attributes away
void batch_set_create_time(uint8_t *p, size_t size);                 // timestamp type, CRC: the records' own times count
void batch_set_max_timestamp(uint8_t *p, size_t size, int64_t ms);   // and CRC

// ---- records --------------------------------------------------------------------------------------------------------------
struct batch_header {
    struct str key, value;
    bool value_null;
};
struct batch_record {
    int64_t offset, timestamp, size; // bytes, without its length in front
    struct str key, value; // borrowed from the batch or the iterator's memory
    bool key_null, value_null;
    struct str headers; // encoded; walk with batch_header_next
    int32_t n_headers;
};
struct batch_iter {
    const struct batch *batch;
    struct rd rd;
    struct buf plain; // decompressed records
    int32_t left;
    int32_t headers_left;
};
// Decompresses when needed (at most max_plain bytes; 0 = 256 MiB): ERR_CORRUPT, ERR_TOO_LARGE, ERR_NOT_SUPPORTED (unknown codec).
enum err_code batch_iter_init(struct batch_iter *it, const struct batch *b, size_t max_plain, struct err *err);
// 1 = a record, 0 = the end, -1 = damaged (err is set). Record memory lives until batch_iter_fini.
int batch_iter_next(struct batch_iter *it, struct batch_record *out, struct err *err);
void batch_iter_fini(struct batch_iter *it);
// Walks r->headers; start with *rest = r->headers. False = no more (or damaged: rest->n is not 0 then).
bool batch_header_next(struct str *rest, struct batch_header *out);

// ---- building ---------------------------------------------------------------------------------------------------------------
struct batch_builder {
    struct buf *out; // the caller's; the batch is appended to it
    size_t at;       // where it starts
    int64_t base_timestamp, max_timestamp;
    int32_t count, count_headers_left;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int attributes;
};
// Uncompressed; offsets 0.. (the broker assigns). Fields of the builder may be set between begin and end.
void batch_begin(struct batch_builder *bb, struct buf *out, int64_t base_timestamp_ms);
void batch_add(struct batch_builder *bb, int64_t timestamp_ms, struct str key, bool key_null, struct str value, bool value_null,
               const struct batch_header *headers, size_t n_headers);
void batch_end(struct batch_builder *bb); // header, CRC

#endif
