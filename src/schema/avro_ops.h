// SPDX-License-Identifier: Apache-2.0
// The decoder's program, between its compiler (avro_compile.c) and its operations (avro_run.c); not for other rooms.
//
// A program is an array of operations. Each is a function that reads from the cursor, appends to the column it names and returns the next
// operation, or NULL when the datum is bad. An operation with a body (list, map, union, default) is followed by that body
// and runs it itself; `len` leads behind it. Columns are numbered as in cols_builder.flat.
#ifndef SCHEMA_AVRO_OPS_H
#define SCHEMA_AVRO_OPS_H

#include "schema/avro.h"

struct op;
struct run {
    const uint8_t *p, *end;
    struct cols_out *const *flat;
    size_t items;           // of arrays and maps so far
    size_t empty;           // of those, in blocks with more items than bytes left
    const uint8_t *start;   // for the place in messages
    const struct op *at;    // the operation that failed
    const char *why;        // a constant text; NULL = the bytes ran out
    enum err_code code;
};

typedef const struct op *op_fn(struct run *r, const struct op *op);

struct skip { // how to pass over a writer's value that the reader does not want
    enum avro_kind kind;
    size_t size, n;
    const struct skip **sub;
};

struct symbol {
    const char *p; // NULL = the reader does not know it
    size_t n;
};

struct op {
    op_fn *fn;
    uint32_t col;
    uint32_t len;     // operations of this one with its body: op + len is the next
    int64_t arg;      // factor, size, branch, number of branches or symbols
    const char *field; // for messages: "address.city"
    union {
        const struct skip *skip;
        const struct symbol *symbols;
        const uint32_t *starts; // union: where each branch begins, from this operation; n + 1 of them
        const char *text;       // fail: why
        struct str bytes;       // default
    } u;
};

op_fn avro_op_null, avro_op_bool, avro_op_int, avro_op_int_scaled, avro_op_int_to_long, avro_op_int_to_float, avro_op_int_to_double,
    avro_op_long, avro_op_long_times, avro_op_long_divided, avro_op_long_to_float, avro_op_long_to_double, avro_op_time_micros, avro_op_float,
    avro_op_float_to_double, avro_op_double, avro_op_bytes, avro_op_string, avro_op_uuid_text, avro_op_decimal, avro_op_fixed,
    avro_op_fixed_decimal, avro_op_fixed_16, avro_op_duration, avro_op_enum, avro_op_nullable, avro_op_union, avro_op_list, avro_op_map,
    avro_op_struct, avro_op_skip, avro_op_default, avro_op_fail;

struct avro_decoder {
    struct arena arena;
    const struct cols_schema *schema;
    size_t n_ops, n_flat;
    struct op *ops;
};

#endif
