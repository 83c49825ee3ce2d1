// SPDX-License-Identifier: Apache-2.0
// The decoder's compiler: walks the writer's schema (that is what the bytes follow) beside the reader's (that is what the columns follow) and
// emits one operation per value. What the reader lacks is skipped, what the writer lacks comes from defaults, promotions happen on
// the way, and a branch of a union that cannot be read fails when, and only when, a datum uses it.
#include <stdio.h>

#include "base/map.h"
#include "base/vec.h"
#include "schema/avro.h"
#include "schema/avro_internal.h"
#include "schema/avro_ops.h"

enum { OPS_MAX = 200000, FLAT_MAX = 20000 };

struct compiler {
    struct arena *a;
    struct err *err;
    VEC(struct op) ops;
    VEC(const struct avro_schema *) open; // records under way, to see recursion
    VEC(const struct avro_schema *) skip_of;
    VEC(struct skip *) skips; // the same index: records whose skipping is known
    size_t n_flat, depth;
    const char *field;
};

// ---- columns of a schema ------------------------------------------------------------------------------------------------------------
static enum err_code map_type(struct compiler *c, const struct avro_schema *s, struct cols_field *f);

static enum err_code map_child(struct compiler *c, const struct avro_schema *s, const char *name, struct cols_field *f) {
    f->name = arena_strdup(c->a, name);
    return map_type(c, s, f);
}

static enum err_code map_record(struct compiler *c, const struct avro_schema *s, struct cols_type *t) {
    for (size_t i = 0; i < c->open.n; i++)
        if (c->open.p[i] == s) return err_set(c->err, ERR_NOT_SUPPORTED, "Avro record %s contains itself; columns cannot", s->name);
    vec_add(&c->open, s);
    t->kind = COLS_STRUCT;
    t->n_fields = s->n_fields;
    t->fields = ARENA_ARRAY(c->a, struct cols_field, s->n_fields);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < s->n_fields && code == ERR_OK; i++) code = map_child(c, s->fields[i].type, s->fields[i].name, &t->fields[i]);
    c->open.n--;
    return code;
}

// The name of a union's member: the type's, with its namespace where two would be the same.
static const char *member_name(const struct avro_schema *u, size_t i) {
    const struct avro_schema *b = u->branches[i];
    if (b->name == NULL) return avro_kind_name(b->kind);
    const char *name = avro_short_name(b->name);
    for (size_t k = 0; k < u->n_branches; k++) {
        const struct avro_schema *o = u->branches[k];
        if (k != i && strcmp(o->name != NULL ? avro_short_name(o->name) : avro_kind_name(o->kind), name) == 0) return b->name;
    }
    return name;
}

static enum err_code map_union(struct compiler *c, const struct avro_schema *s, struct cols_field *f) {
    int null_branch;
    const struct avro_schema *only = avro_optional(s, &null_branch);
    if (only != NULL) {
        enum err_code code = map_type(c, only, f);
        f->nullable = f->nullable || null_branch >= 0;
        return code;
    }
    f->type.kind = COLS_STRUCT;
    f->type.fields = ARENA_ARRAY(c->a, struct cols_field, s->n_branches);
    for (size_t i = 0; i < s->n_branches; i++) {
        if (s->branches[i]->kind == AVRO_NULL) {
            f->nullable = true;
            continue;
        }
        struct cols_field *m = &f->type.fields[f->type.n_fields++];
        enum err_code code = map_child(c, s->branches[i], member_name(s, i), m);
        if (code != ERR_OK) return code;
        m->nullable = true;
    }
    if (f->type.n_fields == 0) f->type = (struct cols_type){.kind = COLS_NULL}; // [] and ["null"]
    return ERR_OK;
}

