// SPDX-License-Identifier: Apache-2.0
// Opening, and what changes the store: register, delete, levels and modes. A change is decided under both locks, written with `state`
// free (readers go on while it is made durable), and then read back from the store like everybody else's: one way for all.
#include <stdlib.h>

#include "schema/avro.h"
#include "subjects/internal.h"

enum { VERSIONS_MAX = 10000, SUBJECTS_MAX = 100000 };

// ---- opening ----------------------------------------------------------------------------------------------------------------------------
static enum err_code source_fill(struct subjects *s, const struct entry *e, struct arena *a, int32_t *id, struct str *text, struct err *err) {
    if (strcmp(e->type, "AVRO") != 0)
        return err_set(err, ERR_NOT_SUPPORTED, "schema %d is of type %s; events are read as Avro only", e->id, e->type);
    if (id != NULL) *id = e->id;
    *text = arena_str(a, str_c(e->text));
    if (e->n_refs == 0) return ERR_OK;
    struct str refs[SUBJECTS_REFS_MAX];
    struct err own = {0};
    int n = subjects_references(s, e->refs, e->n_refs, a, refs, &own);
    const char *whole = n < 0 ? NULL : subjects_inline(e->text, refs, (size_t)n, a, &own);
    if (whole == NULL) return err_set(err, ERR_NOT_FOUND, "schema %d: its references: %s", e->id, own.msg);
    *text = str_c(whole);
    return ERR_OK;
}

static enum err_code source_get(void *self, int32_t id, struct arena *a, struct str *text, struct err *err) {
    struct subjects *s = self;
    if (subjects_lock(s, err) != SUBJECTS_OK) return ERR_IO;
    const struct entry *e = subjects_entry(s, id);
    enum err_code code = e == NULL ? err_set(err, ERR_NOT_FOUND, "there is no schema with id %d in the registry", id)
                                   : source_fill(s, e, a, NULL, text, err);
    subjects_unlock(s);
    return code;
}

static enum err_code source_latest(void *self, struct str subject, struct arena *a, int32_t *id, struct str *text, struct err *err) {
    struct subjects *s = self;
    if (subjects_lock(s, err) != SUBJECTS_OK) return ERR_IO;
    const struct version *v = subject_version(map_get(&s->subjects, subject), SUBJECTS_LATEST, false);
    enum err_code code = v == NULL ? err_set(err, ERR_NOT_FOUND, "there is no schema of subject \"" STR_FMT "\" in the registry", STR_ARG(subject))
                                   : source_fill(s, v->entry, a, id, text, err);
    subjects_unlock(s);
    return code;
}

struct subjects *subjects_open_store(const struct subjects_store *store, struct err *err) {
    struct subjects *s = MEM_NEW(struct subjects);
    s->store = *store;
    s->level = s->mode = -1;
    s->source = (struct schema_source){s, source_get, source_latest};
    sys_mutex_init(&s->write);
    sys_mutex_init(&s->state);
    map_init(&s->subjects);
    map_init(&s->by_id);
    map_init(&s->by_identity);
    if (subjects_catch_up(s, err) == ERR_OK) return s;
    subjects_close(s);
    return NULL;
}

void subjects_close(struct subjects *s) {
    if (s == NULL) return;
    subjects_clear(s);
    map_fini(&s->subjects);
    map_fini(&s->by_id);
    map_fini(&s->by_identity);
    sys_mutex_fini(&s->state);
    sys_mutex_fini(&s->write);
    if (s->store.close != NULL) s->store.close(s->store.self);
    mem_free(s);
}

const struct schema_source *subjects_source(struct subjects *s) { return &s->source; }

// ---- records ----------------------------------------------------------------------------------------------------------------------------
static void begin_key(struct buf *b, const char *type, const char *subject) {
    buf_printf(b, "{\"keytype\":\"%s\",\"subject\":", type);
    if (subject == NULL) buf_puts(b, "null");
    else json_put_str(b, str_c(subject));
}

static struct subjects_record record(struct buf *key, struct buf *value, struct arena *a) {
    struct subjects_record r = {.key = arena_str(a, buf_str(key)), .value_null = value->n == 0};
    r.value = arena_str(a, buf_str(value));
    buf_fini(key);
    buf_fini(value);
    return r;
}

