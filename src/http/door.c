// SPDX-License-Identifier: Apache-2.0
// The door itself: opens the HTTP server over the table of operations, guards it, and writes errors as FastAPI does.
#include "http/door.h"

#include "base/log.h"
#include "http/api.h"

static const struct httpd_route routes[] = {
#define ROUTE(method, pattern, handler, queries) {method, pattern, handler, queries},
#include "http/routes.def"
#undef ROUTE
};

struct flow *api_flow(const struct httpd_request *r, struct err *err) {
    struct flow *f = server_flow(api_door(r)->server);
    if (f == NULL) err_set(err, ERR_CLOSED, "the server is stopping");
    return f;
}

// ---- guard --------------------------------------------------------------------------------------------------------------------

static bool is_open_to_all(const struct httpd_request *r) {
    static const char *const open[] = {"/healthz", "/metrics", "/auth/token", "/auth/token/cli", "/api/v2/version", "/api/v2/monitor/health"};
    for (size_t i = 0; i < API_COUNT(open); i++)
        if (strcmp(r->route->pattern, open[i]) == 0) return true;
    return false;
}

// Without a log-in, a page in the user's browser must not be able to use the door: its Origin is another, and a name that was
// rebound to 127.0.0.1 shows in Host.
static enum err_code check_browser(const struct httpd_request *r, struct err *err) {
    const char *host = httpd_header(r, "Host"), *origin = httpd_header(r, "Origin");
    if (host != NULL && !httpd_is_loopback(str_c(host)))
        return err_set(err, ERR_DENIED, "Host %.60s is not this machine; set http.auth=users to serve others", host);
    if (origin == NULL) return ERR_OK;
    struct str o = str_c(origin);
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < API_COUNT(schemes); i++) {
        struct str scheme = str_c(schemes[i]);
        if (str_starts(o, scheme) && httpd_is_loopback(str_n(o.p + scheme.n, o.n - scheme.n))) return ERR_OK;
    }
    return err_set(err, ERR_DENIED, "requests of pages from %.60s are refused", origin);
}

static enum err_code check_user(struct httpd_request *r, struct err *err) {
    const struct auth *a = &api_door(r)->auth;
    const char *header = httpd_header(r, "Authorization");
    if (header != NULL && !is_open_to_all(r)) {
        struct str kind, token;
        if (!str_cut(str_c(header), ' ', &kind, &token) || !str_ieq(kind, STR("Bearer")))
            return err_set(err, ERR_UNAUTHENTICATED, "send Authorization: Bearer TOKEN; get one at /auth/token");
        return auth_check_token(a, str_trim(token), r->arena, &r->user, err);
    }
    r->user = "anonymous";
    if (a->all_admins || is_open_to_all(r)) return ERR_OK;
    return err_set(err, ERR_UNAUTHENTICATED, "Not authenticated: get a token at /auth/token");
}

static bool word_in(const char *words, const char *word) {
    struct str rest = str_c(words), one;
    while (rest.n > 0) {
        str_cut(rest, ' ', &one, &rest);
        if (str_eqc(one, word)) return true;
    }
    return false;
}

// A filter that is silently ignored would give wrong rows.
static enum err_code check_queries(const struct httpd_request *r, struct err *err) {
    if (r->route->data == NULL) return ERR_OK;
    for (size_t i = 0; i < r->n_query_; i++)
        if (!word_in(r->route->data, r->query_[i].name))
            return err_set(err, ERR_NOT_SUPPORTED, "query parameter %.60s is not supported here", r->query_[i].name);
    return ERR_OK;
}

static enum err_code guard(struct httpd_request *r, struct err *err) {
    enum err_code code = ERR_OK;
    if (api_door(r)->auth.all_admins) code = check_browser(r, err);
    if (code == ERR_OK) code = check_user(r, err);
    if (code == ERR_OK) code = check_queries(r, err);
    return code;
}

// ---- errors ---------------------------------------------------------------------------------------------------------------------

// "body.conf: must be an object" -> [{"type": "value_error", "loc": ["body", "conf"], "msg": "must be an object", "input": null}]
static json_t *validation_detail(const char *msg) {
    struct str place, text, part;
    json_t *loc = json_array();
    if (!str_cut(str_c(msg), ':', &place, &text)) text = str_c(msg), place = STR("body");
    while (place.n > 0) {
        str_cut(place, '.', &part, &place);
        json_array_append_new(loc, json_of_str(part));
    }
    return json_pack("[{s:s, s:o, s:o, s:n}]", "type", "value_error", "loc", loc, "msg", json_of_str(str_trim(text)), "input");
}

static void format_error(struct httpd_request *r, int status, const struct err *err) {
    json_t *detail = status == 422 ? validation_detail(err->msg) : json_of_str(str_c(err->msg));
    if (status == 401) httpd_set_header(r, "WWW-Authenticate", "Bearer");
    httpd_reply_json(r, status, json_pack("{s:o}", "detail", detail));
}

// ---- opening --------------------------------------------------------------------------------------------------------------------

struct http_door *http_door_open(struct server *s, const char *host, int port, struct err *err) {
    struct http_door *d = MEM_NEW(struct http_door);
    d->server = s;
    struct httpd_config c = {.name = "http",
                             .host = host,
                             .port = port,
                             .routes = routes,
                             .n_routes = API_COUNT(routes),
                             .arg = d,
                             .body_max = (size_t)config_num(&s->config, CFG_HTTP_BODY_MAX),
                             .connections_max = (int)config_num(&s->config, CFG_HTTP_CONNECTIONS_MAX),
                             .before = guard,
                             .format_error = format_error};
    if (auth_init(&d->auth, s->sys, &s->config, s->dir, host, err) == ERR_OK) d->httpd = httpd_open(&c, err);
    if (d->httpd != NULL) return d;
    mem_free(d);
    return NULL;
}

void http_door_close(struct http_door *d) {
    if (d == NULL) return;
    httpd_close(d->httpd);
    mem_free(d);
}

int http_door_port(const struct http_door *d) { return httpd_port(d->httpd); }
