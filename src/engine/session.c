// SPDX-License-Identifier: Apache-2.0
// The engine and its sessions: opening, which statement goes where, scripts, describing, cancelling.
//
// A session is used by one thread at a time (engine_cancel: any thread) and has one DuckDB connection, which is replaced when DuckDB had to be
// opened again. Each statement commits by itself: BEGIN, COMMIT and ROLLBACK are accepted, for the sake of clients that always send them, and
// do nothing (ROLLBACK undoes nothing; docs/LIMITS.md). Durable is what the lake has committed when a statement returns.
#include <assert.h>

#include "engine/internal.h"

// ---- the engine -------------------------------------------------------------------------------------------------------------

static uint64_t machine_memory(struct sys *s) {
    uint64_t kib = 0;
    struct sys_file *f = sys_open(s, "/proc/meminfo", SYS_READ, NULL);
    char text[256] = {0};
    if (f != NULL && sys_pread(f, text, sizeof text - 1, 0, NULL) > 0 && strncmp(text, "MemTotal:", 9) == 0)
        for (const char *p = text + 9; *p != 0 && *p != '\n'; p++)
            if (*p >= '0' && *p <= '9') kib = kib * 10 + (uint64_t)(*p - '0');
    sys_close(f);
    return kib > 0 ? kib * 1024 : 4ull << 30;
}

static uint64_t default_memory(struct sys *s) {
    uint64_t fourth = machine_memory(s) / 4, most = 4ull << 30;
    return fourth < most ? fourth : most;
}

struct engine *engine_open(struct sys *s, const struct engine_config *config, struct lake *lake, struct topics *topics,
                           const struct schema_source *schemas, struct err *err) {
    struct engine *e = MEM_NEW(struct engine);
    e->sys = s;
    e->lake = lake;
    e->topics = topics;
    if (schemas != NULL) {
        e->schemas = *schemas;
        e->has_schemas = true;
    }
    e->memory_limit = config->memory_limit > 0 ? config->memory_limit : default_memory(s);
    e->threads = config->threads > 0 ? config->threads : sys_cpu_count();
    e->spill_dir = config->spill_dir != NULL ? mem_strdup(config->spill_dir) : NULL;
    e->files_dir = config->files_dir != NULL ? mem_strdup(config->files_dir) : NULL;
    sys_mutex_init(&e->catalog_mutex);
    sys_mutex_init(&e->mutex);
    map_init(&e->views);
    map_init(&e->sources);
    enum err_code code = e->spill_dir != NULL ? sys_mkdirs(s, e->spill_dir, err) : ERR_OK;
    if (code != ERR_OK) {
        engine_close(e);
        return NULL;
    }
    if (lake != NULL) checkpoint_register(e);
    return e;
}

void engine_close(struct engine *e) {
    if (e == NULL) return;
    if (e->lake != NULL) lake_set_parquet(e->lake, NULL);
    catalog_fini(e);
    duck_close(e);
    assert(e->sources.n == 0);
    map_fini(&e->views);
    map_fini(&e->sources);
    sys_mutex_fini(&e->catalog_mutex);
    sys_mutex_fini(&e->mutex);
    mem_free(e->spill_dir);
    mem_free(e->files_dir);
    mem_free(e);
}

struct lake *engine_lake(struct engine *e) { return e->lake; }
struct topics *engine_topics(struct engine *e) { return e->topics; }
struct sys *engine_sys(struct engine *e) { return e->sys; }
const struct schema_source *engine_schemas(struct engine *e) { return e->has_schemas ? &e->schemas : NULL; }

void engine_on_statement(struct engine *e, int statement_kind, engine_statement_fn *fn, void *arg) {
    assert(statement_kind > SQL_EMPTY && statement_kind < ENGINE_STATEMENT_KINDS);
    e->handlers[statement_kind].fn = fn;
    e->handlers[statement_kind].arg = arg;
}

void engine_on_statement_columns(struct engine *e, int statement_kind, const struct cols_schema *columns) {
    assert(statement_kind > SQL_EMPTY && statement_kind < ENGINE_STATEMENT_KINDS);
    e->handlers[statement_kind].columns = columns;
}

// ---- sessions -----------------------------------------------------------------------------------------------------------------

