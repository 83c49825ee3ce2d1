// SPDX-License-Identifier: Apache-2.0
// Inside the room: the token list of one statement, shared by the statement parser and the scanner of table names.
#ifndef SQL_PARSE_H
#define SQL_PARSE_H

#include "base/vec.h"
#include "sql/sql.h"

struct sql_token_vec {
    struct sql_token *p;
    size_t n, cap;
};

struct sql_tokens {
    struct str text;           // the statement
    const struct sql_token *p; // positions count in `text`; the last one is SQL_TOKEN_END
    size_t n;
};

struct str sql_tok_text(const struct sql_tokens *t, const struct sql_token *k);
bool sql_tok_is(const struct sql_tokens *t, size_t i, const char *word); // a word without quotes, or an operator; case ignored
bool sql_tok_is_name(const struct sql_tokens *t, size_t i);
struct str sql_tok_value(const struct sql_tokens *t, size_t i, struct arena *a);

// Fills out->refs.
enum err_code sql_scan_refs(const struct sql_tokens *t, struct arena *a, struct sql_statement *out, struct err *err);

#endif
