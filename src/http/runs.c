// SPDX-License-Identifier: Apache-2.0
// DAG runs of the REST API: trigger, list, get, wait, set state and note, clear, delete. Request's thread; blocks on flow.
#include "http/api.h"

#include <assert.h>
#include <stddef.h>

enum { STATES_MAX = 16, WAIT_STEP_US = 1000000 };

#define AT(field) offsetof(struct flow_run, field)
static const struct api_field run_fields[] = {
    {"dag_run_id", API_STR, AT(run_id), NULL},
    {"dag_id", API_STR, AT(dag_id), NULL},
    {"logical_date", API_TIME, AT(logical_us), NULL},
    {"queued_at", API_TIME, AT(queued_us), NULL},
    {"start_date", API_TIME, AT(start_us), NULL},
    {"end_date", API_TIME, AT(end_us), NULL},
    {"data_interval_start", API_TIME, AT(interval_start_us), NULL},
    {"data_interval_end", API_TIME, AT(interval_end_us), NULL},
    {"run_after", API_TIME, AT(run_after_us), NULL},
    {"last_scheduling_decision", API_TIME, AT(last_decision_us), NULL},
    {"run_type", API_STR, AT(run_type), NULL},
    {"triggered_by", API_STR, AT(triggered_by), NULL},
    {"triggering_user_name", API_STR, AT(user), NULL},
    {"conf", API_JSON, AT(conf_json), NULL},
    {"note", API_STR, AT(note), NULL},
    {"bundle_version", API_NULL, 0, NULL},
    {"dag_display_name", API_STR, AT(dag_id), NULL},
    {"partition_key", API_NULL, 0, NULL},
};
#undef AT

json_t *api_run(const struct flow_run *run) {
    json_t *o = api_object(run_fields, API_COUNT(run_fields), run), *versions = json_array();
    json_object_set_new(o, "state", json_string(flow_run_state_name(run->state)));
    bool timed = run->start_us != FLOW_NO_TIME && run->end_us != FLOW_NO_TIME;
    json_object_set_new(o, "duration", timed ? json_real((double)(run->end_us - run->start_us) / 1e6) : json_null());
    if (run->version.uuid != NULL) json_array_append_new(versions, api_dag_version(&run->version));
    json_object_set_new(o, "dag_versions", versions);
    return o;
}

static enum err_code reply_runs(struct httpd_request *r, const struct flow_run *runs, size_t n, int64_t total) {
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, api_run(&runs[i]));
    return api_reply_list(r, "dag_runs", rows, total);
}

static enum err_code reply_run(struct httpd_request *r, struct flow *f, struct err *err) {
    struct flow_run run;
    enum err_code code = flow_run_get(f, httpd_param(r, "dag_id"), httpd_param(r, "dag_run_id"), r->arena, &run, err);
    return code == ERR_OK ? httpd_reply_json(r, 200, api_run(&run)) : code;
}

// ---- trigger ----------------------------------------------------------------------------------------------------------------------

enum err_code http_run_trigger(struct httpd_request *r, struct err *err) {
    struct trigger_body {
        struct flow_trigger t;
        const char *partition_key;
    } in = {.t = {.logical_us = FLOW_NO_TIME, .interval_start_us = FLOW_NO_TIME, .interval_end_us = FLOW_NO_TIME, .run_after_us = FLOW_NO_TIME}};
#define AT(field) offsetof(struct trigger_body, field)
    static const struct api_in_field fields[] = {
        {"dag_run_id", API_IN_STR, false, AT(t.run_id)},
        {"conf", API_IN_OBJECT, false, AT(t.conf_json)},
        {"note", API_IN_STR, false, AT(t.note)},
        {"logical_date", API_IN_TIME, false, AT(t.logical_us)},
        {"data_interval_start", API_IN_TIME, false, AT(t.interval_start_us)},
        {"data_interval_end", API_IN_TIME, false, AT(t.interval_end_us)},
        {"run_after", API_IN_TIME, false, AT(t.run_after_us)},
        {"partition_key", API_IN_STR, false, AT(partition_key)},
    };
#undef AT
    struct flow *f = api_flow(r, err);
    struct flow_run run;
    enum err_code code = f == NULL ? err->code : api_body(r, fields, API_COUNT(fields), &in, NULL, err);
    if (code != ERR_OK) return code;
    if (in.partition_key != NULL) return err_set(err, ERR_NOT_SUPPORTED, "partition_key is not supported");
    if ((in.t.interval_start_us == FLOW_NO_TIME) != (in.t.interval_end_us == FLOW_NO_TIME))
        return err_set(err, ERR_DATA, "body.data_interval_start: data_interval_start and data_interval_end must be given together");
    in.t.user = r->user;
    in.t.triggered_by = "rest_api";
    code = flow_run_trigger(f, httpd_param(r, "dag_id"), &in.t, r->arena, &run, err);
    return code == ERR_OK ? httpd_reply_json(r, 200, api_run(&run)) : code;
}

