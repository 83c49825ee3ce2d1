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
    offsets->high_watermark = log_durable_end(p->log);
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

enum err_code broker_read_committed(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, struct buf *out,
                                    struct broker_offsets *offsets, struct arena *a, struct broker_aborted **aborted, size_t *n_aborted,
                                    struct err *err) {
    struct partition *p = partition_find(b, topic, partition);
    struct broker_offsets own;
    log_aborteds list = {0};
    int64_t next = offset;
    *aborted = NULL;
    *n_aborted = 0;
    if (p == NULL) return no_partition(topic, partition, err);
    enum err_code code = read_stable(p, offset, max_bytes, out, offsets == NULL ? &own : offsets, &list, &next, err);
    if (code == ERR_OK && list.n > 0) {
        *aborted = ARENA_ARRAY(a, struct broker_aborted, list.n);
        for (size_t i = 0; i < list.n; i++) (*aborted)[i] = (struct broker_aborted){list.p[i].producer_id, list.p[i].first, list.p[i].last};
        *n_aborted = list.n;
    }
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
