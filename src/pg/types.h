// SPDX-License-Identifier: Apache-2.0
// PostgreSQL's types as far as the door speaks them: type OIDs of columns, values in text and binary format, parameters.
// Pure functions, any thread. Binary formats: the send and receive functions of PostgreSQL's src/backend/utils/adt.
#ifndef PG_TYPES_H
#define PG_TYPES_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "cols/cols.h"

enum pg_oid {
    PG_BOOL = 16,
    PG_BYTEA = 17,
    PG_CHAR = 18,
    PG_NAME = 19,
    PG_INT8 = 20,
    PG_INT2 = 21,
    PG_INT4 = 23,
    PG_REGPROC = 24,
    PG_TEXT = 25,
    PG_OID = 26,
    PG_JSON = 114,
    PG_FLOAT4 = 700,
    PG_FLOAT8 = 701,
    PG_UNKNOWN = 705,
    PG_BPCHAR = 1042,
    PG_VARCHAR = 1043,
    PG_DATE = 1082,
    PG_TIME = 1083,
    PG_TIMESTAMP = 1114,
    PG_TIMESTAMPTZ = 1184,
    PG_INTERVAL = 1186,
    PG_NUMERIC = 1700,
    PG_UUID = 2950,
    PG_JSONB = 3802,
};

struct pg_type {
    uint32_t oid;
    const char *name;     // pg_type.typname
    const char *sql_name; // what format_type() prints
    int16_t len;          // pg_type.typlen, -1 = variable
    uint32_t array_oid;   // 0 = none
    const char *engine;   // the engine's type for a cast of a parameter; NULL = leave it as it is
};

extern const struct pg_type pg_types[];
extern const size_t pg_n_types;
const struct pg_type *pg_type_find(uint32_t oid); // NULL = not one of ours
uint32_t pg_type_of(const struct cols_type *t);   // the OID of a column
int32_t pg_typmod_of(const struct cols_type *t);  // -1, or numeric's precision and scale

// Appends the value without its length. The value is not null.
void pg_value_text(const struct cols_column *c, size_t row, struct buf *out);
enum err_code pg_value_binary(const struct cols_column *c, size_t row, struct buf *out, struct err *err);

// A parameter in binary format as text that the engine can cast. ERR_NOT_SUPPORTED for types without a binary reader here.
enum err_code pg_param_text(uint32_t oid, struct str bytes, struct arena *a, struct str *out, struct err *err);
// A parameter in text format as text that the engine can cast: bytea's hexadecimal is spelt otherwise there, all else is the same.
enum err_code pg_param_from_text(uint32_t oid, struct str text, struct arena *a, struct str *out, struct err *err);

#endif
