// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: the records of the topic __share_group_state, in Kafka's formats. Key version 0: ShareSnapshot, all of a
// share-partition; key version 1: ShareUpdate, what changed since; both (group, topic id, partition). A null value of a snapshot deletes.
#ifndef BROKER_SHARE_RECORDS_H
#define BROKER_SHARE_RECORDS_H

#include "broker/share_store.h"

struct share_record {
    bool snapshot;
    int32_t snapshot_epoch, state_epoch /* of snapshots */, leader_epoch;
    int64_t start;
    int32_t complete; // -1 = not known
    int64_t create_ms, write_ms; // of snapshots
    const struct share_range *ranges;
    size_t n_ranges;
};

void share_records_build(struct buf *out, int64_t now_ms, const struct share_key *key, const struct share_record *r); // one batch
void share_records_tombstone(struct buf *out, int64_t now_ms, const struct share_key *key);
// Each record of the log; r NULL = tombstone. ERR_CORRUPT, ERR_IO.
typedef void share_replay_fn(void *arg, const struct share_key *key, const struct share_record *r, int64_t offset);
enum err_code share_records_load(struct log *l, share_replay_fn *fn, void *arg, struct err *err);

#endif
