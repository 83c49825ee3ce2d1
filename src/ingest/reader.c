// SPDX-License-Identifier: Apache-2.0
// From record batches to column batches: the engine's threads call reader_next; each call takes the next bytes of one partition under the
// lock and decodes them outside it. What does not decode goes to the dead letters and the reading goes on.
//
// Memory: one read of bytes and one batch of rows per calling thread. The bytes of one event are decoded once, by a decoder that is compiled
// per schema id.
#include <inttypes.h>
#include <stdio.h>

#include "base/metrics.h"
#include "ingest/internal.h"

enum { READ_BYTES = 2 << 20, WIRE_HEADER = 5, ROWS_HINT = 32768 };

void reader_init(struct reader *r) {
    *r = (struct reader){0};
    sys_mutex_init(&r->mutex);
    sys_cond_init(&r->freed);
}

void reader_fini(struct reader *r) {
    for (size_t i = 0; i < r->decoders.n; i++) {
        avro_decoder_free(r->decoders.p[i]->decoder);
        mem_free(r->decoders.p[i]);
    }
    vec_fini(&r->decoders);
    vec_fini(&r->partitions);
    sys_cond_fini(&r->freed);
    sys_mutex_fini(&r->mutex);
}

// ---- decoders -----------------------------------------------------------------------------------------------------------

// NULL: the registry cannot be asked.
static struct decoder *decoder_new(struct reader *r, int32_t id, struct err *why) {
    struct decoder *d = MEM_NEW(struct decoder);
    struct arena a;
    struct err err = {0};
    struct str text;
    d->schema_id = id;
    arena_init(&a);
    const struct avro_schema *writer = NULL;
    enum err_code code = r->schemas->get(r->schemas->self, id, &a, &text, &err);
    if (code != ERR_OK && code != ERR_IO && !err_info(code)->retriable) {
        snprintf(d->reason, sizeof d->reason, "unknown schema id %d", id);
    } else if (code != ERR_OK) { // the registry cannot say: that is no fault of the event
        err_copy(why, &err);
        err_wrap(why, "schema id %d", id);
        mem_free(d);
        d = NULL;
    } else if ((writer = avro_schema_parse(text, &a, &err)) == NULL || (d->decoder = avro_decoder_new(writer, r->schema, &err)) == NULL) {
        snprintf(d->reason, sizeof d->reason, "schema id %d cannot be read as the topic's newest schema: %.180s", id, err.msg);
    }
    arena_fini(&a);
    return d;
}

// The decoder of a schema id; made once. A thread keeps the last one it used. NULL: the registry cannot be asked.
static const struct decoder *decoder_of(struct reader *r, int32_t id, const struct decoder *last, struct err *err) {
    if (last != NULL && last->schema_id == id) return last;
    struct decoder *found = NULL;
    sys_mutex_lock(&r->mutex);
    for (size_t i = 0; i < r->decoders.n && found == NULL; i++)
        if (r->decoders.p[i]->schema_id == id) found = r->decoders.p[i];
    if (found == NULL) {
        found = decoder_new(r, id, err);
        if (found != NULL) vec_add(&r->decoders, found);
    }
    sys_mutex_unlock(&r->mutex);
    return found;
}

// ---- bytes --------------------------------------------------------------------------------------------------------------

// Offset behind the last whole batch of the bytes; -1 = damaged.
static int64_t end_of(const struct buf *bytes) {
    int64_t next = -1;
    for (size_t at = 0; at < bytes->n;) {
        struct batch b;
        if (batch_read(bytes->p + at, bytes->n - at, &b) != BATCH_OK) return -1;
        at += b.size;
        next = batch_last_offset(&b) + 1;
    }
    return next;
}

// Takes a partition that nobody reads and has something left; waits when all that have are being read. NULL = nothing is left.
static struct reader_partition *claim(struct reader *r) {
    struct reader_partition *mine = NULL;
    bool any = true;
    sys_mutex_lock(&r->mutex);
    while (mine == NULL && any) {
        any = false;
        for (size_t i = 0; i < r->partitions.n && mine == NULL; i++) {
            struct reader_partition *p = &r->partitions.p[(r->turn + i) % r->partitions.n];
            any = any || p->busy;
            if (!p->busy && p->next < p->end) mine = p;
        }
        if (mine == NULL && any) sys_cond_wait(&r->freed, &r->mutex);
    }
    if (mine != NULL) {
        mine->busy = true;
        r->turn++;
    }
    sys_mutex_unlock(&r->mutex);
    return mine;
}

