// SPDX-License-Identifier: Apache-2.0
// What a partition knows of idempotent producers: epoch and the last five batches of each, to refuse gaps and answer repeats.
// One owner, no locks. Rules as in Kafka's ProducerStateManager for producers without transactions.
#ifndef BROKER_PRODUCERS_H
#define BROKER_PRODUCERS_H

#include "base/map.h"
#include "log/batch.h"
#include "log/compact.h"

enum { PRODUCER_BATCHES = 5, PRODUCERS_MAX = 100000 }; // per partition; above it the ones idle longest are forgotten

struct producers {
    struct map by_id;
};

void producers_init(struct producers *s);
void producers_fini(struct producers *s);
enum producer_verdict { PRODUCER_APPEND, PRODUCER_REPEAT, PRODUCER_FENCED, PRODUCER_GAP };
// For a batch with producer_id >= 0. PRODUCER_REPEAT: *base and *last are the offsets it got the first time.
enum producer_verdict producers_check(const struct producers *s, const struct batch *b, int64_t *base, int64_t *last);
void producers_note(struct producers *s, const struct batch *b, int64_t now_ms); // appended at b->base_offset; also in recovery
size_t producers_expire(struct producers *s, int64_t before_ms);
struct log_producer_last *producers_last(const struct producers *s, size_t *n); // where each wrote last, for compaction; mem_free
void producers_save(const struct producers *s, struct buf *out);
bool producers_load(struct producers *s, struct str snapshot, int64_t now_ms); // replaces all; false = unusable (then it is empty)

#endif
