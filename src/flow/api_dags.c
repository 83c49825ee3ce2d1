// SPDX-License-Identifier: Apache-2.0
// DAGs, tasks, versions, import errors: what flow.h says of them. DAGs come from the loop's memory (it knows the next run); the rest from the
// store, on the caller's thread.
#include "flow/query.h"

#include <stdlib.h>

static const char **texts(json_t *list, struct arena *a, size_t *n) {
    *n = json_array_size(list);
    const char **out = ARENA_ARRAY(a, const char *, *n + 1);
    for (size_t i = 0; i < *n; i++) out[i] = arena_str(a, json_str(json_array_get(list, i))).p;
    return out;
}

static const char *text_of(const json_t *o, const char *key, struct arena *a) {
    struct str s = json_get_str(o, key);
    return s.p == NULL ? NULL : arena_str(a, s).p;
}

static const char *object_text(const json_t *o, const char *key, struct arena *a) {
    json_t *v = json_object_get(o, key);
    return v != NULL ? json_text(v, JSON_COMPACT, a).p : "{}";
}

static bool limits_concurrency(const struct fversion *v) {
    for (size_t i = 0; i < v->n; i++)
        if (v->tasks[i].max_active_tis > 0) return true;
    return false;
}

static void fill_dag(struct flow *f, const struct fdag *d, struct arena *a, struct flow_dag *out) {
    const struct fversion *v = d->latest;
    const json_t *doc = v->doc;
    *out = (struct flow_dag){.dag_id = arena_strdup(a, d->dag_id), .display_name = text_of(doc, "display_name", a), .description = text_of(doc,
        "description", a),
                             .fileloc = arena_strdup(a, v->fileloc), .timezone = "UTC", .doc_md = text_of(doc, "doc_md", a)};
    size_t n = strlen(f->dags_dir);
    bool inside = strncmp(v->fileloc, f->dags_dir, n) == 0 && v->fileloc[n] == '/';
    out->relative_fileloc = inside ? out->fileloc + n + 1 : out->fileloc;
    out->timetable_summary = text_of(json_object_get(doc, "schedule"), "summary", a);
    out->timetable_description = v->schedule.kind == FLOW_SCHEDULE_NONE ? "Never, external triggers only" : out->timetable_summary;
    out->tags = texts(json_object_get(doc, "tags"), a, &out->n_tags);
    out->owners = texts(json_object_get(doc, "owners"), a, &out->n_owners);
    out->is_paused = d->paused;
    out->is_stale = d->stale;
    out->has_import_errors = d->import_error;
    out->catchup = v->catchup;
    out->has_task_concurrency_limits = limits_concurrency(v);
    out->render_native = json_get_bool(doc, "render_native", false);
    out->max_active_runs = v->max_active_runs;
    out->max_active_tasks = v->max_active_tasks;
    out->max_consecutive_failed_runs = v->max_failed_runs;
    for (size_t i = 0; i < d->runs.n; i++) out->active_runs += d->runs.p[i]->state == FLOW_RUN_RUNNING;
    out->last_parsed_us = d->last_parsed_us;
    out->last_parse_duration_us = d->parse_us;
    out->last_expired_us = FLOW_NO_TIME;
    out->next_run_after_us = out->next_logical_us = out->next_interval_start_us = out->next_interval_end_us = FLOW_NO_TIME;
    struct flow_tick t;
    struct flow_restriction r = {v->start_us, v->end_us, v->catchup};
    if (!d->stale && flow_schedule_next(&v->schedule, &r, d->last_automated_us, flow_now(f), &t)) {
        out->next_run_after_us = t.run_after_us;
        out->next_logical_us = t.logical_us;
        out->next_interval_start_us = t.interval_start_us;
        out->next_interval_end_us = t.interval_end_us;
    }
    out->start_us = v->start_us;
    out->end_us = v->end_us;
    out->dagrun_timeout_us = v->dagrun_timeout_us;
    out->params_json = object_text(doc, "params", a);
    out->default_args_json = object_text(doc, "default_args", a);
    out->version_id = v->id;
    out->version_number = v->number;
    out->version_uuid = arena_strdup(a, v->uuid);
    out->version_created_us = v->created_us;
}

