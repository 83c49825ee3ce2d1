// SPDX-License-Identifier: Apache-2.0
// DescribeTopicPartitions (KIP-966): topics and their partitions in order of name, a bounded number at a time, with a cursor to go on.
#include <stdlib.h>

#include "kafka/conn.h"

enum { PARTITIONS_MAX = 2000 }; // max.request.partition.size.limit

typedef struct kafka_describe_topic_partitions_response_topics topic_response;

static int by_text(const void *a, const void *b) {
    const struct str *x = a, *y = b;
    return str_cmp(*x, *y);
}

// The topics asked for, sorted, each once; all there are when none is named.
static struct str *names_of(struct kafka_req *q, int32_t *n) {
    const struct kafka_describe_topic_partitions_request *req = q->msg;
    if (req->topics.n <= 0) {
        struct broker_topic_info *list;
        *n = (int32_t)broker_topic_list(kafka_req_broker(q), &q->arena, &list);
        struct str *all = ARENA_ARRAY(&q->arena, struct str, *n);
        for (int32_t i = 0; i < *n; i++) all[i] = str_c(list[i].name);
        return all;
    }
    struct str *some = ARENA_ARRAY(&q->arena, struct str, req->topics.n);
    for (int32_t i = 0; i < req->topics.n; i++) some[i] = req->topics.p[i].name;
    qsort(some, (size_t)req->topics.n, sizeof *some, by_text);
    *n = 0;
    for (int32_t i = 0; i < req->topics.n; i++)
        if (*n == 0 || !str_eq(some[*n - 1], some[i])) some[(*n)++] = some[i];
    return some;
}

// Partitions from `first` on, at most `max`. Returns the next one, or -1 when that was all.
static int32_t describe(struct kafka_req *q, struct str name, int32_t first, int32_t max, topic_response *t) {
    struct broker_topic_info info;
    t->name = name;
    t->topic_authorized_operations = INT32_MIN;
    if (!broker_topic_get(kafka_req_broker(q), name, &q->arena, &info)) {
        t->error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        return -1;
    }
    int32_t *node = arena_alloc(&q->arena, sizeof *node);
    *node = kafka_req_config(q)->node_id;
    memcpy(t->topic_id.b, info.id, sizeof t->topic_id.b);
    t->is_internal = info.internal;
    t->topic_authorized_operations = KAFKA_TOPIC_OPERATIONS;
    int32_t n = info.partitions > first ? info.partitions - first : 0;
    if (n > max) n = max;
    t->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_topic_partitions_response_topics_partitions, n);
    t->partitions.n = n;
    for (int32_t i = 0; i < n; i++) {
        struct kafka_describe_topic_partitions_response_topics_partitions *p = &t->partitions.p[i];
        p->partition_index = first + i;
        p->leader_id = *node;
        p->leader_epoch = BROKER_LEADER_EPOCH;
        p->replica_nodes.p = p->isr_nodes.p = node;
        p->replica_nodes.n = p->isr_nodes.n = 1;
        p->eligible_leader_replicas.n = p->last_known_elr.n = 0;
    }
    return first + n < info.partitions ? first + n : -1;
}

static void set_cursor(struct kafka_req *q, struct str topic, int32_t partition) {
    struct kafka_describe_topic_partitions_response *res = q->res;
    res->next_cursor = ARENA_NEW(&q->arena, struct kafka_describe_topic_partitions_response_next_cursor);
    res->next_cursor->topic_name = topic;
    res->next_cursor->partition_index = partition;
}

void kafka_do_describe_topic_partitions(struct kafka_req *q) {
    const struct kafka_describe_topic_partitions_request *req = q->msg;
    struct kafka_describe_topic_partitions_response *res = q->res;
    bool negative = req->cursor != NULL && req->cursor->partition_index < 0;
    int32_t n = 0, left = req->response_partition_limit;
    struct str *names = names_of(q, &n);
    if (left <= 0 || left > PARTITIONS_MAX) left = left <= 0 ? 1 : PARTITIONS_MAX;
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_topic_partitions_response_topics, n);
    res->topics.n = 0;
    for (int32_t i = 0; i < n && res->next_cursor == NULL; i++) {
        int order = req->cursor == NULL ? 1 : str_cmp(names[i], req->cursor->topic_name);
        if (order < 0) continue;
        if (negative) { // said where the first topic would stand
            topic_response *t = &res->topics.p[res->topics.n++];
            t->name = names[i];
            t->topic_authorized_operations = INT32_MIN;
            t->error_code = KAFKA_INVALID_REQUEST;
            break;
        }
        if (left == 0) {
            set_cursor(q, names[i], 0);
            break;
        }
        topic_response *t = &res->topics.p[res->topics.n++];
        int32_t next = describe(q, names[i], order == 0 ? req->cursor->partition_index : 0, left, t);
        left -= t->partitions.n;
        if (next >= 0) set_cursor(q, names[i], next);
    }
    kafka_req_done(q);
}
