// SPDX-License-Identifier: Apache-2.0
// Growing columns. A builder is one thread's; a finished batch owns the buffers that the builder grew. After finishing, the next batch starts
// with the room that the last one needed, so that a stream of batches does not grow from nothing again and again.
#include "cols/builder.h"

#include <assert.h>

enum { CAP_MIN = 16, CAP_DATA_MIN = 256 };

static size_t bitmap_bytes(size_t n) { return (n + 7) / 8; }
static bool has_offsets(enum cols_kind k) { return k == COLS_STRING || k == COLS_BYTES || k == COLS_LIST || k == COLS_MAP; }

static void out_init(struct cols_out *c, const struct cols_type *t, struct arena *a) {
    c->type = t;
    c->width = cols_kind_width(t->kind);
    c->n_children = t->kind == COLS_MAP ? 1 : t->n_fields;
    c->children = ARENA_ARRAY(a, struct cols_out, c->n_children);
    if (t->kind == COLS_MAP) {
        struct cols_type *entry = ARENA_NEW(a, struct cols_type);
        *entry = (struct cols_type){.kind = COLS_STRUCT, .n_fields = t->n_fields, .fields = t->fields};
        out_init(&c->children[0], entry, a);
        return;
    }
    for (size_t i = 0; i < t->n_fields; i++) out_init(&c->children[i], &t->fields[i].type, a);
}

static void out_fini(struct cols_out *c) {
    mem_free(c->validity);
    mem_free(c->values);
    mem_free(c->offsets);
    mem_free(c->data);
    for (size_t i = 0; i < c->n_children; i++) out_fini(&c->children[i]);
}

// ---- room ---------------------------------------------------------------------------------------------------------------------
static void set_cap(struct cols_out *c, size_t cap) {
    enum cols_kind k = c->type->kind;
    if (c->width > 0) c->values = mem_realloc(c->values, cap * c->width);
    if (k == COLS_BOOL) c->values = mem_realloc(c->values, bitmap_bytes(cap));
    if (has_offsets(k)) {
        c->offsets = mem_realloc(c->offsets, (cap + 1) * sizeof *c->offsets);
        if (c->cap == 0) c->offsets[0] = 0;
    }
    if (c->validity != NULL) {
        c->validity = mem_realloc(c->validity, bitmap_bytes(cap));
        memset(c->validity + bitmap_bytes(c->cap), 0xFF, bitmap_bytes(cap) - bitmap_bytes(c->cap));
    }
    c->cap = cap;
}

void cols_out_grow(struct cols_out *c) { set_cap(c, c->cap < CAP_MIN / 2 ? CAP_MIN : c->cap * 2); }

bool cols_out_grow_data(struct cols_out *c, size_t more) {
    if (more > COLS_DATA_MAX || c->data_len > COLS_DATA_MAX - more) return false;
    size_t cap = c->data_cap < CAP_DATA_MIN ? CAP_DATA_MIN : c->data_cap;
    while (cap < c->data_len + more) cap *= 2;
    if (cap > COLS_DATA_MAX) cap = COLS_DATA_MAX;
    c->data = mem_realloc(c->data, cap);
    c->data_cap = cap;
    return true;
}

// ---- null, truncation -----------------------------------------------------------------------------------------------------------
void cols_out_null(struct cols_out *c) {
    cols_out_room(c);
    if (c->validity == NULL) {
        c->validity = mem_alloc(bitmap_bytes(c->cap));
        memset(c->validity, 0xFF, bitmap_bytes(c->cap));
    }
    c->validity[c->n >> 3] = (uint8_t)(c->validity[c->n >> 3] & ~(1u << (c->n & 7)));
    c->n_null++;
    switch (c->type->kind) {
    case COLS_BOOL: cols_out_bool(c, false); return;
    case COLS_STRING:
    case COLS_BYTES:
    case COLS_LIST:
    case COLS_MAP: c->offsets[c->n + 1] = c->offsets[c->n]; break;
    case COLS_STRUCT:
        for (size_t i = 0; i < c->n_children; i++) cols_out_null(&c->children[i]);
        break;
    default: memset((uint8_t *)c->values + c->n * c->width, 0, c->width); break;
    case COLS_NULL: break;
    }
    c->n++;
}

void cols_out_truncate(struct cols_out *c, size_t n) {
    assert(n <= c->n);
    if (c->validity != NULL) {
        for (size_t i = n; i < c->n; i++) {
            uint8_t bit = (uint8_t)(1u << (i & 7));
            c->n_null -= (c->validity[i >> 3] & bit) == 0;
            c->validity[i >> 3] |= bit;
        }
    }
    c->n = n;
    enum cols_kind k = c->type->kind;
    if (has_offsets(k) && c->offsets != NULL) {
        size_t end = (size_t)c->offsets[n];
        if (k == COLS_STRING || k == COLS_BYTES) c->data_len = end;
        else cols_out_truncate(&c->children[0], end);
    } else if (has_offsets(k) && c->n_children > 0) { // no value yet, but elements of the first one
        cols_out_truncate(&c->children[0], 0);
    }
    if (k == COLS_STRUCT) // a child may be one behind when the row stopped in the middle
        for (size_t i = 0; i < c->n_children; i++) cols_out_truncate(&c->children[i], n < c->children[i].n ? n : c->children[i].n);
}

// ---- builders -------------------------------------------------------------------------------------------------------------------
struct builder { // what the outside does not see
    struct cols_builder b;
    struct arena arena;
};

static size_t count_flat(const struct cols_out *c, size_t n) {
    size_t sum = n;
    for (size_t i = 0; i < n; i++) sum += count_flat(c[i].children, c[i].n_children);
    return sum;
}

