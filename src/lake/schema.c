// SPDX-License-Identifier: Apache-2.0
// Delta's schema JSON (PROTOCOL.md "Schema Serialization Format") to columns and back. Pure functions; any thread.
// Bounded: nesting of at most SCHEMA_DEPTH_MAX, at most SCHEMA_COLUMNS_MAX fields in all.
#include "codec/json.h"
#include "lake/internal.h"

enum { SCHEMA_DEPTH_MAX = 32, SCHEMA_COLUMNS_MAX = 10000 };

static const struct {
    const char *name;
    enum cols_kind kind;
    bool tz;
} primitives[] = {
    {"string", COLS_STRING, false},     {"long", COLS_INT64, false},         {"integer", COLS_INT32, false},
    {"short", COLS_INT16, false},       {"byte", COLS_INT8, false},          {"float", COLS_FLOAT, false},
    {"double", COLS_DOUBLE, false},     {"boolean", COLS_BOOL, false},       {"binary", COLS_BYTES, false},
    {"date", COLS_DATE, false},         {"timestamp", COLS_TIMESTAMP, true}, {"timestamp_ntz", COLS_TIMESTAMP, false},
};

// ---- writing ----------------------------------------------------------------------------------------------------------------
static json_t *type_json(const struct cols_type *t, int depth, struct err *err);

static json_t *struct_json(const struct cols_field *fields, size_t n, int depth, struct err *err) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *type = type_json(&fields[i].type, depth + 1, err);
        if (type == NULL) {
            err_wrap(err, "column %s", fields[i].name);
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, json_pack("{s:s, s:o, s:b, s:{}}", "name", fields[i].name, "type", type, "nullable",
                                              fields[i].nullable ? 1 : 0, "metadata"));
    }
    return json_pack("{s:s, s:o}", "type", "struct", "fields", list);
}

static json_t *type_json(const struct cols_type *t, int depth, struct err *err) {
    if (depth > SCHEMA_DEPTH_MAX) {
        err_set(err, ERR_TOO_LARGE, "a type is nested more than %d deep", SCHEMA_DEPTH_MAX);
        return NULL;
    }
    if (t->kind == COLS_DECIMAL) {
        char text[32];
        snprintf(text, sizeof text, "decimal(%d,%d)", t->precision, t->scale);
        return json_string(text);
    }
    if (t->kind == COLS_STRUCT)
        return struct_json(t->fields, t->n_fields, depth, err);
    if (t->kind == COLS_LIST) {
        json_t *element = type_json(&t->fields[0].type, depth + 1, err);
        return element == NULL ? NULL
                               : json_pack("{s:s, s:o, s:b}", "type", "array", "elementType", element, "containsNull",
                                           t->fields[0].nullable ? 1 : 0);
    }
    if (t->kind == COLS_MAP) {
        json_t *key = type_json(&t->fields[0].type, depth + 1, err);
        json_t *value = key == NULL ? NULL : type_json(&t->fields[1].type, depth + 1, err);
        if (value == NULL) {
            json_decref(key);
            return NULL;
        }
        return json_pack("{s:s, s:o, s:o, s:b}", "type", "map", "keyType", key, "valueType", value, "valueContainsNull",
                         t->fields[1].nullable ? 1 : 0);
    }
    for (size_t i = 0; i < sizeof primitives / sizeof primitives[0]; i++)
        if (primitives[i].kind == t->kind && (t->kind != COLS_TIMESTAMP || primitives[i].tz == t->tz))
            return json_string(primitives[i].name);
    err_set(err, ERR_NOT_SUPPORTED, "Delta tables have no type for %s; cast it first", cols_kind_name(t->kind));
    return NULL;
}

enum err_code lake_schema_to_json(const struct cols_schema *schema, struct buf *out, struct err *err) {
    struct err local;
    err = err != NULL ? err : &local;
    err_clear(err);
    json_t *j = struct_json(schema->fields, schema->n, 0, err);
    if (j == NULL)
        return err->code;
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    buf_puts(out, text);
    free(text);
    return out->failed ? err_set(err, ERR_TOO_LARGE, "the schema's JSON is too long") : ERR_OK;
}

