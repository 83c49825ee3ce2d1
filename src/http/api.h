// SPDX-License-Identifier: Apache-2.0
// What the handlers of the REST door share: the table of operations, structs to JSON, bodies and queries to structs, times.
//
// Inside the room only. Errors follow FastAPI's shape: {"detail": ...}; ERR_DATA becomes 422 with a list of what is wrong,
// when the message begins with the place ("body.conf: ...").
#ifndef HTTP_API_H
#define HTTP_API_H

#include "codec/json.h"
#include "flow/flow.h"
#include "http/auth.h"
#include "httpd/httpd.h"
#include "server/server.h"

struct http_door {
    struct server *server;
    struct httpd *httpd;
    struct auth auth;
};

// ---- operations ---------------------------------------------------------------------------------------------------------------
#define ROUTE(method, pattern, handler, queries) enum err_code handler(struct httpd_request *r, struct err *err);
#include "http/routes.def"
#undef ROUTE

static inline struct http_door *api_door(const struct httpd_request *r) { return r->arg; }
struct flow *api_flow(const struct httpd_request *r, struct err *err); // waits for it at start; NULL: ERR_UNAVAILABLE

// ---- out ------------------------------------------------------------------------------------------------------------------------
enum api_kind {
    API_STR,      // const char *, NULL = null
    API_TIME,     // int64_t microseconds, FLOW_NO_TIME = null; ISO 8601 UTC
    API_INT,      // int
    API_I64,      // int64_t
    API_BOOL,     // bool
    API_DURATION, // int64_t microseconds, FLOW_NO_TIME = null; seconds as a number
    API_DOUBLE,   // double
    API_JSON,     // const char * of JSON text, NULL = null
    API_NULL,     // always null
    API_CONST,    // `text` always
    API_FALSE,    // always false
};
struct api_field {
    const char *name;
    enum api_kind kind;
    size_t at;
    const char *text;
};
json_t *api_object(const struct api_field *fields, size_t n, const void *from);
json_t *api_strings(const char *const *p, size_t n);
json_t *api_time(int64_t us); // null for FLOW_NO_TIME
enum err_code api_reply_list(struct httpd_request *r, const char *name, json_t *rows, int64_t total);
enum err_code api_no_content(struct httpd_request *r);

// ---- in -------------------------------------------------------------------------------------------------------------------------
bool api_time_parse(struct str s, int64_t *us); // ISO 8601 with an offset or Z; false = not that
void api_time_text(int64_t us, char out[40]);

// limit (default 50, at most 1000), offset, order_by.
enum err_code api_page(struct httpd_request *r, struct flow_page *page, struct err *err);
enum err_code api_query_i64(struct httpd_request *r, const char *name, int64_t min, int64_t max, int64_t *out,
                            struct err *err); // *out unchanged when absent
enum err_code api_query_bool(struct httpd_request *r, const char *name, bool *out, struct err *err);
enum err_code api_query_time(struct httpd_request *r, const char *name, int64_t *out, struct err *err);
const char *api_pattern(struct httpd_request *r, const char *name); // "%text%" for SQL LIKE; NULL = all

enum api_in { API_IN_STR, API_IN_INT, API_IN_BOOL, API_IN_TIME, API_IN_OBJECT /* JSON text */, API_IN_ANY /* JSON text */, API_IN_STRS };
struct api_strs {
    const char **p;
    size_t n;
};
struct api_in_field {
    const char *name;
    enum api_in kind;
    bool required; // and then not null
    size_t at;     // const char *, int, bool, int64_t, const char *, const char *, struct api_strs
};
// Reads the body, an object with these keys and no others, into *to (fields not given, or null, keep what is there). Bit i of *given:
// field i was in the body. ERR_PARSE, ERR_DATA. May be NULL.
enum err_code api_body(struct httpd_request *r, const struct api_in_field *fields, size_t n, void *to, uint32_t *given, struct err *err);

#define API_COUNT(array) (sizeof(array) / sizeof *(array))

// ---- rows of more than one file -----------------------------------------------------------------------------------------------
json_t *api_dag_version(const struct flow_version *v);
json_t *api_run(const struct flow_run *run);
json_t *api_ti(const struct flow_ti *ti);
json_t *api_tis(const struct flow_ti *tis, size_t n);

#endif
