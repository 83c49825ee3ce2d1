// SPDX-License-Identifier: Apache-2.0
// DuckDB's vectors into column builders (results) and columns into vectors (table functions). Fixed-width values move by memcpy; strings take
// one loop over 16-byte headers; nulls are bits on both sides.
//
// One thread per builder or vector. Memory: what is gathered belongs to the builder; strings longer than 12 bytes are copied into the vector's
// own heap, so a column may be freed as soon as vector_fill returns. Vectors handed out by DuckDB's C API are flat.
#include <assert.h>

#include "engine/internal.h"

// ---- vector to column -------------------------------------------------------------------------------------------------------

static bool row_valid(const uint64_t *validity, size_t row) { return validity == NULL || (validity[row >> 6] >> (row & 63) & 1) != 0; }

static void room(struct cols_out *c, size_t n) {
    while (c->cap - c->n < n) cols_out_grow(c);
}

// Rows c->n.. of the column have been written as valid ones by the caller's memcpy; now the nulls among them.
static void gather_nulls(struct cols_out *c, const uint64_t *validity, size_t from, size_t n) {
    if (validity == NULL) return;
    size_t start = c->n;
    for (size_t i = 0; i < n; i++) {
        if (row_valid(validity, from + i)) continue;
        size_t row = start + i;
        if (c->validity == NULL) {
            c->validity = mem_alloc((c->cap + 7) / 8);
            memset(c->validity, 0xFF, (c->cap + 7) / 8);
        }
        c->validity[row >> 3] = (uint8_t)(c->validity[row >> 3] & ~(1u << (row & 7)));
        c->n_null++;
    }
}

static void gather_fixed(struct cols_out *c, const void *data, const uint64_t *validity, size_t from, size_t n) {
    room(c, n);
    memcpy((uint8_t *)c->values + c->n * c->width, (const uint8_t *)data + from * c->width, n * c->width);
    gather_nulls(c, validity, from, n);
    c->n += n;
}

static void gather_bool(struct cols_out *c, const uint8_t *data, const uint64_t *validity, size_t from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (row_valid(validity, from + i)) cols_out_bool(c, data[from + i] != 0);
        else cols_out_null(c);
    }
}

// A maximum of the column (COLS_DATA_MAX) cannot be met: batches end at ENGINE_BATCH_BYTES and a value has at most 1 GiB in DuckDB... except
// when a single chunk brings more; then the value becomes null rather than wrong, and the result fails at its end (result.c checks).
static void gather_strings(struct cols_out *c, duckdb_string_t *data, const uint64_t *validity, size_t from, size_t n) {
    for (size_t i = from; i < from + n; i++) {
        if (!row_valid(validity, i) || !cols_out_bytes(c, duckdb_string_t_data(&data[i]), duckdb_string_t_length(data[i]))) cols_out_null(c);
    }
}

static void gather_enum(struct cols_out *c, duckdb_logical_type t, const void *data, const uint64_t *validity, size_t from, size_t n) {
    duckdb_type id = duckdb_enum_internal_type(t);
    for (size_t i = from; i < from + n; i++) {
        if (!row_valid(validity, i)) {
            cols_out_null(c);
            continue;
        }
        uint64_t key = id == DUCKDB_TYPE_UTINYINT    ? ((const uint8_t *)data)[i]
                       : id == DUCKDB_TYPE_USMALLINT ? ((const uint16_t *)data)[i]
                                                     : ((const uint32_t *)data)[i];
        char *text = duckdb_enum_dictionary_value(t, key);
        if (!cols_out_bytes(c, text, strlen(text))) cols_out_null(c);
        duckdb_free(text);
    }
}

static __int128 hugeint_of(duckdb_hugeint h) { return (__int128)((unsigned __int128)(uint64_t)h.upper << 64 | h.lower); }

