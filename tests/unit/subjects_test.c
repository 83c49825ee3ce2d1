// SPDX-License-Identifier: Apache-2.0
// subjects: the registry's rules over a store in memory: ids and versions, compatibility by level, soft and hard deletes, references, modes,
// rebuilding from the records, records of other writers, failed writes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "schema/avro.h"
#include "subjects/internal.h"

struct memory { // the store: a list of records
    VEC(char *) keys, values; // values NULL = tombstone
    struct sys_mutex mutex; // a store is used by a writer and by readers at once
    bool fail;
    bool fail_after; // written, but the writer is told otherwise
};

static enum err_code memory_append(void *self, const struct subjects_record *r, size_t n, int64_t *last, struct err *err) {
    struct memory *m = self;
    if (m->fail) return err_set(err, ERR_NO_SPACE, "the disk is full");
    sys_mutex_lock(&m->mutex);
    for (size_t i = 0; i < n; i++) {
        vec_add(&m->keys, mem_strndup(r[i].key.p, r[i].key.n));
        vec_add(&m->values, r[i].value_null ? NULL : mem_strndup(r[i].value.p, r[i].value.n));
    }
    *last = (int64_t)m->keys.n - 1;
    sys_mutex_unlock(&m->mutex);
    return m->fail_after ? err_set(err, ERR_TIMEOUT, "no answer") : ERR_OK;
}

static enum err_code memory_read(void *self, int64_t *next, bool *reset, subjects_record_fn *fn, void *arg, struct err *err) {
    struct memory *m = self;
    (void)err;
    sys_mutex_lock(&m->mutex);
    if (*next > (int64_t)m->keys.n) *reset = true, *next = 0;
    for (; *next < (int64_t)m->keys.n; (*next)++) {
        const char *value = m->values.p[*next];
        struct subjects_record r = {str_c(m->keys.p[*next]), str_c(value), value == NULL};
        fn(arg, &r);
    }
    sys_mutex_unlock(&m->mutex);
    return ERR_OK;
}

static void memory_wipe(struct memory *m) {
    for (size_t i = 0; i < m->keys.n; i++) mem_free(m->keys.p[i]), mem_free(m->values.p[i]);
    m->keys.n = m->values.n = 0;
}

struct fixture {
    struct memory m;
    struct subjects *s;
    struct arena a;
    struct err err;
};

static struct subjects *reopen(struct fixture *f) {
    subjects_close(f->s);
    struct subjects_store store = {.self = &f->m, .append = memory_append, .read = memory_read};
    return f->s = subjects_open_store(&store, &f->err);
}

static int setup(void **state) {
    struct fixture *f = MEM_NEW(struct fixture);
    arena_init(&f->a);
    sys_mutex_init(&f->m.mutex);
    assert_non_null(reopen(f));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    subjects_close(f->s);
    memory_wipe(&f->m);
    vec_fini(&f->m.keys);
    vec_fini(&f->m.values);
    sys_mutex_fini(&f->m.mutex);
    arena_fini(&f->a);
    mem_free(f);
    return 0;
}

static int reg(struct fixture *f, const char *subject, const char *text, struct subjects_schema *out) {
    struct subjects_new in = {.text = str_c(text)};
    return subjects_register(f->s, subject, &in, &f->a, out, &f->err);
}

// id and version that registering gives; fails the test on an error.
static void registers(struct fixture *f, const char *subject, const char *text, int32_t id, int32_t version) {
    struct subjects_schema out;
    if (reg(f, subject, text, &out) != SUBJECTS_OK) fail_msg("%s", f->err.msg);
    assert_int_equal(out.id, id);
    assert_int_equal(out.version, version);
}

static void refuses(struct fixture *f, const char *subject, const char *text, int code, const char *want) {
    struct subjects_schema out;
    assert_int_equal(reg(f, subject, text, &out), code);
    if (strstr(f->err.msg, want) == NULL) fail_msg("got: %s", f->err.msg);
}

static void versions_are(struct fixture *f, const char *subject, bool deleted, const char *want) {
    int32_t *v;
    size_t n;
    struct buf b;
    buf_init(&b, 0);
    subjects_versions(f->s, subject, deleted, false, &f->a, &v, &n, &f->err);
    for (size_t i = 0; i < n; i++) buf_printf(&b, "%d ", v[i]);
    assert_string_equal(buf_cstr(&b), want);
    buf_fini(&b);
}

