// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: the group coordinator, and what groups of all types have in common. All of it is touched on one loop
// (broker.loops[0]) only, except at open and free.
//
// A group is a head (id, committed offsets) and the state of its type, reached through the type's table of functions: classic_group.h,
// consumer_group.h, ... Types are listed in group_types.def, the records of __consumer_offsets in group_records.def.
#ifndef BROKER_COORDINATOR_H
#define BROKER_COORDINATOR_H

#include "broker/internal.h"

struct group;
struct group_records; // group_records.h

struct group_ops { // one table per type of group
    enum group_type type;
    const char *name; // as ListGroups spells it: "Classic"
    const char *what; // in messages: "a classic group"
    bool keeps_empty; // true: an empty group without offsets stays until somebody deletes it
    const char *(*protocol_type)(const struct group *g); // never NULL
    const char *(*state_name)(const struct group *g);
    bool (*has_members)(const struct group *g); // also those that were promised a place
    bool (*subscribes)(const struct group *g, const char *topic); // a member reads it now: its offsets stay
    // Since when a committed offset ages, in ms; -1 = it does not now. Of a topic that is not subscribed.
    int64_t (*ages_since)(const struct group *g, int64_t commit_ms);
    int (*check_delete_offsets)(const struct group *g); // NULL = always allowed
    int (*check_commit)(struct group *g, const struct group_commit *x); // Kafka error code, 0 = may commit; touches the member
    int (*check_fetch)(struct group *g, const char *member_id, int32_t member_epoch); // the same for OffsetFetch with a member
    void (*put_live)(const struct group *g, struct group_records *r);       // all records that make it again, but its offsets
    void (*put_tombstones)(const struct group *g, struct group_records *r); // for all of these
    // Deletion: `deleting` when the group has left the map and its tombstones are to be written, besides `stop`: nothing writes for it any more;
    // `deleted` when they are durable. NULL = nothing to do. When they fail it comes back as it was.
    void (*deleting)(struct group *g);
    void (*deleted)(struct group *g);
    void (*topics_changed)(struct group *g, const char *topic /* NULL = any */); // created, deleted or grown; NULL function = no matter
    void (*loaded)(struct group *g); // after the start's replay, on the loop: timers; NULL = nothing to do
    // Takes away what is kept beside an empty group, before its tombstones: false = nothing is. Else done(arg) comes with *code set.
    bool (*forget)(struct group *g, loop_fn *done, void *arg, enum err_code *code); // NULL = nothing is
    void (*stop)(struct group *g);   // the coordinator stops: calls that wait are answered COORDINATOR_NOT_AVAILABLE, timers cancelled
    void (*free_own)(struct group *g); // group.own and its timers; nothing waits any more
};

struct committed { // one offset
    char *topic;
    uint8_t topic_id[16]; // which topic of that name; zeros = not known (a record of an earlier version)
    int32_t partition, leader_epoch;
    int64_t offset, commit_ms;
    int64_t order; // of its write among all: the later record counts, whichever way it came
    char *metadata;
    size_t metadata_n;
};

struct group {
    struct coordinator *coordinator;
    char *id;
    const struct group_ops *ops;
    void *own;          // the state of its type; NULL until group_own
    struct map offsets; // "topic\0" + partition -> committed; whatever the type
    int64_t empty_since_ms; // begin of the time without members
    int64_t last_write; // sequence of its last write; durable when <= coordinator.durable
    int64_t failures;   // of writes, when it was last written whole
    bool deleting;      // its tombstones are being written: it is in no map, and nothing more is written of it
    bool unwritten;     // a commit made it, of which nothing is on the disk yet
};

struct consumer_limits { // group.consumer.* of the broker's configs
    int32_t heartbeat_ms, session_ms, max_size, regex_refresh_ms;
    bool upgrade, downgrade;
    char *assignors; // a list; the first one is the default
};

struct coordinator {
    struct broker *broker;
    struct loop *loop;
    struct map groups;
    int64_t initial_delay_ms; // the first rebalance of an empty group waits until nobody new came for so long
    bool initial_pending;     // and while members who were given an id have not come with it
    int64_t session_min_ms, session_max_ms, offsets_retention_ms, offsets_check_us;
    int32_t max_size;        // members of a classic group
    int32_t metadata_max;    // bytes beside a committed offset
    struct consumer_limits consumer;
    size_t writes;           // produces to the offsets topic under way
    size_t resolving;        // regular expressions and other work of groups, on the pool
    struct map creating;     // ids of streams groups whose internal topics are being made, on the pool
    size_t description_bytes; // of the topologies of streams groups, in the store or on the way there
    int64_t submitted, durable; // sequence numbers of writes
    int64_t failures;        // failed writes
    struct group_records *last_write; // the last one submitted, while it is under way
    struct group_commit *commits; // those of no transaction that are being written
    struct map deleting;    // id -> group that has left `groups` and whose tombstones are being written
    struct map txn_pending; // producer id -> offsets of its open transaction (txn_offsets.h)
    struct loop_timer tick;
    struct loop_event *stopped; // set when nothing runs on the pool and nothing is written
    struct loop_event *ended;   // when nothing runs on the pool
    bool stopping;
    struct share *share; // share_inside.h; set on the loop when it starts
};

