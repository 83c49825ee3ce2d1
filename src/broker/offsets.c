// SPDX-License-Identifier: Apache-2.0
// Committed offsets of groups of all types: records of version 1 (group, topic, partition) with value version 4 (offset, leader epoch, metadata,
// commit time, topic id). A commit is applied in memory and answered after its record is durable. All on the coordinator's loop, except loading.
// How they go: offsets_gone.c.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/group_records.h"
#include "broker/txn_offsets.h"

enum { TAG_TOPIC_ID = 0 };

// ---- in memory ------------------------------------------------------------------------------------------------------

static void committed_free(struct committed *o) {
    if (o == NULL) return;
    mem_free(o->topic);
    mem_free(o->metadata);
    mem_free(o);
}

static void set_offset(struct group *g, struct str topic, const struct committed *from);

static void put_key(struct buf *key, struct str topic, int32_t partition) {
    buf_clear(key);
    buf_put_str(key, topic);
    buf_put_u8(key, 0);
    buf_put_be32(key, (uint32_t)partition);
}

void offsets_set(struct group *g, const struct committed *o) {
    set_offset(g, str_c(o->topic), o);
}

// Of an offset that a transaction brings when it ends and one that was written in the meantime, the one whose record is later counts.
static void set_offset(struct group *g, struct str topic, const struct committed *from) {
    struct buf key = {0};
    put_key(&key, topic, from->partition);
    const struct committed *old = map_get(&g->offsets, buf_str(&key));
    if (old == NULL || old->order <= from->order) {
        struct committed *o = MEM_NEW(struct committed);
        *o = *from;
        o->topic = mem_strndup(topic.p, topic.n);
        o->metadata = mem_strndup(from->metadata, from->metadata_n);
        committed_free(map_put(&g->offsets, buf_str(&key), o));
    }
    buf_fini(&key);
}

void offsets_drop(struct group *g, const char *topic, int32_t partition, int64_t order) {
    struct buf key = {0};
    put_key(&key, str_c(topic), partition);
    const struct committed *had = map_get(&g->offsets, buf_str(&key));
    if (had != NULL && had->order <= order) committed_free(map_remove(&g->offsets, buf_str(&key)));
    buf_fini(&key);
}

// ---- records --------------------------------------------------------------------------------------------------------

static void offset_key(struct group_records *r, const char *group, const char *topic, int32_t partition) {
    struct buf *key = group_records_key(r, 1);
    put_string(key, str_c(group));
    put_string(key, str_c(topic));
    buf_put_be32(key, (uint32_t)partition);
}

static void offset_value(struct group_records *r, const struct group_offset *o) {
    struct buf *value = group_records_value(r, 4);
    buf_put_be64(value, (uint64_t)o->offset);
    buf_put_be32(value, (uint32_t)o->leader_epoch);
    put_compact_string(value, o->metadata);
    buf_put_be64(value, (uint64_t)r->time_ms);
    put_one_tag(value, TAG_TOPIC_ID, sizeof o->topic_id);
    buf_put(value, o->topic_id, sizeof o->topic_id);
}

void offsets_put_tombstone(struct group_records *r, const char *group, const char *topic, int32_t partition) {
    offset_key(r, group, topic, partition);
    group_records_delete(r);
}

void offsets_put_tombstones(const struct group *g, struct group_records *r) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->offsets, &it)) != NULL;) {
        const struct committed *o = e->value;
        offsets_put_tombstone(r, g->id, o->topic, o->partition);
    }
    txn_offsets_put_tombstones(g->coordinator, g->id, r);
    for (const struct group_commit *x = g->coordinator->commits; x != NULL; x = x->next_)
        for (size_t i = 0; i < x->n_offsets; i++)
            if (strcmp(x->group_id, g->id) == 0 && x->offsets[i].error == 0) offsets_put_tombstone(r, g->id, x->offsets[i].topic, x->offsets[i].partition);
}

void offsets_free(struct map *offsets) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(offsets, &it)) != NULL;) committed_free(e->value);
    map_fini(offsets);
}

static void read_tags(struct rd *value, struct committed *out) {
    for (struct tags t = tags_begin(value); tags_next(&t, value);)
        if (t.tag == TAG_TOPIC_ID && rd_left(&t.value) == sizeof out->topic_id) memcpy(out->topic_id, t.value.p, sizeof out->topic_id);
}

