// SPDX-License-Identifier: Apache-2.0
// Groups of a Kafka cluster, of every type: classic, consumer (KIP-848), share (KIP-932), streams (KIP-1071). Their members and their offsets.
// Over cluster.h: blocking, one thread; what is handed out lives until cluster_close.
#ifndef CLIENT_GROUPS_H
#define CLIENT_GROUPS_H

#include "client/cluster.h"

struct group_row {
    struct str id, type /* "Classic" "Consumer" "Share" "Streams" */, protocol_type, state;
    int32_t coordinator;
};
// Of all nodes, sorted by id. states, types: only these; n 0 = all.
enum err_code groups_list(struct cluster *c, const struct str *states, int32_t n_states, const struct str *types, int32_t n_types, struct group_row **out,
                          size_t *n, struct err *err);

struct group_part {
    struct str topic; // of a streams group's member: the subtopology
    int32_t partition;
};
struct group_member_row {
    struct str id, instance, client_id, host;
    int32_t epoch; // -1: classic members have none
    struct group_part *parts;
    size_t n_parts;
};
struct group_detail {
    struct group_row row;
    struct str assignor; // protocol of a classic group
    int32_t epoch, assignment_epoch; // -1: a classic group has none
    struct group_member_row *members;
    size_t n_members;
};
enum err_code groups_describe(struct cluster *c, struct str id, struct group_detail *out, struct err *err); // ERR_NOT_FOUND

// A node of a streams group's topology, as the application described it; of several topics, stores, successors: separated by ", ".
struct group_node_row {
    struct str subtopology; // "global": of a global store
    struct str name, type /* "source" "processor" "sink" */, topics, stores, successors;
};
// ERR_NOT_FOUND: it is not stored; ERR_INVALID: another type of group.
enum err_code groups_topology(struct cluster *c, const struct group_detail *g, struct group_node_row **out, size_t *n, struct err *err);

// Where a group stands in one partition. For share groups `offset` is the share-partition start offset.
struct group_offset_row {
    struct str topic;
    int32_t partition;
    int64_t offset;     // -1 = none committed
    int64_t start, end; // of the log: first offset, high watermark; -1 = the partition is not there
    int64_t lag;        // -1 = unknown
    struct str metadata;
    const struct group_member_row *member; // who has it; NULL = nobody
};
// All partitions that the group has committed or has assigned to a member, sorted.
enum err_code groups_offsets(struct cluster *c, const struct group_detail *g, struct group_offset_row **out, size_t *n, struct err *err);
// Sets offsets of a group without members (its `topic`, `partition`, `offset`).
enum err_code groups_commit(struct cluster *c, const struct group_detail *g, const struct group_offset_row *rows, size_t n, struct err *err);
// Forgets the offsets of `topic` (partition -1: of all its partitions; share groups know only that).
enum err_code groups_forget(struct cluster *c, const struct group_detail *g, struct str topic, int32_t partition, struct err *err);
enum err_code groups_delete(struct cluster *c, struct str id, struct err *err);

// Offsets by time of many partitions: `timestamp` is milliseconds, or Kafka's -1 latest, -2 earliest, -3 of the largest timestamp. `offset` is filled
// in; -1 = none as late as that.
struct offset_query {
    struct str topic;
    int32_t partition;
    int64_t timestamp, offset, found_ms;
    int error; // Kafka's code
};
enum err_code cluster_list_offsets(struct cluster *c, struct offset_query *q, size_t n, struct err *err);

#endif
