// SPDX-License-Identifier: Apache-2.0
// Task instances: lists, tries, logs, clear, set; XComs. Changes run on the loop and answer when they are durable.
#include <stdio.h>

#include "flow/query.h"

#define TI_SELECT                                                                                                                       \
    "t.uuid, r.dag_id, r.run_id, t.task_id, t.operator, t.pool, t.queue, t.note, t.state, t.try_number, t.max_tries, t.pool_slots, t.weight,"  \
    " t.pid, r.logical_us, r.run_after_us, t.start_us, t.end_us, t.queued_us, t.scheduled_us, t.rendered, v.id, v.uuid, v.number, v.created_us"
#define TI_FROM "flow_ti t join flow_run r on r.id = t.run left join flow_version v on v.id = r.version_id"
#define TRY_SELECT                                                                                                                      \
    "y.uuid, r.dag_id, r.run_id, y.task_id, t.operator, t.pool, t.queue, null, y.state, y.try_number, y.max_tries, t.pool_slots, t.weight,"  \
    " y.pid, r.logical_us, r.run_after_us, y.start_us, y.end_us, y.queued_us, y.scheduled_us, null, v.id, v.uuid, v.number, v.created_us"

static void ti_of_row(struct meta_stmt *st, struct arena *a, void *out) {
    struct flow_ti *t = out;
    const char **const texts[] = {&t->id, &t->dag_id, &t->run_id, &t->task_id, &t->operator_name, &t->pool, &t->queue, &t->note};
    for (int i = 0; i < 8; i++) *texts[i] = row_str(st, i, a);
    if (!flow_ti_state_parse(meta_text(st, 8), &t->state)) t->state = FLOW_TI_NONE;
    t->try_number = (int)meta_int(st, 9);
    t->max_tries = (int)meta_int(st, 10);
    t->pool_slots = (int)meta_int(st, 11);
    t->priority_weight = meta_int(st, 12);
    t->pid = meta_int(st, 13);
    int64_t *const times[] = {&t->logical_us, &t->run_after_us, &t->start_us, &t->end_us, &t->queued_us, &t->scheduled_us};
    for (int i = 0; i < 6; i++) *times[i] = row_time(st, 14 + i);
    t->rendered_json = row_str(st, 20, a);
    t->hostname = t->try_number > 0 ? "localhost" : NULL;
    t->version = (struct flow_version){meta_int(st, 21), row_str(st, 22, a), t->dag_id, (int)meta_int(st, 23), meta_int(st, 24)};
}

static const char *unless_all(const char *s) { return s != NULL && strcmp(s, "~") == 0 ? NULL : s; }

enum err_code flow_tis(struct flow *f, const struct flow_ti_filter *w, const struct flow_page *page, struct arena *a, struct flow_ti **out,
                       size_t *n, int64_t *total, struct err *err) {
    static const struct order orders[] = {{"id", "t.uuid"}, {"task_id", "t.task_id"}, {"state", "t.state"}, {"start_date", "t.start_us"},
        {"end_date", "t.end_us"},
                                          {"try_number", "t.try_number"}, {"run_after", "r.run_after_us"}, {"logical_date", "r.logical_us"},
                                          {"dag_id", "r.dag_id"}, {"run_id", "r.run_id"}, {"map_index", "t.task_id"}, {"operator", "t.operator"},
                                          {"duration", "t.end_us - t.start_us"}, {"queued_dttm", "t.queued_us"}, {"scheduled_dttm", "t.scheduled_us"},
                                          {"pool", "t.pool"}, {"queue", "t.queue"}, {NULL, NULL}};
    struct query q;
    void *rows = NULL;
    query_init(&q, a);
    query_str(&q, "r.dag_id = ?", unless_all(w->dag_id));
    query_str(&q, "r.run_id = ?", unless_all(w->run_id));
    query_str(&q, "t.task_id = ?", unless_all(w->task_id));
    query_in(&q, "t.state", w->states, w->n_states);
    enum err_code e = query_list(f, &q, TI_SELECT, TI_FROM, orders, "r.id, t.task_id", page, ti_of_row, sizeof **out, &rows, n, total, err);
    *out = rows;
    query_fini(&q);
    return e;
}

