// SPDX-License-Identifier: Apache-2.0
// The server itself: listens, gathers a request, finds its route, calls the handler, sends the answer.
//
// Threads: libmicrohttpd's, one per connection; an exchange belongs to its connection's thread. The sockets are libmicrohttpd's too
// (tools/check-sys knows). Memory: an exchange (arena, body, answer) lives from the first header to the last byte sent.
// Errors: bad requests are answered; a connection that does not speak HTTP is closed by the library and logged here.
#include "httpd/httpd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/metrics.h"

enum {
    BODY_MAX_DEFAULT = 16 << 20,
    CONNECTIONS_MAX_DEFAULT = 256,
    IDLE_TIMEOUT_DEFAULT_S = 120,
    HEADERS_BYTES_MAX = 64 << 10,
    ANSWER_MAX = 256 << 20
};

struct httpd {
    struct httpd_config config;
    struct MHD_Daemon *daemon;
    int port;
};

struct exchange {
    struct httpd_request r;
    struct arena arena;
    struct buf body;
    bool bad_query;
};

// ---- routes -----------------------------------------------------------------------------------------------------------------

// The next segment of *p, which begins behind a slash; *p moves to the next slash or the end.
static struct str next_segment(const char **p) {
    const char *from = **p == '/' ? *p + 1 : *p, *to = from;
    while (*to != 0 && *to != '/') to++;
    *p = to;
    return str_n(from, (size_t)(to - from));
}

enum match { MATCH_NO, MATCH_YES, MATCH_BAD };

static enum match route_match(const char *pattern, const char *path, struct httpd_request *r) {
    r->n_params_ = 0;
    for (;;) {
        if (*pattern == 0) return *path == 0 || strcmp(path, "/") == 0 ? MATCH_YES : MATCH_NO; // one slash at the end is let pass
        if (*path == 0) return MATCH_NO;
        struct str want = next_segment(&pattern);
        if (want.n < 2 || want.p[0] != '{') {
            if (!str_eq(want, next_segment(&path))) return MATCH_NO;
            continue;
        }
        bool rest = want.p[want.n - 2] == '*';
        struct str got = rest ? str_c(*path == '/' ? path + 1 : path) : next_segment(&path);
        if (got.n == 0) return MATCH_NO;
        assert(r->n_params_ < HTTPD_PARAMS_MAX);
        struct httpd_pair *pair = &r->params_[r->n_params_++];
        pair->name = arena_strndup(r->arena, want.p + 1, want.n - (rest ? 3 : 2));
        pair->value = httpd_decode(r->arena, got, false);
        if (pair->value == NULL) return MATCH_BAD;
        if (rest) return MATCH_YES;
    }
}

static bool method_fits(const char *want, const char *method) {
    return strcmp(want, "*") == 0 || strcmp(want, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(want, "GET") == 0);
}

// Finds r->route. Otherwise returns the status to answer: 404, 405 (Allow is set) or 400.
static int find_route(const struct httpd_config *c, struct httpd_request *r, struct err *err) {
    struct buf allow;
    buf_init(&allow, 256);
    int status = 404;
    for (size_t i = 0; i < c->n_routes; i++) {
        enum match m = route_match(c->routes[i].pattern, r->path, r);
        if (m == MATCH_NO) continue;
        if (m == MATCH_BAD) {
            err_set(err, ERR_INVALID, "the path is not valid percent-encoded UTF-8");
            status = 400;
            break;
        }
        if (method_fits(c->routes[i].method, r->method)) {
            r->route = &c->routes[i];
            status = 200;
            break;
        }
        status = 405;
        buf_printf(&allow, "%s%s", allow.n > 0 ? ", " : "", c->routes[i].method);
    }
    if (status == 404) err_set(err, ERR_NOT_FOUND, "no such path: %s", r->path);
    if (status == 405) {
        err_set(err, ERR_INVALID, "method %s is not allowed here", r->method);
        httpd_set_header(r, "Allow", arena_strdup(r->arena, buf_cstr(&allow)));
    }
    buf_fini(&allow);
    return status;
}

// ---- answers ----------------------------------------------------------------------------------------------------------------

static void format_error_default(struct httpd_request *r, int status, const struct err *err) {
    r->status = status;
    r->content_type = "application/json";
    buf_puts(&r->out, "{\"error\": {\"code\": ");
    httpd_put_json_string(&r->out, err_info(err->code)->name);
    buf_puts(&r->out, ", \"message\": ");
    httpd_put_json_string(&r->out, err->msg);
    buf_puts(&r->out, "}}\n");
}

