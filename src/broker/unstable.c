// SPDX-License-Identifier: Apache-2.0
// The last stable offset: see unstable.h. Entries are ordered by first offset; one that ended in the middle waits for those in front.
#include "broker/unstable.h"

#include <assert.h>

void unstable_init(struct unstable *u) { sys_mutex_init(&u->mutex); }

void unstable_fini(struct unstable *u) {
    vec_fini(&u->txns);
    sys_mutex_fini(&u->mutex);
}

static void count(struct unstable *u) { atomic_store(&u->n, u->txns.n - u->head); }

// Under the mutex; NULL = none.
static struct unstable_txn *find(struct unstable *u, int64_t first) {
    size_t low = u->head, high = u->txns.n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (u->txns.p[mid].first < first) low = mid + 1;
        else high = mid;
    }
    return low < u->txns.n && u->txns.p[low].first == first ? &u->txns.p[low] : NULL;
}

void unstable_begin(struct unstable *u, int64_t first) {
    sys_mutex_lock(&u->mutex);
    assert(u->txns.n == u->head || vec_last(&u->txns)->first < first);
    vec_add(&u->txns, ((struct unstable_txn){first, INT64_MAX}));
    count(u);
    sys_mutex_unlock(&u->mutex);
}

void unstable_end(struct unstable *u, int64_t first, int64_t marker) {
    sys_mutex_lock(&u->mutex);
    struct unstable_txn *t = find(u, first);
    if (t != NULL) t->marker = marker;
    sys_mutex_unlock(&u->mutex);
}

void unstable_cancel(struct unstable *u, int64_t first) {
    sys_mutex_lock(&u->mutex);
    if (u->txns.n > u->head && vec_last(&u->txns)->first == first) u->txns.n--;
    count(u);
    sys_mutex_unlock(&u->mutex);
}

int64_t unstable_limit(struct unstable *u, int64_t durable_end) {
    if (atomic_load(&u->n) == 0) return durable_end;
    sys_mutex_lock(&u->mutex);
    while (u->head < u->txns.n && u->txns.p[u->head].marker < durable_end) u->head++;
    if (u->head == u->txns.n) {
        u->head = u->txns.n = 0;
    } else if (u->head > 64 && u->head > u->txns.n / 2) {
        memmove(u->txns.p, u->txns.p + u->head, (u->txns.n - u->head) * sizeof *u->txns.p);
        u->txns.n -= u->head;
        u->head = 0;
    }
    count(u);
    int64_t first = u->txns.n > u->head ? u->txns.p[u->head].first : INT64_MAX;
    sys_mutex_unlock(&u->mutex);
    return first < durable_end ? first : durable_end;
}

int64_t unstable_first_open(struct unstable *u, int64_t except) {
    int64_t first = INT64_MAX;
    sys_mutex_lock(&u->mutex);
    for (size_t i = u->head; i < u->txns.n && first == INT64_MAX; i++)
        if (u->txns.p[i].marker == INT64_MAX && u->txns.p[i].first != except) first = u->txns.p[i].first;
    sys_mutex_unlock(&u->mutex);
    return first;
}
