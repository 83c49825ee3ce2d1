// SPDX-License-Identifier: Apache-2.0
// The start offsets of a share group's partitions, for administrators: describe, alter, delete. Altering initializes the state anew with a
// higher state epoch; both altering and deleting want a group without members.
#include <stdlib.h>

#include "broker/share_group.h"

static void answer(struct share_offsets *o, int error, const char *message) { coordinator_answer(&o->call, error, message); }

static bool topic_of(const struct coordinator *c, struct share_offset *x, struct arena *a, int32_t *partitions) {
    struct broker_topic_info t;
    if (!broker_topic_get(c->broker, str_c(x->topic), a, &t)) return false;
    memcpy(x->topic_id, t.id, 16);
    *partitions = t.partitions;
    return true;
}

static struct share_key key_of(const struct share_offsets *o, const struct share_offset *x) {
    struct share_key key = {.group = o->group_id, .partition = x->partition};
    memcpy(key.topic_id, x->topic_id, 16);
    return key;
}

// ---- describe -------------------------------------------------------------------------------------------------------

static void describe_one(const struct coordinator *c, const struct share_offsets *o, struct share_offset *x) {
    struct broker_offsets offsets;
    struct err err = {0};
    int32_t partitions = 0;
    x->start = x->lag = -1;
    x->leader_epoch = 0;
    if (!topic_of(c, x, o->call.arena, &partitions) || x->partition < 0 || x->partition >= partitions) return; // no state, which is no error
    struct share_key key = key_of(o, x);
    const struct share_stored *e = share_store_find(c->share->store, &key);
    if (e == NULL) return;
    x->leader_epoch = e->leader_epoch;
    if (share_store_only_begun(e)) return; // nothing was acknowledged: as if it were still to be chosen, as in Kafka
    x->start = e->start;
    if (e->start == -1 || e->complete == -1) return;
    if (broker_offsets(c->broker, x->topic, x->partition, &offsets, &err) != ERR_OK) return;
    int64_t start = e->start > offsets.start ? e->start : offsets.start;
    x->lag = offsets.high_watermark - start - e->complete;
    if (x->lag < 0) x->lag = 0;
}

static int by_partition(const void *a, const void *b) {
    const struct share_offset *x = a, *y = b;
    int topic = strcmp(x->topic, y->topic);
    return topic != 0 ? topic : x->partition < y->partition ? -1 : x->partition > y->partition;
}

static void list_all(const struct share_group *g, struct share_offsets *o) {
    size_t n = 0;
    for (size_t i = 0; i < g->initialized.n; i++) n += g->initialized.p[i].partitions.n;
    o->offsets = ARENA_ARRAY(o->call.arena, struct share_offset, n + 1);
    for (size_t i = 0; i < g->initialized.n; i++)
        for (size_t k = 0; k < g->initialized.p[i].partitions.n; k++)
            o->offsets[o->n_offsets++] = (struct share_offset){.topic = arena_strdup(o->call.arena, g->initialized.p[i].name),
                                                               .partition = g->initialized.p[i].partitions.p[k]};
    qsort(o->offsets, o->n_offsets, sizeof *o->offsets, by_partition);
}

static void describe(struct coordinator *c, struct share_offsets *o) {
    const struct share_group *g = share_group_find(c, o->group_id);
    bool absent = o->group_id[0] != '\0' && group_find(c, o->group_id) == NULL; // it has no offsets, which is no error
    if (g == NULL && !absent) {
        struct group_call text = {0};
        int error = group_not_found(&text, o->group_id, group_find(c, o->group_id), &share_group_ops);
        answer(o, error, text.message);
        return;
    }
    if (o->all && g != NULL) list_all(g, o);
    for (size_t i = 0; i < o->n_offsets; i++) describe_one(c, o, &o->offsets[i]);
    answer(o, 0, "");
}

// ---- alter ----------------------------------------------------------------------------------------------------------

struct altering {
    struct share_write write;
    struct share_offsets *call;
    struct share_offset *offset;
};

static void altered_all(void *arg, int error) { answer(arg, error, ""); }

// The states are durable: now the group says that it has them.
static void alter_ended(struct share_offsets *o) {
    struct coordinator *c = coordinator_of(&o->call);
    struct share_group *g = share_group_find(c, o->group_id);
    if (g == NULL) {
        answer(o, KAFKA_GROUP_ID_NOT_FOUND, "");
        return;
    }
    struct group_records *r = group_records_new(c);
    for (size_t i = 0; i < o->n_offsets; i++)
        if (o->offsets[i].error == 0) share_topics_add(&g->initialized, o->offsets[i].topic_id, o->offsets[i].topic, o->offsets[i].partition);
    share_put_state(r, g);
    share_group_changed(g, r);
    group_records_submit(r, g->head, altered_all, o);
}

