// SPDX-License-Identifier: Apache-2.0
// Schemas, tables and topics: which names are ours, the listing for doors, and views in DuckDB of the same names.
//
// The views exist so that information_schema, DESCRIBE, search_path and statements that the scanner of names does not understand find the
// tables. A statement whose names are recognised never reads them: it gets the newest snapshot itself (rewrite.c). They follow every commit made
// through the engine, and engine_catalog_changed.
//
// Any thread that may block; e->catalog_mutex guards the admin connection and what the views show. Nothing is durable here.
#include <stdlib.h>

#include "engine/internal.h"
#include "engine/topic.h"

struct view_state {
    int64_t version; // of the Delta table, or a hash of a topic's columns
    char id[40];
};

// ---- names ------------------------------------------------------------------------------------------------------------------

static bool our_catalog(struct str name) { return name.n == 0 || str_ieq(name, STR("millrace")); }

bool catalog_is_topic(struct engine *e, const struct sql_name *name, struct arena *a, struct str *topic) {
    if (e->topics == NULL) return false;
    struct broker_topic_info info;
    if (str_ieq(name->catalog, STR("topics"))) // topics.flights.dlq without quotes
        *topic = str_c(arena_printf(a, STR_FMT "." STR_FMT, STR_ARG(name->schema), STR_ARG(name->table)));
    else if (our_catalog(name->catalog) && str_ieq(name->schema, STR("topics"))) *topic = name->table;
    else return false;
    return topics_get(e->topics, *topic, a, &info, NULL) == ERR_OK;
}

// Exact spelling first, then without case.
static const char *find_name(const struct sys_list *l, struct str name, struct arena *a) {
    for (size_t i = 0; i < l->n; i++)
        if (str_eqc(name, l->names[i])) return arena_strdup(a, l->names[i]);
    for (size_t i = 0; i < l->n; i++)
        if (str_ieq(name, str_c(l->names[i]))) return arena_strdup(a, l->names[i]);
    return NULL;
}

bool catalog_is_table(struct engine *e, const struct sql_name *name, struct arena *a, const char **schema, const char **table) {
    if (e->lake == NULL || name->schema.n == 0 || !our_catalog(name->catalog)) return false;
    *schema = arena_strndup(a, name->schema.p, name->schema.n);
    *table = arena_strndup(a, name->table.p, name->table.n);
    if (lake_check_name(name->schema, NULL) != ERR_OK || lake_check_name(name->table, NULL) != ERR_OK) return false;
    if (lake_table_exists(e->lake, *schema, *table)) return true;
    struct sys_list l = {0};
    if (lake_list_schemas(e->lake, &l, NULL) != ERR_OK) return false;
    const char *found = find_name(&l, name->schema, a);
    sys_list_free(&l);
    if (found == NULL) return false;
    *schema = found;
    if (lake_list_tables(e->lake, found, &l, NULL) != ERR_OK) return false;
    found = find_name(&l, name->table, a);
    sys_list_free(&l);
    if (found != NULL) *table = found;
    return found != NULL;
}

// ---- views --------------------------------------------------------------------------------------------------------------------

static void put_key(struct buf *b, const char *schema, const char *name) { buf_printf(b, "%s\n%s", schema, name); }

static void forget(struct engine *e, const char *schema, const char *name) {
    struct buf key;
    buf_init(&key, 0);
    put_key(&key, schema, name);
    mem_free(map_remove(&e->views, buf_str(&key)));
    buf_fini(&key);
}

// true: the view shows this already.
static bool is_shown(struct engine *e, const char *schema, const char *name, int64_t version, const char *id) {
    struct buf key;
    buf_init(&key, 0);
    put_key(&key, schema, name);
    const struct view_state *v = map_get(&e->views, buf_str(&key));
    buf_fini(&key);
    return v != NULL && v->version == version && strncmp(v->id, id, sizeof v->id - 1) == 0;
}

static void remember(struct engine *e, const char *schema, const char *name, int64_t version, const char *id) {
    struct view_state *v = MEM_NEW(struct view_state);
    v->version = version;
    for (size_t i = 0; i < sizeof v->id - 1 && id[i] != 0; i++) v->id[i] = id[i];
    struct buf key;
    buf_init(&key, 0);
    put_key(&key, schema, name);
    mem_free(map_put(&e->views, buf_str(&key), v));
    buf_fini(&key);
}

static void put_view_name(struct buf *b, const char *schema, const char *name) {
    sql_put_ident(b, str_c(schema));
    buf_puts(b, ".");
    sql_put_ident(b, str_c(name));
}

static enum err_code run(struct engine *e, struct buf *sql, struct err *err) {
    enum err_code code = sql->failed ? err_set(err, ERR_TOO_LARGE, "a view of too many files") : duck_run(e->admin, buf_cstr(sql), err);
    buf_fini(sql);
    return code;
}

