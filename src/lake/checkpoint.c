// SPDX-License-Identifier: Apache-2.0
// Checkpoints (PROTOCOL.md "Checkpoints"): reads classic, multi-part and V2 ones (with sidecars), writes classic ones.
// Parquet is the engine's: here is only the SQL that turns a file of actions into Parquet and back (struct lake_parquet).
// Durable: the checkpoint is synced and renamed to its name before _last_checkpoint points at it; both are only caches of the log.
// Errors: writing one may fail without harm. Memory: the whole state as JSON text while writing, at most BUF_MAX_DEFAULT.
#include "lake/internal.h"

enum { WEEK_MS = 7 * 24 * 3600 * 1000, JSON_OBJECT_MAX = 16 << 20 }; // DuckDB's own maximum of one JSON object

static const char checkpoint_columns[] =
    "{txn: 'STRUCT(\"appId\" VARCHAR, \"version\" BIGINT, \"lastUpdated\" BIGINT)',"
    " add: 'STRUCT(\"path\" VARCHAR, \"partitionValues\" MAP(VARCHAR, VARCHAR), \"size\" BIGINT, \"modificationTime\" BIGINT,"
    " \"dataChange\" BOOLEAN, \"stats\" VARCHAR, \"tags\" MAP(VARCHAR, VARCHAR))',"
    " remove: 'STRUCT(\"path\" VARCHAR, \"deletionTimestamp\" BIGINT, \"dataChange\" BOOLEAN, \"extendedFileMetadata\" BOOLEAN,"
    " \"partitionValues\" MAP(VARCHAR, VARCHAR), \"size\" BIGINT)',"
    " \"metaData\": 'STRUCT(\"id\" VARCHAR, \"name\" VARCHAR, \"description\" VARCHAR, \"format\" STRUCT(\"provider\" VARCHAR, \"options\""
    " MAP(VARCHAR, VARCHAR)), \"schemaString\" VARCHAR, \"partitionColumns\" VARCHAR[], \"configuration\" MAP(VARCHAR, VARCHAR),"
    " \"createdTime\" BIGINT)',"
    " protocol: 'STRUCT(\"minReaderVersion\" INTEGER, \"minWriterVersion\" INTEGER, \"readerFeatures\" VARCHAR[],"
    " \"writerFeatures\" VARCHAR[])',"
    " \"domainMetadata\": 'STRUCT(\"domain\" VARCHAR, \"configuration\" VARCHAR, \"removed\" BOOLEAN)'}";

static void sql_quote(struct buf *b, const char *text) {
    buf_put_u8(b, '\'');
    for (; *text != 0; text++) {
        if (*text == '\'')
            buf_put_u8(b, '\'');
        buf_put_u8(b, (uint8_t)*text);
    }
    buf_put_u8(b, '\'');
}

// ---- names ------------------------------------------------------------------------------------------------------------------
enum checkpoint_kind { CHECKPOINT_NONE, CHECKPOINT_CLASSIC, CHECKPOINT_PARTS, CHECKPOINT_V2 };

struct checkpoint_name {
    enum checkpoint_kind kind;
    int64_t version, part, parts;
    bool json;
};

// <20 digits>.checkpoint.parquet, <20>.checkpoint.<10>.<10>.parquet, <20>.checkpoint.<uuid>.{parquet,json}
static struct checkpoint_name name_parse(const char *name) {
    static const size_t uuid_len = 36, part_len = 10;
    struct checkpoint_name c = {0}, none = {0};
    struct str s = str_c(name);
    if (s.n < 31 || strspn(name, "0123456789") != 20 || !str_to_i64((struct str){s.p, 20}, &c.version) ||
        !str_starts((struct str){s.p + 20, s.n - 20}, STR(".checkpoint.")))
        return none;
    struct str rest = {s.p + 32, s.n - 32};
    if (str_eqc(rest, "parquet")) {
        c.kind = CHECKPOINT_CLASSIC;
    } else if (rest.n == 2 * part_len + 9 && str_ends(rest, STR(".parquet"))) {
        c.kind = CHECKPOINT_PARTS;
        if (!str_to_i64((struct str){rest.p, part_len}, &c.part) || !str_to_i64((struct str){rest.p + part_len + 1, part_len}, &c.parts))
            return none;
    } else if (rest.n > uuid_len && (str_eqc((struct str){rest.p + uuid_len, rest.n - uuid_len}, ".json") ||
                                     str_eqc((struct str){rest.p + uuid_len, rest.n - uuid_len}, ".parquet"))) {
        c.kind = CHECKPOINT_V2;
        c.json = str_ends(rest, STR(".json"));
    } else {
        return none;
    }
    return c;
}

