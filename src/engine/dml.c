// SPDX-License-Identifier: Apache-2.0
// Statements that change the lake: schemas, create table, drop, insert, insert overwrite, delete, truncate. Each is one Delta commit: new
// files are written and synced first, then one log entry makes them the table's.
//
// Runs on the session's thread. Durable when the statement returns. A statement that fails, or dies with the process, leaves the tables as they
// were (files that nobody names are harmless). Rows are cast to the table's types; names of columns match without case.
#include <assert.h>

#include "codec/json.h"
#include "engine/internal.h"

struct change {
    struct engine_session *s;
    const struct sql_statement *st;
    const struct engine_param *params;
    size_t n_params;
    struct arena *a;
    const char *schema, *table, *dir;
    struct lake_snapshot *base; // NULL: no such table
    bool reads_target;
    struct engine_file *files;
    size_t n_files;
    int64_t rows;
};

static const char *text_of(struct arena *a, struct str s) { return arena_strndup(a, s.p, s.n); }

bool dml_is_ours(struct engine *e, const struct sql_statement *st) {
    if (st->kind == SQL_CREATE_SCHEMA || st->kind == SQL_DROP_SCHEMA) return true;
    if (st->kind < SQL_CREATE_SCHEMA || st->kind > SQL_MERGE) return false;
    (void)e;
    bool temporary = str_ieq(st->target.schema, STR("temp")) || str_ieq(st->target.catalog, STR("temp"));
    if (st->kind == SQL_CREATE_TABLE || st->kind == SQL_CREATE_TABLE_AS) return !temporary;
    return !temporary; // resolve_target has given every other name a schema
}

// ---- one change -------------------------------------------------------------------------------------------------------------

static enum err_code open_change(struct change *c, bool must_exist, struct err *err) {
    struct engine *e = c->s->e;
    struct sql_name name = c->st->target;
    if (e->lake == NULL) return err_set(err, ERR_NOT_SUPPORTED, "this process has no lake");
    if (str_ieq(name.schema, STR("topics"))) return err_set(err, ERR_NOT_SUPPORTED, "topics are written by producers, not by SQL");
    if (name.catalog.n > 0 && !str_ieq(name.catalog, STR("millrace"))) return err_set(err, ERR_NOT_FOUND, "there is only the database millrace");
    if (!catalog_is_table(e, &name, c->a, &c->schema, &c->table)) {
        if (must_exist) return err_set(err, ERR_NO_TABLE, "table " STR_FMT "." STR_FMT " does not exist", STR_ARG(name.schema), STR_ARG(name.table));
        c->schema = text_of(c->a, name.schema);
        c->table = text_of(c->a, name.table);
        enum err_code code = lake_check_name(name.schema, err);
        return code == ERR_OK ? lake_check_name(name.table, err) : code;
    }
    c->base = lake_table_snapshot(e->lake, c->schema, c->table, -1, err);
    return c->base != NULL ? ERR_OK : err->code;
}

static enum err_code make_dir(struct change *c, struct err *err) {
    struct lake *lake = c->s->e->lake;
    if (!lake_schema_exists(lake, c->schema)) {
        if (strcmp(c->schema, "main") != 0) return err_set(err, ERR_NO_SCHEMA, "schema %s does not exist; create schema %s", c->schema, c->schema);
        enum err_code code = lake_create_schema(lake, c->schema, err);
        if (code != ERR_OK && code != ERR_EXISTS) return code;
        err_clear(err);
    }
    c->dir = lake_table_dir(lake, c->schema, c->table, c->a);
    return lake_make_table_dir(lake, c->schema, c->table, err);
}

static enum err_code write(struct change *c, const char *select, struct cols_schema **schema, struct err *err) {
    enum err_code code = write_files(c->s, select, c->params, c->n_params, c->dir, c->a, &c->files, &c->n_files, schema, err);
    for (size_t i = 0; i < c->n_files; i++) c->rows += c->files[i].rows;
    return code;
}

static void drop_files(struct change *c) {
    for (size_t i = 0; i < c->n_files; i++) (void)sys_unlink(c->s->e->sys, arena_printf(c->a, "%s/%s", c->dir, c->files[i].path), NULL);
}

