// SPDX-License-Identifier: Apache-2.0
// Which writer's type may be read as which reader's type (specification, "Schema Resolution"), and the compatibility check that
// schema registries make of it; its messages and paths follow Apache Avro's SchemaCompatibility (Java). Pure, any thread.
#include <stdio.h>

#include "base/vec.h"
#include "schema/avro.h"
#include "schema/avro_internal.h"

const char *avro_short_name(const char *full) {
    const char *dot = strrchr(full, '.');
    return dot == NULL ? full : dot + 1;
}

bool avro_names_match(const struct avro_schema *reader, const struct avro_schema *writer) {
    if (strcmp(avro_short_name(reader->name), avro_short_name(writer->name)) == 0) return true;
    for (size_t i = 0; i < reader->n_aliases; i++)
        if (strcmp(reader->aliases[i], writer->name) == 0) return true;
    return false;
}

static int field_named(const struct avro_schema *record, const char *name) {
    for (size_t i = 0; i < record->n_fields; i++)
        if (strcmp(record->fields[i].name, name) == 0) return (int)i;
    return -1;
}

int avro_writer_field(const struct avro_schema *writer, const struct avro_field *rf) {
    int i = field_named(writer, rf->name);
    for (size_t k = 0; k < rf->n_aliases && i < 0; k++) i = field_named(writer, rf->aliases[k]);
    return i;
}

bool avro_kind_resolves(enum avro_kind w, enum avro_kind r) {
    if (w == r) return true;
    switch (r) {
    case AVRO_LONG: return w == AVRO_INT;
    case AVRO_FLOAT: return w == AVRO_INT || w == AVRO_LONG;
    case AVRO_DOUBLE: return w == AVRO_INT || w == AVRO_LONG || w == AVRO_FLOAT;
    case AVRO_BYTES: return w == AVRO_STRING;
    case AVRO_STRING: return w == AVRO_BYTES;
    default: return false;
    }
}

int avro_reader_branch(const struct avro_schema *reader, const struct avro_schema *writer) {
    int promoted = -1, by_name = -1;
    for (size_t i = 0; i < reader->n_branches; i++) {
        const struct avro_schema *b = reader->branches[i];
        if (b->kind == writer->kind) {
            if (b->name == NULL || strcmp(b->name, writer->name) == 0) return (int)i;
            if (by_name < 0 && avro_names_match(b, writer)) by_name = (int)i;
        } else if (promoted < 0 && avro_kind_resolves(writer->kind, b->kind)) {
            promoted = (int)i;
        }
    }
    return by_name >= 0 ? by_name : promoted;
}

const struct avro_schema *avro_optional(const struct avro_schema *u, int *null_branch) {
    *null_branch = -1;
    const struct avro_schema *only = NULL;
    if (u->n_branches == 0 || u->n_branches > 2) return NULL;
    for (size_t i = 0; i < u->n_branches; i++) {
        if (u->branches[i]->kind == AVRO_NULL) *null_branch = (int)i;
        else if (only != NULL) return NULL;
        else only = u->branches[i];
    }
    return only;
}

// ---- compatibility --------------------------------------------------------------------------------------------------------------
enum { PAIRS_MAX = 100000, FOUND_MAX = 1000 };

struct pair {
    const struct avro_schema *reader, *writer;
    bool bad, told; // known not to fit; the reasons are in `found`
};

struct check {
    unsigned quiet; // > 0: inside of a try, whose reasons are dropped
    struct arena *a;
    char path[512];
    size_t path_len;
    VEC(struct avro_incompatibility) found;
    VEC(struct pair) seen; // pairs of records under way or done
};

static const char *const upper_names[] = {
    [AVRO_NULL] = "NULL",   [AVRO_BOOLEAN] = "BOOLEAN", [AVRO_INT] = "INT",       [AVRO_LONG] = "LONG",     [AVRO_FLOAT] = "FLOAT",
    [AVRO_DOUBLE] = "DOUBLE", [AVRO_BYTES] = "BYTES",   [AVRO_STRING] = "STRING", [AVRO_RECORD] = "RECORD", [AVRO_ENUM] = "ENUM",
    [AVRO_FIXED] = "FIXED", [AVRO_ARRAY] = "ARRAY",     [AVRO_MAP] = "MAP",       [AVRO_UNION] = "UNION",
};

