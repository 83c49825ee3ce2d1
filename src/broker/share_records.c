// SPDX-License-Identifier: Apache-2.0
// The records of __share_group_state: building and reading. Pure but for share_records_load, which runs while the broker opens.
#include "broker/share_records.h"

#include <assert.h>

#include "base/log.h"
#include "broker/group_records.h"

enum { KEY_SNAPSHOT = 0, KEY_UPDATE = 1, READ_BYTES = 1 << 20, TAG_COMPLETE = 0 };

static void put_key(struct buf *out, int version, const struct share_key *key) {
    buf_put_be16(out, (uint16_t)version);
    put_string(out, str_c(key->group));
    buf_put(out, key->topic_id, 16);
    buf_put_be32(out, (uint32_t)key->partition);
}

static void put_ranges(struct buf *out, const struct share_record *r) {
    put_compact_count(out, r->n_ranges);
    for (size_t i = 0; i < r->n_ranges; i++) {
        buf_put_be64(out, (uint64_t)r->ranges[i].first);
        buf_put_be64(out, (uint64_t)r->ranges[i].last);
        buf_put_u8(out, (uint8_t)r->ranges[i].state);
        buf_put_be16(out, (uint16_t)r->ranges[i].count);
        put_no_tags(out);
    }
}

static void put_value(struct buf *out, const struct share_record *r) {
    buf_put_be16(out, 0);
    buf_put_be32(out, (uint32_t)r->snapshot_epoch);
    if (r->snapshot) buf_put_be32(out, (uint32_t)r->state_epoch);
    buf_put_be32(out, (uint32_t)r->leader_epoch);
    buf_put_be64(out, (uint64_t)r->start);
    if (r->snapshot) {
        buf_put_be64(out, (uint64_t)r->create_ms);
        buf_put_be64(out, (uint64_t)r->write_ms);
    }
    put_ranges(out, r);
    if (r->complete == -1) {
        put_no_tags(out);
        return;
    }
    put_one_tag(out, TAG_COMPLETE, 4);
    buf_put_be32(out, (uint32_t)r->complete);
}

static void build(struct buf *out, int64_t now_ms, int version, const struct share_key *key, const struct share_record *r) {
    struct batch_builder bb;
    struct buf k = {0}, v = {0};
    put_key(&k, version, key);
    if (r != NULL) put_value(&v, r);
    batch_begin(&bb, out, now_ms);
    batch_add(&bb, now_ms, buf_str(&k), false, r == NULL ? (struct str){NULL, 0} : buf_str(&v), r == NULL, NULL, 0);
    batch_end(&bb);
    buf_fini(&k);
    buf_fini(&v);
}

void share_records_build(struct buf *out, int64_t now_ms, const struct share_key *key, const struct share_record *r) {
    build(out, now_ms, r->snapshot ? KEY_SNAPSHOT : KEY_UPDATE, key, r);
}

void share_records_tombstone(struct buf *out, int64_t now_ms, const struct share_key *key) { build(out, now_ms, KEY_SNAPSHOT, key, NULL); }

// ---- reading --------------------------------------------------------------------------------------------------------

static bool get_ranges(struct rd *r, share_ranges *out) {
    size_t n = get_compact_count(r);
    out->n = 0;
    for (size_t i = 0; i < n && !r->failed; i++) {
        struct share_range x = {.first = (int64_t)rd_be64(r), .last = (int64_t)rd_be64(r)};
        x.state = (int8_t)rd_u8(r);
        x.count = (int16_t)rd_be16(r);
        skip_tags(r);
        if (!r->failed) vec_add(out, x);
    }
    return !r->failed;
}

static int32_t get_complete(struct rd *r) {
    int32_t complete = -1;
    for (struct tags t = tags_begin(r); tags_next(&t, r);)
        if (t.tag == TAG_COMPLETE && rd_left(&t.value) == 4) complete = (int32_t)rd_be32(&t.value);
    return complete;
}

static bool get_value(struct rd *r, bool snapshot, struct share_record *out, share_ranges *ranges) {
    (void)rd_be16(r);
    *out = (struct share_record){.snapshot = snapshot, .snapshot_epoch = (int32_t)rd_be32(r)};
    if (snapshot) out->state_epoch = (int32_t)rd_be32(r);
    out->leader_epoch = (int32_t)rd_be32(r);
    out->start = (int64_t)rd_be64(r);
    if (snapshot) {
        out->create_ms = (int64_t)rd_be64(r);
        out->write_ms = (int64_t)rd_be64(r);
    }
    if (!get_ranges(r, ranges)) return false;
    out->complete = get_complete(r);
    out->ranges = ranges->p;
    out->n_ranges = ranges->n;
    return !r->failed;
}

static bool read_record(const struct batch_record *rec, share_ranges *ranges, share_replay_fn *fn, void *arg) {
    struct rd k = rd_of(rec->key.p, rec->key.n), v = rd_of(rec->value.p, rec->value.n);
    struct share_key key = {0};
    int version = rd_be16(&k);
    struct str group = get_string(&k);
    const uint8_t *id = rd_bytes(&k, 16);
    key.partition = (int32_t)rd_be32(&k);
    if (k.failed || group.p == NULL) return false;
    if (version != KEY_SNAPSHOT && version != KEY_UPDATE) return true; // of a kind that we do not know
    if (rec->value_null && version == KEY_UPDATE) return true;
    struct share_record r;
    if (!rec->value_null && !get_value(&v, version == KEY_SNAPSHOT, &r, ranges)) return false;
    memcpy(key.topic_id, id, 16);
    char *name = mem_strndup(group.p, group.n);
    key.group = name;
    fn(arg, &key, rec->value_null ? NULL : &r, rec->offset);
    mem_free(name);
    return true;
}

static enum err_code load_batch(const struct batch *b, share_ranges *ranges, share_replay_fn *fn, void *arg, struct err *err) {
    struct batch_iter it;
    struct batch_record rec;
    enum err_code code = batch_iter_init(&it, b, 0, err);
    int got = 0;
    while (code == ERR_OK && (got = batch_iter_next(&it, &rec, err)) == 1)
        if (!read_record(&rec, ranges, fn, arg)) log_warn("broker", "unreadable record in " SHARE_STATE_TOPIC, "offset", log_i64(rec.offset), NULL);
    batch_iter_fini(&it);
    return got < 0 ? ERR_CORRUPT : code;
}

enum err_code share_records_load(struct log *l, share_replay_fn *fn, void *arg, struct err *err) {
    struct buf bytes = {0};
    share_ranges ranges = {0};
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
            code = load_batch(&b, &ranges, fn, arg, err);
            at = batch_last_offset(&b) + 1;
        }
    }
    buf_fini(&bytes);
    vec_fini(&ranges);
    return code;
}