// ---- reading ----------------------------------------------------------------------------------------------------------------
struct reader {
    struct arena *arena;
    size_t n_fields;
    struct err *err;
};

static bool read_type(struct reader *r, const json_t *j, struct cols_type *out, int depth);

static bool read_decimal(struct str text, struct cols_type *out) {
    struct str head, tail;
    if (!str_starts(text, STR("decimal(")) || !str_ends(text, STR(")")))
        return false;
    struct str inside = {text.p + 8, text.n - 9};
    int64_t precision, scale = 0;
    bool two = str_cut(inside, ',', &head, &tail);
    if (!str_to_i64(str_trim(head), &precision) || (two && !str_to_i64(str_trim(tail), &scale)))
        return false;
    if (precision < 1 || precision > 38 || scale < 0 || scale > precision)
        return false;
    *out = (struct cols_type){.kind = COLS_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
    return true;
}

static bool read_primitive(struct reader *r, const char *name, struct cols_type *out) {
    for (size_t i = 0; i < sizeof primitives / sizeof primitives[0]; i++)
        if (str_eqc(str_c(name), primitives[i].name)) {
            *out = (struct cols_type){.kind = primitives[i].kind, .tz = primitives[i].tz};
            return true;
        }
    if (str_eqc(str_c(name), "decimal")) {
        *out = (struct cols_type){.kind = COLS_DECIMAL, .precision = 10, .scale = 0};
        return true;
    }
    if (read_decimal(str_c(name), out))
        return true;
    err_set(r->err, ERR_NOT_SUPPORTED, "the table's schema has the type %.100s, which Millrace does not read", name);
    return false;
}

static bool read_field(struct reader *r, const json_t *j, struct cols_field *out, int depth) {
    const char *name = json_string_value(json_object_get(j, "name"));
    if (name == NULL || ++r->n_fields > SCHEMA_COLUMNS_MAX) {
        err_set(r->err, ERR_CORRUPT, "the table's schema has a field without a name, or more than %d fields", SCHEMA_COLUMNS_MAX);
        return false;
    }
    out->name = arena_strdup(r->arena, name);
    out->nullable = !json_is_false(json_object_get(j, "nullable"));
    return read_type(r, json_object_get(j, "type"), &out->type, depth);
}

static bool read_fields(struct reader *r, const json_t *j, struct cols_field **out, size_t *n, int depth) {
    const json_t *list = json_object_get(j, "fields");
    if (!json_is_array(list)) {
        err_set(r->err, ERR_CORRUPT, "the table's schema has a struct without fields");
        return false;
    }
    *n = json_array_size(list);
    *out = ARENA_ARRAY(r->arena, struct cols_field, *n + 1);
    for (size_t i = 0; i < *n; i++)
        if (!read_field(r, json_array_get(list, i), &(*out)[i], depth + 1))
            return false;
    return true;
}

static bool read_nested(struct reader *r, const json_t *j, struct cols_type *out, int depth) {
    const char *kind = json_string_value(json_object_get(j, "type"));
    struct str k = str_c(kind);
    if (str_eqc(k, "struct")) {
        out->kind = COLS_STRUCT;
        return read_fields(r, j, &out->fields, &out->n_fields, depth);
    }
    if (str_eqc(k, "array")) {
        *out = (struct cols_type){.kind = COLS_LIST, .n_fields = 1, .fields = ARENA_ARRAY(r->arena, struct cols_field, 1)};
        out->fields[0] = (struct cols_field){.name = "element", .nullable = !json_is_false(json_object_get(j, "containsNull"))};
        return read_type(r, json_object_get(j, "elementType"), &out->fields[0].type, depth + 1);
    }
    if (str_eqc(k, "map")) {
        *out = (struct cols_type){.kind = COLS_MAP, .n_fields = 2, .fields = ARENA_ARRAY(r->arena, struct cols_field, 2)};
        out->fields[0] = (struct cols_field){.name = "key", .nullable = false};
        out->fields[1] = (struct cols_field){.name = "value", .nullable = !json_is_false(json_object_get(j, "valueContainsNull"))};
        return read_type(r, json_object_get(j, "keyType"), &out->fields[0].type, depth + 1) &&
               read_type(r, json_object_get(j, "valueType"), &out->fields[1].type, depth + 1);
    }
    err_set(r->err, ERR_NOT_SUPPORTED, "the table's schema has the type %.100s, which Millrace does not read", kind == NULL ? "?" : kind);
    return false;
}

static bool read_type(struct reader *r, const json_t *j, struct cols_type *out, int depth) {
    if (depth > SCHEMA_DEPTH_MAX) {
        err_set(r->err, ERR_TOO_LARGE, "the table's schema is nested more than %d deep", SCHEMA_DEPTH_MAX);
        return false;
    }
    *out = (struct cols_type){0};
    if (json_is_string(j))
        return read_primitive(r, json_string_value(j), out);
    if (json_is_object(j))
        return read_nested(r, j, out, depth);
    err_set(r->err, ERR_CORRUPT, "the table's schema has a field without a type");
    return false;
}

struct cols_schema *lake_schema_from_json(struct str json, struct arena *a, struct err *err) {
    json_error_t where;
    json_t *j = json_loadb(json.p, json.n, 0, &where);
    if (j == NULL) {
        err_set(err, ERR_CORRUPT, "the table's schema is not JSON: %s", where.text);
        return NULL;
    }
    struct reader r = {.arena = a, .err = err};
    struct cols_schema *out = ARENA_NEW(a, struct cols_schema);
    bool ok = read_fields(&r, j, &out->fields, &out->n, 0);
    json_decref(j);
    return ok ? out : NULL;
}

// ---- what can be stored -----------------------------------------------------------------------------------------------------
static bool storable_type(const struct cols_type *in, struct cols_type *out, struct arena *a, int depth, struct err *err) {
    static const enum cols_kind wider[] = {
        [COLS_UINT8] = COLS_INT16, [COLS_UINT16] = COLS_INT32, [COLS_UINT32] = COLS_INT64, [COLS_UUID] = COLS_STRING};
    *out = *in;
    switch (in->kind) {
    case COLS_UINT8:
    case COLS_UINT16:
    case COLS_UINT32:
    case COLS_UUID:
        out->kind = wider[in->kind];
        return true;
    case COLS_UINT64:
        *out = (struct cols_type){.kind = COLS_DECIMAL, .precision = 20, .scale = 0};
        return true;
    case COLS_TIME:
    case COLS_INTERVAL:
    case COLS_NULL:
        err_set(err, ERR_NOT_SUPPORTED, "Delta tables have no type for %s; cast it first", cols_kind_name(in->kind));
        return false;
    default:
        break;
    }
    if (depth > SCHEMA_DEPTH_MAX) {
        err_set(err, ERR_TOO_LARGE, "a type is nested more than %d deep", SCHEMA_DEPTH_MAX);
        return false;
    }
    if (in->n_fields > 0)
        out->fields = ARENA_ARRAY(a, struct cols_field, in->n_fields);
    for (size_t i = 0; i < in->n_fields; i++) {
        out->fields[i].name = arena_strdup(a, in->fields[i].name);
        out->fields[i].nullable = in->fields[i].nullable;
        if (!storable_type(&in->fields[i].type, &out->fields[i].type, a, depth + 1, err))
            return false;
    }
    return true;
}

struct cols_schema *lake_storable_schema(const struct cols_schema *schema, struct arena *a, struct err *err) {
    struct cols_schema *out = ARENA_NEW(a, struct cols_schema);
    out->n = schema->n;
    out->fields = ARENA_ARRAY(a, struct cols_field, schema->n + 1);
    for (size_t i = 0; i < schema->n; i++) {
        out->fields[i].name = arena_strdup(a, schema->fields[i].name);
        out->fields[i].nullable = schema->fields[i].nullable;
        if (!storable_type(&schema->fields[i].type, &out->fields[i].type, a, 0, err)) {
            err_wrap(err, "column %s", schema->fields[i].name);
            return NULL;
        }
    }
    return out;
}
