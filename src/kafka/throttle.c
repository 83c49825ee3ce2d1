// SPDX-License-Identifier: Apache-2.0
// See throttle.h. The field throttle_time_ms is found by its name in the response's field table.
#include "kafka/throttle.h"

static struct str user_of(const struct kafka_req *q) {
    struct str p = str_c(kafka_req_principal(q));
    return str_starts(p, STR("User:")) ? str_n(p.p + 5, p.n - 5) : p;
}

static struct str client_of(const struct kafka_req *q) { return q->header.client_id.p == NULL ? STR("") : q->header.client_id; }

static void tell(struct kafka_req *q, int64_t ms) {
    const struct kafka_struct *s = q->api->response->body;
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->fields[i].name, "throttle_time_ms") != 0) continue;
        int32_t v = (int32_t)ms;
        memcpy((char *)q->res + s->fields[i].offset, &v, sizeof v);
        return;
    }
}

static int64_t fetched_bytes(const struct kafka_fetch_response *res) {
    int64_t n = 0;
    for (int32_t t = 0; t < res->responses.n; t++)
        for (int32_t i = 0; i < res->responses.p[t].partitions.n; i++) n += (int64_t)res->responses.p[t].partitions.p[i].records.n;
    return n;
}

static int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

int64_t throttle_answer(struct kafka_req *q) {
    struct quotas *all = kafka_req_quotas(q);
    struct str user = user_of(q), client = client_of(q);
    int64_t now = sys_mono_us(loop_sys(kafka_req_loop(q))), ms = q->throttle_ms;
    if (q->busy_from_us != 0) q->busy_us = now - q->busy_from_us;
    ms = max_of(ms, quotas_record(all, QUOTA_REQUEST, user, client, (double)q->busy_us / 1e4, now));
    if (q->h->key == KAFKA_API_PRODUCE) ms = max_of(ms, quotas_record(all, QUOTA_PRODUCE, user, client, (double)q->frame_n, now));
    if (ms > 0) tell(q, ms);
    return ms;
}

bool throttle_mutation(struct kafka_req *q, int64_t partitions, bool strict) {
    struct quotas *all = kafka_req_quotas(q);
    if (!quotas_active(all)) return true;
    int64_t ms, now = sys_mono_us(loop_sys(kafka_req_loop(q)));
    bool ok = quotas_mutate(all, user_of(q), client_of(q), (double)partitions, strict, now, &ms);
    if (ms > q->throttle_ms) q->throttle_ms = ms;
    return ok;
}

bool throttle_fetch(struct kafka_req *q) {
    struct quotas *all = kafka_req_quotas(q);
    if (!quotas_active(all)) return false;
    struct kafka_fetch_response *res = q->res;
    const struct kafka_fetch_request *req = q->msg;
    int64_t bytes = fetched_bytes(res), now = sys_mono_us(loop_sys(kafka_req_loop(q)));
    int64_t ms = bytes > 0 ? quotas_record_fetch(all, user_of(q), client_of(q), (double)bytes, now) : 0;
    if (ms <= 0) return false;
    if (ms > q->throttle_ms) q->throttle_ms = ms;
    res->responses.n = 0;
    if (req->session_epoch > 0) res->session_id = req->session_id; // it goes on
    return true;
}

size_t throttle_fetch_max(struct kafka_req *q, size_t max_bytes) {
    struct quotas *all = kafka_req_quotas(q);
    if (!quotas_active(all)) return max_bytes;
    int64_t most = quotas_fetch_max(all, user_of(q), client_of(q));
    return most < (int64_t)max_bytes ? (size_t)most : max_bytes;
}