// ---- listing -----------------------------------------------------------------------------------------------------------------------
struct list_in {
    const struct flow_dag_filter *filter;
    const struct flow_page *page;
};
struct list_out {
    struct flow_dag *dags;
    size_t n;
    int64_t total;
};

// SQL's LIKE: % any text, _ one character, ASCII case ignored. Backtracks to the last % only.
static bool like(const char *p, const char *s) {
    const char *star = NULL, *from = NULL;
    while (*s != '\0') {
        if (*p == '%') {
            star = p++;
            from = s;
        } else if (*p == '_' || (*p != '\0' && str_ieq(str_n(p, 1), str_n(s, 1)))) {
            p++;
            s++;
        } else if (star != NULL) {
            p = star + 1;
            s = ++from;
        } else {
            return false;
        }
    }
    while (*p == '%') p++;
    return *p == '\0';
}

static bool dag_fits(const struct fdag *d, const struct flow_dag_filter *filter) {
    if (d->latest == NULL) return false;
    if (filter == NULL) return !d->stale;
    if (d->stale && !filter->with_stale) return false;
    if (filter->dag_id_pattern != NULL && !like(filter->dag_id_pattern, d->dag_id)) return false;
    if (filter->paused >= 0 && d->paused != (filter->paused == 1)) return false;
    bool tagged = filter->tag == NULL;
    size_t i;
    json_t *t;
    json_array_foreach(json_object_get(d->latest->doc, "tags"), i, t) tagged = tagged || str_eqc(json_str(t), filter->tag);
    return tagged;
}

static int by_id(const void *a, const void *b) { return strcmp((*(struct fdag *const *)a)->dag_id, (*(struct fdag *const *)b)->dag_id); }
static int by_name(const void *a, const void *b) {
    return strcmp(json_get_cstr((*(struct fdag *const *)a)->latest->doc, "display_name", ""), json_get_cstr((*(struct fdag *const *)b)->latest->doc,
        "display_name", ""));
}
static int by_next(const void *a, const void *b) {
    int64_t x = (*(struct fdag *const *)a)->next_us, y = (*(struct fdag *const *)b)->next_us;
    return (x > y) - (x < y);
}

static enum err_code list_dags(struct fcall *c, struct err *err) {
    const struct list_in *in = c->in;
    struct list_out *out = c->out;
    static const struct {
        const char *name;
        int (*cmp)(const void *a, const void *b);
    } orders[] = {{"dag_id", by_id}, {"dag_display_name", by_name}, {"next_dagrun", by_next}};
    VEC(struct fdag *) found = {0};
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->f->dags, &it)) != NULL;)
        if (dag_fits(e->value, in->filter)) vec_add(&found, e->value);
    const char *order = in->page != NULL && in->page->order_by != NULL ? in->page->order_by : "dag_id";
    bool down = order[0] == '-', known = false;
    for (size_t i = 0; i < 3; i++)
        if (strcmp(orders[i].name, order + down) == 0) {
            if (found.n > 1) qsort(found.p, found.n, sizeof *found.p, orders[i].cmp);
            known = true;
        }
    enum err_code code = known ? ERR_OK : err_set(err, ERR_INVALID, "cannot order DAGs by '%s'", order + down);
    int64_t limit = in->page == NULL || in->page->limit <= 0 ? 100 : in->page->limit > FLOW_LIST_MAX ? FLOW_LIST_MAX : in->page->limit;
    int64_t offset = in->page == NULL || in->page->offset < 0 ? 0 : in->page->offset;
    out->total = (int64_t)found.n;
    out->dags = ARENA_ARRAY(c->a, struct flow_dag, limit < out->total ? limit + 1 : out->total + 1);
    for (int64_t i = offset; known && i < out->total && (int64_t)out->n < limit; i++)
        fill_dag(c->f, found.p[down ? out->total - 1 - i : i], c->a, &out->dags[out->n++]);
    vec_fini(&found);
    return code;
}

