// SPDX-License-Identifier: Apache-2.0
// Column types and batches: the table of kinds, copying, comparing, freeing and checking. Batches are read-only: any thread may read one.
#include "cols/cols.h"

#include <assert.h>

static const struct kind {
    const char *name;
    size_t width;
    bool offsets;
} kinds[] = {
    [COLS_BOOL] = {"bool", 0, false},      [COLS_INT8] = {"int8", 1, false},         [COLS_INT16] = {"int16", 2, false},
    [COLS_INT32] = {"int32", 4, false},    [COLS_INT64] = {"int64", 8, false},       [COLS_UINT8] = {"uint8", 1, false},
    [COLS_UINT16] = {"uint16", 2, false},  [COLS_UINT32] = {"uint32", 4, false},     [COLS_UINT64] = {"uint64", 8, false},
    [COLS_FLOAT] = {"float", 4, false},    [COLS_DOUBLE] = {"double", 8, false},     [COLS_DECIMAL] = {"decimal", 16, false},
    [COLS_DATE] = {"date", 4, false},      [COLS_TIME] = {"time", 8, false},         [COLS_TIMESTAMP] = {"timestamp", 8, false},
    [COLS_INTERVAL] = {"interval", 16, false}, [COLS_UUID] = {"uuid", 16, false},    [COLS_STRING] = {"string", 0, true},
    [COLS_BYTES] = {"bytes", 0, true},     [COLS_LIST] = {"list", 0, true},          [COLS_STRUCT] = {"struct", 0, false},
    [COLS_MAP] = {"map", 0, true},         [COLS_NULL] = {"null", 0, false},
};

size_t cols_kind_width(enum cols_kind kind) { return kinds[kind].width; }
const char *cols_kind_name(enum cols_kind kind) { return kinds[kind].name; }

void cols_type_text(const struct cols_type *t, struct buf *out) {
    buf_puts(out, kinds[t->kind].name);
    if (t->kind == COLS_DECIMAL) buf_printf(out, "(%u,%u)", t->precision, t->scale);
    if (t->kind == COLS_TIMESTAMP && t->tz) buf_puts(out, "_tz");
    if (t->n_fields == 0) return;
    buf_puts(out, "<");
    for (size_t i = 0; i < t->n_fields; i++) {
        if (i > 0) buf_puts(out, ", ");
        if (t->kind == COLS_STRUCT) buf_printf(out, "%s: ", t->fields[i].name);
        cols_type_text(&t->fields[i].type, out);
    }
    buf_puts(out, ">");
}

static struct cols_field *copy_fields(const struct cols_field *from, size_t n, struct arena *a) {
    struct cols_field *to = ARENA_ARRAY(a, struct cols_field, n);
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i];
        to[i].name = arena_strdup(a, from[i].name);
        to[i].type.fields = copy_fields(from[i].type.fields, from[i].type.n_fields, a);
    }
    return to;
}

struct cols_schema *cols_schema_copy(const struct cols_schema *s, struct arena *a) {
    struct cols_schema *c = ARENA_NEW(a, struct cols_schema);
    c->n = s->n;
    c->fields = copy_fields(s->fields, s->n, a);
    return c;
}

bool cols_type_eq(const struct cols_type *a, const struct cols_type *b) {
    if (a->kind != b->kind || a->n_fields != b->n_fields) return false;
    if (a->kind == COLS_DECIMAL && (a->precision != b->precision || a->scale != b->scale)) return false;
    if (a->kind == COLS_TIMESTAMP && a->tz != b->tz) return false;
    for (size_t i = 0; i < a->n_fields; i++) {
        if (a->kind == COLS_STRUCT && strcmp(a->fields[i].name, b->fields[i].name) != 0) return false;
        if (!cols_type_eq(&a->fields[i].type, &b->fields[i].type)) return false;
    }
    return true;
}

int cols_schema_find(const struct cols_schema *s, struct str name) {
    for (size_t i = 0; i < s->n; i++)
        if (str_eqc(name, s->fields[i].name)) return (int)i;
    return -1;
}

// ---- batches ----------------------------------------------------------------------------------------------------------------
void cols_batch_free(struct cols_batch *b) {
    if (b != NULL) b->release(b);
}

