// SPDX-License-Identifier: Apache-2.0
// Runs: trigger, list, wait, set, delete. Changes run on the loop and answer when they are durable; lists are read on the caller's thread.
#include <stdio.h>

#include "flow/query.h"

#define RUN_SELECT                                                                                                                      \
    "r.id, r.dag_id, r.run_id, r.run_type, r.triggered_by, r.user, r.note, r.state, r.logical_us, r.interval_start_us, r.interval_end_us,"  \
    " r.run_after_us, r.queued_us, r.start_us, r.end_us, r.decision_us, r.conf, v.id, v.uuid, v.number, v.created_us"
#define RUN_FROM "flow_run r left join flow_version v on v.id = r.version_id"

static void run_of_row(struct meta_stmt *st, struct arena *a, void *out) {
    struct flow_run *r = out;
    r->id = meta_int(st, 0);
    const char **const texts[] = {&r->dag_id, &r->run_id, &r->run_type, &r->triggered_by, &r->user, &r->note};
    for (int i = 0; i < 6; i++) *texts[i] = row_str(st, 1 + i, a);
    if (!flow_run_state_parse(meta_text(st, 7), &r->state)) r->state = FLOW_RUN_FAILED;
    int64_t *const times[] = {&r->logical_us, &r->interval_start_us, &r->interval_end_us, &r->run_after_us, &r->queued_us, &r->start_us, &r->end_us,
                              &r->last_decision_us};
    for (int i = 0; i < 8; i++) *times[i] = row_time(st, 8 + i);
    r->conf_json = row_str(st, 16, a);
    r->version = (struct flow_version){meta_int(st, 17), row_str(st, 18, a), r->dag_id, (int)meta_int(st, 19), meta_int(st, 20)};
}

void flow_run_filter_init(struct flow_run_filter *q) {
    *q = (struct flow_run_filter){.logical_gte_us = FLOW_NO_TIME, .logical_lte_us = FLOW_NO_TIME, .run_after_gte_us = FLOW_NO_TIME,
                                  .run_after_lte_us = FLOW_NO_TIME, .start_gte_us = FLOW_NO_TIME, .start_lte_us = FLOW_NO_TIME,
                                  .end_gte_us = FLOW_NO_TIME, .end_lte_us = FLOW_NO_TIME};
}

static const char *unless_all(const char *s) { return s != NULL && strcmp(s, "~") == 0 ? NULL : s; }

enum err_code flow_runs(struct flow *f, const struct flow_run_filter *w, const struct flow_page *page, struct arena *a, struct flow_run **out,
                        size_t *n, int64_t *total, struct err *err) {
    static const struct order orders[] = {
        {"id", "r.id"}, {"dag_id", "r.dag_id"}, {"run_id", "r.run_id"}, {"dag_run_id", "r.run_id"}, {"state", "r.state"}, {"logical_date",
            "r.logical_us"},
        {"run_after", "r.run_after_us"}, {"start_date", "r.start_us"}, {"end_date", "r.end_us"}, {"queued_at", "r.queued_us"}, {"run_type",
            "r.run_type"},
        {"updated_at", "r.decision_us"}, {"conf", "r.conf"}, {"duration", "r.end_us - r.start_us"}, {NULL, NULL}};
    struct query q;
    void *rows = NULL;
    query_init(&q, a);
    query_str(&q, "r.dag_id = ?", unless_all(w->dag_id));
    query_str(&q, "r.run_id like ?", w->run_id_pattern);
    query_in(&q, "r.state", w->states, w->n_states);
    query_str(&q, "r.run_type = ?", w->run_type);
    query_time(&q, "r.logical_us >= ?", w->logical_gte_us);
    query_time(&q, "r.logical_us <= ?", w->logical_lte_us);
    query_time(&q, "r.run_after_us >= ?", w->run_after_gte_us);
    query_time(&q, "r.run_after_us <= ?", w->run_after_lte_us);
    query_time(&q, "r.start_us >= ?", w->start_gte_us);
    query_time(&q, "r.start_us <= ?", w->start_lte_us);
    query_time(&q, "r.end_us >= ?", w->end_gte_us);
    query_time(&q, "r.end_us <= ?", w->end_lte_us);
    enum err_code e = query_list(f, &q, RUN_SELECT, RUN_FROM, orders, "r.id", page, run_of_row, sizeof **out, &rows, n, total, err);
    *out = rows;
    query_fini(&q);
    return e;
}

