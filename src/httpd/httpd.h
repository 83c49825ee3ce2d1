// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 server: routes, parameters, bodies with a maximum, errors. A thin wrapper of libmicrohttpd, which nobody else includes.
//
// One thread per connection (at most `connections_max`, more are refused): handlers may block. A request, its arena and everything
// that the httpd_* getters return live until the handler's answer was sent. Handlers of different connections run at once.
// Query and path parameters are percent-decoded valid UTF-8 without NUL (anything else was answered 400 before the handler).
#ifndef HTTPD_HTTPD_H
#define HTTPD_HTTPD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

struct json_t; // jansson's, see codec/json.h
struct httpd;

enum { HTTPD_PARAMS_MAX = 8, HTTPD_QUERY_MAX = 64, HTTPD_HEADERS_MAX = 8 };

struct httpd_pair {
    const char *name, *value;
};

struct httpd_request {
    const char *method;           // "GET"; HEAD is handled as GET without its body
    const char *path;             // as sent, not decoded, without the query
    struct str body;              // whole
    struct arena *arena;          // lives as long as the request
    const struct httpd_route *route;
    void *arg;                    // httpd_config.arg
    const char *user;             // free for httpd_config.before; NULL at first
    // the answer, written by httpd_reply* or by hand
    int status;                   // 200 at first
    const char *content_type;     // "application/json" at first; static or in the arena
    struct buf out;               // the body
    struct httpd_pair headers[HTTPD_HEADERS_MAX];
    size_t n_headers;
    // httpd's own
    struct httpd_pair params_[HTTPD_PARAMS_MAX], query_[HTTPD_QUERY_MAX];
    size_t n_params_, n_query_;
    void *connection_;
};

// ERR_OK: the answer is in the request. Else httpd_config.format_error writes it from `err` (status: err_info(code)->http).
typedef enum err_code httpd_handler(struct httpd_request *r, struct err *err);

struct httpd_route {
    const char *method;  // "GET", "POST", ...; "*" = all
    const char *pattern; // "/subjects/{subject}/versions"; {name} is one segment (may hold an encoded slash), a last {name*} the rest
    httpd_handler *handler;
    const void *data;    // the handler's own
};

struct httpd_config {
    const char *name;                 // for the log: "registry"
    const char *host;                 // address to bind
    int port;                         // 0 = a free one
    const struct httpd_route *routes; // first match wins; must outlive the server
    size_t n_routes;
    void *arg;                        // for the handlers
    size_t body_max;                  // 0 = 16 MiB; more is answered 413
    int connections_max;              // 0 = 256
    int idle_timeout_s;               // 0 = 120
    // Called before each handler (authentication). Not ERR_OK: the handler is not called. May be NULL.
    enum err_code (*before)(struct httpd_request *r, struct err *err);
    // Writes status, headers and body of an error answer. NULL = {"error": {"code": "NOT_FOUND", "message": "..."}}.
    // Also called for 404 (no route; r->route NULL), 405, 400 and 413 of httpd itself: `status` is what to answer.
    void (*format_error)(struct httpd_request *r, int status, const struct err *err);
};

struct httpd *httpd_open(const struct httpd_config *config, struct err *err); // ERR_EXISTS: the port is in use
void httpd_close(struct httpd *h);                                            // waits for the handlers that run; h may be NULL
int httpd_port(const struct httpd *h);

// ---- in -------------------------------------------------------------------------------------------------------------------
const char *httpd_param(const struct httpd_request *r, const char *name);                        // path parameter; asserts that it is in the pattern
const char *httpd_query(const struct httpd_request *r, const char *name);                        // NULL = not given; the first if several
size_t httpd_query_all(const struct httpd_request *r, const char *name, const char **out, size_t max); // how many were given
// 1 = given and good, 0 = not given (*out unchanged), -1 = bad (err is set: ERR_INVALID naming the parameter and its range).
int httpd_query_i64(const struct httpd_request *r, const char *name, int64_t min, int64_t max, int64_t *out, struct err *err);
int httpd_query_bool(const struct httpd_request *r, const char *name, bool *out, struct err *err); // true/false/1/0, any case
const char *httpd_header(const struct httpd_request *r, const char *name);                       // NULL = not sent
struct json_t *httpd_body_json(const struct httpd_request *r, struct err *err); // new reference; NULL = ERR_PARSE with the position

// ---- out ------------------------------------------------------------------------------------------------------------------
enum err_code httpd_reply(struct httpd_request *r, int status, const char *content_type, struct str body); // ERR_OK
enum err_code httpd_reply_json(struct httpd_request *r, int status, struct json_t *j); // takes the reference; ERR_OK
void httpd_set_header(struct httpd_request *r, const char *name, const char *value);    // static or in the arena
void httpd_put_json_string(struct buf *out, const char *s);                             // quoted and escaped

// Percent-decodes into the arena. NULL = bad escape, NUL or not UTF-8.
const char *httpd_decode(struct arena *a, struct str s, bool plus_is_space);

bool httpd_is_loopback(struct str host); // "127.0.0.1", "localhost", "::1", with or without port and brackets

#endif
