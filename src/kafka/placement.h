// SPDX-License-Identifier: Apache-2.0
// How many partitions a request asks for and where: see placement.c.
#ifndef KAFKA_PLACEMENT_H
#define KAFKA_PLACEMENT_H

#include "kafka/conn.h"

// Kafka's error code, 0 = none; *message in the request's arena.
// CreateTopics: *partitions = how many, -1 = the broker's default.
int placement_of_topic(struct kafka_req *q, const struct kafka_create_topics_request_topics *t, int32_t *partitions, const char **message);
// CreatePartitions of a topic that has `have` partitions.
int placement_of_growth(struct kafka_req *q, const struct kafka_create_partitions_request_topics *t, int32_t have, const char **message);

#endif
