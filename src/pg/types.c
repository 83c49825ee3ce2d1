// SPDX-License-Identifier: Apache-2.0
// PostgreSQL's types: the table of OIDs, text and binary output of column values, binary input of parameters.
// Pure functions over batches; memory goes to the caller's buffer or arena.
#include "pg/types.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sys/sys.h"

// Micros and days between 1970-01-01 and PostgreSQL's 2000-01-01.
#define PG_EPOCH_DAYS 10957
#define PG_EPOCH_US (INT64_C(10957) * 86400000000)

const struct pg_type pg_types[] = {
    {PG_BOOL, "bool", "boolean", 1, 1000, "boolean"},
    {PG_BYTEA, "bytea", "bytea", -1, 1001, "blob"},
    {PG_CHAR, "char", "\"char\"", 1, 1002, "varchar"},
    {PG_NAME, "name", "name", 64, 1003, "varchar"},
    {PG_INT8, "int8", "bigint", 8, 1016, "bigint"},
    {PG_INT2, "int2", "smallint", 2, 1005, "smallint"},
    {PG_INT4, "int4", "integer", 4, 1007, "integer"},
    {PG_REGPROC, "regproc", "regproc", 4, 1008, "varchar"},
    {PG_TEXT, "text", "text", -1, 1009, "varchar"},
    {PG_OID, "oid", "oid", 4, 1028, "bigint"},
    {PG_JSON, "json", "json", -1, 199, "varchar"},
    {PG_FLOAT4, "float4", "real", 4, 1021, "float"},
    {PG_FLOAT8, "float8", "double precision", 8, 1022, "double"},
    {PG_UNKNOWN, "unknown", "unknown", -2, 0, NULL},
    {PG_BPCHAR, "bpchar", "character", -1, 1014, "varchar"},
    {PG_VARCHAR, "varchar", "character varying", -1, 1015, "varchar"},
    {PG_DATE, "date", "date", 4, 1182, "date"},
    {PG_TIME, "time", "time without time zone", 8, 1183, "time"},
    {PG_TIMESTAMP, "timestamp", "timestamp without time zone", 8, 1115, "timestamp"},
    {PG_TIMESTAMPTZ, "timestamptz", "timestamp with time zone", 8, 1185, "timestamptz"},
    {PG_INTERVAL, "interval", "interval", 16, 1187, "interval"},
    {PG_NUMERIC, "numeric", "numeric", -1, 1231, NULL},
    {PG_UUID, "uuid", "uuid", 16, 2951, "uuid"},
    {PG_JSONB, "jsonb", "jsonb", -1, 3807, "varchar"},
};
const size_t pg_n_types = sizeof pg_types / sizeof *pg_types;

const struct pg_type *pg_type_find(uint32_t oid) {
    for (size_t i = 0; i < pg_n_types; i++)
        if (pg_types[i].oid == oid) return &pg_types[i];
    return NULL;
}

// Unsigned and wide kinds go to the next PostgreSQL type that holds all their values.
static const uint32_t kind_oids[] = {
    [COLS_BOOL] = PG_BOOL,      [COLS_INT8] = PG_INT2,     [COLS_INT16] = PG_INT2,         [COLS_INT32] = PG_INT4,
    [COLS_INT64] = PG_INT8,     [COLS_UINT8] = PG_INT2,    [COLS_UINT16] = PG_INT4,        [COLS_UINT32] = PG_INT8,
    [COLS_UINT64] = PG_NUMERIC, [COLS_FLOAT] = PG_FLOAT4,  [COLS_DOUBLE] = PG_FLOAT8,      [COLS_DECIMAL] = PG_NUMERIC,
    [COLS_DATE] = PG_DATE,      [COLS_TIME] = PG_TIME,     [COLS_TIMESTAMP] = PG_TIMESTAMP, [COLS_INTERVAL] = PG_INTERVAL,
    [COLS_UUID] = PG_UUID,      [COLS_STRING] = PG_TEXT,   [COLS_BYTES] = PG_BYTEA,        [COLS_LIST] = 0,
    [COLS_STRUCT] = PG_JSON,    [COLS_MAP] = PG_JSON,      [COLS_NULL] = PG_TEXT,
};

uint32_t pg_type_of(const struct cols_type *t) {
    if (t->kind == COLS_TIMESTAMP && t->tz) return PG_TIMESTAMPTZ;
    if (t->kind != COLS_LIST) return kind_oids[t->kind];
    const struct cols_type *element = &t->fields[0].type;
    const struct pg_type *type = element->kind == COLS_LIST ? NULL : pg_type_find(pg_type_of(element));
    return type == NULL || type->array_oid == 0 ? (uint32_t)PG_JSON : type->array_oid; // lists of lists go out as JSON
}