static void answer_error(const struct httpd *h, struct httpd_request *r, int status, const struct err *err) {
    buf_clear(&r->out);
    if (h->config.format_error != NULL) h->config.format_error(r, status, err);
    else format_error_default(r, status, err);
}

static void log_answer(const struct httpd *h, const struct httpd_request *r, const struct err *err) {
    char status[16];
    snprintf(status, sizeof status, "%d", r->status);
    metric_add(M_HTTP_REQUESTS, status, 1);
    if (r->status >= 500 && r->status != 501)
        log_warn("httpd", "request failed", "door", h->config.name, "method", r->method, "path", r->path, "status", status, "error", err->msg, NULL);
    else
        log_debug("httpd", "request", "door", h->config.name, "method", r->method, "path", r->path, "status", status, NULL);
}

static enum MHD_Result send_answer(const struct httpd *h, struct MHD_Connection *connection, struct httpd_request *r, const struct err *err) {
    if (r->out.failed) {
        struct err too_large;
        err_set(&too_large, ERR_TOO_LARGE, "the answer would be larger than %d MiB", ANSWER_MAX >> 20);
        answer_error(h, r, 500, &too_large);
    }
    log_answer(h, r, err);
    struct MHD_Response *response = MHD_create_response_from_buffer(r->out.n, r->out.p, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) return MHD_NO;
    if (r->content_type != NULL && r->status != 204) MHD_add_response_header(response, "Content-Type", r->content_type);
    for (size_t i = 0; i < r->n_headers; i++) MHD_add_response_header(response, r->headers[i].name, r->headers[i].value);
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)r->status, response);
    MHD_destroy_response(response);
    return result;
}

// ---- requests ---------------------------------------------------------------------------------------------------------------

static enum MHD_Result add_query(void *arg, enum MHD_ValueKind kind, const char *name, const char *value) {
    (void)kind;
    struct exchange *x = arg;
    struct httpd_request *r = &x->r;
    const char *n = httpd_decode(r->arena, str_c(name), false); // the library has turned + into a space already
    const char *v = httpd_decode(r->arena, str_c(value == NULL ? "" : value), false);
    if (n == NULL || v == NULL || r->n_query_ == HTTPD_QUERY_MAX) {
        x->bad_query = true;
        return MHD_NO;
    }
    r->query_[r->n_query_++] = (struct httpd_pair){n, v};
    return MHD_YES;
}

static void run_handler(const struct httpd *h, struct exchange *x, struct err *err) {
    struct httpd_request *r = &x->r;
    MHD_get_connection_values(r->connection_, MHD_GET_ARGUMENT_KIND, add_query, x);
    int status = find_route(&h->config, r, err);
    if (status == 200 && x->bad_query) {
        err_set(err, ERR_INVALID, "the query is not valid percent-encoded UTF-8, or has more than %d parameters", HTTPD_QUERY_MAX);
        status = 400;
    }
    if (status == 200 && x->body.failed) {
        err_set(err, ERR_TOO_LARGE, "the body is larger than %zu bytes", x->body.max);
        status = 413;
    }
    if (status == 200) {
        r->body = buf_str(&x->body);
        enum err_code code = h->config.before == NULL ? ERR_OK : h->config.before(r, err);
        if (code == ERR_OK) code = r->route->handler(r, err);
        if (code == ERR_OK) return;
        status = err_info(code)->http;
    }
    answer_error(h, r, status, err);
}

static struct exchange *exchange_new(const struct httpd *h, struct MHD_Connection *connection, const char *url, const char *method) {
    struct exchange *x = MEM_NEW(struct exchange);
    arena_init(&x->arena);
    buf_init(&x->body, h->config.body_max);
    buf_init(&x->r.out, ANSWER_MAX);
    x->r.method = arena_strdup(&x->arena, method);
    x->r.path = arena_strdup(&x->arena, url);
    x->r.arena = &x->arena;
    x->r.arg = h->config.arg;
    x->r.status = 200;
    x->r.content_type = "application/json";
    x->r.connection_ = connection;
    return x;
}

