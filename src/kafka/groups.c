// SPDX-License-Identifier: Apache-2.0
// The classic consumer group APIs: translation between the messages and the coordinator's calls (broker/groups.h).
//
// A call and its results live in the request's arena, which the coordinator uses until the call is done. Requests about several groups go one
// group after the other.
#include <assert.h>

#include "kafka/group_requests.h"

// ---- JoinGroup, SyncGroup, Heartbeat, LeaveGroup -----------------------------------------------------------------------
static void joined(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct group_join *j = q->state;
    struct kafka_join_group_response *res = q->res;
    res->error_code = (int16_t)call->error;
    res->generation_id = j->generation;
    if (call->error == 0) res->protocol_type = str_c(j->protocol_type);
    res->protocol_name = j->protocol_name == NULL && q->version < 7 ? STR("") : str_c(j->protocol_name);
    res->leader = str_c(j->leader);
    res->member_id = str_c(j->out_member_id);
    res->skip_assignment = j->skip_assignment;
    res->members.p = KAFKA_ELEMENTS(&q->arena, kafka_join_group_response_members, (int32_t)j->n_members);
    res->members.n = (int32_t)j->n_members;
    for (size_t i = 0; i < j->n_members; i++)
        res->members.p[i] = (struct kafka_join_group_response_members){str_c(j->members[i].member_id), str_c(j->members[i].group_instance_id),
                                                                       j->members[i].metadata};
    kafka_req_done(q);
}

void kafka_do_join_group(struct kafka_req *q) {
    const struct kafka_join_group_request *req = q->msg;
    struct group_join *j = ARENA_NEW(&q->arena, struct group_join);
    struct group_protocol *protocols = ARENA_ARRAY(&q->arena, struct group_protocol, req->protocols.n);
    for (int32_t i = 0; i < req->protocols.n; i++)
        protocols[i] = (struct group_protocol){kafka_req_name(q, req->protocols.p[i].name), req->protocols.p[i].metadata};
    j->call = kafka_group_call_of(q, joined);
    j->group_id = kafka_req_name(q, req->group_id);
    j->member_id = kafka_req_name(q, req->member_id);
    j->group_instance_id = kafka_req_name(q, req->group_instance_id);
    j->protocol_type = kafka_req_name(q, req->protocol_type);
    j->client_id = kafka_group_client_id(q);
    j->client_host = kafka_group_client_host(q);
    j->session_timeout_ms = req->session_timeout_ms;
    j->rebalance_timeout_ms = req->rebalance_timeout_ms;
    j->protocols = protocols;
    j->n_protocols = (size_t)req->protocols.n;
    j->require_member_id = q->version >= 4;
    j->may_skip_assignment = q->version >= 9;
    j->reason = kafka_req_name(q, req->reason);
    q->state = j;
    group_join(kafka_req_broker(q), j);
}

static void synced(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct group_sync *s = q->state;
    struct kafka_sync_group_response *res = q->res;
    res->error_code = (int16_t)call->error;
    if (call->error == 0) {
        res->protocol_type = str_c(s->out_protocol_type);
        res->protocol_name = str_c(s->out_protocol_name);
        res->assignment = s->assignment;
    }
    kafka_req_done(q);
}

void kafka_do_sync_group(struct kafka_req *q) {
    const struct kafka_sync_group_request *req = q->msg;
    struct group_sync *s = ARENA_NEW(&q->arena, struct group_sync);
    if (q->version >= 5 && (req->protocol_type.p == NULL || req->protocol_name.p == NULL)) {
        ((struct kafka_sync_group_response *)q->res)->error_code = KAFKA_INCONSISTENT_GROUP_PROTOCOL;
        kafka_req_done(q);
        return;
    }
    struct group_assignment *assignments = ARENA_ARRAY(&q->arena, struct group_assignment, req->assignments.n);
    for (int32_t i = 0; i < req->assignments.n; i++)
        assignments[i] = (struct group_assignment){kafka_req_name(q, req->assignments.p[i].member_id), req->assignments.p[i].assignment};
    s->call = kafka_group_call_of(q, synced);
    s->group_id = kafka_req_name(q, req->group_id);
    s->member_id = kafka_req_name(q, req->member_id);
    s->group_instance_id = kafka_req_name(q, req->group_instance_id);
    s->generation = req->generation_id;
    s->protocol_type = kafka_req_name(q, req->protocol_type);
    s->protocol_name = kafka_req_name(q, req->protocol_name);
    s->assignments = assignments;
    s->n_assignments = (size_t)req->assignments.n;
    q->state = s;
    group_sync(kafka_req_broker(q), s);
}