enum err_code flow_run_get(struct flow *f, const char *dag_id, const char *run_id, struct arena *a, struct flow_run *out, struct err *err) {
    struct query q;
    void *rows = NULL;
    size_t n = 0;
    query_init(&q, a);
    query_str(&q, "r.dag_id = ?", dag_id);
    query_str(&q, "r.run_id = ?", run_id);
    enum err_code e = query_list(f, &q, RUN_SELECT, RUN_FROM, NULL, "r.id", NULL, run_of_row, sizeof *out, &rows, &n, NULL, err);
    query_fini(&q);
    if (e == ERR_OK && n == 0)
        return err_set(err, ERR_NOT_FOUND, "The DagRun with dag_id: `%s` and run_id: `%s` was not found", dag_id, run_id);
    if (e == ERR_OK) *out = *(struct flow_run *)rows;
    return e;
}

// ---- trigger ---------------------------------------------------------------------------------------------------------------------
struct trigger_in {
    const char *dag_id;
    const struct flow_trigger *t;
};

static bool run_id_ok(const char *s) {
    size_t n = strlen(s);
    if (n == 0 || n > 250) return false;
    for (; *s != '\0'; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || strchr("_.~:+-", *s) != NULL)) return false;
    return true;
}

static char *make_run_id(struct flow *f, int64_t logical_us, int64_t run_after_us) {
    char iso[40];
    flow_iso(run_after_us, iso);
    if (logical_us != FLOW_NO_TIME) return mem_printf("manual__%s", iso);
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    char suffix[9];
    for (int i = 0; i < 8; i++) suffix[i] = letters[sys_random_u64(f->sys) % (sizeof letters - 1)];
    suffix[8] = '\0';
    return mem_printf("manual__%s_%s", iso, suffix);
}

// A type name or a list of them, as JSON schema has it.
static bool type_fits(const json_t *type, const json_t *v) {
    if (json_is_array(type)) {
        size_t i;
        json_t *t;
        json_array_foreach(type, i, t) if (type_fits(t, v)) return true;
        return false;
    }
    struct str s = json_str(type);
    if (s.p == NULL) return true;
    return (str_eqc(s, "string") && json_is_string(v)) || (str_eqc(s, "integer") && json_is_integer(v)) || (str_eqc(s, "number") &&
        json_is_number(v)) ||
           (str_eqc(s, "boolean") && json_is_boolean(v)) || (str_eqc(s, "object") && json_is_object(v)) || (str_eqc(s, "array") &&
               json_is_array(v)) ||
           (str_eqc(s, "null") && json_is_null(v));
}

// Types and required values; what else a schema says is checked where the task runs.
static enum err_code check_params(const json_t *params, const json_t *conf, struct err *err) {
    const char *name;
    json_t *p;
    json_object_foreach((json_t *)(uintptr_t)params, name, p) {
        json_t *schema = json_object_get(p, "schema"), *v = json_object_get(conf, name);
        if (v == NULL) v = json_object_get(p, "value");
        if (!type_fits(json_object_get(schema, "type"), v))
            return err_set(err, ERR_INVALID, "Invalid input for param %s: the value has not the type that the DAG's schema gives", name);
    }
    return ERR_OK;
}

static enum err_code check_taken(struct flow *f, const char *dag_id, const char *run_id, int64_t logical_us, struct err *err) {
    struct fdag *d = flow_dag_find(f, dag_id);
    bool taken = flow_run_find(d, run_id) != NULL ||
                 meta_get_int(f->meta, err, 0, "select count(*) from flow_run where dag_id = ?1 and run_id = ?2", "ss", dag_id, run_id) > 0;
    if (err->code != ERR_OK) return err->code;
    if (taken) return err_set(err, ERR_EXISTS, "A Dag Run with run_id: `%s` already exists", run_id);
    if (logical_us == FLOW_NO_TIME) return ERR_OK;
    for (size_t i = 0; i < d->runs.n; i++) taken = taken || d->runs.p[i]->logical_us == logical_us;
    taken = taken || meta_get_int(f->meta, err, 0, "select count(*) from flow_run where dag_id = ?1 and logical_us = ?2", "si", dag_id,
                                  logical_us) > 0;
    if (err->code != ERR_OK) return err->code;
    return taken ? err_set(err, ERR_EXISTS, "A Dag Run of this logical date already exists") : ERR_OK;
}

static char *dup_or_null(const char *s) { return s != NULL ? mem_strdup(s) : NULL; }

