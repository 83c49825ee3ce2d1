// SPDX-License-Identifier: Apache-2.0
// The catalog: which topics there are, their ids, partitions and configs.
//
// Truth is the file DIR/topics, replaced as a whole (write, sync, rename, sync of the folder) at each change; it ends with its own CRC.
// A partition's folder is made before the file names it, and removed after the file forgot it, so that folders the file does not name are
// leftovers of an interrupted change and are removed at start. broker.change serializes changes; broker.mutex guards the maps.
#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/internal.h"
#include "broker/open_partitions.h"
#include "codec/crc32c.h"

#define TOPICS_HEAD "millrace-topics 1"
enum { TOPICS_FILE_MAX = 64 << 20 };

// ---- names ----------------------------------------------------------------------------------------------------------

bool topic_name_ok(const char *name, struct err *err) {
    if (broker_topic_name_ok(name)) return true;
    err_set(err, ERR_TOPIC_NAME, "topic name \"%.260s\": 1 to 249 letters, digits, '.', '_', '-'", name);
    return false;
}

static struct topic *topic_new(const char *name) {
    struct topic *t = MEM_NEW(struct topic);
    t->name = mem_strdup(name);
    return t;
}

static void topic_free(struct topic *t) {
    if (t == NULL) return;
    for (size_t i = 0; i < t->partitions.n; i++) partition_unref(t->partitions.p[i]);
    vec_fini(&t->partitions);
    kvs_free(&t->configs);
    mem_free(t->name);
    mem_free(t);
}

// ---- the file -------------------------------------------------------------------------------------------------------

static int by_name(const void *a, const void *b) {
    return strcmp((*(struct topic *const *)a)->name, (*(struct topic *const *)b)->name);
}

static void sorted_topics(const struct broker *b, struct topic ***out, size_t *n) {
    VEC(struct topic *) v = {0};
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&b->topics, &it)) != NULL;) vec_add(&v, e->value);
    if (v.n > 1) qsort(v.p, v.n, sizeof *v.p, by_name);
    *out = v.p;
    *n = v.n;
}

static void put_topic(struct buf *out, const struct topic *t, size_t partitions, const topic_kvs *configs) {
    char id[37];
    sys_uuid_text(t->id, id);
    buf_printf(out, "topic %s %s %zu\n", t->name, id, partitions);
    for (size_t i = 0; i < configs->n; i++) buf_printf(out, "config %s %s\n", configs->p[i].name, configs->p[i].value);
}

struct change { // what the file is to say beside what the catalog holds
    const struct topic *add, *remove, *edit;
    size_t partitions;        // of `edit`
    const topic_kvs *configs; // of `edit`
};

// A full disk must not keep a topic from being deleted or its retention from being shortened: DIR/spare holds room for the new catalog.
enum { SPARE_BYTES = 64 << 10 };

static bool spare_give(struct broker *b) {
    char *path = mem_printf("%s/spare", b->dir);
    bool given = sys_unlink(b->sys, path, NULL) == ERR_OK;
    mem_free(path);
    return given;
}

void topics_spare(struct broker *b) { // it need not be durable, and may fail: then there is none
    static const uint8_t zeros[SPARE_BYTES];
    char *path = mem_printf("%s/spare", b->dir);
    struct sys_file *f = sys_exists(b->sys, path) ? NULL : sys_open(b->sys, path, SYS_WRITE | SYS_CREATE, NULL);
    bool whole = f == NULL || sys_pwrite(f, zeros, sizeof zeros, 0, NULL) == ERR_OK;
    if (f != NULL) sys_close(f);
    if (!whole) (void)sys_unlink(b->sys, path, NULL);
    mem_free(path);
}

