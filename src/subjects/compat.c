// SPDX-License-Identifier: Apache-2.0
// Compatibility with earlier versions: which of them the level asks for, in which direction, and Confluent's wording of why not.
// With `state` locked.
#include "schema/avro.h"
#include "subjects/internal.h"

static const struct {
    const char *name;
    bool backward, forward, transitive;
} levels[SUBJECTS_LEVEL_COUNT] = {
    [SUBJECTS_NONE] = {"NONE", false, false, false},
    [SUBJECTS_BACKWARD] = {"BACKWARD", true, false, false},
    [SUBJECTS_BACKWARD_TRANSITIVE] = {"BACKWARD_TRANSITIVE", true, false, true},
    [SUBJECTS_FORWARD] = {"FORWARD", false, true, false},
    [SUBJECTS_FORWARD_TRANSITIVE] = {"FORWARD_TRANSITIVE", false, true, true},
    [SUBJECTS_FULL] = {"FULL", true, true, false},
    [SUBJECTS_FULL_TRANSITIVE] = {"FULL_TRANSITIVE", true, true, true},
};
static const char *const modes[SUBJECTS_MODE_COUNT] = {"READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT"};

const char *subjects_level_name(int level) { return level >= 0 && level < SUBJECTS_LEVEL_COUNT ? levels[level].name : NULL; }
const char *subjects_mode_name(int mode) { return mode >= 0 && mode < SUBJECTS_MODE_COUNT ? modes[mode] : NULL; }

int subjects_level_of(struct str name) {
    for (int i = 0; i < SUBJECTS_LEVEL_COUNT; i++)
        if (str_ieq(name, str_c(levels[i].name))) return i;
    return -1;
}

int subjects_mode_of(struct str name) {
    for (int i = 0; i < SUBJECTS_MODE_COUNT; i++)
        if (str_ieq(name, str_c(modes[i]))) return i;
    return -1;
}

int subjects_level(struct subjects *s, const struct subject *t) {
    return t != NULL && t->level >= 0 ? t->level : s->level >= 0 ? s->level : (int)SUBJECTS_BACKWARD;
}

int subjects_mode(struct subjects *s, const struct subject *t) {
    if (s->mode == SUBJECTS_READONLY_OVERRIDE) return SUBJECTS_READONLY_OVERRIDE;
    return t != NULL && t->mode >= 0 ? t->mode : s->mode >= 0 ? s->mode : (int)SUBJECTS_READWRITE;
}

// ---- references -----------------------------------------------------------------------------------------------------------------------
enum { REFS_DEPTH_MAX = 16 };

struct gather {
    struct subjects *s;
    struct arena *a;
    struct err *err;
    struct map seen; // "subject/version"
    struct str *texts; // SUBJECTS_REFS_MAX
    size_t n;
};

static bool gather(struct gather *g, const struct subjects_ref *refs, size_t n_refs, size_t depth) {
    for (size_t i = 0; i < n_refs; i++) {
        const struct subjects_ref *r = &refs[i];
        const struct version *v = subject_version(subjects_find(g->s, r->subject), r->version, true);
        if (v == NULL)
            return err_set(g->err, ERR_INVALID, "No schema reference found for subject \"%s\" and version %d", r->subject, r->version), false;
        struct str key = str_c(arena_printf(g->a, "%s/%d", r->subject, v->version));
        if (map_get(&g->seen, key) != NULL) continue;
        map_put(&g->seen, key, g);
        if (depth == REFS_DEPTH_MAX) return err_set(g->err, ERR_TOO_LARGE, "references nested deeper than %d", REFS_DEPTH_MAX), false;
        if (!gather(g, v->entry->refs, v->entry->n_refs, depth + 1)) return false; // first what it needs itself
        if (g->n == SUBJECTS_REFS_MAX) return err_set(g->err, ERR_TOO_LARGE, "more than %d references", SUBJECTS_REFS_MAX), false;
        g->texts[g->n++] = str_c(v->entry->text);
    }
    return true;
}

int subjects_references(struct subjects *s, const struct subjects_ref *refs, size_t n_refs, struct arena *a, struct str *texts, struct err *err) {
    struct gather g = {.s = s, .a = a, .err = err, .texts = texts};
    map_init(&g.seen);
    bool ok = gather(&g, refs, n_refs, 0);
    map_fini(&g.seen);
    return ok ? (int)g.n : -1;
}

