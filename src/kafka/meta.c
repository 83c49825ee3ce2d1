// SPDX-License-Identifier: Apache-2.0
// Metadata: the one broker, and topics by name or id; creates absent topics where client and configuration allow it.
//
// Creating syncs files, so it runs on the broker's pool while the request waits. Topic ids in requests are honoured from version 12 on (in
// versions 10 and 11 Kafka itself mishandles them).
#include "kafka/conn.h"

enum { CREATE_MAX = 1000 }; // topics that one Metadata request may create

typedef struct kafka_metadata_response_topics topic_response;

struct creating { // on the pool
    struct kafka_req *q;
    const char **names;
    int *errors;
    size_t n;
};

static void fill_topic(struct kafka_req *q, const struct broker_topic_info *info, topic_response *t) {
    const struct kafka_metadata_request *req = q->msg;
    int32_t *node = arena_alloc(&q->arena, sizeof *node);
    *node = kafka_req_config(q)->node_id;
    t->error_code = 0;
    t->name = str_c(info->name);
    memcpy(t->topic_id.b, info->id, sizeof t->topic_id.b);
    t->is_internal = info->internal;
    t->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_metadata_response_topics_partitions, info->partitions);
    t->partitions.n = info->partitions;
    for (int32_t i = 0; i < info->partitions; i++) {
        struct kafka_metadata_response_topics_partitions *p = &t->partitions.p[i];
        p->partition_index = i;
        p->leader_id = *node;
        p->leader_epoch = BROKER_LEADER_EPOCH;
        p->replica_nodes.p = p->isr_nodes.p = node;
        p->replica_nodes.n = p->isr_nodes.n = 1;
    }
    if (req->include_topic_authorized_operations) t->topic_authorized_operations = KAFKA_TOPIC_OPERATIONS;
}

static void answer_all(struct kafka_req *q) {
    struct kafka_metadata_response *res = q->res;
    struct broker_topic_info *list;
    size_t n = broker_topic_list(kafka_req_broker(q), &q->arena, &list);
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_metadata_response_topics, (int32_t)n);
    res->topics.n = (int32_t)n;
    for (size_t i = 0; i < n; i++) fill_topic(q, &list[i], &res->topics.p[i]);
}

static bool wants_all(const struct kafka_req *q) {
    const struct kafka_metadata_request *req = q->msg;
    return req->topics.n < 0 || (q->version == 0 && req->topics.n == 0);
}

static bool id_is_zero(const struct kafka_uuid *id) {
    static const struct kafka_uuid zero;
    return memcmp(id, &zero, sizeof zero) == 0;
}

// Fills one topic that exists; false = it does not (error_code is set).
static bool answer_one(struct kafka_req *q, const struct kafka_metadata_request_topics *want, topic_response *t) {
    struct broker_topic_info info;
    bool by_id = q->version >= 12 && (want->name.p == NULL || !id_is_zero(&want->topic_id)); // an id counts more than a name
    t->name = by_id ? (struct str){NULL, 0} : want->name;
    if (by_id) {
        t->topic_id = want->topic_id;
        t->error_code = KAFKA_UNKNOWN_TOPIC_ID;
        if (!id_is_zero(&want->topic_id) && broker_topic_get_id(kafka_req_broker(q), want->topic_id.b, &q->arena, &info)) {
            fill_topic(q, &info, t);
            return true;
        }
        return false;
    }
    t->error_code = want->name.p == NULL ? KAFKA_INVALID_REQUEST : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (want->name.p == NULL) return false;
    if (!broker_topic_get(kafka_req_broker(q), want->name, &q->arena, &info)) {
        if (!broker_topic_name_ok(kafka_req_name(q, want->name))) t->error_code = KAFKA_INVALID_TOPIC_EXCEPTION;
        return false;
    }
    fill_topic(q, &info, t);
    return true;
}

static void create_topics(void *arg) { // on the broker's pool
    struct kafka_req *q = arg;
    struct creating *c = q->state;
    struct arena a;
    arena_init(&a);
    for (size_t i = 0; i < c->n; i++) {
        struct err err = {0};
        enum err_code code = broker_topic_create(kafka_req_broker(q), c->names[i], -1, NULL, 0, false, NULL, &a, &err);
        if (code == ERR_EXISTS) code = ERR_OK; // another request was faster
        c->errors[i] = err_info(code)->kafka;
    }
    arena_fini(&a);
}

static void answer_created(void *arg) {
    struct kafka_req *q = arg;
    struct creating *c = q->state;
    const struct kafka_metadata_request *req = q->msg;
    struct kafka_metadata_response *res = q->res;
    for (int32_t i = 0; i < res->topics.n; i++) {
        topic_response *t = &res->topics.p[i];
        if (t->error_code != KAFKA_UNKNOWN_TOPIC_OR_PARTITION) continue;
        for (size_t k = 0; k < c->n; k++) {
            if (!str_eqc(t->name, c->names[k])) continue;
            if (c->errors[k] == 0) answer_one(q, &req->topics.p[i], t);
            else t->error_code = (int16_t)c->errors[k];
            break;
        }
    }
    kafka_req_done(q);
}

static void create_absent(struct kafka_req *q, size_t absent) {
    struct kafka_metadata_response *res = q->res;
    struct creating *c = ARENA_NEW(&q->arena, struct creating);
    if (absent > CREATE_MAX) absent = CREATE_MAX;
    c->names = ARENA_ARRAY(&q->arena, const char *, absent);
    c->errors = ARENA_ARRAY(&q->arena, int, absent);
    for (int32_t i = 0; i < res->topics.n && c->n < absent; i++) {
        const topic_response *t = &res->topics.p[i];
        if (t->error_code == KAFKA_UNKNOWN_TOPIC_OR_PARTITION) c->names[c->n++] = kafka_req_name(q, t->name);
    }
    q->state = c;
    if (kafka_req_submit(q, create_topics, answer_created)) return;
    for (int32_t i = 0; i < res->topics.n; i++) // the client asks again
        if (res->topics.p[i].error_code == KAFKA_UNKNOWN_TOPIC_OR_PARTITION) res->topics.p[i].error_code = KAFKA_LEADER_NOT_AVAILABLE;
    kafka_req_done(q);
}

void kafka_do_metadata(struct kafka_req *q) {
    const struct kafka_config *config = kafka_req_config(q);
    const struct kafka_metadata_request *req = q->msg;
    struct kafka_metadata_response *res = q->res;
    res->brokers.p = KAFKA_ELEMENTS(&q->arena, kafka_metadata_response_brokers, 1);
    res->brokers.n = 1;
    res->brokers.p->node_id = config->node_id;
    res->brokers.p->host = str_c(kafka_req_advertised_host(q));
    res->brokers.p->port = kafka_req_advertised_port(q);
    res->cluster_id = str_c(config->cluster_id);
    res->controller_id = config->node_id;
    if (req->include_cluster_authorized_operations) res->cluster_authorized_operations = KAFKA_CLUSTER_OPERATIONS;
    if (wants_all(q)) {
        answer_all(q);
        kafka_req_done(q);
        return;
    }
    size_t absent = 0;
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_metadata_response_topics, req->topics.n);
    res->topics.n = req->topics.n;
    for (int32_t i = 0; i < req->topics.n; i++)
        if (!answer_one(q, &req->topics.p[i], &res->topics.p[i])) absent += res->topics.p[i].error_code == KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (absent > 0 && config->auto_create && req->allow_auto_topic_creation) create_absent(q, absent);
    else kafka_req_done(q);
}
