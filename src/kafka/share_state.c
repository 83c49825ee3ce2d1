// SPDX-License-Identifier: Apache-2.0
// The share coordinator's state APIs (InitializeShareGroupState, Read, Write, Delete, ReadSummary): what brokers ask of each other in a cluster
// of Kafka; here any client may, and what it changes is read again by the share-partition.
#include "broker/share.h"
#include "kafka/conn.h"

static struct share_state *state_new(struct kafka_req *q, enum share_state_kind kind, struct str group, size_t n, void (*done)(struct group_call *c)) {
    struct share_state *s = ARENA_NEW(&q->arena, struct share_state);
    s->call = (struct group_call){.done = done, .back = kafka_req_loop(q), .arena = &q->arena, .arg = q};
    s->kind = kind;
    s->group_id = group.p == NULL ? "" : kafka_req_name(q, group);
    s->parts = ARENA_ARRAY(&q->arena, struct share_state_part, n + 1);
    q->state = s;
    return s;
}

static struct share_state_part *add_part(struct share_state *s, const struct kafka_uuid *topic, int32_t partition) {
    struct share_state_part *p = &s->parts[s->n_parts++];
    memcpy(p->topic_id, topic->b, 16);
    p->partition = partition;
    p->state_epoch = p->leader_epoch = p->complete = -1;
    p->start = -1;
    return p;
}

static struct str message_of(const struct share_state_part *p) {
    if (p->error == 0) return (struct str){NULL, 0};
    return str_c(p->message == NULL ? kafka_error_text(p->error) : p->message);
}

// The five are alike in shape: topics with partitions in, results with partitions out. FILL sets what the response says beside the error.
#define PARTS_OF(req, n) \
    for (int32_t t_ = 0; t_ < (req)->topics.n; t_++) (n) += (size_t)(req)->topics.p[t_].partitions.n

#define ANSWER(name, FILL)                                                                                                              \
    static void name##_done(struct group_call *call) {                                                                                  \
        struct kafka_req *q = call->arg;                                                                                                \
        const struct share_state *s = q->state;                                                                                         \
        const struct kafka_##name##_request *req = q->msg;                                                                              \
        struct kafka_##name##_response *res = q->res;                                                                                   \
        size_t at = 0;                                                                                                                  \
        res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_##name##_response_results, req->topics.n);                                     \
        res->results.n = req->topics.n;                                                                                                 \
        for (int32_t t = 0; t < req->topics.n; t++) {                                                                                   \
            int32_t n = req->topics.p[t].partitions.n;                                                                                  \
            res->results.p[t].topic_id = req->topics.p[t].topic_id;                                                                     \
            res->results.p[t].partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_##name##_response_results_partitions, n);                  \
            res->results.p[t].partitions.n = n;                                                                                         \
            for (int32_t i = 0; i < n; i++, at++) {                                                                                     \
                struct kafka_##name##_response_results_partitions *out = &res->results.p[t].partitions.p[i];                            \
                out->partition = s->parts[at].partition;                                                                                \
                out->error_code = (int16_t)s->parts[at].error;                                                                          \
                out->error_message = message_of(&s->parts[at]);                                                                         \
                FILL(q, &s->parts[at], out);                                                                                            \
            }                                                                                                                           \
        }                                                                                                                               \
        kafka_req_done(q);                                                                                                              \
    }

#define ASK(name, kind, TAKE)                                                                                   \
    void kafka_do_##name(struct kafka_req *q) {                                                                 \
        const struct kafka_##name##_request *req = q->msg;                                                      \
        size_t n = 0;                                                                                           \
        PARTS_OF(req, n);                                                                                       \
        struct share_state *s = state_new(q, kind, req->group_id, n, name##_done);                              \
        for (int32_t t = 0; t < req->topics.n; t++)                                                             \
            for (int32_t i = 0; i < req->topics.p[t].partitions.n; i++) {                                       \
                const struct kafka_##name##_request_topics_partitions *in = &req->topics.p[t].partitions.p[i];  \
                struct share_state_part *p = add_part(s, &req->topics.p[t].topic_id, in->partition);            \
                TAKE(q, in, p);                                                                                 \
            }                                                                                                   \
        share_state(kafka_req_broker(q), s);                                                                    \
    }

#define NOTHING(q, a, b) ((void)(q), (void)(a), (void)(b))

static void fill_read(struct kafka_req *q, const struct share_state_part *p, struct kafka_read_share_group_state_response_results_partitions *out) {
    typedef struct kafka_read_share_group_state_response_results_partitions_state_batches state_batch;
    if (p->error != 0) return;
    out->state_epoch = p->state_epoch;
    out->start_offset = p->start;
    out->state_batches.p = KAFKA_ELEMENTS(&q->arena, kafka_read_share_group_state_response_results_partitions_state_batches, (int32_t)p->n_ranges);
    out->state_batches.n = (int32_t)p->n_ranges;
    for (size_t i = 0; i < p->n_ranges; i++)
        out->state_batches.p[i] = (state_batch){p->ranges[i].first, p->ranges[i].last, p->ranges[i].state, p->ranges[i].count};
}

static void fill_summary(struct kafka_req *q, const struct share_state_part *p, struct kafka_read_share_group_state_summary_response_results_partitions *out) {
    (void)q;
    if (p->error != 0) return;
    out->state_epoch = p->state_epoch;
    out->leader_epoch = p->leader_epoch;
    out->start_offset = p->start;
    out->delivery_complete_count = p->complete;
}

static void take_initialize(struct kafka_req *q, const struct kafka_initialize_share_group_state_request_topics_partitions *in, struct share_state_part *p) {
    (void)q;
    p->state_epoch = in->state_epoch;
    p->leader_epoch = 0;
    p->start = in->start_offset;
}

static void take_write(struct kafka_req *q, const struct kafka_write_share_group_state_request_topics_partitions *in, struct share_state_part *p) {
    int32_t n = in->state_batches.n < 0 ? 0 : in->state_batches.n;
    struct share_range *ranges = ARENA_ARRAY(&q->arena, struct share_range, n + 1);
    for (int32_t i = 0; i < n; i++)
        ranges[i] = (struct share_range){in->state_batches.p[i].first_offset, in->state_batches.p[i].last_offset, in->state_batches.p[i].delivery_count,
                                         in->state_batches.p[i].delivery_state};
    p->state_epoch = in->state_epoch;
    p->leader_epoch = in->leader_epoch;
    p->start = in->start_offset;
    p->complete = in->delivery_complete_count;
    p->ranges = ranges;
    p->n_ranges = (size_t)n;
}

#define TAKE_EPOCH(q, in, p) ((void)(q), (p)->leader_epoch = (in)->leader_epoch)

ANSWER(initialize_share_group_state, NOTHING)
ASK(initialize_share_group_state, SHARE_STATE_INITIALIZE, take_initialize)
ANSWER(read_share_group_state, fill_read)
ASK(read_share_group_state, SHARE_STATE_READ, TAKE_EPOCH)
ANSWER(write_share_group_state, NOTHING)
ASK(write_share_group_state, SHARE_STATE_WRITE, take_write)
ANSWER(delete_share_group_state, NOTHING)
ASK(delete_share_group_state, SHARE_STATE_DELETE, NOTHING)
ANSWER(read_share_group_state_summary, fill_summary)
ASK(read_share_group_state_summary, SHARE_STATE_SUMMARY, TAKE_EPOCH)
