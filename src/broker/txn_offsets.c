// SPDX-License-Identifier: Apache-2.0
// TxnOffsetCommit: see txn_offsets.h. The transaction coordinator is asked first (or adds the offsets topic to the transaction, with V2), then
// the group, then the batch is written. From its submission on the offsets count as unstable, so that no consumer who asks for stable
// ones reads the old ones while the new ones are decided.
#include "broker/txn_offsets.h"

#include "base/log.h"
#include "broker/group_records.h"
#include "broker/txn.h"

struct pending_offset {
    char *group;
    struct committed offset; // its strings are ours
    int64_t write;
};

struct pending_txn {
    int64_t producer_id;
    VEC(struct pending_offset) offsets; // in the order of their coming
};

static struct str key_of(const int64_t *id) { return str_n(id, sizeof *id); }

static void offset_fini(struct pending_offset *o) {
    mem_free(o->group);
    mem_free(o->offset.topic);
    mem_free(o->offset.metadata);
}

static void pending_free(struct pending_txn *t) {
    for (size_t i = 0; i < t->offsets.n; i++) offset_fini(&t->offsets.p[i]);
    vec_fini(&t->offsets);
    mem_free(t);
}

void txn_offsets_put(struct coordinator *c, int64_t producer_id, const char *group, const struct committed *o, int64_t write) {
    struct pending_txn *t = map_get(&c->txn_pending, key_of(&producer_id));
    if (t == NULL) {
        t = MEM_NEW(struct pending_txn);
        t->producer_id = producer_id;
        map_put(&c->txn_pending, key_of(&producer_id), t);
    }
    struct pending_offset p = {.group = mem_strdup(group), .offset = *o, .write = write};
    p.offset.order = write;
    p.offset.topic = mem_strdup(o->topic);
    p.offset.metadata = mem_strndup(o->metadata, o->metadata_n);
    vec_add(&t->offsets, p);
}

static void drop_if_empty(struct coordinator *c, struct pending_txn *t) {
    if (t->offsets.n > 0) return;
    map_remove(&c->txn_pending, key_of(&t->producer_id));
    pending_free(t);
}

void txn_offsets_take_back(struct coordinator *c, int64_t producer_id, int64_t write) {
    struct pending_txn *t = map_get(&c->txn_pending, key_of(&producer_id));
    if (t == NULL) return;
    for (size_t i = t->offsets.n; i > 0; i--) {
        if (t->offsets.p[i - 1].write != write) continue;
        offset_fini(&t->offsets.p[i - 1]);
        vec_remove(&t->offsets, i - 1);
    }
    drop_if_empty(c, t);
}

void offsets_txn_ended(struct coordinator *c, int64_t producer_id, bool commit) {
    struct pending_txn *t = map_remove(&c->txn_pending, key_of(&producer_id));
    if (t == NULL) return;
    for (size_t i = 0; i < t->offsets.n && commit; i++) {
        const struct pending_offset *p = &t->offsets.p[i];
        struct group *g = classic_head(c, p->group);
        if (g != NULL) offsets_set(g, &p->offset);
        else log_error("broker", "too many groups: offsets of a transaction are not in memory", "group", p->group, NULL);
    }
    pending_free(t);
}

static bool is_of(const struct pending_offset *p, const char *group, const char *topic, int32_t partition) {
    if (strcmp(p->group, group) != 0) return false;
    return topic == NULL || (p->offset.partition == partition && strcmp(p->offset.topic, topic) == 0);
}

bool txn_offsets_pending(const struct coordinator *c, const char *group, const char *topic, int32_t partition) {
    struct map_entry *e;
    for (size_t it = 0; c->txn_pending.n > 0 && (e = map_next(&c->txn_pending, &it)) != NULL;) {
        const struct pending_txn *t = e->value;
        for (size_t i = 0; i < t->offsets.n; i++)
            if (is_of(&t->offsets.p[i], group, topic, partition)) return true;
    }
    return false;
}

void txn_offsets_forget(struct coordinator *c, const char *group, const char *topic, int32_t partition, int64_t order) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->txn_pending, &it)) != NULL;) {
        struct pending_txn *t = e->value;
        for (size_t i = t->offsets.n; i > 0; i--) {
            if (t->offsets.p[i - 1].write > order || !is_of(&t->offsets.p[i - 1], group, topic, partition)) continue;
            offset_fini(&t->offsets.p[i - 1]);
            vec_remove(&t->offsets, i - 1);
        }
        drop_if_empty(c, t);
    }
}

void txn_offsets_put_tombstones(const struct coordinator *c, const char *group, struct group_records *r) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->txn_pending, &it)) != NULL;) {
        const struct pending_txn *t = e->value;
        for (size_t i = 0; i < t->offsets.n; i++) {
            const struct pending_offset *p = &t->offsets.p[i];
            if (strcmp(p->group, group) == 0) offsets_put_tombstone(r, group, p->offset.topic, p->offset.partition);
        }
    }
}