static const struct logical_column {
    enum cols_kind kind;
    bool tz;
} logical_columns[] = {
    [AVRO_DECIMAL] = {COLS_DECIMAL, false},
    [AVRO_DATE] = {COLS_DATE, false},
    [AVRO_TIME_MILLIS] = {COLS_TIME, false},
    [AVRO_TIME_MICROS] = {COLS_TIME, false},
    [AVRO_TIMESTAMP_MILLIS] = {COLS_TIMESTAMP, true},
    [AVRO_TIMESTAMP_MICROS] = {COLS_TIMESTAMP, true},
    [AVRO_TIMESTAMP_NANOS] = {COLS_TIMESTAMP, true},
    [AVRO_LOCAL_TIMESTAMP_MILLIS] = {COLS_TIMESTAMP, false},
    [AVRO_LOCAL_TIMESTAMP_MICROS] = {COLS_TIMESTAMP, false},
    [AVRO_LOCAL_TIMESTAMP_NANOS] = {COLS_TIMESTAMP, false},
    [AVRO_UUID] = {COLS_UUID, false},
    [AVRO_DURATION] = {COLS_INTERVAL, false},
};

static const enum cols_kind plain_columns[] = {
    [AVRO_NULL] = COLS_NULL,     [AVRO_BOOLEAN] = COLS_BOOL,  [AVRO_INT] = COLS_INT32,     [AVRO_LONG] = COLS_INT64,
    [AVRO_FLOAT] = COLS_FLOAT,   [AVRO_DOUBLE] = COLS_DOUBLE, [AVRO_BYTES] = COLS_BYTES,   [AVRO_STRING] = COLS_STRING,
    [AVRO_ENUM] = COLS_STRING,   [AVRO_FIXED] = COLS_BYTES,   [AVRO_RECORD] = COLS_STRUCT, [AVRO_ARRAY] = COLS_LIST,
    [AVRO_MAP] = COLS_MAP,       [AVRO_UNION] = COLS_STRUCT,
};

// A decimal too wide for a column is plain bytes.
static enum avro_logical logical_of(const struct avro_schema *s) {
    return s->logical == AVRO_DECIMAL && s->precision > 38 ? AVRO_PLAIN : s->logical;
}

static enum err_code map_type(struct compiler *c, const struct avro_schema *s, struct cols_field *f) {
    if (++c->n_flat > FLAT_MAX) return err_set(c->err, ERR_TOO_LARGE, "the Avro schema makes more than %d columns", FLAT_MAX);
    struct cols_type *t = &f->type;
    if (s->kind == AVRO_UNION) return map_union(c, s, f);
    if (s->kind == AVRO_RECORD) return map_record(c, s, t);
    if (logical_of(s) != AVRO_PLAIN) {
        t->kind = logical_columns[s->logical].kind;
        t->tz = logical_columns[s->logical].tz;
        t->precision = s->precision;
        t->scale = s->scale;
        return ERR_OK;
    }
    t->kind = plain_columns[s->kind];
    f->nullable = s->kind == AVRO_NULL;
    if (s->kind == AVRO_ARRAY) {
        t->n_fields = 1;
        t->fields = ARENA_ARRAY(c->a, struct cols_field, 1);
        return map_child(c, s->items, "item", &t->fields[0]);
    }
    if (s->kind == AVRO_MAP) {
        t->n_fields = 2;
        t->fields = ARENA_ARRAY(c->a, struct cols_field, 2);
        t->fields[0] = (struct cols_field){.name = "key", .type = {.kind = COLS_STRING}};
        return map_child(c, s->items, "value", &t->fields[1]);
    }
    return ERR_OK;
}

// Columns that a type takes in cols_builder.flat.
static size_t flat_size(const struct cols_type *t) {
    size_t n = t->kind == COLS_MAP ? 2 : 1;
    for (size_t i = 0; i < t->n_fields; i++) n += flat_size(&t->fields[i].type);
    return n;
}

static uint32_t child_col(const struct cols_type *t, uint32_t col, size_t child) {
    col += t->kind == COLS_MAP ? 2 : 1;
    for (size_t i = 0; i < child; i++) col += (uint32_t)flat_size(&t->fields[i].type);
    return col;
}

