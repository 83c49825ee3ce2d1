// SPDX-License-Identifier: Apache-2.0
// Transactions: collects actions and commits them as the next log entry, created exclusively (sys_create_file links a synced file to
// a name that must be free), so that of two writers exactly one gets a version. The loser reads what won and, if it does not conflict by
// Delta's rules (WriteSerializable isolation), takes the version behind it; at most LAKE_COMMIT_TRIES times.
// One thread per transaction. Memory: the transaction's arena and buffer, at most LAKE_COMMIT_MAX of actions.
// Durable: when lake_txn_commit returns ERR_OK, the log entry and its name are synced.
#include "base/log.h"
#include "base/metrics.h"
#include "lake/internal.h"

struct lake_txn {
    struct lake *lake;
    char *schema_name, *table_name, *dir;
    struct lake_snapshot *base; // NULL = creates the table
    struct arena arena;
    struct buf adds; // finished lines
    struct map removes; // decoded path -> lake_node of the base
    struct map apps;    // id -> int64_t * in the arena
    struct map config;  // key -> value; "" with config_removed
    struct map config_removed;
    const struct cols_schema *schema; // new one, or NULL
    char *schema_json;
    struct lake_text_list partition_columns;
    bool partitions_set, removes_all, depends;
    const char *operation, *parameters;
    int64_t n_adds, rows_added;
    uint64_t bytes_added;
    char id[37]; // commitInfo.txnId: tells our log entry from others'
};

struct lake_txn *lake_txn_begin(struct lake *l, const char *schema, const char *table, struct lake_snapshot *base, struct err *err) {
    if (lake_check_name(str_c(schema), err) != ERR_OK || lake_check_name(str_c(table), err) != ERR_OK)
        return NULL;
    struct lake_txn *t = MEM_NEW(struct lake_txn);
    arena_init(&t->arena);
    t->lake = l;
    t->schema_name = arena_strdup(&t->arena, schema);
    t->table_name = arena_strdup(&t->arena, table);
    t->dir = lake_table_dir(l, schema, table, &t->arena);
    t->base = base == NULL ? NULL : lake_snapshot_ref(base);
    buf_init(&t->adds, LAKE_COMMIT_MAX);
    map_init(&t->removes);
    map_init(&t->apps);
    map_init(&t->config);
    map_init(&t->config_removed);
    t->operation = base == NULL ? "CREATE TABLE" : "WRITE";
    uint8_t uuid[16];
    sys_uuid(lake_sys(l), uuid);
    sys_uuid_text(uuid, t->id);
    return t;
}

void lake_txn_free(struct lake_txn *t) {
    if (t == NULL)
        return;
    lake_snapshot_unref(t->base);
    buf_fini(&t->adds);
    map_fini(&t->removes);
    map_fini(&t->apps);
    map_fini(&t->config);
    map_fini(&t->config_removed);
    arena_fini(&t->arena);
    mem_free(t);
}

// ---- collecting -------------------------------------------------------------------------------------------------------------
static void put_line(struct buf *b, const char *name, json_t *action) {
    assert(action != NULL);
    json_t *line = json_pack("{s:o}", name, action);
    json_write(line, JSON_COMPACT, b);
    buf_put_u8(b, '\n');
    json_decref(line);
}

static const struct lake_text_list *partition_columns(const struct lake_txn *t) {
    static const struct lake_text_list none;
    return t->partitions_set ? &t->partition_columns : t->base != NULL ? &t->base->meta->partition_columns : &none;
}

