// SPDX-License-Identifier: Apache-2.0
// Rows of column batches to Avro binary: a tree with one node per value, made once per (schema, columns), holding everything it needs.
// Any thread; the output buffer is the caller's.
#include <math.h>

#include "base/map.h"
#include "base/vec.h"
#include "codec/digest.h"
#include "codec/varint.h"
#include "schema/avro.h"
#include "schema/avro_internal.h"

struct node;
typedef enum err_code put_fn(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err);

struct node {
    put_fn *put;
    const char *path;
    int null_branch, branch; // of a union; -1 = no union, or no null in it
    int64_t arg;             // divisor or factor, size, number of fields
    const struct node *sub;  // items, values, fields
    const int *columns;      // per field: the child or column; -1 = default
    const struct str *defaults;
    struct map *symbols; // of an enum: index + 1
};

struct avro_encoder {
    struct arena arena;
    struct node root;
    VEC(struct map *) maps; // to free
};

static put_fn put_null;

static enum err_code put_node(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    if (c->type->kind == COLS_NULL || !cols_is_valid(c, row)) {
        if (n->put == put_null && n->null_branch < 0) return ERR_OK; // Avro's null: no bytes
        if (n->null_branch < 0) return err_set(err, ERR_DATA, "%s is null, which the Avro schema does not allow", n->path);
        buf_put_varint(out, n->null_branch);
        return ERR_OK;
    }
    if (n->branch >= 0) buf_put_varint(out, n->branch);
    return n->put(n, c, row, out, err);
}

// ---- values ---------------------------------------------------------------------------------------------------------------------
static int64_t integer(const struct cols_column *c, size_t row) {
    switch (c->type->kind) {
    case COLS_INT8: return ((const int8_t *)c->values)[row];
    case COLS_UINT8: return ((const uint8_t *)c->values)[row];
    case COLS_INT16: return ((const int16_t *)c->values)[row];
    case COLS_UINT16: return ((const uint16_t *)c->values)[row];
    case COLS_INT32:
    case COLS_DATE: return ((const int32_t *)c->values)[row];
    case COLS_UINT32: return ((const uint32_t *)c->values)[row];
    default: return ((const int64_t *)c->values)[row];
    }
}

static double real(const struct cols_column *c, size_t row) {
    if (c->type->kind == COLS_DOUBLE) return ((const double *)c->values)[row];
    if (c->type->kind == COLS_FLOAT) return (double)((const float *)c->values)[row];
    return (double)integer(c, row);
}

static enum err_code out_of_range(const struct node *n, struct err *err) { return err_set(err, ERR_DATA, "%s: the value is out of range", n->path); }

static enum err_code put_null(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    (void)c, (void)row, (void)out;
    return err_set(err, ERR_DATA, "%s is not null, but the Avro schema has only null there", n->path);
}

static enum err_code put_bool(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    (void)n, (void)err;
    buf_put_u8(out, ((const uint8_t *)c->values)[row >> 3] >> (row & 7) & 1);
    return ERR_OK;
}

static enum err_code put_int(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    int64_t v = integer(c, row) / n->arg; // time-millis: 1000
    if (v < INT32_MIN || v > INT32_MAX) return out_of_range(n, err);
    buf_put_varint(out, v);
    return ERR_OK;
}

static enum err_code put_long(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    int64_t v = integer(c, row);
    if (c->type->kind == COLS_UINT64 && v < 0) return out_of_range(n, err);
    buf_put_varint(out, v / n->arg - (v % n->arg < 0)); // timestamp-millis: towards the past
    return ERR_OK;
}

static enum err_code put_nanos(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    int64_t v;
    if (__builtin_mul_overflow(integer(c, row), INT64_C(1000), &v)) return out_of_range(n, err);
    buf_put_varint(out, v);
    return ERR_OK;
}

static enum err_code put_float(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    (void)n, (void)err;
    float v = (float)real(c, row);
    buf_put(out, &v, 4);
    return ERR_OK;
}

static enum err_code put_double(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    (void)n, (void)err;
    double v = real(c, row);
    buf_put(out, &v, 8);
    return ERR_OK;
}

static enum err_code put_bytes(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    (void)n, (void)err;
    struct str s = cols_str(c, row);
    buf_put_varint(out, (int64_t)s.n);
    buf_put_str(out, s);
    return ERR_OK;
}

static enum err_code put_uuid(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    (void)n, (void)err;
    buf_put_varint(out, 36);
    cols_value_text(c, row, out);
    return ERR_OK;
}