// The commit. `schema` not NULL: the table gets it. `overwrite`: all files of before go.
static enum err_code commit(struct change *c, const struct cols_schema *schema, bool overwrite, const char *operation, const char *mode,
                            struct err *err) {
    struct lake_txn *t = lake_txn_begin(c->s->e->lake, c->schema, c->table, c->base, err);
    if (t == NULL) return err->code;
    enum err_code code = schema != NULL ? lake_txn_set_schema(t, schema, err) : ERR_OK;
    if (overwrite && c->base != NULL) lake_txn_remove_all(t);
    if (c->reads_target) lake_txn_depends_on_table(t);
    for (size_t i = 0; i < c->n_files; i++) {
        const struct engine_file *f = &c->files[i];
        struct lake_add add = {.path = f->path, .size = f->size, .rows = f->rows, .stats_json = f->stats_json};
        lake_txn_add(t, &add);
    }
    lake_txn_set_info(t, operation, arena_printf(c->a, "{\"mode\":\"%s\"}", mode));
    if (code == ERR_OK) code = lake_txn_commit(t, NULL, err);
    lake_txn_free(t);
    if (code == ERR_CONFLICT || code == ERR_NO_SPACE) drop_files(c); // certainly not committed; after ERR_IO or ERR_SYNC_FAILED they may be the table's
    if (code != ERR_OK) return code;
    struct err view = {0};
    if (engine_catalog_changed(c->s->e, c->schema, c->table, &view) != ERR_OK)
        log_warn("engine", "the view of a table does not follow", "schema", c->schema, "table", c->table, "error", view.msg, NULL);
    return ERR_OK;
}

static enum err_code refuse_partitions(const struct change *c, struct err *err) {
    if (c->base == NULL || lake_snapshot_n_partition_columns(c->base) == 0) return ERR_OK;
    return err_set(err, ERR_NOT_SUPPORTED, "table %s.%s is partitioned: it can be read, not written", c->schema, c->table);
}

// DuckDB does not know the columns of `values ($1, $2)`. The values are text, and are cast to the table's types afterwards: say so.
static enum err_code type_params(struct change *c, const char **query, struct err *err) {
    struct cols_schema *columns;
    bool *exact;
    if (c->n_params == 0) return ERR_OK;
    enum err_code code = query_columns(c->s, *query, c->a, &columns, &exact, err);
    if (code != ERR_OK || columns->n != 1 || strcmp(columns->fields[0].name, "unknown") != 0) return code;
    struct buf out;
    struct sql_lexer l = {str_c(*query), 0};
    struct sql_token k;
    size_t done = 0;
    buf_init(&out, SQL_TEXT_MAX * 4);
    while (sql_lex(&l, &k, NULL) == ERR_OK && k.kind != SQL_TOKEN_END) {
        if (k.kind != SQL_TOKEN_PARAM) continue;
        size_t end = k.at + k.n;
        buf_put(&out, *query + done, end - done);
        if (l.text.n - end < 2 || memcmp(*query + end, "::", 2) != 0) buf_puts(&out, "::varchar");
        done = end;
    }
    buf_puts(&out, *query + done);
    *query = arena_strndup(c->a, (const char *)out.p, out.n);
    buf_fini(&out);
    return ERR_OK;
}

// ---- create table -----------------------------------------------------------------------------------------------------------

static enum err_code create_as(struct change *c, const char *select, struct err *err) {
    struct cols_schema *schema;
    enum err_code code = make_dir(c, err);
    if (code == ERR_OK) code = type_params(c, &select, err);
    if (code == ERR_OK) code = write(c, select, &schema, err);
    if (code != ERR_OK) return code;
    if (c->base != NULL) return commit(c, schema, true, "CREATE OR REPLACE TABLE AS SELECT", "Overwrite", err);
    return commit(c, schema, true, "CREATE TABLE AS SELECT", "ErrorIfExists", err);
}

static enum err_code table_exists(const struct change *c, bool *done, struct err *err) {
    *done = false;
    if (c->base == NULL || c->st->or_replace) return ERR_OK;
    *done = c->st->if_not_exists;
    return *done ? ERR_OK : err_set(err, ERR_EXISTS, "table %s.%s exists already", c->schema, c->table);
}

