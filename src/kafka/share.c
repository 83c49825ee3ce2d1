// SPDX-License-Identifier: Apache-2.0
// ShareFetch and ShareAcknowledge: translation between the messages and broker/share.h. A call and its results live in the request's arena;
// record bytes come from the broker and go to the socket from there.
#include "broker/share.h"

#include <assert.h>

#include "kafka/group_requests.h"

static struct str text_of(const char *text) { return text == NULL || text[0] == '\0' ? (struct str){NULL, 0} : str_c(text); }

// Kafka's own text when the broker has none.
static struct str message_of(int error, const char *text) {
    if (error == 0) return (struct str){NULL, 0};
    return text_of(text == NULL || text[0] == '\0' ? kafka_error_text(error) : text);
}

typedef struct kafka_share_fetch_request_topics_partitions_acknowledgement_batches fetch_ack;
typedef struct kafka_share_acknowledge_request_topics_partitions_acknowledgement_batches ack_ack;
static_assert(sizeof(fetch_ack) == sizeof(ack_ack), "the two requests say the same of acknowledgements");

static void take_acks(struct kafka_req *q, const fetch_ack *batches, int32_t n, struct share_request_part *out) {
    struct share_ack *acks = ARENA_ARRAY(&q->arena, struct share_ack, n < 0 ? 0 : n);
    for (int32_t i = 0; i < n; i++)
        acks[i] = (struct share_ack){batches[i].first_offset, batches[i].last_offset, batches[i].acknowledge_types.p,
                                     batches[i].acknowledge_types.n < 0 ? 0 : (size_t)batches[i].acknowledge_types.n};
    out->acks = acks;
    out->n_acks = n < 0 ? 0 : (size_t)n;
}

// ---- ShareFetch -----------------------------------------------------------------------------------------------------------
typedef struct kafka_share_fetch_response_responses fetched_topic;
typedef struct kafka_share_fetch_response_responses_partitions fetched_part;

struct share_fetching_req {
    struct share_fetch fetch;
    size_t counted; // bytes
};

static void release_fetch(struct kafka_req *q) {
    struct share_fetching_req *x = q->state;
    for (size_t i = 0; i < x->fetch.n_out; i++) {
        buf_fini(&x->fetch.out[i].records);
        vec_fini(&x->fetch.out[i].acquired);
    }
    kafka_req_home(q)->fetch_bytes -= x->counted;
}

static void fill_part(struct kafka_req *q, const struct share_response_part *in, fetched_part *out) {
    typedef struct kafka_share_fetch_response_responses_partitions_acquired_records acquired;
    out->partition_index = in->partition;
    out->error_code = (int16_t)in->error;
    out->error_message = message_of(in->error, in->message);
    out->acknowledge_error_code = (int16_t)in->ack_error;
    out->acknowledge_error_message = message_of(in->ack_error, in->ack_message);
    out->records = in->records.n == 0 ? STR("") : buf_str(&in->records);
    out->acquired_records.p = KAFKA_ELEMENTS(&q->arena, kafka_share_fetch_response_responses_partitions_acquired_records, (int32_t)in->acquired.n);
    out->acquired_records.n = (int32_t)in->acquired.n;
    for (size_t i = 0; i < in->acquired.n; i++)
        out->acquired_records.p[i] = (acquired){in->acquired.p[i].first, in->acquired.p[i].last, in->acquired.p[i].count};
}

static void fill_fetched(struct kafka_req *q, const struct share_fetch *f, struct kafka_share_fetch_response *res) {
    res->responses.p = KAFKA_ELEMENTS(&q->arena, kafka_share_fetch_response_responses, (int32_t)f->n_out);
    res->responses.n = 0;
    bool *taken = ARENA_ARRAY(&q->arena, bool, f->n_out + 1);
    for (size_t i = 0; i < f->n_out; i++) {
        if (taken[i]) continue;
        fetched_topic *t = &res->responses.p[res->responses.n++];
        int32_t n = 0;
        memcpy(t->topic_id.b, f->out[i].topic_id, 16);
        for (size_t k = i; k < f->n_out; k++) n += memcmp(f->out[k].topic_id, f->out[i].topic_id, 16) == 0;
        t->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_share_fetch_response_responses_partitions, n);
        t->partitions.n = 0;
        for (size_t k = i; k < f->n_out; k++) {
            if (memcmp(f->out[k].topic_id, f->out[i].topic_id, 16) != 0) continue;
            taken[k] = true;
            fill_part(q, &f->out[k], &t->partitions.p[t->partitions.n++]);
        }
    }
}

static void fetched(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct share_fetching_req *x = q->state;
    struct kafka_share_fetch_response *res = q->res;
    q->cancel = NULL;
    res->error_code = (int16_t)call->error;
    res->error_message = message_of(call->error, call->message);
    res->acquisition_lock_timeout_ms = call->error == 0 ? x->fetch.lock_ms : 0;
    fill_fetched(q, &x->fetch, res);
    for (size_t i = 0; i < x->fetch.n_out; i++) x->counted += x->fetch.out[i].records.cap;
    kafka_req_home(q)->fetch_bytes += x->counted; // until it has been sent
    kafka_req_done(q);
}

static void cancel_fetch(struct kafka_req *q) {
    struct share_fetching_req *x = q->state;
    share_fetch_cancel(kafka_req_broker(q), x->fetch.id);
}