#define REC(fields) "{\"type\":\"record\",\"name\":\"r\",\"fields\":[" fields "]}"
#define A "{\"name\":\"a\",\"type\":\"int\"}"
#define B "{\"name\":\"b\",\"type\":\"int\"}"
#define BD "{\"name\":\"b\",\"type\":\"int\",\"default\":1}"

static void test_register(void **state) {
    struct fixture *f = *state;
    registers(f, "x", "\"int\"", 1, 1);
    registers(f, "x", " {\"type\" : \"int\"} ", 1, 1); // the same
    registers(f, "y", "\"int\"", 1, 1);               // the same id elsewhere
    registers(f, "x", "\"long\"", 2, 2);
    registers(f, "r", REC(A), 3, 1);
    registers(f, "r2", "{\"name\":\"r\",\"fields\":[{\"type\":\"int\",\"name\":\"a\"}],\"type\":\"record\"}", 3,
              1); // the order of keys does not count
    struct subjects_schema v;
    assert_int_equal(subjects_get(f->s, "x", SUBJECTS_LATEST, false, &f->a, &v, &f->err), SUBJECTS_OK);
    assert_true(v.id == 2 && str_eqc(v.text, "\"long\""));
    assert_int_equal(subjects_get(f->s, "x", 7, false, &f->a, &v, &f->err), SUBJECTS_NO_VERSION);
    assert_int_equal(subjects_get(f->s, "z", 1, false, &f->a, &v, &f->err), SUBJECTS_NO_SUBJECT);
    assert_int_equal(subjects_get_id(f->s, 3, &f->a, &v, &f->err), SUBJECTS_OK);
    assert_int_equal(subjects_get_id(f->s, 4, &f->a, &v, &f->err), SUBJECTS_NO_SCHEMA);
    struct subjects_schema *uses;
    assert_int_equal(subjects_uses(f->s, 1, false, &f->a, &uses), 2);
    assert_string_equal(uses[1].subject, "y");
    const char **names;
    assert_int_equal(subjects_list(f->s, "r", false, false, &f->a, &names), 2);
    refuses(f, "x", "{\"type\":\"recor\"}", SUBJECTS_BAD_SCHEMA, "details: Avro schema: unknown type \"recor\"");
    refuses(f, "x", "", SUBJECTS_BAD_SCHEMA, "Empty");
    refuses(f, "", "\"int\"", SUBJECTS_BAD_SUBJECT, "not a valid");
    refuses(f, ":.c:x", "\"int\"", SUBJECTS_NOT_SUPPORTED, "contexts");
    struct subjects_new proto = {.text = STR("message A {}"), .type = "PROTOBUF"};
    assert_int_equal(subjects_register(f->s, "p", &proto, &f->a, &v, &f->err), SUBJECTS_NOT_SUPPORTED);
    struct subjects_new in = {.text = STR("\"int\"")};
    assert_int_equal(subjects_lookup(f->s, "x", &in, false, &f->a, &v, &f->err), SUBJECTS_OK);
    assert_int_equal(v.version, 1);
    assert_int_equal(subjects_lookup(f->s, "r", &in, false, &f->a, &v, &f->err), SUBJECTS_NO_SCHEMA);
    assert_int_equal(subjects_lookup(f->s, "none", &in, false, &f->a, &v, &f->err), SUBJECTS_NO_SUBJECT);
    // Confluent's records, byte by byte
    assert_string_equal(f->m.keys.p[0], "{\"keytype\":\"SCHEMA\",\"subject\":\"x\",\"version\":1,\"magic\":1}");
    assert_string_equal(f->m.values.p[0], "{\"subject\":\"x\",\"version\":1,\"id\":1,\"schema\":\"\\\"int\\\"\",\"deleted\":false}");
}