static struct engine_result *run_create_as(struct change *c, struct err *err) {
    bool done = false;
    struct rewritten r;
    enum err_code code = open_change(c, false, err);
    if (code == ERR_OK) code = table_exists(c, &done, err);
    if (done) return result_done("SELECT", 0);
    if (code == ERR_OK) code = rewrite(c->s->e, c->st, c->st->query, c->a, &r, err);
    if (code != ERR_OK) return NULL;
    c->reads_target = r.reads_target;
    code = create_as(c, r.text.p, err);
    if (code != ERR_OK) rewrite_position(&r, err);
    return code == ERR_OK ? result_done("SELECT", c->rows) : NULL;
}

// The definition becomes a temporary table for a moment: DuckDB knows the types' names.
static struct engine_result *run_create(struct change *c, struct err *err) {
    static const char scratch[] = "temp.millrace_definition";
    bool done = false;
    enum err_code code = open_change(c, false, err);
    if (code == ERR_OK) code = table_exists(c, &done, err);
    if (done) return result_done("CREATE TABLE", -1);
    if (code == ERR_OK) code = make_dir(c, err);
    if (code != ERR_OK) return NULL;
    code = duck_run(c->s->con, arena_printf(c->a, "create or replace temp table %s (" STR_FMT ")", scratch, STR_ARG(c->st->definition)), err);
    if (err->code != ERR_OK) err->position = 0; // counts in a text that the user has not seen
    struct cols_schema *from = NULL, *schema = NULL;
    bool *exact;
    if (code == ERR_OK) code = query_columns(c->s, arena_printf(c->a, "select * from %s", scratch), c->a, &from, &exact, err);
    if (code == ERR_OK && (schema = lake_storable_schema(from, c->a, err)) == NULL) code = err->code;
    (void)duck_run(c->s->con, arena_printf(c->a, "drop table if exists %s", scratch), NULL);
    if (code == ERR_OK) code = commit(c, schema, true, "CREATE TABLE", "ErrorIfExists", err);
    return code == ERR_OK ? result_done("CREATE TABLE", -1) : NULL;
}

// ---- insert -----------------------------------------------------------------------------------------------------------------

static int find_column(const struct cols_schema *schema, struct str name) {
    int exact = cols_schema_find(schema, name);
    if (exact >= 0) return exact;
    for (size_t i = 0; i < schema->n; i++)
        if (str_ieq(name, str_c(schema->fields[i].name))) return (int)i;
    return -1;
}

// from[i]: which column of the query goes to column i of the table; -1: null.
static enum err_code match_columns(const struct change *c, const struct cols_schema *to, size_t n_query, int *from, struct err *err) {
    size_t n = c->st->n_columns;
    for (size_t i = 0; i < to->n; i++) from[i] = n > 0 || i >= n_query ? -1 : (int)i;
    if (n == 0 && n_query != to->n)
        return err_set(err, ERR_INVALID, "table %s.%s has %zu columns, the query yields %zu", c->schema, c->table, to->n, n_query);
    if (n > 0 && n != n_query) return err_set(err, ERR_INVALID, "%zu columns are named, the query yields %zu", n, n_query);
    for (size_t i = 0; i < n; i++) {
        int at = find_column(to, c->st->columns[i]);
        if (at < 0) return err_set(err, ERR_NO_COLUMN, "table %s.%s has no column " STR_FMT, c->schema, c->table, STR_ARG(c->st->columns[i]));
        if (from[at] >= 0) return err_set(err, ERR_INVALID, "column " STR_FMT " is named twice", STR_ARG(c->st->columns[i]));
        from[at] = (int)i;
    }
    return ERR_OK;
}

// `select c0::T as "a", null::U as "b" ... from (query) as s__(c0, ...)`
static enum err_code insert_select(struct change *c, const char *query, struct buf *out, struct err *err) {
    const struct cols_schema *to = lake_snapshot_schema(c->base);
    struct cols_schema *columns;
    bool *exact;
    enum err_code code = type_params(c, &query, err);
    if (code == ERR_OK) code = query_columns(c->s, query, c->a, &columns, &exact, err);
    if (code != ERR_OK) return code;
    int *from = ARENA_ARRAY(c->a, int, to->n + 1);
    code = match_columns(c, to, columns->n, from, err);
    buf_puts(out, "select ");
    for (size_t i = 0; i < to->n && code == ERR_OK; i++) {
        if (i > 0) buf_puts(out, ", ");
        bool nullable = to->fields[i].nullable;
        if (from[i] < 0 && !nullable) code = err_set(err, ERR_DATA, "column %s must not be null", to->fields[i].name);
        if (from[i] < 0) buf_puts(out, "null");
        else if (nullable) buf_printf(out, "c%d", from[i]);
        else buf_printf(out, "coalesce(c%d, error('column ' || %d || ' must not be null'))", from[i], from[i] + 1);
        buf_puts(out, "::");
        type_put_sql(&to->fields[i].type, out);
        buf_puts(out, " as ");
        sql_put_ident(out, str_c(to->fields[i].name));
    }
    buf_printf(out, " from (%s\n) as s__(", query);
    for (size_t i = 0; i < columns->n; i++) buf_printf(out, "%sc%zu", i > 0 ? ", " : "", i);
    buf_puts(out, ")");
    return code;
}

