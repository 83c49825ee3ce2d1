// SPDX-License-Identifier: Apache-2.0
// The interpreter of the message tables: encode and decode. (Printing, made-up messages and comparison: wire_util.c.)
//
// Any thread, no state. What comes from outside is bounded: an array cannot have more elements than bytes are left, and all arrays of one
// message together at most KAFKA_DECODE_MAX bytes. Programming errors (a version that the table does not have) assert.
#include "kafka/wire.h"

#include <assert.h>
#include <string.h>

#include "codec/varint.h"
#include "kafka/messages.h"

struct any_array { // the layout of every KAFKA_ARRAY(...)
    void *p;
    int32_t n;
};

static const struct {
    const char *name, *text;
    int code;
} error_table[] = {
#define X(name, code, retriable, message) {#name, message, code},
    KAFKA_ERRORS(X)
#undef X
};

const char *kafka_error_name(int code) {
    for (size_t i = 0; i < sizeof error_table / sizeof error_table[0]; i++)
        if (error_table[i].code == code) return error_table[i].name;
    return "?";
}

const char *kafka_error_text(int code) {
    for (size_t i = 0; i < sizeof error_table / sizeof error_table[0]; i++)
        if (error_table[i].code == code) return error_table[i].text;
    return "?";
}

const struct kafka_api *kafka_api_find(int key) {
    for (size_t i = 0; i < kafka_apis_n; i++)
        if (kafka_apis[i].key == key) return &kafka_apis[i];
    return NULL;
}

static bool in_version(const struct kafka_field *f, int version) { return version >= f->min && version <= f->max; }
static bool nullable(const struct kafka_field *f, int version) { return version >= f->null_min && version <= f->null_max; }

// ---- defaults -------------------------------------------------------------------------------------------------------
static void set_default(const struct kafka_field *f, char *at) {
    switch ((enum kafka_shape)f->shape) {
    case KAFKA_SHAPE_ARRAY: {
        struct any_array v = {NULL, f->dflt == KAFKA_DEFAULT_NULL ? -1 : 0};
        memcpy(at, &v, sizeof v);
        return;
    }
    case KAFKA_SHAPE_POINTER: {
        void *null = NULL;
        memcpy(at, &null, sizeof null);
        return;
    }
    case KAFKA_SHAPE_PLAIN: break;
    }
    int64_t d = f->dflt;
    switch ((enum kafka_type)f->type) {
    case KAFKA_BOOL: *(bool *)at = d != 0; return;
    case KAFKA_INT8: *(int8_t *)at = (int8_t)d; return;
    case KAFKA_INT16: *(int16_t *)(void *)at = (int16_t)d; return;
    case KAFKA_UINT16: *(uint16_t *)(void *)at = (uint16_t)d; return;
    case KAFKA_INT32: *(int32_t *)(void *)at = (int32_t)d; return;
    case KAFKA_INT64: *(int64_t *)(void *)at = d; return;
    case KAFKA_FLOAT64: *(double *)(void *)at = (double)d; return;
    case KAFKA_STRING:
    case KAFKA_BYTES:
    case KAFKA_RECORDS: *(struct str *)(void *)at = d == KAFKA_DEFAULT_NULL ? (struct str){NULL, 0} : STR(""); return;
    case KAFKA_UUID: memset(at, 0, sizeof(struct kafka_uuid)); return;
    case KAFKA_STRUCT: kafka_struct_init(f->sub, at); return;
    }
}

void kafka_struct_init(const struct kafka_struct *s, void *p) {
    for (size_t i = 0; i < s->n; i++) set_default(&s->fields[i], (char *)p + s->fields[i].offset);
}

void *kafka_struct_array(struct arena *a, const struct kafka_struct *s, int32_t n) {
    assert(n >= 0);
    char *p = arena_alloc(a, s->size * (size_t)n);
    for (int32_t i = 0; i < n; i++) kafka_struct_init(s, p + s->size * (size_t)i);
    return p;
}

