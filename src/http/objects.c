// SPDX-License-Identifier: Apache-2.0
// Variables, connections, pools, XCom entries and event logs of the REST API. Request's thread; blocks on flow.
#include "http/api.h"

#include <stddef.h>

// ---- variables --------------------------------------------------------------------------------------------------------------------

static json_t *variable_json(const struct flow_variable *v) {
    return json_pack("{s:s, s:s, s:s?, s:b, s:n}", "key", v->key, "value", v->value == NULL ? "" : v->value, "description", v->description,
                     "is_encrypted", 0, "team_name");
}

static enum err_code reply_variable(struct httpd_request *r, struct flow *f, const char *key, int status, struct err *err) {
    struct flow_variable v;
    enum err_code code = flow_variable_get(f, key, r->arena, &v, err);
    return code == ERR_OK ? httpd_reply_json(r, status, variable_json(&v)) : code;
}

enum err_code http_variables(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_page page;
    struct flow_variable *variables;
    size_t n;
    int64_t total;
    enum err_code code = f == NULL ? err->code : api_page(r, &page, err);
    if (code == ERR_OK) code = flow_variables(f, api_pattern(r, "variable_key_pattern"), &page, r->arena, &variables, &n, &total, err);
    if (code != ERR_OK) return code;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, variable_json(&variables[i]));
    return api_reply_list(r, "variables", rows, total);
}

// A value that is not a string is kept as its JSON text, as Airflow does.
static const char *variable_value(struct httpd_request *r, const char *json) {
    json_t *j = json == NULL ? NULL : json_parse(str_c(json), NULL);
    const char *text = json_is_string(j) ? arena_strdup(r->arena, json_string_value(j)) : json;
    json_decref(j);
    return text;
}

static enum err_code put_variable(struct httpd_request *r, bool is_new, struct err *err) {
    struct body {
        struct flow_variable v;
        const char *team;
    } in = {0};
    static const struct api_in_field fields[] = {{"key", API_IN_STR, true, offsetof(struct body, v.key)},
                                                 {"value", API_IN_ANY, true, offsetof(struct body, v.value)},
                                                 {"description", API_IN_STR, false, offsetof(struct body, v.description)},
                                                 {"team_name", API_IN_STR, false, offsetof(struct body, team)}};
    struct flow *f = api_flow(r, err);
    struct flow_variable old;
    uint32_t given;
    const char *mask[HTTPD_QUERY_MAX];
    size_t n_mask = httpd_query_all(r, "update_mask", mask, HTTPD_QUERY_MAX);
    enum err_code code = f == NULL ? err->code : api_body(r, fields, API_COUNT(fields), &in, &given, err);
    if (code != ERR_OK) return code;
    if (in.team != NULL) return err_set(err, ERR_NOT_SUPPORTED, "teams are not supported");
    in.v.value = variable_value(r, in.v.value);
    if (!is_new) {
        const char *key = httpd_param(r, "variable_key");
        if (strcmp(in.v.key, key) != 0) return err_set(err, ERR_INVALID, "Invalid body, key from request body doesn't match uri parameter");
        code = flow_variable_get(f, key, r->arena, &old, err);
        if (code != ERR_OK) return code;
        bool value = n_mask == 0, description = n_mask == 0;
        for (size_t i = 0; i < n_mask; i++) value |= strcmp(mask[i], "value") == 0, description |= strcmp(mask[i], "description") == 0;
        if (!value) in.v.value = old.value;
        if (!description || (given & 4) == 0) in.v.description = old.description;
    }
    code = flow_variable_put(f, &in.v, is_new, err);
    return code == ERR_OK ? reply_variable(r, f, in.v.key, is_new ? 201 : 200, err) : code;
}

enum err_code http_variable_create(struct httpd_request *r, struct err *err) { return put_variable(r, true, err); }
enum err_code http_variable_patch(struct httpd_request *r, struct err *err) { return put_variable(r, false, err); }

enum err_code http_variable(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    return f == NULL ? err->code : reply_variable(r, f, httpd_param(r, "variable_key"), 200, err);
}

enum err_code http_variable_delete(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    enum err_code code = f == NULL ? err->code : flow_variable_delete(f, httpd_param(r, "variable_key"), err);
    return code == ERR_OK ? api_no_content(r) : code;
}

// ---- connections --------------------------------------------------------------------------------------------------------------------

