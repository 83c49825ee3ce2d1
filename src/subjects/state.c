// SPDX-License-Identifier: Apache-2.0
// The state that follows the topic: one function applies a record, at start, after our own writes and when others wrote. Records that it does
// not understand are logged and passed over, since a registry that does not start helps nobody.
// Owner: whoever holds `state`. Nothing here is durable; the topic is.
#include <stdlib.h>

#include "base/log.h"
#include "base/metrics.h"
#include "subjects/internal.h"

static struct str id_key(const int32_t *id) { return str_n(id, sizeof *id); }

// ---- entries ------------------------------------------------------------------------------------------------------------------------
struct entry *subjects_entry(struct subjects *s, int32_t id) { return map_get(&s->by_id, id_key(&id)); }

static void entry_free(struct entry *e) {
    for (size_t i = 0; i < e->n_refs; i++) {
        mem_free((void *)(uintptr_t)e->refs[i].name);
        mem_free((void *)(uintptr_t)e->refs[i].subject);
    }
    mem_free(e->refs);
    mem_free(e->identity);
    mem_free(e->type);
    mem_free(e->text);
    mem_free(e->metadata);
    mem_free(e->rule_set);
    mem_free(e);
}

static void entry_drop(struct subjects *s, struct entry *e) {
    if (--e->uses > 0) return;
    map_remove(&s->by_id, id_key(&e->id));
    if (map_getc(&s->by_identity, e->identity) == e) map_remove(&s->by_identity, str_c(e->identity));
    entry_free(e);
}

static void read_refs(struct entry *e, const json_t *list) {
    size_t n = json_array_size(list);
    if (n > SUBJECTS_REFS_MAX) n = SUBJECTS_REFS_MAX;
    e->refs = mem_zalloc(n * sizeof *e->refs);
    for (size_t i = 0; i < n; i++) {
        const json_t *r = json_array_get(list, i);
        e->refs[i].name = mem_strdup(json_get_cstr(r, "name", ""));
        e->refs[i].subject = mem_strdup(json_get_cstr(r, "subject", ""));
        e->refs[i].version = (int32_t)json_get_i64(r, "version", 0);
    }
    e->n_refs = n;
}

static char *member_text(const json_t *v, const char *key) { // an object inside, as JSON; "" = none
    const json_t *m = json_object_get(v, key);
    if (!json_is_object(m)) return mem_strdup("");
    struct buf b;
    buf_init(&b, 0);
    json_write(m, JSON_COMPACT, &b);
    char *text = mem_strdup(buf_cstr(&b));
    buf_fini(&b);
    return text;
}

static struct entry *entry_get(struct subjects *s, int32_t id, const json_t *v) {
    struct entry *e = subjects_entry(s, id);
    if (e != NULL) {
        e->uses++;
        return e;
    }
    e = MEM_NEW(struct entry);
    e->id = id;
    e->uses = 1;
    e->type = mem_strdup(json_get_cstr(v, "schemaType", "AVRO"));
    e->text = mem_strdup(json_get_cstr(v, "schema", ""));
    e->metadata = member_text(v, "metadata");
    e->rule_set = member_text(v, "ruleSet");
    read_refs(e, json_object_get(v, "references"));
    struct arena a;
    arena_init(&a);
    e->identity = mem_strdup(subjects_identity(e->text, e->type, e->refs, e->n_refs, str_c(e->metadata), str_c(e->rule_set), &a));
    arena_fini(&a);
    map_put(&s->by_id, id_key(&e->id), e);
    if (map_getc(&s->by_identity, e->identity) == NULL) map_put(&s->by_identity, str_c(e->identity), e);
    if (id > s->max_id) s->max_id = id;
    return e;
}

// ---- subjects -------------------------------------------------------------------------------------------------------------------------
struct subject *subjects_find(struct subjects *s, const char *name) { return map_getc(&s->subjects, name); }

static struct subject *subject_get(struct subjects *s, const char *name) {
    struct subject *t = subjects_find(s, name);
    if (t != NULL) return t;
    t = MEM_NEW(struct subject);
    t->name = mem_strdup(name);
    t->level = t->mode = -1;
    map_put(&s->subjects, str_c(name), t);
    return t;
}

