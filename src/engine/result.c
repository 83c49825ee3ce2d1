// SPDX-License-Identifier: Apache-2.0
// Results: a stream of DuckDB's chunks gathered into batches, batches made by a handler, or none at all; and describing without running.
//
// A result belongs to the session's thread. A stream holds the session's connection: the next statement of the session ends it. Memory: the
// result has an arena for its schema and text; a batch is the caller's. Errors come at the start or with any batch: look at err->code after NULL.
#include <assert.h>
#include <stdio.h>

#include "engine/internal.h"

struct engine_result {
    struct engine_session *s;
    struct arena arena;
    struct cols_schema *schema;
    char tag[32];
    bool is_rows;
    int64_t affected;
    // a stream
    bool streams, ended;
    bool rerun; // running it twice changes nothing
    duckdb_prepared_statement stmt;
    duckdb_result res;
    struct cols_builder *builder;
    struct rewritten text;
    size_t text_at; // of the statement in what the user gave
    // batches
    struct cols_batch **batches;
    size_t n_batches, next;
};

static struct engine_result *result_new(const char *tag) {
    struct engine_result *r = MEM_NEW(struct engine_result);
    arena_init(&r->arena);
    snprintf(r->tag, sizeof r->tag, "%s", tag);
    r->schema = ARENA_NEW(&r->arena, struct cols_schema);
    r->affected = -1;
    return r;
}

// ---- statements that DuckDB may run -----------------------------------------------------------------------------------------

static const struct {
    duckdb_statement_type type;
    const char *tag; // NULL: refused
    bool streams;
} types[] = {
    {DUCKDB_STATEMENT_TYPE_SELECT, "SELECT", true},
    {DUCKDB_STATEMENT_TYPE_EXPLAIN, "EXPLAIN", true},
    {DUCKDB_STATEMENT_TYPE_CALL, "CALL", true},
    {DUCKDB_STATEMENT_TYPE_RELATION, "SELECT", true},
    {DUCKDB_STATEMENT_TYPE_LOGICAL_PLAN, "SELECT", true},
    {DUCKDB_STATEMENT_TYPE_INSERT, "INSERT 0", false}, // of temporary tables, as all below
    {DUCKDB_STATEMENT_TYPE_UPDATE, "UPDATE", false},
    {DUCKDB_STATEMENT_TYPE_DELETE, "DELETE", false},
    {DUCKDB_STATEMENT_TYPE_MERGE_INTO, "MERGE", false},
    {DUCKDB_STATEMENT_TYPE_CREATE, "CREATE TABLE", false},
    {DUCKDB_STATEMENT_TYPE_CREATE_FUNC, "CREATE FUNCTION", false},
    {DUCKDB_STATEMENT_TYPE_DROP, "DROP TABLE", false},
    {DUCKDB_STATEMENT_TYPE_ALTER, "ALTER TABLE", false},
    {DUCKDB_STATEMENT_TYPE_PREPARE, "PREPARE", false},
    {DUCKDB_STATEMENT_TYPE_EXECUTE, "EXECUTE", false},
    {DUCKDB_STATEMENT_TYPE_COPY, "COPY", false}, // inside the allowed folders
    {DUCKDB_STATEMENT_TYPE_ANALYZE, "ANALYZE", false},
    {DUCKDB_STATEMENT_TYPE_VARIABLE_SET, "SET", false},
    {DUCKDB_STATEMENT_TYPE_SET, "SET", false}, // only what the lock-down allows
    {DUCKDB_STATEMENT_TYPE_TRANSACTION, NULL, false},
    {DUCKDB_STATEMENT_TYPE_EXPORT, NULL, false},
    {DUCKDB_STATEMENT_TYPE_PRAGMA, NULL, false}, // enable_profiling would print to our standard error
    {DUCKDB_STATEMENT_TYPE_VACUUM, NULL, false},
    {DUCKDB_STATEMENT_TYPE_LOAD, NULL, false},
    {DUCKDB_STATEMENT_TYPE_EXTENSION, NULL, false},
    {DUCKDB_STATEMENT_TYPE_ATTACH, NULL, false},
    {DUCKDB_STATEMENT_TYPE_DETACH, NULL, false},
    {DUCKDB_STATEMENT_TYPE_MULTI, NULL, false},
    {DUCKDB_STATEMENT_TYPE_COPY_DATABASE, NULL, false},
    {DUCKDB_STATEMENT_TYPE_UPDATE_EXTENSIONS, NULL, false},
};

