// SPDX-License-Identifier: Apache-2.0
// DuckDB's types as column types and back. One table for the plain ones; DECIMAL, LIST, ARRAY, STRUCT, MAP by hand.
//
// Any thread. Memory: the caller's arena; logical types are the caller's to destroy. Errors: ERR_NOT_SUPPORTED names the type.
#include <assert.h>

#include "engine/internal.h"

static const struct {
    duckdb_type duck;
    enum cols_kind kind;
    bool tz;
    const char *sql; // NULL: only from DuckDB
} plain[] = {
    {DUCKDB_TYPE_BOOLEAN, COLS_BOOL, false, "BOOLEAN"},
    {DUCKDB_TYPE_TINYINT, COLS_INT8, false, "TINYINT"},
    {DUCKDB_TYPE_SMALLINT, COLS_INT16, false, "SMALLINT"},
    {DUCKDB_TYPE_INTEGER, COLS_INT32, false, "INTEGER"},
    {DUCKDB_TYPE_BIGINT, COLS_INT64, false, "BIGINT"},
    {DUCKDB_TYPE_UTINYINT, COLS_UINT8, false, "UTINYINT"},
    {DUCKDB_TYPE_USMALLINT, COLS_UINT16, false, "USMALLINT"},
    {DUCKDB_TYPE_UINTEGER, COLS_UINT32, false, "UINTEGER"},
    {DUCKDB_TYPE_UBIGINT, COLS_UINT64, false, "UBIGINT"},
    {DUCKDB_TYPE_FLOAT, COLS_FLOAT, false, "FLOAT"},
    {DUCKDB_TYPE_DOUBLE, COLS_DOUBLE, false, "DOUBLE"},
    {DUCKDB_TYPE_DATE, COLS_DATE, false, "DATE"},
    {DUCKDB_TYPE_TIME, COLS_TIME, false, "TIME"},
    {DUCKDB_TYPE_TIMESTAMP, COLS_TIMESTAMP, false, "TIMESTAMP"},
    {DUCKDB_TYPE_TIMESTAMP_TZ, COLS_TIMESTAMP, true, "TIMESTAMPTZ"},
    {DUCKDB_TYPE_INTERVAL, COLS_INTERVAL, false, "INTERVAL"},
    {DUCKDB_TYPE_UUID, COLS_UUID, false, "UUID"},
    {DUCKDB_TYPE_VARCHAR, COLS_STRING, false, "VARCHAR"},
    {DUCKDB_TYPE_BLOB, COLS_BYTES, false, "BLOB"},
    {DUCKDB_TYPE_SQLNULL, COLS_NULL, false, "INTEGER"}, // DuckDB has no column of the null type
    {DUCKDB_TYPE_TIMESTAMP_S, COLS_TIMESTAMP, false, NULL},
    {DUCKDB_TYPE_TIMESTAMP_MS, COLS_TIMESTAMP, false, NULL},
    {DUCKDB_TYPE_TIMESTAMP_NS, COLS_TIMESTAMP, false, NULL},
    {DUCKDB_TYPE_ENUM, COLS_STRING, false, NULL},
    {DUCKDB_TYPE_STRING_LITERAL, COLS_STRING, false, NULL}, // of parameters only
    {DUCKDB_TYPE_INTEGER_LITERAL, COLS_INT64, false, NULL},
};
enum { N_PLAIN = sizeof plain / sizeof *plain };

static enum err_code not_supported(duckdb_type id, struct err *err) {
    static const struct {
        duckdb_type id;
        const char *name;
    } names[] = {
        {DUCKDB_TYPE_UHUGEINT, "uhugeint"}, {DUCKDB_TYPE_TIME_TZ, "time with time zone"}, {DUCKDB_TYPE_BIT, "bit"},
        {DUCKDB_TYPE_BIGNUM, "bignum"},     {DUCKDB_TYPE_UNION, "union"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].id == id) return err_set(err, ERR_NOT_SUPPORTED, "a column of type %s cannot be returned; cast it to varchar", names[i].name);
    return err_set(err, ERR_NOT_SUPPORTED, "a column of DuckDB's type number %d cannot be returned; cast it to varchar", (int)id);
}

static struct cols_field *new_fields(struct arena *a, struct cols_type *out, size_t n) {
    out->n_fields = n;
    out->fields = ARENA_ARRAY(a, struct cols_field, n);
    for (size_t i = 0; i < n; i++) out->fields[i].nullable = true;
    return out->fields;
}

static enum err_code child(duckdb_logical_type t /* taken */, const char *name, struct arena *a, struct cols_field *out, struct err *err) {
    out->name = name;
    enum err_code code = type_from_duck(t, a, &out->type, err);
    duckdb_destroy_logical_type(&t);
    return code;
}