enum err_code flow_dags(struct flow *f, const struct flow_dag_filter *filter, const struct flow_page *page, struct arena *a, struct flow_dag **out,
                        size_t *n, int64_t *total, struct err *err) {
    struct list_in in = {filter, page};
    struct list_out o = {0};
    enum err_code e = flow_ask(f, list_dags, &in, &o, a, err);
    *out = o.dags;
    *n = o.n;
    if (total != NULL) *total = o.total;
    return e;
}

static struct fdag *must_find(struct flow *f, const char *dag_id, struct err *err) {
    struct fdag *d = flow_dag_find(f, dag_id);
    if (d == NULL || d->latest == NULL) {
        err_set(err, ERR_NOT_FOUND, "The Dag with ID: `%s` was not found", dag_id);
        return NULL;
    }
    return d;
}

static enum err_code get_dag(struct fcall *c, struct err *err) {
    struct fdag *d = must_find(c->f, c->in, err);
    if (d == NULL) return ERR_NOT_FOUND;
    fill_dag(c->f, d, c->a, c->out);
    return ERR_OK;
}

enum err_code flow_dag_get(struct flow *f, const char *dag_id, struct arena *a, struct flow_dag *out, struct err *err) {
    return flow_ask(f, get_dag, dag_id, out, a, err);
}

struct pause_in {
    const char *dag_id;
    bool paused;
};

static enum err_code pause_dag(struct fcall *c, struct err *err) {
    const struct pause_in *in = c->in;
    struct fdag *d = must_find(c->f, in->dag_id, err);
    if (d == NULL) return ERR_NOT_FOUND;
    if (d->paused == in->paused) return ERR_OK;
    d->paused = in->paused;
    d->failed_in_a_row = 0;
    flow_dag_mark(c->f, d);
    flow_event(c->f, in->paused ? "paused" : "unpaused", d->dag_id, NULL, NULL, 0, NULL);
    flow_dag_schedule(d);
    if (!d->paused) flow_dag_wake(c->f, d);
    return ERR_OK;
}

enum err_code flow_dag_pause(struct flow *f, const char *dag_id, bool paused, struct err *err) {
    struct pause_in in = {dag_id, paused};
    return flow_call(f, pause_dag, &in, NULL, NULL, err);
}

static enum err_code delete_dag(struct fcall *c, struct err *err) {
    struct flow *f = c->f;
    struct fdag *d = must_find(f, c->in, err);
    if (d == NULL) return ERR_NOT_FOUND;
    for (size_t i = 0; i < d->runs.n; i++)
        if (d->runs.p[i]->state == FLOW_RUN_RUNNING)
            return err_set(err, ERR_CONFLICT, "DAG '%s' has a running run: end it first", d->dag_id);
    while (d->runs.n > 0) {
        d->runs.p[0]->state = FLOW_RUN_FAILED;
        for (size_t k = 0; k < f->dirty_runs.n; k++)
            if (f->dirty_runs.p[k] == d->runs.p[0]) return err_set(err, ERR_CONFLICT, "DAG '%s' is being changed: try again", d->dag_id);
        flow_run_forget(f, d->runs.p[0]);
    }
    vec_add(&f->ops, ((struct fop){.kind = FOP_DAG_DELETE, .a = mem_strdup(d->dag_id)}));
    struct ffile *file = map_getc(&f->files, d->file);
    if (file != NULL) file->parsed = false; // comes back when its file is read again
    loop_timer_cancel(f->loop, &d->timer);
    flow_version_unref(d->latest);
    d->latest = NULL;
    d->stale = true;
    d->last_automated_us = FLOW_NO_TIME;
    for (size_t k = 0; k < f->dirty_dags.n; k++)
        if (f->dirty_dags.p[k] == d) {
            vec_remove(&f->dirty_dags, k);
            d->dirty = false;
            break;
        }
    flow_touch(f);
    return ERR_OK;
}