// A password is never told; extra may hold secrets: its values under names that say so are masked.
static const char *mask_extra(struct arena *a, const char *extra) {
    static const char *const secret[] = {"password", "passwd", "secret", "token", "key", "passphrase", "authorization"};
    json_t *j = extra == NULL ? NULL : json_parse(str_c(extra), NULL);
    const char *name;
    json_t *value;
    void *next;
    if (!json_is_object(j)) {
        json_decref(j);
        return extra;
    }
    json_object_foreach_safe(j, next, name, value) {
        bool hide = false;
        for (size_t i = 0; i < API_COUNT(secret); i++) hide |= strcasestr(name, secret[i]) != NULL;
        if (hide && json_is_string(value)) json_object_set_new(j, name, json_string("***"));
    }
    const char *text = json_text(j, JSON_COMPACT, a).p;
    json_decref(j);
    return text;
}

static json_t *connection_json(struct arena *a, const struct flow_connection *c) {
    return json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:s?, s:o, s:s?, s:s?, s:n}", "connection_id", c->id, "conn_type", c->type == NULL ? "" : c->type,
                     "description", c->description, "host", c->host, "login", c->login, "schema", c->schema, "port",
                     c->port == 0 ? json_null() : json_integer(c->port), "password", c->password == NULL || *c->password == 0 ? c->password : "***",
                     "extra", mask_extra(a, c->extra), "team_name");
}

static enum err_code reply_connection(struct httpd_request *r, struct flow *f, const char *id, int status, struct err *err) {
    struct flow_connection c;
    enum err_code code = flow_connection_get(f, id, r->arena, &c, err);
    return code == ERR_OK ? httpd_reply_json(r, status, connection_json(r->arena, &c)) : code;
}

enum err_code http_connections(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_page page;
    struct flow_connection *connections;
    size_t n;
    int64_t total;
    enum err_code code = f == NULL ? err->code : api_page(r, &page, err);
    if (code == ERR_OK) code = flow_connections(f, api_pattern(r, "connection_id_pattern"), &page, r->arena, &connections, &n, &total, err);
    if (code != ERR_OK) return code;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, connection_json(r->arena, &connections[i]));
    return api_reply_list(r, "connections", rows, total);
}

struct connection_body {
    struct flow_connection c;
    const char *team;
};
#define AT(field) offsetof(struct connection_body, field)
static const struct api_in_field connection_fields[] = {
    {"connection_id", API_IN_STR, true, AT(c.id)},           {"conn_type", API_IN_STR, true, AT(c.type)},
    {"description", API_IN_STR, false, AT(c.description)},   {"host", API_IN_STR, false, AT(c.host)},
    {"login", API_IN_STR, false, AT(c.login)},               {"schema", API_IN_STR, false, AT(c.schema)},
    {"port", API_IN_INT, false, AT(c.port)},                 {"password", API_IN_STR, false, AT(c.password)},
    {"extra", API_IN_STR, false, AT(c.extra)},               {"team_name", API_IN_STR, false, AT(team)},
};
#undef AT

static bool connection_id_ok(const char *id) { // Airflow's rule
    size_t n = strlen(id);
    for (const char *p = id; *p != 0; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("_-.#!()/:", *p) != NULL)) return false;
    return n >= 1 && n <= 200;
}

enum err_code http_connection_create(struct httpd_request *r, struct err *err) {
    struct connection_body in = {0};
    struct flow *f = api_flow(r, err);
    enum err_code code = f == NULL ? err->code : api_body(r, connection_fields, API_COUNT(connection_fields), &in, NULL, err);
    if (code != ERR_OK) return code;
    if (in.team != NULL) return err_set(err, ERR_NOT_SUPPORTED, "teams are not supported");
    if (!connection_id_ok(in.c.id)) return err_set(err, ERR_DATA, "body.connection_id: letters, digits and _-.#!()/: are allowed, at most 200");
    code = flow_connection_put(f, &in.c, true, err);
    return code == ERR_OK ? reply_connection(r, f, in.c.id, 201, err) : code;
}