const char *avro_incompatibility_name(enum avro_incompatibility_type t) {
    static const char *const names[] = {
        [AVRO_NAME_MISMATCH] = "NAME_MISMATCH",
        [AVRO_FIXED_SIZE_MISMATCH] = "FIXED_SIZE_MISMATCH",
        [AVRO_MISSING_ENUM_SYMBOLS] = "MISSING_ENUM_SYMBOLS",
        [AVRO_READER_FIELD_MISSING_DEFAULT_VALUE] = "READER_FIELD_MISSING_DEFAULT_VALUE",
        [AVRO_TYPE_MISMATCH] = "TYPE_MISMATCH",
        [AVRO_MISSING_UNION_BRANCH] = "MISSING_UNION_BRANCH",
    };
    return names[t];
}

static size_t enter(struct check *c, const char *what) {
    size_t before = c->path_len;
    int n = snprintf(c->path + before, sizeof c->path - before, "/%s", what);
    if (n > 0 && (size_t)n < sizeof c->path - before) c->path_len += (size_t)n;
    return before;
}

static size_t enter_index(struct check *c, size_t i) {
    char text[24];
    snprintf(text, sizeof text, "%zu", i);
    return enter(c, text);
}

static void leave(struct check *c, size_t before) { c->path[c->path_len = before] = 0; }

static void add(struct check *c, enum avro_incompatibility_type type, const char *where, const char *detail) {
    if (c->found.n == FOUND_MAX) return;
    size_t before = where == NULL ? c->path_len : enter(c, where);
    vec_add(&c->found, ((struct avro_incompatibility){type, arena_strdup(c->a, c->path_len == 0 ? "/" : c->path), detail}));
    leave(c, before);
}

static void compare(struct check *c, const struct avro_schema *r, const struct avro_schema *w);

static bool compatible(struct check *c, const struct avro_schema *r, const struct avro_schema *w) { // without keeping the reasons
    size_t before = c->found.n;
    c->quiet++;
    compare(c, r, w);
    c->quiet--;
    bool ok = c->found.n == before;
    c->found.n = before;
    return ok;
}

static void compare_names(struct check *c, const struct avro_schema *r, const struct avro_schema *w) {
    if (!avro_names_match(r, w)) add(c, AVRO_NAME_MISMATCH, "name", arena_printf(c->a, "expected: %s", w->name));
}

static void compare_enums(struct check *c, const struct avro_schema *r, const struct avro_schema *w) {
    struct buf missing;
    buf_init(&missing, 1 << 16);
    for (size_t i = 0; i < w->n_symbols; i++) {
        bool there = false;
        for (size_t k = 0; k < r->n_symbols && !there; k++) there = strcmp(w->symbols[i], r->symbols[k]) == 0;
        if (!there) buf_printf(&missing, "%s%s", missing.n > 0 ? ", " : "", w->symbols[i]);
    }
    if (missing.n > 0 && r->enum_default == NULL)
        add(c, AVRO_MISSING_ENUM_SYMBOLS, "symbols", arena_printf(c->a, "[%s]", buf_cstr(&missing)));
    buf_fini(&missing);
}

static void compare_fields(struct check *c, const struct avro_schema *r, const struct avro_schema *w) {
    size_t before = enter(c, "fields");
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct avro_field *f = &r->fields[i];
        int at = avro_writer_field(w, f);
        size_t in_fields = enter_index(c, i);
        if (at >= 0) {
            size_t in_field = enter(c, "type");
            compare(c, f->type, w->fields[at].type);
            leave(c, in_field);
        } else if (f->default_json.p == NULL) {
            add(c, AVRO_READER_FIELD_MISSING_DEFAULT_VALUE, NULL, arena_strdup(c->a, f->name));
        }
        leave(c, in_fields);
    }
    leave(c, before);
}

