// SPDX-License-Identifier: Apache-2.0
// HTTP client for JSON services (the registry, the REST API), over libcurl. Blocking, one call at a time per thread.
#ifndef CLIENT_HTTP_H
#define CLIENT_HTTP_H

#include <stdatomic.h>

#include "base/err.h"
#include "base/mem.h"
#include "codec/json.h"

enum { CLIENT_HTTP_MAX = 256 << 20 }; // bytes of an answer

struct client_http {
    const char *base;  // "http://127.0.0.1:8081"; a path is appended
    const char *token; // Bearer token; NULL = none
    int timeout_s;     // 0 = 60
    size_t max;        // bytes of an answer; 0 = CLIENT_HTTP_MAX
    const atomic_bool *stop; // given up (ERR_CANCELLED) soon after this becomes true; NULL = never
};

// Sends `body` (NULL = none) as JSON and returns the answer's JSON in *out (NULL when the body is empty), which the caller gives to json_decref.
// A status of 400 and above is an error: its code is the nearest one of err_info()->http and the message is what the service said
// ("message", "detail" or the body). ERR_UNAVAILABLE: nobody listens there.
enum err_code client_http_json(const struct client_http *h, const char *method, const char *path, const json_t *body, json_t **out, int *status,
                               struct err *err);
// The same, the answer as text in the arena.
enum err_code client_http_text(const struct client_http *h, const char *method, const char *path, struct str body, const char *content_type,
                               const char *accept, struct arena *a, struct str *out, int *status, struct err *err);
// A path segment or query value, percent-encoded, in the arena.
const char *client_http_escape(struct arena *a, const char *s);

#endif
