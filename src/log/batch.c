// SPDX-License-Identifier: Apache-2.0
// Record batches v2: see batch.h. Everything here reads bytes that came from outside: every length is checked before it is used.
#include "log/batch.h"

#include <assert.h>

#include "codec/compress.h"
#include "codec/crc32c.h"
#include "codec/varint.h"

enum { AT_LENGTH = 8, AT_EPOCH = 12, AT_MAGIC = 16, AT_CRC = 17, AT_ATTRIBUTES = 21, AT_MAX_TIMESTAMP = 35 };

static uint32_t get32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static void set32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}
static void set64(uint8_t *p, uint64_t v) {
    set32(p, (uint32_t)(v >> 32));
    set32(p + 4, (uint32_t)v);
}

size_t batch_size(const void *p, size_t n) {
    if (n < BATCH_PREFIX) return 0;
    uint32_t length = get32((const uint8_t *)p + AT_LENGTH);
    if (length < BATCH_HEADER - BATCH_PREFIX || length > BATCH_SIZE_MAX) return 0;
    return (size_t)length + BATCH_PREFIX;
}

enum batch_status batch_read(const void *bytes, size_t n, struct batch *out) {
    const uint8_t *p = bytes;
    if (n > AT_MAGIC && p[AT_MAGIC] != 2) return p[AT_MAGIC] < 2 ? BATCH_OLD : BATCH_DAMAGED;
    if (n < BATCH_PREFIX) return BATCH_SHORT;
    size_t size = batch_size(p, n);
    if (size == 0) return BATCH_DAMAGED;
    if (n < BATCH_HEADER) return BATCH_SHORT;
    struct rd r = rd_of(p, BATCH_HEADER);
    out->p = p;
    out->size = size;
    out->base_offset = (int64_t)rd_be64(&r);
    (void)rd_be32(&r);
    out->leader_epoch = (int32_t)rd_be32(&r);
    (void)rd_u8(&r);
    out->crc = rd_be32(&r);
    out->attributes = rd_be16(&r);
    out->last_offset_delta = (int32_t)rd_be32(&r);
    out->base_timestamp = (int64_t)rd_be64(&r);
    out->max_timestamp = (int64_t)rd_be64(&r);
    out->producer_id = (int64_t)rd_be64(&r);
    out->producer_epoch = (int16_t)rd_be16(&r);
    out->base_sequence = (int32_t)rd_be32(&r);
    out->count = (int32_t)rd_be32(&r);
    if (out->base_offset < 0 || out->last_offset_delta < 0 || out->count < 0) return BATCH_RANGE;
    if (out->base_offset > INT64_MAX - out->last_offset_delta) return BATCH_RANGE;
    return n < size ? BATCH_SHORT : BATCH_OK;
}

bool batch_crc_ok(const struct batch *b) { return crc32c(0, b->p + AT_ATTRIBUTES, b->size - AT_ATTRIBUTES) == b->crc; }

void batch_set_offset(uint8_t *p, int64_t base_offset, int32_t leader_epoch) {
    set64(p, (uint64_t)base_offset);
    set32(p + AT_EPOCH, (uint32_t)leader_epoch);
}

// Attributes without the bits that mean nothing: Kafka keeps those only as long as it changes nothing else in a header. The checksum is made anew.
static void set_attributes(uint8_t *p, size_t size, int attributes) {
    assert(size >= BATCH_HEADER);
    p[AT_ATTRIBUTES] = 0;
    p[AT_ATTRIBUTES + 1] = (uint8_t)(attributes & BATCH_ATTR_KNOWN);
    set32(p + AT_CRC, crc32c(0, p + AT_ATTRIBUTES, size - AT_ATTRIBUTES));
}

void batch_set_append_time(uint8_t *p, size_t size, int64_t now_ms) {
    set64(p + AT_MAX_TIMESTAMP, (uint64_t)now_ms);
    set_attributes(p, size, p[AT_ATTRIBUTES + 1] | BATCH_ATTR_APPEND_TIME);
}

