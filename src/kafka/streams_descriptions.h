// SPDX-License-Identifier: Apache-2.0
// Descriptions of the topologies of streams groups (KIP-1331), between the messages and what the broker keeps of them.
#ifndef KAFKA_STREAMS_DESCRIPTIONS_H
#define KAFKA_STREAMS_DESCRIPTIONS_H

#include "broker/groups.h"
#include "kafka/conn.h"

// What a describe found, into the response's group: the description with its status. On a request's loop, in its arena.
void kafka_fill_description(struct kafka_req *q, const struct streams_describe *d, struct kafka_streams_group_describe_response_groups *g);

#endif