static void test_levels(void **state) {
    struct fixture *f = *state;
    registers(f, "x", REC(A), 1, 1);
    refuses(
        f, "x", REC(A "," B), SUBJECTS_INCOMPATIBLE,
        "Schema being registered is incompatible with an earlier schema for subject \"x\", details: "
        "[{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'b' at path '/fields/1' in the new schema "
            "has no default value and is "
        "missing in the old schema', additionalInfo:'b'}, {oldSchemaVersion: 1}, {oldSchema: '" REC(
            A) "'}, {validateFields: 'false', compatibility: 'BACKWARD'}]");
    registers(f, "x", REC(A "," BD), 2, 2);
    // v3 without a: backward to v2; forward would need a
    assert_int_equal(subjects_set_level(f->s, "x", SUBJECTS_FULL, &f->err), SUBJECTS_OK);
    refuses(f, "x", REC(BD), SUBJECTS_INCOMPATIBLE, "in the old schema has no default value and is missing in the new schema");
    assert_int_equal(subjects_set_level(f->s, "x", SUBJECTS_BACKWARD, &f->err), SUBJECTS_OK);
    registers(f, "x", REC(BD), 3, 3);
    // b without default reads v3 and v2, but not v1
    assert_int_equal(subjects_set_level(f->s, "x", SUBJECTS_BACKWARD_TRANSITIVE, &f->err), SUBJECTS_OK);
    refuses(f, "x", REC(B), SUBJECTS_INCOMPATIBLE, "{oldSchemaVersion: 1}");
    assert_int_equal(subjects_set_level(f->s, "x", SUBJECTS_BACKWARD, &f->err), SUBJECTS_OK);
    registers(f, "x", REC(B), 4, 4);
    refuses(f, "x", "\"string\"", SUBJECTS_INCOMPATIBLE, "TYPE_MISMATCH");
    assert_int_equal(subjects_set_level(f->s, NULL, SUBJECTS_NONE, &f->err), SUBJECTS_OK);
    refuses(f, "x", "\"string\"", SUBJECTS_INCOMPATIBLE, "TYPE_MISMATCH"); // the subject's own level stands
    int level;
    assert_int_equal(subjects_delete_level(f->s, "x", &level, &f->err), SUBJECTS_OK);
    assert_int_equal(level, SUBJECTS_BACKWARD);
    registers(f, "x", "\"string\"", 5, 5);
    assert_int_equal(subjects_get_level(f->s, "x", false, &level, &f->err), SUBJECTS_NO_LEVEL);
    assert_int_equal(subjects_get_level(f->s, "x", true, &level, &f->err), SUBJECTS_OK);
    assert_int_equal(level, SUBJECTS_NONE);
    assert_int_equal(subjects_set_level(f->s, "x", 99, &f->err), SUBJECTS_BAD_LEVEL);
    // forward transitive: the old ones read what is new
    assert_int_equal(subjects_set_level(f->s, "y", SUBJECTS_FORWARD_TRANSITIVE, &f->err), SUBJECTS_OK);
    registers(f, "y", REC(A), 1, 1);
    registers(f, "y", REC(A "," B), 6, 2);
    refuses(f, "y", REC(B), SUBJECTS_INCOMPATIBLE, "'FORWARD_TRANSITIVE'");
}

static void test_check(void **state) {
    struct fixture *f = *state;
    bool ok;
    const char **messages;
    size_t n;
    struct subjects_new in = {.text = STR("\"string\"")}, bad = {.text = STR("{")};
    assert_int_equal(subjects_check(f->s, "none", SUBJECTS_ALL, &in, &f->a, &ok, &messages, &n, &f->err), SUBJECTS_OK);
    assert_true(ok);
    assert_int_equal(subjects_check(f->s, "none", 1, &in, &f->a, &ok, &messages, &n, &f->err), SUBJECTS_NO_SUBJECT);
    registers(f, "x", "\"int\"", 1, 1);
    registers(f, "x", "\"long\"", 2, 2);
    assert_int_equal(subjects_check(f->s, "x", SUBJECTS_LATEST, &in, &f->a, &ok, &messages, &n, &f->err), SUBJECTS_OK);
    assert_false(ok);
    assert_int_equal(n, 4);
    assert_string_equal(messages[1], "{oldSchemaVersion: 2}");
    assert_int_equal(subjects_check(f->s, "x", 1, &in, &f->a, &ok, &messages, &n, &f->err), SUBJECTS_OK);
    assert_string_equal(messages[1], "{oldSchemaVersion: 1}");
    assert_int_equal(subjects_check(f->s, "x", 9, &in, &f->a, &ok, &messages, &n, &f->err), SUBJECTS_NO_VERSION);
    assert_int_equal(subjects_check(f->s, "x", 1, &bad, &f->a, &ok, &messages, &n, &f->err), SUBJECTS_BAD_SCHEMA);
    versions_are(f, "x", false, "1 2 "); // nothing was registered
}

