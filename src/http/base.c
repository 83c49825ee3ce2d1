// SPDX-License-Identifier: Apache-2.0
// Health, metrics, version, log-in, and the answer to what is not there.
#include "base/metrics.h"
#include "http/api.h"
#include "loop/metric_sources.h"

enum err_code http_healthz(struct httpd_request *r, struct err *err) {
    (void)err;
    return httpd_reply(r, 200, "text/plain; charset=utf-8", STR("ok\n"));
}

enum err_code http_metrics(struct httpd_request *r, struct err *err) {
    (void)err;
    r->content_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_render(&r->out);
    metric_sources_render(&r->out);
    return ERR_OK;
}

enum err_code http_version(struct httpd_request *r, struct err *err) {
    (void)err;
    return httpd_reply_json(r, 200, json_pack("{s:s, s:s}", "version", MILLRACE_AIRFLOW_VERSION, "git_version", "millrace " MILLRACE_VERSION));
}

static json_t *component(bool known, bool ok, const char *heartbeat_name, int64_t heartbeat_us) {
    json_t *o = json_pack("{s:o}", "status", known ? json_string(ok ? "healthy" : "unhealthy") : json_null());
    json_object_set_new(o, heartbeat_name, known && heartbeat_us > 0 ? api_time(heartbeat_us) : json_null());
    return o;
}

// While the server starts, or stops, the scheduler's state is not known: null, as Airflow answers for what does not run.
enum err_code http_monitor_health(struct httpd_request *r, struct err *err) {
    (void)err;
    struct flow *f = server_flow_now(api_door(r)->server);
    struct flow_health h = {0};
    if (f != NULL) flow_health(f, r->arena, &h);
    bool store_ok = f == NULL || h.problem == NULL || strstr(h.problem, "store") == NULL;
    json_t *o = json_pack("{s:{s:s}}", "metadatabase", "status", store_ok ? "healthy" : "unhealthy");
    json_object_set_new(o, "scheduler", component(f != NULL, h.scheduler_ok, "latest_scheduler_heartbeat", h.heartbeat_us));
    json_object_set_new(o, "triggerer", component(false, false, "latest_triggerer_heartbeat", 0));
    json_object_set_new(o, "dag_processor", component(f != NULL, h.python_ok, "latest_dag_processor_heartbeat", h.parser_heartbeat_us));
    return httpd_reply_json(r, 200, o);
}

static enum err_code reply_token(struct httpd_request *r, const char *user) {
    struct buf token;
    buf_init(&token, 0);
    auth_put_token(&api_door(r)->auth, user, &token);
    json_t *j = json_pack("{s:o}", "access_token", json_of_str(buf_str(&token)));
    buf_fini(&token);
    return httpd_reply_json(r, 201, j);
}

enum err_code http_token_all_admins(struct httpd_request *r, struct err *err) {
    if (!api_door(r)->auth.all_admins)
        return err_set(err, ERR_DENIED, "This method is only allowed if http.auth is all_admins; POST username and password instead");
    return reply_token(r, "Anonymous");
}

enum err_code http_token_create(struct httpd_request *r, struct err *err) {
    struct {
        const char *username, *password;
    } in = {0};
    static const struct api_in_field fields[] = {{"username", API_IN_STR, true, 0}, {"password", API_IN_STR, true, sizeof(char *)}};
    enum err_code code = api_body(r, fields, API_COUNT(fields), &in, NULL, err);
    if (code != ERR_OK) return code;
    const struct auth *a = &api_door(r)->auth;
    if (a->all_admins) return reply_token(r, in.username);
    if (!auth_password_ok(a, in.username, in.password)) return err_set(err, ERR_UNAUTHENTICATED, "Invalid credentials");
    return reply_token(r, in.username);
}

enum err_code http_not_supported(struct httpd_request *r, struct err *err) {
    return err_set(err, ERR_NOT_SUPPORTED, "%s %s is not supported by Millrace (docs/LIMITS.md)", r->method, r->path);
}
