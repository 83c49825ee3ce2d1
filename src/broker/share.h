// SPDX-License-Identifier: Apache-2.0
// Share groups (KIP-932): many consumers take records of the same partitions, each record goes to one of them, and is acknowledged by itself.
//
// All of it lives on the coordinator's loop (the first one given to broker_open). Calls are structs of the caller as in groups.h: fill the `in`
// part and `call`, hand it over from any loop thread, `call.done` runs once on `call.back`. Results point into `call.arena`, or are buffers
// that the caller frees where it says so. An acknowledgement is durable (in __share_group_state) before it is answered.
#ifndef BROKER_SHARE_H
#define BROKER_SHARE_H

#include "broker/groups.h"
#include "broker/share_runs.h"

enum { SHARE_SESSION_FINAL = -1, SHARE_SESSION_NEW = 0 };

struct share_request_part { // one partition of a ShareFetch or ShareAcknowledge
    uint8_t topic_id[16];
    int32_t partition;
    const struct share_ack *acks;
    size_t n_acks;
};
struct share_response_part {
    uint8_t topic_id[16];
    int32_t partition;
    int error, ack_error;
    const char *message, *ack_message; // NULL or static text
    struct buf records; // fetch: the caller frees it
    share_acquireds acquired; // fetch: the caller frees it
};

struct share_fetch {
    struct group_call call; // errors of the whole request: INVALID_REQUEST, SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH, ...
    const char *group_id, *member_id;
    uint64_t connection; // of the client; see share_connection_closed
    int32_t session_epoch;
    int32_t max_wait_ms, min_bytes, max_bytes, max_records, batch_size;
    bool record_limit; // share.acquire.mode
    bool is_renew;     // may renew locks, fetches nothing
    const struct share_request_part *parts;
    size_t n_parts;
    const struct share_request_part *forgotten; // no longer of the session
    size_t n_forgotten;
    // out
    struct share_response_part *out; // in the arena; those that have something to say
    size_t n_out;
    int32_t lock_ms;
    uint64_t id; // for share_fetch_cancel, valid once share_fetch returned
};
void share_fetch(struct broker *b, struct share_fetch *f);
void share_fetch_cancel(struct broker *b, uint64_t id); // nobody waits for it any more: answers soon, without records

struct share_acknowledge {
    struct group_call call;
    const char *group_id, *member_id;
    int32_t session_epoch;
    bool is_renew;
    const struct share_request_part *parts;
    size_t n_parts;
    // out: as many as parts
    struct share_response_part *out;
    int32_t lock_ms;
};
void share_acknowledge(struct broker *b, struct share_acknowledge *a);

// What the sessions of this connection hold becomes available again. Numbers of connections are the door's, never 0, never reused.
void share_connection_closed(struct broker *b, uint64_t connection);

// ---- the share coordinator's state, as other brokers would ask for it (KIP-932's persister) -----------------------------------
enum share_state_kind { SHARE_STATE_INITIALIZE, SHARE_STATE_READ, SHARE_STATE_WRITE, SHARE_STATE_DELETE, SHARE_STATE_SUMMARY };
struct share_state_part {
    uint8_t topic_id[16];
    int32_t partition;
    int32_t state_epoch, leader_epoch; // in, and out of READ and SUMMARY
    int64_t start;
    int32_t complete;
    const struct share_range *ranges; // in of WRITE, out of READ (in the arena)
    size_t n_ranges;
    int error; // out
    const char *message; // out, may be NULL
};
struct share_state {
    struct group_call call;
    enum share_state_kind kind;
    const char *group_id;
    struct share_state_part *parts;
    size_t n_parts;
    size_t left_; // the broker's own
};
void share_state(struct broker *b, struct share_state *s);

// ---- membership -----------------------------------------------------------------------------------------------------------------
struct share_topic_partitions {
    uint8_t topic_id[16];
    const char *topic; // out of describe
    int32_t *partitions;
    size_t n_partitions;
};
struct share_heartbeat {
    struct group_call call;
    const char *group_id, *member_id, *rack_id; // rack NULL = none
    const char *client_id, *client_host;
    int32_t member_epoch; // 0 joins, -1 leaves
    const char *const *topics; // subscribed; NULL = as before
    size_t n_topics;
    // out
    int32_t out_epoch, interval_ms;
    bool with_assignment;
    struct share_topic_partitions *assignment;
    size_t n_assignment;
};
void share_heartbeat(struct broker *b, struct share_heartbeat *h);

struct share_member_info {
    const char *member_id, *rack_id, *client_id, *client_host;
    int32_t epoch;
    const char **topics;
    size_t n_topics;
    struct share_topic_partitions *assignment;
    size_t n_assignment;
};
struct share_describe {
    struct group_call call; // GROUP_ID_NOT_FOUND
    const char *group_id;
    const char *state;
    int32_t epoch, assignment_epoch;
    struct share_member_info *members;
    size_t n_members;
};
void share_describe(struct broker *b, struct share_describe *d);

// ---- offsets --------------------------------------------------------------------------------------------------------------------
struct share_offset {
    const char *topic;
    uint8_t topic_id[16]; // out
    int32_t partition;
    int64_t start; // alter: in; describe: out, -1 = none
    int32_t leader_epoch;
    int64_t lag; // out of describe; -1 = not known
    int error;
    const char *message;
};
enum share_offsets_kind { SHARE_OFFSETS_DESCRIBE, SHARE_OFFSETS_ALTER, SHARE_OFFSETS_DELETE };
struct share_offsets {
    struct group_call call; // describe: GROUP_ID_NOT_FOUND; alter and delete: also NON_EMPTY_GROUP
    enum share_offsets_kind kind;
    const char *group_id;
    bool all;                     // describe: every partition the group has; `offsets` is an output then, sorted
    struct share_offset *offsets; // delete: one for each topic, `partition` is not looked at
    size_t n_offsets;
    size_t left_; // the broker's own
};
void share_offsets(struct broker *b, struct share_offsets *o);

#endif
