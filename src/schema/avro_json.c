// SPDX-License-Identifier: Apache-2.0
// JSON values to Avro binary, as the specification writes defaults: bytes and fixed are texts whose characters up to U+00FF are the
// bytes, and a union's default is for its first branch (we take the first that fits, as newer versions of Avro do). Any thread.
#include "base/map.h"
#include "codec/json.h"
#include "codec/varint.h"
#include "schema/avro.h"
#include "schema/avro_internal.h"

enum { JSON_VALUES_MAX = 1000000 };

// A record that contains itself by defaults could be walked for ever: both are bounded.
struct budget {
    size_t depth, values;
};

static enum err_code put(const struct avro_schema *s, const json_t *v, struct budget *left, struct buf *out, struct err *err);

static enum err_code not_a(const struct avro_schema *s, struct err *err) {
    return err_set(err, ERR_DATA, "the value is not of Avro type %s", s->name != NULL ? s->name : avro_kind_name(s->kind));
}

static enum err_code put_real(const struct avro_schema *s, const json_t *v, struct buf *out, struct err *err) {
    double d = json_number_value(v);
    if (json_is_string(v)) { // as Avro's own JSON encoding writes them
        const char *text = json_string_value(v);
        if (strcmp(text, "NaN") == 0) d = __builtin_nan("");
        else if (strcmp(text, "Infinity") == 0 || strcmp(text, "INF") == 0) d = __builtin_inf();
        else if (strcmp(text, "-Infinity") == 0 || strcmp(text, "-INF") == 0) d = -__builtin_inf();
        else return not_a(s, err);
    } else if (!json_is_number(v)) {
        return not_a(s, err);
    }
    float f = (float)d;
    if (s->kind == AVRO_FLOAT) buf_put(out, &f, 4);
    else buf_put(out, &d, 8);
    return ERR_OK;
}

// The bytes of a text whose characters are all below U+0100; false = one is not.
static bool latin1(struct str s, struct buf *out) {
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c >= 0x80) {
            if (c > 0xC3 || i + 1 >= s.n) return false;
            c = (uint8_t)(c << 6 | ((uint8_t)s.p[++i] & 0x3F));
        }
        buf_put_u8(out, c);
    }
    return true;
}

static enum err_code put_bytes(const struct avro_schema *s, const json_t *v, struct buf *out, struct err *err) {
    struct buf raw;
    buf_init(&raw, 0);
    enum err_code code = json_is_string(v) && latin1(json_str(v), &raw) ? ERR_OK : not_a(s, err);
    if (code == ERR_OK && s->kind == AVRO_FIXED && raw.n != s->fixed_size) code = not_a(s, err);
    if (code == ERR_OK) {
        if (s->kind == AVRO_BYTES) buf_put_varint(out, (int64_t)raw.n);
        buf_put_str(out, buf_str(&raw));
    }
    buf_fini(&raw);
    return code;
}

static enum err_code put_enum(const struct avro_schema *s, const json_t *v, struct buf *out, struct err *err) {
    for (size_t i = 0; i < s->n_symbols && json_is_string(v); i++) {
        if (!str_eqc(json_str(v), s->symbols[i])) continue;
        buf_put_varint(out, (int64_t)i);
        return ERR_OK;
    }
    return not_a(s, err);
}

