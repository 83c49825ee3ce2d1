// SPDX-License-Identifier: Apache-2.0
// StreamsGroupHeartbeat and StreamsGroupDescribe (KIP-1071): translation between the messages and broker/groups.h.
#include "kafka/authorize.h"
#include "kafka/group_requests.h"
#include "kafka/streams_descriptions.h"

// ---- the topology in a request --------------------------------------------------------------------------------------

typedef struct kafka_streams_group_heartbeat_request_topology_subtopologies request_subtopology;

// The two kinds of internal topics have types of their own with the same fields.
#define TAKE_TOPICS(q, from, to, n_to)                                                                               \
    do {                                                                                                             \
        struct streams_topic *out_ = ARENA_ARRAY(&(q)->arena, struct streams_topic, (from).n + 1);                   \
        for (int32_t i_ = 0; i_ < (from).n; i_++) {                                                                  \
            struct broker_kv *kv_ = ARENA_ARRAY(&(q)->arena, struct broker_kv, (from).p[i_].topic_configs.n + 1);    \
            out_[i_] = (struct streams_topic){kafka_req_name((q), (from).p[i_].name), (from).p[i_].partitions,       \
                                              (from).p[i_].replication_factor, kv_, (size_t)(from).p[i_].topic_configs.n}; \
            for (int32_t k_ = 0; k_ < (from).p[i_].topic_configs.n; k_++)                                            \
                kv_[k_] = (struct broker_kv){kafka_req_name((q), (from).p[i_].topic_configs.p[k_].key),              \
                                             kafka_req_name((q), (from).p[i_].topic_configs.p[k_].value)};           \
        }                                                                                                            \
        (to) = out_;                                                                                                 \
        (n_to) = (size_t)(from).n;                                                                                   \
    } while (0)

static void take_subtopology(struct kafka_req *q, const request_subtopology *from, struct streams_subtopology *to, bool *regex) {
    to->id = kafka_req_name(q, from->subtopology_id);
    to->sources = kafka_group_names(q, from->source_topics.p, from->source_topics.n, &to->n_sources);
    to->repartition_sinks = kafka_group_names(q, from->repartition_sink_topics.p, from->repartition_sink_topics.n, &to->n_repartition_sinks);
    TAKE_TOPICS(q, from->state_changelog_topics, to->changelogs, to->n_changelogs);
    TAKE_TOPICS(q, from->repartition_source_topics, to->repartition_sources, to->n_repartition_sources);
    struct streams_copartition *cs = ARENA_ARRAY(&q->arena, struct streams_copartition, from->copartition_groups.n + 1);
    for (int32_t i = 0; i < from->copartition_groups.n; i++) {
        cs[i].sources = from->copartition_groups.p[i].source_topics.p;
        cs[i].n_sources = (size_t)from->copartition_groups.p[i].source_topics.n;
        cs[i].repartition_sources = from->copartition_groups.p[i].repartition_source_topics.p;
        cs[i].n_repartition_sources = (size_t)from->copartition_groups.p[i].repartition_source_topics.n;
        *regex = *regex || from->copartition_groups.p[i].source_topic_regex.n > 0;
    }
    to->copartitions = cs;
    to->n_copartitions = (size_t)from->copartition_groups.n;
    *regex = *regex || from->source_topic_regex.n > 0;
}

static void take_topology(struct kafka_req *q, const struct kafka_streams_group_heartbeat_request_topology *from, struct streams_heartbeat *h) {
    struct streams_topology *t = ARENA_NEW(&q->arena, struct streams_topology);
    struct streams_subtopology *subs = ARENA_ARRAY(&q->arena, struct streams_subtopology, from->subtopologies.n + 1);
    for (int32_t i = 0; i < from->subtopologies.n; i++) take_subtopology(q, &from->subtopologies.p[i], &subs[i], &h->source_regex);
    *t = (struct streams_topology){from->epoch, subs, (size_t)from->subtopologies.n};
    h->topology = t;
}

// ---- tasks ----------------------------------------------------------------------------------------------------------

// The roles' tasks have types of their own with the same fields.
#define TAKE_TASKS(q, from, to, n_to)                                                                                    \
    do {                                                                                                                 \
        size_t room_ = 0;                                                                                                \
        for (int32_t i_ = 0; i_ < (from).n; i_++) room_ += (size_t)(from).p[i_].partitions.n;                            \
        struct streams_task *out_ = ARENA_ARRAY(&(q)->arena, struct streams_task, room_ + 1);                            \
        for (int32_t i_ = 0; i_ < (from).n; i_++) {                                                                      \
            const char *id_ = kafka_req_name((q), (from).p[i_].subtopology_id);                                          \
            for (int32_t k_ = 0; k_ < (from).p[i_].partitions.n; k_++)                                                   \
                out_[(n_to)++] = (struct streams_task){id_, (from).p[i_].partitions.p[k_]};                              \
        }                                                                                                                \
        (to) = out_;                                                                                                     \
    } while (0)

