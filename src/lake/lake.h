// SPDX-License-Identifier: Apache-2.0
// Delta Lake tables (https://github.com/delta-io/delta/blob/master/PROTOCOL.md): the log of actions beside the Parquet files. Reads a
// table at a version, prunes its files by their statistics, commits by exclusive creation of the next log entry.
//
// DIR/<schema>/<table>/_delta_log/00000000000000000000.json. Data files are written by the engine beside the log and synced before
// lake_txn_commit; what a failed commit leaves behind is in no snapshot and harmless.
// All functions block (they read and write files) and may be called from any thread; one transaction is used by one thread.
// A snapshot is immutable and counted; what it hands out lives as long as the snapshot.
// Durable: what lake_txn_commit answered ERR_OK to. When it answers ERR_SYNC_FAILED or ERR_IO the commit may or may not be there:
// writers that must not double rows give an application's version (lake_txn_set_app) and look at the next snapshot's.
#ifndef LAKE_LAKE_H
#define LAKE_LAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "cols/cols.h"
#include "sys/sys.h"

struct lake;
struct lake_snapshot;
struct lake_txn;

enum {
    LAKE_NAME_MAX = 128,            // bytes of a schema's or table's name: letters, digits and _ - . space $, not beginning with '.'
    LAKE_COMMIT_MAX = 256 << 20,    // bytes of one log entry
    LAKE_CHECKPOINT_EVERY = 10,     // commits; the table's configuration delta.checkpointInterval overrides it
    LAKE_COMMIT_TRIES = 200,        // lost races before lake_txn_commit gives up with ERR_CONFLICT
};

struct lake *lake_open(struct sys *s, const char *dir, struct err *err); // makes dir when absent
void lake_close(struct lake *l);                                          // snapshots may outlive it
const char *lake_dir(const struct lake *l);

// Parquet, for checkpoints only, supplied from above (the lake is below the engine): runs statements of DuckDB's SQL that read and write
// files under the lake's dir. Without it no checkpoint is written, and a table whose log begins with one is ERR_NOT_SUPPORTED.
typedef enum err_code lake_text_fn(void *arg, struct str text, struct err *err); // not ERR_OK = stop
struct lake_parquet {
    void *self;
    enum err_code (*run)(void *self, struct str sql, struct err *err); // e.g. copy (...) to '...'
    enum err_code (*rows)(void *self, struct str sql, lake_text_fn *row, void *arg, struct err *err); // one text column, a call per row
};
void lake_set_parquet(struct lake *l, const struct lake_parquet *p); // copied; once, before other threads use the lake; NULL = none

// ---- schemas and tables -----------------------------------------------------------------------------------------------------
enum err_code lake_check_name(struct str name, struct err *err);                              // ERR_INVALID
enum err_code lake_create_schema(struct lake *l, const char *schema, struct err *err);        // ERR_EXISTS
enum err_code lake_drop_schema(struct lake *l, const char *schema, struct err *err);          // ERR_NO_SCHEMA; ERR_CONFLICT when tables are in it
bool lake_schema_exists(struct lake *l, const char *schema);
enum err_code lake_list_schemas(struct lake *l, struct sys_list *out, struct err *err);       // sorted; free with sys_list_free
enum err_code lake_list_tables(struct lake *l, const char *schema, struct sys_list *out, struct err *err);
bool lake_table_exists(struct lake *l, const char *schema, const char *table);
char *lake_table_dir(struct lake *l, const char *schema, const char *table, struct arena *a); // where data files belong
// Makes the table's folder (for data files of a table to be created). It is no table before the first commit.
enum err_code lake_make_table_dir(struct lake *l, const char *schema, const char *table, struct err *err);
enum err_code lake_drop_table(struct lake *l, const char *schema, const char *table, struct err *err); // ERR_NO_TABLE. Removes its files

// ---- snapshots --------------------------------------------------------------------------------------------------------------
// version -1 = the newest. ERR_NO_TABLE, ERR_NOT_FOUND (no such version), ERR_NOT_SUPPORTED (needs a reader feature that we lack).
struct lake_snapshot *lake_table_snapshot(struct lake *l, const char *schema, const char *table, int64_t version, struct err *err);
struct lake_snapshot *lake_snapshot_ref(struct lake_snapshot *s);
void lake_snapshot_unref(struct lake_snapshot *s); // s may be NULL

int64_t lake_snapshot_version(const struct lake_snapshot *s);
int64_t lake_snapshot_time_us(const struct lake_snapshot *s);             // of its last commit; 0 = not known
const char *lake_snapshot_dir(const struct lake_snapshot *s);             // the table's folder
const char *lake_snapshot_id(const struct lake_snapshot *s);              // the table's UUID
const struct cols_schema *lake_snapshot_schema(const struct lake_snapshot *s); // all columns, partition columns too
const char *lake_snapshot_schema_json(const struct lake_snapshot *s);     // Delta's schemaString
size_t lake_snapshot_n_partition_columns(const struct lake_snapshot *s);
const char *lake_snapshot_partition_column(const struct lake_snapshot *s, size_t i);
const char *lake_snapshot_config(const struct lake_snapshot *s, const char *key); // NULL = not set
int64_t lake_snapshot_app_version(const struct lake_snapshot *s, const char *app_id); // of the newest txn action; -1 = none