int32_t pg_typmod_of(const struct cols_type *t) {
    return t->kind == COLS_DECIMAL && t->precision > 0 && t->precision < 38 ? (t->precision << 16 | t->scale) + 4 : -1;
}

static void put_date(struct buf *out, int64_t days, bool *bc) {
    int64_t year;
    unsigned month, day;
    cols_civil_of(days, &year, &month, &day);
    *bc = year <= 0;
    buf_printf(out, "%04" PRId64 "-%02u-%02u", *bc ? 1 - year : year, month, day);
}

static void put_time(struct buf *out, int64_t us) {
    int64_t s = us / 1000000, f = us % 1000000;
    buf_printf(out, "%02d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    if (f == 0) return;
    char digits[8];
    int n = snprintf(digits, sizeof digits, "%06d", (int)f);
    while (n > 0 && digits[n - 1] == '0') n--;
    buf_printf(out, ".%.*s", n, digits);
}

static void put_timestamp(struct buf *out, int64_t us, bool tz) {
    if (us == INT64_MAX || us == -INT64_MAX) {
        buf_puts(out, us > 0 ? "infinity" : "-infinity");
        return;
    }
    int64_t days = us / 86400000000, rest = us % 86400000000;
    if (rest < 0) rest += 86400000000, days--;
    bool bc;
    put_date(out, days, &bc);
    buf_put_u8(out, ' ');
    put_time(out, rest);
    if (tz) buf_puts(out, "+00");
    if (bc) buf_puts(out, " BC");
}

// The shortest text that reads back as the same number.
static void put_float(struct buf *out, double v, bool single) {
    if (isnan(v)) buf_puts(out, "NaN");
    else if (isinf(v)) buf_puts(out, v > 0 ? "Infinity" : "-Infinity");
    else {
        char text[40];
        for (int digits = single ? 6 : 15;; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, v);
            double back = 0;
            bool same = str_to_double(str_c(text), &back) && (single ? (float)back == (float)v : back == v);
            if (same || digits >= (single ? 9 : 17)) break;
        }
        buf_puts(out, text);
    }
}

static void put_interval(struct buf *out, const struct cols_interval *v) {
    int years = v->months / 12, months = v->months % 12;
    size_t start = out->n;
    if (years != 0) buf_printf(out, "%d year%s", years, years == 1 ? "" : "s");
    if (months != 0) buf_printf(out, "%s%d mon%s", out->n > start ? " " : "", months, months == 1 ? "" : "s");
    if (v->days != 0) buf_printf(out, "%s%d day%s", out->n > start ? " " : "", v->days, v->days == 1 ? "" : "s");
    int64_t us = v->nanos / 1000;
    if (us == 0 && out->n > start) return;
    if (out->n > start) buf_put_u8(out, ' ');
    if (us < 0) buf_put_u8(out, '-');
    put_time(out, us < 0 ? -us : us);
}

static int64_t int_at(const struct cols_column *c, size_t i) {
    switch (c->type->kind) {
    case COLS_INT8: return ((const int8_t *)c->values)[i];
    case COLS_INT16: return ((const int16_t *)c->values)[i];
    case COLS_INT32:
    case COLS_DATE: return ((const int32_t *)c->values)[i];
    case COLS_UINT8: return ((const uint8_t *)c->values)[i];
    case COLS_UINT16: return ((const uint16_t *)c->values)[i];
    case COLS_UINT32: return ((const uint32_t *)c->values)[i];
    case COLS_BOOL: return ((const uint8_t *)c->values)[i >> 3] >> (i & 7) & 1;
    default: return ((const int64_t *)c->values)[i];
    }
}

static double double_at(const struct cols_column *c, size_t i) {
    return c->type->kind == COLS_FLOAT ? (double)((const float *)c->values)[i] : ((const double *)c->values)[i];
}

