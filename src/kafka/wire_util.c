// SPDX-License-Identifier: Apache-2.0
// The rest of the message interpreter: print for logs, made-up messages for tests, comparison. Any thread, no state.
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "kafka/wire.h"

struct any_array {
    void *p;
    int32_t n;
};

static bool in_version(const struct kafka_field *f, int version) { return version >= f->min && version <= f->max; }
static bool nullable(const struct kafka_field *f, int version) { return version >= f->null_min && version <= f->null_max; }

static const size_t type_size[] = {
    [KAFKA_BOOL] = sizeof(bool),          [KAFKA_INT8] = 1,  [KAFKA_INT16] = 2,
    [KAFKA_UINT16] = 2,                   [KAFKA_INT32] = 4, [KAFKA_INT64] = 8,
    [KAFKA_FLOAT64] = sizeof(double),     [KAFKA_STRING] = sizeof(struct str), [KAFKA_BYTES] = sizeof(struct str),
    [KAFKA_RECORDS] = sizeof(struct str), [KAFKA_UUID] = 16, [KAFKA_STRUCT] = 0,
};
static size_t element_size(const struct kafka_field *f) { return f->sub != NULL ? f->sub->size : type_size[f->type]; }

// ---- print ------------------------------------------------------------------------------------------------------------
struct printer {
    struct buf *out;
    int version;
    size_t end; // stop when out->n is beyond
};

static void print_struct(struct printer *pr, const struct kafka_struct *s, const char *p);

static void print_text(struct buf *out, struct str v) {
    if (v.p == NULL) {
        buf_puts(out, "null");
        return;
    }
    buf_put_u8(out, '"');
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = (uint8_t)v.p[i];
        if (c == '"' || c == '\\') buf_put_u8(out, '\\');
        if (c < 0x20 || c == 0x7F) buf_printf(out, "\\u%04x", c);
        else buf_put_u8(out, c);
    }
    buf_put_u8(out, '"');
}

static void print_one(struct printer *pr, const struct kafka_field *f, const char *at) {
    struct buf *b = pr->out;
    const void *p = at;
    switch ((enum kafka_type)f->type) {
    case KAFKA_BOOL: buf_puts(b, *(const bool *)p ? "true" : "false"); return;
    case KAFKA_INT8: buf_printf(b, "%d", *(const int8_t *)p); return;
    case KAFKA_INT16: buf_printf(b, "%d", *(const int16_t *)p); return;
    case KAFKA_UINT16: buf_printf(b, "%u", *(const uint16_t *)p); return;
    case KAFKA_INT32: buf_printf(b, "%" PRId32, *(const int32_t *)p); return;
    case KAFKA_INT64: buf_printf(b, "%" PRId64, *(const int64_t *)p); return;
    case KAFKA_FLOAT64: buf_printf(b, "%.17g", *(const double *)p); return;
    case KAFKA_STRING: print_text(b, *(const struct str *)p); return;
    case KAFKA_BYTES:
    case KAFKA_RECORDS: {
        const struct str *v = p;
        if (v->p == NULL) buf_puts(b, "null");
        else buf_printf(b, "\"%zu bytes\"", v->n);
        return;
    }
    case KAFKA_UUID:
        buf_put_u8(b, '"');
        for (size_t i = 0; i < sizeof(struct kafka_uuid); i++) buf_printf(b, "%02x", ((const uint8_t *)p)[i]);
        buf_put_u8(b, '"');
        return;
    case KAFKA_STRUCT: print_struct(pr, f->sub, at); return;
    }
}

static void print_field(struct printer *pr, const struct kafka_field *f, const char *at) {
    if (f->shape == KAFKA_SHAPE_PLAIN) {
        print_one(pr, f, at);
        return;
    }
    if (f->shape == KAFKA_SHAPE_POINTER) {
        const void *q;
        memcpy(&q, at, sizeof q);
        if (q == NULL) buf_puts(pr->out, "null");
        else print_struct(pr, f->sub, q);
        return;
    }
    struct any_array v;
    memcpy(&v, at, sizeof v);
    if (v.n < 0) {
        buf_puts(pr->out, "null");
        return;
    }
    buf_put_u8(pr->out, '[');
    for (int32_t i = 0; i < v.n; i++) {
        if (i > 0) buf_puts(pr->out, ", ");
        if (pr->out->n > pr->end) {
            buf_puts(pr->out, "...");
            break;
        }
        print_one(pr, f, (const char *)v.p + (size_t)i * element_size(f));
    }
    buf_put_u8(pr->out, ']');
}

static void print_struct(struct printer *pr, const struct kafka_struct *s, const char *p) {
    buf_put_u8(pr->out, '{');
    bool first = true;
    for (size_t i = 0; i < s->n && pr->out->n <= pr->end; i++) {
        const struct kafka_field *f = &s->fields[i];
        if (!in_version(f, pr->version)) continue;
        buf_printf(pr->out, "%s\"%s\": ", first ? "" : ", ", f->name);
        print_field(pr, f, p + f->offset);
        first = false;
    }
    buf_put_u8(pr->out, '}');
}

void kafka_msg_print(const struct kafka_message *m, int version, const void *msg, size_t max, struct buf *out) {
    struct printer pr = {out, version, out->n + max};
    print_struct(&pr, m->body, msg);
}

// ---- made-up messages -------------------------------------------------------------------------------------------------
struct maker {
    uint64_t *seed;
    struct arena *a;
    int version;
};

static uint64_t draw(struct maker *k) { // xorshift64*
    uint64_t x = *k->seed;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *k->seed = x;
    return x * 0x2545F4914F6CDD1DULL;
}