// Reads the next bytes of a claimed partition and gives it back. *from is the offset to begin with.
static enum err_code take_bytes(struct reader *r, struct reader_partition *p, struct buf *bytes, int64_t *from, int64_t *to, struct err *err) {
    *from = p->next;
    int64_t next = p->next; // committed events only: markers and what was aborted are passed over
    enum err_code code = topics_read(r->topics, r->topic, p->id, p->next, READ_BYTES, bytes, &next, NULL, err);
    if (next == p->next) next = p->end;
    if (code == ERR_OK && bytes->n > 0 && end_of(bytes) < 0)
        code = err_set(err, ERR_CORRUPT, "topic '%s' partition %d offset %" PRId64 ": damaged batch", r->topic, p->id, p->next);
    sys_mutex_lock(&r->mutex);
    p->next = code != ERR_OK ? p->end : next < p->end ? next : p->end;
    *to = p->next;
    p->busy = false;
    sys_cond_broadcast(&r->freed);
    sys_mutex_unlock(&r->mutex);
    return code;
}

// ---- events -------------------------------------------------------------------------------------------------------------

static void put_key(struct cols_builder *b, size_t col, const struct batch_record *e) {
    if (e->key_null) {
        cols_put_null(b, col);
    } else if (str_utf8_ok(e->key)) {
        cols_put_bytes(b, col, e->key.p, e->key.n);
    } else { // not text: hexadecimal
        struct buf hex;
        buf_init(&hex, 0);
        buf_puts(&hex, "\\x");
        for (size_t i = 0; i < e->key.n; i++) buf_printf(&hex, "%02x", (uint8_t)e->key.p[i]);
        cols_put_bytes(b, col, hex.p, hex.n);
        buf_fini(&hex);
    }
}

// Puts the event's row, or says why not. ERR_OK with *reason set: a dead letter; then `why` may hold more. Other codes end the copy.
static enum err_code decode(struct reader *r, int32_t partition, const struct batch_record *e, struct cols_builder *b, const struct decoder **last,
                            int32_t *schema_id, char *reason, size_t reason_size, struct err *err) {
    *schema_id = -1;
    reason[0] = 0;
    if (e->value_null || e->value.n < WIRE_HEADER || e->value.p[0] != 0) {
        snprintf(reason, reason_size, "%s", e->value_null ? "the value is null" : "the value has no schema header (a zero byte and a schema id)");
        return ERR_OK;
    }
    struct rd rd = rd_of(e->value.p + 1, WIRE_HEADER - 1);
    *schema_id = (int32_t)rd_be32(&rd);
    const struct decoder *d = decoder_of(r, *schema_id, *last, err);
    if (d == NULL) return err->code;
    if (d->decoder == NULL) {
        snprintf(reason, reason_size, "%s", d->reason);
        return ERR_OK;
    }
    *last = d;
    struct str datum = {e->value.p + WIRE_HEADER, e->value.n - WIRE_HEADER};
    if (avro_decode_values(d->decoder, datum, b, err) != ERR_OK) {
        snprintf(reason, reason_size, "not the datum of its schema: %.400s", err->msg);
        return ERR_OK;
    }
    size_t col = r->columns->n - INGEST_META_COLUMNS;
    for (size_t i = r->n_value; i < col; i++) cols_put_null(b, i);
    cols_put_int(b, col, partition);
    cols_put_int(b, col + 1, e->offset);
    cols_put_int(b, col + 2, e->timestamp * 1000);
    put_key(b, col + 3, e);
    cols_row_end(b);
    return ERR_OK;
}

// Events of one batch that go to the dead letters, until they are handed on.
struct rejects {
    struct arena arena; // reasons
    struct dead_letter letters[DEAD_LETTERS_MAX];
    size_t n, bytes;
};

