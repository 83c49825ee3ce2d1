// SPDX-License-Identifier: Apache-2.0
// The topic __transaction_state in Kafka's own record format: key version 0 (transactional id), value version 1 (0 is read too).
//
// The newest record of an id is its state; a null value forgets it. The topic has one partition here, so the order of its records is the
// order of the transitions, and one sync serves those of many ids. On the coordinator's loop, except loading.
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "broker/txn_coordinator.h"

enum { READ_BYTES = 1 << 20, TAG_PREVIOUS_ID = 0, TAG_NEXT_ID = 1, TAG_CLIENT_VERSION = 2 };

// ---- writing --------------------------------------------------------------------------------------------------------

static void put_uvarint(struct buf *out, uint64_t v) {
    for (; v >= 0x80; v >>= 7) buf_put_u8(out, (uint8_t)(v | 0x80));
    buf_put_u8(out, (uint8_t)v);
}

static void put_compact(struct buf *out, const char *s) {
    size_t n = strlen(s);
    put_uvarint(out, n + 1);
    buf_put(out, s, n);
}

static void put_tag64(struct buf *out, unsigned tag, int64_t v) {
    put_uvarint(out, tag);
    put_uvarint(out, 8);
    buf_put_be64(out, (uint64_t)v);
}

static void put_key(struct buf *out, const char *id) {
    size_t n = strlen(id);
    buf_put_be16(out, 0);
    buf_put_be16(out, (uint16_t)n);
    buf_put(out, id, n);
}

// One entry for each run of partitions of the same topic: they are kept in the order of their coming.
static void put_parts(struct buf *out, const struct txn *t) {
    size_t runs = 0;
    for (size_t i = 0; i < t->parts.n; i++)
        if (i == 0 || strcmp(t->parts.p[i].topic, t->parts.p[i - 1].topic) != 0) runs++;
    put_uvarint(out, runs + 1);
    for (size_t i = 0, end; i < t->parts.n; i = end) {
        for (end = i + 1; end < t->parts.n && strcmp(t->parts.p[end].topic, t->parts.p[i].topic) == 0;) end++;
        put_compact(out, t->parts.p[i].topic);
        put_uvarint(out, end - i + 1);
        for (size_t k = i; k < end; k++) buf_put_be32(out, (uint32_t)t->parts.p[k].partition);
        put_uvarint(out, 0);
    }
}

static void put_value(struct buf *out, const struct txn *t, const struct txn_meta *m) {
    buf_put_be16(out, 1);
    buf_put_be64(out, (uint64_t)m->producer_id);
    buf_put_be16(out, (uint16_t)m->epoch);
    buf_put_be32(out, (uint32_t)m->timeout_ms);
    buf_put_u8(out, (uint8_t)m->state);
    if (m->state == TXN_EMPTY) put_uvarint(out, 0); // null
    else if (m->state == TXN_COMPLETE_COMMIT || m->state == TXN_COMPLETE_ABORT) put_uvarint(out, 1);
    else put_parts(out, t);
    buf_put_be64(out, (uint64_t)m->update_ms);
    buf_put_be64(out, (uint64_t)m->start_ms);
    put_uvarint(out, (m->previous_id >= 0) + (m->next_id >= 0) + (m->client_version != 0));
    if (m->previous_id >= 0) put_tag64(out, TAG_PREVIOUS_ID, m->previous_id);
    if (m->next_id >= 0) put_tag64(out, TAG_NEXT_ID, m->next_id);
    if (m->client_version != 0) {
        put_uvarint(out, TAG_CLIENT_VERSION);
        put_uvarint(out, 2);
        buf_put_be16(out, (uint16_t)m->client_version);
    }
}

static void written(struct broker_produce *p) {
    struct txn_write *w = p->arg;
    struct txn_coordinator *c = w->coordinator;
    if (p->kafka_error != 0) log_error("broker", "transaction state not written", "error", p->message, NULL);
    c->under_way--;
    w->done(w, p->kafka_error == 0 ? 0 : KAFKA_COORDINATOR_NOT_AVAILABLE);
    buf_fini(&w->bytes);
    mem_free(w);
    txn_quiet(c);
}

void txn_record_write(struct txn *t, const struct txn_meta *next, bool tombstone, void (*done)(struct txn_write *w, int error), struct txn_call *x) {
    struct txn_coordinator *c = t->coordinator;
    struct txn_write *w = MEM_NEW(struct txn_write);
    *w = (struct txn_write){.txn = t, .coordinator = c, .next = *next, .done = done, .call = x, .n_parts = t->parts.n};
    struct buf key = {0}, value = {0};
    struct batch_builder bb;
    int64_t now = sys_now_us(c->broker->sys) / 1000;
    buf_init(&w->bytes, 0);
    put_key(&key, t->id);
    if (!tombstone) put_value(&value, t, next);
    batch_begin(&bb, &w->bytes, now);
    batch_add(&bb, now, buf_str(&key), false, buf_str(&value), tombstone, NULL, 0);
    batch_end(&bb);
    buf_fini(&key);
    buf_fini(&value);
    w->produce = (struct broker_produce){.topic = TXN_TOPIC, .batches = buf_str(&w->bytes), .wait_durable = true, .done = written, .back = c->loop};
    w->produce.arg = w;
    c->under_way++;
    broker_produce(c->broker, &w->produce);
}

// ---- loading --------------------------------------------------------------------------------------------------------

