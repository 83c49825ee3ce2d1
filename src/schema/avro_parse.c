// SPDX-License-Identifier: Apache-2.0
// Avro schemas from JSON (specification 1.11, "Schema Declaration", "Names"). One pass over the JSON value; a named type is entered into the
// name table before its fields are read, so that it may contain itself. Defaults are checked when all types are known.
// Everything made lives in the caller's arena. Errors carry the path of the place inside the schema.
#include <stdio.h>

#include "base/map.h"
#include "base/vec.h"
#include "codec/json.h"
#include "schema/avro.h"
#include "schema/avro_internal.h"

struct parser {
    struct arena *a;
    struct map names; // full name -> struct avro_schema
    struct err *err;
    char path[512]; // "fields[2].type"
    size_t path_len, depth, nodes;
    VEC(const struct avro_field *) with_default;
};

static const char *const kind_names[] = {
    [AVRO_NULL] = "null",     [AVRO_BOOLEAN] = "boolean", [AVRO_INT] = "int",       [AVRO_LONG] = "long", [AVRO_FLOAT] = "float",
    [AVRO_DOUBLE] = "double", [AVRO_BYTES] = "bytes",     [AVRO_STRING] = "string", [AVRO_RECORD] = "record", [AVRO_ENUM] = "enum",
    [AVRO_FIXED] = "fixed",   [AVRO_ARRAY] = "array",     [AVRO_MAP] = "map",       [AVRO_UNION] = "union",
};

const char *avro_kind_name(enum avro_kind k) { return kind_names[k]; }

static const struct avro_schema primitives[] = {
    {.kind = AVRO_NULL},  {.kind = AVRO_BOOLEAN}, {.kind = AVRO_INT},   {.kind = AVRO_LONG},
    {.kind = AVRO_FLOAT}, {.kind = AVRO_DOUBLE},  {.kind = AVRO_BYTES}, {.kind = AVRO_STRING},
};

static const struct logical {
    const char *name;
    enum avro_logical logical;
    enum avro_kind kind, or_kind;
} logicals[] = {
    {"decimal", AVRO_DECIMAL, AVRO_BYTES, AVRO_FIXED},
    {"date", AVRO_DATE, AVRO_INT, AVRO_INT},
    {"time-millis", AVRO_TIME_MILLIS, AVRO_INT, AVRO_INT},
    {"time-micros", AVRO_TIME_MICROS, AVRO_LONG, AVRO_LONG},
    {"timestamp-millis", AVRO_TIMESTAMP_MILLIS, AVRO_LONG, AVRO_LONG},
    {"timestamp-micros", AVRO_TIMESTAMP_MICROS, AVRO_LONG, AVRO_LONG},
    {"timestamp-nanos", AVRO_TIMESTAMP_NANOS, AVRO_LONG, AVRO_LONG},
    {"local-timestamp-millis", AVRO_LOCAL_TIMESTAMP_MILLIS, AVRO_LONG, AVRO_LONG},
    {"local-timestamp-micros", AVRO_LOCAL_TIMESTAMP_MICROS, AVRO_LONG, AVRO_LONG},
    {"local-timestamp-nanos", AVRO_LOCAL_TIMESTAMP_NANOS, AVRO_LONG, AVRO_LONG},
    {"uuid", AVRO_UUID, AVRO_STRING, AVRO_FIXED},
    {"duration", AVRO_DURATION, AVRO_FIXED, AVRO_FIXED},
};

