// SPDX-License-Identifier: Apache-2.0
// ConsumerGroupHeartbeat and ConsumerGroupDescribe (KIP-848): translation between the messages and broker/groups.h.
#include "kafka/authorize.h"
#include "kafka/group_requests.h"
#include "kafka/security.h"

// ---- ConsumerGroupHeartbeat -----------------------------------------------------------------------------------------

typedef struct kafka_consumer_group_heartbeat_response_assignment_topic_partitions heartbeat_topic;

static size_t run_end(const struct group_partition *p, size_t n, size_t at) {
    size_t end = at;
    while (end < n && memcmp(p[end].topic_id, p[at].topic_id, 16) == 0) end++;
    return end;
}

static int32_t count_topics(const struct group_partition *p, size_t n) {
    int32_t topics = 0;
    for (size_t i = 0; i < n; i = run_end(p, n, i)) topics++;
    return topics;
}

static void fill_assignment(struct kafka_req *q, const struct consumer_heartbeat *h, struct kafka_consumer_group_heartbeat_response *res) {
    res->assignment = ARENA_NEW(&q->arena, struct kafka_consumer_group_heartbeat_response_assignment);
    int32_t topics = count_topics(h->assignment, h->n_assignment);
    res->assignment->topic_partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_consumer_group_heartbeat_response_assignment_topic_partitions, topics);
    for (size_t i = 0, end; i < h->n_assignment; i = end) {
        end = run_end(h->assignment, h->n_assignment, i);
        heartbeat_topic *t = &res->assignment->topic_partitions.p[res->assignment->topic_partitions.n++];
        memcpy(t->topic_id.b, h->assignment[i].topic_id, 16);
        t->partitions.p = ARENA_ARRAY(&q->arena, int32_t, end - i);
        for (size_t k = i; k < end; k++) t->partitions.p[t->partitions.n++] = h->assignment[k].partition;
    }
}

static void heart_beaten(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct consumer_heartbeat *h = q->state;
    struct kafka_consumer_group_heartbeat_response *res = q->res;
    res->error_code = (int16_t)call->error;
    res->error_message = kafka_group_message(q, call);
    if (call->error == 0) {
        res->member_id = str_c(h->out_member_id);
        res->member_epoch = h->out_member_epoch;
        res->heartbeat_interval_ms = h->heartbeat_ms;
        if (h->has_assignment) fill_assignment(q, h, res);
    }
    kafka_req_done(q);
}

static void take_owned(struct kafka_req *q, const struct kafka_consumer_group_heartbeat_request *req, struct consumer_heartbeat *h) {
    size_t n = 0;
    for (int32_t t = 0; t < req->topic_partitions.n; t++) n += (size_t)req->topic_partitions.p[t].partitions.n;
    struct group_partition *owned = ARENA_ARRAY(&q->arena, struct group_partition, n + 1);
    for (int32_t t = 0; t < req->topic_partitions.n; t++)
        for (int32_t i = 0; i < req->topic_partitions.p[t].partitions.n; i++) {
            memcpy(owned[h->n_owned].topic_id, req->topic_partitions.p[t].topic_id.b, 16);
            owned[h->n_owned++].partition = req->topic_partitions.p[t].partitions.p[i];
        }
    h->owned = owned;
}

static bool may_describe(void *security, const char *principal, const char *host, const char *topic) {
    return security_may(security, str_c(principal), str_c(host), ACL_DESCRIBE, ACL_TOPIC, str_c(topic));
}

void kafka_do_consumer_group_heartbeat(struct kafka_req *q) {
    const struct kafka_consumer_group_heartbeat_request *req = q->msg;
    struct consumer_heartbeat *h = ARENA_NEW(&q->arena, struct consumer_heartbeat);
    h->call = kafka_group_call_of(q, heart_beaten);
    h->group_id = kafka_req_name(q, req->group_id);
    h->member_id = kafka_req_name(q, req->member_id);
    h->member_epoch = req->member_epoch;
    h->group_instance_id = kafka_req_name(q, req->instance_id);
    h->rack_id = kafka_req_name(q, req->rack_id);
    h->rebalance_timeout_ms = req->rebalance_timeout_ms;
    h->regex = kafka_req_name(q, req->subscribed_topic_regex);
    h->assignor = kafka_req_name(q, req->server_assignor);
    h->client_id = kafka_group_client_id(q);
    h->client_host = kafka_group_client_host(q);
    h->member_id_required = q->version >= 1;
    if (kafka_has_authorizer(q)) h->rights = (struct topic_rights){may_describe, kafka_req_security(q), kafka_req_principal(q), kafka_req_host(q)};
    h->topics = kafka_group_names(q, req->subscribed_topic_names.p, req->subscribed_topic_names.n, &h->n_topics);
    if (req->topic_partitions.n >= 0) take_owned(q, req, h);
    q->state = h;
    group_consumer_heartbeat(kafka_req_broker(q), h);
}

