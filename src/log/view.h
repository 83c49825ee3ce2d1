// SPDX-License-Identifier: Apache-2.0
// What a reader of a log gets: whole record batches, in pieces, where they lie in memory. Nothing is copied.
//
// A view holds references to the blocks that its pieces lie in; they stay as they are until log_view_release. Zeroed before first use.
// One thread at a time; release on any thread.
#ifndef LOG_VIEW_H
#define LOG_VIEW_H

#include "base/str.h"
#include "base/vec.h"

struct log_block;

struct log_piece {
    struct str bytes;
    struct log_block *block; // NULL = bytes that outlive the view
};
struct log_view {
    VEC(struct log_piece) pieces;
    size_t n;    // bytes of all pieces
    size_t held; // bytes of memory that stay taken until the release
    int64_t next; // the offset behind the last batch
    bool empty;   // there are batches, and compaction left no record in any of them
    bool ahead;   // a reader goes on there soon, and the disk will be needed: log_read_ahead(next)
};
void log_view_release(struct log_view *v); // empty again, zeroed; an empty one is fine

#endif
