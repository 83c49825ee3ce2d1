// SPDX-License-Identifier: Apache-2.0
// The folder of DAG files: listed on a worker every scan_seconds, what is new or changed is parsed by the Python side (FLOW_PARSERS at once),
// results become DAGs, versions (a new one only when document or source changed) and import errors. The loop's thread but for list_work.
#include "flow/flow_int.h"

#include <stdio.h>

#include "base/log.h"
#include "base/metrics.h"
#include "codec/digest.h"

enum { DEPTH_MAX = 8 };

struct found {
    char *path;
    int64_t mtime_us, size;
};
struct listing {
    struct flow *f;
    VEC(struct found) files;
    bool too_many;
    struct err err;
};

static void list_dir(struct listing *l, const char *dir, int depth) {
    struct sys_list names;
    struct err err = {0};
    if (sys_list_dir(l->f->sys, dir, &names, &err) != ERR_OK) {
        if (depth == 0) err_copy(&l->err, &err);
        return;
    }
    for (size_t i = 0; i < names.n; i++) {
        const char *name = names.names[i];
        if (name[0] == '.' || strcmp(name, "__pycache__") == 0) continue;
        char *path = mem_printf("%s/%s", dir, name);
        struct sys_stat st;
        bool ok = sys_stat(l->f->sys, path, &st, NULL) == ERR_OK;
        if (ok && st.type == SYS_TYPE_DIR && depth < DEPTH_MAX) list_dir(l, path, depth + 1);
        if (ok && st.type == SYS_TYPE_FILE && str_ends(str_c(name), STR(".py"))) {
            if (l->files.n < FLOW_FILES_MAX) {
                vec_add(&l->files, ((struct found){path, st.mtime_us, (int64_t)st.size}));
                continue;
            }
            l->too_many = true;
        }
        mem_free(path);
    }
    sys_list_free(&names);
}

static void list_work(void *arg) {
    struct listing *l = arg;
    list_dir(l, l->f->dags_dir, 0);
}

// ---- parsing --------------------------------------------------------------------------------------------------------------------
static void answer_waiting(struct flow *f) {
    if (f->scanning || f->parsing > 0 || f->scan_again) return;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&f->files, &it)) != NULL;)
        if (!((struct ffile *)e->value)->parsed) return;
    f->parser_heartbeat_us = flow_now(f);
    for (size_t i = 0; i < f->scan_calls.n; i++) loop_event_set(&f->scan_calls.p[i]->done);
    f->scan_calls.n = 0;
}

static void parse_more(struct flow *f) {
    struct map_entry *e;
    if (f->py == NULL) return;
    for (size_t it = 0; f->parsing < FLOW_PARSERS && (e = map_next(&f->files, &it)) != NULL;) {
        struct ffile *file = e->value;
        if (file->parsed || file->parsing) continue;
        file->parsing = true;
        file->again = false;
        file->parse_id = ++f->exec_id;
        f->parsing++;
        flow_python_send(f, json_pack("{s:s,s:I,s:s,s:i}", "op", "parse", "id", (json_int_t)file->parse_id, "file", file->path, "timeout",
                                      f->parse_timeout_s));
    }
    answer_waiting(f);
}

void flow_scan_python_lost(struct flow *f) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&f->files, &it)) != NULL;) ((struct ffile *)e->value)->parsing = false;
    f->parsing = 0;
}

static void set_import_error(struct flow *f, const char *file, const char *trace) {
    struct err err = {0};
    if (trace == NULL) meta_do(f->meta, &err, "delete from flow_import_error where file = ?1", "s", file);
    else
        meta_do(f->meta, &err,
                "insert into flow_import_error(file, trace, when_us) values (?1, ?2, ?3) on conflict(file) do update set trace = ?2, when_us = ?3",
                "ssi", file, trace, flow_now(f));
    if (err.code != ERR_OK) log_error("flow", "import error was not stored", "file", file, "error", err.msg, NULL);
    if (trace != NULL) log_warn("flow", "DAG file has an error", "file", file, NULL);
}