// *tag, *streams by the prepared statement's type. What would make things in DuckDB's own catalog is refused: they would be gone at the next start.
static enum err_code check_type(duckdb_prepared_statement stmt, const struct sql_statement *st, const char **tag, bool *streams, struct err *err) {
    duckdb_statement_type type = duckdb_prepared_statement_type(stmt);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].type != type || types[i].tag == NULL) continue;
        *tag = types[i].tag;
        *streams = types[i].streams;
        bool makes = type == DUCKDB_STATEMENT_TYPE_CREATE;
        if (makes && st != NULL && st->kind == SQL_OTHER && !st->temporary)
            return err_set(err, ERR_NOT_SUPPORTED, "only tables are kept (create table S.T ...); `create temp ...` is for this session's own");
        return ERR_OK;
    }
    return err_set(err, ERR_NOT_SUPPORTED, "this kind of statement is not supported");
}

// ---- preparing --------------------------------------------------------------------------------------------------------------

static enum err_code prepare(struct engine_session *s, const struct rewritten *r, duckdb_prepared_statement *stmt, struct err *err) {
    if (duckdb_prepare(s->con, r->text.p, stmt) == DuckDBSuccess) return ERR_OK;
    enum err_code code = duck_error(duckdb_prepare_error(*stmt), DUCKDB_ERROR_INVALID, err);
    rewrite_position(r, err);
    duckdb_destroy_prepare(stmt);
    return code;
}

static enum err_code column_type(duckdb_logical_type t, const char *name, struct arena *a, struct cols_type *out, struct err *err) {
    enum err_code code = ERR_OK;
    if (duckdb_get_type_id(t) == DUCKDB_TYPE_INVALID || duckdb_get_type_id(t) == DUCKDB_TYPE_ANY) out->kind = COLS_STRING; // a parameter decides
    else code = type_from_duck(t, a, out, err);
    return code == ERR_OK ? ERR_OK : err_wrap(err, "column %s", name);
}

static enum err_code prepared_schema(duckdb_prepared_statement stmt, struct arena *a, struct cols_schema *out, bool *exact, struct err *err) {
    out->n = duckdb_prepared_statement_column_count(stmt);
    out->fields = ARENA_ARRAY(a, struct cols_field, out->n + 1);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < out->n && code == ERR_OK; i++) {
        const char *name = duckdb_prepared_statement_column_name(stmt, i);
        duckdb_logical_type t = duckdb_prepared_statement_column_logical_type(stmt, i);
        out->fields[i] = (struct cols_field){.name = arena_strdup(a, name), .nullable = true};
        duckdb_free((void *)name);
        code = column_type(t, out->fields[i].name, a, &out->fields[i].type, err);
        if (exact != NULL) exact[i] = type_is_exact(t);
        duckdb_destroy_logical_type(&t);
    }
    return code;
}

enum err_code query_columns(struct engine_session *s, const char *sql, struct arena *a, struct cols_schema **schema, bool **exact, struct err *err) {
    struct rewrite_piece whole = {0, 0};
    struct rewritten r = {.text = str_c(sql), .pieces = &whole, .n_pieces = 1}; // positions stay those of `sql`
    duckdb_prepared_statement stmt = NULL;
    enum err_code code = prepare(s, &r, &stmt, err);
    if (code != ERR_OK) return code;
    *schema = ARENA_NEW(a, struct cols_schema);
    *exact = ARENA_ARRAY(a, bool, duckdb_prepared_statement_column_count(stmt) + 1);
    code = prepared_schema(stmt, a, *schema, *exact, err);
    duckdb_destroy_prepare(&stmt);
    return code;
}