// ---- lists ------------------------------------------------------------------------------------------------------------------------

static enum err_code check_states(const char *const *states, size_t n, struct err *err) {
    enum flow_run_state state;
    for (size_t i = 0; i < n; i++)
        if (!flow_run_state_parse(str_c(states[i]), &state)) return err_set(err, ERR_DATA, "query.state: %.40s is not a state of a run", states[i]);
    return ERR_OK;
}

static enum err_code run_times(struct httpd_request *r, struct flow_run_filter *filter, struct err *err) {
    const struct {
        const char *name;
        int64_t *at;
        int64_t shift; // _gt is _gte of the next microsecond
    } times[] = {
        {"logical_date_gte", &filter->logical_gte_us, 0},   {"logical_date_gt", &filter->logical_gte_us, 1},
        {"logical_date_lte", &filter->logical_lte_us, 0},   {"logical_date_lt", &filter->logical_lte_us, -1},
        {"run_after_gte", &filter->run_after_gte_us, 0},    {"run_after_gt", &filter->run_after_gte_us, 1},
        {"run_after_lte", &filter->run_after_lte_us, 0},    {"run_after_lt", &filter->run_after_lte_us, -1},
        {"start_date_gte", &filter->start_gte_us, 0},       {"start_date_gt", &filter->start_gte_us, 1},
        {"start_date_lte", &filter->start_lte_us, 0},       {"start_date_lt", &filter->start_lte_us, -1},
        {"end_date_gte", &filter->end_gte_us, 0},           {"end_date_gt", &filter->end_gte_us, 1},
        {"end_date_lte", &filter->end_lte_us, 0},           {"end_date_lt", &filter->end_lte_us, -1},
    };
    for (size_t i = 0; i < API_COUNT(times); i++) {
        if (httpd_query(r, times[i].name) == NULL) continue;
        enum err_code code = api_query_time(r, times[i].name, times[i].at, err);
        if (code != ERR_OK) return code;
        *times[i].at += times[i].shift;
    }
    return ERR_OK;
}

enum err_code http_runs(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_run_filter filter;
    struct flow_page page;
    struct flow_run *runs;
    const char *states[STATES_MAX], *types[2];
    size_t n;
    int64_t total;
    if (f == NULL) return err->code;
    flow_run_filter_init(&filter);
    filter.dag_id = httpd_param(r, "dag_id");
    filter.run_id_pattern = api_pattern(r, "run_id_pattern");
    filter.states = states;
    filter.n_states = httpd_query_all(r, "state", states, STATES_MAX);
    if (filter.n_states > STATES_MAX) return err_set(err, ERR_DATA, "query.state: more than %d states", STATES_MAX);
    if (httpd_query_all(r, "run_type", types, 2) > 1) return err_set(err, ERR_NOT_SUPPORTED, "filtering by more than one run_type is not supported");
    filter.run_type = httpd_query(r, "run_type");
    enum err_code code = check_states(states, filter.n_states, err);
    if (code == ERR_OK) code = run_times(r, &filter, err);
    if (code == ERR_OK) code = api_page(r, &page, err);
    if (code == ERR_OK) code = flow_runs(f, &filter, &page, r->arena, &runs, &n, &total, err);
    return code == ERR_OK ? reply_runs(r, runs, n, total) : code;
}

