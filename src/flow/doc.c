// SPDX-License-Identifier: Apache-2.0
// A DAG's serialized document (python/airflow/_core/serialize.py) as a version: tasks with indexes for edges. Immutable once made, counted
// references; the loop's thread. What does not fit is ERR_INVALID: the document comes from our own package, but over a pipe.
#include "flow/flow_int.h"

#define S(o, k) json_get_cstr((o), (k), "")

static bool schedule_parse(const json_t *s, struct flow_schedule *out, struct err *err) {
    *out = (struct flow_schedule){.kind = FLOW_SCHEDULE_NONE};
    const char *type = S(s, "type");
    out->interval_us = json_get_i64(s, "interval_us", 0);
    out->data_interval = json_get_bool(s, "data_interval", false);
    if (json_object_get(s, "run_immediately_us") != NULL) {
        out->immediate_us = json_get_i64(s, "run_immediately_us", 0);
        out->run_immediately = out->immediate_us != 0;
    } else {
        out->run_immediately = json_get_bool(s, "run_immediately", false);
    }
    if (strcmp(type, "cron") == 0) {
        out->kind = FLOW_SCHEDULE_CRON;
        return cron_parse(json_get_str(s, "cron"), &out->cron, err) == ERR_OK;
    }
    if (strcmp(type, "delta") == 0) {
        out->kind = FLOW_SCHEDULE_DELTA;
        out->delta_us = json_get_i64(s, "delta_us", 0);
        if (out->delta_us > 0) return true;
        err_set(err, ERR_INVALID, "a schedule's interval must be positive");
        return false;
    }
    if (strcmp(type, "once") == 0) out->kind = FLOW_SCHEDULE_ONCE;
    if (strcmp(type, "continuous") == 0) out->kind = FLOW_SCHEDULE_CONTINUOUS;
    return true;
}

static unsigned callbacks_parse(const json_t *list) {
    static const char *const names[] = {"failure", "success", "retry", "skipped"};
    unsigned out = 0;
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) for (unsigned k = 0; k < 4; k++) if (str_eqc(json_str(v), names[k])) out |= 1U << k;
    return out;
}

static bool task_parse(struct ftask *t, json_t *j, struct err *err) {
    static const char *const kinds[] = {"python", "bash", "sql", "empty"};
    t->json = j;
    t->id = S(j, "task_id");
    t->operator_name = S(j, "operator");
    t->pool = json_get_cstr(j, "pool", "default_pool");
    t->queue = json_get_cstr(j, "queue", "default");
    for (size_t k = 0; k < 4; k++)
        if (strcmp(S(j, "kind"), kinds[k]) == 0) t->kind = (enum flow_kind)k;
    if (!flow_rule_parse(json_get_str(j, "trigger_rule"), &t->rule)) {
        err_set(err, ERR_INVALID, "task '%s': unknown trigger rule '%s'", t->id, S(j, "trigger_rule"));
        return false;
    }
    int64_t retries = json_get_i64(j, "retries", 0), slots = json_get_i64(j, "pool_slots", 1);
    t->retries = retries < 0 ? 0 : retries > 10000 ? 10000 : (int)retries;
    t->pool_slots = slots < 1 ? 1 : slots > 1000000 ? 1000000 : (int)slots;
    t->max_active_tis = (int)json_get_i64(j, "max_active_tis_per_dag", 0);
    t->retry_delay_us = json_get_i64(j, "retry_delay_us", 0);
    t->max_retry_delay_us = json_get_i64(j, "max_retry_delay_us", 0);
    t->execution_timeout_us = json_get_i64(j, "execution_timeout_us", 0);
    t->weight = json_get_i64(j, "weight", 1);
    t->retry_exponential = json_get_double(j, "retry_exponential", 0);
    t->callbacks = callbacks_parse(json_object_get(j, "callbacks"));
    t->depends_on_past = json_get_bool(j, "depends_on_past", false);
    t->xcom_push = json_get_bool(j, "do_xcom_push", true);
    t->is_setup = json_get_bool(j, "is_setup", false);
    t->is_teardown = json_get_bool(j, "is_teardown", false);
    t->teardown_fails_run = json_get_bool(j, "on_failure_fail_dagrun", false);
    t->is_sensor = json_get_bool(j, "is_sensor", false);
    return true;
}

