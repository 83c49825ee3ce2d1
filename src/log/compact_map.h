// SPDX-License-Identifier: Apache-2.0
// What compaction knows of keys: the newest offset of each, in a table of bounded memory. One owner, no locks.
//
// A key is its 128-bit SipHash under a random secret, so that two keys meet once in 2^64 and nobody can make them meet. 24 bytes an entry.
#ifndef LOG_COMPACT_MAP_H
#define LOG_COMPACT_MAP_H

#include "base/str.h"
#include "sys/sys.h"

struct compact_slot {
    uint64_t high, low;
    int64_t offset; // -1 = empty
};

struct compact_map {
    uint64_t secret[2];
    struct compact_slot *slots;
    size_t n, n_slots, max_slots;
    int64_t latest; // offsets at and below it were seen; -1 = none
};

void compact_map_init(struct compact_map *m, struct sys *s, size_t max_bytes);
void compact_map_fini(struct compact_map *m);
bool compact_map_put(struct compact_map *m, struct str key, int64_t offset); // false = full, and nothing was changed
int64_t compact_map_get(const struct compact_map *m, struct str key);        // -1 = no record with this key was seen
size_t compact_map_room(const struct compact_map *m);                        // new keys that are sure to fit

#endif
