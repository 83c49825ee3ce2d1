// SPDX-License-Identifier: Apache-2.0
// One request over libcurl. Everything lives for the call; connections are not kept.
#include "client/http.h"

#include <curl/curl.h>
#include <string.h>

static size_t keep(char *p, size_t size, size_t n, void *arg) {
    struct buf *out = arg;
    buf_put(out, p, size * n);
    return out->failed ? 0 : size * n;
}

static enum err_code code_of_status(int status) {
    switch (status) {
    case 401: return ERR_UNAUTHENTICATED;
    case 403: return ERR_DENIED;
    case 404: return ERR_NOT_FOUND;
    case 409: return ERR_EXISTS;
    case 413: return ERR_TOO_LARGE;
    case 422: return ERR_DATA;
    case 501: return ERR_NOT_SUPPORTED;
    case 503: return ERR_BUSY;
    default: return status >= 500 ? ERR_INTERNAL : ERR_INVALID;
    }
}

static struct str reason_of(json_t *j, struct str body) {
    static const char *const keys[] = {"message", "detail", "title", "error"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(j, keys[i]);
        if (json_is_string(v)) return str_n(json_string_value(v), json_string_length(v));
    }
    if (body.n > 400) body.n = 400;
    return str_trim(body);
}

static enum err_code fail(int status, struct str body, const char *url, struct err *err) {
    json_t *j = json_parse(body, NULL);
    struct str reason = reason_of(j, body);
    enum err_code code = reason.n > 0 ? err_set(err, code_of_status(status), STR_FMT " (HTTP %d)", STR_ARG(reason), status)
                                      : err_set(err, code_of_status(status), "HTTP %d from %s", status, url);
    json_decref(j);
    return code;
}

enum { STOP_LOOK_MS = 20 };

static CURLcode perform_until(CURL *c, const atomic_bool *stop) {
    CURLM *m = curl_multi_init();
    CURLcode rc = CURLE_OUT_OF_MEMORY;
    int running = 1, left;
    if (m == NULL) return rc;
    curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L); // a name that is being looked up is not waited for either
    bool ok = curl_multi_add_handle(m, c) == CURLM_OK;
    while (ok && running > 0 && !atomic_load(stop)) {
        ok = curl_multi_perform(m, &running) == CURLM_OK;
        if (ok && running > 0) ok = curl_multi_poll(m, NULL, 0, STOP_LOOK_MS, NULL) == CURLM_OK;
    }
    const CURLMsg *message = ok && running == 0 ? curl_multi_info_read(m, &left) : NULL;
    if (message != NULL) rc = message->data.result;
    else if (ok) rc = CURLE_ABORTED_BY_CALLBACK;
    curl_multi_remove_handle(m, c);
    curl_multi_cleanup(m);
    return rc;
}

static enum err_code perform(CURL *c, const struct client_http *h, const char *url, size_t max, int *status, struct err *err) {
    CURLcode rc = h->stop == NULL ? curl_easy_perform(c) : perform_until(c, h->stop);
    long answered = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &answered);
    *status = (int)answered;
    switch (rc) {
    case CURLE_OK: return ERR_OK;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST: return err_set(err, ERR_UNAVAILABLE, "nobody answers at %s: is the server running?", url);
    case CURLE_ABORTED_BY_CALLBACK: return err_set(err, ERR_CANCELLED, "%s: given up", url);
    case CURLE_OPERATION_TIMEDOUT: return err_set(err, ERR_TIMEOUT, "%s did not answer in time", url);
    case CURLE_WRITE_ERROR: return err_set(err, ERR_TOO_LARGE, "the answer of %s is over %zu MiB", url, max >> 20);
    default: return err_set(err, ERR_IO, "%s: %s", url, curl_easy_strerror(rc));
    }
}

static struct curl_slist *headers_of(const struct client_http *h, struct str body, const char *content_type, const char *accept, struct arena *a) {
    struct curl_slist *list = NULL;
    if (accept != NULL) list = curl_slist_append(list, arena_printf(a, "Accept: %s", accept));
    if (body.p != NULL) list = curl_slist_append(list, arena_printf(a, "Content-Type: %s", content_type));
    if (h->token != NULL) list = curl_slist_append(list, arena_printf(a, "Authorization: Bearer %s", h->token));
    return curl_slist_append(list, "Expect:"); // do not wait for "100 Continue"
}

enum err_code client_http_text(const struct client_http *h, const char *method, const char *path, struct str body, const char *content_type,
                               const char *accept, struct arena *a, struct str *out, int *status, struct err *err) {
    int unused;
    if (status == NULL) status = &unused;
    CURL *c = curl_easy_init();
    if (c == NULL) return err_set(err, ERR_INTERNAL, "libcurl could not be initialised");
    const char *url = arena_printf(a, "%s%s", h->base, path);
    struct curl_slist *headers = headers_of(h, body, content_type, accept, a);
    struct buf answer;
    size_t max = h->max == 0 ? CLIENT_HTTP_MAX : h->max;
    buf_init(&answer, max);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)(h->timeout_s == 0 ? 60 : h->timeout_s));
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &answer);
    if (body.p != NULL) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body.p);
    }
    enum err_code code = perform(c, h, url, max, status, err);
    if (code == ERR_OK && *status >= 400) code = fail(*status, buf_str(&answer), url, err);
    if (code == ERR_OK) *out = arena_str(a, buf_str(&answer));
    buf_fini(&answer);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    return code;
}

enum err_code client_http_json(const struct client_http *h, const char *method, const char *path, const json_t *body, json_t **out, int *status,
                               struct err *err) {
    struct arena a;
    struct buf text;
    arena_init(&a);
    buf_init(&text, CLIENT_HTTP_MAX);
    if (body != NULL) json_write(body, JSON_COMPACT | JSON_ENCODE_ANY, &text);
    struct str answer = {0};
    enum err_code code = client_http_text(h, method, path, body == NULL ? (struct str){0} : buf_str(&text), "application/json",
                                          "application/json", &a, &answer, status, err);
    *out = NULL;
    if (code == ERR_OK && answer.n > 0) {
        *out = json_parse(answer, err);
        if (*out == NULL) code = err_wrap(err, "the answer of %s%s is not JSON", h->base, path);
    }
    buf_fini(&text);
    arena_fini(&a);
    return code;
}

const char *client_http_escape(struct arena *a, const char *s) {
    struct buf b;
    buf_init(&b, 0);
    for (; *s != 0; s++) {
        bool plain = (*s >= '0' && *s <= '9') || (*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z') || strchr("-._~", *s) != NULL;
        if (plain) buf_put_u8(&b, (uint8_t)*s);
        else buf_printf(&b, "%%%02X", (unsigned char)*s);
    }
    const char *out = arena_strndup(a, (const char *)b.p, b.n);
    buf_fini(&b);
    return out;
}