void kafka_msg_init(const struct kafka_message *m, void *msg) { kafka_struct_init(m->body, msg); }

// ---- decode -----------------------------------------------------------------------------------------------------------
struct decoder {
    struct rd *r;
    struct arena *a;
    int version;
    bool flexible;
    size_t budget; // arena bytes left
    const char *at; // field where it failed
    const char *why;
    enum err_code code;
};

static bool decode_struct(struct decoder *d, const struct kafka_struct *s, char *out);

static bool fail(struct decoder *d, const struct kafka_field *f, const char *why) {
    if (d->why == NULL) {
        d->why = why;
        d->at = f == NULL ? "tagged fields" : f->name;
    }
    d->r->failed = true;
    return false;
}

static void *take(struct decoder *d, const struct kafka_field *f, size_t n) {
    if (n > d->budget) {
        fail(d, f, "too many elements");
        d->code = ERR_TOO_LARGE;
        return NULL;
    }
    d->budget -= n;
    return arena_alloc(d->a, n);
}

// The length in front of strings, bytes and arrays: -1 = null, -2 = failed.
static int64_t decode_length(struct decoder *d, const struct kafka_field *f, bool short_length) {
    int64_t n;
    if (d->flexible) n = (int64_t)rd_uvarint32(d->r) - 1;
    else if (short_length) n = (int16_t)rd_be16(d->r);
    else n = (int32_t)rd_be32(d->r);
    if (d->r->failed) return fail(d, f, "bytes run out"), -2;
    if (n < -1) return fail(d, f, "negative length"), -2;
    if (n == -1 && !nullable(f, d->version)) return fail(d, f, "null where null is not allowed"), -2;
    if (n > (int64_t)rd_left(d->r)) return fail(d, f, "length beyond the end of the message"), -2;
    return n;
}

static bool decode_bytes(struct decoder *d, const struct kafka_field *f, struct str *out) {
    int64_t n = decode_length(d, f, f->type == KAFKA_STRING);
    if (n == -2) return false;
    *out = (struct str){NULL, 0};
    if (n >= 0) *out = (struct str){(const char *)rd_bytes(d->r, (size_t)n), (size_t)n};
    if (n == 0) out->p = "";
    return true;
}

static bool decode_one(struct decoder *d, const struct kafka_field *f, char *at) {
    struct rd *r = d->r;
    switch ((enum kafka_type)f->type) {
    case KAFKA_BOOL: *(bool *)at = rd_u8(r) != 0; break;
    case KAFKA_INT8: *(int8_t *)at = (int8_t)rd_u8(r); break;
    case KAFKA_INT16: *(int16_t *)(void *)at = (int16_t)rd_be16(r); break;
    case KAFKA_UINT16: *(uint16_t *)(void *)at = rd_be16(r); break;
    case KAFKA_INT32: *(int32_t *)(void *)at = (int32_t)rd_be32(r); break;
    case KAFKA_INT64: *(int64_t *)(void *)at = (int64_t)rd_be64(r); break;
    case KAFKA_FLOAT64: {
        uint64_t bits = rd_be64(r);
        memcpy(at, &bits, sizeof bits);
        break;
    }
    case KAFKA_STRING:
    case KAFKA_BYTES:
    case KAFKA_RECORDS: return decode_bytes(d, f, (struct str *)(void *)at);
    case KAFKA_UUID: {
        const uint8_t *p = rd_bytes(r, sizeof(struct kafka_uuid));
        if (p != NULL) memcpy(at, p, sizeof(struct kafka_uuid));
        break;
    }
    case KAFKA_STRUCT: return decode_struct(d, f->sub, at);
    }
    return r->failed ? fail(d, f, "bytes run out") : true;
}

