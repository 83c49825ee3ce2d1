// SPDX-License-Identifier: Apache-2.0
// See group_requests.h.
#include "kafka/group_requests.h"

struct group_call kafka_group_call_of(struct kafka_req *q, void (*done)(struct group_call *c)) {
    return (struct group_call){.done = done, .back = kafka_req_loop(q), .arena = &q->arena, .arg = q};
}

struct str kafka_group_message(struct kafka_req *q, const struct group_call *c) {
    return c->error != 0 && c->message[0] != '\0' ? arena_str(&q->arena, str_c(c->message)) : (struct str){NULL, 0};
}

const char *kafka_group_name(struct kafka_req *q, struct str s) { return s.p == NULL ? "" : kafka_req_name(q, s); }

const char *kafka_group_client_id(struct kafka_req *q) { return kafka_group_name(q, q->header.client_id); }

const char *kafka_group_client_host(struct kafka_req *q) { return arena_printf(&q->arena, "/%s", kafka_req_host(q)); }

const char *const *kafka_group_names(struct kafka_req *q, const struct str *p, int32_t n, size_t *out_n) {
    *out_n = 0;
    if (n < 0) return NULL;
    const char **out = ARENA_ARRAY(&q->arena, const char *, n + 1);
    for (int32_t i = 0; i < n; i++) out[i] = kafka_req_name(q, p[i]);
    *out_n = (size_t)n;
    return out;
}