static enum err_code put_fixed(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    struct str s = c->type->kind == COLS_UUID ? str_n((const uint8_t *)c->values + row * 16, 16) : cols_str(c, row);
    if (s.n != (size_t)n->arg) return err_set(err, ERR_DATA, "%s: %zu bytes where the Avro schema wants %lld", n->path, s.n, (long long)n->arg);
    buf_put_str(out, s);
    return ERR_OK;
}

static enum err_code put_duration(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    struct cols_interval v = ((const struct cols_interval *)c->values)[row];
    int64_t millis = v.nanos / 1000000;
    if (v.months < 0 || v.days < 0 || millis < 0 || millis > UINT32_MAX) return out_of_range(n, err);
    uint32_t three[3] = {(uint32_t)v.months, (uint32_t)v.days, (uint32_t)millis};
    buf_put(out, three, sizeof three);
    return ERR_OK;
}

// Big-endian two's complement: as few bytes as it takes (bytes), or exactly `size` (fixed).
static enum err_code put_decimal(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    __int128 v;
    if (c->type->kind == COLS_UINT64) v = ((const uint64_t *)c->values)[row];
    else memcpy(&v, (const uint8_t *)c->values + row * 16, 16);
    size_t need = 1;
    while (need < 16 && (v >> (need * 8 - 1)) != 0 && (v >> (need * 8 - 1)) != -1) need++;
    size_t size = n->arg > 0 ? (size_t)n->arg : need;
    if (size < need) return out_of_range(n, err);
    if (n->arg == 0) buf_put_varint(out, (int64_t)size);
    for (size_t i = size; i-- > 0;) buf_put_u8(out, (uint8_t)(i >= 16 ? (v < 0 ? 0xFF : 0) : v >> (i * 8)));
    return ERR_OK;
}

static enum err_code put_enum(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    struct str s = cols_str(c, row);
    intptr_t i = (intptr_t)map_get(n->symbols, s);
    if (i == 0) return err_set(err, ERR_DATA, "%s: \"" STR_FMT "\" is not a symbol of the enum", n->path, (int)(s.n < 80 ? s.n : 80), s.p);
    buf_put_varint(out, i - 1);
    return ERR_OK;
}

static enum err_code put_list(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    int32_t from = c->offsets[row], to = c->offsets[row + 1];
    if (to > from) buf_put_varint(out, to - from);
    for (int32_t i = from; i < to; i++) {
        enum err_code code = put_node(n->sub, &c->children[0], (size_t)i, out, err);
        if (code != ERR_OK) return code;
    }
    buf_put_u8(out, 0);
    return ERR_OK;
}

static enum err_code put_map(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    int32_t from = c->offsets[row], to = c->offsets[row + 1];
    const struct cols_column *key = &c->children[0].children[0], *val = &c->children[0].children[1];
    if (to > from) buf_put_varint(out, to - from);
    for (int32_t i = from; i < to; i++) {
        put_bytes(n, key, (size_t)i, out, err);
        enum err_code code = put_node(n->sub, val, (size_t)i, out, err);
        if (code != ERR_OK) return code;
    }
    buf_put_u8(out, 0);
    return ERR_OK;
}

