// SPDX-License-Identifier: Apache-2.0
// DAGs of the REST API: list, get, pause, delete; their tasks, versions, sources; import errors. Request's thread; blocks on flow.
#include "http/api.h"

#include <stddef.h>

#define AT(field) offsetof(struct flow_dag, field)
// DAGResponse and DAGDetailsResponse share these; the latter adds more.
static const struct api_field dag_fields[] = {
    {"dag_id", API_STR, AT(dag_id), NULL},
    {"dag_display_name", API_STR, AT(display_name), NULL},
    {"is_paused", API_BOOL, AT(is_paused), NULL},
    {"is_stale", API_BOOL, AT(is_stale), NULL},
    {"last_parsed_time", API_TIME, AT(last_parsed_us), NULL},
    {"last_parse_duration", API_DURATION, AT(last_parse_duration_us), NULL},
    {"last_expired", API_TIME, AT(last_expired_us), NULL},
    {"bundle_name", API_CONST, 0, "dags-folder"},
    {"bundle_version", API_NULL, 0, NULL},
    {"relative_fileloc", API_STR, AT(relative_fileloc), NULL},
    {"fileloc", API_STR, AT(fileloc), NULL},
    {"file_token", API_STR, AT(fileloc), NULL},
    {"description", API_STR, AT(description), NULL},
    {"timetable_summary", API_STR, AT(timetable_summary), NULL},
    {"timetable_description", API_STR, AT(timetable_description), NULL},
    {"timetable_partitioned", API_FALSE, 0, NULL},
    {"max_active_tasks", API_INT, AT(max_active_tasks), NULL},
    {"max_active_runs", API_INT, AT(max_active_runs), NULL},
    {"max_consecutive_failed_dag_runs", API_INT, AT(max_consecutive_failed_runs), NULL},
    {"has_task_concurrency_limits", API_BOOL, AT(has_task_concurrency_limits), NULL},
    {"has_import_errors", API_BOOL, AT(has_import_errors), NULL},
    {"next_dagrun_logical_date", API_TIME, AT(next_logical_us), NULL},
    {"next_dagrun_data_interval_start", API_TIME, AT(next_interval_start_us), NULL},
    {"next_dagrun_data_interval_end", API_TIME, AT(next_interval_end_us), NULL},
    {"next_dagrun_run_after", API_TIME, AT(next_run_after_us), NULL},
    {"allowed_run_types", API_NULL, 0, NULL},
};
static const struct api_field detail_fields[] = {
    {"catchup", API_BOOL, AT(catchup), NULL},
    {"concurrency", API_INT, AT(max_active_tasks), NULL},
    {"doc_md", API_STR, AT(doc_md), NULL},
    {"start_date", API_TIME, AT(start_us), NULL},
    {"end_date", API_TIME, AT(end_us), NULL},
    {"is_paused_upon_creation", API_NULL, 0, NULL},
    {"params", API_JSON, AT(params_json), NULL},
    {"default_args", API_JSON, AT(default_args_json), NULL},
    {"render_template_as_native_obj", API_BOOL, AT(render_native), NULL},
    {"template_search_path", API_NULL, 0, NULL},
    {"timezone", API_STR, AT(timezone), NULL},
    {"last_parsed", API_TIME, AT(last_parsed_us), NULL},
    {"active_runs_count", API_INT, AT(active_runs), NULL},
    {"asset_expression", API_NULL, 0, NULL},
    {"owner_links", API_NULL, 0, NULL},
    {"is_favorite", API_FALSE, 0, NULL},
};
#undef AT

static json_t *dag_json(const struct flow_dag *d) {
    json_t *o = api_object(dag_fields, API_COUNT(dag_fields), d), *tags = json_array();
    for (size_t i = 0; i < d->n_tags; i++)
        json_array_append_new(tags, json_pack("{s:s, s:s, s:s}", "name", d->tags[i], "dag_id", d->dag_id, "dag_display_name", d->display_name));
    json_object_set_new(o, "tags", tags);
    json_object_set_new(o, "owners", api_strings(d->owners, d->n_owners));
    return o;
}

