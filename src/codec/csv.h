// SPDX-License-Identifier: Apache-2.0
// Comma-separated values (RFC 4180), record by record from a text in memory or fed in pieces. One owner.
#ifndef CODEC_CSV_H
#define CODEC_CSV_H

#include "base/buf.h"
#include "base/err.h"
#include "base/vec.h"

enum { CSV_FIELDS_MAX = 10000, CSV_RECORD_MAX = 64 << 20 };

struct csv_field {
    struct str text; // unescaped; borrowed from the reader until its next record
    bool quoted;     // "" is an empty text, an unquoted empty field is what the caller takes it for (null)
};

struct csv_reader {
    struct str in;
    size_t at;
    char sep; // ','
    int64_t line; // of the record just read, from 1
    int64_t next_line;
    struct buf text;
    VEC(struct csv_field) fields;
    VEC(size_t) starts;
};

// Reads `text`, which must outlive the reader. A byte order mark is skipped.
void csv_init(struct csv_reader *r, struct str text, char sep);
void csv_fini(struct csv_reader *r);
// The next record in r->fields. false: end (err->code ERR_OK) or ERR_PARSE (unclosed quote, text behind one) or ERR_TOO_LARGE.
bool csv_next(struct csv_reader *r, struct err *err);
// Appends one field, quoted when it needs to be.
void csv_put(struct buf *out, struct str field, char sep);

#endif