static const size_t type_size[] = {
    [KAFKA_BOOL] = sizeof(bool),      [KAFKA_INT8] = 1,   [KAFKA_INT16] = 2,
    [KAFKA_UINT16] = 2,               [KAFKA_INT32] = 4,  [KAFKA_INT64] = 8,
    [KAFKA_FLOAT64] = sizeof(double), [KAFKA_STRING] = sizeof(struct str), [KAFKA_BYTES] = sizeof(struct str),
    [KAFKA_RECORDS] = sizeof(struct str), [KAFKA_UUID] = 16, [KAFKA_STRUCT] = 0,
};
static size_t element_size(const struct kafka_field *f) { return f->sub != NULL ? f->sub->size : type_size[f->type]; }

// Elements of arrays have the field's own nullability only as a whole: a null string inside is an error.
static bool decode_array(struct decoder *d, const struct kafka_field *f, char *at) {
    int64_t n = decode_length(d, f, false);
    if (n == -2) return false;
    struct any_array v = {NULL, (int32_t)n};
    size_t size = element_size(f);
    if (n > 0 && (v.p = take(d, f, (size_t)n * size)) == NULL) return false;
    struct kafka_field element = *f;
    element.shape = KAFKA_SHAPE_PLAIN;
    element.null_min = 127;
    element.null_max = -1;
    for (int64_t i = 0; i < n; i++)
        if (!decode_one(d, &element, (char *)v.p + (size_t)i * size)) return false;
    memcpy(at, &v, sizeof v);
    return true;
}

static bool decode_field(struct decoder *d, const struct kafka_field *f, char *at) {
    if (f->shape == KAFKA_SHAPE_ARRAY) return decode_array(d, f, at);
    if (f->shape == KAFKA_SHAPE_PLAIN) return decode_one(d, f, at);
    int8_t present = (int8_t)rd_u8(d->r);
    if (d->r->failed) return fail(d, f, "bytes run out");
    void *p = NULL;
    if (present >= 0) {
        if ((p = take(d, f, f->sub->size)) == NULL || !decode_struct(d, f->sub, p)) return false;
    }
    memcpy(at, &p, sizeof p);
    return true;
}

static bool decode_tags(struct decoder *d, const struct kafka_struct *s, char *out) {
    uint32_t n = rd_uvarint32(d->r);
    int64_t last = -1;
    for (uint32_t i = 0; i < n && !d->r->failed; i++) {
        uint32_t tag = rd_uvarint32(d->r), size = rd_uvarint32(d->r);
        if (d->r->failed || size > rd_left(d->r) || (int64_t)tag <= last) return fail(d, NULL, "bad tag or size");
        last = tag;
        const uint8_t *end = d->r->p + size;
        for (size_t k = 0; k < s->n; k++) {
            const struct kafka_field *f = &s->fields[k];
            if (f->tag < 0 || (uint32_t)f->tag != tag || !in_version(f, d->version)) continue;
            struct rd part = rd_of(d->r->p, size), *whole = d->r;
            d->r = &part;
            bool ok = decode_field(d, f, out + f->offset);
            d->r = whole;
            if (!ok || part.p != end) return fail(d, f, "tagged field of another size");
        }
        d->r->p = end;
    }
    return d->r->failed ? fail(d, NULL, "bytes run out") : true;
}

static bool decode_struct(struct decoder *d, const struct kafka_struct *s, char *out) {
    for (size_t i = 0; i < s->n; i++) {
        const struct kafka_field *f = &s->fields[i];
        if (f->tag < 0 && in_version(f, d->version)) {
            if (!decode_field(d, f, out + f->offset)) return false;
        } else {
            set_default(f, out + f->offset);
        }
    }
    return d->flexible ? decode_tags(d, s, out) : true;
}

