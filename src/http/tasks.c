// SPDX-License-Identifier: Apache-2.0
// Task instances of the REST API: list, get, tries, logs, set state and note, clear. Request's thread; blocks on flow.
// There is no task mapping: map_index is always -1.
#include "http/api.h"

#include <stddef.h>

enum { STATES_MAX = 16 };

#define AT(field) offsetof(struct flow_ti, field)
static const struct api_field ti_fields[] = {
    {"task_id", API_STR, AT(task_id), NULL},
    {"dag_id", API_STR, AT(dag_id), NULL},
    {"dag_run_id", API_STR, AT(run_id), NULL},
    {"start_date", API_TIME, AT(start_us), NULL},
    {"end_date", API_TIME, AT(end_us), NULL},
    {"try_number", API_INT, AT(try_number), NULL},
    {"max_tries", API_INT, AT(max_tries), NULL},
    {"task_display_name", API_STR, AT(task_id), NULL},
    {"dag_display_name", API_STR, AT(dag_id), NULL},
    {"hostname", API_STR, AT(hostname), NULL},
    {"unixname", API_NULL, 0, NULL},
    {"pool", API_STR, AT(pool), NULL},
    {"pool_slots", API_INT, AT(pool_slots), NULL},
    {"queue", API_STR, AT(queue), NULL},
    {"priority_weight", API_I64, AT(priority_weight), NULL},
    {"operator", API_STR, AT(operator_name), NULL},
    {"operator_name", API_STR, AT(operator_name), NULL},
    {"queued_when", API_TIME, AT(queued_us), NULL},
    {"scheduled_when", API_TIME, AT(scheduled_us), NULL},
    {"executor", API_NULL, 0, NULL},
    {"executor_config", API_CONST, 0, "{}"},
};
// What a TaskInstanceResponse has beyond a TaskInstanceHistoryResponse.
static const struct api_field ti_more_fields[] = {
    {"id", API_STR, AT(id), NULL},
    {"logical_date", API_TIME, AT(logical_us), NULL},
    {"run_after", API_TIME, AT(run_after_us), NULL},
    {"note", API_STR, AT(note), NULL},
    {"rendered_map_index", API_NULL, 0, NULL},
    {"rendered_fields", API_JSON, AT(rendered_json), NULL},
    {"trigger", API_NULL, 0, NULL},
    {"triggerer_job", API_NULL, 0, NULL},
};
#undef AT

static json_t *try_json(const struct flow_ti *ti) {
    json_t *o = api_object(ti_fields, API_COUNT(ti_fields), ti);
    bool timed = ti->start_us != FLOW_NO_TIME && ti->end_us != FLOW_NO_TIME;
    json_object_set_new(o, "map_index", json_integer(-1));
    json_object_set_new(o, "state", ti->state == FLOW_TI_NONE ? json_null() : json_string(flow_ti_state_name(ti->state)));
    json_object_set_new(o, "duration", timed ? json_real((double)(ti->end_us - ti->start_us) / 1e6) : json_null());
    json_object_set_new(o, "pid", ti->pid == 0 ? json_null() : json_integer(ti->pid));
    json_object_set_new(o, "dag_version", ti->version.uuid == NULL ? json_null() : api_dag_version(&ti->version));
    return o;
}

json_t *api_ti(const struct flow_ti *ti) {
    json_t *o = try_json(ti), *more = api_object(ti_more_fields, API_COUNT(ti_more_fields), ti);
    json_object_update(o, more);
    json_decref(more);
    if (ti->rendered_json == NULL) json_object_set_new(o, "rendered_fields", json_object());
    return o;
}

json_t *api_tis(const struct flow_ti *tis, size_t n) {
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, api_ti(&tis[i]));
    return rows;
}

