// SPDX-License-Identifier: Apache-2.0
// Column batches in Arrow's memory layout (https://arrow.apache.org/docs/format/Columnar.html): what flows between decoder, engine,
// doors and lake. A batch is built by one thread, then read-only; it owns its memory and is freed whole.
#ifndef COLS_COLS_H
#define COLS_COLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

enum cols_kind {
    COLS_BOOL,      // values: bitmap, bit i of byte i/8, least significant first
    COLS_INT8,
    COLS_INT16,
    COLS_INT32,
    COLS_INT64,
    COLS_UINT8,
    COLS_UINT16,
    COLS_UINT32,
    COLS_UINT64,
    COLS_FLOAT,
    COLS_DOUBLE,
    COLS_DECIMAL,   // values: 16 bytes little-endian two's complement, scaled by 10^scale
    COLS_DATE,      // int32 days since 1970-01-01
    COLS_TIME,      // int64 microseconds since midnight
    COLS_TIMESTAMP, // int64 microseconds since 1970-01-01; tz: an instant (UTC), else wall-clock time without zone
    COLS_INTERVAL,  // struct cols_interval
    COLS_UUID,      // 16 bytes big-endian
    COLS_STRING,    // UTF-8; offsets int32[n+1] + data
    COLS_BYTES,     // offsets int32[n+1] + data
    COLS_LIST,      // offsets int32[n+1] + child 0
    COLS_STRUCT,    // children
    COLS_MAP,       // offsets int32[n+1] + child 0 = STRUCT(key, value)
    COLS_NULL,      // no buffers, all null
};

struct cols_interval {
    int32_t months, days;
    int64_t nanos;
};

struct cols_field;
struct cols_type {
    enum cols_kind kind;
    uint8_t precision, scale; // DECIMAL
    bool tz;                  // TIMESTAMP
    size_t n_fields;          // LIST 1 (element), STRUCT n, MAP 2 (key, value)
    struct cols_field *fields;
};

struct cols_field {
    const char *name;
    struct cols_type type;
    bool nullable;
};

// Schemas live in an arena given at making; never freed singly.
struct cols_schema {
    size_t n;
    struct cols_field *fields;
};

struct cols_column {
    const struct cols_type *type;
    size_t n, n_null;
    uint8_t *validity; // bitmap, 1 = valid; NULL = all valid
    void *values;      // fixed-width kinds
    int32_t *offsets;  // STRING, BYTES, LIST, MAP: n + 1
    uint8_t *data;     // STRING, BYTES
    size_t data_len;
    size_t n_children;
    struct cols_column *children;
};

struct cols_batch {
    const struct cols_schema *schema; // outlives the batch
    size_t n;
    struct cols_column *columns; // schema->n of them
    struct arena arena;          // may hold the columns' memory
    void (*release)(struct cols_batch *b); // frees everything behind the batch, then the batch; never NULL
};

void cols_batch_free(struct cols_batch *b); // b may be NULL
// A batch with empty columns (types and children set, n as given) for rooms that fill the buffers themselves: buffers from mem_alloc; the
// release function given here frees them.
struct cols_batch *cols_batch_new(const struct cols_schema *schema, size_t n);
// Checks what a reader relies on: lengths of children, offsets that rise and stay inside, null counts. For tests and asserts; the
// message names the column.
enum err_code cols_batch_check(const struct cols_batch *b, struct err *err);

size_t cols_kind_width(enum cols_kind kind);        // bytes per value; 0 = bitmap or variable
const char *cols_kind_name(enum cols_kind kind);    // "int64"
void cols_type_text(const struct cols_type *t, struct buf *out); // "decimal(10,2)", "list<string>", "timestamp" / "timestamp_tz"
struct cols_schema *cols_schema_copy(const struct cols_schema *s, struct arena *a);
bool cols_type_eq(const struct cols_type *a, const struct cols_type *b);
int cols_schema_find(const struct cols_schema *s, struct str name); // index, exact spelling; -1 = absent

