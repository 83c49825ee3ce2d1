// SPDX-License-Identifier: Apache-2.0
// The inside of a cols_builder, for decoders on the hot path: typed appends straight into a column's buffers. One owner, no locks.
//
// A column under way (struct cols_out) has room for `cap` values. Its validity bitmap appears with the first null and is all ones where
// nothing was written, so that a valid value does not touch it. Children of a STRUCT have as many values as it has (also where it
// is null); LIST and MAP say by offsets how many of the child's values are theirs. A row that goes wrong half-way is taken
// back by cols_builder_rollback: no marks are needed, lengths say it all.
#ifndef COLS_BUILDER_H
#define COLS_BUILDER_H

#include "cols/cols.h"

enum { COLS_DATA_MAX = 1 << 30 }; // bytes of one STRING or BYTES column; values in a child

struct cols_out {
    const struct cols_type *type;
    size_t n, cap, n_null;
    uint8_t *validity;
    void *values;
    int32_t *offsets;
    uint8_t *data;
    size_t data_len, data_cap;
    size_t width; // bytes per value, 0 = bitmap or variable
    size_t n_children;
    struct cols_out *children;
};

struct cols_builder {
    const struct cols_schema *schema;
    size_t rows, hint;
    bool failed; // a maximum was exceeded by cols_put_*: a null was put instead
    struct cols_out *cols; // schema->n
    size_t n_flat;
    struct cols_out **flat; // every column with its children, depth first (parent before children)
};

void cols_out_grow(struct cols_out *c);                     // doubles the room for values
bool cols_out_grow_data(struct cols_out *c, size_t more);   // false: COLS_DATA_MAX
void cols_out_null(struct cols_out *c);                     // with null or zero children as the layout wants it
void cols_out_truncate(struct cols_out *c, size_t n);       // back to n values
void cols_builder_rollback(struct cols_builder *b);         // drops what was put since the last cols_row_end

static inline void cols_out_room(struct cols_out *c) {
    if (__builtin_expect(c->n == c->cap, 0)) cols_out_grow(c);
}
static inline void cols_out_bool(struct cols_out *c, bool v) {
    cols_out_room(c);
    uint8_t *byte = (uint8_t *)c->values + (c->n >> 3), bit = (uint8_t)(1u << (c->n & 7));
    *byte = (uint8_t)(v ? *byte | bit : *byte & ~bit);
    c->n++;
}
static inline void cols_out_i32(struct cols_out *c, int32_t v) {
    cols_out_room(c);
    ((int32_t *)c->values)[c->n++] = v;
}
static inline void cols_out_i64(struct cols_out *c, int64_t v) {
    cols_out_room(c);
    ((int64_t *)c->values)[c->n++] = v;
}
static inline void cols_out_float(struct cols_out *c, float v) {
    cols_out_room(c);
    ((float *)c->values)[c->n++] = v;
}
static inline void cols_out_double(struct cols_out *c, double v) {
    cols_out_room(c);
    ((double *)c->values)[c->n++] = v;
}
static inline void cols_out_16(struct cols_out *c, const void *p) { // DECIMAL, UUID, INTERVAL
    cols_out_room(c);
    memcpy((uint8_t *)c->values + c->n++ * 16, p, 16);
}
static inline bool cols_out_bytes(struct cols_out *c, const void *p, size_t n) { // false: COLS_DATA_MAX, nothing was put
    cols_out_room(c);
    if (__builtin_expect(c->data_cap - c->data_len < n, 0) && !cols_out_grow_data(c, n)) return false;
    if (n > 0) memcpy(c->data + c->data_len, p, n);
    c->data_len += n;
    c->offsets[++c->n] = (int32_t)c->data_len;
    return true;
}
// A LIST or MAP value whose elements were put into the child before.
static inline void cols_out_list(struct cols_out *c) {
    cols_out_room(c);
    c->offsets[++c->n] = (int32_t)c->children[0].n;
}
// A valid STRUCT value; its children get one value each, before or after.
static inline void cols_out_struct(struct cols_out *c) {
    cols_out_room(c);
    c->n++;
}

#endif
