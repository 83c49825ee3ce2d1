// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: the state of a classic group, and its state machine.
//
//   Empty --join--> PreparingRebalance --all joined, or time-out--> CompletingRebalance --the leader's sync--> Stable
// and from the latter two back to PreparingRebalance when a member comes, goes or changes its protocols; to Empty when all are gone.
#ifndef BROKER_CLASSIC_GROUP_H
#define BROKER_CLASSIC_GROUP_H

#include "broker/coordinator.h"

enum classic_state { CLASSIC_EMPTY, CLASSIC_PREPARING, CLASSIC_COMPLETING, CLASSIC_STABLE };

struct member_protocol {
    char *name;
    struct buf metadata;
};

struct member {
    struct classic_group *group;
    char *id, *instance_id /* NULL = dynamic */, *client_id, *client_host;
    int32_t session_ms, rebalance_ms;
    VEC(struct member_protocol) protocols;
    struct buf assignment;
    struct group_join *joining; // waits for the rebalance
    struct group_sync *syncing; // waits for the leader
    struct loop_timer session;
};

struct pending_member { // was told its id and has not come back yet
    struct classic_group *group;
    char *id;
    struct loop_timer timer;
};

struct classic_group {
    struct group *head;
    char *protocol_type, *protocol_name; // NULL = none
    enum classic_state state;
    int32_t generation;
    char *leader;       // a member's id, NULL = none
    struct map members; // id -> member
    struct map statics; // instance id -> member
    struct map pending; // id -> pending_member
    struct loop_timer rebalance; // the initial delay, the join phase, or the wait for syncs
    bool initial_delay, new_member;
    bool saving; // the leader's assignments are on their way to the disk
    int64_t initial_left_ms;
};

struct classic_group *classic_find(const struct coordinator *c, const char *id); // NULL = none, or of another type
struct classic_group *classic_make(struct coordinator *c, const char *id);       // NULL = too many groups, or there is one of another type
void classic_dispose(struct classic_group *g, struct loop *l); // frees it; its group has another one by now
void classic_take_over(struct group *g); // an empty group of another type becomes a classic one
struct member *member_find(const struct classic_group *g, const char *id);
struct member *member_add(struct classic_group *g, const char *id, const struct group_join *j); // its session begins with member_touch
void member_update(struct member *m, const struct group_join *j); // protocols and time-outs
bool member_matches(const struct member *m, const struct group_join *j);
void member_remove(struct member *m, int error); // frees; waiting calls get `error`
void member_touch(struct member *m);             // session time-out starts anew
bool classic_accepts(const struct classic_group *g, const struct group_join *j); // type and at least one common protocol
const char *classic_choose(const struct classic_group *g); // the protocol most members want; NULL = none in common
void classic_rebalance(struct classic_group *g);           // to PreparingRebalance unless it is there
void classic_try_join(struct classic_group *g);            // completes the join phase if all are there
void classic_after_removal(struct classic_group *g);
void classic_answer_join(struct member *m, struct group_join *j, int error, bool with_members);
void classic_answer_sync(struct member *m, struct group_sync *s, int error);
void classic_save_assignments(struct classic_group *g); // the leader's are in: stored, then all who sync are answered
void classic_save(struct classic_group *g);             // not waited for
void pending_add(struct classic_group *g, const char *id, int32_t session_ms);
bool pending_remove(struct classic_group *g, const char *id);

#endif