static size_t run_end(const struct streams_task *t, size_t n, size_t at) {
    size_t end = at;
    while (end < n && strcmp(t[end].subtopology, t[at].subtopology) == 0) end++;
    return end;
}

static int32_t count_runs(const struct streams_task *t, size_t n) {
    int32_t runs = 0;
    for (size_t i = 0; i < n; i = run_end(t, n, i)) runs++;
    return runs;
}

#define FILL_TASKS(q, to, element, from, count)                                                                   \
    do {                                                                                                          \
        (to).p = KAFKA_ELEMENTS(&(q)->arena, element, count_runs((from), (count)));                               \
        (to).n = 0;                                                                                               \
        for (size_t i_ = 0, end_; i_ < (count); i_ = end_) {                                                      \
            end_ = run_end((from), (count), i_);                                                                  \
            struct element *t_ = &(to).p[(to).n++];                                                               \
            t_->subtopology_id = str_c((from)[i_].subtopology);                                                   \
            t_->partitions.p = ARENA_ARRAY(&(q)->arena, int32_t, end_ - i_);                                      \
            for (size_t k_ = i_; k_ < end_; k_++) t_->partitions.p[t_->partitions.n++] = (from)[k_].partition;    \
        }                                                                                                         \
    } while (0)

// ---- StreamsGroupHeartbeat ------------------------------------------------------------------------------------------

static size_t topic_end(const struct group_partition *p, size_t n, size_t at) {
    size_t end = at;
    while (end < n && strcmp(p[end].topic, p[at].topic) == 0) end++;
    return end;
}

#define FILL_PARTITIONS(q, to, element, from, count)                                                              \
    do {                                                                                                          \
        int32_t runs_ = 0;                                                                                        \
        for (size_t i_ = 0; i_ < (count); i_ = topic_end((from), (count), i_)) runs_++;                           \
        (to).p = KAFKA_ELEMENTS(&(q)->arena, element, runs_);                                                     \
        for (size_t i_ = 0, end_; i_ < (count); i_ = end_) {                                                      \
            end_ = topic_end((from), (count), i_);                                                                \
            struct element *t_ = &(to).p[(to).n++];                                                               \
            t_->topic = str_c((from)[i_].topic);                                                                  \
            t_->partitions.p = ARENA_ARRAY(&(q)->arena, int32_t, end_ - i_);                                      \
            for (size_t k_ = i_; k_ < end_; k_++) t_->partitions.p[t_->partitions.n++] = (from)[k_].partition;    \
        }                                                                                                         \
    } while (0)

static void fill_endpoints(struct kafka_req *q, const struct streams_heartbeat *h, struct kafka_streams_group_heartbeat_response *res) {
    res->partitions_by_user_endpoint.n = (int32_t)h->n_endpoints;
    res->partitions_by_user_endpoint.p = KAFKA_ELEMENTS(&q->arena, kafka_streams_group_heartbeat_response_partitions_by_user_endpoint,
                                                        (int32_t)h->n_endpoints);
    for (size_t i = 0; i < h->n_endpoints; i++) {
        const struct streams_endpoint_partitions *from = &h->endpoints[i];
        struct kafka_streams_group_heartbeat_response_partitions_by_user_endpoint *to = &res->partitions_by_user_endpoint.p[i];
        to->user_endpoint.host = str_c(from->endpoint.host);
        to->user_endpoint.port = from->endpoint.port;
        FILL_PARTITIONS(q, to->active_partitions, kafka_streams_group_heartbeat_response_partitions_by_user_endpoint_active_partitions, from->active,
                        from->n_active);
        FILL_PARTITIONS(q, to->standby_partitions, kafka_streams_group_heartbeat_response_partitions_by_user_endpoint_standby_partitions,
                        from->standby, from->n_standby);
    }
}

#define TAKE_OFFSETS(q, from, to)                                                                                         \
    do {                                                                                                                  \
        struct streams_task_offset *out_ = ARENA_ARRAY(&(q)->arena, struct streams_task_offset, (size_t)((from).n < 0 ? 0 : (from).n) + 1); \
        for (int32_t i_ = 0; i_ < (from).n; i_++)                                                                         \
            out_[i_] = (struct streams_task_offset){kafka_req_name((q), (from).p[i_].subtopology_id), (from).p[i_].partition, (from).p[i_].offset}; \
        (to) = (struct streams_task_offsets){(from).n >= 0, out_, (from).n < 0 ? 0 : (size_t)(from).n};                   \
    } while (0)