// ---- errors and the path ------------------------------------------------------------------------------------------------------
static void *fail(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void *fail(struct parser *p, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    err_vset(p->err, ERR_INVALID, fmt, ap);
    va_end(ap);
    err_wrap(p->err, "Avro schema%s%s", p->path_len > 0 ? ", " : "", p->path);
    return NULL;
}

static size_t enter(struct parser *p, const char *what, size_t index) { // index SIZE_MAX = none
    size_t before = p->path_len;
    int n = index == SIZE_MAX ? snprintf(p->path + before, sizeof p->path - before, "%s%s", before > 0 ? "." : "", what)
                              : snprintf(p->path + before, sizeof p->path - before, "%s%s[%zu]", before > 0 ? "." : "", what, index);
    if (n > 0 && (size_t)n < sizeof p->path - before) p->path_len += (size_t)n;
    return before;
}

static void leave(struct parser *p, size_t before) { p->path[p->path_len = before] = 0; }

// ---- names --------------------------------------------------------------------------------------------------------------------
bool avro_name_ok(struct str s, bool dots) {
    bool start = true;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '.' && dots && !start) {
            start = true;
            continue;
        }
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (start || c < '0' || c > '9')) return false;
        start = false;
    }
    return !start;
}

// The full name that `name` means inside of namespace `ns` ("" = none).
static const char *full_name(struct parser *p, struct str name, struct str ns) {
    if (ns.n == 0 || memchr(name.p, '.', name.n) != NULL) return arena_strndup(p->a, name.p, name.n);
    return arena_printf(p->a, STR_FMT "." STR_FMT, STR_ARG(ns), STR_ARG(name));
}

static struct str namespace_of(const char *full) {
    const char *dot = strrchr(full, '.');
    return dot == NULL ? (struct str){"", 0} : str_n(full, (size_t)(dot - full));
}

static bool read_aliases(struct parser *p, const json_t *object, bool full, struct str ns, const char *const **out, size_t *n) {
    const json_t *list = json_object_get(object, "aliases");
    if (list == NULL || json_is_null(list)) return true;
    if (!json_is_array(list)) return fail(p, "aliases must be a list of names") != NULL;
    const char **names = ARENA_ARRAY(p->a, const char *, json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct str s = json_str(json_array_get(list, i));
        if (!avro_name_ok(s, full)) return fail(p, "\"" STR_FMT "\" is no name for an alias", STR_ARG(s)) != NULL;
        names[i] = full ? full_name(p, s, ns) : arena_strndup(p->a, s.p, s.n);
    }
    *out = names;
    *n = json_array_size(list);
    return true;
}

// Name, namespace, aliases, doc; enters the type into the table. *ns becomes the namespace of what is inside.
static bool define(struct parser *p, struct avro_schema *s, const json_t *object, struct str *ns) {
    struct str name = json_get_str(object, "name");
    if (!avro_name_ok(name, true)) return fail(p, "a %s needs a name of letters, digits and _", kind_names[s->kind]) != NULL;
    const json_t *space = json_object_get(object, "namespace");
    if (json_is_string(space)) {
        *ns = json_str(space);
        if (ns->n > 0 && !avro_name_ok(*ns, true)) return fail(p, "\"" STR_FMT "\" is no namespace", STR_ARG(*ns)) != NULL;
    }
    s->name = full_name(p, name, *ns);
    *ns = namespace_of(s->name);
    for (size_t k = 0; k <= AVRO_STRING; k++)
        if (strcmp(s->name, kind_names[k]) == 0) return fail(p, "\"%s\" is the name of a primitive type", s->name) != NULL;
    if (map_getc(&p->names, s->name) != NULL) return fail(p, "\"%s\" is defined twice", s->name) != NULL;
    map_put(&p->names, str_c(s->name), s);
    struct str doc = json_get_str(object, "doc");
    if (doc.p != NULL) s->doc = arena_strndup(p->a, doc.p, doc.n);
    return read_aliases(p, object, true, *ns, &s->aliases, &s->n_aliases);
}

// ---- the kinds ----------------------------------------------------------------------------------------------------------------
static const struct avro_schema *parse_any(struct parser *p, const json_t *v, struct str ns);

static bool same_name_before(const struct avro_field *fields, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (strcmp(fields[k].name, fields[i].name) == 0) return true;
    return false;
}

