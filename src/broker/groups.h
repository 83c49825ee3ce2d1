// SPDX-License-Identifier: Apache-2.0
// Classic consumer groups, their durable offsets, and producer ids.
//
// The coordinator lives on one loop (the first one given to broker_open). Every call is a struct of the caller: fill the `in` part, `call`
// included, then hand it to its function from any loop thread. `call.done` runs once on `call.back`, never from inside the function.
// Until then the struct and what it points to belong to the coordinator; results point into `call.arena`, which is the caller's and
// must not be touched in between. A join waits for the rebalance, a sync for the leader; the other calls answer soon.
// `call.error` is Kafka's error code. NULL strings are Kafka's null. Offsets are durable (in the topic __consumer_offsets) before their
// commit is answered, and are read back at start; members are not durable: after a restart they rejoin (UNKNOWN_MEMBER_ID).
#ifndef BROKER_GROUPS_H
#define BROKER_GROUPS_H

#include "broker/broker.h"

enum {
    GROUPS_MAX = 100000,       // COORDINATOR_NOT_AVAILABLE
    GROUP_METADATA_MAX = 4096, // offset.metadata.max.bytes, unless configured
};

enum group_type { GROUP_CLASSIC, GROUP_CONSUMER, GROUP_SHARE, GROUP_STREAMS, GROUP_TYPES };

struct group_call {
    void (*done)(struct group_call *c);
    struct loop *back;
    struct arena *arena;
    void *arg;
    int error;         // out: Kafka error code, 0 = none
    char message[400]; // out: why, for those messages that carry a text
    void *self_[6];
};

struct group_protocol {
    const char *name;
    struct str metadata;
};
struct group_joined_member { // what the leader needs
    const char *member_id, *group_instance_id;
    struct str metadata;
};
struct group_join {
    struct group_call call;
    // in
    const char *group_id, *member_id, *group_instance_id, *protocol_type;
    const char *client_id, *client_host;
    int32_t session_timeout_ms, rebalance_timeout_ms; // v0 has no rebalance time-out: -1 = the session's
    const struct group_protocol *protocols;
    size_t n_protocols;
    bool require_member_id; // v4 and later: an unknown dynamic member is told MEMBER_ID_REQUIRED with its id
    bool may_skip_assignment; // v9 and later
    const char *reason;     // v8 and later; logged
    // out
    int32_t generation; // -1 on error
    const char *protocol_name, *leader, *out_member_id; // never NULL after done ("" when there is none), but protocol_name may be
    bool skip_assignment;
    const struct group_joined_member *members; // filled for the leader only
    size_t n_members;
};
void group_join(struct broker *b, struct group_join *j);

struct group_assignment {
    const char *member_id;
    struct str assignment;
};
struct group_sync {
    struct group_call call;
    const char *group_id, *member_id, *group_instance_id;
    int32_t generation;
    const char *protocol_type, *protocol_name; // v5: checked when not NULL
    const struct group_assignment *assignments;
    size_t n_assignments;
    // out
    const char *out_protocol_type, *out_protocol_name;
    struct str assignment;
};
void group_sync(struct broker *b, struct group_sync *s);

struct group_heartbeat {
    struct group_call call;
    const char *group_id, *member_id, *group_instance_id;
    int32_t generation;
};
void group_heartbeat(struct broker *b, struct group_heartbeat *h);

struct group_leaver {
    const char *member_id, *group_instance_id; // member_id "" with an instance id: remove the static member
    int error;                                 // out
};
struct group_leave {
    struct group_call call;
    const char *group_id;
    struct group_leaver *members; // before v3: one, whose error is also the call's
    size_t n_members;
};
void group_leave(struct broker *b, struct group_leave *l);

