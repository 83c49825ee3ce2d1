// SPDX-License-Identifier: Apache-2.0
// Transactions: the coordinator's calls (KIP-98, KIP-360, KIP-447, KIP-588, KIP-664, KIP-890).
//
// The coordinator lives on the broker's first loop; calls are structs of the caller as in groups.h: fill the `in` part and call.call, hand it
// over on any loop thread, call.call.done runs once on call.call.back. What a transactional id's state is, is durable in the topic
// __transaction_state before anything is answered by it. A call that meets a transaction in the middle of its completion waits for it; when
// that cannot proceed (a partition does not take its marker) it is answered CONCURRENT_TRANSACTIONS, which clients retry.
#ifndef BROKER_TXN_H
#define BROKER_TXN_H

#include "broker/groups.h"

enum { TXN_IDS_MAX = 100000, TXN_PARTITIONS_MAX = 10000 }; // of the broker; of one transaction

struct txn_coordinator;
struct txn_call {
    struct group_call call;
    struct txn_call *next_; // the coordinator's own
    void (*run_)(struct txn_coordinator *c, struct txn_call *x);
};

// InitProducerId with a transactional id: aborts what an earlier producer left open, and fences it.
struct txn_init {
    struct txn_call call; // INVALID_REQUEST, INVALID_TRANSACTION_TIMEOUT, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS
    const char *transactional_id;
    int32_t timeout_ms;
    int64_t producer_id; // what the producer has, to get a newer epoch (KIP-360); -1 = nothing
    int16_t producer_epoch;
    // out
    int64_t out_id;
    int16_t out_epoch;
};
void txn_init(struct broker *b, struct txn_init *x);

struct txn_partition {
    const char *topic;
    int32_t partition;
    int error; // out
};
// Adds partitions, or (verify) asks whether they are in the transaction. The errors of all go to each partition too.
struct txn_add {
    struct txn_call call; // INVALID_REQUEST, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS
    const char *transactional_id;
    int64_t producer_id;
    int16_t producer_epoch;
    struct txn_partition *partitions; // error: TRANSACTION_ABORTABLE = verify: it is not in it
    size_t n_partitions;
    bool verify;
    bool v2; // the client does without AddPartitionsToTxn
};
void txn_add(struct broker *b, struct txn_add *x);

struct txn_end {
    struct txn_call call; // INVALID_TXN_STATE and those of txn_add. Answered when all markers are durable too; when one
                          // cannot be written now, when the decision is
    const char *transactional_id;
    int64_t producer_id;
    int16_t producer_epoch;
    bool commit;
    bool v2; // EndTxn 5: the epoch is raised
    // out
    int64_t out_id;
    int16_t out_epoch;
};
void txn_end(struct broker *b, struct txn_end *x);

struct txn_describe {
    struct txn_call call; // TRANSACTIONAL_ID_NOT_FOUND, INVALID_REQUEST
    const char *transactional_id;
    // out, in the arena
    const char *state;
    int32_t timeout_ms;
    int64_t start_ms, producer_id;
    int16_t producer_epoch;
    struct txn_partition *partitions; // sorted
    size_t n_partitions;
};
void txn_describe(struct broker *b, struct txn_describe *x);

struct txn_listed {
    const char *transactional_id, *state;
    int64_t producer_id, start_ms, now_ms;
};
struct txn_list { // all there are, sorted by id: filters are the door's
    struct txn_call call;
    struct txn_listed *txns;
    size_t n_txns;
};
void txn_list(struct broker *b, struct txn_list *x);
const char *txn_state_named(struct str name); // the name as Kafka spells it ("PrepareCommit"), or NULL

// WriteTxnMarkers: one marker to one partition, whatever the coordinator knows (abort of hanging transactions).
struct txn_marker_write {
    struct group_call call; // UNKNOWN_TOPIC_OR_PARTITION, INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED, KAFKA_STORAGE_ERROR
    const char *topic;
    int32_t partition;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t coordinator_epoch;
    bool commit;
    bool newer; // refuse an epoch that is not above the transaction's (transactions V2)
    struct broker_produce produce_; // the broker's own
    struct buf bytes_;
    struct broker *broker_;
};
void txn_write_marker(struct broker *b, struct txn_marker_write *x); // [loop]

// DescribeProducers of one partition.
struct txn_producers {
    struct group_call call; // UNKNOWN_TOPIC_OR_PARTITION
    const char *topic;
    int32_t partition;
    struct producer_info *producers; // out; mem_free
    size_t n_producers;
    struct partition *partition_;
};
void txn_describe_producers(struct broker *b, struct txn_producers *x);

#endif