enum err_code flow_dag_delete(struct flow *f, const char *dag_id, struct err *err) { return flow_call(f, delete_dag, dag_id, NULL, NULL, err); }

// ---- versions, tasks, source ----------------------------------------------------------------------------------------------------------
static struct meta_stmt *version_row(struct flow *f, const char *columns, const char *dag_id, int version, struct err *err) {
    char *sql = mem_printf("select %s from flow_version where dag_id = ?1 and (number = ?2 or ?2 = 0) order by number desc limit 1", columns);
    struct meta_stmt *st = meta_query(f->meta, err, sql, "si", dag_id, (int64_t)version);
    mem_free(sql);
    if (st == NULL) return NULL;
    int row = meta_step(st, err);
    if (row == 1) return st;
    meta_reset(st);
    if (row == 0) err_set(err, ERR_NOT_FOUND, version == 0 ? "The Dag with ID: `%s` was not found" : "The Dag with ID: `%s` has no version %d",
                          dag_id, version);
    return NULL;
}

enum err_code flow_dag_json(struct flow *f, const char *dag_id, int version, struct arena *a, struct str *json, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    struct meta_stmt *st = version_row(f, "doc", dag_id, version, err);
    if (st == NULL) return err->code;
    *json = arena_str(a, meta_text(st, 0));
    meta_reset(st);
    return ERR_OK;
}

enum err_code flow_dag_source(struct flow *f, const char *dag_id, int version, struct arena *a, struct str *source, int *number, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    struct meta_stmt *st = version_row(f, "source, number", dag_id, version, err);
    if (st == NULL) return err->code;
    *source = arena_str(a, meta_blob(st, 0));
    if (number != NULL) *number = (int)meta_int(st, 1);
    meta_reset(st);
    return ERR_OK;
}

static void fill_task(json_t *j, struct arena *a, struct flow_task *t) {
    *t = (struct flow_task){.task_id = text_of(j, "task_id", a), .display_name = text_of(j, "display_name", a), .operator_name = text_of(j,
        "operator", a),
                            .class_module = text_of(j, "module", a), .class_name = text_of(j, "class", a), .owner = text_of(j, "owner", a),
                            .pool = text_of(j, "pool", a), .queue = text_of(j, "queue", a), .trigger_rule = text_of(j, "trigger_rule", a),
                            .weight_rule = text_of(j, "weight_rule", a), .doc_md = text_of(j, "doc_md", a), .group_id = text_of(j, "group", a)};
    t->upstream = texts(json_object_get(j, "upstream"), a, &t->n_upstream);
    t->downstream = texts(json_object_get(j, "downstream"), a, &t->n_downstream);
    t->template_fields = texts(json_object_get(j, "template_fields"), a, &t->n_template_fields);
    t->retries = (int)json_get_i64(j, "retries", 0);
    t->pool_slots = (int)json_get_i64(j, "pool_slots", 1);
    t->priority_weight = json_get_i64(j, "priority_weight", 1);
    t->retry_delay_us = json_get_i64(j, "retry_delay_us", 0);
    t->execution_timeout_us = json_get_i64(j, "execution_timeout_us", FLOW_NO_TIME);
    t->start_us = json_get_i64(j, "start_us", FLOW_NO_TIME);
    t->end_us = json_get_i64(j, "end_us", FLOW_NO_TIME);
    t->retry_exponential = json_get_double(j, "retry_exponential", 0);
    t->depends_on_past = json_get_bool(j, "depends_on_past", false);
    t->is_setup = json_get_bool(j, "is_setup", false);
    t->is_teardown = json_get_bool(j, "is_teardown", false);
    t->is_sensor = json_get_bool(j, "is_sensor", false);
    t->params_json = object_text(j, "params", a);
}

