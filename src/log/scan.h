// SPDX-License-Identifier: Apache-2.0
// One pass over a batch's records, packed or not: are they well formed, and what should the header and the broker know of them?
//
// Pure, any thread. Memory is bounded by the largest record: packed records are looked at piece by piece, and nothing of them is kept.
#ifndef LOG_SCAN_H
#define LOG_SCAN_H

#include "log/batch.h"

struct batch_scan {
    int64_t max_timestamp;  // -1 = no record has a time
    int64_t min_timestamp;  // INT64_MAX = no record has a time
    int64_t largest, plain; // bytes: of the largest record without its length in front; of all records, unpacked
    bool key_missing;       // at least one record has none
    bool in_order;          // the records' offsets are 0, 1, 2 … from the batch's
};
enum batch_scan_end {
    BATCH_SCAN_OK,         // `count` well-formed records fill the batch exactly, and *out says the rest
    BATCH_SCAN_LONGER,     // they unpack to more than max_plain bytes: nothing is known
    BATCH_SCAN_MALFORMED,  // a record is malformed, or they are more or fewer than the header says
    BATCH_SCAN_UNREADABLE, // the compressed data is damaged: err says how
    BATCH_SCAN_TOO_LARGE,  // a record has more than BATCH_RECORD_MAX bytes: err says so
};
enum { BATCH_RECORD_MAX = 256 << 20 };

// Of an uncompressed batch.
enum batch_scan_end batch_scan(const struct batch *b, struct batch_scan *out);

// Of a compressed one. A scanner has the memory for it, which serves again; one thread at a time.
struct batch_scanner;
struct batch_scanner *batch_scanner_new(void);
void batch_scanner_free(struct batch_scanner *x);
enum batch_scan_end batch_scan_packed(struct batch_scanner *x, const struct batch *b, size_t max_plain, struct batch_scan *out, struct err *err);

// The same `count` well-formed, uncompressed records with the offsets 0, 1, 2 …, appended to `out`.
void batch_renumber(struct str records, int32_t count, struct buf *out);

#endif