static bool parse_field(struct parser *p, const json_t *object, struct str ns, struct avro_field *fields, size_t i) {
    struct avro_field *f = &fields[i];
    struct str name = json_get_str(object, "name");
    if (!json_is_object(object) || !avro_name_ok(name, false)) return fail(p, "a field needs a name of letters, digits and _") != NULL;
    f->name = arena_strndup(p->a, name.p, name.n);
    if (same_name_before(fields, i)) return fail(p, "there are two fields \"%s\"", f->name) != NULL;
    struct str doc = json_get_str(object, "doc");
    if (doc.p != NULL) f->doc = arena_strndup(p->a, doc.p, doc.n);
    const json_t *type = json_object_get(object, "type");
    if (type == NULL) return fail(p, "the field \"%s\" has no type", f->name) != NULL;
    size_t before = enter(p, "type", SIZE_MAX);
    f->type = parse_any(p, type, ns);
    leave(p, before);
    if (f->type == NULL) return false;
    const json_t *otherwise = json_object_get(object, "default");
    if (otherwise != NULL) {
        f->default_json = json_text(otherwise, JSON_COMPACT, p->a);
        vec_add(&p->with_default, f);
    }
    return read_aliases(p, object, false, ns, &f->aliases, &f->n_aliases);
}

static bool parse_record(struct parser *p, struct avro_schema *s, const json_t *object, struct str ns) {
    if (!define(p, s, object, &ns)) return false;
    const json_t *list = json_object_get(object, "fields");
    if (!json_is_array(list)) return fail(p, "a record needs a list \"fields\"") != NULL;
    size_t n = json_array_size(list);
    if (n > AVRO_NODES_MAX) return fail(p, "more than %d fields", AVRO_NODES_MAX) != NULL;
    struct avro_field *fields = ARENA_ARRAY(p->a, struct avro_field, n);
    s->fields = fields;
    for (size_t i = 0; i < n; i++) {
        size_t before = enter(p, "fields", i);
        bool ok = parse_field(p, json_array_get(list, i), ns, fields, i);
        leave(p, before);
        if (!ok) return false;
        s->n_fields = i + 1;
    }
    return true;
}

static bool parse_enum(struct parser *p, struct avro_schema *s, const json_t *object, struct str ns) {
    if (!define(p, s, object, &ns)) return false;
    const json_t *list = json_object_get(object, "symbols");
    if (!json_is_array(list)) return fail(p, "an enum needs a list \"symbols\"") != NULL;
    size_t n = json_array_size(list);
    const char **symbols = ARENA_ARRAY(p->a, const char *, n);
    struct map seen;
    map_init(&seen);
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        struct str name = json_str(json_array_get(list, i));
        if (!avro_name_ok(name, false)) ok = fail(p, "symbols[%zu] is no name of letters, digits and _", i) != NULL;
        else if (map_put(&seen, name, s) != NULL) ok = fail(p, "the symbol \"" STR_FMT "\" is there twice", STR_ARG(name)) != NULL;
        else symbols[i] = arena_strndup(p->a, name.p, name.n);
    }
    struct str otherwise = json_get_str(object, "default");
    if (ok && otherwise.p != NULL) {
        if (map_get(&seen, otherwise) == NULL) ok = fail(p, "the default \"" STR_FMT "\" is not a symbol", STR_ARG(otherwise)) != NULL;
        s->enum_default = arena_strndup(p->a, otherwise.p, otherwise.n);
    }
    map_fini(&seen);
    s->symbols = symbols;
    s->n_symbols = n;
    return ok;
}

static bool parse_fixed(struct parser *p, struct avro_schema *s, const json_t *object, struct str ns) {
    if (!define(p, s, object, &ns)) return false;
    int64_t size = json_get_i64(object, "size", -1);
    if (size < 0 || size > 1 << 30) return fail(p, "a fixed needs a \"size\" in bytes") != NULL;
    s->fixed_size = (size_t)size;
    return true;
}