// Fields not in the body, and not in update_mask when there is one, keep what they were.
enum err_code http_connection_patch(struct httpd_request *r, struct err *err) {
    struct connection_body in = {0}, now = {0};
    struct flow *f = api_flow(r, err);
    const char *mask[HTTPD_QUERY_MAX], *id = httpd_param(r, "connection_id");
    size_t n_mask = httpd_query_all(r, "update_mask", mask, HTTPD_QUERY_MAX);
    uint32_t given;
    enum err_code code = f == NULL ? err->code : api_body(r, connection_fields, API_COUNT(connection_fields), &in, &given, err);
    if (code != ERR_OK) return code;
    if (strcmp(in.c.id, id) != 0) return err_set(err, ERR_INVALID, "The connection_id in the request body does not match the URL parameter");
    code = flow_connection_get(f, id, r->arena, &now.c, err);
    for (size_t i = 1; code == ERR_OK && i < API_COUNT(connection_fields) - 1; i++) {
        const struct api_in_field *field = &connection_fields[i];
        bool wanted = n_mask == 0;
        for (size_t k = 0; k < n_mask; k++) wanted |= strcmp(mask[k], field->name) == 0;
        if (!wanted || (given & 1u << i) == 0) continue;
        memcpy((char *)&now + field->at, (char *)&in + field->at, field->kind == API_IN_INT ? sizeof(int) : sizeof(char *));
    }
    if (code == ERR_OK) code = flow_connection_put(f, &now.c, false, err);
    return code == ERR_OK ? reply_connection(r, f, id, 200, err) : code;
}

enum err_code http_connection(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    return f == NULL ? err->code : reply_connection(r, f, httpd_param(r, "connection_id"), 200, err);
}

enum err_code http_connection_delete(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    enum err_code code = f == NULL ? err->code : flow_connection_delete(f, httpd_param(r, "connection_id"), err);
    return code == ERR_OK ? api_no_content(r) : code;
}

// ---- pools ----------------------------------------------------------------------------------------------------------------------------

static json_t *pool_json(const struct flow_pool *p) {
    return json_pack("{s:s, s:i, s:s?, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:n}", "name", p->name, "slots", p->slots, "description", p->description,
                     "include_deferred", (int)p->include_deferred, "occupied_slots", p->running + p->queued, "running_slots", p->running,
                     "queued_slots", p->queued, "scheduled_slots", p->scheduled, "open_slots", p->open, "deferred_slots", 0, "team_name");
}

static enum err_code reply_pool(struct httpd_request *r, struct flow *f, const char *name, int status, struct err *err) {
    struct flow_pool p;
    enum err_code code = flow_pool_get(f, name, r->arena, &p, err);
    return code == ERR_OK ? httpd_reply_json(r, status, pool_json(&p)) : code;
}

enum err_code http_pools(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_page page;
    struct flow_pool *pools;
    size_t n;
    int64_t total;
    enum err_code code = f == NULL ? err->code : api_page(r, &page, err);
    if (code == ERR_OK) code = flow_pools(f, api_pattern(r, "pool_name_pattern"), &page, r->arena, &pools, &n, &total, err);
    if (code != ERR_OK) return code;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, pool_json(&pools[i]));
    return api_reply_list(r, "pools", rows, total);
}

struct pool_body {
    struct flow_pool p;
    const char *team;
};
#define AT(field) offsetof(struct pool_body, field)

enum err_code http_pool_create(struct httpd_request *r, struct err *err) {
    static const struct api_in_field fields[] = {{"name", API_IN_STR, true, AT(p.name)},
                                                 {"slots", API_IN_INT, true, AT(p.slots)},
                                                 {"description", API_IN_STR, false, AT(p.description)},
                                                 {"include_deferred", API_IN_BOOL, false, AT(p.include_deferred)},
                                                 {"team_name", API_IN_STR, false, AT(team)}};
    struct pool_body in = {0};
    struct flow *f = api_flow(r, err);
    enum err_code code = f == NULL ? err->code : api_body(r, fields, API_COUNT(fields), &in, NULL, err);
    if (code != ERR_OK) return code;
    if (in.team != NULL) return err_set(err, ERR_NOT_SUPPORTED, "teams are not supported");
    if (in.p.slots < -1) return err_set(err, ERR_DATA, "body.slots: must be -1 (no limit) or more");
    code = flow_pool_put(f, &in.p, true, err);
    return code == ERR_OK ? reply_pool(r, f, in.p.name, 201, err) : code;
}