struct engine_session *session_open(struct engine *e, bool inside, struct err *err) {
    struct engine_session *s = MEM_NEW(struct engine_session);
    s->e = e;
    s->inside = inside;
    sys_mutex_init(&s->cancel_mutex);
    if (duck_ensure(e, inside, err) == ERR_OK && duck_connect(e, &s->db, &s->con, err) == ERR_OK) return s;
    sys_mutex_fini(&s->cancel_mutex);
    mem_free(s);
    return NULL;
}

struct engine_session *engine_session_open(struct engine *e, struct err *err) { return session_open(e, false, err); }

void engine_session_close(struct engine_session *s) {
    if (s == NULL) return;
    if (s->open != NULL) result_detach(s->open);
    duck_disconnect(s->e, s->db, s->con);
    sys_mutex_fini(&s->cancel_mutex);
    mem_free(s);
}

struct engine *engine_session_engine(struct engine_session *s) { return s->e; }

void engine_cancel(struct engine_session *s) {
    sys_mutex_lock(&s->cancel_mutex);
    s->cancelled = true;
    if (s->con != NULL) duckdb_interrupt(s->con);
    sys_mutex_unlock(&s->cancel_mutex);
}

bool engine_cancelled(struct engine_session *s) {
    sys_mutex_lock(&s->cancel_mutex);
    bool cancelled = s->cancelled;
    sys_mutex_unlock(&s->cancel_mutex);
    return cancelled;
}

// Before each statement: the old stream ends, a broken database is left, a cancellation of the past is forgotten.
static enum err_code begin_statement(struct engine_session *s, struct err *err) {
    if (s->open != NULL) result_detach(s->open);
    sys_mutex_lock(&s->e->mutex);
    bool stale = s->db != s->e->db;
    sys_mutex_unlock(&s->e->mutex);
    sys_mutex_lock(&s->cancel_mutex);
    s->cancelled = false;
    enum err_code code = ERR_OK;
    if (stale) {
        duck_disconnect(s->e, s->db, s->con);
        s->con = NULL;
        code = duck_connect(s->e, &s->db, &s->con, err);
    }
    sys_mutex_unlock(&s->cancel_mutex);
    return code;
}

// ---- dispatch -----------------------------------------------------------------------------------------------------------------

static struct engine_result *show_topics(struct engine *e, struct err *err) {
    static const char *const names[] = {"topic", "partitions", "events"};
    struct arena a;
    arena_init(&a);
    struct broker_topic_info *topics = NULL;
    size_t n = 0;
    if (e->topics != NULL && topics_list(e->topics, &a, &topics, &n, err) != ERR_OK) {
        arena_fini(&a);
        return NULL;
    }
    const char **cells = ARENA_ARRAY(&a, const char *, n * 3 + 1);
    for (size_t i = 0; i < n; i++) {
        int64_t events = 0;
        for (int32_t p = 0; p < topics[i].partitions; p++) {
            struct broker_offsets o;
            if (topics_offsets(e->topics, topics[i].name, p, &o, NULL) == ERR_OK) events += o.high_watermark - o.start;
        }
        cells[i * 3] = topics[i].name;
        cells[i * 3 + 1] = arena_printf(&a, "%d", topics[i].partitions);
        cells[i * 3 + 2] = arena_printf(&a, "%lld", (long long)events);
    }
    struct engine_result *r = engine_result_text(names, 3, cells, n, "SHOW", (int64_t)n);
    arena_fini(&a);
    return r;
}

