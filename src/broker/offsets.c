// SPDX-License-Identifier: Apache-2.0
// Committed offsets: the topic __consumer_offsets (one partition) in Kafka's own record format, and what it says, in memory.
//
// Keys: version 1 (group, topic, partition) with value version 3 (offset, leader epoch, metadata, commit time); version 2 (group) with value
// version 3 (protocol type, generation; members are not kept). A null value deletes. A commit is applied in memory and answered after its
// record is durable. As nothing compacts topics yet, the coordinator rewrites this one itself: when it is much larger than what it says, the
// segment is closed, all that is live is written again, and the segments in front go. All on the coordinator's loop, except loading.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/coordinator.h"

#define OFFSETS_TOPIC "__consumer_offsets"
enum { REWRITE_MIN = 16 << 20, REWRITE_FACTOR = 4, REWRITE_BATCH = 1 << 19, READ_BYTES = 1 << 20, ENTRY_BYTES = 150 };

struct offsets_write {
    struct coordinator *coordinator;
    struct broker_produce produce;
    struct buf bytes;
    struct group_commit *commit; // NULL = nobody waits
    bool first_of_rewrite, last_of_rewrite;
    struct offsets_write *next;
};

static int64_t now_ms(const struct coordinator *c) { return sys_now_us(c->broker->sys) / 1000; }

// ---- in memory ------------------------------------------------------------------------------------------------------

void committed_free(struct committed *o) {
    if (o == NULL) return;
    mem_free(o->topic);
    mem_free(o->metadata);
    mem_free(o);
}

static void put_key(struct buf *key, struct str topic, int32_t partition) {
    buf_clear(key);
    buf_put_str(key, topic);
    buf_put_u8(key, 0);
    buf_put_be32(key, (uint32_t)partition);
}

static void set_offset(struct group *g, struct str topic, int32_t partition, int64_t offset, int32_t epoch, struct str metadata,
                       int64_t time) {
    struct buf key = {0};
    put_key(&key, topic, partition);
    struct committed *o = MEM_NEW(struct committed);
    *o = (struct committed){.partition = partition, .leader_epoch = epoch, .offset = offset, .commit_ms = time};
    o->topic = mem_strndup(topic.p, topic.n);
    o->metadata = mem_strndup(metadata.p, metadata.n);
    o->metadata_n = metadata.n;
    committed_free(map_put(&g->offsets, buf_str(&key), o));
    buf_fini(&key);
}

static void drop_offset(struct group *g, struct str topic, int32_t partition) {
    struct buf key = {0};
    put_key(&key, topic, partition);
    committed_free(map_remove(&g->offsets, buf_str(&key)));
    buf_fini(&key);
}

// ---- records --------------------------------------------------------------------------------------------------------

static void put_string(struct buf *out, struct str s) {
    buf_put_be16(out, (uint16_t)s.n);
    buf_put_str(out, s);
}

static struct str get_string(struct rd *r) {
    uint16_t n = rd_be16(r);
    if (n == UINT16_MAX) return (struct str){NULL, 0}; // null
    const uint8_t *p = rd_bytes(r, n);
    return str_n(p, p == NULL ? 0 : n);
}

static void put_offset_key(struct buf *out, const char *group, const char *topic, int32_t partition) {
    buf_clear(out);
    buf_put_be16(out, 1);
    put_string(out, str_c(group));
    put_string(out, str_c(topic));
    buf_put_be32(out, (uint32_t)partition);
}

static void put_offset_value(struct buf *out, int64_t offset, int32_t epoch, struct str metadata, int64_t time) {
    buf_clear(out);
    buf_put_be16(out, 3);
    buf_put_be64(out, (uint64_t)offset);
    buf_put_be32(out, (uint32_t)epoch);
    put_string(out, metadata);
    buf_put_be64(out, (uint64_t)time);
}

static void put_group_key(struct buf *out, const char *group) {
    buf_clear(out);
    buf_put_be16(out, 2);
    put_string(out, str_c(group));
}