// ---- groups.c -----------------------------------------------------------------------------------------------------------------
#define GROUP_TYPE(name) extern const struct group_ops name##_group_ops;
#include "broker/group_types.def"
#undef GROUP_TYPE

struct group *group_find(const struct coordinator *c, const char *id);
struct group *group_find_type(const struct coordinator *c, const char *id, const struct group_ops *ops); // NULL = none, or of another type
// Makes a group without `own`: set it at once. NULL = too many groups (GROUPS_MAX).
struct group *group_make(struct coordinator *c, const char *id, const struct group_ops *ops);
// An empty group becomes one of another type; offsets stay. The tombstones of what it was go to `r` (NULL: not written, while loading).
void group_become(struct group *g, const struct group_ops *ops, struct group_records *r);
void group_free(struct group *g);
// A config of one group ("consumer.session.timeout.ms", ...), or what holds for all of them.
int64_t group_config_i64(const struct group *g, const char *name, int64_t otherwise);
int64_t coordinator_now_ms(const struct coordinator *c);
void coordinator_back(struct coordinator *c); // work of `resolving` came back from the pool
void coordinator_submit(struct broker *b, struct group_call *call, loop_fn *fn); // fn(call) on the coordinator's loop
struct coordinator *coordinator_of(const struct group_call *call);
void coordinator_check_stopped(struct coordinator *c); // after a write, or that
void coordinator_answer(struct group_call *call, int error, const char *message); // posts call->done; the message may be the call's own
void classic_own_new(struct group *head); // head->own of an empty classic group
struct group *classic_head(struct coordinator *c, const char *id); // the group, made as an empty classic one if it is not there; NULL = too many
// Nothing but white space: as good as empty, in the newer protocols.
static inline bool group_text_blank(const char *text) { return str_trim(str_c(text)).n == 0; }
// What Kafka says of a group that is not there (`found` NULL), or of another type: GROUP_ID_NOT_FOUND, with its text in `call`.
int group_not_found(struct group_call *call, const char *id, const struct group *found, const struct group_ops *wanted);

void group_metrics_open(struct coordinator *c); // group_metrics.c: groups show in /metrics until closed; close while the loop runs
void group_metrics_close(struct coordinator *c);
void streams_descriptions_loaded(struct coordinator *c); // streams_description.c: when the groups are there, once
void consumer_limits_load(struct coordinator *c); // consumer_group.c

// ---- offsets.c ----------------------------------------------------------------------------------------------------------------
void offsets_put_tombstone(struct group_records *r, const char *group, const char *topic, int32_t partition);
void offsets_put_tombstones(const struct group *g, struct group_records *r); // for all, also those of open transactions and of commits under way
void offsets_free(struct map *offsets);
void offsets_of_commit(const struct group_offset *o, int64_t time, struct committed *out); // borrows strings; order is the caller's
void offsets_set(struct group *g, const struct committed *o); // copies
void offsets_drop(struct group *g, const char *topic, int32_t partition, int64_t order); // unless it was written behind `order`
int offsets_check_commit(struct coordinator *c, const struct group_commit *x); // of the whole group; 0 = the group may be made
// Says nothing of its member: an administrator's, or a producer's from before KIP-447.
static inline bool group_commit_is_anonymous(const struct group_commit *x) {
    return x->generation < 0 && (x->member_id == NULL || x->member_id[0] == '\0') && x->group_instance_id == NULL;
}
// For a commit that may be made: the group, made if it is not there; and when nothing was written after all: it goes again, if nothing else is of it.
struct group *offsets_group(struct coordinator *c, const char *id); // NULL = too many groups
void offsets_group_unmake(struct coordinator *c, const char *id);
bool offsets_under_way(const struct coordinator *c, const char *group, const char *topic, int32_t partition); // a commit is; topic NULL = any
// Sets each offset's error, and puts the records of the good ones; none when error is not 0.
void offsets_put_commit(struct coordinator *c, struct group_records *r, struct group_commit *x, int error);

// ---- offsets_gone.c -----------------------------------------------------------------------------------------------------------
void offsets_expire(struct coordinator *c);
bool offsets_topic_is_gone(struct broker *b, const struct committed *o); // or another one has its name now
// Offsets of a topic that was deleted (NULL: of all that are not there): a topic made again under its name begins without them.
void offsets_forget_topics(struct coordinator *c, const char *topic);
// A group was deleted by the write `order`: what a transaction that ended meanwhile brought back, if it was written before.
void offsets_forget_group(struct coordinator *c, const char *group, int64_t order);
// A group that comes back leaves offsets of deleted topics behind, without tombstones: those could hit what was committed of the next topic.
void offsets_forget_gone(struct group *g);
void offsets_put_back(struct coordinator *c, const char *group, const struct map *offsets); // they were not deleted after all

#endif
