// SPDX-License-Identifier: Apache-2.0
// The transaction state machine: what a transactional id's next state is, or which error. Pure: no memory, no clock, no disk.
//
//   Empty --add--> Ongoing --end--> PrepareCommit | PrepareAbort --all markers written--> CompleteCommit | CompleteAbort --add--> Ongoing
// InitProducerId leads to Empty from Empty and Complete*; on an Ongoing one it aborts first. As in Kafka's TransactionMetadata (KIP-98), with
// transactions V2 (KIP-890): each end raises the epoch, so that what is late of one transaction never fits the next one.
#ifndef BROKER_TXN_STATE_H
#define BROKER_TXN_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum txn_state { // values of Kafka's records
    TXN_EMPTY,
    TXN_ONGOING,
    TXN_PREPARE_COMMIT,
    TXN_PREPARE_ABORT,
    TXN_COMPLETE_COMMIT,
    TXN_COMPLETE_ABORT,
    TXN_DEAD,
    TXN_PREPARE_EPOCH_FENCE,
};
const char *txn_state_name(enum txn_state s);

struct txn_meta {
    int64_t producer_id;
    int64_t previous_id; // the one before the last change; -1 = none
    int64_t next_id;     // takes over when the markers are written, as the epochs are used up; -1 = none
    int16_t epoch;       // -1 = never initialized
    int16_t last_epoch;  // the one before; -1 = none
    int16_t client_version; // 2 = the transaction is one of V2
    int32_t timeout_ms;
    enum txn_state state;
    int64_t start_ms; // -1 = none
    int64_t update_ms;
};

enum { TXN_EPOCH_LAST = INT16_MAX - 1 }; // of a client; one more is kept for fencing
enum { TXN_NEEDS_ID = -100, TXN_ABORT_FIRST = -101 }; // beside Kafka's error codes: a new producer id; txn_next_fence and then again

void txn_meta_new(struct txn_meta *m, int64_t producer_id, int32_t timeout_ms, int64_t now);
// expected_id -1: a producer that begins. new_id -1: none at hand.
int txn_next_init(const struct txn_meta *m, int64_t expected_id, int16_t expected_epoch, int32_t timeout_ms, int64_t new_id, int64_t now,
                  struct txn_meta *next);
int txn_check_producer(const struct txn_meta *m, int64_t id, int16_t epoch); // 0, or INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED
int txn_next_add(const struct txn_meta *m, int64_t id, int16_t epoch, bool v2, int64_t now, struct txn_meta *next);
// 0 with *repeat: it was done before; next is what to answer from.
int txn_next_end(const struct txn_meta *m, int64_t id, int16_t epoch, bool commit, bool v2, int64_t new_id, int64_t now, struct txn_meta *next,
                 bool *repeat);
void txn_next_fence(const struct txn_meta *m, int64_t now, struct txn_meta *next);    // of an Ongoing one: abort with a raised epoch
void txn_next_complete(const struct txn_meta *m, int64_t now, struct txn_meta *next); // of a Prepare* one

#endif