static void subject_free(struct subject *t) {
    vec_fini(&t->versions);
    mem_free(t->name);
    mem_free(t);
}

static void forget_if_empty(struct subjects *s, struct subject *t) {
    if (t->versions.n > 0 || t->level >= 0 || t->mode >= 0) return;
    map_remove(&s->subjects, str_c(t->name));
    subject_free(t);
}

struct version *subject_version(struct subject *t, int32_t version, bool deleted) {
    for (size_t i = t == NULL ? 0 : t->versions.n; i-- > 0;) {
        struct version *v = &t->versions.p[i];
        if (v->deleted && !deleted) continue;
        if (version == SUBJECTS_LATEST || v->version == version) return v;
    }
    return NULL;
}

size_t subject_live(const struct subject *t) {
    size_t n = 0;
    for (size_t i = 0; i < t->versions.n; i++) n += !t->versions.p[i].deleted;
    return n;
}

void subjects_fill(const struct subject *t, const struct version *v, struct arena *a, struct subjects_schema *out) {
    const struct entry *e = v->entry;
    *out = (struct subjects_schema){.subject = arena_strdup(a, t->name), .version = v->version, .id = e->id, .deleted = v->deleted};
    out->type = arena_strdup(a, e->type);
    out->text = arena_str(a, str_c(e->text));
    out->metadata = arena_str(a, str_c(e->metadata));
    out->rule_set = arena_str(a, str_c(e->rule_set));
    struct subjects_ref *refs = ARENA_ARRAY(a, struct subjects_ref, e->n_refs);
    for (size_t i = 0; i < e->n_refs; i++)
        refs[i] = (struct subjects_ref){arena_strdup(a, e->refs[i].name), arena_strdup(a, e->refs[i].subject), e->refs[i].version};
    out->refs = refs;
    out->n_refs = e->n_refs;
}

// ---- records --------------------------------------------------------------------------------------------------------------------------
// value NULL: a tombstone. Returns false when the record makes no sense.
typedef bool apply_fn(struct subjects *s, const json_t *key, const json_t *value);

static bool apply_schema(struct subjects *s, const json_t *key, const json_t *value) {
    const char *name = json_get_cstr(key, "subject", NULL);
    int64_t version = json_get_i64(key, "version", 0);
    if (name == NULL || version < 1 || version > INT32_MAX) return false;
    struct subject *t = subject_get(s, name);
    size_t at = 0;
    while (at < t->versions.n && t->versions.p[at].version < version) at++;
    bool there = at < t->versions.n && t->versions.p[at].version == version;
    int64_t id = value == NULL ? 0 : json_get_i64(value, "id", 0);
    bool good = value == NULL || (id > 0 && id < INT32_MAX && json_get_cstr(value, "schema", NULL) != NULL);
    if (good && value != NULL) {
        struct version v = {(int32_t)version, json_get_bool(value, "deleted", false), entry_get(s, (int32_t)id, value)};
        if (there) {
            entry_drop(s, t->versions.p[at].entry);
        } else {
            vec_push(&t->versions);
            memmove(&t->versions.p[at + 1], &t->versions.p[at], (t->versions.n - 1 - at) * sizeof v);
        }
        t->versions.p[at] = v;
    } else if (good && there) {
        entry_drop(s, t->versions.p[at].entry);
        vec_remove(&t->versions, at);
    }
    forget_if_empty(s, t);
    return good;
}

static bool apply_delete_subject(struct subjects *s, const json_t *key, const json_t *value) {
    struct subject *t = subjects_find(s, json_get_cstr(key, "subject", ""));
    if (value == NULL || t == NULL) return true;
    int64_t upto = json_get_i64(value, "version", INT32_MAX);
    for (size_t i = 0; i < t->versions.n; i++)
        if (t->versions.p[i].version <= upto) t->versions.p[i].deleted = true;
    return true;
}

static bool apply_clear_subject(struct subjects *s, const json_t *key, const json_t *value) {
    struct subject *t = subjects_find(s, json_get_cstr(key, "subject", ""));
    if (value == NULL || t == NULL) return true;
    while (t->versions.n > 0) entry_drop(s, t->versions.p[--t->versions.n].entry);
    forget_if_empty(s, t);
    return true;
}

