// SPDX-License-Identifier: Apache-2.0
// Dead letters: events that do not decode, with the reason in headers, in a topic of one partition. The caller's threads; a mutex
// keeps appends in order. See internal.h for why none is doubled.
#include <inttypes.h>
#include <stdio.h>

#include "base/metrics.h"
#include "ingest/internal.h"

enum { READ_BYTES = 1 << 20, HEADERS_MAX = 64, KEY_MAX = 64 };

#define HEADER_TOPIC STR("millrace.dlq.topic")
#define HEADER_TOPIC_ID STR("millrace.dlq.topic_id")
#define HEADER_PARTITION STR("millrace.dlq.partition")
#define HEADER_OFFSET STR("millrace.dlq.offset")
#define HEADER_TABLE STR("millrace.dlq.table")
#define HEADER_REASON STR("millrace.dlq.reason")
#define HEADER_SCHEMA STR("millrace.dlq.schema_id")

void dead_letters_init(struct dead_letters *d, struct topics *t, const char *topic, const char *source, const char *source_id, const char *table) {
    *d = (struct dead_letters){.topics = t, .topic = topic, .source = source, .source_id = source_id, .table = table};
    sys_mutex_init(&d->mutex);
    map_init(&d->seen);
}

void dead_letters_fini(struct dead_letters *d) {
    map_fini(&d->seen);
    sys_mutex_fini(&d->mutex);
}

static struct str key_of(char text[KEY_MAX], int64_t partition, int64_t offset) {
    int n = snprintf(text, KEY_MAX, "%" PRId64 "/%" PRId64, partition, offset);
    return (struct str){text, (size_t)n};
}

// The first of that name is ours; the event may have brought one along, when it was a dead letter before.
static struct str first_header(const struct batch_record *r, struct str key) {
    struct str rest = r->headers;
    for (struct batch_header h; batch_header_next(&rest, &h);)
        if (str_eq(h.key, key)) return h.value;
    return (struct str){0};
}

// Remembers a dead letter of this table and topic that a run before left. Offsets of an earlier topic of the same name say nothing.
static void remember(struct dead_letters *d, const struct batch_record *r) {
    int64_t partition = -1, offset = -1;
    if (!str_eqc(first_header(r, HEADER_TOPIC_ID), d->source_id) || !str_eqc(first_header(r, HEADER_TABLE), d->table)) return;
    if (!str_to_i64(first_header(r, HEADER_PARTITION), &partition) || !str_to_i64(first_header(r, HEADER_OFFSET), &offset)) return;
    char text[KEY_MAX];
    map_put(&d->seen, key_of(text, partition, offset), d);
}

static enum err_code remember_batches(struct dead_letters *d, const struct buf *bytes, int64_t *next, struct err *err) {
    for (size_t at = 0; at < bytes->n;) {
        struct batch b;
        if (batch_read(bytes->p + at, bytes->n - at, &b) != BATCH_OK) return err_set(err, ERR_CORRUPT, "topic '%s' offset %" PRId64, d->topic, *next);
        at += b.size;
        struct batch_iter it;
        struct batch_record r;
        if (batch_iter_init(&it, &b, 0, err) != ERR_OK) return err->code;
        int more;
        while ((more = batch_iter_next(&it, &r, err)) == 1)
            if (r.offset >= *next) remember(d, &r);
        batch_iter_fini(&it);
        if (more < 0) return err->code;
        *next = batch_last_offset(&b) + 1;
    }
    return ERR_OK;
}

enum err_code dead_letters_recover(struct dead_letters *d, int64_t position, struct err *err) {
    struct broker_offsets o;
    d->position = position < 0 ? 0 : position;
    if (topics_offsets(d->topics, d->topic, 0, &o, err) != ERR_OK) {
        if (err->code != ERR_NO_TOPIC) return err->code;
        err_clear(err);
        d->position = 0;
        return ERR_OK; // no dead letter was ever written
    }
    d->ready = true;
    // Behind the end: the topic was deleted and made again. Before the start: retention took the rest.
    int64_t next = d->position > o.high_watermark || d->position < o.start ? o.start : d->position;
    struct buf bytes;
    buf_init(&bytes, 0);
    enum err_code code = ERR_OK;
    while (next < o.high_watermark && code == ERR_OK) {
        buf_clear(&bytes);
        int64_t behind = next;
        code = topics_read(d->topics, d->topic, 0, next, READ_BYTES, &bytes, &behind, NULL, err);
        if (code == ERR_OK && behind == next) break;
        if (code == ERR_OK) code = remember_batches(d, &bytes, &next, err);
        if (code == ERR_OK) next = behind;
    }
    buf_fini(&bytes);
    d->position = next;
    return code;
}

