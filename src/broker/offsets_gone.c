// SPDX-License-Identifier: Apache-2.0
// How committed offsets go: their topic is deleted, they are too old, their group is deleted.
//
// What is too old leaves memory when its tombstone is durable; after a failed write the next turn tries again. What belongs to a deleted topic
// leaves memory at once, so that a topic made again under its name begins without it; its tombstone may be lost (the disk is full): each record
// names its topic by id, and the start drops those of an id that is not there. All on the coordinator's loop.
#include <assert.h>
#include <string.h>

#include "broker/classic_group.h"
#include "broker/group_records.h"
#include "broker/txn_offsets.h"

enum { EMPTY_MS = 60000 }; // a group that says nothing is forgotten after this

// ---- deleted topics -------------------------------------------------------------------------------------------------

bool offsets_topic_is_gone(struct broker *b, const struct committed *o) {
    static const uint8_t unknown[16];
    uint8_t id[16];
    if (!topics_id(b, o->topic, 0, id)) return true;
    return memcmp(o->topic_id, unknown, sizeof unknown) != 0 && memcmp(o->topic_id, id, sizeof id) != 0;
}

static void drop_gone(struct group *g, const char *topic, struct group_records *r) { // tombstones go to `r`, if it is not NULL
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->offsets, &it)) != NULL;) {
        const struct committed *o = e->value;
        if (topic != NULL ? strcmp(o->topic, topic) != 0 : !offsets_topic_is_gone(g->coordinator->broker, o)) continue;
        if (r != NULL) offsets_put_tombstone(r, g->id, o->topic, o->partition);
        offsets_drop(g, o->topic, o->partition, INT64_MAX);
    }
}

void offsets_forget_topics(struct coordinator *c, const char *topic) {
    struct map_entry *e;
    struct group_records *r = group_records_new(c);
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) drop_gone(e->value, topic, r);
    txn_offsets_forget_topics(c, topic, r);
    if (c->stopping) group_records_free(r); // the next start finds them without their topic
    else group_records_submit(r, NULL, NULL, NULL);
}

struct forget {
    struct coordinator *coordinator;
    const char *topic;
    struct loop_event event;
};

static void forget_on_loop(void *arg) {
    struct forget *f = arg;
    offsets_forget_topics(f->coordinator, f->topic);
    loop_event_set(&f->event);
}

void coordinator_forget_topic(struct coordinator *c, const char *topic) {
    struct forget f = {.coordinator = c, .topic = topic};
    assert(loop_current() == NULL); // it would wait for itself
    loop_event_init(&f.event);
    loop_post(c->loop, forget_on_loop, &f);
    loop_event_wait(&f.event);
    loop_event_fini(&f.event);
}

// ---- a deleted group ------------------------------------------------------------------------------------------------

void offsets_forget_gone(struct group *g) { drop_gone(g, NULL, NULL); }

void offsets_put_back(struct coordinator *c, const char *group, const struct map *offsets) {
    struct map_entry *e;
    struct group *g = offsets->n == 0 ? NULL : classic_head(c, group);
    for (size_t it = 0; g != NULL && (e = map_next(offsets, &it)) != NULL;) offsets_set(g, e->value);
}

static bool is_over(const struct group *g) { // nothing is left of it, and nobody is there
    return g->offsets.n == 0 && !g->ops->has_members(g) && !txn_offsets_pending(g->coordinator, g->id, NULL, 0);
}

void offsets_group_unmake(struct coordinator *c, const char *id) {
    struct group *g = group_find(c, id);
    if (g == NULL || !g->unwritten || g->ops != &classic_group_ops || !is_over(g) || offsets_under_way(c, id, NULL, 0)) return;
    if (((const struct classic_group *)g->own)->generation == 0) group_free(g); // nobody has been in it
}

