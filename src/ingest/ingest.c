// SPDX-License-Identifier: Apache-2.0
// The statement `copy into TABLE from topic TOPIC`: finds where the last commit ended, reads to the high watermark, writes Parquet through
// the engine, and commits files and offsets together. Runs on the thread of the statement; one copy per table at a time.
//
// Durable: rows, offsets and the position in the dead-letter topic with the Delta commit; dead letters before it.
#include "ingest/ingest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "ingest/internal.h"
#include "codec/json.h"
#include "lake/lake.h"
#include "sql/sql.h"

enum { NAME_MAX_BYTES = 512 };

struct ingest {
    struct sys_mutex mutex;
    struct sys_cond freed;
    struct map busy; // tables that a copy runs on
};

struct copy {
    struct engine_session *session;
    struct arena arena;
    const char *schema, *table, *full, *topic, *dlq;
    struct lake *lake;
    struct lake_snapshot *base; // NULL: the table is made
    char topic_id[37];
    struct reader reader;
    struct dead_letters dead;
    const struct cols_schema *target; // of the table after the commit
    bool new_schema;
    struct engine_file *files;
    size_t n_files;
    int64_t version;
};

// ---- schemas ----------------------------------------------------------------------------------------------------------------

static const struct {
    const char *name;
    struct cols_type type;
} meta_columns[INGEST_META_COLUMNS] = {
    {"_partition", {.kind = COLS_INT32}},
    {"_offset", {.kind = COLS_INT64}},
    {"_timestamp", {.kind = COLS_TIMESTAMP, .tz = true}},
    {"_key", {.kind = COLS_STRING}},
};

static bool is_meta(const char *name) {
    for (size_t i = 0; i < INGEST_META_COLUMNS; i++)
        if (strcmp(name, meta_columns[i].name) == 0) return true;
    return false;
}

// Columns of the rows: those of the topic's newest schema, and the event's place.
static enum err_code read_columns(struct copy *c, struct err *err) {
    const struct schema_source *schemas = engine_schemas(engine_session_engine(c->session));
    struct str text;
    int32_t id;
    const char *subject = arena_printf(&c->arena, "%s-value", c->topic);
    enum err_code code = schemas->latest(schemas->self, str_c(subject), &c->arena, &id, &text, err);
    if (code == ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "topic '%s' has no schema: register one as subject '%s' (millrace schema register)", c->topic, subject);
    if (code != ERR_OK) return code;
    c->reader.schemas = schemas;
    c->reader.schema = avro_schema_parse(text, &c->arena, err);
    if (c->reader.schema == NULL) return err_wrap(err, "schema %d of '%s'", id, subject);
    struct avro_decoder *d = avro_decoder_new(c->reader.schema, NULL, err);
    if (d == NULL) return err_wrap(err, "schema %d of '%s'", id, subject);
    struct cols_schema *value = cols_schema_copy(avro_decoder_schema(d), &c->arena);
    avro_decoder_free(d);
    for (size_t i = 0; i < INGEST_META_COLUMNS; i++)
        if (cols_schema_find(value, str_c(meta_columns[i].name)) >= 0)
            return err_set(err, ERR_NOT_SUPPORTED, "the schema of '%s' has a field %s, a name that the event's place takes", subject,
                meta_columns[i].name);
    c->reader.n_value = value->n;
    const struct cols_schema *have = c->base == NULL ? NULL : lake_snapshot_schema(c->base);
    struct cols_schema *all = ARENA_NEW(&c->arena, struct cols_schema);
    all->fields = ARENA_ARRAY(&c->arena, struct cols_field, value->n + (have == NULL ? 0 : have->n) + INGEST_META_COLUMNS);
    memcpy(all->fields, value->fields, value->n * sizeof *value->fields);
    all->n = value->n;
    for (size_t i = 0; have != NULL && i < have->n; i++) // columns of the table that the topic no longer has: nulls
        if (cols_schema_find(value, str_c(have->fields[i].name)) < 0 && !is_meta(have->fields[i].name)) all->fields[all->n++] = have->fields[i];
    for (size_t i = 0; i < INGEST_META_COLUMNS; i++) all->fields[all->n++] = (struct cols_field){meta_columns[i].name, meta_columns[i].type, i == 3};
    c->reader.columns = all;
    return ERR_OK;
}

