// SPDX-License-Identifier: Apache-2.0
// Compaction of a log: of the records with one key the newest stays (cleanup.policy=compact). And where a log begins (DeleteRecords).
//
// Rules as in Kafka's log cleaner: offsets never change; batches keep base offset, last offset and sequence numbers; the active segment is not
// touched; a deletion (null value) stays delete_retention_ms after it was first compacted, told by the batch's delete horizon (KIP-534);
// records of aborted transactions go, markers when all their records are gone and the horizon has passed; a live producer's last batch
// stays, empty if need be. The last batch of a rewritten segment stays too, so that readers get past it.
//
// Threads: one compaction of a log at a time, on any thread; beside appends, reads, syncs, tidying and retention.
// Memory: the table of keys (map_bytes), one batch unpacked, 1 MiB of output, 24 bytes per aborted transaction and live producer.
// Durability: a segment is replaced wholly or not at all, whenever the power goes; an error leaves the log as it was. A `struct err *` may be NULL.
#ifndef LOG_COMPACT_H
#define LOG_COMPACT_H

#include "log/log.h"

struct log_dirt {
    uint64_t clean_bytes, dirty_bytes; // in segments that may be compacted: seen by an earlier compaction, not seen yet
    int64_t first_dirty, upper;        // offsets: of the first record not seen yet, behind the last segment that may be compacted
    int64_t earliest_ms;               // first timestamp in those segments; -1 = none, or not asked for
};
// Segments with a record younger than min_lag_ms (0 = none) do not count, nor what follows them. `earliest` reads a header of each segment.
void log_dirt(struct log *l, int64_t now_ms, int64_t min_lag_ms, bool earliest, struct log_dirt *out);

struct log_producer_last { // of a producer that may go on: its last data batch must stay
    int64_t producer_id, last_offset; // -1 = only markers are known of it: those of its epoch stay
    int16_t epoch;
};

struct log_compaction_config {
    int64_t now_ms, min_lag_ms, delete_retention_ms;
    size_t map_bytes;  // 0 = 128 MiB. What does not fit is left for the next compaction
    size_t step_bytes; // read by one step; 0 = 4 MiB
    const struct log_producer_last *producers; // sorted by id; copied
    size_t n_producers;
};

struct log_compaction;
struct log_compaction_stats {
    uint64_t bytes_read, bytes_written; // written into new segments that took the place of old ones
    int64_t records_read, records_kept;
    size_t segments_before, segments_after;
};

struct log_compaction *log_compaction_begin(struct log *l, const struct log_compaction_config *config);
// Does a bounded part of the work; blocks. *more: there is some left. An error ends it: ERR_CORRUPT (the log cannot be compacted before it is
// mended), ERR_NO_SPACE, ERR_IO, ERR_SYNC_FAILED (of a new file, which is thrown away), ERR_CLOSED (abandoned), ERR_TOO_LARGE (one batch
// has more keys than map_bytes has room for).
enum err_code log_compaction_step(struct log_compaction *c, bool *more, struct err *err);
void log_compaction_end(struct log_compaction *c, struct log_compaction_stats *out); // frees; at any time

// Makes `offset` the first one (no change when it begins later); at most the durable end: ERR_OFFSET_RANGE. Durable on return; blocks.
// Segments wholly in front of it go with the next log_retain.
enum err_code log_delete_before(struct log *l, int64_t offset, struct err *err);

#endif
