// SPDX-License-Identifier: Apache-2.0
// Checks of partition counts, replication factors and manual assignments, with the errors and words of Kafka's controller. There is one broker, so
// every replica list that is right names it and nothing else.
#include "kafka/placement.h"

static const char *replicas_fault(struct kafka_req *q, const int32_t *ids, int32_t n) { // NULL = they are right
    int32_t node = kafka_req_config(q)->node_id;
    if (n <= 0) return "The manual partition assignment includes an empty replica list.";
    for (int32_t i = 0; i < n; i++)
        if (ids[i] != node)
            return arena_printf(&q->arena, "The manual partition assignment includes broker %d, but no such broker is registered.", ids[i]);
    return n == 1 ? NULL : arena_printf(&q->arena, "The manual partition assignment includes the broker %d more than once.", node);
}

// Indexes must be 0, 1, 2, … in any order. n is bounded by the request's size; `seen` has a bit for each.
static int check_manual(struct kafka_req *q, const struct kafka_create_topics_request_topics *t, const char **message) {
    int32_t n = t->assignments.n;
    bool *seen = ARENA_ARRAY(&q->arena, bool, n);
    memset(seen, 0, (size_t)n * sizeof *seen);
    for (int32_t i = 0; i < n; i++) {
        const struct kafka_create_topics_request_topics_assignments *a = &t->assignments.p[i];
        if ((*message = replicas_fault(q, a->broker_ids.p, a->broker_ids.n)) != NULL) return KAFKA_INVALID_REPLICA_ASSIGNMENT;
        if (a->partition_index < 0 || a->partition_index >= n) {
            *message = "partitions should be a consecutive 0-based integer sequence";
            return KAFKA_INVALID_REPLICA_ASSIGNMENT;
        }
        if (seen[a->partition_index]) {
            *message = arena_printf(&q->arena, "Found multiple manual partition assignments for partition %d", a->partition_index);
            return KAFKA_INVALID_REPLICA_ASSIGNMENT;
        }
        seen[a->partition_index] = true;
    }
    return 0;
}

int placement_of_topic(struct kafka_req *q, const struct kafka_create_topics_request_topics *t, int32_t *partitions, const char **message) {
    *partitions = t->num_partitions;
    if (t->assignments.n > 0) {
        *partitions = t->assignments.n;
        if (t->replication_factor != -1) {
            *message = "A manual partition assignment was specified, but replication factor was not set to -1.";
            return KAFKA_INVALID_REQUEST;
        }
        if (t->num_partitions != -1) {
            *message = "A manual partition assignment was specified, but numPartitions was not set to -1.";
            return KAFKA_INVALID_REQUEST;
        }
        return check_manual(q, t, message);
    }
    if (t->replication_factor < -1 || t->replication_factor == 0) {
        *message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return KAFKA_INVALID_REPLICATION_FACTOR;
    }
    if (*partitions == 0 || *partitions < -1) {
        *message = "Number of partitions was set to an invalid non-positive value.";
        return KAFKA_INVALID_PARTITIONS;
    }
    if (t->replication_factor > 1) {
        *message = arena_printf(&q->arena,
                                "Unable to replicate the partition %d time(s): The target replication factor of %d cannot be reached because only 1 "
                                "broker(s) are registered.",
                                t->replication_factor, t->replication_factor);
        return KAFKA_INVALID_REPLICATION_FACTOR;
    }
    return 0;
}

int placement_of_growth(struct kafka_req *q, const struct kafka_create_partitions_request_topics *t, int32_t have, const char **message) {
    if (t->count == have) *message = arena_printf(&q->arena, "Topic already has %d partition(s).", have);
    else if (t->count < have)
        *message = arena_printf(&q->arena, "The topic " STR_FMT " currently has %d partition(s); %d would not be an increase.", STR_ARG(t->name), have,
                                t->count);
    if (t->count <= have) return KAFKA_INVALID_PARTITIONS;
    if (t->assignments.n < 0) return 0; // null: the broker places them
    if (t->assignments.n != t->count - have) {
        *message = arena_printf(&q->arena, "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", t->count - have,
                                t->assignments.n);
        return KAFKA_INVALID_REPLICA_ASSIGNMENT;
    }
    for (int32_t i = 0; i < t->assignments.n; i++)
        if ((*message = replicas_fault(q, t->assignments.p[i].broker_ids.p, t->assignments.p[i].broker_ids.n)) != NULL)
            return KAFKA_INVALID_REPLICA_ASSIGNMENT;
    return 0;
}