struct group_offset { // one partition
    const char *topic;
    int32_t partition;
    int64_t offset;      // commit: in; fetch: out, -1 = none
    int32_t leader_epoch; // -1 = unknown
    struct str metadata;  // any bytes; p NULL = empty. Out: never NULL
    int error;            // out
    uint8_t topic_id[16]; // the coordinator's
};
struct group_commit {
    struct group_call call; // error: of the whole group; then each partition's error is set to it too
    const char *group_id, *member_id, *group_instance_id; // member "" and generation -1: a consumer without a group's membership
    int32_t generation;
    bool knows_epochs;            // v9 and later: the request may be of a member of a group that is not classic
    // txn_offsets_commit only
    const char *transactional_id;
    int64_t producer_id;
    int16_t producer_epoch;
    bool txn_adds;        // transactions V2: adds the offsets to the transaction; else AddOffsetsToTxn must have
    bool knows_abortable; // may be told TRANSACTION_ABORTABLE
    struct group_offset *offsets; // unknown topics and partitions get UNKNOWN_TOPIC_OR_PARTITION
    size_t n_offsets;
    int64_t order; // the coordinator's, as are these
    struct group_commit *before_, *next_;
};
void group_commit(struct broker *b, struct group_commit *c);
// The same in a transaction: seen by nobody until it is committed. INVALID_TXN_STATE, INVALID_PRODUCER_ID_MAPPING, INVALID_PRODUCER_EPOCH,
// CONCURRENT_TRANSACTIONS and those of a commit.
void txn_offsets_commit(struct broker *b, struct group_commit *c);

struct group_fetch {
    struct group_call call;
    const char *group_id;
    const char *member_id; // v9 and later: NULL, or checked together with member_epoch >= 0
    int32_t member_epoch;
    bool require_stable;          // v7 and later: an offset that a transaction may change is UNSTABLE_OFFSET_COMMIT
    bool all;                     // every offset of the group: `offsets` is then an output, in the arena, sorted by topic and partition
    struct group_offset *offsets; // else in: topic and partition
    size_t n_offsets;
};
void group_fetch(struct broker *b, struct group_fetch *f);

struct group_offsets_delete {
    struct group_call call; // GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, INVALID_GROUP_ID
    const char *group_id;
    struct group_offset *offsets; // topic and partition; error: GROUP_SUBSCRIBED_TO_TOPIC, UNKNOWN_TOPIC_OR_PARTITION
    size_t n_offsets;
    int64_t order; // the coordinator's
};
void group_offsets_delete(struct broker *b, struct group_offsets_delete *d);

struct group_listed {
    const char *group_id, *protocol_type, *state; // state: "Empty" "PreparingRebalance" "CompletingRebalance" "Stable" "Dead" ...
    const char *type;                             // "Classic" "Consumer" "Share" "Streams"
};
struct group_list {
    struct group_call call;
    const char *const *states; // only these (v4 and later, any case); n_states 0 = all
    size_t n_states;
    const char *const *types; // only these, any case; n_types 0 = all
    size_t n_types;
    struct group_listed *groups; // out, sorted by id
    size_t n_groups;
};
void group_list(struct broker *b, struct group_list *l);

struct group_member_info {
    const char *member_id, *group_instance_id, *client_id, *client_host;
    struct str metadata, assignment;
};
struct group_describe { // of a classic group
    struct group_call call; // GROUP_ID_NOT_FOUND (69), of other types too: state is "Dead" then; before v6 answer that without an error
    const char *group_id;
    // out
    const char *state, *protocol_type, *protocol;
    struct group_member_info *members;
    size_t n_members;
};
void group_describe(struct broker *b, struct group_describe *d);

struct group_delete {
    struct group_call call; // NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND, GROUP_DELETION_FAILED with a message; COORDINATOR_NOT_AVAILABLE: try again
    const char *group_id;
    struct group *group; // the coordinator's: what is deleted, until that is durable
    int64_t order;       // the coordinator's
    enum err_code code;  // the coordinator's: of taking away what is kept beside the group
};
void group_delete(struct broker *b, struct group_delete *d);

