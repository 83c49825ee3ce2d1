// SPDX-License-Identifier: Apache-2.0
// The bytes of one simulated file, twice: as programs see them and as they are on the platter, with a mark per 512-byte sector that was
// written since the last sync. No locks here; the disk's is held.
#include <string.h>

#include "sys/sim_impl.h"

void sim_data_fini(struct sim_data *d) {
    mem_free(d->now);
    mem_free(d->safe);
    mem_free(d->dirty);
    *d = (struct sim_data){0};
}

// Bytes from the old size up to the new one, and from the new one up to the old, become zeros: what is behind the end never shines through.
static void set_size(uint8_t **p, size_t *size, size_t *cap, size_t n) {
    if (n > *cap) {
        size_t more = *cap < 4096 ? 4096 : *cap * 2;
        *cap = more < n ? n : more;
        *p = mem_realloc(*p, *cap);
    }
    if (n > *size) memset(*p + *size, 0, n - *size);
    else if (n < *size) memset(*p + n, 0, *size - n);
    *size = n;
}

static size_t sectors_of(size_t bytes) { return (bytes + SIM_SECTOR - 1) / SIM_SECTOR; }

static void mark(struct sim_data *d, size_t from, size_t to) {
    if (from >= to) return;
    size_t need = sectors_of(to);
    if (need > d->dirty_cap) {
        size_t cap = d->dirty_cap * 2 < need ? need : d->dirty_cap * 2;
        d->dirty = mem_realloc(d->dirty, cap);
        memset(d->dirty + d->dirty_cap, 0, cap - d->dirty_cap);
        d->dirty_cap = cap;
    }
    for (size_t i = from / SIM_SECTOR; i < need; i++) d->dirty[i] = 1;
}

static void clear_marks(struct sim_data *d) {
    if (d->dirty != NULL) memset(d->dirty, 0, d->dirty_cap);
    d->size_dirty = false;
}

void sim_data_truncate(struct sim_data *d, size_t size) {
    size_t old = d->size;
    if (size == old) return;
    set_size(&d->now, &d->size, &d->cap, size);
    mark(d, size < old ? size : old, size < old ? old : size);
    d->size_dirty = true;
}

void sim_data_write(struct sim_data *d, const void *p, size_t n, size_t offset) {
    if (n == 0) return;
    if (offset + n > d->size) sim_data_truncate(d, offset + n);
    memcpy(d->now + offset, p, n);
    mark(d, offset, offset + n);
}

// Puts `n` bytes of sector i, as seen, on the platter.
static void save(struct sim_data *d, size_t i, size_t n) {
    size_t from = i * SIM_SECTOR, to = from + n;
    if (to > d->safe_size) to = d->safe_size;
    for (size_t at = from; at < to; at++) d->safe[at] = at < d->size ? d->now[at] : 0;
}

void sim_data_sync(struct sim_data *d) {
    set_size(&d->safe, &d->safe_size, &d->safe_cap, d->size);
    for (size_t i = 0; i < sectors_of(d->size) && i < d->dirty_cap; i++)
        if (d->dirty[i]) save(d, i, SIM_SECTOR);
    clear_marks(d);
}

void sim_data_sync_failed(struct sim_data *d, struct sim_rng *fate) {
    for (size_t i = 0; i < sectors_of(d->safe_size) && i < d->dirty_cap; i++)
        if (d->dirty[i] && sim_rng_below(fate, 2) == 0) save(d, i, SIM_SECTOR);
    clear_marks(d);
}

enum fate { KEEP_ALL, LOSE_ALL, EACH, PREFIX, FATES };

static size_t fate_of_size(const struct sim_data *d, enum fate f, struct sim_rng *fate) {
    if (!d->size_dirty || f == LOSE_ALL) return d->safe_size;
    if (f == KEEP_ALL) return d->size;
    size_t lo = d->size < d->safe_size ? d->size : d->safe_size, hi = d->size < d->safe_size ? d->safe_size : d->size;
    switch (sim_rng_below(fate, 3)) {
    case 0: return d->size;
    case 1: return d->safe_size;
    default: return lo + sim_rng_below(fate, hi - lo + 1);
    }
}

void sim_data_power_cut(struct sim_data *d, struct sim_rng *fate) {
    enum fate f = (enum fate)sim_rng_below(fate, FATES);
    size_t n = sectors_of(d->size > d->safe_size ? d->size : d->safe_size), n_dirty = 0;
    for (size_t i = 0; i < n && i < d->dirty_cap; i++) n_dirty += d->dirty[i];
    size_t kept = sim_rng_below(fate, n_dirty + 1); // for PREFIX: so many whole sectors, then a torn one
    set_size(&d->safe, &d->safe_size, &d->safe_cap, fate_of_size(d, f, fate));
    for (size_t i = 0, seen = 0; i < n && i < d->dirty_cap; i++) {
        if (!d->dirty[i]) continue;
        uint64_t choice = f == KEEP_ALL ? 0 : f == LOSE_ALL ? 1 : f == EACH ? sim_rng_below(fate, 3) : seen < kept ? 0 : seen == kept ? 2 : 1;
        if (choice == 0) save(d, i, SIM_SECTOR);
        if (choice == 2) save(d, i, 1 + sim_rng_below(fate, SIM_SECTOR - 1));
        seen++;
    }
    set_size(&d->now, &d->size, &d->cap, d->safe_size);
    if (d->size > 0) memcpy(d->now, d->safe, d->size);
    clear_marks(d);
}

void sim_data_flip(struct sim_data *d, size_t offset) {
    if (offset < d->size) d->now[offset] ^= 0x10;
    if (offset < d->safe_size) d->safe[offset] ^= 0x10;
}
