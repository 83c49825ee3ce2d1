// SPDX-License-Identifier: Apache-2.0
// The assignors uniform and range. Memory: scratch arrays for one call. Cost: partitions plus members, and for uniform with differing
// subscriptions the moves times the subscribers of a topic.
#include "broker/consumer_assignor.h"

#include <assert.h>
#include <stdlib.h>

struct work {
    const struct assign_topic *topics;
    struct assign_member *members;
    size_t n_topics, n_members;
    int32_t **owners; // [topic][partition] = member, -1 = nobody
    size_t *load;     // partitions of each member
    uint32_t **subscribers; // [topic] = members, ascending
    size_t *n_subscribers;
    size_t total; // partitions that somebody subscribes
    bool same;    // all members subscribe the same topics
};

static bool same_topics(const struct assign_member *a, const struct assign_member *b) {
    return a->n_topics == b->n_topics && (a->n_topics == 0 || memcmp(a->topics, b->topics, a->n_topics * sizeof *a->topics) == 0);
}

static void work_init(struct work *w, const struct assign_topic *topics, size_t n_topics, struct assign_member *members, size_t n_members) {
    *w = (struct work){.topics = topics, .members = members, .n_topics = n_topics, .n_members = n_members, .same = true};
    w->owners = mem_zalloc((n_topics + 1) * sizeof *w->owners);
    w->subscribers = mem_zalloc((n_topics + 1) * sizeof *w->subscribers);
    w->n_subscribers = mem_zalloc((n_topics + 1) * sizeof *w->n_subscribers);
    w->load = mem_zalloc((n_members + 1) * sizeof *w->load);
    for (size_t m = 0; m < n_members; m++) {
        w->same = w->same && same_topics(&members[0], &members[m]);
        for (size_t i = 0; i < members[m].n_topics; i++) w->n_subscribers[members[m].topics[i]]++;
    }
    for (size_t t = 0; t < n_topics; t++) {
        if (w->n_subscribers[t] == 0) continue;
        w->total += (size_t)topics[t].partitions;
        w->owners[t] = mem_alloc(((size_t)topics[t].partitions + 1) * sizeof **w->owners);
        for (int32_t p = 0; p < topics[t].partitions; p++) w->owners[t][p] = -1;
        w->subscribers[t] = mem_alloc(w->n_subscribers[t] * sizeof **w->subscribers);
        w->n_subscribers[t] = 0;
    }
    for (size_t m = 0; m < n_members; m++)
        for (size_t i = 0; i < members[m].n_topics; i++) {
            size_t t = members[m].topics[i];
            w->subscribers[t][w->n_subscribers[t]++] = (uint32_t)m;
        }
}

// Writes the members' sets from the owners, and frees.
static void work_end(struct work *w) {
    for (size_t t = 0; t < w->n_topics; t++) {
        for (int32_t p = 0; w->owners[t] != NULL && p < w->topics[t].partitions; p++)
            if (w->owners[t][p] >= 0) partition_set_add(&w->members[w->owners[t][p]].out, w->topics[t].id, p);
        mem_free(w->owners[t]);
        mem_free(w->subscribers[t]);
    }
    mem_free(w->owners);
    mem_free(w->subscribers);
    mem_free(w->n_subscribers);
    mem_free(w->load);
}

static void give(struct work *w, size_t t, int32_t p, size_t m) {
    int32_t *owner = &w->owners[t][p];
    if (*owner >= 0) w->load[*owner]--;
    *owner = (int32_t)m;
    w->load[m]++;
}

static int by_id(const void *id, const void *topic) { return memcmp(id, ((const struct assign_topic *)topic)->id, 16); }

// What the members had stays theirs, as far as they may still have it, up to `quota` each, and one more for `extras` of them.
static void keep_current(struct work *w, size_t quota, size_t extras) {
    for (size_t m = 0; m < w->n_members; m++) {
        const struct assign_member *x = &w->members[m];
        size_t i = 0, at = 0;
        bool extra = false;
        for (size_t end; x->current != NULL && i < x->current->n; i = end) {
            end = partition_set_run(x->current, i);
            const struct assign_topic *topic = bsearch(x->current->p[i].topic, w->topics, w->n_topics, sizeof *w->topics, by_id);
            if (topic == NULL) continue;
            size_t t = (size_t)(topic - w->topics);
            while (at < x->n_topics && x->topics[at] < t) at++;
            if (at == x->n_topics || x->topics[at] != t) continue;
            for (size_t k = i; k < end; k++) {
                int32_t p = x->current->p[k].partition;
                if (p < 0 || p >= topic->partitions || w->owners[t][p] >= 0) continue;
                if (w->load[m] >= quota && (extra || extras == 0)) continue;
                if (w->load[m] >= quota) {
                    extra = true;
                    extras--;
                }
                give(w, t, p, m);
            }
        }
    }
}

