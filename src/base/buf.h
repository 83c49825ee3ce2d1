// SPDX-License-Identifier: Apache-2.0
// Owned, growing bytes (the writer), and a bounds-checked cursor over borrowed bytes (the reader): two types on purpose.
//
// A buf has a maximum. Growing past it sets `failed`, after which appends do nothing: check once at the end.
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct buf {
    uint8_t *p;
    size_t n, cap, max;
    bool failed; // the maximum would have been exceeded
};

enum { BUF_MAX_DEFAULT = 1 << 30 };

void buf_init(struct buf *b, size_t max); // max 0 = BUF_MAX_DEFAULT
void buf_fini(struct buf *b);
void buf_clear(struct buf *b); // keeps the memory, clears `failed`
bool buf_reserve(struct buf *b, size_t more);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_put_str(struct buf *b, struct str s);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_be16(struct buf *b, uint16_t v);
void buf_put_be32(struct buf *b, uint32_t v);
void buf_put_be64(struct buf *b, uint64_t v);
void buf_set_be32(struct buf *b, size_t at, uint32_t v); // patch bytes already written
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t n);     // drops n bytes from the front (memmove)
const char *buf_cstr(struct buf *b);           // NUL-terminates behind the content (n unchanged)
static inline struct str buf_str(const struct buf *b) { return (struct str){(const char *)b->p, b->n}; }

// The reader: every get_* fails (and keeps failing) when the bytes run out; check `failed` once at the end.
struct rd {
    const uint8_t *p, *end;
    bool failed;
};

static inline struct rd rd_of(const void *p, size_t n) {
    if (p == NULL) p = ""; // no bytes: NULL + 0 is not defined in C
    return (struct rd){(const uint8_t *)p, (const uint8_t *)p + n, false};
}
static inline size_t rd_left(const struct rd *r) { return (size_t)(r->end - r->p); }
uint8_t rd_u8(struct rd *r);
uint16_t rd_be16(struct rd *r);
uint32_t rd_be32(struct rd *r);
uint64_t rd_be64(struct rd *r);
const uint8_t *rd_bytes(struct rd *r, size_t n); // borrowed; NULL when failed

#endif