enum err_code kafka_msg_decode(const struct kafka_message *m, int version, struct rd *r, struct arena *a, void *msg, struct err *err) {
    assert(version >= m->min && version <= m->max);
    struct decoder d = {.r = r, .a = a, .version = version, .flexible = version >= m->flexible, .budget = KAFKA_DECODE_MAX, .code = ERR_PARSE};
    if (decode_struct(&d, m->body, msg)) return ERR_OK;
    return err_set(err, d.code, "%s v%d: field %s: %s", m->name, version, d.at, d.why);
}

// ---- encode -----------------------------------------------------------------------------------------------------------
struct encoder {
    struct kafka_out *o;
    int version;
    bool flexible;
};

static void encode_struct(struct encoder *e, const struct kafka_struct *s, const char *p);

static void encode_length(struct encoder *e, int64_t n, bool short_length) {
    struct buf *b = &e->o->buf;
    if (e->flexible) buf_put_uvarint(b, (uint64_t)(n + 1));
    else if (short_length) buf_put_be16(b, (uint16_t)n);
    else buf_put_be32(b, (uint32_t)n);
}

static bool encode_pieces(struct kafka_out *o, struct str v) {
    if (o->gathered == o->gathers.n || o->gathers.p[o->gathered].token != v.p) return false;
    const struct kafka_gather *g = &o->gathers.p[o->gathered++];
    for (size_t i = 0; i < g->n; i++) vec_add(&o->splices, ((struct kafka_splice){o->buf.n, g->pieces[i]}));
    o->spliced += v.n;
    return true;
}

static void encode_bytes(struct encoder *e, const struct kafka_field *f, struct str v) {
    struct kafka_out *o = e->o;
    bool is_string = f->type == KAFKA_STRING;
    if (v.p == NULL && nullable(f, e->version)) {
        encode_length(e, -1, is_string);
        return;
    }
    if (is_string && v.n > INT16_MAX) v.n = INT16_MAX; // messages for people; names are shorter by rule
    encode_length(e, (int64_t)v.n, is_string);
    if (f->type == KAFKA_RECORDS && encode_pieces(o, v)) return;
    if (f->type == KAFKA_RECORDS && v.n >= o->splice_min) {
        vec_add(&o->splices, ((struct kafka_splice){o->buf.n, v}));
        o->spliced += v.n;
    } else {
        buf_put_str(&o->buf, v);
    }
}

static void encode_one(struct encoder *e, const struct kafka_field *f, const char *at) {
    struct buf *b = &e->o->buf;
    const void *p = at;
    switch ((enum kafka_type)f->type) {
    case KAFKA_BOOL: buf_put_u8(b, *(const bool *)p); return;
    case KAFKA_INT8: buf_put_u8(b, (uint8_t) * (const int8_t *)p); return;
    case KAFKA_INT16: buf_put_be16(b, (uint16_t) * (const int16_t *)p); return;
    case KAFKA_UINT16: buf_put_be16(b, *(const uint16_t *)p); return;
    case KAFKA_INT32: buf_put_be32(b, (uint32_t) * (const int32_t *)p); return;
    case KAFKA_INT64: buf_put_be64(b, (uint64_t) * (const int64_t *)p); return;
    case KAFKA_FLOAT64: {
        uint64_t bits;
        memcpy(&bits, p, sizeof bits);
        buf_put_be64(b, bits);
        return;
    }
    case KAFKA_STRING:
    case KAFKA_BYTES:
    case KAFKA_RECORDS: encode_bytes(e, f, *(const struct str *)p); return;
    case KAFKA_UUID: buf_put(b, p, sizeof(struct kafka_uuid)); return;
    case KAFKA_STRUCT: encode_struct(e, f->sub, at); return;
    }
}

