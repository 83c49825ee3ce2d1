// SPDX-License-Identifier: Apache-2.0
// One self-contained schema out of a schema and those that it refers to: each named type is written out where it is first used, by name
// everywhere else (specification, "Names": full names, so that it does not matter where a definition comes to stand). Pure, any thread.
#include "subjects/internal.h"

enum { DEPTH_MAX = 200, NODES_MAX = 100000 };

struct definition {
    const json_t *type;
    const char *space; // the namespace around it
    bool written;
};

struct inliner {
    struct arena *a;
    struct map definitions; // full name -> struct definition (in the arena)
    size_t depth, nodes;
    bool too_large;
};

static bool is_named(const json_t *v) {
    struct str type = json_get_str(v, "type");
    return str_eq(type, STR("record")) || str_eq(type, STR("error")) || str_eq(type, STR("enum")) || str_eq(type, STR("fixed"));
}

static const char *full_name(struct inliner *in, struct str name, const char *space) {
    if (space[0] == 0 || (name.n > 0 && memchr(name.p, '.', name.n) != NULL)) return arena_strndup(in->a, name.p, name.n);
    return arena_printf(in->a, "%s." STR_FMT, space, STR_ARG(name));
}

static const char *space_of(struct inliner *in, const char *full) {
    const char *dot = strrchr(full, '.');
    return dot == NULL ? "" : arena_strndup(in->a, full, (size_t)(dot - full));
}

static const char *name_of(struct inliner *in, const json_t *type, const char *space) {
    const json_t *own = json_object_get(type, "namespace");
    return full_name(in, json_get_str(type, "name"), json_is_string(own) ? arena_str(in->a, json_str(own)).p : space);
}

// Bounded walks: false = stop.
static bool go_in(struct inliner *in) {
    if (in->depth == DEPTH_MAX || in->nodes == NODES_MAX) in->too_large = true;
    in->nodes++;
    return !in->too_large;
}

// ---- finding definitions --------------------------------------------------------------------------------------------------------------
static void collect(struct inliner *in, const json_t *v, const char *space) {
    if (!go_in(in)) return;
    in->depth++;
    for (size_t i = 0; i < json_array_size(v); i++) collect(in, json_array_get(v, i), space);
    if (json_is_object(v)) {
        const char *inner = space;
        if (is_named(v)) {
            const char *full = name_of(in, v, space);
            inner = space_of(in, full);
            if (map_getc(&in->definitions, full) == NULL) {
                struct definition *d = ARENA_NEW(in->a, struct definition);
                *d = (struct definition){v, space, false};
                map_put(&in->definitions, str_c(full), d);
            }
        }
        const json_t *fields = json_object_get(v, "fields"), *type = json_object_get(v, "type");
        for (size_t i = 0; i < json_array_size(fields); i++) collect(in, json_object_get(json_array_get(fields, i), "type"), inner);
        if (!json_is_string(type)) collect(in, type, space);
        collect(in, json_object_get(v, "items"), space);
        collect(in, json_object_get(v, "values"), space);
    }
    in->depth--;
}

// ---- writing ----------------------------------------------------------------------------------------------------------------------------
static json_t *write_type(struct inliner *in, const json_t *v, const char *space); // a new value

static json_t *write_named(struct inliner *in, const json_t *v, const char *space) {
    const char *full = name_of(in, v, space), *inner = space_of(in, full);
    struct definition *d = map_getc(&in->definitions, full);
    if (d != NULL && d->written) return json_string(full);
    if (d != NULL) d->written = true;
    json_t *out = json_copy((json_t *)(uintptr_t)v);
    json_object_set_new(out, "name", json_string(full));
    json_object_set_new(out, "namespace", json_string(inner)); // "" too: else it would take that of its surroundings
    const json_t *fields = json_object_get(v, "fields");
    if (!json_is_array(fields)) return out;
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(fields); i++) {
        json_t *f = json_copy(json_array_get(fields, i));
        json_object_set_new(f, "type", write_type(in, json_object_get(f, "type"), inner));
        json_array_append_new(list, f);
    }
    json_object_set_new(out, "fields", list);
    return out;
}

static json_t *write_name(struct inliner *in, struct str name, const char *space) {
    static const char *const primitives[] = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"};
    for (size_t i = 0; i < sizeof primitives / sizeof *primitives; i++)
        if (str_eqc(name, primitives[i])) return json_of_str(name);
    const char *full = full_name(in, name, space);
    struct definition *d = map_getc(&in->definitions, full);
    if (d == NULL && (d = map_get(&in->definitions, name)) != NULL) full = arena_strndup(in->a, name.p, name.n);
    if (d == NULL || d->written) return json_string(full);
    return write_named(in, d->type, d->space);
}

static json_t *write_object(struct inliner *in, const json_t *v, const char *space) {
    if (is_named(v)) return write_named(in, v, space);
    static const char *const places[] = {"items", "values"};
    struct str type = json_get_str(v, "type");
    bool collection = str_eq(type, STR("array")) || str_eq(type, STR("map"));
    json_t *out = json_copy((json_t *)(uintptr_t)v);
    for (size_t i = 0; i < 2 && collection; i++)
        if (json_object_get(v, places[i]) != NULL) json_object_set_new(out, places[i], write_type(in, json_object_get(v, places[i]), space));
    if (!collection && json_object_get(v, "type") != NULL) json_object_set_new(out, "type", write_type(in, json_object_get(v, "type"), space));
    return out;
}

static json_t *write_type(struct inliner *in, const json_t *v, const char *space) {
    if (v == NULL || !go_in(in)) return json_null();
    in->depth++;
    json_t *out;
    if (json_is_string(v)) {
        out = write_name(in, json_str(v), space);
    } else if (json_is_object(v)) {
        out = write_object(in, v, space);
    } else {
        out = json_array();
        for (size_t i = 0; i < json_array_size(v); i++) json_array_append_new(out, write_type(in, json_array_get(v, i), space));
    }
    in->depth--;
    return out;
}

const char *subjects_inline(const char *text, const struct str *refs, size_t n, struct arena *a, struct err *err) {
    struct inliner in = {.a = a};
    map_init(&in.definitions);
    json_t *all = json_array(), *main_schema = json_parse(str_c(text), err);
    for (size_t i = 0; i < n && main_schema != NULL; i++) {
        json_t *one = json_parse(refs[i], err);
        if (one != NULL) collect(&in, one, "");
        json_array_append_new(all, one); // keeps what the definitions point to
    }
    const char *out = NULL;
    if (main_schema != NULL) {
        collect(&in, main_schema, "");
        json_t *written = write_type(&in, main_schema, "");
        if (in.too_large) err_set(err, ERR_TOO_LARGE, "a schema with its references is too large or nested too deep");
        else out = json_text(written, JSON_COMPACT, a).p;
        json_decref(written);
    }
    json_decref(main_schema);
    json_decref(all);
    map_fini(&in.definitions);
    return out;
}