enum err_code http_pool_patch(struct httpd_request *r, struct err *err) {
    static const struct api_in_field fields[] = {{"pool", API_IN_STR, false, AT(p.name)},
                                                 {"slots", API_IN_INT, false, AT(p.slots)},
                                                 {"description", API_IN_STR, false, AT(p.description)},
                                                 {"include_deferred", API_IN_BOOL, false, AT(p.include_deferred)},
                                                 {"team_name", API_IN_STR, false, AT(team)}};
    const char *name = httpd_param(r, "pool_name");
    struct pool_body now = {0};
    struct flow *f = api_flow(r, err);
    enum err_code code = f == NULL ? err->code : flow_pool_get(f, name, r->arena, &now.p, err);
    if (code == ERR_OK) code = api_body(r, fields, API_COUNT(fields), &now, NULL, err); // over what is there
    if (code != ERR_OK) return code;
    if (now.team != NULL) return err_set(err, ERR_NOT_SUPPORTED, "teams are not supported");
    if (strcmp(now.p.name, name) != 0) return err_set(err, ERR_INVALID, "Invalid body, pool name from request body doesn't match uri parameter");
    if (now.p.slots < -1) return err_set(err, ERR_DATA, "body.slots: must be -1 (no limit) or more");
    code = flow_pool_put(f, &now.p, false, err);
    return code == ERR_OK ? reply_pool(r, f, name, 200, err) : code;
}
#undef AT

enum err_code http_pool(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    return f == NULL ? err->code : reply_pool(r, f, httpd_param(r, "pool_name"), 200, err);
}

enum err_code http_pool_delete(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    enum err_code code = f == NULL ? err->code : flow_pool_delete(f, httpd_param(r, "pool_name"), err);
    return code == ERR_OK ? api_no_content(r) : code;
}

// ---- XCom -------------------------------------------------------------------------------------------------------------------------------

#define AT(field) offsetof(struct flow_xcom, field)
static const struct api_field xcom_fields[] = {
    {"key", API_STR, AT(key), NULL},
    {"timestamp", API_TIME, AT(timestamp_us), NULL},
    {"logical_date", API_TIME, AT(logical_us), NULL},
    {"run_after", API_TIME, AT(run_after_us), NULL},
    {"task_id", API_STR, AT(task_id), NULL},
    {"dag_id", API_STR, AT(dag_id), NULL},
    {"run_id", API_STR, AT(run_id), NULL},
    {"dag_display_name", API_STR, AT(dag_id), NULL},
    {"task_display_name", API_STR, AT(task_id), NULL},
};
#undef AT

static json_t *xcom_json(const struct flow_xcom *x) {
    json_t *o = api_object(xcom_fields, API_COUNT(xcom_fields), x);
    json_object_set_new(o, "map_index", json_integer(-1));
    return o;
}

enum err_code http_xcoms(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_page page;
    struct flow_xcom *xcoms;
    size_t n;
    int64_t total;
    const char *key = httpd_query(r, "xcom_key"), *task = httpd_param(r, "task_id"), *run = httpd_param(r, "dag_run_id");
    enum err_code code = f == NULL ? err->code : api_page(r, &page, err);
    if (code == ERR_OK) code = flow_xcoms(f, httpd_param(r, "dag_id"), run, task, &page, r->arena, &xcoms, &n, &total, err);
    if (code != ERR_OK) return code;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        if (key != NULL && strcmp(xcoms[i].key, key) != 0) total--;
        else json_array_append_new(rows, xcom_json(&xcoms[i]));
    }
    return api_reply_list(r, "xcom_entries", rows, total);
}

static enum err_code reply_xcom(struct httpd_request *r, struct flow *f, const char *key, int status, bool as_text, struct err *err) {
    struct flow_xcom x;
    enum err_code code = flow_xcom_get(f, httpd_param(r, "dag_id"), httpd_param(r, "dag_run_id"), httpd_param(r, "task_id"), key, r->arena, &x, err);
    if (code != ERR_OK) return code;
    json_t *o = xcom_json(&x), *value = x.value_json == NULL ? NULL : json_parse(str_c(x.value_json), NULL);
    if (as_text) {
        json_object_set_new(o, "value", x.value_json == NULL ? json_null() : json_string(x.value_json));
        json_decref(value);
    } else {
        json_object_set_new(o, "value", value == NULL ? json_null() : value);
    }
    return httpd_reply_json(r, status, o);
}

enum err_code http_xcom(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    bool stringify = false, deserialize = false;
    enum err_code code = f == NULL ? err->code : api_query_bool(r, "stringify", &stringify, err);
    if (code == ERR_OK) code = api_query_bool(r, "deserialize", &deserialize, err);
    if (code != ERR_OK) return code;
    if (deserialize) return err_set(err, ERR_INVALID, "XCom deserialization is disabled in configuration."); // Airflow's answer by default
    return reply_xcom(r, f, httpd_param(r, "xcom_key"), 200, stringify, err);
}