static bool read_value(struct rd *value, struct committed *out) { // strings are borrowed
    uint16_t version = rd_be16(value);
    out->offset = (int64_t)rd_be64(value);
    out->leader_epoch = version >= 3 ? (int32_t)rd_be32(value) : -1;
    struct str metadata = version >= 4 ? get_compact_string(value) : get_string(value);
    out->metadata = (char *)(uintptr_t)metadata.p;
    out->metadata_n = metadata.n;
    out->commit_ms = (int64_t)rd_be64(value);
    if (version >= 4) read_tags(value, out);
    return !value->failed;
}

bool offsets_replay_txn(struct coordinator *c, int64_t producer_id, struct rd *key, struct rd *value) {
    uint16_t version = rd_be16(key);
    struct str group = get_string(key), topic = get_string(key);
    struct committed o = {.partition = (int32_t)rd_be32(key)};
    if (version > 1 || key->failed || group.p == NULL || topic.p == NULL || value == NULL || !read_value(value, &o)) return false;
    char *id = mem_strndup(group.p, group.n);
    o.topic = mem_strndup(topic.p, topic.n);
    (void)classic_head(c, id); // as when they came
    txn_offsets_put(c, producer_id, id, &o, c->submitted);
    mem_free(o.topic);
    mem_free(id);
    return true;
}

bool offsets_replay(struct coordinator *c, struct rd *key, struct rd *value);
bool offsets_replay(struct coordinator *c, struct rd *key, struct rd *value) {
    struct str group = get_string(key), topic = get_string(key);
    int32_t partition = (int32_t)rd_be32(key);
    if (key->failed || group.p == NULL || topic.p == NULL) return false;
    char *id = mem_strndup(group.p, group.n);
    struct group *g = group_find(c, id);
    if (value == NULL) {
        char *name = mem_strndup(topic.p, topic.n);
        if (g != NULL) offsets_drop(g, name, partition, c->submitted);
        txn_offsets_forget(c, id, name, partition, c->submitted);
        mem_free(name);
        mem_free(id);
        return true;
    }
    struct committed o = {.partition = partition, .order = c->submitted};
    bool ok = read_value(value, &o);
    if (g == NULL && ok) g = classic_head(c, id);
    mem_free(id);
    if (!ok || g == NULL) return false;
    set_offset(g, topic, &o);
    return true;
}

// ---- commit ---------------------------------------------------------------------------------------------------------

// The group without a name is one too, for offsets only: clients that have no group.id commit to it.
int offsets_check_commit(struct coordinator *c, const struct group_commit *x) {
    struct group *g = group_find(c, x->group_id);
    if (g != NULL) return g->ops->check_commit(g, x);
    if (x->generation < 0) return c->groups.n < GROUPS_MAX ? 0 : KAFKA_COORDINATOR_NOT_AVAILABLE; // of no group's member: this makes the group
    return x->knows_epochs ? KAFKA_GROUP_ID_NOT_FOUND : KAFKA_ILLEGAL_GENERATION;
}

static bool check_offset(struct coordinator *c, struct group_offset *o) {
    o->error = topics_id(c->broker, o->topic, o->partition, o->topic_id) ? 0 : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (o->error == 0 && o->metadata.n > (size_t)c->metadata_max) o->error = KAFKA_OFFSET_METADATA_TOO_LARGE;
    return o->error == 0;
}

void offsets_of_commit(const struct group_offset *o, int64_t time, struct committed *out) {
    *out = (struct committed){.topic = (char *)(uintptr_t)o->topic, .partition = o->partition, .leader_epoch = o->leader_epoch, .offset = o->offset,
                              .commit_ms = time, .metadata = (char *)(uintptr_t)o->metadata.p, .metadata_n = o->metadata.n};
    memcpy(out->topic_id, o->topic_id, sizeof out->topic_id);
}

static void begin_commit(struct coordinator *c, struct group_commit *x) {
    x->before_ = NULL;
    x->next_ = c->commits;
    if (c->commits != NULL) c->commits->before_ = x;
    c->commits = x;
}

static void end_commit(struct coordinator *c, struct group_commit *x) {
    if (x->next_ != NULL) x->next_->before_ = x->before_;
    if (x->before_ != NULL) x->before_->next_ = x->next_;
    else c->commits = x->next_;
}

bool offsets_under_way(const struct coordinator *c, const char *group, const char *topic, int32_t partition) {
    for (const struct group_commit *x = c->commits; x != NULL; x = x->next_) {
        if (strcmp(x->group_id, group) != 0) continue;
        for (size_t i = 0; i < x->n_offsets; i++) {
            const struct group_offset *o = &x->offsets[i];
            if (o->error == 0 && (topic == NULL || (o->partition == partition && strcmp(o->topic, topic) == 0))) return true;
        }
    }
    return false;
}