static void put_refs(struct buf *b, const struct subjects_ref *refs, size_t n) {
    buf_puts(b, ",\"references\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(b, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_put_str(b, str_c(refs[i].name));
        buf_puts(b, ",\"subject\":");
        json_put_str(b, str_c(refs[i].subject));
        buf_printf(b, ",\"version\":%d}", refs[i].version);
    }
    buf_puts(b, "]");
}

struct subjects_record subjects_put_schema(const struct subjects_schema *v, bool tombstone, struct arena *a) {
    struct buf key, value;
    buf_init(&key, 0);
    buf_init(&value, 0);
    begin_key(&key, "SCHEMA", v->subject);
    buf_printf(&key, ",\"version\":%d,\"magic\":1}", v->version);
    if (!tombstone) {
        buf_puts(&value, "{\"subject\":");
        json_put_str(&value, str_c(v->subject));
        buf_printf(&value, ",\"version\":%d,\"id\":%d", v->version, v->id);
        if (strcmp(v->type, "AVRO") != 0) buf_printf(&value, ",\"schemaType\":\"%s\"", v->type);
        if (v->n_refs > 0) put_refs(&value, v->refs, v->n_refs);
        if (v->metadata.n > 0) buf_printf(&value, ",\"metadata\":" STR_FMT, STR_ARG(v->metadata));
        if (v->rule_set.n > 0) buf_printf(&value, ",\"ruleSet\":" STR_FMT, STR_ARG(v->rule_set));
        buf_puts(&value, ",\"schema\":");
        json_put_str(&value, v->text);
        buf_printf(&value, ",\"deleted\":%s}", v->deleted ? "true" : "false");
    }
    return record(&key, &value, a);
}

static struct subjects_record put_delete_subject(const char *subject, int32_t version, struct arena *a) {
    struct buf key, value;
    buf_init(&key, 0);
    buf_init(&value, 0);
    begin_key(&key, "DELETE_SUBJECT", subject);
    buf_puts(&key, ",\"magic\":0}");
    buf_puts(&value, "{\"subject\":");
    json_put_str(&value, str_c(subject));
    buf_printf(&value, ",\"version\":%d}", version);
    return record(&key, &value, a);
}

static struct subjects_record put_setting(const char *type, const char *subject, const char *name, const char *text /* NULL: forget */,
                                          struct arena *a) {
    struct buf key, value;
    buf_init(&key, 0);
    buf_init(&value, 0);
    begin_key(&key, type, subject);
    buf_puts(&key, ",\"magic\":0}");
    if (text != NULL) buf_printf(&value, "{\"%s\":\"%s\"}", name, text);
    return record(&key, &value, a);
}

int subjects_commit(struct subjects *s, const struct subjects_record *records, size_t n, struct err *err) {
    int64_t last = -1;
    if (n == 0) return SUBJECTS_OK;
    enum err_code code = s->store.append(s->store.self, records, n, &last, err);
    struct err own;
    sys_mutex_lock(&s->state);
    if (code == ERR_OK) code = subjects_catch_up(s, err);
    else subjects_catch_up(s, &own); // it may have got there all the same
    if (code == ERR_OK && s->next_offset <= last) code = err_set(err, ERR_INTERNAL, "the registry's record is written but cannot be read back");
    sys_mutex_unlock(&s->state);
    return code == ERR_OK ? SUBJECTS_OK : SUBJECTS_STORE;
}