static enum err_code put_record(const struct avro_schema *s, const json_t *v, struct budget *left, struct buf *out, struct err *err) {
    if (!json_is_object(v)) return not_a(s, err);
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct avro_field *f = &s->fields[i];
        json_t *member = json_incref(json_object_get(v, f->name));
        if (member == NULL && f->default_json.p != NULL) member = json_parse(f->default_json, err);
        enum err_code code = member != NULL ? put(f->type, member, left, out, err)
                                            : err_set(err, ERR_DATA, "the field \"%s\" is missing", f->name);
        json_decref(member);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

static enum err_code put_items(const struct avro_schema *s, const json_t *v, struct budget *left, struct buf *out, struct err *err) {
    size_t n = s->kind == AVRO_ARRAY ? json_array_size(v) : json_object_size(v);
    if (s->kind == AVRO_ARRAY ? !json_is_array(v) : !json_is_object(v)) return not_a(s, err);
    if (n > 0) buf_put_varint(out, (int64_t)n);
    enum err_code code = ERR_OK;
    if (s->kind == AVRO_ARRAY) {
        for (size_t i = 0; i < n && code == ERR_OK; i++) code = put(s->items, json_array_get(v, i), left, out, err);
    } else {
        json_t *object = (json_t *)(uintptr_t)v;
        for (void *it = json_object_iter(object); it != NULL && code == ERR_OK; it = json_object_iter_next(object, it)) {
            struct str key = str_c(json_object_iter_key(it));
            buf_put_varint(out, (int64_t)key.n);
            buf_put_str(out, key);
            code = put(s->items, json_object_iter_value(it), left, out, err);
        }
    }
    buf_put_varint(out, 0);
    return code;
}

static enum err_code put_union(const struct avro_schema *s, const json_t *v, struct budget *left, struct buf *out, struct err *err) {
    size_t start = out->n;
    for (size_t i = 0; i < s->n_branches; i++) {
        buf_put_varint(out, (int64_t)i);
        if (put(s->branches[i], v, left, out, err) == ERR_OK) return ERR_OK;
        out->n = start;
    }
    return not_a(s, err);
}

static enum err_code put_value(const struct avro_schema *s, const json_t *v, struct budget *left, struct buf *out, struct err *err) {
    switch (s->kind) {
    case AVRO_NULL: return json_is_null(v) ? ERR_OK : not_a(s, err);
    case AVRO_BOOLEAN:
        if (!json_is_boolean(v)) return not_a(s, err);
        buf_put_u8(out, json_is_true(v));
        return ERR_OK;
    case AVRO_INT:
    case AVRO_LONG:
        if (!json_is_integer(v)) return not_a(s, err);
        if (s->kind == AVRO_INT && json_integer_value(v) != (int32_t)json_integer_value(v)) return not_a(s, err);
        buf_put_varint(out, json_integer_value(v));
        return ERR_OK;
    case AVRO_FLOAT:
    case AVRO_DOUBLE: return put_real(s, v, out, err);
    case AVRO_BYTES:
    case AVRO_FIXED: return put_bytes(s, v, out, err);
    case AVRO_STRING:
        if (!json_is_string(v)) return not_a(s, err);
        buf_put_varint(out, (int64_t)json_string_length(v));
        buf_put_str(out, json_str(v));
        return ERR_OK;
    case AVRO_ENUM: return put_enum(s, v, out, err);
    case AVRO_RECORD: return put_record(s, v, left, out, err);
    case AVRO_ARRAY:
    case AVRO_MAP: return put_items(s, v, left, out, err);
    case AVRO_UNION: return put_union(s, v, left, out, err);
    }
    return ERR_INTERNAL;
}

static enum err_code put(const struct avro_schema *s, const json_t *v, struct budget *left, struct buf *out, struct err *err) {
    if (left->depth == 0 || left->values == 0) return err_set(err, ERR_TOO_LARGE, "the value is nested too deep or too large");
    left->depth--;
    left->values--;
    enum err_code code = put_value(s, v, left, out, err);
    left->depth++;
    return code;
}

enum err_code avro_encode_json(const struct avro_schema *schema, struct str json, struct buf *out, struct err *err) {
    json_t *v = json_parse(json, err);
    if (v == NULL) return ERR_PARSE;
    size_t start = out->n;
    struct budget left = {AVRO_DEPTH_MAX, JSON_VALUES_MAX};
    enum err_code code = put(schema, v, &left, out, err);
    json_decref(v);
    if (code == ERR_OK && out->failed) code = err_set(err, ERR_TOO_LARGE, "the encoded value is larger than its buffer takes");
    if (code != ERR_OK) out->n = start;
    return code;
}
