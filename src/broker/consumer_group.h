// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: the state of a consumer group (KIP-848).
//
// Three epochs say who is how far: the group's goes up when members, subscriptions or topics change; the target assignment's says for which
// group epoch it was computed; a member's says which target it has reached. A member first gives up what is not its own any more (unrevoked),
// then takes what is free (unreleased: others still have to give it up). A partition belongs to one member at a time: `owners`.
// Members who speak the classic protocol are members like the others: consumer_group_classic.c translates.
#ifndef BROKER_CONSUMER_GROUP_H
#define BROKER_CONSUMER_GROUP_H

#include "broker/assignment_pace.h"
#include "broker/coordinator.h"
#include "broker/group_members.h"
#include "broker/group_records.h"
#include "broker/partition_set.h"

enum consumer_member_state { CONSUMER_STABLE, CONSUMER_UNREVOKED, CONSUMER_UNRELEASED }; // as in Kafka's records

enum { CONSUMER_EPOCH_JOIN = 0, CONSUMER_EPOCH_LEAVE = -1, CONSUMER_EPOCH_LEAVE_STATIC = -2 };

typedef VEC(char *) name_list; // sorted, without doubles

struct consumer_protocol { // of a member who speaks the classic protocol
    char *name;
    struct buf metadata;
};

struct consumer_member {
    struct consumer_group *group;
    char *id, *instance_id, *rack_id, *client_id, *client_host, *assignor, *regex; // NULL = none
    name_list topics;
    int32_t rebalance_ms, epoch, previous_epoch;
    enum consumer_member_state state;
    struct partition_set assigned, revoking, target;
    bool classic;
    int32_t session_ms; // classic: its own; else the configured one
    VEC(struct consumer_protocol) protocols;
    struct loop_timer session, rebalance, join, sync;
};

struct consumer_topic { // one that somebody subscribes
    size_t subscribers; // members by name, and resolved regular expressions
    uint8_t id[16];
    int32_t partitions; // 0 = there is no such topic
};

struct consumer_regex {
    char *text;
    size_t members;
    bool resolved;
    bool known;                 // the rights are those of the last member that came with it; after a start nobody came yet
    struct topic_rights rights; // its texts are owned
    name_list topics;
    int64_t version, time_ms;
};

struct consumer_owners { // of one topic's partitions
    VEC(struct consumer_member *) members;
};

struct consumer_group {
    struct group *head;
    int32_t epoch, assignment_epoch;
    struct assignment_pace pace;
    int64_t changed_us;    // when the epoch last changed in this process; 0 = never
    int64_t metadata_hash; // of the subscribed topics, as stored
    struct map members;    // id -> consumer_member
    struct map statics;    // instance id -> consumer_member
    struct map topics;     // name -> consumer_topic
    struct map regexes;    // text -> consumer_regex
    struct map owners;     // topic id -> consumer_owners
    bool resolving, resolve_again; // regular expressions, on the pool
    struct loop_timer refresh; // of regular expressions
};