static void list_flat(struct cols_out *c, size_t n, struct cols_builder *b) {
    for (size_t i = 0; i < n; i++) {
        b->flat[b->n_flat++] = &c[i];
        list_flat(c[i].children, c[i].n_children, b);
    }
}

struct cols_builder *cols_builder_new(const struct cols_schema *schema, size_t rows_hint) {
    struct builder *in = MEM_NEW(struct builder);
    struct cols_builder *b = &in->b;
    arena_init(&in->arena);
    b->schema = schema;
    b->hint = rows_hint < CAP_MIN ? CAP_MIN : (rows_hint + 7) & ~(size_t)7;
    b->cols = ARENA_ARRAY(&in->arena, struct cols_out, schema->n);
    for (size_t i = 0; i < schema->n; i++) {
        out_init(&b->cols[i], &schema->fields[i].type, &in->arena);
        set_cap(&b->cols[i], b->hint);
    }
    b->flat = ARENA_ARRAY(&in->arena, struct cols_out *, count_flat(b->cols, schema->n));
    list_flat(b->cols, schema->n, b);
    return b;
}

void cols_builder_free(struct cols_builder *b) {
    if (b == NULL) return;
    struct builder *in = (struct builder *)b; // its first member
    for (size_t i = 0; i < b->schema->n; i++) out_fini(&b->cols[i]);
    arena_fini(&in->arena);
    mem_free(in);
}

size_t cols_builder_rows(const struct cols_builder *b) { return b->rows; }
bool cols_builder_failed(const struct cols_builder *b) { return b->failed; }

size_t cols_builder_bytes(const struct cols_builder *b) {
    size_t sum = 0;
    for (size_t i = 0; i < b->n_flat; i++) {
        const struct cols_out *c = b->flat[i];
        sum += c->n * c->width + c->data_len + (c->validity != NULL ? bitmap_bytes(c->n) : 0);
        if (c->offsets != NULL) sum += (c->n + 1) * sizeof *c->offsets;
        if (c->type->kind == COLS_BOOL) sum += bitmap_bytes(c->n);
    }
    return sum;
}

void cols_put_null(struct cols_builder *b, size_t col) { cols_out_null(&b->cols[col]); }
void cols_put_bool(struct cols_builder *b, size_t col, bool v) {
    assert(b->cols[col].type->kind == COLS_BOOL);
    cols_out_bool(&b->cols[col], v);
}

void cols_put_int(struct cols_builder *b, size_t col, int64_t v) {
    struct cols_out *c = &b->cols[col];
    assert(c->width == 1 || c->width == 2 || c->width == 4 || c->width == 8);
    cols_out_room(c);
    memcpy((uint8_t *)c->values + c->n++ * c->width, &v, c->width); // little-endian: the low bytes
}

void cols_put_double(struct cols_builder *b, size_t col, double v) {
    struct cols_out *c = &b->cols[col];
    assert(c->type->kind == COLS_DOUBLE || c->type->kind == COLS_FLOAT);
    if (c->type->kind == COLS_DOUBLE) cols_out_double(c, v);
    else cols_out_float(c, (float)v);
}

void cols_put_bytes(struct cols_builder *b, size_t col, const void *p, size_t n) {
    struct cols_out *c = &b->cols[col];
    if (c->width == 16) {
        assert(n == 16);
        cols_out_16(c, p);
    } else if (!cols_out_bytes(c, p, n)) {
        b->failed = true;
        cols_out_null(c);
    }
}

void cols_row_end(struct cols_builder *b) {
    b->rows++;
#ifndef NDEBUG
    for (size_t i = 0; i < b->schema->n; i++) assert(b->cols[i].n == b->rows);
#endif
}

void cols_builder_rollback(struct cols_builder *b) {
    for (size_t i = 0; i < b->schema->n; i++)
        if (b->cols[i].n > b->rows || b->cols[i].n_children > 0) cols_out_truncate(&b->cols[i], b->rows < b->cols[i].n ? b->rows : b->cols[i].n);
}

// Moves the buffers into the column and leaves the builder empty, with the same room for the next batch.
static void move_column(struct cols_out *o, struct cols_column *c) {
    c->n = o->n;
    c->n_null = o->type->kind == COLS_NULL ? o->n : o->n_null;
    c->validity = o->validity;
    if (o->n_null == 0 || o->type->kind == COLS_NULL) {
        mem_free(c->validity);
        c->validity = NULL;
    }
    c->values = o->values;
    c->offsets = o->offsets;
    c->data = o->data;
    if (c->data == NULL && (o->type->kind == COLS_STRING || o->type->kind == COLS_BYTES)) c->data = mem_zalloc(1); // readers add offsets to it
    c->data_len = o->data_len;
    for (size_t i = 0; i < o->n_children; i++) move_column(&o->children[i], &c->children[i]);
    size_t cap = o->cap, data_cap = o->data_cap;
    if (cap == 0 && has_offsets(o->type->kind)) c->offsets = mem_zalloc(sizeof *c->offsets);
    o->n = o->n_null = o->cap = o->data_len = o->data_cap = 0;
    o->validity = o->data = NULL;
    o->values = NULL;
    o->offsets = NULL;
    if (cap > 0) set_cap(o, cap);
    if (data_cap > 0) cols_out_grow_data(o, data_cap);
}

struct cols_batch *cols_builder_finish(struct cols_builder *b) {
    cols_builder_rollback(b);
    struct cols_batch *batch = cols_batch_new(b->schema, b->rows);
    for (size_t i = 0; i < b->schema->n; i++) move_column(&b->cols[i], &batch->columns[i]);
    b->rows = 0;
    b->failed = false;
    return batch;
}