void txn_offsets_forget_topics(struct coordinator *c, const char *topic, struct group_records *r) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->txn_pending, &it)) != NULL;) {
        struct pending_txn *t = e->value;
        for (size_t i = t->offsets.n; i > 0; i--) {
            struct pending_offset *p = &t->offsets.p[i - 1];
            if (topic != NULL ? strcmp(p->offset.topic, topic) != 0 : !offsets_topic_is_gone(c->broker, &p->offset)) continue;
            offsets_put_tombstone(r, p->group, p->offset.topic, p->offset.partition);
            offset_fini(p);
            vec_remove(&t->offsets, i - 1);
        }
        drop_if_empty(c, t);
    }
}

void txn_offsets_free(struct coordinator *c) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->txn_pending, &it)) != NULL;) pending_free(e->value);
    map_fini(&c->txn_pending);
}

// ---- TxnOffsetCommit ------------------------------------------------------------------------------------------------

struct committing {
    struct group_commit *x;
    struct txn_add add;
    struct txn_partition what;
    int64_t write;
};

static void finish(struct committing *m, int error) {
    struct group_commit *x = m->x;
    for (size_t i = 0; i < x->n_offsets && error != 0; i++)
        if (x->offsets[i].error == 0) x->offsets[i].error = error;
    mem_free(m);
    coordinator_answer(&x->call, error, "");
}

static void written(void *arg, int error) {
    struct committing *m = arg;
    struct coordinator *c = coordinator_of(&m->x->call);
    struct group *g = error == 0 ? group_find(c, m->x->group_id) : NULL;
    if (g != NULL) g->unwritten = false;
    if (error != 0) {
        txn_offsets_take_back(c, m->x->producer_id, m->write);
        offsets_group_unmake(c, m->x->group_id);
    }
    finish(m, error);
}

static void put_pending(struct coordinator *c, const struct group_commit *x, int64_t write) {
    for (size_t i = 0; i < x->n_offsets; i++) {
        const struct group_offset *o = &x->offsets[i];
        if (o->error != 0) continue;
        struct committed k;
        offsets_of_commit(o, coordinator_now_ms(c), &k);
        txn_offsets_put(c, x->producer_id, x->group_id, &k, write);
    }
}

static void write_offsets(struct coordinator *c, struct committing *m) {
    struct group_commit *x = m->x;
    int error = x->group_id[0] == '\0' ? KAFKA_INVALID_GROUP_ID : c->stopping ? KAFKA_COORDINATOR_NOT_AVAILABLE : offsets_check_commit(c, x);
    struct group_records *r = group_records_new(c);
    r->batch.producer_id = x->producer_id;
    r->batch.producer_epoch = x->producer_epoch;
    r->batch.attributes |= BATCH_ATTR_TRANSACTION;
    r->in_txn = true;
    offsets_put_commit(c, r, x, error);
    if (error != 0 || group_records_empty(r)) {
        group_records_free(r);
        finish(m, error);
        return;
    }
    (void)offsets_group(c, x->group_id); // a group from now on, whatever becomes of the transaction
    group_records_submit(r, NULL, written, m); // not with the group's own records: those are no part of the transaction
    m->write = c->submitted;
    put_pending(c, x, m->write);
}

// The transaction coordinator's word, as the group coordinator passes it on.
static void verified(struct group_call *call) {
    struct committing *m = call->arg;
    int error = call->error != 0 ? call->error : m->what.error;
    if (error == KAFKA_TRANSACTION_ABORTABLE && !m->x->knows_abortable) error = KAFKA_INVALID_TXN_STATE;
    if (error == KAFKA_PRODUCER_FENCED) error = KAFKA_INVALID_PRODUCER_EPOCH;
    if (error == KAFKA_CONCURRENT_TRANSACTIONS && !m->x->txn_adds) error = KAFKA_COORDINATOR_LOAD_IN_PROGRESS; // one that old clients retry
    if (error != 0) finish(m, error);
    else write_offsets(coordinator_of(&m->x->call), m);
}

void txn_offsets_commit(struct broker *b, struct group_commit *x) {
    struct committing *m = MEM_NEW(struct committing);
    for (size_t i = 0; i < x->n_offsets; i++) x->offsets[i].error = 0;
    x->call.self_[0] = b->coordinator;
    *m = (struct committing){.x = x, .what = {.topic = OFFSETS_TOPIC}};
    m->add = (struct txn_add){.call.call = {.done = verified, .back = b->coordinator->loop, .arg = m}, .transactional_id = x->transactional_id,
                              .producer_id = x->producer_id, .producer_epoch = x->producer_epoch, .partitions = &m->what, .n_partitions = 1,
                              .verify = !x->txn_adds, .v2 = x->txn_adds};
    txn_add(b, &m->add);
}