// map_index of the path or the query: only -1 is there.
static enum err_code check_map_index(struct httpd_request *r, struct err *err) {
    const char *text = strstr(r->route->pattern, "{map_index}") != NULL ? httpd_param(r, "map_index") : httpd_query(r, "map_index");
    int64_t i;
    if (text == NULL) return ERR_OK;
    if (!str_to_i64(str_c(text), &i)) return err_set(err, ERR_DATA, "path.map_index: must be a whole number");
    return i == -1 ? ERR_OK : err_set(err, ERR_NOT_FOUND, "The Mapped Task Instance with map_index: `%s` was not found", text);
}

static enum err_code get_ti(struct httpd_request *r, struct flow *f, struct flow_ti *ti, struct err *err) {
    enum err_code code = check_map_index(r, err);
    if (code != ERR_OK) return code;
    return flow_ti_get(f, httpd_param(r, "dag_id"), httpd_param(r, "dag_run_id"), httpd_param(r, "task_id"), r->arena, ti, err);
}

// ---- lists ------------------------------------------------------------------------------------------------------------------------

static enum err_code check_states(const char *const *states, size_t n, struct err *err) {
    enum flow_ti_state state;
    for (size_t i = 0; i < n; i++)
        if (!flow_ti_state_parse(str_c(states[i]), &state)) return err_set(err, ERR_DATA, "query.state: %.40s is not a state of a task", states[i]);
    return ERR_OK;
}

static enum err_code reply_tis(struct httpd_request *r, struct flow *f, const struct flow_ti_filter *filter, const struct flow_page *page,
                               struct err *err) {
    struct flow_ti *tis;
    size_t n;
    int64_t total;
    enum err_code code = check_states(filter->states, filter->n_states, err);
    if (code == ERR_OK) code = flow_tis(f, filter, page, r->arena, &tis, &n, &total, err);
    return code == ERR_OK ? api_reply_list(r, "task_instances", api_tis(tis, n), total) : code;
}

enum err_code http_tis(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    const char *states[STATES_MAX];
    struct flow_page page;
    enum err_code code = f == NULL ? err->code : api_page(r, &page, err);
    if (code != ERR_OK) return code;
    struct flow_ti_filter filter = {
        .dag_id = httpd_param(r, "dag_id"), .run_id = httpd_param(r, "dag_run_id"), .task_id = httpd_query(r, "task_id"), .states = states};
    filter.n_states = httpd_query_all(r, "state", states, STATES_MAX);
    if (filter.n_states > STATES_MAX) return err_set(err, ERR_DATA, "query.state: more than %d states", STATES_MAX);
    if (page.order_by != NULL && strcmp(page.order_by, "map_index") == 0) page.order_by = NULL; // all are -1
    if (strcmp(filter.run_id, "~") != 0 && strcmp(filter.dag_id, "~") != 0) {
        struct flow_run run; // a run that is not there is 404, not an empty list
        code = flow_run_get(f, filter.dag_id, filter.run_id, r->arena, &run, err);
        if (code != ERR_OK) return code;
    }
    return reply_tis(r, f, &filter, &page, err);
}

enum err_code http_tis_batch(struct httpd_request *r, struct err *err) {
    struct batch {
        struct api_strs dag_ids, run_ids, task_ids, states;
        const char *order_by;
        int page_limit, page_offset;
    } in = {.page_limit = 100};
#define AT(field) offsetof(struct batch, field)
    static const struct api_in_field fields[] = {
        {"dag_ids", API_IN_STRS, false, AT(dag_ids)},       {"dag_run_ids", API_IN_STRS, false, AT(run_ids)},
        {"task_ids", API_IN_STRS, false, AT(task_ids)},     {"state", API_IN_STRS, false, AT(states)},
        {"order_by", API_IN_STR, false, AT(order_by)},      {"page_limit", API_IN_INT, false, AT(page_limit)},
        {"page_offset", API_IN_INT, false, AT(page_offset)},
    };
#undef AT
    struct flow *f = api_flow(r, err);
    enum err_code code = f == NULL ? err->code : api_body(r, fields, API_COUNT(fields), &in, NULL, err);
    if (code != ERR_OK) return code;
    if (in.dag_ids.n > 1 || in.run_ids.n > 1 || in.task_ids.n > 1)
        return err_set(err, ERR_NOT_SUPPORTED, "more than one dag_id, dag_run_id or task_id is not supported");
    if (in.page_limit < 0 || in.page_offset < 0) return err_set(err, ERR_DATA, "body.page_limit: must not be negative");
    struct flow_ti_filter filter = {.dag_id = in.dag_ids.n == 1 ? in.dag_ids.p[0] : NULL,
                                    .run_id = in.run_ids.n == 1 ? in.run_ids.p[0] : NULL,
                                    .task_id = in.task_ids.n == 1 ? in.task_ids.p[0] : NULL,
                                    .states = in.states.p,
                                    .n_states = in.states.n};
    struct flow_page page = {.limit = in.page_limit, .offset = in.page_offset, .order_by = in.order_by};
    return reply_tis(r, f, &filter, &page, err);
}