static struct engine_result *run_insert(struct change *c, struct err *err) {
    bool overwrite = c->st->kind == SQL_INSERT_OVERWRITE;
    struct rewritten r = {0};
    struct buf sql;
    buf_init(&sql, SQL_TEXT_MAX * 4);
    enum err_code code = open_change(c, true, err);
    if (code == ERR_OK) code = refuse_partitions(c, err);
    if (code == ERR_OK) code = rewrite(c->s->e, c->st, c->st->query, c->a, &r, err);
    if (code == ERR_OK) code = make_dir(c, err);
    if (code == ERR_OK && (code = insert_select(c, r.text.p, &sql, err)) != ERR_OK) rewrite_position(&r, err);
    struct cols_schema *written;
    c->reads_target = r.reads_target;
    if (code == ERR_OK && (code = write(c, buf_cstr(&sql), &written, err)) != ERR_OK) err->position = 0;
    buf_fini(&sql);
    if (code == ERR_OK && (c->n_files > 0 || overwrite)) code = commit(c, NULL, overwrite, "WRITE", overwrite ? "Overwrite" : "Append", err);
    return code == ERR_OK ? result_done(sql_kind_tag(c->st->kind), c->rows) : NULL;
}

// ---- delete, truncate ---------------------------------------------------------------------------------------------------------

// Keeps the rows for which the condition is not true: the whole table is written again.
static struct engine_result *run_delete(struct change *c, struct err *err) {
    enum err_code code = open_change(c, true, err);
    if (code == ERR_OK) code = refuse_partitions(c, err);
    if (code != ERR_OK) return NULL;
    int64_t before = lake_snapshot_rows(c->base);
    struct cols_schema *written;
    struct rewritten r;
    if (c->st->condition.n > 0) {
        size_t n = lake_snapshot_n_files(c->base);
        size_t *files = ARENA_ARRAY(c->a, size_t, n + 1);
        for (size_t i = 0; i < n; i++) files[i] = i;
        struct buf sql;
        buf_init(&sql, SQL_TEXT_MAX * 4);
        code = rewrite(c->s->e, c->st, c->st->condition, c->a, &r, err);
        if (code == ERR_OK) code = make_dir(c, err);
        if (code == ERR_OK) {
            buf_puts(&sql, "select * from ");
            rewrite_scan(c->base, files, n, &sql);
            buf_puts(&sql, " as ");
            sql_put_ident(&sql, c->st->target.table);
            buf_printf(&sql, " where (%s\n) is not true", r.text.p);
            c->reads_target = true;
            if ((code = write(c, buf_cstr(&sql), &written, err)) != ERR_OK) err->position = 0;
        }
        buf_fini(&sql);
    }
    if (code == ERR_OK && before >= 0 && c->rows == before) { // nothing to delete
        drop_files(c);
        return result_done(sql_kind_tag(c->st->kind), 0);
    }
    if (code == ERR_OK) code = commit(c, NULL, true, c->st->kind == SQL_TRUNCATE ? "TRUNCATE" : "DELETE", "Overwrite", err);
    return code == ERR_OK ? result_done(sql_kind_tag(c->st->kind), before >= 0 ? before - c->rows : -1) : NULL;
}

// ---- drop, schemas --------------------------------------------------------------------------------------------------------------

