// SPDX-License-Identifier: Apache-2.0
// Log replay: actions in, the state of the table out (PROTOCOL.md "Action Reconciliation"). Newest wins per data file path, per
// application id, per domain. Memory: nodes and meta are counted and shared between the snapshots of a table; the replay owns one count
// of each until it is finished. One thread per replay; the finished snapshot is immutable.
#include "lake/internal.h"

// ---- paths ------------------------------------------------------------------------------------------------------------------
static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

char *lake_path_decode(const char *raw) {
    struct str s = str_c(raw);
    if (str_starts(s, STR("file://"))) // absolute, as Spark writes it
        s = (struct str){s.p + 7, s.n - 7};
    else if (str_starts(s, STR("file:/")))
        s = (struct str){s.p + 5, s.n - 5};
    char *out = mem_alloc(s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int hi = s.p[i] == '%' && i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
        int lo = hi >= 0 ? hex_digit(s.p[i + 2]) : -1;
        if (lo >= 0) {
            out[n++] = (char)(hi << 4 | lo);
            i += 2;
        } else {
            out[n++] = s.p[i];
        }
    }
    out[n] = 0;
    return out;
}

char *lake_path_encode(const char *path) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/=";
    struct buf b;
    buf_init(&b, 0);
    for (const char *p = path; *p != 0; p++) {
        if (strchr(plain, *p) != NULL)
            buf_put_u8(&b, (uint8_t)*p);
        else
            buf_printf(&b, "%%%02X", (unsigned char)*p);
    }
    char *out = mem_strdup(buf_cstr(&b));
    buf_fini(&b);
    return out;
}

// ---- counted parts ----------------------------------------------------------------------------------------------------------
struct lake_node *lake_node_ref(struct lake_node *n) {
    atomic_fetch_add(&n->refs, 1);
    return n;
}

void lake_node_unref(struct lake_node *n) {
    if (n == NULL || atomic_fetch_sub(&n->refs, 1) != 1)
        return;
    mem_free((char *)n->file.path);
    mem_free((char *)n->file.stats_json);
    mem_free((void *)n->file.partition_values);
    mem_free(n->raw_path);
    mem_free(n->key);
    mem_free(n->partition_json);
    mem_free(n);
}

static struct lake_meta *meta_ref(struct lake_meta *m) {
    if (m != NULL)
        atomic_fetch_add(&m->refs, 1);
    return m;
}