enum err_code flow_dag_tasks(struct flow *f, const char *dag_id, int version, struct arena *a, struct flow_task **out, size_t *n, struct err *err) {
    struct str text;
    struct err own = {0};
    if (err == NULL) err = &own;
    enum err_code e = flow_dag_json(f, dag_id, version, a, &text, err);
    if (e != ERR_OK) return e;
    json_t *doc = json_parse(text, err), *tasks = json_object_get(doc, "tasks");
    if (doc == NULL) return err->code;
    *n = json_array_size(tasks);
    *out = ARENA_ARRAY(a, struct flow_task, *n + 1);
    for (size_t i = 0; i < *n; i++) fill_task(json_array_get(tasks, i), a, &(*out)[i]);
    json_decref(doc);
    return ERR_OK;
}

static void version_of_row(struct meta_stmt *st, struct arena *a, void *out) {
    *(struct flow_version *)out = (struct flow_version){meta_int(st, 0), row_str(st, 1, a), row_str(st, 2, a), (int)meta_int(st, 3), meta_int(st, 4)};
}

enum err_code flow_dag_versions(struct flow *f, const char *dag_id, const struct flow_page *page, struct arena *a, struct flow_version **out,
                                size_t *n, int64_t *total, struct err *err) {
    static const struct order orders[] = {{"id", "id"}, {"version_number", "number"}, {"created_at", "created_us"}, {"dag_id", "dag_id"}, {NULL,
        NULL}};
    struct query q;
    void *rows = NULL;
    query_init(&q, a);
    query_str(&q, "dag_id = ?", dag_id != NULL && strcmp(dag_id, "~") == 0 ? NULL : dag_id);
    enum err_code e = query_list(f, &q, "id, uuid, dag_id, number, created_us", "flow_version", orders, "id", page, version_of_row, sizeof **out,
                                 &rows, n, total, err);
    *out = rows;
    query_fini(&q);
    return e;
}

static void import_error_of_row(struct meta_stmt *st, struct arena *a, void *out) {
    *(struct flow_import_error *)out = (struct flow_import_error){meta_int(st, 0), meta_int(st, 1), row_str(st, 2, a), row_str(st, 3, a)};
}

enum err_code flow_import_errors(struct flow *f, const struct flow_page *page, struct arena *a, struct flow_import_error **out, size_t *n,
                                 int64_t *total, struct err *err) {
    static const struct order orders[] = {{"id", "id"}, {"import_error_id", "id"}, {"timestamp", "when_us"}, {"filename", "file"}, {NULL, NULL}};
    struct query q;
    void *rows = NULL;
    query_init(&q, a);
    enum err_code e = query_list(f, &q, "id, when_us, file, trace", "flow_import_error", orders, "id", page, import_error_of_row, sizeof **out,
                                 &rows, n, total, err);
    *out = rows;
    query_fini(&q);
    return e;
}

// ---- rescan ----------------------------------------------------------------------------------------------------------------------------
static void post_rescan(void *arg) {
    struct fcall *c = arg;
    if (c->f->closing || c->f->py == NULL) {
        c->code = err_set(c->err, ERR_UNAVAILABLE, "DAG files are not read: %s", c->f->problem);
        loop_event_set(&c->done);
        return;
    }
    vec_add(&c->f->scan_calls, c);
    flow_scan(c->f);
}

static void drop_rescan(void *arg) {
    struct fcall *c = arg;
    for (size_t i = 0; i < c->f->scan_calls.n; i++)
        if (c->f->scan_calls.p[i] == c) {
            vec_remove(&c->f->scan_calls, i);
            c->code = err_set(c->err, ERR_TIMEOUT, "the DAG files were not read in time");
            break;
        }
}

enum err_code flow_rescan(struct flow *f, int64_t timeout_us, struct err *err) {
    struct err own = {0};
    struct fcall c = {.f = f, .err = err != NULL ? err : &own};
    loop_event_init(&c.done);
    loop_post(f->loop, post_rescan, &c);
    if (!loop_event_wait_us(&c.done, timeout_us)) flow_on_loop(f, drop_rescan, &c);
    loop_event_fini(&c.done);
    return c.code;
}