// POST .../dagRuns/list: the filters in a body.
enum err_code http_runs_batch(struct httpd_request *r, struct err *err) {
    struct batch {
        struct api_strs dag_ids, states;
        const char *order_by;
        int page_limit, page_offset;
        struct flow_run_filter filter;
    } in = {.page_limit = 100};
#define AT(field) offsetof(struct batch, field)
    static const struct api_in_field fields[] = {
        {"dag_ids", API_IN_STRS, false, AT(dag_ids)},
        {"states", API_IN_STRS, false, AT(states)},
        {"order_by", API_IN_STR, false, AT(order_by)},
        {"page_limit", API_IN_INT, false, AT(page_limit)},
        {"page_offset", API_IN_INT, false, AT(page_offset)},
        {"logical_date_gte", API_IN_TIME, false, AT(filter.logical_gte_us)},
        {"logical_date_lte", API_IN_TIME, false, AT(filter.logical_lte_us)},
        {"run_after_gte", API_IN_TIME, false, AT(filter.run_after_gte_us)},
        {"run_after_lte", API_IN_TIME, false, AT(filter.run_after_lte_us)},
        {"start_date_gte", API_IN_TIME, false, AT(filter.start_gte_us)},
        {"start_date_lte", API_IN_TIME, false, AT(filter.start_lte_us)},
        {"end_date_gte", API_IN_TIME, false, AT(filter.end_gte_us)},
        {"end_date_lte", API_IN_TIME, false, AT(filter.end_lte_us)},
    };
#undef AT
    struct flow *f = api_flow(r, err);
    struct flow_run *runs;
    size_t n;
    int64_t total;
    flow_run_filter_init(&in.filter);
    enum err_code code = f == NULL ? err->code : api_body(r, fields, API_COUNT(fields), &in, NULL, err);
    if (code != ERR_OK) return code;
    if (in.dag_ids.n > 1) return err_set(err, ERR_NOT_SUPPORTED, "more than one dag_id is not supported");
    if (in.page_limit < 0 || in.page_offset < 0) return err_set(err, ERR_DATA, "body.page_limit: must not be negative");
    in.filter.dag_id = in.dag_ids.n == 1 ? in.dag_ids.p[0] : NULL;
    in.filter.states = in.states.p;
    in.filter.n_states = in.states.n;
    struct flow_page page = {.limit = in.page_limit, .offset = in.page_offset, .order_by = in.order_by};
    code = check_states(in.states.p, in.states.n, err);
    if (code == ERR_OK) code = flow_runs(f, &in.filter, &page, r->arena, &runs, &n, &total, err);
    return code == ERR_OK ? reply_runs(r, runs, n, total) : code;
}

enum err_code http_dag_stats(struct httpd_request *r, struct err *err) {
    static const enum flow_run_state states[] = {FLOW_RUN_QUEUED, FLOW_RUN_RUNNING, FLOW_RUN_SUCCESS, FLOW_RUN_FAILED};
    struct flow *f = api_flow(r, err);
    const char *ids[HTTPD_QUERY_MAX];
    size_t n = httpd_query_all(r, "dag_ids", ids, HTTPD_QUERY_MAX), n_dags;
    int64_t total;
    struct flow_dag *dags;
    struct flow_dag_filter all = {.paused = -1};
    struct flow_page page = {.limit = FLOW_LIST_MAX}, one = {.limit = 1};
    enum err_code code = f == NULL ? err->code : flow_dags(f, &all, &page, r->arena, &dags, &n_dags, &total, err);
    json_t *rows = json_array();
    for (size_t i = 0; code == ERR_OK && i < n_dags; i++) {
        bool wanted = n == 0;
        for (size_t k = 0; k < n; k++) wanted |= strcmp(ids[k], dags[i].dag_id) == 0;
        if (!wanted) continue;
        json_t *stats = json_array();
        for (size_t k = 0; k < API_COUNT(states) && code == ERR_OK; k++) {
            struct flow_run_filter filter;
            struct flow_run *runs;
            size_t n_runs;
            int64_t count = 0;
            const char *name = flow_run_state_name(states[k]);
            flow_run_filter_init(&filter);
            filter.dag_id = dags[i].dag_id;
            filter.states = &name;
            filter.n_states = 1;
            code = flow_runs(f, &filter, &one, r->arena, &runs, &n_runs, &count, err);
            json_array_append_new(stats, json_pack("{s:s, s:I}", "state", name, "count", (json_int_t)count));
        }
        json_array_append_new(rows, json_pack("{s:s, s:s, s:o}", "dag_id", dags[i].dag_id, "dag_display_name", dags[i].display_name, "stats", stats));
    }
    if (code == ERR_OK) return api_reply_list(r, "dags", rows, (int64_t)json_array_size(rows));
    json_decref(rows);
    return code;
}

// ---- one run ----------------------------------------------------------------------------------------------------------------------

enum err_code http_run(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    return f == NULL ? err->code : reply_run(r, f, err);
}

enum err_code http_run_patch(struct httpd_request *r, struct err *err) {
    struct {
        const char *state, *note;
    } in = {0};
    static const struct api_in_field fields[] = {{"state", API_IN_STR, false, 0}, {"note", API_IN_STR, false, sizeof(char *)}};
    struct flow *f = api_flow(r, err);
    const char *dag_id = httpd_param(r, "dag_id"), *run_id = httpd_param(r, "dag_run_id");
    enum flow_run_state state = FLOW_RUN_QUEUED;
    uint32_t given;
    enum err_code code = f == NULL ? err->code : api_body(r, fields, API_COUNT(fields), &in, &given, err);
    if (code != ERR_OK) return code;
    if (in.state != NULL && (!flow_run_state_parse(str_c(in.state), &state) || state == FLOW_RUN_RUNNING))
        return err_set(err, ERR_DATA, "body.state: Input should be 'queued', 'success' or 'failed'");
    if (in.state != NULL) code = flow_run_set_state(f, dag_id, run_id, state, err);
    if (code == ERR_OK && (given & 2) != 0) code = flow_run_set_note(f, dag_id, run_id, in.note, err);
    return code == ERR_OK ? reply_run(r, f, err) : code;
}