// ---- consumer groups (KIP-848) --------------------------------------------------------------------------------------------------
struct group_partition {
    uint8_t topic_id[16];
    const char *topic; // describe: out, its name, "" when it is gone
    int32_t partition;
};
struct topic_rights { // of whoever sent a request: what the authorizer is asked. may_describe NULL = everything is allowed
    // Any thread, until groups_stop has returned.
    bool (*may_describe)(void *authorizer, const char *principal, const char *host, const char *topic);
    void *authorizer;
    const char *principal, *host;
};
struct consumer_heartbeat {
    struct group_call call; // with a message
    const char *group_id, *member_id, *group_instance_id, *rack_id, *client_id, *client_host; // member_id "" on a first join before v1
    int32_t member_epoch;         // 0 = joins, -1 = leaves, -2 = leaves for a while (static members)
    int32_t rebalance_timeout_ms; // -1 = as before
    const char *const *topics;    // names subscribed; NULL = as before
    size_t n_topics;
    const char *regex;            // NULL = as before, "" = none
    struct topic_rights rights;   // a regular expression matches only topics that the member may describe
    const char *assignor;         // NULL = as before
    const struct group_partition *owned; // NULL = as before
    size_t n_owned;
    bool member_id_required; // v1 and later
    // out
    const char *out_member_id;
    int32_t out_member_epoch, heartbeat_ms;
    bool has_assignment;
    const struct group_partition *assignment; // sorted by topic id
    size_t n_assignment;
    void *own; // the coordinator's
};
void group_consumer_heartbeat(struct broker *b, struct consumer_heartbeat *h);

struct consumer_member_info {
    const char *member_id, *group_instance_id, *rack_id, *client_id, *client_host, *regex;
    int32_t member_epoch;
    const char *const *topics;
    size_t n_topics;
    const struct group_partition *assignment, *target;
    size_t n_assignment, n_target;
    int member_type; // 0 = classic protocol, 1 = consumer protocol
};
struct consumer_describe {
    struct group_call call; // GROUP_ID_NOT_FOUND, with a message
    const char *group_id;
    // out
    const char *state, *assignor;
    int32_t group_epoch, assignment_epoch;
    struct consumer_member_info *members;
    size_t n_members;
};
void group_consumer_describe(struct broker *b, struct consumer_describe *d);

// ---- streams groups (KIP-1071) -------------------------------------------------------------------------------------------------
struct streams_topic { // an internal one
    const char *name;
    int32_t partitions; // 0 = as many as it takes
    int16_t replication;
    const struct broker_kv *configs;
    size_t n_configs;
};
struct streams_copartition { // indices into the subtopology's arrays
    const int16_t *sources, *repartition_sources;
    size_t n_sources, n_repartition_sources;
};
struct streams_subtopology {
    const char *id;
    const char *const *sources, *const *repartition_sinks;
    size_t n_sources, n_repartition_sinks;
    const struct streams_topic *changelogs, *repartition_sources;
    size_t n_changelogs, n_repartition_sources;
    const struct streams_copartition *copartitions;
    size_t n_copartitions;
};
struct streams_topology {
    int32_t epoch;
    const struct streams_subtopology *subtopologies; // sorted by id once stored
    size_t n_subtopologies;
};
struct streams_task {
    const char *subtopology;
    int32_t partition;
};
struct streams_tasks {
    bool given; // false = null in the message: as before
    bool mixed; // some are null, some not: refused
    const struct streams_task *active, *standby, *warmup;
    size_t n_active, n_standby, n_warmup;
};
struct streams_endpoint {
    const char *host; // NULL = none
    uint16_t port;
};
struct streams_endpoint_partitions {
    struct streams_endpoint endpoint;
    const struct group_partition *active, *standby; // `topic` is set, sorted by it
    size_t n_active, n_standby;
};
enum streams_status { // as in the response
    STREAMS_STALE_TOPOLOGY,
    STREAMS_MISSING_SOURCE_TOPICS,
    STREAMS_INCORRECTLY_PARTITIONED,
    STREAMS_MISSING_INTERNAL_TOPICS,
    STREAMS_SHUTDOWN,
    STREAMS_ASSIGNMENT_DELAYED,
};
struct streams_status_info {
    int code;
    const char *detail;
};
struct streams_task_offset {
    const char *subtopology;
    int32_t partition;
    int64_t offset;
};
struct streams_task_offsets {
    bool given; // false = as before
    const struct streams_task_offset *p;
    size_t n;
};
struct streams_heartbeat {
    struct group_call call; // with a message
    const char *group_id, *member_id, *group_instance_id, *rack_id, *process_id, *client_id, *client_host; // NULL = as before
    int32_t member_epoch, endpoint_epoch, rebalance_timeout_ms;
    const struct streams_topology *topology; // NULL = as before
    bool source_regex;                       // it has regular expressions of source topics
    struct streams_tasks owned;
    struct streams_task_offsets offsets, end_offsets; // how far the state of its tasks is, and where it ends
    struct streams_endpoint endpoint;
    const struct broker_kv *tags; // NULL = as before
    size_t n_tags;
    bool shutdown;
    bool knows_descriptions; // it can be asked for a description of the topology (KIP-1331)
    // May whoever sent this create that internal topic? Asked on the coordinator's loop; NULL = yes.
    bool (*may_create)(const struct streams_heartbeat *h, const char *topic);
    // out
    const char *out_member_id;
    int32_t out_member_epoch, heartbeat_ms, out_endpoint_epoch;
    struct streams_tasks tasks;
    struct streams_status_info statuses[6];
    size_t n_statuses;
    bool description_required;
    bool has_endpoints;
    const struct streams_endpoint_partitions *endpoints;
    size_t n_endpoints;
};
void group_streams_heartbeat(struct broker *b, struct streams_heartbeat *h);