static void test_delete(void **state) {
    struct fixture *f = *state;
    int32_t *v;
    size_t n;
    struct subjects_schema out;
    registers(f, "x", "\"int\"", 1, 1);
    registers(f, "x", "\"long\"", 2, 2);
    registers(f, "x", "\"float\"", 3, 3);
    assert_int_equal(subjects_delete(f->s, "x", 2, true, &f->a, &v, &n, &f->err), SUBJECTS_VERSION_NOT_SOFT_DELETED);
    assert_int_equal(subjects_delete(f->s, "x", 2, false, &f->a, &v, &n, &f->err), SUBJECTS_OK);
    assert_int_equal(subjects_delete(f->s, "x", 2, false, &f->a, &v, &n, &f->err), SUBJECTS_VERSION_SOFT_DELETED);
    versions_are(f, "x", false, "1 3 ");
    versions_are(f, "x", true, "1 2 3 ");
    assert_int_equal(subjects_get(f->s, "x", 2, false, &f->a, &out, &f->err), SUBJECTS_NO_VERSION);
    assert_int_equal(subjects_get(f->s, "x", 2, true, &f->a, &out, &f->err), SUBJECTS_OK);
    assert_int_equal(subjects_get_id(f->s, 2, &f->a, &out, &f->err), SUBJECTS_OK); // old events can still be read
    assert_int_equal(subjects_set_level(f->s, "x", SUBJECTS_NONE, &f->err), SUBJECTS_OK);
    registers(f, "x", "\"long\"", 2, 4);                                            // its id again, a new version
    assert_int_equal(subjects_delete(f->s, "x", 2, true, &f->a, &v, &n, &f->err), SUBJECTS_OK);
    assert_int_equal(subjects_get_id(f->s, 2, &f->a, &out, &f->err), SUBJECTS_OK);
    assert_int_equal(subjects_delete(f->s, "x", SUBJECTS_ALL, true, &f->a, &v, &n, &f->err), SUBJECTS_SUBJECT_NOT_SOFT_DELETED);
    assert_int_equal(subjects_delete(f->s, "x", SUBJECTS_ALL, false, &f->a, &v, &n, &f->err), SUBJECTS_OK);
    assert_int_equal(n, 3);
    assert_int_equal(v[2], 4);
    assert_int_equal(subjects_delete(f->s, "x", SUBJECTS_ALL, false, &f->a, &v, &n, &f->err), SUBJECTS_SUBJECT_SOFT_DELETED);
    const char **names;
    assert_int_equal(subjects_list(f->s, NULL, false, false, &f->a, &names), 0);
    assert_int_equal(subjects_list(f->s, NULL, true, false, &f->a, &names), 1);
    int level;
    assert_int_equal(subjects_get_level(f->s, "x", false, &level, &f->err), SUBJECTS_NO_LEVEL); // gone with its subject
    reopen(f);
    assert_int_equal(subjects_delete(f->s, "x", SUBJECTS_ALL, true, &f->a, &v, &n, &f->err), SUBJECTS_OK);
    assert_int_equal(subjects_list(f->s, NULL, true, false, &f->a, &names), 0);
    assert_int_equal(subjects_get_id(f->s, 3, &f->a, &out, &f->err), SUBJECTS_NO_SCHEMA);
    assert_int_equal(subjects_delete(f->s, "x", SUBJECTS_ALL, true, &f->a, &v, &n, &f->err), SUBJECTS_NO_SUBJECT);
    registers(f, "x", "\"bytes\"", 4, 1); // ids are not used twice
    assert_int_equal(subjects_max_id(f->s), 4);
}

