// SPDX-License-Identifier: Apache-2.0
// Writing of __consumer_offsets in batches, and its replay at the start.
//
// The topic is compacted like any other (cleaner.c), which bounds what a start reads: what is live, as much again that is stale
// (min.cleanable.dirty.ratio), and the active segment (offsets.topic.segment.bytes). All on the coordinator's loop, except loading.
// Memory: a batch lives until it is durable or failed.
#include "broker/group_records.h"
#include "broker/txn_offsets.h"

#include <assert.h>

#include "base/log.h"

enum { READ_BYTES = 1 << 20, SEGMENT_MIN = 1 << 20 /* what segment.bytes allows */ };

// ---- building -------------------------------------------------------------------------------------------------------

struct group_records *group_records_new(struct coordinator *c) {
    struct group_records *r = MEM_NEW(struct group_records);
    r->coordinator = c;
    r->time_ms = coordinator_now_ms(c);
    batch_begin(&r->batch, &r->bytes, r->time_ms);
    return r;
}

void group_records_free(struct group_records *r) {
    buf_fini(&r->bytes);
    buf_fini(&r->key);
    buf_fini(&r->value);
    vec_fini(&r->waiters);
    mem_free(r);
}

struct buf *group_records_key(struct group_records *r, int version) {
    buf_clear(&r->key);
    buf_put_be16(&r->key, (uint16_t)version);
    return &r->key;
}

void group_records_key_of(struct group_records *r, int version, const char *group, const char *more) {
    struct buf *key = group_records_key(r, version);
    put_string(key, str_c(group));
    if (more != NULL) put_string(key, str_c(more));
}

struct buf *group_records_value(struct group_records *r, int version) {
    buf_clear(&r->value);
    buf_put_be16(&r->value, (uint16_t)version);
    return &r->value;
}

void group_records_put(struct group_records *r) {
    batch_add(&r->batch, r->time_ms, buf_str(&r->key), false, buf_str(&r->value), false, NULL, 0);
}

void group_records_delete(struct group_records *r) {
    batch_add(&r->batch, r->time_ms, buf_str(&r->key), false, (struct str){NULL, 0}, true, NULL, 0);
}

bool group_records_empty(const struct group_records *r) { return r->batch.count == 0; }

// ---- writing --------------------------------------------------------------------------------------------------------

static void write_done(struct broker_produce *p) {
    struct group_records *r = p->arg;
    struct coordinator *c = r->coordinator;
    c->writes--;
    if (c->last_write == r) c->last_write = NULL;
    if (p->kafka_error != 0) {
        c->failures++;
        log_error("broker", "group state not written", "error", p->message, NULL);
    } else if (r->sequence > c->durable) {
        c->durable = r->sequence;
    }
    if (c->writes == 0) c->durable = c->submitted; // not with a failure: one that is refused is told of before those in front of it are settled
    for (size_t i = 0; i < r->waiters.n; i++) r->waiters.p[i].fn(r->waiters.p[i].arg, p->kafka_error == 0 ? 0 : KAFKA_COORDINATOR_NOT_AVAILABLE);
    group_records_free(r);
    coordinator_check_stopped(c);
}

static void write_start(struct group_records *r) {
    struct coordinator *c = r->coordinator;
    r->sequence = ++c->submitted;
    c->last_write = r;
    c->writes++;
    batch_end(&r->batch);
    r->produce = (struct broker_produce){.topic = OFFSETS_TOPIC, .batches = buf_str(&r->bytes), .wait_durable = true, .done = write_done};
    if (r->in_txn) r->produce.origin = BROKER_FROM_COORDINATOR;
    r->produce.back = c->loop;
    r->produce.arg = r;
    broker_produce(c->broker, &r->produce);
}

static void add_waiter(struct group_records *r, group_records_fn *fn, void *arg) {
    if (fn == NULL) return;
    struct group_waiter *w = vec_push(&r->waiters);
    *w = (struct group_waiter){fn, arg};
}