struct group *offsets_group(struct coordinator *c, const char *id) {
    struct group *g = group_find(c, id);
    if (g != NULL) return g;
    g = classic_head(c, id);
    if (g != NULL) g->unwritten = true;
    return g;
}

// What was committed of a topic that was deleted meanwhile is nobody's. It has no tombstone: that could hit what the next topic of this name has;
// the start knows by the topic id. A group that is being deleted has its tombstones behind this, but may come back if they cannot be written.
static void apply(struct coordinator *c, const struct group_commit *x) {
    struct group *g = group_find(c, x->group_id);
    int64_t time = coordinator_now_ms(c);
    if (g == NULL) g = map_getc(&c->deleting, x->group_id);
    if (g != NULL) g->unwritten = false;
    for (size_t i = 0; i < x->n_offsets && g != NULL; i++) {
        struct committed o;
        if (x->offsets[i].error != 0) continue;
        offsets_of_commit(&x->offsets[i], time, &o);
        o.order = x->order;
        if (!offsets_topic_is_gone(c->broker, &o)) offsets_set(g, &o);
    }
}

static void committed(void *arg, int error) {
    struct group_commit *x = arg;
    struct coordinator *c = coordinator_of(&x->call);
    end_commit(c, x);
    if (error == 0) apply(c, x);
    else offsets_group_unmake(c, x->group_id);
    for (size_t i = 0; i < x->n_offsets && error != 0; i++)
        if (x->offsets[i].error == 0) x->offsets[i].error = error;
    coordinator_answer(&x->call, error, "");
}

void offsets_put_commit(struct coordinator *c, struct group_records *r, struct group_commit *x, int error) {
    for (size_t i = 0; i < x->n_offsets; i++) {
        struct group_offset *o = &x->offsets[i];
        (void)check_offset(c, o);
        if (error != 0 && o->error != KAFKA_UNKNOWN_TOPIC_OR_PARTITION) o->error = error; // what is not there is told in any case
        if (o->error != 0) continue;
        offset_key(r, x->group_id, o->topic, o->partition);
        offset_value(r, o);
        group_records_put(r);
    }
}

static void commit_on_loop(void *arg) {
    struct group_commit *x = arg;
    struct coordinator *c = coordinator_of(&x->call);
    int error = c->stopping ? KAFKA_COORDINATOR_NOT_AVAILABLE : offsets_check_commit(c, x);
    struct group_records *r = group_records_new(c);
    offsets_put_commit(c, r, x, error);
    if (error == 0 && !group_records_empty(r)) {
        begin_commit(c, x);
        group_records_submit(r, offsets_group(c, x->group_id), committed, x);
        x->order = c->submitted;
        return;
    }
    group_records_free(r);
    coordinator_answer(&x->call, error, "");
}

void group_commit(struct broker *b, struct group_commit *x) {
    coordinator_submit(b, &x->call, commit_on_loop);
}

// ---- fetch ----------------------------------------------------------------------------------------------------------

static int by_partition(const void *a, const void *b) {
    const struct group_offset *x = a, *y = b;
    int topic = strcmp(x->topic, y->topic);
    return topic != 0 ? topic : x->partition < y->partition ? -1 : x->partition > y->partition;
}

static void fill(const struct committed *o, struct arena *a, struct group_offset *out) {
    out->offset = o == NULL ? -1 : o->offset;
    out->leader_epoch = o == NULL ? -1 : o->leader_epoch;
    out->metadata = o == NULL ? STR("") : arena_str(a, str_n(o->metadata, o->metadata_n));
    out->error = 0;
}

static void fetch_all(const struct group *g, struct group_fetch *f) {
    struct arena *a = f->call.arena;
    struct map_entry *e;
    f->n_offsets = 0;
    f->offsets = ARENA_ARRAY(a, struct group_offset, (g == NULL ? 0 : g->offsets.n) + 1);
    for (size_t it = 0; g != NULL && (e = map_next(&g->offsets, &it)) != NULL;) {
        const struct committed *o = e->value;
        struct group_offset *out = &f->offsets[f->n_offsets++];
        out->topic = arena_strdup(a, o->topic);
        out->partition = o->partition;
        fill(o, a, out);
    }
    qsort(f->offsets, f->n_offsets, sizeof *f->offsets, by_partition);
}

