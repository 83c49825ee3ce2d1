// SPDX-License-Identifier: Apache-2.0
// Hash map from bytes to a pointer. Keys are copied; values belong to the caller. Iteration is in insertion order
// as long as nothing was removed. One owner, no locks.
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct map_entry {
    char *key; // NUL-terminated copy; NULL = removed
    size_t key_len;
    uint64_t hash;
    void *value;
};

struct map {
    struct map_entry *entries; // in insertion order, with holes
    size_t n_entries, cap_entries;
    uint32_t *slots; // index + 1 into entries, 0 = empty
    size_t n_slots;
    size_t n; // live keys
};

void map_init(struct map *m);
void map_fini(struct map *m); // does not free values
void *map_get(const struct map *m, struct str key); // NULL = absent
void *map_getc(const struct map *m, const char *key);
void *map_put(struct map *m, struct str key, void *value); // returns the value replaced, or NULL. value must not be NULL
void *map_remove(struct map *m, struct str key);           // returns the value removed, or NULL
// for (size_t it = 0; (e = map_next(m, &it)) != NULL;)   removing the entry just returned is allowed
struct map_entry *map_next(const struct map *m, size_t *it);

#endif
