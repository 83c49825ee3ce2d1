// SPDX-License-Identifier: Apache-2.0
// JSON: jansson, with size and depth limits, errors that say the place, and writing into a buf. Other rooms include this header
// instead of jansson.h. Objects keep the order of their keys. Any thread; one json_t is used by one thread at a time (its
// reference count is atomic).
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

enum { JSON_TEXT_MAX = 64 << 20, JSON_DEPTH_MAX = 256 };

// The value of a whole JSON text (any type at the top); NULL with ERR_PARSE and "line 3, column 7: ..." (err->position: the byte, from
// 1), or ERR_TOO_LARGE. Of a key written twice the last value counts. NUL bytes in strings are kept. Free with json_decref.
json_t *json_parse(struct str text, struct err *err);
// Appends the value as text. Flags are jansson's: JSON_COMPACT, JSON_INDENT(2), JSON_SORT_KEYS. Reals: shortest digits that read back
// the same. v NULL writes nothing; a value must not contain itself.
void json_write(const json_t *v, size_t flags, struct buf *out);
// The same as a NUL-terminated text in an arena.
struct str json_text(const json_t *v, size_t flags, struct arena *a);

// Appends a quoted, escaped JSON string. Bytes that are not UTF-8 become U+FFFD.
void json_put_str(struct buf *out, struct str s);

// Reading objects: a missing key, or one of another type, gives the default. Strings are borrowed from the object.
struct str json_str(const json_t *v);                                // n = 0 and p = NULL when it is not a string
struct str json_get_str(const json_t *object, const char *key);      // as above
const char *json_get_cstr(const json_t *object, const char *key, const char *otherwise);
int64_t json_get_i64(const json_t *object, const char *key, int64_t otherwise); // integers, and reals without a fraction
double json_get_double(const json_t *object, const char *key, double otherwise);
bool json_get_bool(const json_t *object, const char *key, bool otherwise);
json_t *json_of_str(struct str s); // new string; bytes that are not UTF-8 become U+FFFD

#endif
