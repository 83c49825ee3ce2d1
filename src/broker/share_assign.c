// SPDX-License-Identifier: Apache-2.0
// Who reads which partitions of a share group, as Kafka's "simple" assignor: see share_assign in share_group.h. When all members subscribe to
// the same topics, all partitions are dealt out together; else each topic by itself among its subscribers.
#include <stdlib.h>

#include "broker/share_group.h"

// ---- sets of partitions ---------------------------------------------------------------------------------------------

static size_t topic_at(const share_topics *t, const uint8_t id[16]) {
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (memcmp(t->p[mid].id, id, 16) < 0) low = mid + 1;
        else high = mid;
    }
    return low;
}

struct share_topic *share_topics_find(const share_topics *t, const uint8_t id[16]) {
    size_t i = topic_at(t, id);
    return i < t->n && memcmp(t->p[i].id, id, 16) == 0 ? &t->p[i] : NULL;
}

struct share_topic *share_topics_make(share_topics *t, const uint8_t id[16], const char *name) {
    size_t i = topic_at(t, id);
    if (i < t->n && memcmp(t->p[i].id, id, 16) == 0) return &t->p[i];
    (void)vec_push(t);
    memmove(&t->p[i + 1], &t->p[i], (t->n - 1 - i) * sizeof *t->p);
    t->p[i] = (struct share_topic){.name = mem_strdup(name)};
    memcpy(t->p[i].id, id, 16);
    return &t->p[i];
}

static size_t partition_at(const struct share_topic *t, int32_t partition) {
    size_t low = 0, high = t->partitions.n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->partitions.p[mid] < partition) low = mid + 1;
        else high = mid;
    }
    return low;
}

bool share_topics_has(const share_topics *t, const uint8_t id[16], int32_t partition) {
    const struct share_topic *x = share_topics_find(t, id);
    if (x == NULL) return false;
    size_t i = partition_at(x, partition);
    return i < x->partitions.n && x->partitions.p[i] == partition;
}

void share_topics_add(share_topics *t, const uint8_t id[16], const char *name, int32_t partition) {
    struct share_topic *x = share_topics_make(t, id, name);
    size_t i = partition_at(x, partition);
    if (i < x->partitions.n && x->partitions.p[i] == partition) return;
    (void)vec_push(&x->partitions);
    memmove(&x->partitions.p[i + 1], &x->partitions.p[i], (x->partitions.n - 1 - i) * sizeof *x->partitions.p);
    x->partitions.p[i] = partition;
}

void share_topics_clear(share_topics *t) {
    for (size_t i = 0; i < t->n; i++) {
        mem_free(t->p[i].name);
        vec_fini(&t->p[i].partitions);
    }
    vec_fini(t);
}

void share_topics_copy(share_topics *to, const share_topics *from) {
    share_topics_clear(to);
    for (size_t i = 0; i < from->n; i++)
        for (size_t k = 0; k < from->p[i].partitions.n; k++) share_topics_add(to, from->p[i].id, from->p[i].name, from->p[i].partitions.p[k]);
}

bool share_topics_equal(const share_topics *a, const share_topics *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct share_topic *x = &a->p[i], *y = &b->p[i];
        if (memcmp(x->id, y->id, 16) != 0 || x->partitions.n != y->partitions.n) return false;
        if (x->partitions.n > 0 && memcmp(x->partitions.p, y->partitions.p, x->partitions.n * sizeof *x->partitions.p) != 0) return false;
    }
    return true;
}

// ---- dealing --------------------------------------------------------------------------------------------------------

struct deal_partition {
    const struct share_topic *topic;
    int32_t partition;
    size_t members;
};
struct deal_member {
    struct share_member *member;
    size_t partitions; // of this deal
};
struct deal {
    VEC(struct deal_partition) partitions; // sorted by topic and partition
    VEC(struct deal_member) members;
};

static int by_id(const void *a, const void *b) {
    return strcmp(((const struct deal_member *)a)->member->id, ((const struct deal_member *)b)->member->id);
}

bool share_member_subscribes(const struct share_member *m, const char *topic) {
    for (size_t i = 0; i < m->topics.n; i++)
        if (strcmp(m->topics.p[i], topic) == 0) return true;
    return false;
}

static void give(struct deal_partition *p, struct deal_member *m, share_topics *targets) {
    share_topics_add(targets, p->topic->id, p->topic->name, p->partition);
    p->members++;
    m->partitions++;
}

