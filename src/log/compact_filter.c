// SPDX-License-Identifier: Apache-2.0
// One batch through compaction: which records stay, and the batch that holds them.
//
// The rules are those of Kafka's cleaner (LogCleaner, MemoryRecords.filterTo). Pure but for its scratch memory.
#include <assert.h>

#include "codec/compress.h"
#include "codec/crc32c.h"
#include "codec/varint.h"
#include "log/compact_inside.h"

// ---- writing a batch ------------------------------------------------------------------------------------------------

// The header of `b` with some fields changed, then records; their CRC.
static void put_batch(struct buf *out, const struct batch *b, int64_t max_timestamp, int32_t count, struct str records) {
    size_t at = out->n, size = BATCH_HEADER + records.n;
    buf_put_be64(out, (uint64_t)b->base_offset);
    buf_put_be32(out, (uint32_t)(size - BATCH_PREFIX));
    buf_put_be32(out, (uint32_t)b->leader_epoch);
    buf_put_u8(out, 2);
    buf_put_be32(out, 0);
    buf_put_be16(out, (uint16_t)b->attributes);
    buf_put_be32(out, (uint32_t)b->last_offset_delta);
    buf_put_be64(out, (uint64_t)b->base_timestamp);
    buf_put_be64(out, (uint64_t)max_timestamp);
    buf_put_be64(out, (uint64_t)b->producer_id);
    buf_put_be16(out, (uint16_t)b->producer_epoch);
    buf_put_be32(out, (uint32_t)b->base_sequence);
    buf_put_be32(out, (uint32_t)count);
    buf_put_str(out, records);
    enum { CRC = 17, ATTRIBUTES = 21 };
    if (!out->failed) buf_set_be32(out, at + CRC, crc32c(0, out->p + at + ATTRIBUTES, size - ATTRIBUTES));
}

// No record, no timestamp: searches by time do not stop at it.
static void put_empty(struct buf *out, const struct batch *b) {
    struct batch e = *b;
    e.attributes &= BATCH_ATTR_APPEND_TIME | BATCH_ATTR_TRANSACTION | BATCH_ATTR_CONTROL;
    e.base_timestamp = -1;
    put_batch(out, &e, -1, 0, STR(""));
}

// A record's bytes as they were, or with its timestamp counted from another base.
static void put_record(struct buf *out, struct str raw, int64_t shift) {
    if (shift == 0) {
        buf_put_str(out, raw);
        return;
    }
    struct rd r = rd_of(raw.p, raw.n);
    (void)rd_varint(&r);
    uint8_t attributes = rd_u8(&r);
    int64_t delta = (int64_t)((uint64_t)rd_varint(&r) + (uint64_t)shift);
    assert(!r.failed); // the iterator has read it
    buf_put_varint(out, (int64_t)(1 + varint_size(delta) + rd_left(&r)));
    buf_put_u8(out, attributes);
    buf_put_varint(out, delta);
    buf_put(out, r.p, rd_left(&r));
}

// ---- what stays -----------------------------------------------------------------------------------------------------

static bool is_last_of_producer(const struct compact_filter *f, const struct batch *b) {
    size_t low = 0, high = f->n_producers;
    if (b->producer_id < 0) return false;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (f->producers[mid].producer_id < b->producer_id) low = mid + 1;
        else high = mid;
    }
    if (low == f->n_producers || f->producers[low].producer_id != b->producer_id) return false;
    const struct log_producer_last *p = &f->producers[low];
    if (p->last_offset >= 0) return batch_last_offset(b) == p->last_offset;
    return (b->attributes & BATCH_ATTR_CONTROL) != 0 && b->producer_epoch == p->epoch;
}

static bool stays(const struct compact_filter *f, const struct batch *b, const struct batch_record *r, int64_t horizon) {
    if ((b->attributes & BATCH_ATTR_CONTROL) != 0 || r->offset > f->map->latest) return true;
    if (r->key_null) return false; // compaction lives by keys
    if (r->offset < compact_map_get(f->map, r->key)) return false;
    return !r->value_null || horizon < 0 || f->now_ms < horizon;
}

