// SPDX-License-Identifier: Apache-2.0
// The block cache: memory in slabs, lists of blocks, what goes when. See cache.h.
#include "log/cache.h"

#include <assert.h>

#include "base/metrics.h"

enum { SLAB = 2 << 20, SLAB_UNITS = SLAB / BLOCK_BIG, UNIT_SLOTS = BLOCK_BIG / BLOCK_SMALL, COLD_MAX = 4, IDLE_TICKS = 2, TAIL_MAX = 8 };
static_assert(UNIT_SLOTS == 64, "the slots of a unit are the bits of a word");

struct slab;
struct unit { // one large block, or 64 small ones
    struct slab *slab;
    uint8_t *mem;
    uint64_t slots; // taken, when split
    bool taken, split;
};
struct slab {
    struct unit units[SLAB_UNITS];
    uint8_t *mem;
};

struct log_block {
    struct log_cache *cache;
    struct block_list *list; // NULL = nobody finds it any more: it goes with its last reference
    struct unit *unit;
    uint8_t *mem;
    size_t cap;
    uint64_t base, from, to; // mem[0] is byte `base` of the file; [from, to) is valid
    uint64_t good_from, good_to;
    int refs;
    bool loading, loaded, head, cold;
    uint32_t tick; // of the last use
    struct log_block *newer, *older;
};

struct log_cache {
    struct sys_mutex mutex;
    struct sys_cond loaded;
    size_t max_units, taken, n_cold;
    uint32_t tick;
    VEC(struct slab *) slabs;
    VEC(struct unit *) free;  // the last one is taken first: its memory is warm
    VEC(struct unit *) split; // with free slots
    struct log_block *newest, *oldest;
};

struct log_cache *log_cache_new(size_t max_bytes) {
    struct log_cache *c = MEM_NEW(struct log_cache);
    sys_mutex_init(&c->mutex);
    sys_cond_init(&c->loaded);
    c->max_units = max_bytes / BLOCK_BIG < 4 ? 4 : max_bytes / BLOCK_BIG;
    return c;
}

// ---- memory ---------------------------------------------------------------------------------------------------------

static void tell_bytes(int64_t units) { metric_add(M_LOG_CACHE_BYTES, NULL, units * BLOCK_BIG); }

static void map_slab(struct log_cache *c) {
    struct slab *s = MEM_NEW(struct slab);
    s->mem = sys_map_memory(SLAB);
    for (size_t i = SLAB_UNITS; i > 0; i--) {
        s->units[i - 1] = (struct unit){.slab = s, .mem = s->mem + (i - 1) * BLOCK_BIG};
        vec_add(&c->free, &s->units[i - 1]);
    }
    vec_add(&c->slabs, s);
    tell_bytes(SLAB_UNITS);
}

static struct unit *take_unit(struct log_cache *c) {
    if (c->free.n == 0) map_slab(c);
    struct unit *u = c->free.p[--c->free.n];
    u->taken = true;
    c->taken++;
    return u;
}

static void give_unit(struct log_cache *c, struct unit *u) {
    u->taken = u->split = false;
    c->taken--;
    vec_add(&c->free, u);
}

static void drop_unit(struct unit **p, size_t *n, const struct unit *u) {
    for (size_t i = 0; i < *n; i++) {
        if (p[i] != u) continue;
        p[i] = p[--*n];
        return;
    }
}

static void give_memory(struct log_cache *c, struct log_block *b) {
    struct unit *u = b->unit;
    if (b->cap == BLOCK_BIG) {
        give_unit(c, u);
        return;
    }
    if (u->slots == UINT64_MAX) vec_add(&c->split, u);
    u->slots &= ~((uint64_t)1 << (size_t)(b->mem - u->mem) / BLOCK_SMALL);
    if (u->slots != 0) return;
    drop_unit(c->split.p, &c->split.n, u);
    give_unit(c, u);
}

// Slabs of which nothing is used go back to the system.
static void give_back(struct log_cache *c) {
    for (size_t i = c->slabs.n; i > 0; i--) {
        struct slab *s = c->slabs.p[i - 1];
        bool used = false;
        for (size_t k = 0; k < SLAB_UNITS; k++) used = used || s->units[k].taken;
        if (used) continue;
        for (size_t k = 0; k < SLAB_UNITS; k++) drop_unit(c->free.p, &c->free.n, &s->units[k]);
        sys_unmap_memory(s->mem, SLAB);
        mem_free(s);
        vec_remove(&c->slabs, i - 1);
        tell_bytes(-SLAB_UNITS);
    }
}

