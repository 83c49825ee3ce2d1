// SPDX-License-Identifier: Apache-2.0
// The records of one share-partition that are in flight (KIP-932): which are available, acquired, acknowledged or archived, how often each was
// delivered, who holds it and until when. A state machine without input and output: no clock, no files, no loop; one owner.
//
// Kept as runs of offsets with one state, sorted: a batch that is acquired and acknowledged whole is one run however many records it has, and
// is split only where its records differ. Runs that are equal again are joined. `start` is Kafka's share-partition start offset (SPSO): all
// below it is done with; `next` is one behind the last offset that was ever acquired (Kafka's end offset + 1). An acknowledgement becomes a
// change that is committed when it is durable, or rolled back; meanwhile its records can be neither acquired nor acknowledged.
// Source of the rules: KIP-932, KIP-1206 (acquire modes), KIP-1222 (renew), and the isolation of records that fail again and again.
#ifndef BROKER_SHARE_RUNS_H
#define BROKER_SHARE_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"

// As they are stored. Archiving: delivery has failed, and the record is on its way to the dead-letter queue.
enum share_record_state { SHARE_AVAILABLE = 0, SHARE_ACQUIRED = 1, SHARE_ACKNOWLEDGED = 2, SHARE_ARCHIVING = 3, SHARE_ARCHIVED = 4 };
enum share_ack_type { SHARE_GAP = 0, SHARE_ACCEPT = 1, SHARE_RELEASE = 2, SHARE_REJECT = 3, SHARE_RENEW = 4 };

struct share_range { // what is stored of offsets first to last, both inside
    int64_t first, last;
    int16_t count; // deliveries
    int8_t state;  // never SHARE_ACQUIRED
};
typedef VEC(struct share_range) share_ranges;

struct share_run {
    int64_t first, last;
    int64_t batch_first, batch_last; // the batch that was acquired as one at first
    int64_t lock_until_us;           // when acquired
    uint64_t owner, old_owner;       // who acquired it; 0 = nobody
    uint64_t change;                 // the change under way, 0 = none; the old values are for its rollback
    int16_t count, old_count;
    uint8_t state, old_state;
    bool rejected; // archiving: by its member
};

struct share_limits { // of the group; may change at any time
    int16_t max_count;   // deliveries of a record, 2 and more
    int64_t max_records; // in flight
    int64_t lock_us;     // how long a record stays acquired
    bool dead_letters;   // records whose delivery failed are archiving first: see share_runs_dead
};

struct share_runs {
    VEC(struct share_run) v; // those from `head`
    size_t head;
    int64_t start, next;
    int64_t complete; // records from `start` on that are acknowledged or archived
    int64_t lock_first_us; // no lock ends before; INT64_MAX = there is none
    uint64_t last_change;
    bool maybe_available, maybe_dead;
    struct share_limits limits;
};

void share_runs_init(struct share_runs *r, int64_t start, const struct share_limits *limits);
void share_runs_fini(struct share_runs *r);
// What was stored: sorted ranges, none below start, none overlapping; false = they are not. What lies between them becomes available.
bool share_runs_load(struct share_runs *r, const struct share_range *ranges, size_t n);

int64_t share_runs_next_fetch(struct share_runs *r); // the first available record, or `next`
int64_t share_runs_in_flight(const struct share_runs *r);
bool share_runs_can_acquire(struct share_runs *r);

struct share_fetched { // a record batch that was read
    int64_t first, last;
};
struct share_acquire {
    uint64_t owner;
    int64_t now_us;
    bool record_limit;   // never more than max_records; else it is a soft limit, and batches are acquired whole
    int32_t batch_size;  // records of an acquired batch, about
    int32_t max_records;
    int64_t fetch_offset; // where the read began
    const struct share_fetched *batches; // in order
    size_t n_batches;
};
struct share_acquired {
    int64_t first, last;
    int16_t count;
};
typedef VEC(struct share_acquired) share_acquireds;
int64_t share_runs_acquire(struct share_runs *r, const struct share_acquire *a, share_acquireds *out); // how many records; appended to `out`

struct share_ack { // one type for all, or one for each offset
    int64_t first, last;
    const int8_t *types;
    size_t n_types;
};
// Acknowledges all of it or nothing: 0, or Kafka's INVALID_RECORD_STATE or INVALID_REQUEST with *why. What is to be stored is appended to
// `out`; when that is nothing, *change is 0.
int share_runs_acknowledge(struct share_runs *r, uint64_t owner, int64_t now_us, const struct share_ack *acks, size_t n, share_ranges *out,
                           uint64_t *change, const char **why);
// All that `owner` holds becomes available, or is archived after its last delivery.
uint64_t share_runs_release(struct share_runs *r, uint64_t owner, share_ranges *out); // the change; 0 = nothing was held
void share_runs_commit(struct share_runs *r, uint64_t change);
void share_runs_rollback(struct share_runs *r, uint64_t change, int64_t now_us);
// Locks that are over: available again, or archived after the last delivery. At once, nothing to commit. How many records.
int64_t share_runs_expire(struct share_runs *r, int64_t now_us, share_ranges *out);
// Archiving records, at most max_records, and appended to `out`; each says how it came to that. When they are in the dead-letter queue, or
// cannot be, share_runs_archive: a change to commit like an acknowledgement. 0 = none of them is archiving any more.
struct share_dead {
    int64_t first, last;
    int16_t count;
    bool rejected; // else it was delivered as often as it may be
};
typedef VEC(struct share_dead) share_deads;
void share_runs_dead(struct share_runs *r, int64_t max_records, share_deads *out);
uint64_t share_runs_archive(struct share_runs *r, const share_deads *dead, share_ranges *out);
void share_runs_log_start(struct share_runs *r, int64_t log_start); // the log begins there now
// Offsets that no reader may see (records of aborted transactions): archived. Those in `acquired` are taken out of it.
void share_runs_hide(struct share_runs *r, int64_t first, int64_t last);

#endif
