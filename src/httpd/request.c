// SPDX-License-Identifier: Apache-2.0
// What handlers call: parameters in, answers out. The request's thread only; results live in the request's arena.
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "codec/json.h"
#include "httpd/httpd.h"

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

const char *httpd_decode(struct arena *a, struct str s, bool plus_is_space) {
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            if (s.n - i < 3) return NULL;
            int hi = hex(s.p[i + 1]), lo = hex(s.p[i + 2]);
            if (hi < 0 || lo < 0 || (hi == 0 && lo == 0)) return NULL;
            c = (char)(hi * 16 + lo);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == 0) {
            return NULL;
        }
        out[n++] = c;
    }
    out[n] = 0;
    return str_utf8_ok(str_n(out, n)) ? out : NULL;
}

bool httpd_is_loopback(struct str host) {
    static const char *const names[] = {"localhost", "::1", "[::1]"};
    size_t colon = host.n;
    while (colon > 0 && host.p[colon - 1] >= '0' && host.p[colon - 1] <= '9') colon--;
    bool one_colon = colon > 1 && host.p[colon - 1] == ':' && colon < host.n && (host.p[colon - 2] == ']' || memchr(host.p, ':', colon - 1) == NULL);
    if (one_colon) host.n = colon - 1; // the port
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(host, str_c(names[i]))) return true;
    if (!str_starts(host, STR("127."))) return false;
    for (size_t i = 0; i < host.n; i++) // 127.evil.example is a name, not an address
        if (host.p[i] != '.' && (host.p[i] < '0' || host.p[i] > '9')) return false;
    return true;
}

const char *httpd_param(const struct httpd_request *r, const char *name) {
    for (size_t i = 0; i < r->n_params_; i++)
        if (strcmp(r->params_[i].name, name) == 0) return r->params_[i].value;
    assert(false && "the route's pattern has no such parameter");
    return "";
}

const char *httpd_query(const struct httpd_request *r, const char *name) {
    for (size_t i = 0; i < r->n_query_; i++)
        if (strcmp(r->query_[i].name, name) == 0) return r->query_[i].value;
    return NULL;
}

size_t httpd_query_all(const struct httpd_request *r, const char *name, const char **out, size_t max) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_query_; i++)
        if (strcmp(r->query_[i].name, name) == 0) {
            if (n < max) out[n] = r->query_[i].value;
            n++;
        }
    return n;
}

int httpd_query_i64(const struct httpd_request *r, const char *name, int64_t min, int64_t max, int64_t *out, struct err *err) {
    const char *text = httpd_query(r, name);
    int64_t v;
    if (text == NULL) return 0;
    if (!str_to_i64(str_c(text), &v) || v < min || v > max) {
        err_set(err, ERR_INVALID, "query parameter %s must be a whole number from %" PRId64 " to %" PRId64 ", not \"%.40s\"", name, min, max, text);
        return -1;
    }
    *out = v;
    return 1;
}

int httpd_query_bool(const struct httpd_request *r, const char *name, bool *out, struct err *err) {
    const char *text = httpd_query(r, name);
    if (text == NULL) return 0;
    struct str s = str_c(text);
    bool yes = str_ieq(s, STR("true")) || str_eq(s, STR("1")), no = str_ieq(s, STR("false")) || str_eq(s, STR("0"));
    if (!yes && !no) {
        err_set(err, ERR_INVALID, "query parameter %s must be true or false, not \"%.40s\"", name, text);
        return -1;
    }
    *out = yes;
    return 1;
}

struct json_t *httpd_body_json(const struct httpd_request *r, struct err *err) {
    if (r->body.n == 0) {
        err_set(err, ERR_PARSE, "the body is empty; JSON is expected");
        return NULL;
    }
    json_t *j = json_parse(r->body, err);
    if (j == NULL) err_wrap(err, "the body is not valid JSON");
    return j;
}

enum err_code httpd_reply(struct httpd_request *r, int status, const char *content_type, struct str body) {
    r->status = status;
    r->content_type = content_type;
    buf_clear(&r->out);
    buf_put_str(&r->out, body);
    return ERR_OK;
}

enum err_code httpd_reply_json(struct httpd_request *r, int status, struct json_t *j) {
    r->status = status;
    r->content_type = "application/json";
    buf_clear(&r->out);
    json_write(j, JSON_COMPACT | JSON_ENCODE_ANY, &r->out);
    json_decref(j);
    return ERR_OK;
}

void httpd_set_header(struct httpd_request *r, const char *name, const char *value) {
    assert(r->n_headers < HTTPD_HEADERS_MAX);
    r->headers[r->n_headers++] = (struct httpd_pair){name, value};
}

void httpd_put_json_string(struct buf *out, const char *s) { json_put_str(out, str_c(s)); }
