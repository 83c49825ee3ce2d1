// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: the durable state of share-partitions, which is Kafka's share coordinator: the topic __share_group_state with Kafka's
// own records (ShareSnapshot, ShareUpdate), and what they say, in memory.
//
// A write is checked (state and leader epochs), appended, and answered when it is durable; only then memory says so too. Writes of one
// share-partition become durable in their order. After share.coordinator.snapshot.update.records.per.snapshot updates comes a snapshot,
// for which the writes before it are waited for. Lives on the coordinator's loop, except opening and freeing. The topic is made when it is first
// written to; it has one partition.
#ifndef BROKER_SHARE_STORE_H
#define BROKER_SHARE_STORE_H

#include "broker/internal.h"
#include "broker/share_runs.h"

#define SHARE_STATE_TOPIC "__share_group_state"

struct share_key {
    const char *group;
    uint8_t topic_id[16];
    int32_t partition;
};

struct share_write;
struct share_stored { // of one share-partition
    char *group;
    uint8_t topic_id[16];
    int32_t partition;
    int32_t snapshot_epoch, state_epoch, leader_epoch;
    int64_t start;    // -1 = to be chosen by share.auto.offset.reset
    int32_t complete; // records from start on whose delivery is over; -1 = not known
    int64_t create_ms, write_ms;
    share_ranges ranges; // sorted, from start on
    int64_t updates;         // since the snapshot
    int64_t snapshot_offset; // where the snapshot is in the log
    // writes under way
    size_t in_flight;
    bool snapshotting;
    struct share_write *queue_first, *queue_last;
};

enum share_write_kind { SHARE_WRITE_UPDATE, SHARE_WRITE_INITIALIZE, SHARE_WRITE_DELETE, SHARE_WRITE_SNAPSHOT };

struct share_write { // the caller's until done
    enum share_write_kind kind;
    struct share_key key;
    int32_t state_epoch, leader_epoch; // leader epoch -1 = as it is
    int64_t start;                     // -1 = as it is (initialize: to be chosen)
    int32_t complete;                  // not for initialize
    const struct share_range *ranges;
    size_t n_ranges;
    void (*done)(struct share_write *w); // on the loop, never from inside the call
    void *arg;
    int error; // out: Kafka's
    const char *message;
    // the store's own
    struct share_store *store_;
    struct share_write *next_;
    struct buf bytes_;
    struct broker_produce produce_;
    bool as_snapshot_, counted_;
    int32_t snapshot_epoch_;
    int64_t time_ms_;
};

struct share_store *share_store_open(struct broker *b, struct err *err); // reads the topic, if there is one
void share_store_free(struct share_store *s);                            // nothing is under way any more
void share_store_write(struct share_store *s, struct share_write *w);
const struct share_stored *share_store_find(const struct share_store *s, const struct share_key *key); // NULL = not initialized
const struct share_stored *share_store_next(const struct share_store *s, size_t *it); // all; start with *it = 0
// A reader of a newer leader epoch fences older ones. 0, or Kafka's error.
int share_store_read(struct share_store *s, const struct share_key *key, int32_t leader_epoch, const struct share_stored **out, const char **message);
// The start was chosen, and nothing has happened since: such an update has complete -1.
static inline bool share_store_only_begun(const struct share_stored *e) { return e->complete == -1 && e->ranges.n == 0; }
void share_store_upkeep(struct share_store *s); // removes segments that snapshots made redundant
// Once: fn(arg) when nothing is under way, at the latest from inside the call.
void share_store_when_idle(struct share_store *s, loop_fn *fn, void *arg);
// Ranges `over` on top of `under`, without what lies below `start`; equal neighbours joined.
void share_ranges_overlay(share_ranges *under, const struct share_range *over, size_t n, int64_t start);

#endif
