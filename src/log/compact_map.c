// SPDX-License-Identifier: Apache-2.0
// The table of keys of a compaction: open addressing with linear probing, grown by doubling up to its maximum, at most three quarters full.
// SipHash-2-4 with 128 bits of output after the reference description by its authors (Aumasson and Bernstein).
#include "log/compact_map.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

enum { FIRST_SLOTS = 1024 };

// ---- the hash -------------------------------------------------------------------------------------------------------

static uint64_t rotl(uint64_t v, int n) { return v << n | v >> (64 - n); }

static uint64_t little64(const uint8_t *p) {
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static void hash(const uint64_t k[2], struct str s, uint64_t *high, uint64_t *low) {
    uint64_t v[4] = {k[0] ^ 0x736f6d6570736575u, k[1] ^ 0x646f72616e646f6du ^ 0xee, k[0] ^ 0x6c7967656e657261u, k[1] ^ 0x7465646279746573u};
    const uint8_t *p = (const uint8_t *)s.p;
    size_t n = s.n;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t m = little64(p);
        v[3] ^= m;
        sip_round(v);
        sip_round(v);
        v[0] ^= m;
    }
    uint64_t last = (uint64_t)s.n << 56;
    for (size_t i = 0; i < n; i++) last |= (uint64_t)p[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xee;
    for (int i = 0; i < 4; i++) sip_round(v);
    *low = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    for (int i = 0; i < 4; i++) sip_round(v);
    *high = v[0] ^ v[1] ^ v[2] ^ v[3];
}

// ---- the table ------------------------------------------------------------------------------------------------------

static struct compact_slot *new_slots(size_t n) {
    struct compact_slot *slots = mem_alloc(n * sizeof *slots);
    for (size_t i = 0; i < n; i++) slots[i].offset = -1;
    return slots;
}

void compact_map_init(struct compact_map *m, struct sys *s, size_t max_bytes) {
    *m = (struct compact_map){.latest = -1, .max_slots = FIRST_SLOTS, .n_slots = FIRST_SLOTS};
    sys_random(s, m->secret, sizeof m->secret);
    while (m->max_slots * 2 * sizeof *m->slots <= max_bytes) m->max_slots *= 2;
    m->slots = new_slots(m->n_slots);
}

void compact_map_fini(struct compact_map *m) {
    mem_free(m->slots);
    m->slots = NULL;
}

static size_t limit(size_t n_slots) { return n_slots / 4 * 3; }
size_t compact_map_room(const struct compact_map *m) { return limit(m->max_slots) - m->n; }

// The key's slot, or the empty one where it belongs. There is always an empty one.
static struct compact_slot *find(struct compact_slot *slots, size_t n_slots, uint64_t high, uint64_t low) {
    size_t i = (size_t)low & (n_slots - 1);
    while (slots[i].offset >= 0 && (slots[i].high != high || slots[i].low != low)) i = (i + 1) & (n_slots - 1);
    return &slots[i];
}

static void grow(struct compact_map *m) {
    struct compact_slot *next = new_slots(m->n_slots * 2);
    for (size_t i = 0; i < m->n_slots; i++)
        if (m->slots[i].offset >= 0) *find(next, m->n_slots * 2, m->slots[i].high, m->slots[i].low) = m->slots[i];
    mem_free(m->slots);
    m->slots = next;
    m->n_slots *= 2;
}

bool compact_map_put(struct compact_map *m, struct str key, int64_t offset) {
    assert(offset >= 0);
    uint64_t high, low;
    hash(m->secret, key, &high, &low);
    struct compact_slot *s = find(m->slots, m->n_slots, high, low);
    if (s->offset < 0) {
        if (m->n >= limit(m->n_slots)) {
            if (m->n_slots >= m->max_slots) return false;
            grow(m);
            s = find(m->slots, m->n_slots, high, low);
        }
        m->n++;
    }
    *s = (struct compact_slot){high, low, offset};
    return true;
}

int64_t compact_map_get(const struct compact_map *m, struct str key) {
    uint64_t high, low;
    hash(m->secret, key, &high, &low);
    return find(m->slots, m->n_slots, high, low)->offset;
}
