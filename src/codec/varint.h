// SPDX-License-Identifier: Apache-2.0
// Variable-length integers, 7 bits per byte, least significant first, as in Kafka records, Kafka compact types, Avro and Protobuf.
// Zigzag (signed) forms map 0, -1, 1, -2 to 0, 1, 2, 3. Header only: these are on the hottest paths.
//
// Readers take a cursor (struct rd) and set `failed` when the bytes run out or the number is longer than its type.
#ifndef CODEC_VARINT_H
#define CODEC_VARINT_H

#include <stdint.h>

#include "base/buf.h"

enum { VARINT_MAX32 = 5, VARINT_MAX64 = 10 };

static inline uint32_t zigzag32(int32_t v) { return (uint32_t)v << 1 ^ (uint32_t)(v >> 31); }
static inline uint64_t zigzag64(int64_t v) { return (uint64_t)v << 1 ^ (uint64_t)(v >> 63); }
static inline int32_t unzigzag32(uint32_t v) { return (int32_t)(v >> 1 ^ (0u - (v & 1))); }
static inline int64_t unzigzag64(uint64_t v) { return (int64_t)(v >> 1 ^ (0ull - (v & 1))); }

// Writes at most VARINT_MAX32/64 bytes at p; returns how many.
static inline size_t uvarint_write(uint8_t *p, uint64_t v) {
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}
static inline size_t varint_write(uint8_t *p, int64_t v) { return uvarint_write(p, zigzag64(v)); }

// How many bytes the number takes.
static inline size_t uvarint_size(uint64_t v) { return (size_t)(70 - __builtin_clzll(v | 1)) / 7; }
static inline size_t varint_size(int64_t v) { return uvarint_size(zigzag64(v)); }

static inline void buf_put_uvarint(struct buf *b, uint64_t v) {
    if (!buf_reserve(b, uvarint_size(v))) return;
    b->n += uvarint_write(b->p + b->n, v);
}
static inline void buf_put_varint(struct buf *b, int64_t v) { buf_put_uvarint(b, zigzag64(v)); }

// The unrolled readers return NULL on failure, else the byte behind the number.
static inline const uint8_t *uvarint_read64(const uint8_t *p, const uint8_t *end, uint64_t *out) {
    if (__builtin_expect(p < end && *p < 0x80, 1)) {
        *out = *p;
        return p + 1;
    }
    if (end - p >= 2 && p[1] < 0x80) {
        *out = (p[0] & 0x7Fu) | (uint32_t)p[1] << 7;
        return p + 2;
    }
    uint64_t v = 0;
    for (unsigned shift = 0; p < end && shift < 70; shift += 7) {
        uint64_t c = *p++;
        if (shift == 63 && c > 1) return NULL; // more than 64 bits
        v |= (c & 0x7F) << shift;
        if (c < 0x80) {
            *out = v;
            return p;
        }
    }
    return NULL;
}
static inline const uint8_t *uvarint_read32(const uint8_t *p, const uint8_t *end, uint32_t *out) {
    if (__builtin_expect(p < end && *p < 0x80, 1)) {
        *out = *p;
        return p + 1;
    }
    if (end - p >= 2 && p[1] < 0x80) {
        *out = (p[0] & 0x7Fu) | (uint32_t)p[1] << 7;
        return p + 2;
    }
    uint32_t v = 0;
    for (unsigned shift = 0; p < end && shift < 35; shift += 7) {
        uint32_t c = *p++;
        if (shift == 28 && c > 0x0F) return NULL; // more than 32 bits
        v |= (c & 0x7F) << shift;
        if (c < 0x80) {
            *out = v;
            return p;
        }
    }
    return NULL;
}

static inline uint64_t rd_uvarint(struct rd *r) {
    uint64_t v = 0;
    const uint8_t *p = r->failed ? NULL : uvarint_read64(r->p, r->end, &v);
    if (p == NULL) return r->failed = true, 0;
    r->p = p;
    return v;
}
static inline uint32_t rd_uvarint32(struct rd *r) {
    uint32_t v = 0;
    const uint8_t *p = r->failed ? NULL : uvarint_read32(r->p, r->end, &v);
    if (p == NULL) return r->failed = true, 0;
    r->p = p;
    return v;
}
static inline int64_t rd_varint(struct rd *r) { return unzigzag64(rd_uvarint(r)); }
static inline int32_t rd_varint32(struct rd *r) { return unzigzag32(rd_uvarint32(r)); }

#endif