static inline bool cols_is_valid(const struct cols_column *c, size_t i) {
    return c->validity == NULL || (c->validity[i >> 3] >> (i & 7) & 1) != 0;
}
static inline struct str cols_str(const struct cols_column *c, size_t i) {
    return (struct str){(const char *)c->data + c->offsets[i], (size_t)(c->offsets[i + 1] - c->offsets[i])};
}

// ---- building ---------------------------------------------------------------------------------------------------------
// A builder per column; growth by doubling; finish moves the memory into a batch. Bounded: a column's data is at most 1 GiB.
struct cols_builder;
struct cols_builder *cols_builder_new(const struct cols_schema *schema, size_t rows_hint);
void cols_builder_free(struct cols_builder *b); // without finishing
size_t cols_builder_rows(const struct cols_builder *b);
size_t cols_builder_bytes(const struct cols_builder *b); // memory taken so far
// One value for column `col` of the row under way; every column once per row, then cols_row_end. For hot paths see cols/builder.h.
void cols_put_null(struct cols_builder *b, size_t col);
void cols_put_bool(struct cols_builder *b, size_t col, bool v);
void cols_put_int(struct cols_builder *b, size_t col, int64_t v); // any integer, date, time or timestamp kind
void cols_put_double(struct cols_builder *b, size_t col, double v); // FLOAT and DOUBLE
void cols_put_bytes(struct cols_builder *b, size_t col, const void *p, size_t n); // STRING, BYTES; DECIMAL and UUID take 16 bytes
void cols_row_end(struct cols_builder *b);
struct cols_batch *cols_builder_finish(struct cols_builder *b); // takes the rows; the builder is empty and usable again

bool cols_builder_failed(const struct cols_builder *b); // cols_put_* exceeded a maximum and put null instead

// One value as text (SQL's usual spelling: 2024-01-02 03:04:05.000006, {'a': 1}, [1, 2]) for tables, CSV, PostgreSQL text.
void cols_value_text(const struct cols_column *c, size_t row, struct buf *out);
// A null is the empty text at the top and NULL inside of nested values. Doubles: shortest that reads back the same. Bytes: \x and hexadecimal.
// A value as JSON: instants and times in ISO 8601, bytes in base64, NaN and infinities as strings, maps with text keys as objects.
void cols_value_json(const struct cols_column *c, size_t row, struct buf *out);
void cols_row_json(const struct cols_batch *b, size_t row, struct buf *out); // {"column": value, ...}

// ---- calendar and numbers (proleptic Gregorian, UTC) ----------------------------------------------------------------------
int64_t cols_days_of(int64_t year, unsigned month, unsigned day); // days since 1970-01-01
void cols_civil_of(int64_t days, int64_t *year, unsigned *month, unsigned *day);
void cols_date_text(int32_t days, struct buf *out);                       // 2024-01-02
void cols_time_text(int64_t us, struct buf *out);                         // 03:04:05.000006
void cols_timestamp_text(int64_t us, bool tz, bool iso, struct buf *out); // 2024-01-02 03:04:05+00; iso: 2024-01-02T03:04:05Z
void cols_decimal_text(const void *value16, unsigned scale, struct buf *out);
void cols_double_text(double v, struct buf *out);
// Whole text, spaces not allowed; false = not one. Time parts are optional in a timestamp, its zone may be Z or +hh[:mm] (then *tz is set).
bool cols_date_parse(struct str s, int32_t *days);
bool cols_time_parse(struct str s, int64_t *us);
bool cols_timestamp_parse(struct str s, int64_t *us, bool *tz /* or NULL */);
bool cols_decimal_parse(struct str s, unsigned precision, unsigned scale, void *value16); // too many digits: false
bool cols_uuid_parse(struct str s, uint8_t out[16]);                                      // 8-4-4-4-12, any case

#endif
