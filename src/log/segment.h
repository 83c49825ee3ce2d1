// SPDX-License-Identifier: Apache-2.0
// Inside the log room: segments, their index files, and the struct of a log. Not for other rooms.
//
// A log's mutex guards the list of segments and every field of a segment that changes after its creation; the files themselves are read
// and written outside it. A reader holds a reference, so that retention can drop a segment under it.
#ifndef LOG_SEGMENT_H
#define LOG_SEGMENT_H

#include <stdatomic.h>

#include "base/vec.h"
#include "log/cache.h"
#include "log/log.h"

struct index_entry {
    uint32_t relative; // base offset of the batch - base offset of the segment
    uint32_t position; // of the batch in the file
    int64_t max_before; // largest timestamp of the batches in front of it; INT64_MIN = none
};

// What is known of an active segment's first `size` bytes; written to N.point when they are durable (point.c).
struct point {
    uint64_t size;
    int64_t end, max_time, max_time_base;
    size_t index_n, aborted_n; // entries that lie in front of it
    bool has_state;
    struct buf state; // the caller's, at `end`
};

struct segment {
    int64_t base, end; // offsets: first, behind the last
    struct sys_file *file;
    uint64_t size, synced;  // bytes appended, bytes known to be on disk
    uint64_t readable;      // bytes that readers may see
    uint64_t written;       // bytes handed to the disk. The syncing worker's
    uint64_t zeroed;        // bytes of the file that were written at all, zeros behind `written` included. The syncing worker's
    _Atomic uint64_t reserved; // bytes of the file that have disk space. The owner's
    struct block_list blocks;
    int64_t max_time;      // largest timestamp; INT64_MIN = none
    int64_t max_time_base; // base offset of the batch that has it
    int64_t jitter_ms;     // of segment_ms
    int64_t opened_ms;     // when the first batch came (after a restart: when the file last changed); -1 = none yet
    VEC(struct index_entry) index;
    bool index_loaded;     // `index` is complete
    bool index_on_disk;
    bool snapshot_on_disk;
    bool closed;
    struct buf snapshot; // the caller's state at `base`, until it is on disk
    bool has_snapshot;
    struct point *point, *newer; // taken, not written yet; `newer` waits until it is durable
    uint64_t pointed;      // bytes in front of the last point that was taken. The owner's, under the mutex
    log_aborteds aborted;  // by marker
    bool aborted_on_disk;  // `aborted` is still to be read from there
    int refs;
    bool dropped;
};

enum { LOG_HINTS = 8 };
struct read_hint { // where a reader stopped, so that the next read needs no search
    int64_t offset, base;
    uint64_t position;
};

struct log {
    struct sys *sys;
    char *dir;
    struct sys_mutex mutex;
    struct log_config config;
    struct log_state state;
    VEC(struct segment *) segments; // by base; the last one is active
    int64_t end, durable_end, read_end;
    struct log_cache *cache;
    bool own_cache;
    bool offline;
    bool untouched; // nothing was written since a clean open
    int64_t start;  // records in front of it were deleted (DeleteRecords); the first segment may begin later, or earlier
    int64_t clean_below, gaps_below; // compaction has seen what is below; there may be gaps between offsets below
    enum { SWAP_NONE, SWAP_PENDING, SWAP_DOUBT } swap; // see compact_swap.c; under `names`
    struct sys_mutex names; // held while tidying, retention or a sync's mark make or remove files by name; guards `abandoned`
    bool abandoned;         // the folder's name may be another log's by now
    uint64_t dir_changes, dir_synced; // files created; of these, known to be in the folder after a power cut
    atomic_bool has_aborted; // some segment has an aborted transaction
    struct read_hint hints[LOG_HINTS];
    size_t next_hint;
};