// An ISO 8601 duration, "P1DT2H3M4.5S": how pydantic writes a timedelta.
static json_t *duration_json(int64_t us) {
    struct buf b;
    if (us == FLOW_NO_TIME) return json_null();
    buf_init(&b, 128);
    int64_t s = us / 1000000;
    buf_puts(&b, "P");
    if (s >= 86400) buf_printf(&b, "%lldD", (long long)(s / 86400));
    if (us % 86400000000 != 0 || s == 0) {
        buf_puts(&b, "T");
        if (s % 86400 >= 3600) buf_printf(&b, "%lldH", (long long)(s % 86400 / 3600));
        if (s % 3600 >= 60) buf_printf(&b, "%lldM", (long long)(s % 3600 / 60));
        if (us % 1000000 != 0) buf_printf(&b, "%lld.%06lldS", (long long)(s % 60), (long long)(us % 1000000));
        else if (s % 60 != 0 || s == 0) buf_printf(&b, "%lldS", (long long)(s % 60));
    }
    json_t *j = json_of_str(buf_str(&b));
    buf_fini(&b);
    return j;
}

json_t *api_dag_version(const struct flow_version *v) {
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:n, s:o, s:n}", "id", v->uuid, "version_number", v->number, "dag_id", v->dag_id,
                     "dag_display_name", v->dag_id, "bundle_name", "dags-folder", "bundle_version", "created_at", api_time(v->created_us),
                     "bundle_url");
}

static json_t *details_json(const struct flow_dag *d) {
    json_t *o = dag_json(d), *more = api_object(detail_fields, API_COUNT(detail_fields), d);
    json_object_update(o, more);
    json_decref(more);
    json_object_set_new(o, "dag_run_timeout", duration_json(d->dagrun_timeout_us));
    struct flow_version v = {
        .id = d->version_id, .uuid = d->version_uuid, .dag_id = d->dag_id, .number = d->version_number, .created_us = d->version_created_us};
    json_object_set_new(o, "latest_dag_version", v.uuid == NULL ? json_null() : api_dag_version(&v));
    return o;
}

// ---- DAGs -----------------------------------------------------------------------------------------------------------------------

static enum err_code dag_filter(struct httpd_request *r, struct flow_dag_filter *filter, struct err *err) {
    const char *tags[2];
    bool paused = false, exclude_stale = true;
    *filter = (struct flow_dag_filter){.dag_id_pattern = api_pattern(r, "dag_id_pattern"), .paused = -1};
    enum err_code code = api_query_bool(r, "paused", &paused, err);
    if (code == ERR_OK) code = api_query_bool(r, "exclude_stale", &exclude_stale, err);
    if (code != ERR_OK) return code;
    if (httpd_query(r, "paused") != NULL) filter->paused = paused;
    filter->with_stale = !exclude_stale;
    size_t n = httpd_query_all(r, "tags", tags, 2);
    if (n > 1) return err_set(err, ERR_NOT_SUPPORTED, "filtering by more than one tag is not supported");
    if (n == 1) filter->tag = tags[0];
    return ERR_OK;
}

static enum err_code list_dags(struct httpd_request *r, struct flow *f, struct flow_dag **dags, size_t *n, int64_t *total, struct err *err) {
    struct flow_dag_filter filter;
    struct flow_page page;
    enum err_code code = dag_filter(r, &filter, err);
    if (code == ERR_OK) code = api_page(r, &page, err);
    return code == ERR_OK ? flow_dags(f, &filter, &page, r->arena, dags, n, total, err) : code;
}

static enum err_code reply_dags(struct httpd_request *r, const struct flow_dag *dags, size_t n, int64_t total) {
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, dag_json(&dags[i]));
    return api_reply_list(r, "dags", rows, total);
}