static enum err_code hand_on(struct reader *r, struct rejects *x, struct err *err) {
    enum err_code code = x->n > 0 ? dead_letters_add(r->dead, x->letters, x->n, err) : ERR_OK;
    x->n = x->bytes = 0;
    arena_reset(&x->arena);
    return code;
}

static enum err_code reject(struct reader *r, struct rejects *x, const struct dead_letter *l, const char *kind, struct err *err) {
    metric_add(M_INGEST_REJECTED, kind, 1);
    x->letters[x->n] = *l;
    x->letters[x->n++].reason = arena_strdup(&x->arena, l->reason);
    x->bytes += l->record.key.n + l->record.value.n + l->record.headers.n;
    return x->n == DEAD_LETTERS_MAX || x->bytes >= DEAD_LETTERS_BYTES ? hand_on(r, x, err) : ERR_OK;
}

static enum err_code decode_records(struct reader *r, int32_t partition, struct batch_iter *it, int64_t from, int64_t to, struct cols_builder *b,
                                    const struct decoder **last, struct rejects *x, struct err *err) {
    struct batch_record e;
    char reason[512];
    int more;
    enum err_code code = ERR_OK;
    while (code == ERR_OK && (more = batch_iter_next(it, &e, err)) != 0) {
        if (more < 0) return err->code;
        if (e.offset < from || e.offset >= to) continue;
        struct err why = {0};
        struct dead_letter l = {.partition = partition, .record = e, .reason = reason};
        code = decode(r, partition, &e, b, last, &l.schema_id, reason, sizeof reason, &why);
        if (code != ERR_OK) err_copy(err, &why);
        else if (reason[0] != 0) code = reject(r, x, &l, l.schema_id < 0 ? "no schema header" : why.code == ERR_OK ? "schema" : "datum", err);
    }
    return code;
}

static enum err_code decode_batch(struct reader *r, int32_t partition, const struct batch *batch, int64_t from, int64_t to, struct cols_builder *b,
                                  const struct decoder **last, struct rejects *x, struct err *err) {
    if ((batch->attributes & BATCH_ATTR_CONTROL) != 0) return ERR_OK;
    struct batch_iter it;
    enum err_code code = batch_iter_init(&it, batch, 0, err);
    if (code == ERR_OK) {
        code = decode_records(r, partition, &it, from, to, b, last, x, err);
        if (code == ERR_OK) code = hand_on(r, x, err); // their bytes go with the iterator
        batch_iter_fini(&it);
    }
    if (code != ERR_OK) err_wrap(err, "topic '%s' partition %d offset %" PRId64, r->topic, partition, batch->base_offset);
    return code;
}

struct cols_batch *reader_next(void *self, struct err *err) {
    struct reader *r = self;
    struct buf bytes;
    buf_init(&bytes, 0);
    struct cols_builder *b = NULL;
    struct rejects *rejects = MEM_NEW(struct rejects);
    arena_init(&rejects->arena);
    const struct decoder *last = NULL;
    enum err_code code = ERR_OK;
    while (code == ERR_OK && (b == NULL || cols_builder_rows(b) == 0)) { // all dead letters: go on
        struct reader_partition *p = claim(r);
        if (p == NULL) break;
        int64_t from, to;
        buf_clear(&bytes);
        code = take_bytes(r, p, &bytes, &from, &to, err);
        if (b == NULL) b = cols_builder_new(r->columns, ROWS_HINT);
        for (size_t at = 0; at < bytes.n && code == ERR_OK;) {
            struct batch batch;
            if (batch_read(bytes.p + at, bytes.n - at, &batch) != BATCH_OK) break; // end_of has seen them all
            code = decode_batch(r, p->id, &batch, from, to, b, &last, rejects, err);
            at += batch.size;
        }
    }
    buf_fini(&bytes);
    arena_fini(&rejects->arena);
    mem_free(rejects);
    struct cols_batch *out = NULL;
    if (code == ERR_OK && b != NULL && cols_builder_rows(b) > 0) {
        atomic_fetch_add(&r->rows, (int64_t)cols_builder_rows(b));
        out = cols_builder_finish(b);
        err_clear(err);
    } else if (code == ERR_OK) err_clear(err);
    cols_builder_free(b);
    return out;
}