void lake_meta_unref(struct lake_meta *m) {
    if (m == NULL || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    json_decref(m->format_options);
    map_fini(&m->config);
    arena_fini(&m->arena);
    mem_free(m);
}

void lake_protocol_fini(struct lake_protocol *p) {
    json_decref(p->reader_features);
    json_decref(p->writer_features);
    *p = (struct lake_protocol){0};
}

void lake_protocol_copy(struct lake_protocol *to, const struct lake_protocol *from) {
    *to = *from;
    to->reader_features = json_deep_copy(from->reader_features); // deep: jansson's counts are not for several threads
    to->writer_features = json_deep_copy(from->writer_features);
}

static void *node_ref_any(void *n) { return lake_node_ref(n); }
static void node_unref_any(void *n) { lake_node_unref(n); }
static void *app_copy_any(void *p) {
    const struct lake_app *a = p;
    struct lake_app *out = MEM_NEW(struct lake_app);
    *out = (struct lake_app){.version = a->version, .updated_ms = a->updated_ms, .id = mem_strdup(a->id)};
    return out;
}
static void app_free_any(void *p) {
    struct lake_app *a = p;
    mem_free(a->id);
    mem_free(a);
}
static void *json_copy_any(void *p) { return json_deep_copy(p); }
static void json_free_any(void *p) { json_decref(p); }

static void map_copy(struct map *to, const struct map *from, void *(*copy)(void *)) {
    size_t it = 0;
    for (const struct map_entry *e; (e = map_next(from, &it)) != NULL;)
        map_put(to, (struct str){e->key, e->key_len}, copy(e->value));
}
static void map_clear(struct map *m, void (*release)(void *)) {
    size_t it = 0;
    for (const struct map_entry *e; (e = map_next(m, &it)) != NULL;)
        release(e->value);
    map_fini(m);
}

// ---- the replay -------------------------------------------------------------------------------------------------------------
void lake_replay_init(struct lake_replay *r) {
    *r = (struct lake_replay){0};
    map_init(&r->files);
    map_init(&r->tombstones);
    map_init(&r->apps);
    map_init(&r->other);
}

void lake_replay_from(struct lake_replay *r, const struct lake_snapshot *s) {
    lake_replay_init(r);
    for (size_t i = 0; i < s->n_files; i++)
        map_put(&r->files, str_c(s->files[i]->key), node_ref_any(s->files[i]));
    for (size_t i = 0; i < s->n_tombstones; i++)
        map_put(&r->tombstones, str_c(s->tombstones[i]->key), node_ref_any(s->tombstones[i]));
    map_copy(&r->apps, &s->apps, app_copy_any);
    map_copy(&r->other, &s->other, json_copy_any);
    r->meta = meta_ref(s->meta);
    lake_protocol_copy(&r->protocol, &s->protocol);
    r->time_ms = s->time_ms;
}

void lake_replay_fini(struct lake_replay *r) {
    map_clear(&r->files, node_unref_any);
    map_clear(&r->tombstones, node_unref_any);
    map_clear(&r->apps, app_free_any);
    map_clear(&r->other, json_free_any);
    lake_meta_unref(r->meta);
    lake_protocol_fini(&r->protocol);
    json_decref(r->sidecars);
    *r = (struct lake_replay){0};
}

static void replay_put_node(struct map *to, struct map *from, struct lake_node *n) {
    lake_node_unref(map_remove(from, str_c(n->key)));
    // A file that comes again moves to the end: remove first, so that the order is that of the newest actions.
    lake_node_unref(map_remove(to, str_c(n->key)));
    map_put(to, str_c(n->key), n);
}

static int64_t int_of(const json_t *j, const char *key, int64_t absent) {
    const json_t *v = json_object_get(j, key);
    if (json_is_integer(v))
        return json_integer_value(v);
    return json_is_real(v) ? (int64_t)json_real_value(v) : absent;
}

static char *dump_or_null(const json_t *j) {
    if (!json_is_object(j))
        return NULL;
    char *text = json_dumps(j, JSON_COMPACT);
    char *out = mem_strdup(text);
    free(text);
    return out;
}

// numRecords without parsing all of the statistics: they are parsed when pruning asks for them.
static int64_t rows_of_stats(const char *stats) {
    const char *at = stats == NULL ? NULL : strstr(stats, "\"numRecords\"");
    if (at == NULL)
        return -1;
    at += strlen("\"numRecords\"");
    while (*at == ' ' || *at == ':')
        at++;
    size_t n = strspn(at, "0123456789");
    int64_t rows;
    return str_to_i64(str_n(at, n), &rows) ? rows : -1;
}

// Spec: "the unique id of a deletion vector": storage type, path or inline bytes, offset.
static char *node_key(const char *path, const json_t *vector) {
    if (!json_is_object(vector))
        return mem_strdup(path);
    return mem_printf("%s %s%s@%lld", path, json_get_cstr(vector, "storageType", ""), json_get_cstr(vector, "pathOrInlineDv", ""),
                      (long long)int_of(vector, "offset", -1));
}

static struct lake_node *node_parse(const json_t *j, struct err *err) {
    const char *path = json_string_value(json_object_get(j, "path"));
    if (path == NULL || strlen(path) > LAKE_PATH_MAX) {
        err_set(err, ERR_CORRUPT, "an add or remove action has no path, or one of more than %d bytes", LAKE_PATH_MAX);
        return NULL;
    }
    struct lake_node *n = MEM_NEW(struct lake_node);
    atomic_init(&n->refs, 1);
    n->raw_path = mem_strdup(path);
    n->file.path = lake_path_decode(path);
    n->file.size = (uint64_t)int_of(j, "size", 0);
    n->file.modified_ms = int_of(j, "modificationTime", 0);
    n->partition_json = dump_or_null(json_object_get(j, "partitionValues"));
    const char *stats = json_string_value(json_object_get(j, "stats"));
    if (stats != NULL)
        n->file.stats_json = mem_strdup(stats);
    else
        n->file.stats_json = dump_or_null(json_object_get(j, "stats_parsed")); // checkpoints with statistics as a struct only
    n->file.rows = rows_of_stats(n->file.stats_json);
    n->has_deletion_vector = json_is_object(json_object_get(j, "deletionVector"));
    n->key = node_key(n->file.path, json_object_get(j, "deletionVector"));
    return n;
}

static enum err_code on_add(struct lake_replay *r, const json_t *j, struct err *err) {
    struct lake_node *n = node_parse(j, err);
    if (n == NULL)
        return ERR_CORRUPT;
    replay_put_node(&r->files, &r->tombstones, n);
    return ERR_OK;
}

static enum err_code on_remove(struct lake_replay *r, const json_t *j, struct err *err) {
    struct lake_node *n = node_parse(j, err);
    if (n == NULL)
        return ERR_CORRUPT;
    n->removed_ms = int_of(j, "deletionTimestamp", 1);
    replay_put_node(&r->tombstones, &r->files, n);
    return ERR_OK;
}

static enum err_code on_txn(struct lake_replay *r, const json_t *j, struct err *err) {
    const char *id = json_string_value(json_object_get(j, "appId"));
    if (id == NULL)
        return err_set(err, ERR_CORRUPT, "a txn action has no appId");
    struct lake_app *a = MEM_NEW(struct lake_app);
    *a = (struct lake_app){.version = int_of(j, "version", -1), .updated_ms = int_of(j, "lastUpdated", 0), .id = mem_strdup(id)};
    struct lake_app *old = map_put(&r->apps, str_c(id), a);
    if (old != NULL)
        app_free_any(old);
    return ERR_OK;
}

static enum err_code on_protocol(struct lake_replay *r, const json_t *j, struct err *err) {
    (void)err;
    lake_protocol_fini(&r->protocol);
    r->protocol.reader = (int)int_of(j, "minReaderVersion", 1);
    r->protocol.writer = (int)int_of(j, "minWriterVersion", 1);
    const json_t *features = json_object_get(j, "readerFeatures");
    r->protocol.reader_features = json_is_array(features) ? json_deep_copy(features) : NULL;
    features = json_object_get(j, "writerFeatures");
    r->protocol.writer_features = json_is_array(features) ? json_deep_copy(features) : NULL;
    return ERR_OK;
}

static char *arena_text(struct arena *a, const json_t *j) { return json_is_string(j) ? arena_strdup(a, json_string_value(j)) : NULL; }

struct lake_meta *lake_meta_parse(const json_t *j, struct err *err) {
    struct lake_meta *m = MEM_NEW(struct lake_meta);
    atomic_init(&m->refs, 1);
    arena_init(&m->arena);
    map_init(&m->config);
    m->id = arena_text(&m->arena, json_object_get(j, "id"));
    m->name = arena_text(&m->arena, json_object_get(j, "name"));
    m->description = arena_text(&m->arena, json_object_get(j, "description"));
    m->schema_json = arena_text(&m->arena, json_object_get(j, "schemaString"));
    m->created_ms = int_of(j, "createdTime", 0);
    const json_t *format = json_object_get(j, "format");
    m->provider = arena_text(&m->arena, json_object_get(format, "provider"));
    const json_t *options = json_object_get(format, "options");
    m->format_options = json_is_object(options) ? json_deep_copy(options) : json_object();
    const json_t *columns = json_object_get(j, "partitionColumns");
    m->partition_columns.p = ARENA_ARRAY(&m->arena, char *, json_array_size(columns) + 1);
    for (size_t i = 0; i < json_array_size(columns); i++)
        if (json_is_string(json_array_get(columns, i)))
            m->partition_columns.p[m->partition_columns.n++] = arena_text(&m->arena, json_array_get(columns, i));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json_object_get(j, "configuration"), key, value) {
        if (json_is_string(value))
            map_put(&m->config, str_c(key), arena_text(&m->arena, value));
    }
    if (m->id == NULL || m->schema_json == NULL)
        err_set(err, ERR_CORRUPT, "a metaData action has no id or no schemaString");
    else if (m->provider != NULL && !str_ieq(str_c(m->provider), STR("parquet")))
        err_set(err, ERR_NOT_SUPPORTED, "the table's files are %.40s, not parquet", m->provider);
    else
        m->schema = lake_schema_from_json(str_c(m->schema_json), &m->arena, err);
    if (m->schema == NULL) {
        lake_meta_unref(m);
        return NULL;
    }
    return m;
}

