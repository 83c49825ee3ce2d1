// SPDX-License-Identifier: Apache-2.0
// Metadata: one SQLite database behind a small statement API. What a commit acknowledged survives a power cut.
//
// There is one connection. A thread holds the store from meta_begin to meta_commit / meta_rollback, and from meta_prepare to meta_reset;
// the same thread may nest these, other threads wait. So hold it briefly, and never wait for another thread meanwhile.
// A failed sync is final: everything after it answers ERR_SYNC_FAILED until the store is closed and opened again.
#ifndef META_META_H
#define META_META_H

#include "sys/sys.h"

struct meta;
struct meta_stmt;

// Migrations are applied in order, each in its transaction, those above the stored version only. Versions ascend from 1.
struct meta_migration {
    int version;
    const char *sql; // one or more statements
};

enum { META_COLUMNS_MAX = 2000, META_VALUE_MAX = 64 << 20, META_CACHE_MAX = 256 };

// Opens or creates the database file and brings it to the newest version given (the set is called "main").
// ERR_VERSION: written by a newer program. ERR_LOCKED: another process has it. ERR_NOT_SUPPORTED: path is a postgresql:// address.
struct meta *meta_open(struct sys *s, const char *path, const struct meta_migration *migrations, size_t n, struct err *err);
void meta_close(struct meta *m); // rolls back what is open; m may be NULL
// A further set of tables in the same file, versioned under its own name ("flow", "users", ...).
enum err_code meta_migrate(struct meta *m, const char *set, const struct meta_migration *migrations, size_t n, struct err *err);

// ---- transactions ---------------------------------------------------------------------------------------------------
// Begin inside a transaction of the same thread only counts: the outermost commit writes; an inner rollback makes the outer commit fail
// with ERR_CONFLICT after rolling all back.
enum err_code meta_begin(struct meta *m, struct err *err);
enum err_code meta_commit(struct meta *m, struct err *err); // ERR_OK = durable; failed = rolled back (the store is released either way)
void meta_rollback(struct meta *m);

// ---- statements -------------------------------------------------------------------------------------------------------
enum err_code meta_exec(struct meta *m, const char *sql, struct err *err); // one or more statements, no parameters, rows are dropped

// A prepared statement, from a cache by text. It holds the store until meta_reset. NULL = failed (and nothing is held).
struct meta_stmt *meta_prepare(struct meta *m, const char *sql, struct err *err);
// Parameters count from 1. Bytes are copied. A value that cannot be bound is reported by the next step.
void meta_bind_int(struct meta_stmt *st, int i, int64_t v);
void meta_bind_double(struct meta_stmt *st, int i, double v);
void meta_bind_text(struct meta_stmt *st, int i, struct str v); // UTF-8; v.p NULL = null
void meta_bind_cstr(struct meta_stmt *st, int i, const char *v); // NULL = null
void meta_bind_blob(struct meta_stmt *st, int i, const void *p, size_t n);
void meta_bind_null(struct meta_stmt *st, int i);
int meta_step(struct meta_stmt *st, struct err *err);          // 1 = a row, 0 = end, -1 = failed (err->code says how)
void meta_reset(struct meta_stmt *st);                         // ends it and gives it back; st may be NULL
enum err_code meta_run(struct meta_stmt *st, struct err *err); // steps to the end and resets: insert, update, delete

// Columns of the current row count from 0. Bytes are borrowed until the next step or reset.
bool meta_is_null(struct meta_stmt *st, int col);
int64_t meta_int(struct meta_stmt *st, int col); // null = 0
double meta_double(struct meta_stmt *st, int col);
struct str meta_text(struct meta_stmt *st, int col);  // NUL-terminated; p NULL = null
const char *meta_cstr(struct meta_stmt *st, int col); // NULL = null
struct str meta_blob(struct meta_stmt *st, int col);  // p NULL = null

int64_t meta_changes(struct meta *m); // rows changed by the last insert, update or delete; ask while the store is held
int64_t meta_last_id(struct meta *m); // rowid of the last insert; ask while the store is held

// Short forms. `types` has a letter per parameter: i int64_t, d double, s const char * (NULL = null), S struct str, b struct str as blob,
// n null (takes no argument). Integers must be passed as int64_t.
enum err_code meta_do(struct meta *m, struct err *err, const char *sql, const char *types, ...);             // prepare, bind, run
struct meta_stmt *meta_query(struct meta *m, struct err *err, const char *sql, const char *types, ...);      // prepare, bind
// First column of the first row, `dflt` when there is no row or it is null; on failure `dflt` with err set.
int64_t meta_get_int(struct meta *m, struct err *err, int64_t dflt, const char *sql, const char *types, ...);

#endif