// The table's schema after the commit: as it is, with new columns behind. A column whose type changed is an error.
static enum err_code target_columns(struct copy *c, struct err *err) {
    const struct cols_schema *in = lake_storable_schema(c->reader.columns, &c->arena, err);
    if (in == NULL) return err_wrap(err, "topic '%s'", c->topic);
    c->target = in;
    c->new_schema = c->base == NULL;
    if (c->base == NULL) return ERR_OK;
    const struct cols_schema *have = lake_snapshot_schema(c->base);
    struct cols_schema *wide = ARENA_NEW(&c->arena, struct cols_schema);
    wide->fields = ARENA_ARRAY(&c->arena, struct cols_field, have->n + in->n);
    memcpy(wide->fields, have->fields, have->n * sizeof *have->fields);
    wide->n = have->n;
    for (size_t i = 0; i < in->n; i++) {
        int at = cols_schema_find(have, str_c(in->fields[i].name));
        if (at >= 0 && cols_type_eq(&have->fields[at].type, &in->fields[i].type)) continue;
        if (at >= 0)
            return err_set(err, ERR_INCOMPATIBLE,
                           "column %s of %s is %s and the topic's schema makes it %s: write into a new table, or keep the type",
                           in->fields[i].name, c->full, cols_kind_name(have->fields[at].type.kind), cols_kind_name(in->fields[i].type.kind));
        wide->fields[wide->n] = in->fields[i];
        wide->fields[wide->n++].nullable = true;
        c->new_schema = true;
    }
    c->target = wide;
    return ERR_OK;
}

// ---- offsets ----------------------------------------------------------------------------------------------------------------

static const char *app_id(struct copy *c, int32_t partition) { return arena_printf(&c->arena, "millrace/%s/%d", c->topic_id, partition); }
static const char *dlq_app_id(struct copy *c) { return arena_printf(&c->arena, "millrace/%s/dlq", c->topic_id); }

static enum err_code find_offsets(struct copy *c, struct topics *topics, struct err *err) {
    struct broker_topic_info info;
    if (topics_get(topics, str_c(c->topic), &c->arena, &info, err) != ERR_OK) return err->code;
    sys_uuid_text(info.id, c->topic_id);
    for (int32_t i = 0; i < info.partitions; i++) {
        struct broker_offsets o;
        if (topics_offsets(topics, c->topic, i, &o, err) != ERR_OK) return err->code;
        int64_t next = c->base == NULL ? -1 : lake_snapshot_app_version(c->base, app_id(c, i));
        if (next > o.high_watermark) // what comes next would be taken for copied
            return err_set(err, ERR_OFFSET_RANGE,
                           "the table has the events of topic '%s' partition %d below offset %" PRId64 ", the topic ends at %" PRId64
                           ": was it restored from an older copy? restore the table too, or copy into a new one",
                           c->topic, i, next, o.high_watermark);
        if (next >= 0 && next < o.start)
            log_warn("ingest", "retention removed events before they were copied", "table", c->full, "topic", c->topic, "partition",
                     log_i64(i), "lost", log_i64(o.start - next), NULL);
        if (next < o.start) next = o.start;
        vec_add(&c->reader.partitions, ((struct reader_partition){.id = i, .from = next, .next = next, .end = o.stable}));
    }
    return ERR_OK;
}

static bool nothing_new(const struct copy *c) {
    for (size_t i = 0; i < c->reader.partitions.n; i++)
        if (c->reader.partitions.p[i].next < c->reader.partitions.p[i].end) return false;
    return true;
}

// ---- writing ----------------------------------------------------------------------------------------------------------------

static void put_select(struct copy *c, struct buf *out) {
    buf_puts(out, "select ");
    for (size_t i = 0; i < c->target->n; i++) {
        if (i > 0) buf_puts(out, ", ");
        sql_put_ident(out, str_c(c->target->fields[i].name));
    }
    buf_puts(out, " from source()");
}

static enum err_code make_schema(struct copy *c, struct err *err) {
    if (lake_schema_exists(c->lake, c->schema)) return ERR_OK;
    enum err_code code = lake_create_schema(c->lake, c->schema, err);
    if (code != ERR_EXISTS) return code;
    err_clear(err);
    return ERR_OK;
}

static enum err_code write_files(struct copy *c, struct err *err) {
    struct engine_source source = {.schema = c->reader.columns, .next = reader_next, .self = &c->reader, .concurrent = true};
    struct buf sql;
    struct cols_schema *written;
    buf_init(&sql, 0);
    put_select(c, &sql);
    enum err_code code = make_schema(c, err);
    if (code == ERR_OK) code = lake_make_table_dir(c->lake, c->schema, c->table, err);
    if (code == ERR_OK)
        code = engine_write_parquet(c->session, buf_str(&sql), &source, lake_table_dir(c->lake, c->schema, c->table, &c->arena), &c->arena, &c->files,
                                    &c->n_files, &written, err);
    buf_fini(&sql);
    return code;
}