void batch_set_max_timestamp(uint8_t *p, size_t size, int64_t ms) {
    set64(p + AT_MAX_TIMESTAMP, (uint64_t)ms);
    set_attributes(p, size, p[AT_ATTRIBUTES + 1]);
}

void batch_set_create_time(uint8_t *p, size_t size) {
    set_attributes(p, size, p[AT_ATTRIBUTES + 1] & ~BATCH_ATTR_APPEND_TIME);
}

// ---- records --------------------------------------------------------------------------------------------------------

enum err_code batch_iter_init(struct batch_iter *it, const struct batch *b, size_t max_plain, struct err *err) {
    *it = (struct batch_iter){.batch = b, .left = b->count};
    buf_init(&it->plain, max_plain == 0 ? (size_t)256 << 20 : max_plain);
    it->rd = rd_of(b->p + BATCH_HEADER, b->size - BATCH_HEADER);
    if (batch_codec(b) == 0) return ERR_OK;
    if (batch_codec(b) >= COMPRESS_COUNT) return err_set(err, ERR_NOT_SUPPORTED, "unknown compression codec %d", batch_codec(b));
    struct str in = str_n(it->rd.p, rd_left(&it->rd));
    enum err_code code = decompress_bytes((enum compress_kind)batch_codec(b), in, it->plain.max, &it->plain, err);
    it->rd = rd_of(it->plain.p, it->plain.n);
    if (code != ERR_OK) it->left = 0;
    return code;
}

// Skips n headers; leaves *out as their bytes.
static bool skip_headers(struct rd *r, int32_t n, struct str *out) {
    const uint8_t *from = r->p;
    for (int32_t i = 0; i < n && !r->failed; i++) {
        for (int part = 0; part < 2; part++) {
            int64_t len = rd_varint(r);
            if (len < 0 && part == 1) continue; // null value
            if (len < 0 || rd_bytes(r, (size_t)len) == NULL) r->failed = true;
        }
    }
    *out = str_n(from, r->failed ? 0 : (size_t)(r->p - from));
    return !r->failed;
}

static void read_blob(struct rd *r, struct str *out, bool *null) {
    int64_t len = rd_varint(r);
    *null = len < 0;
    *out = (struct str){NULL, 0};
    if (len < 0) return;
    const uint8_t *p = rd_bytes(r, (size_t)len);
    if (p != NULL) *out = str_n(p, (size_t)len);
}

int batch_iter_next(struct batch_iter *it, struct batch_record *out, struct err *err) {
    if (it->left == 0) return 0;
    it->left--;
    int64_t size = rd_varint(&it->rd);
    const uint8_t *body = size < 0 ? NULL : rd_bytes(&it->rd, (size_t)size);
    struct rd r = rd_of(body, body == NULL ? 0 : (size_t)size);
    out->size = size;
    if (body != NULL) {
        (void)rd_u8(&r); // attributes: unused
        int64_t ts_delta = rd_varint(&r);
        int32_t offset_delta = rd_varint32(&r);
        bool in_range = offset_delta >= 0 && offset_delta <= it->batch->last_offset_delta;
        out->offset = it->batch->base_offset + (in_range ? offset_delta : 0);
        out->timestamp = (it->batch->attributes & BATCH_ATTR_APPEND_TIME) != 0
                             ? it->batch->max_timestamp
                             : (int64_t)((uint64_t)it->batch->base_timestamp + (uint64_t)ts_delta);
        read_blob(&r, &out->key, &out->key_null);
        read_blob(&r, &out->value, &out->value_null);
        out->n_headers = rd_varint32(&r);
        if (out->n_headers >= 0 && !r.failed && skip_headers(&r, out->n_headers, &out->headers) && rd_left(&r) == 0 && in_range)
            return 1;
    }
    it->left = 0;
    err_set(err, ERR_CORRUPT, "damaged record in the batch at offset %lld", (long long)it->batch->base_offset);
    return -1;
}

void batch_iter_fini(struct batch_iter *it) { buf_fini(&it->plain); }

