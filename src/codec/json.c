// SPDX-License-Identifier: Apache-2.0
// JSON over jansson. The depth is checked before jansson sees the text, since its own limit is fixed at its build.
#include "codec/json.h"

#include <math.h>
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

static int write_piece(const char *p, size_t n, void *arg) {
    buf_put(arg, p, n);
    return 0;
}

void json_write(const json_t *v, size_t flags, struct buf *out) {
    json_dump_callback(v, write_piece, out, flags | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
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