// The events were read by the topic's name.
static enum err_code check_same_topic(struct copy *c, struct err *err) {
    struct broker_topic_info info;
    char id[37] = "";
    enum err_code code = topics_get(c->reader.topics, str_c(c->topic), &c->arena, &info, err);
    if (code != ERR_OK && code != ERR_NO_TOPIC) return code;
    err_clear(err);
    if (code == ERR_OK) sys_uuid_text(info.id, id);
    return strcmp(id, c->topic_id) == 0 ? ERR_OK : err_set(err, ERR_CONFLICT, "topic '%s' was deleted meanwhile; try again", c->topic);
}

static void drop_files(struct copy *c) {
    struct sys *s = engine_sys(engine_session_engine(c->session));
    const char *dir = lake_table_dir(c->lake, c->schema, c->table, &c->arena);
    for (size_t i = 0; i < c->n_files; i++) (void)sys_unlink(s, arena_printf(&c->arena, "%s/%s", dir, c->files[i].path), NULL);
}

static enum err_code commit(struct copy *c, struct err *err) {
    struct lake_txn *t = lake_txn_begin(c->lake, c->schema, c->table, c->base, err);
    if (t == NULL) return err->code;
    enum err_code code = c->new_schema ? lake_txn_set_schema(t, c->target, err) : ERR_OK;
    for (size_t i = 0; i < c->n_files; i++) {
        const struct engine_file *f = &c->files[i];
        struct lake_add add = {.path = f->path, .size = f->size, .rows = f->rows, .stats_json = f->stats_json};
        if (f->rows > 0) lake_txn_add(t, &add);
    }
    for (size_t i = 0; i < c->reader.partitions.n; i++) {
        const struct reader_partition *p = &c->reader.partitions.p[i];
        if (p->next > p->from || c->base == NULL) lake_txn_set_app(t, app_id(c, p->id), p->next);
    }
    if (c->dead.position > 0) lake_txn_set_app(t, dlq_app_id(c), c->dead.position);
    struct buf info;
    buf_init(&info, 0);
    buf_puts(&info, "{\"mode\":\"Append\",\"topic\":");
    json_put_str(&info, str_c(c->topic));
    buf_puts(&info, "}");
    lake_txn_set_info(t, "STREAMING UPDATE", buf_cstr(&info));
    if (code == ERR_OK) code = check_same_topic(c, err);
    if (code == ERR_OK) code = lake_txn_commit(t, &c->version, err);
    if (code == ERR_CONFLICT || code == ERR_NO_SPACE) drop_files(c); // certainly not committed; after other errors they may be the table's
    buf_fini(&info);
    lake_txn_free(t);
    return code;
}

// ---- the statement ------------------------------------------------------------------------------------------------------------

// A name as it is spelt in the lake: names are equal without case, as in every other statement. Frees the list.
static const char *spelling(struct copy *c, struct sys_list *names, enum err_code listed, struct str name) {
    const char *found = NULL;
    for (size_t i = 0; listed == ERR_OK && i < names->n; i++)
        if (str_eqc(name, names->names[i]) || (found == NULL && str_ieq(name, str_c(names->names[i])))) found = arena_strdup(&c->arena, names->names[i]);
    if (listed == ERR_OK) sys_list_free(names);
    return found != NULL ? found : arena_str(&c->arena, name).p;
}

static void find_names(struct copy *c, const struct sql_name *target) {
    struct sys_list names = {0};
    enum err_code listed = lake_list_schemas(c->lake, &names, NULL);
    c->schema = spelling(c, &names, listed, target->schema);
    names = (struct sys_list){0};
    listed = lake_list_tables(c->lake, c->schema, &names, NULL);
    c->table = spelling(c, &names, listed, target->table);
    c->full = arena_printf(&c->arena, "%s.%s", c->schema, c->table);
}

static enum err_code open_copy(struct copy *c, const struct sql_statement *st, struct err *err) {
    struct engine *e = engine_session_engine(c->session);
    c->lake = engine_lake(e);
    if (st->target.schema.n == 0)
        return err_set(err, ERR_INVALID, "copy into %.*s: say the schema too, as in bronze.flights", STR_ARG(st->target.table));
    find_names(c, &st->target);
    c->topic = arena_str(&c->arena, st->topic).p;
    for (size_t i = 0; i < st->n_options; i++)
        if (!str_ieq(st->options[i].key, STR("dlq")))
            return err_set(err, ERR_INVALID, "copy into: unknown option %.*s; there is: dlq", STR_ARG(st->options[i].key));
    struct str dlq = sql_option_get(st, "dlq");
    c->dlq = dlq.n > 0 ? arena_str(&c->arena, dlq).p : arena_printf(&c->arena, "%s.dlq", c->topic);
    if (strcmp(c->dlq, c->topic) == 0) return err_set(err, ERR_INVALID, "copy into: the dead letters of topic '%s' cannot go to itself", c->topic);
    c->reader.topic = c->topic;
    c->reader.topics = engine_topics(e);
    dead_letters_init(&c->dead, c->reader.topics, c->dlq, c->topic, c->topic_id, c->full);
    c->reader.dead = &c->dead;
    c->base = lake_table_snapshot(c->lake, c->schema, c->table, -1, err);
    if (c->base == NULL && err->code != ERR_NO_TABLE && err->code != ERR_NO_SCHEMA) return err->code;
    err_clear(err);
    return find_offsets(c, c->reader.topics, err);
}