// An array in PostgreSQL's text: {1,2,NULL,"a,b"}.
static void put_array(const struct cols_column *c, size_t row, struct buf *out) {
    const struct cols_column *child = &c->children[0];
    struct buf one;
    buf_init(&one, 0);
    buf_put_u8(out, '{');
    for (int32_t i = c->offsets[row]; i < c->offsets[row + 1]; i++) {
        if (i > c->offsets[row]) buf_put_u8(out, ',');
        if (!cols_is_valid(child, (size_t)i)) {
            buf_puts(out, "NULL");
            continue;
        }
        buf_clear(&one);
        pg_value_text(child, (size_t)i, &one);
        bool plain = one.n > 0 && !str_ieq(buf_str(&one), STR("null"));
        for (size_t k = 0; k < one.n; k++)
            if (strchr("{},\"\\ \t\n\r\v\f", one.p[k]) != NULL) plain = false;
        if (plain) {
            buf_put_str(out, buf_str(&one));
            continue;
        }
        buf_put_u8(out, '"');
        for (size_t k = 0; k < one.n; k++) {
            if (one.p[k] == '"' || one.p[k] == '\\') buf_put_u8(out, '\\');
            buf_put_u8(out, one.p[k]);
        }
        buf_put_u8(out, '"');
    }
    buf_put_u8(out, '}');
    buf_fini(&one);
}

static void put_hex(struct buf *out, struct str s) {
    static const char digits[] = "0123456789abcdef";
    buf_puts(out, "\\x");
    if (!buf_reserve(out, s.n * 2)) return;
    for (size_t i = 0; i < s.n; i++) {
        out->p[out->n++] = (uint8_t)digits[(uint8_t)s.p[i] >> 4];
        out->p[out->n++] = (uint8_t)digits[(uint8_t)s.p[i] & 15];
    }
}

static void put_int(struct buf *out, int64_t v) {
    char text[24];
    int at = sizeof text;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do text[--at] = (char)('0' + u % 10);
    while ((u /= 10) > 0);
    if (v < 0) text[--at] = '-';
    buf_put(out, text + at, sizeof text - (size_t)at);
}

void pg_value_text(const struct cols_column *c, size_t row, struct buf *out) {
    bool bc = false;
    switch (c->type->kind) {
    case COLS_BOOL: buf_put_u8(out, int_at(c, row) != 0 ? 't' : 'f'); break;
    case COLS_INT8:
    case COLS_INT16:
    case COLS_INT32:
    case COLS_INT64:
    case COLS_UINT8:
    case COLS_UINT16:
    case COLS_UINT32: put_int(out, int_at(c, row)); break;
    case COLS_FLOAT:
    case COLS_DOUBLE: put_float(out, double_at(c, row), c->type->kind == COLS_FLOAT); break;
    case COLS_DATE:
        put_date(out, int_at(c, row), &bc);
        if (bc) buf_puts(out, " BC");
        break;
    case COLS_TIME: put_time(out, int_at(c, row)); break;
    case COLS_TIMESTAMP: put_timestamp(out, int_at(c, row), c->type->tz); break;
    case COLS_INTERVAL: put_interval(out, &((const struct cols_interval *)c->values)[row]); break;
    case COLS_STRING: buf_put_str(out, cols_str(c, row)); break;
    case COLS_BYTES: put_hex(out, cols_str(c, row)); break;
    case COLS_LIST:
        if (pg_type_of(c->type) == PG_JSON) cols_value_json(c, row, out);
        else put_array(c, row, out);
        break;
    case COLS_STRUCT:
    case COLS_MAP: cols_value_json(c, row, out); break;
    case COLS_UINT64:
    case COLS_DECIMAL:
    case COLS_UUID:
    case COLS_NULL: cols_value_text(c, row, out); break;
    }
}

// numeric's binary form: count of base-10000 digits, weight, sign, scale, digits. From the decimal text.
static void put_numeric(struct buf *out, struct str text) {
    bool negative = text.n > 0 && text.p[0] == '-';
    if (negative) text.p++, text.n--;
    struct str whole, fraction;
    str_cut(text, '.', &whole, &fraction);
    int16_t digits[64];
    int n = 0, weight = (int)((whole.n + 3) / 4) - 1;
    for (size_t i = 0, first = whole.n % 4 == 0 ? 4 : whole.n % 4; i < whole.n; i += first, first = 4) {
        int v = 0;
        for (size_t k = 0; k < first; k++) v = v * 10 + (whole.p[i + k] - '0');
        digits[n++] = (int16_t)v;
    }
    for (size_t i = 0; i < fraction.n; i += 4) {
        int v = 0;
        for (size_t k = 0; k < 4; k++) v = v * 10 + (i + k < fraction.n ? fraction.p[i + k] - '0' : 0);
        digits[n++] = (int16_t)v;
    }
    int skip = 0;
    while (skip < n && digits[skip] == 0) skip++, weight--;
    while (n > skip && digits[n - 1] == 0) n--;
    buf_put_be16(out, (uint16_t)(n - skip));
    buf_put_be16(out, (uint16_t)(n == skip ? 0 : weight));
    buf_put_be16(out, negative && n > skip ? 0x4000 : 0);
    buf_put_be16(out, (uint16_t)fraction.n);
    for (int i = skip; i < n; i++) buf_put_be16(out, (uint16_t)digits[i]);
}