// ---- checks -----------------------------------------------------------------------------------------------------------------------------
static int fault(struct err *err, enum subjects_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fault(struct err *err, enum subjects_code code, const char *fmt, ...) {
    int http = code < 1000 ? (int)code : (int)code / 100;
    va_list ap;
    va_start(ap, fmt);
    err_vset(err, http == 404 ? ERR_NOT_FOUND : http == 409 ? ERR_INCOMPATIBLE : http == 501 ? ERR_NOT_SUPPORTED : ERR_INVALID, fmt, ap);
    va_end(ap);
    return (int)code;
}

int subjects_name_ok(const char *subject, struct err *err) {
    size_t n = strlen(subject);
    bool ok = n > 0 && n <= SUBJECTS_NAME_MAX;
    for (size_t i = 0; i < n && ok; i++) ok = (unsigned char)subject[i] >= 0x20 && subject[i] != 0x7F;
    if (!ok || strcmp(subject, "__GLOBAL") == 0 || strcmp(subject, "__EMPTY") == 0)
        return fault(err, SUBJECTS_BAD_SUBJECT, "The specified subject '%.100s' is not a valid.", subject);
    if (strncmp(subject, ":.", 2) == 0) return fault(err, SUBJECTS_NOT_SUPPORTED, "contexts are not supported: subject %.100s", subject);
    return SUBJECTS_OK;
}

static int not_found(struct err *err, const char *subject) { return fault(err, SUBJECTS_NO_SUBJECT, "Subject '%s' not found.", subject); }

static int check_writable(struct subjects *s, const struct subject *t, const char *subject, struct err *err) {
    int mode = subjects_mode(s, t);
    if (mode != SUBJECTS_READONLY && mode != SUBJECTS_READONLY_OVERRIDE) return SUBJECTS_OK;
    return fault(err, SUBJECTS_NOT_PERMITTED, "Subject %s is in read-only mode", subject);
}

// Type and text; *text is what will be kept.
static int check_new(struct subjects *s, const struct subjects_new *in, struct arena *a, const char **text, const struct avro_schema **parsed,
                     struct err *err) {
    struct err own = {0};
    const char *type = in->type == NULL || in->type[0] == 0 ? "AVRO" : in->type;
    if (strcmp(type, "JSON") == 0 || strcmp(type, "PROTOBUF") == 0)
        return fault(err, SUBJECTS_NOT_SUPPORTED, "schema type %s is not supported, only AVRO is", type);
    if (strcmp(type, "AVRO") != 0) return fault(err, SUBJECTS_BAD_SCHEMA, "Invalid schema type %.60s", type);
    if (in->text.n > SUBJECTS_TEXT_MAX)
        return fault(err, SUBJECTS_TOO_LARGE, "the schema has %zu bytes; the maximum is %d", in->text.n, SUBJECTS_TEXT_MAX);
    if (in->text.n == 0) return fault(err, SUBJECTS_BAD_SCHEMA, "Empty schema");
    if (in->n_refs > SUBJECTS_REFS_MAX) return fault(err, SUBJECTS_BAD_SCHEMA, "more than %d references", SUBJECTS_REFS_MAX);
    *text = subjects_compact(in->text, a, &own);
    *parsed = *text == NULL ? NULL : subjects_parse(s, str_c(*text), in->refs, in->n_refs, a, &own);
    if (*parsed == NULL) return fault(err, SUBJECTS_BAD_SCHEMA, "Invalid schema of type AVRO, details: %s", own.msg);
    return SUBJECTS_OK;
}

static const struct version *same(struct subjects *s, struct subject *t, const char *identity, bool deleted) {
    (void)s;
    for (size_t i = t == NULL ? 0 : t->versions.n; i-- > 0;)
        if ((deleted || !t->versions.p[i].deleted) && strcmp(t->versions.p[i].entry->identity, identity) == 0) return &t->versions.p[i];
    return NULL;
}

// ---- register -----------------------------------------------------------------------------------------------------------------------------
struct change { // decided with `state` locked
    bool write;
    struct subjects_schema schema;
};

static int choose_import(struct subjects *s, struct subject *t, const struct subjects_new *in, const char *identity, struct change *c,
                         struct err *err) {
    if (subjects_mode(s, t) != SUBJECTS_IMPORT)
        return fault(err, SUBJECTS_NOT_PERMITTED, "Subject %s is not in import mode", c->schema.subject);
    const struct entry *e = subjects_entry(s, in->id);
    if (e != NULL && strcmp(e->identity, identity) != 0)
        return fault(err, SUBJECTS_NOT_PERMITTED, "Overwrite new schema with id %d is not permitted.", in->id);
    c->schema.id = in->id;
    if (in->version > 0) c->schema.version = in->version;
    return SUBJECTS_OK;
}

static int decide_register(struct subjects *s, const char *subject, const struct subjects_new *in, struct arena *a, struct change *c,
                           struct err *err) {
    struct subject *t = subjects_find(s, subject);
    const char *text;
    const struct avro_schema *parsed;
    int code = check_writable(s, t, subject, err);
    if (code == SUBJECTS_OK) code = check_new(s, in, a, &text, &parsed, err);
    if (code != SUBJECTS_OK) return code;
    const char *identity = subjects_identity(text, "AVRO", in->refs, in->n_refs, in->metadata, in->rule_set, a);
    const struct version *v = same(s, t, identity, false);
    if (v != NULL && (in->id == 0 || in->id == v->entry->id)) {
        subjects_fill(t, v, a, &c->schema);
        return SUBJECTS_OK;
    }
    if ((t != NULL && t->versions.n >= VERSIONS_MAX) || s->subjects.n >= SUBJECTS_MAX || s->max_id == INT32_MAX - 1)
        return fault(err, SUBJECTS_TOO_LARGE, "the registry is full: %d versions of a subject, %d subjects", VERSIONS_MAX, SUBJECTS_MAX);
    const struct entry *known = map_getc(&s->by_identity, identity);
    int32_t last = t == NULL || t->versions.n == 0 ? 0 : vec_last(&t->versions)->version;
    c->schema = (struct subjects_schema){.subject = subject,
                                         .version = last + 1,
                                         .id = known != NULL ? known->id : s->max_id + 1,
                                         .type = "AVRO",
                                         .text = str_c(text),
                                         .refs = in->refs,
                                         .n_refs = in->n_refs,
                                         .metadata = in->metadata,
                                         .rule_set = in->rule_set};
    c->write = true;
    if (in->id > 0) return choose_import(s, t, in, identity, c, err);
    if (in->version > 0 && in->version != c->schema.version)
        return fault(err, SUBJECTS_BAD_SCHEMA, "Version %d is not one more than previous version %d", in->version, last);
    const char **messages;
    size_t n = subjects_conflicts(s, t, subjects_level(s, t), NULL, parsed, a, &messages);
    if (n == 0) return SUBJECTS_OK;
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < n; i++) buf_printf(&b, "%s%s", i > 0 ? ", " : "", messages[i]);
    fault(err, SUBJECTS_INCOMPATIBLE, "Schema being registered is incompatible with an earlier schema for subject \"%s\", details: [%s]", subject,
          buf_cstr(&b));
    buf_fini(&b);
    return SUBJECTS_INCOMPATIBLE;
}