static void put_group_value(struct buf *out, const struct group *g, int64_t time) {
    buf_clear(out);
    buf_put_be16(out, 3);
    put_string(out, str_c(g->protocol_type == NULL ? "" : g->protocol_type));
    buf_put_be32(out, (uint32_t)g->generation);
    buf_put_be16(out, UINT16_MAX); // protocol: null
    buf_put_be16(out, UINT16_MAX); // leader: null
    buf_put_be64(out, (uint64_t)time);
    buf_put_be32(out, 0); // members
}

struct records { // a batch being built
    struct batch_builder bb;
    struct buf key, value;
    int64_t time;
};

static struct offsets_write *write_new(struct coordinator *c, struct records *r) {
    struct offsets_write *w = MEM_NEW(struct offsets_write);
    w->coordinator = c;
    buf_init(&w->bytes, 0);
    *r = (struct records){.time = now_ms(c)};
    batch_begin(&r->bb, &w->bytes, r->time);
    return w;
}

static void add_record(struct records *r, bool tombstone) {
    batch_add(&r->bb, r->time, buf_str(&r->key), false, tombstone ? (struct str){NULL, 0} : buf_str(&r->value), tombstone, NULL, 0);
}

static void records_end(struct records *r) {
    batch_end(&r->bb);
    buf_fini(&r->key);
    buf_fini(&r->value);
}

// ---- writing --------------------------------------------------------------------------------------------------------

static void rewrite_when_quiet(struct coordinator *c);
static void rewrite_ended(struct offsets_write *w);

static bool is_gone(struct broker *b, const char *topic) {
    struct partition *p = partition_find(b, topic, 0);
    if (p != NULL) partition_unref(p);
    return p == NULL;
}

static void apply(struct coordinator *c, const struct group_commit *x) {
    struct group *g = group_make(c, x->group_id);
    int64_t time = now_ms(c);
    bool gone = false;
    for (size_t i = 0; i < x->n_offsets && g != NULL; i++) {
        const struct group_offset *o = &x->offsets[i];
        if (o->error != 0) continue;
        set_offset(g, str_c(o->topic), o->partition, o->offset, o->leader_epoch, o->metadata, time);
        gone = gone || is_gone(c->broker, o->topic);
    }
    if (gone) offsets_forget_topics(c, NULL); // deleted while the commit was under way
}

static void answer_commit(struct group_commit *x, int error) {
    for (size_t i = 0; i < x->n_offsets && error != 0; i++)
        if (x->offsets[i].error == 0) x->offsets[i].error = error;
    coordinator_answer(&x->call, error, "");
}

static void write_done(struct broker_produce *p) {
    struct offsets_write *w = p->arg;
    struct coordinator *c = w->coordinator;
    c->writes--;
    if (p->kafka_error != 0) log_error("broker", "group offsets not written", "error", p->message, NULL);
    if (w->commit != NULL) {
        if (p->kafka_error == 0) apply(c, w->commit);
        answer_commit(w->commit, p->kafka_error == 0 ? 0 : KAFKA_COORDINATOR_NOT_AVAILABLE);
    }
    rewrite_ended(w);
    buf_fini(&w->bytes);
    mem_free(w);
    rewrite_when_quiet(c);
    if (c->stopped != NULL && c->writes == 0 && c->queue_first == NULL) loop_event_set(c->stopped);
}

static void write_start(struct offsets_write *w) {
    w->coordinator->writes++;
    w->produce = (struct broker_produce){.topic = OFFSETS_TOPIC, .batches = buf_str(&w->bytes), .wait_durable = true, .done = write_done};
    w->produce.back = w->coordinator->loop;
    w->produce.arg = w;
    broker_produce(w->coordinator->broker, &w->produce);
}

static void write_submit(struct offsets_write *w) {
    struct coordinator *c = w->coordinator;
    if (!c->compacting) {
        write_start(w);
        return;
    }
    if (c->queue_first == NULL) c->queue_first = w;
    else c->queue_last->next = w;
    c->queue_last = w;
}