static __int128 decimal_at(duckdb_type internal, const void *data, size_t i) {
    switch (internal) {
    case DUCKDB_TYPE_SMALLINT: return ((const int16_t *)data)[i];
    case DUCKDB_TYPE_INTEGER: return ((const int32_t *)data)[i];
    case DUCKDB_TYPE_BIGINT: return ((const int64_t *)data)[i];
    default: return hugeint_of(((const duckdb_hugeint *)data)[i]);
    }
}

static void gather_decimal(struct cols_out *c, duckdb_type internal, const void *data, const uint64_t *validity, size_t from, size_t n) {
    room(c, n);
    __int128 *out = (__int128 *)c->values + c->n;
    for (size_t i = 0; i < n; i++) out[i] = decimal_at(internal, data, from + i);
    gather_nulls(c, validity, from, n);
    c->n += n;
}

static void gather_uuid(struct cols_out *c, const duckdb_hugeint *data, const uint64_t *validity, size_t from, size_t n) {
    room(c, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t parts[2] = {(uint64_t)data[from + i].upper ^ (1ull << 63), data[from + i].lower};
        uint8_t *out = (uint8_t *)c->values + (c->n + i) * 16;
        for (size_t j = 0; j < 16; j++) out[j] = (uint8_t)(parts[j / 8] >> (56 - 8 * (j % 8)));
    }
    gather_nulls(c, validity, from, n);
    c->n += n;
}

static int64_t floor_div(int64_t v, int64_t by) { return v / by - (v % by < 0); }

static void gather_timestamp(struct cols_out *c, duckdb_type id, const int64_t *data, const uint64_t *validity, size_t from, size_t n) {
    room(c, n);
    int64_t *out = (int64_t *)c->values + c->n;
    for (size_t i = 0; i < n; i++) {
        int64_t v = row_valid(validity, from + i) ? data[from + i] : 0;
        if (id == DUCKDB_TYPE_TIMESTAMP_NS) out[i] = floor_div(v, 1000);
        else if (__builtin_mul_overflow(v, id == DUCKDB_TYPE_TIMESTAMP_S ? 1000000 : 1000, &out[i])) out[i] = v < 0 ? INT64_MIN : INT64_MAX;
    }
    gather_nulls(c, validity, from, n);
    c->n += n;
}

static void gather_interval(struct cols_out *c, const duckdb_interval *data, const uint64_t *validity, size_t from, size_t n) {
    room(c, n);
    struct cols_interval *out = (struct cols_interval *)c->values + c->n;
    for (size_t i = 0; i < n; i++) {
        int64_t nanos = 0;
        if (row_valid(validity, from + i) && __builtin_mul_overflow(data[from + i].micros, 1000, &nanos)) nanos = INT64_MAX;
        out[i] = (struct cols_interval){data[from + i].months, data[from + i].days, nanos};
    }
    gather_nulls(c, validity, from, n);
    c->n += n;
}

static void gather_list(struct cols_out *c, duckdb_vector v, const duckdb_list_entry *data, const uint64_t *validity, size_t from, size_t n) {
    duckdb_vector child = duckdb_list_vector_get_child(v);
    for (size_t i = from; i < from + n; i++) {
        if (!row_valid(validity, i)) {
            cols_out_null(c);
            continue;
        }
        vector_gather(&c->children[0], child, data[i].offset, data[i].length);
        cols_out_list(c);
    }
}

static void gather_array(struct cols_out *c, duckdb_vector v, size_t size, const uint64_t *validity, size_t from, size_t n) {
    duckdb_vector child = duckdb_array_vector_get_child(v);
    for (size_t i = from; i < from + n; i++) {
        if (!row_valid(validity, i)) {
            cols_out_null(c);
            continue;
        }
        vector_gather(&c->children[0], child, i * size, size);
        cols_out_list(c);
    }
}

