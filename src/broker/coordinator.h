// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: the group coordinator's state. All of it is touched on one loop (broker.loops[0]) only, except at open and free.
//
//   Empty --join--> PreparingRebalance --all joined, or time-out--> CompletingRebalance --the leader's sync--> Stable
// and from the latter two back to PreparingRebalance when a member comes, goes or changes its protocols; to Empty when all are gone.
#ifndef BROKER_COORDINATOR_H
#define BROKER_COORDINATOR_H

#include "broker/internal.h"

enum group_state { GROUP_EMPTY, GROUP_PREPARING, GROUP_COMPLETING, GROUP_STABLE };

struct member_protocol {
    char *name;
    struct buf metadata;
};

struct member {
    struct group *group;
    char *id, *instance_id /* NULL = dynamic */, *client_id, *client_host;
    int32_t session_ms, rebalance_ms;
    VEC(struct member_protocol) protocols;
    struct buf assignment;
    struct group_join *joining; // waits for the rebalance
    struct group_sync *syncing; // waits for the leader
    struct loop_timer session;
};

struct pending_member { // was told its id and has not come back yet
    struct group *group;
    char *id;
    struct loop_timer timer;
};

struct committed { // one offset
    char *topic;
    int32_t partition, leader_epoch;
    int64_t offset, commit_ms;
    char *metadata;
    size_t metadata_n;
};

struct group {
    struct coordinator *coordinator;
    char *id, *protocol_type, *protocol_name; // NULL = none
    enum group_state state;
    int32_t generation;
    char *leader;       // a member's id, NULL = none
    struct map members; // id -> member
    struct map statics; // instance id -> member
    struct map pending; // id -> pending_member
    struct loop_timer rebalance; // the initial delay, the join phase, or the wait for syncs
    bool initial_delay, new_member;
    int64_t initial_left_ms;
    struct map offsets; // "topic\0" + partition -> committed
    int64_t empty_since_ms;
};

struct coordinator {
    struct broker *broker;
    struct loop *loop;
    struct map groups;
    int64_t initial_delay_ms, session_min_ms, session_max_ms, offsets_retention_ms;
    size_t writes;           // produces to the offsets topic under way
    int64_t rewrite_from;    // base offset of the last rewrite of the offsets topic; -1 = it failed
    bool compacting;         // a rewrite waits for `writes` to be 0: commits queue up
    struct offsets_write *queue_first, *queue_last;
    struct loop_timer tick;
    struct loop_event *stopped;
    bool stopping;
};

// ---- group_state.c: the state machine ----
struct group *group_find(struct coordinator *c, const char *id);
struct group *group_make(struct coordinator *c, const char *id); // NULL = too many
void group_free(struct group *g);
struct member *member_find(const struct group *g, const char *id);
struct member *member_add(struct group *g, const char *id, const struct group_join *j);
void member_update(struct member *m, const struct group_join *j); // protocols and time-outs
bool member_matches(const struct member *m, const struct group_join *j);
void member_remove(struct member *m, int error); // frees; waiting calls get `error`
void member_touch(struct member *m);             // session time-out starts anew
bool group_accepts(const struct group *g, const struct group_join *j); // type and at least one common protocol
const char *group_choose(const struct group *g); // the protocol most members want; NULL = none in common
void group_rebalance(struct group *g);           // to PreparingRebalance unless it is there
void group_try_join(struct group *g);            // completes the join phase if all are there
void group_after_removal(struct group *g);
void group_answer_join(struct member *m, struct group_join *j, int error, bool with_members);
void group_answer_sync(struct member *m, struct group_sync *s, int error);
void group_stable(struct group *g); // the leader's assignments are in: answers all who sync
void pending_add(struct group *g, const char *id, int32_t session_ms);
bool pending_remove(struct group *g, const char *id);
const char *group_state_name(enum group_state s);

// ---- offsets.c ----
void coordinator_answer(struct group_call *call, int error, const char *message);
enum err_code offsets_load(struct coordinator *c, struct err *err);
void offsets_save_group(struct group *g); // type and generation; not waited for
void offsets_forget_group(struct group *g); // writes tombstones for all that is stored of it; not waited for
void offsets_expire(struct coordinator *c);
// Offsets of a topic that was deleted (NULL: of all that are not there): a topic made again under its name begins without them.
void offsets_forget_topics(struct coordinator *c, const char *topic);
void committed_free(struct committed *o);

#endif