static enum err_code create_schema(struct engine *e, const char *schema, struct err *err) {
    struct buf sql;
    buf_init(&sql, 0);
    buf_puts(&sql, "create schema if not exists ");
    sql_put_ident(&sql, str_c(schema));
    return run(e, &sql, err);
}

static enum err_code drop_view(struct engine *e, const char *schema, const char *name, struct err *err) {
    struct buf sql;
    buf_init(&sql, 0);
    buf_puts(&sql, "drop view if exists ");
    put_view_name(&sql, schema, name);
    forget(e, schema, name);
    return run(e, &sql, err);
}

static enum err_code show_table(struct engine *e, const char *schema, const char *table, struct err *err) {
    struct lake_snapshot *snap = lake_table_snapshot(e->lake, schema, table, -1, err);
    if (snap == NULL) return err->code;
    enum err_code code = ERR_OK;
    if (!is_shown(e, schema, table, lake_snapshot_version(snap), lake_snapshot_id(snap))) {
        size_t n = lake_snapshot_n_files(snap);
        size_t *files = mem_alloc(sizeof *files * (n + 1));
        for (size_t i = 0; i < n; i++) files[i] = i;
        struct buf sql;
        buf_init(&sql, SQL_TEXT_MAX * 4);
        buf_puts(&sql, "create or replace view ");
        put_view_name(&sql, schema, table);
        buf_puts(&sql, " as select * from ");
        rewrite_scan(snap, files, n, &sql);
        mem_free(files);
        code = create_schema(e, schema, err);
        if (code == ERR_OK) code = run(e, &sql, err);
        else buf_fini(&sql);
        if (code == ERR_OK) remember(e, schema, table, lake_snapshot_version(snap), lake_snapshot_id(snap));
    }
    lake_snapshot_unref(snap);
    return code;
}

// A name without schema is DuckDB's to find, in the view of that name; other programs may have committed to the table since.
void catalog_freshen(struct engine *e, struct str table) {
    struct sys_list schemas = {0};
    if (e->lake == NULL || lake_check_name(table, NULL) != ERR_OK || lake_list_schemas(e->lake, &schemas, NULL) != ERR_OK) return;
    char *name = mem_strndup(table.p, table.n);
    for (size_t i = 0; i < schemas.n; i++) {
        struct err err = {0};
        if (!lake_table_exists(e->lake, schemas.names[i], name)) continue;
        sys_mutex_lock(&e->catalog_mutex);
        if (show_table(e, schemas.names[i], name, &err) != ERR_OK)
            log_warn("engine", "a table cannot be read", "schema", schemas.names[i], "table", name, "error", err.msg, NULL);
        sys_mutex_unlock(&e->catalog_mutex);
    }
    mem_free(name);
    sys_list_free(&schemas);
}

enum err_code engine_catalog_changed(struct engine *e, const char *schema, const char *table, struct err *err) {
    struct err own;
    if (err == NULL) err = &own;
    enum err_code code;
    sys_mutex_lock(&e->catalog_mutex);
    if (!e->catalog_ready) {
        code = ERR_OK;
    } else if (strcmp(schema, "topics") == 0) {
        catalog_sync_topics(e);
        code = ERR_OK;
    } else if (e->lake != NULL && lake_table_exists(e->lake, schema, table)) {
        code = show_table(e, schema, table, err);
    } else {
        code = drop_view(e, schema, table, err);
        if (code == ERR_NO_SCHEMA || code == ERR_NOT_FOUND) code = ERR_OK;
    }
    sys_mutex_unlock(&e->catalog_mutex);
    return code;
}

void catalog_sync_schema(struct engine *e, const char *schema, bool exists) {
    struct err err = {0};
    sys_mutex_lock(&e->catalog_mutex);
    if (e->catalog_ready && exists) {
        create_schema(e, schema, &err);
    } else if (e->catalog_ready) {
        struct buf sql;
        buf_init(&sql, 0);
        buf_puts(&sql, "drop schema if exists ");
        sql_put_ident(&sql, str_c(schema));
        buf_puts(&sql, " cascade");
        run(e, &sql, &err);
    }
    sys_mutex_unlock(&e->catalog_mutex);
    if (err.code != ERR_OK) log_warn("engine", "the view catalog does not follow a schema", "schema", schema, "error", err.msg, NULL);
}

static void open_schema(struct engine *e, const char *schema) {
    struct err err = {0};
    struct sys_list tables = {0};
    if (create_schema(e, schema, &err) != ERR_OK || lake_list_tables(e->lake, schema, &tables, &err) != ERR_OK) {
        log_warn("engine", "a schema cannot be listed", "schema", schema, "error", err.msg, NULL);
        return;
    }
    for (size_t i = 0; i < tables.n; i++) {
        if (show_table(e, schema, tables.names[i], &err) == ERR_OK) continue;
        log_warn("engine", "a table cannot be read", "schema", schema, "table", tables.names[i], "error", err.msg, NULL);
    }
    sys_list_free(&tables);
}