static void gather_struct(struct cols_out *c, duckdb_vector v, const uint64_t *validity, size_t from, size_t n) {
    for (size_t i = 0; i < c->n_children; i++) vector_gather(&c->children[i], duckdb_struct_vector_get_child(v, i), from, n);
    room(c, n);
    gather_nulls(c, validity, from, n);
    c->n += n;
}

static void gather_nothing(struct cols_out *c, size_t n) {
    for (size_t i = 0; i < n; i++) cols_out_null(c);
}

void vector_gather(struct cols_out *c, duckdb_vector v, size_t from, size_t n) {
    if (n == 0) return;
    duckdb_logical_type t = duckdb_vector_get_column_type(v);
    duckdb_type id = duckdb_get_type_id(t);
    void *data = duckdb_vector_get_data(v);
    const uint64_t *validity = duckdb_vector_get_validity(v);
    if (c->type->kind == COLS_NULL) id = DUCKDB_TYPE_SQLNULL;
    switch (id) {
    case DUCKDB_TYPE_BOOLEAN: gather_bool(c, data, validity, from, n); break;
    case DUCKDB_TYPE_VARCHAR:
    case DUCKDB_TYPE_BLOB: gather_strings(c, data, validity, from, n); break;
    case DUCKDB_TYPE_ENUM: gather_enum(c, t, data, validity, from, n); break;
    case DUCKDB_TYPE_DECIMAL: gather_decimal(c, duckdb_decimal_internal_type(t), data, validity, from, n); break;
    case DUCKDB_TYPE_HUGEINT: gather_decimal(c, DUCKDB_TYPE_HUGEINT, data, validity, from, n); break;
    case DUCKDB_TYPE_UUID: gather_uuid(c, data, validity, from, n); break;
    case DUCKDB_TYPE_TIMESTAMP_S:
    case DUCKDB_TYPE_TIMESTAMP_MS:
    case DUCKDB_TYPE_TIMESTAMP_NS: gather_timestamp(c, id, data, validity, from, n); break;
    case DUCKDB_TYPE_INTERVAL: gather_interval(c, data, validity, from, n); break;
    case DUCKDB_TYPE_LIST:
    case DUCKDB_TYPE_MAP: gather_list(c, v, data, validity, from, n); break;
    case DUCKDB_TYPE_ARRAY: gather_array(c, v, duckdb_array_type_array_size(t), validity, from, n); break;
    case DUCKDB_TYPE_STRUCT: gather_struct(c, v, validity, from, n); break;
    case DUCKDB_TYPE_SQLNULL: gather_nothing(c, n); break;
    default: gather_fixed(c, data, validity, from, n); break;
    }
    duckdb_destroy_logical_type(&t);
}

// ---- column to vector -------------------------------------------------------------------------------------------------------

static void fill_validity(duckdb_vector v, const struct cols_column *c, size_t from, size_t n) {
    if (c->validity == NULL || c->n_null == 0) return;
    duckdb_vector_ensure_validity_writable(v);
    uint64_t *out = duckdb_vector_get_validity(v);
    if (from % 8 == 0) {
        memcpy(out, c->validity + from / 8, (n + 7) / 8);
        return;
    }
    for (size_t i = 0; i < n; i++) duckdb_validity_set_row_validity(out, i, cols_is_valid(c, from + i));
}

static void fill_bool(duckdb_vector v, const struct cols_column *c, size_t from, size_t n) {
    uint8_t *out = duckdb_vector_get_data(v);
    const uint8_t *bits = c->values;
    for (size_t i = 0; i < n; i++) out[i] = bits[(from + i) >> 3] >> ((from + i) & 7) & 1;
}

static void fill_strings(duckdb_vector v, const struct cols_column *c, size_t from, size_t n) {
    duckdb_string_t *out = duckdb_vector_get_data(v);
    for (size_t i = 0; i < n; i++) {
        struct str s = cols_str(c, from + i);
        if (s.n <= 12) {
            memset(&out[i], 0, sizeof out[i]);
            out[i].value.inlined.length = (uint32_t)s.n;
            if (s.n > 0) memcpy(out[i].value.inlined.inlined, s.p, s.n);
        } else {
            duckdb_unsafe_vector_assign_string_element_len(v, i, s.p, s.n); // our strings are valid UTF-8 by then
        }
    }
}