void offsets_save_group(struct group *g) {
    struct records r;
    struct offsets_write *w = write_new(g->coordinator, &r);
    put_group_key(&r.key, g->id);
    put_group_value(&r.value, g, r.time);
    add_record(&r, false);
    records_end(&r);
    write_submit(w);
}

void offsets_forget_group(struct group *g) {
    struct records r;
    struct offsets_write *w = write_new(g->coordinator, &r);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->offsets, &it)) != NULL;) {
        const struct committed *o = e->value;
        put_offset_key(&r.key, g->id, o->topic, o->partition);
        add_record(&r, true);
    }
    put_group_key(&r.key, g->id);
    add_record(&r, true);
    records_end(&r);
    write_submit(w);
}

void offsets_forget_topics(struct coordinator *c, const char *topic) {
    struct map_entry *e, *oe;
    struct records r;
    struct offsets_write *w = write_new(c, &r);
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) {
        struct group *g = e->value;
        for (size_t ot = 0; (oe = map_next(&g->offsets, &ot)) != NULL;) {
            struct committed *o = oe->value;
            if (topic != NULL ? strcmp(o->topic, topic) != 0 : !is_gone(c->broker, o->topic)) continue;
            put_offset_key(&r.key, g->id, o->topic, o->partition);
            add_record(&r, true);
            map_remove(&g->offsets, str_n(oe->key, oe->key_len));
            committed_free(o);
        }
    }
    bool any = r.bb.count > 0;
    if (any) records_end(&r);
    if (any && !c->stopping) { // else the next start finds them without their topic
        write_submit(w);
        return;
    }
    if (!any) {
        buf_fini(&r.key);
        buf_fini(&r.value);
    }
    buf_fini(&w->bytes);
    mem_free(w);
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

// ---- commit ---------------------------------------------------------------------------------------------------------

static int check_commit(const struct group *g, const struct group_commit *x) {
    bool member = x->generation >= 0 || (x->member_id != NULL && x->member_id[0] != '\0') || x->group_instance_id != NULL;
    if (x->group_id[0] == '\0') return KAFKA_INVALID_GROUP_ID;
    if (g == NULL) return x->generation < 0 ? 0 : KAFKA_ILLEGAL_GENERATION;
    if (!member) return g->state == GROUP_EMPTY ? 0 : KAFKA_UNKNOWN_MEMBER_ID;
    if (g->state == GROUP_EMPTY && x->generation < 0) return 0;
    const struct member *m = x->group_instance_id != NULL ? map_getc(&g->statics, x->group_instance_id) : member_find(g, x->member_id);
    if (m == NULL) return KAFKA_UNKNOWN_MEMBER_ID;
    if (x->member_id == NULL || strcmp(m->id, x->member_id) != 0) return KAFKA_FENCED_INSTANCE_ID;
    if (x->generation != g->generation) return KAFKA_ILLEGAL_GENERATION;
    return g->state == GROUP_COMPLETING ? KAFKA_REBALANCE_IN_PROGRESS : 0;
}

static bool check_offset(struct broker *b, struct group_offset *o) {
    struct partition *p = partition_find(b, o->topic, o->partition);
    o->error = p == NULL ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : 0;
    if (p != NULL) partition_unref(p);
    if (o->error == 0 && o->metadata.n > GROUP_METADATA_MAX) o->error = KAFKA_OFFSET_METADATA_TOO_LARGE;
    return o->error == 0;
}