int64_t lake_checkpoint_version(const char *name) {
    struct checkpoint_name c = name_parse(name);
    return c.kind == CHECKPOINT_NONE ? -1 : c.version;
}

// ---- reading ----------------------------------------------------------------------------------------------------------------
static enum err_code on_row(void *arg, struct str text, struct err *err) { return lake_replay_line(arg, text, err); }

static enum err_code read_parquet(struct lake *l, const char *path, struct lake_replay *r, struct err *err) {
    const struct lake_parquet *p = lake_parquet_of(l);
    if (p == NULL)
        return err_set(err, ERR_NOT_SUPPORTED, "%s: a checkpoint cannot be read without the engine", path);
    struct buf sql;
    buf_init(&sql, 0);
    buf_puts(&sql, "select cast(to_json(t) as varchar) from read_parquet(");
    sql_quote(&sql, path);
    buf_puts(&sql, ") t");
    enum err_code code = p->rows(p->self, buf_str(&sql), on_row, r, err);
    buf_fini(&sql);
    if (code != ERR_OK)
        err_wrap(err, "checkpoint %s", path);
    return code;
}

static enum err_code read_json(struct lake *l, const char *path, struct lake_replay *r, struct err *err) {
    struct err local = {0};
    size_t n;
    char *text = sys_read_file(lake_sys(l), path, LAKE_COMMIT_MAX, &n, &local);
    if (text == NULL) {
        err_copy(err, &local);
        return local.code;
    }
    enum err_code code = lake_replay_ndjson(r, str_n(text, n), path, err);
    mem_free(text);
    return code;
}

static enum err_code read_one(struct lake *l, const char *log_dir, const char *name, bool json, struct lake_replay *r, struct err *err) {
    char *path = mem_printf("%s/%s", log_dir, name);
    enum err_code code = json ? read_json(l, path, r, err) : read_parquet(l, path, r, err);
    mem_free(path);
    return code;
}

static enum err_code read_sidecars(struct lake *l, const char *log_dir, struct lake_replay *r, struct err *err) {
    json_t *list = r->sidecars;
    r->sidecars = NULL;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < json_array_size(list) && code == ERR_OK; i++) {
        char *name = lake_path_decode(json_string_value(json_array_get(list, i)));
        char *path = name[0] == '/' ? mem_strdup(name) : mem_printf("%s/_sidecars/%s", log_dir, name);
        code = read_parquet(l, path, r, err);
        mem_free(path);
        mem_free(name);
    }
    json_decref(list);
    return code;
}

enum err_code lake_checkpoint_read(struct lake *l, const char *log_dir, int64_t version, const struct sys_list *names, struct lake_replay *r,
                                   struct err *err) {
    // Classic first, then a V2 one, then a complete set of parts.
    for (enum checkpoint_kind kind = CHECKPOINT_CLASSIC; kind <= CHECKPOINT_V2; kind++) {
        static const enum checkpoint_kind order[] = {
            [CHECKPOINT_CLASSIC] = CHECKPOINT_CLASSIC, [CHECKPOINT_PARTS] = CHECKPOINT_V2, [CHECKPOINT_V2] = CHECKPOINT_PARTS};
        int64_t seen = 0, parts = 1;
        for (size_t i = 0; i < names->n; i++) {
            struct checkpoint_name c = name_parse(names->names[i]);
            if (c.kind != order[kind] || c.version != version)
                continue;
            enum err_code code = read_one(l, log_dir, names->names[i], c.json, r, err);
            if (code != ERR_OK)
                return code;
            seen++;
            parts = c.kind == CHECKPOINT_PARTS ? c.parts : 1;
            if (seen == parts)
                return read_sidecars(l, log_dir, r, err);
        }
        if (seen > 0)
            return err_set(err, ERR_CORRUPT, "checkpoint %lld has %lld of %lld parts", (long long)version, (long long)seen, (long long)parts);
    }
    return err_set(err, ERR_NOT_FOUND, "there is no checkpoint %lld", (long long)version);
}