// ---- one task instance --------------------------------------------------------------------------------------------------------------

enum err_code http_ti(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_ti ti;
    enum err_code code = f == NULL ? err->code : get_ti(r, f, &ti, err);
    return code == ERR_OK ? httpd_reply_json(r, 200, api_ti(&ti)) : code;
}

static enum err_code get_tries(struct httpd_request *r, struct flow_ti **tries, size_t *n, struct err *err) {
    struct flow *f = api_flow(r, err);
    enum err_code code = f == NULL ? err->code : check_map_index(r, err);
    if (code != ERR_OK) return code;
    return flow_ti_tries(f, httpd_param(r, "dag_id"), httpd_param(r, "dag_run_id"), httpd_param(r, "task_id"), r->arena, tries, n, err);
}

enum err_code http_ti_tries(struct httpd_request *r, struct err *err) {
    struct flow_ti *tries;
    size_t n;
    enum err_code code = get_tries(r, &tries, &n, err);
    if (code != ERR_OK) return code;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, try_json(&tries[i]));
    return api_reply_list(r, "task_instances", rows, (int64_t)n);
}

enum err_code http_ti_try(struct httpd_request *r, struct err *err) {
    struct flow_ti *tries;
    size_t n;
    int64_t number;
    if (!str_to_i64(str_c(httpd_param(r, "task_try_number")), &number)) return err_set(err, ERR_DATA, "path.task_try_number: must be a whole number");
    enum err_code code = get_tries(r, &tries, &n, err);
    if (code != ERR_OK) return code;
    for (size_t i = 0; i < n; i++)
        if (tries[i].try_number == number) return httpd_reply_json(r, 200, try_json(&tries[i]));
    return err_set(err, ERR_NOT_FOUND, "The Task Instance with task_id: `%s` and try_number: `%lld` was not found", httpd_param(r, "task_id"),
                   (long long)number);
}

// An instance that could run next is held up by nothing that is kept: flow starts tasks by events. Answered for those that ended or run.
enum err_code http_ti_dependencies(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_ti ti;
    enum err_code code = f == NULL ? err->code : get_ti(r, f, &ti, err);
    if (code != ERR_OK) return code;
    json_t *list = json_array();
    if (ti.state != FLOW_TI_NONE && ti.state != FLOW_TI_SCHEDULED)
        json_array_append_new(list, json_pack("{s:s, s:o}", "name", "Task Instance State", "reason",
                                              json_sprintf("Task is in the '%s' state.", flow_ti_state_name(ti.state))));
    else
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "name", "Trigger Rule", "reason", "Upstream tasks have not ended, or a pool has no free slot."));
    return httpd_reply_json(r, 200, json_pack("{s:o}", "dependencies", list));
}

enum err_code http_ti_links(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_ti ti;
    enum err_code code = f == NULL ? err->code : get_ti(r, f, &ti, err);
    return code == ERR_OK ? api_reply_list(r, "extra_links", json_object(), 0) : code;
}

struct ti_patch {
    const char *state, *note;
    bool downstream, upstream, future, past;
};