static struct engine_result *run_drop_table(struct change *c, struct err *err) {
    enum err_code code = open_change(c, true, err);
    if (c->st->if_exists && (code == ERR_NO_TABLE || code == ERR_NO_SCHEMA)) {
        err_clear(err);
        return result_done("DROP TABLE", -1);
    }
    if (code == ERR_OK) code = lake_drop_table(c->s->e->lake, c->schema, c->table, err);
    if (code == ERR_OK) code = engine_catalog_changed(c->s->e, c->schema, c->table, err);
    return code == ERR_OK ? result_done("DROP TABLE", -1) : NULL;
}

static enum err_code check_schema_name(const struct change *c, struct err *err) {
    struct str name = c->st->target.schema;
    static const char *const taken[] = {"topics", "temp", "system", "pg_catalog", "information_schema"};
    if (c->s->e->lake == NULL) return err_set(err, ERR_NOT_SUPPORTED, "this process has no lake");
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (str_ieq(name, str_c(taken[i]))) return err_set(err, ERR_INVALID, "the schema name %s is taken", taken[i]);
    return lake_check_name(name, err);
}

static struct engine_result *run_create_schema(struct change *c, struct err *err) {
    const char *name = text_of(c->a, c->st->target.schema);
    enum err_code code = check_schema_name(c, err);
    if (code == ERR_OK) code = lake_create_schema(c->s->e->lake, name, err);
    if (code == ERR_EXISTS && c->st->if_not_exists) {
        err_clear(err);
        code = ERR_OK;
    }
    if (code != ERR_OK) return NULL;
    catalog_sync_schema(c->s->e, name, true);
    return result_done("CREATE SCHEMA", -1);
}

static enum err_code drop_tables(struct change *c, const char *schema, struct err *err) {
    struct sys_list tables = {0};
    enum err_code code = lake_list_tables(c->s->e->lake, schema, &tables, err);
    for (size_t i = 0; i < tables.n && code == ERR_OK; i++) {
        code = lake_drop_table(c->s->e->lake, schema, tables.names[i], err);
        if (code == ERR_OK) code = engine_catalog_changed(c->s->e, schema, tables.names[i], err);
    }
    sys_list_free(&tables);
    return code;
}

static struct engine_result *run_drop_schema(struct change *c, struct err *err) {
    const char *name = text_of(c->a, c->st->target.schema);
    enum err_code code = check_schema_name(c, err);
    if (code != ERR_OK) return NULL;
    if (!lake_schema_exists(c->s->e->lake, name)) {
        if (c->st->if_exists) return result_done("DROP SCHEMA", -1);
        err_set(err, ERR_NO_SCHEMA, "schema %s does not exist", name);
        return NULL;
    }
    if (c->st->cascade) code = drop_tables(c, name, err);
    if (code == ERR_OK) code = lake_drop_schema(c->s->e->lake, name, err);
    if (code != ERR_OK) return NULL;
    catalog_sync_schema(c->s->e, name, false);
    return result_done("DROP SCHEMA", -1);
}

static struct engine_result *refuse(struct change *c, struct err *err) {
    err_set(err, ERR_NOT_SUPPORTED, "%s of a lake table is not supported; use insert, insert overwrite, delete or create or replace table",
            sql_kind_tag(c->st->kind));
    return NULL;
}

struct engine_result *dml_run(struct engine_session *s, const struct sql_statement *st, const struct engine_param *params, size_t n_params,
                              struct err *err) {
    static struct engine_result *(*const runners[])(struct change *c, struct err *err) = {
        [SQL_CREATE_SCHEMA] = run_create_schema,
        [SQL_DROP_SCHEMA] = run_drop_schema,
        [SQL_CREATE_TABLE] = run_create,
        [SQL_CREATE_TABLE_AS] = run_create_as,
        [SQL_DROP_TABLE] = run_drop_table,
        [SQL_INSERT] = run_insert,
        [SQL_INSERT_OVERWRITE] = run_insert,
        [SQL_DELETE] = run_delete,
        [SQL_TRUNCATE] = run_delete,
        [SQL_UPDATE] = refuse,
        [SQL_MERGE] = refuse,
    };
    struct arena a;
    arena_init(&a);
    struct change c = {.s = s, .st = st, .params = params, .n_params = n_params, .a = &a};
    assert((size_t)st->kind < sizeof runners / sizeof *runners && runners[st->kind] != NULL);
    struct engine_result *r = runners[st->kind](&c, err);
    lake_snapshot_unref(c.base);
    arena_fini(&a);
    return r;
}
