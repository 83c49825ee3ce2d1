// SPDX-License-Identifier: Apache-2.0
// Inside the room: the database handle and its life, types and vectors both ways, and what the files of the room call of each other.
// Nothing outside src/engine includes this header, and nothing outside src/engine sees duckdb.h.
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include <duckdb.h>

#include "base/log.h"
#include "base/map.h"
#include "base/vec.h"
#include "topics/topics.h"
#include "cols/builder.h"
#include "engine/engine.h"
#include "lake/lake.h"
#include "sql/sql.h"
#include "sys/sys.h"

enum {
    ENGINE_BATCH_ROWS = 65536,       // a result batch gathers chunks up to so many rows
    ENGINE_BATCH_BYTES = 16 << 20,   // or so many bytes
    ENGINE_HANDLERS_MAX = 64,
    ENGINE_STATEMENT_KINDS = 64,
    ENGINE_FILE_BYTES = 512 << 20,   // a Parquet file is closed at about this size
    ENGINE_STATS_COLUMNS = 32,       // Delta's default: statistics of the first columns only
};

// One DuckDB database in memory (no table of ours lives in it). After an INTERNAL or FATAL error it is broken: sessions move to a new one at
// their next statement, the old one is closed with its last connection.
struct duck_db {
    duckdb_database handle;
    int refs;
    bool broken;
};

struct handler {
    engine_statement_fn *fn;
    void *arg;
    const struct cols_schema *columns; // of its result, for Describe
};

struct engine {
    struct sys *sys;
    struct lake *lake;     // NULL: no tables
    struct topics *topics; // NULL: there are none
    struct schema_source schemas;
    bool has_schemas;
    char *spill_dir, *files_dir;
    uint64_t memory_limit;
    int threads;
    struct handler handlers[ENGINE_STATEMENT_KINDS];

    struct sys_mutex catalog_mutex; // guards admin and views; taken before `mutex`
    duckdb_connection admin;        // of `db`: makes and drops views
    bool catalog_ready;             // the views of all that the lake has were made
    struct map views;               // "schema.table" -> struct view_state: what the views of `db` show

    struct sys_mutex mutex; // guards db, its counts, and sources
    struct duck_db *db; // NULL until the first session
    struct map sources; // handle as text -> struct source_handle
    uint64_t next_source;
};

struct engine_session {
    struct engine *e;
    struct duck_db *db;
    duckdb_connection con;
    struct engine_result *open; // the stream under way on this connection, or NULL
    bool inside;                 // the lake's own, perhaps under catalog_mutex: does not open the database again
    struct sys_mutex cancel_mutex; // con may be replaced while another thread interrupts it
    bool cancelled;
};

// ---- database.c -----------------------------------------------------------------------------------------------------------
void duck_close(struct engine *e);
enum err_code duck_ensure(struct engine *e, bool inside, struct err *err); // opens the database where it is not yet; inside: without its views
enum err_code duck_connect(struct engine *e, struct duck_db **db, duckdb_connection *con, struct err *err);
void duck_disconnect(struct engine *e, struct duck_db *db, duckdb_connection con);
enum err_code duck_run(duckdb_connection con, const char *sql, struct err *err); // no result wanted
// From DuckDB's message (JSON or text) and type; `type` DUCKDB_ERROR_INVALID: read it from the message.
enum err_code duck_error(const char *message, duckdb_error_type type, struct err *err);
void duck_break(struct engine *e, struct duck_db *db); // the database failed inside: the next statements get a new one

// ---- session.c ------------------------------------------------------------------------------------------------------------
struct engine_session *session_open(struct engine *e, bool inside, struct err *err); // inside: see struct engine_session

// ---- types.c --------------------------------------------------------------------------------------------------------------
// ERR_NOT_SUPPORTED for types that have no column kind ("cast it to text"). Memory in the arena.
enum err_code type_from_duck(duckdb_logical_type t, struct arena *a, struct cols_type *out, struct err *err);
duckdb_logical_type type_to_duck(const struct cols_type *t); // the caller destroys it
void type_put_sql(const struct cols_type *t, struct buf *out); // "DECIMAL(10,2)"
bool type_is_exact(duckdb_logical_type t); // writing it as Parquet keeps the kind that type_from_duck says