// ---- segment.c ----
struct segment *segment_open(struct log *l, int64_t base, bool create, struct err *err);
struct segment *segment_of_file(int64_t base, struct sys_file *f, uint64_t size); // takes the file
void segment_all_on_disk(struct segment *g); // before it is shared: what its file has is all there is, and durable
void segment_free(struct segment *g); // closes the file
void segment_ref(struct segment *g);  // under the log's mutex
void segment_unref(struct log *l, struct segment *g); // takes the mutex
// ---- write.c ----
// Room for n more bytes, and more ahead; before they are appended. The owner's. ERR_NO_SPACE: as it was before.
enum err_code segment_reserve(struct segment *g, size_t n, uint64_t segment_max, struct err *err);
// Writes the bytes below `to` that were not written yet; with `sync` all of them are durable then.
enum err_code segment_write_out(struct log *l, struct segment *g, uint64_t to, bool sync, struct err *err);
// Gives the room behind the bytes back, when all of them were written and no more come (closed, or at the end).
enum err_code segment_trim(struct segment *g, struct err *err);
char *segment_path(const struct log *l, int64_t base, const char *suffix); // mem_free
// A batch was appended at `position`: index entry, times, end. Under the mutex (or before the log is shared).
void segment_note_batch(struct segment *g, const struct batch *b, uint64_t position, uint32_t interval);
enum err_code segment_write_index(struct log *l, struct segment *g, const char *suffix, struct err *err); // "index", or of a file to come
bool segment_read_index_head(struct log *l, struct segment *g); // false = absent, damaged or of another size
enum err_code segment_ensure_index(struct log *l, struct segment *g, struct err *err); // loads it unless it is there
bool segment_has_index(struct log *l, struct segment *g);
enum err_code segment_load_index(struct log *l, struct segment *g, struct err *err); // takes the mutex; rebuilds when damaged
enum err_code segment_write_snapshot(struct log *l, int64_t base, struct str state, struct err *err);
bool segment_read_snapshot(struct log *l, int64_t base, struct buf *out);

// Walks the batches of [from, to) in a file in order. fn returns false to stop.
struct scan {
    struct sys_file *file;
    uint64_t from, to;
    bool check_crc;
    int64_t expect; // the first batch's base offset, then contiguous; -1 = any
    int64_t gaps_below; // a batch that begins at or below it may leave a gap behind the one of before (compaction); 0 = none may
    bool (*fn)(void *arg, const struct batch *b, uint64_t position);
    void *arg;
    uint64_t good_end;   // out: behind the last good batch
    const char *stopped; // out: why, NULL = at `to`, by fn, or at zeros
    bool zeros;          // out: from good_end to `to` there is nothing but zeros: room that was reserved
};
enum err_code segment_scan(struct scan *c, struct err *err); // errors of the disk only

// ---- point.c ----
void point_take(struct log *l, struct segment *g, uint64_t grown); // the owner's, between appends: a point at the end, when so much came behind the last
bool point_ready(const struct segment *g);                         // one is durable and waits to be written. Under the mutex
bool point_wanted(const struct log *l, const struct segment *g);   // so much came that the upkeep takes one. Under the mutex
void point_forget(struct segment *g);                              // those that wait. Under the mutex
enum err_code point_write(struct log *l, struct segment *g, struct err *err);  // the tidying worker's
enum err_code point_remove(struct log *l, int64_t base, struct err *err);
// The point on disk, and the entries in front of it into g's index and list of aborts. NULL = none, or damaged; then g is as it was.
struct point *point_read(struct log *l, struct segment *g);
void point_free(struct point *p); // NULL is fine
uint64_t point_bytes(const struct log *l);
enum { POINT_UPKEEP_PART = 8 }; // the upkeep takes one after this part of point_bytes

// ---- aborted.c ----
void segment_note_aborted(struct log *l, struct segment *g, const struct log_aborted *a); // under the mutex, or before the log is shared
// To N.SUFFIX, before the index. Without entries an old file goes; a cleaned one is written all the same, to take the old one's place.
enum err_code segment_write_aborted(struct log *l, struct segment *g, const char *suffix, struct err *err);
// Compaction: the entries of `sources` whose markers are still in g. Sources are not changed.
enum err_code segment_carry_aborted(struct log *l, struct segment *g, struct segment *const *sources, size_t n, struct err *err);
enum err_code segment_load_aborted(struct log *l, struct segment *g, struct err *err);    // takes the mutex

int64_t segment_newest_ms(const struct segment *g); // what retention by time goes by
int64_t log_start_locked(const struct log *l);      // under the mutex
bool segment_index_says(struct log *l, int64_t base, const char *suffix, uint64_t size, int64_t end); // such a valid index file is there

// ---- compact_swap.c ----
enum err_code compact_recover(struct log *l, struct err *err); // before the folder is listed: finishes a swap, reads where the log begins

// ---- recover.c ----
// A file in the folder: a sync failed, so the system's cache may show bytes that it will never write. Recovery writes them again.
#define LOG_UNSYNCED_MARK "unsynced"
enum err_code log_recover(struct log *l, bool clean, struct err *err);

#endif