enum err_code http_dags(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_dag *dags;
    size_t n;
    int64_t total;
    enum err_code code = f == NULL ? err->code : list_dags(r, f, &dags, &n, &total, err);
    return code == ERR_OK ? reply_dags(r, dags, n, total) : code;
}

static enum err_code reply_dag(struct httpd_request *r, struct flow *f, bool details, struct err *err) {
    struct flow_dag d;
    enum err_code code = flow_dag_get(f, httpd_param(r, "dag_id"), r->arena, &d, err);
    return code == ERR_OK ? httpd_reply_json(r, 200, details ? details_json(&d) : dag_json(&d)) : code;
}

enum err_code http_dag(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    return f == NULL ? err->code : reply_dag(r, f, false, err);
}

enum err_code http_dag_details(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    return f == NULL ? err->code : reply_dag(r, f, true, err);
}

static enum err_code patch_body(struct httpd_request *r, bool *paused, struct err *err) {
    static const struct api_in_field fields[] = {{"is_paused", API_IN_BOOL, true, 0}};
    return api_body(r, fields, 1, paused, NULL, err);
}

enum err_code http_dag_patch(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    bool paused;
    enum err_code code = f == NULL ? err->code : patch_body(r, &paused, err);
    if (code == ERR_OK) code = flow_dag_pause(f, httpd_param(r, "dag_id"), paused, err);
    return code == ERR_OK ? reply_dag(r, f, false, err) : code;
}

enum err_code http_dags_patch(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    bool paused;
    struct flow_dag *dags;
    size_t n = 0;
    int64_t total;
    enum err_code code = f == NULL ? err->code : patch_body(r, &paused, err);
    if (code == ERR_OK) code = list_dags(r, f, &dags, &n, &total, err);
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        code = flow_dag_pause(f, dags[i].dag_id, paused, err);
        dags[i].is_paused = paused;
    }
    return code == ERR_OK ? reply_dags(r, dags, n, total) : code;
}

enum err_code http_dag_delete(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    enum err_code code = f == NULL ? err->code : flow_dag_delete(f, httpd_param(r, "dag_id"), err);
    return code == ERR_OK ? httpd_reply_json(r, 200, json_object()) : code;
}

enum err_code http_dag_tags(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_dag_filter filter = {.paused = -1};
    struct flow_page page = {.limit = FLOW_LIST_MAX}, asked;
    struct flow_dag *dags;
    size_t n;
    int64_t total;
    enum err_code code = f == NULL ? err->code : api_page(r, &asked, err);
    if (code == ERR_OK) code = flow_dags(f, &filter, &page, r->arena, &dags, &n, &total, err);
    if (code != ERR_OK) return code;
    json_t *seen = json_object(), *rows = json_array();
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < dags[i].n_tags; k++) json_object_set_new(seen, dags[i].tags[k], json_true());
    struct buf sorted; // by name: through the writer that sorts keys
    buf_init(&sorted, 0);
    json_write(seen, JSON_SORT_KEYS | JSON_COMPACT, &sorted);
    json_decref(seen);
    seen = json_parse(buf_str(&sorted), NULL);
    buf_fini(&sorted);
    const char *name;
    json_t *value;
    int64_t at = 0;
    json_object_foreach(seen, name, value) {
        (void)value;
        if (at >= asked.offset && at < asked.offset + asked.limit) json_array_append_new(rows, json_string(name));
        at++;
    }
    json_decref(seen);
    return api_reply_list(r, "tags", rows, at);
}

// ---- tasks of a DAG -------------------------------------------------------------------------------------------------------------

