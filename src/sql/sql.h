// SPDX-License-Identifier: Apache-2.0
// SQL text, as far as Millrace itself must understand it: tokens, statements of a script, the kind of a statement, the parts of our own
// statements, and which tables a statement names where. The grammar of SELECT belongs to the engine behind.
//
// Pure functions over borrowed text, any thread. Results live in the caller's arena and point into the caller's text, except unquoted
// names, which are copies. Maxima: SQL_TEXT_MAX bytes of text, SQL_DEPTH_MAX open parentheses.
#ifndef SQL_SQL_H
#define SQL_SQL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

enum { SQL_TEXT_MAX = 16 << 20, SQL_DEPTH_MAX = 512 };

// ---- tokens -------------------------------------------------------------------------------------------------------------
enum sql_token_kind {
    SQL_TOKEN_END,
    SQL_TOKEN_WORD,   // identifier or keyword without quotes
    SQL_TOKEN_QUOTED, // "identifier"
    SQL_TOKEN_STRING, // 'text', e'text', $tag$text$tag$
    SQL_TOKEN_NUMBER,
    SQL_TOKEN_PARAM,  // $1, $name, ?
    SQL_TOKEN_OP,     // operators and punctuation: one of ( ) [ ] { } , ; . or a run of operator characters
};

struct sql_token {
    enum sql_token_kind kind;
    size_t at, n; // byte range in the text
};

struct sql_lexer {
    struct str text;
    size_t at;
};
// The next token, comments (-- and nested /* */) and white space skipped. ERR_PARSE with position: an open string, quote or comment.
enum err_code sql_lex(struct sql_lexer *l, struct sql_token *out, struct err *err);

// ---- statements ---------------------------------------------------------------------------------------------------------
enum sql_kind {
    SQL_EMPTY,            // only white space and comments
    SQL_SELECT,           // select, with, values, from, table, pivot, describe, summarize, explain, show ...: the engine behind reads
    SQL_COPY_FROM_TOPIC,  // copy into TABLE from topic NAME [with (key = value, ...)]           target, topic, options
    SQL_CHECK,            // check TABLE using 'suite.json' [with (key = value, ...)]            target, file, options
    SQL_SHOW_TOPICS,      // show topics
    SQL_CREATE_SCHEMA,    // create schema [if not exists] S                                     target.schema
    SQL_DROP_SCHEMA,      // drop schema [if exists] S [cascade]                                 target.schema
    SQL_CREATE_TABLE,     // create [or replace] table [if not exists] S.T (columns)             target, definition
    SQL_CREATE_TABLE_AS,  // create [or replace] table [if not exists] S.T as QUERY              target, query
    SQL_DROP_TABLE,       // drop table [if exists] S.T                                          target
    SQL_INSERT,           // insert into S.T [(columns)] QUERY                                   target, columns, query
    SQL_INSERT_OVERWRITE, // insert overwrite [table] S.T [(columns)] QUERY                      target, columns, query
    SQL_DELETE,           // delete from S.T [where CONDITION]                                   target, condition
    SQL_TRUNCATE,         // truncate [table] S.T                                                target
    SQL_UPDATE,           // target
    SQL_MERGE,            // target
    SQL_BEGIN,            // begin, start transaction
    SQL_COMMIT,           // commit, end
    SQL_ROLLBACK,         // rollback, abort
    SQL_SET,              // set, reset: the session's settings
    SQL_OTHER,            // all else, as the engine behind likes: create temp table, create macro, prepare, pragma ...
};

struct sql_name {
    struct str catalog, schema, table; // unquoted; n = 0: not given. Words are kept as written (names match without case)
};

enum sql_op { SQL_OP_EQ, SQL_OP_NE, SQL_OP_LT, SQL_OP_LE, SQL_OP_GT, SQL_OP_GE };

// `column op literal` that must hold for every row of the table that counts: for leaving out files.
struct sql_conjunct {
    struct str column;  // unquoted
    enum sql_op op;
    struct str literal; // the value's text: unquoted, sign included
    bool string;        // it was a string (or date '...', timestamp '...'), else a number
};

struct sql_ref {
    struct sql_name name;
    size_t at, n;    // byte range in the statement's text that stands for the table, time travel included, alias excluded
    struct str alias; // n = 0: none
    int64_t version; // `S.T version as of 7`; -1 = the newest
    struct sql_conjunct *conjuncts;
    size_t n_conjuncts;
};

struct sql_option {
    struct str key, value; // value: unquoted
};

struct sql_statement {
    enum sql_kind kind;
    struct str text; // the statement without its semicolon
    size_t at;       // where `text` begins in the script (bytes)
    struct sql_name target;
    bool or_replace, if_not_exists, if_exists, temporary, cascade;
    struct str topic;      // SQL_COPY_FROM_TOPIC
    struct str file;       // SQL_CHECK
    struct str definition; // SQL_CREATE_TABLE: what is between the parentheses
    struct str query;      // the SELECT inside
    struct str condition;  // SQL_DELETE; n = 0: all rows
    struct str *columns;
    size_t n_columns;
    struct sql_option *options;
    size_t n_options;
    struct sql_ref *refs; // tables read, in the order of the text; positions count in `text`
    size_t n_refs;
};

// Reads the statement that begins at *at of the script and moves *at behind its semicolon. false: no more, or failed (err->code).
bool sql_next(struct str script, size_t *at, struct arena *a, struct sql_statement *out, struct err *err);
// One statement; ERR_PARSE when there is more than one. A trailing semicolon is fine; nothing at all is SQL_EMPTY.
enum err_code sql_parse(struct str text, struct arena *a, struct sql_statement *out, struct err *err);

const char *sql_kind_tag(enum sql_kind kind); // PostgreSQL's command tag: "CREATE TABLE"

// ---- writing ------------------------------------------------------------------------------------------------------------
void sql_put_ident(struct buf *out, struct str name);    // "name", quotes doubled
void sql_put_string(struct buf *out, struct str value);  // 'value', quotes doubled
struct str sql_option_get(const struct sql_statement *st, const char *key); // n = 0, p = NULL: not given

#endif