static enum err_code save(struct broker *b, const struct change *ch, struct err *err) {
    struct topic **all;
    size_t n;
    struct buf out = {0};
    buf_puts(&out, TOPICS_HEAD "\n");
    sys_mutex_lock(&b->mutex);
    sorted_topics(b, &all, &n);
    for (size_t i = 0; i < n; i++) {
        if (all[i] == ch->remove) continue;
        bool edit = all[i] == ch->edit;
        put_topic(&out, all[i], edit ? ch->partitions : all[i]->partitions.n, edit ? ch->configs : &all[i]->configs);
    }
    sys_mutex_unlock(&b->mutex);
    mem_free(all);
    if (ch->add != NULL) put_topic(&out, ch->add, ch->add->partitions.n, &ch->add->configs);
    buf_printf(&out, "crc %08x\n", crc32c(0, out.p, out.n));
    char *path = mem_printf("%s/topics", b->dir);
    enum err_code code = out.failed || out.n > TOPICS_FILE_MAX ? err_set(err, ERR_TOO_LARGE, "%s would be larger than 64 MiB", path)
                                                               : sys_write_file(b->sys, path, buf_str(&out), err);
    if (code == ERR_NO_SPACE && ch->add == NULL && spare_give(b)) code = sys_write_file(b->sys, path, buf_str(&out), err);
    mem_free(path);
    buf_fini(&out);
    return code;
}

enum err_code topics_create_file(struct broker *b, struct err *err) {
    char *path = mem_printf("%s/topics", b->dir);
    enum err_code code = sys_exists(b->sys, path) ? ERR_OK : save(b, &(struct change){0}, err);
    mem_free(path);
    return code;
}

static bool parse_uuid(struct str s, uint8_t out[16]) {
    size_t n = 0;
    int high = -1;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (c == '-') continue;
        if (v < 0 || n == 16) return false;
        if (high < 0) high = v;
        else out[n++] = (uint8_t)(high << 4 | v), high = -1;
    }
    return n == 16 && high < 0;
}

static bool parse_topic(struct str rest, struct topic **out, int64_t *partitions) {
    struct str name, id;
    if (!str_cut(rest, ' ', &name, &rest) || !str_cut(rest, ' ', &id, &rest)) return false;
    char *text = mem_strndup(name.p, name.n);
    struct topic *t = topic_new(text);
    bool ok = topic_name_ok(text, NULL) && parse_uuid(id, t->id) && str_to_i64(rest, partitions) && *partitions > 0 && *partitions <= INT32_MAX;
    mem_free(text);
    if (ok) *out = t;
    else topic_free(t);
    return ok;
}

static bool parse_config(struct topic *t, struct str rest) {
    struct str name;
    if (t == NULL || !str_cut(rest, ' ', &name, &rest)) return false;
    char *n = mem_strndup(name.p, name.n), *v = mem_strndup(rest.p, rest.n);
    struct broker_kv kv = {n, v};
    bool ok = configs_apply(&t->configs, &kv, 1, NULL) == ERR_OK;
    mem_free(n);
    mem_free(v);
    return ok;
}

// The content without its last line, when that line's CRC is right.
static bool strip_crc(struct str *text) {
    if (text->n < 13) return false;
    struct str line = str_n(text->p + text->n - 13, 13);
    struct buf want = {0};
    buf_printf(&want, "crc %08x\n", crc32c(0, text->p, text->n - 13));
    bool ok = str_eq(line, buf_str(&want));
    buf_fini(&want);
    text->n -= 13;
    return ok;
}

static bool parse_file(struct broker *b, struct str text, int64_t *partitions_out, int64_t **counts) {
    VEC(int64_t) v = {0};
    struct str line, rest = text;
    bool ok = strip_crc(&rest) && str_cut(rest, '\n', &line, &rest) && str_eqc(line, TOPICS_HEAD);
    struct topic *t = NULL;
    *partitions_out = 0;
    while (ok && rest.n > 0) {
        (void)str_cut(rest, '\n', &line, &rest);
        struct str word, args;
        (void)str_cut(line, ' ', &word, &args);
        int64_t partitions = 0;
        if (str_eqc(word, "topic")) {
            ok = parse_topic(args, &t, &partitions);
            if (!ok) break;
            vec_add(&v, partitions);
            *partitions_out += partitions;
            map_put(&b->topics, str_c(t->name), t);
            map_put(&b->topic_ids, str_n(t->id, 16), t);
        } else {
            ok = str_eqc(word, "config") && parse_config(t, args);
        }
    }
    *counts = v.p;
    return ok;
}