// A transaction whose marker was on its way when the group was deleted has put its offsets into memory since, and made the group for them.
void offsets_forget_group(struct coordinator *c, const char *group, int64_t order) {
    struct map_entry *e;
    txn_offsets_forget(c, group, NULL, 0, order);
    struct group *g = group_find(c, group);
    if (g == NULL) return;
    for (size_t it = 0; (e = map_next(&g->offsets, &it)) != NULL;) {
        const struct committed *o = e->value;
        offsets_drop(g, o->topic, o->partition, order);
    }
    if (g->ops == &classic_group_ops && is_over(g) && g->last_write <= order) group_free(g);
}

// ---- expiry ---------------------------------------------------------------------------------------------------------

struct old_offset {
    char *topic;
    int32_t partition;
};

struct expiry { // of one group, under way
    struct coordinator *coordinator;
    char *group;
    VEC(struct old_offset) offsets;
    bool whole; // the group's own tombstones are among them
    int64_t order;
};

static bool is_expired(const struct group *g, const struct committed *o, int64_t now) {
    if (g->ops->subscribes(g, o->topic)) return false;
    int64_t since = g->ops->ages_since(g, o->commit_ms);
    if (since < 0 || now - since <= g->coordinator->offsets_retention_ms) return false;
    return !txn_offsets_pending(g->coordinator, g->id, o->topic, o->partition); // the tombstone would take that one along
}

static void expiry_free(struct expiry *x) {
    for (size_t i = 0; i < x->offsets.n; i++) mem_free(x->offsets.p[i].topic);
    vec_fini(&x->offsets);
    mem_free(x->group);
    mem_free(x);
}

static void expired(void *arg, int error) {
    struct expiry *x = arg;
    struct group *g = error != 0 ? NULL : group_find(x->coordinator, x->group); // after a failed write all is as it was
    for (size_t i = 0; i < x->offsets.n && g != NULL; i++) offsets_drop(g, x->offsets.p[i].topic, x->offsets.p[i].partition, x->order);
    if (g != NULL && x->whole && is_over(g) && g->last_write <= x->order) {
        group_free(g);
    } else if (g != NULL && x->whole) { // somebody came meanwhile
        struct group_records *r = group_records_new(x->coordinator);
        g->ops->put_live(g, r);
        group_records_submit(r, g, NULL, NULL);
    }
    expiry_free(x);
}

static void expire_group(struct group *g, int64_t now) {
    struct coordinator *c = g->coordinator;
    struct map_entry *e;
    struct expiry *x = MEM_NEW(struct expiry);
    struct group_records *r = group_records_new(c);
    *x = (struct expiry){.coordinator = c, .group = mem_strdup(g->id)};
    for (size_t it = 0; (e = map_next(&g->offsets, &it)) != NULL;) {
        const struct committed *o = e->value;
        if (!is_expired(g, o, now)) continue;
        offsets_put_tombstone(r, g->id, o->topic, o->partition);
        vec_add(&x->offsets, ((struct old_offset){mem_strdup(o->topic), o->partition}));
    }
    x->whole = x->offsets.n == g->offsets.n && !g->ops->keeps_empty && !g->ops->has_members(g) && now - g->empty_since_ms > EMPTY_MS &&
               !txn_offsets_pending(c, g->id, NULL, 0);
    if (x->whole && g->ops->forget != NULL && g->ops->forget(g, NULL, NULL, NULL)) x->whole = false; // the next time
    if (x->whole) {
        g->ops->put_tombstones(g, r);
        g->failures = c->failures; // nothing of it is to be written once more
    }
    if (group_records_empty(r)) {
        group_records_free(r);
        expiry_free(x);
        return;
    }
    x->order = c->submitted + 1;
    group_records_submit(r, g, expired, x);
}

void offsets_expire(struct coordinator *c) {
    int64_t now = coordinator_now_ms(c);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL && !c->stopping;) {
        struct group *g = e->value;
        if (g->last_write <= c->durable) expire_group(g, now);
    }
}