static enum err_code trigger(struct fcall *c, struct err *err) {
    struct flow *f = c->f;
    const struct trigger_in *in = c->in;
    const struct flow_trigger *t = in->t;
    struct fdag *d = flow_dag_find(f, in->dag_id);
    if (d == NULL || d->latest == NULL || d->stale) return err_set(err, ERR_NOT_FOUND, "The Dag with ID: `%s` was not found", in->dag_id);
    if (d->import_error) return err_set(err, ERR_INVALID, "Dag `%s` has import errors and cannot be triggered", in->dag_id);
    json_t *conf = json_parse(str_c(t->conf_json != NULL ? t->conf_json : "{}"), err);
    if (conf == NULL || !json_is_object(conf)) {
        json_decref(conf);
        return err_set(err, ERR_INVALID, "conf must be a JSON object");
    }
    int64_t now = flow_now(f), run_after = t->run_after_us != FLOW_NO_TIME ? t->run_after_us : t->logical_us != FLOW_NO_TIME ? t->logical_us : now;
    if (run_after > now && t->run_after_us == FLOW_NO_TIME) run_after = now; // a logical date in the future is no reason to wait
    char *run_id = t->run_id != NULL ? mem_strdup(t->run_id) : make_run_id(f, t->logical_us, t->logical_us != FLOW_NO_TIME ? t->logical_us : now);
    enum err_code e = ERR_OK;
    if (!run_id_ok(run_id)) e = err_set(err, ERR_INVALID, "run id '%s': at most 250 letters, digits and _.~:+-", run_id);
    if (e == ERR_OK && t->conf_json != NULL && strlen(t->conf_json) > FLOW_CONF_MAX) e = err_set(err, ERR_TOO_LARGE, "conf is larger than %d bytes",
        FLOW_CONF_MAX);
    if (e == ERR_OK) e = check_params(json_object_get(d->latest->doc, "params"), conf, err);
    if (e == ERR_OK) e = check_taken(f, in->dag_id, run_id, t->logical_us, err);
    json_decref(conf);
    if (e != ERR_OK) {
        mem_free(run_id);
        return e;
    }
    struct frun *r = flow_run_new(f, d, d->latest);
    r->run_id = run_id;
    r->run_type = mem_strdup("manual");
    r->triggered_by = mem_strdup(t->triggered_by != NULL ? t->triggered_by : "rest_api");
    r->user = dup_or_null(t->user);
    r->note = dup_or_null(t->note);
    if (t->conf_json != NULL) {
        mem_free(r->conf);
        r->conf = mem_strdup(t->conf_json);
    }
    r->logical_us = t->logical_us;
    r->interval_start_us = t->interval_start_us != FLOW_NO_TIME ? t->interval_start_us : t->logical_us;
    r->interval_end_us = t->interval_end_us != FLOW_NO_TIME ? t->interval_end_us : t->logical_us;
    r->run_after_us = run_after;
    r->queued_us = now;
    r->is_new = true;
    flow_run_init_tis(f, r);
    flow_run_mark(f, r);
    flow_event(f, "trigger_dag_run", d->dag_id, r->run_id, NULL, 0, NULL);
    *(char **)c->out = arena_strdup(c->a, run_id);
    flow_run_start_waiting(f, d);
    return ERR_OK;
}

enum err_code flow_run_trigger(struct flow *f, const char *dag_id, const struct flow_trigger *t, struct arena *a, struct flow_run *out,
                               struct err *err) {
    struct trigger_in in = {dag_id, t};
    char *run_id = NULL;
    enum err_code e = flow_call(f, trigger, &in, &run_id, a, err);
    return e == ERR_OK ? flow_run_get(f, dag_id, run_id, a, out, err) : e;
}

// ---- wait --------------------------------------------------------------------------------------------------------------------------
struct waiting {
    struct flow *f;
    int64_t run;
    struct loop_event event;
};

static void add_wait(void *arg) {
    struct waiting *w = arg;
    struct flow *f = w->f;
    bool active = false;
    for (size_t i = 0; i < f->all_runs.n; i++)
        active = active || (f->all_runs.p[i]->id == w->run && !f->all_runs.p[i]->gone);
    if (active && !f->closing) vec_add(&f->waits, ((struct fwait){w->run, &w->event}));
    else loop_event_set(&w->event);
}

static void drop_wait(void *arg) {
    struct waiting *w = arg;
    for (size_t i = w->f->waits.n; i-- > 0;)
        if (w->f->waits.p[i].event == &w->event) vec_remove(&w->f->waits, i);
}