// ---- writing ----------------------------------------------------------------------------------------------------------------
static void put_action(struct buf *b, const char *name, json_t *action) {
    json_t *line = json_pack("{s:o}", name, action);
    char *text = json_dumps(line, JSON_COMPACT);
    buf_puts(b, text);
    buf_put_u8(b, '\n');
    free(text);
    json_decref(line);
}

static json_t *map_json(const struct map *m) {
    json_t *j = json_object();
    size_t it = 0;
    for (const struct map_entry *e; (e = map_next(m, &it)) != NULL;)
        json_object_set_new(j, e->key, json_string(e->value));
    return j;
}

json_t *lake_meta_json(const struct lake_meta *m) {
    json_t *columns = json_array();
    for (size_t i = 0; i < m->partition_columns.n; i++)
        json_array_append_new(columns, json_string(m->partition_columns.p[i]));
    return json_pack("{s:s, s:s*, s:s*, s:{s:s, s:o}, s:s, s:o, s:o, s:I}", "id", m->id, "name", m->name, "description", m->description, "format",
                     "provider", "parquet", "options", json_deep_copy(m->format_options), "schemaString", m->schema_json, "partitionColumns",
                     columns, "configuration", map_json(&m->config), "createdTime", (json_int_t)m->created_ms);
}

json_t *lake_protocol_json(const struct lake_protocol *p) {
    json_t *j = json_pack("{s:i, s:i}", "minReaderVersion", p->reader, "minWriterVersion", p->writer);
    if (p->reader_features != NULL)
        json_object_set_new(j, "readerFeatures", json_deep_copy(p->reader_features));
    if (p->writer_features != NULL)
        json_object_set_new(j, "writerFeatures", json_deep_copy(p->writer_features));
    return j;
}

static json_t *partition_json(const struct lake_node *n) {
    json_t *j = n->partition_json == NULL ? NULL : json_loads(n->partition_json, 0, NULL);
    return j == NULL ? json_object() : j;
}

static size_t put_state(struct lake *l, const struct lake_snapshot *s, struct buf *b) {
    size_t count = 2;
    put_action(b, "protocol", lake_protocol_json(&s->protocol));
    put_action(b, "metaData", lake_meta_json(s->meta));
    size_t it = 0;
    for (const struct map_entry *e; (e = map_next(&s->apps, &it)) != NULL; count++) {
        const struct lake_app *a = e->value;
        put_action(b, "txn",
                   json_pack("{s:s, s:I, s:I}", "appId", a->id, "version", (json_int_t)a->version, "lastUpdated", (json_int_t)a->updated_ms));
    }
    it = 0;
    for (const struct map_entry *e; (e = map_next(&s->other, &it)) != NULL; count++)
        put_action(b, "domainMetadata", json_deep_copy(e->value));
    int64_t expired = sys_now_us(lake_sys(l)) / 1000 - WEEK_MS;
    for (size_t i = 0; i < s->n_tombstones; i++) {
        const struct lake_node *n = s->tombstones[i];
        if (n->removed_ms < expired)
            continue;
        put_action(b, "remove",
                   json_pack("{s:s, s:I, s:b, s:b, s:o, s:I}", "path", n->raw_path, "deletionTimestamp", (json_int_t)n->removed_ms, "dataChange", 0,
                             "extendedFileMetadata", 1, "partitionValues", partition_json(n), "size", (json_int_t)n->file.size));
        count++;
    }
    for (size_t i = 0; i < s->n_files; i++, count++) {
        const struct lake_node *n = s->files[i];
        put_action(b, "add",
                   json_pack("{s:s, s:o, s:I, s:I, s:b, s:s*}", "path", n->raw_path, "partitionValues", partition_json(n), "size",
                             (json_int_t)n->file.size, "modificationTime", (json_int_t)n->file.modified_ms, "dataChange", 0, "stats",
                             n->file.stats_json));
    }
    return count;
}

