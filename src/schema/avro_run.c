// SPDX-License-Identifier: Apache-2.0
// The decoder's operations: Avro binary straight into column builders. Every read is checked against the end of the datum; texts are
// checked for UTF-8; what a datum can make us allocate is bounded. A failed datum leaves no trace: the builder is rolled back.
// Any thread, one builder each.
#include <stdio.h>

#include "codec/varint.h"
#include "schema/avro_ops.h"

// Items whose encoding takes no bytes (null, empty records) allowed in one datum beyond its length: nothing else
// bounds them.
enum { EMPTY_ITEMS_MAX = 1 << 16 };

static const struct op *bad(struct run *r, const struct op *op, const char *why) {
    if (r->at == NULL) {
        r->at = op;
        r->why = why;
        r->code = ERR_DATA;
    }
    return NULL;
}

static const struct op *full(struct run *r, const struct op *op, const char *why) {
    if (r->at == NULL) {
        r->at = op;
        r->why = why;
        r->code = ERR_TOO_LARGE;
    }
    return NULL;
}

static inline bool take_long(struct run *r, int64_t *out) {
    uint64_t v;
    const uint8_t *p = uvarint_read64(r->p, r->end, &v);
    if (p == NULL) return false;
    r->p = p;
    *out = unzigzag64(v);
    return true;
}

static inline bool take_int(struct run *r, int32_t *out) {
    uint32_t v;
    const uint8_t *p = uvarint_read32(r->p, r->end, &v);
    if (p == NULL) return false;
    r->p = p;
    *out = unzigzag32(v);
    return true;
}