static void test_references(void **state) {
    struct fixture *f = *state;
    int32_t *v;
    size_t n;
    struct subjects_schema out;
    registers(f, "id", "{\"type\":\"fixed\",\"name\":\"k.Id\",\"size\":4}", 1, 1);
    struct subjects_ref ref = {"k.Id", "id", 1}, missing = {"k.Id", "id", 5};
    struct subjects_new in = {
        .text = STR("{\"type\":\"record\",\"name\":\"o\",\"fields\":[{\"name\":\"i\",\"type\":\"k.Id\"}]}"), .refs = &missing, .n_refs = 1};
    assert_int_equal(subjects_register(f->s, "o", &in, &f->a, &out, &f->err), SUBJECTS_BAD_SCHEMA);
    assert_non_null(strstr(f->err.msg, "No schema reference found for subject \"id\" and version 5"));
    in.refs = &ref;
    assert_int_equal(subjects_register(f->s, "o", &in, &f->a, &out, &f->err), SUBJECTS_OK);
    reopen(f);
    assert_int_equal(subjects_get(f->s, "o", 1, false, &f->a, &out, &f->err), SUBJECTS_OK);
    assert_string_equal(out.refs[0].subject, "id");
    assert_int_equal(subjects_referenced_by(f->s, "id", 1, &f->a, &v, &n, &f->err), SUBJECTS_OK);
    assert_true(n == 1 && v[0] == 2);
    assert_int_equal(subjects_delete(f->s, "id", SUBJECTS_ALL, false, &f->a, &v, &n, &f->err), SUBJECTS_REFERENCED);
    assert_int_equal(subjects_delete(f->s, "o", 1, false, &f->a, &v, &n, &f->err), SUBJECTS_OK);
    assert_int_equal(subjects_delete(f->s, "id", 1, false, &f->a, &v, &n, &f->err), SUBJECTS_OK);
    struct str text;
    assert_int_equal(subjects_source(f->s)->get(subjects_source(f->s)->self, 1, &f->a, &text, &f->err), ERR_OK);
    assert_int_equal(subjects_source(f->s)->get(subjects_source(f->s)->self, 2, &f->a, &text, &f->err), ERR_OK);
    assert_true(str_eqc(text, "{\"type\":\"record\",\"name\":\"o\",\"fields\":[{\"name\":\"i\",\"type\":{\"type\":\"fixed\",\"name\":\"k.Id\",\"size\":4,"
                              "\"namespace\":\"k\"}}],\"namespace\":\"\"}"));
    assert_int_equal(subjects_source(f->s)->get(subjects_source(f->s)->self, 3, &f->a, &text, &f->err), ERR_NOT_FOUND);
}