static void set_unstable(const struct coordinator *c, const struct group_fetch *f, struct group_offset *o) {
    if (!txn_offsets_pending(c, f->group_id, o->topic, o->partition)) return;
    *o = (struct group_offset){.topic = o->topic, .partition = o->partition, .offset = -1, .leader_epoch = -1, .metadata = STR(""),
                               .error = KAFKA_UNSTABLE_OFFSET_COMMIT};
}

static void fetch_on_loop(void *arg) {
    struct group_fetch *f = arg;
    struct coordinator *c = coordinator_of(&f->call);
    struct group *g = group_find(c, f->group_id);
    struct buf key = {0};
    bool member = f->member_id != NULL; // else an admin client
    int error = !member || g == NULL ? 0 : g->ops->check_fetch(g, f->member_id, f->member_epoch);
    if (error != 0) {
        coordinator_answer(&f->call, error, "");
        return;
    }
    if (f->all) fetch_all(g, f);
    for (size_t i = 0; i < f->n_offsets && f->all && f->require_stable; i++) set_unstable(c, f, &f->offsets[i]);
    for (size_t i = 0; i < f->n_offsets && !f->all; i++) {
        put_key(&key, str_c(f->offsets[i].topic), f->offsets[i].partition);
        fill(g == NULL ? NULL : map_get(&g->offsets, buf_str(&key)), f->call.arena, &f->offsets[i]);
        if (f->require_stable) set_unstable(c, f, &f->offsets[i]);
    }
    buf_fini(&key);
    coordinator_answer(&f->call, 0, "");
}

void group_fetch(struct broker *b, struct group_fetch *f) {
    coordinator_submit(b, &f->call, fetch_on_loop);
}

// ---- delete ---------------------------------------------------------------------------------------------------------

// In memory they go when the tombstones are durable: after a failed write everything is as it was, and the caller may try again. What was
// committed behind the tombstones stays.
static void drop_deleted(struct coordinator *c, const struct group_offsets_delete *d, const struct group_offset *o) {
    struct group *g = group_find(c, d->group_id);
    if (g != NULL) offsets_drop(g, o->topic, o->partition, d->order);
    txn_offsets_forget(c, d->group_id, o->topic, o->partition, d->order);
}

static void offsets_deleted(void *arg, int error) {
    struct group_offsets_delete *d = arg;
    for (size_t i = 0; i < d->n_offsets && error == 0; i++)
        if (d->offsets[i].error == 0) drop_deleted(coordinator_of(&d->call), d, &d->offsets[i]);
    coordinator_answer(&d->call, error, "");
}

static void delete_one(struct group *g, struct group_offset *o, struct group_records *r) {
    struct buf key = {0};
    struct partition *p = partition_find(g->coordinator->broker, o->topic, o->partition);
    o->error = p == NULL ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : g->ops->subscribes(g, o->topic) ? KAFKA_GROUP_SUBSCRIBED_TO_TOPIC : 0;
    if (p != NULL) partition_unref(p);
    put_key(&key, str_c(o->topic), o->partition);
    bool has = o->error == 0 && (map_get(&g->offsets, buf_str(&key)) != NULL || offsets_under_way(g->coordinator, g->id, o->topic, o->partition) ||
                                 txn_offsets_pending(g->coordinator, g->id, o->topic, o->partition));
    buf_fini(&key);
    if (has) offsets_put_tombstone(r, g->id, o->topic, o->partition);
}

static void delete_settled(void *arg, int write_error) {
    struct group_offsets_delete *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    struct group *g = group_find(c, d->group_id);
    (void)write_error; // of others
    int error = d->group_id[0] == '\0' ? KAFKA_INVALID_GROUP_ID : g == NULL ? KAFKA_GROUP_ID_NOT_FOUND : c->stopping ? KAFKA_COORDINATOR_NOT_AVAILABLE : 0;
    if (error == 0 && g->ops->check_delete_offsets != NULL) error = g->ops->check_delete_offsets(g);
    if (error != 0) {
        coordinator_answer(&d->call, error, "");
        return;
    }
    struct group_records *r = group_records_new(c);
    for (size_t i = 0; i < d->n_offsets; i++) delete_one(g, &d->offsets[i], r);
    d->order = group_records_empty(r) ? 0 : c->submitted + 1;
    group_records_submit(r, g, offsets_deleted, d);
}

static void delete_on_loop(void *arg) { // behind the commits that are under way
    struct group_offsets_delete *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    group_records_submit(group_records_new(c), group_find(c, d->group_id), delete_settled, d);
}

void group_offsets_delete(struct broker *b, struct group_offsets_delete *d) { coordinator_submit(b, &d->call, delete_on_loop); }