static enum err_code put_xcom(struct httpd_request *r, bool is_new, struct err *err) {
    struct body {
        const char *key, *value;
        int map_index;
    } in = {.map_index = -1};
    static const struct api_in_field fields[] = {{"value", API_IN_ANY, true, offsetof(struct body, value)},
                                                 {"map_index", API_IN_INT, false, offsetof(struct body, map_index)},
                                                 {"key", API_IN_STR, true, offsetof(struct body, key)}};
    struct flow *f = api_flow(r, err);
    struct flow_xcom old;
    const char *dag_id = httpd_param(r, "dag_id"), *run_id = httpd_param(r, "dag_run_id"), *task_id = httpd_param(r, "task_id");
    enum err_code code = f == NULL ? err->code : api_body(r, fields, API_COUNT(fields) - !is_new, &in, NULL, err);
    if (code != ERR_OK) return code;
    if (in.map_index != -1) return err_set(err, ERR_NOT_FOUND, "there is no mapped task instance %d", in.map_index);
    const char *key = is_new ? in.key : httpd_param(r, "xcom_key");
    code = flow_xcom_get(f, dag_id, run_id, task_id, key, r->arena, &old, err);
    if (is_new && code == ERR_OK) return err_set(err, ERR_EXISTS, "The XCom with key: `%s` already exists", key);
    if (!is_new && code != ERR_OK) return code;
    code = flow_xcom_set(f, dag_id, run_id, task_id, key, in.value, err);
    return code == ERR_OK ? reply_xcom(r, f, key, is_new ? 201 : 200, false, err) : code;
}

enum err_code http_xcom_create(struct httpd_request *r, struct err *err) { return put_xcom(r, true, err); }
enum err_code http_xcom_patch(struct httpd_request *r, struct err *err) { return put_xcom(r, false, err); }

enum err_code http_xcom_delete(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    if (f == NULL) return err->code;
    enum err_code code = flow_xcom_delete(f, httpd_param(r, "dag_id"), httpd_param(r, "dag_run_id"), httpd_param(r, "task_id"),
                                          httpd_param(r, "xcom_key"), err);
    return code == ERR_OK ? api_no_content(r) : code;
}

// ---- event logs ---------------------------------------------------------------------------------------------------------------------------

#define AT(field) offsetof(struct flow_event, field)
static const struct api_field event_fields[] = {
    {"event_log_id", API_I64, AT(id), NULL},
    {"when", API_TIME, AT(when_us), NULL},
    {"dag_id", API_STR, AT(dag_id), NULL},
    {"task_id", API_STR, AT(task_id), NULL},
    {"run_id", API_STR, AT(run_id), NULL},
    {"map_index", API_NULL, 0, NULL},
    {"event", API_STR, AT(event), NULL},
    {"logical_date", API_TIME, AT(logical_us), NULL},
    {"owner", API_STR, AT(owner), NULL},
    {"extra", API_STR, AT(extra), NULL},
    {"dag_display_name", API_STR, AT(dag_id), NULL},
    {"task_display_name", API_STR, AT(task_id), NULL},
};
#undef AT

static json_t *event_json(const struct flow_event *e) {
    json_t *o = api_object(event_fields, API_COUNT(event_fields), e);
    json_object_set_new(o, "try_number", e->try_number == 0 ? json_null() : json_integer(e->try_number));
    return o;
}

enum err_code http_event_logs(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_event_filter filter = {.dag_id = httpd_query(r, "dag_id"), .run_id = httpd_query(r, "run_id"), .task_id = httpd_query(r, "task_id"),
                                       .event = httpd_query(r, "event")};
    struct flow_page page;
    struct flow_event *events;
    size_t n;
    int64_t total;
    enum err_code code = f == NULL ? err->code : api_page(r, &page, err);
    if (code == ERR_OK) code = flow_events(f, &filter, &page, r->arena, &events, &n, &total, err);
    if (code != ERR_OK) return code;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, event_json(&events[i]));
    return api_reply_list(r, "event_logs", rows, total);
}

enum err_code http_event_log(struct httpd_request *r, struct err *err) {
    struct flow *f = api_flow(r, err);
    struct flow_event e;
    int64_t id;
    if (f == NULL) return err->code;
    if (!str_to_i64(str_c(httpd_param(r, "event_log_id")), &id)) return err_set(err, ERR_DATA, "path.event_log_id: must be a whole number");
    enum err_code code = flow_event_get(f, id, r->arena, &e, err);
    return code == ERR_OK ? httpd_reply_json(r, 200, event_json(&e)) : code;
}