static void fill_decimal(duckdb_vector v, const struct cols_column *c, size_t from, size_t n) {
    void *out = duckdb_vector_get_data(v);
    const __int128 *in = (const __int128 *)c->values + from;
    if (c->type->precision > 18) {
        memcpy(out, in, n * 16);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (c->type->precision <= 4) ((int16_t *)out)[i] = (int16_t)in[i];
        else if (c->type->precision <= 9) ((int32_t *)out)[i] = (int32_t)in[i];
        else ((int64_t *)out)[i] = (int64_t)in[i];
    }
}

static void fill_uuid(duckdb_vector v, const struct cols_column *c, size_t from, size_t n) {
    duckdb_hugeint *out = duckdb_vector_get_data(v);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = (const uint8_t *)c->values + (from + i) * 16;
        uint64_t parts[2] = {0, 0};
        for (size_t j = 0; j < 16; j++) parts[j / 8] = parts[j / 8] << 8 | p[j];
        out[i] = (duckdb_hugeint){.lower = parts[1], .upper = (int64_t)(parts[0] ^ (1ull << 63))};
    }
}

static void fill_interval(duckdb_vector v, const struct cols_column *c, size_t from, size_t n) {
    duckdb_interval *out = duckdb_vector_get_data(v);
    const struct cols_interval *in = (const struct cols_interval *)c->values + from;
    for (size_t i = 0; i < n; i++) out[i] = (duckdb_interval){in[i].months, in[i].days, floor_div(in[i].nanos, 1000)};
}

static void fill_list(duckdb_vector v, const struct cols_column *c, size_t from, size_t n) {
    size_t first = (size_t)c->offsets[from], count = (size_t)c->offsets[from + n] - first;
    duckdb_list_vector_reserve(v, count);
    duckdb_list_vector_set_size(v, count);
    duckdb_list_entry *out = duckdb_vector_get_data(v);
    for (size_t i = 0; i < n; i++) {
        size_t at = (size_t)c->offsets[from + i];
        out[i] = (duckdb_list_entry){at - first, (size_t)c->offsets[from + i + 1] - at};
    }
    vector_fill(duckdb_list_vector_get_child(v), &c->children[0], first, count);
}

void vector_fill(duckdb_vector v, const struct cols_column *c, size_t from, size_t n) {
    if (n == 0) return;
    switch (c->type->kind) {
    case COLS_BOOL: fill_bool(v, c, from, n); break;
    case COLS_STRING:
    case COLS_BYTES: fill_strings(v, c, from, n); break;
    case COLS_DECIMAL: fill_decimal(v, c, from, n); break;
    case COLS_UUID: fill_uuid(v, c, from, n); break;
    case COLS_INTERVAL: fill_interval(v, c, from, n); break;
    case COLS_LIST:
    case COLS_MAP: fill_list(v, c, from, n); break;
    case COLS_STRUCT:
        for (size_t i = 0; i < c->n_children; i++) vector_fill(duckdb_struct_vector_get_child(v, i), &c->children[i], from, n);
        break;
    case COLS_NULL: {
        duckdb_vector_ensure_validity_writable(v);
        uint64_t *validity = duckdb_vector_get_validity(v);
        for (size_t i = 0; i < n; i++) duckdb_validity_set_row_invalid(validity, i);
        return;
    }
    default: {
        size_t width = cols_kind_width(c->type->kind);
        memcpy(duckdb_vector_get_data(v), (const uint8_t *)c->values + from * width, n * width);
        break;
    }
    }
    fill_validity(v, c, from, n);
}