// At least as many partitions as members: one member each.
static void deal_partitions(struct deal *d) {
    size_t np = d->partitions.n, nm = d->members.n, base = np / nm, larger = np % nm;
    for (size_t i = 0; i < nm; i++) {
        struct deal_member *m = &d->members.p[i];
        for (size_t k = 0; k < np; k++) {
            struct deal_partition *p = &d->partitions.p[k];
            bool extra = m->partitions == base && larger > 0;
            if (m->partitions >= base && !extra) break;
            if (p->members > 0 || !share_topics_has(&m->member->assigned, p->topic->id, p->partition)) continue;
            if (extra) larger--;
            give(p, m, &m->member->target);
        }
    }
    size_t at = 0;
    for (size_t k = 0; k < np; k++) {
        struct deal_partition *p = &d->partitions.p[k];
        if (p->members > 0) continue;
        while (at < nm && d->members.p[at].partitions >= base) at++;
        struct deal_member *m = at < nm ? &d->members.p[at] : NULL;
        for (size_t i = 0; m == NULL && i < nm; i++) // all have the base: those without one more
            if (d->members.p[i].partitions == base) m = &d->members.p[i];
        give(p, m == NULL ? &d->members.p[0] : m, m == NULL ? &d->members.p[0].member->target : &m->member->target);
    }
}

// More members than partitions: each has one of them.
static void deal_members(struct deal *d) {
    size_t np = d->partitions.n, nm = d->members.n, base = nm / np, larger = nm % np;
    for (size_t i = 0; i < nm; i++) {
        struct deal_member *m = &d->members.p[i];
        for (size_t k = 0; k < np && m->partitions == 0; k++) {
            struct deal_partition *p = &d->partitions.p[k];
            bool extra = p->members == base && larger > 0;
            if ((p->members >= base && !extra) || !share_topics_has(&m->member->assigned, p->topic->id, p->partition)) continue;
            if (extra) larger--;
            give(p, m, &m->member->target);
        }
    }
    for (size_t i = 0; i < nm; i++) {
        struct deal_member *m = &d->members.p[i];
        if (m->partitions > 0) continue;
        struct deal_partition *least = &d->partitions.p[0];
        for (size_t k = 1; k < np; k++)
            if (d->partitions.p[k].members < least->members) least = &d->partitions.p[k];
        give(least, m, &m->member->target);
    }
}

static void deal_out(struct deal *d) {
    if (d->partitions.n > 0 && d->members.n > 0) {
        qsort(d->members.p, d->members.n, sizeof *d->members.p, by_id);
        if (d->partitions.n >= d->members.n) deal_partitions(d);
        else deal_members(d);
    }
    vec_fini(&d->partitions);
    vec_fini(&d->members);
}

static bool all_subscribe_alike(const struct share_group *g) {
    struct map_entry *e;
    const struct share_member *first = NULL;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct share_member *m = e->value;
        if (first == NULL) first = m;
        if (m->topics.n != first->topics.n) return false;
        for (size_t i = 0; i < m->topics.n; i++)
            if (strcmp(m->topics.p[i], first->topics.p[i]) != 0) return false;
    }
    return true;
}

static void add_partitions(struct deal *d, const struct share_topic *t) {
    for (size_t i = 0; i < t->partitions.n; i++) vec_add(&d->partitions, ((struct deal_partition){.topic = t, .partition = t->partitions.p[i]}));
}

static void add_members(struct deal *d, const struct share_group *g, const char *topic) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;)
        if (topic == NULL || share_member_subscribes(e->value, topic)) vec_add(&d->members, ((struct deal_member){.member = e->value}));
}

void share_assign(struct share_group *g) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) share_topics_clear(&((struct share_member *)e->value)->target);
    if (g->members.n == 0) return;
    bool alike = all_subscribe_alike(g);
    size_t it = 0;
    const struct share_member *any = map_next(&g->members, &it)->value;
    struct deal all = {0};
    for (size_t i = 0; i < g->initialized.n; i++) {
        const struct share_topic *t = &g->initialized.p[i];
        if (alike) {
            if (share_member_subscribes(any, t->name)) add_partitions(&all, t);
            continue;
        }
        struct deal one = {0};
        add_partitions(&one, t);
        add_members(&one, g, t->name);
        deal_out(&one);
    }
    if (alike) add_members(&all, g, NULL);
    deal_out(&all);
}