enum err_code flow_run_wait(struct flow *f, const char *dag_id, const char *run_id, int64_t timeout_us, struct arena *a, struct flow_run *out,
                            struct err *err) {
    enum err_code e = flow_run_get(f, dag_id, run_id, a, out, err);
    if (e != ERR_OK || out->state == FLOW_RUN_SUCCESS || out->state == FLOW_RUN_FAILED) return e;
    struct waiting w = {.f = f, .run = out->id};
    loop_event_init(&w.event);
    flow_on_loop(f, add_wait, &w);
    bool ended = loop_event_wait_us(&w.event, timeout_us);
    if (!ended) flow_on_loop(f, drop_wait, &w);
    loop_event_fini(&w.event);
    e = flow_run_get(f, dag_id, run_id, a, out, err);
    if (e == ERR_OK && out->state != FLOW_RUN_SUCCESS && out->state != FLOW_RUN_FAILED)
        return err_set(err, ended ? ERR_CLOSED : ERR_TIMEOUT, "run '%s' is still %s", run_id, flow_run_state_name(out->state));
    return e;
}

// ---- change ------------------------------------------------------------------------------------------------------------------------
struct run_in {
    const char *dag_id, *run_id, *note;
    enum flow_run_state state;
};

static struct frun *find_or_load(struct flow *f, const char *dag_id, const char *run_id, struct err *err) {
    struct fdag *d = flow_dag_find(f, dag_id);
    struct frun *r = d != NULL ? flow_run_find(d, run_id) : NULL;
    if (r != NULL) return r;
    r = flow_store_load_run(f, dag_id, run_id, err);
    if (r != NULL) flow_run_review(f, r); // forgotten after this round unless it is active by then
    flow_touch(f);
    return r;
}

static enum err_code set_state(struct fcall *c, struct err *err) {
    const struct run_in *in = c->in;
    struct flow *f = c->f;
    struct frun *r = find_or_load(f, in->dag_id, in->run_id, err);
    if (r == NULL) return err->code;
    bool active = r->state == FLOW_RUN_QUEUED || r->state == FLOW_RUN_RUNNING;
    flow_event(f, "set_dag_run_state", in->dag_id, in->run_id, NULL, 0, flow_run_state_name(in->state));
    if (in->state == FLOW_RUN_QUEUED) {
        for (size_t i = 0; i < r->version->n; i++) flow_ti_clear(f, &r->tis[i]);
        r->state = FLOW_RUN_QUEUED;
        r->queued_us = flow_now(f);
        r->start_us = r->end_us = FLOW_NO_TIME;
        flow_run_mark(f, r);
        flow_run_start_waiting(f, r->dag);
    } else if (active) {
        flow_run_stop(f, r, in->state);
    } else {
        r->state = in->state;
        flow_run_mark(f, r);
    }
    return ERR_OK;
}

enum err_code flow_run_set_state(struct flow *f, const char *dag_id, const char *run_id, enum flow_run_state state, struct err *err) {
    if (state == FLOW_RUN_RUNNING) return err_set(err, ERR_INVALID, "a run cannot be set to running: set it to queued");
    struct run_in in = {.dag_id = dag_id, .run_id = run_id, .state = state};
    return flow_call(f, set_state, &in, NULL, NULL, err);
}

static enum err_code set_note(struct fcall *c, struct err *err) {
    const struct run_in *in = c->in;
    struct frun *r = find_or_load(c->f, in->dag_id, in->run_id, err);
    if (r == NULL) return err->code;
    mem_free(r->note);
    r->note = dup_or_null(in->note);
    flow_run_mark(c->f, r);
    return ERR_OK;
}

enum err_code flow_run_set_note(struct flow *f, const char *dag_id, const char *run_id, const char *note, struct err *err) {
    struct run_in in = {.dag_id = dag_id, .run_id = run_id, .note = note};
    return flow_call(f, set_note, &in, NULL, NULL, err);
}

static enum err_code delete_run(struct fcall *c, struct err *err) {
    const struct run_in *in = c->in;
    struct frun *r = find_or_load(c->f, in->dag_id, in->run_id, err);
    if (r == NULL) return err->code;
    if (r->state == FLOW_RUN_RUNNING) return err_set(err, ERR_CONFLICT, "run '%s' is running: set it to failed first", in->run_id);
    if (r->state == FLOW_RUN_QUEUED) flow_run_stop(c->f, r, FLOW_RUN_FAILED);
    vec_add(&c->f->ops, ((struct fop){.kind = FOP_RUN_DELETE, .run = r->id})); // after the rows of this round
    flow_event(c->f, "delete_dag_run", in->dag_id, in->run_id, NULL, 0, NULL);
    return ERR_OK;
}

enum err_code flow_run_delete(struct flow *f, const char *dag_id, const char *run_id, struct err *err) {
    struct run_in in = {.dag_id = dag_id, .run_id = run_id};
    return flow_call(f, delete_run, &in, NULL, NULL, err);
}