// Content-Length says that the body will be too large: no need to read it.
static bool announces_too_much(const struct httpd *h, const struct httpd_request *r) {
    const char *length = httpd_header(r, "Content-Length");
    int64_t n;
    return length != NULL && str_to_i64(str_c(length), &n) && n > (int64_t)h->config.body_max;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                  const char *upload, size_t *upload_n, void **state) {
    (void)version;
    const struct httpd *h = arg;
    struct exchange *x = *state;
    struct err err;
    err_clear(&err);
    if (x == NULL) {
        *state = x = exchange_new(h, connection, url, method);
        if (!announces_too_much(h, &x->r)) return MHD_YES;
        err_set(&err, ERR_TOO_LARGE, "the body is larger than %zu bytes", h->config.body_max);
        answer_error(h, &x->r, 413, &err);
        return send_answer(h, connection, &x->r, &err);
    }
    if (*upload_n > 0) {
        buf_put(&x->body, upload, *upload_n); // past the maximum it is only counted as failed
        *upload_n = 0;
        return MHD_YES;
    }
    run_handler(h, x, &err);
    return send_answer(h, connection, &x->r, &err);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why) {
    (void)arg, (void)connection, (void)why;
    struct exchange *x = *state;
    if (x == NULL) return;
    buf_fini(&x->body);
    buf_fini(&x->r.out);
    arena_fini(&x->arena);
    mem_free(x);
    *state = NULL;
}

// Parameters stay encoded until they are matched: a segment may hold an encoded slash.
static size_t keep_escapes(void *arg, struct MHD_Connection *connection, char *s) {
    (void)arg, (void)connection;
    return strlen(s);
}

__attribute__((format(printf, 2, 0))) static void on_library_log(void *arg, const char *fmt, va_list ap) {
    const struct httpd *h = arg;
    char text[512];
    vsnprintf(text, sizeof text, fmt, ap);
    struct str line = str_trim(str_c(text));
    log_info("httpd", "connection trouble", "door", h->config.name, "text", log_str(line), NULL);
}

// ---- opening and closing ----------------------------------------------------------------------------------------------------

static int bound_port(int fd) {
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0) return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
}

static int listen_on(const struct httpd_config *c, struct err *err) {
    char port[16];
    snprintf(port, sizeof port, "%d", c->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    int rc = getaddrinfo(c->host, port, &hints, &found);
    if (rc != 0) {
        err_set(err, ERR_CONFIG, "%s door: cannot resolve %s: %s", c->name, c->host, gai_strerror(rc));
        return -1;
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 256) != 0) {
        int errnum = errno;
        if (errnum == EADDRINUSE) err_set(err, ERR_EXISTS, "%s door: another process listens at %s:%d already", c->name, c->host, c->port);
        else err_errno(err, errnum, "%s door: cannot listen on %s:%d", c->name, c->host, c->port);
        if (fd >= 0) close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

struct httpd *httpd_open(const struct httpd_config *config, struct err *err) {
    assert(config->name != NULL && config->host != NULL && config->routes != NULL);
    struct httpd *h = MEM_NEW(struct httpd);
    h->config = *config;
    if (h->config.body_max == 0) h->config.body_max = BODY_MAX_DEFAULT;
    if (h->config.connections_max == 0) h->config.connections_max = CONNECTIONS_MAX_DEFAULT;
    if (h->config.idle_timeout_s == 0) h->config.idle_timeout_s = IDLE_TIMEOUT_DEFAULT_S;
    int fd = listen_on(config, err);
    if (fd < 0) {
        mem_free(h);
        return NULL;
    }
    h->port = bound_port(fd);
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | MHD_USE_ERROR_LOG | MHD_USE_ITC;
    h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, h, MHD_OPTION_LISTEN_SOCKET, fd,
                                 MHD_OPTION_CONNECTION_LIMIT, (unsigned)h->config.connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
                                 (unsigned)h->config.idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADERS_BYTES_MAX,
                                 MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_END);
    if (h->daemon == NULL) {
        err_set(err, ERR_IO, "%s door: the HTTP server did not start on %s:%d", config->name, config->host, h->port);
        close(fd);
        mem_free(h);
        return NULL;
    }
    return h;
}

void httpd_close(struct httpd *h) {
    if (h == NULL) return;
    MHD_stop_daemon(h->daemon); // closes the listening socket, waits for the connections' threads
    mem_free(h);
}

int httpd_port(const struct httpd *h) { return h->port; }

const char *httpd_header(const struct httpd_request *r, const char *name) {
    return MHD_lookup_connection_value(r->connection_, MHD_HEADER_KIND, name);
}
