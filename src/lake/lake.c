// SPDX-License-Identifier: Apache-2.0
// The lake: folders as schemas and tables, and a cache of each table's newest snapshot.
// Any thread: `mutex` guards the cache only, never held while files are read. `generation` counts drops: a snapshot read before a drop
// must not enter the cache after it. Commits and drops keep out of each other's way (lake_commit_enter): many commits, or one drop.
// Durable: schemas and drops when their function returned ERR_OK.
#include "base/log.h"
#include "lake/internal.h"

enum { LAKE_CACHE_MAX = 1024 }; // tables; then the cache is emptied
#define DROPPED ".dropped-"

struct lake {
    struct sys *sys;
    char *dir;
    struct lake_parquet parquet;
    bool has_parquet;
    struct sys_mutex mutex, checkpoint_mutex;
    struct map cache; // "schema/table" -> struct lake_snapshot *
    uint64_t generation;
    struct sys_cond changed;
    int commits; // under way
    bool dropping;
};

struct sys *lake_sys(struct lake *l) { return l->sys; }
const char *lake_dir(const struct lake *l) { return l->dir; }
const struct lake_parquet *lake_parquet_of(struct lake *l) { return l->has_parquet ? &l->parquet : NULL; }
void lake_checkpoint_lock(struct lake *l) { sys_mutex_lock(&l->checkpoint_mutex); }
void lake_checkpoint_unlock(struct lake *l) { sys_mutex_unlock(&l->checkpoint_mutex); }

void lake_set_parquet(struct lake *l, const struct lake_parquet *p) {
    l->has_parquet = p != NULL;
    if (p != NULL)
        l->parquet = *p;
}

enum err_code lake_check_name(struct str name, struct err *err) {
    if (name.n == 0 || name.n > LAKE_NAME_MAX)
        return err_set(err, ERR_INVALID, "a name has 1 to %d bytes", LAKE_NAME_MAX);
    bool ok = name.p[0] != '.' && name.p[0] != ' ' && name.p[name.n - 1] != ' ' && str_utf8_ok(name);
    for (size_t i = 0; ok && i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        ok = c >= 0x80 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c != 0 && strchr("_-. $", c) != NULL);
    }
    return ok ? ERR_OK
              : err_set(err, ERR_INVALID, "\"" STR_FMT "\" cannot be a name: letters, digits and _ - . $ space, not beginning with a dot",
                        STR_ARG(name));
}

static bool is_dir(struct sys *s, const char *path) {
    struct sys_stat st;
    return sys_stat(s, path, &st, NULL) == ERR_OK && st.type == SYS_TYPE_DIR;
}

// Removes what a drop left that was cut short.
static void sweep_dropped(struct lake *l) {
    struct sys_list schemas = {0};
    if (sys_list_dir(l->sys, l->dir, &schemas, NULL) != ERR_OK)
        return;
    for (size_t i = 0; i < schemas.n; i++) {
        char *schema = mem_printf("%s/%s", l->dir, schemas.names[i]);
        struct sys_list names = {0};
        if (str_starts(str_c(schemas.names[i]), STR(DROPPED)))
            sys_remove_tree(l->sys, schema, NULL);
        else if (is_dir(l->sys, schema) && sys_list_dir(l->sys, schema, &names, NULL) == ERR_OK)
            for (size_t k = 0; k < names.n; k++)
                if (str_starts(str_c(names.names[k]), STR(DROPPED))) {
                    char *path = mem_printf("%s/%s", schema, names.names[k]);
                    sys_remove_tree(l->sys, path, NULL);
                    mem_free(path);
                }
        sys_list_free(&names);
        mem_free(schema);
    }
    sys_list_free(&schemas);
}

struct lake *lake_open(struct sys *s, const char *dir, struct err *err) {
    if (sys_mkdirs(s, dir, err) != ERR_OK)
        return NULL;
    struct lake *l = MEM_NEW(struct lake);
    l->sys = s;
    l->dir = mem_strdup(dir);
    sys_mutex_init(&l->mutex);
    sys_mutex_init(&l->checkpoint_mutex);
    sys_cond_init(&l->changed);
    map_init(&l->cache);
    sweep_dropped(l);
    return l;
}

static void cache_clear(struct lake *l) {
    size_t it = 0;
    for (const struct map_entry *e; (e = map_next(&l->cache, &it)) != NULL;)
        lake_snapshot_unref(e->value);
    map_fini(&l->cache);
    map_init(&l->cache);
}

void lake_close(struct lake *l) {
    if (l == NULL)
        return;
    cache_clear(l);
    map_fini(&l->cache);
    sys_cond_fini(&l->changed);
    sys_mutex_fini(&l->mutex);
    sys_mutex_fini(&l->checkpoint_mutex);
    mem_free(l->dir);
    mem_free(l);
}