enum err_code result_describe(struct engine_session *s, const struct rewritten *r, struct arena *a, struct engine_described *out, struct err *err) {
    duckdb_prepared_statement stmt = NULL;
    const char *tag;
    bool streams;
    enum err_code code = prepare(s, r, &stmt, err);
    if (code != ERR_OK) return code;
    code = check_type(stmt, NULL, &tag, &streams, err);
    out->columns = ARENA_NEW(a, struct cols_schema);
    if (code == ERR_OK && streams) code = prepared_schema(stmt, a, out->columns, NULL, err);
    out->n_params = duckdb_nparams(stmt);
    out->params = ARENA_ARRAY(a, struct cols_type, out->n_params + 1);
    for (size_t i = 0; i < out->n_params && code == ERR_OK; i++) {
        duckdb_logical_type t = duckdb_param_logical_type(stmt, i + 1);
        if (t == NULL) out->params[i].kind = COLS_STRING;
        else code = column_type(t, "of a parameter", a, &out->params[i], err);
        if (t != NULL) duckdb_destroy_logical_type(&t);
    }
    duckdb_destroy_prepare(&stmt);
    return code;
}

// ---- streams ----------------------------------------------------------------------------------------------------------------

// Text is bound as such, and DuckDB treats it like a literal in quotes. Numbers where numbers are expected are bound as numbers: `$1 + 1` has no
// meaning for text.
static duckdb_state bind_param(duckdb_prepared_statement stmt, size_t i, struct str text) {
    int64_t n;
    double d;
    switch (duckdb_param_type(stmt, i)) {
    case DUCKDB_TYPE_TINYINT:
    case DUCKDB_TYPE_SMALLINT:
    case DUCKDB_TYPE_INTEGER:
        if (str_to_i64(text, &n) && n >= INT32_MIN && n <= INT32_MAX) return duckdb_bind_int32(stmt, i, (int32_t)n);
        break;
    case DUCKDB_TYPE_BIGINT:
    case DUCKDB_TYPE_HUGEINT:
    case DUCKDB_TYPE_INTEGER_LITERAL:
        if (str_to_i64(text, &n)) return duckdb_bind_int64(stmt, i, n);
        break;
    case DUCKDB_TYPE_FLOAT:
    case DUCKDB_TYPE_DOUBLE:
        if (str_to_double(text, &d)) return duckdb_bind_double(stmt, i, d);
        break;
    default: break;
    }
    return duckdb_bind_varchar_length(stmt, i, text.p, text.n);
}

static enum err_code bind_params(duckdb_prepared_statement stmt, const struct engine_param *params, size_t n, struct err *err) {
    size_t wanted = duckdb_nparams(stmt);
    if (n != wanted) return err_set(err, ERR_INVALID, "the statement has %zu parameters, %zu values were given", wanted, n);
    for (size_t i = 0; i < n; i++) {
        duckdb_state state = params[i].null ? duckdb_bind_null(stmt, i + 1) : bind_param(stmt, i + 1, params[i].text);
        if (state != DuckDBSuccess) return err_set(err, ERR_INVALID, "parameter %zu cannot be bound (is it valid UTF-8?)", i + 1);
    }
    return ERR_OK;
}

static enum err_code execute_stream(struct engine_result *r, struct err *err) {
    duckdb_pending_result pending = NULL;
    enum err_code code = ERR_OK;
    if (duckdb_pending_prepared_streaming(r->stmt, &pending) != DuckDBSuccess)
        code = duck_error(duckdb_pending_error(pending), DUCKDB_ERROR_INVALID, err);
    else if (duckdb_execute_pending(pending, &r->res) != DuckDBSuccess)
        code = duck_error(duckdb_result_error(&r->res), duckdb_result_error_type(&r->res), err);
    duckdb_destroy_pending(&pending);
    return code;
}

static enum err_code execute(struct engine_result *r, bool streams, struct err *err) {
    if (streams) return execute_stream(r, err);
    if (duckdb_execute_prepared(r->stmt, &r->res) == DuckDBSuccess) return ERR_OK;
    return duck_error(duckdb_result_error(&r->res), duckdb_result_error_type(&r->res), err);
}

// The schema of what really came (it knows more than the prepared statement: parameters have types now).
static enum err_code result_schema(struct engine_result *r, struct err *err) {
    r->schema->n = duckdb_column_count(&r->res);
    r->schema->fields = ARENA_ARRAY(&r->arena, struct cols_field, r->schema->n + 1);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < r->schema->n && code == ERR_OK; i++) {
        duckdb_logical_type t = duckdb_column_logical_type(&r->res, i);
        r->schema->fields[i] = (struct cols_field){.name = arena_strdup(&r->arena, duckdb_column_name(&r->res, i)), .nullable = true};
        code = column_type(t, r->schema->fields[i].name, &r->arena, &r->schema->fields[i].type, err);
        duckdb_destroy_logical_type(&t);
    }
    return code;
}