static void hash_hex(struct str doc, struct str source, char out[65]) {
    uint8_t sum[64], final[32];
    digest_sha256(doc, sum);
    digest_sha256(source, sum + 32);
    digest_sha256(str_n(sum, 64), final);
    for (int i = 0; i < 32; i++) snprintf(out + 2 * i, 3, "%02x", final[i]);
}

static bool file_has_other(struct flow *f, struct fdag *d, const char *path) { // the same dag_id in another file that is still there
    return !d->stale && d->file[0] != '\0' && strcmp(d->file, path) != 0 && map_getc(&f->files, d->file) != NULL;
}

static void take_dag(struct flow *f, struct ffile *file, json_t *doc, struct str source, int64_t us, struct buf *problems) {
    struct err err = {0};
    struct fversion *v = flow_version_parse(doc, &err);
    if (v == NULL) {
        buf_printf(problems, "DAG '%s': %s\n", json_get_cstr(doc, "dag_id", "?"), err.msg);
        return;
    }
    struct fdag *d = flow_dag_find(f, v->dag_id);
    if ((d == NULL && f->dags.n >= FLOW_DAGS_MAX) || (d != NULL && file_has_other(f, d, file->path))) {
        if (d == NULL) buf_printf(problems, "there are more than %d DAGs; '%s' is left out\n", FLOW_DAGS_MAX, v->dag_id);
        else buf_printf(problems, "DAG '%s' is in another file too: %s\n", v->dag_id, d->file);
        flow_version_unref(v);
        return;
    }
    bool is_new = d == NULL;
    if (is_new) {
        d = flow_dag_add(f, v->dag_id);
        d->paused = json_get_bool(doc, "is_paused_upon_creation", f->paused_at_creation);
    }
    struct arena a;
    arena_init(&a);
    hash_hex(json_text(doc, JSON_COMPACT | JSON_SORT_KEYS, &a), source, v->hash);
    arena_fini(&a);
    if (d->latest == NULL || strcmp(d->latest->hash, v->hash) != 0) {
        uint8_t uuid[16];
        sys_uuid(f->sys, uuid);
        sys_uuid_text(uuid, v->uuid);
        v->created_us = flow_now(f);
        if (flow_store_version_add(f, d, v, source, &err) == ERR_OK) {
            flow_version_unref(d->latest);
            d->latest = v;
            v->refs++;
            log_info("flow", is_new ? "new DAG" : "new version of DAG", "dag", d->dag_id, "version", log_i64(v->number), NULL);
        } else {
            log_error("flow", "DAG version was not stored", "dag", d->dag_id, "error", err.msg, NULL);
        }
    }
    flow_version_unref(v);
    mem_free(d->file);
    d->file = mem_strdup(file->path);
    d->stale = d->import_error = false;
    d->last_parsed_us = flow_now(f);
    d->parse_us = us;
    flow_dag_mark(f, d);
    if (d->latest != NULL) flow_dag_schedule(d);
}

static void dags_gone(struct flow *f, const char *path, const json_t *dags, bool failed) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&f->dags, &it)) != NULL;) {
        struct fdag *d = e->value;
        if (strcmp(d->file, path) != 0) continue;
        bool there = false;
        size_t i;
        json_t *doc;
        json_array_foreach(dags, i, doc) there = there || str_eqc(json_get_str(doc, "dag_id"), d->dag_id);
        if (failed && !d->import_error) d->import_error = true; // keeps its last good version
        else if (!failed && !there && !d->stale) d->stale = true;
        else continue;
        flow_dag_mark(f, d);
        flow_dag_schedule(d);
    }
}

static struct ffile *file_by_parse(struct flow *f, int64_t id) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&f->files, &it)) != NULL;) {
        struct ffile *file = e->value;
        if (file->parsing && file->parse_id == id) return file;
    }
    return NULL;
}