void log_cache_free(struct log_cache *c) {
    if (c == NULL) return;
    assert(c->newest == NULL && c->taken == 0); // logs are closed and views released
    give_back(c);
    vec_fini(&c->slabs);
    vec_fini(&c->free);
    vec_fini(&c->split);
    sys_cond_fini(&c->loaded);
    sys_mutex_fini(&c->mutex);
    mem_free(c);
}

// ---- order of use ---------------------------------------------------------------------------------------------------

static void unlink_block(struct log_cache *c, struct log_block *b) {
    if (b->newer != NULL) b->newer->older = b->older;
    else c->newest = b->older;
    if (b->older != NULL) b->older->newer = b->newer;
    else c->oldest = b->newer;
    b->newer = b->older = NULL;
    c->n_cold -= b->cold;
    b->cold = false;
}

static void link_newest(struct log_cache *c, struct log_block *b) {
    b->older = c->newest;
    if (c->newest != NULL) c->newest->newer = b;
    else c->oldest = b;
    c->newest = b;
}

// The passed ones are the oldest, in the order in which they were passed.
static void link_cold(struct log_cache *c, struct log_block *b) {
    struct log_block *older = NULL, *newer = c->oldest;
    while (newer != NULL && newer->cold) {
        older = newer;
        newer = newer->newer;
    }
    b->older = older;
    b->newer = newer;
    if (older != NULL) older->newer = b;
    else c->oldest = b;
    if (newer != NULL) newer->older = b;
    else c->newest = b;
    b->cold = true;
    c->n_cold++;
}

static void touch(struct log_cache *c, struct log_block *b) {
    b->tick = c->tick;
    if (c->newest == b && !b->cold) return;
    unlink_block(c, b);
    link_newest(c, b);
}

// ---- lists ----------------------------------------------------------------------------------------------------------

// The first block that ends behind `at`.
static size_t lower(const struct block_list *l, uint64_t at) {
    size_t low = 0, high = l->v.n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (l->v.p[mid]->to <= at) low = mid + 1;
        else high = mid;
    }
    return low;
}

static struct log_block *block_at(const struct block_list *l, uint64_t at) {
    size_t i = lower(l, at);
    return i < l->v.n && l->v.p[i]->from <= at ? l->v.p[i] : NULL;
}

static void free_block(struct log_cache *c, struct log_block *b) {
    give_memory(c, b);
    mem_free(b);
}

// Out of its list and out of the order; freed unless somebody has it.
static void detach(struct log_cache *c, struct log_block *b) {
    struct block_list *l = b->list;
    for (size_t i = l->v.n; i > 0; i--) {
        if (l->v.p[i - 1] != b) continue;
        vec_remove(&l->v, i - 1);
        break;
    }
    unlink_block(c, b);
    b->list = NULL;
    if (b->refs == 0) free_block(c, b);
}

static bool may_go(const struct log_block *b) { return b->refs == 0 && !b->loading && b->to <= b->list->on_disk; }

static bool evict_oldest(struct log_cache *c) {
    for (struct log_block *b = c->oldest; b != NULL; b = b->newer) {
        if (!may_go(b)) continue;
        detach(c, b);
        return true;
    }
    return false;
}

static void drop_cold(struct log_cache *c) { // all but the last few that were passed
    for (struct log_block *b = c->oldest, *next; b != NULL && b->cold && c->n_cold >= COLD_MAX; b = next) {
        next = b->newer;
        if (may_go(b)) detach(c, b);
    }
}

static struct log_block *new_block(struct log_cache *c, size_t cap) {
    struct log_block *b = MEM_NEW(struct log_block);
    b->cache = c;
    b->cap = cap;
    if (cap == BLOCK_SMALL && c->split.n > 0) {
        b->unit = *vec_last(&c->split);
    } else {
        drop_cold(c);
        while (c->free.n == 0 && c->taken >= c->max_units && evict_oldest(c)) {
        }
        b->unit = take_unit(c);
        if (cap == BLOCK_SMALL) {
            b->unit->split = true;
            b->unit->slots = 0;
            vec_add(&c->split, b->unit);
        }
    }
    b->mem = b->unit->mem;
    if (cap == BLOCK_SMALL) {
        int slot = __builtin_ctzll(~b->unit->slots);
        b->unit->slots |= (uint64_t)1 << slot;
        b->mem += (size_t)slot * BLOCK_SMALL;
        if (b->unit->slots == UINT64_MAX) drop_unit(c->split.p, &c->split.n, b->unit);
    }
    return b;
}

