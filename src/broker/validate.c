// SPDX-License-Identifier: Apache-2.0
// Checks of produced batches, as Kafka's LogValidator makes them, and recompression. Any thread; no files.
//
// Every batch's records are looked at once (log/scan.h), packed ones too: their form, their number, and what the header and the topic's configs have to
// know of them. Single records are gone through again only to list those for which a batch is refused. The largest timestamp in the header is made that
// of the records. When compression.type asks for another codec, or offsets in an uncompressed batch are not 0, 1, 2 …, the records are packed anew behind
// the header.
#include "broker/validate.h"

#include <stdio.h>

#include "codec/compress.h"
#include "codec/crc32c.h"
#include "codec/unpack.h"
#include "log/scan.h"

enum { PLAIN_MAX = 256 << 20, ERRORS_LISTED_MAX = 10000, ERRORS_IN_TEXT = 3, SCANNERS_KEPT = 16 };
// What a loop has time for (0.1 to 1 ms): bytes that came, unpacked, and of what is to be packed anew (zstd's highest level takes 0.6 µs a byte).
enum { SOON_BYTES = 64 << 10, SOON_PLAIN = 256 << 10, SOON_REPACKED = 4 << 10 };
enum { DECOMPRESSED_ANY = 2147483639 }; // max.decompressed.message.bytes that limits nothing
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

// ---- scanners -------------------------------------------------------------------------------------------------------

static struct batch_scanner *scanner_take(struct broker *b) {
    struct batch_scanner *x = NULL;
    sys_mutex_lock(&b->scanners_mutex);
    if (b->scanners.n > 0) x = b->scanners.p[--b->scanners.n];
    sys_mutex_unlock(&b->scanners_mutex);
    return x != NULL ? x : batch_scanner_new();
}

static void scanner_give(struct broker *b, struct batch_scanner *x) {
    sys_mutex_lock(&b->scanners_mutex);
    bool kept = b->scanners.n < SCANNERS_KEPT;
    if (kept) vec_add(&b->scanners, x);
    sys_mutex_unlock(&b->scanners_mutex);
    if (!kept) batch_scanner_free(x);
}

void produce_scanners_free(struct broker *b) {
    for (size_t i = 0; i < b->scanners.n; i++) batch_scanner_free(b->scanners.p[i]);
    vec_fini(&b->scanners);
}

// ---- record by record -----------------------------------------------------------------------------------------------

struct bounds { // timestamps within are good
    int64_t oldest, newest;
};

static struct bounds bounds_of(const struct partition *p, int64_t now, const struct checked *c) {
    int64_t before = p->timestamp_before_max_ms, after = p->timestamp_after_max_ms;
    if (c->append_time >= 0) return (struct bounds){INT64_MIN, INT64_MAX};
    return (struct bounds){now - before, after > INT64_MAX - now ? INT64_MAX : now + after};
}

struct listing { // of the records for which a batch is refused
    const struct partition *p;
    struct broker_produce *r;
    struct bounds bounds;
    VEC(struct broker_record_error) errors;
    int64_t bad;
    bool late; // one of them for its timestamp
    struct buf text;
};

static bool is_told(const struct listing *x) {
    return x->bad < ERRORS_IN_TEXT || (x->r->list_errors && x->errors.n < ERRORS_LISTED_MAX);
}

static void note_error(struct listing *x, int32_t index, const char *text) {
    x->bad++;
    if (x->bad <= ERRORS_IN_TEXT)
        buf_printf(&x->text, "%sRecordError(batchIndex=%d, message='%s')", x->bad == 1 ? "" : ", ", index, text);
    if (!x->r->list_errors || x->errors.n >= ERRORS_LISTED_MAX) return;
    struct broker_record_error *e = vec_push(&x->errors);
    e->index = index;
    (void)snprintf(e->message, sizeof e->message, "%s", text);
}

static void list_record(struct listing *x, const struct batch_record *rec, int32_t index) {
    char text[sizeof((struct broker_record_error *)0)->message] = "";
    bool keyless = x->p->compact && rec->key_null;
    bool late = !keyless && rec->timestamp != -1 && (rec->timestamp < x->bounds.oldest || rec->timestamp > x->bounds.newest);
    x->late |= late;
    if (!keyless && !late) return;
    if (keyless && is_told(x))
        (void)snprintf(text, sizeof text, "Compacted topic cannot accept message without key in topic partition %.80s-%d", x->p->topic_name, x->p->index);
    if (late && is_told(x))
        (void)snprintf(text, sizeof text, "Timestamp %lld of message with offset %d is out of range. The timestamp should be within [%lld, %lld]",
                       (long long)rec->timestamp, index, (long long)x->bounds.oldest, (long long)x->bounds.newest);
    note_error(x, index, text);
}

