// SPDX-License-Identifier: Apache-2.0
// Avro 1.11: schemas, canonical form and fingerprint, resolution and compatibility, and two compilers: a decoder from a (writer's,
// reader's) schema pair straight into column builders, and an encoder from column batches.
//
// Parsed schemas live in the arena given and are read-only afterwards: any thread. A decoder or encoder is read-only after making, too: many
// threads may use one, each with its own builder.
//
// How Avro's types become columns (a record at the top: one column per field; anything else: one column "value"):
//   null NULL · boolean BOOL · int INT32 · long INT64 · float FLOAT · double DOUBLE · bytes, fixed BYTES · string, enum STRING
//   array LIST · map MAP(STRING, value) · record STRUCT
//   [null, X] in either order: a nullable X · [X]: X · other unions: a STRUCT with one nullable member per branch but null, named by
//   the branch's type ("string", "long", a named type's name), nullable when null is a branch
//   decimal DECIMAL(p,s) (precision up to 38, else BYTES) · date DATE · time-millis, time-micros TIME · timestamp-millis, -micros, -nanos
//   TIMESTAMP with tz · local-timestamp-* TIMESTAMP · uuid UUID · duration INTERVAL. Nanoseconds are cut to microseconds.
//   A recursive type has no columns: ERR_NOT_SUPPORTED.
#ifndef SCHEMA_AVRO_H
#define SCHEMA_AVRO_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "cols/builder.h"
#include "cols/cols.h"

enum {
    AVRO_SCHEMA_TEXT_MAX = 1 << 20,
    AVRO_DEPTH_MAX = 64,       // nesting of a schema, and of skipped recursive data
    AVRO_NODES_MAX = 20000,    // types in one schema
    AVRO_ITEMS_MAX = 1 << 24,  // array and map items in one datum
};

enum avro_kind {
    AVRO_NULL, AVRO_BOOLEAN, AVRO_INT, AVRO_LONG, AVRO_FLOAT, AVRO_DOUBLE, AVRO_BYTES, AVRO_STRING, // primitive
    AVRO_RECORD, AVRO_ENUM, AVRO_FIXED,                                                           // named
    AVRO_ARRAY, AVRO_MAP, AVRO_UNION,
};

enum avro_logical {
    AVRO_PLAIN, AVRO_DECIMAL, AVRO_DATE, AVRO_TIME_MILLIS, AVRO_TIME_MICROS, AVRO_TIMESTAMP_MILLIS, AVRO_TIMESTAMP_MICROS,
    AVRO_TIMESTAMP_NANOS, AVRO_LOCAL_TIMESTAMP_MILLIS, AVRO_LOCAL_TIMESTAMP_MICROS, AVRO_LOCAL_TIMESTAMP_NANOS, AVRO_UUID,
    AVRO_DURATION,
};

struct avro_schema;
struct avro_field {
    const char *name, *doc; // doc NULL = none
    const struct avro_schema *type;
    struct str default_json; // p NULL = no default
    const char *const *aliases;
    size_t n_aliases;
};

struct avro_schema {
    enum avro_kind kind;
    enum avro_logical logical; // an unknown or misused logical type is ignored, as the specification says
    uint8_t precision, scale;
    const char *name;     // full name of a named type ("com.shop.Order"), else NULL
    const char *doc;
    const char *const *aliases; // full names
    size_t n_aliases;
    size_t n_fields; // RECORD
    const struct avro_field *fields;
    size_t n_symbols; // ENUM
    const char *const *symbols;
    const char *enum_default; // NULL = none
    size_t fixed_size;
    const struct avro_schema *items; // ARRAY, MAP
    size_t n_branches;               // UNION
    const struct avro_schema *const *branches;
};

