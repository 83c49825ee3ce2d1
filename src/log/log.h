// SPDX-License-Identifier: Apache-2.0
// One partition's log: a folder of segments of record batches, an index, recovery, retention.
//
// Files, named by 20-digit base offset: N.log (batches as on the wire), N.index (sparse, offsets and times; written when the segment is
// closed and on disk, rebuilt when missing), N.snapshot (the caller's state at offset N). `partition.meta` names the format.
//
// Threads: log_append, log_roll and log_roll_due by one owner thread; log_sync by one other thread at a time; log_tidy and log_retain by
// one other thread at a time; everything else by any thread.
// Durability: an append is durable when log_durable_end is behind it; readers see nothing beyond that. A failed sync is final: the log is
// offline (ERR_OFFLINE) until it is opened anew. Names avoid base/log.h's (log_event, log_info, …).
#ifndef LOG_LOG_H
#define LOG_LOG_H

#include "base/buf.h"
#include "base/vec.h"
#include "log/batch.h"
#include "log/view.h"
#include "sys/sys.h"

struct log;
struct log_cache;

enum { LOG_FORMAT_VERSION = 1 };

// A transaction that was aborted: the records of its producer from offset `first` to its marker at `last` do not count.
struct log_aborted {
    int64_t producer_id, first, last;
    int64_t stable; // behind the marker no transaction was open that began below this offset
};
typedef VEC(struct log_aborted) log_aborteds;

struct log_config { // may be changed at any time with log_configure
    uint64_t segment_bytes;       // a segment is closed before it grows past this
    int64_t segment_ms;           // or when its first batch is older
    int64_t retention_ms;         // -1 = for ever
    int64_t retention_bytes;      // -1 = no limit
    uint32_t index_interval_bytes;
    int64_t segment_jitter_ms;    // at random up to so much earlier, so that not all close at once
    uint64_t point_bytes;         // a recovery point after so much, so that an open after a kill scans no more; 0 = 32 MiB
    uint64_t segment_index_bytes; // or when its index would be larger, at 8 bytes an entry as Kafka counts; 0 = no limit
};

// Memory for what is being written and was read of late, shared by the logs of a broker (cache.h).
struct log_cache *log_cache_new(size_t max_bytes);
void log_cache_tick(struct log_cache *c); // every few seconds: what was not used for two of them goes back to the system. Any thread
void log_cache_free(struct log_cache *c); // after the logs and the views; NULL is fine

// The caller's state that follows the batches (producer sequences). All may be NULL. load and batch are called inside log_open only;
// save on the owner's thread inside log_append and log_roll_due, before the batch that comes, and inside log_close.
struct log_state {
    void *arg;
    void (*save)(void *arg, struct buf *out);                 // the state after every batch so far
    bool (*load)(void *arg, struct str snapshot);             // false = unusable: older one is tried, else replay from the start
    void (*batch)(void *arg, const struct batch *b);          // a batch behind the snapshot
    // A control batch that is being appended or recovered, before `batch` sees it: true = it aborts a transaction. On the owner's thread.
    bool (*aborted)(void *arg, const struct batch *b, struct log_aborted *out);
};

// Opens or creates the folder (the caller syncs the one above it) and recovers. `clean`: the previous process closed it properly (else the
// active segment is scanned).
// ERR_CORRUPT, ERR_VERSION, ERR_IO name the file.
struct log *log_open(struct sys *s, const char *dir, const struct log_config *config, const struct log_state *state, bool clean,
                     struct err *err); // with a small cache of its own
struct log *log_open_cached(struct sys *s, struct log_cache *cache, const char *dir, const struct log_config *config,
                            const struct log_state *state, bool clean, struct err *err);