static enum err_code read_patch(struct httpd_request *r, struct ti_patch *in, uint32_t *given, enum flow_ti_state *state, struct err *err) {
#define AT(field) offsetof(struct ti_patch, field)
    static const struct api_in_field fields[] = {
        {"new_state", API_IN_STR, false, AT(state)},           {"note", API_IN_STR, false, AT(note)},
        {"include_downstream", API_IN_BOOL, false, AT(downstream)}, {"include_upstream", API_IN_BOOL, false, AT(upstream)},
        {"include_future", API_IN_BOOL, false, AT(future)},    {"include_past", API_IN_BOOL, false, AT(past)},
    };
#undef AT
    enum err_code code = api_body(r, fields, API_COUNT(fields), in, given, err);
    if (code != ERR_OK) return code;
    if (in->downstream || in->upstream || in->future || in->past)
        return err_set(err, ERR_NOT_SUPPORTED, "include_downstream, include_upstream, include_future and include_past are not supported");
    if (in->state == NULL) return ERR_OK;
    if (!flow_ti_state_parse(str_c(in->state), state) || (*state != FLOW_TI_SUCCESS && *state != FLOW_TI_FAILED && *state != FLOW_TI_SKIPPED))
        return err_set(err, ERR_DATA, "body.new_state: Input should be 'success', 'failed' or 'skipped'");
    return ERR_OK;
}

static enum err_code patch_ti(struct httpd_request *r, bool dry_run, struct err *err) {
    struct flow *f = api_flow(r, err);
    const char *dag_id = httpd_param(r, "dag_id"), *run_id = httpd_param(r, "dag_run_id"), *task_id = httpd_param(r, "task_id");
    struct ti_patch in = {0};
    struct flow_ti ti;
    enum flow_ti_state state = FLOW_TI_NONE;
    uint32_t given = 0;
    enum err_code code = f == NULL ? err->code : get_ti(r, f, &ti, err);
    if (code == ERR_OK) code = read_patch(r, &in, &given, &state, err);
    if (code == ERR_OK && !dry_run && in.state != NULL) code = flow_ti_set_state(f, dag_id, run_id, task_id, state, err);
    if (code == ERR_OK && !dry_run && (given & 2) != 0) code = flow_ti_set_note(f, dag_id, run_id, task_id, in.note, err);
    if (code == ERR_OK && !dry_run) code = get_ti(r, f, &ti, err);
    return code == ERR_OK ? api_reply_list(r, "task_instances", api_tis(&ti, 1), 1) : code;
}

enum err_code http_ti_patch(struct httpd_request *r, struct err *err) { return patch_ti(r, false, err); }
enum err_code http_ti_patch_dry_run(struct httpd_request *r, struct err *err) { return patch_ti(r, true, err); }

// ---- clear ------------------------------------------------------------------------------------------------------------------------

enum err_code http_tis_clear(struct httpd_request *r, struct err *err) {
    struct body {
        struct flow_clear c;
        struct api_strs task_ids;
        bool newest, prevent_running;
    } in = {.c = {.dry_run = true, .only_failed = true, .reset_runs = true, .start_us = FLOW_NO_TIME, .end_us = FLOW_NO_TIME}};
#define AT(field) offsetof(struct body, field)
    static const struct api_in_field fields[] = {
        {"dry_run", API_IN_BOOL, false, AT(c.dry_run)},
        {"start_date", API_IN_TIME, false, AT(c.start_us)},
        {"end_date", API_IN_TIME, false, AT(c.end_us)},
        {"only_failed", API_IN_BOOL, false, AT(c.only_failed)},
        {"only_running", API_IN_BOOL, false, AT(c.only_running)},
        {"reset_dag_runs", API_IN_BOOL, false, AT(c.reset_runs)},
        {"task_ids", API_IN_STRS, false, AT(task_ids)},
        {"dag_run_id", API_IN_STR, false, AT(c.run_id)},
        {"include_upstream", API_IN_BOOL, false, AT(c.include_upstream)},
        {"include_downstream", API_IN_BOOL, false, AT(c.include_downstream)},
        {"include_future", API_IN_BOOL, false, AT(c.include_future)},
        {"include_past", API_IN_BOOL, false, AT(c.include_past)},
        {"run_on_latest_version", API_IN_BOOL, false, AT(newest)},
        {"prevent_running_task", API_IN_BOOL, false, AT(prevent_running)},
    };
#undef AT
    struct flow *f = api_flow(r, err);
    struct flow_ti *tis;
    size_t n;
    enum err_code code = f == NULL ? err->code : api_body(r, fields, API_COUNT(fields), &in, NULL, err);
    if (code != ERR_OK) return code;
    if (in.newest || in.prevent_running) return err_set(err, ERR_NOT_SUPPORTED, "run_on_latest_version and prevent_running_task are not supported");
    in.c.task_ids = in.task_ids.p;
    in.c.n_task_ids = in.task_ids.n;
    code = flow_clear(f, httpd_param(r, "dag_id"), &in.c, r->arena, &tis, &n, err);
    return code == ERR_OK ? api_reply_list(r, "task_instances", api_tis(tis, n), (int64_t)n) : code;
}