static bool is_partition_folder(const char *name) {
    const char *dash = strrchr(name, '-');
    int64_t v;
    return dash != NULL && dash != name && str_to_i64(str_c(dash + 1), &v) && v >= 0;
}

static bool is_named(const struct broker *b, const char *folder) {
    const char *dash = strrchr(folder, '-');
    struct topic *t = map_get(&b->topics, str_n(folder, (size_t)(dash - folder)));
    int64_t index = -1;
    return t != NULL && str_to_i64(str_c(dash + 1), &index) && index < (int64_t)t->partitions.n;
}

static enum err_code remove_leftovers(struct broker *b, const struct sys_list *names, struct err *err) {
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < names->n && code == ERR_OK; i++) {
        if (!is_partition_folder(names->names[i]) || is_named(b, names->names[i])) continue;
        char *path = mem_printf("%s/%s", b->dir, names->names[i]);
        log_info("broker", "removing what an interrupted change left", "folder", path, NULL);
        code = sys_remove_tree(b->sys, path, err);
        mem_free(path);
    }
    return code;
}

static enum err_code add_partitions(struct broker *b, struct topic *t, int64_t n, bool clean, struct err *err) {
    struct topic_setting_values v;
    configs_settings(b, &t->configs, &v);
    for (int64_t i = (int64_t)t->partitions.n; i < n; i++) {
        struct partition *p = partition_open(b, t->name, (int32_t)i, t->id, &v, clean, err);
        if (p == NULL) return err->code;
        vec_add(&t->partitions, p);
    }
    return ERR_OK;
}

// At start. counts: of partitions, in the map's order.
static enum err_code open_all(struct broker *b, const int64_t *counts, int64_t total, bool clean, struct err *err) {
    struct topic_setting_values *settings = mem_zalloc((b->topics.n + 1) * sizeof *settings);
    struct partition_job *jobs = mem_zalloc(((size_t)total + 1) * sizeof *jobs);
    struct map_entry *e;
    size_t k = 0, n = 0;
    for (size_t it = 0; (e = map_next(&b->topics, &it)) != NULL; k++) {
        struct topic *t = e->value;
        configs_settings(b, &t->configs, &settings[k]);
        for (int32_t i = 0; i < counts[k]; i++) jobs[n++] = (struct partition_job){.topic = t->name, .id = t->id, .settings = &settings[k], .index = i};
    }
    assert(n == (size_t)total);
    enum err_code code = partitions_open(b, jobs, n, clean, err);
    k = n = 0;
    for (size_t it = 0; code == ERR_OK && (e = map_next(&b->topics, &it)) != NULL; k++) {
        struct topic *t = e->value;
        for (int64_t i = 0; i < counts[k]; i++) vec_add(&t->partitions, jobs[n++].partition);
    }
    mem_free(jobs);
    mem_free(settings);
    return code;
}

enum err_code topics_load(struct broker *b, bool clean, struct err *err) {
    struct sys_list names = {0};
    char *path = mem_printf("%s/topics", b->dir), *text = NULL;
    int64_t *counts = NULL, total = 0;
    enum err_code code = sys_list_dir(b->sys, b->dir, &names, err);
    size_t n = 0;
    if (code == ERR_OK && sys_exists(b->sys, path)) {
        text = sys_read_file(b->sys, path, TOPICS_FILE_MAX, &n, err);
        if (text == NULL) code = err->code;
        else if (!parse_file(b, str_n(text, n), &total, &counts)) code = err_set(err, ERR_CORRUPT, "%s: damaged; restore it from a copy", path);
    } else if (code == ERR_OK) { // a new directory got an empty one before anything else
        code = err_set(err, ERR_CORRUPT, "%s is missing; restore it from a copy", path);
    }
    if (code == ERR_OK) code = open_all(b, counts, total, clean, err);
    b->n_partitions = total;
    if (code == ERR_OK && !clean) code = sys_sync_dir(b->sys, b->dir, err); // folders that a killed process made
    if (code == ERR_OK) code = remove_leftovers(b, &names, err);
    sys_list_free(&names);
    mem_free(counts);
    mem_free(text);
    mem_free(path);
    return code;
}

