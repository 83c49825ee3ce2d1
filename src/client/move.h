// SPDX-License-Identifier: Apache-2.0
// A topic from one Kafka cluster to another, with its offsets, timestamps, headers, configs, and where its groups stand.
//
// An offset without a record (compacted, a transaction's marker, an aborted record) becomes a transaction marker at the destination, which no
// reader sees. What lies in front of the log's start is filled with empty records that are deleted at once. A move that was cut off goes on
// where the destination ends. Blocking, one thread.
#ifndef CLIENT_MOVE_H
#define CLIENT_MOVE_H

#include "base/err.h"
#include "client/kafka.h"
#include "sys/sys.h"

struct move {
    struct sys *sys;
    struct client_target from, to;
    const char *topic;
    bool groups; // committed offsets too
    void (*progress)(void *arg, int64_t done, int64_t total); // offsets; may be NULL
    void *arg;
    // out
    int32_t partitions;
    int64_t records, bytes; // sent
    int32_t n_groups, n_groups_busy; // offsets copied; left alone because the group has members at the destination
};
// ERR_CONFLICT: the destination has other records there already, or somebody writes to it meanwhile.
enum err_code move_topic(struct move *m, struct err *err);

#endif
