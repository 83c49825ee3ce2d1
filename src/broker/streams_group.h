// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: the state of a streams group (KIP-1071).
//
// The first member brings the topology: subtopologies with their source, repartition and changelog topics. A subtopology has as many tasks as its
// topics have partitions. The group is ready when all topics are there with fitting numbers of partitions; internal ones are made by the
// broker. Tasks are assigned as partitions are in consumer groups: epochs, give up first, then take; a task is a topic_partition whose topic
// is the subtopology's index (big endian in the last four bytes).
#ifndef BROKER_STREAMS_GROUP_H
#define BROKER_STREAMS_GROUP_H

#include "broker/assignment_pace.h"
#include "broker/coordinator.h"
#include "broker/group_members.h"
#include "broker/group_records.h"
#include "broker/partition_set.h"

enum { STREAMS_ACTIVE, STREAMS_STANDBY, STREAMS_WARMUP, STREAMS_ROLES };
enum { STREAMS_EPOCH_JOIN = 0, STREAMS_EPOCH_LEAVE = -1, STREAMS_EPOCH_LEAVE_STATIC = -2 };
enum streams_member_state { STREAMS_STABLE, STREAMS_UNREVOKED, STREAMS_UNRELEASED };

struct task_sets {
    struct partition_set of[STREAMS_ROLES];
};

struct task_offset {
    size_t subtopology; // its index
    int32_t partition;
    int64_t offset;
};
typedef VEC(struct task_offset) task_offsets;

struct streams_member {
    struct streams_group *group;
    char *id, *instance_id, *rack_id, *client_id, *client_host, *process_id, *endpoint_host; // NULL = none
    uint16_t endpoint_port;
    topic_kvs tags;
    int32_t rebalance_ms, topology_epoch, epoch, previous_epoch;
    enum streams_member_state state;
    struct task_sets assigned, revoking, target;
    struct loop_timer session, rebalance;
    task_offsets offsets, end_offsets; // streams_offsets.c
};

struct streams_missing { // an internal topic to be made
    const struct streams_topic *topic;
    int32_t partitions;
};

struct streams_plan { // what the topics that are there make of the topology
    int status;       // -1 = ready, else what is wrong
    char detail[1000];
    int32_t *tasks;   // of each subtopology; NULL when not ready
    VEC(struct streams_missing) missing;
    int64_t hash; // of the topics
};

struct streams_asking { // for the description of a topology
    int32_t epoch;             // of the last one; -1 = none
    int64_t wait_ms, after_ms; // nobody is asked for the same topology before
};

struct streams_group {
    struct group *head;
    int32_t epoch, assignment_epoch, validated_epoch, endpoint_epoch;
    struct assignment_pace pace;
    int64_t metadata_hash;
    int32_t standbys; // num.standby.replicas of the last assignment
    char *rack_tags;  // rack.aware.assignment.tags of it; NULL = none
    struct arena arena; // of the topology
    struct streams_topology *topology;
    struct streams_plan plan;
    struct map members; // id -> streams_member
    struct map statics; // instance id -> streams_member
    char *shutdown_by;  // the member that asked the whole application to end
    struct loop_timer delay; // the initial one
    // KIP-1331, streams_description.c: the topology epochs whose description is kept, and whose was refused for good; -1 = none
    int32_t described_epoch, undescribable_epoch;
    size_t description_n;                     // bytes of what is kept
    bool forgetting;                          // it is being taken away
    struct streams_asking asking;
};

// ---- streams_group.c ----
struct streams_group *streams_group_new(struct group *head);
struct streams_group *streams_find(const struct coordinator *c, const char *id);
struct streams_member *streams_member_add(struct streams_group *g, const char *id);
void streams_member_drop(struct streams_member *m);
// Under its old id it is gone; who has the new one leaves.
void streams_member_rename(struct streams_member *m, const char *id, struct group_records *r);
void streams_set_instance(struct streams_member *m, const char *instance_id);
void streams_member_leave(struct streams_member *m, struct group_records *r);
void streams_bump(struct streams_group *g, struct group_records *r);
void streams_touch(struct streams_member *m);
bool streams_take_configs(struct streams_group *g); // what an assignment depends on; true = the group's epoch has to go up
bool streams_replan(struct streams_group *g); // looks at the topics anew; true = the group's epoch has to go up
void streams_create_missing(struct streams_group *g); // the plan's internal topics, on the pool; nothing while that is under way
void streams_update_target(struct streams_group *g, struct group_records *r);
bool streams_reconcile(struct streams_member *m, const struct task_sets *owned, struct group_records *r);
void streams_rebalance_timer(struct streams_member *m);
void streams_take_topology(struct streams_group *g, const struct streams_topology *t); // copies it
int streams_subtopology(const struct streams_group *g, const char *id); // its index, -1 = none
void task_id(uint8_t out[16], size_t subtopology);
size_t task_subtopology(const struct topic_partition *t);
void task_sets_fini(struct task_sets *s);
void task_sets_copy(struct task_sets *to, const struct task_sets *from);
bool task_sets_equal(const struct task_sets *a, const struct task_sets *b);

// ---- streams_topology.c ----
void streams_plan_make(struct broker *b, const struct streams_topology *t, struct streams_plan *out);
void streams_plan_fini(struct streams_plan *p);
struct streams_topology *streams_topology_copy(struct arena *a, const struct streams_topology *t); // subtopologies sorted by id
bool streams_topology_equal(const struct streams_topology *a, const struct streams_topology *b);
void streams_topology_put(struct buf *out, const struct streams_topology *t); // as in Kafka's record
struct streams_topology *streams_topology_get(struct rd *r, struct arena *a);
const char *streams_topology_fault(const struct streams_topology *t, struct arena *a); // NULL = none

// ---- streams_description.c ----
bool streams_asking_due(struct streams_asking *a, int32_t epoch, int64_t now_ms); // true: somebody is asked now
void streams_asking_put_off(struct streams_asking *a, int32_t epoch, int64_t now_ms);
bool streams_description_wanted(struct streams_group *g, const struct streams_heartbeat *h, const struct streams_member *m);
void streams_description_fill(struct streams_group *g, struct streams_describe *d);
void streams_description_drop(struct streams_group *g); // the group goes: so does what is left of it, when the pool comes to it
// group_ops.forget: on the pool. `done` NULL = nobody waits.
bool streams_description_forget(struct group *head, loop_fn *done, void *arg, enum err_code *code);

// ---- streams_offsets.c ----
const char *streams_offsets_fault(const struct streams_heartbeat *h); // NULL = none
void streams_offsets_take(struct streams_member *m, const struct streams_heartbeat *h);
void streams_offsets_drop(struct streams_member *m);
void streams_offsets_fill(const struct streams_member *m, struct arena *a, struct streams_member_info *out);

// ---- streams_assignor.c ----
void streams_assign(struct streams_group *g, struct task_sets *out /* one of each member, in the map's order */, int32_t standbys);

// ---- streams_group_records.c ----
void streams_put_group(const struct streams_group *g, struct group_records *r);
void streams_put_member(const struct streams_member *m, struct group_records *r);
void streams_put_current(const struct streams_member *m, struct group_records *r);
void streams_put_target(const struct streams_member *m, struct group_records *r);
void streams_put_target_epoch(const struct streams_group *g, struct group_records *r);
void streams_put_topology(const struct streams_group *g, struct group_records *r);
void streams_delete_member(const struct streams_group *g, const char *id, struct group_records *r);
void streams_put_live(const struct group *head, struct group_records *r);
void streams_put_tombstones(const struct group *head, struct group_records *r);

#endif
