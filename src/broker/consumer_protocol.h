// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: what consumers of the classic protocol put into their metadata and assignments (Kafka's ConsumerProtocolSubscription
// and ConsumerProtocolAssignment, versions 0 to 3). Other protocol types have their own bytes, which the broker does not read.
#ifndef BROKER_CONSUMER_PROTOCOL_H
#define BROKER_CONSUMER_PROTOCOL_H

#include "broker/broker.h"
#include "broker/partition_set.h"

struct consumer_subscription {
    int version;
    const char **topics; // in the arena
    size_t n_topics;
    struct partition_set owned; // of topics that exist; the caller's to free
    const char *rack_id;        // NULL = none
};

// False = not of this kind. `b` is asked for the ids of owned topics; NULL: they are not wanted.
bool consumer_subscription_read(struct str metadata, struct broker *b, struct arena *a, struct consumer_subscription *out);
bool consumer_assignment_read(struct str assignment, struct broker *b, struct partition_set *out); // topics that exist; empty bytes are none
void consumer_assignment_write(struct broker *b, const struct partition_set *s, int version, struct buf *out);

#endif