static enum err_code put_fields(const struct node *n, const struct cols_column *columns, size_t row, struct buf *out, struct err *err) {
    for (int64_t i = 0; i < n->arg; i++) {
        if (n->columns[i] < 0) {
            buf_put_str(out, n->defaults[i]);
            continue;
        }
        enum err_code code = put_node(&n->sub[i], &columns[n->columns[i]], row, out, err);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

static enum err_code put_record(const struct node *n, const struct cols_column *c, size_t row, struct buf *out, struct err *err) {
    return put_fields(n, c->children, row, out, err);
}

// ---- making -----------------------------------------------------------------------------------------------------------------------
enum { I = 1, R = 2, S = 4, B = 8 }; // groups of column kinds: integers, reals, text, bytes

static unsigned group(enum cols_kind k) {
    if (k >= COLS_INT8 && k <= COLS_UINT64) return I;
    return k == COLS_FLOAT || k == COLS_DOUBLE ? R : k == COLS_STRING ? S : k == COLS_BYTES ? B : 0;
}

static const struct plain {
    put_fn *put;
    unsigned groups;
    int64_t arg;
} plains[] = {
    [AVRO_NULL] = {put_null, 0, 0},         [AVRO_BOOLEAN] = {put_bool, 0, 0},    [AVRO_INT] = {put_int, I, 1},
    [AVRO_LONG] = {put_long, I, 1},         [AVRO_FLOAT] = {put_float, I | R, 0}, [AVRO_DOUBLE] = {put_double, I | R, 0},
    [AVRO_BYTES] = {put_bytes, S | B, 0},   [AVRO_STRING] = {put_bytes, S, 0},    [AVRO_RECORD] = {put_record, 0, 0},
    [AVRO_ENUM] = {put_enum, S, 0},         [AVRO_FIXED] = {put_fixed, S | B, 0}, [AVRO_ARRAY] = {put_list, 0, 0},
    [AVRO_MAP] = {put_map, 0, 0},
};

static const struct from_logical {
    enum cols_kind kind;
    put_fn *put;
    int64_t arg;
} from_logical[] = {
    [AVRO_PLAIN] = {COLS_NULL, NULL, 0},
    [AVRO_DECIMAL] = {COLS_DECIMAL, put_decimal, 0},
    [AVRO_DATE] = {COLS_DATE, put_int, 1},
    [AVRO_TIME_MILLIS] = {COLS_TIME, put_int, 1000},
    [AVRO_TIME_MICROS] = {COLS_TIME, put_long, 1},
    [AVRO_TIMESTAMP_MILLIS] = {COLS_TIMESTAMP, put_long, 1000},
    [AVRO_TIMESTAMP_MICROS] = {COLS_TIMESTAMP, put_long, 1},
    [AVRO_TIMESTAMP_NANOS] = {COLS_TIMESTAMP, put_nanos, 0},
    [AVRO_LOCAL_TIMESTAMP_MILLIS] = {COLS_TIMESTAMP, put_long, 1000},
    [AVRO_LOCAL_TIMESTAMP_MICROS] = {COLS_TIMESTAMP, put_long, 1},
    [AVRO_LOCAL_TIMESTAMP_NANOS] = {COLS_TIMESTAMP, put_nanos, 0},
    [AVRO_UUID] = {COLS_UUID, put_uuid, 0},
    [AVRO_DURATION] = {COLS_INTERVAL, put_duration, 0},
};

static enum err_code make(struct avro_encoder *e, struct node *n, const struct avro_schema *s, const struct cols_type *t, const char *path,
                          struct err *err);

static enum err_code cannot(const struct avro_schema *s, const struct cols_type *t, const char *path, struct err *err) {
    struct buf b;
    buf_init(&b, 4096);
    cols_type_text(t, &b);
    enum err_code code =
        err_set(err, ERR_INCOMPATIBLE, "%s: a column of %s cannot be written as Avro %s", path, buf_cstr(&b), avro_kind_name(s->kind));
    buf_fini(&b);
    return code;
}

static enum err_code make_fields(struct avro_encoder *e, struct node *n, const struct avro_schema *s, const struct cols_field *fields,
                                 size_t n_fields, const char *path, struct err *err) {
    struct node *sub = ARENA_ARRAY(&e->arena, struct node, s->n_fields);
    int *columns = ARENA_ARRAY(&e->arena, int, s->n_fields);
    struct str *defaults = ARENA_ARRAY(&e->arena, struct str, s->n_fields);
    struct cols_schema cols = {n_fields, (struct cols_field *)(uintptr_t)fields};
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < s->n_fields && code == ERR_OK; i++) {
        const struct avro_field *f = &s->fields[i];
        const char *inner = path[0] == 0 ? arena_strdup(&e->arena, f->name) : arena_printf(&e->arena, "%s.%s", path, f->name);
        columns[i] = cols_schema_find(&cols, str_c(f->name));
        if (columns[i] >= 0) {
            code = make(e, &sub[i], f->type, &fields[columns[i]].type, inner, err);
            continue;
        }
        if (f->default_json.p == NULL) return err_set(err, ERR_INCOMPATIBLE, "%s: there is no such column, and the Avro field has no default", inner);
        struct buf b;
        buf_init(&b, AVRO_SCHEMA_TEXT_MAX);
        code = avro_encode_json(f->type, f->default_json, &b, err);
        defaults[i] = arena_str(&e->arena, buf_str(&b));
        buf_fini(&b);
    }
    n->sub = sub;
    n->columns = columns;
    n->defaults = defaults;
    n->arg = (int64_t)s->n_fields;
    return code;
}

static void make_symbols(struct avro_encoder *e, struct node *n, const struct avro_schema *s) {
    n->symbols = ARENA_NEW(&e->arena, struct map);
    map_init(n->symbols);
    for (size_t i = 0; i < s->n_symbols; i++) map_put(n->symbols, str_c(s->symbols[i]), (void *)(uintptr_t)(i + 1));
    vec_add(&e->maps, n->symbols);
}

// The first branch that takes the column; a null in the union takes its nulls.
static enum err_code make_union(struct avro_encoder *e, struct node *n, const struct avro_schema *s, const struct cols_type *t, const char *path,
                                struct err *err) {
    int null_branch = -1;
    for (size_t i = 0; i < s->n_branches; i++)
        if (s->branches[i]->kind == AVRO_NULL) null_branch = (int)i;
    if (null_branch >= 0 && t->kind == COLS_NULL) {
        n->put = put_null;
        n->null_branch = null_branch;
        return ERR_OK;
    }
    for (size_t i = 0; i < s->n_branches; i++) {
        if ((int)i == null_branch || make(e, n, s->branches[i], t, path, err) != ERR_OK) continue;
        n->branch = (int)i;
        n->null_branch = null_branch;
        return ERR_OK;
    }
    return cannot(s, t, path, err);
}

static bool takes(const struct avro_schema *s, const struct cols_type *t) {
    if (s->kind == AVRO_BOOLEAN) return t->kind == COLS_BOOL;
    if (s->kind == AVRO_STRING && t->kind == COLS_UUID) return true;
    if (s->kind == AVRO_FIXED && t->kind == COLS_UUID) return s->fixed_size == 16;
    return (plains[s->kind].groups & group(t->kind)) != 0;
}

static enum err_code make(struct avro_encoder *e, struct node *n, const struct avro_schema *s, const struct cols_type *t, const char *path,
                          struct err *err) {
    *n = (struct node){.path = path, .null_branch = -1, .branch = -1};
    if (s->kind == AVRO_UNION) return make_union(e, n, s, t, path, err);
    struct node *sub = ARENA_NEW(&e->arena, struct node);
    n->sub = sub;
    n->put = plains[s->kind].put;
    n->arg = s->kind == AVRO_FIXED ? (int64_t)s->fixed_size : plains[s->kind].arg;
    if (s->kind == AVRO_RECORD && t->kind == COLS_STRUCT) return make_fields(e, n, s, t->fields, t->n_fields, path, err);
    if (s->kind == AVRO_ARRAY && t->kind == COLS_LIST) return make(e, sub, s->items, &t->fields[0].type, path, err);
    if (s->kind == AVRO_MAP && t->kind == COLS_MAP && t->fields[0].type.kind == COLS_STRING)
        return make(e, sub, s->items, &t->fields[1].type, path, err);
    if (s->kind == AVRO_NULL && t->kind == COLS_NULL) return ERR_OK;
    if (s->kind == AVRO_ENUM && t->kind == COLS_STRING) make_symbols(e, n, s);
    const struct from_logical *l = &from_logical[s->logical];
    bool wide = s->logical == AVRO_DECIMAL && s->scale == 0 && t->kind == COLS_UINT64;
    if (l->put != NULL && (l->kind == t->kind || wide)) {
        if (t->kind == COLS_DECIMAL && t->scale != s->scale) return cannot(s, t, path, err);
        n->put = s->kind == AVRO_FIXED && s->logical == AVRO_UUID ? put_fixed : l->put;
        if (s->kind != AVRO_FIXED) n->arg = l->arg;
        return ERR_OK;
    }
    if (s->kind == AVRO_STRING && t->kind == COLS_UUID) n->put = put_uuid;
    return takes(s, t) ? ERR_OK : cannot(s, t, path, err);
}

struct avro_encoder *avro_encoder_new(const struct avro_schema *schema, const struct cols_schema *cols, struct err *err) {
    if (schema->kind != AVRO_RECORD) {
        err_set(err, ERR_NOT_SUPPORTED, "rows are written as Avro records only");
        return NULL;
    }
    struct avro_encoder *e = MEM_NEW(struct avro_encoder);
    arena_init(&e->arena);
    if (make_fields(e, &e->root, schema, cols->fields, cols->n, "", err) == ERR_OK) return e;
    avro_encoder_free(e);
    return NULL;
}

void avro_encoder_free(struct avro_encoder *e) {
    if (e == NULL) return;
    for (size_t i = 0; i < e->maps.n; i++) map_fini(e->maps.p[i]);
    vec_fini(&e->maps);
    arena_fini(&e->arena);
    mem_free(e);
}

enum err_code avro_encode_row(const struct avro_encoder *e, const struct cols_batch *batch, size_t row, struct buf *out, struct err *err) {
    size_t start = out->n;
    enum err_code code = put_fields(&e->root, batch->columns, row, out, err);
    if (code == ERR_OK && out->failed) code = err_set(err, ERR_TOO_LARGE, "the encoded row is larger than its buffer takes (%zu bytes)", out->max);
    if (code != ERR_OK) out->n = start;
    return code;
}