static void put_float_bits(struct buf *out, double v, bool single) {
    if (single) {
        float f = (float)v;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        buf_put_be32(out, bits);
        return;
    }
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    buf_put_be64(out, bits);
}

// One dimension: ndim, has nulls, element OID, length, lower bound, then each element with its length.
static enum err_code put_array_binary(const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    const struct cols_column *child = &c->children[0];
    int32_t n = c->offsets[row + 1] - c->offsets[row];
    buf_put_be32(out, n == 0 ? 0 : 1);
    buf_put_be32(out, child->n_null > 0);
    buf_put_be32(out, pg_type_of(child->type));
    if (n == 0) return ERR_OK;
    buf_put_be32(out, (uint32_t)n);
    buf_put_be32(out, 1);
    for (int32_t i = 0; i < n; i++) {
        size_t at = (size_t)(c->offsets[row] + i), len_at = out->n;
        buf_put_be32(out, UINT32_MAX);
        if (!cols_is_valid(child, at)) continue;
        enum err_code code = pg_value_binary(child, at, out, err);
        if (code != ERR_OK) return code;
        buf_set_be32(out, len_at, (uint32_t)(out->n - len_at - 4));
    }
    return ERR_OK;
}

enum err_code pg_value_binary(const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    struct buf text;
    const struct cols_interval *interval;
    switch (pg_type_of(c->type)) {
    case PG_BOOL: buf_put_u8(out, (uint8_t)int_at(c, row)); break;
    case PG_INT2: buf_put_be16(out, (uint16_t)int_at(c, row)); break;
    case PG_INT4: buf_put_be32(out, (uint32_t)int_at(c, row)); break;
    case PG_INT8: buf_put_be64(out, (uint64_t)int_at(c, row)); break;
    case PG_FLOAT4:
    case PG_FLOAT8: put_float_bits(out, double_at(c, row), c->type->kind == COLS_FLOAT); break;
    case PG_DATE: buf_put_be32(out, (uint32_t)(int_at(c, row) - PG_EPOCH_DAYS)); break;
    case PG_TIME: buf_put_be64(out, (uint64_t)int_at(c, row)); break;
    case PG_TIMESTAMP:
    case PG_TIMESTAMPTZ: buf_put_be64(out, (uint64_t)(int_at(c, row) - PG_EPOCH_US)); break;
    case PG_INTERVAL:
        interval = &((const struct cols_interval *)c->values)[row];
        buf_put_be64(out, (uint64_t)(interval->nanos / 1000));
        buf_put_be32(out, (uint32_t)interval->days);
        buf_put_be32(out, (uint32_t)interval->months);
        break;
    case PG_UUID: buf_put(out, (const uint8_t *)c->values + row * 16, 16); break;
    case PG_NUMERIC:
        buf_init(&text, 0);
        cols_value_text(c, row, &text);
        put_numeric(out, buf_str(&text));
        buf_fini(&text);
        break;
    case PG_TEXT:
    case PG_BYTEA: buf_put_str(out, cols_str(c, row)); break;
    case PG_JSON: pg_value_text(c, row, out); break;
    default:
        if (c->type->kind == COLS_LIST) return put_array_binary(c, row, out, err);
        return err_set(err, ERR_NOT_SUPPORTED, "type %s has no binary format here; ask for text", cols_kind_name(c->type->kind));
    }
    return ERR_OK;
}

static enum err_code numeric_text(struct str bytes, struct buf *out, struct err *err) {
    struct rd r = rd_of(bytes.p, bytes.n);
    int n = (int16_t)rd_be16(&r), weight = (int16_t)rd_be16(&r), sign = rd_be16(&r), scale = (int16_t)rd_be16(&r);
    if (r.failed || n < 0 || n > 40 || weight > 20 || weight < -20 || scale < 0 || scale > 64)
        return err_set(err, ERR_INVALID, "a numeric parameter is malformed or has more than 38 digits");
    if (sign == 0xC000) return buf_puts(out, "nan"), ERR_OK;
    int digits[40];
    for (int i = 0; i < n; i++) digits[i] = rd_be16(&r);
    if (r.failed) return err_set(err, ERR_INVALID, "a numeric parameter is cut short");
    if (sign == 0x4000) buf_put_u8(out, '-');
    if (weight < 0) buf_put_u8(out, '0');
    for (int i = 0; i <= weight; i++) buf_printf(out, i == 0 ? "%d" : "%04d", i < n ? digits[i] : 0);
    if (scale == 0) return ERR_OK;
    buf_put_u8(out, '.');
    size_t end = out->n + (size_t)scale;
    for (int i = weight + 1; out->n < end; i++) buf_printf(out, "%04d", i >= 0 && i < n ? digits[i] : 0);
    out->n = end;
    return ERR_OK;
}