void catalog_open(struct engine *e) {
    struct sys_list schemas = {0};
    if (e->lake == NULL || lake_list_schemas(e->lake, &schemas, NULL) != ERR_OK) return;
    for (size_t i = 0; i < schemas.n; i++) open_schema(e, schemas.names[i]);
    sys_list_free(&schemas);
}

void catalog_fini(struct engine *e) {
    struct map_entry *entry;
    for (size_t it = 0; (entry = map_next(&e->views, &it)) != NULL;) mem_free(entry->value);
    map_fini(&e->views);
    map_init(&e->views);
}

// ---- topics -------------------------------------------------------------------------------------------------------------------

static int64_t columns_hash(const struct cols_schema *schema) {
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < schema->n; i++) {
        buf_printf(&b, "%s:", schema->fields[i].name);
        type_put_sql(&schema->fields[i].type, &b);
        buf_puts(&b, ";");
    }
    int64_t hash = (int64_t)str_hash(buf_str(&b));
    buf_fini(&b);
    return hash;
}

static bool in_topics(const struct broker_topic_info *topics, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(topics[i].name, name) == 0) return true;
    return false;
}

static void show_topic(struct engine *e, const char *name, struct arena *a) {
    struct err err = {0};
    const struct cols_schema *schema = topic_columns(e, str_c(name), a, &err);
    int64_t hash = schema != NULL ? columns_hash(schema) : 0;
    if (schema == NULL || is_shown(e, "topics", name, hash, "")) return;
    struct buf sql;
    buf_init(&sql, 0);
    buf_puts(&sql, "create or replace view ");
    put_view_name(&sql, "topics", name);
    buf_puts(&sql, " as select * from topic_scan(");
    sql_put_string(&sql, str_c(name));
    buf_puts(&sql, ")");
    if (run(e, &sql, &err) == ERR_OK) remember(e, "topics", name, hash, "");
    else log_warn("engine", "a topic cannot be shown as a view", "topic", name, "error", err.msg, NULL);
}

void catalog_sync_topics(struct engine *e) { // under catalog_mutex
    if (e->topics == NULL || !e->catalog_ready) return;
    struct arena a;
    arena_init(&a);
    struct broker_topic_info *topics;
    size_t n;
    struct err err = {0};
    if (topics_list(e->topics, &a, &topics, &n, &err) != ERR_OK) { // what was there stays
        log_warn("engine", "topics cannot be listed", "error", err.msg, NULL);
        arena_fini(&a);
        return;
    }
    for (size_t i = 0; i < n; i++) show_topic(e, topics[i].name, &a);
    struct map_entry *entry;
    for (size_t it = 0; (entry = map_next(&e->views, &it)) != NULL;) {
        if (strncmp(entry->key, "topics\n", 7) != 0 || in_topics(topics, n, entry->key + 7)) continue;
        const char *name = arena_strdup(&a, entry->key + 7);
        drop_view(e, "topics", name, NULL);
    }
    arena_fini(&a);
}

// ---- listing ------------------------------------------------------------------------------------------------------------------

typedef VEC(struct engine_relation) relations_vec;

static void list_table(struct engine *e, const char *schema, const char *table, struct arena *a, relations_vec *out) {
    struct err err = {0};
    struct engine_relation r = {.kind = ENGINE_TABLE, .schema = schema, .name = arena_strdup(a, table), .rows = -1, .bytes = -1};
    struct lake_snapshot *snap = lake_table_snapshot(e->lake, schema, table, -1, &err);
    if (snap == NULL) {
        r.error = arena_strdup(a, err.msg);
    } else {
        r.columns = cols_schema_copy(lake_snapshot_schema(snap), a);
        r.rows = lake_snapshot_rows(snap);
        r.bytes = (int64_t)lake_snapshot_bytes(snap);
        lake_snapshot_unref(snap);
    }
    vec_add(out, r);
}

static void list_schema(struct engine *e, const char *schema, struct str only, struct arena *a, relations_vec *out) {
    struct sys_list tables = {0};
    if (lake_list_tables(e->lake, schema, &tables, NULL) != ERR_OK) return;
    for (size_t i = 0; i < tables.n; i++)
        if (only.n == 0 || str_eqc(only, tables.names[i])) list_table(e, schema, tables.names[i], a, out);
    sys_list_free(&tables);
}