static void altered(struct share_write *w) {
    struct altering *x = w->arg;
    struct share_offsets *o = x->call;
    x->offset->error = w->error;
    x->offset->message = w->error == 0 ? NULL : w->message;
    mem_free(x);
    if (--o->left_ == 0) alter_ended(o);
}

static void alter(struct coordinator *c, struct share_offsets *o) {
    struct share_group *g = share_group_make(c, o->group_id); // also one that is not there yet
    if (g == NULL || g->members.n > 0) {
        struct group_call text = {0};
        const struct group *found = group_find(c, o->group_id);
        int error = g != NULL ? KAFKA_NON_EMPTY_GROUP : found == NULL ? KAFKA_COORDINATOR_NOT_AVAILABLE
                                                                     : group_not_found(&text, o->group_id, found, &share_group_ops);
        answer(o, error, text.message);
        return;
    }
    g->epoch++;
    o->left_ = 1;
    for (size_t i = 0; i < o->n_offsets; i++) {
        struct share_offset *offset = &o->offsets[i];
        int32_t partitions = 0;
        if (!topic_of(c, offset, o->call.arena, &partitions) || offset->partition < 0 || offset->partition >= partitions) {
            offset->error = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
            continue;
        }
        struct altering *x = MEM_NEW(struct altering);
        *x = (struct altering){.call = o, .offset = offset};
        x->write = (struct share_write){.kind = SHARE_WRITE_INITIALIZE, .key = key_of(o, offset), .state_epoch = g->epoch,
                                        .leader_epoch = BROKER_LEADER_EPOCH, .start = offset->start, .done = altered, .arg = x};
        const struct share_stored *e = share_store_find(c->share->store, &x->write.key);
        if (e != NULL && e->state_epoch >= x->write.state_epoch) x->write.state_epoch = e->state_epoch + 1;
        share_part_die(c->share, &x->write.key);
        o->left_++;
        share_store_write(c->share->store, &x->write);
    }
    if (--o->left_ == 0) alter_ended(o);
}

// ---- delete ---------------------------------------------------------------------------------------------------------

static void deleted_one(void *arg, int error, const char *message) {
    struct share_offsets *o = arg;
    if (error != 0) o->call.self_[1] = o; // some could not be deleted
    (void)message;
    if (--o->left_ > 0) return;
    struct coordinator *c = coordinator_of(&o->call);
    struct share_group *g = share_group_find(c, o->group_id);
    if (g == NULL || o->call.self_[1] != NULL) {
        answer(o, g == NULL ? KAFKA_GROUP_ID_NOT_FOUND : KAFKA_COORDINATOR_NOT_AVAILABLE, "");
        return;
    }
    struct group_records *r = group_records_new(c);
    share_put_state(r, g);
    group_records_submit(r, g->head, altered_all, o);
}

static void delete_topic(struct coordinator *c, struct share_group *g, struct share_offsets *o, struct share_offset *x) {
    int32_t partitions = 0;
    struct share_topic *t = topic_of(c, x, o->call.arena, &partitions) ? share_topics_find(&g->initialized, x->topic_id) : NULL;
    if (t == NULL) {
        x->error = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        if (partitions > 0) x->message = "There is no offset information to delete.";
        return;
    }
    for (size_t k = 0; k < t->partitions.n; k++) {
        struct share_key key = key_of(o, x);
        key.partition = t->partitions.p[k];
        o->left_++;
        share_state_forget(c->share, &key, deleted_one, o);
    }
    mem_free(t->name);
    vec_fini(&t->partitions);
    vec_remove(&g->initialized, (size_t)(t - g->initialized.p));
}

static void delete_offsets(struct coordinator *c, struct share_offsets *o) {
    struct share_group *g = share_group_find(c, o->group_id);
    if (g == NULL || g->members.n > 0) {
        struct group_call text = {0};
        int error = g != NULL ? KAFKA_NON_EMPTY_GROUP : group_not_found(&text, o->group_id, group_find(c, o->group_id), &share_group_ops);
        answer(o, error, text.message);
        return;
    }
    o->left_ = 1;
    o->call.self_[1] = NULL;
    for (size_t i = 0; i < o->n_offsets; i++) delete_topic(c, g, o, &o->offsets[i]);
    deleted_one(o, 0, NULL);
}

// ---- all ------------------------------------------------------------------------------------------------------------

static void offsets_on_loop(void *arg) {
    struct share_offsets *o = arg;
    struct coordinator *c = coordinator_of(&o->call);
    if (c->stopping || c->share == NULL || c->share->stopping) answer(o, KAFKA_COORDINATOR_NOT_AVAILABLE, "");
    else if (o->group_id[0] == '\0') answer(o, KAFKA_INVALID_GROUP_ID, "");
    else if (o->kind == SHARE_OFFSETS_DESCRIBE) describe(c, o);
    else if (o->kind == SHARE_OFFSETS_ALTER) alter(c, o);
    else delete_offsets(c, o);
}

void share_offsets(struct broker *b, struct share_offsets *o) { coordinator_submit(b, &o->call, offsets_on_loop); }