static double float_of(struct rd *r, bool single) {
    if (single) {
        uint32_t bits = rd_be32(r);
        float f;
        memcpy(&f, &bits, sizeof f);
        return (double)f;
    }
    uint64_t bits = rd_be64(r);
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static enum err_code param_put(uint32_t oid, struct str bytes, struct buf *out, struct err *err) {
    struct rd r = rd_of(bytes.p, bytes.n);
    bool bc = false;
    switch (oid) {
    case PG_BOOL: buf_puts(out, rd_u8(&r) != 0 ? "true" : "false"); break;
    case PG_INT2: put_int(out, (int16_t)rd_be16(&r)); break;
    case PG_INT4: put_int(out, (int32_t)rd_be32(&r)); break;
    case PG_OID: put_int(out, rd_be32(&r)); break;
    case PG_INT8: put_int(out, (int64_t)rd_be64(&r)); break;
    case PG_FLOAT4: put_float(out, float_of(&r, true), true); break;
    case PG_FLOAT8: put_float(out, float_of(&r, false), false); break;
    case PG_DATE: put_date(out, (int32_t)rd_be32(&r) + PG_EPOCH_DAYS, &bc); break;
    case PG_TIME: put_time(out, (int64_t)rd_be64(&r)); break;
    case PG_TIMESTAMP: put_timestamp(out, (int64_t)rd_be64(&r) + PG_EPOCH_US, false); break;
    case PG_TIMESTAMPTZ: put_timestamp(out, (int64_t)rd_be64(&r) + PG_EPOCH_US, true); break;
    case PG_NUMERIC: return numeric_text(bytes, out, err);
    case PG_UUID: {
        char text[37];
        const uint8_t *p = rd_bytes(&r, 16);
        if (p == NULL) break;
        sys_uuid_text(p, text);
        buf_puts(out, text);
        break;
    }
    case PG_BYTEA: // the engine's blob text: \xAB per byte
        for (size_t i = 0; i < bytes.n; i++) buf_printf(out, "\\x%02X", (uint8_t)bytes.p[i]);
        return ERR_OK;
    case PG_TEXT:
    case PG_VARCHAR:
    case PG_BPCHAR:
    case PG_NAME:
    case PG_JSON:
    case PG_UNKNOWN: buf_put_str(out, bytes); return ERR_OK;
    default: return err_set(err, ERR_NOT_SUPPORTED, "parameters of type OID %u in binary format; send them as text", oid);
    }
    if (r.failed || rd_left(&r) > 0) return err_set(err, ERR_INVALID, "a binary parameter of type OID %u has %zu bytes", oid, bytes.n);
    return ERR_OK;
}

enum err_code pg_param_text(uint32_t oid, struct str bytes, struct arena *a, struct str *out, struct err *err) {
    struct buf b;
    buf_init(&b, 0);
    enum err_code code = param_put(oid, bytes, &b, err);
    if (code == ERR_OK) *out = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return code;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum err_code pg_param_from_text(uint32_t oid, struct str text, struct arena *a, struct str *out, struct err *err) {
    if (oid != PG_BYTEA) {
        *out = arena_str(a, text);
        return ERR_OK;
    }
    if (!str_starts(text, STR("\\x")) || text.n % 2 != 0)
        return err_set(err, ERR_NOT_SUPPORTED, "bytea parameters as text must be hexadecimal: \\x00ff");
    struct str bytes = {arena_alloc(a, text.n / 2), text.n / 2 - 1};
    for (size_t i = 0; i < bytes.n; i++) {
        int high = hex_digit(text.p[2 + i * 2]), low = hex_digit(text.p[3 + i * 2]);
        if (high < 0 || low < 0) return err_set(err, ERR_INVALID, "a bytea parameter holds a character that is no hexadecimal digit");
        ((char *)(uintptr_t)bytes.p)[i] = (char)(high << 4 | low);
    }
    return pg_param_text(PG_BYTEA, bytes, a, out, err);
}