static void encode_field(struct encoder *e, const struct kafka_field *f, const char *at) {
    if (f->shape == KAFKA_SHAPE_PLAIN) {
        encode_one(e, f, at);
        return;
    }
    if (f->shape == KAFKA_SHAPE_POINTER) {
        const void *p;
        memcpy(&p, at, sizeof p);
        buf_put_u8(&e->o->buf, p == NULL ? 0xFF : 1);
        if (p != NULL) encode_struct(e, f->sub, p);
        return;
    }
    struct any_array v;
    memcpy(&v, at, sizeof v);
    assert(v.n >= -1);
    if (v.n == -1 && !nullable(f, e->version)) v.n = 0;
    encode_length(e, v.n, false);
    struct kafka_field element = *f;
    element.null_min = 127;
    element.null_max = -1;
    size_t size = element_size(f);
    for (int32_t i = 0; i < v.n; i++) encode_one(e, &element, (const char *)v.p + (size_t)i * size);
}

static bool is_default(const struct kafka_field *f, const char *at, int version);

static bool struct_is_default(const struct kafka_struct *s, const char *p, int version) {
    for (size_t i = 0; i < s->n; i++)
        if (!is_default(&s->fields[i], p + s->fields[i].offset, version)) return false;
    return true;
}

static bool is_default(const struct kafka_field *f, const char *at, int version) {
    if (!in_version(f, version)) return true;
    const void *p = at;
    if (f->shape == KAFKA_SHAPE_ARRAY) {
        struct any_array v;
        memcpy(&v, at, sizeof v);
        return v.n == (f->dflt == KAFKA_DEFAULT_NULL ? -1 : 0);
    }
    if (f->shape == KAFKA_SHAPE_POINTER) {
        const void *q;
        memcpy(&q, at, sizeof q);
        return q == NULL;
    }
    switch ((enum kafka_type)f->type) {
    case KAFKA_BOOL: return *(const bool *)p == (f->dflt != 0);
    case KAFKA_INT8: return *(const int8_t *)p == f->dflt;
    case KAFKA_INT16: return *(const int16_t *)p == f->dflt;
    case KAFKA_UINT16: return *(const uint16_t *)p == f->dflt;
    case KAFKA_INT32: return *(const int32_t *)p == f->dflt;
    case KAFKA_INT64: return *(const int64_t *)p == f->dflt;
    case KAFKA_FLOAT64: return *(const double *)p == (double)f->dflt;
    case KAFKA_STRING:
    case KAFKA_BYTES:
    case KAFKA_RECORDS: {
        const struct str *s = p;
        return f->dflt == KAFKA_DEFAULT_NULL ? s->p == NULL : s->n == 0 && (s->p != NULL || !nullable(f, version));
    }
    case KAFKA_UUID: {
        static const struct kafka_uuid zero;
        return memcmp(p, &zero, sizeof zero) == 0;
    }
    case KAFKA_STRUCT: return struct_is_default(f->sub, at, version);
    }
    return false;
}

static void encode_tags(struct encoder *e, const struct kafka_struct *s, const char *p) {
    struct buf *b = &e->o->buf;
    uint32_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct kafka_field *f = &s->fields[i];
        n += f->tag >= 0 && in_version(f, e->version) && !is_default(f, p + f->offset, e->version);
    }
    buf_put_uvarint(b, n);
    for (size_t i = 0; i < s->n && n > 0; i++) {
        const struct kafka_field *f = &s->fields[i];
        if (f->tag < 0 || !in_version(f, e->version) || is_default(f, p + f->offset, e->version)) continue;
        buf_put_uvarint(b, (uint64_t)f->tag);
        size_t start = b->n, splices = e->o->splices.n;
        encode_field(e, f, p + f->offset);
        assert(e->o->splices.n == splices); // no message has records inside a tagged field
        (void)splices;
        size_t size = b->n - start, width = uvarint_size(size);
        if (!buf_reserve(b, width)) return;
        memmove(b->p + start + width, b->p + start, size);
        uvarint_write(b->p + start, size);
        b->n += width;
    }
}

static void encode_struct(struct encoder *e, const struct kafka_struct *s, const char *p) {
    for (size_t i = 0; i < s->n; i++) {
        const struct kafka_field *f = &s->fields[i];
        if (f->tag < 0 && in_version(f, e->version)) encode_field(e, f, p + f->offset);
    }
    if (e->flexible) encode_tags(e, s, p);
}