static void heart_beaten(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct kafka_heartbeat_response *res = q->res;
    res->error_code = (int16_t)call->error;
    kafka_req_done(q);
}

void kafka_do_heartbeat(struct kafka_req *q) {
    const struct kafka_heartbeat_request *req = q->msg;
    struct group_heartbeat *h = ARENA_NEW(&q->arena, struct group_heartbeat);
    h->call = kafka_group_call_of(q, heart_beaten);
    h->group_id = kafka_req_name(q, req->group_id);
    h->member_id = kafka_req_name(q, req->member_id);
    h->group_instance_id = kafka_req_name(q, req->group_instance_id);
    h->generation = req->generation_id;
    group_heartbeat(kafka_req_broker(q), h);
}

static void group_left(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct group_leave *l = q->state;
    const struct kafka_leave_group_request *req = q->msg;
    struct kafka_leave_group_response *res = q->res;
    res->error_code = (int16_t)call->error;
    if (q->version < 3) {
        if (call->error == 0 && l->n_members == 1) res->error_code = (int16_t)l->members[0].error;
        kafka_req_done(q);
        return;
    }
    res->members.n = call->error == 0 ? req->members.n : 0;
    res->members.p = KAFKA_ELEMENTS(&q->arena, kafka_leave_group_response_members, res->members.n);
    for (int32_t i = 0; i < res->members.n; i++)
        res->members.p[i] = (struct kafka_leave_group_response_members){req->members.p[i].member_id, req->members.p[i].group_instance_id,
                                                                        (int16_t)l->members[i].error};
    kafka_req_done(q);
}

void kafka_do_leave_group(struct kafka_req *q) {
    const struct kafka_leave_group_request *req = q->msg;
    struct group_leave *l = ARENA_NEW(&q->arena, struct group_leave);
    l->call = kafka_group_call_of(q, group_left);
    l->group_id = kafka_req_name(q, req->group_id);
    l->n_members = q->version < 3 ? 1 : (size_t)req->members.n;
    l->members = ARENA_ARRAY(&q->arena, struct group_leaver, l->n_members);
    if (q->version < 3) l->members[0].member_id = kafka_req_name(q, req->member_id);
    for (size_t i = 0; i < l->n_members && q->version >= 3; i++) {
        l->members[i].member_id = kafka_req_name(q, req->members.p[i].member_id);
        l->members[i].group_instance_id = kafka_req_name(q, req->members.p[i].group_instance_id);
    }
    q->state = l;
    group_leave(kafka_req_broker(q), l);
}

// ---- OffsetCommit -------------------------------------------------------------------------------------------------------
static const char *topic_name(struct kafka_req *q, bool by_id, struct str name, const struct kafka_uuid *id) {
    struct broker_topic_info info;
    if (!by_id) return kafka_req_name(q, name);
    return broker_topic_get_id(kafka_req_broker(q), id->b, &q->arena, &info) ? info.name : NULL;
}

static void committed(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct group_commit *c = q->state;
    struct kafka_offset_commit_response *res = q->res;
    size_t at = 0;
    for (int32_t t = 0; t < res->topics.n; t++) {
        struct kafka_offset_commit_response_topics *topic = &res->topics.p[t];
        for (int32_t i = 0; i < topic->partitions.n; i++) {
            if (topic->partitions.p[i].error_code != 0) continue; // unknown topic id: was not handed on
            int error = c->offsets[at++].error;
            topic->partitions.p[i].error_code = (int16_t)(error != 0 ? error : call->error);
        }
    }
    assert(at == c->n_offsets);
    kafka_req_done(q);
}