static bool parse_items(struct parser *p, struct avro_schema *s, const json_t *object, struct str ns) {
    const char *key = s->kind == AVRO_ARRAY ? "items" : "values";
    const json_t *items = json_object_get(object, key);
    if (items == NULL) return fail(p, "%s %s needs \"%s\"", s->kind == AVRO_ARRAY ? "an" : "a", kind_names[s->kind], key) != NULL;
    size_t before = enter(p, key, SIZE_MAX);
    s->items = parse_any(p, items, ns);
    leave(p, before);
    return s->items != NULL;
}

static const struct avro_schema *parse_union(struct parser *p, const json_t *list, struct str ns) {
    struct avro_schema *s = ARENA_NEW(p->a, struct avro_schema);
    size_t n = json_array_size(list);
    if (n > AVRO_NODES_MAX) return fail(p, "a union of more than %d types", AVRO_NODES_MAX);
    const struct avro_schema **branches = ARENA_ARRAY(p->a, const struct avro_schema *, n);
    s->kind = AVRO_UNION;
    s->branches = branches;
    for (size_t i = 0; i < n; i++) {
        size_t before = enter(p, "union", i);
        const struct avro_schema *b = branches[i] = parse_any(p, json_array_get(list, i), ns);
        if (b != NULL && b->kind == AVRO_UNION) b = fail(p, "a union may not hold a union directly");
        for (size_t k = 0; k < i && b != NULL; k++)
            if (branches[k]->kind == b->kind && (b->name == NULL || strcmp(branches[k]->name, b->name) == 0))
                b = fail(p, "the union has the type %s twice", b->name != NULL ? b->name : kind_names[b->kind]);
        leave(p, before);
        if (b == NULL) return NULL;
        s->n_branches = i + 1;
    }
    return s;
}

static unsigned digits_in(size_t bytes) { // decimal digits that always fit into so many bytes of two's complement
    return bytes > 1000 ? 1000 : bytes == 0 ? 0 : (unsigned)(((double)bytes * 8 - 1) * 0.30102999566398120);
}

// A logical type that is unknown, or on a wrong type, is ignored (specification, "Logical Types").
static void read_logical(struct avro_schema *s, const json_t *object) {
    struct str name = json_get_str(object, "logicalType");
    for (size_t i = 0; i < sizeof logicals / sizeof *logicals; i++) {
        const struct logical *l = &logicals[i];
        if (!str_eqc(name, l->name) || (s->kind != l->kind && s->kind != l->or_kind)) continue;
        if (l->logical == AVRO_DURATION && s->fixed_size != 12) return;
        if (l->logical == AVRO_UUID && s->kind == AVRO_FIXED && s->fixed_size != 16) return;
        if (l->logical == AVRO_DECIMAL) {
            int64_t precision = json_get_i64(object, "precision", 0), scale = json_get_i64(object, "scale", 0);
            if (precision < 1 || precision > 255 || scale < 0 || scale > precision) return;
            if (s->kind == AVRO_FIXED && precision > digits_in(s->fixed_size)) return;
            s->precision = (uint8_t)precision;
            s->scale = (uint8_t)scale;
        }
        s->logical = l->logical;
    }
}

static const struct avro_schema *parse_name(struct parser *p, struct str name, struct str ns) {
    for (size_t k = 0; k <= AVRO_STRING; k++)
        if (str_eqc(name, kind_names[k])) return &primitives[k];
    if (!avro_name_ok(name, true)) return fail(p, "\"" STR_FMT "\" is not a type", STR_ARG(name));
    const struct avro_schema *s = map_getc(&p->names, full_name(p, name, ns));
    if (s == NULL) s = map_get(&p->names, name); // as Java does: a name without a namespace may also be in none
    return s != NULL ? s : fail(p, "unknown type \"" STR_FMT "\"", STR_ARG(name));
}