int subjects_register(struct subjects *s, const char *subject, const struct subjects_new *in, struct arena *a, struct subjects_schema *out,
                      struct err *err) {
    struct change c = {0};
    int code = subjects_name_ok(subject, err);
    if (code != SUBJECTS_OK) return code;
    sys_mutex_lock(&s->write);
    code = subjects_lock(s, err);
    if (code == SUBJECTS_OK) {
        code = decide_register(s, subject, in, a, &c, err);
        subjects_unlock(s);
    }
    if (code == SUBJECTS_OK && c.write) {
        struct subjects_record r = subjects_put_schema(&c.schema, false, a);
        code = subjects_commit(s, &r, 1, err);
    }
    sys_mutex_unlock(&s->write);
    if (code == SUBJECTS_OK) *out = c.schema;
    return code;
}

int subjects_lookup(struct subjects *s, const char *subject, const struct subjects_new *in, bool deleted, struct arena *a,
                    struct subjects_schema *out, struct err *err) {
    const char *text;
    const struct avro_schema *parsed;
    int code = subjects_lock(s, err);
    if (code != SUBJECTS_OK) return code;
    struct subject *t = subjects_find(s, subject);
    if (t == NULL || t->versions.n == 0 || (!deleted && subject_live(t) == 0)) code = not_found(err, subject);
    if (code == SUBJECTS_OK) code = check_new(s, in, a, &text, &parsed, err);
    if (code == SUBJECTS_OK) {
        const struct version *v = same(s, t, subjects_identity(text, "AVRO", in->refs, in->n_refs, in->metadata, in->rule_set, a), deleted);
        if (v == NULL) code = fault(err, SUBJECTS_NO_SCHEMA, "Schema not found");
        else subjects_fill(t, v, a, out);
    }
    subjects_unlock(s);
    return code;
}

int subjects_check(struct subjects *s, const char *subject, int32_t version, const struct subjects_new *in, struct arena *a, bool *compatible,
                   const char ***messages, size_t *n_messages, struct err *err) {
    const char *text;
    const struct avro_schema *parsed;
    *n_messages = 0;
    *compatible = true;
    int code = subjects_lock(s, err);
    if (code != SUBJECTS_OK) return code;
    struct subject *t = subjects_find(s, subject);
    struct version *only = version == SUBJECTS_ALL ? NULL : subject_version(t, version, false);
    code = check_new(s, in, a, &text, &parsed, err);
    if (code == SUBJECTS_OK && version > 0 && only == NULL) {
        bool any = t != NULL && subject_live(t) > 0;
        code = any ? fault(err, SUBJECTS_NO_VERSION, "Version %d not found.", version) : not_found(err, subject);
    }
    if (code == SUBJECTS_OK) {
        *n_messages = subjects_conflicts(s, t, subjects_level(s, t), only, parsed, a, messages);
        *compatible = *n_messages == 0;
    }
    subjects_unlock(s);
    return code;
}