void lake_txn_add(struct lake_txn *t, const struct lake_add *f) {
    const struct lake_text_list *columns = partition_columns(t);
    assert(columns->n == 0 || f->partition_values != NULL);
    json_t *values = json_object();
    for (size_t i = 0; i < columns->n; i++)
        json_object_set_new(values, columns->p[i], f->partition_values[i] == NULL ? json_null() : json_of_str(str_c(f->partition_values[i])));
    char *raw = lake_path_encode(f->path);
    char stats[64];
    snprintf(stats, sizeof stats, "{\"numRecords\":%lld}", (long long)f->rows);
    put_line(&t->adds, "add",
             json_pack("{s:s, s:o, s:I, s:I, s:b, s:o}", "path", raw, "partitionValues", values, "size", (json_int_t)f->size, "modificationTime",
                       (json_int_t)(sys_now_us(lake_sys(t->lake)) / 1000), "dataChange", 1, "stats",
                       json_of_str(str_c(f->stats_json != NULL ? f->stats_json : stats))));
    mem_free(raw);
    t->n_adds++;
    t->rows_added += f->rows;
    t->bytes_added += f->size;
}

static void remove_node(struct lake_txn *t, struct lake_node *n) { map_put(&t->removes, str_c(n->file.path), n); }

void lake_txn_remove(struct lake_txn *t, const char *path) {
    assert(t->base != NULL);
    for (size_t i = 0; i < t->base->n_files; i++)
        if (str_eqc(str_c(path), t->base->files[i]->file.path))
            remove_node(t, t->base->files[i]);
}

void lake_txn_remove_all(struct lake_txn *t) {
    t->removes_all = true;
    for (size_t i = 0; t->base != NULL && i < t->base->n_files; i++)
        remove_node(t, t->base->files[i]);
}

// Comments and the like that other programs put into the base's column metadata stay with columns of the same name.
static json_t *schema_with_metadata(const char *schema_json, const struct lake_snapshot *base) {
    json_t *schema = json_loads(schema_json, 0, NULL);
    json_t *old = base == NULL ? NULL : json_loads(base->meta->schema_json, 0, NULL);
    size_t i, k;
    json_t *field, *old_field;
    json_array_foreach(json_object_get(schema, "fields"), i, field) {
        json_array_foreach(json_object_get(old, "fields"), k, old_field) {
            const json_t *metadata = json_object_get(old_field, "metadata");
            if (json_object_size(metadata) > 0 && json_equal(json_object_get(field, "name"), json_object_get(old_field, "name")))
                json_object_set_new(field, "metadata", json_deep_copy(metadata));
        }
    }
    json_decref(old);
    return schema;
}

enum err_code lake_txn_set_schema(struct lake_txn *t, const struct cols_schema *schema, struct err *err) {
    struct buf b;
    buf_init(&b, LAKE_COMMIT_MAX);
    enum err_code code = lake_schema_to_json(schema, &b, err);
    if (code == ERR_OK) {
        t->schema = cols_schema_copy(schema, &t->arena);
        json_t *j = schema_with_metadata(buf_cstr(&b), t->base);
        buf_clear(&b);
        json_write(j, JSON_COMPACT, &b);
        json_decref(j);
        t->schema_json = arena_strdup(&t->arena, buf_cstr(&b));
    }
    buf_fini(&b);
    return code;
}

void lake_txn_set_partition_columns(struct lake_txn *t, const char *const *names, size_t n) {
    assert(t->n_adds == 0); // adds are written with the columns set
    t->partitions_set = true;
    t->partition_columns.n = n;
    t->partition_columns.p = ARENA_ARRAY(&t->arena, char *, n + 1);
    for (size_t i = 0; i < n; i++)
        t->partition_columns.p[i] = arena_strdup(&t->arena, names[i]);
}

void lake_txn_set_config(struct lake_txn *t, const char *key, const char *value) {
    map_remove(&t->config, str_c(key));
    map_remove(&t->config_removed, str_c(key));
    if (value != NULL)
        map_put(&t->config, str_c(key), arena_strdup(&t->arena, value));
    else
        map_put(&t->config_removed, str_c(key), t);
}

void lake_txn_set_app(struct lake_txn *t, const char *app_id, int64_t version) {
    int64_t *v = ARENA_NEW(&t->arena, int64_t);
    *v = version;
    map_put(&t->apps, str_c(app_id), v);
}