// All members subscribe the same: each gets total / members, and the first of them one more until nothing is left.
static void spread_same(struct work *w) {
    size_t quota = w->total / w->n_members, extras = w->total % w->n_members, m = 0, with_extra = 0;
    for (size_t i = 0; i < w->n_members; i++) with_extra += w->load[i] > quota;
    bool extra_round = false;
    for (size_t t = 0; t < w->n_topics; t++) {
        for (int32_t p = 0; w->owners[t] != NULL && p < w->topics[t].partitions; p++) {
            if (w->owners[t][p] >= 0) continue;
            for (size_t seen = 0;; m = (m + 1) % w->n_members, seen++) {
                if (seen == w->n_members) extra_round = true;
                assert(seen <= 2 * w->n_members);
                if (w->load[m] < quota || (extra_round && w->load[m] == quota && with_extra < extras)) break;
            }
            with_extra += w->load[m] == quota;
            give(w, t, p, m);
            m = (m + 1) % w->n_members;
        }
    }
}

static size_t least_loaded(const struct work *w, size_t t) {
    size_t best = w->subscribers[t][0];
    for (size_t i = 1; i < w->n_subscribers[t]; i++)
        if (w->load[w->subscribers[t][i]] < w->load[best]) best = w->subscribers[t][i];
    return best;
}

static size_t *topics_by_subscribers(const struct work *w) { // those with few subscribers leave the least choice: first
    size_t *order = mem_alloc((w->n_topics + 1) * sizeof *order), n = 0;
    for (size_t t = 0; t < w->n_topics; t++) {
        size_t at = n++;
        for (; at > 0 && w->n_subscribers[order[at - 1]] > w->n_subscribers[t]; at--) order[at] = order[at - 1];
        order[at] = t;
    }
    return order;
}

static void spread_different(struct work *w) {
    size_t *order = topics_by_subscribers(w);
    for (size_t i = 0; i < w->n_topics; i++) {
        size_t t = order[i];
        for (int32_t p = 0; w->owners[t] != NULL && p < w->topics[t].partitions; p++)
            if (w->owners[t][p] < 0) give(w, t, p, least_loaded(w, t));
    }
    for (bool moved = true; moved;) { // ends: each move makes the sum of the squares of the loads smaller
        moved = false;
        for (size_t i = 0; i < w->n_topics; i++) {
            size_t t = order[i];
            if (w->owners[t] == NULL) continue;
            size_t least = least_loaded(w, t);
            for (int32_t p = 0; p < w->topics[t].partitions; p++) {
                if (w->load[w->owners[t][p]] <= w->load[least] + 1) continue;
                give(w, t, p, least);
                least = least_loaded(w, t);
                moved = true;
            }
        }
    }
    mem_free(order);
}

void assign_uniform(const struct assign_topic *topics, size_t n_topics, struct assign_member *members, size_t n_members) {
    struct work w;
    if (n_members == 0) return;
    work_init(&w, topics, n_topics, members, n_members);
    if (w.same) {
        keep_current(&w, w.total / n_members, w.total % n_members);
        spread_same(&w);
    } else {
        keep_current(&w, SIZE_MAX, 0);
        spread_different(&w);
    }
    work_end(&w);
}

// ---- range ----------------------------------------------------------------------------------------------------------

static int by_name(const void *x, const void *y) { // static members first: their names outlive restarts
    const struct assign_member *a = *(struct assign_member *const *)x, *b = *(struct assign_member *const *)y;
    if (a->instance_id != NULL && b->instance_id != NULL) return strcmp(a->instance_id, b->instance_id);
    if (a->instance_id != NULL) return -1;
    if (b->instance_id != NULL) return 1;
    return strcmp(a->id, b->id);
}

struct range {
    int32_t quota, extras, next;
};

void assign_range(const struct assign_topic *topics, size_t n_topics, struct assign_member *members, size_t n_members) {
    struct assign_member **order = mem_alloc((n_members + 1) * sizeof *order);
    struct range *ranges = mem_zalloc((n_topics + 1) * sizeof *ranges);
    for (size_t m = 0; m < n_members; m++) {
        order[m] = &members[m];
        for (size_t i = 0; i < members[m].n_topics; i++) ranges[members[m].topics[i]].extras++; // the subscribers, for now
    }
    for (size_t t = 0; t < n_topics; t++) {
        int32_t subscribers = ranges[t].extras;
        if (subscribers == 0) continue;
        ranges[t] = (struct range){.quota = topics[t].partitions / subscribers, .extras = topics[t].partitions % subscribers};
    }
    qsort(order, n_members, sizeof *order, by_name);
    for (size_t m = 0; m < n_members; m++) {
        for (size_t i = 0; i < order[m]->n_topics; i++) {
            size_t t = order[m]->topics[i];
            int32_t end = ranges[t].next + ranges[t].quota + (ranges[t].extras > 0);
            if (ranges[t].extras > 0) ranges[t].extras--;
            for (; ranges[t].next < end; ranges[t].next++) partition_set_add(&order[m]->out, topics[t].id, ranges[t].next);
        }
    }
    mem_free(order);
    mem_free(ranges);
}

assignor_fn *assignor_named(const char *name) {
    if (strcmp(name, "uniform") == 0) return assign_uniform;
    if (strcmp(name, "range") == 0) return assign_range;
    return NULL;
}
