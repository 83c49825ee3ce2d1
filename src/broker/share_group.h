// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: share groups in the coordinator (KIP-932): members, epochs, who reads which partitions.
//
// Members are durable, as is the assignment. Each change of members, subscriptions or topics makes a new group epoch, and a new assignment when it
// is time (assignment_pace.h); a member takes its part of it with its next heartbeat. A partition is assigned only after its state was initialized in
// __share_group_state. All on the coordinator's loop.
#ifndef BROKER_SHARE_GROUP_H
#define BROKER_SHARE_GROUP_H

#include "broker/assignment_pace.h"
#include "broker/group_records.h"
#include "broker/share_inside.h"

typedef VEC(int32_t) share_partitions;
struct share_topic { // partitions of one topic, sorted
    uint8_t id[16];
    char *name; // "" where it does not matter
    share_partitions partitions;
};
typedef VEC(struct share_topic) share_topics; // sorted by id

struct share_group;
struct share_member {
    struct share_group *group;
    char *id, *rack_id /* NULL = none */, *client_id, *client_host;
    int32_t epoch, previous_epoch;
    VEC(char *) topics; // subscribed, sorted
    share_topics assigned, target;
    struct loop_timer session;
};

struct share_group {
    struct group *head;
    int32_t epoch, assignment_epoch;
    struct assignment_pace pace;
    struct map members; // id -> share_member
    share_topics initialized; // partitions with state
    struct share_round *round; // initializations under way
    share_topics failed;       // partitions whose initialization failed: not tried before `retry`
    struct loop_timer retry;
    VEC(struct share_heartbeat *) waiting; // joined meanwhile
};

struct share_group *share_group_find(const struct coordinator *c, const char *id); // NULL = none, or of another type
bool share_group_expects(const struct coordinator *c, const char *id, const char *topic); // a member subscribes: the state of its partitions comes

// ---- share_assign.c ----
struct share_topic *share_topics_find(const share_topics *t, const uint8_t id[16]);
struct share_topic *share_topics_make(share_topics *t, const uint8_t id[16], const char *name);
bool share_topics_has(const share_topics *t, const uint8_t id[16], int32_t partition);
void share_topics_add(share_topics *t, const uint8_t id[16], const char *name, int32_t partition);
void share_topics_clear(share_topics *t);
void share_topics_copy(share_topics *to, const share_topics *from);
bool share_topics_equal(const share_topics *a, const share_topics *b);
// Targets of all members, from the partitions that are initialized: each partition has a member; with fewer members than partitions it has one
// and members have about equally many; with more each member has one, and partitions have about equally many. What they had they keep.
void share_assign(struct share_group *g);
bool share_member_subscribes(const struct share_member *m, const char *topic);

// ---- share_group_records.c: their records in __consumer_offsets ----
void share_put_member(struct group_records *r, const struct share_member *m);
void share_put_group(struct group_records *r, const struct share_group *g);
void share_put_target(struct group_records *r, const struct share_group *g); // of all members
void share_put_current(struct group_records *r, const struct share_member *m);
void share_put_state(struct group_records *r, const struct share_group *g);
void share_put_member_tombstones(struct group_records *r, const struct share_member *m);
void share_put_all(struct group_records *r, const struct share_group *g);
void share_put_group_tombstones(struct group_records *r, const struct share_group *g);

// ---- share_group.c ----
// Or the one that is there. NULL = it is of another type, there are too many, or one of that name is being deleted.
struct share_group *share_group_make(struct coordinator *c, const char *id);
struct share_member *share_member_new(struct share_group *g, const char *id);
void share_member_free(struct share_member *m);
void share_group_changed(struct share_group *g, struct group_records *r); // new epoch, its record; share_update_target
void share_update_target(struct share_group *g, struct group_records *r); // if the group's epoch is ahead of it, and it is time
// Partitions that members want and that have no state yet: initialized, then share_group_changed.
// False: there are none, and nothing is under way.
bool share_group_initialize(struct share_group *g);
void share_member_remove(struct share_member *m, struct group_records *r); // frees; new epoch and assignment
void share_member_touch(struct share_member *m);                           // its session begins anew
void share_group_forget_state(struct share_group *g); // all of it in __share_group_state

// ---- share_group_calls.c ----
void share_heartbeats_ready(struct share_group *g); // those that waited for initialization

#endif