static enum err_code on_meta(struct lake_replay *r, const json_t *j, struct err *err) {
    struct err local = {0};
    struct lake_meta *m = lake_meta_parse(j, &local);
    if (m == NULL) {
        err_copy(err, &local);
        return local.code;
    }
    lake_meta_unref(r->meta);
    r->meta = m;
    return ERR_OK;
}

static enum err_code on_info(struct lake_replay *r, const json_t *j, struct err *err) {
    (void)err;
    int64_t t = int_of(j, "inCommitTimestamp", -1);
    r->time_ms = t >= 0 ? t : int_of(j, "timestamp", r->time_ms);
    return ERR_OK;
}

static enum err_code on_domain(struct lake_replay *r, const json_t *j, struct err *err) {
    (void)err;
    const char *domain = json_string_value(json_object_get(j, "domain"));
    if (domain == NULL)
        return ERR_OK;
    json_t *old = json_is_true(json_object_get(j, "removed")) ? map_remove(&r->other, str_c(domain))
                                                              : map_put(&r->other, str_c(domain), json_deep_copy(j));
    json_decref(old);
    return ERR_OK;
}

static enum err_code on_sidecar(struct lake_replay *r, const json_t *j, struct err *err) {
    const char *path = json_string_value(json_object_get(j, "path"));
    if (path == NULL)
        return err_set(err, ERR_CORRUPT, "a sidecar action has no path");
    if (r->sidecars == NULL)
        r->sidecars = json_array();
    json_array_append_new(r->sidecars, json_string(path));
    return ERR_OK;
}