// The text that is read must be the same schema as the one with its references beside it.
static void test_inline(void **state) {
    (void)state;
    static const struct {
        const char *refs[3], *text;
    } cases[] = {
        // used twice; a nested type used by name before the type around it
        {{"{\"type\":\"record\",\"name\":\"a.In\",\"fields\":[{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"X\"]}}]}", NULL, NULL},
         "{\"type\":\"record\",\"name\":\"b.Out\",\"fields\":[{\"name\":\"x\",\"type\":[\"null\",\"a.E\"]},{\"name\":\"i\",\"type\":\"a.In\"},"
         "{\"name\":\"j\",\"type\":{\"type\":\"array\",\"items\":\"a.In\"}}]}"},
        // a chain, the same namespace, a type in no namespace inside of one that has one, recursion
        {{"{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}", "{\"type\":\"record\",\"name\":\"n.M\",\"fields\":[{\"name\":\"f\",\"type\":\"F\"}]}", NULL},
         "{\"type\":\"record\",\"name\":\"T\",\"namespace\":\"n\",\"fields\":[{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":\"M\"}},{\"name\":\"f\",\"type\":\"F\"},"
         "{\"name\":\"t\",\"type\":[\"null\",\"T\"]},{\"name\":\"d\",\"type\":{\"type\":\"int\",\"logicalType\":\"date\"}}]}"},
        {{"{\"type\":\"fixed\",\"name\":\"k.Id\",\"size\":4}", NULL, NULL}, "[\"null\",\"k.Id\"]"},
        {{"{\"type\":\"fixed\",\"name\":\"k.Id\",\"size\":4}", NULL, NULL}, "\"k.Id\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct err err = {0};
        struct buf want, got;
        struct str refs[3];
        size_t n = 0;
        arena_init(&a);
        buf_init(&want, 0);
        buf_init(&got, 0);
        for (; n < 3 && cases[i].refs[n] != NULL; n++) refs[n] = str_c(cases[i].refs[n]);
        const struct avro_schema *apart = avro_schema_parse_refs(str_c(cases[i].text), refs, n, &a, &err);
        const char *whole = subjects_inline(cases[i].text, refs, n, &a, &err);
        if (apart == NULL || whole == NULL) fail_msg("%zu: %s", i, err.msg);
        const struct avro_schema *together = avro_schema_parse(str_c(whole), &a, &err);
        if (together == NULL) fail_msg("%zu: %s: %s", i, err.msg, whole);
        avro_schema_canonical(apart, &want);
        avro_schema_canonical(together, &got);
        assert_string_equal(buf_cstr(&got), buf_cstr(&want));
        buf_fini(&want);
        buf_fini(&got);
        arena_fini(&a);
    }
}

static void test_modes(void **state) {
    struct fixture *f = *state;
    int mode;
    struct subjects_schema out;
    int32_t *v;
    size_t n;
    registers(f, "x", "\"int\"", 1, 1);
    assert_int_equal(subjects_set_mode(f->s, "x", SUBJECTS_READONLY, false, &f->err), SUBJECTS_OK);
    refuses(f, "x", "\"long\"", SUBJECTS_NOT_PERMITTED, "Subject x is in read-only mode");
    assert_int_equal(subjects_delete(f->s, "x", 1, false, &f->a, &v, &n, &f->err), SUBJECTS_NOT_PERMITTED);
    registers(f, "y", "\"long\"", 2, 1);
    assert_int_equal(subjects_get_mode(f->s, "y", false, &mode, &f->err), SUBJECTS_NO_MODE);
    assert_int_equal(subjects_get_mode(f->s, "x", false, &mode, &f->err), SUBJECTS_OK);
    assert_int_equal(mode, SUBJECTS_READONLY);
    assert_int_equal(subjects_delete_mode(f->s, "x", &mode, &f->err), SUBJECTS_OK);
    registers(f, "x", "\"long\"", 2, 2);
    assert_int_equal(subjects_set_mode(f->s, "x", SUBJECTS_IMPORT, false, &f->err), SUBJECTS_NOT_PERMITTED);
    struct subjects_new in = {.text = STR("\"string\""), .id = 100, .version = 7};
    assert_int_equal(subjects_register(f->s, "i", &in, &f->a, &out, &f->err), SUBJECTS_NOT_PERMITTED);
    assert_int_equal(subjects_set_mode(f->s, "i", SUBJECTS_IMPORT, false, &f->err), SUBJECTS_OK);
    assert_int_equal(subjects_register(f->s, "i", &in, &f->a, &out, &f->err), SUBJECTS_OK);
    assert_true(out.id == 100 && out.version == 7);
    in.text = STR("\"bytes\"");
    assert_int_equal(subjects_register(f->s, "i", &in, &f->a, &out, &f->err), SUBJECTS_NOT_PERMITTED); // the id is another schema's
    registers(f, "z", "\"boolean\"", 101, 1);
}

static void test_metadata(void **state) {
    struct fixture *f = *state;
    struct subjects_schema out;
    struct subjects_new in = {
        .text = STR("\"int\""), .metadata = STR("{\"properties\":{\"owner\":\"me\"}}"), .rule_set = STR("{\"domainRules\":[]}")};
    registers(f, "x", "\"int\"", 1, 1);
    assert_int_equal(subjects_register(f->s, "x", &in, &f->a, &out, &f->err), SUBJECTS_OK);
    assert_true(out.id == 2 && out.version == 2); // other metadata, another version
    reopen(f);
    assert_int_equal(subjects_get(f->s, "x", 2, false, &f->a, &out, &f->err), SUBJECTS_OK);
    assert_true(str_eqc(out.metadata, "{\"properties\":{\"owner\":\"me\"}}"));
    assert_true(str_eqc(out.rule_set, "{\"domainRules\":[]}"));
}

static void add(struct fixture *f, const char *key, const char *value) {
    vec_add(&f->m.keys, mem_strdup(key));
    vec_add(&f->m.values, value == NULL ? NULL : mem_strdup(value));
}

static void test_records_of_others(void **state) { // a backup of Confluent's, with what we do not know, put into the topic while we run
    struct fixture *f = *state;
    add(f, "{\"keytype\":\"NOOP\",\"magic\":0}", NULL);
    add(f, "{\"keytype\":\"CONFIG\",\"subject\":null,\"magic\":0}", "{\"compatibilityLevel\":\"FULL\"}");
    add(f, "{\"keytype\":\"SCHEMA\",\"subject\":\"t-value\",\"version\":2,\"magic\":1}",
        "{\"subject\":\"t-value\",\"version\":2,\"id\":9,\"guid\":\"g\",\"ts\":1,\"schema\":\"\\\"long\\\"\",\"deleted\":false}");
    add(f, "{\"keytype\":\"SCHEMA\",\"subject\":\"t-value\",\"version\":1,\"magic\":1}",
        "{\"subject\":\"t-value\",\"version\":1,\"id\":8,\"schema\":\"\\\"int\\\"\",\"deleted\":true}");
    add(f, "{\"keytype\":\"SOMETHING\",\"magic\":3}", "{}");
    add(f, "not json", "neither");
    versions_are(f, "t-value", false, "2 ");
    versions_are(f, "t-value", true, "1 2 ");
    int level;
    assert_int_equal(subjects_get_level(f->s, NULL, true, &level, &f->err), SUBJECTS_OK);
    assert_int_equal(level, SUBJECTS_FULL);
    registers(f, "u", "\"string\"", 10, 1);
    add(f, "{\"keytype\":\"DELETE_SUBJECT\",\"subject\":\"t-value\",\"magic\":0}", "{\"subject\":\"t-value\",\"version\":2}");
    versions_are(f, "t-value", false, "");
    memory_wipe(&f->m); // the topic was deleted
    versions_are(f, "u", true, "");
    registers(f, "v", "\"string\"", 1, 1);
}

static void test_failed_writes(void **state) {
    struct fixture *f = *state;
    f->m.fail = true;
    refuses(f, "x", "\"int\"", SUBJECTS_STORE, "disk is full");
    versions_are(f, "x", true, "");
    f->m.fail = false;
    f->m.fail_after = true; // it was written, but the answer was lost
    refuses(f, "x", "\"int\"", SUBJECTS_STORE, "no answer");
    f->m.fail_after = false;
    registers(f, "x", "\"int\"", 1, 1); // and so it is there already
    versions_are(f, "x", true, "1 ");
}

enum { THREADS = 4, EACH = 50 };
struct worker {
    struct fixture *f;
    int32_t ids[EACH];
    bool failed;
};

static void work(void *arg) { // all register the same 50 schemas under one subject, and read what is there
    struct worker *w = arg;
    struct arena a;
    struct err err;
    arena_init(&a);
    for (int i = 0; i < EACH; i++) {
        char *text = arena_printf(&a, "{\"type\":\"fixed\",\"name\":\"f%d\",\"size\":%d}", i, i);
        struct subjects_new in = {.text = str_c(text)};
        struct subjects_schema out, again;
        w->failed = w->failed || subjects_register(w->f->s, "shared", &in, &a, &out, &err) != SUBJECTS_OK;
        w->ids[i] = out.id;
        w->failed = w->failed || subjects_get_id(w->f->s, out.id, &a, &again, &err) != SUBJECTS_OK || !str_eqc(again.text, text);
        w->failed = w->failed || subjects_get(w->f->s, "shared", out.version, false, &a, &again, &err) != SUBJECTS_OK || again.id != out.id;
    }
    arena_fini(&a);
}

static void test_threads(void **state) {
    struct fixture *f = *state;
    struct worker w[THREADS] = {0};
    struct sys_thread *t[THREADS];
    assert_int_equal(subjects_set_level(f->s, NULL, SUBJECTS_NONE, &f->err), SUBJECTS_OK);
    for (int i = 0; i < THREADS; i++) w[i].f = f, t[i] = sys_thread_start("worker", work, &w[i]);
    for (int i = 0; i < THREADS; i++) sys_thread_join(t[i]);
    int32_t *v;
    size_t n;
    assert_int_equal(subjects_versions(f->s, "shared", false, false, &f->a, &v, &n, &f->err), SUBJECTS_OK);
    assert_int_equal(n, EACH);
    assert_int_equal(f->m.keys.n, EACH + 1); // nothing was written twice
    for (int i = 0; i < THREADS; i++) {
        assert_false(w[i].failed);
        assert_memory_equal(w[i].ids, w[0].ids, sizeof w[0].ids);
    }
}

int main(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_register), TEST(test_levels),   TEST(test_check),    TEST(test_delete),          TEST(test_references),
        TEST(test_inline), TEST(test_modes),    TEST(test_metadata), TEST(test_records_of_others), TEST(test_failed_writes), TEST(test_threads),
    };
    return cmocka_run_group_tests_name("subjects", tests, NULL, NULL);
}
