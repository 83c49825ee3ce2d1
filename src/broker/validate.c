// SPDX-License-Identifier: Apache-2.0
// Checks of produced batches, as Kafka's LogValidator makes them, and recompression. On the owner's loop; no files.
//
// In the usual case a batch's header says enough, and of uncompressed records only the form is checked (8 ns each). What is in records is looked at
// when the topic is compacted (each needs a key), when a timestamp may be out of bounds, when max.decompressed.message.bytes limits what is packed,
// and when compression.type asks for another codec: then the records, which stay as they are, are packed anew behind the header. What was refused
// for single records is listed record by record.
#include "broker/validate.h"

#include <stdio.h>

#include "codec/compress.h"
#include "codec/crc32c.h"

enum { PLAIN_MAX = 256 << 20, ERRORS_LISTED_MAX = 10000, ERRORS_IN_TEXT = 3 };
enum { DECOMPRESSED_ANY = 2147483639 }; // max.decompressed.message.bytes that limits nothing
#define RECORDS_ARE_WRONG "Invalid records: they are malformed, or more or fewer than the batch says."
enum { AT_CRC = 17, AT_ATTRIBUTES = 21, AT_LENGTH = 8 };

static bool fault(struct checked *c, int kafka_error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static bool fault(struct checked *c, int kafka_error, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    c->kafka_error = kafka_error;
    (void)vsnprintf(c->why, sizeof c->why, fmt, ap);
    va_end(ap);
    return false;
}

// ---- record by record -----------------------------------------------------------------------------------------------

struct inspection {
    struct partition *p;
    struct broker_produce *r;
    struct checked *c;
    int64_t now, oldest, newest; // timestamps within are good
    VEC(struct broker_record_error) errors;
    int64_t bad;
    int kafka_error;
    struct buf text;
};

static void note_error(struct inspection *x, int32_t index, int kafka_error, const char *text) {
    if (x->bad++ == 0) x->kafka_error = kafka_error;
    if (x->bad <= ERRORS_IN_TEXT)
        buf_printf(&x->text, "%sRecordError(batchIndex=%d, message='%s')", x->bad == 1 ? "" : ", ", index, text);
    if (!x->r->list_errors || x->errors.n >= ERRORS_LISTED_MAX) return;
    struct broker_record_error *e = vec_push(&x->errors);
    e->index = index;
    (void)snprintf(e->message, sizeof e->message, "%s", text);
}

static void inspect_record(struct inspection *x, const struct batch_record *rec, int32_t index) {
    char text[sizeof((struct broker_record_error *)0)->message];
    if (x->p->compact && rec->key_null) {
        (void)snprintf(text, sizeof text, "Compacted topic cannot accept message without key in topic partition %.80s-%d.", x->p->topic_name, x->p->index);
        note_error(x, index, KAFKA_INVALID_RECORD, text);
    } else if (rec->timestamp >= 0 && (rec->timestamp < x->oldest || rec->timestamp > x->newest)) {
        (void)snprintf(text, sizeof text, "Timestamp %lld of message with offset %d is out of range. The timestamp should be within [%lld, %lld]",
                       (long long)rec->timestamp, index, (long long)x->oldest, (long long)x->newest);
        note_error(x, index, KAFKA_INVALID_TIMESTAMP, text);
    }
}

static bool inspect(struct partition *p, struct broker_produce *r, const struct batch *b, int64_t now, struct checked *c) {
    struct inspection x = {.p = p, .r = r, .c = c, .now = now, .oldest = INT64_MIN, .newest = INT64_MAX};
    struct batch_iter it;
    struct batch_record rec;
    int64_t before = p->timestamp_before_max_ms, after = p->timestamp_after_max_ms, limit = p->max_decompressed_bytes;
    bool limited = batch_codec(b) != COMPRESS_NONE;
    if (!p->append_time) {
        x.oldest = before > now ? 0 : now - before;
        x.newest = after > INT64_MAX - now ? INT64_MAX : now + after;
    }
    struct err err = {0};
    buf_init(&x.text, 2048);
    bool readable = batch_iter_init(&it, b, PLAIN_MAX, &err) == ERR_OK;
    int32_t index = 0;
    int got = 0;
    int64_t large = 0;
    for (; readable && large == 0 && (got = batch_iter_next(&it, &rec, &err)) == 1; index++) {
        if (limited && rec.size > limit) large = rec.size;
        else inspect_record(&x, &rec, index);
    }
    bool rest = readable && got == 0 && large == 0 && rd_left(&it.rd) > 0, ok = readable && got == 0 && x.bad == 0 && !rest;
    batch_iter_fini(&it);
    if (large > 0)
        fault(c, KAFKA_INVALID_RECORD, "Invalid record size: %lld exceeds the configured maximum record size of %lld.", (long long)large, (long long)limit);
    else if (!readable || got < 0) fault(c, readable ? KAFKA_INVALID_RECORD : KAFKA_CORRUPT_MESSAGE, "%s", err.msg);
    else if (rest) fault(c, KAFKA_INVALID_RECORD, RECORDS_ARE_WRONG);
    else if (!ok && x.kafka_error == KAFKA_INVALID_TIMESTAMP)
        fault(c, KAFKA_INVALID_TIMESTAMP, "One or more records have been rejected due to invalid timestamp");
    else if (!ok)
        fault(c, KAFKA_INVALID_RECORD,
              "One or more records have been rejected due to %lld record errors in total, and only showing the first three errors at most: [%s]",
              (long long)x.bad, buf_cstr(&x.text));
    if (!ok && x.errors.n > 0) {
        r->record_errors = x.errors.p; // the caller's now
        r->n_record_errors = x.errors.n;
    } else {
        vec_fini(&x.errors);
    }
    buf_fini(&x.text);
    return ok;
}

// The time of appending is the broker's to set. As in Kafka it is overlooked where the topic has the producer's times, and made theirs.
static bool check_time_type(const struct partition *p, struct broker_produce *r, const struct batch *b, struct checked *c) {
    if ((b->attributes & BATCH_ATTR_APPEND_TIME) == 0 || (!p->append_time && b->max_timestamp != -1)) return true;
    int32_t n = b->count < ERRORS_LISTED_MAX ? b->count : ERRORS_LISTED_MAX;
    if (r->list_errors) {
        r->record_errors = mem_zalloc((size_t)n * sizeof *r->record_errors); // the caller's
        r->n_record_errors = (size_t)n;
        for (int32_t i = 0; i < n; i++) {
            struct broker_record_error *e = &r->record_errors[i];
            e->index = i;
            (void)snprintf(e->message, sizeof e->message, "Invalid timestamp type. Producer should not set timestamp type to LogAppendTime.");
        }
    }
    return fault(c, KAFKA_INVALID_TIMESTAMP, "One or more records have been rejected due to invalid timestamp");
}

static bool wants_inspection(const struct partition *p, const struct batch *b, int64_t now) {
    if ((b->attributes & BATCH_ATTR_CONTROL) != 0) return false;
    if (p->compact || (batch_codec(b) != COMPRESS_NONE && p->max_decompressed_bytes < DECOMPRESSED_ANY)) return true;
    if (p->append_time) return false;
    return p->timestamp_before_max_ms < now || (b->max_timestamp >= 0 && b->max_timestamp - now > p->timestamp_after_max_ms);
}

// ---- recompression --------------------------------------------------------------------------------------------------

// The batch with its records packed by another codec, appended to c->own.
static bool repack(const struct partition *p, const struct batch *b, int codec, struct checked *c) {
    struct str records = str_n(b->p + BATCH_HEADER, b->size - BATCH_HEADER);
    struct buf plain, *out = &c->own;
    struct err err = {0};
    size_t at = out->n;
    buf_init(&plain, PLAIN_MAX);
    enum err_code code = ERR_OK;
    if (batch_codec(b) != COMPRESS_NONE) {
        code = decompress_bytes((enum compress_kind)batch_codec(b), records, PLAIN_MAX, &plain, &err);
        records = buf_str(&plain);
    }
    buf_put(out, b->p, BATCH_HEADER);
    if (code == ERR_OK) code = compress_bytes_level((enum compress_kind)codec, records, p->compression_level, out, &err);
    buf_fini(&plain);
    if (code == ERR_OK && out->failed) code = err_set(&err, ERR_TOO_LARGE, "too large to compress");
    if (code != ERR_OK) return fault(c, code == ERR_CORRUPT ? KAFKA_CORRUPT_MESSAGE : KAFKA_INVALID_RECORD, "%s", err.msg);
    size_t size = out->n - at;
    out->p[at + AT_ATTRIBUTES + 1] = (uint8_t)((out->p[at + AT_ATTRIBUTES + 1] & ~BATCH_ATTR_CODEC) | codec);
    buf_set_be32(out, at + AT_LENGTH, (uint32_t)(size - BATCH_PREFIX));
    buf_set_be32(out, at + AT_CRC, crc32c(0, out->p + at + AT_ATTRIBUTES, size - AT_ATTRIBUTES));
    return true;
}

// All batches of the request, in the topic's codec. Control batches are never compressed.
static bool repack_all(const struct partition *p, struct str batches, int codec, struct checked *c) {
    struct batch b;
    bool any = false;
    for (size_t at = 0; at < batches.n && !any; at += b.size) {
        (void)batch_read(batches.p + at, batches.n - at, &b);
        any = batch_codec(&b) != codec && (b.attributes & BATCH_ATTR_CONTROL) == 0;
    }
    if (!any) return true;
    for (size_t at = 0; at < batches.n; at += b.size) {
        (void)batch_read(batches.p + at, batches.n - at, &b);
        if (batch_codec(&b) == codec || (b.attributes & BATCH_ATTR_CONTROL) != 0) buf_put(&c->own, b.p, b.size);
        else if (!repack(p, &b, codec, c)) return false;
    }
    for (size_t at = 0; at < c->own.n; at += b.size) {
        (void)batch_read(c->own.p + at, c->own.n - at, &b);
        if ((int64_t)b.size > p->max_message_bytes)
            return fault(c, KAFKA_MESSAGE_TOO_LARGE,
                         "Message batch size is %zu bytes in append to partition %.100s-%d which exceeds the maximum configured size of %lld.",
                         b.size, p->topic_name, p->index, (long long)p->max_message_bytes);
    }
    c->batches = buf_str(&c->own);
    return true;
}

// ---- a request ------------------------------------------------------------------------------------------------------

static bool check_producer(const struct broker_produce *r, const struct batch *b, struct checked *c) {
    bool marker = r->origin == BROKER_MARKER || r->origin == BROKER_MARKER_NEWER, in_txn = (b->attributes & BATCH_ATTR_TRANSACTION) != 0;
    if (((b->attributes & BATCH_ATTR_CONTROL) != 0) != marker) return fault(c, KAFKA_INVALID_RECORD, "Clients are not allowed to write control records.");
    if (r->origin != BROKER_FROM_CLIENT) return true;
    if (b->base_offset != 0)
        return fault(c, KAFKA_INVALID_RECORD, "The base offset of a record batch in an append should be 0, but it is %lld.", (long long)b->base_offset);
    if (b->producer_id >= 0 && (b->producer_epoch < 0 || b->base_sequence < 0))
        return fault(c, KAFKA_INVALID_RECORD, "Invalid sequence number %d or epoch %d in a record batch with producerId %lld.", b->base_sequence,
                     b->producer_epoch, (long long)b->producer_id);
    if (in_txn && b->producer_id < 0) return fault(c, KAFKA_INVALID_RECORD, "A transactional batch without a producerId.");
    if (in_txn && r->transactional_id == NULL)
        return fault(c, KAFKA_INVALID_RECORD, "A transactional batch in a request without a transactional id.");
    return true;
}

static bool check_batch(struct partition *p, struct broker_produce *r, const struct batch *b, int64_t now, struct checked *c) {
    if ((int64_t)b->size > p->max_message_bytes)
        return fault(c, KAFKA_MESSAGE_TOO_LARGE,
                     "The record batch size in the append to %.100s-%d is %zu bytes which exceeds the maximum configured value of %lld.",
                     p->topic_name, p->index, b->size, (long long)p->max_message_bytes);
    if (!batch_crc_ok(b))
        return fault(c, KAFKA_CORRUPT_MESSAGE, "Record is corrupt (stored crc = %u) in topic partition %.100s-%d.", b->crc, p->topic_name, p->index);
    if (b->count <= 0 || b->last_offset_delta != b->count - 1)
        return fault(c, KAFKA_INVALID_RECORD, "Inconsistent batch offset range: last offset delta %d, %d records.", b->last_offset_delta, b->count);
    if ((b->attributes & BATCH_ATTR_DELETE_HORIZON) != 0) return fault(c, KAFKA_INVALID_RECORD, "Clients are not allowed to set a delete horizon.");
    if (!check_producer(r, b, c)) return false;
    if (batch_codec(b) >= COMPRESS_COUNT) return fault(c, KAFKA_UNSUPPORTED_COMPRESSION_TYPE, "Unknown compression type id: %d", batch_codec(b));
    if (!check_time_type(p, r, b, c)) return false;
    if (wants_inspection(p, b, now)) return inspect(p, r, b, now, c);
    return batch_codec(b) != COMPRESS_NONE || batch_records_ok(b) || fault(c, KAFKA_INVALID_RECORD, RECORDS_ARE_WRONG);
}

bool produce_check(struct partition *p, struct broker_produce *r, struct checked *c) {
    struct str batches = r->batches;
    static const char *const texts[] = {"", "record batch is cut short", "record batch has a damaged header", "record format is older than 2"};
    static const int errors[] = {0, KAFKA_INVALID_RECORD, KAFKA_CORRUPT_MESSAGE, KAFKA_INVALID_RECORD};
    int64_t now = sys_now_us(p->broker->sys) / 1000;
    *c = (struct checked){.batches = batches};
    buf_init(&c->own, 0);
    struct batch b;
    for (size_t at = 0; at < batches.n; at += b.size) {
        enum batch_status status = batch_read(batches.p + at, batches.n - at, &b);
        if (status != BATCH_OK) return fault(c, errors[status], "%s", texts[status]);
        if (!check_batch(p, r, &b, now, c)) return false;
        if (c->n++ == 0) c->first = b;
        c->records += b.count;
        c->has_producer = c->has_producer || b.producer_id >= 0;
        if (p->append_time) batch_set_append_time((uint8_t *)(uintptr_t)b.p, b.size, now);
        else if ((b.attributes & BATCH_ATTR_APPEND_TIME) != 0) batch_set_create_time((uint8_t *)(uintptr_t)b.p, b.size);
    }
    if (c->n == 0) return fault(c, KAFKA_INVALID_RECORD, "Record batch is empty.");
    if (c->n > 1 && c->has_producer) return fault(c, KAFKA_INVALID_RECORD, "Only one record batch is allowed for a partition with a producerId.");
    int codec = p->compression;
    if (codec >= 0 && !repack_all(p, batches, codec, c)) return false;
    if (c->batches.n > p->segment_bytes)
        return fault(c, KAFKA_RECORD_LIST_TOO_LARGE,
                     "Message batch size is %zu bytes in append to partition %.100s-%d, which exceeds the maximum configured segment size of %llu.",
                     c->batches.n, p->topic_name, p->index, (unsigned long long)p->segment_bytes);
    return true;
}

void produce_checked_fini(struct checked *c) { buf_fini(&c->own); }
