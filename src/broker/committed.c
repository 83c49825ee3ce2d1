// SPDX-License-Identifier: Apache-2.0
// Reads of committed data: up to the last stable offset, with the transactions in it that were aborted. Any thread; buffers are the caller's.
#include "base/metrics.h"
#include "broker/internal.h"

// Cuts whole batches at and behind `end` off what was read; *last = offset behind what stays.
static void cut_at(struct buf *out, size_t from, int64_t end, int64_t *next) {
    struct batch b;
    size_t at = from;
    while (at < out->n && batch_read(out->p + at, out->n - at, &b) == BATCH_OK && b.base_offset < end) {
        at += b.size;
        *next = batch_last_offset(&b) + 1;
    }
    out->n = at;
}

static enum err_code read_stable(struct partition *p, int64_t offset, size_t max_bytes, struct buf *out, struct broker_offsets *offsets,
                                 log_aborteds *aborted, int64_t *next, struct err *err) {
    size_t before = out->n;
    offsets->start = log_start(p->log);
    offsets->high_watermark = log_read_end(p->log);
    offsets->end = log_end(p->log);
    offsets->stable = partition_stable(p, offsets->high_watermark);
    *next = offset;
    if (offset >= offsets->stable && offset <= offsets->high_watermark && offset >= offsets->start) return ERR_OK;
    enum err_code code = log_read(p->log, offset, max_bytes, out, err);
    if (code == ERR_OK) {
        cut_at(out, before, offsets->stable, next);
        code = log_aborted(p->log, offset, *next, aborted, err);
    }
    if (code != ERR_OK) out->n = before;
    if (out->n > before) metric_add(M_LOG_BYTES_OUT, p->topic_name, (int64_t)(out->n - before));
    return code;
}

static enum err_code no_partition(const char *topic, int32_t partition, struct err *err) {
    return err_set(err, ERR_NO_TOPIC, "no topic \"%.260s\" with a partition %d", topic, partition);
}

// The header of the batch at byte `at` of a view, whose pieces may end anywhere; false = fewer bytes are left.
static bool header_at(const struct log_view *v, size_t at, struct batch *out) {
    uint8_t bytes[BATCH_HEADER];
    size_t have = 0, skip = at;
    for (size_t i = 0; i < v->pieces.n && have < sizeof bytes; i++) {
        struct str s = v->pieces.p[i].bytes;
        if (skip >= s.n) {
            skip -= s.n;
            continue;
        }
        size_t n = s.n - skip < sizeof bytes - have ? s.n - skip : sizeof bytes - have;
        memcpy(bytes + have, s.p + skip, n);
        have += n;
        skip = 0;
    }
    enum batch_status status = batch_read(bytes, have, out);
    out->p = NULL; // it was a copy
    return have == sizeof bytes && (status == BATCH_OK || status == BATCH_SHORT);
}

static void trim(struct log_view *v, size_t n) {
    size_t left = n;
    for (size_t i = 0; i < v->pieces.n; i++) { // pieces that are empty now keep their block until the release
        struct str *s = &v->pieces.p[i].bytes;
        if (s->n > left) s->n = left;
        left -= s->n;
    }
    v->n = n;
}

static enum err_code view_stable(struct partition *p, int64_t offset, struct log_view *v, const struct broker_offsets *offsets, log_aborteds *aborted,
                                 struct err *err) {
    size_t at = 0;
    int64_t next = offset;
    struct batch b;
    while (at < v->n && header_at(v, at, &b) && b.base_offset < offsets->stable) {
        at += b.size;
        next = batch_last_offset(&b) + 1;
    }
    if (at < v->n) trim(v, at);
    return log_aborted(p->log, offset, next, aborted, err);
}

// What is behind a row of batches without records may be unstable: then those are the answer.
static enum err_code read_view(struct partition *p, int64_t offset, size_t max_bytes, bool may_block, struct log_view *out,
                               const struct broker_offsets *offsets, struct err *err) {
    struct batch b;
    enum err_code code = log_read_records(p->log, offset, max_bytes, may_block, out, err);
    if (code != ERR_OK || out->n == 0 || !header_at(out, 0, &b) || b.base_offset < offsets->stable) return code;
    log_view_release(out);
    return log_read_view(p->log, offset, max_bytes, may_block, out, err);
}

enum err_code broker_read_committed(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, bool may_block,
                                    struct log_view *out, struct broker_offsets *offsets, struct arena *a, struct broker_aborted **aborted,
                                    size_t *n_aborted, struct err *err) {
    struct partition *p = partition_find(b, topic, partition);
    log_aborteds list = {0};
    *aborted = NULL;
    *n_aborted = 0;
    if (p == NULL) return no_partition(topic, partition, err);
    enum err_code code = broker_offsets(b, topic, partition, offsets, err);
    bool unstable = offset >= offsets->stable && offset <= offsets->high_watermark && offset >= offsets->start;
    if (code == ERR_OK && !unstable) {
        code = read_view(p, offset, max_bytes, may_block, out, offsets, err);
        if (code == ERR_OK && out->n > 0 && (offsets->stable < offsets->high_watermark || log_has_aborted(p->log)))
            code = view_stable(p, offset, out, offsets, &list, err);
        else if (code == ERR_OK && out->n > 0 && log_read_end(p->log) > offsets->high_watermark) // what came meanwhile may be unstable
            code = view_stable(p, offset, out, offsets, &list, err);
    }
    if (code != ERR_OK) log_view_release(out);
    if (code == ERR_OK && list.n > 0) {
        *aborted = ARENA_ARRAY(a, struct broker_aborted, list.n);
        for (size_t i = 0; i < list.n; i++) (*aborted)[i] = (struct broker_aborted){list.p[i].producer_id, list.p[i].first, list.p[i].last};
        *n_aborted = list.n;
    }
    if (out->ahead) partition_read_ahead(p, out->next);
    if (out->n > 0) metric_add(M_LOG_BYTES_OUT, p->topic_name, (int64_t)out->n);
    vec_fini(&list);
    partition_unref(p);
    return code;
}

static bool is_visible(const struct batch *b, const log_aborteds *aborted) {
    if ((b->attributes & BATCH_ATTR_CONTROL) != 0) return false;
    if ((b->attributes & BATCH_ATTR_TRANSACTION) == 0) return true;
    for (size_t i = 0; i < aborted->n; i++) {
        const struct log_aborted *x = &aborted->p[i];
        if (x->producer_id == b->producer_id && x->first <= b->base_offset && b->base_offset <= x->last) return false;
    }
    return true;
}

enum err_code broker_read_plain(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, struct buf *out,
                                int64_t *next, struct broker_offsets *offsets, struct err *err) {
    struct partition *p = partition_find(b, topic, partition);
    struct broker_offsets own;
    log_aborteds aborted = {0};
    size_t from = out->n;
    *next = offset;
    if (p == NULL) return no_partition(topic, partition, err);
    enum err_code code = read_stable(p, offset, max_bytes, out, offsets == NULL ? &own : offsets, &aborted, next, err);
    size_t keep = from, at = from;
    struct batch x;
    while (at < out->n && batch_read(out->p + at, out->n - at, &x) == BATCH_OK) {
        if (is_visible(&x, &aborted)) {
            if (keep != at) memmove(out->p + keep, out->p + at, x.size);
            keep += x.size;
        }
        at += x.size;
    }
    out->n = keep;
    vec_fini(&aborted);
    partition_unref(p);
    return code;
}