#define FILL_OFFSETS(q, to, element, from)                                                                                \
    do {                                                                                                                  \
        (to).p = KAFKA_ELEMENTS(&(q)->arena, element, (int32_t)(from).n);                                                 \
        (to).n = (int32_t)(from).n;                                                                                       \
        for (size_t i_ = 0; i_ < (from).n; i_++)                                                                          \
            (to).p[i_] = (struct element){str_c((from).p[i_].subtopology), (from).p[i_].partition, (from).p[i_].offset};  \
    } while (0)

// Kafka's defaults (of configs that it does not show). The offsets of their tasks that members send are for describe: no tasks are warmed up.
enum { TASK_OFFSETS_MS = 60000, RECOVERY_LAG = 10000 };

static void heart_beaten(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct streams_heartbeat *h = q->state;
    struct kafka_streams_group_heartbeat_response *res = q->res;
    res->error_code = (int16_t)call->error;
    res->error_message = kafka_group_message(q, call);
    if (call->error != 0) {
        kafka_req_done(q);
        return;
    }
    res->member_id = str_c(h->out_member_id);
    res->member_epoch = h->out_member_epoch;
    res->heartbeat_interval_ms = h->heartbeat_ms;
    res->task_offset_interval_ms = TASK_OFFSETS_MS;
    res->acceptable_recovery_lag = RECOVERY_LAG;
    res->endpoint_information_epoch = h->out_endpoint_epoch;
    res->topology_description_required = h->description_required;
    if (h->tasks.given) {
        FILL_TASKS(q, res->active_tasks, kafka_streams_group_heartbeat_response_active_tasks, h->tasks.active, h->tasks.n_active);
        FILL_TASKS(q, res->standby_tasks, kafka_streams_group_heartbeat_response_standby_tasks, h->tasks.standby, h->tasks.n_standby);
        FILL_TASKS(q, res->warmup_tasks, kafka_streams_group_heartbeat_response_warmup_tasks, h->tasks.warmup, h->tasks.n_warmup);
    }
    if (h->has_endpoints) fill_endpoints(q, h, res);
    res->status.p = KAFKA_ELEMENTS(&q->arena, kafka_streams_group_heartbeat_response_status, (int32_t)h->n_statuses);
    res->status.n = (int32_t)h->n_statuses;
    for (size_t i = 0; i < h->n_statuses; i++)
        res->status.p[i] = (struct kafka_streams_group_heartbeat_response_status){(int8_t)h->statuses[i].code, str_c(h->statuses[i].detail)};
    kafka_req_done(q);
}

static bool may_create(const struct streams_heartbeat *h, const char *topic) {
    const struct kafka_req *q = h->call.arg;
    return kafka_may_cluster(q, ACL_CREATE) || kafka_may(q, ACL_CREATE, ACL_TOPIC, str_c(topic));
}

void kafka_do_streams_group_heartbeat(struct kafka_req *q) {
    const struct kafka_streams_group_heartbeat_request *req = q->msg;
    struct streams_heartbeat *h = ARENA_NEW(&q->arena, struct streams_heartbeat);
    h->call = kafka_group_call_of(q, heart_beaten);
    h->group_id = kafka_req_name(q, req->group_id);
    h->member_id = kafka_req_name(q, req->member_id);
    h->member_epoch = req->member_epoch;
    h->endpoint_epoch = req->endpoint_information_epoch;
    h->group_instance_id = kafka_req_name(q, req->instance_id);
    h->rack_id = kafka_req_name(q, req->rack_id);
    h->process_id = kafka_req_name(q, req->process_id);
    h->rebalance_timeout_ms = req->rebalance_timeout_ms;
    h->client_id = kafka_group_client_id(q);
    h->client_host = kafka_group_client_host(q);
    h->shutdown = req->shutdown_application;
    h->knows_descriptions = q->version >= 1;
    if (kafka_has_authorizer(q)) h->may_create = may_create;
    if (req->topology != NULL) take_topology(q, req->topology, h);
    h->owned.given = req->active_tasks.n >= 0 && req->standby_tasks.n >= 0 && req->warmup_tasks.n >= 0;
    h->owned.mixed = !h->owned.given && (req->active_tasks.n >= 0 || req->standby_tasks.n >= 0 || req->warmup_tasks.n >= 0);
    TAKE_TASKS(q, req->active_tasks, h->owned.active, h->owned.n_active);
    TAKE_TASKS(q, req->standby_tasks, h->owned.standby, h->owned.n_standby);
    TAKE_TASKS(q, req->warmup_tasks, h->owned.warmup, h->owned.n_warmup);
    TAKE_OFFSETS(q, req->task_offsets, h->offsets);
    TAKE_OFFSETS(q, req->task_end_offsets, h->end_offsets);
    if (req->user_endpoint != NULL) h->endpoint = (struct streams_endpoint){kafka_req_name(q, req->user_endpoint->host), req->user_endpoint->port};
    if (req->client_tags.n >= 0) {
        struct broker_kv *tags = ARENA_ARRAY(&q->arena, struct broker_kv, req->client_tags.n + 1);
        for (int32_t i = 0; i < req->client_tags.n; i++)
            tags[i] = (struct broker_kv){kafka_req_name(q, req->client_tags.p[i].key), kafka_req_name(q, req->client_tags.p[i].value)};
        h->tags = tags;
        h->n_tags = (size_t)req->client_tags.n;
    }
    q->state = h;
    group_streams_heartbeat(kafka_req_broker(q), h);
}