void topics_free(struct broker *b) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&b->topics, &it)) != NULL;) topic_free(e->value);
    map_fini(&b->topics);
    map_fini(&b->topic_ids);
}

// ---- look-ups -------------------------------------------------------------------------------------------------------

struct partition *partition_find(struct broker *b, const char *topic, int32_t index) {
    sys_mutex_lock(&b->mutex);
    struct topic *t = map_getc(&b->topics, topic);
    struct partition *p = t != NULL && index >= 0 && (size_t)index < t->partitions.n ? t->partitions.p[index] : NULL;
    if (p != NULL) partition_ref(p);
    sys_mutex_unlock(&b->mutex);
    return p;
}

bool topics_id(struct broker *b, const char *topic, int32_t index, uint8_t id[16]) {
    sys_mutex_lock(&b->mutex);
    const struct topic *t = map_getc(&b->topics, topic);
    bool there = t != NULL && index >= 0 && (size_t)index < t->partitions.n;
    if (there) memcpy(id, t->id, 16);
    sys_mutex_unlock(&b->mutex);
    return there;
}

void partitions_all(struct broker *b, struct partition ***out, size_t *n) {
    VEC(struct partition *) v = {0};
    struct map_entry *e;
    sys_mutex_lock(&b->mutex);
    for (size_t it = 0; (e = map_next(&b->topics, &it)) != NULL;) {
        struct topic *t = e->value;
        for (size_t i = 0; i < t->partitions.n; i++) {
            partition_ref(t->partitions.p[i]);
            vec_add(&v, t->partitions.p[i]);
        }
    }
    sys_mutex_unlock(&b->mutex);
    *out = v.p;
    *n = v.n;
}

static void describe(const struct topic *t, struct arena *a, struct broker_topic_info *out) {
    *out = (struct broker_topic_info){.name = arena_strdup(a, t->name), .partitions = (int32_t)t->partitions.n};
    memcpy(out->id, t->id, 16);
    out->internal = broker_topic_internal(t->name);
}

static bool get(struct broker *b, const struct map *m, struct str key, struct arena *a, struct broker_topic_info *out) {
    sys_mutex_lock(&b->mutex);
    struct topic *t = map_get(m, key);
    if (t != NULL) describe(t, a, out);
    sys_mutex_unlock(&b->mutex);
    return t != NULL;
}

bool broker_topic_get(struct broker *b, struct str name, struct arena *a, struct broker_topic_info *out) {
    return get(b, &b->topics, name, a, out);
}

bool broker_topic_get_id(struct broker *b, const uint8_t id[16], struct arena *a, struct broker_topic_info *out) {
    return get(b, &b->topic_ids, str_n(id, 16), a, out);
}

size_t broker_topic_list(struct broker *b, struct arena *a, struct broker_topic_info **out) {
    struct topic **all;
    size_t n;
    sys_mutex_lock(&b->mutex);
    sorted_topics(b, &all, &n);
    *out = ARENA_ARRAY(a, struct broker_topic_info, n + 1);
    for (size_t i = 0; i < n; i++) describe(all[i], a, &(*out)[i]);
    sys_mutex_unlock(&b->mutex);
    mem_free(all);
    return n;
}

// ---- changes --------------------------------------------------------------------------------------------------------

static enum err_code check_count(const struct broker *b, int64_t partitions, int64_t more, struct err *err) {
    if (partitions <= 0) return err_set(err, ERR_PARTITIONS, "number of partitions must be larger than 0, not %lld", (long long)partitions);
    if (b->n_partitions + more > b->config.max_partitions)
        return err_set(err, ERR_POLICY, "%lld more partitions would pass the broker's maximum of %d", (long long)more, b->config.max_partitions);
    return ERR_OK;
}