void kafka_msg_encode(const struct kafka_message *m, int version, const void *msg, struct kafka_out *o) {
    assert(version >= m->min && version <= m->max);
    struct encoder e = {o, version, version >= m->flexible};
    encode_struct(&e, m->body, msg);
}

// ---- headers and frames -----------------------------------------------------------------------------------------------
enum err_code kafka_header_decode(struct rd *r, struct kafka_request_header *out, struct err *err) {
    *out = (struct kafka_request_header){0};
    out->api_key = (int16_t)rd_be16(r);
    out->api_version = (int16_t)rd_be16(r);
    out->correlation_id = (int32_t)rd_be32(r);
    if (r->failed) return err_set(err, ERR_PARSE, "request header: bytes run out");
    const struct kafka_api *api = kafka_api_find(out->api_key);
    if (api == NULL || out->api_version < 0 || out->api_version > api->request->max) return ERR_OK; // what follows is of unknown shape
    int16_t n = (int16_t)rd_be16(r); // never compact: KIP-482 left the client id as it was
    if (n >= 0) out->client_id = str_n(rd_bytes(r, (size_t)n), (size_t)n);
    if (out->api_version >= api->request->header_flexible && !r->failed) {
        uint32_t tags = rd_uvarint32(r);
        for (uint32_t i = 0; i < tags && !r->failed; i++) {
            (void)rd_uvarint32(r);
            (void)rd_bytes(r, rd_uvarint32(r));
        }
    }
    if (r->failed || n < -1) return err_set(err, ERR_PARSE, "request header: bytes run out");
    return ERR_OK;
}

void kafka_out_init(struct kafka_out *o, size_t max) {
    *o = (struct kafka_out){.splice_min = KAFKA_SPLICE_MIN};
    buf_init(&o->buf, max);
}

void kafka_out_fini(struct kafka_out *o) {
    buf_fini(&o->buf);
    vec_fini(&o->splices);
    vec_fini(&o->gathers);
}

void kafka_out_clear(struct kafka_out *o) {
    buf_clear(&o->buf);
    o->splices.n = o->gathers.n = 0;
    o->spliced = o->gathered = 0;
}

void kafka_out_gather(struct kafka_out *o, const void *token, const struct str *pieces, size_t n) {
    vec_add(&o->gathers, ((struct kafka_gather){token, pieces, n}));
}

void kafka_frame_begin_response(struct kafka_out *o, const struct kafka_message *m, int version, int32_t correlation_id) {
    assert(o->buf.n == 0);
    buf_put_be32(&o->buf, 0);
    buf_put_be32(&o->buf, (uint32_t)correlation_id);
    if (version >= m->header_flexible) buf_put_u8(&o->buf, 0);
}

void kafka_frame_begin_request(struct kafka_out *o, const struct kafka_api *api, int version, int32_t correlation_id, struct str client_id) {
    assert(o->buf.n == 0);
    struct buf *b = &o->buf;
    buf_put_be32(b, 0);
    buf_put_be16(b, (uint16_t)api->key);
    buf_put_be16(b, (uint16_t)version);
    buf_put_be32(b, (uint32_t)correlation_id);
    buf_put_be16(b, client_id.p == NULL ? UINT16_MAX : (uint16_t)client_id.n);
    buf_put_str(b, client_id);
    if (version >= api->request->header_flexible) buf_put_u8(b, 0);
}

enum err_code kafka_frame_end(struct kafka_out *o, struct err *err) {
    size_t total = o->buf.n + o->spliced;
    if (o->buf.failed || total > INT32_MAX) return err_set(err, ERR_TOO_LARGE, "response of %zu bytes is too large", total);
    buf_set_be32(&o->buf, 0, (uint32_t)(total - 4));
    return ERR_OK;
}