// ---- vectors.c ------------------------------------------------------------------------------------------------------------
void vector_gather(struct cols_out *out, duckdb_vector v, size_t from, size_t n); // appends rows [from, from + n) of a flat vector
void vector_fill(duckdb_vector v, const struct cols_column *c, size_t from, size_t n); // rows [from, from + n) of the column become rows [0, n)

// ---- result.c -------------------------------------------------------------------------------------------------------------
// Runs the text as a stream. The result takes `a`, where `r` lives.
struct rewritten;
struct engine_result *result_stream(struct engine_session *s, const struct rewritten *r, const struct engine_param *params, size_t n_params,
                                    const struct sql_statement *st, struct err *err);
enum err_code result_describe(struct engine_session *s, const struct rewritten *r, struct arena *a, struct engine_described *out, struct err *err);
// Columns of a query, with whether each has to be cast before it is written.
enum err_code query_columns(struct engine_session *s, const char *sql, struct arena *a, struct cols_schema **schema, bool **exact, struct err *err);
struct engine_result *result_done(const char *tag, int64_t affected); // no rows
void result_detach(struct engine_result *r); // the connection goes away: the stream ends

// ---- rewrite.c ------------------------------------------------------------------------------------------------------------
struct rewrite_piece {
    size_t from, to; // `from` in the user's statement is `to` in the text
};
struct rewritten {
    struct str text; // NUL-terminated; in the arena given
    struct rewrite_piece *pieces;
    size_t n_pieces;
    bool reads_target; // names st->target
};
// `part` of st->text (the whole or the query inside) with lake tables and topics replaced by scans pinned to snapshots.
enum err_code rewrite(struct engine *e, const struct sql_statement *st, struct str part, struct arena *a, struct rewritten *out, struct err *err);
void rewrite_position(const struct rewritten *r, struct err *err); // err->position: from the text's to the statement's (st->text)
// FROM item that reads these files of a snapshot: `(select ...)` or `read_parquet(...)`.
void rewrite_scan(struct lake_snapshot *snap, const size_t *files, size_t n, struct buf *out);
void put_typed_empty(const struct cols_schema *schema, struct buf *out); // (select null::T as a, ... where false)

// ---- catalog.c ------------------------------------------------------------------------------------------------------------
void catalog_open(struct engine *e); // schemas and views for all that the lake has; under catalog_mutex. What fails is logged
// The next two do nothing before that: nobody looks yet.
void catalog_sync_schema(struct engine *e, const char *schema, bool exists);
void catalog_sync_topics(struct engine *e);
void catalog_freshen(struct engine *e, struct str table); // the views of that name, in whatever schema, show the newest versions
void catalog_fini(struct engine *e); // forgets the views; under catalog_mutex
bool catalog_is_topic(struct engine *e, const struct sql_name *name, struct arena *a, struct str *topic);
bool catalog_is_table(struct engine *e, const struct sql_name *name, struct arena *a, const char **schema, const char **table);

// ---- dml.c ----------------------------------------------------------------------------------------------------------------
bool dml_is_ours(struct engine *e, const struct sql_statement *st); // else DuckDB's: temporary tables
struct engine_result *dml_run(struct engine_session *s, const struct sql_statement *st, const struct engine_param *params, size_t n_params,
                              struct err *err);

// ---- write.c --------------------------------------------------------------------------------------------------------------
// engine_write_parquet without names to resolve, with parameters.
enum err_code write_files(struct engine_session *s, const char *select, const struct engine_param *params, size_t n_params, const char *dir,
                          struct arena *a, struct engine_file **files, size_t *n_files, struct cols_schema **schema, struct err *err);

// ---- checkpoint.c ---------------------------------------------------------------------------------------------------------
void checkpoint_register(struct engine *e); // gives the lake our Parquet

// ---- source.c -------------------------------------------------------------------------------------------------------------
enum err_code source_register(struct engine *e, duckdb_connection con, struct err *err); // the table function
uint64_t source_open(struct engine *e, struct engine_source *source);
void source_close(struct engine *e, uint64_t handle);
enum err_code source_error(struct engine *e, uint64_t handle, struct err *err); // what next() failed with

// ---- topic.c --------------------------------------------------------------------------------------------------------------
enum err_code topic_register(struct engine *e, duckdb_connection con, struct err *err);

#endif