void lake_txn_set_info(struct lake_txn *t, const char *operation, const char *parameters_json) {
    t->operation = arena_strdup(&t->arena, operation);
    t->parameters = parameters_json == NULL ? NULL : arena_strdup(&t->arena, parameters_json);
}

void lake_txn_depends_on_table(struct lake_txn *t) { t->depends = true; }

// ---- the log entry ----------------------------------------------------------------------------------------------------------
static bool has_new_meta(const struct lake_txn *t) {
    return t->base == NULL || t->schema != NULL || t->partitions_set || t->config.n > 0 || t->config_removed.n > 0;
}

static json_t *new_meta(const struct lake_txn *t) {
    json_t *j;
    if (t->base != NULL) {
        j = lake_meta_json(t->base->meta);
    } else {
        char text[37];
        uint8_t uuid[16];
        sys_uuid(lake_sys(t->lake), uuid);
        sys_uuid_text(uuid, text);
        j = json_pack("{s:s, s:s, s:{s:s, s:{}}, s:[], s:{}, s:I}", "id", text, "name", t->table_name, "format", "provider", "parquet", "options",
                      "partitionColumns", "configuration", "createdTime", (json_int_t)(sys_now_us(lake_sys(t->lake)) / 1000));
    }
    if (t->schema != NULL)
        json_object_set_new(j, "schemaString", json_string(t->schema_json));
    if (t->partitions_set) {
        json_t *columns = json_array();
        for (size_t i = 0; i < t->partition_columns.n; i++)
            json_array_append_new(columns, json_string(t->partition_columns.p[i]));
        json_object_set_new(j, "partitionColumns", columns);
    }
    json_t *config = json_object_get(j, "configuration");
    size_t it = 0;
    for (const struct map_entry *e; (e = map_next(&t->config, &it)) != NULL;)
        json_object_set_new(config, e->key, json_string(e->value));
    it = 0;
    for (const struct map_entry *e; (e = map_next(&t->config_removed, &it)) != NULL;)
        json_object_del(config, e->key);
    return j;
}

static bool has_feature(const json_t *list, const char *name) {
    size_t i;
    json_t *f;
    json_array_foreach((json_t *)list, i, f) {
        if (str_eqc(json_str(f), name))
            return true;
    }
    return false;
}

static void add_feature(json_t **list, const char *name) {
    if (*list == NULL)
        *list = json_array();
    if (!has_feature(*list, name))
        json_array_append_new(*list, json_string(name));
}

// The features that a legacy writer version stands for, named when the table goes to version 7 (PROTOCOL.md "Writer Features").
static void add_legacy_features(struct lake_protocol *p) {
    static const struct {
        int since;
        const char *name;
    } legacy[] = {{2, "appendOnly"},       {2, "invariants"},     {3, "checkConstraints"}, {4, "changeDataFeed"},
                  {4, "generatedColumns"}, {5, "columnMapping"}, {6, "identityColumns"}};
    for (size_t i = 0; i < sizeof legacy / sizeof legacy[0]; i++)
        if (p->writer < 7 && p->writer >= legacy[i].since)
            add_feature(&p->writer_features, legacy[i].name);
    if (p->reader == 2)
        add_feature(&p->reader_features, "columnMapping");
}

// The protocol that the table needs after this commit; *changed = it is to be written. Version (1,2) unless a column is timestamp_ntz.
static struct lake_protocol new_protocol(const struct lake_txn *t, bool *changed) {
    struct lake_protocol p = {.reader = 1, .writer = 2};
    *changed = t->base == NULL;
    if (t->base != NULL)
        lake_protocol_copy(&p, &t->base->protocol);
    if (t->schema != NULL && lake_schema_has_ntz(t->schema) && !has_feature(p.writer_features, "timestampNtz")) {
        add_legacy_features(&p);
        p.reader = 3;
        p.writer = 7;
        add_feature(&p.reader_features, "timestampNtz");
        add_feature(&p.writer_features, "timestampNtz");
        *changed = true;
    }
    return p;
}