void flow_scan_parsed(struct flow *f, int64_t id, const json_t *o) {
    struct ffile *file = file_by_parse(f, id);
    if (file == NULL) return; // a callback's end, or a file that has gone
    file->parsing = false;
    file->parsed = !file->again;
    f->parsing--;
    const char *error = json_get_cstr(o, "error", NULL);
    json_t *dags = json_object_get(o, "dags"), *doc;
    int64_t us = json_get_i64(o, "us", 0);
    metric_observe_us(M_FLOW_PARSE_SECONDS, NULL, us);
    struct buf problems;
    buf_init(&problems, 1 << 20);
    size_t n = 0, i;
    char *source = sys_read_file(f->sys, file->path, FLOW_FILE_MAX, &n, NULL);
    json_array_foreach(dags, i, doc) take_dag(f, file, doc, str_n(source != NULL ? source : "", n), us, &problems);
    mem_free(source);
    if (error != NULL) buf_puts(&problems, error);
    set_import_error(f, file->path, problems.n > 0 ? buf_cstr(&problems) : NULL);
    dags_gone(f, file->path, dags, error != NULL);
    buf_fini(&problems);
    f->parser_heartbeat_us = flow_now(f);
    parse_more(f);
}

// ---- listing --------------------------------------------------------------------------------------------------------------------
static void file_free(struct ffile *file) {
    mem_free(file->path);
    mem_free(file);
}

static void scan_timer(void *arg) { flow_scan(arg); }

static void list_done(void *arg) {
    struct listing *l = arg;
    struct flow *f = l->f;
    struct map_entry *e;
    f->scanning = false;
    for (size_t it = 0; (e = map_next(&f->files, &it)) != NULL;) ((struct ffile *)e->value)->seen = false;
    for (size_t i = 0; i < l->files.n; i++) {
        struct found *x = &l->files.p[i];
        struct ffile *file = map_getc(&f->files, x->path);
        if (file == NULL) {
            file = MEM_NEW(struct ffile);
            file->path = mem_strdup(x->path);
            map_put(&f->files, str_c(x->path), file);
        } else if (file->mtime_us != x->mtime_us || file->size != x->size) {
            file->parsed = false;
            file->again = file->parsing;
        }
        file->mtime_us = x->mtime_us;
        file->size = x->size;
        file->seen = true;
        mem_free(x->path);
    }
    bool ok = l->err.code == ERR_OK || l->err.code == ERR_NOT_FOUND;
    if (!ok) log_warn("flow", "the folder of DAG files cannot be read", "folder", f->dags_dir, "error", l->err.msg, NULL);
    if (l->too_many) log_warn("flow", "too many DAG files; the rest is left out", "maximum", log_i64(FLOW_FILES_MAX), NULL);
    for (size_t it = 0; ok && (e = map_next(&f->files, &it)) != NULL;) {
        struct ffile *file = e->value;
        if (file->seen) continue;
        if (file->parsing) f->parsing--;
        map_remove(&f->files, str_c(file->path));
        set_import_error(f, file->path, NULL);
        dags_gone(f, file->path, NULL, false);
        file_free(file);
    }
    for (size_t it = 0; ok && !f->scanned_once && (e = map_next(&f->dags, &it)) != NULL;) { // files that went while we were down
        struct fdag *d = e->value;
        if (map_getc(&f->files, d->file) == NULL) dags_gone(f, d->file, NULL, false);
    }
    f->scanned_once = true;
    vec_fini(&l->files);
    mem_free(l);
    if (f->scan_again) {
        f->scan_again = false;
        flow_scan(f);
        return;
    }
    parse_more(f);
    loop_timer_set(f->loop, &f->scan_timer, f->scan_us, scan_timer, f);
}

void flow_scan(struct flow *f) {
    if (f->closing) return;
    if (f->scanning) {
        f->scan_again = true;
        return;
    }
    loop_timer_cancel(f->loop, &f->scan_timer);
    struct listing *l = MEM_NEW(struct listing);
    l->f = f;
    f->scanning = true;
    if (pool_submit_then(f->pool, list_work, l, f->loop, list_done, NULL) == ERR_OK) return;
    f->scanning = false; // all workers are busy and their queue is full: later
    mem_free(l);
    loop_timer_set(f->loop, &f->scan_timer, f->scan_us, scan_timer, f);
}

void flow_scan_free(struct flow *f) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&f->files, &it)) != NULL;) file_free(e->value);
    map_fini(&f->files);
}