static bool apply_setting(struct subjects *s, const json_t *key, const char *text, int (*of)(struct str), size_t in_subject, size_t global) {
    int v = text == NULL ? -1 : of(str_c(text));
    if (text != NULL && v < 0) return false;
    const char *name = json_get_cstr(key, "subject", NULL);
    if (name == NULL) {
        *(int *)(void *)((char *)s + global) = v;
        return true;
    }
    struct subject *t = subject_get(s, name);
    *(int *)(void *)((char *)t + in_subject) = v;
    forget_if_empty(s, t);
    return true;
}

static bool apply_config(struct subjects *s, const json_t *key, const json_t *value) {
    const char *text = value == NULL ? NULL : json_get_cstr(value, "compatibilityLevel", NULL);
    return apply_setting(s, key, text, subjects_level_of, offsetof(struct subject, level), offsetof(struct subjects, level));
}

static bool apply_mode(struct subjects *s, const json_t *key, const json_t *value) {
    const char *text = value == NULL ? NULL : json_get_cstr(value, "mode", NULL);
    return apply_setting(s, key, text, subjects_mode_of, offsetof(struct subject, mode), offsetof(struct subjects, mode));
}

static bool apply_noop(struct subjects *s, const json_t *key, const json_t *value) {
    (void)s, (void)key, (void)value;
    return true;
}

static const struct {
    const char *name;
    apply_fn *fn;
} key_types[] = {
    {"SCHEMA", apply_schema}, {"CONFIG", apply_config}, {"MODE", apply_mode}, {"NOOP", apply_noop}, {"DELETE_SUBJECT", apply_delete_subject},
    {"CLEAR_SUBJECT", apply_clear_subject},
};

void subjects_apply(struct subjects *s, const struct subjects_record *r) {
    json_t *key = json_parse(r->key, NULL), *value = r->value_null ? NULL : json_parse(r->value, NULL);
    bool good = false;
    for (size_t i = 0; i < sizeof key_types / sizeof *key_types && key != NULL && (value != NULL || r->value_null); i++)
        if (str_eqc(json_get_str(key, "keytype"), key_types[i].name)) good = key_types[i].fn(s, key, value);
    if (!good) log_warn("subjects", "a record of _schemas is not understood and passed over", "key", log_str(r->key), NULL);
    json_decref(key);
    json_decref(value);
}

void subjects_clear(struct subjects *s) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->subjects, &it)) != NULL;) {
        struct subject *t = e->value;
        while (t->versions.n > 0) entry_drop(s, t->versions.p[--t->versions.n].entry);
        subject_free(t);
    }
    map_fini(&s->subjects);
    map_fini(&s->by_id);
    map_fini(&s->by_identity);
    map_init(&s->subjects);
    map_init(&s->by_id);
    map_init(&s->by_identity);
    s->max_id = 0;
    s->level = s->mode = -1;
}

// ---- following the store ----------------------------------------------------------------------------------------------------------------
struct follow {
    struct subjects *s;
    bool *reset;
    size_t n;
};

static void on_record(void *arg, const struct subjects_record *r) {
    struct follow *f = arg;
    if (*f->reset) subjects_clear(f->s);
    *f->reset = false;
    f->n++;
    subjects_apply(f->s, r);
}

enum err_code subjects_catch_up(struct subjects *s, struct err *err) {
    bool reset = false;
    struct follow f = {s, &reset, 0};
    enum err_code code = s->store.read(s->store.self, &s->next_offset, &reset, on_record, &f, err);
    if (reset) subjects_clear(s); // gone, and nothing new
    if (f.n > 0 || reset) {
        int64_t n = 0;
        struct map_entry *e;
        for (size_t it = 0; (e = map_next(&s->subjects, &it)) != NULL;) n += (int64_t)subject_live(e->value);
        metric_set(M_REGISTRY_SCHEMAS, NULL, n);
    }
    return code;
}

int subjects_lock(struct subjects *s, struct err *err) {
    sys_mutex_lock(&s->state);
    if (subjects_catch_up(s, err) == ERR_OK) return SUBJECTS_OK;
    sys_mutex_unlock(&s->state);
    return SUBJECTS_STORE;
}

void subjects_unlock(struct subjects *s) { sys_mutex_unlock(&s->state); }