static json_t *commit_info(const struct lake_txn *t) {
    json_t *in = t->parameters == NULL ? NULL : json_loads(t->parameters, 0, NULL);
    json_t *parameters = json_object(); // values are strings, as Spark's reader expects
    const char *key;
    json_t *value;
    json_object_foreach(in, key, value) {
        struct buf b;
        buf_init(&b, 0);
        if (!json_is_string(value))
            json_write(value, JSON_COMPACT | JSON_ENCODE_ANY, &b);
        json_object_set_new(parameters, key, json_is_string(value) ? json_deep_copy(value) : json_of_str(buf_str(&b)));
        buf_fini(&b);
    }
    json_decref(in);
    char files[24], rows[24], bytes[24], removed[24];
    snprintf(files, sizeof files, "%lld", (long long)t->n_adds);
    snprintf(rows, sizeof rows, "%lld", (long long)t->rows_added);
    snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)t->bytes_added);
    snprintf(removed, sizeof removed, "%zu", t->removes.n);
    json_t *j = json_pack("{s:I, s:s, s:o, s:b, s:{s:s, s:s, s:s, s:s}, s:s, s:s}", "timestamp", (json_int_t)(sys_now_us(lake_sys(t->lake)) / 1000),
                          "operation", t->operation, "operationParameters", parameters, "isBlindAppend",
                          t->removes.n == 0 && !t->removes_all && !t->depends, "operationMetrics", "numFiles", files, "numOutputRows", rows,
                          "numOutputBytes", bytes, "numRemovedFiles", removed, "engineInfo", "Millrace", "txnId", t->id);
    if (t->base != NULL)
        json_object_set_new(j, "readVersion", json_integer(t->base->version));
    return j;
}

static void put_removes(const struct lake_txn *t, struct buf *b) {
    int64_t now_ms = sys_now_us(lake_sys(t->lake)) / 1000;
    size_t it = 0;
    for (const struct map_entry *e; (e = map_next(&t->removes, &it)) != NULL;) {
        const struct lake_node *n = e->value;
        json_t *values = n->partition_json == NULL ? NULL : json_loads(n->partition_json, 0, NULL);
        put_line(b, "remove",
                 json_pack("{s:s, s:I, s:b, s:b, s:o, s:I}", "path", n->raw_path, "deletionTimestamp", (json_int_t)now_ms, "dataChange", 1,
                           "extendedFileMetadata", 1, "partitionValues", values == NULL ? json_object() : values, "size",
                           (json_int_t)n->file.size));
    }
}

// All of the entry's lines. Checks that the table, as it is and as it will be, may be written by us.
static enum err_code build_entry(const struct lake_txn *t, struct buf *b, struct err *err) {
    bool changed, removes = t->removes.n > 0;
    struct lake_protocol p = new_protocol(t, &changed);
    enum err_code code = ERR_OK;
    put_line(b, "commitInfo", commit_info(t));
    if (changed)
        put_line(b, "protocol", lake_protocol_json(&p));
    if (has_new_meta(t)) {
        json_t *j = new_meta(t);
        struct err local = {0};
        struct lake_meta *m = lake_meta_parse(j, &local);
        code = m == NULL ? local.code : lake_check_writable(&p, m, removes, &local);
        if (code != ERR_OK)
            err_copy(err, &local);
        lake_meta_unref(m);
        put_line(b, "metaData", j);
    }
    if (code == ERR_OK && t->base != NULL)
        code = lake_check_writable(&t->base->protocol, t->base->meta, removes, err);
    lake_protocol_fini(&p);
    size_t it = 0;
    for (const struct map_entry *e; (e = map_next(&t->apps, &it)) != NULL;)
        put_line(b, "txn", json_pack("{s:s, s:I, s:I}", "appId", e->key, "version", (json_int_t)*(int64_t *)e->value, "lastUpdated",
                                     (json_int_t)(sys_now_us(lake_sys(t->lake)) / 1000)));
    put_removes(t, b);
    buf_put_str(b, buf_str(&t->adds));
    if (code == ERR_OK && (b->failed || t->adds.failed))
        code = err_set(err, ERR_TOO_LARGE, "the commit has more than %d bytes of actions", LAKE_COMMIT_MAX);
    return code;
}