static void commit_on_loop(void *arg) {
    struct group_commit *x = arg;
    struct coordinator *c = x->call.self_[0];
    struct group *g = group_find(c, x->group_id);
    int error = c->stopping ? KAFKA_COORDINATOR_NOT_AVAILABLE : check_commit(g, x);
    if (error == 0 && g == NULL && c->groups.n >= GROUPS_MAX) error = KAFKA_COORDINATOR_NOT_AVAILABLE;
    size_t good = 0;
    for (size_t i = 0; i < x->n_offsets; i++) {
        x->offsets[i].error = error;
        if (error == 0 && check_offset(c->broker, &x->offsets[i])) good++;
    }
    struct member *m = error == 0 && g != NULL && x->member_id != NULL ? member_find(g, x->member_id) : NULL;
    if (m != NULL) member_touch(m);
    if (error != 0 || good == 0) {
        coordinator_answer(&x->call, error, "");
        return;
    }
    struct records r;
    struct offsets_write *w = write_new(c, &r);
    w->commit = x;
    for (size_t i = 0; i < x->n_offsets; i++) {
        const struct group_offset *o = &x->offsets[i];
        if (o->error != 0) continue;
        put_offset_key(&r.key, x->group_id, o->topic, o->partition);
        put_offset_value(&r.value, o->offset, o->leader_epoch, o->metadata, r.time);
        add_record(&r, false);
    }
    records_end(&r);
    write_submit(w);
}

void group_commit(struct broker *b, struct group_commit *x) {
    x->call.self_[0] = b->coordinator;
    loop_post(b->coordinator->loop, commit_on_loop, x);
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

static void fetch_on_loop(void *arg) {
    struct group_fetch *f = arg;
    struct coordinator *c = f->call.self_[0];
    const struct group *g = group_find(c, f->group_id);
    struct buf key = {0};
    if (f->all) fetch_all(g, f);
    for (size_t i = 0; i < f->n_offsets && !f->all; i++) {
        put_key(&key, str_c(f->offsets[i].topic), f->offsets[i].partition);
        fill(g == NULL ? NULL : map_get(&g->offsets, buf_str(&key)), f->call.arena, &f->offsets[i]);
    }
    buf_fini(&key);
    coordinator_answer(&f->call, 0, "");
}

void group_fetch(struct broker *b, struct group_fetch *f) {
    f->call.self_[0] = b->coordinator;
    loop_post(b->coordinator->loop, fetch_on_loop, f);
}

// ---- expiry ---------------------------------------------------------------------------------------------------------

static bool is_expired(const struct group *g, const struct committed *o, int64_t now) {
    int64_t since = o->commit_ms > g->empty_since_ms ? o->commit_ms : g->empty_since_ms;
    return now - since > g->coordinator->offsets_retention_ms;
}

static void expire_group(struct group *g, int64_t now) {
    struct map_entry *e;
    size_t gone = 0;
    struct records r;
    struct offsets_write *w = write_new(g->coordinator, &r);
    for (size_t it = 0; (e = map_next(&g->offsets, &it)) != NULL;) {
        struct committed *o = e->value;
        if (!is_expired(g, o, now)) continue;
        put_offset_key(&r.key, g->id, o->topic, o->partition);
        add_record(&r, true);
        map_remove(&g->offsets, str_n(e->key, e->key_len));
        committed_free(o);
        gone++;
    }
    bool empty = g->offsets.n == 0 && g->pending.n == 0 && now - g->empty_since_ms > 60000;
    bool stored = empty && (gone > 0 || g->generation > 0);
    if (stored) {
        put_group_key(&r.key, g->id);
        add_record(&r, true);
    }
    if (gone > 0 || stored) {
        records_end(&r);
        write_submit(w);
    } else {
        buf_fini(&r.key);
        buf_fini(&w->bytes);
        mem_free(w);
    }
    if (empty) group_free(g);
}

static void rewrite_check(struct coordinator *c);

void offsets_expire(struct coordinator *c) {
    int64_t now = now_ms(c);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) {
        struct group *g = e->value;
        if (g->state == GROUP_EMPTY) expire_group(g, now);
    }
    rewrite_check(c);
}

// ---- rewriting ------------------------------------------------------------------------------------------------------