#define AT(field) offsetof(struct flow_task, field)
static const struct api_field task_fields[] = {
    {"task_id", API_STR, AT(task_id), NULL},
    {"task_display_name", API_STR, AT(display_name), NULL},
    {"owner", API_STR, AT(owner), NULL},
    {"start_date", API_TIME, AT(start_us), NULL},
    {"end_date", API_TIME, AT(end_us), NULL},
    {"trigger_rule", API_STR, AT(trigger_rule), NULL},
    {"depends_on_past", API_BOOL, AT(depends_on_past), NULL},
    {"wait_for_downstream", API_BOOL, AT(wait_for_downstream), NULL},
    {"retries", API_INT, AT(retries), NULL},
    {"queue", API_STR, AT(queue), NULL},
    {"pool", API_STR, AT(pool), NULL},
    {"pool_slots", API_INT, AT(pool_slots), NULL},
    {"retry_exponential_backoff", API_DOUBLE, AT(retry_exponential), NULL},
    {"priority_weight", API_I64, AT(priority_weight), NULL},
    {"weight_rule", API_STR, AT(weight_rule), NULL},
    {"ui_color", API_CONST, 0, "#fff"},
    {"ui_fgcolor", API_CONST, 0, "#000"},
    {"doc_md", API_STR, AT(doc_md), NULL},
    {"operator_name", API_STR, AT(operator_name), NULL},
    {"params", API_JSON, AT(params_json), NULL},
    {"is_mapped", API_FALSE, 0, NULL},
};
#undef AT

static json_t *timedelta_json(int64_t us) {
    if (us == FLOW_NO_TIME) return json_null();
    return json_pack("{s:s, s:I, s:I, s:I}", "__type", "TimeDelta", "days", (json_int_t)(us / 86400000000), "seconds",
                     (json_int_t)(us / 1000000 % 86400), "microseconds", (json_int_t)(us % 1000000));
}

static json_t *task_json(const struct flow_task *t) {
    json_t *o = api_object(task_fields, API_COUNT(task_fields), t);
    json_object_set_new(o, "class_ref", json_pack("{s:s?, s:s?}", "module_path", t->class_module, "class_name", t->class_name));
    json_object_set_new(o, "execution_timeout", timedelta_json(t->execution_timeout_us));
    json_object_set_new(o, "retry_delay", timedelta_json(t->retry_delay_us));
    json_object_set_new(o, "template_fields", api_strings(t->template_fields, t->n_template_fields));
    json_object_set_new(o, "downstream_task_ids", api_strings(t->downstream, t->n_downstream));
    json_object_set_new(o, "extra_links", json_array());
    return o;
}

static enum err_code get_tasks(struct httpd_request *r, struct flow_task **tasks, size_t *n, struct err *err) {
    struct flow *f = api_flow(r, err);
    return f == NULL ? err->code : flow_dag_tasks(f, httpd_param(r, "dag_id"), 0, r->arena, tasks, n, err);
}

enum err_code http_tasks(struct httpd_request *r, struct err *err) {
    struct flow_task *tasks;
    size_t n;
    enum err_code code = get_tasks(r, &tasks, &n, err);
    if (code != ERR_OK) return code;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, task_json(&tasks[i]));
    return api_reply_list(r, "tasks", rows, (int64_t)n);
}

enum err_code http_task(struct httpd_request *r, struct err *err) {
    struct flow_task *tasks;
    size_t n;
    const char *id = httpd_param(r, "task_id");
    enum err_code code = get_tasks(r, &tasks, &n, err);
    if (code != ERR_OK) return code;
    for (size_t i = 0; i < n; i++)
        if (strcmp(tasks[i].task_id, id) == 0) return httpd_reply_json(r, 200, task_json(&tasks[i]));
    return err_set(err, ERR_NOT_FOUND, "Task with id %s was not found", id);
}

// ---- versions, sources, import errors ---------------------------------------------------------------------------------------------

