// SPDX-License-Identifier: Apache-2.0
// CRC-32C: the SSE4.2 instruction on three streams at once (it has a latency of three cycles but one starts each cycle); the three
// remainders are joined by shifting two of them over the zeros that follow, by table. Without SSE4.2: slicing by eight.
// The tables are filled once, before main.
#include "codec/crc32c.h"

#include <stdbool.h>
#include <string.h>
#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

enum { POLY = (int)0x82F63B78, LONG = 4096, SHORT = 256 };

static uint32_t slice[8][256];
static uint32_t shift_long[4][256], shift_short[4][256];

// Products of 32x32 bit matrices over GF(2): row i of m is what bit i contributes.
static uint32_t matrix_times(const uint32_t *m, uint32_t v) {
    uint32_t sum = 0;
    for (; v != 0; v >>= 1, m++)
        if (v & 1) sum ^= *m;
    return sum;
}

static void matrix_square(uint32_t *out, const uint32_t *m) {
    for (int i = 0; i < 32; i++) out[i] = matrix_times(m, m[i]);
}

// The operator "append `bytes` zero bytes" (a power of two), as four tables by byte of the CRC.
static void shift_table(uint32_t t[4][256], size_t bytes) {
    uint32_t a[32], b[32];
    a[0] = (uint32_t)POLY; // one zero bit
    for (int i = 1; i < 32; i++) a[i] = 1u << (i - 1);
    for (size_t bits = 1; bits < bytes * 8; bits *= 2) {
        matrix_square(b, a);
        memcpy(a, b, sizeof a);
    }
    for (uint32_t n = 0; n < 256; n++)
        for (int k = 0; k < 4; k++) t[k][n] = matrix_times(a, n << (8 * k));
}

__attribute__((constructor)) static void tables_fill(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int k = 0; k < 8; k++) c = c & 1 ? (uint32_t)POLY ^ c >> 1 : c >> 1;
        slice[0][n] = c;
    }
    for (uint32_t n = 0; n < 256; n++)
        for (int k = 1; k < 8; k++) slice[k][n] = slice[0][slice[k - 1][n] & 255] ^ slice[k - 1][n] >> 8;
    shift_table(shift_long, LONG);
    shift_table(shift_short, SHORT);
}

uint32_t crc32c_soft(uint32_t crc, const void *data, size_t n) {
    const uint8_t *p = data;
    uint64_t c = (uint32_t)~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        c ^= w;
        c = slice[7][c & 255] ^ slice[6][c >> 8 & 255] ^ slice[5][c >> 16 & 255] ^ slice[4][c >> 24 & 255] ^ slice[3][c >> 32 & 255] ^
            slice[2][c >> 40 & 255] ^ slice[1][c >> 48 & 255] ^ slice[0][c >> 56];
    }
    for (; n > 0; n--) c = slice[0][(c ^ *p++) & 255] ^ c >> 8;
    return ~(uint32_t)c;
}

#ifdef __SSE4_2__

static uint32_t shift(const uint32_t t[4][256], uint32_t c) {
    return t[0][c & 255] ^ t[1][c >> 8 & 255] ^ t[2][c >> 16 & 255] ^ t[3][c >> 24];
}

static uint64_t word(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, 8);
    return w;
}

// Takes blocks of 3 * size bytes while there are any.
static uint64_t three_way(uint64_t c, const uint8_t **pp, size_t *n, size_t size, const uint32_t t[4][256]) {
    const uint8_t *p = *pp;
    while (*n >= size * 3) {
        uint64_t c1 = 0, c2 = 0;
        for (const uint8_t *end = p + size; p < end; p += 8) {
            c = _mm_crc32_u64(c, word(p));
            c1 = _mm_crc32_u64(c1, word(p + size));
            c2 = _mm_crc32_u64(c2, word(p + size * 2));
        }
        c = shift(t, (uint32_t)c) ^ c1;
        c = shift(t, (uint32_t)c) ^ c2;
        p += size * 2;
        *n -= size * 3;
    }
    *pp = p;
    return c;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t n) {
    const uint8_t *p = data;
    uint64_t c = (uint32_t)~crc;
    c = three_way(c, &p, &n, LONG, shift_long);
    c = three_way(c, &p, &n, SHORT, shift_short);
    for (; n >= 8; n -= 8, p += 8) c = _mm_crc32_u64(c, word(p));
    for (; n > 0; n--) c = _mm_crc32_u8((uint32_t)c, *p++);
    return ~(uint32_t)c;
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t n) { return crc32c_soft(crc, data, n); }

#endif
