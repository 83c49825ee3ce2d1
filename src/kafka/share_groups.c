// SPDX-License-Identifier: Apache-2.0
// ShareGroupHeartbeat, ShareGroupDescribe, and the offsets of share groups: translation between the messages and broker/share.h. Requests about
// several groups go one group after the other.
#include "broker/share.h"
#include "kafka/group_requests.h"

static struct str message_of(int error, const char *text) {
    if (error == 0) return (struct str){NULL, 0};
    return str_c(text == NULL || text[0] == '\0' ? kafka_error_text(error) : text);
}

// ---- ShareGroupHeartbeat --------------------------------------------------------------------------------------------------
static void beaten(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct share_heartbeat *h = q->state;
    struct kafka_share_group_heartbeat_response *res = q->res;
    res->error_code = (int16_t)call->error;
    res->error_message = message_of(call->error, call->message);
    if (call->error != 0) {
        kafka_req_done(q);
        return;
    }
    res->member_id = str_c(h->member_id);
    res->member_epoch = h->out_epoch;
    res->heartbeat_interval_ms = h->interval_ms;
    if (h->with_assignment) {
        struct kafka_share_group_heartbeat_response_assignment *a = ARENA_NEW(&q->arena, struct kafka_share_group_heartbeat_response_assignment);
        a->topic_partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_share_group_heartbeat_response_assignment_topic_partitions, (int32_t)h->n_assignment);
        a->topic_partitions.n = (int32_t)h->n_assignment;
        for (size_t i = 0; i < h->n_assignment; i++) {
            memcpy(a->topic_partitions.p[i].topic_id.b, h->assignment[i].topic_id, 16);
            a->topic_partitions.p[i].partitions.p = h->assignment[i].partitions;
            a->topic_partitions.p[i].partitions.n = (int32_t)h->assignment[i].n_partitions;
        }
        res->assignment = a;
    }
    kafka_req_done(q);
}

void kafka_do_share_group_heartbeat(struct kafka_req *q) {
    const struct kafka_share_group_heartbeat_request *req = q->msg;
    struct share_heartbeat *h = ARENA_NEW(&q->arena, struct share_heartbeat);
    h->call = kafka_group_call_of(q, beaten);
    h->group_id = kafka_group_name(q, req->group_id);
    h->member_id = kafka_group_name(q, req->member_id);
    h->member_epoch = req->member_epoch;
    h->rack_id = kafka_req_name(q, req->rack_id);
    h->client_id = kafka_group_client_id(q);
    h->client_host = kafka_group_client_host(q);
    h->topics = kafka_group_names(q, req->subscribed_topic_names.p, req->subscribed_topic_names.n, &h->n_topics);
    q->state = h;
    share_heartbeat(kafka_req_broker(q), h);
}

// ---- ShareGroupDescribe ---------------------------------------------------------------------------------------------------
typedef struct kafka_share_group_describe_response_groups described_group;
typedef struct kafka_share_group_describe_response_groups_members described_member;

struct describing {
    struct share_describe describe;
    int32_t at;
};

static void next_describe(struct kafka_req *q);

static void fill_member(struct kafka_req *q, const struct share_member_info *m, described_member *out) {
    out->member_id = str_c(m->member_id);
    out->rack_id = str_c(m->rack_id);
    out->member_epoch = m->epoch;
    out->client_id = str_c(m->client_id);
    out->client_host = str_c(m->client_host);
    struct str *names = ARENA_ARRAY(&q->arena, struct str, m->n_topics + 1);
    for (size_t i = 0; i < m->n_topics; i++) names[i] = str_c(m->topics[i]);
    out->subscribed_topic_names.p = names;
    out->subscribed_topic_names.n = (int32_t)m->n_topics;
    out->assignment.topic_partitions.p =
        KAFKA_ELEMENTS(&q->arena, kafka_share_group_describe_response_groups_members_assignment_topic_partitions, (int32_t)m->n_assignment);
    out->assignment.topic_partitions.n = (int32_t)m->n_assignment;
    for (size_t i = 0; i < m->n_assignment; i++) {
        memcpy(out->assignment.topic_partitions.p[i].topic_id.b, m->assignment[i].topic_id, 16);
        out->assignment.topic_partitions.p[i].topic_name = str_c(m->assignment[i].topic);
        out->assignment.topic_partitions.p[i].partitions.p = m->assignment[i].partitions;
        out->assignment.topic_partitions.p[i].partitions.n = (int32_t)m->assignment[i].n_partitions;
    }
}

