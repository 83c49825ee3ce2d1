// SPDX-License-Identifier: Apache-2.0
// Avro schemas to text: Parsing Canonical Form (specification, "Parsing Canonical Form for Schemas"), its CRC-64-AVRO fingerprint, and
// the schema of column batches. Pure, any thread.
#include "base/map.h"
#include "codec/json.h"
#include "schema/avro.h"
#include "schema/avro_internal.h"

static void canonical(const struct avro_schema *s, struct map *seen, struct buf *out);

static void canonical_fields(const struct avro_schema *s, struct map *seen, struct buf *out) {
    buf_puts(out, ",\"fields\":[");
    for (size_t i = 0; i < s->n_fields; i++) {
        buf_printf(out, "%s{\"name\":\"%s\",\"type\":", i > 0 ? "," : "", s->fields[i].name);
        canonical(s->fields[i].type, seen, out);
        buf_puts(out, "}");
    }
    buf_puts(out, "]}");
}

static void canonical_named(const struct avro_schema *s, struct map *seen, struct buf *out) {
    if (map_getc(seen, s->name) != NULL) {
        buf_printf(out, "\"%s\"", s->name);
        return;
    }
    map_put(seen, str_c(s->name), seen);
    buf_printf(out, "{\"name\":\"%s\",\"type\":\"%s\"", s->name, avro_kind_name(s->kind));
    if (s->kind == AVRO_RECORD) {
        canonical_fields(s, seen, out);
    } else if (s->kind == AVRO_ENUM) {
        buf_puts(out, ",\"symbols\":[");
        for (size_t i = 0; i < s->n_symbols; i++) buf_printf(out, "%s\"%s\"", i > 0 ? "," : "", s->symbols[i]);
        buf_puts(out, "]}");
    } else {
        buf_printf(out, ",\"size\":%zu}", s->fixed_size);
    }
}

static void canonical(const struct avro_schema *s, struct map *seen, struct buf *out) {
    switch (s->kind) {
    case AVRO_RECORD:
    case AVRO_ENUM:
    case AVRO_FIXED: canonical_named(s, seen, out); return;
    case AVRO_ARRAY:
    case AVRO_MAP:
        buf_printf(out, "{\"type\":\"%s\",\"%s\":", avro_kind_name(s->kind), s->kind == AVRO_ARRAY ? "items" : "values");
        canonical(s->items, seen, out);
        buf_puts(out, "}");
        return;
    case AVRO_UNION:
        buf_puts(out, "[");
        for (size_t i = 0; i < s->n_branches; i++) {
            if (i > 0) buf_puts(out, ",");
            canonical(s->branches[i], seen, out);
        }
        buf_puts(out, "]");
        return;
    default: buf_printf(out, "\"%s\"", avro_kind_name(s->kind)); return;
    }
}

void avro_schema_canonical(const struct avro_schema *s, struct buf *out) {
    struct map seen;
    map_init(&seen);
    canonical(s, &seen, out);
    map_fini(&seen);
}