// Upstream lists are the edges; downstream lists follow from them.
static bool edges_parse(struct fversion *v, struct err *err) {
    for (size_t i = 0; i < v->n; i++) {
        struct ftask *t = &v->tasks[i];
        json_t *up = json_object_get(t->json, "upstream"), *u;
        size_t k;
        t->up = mem_alloc(sizeof *t->up * (json_array_size(up) + 1));
        json_array_foreach(up, k, u) {
            struct ftask *from = flow_version_task(v, json_string_value(u) != NULL ? json_string_value(u) : "");
            if (from == NULL || from == t) {
                err_set(err, ERR_INVALID, "task '%s': its upstream task is not there", t->id);
                return false;
            }
            t->up[t->n_up++] = from->index;
            t->n_up_setup += from->is_setup;
            from->n_down++;
        }
    }
    for (size_t i = 0; i < v->n; i++) {
        v->tasks[i].down = mem_alloc(sizeof(uint32_t) * (v->tasks[i].n_down + 1));
        v->tasks[i].n_down = 0;
    }
    for (size_t i = 0; i < v->n; i++)
        for (uint32_t k = 0; k < v->tasks[i].n_up; k++) {
            struct ftask *from = &v->tasks[v->tasks[i].up[k]];
            from->down[from->n_down++] = (uint32_t)i;
        }
    return true;
}

struct ftask *flow_version_task(const struct fversion *v, const char *task_id) { return map_getc(&v->by_id, task_id); }

static int64_t time_or_none(const json_t *o, const char *key) { return json_get_i64(o, key, FLOW_NO_TIME); }

struct fversion *flow_version_parse(json_t *doc, struct err *err) {
    struct fversion *v = MEM_NEW(struct fversion);
    v->refs = 1;
    v->doc = json_incref(doc);
    map_init(&v->by_id);
    v->dag_id = mem_strdup(S(doc, "dag_id"));
    v->fileloc = mem_strdup(S(doc, "fileloc"));
    json_t *tasks = json_object_get(doc, "tasks");
    size_t n = json_array_size(tasks);
    if (v->dag_id[0] == '\0' || n > FLOW_TASKS_MAX) {
        err_set(err, ERR_INVALID, "a DAG without a name, or with more than %d tasks", FLOW_TASKS_MAX);
        goto failed;
    }
    if (!schedule_parse(json_object_get(doc, "schedule"), &v->schedule, err)) goto failed;
    v->start_us = time_or_none(doc, "start_us");
    v->end_us = time_or_none(doc, "end_us");
    v->dagrun_timeout_us = time_or_none(doc, "dagrun_timeout_us");
    int64_t runs = json_get_i64(doc, "max_active_runs", 16), active = json_get_i64(doc, "max_active_tasks", 16);
    v->max_active_runs = runs < 1 ? 1 : runs > 10000 ? 10000 : (int)runs;
    if (v->schedule.kind == FLOW_SCHEDULE_CONTINUOUS) v->max_active_runs = 1;
    v->max_active_tasks = active < 1 ? 1 : active > 100000 ? 100000 : (int)active;
    v->max_failed_runs = (int)json_get_i64(doc, "max_consecutive_failed_dag_runs", 0);
    v->catchup = json_get_bool(doc, "catchup", false);
    v->fail_fast = json_get_bool(doc, "fail_fast", false);
    v->user_templates = json_get_bool(doc, "user_templates", false);
    v->callbacks = callbacks_parse(json_object_get(doc, "callbacks"));
    v->tasks = mem_zalloc(sizeof *v->tasks * (n + 1));
    for (v->n = 0; v->n < n; v->n++) {
        struct ftask *t = &v->tasks[v->n];
        t->index = (uint32_t)v->n;
        if (!task_parse(t, json_array_get(tasks, v->n), err)) goto failed;
        if (map_put(&v->by_id, str_c(t->id), t) != NULL) {
            err_set(err, ERR_INVALID, "two tasks are called '%s'", t->id);
            goto failed;
        }
    }
    if (!edges_parse(v, err)) goto failed;
    return v;
failed:
    flow_version_unref(v);
    return NULL;
}

void flow_version_unref(struct fversion *v) {
    if (v == NULL || --v->refs > 0) return;
    for (size_t i = 0; v->tasks != NULL && i < json_array_size(json_object_get(v->doc, "tasks")); i++) {
        mem_free(v->tasks[i].up);
        mem_free(v->tasks[i].down);
    }
    mem_free(v->tasks);
    map_fini(&v->by_id);
    json_decref(v->doc);
    mem_free(v->dag_id);
    mem_free(v->fileloc);
    mem_free(v);
}
