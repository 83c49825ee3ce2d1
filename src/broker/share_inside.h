// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: share-partitions in memory, share sessions, and fetches that wait. All on the coordinator's loop.
//
// A share-partition is loaded from the store when it is first fetched, and forgotten when its group's last session has ended, no write of it
// is under way and nobody waits on it: what is acquired then is available again at the next load, since acquisition is not stored. Where it begins
// is stored before it gives anything, so that each load begins there, not where the log ends by then.
#ifndef BROKER_SHARE_INSIDE_H
#define BROKER_SHARE_INSIDE_H

#include "broker/coordinator.h"
#include "broker/share.h"
#include "broker/share_store.h"

struct share {
    struct broker *broker;
    struct coordinator *coordinator;
    struct loop *loop;
    struct share_store *store;
    struct map parts;    // topic id + partition + group -> share_part
    struct map sessions; // group \0 member -> share_session
    struct map fetches;  // id -> share_fetching
    atomic_uint_fast64_t last_fetch;
    size_t sessions_max;
    struct share_fetching *woken_first, *woken_last;
    bool woken_posted, stopping;
    struct loop_timer tick;
    int64_t upkeep_us;
    size_t reads; // by workers, also writes to dead-letter queues
    bool idle;    // stopping, and all writes have ended
    struct loop_event *stopped;
};

struct share_group_config { // in force for a group
    struct share_limits limits;
    bool renew, read_committed;
    int32_t session_ms, heartbeat_ms;
    const char *reset; // "latest", "earliest", "by_duration:PT1H"
};
struct share_group_config share_config_of(const struct share *s, const char *group); // share_calls.c

struct share_read;
struct share_wait { // one fetch on one share-partition
    struct share_wait *prev, *next; // of the share-partition
    struct share_fetching *fetching;
    struct share_part *part; // NULL: its state is on its way, or there was an error
    uint8_t topic_id[16];
    int32_t partition;
    bool missing; // the state is on its way
    struct broker_wait log;
    bool linked, log_waits;
    // what was read
    struct buf data;
    VEC(struct broker_aborted) aborted; // transactions in it, with read_committed
    int64_t fetch_offset, seen;
    bool read;
    // what that was, when the bytes are gone; nothing moved since while `known`
    bool known, more, behind; // more: the partition has records after it, behind: its end is in a newer segment
    size_t had;
    struct share_read *reading; // a worker reads from the disk
};

struct share_part {
    struct share *share;
    char *group, *topic;
    uint8_t topic_id[16];
    int32_t partition, state_epoch;
    struct share_runs runs;
    struct loop_timer locks, letters_timer;
    struct share_wait *waits;
    bool letters_running; // a worker writes to the dead-letter queue, or it is time to wait before that
    int letters_failed;   // in a row
    size_t changes; // under way
    bool leaving;   // forget it as soon as possible
    bool dead;      // its stored state was changed by others: it is not to be used again
    bool beginning; // its start is being stored: it gives nothing yet
    bool unbegun;   // that failed (then it is dead, too)
    uint64_t config_version; // of the limits
};

// ---- share_parts.c ----
// The share-partition, loaded if need be; NULL with Kafka's error and a text. NULL without an error: its state is being written, and
// share_fetches_look comes when it is.
struct share_part *share_part_get(struct share *s, const char *group, const uint8_t topic_id[16], int32_t partition, int *error, const char **message);
int64_t share_duration_ms(const char *text); // "P1DT2H3M4S", as ISO 8601 writes times; -1 = not of that form
struct share_part *share_part_find(const struct share *s, const char *group, const uint8_t topic_id[16], int32_t partition); // loaded; or NULL
// Stores a change and ends it; then fn(arg, error, message). A change of 0 with ranges is one that needs no end (locks that are over).
typedef void share_part_fn(void *arg, int error, const char *message);
void share_part_store(struct share_part *p, uint64_t change, share_ranges *ranges /* taken over */, share_part_fn *fn, void *arg);
void share_part_release(struct share_part *p, uint64_t owner, share_part_fn *fn, void *arg); // fn may come at once
void share_part_wake(struct share_part *p);    // those who wait look again
void share_part_rearm(struct share_part *p);   // after acquiring
void share_part_log_start(struct share_part *p, int64_t log_start);
void share_part_hold(struct share_part *p); // it stays in memory until let go
void share_part_let_go(struct share_part *p);
void share_part_leave(struct share_part *p);
void share_parts_leave(struct share *s, const char *group /* NULL = all */, const uint8_t *topic_id /* NULL = all */);
void share_part_die(struct share *s, const struct share_key *key); // its stored state changes otherwise
uint64_t share_owner(const char *member); // never 0

// ---- share_sessions.c ----
struct share_session_part {
    uint8_t topic_id[16];
    int32_t partition;
};
struct share_session {
    char *group, *member;
    uint64_t connection, owner;
    int32_t epoch;
    VEC(struct share_session_part) parts;
};
struct share_session *share_session_find(const struct share *s, const char *group, const char *member);
int share_session_begin(struct share *s, struct share_fetch *f, struct share_session **out); // checks and moves the epoch; out NULL = final
int share_session_acknowledge(struct share *s, const struct share_acknowledge *a, struct share_session **out);
// What the session holds is released, then fn. The session is gone at once.
void share_session_end(struct share *s, struct share_session *x, share_part_fn *fn, void *arg);
void share_sessions_free(struct share *s);

// ---- share_read.c: reading from the log, without waiting for the disk here ----
struct share_read_ask {
    uint64_t fetch;  // id
    size_t index;    // of its waits
    bool committed;
    size_t bytes;
};
// Fills w. Kafka's error, or 0; w->reading is set when a worker has to read: then share_read_done comes later.
int share_read(struct share *s, struct share_wait *w, const struct share_read_ask *ask);
struct share_wait *share_fetch_wait(struct share *s, uint64_t fetch, size_t index); // NULL = the fetch is over
void share_wait_clear(struct share_wait *w); // what was read
void share_check_stopped(struct share *s);   // share_calls.c

// ---- share_fetch.c ----
void share_fetching_wake(struct share_fetching *f);
void share_fetches_look(struct share *s, const char *group); // the states of some of its share-partitions have come
void share_fetches_stop(struct share *s);

// ---- share_dead_letters.c ----
void share_dead_letters_start(struct share_part *p); // if there are any and none are being written

// ---- share_acknowledge.c: the acknowledgements of a request ----
struct share_acks; // under way
// Starts them all; fn once all have ended (never from inside). out: one for each part, error and text in ack_error and ack_message.
void share_acks_start(struct share *s, const char *group, const char *member, bool is_renew, const struct share_request_part *parts, size_t n,
                      struct share_response_part *out, loop_fn *fn, void *arg);

// ---- share_calls.c: the life of all this; opening and closing are in internal.h ----
void share_topic_changed(struct share *s); // on the loop: state of topics that are gone goes too
void share_state_forget(struct share *s, const struct share_key *key, share_part_fn *fn, void *arg); // fn may be NULL

#endif