// ---- conflicts --------------------------------------------------------------------------------------------------------------
// Does an action of a commit that won stand against ours? NULL = no; else what to say.
static const char *conflict_of(const struct lake_txn *t, const json_t *line) {
    const json_t *j;
    if (json_is_object(json_object_get(line, "protocol")))
        return "changed the table's protocol";
    if (json_is_object(json_object_get(line, "metaData")))
        return "changed the table's schema or settings";
    if (json_is_object(j = json_object_get(line, "txn")) && map_get(&t->apps, json_get_str(j, "appId")) != NULL)
        return "committed for the same application";
    if (json_is_object(j = json_object_get(line, "add"))) {
        bool changes = json_get_bool(j, "dataChange", true);
        return t->removes_all || (t->depends && changes) ? "added rows that this commit should have seen" : NULL;
    }
    if (json_is_object(j = json_object_get(line, "remove"))) {
        char *path = lake_path_decode(json_get_cstr(j, "path", ""));
        bool same = map_getc(&t->removes, path) != NULL;
        mem_free(path);
        return same || t->removes_all              ? "removed the same rows"
               : t->depends && json_get_bool(j, "dataChange", true) ? "removed rows that this commit has read"
                                                                    : NULL;
    }
    return NULL;
}

// Reads the log entry that has our version. ERR_OK = goes well with ours. *ours = it is our own (an earlier try that seemed to fail).
static enum err_code check_winner(const struct lake_txn *t, const char *path, int64_t version, struct err *err) {
    struct err local = {0};
    size_t n;
    char *text = sys_read_file(lake_sys(t->lake), path, LAKE_COMMIT_MAX, &n, &local);
    if (text == NULL) {
        err_copy(err, &local);
        return local.code;
    }
    enum err_code code = ERR_OK;
    struct str rest = str_n(text, n), line;
    while (rest.n > 0 && code == ERR_OK) {
        struct str tail;
        str_cut(rest, '\n', &line, &tail);
        rest = tail;
        if (str_trim(line).n == 0)
            continue;
        json_t *j = json_parse(line, NULL);
        const char *why = j == NULL ? "is not readable" : conflict_of(t, j);
        json_decref(j);
        if (why != NULL)
            code = err_set(err, ERR_CONFLICT, "%s.%s: another writer %s (version %lld); try again", t->schema_name, t->table_name, why,
                           (long long)version);
    }
    mem_free(text);
    return code;
}

static bool is_same_entry(const struct lake_txn *t, const char *path, const struct buf *entry) {
    size_t n;
    char *text = sys_read_file(lake_sys(t->lake), path, LAKE_COMMIT_MAX, &n, NULL);
    bool same = text != NULL && str_eq(str_n(text, n), buf_str(entry));
    mem_free(text);
    return same;
}

// Between the base's reading and now the table may have been dropped, and another one made under its name: its log is not ours to go on with.
// Inside lake_commit_enter, so that it stays as it is found.
static enum err_code check_same_table(const struct lake_txn *t, struct err *err) {
    struct err local = {0};
    if (t->base == NULL && t->n_adds > 0 && !sys_exists(lake_sys(t->lake), t->dir))
        return err_set(err, ERR_CONFLICT, "%s.%s: another writer made and dropped it meanwhile; try again", t->schema_name, t->table_name);
    if (t->base == NULL)
        return ERR_OK;
    struct lake_snapshot *now = lake_table_snapshot(t->lake, t->schema_name, t->table_name, -1, &local);
    bool dropped = now == NULL && local.code == ERR_NO_TABLE; // what else makes it unreadable is for try_versions to judge
    bool same = now == NULL || strcmp(now->meta->id, t->base->meta->id) == 0;
    lake_snapshot_unref(now);
    if (!dropped && same)
        return ERR_OK;
    return err_set(err, ERR_CONFLICT, "%s.%s: another writer dropped the table meanwhile; try again", t->schema_name, t->table_name);
}