static void add_commits(struct kafka_req *q, struct group_commit *c, const struct kafka_offset_commit_request_topics *topic,
                        struct kafka_offset_commit_response_topics *out) {
    const char *name = topic_name(q, q->version >= 10, topic->name, &topic->topic_id);
    out->name = topic->name;
    out->topic_id = topic->topic_id;
    out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_commit_response_topics_partitions, topic->partitions.n);
    out->partitions.n = topic->partitions.n;
    for (int32_t i = 0; i < topic->partitions.n; i++) {
        const struct kafka_offset_commit_request_topics_partitions *p = &topic->partitions.p[i];
        out->partitions.p[i].partition_index = p->partition_index;
        if (name == NULL) {
            out->partitions.p[i].error_code = KAFKA_UNKNOWN_TOPIC_ID;
            continue;
        }
        c->offsets[c->n_offsets++] = (struct group_offset){.topic = name, .partition = p->partition_index, .offset = p->committed_offset,
                                                           .leader_epoch = p->committed_leader_epoch, .metadata = p->committed_metadata};
    }
}

void kafka_do_offset_commit(struct kafka_req *q) {
    const struct kafka_offset_commit_request *req = q->msg;
    struct kafka_offset_commit_response *res = q->res;
    struct group_commit *c = ARENA_NEW(&q->arena, struct group_commit);
    size_t n = 0;
    for (int32_t t = 0; t < req->topics.n; t++) n += (size_t)req->topics.p[t].partitions.n;
    c->call = kafka_group_call_of(q, committed);
    c->group_id = kafka_req_name(q, req->group_id);
    c->member_id = kafka_req_name(q, req->member_id);
    c->group_instance_id = kafka_req_name(q, req->group_instance_id);
    c->generation = req->generation_id_or_member_epoch;
    c->knows_epochs = q->version >= 9;
    c->offsets = ARENA_ARRAY(&q->arena, struct group_offset, n);
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_commit_response_topics, req->topics.n);
    res->topics.n = req->topics.n;
    for (int32_t t = 0; t < req->topics.n; t++) add_commits(q, c, &req->topics.p[t], &res->topics.p[t]);
    q->state = c;
    group_commit(kafka_req_broker(q), c);
}

// ---- OffsetFetch: one group before version 8, then several -----------------------------------------------------------------
typedef struct kafka_offset_fetch_request_groups fetch_group;
typedef struct kafka_offset_fetch_response_groups fetched_group;
typedef struct kafka_offset_fetch_response_groups_topics fetched_topic;

struct offset_fetching {
    struct group_fetch fetch;
    const fetch_group *groups; // in the newer versions' form, whatever was asked
    fetched_group *results;
    int32_t n, at;
};

static void next_offset_fetch(struct kafka_req *q);

static void fill_offset(struct kafka_offset_fetch_response_groups_topics_partitions *p, const struct group_offset *o, int group_error) {
    int error = group_error != 0 ? group_error : o->error;
    p->partition_index = o->partition;
    p->committed_offset = error == 0 ? o->offset : -1;
    p->committed_leader_epoch = error == 0 ? o->leader_epoch : -1;
    p->metadata = error == 0 && o->metadata.p != NULL ? o->metadata : STR("");
    p->error_code = (int16_t)error;
}

// Everything the group has: the list is sorted by topic.
static void fill_all(struct kafka_req *q, const struct group_fetch *f, fetched_group *g) {
    int32_t topics = 0;
    for (size_t i = 0; i < f->n_offsets; i++) topics += i == 0 || strcmp(f->offsets[i].topic, f->offsets[i - 1].topic) != 0;
    g->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_fetch_response_groups_topics, topics);
    for (size_t i = 0, end; i < f->n_offsets; i = end) {
        for (end = i + 1; end < f->n_offsets && strcmp(f->offsets[i].topic, f->offsets[end].topic) == 0; end++) {}
        fetched_topic *t = &g->topics.p[g->topics.n];
        struct broker_topic_info info;
        t->name = str_c(f->offsets[i].topic);
        if (q->version >= 10) {
            if (!broker_topic_get(kafka_req_broker(q), t->name, &q->arena, &info)) continue; // deleted: has no id
            memcpy(t->topic_id.b, info.id, sizeof t->topic_id.b);
        }
        g->topics.n++;
        t->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_fetch_response_groups_topics_partitions, (int32_t)(end - i));
        t->partitions.n = (int32_t)(end - i);
        for (size_t k = i; k < end; k++) fill_offset(&t->partitions.p[k - i], &f->offsets[k], f->offsets[k].error);
    }
}