// ---- skipping -----------------------------------------------------------------------------------------------------------------------
static const struct skip *skip_for(struct compiler *c, const struct avro_schema *s) {
    for (size_t i = 0; i < c->skip_of.n; i++)
        if (c->skip_of.p[i] == s) return c->skips.p[i];
    struct skip *k = ARENA_NEW(c->a, struct skip);
    vec_add(&c->skip_of, s);
    vec_add(&c->skips, k);
    k->kind = s->kind;
    k->size = s->kind == AVRO_FIXED ? s->fixed_size : s->kind == AVRO_BOOLEAN ? 1 : s->kind == AVRO_FLOAT ? 4 : 8;
    k->n = s->kind == AVRO_RECORD ? s->n_fields : s->kind == AVRO_UNION ? s->n_branches : s->items != NULL ? 1 : 0;
    const struct skip **sub = ARENA_ARRAY(c->a, const struct skip *, k->n);
    k->sub = sub;
    for (size_t i = 0; i < k->n; i++)
        sub[i] = skip_for(c, s->kind == AVRO_RECORD ? s->fields[i].type : s->kind == AVRO_UNION ? s->branches[i] : s->items);
    return k;
}

// ---- emitting -----------------------------------------------------------------------------------------------------------------------
static size_t emit(struct compiler *c, op_fn *fn, uint32_t col, int64_t arg) {
    vec_add(&c->ops, ((struct op){.fn = fn, .col = col, .len = 1, .arg = arg, .field = c->field}));
    return c->ops.n - 1;
}

static void close_body(struct compiler *c, size_t at) { c->ops.p[at].len = (uint32_t)(c->ops.n - at); }

static enum err_code value(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, const struct cols_type *t, uint32_t col);

static enum err_code mismatch(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r) {
    return err_set(c->err, ERR_INCOMPATIBLE, "%s%s%s cannot be read as %s", c->field != NULL ? c->field : "", c->field != NULL ? ": " : "",
                   w->name != NULL ? w->name : avro_kind_name(w->kind), r->name != NULL ? r->name : avro_kind_name(r->kind));
}

// One operation per pair of kinds; by the reader's logical type where it has one.
static op_fn *const promotions[AVRO_STRING + 1][AVRO_STRING + 1] = { // [writer][reader]
    [AVRO_NULL][AVRO_NULL] = avro_op_null,
    [AVRO_BOOLEAN][AVRO_BOOLEAN] = avro_op_bool,
    [AVRO_INT][AVRO_INT] = avro_op_int,
    [AVRO_INT][AVRO_LONG] = avro_op_int_to_long,
    [AVRO_INT][AVRO_FLOAT] = avro_op_int_to_float,
    [AVRO_INT][AVRO_DOUBLE] = avro_op_int_to_double,
    [AVRO_LONG][AVRO_LONG] = avro_op_long,
    [AVRO_LONG][AVRO_FLOAT] = avro_op_long_to_float,
    [AVRO_LONG][AVRO_DOUBLE] = avro_op_long_to_double,
    [AVRO_FLOAT][AVRO_FLOAT] = avro_op_float,
    [AVRO_FLOAT][AVRO_DOUBLE] = avro_op_float_to_double,
    [AVRO_DOUBLE][AVRO_DOUBLE] = avro_op_double,
    [AVRO_BYTES][AVRO_BYTES] = avro_op_bytes,
    [AVRO_BYTES][AVRO_STRING] = avro_op_string,
    [AVRO_STRING][AVRO_STRING] = avro_op_string,
    [AVRO_STRING][AVRO_BYTES] = avro_op_bytes,
};

static const struct logical_op {
    op_fn *fn;
    int64_t arg;
} logical_ops[] = {
    [AVRO_PLAIN] = {NULL, 0},
    [AVRO_DECIMAL] = {avro_op_decimal, 0},
    [AVRO_DATE] = {avro_op_int, 0},
    [AVRO_TIME_MILLIS] = {avro_op_int_scaled, 1000},
    [AVRO_TIME_MICROS] = {avro_op_time_micros, 0},
    [AVRO_TIMESTAMP_MILLIS] = {avro_op_long_times, 1000},
    [AVRO_TIMESTAMP_MICROS] = {avro_op_long, 0},
    [AVRO_TIMESTAMP_NANOS] = {avro_op_long_divided, 1000},
    [AVRO_LOCAL_TIMESTAMP_MILLIS] = {avro_op_long_times, 1000},
    [AVRO_LOCAL_TIMESTAMP_MICROS] = {avro_op_long, 0},
    [AVRO_LOCAL_TIMESTAMP_NANOS] = {avro_op_long_divided, 1000},
    [AVRO_UUID] = {avro_op_uuid_text, 0},
    [AVRO_DURATION] = {avro_op_duration, 0},
};

