// SPDX-License-Identifier: Apache-2.0
// Borrowed bytes: struct str points into memory that somebody else owns; it is not NUL-terminated unless said so.
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(lit) ((struct str){"" lit, sizeof(lit) - 1})
#define STR_FMT "%.*s" // with STR_ARG
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_c(const char *s) { return (struct str){s, s == NULL ? 0 : strlen(s)}; }
static inline struct str str_n(const void *p, size_t n) { return (struct str){(const char *)p, n}; }
static inline bool str_eq(struct str a, struct str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool str_eqc(struct str a, const char *b) { return str_eq(a, str_c(b)); }

bool str_ieq(struct str a, struct str b); // ASCII, case ignored
int str_cmp(struct str a, struct str b);  // bytewise
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
struct str str_trim(struct str s);                                  // ASCII white space off both ends
bool str_cut(struct str s, char sep, struct str *head, struct str *tail); // at the first `sep`; false: none, head = s, tail empty
bool str_to_i64(struct str s, int64_t *out);                       // whole text, decimal, optional sign; false = not a number or out of range
bool str_to_double(struct str s, double *out);                     // whole text, C locale
bool str_utf8_ok(struct str s);                                    // valid UTF-8 (no surrogates, no overlong forms)
uint64_t str_hash(struct str s);                                   // 64-bit, for hash maps inside the process only

#endif
