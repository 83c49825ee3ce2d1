// SPDX-License-Identifier: Apache-2.0
// The HTTP wrapper over real loopback connections: routes, parameters, limits, and bytes that are not HTTP.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/metrics.h"
#include "httpd/httpd.h"

static enum err_code get_version(struct httpd_request *r, struct err *err) {
    int64_t limit = 50;
    bool deleted = false;
    if (httpd_query_i64(r, "limit", 0, 100, &limit, err) < 0 || httpd_query_bool(r, "deleted", &deleted, err) < 0) return err->code;
    const char *tags[4];
    size_t n_tags = httpd_query_all(r, "tag", tags, 4);
    return httpd_reply_json(r, 200, json_pack("{s:s, s:s, s:I, s:b, s:i, s:s}", "subject", httpd_param(r, "subject"), "version",
                                              httpd_param(r, "version"), "limit", (json_int_t)limit, "deleted", (int)deleted, "tags",
                                              (int)n_tags, "tag", n_tags > 0 ? tags[n_tags - 1] : ""));
}

static enum err_code post_echo(struct httpd_request *r, struct err *err) {
    json_t *j = httpd_body_json(r, err);
    if (j == NULL) return err->code;
    httpd_set_header(r, "X-Method", r->method);
    return httpd_reply_json(r, 201, j);
}

static enum err_code get_rest(struct httpd_request *r, struct err *err) {
    (void)err;
    return httpd_reply(r, 200, "text/plain", str_c(httpd_param(r, "path")));
}

static enum err_code get_conflict(struct httpd_request *r, struct err *err) {
    buf_puts(&r->out, "half an answer that must not be seen");
    return err_set(err, ERR_CONFLICT, "say \"again\"");
}

static enum err_code check_user(struct httpd_request *r, struct err *err) {
    if (r->route->data == NULL) return ERR_OK;
    const char *auth = httpd_header(r, "authorization");
    return auth != NULL && strcmp(auth, "Bearer good") == 0 ? ERR_OK : err_set(err, ERR_UNAUTHENTICATED, "log in");
}

static const struct httpd_route routes[] = {
    {"GET", "/subjects/{subject}/versions/{version}", get_version, NULL},
    {"POST", "/echo", post_echo, NULL},
    {"PUT", "/echo", post_echo, NULL},
    {"GET", "/conflict", get_conflict, NULL},
    {"GET", "/secret", get_rest, "needs login"},
    {"GET", "/files/{path*}", get_rest, NULL},
};

static struct httpd *open_server(void) {
    struct err err;
    err_clear(&err);
    struct httpd_config c = {
        .name = "test", .host = "127.0.0.1", .routes = routes, .n_routes = sizeof routes / sizeof *routes, .body_max = 1000, .before = check_user};
    struct httpd *h = httpd_open(&c, &err);
    if (h == NULL) fail_msg("%s", err.msg);
    return h;
}

static int dial(const struct httpd *h) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)httpd_port(h)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

// Sends raw bytes, reads until the peer closes, returns the whole answer (static buffer).
static const char *raw(const struct httpd *h, const char *bytes, size_t n) {
    static char answer[65536];
    int fd = dial(h);
    for (size_t sent = 0; sent < n;) {
        ssize_t k = send(fd, bytes + sent, n - sent, MSG_NOSIGNAL);
        if (k <= 0) break; // closed early: an answer may wait
        sent += (size_t)k;
    }
    shutdown(fd, SHUT_WR);
    size_t got = 0;
    for (ssize_t k; got < sizeof answer - 1 && (k = recv(fd, answer + got, sizeof answer - 1 - got, 0)) > 0;) got += (size_t)k;
    answer[got] = 0;
    close(fd);
    return answer;
}

static const char *ask(const struct httpd *h, const char *method, const char *target, const char *headers, const char *body) {
    struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method, target, headers);
    if (body != NULL) buf_printf(&b, "Content-Length: %zu\r\n", strlen(body));
    buf_printf(&b, "\r\n%s", body == NULL ? "" : body);
    const char *answer = raw(h, (const char *)b.p, b.n);
    buf_fini(&b);
    return answer;
}

