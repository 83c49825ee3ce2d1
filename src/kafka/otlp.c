// SPDX-License-Identifier: Apache-2.0
// A reader of OTLP's MetricsData. Field numbers are those of opentelemetry/proto/metrics/v1/metrics.proto; a message is walked by a function of
// its own, so that the depth is the type's.
#include "kafka/otlp.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct field {
    uint32_t number;
    int type;
    uint64_t number_value; // VARINT, FIXED64, FIXED32
    struct str bytes;      // BYTES
};

struct reading {
    void (*fn)(void *arg, const struct otlp_point *p);
    void *arg;
};

static uint64_t varint(struct rd *r) {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t b = rd_u8(r);
        v |= (uint64_t)(b & 0x7f) << shift;
        if ((b & 0x80) == 0) return v;
    }
    r->failed = true;
    return 0;
}

static uint64_t little(struct rd *r, size_t n) {
    const uint8_t *p = rd_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p != NULL && i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

// False at the end, or when r->failed.
static bool next(struct rd *r, struct field *f) {
    if (r->failed || rd_left(r) == 0) return false;
    uint64_t tag = varint(r);
    *f = (struct field){.number = (uint32_t)(tag >> 3), .type = (int)(tag & 7)};
    switch (f->type) {
    case VARINT: f->number_value = varint(r); break;
    case FIXED64: f->number_value = little(r, 8); break;
    case FIXED32: f->number_value = little(r, 4); break;
    case BYTES: {
        uint64_t n = varint(r);
        if (n > rd_left(r)) r->failed = true;
        else f->bytes = str_n(rd_bytes(r, (size_t)n), (size_t)n);
        break;
    }
    default: r->failed = true;
    }
    return !r->failed;
}

static bool read_attribute(struct str bytes, struct otlp_point *p) {
    struct rd r = rd_of(bytes.p, bytes.n), v;
    struct field f, inner;
    struct str key = STR(""), text = {NULL, 0};
    while (next(&r, &f)) {
        if (f.number == 1 && f.type == BYTES) key = f.bytes;
        if (f.number != 2 || f.type != BYTES) continue;
        v = rd_of(f.bytes.p, f.bytes.n);
        while (next(&v, &inner))
            if (inner.number == 1 && inner.type == BYTES) text = inner.bytes; // string_value
        if (v.failed) return false;
    }
    if (!r.failed && text.p != NULL && key.n > 0 && p->n_labels + 2 <= sizeof p->labels / sizeof *p->labels) {
        p->labels[p->n_labels++] = key;
        p->labels[p->n_labels++] = text;
    }
    return !r.failed;
}

static bool read_point(struct str bytes, struct otlp_point p, const struct reading *x) {
    struct rd r = rd_of(bytes.p, bytes.n);
    struct field f;
    bool has_value = false;
    while (next(&r, &f)) {
        if (f.number == 4 && f.type == FIXED64) { // as_double
            memcpy(&p.value, &f.number_value, sizeof p.value);
            has_value = true;
        } else if (f.number == 6 && f.type == FIXED64) { // as_int
            p.value = (double)(int64_t)f.number_value;
            has_value = true;
        } else if (f.number == 7 && f.type == BYTES && !read_attribute(f.bytes, &p)) {
            return false;
        }
    }
    if (!r.failed && has_value && p.name.n > 0) x->fn(x->arg, &p);
    return !r.failed;
}

// Gauge and Sum: data_points = 1; Sum: aggregation_temporality = 2 (1 = delta).
static bool read_data(struct str bytes, struct otlp_point p, const struct reading *x) {
    struct rd r = rd_of(bytes.p, bytes.n);
    struct field f;
    while (next(&r, &f))
        if (f.number == 2 && f.type == VARINT) p.delta = p.sum && f.number_value == 1;
    if (r.failed) return false;
    r = rd_of(bytes.p, bytes.n);
    while (next(&r, &f))
        if (f.number == 1 && f.type == BYTES && !read_point(f.bytes, p, x)) return false;
    return true;
}

static bool read_metric(struct str bytes, const struct reading *x) {
    struct otlp_point p = {0};
    struct rd r = rd_of(bytes.p, bytes.n);
    struct field f;
    while (next(&r, &f))
        if (f.number == 1 && f.type == BYTES) p.name = f.bytes;
    if (r.failed) return false;
    r = rd_of(bytes.p, bytes.n);
    while (next(&r, &f)) {
        if (f.type != BYTES || (f.number != 5 && f.number != 7)) continue; // gauge, sum
        p.sum = f.number == 7;
        if (!read_data(f.bytes, p, x)) return false;
    }
    return true;
}

// MetricsData.resource_metrics = 1, ResourceMetrics.scope_metrics = 2, ScopeMetrics.metrics = 2.
static bool walk(struct str bytes, int level, const struct reading *x) {
    static const uint32_t path[] = {1, 2, 2};
    struct rd r = rd_of(bytes.p, bytes.n);
    struct field f;
    while (next(&r, &f)) {
        if (f.number != path[level] || f.type != BYTES) continue;
        if (!(level == 2 ? read_metric(f.bytes, x) : walk(f.bytes, level + 1, x))) return false;
    }
    return !r.failed;
}

enum err_code otlp_read(struct str bytes, void (*fn)(void *arg, const struct otlp_point *p), void *arg, struct err *err) {
    struct reading x = {fn, arg};
    return walk(bytes, 0, &x) ? ERR_OK : err_set(err, ERR_PARSE, "not a MetricsData message of OTLP");
}