const struct avro_schema *subjects_parse(struct subjects *s, struct str text, const struct subjects_ref *refs, size_t n_refs, struct arena *a,
                                         struct err *err) {
    struct str texts[SUBJECTS_REFS_MAX];
    int n = subjects_references(s, refs, n_refs, a, texts, err);
    return n < 0 ? NULL : avro_schema_parse_refs(text, texts, (size_t)n, a, err);
}

// ---- messages -------------------------------------------------------------------------------------------------------------------------
struct messages {
    struct arena *a;
    VEC(const char *) v;
};

static const char *describe(const struct avro_incompatibility *i, const char *reader, const char *writer, struct arena *a) {
    switch (i->type) {
    case AVRO_FIXED_SIZE_MISMATCH:
        return arena_printf(a, "The size of FIXED type field at path '%s' in the %s schema does not match with the %s schema", i->path, reader,
                            writer);
    case AVRO_TYPE_MISMATCH:
        return arena_printf(a, "The type (path '%s') of a field in the %s schema does not match with the %s schema", i->path, reader, writer);
    case AVRO_NAME_MISMATCH: return arena_printf(a, "The name of the schema has changed (path '%s')", i->path);
    case AVRO_MISSING_ENUM_SYMBOLS:
        return arena_printf(a, "The %s schema is missing enum symbols '%s' at path '%s' in the %s schema", reader, i->detail, i->path, writer);
    case AVRO_MISSING_UNION_BRANCH:
        return arena_printf(a, "The %s schema is missing a type inside a union field at path '%s' in the %s schema", reader, i->path, writer);
    case AVRO_READER_FIELD_MISSING_DEFAULT_VALUE:
        return arena_printf(a, "The field '%s' at path '%s' in the %s schema has no default value and is missing in the %s schema", i->detail,
                            i->path, reader, writer);
    }
    return "";
}

static void compare(struct messages *m, const struct avro_schema *reader, const char *reader_is, const struct avro_schema *writer,
                    const char *writer_is) {
    struct avro_incompatibility *found;
    size_t n = avro_compatible(reader, writer, m->a, &found);
    for (size_t i = 0; i < n; i++)
        vec_add(&m->v, arena_printf(m->a, "{errorType:'%s', description:'%s', additionalInfo:'%s'}", avro_incompatibility_name(found[i].type),
                                    describe(&found[i], reader_is, writer_is, m->a), found[i].detail));
}

static void against(struct subjects *s, struct messages *m, int level, const struct version *v, const struct avro_schema *in) {
    const struct entry *e = v->entry;
    struct err err = {0};
    size_t before = m->v.n;
    const struct avro_schema *old = strcmp(e->type, "AVRO") == 0 ? subjects_parse(s, str_c(e->text), e->refs, e->n_refs, m->a, &err) : NULL;
    if (old == NULL) {
        vec_add(&m->v, arena_printf(m->a, "{errorType:'SCHEMA_TYPE', description:'version %d is of type %s or cannot be read: %s'}", v->version,
                                    e->type, err.msg));
    } else {
        if (levels[level].backward) compare(m, in, "new", old, "old");
        if (levels[level].forward) compare(m, old, "old", in, "new");
    }
    if (m->v.n == before) return;
    vec_add(&m->v, arena_printf(m->a, "{oldSchemaVersion: %d}", v->version));
    vec_add(&m->v, arena_printf(m->a, "{oldSchema: '%s'}", e->text));
    vec_add(&m->v, arena_printf(m->a, "{validateFields: 'false', compatibility: '%s'}", levels[level].name));
}

size_t subjects_conflicts(struct subjects *s, struct subject *t, int level, const struct version *only, const struct avro_schema *in, struct arena *a,
                          const char ***messages) {
    struct messages m = {.a = a};
    for (size_t i = t == NULL || level == SUBJECTS_NONE ? 0 : t->versions.n; i-- > 0 && m.v.n == 0;) { // newest first, to the first that does not fit
        const struct version *v = &t->versions.p[i];
        if (only != NULL ? v != only : v->deleted) continue;
        against(s, &m, level, v, in);
        if (only != NULL || !levels[level].transitive) break;
    }
    size_t n = m.v.n;
    *messages = ARENA_ARRAY(a, const char *, n);
    if (n > 0) memcpy(*messages, m.v.p, n * sizeof **messages);
    vec_fini(&m.v);
    return n;
}