enum err_code flow_ti_get(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, struct arena *a, struct flow_ti *out,
                          struct err *err) {
    struct flow_ti_filter w = {.dag_id = dag_id, .run_id = run_id, .task_id = task_id};
    struct flow_ti *rows = NULL;
    size_t n = 0;
    enum err_code e = flow_tis(f, &w, NULL, a, &rows, &n, NULL, err);
    if (e == ERR_OK && n == 0)
        return err_set(err, ERR_NOT_FOUND, "The Task Instance with dag_id: `%s`, run_id: `%s` and task_id: `%s` was not found", dag_id, run_id,
                       task_id);
    if (e == ERR_OK) *out = rows[0];
    return e;
}

enum err_code flow_ti_tries(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, struct arena *a, struct flow_ti **out,
                            size_t *n, struct err *err) {
    struct flow_ti now;
    enum err_code e = flow_ti_get(f, dag_id, run_id, task_id, a, &now, err);
    if (e != ERR_OK) return e;
    struct query q;
    void *rows = NULL;
    struct flow_page all = {.limit = FLOW_LIST_MAX - 1};
    query_init(&q, a);
    query_str(&q, "r.dag_id = ?", dag_id);
    query_str(&q, "r.run_id = ?", run_id);
    query_str(&q, "y.task_id = ?", task_id);
    e = query_list(f, &q, TRY_SELECT, "flow_try y join flow_run r on r.id = y.run join flow_ti t on t.run = y.run and t.task_id = y.task_id"
                   " left join flow_version v on v.id = r.version_id",
                   NULL, "y.try_number", &all, ti_of_row, sizeof **out, &rows, n, NULL, err);
    query_fini(&q);
    if (e != ERR_OK) return e;
    struct flow_ti *tries = ARENA_ARRAY(a, struct flow_ti, *n + 1);
    for (size_t i = 0; i < *n; i++) tries[i] = ((struct flow_ti *)rows)[i];
    if (now.try_number > 0 && (*n == 0 || tries[*n - 1].try_number != now.try_number)) tries[(*n)++] = now; // the one that runs
    *out = tries;
    return ERR_OK;
}

// ---- set ---------------------------------------------------------------------------------------------------------------------------
struct ti_in {
    const char *dag_id, *run_id, *task_id, *note;
    enum flow_ti_state state;
};

static struct frun *load(struct flow *f, const char *dag_id, const char *run_id, struct err *err) {
    struct fdag *d = flow_dag_find(f, dag_id);
    struct frun *r = d != NULL ? flow_run_find(d, run_id) : NULL;
    if (r == NULL && (r = flow_store_load_run(f, dag_id, run_id, err)) != NULL) flow_run_review(f, r);
    flow_touch(f);
    return r;
}

static struct fti *find_ti(struct flow *f, const struct ti_in *in, struct err *err) {
    struct frun *r = load(f, in->dag_id, in->run_id, err);
    if (r == NULL) return NULL;
    const struct ftask *t = flow_version_task(r->version, in->task_id);
    if (t != NULL) return &r->tis[t->index];
    err_set(err, ERR_NOT_FOUND, "run '%s' has no task '%s'", in->run_id, in->task_id);
    return NULL;
}

static void run_again(struct flow *f, struct frun *r) { // a run that had ended has work again
    if (r->state == FLOW_RUN_RUNNING || r->state == FLOW_RUN_QUEUED) {
        flow_run_evaluate(f, r);
        return;
    }
    r->state = FLOW_RUN_QUEUED;
    r->queued_us = flow_now(f);
    r->end_us = FLOW_NO_TIME;
    flow_run_mark(f, r);
    flow_run_start_waiting(f, r->dag);
}

static enum err_code set_ti(struct fcall *c, struct err *err) {
    const struct ti_in *in = c->in;
    struct flow *f = c->f;
    struct fti *ti = find_ti(f, in, err);
    if (ti == NULL) return err->code;
    struct frun *r = ti->run;
    bool ended_run = r->state != FLOW_RUN_RUNNING && r->state != FLOW_RUN_QUEUED;
    if (ti->state == in->state) return ERR_OK;
    int tries = ti->max_tries;
    if (flow_ti_ended(ti->state)) flow_ti_clear(f, ti);
    ti->max_tries = tries;
    flow_ti_finish(f, ti, in->state);
    flow_event(f, "set_task_instance_state", in->dag_id, in->run_id, in->task_id, ti->try_number, flow_ti_state_name(in->state));
    if (in->state == FLOW_TI_SUCCESS || in->state == FLOW_TI_SKIPPED) { // those that had ended because of it get another chance
        bool any = false;
        for (size_t i = 0; i < r->version->n; i++)
            if (r->tis[i].state == FLOW_TI_UPSTREAM_FAILED) {
                flow_ti_clear(f, &r->tis[i]);
                any = true;
            }
        if (any && ended_run) run_again(f, r);
        else flow_run_evaluate(f, r);
    }
    return ERR_OK;
}

