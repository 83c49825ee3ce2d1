// SPDX-License-Identifier: Apache-2.0
// The growing writer and the bounds-checked reader. One owner each, no locks.
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void buf_init(struct buf *b, size_t max) { *b = (struct buf){.max = max == 0 ? (size_t)BUF_MAX_DEFAULT : max}; }

void buf_fini(struct buf *b) {
    mem_free(b->p);
    *b = (struct buf){.max = b->max};
}

void buf_clear(struct buf *b) {
    b->n = 0;
    b->failed = false;
}

bool buf_reserve(struct buf *b, size_t more) {
    if (b->max == 0) b->max = BUF_MAX_DEFAULT;
    if (b->failed || more > b->max || b->n > b->max - more) {
        b->failed = true;
        return false;
    }
    size_t need = b->n + more;
    if (need <= b->cap) return true;
    size_t cap = b->cap < 128 ? 128 : b->cap;
    while (cap < need) cap *= 2;
    if (cap > b->max) cap = b->max;
    b->p = mem_realloc(b->p, cap);
    b->cap = cap;
    return true;
}

void buf_put(struct buf *b, const void *p, size_t n) {
    if (!buf_reserve(b, n) || n == 0) return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void buf_puts(struct buf *b, const char *s) { buf_put(b, s, strlen(s)); }
void buf_put_str(struct buf *b, struct str s) { buf_put(b, s.p, s.n); }
void buf_put_u8(struct buf *b, uint8_t v) { buf_put(b, &v, 1); }

void buf_put_be16(struct buf *b, uint16_t v) {
    v = __builtin_bswap16(v);
    buf_put(b, &v, sizeof v);
}

void buf_put_be32(struct buf *b, uint32_t v) {
    v = __builtin_bswap32(v);
    buf_put(b, &v, sizeof v);
}

void buf_put_be64(struct buf *b, uint64_t v) {
    v = __builtin_bswap64(v);
    buf_put(b, &v, sizeof v);
}

void buf_set_be32(struct buf *b, size_t at, uint32_t v) {
    if (b->failed) return;
    assert(at + 4 <= b->n);
    v = __builtin_bswap32(v);
    memcpy(b->p + at, &v, sizeof v);
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    if (!buf_reserve(b, (size_t)n + 1)) return;
    va_start(ap, fmt);
    vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

void buf_consume(struct buf *b, size_t n) {
    assert(n <= b->n);
    if (n == 0) return;
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}

const char *buf_cstr(struct buf *b) {
    if (!buf_reserve(b, 1)) return "";
    b->p[b->n] = 0;
    return (const char *)b->p;
}

const uint8_t *rd_bytes(struct rd *r, size_t n) {
    if (r->failed || rd_left(r) < n) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

uint8_t rd_u8(struct rd *r) {
    const uint8_t *p = rd_bytes(r, 1);
    return p == NULL ? 0 : *p;
}

uint16_t rd_be16(struct rd *r) {
    const uint8_t *p = rd_bytes(r, 2);
    uint16_t v = 0;
    if (p != NULL) memcpy(&v, p, sizeof v);
    return __builtin_bswap16(v);
}

uint32_t rd_be32(struct rd *r) {
    const uint8_t *p = rd_bytes(r, 4);
    uint32_t v = 0;
    if (p != NULL) memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}

uint64_t rd_be64(struct rd *r) {
    const uint8_t *p = rd_bytes(r, 8);
    uint64_t v = 0;
    if (p != NULL) memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}