static void described(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct describing *x = q->state;
    const struct share_describe *d = &x->describe;
    const struct kafka_share_group_describe_request *req = q->msg;
    struct kafka_share_group_describe_response *res = q->res;
    described_group *g = &res->groups.p[x->at++];
    g->group_id = str_c(d->group_id);
    g->error_code = (int16_t)call->error;
    g->error_message = call->error == 0 ? (struct str){NULL, 0} : str_c(arena_strdup(&q->arena, call->message));
    g->group_state = str_c(d->state);
    if (call->error == 0) {
        g->group_epoch = d->epoch;
        g->assignment_epoch = d->assignment_epoch;
        g->assignor_name = STR("simple");
        g->members.p = KAFKA_ELEMENTS(&q->arena, kafka_share_group_describe_response_groups_members, (int32_t)d->n_members);
        g->members.n = (int32_t)d->n_members;
        for (size_t i = 0; i < d->n_members; i++) fill_member(q, &d->members[i], &g->members.p[i]);
        if (req->include_authorized_operations) g->authorized_operations = KAFKA_GROUP_OPERATIONS;
    }
    next_describe(q);
}

static void next_describe(struct kafka_req *q) {
    const struct kafka_share_group_describe_request *req = q->msg;
    struct describing *x = q->state;
    if (x->at == req->group_ids.n) {
        kafka_req_done(q);
        return;
    }
    if (kafka_req_overgrown(q)) return;
    x->describe = (struct share_describe){.call = kafka_group_call_of(q, described), .group_id = kafka_group_name(q, req->group_ids.p[x->at])};
    share_describe(kafka_req_broker(q), &x->describe);
}

void kafka_do_share_group_describe(struct kafka_req *q) {
    const struct kafka_share_group_describe_request *req = q->msg;
    struct kafka_share_group_describe_response *res = q->res;
    res->groups.p = KAFKA_ELEMENTS(&q->arena, kafka_share_group_describe_response_groups, req->group_ids.n);
    res->groups.n = req->group_ids.n;
    q->state = ARENA_NEW(&q->arena, struct describing);
    next_describe(q);
}

// ---- DescribeShareGroupOffsets --------------------------------------------------------------------------------------------
typedef struct kafka_describe_share_group_offsets_request_groups offsets_group;
typedef struct kafka_describe_share_group_offsets_response_groups offsets_result;
typedef struct kafka_describe_share_group_offsets_response_groups_topics offsets_topic;

struct describing_offsets {
    struct share_offsets offsets;
    int32_t at;
};

static void next_offsets(struct kafka_req *q);

static void fill_topic(struct kafka_req *q, const struct share_offset *from, size_t n, const char *topic, offsets_topic *t) {
    struct broker_topic_info info;
    t->topic_name = str_c(topic);
    if (broker_topic_get(kafka_req_broker(q), str_c(topic), &q->arena, &info)) memcpy(t->topic_id.b, info.id, 16);
    t->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_share_group_offsets_response_groups_topics_partitions, (int32_t)n);
    t->partitions.n = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        t->partitions.p[i].partition_index = from[i].partition;
        t->partitions.p[i].start_offset = from[i].start;
        t->partitions.p[i].leader_epoch = from[i].leader_epoch;
        t->partitions.p[i].lag = from[i].lag;
        t->partitions.p[i].error_code = (int16_t)from[i].error;
        t->partitions.p[i].error_message = message_of(from[i].error, from[i].message);
    }
}

static void offsets_described(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct describing_offsets *x = q->state;
    struct kafka_describe_share_group_offsets_response *res = q->res;
    const struct share_offsets *o = &x->offsets;
    offsets_result *g = &res->groups.p[x->at++];
    g->group_id = str_c(o->group_id);
    g->error_code = (int16_t)call->error;
    if (call->error != 0) g->error_message = str_c(arena_strdup(&q->arena, call->message));
    g->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_share_group_offsets_response_groups_topics, (int32_t)o->n_offsets);
    g->topics.n = 0;
    for (size_t i = 0, end; call->error == 0 && i < o->n_offsets; i = end) {
        for (end = i + 1; end < o->n_offsets && strcmp(o->offsets[end].topic, o->offsets[i].topic) == 0; end++) {}
        fill_topic(q, &o->offsets[i], end - i, o->offsets[i].topic, &g->topics.p[g->topics.n++]);
    }
    next_offsets(q);
}

static void next_offsets(struct kafka_req *q) {
    const struct kafka_describe_share_group_offsets_request *req = q->msg;
    struct describing_offsets *x = q->state;
    if (x->at == req->groups.n) {
        kafka_req_done(q);
        return;
    }
    if (kafka_req_overgrown(q)) return;
    const offsets_group *g = &req->groups.p[x->at];
    x->offsets = (struct share_offsets){.call = kafka_group_call_of(q, offsets_described), .kind = SHARE_OFFSETS_DESCRIBE, .all = g->topics.n < 0};
    x->offsets.group_id = kafka_group_name(q, g->group_id);
    size_t n = 0;
    for (int32_t t = 0; t < g->topics.n; t++) n += (size_t)g->topics.p[t].partitions.n;
    x->offsets.offsets = ARENA_ARRAY(&q->arena, struct share_offset, n + 1);
    for (int32_t t = 0; t < g->topics.n; t++)
        for (int32_t i = 0; i < g->topics.p[t].partitions.n; i++)
            x->offsets.offsets[x->offsets.n_offsets++] =
                (struct share_offset){.topic = kafka_group_name(q, g->topics.p[t].topic_name), .partition = g->topics.p[t].partitions.p[i]};
    share_offsets(kafka_req_broker(q), &x->offsets);
}