static enum err_code sync_file(struct sys *sys, const char *path, uint64_t *size, struct err *err) {
    struct err local = {0};
    struct sys_file *f = sys_open(sys, path, SYS_READ | SYS_WRITE, &local);
    if (f != NULL && sys_fdatasync(f, &local) == ERR_OK)
        *size = (uint64_t)sys_file_size(f, &local);
    sys_close(f);
    err_copy(err, &local);
    return local.code;
}

static enum err_code write_files(struct lake *l, const struct lake_snapshot *s, const char *json_path, const char *temp, const char *path,
                                 struct err *err) {
    struct sys *sys = lake_sys(l);
    const struct lake_parquet *p = lake_parquet_of(l);
    struct buf text, sql;
    uint64_t size = 0;
    buf_init(&text, 0);
    buf_init(&sql, 0);
    size_t count = put_state(l, s, &text);
    buf_puts(&sql, "copy (select * from read_json(");
    sql_quote(&sql, json_path);
    buf_printf(&sql, ", format = 'newline_delimited', maximum_object_size = %d, columns = %s)) to ", JSON_OBJECT_MAX, checkpoint_columns);
    sql_quote(&sql, temp);
    buf_puts(&sql, " (format parquet, compression snappy)");
    enum err_code code = text.failed ? err_set(err, ERR_TOO_LARGE, "the table's state is too large for one checkpoint") : ERR_OK;
    if (code == ERR_OK)
        code = sys_write_file(sys, json_path, buf_str(&text), err);
    if (code == ERR_OK)
        code = p->run(p->self, buf_str(&sql), err);
    if (code == ERR_OK)
        code = sync_file(sys, temp, &size, err);
    if (code == ERR_OK)
        code = sys_rename(sys, temp, path, err);
    buf_clear(&text);
    if (code == ERR_OK) {
        char *log_dir = mem_printf("%s/" LAKE_LOG_DIR, s->dir);
        char *last = mem_printf("%s/_last_checkpoint", log_dir);
        code = sys_sync_dir(sys, log_dir, err);
        buf_printf(&text, "{\"version\":%lld,\"size\":%zu,\"sizeInBytes\":%llu,\"numOfAddFiles\":%zu}", (long long)s->version, count,
                   (unsigned long long)size, s->n_files);
        if (code == ERR_OK)
            code = sys_write_file(sys, last, buf_str(&text), err);
        mem_free(last);
        mem_free(log_dir);
    }
    buf_fini(&text);
    buf_fini(&sql);
    return code;
}

// What a writer left that was cut short. Under the checkpoint lock: nobody is writing one.
static void sweep_temporaries(struct lake *l, const char *dir) {
    struct sys_list names = {0};
    char *log_dir = mem_printf("%s/" LAKE_LOG_DIR, dir);
    if (sys_list_dir(lake_sys(l), log_dir, &names, NULL) == ERR_OK)
        for (size_t i = 0; i < names.n; i++)
            if (str_starts(str_c(names.names[i]), STR(".checkpoint-"))) {
                char *path = mem_printf("%s/%s", log_dir, names.names[i]);
                sys_unlink(lake_sys(l), path, NULL);
                mem_free(path);
            }
    sys_list_free(&names);
    mem_free(log_dir);
}

enum err_code lake_checkpoint_write(struct lake *l, const struct lake_snapshot *s, struct err *err) {
    if (lake_parquet_of(l) == NULL || !lake_protocol_can_checkpoint(&s->protocol))
        return ERR_OK;
    sweep_temporaries(l, s->dir);
    char uuid_text[37];
    uint8_t uuid[16];
    sys_uuid(lake_sys(l), uuid);
    sys_uuid_text(uuid, uuid_text);
    char *json_path = mem_printf("%s/" LAKE_LOG_DIR "/.checkpoint-%s.json", s->dir, uuid_text); // a dot: readers pass it over
    char *temp = mem_printf("%s/" LAKE_LOG_DIR "/.checkpoint-%s.parquet", s->dir, uuid_text);
    char *path = mem_printf("%s/" LAKE_LOG_DIR "/%020lld.checkpoint.parquet", s->dir, (long long)s->version);
    enum err_code code = write_files(l, s, json_path, temp, path, err);
    sys_unlink(lake_sys(l), json_path, NULL);
    if (code != ERR_OK)
        sys_unlink(lake_sys(l), temp, NULL);
    mem_free(json_path);
    mem_free(temp);
    mem_free(path);
    return code;
}
