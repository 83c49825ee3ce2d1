// SPDX-License-Identifier: Apache-2.0
// The store over the broker: topic `_schemas`, one partition, kept for ever. Threads that may block.
#include "log/batch.h"
#include "subjects/internal.h"
#include "topics/topics.h"

static const char topic[] = "_schemas";
enum { READ_BYTES = 1 << 20, PLAIN_MAX = 64 << 20, RECORDS_MAX = 100000 };

static enum err_code make_topic(struct topics *t, struct err *err) {
    static const struct broker_kv configs[] = {{"cleanup.policy", "compact"}, {"retention.ms", "-1"}};
    enum err_code code = topics_create(t, topic, 1, configs, 2, err);
    if (code == ERR_CONFIG || code == ERR_NOT_SUPPORTED) code = topics_create(t, topic, 1, configs + 1, 1, err);
    return code == ERR_EXISTS ? ERR_OK : code;
}

static enum err_code append(void *self, const struct subjects_record *in, size_t n, int64_t *last, struct err *err) {
    struct topics *t = self;
    if (n > RECORDS_MAX) return err_set(err, ERR_TOO_LARGE, "%zu registry records at once", n);
    struct broker_record *records = mem_zalloc(n * sizeof *records);
    for (size_t i = 0; i < n; i++)
        records[i] = (struct broker_record){.key = in[i].key, .value = in[i].value, .value_null = in[i].value_null, .timestamp_ms = -1};
    int64_t base = 0;
    enum err_code code = topics_append(t, topic, 0, records, n, &base, err);
    if (code == ERR_NO_TOPIC && (code = make_topic(t, err)) == ERR_OK) code = topics_append(t, topic, 0, records, n, &base, err);
    mem_free(records);
    *last = base + (int64_t)n - 1;
    return code;
}

static enum err_code read_batch(const struct batch *b, int64_t *next, subjects_record_fn *fn, void *arg, struct err *err) {
    if ((b->attributes & BATCH_ATTR_CONTROL) == 0) {
        struct batch_iter it;
        struct batch_record r;
        enum err_code code = batch_iter_init(&it, b, PLAIN_MAX, err);
        if (code != ERR_OK) return code;
        int more;
        while ((more = batch_iter_next(&it, &r, err)) > 0) {
            struct subjects_record record = {r.key, r.value, r.value_null};
            if (r.offset >= *next && !r.key_null) fn(arg, &record);
        }
        batch_iter_fini(&it);
        if (more < 0) return ERR_CORRUPT;
    }
    *next = batch_last_offset(b) + 1;
    return ERR_OK;
}

static enum err_code read_all(struct topics *t, int64_t *next, int64_t end, subjects_record_fn *fn, void *arg, struct err *err) {
    struct buf bytes;
    buf_init(&bytes, 0);
    enum err_code code = ERR_OK;
    while (*next < end && code == ERR_OK) {
        buf_clear(&bytes);
        int64_t behind = *next;
        code = topics_read(t, topic, 0, *next, READ_BYTES, &bytes, &behind, NULL, err);
        if (code != ERR_OK || behind == *next) break;
        for (size_t at = 0; at < bytes.n && code == ERR_OK;) {
            struct batch batch;
            if (batch_read(bytes.p + at, bytes.n - at, &batch) != BATCH_OK)
                code = err_set(err, ERR_CORRUPT, "%s: a damaged batch near offset %lld", topic, (long long)*next);
            else code = read_batch(&batch, next, fn, arg, err);
            at += code == ERR_OK ? batch.size : 0;
        }
        if (code == ERR_OK) *next = behind;
    }
    buf_fini(&bytes);
    return code;
}

static enum err_code read(void *self, int64_t *next, bool *reset, subjects_record_fn *fn, void *arg, struct err *err) {
    struct topics *t = self;
    struct broker_offsets o = {0};
    struct err own = {0};
    enum err_code code = topics_offsets(t, topic, 0, &o, &own);
    if (code != ERR_OK && code != ERR_NO_TOPIC && code != ERR_NOT_FOUND) {
        err_copy(err, &own);
        return code;
    }
    if (o.high_watermark < *next) { // the topic was deleted, perhaps made anew
        *reset = true;
        *next = 0;
    }
    if (*next < o.start) *next = o.start;
    return *next == o.high_watermark ? ERR_OK : read_all(t, next, o.high_watermark, fn, arg, err);
}

struct subjects *subjects_open(struct topics *t, struct err *err) {
    struct subjects_store store = {.self = t, .append = append, .read = read};
    return subjects_open_store(&store, err);
}