// Metrics write '.' as '_': two topics that differ in nothing else would be one there, so Kafka has only one of them.
static enum err_code check_collision(const struct broker *b, const char *name, struct err *err) {
    struct map_entry *e;
    if (strpbrk(name, "._") == NULL) return ERR_OK;
    for (size_t it = 0; (e = map_next(&b->topics, &it)) != NULL;) {
        const char *x = name, *y = ((const struct topic *)e->value)->name;
        while (*x != '\0' && (*x == *y || (*x == '.' && *y == '_') || (*x == '_' && *y == '.'))) x++, y++;
        if (*x == '\0' && *y == '\0')
            return err_set(err, ERR_TOPIC_NAME, "Topic '%s' collides with existing topic: %s", name, ((const struct topic *)e->value)->name);
    }
    return ERR_OK;
}

// Folders of an earlier topic of this name whose removal failed.
static enum err_code remove_folders(struct broker *b, const char *name, size_t from, size_t to, struct err *err) {
    enum err_code code = ERR_OK;
    for (size_t i = from; i < to && code == ERR_OK; i++) {
        char *path = mem_printf("%s/%s-%zu", b->dir, name, i);
        code = sys_remove_tree(b->sys, path, err);
        mem_free(path);
    }
    return code;
}

static enum err_code create(struct broker *b, struct topic *t, int32_t partitions, struct err *err) {
    do sys_uuid(b->sys, t->id);
    while (memcmp(t->id, (uint8_t[16]){0}, 16) == 0);
    enum err_code code = remove_folders(b, t->name, 0, (size_t)partitions, err);
    if (code == ERR_OK) code = add_partitions(b, t, partitions, false, err);
    if (code == ERR_OK) code = sys_sync_dir(b->sys, b->dir, err);
    if (code == ERR_OK) code = save(b, &(struct change){.add = t}, err);
    if (code != ERR_OK) return code;
    sys_mutex_lock(&b->mutex);
    map_put(&b->topics, str_c(t->name), t);
    map_put(&b->topic_ids, str_n(t->id, 16), t);
    sys_mutex_unlock(&b->mutex);
    b->n_partitions += partitions;
    log_info("broker", "topic created", "topic", t->name, "partitions", log_i64(partitions), NULL);
    return ERR_OK;
}

static enum err_code grow(struct broker *b, struct topic *t, int32_t partitions, struct err *err) {
    size_t old = t->partitions.n;
    struct topic extra = {.name = t->name};
    struct topic_setting_values v;
    configs_settings(b, &t->configs, &v);
    enum err_code code = remove_folders(b, t->name, old, (size_t)partitions, err);
    for (size_t i = old; i < (size_t)partitions && code == ERR_OK; i++) {
        struct partition *p = partition_open(b, t->name, (int32_t)i, t->id, &v, false, err);
        if (p == NULL) code = err->code;
        else vec_add(&extra.partitions, p);
    }
    if (code == ERR_OK) code = sys_sync_dir(b->sys, b->dir, err);
    if (code == ERR_OK) code = save(b, &(struct change){.edit = t, .partitions = (size_t)partitions, .configs = &t->configs}, err);
    if (code == ERR_OK) {
        sys_mutex_lock(&b->mutex);
        for (size_t i = 0; i < extra.partitions.n; i++) vec_add(&t->partitions, extra.partitions.p[i]);
        sys_mutex_unlock(&b->mutex);
        b->n_partitions += (int64_t)extra.partitions.n;
    } else {
        for (size_t i = 0; i < extra.partitions.n; i++) partition_unref(extra.partitions.p[i]);
        (void)remove_folders(b, t->name, old, (size_t)partitions, NULL);
    }
    vec_fini(&extra.partitions);
    return code;
}