// ---- logs -------------------------------------------------------------------------------------------------------------------------

// One line of a task's log as a StructuredLogMessage. Lines may be JSON objects with event and timestamp, or begin with a time.
static json_t *log_line(struct str line) {
    json_t *j = line.n > 0 && line.p[0] == '{' ? json_parse(line, NULL) : NULL;
    if (json_is_object(j) && json_is_string(json_object_get(j, "event"))) return j;
    json_decref(j);
    struct str first, rest;
    int64_t us;
    if (line.n > 0 && line.p[0] == '[') { // "[2026-01-31T12:00:00.000+0000] text"
        str_cut(str_n(line.p + 1, line.n - 1), ']', &first, &rest);
        if (api_time_parse(first, &us)) return json_pack("{s:o, s:o}", "timestamp", api_time(us), "event", json_of_str(str_trim(rest)));
    }
    str_cut(line, ' ', &first, &rest);
    if (api_time_parse(first, &us)) return json_pack("{s:o, s:o}", "timestamp", api_time(us), "event", json_of_str(rest));
    return json_pack("{s:o}", "event", json_of_str(line));
}

static json_t *log_lines(struct str text) {
    json_t *lines = json_array();
    struct str line;
    while (text.n > 0) {
        str_cut(text, '\n', &line, &text);
        json_array_append_new(lines, log_line(line));
    }
    return lines;
}

enum err_code http_log(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    const char *token = httpd_query(r, "token"), *accept = httpd_header(r, "Accept");
    int64_t number, offset = 0;
    struct str text;
    uint64_t next;
    bool end;
    enum err_code code = f == NULL ? err->code : check_map_index(r, err);
    if (code != ERR_OK) return code;
    if (!str_to_i64(str_c(httpd_param(r, "try_number")), &number) || number < 0 || number > INT32_MAX)
        return err_set(err, ERR_DATA, "path.try_number: must be a whole number, 0 or more");
    if (token != NULL && (!str_to_i64(str_c(token), &offset) || offset < 0))
        return err_set(err, ERR_INVALID, "Bad Signature. Please use only the tokens provided by the API.");
    code = flow_log(f, httpd_param(r, "dag_id"), httpd_param(r, "dag_run_id"), httpd_param(r, "task_id"), (int)number, (uint64_t)offset, r->arena,
                    &text, &next, &end, err);
    if (code != ERR_OK) return code;
    json_t *lines = log_lines(text);
    if (accept != NULL && strstr(accept, "ndjson") != NULL) {
        r->content_type = "application/x-ndjson";
        for (size_t i = 0; i < json_array_size(lines); i++) {
            json_write(json_array_get(lines, i), JSON_COMPACT, &r->out);
            buf_puts(&r->out, "\n");
        }
        json_decref(lines);
        return ERR_OK;
    }
    json_t *more = end ? json_null() : json_sprintf("%llu", (unsigned long long)next);
    return httpd_reply_json(r, 200, json_pack("{s:o, s:o}", "content", lines, "continuation_token", more));
}