void group_records_submit(struct group_records *r, struct group *g, group_records_fn *fn, void *arg) {
    struct coordinator *c = r->coordinator;
    if (g != NULL && g->deleting) { // a timer's: it would write behind the tombstones
        group_records_free(r);
        if (fn != NULL) fn(arg, KAFKA_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    if (g != NULL && g->failures != c->failures && g->own != NULL) { // what was lost may be anything: all of it again
        g->failures = c->failures;
        g->ops->put_live(g, r);
    }
    if (!group_records_empty(r)) {
        add_waiter(r, fn, arg);
        write_start(r);
        if (g != NULL) g->last_write = r->sequence;
        return;
    }
    group_records_free(r);
    if (fn == NULL) return;
    if (g != NULL && g->last_write > c->durable && c->last_write != NULL) add_waiter(c->last_write, fn, arg);
    else fn(arg, 0);
}

// ---- loading --------------------------------------------------------------------------------------------------------

typedef bool replay_fn(struct coordinator *c, struct rd *key, struct rd *value);

static replay_fn *replay_of(int version) {
#define GROUP_RECORD(number, function) replay_fn function;
#include "broker/group_records.def"
#undef GROUP_RECORD
    switch (version) {
#define GROUP_RECORD(number, function) \
    case number: return function;
#include "broker/group_records.def"
#undef GROUP_RECORD
    default: return NULL;
    }
}

struct group *group_replay_head(struct coordinator *c, struct rd *key, const struct group_ops *ops, bool make) {
    struct str id = get_string(key);
    if (key->failed || id.p == NULL) return NULL;
    char *name = mem_strndup(id.p, id.n);
    struct group *head = group_find(c, name);
    if (head == NULL && make) head = group_make(c, name, ops);
    else if (head != NULL && head->ops != ops && make) group_become(head, ops, NULL);
    mem_free(name);
    return head == NULL || head->ops != ops ? NULL : head;
}

void group_replay_gone(struct group *g) {
    if (g->offsets.n == 0) {
        group_free(g);
        return;
    }
    group_become(g, &classic_group_ops, NULL);
    classic_own_new(g);
}

static enum err_code load_batch(struct coordinator *c, const struct batch *b, struct err *err) {
    struct batch_iter it;
    struct batch_record rec;
    c->durable = ++c->submitted;
    if ((b->attributes & BATCH_ATTR_CONTROL) != 0) {
        struct txn_marker m;
        if (txn_marker_read(b, &m)) offsets_txn_ended(c, b->producer_id, m.commit);
        return ERR_OK;
    }
    bool in_txn = (b->attributes & BATCH_ATTR_TRANSACTION) != 0;
    enum err_code code = batch_iter_init(&it, b, 0, err);
    int got = 0;
    while (code == ERR_OK && (got = batch_iter_next(&it, &rec, err)) == 1) {
        struct rd key = rd_of(rec.key.p, rec.key.n), value = rd_of(rec.value.p, rec.value.n);
        if (in_txn) {
            if (!offsets_replay_txn(c, b->producer_id, &key, rec.value_null ? NULL : &value))
                log_warn("broker", "unreadable record in " OFFSETS_TOPIC, "offset", log_i64(rec.offset), NULL);
            continue;
        }
        replay_fn *replay = replay_of(rd_be16(&key));
        if (replay == NULL || key.failed) continue; // of a kind that we do not know
        if (!replay(c, &key, rec.value_null ? NULL : &value))
            log_warn("broker", "unreadable record in " OFFSETS_TOPIC, "offset", log_i64(rec.offset), NULL);
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

enum err_code group_records_load(struct coordinator *c, struct err *err) {
    struct broker *b = c->broker;
    const char *segment = configs_broker_i64(b, "offsets.topic.segment.bytes", 0) < SEGMENT_MIN ? "internal.segment.bytes" : "segment.bytes";
    const struct broker_kv configs[] = {{"cleanup.policy", "compact"},
                                        {"max.message.bytes", "104857600"},
                                        {segment, configs_broker_text(b, "offsets.topic.segment.bytes")}};
    struct partition *p = partition_find(b, OFFSETS_TOPIC, 0);
    enum err_code code = p == NULL ? broker_topic_create(b, OFFSETS_TOPIC, 1, configs, 3, false, NULL, NULL, err) : load_all(c, p->log, err);
    if (p == NULL || log_end(p->log) == 0) topics_yield(b, OFFSETS_TOPIC); // Kafka makes it when it is needed: clients may want to be first
    if (p != NULL) partition_unref(p);
    return code == ERR_OK ? ERR_OK : err_wrap(err, "topic " OFFSETS_TOPIC);
}

// ---- pieces ---------------------------------------------------------------------------------------------------------

void put_string(struct buf *out, struct str s) {
    buf_put_be16(out, (uint16_t)s.n);
    buf_put_str(out, s);
}

void put_nullable_string(struct buf *out, const char *s) {
    if (s == NULL) buf_put_be16(out, UINT16_MAX);
    else put_string(out, str_c(s));
}

void put_bytes(struct buf *out, struct str s) {
    buf_put_be32(out, (uint32_t)s.n);
    buf_put_str(out, s);
}

void put_compact_string(struct buf *out, struct str s) {
    buf_put_uvarint(out, s.n + 1);
    buf_put_str(out, s);
}

void put_compact_nullable(struct buf *out, const char *s) {
    if (s == NULL) buf_put_u8(out, 0);
    else put_compact_string(out, str_c(s));
}

void put_compact_count(struct buf *out, size_t n) { buf_put_uvarint(out, n + 1); }

struct str get_string(struct rd *r) {
    uint16_t n = rd_be16(r);
    if (n == UINT16_MAX) return (struct str){NULL, 0};
    const uint8_t *p = rd_bytes(r, n);
    return str_n(p, p == NULL ? 0 : n);
}

struct str get_bytes(struct rd *r) {
    uint32_t n = rd_be32(r);
    if (n == UINT32_MAX) return (struct str){NULL, 0};
    const uint8_t *p = rd_bytes(r, n);
    return str_n(p, p == NULL ? 0 : n);
}

struct str get_compact_string(struct rd *r) {
    uint64_t n = rd_uvarint(r);
    if (n == 0) return (struct str){NULL, 0};
    if (n - 1 > rd_left(r)) r->failed = true;
    const uint8_t *p = r->failed ? NULL : rd_bytes(r, (size_t)n - 1);
    return str_n(p, p == NULL ? 0 : (size_t)n - 1);
}

size_t get_compact_count(struct rd *r) {
    uint64_t n = rd_uvarint(r);
    if (n == 0 || r->failed) return 0;
    if (n - 1 > rd_left(r)) r->failed = true;
    return r->failed ? 0 : (size_t)n - 1;
}

void put_one_tag(struct buf *out, uint64_t tag, size_t size) {
    buf_put_uvarint(out, 1);
    buf_put_uvarint(out, tag);
    buf_put_uvarint(out, size);
}

struct tags tags_begin(struct rd *r) { return (struct tags){.left = rd_uvarint(r)}; }

bool tags_next(struct tags *t, struct rd *r) {
    if (t->left == 0 || r->failed) return false;
    t->left--;
    t->tag = rd_uvarint(r);
    uint64_t size = rd_uvarint(r);
    if (size > rd_left(r)) r->failed = true;
    const uint8_t *p = r->failed ? NULL : rd_bytes(r, (size_t)size);
    t->value = rd_of(p, p == NULL ? 0 : (size_t)size);
    return !r->failed;
}

void skip_tags(struct rd *r) {
    for (struct tags t = tags_begin(r); tags_next(&t, r);) {}
}