static const struct {
    const char *name;
    enum err_code (*apply)(struct lake_replay *r, const json_t *j, struct err *err);
} actions[] = {
    {"add", on_add},     {"remove", on_remove},       {"txn", on_txn},         {"metaData", on_meta}, {"protocol", on_protocol},
    {"commitInfo", on_info}, {"domainMetadata", on_domain}, {"sidecar", on_sidecar},
};

enum err_code lake_replay_line(struct lake_replay *r, struct str line, struct err *err) {
    json_error_t where;
    json_t *j = json_loadb(line.p, line.n, 0, &where);
    if (!json_is_object(j)) {
        json_decref(j);
        return err_set(err, ERR_CORRUPT, "an action is not a JSON object: %s", where.text);
    }
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < sizeof actions / sizeof actions[0] && code == ERR_OK; i++) {
        const json_t *action = json_object_get(j, actions[i].name);
        if (json_is_object(action)) // in checkpoints the other kinds are there as null
            code = actions[i].apply(r, action, err);
    }
    json_decref(j);
    return code;
}

enum err_code lake_replay_ndjson(struct lake_replay *r, struct str text, const char *name, struct err *err) {
    int line_number = 0;
    while (text.n > 0) {
        struct str line;
        struct str rest;
        str_cut(text, '\n', &line, &rest);
        text = rest;
        line_number++;
        if (str_trim(line).n == 0)
            continue;
        enum err_code code = lake_replay_line(r, line, err);
        if (code != ERR_OK) {
            err_wrap(err, "%s line %d", name, line_number);
            return code;
        }
    }
    return ERR_OK;
}

// Points partition_values at the texts inside one block behind the pointers: a node is freed without knowing how many there are.
static void node_partitions(struct lake_node *n, const struct lake_meta *m) {
    if (m->partition_columns.n == 0 || n->file.partition_values != NULL)
        return;
    json_t *j = n->partition_json == NULL ? NULL : json_loads(n->partition_json, 0, NULL);
    size_t count = m->partition_columns.n;
    size_t bytes = count * sizeof(char *);
    for (size_t i = 0; i < count; i++)
        bytes += json_string_length(json_object_get(j, m->partition_columns.p[i])) + 1;
    char **values = mem_zalloc(bytes);
    char *at = (char *)(values + count);
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_object_get(j, m->partition_columns.p[i]);
        size_t len = json_string_length(v);
        if (len == 0) // the empty string means null, too (PROTOCOL.md "Partition Value Serialization")
            continue;
        memcpy(at, json_string_value(v), len);
        values[i] = at;
        at += len + 1;
    }
    n->file.partition_values = (const char *const *)values;
    json_decref(j);
}