// ---- commits beside drops -----------------------------------------------------------------------------------------------------
void lake_commit_enter(struct lake *l) {
    sys_mutex_lock(&l->mutex);
    while (l->dropping)
        sys_cond_wait(&l->changed, &l->mutex);
    l->commits++;
    sys_mutex_unlock(&l->mutex);
}

void lake_commit_leave(struct lake *l) {
    sys_mutex_lock(&l->mutex);
    if (--l->commits == 0)
        sys_cond_broadcast(&l->changed);
    sys_mutex_unlock(&l->mutex);
}

static void drop_enter(struct lake *l) {
    sys_mutex_lock(&l->mutex);
    while (l->dropping)
        sys_cond_wait(&l->changed, &l->mutex);
    l->dropping = true; // no new commits
    while (l->commits > 0)
        sys_cond_wait(&l->changed, &l->mutex);
    sys_mutex_unlock(&l->mutex);
}

static void drop_leave(struct lake *l) {
    sys_mutex_lock(&l->mutex);
    l->dropping = false;
    sys_cond_broadcast(&l->changed);
    sys_mutex_unlock(&l->mutex);
}

// ---- schemas ----------------------------------------------------------------------------------------------------------------
static char *schema_path(struct lake *l, const char *schema) { return mem_printf("%s/%s", l->dir, schema); }

bool lake_schema_exists(struct lake *l, const char *schema) {
    if (lake_check_name(str_c(schema), NULL) != ERR_OK)
        return false;
    char *path = schema_path(l, schema);
    bool is = is_dir(l->sys, path);
    mem_free(path);
    return is;
}

enum err_code lake_create_schema(struct lake *l, const char *schema, struct err *err) {
    enum err_code code = lake_check_name(str_c(schema), err);
    if (code != ERR_OK)
        return code;
    if (lake_schema_exists(l, schema))
        return err_set(err, ERR_EXISTS, "schema \"%s\" exists already", schema);
    char *path = schema_path(l, schema);
    code = sys_mkdirs(l->sys, path, err);
    mem_free(path);
    return code;
}

static enum err_code no_schema(const char *schema, struct err *err) { return err_set(err, ERR_NO_SCHEMA, "there is no schema \"%s\"", schema); }

// Moves a folder out of sight, durably: a crash leaves all of it or nothing under its name. What remains is to remove *away (mem_free).
static enum err_code move_away(struct lake *l, const char *parent, const char *path, char **away_out, struct err *err) {
    char text[37];
    uint8_t uuid[16];
    sys_uuid(l->sys, uuid);
    sys_uuid_text(uuid, text);
    char *away = *away_out = mem_printf("%s/" DROPPED "%s", parent, text);
    enum err_code code = sys_rename(l->sys, path, away, err);
    return code == ERR_OK ? sys_sync_dir(l->sys, parent, err) : code;
}

static void remove_away(struct lake *l, char *away) {
    if (sys_remove_tree(l->sys, away, NULL) != ERR_OK)
        log_warn("lake", "dropped files are still on disk; they are removed at the next start", "path", away, NULL);
}

static enum err_code drop_empty_schema(struct lake *l, const char *schema, char **away, struct err *err) {
    struct sys_list tables = {0};
    enum err_code code = lake_list_tables(l, schema, &tables, err);
    if (code != ERR_OK)
        return code;
    if (tables.n > 0)
        code = err_set(err, ERR_CONFLICT, "schema \"%s\" has %zu tables; drop them first (the first is %s)", schema, tables.n, tables.names[0]);
    sys_list_free(&tables);
    if (code != ERR_OK)
        return code;
    char *path = schema_path(l, schema);
    code = move_away(l, l->dir, path, away, err);
    mem_free(path);
    return code;
}

enum err_code lake_drop_schema(struct lake *l, const char *schema, struct err *err) {
    char *away = NULL;
    drop_enter(l);
    enum err_code code = drop_empty_schema(l, schema, &away, err);
    drop_leave(l);
    if (code == ERR_OK)
        remove_away(l, away);
    mem_free(away);
    return code;
}

// Keeps the names for which keep() is true.
static void list_filter(struct sys_list *list, struct lake *l, const char *schema,
                        bool (*keep)(struct lake *l, const char *schema, const char *name)) {
    size_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (keep(l, schema, list->names[i]))
            list->names[n++] = list->names[i];
        else
            mem_free(list->names[i]);
    }
    list->n = n;
}

static bool keep_schema(struct lake *l, const char *unused, const char *name) {
    (void)unused;
    return lake_schema_exists(l, name);
}

enum err_code lake_list_schemas(struct lake *l, struct sys_list *out, struct err *err) {
    enum err_code code = sys_list_dir(l->sys, l->dir, out, err);
    if (code == ERR_OK)
        list_filter(out, l, NULL, keep_schema);
    return code;
}

enum err_code lake_list_tables(struct lake *l, const char *schema, struct sys_list *out, struct err *err) {
    *out = (struct sys_list){0};
    if (!lake_schema_exists(l, schema))
        return no_schema(schema, err);
    char *path = schema_path(l, schema);
    enum err_code code = sys_list_dir(l->sys, path, out, err);
    mem_free(path);
    if (code == ERR_OK)
        list_filter(out, l, schema, lake_table_exists);
    return code;
}