// ---- schemas ----------------------------------------------------------------------------------------------------------
// NULL with ERR_PARSE (not JSON) or ERR_INVALID (not Avro): the message says where ("fields[2].type: ...").
const struct avro_schema *avro_schema_parse(struct str text, struct arena *a, struct err *err);
// The same, where `text` may use names that are defined in the texts of `refs` (which may use those before them).
const struct avro_schema *avro_schema_parse_refs(struct str text, const struct str *refs, size_t n_refs, struct arena *a, struct err *err);
// Parsing Canonical Form.
void avro_schema_canonical(const struct avro_schema *s, struct buf *out);
// CRC-64-AVRO of the canonical form.
uint64_t avro_schema_fingerprint(const struct avro_schema *s);
uint64_t avro_crc64(struct str bytes);
// The JSON text of an Avro record for columns (`name` may have a namespace in front). UINT64 becomes decimal(20,0), INTERVAL and NULL
// are ERR_NOT_SUPPORTED, column names that Avro does not allow ERR_INVALID.
enum err_code avro_schema_of_cols(const struct cols_schema *cols, const char *name, struct buf *out, struct err *err);

// ---- compatibility ----------------------------------------------------------------------------------------------------
enum avro_incompatibility_type {
    AVRO_NAME_MISMATCH, AVRO_FIXED_SIZE_MISMATCH, AVRO_MISSING_ENUM_SYMBOLS, AVRO_READER_FIELD_MISSING_DEFAULT_VALUE,
    AVRO_TYPE_MISMATCH, AVRO_MISSING_UNION_BRANCH,
};
struct avro_incompatibility {
    enum avro_incompatibility_type type;
    const char *path;   // "/fields/1/type"
    const char *detail; // "reader type: INT not compatible with writer type: STRING"
};
const char *avro_incompatibility_name(enum avro_incompatibility_type t); // "TYPE_MISMATCH"
// Can data written with `writer` be read with `reader`? The reasons why not are in the arena. Returns how many (0 = it can).
size_t avro_compatible(const struct avro_schema *reader, const struct avro_schema *writer, struct arena *a, struct avro_incompatibility **out);

// ---- decoding ---------------------------------------------------------------------------------------------------------
struct avro_decoder;
// `reader` NULL = the writer's own. Both may be freed afterwards. ERR_INCOMPATIBLE when no datum could be read, ERR_NOT_SUPPORTED.
struct avro_decoder *avro_decoder_new(const struct avro_schema *writer, const struct avro_schema *reader, struct err *err);
void avro_decoder_free(struct avro_decoder *d);
const struct cols_schema *avro_decoder_schema(const struct avro_decoder *d); // lives as long as the decoder
// One datum becomes one row. The builder's schema must be avro_decoder_schema's, or have the same types in front (further columns,
// at the end, are the caller's). On failure the row is taken back and the builder usable for the next: ERR_DATA (what is wrong, in which
// field, at which byte), ERR_TOO_LARGE (AVRO_ITEMS_MAX; or the batch is full: finish it and try again when it has rows).
// Bytes left behind the datum are an error.
// avro_decode ends the row; avro_decode_values leaves it open for the caller's further columns and cols_row_end.
enum err_code avro_decode(const struct avro_decoder *d, struct str bytes, struct cols_builder *b, struct err *err);
enum err_code avro_decode_values(const struct avro_decoder *d, struct str bytes, struct cols_builder *b, struct err *err);

// ---- encoding ---------------------------------------------------------------------------------------------------------
struct avro_encoder;
// Writes rows of `cols` as data of `schema` (a record): fields by name; a column that the record lacks is left out, a field without a
// column takes its default. ERR_INCOMPATIBLE names the field.
struct avro_encoder *avro_encoder_new(const struct avro_schema *schema, const struct cols_schema *cols, struct err *err);
void avro_encoder_free(struct avro_encoder *e);
// Appends one datum. ERR_DATA: a null where the schema has none, a text that is no symbol of the enum, a number out of range.
enum err_code avro_encode_row(const struct avro_encoder *e, const struct cols_batch *batch, size_t row, struct buf *out, struct err *err);
// Appends the datum that a JSON value stands for (as defaults are written: a union takes its first branch that fits).
enum err_code avro_encode_json(const struct avro_schema *schema, struct str json, struct buf *out, struct err *err);

#endif
