// SPDX-License-Identifier: Apache-2.0
// Inside the log room: the block cache. Blocks of memory that hold ranges of segment files: those being written, and those read of late. Not for
// other rooms.
//
// All logs of a broker share one cache and its one mutex, held for look-ups only, never over input, output or copies of records. A file's blocks
// are a list by position whose ranges do not overlap. A block is kept while it is referred to, loading, or not yet on disk; else it may go:
// the one not used for longest first, and one that a sequential reader has passed before all others.
// Sizes: 1 MiB, and 16 KiB for files with small appends, so that thousands of those fit. Memory comes in huge pages of two large blocks.
// The limit holds unless all blocks are kept: then more memory is taken, and the broker bounds what is kept (produce_bytes_max, fetch answers).
#ifndef LOG_CACHE_H
#define LOG_CACHE_H

#include "base/vec.h"
#include "log/log.h"
#include "log/view.h"

enum { BLOCK_BIG = 1 << 20, BLOCK_SMALL = 16 << 10 };

struct block_list { // of one file; everything under the cache's mutex
    struct log_cache *cache; // NULL = it never had a block
    VEC(struct log_block *) v;
    uint64_t on_disk; // blocks with bytes behind this are kept
    unsigned small_run; // small blocks filled one after the other
};

// A look at a block. `p` is the memory of byte `from`; bytes below `to` do not change while there is a reference.
struct block_look {
    struct log_block *block; // with a reference
    const uint8_t *p;
    uint64_t from, to, good_from, good_to; // good: batches in here had their CRC checked
    size_t cap;
};
enum block_state { BLOCK_FOUND, BLOCK_ABSENT, BLOCK_LOADING };

void block_list_fini(struct block_list *l); // views of it stay valid
// wait: until it is loaded, when it is loading. quiet: reading ahead is no use of a block that its reader may have passed by now.
enum block_state cache_find(struct log_cache *c, struct block_list *l, uint64_t at, bool wait, bool quiet, struct block_look *out);
uint64_t cache_hole(struct log_cache *c, struct block_list *l, uint64_t from, uint64_t to); // the first byte that is not there or coming; `to` = none
void cache_unref(struct log_cache *c, struct log_block *b);
void cache_good(struct log_cache *c, struct block_list *l, uint64_t from, uint64_t to); // batches in here were checked
void cache_passed(struct log_cache *c, struct block_list *l, uint64_t from, uint64_t to); // by a sequential reader: of blocks from the disk

// Loading: the block is announced, the caller fills `mem` from byte `base` of the file on (whole SYS_BLOCKs, at least up to `to`), and ends.
// NULL: it is there or under way by now.
struct block_load {
    struct log_block *block;
    uint8_t *mem;
    uint64_t base, to;
};
bool cache_load_begin(struct log_cache *c, struct block_list *l, uint64_t at, uint64_t limit, struct block_load *out);
void cache_load_end(struct log_cache *c, struct block_load *load, bool ok);

// Appends bytes of checked batches behind what is there; one thread per file.
void cache_append(struct log_cache *c, struct block_list *l, uint64_t at, const uint8_t *p, size_t n);

// The memory that holds byte `at` of what is not on disk, for the thread that writes it: valid until cache_on_disk says that it is written.
// `head` false: the memory in front of `from` in the same SYS_BLOCK is not filled (the block came after the one before was given up).
struct block_dirty {
    uint8_t *mem; // of byte `base`
    uint64_t base, from, to;
    bool *head;
};
bool cache_dirty(struct log_cache *c, struct block_list *l, uint64_t at, struct block_dirty *out);
void cache_on_disk(struct log_cache *c, struct block_list *l, uint64_t to);

#endif