static void rewrite_check(struct coordinator *c) {
    struct partition *p = partition_find(c->broker, OFFSETS_TOPIC, 0);
    if (p == NULL) return;
    uint64_t live = 0, size = log_bytes(p->log);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) live += ENTRY_BYTES * (1 + ((struct group *)e->value)->offsets.n);
    partition_unref(p);
    if (size < REWRITE_MIN || size < live * REWRITE_FACTOR || c->compacting) return;
    c->compacting = true;
    rewrite_when_quiet(c);
}

static void roll_on_owner(void *arg) {
    struct partition *p = arg;
    struct err err = {0};
    if (log_roll(p->log, &err) != ERR_OK) log_warn("broker", "could not close a segment", "topic", OFFSETS_TOPIC, "error", err.msg, NULL);
    partition_unref(p);
}

// All live records, as many batches as it takes. The last one says when it is over.
static void rewrite_all(struct coordinator *c) {
    struct records r;
    struct offsets_write *w = write_new(c, &r);
    struct map_entry *e, *oe;
    w->first_of_rewrite = true;
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) {
        const struct group *g = e->value;
        put_group_key(&r.key, g->id);
        put_group_value(&r.value, g, r.time);
        add_record(&r, false);
        for (size_t ot = 0; (oe = map_next(&g->offsets, &ot)) != NULL;) {
            const struct committed *o = oe->value;
            put_offset_key(&r.key, g->id, o->topic, o->partition);
            put_offset_value(&r.value, o->offset, o->leader_epoch, str_n(o->metadata, o->metadata_n), o->commit_ms);
            add_record(&r, false);
            if (w->bytes.n < REWRITE_BATCH) continue;
            records_end(&r);
            write_start(w);
            w = write_new(c, &r);
            put_group_key(&r.key, g->id); // a batch has at least one record
            put_group_value(&r.value, g, r.time);
            add_record(&r, false);
        }
    }
    if (r.bb.count == 0) {
        put_group_key(&r.key, "");
        add_record(&r, true);
    }
    w->last_of_rewrite = true;
    records_end(&r);
    write_start(w);
}

// The memory holds what was written only while no write is under way: so commits queue until then. Those that follow come behind
// the rewrite in the log, as posts and appends keep their order.
static void rewrite_when_quiet(struct coordinator *c) {
    if (!c->compacting || c->writes > 0) return;
    struct partition *p = partition_find(c->broker, OFFSETS_TOPIC, 0);
    log_info("broker", "rewriting the offsets topic", "bytes", log_i64(p == NULL ? 0 : (int64_t)log_bytes(p->log)), NULL);
    if (p != NULL && p->owner == c->loop) roll_on_owner(p);
    else if (p != NULL) loop_post(p->owner, roll_on_owner, p);
    rewrite_all(c);
    c->compacting = false;
    while (c->queue_first != NULL) {
        struct offsets_write *w = c->queue_first;
        c->queue_first = w->next;
        w->next = NULL;
        write_start(w);
    }
}

static void rewrite_ended(struct offsets_write *w) {
    struct coordinator *c = w->coordinator;
    if (w->first_of_rewrite) c->rewrite_from = w->produce.kafka_error == 0 ? w->produce.base_offset : -1;
    if (w->produce.kafka_error != 0) c->rewrite_from = -1; // any failure: nothing is trimmed
    if (!w->last_of_rewrite || c->rewrite_from < 0) return;
    struct partition *p = partition_find(c->broker, OFFSETS_TOPIC, 0);
    if (p == NULL) return;
    p->trim_before = c->rewrite_from;
    loop_post(p->owner, partition_maintain, p);
}

// ---- loading --------------------------------------------------------------------------------------------------------