static uint64_t get_uvarint(struct rd *r) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = rd_u8(r);
        v |= (uint64_t)(b & 0x7f) << shift;
        if ((b & 0x80) == 0) return v;
    }
    r->failed = true;
    return 0;
}

static uint64_t get_count(struct rd *r, bool flexible) { // null = 0 elements
    if (!flexible) {
        uint32_t n = rd_be32(r);
        return n == UINT32_MAX ? 0 : n;
    }
    uint64_t n = get_uvarint(r);
    return n == 0 ? 0 : n - 1;
}

static void skip_tags(struct rd *r) {
    for (uint64_t n = get_uvarint(r); n > 0 && !r->failed; n--) {
        (void)get_uvarint(r);
        (void)rd_bytes(r, (size_t)get_uvarint(r));
    }
}

static void get_parts(struct rd *r, bool flexible, struct txn *t) {
    for (uint64_t topics = get_count(r, flexible); topics > 0 && !r->failed; topics--) {
        size_t n = flexible ? (size_t)get_uvarint(r) - 1 : rd_be16(r);
        struct str topic = str_n(rd_bytes(r, n), n);
        for (uint64_t parts = get_count(r, flexible); parts > 0 && !r->failed; parts--) {
            int32_t partition = (int32_t)rd_be32(r);
            if (!r->failed) txn_put_part(t, topic, partition, true);
        }
        if (flexible) skip_tags(r);
    }
}

static void get_tags(struct rd *r, struct txn_meta *m) {
    for (uint64_t n = get_uvarint(r); n > 0 && !r->failed; n--) {
        uint64_t tag = get_uvarint(r), size = get_uvarint(r);
        const uint8_t *p = rd_bytes(r, (size_t)size);
        struct rd v = rd_of(p, p == NULL ? 0 : (size_t)size);
        if (tag == TAG_PREVIOUS_ID) m->previous_id = (int64_t)rd_be64(&v);
        if (tag == TAG_NEXT_ID) m->next_id = (int64_t)rd_be64(&v);
        if (tag == TAG_CLIENT_VERSION) m->client_version = (int16_t)rd_be16(&v);
    }
}

static bool load_value(struct txn_coordinator *c, const char *id, struct rd *r) {
    uint16_t version = rd_be16(r);
    struct txn_meta m;
    if (version > 1) return false;
    txn_meta_new(&m, (int64_t)rd_be64(r), 0, 0);
    m.epoch = (int16_t)rd_be16(r);
    m.timeout_ms = (int32_t)rd_be32(r);
    uint8_t state = rd_u8(r);
    if (r->failed || state > TXN_COMPLETE_ABORT) return false;
    m.state = (enum txn_state)state;
    struct txn *old = txn_find(c, id), *t;
    if (old != NULL) txn_drop(old);
    t = txn_make(c, id, &m);
    if (t == NULL) return false;
    get_parts(r, version >= 1, t);
    m.update_ms = (int64_t)rd_be64(r);
    m.start_ms = (int64_t)rd_be64(r);
    if (version >= 1) get_tags(r, &m);
    t->meta = m;
    return !r->failed;
}

static bool load_record(struct txn_coordinator *c, const struct batch_record *rec) {
    struct rd key = rd_of(rec->key.p, rec->key.n), value = rd_of(rec->value.p, rec->value.n);
    uint16_t version = rd_be16(&key), n = rd_be16(&key);
    const uint8_t *p = rd_bytes(&key, n);
    if (version > 0) return true; // of a newer Kafka: skipped
    if (p == NULL || n == 0) return false;
    char *id = mem_strndup((const char *)p, n);
    bool ok = true;
    struct txn *t = rec->value_null ? txn_find(c, id) : NULL;
    if (t != NULL) txn_drop(t);
    if (!rec->value_null) ok = load_value(c, id, &value);
    mem_free(id);
    return ok;
}

static enum err_code load_batch(struct txn_coordinator *c, const struct batch *b, struct err *err) {
    struct batch_iter it;
    struct batch_record rec;
    enum err_code code = batch_iter_init(&it, b, 0, err);
    int got = 0;
    while (code == ERR_OK && (got = batch_iter_next(&it, &rec, err)) == 1)
        if (!load_record(c, &rec)) log_warn("broker", "unreadable record in " TXN_TOPIC, "offset", log_i64(rec.offset), NULL);
    batch_iter_fini(&it);
    return got < 0 ? ERR_CORRUPT : code;
}

enum err_code txn_records_load(struct txn_coordinator *c, struct err *err) {
    struct partition *p = partition_find(c->broker, TXN_TOPIC, 0);
    c->topic_exists = p != NULL;
    if (p == NULL) return ERR_OK; // made at the first use
    struct buf bytes = {0};
    enum err_code code = ERR_OK;
    int64_t at = log_start(p->log), end = log_durable_end(p->log);
    while (at < end && code == ERR_OK) {
        buf_clear(&bytes);
        code = log_read(p->log, at, READ_BYTES, &bytes, err);
        struct batch b;
        for (size_t pos = 0; pos < bytes.n && code == ERR_OK; pos += b.size) {
            if (batch_read(bytes.p + pos, bytes.n - pos, &b) != BATCH_OK) return err_set(err, ERR_CORRUPT, "topic " TXN_TOPIC);
            code = load_batch(c, &b, err);
            at = batch_last_offset(&b) + 1;
        }
    }
    buf_fini(&bytes);
    partition_unref(p);
    return code == ERR_OK ? ERR_OK : err_wrap(err, "topic " TXN_TOPIC);
}