static enum err_code make_topic(struct dead_letters *d, struct err *err) {
    if (d->ready) return ERR_OK;
    // Kept for ever, and room for what the source's largest batches hold.
    static const struct broker_kv configs[] = {{"retention.ms", "-1"}, {"max.message.bytes", "104857600"}};
    enum err_code code = topics_create(d->topics, d->topic, 1, configs, 2, err);
    if (code != ERR_OK && code != ERR_EXISTS) return err_wrap(err, "dead-letter topic '%s'", d->topic);
    err_clear(err);
    d->ready = true;
    return ERR_OK;
}

static void put_header(struct broker_record *r, struct broker_header *headers, struct str key, struct str value) {
    if (r->n_headers < HEADERS_MAX) headers[r->n_headers++] = (struct broker_header){key, value};
}

// The event as it was, with our headers in front of its own.
static struct broker_record record_of(const struct dead_letters *d, const struct dead_letter *l, struct arena *a) {
    const struct batch_record *e = &l->record;
    struct broker_header *headers = ARENA_ARRAY(a, struct broker_header, HEADERS_MAX);
    struct broker_record r = {.key = e->key, .value = e->value, .key_null = e->key_null, .value_null = e->value_null, .timestamp_ms = e->timestamp,
                              .headers = headers};
    put_header(&r, headers, HEADER_REASON, str_c(l->reason));
    put_header(&r, headers, HEADER_TOPIC, str_c(d->source));
    put_header(&r, headers, HEADER_TOPIC_ID, str_c(d->source_id));
    put_header(&r, headers, HEADER_PARTITION, str_c(arena_printf(a, "%d", l->partition)));
    put_header(&r, headers, HEADER_OFFSET, str_c(arena_printf(a, "%" PRId64, e->offset)));
    put_header(&r, headers, HEADER_TABLE, str_c(d->table));
    if (l->schema_id >= 0) put_header(&r, headers, HEADER_SCHEMA, str_c(arena_printf(a, "%d", l->schema_id)));
    struct str rest = e->headers;
    for (struct batch_header h; batch_header_next(&rest, &h);) put_header(&r, headers, h.key, h.value);
    return r;
}

static enum err_code append(struct dead_letters *d, const struct broker_record *records, size_t n, struct err *err) {
    int64_t offset;
    enum err_code code = make_topic(d, err);
    if (code == ERR_OK) code = topics_append(d->topics, d->topic, 0, records, n, &offset, err);
    if (code != ERR_OK) return err_wrap(err, "%zu dead letters of %s", n, d->source);
    d->position = offset + (int64_t)n;
    return ERR_OK;
}

enum err_code dead_letters_add(struct dead_letters *d, const struct dead_letter *letters, size_t n, struct err *err) {
    struct arena a;
    arena_init(&a);
    struct broker_record *records = ARENA_ARRAY(&a, struct broker_record, n + 1);
    size_t n_new = 0;
    enum err_code code = ERR_OK;
    sys_mutex_lock(&d->mutex);
    for (size_t i = 0; i < n; i++) {
        char text[KEY_MAX];
        if (map_get(&d->seen, key_of(text, letters[i].partition, letters[i].record.offset)) == NULL) records[n_new++] = record_of(d, &letters[i], &a);
    }
    if (n_new > 0) code = append(d, records, n_new, err);
    sys_mutex_unlock(&d->mutex);
    arena_fini(&a);
    if (code == ERR_OK) atomic_fetch_add(&d->n, (int64_t)n);
    return code;
}
