// SPDX-License-Identifier: Apache-2.0
// Functions over borrowed bytes. Pure, any thread.
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool str_ieq(struct str a, struct str b) {
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i])) return false;
    return true;
}

int str_cmp(struct str a, struct str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);
    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

bool str_starts(struct str s, struct str prefix) {
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_ends(struct str s, struct str suffix) {
    return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

struct str str_trim(struct str s) {
    while (s.n > 0 && is_space(s.p[0])) s.p++, s.n--;
    while (s.n > 0 && is_space(s.p[s.n - 1])) s.n--;
    return s;
}

bool str_cut(struct str s, char sep, struct str *head, struct str *tail) {
    const char *at = s.n == 0 ? NULL : memchr(s.p, sep, s.n);
    if (at == NULL) {
        *head = s;
        *tail = (struct str){s.p + s.n, 0};
        return false;
    }
    size_t i = (size_t)(at - s.p);
    *head = (struct str){s.p, i};
    *tail = (struct str){at + 1, s.n - i - 1};
    return true;
}

bool str_to_i64(struct str s, int64_t *out) {
    size_t i = 0;
    bool neg = false;
    if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+')) neg = s.p[0] == '-', i = 1;
    if (i == s.n) return false;
    uint64_t v = 0;
    for (; i < s.n; i++) {
        unsigned d = (unsigned char)s.p[i] - (unsigned)'0';
        if (d > 9 || v > (UINT64_MAX - d) / 10) return false;
        v = v * 10 + d;
    }
    if (v > (uint64_t)INT64_MAX + neg) return false;
    *out = neg ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool str_to_double(struct str s, double *out) {
    char tmp[64];
    if (s.n == 0 || s.n >= sizeof tmp || is_space(s.p[0])) return false;
    memcpy(tmp, s.p, s.n);
    tmp[s.n] = 0;
    char *end;
    errno = 0;
    *out = strtod(tmp, &end);
    return end == tmp + s.n;
}

// Bytes of the sequence that starts with `c` (0 = not a start), with the smallest code point that may be so long.
static unsigned utf8_len(uint8_t c, uint32_t *min, uint32_t *bits) {
    if (c < 0x80) return *min = 0, *bits = c, 1;
    if (c >= 0xC2 && c < 0xE0) return *min = 0x80, *bits = c & 0x1Fu, 2;
    if (c >= 0xE0 && c < 0xF0) return *min = 0x800, *bits = c & 0x0Fu, 3;
    if (c >= 0xF0 && c < 0xF5) return *min = 0x10000, *bits = c & 0x07u, 4;
    return 0;
}

bool str_utf8_ok(struct str s) {
    const uint8_t *p = (const uint8_t *)s.p, *end = p + s.n;
    while (p < end) {
        uint64_t eight;
        if (end - p >= 8 && (memcpy(&eight, p, 8), (eight & 0x8080808080808080ull) == 0)) {
            p += 8;
            continue;
        }
        uint32_t min, v;
        unsigned n = utf8_len(*p, &min, &v);
        if (n == 0 || (size_t)(end - p) < n) return false;
        for (unsigned i = 1; i < n; i++) {
            if ((p[i] & 0xC0) != 0x80) return false;
            v = v << 6 | (p[i] & 0x3Fu);
        }
        if (v < min || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000)) return false;
        p += n;
    }
    return true;
}

uint64_t str_hash(struct str s) {
    uint64_t h = 0x9E3779B97F4A7C15ull ^ s.n;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        uint64_t w;
        memcpy(&w, s.p + i, 8);
        h = (h ^ w) * 0xFF51AFD7ED558CCDull;
        h ^= h >> 32;
    }
    for (; i < s.n; i++) h = (h ^ (uint8_t)s.p[i]) * 0x100000001B3ull;
    h ^= h >> 33;
    h *= 0xC4CEB9FE1A85EC53ull;
    return h ^ h >> 29;
}