// Swaps them: `next` has the old ones then.
static enum err_code set_configs(struct broker *b, struct topic *t, topic_kvs *next, struct err *err) {
    enum err_code code = save(b, &(struct change){.edit = t, .partitions = t->partitions.n, .configs = next}, err);
    if (code != ERR_OK) return code;
    struct topic_setting_values v;
    configs_settings(b, next, &v);
    for (size_t i = 0; i < t->partitions.n; i++) partition_settings(t->partitions.p[i], &v);
    sys_mutex_lock(&b->mutex);
    topic_kvs old = t->configs;
    t->configs = *next;
    sys_mutex_unlock(&b->mutex);
    *next = old;
    return ERR_OK;
}

static bool is_free(const struct topic *t) { return t->yields && log_end(t->partitions.p[0]->log) == 0; }

// Somebody creates what the server made for itself: it is his, with what he wants of it; configs that he leaves out stay.
static enum err_code take(struct broker *b, struct topic *t, int32_t partitions, const struct broker_kv *configs, size_t n, bool validate_only,
                          struct err *err) {
    topic_kvs next = {0};
    kvs_copy(&next, &t->configs);
    enum err_code code = configs_apply(&next, configs, n, err);
    if (code == ERR_OK) code = check_count(b, partitions, partitions - (int64_t)t->partitions.n, err);
    if (code == ERR_OK && !validate_only) code = set_configs(b, t, &next, err);
    if (code == ERR_OK && !validate_only && partitions > (int32_t)t->partitions.n) code = grow(b, t, partitions, err);
    if (code == ERR_OK && !validate_only) t->yields = false;
    kvs_free(&next);
    return code;
}

void topics_yield(struct broker *b, const char *name) {
    sys_mutex_lock(&b->change);
    struct topic *t = map_getc(&b->topics, name);
    if (t != NULL) t->yields = true;
    sys_mutex_unlock(&b->change);
}

enum err_code broker_topic_create(struct broker *b, const char *name, int32_t partitions, const struct broker_kv *configs, size_t n_configs,
                                  bool validate_only, struct broker_topic_info *out, struct arena *a, struct err *err) {
    struct err local = {0};
    if (err == NULL) err = &local;
    if (!topic_name_ok(name, err)) return err->code;
    if (partitions == -1) partitions = (int32_t)configs_broker_i64(b, "num.partitions", 1);
    struct topic *t = topic_new(name);
    sys_mutex_lock(&b->change);
    struct topic *there = map_getc(&b->topics, name);
    bool taken = there != NULL && is_free(there);
    enum err_code code = there != NULL && !taken ? err_set(err, ERR_EXISTS, "Topic '%s' already exists.", name) : ERR_OK;
    if (taken) {
        code = take(b, there, partitions, configs, n_configs, validate_only, err);
    } else {
        if (code == ERR_OK) code = check_collision(b, name, err);
        if (code == ERR_OK) code = check_count(b, partitions, partitions, err);
        if (code == ERR_OK) code = configs_apply(&t->configs, configs, n_configs, err);
        if (code == ERR_OK && !validate_only) code = create(b, t, partitions, err);
    }
    if (code == ERR_OK && out != NULL) { // out NULL: no arena either
        describe(taken ? there : t, a, out);
        out->partitions = partitions;
    }
    bool made = code == ERR_OK && !validate_only && !taken;
    if (!made && t->partitions.n > 0) {
        size_t n = t->partitions.n;
        topic_free(t); // files closed first
        t = NULL;
        (void)remove_folders(b, name, 0, n, NULL);
    }
    sys_mutex_unlock(&b->change);
    if (!made) topic_free(t);
    if (code == ERR_OK && !validate_only) coordinator_topic_changed(b->coordinator, name);
    return code;
}

