// SPDX-License-Identifier: Apache-2.0
// What a partition knows of producers with an id: epoch, the last five batches of each (to refuse gaps and answer repeats), and the
// transaction that is open. One owner, no locks. Rules as in Kafka's ProducerStateManager.
//
// A producer without state may begin with any sequence number: its state may have expired. After a marker that carries a new epoch
// (transactions V2, fencing) the next batch begins at 0 and an older epoch is refused, so that nothing late of an earlier transaction comes in.
#ifndef BROKER_PRODUCERS_H
#define BROKER_PRODUCERS_H

#include <stdatomic.h>

#include "base/map.h"
#include "log/batch.h"
#include "log/compact.h"

enum { PRODUCER_BATCHES = 5, PRODUCERS_MAX = 100000 }; // per partition; above it the ones idle longest are forgotten

struct producers {
    struct map by_id;
    _Atomic int64_t count; // by_id.n, for any thread
};

// The content of a control batch: how a transaction ended.
struct txn_marker {
    bool commit;
    int32_t coordinator_epoch;
};
bool txn_marker_read(const struct batch *b, struct txn_marker *out); // false = not a marker that we know
// The marker as a batch, appended to `out`.
void txn_marker_write(struct buf *out, int64_t producer_id, int16_t epoch, const struct txn_marker *m, int64_t now_ms);

void producers_init(struct producers *s);
void producers_fini(struct producers *s);
enum producer_verdict {
    PRODUCER_APPEND,
    PRODUCER_REPEAT,
    PRODUCER_FENCED,           // INVALID_PRODUCER_EPOCH
    PRODUCER_GAP,              // OUT_OF_ORDER_SEQUENCE_NUMBER
    PRODUCER_IN_TXN,           // INVALID_TXN_STATE: a plain batch in the middle of a transaction
    PRODUCER_UNVERIFIED,       // the transaction's first batch here: the transaction coordinator must know of it
    PRODUCER_COORDINATOR_OLD,  // TRANSACTION_COORDINATOR_FENCED
};
// For a batch with producer_id >= 0 from a client. `verified`: the coordinator has this partition in its transaction.
// PRODUCER_REPEAT: *base and *last are the offsets it got the first time.
enum producer_verdict producers_check(const struct producers *s, const struct batch *b, bool verified, int64_t *base, int64_t *last);
// For a marker. `newer`: its epoch must be above the producer's (transactions V2).
enum producer_verdict producers_check_marker(const struct producers *s, const struct batch *b, const struct txn_marker *m, bool newer);
void producers_note(struct producers *s, const struct batch *b, int64_t now_ms); // appended at b->base_offset; also in recovery
struct log_producer_last *producers_last(const struct producers *s, size_t *n); // where each wrote last, for compaction; mem_free
int64_t producers_txn_first(const struct producers *s, int64_t producer_id); // first offset of its open transaction; -1 = none
int64_t producers_first_open(const struct producers *s, int64_t except_id);  // the lowest of all but one; INT64_MAX = none
// The first offsets of all open transactions, in order; mem_free.
int64_t *producers_all_open(const struct producers *s, size_t *n);
size_t producers_expire(struct producers *s, int64_t before_ms); // never one with an open transaction
void producers_save(const struct producers *s, struct buf *out);
bool producers_load(struct producers *s, struct str snapshot, int64_t now_ms); // replaces all; false = unusable (then it is empty)

struct producer_info { // DescribeProducers
    int64_t producer_id, last_timestamp, txn_first; // -1 = none
    int32_t epoch, last_sequence, coordinator_epoch;
};
size_t producers_list(const struct producers *s, struct producer_info *out, size_t max); // sorted by id; returns how many there are

#endif
