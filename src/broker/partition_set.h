// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: sets of partitions, sorted by topic id and partition, as assignments of groups are. A zeroed one is empty.
// Every operation is linear in the sizes of its sets. The owner frees.
#ifndef BROKER_PARTITION_SET_H
#define BROKER_PARTITION_SET_H

#include <string.h>

#include "base/buf.h"
#include "base/vec.h"

struct topic_partition {
    uint8_t topic[16];
    int32_t partition;
    int32_t epoch; // of what a member has: the assignment's that gave it to it (KIP-1251). Elsewhere 0; comparisons do not look at it
};
struct partition_set {
    struct topic_partition *p;
    size_t n, cap;
};

static inline int topic_partition_cmp(const struct topic_partition *a, const struct topic_partition *b) {
    int c = memcmp(a->topic, b->topic, sizeof a->topic);
    return c != 0 ? c : (a->partition > b->partition) - (a->partition < b->partition);
}

void partition_set_fini(struct partition_set *s);
void partition_set_add(struct partition_set *s, const uint8_t topic[16], int32_t partition); // anywhere; then partition_set_sort
void partition_set_sort(struct partition_set *s); // also drops doubles
void partition_set_copy(struct partition_set *to, const struct partition_set *from);
void partition_set_move(struct partition_set *to, struct partition_set *from); // `from` is empty afterwards
bool partition_set_equal(const struct partition_set *a, const struct partition_set *b);
bool partition_set_within(const struct partition_set *a, const struct partition_set *b); // every one of a is in b
bool partition_set_meets(const struct partition_set *a, const struct partition_set *b);  // they have one in common
// `out` is another set than a and b; what it held is gone. Epochs are those of a.
void partition_set_common(struct partition_set *out, const struct partition_set *a, const struct partition_set *b);
void partition_set_minus(struct partition_set *out, const struct partition_set *a, const struct partition_set *b);
void partition_set_merge(struct partition_set *into, const struct partition_set *from); // union
// End of the run of one topic that begins at `at`.
size_t partition_set_run(const struct partition_set *s, size_t at);
const struct topic_partition *partition_set_find(const struct partition_set *s, const struct topic_partition *tp); // NULL = not in it
void partition_set_epoch(struct partition_set *s, int32_t epoch); // of all
// As in Kafka's records (flexible versions): array of topic id and partitions. Where no epochs are stored, reading gives `epoch` to all.
void partition_set_put(struct buf *out, const struct partition_set *s, bool with_epochs);
void partition_set_get(struct rd *r, struct partition_set *out, int32_t epoch);
// One element behind its id: the partitions of the run [at, end) and, as its tag, their epochs.
void partition_set_put_run(struct buf *out, const struct partition_set *s, size_t at, size_t end, bool with_epochs);
void partition_set_get_run(struct rd *r, struct partition_set *out, const uint8_t topic[16] /* NULL = skipped */, int32_t epoch);

#endif