// ---- delete -------------------------------------------------------------------------------------------------------------------------------
struct removal {
    VEC(struct subjects_record) records;
    int32_t *versions;
    size_t n;
};

static int check_references(struct subjects *s, const char *subject, int32_t version, struct err *err) {
    int32_t by;
    if (!subjects_reference_to(s, subject, version, &by)) return SUBJECTS_OK;
    return fault(err, SUBJECTS_REFERENCED, "One or more references exist to the schema {magic=1,keytype=SCHEMA,subject=%s,version=%d}.", subject,
                 version);
}

static int decide_subject(struct subjects *s, struct subject *t, const char *subject, bool permanent, struct arena *a, struct removal *r,
                          struct err *err) {
    bool live = t != NULL && subject_live(t) > 0;
    if (t == NULL || t->versions.n == 0) return not_found(err, subject);
    if (!permanent && !live)
        return fault(err, SUBJECTS_SUBJECT_SOFT_DELETED, "Subject '%s' was soft deleted.Set permanent=true to delete permanently", subject);
    if (permanent && live)
        return fault(err, SUBJECTS_SUBJECT_NOT_SOFT_DELETED, "Subject '%s' was not deleted first before being permanently deleted", subject);
    r->versions = ARENA_ARRAY(a, int32_t, t->versions.n);
    for (size_t i = 0; i < t->versions.n; i++) {
        const struct version *v = &t->versions.p[i];
        if (!permanent && v->deleted) continue;
        int code = check_references(s, subject, v->version, err);
        if (code != SUBJECTS_OK) return code;
        r->versions[r->n++] = v->version;
        struct subjects_schema one = {.subject = subject, .version = v->version};
        if (permanent) vec_add(&r->records, subjects_put_schema(&one, true, a));
    }
    if (!permanent) vec_add(&r->records, put_delete_subject(subject, r->versions[r->n - 1], a));
    if (t->level >= 0) vec_add(&r->records, put_setting("CONFIG", subject, "", NULL, a));
    if (t->mode >= 0) vec_add(&r->records, put_setting("MODE", subject, "", NULL, a));
    return SUBJECTS_OK;
}

static int decide_version(struct subjects *s, struct subject *t, const char *subject, int32_t version, bool permanent, struct arena *a,
                          struct removal *r, struct err *err) {
    if (t == NULL || t->versions.n == 0 || (!permanent && subject_live(t) == 0 && version == SUBJECTS_LATEST)) return not_found(err, subject);
    const struct version *v = subject_version(t, version, version != SUBJECTS_LATEST || permanent);
    if (v == NULL) return fault(err, SUBJECTS_NO_VERSION, "Version %d not found.", version);
    if (!permanent && v->deleted)
        return fault(err, SUBJECTS_VERSION_SOFT_DELETED, "Subject '%s' Version %d was soft deleted.Set permanent=true to delete permanently",
                     subject, v->version);
    if (permanent && !v->deleted)
        return fault(err, SUBJECTS_VERSION_NOT_SOFT_DELETED, "Subject '%s' Version %d was not deleted first before being permanently deleted",
                     subject, v->version);
    int code = check_references(s, subject, v->version, err);
    if (code != SUBJECTS_OK) return code;
    struct subjects_schema one;
    subjects_fill(t, v, a, &one);
    one.deleted = true;
    r->versions = ARENA_ARRAY(a, int32_t, 1);
    r->versions[r->n++] = v->version;
    vec_add(&r->records, subjects_put_schema(&one, permanent, a));
    return SUBJECTS_OK;
}

int subjects_delete(struct subjects *s, const char *subject, int32_t version, bool permanent, struct arena *a, int32_t **versions, size_t *n,
                    struct err *err) {
    struct removal r = {0};
    sys_mutex_lock(&s->write);
    int code = subjects_lock(s, err);
    if (code == SUBJECTS_OK) {
        struct subject *t = subjects_find(s, subject);
        code = check_writable(s, t, subject, err);
        if (code == SUBJECTS_OK)
            code = version == SUBJECTS_ALL ? decide_subject(s, t, subject, permanent, a, &r, err)
                                           : decide_version(s, t, subject, version, permanent, a, &r, err);
        subjects_unlock(s);
    }
    if (code == SUBJECTS_OK) code = subjects_commit(s, r.records.p, r.records.n, err);
    sys_mutex_unlock(&s->write);
    vec_fini(&r.records);
    *versions = r.versions;
    *n = code == SUBJECTS_OK ? r.n : 0;
    return code;
}