// Statements that look into DuckDB's catalog see topics as views: those must be there.
static bool looks_at_catalog(const struct sql_statement *st) {
    static const char *const marks[] = {"information_schema", "INFORMATION_SCHEMA", "pg_",  "duckdb_",   "describe",
                                        "DESCRIBE",           "show",               "SHOW", "summarize", "SUMMARIZE"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (memmem(st->text.p, st->text.n, marks[i], strlen(marks[i])) != NULL) return true;
    return false;
}

static void sync_topics(struct engine *e) {
    sys_mutex_lock(&e->catalog_mutex);
    catalog_sync_topics(e);
    sys_mutex_unlock(&e->catalog_mutex);
}

static struct engine_result *run_in_duck(struct engine_session *s, const struct sql_statement *st, const struct engine_param *params, size_t n,
                                         struct arena *a, struct err *err) {
    struct rewritten text;
    if (s->e->topics != NULL && looks_at_catalog(st)) sync_topics(s->e);
    bool definition = st->kind == SQL_OTHER && st->temporary; // a temporary view is to see new rows: names stay
    if (definition && memmem(st->text.p, st->text.n, "view", 4) == NULL && memmem(st->text.p, st->text.n, "VIEW", 4) == NULL) definition = false;
    if (definition) {
        if (s->e->topics != NULL) sync_topics(s->e);
        text = (struct rewritten){.text = arena_str(a, st->text), .pieces = ARENA_NEW(a, struct rewrite_piece), .n_pieces = 1};
    } else if (rewrite(s->e, st, st->text, a, &text, err) != ERR_OK) {
        return NULL;
    }
    return result_stream(s, &text, params, n, st, err);
}

// A changed table without schema: the session's own temporary table when there is one, else one of the current schema.
static enum err_code resolve_target(struct engine_session *s, struct sql_statement *st, struct arena *a, struct err *err) {
    bool changes = st->kind >= SQL_CREATE_TABLE && st->kind <= SQL_MERGE;
    if (!changes || st->target.schema.n > 0 || st->temporary) return ERR_OK;
    struct buf sql;
    struct str schema;
    buf_init(&sql, 0);
    buf_puts(&sql, "select case when exists (from duckdb_tables() where temporary and lower(table_name) = lower(");
    sql_put_string(&sql, st->target.table);
    buf_puts(&sql, ")) then 'temp' else current_schema() end");
    enum err_code code = engine_scalar(s, buf_str(&sql), a, &schema, err);
    buf_fini(&sql);
    if (code == ERR_OK && (!str_eqc(schema, "temp") || st->kind > SQL_CREATE_TABLE_AS)) st->target.schema = schema;
    if (code == ERR_OK && st->target.schema.n == 0) st->target.schema = STR("main"); // create table: beside the temporary one
    return code;
}

static struct engine_result *run(struct engine_session *s, const struct sql_statement *st, const struct engine_param *params, size_t n,
                                 struct arena *a, struct err *err) {
    struct handler *h = &s->e->handlers[st->kind];
    if (h->fn != NULL) return h->fn(h->arg, s, st, err);
    switch (st->kind) {
    case SQL_EMPTY: return result_done("", -1);
    case SQL_SHOW_TOPICS: return show_topics(s->e, err);
    case SQL_BEGIN:
    case SQL_COMMIT:
    case SQL_ROLLBACK: return result_done(sql_kind_tag(st->kind), -1);
    case SQL_COPY_FROM_TOPIC:
    case SQL_CHECK:
        err_set(err, ERR_NOT_SUPPORTED, "`%s` is not there in this process", st->kind == SQL_CHECK ? "check" : "copy into ... from topic");
        return NULL;
    case SQL_CREATE_SCHEMA:
    case SQL_DROP_SCHEMA:
    case SQL_CREATE_TABLE:
    case SQL_CREATE_TABLE_AS:
    case SQL_DROP_TABLE:
    case SQL_INSERT:
    case SQL_INSERT_OVERWRITE:
    case SQL_DELETE:
    case SQL_TRUNCATE:
    case SQL_UPDATE:
    case SQL_MERGE:
        if (dml_is_ours(s->e, st)) return dml_run(s, st, params, n, err);
        return run_in_duck(s, st, params, n, a, err);
    case SQL_SELECT:
    case SQL_SET:
    case SQL_OTHER: return run_in_duck(s, st, params, n, a, err);
    }
    return NULL;
}

struct engine_result *engine_query(struct engine_session *s, struct str sql, const struct engine_param *params, size_t n_params, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    err_clear(err);
    struct arena a;
    arena_init(&a);
    struct sql_statement st;
    struct engine_result *r = NULL;
    if (begin_statement(s, err) == ERR_OK && sql_parse(sql, &a, &st, err) == ERR_OK && resolve_target(s, &st, &a, err) == ERR_OK) {
        r = run(s, &st, params, n_params, &a, err);
        if (r == NULL && err->position > 0) err->position += (int)st.at;
    }
    arena_fini(&a);
    assert(r != NULL || err->code != ERR_OK);
    return r;
}

static enum err_code drain(struct engine_result *r, struct err *err) {
    struct cols_batch *b;
    err_clear(err);
    while ((b = engine_result_next(r, err)) != NULL) cols_batch_free(b);
    engine_result_free(r);
    return err->code;
}

enum err_code engine_script(struct engine_session *s, struct str sql, struct engine_result **last, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    err_clear(err);
    struct arena a;
    arena_init(&a);
    struct engine_result *r = NULL;
    struct sql_statement st;
    size_t at = 0;
    while (err->code == ERR_OK && sql_next(sql, &at, &a, &st, err)) {
        if (r != NULL && drain(r, err) != ERR_OK) {
            r = NULL;
            break;
        }
        r = engine_query(s, st.text, NULL, 0, err);
        if (r == NULL && err->position > 0) err->position += (int)st.at;
    }
    if (err->code == ERR_OK && r == NULL) r = result_done("", -1);
    if (last == NULL && r != NULL && err->code == ERR_OK) {
        drain(r, err);
        r = NULL;
    }
    if (err->code != ERR_OK) {
        engine_result_free(r);
        r = NULL;
    }
    if (last != NULL) *last = r;
    arena_fini(&a);
    return err->code;
}

// The parameters of `delete from S.T where CONDITION`.
static enum err_code describe_condition(struct engine_session *s, const struct sql_statement *st, struct arena *a, struct engine_described *out,
                                        struct err *err) {
    struct buf sql;
    buf_init(&sql, 0);
    buf_puts(&sql, "select 1 from ");
    sql_put_ident(&sql, st->target.schema);
    buf_puts(&sql, ".");
    sql_put_ident(&sql, st->target.table);
    buf_printf(&sql, " where (" STR_FMT "\n)", STR_ARG(st->condition));
    enum err_code code = engine_describe(s, buf_str(&sql), a, out, err);
    if (code != ERR_OK) err->position = 0; // it counts in our text
    buf_fini(&sql);
    out->columns = ARENA_NEW(a, struct cols_schema);
    return code;
}

enum err_code engine_describe(struct engine_session *s, struct str sql, struct arena *a, struct engine_described *out, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    err_clear(err);
    *out = (struct engine_described){.columns = ARENA_NEW(a, struct cols_schema)};
    struct sql_statement st;
    if (begin_statement(s, err) != ERR_OK || sql_parse(sql, a, &st, err) != ERR_OK || resolve_target(s, &st, a, err) != ERR_OK) return err->code;
    if (s->e->handlers[st.kind].fn != NULL) {
        if (s->e->handlers[st.kind].columns != NULL) out->columns = cols_schema_copy(s->e->handlers[st.kind].columns, a);
        return ERR_OK;
    }
    if (st.kind == SQL_SHOW_TOPICS) {
        struct engine_result *r = show_topics(s->e, err);
        if (r == NULL) return err->code;
        out->columns = cols_schema_copy(engine_result_schema(r), a);
        engine_result_free(r);
        return ERR_OK;
    }
    if (st.kind == SQL_EMPTY || st.kind == SQL_BEGIN || st.kind == SQL_COMMIT || st.kind == SQL_ROLLBACK) return ERR_OK;
    struct rewritten text;
    struct str part = st.text;
    bool ours = dml_is_ours(s->e, &st);
    if (ours && st.condition.n > 0) return describe_condition(s, &st, a, out, err);
    if (ours && st.query.n == 0) return ERR_OK;
    if (ours) part = st.query; // its parameters
    if (looks_at_catalog(&st) && s->e->topics != NULL) sync_topics(s->e);
    if (rewrite(s->e, &st, part, a, &text, err) == ERR_OK) result_describe(s, &text, a, out, err);
    if (ours) out->columns = ARENA_NEW(a, struct cols_schema);
    if (err->code != ERR_OK && err->position > 0) err->position += (int)st.at;
    return err->code;
}

enum err_code engine_scalar(struct engine_session *s, struct str sql, struct arena *a, struct str *out, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    *out = STR("");
    struct engine_result *r = engine_query(s, sql, NULL, 0, err);
    if (r == NULL) return err->code;
    struct cols_batch *b = engine_result_next(r, err);
    if (b != NULL && b->n > 0 && b->schema->n > 0 && cols_is_valid(&b->columns[0], 0)) {
        struct buf text;
        buf_init(&text, 0);
        cols_value_text(&b->columns[0], 0, &text);
        *out = arena_str(a, buf_str(&text));
        buf_fini(&text);
    }
    cols_batch_free(b);
    engine_result_free(r);
    return err->code;
}