static enum err_code primitive(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, uint32_t col) {
    enum avro_logical logical = logical_of(r);
    op_fn *fn = promotions[w->kind][r->kind];
    if (fn == NULL) return mismatch(c, w, r);
    if (w->logical == AVRO_DECIMAL && r->logical == AVRO_DECIMAL && w->scale != r->scale) return mismatch(c, w, r);
    // Reading an int where a time or timestamp of long is asked for: the int's width does not change its bytes.
    if (logical != AVRO_PLAIN) emit(c, logical_ops[logical].fn, col, logical_ops[logical].arg);
    else emit(c, fn, col, 0);
    return ERR_OK;
}

static enum err_code fixed(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, uint32_t col) {
    if (w->fixed_size != r->fixed_size || !avro_names_match(r, w)) return mismatch(c, w, r);
    if (w->logical == AVRO_DECIMAL && r->logical == AVRO_DECIMAL && w->scale != r->scale) return mismatch(c, w, r);
    enum avro_logical l = logical_of(r);
    emit(c, l == AVRO_DECIMAL ? avro_op_fixed_decimal : l == AVRO_UUID ? avro_op_fixed_16 : l == AVRO_DURATION ? avro_op_duration : avro_op_fixed,
         col, (int64_t)w->fixed_size);
    return ERR_OK;
}

static struct symbol symbol_for(struct compiler *c, const struct avro_schema *r, const char *name) {
    const char *found = r->enum_default;
    for (size_t i = 0; i < r->n_symbols; i++)
        if (strcmp(r->symbols[i], name) == 0) found = name;
    return found == NULL ? (struct symbol){NULL, 0} : (struct symbol){arena_strdup(c->a, found), strlen(found)};
}

static enum err_code enumeration(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, uint32_t col) {
    if (!avro_names_match(r, w)) return mismatch(c, w, r);
    struct symbol *symbols = ARENA_ARRAY(c->a, struct symbol, w->n_symbols);
    for (size_t i = 0; i < w->n_symbols; i++) symbols[i] = symbol_for(c, r, w->symbols[i]);
    size_t at = emit(c, avro_op_enum, col, (int64_t)w->n_symbols);
    c->ops.p[at].u.symbols = symbols;
    return ERR_OK;
}

static enum err_code items(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, const struct cols_type *t, uint32_t col) {
    size_t last = t->n_fields - 1; // the list's item, the map's value
    size_t at = emit(c, r->kind == AVRO_MAP ? avro_op_map : avro_op_list, col, 0);
    enum err_code code = value(c, w->items, r->items, &t->fields[last].type, child_col(t, col, last));
    close_body(c, at);
    return code;
}

static const char *field_path(struct compiler *c, const char *outer, const char *name) {
    return outer == NULL ? arena_strdup(c->a, name) : arena_printf(c->a, "%s.%s", outer, name);
}

static enum err_code defaulted(struct compiler *c, const struct avro_field *f, const struct cols_type *t, uint32_t col) {
    if (f->default_json.p == NULL) return err_set(c->err, ERR_INCOMPATIBLE, "%s: the writer has no such field and the reader no default", c->field);
    struct buf b;
    buf_init(&b, AVRO_SCHEMA_TEXT_MAX);
    enum err_code code = avro_encode_json(f->type, f->default_json, &b, c->err);
    if (code == ERR_OK) {
        size_t at = emit(c, avro_op_default, col, 0);
        c->ops.p[at].u.bytes = arena_str(c->a, buf_str(&b));
        code = value(c, f->type, f->type, t, col);
        close_body(c, at);
    }
    buf_fini(&b);
    return code;
}

