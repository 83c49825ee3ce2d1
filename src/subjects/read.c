// SPDX-License-Identifier: Apache-2.0
// What only reads: lists, versions, ids, references. Copies into the caller's arena, under `state`.
#include <stdlib.h>

#include "subjects/internal.h"

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool wanted(const struct subject *t, const char *prefix, bool deleted, bool deleted_only) {
    if (prefix != NULL && strncmp(prefix, ":*:", 3) == 0) prefix += 3; // of every context: there is one
    if (prefix != NULL && strncmp(t->name, prefix, strlen(prefix)) != 0) return false;
    size_t live = subject_live(t);
    return deleted_only ? t->versions.n > 0 && live == 0 : deleted ? t->versions.n > 0 : live > 0;
}

static size_t list(struct subjects *s, const char *prefix, bool deleted, bool deleted_only, struct arena *a, const char ***names) {
    size_t n = 0;
    struct map_entry *e;
    *names = ARENA_ARRAY(a, const char *, s->subjects.n);
    for (size_t it = 0; (e = map_next(&s->subjects, &it)) != NULL;)
        if (wanted(e->value, prefix, deleted, deleted_only)) (*names)[n++] = arena_strdup(a, e->key);
    if (n > 1) qsort(*names, n, sizeof **names, by_name);
    return n;
}

size_t subjects_list(struct subjects *s, const char *prefix, bool deleted, bool deleted_only, struct arena *a, const char ***names) {
    if (subjects_lock(s, NULL) != SUBJECTS_OK) return 0;
    size_t n = list(s, prefix, deleted, deleted_only, a, names);
    subjects_unlock(s);
    return n;
}

static int no_subject(const char *subject, struct err *err) {
    err_set(err, ERR_NOT_FOUND, "Subject '%s' not found.", subject);
    return SUBJECTS_NO_SUBJECT;
}

int subjects_versions(struct subjects *s, const char *subject, bool deleted, bool deleted_only, struct arena *a, int32_t **versions, size_t *n,
                      struct err *err) {
    *n = 0;
    int code = subjects_lock(s, err);
    if (code != SUBJECTS_OK) return code;
    const struct subject *t = subjects_find(s, subject);
    *versions = ARENA_ARRAY(a, int32_t, t == NULL ? 0 : t->versions.n);
    for (size_t i = 0; t != NULL && i < t->versions.n; i++) {
        bool gone = t->versions.p[i].deleted;
        if (deleted_only ? gone : deleted || !gone) (*versions)[(*n)++] = t->versions.p[i].version;
    }
    subjects_unlock(s);
    return *n > 0 ? SUBJECTS_OK : no_subject(subject, err);
}

int subjects_get(struct subjects *s, const char *subject, int32_t version, bool deleted, struct arena *a, struct subjects_schema *out,
                 struct err *err) {
    int code = subjects_lock(s, err);
    if (code != SUBJECTS_OK) return code;
    struct subject *t = subjects_find(s, subject);
    const struct version *v = subject_version(t, version, deleted);
    if (v != NULL) {
        subjects_fill(t, v, a, out);
    } else if (t == NULL || t->versions.n == 0 || (!deleted && subject_live(t) == 0)) {
        code = no_subject(subject, err);
    } else {
        err_set(err, ERR_NOT_FOUND, "Version %d not found.", version);
        code = SUBJECTS_NO_VERSION;
    }
    subjects_unlock(s);
    return code;
}

struct uses {
    struct arena *a;
    VEC(struct subjects_schema) v;
};

static size_t give(struct uses *u, struct subjects_schema **out) {
    size_t n = u->v.n;
    *out = ARENA_ARRAY(u->a, struct subjects_schema, n);
    if (n > 0) memcpy(*out, u->v.p, n * sizeof **out);
    vec_fini(&u->v);
    return n;
}

static void find_uses(struct subjects *s, int32_t id, bool deleted, struct uses *u) {
    const char **names;
    size_t n = list(s, NULL, true, false, u->a, &names);
    for (size_t i = 0; i < n; i++) {
        const struct subject *t = subjects_find(s, names[i]);
        for (size_t k = 0; k < t->versions.n; k++) {
            const struct version *v = &t->versions.p[k];
            if (v->entry->id == id && (deleted || !v->deleted)) subjects_fill(t, v, u->a, vec_push(&u->v));
        }
    }
}