// Syncs and writes indexes and snapshot; ERR_OK = everything is on disk and the next open may be `clean`. Frees in any case.
enum err_code log_close(struct log *l, struct err *err);
// For a log whose folder is about to be removed: from now on the workers make and remove no file in it, since a new log may take its name.
// Waits for the file that is being written. Any thread; appends must have ended.
void log_abandon(struct log *l);
void log_discard(struct log *l); // closes the files and frees, without a sync: for a log that is deleted
void log_configure(struct log *l, const struct log_config *config);

struct log_appended {
    int64_t base_offset, last_offset;
    uint64_t bytes;
};
// Appends whole, checked batches: base offset and leader epoch are written into `batches` in place. ERR_NO_SPACE: nothing was
// appended, and it may be tried again. ERR_OFFLINE.
enum err_code log_append(struct log *l, struct str batches, int32_t leader_epoch, struct log_appended *out, struct err *err);
void log_roll_due(struct log *l); // closes the active segment when its time is over, so that retention can take it
enum err_code log_roll(struct log *l, struct err *err); // closes it now (if it has batches)
// Makes everything appended before the call durable; blocks. ERR_SYNC_FAILED is final.
enum err_code log_sync(struct log *l, struct err *err);
// For topics that do not wait for the disk: hands what was appended to the disk without making it durable (it survives the end of the process,
// not of the power), and lets readers see it. A later log_sync is still due. By the thread that syncs; failures are as final as a sync's.
enum err_code log_write(struct log *l, struct err *err);
int64_t log_read_end(struct log *l); // readers see offsets below: the durable end, or what log_write has written
bool log_needs_sync(struct log *l);
void log_tidy(struct log *l); // writes index and snapshot of closed segments that are durable; blocks. Without it recovery scans more
bool log_needs_tidy(struct log *l);
bool log_point_ready(struct log *l); // a recovery point became durable: log_tidy writes it

int64_t log_start(struct log *l);
int64_t log_end(struct log *l);         // next offset
int64_t log_durable_end(struct log *l); // readers see offsets below
uint64_t log_bytes(struct log *l);
bool log_same_segment(struct log *l, int64_t a, int64_t b); // are these offsets in one segment; the end is in the active one
bool log_offline(struct log *l);

// Appends whole batches to `out`, from the one that holds `offset`, at most max_bytes, at least one batch. Nothing at the durable end.
// ERR_OFFSET_RANGE below the start or above the durable end. ERR_CORRUPT.
enum err_code log_read(struct log *l, int64_t offset, size_t max_bytes, struct buf *out, struct err *err);
// The same without a copy. ERR_BUSY: the disk is needed, and `may_block` is false. `out` must be empty; it is released by the caller.
// The answer may be shorter than with may_block, but is at least half of max_bytes or all there is.
enum err_code log_read_view(struct log *l, int64_t offset, size_t max_bytes, bool may_block, struct log_view *out, struct err *err);
// The same for a client: where batches without a record are all there is (the last batch of each compacted segment stays), it goes on in the
// next segments, as librdkafka takes a row of answers without a record for messages too large. Not past the end: then those are the answer.
enum err_code log_read_records(struct log *l, int64_t offset, size_t max_bytes, bool may_block, struct log_view *out, struct err *err);
void log_read_ahead(struct log *l, int64_t offset); // brings what follows into memory, checked; blocks
// The first durable record with a timestamp >= t: *offset -1 = none.
enum err_code log_find_time(struct log *l, int64_t t, int64_t *offset, int64_t *found, struct err *err);
enum err_code log_find_max_time(struct log *l, int64_t *offset, int64_t *found, struct err *err);
// The aborted transactions with a record in [from, to), in the order of their markers; appended to *out. ERR_CORRUPT. May read files.
bool log_has_aborted(struct log *l); // is there any
enum err_code log_aborted(struct log *l, int64_t from, int64_t to, log_aborteds *out, struct err *err);
// Removes segments by age and size, and those wholly below `before` (0 = none). Blocks; not together with itself. Returns how many.
size_t log_retain(struct log *l, int64_t now_ms, int64_t before, struct err *err);

#endif