enum err_code flow_ti_set_state(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, enum flow_ti_state state,
                                struct err *err) {
    if (state != FLOW_TI_SUCCESS && state != FLOW_TI_FAILED && state != FLOW_TI_SKIPPED)
        return err_set(err, ERR_INVALID, "a task instance can be set to success, failed or skipped");
    struct ti_in in = {.dag_id = dag_id, .run_id = run_id, .task_id = task_id, .state = state};
    return flow_call(f, set_ti, &in, NULL, NULL, err);
}

static enum err_code note_ti(struct fcall *c, struct err *err) {
    const struct ti_in *in = c->in;
    struct fti *ti = find_ti(c->f, in, err);
    if (ti == NULL) return err->code;
    mem_free(ti->note);
    ti->note = in->note != NULL ? mem_strdup(in->note) : NULL;
    flow_ti_mark(c->f, ti);
    return ERR_OK;
}

enum err_code flow_ti_set_note(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const char *note, struct err *err) {
    struct ti_in in = {.dag_id = dag_id, .run_id = run_id, .task_id = task_id, .note = note};
    return flow_call(f, note_ti, &in, NULL, NULL, err);
}

// ---- clear ---------------------------------------------------------------------------------------------------------------------------
struct clear_in {
    const char *dag_id;
    const struct flow_clear *c;
};
struct clear_out {
    VEC(struct flow_ti) tis;
};

static void spread(const struct frun *r, bool *chosen, uint32_t from, bool down) {
    const struct ftask *t = &r->version->tasks[from];
    for (uint32_t i = 0; i < (down ? t->n_down : t->n_up); i++) {
        uint32_t next = down ? t->down[i] : t->up[i];
        if (chosen[next]) continue;
        chosen[next] = true;
        spread(r, chosen, next, down);
    }
}

static void choose(const struct frun *r, const struct flow_clear *c, bool *chosen) {
    size_t n = r->version->n;
    bool *up = mem_zalloc(n + 1), *down = mem_zalloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        bool named = c->n_task_ids == 0;
        for (size_t k = 0; k < c->n_task_ids; k++) named = named || strcmp(c->task_ids[k], r->version->tasks[i].id) == 0;
        if (!named) continue;
        chosen[i] = true;
        if (c->include_upstream) spread(r, up, (uint32_t)i, false);
        if (c->include_downstream) spread(r, down, (uint32_t)i, true);
    }
    for (size_t i = 0; i < n; i++) {
        enum flow_ti_state s = r->tis[i].state;
        chosen[i] = chosen[i] || up[i] || down[i];
        if (c->only_failed && s != FLOW_TI_FAILED && s != FLOW_TI_UPSTREAM_FAILED) chosen[i] = false;
        if (c->only_running && s != FLOW_TI_RUNNING) chosen[i] = false;
        if (s == FLOW_TI_NONE && r->tis[i].try_number == 0) chosen[i] = false; // nothing to clear
    }
    mem_free(up);
    mem_free(down);
}

static void describe(const struct fti *t, struct arena *a, struct flow_ti *out) {
    const struct frun *r = t->run;
    *out = (struct flow_ti){arena_strdup(a, t->uuid), arena_strdup(a, r->dag->dag_id), arena_strdup(a, r->run_id), arena_strdup(a, t->task->id),
                            arena_strdup(a, t->task->operator_name), arena_strdup(a, t->task->pool), arena_strdup(a, t->task->queue), "localhost",
                            t->note != NULL ? arena_strdup(a, t->note) : NULL, t->state, t->try_number, t->max_tries, t->task->pool_slots,
                            t->task->weight, t->pid, r->logical_us, r->run_after_us, t->start_us, t->end_us, t->queued_us, t->scheduled_us,
                            t->rendered != NULL ? arena_strdup(a, t->rendered) : NULL,
                            {r->version->id, arena_strdup(a, r->version->uuid), arena_strdup(a, r->dag->dag_id), r->version->number,
                                r->version->created_us}};
}

