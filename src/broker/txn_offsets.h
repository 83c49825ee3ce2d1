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
void txn_offsets_forget_group(struct coordinator *c, const char *group); // it was deleted
void txn_offsets_free(struct coordinator *c);

#endif