// ---- tables -----------------------------------------------------------------------------------------------------------------
static char *table_path(struct lake *l, const char *schema, const char *table) { return mem_printf("%s/%s/%s", l->dir, schema, table); }

char *lake_table_dir(struct lake *l, const char *schema, const char *table, struct arena *a) {
    return arena_printf(a, "%s/%s/%s", l->dir, schema, table);
}

static enum err_code check_names(const char *schema, const char *table, struct err *err) {
    enum err_code code = lake_check_name(str_c(schema), err);
    return code == ERR_OK ? lake_check_name(str_c(table), err) : code;
}

bool lake_table_exists(struct lake *l, const char *schema, const char *table) {
    if (check_names(schema, table, NULL) != ERR_OK)
        return false;
    char *dir = table_path(l, schema, table);
    char *first = mem_printf("%s/" LAKE_LOG_DIR "/%020d.json", dir, 0);
    char *last = mem_printf("%s/" LAKE_LOG_DIR "/_last_checkpoint", dir);
    bool is = sys_exists(l->sys, first) || sys_exists(l->sys, last);
    mem_free(first);
    mem_free(last);
    mem_free(dir);
    return is;
}

enum err_code lake_make_table_dir(struct lake *l, const char *schema, const char *table, struct err *err) {
    enum err_code code = check_names(schema, table, err);
    if (code != ERR_OK)
        return code;
    if (!lake_schema_exists(l, schema))
        return no_schema(schema, err);
    char *path = mem_printf("%s/%s/%s/" LAKE_LOG_DIR, l->dir, schema, table);
    code = sys_mkdirs(l->sys, path, err);
    mem_free(path);
    return code;
}

static char *cache_key(const char *schema, const char *table) { return mem_printf("%s/%s", schema, table); }

static void cache_forget(struct lake *l, const char *schema, const char *table) {
    char *key = cache_key(schema, table);
    sys_mutex_lock(&l->mutex);
    l->generation++;
    lake_snapshot_unref(map_remove(&l->cache, str_c(key)));
    sys_mutex_unlock(&l->mutex);
    mem_free(key);
}

enum err_code lake_drop_table(struct lake *l, const char *schema, const char *table, struct err *err) {
    char *parent = schema_path(l, schema), *path = table_path(l, schema, table), *away = NULL;
    drop_enter(l);
    enum err_code code = lake_table_exists(l, schema, table) ? ERR_OK : err_set(err, ERR_NO_TABLE, "there is no table %s.%s", schema, table);
    if (code == ERR_OK) {
        code = move_away(l, parent, path, &away, err);
        cache_forget(l, schema, table);
    }
    drop_leave(l);
    if (code == ERR_OK)
        remove_away(l, away);
    mem_free(away);
    mem_free(parent);
    mem_free(path);
    return code;
}

// ---- snapshots --------------------------------------------------------------------------------------------------------------
// The cached snapshot, counted, or NULL.
static struct lake_snapshot *cache_get(struct lake *l, const char *key, uint64_t *generation) {
    sys_mutex_lock(&l->mutex);
    struct lake_snapshot *s = map_getc(&l->cache, key);
    if (s != NULL)
        lake_snapshot_ref(s);
    *generation = l->generation;
    sys_mutex_unlock(&l->mutex);
    return s;
}

static void cache_put(struct lake *l, const char *key, struct lake_snapshot *s, uint64_t generation) {
    sys_mutex_lock(&l->mutex);
    const struct lake_snapshot *old = map_getc(&l->cache, key);
    if (generation == l->generation && (old == NULL || old->version < s->version)) {
        if (old == NULL && l->cache.n >= LAKE_CACHE_MAX)
            cache_clear(l);
        lake_snapshot_unref(map_put(&l->cache, str_c(key), lake_snapshot_ref(s)));
    }
    sys_mutex_unlock(&l->mutex);
}

struct lake_snapshot *lake_table_snapshot(struct lake *l, const char *schema, const char *table, int64_t version, struct err *err) {
    if (check_names(schema, table, err) != ERR_OK)
        return NULL;
    struct err local = {0};
    char *key = cache_key(schema, table);
    char *dir = table_path(l, schema, table);
    uint64_t generation;
    struct lake_snapshot *known = cache_get(l, key, &generation);
    struct lake_snapshot *s = lake_load(l, dir, version, known, &local);
    if (s != NULL && version < 0)
        cache_put(l, key, s, generation);
    if (s == NULL && local.code == ERR_NO_TABLE)
        err_set(err, ERR_NO_TABLE, "there is no table %s.%s", schema, table);
    else if (s == NULL)
        err_copy(err, &local);
    lake_snapshot_unref(known);
    mem_free(key);
    mem_free(dir);
    return s;
}