bool batch_header_next(struct str *rest, struct batch_header *out) {
    if (rest->n == 0) return false;
    struct rd r = rd_of(rest->p, rest->n);
    bool null = false;
    read_blob(&r, &out->key, &null);
    if (null) r.failed = true;
    read_blob(&r, &out->value, &out->value_null);
    if (r.failed) return false;
    *rest = str_n(r.p, rd_left(&r));
    return true;
}

// ---- building -------------------------------------------------------------------------------------------------------

void batch_begin(struct batch_builder *bb, struct buf *out, int64_t base_timestamp_ms) {
    *bb = (struct batch_builder){.out = out, .at = out->n, .base_timestamp = base_timestamp_ms, .max_timestamp = base_timestamp_ms};
    bb->producer_id = -1;
    bb->producer_epoch = -1;
    bb->base_sequence = -1;
    static const uint8_t zeros[BATCH_HEADER];
    buf_put(out, zeros, sizeof zeros);
}

static size_t blob_size(struct str s, bool null) { return null ? 1 : varint_size((int64_t)s.n) + s.n; }
static void put_blob(struct buf *out, struct str s, bool null) {
    buf_put_varint(out, null ? -1 : (int64_t)s.n);
    if (!null) buf_put_str(out, s);
}

void batch_add(struct batch_builder *bb, int64_t timestamp_ms, struct str key, bool key_null, struct str value, bool value_null,
               const struct batch_header *headers, size_t n_headers) {
    struct buf *out = bb->out;
    int64_t ts_delta = timestamp_ms - bb->base_timestamp;
    size_t size = 1 + varint_size(ts_delta) + varint_size(bb->count) + blob_size(key, key_null) + blob_size(value, value_null) +
                  varint_size((int64_t)n_headers);
    for (size_t i = 0; i < n_headers; i++) size += blob_size(headers[i].key, false) + blob_size(headers[i].value, headers[i].value_null);
    buf_put_varint(out, (int64_t)size);
    buf_put_u8(out, 0);
    buf_put_varint(out, ts_delta);
    buf_put_varint(out, bb->count);
    put_blob(out, key, key_null);
    put_blob(out, value, value_null);
    buf_put_varint(out, (int64_t)n_headers);
    for (size_t i = 0; i < n_headers; i++) {
        put_blob(out, headers[i].key, false);
        put_blob(out, headers[i].value, headers[i].value_null);
    }
    if (timestamp_ms > bb->max_timestamp) bb->max_timestamp = timestamp_ms;
    bb->count++;
}

void batch_end(struct batch_builder *bb) {
    struct buf *out = bb->out;
    if (out->failed) return;
    size_t size = out->n - bb->at;
    assert(bb->count > 0 && size <= BATCH_SIZE_MAX);
    uint8_t head[BATCH_HEADER];
    struct buf h = {.p = head, .cap = sizeof head, .max = sizeof head};
    buf_put_be64(&h, 0);
    buf_put_be32(&h, (uint32_t)(size - BATCH_PREFIX));
    buf_put_be32(&h, 0);
    buf_put_u8(&h, 2);
    buf_put_be32(&h, 0);
    buf_put_be16(&h, (uint16_t)bb->attributes);
    buf_put_be32(&h, (uint32_t)(bb->count - 1));
    buf_put_be64(&h, (uint64_t)bb->base_timestamp);
    buf_put_be64(&h, (uint64_t)bb->max_timestamp);
    buf_put_be64(&h, (uint64_t)bb->producer_id);
    buf_put_be16(&h, (uint16_t)bb->producer_epoch);
    buf_put_be32(&h, (uint32_t)bb->base_sequence);
    buf_put_be32(&h, (uint32_t)bb->count);
    assert(h.n == BATCH_HEADER && !h.failed);
    uint8_t *p = out->p + bb->at;
    memcpy(p, head, sizeof head);
    set32(p + AT_CRC, crc32c(0, p + AT_ATTRIBUTES, size - AT_ATTRIBUTES));
}
