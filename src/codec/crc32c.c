// SPDX-License-Identifier: Apache-2.0
// CRC-32C: the SSE4.2 instruction on three streams at once (it has a latency of three cycles but one starts each cycle); the three
// remainders are joined by shifting two of them over the zeros that follow, by table. Without SSE4.2: slicing by eight.
// Where the processor multiplies polynomials in 512-bit registers (VPCLMULQDQ), long input is folded instead, at twice the speed: 256 bytes are
// carried forward onto the next 256 by multiplying with x^n mod P, which leaves the remainder as it was (Gopal et al., "Fast CRC Computation
// for Generic Polynomials Using PCLMULQDQ Instruction"); the last 16 bytes go through the CRC instruction.
// The tables and constants are filled once, before main.
#include "codec/crc32c.h"

#include <stdbool.h>
#include <string.h>
#ifdef __SSE4_2__
#include <immintrin.h>
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

// ---- folding --------------------------------------------------------------------------------------------------------

enum { FOLD = 256, FOLD_MIN = 2 * FOLD };
struct fold_by { // for a distance in bits: of the low and the high half of 128 bits
    uint64_t low, high;
};
static struct fold_by fold_2048, fold_512, fold_128;
static bool can_fold;

// x^n mod P, bits reversed, shifted by one as a product of reversed factors needs it.
static uint64_t power(unsigned n) {
    uint32_t r = 1, reversed = 0;
    for (; n > 0; n--) r = (r & 0x80000000u) != 0 ? r << 1 ^ 0x1EDC6F41u : r << 1;
    for (int i = 0; i < 32; i++) reversed |= (r >> i & 1) << (31 - i);
    return (uint64_t)reversed << 1;
}

__attribute__((constructor)) static void fold_fill(void) {
    can_fold = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
    fold_2048 = (struct fold_by){power(2048 + 32), power(2048 - 32)};
    fold_512 = (struct fold_by){power(512 + 32), power(512 - 32)};
    fold_128 = (struct fold_by){power(128 + 32), power(128 - 32)};
}

#define FOLDING __attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.2")))

FOLDING static inline __m512i carry(__m512i v, __m512i by, __m512i onto) {
    return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(v, by, 0x00), _mm512_clmulepi64_epi128(v, by, 0x11), onto, 0x96); // xor of three
}

FOLDING static inline __m512i factors(struct fold_by f) { return _mm512_broadcast_i32x4(_mm_set_epi64x((int64_t)f.high, (int64_t)f.low)); }

// Takes all whole FOLDs; n is at least FOLD_MIN.
FOLDING static uint64_t fold(uint64_t c, const uint8_t **pp, size_t *n) {
    const uint8_t *p = *pp;
    __m512i by = factors(fold_2048), v[4];
    for (int i = 0; i < 4; i++) v[i] = _mm512_loadu_si512(p + 64 * i);
    v[0] = _mm512_xor_si512(v[0], _mm512_zextsi128_si512(_mm_cvtsi64_si128((int64_t)c)));
    size_t left = *n - FOLD;
    for (p += FOLD; left >= FOLD; p += FOLD, left -= FOLD)
        for (int i = 0; i < 4; i++) v[i] = carry(v[i], by, _mm512_loadu_si512(p + 64 * i));
    by = factors(fold_512);
    for (int i = 1; i < 4; i++) v[i] = carry(v[i - 1], by, v[i]);
    uint64_t rest[8];
    _mm512_storeu_si512(rest, v[3]);
    __m128i k = _mm_set_epi64x((int64_t)fold_128.high, (int64_t)fold_128.low), x = _mm_loadu_si128((const __m128i *)(const void *)rest);
    for (int i = 2; i < 8; i += 2) {
        __m128i next = _mm_loadu_si128((const __m128i *)(const void *)(rest + i));
        x = _mm_xor_si128(next, _mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)));
    }
    *pp = p;
    *n = left;
    c = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(x));
    return _mm_crc32_u64(c, (uint64_t)_mm_extract_epi64(x, 1));
}

uint32_t crc32c(uint32_t crc, const void *data, size_t n) {
    const uint8_t *p = data;
    uint64_t c = (uint32_t)~crc;
    if (can_fold && n >= FOLD_MIN) c = fold(c, &p, &n);
    c = three_way(c, &p, &n, LONG, shift_long);
    c = three_way(c, &p, &n, SHORT, shift_short);
    for (; n >= 8; n -= 8, p += 8) c = _mm_crc32_u64(c, word(p));
    for (; n > 0; n--) c = _mm_crc32_u8((uint32_t)c, *p++);
    return ~(uint32_t)c;
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t n) { return crc32c_soft(crc, data, n); }

#endif