enum err_code http_run_delete(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    enum err_code code = f == NULL ? err->code : flow_run_delete(f, httpd_param(r, "dag_id"), httpd_param(r, "dag_run_id"), err);
    return code == ERR_OK ? api_no_content(r) : code;
}

enum err_code http_run_clear(struct httpd_request *r, struct err *err) {
    struct clear_body {
        bool dry_run, only_failed, newest;
    } in = {.dry_run = true};
    static const struct api_in_field fields[] = {{"dry_run", API_IN_BOOL, false, offsetof(struct clear_body, dry_run)},
                                                 {"only_failed", API_IN_BOOL, false, offsetof(struct clear_body, only_failed)},
                                                 {"run_on_latest_version", API_IN_BOOL, false, offsetof(struct clear_body, newest)}};
    struct flow *f = api_flow(r, err);
    struct flow_ti *tis;
    struct flow_run run;
    size_t n;
    const char *dag_id = httpd_param(r, "dag_id"), *run_id = httpd_param(r, "dag_run_id");
    enum err_code code = f == NULL ? err->code : api_body(r, fields, API_COUNT(fields), &in, NULL, err);
    if (code == ERR_OK && in.newest) return err_set(err, ERR_NOT_SUPPORTED, "run_on_latest_version is not supported");
    if (code == ERR_OK) code = flow_run_get(f, dag_id, run_id, r->arena, &run, err);
    struct flow_clear clear = {.run_id = run_id, .dry_run = in.dry_run, .only_failed = in.only_failed, .reset_runs = true,
                               .start_us = FLOW_NO_TIME, .end_us = FLOW_NO_TIME};
    if (code == ERR_OK) code = flow_clear(f, dag_id, &clear, r->arena, &tis, &n, err);
    if (code != ERR_OK) return code;
    return in.dry_run ? api_reply_list(r, "task_instances", api_tis(tis, n), (int64_t)n) : reply_run(r, f, err);
}

// The XCom return values that were asked for with ?result=task, as Airflow adds them at the end.
static json_t *wait_results(struct httpd_request *r, struct flow *f) {
    const char *tasks[HTTPD_QUERY_MAX];
    size_t n = httpd_query_all(r, "result", tasks, HTTPD_QUERY_MAX);
    if (n == 0) return NULL;
    json_t *results = json_object();
    for (size_t i = 0; i < n; i++) {
        struct flow_xcom x;
        if (flow_xcom_get(f, httpd_param(r, "dag_id"), httpd_param(r, "dag_run_id"), tasks[i], "return_value", r->arena, &x, NULL) != ERR_OK)
            continue;
        json_t *v = x.value_json == NULL ? NULL : json_parse(str_c(x.value_json), NULL);
        json_object_set_new(results, tasks[i], v == NULL ? json_null() : v);
    }
    return results;
}

// Answers one line of JSON when the run has ended, of which flow wakes us. `interval` is only checked.
enum err_code http_run_wait(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_run run;
    const char *interval = httpd_query(r, "interval");
    double seconds;
    if (f == NULL) return err->code;
    if (interval == NULL || !str_to_double(str_c(interval), &seconds) || !(seconds > 0))
        return err_set(err, ERR_DATA, "query.interval: must be a number of seconds above 0");
    enum err_code code = ERR_TIMEOUT;
    while (code == ERR_TIMEOUT && f != NULL) { // in steps: the server may be stopping
        code = flow_run_wait(f, httpd_param(r, "dag_id"), httpd_param(r, "dag_run_id"), WAIT_STEP_US, r->arena, &run, err);
        if (code == ERR_TIMEOUT) f = api_flow(r, err);
    }
    if (code != ERR_OK) return err->code;
    json_t *j = json_pack("{s:s}", "state", flow_run_state_name(run.state)), *results = wait_results(r, f);
    if (results != NULL) json_object_set_new(j, "results", results);
    httpd_reply_json(r, 200, j);
    r->content_type = "application/x-ndjson";
    buf_puts(&r->out, "\n");
    return ERR_OK;
}