static bool load_offset(struct coordinator *c, struct rd *key, const struct batch_record *rec) {
    struct str group = get_string(key), topic = get_string(key);
    int32_t partition = (int32_t)rd_be32(key);
    if (key->failed || group.p == NULL || topic.p == NULL) return false;
    char *id = mem_strndup(group.p, group.n);
    struct group *g = rec->value_null ? group_find(c, id) : group_make(c, id);
    mem_free(id);
    if (rec->value_null) {
        if (g != NULL) drop_offset(g, topic, partition);
        return true;
    }
    struct rd v = rd_of(rec->value.p, rec->value.n);
    uint16_t version = rd_be16(&v);
    int64_t offset = (int64_t)rd_be64(&v);
    int32_t epoch = version >= 3 ? (int32_t)rd_be32(&v) : -1;
    struct str metadata = get_string(&v);
    int64_t time = (int64_t)rd_be64(&v);
    if (v.failed || g == NULL) return false;
    set_offset(g, topic, partition, offset, epoch, metadata, time);
    return true;
}

static bool load_group(struct coordinator *c, struct rd *key, const struct batch_record *rec) {
    struct str group = get_string(key);
    if (key->failed || group.p == NULL) return false;
    char *id = mem_strndup(group.p, group.n);
    struct group *g = rec->value_null ? group_find(c, id) : group_make(c, id);
    mem_free(id);
    if (rec->value_null) {
        if (g != NULL) group_free(g);
        return true;
    }
    struct rd v = rd_of(rec->value.p, rec->value.n);
    (void)rd_be16(&v);
    struct str type = get_string(&v);
    int32_t generation = (int32_t)rd_be32(&v);
    if (v.failed || g == NULL) return false;
    mem_free(g->protocol_type);
    g->protocol_type = type.n == 0 ? NULL : mem_strndup(type.p, type.n);
    g->generation = generation;
    return true;
}

static enum err_code load_batch(struct coordinator *c, const struct batch *b, struct err *err) {
    struct batch_iter it;
    struct batch_record rec;
    enum err_code code = batch_iter_init(&it, b, 0, err);
    int got = 0;
    while (code == ERR_OK && (got = batch_iter_next(&it, &rec, err)) == 1) {
        struct rd key = rd_of(rec.key.p, rec.key.n);
        uint16_t version = rd_be16(&key);
        bool ok = version <= 1 ? load_offset(c, &key, &rec) : version == 2 ? load_group(c, &key, &rec) : true; // newer kinds are skipped
        if (!ok) log_warn("broker", "unreadable record in " OFFSETS_TOPIC, "offset", log_i64(rec.offset), NULL);
    }
    batch_iter_fini(&it);
    return got < 0 ? ERR_CORRUPT : code;
}

static enum err_code load_all(struct coordinator *c, struct log *l, struct err *err) {
    struct buf bytes = {0};
    enum err_code code = ERR_OK;
    int64_t at = log_start(l), end = log_durable_end(l);
    while (at < end && code == ERR_OK) {
        buf_clear(&bytes);
        code = log_read(l, at, READ_BYTES, &bytes, err);
        struct batch b;
        for (size_t pos = 0; pos < bytes.n && code == ERR_OK; pos += b.size) {
            enum batch_status status = batch_read(bytes.p + pos, bytes.n - pos, &b);
            assert(status == BATCH_OK); // log_read checked it
            (void)status;
            code = load_batch(c, &b, err);
            at = batch_last_offset(&b) + 1;
        }
    }
    buf_fini(&bytes);
    return code;
}

enum err_code offsets_load(struct coordinator *c, struct err *err) {
    static const struct broker_kv configs[] = {{"cleanup.policy", "compact"}, {"max.message.bytes", "104857600"}, {"segment.bytes", "104857600"}};
    struct broker *b = c->broker;
    struct partition *p = partition_find(b, OFFSETS_TOPIC, 0);
    enum err_code code = ERR_OK;
    if (p == NULL) return broker_topic_create(b, OFFSETS_TOPIC, 1, configs, 3, false, NULL, NULL, err);
    code = load_all(c, p->log, err);
    partition_unref(p);
    return code == ERR_OK ? ERR_OK : err_wrap(err, "topic " OFFSETS_TOPIC);
}