static void insert(struct log_cache *c, struct block_list *l, size_t i, struct log_block *b) {
    (void)vec_push(&l->v);
    memmove(&l->v.p[i + 1], &l->v.p[i], (l->v.n - 1 - i) * sizeof *l->v.p);
    l->v.p[i] = b;
    b->list = l;
    l->cache = c;
    b->tick = c->tick;
    link_newest(c, b);
}

void block_list_fini(struct block_list *l) {
    struct log_cache *c = l->cache;
    if (c == NULL) return;
    sys_mutex_lock(&c->mutex);
    while (l->v.n > 0) {
        assert(!(*vec_last(&l->v))->loading); // whoever loads holds the segment
        detach(c, *vec_last(&l->v));
    }
    vec_fini(&l->v);
    sys_mutex_unlock(&c->mutex);
}

// ---- looking --------------------------------------------------------------------------------------------------------

enum block_state cache_find(struct log_cache *c, struct block_list *l, uint64_t at, bool wait, bool quiet, struct block_look *out) {
    enum block_state state = BLOCK_FOUND;
    sys_mutex_lock(&c->mutex);
    struct log_block *b = block_at(l, at);
    while (wait && b != NULL && b->loading) {
        sys_cond_wait(&c->loaded, &c->mutex);
        b = block_at(l, at);
    }
    if (b == NULL) {
        state = BLOCK_ABSENT;
    } else if (b->loading) {
        state = BLOCK_LOADING;
    } else {
        b->refs++;
        if (!quiet) touch(c, b);
        *out = (struct block_look){b, b->mem + (b->from - b->base), b->from, b->to, b->good_from, b->good_to, b->cap};
    }
    sys_mutex_unlock(&c->mutex);
    return state;
}

uint64_t cache_hole(struct log_cache *c, struct block_list *l, uint64_t from, uint64_t to) {
    sys_mutex_lock(&c->mutex);
    for (struct log_block *b; from < to && (b = block_at(l, from)) != NULL; from = b->to) {
    }
    sys_mutex_unlock(&c->mutex);
    return from < to ? from : to;
}

static void unref(struct log_cache *c, struct log_block *b) {
    assert(b->refs > 0);
    if (--b->refs == 0 && b->list == NULL) free_block(c, b);
}

void cache_unref(struct log_cache *c, struct log_block *b) {
    sys_mutex_lock(&c->mutex);
    unref(c, b);
    sys_mutex_unlock(&c->mutex);
}

void log_view_release(struct log_view *v) {
    struct log_cache *locked = NULL; // all pieces are of one cache
    for (size_t i = 0; i < v->pieces.n; i++) {
        struct log_block *b = v->pieces.p[i].block;
        if (b == NULL) continue;
        if (locked == NULL) sys_mutex_lock(&(locked = b->cache)->mutex);
        unref(locked, b);
    }
    if (locked != NULL) sys_mutex_unlock(&locked->mutex);
    vec_fini(&v->pieces);
    *v = (struct log_view){0};
}

static void note_good(struct log_block *b, uint64_t from, uint64_t to) {
    if (from < b->from) from = b->from;
    if (to > b->to) to = b->to;
    if (from >= to) return;
    bool joins = b->good_from < b->good_to && from <= b->good_to && to >= b->good_from;
    if (!joins) {
        b->good_from = from;
        b->good_to = to;
        return;
    }
    if (from < b->good_from) b->good_from = from;
    if (to > b->good_to) b->good_to = to;
}

void cache_good(struct log_cache *c, struct block_list *l, uint64_t from, uint64_t to) {
    sys_mutex_lock(&c->mutex);
    for (size_t i = lower(l, from); i < l->v.n && l->v.p[i]->from < to; i++)
        if (!l->v.p[i]->loading) note_good(l->v.p[i], from, to);
    sys_mutex_unlock(&c->mutex);
}

void cache_passed(struct log_cache *c, struct block_list *l, uint64_t from, uint64_t to) {
    sys_mutex_lock(&c->mutex);
    for (size_t i = lower(l, from); i < l->v.n && l->v.p[i]->to <= to; i++) {
        struct log_block *b = l->v.p[i];
        if (!b->loaded || b->loading || b->cold) continue;
        unlink_block(c, b);
        link_cold(c, b);
    }
    sys_mutex_unlock(&c->mutex);
}

// ---- loading --------------------------------------------------------------------------------------------------------