static void column_free(struct cols_column *c) {
    mem_free(c->validity);
    mem_free(c->values);
    mem_free(c->offsets);
    mem_free(c->data);
    for (size_t i = 0; i < c->n_children; i++) column_free(&c->children[i]);
}

static void release(struct cols_batch *b) {
    for (size_t i = 0; i < b->schema->n; i++) column_free(&b->columns[i]);
    arena_fini(&b->arena);
    mem_free(b);
}

static void column_init(struct cols_column *c, const struct cols_type *t, size_t n, struct arena *a) {
    c->type = t;
    c->n = n;
    // A map's one child is the struct of its key and value; the type has the two fields directly.
    c->n_children = t->kind == COLS_MAP ? 1 : t->n_fields;
    c->children = ARENA_ARRAY(a, struct cols_column, c->n_children);
    if (t->kind == COLS_MAP) {
        struct cols_type *entry = ARENA_NEW(a, struct cols_type);
        *entry = (struct cols_type){.kind = COLS_STRUCT, .n_fields = t->n_fields, .fields = t->fields};
        column_init(&c->children[0], entry, 0, a);
        return;
    }
    for (size_t i = 0; i < t->n_fields; i++) column_init(&c->children[i], &t->fields[i].type, t->kind == COLS_LIST ? 0 : n, a);
}

struct cols_batch *cols_batch_new(const struct cols_schema *schema, size_t n) {
    struct cols_batch *b = MEM_NEW(struct cols_batch);
    b->schema = schema;
    b->n = n;
    b->release = release;
    arena_init(&b->arena);
    b->columns = ARENA_ARRAY(&b->arena, struct cols_column, schema->n);
    for (size_t i = 0; i < schema->n; i++) column_init(&b->columns[i], &schema->fields[i].type, n, &b->arena);
    return b;
}

// ---- checking -----------------------------------------------------------------------------------------------------------------
static const char *check_nulls(const struct cols_column *c) {
    if (c->type->kind == COLS_NULL) return c->n_null == c->n ? NULL : "a null column that is not all null";
    size_t nulls = 0;
    for (size_t i = 0; i < c->n; i++) nulls += !cols_is_valid(c, i);
    return nulls == c->n_null ? NULL : "the null count is wrong";
}

static const char *check_offsets(const struct cols_column *c, size_t limit) {
    if (c->offsets == NULL) return c->n == 0 ? NULL : "no offsets";
    if (c->offsets[0] != 0) return "the first offset is not 0";
    for (size_t i = 0; i < c->n; i++)
        if (c->offsets[i + 1] < c->offsets[i]) return "an offset goes back";
    return (size_t)c->offsets[c->n] == limit ? NULL : "the last offset is not the length of the data";
}

static const char *check_column(const struct cols_column *c, size_t n) {
    const struct cols_type *t = c->type;
    if (c->n != n) return "its length is not the batch's";
    const char *bad = check_nulls(c);
    if (bad != NULL) return bad;
    if ((kinds[t->kind].width > 0 || t->kind == COLS_BOOL) && c->values == NULL && n > 0) return "no values";
    if (c->n_children != (t->kind == COLS_MAP ? 1 : t->n_fields)) return "the number of children is wrong";
    if (kinds[t->kind].offsets) bad = check_offsets(c, c->n_children == 0 ? c->data_len : c->children[0].n);
    if (bad == NULL && t->kind == COLS_STRING)
        for (size_t i = 0; i < n && bad == NULL; i++)
            if (cols_is_valid(c, i) && !str_utf8_ok(cols_str(c, i))) bad = "a string is not UTF-8";
    for (size_t i = 0; i < c->n_children && bad == NULL; i++) bad = check_column(&c->children[i], t->kind == COLS_STRUCT ? n : c->children[i].n);
    return bad;
}

enum err_code cols_batch_check(const struct cols_batch *b, struct err *err) {
    for (size_t i = 0; i < b->schema->n; i++) {
        if (b->columns[i].type == NULL) return err_set(err, ERR_INTERNAL, "column %s has no type", b->schema->fields[i].name);
        const char *bad = check_column(&b->columns[i], b->n);
        if (bad != NULL) return err_set(err, ERR_INTERNAL, "column %s: %s", b->schema->fields[i].name, bad);
    }
    return ERR_OK;
}
