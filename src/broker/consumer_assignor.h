// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: the server-side assignors of consumer groups (KIP-848). Pure functions over indices; any thread.
//
// uniform: as many partitions for each member as balance allows, moving as few as possible from whom had them.
// range: of each topic a run of neighbouring partitions for each member, the same numbers of every topic where the topics have equally many.
#ifndef BROKER_CONSUMER_ASSIGNOR_H
#define BROKER_CONSUMER_ASSIGNOR_H

#include "broker/partition_set.h"

struct assign_topic {
    uint8_t id[16];
    int32_t partitions;
};

struct assign_member {
    const char *id, *instance_id; // instance_id NULL = dynamic
    const uint32_t *topics;       // subscribed ones, as indices into the topics; ascending
    size_t n_topics;
    const struct partition_set *current; // its target before
    struct partition_set out;            // the caller's to free; must be zeroed
};

typedef void assignor_fn(const struct assign_topic *topics /* sorted by id */, size_t n_topics, struct assign_member *members, size_t n_members);
assignor_fn assign_uniform, assign_range;
assignor_fn *assignor_named(const char *name); // NULL = no such

#endif