// ---- ConsumerGroupDescribe ------------------------------------------------------------------------------------------

typedef struct kafka_consumer_group_describe_response_groups_members described_member;

struct describing {
    struct consumer_describe describe;
    int32_t at;
};
static void next_describe(struct kafka_req *q);

// The two assignments of a member have types of their own with the same fields.
#define FILL_TOPICS(q, to, element, from, count)                                                          \
    do {                                                                                                  \
        (to)->topic_partitions.p = KAFKA_ELEMENTS(&(q)->arena, element, count_topics((from), (count)));   \
        for (size_t i_ = 0, end_; i_ < (count); i_ = end_) {                                              \
            end_ = run_end((from), (count), i_);                                                          \
            struct element *t_ = &(to)->topic_partitions.p[(to)->topic_partitions.n++];                   \
            memcpy(t_->topic_id.b, (from)[i_].topic_id, 16);                                              \
            t_->topic_name = str_c((from)[i_].topic);                                                     \
            t_->partitions.p = ARENA_ARRAY(&(q)->arena, int32_t, end_ - i_);                              \
            for (size_t k_ = i_; k_ < end_; k_++) t_->partitions.p[t_->partitions.n++] = (from)[k_].partition; \
        }                                                                                                 \
    } while (0)

static void fill_member(struct kafka_req *q, const struct consumer_member_info *m, described_member *out) {
    out->member_id = str_c(m->member_id);
    out->instance_id = str_c(m->group_instance_id);
    out->rack_id = str_c(m->rack_id);
    out->member_epoch = m->member_epoch;
    out->client_id = str_c(m->client_id);
    out->client_host = str_c(m->client_host);
    out->subscribed_topic_names.p = ARENA_ARRAY(&q->arena, struct str, m->n_topics + 1);
    for (size_t i = 0; i < m->n_topics; i++) out->subscribed_topic_names.p[out->subscribed_topic_names.n++] = str_c(m->topics[i]);
    out->subscribed_topic_regex = str_c(m->regex);
    out->member_type = (int8_t)m->member_type;
    FILL_TOPICS(q, &out->assignment, kafka_consumer_group_describe_response_groups_members_assignment_topic_partitions, m->assignment,
                m->n_assignment);
    FILL_TOPICS(q, &out->target_assignment, kafka_consumer_group_describe_response_groups_members_target_assignment_topic_partitions, m->target,
                m->n_target);
}

static void described(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct describing *s = q->state;
    const struct kafka_consumer_group_describe_request *req = q->msg;
    struct kafka_consumer_group_describe_response *res = q->res;
    struct kafka_consumer_group_describe_response_groups *g = &res->groups.p[s->at];
    const struct consumer_describe *d = &s->describe;
    g->group_id = req->group_ids.p[s->at];
    g->error_code = (int16_t)call->error;
    g->error_message = kafka_group_message(q, call);
    g->group_state = str_c(d->state);
    g->assignor_name = str_c(d->assignor);
    if (call->error == 0) {
        g->group_epoch = d->group_epoch;
        g->assignment_epoch = d->assignment_epoch;
        if (req->include_authorized_operations) g->authorized_operations = KAFKA_GROUP_OPERATIONS;
        g->members.p = KAFKA_ELEMENTS(&q->arena, kafka_consumer_group_describe_response_groups_members, (int32_t)d->n_members);
        g->members.n = (int32_t)d->n_members;
        for (size_t i = 0; i < d->n_members; i++) fill_member(q, &d->members[i], &g->members.p[i]);
    }
    s->at++;
    next_describe(q);
}

static void next_describe(struct kafka_req *q) {
    struct describing *s = q->state;
    const struct kafka_consumer_group_describe_request *req = q->msg;
    if (s->at == req->group_ids.n) {
        kafka_req_done(q);
        return;
    }
    if (kafka_req_overgrown(q)) return;
    s->describe = (struct consumer_describe){.call = kafka_group_call_of(q, described), .group_id = kafka_req_name(q, req->group_ids.p[s->at])};
    group_consumer_describe(kafka_req_broker(q), &s->describe);
}

void kafka_do_consumer_group_describe(struct kafka_req *q) {
    const struct kafka_consumer_group_describe_request *req = q->msg;
    struct kafka_consumer_group_describe_response *res = q->res;
    res->groups.p = KAFKA_ELEMENTS(&q->arena, kafka_consumer_group_describe_response_groups, req->group_ids.n);
    res->groups.n = req->group_ids.n;
    q->state = ARENA_NEW(&q->arena, struct describing);
    next_describe(q);
}