static void fill_asked(struct kafka_req *q, const struct offset_fetching *s, const fetch_group *want, fetched_group *g) {
    g->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_fetch_response_groups_topics, want->topics.n);
    g->topics.n = want->topics.n;
    size_t at = 0;
    for (int32_t t = 0; t < want->topics.n; t++) {
        const struct kafka_offset_fetch_request_groups_topics *topic = &want->topics.p[t];
        fetched_topic *out = &g->topics.p[t];
        out->name = topic->name;
        out->topic_id = topic->topic_id;
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_fetch_response_groups_topics_partitions, topic->partition_indexes.n);
        out->partitions.n = topic->partition_indexes.n;
        for (int32_t i = 0; i < topic->partition_indexes.n; i++) {
            const struct group_offset *o = &s->fetch.offsets[at++];
            fill_offset(&out->partitions.p[i], o, o->topic[0] == 0 ? KAFKA_UNKNOWN_TOPIC_ID : o->error);
        }
    }
}

static void offsets_fetched(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct offset_fetching *s = q->state;
    const fetch_group *want = &s->groups[s->at];
    fetched_group *g = &s->results[s->at];
    g->group_id = want->group_id;
    g->error_code = (int16_t)call->error;
    if (call->error == 0 && s->fetch.all) fill_all(q, &s->fetch, g);
    else if (call->error == 0) fill_asked(q, s, want, g);
    s->at++;
    next_offset_fetch(q);
}

static void answer_offset_fetch(struct kafka_req *q) {
    struct kafka_offset_fetch_response *res = q->res;
    const struct offset_fetching *s = q->state;
    if (q->version >= 8) {
        res->groups.p = s->results;
        res->groups.n = s->n;
        kafka_req_done(q);
        return;
    }
    const fetched_group *g = &s->results[0];
    res->error_code = g->error_code;
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_fetch_response_topics, g->topics.n);
    res->topics.n = g->topics.n;
    for (int32_t t = 0; t < g->topics.n; t++) {
        const fetched_topic *from = &g->topics.p[t];
        struct kafka_offset_fetch_response_topics *to = &res->topics.p[t];
        to->name = from->name;
        to->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_fetch_response_topics_partitions, from->partitions.n);
        to->partitions.n = from->partitions.n;
        for (int32_t i = 0; i < from->partitions.n; i++)
            to->partitions.p[i] = (struct kafka_offset_fetch_response_topics_partitions){
                from->partitions.p[i].partition_index, from->partitions.p[i].committed_offset, from->partitions.p[i].committed_leader_epoch,
                from->partitions.p[i].metadata, from->partitions.p[i].error_code};
    }
    kafka_req_done(q);
}

static void next_offset_fetch(struct kafka_req *q) {
    struct offset_fetching *s = q->state;
    if (s->at == s->n) {
        answer_offset_fetch(q);
        return;
    }
    if (kafka_req_overgrown(q)) return;
    const fetch_group *want = &s->groups[s->at];
    size_t n = 0;
    for (int32_t t = 0; t < want->topics.n; t++) n += (size_t)want->topics.p[t].partition_indexes.n;
    struct group_fetch *f = &s->fetch;
    *f = (struct group_fetch){.call = kafka_group_call_of(q, offsets_fetched), .group_id = kafka_req_name(q, want->group_id), .member_id = kafka_req_name(q,
        want->member_id),
                              .member_epoch = want->member_epoch, .all = want->topics.n < 0,
                              .require_stable = ((const struct kafka_offset_fetch_request *)q->msg)->require_stable};
    f->offsets = f->all ? NULL : ARENA_ARRAY(&q->arena, struct group_offset, n);
    for (int32_t t = 0; t < want->topics.n; t++) {
        const struct kafka_offset_fetch_request_groups_topics *topic = &want->topics.p[t];
        const char *name = topic_name(q, q->version >= 10, topic->name, &topic->topic_id);
        for (int32_t i = 0; i < topic->partition_indexes.n; i++)
            f->offsets[f->n_offsets++] = (struct group_offset){
                .topic = name == NULL ? "" : name, .partition = topic->partition_indexes.p[i], .offset = -1, .leader_epoch = -1};
    }
    group_fetch(kafka_req_broker(q), f);
}