static const struct avro_schema *parse_object(struct parser *p, const json_t *object, struct str ns) {
    const json_t *type = json_object_get(object, "type");
    struct str name = json_str(type);
    if (type == NULL) return fail(p, "no \"type\"");
    if (name.p == NULL) return parse_any(p, type, ns); // {"type": {...}} and {"type": [...]}
    struct avro_schema *s = ARENA_NEW(p->a, struct avro_schema);
    bool known = false;
    for (size_t k = 0; k < AVRO_UNION; k++) {
        if (!str_eqc(name, kind_names[k])) continue;
        s->kind = (enum avro_kind)k;
        known = true;
    }
    if (str_eqc(name, "error")) known = true, s->kind = AVRO_RECORD;
    if (!known) return parse_name(p, name, ns);
    bool ok = true;
    if (s->kind == AVRO_RECORD) ok = parse_record(p, s, object, ns);
    else if (s->kind == AVRO_ENUM) ok = parse_enum(p, s, object, ns);
    else if (s->kind == AVRO_FIXED) ok = parse_fixed(p, s, object, ns);
    else if (s->kind == AVRO_ARRAY || s->kind == AVRO_MAP) ok = parse_items(p, s, object, ns);
    if (ok) read_logical(s, object);
    return ok ? s : NULL;
}

static const struct avro_schema *parse_any(struct parser *p, const json_t *v, struct str ns) {
    if (p->depth >= AVRO_DEPTH_MAX) return fail(p, "nested deeper than %d", AVRO_DEPTH_MAX);
    if (++p->nodes > AVRO_NODES_MAX) return fail(p, "more than %d types", AVRO_NODES_MAX);
    p->depth++;
    const struct avro_schema *s = json_is_string(v)   ? parse_name(p, json_str(v), ns)
                                  : json_is_object(v) ? parse_object(p, v, ns)
                                  : json_is_array(v)  ? parse_union(p, v, ns)
                                                      : fail(p, "a type is a name, an object or a list");
    p->depth--;
    return s;
}

// ---- whole schemas --------------------------------------------------------------------------------------------------------------
static bool check_defaults(struct parser *p) {
    struct buf scratch;
    buf_init(&scratch, AVRO_SCHEMA_TEXT_MAX);
    bool ok = true;
    for (size_t i = 0; i < p->with_default.n && ok; i++) {
        const struct avro_field *f = p->with_default.p[i];
        buf_clear(&scratch);
        if (avro_encode_json(f->type, f->default_json, &scratch, p->err) == ERR_OK) continue;
        if (p->err != NULL) p->err->code = ERR_INVALID;
        err_wrap(p->err, "Avro schema, default of the field \"%s\"", f->name);
        ok = false;
    }
    buf_fini(&scratch);
    return ok;
}

static const struct avro_schema *parse_text(struct parser *p, struct str text) {
    if (text.n > AVRO_SCHEMA_TEXT_MAX) {
        err_set(p->err, ERR_TOO_LARGE, "Avro schema of %zu bytes; the maximum is %d", text.n, AVRO_SCHEMA_TEXT_MAX);
        return NULL;
    }
    json_t *v = json_parse(text, p->err);
    if (v == NULL) { // a bare name without quotes, as the command line and some clients give it
        struct str word = str_trim(text);
        return avro_name_ok(word, false) ? parse_name(p, word, STR("")) : NULL;
    }
    const struct avro_schema *s = parse_any(p, v, STR(""));
    json_decref(v);
    return s;
}

const struct avro_schema *avro_schema_parse_refs(struct str text, const struct str *refs, size_t n_refs, struct arena *a, struct err *err) {
    struct err own = {0};
    struct parser p = {.a = a, .err = err != NULL ? err : &own};
    map_init(&p.names);
    const struct avro_schema *s = NULL;
    bool ok = true;
    for (size_t i = 0; i < n_refs && ok; i++) ok = parse_text(&p, refs[i]) != NULL;
    if (ok) s = parse_text(&p, text);
    if (s != NULL && !check_defaults(&p)) s = NULL;
    map_fini(&p.names);
    vec_fini(&p.with_default);
    return s;
}

const struct avro_schema *avro_schema_parse(struct str text, struct arena *a, struct err *err) {
    return avro_schema_parse_refs(text, NULL, 0, a, err);
}