struct survey { // of one batch
    int32_t kept;
    bool tombstones;
    int64_t max_timestamp;
};

// Collects what stays in f->records, counted from base timestamp + shift.
static enum err_code collect(struct compact_filter *f, const struct batch *b, int64_t horizon, int64_t shift, struct survey *s, struct err *err) {
    struct batch_iter it;
    struct batch_record r;
    *s = (struct survey){.max_timestamp = INT64_MIN};
    buf_clear(&f->records);
    enum err_code code = batch_iter_init(&it, b, 0, err);
    int got = 0;
    while (code == ERR_OK) {
        const uint8_t *from = it.rd.p;
        if ((got = batch_iter_next(&it, &r, err)) != 1) break;
        if (!stays(f, b, &r, horizon)) continue;
        s->kept++;
        s->tombstones = s->tombstones || (r.value_null && (b->attributes & BATCH_ATTR_CONTROL) == 0);
        if (r.timestamp > s->max_timestamp) s->max_timestamp = r.timestamp;
        put_record(&f->records, str_n(from, (size_t)(it.rd.p - from)), shift);
    }
    batch_iter_fini(&it);
    if (code == ERR_OK && got < 0) code = ERR_CORRUPT;
    if (code == ERR_OK && f->records.failed) code = err_set(err, ERR_TOO_LARGE, "batch at offset %lld is too large to rewrite", (long long)b->base_offset);
    return code;
}

static enum err_code rewrite(struct compact_filter *f, const struct batch *b, const struct survey *s, int64_t horizon, struct buf *out,
                             struct err *err) {
    struct batch n = *b;
    struct str records = buf_str(&f->records);
    if (horizon >= 0) {
        n.attributes |= BATCH_ATTR_DELETE_HORIZON;
        n.base_timestamp = horizon;
    }
    if (batch_codec(b) != COMPRESS_NONE) {
        buf_clear(&f->packed);
        enum err_code code = compress_bytes((enum compress_kind)batch_codec(b), records, &f->packed, err);
        if (code != ERR_OK) return code;
        records = buf_str(&f->packed);
    }
    put_batch(out, &n, (b->attributes & BATCH_ATTR_APPEND_TIME) != 0 ? b->max_timestamp : s->max_timestamp, s->kept, records);
    return ERR_OK;
}

enum err_code compact_filter_batch(struct compact_filter *f, const struct batch *b, bool keep, struct buf *out, bool *changed, struct err *err) {
    bool control = (b->attributes & BATCH_ATTR_CONTROL) != 0;
    int64_t horizon = (b->attributes & BATCH_ATTR_DELETE_HORIZON) != 0 ? b->base_timestamp : -1;
    bool may_discard = compact_txns_discard(f->txns, b);
    bool discard = control ? may_discard && horizon >= 0 && horizon <= f->now_ms : may_discard;
    keep = keep || is_last_of_producer(f, b);
    discard = discard && !(control && keep); // a marker stays whole
    f->records_read += b->count;
    struct survey s = {0};
    enum err_code code = discard ? ERR_OK : collect(f, b, horizon, 0, &s, err);
    if (code != ERR_OK) return code;
    f->records_kept += s.kept;
    if (s.kept == 0) {
        *changed = *changed || !keep || b->count > 0;
        if (keep && b->count == 0) buf_put(out, b->p, b->size);
        else if (keep) put_empty(out, b);
        return ERR_OK;
    }
    bool set_horizon = horizon < 0 && (s.tombstones || (control && may_discard));
    if (s.kept == b->count && !set_horizon) {
        buf_put(out, b->p, b->size);
        return ERR_OK;
    }
    *changed = true;
    int64_t until = set_horizon ? f->now_ms + f->delete_retention_ms : -1;
    if (set_horizon && until < f->now_ms) until = INT64_MAX; // a retention as long as can be
    if (set_horizon) code = collect(f, b, horizon, (int64_t)((uint64_t)b->base_timestamp - (uint64_t)until), &s, err);
    return code == ERR_OK ? rewrite(f, b, &s, until, out, err) : code;
}