static void clear_run(struct fcall *call, struct frun *r, const struct flow_clear *c, struct clear_out *out) {
    bool *chosen = mem_zalloc(r->version->n + 1), any = false;
    choose(r, c, chosen);
    for (size_t i = 0; i < r->version->n; i++) {
        if (!chosen[i]) continue;
        if (out->tis.n < FLOW_LIST_MAX) describe(&r->tis[i], call->a, vec_push(&out->tis));
        if (c->dry_run) continue;
        flow_ti_clear(call->f, &r->tis[i]);
        any = true;
    }
    mem_free(chosen);
    if (any) run_again(call->f, r);
}

static enum err_code clear(struct fcall *call, struct err *err) {
    const struct clear_in *in = call->in;
    const struct flow_clear *c = in->c;
    struct flow *f = call->f;
    if (flow_dag_find(f, in->dag_id) == NULL) return err_set(err, ERR_NOT_FOUND, "The Dag with ID: `%s` was not found", in->dag_id);
    VEC(char *) ids = {0};
    int64_t pivot = FLOW_NO_TIME;
    if (c->run_id != NULL) {
        struct frun *r = load(f, in->dag_id, c->run_id, err);
        if (r == NULL) return err->code;
        pivot = r->logical_us;
        clear_run(call, r, c, call->out);
    }
    if (c->run_id == NULL || ((c->include_future || c->include_past) && pivot != FLOW_NO_TIME)) {
        int64_t from = c->run_id == NULL ? c->start_us : c->include_past ? FLOW_NO_TIME : pivot + 1;
        int64_t to = c->run_id == NULL ? c->end_us : c->include_future ? FLOW_NO_TIME : pivot - 1;
        struct meta_stmt *st = meta_query(f->meta, err,
                                          "select run_id from flow_run where dag_id = ?1 and (?2 = ?4 or logical_us >= ?2) and (?3 = ?4 or"
                                          " logical_us <= ?3)"
                                          " and run_id is not ?5 limit 10000", "siiis", in->dag_id, from, to, FLOW_NO_TIME, c->run_id);
        while (st != NULL && meta_step(st, err) == 1) vec_add(&ids, mem_strdup(meta_cstr(st, 0)));
        meta_reset(st);
    }
    for (size_t i = 0; i < ids.n; i++) {
        struct frun *r = err->code == ERR_OK ? load(f, in->dag_id, ids.p[i], err) : NULL;
        if (r != NULL) clear_run(call, r, c, call->out);
        mem_free(ids.p[i]);
    }
    vec_fini(&ids);
    if (err->code == ERR_OK && !c->dry_run) flow_event(f, "clear", in->dag_id, c->run_id, c->n_task_ids == 1 ? c->task_ids[0] : NULL, 0, NULL);
    return err->code;
}

enum err_code flow_clear(struct flow *f, const char *dag_id, const struct flow_clear *c, struct arena *a, struct flow_ti **out, size_t *n,
                         struct err *err) {
    struct clear_in in = {dag_id, c};
    struct clear_out o = {0};
    struct err own = {0};
    if (err == NULL) err = &own;
    err_clear(err);
    enum err_code e = flow_call(f, clear, &in, &o, a, err);
    *n = o.tis.n;
    *out = ARENA_ARRAY(a, struct flow_ti, o.tis.n + 1);
    if (o.tis.n > 0) memcpy(*out, o.tis.p, o.tis.n * sizeof **out);
    vec_fini(&o.tis);
    return e;
}

// ---- logs ------------------------------------------------------------------------------------------------------------------------------
enum err_code flow_log(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, int try_number, uint64_t offset, struct arena *a,
                       struct str *text, uint64_t *next_offset, bool *end, struct err *err) {
    struct flow_ti ti;
    enum err_code e = flow_ti_get(f, dag_id, run_id, task_id, a, &ti, err); // also: the names are those of things that exist
    if (e != ERR_OK) return e;
    *text = STR("");
    *next_offset = offset;
    bool at_work = ti.try_number == try_number && (ti.state == FLOW_TI_RUNNING || ti.state == FLOW_TI_QUEUED || ti.state == FLOW_TI_RESTARTING);
    *end = !at_work;
    if (try_number < 1 || try_number > ti.try_number) return err_set(err, ERR_NOT_FOUND, "task '%s' has no try %d", task_id, try_number);
    char *path = flow_log_path(f, dag_id, run_id, task_id, try_number);
    struct sys_file *file = sys_open(f->sys, path, SYS_READ, err);
    mem_free(path);
    if (file == NULL) return err != NULL && err->code != ERR_NOT_FOUND ? err->code : (err_clear(err), ERR_OK); // empty tasks have none
    int64_t size = sys_file_size(file, err);
    uint64_t left = size > 0 && (uint64_t)size > offset ? (uint64_t)size - offset : 0;
    size_t n = left > FLOW_LOG_READ_MAX ? FLOW_LOG_READ_MAX : (size_t)left;
    char *p = arena_alloc(a, n + 1);
    int64_t got = n > 0 ? sys_pread(file, p, n, offset, err) : 0;
    sys_close(file);
    if (got < 0) return err != NULL ? err->code : ERR_IO;
    *text = str_n(p, (size_t)got);
    *next_offset = offset + (uint64_t)got;
    *end = !at_work && n == left;
    return ERR_OK;
}