static void take_nodes(struct map *m, struct lake_node ***out, size_t *n_out) {
    *out = mem_alloc((m->n + 1) * sizeof **out);
    *n_out = 0;
    size_t it = 0;
    for (const struct map_entry *e; (e = map_next(m, &it)) != NULL;)
        (*out)[(*n_out)++] = e->value;
    map_fini(m);
    map_init(m);
}

struct lake_snapshot *lake_replay_finish(struct lake_replay *r, const char *dir, int64_t version, struct err *err) {
    if (r->meta == NULL || r->protocol.reader == 0) {
        err_set(err, ERR_CORRUPT, "%s: the log has no %s action up to version %lld", dir, r->meta == NULL ? "metaData" : "protocol",
                (long long)version);
        return NULL;
    }
    struct lake_snapshot *s = MEM_NEW(struct lake_snapshot);
    atomic_init(&s->refs, 1);
    s->dir = mem_strdup(dir);
    s->version = version;
    s->time_ms = r->time_ms;
    s->meta = r->meta;
    r->meta = NULL;
    s->protocol = r->protocol;
    r->protocol = (struct lake_protocol){0};
    take_nodes(&r->files, &s->files, &s->n_files);
    take_nodes(&r->tombstones, &s->tombstones, &s->n_tombstones);
    s->apps = r->apps;
    s->other = r->other;
    map_init(&r->apps);
    map_init(&r->other);
    for (size_t i = 0; i < s->n_files; i++)
        node_partitions(s->files[i], s->meta);
    return s;
}

// ---- snapshots --------------------------------------------------------------------------------------------------------------
struct lake_snapshot *lake_snapshot_ref(struct lake_snapshot *s) {
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void lake_snapshot_unref(struct lake_snapshot *s) {
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    for (size_t i = 0; i < s->n_files; i++)
        lake_node_unref(s->files[i]);
    for (size_t i = 0; i < s->n_tombstones; i++)
        lake_node_unref(s->tombstones[i]);
    mem_free(s->files);
    mem_free(s->tombstones);
    map_clear(&s->apps, app_free_any);
    map_clear(&s->other, json_free_any);
    lake_protocol_fini(&s->protocol);
    lake_meta_unref(s->meta);
    mem_free(s->dir);
    mem_free(s);
}

int64_t lake_snapshot_version(const struct lake_snapshot *s) { return s->version; }
int64_t lake_snapshot_time_us(const struct lake_snapshot *s) { return s->time_ms * 1000; }
const char *lake_snapshot_dir(const struct lake_snapshot *s) { return s->dir; }
const char *lake_snapshot_id(const struct lake_snapshot *s) { return s->meta->id; }
const struct cols_schema *lake_snapshot_schema(const struct lake_snapshot *s) { return s->meta->schema; }
const char *lake_snapshot_schema_json(const struct lake_snapshot *s) { return s->meta->schema_json; }
size_t lake_snapshot_n_partition_columns(const struct lake_snapshot *s) { return s->meta->partition_columns.n; }
const char *lake_snapshot_partition_column(const struct lake_snapshot *s, size_t i) { return s->meta->partition_columns.p[i]; }
const char *lake_snapshot_config(const struct lake_snapshot *s, const char *key) { return map_getc(&s->meta->config, key); }
size_t lake_snapshot_n_files(const struct lake_snapshot *s) { return s->n_files; }
const struct lake_file *lake_snapshot_file(const struct lake_snapshot *s, size_t i) { return &s->files[i]->file; }

int64_t lake_snapshot_app_version(const struct lake_snapshot *s, const char *app_id) {
    const struct lake_app *a = map_getc(&s->apps, app_id);
    return a == NULL ? -1 : a->version;
}

int64_t lake_snapshot_rows(const struct lake_snapshot *s) {
    int64_t rows = 0;
    for (size_t i = 0; i < s->n_files; i++) {
        if (s->files[i]->file.rows < 0)
            return -1;
        rows += s->files[i]->file.rows;
    }
    return rows;
}

uint64_t lake_snapshot_bytes(const struct lake_snapshot *s) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->n_files; i++)
        bytes += s->files[i]->file.size;
    return bytes;
}