// ---- consumer_group.c: state ----
struct consumer_group *consumer_group_new(struct group *head); // sets head->own
struct consumer_group *consumer_find(const struct coordinator *c, const char *id); // NULL = none, or of another type
struct consumer_member *consumer_member_find(const struct consumer_group *g, const char *id);
struct consumer_member *consumer_member_add(struct consumer_group *g, const char *id);
// Under its old id it is gone; who has the new one goes.
void consumer_member_rename(struct consumer_member *m, const char *id, struct group_records *r);
void consumer_member_drop(struct consumer_member *m); // frees it; says nothing to the log
bool consumer_set_topics(struct consumer_member *m, const char *const *names, size_t n); // true = they changed
bool consumer_set_regex(struct consumer_member *m, const char *text);                    // NULL or "" = none; true = changed
struct consumer_regex *consumer_regex_make(struct consumer_group *g, const char *text);
void consumer_regex_drop(struct consumer_group *g, struct consumer_regex *x);
bool consumer_regex_same(const struct consumer_regex *x, const char *const *names, size_t n);
void consumer_regex_resolved(struct consumer_group *g, struct consumer_regex *x, const char *const *names, size_t n, int64_t version, int64_t time);
void consumer_regex_sweep(struct consumer_group *g, struct group_records *r); // those that nobody uses any more go
void consumer_protocols_fini(struct consumer_member *m);
void consumer_set_instance(struct consumer_member *m, const char *instance_id);
void consumer_own(struct consumer_member *m, struct partition_set *assigned, struct partition_set *revoking); // takes both sets over
bool consumer_is_free(const struct consumer_group *g, const struct topic_partition *tp);
bool consumer_refresh_topics(struct consumer_group *g); // looks the subscribed topics up; true = what was stored is not so any more
void consumer_bump(struct consumer_group *g, struct group_records *r);
void consumer_update_target(struct consumer_group *g, struct group_records *r); // if the group's epoch is ahead of it, and it is time
const char *consumer_assignor(const struct consumer_group *g); // the one most members want
int32_t consumer_session_ms(const struct consumer_member *m);
int32_t consumer_next_heartbeat_ms(const struct consumer_member *m); // what its answer asks for
void consumer_touch(struct consumer_member *m); // session time-out starts anew
// The member goes: tombstones, a new epoch; when those who are left all speak the classic protocol, so does the group.
void consumer_member_leave(struct consumer_member *m, struct group_records *r);
void consumer_member_fence(struct consumer_member *m, const char *why); // the same, written at once; m may be gone, and the group another

// ---- consumer_group_reconcile.c ----
// Takes the member one step towards its target. `owned` is what it says it has, NULL = not said. A member whose subscription changed gives up
// what it does not subscribe any more at once, before there is a target for the new one. True = something changed.
bool consumer_reconcile(struct consumer_member *m, const struct partition_set *owned, bool subscription_changed, struct group_records *r);
void consumer_rebalance_timer(struct consumer_member *m); // runs while the member has to give partitions up
bool consumer_waits_for_others(const struct consumer_member *m); // a partition of its target is not free yet

// ---- consumer_group_records.c ----
void consumer_put_epoch(const struct consumer_group *g, struct group_records *r);
void consumer_put_member(const struct consumer_member *m, struct group_records *r);
void consumer_put_current(const struct consumer_member *m, struct group_records *r);
void consumer_put_target(const struct consumer_member *m, struct group_records *r);
void consumer_put_target_epoch(const struct consumer_group *g, struct group_records *r);
void consumer_put_regex(const struct consumer_group *g, const struct consumer_regex *x, struct group_records *r);
void consumer_delete_regex(const struct consumer_group *g, const char *text, struct group_records *r);
void consumer_delete_member(const struct consumer_group *g, const char *id, struct group_records *r);
void consumer_put_live(const struct group *head, struct group_records *r);
void consumer_put_tombstones(const struct group *head, struct group_records *r);

// ---- consumer_group_regex.c ----
bool consumer_regex_ok(const char *text, char *why, size_t why_n); // compiles
void consumer_resolve(struct consumer_group *g); // all of the group's regular expressions whose members are known, off the loop
void consumer_regex_used(struct consumer_member *m, const struct topic_rights *rights); // by a heartbeat; one that was not known is resolved
void consumer_regex_rights_fini(struct consumer_regex *x);

// ---- consumer_group_classic.c ----
void consumer_join_classic(struct group *head, struct group_join *j);
void consumer_sync_classic(struct group *head, struct group_sync *s);
void consumer_heartbeat_classic(struct group *head, struct group_heartbeat *h);
int consumer_leave_classic(struct group *head, const struct group_leaver *l);
bool consumer_upgrade(struct group *head, struct group_records *r); // a classic group becomes a consumer group; false = it may not
bool consumer_may_downgrade(const struct consumer_group *g, const struct consumer_member *except);
void consumer_downgrade(struct consumer_group *g, struct group_records *r, bool rebalance);

#endif