void kafka_do_describe_share_group_offsets(struct kafka_req *q) {
    const struct kafka_describe_share_group_offsets_request *req = q->msg;
    struct kafka_describe_share_group_offsets_response *res = q->res;
    res->groups.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_share_group_offsets_response_groups, req->groups.n);
    res->groups.n = req->groups.n;
    q->state = ARENA_NEW(&q->arena, struct describing_offsets);
    next_offsets(q);
}

// ---- AlterShareGroupOffsets, DeleteShareGroupOffsets ----------------------------------------------------------------------
static void altered(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct share_offsets *o = q->state;
    const struct kafka_alter_share_group_offsets_request *req = q->msg;
    struct kafka_alter_share_group_offsets_response *res = q->res;
    res->error_code = (int16_t)call->error;
    res->error_message = message_of(call->error, call->message);
    res->responses.n = 0;
    if (call->error != 0) {
        kafka_req_done(q);
        return;
    }
    res->responses.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_share_group_offsets_response_responses, req->topics.n);
    res->responses.n = req->topics.n;
    size_t at = 0;
    for (int32_t t = 0; t < req->topics.n; t++) {
        struct kafka_alter_share_group_offsets_response_responses *out = &res->responses.p[t];
        int32_t n = req->topics.p[t].partitions.n;
        out->topic_name = req->topics.p[t].topic_name;
        if (n > 0) memcpy(out->topic_id.b, o->offsets[at].topic_id, 16);
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_share_group_offsets_response_responses_partitions, n);
        out->partitions.n = n;
        for (int32_t i = 0; i < n; i++, at++) {
            out->partitions.p[i].partition_index = o->offsets[at].partition;
            out->partitions.p[i].error_code = (int16_t)o->offsets[at].error;
            out->partitions.p[i].error_message = message_of(o->offsets[at].error, o->offsets[at].message);
        }
    }
    kafka_req_done(q);
}

void kafka_do_alter_share_group_offsets(struct kafka_req *q) {
    const struct kafka_alter_share_group_offsets_request *req = q->msg;
    struct share_offsets *o = ARENA_NEW(&q->arena, struct share_offsets);
    size_t n = 0;
    for (int32_t t = 0; t < req->topics.n; t++) n += (size_t)req->topics.p[t].partitions.n;
    o->call = kafka_group_call_of(q, altered);
    o->kind = SHARE_OFFSETS_ALTER;
    o->group_id = kafka_group_name(q, req->group_id);
    o->offsets = ARENA_ARRAY(&q->arena, struct share_offset, n + 1);
    for (int32_t t = 0; t < req->topics.n; t++)
        for (int32_t i = 0; i < req->topics.p[t].partitions.n; i++)
            o->offsets[o->n_offsets++] = (struct share_offset){.topic = kafka_group_name(q, req->topics.p[t].topic_name),
                                                               .partition = req->topics.p[t].partitions.p[i].partition_index,
                                                               .start = req->topics.p[t].partitions.p[i].start_offset};
    q->state = o;
    share_offsets(kafka_req_broker(q), o);
}

static void offsets_deleted(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct share_offsets *o = q->state;
    struct kafka_delete_share_group_offsets_response *res = q->res;
    res->error_code = (int16_t)call->error;
    res->error_message = message_of(call->error, call->message);
    res->responses.n = 0;
    if (call->error == 0) {
        res->responses.p = KAFKA_ELEMENTS(&q->arena, kafka_delete_share_group_offsets_response_responses, (int32_t)o->n_offsets);
        res->responses.n = (int32_t)o->n_offsets;
    }
    for (int32_t i = 0; i < res->responses.n; i++) {
        res->responses.p[i].topic_name = str_c(o->offsets[i].topic);
        memcpy(res->responses.p[i].topic_id.b, o->offsets[i].topic_id, 16);
        res->responses.p[i].error_code = (int16_t)o->offsets[i].error;
        res->responses.p[i].error_message = o->offsets[i].message != NULL ? str_c(o->offsets[i].message) : message_of(o->offsets[i].error, NULL);
    }
    kafka_req_done(q);
}

void kafka_do_delete_share_group_offsets(struct kafka_req *q) {
    const struct kafka_delete_share_group_offsets_request *req = q->msg;
    struct share_offsets *o = ARENA_NEW(&q->arena, struct share_offsets);
    o->call = kafka_group_call_of(q, offsets_deleted);
    o->kind = SHARE_OFFSETS_DELETE;
    o->group_id = kafka_group_name(q, req->group_id);
    o->offsets = ARENA_ARRAY(&q->arena, struct share_offset, req->topics.n + 1);
    for (int32_t t = 0; t < req->topics.n; t++) o->offsets[o->n_offsets++] = (struct share_offset){.topic = kafka_group_name(q, req->topics.p[t].topic_name)};
    q->state = o;
    share_offsets(kafka_req_broker(q), o);
}