static int status_of(const char *answer) {
    int status = 0;
    return sscanf(answer, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

static const char *body_of(const char *answer) {
    const char *p = strstr(answer, "\r\n\r\n");
    return p == NULL ? "" : p + 4;
}

static void test_parameters_are_decoded(void **state) {
    (void)state;
    struct httpd *h = open_server();
    const char *a = ask(h, "GET", "/subjects/a%2Fb%20%C3%BC/versions/latest?limit=7&deleted=TRUE&tag=x&tag=y+z%2B", "", NULL);
    assert_int_equal(status_of(a), 200);
    assert_string_equal(body_of(a), "{\"subject\":\"a/b \xC3\xBC\",\"version\":\"latest\",\"limit\":7,\"deleted\":true,\"tags\":2,\"tag\":\"y z+\"}");
    a = ask(h, "GET", "/subjects/s/versions/1/", "", NULL);
    assert_int_equal(status_of(a), 200);
    assert_string_equal(body_of(ask(h, "GET", "/files/a/b%20c/d", "", NULL)), "a/b c/d");
    httpd_close(h);
}

static void test_bad_parameters_are_400(void **state) {
    (void)state;
    struct httpd *h = open_server();
    static const char *const bad[] = {"/subjects/%zz/versions/1", "/subjects/%ff/versions/1", "/subjects/%00/versions/1", "/subjects/a%2/versions/1",
                                      "/subjects/a/versions/1?limit=101", "/subjects/a/versions/1?limit=x", "/subjects/a/versions/1?deleted=2",
                                      "/subjects/a/versions/1?x=%ff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(status_of(ask(h, "GET", bad[i], "", NULL)), 400);
    const char *a = ask(h, "GET", "/subjects/a/versions/1?limit=101", "", NULL);
    assert_non_null(strstr(a, "query parameter limit must be a whole number from 0 to 100"));
    httpd_close(h);
}

static void test_unknown_path_and_method(void **state) {
    (void)state;
    struct httpd *h = open_server();
    const char *a = ask(h, "GET", "/nothing", "", NULL);
    assert_int_equal(status_of(a), 404);
    assert_string_equal(body_of(a), "{\"error\": {\"code\": \"NOT_FOUND\", \"message\": \"no such path: /nothing\"}}\n");
    a = ask(h, "DELETE", "/echo", "", NULL);
    assert_int_equal(status_of(a), 405);
    assert_non_null(strstr(a, "Allow: POST, PUT\r\n"));
    assert_int_equal(status_of(ask(h, "GET", "/subjects/a/versions", "", NULL)), 404);
    assert_int_equal(status_of(ask(h, "GET", "/subjects//versions/1", "", NULL)), 404);
    a = ask(h, "HEAD", "/files/x", "", NULL);
    assert_int_equal(status_of(a), 200);
    assert_string_equal(body_of(a), "");
    httpd_close(h);
}

static void test_bodies(void **state) {
    (void)state;
    struct httpd *h = open_server();
    const char *a = ask(h, "POST", "/echo", "", "{\"a\": [1, 2]}");
    assert_int_equal(status_of(a), 201);
    assert_string_equal(body_of(a), "{\"a\":[1,2]}");
    assert_non_null(strstr(a, "X-Method: POST"));
    a = ask(h, "POST", "/echo", "", "{\"a\": ");
    assert_int_equal(status_of(a), 400);
    assert_non_null(strstr(a, "line 1"));
    assert_int_equal(status_of(ask(h, "POST", "/echo", "", "")), 400);
    char big[1200];
    memset(big, ' ', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_int_equal(status_of(ask(h, "POST", "/echo", "", big)), 413); // announced
    struct buf chunked;
    buf_init(&chunked, 0);
    buf_printf(&chunked, "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n",
               strlen(big), big);
    assert_int_equal(status_of(raw(h, (const char *)chunked.p, chunked.n)), 413); // not announced
    buf_fini(&chunked);
    big[999] = '1';
    big[1000] = 0;
    assert_int_equal(status_of(ask(h, "POST", "/echo", "", big)), 201); // just fits
    httpd_close(h);
}

static void test_errors_replace_a_half_answer(void **state) {
    (void)state;
    struct httpd *h = open_server();
    metrics_reset();
    const char *a = ask(h, "GET", "/conflict", "", NULL);
    assert_int_equal(status_of(a), 409);
    assert_string_equal(body_of(a), "{\"error\": {\"code\": \"CONFLICT\", \"message\": \"say \\\"again\\\"\"}}\n");
    assert_int_equal(metric_get(M_HTTP_REQUESTS, "409"), 1);
    httpd_close(h);
}

static void test_before_guards_routes(void **state) {
    (void)state;
    struct httpd *h = open_server();
    assert_int_equal(status_of(ask(h, "GET", "/secret", "", NULL)), 401);
    assert_int_equal(status_of(ask(h, "GET", "/files/x", "Authorization: none\r\n", NULL)), 200);
    httpd_close(h);
}

// Whatever comes, the connection ends and the next one is served.
static void test_bytes_that_are_not_http(void **state) {
    (void)state;
    struct httpd *h = open_server();
    uint64_t x = 88172645463325252u;
    for (int round = 0; round < 50; round++) {
        char bytes[2048];
        for (size_t i = 0; i < sizeof bytes; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            bytes[i] = (char)x;
        }
        raw(h, bytes, sizeof bytes);
    }
    raw(h, "GET /fi", 7);
    raw(h, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{", 54);
    static char endless[100000];
    memset(endless, 'a', sizeof endless);
    memcpy(endless, "GET /", 5);
    assert_int_not_equal(status_of(raw(h, endless, sizeof endless)), 200);
    assert_int_equal(status_of(ask(h, "GET", "/files/x", "", NULL)), 200);
    httpd_close(h);
}

static void test_port_in_use(void **state) {
    (void)state;
    struct httpd *h = open_server();
    struct err err;
    struct httpd_config c = {.name = "second", .host = "127.0.0.1", .port = httpd_port(h), .routes = routes, .n_routes = 1};
    assert_null(httpd_open(&c, &err));
    assert_int_equal(err.code, ERR_EXISTS);
    assert_non_null(strstr(err.msg, "second door: another process listens at 127.0.0.1:"));
    httpd_close(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters_are_decoded),      cmocka_unit_test(test_bad_parameters_are_400),
        cmocka_unit_test(test_unknown_path_and_method),     cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_errors_replace_a_half_answer), cmocka_unit_test(test_before_guards_routes),
        cmocka_unit_test(test_bytes_that_are_not_http),     cmocka_unit_test(test_port_in_use),
    };
    return cmocka_run_group_tests_name("httpd", tests, NULL, NULL);
}