static void list_topics(struct engine *e, struct str only, struct arena *a, relations_vec *out) {
    struct broker_topic_info *topics;
    size_t n;
    if (topics_list(e->topics, a, &topics, &n, NULL) != ERR_OK) return;
    for (size_t i = 0; i < n; i++) {
        if (only.n > 0 && !str_eqc(only, topics[i].name)) continue;
        struct err err = {0};
        struct engine_relation r = {.kind = ENGINE_TOPIC, .schema = "topics", .name = topics[i].name, .rows = 0, .bytes = -1};
        r.columns = topic_columns(e, str_c(topics[i].name), a, &err);
        if (r.columns == NULL) r.error = arena_strdup(a, err.msg);
        for (int32_t p = 0; p < topics[i].partitions; p++) {
            struct broker_offsets o;
            if (topics_offsets(e->topics, topics[i].name, p, &o, NULL) == ERR_OK) r.rows += o.high_watermark - o.start;
        }
        vec_add(out, r);
    }
}

// The session's own temporary tables and views.
static enum err_code list_temporary(struct engine_session *s, struct str only, struct arena *a, relations_vec *out, struct err *err) {
    static const char sql[] = "select table_name, 'TABLE' from duckdb_tables() where temporary union all "
                              "select view_name, 'VIEW' from duckdb_views() where temporary and not internal order by 1";
    struct engine_result *r = engine_query(s, str_c(sql), NULL, 0, err);
    if (r == NULL) return err->code;
    struct cols_batch *b;
    size_t first = out->n;
    while ((b = engine_result_next(r, err)) != NULL) {
        for (size_t i = 0; i < b->n; i++) {
            struct str name = cols_str(&b->columns[0], i);
            if (only.n > 0 && !str_eq(only, name)) continue;
            bool view = str_eqc(cols_str(&b->columns[1], i), "VIEW");
            vec_add(out, ((struct engine_relation){.kind = view ? ENGINE_VIEW : ENGINE_TEMP, .schema = "temp", .rows = -1, .bytes = -1,
                                                   .name = arena_strndup(a, name.p, name.n)}));
        }
        cols_batch_free(b);
    }
    engine_result_free(r);
    for (size_t i = first; i < out->n && err->code == ERR_OK; i++) {
        struct buf q;
        buf_init(&q, 0);
        buf_puts(&q, "select * from temp.");
        sql_put_ident(&q, str_c(out->p[i].name));
        struct cols_schema *schema = NULL;
        bool *exact;
        struct err mine = {0};
        if (query_columns(s, buf_cstr(&q), a, &schema, &exact, &mine) != ERR_OK) out->p[i].error = arena_strdup(a, mine.msg);
        out->p[i].columns = schema;
        buf_fini(&q);
    }
    return err->code;
}

static int by_name(const void *x, const void *y) {
    const struct engine_relation *a = x, *b = y;
    int c = strcmp(a->schema, b->schema);
    return c != 0 ? c : strcmp(a->name, b->name);
}

static int by_text(const void *x, const void *y) { return strcmp(*(const char *const *)x, *(const char *const *)y); }

static void list_schemas(struct engine *e, struct arena *a, struct engine_catalog *out) {
    struct sys_list l = {0};
    if (e->lake != NULL) (void)lake_list_schemas(e->lake, &l, NULL);
    out->schemas = ARENA_ARRAY(a, const char *, l.n + 2);
    for (size_t i = 0; i < l.n; i++) out->schemas[out->n_schemas++] = arena_strdup(a, l.names[i]);
    static const char *const always[] = {"main", "topics"};
    for (size_t j = 0; j < 2; j++) {
        bool there = false;
        for (size_t i = 0; i < l.n; i++) there = there || strcmp(l.names[i], always[j]) == 0;
        if (!there) out->schemas[out->n_schemas++] = always[j];
    }
    sys_list_free(&l);
    qsort(out->schemas, out->n_schemas, sizeof *out->schemas, by_text);
}

enum err_code engine_catalog_list(struct engine_session *s, struct str schema, struct str name, struct arena *a, struct engine_catalog *out,
                                  struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    err_clear(err);
    struct engine *e = s->e;
    *out = (struct engine_catalog){0};
    relations_vec v = {0};
    list_schemas(e, a, out);
    for (size_t i = 0; i < out->n_schemas && e->lake != NULL; i++)
        if (schema.n == 0 || str_eqc(schema, out->schemas[i])) list_schema(e, out->schemas[i], name, a, &v);
    if (e->topics != NULL && (schema.n == 0 || str_eqc(schema, "topics"))) list_topics(e, name, a, &v);
    if (schema.n == 0 || str_eqc(schema, "temp")) list_temporary(s, name, a, &v, err);
    if (v.n > 0) qsort(v.p, v.n, sizeof *v.p, by_name);
    out->n_relations = v.n;
    out->relations = ARENA_ARRAY(a, struct engine_relation, v.n + 1);
    if (v.n > 0) memcpy(out->relations, v.p, v.n * sizeof *v.p);
    vec_fini(&v);
    return err->code;
}