// ---- StreamsGroupDescribe -------------------------------------------------------------------------------------------

typedef struct kafka_streams_group_describe_response_groups_members described_member;
typedef struct kafka_streams_group_describe_response_groups_topology_subtopologies described_subtopology;

struct describing {
    struct streams_describe describe;
    int32_t at;
};
static void next_describe(struct kafka_req *q);

static void fill_names(struct kafka_req *q, const char *const *from, size_t n, struct str **p, int32_t *out_n) {
    *p = ARENA_ARRAY(&q->arena, struct str, n + 1);
    for (size_t i = 0; i < n; i++) (*p)[i] = str_c(from[i]);
    *out_n = (int32_t)n;
}

#define FILL_TOPICS(q, to, element, from, count)                                                                           \
    do {                                                                                                                   \
        (to).p = KAFKA_ELEMENTS(&(q)->arena, element, (int32_t)(count));                                                   \
        (to).n = (int32_t)(count);                                                                                         \
        for (size_t i_ = 0; i_ < (count); i_++) {                                                                          \
            (to).p[i_].name = str_c((from)[i_].name);                                                                      \
            (to).p[i_].partitions = (from)[i_].partitions;                                                                 \
            (to).p[i_].replication_factor = (from)[i_].replication;                                                        \
            (to).p[i_].topic_configs.p = KAFKA_ELEMENTS(&(q)->arena, element##_topic_configs, (int32_t)(from)[i_].n_configs); \
            (to).p[i_].topic_configs.n = (int32_t)(from)[i_].n_configs;                                                    \
            for (size_t k_ = 0; k_ < (from)[i_].n_configs; k_++)                                                           \
                (to).p[i_].topic_configs.p[k_] =                                                                           \
                    (struct element##_topic_configs){str_c((from)[i_].configs[k_].name), str_c((from)[i_].configs[k_].value)}; \
        }                                                                                                                  \
    } while (0)

static void fill_topology(struct kafka_req *q, const struct streams_topology *t, struct kafka_streams_group_describe_response_groups *g) {
    g->topology = ARENA_NEW(&q->arena, struct kafka_streams_group_describe_response_groups_topology);
    g->topology->epoch = t->epoch;
    g->topology->subtopologies.n = (int32_t)t->n_subtopologies;
    g->topology->subtopologies.p = KAFKA_ELEMENTS(&q->arena, kafka_streams_group_describe_response_groups_topology_subtopologies,
                                                  (int32_t)t->n_subtopologies);
    for (size_t i = 0; i < t->n_subtopologies; i++) {
        const struct streams_subtopology *from = &t->subtopologies[i];
        described_subtopology *to = &g->topology->subtopologies.p[i];
        to->subtopology_id = str_c(from->id);
        fill_names(q, from->sources, from->n_sources, &to->source_topics.p, &to->source_topics.n);
        fill_names(q, from->repartition_sinks, from->n_repartition_sinks, &to->repartition_sink_topics.p, &to->repartition_sink_topics.n);
        FILL_TOPICS(q, to->state_changelog_topics, kafka_streams_group_describe_response_groups_topology_subtopologies_state_changelog_topics,
                    from->changelogs, from->n_changelogs);
        FILL_TOPICS(q, to->repartition_source_topics, kafka_streams_group_describe_response_groups_topology_subtopologies_repartition_source_topics,
                    from->repartition_sources, from->n_repartition_sources);
    }
}

#define MEMBER(part) kafka_streams_group_describe_response_groups_members_##part

static void fill_member(struct kafka_req *q, const struct streams_member_info *m, described_member *out) {
    out->member_id = str_c(m->member_id);
    out->instance_id = str_c(m->group_instance_id);
    out->member_epoch = m->member_epoch;
    out->rack_id = str_c(m->rack_id);
    out->client_id = str_c(m->client_id);
    out->client_host = str_c(m->client_host);
    out->topology_epoch = m->topology_epoch;
    out->process_id = str_c(m->process_id);
    if (m->endpoint.host != NULL) {
        out->user_endpoint = ARENA_NEW(&q->arena, struct kafka_streams_group_describe_response_groups_members_user_endpoint);
        out->user_endpoint->host = str_c(m->endpoint.host);
        out->user_endpoint->port = m->endpoint.port;
    }
    out->client_tags.p = KAFKA_ELEMENTS(&q->arena, kafka_streams_group_describe_response_groups_members_client_tags, (int32_t)m->n_tags);
    out->client_tags.n = (int32_t)m->n_tags;
    for (size_t i = 0; i < m->n_tags; i++) {
        out->client_tags.p[i].key = str_c(m->tags[i].name);
        out->client_tags.p[i].value = str_c(m->tags[i].value);
    }
    FILL_TASKS(q, out->assignment.active_tasks, MEMBER(assignment_active_tasks), m->assignment.active, m->assignment.n_active);
    FILL_TASKS(q, out->assignment.standby_tasks, MEMBER(assignment_standby_tasks), m->assignment.standby, m->assignment.n_standby);
    FILL_TASKS(q, out->assignment.warmup_tasks, MEMBER(assignment_warmup_tasks), m->assignment.warmup, m->assignment.n_warmup);
    FILL_OFFSETS(q, out->task_offsets, MEMBER(task_offsets), m->offsets);
    FILL_OFFSETS(q, out->task_end_offsets, MEMBER(task_end_offsets), m->end_offsets);
    FILL_TASKS(q, out->target_assignment.active_tasks, MEMBER(target_assignment_active_tasks), m->target.active, m->target.n_active);
    FILL_TASKS(q, out->target_assignment.standby_tasks, MEMBER(target_assignment_standby_tasks), m->target.standby, m->target.n_standby);
    FILL_TASKS(q, out->target_assignment.warmup_tasks, MEMBER(target_assignment_warmup_tasks), m->target.warmup, m->target.n_warmup);
}

static void described(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct describing *s = q->state;
    const struct kafka_streams_group_describe_request *req = q->msg;
    struct kafka_streams_group_describe_response *res = q->res;
    struct kafka_streams_group_describe_response_groups *g = &res->groups.p[s->at];
    const struct streams_describe *d = &s->describe;
    g->group_id = req->group_ids.p[s->at];
    g->error_code = (int16_t)call->error;
    g->error_message = kafka_group_message(q, call);
    g->group_state = str_c(d->state);
    if (call->error == 0) {
        g->group_epoch = d->group_epoch;
        g->assignment_epoch = d->assignment_epoch;
        if (req->include_authorized_operations) g->authorized_operations = KAFKA_GROUP_OPERATIONS;
        g->assignor_name = STR("sticky");
        kafka_fill_description(q, d, g);
        if (d->topology != NULL) fill_topology(q, d->topology, g);
        g->members.p = KAFKA_ELEMENTS(&q->arena, kafka_streams_group_describe_response_groups_members, (int32_t)d->n_members);
        g->members.n = (int32_t)d->n_members;
        for (size_t i = 0; i < d->n_members; i++) fill_member(q, &d->members[i], &g->members.p[i]);
    }
    s->at++;
    next_describe(q);
}

static void next_describe(struct kafka_req *q) {
    struct describing *s = q->state;
    const struct kafka_streams_group_describe_request *req = q->msg;
    if (s->at == req->group_ids.n) {
        kafka_req_done(q);
        return;
    }
    if (kafka_req_overgrown(q)) return;
    s->describe = (struct streams_describe){.call = kafka_group_call_of(q, described), .group_id = kafka_req_name(q, req->group_ids.p[s->at]),
                                             .with_description = req->include_topology_description};
    group_streams_describe(kafka_req_broker(q), &s->describe);
}

void kafka_do_streams_group_describe(struct kafka_req *q) {
    const struct kafka_streams_group_describe_request *req = q->msg;
    struct kafka_streams_group_describe_response *res = q->res;
    res->groups.p = KAFKA_ELEMENTS(&q->arena, kafka_streams_group_describe_response_groups, req->group_ids.n);
    res->groups.n = req->group_ids.n;
    q->state = ARENA_NEW(&q->arena, struct describing);
    next_describe(q);
}