static inline const uint8_t *take(struct run *r, size_t n) {
    if ((size_t)(r->end - r->p) < n) return NULL;
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

static inline const uint8_t *take_bytes(struct run *r, size_t *n) { // length, bytes
    int64_t len;
    if (!take_long(r, &len) || len < 0) return NULL;
    *n = (size_t)len;
    return take(r, *n);
}

static bool run_ops(struct run *r, const struct op *op, const struct op *end) {
    while (op < end) {
        op = op->fn(r, op);
        if (op == NULL) return false;
    }
    return true;
}

#define COL (r->flat[op->col])
#define SHORT bad(r, op, NULL)

// ---- primitives -----------------------------------------------------------------------------------------------------------------
const struct op *avro_op_null(struct run *r, const struct op *op) {
    cols_out_null(COL);
    return op + 1;
}

const struct op *avro_op_bool(struct run *r, const struct op *op) {
    const uint8_t *p = take(r, 1);
    if (p == NULL) return SHORT;
    if (*p > 1) return bad(r, op, "a boolean that is neither 0 nor 1");
    cols_out_bool(COL, *p != 0);
    return op + 1;
}

const struct op *avro_op_int(struct run *r, const struct op *op) {
    int32_t v;
    if (!take_int(r, &v)) return SHORT;
    cols_out_i32(COL, v);
    return op + 1;
}

const struct op *avro_op_int_scaled(struct run *r, const struct op *op) { // time-millis
    int32_t v;
    if (!take_int(r, &v)) return SHORT;
    if (v < 0 || v > 86400000) return bad(r, op, "a time that is not within a day");
    cols_out_i64(COL, (int64_t)v * op->arg);
    return op + 1;
}

const struct op *avro_op_int_to_long(struct run *r, const struct op *op) {
    int32_t v;
    if (!take_int(r, &v)) return SHORT;
    cols_out_i64(COL, v);
    return op + 1;
}

const struct op *avro_op_int_to_float(struct run *r, const struct op *op) {
    int32_t v;
    if (!take_int(r, &v)) return SHORT;
    cols_out_float(COL, (float)v);
    return op + 1;
}

const struct op *avro_op_int_to_double(struct run *r, const struct op *op) {
    int32_t v;
    if (!take_int(r, &v)) return SHORT;
    cols_out_double(COL, v);
    return op + 1;
}

const struct op *avro_op_long(struct run *r, const struct op *op) {
    int64_t v;
    if (!take_long(r, &v)) return SHORT;
    cols_out_i64(COL, v);
    return op + 1;
}

const struct op *avro_op_long_times(struct run *r, const struct op *op) { // timestamp-millis
    int64_t v;
    if (!take_long(r, &v)) return SHORT;
    if (__builtin_mul_overflow(v, op->arg, &v)) return bad(r, op, "a timestamp out of range");
    cols_out_i64(COL, v);
    return op + 1;
}

const struct op *avro_op_long_divided(struct run *r, const struct op *op) { // timestamp-nanos: towards the past
    int64_t v;
    if (!take_long(r, &v)) return SHORT;
    cols_out_i64(COL, v / op->arg - (v % op->arg < 0));
    return op + 1;
}

const struct op *avro_op_long_to_float(struct run *r, const struct op *op) {
    int64_t v;
    if (!take_long(r, &v)) return SHORT;
    cols_out_float(COL, (float)v);
    return op + 1;
}

const struct op *avro_op_long_to_double(struct run *r, const struct op *op) {
    int64_t v;
    if (!take_long(r, &v)) return SHORT;
    cols_out_double(COL, (double)v);
    return op + 1;
}

const struct op *avro_op_time_micros(struct run *r, const struct op *op) {
    int64_t v;
    if (!take_long(r, &v)) return SHORT;
    if (v < 0 || v > INT64_C(86400000000)) return bad(r, op, "a time that is not within a day");
    cols_out_i64(COL, v);
    return op + 1;
}

const struct op *avro_op_float(struct run *r, const struct op *op) {
    const uint8_t *p = take(r, 4);
    float v;
    if (p == NULL) return SHORT;
    memcpy(&v, p, 4);
    cols_out_float(COL, v);
    return op + 1;
}

const struct op *avro_op_float_to_double(struct run *r, const struct op *op) {
    const uint8_t *p = take(r, 4);
    float v;
    if (p == NULL) return SHORT;
    memcpy(&v, p, 4);
    cols_out_double(COL, (double)v);
    return op + 1;
}

const struct op *avro_op_double(struct run *r, const struct op *op) {
    const uint8_t *p = take(r, 8);
    double v;
    if (p == NULL) return SHORT;
    memcpy(&v, p, 8);
    cols_out_double(COL, v);
    return op + 1;
}

// ---- texts and bytes --------------------------------------------------------------------------------------------------------------
static const char column_full[] = "the batch is full";

const struct op *avro_op_bytes(struct run *r, const struct op *op) {
    size_t n;
    const uint8_t *p = take_bytes(r, &n);
    if (p == NULL) return SHORT;
    return cols_out_bytes(COL, p, n) ? op + 1 : full(r, op, column_full);
}

static inline bool utf8(const uint8_t *p, size_t n) {
    uint8_t any = 0;
    if (n <= 16) { // most keys and codes: one pass without branches by content
        for (size_t i = 0; i < n; i++) any |= p[i];
        if (any < 0x80) return true;
    }
    return str_utf8_ok(str_n(p, n));
}

const struct op *avro_op_string(struct run *r, const struct op *op) {
    size_t n;
    const uint8_t *p = take_bytes(r, &n);
    if (p == NULL) return SHORT;
    if (!utf8(p, n)) return bad(r, op, "a text that is not UTF-8");
    return cols_out_bytes(COL, p, n) ? op + 1 : full(r, op, column_full);
}

const struct op *avro_op_uuid_text(struct run *r, const struct op *op) {
    size_t n;
    uint8_t uuid[16];
    const uint8_t *p = take_bytes(r, &n);
    if (p == NULL) return SHORT;
    if (!cols_uuid_parse(str_n(p, n), uuid)) return bad(r, op, "a text that is no UUID");
    cols_out_16(COL, uuid);
    return op + 1;
}

// Big-endian two's complement of any length into 16 bytes; false when it does not fit the column's precision.
static bool decimal(const uint8_t *p, size_t n, unsigned precision, void *out) {
    bool minus = n > 0 && p[0] >= 0x80;
    for (; n > 16; p++, n--)
        if (*p != (minus ? 0xFF : 0)) return false;
    unsigned __int128 v = minus ? ~(unsigned __int128)0 : 0;
    for (size_t i = 0; i < n; i++) v = v << 8 | p[i];
    if (minus != ((__int128)v < 0)) return false; // the bytes cut off held the sign
    unsigned __int128 size = minus ? -v : v, limit = 1;
    for (unsigned i = 0; i < precision; i++) limit *= 10;
    if (size >= limit) return false;
    memcpy(out, &v, 16);
    return true;
}

static const struct op *put_decimal(struct run *r, const struct op *op, const uint8_t *p, size_t n) {
    uint8_t v[16];
    if (!decimal(p, n, COL->type->precision, v)) return bad(r, op, "a decimal with more digits than its precision");
    cols_out_16(COL, v);
    return op + 1;
}

const struct op *avro_op_decimal(struct run *r, const struct op *op) {
    size_t n;
    const uint8_t *p = take_bytes(r, &n);
    return p == NULL ? SHORT : put_decimal(r, op, p, n);
}

const struct op *avro_op_fixed(struct run *r, const struct op *op) {
    const uint8_t *p = take(r, (size_t)op->arg);
    if (p == NULL) return SHORT;
    return cols_out_bytes(COL, p, (size_t)op->arg) ? op + 1 : full(r, op, column_full);
}

const struct op *avro_op_fixed_decimal(struct run *r, const struct op *op) {
    const uint8_t *p = take(r, (size_t)op->arg);
    return p == NULL ? SHORT : put_decimal(r, op, p, (size_t)op->arg);
}

const struct op *avro_op_fixed_16(struct run *r, const struct op *op) { // uuid
    const uint8_t *p = take(r, 16);
    if (p == NULL) return SHORT;
    cols_out_16(COL, p);
    return op + 1;
}

const struct op *avro_op_duration(struct run *r, const struct op *op) { // months, days, milliseconds: unsigned, little-endian
    const uint8_t *p = take(r, 12);
    uint32_t v[3];
    if (p == NULL) return SHORT;
    memcpy(v, p, sizeof v);
    if (v[0] > INT32_MAX || v[1] > INT32_MAX) return bad(r, op, "a duration out of range");
    struct cols_interval i = {(int32_t)v[0], (int32_t)v[1], (int64_t)v[2] * 1000000};
    cols_out_16(COL, &i);
    return op + 1;
}

const struct op *avro_op_enum(struct run *r, const struct op *op) {
    int32_t i;
    if (!take_int(r, &i)) return SHORT;
    if (i < 0 || i >= op->arg) return bad(r, op, "an enum's index out of range");
    struct symbol s = op->u.symbols[i];
    if (s.p == NULL) return bad(r, op, "an enum's symbol that the reader does not know");
    return cols_out_bytes(COL, s.p, s.n) ? op + 1 : full(r, op, column_full);
}

// ---- unions -----------------------------------------------------------------------------------------------------------------------
// A union of null and one type into a nullable column; arg: null's branch. The other branch is what follows.
const struct op *avro_op_nullable(struct run *r, const struct op *op) {
    int64_t i;
    if (!take_long(r, &i)) return SHORT;
    if ((uint64_t)i > 1) return bad(r, op, "a union's branch out of range");
    if (i != op->arg) return op + 1;
    cols_out_null(COL);
    return op + op->len;
}

const struct op *avro_op_union(struct run *r, const struct op *op) {
    int64_t i;
    if (!take_long(r, &i)) return SHORT;
    if (i < 0 || i >= op->arg) return bad(r, op, "a union's branch out of range");
    return run_ops(r, op + op->u.starts[i], op + op->u.starts[i + 1]) ? op + op->len : NULL;
}

const struct op *avro_op_fail(struct run *r, const struct op *op) { return bad(r, op, op->u.text); }

const struct op *avro_op_struct(struct run *r, const struct op *op) {
    cols_out_struct(COL);
    return op + 1;
}

// ---- lists and maps ---------------------------------------------------------------------------------------------------------------
// The number of items in the next block; 0 = the end, -1 = bad.
static int64_t block(struct run *r, const struct op *op) {
    int64_t n, size;
    if (!take_long(r, &n)) return SHORT, -1;
    if (n < 0) { // with the block's size in bytes, which only skipping needs
        if (n == INT64_MIN || !take_long(r, &size)) return SHORT, -1;
        if (size < 0) return bad(r, op, "a block of negative size"), -1;
        n = -n;
    }
    if (n > AVRO_ITEMS_MAX || r->items + (size_t)n > AVRO_ITEMS_MAX) return full(r, op, "too many array and map items"), -1;
    if (n > r->end - r->p && (r->empty += (size_t)n) > EMPTY_ITEMS_MAX) return bad(r, op, "more items than bytes"), -1;
    r->items += (size_t)n;
    return n;
}

const struct op *avro_op_list(struct run *r, const struct op *op) {
    for (;;) {
        int64_t n = block(r, op);
        if (n < 0) return NULL;
        if (n == 0) break;
        for (int64_t i = 0; i < n; i++)
            if (!run_ops(r, op + 1, op + op->len)) return NULL;
    }
    if (COL->children[0].n > COLS_DATA_MAX) return full(r, op, column_full);
    cols_out_list(COL);
    return op + op->len;
}

const struct op *avro_op_map(struct run *r, const struct op *op) { // col: the map; its entries, keys and values are the next three
    struct cols_out *entry = r->flat[op->col + 1], *key = r->flat[op->col + 2];
    for (;;) {
        int64_t n = block(r, op);
        if (n < 0) return NULL;
        if (n == 0) break;
        for (int64_t i = 0; i < n; i++) {
            size_t len;
            const uint8_t *p = take_bytes(r, &len);
            if (p == NULL) return SHORT;
            if (!utf8(p, len)) return bad(r, op, "a map's key that is not UTF-8");
            cols_out_struct(entry);
            if (!cols_out_bytes(key, p, len)) return full(r, op, column_full);
            if (!run_ops(r, op + 1, op + op->len)) return NULL;
        }
    }
    if (entry->n > COLS_DATA_MAX) return full(r, op, column_full);
    cols_out_list(COL);
    return op + op->len;
}

// ---- skipping, defaults -------------------------------------------------------------------------------------------------------------
static bool skip_value(struct run *r, const struct op *op, const struct skip *s, size_t depth);

static bool skip_blocks(struct run *r, const struct op *op, const struct skip *s, size_t depth) {
    for (;;) {
        int64_t n, size;
        if (!take_long(r, &n)) return SHORT, false;
        if (n == 0) return true;
        if (n < 0) {
            if (!take_long(r, &size) || size < 0 || take(r, (size_t)size) == NULL) return SHORT, false;
            continue;
        }
        if ((uint64_t)n > AVRO_ITEMS_MAX - r->items) return full(r, op, "too many array and map items"), false;
        r->items += (size_t)n;
        for (int64_t i = 0; i < n; i++) {
            size_t len;
            if (s->kind == AVRO_MAP && take_bytes(r, &len) == NULL) return SHORT, false;
            if (!skip_value(r, op, s->sub[0], depth)) return false;
        }
    }
}

static bool skip_value(struct run *r, const struct op *op, const struct skip *s, size_t depth) {
    int64_t v;
    size_t n;
    if (depth == AVRO_DEPTH_MAX) return full(r, op, "data nested too deep"), false;
    switch (s->kind) {
    case AVRO_NULL: return true;
    case AVRO_INT:
    case AVRO_LONG:
    case AVRO_ENUM: return take_long(r, &v) || (SHORT, false);
    case AVRO_BOOLEAN:
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
    case AVRO_FIXED: return take(r, s->size) != NULL || (SHORT, false);
    case AVRO_BYTES:
    case AVRO_STRING: return take_bytes(r, &n) != NULL || (SHORT, false);
    case AVRO_RECORD:
        for (size_t i = 0; i < s->n; i++)
            if (!skip_value(r, op, s->sub[i], depth + 1)) return false;
        return true;
    case AVRO_ARRAY:
    case AVRO_MAP: return skip_blocks(r, op, s, depth + 1);
    case AVRO_UNION:
        if (!take_long(r, &v)) return SHORT, false;
        if (v < 0 || (uint64_t)v >= s->n) return bad(r, op, "a union's branch out of range"), false;
        return skip_value(r, op, s->sub[v], depth + 1);
    }
    return false;
}

const struct op *avro_op_skip(struct run *r, const struct op *op) { return skip_value(r, op, op->u.skip, 0) ? op + 1 : NULL; }

const struct op *avro_op_default(struct run *r, const struct op *op) { // the body reads the default's bytes
    const uint8_t *p = r->p, *end = r->end;
    r->p = (const uint8_t *)op->u.bytes.p;
    r->end = r->p + op->u.bytes.n;
    bool ok = run_ops(r, op + 1, op + op->len);
    r->p = p;
    r->end = end;
    return ok ? op + op->len : NULL;
}

// ---- one datum ----------------------------------------------------------------------------------------------------------------------
static enum err_code refuse(const struct run *r, struct cols_builder *b, size_t size, struct err *err) {
    cols_builder_rollback(b);
    const char *field = r->at != NULL && r->at->field != NULL ? r->at->field : "";
    size_t at = (size_t)(r->p - r->start);
    if (at > size) at = 0; // inside of a default
    return err_set(err, r->code, "%s%s%s%s (byte %zu of %zu)", field[0] != 0 ? "field " : "", field, field[0] != 0 ? ": " : "",
                   r->why != NULL ? r->why : "the bytes end too early, or a number or length is not valid", at, size);
}

enum err_code avro_decode_values(const struct avro_decoder *d, struct str bytes, struct cols_builder *b, struct err *err) {
    struct run r = {.p = (const uint8_t *)bytes.p, .flat = b->flat};
    r.start = r.p;
    r.end = r.p + bytes.n;
    if (!run_ops(&r, d->ops, d->ops + d->n_ops)) return refuse(&r, b, bytes.n, err);
    if (__builtin_expect(r.p == r.end, 1)) return ERR_OK;
    r.why = "bytes are left over behind the datum";
    r.code = ERR_DATA;
    return refuse(&r, b, bytes.n, err);
}

enum err_code avro_decode(const struct avro_decoder *d, struct str bytes, struct cols_builder *b, struct err *err) {
    enum err_code code = avro_decode_values(d, bytes, b, err);
    b->rows += code == ERR_OK;
    return code;
}