void kafka_do_offset_fetch(struct kafka_req *q) {
    const struct kafka_offset_fetch_request *req = q->msg;
    struct offset_fetching *s = ARENA_NEW(&q->arena, struct offset_fetching);
    q->state = s;
    s->n = q->version >= 8 ? req->groups.n : 1;
    s->results = KAFKA_ELEMENTS(&q->arena, kafka_offset_fetch_response_groups, s->n);
    s->groups = req->groups.p;
    if (q->version < 8) {
        fetch_group *g = KAFKA_ELEMENTS(&q->arena, kafka_offset_fetch_request_groups, 1);
        g->group_id = req->group_id;
        g->topics.n = req->topics.n;
        if (req->topics.n > 0) g->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_fetch_request_groups_topics, req->topics.n);
        for (int32_t i = 0; i < req->topics.n; i++) {
            g->topics.p[i].name = req->topics.p[i].name;
            g->topics.p[i].partition_indexes.p = req->topics.p[i].partition_indexes.p;
            g->topics.p[i].partition_indexes.n = req->topics.p[i].partition_indexes.n;
        }
        s->groups = g;
    }
    next_offset_fetch(q);
}

// ---- ListGroups, DescribeGroups, DeleteGroups --------------------------------------------------------------------------------
static struct str lower_case(struct kafka_req *q, const char *text) { // as Kafka spells types here, and only here
    char *copy = arena_strdup(&q->arena, text);
    for (char *c = copy; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    return str_c(copy);
}

static void listed(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct group_list *l = q->state;
    struct kafka_list_groups_response *res = q->res;
    res->error_code = (int16_t)call->error;
    size_t n = call->error == 0 ? l->n_groups : 0;
    res->groups.p = KAFKA_ELEMENTS(&q->arena, kafka_list_groups_response_groups, (int32_t)n);
    res->groups.n = (int32_t)n;
    for (size_t i = 0; i < n; i++)
        res->groups.p[i] = (struct kafka_list_groups_response_groups){str_c(l->groups[i].group_id), str_c(l->groups[i].protocol_type),
                                                                      str_c(l->groups[i].state), lower_case(q, l->groups[i].type)};
    kafka_req_done(q);
}

void kafka_do_list_groups(struct kafka_req *q) {
    const struct kafka_list_groups_request *req = q->msg;
    struct group_list *l = ARENA_NEW(&q->arena, struct group_list);
    const char **types = ARENA_ARRAY(&q->arena, const char *, req->types_filter.n);
    for (int32_t i = 0; i < req->types_filter.n; i++) types[i] = kafka_req_name(q, req->types_filter.p[i]);
    l->types = types;
    l->n_types = req->types_filter.n < 0 ? 0 : (size_t)req->types_filter.n;
    const char **states = ARENA_ARRAY(&q->arena, const char *, req->states_filter.n);
    for (int32_t i = 0; i < req->states_filter.n; i++) states[i] = kafka_req_name(q, req->states_filter.p[i]);
    l->call = kafka_group_call_of(q, listed);
    l->states = states;
    l->n_states = (size_t)req->states_filter.n;
    q->state = l;
    group_list(kafka_req_broker(q), l);
}

struct describing {
    struct group_describe describe;
    int32_t at;
};
static void next_describe(struct kafka_req *q);

static void described(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct describing *s = q->state;
    const struct kafka_describe_groups_request *req = q->msg;
    struct kafka_describe_groups_response *res = q->res;
    struct kafka_describe_groups_response_groups *g = &res->groups.p[s->at];
    const struct group_describe *d = &s->describe;
    bool absent = call->error == KAFKA_GROUP_ID_NOT_FOUND;
    g->group_id = req->groups.p[s->at];
    g->error_code = (int16_t)(absent && q->version < 6 ? 0 : call->error);
    struct str message = kafka_group_message(q, call);
    if (message.p != NULL) g->error_message = message;
    g->group_state = d->state != NULL ? str_c(d->state) : absent ? STR("Dead") : STR("");
    g->protocol_type = str_c(d->protocol_type);
    g->protocol_data = str_c(d->protocol);
    if (req->include_authorized_operations && g->error_code == 0) g->authorized_operations = KAFKA_GROUP_OPERATIONS;
    size_t n = call->error == 0 ? d->n_members : 0;
    g->members.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_groups_response_groups_members, (int32_t)n);
    g->members.n = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        const struct group_member_info *m = &d->members[i];
        g->members.p[i] = (struct kafka_describe_groups_response_groups_members){
            str_c(m->member_id), str_c(m->group_instance_id), str_c(m->client_id), str_c(m->client_host), m->metadata, m->assignment};
    }
    s->at++;
    next_describe(q);
}