bool cache_load_begin(struct log_cache *c, struct block_list *l, uint64_t at, uint64_t limit, struct block_load *out) {
    assert(at < limit);
    sys_mutex_lock(&c->mutex);
    bool absent = block_at(l, at) == NULL;
    if (absent) {
        uint64_t base = at / SYS_BLOCK * SYS_BLOCK, to = base + BLOCK_BIG;
        size_t i = lower(l, at);
        if (i < l->v.n && l->v.p[i]->from < to) to = l->v.p[i]->from;
        if (limit < to) to = limit;
        struct log_block *b = new_block(c, to - base <= BLOCK_SMALL ? BLOCK_SMALL : BLOCK_BIG);
        i = lower(l, at); // making room may have taken blocks of this list
        b->base = b->from = base;
        if (i > 0 && l->v.p[i - 1]->to > base) b->from = l->v.p[i - 1]->to;
        b->to = to;
        b->loading = b->loaded = b->head = true;
        insert(c, l, i, b);
        *out = (struct block_load){b, b->mem, base, to};
    }
    sys_mutex_unlock(&c->mutex);
    return absent;
}

void cache_load_end(struct log_cache *c, struct block_load *load, bool ok) {
    sys_mutex_lock(&c->mutex);
    load->block->loading = false;
    if (!ok) detach(c, load->block);
    sys_cond_broadcast(&c->loaded);
    sys_mutex_unlock(&c->mutex);
}

// ---- appending and writing ------------------------------------------------------------------------------------------

// A stream that is written keeps its last TAIL_MAX blocks for readers that follow it. More would cost more than they save: memory that is used
// for the first time is dearer than a read from the disk, and what is warm in the processor's cache is cheaper than both.
static void recycle_tail(struct log_cache *c, struct block_list *l) {
    size_t clean = 0;
    while (clean < l->v.n && l->v.p[clean]->to <= l->on_disk) clean++;
    for (size_t i = 0; clean > TAIL_MAX && i < clean;) {
        if (!may_go(l->v.p[i]) || l->v.p[i]->loaded) {
            i++;
            continue;
        }
        detach(c, l->v.p[i]);
        clean--;
    }
}

// The block that byte `at`, the file's end, is to go into, with a reference.
static struct log_block *tail_block(struct log_cache *c, struct block_list *l, uint64_t at, size_t n) {
    sys_mutex_lock(&c->mutex);
    struct log_block *b = l->v.n > 0 ? *vec_last(&l->v) : NULL;
    if (b == NULL || b->loading || b->to != at || b->base + b->cap <= at) {
        bool filled = b != NULL && b->cap == BLOCK_SMALL && b->base + b->cap == at;
        l->small_run = filled ? l->small_run + 1 : 0;
        bool big = n >= BLOCK_SMALL || (l->small_run >= 4 && c->taken < c->max_units / 2);
        if (big) l->small_run = 4;
        if (big) recycle_tail(c, l);
        b = new_block(c, big ? BLOCK_BIG : BLOCK_SMALL);
        b->base = at / SYS_BLOCK * SYS_BLOCK;
        b->from = b->to = at;
        b->head = b->base == at;
        insert(c, l, l->v.n, b);
    }
    b->refs++;
    sys_mutex_unlock(&c->mutex);
    return b;
}

void cache_append(struct log_cache *c, struct block_list *l, uint64_t at, const uint8_t *p, size_t n) {
    while (n > 0) {
        struct log_block *b = tail_block(c, l, at, n);
        size_t room = (size_t)(b->base + b->cap - at), part = room < n ? room : n;
        memcpy(b->mem + (at - b->base), p, part);
        sys_mutex_lock(&c->mutex);
        b->to = at + part;
        note_good(b, at, at + part);
        touch(c, b);
        unref(c, b);
        sys_mutex_unlock(&c->mutex);
        at += part;
        p += part;
        n -= part;
    }
}

bool cache_dirty(struct log_cache *c, struct block_list *l, uint64_t at, struct block_dirty *out) {
    sys_mutex_lock(&c->mutex);
    struct log_block *b = block_at(l, at);
    if (b != NULL) *out = (struct block_dirty){b->mem, b->base, b->from, b->to, &b->head};
    sys_mutex_unlock(&c->mutex);
    return b != NULL;
}

void cache_on_disk(struct log_cache *c, struct block_list *l, uint64_t to) {
    sys_mutex_lock(&c->mutex);
    l->on_disk = to;
    sys_mutex_unlock(&c->mutex);
}

// ---- the clock ------------------------------------------------------------------------------------------------------

void log_cache_tick(struct log_cache *c) {
    sys_mutex_lock(&c->mutex);
    c->tick++;
    for (struct log_block *b = c->oldest, *next; b != NULL; b = next) {
        next = b->newer;
        if (c->tick - b->tick < IDLE_TICKS) {
            if (!b->cold) break; // all newer ones are younger
            continue;
        }
        if (may_go(b)) detach(c, b);
    }
    give_back(c);
    sys_mutex_unlock(&c->mutex);
}
