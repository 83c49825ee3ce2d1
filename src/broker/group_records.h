// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: batches of records for the topic __consumer_offsets, in Kafka's own formats, and its replay at the start.
//
//   struct group_records *r = group_records_new(c);
//   group_key_string(group_records_key(r, 3), group->id);      // Kafka's key version 3: ConsumerGroupMetadata
//   put_be32(group_records_value(r, 0), epoch); put_tags(...); // value version 0
//   group_records_put(r);
//   group_records_submit(r, group, done, arg);
// State in memory changes at once; whoever is told of it waits until the record is durable. Writes become durable in the order in which they
// were submitted. After a failed one, the next write of each group carries all of its state again. All on the coordinator's loop.
#ifndef BROKER_GROUP_RECORDS_H
#define BROKER_GROUP_RECORDS_H

#include "broker/coordinator.h"
#include "codec/varint.h"
#include "log/batch.h"

#define OFFSETS_TOPIC "__consumer_offsets"

typedef void group_records_fn(void *arg, int error); // error: 0 or COORDINATOR_NOT_AVAILABLE (the disk is full or failed)

struct group_waiter {
    group_records_fn *fn;
    void *arg;
};

struct group_records {
    struct coordinator *coordinator;
    struct batch_builder batch;
    struct buf bytes, key, value;
    int64_t time_ms;
    int64_t sequence; // of the writes submitted
    VEC(struct group_waiter) waiters;
    struct broker_produce produce;
    bool in_txn; // a batch of a transaction
};

struct group_records *group_records_new(struct coordinator *c);
struct buf *group_records_key(struct group_records *r, int version);   // begins a record: its key, cleared, with this version in front
void group_records_key_of(struct group_records *r, int version, const char *group, const char *more); // the key: strings; `more` NULL = none
struct buf *group_records_value(struct group_records *r, int version); // the same for its value
void group_records_put(struct group_records *r);    // the record is complete
void group_records_delete(struct group_records *r); // its key is complete: a tombstone
bool group_records_empty(const struct group_records *r);
// Writes and frees; fn (or NULL) runs when durable, from the loop, never from inside. Without records it waits for the group's earlier writes
// (nothing that is not durable is answered), and runs fn inside the call when there are none. `g` may be NULL; of one that is being deleted nothing
// is written.
void group_records_submit(struct group_records *r, struct group *g, group_records_fn *fn, void *arg);
void group_records_free(struct group_records *r); // gives it up unwritten
enum err_code group_records_load(struct coordinator *c, struct err *err); // reads the topic, or creates it

// ---- replay, for types that share the map of groups ----
// The group that a key names, when it is of that type; NULL = it is none. With `make` it becomes one if it is of another type or not there: then
// its `own` is NULL, and the caller's to set.
struct group *group_replay_head(struct coordinator *c, struct rd *key, const struct group_ops *ops, bool make);
void group_replay_gone(struct group *g); // its own record is a tombstone; its offsets live on, as a classic group's

// ---- the pieces of keys and values ----
void put_string(struct buf *out, struct str s);            // int16 length
void put_nullable_string(struct buf *out, const char *s);  // NULL = null
void put_bytes(struct buf *out, struct str s);             // int32 length
void put_compact_string(struct buf *out, struct str s);
void put_compact_nullable(struct buf *out, const char *s); // NULL = null
void put_compact_count(struct buf *out, size_t n);         // of an array's elements
static inline void put_no_tags(struct buf *out) { buf_put_u8(out, 0); }
void put_one_tag(struct buf *out, uint64_t tag, size_t size); // there is this one; its `size` bytes follow
bool offsets_replay_txn(struct coordinator *c, int64_t producer_id, struct rd *key, struct rd *value); // offsets.c: of a transaction
struct str get_string(struct rd *r); // p NULL = null
struct str get_bytes(struct rd *r);
struct str get_compact_string(struct rd *r); // p NULL = null
size_t get_compact_count(struct rd *r); // of an array; 0 for null; fails when there are more than bytes left
void skip_tags(struct rd *r);
// for (struct tags t = tags_begin(r); tags_next(&t, r);) if (t.tag == 0) epoch = rd_be32(&t.value);
// A value that is shorter than what is read of it makes no failure: test t.value.failed where it matters.
struct tags {
    uint64_t left, tag;
    struct rd value;
};
struct tags tags_begin(struct rd *r);
bool tags_next(struct tags *t, struct rd *r); // false = there are no more, or the bytes run out

#endif
