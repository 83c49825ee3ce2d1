// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: the transaction coordinator's state. All of it is touched on broker.loops[0] only, except at open and free.
#ifndef BROKER_TXN_COORDINATOR_H
#define BROKER_TXN_COORDINATOR_H

#include "broker/internal.h"
#include "broker/txn.h"
#include "broker/txn_state.h"

#define TXN_TOPIC "__transaction_state"
#define OFFSETS_TOPIC "__consumer_offsets"

struct txn_part {
    char *topic;
    int32_t partition;
    bool durable; // its record is; before that nothing may be written to it
};

struct txn {
    struct txn_coordinator *coordinator;
    char *id;
    struct txn_meta meta; // Ongoing and Complete* are taken on when their record is written; the others when it is durable
    VEC(struct txn_part) parts;
    size_t adding;  // records of added partitions under way
    bool pending;   // another transition's record is under way
    bool stuck;     // a marker could not be written: it is tried again
    bool expired;   // a tombstone is under way
    size_t markers; // not yet written
    struct txn_call *waiting_first, *waiting_last; // until nothing of the above is under way
    struct txn_call *ended; // EndTxn that is answered when all markers are written: what was committed is seen then
    struct loop_timer retry;
};

struct txn_coordinator {
    struct broker *broker;
    struct loop *loop;
    struct map txns; // id -> txn
    int64_t spare_id; // a producer id kept for the next who needs one; -1 = none
    bool fetching_id, topic_exists, making_topic, stopping;
    enum err_code topic_code; // of the worker
    struct producer_id_init id_init;
    struct txn_call *id_first, *id_last; // wait for a producer id, or the topic
    size_t under_way; // writes and markers
    int64_t max_timeout_ms, expiration_ms, abort_interval_ms, expire_interval_ms;
    int64_t expired_at_us;
    struct loop_timer tick;
    struct loop_event *stopped;
};

// ---- txn.c ----
struct txn *txn_find(struct txn_coordinator *c, const char *id);
struct txn *txn_make(struct txn_coordinator *c, const char *id, const struct txn_meta *m); // NULL = too many
void txn_drop(struct txn *t); // frees
void txn_put_part(struct txn *t, struct str topic, int32_t partition, bool durable);
void txn_completed(struct txn *t); // all markers are written
void txn_answer_ended(struct txn *t); // its decision is durable
void txn_run_waiting(struct txn *t);
void txn_quiet(struct txn_coordinator *c); // something ended: is it the last thing that a stop waits for?

// ---- txn_records.c ----
struct txn_write {
    struct txn *txn;
    struct txn_coordinator *coordinator;
    struct txn_meta next;
    void (*done)(struct txn_write *w, int error); // on the coordinator's loop; frees nothing
    struct txn_call *call;
    size_t n_parts; // of the txn that were in this record
    struct broker_produce produce;
    struct buf bytes;
};
// Writes `next` with the partitions of t, or a tombstone, and calls done when it is durable (or not).
void txn_record_write(struct txn *t, const struct txn_meta *next, bool tombstone, void (*done)(struct txn_write *w, int error), struct txn_call *x);
enum err_code txn_records_load(struct txn_coordinator *c, struct err *err);

// ---- txn_markers.c ----
void txn_markers_send(struct txn *t); // to all partitions of a prepared one

#endif