// Each pair is walked once (recursive types end so), and once more when its faults were only seen in a try.
static void compare_records(struct check *c, const struct avro_schema *r, const struct avro_schema *w) {
    size_t at = 0;
    while (at < c->seen.n && (c->seen.p[at].reader != r || c->seen.p[at].writer != w)) at++;
    if (at < c->seen.n) {
        if (!c->seen.p[at].bad || (c->quiet == 0 && c->seen.p[at].told)) return;
        if (c->quiet > 0) {
            add(c, AVRO_TYPE_MISMATCH, NULL, "");
            return;
        }
    } else {
        if (c->seen.n == PAIRS_MAX) return;
        vec_add(&c->seen, ((struct pair){r, w, false, false}));
    }
    c->seen.p[at].told = c->quiet == 0;
    size_t found = c->found.n;
    compare_fields(c, r, w);
    c->seen.p[at].bad = c->found.n > found;
}

static void compare_union_branches(struct check *c, const struct avro_schema *r, const struct avro_schema *w) {
    for (size_t i = 0; i < w->n_branches; i++) {
        size_t before = enter_index(c, i);
        if (!compatible(c, r, w->branches[i]))
            add(c, AVRO_MISSING_UNION_BRANCH, NULL, arena_printf(c->a, "reader union lacking writer type: %s", upper_names[w->branches[i]->kind]));
        leave(c, before);
    }
}

static void compare_same(struct check *c, const struct avro_schema *r, const struct avro_schema *w) {
    size_t before = c->path_len;
    switch (r->kind) {
    case AVRO_ARRAY:
    case AVRO_MAP:
        enter(c, r->kind == AVRO_ARRAY ? "items" : "values");
        compare(c, r->items, w->items);
        leave(c, before);
        return;
    case AVRO_FIXED:
        compare_names(c, r, w);
        if (r->fixed_size != w->fixed_size)
            add(c, AVRO_FIXED_SIZE_MISMATCH, "size", arena_printf(c->a, "expected: %zu, found: %zu", w->fixed_size, r->fixed_size));
        return;
    case AVRO_ENUM:
        compare_names(c, r, w);
        compare_enums(c, r, w);
        return;
    case AVRO_RECORD:
        compare_names(c, r, w);
        compare_records(c, r, w);
        return;
    case AVRO_UNION: compare_union_branches(c, r, w); return;
    default: return;
    }
}

static void compare(struct check *c, const struct avro_schema *r, const struct avro_schema *w) {
    if (r->kind == w->kind) {
        compare_same(c, r, w);
    } else if (w->kind == AVRO_UNION) { // all that may be written must be readable
        for (size_t i = 0; i < w->n_branches; i++) compare(c, r, w->branches[i]);
    } else if (r->kind == AVRO_UNION) {
        for (size_t i = 0; i < r->n_branches; i++)
            if (compatible(c, r->branches[i], w)) return;
        add(c, AVRO_MISSING_UNION_BRANCH, NULL, arena_printf(c->a, "reader union lacking writer type: %s", upper_names[w->kind]));
    } else if (!avro_kind_resolves(w->kind, r->kind)) {
        add(c, AVRO_TYPE_MISMATCH, NULL,
            arena_printf(c->a, "reader type: %s not compatible with writer type: %s", upper_names[r->kind], upper_names[w->kind]));
    }
}

size_t avro_compatible(const struct avro_schema *reader, const struct avro_schema *writer, struct arena *a, struct avro_incompatibility **out) {
    struct check c = {.a = a};
    compare(&c, reader, writer);
    size_t n = c.found.n;
    if (out != NULL) {
        *out = ARENA_ARRAY(a, struct avro_incompatibility, n);
        if (n > 0) memcpy(*out, c.found.p, n * sizeof **out);
    }
    vec_fini(&c.found);
    vec_fini(&c.seen);
    return n;
}