static void take_fetch_parts(struct kafka_req *q, const struct kafka_share_fetch_request *req, struct share_fetch *f) {
    size_t n = 0, forgotten = 0;
    for (int32_t t = 0; t < req->topics.n; t++) n += (size_t)req->topics.p[t].partitions.n;
    for (int32_t t = 0; t < req->forgotten_topics_data.n; t++) forgotten += (size_t)req->forgotten_topics_data.p[t].partitions.n;
    struct share_request_part *parts = ARENA_ARRAY(&q->arena, struct share_request_part, n + 1);
    struct share_request_part *gone = ARENA_ARRAY(&q->arena, struct share_request_part, forgotten + 1);
    for (int32_t t = 0; t < req->topics.n; t++)
        for (int32_t i = 0; i < req->topics.p[t].partitions.n; i++) {
            const struct kafka_share_fetch_request_topics_partitions *in = &req->topics.p[t].partitions.p[i];
            struct share_request_part *p = &parts[f->n_parts++];
            memcpy(p->topic_id, req->topics.p[t].topic_id.b, 16);
            p->partition = in->partition_index;
            take_acks(q, in->acknowledgement_batches.p, in->acknowledgement_batches.n, p);
        }
    for (int32_t t = 0; t < req->forgotten_topics_data.n; t++)
        for (int32_t i = 0; i < req->forgotten_topics_data.p[t].partitions.n; i++) {
            struct share_request_part *p = &gone[f->n_forgotten++];
            memcpy(p->topic_id, req->forgotten_topics_data.p[t].topic_id.b, 16);
            p->partition = req->forgotten_topics_data.p[t].partitions.p[i];
        }
    f->parts = parts;
    f->forgotten = gone;
}

void kafka_do_share_fetch(struct kafka_req *q) {
    const struct kafka_share_fetch_request *req = q->msg;
    struct share_fetching_req *x = ARENA_NEW(&q->arena, struct share_fetching_req);
    struct share_fetch *f = &x->fetch;
    f->call = kafka_group_call_of(q, fetched);
    f->group_id = kafka_group_name(q, req->group_id);
    f->member_id = kafka_group_name(q, req->member_id);
    f->connection = kafka_req_connection(q);
    f->session_epoch = req->share_session_epoch;
    f->max_wait_ms = req->max_wait_ms;
    f->min_bytes = req->min_bytes;
    f->max_bytes = req->max_bytes;
    if (kafka_req_home(q)->fetch_bytes > CONN_FETCH_BYTES && f->max_bytes > CONN_FETCH_MIN) f->max_bytes = CONN_FETCH_MIN;
    f->max_records = req->max_records;
    f->batch_size = req->batch_size;
    f->record_limit = req->share_acquire_mode == 1;
    f->is_renew = req->is_renew_ack;
    take_fetch_parts(q, req, f);
    q->state = x;
    q->release = release_fetch;
    share_fetch(kafka_req_broker(q), f);
    q->cancel = cancel_fetch;
}

// ---- ShareAcknowledge -----------------------------------------------------------------------------------------------------
static void acknowledged(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct share_acknowledge *a = q->state;
    const struct kafka_share_acknowledge_request *req = q->msg;
    struct kafka_share_acknowledge_response *res = q->res;
    res->error_code = (int16_t)call->error;
    res->error_message = message_of(call->error, call->message);
    if (call->error != 0) {
        kafka_req_done(q);
        return;
    }
    res->acquisition_lock_timeout_ms = a->lock_ms;
    res->responses.p = KAFKA_ELEMENTS(&q->arena, kafka_share_acknowledge_response_responses, req->topics.n);
    res->responses.n = req->topics.n;
    size_t at = 0;
    for (int32_t t = 0; t < req->topics.n; t++) {
        struct kafka_share_acknowledge_response_responses *out = &res->responses.p[t];
        int32_t n = req->topics.p[t].partitions.n;
        out->topic_id = req->topics.p[t].topic_id;
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_share_acknowledge_response_responses_partitions, n);
        out->partitions.n = n;
        for (int32_t i = 0; i < n; i++, at++) {
            out->partitions.p[i].partition_index = a->out[at].partition;
            out->partitions.p[i].error_code = (int16_t)a->out[at].ack_error;
            out->partitions.p[i].error_message = message_of(a->out[at].ack_error, a->out[at].ack_message);
        }
    }
    kafka_req_done(q);
}

void kafka_do_share_acknowledge(struct kafka_req *q) {
    const struct kafka_share_acknowledge_request *req = q->msg;
    struct share_acknowledge *a = ARENA_NEW(&q->arena, struct share_acknowledge);
    size_t n = 0;
    for (int32_t t = 0; t < req->topics.n; t++) n += (size_t)req->topics.p[t].partitions.n;
    struct share_request_part *parts = ARENA_ARRAY(&q->arena, struct share_request_part, n + 1);
    for (int32_t t = 0; t < req->topics.n; t++)
        for (int32_t i = 0; i < req->topics.p[t].partitions.n; i++) {
            const struct kafka_share_acknowledge_request_topics_partitions *in = &req->topics.p[t].partitions.p[i];
            struct share_request_part *p = &parts[a->n_parts++];
            memcpy(p->topic_id, req->topics.p[t].topic_id.b, 16);
            p->partition = in->partition_index;
            take_acks(q, (const fetch_ack *)(const void *)in->acknowledgement_batches.p, in->acknowledgement_batches.n, p);
        }
    a->call = kafka_group_call_of(q, acknowledged);
    a->group_id = kafka_group_name(q, req->group_id);
    a->member_id = kafka_group_name(q, req->member_id);
    a->session_epoch = req->share_session_epoch;
    a->is_renew = req->is_renew_ack;
    a->parts = parts;
    q->state = a;
    share_acknowledge(kafka_req_broker(q), a);
}