struct lake_file {
    const char *path; // of the data file: relative to the table's folder, or absolute
    uint64_t size;
    int64_t rows; // -1 = not known
    int64_t modified_ms;
    const char *stats_json;              // Delta's per-file statistics; NULL = none
    const char *const *partition_values; // one per partition column; NULL = null
};
size_t lake_snapshot_n_files(const struct lake_snapshot *s);
const struct lake_file *lake_snapshot_file(const struct lake_snapshot *s, size_t i);
int64_t lake_snapshot_rows(const struct lake_snapshot *s);   // -1 = a file has no statistics
uint64_t lake_snapshot_bytes(const struct lake_snapshot *s);

// ---- pruning ----------------------------------------------------------------------------------------------------------------
enum lake_op { LAKE_EQ, LAKE_NE, LAKE_LT, LAKE_LE, LAKE_GT, LAKE_GE, LAKE_IN, LAKE_IS_NULL, LAKE_IS_NOT_NULL };
enum lake_literal_kind { LAKE_LITERAL_NUMBER, LAKE_LITERAL_STRING, LAKE_LITERAL_BOOL };
struct lake_literal {
    enum lake_literal_kind kind; // how it was spelt; date '...' and timestamp '...' are strings
    struct str text;             // without quotes
};
struct lake_conjunct {
    struct str column; // exact spelling; others than top-level columns never prune
    enum lake_op op;
    const struct lake_literal *literals; // IN: all of them; IS [NOT] NULL: none; else one
    size_t n_literals;
};
// Indexes of the files that may hold rows for which all conjuncts are true. `out` has room for lake_snapshot_n_files. Returns how many.
// What cannot be decided (no statistics, unparsable literal, other types) keeps the file.
size_t lake_snapshot_prune(struct lake_snapshot *s, const struct lake_conjunct *conjuncts, size_t n, size_t *out);

// ---- transactions -----------------------------------------------------------------------------------------------------------
// Begins on what `base` saw; NULL = the table is to be created by this commit (lake_txn_set_schema is then required; files are added only
// when lake_make_table_dir was called before they were written). A table dropped since, or made again: ERR_CONFLICT.
struct lake_txn *lake_txn_begin(struct lake *l, const char *schema, const char *table, struct lake_snapshot *base, struct err *err);
void lake_txn_free(struct lake_txn *t); // without commit nothing happened; t may be NULL

struct lake_add {
    const char *path; // relative to the table's folder (or absolute)
    uint64_t size;
    int64_t rows;
    const char *stats_json; // NULL: {"numRecords": rows}
    const char *const *partition_values; // one per partition column in the table's order; NULL = null; may be NULL when there are none
};
void lake_txn_add(struct lake_txn *t, const struct lake_add *f);
void lake_txn_remove(struct lake_txn *t, const char *path); // a file of the base
void lake_txn_remove_all(struct lake_txn *t);               // all files of the base (overwrite); conflicts with every concurrent change of rows
// New schema (create, replace, widen). ERR_NOT_SUPPORTED when a type cannot be stored: see lake_storable_schema.
enum err_code lake_txn_set_schema(struct lake_txn *t, const struct cols_schema *schema, struct err *err);
void lake_txn_set_partition_columns(struct lake_txn *t, const char *const *names, size_t n); // creation and replacement only
void lake_txn_set_config(struct lake_txn *t, const char *key, const char *value);            // value NULL = remove
void lake_txn_set_app(struct lake_txn *t, const char *app_id,
                      int64_t version); // txn action. Another writer's version of it since the base: ERR_CONFLICT
void lake_txn_set_info(struct lake_txn *t, const char *operation, const char *parameters_json); // commitInfo, e.g. "WRITE", "{\"mode\":\"Append\"}"
// The rows added depend on what was read from this table: conflicts with every concurrent change of its rows. (Without it, appends by
// others are let through: Delta's WriteSerializable.)
void lake_txn_depends_on_table(struct lake_txn *t);
// Commits. Lost races are tried again when the winners do not conflict. *version may be NULL. After it, only lake_txn_free.
enum err_code lake_txn_commit(struct lake_txn *t, int64_t *version, struct err *err);

// ---- schemas as JSON --------------------------------------------------------------------------------------------------------
// Delta's schema JSON from columns; ERR_NOT_SUPPORTED for types Delta does not have.
enum err_code lake_schema_to_json(const struct cols_schema *schema, struct buf *out, struct err *err);
struct cols_schema *lake_schema_from_json(struct str json, struct arena *a, struct err *err);
// The schema with types that Delta can store, to which rows are cast before writing: uint8 → int16, uint16 → int32, uint32 → int64,
// uint64 → decimal(20,0), uuid → string. ERR_NOT_SUPPORTED: time, interval, null.
struct cols_schema *lake_storable_schema(const struct cols_schema *schema, struct arena *a, struct err *err);

#endif
