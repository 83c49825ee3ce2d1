// SPDX-License-Identifier: Apache-2.0
// Open addressing over an entry array in insertion order (the layout of Python's dict). Removed entries leave
// a hole (key NULL) until the next rebuild.
#include "base/map.h"

#include <assert.h>

#include "base/mem.h"

void map_init(struct map *m) { *m = (struct map){0}; }

void map_fini(struct map *m) {
    for (size_t i = 0; i < m->n_entries; i++) mem_free(m->entries[i].key);
    mem_free(m->entries);
    mem_free(m->slots);
    *m = (struct map){0};
}

static bool entry_is(const struct map_entry *e, struct str key, uint64_t hash) {
    return e->key != NULL && e->hash == hash && e->key_len == key.n && memcmp(e->key, key.p, key.n) == 0;
}

// The slot that holds `key`, or the empty slot where the search ended.
static size_t slot_find(const struct map *m, struct str key, uint64_t hash) {
    size_t i = hash & (m->n_slots - 1);
    while (m->slots[i] != 0 && !entry_is(&m->entries[m->slots[i] - 1], key, hash)) i = (i + 1) & (m->n_slots - 1);
    return i;
}

static void rebuild(struct map *m) {
    size_t want = 16;
    while (want < (m->n + 1) * 2) want *= 2;
    size_t kept = 0;
    for (size_t i = 0; i < m->n_entries; i++)
        if (m->entries[i].key != NULL) m->entries[kept++] = m->entries[i];
    m->n_entries = kept;
    m->cap_entries = want / 2 + 1;
    assert(m->cap_entries > kept && want < UINT32_MAX);
    m->entries = mem_realloc(m->entries, m->cap_entries * sizeof *m->entries);
    mem_free(m->slots);
    m->slots = mem_zalloc(want * sizeof *m->slots);
    m->n_slots = want;
    for (size_t i = 0; i < kept; i++) {
        size_t s = m->entries[i].hash & (want - 1);
        while (m->slots[s] != 0) s = (s + 1) & (want - 1);
        m->slots[s] = (uint32_t)i + 1;
    }
}

void *map_get(const struct map *m, struct str key) {
    if (m->n == 0) return NULL;
    size_t s = slot_find(m, key, str_hash(key));
    return m->slots[s] == 0 ? NULL : m->entries[m->slots[s] - 1].value;
}

void *map_getc(const struct map *m, const char *key) { return map_get(m, str_c(key)); }

void *map_put(struct map *m, struct str key, void *value) {
    assert(value != NULL);
    uint64_t hash = str_hash(key);
    if (m->n_slots > 0) {
        size_t s = slot_find(m, key, hash);
        if (m->slots[s] != 0) {
            struct map_entry *e = &m->entries[m->slots[s] - 1];
            void *old = e->value;
            e->value = value;
            return old;
        }
    }
    if (m->n_entries == m->cap_entries) rebuild(m);
    size_t s = slot_find(m, key, hash);
    m->entries[m->n_entries] = (struct map_entry){mem_strndup(key.p, key.n), key.n, hash, value};
    m->slots[s] = (uint32_t)++m->n_entries;
    m->n++;
    return NULL;
}

void *map_remove(struct map *m, struct str key) {
    if (m->n == 0) return NULL;
    size_t s = slot_find(m, key, str_hash(key));
    if (m->slots[s] == 0) return NULL;
    struct map_entry *e = &m->entries[m->slots[s] - 1];
    mem_free(e->key);
    e->key = NULL; // the slot stays: searches walk over it
    m->n--;
    return e->value;
}

struct map_entry *map_next(const struct map *m, size_t *it) {
    while (*it < m->n_entries) {
        struct map_entry *e = &m->entries[(*it)++];
        if (e->key != NULL) return e;
    }
    return NULL;
}