enum err_code http_dag_versions(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_page page;
    struct flow_version *versions;
    size_t n;
    int64_t total;
    enum err_code code = f == NULL ? err->code : api_page(r, &page, err);
    if (code == ERR_OK) code = flow_dag_versions(f, httpd_param(r, "dag_id"), &page, r->arena, &versions, &n, &total, err);
    if (code != ERR_OK) return code;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, api_dag_version(&versions[i]));
    return api_reply_list(r, "dag_versions", rows, total);
}

enum err_code http_dag_version(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_page page = {.limit = FLOW_LIST_MAX};
    struct flow_version *versions;
    size_t n;
    int64_t total, number;
    if (f == NULL) return err->code;
    if (!str_to_i64(str_c(httpd_param(r, "version_number")), &number)) return err_set(err, ERR_DATA, "path.version_number: must be a whole number");
    enum err_code code = flow_dag_versions(f, httpd_param(r, "dag_id"), &page, r->arena, &versions, &n, &total, err);
    if (code != ERR_OK) return code;
    for (size_t i = 0; i < n; i++)
        if (versions[i].number == number) return httpd_reply_json(r, 200, api_dag_version(&versions[i]));
    return err_set(err, ERR_NOT_FOUND, "The DagVersion with dag_id: `%s` and version_number: `%lld` was not found", httpd_param(r, "dag_id"),
                   (long long)number);
}

enum err_code http_dag_source(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    int64_t version = 0;
    struct str source;
    int number;
    const char *dag_id = httpd_param(r, "dag_id"), *accept = httpd_header(r, "Accept");
    enum err_code code = f == NULL ? err->code : api_query_i64(r, "version_number", 1, INT32_MAX, &version, err);
    if (code == ERR_OK) code = flow_dag_source(f, dag_id, (int)version, r->arena, &source, &number, err);
    if (code != ERR_OK) return code;
    if (accept != NULL && strncmp(accept, "text/plain", 10) == 0) return httpd_reply(r, 200, "text/plain; charset=utf-8", source);
    return httpd_reply_json(r, 200, json_pack("{s:o, s:s, s:i, s:s}", "content", json_of_str(source), "dag_id", dag_id, "version_number", number,
                                              "dag_display_name", dag_id));
}

static json_t *import_error_json(const struct flow_import_error *e) {
    return json_pack("{s:I, s:o, s:s, s:s, s:s?}", "import_error_id", (json_int_t)e->id, "timestamp", api_time(e->timestamp_us), "filename",
                     e->filename, "bundle_name", "dags-folder", "stack_trace", e->stack_trace);
}

enum err_code http_import_errors(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_page page;
    struct flow_import_error *errors;
    size_t n;
    int64_t total;
    enum err_code code = f == NULL ? err->code : api_page(r, &page, err);
    if (code == ERR_OK) code = flow_import_errors(f, &page, r->arena, &errors, &n, &total, err);
    if (code != ERR_OK) return code;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, import_error_json(&errors[i]));
    return api_reply_list(r, "import_errors", rows, total);
}

enum err_code http_import_error(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_page page = {.limit = FLOW_LIST_MAX};
    struct flow_import_error *errors;
    size_t n;
    int64_t total, id;
    if (f == NULL) return err->code;
    if (!str_to_i64(str_c(httpd_param(r, "import_error_id")), &id)) return err_set(err, ERR_DATA, "path.import_error_id: must be a whole number");
    enum err_code code = flow_import_errors(f, &page, r->arena, &errors, &n, &total, err);
    if (code != ERR_OK) return code;
    for (size_t i = 0; i < n; i++)
        if (errors[i].id == id) return httpd_reply_json(r, 200, import_error_json(&errors[i]));
    return err_set(err, ERR_NOT_FOUND, "The ImportError with import_error_id: `%lld` was not found", (long long)id);
}

enum err_code http_dag_warnings(struct httpd_request *r, struct err *err) {
    (void)err; // none are found by our parser: what Airflow warns of is an import error here
    return api_reply_list(r, "dag_warnings", json_array(), 0);
}