struct streams_member_info {
    const char *member_id, *group_instance_id, *rack_id, *client_id, *client_host, *process_id;
    int32_t member_epoch, topology_epoch;
    struct streams_endpoint endpoint;
    const struct broker_kv *tags;
    size_t n_tags;
    struct streams_tasks assignment, target;
    struct streams_task_offsets offsets, end_offsets; // as it said last; none after a restart
};
enum streams_description_status { // as in the response
    STREAMS_DESCRIPTION_NOT_REQUESTED,
    STREAMS_DESCRIPTION_NOT_STORED,
    STREAMS_DESCRIPTION_ERROR,
    STREAMS_DESCRIPTION_AVAILABLE,
};
struct streams_describe {
    struct group_call call; // GROUP_ID_NOT_FOUND, with a message
    const char *group_id;
    bool with_description;
    // out
    const char *state;
    int32_t group_epoch, assignment_epoch;
    enum streams_description_status description_status;
    struct str description; // where there is one: what group_streams_description was given
    const struct streams_topology *topology; // NULL = none yet
    struct streams_member_info *members;
    size_t n_members;
};
void group_streams_describe(struct broker *b, struct streams_describe *d);

// The description of the topology that a member was asked for: kept as it is while the group lives, for describe.
enum { STREAMS_DESCRIPTION_MAX = 1000000, STREAMS_DESCRIPTIONS_MAX = 64 << 20 }; // bytes of one, of all groups
struct streams_description {
    struct group_call call; // with a message. UNSUPPORTED_VERSION: descriptions are not kept here
    const char *group_id, *member_id;
    int32_t topology_epoch;
    struct str description; // its meaning is the caller's
    const char *fault;      // what the caller finds wrong with it, NULL = nothing; told when the rest is right
    // the coordinator's
    enum err_code code;
};
void group_streams_description(struct broker *b, struct streams_description *d);

// Before the doors close: joins and syncs that wait are answered (COORDINATOR_NOT_AVAILABLE), later ones are refused; so that no door waits
// for a group's rebalance. No authorizer is asked any more when it returns. From a thread that may block, with the loops running; one after the
// other, more than once is fine.
void groups_stop(struct broker *b);

struct producer_id_init {
    struct group_call call;
    const char *transactional_id; // not NULL: answered NOT_SUPPORTED's Kafka code with a message
    // out
    int64_t producer_id;
    int16_t producer_epoch;
};
void broker_producer_id_init(struct broker *b, struct producer_id_init *p);

#endif