static void end_stream(struct engine_result *r) {
    if (r->ended) return;
    r->ended = true;
    if (r->s != NULL && r->s->open == r) r->s->open = NULL;
    duckdb_destroy_result(&r->res);
    duckdb_destroy_prepare(&r->stmt);
}

void result_detach(struct engine_result *r) {
    end_stream(r);
    r->s = NULL;
}

// DuckDB's INTERNAL and FATAL errors make its database unusable.
static void leave_broken(struct engine_session *s, const struct err *err) {
    if (err->code == ERR_INTERNAL && !s->inside) duck_break(s->e, s->db);
}

// An error of a statement under way. DuckDB sometimes says "Interrupted!" where another thread had the true reason, and nobody cancelled: the
// statement is run once more without streaming for its message.
static enum err_code stream_failed(struct engine_result *r, struct err *err) {
    if (err->code == ERR_CANCELLED && r->rerun && r->s != NULL && !engine_cancelled(r->s)) {
        duckdb_destroy_result(&r->res);
        if (duckdb_execute_prepared(r->stmt, &r->res) == DuckDBSuccess) err_set(err, ERR_BUSY, "the statement was interrupted inside; run it again");
        else duck_error(duckdb_result_error(&r->res), duckdb_result_error_type(&r->res), err);
    }
    rewrite_position(&r->text, err);
    if (r->s != NULL) leave_broken(r->s, err);
    end_stream(r);
    return err->code;
}

struct engine_result *result_stream(struct engine_session *s, const struct rewritten *text, const struct engine_param *params, size_t n_params,
                                    const struct sql_statement *st, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    struct engine_result *r = result_new("");
    r->s = s;
    r->streams = true;
    r->text = *text;
    r->text.pieces = ARENA_ARRAY(&r->arena, struct rewrite_piece, text->n_pieces + 1);
    if (text->n_pieces > 0) memcpy(r->text.pieces, text->pieces, text->n_pieces * sizeof *text->pieces);
    r->text.text = (struct str){NULL, 0};
    if (prepare(s, text, &r->stmt, err) != ERR_OK) {
        leave_broken(s, err);
        r->ended = true;
        engine_result_free(r);
        return NULL;
    }
    const char *tag = "";
    bool streams = false;
    s->open = r;
    enum err_code code = check_type(r->stmt, st, &tag, &streams, err);
    if (code == ERR_OK) code = bind_params(r->stmt, params, n_params, err);
    r->rerun = streams;
    if (code == ERR_OK && (code = execute(r, streams, err)) != ERR_OK) code = stream_failed(r, err);
    if (code == ERR_OK) {
        duckdb_result_type kind = duckdb_result_return_type(r->res);
        r->is_rows = kind == DUCKDB_RESULT_TYPE_QUERY_RESULT;
        if (kind == DUCKDB_RESULT_TYPE_CHANGED_ROWS) r->affected = (int64_t)duckdb_rows_changed(&r->res);
        if (r->is_rows) code = result_schema(r, err);
    }
    if (code != ERR_OK) {
        engine_result_free(r);
        return NULL;
    }
    snprintf(r->tag, sizeof r->tag, "%s", st != NULL && st->kind != SQL_OTHER && st->kind != SQL_SELECT ? sql_kind_tag(st->kind) : tag);
    if (r->is_rows) {
        r->affected = 0;
        r->builder = cols_builder_new(r->schema, duckdb_vector_size());
    } else {
        end_stream(r);
    }
    return r;
}

static void gather(struct engine_result *r, duckdb_data_chunk chunk) {
    size_t n = duckdb_data_chunk_get_size(chunk);
    for (size_t i = 0; i < r->schema->n; i++) vector_gather(&r->builder->cols[i], duckdb_data_chunk_get_vector(chunk, i), 0, n);
    r->builder->rows += n;
}

