// SPDX-License-Identifier: Apache-2.0
// Committed offsets that are part of a transaction: nobody sees them until its marker is in the offsets topic. On the group coordinator's
// loop, except while loading. Durable as transactional batches in __consumer_offsets.
#ifndef BROKER_TXN_OFFSETS_H
#define BROKER_TXN_OFFSETS_H

#include "broker/coordinator.h"

// The records of a transaction were submitted (or replayed): `write` is the number of their write.
void txn_offsets_put(struct coordinator *c, int64_t producer_id, const char *group, const struct committed *o, int64_t write);
void txn_offsets_take_back(struct coordinator *c, int64_t producer_id, int64_t write); // it failed
void offsets_txn_ended(struct coordinator *c, int64_t producer_id, bool commit);        // the marker is durable
bool txn_offsets_pending(const struct coordinator *c, const char *group, const char *topic, int32_t partition); // topic NULL = any
// Pending ones of a group, or of one of its partitions (topic not NULL), written no later than `order`: deleted, as is what was committed before.
void txn_offsets_forget(struct coordinator *c, const char *group, const char *topic, int32_t partition, int64_t order);
void txn_offsets_put_tombstones(const struct coordinator *c, const char *group, struct group_records *r); // for the pending ones of a group
void txn_offsets_forget_topics(struct coordinator *c, const char *topic, struct group_records *r); // as offsets_forget_topics; tombstones go to r
void txn_offsets_free(struct coordinator *c);

#endif