// Refuses a batch of well-formed records some of which the topic does not take, and says which as far as they can be gone through; `late`: at least
// one has a timestamp out of bounds.
static bool refuse_records(const struct partition *p, struct broker_produce *r, const struct batch *b, struct bounds bounds, bool late, struct checked *c) {
    struct listing x = {.p = p, .r = r, .bounds = bounds};
    struct batch_iter it;
    struct batch_record rec;
    buf_init(&x.text, 2048);
    if (batch_iter_init(&it, b, PLAIN_MAX, NULL) == ERR_OK)
        for (int32_t i = 0; batch_iter_next(&it, &rec, NULL) == 1; i++) list_record(&x, &rec, i);
    batch_iter_fini(&it);
    if (x.bad == 0 ? late : x.late) fault(c, KAFKA_INVALID_TIMESTAMP, "One or more records have been rejected due to invalid timestamp");
    else if (x.bad == 0) fault(c, KAFKA_INVALID_RECORD, "One or more records have been rejected.");
    else
        fault(c, KAFKA_INVALID_RECORD,
              "One or more records have been rejected due to %lld record errors in total, and only showing the first three errors at most: [%s]",
              (long long)x.bad, buf_cstr(&x.text));
    r->record_errors = x.errors.p; // the caller's now
    r->n_record_errors = x.errors.n;
    buf_fini(&x.text);
    return false;
}