// ---- XCom --------------------------------------------------------------------------------------------------------------------------------
static void xcom_of_row(struct meta_stmt *st, struct arena *a, void *out) {
    struct flow_xcom *x = out;
    const char **const texts[] = {&x->dag_id, &x->run_id, &x->task_id, &x->key};
    for (int i = 0; i < 4; i++) *texts[i] = row_str(st, i, a);
    x->timestamp_us = meta_int(st, 4);
    x->logical_us = row_time(st, 5);
    x->run_after_us = row_time(st, 6);
    x->value_json = row_str(st, 7, a);
}

static enum err_code xcom_list(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const char *key, bool value,
                               const struct flow_page *page, struct arena *a, struct flow_xcom **out, size_t *n, int64_t *total, struct err *err) {
    static const struct order orders[] = {{"key", "x.key"}, {"timestamp", "x.when_us"}, {NULL, NULL}};
    struct query q;
    void *rows = NULL;
    query_init(&q, a);
    query_str(&q, "r.dag_id = ?", unless_all(dag_id));
    query_str(&q, "r.run_id = ?", unless_all(run_id));
    query_str(&q, "x.task_id = ?", unless_all(task_id));
    query_str(&q, "x.key = ?", key);
    enum err_code e = query_list(f, &q, value ? "r.dag_id, r.run_id, x.task_id, x.key, x.when_us, r.logical_us, r.run_after_us, x.value"
                                              : "r.dag_id, r.run_id, x.task_id, x.key, x.when_us, r.logical_us, r.run_after_us, null",
                                 "flow_xcom x join flow_run r on r.id = x.run", orders, "r.id, x.task_id, x.key", page, xcom_of_row, sizeof **out,
                                     &rows, n, total, err);
    *out = rows;
    query_fini(&q);
    return e;
}

enum err_code flow_xcoms(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const struct flow_page *page, struct arena *a,
                         struct flow_xcom **out, size_t *n, int64_t *total, struct err *err) {
    return xcom_list(f, dag_id, run_id, task_id, NULL, false, page, a, out, n, total, err);
}

enum err_code flow_xcom_get(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const char *key, struct arena *a,
                            struct flow_xcom *out, struct err *err) {
    struct flow_xcom *rows = NULL;
    size_t n = 0;
    enum err_code e = xcom_list(f, dag_id, run_id, task_id, key, true, NULL, a, &rows, &n, NULL, err);
    if (e == ERR_OK && n == 0) return err_set(err, ERR_NOT_FOUND, "XCom entry with key: `%s` not found", key);
    if (e == ERR_OK) *out = rows[0];
    return e;
}

enum err_code flow_xcom_set(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const char *key, const char *value_json,
                            struct err *err) {
    struct arena a;
    struct flow_ti ti;
    if (strlen(value_json) > FLOW_XCOM_MAX) return err_set(err, ERR_TOO_LARGE, "an XCom value has at most %d bytes", FLOW_XCOM_MAX);
    arena_init(&a);
    enum err_code e = flow_ti_get(f, dag_id, run_id, task_id, &a, &ti, err);
    arena_fini(&a);
    if (e != ERR_OK) return e;
    return meta_do(f->meta, err, "insert or replace into flow_xcom select id, ?3, ?4, ?5, ?6 from flow_run where dag_id = ?1 and run_id = ?2",
                   "sssssi",
                   dag_id, run_id, task_id, key, value_json, flow_now(f));
}

enum err_code flow_xcom_delete(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const char *key, struct err *err) {
    return meta_do(f->meta, err,
                   "delete from flow_xcom where run = (select id from flow_run where dag_id = ?1 and run_id = ?2) and task_id = ?3 and key = ?4",
                   "ssss", dag_id, run_id, task_id, key);
}