size_t subjects_uses(struct subjects *s, int32_t id, bool deleted, struct arena *a, struct subjects_schema **out) {
    struct uses u = {.a = a};
    if (subjects_lock(s, NULL) == SUBJECTS_OK) {
        find_uses(s, id, deleted, &u);
        subjects_unlock(s);
    }
    return give(&u, out);
}

int subjects_get_id(struct subjects *s, int32_t id, struct arena *a, struct subjects_schema *out, struct err *err) {
    struct uses u = {.a = a};
    int code = subjects_lock(s, err);
    if (code != SUBJECTS_OK) return code;
    if (subjects_entry(s, id) != NULL) find_uses(s, id, true, &u);
    subjects_unlock(s);
    if (u.v.n > 0) *out = u.v.p[0];
    else code = (err_set(err, ERR_NOT_FOUND, "Schema %d not found", id), SUBJECTS_NO_SCHEMA);
    vec_fini(&u.v);
    return code;
}

int32_t subjects_max_id(struct subjects *s) {
    if (subjects_lock(s, NULL) != SUBJECTS_OK) return 0;
    int32_t id = s->max_id;
    subjects_unlock(s);
    return id;
}

size_t subjects_all(struct subjects *s, const char *prefix, bool deleted, bool latest_only, struct arena *a, struct subjects_schema **out) {
    struct uses u = {.a = a};
    if (subjects_lock(s, NULL) == SUBJECTS_OK) {
        const char **names;
        size_t n = list(s, prefix, deleted, false, a, &names);
        for (size_t i = 0; i < n; i++) {
            struct subject *t = subjects_find(s, names[i]);
            const struct version *last = subject_version(t, SUBJECTS_LATEST, deleted);
            for (size_t k = 0; k < t->versions.n; k++) {
                const struct version *v = &t->versions.p[k];
                if ((deleted || !v->deleted) && (!latest_only || v == last)) subjects_fill(t, v, a, vec_push(&u.v));
            }
        }
        subjects_unlock(s);
    }
    return give(&u, out);
}

// ---- references -----------------------------------------------------------------------------------------------------------------------
static bool refers(const struct entry *e, const char *subject, int32_t version) {
    for (size_t i = 0; i < e->n_refs; i++)
        if (e->refs[i].version == version && strcmp(e->refs[i].subject, subject) == 0) return true;
    return false;
}

static bool has_live_use(struct subjects *s, const struct entry *wanted_entry) {
    struct map_entry *m;
    for (size_t it = 0; (m = map_next(&s->subjects, &it)) != NULL;) {
        const struct subject *t = m->value;
        for (size_t i = 0; i < t->versions.n; i++)
            if (t->versions.p[i].entry == wanted_entry && !t->versions.p[i].deleted) return true;
    }
    return false;
}

static size_t referrers(struct subjects *s, const char *subject, int32_t version, int32_t *ids, size_t max) {
    size_t n = 0;
    struct map_entry *m;
    for (size_t it = 0; n < max && (m = map_next(&s->by_id, &it)) != NULL;) {
        const struct entry *e = m->value;
        if (e->n_refs > 0 && refers(e, subject, version) && has_live_use(s, e)) ids[n++] = e->id;
    }
    return n;
}

bool subjects_reference_to(struct subjects *s, const char *subject, int32_t version, int32_t *by_id) {
    return referrers(s, subject, version, by_id, 1) > 0;
}

static int by_number(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

int subjects_referenced_by(struct subjects *s, const char *subject, int32_t version, struct arena *a, int32_t **ids, size_t *n, struct err *err) {
    struct subjects_schema v;
    *n = 0;
    int code = subjects_get(s, subject, version, false, a, &v, err);
    if (code == SUBJECTS_OK) code = subjects_lock(s, err);
    if (code != SUBJECTS_OK) return code;
    *ids = ARENA_ARRAY(a, int32_t, s->by_id.n);
    *n = referrers(s, subject, v.version, *ids, s->by_id.n);
    if (*n > 1) qsort(*ids, *n, sizeof **ids, by_number);
    subjects_unlock(s);
    return SUBJECTS_OK;
}
