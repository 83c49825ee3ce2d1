// SPDX-License-Identifier: Apache-2.0
// JSON over jansson. The depth is checked before jansson sees the text, since its own limit is fixed at its build.
#include "codec/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The deepest nesting in a text, strings skipped; counting stops one past the maximum. Not a validation.
static size_t depth_of(struct str text) {
    size_t depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (in_string) {
            if (c == '\\') i++;
            else if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > deepest) deepest = depth;
            if (deepest > JSON_DEPTH_MAX) break;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

json_t *json_parse(struct str text, struct err *err) {
    if (text.n > JSON_TEXT_MAX) {
        err_set(err, ERR_TOO_LARGE, "JSON text of %zu bytes; the maximum is %d", text.n, JSON_TEXT_MAX);
        return NULL;
    }
    if (depth_of(text) > JSON_DEPTH_MAX) {
        err_set(err, ERR_TOO_LARGE, "JSON is nested deeper than %d", JSON_DEPTH_MAX);
        return NULL;
    }
    json_error_t at;
    json_t *v = json_loadb(text.n == 0 ? "" : text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &at);
    if (v == NULL) {
        err_set(err, ERR_PARSE, "JSON, line %d, column %d: %s", at.line, at.column, at.text);
        if (err != NULL) err->position = at.position;
    }
    return v;
}

// ---- writing ------------------------------------------------------------------------------------------------------------------------
// Ours, since jansson writes 0.1 as 0.10000000000000001: here the shortest digits that read back the same.
static void put_real(double d, struct buf *out) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d) break;
    }
    buf_puts(out, text);
    if (strpbrk(text, ".e") == NULL) buf_puts(out, ".0"); // stays a real when read again
}

struct writer {
    size_t flags, indent;
    struct buf *out;
};

static void line(const struct writer *w, size_t depth) {
    if (w->indent == 0) return;
    buf_put_u8(w->out, '\n');
    for (size_t i = 0; i < w->indent * depth; i++) buf_put_u8(w->out, ' ');
}

static void comma(const struct writer *w, bool first) {
    if (!first) buf_puts(w->out, w->indent > 0 || (w->flags & JSON_COMPACT) != 0 ? "," : ", ");
}

static void put(const struct writer *w, const json_t *v, size_t depth);

static int by_key(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static void put_member(const struct writer *w, const json_t *object, const char *key, bool first, size_t depth) {
    comma(w, first);
    line(w, depth + 1);
    json_put_str(w->out, str_c(key));
    buf_puts(w->out, (w->flags & JSON_COMPACT) != 0 ? ":" : ": ");
    put(w, json_object_get(object, key), depth + 1);
}

static void put_object(const struct writer *w, const json_t *v, size_t depth) {
    size_t n = json_object_size(v), i = 0;
    json_t *object = (json_t *)(uintptr_t)v;
    const char **keys = mem_alloc((n + 1) * sizeof *keys);
    for (void *it = json_object_iter(object); it != NULL; it = json_object_iter_next(object, it)) keys[i++] = json_object_iter_key(it);
    if ((w->flags & JSON_SORT_KEYS) != 0) qsort(keys, n, sizeof *keys, by_key);
    buf_put_u8(w->out, '{');
    for (i = 0; i < n; i++) put_member(w, v, keys[i], i == 0, depth);
    if (n > 0) line(w, depth);
    buf_put_u8(w->out, '}');
    mem_free(keys);
}

static void put_array(const struct writer *w, const json_t *v, size_t depth) {
    buf_put_u8(w->out, '[');
    for (size_t i = 0; i < json_array_size(v); i++) {
        comma(w, i == 0);
        line(w, depth + 1);
        put(w, json_array_get(v, i), depth + 1);
    }
    if (json_array_size(v) > 0) line(w, depth);
    buf_put_u8(w->out, ']');
}

static void put(const struct writer *w, const json_t *v, size_t depth) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: put_object(w, v, depth); return;
    case JSON_ARRAY: put_array(w, v, depth); return;
    case JSON_STRING: json_put_str(w->out, json_str(v)); return;
    case JSON_INTEGER: buf_printf(w->out, "%lld", (long long)json_integer_value(v)); return;
    case JSON_REAL: put_real(json_real_value(v), w->out); return;
    case JSON_TRUE: buf_puts(w->out, "true"); return;
    case JSON_FALSE: buf_puts(w->out, "false"); return;
    case JSON_NULL: buf_puts(w->out, "null"); return;
    }
}

void json_write(const json_t *v, size_t flags, struct buf *out) {
    struct writer w = {flags, flags & JSON_MAX_INDENT, out};
    if (v != NULL) put(&w, v, 0);
}

struct str json_text(const json_t *v, size_t flags, struct arena *a) {
    struct buf b;
    buf_init(&b, 0);
    json_write(v, flags, &b);
    struct str s = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return s;
}

// Bytes of the valid UTF-8 sequence at p; 0 = not valid.
static size_t sequence(const char *p, size_t left) {
    uint8_t c = (uint8_t)*p;
    size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    return n <= left && str_utf8_ok((struct str){p, n}) ? n : 0;
}

static const char replacement[] = "\xEF\xBF\xBD";

void json_put_str(struct buf *out, struct str s) {
    bool utf8 = str_utf8_ok(s);
    buf_put_u8(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < s.n;) {
        uint8_t c = (uint8_t)s.p[i];
        size_t n = utf8 || c < 0x80 ? 1 : sequence(s.p + i, s.n - i);
        if (c >= 0x20 && c != '"' && c != '\\' && n > 0) {
            i += n;
            continue;
        }
        buf_put(out, s.p + from, i - from);
        const char *name = c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : c == '"' ? "\\\"" : c == '\\' ? "\\\\" : NULL;
        if (n == 0) buf_puts(out, replacement);
        else if (name != NULL) buf_puts(out, name);
        else buf_printf(out, "\\u%04x", c);
        from = ++i;
    }
    buf_put(out, s.p + from, s.n - from);
    buf_put_u8(out, '"');
}

json_t *json_of_str(struct str s) {
    if (str_utf8_ok(s)) return json_stringn_nocheck(s.n == 0 ? "" : s.p, s.n);
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < s.n;) {
        size_t n = sequence(s.p + i, s.n - i);
        if (n == 0) buf_puts(&b, replacement);
        else buf_put(&b, s.p + i, n);
        i += n == 0 ? 1 : n;
    }
    json_t *v = json_stringn_nocheck((const char *)b.p, b.n);
    buf_fini(&b);
    return v;
}

struct str json_str(const json_t *v) {
    return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)} : (struct str){NULL, 0};
}

struct str json_get_str(const json_t *object, const char *key) { return json_str(json_object_get(object, key)); }

const char *json_get_cstr(const json_t *object, const char *key, const char *otherwise) {
    const json_t *v = json_object_get(object, key);
    return json_is_string(v) ? json_string_value(v) : otherwise;
}

int64_t json_get_i64(const json_t *object, const char *key, int64_t otherwise) {
    const json_t *v = json_object_get(object, key);
    if (json_is_integer(v)) return json_integer_value(v);
    if (!json_is_real(v)) return otherwise;
    double d = json_real_value(v);
    return d == floor(d) && d >= -9.2e18 && d <= 9.2e18 ? (int64_t)d : otherwise;
}

double json_get_double(const json_t *object, const char *key, double otherwise) {
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

bool json_get_bool(const json_t *object, const char *key, bool otherwise) {
    const json_t *v = json_object_get(object, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}