enum err_code broker_topic_delete(struct broker *b, const char *name, struct err *err) {
    sys_mutex_lock(&b->change);
    struct topic *t = map_getc(&b->topics, name);
    enum err_code code = t == NULL ? err_set(err, ERR_NO_TOPIC, "no topic \"%.260s\"", name) : ERR_OK;
    if (code == ERR_OK) code = save(b, &(struct change){.remove = t}, err);
    if (code == ERR_OK) {
        sys_mutex_lock(&b->mutex);
        map_remove(&b->topics, str_c(name));
        map_remove(&b->topic_ids, str_n(t->id, 16));
        sys_mutex_unlock(&b->mutex);
        b->n_partitions -= (int64_t)t->partitions.n;
        for (size_t i = 0; i < t->partitions.n; i++) {
            partition_delete(t->partitions.p[i]);
            log_abandon(t->partitions.p[i]->log); // a worker may be at it still, and a new topic may take the folder's name
        }
        coordinator_forget_topic(b->coordinator, name);
        coordinator_topic_changed(b->coordinator, name);
        struct err removal = {0};
        if (remove_folders(b, t->name, 0, t->partitions.n, &removal) != ERR_OK)
            log_warn("broker", "files of a deleted topic are still there; the next start removes them", "topic", t->name, "error", removal.msg, NULL);
        topics_spare(b);
        log_info("broker", "topic deleted", "topic", t->name, NULL);
        topic_free(t);
    }
    sys_mutex_unlock(&b->change);
    return code;
}

enum err_code broker_topic_grow(struct broker *b, const char *name, int32_t partitions, bool validate_only, struct err *err) {
    struct err local = {0};
    if (err == NULL) err = &local;
    sys_mutex_lock(&b->change);
    struct topic *t = map_getc(&b->topics, name);
    enum err_code code = t == NULL ? err_set(err, ERR_NO_TOPIC, "no topic \"%.260s\"", name) : ERR_OK;
    if (code == ERR_OK && partitions <= (int32_t)t->partitions.n)
        code = err_set(err, ERR_PARTITIONS, "topic \"%s\" has %zu partitions already; %d is not more", name, t->partitions.n, partitions);
    if (code == ERR_OK) code = check_count(b, partitions, partitions - (int64_t)t->partitions.n, err);
    if (code == ERR_OK && !validate_only) code = grow(b, t, partitions, err);
    sys_mutex_unlock(&b->change);
    if (code == ERR_OK && !validate_only) coordinator_topic_changed(b->coordinator, name);
    return code;
}

// ---- configs --------------------------------------------------------------------------------------------------------

enum err_code broker_topic_configs(struct broker *b, const char *name, struct arena *a, struct broker_config_entry **out, size_t *n,
                                   struct err *err) {
    sys_mutex_lock(&b->mutex);
    struct topic *t = map_getc(&b->topics, name);
    if (t != NULL) *n = configs_describe(b, &t->configs, a, out);
    sys_mutex_unlock(&b->mutex);
    return t == NULL ? err_set(err, ERR_NO_TOPIC, "no topic \"%.260s\"", name) : ERR_OK;
}

size_t broker_configs(struct broker *b, struct arena *a, struct broker_config_entry **out) { return configs_describe(b, NULL, a, out); }

enum err_code broker_topic_alter(struct broker *b, const char *name, const struct broker_kv *changes, size_t n, bool validate_only,
                                 struct err *err) {
    topic_kvs next = {0};
    sys_mutex_lock(&b->change);
    struct topic *t = map_getc(&b->topics, name);
    enum err_code code = t == NULL ? err_set(err, ERR_NO_TOPIC, "no topic \"%.260s\"", name) : ERR_OK;
    if (code == ERR_OK) {
        kvs_copy(&next, &t->configs);
        code = configs_apply(&next, changes, n, err);
    }
    if (code == ERR_OK && !validate_only) code = set_configs(b, t, &next, err);
    sys_mutex_unlock(&b->change);
    kvs_free(&next);
    return code;
}

void topics_settings(struct broker *b) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&b->topics, &it)) != NULL;) { // nobody changes the maps but who holds broker.change
        struct topic *t = e->value;
        struct topic_setting_values v;
        configs_settings(b, &t->configs, &v);
        for (size_t i = 0; i < t->partitions.n; i++) partition_settings(t->partitions.p[i], &v);
    }
}
