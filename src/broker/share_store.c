// SPDX-License-Identifier: Apache-2.0
// The durable state of share-partitions: see share_store.h. Records and replay are in share_records.c.
#include "broker/share_store.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/share_records.h"

enum { ROLL_MIN = 16 << 20, ROLL_FACTOR = 4, ENTRY_BYTES = 200, RANGE_BYTES = 20, SNAPSHOTS_AT_ONCE = 1000 };

struct share_store {
    struct broker *broker;
    struct loop *loop;
    struct map entries; // key -> share_stored
    int64_t updates_per_snapshot;
    bool topic_ready, topic_making, rolled;
    enum err_code topic_code;
    struct err topic_err;
    struct share_write *waiting_first, *waiting_last; // for the topic
    size_t under_way;
    loop_fn *idle;
    void *idle_arg;
};

// ---- ranges ---------------------------------------------------------------------------------------------------------

static void add(share_ranges *out, struct share_range x, int64_t start) {
    if (x.first < start) x.first = start;
    if (x.last < x.first) return;
    struct share_range *before = out->n == 0 ? NULL : vec_last(out);
    if (before != NULL && before->last + 1 == x.first && before->state == x.state && before->count == x.count) before->last = x.last;
    else vec_add(out, x);
}

static int by_first(const void *a, const void *b) {
    const struct share_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

void share_ranges_overlay(share_ranges *under, const struct share_range *over, size_t n, int64_t start) {
    share_ranges out = {0}, sorted = {0};
    vec_reserve(&sorted, n + 1);
    for (size_t i = 0; i < n; i++) vec_add(&sorted, over[i]);
    for (size_t i = 1; i < n; i++)
        if (sorted.p[i].first < sorted.p[i - 1].first) { // those of one request come in order; strangers' may not
            qsort(sorted.p, n, sizeof *sorted.p, by_first);
            break;
        }
    size_t k = 0;
    for (size_t i = 0; i < under->n; i++) {
        struct share_range x = under->p[i];
        while (x.first <= x.last) {
            while (k < n && sorted.p[k].last < x.first) add(&out, sorted.p[k++], start);
            if (k == n || sorted.p[k].first > x.last) {
                add(&out, x, start);
                break;
            }
            struct share_range front = x;
            front.last = sorted.p[k].first - 1;
            add(&out, front, start);
            x.first = sorted.p[k].last + 1;
        }
    }
    while (k < n) add(&out, sorted.p[k++], start);
    vec_fini(&sorted);
    vec_fini(under);
    *under = out;
}

// ---- entries --------------------------------------------------------------------------------------------------------

static struct buf map_key(const char *group, const uint8_t id[16], int32_t partition) {
    struct buf key = {0};
    buf_put(&key, id, 16);
    buf_put_be32(&key, (uint32_t)partition);
    buf_puts(&key, group);
    return key;
}

static struct share_stored *find(const struct share_store *s, const struct share_key *key) {
    struct buf k = map_key(key->group, key->topic_id, key->partition);
    struct share_stored *e = map_get(&s->entries, buf_str(&k));
    buf_fini(&k);
    return e;
}

const struct share_stored *share_store_find(const struct share_store *s, const struct share_key *key) {
    const struct share_stored *e = find(s, key);
    return e == NULL || e->snapshot_offset < 0 ? NULL : e;
}

const struct share_stored *share_store_next(const struct share_store *s, size_t *it) {
    struct map_entry *e;
    while ((e = map_next(&s->entries, it)) != NULL)
        if (((struct share_stored *)e->value)->snapshot_offset >= 0) return e->value;
    return NULL;
}

static struct share_stored *make(struct share_store *s, const struct share_key *key) {
    struct share_stored *e = find(s, key);
    if (e != NULL) return e;
    e = MEM_NEW(struct share_stored);
    e->group = mem_strdup(key->group);
    memcpy(e->topic_id, key->topic_id, 16);
    e->partition = key->partition;
    e->start = e->complete = e->snapshot_epoch = -1;
    e->snapshot_offset = -1; // nothing is written yet
    struct buf k = map_key(key->group, key->topic_id, key->partition);
    map_put(&s->entries, buf_str(&k), e);
    buf_fini(&k);
    return e;
}

static void entry_free(struct share_stored *e) {
    vec_fini(&e->ranges);
    mem_free(e->group);
    mem_free(e);
}

static void forget(struct share_store *s, struct share_stored *e) {
    struct buf k = map_key(e->group, e->topic_id, e->partition);
    map_remove(&s->entries, buf_str(&k));
    buf_fini(&k);
    entry_free(e);
}

// What a record says, into memory. Also at the start.
static void apply(struct share_stored *e, const struct share_record *r, int64_t offset) {
    if (r->snapshot) {
        e->snapshot_epoch = r->snapshot_epoch;
        e->state_epoch = r->state_epoch;
        e->create_ms = r->create_ms;
        e->write_ms = r->write_ms;
        e->snapshot_offset = offset;
        e->updates = 0;
        e->ranges.n = 0;
    } else {
        e->updates++;
    }
    if (r->snapshot || r->start != -1) e->start = r->start;
    if (r->snapshot || r->leader_epoch != -1) e->leader_epoch = r->leader_epoch;
    e->complete = r->complete;
    share_ranges_overlay(&e->ranges, r->ranges, r->n_ranges, e->start);
}

// ---- writing --------------------------------------------------------------------------------------------------------

static void start_writes(struct share_store *s, struct share_stored *e);

static void ended(struct share_write *w) {
    struct share_store *s = w->store_;
    buf_fini(&w->bytes_);
    w->done(w);
    if (--s->under_way > 0 || s->idle == NULL) return;
    loop_fn *idle = s->idle;
    s->idle = NULL;
    idle(s->idle_arg);
}

static void done_later(void *arg) { ended(arg); }

static void refuse(struct share_write *w, int error, const char *message) {
    w->error = error;
    w->message = message;
    loop_post(w->store_->loop, done_later, w);
}

static struct share_record record_of(const struct share_write *w) {
    return (struct share_record){.snapshot = w->as_snapshot_, .snapshot_epoch = w->snapshot_epoch_, .state_epoch = w->state_epoch,
                                 .leader_epoch = w->leader_epoch, .start = w->start, .complete = w->complete, .write_ms = w->time_ms_,
                                 .create_ms = w->time_ms_, .ranges = w->ranges, .n_ranges = w->n_ranges};
}

// A snapshot carries all that is known, with this write on top.
static struct share_record snapshot_of(const struct share_stored *e, const struct share_write *w, share_ranges *ranges) {
    struct share_record r = record_of(w);
    if (w->kind == SHARE_WRITE_INITIALIZE) return r;
    if (r.leader_epoch == -1) r.leader_epoch = e->leader_epoch;
    if (r.state_epoch == -1 || w->kind == SHARE_WRITE_SNAPSHOT) r.state_epoch = e->state_epoch;
    if (r.start == -1) r.start = e->start;
    if (w->kind == SHARE_WRITE_SNAPSHOT) r.complete = e->complete;
    r.create_ms = e->create_ms;
    for (size_t i = 0; i < e->ranges.n; i++) vec_add(ranges, e->ranges.p[i]);
    share_ranges_overlay(ranges, w->ranges, w->n_ranges, r.start);
    r.ranges = ranges->p;
    r.n_ranges = ranges->n;
    return r;
}

static void written(struct broker_produce *p) {
    struct share_write *w = p->arg;
    struct share_store *s = w->store_;
    struct share_stored *e = find(s, &w->key);
    e->in_flight--;
    if (w->as_snapshot_ || w->kind == SHARE_WRITE_DELETE) e->snapshotting = false;
    bool good = p->kafka_error == 0, deleted = good && w->kind == SHARE_WRITE_DELETE;
    if (!good) log_error("broker", "share group state not written", "error", p->message, NULL);
    if (good && !deleted) {
        share_ranges ranges = {0};
        struct share_record r = w->as_snapshot_ ? snapshot_of(e, w, &ranges) : record_of(w);
        apply(e, &r, p->base_offset);
        vec_fini(&ranges);
    }
    w->error = good ? 0 : KAFKA_COORDINATOR_NOT_AVAILABLE;
    w->message = good ? "" : "The state of the share-partition could not be written.";
    if (deleted) e->snapshot_offset = -1;
    start_writes(s, e); // those that waited; may answer, but not from inside
    if (e->snapshot_offset < 0 && e->in_flight == 0 && e->queue_first == NULL) forget(s, e);
    ended(w);
}

static void append(struct share_store *s, struct share_stored *e, struct share_write *w) {
    w->time_ms_ = sys_now_us(s->broker->sys) / 1000;
    buf_init(&w->bytes_, 0);
    if (w->kind == SHARE_WRITE_DELETE) {
        share_records_tombstone(&w->bytes_, w->time_ms_, &w->key);
    } else {
        share_ranges ranges = {0};
        w->snapshot_epoch_ = e->snapshot_epoch + (w->as_snapshot_ ? 1 : 0);
        struct share_record r = w->as_snapshot_ ? snapshot_of(e, w, &ranges) : record_of(w);
        share_records_build(&w->bytes_, w->time_ms_, &w->key, &r);
        vec_fini(&ranges);
    }
    e->in_flight++;
    e->snapshotting = w->as_snapshot_ || w->kind == SHARE_WRITE_DELETE;
    w->produce_ = (struct broker_produce){.topic = SHARE_STATE_TOPIC, .batches = buf_str(&w->bytes_), .wait_durable = true, .done = written};
    w->produce_.back = s->loop;
    w->produce_.arg = w;
    broker_produce(s->broker, &w->produce_);
}

static int check(const struct share_stored *e, const struct share_write *w, const char **message) {
    bool there = e->snapshot_offset >= 0;
    *message = "";
    if (w->kind == SHARE_WRITE_DELETE || w->kind == SHARE_WRITE_SNAPSHOT) return 0;
    if (!there && w->kind == SHARE_WRITE_UPDATE) {
        *message = "Write operation on uninitialized share partition not allowed.";
        return KAFKA_INVALID_REQUEST;
    }
    if (there && w->kind == SHARE_WRITE_UPDATE && w->leader_epoch != -1 && e->leader_epoch > w->leader_epoch) {
        *message = "The leader epoch in the request is older than the epoch on the broker.";
        return KAFKA_FENCED_LEADER_EPOCH;
    }
    if (there && w->state_epoch != -1 && e->state_epoch > w->state_epoch) {
        *message = "The coordinator rejected the request because the state epoch did not match.";
        return KAFKA_FENCED_STATE_EPOCH;
    }
    return 0;
}

static void start_writes(struct share_store *s, struct share_stored *e) {
    while (e->queue_first != NULL && !e->snapshotting) {
        struct share_write *w = e->queue_first;
        const char *message;
        bool alone = w->kind != SHARE_WRITE_UPDATE || e->updates + (int64_t)e->in_flight >= s->updates_per_snapshot;
        if (alone && e->in_flight > 0) return; // it builds on them
        e->queue_first = w->next_;
        if (e->queue_first == NULL) e->queue_last = NULL;
        int error = check(e, w, &message);
        bool nothing = w->kind != SHARE_WRITE_UPDATE && w->kind != SHARE_WRITE_INITIALIZE && e->snapshot_offset < 0;
        if (error != 0 || nothing) {
            refuse(w, error, message);
            continue;
        }
        w->as_snapshot_ = w->kind == SHARE_WRITE_INITIALIZE || w->kind == SHARE_WRITE_SNAPSHOT || (w->kind == SHARE_WRITE_UPDATE && alone);
        append(s, e, w);
    }
}

static void enqueue(struct share_store *s, struct share_write *w) {
    struct share_stored *e = make(s, &w->key);
    w->next_ = NULL;
    if (e->queue_first == NULL) e->queue_first = w;
    else e->queue_last->next_ = w;
    e->queue_last = w;
    start_writes(s, e);
    if (e->snapshot_offset < 0 && e->in_flight == 0 && e->queue_first == NULL) forget(s, e);
}

// ---- the topic ------------------------------------------------------------------------------------------------------

static void make_topic(void *arg) { // on a worker
    static const struct broker_kv configs[] = {{"cleanup.policy", "delete"}, {"retention.ms", "-1"}, {"max.message.bytes", "104857600"},
                                              {"segment.bytes", "104857600"}};
    struct share_store *s = arg;
    s->topic_code = broker_topic_create(s->broker, SHARE_STATE_TOPIC, 1, configs, 4, false, NULL, NULL, &s->topic_err);
}

static void topic_made(void *arg) {
    struct share_store *s = arg;
    s->topic_making = false;
    s->topic_ready = s->topic_code == ERR_OK || s->topic_code == ERR_EXISTS;
    if (!s->topic_ready) log_error("broker", "no topic for the state of share groups", "error", s->topic_err.msg, NULL);
    while (s->waiting_first != NULL) {
        struct share_write *w = s->waiting_first;
        s->waiting_first = w->next_;
        if (s->topic_ready) enqueue(s, w);
        else refuse(w, KAFKA_COORDINATOR_NOT_AVAILABLE, "The share coordinator is not available.");
    }
    s->waiting_last = NULL;
}

void share_store_write(struct share_store *s, struct share_write *w) {
    assert(loop_current() == s->loop);
    w->store_ = s;
    w->error = 0;
    w->next_ = NULL;
    if (w->kind == SHARE_WRITE_INITIALIZE) w->complete = w->start < 0 ? -1 : 0; // with a start, its lag is known (as Kafka's share coordinator)
    s->under_way++;
    if (s->topic_ready) {
        enqueue(s, w);
        return;
    }
    if (s->waiting_first == NULL) s->waiting_first = w;
    else s->waiting_last->next_ = w;
    s->waiting_last = w;
    if (s->topic_making) return;
    s->topic_making = true;
    s->topic_err = (struct err){0};
    if (broker_submit(s->broker, make_topic, s, s->loop, topic_made, &s->topic_err) == ERR_OK) return;
    s->topic_code = ERR_BUSY;
    topic_made(s);
}

int share_store_read(struct share_store *s, const struct share_key *key, int32_t leader_epoch, const struct share_stored **out, const char **message) {
    struct share_stored *e = find(s, key);
    *out = NULL;
    *message = "";
    if (e == NULL || e->snapshot_offset < 0) {
        *message = "Read operation on uninitialized share partition not allowed.";
        return KAFKA_INVALID_REQUEST;
    }
    if (leader_epoch != -1 && e->leader_epoch > leader_epoch) {
        *message = "The leader epoch in the request is older than the epoch on the broker.";
        return KAFKA_FENCED_LEADER_EPOCH;
    }
    *out = e;
    return 0;
}

void share_store_when_idle(struct share_store *s, loop_fn *fn, void *arg) {
    s->idle = fn;
    s->idle_arg = arg;
    if (s->under_way > 0) return;
    s->idle = NULL;
    fn(arg);
}

// ---- upkeep ---------------------------------------------------------------------------------------------------------

static void snapshot_done(struct share_write *w) {
    mem_free((char *)(uintptr_t)w->key.group);
    mem_free(w);
}

static void roll_on_owner(void *arg) {
    struct partition *p = arg;
    struct err err = {0};
    if (log_roll(p->log, &err) != ERR_OK) log_warn("broker", "could not close a segment", "topic", SHARE_STATE_TOPIC, "error", err.msg, NULL);
    partition_unref(p);
}

static void snapshot_entry(struct share_store *s, const struct share_stored *e) {
    struct share_write *w = MEM_NEW(struct share_write);
    w->kind = SHARE_WRITE_SNAPSHOT;
    w->key = (struct share_key){.group = mem_strdup(e->group), .partition = e->partition};
    memcpy(w->key.topic_id, e->topic_id, 16);
    w->state_epoch = w->leader_epoch = -1;
    w->start = -1;
    w->done = snapshot_done;
    share_store_write(s, w);
}

// When the topic is large and mostly stale: the segment is closed, all are written as snapshots behind it, and at a later turn, when they are
// durable, the segments in front of the oldest snapshot may go.
void share_store_upkeep(struct share_store *s) {
    struct partition *p = partition_find(s->broker, SHARE_STATE_TOPIC, 0);
    if (p == NULL) return;
    uint64_t live = 0, size = log_bytes(p->log);
    int64_t oldest = log_end(p->log);
    const struct share_stored *e;
    for (size_t it = 0; (e = share_store_next(s, &it)) != NULL;) {
        live += ENTRY_BYTES + e->ranges.n * RANGE_BYTES;
        if (e->snapshot_offset < oldest) oldest = e->snapshot_offset;
    }
    p->trim_before = oldest;
    if (size < ROLL_MIN || size < live * ROLL_FACTOR) {
        partition_unref(p);
        return;
    }
    int64_t end = log_end(p->log);
    if (p->owner == s->loop) roll_on_owner(p);
    else loop_post(p->owner, roll_on_owner, p);
    size_t n = 0;
    for (size_t it = 0; (e = share_store_next(s, &it)) != NULL && n < SNAPSHOTS_AT_ONCE;) {
        if (e->snapshot_offset >= end) continue;
        snapshot_entry(s, e);
        n++;
    }
}

// ---- opening --------------------------------------------------------------------------------------------------------

static void replay(void *arg, const struct share_key *key, const struct share_record *r, int64_t offset) {
    struct share_store *s = arg;
    struct share_stored *e = find(s, key);
    if (r == NULL) {
        if (e != NULL) forget(s, e);
        return;
    }
    if (!r->snapshot && e == NULL) return; // its snapshot was removed: it was deleted
    apply(e == NULL ? make(s, key) : e, r, offset);
}

struct share_store *share_store_open(struct broker *b, struct err *err) {
    struct share_store *s = MEM_NEW(struct share_store);
    s->broker = b;
    s->loop = b->loops[0];
    map_init(&s->entries);
    s->updates_per_snapshot = configs_broker_i64(b, "share.coordinator.snapshot.update.records.per.snapshot", 500);
    struct partition *p = partition_find(b, SHARE_STATE_TOPIC, 0);
    if (p == NULL) return s;
    s->topic_ready = true;
    enum err_code code = share_records_load(p->log, replay, s, err);
    partition_unref(p);
    if (code == ERR_OK) return s;
    err_wrap(err, "topic " SHARE_STATE_TOPIC);
    share_store_free(s);
    return NULL;
}

void share_store_free(struct share_store *s) {
    if (s == NULL) return;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->entries, &it)) != NULL;) entry_free(e->value);
    map_fini(&s->entries);
    mem_free(s);
}