// The fields of a record: columns are numbered from `col` on for the reader's first field.
static enum err_code fields(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, const struct cols_field *types,
                            uint32_t col) {
    const char *outer = c->field;
    enum err_code code = ERR_OK;
    uint32_t *cols = ARENA_ARRAY(c->a, uint32_t, r->n_fields + 1);
    int *taken = ARENA_ARRAY(c->a, int, r->n_fields + 1); // the writer's field + 1
    for (size_t i = 0; i < r->n_fields; i++) {
        cols[i] = col;
        col += (uint32_t)flat_size(&types[i].type);
        taken[i] = avro_writer_field(w, &r->fields[i]) + 1;
    }
    for (size_t k = 0; k < w->n_fields && code == ERR_OK; k++) { // in the order of the bytes
        size_t i = 0;
        while (i < r->n_fields && taken[i] != (int)k + 1) i++;
        c->field = field_path(c, outer, w->fields[k].name);
        if (i < r->n_fields) {
            code = value(c, w->fields[k].type, r->fields[i].type, &types[i].type, cols[i]);
            taken[i] = -1;
        } else {
            size_t at = emit(c, avro_op_skip, 0, 0);
            c->ops.p[at].u.skip = skip_for(c, w->fields[k].type);
        }
    }
    for (size_t i = 0; i < r->n_fields && code == ERR_OK; i++) {
        c->field = field_path(c, outer, r->fields[i].name);
        if (taken[i] == 0) code = defaulted(c, &r->fields[i], &types[i].type, cols[i]);
        else if (taken[i] > 0)
            code = err_set(c->err, ERR_INCOMPATIBLE, "%s: two of the reader's fields take the writer's field %s", c->field,
                           w->fields[taken[i] - 1].name);
    }
    c->field = outer;
    return code;
}

// A value of a (not union) writer's type into branch j of the reader's union.
static enum err_code into_branch(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, size_t j,
                                 const struct cols_type *t, uint32_t col) {
    int null_branch;
    if (avro_optional(r, &null_branch) != NULL && (int)j != null_branch) return value(c, w, r->branches[j], t, col);
    if (r->branches[j]->kind == AVRO_NULL) {
        emit(c, avro_op_null, col, 0);
        return ERR_OK;
    }
    emit(c, avro_op_struct, col, 0);
    enum err_code code = ERR_OK;
    size_t member = 0;
    for (size_t i = 0; i < r->n_branches && code == ERR_OK; i++) {
        if (r->branches[i]->kind == AVRO_NULL) continue;
        uint32_t at = child_col(t, col, member);
        if (i == j) code = value(c, w, r->branches[i], &t->fields[member].type, at);
        else emit(c, avro_op_null, at, 0);
        member++;
    }
    return code;
}

static enum err_code from_plain(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, const struct cols_type *t,
                                uint32_t col) {
    if (r->kind != AVRO_UNION) return value(c, w, r, t, col);
    int j = avro_reader_branch(r, w);
    return j < 0 ? mismatch(c, w, r) : into_branch(c, w, r, (size_t)j, t, col);
}

static enum err_code from_union(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, const struct cols_type *t,
                                uint32_t col) {
    int w_null, r_null;
    const struct avro_schema *w_only = avro_optional(w, &w_null), *r_only = r->kind == AVRO_UNION ? avro_optional(r, &r_null) : NULL;
    size_t start = c->ops.n;
    if (w_only != NULL && w_null >= 0 && r_only != NULL && r_null >= 0) {
        size_t at = emit(c, avro_op_nullable, col, w_null);
        enum err_code code = value(c, w_only, r_only, t, col);
        if (code != ERR_INCOMPATIBLE) {
            close_body(c, at);
            return code;
        }
        c->ops.n = start; // perhaps nulls only: the general way
    }
    size_t at = emit(c, avro_op_union, col, (int64_t)w->n_branches), readable = 0;
    uint32_t *starts = ARENA_ARRAY(c->a, uint32_t, w->n_branches + 1);
    c->ops.p[at].u.starts = starts;
    for (size_t i = 0; i < w->n_branches; i++) {
        size_t body = c->ops.n;
        starts[i] = (uint32_t)(body - at);
        enum err_code code = from_plain(c, w->branches[i], r, t, col);
        readable += code == ERR_OK;
        if (code == ERR_INCOMPATIBLE) {
            c->ops.n = body;
            size_t fail_at = emit(c, avro_op_fail, col, 0);
            c->ops.p[fail_at].u.text =
                arena_printf(c->a, "a value of type %s, which the reader's schema does not take", avro_kind_name(w->branches[i]->kind));
        } else if (code != ERR_OK) {
            return code;
        }
    }
    starts[w->n_branches] = (uint32_t)(c->ops.n - at);
    close_body(c, at);
    return readable > 0 || w->n_branches == 0 ? ERR_OK : ERR_INCOMPATIBLE; // the message is the last branch's
}

