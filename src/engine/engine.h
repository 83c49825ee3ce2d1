// SPDX-License-Identifier: Apache-2.0
// The SQL engine: sessions over libduckdb, the catalog of schemas and tables (Delta tables of the lake, topics, files), own
// statements. Blocking: call from workers and threads that may block, never from a loop. One session is used by one thread at a
// time; engine_cancel may be called from any.
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/err.h"
#include "base/mem.h"
#include "cols/cols.h"
#include "schema/source.h"

struct engine;
struct engine_session;
struct engine_result;
struct topics;
struct lake;
struct sys;

struct engine_config {
    const char *spill_dir; // NULL = never spill
    uint64_t memory_limit; // bytes; 0 = a fourth of the machine's, at most 4 GiB
    int threads;           // 0 = cores
    const char *files_dir; // folder that read_parquet, read_csv and the like may read beside the lake; NULL = none
};

struct engine *engine_open(struct sys *s, const struct engine_config *config, struct lake *lake, struct topics *topics,
                           const struct schema_source *schemas, struct err *err);
void engine_close(struct engine *e);

struct engine_session *engine_session_open(struct engine *e, struct err *err);
void engine_session_close(struct engine_session *s);
void engine_cancel(struct engine_session *s); // any thread: what runs now ends with ERR_CANCELLED
bool engine_cancelled(struct engine_session *s); // for handlers that work for long between their statements

// ---- running --------------------------------------------------------------------------------------------------------------
struct engine_param {
    bool null;
    struct str text; // the value's text; cast to the parameter's type
};

// Prepares and starts ONE statement. Its result streams. Errors carry position (1-based) where known.
struct engine_result *engine_query(struct engine_session *s, struct str sql, const struct engine_param *params, size_t n_params, struct err *err);
// Runs all statements of a script one after the other; the results of all but the last are dropped; *last may be NULL.
enum err_code engine_script(struct engine_session *s, struct str sql, struct engine_result **last, struct err *err);

const struct cols_schema *engine_result_schema(const struct engine_result *r); // n = 0: no rows are returned
// PostgreSQL command tag without count: "SELECT", "INSERT 0", "COPY", "CREATE TABLE"
const char *engine_result_tag(const struct engine_result *r);
bool engine_result_is_rows(const struct engine_result *r);                     // the statement returns rows (SELECT, SHOW, ...)
int64_t engine_result_affected(const struct engine_result *r);                 // rows changed; -1 = unknown. After the last batch
// The next batch; NULL at the end (err->code ERR_OK) or on failure. The caller frees it.
struct cols_batch *engine_result_next(struct engine_result *r, struct err *err);
void engine_result_free(struct engine_result *r); // r may be NULL; ends the stream

// Describe without running: result columns and parameter types.
struct engine_described {
    struct cols_schema *columns; // in the arena
    size_t n_params;
    struct cols_type *params;
};
enum err_code engine_describe(struct engine_session *s, struct str sql, struct arena *a, struct engine_described *out, struct err *err);

// One value, for programs inside: the first column of the first row as text, "" when there is none.
enum err_code engine_scalar(struct engine_session *s, struct str sql, struct arena *a, struct str *out, struct err *err);

// ---- the catalog ----------------------------------------------------------------------------------------------------------------
// What \d, information_schema and the interface list: lake tables, topics (schema "topics"), the session's own temporary tables and views.
enum engine_relation_kind { ENGINE_TABLE, ENGINE_TOPIC, ENGINE_VIEW, ENGINE_TEMP };
struct engine_relation {
    enum engine_relation_kind kind;
    const char *schema, *name;
    const struct cols_schema *columns; // NULL = could not be read; `error` says why
    const char *error;
    int64_t rows;  // as far as known without reading; -1 = unknown
    int64_t bytes; // -1 = unknown
};
struct engine_catalog {
    const char **schemas; // sorted; "topics" and "main" are always there
    size_t n_schemas;
    struct engine_relation *relations; // sorted by schema, name
    size_t n_relations;
};
// A snapshot, in the arena. `schema`, `name`: only these (n = 0: all).
enum err_code engine_catalog_list(struct engine_session *s, struct str schema, struct str name, struct arena *a, struct engine_catalog *out,
                                  struct err *err);
// Somebody changed a table of the lake (a commit, a drop) or a topic without SQL: the engine's views of it follow. Any thread that may block.
enum err_code engine_catalog_changed(struct engine *e, const char *schema, const char *table, struct err *err);

struct engine *engine_session_engine(struct engine_session *s);
struct lake *engine_lake(struct engine *e);
struct topics *engine_topics(struct engine *e);
const struct schema_source *engine_schemas(struct engine *e); // NULL = none
struct sys *engine_sys(struct engine *e);

// ---- own statements ---------------------------------------------------------------------------------------------------------
// Rooms above register handlers; a statement that sql/ recognises as that kind goes to the handler instead of DuckDB. The handler
// fills a result with engine_result_rows (a small materialised result).
struct sql_statement; // sql/sql.h
typedef struct engine_result *engine_statement_fn(void *arg, struct engine_session *s, const struct sql_statement *st, struct err *err);
void engine_on_statement(struct engine *e, int statement_kind, engine_statement_fn *fn, void *arg);
// What columns its result has (lives as long as the engine): for engine_describe. Without it: none.
void engine_on_statement_columns(struct engine *e, int statement_kind, const struct cols_schema *columns);
// A materialised result: takes the batches (n may be 0). `tag` is copied.
struct engine_result *engine_result_of(const struct cols_schema *schema, struct cols_batch **batches, size_t n, const char *tag, int64_t affected);
// A materialised result of text: names[n_cols], cells[row * n_cols + col] (NULL = null).
struct engine_result *engine_result_text(const char *const *names, size_t n_cols, const char *const *cells, size_t n_rows, const char *tag,
                                         int64_t affected);

// ---- batches in, files out ----------------------------------------------------------------------------------------------------
// A source of batches that a query can read as a table function: `select ... from batches(handle)`. next() returns NULL at the end.
struct engine_source {
    const struct cols_schema *schema;
    struct cols_batch *(*next)(void *self, struct err *err); // called by one thread at a time unless `concurrent`; the engine frees the batch
    void *self;
    bool concurrent; // next() may be called by several threads at once
};
// Writes what `select_sql` yields into new Parquet files (zstd) in `dir`, synced, not yet visible in any table. In select_sql the word
// `source()` stands for `source` (may be NULL when not used). Fills one entry per file for lake_commit.
struct engine_file {
    const char *path; // relative to dir
    uint64_t size;
    int64_t rows;
    const char *stats_json; // Delta's per-file statistics: numRecords, minValues, maxValues, nullCount
};
enum err_code engine_write_parquet(struct engine_session *s, struct str select_sql, struct engine_source *source, const char *dir, struct arena *a,
                                   struct engine_file **files, size_t *n_files, struct cols_schema **schema, struct err *err);

#endif