static enum err_code try_versions(const struct lake_txn *t, const struct buf *entry, int64_t *version, struct err *err) {
    int64_t v = t->base == NULL ? 0 : t->base->version + 1;
    for (int tries = 0; tries < LAKE_COMMIT_TRIES; tries++, v++) {
        char name[32];
        lake_commit_name(v, name);
        char *path = mem_printf("%s/" LAKE_LOG_DIR "/%s", t->dir, name);
        struct err local = {0};
        enum err_code code = sys_create_file(lake_sys(t->lake), path, buf_str(entry), &local);
        bool lost = code == ERR_EXISTS;
        if (lost) {
            metric_add(M_LAKE_CONFLICTS, NULL, 1);
            err_clear(&local);
            code = t->base != NULL ? check_winner(t, path, v, &local)
                                   : err_set(&local, ERR_CONFLICT, "another writer created %s.%s meanwhile", t->schema_name, t->table_name);
        } else if (code != ERR_OK && is_same_entry(t, path, entry)) {
            err_wrap(&local, "version %lld of %s.%s is written but may not survive a power cut", (long long)v, t->schema_name, t->table_name);
        }
        mem_free(path);
        if (code != ERR_OK) {
            err_copy(err, &local);
            return code;
        }
        if (!lost) {
            *version = v;
            return ERR_OK;
        }
    }
    return err_set(err, ERR_CONFLICT, "%s.%s: %d other commits were faster; try again", t->schema_name, t->table_name, LAKE_COMMIT_TRIES);
}

// A checkpoint is a cache: what goes wrong with it is logged, and the commit stands.
static void maybe_checkpoint(const struct lake_txn *t, int64_t version) {
    if (lake_parquet_of(t->lake) == NULL || version == 0)
        return;
    struct err err = {0};
    struct lake_snapshot *s = lake_table_snapshot(t->lake, t->schema_name, t->table_name, -1, &err);
    int64_t every = LAKE_CHECKPOINT_EVERY;
    const char *config = s == NULL ? NULL : lake_snapshot_config(s, "delta.checkpointInterval");
    if (config != NULL && (!str_to_i64(str_c(config), &every) || every < 1))
        every = LAKE_CHECKPOINT_EVERY;
    if (s != NULL && version % every == 0) {
        lake_checkpoint_lock(t->lake);
        lake_checkpoint_write(t->lake, s, &err);
        lake_checkpoint_unlock(t->lake);
    }
    if (err.code != ERR_OK)
        log_warn("lake", "no checkpoint written; the next one will be tried again", "table", t->dir, "version", log_i64(version), "reason", err.msg,
                 NULL);
    lake_snapshot_unref(s);
}

enum err_code lake_txn_commit(struct lake_txn *t, int64_t *version, struct err *err) {
    if (t->base == NULL && t->schema == NULL)
        return err_set(err, ERR_INVALID, "%s.%s: a table is created without a schema", t->schema_name, t->table_name);
    struct buf entry;
    int64_t v = -1;
    buf_init(&entry, LAKE_COMMIT_MAX);
    enum err_code code = build_entry(t, &entry, err);
    lake_commit_enter(t->lake);
    if (code == ERR_OK)
        code = check_same_table(t, err);
    if (code == ERR_OK && t->base == NULL)
        code = lake_make_table_dir(t->lake, t->schema_name, t->table_name, err);
    if (code == ERR_OK)
        code = try_versions(t, &entry, &v, err);
    buf_fini(&entry);
    if (code == ERR_OK)
        maybe_checkpoint(t, v);
    lake_commit_leave(t->lake);
    if (code != ERR_OK)
        return code;
    char *label = mem_printf("%s.%s", t->schema_name, t->table_name);
    metric_add(M_LAKE_COMMITS, label, 1);
    mem_free(label);
    if (version != NULL)
        *version = v;
    return ERR_OK;
}