static struct cols_batch *stream_next(struct engine_result *r, struct err *err) {
    if (r->ended) {
        if (r->s == NULL) err_set(err, ERR_CLOSED, "the result was ended by the session's next statement");
        return NULL;
    }
    bool end = false;
    while (cols_builder_rows(r->builder) < ENGINE_BATCH_ROWS && cols_builder_bytes(r->builder) < ENGINE_BATCH_BYTES) {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(r->res);
        if (chunk == NULL) {
            end = true;
            break;
        }
        gather(r, chunk);
        duckdb_destroy_data_chunk(&chunk);
    }
    const char *message = end ? duckdb_result_error(&r->res) : NULL;
    if (message != NULL && message[0] != 0) {
        duck_error(message, duckdb_result_error_type(&r->res), err);
        stream_failed(r, err);
        return NULL;
    }
    if (end) end_stream(r);
    if (cols_builder_rows(r->builder) == 0) return NULL;
    struct cols_batch *b = cols_builder_finish(r->builder);
    r->affected += (int64_t)b->n;
    return b;
}

// ---- batches ----------------------------------------------------------------------------------------------------------------

struct engine_result *result_done(const char *tag, int64_t affected) {
    struct engine_result *r = result_new(tag);
    r->affected = affected;
    return r;
}

struct engine_result *engine_result_of(const struct cols_schema *schema, struct cols_batch **batches, size_t n, const char *tag, int64_t affected) {
    struct engine_result *r = result_new(tag);
    r->schema = cols_schema_copy(schema, &r->arena);
    r->is_rows = schema->n > 0;
    r->affected = affected;
    r->batches = ARENA_ARRAY(&r->arena, struct cols_batch *, n + 1);
    if (n > 0) memcpy(r->batches, batches, n * sizeof *batches);
    r->n_batches = n;
    for (size_t i = 0; i < n; i++) batches[i]->schema = r->schema; // it lives as long as the result; batches do not outlive it
    return r;
}

struct engine_result *engine_result_text(const char *const *names, size_t n_cols, const char *const *cells, size_t n_rows, const char *tag,
                                         int64_t affected) {
    struct engine_result *r = result_new(tag);
    r->is_rows = true;
    r->affected = affected;
    r->schema->n = n_cols;
    r->schema->fields = ARENA_ARRAY(&r->arena, struct cols_field, n_cols + 1);
    for (size_t i = 0; i < n_cols; i++)
        r->schema->fields[i] = (struct cols_field){.name = arena_strdup(&r->arena, names[i]), .type = {.kind = COLS_STRING}, .nullable = true};
    struct cols_builder *b = cols_builder_new(r->schema, n_rows);
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t j = 0; j < n_cols; j++) {
            const char *cell = cells[i * n_cols + j];
            if (cell == NULL) cols_put_null(b, j);
            else cols_put_bytes(b, j, cell, strlen(cell));
        }
        cols_row_end(b);
    }
    r->batches = ARENA_ARRAY(&r->arena, struct cols_batch *, 1);
    if (n_rows > 0) r->batches[r->n_batches++] = cols_builder_finish(b);
    cols_builder_free(b);
    return r;
}

struct cols_batch *engine_result_next(struct engine_result *r, struct err *err) {
    struct err own;
    if (err == NULL) err = &own;
    err_clear(err);
    if (!r->is_rows) return NULL;
    if (r->streams) return stream_next(r, err);
    if (r->next == r->n_batches) return NULL;
    struct cols_batch *b = r->batches[r->next];
    r->batches[r->next++] = NULL;
    return b;
}

void engine_result_free(struct engine_result *r) {
    if (r == NULL) return;
    if (r->streams) end_stream(r);
    for (size_t i = r->next; i < r->n_batches; i++) cols_batch_free(r->batches[i]);
    if (r->builder != NULL) cols_builder_free(r->builder);
    arena_fini(&r->arena);
    mem_free(r);
}

const struct cols_schema *engine_result_schema(const struct engine_result *r) { return r->schema; }
const char *engine_result_tag(const struct engine_result *r) { return r->tag; }
bool engine_result_is_rows(const struct engine_result *r) { return r->is_rows; }
int64_t engine_result_affected(const struct engine_result *r) { return r->affected; }