// ---- levels and modes -----------------------------------------------------------------------------------------------------------------------
static int write_setting(struct subjects *s, const char *type, const char *subject, const char *name, const char *text, struct err *err) {
    struct arena a;
    arena_init(&a);
    struct subjects_record r = put_setting(type, subject, name, text, &a);
    int code = subject == NULL ? SUBJECTS_OK : subjects_name_ok(subject, err);
    if (code == SUBJECTS_OK) code = subjects_commit(s, &r, 1, err);
    arena_fini(&a);
    return code;
}

int subjects_set_level(struct subjects *s, const char *subject, int level, struct err *err) {
    if (subjects_level_name(level) == NULL)
        return fault(err, SUBJECTS_BAD_LEVEL,
                     "Invalid compatibility level. Valid values are none, backward, forward, full, "
                     "backward_transitive, forward_transitive, and full_transitive");
    sys_mutex_lock(&s->write);
    int code = write_setting(s, "CONFIG", subject, "compatibilityLevel", subjects_level_name(level), err);
    sys_mutex_unlock(&s->write);
    return code;
}

int subjects_set_mode(struct subjects *s, const char *subject, int mode, bool force, struct err *err) {
    if (subjects_mode_name(mode) == NULL)
        return fault(err, SUBJECTS_BAD_MODE, "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT");
    sys_mutex_lock(&s->write);
    int code = subjects_lock(s, err);
    if (code == SUBJECTS_OK) {
        struct subject *t = subject == NULL ? NULL : subjects_find(s, subject);
        bool any = subject == NULL ? s->by_id.n > 0 : t != NULL && subject_live(t) > 0;
        if (mode == SUBJECTS_IMPORT && any && !force && subjects_mode(s, t) != SUBJECTS_IMPORT)
            code = fault(err, SUBJECTS_NOT_PERMITTED, "Cannot import since found existing subjects");
        subjects_unlock(s);
    }
    if (code == SUBJECTS_OK) code = write_setting(s, "MODE", subject, "mode", subjects_mode_name(mode), err);
    sys_mutex_unlock(&s->write);
    return code;
}

int subjects_get_level(struct subjects *s, const char *subject, bool or_global, int *level, struct err *err) {
    int code = subjects_lock(s, err);
    if (code != SUBJECTS_OK) return code;
    const struct subject *t = subject == NULL ? NULL : subjects_find(s, subject);
    if (subject != NULL && !or_global && (t == NULL || t->level < 0))
        code = fault(err, SUBJECTS_NO_LEVEL, "Subject '%s' does not have subject-level compatibility configured", subject);
    *level = subjects_level(s, t);
    subjects_unlock(s);
    return code;
}

int subjects_get_mode(struct subjects *s, const char *subject, bool or_global, int *mode, struct err *err) {
    int code = subjects_lock(s, err);
    if (code != SUBJECTS_OK) return code;
    const struct subject *t = subject == NULL ? NULL : subjects_find(s, subject);
    if (subject != NULL && !or_global && (t == NULL || t->mode < 0))
        code = fault(err, SUBJECTS_NO_MODE, "Subject '%s' does not have subject-level mode configured", subject);
    *mode = or_global || t == NULL ? subjects_mode(s, t) : t->mode;
    subjects_unlock(s);
    return code;
}

int subjects_delete_level(struct subjects *s, const char *subject, int *level_before, struct err *err) {
    sys_mutex_lock(&s->write);
    int code = subjects_get_level(s, subject, false, level_before, err);
    if (code == SUBJECTS_OK) code = write_setting(s, "CONFIG", subject, "", NULL, err);
    sys_mutex_unlock(&s->write);
    return code;
}

int subjects_delete_mode(struct subjects *s, const char *subject, int *mode_before, struct err *err) {
    sys_mutex_lock(&s->write);
    int code = subjects_get_mode(s, subject, false, mode_before, err);
    if (code == SUBJECTS_OK) code = write_setting(s, "MODE", subject, "", NULL, err);
    sys_mutex_unlock(&s->write);
    return code;
}