// The time of appending is the broker's to set. As in Kafka it is overlooked where the topic has the producer's times, and made theirs.
static bool check_time_type(struct broker_produce *r, const struct batch *b, struct checked *c) {
    if ((b->attributes & BATCH_ATTR_APPEND_TIME) == 0 || (c->append_time < 0 && b->max_timestamp != -1)) return true;
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

// What is right by itself may still not be what the topic takes.
static bool check_records(const struct partition *p, struct broker_produce *r, const struct batch *b, const struct batch_scan *s, int64_t now,
                          struct checked *c) {
    int64_t limit = p->max_decompressed_bytes;
    if ((b->attributes & BATCH_ATTR_CONTROL) != 0) return true;
    if (batch_codec(b) != COMPRESS_NONE && s->largest > limit)
        return fault(c, KAFKA_INVALID_RECORD, "Invalid record size: %lld exceeds the configured maximum record size of %lld.", (long long)s->largest,
                     (long long)limit);
    struct bounds bounds = bounds_of(p, now, c);
    if (s->plain > PLAIN_MAX && p->compact)
        return fault(c, KAFKA_INVALID_RECORD, "A batch of a compacted topic may unpack to at most %d bytes, this one has %lld.", PLAIN_MAX,
                     (long long)s->plain);
    // Where the producer says that the times are of appending, the header has the one of all records.
    bool one_time = (b->attributes & BATCH_ATTR_APPEND_TIME) != 0;
    int64_t oldest = one_time ? b->max_timestamp : s->min_timestamp, newest = one_time ? b->max_timestamp : s->max_timestamp;
    bool late = oldest < bounds.oldest || (newest != -1 && newest > bounds.newest);
    return !(late || (p->compact && s->key_missing)) || refuse_records(p, r, b, bounds, late, c);
}

// ---- recompression --------------------------------------------------------------------------------------------------

static bool fault_size(const struct partition *p, size_t size, struct checked *c) {
    return fault(c, KAFKA_MESSAGE_TOO_LARGE,
                 "Message batch size is %zu bytes in append to partition %.100s-%d which exceeds the maximum configured size of %lld.", size,
                 p->topic_name, p->index, (long long)p->max_message_bytes);
}

// The batch with its records packed by this codec and numbered anew, appended to c->own.
static bool repack(const struct partition *p, const struct batch *b, int codec, struct checked *c) {
    struct str records = str_n(b->p + BATCH_HEADER, b->size - BATCH_HEADER);
    struct buf plain, numbered, *out = &c->own;
    struct err err = {0};
    size_t at = out->n;
    buf_init(&plain, PLAIN_MAX);
    buf_init(&numbered, 0);
    enum err_code code = ERR_OK;
    if (batch_codec(b) != COMPRESS_NONE) {
        code = decompress_bytes((enum compress_kind)batch_codec(b), records, PLAIN_MAX, &plain, &err);
        records = buf_str(&plain);
    }
    if (code == ERR_OK && c->renumber) {
        batch_renumber(records, b->count, &numbered);
        records = buf_str(&numbered);
        if (numbered.failed) code = err_set(&err, ERR_TOO_LARGE, "too large to be numbered anew");
    }
    if (code == ERR_OK && codec == COMPRESS_NONE && (int64_t)(records.n + BATCH_HEADER) > p->max_message_bytes) {
        size_t size = records.n + BATCH_HEADER;
        buf_fini(&plain);
        buf_fini(&numbered);
        return fault_size(p, size, c);
    }
    buf_put(out, b->p, BATCH_HEADER);
    if (code == ERR_OK) code = compress_bytes_level((enum compress_kind)codec, records, p->compression_level, out, &err);
    buf_fini(&plain);
    buf_fini(&numbered);
    if (code == ERR_OK && out->failed) code = err_set(&err, ERR_TOO_LARGE, "too large to compress");
    if (code != ERR_OK) return fault(c, code == ERR_CORRUPT ? KAFKA_CORRUPT_MESSAGE : KAFKA_INVALID_RECORD, "%s", err.msg);
    size_t size = out->n - at;
    out->p[at + AT_ATTRIBUTES] = 0;
    out->p[at + AT_ATTRIBUTES + 1] = (uint8_t)((out->p[at + AT_ATTRIBUTES + 1] & BATCH_ATTR_KNOWN & ~BATCH_ATTR_CODEC) | codec);
    buf_set_be32(out, at + AT_LENGTH, (uint32_t)(size - BATCH_PREFIX));
    buf_set_be32(out, at + AT_CRC, crc32c(0, out->p + at + AT_ATTRIBUTES, size - AT_ATTRIBUTES));
    return true;
}

static int codec_wanted(const struct partition *p, const struct batch *b) { // control batches are never compressed
    return p->compression < 0 || (b->attributes & BATCH_ATTR_CONTROL) != 0 ? batch_codec(b) : p->compression;
}

// All batches of the request, in the topic's codec and with offsets in order.
static bool repack_all(const struct partition *p, struct str batches, struct checked *c) {
    struct batch b;
    bool any = c->renumber;
    for (size_t at = 0; at < batches.n && !any; at += b.size) {
        (void)batch_read(batches.p + at, batches.n - at, &b);
        any = batch_codec(&b) != codec_wanted(p, &b);
    }
    if (!any) return true;
    for (size_t at = 0; at < batches.n; at += b.size) {
        (void)batch_read(batches.p + at, batches.n - at, &b);
        int codec = codec_wanted(p, &b);
        if (batch_codec(&b) == codec && !c->renumber) buf_put(&c->own, b.p, b.size);
        else if (!repack(p, &b, codec, c)) return false;
    }
    for (size_t at = 0; at < c->own.n; at += b.size) {
        (void)batch_read(c->own.p + at, c->own.n - at, &b);
        if ((int64_t)b.size > p->max_message_bytes) return fault_size(p, b.size, c);
    }
    if (c->own.cap / 2 > c->own.n) { // it may wait; what was reserved to pack into is more than came out
        c->own.p = mem_realloc(c->own.p, c->own.n);
        c->own.cap = c->own.n;
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

// The records themselves. CHECK_LONGER: it takes more than `soon` allows.
static enum check_end check_inside(struct partition *p, struct broker_produce *r, struct batch *b, int64_t now, bool soon, struct checked *c) {
    struct batch_scan s;
    struct err err = {0};
    enum batch_scan_end end;
    bool anew = codec_wanted(p, b) != batch_codec(b);
    size_t most = !soon ? SIZE_MAX : anew ? SOON_REPACKED : SOON_PLAIN;
    if (batch_codec(b) == COMPRESS_NONE) {
        if (anew && b->size > most) return CHECK_LONGER;
        end = batch_scan(b, &s);
    } else {
        struct batch_scanner *x = scanner_take(p->broker);
        end = batch_scan_packed(x, b, most, &s, &err);
        scanner_give(p->broker, x);
    }
    switch (end) {
    case BATCH_SCAN_OK: break;
    case BATCH_SCAN_LONGER: return CHECK_LONGER;
    case BATCH_SCAN_MALFORMED: fault(c, KAFKA_INVALID_RECORD, "Invalid records: they are malformed, or more or fewer than the batch says."); return CHECK_BAD;
    case BATCH_SCAN_UNREADABLE: fault(c, KAFKA_UNKNOWN_SERVER_ERROR, "Failed to decompress record stream: %s", err.msg); return CHECK_BAD;
    case BATCH_SCAN_TOO_LARGE: fault(c, KAFKA_INVALID_RECORD, "Invalid record size: %s", err.msg); return CHECK_BAD;
    }
    if (!check_records(p, r, b, &s, now, c)) return CHECK_BAD;
    if (!s.in_order && batch_codec(b) != COMPRESS_NONE && !anew) {
        fault(c, KAFKA_UNKNOWN_SERVER_ERROR, "Offsets of records in a compressed batch are not 0, 1, 2 and so on.");
        return CHECK_BAD;
    }
    if (!s.in_order) c->renumber = true;
    if ((b->attributes & BATCH_ATTR_APPEND_TIME) == 0 && s.max_timestamp != b->max_timestamp) {
        b->max_timestamp = s.max_timestamp;
        batch_set_max_timestamp((uint8_t *)(uintptr_t)b->p, b->size, s.max_timestamp);
    }
    return CHECK_GOOD;
}

static bool check_header(struct partition *p, struct broker_produce *r, const struct batch *b, struct checked *c) {
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
    if (batch_codec(b) >= COMPRESS_COUNT) return fault(c, KAFKA_UNKNOWN_SERVER_ERROR, "Unknown compression type id: %d", batch_codec(b));
    return check_time_type(r, b, c);
}

static enum check_end check_batches(struct partition *p, struct broker_produce *r, int64_t now, bool soon, struct checked *c) {
    static const char *const texts[] = {"", "record batch is cut short", "record batch has a damaged header", "record format is older than 2",
                                        "Invalid offset range or number of records."};
    static const int errors[] = {0, KAFKA_INVALID_RECORD, KAFKA_CORRUPT_MESSAGE, KAFKA_INVALID_RECORD, KAFKA_INVALID_RECORD};
    struct str batches = r->batches;
    struct batch b;
    for (size_t at = 0; at < batches.n; at += b.size) {
        enum batch_status status = batch_read(batches.p + at, batches.n - at, &b);
        if (status != BATCH_OK) fault(c, errors[status], "%s", texts[status]);
        if (status != BATCH_OK || !check_header(p, r, &b, c)) return CHECK_BAD;
        enum check_end end = check_inside(p, r, &b, now, soon, c);
        if (end != CHECK_GOOD) return end;
        if (c->n++ == 0) c->first = b;
        c->records += b.count;
        c->has_producer = c->has_producer || b.producer_id >= 0;
    }
    return CHECK_GOOD;
}

static void set_time_types(struct str batches, const struct checked *c) {
    struct batch b;
    for (size_t at = 0; at < batches.n; at += b.size) {
        (void)batch_read(batches.p + at, batches.n - at, &b);
        if (c->append_time >= 0) batch_set_append_time((uint8_t *)(uintptr_t)b.p, b.size, c->append_time);
        else if ((b.attributes & BATCH_ATTR_APPEND_TIME) != 0) batch_set_create_time((uint8_t *)(uintptr_t)b.p, b.size);
    }
}

bool produce_check_is_long(const struct partition *p, const struct broker_produce *r) {
    struct batch b;
    if (batch_read(r->batches.p, r->batches.n, &b) != BATCH_OK) return false;
    int codec = batch_codec(&b);
    if (codec_wanted(p, &b) != codec) return r->batches.n > SOON_REPACKED;
    if (codec == COMPRESS_NONE || codec >= COMPRESS_COUNT) return false;
    return b.size > SOON_BYTES || unpack_guess((enum compress_kind)codec, str_n(b.p + BATCH_HEADER, b.size - BATCH_HEADER)) > SOON_PLAIN;
}

static enum check_end check_all(struct partition *p, struct broker_produce *r, bool soon, struct checked *c) {
    int64_t now = sys_now_us(p->broker->sys) / 1000;
    c->append_time = p->append_time ? now : -1;
    enum check_end end = check_batches(p, r, now, soon, c);
    if (end != CHECK_GOOD) return end;
    if (c->n == 0) fault(c, KAFKA_INVALID_RECORD, "Record batch is empty.");
    else if (c->n > 1 && c->has_producer) fault(c, KAFKA_INVALID_RECORD, "Only one record batch is allowed for a partition with a producerId.");
    if (c->kafka_error != 0) return CHECK_BAD;
    set_time_types(r->batches, c);
    if (!repack_all(p, r->batches, c)) return CHECK_BAD;
    if (c->batches.n <= p->segment_bytes) return CHECK_GOOD;
    fault(c, KAFKA_RECORD_LIST_TOO_LARGE,
          "Message batch size is %zu bytes in append to partition %.100s-%d, which exceeds the maximum configured segment size of %llu.",
          c->batches.n, p->topic_name, p->index, (unsigned long long)p->segment_bytes);
    return CHECK_BAD;
}

enum check_end produce_check(struct partition *p, struct broker_produce *r, bool soon, struct checked *c) {
    *c = (struct checked){.batches = r->batches};
    buf_init(&c->own, 0);
    c->end = check_all(p, r, soon, c);
    if (c->end != CHECK_GOOD) buf_fini(&c->own); // it may wait for its turn to be refused
    return c->end;
}

void produce_checked_fini(struct checked *c) { buf_fini(&c->own); }
