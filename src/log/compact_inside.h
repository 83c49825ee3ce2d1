// SPDX-License-Identifier: Apache-2.0
// Inside compaction: what its files share. compact.c phases, compact_txn.c transactions, compact_filter.c batches, compact_swap.c files.
#ifndef LOG_COMPACT_INSIDE_H
#define LOG_COMPACT_INSIDE_H

#include "base/map.h"
#include "log/compact.h"
#include "log/compact_map.h"
#include "log/segment.h"

// ---- compact_txn.c: which batches belong to aborted transactions, by the markers in the log ----
struct compact_aborted {
    int64_t producer_id, first, last; // offsets: of the first record, of the marker
};
struct compact_open { // a transaction without its marker so far
    int64_t producer_id, first;
};
struct compact_txns {
    struct map open; // producer id -> struct compact_open
    VEC(struct compact_aborted) aborted; // sorted by producer and offset once all are known
    struct map seen;   // producer id -> struct compact_open: data of its present transaction was met by the filter
};
void compact_txns_init(struct compact_txns *t);
void compact_txns_fini(struct compact_txns *t);
enum { MARKER_ABORT = 0, MARKER_COMMIT = 1, MARKER_OTHER = -1 };
int compact_marker(const struct batch *b); // of a control batch
// Follows the batches in order. `opens`: transactions that begin here count. False = too many are aborted.
bool compact_txns_note(struct compact_txns *t, const struct batch *b, bool opens);
int64_t compact_txns_first_open(const struct compact_txns *t); // INT64_MAX = none
void compact_txns_sort(struct compact_txns *t);
bool compact_txns_is_aborted(const struct compact_txns *t, const struct batch *b); // of a data batch
// For the filter, in the order of the log: may this batch's records go, as far as transactions are concerned (a marker: after its horizon)?
bool compact_txns_discard(struct compact_txns *t, const struct batch *b);

// ---- compact_filter.c ----
struct compact_filter {
    const struct compact_map *map;
    struct compact_txns *txns;
    const struct log_producer_last *producers;
    size_t n_producers;
    int64_t now_ms, delete_retention_ms;
    struct buf records, packed; // scratch
    int64_t records_read, records_kept;
};
// Appends what is left of a batch to `out`: the same bytes, a new batch, an empty one, nothing. `keep`: at least an empty one.
enum err_code compact_filter_batch(struct compact_filter *f, const struct batch *b, bool keep, struct buf *out, bool *changed, struct err *err);

// ---- compact_swap.c ----
// Puts the file `base.log.cleaned`, which is on disk and described by g (index, end, times), in the place of n segments from sources[0] on.
// The segments stay referenced by the caller. g is the log's when it succeeds.
enum err_code compact_swap(struct log *l, struct segment *g, struct segment *const *sources, size_t n, struct err *err);
enum err_code compact_swap_finish(struct log *l, struct err *err); // one that was decided and then hindered; under l->names, or at start
enum err_code compact_save_state(struct log *l, int64_t clean_below, int64_t gaps_below, struct err *err);
void compact_unlink_cleaned(struct log *l, int64_t base);

#endif