static enum err_code same_kind(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, const struct cols_type *t,
                               uint32_t col) {
    if (w->kind != r->kind) return mismatch(c, w, r);
    switch (r->kind) {
    case AVRO_FIXED: return fixed(c, w, r, col);
    case AVRO_ENUM: return enumeration(c, w, r, col);
    case AVRO_ARRAY:
    case AVRO_MAP: return items(c, w, r, t, col);
    default: break;
    }
    if (!avro_names_match(r, w)) return mismatch(c, w, r);
    emit(c, avro_op_struct, col, 0);
    return fields(c, w, r, t->fields, col + 1);
}

static enum err_code value(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, const struct cols_type *t, uint32_t col) {
    if (c->ops.n > OPS_MAX) return err_set(c->err, ERR_TOO_LARGE, "the Avro schema makes more than %d decoder operations", OPS_MAX);
    if (c->depth == AVRO_DEPTH_MAX * 2) return err_set(c->err, ERR_TOO_LARGE, "the Avro schema is nested too deep");
    c->depth++;
    enum err_code code;
    if (w->kind == AVRO_UNION) code = from_union(c, w, r, t, col);
    else if (r->kind == AVRO_UNION) code = from_plain(c, w, r, t, col);
    else if (w->kind <= AVRO_STRING && r->kind <= AVRO_STRING) code = primitive(c, w, r, col);
    else code = same_kind(c, w, r, t, col);
    c->depth--;
    return code;
}

// ---- decoders -------------------------------------------------------------------------------------------------------------------------
static enum err_code compile(struct compiler *c, const struct avro_schema *w, const struct avro_schema *r, struct cols_schema *s) {
    struct cols_field top = {.name = "value"};
    enum err_code code = map_type(c, r, &top);
    if (code != ERR_OK) return code;
    if (r->kind != AVRO_RECORD) {
        s->n = 1;
        s->fields = ARENA_NEW(c->a, struct cols_field);
        s->fields[0] = top;
        c->field = "value";
        return value(c, w, r, &s->fields[0].type, 0);
    }
    s->n = r->n_fields;
    s->fields = top.type.fields;
    if (w->kind == AVRO_RECORD) return avro_names_match(r, w) ? fields(c, w, r, s->fields, 0) : mismatch(c, w, r);
    return mismatch(c, w, r);
}

struct avro_decoder *avro_decoder_new(const struct avro_schema *writer, const struct avro_schema *reader, struct err *err) {
    struct avro_decoder *d = MEM_NEW(struct avro_decoder);
    arena_init(&d->arena);
    struct compiler c = {.a = &d->arena, .err = err};
    struct cols_schema *s = ARENA_NEW(&d->arena, struct cols_schema);
    enum err_code code = compile(&c, writer, reader == NULL ? writer : reader, s);
    d->schema = s;
    d->n_ops = c.ops.n;
    d->ops = ARENA_ARRAY(&d->arena, struct op, c.ops.n);
    if (c.ops.n > 0) memcpy(d->ops, c.ops.p, c.ops.n * sizeof *d->ops);
    vec_fini(&c.ops);
    vec_fini(&c.open);
    vec_fini(&c.skip_of);
    vec_fini(&c.skips);
    if (code == ERR_OK) return d;
    avro_decoder_free(d);
    return NULL;
}

void avro_decoder_free(struct avro_decoder *d) {
    if (d == NULL) return;
    arena_fini(&d->arena);
    mem_free(d);
}

const struct cols_schema *avro_decoder_schema(const struct avro_decoder *d) { return d->schema; }