static void make_struct(struct maker *k, const struct kafka_struct *s, char *out);

static struct str make_bytes(struct maker *k, bool text, size_t max) {
    size_t n = draw(k) % (max + 1);
    char *p = arena_alloc(k->a, n + 1);
    for (size_t i = 0; i < n; i++) p[i] = text ? (char)('a' + (char)(draw(k) % 26)) : (char)draw(k);
    return (struct str){n == 0 ? "" : p, n};
}

static void make_one(struct maker *k, const struct kafka_field *f, char *at, bool null_ok) {
    void *p = at;
    uint64_t r = draw(k);
    switch ((enum kafka_type)f->type) {
    case KAFKA_BOOL: *(bool *)p = (r & 1) != 0; return;
    case KAFKA_INT8: *(int8_t *)p = (int8_t)r; return;
    case KAFKA_INT16: *(int16_t *)p = (int16_t)r; return;
    case KAFKA_UINT16: *(uint16_t *)p = (uint16_t)r; return;
    case KAFKA_INT32: *(int32_t *)p = (int32_t)r; return;
    case KAFKA_INT64: *(int64_t *)p = (int64_t)r; return;
    case KAFKA_FLOAT64: *(double *)p = (double)(int32_t)r / 8; return;
    case KAFKA_STRING:
    case KAFKA_BYTES:
        *(struct str *)p = null_ok && (r & 3) == 0 ? (struct str){NULL, 0} : make_bytes(k, f->type == KAFKA_STRING, 200);
        return;
    case KAFKA_RECORDS: *(struct str *)p = null_ok && (r & 3) == 0 ? (struct str){NULL, 0} : make_bytes(k, false, 3 * KAFKA_SPLICE_MIN); return;
    case KAFKA_UUID:
        for (size_t i = 0; i < sizeof(struct kafka_uuid); i++) ((uint8_t *)p)[i] = (uint8_t)draw(k);
        return;
    case KAFKA_STRUCT: make_struct(k, f->sub, at); return;
    }
}

static void make_field(struct maker *k, const struct kafka_field *f, char *at) {
    bool null = nullable(f, k->version) && (draw(k) & 3) == 0;
    if (f->shape == KAFKA_SHAPE_PLAIN) {
        make_one(k, f, at, nullable(f, k->version));
    } else if (f->shape == KAFKA_SHAPE_POINTER) {
        void *q = null ? NULL : arena_zalloc(k->a, f->sub->size);
        if (q != NULL) make_struct(k, f->sub, q);
        memcpy(at, &q, sizeof q);
    } else {
        struct any_array v = {NULL, null ? -1 : (int32_t)(draw(k) % 4)};
        size_t size = element_size(f);
        if (v.n > 0) v.p = arena_zalloc(k->a, size * (size_t)v.n);
        for (int32_t i = 0; i < v.n; i++) make_one(k, f, (char *)v.p + size * (size_t)i, false);
        memcpy(at, &v, sizeof v);
    }
}

static void make_struct(struct maker *k, const struct kafka_struct *s, char *out) {
    kafka_struct_init(s, out);
    for (size_t i = 0; i < s->n; i++) {
        const struct kafka_field *f = &s->fields[i];
        if (!in_version(f, k->version) || (f->tag >= 0 && (draw(k) & 1) == 0)) continue; // half of the tagged fields stay at their default
        make_field(k, f, out + f->offset);
    }
}

void kafka_msg_random(const struct kafka_message *m, int version, uint64_t *seed, struct arena *a, void *msg) {
    assert(*seed != 0 && version >= m->min && version <= m->max);
    struct maker k = {seed, a, version};
    make_struct(&k, m->body, msg);
}

// ---- comparison -------------------------------------------------------------------------------------------------------
static bool equal_struct(const struct kafka_struct *s, int version, const char *a, const char *b);

static bool equal_one(const struct kafka_field *f, int version, const char *a, const char *b) {
    switch ((enum kafka_type)f->type) {
    case KAFKA_STRING:
    case KAFKA_BYTES:
    case KAFKA_RECORDS: {
        const struct str *x = (const void *)a, *y = (const void *)b;
        return (x->p == NULL) == (y->p == NULL) && str_eq(*x, *y);
    }
    case KAFKA_STRUCT: return equal_struct(f->sub, version, a, b);
    default: return memcmp(a, b, type_size[f->type]) == 0;
    }
}

static bool equal_field(const struct kafka_field *f, int version, const char *a, const char *b) {
    if (f->shape == KAFKA_SHAPE_PLAIN) return equal_one(f, version, a, b);
    if (f->shape == KAFKA_SHAPE_POINTER) {
        const void *x, *y;
        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        return (x == NULL) == (y == NULL) && (x == NULL || equal_struct(f->sub, version, x, y));
    }
    struct any_array v, w;
    memcpy(&v, a, sizeof v);
    memcpy(&w, b, sizeof w);
    if (v.n != w.n) return false;
    size_t size = element_size(f);
    for (int32_t i = 0; i < v.n; i++)
        if (!equal_one(f, version, (const char *)v.p + size * (size_t)i, (const char *)w.p + size * (size_t)i)) return false;
    return true;
}

static bool equal_struct(const struct kafka_struct *s, int version, const char *a, const char *b) {
    for (size_t i = 0; i < s->n; i++) {
        const struct kafka_field *f = &s->fields[i];
        if (in_version(f, version) && !equal_field(f, version, a + f->offset, b + f->offset)) return false;
    }
    return true;
}

bool kafka_msg_equal(const struct kafka_message *m, int version, const void *a, const void *b) {
    return equal_struct(m->body, version, a, b);
}