uint64_t avro_crc64(struct str bytes) {
    const uint64_t empty = 0xc15d213aa4d7a795ull;
    uint64_t crc = empty;
    for (size_t i = 0; i < bytes.n; i++) {
        crc ^= (uint8_t)bytes.p[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (empty & (0 - (crc & 1)));
    }
    return crc;
}

uint64_t avro_schema_fingerprint(const struct avro_schema *s) {
    struct buf b;
    buf_init(&b, 0);
    avro_schema_canonical(s, &b);
    uint64_t crc = avro_crc64(buf_str(&b));
    buf_fini(&b);
    return crc;
}

// ---- from columns -----------------------------------------------------------------------------------------------------------------
static const char *const plain_types[] = {
    [COLS_BOOL] = "\"boolean\"",
    [COLS_INT8] = "\"int\"",
    [COLS_INT16] = "\"int\"",
    [COLS_INT32] = "\"int\"",
    [COLS_INT64] = "\"long\"",
    [COLS_UINT8] = "\"int\"",
    [COLS_UINT16] = "\"int\"",
    [COLS_UINT32] = "\"long\"",
    [COLS_UINT64] = "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":20,\"scale\":0}",
    [COLS_FLOAT] = "\"float\"",
    [COLS_DOUBLE] = "\"double\"",
    [COLS_DATE] = "{\"type\":\"int\",\"logicalType\":\"date\"}",
    [COLS_TIME] = "{\"type\":\"long\",\"logicalType\":\"time-micros\"}",
    [COLS_UUID] = "{\"type\":\"string\",\"logicalType\":\"uuid\"}",
    [COLS_STRING] = "\"string\"",
    [COLS_BYTES] = "\"bytes\"",
    [COLS_MAP] = NULL,
};

static enum err_code put_fields(const struct cols_field *fields, size_t n, const char *name, struct buf *out, struct err *err);

static enum err_code put_type(const struct cols_field *f, const char *path, struct buf *out, struct err *err) {
    const struct cols_type *t = &f->type;
    enum err_code code = ERR_OK;
    if (f->nullable) buf_puts(out, "[\"null\",");
    if (t->kind == COLS_DECIMAL) {
        buf_printf(out, "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":%u,\"scale\":%u}", t->precision, t->scale);
    } else if (t->kind == COLS_TIMESTAMP) {
        buf_printf(out, "{\"type\":\"long\",\"logicalType\":\"%stimestamp-micros\"}", t->tz ? "" : "local-");
    } else if (t->kind == COLS_LIST) {
        buf_puts(out, "{\"type\":\"array\",\"items\":");
        code = put_type(&t->fields[0], path, out, err);
        buf_puts(out, "}");
    } else if (t->kind == COLS_MAP) {
        if (t->fields[0].type.kind != COLS_STRING) return err_set(err, ERR_NOT_SUPPORTED, "column %s: Avro's maps have text keys only", path);
        buf_puts(out, "{\"type\":\"map\",\"values\":");
        code = put_type(&t->fields[1], path, out, err);
        buf_puts(out, "}");
    } else if (t->kind == COLS_STRUCT) {
        code = put_fields(t->fields, t->n_fields, path, out, err);
    } else if (t->kind < sizeof plain_types / sizeof *plain_types && plain_types[t->kind] != NULL) {
        buf_puts(out, plain_types[t->kind]);
    } else {
        return err_set(err, ERR_NOT_SUPPORTED, "column %s: Avro has no type for %s", path, cols_kind_name(t->kind));
    }
    if (f->nullable) buf_puts(out, "]");
    return code;
}

// A record; `name` is its full name, and inner records are called name_field.
static enum err_code put_fields(const struct cols_field *fields, size_t n, const char *name, struct buf *out, struct err *err) {
    enum err_code code = ERR_OK;
    buf_printf(out, "{\"type\":\"record\",\"name\":\"%s\",\"fields\":[", name);
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        const struct cols_field *f = &fields[i];
        if (!avro_name_ok(str_c(f->name), false))
            return err_set(err, ERR_INVALID, "column \"%s\": Avro's names have letters, digits and _ only", f->name);
        char *inner = mem_printf("%s_%s", name, f->name);
        buf_printf(out, "%s{\"name\":\"%s\",\"type\":", i > 0 ? "," : "", f->name);
        code = put_type(f, inner, out, err);
        if (f->nullable) buf_puts(out, ",\"default\":null");
        buf_puts(out, "}");
        mem_free(inner);
    }
    buf_puts(out, "]}");
    return code;
}

enum err_code avro_schema_of_cols(const struct cols_schema *cols, const char *name, struct buf *out, struct err *err) {
    if (!avro_name_ok(str_c(name), true)) return err_set(err, ERR_INVALID, "\"%s\" is no name for an Avro record", name);
    return put_fields(cols->fields, cols->n, name, out, err);
}