static enum err_code run_copy(struct copy *c, struct err *err) {
    if (nothing_new(c) && c->base != NULL) {
        c->version = lake_snapshot_version(c->base);
        return ERR_OK;
    }
    enum err_code code = read_columns(c, err);
    if (code == ERR_OK) code = target_columns(c, err);
    int64_t position = c->base == NULL ? -1 : lake_snapshot_app_version(c->base, dlq_app_id(c));
    if (code == ERR_OK) code = dead_letters_recover(&c->dead, position, err);
    if (code == ERR_OK) code = write_files(c, err);
    if (code == ERR_OK) code = commit(c, err);
    if (code != ERR_OK) return code;
    metric_add(M_INGEST_ROWS, c->full, atomic_load(&c->reader.rows));
    return engine_catalog_changed(engine_session_engine(c->session), c->schema, c->table, err);
}

enum { RESULT_COLUMNS = 6 };
static const char *const result_names[RESULT_COLUMNS] = {"table", "topic", "rows", "rejected", "files", "version"};

static struct engine_result *result_of(const struct copy *c) {
    char rows[24], rejected[24], files[24], version[24];
    int64_t n = atomic_load(&c->reader.rows);
    snprintf(rows, sizeof rows, "%" PRId64, n);
    snprintf(rejected, sizeof rejected, "%" PRId64, (int64_t)atomic_load(&c->dead.n));
    snprintf(files, sizeof files, "%zu", c->n_files);
    snprintf(version, sizeof version, "%" PRId64, c->version);
    const char *const cells[] = {c->full, c->topic, rows, rejected, files, version};
    return engine_result_text(result_names, RESULT_COLUMNS, cells, 1, "COPY", n);
}

static void table_lock(struct ingest *g, const char *full) {
    sys_mutex_lock(&g->mutex);
    while (map_getc(&g->busy, full) != NULL) sys_cond_wait(&g->freed, &g->mutex);
    map_put(&g->busy, str_c(full), g);
    sys_mutex_unlock(&g->mutex);
}

static void table_unlock(struct ingest *g, const char *full) {
    sys_mutex_lock(&g->mutex);
    map_remove(&g->busy, str_c(full));
    sys_cond_broadcast(&g->freed);
    sys_mutex_unlock(&g->mutex);
}

static struct engine_result *on_copy(void *arg, struct engine_session *s, const struct sql_statement *st, struct err *err) {
    struct ingest *g = arg;
    char full[NAME_MAX_BYTES];
    snprintf(full, sizeof full, "%.*s.%.*s", STR_ARG(st->target.schema), STR_ARG(st->target.table));
    for (char *p = full; *p != 0; p++) // however it is spelt, it is one table
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p | 0x20);
    table_lock(g, full);
    struct copy c = {.session = s};
    arena_init(&c.arena);
    reader_init(&c.reader);
    struct engine_result *r = NULL;
    enum err_code code = open_copy(&c, st, err);
    if (code == ERR_OK) code = run_copy(&c, err);
    if (code == ERR_OK) r = result_of(&c);
    else err_wrap(err, "copy into %s", full);
    if (c.dead.topics != NULL) dead_letters_fini(&c.dead);
    reader_fini(&c.reader);
    lake_snapshot_unref(c.base);
    arena_fini(&c.arena);
    table_unlock(g, full);
    return r;
}

void ingest_register(struct engine *e) {
    static struct ingest g; // one per process: tables are locked over all engines
    static bool ready;
    if (!ready) {
        sys_mutex_init(&g.mutex);
        sys_cond_init(&g.freed);
        map_init(&g.busy);
        ready = true;
    }
    engine_on_statement(e, SQL_COPY_FROM_TOPIC, on_copy, &g);
    static struct cols_field fields[RESULT_COLUMNS];
    static const struct cols_schema columns = {RESULT_COLUMNS, fields};
    for (size_t i = 0; i < RESULT_COLUMNS; i++) fields[i] = (struct cols_field){result_names[i], {.kind = COLS_STRING}, true};
    engine_on_statement_columns(e, SQL_COPY_FROM_TOPIC, &columns);
}