static enum err_code struct_from_duck(duckdb_logical_type t, struct arena *a, struct cols_type *out, struct err *err) {
    size_t n = duckdb_struct_type_child_count(t);
    struct cols_field *f = new_fields(a, out, n);
    out->kind = COLS_STRUCT;
    for (size_t i = 0; i < n; i++) {
        char *name = duckdb_struct_type_child_name(t, i);
        const char *copy = arena_strdup(a, name);
        duckdb_free(name);
        enum err_code code = child(duckdb_struct_type_child_type(t, i), copy, a, &f[i], err);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

enum err_code type_from_duck(duckdb_logical_type t, struct arena *a, struct cols_type *out, struct err *err) {
    duckdb_type id = duckdb_get_type_id(t);
    *out = (struct cols_type){0};
    for (size_t i = 0; i < N_PLAIN; i++) {
        if (plain[i].duck != id) continue;
        out->kind = plain[i].kind;
        out->tz = plain[i].tz;
        return ERR_OK;
    }
    switch (id) {
    case DUCKDB_TYPE_DECIMAL:
        *out = (struct cols_type){.kind = COLS_DECIMAL, .precision = duckdb_decimal_width(t), .scale = duckdb_decimal_scale(t)};
        return ERR_OK;
    case DUCKDB_TYPE_HUGEINT: // sum() of integers; beyond 38 digits no decimal reaches, and no sum comes near
        *out = (struct cols_type){.kind = COLS_DECIMAL, .precision = 38, .scale = 0};
        return ERR_OK;
    case DUCKDB_TYPE_LIST:
        out->kind = COLS_LIST;
        return child(duckdb_list_type_child_type(t), "element", a, new_fields(a, out, 1), err);
    case DUCKDB_TYPE_ARRAY:
        out->kind = COLS_LIST;
        return child(duckdb_array_type_child_type(t), "element", a, new_fields(a, out, 1), err);
    case DUCKDB_TYPE_STRUCT: return struct_from_duck(t, a, out, err);
    case DUCKDB_TYPE_MAP: {
        out->kind = COLS_MAP;
        struct cols_field *f = new_fields(a, out, 2);
        enum err_code code = child(duckdb_map_type_key_type(t), "key", a, &f[0], err);
        f[0].nullable = false;
        return code == ERR_OK ? child(duckdb_map_type_value_type(t), "value", a, &f[1], err) : code;
    }
    default: return not_supported(id, err);
    }
}

bool type_is_exact(duckdb_logical_type t) {
    duckdb_type id = duckdb_get_type_id(t);
    if (id == DUCKDB_TYPE_DECIMAL) return true;
    for (size_t i = 0; i < N_PLAIN; i++)
        if (plain[i].duck == id) return plain[i].sql != NULL && id != DUCKDB_TYPE_SQLNULL;
    return false;
}

static duckdb_logical_type struct_to_duck(const struct cols_type *t) {
    duckdb_logical_type *types = mem_zalloc(sizeof *types * (t->n_fields + 1));
    const char **names = mem_zalloc(sizeof *names * (t->n_fields + 1));
    for (size_t i = 0; i < t->n_fields; i++) {
        types[i] = type_to_duck(&t->fields[i].type);
        names[i] = t->fields[i].name;
    }
    duckdb_logical_type out = duckdb_create_struct_type(types, names, t->n_fields);
    for (size_t i = 0; i < t->n_fields; i++) duckdb_destroy_logical_type(&types[i]);
    mem_free(types);
    mem_free(names);
    return out;
}

duckdb_logical_type type_to_duck(const struct cols_type *t) {
    duckdb_logical_type k, v, out;
    switch (t->kind) {
    case COLS_DECIMAL: return duckdb_create_decimal_type(t->precision, t->scale);
    case COLS_STRUCT: return struct_to_duck(t);
    case COLS_LIST:
        k = type_to_duck(&t->fields[0].type);
        out = duckdb_create_list_type(k);
        duckdb_destroy_logical_type(&k);
        return out;
    case COLS_MAP:
        k = type_to_duck(&t->fields[0].type);
        v = type_to_duck(&t->fields[1].type);
        out = duckdb_create_map_type(k, v);
        duckdb_destroy_logical_type(&k);
        duckdb_destroy_logical_type(&v);
        return out;
    case COLS_NULL: return duckdb_create_logical_type(DUCKDB_TYPE_INTEGER);
    default: break;
    }
    for (size_t i = 0; i < N_PLAIN; i++)
        if (plain[i].kind == t->kind && plain[i].tz == t->tz) return duckdb_create_logical_type(plain[i].duck);
    assert(false && "a kind without a type");
    return duckdb_create_logical_type(DUCKDB_TYPE_INVALID);
}

void type_put_sql(const struct cols_type *t, struct buf *out) {
    switch (t->kind) {
    case COLS_DECIMAL: buf_printf(out, "DECIMAL(%d,%d)", t->precision, t->scale); return;
    case COLS_LIST:
        type_put_sql(&t->fields[0].type, out);
        buf_puts(out, "[]");
        return;
    case COLS_MAP:
        buf_puts(out, "MAP(");
        type_put_sql(&t->fields[0].type, out);
        buf_puts(out, ", ");
        type_put_sql(&t->fields[1].type, out);
        buf_puts(out, ")");
        return;
    case COLS_STRUCT:
        buf_puts(out, "STRUCT(");
        for (size_t i = 0; i < t->n_fields; i++) {
            if (i > 0) buf_puts(out, ", ");
            sql_put_ident(out, str_c(t->fields[i].name));
            buf_puts(out, " ");
            type_put_sql(&t->fields[i].type, out);
        }
        buf_puts(out, ")");
        return;
    default: break;
    }
    for (size_t i = 0; i < N_PLAIN; i++) {
        if (plain[i].kind != t->kind || plain[i].tz != t->tz || plain[i].sql == NULL) continue;
        buf_puts(out, plain[i].sql);
        return;
    }
    assert(false && "a kind without a name");
}
