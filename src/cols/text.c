// SPDX-License-Identifier: Apache-2.0
// Values as text and as JSON: one table of kinds, a function per spelling. Pure over read-only batches, any thread.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/digest.h"
#include "codec/json.h"
#include "cols/cols.h"

typedef void value_fn(const struct cols_column *c, size_t i, bool json, struct buf *out);

static void put_value(const struct cols_column *c, size_t i, bool json, struct buf *out);

#define INTEGER(name, type, format)                                                                       \
    static void name(const struct cols_column *c, size_t i, bool json, struct buf *out) {                 \
        (void)json;                                                                                       \
        buf_printf(out, format, ((const type *)c->values)[i]);                                            \
    }
INTEGER(put_i8, int8_t, "%d")
INTEGER(put_i16, int16_t, "%d")
INTEGER(put_i32, int32_t, "%d")
INTEGER(put_i64, int64_t, "%ld")
INTEGER(put_u8, uint8_t, "%u")
INTEGER(put_u16, uint16_t, "%u")
INTEGER(put_u32, uint32_t, "%u")
INTEGER(put_u64, uint64_t, "%lu")

static void put_bool(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    (void)json;
    buf_puts(out, ((const uint8_t *)c->values)[i >> 3] >> (i & 7) & 1 ? "true" : "false");
}

static void put_real(double v, bool json, struct buf *out) {
    bool quote = json && !isfinite(v);
    if (quote) buf_put_u8(out, '"');
    cols_double_text(v, out);
    if (quote) buf_put_u8(out, '"');
}

static void put_double(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    put_real(((const double *)c->values)[i], json, out);
}

static void put_float(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    float v = ((const float *)c->values)[i];
    if (!isfinite(v)) return put_real((double)v, json, out);
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v) break;
    }
    buf_puts(out, text);
}

static void put_decimal(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    (void)json;
    cols_decimal_text((const uint8_t *)c->values + i * 16, c->type->scale, out);
}

static void quote(bool json, struct buf *out) {
    if (json) buf_put_u8(out, '"');
}

static void put_date(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    quote(json, out);
    cols_date_text(((const int32_t *)c->values)[i], out);
    quote(json, out);
}

static void put_time(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    quote(json, out);
    cols_time_text(((const int64_t *)c->values)[i], out);
    quote(json, out);
}

static void put_timestamp(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    quote(json, out);
    cols_timestamp_text(((const int64_t *)c->values)[i], c->type->tz, json, out);
    quote(json, out);
}

static void put_unit(struct buf *out, int64_t n, const char *unit) {
    if (n != 0) buf_printf(out, "%lld %s%s ", (long long)n, unit, n == 1 || n == -1 ? "" : "s");
}

static void put_interval(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    struct cols_interval v = ((const struct cols_interval *)c->values)[i];
    quote(json, out);
    put_unit(out, v.months / 12, "year");
    put_unit(out, v.months % 12, "month");
    put_unit(out, v.days, "day");
    int64_t us = v.nanos / 1000;
    if (us < 0) buf_put_u8(out, '-');
    int64_t abs_us = us < 0 ? -us : us;
    if (us != 0 || (v.months == 0 && v.days == 0)) cols_time_text(abs_us, out);
    else out->n--; // the space behind the last unit
    quote(json, out);
}

static void put_uuid(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    const uint8_t *p = (const uint8_t *)c->values + i * 16;
    quote(json, out);
    for (size_t k = 0; k < 16; k++) {
        if (k == 4 || k == 6 || k == 8 || k == 10) buf_put_u8(out, '-');
        hex_encode(str_n(p + k, 1), out);
    }
    quote(json, out);
}

static void put_string(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    if (json) json_put_str(out, cols_str(c, i));
    else buf_put_str(out, cols_str(c, i));
}

static void put_bytes(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    quote(json, out);
    if (!json) buf_puts(out, "\\x");
    (json ? base64_encode : hex_encode)(cols_str(c, i), out);
    quote(json, out);
}

static void put_list(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    buf_put_u8(out, '[');
    for (int32_t k = c->offsets[i]; k < c->offsets[i + 1]; k++) {
        if (k > c->offsets[i]) buf_puts(out, json ? "," : ", ");
        put_value(&c->children[0], (size_t)k, json, out);
    }
    buf_put_u8(out, ']');
}

static void put_struct(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    buf_put_u8(out, '{');
    for (size_t k = 0; k < c->n_children; k++) {
        if (k > 0) buf_puts(out, json ? "," : ", ");
        struct str name = str_c(c->type->fields[k].name);
        if (json) json_put_str(out, name);
        else buf_printf(out, "'" STR_FMT "'", STR_ARG(name));
        buf_puts(out, json ? ":" : ": ");
        put_value(&c->children[k], i, json, out);
    }
    buf_put_u8(out, '}');
}

static void put_map(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    const struct cols_column *key = &c->children[0].children[0], *value = &c->children[0].children[1];
    bool object = key->type->kind == COLS_STRING;
    buf_put_u8(out, json && !object ? '[' : '{');
    for (int32_t k = c->offsets[i]; k < c->offsets[i + 1]; k++) {
        if (k > c->offsets[i]) buf_puts(out, json ? "," : ", ");
        if (json && !object) buf_put_u8(out, '[');
        put_value(key, (size_t)k, json, out);
        buf_puts(out, !json ? "=" : object ? ":" : ",");
        put_value(value, (size_t)k, json, out);
        if (json && !object) buf_put_u8(out, ']');
    }
    buf_put_u8(out, json && !object ? ']' : '}');
}

static value_fn *const put_by_kind[] = {
    [COLS_BOOL] = put_bool,   [COLS_INT8] = put_i8,         [COLS_INT16] = put_i16,         [COLS_INT32] = put_i32,
    [COLS_INT64] = put_i64,   [COLS_UINT8] = put_u8,        [COLS_UINT16] = put_u16,        [COLS_UINT32] = put_u32,
    [COLS_UINT64] = put_u64,  [COLS_FLOAT] = put_float,     [COLS_DOUBLE] = put_double,     [COLS_DECIMAL] = put_decimal,
    [COLS_DATE] = put_date,   [COLS_TIME] = put_time,       [COLS_TIMESTAMP] = put_timestamp, [COLS_INTERVAL] = put_interval,
    [COLS_UUID] = put_uuid,   [COLS_STRING] = put_string,   [COLS_BYTES] = put_bytes,       [COLS_LIST] = put_list,
    [COLS_STRUCT] = put_struct, [COLS_MAP] = put_map,       [COLS_NULL] = NULL,
};

static bool is_null(const struct cols_column *c, size_t i) { return c->type->kind == COLS_NULL || !cols_is_valid(c, i); }

static void put_value(const struct cols_column *c, size_t i, bool json, struct buf *out) {
    if (is_null(c, i)) buf_puts(out, json ? "null" : "NULL");
    else put_by_kind[c->type->kind](c, i, json, out);
}

void cols_value_text(const struct cols_column *c, size_t row, struct buf *out) {
    if (!is_null(c, row)) put_by_kind[c->type->kind](c, row, false, out);
}

void cols_value_json(const struct cols_column *c, size_t row, struct buf *out) { put_value(c, row, true, out); }

void cols_row_json(const struct cols_batch *b, size_t row, struct buf *out) {
    buf_put_u8(out, '{');
    for (size_t i = 0; i < b->schema->n; i++) {
        if (i > 0) buf_put_u8(out, ',');
        json_put_str(out, str_c(b->schema->fields[i].name));
        buf_put_u8(out, ':');
        put_value(&b->columns[i], row, true, out);
    }
    buf_put_u8(out, '}');
}