static void next_describe(struct kafka_req *q) {
    struct describing *s = q->state;
    const struct kafka_describe_groups_request *req = q->msg;
    if (s->at == req->groups.n) {
        kafka_req_done(q);
        return;
    }
    if (kafka_req_overgrown(q)) return;
    s->describe = (struct group_describe){.call = kafka_group_call_of(q, described), .group_id = kafka_req_name(q, req->groups.p[s->at])};
    group_describe(kafka_req_broker(q), &s->describe);
}

void kafka_do_describe_groups(struct kafka_req *q) {
    const struct kafka_describe_groups_request *req = q->msg;
    struct kafka_describe_groups_response *res = q->res;
    res->groups.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_groups_response_groups, req->groups.n);
    res->groups.n = req->groups.n;
    q->state = ARENA_NEW(&q->arena, struct describing);
    next_describe(q);
}

struct deleting {
    struct group_delete delete;
    int32_t at;
};
static void next_delete(struct kafka_req *q);

static void deleted(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct deleting *s = q->state;
    struct kafka_delete_groups_response *res = q->res;
    res->results.p[s->at].error_code = (int16_t)call->error;
    struct str message = kafka_group_message(q, call);
    if (message.p != NULL) res->results.p[s->at].error_message = message;
    s->at++;
    next_delete(q);
}

static void next_delete(struct kafka_req *q) {
    struct deleting *s = q->state;
    const struct kafka_delete_groups_request *req = q->msg;
    if (s->at == req->groups_names.n) {
        kafka_req_done(q);
        return;
    }
    s->delete = (struct group_delete){.call = kafka_group_call_of(q, deleted), .group_id = kafka_req_name(q, req->groups_names.p[s->at])};
    group_delete(kafka_req_broker(q), &s->delete);
}

void kafka_do_delete_groups(struct kafka_req *q) {
    const struct kafka_delete_groups_request *req = q->msg;
    struct kafka_delete_groups_response *res = q->res;
    res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_delete_groups_response_results, req->groups_names.n);
    res->results.n = req->groups_names.n;
    for (int32_t i = 0; i < req->groups_names.n; i++) res->results.p[i].group_id = req->groups_names.p[i];
    q->state = ARENA_NEW(&q->arena, struct deleting);
    next_delete(q);
}

// ---- OffsetDelete -------------------------------------------------------------------------------------------------------
static void offsets_deleted(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct group_offsets_delete *d = q->state;
    const struct kafka_offset_delete_request *req = q->msg;
    struct kafka_offset_delete_response *res = q->res;
    size_t at = 0;
    res->error_code = (int16_t)call->error;
    if (call->error != 0) {
        kafka_req_done(q);
        return;
    }
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_delete_response_topics, req->topics.n);
    res->topics.n = req->topics.n;
    for (int32_t t = 0; t < req->topics.n; t++) {
        struct kafka_offset_delete_response_topics *out = &res->topics.p[t];
        out->name = req->topics.p[t].name;
        out->partitions.n = req->topics.p[t].partitions.n;
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_delete_response_topics_partitions, out->partitions.n);
        for (int32_t i = 0; i < out->partitions.n; i++, at++)
            out->partitions.p[i] = (struct kafka_offset_delete_response_topics_partitions){d->offsets[at].partition, (int16_t)d->offsets[at].error};
    }
    kafka_req_done(q);
}

void kafka_do_offset_delete(struct kafka_req *q) {
    const struct kafka_offset_delete_request *req = q->msg;
    struct group_offsets_delete *d = ARENA_NEW(&q->arena, struct group_offsets_delete);
    size_t n = 0;
    for (int32_t t = 0; t < req->topics.n; t++) n += (size_t)req->topics.p[t].partitions.n;
    d->call = kafka_group_call_of(q, offsets_deleted);
    d->group_id = kafka_req_name(q, req->group_id);
    d->offsets = ARENA_ARRAY(&q->arena, struct group_offset, n + 1);
    for (int32_t t = 0; t < req->topics.n; t++) {
        const char *name = kafka_req_name(q, req->topics.p[t].name);
        for (int32_t i = 0; i < req->topics.p[t].partitions.n; i++)
            d->offsets[d->n_offsets++] = (struct group_offset){.topic = name, .partition = req->topics.p[t].partitions.p[i].partition_index};
    }
    q->state = d;
    group_offsets_delete(kafka_req_broker(q), d);
}
