// SPDX-License-Identifier: Apache-2.0
// schema against Apache Avro's C library: random schemas, random data written by it, decoded by us into columns and compared value by
// value; the same data encoded by us from the columns and read by it; random readers through its resolution.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <avro.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

// Both headers have these names.
#define AVRO_NULL OURS_NULL
#define AVRO_BOOLEAN OURS_BOOLEAN
#define AVRO_FLOAT OURS_FLOAT
#define AVRO_DOUBLE OURS_DOUBLE
#define AVRO_BYTES OURS_BYTES
#define AVRO_STRING OURS_STRING
#define AVRO_RECORD OURS_RECORD
#define AVRO_ENUM OURS_ENUM
#define AVRO_FIXED OURS_FIXED
#define AVRO_ARRAY OURS_ARRAY
#define AVRO_MAP OURS_MAP
#define AVRO_UNION OURS_UNION
#include "schema/avro.h"
#undef AVRO_NULL
#undef AVRO_BOOLEAN
#undef AVRO_FLOAT
#undef AVRO_DOUBLE
#undef AVRO_BYTES
#undef AVRO_STRING
#undef AVRO_RECORD
#undef AVRO_ENUM
#undef AVRO_FIXED
#undef AVRO_ARRAY
#undef AVRO_MAP
#undef AVRO_UNION

static uint64_t rng_state = 0x9E3779B97F4A7C15ull;
static uint64_t rnd(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    return rng_state ^= rng_state << 17;
}
static size_t pick(size_t n) { return (size_t)(rnd() % n); }

// ---- random schemas -----------------------------------------------------------------------------------------------------------------
static unsigned names; // so that no named type comes twice

static const char *const primitive_names[] = {"boolean", "int", "long", "float", "double", "bytes", "string"};

static void random_type(struct buf *b, unsigned depth, bool in_union);

static void random_record(struct buf *b, unsigned depth) {
    buf_printf(b, "{\"type\":\"record\",\"name\":\"R%u\",\"fields\":[", names++);
    for (size_t i = 0, n = 1 + pick(5); i < n; i++) {
        buf_printf(b, "%s{\"name\":\"f%zu\",\"type\":", i > 0 ? "," : "", i);
        random_type(b, depth, false);
        buf_puts(b, "}");
    }
    buf_puts(b, "]}");
}

static void random_union(struct buf *b, unsigned depth) {
    size_t form = pick(3);
    if (form < 2) { // [null, X], [X, null]
        buf_puts(b, form == 0 ? "[\"null\"," : "[");
        random_type(b, depth, true);
        buf_puts(b, form == 0 ? "]" : ",\"null\"]");
        return;
    }
    buf_puts(b, "[\"null\"");
    unsigned taken = 0; // each primitive once
    for (size_t i = 0, n = 2 + pick(3); i < n; i++) {
        size_t k = pick(7);
        if (taken & 1u << k) continue;
        taken |= 1u << k;
        buf_printf(b, ",\"%s\"", primitive_names[k]);
    }
    if (pick(2) == 0) {
        buf_puts(b, ",");
        random_record(b, depth);
    }
    buf_puts(b, "]");
}

static void random_type(struct buf *b, unsigned depth, bool in_union) {
    size_t kind = depth == 0 ? pick(9) : pick(14);
    if (kind < 7) {
        buf_printf(b, "\"%s\"", primitive_names[kind]);
    } else if (kind == 7) {
        buf_printf(b, "{\"type\":\"fixed\",\"name\":\"F%u\",\"size\":%zu}", names++, 1 + pick(20));
    } else if (kind == 8) {
        buf_printf(b, "{\"type\":\"enum\",\"name\":\"E%u\",\"symbols\":[\"A\",\"Bb\",\"Ccc\"]}", names++);
    } else if (kind < 11) {
        buf_puts(b, kind == 9 ? "{\"type\":\"array\",\"items\":" : "{\"type\":\"map\",\"values\":");
        random_type(b, depth - 1, false);
        buf_puts(b, "}");
    } else if (kind == 11 || in_union) {
        random_record(b, depth - 1);
    } else {
        random_union(b, depth - 1);
    }
}

// ---- random data, by the other library ------------------------------------------------------------------------------------------------
static void random_text(char *p, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (char)('a' + pick(26));
    if (n > 1 && pick(4) == 0) p[0] = (char)0xC3, p[1] = (char)0xA9; // é
    p[n] = 0;
}

static int64_t random_long(void) {
    int64_t v = (int64_t)(rnd() >> pick(64));
    return pick(2) == 0 ? v : -v;
}

static void random_value(avro_value_t *v);

static void random_items(avro_value_t *v, bool map) {
    for (size_t i = 0, n = pick(4); i < n; i++) {
        avro_value_t item;
        char key[32];
        snprintf(key, sizeof key, "k%zu", i);
        if (map) avro_value_add(v, key, &item, NULL, NULL);
        else avro_value_append(v, &item, NULL);
        random_value(&item);
    }
}

static void random_value(avro_value_t *v) {
    char text[64];
    size_t n = pick(40);
    avro_value_t sub;
    random_text(text, n);
    switch (avro_value_get_type(v)) {
    case AVRO_NULL: avro_value_set_null(v); break;
    case AVRO_BOOLEAN: avro_value_set_boolean(v, (int)pick(2)); break;
    case AVRO_INT32: avro_value_set_int(v, (int32_t)random_long()); break;
    case AVRO_INT64: avro_value_set_long(v, random_long()); break;
    case AVRO_FLOAT: avro_value_set_float(v, (float)random_long() / 8); break;
    case AVRO_DOUBLE: avro_value_set_double(v, (double)random_long() / 1024); break;
    case AVRO_BYTES: avro_value_set_bytes(v, text, n); break;
    case AVRO_STRING: avro_value_set_string_len(v, text, n + 1); break;
    case AVRO_FIXED: {
        size_t size = (size_t)avro_schema_fixed_size(avro_value_get_schema(v));
        random_text(text, size);
        avro_value_set_fixed(v, text, size);
        break;
    }
    case AVRO_ENUM: avro_value_set_enum(v, (int)pick(3)); break;
    case AVRO_ARRAY: random_items(v, false); break;
    case AVRO_MAP: random_items(v, true); break;
    case AVRO_RECORD:
        avro_value_get_size(v, &n);
        for (size_t i = 0; i < n; i++) {
            avro_value_get_by_index(v, i, &sub, NULL);
            random_value(&sub);
        }
        break;
    case AVRO_UNION:
        n = avro_schema_union_size(avro_value_get_schema(v));
        avro_value_set_branch(v, (int)pick(n), &sub);
        random_value(&sub);
        break;
    default: fail_msg("unknown type");
    }
}

// ---- comparing --------------------------------------------------------------------------------------------------------------------------
static void compare(avro_value_t *v, const struct cols_column *c, size_t i);

static void compare_union(avro_value_t *v, const struct cols_column *c, size_t i) {
    avro_schema_t s = avro_value_get_schema(v);
    size_t n = avro_schema_union_size(s), others = 0;
    int branch;
    avro_value_t sub;
    avro_value_get_discriminant(v, &branch);
    avro_value_get_current_branch(v, &sub);
    bool null = avro_value_get_type(&sub) == AVRO_NULL;
    assert_int_equal(cols_is_valid(c, i), !null);
    if (null) return;
    size_t member = 0;
    for (size_t k = 0; k < n; k++) {
        if (avro_typeof(avro_schema_union_branch(s, (int)k)) == AVRO_NULL) continue;
        member += (int)k < branch;
        others++;
    }
    if (others == 1) {
        compare(&sub, c, i);
        return;
    }
    assert_int_equal(c->type->kind, COLS_STRUCT);
    for (size_t k = 0; k < c->n_children; k++) assert_int_equal(cols_is_valid(&c->children[k], i), k == member);
    compare(&sub, &c->children[member], i);
}

static void compare_bytes(const void *p, size_t n, const struct cols_column *c, size_t i) {
    struct str s = cols_str(c, i);
    assert_int_equal(s.n, n);
    if (n > 0) assert_memory_equal(s.p, p, n);
}

static void compare_items(avro_value_t *v, const struct cols_column *c, size_t i, bool map) {
    size_t n = 0;
    avro_value_get_size(v, &n);
    assert_int_equal(c->offsets[i + 1] - c->offsets[i], n);
    for (size_t k = 0; k < n; k++) {
        const char *key;
        avro_value_t item;
        size_t at = (size_t)c->offsets[i] + k;
        avro_value_get_by_index(v, k, &item, map ? &key : NULL);
        if (map) compare_bytes(key, strlen(key), &c->children[0].children[0], at);
        compare(&item, map ? &c->children[0].children[1] : &c->children[0], at);
    }
}

static void compare_scalar(avro_value_t *v, const struct cols_column *c, size_t i) {
    int b = 0;
    int32_t i32 = 0;
    int64_t i64 = 0;
    float f = 0;
    double d = 0;
    switch (avro_value_get_type(v)) {
    case AVRO_BOOLEAN:
        avro_value_get_boolean(v, &b);
        assert_int_equal(((const uint8_t *)c->values)[i >> 3] >> (i & 7) & 1, b);
        break;
    case AVRO_INT32:
        avro_value_get_int(v, &i32);
        assert_int_equal(((const int32_t *)c->values)[i], i32);
        break;
    case AVRO_INT64:
        avro_value_get_long(v, &i64);
        assert_true(((const int64_t *)c->values)[i] == i64);
        break;
    case AVRO_FLOAT:
        avro_value_get_float(v, &f);
        assert_memory_equal((const float *)c->values + i, &f, 4);
        break;
    case AVRO_DOUBLE:
        avro_value_get_double(v, &d);
        assert_memory_equal((const double *)c->values + i, &d, 8);
        break;
    default: fail_msg("unknown type");
    }
}

static void compare(avro_value_t *v, const struct cols_column *c, size_t i) {
    const void *p = NULL;
    const char *text = NULL;
    size_t n = 0;
    int e = 0;
    avro_value_t sub;
    avro_type_t type = avro_value_get_type(v);
    if (type == AVRO_UNION) {
        compare_union(v, c, i);
        return;
    }
    assert_true(cols_is_valid(c, i));
    switch (type) {
    case AVRO_BYTES:
        avro_value_get_bytes(v, &p, &n);
        compare_bytes(p, n, c, i);
        break;
    case AVRO_STRING:
        avro_value_get_string(v, &text, &n);
        compare_bytes(text, n - 1, c, i);
        break;
    case AVRO_FIXED:
        avro_value_get_fixed(v, &p, &n);
        compare_bytes(p, n, c, i);
        break;
    case AVRO_ENUM:
        avro_value_get_enum(v, &e);
        text = avro_schema_enum_get(avro_value_get_schema(v), e);
        compare_bytes(text, strlen(text), c, i);
        break;
    case AVRO_ARRAY:
    case AVRO_MAP: compare_items(v, c, i, type == AVRO_MAP); break;
    case AVRO_RECORD:
        for (size_t k = 0; k < c->n_children; k++) {
            avro_value_get_by_index(v, k, &sub, NULL);
            compare(&sub, &c->children[k], i);
        }
        break;
    default: compare_scalar(v, c, i);
    }
}

static void compare_row(avro_value_t *v, const struct cols_batch *b, size_t row) {
    for (size_t k = 0; k < b->schema->n; k++) {
        avro_value_t sub;
        avro_value_get_by_index(v, k, &sub, NULL);
        compare(&sub, &b->columns[k], row);
    }
}

// ---- the tests --------------------------------------------------------------------------------------------------------------------------
enum { SCHEMAS = 300, ROWS = 40, BYTES = 1 << 20 };

static struct buf random_schema(void) {
    struct buf text;
    buf_init(&text, 0);
    random_record(&text, 3);
    buf_cstr(&text);
    return text;
}

static avro_schema_t their_schema(const struct buf *text) {
    avro_schema_t s;
    if (avro_schema_from_json_length((const char *)text->p, text->n, &s) != 0) fail_msg("%s: %.*s", avro_strerror(), (int)text->n, text->p);
    return s;
}

static size_t write_value(avro_value_t *v, char *to) {
    avro_writer_t w = avro_writer_memory(to, BYTES);
    if (avro_value_write(w, v) != 0) fail_msg("%s", avro_strerror());
    size_t n = (size_t)avro_writer_tell(w);
    avro_writer_free(w);
    return n;
}

// Our bytes, read by them, must be the same value.
static void read_back(avro_value_iface_t *class, avro_value_t *want, const struct buf *bytes) {
    avro_value_t got;
    avro_generic_value_new(class, &got);
    avro_reader_t r = avro_reader_memory((const char *)bytes->p, (int64_t)bytes->n);
    if (avro_value_read(r, &got) != 0) fail_msg("%s", avro_strerror());
    assert_true(avro_value_equal(want, &got));
    avro_reader_free(r);
    avro_value_decref(&got);
}

static bool has_wide_union(const struct cols_type *t) { // written by the first branch that takes a column: not their choice of branch
    for (size_t i = 0; i < t->n_fields; i++)
        if ((t->kind == COLS_STRUCT && t->fields[i].name[0] != 'f') || has_wide_union(&t->fields[i].type)) return true;
    return false;
}

static void one_schema(struct buf *text, char *bytes, size_t *encoded) {
    struct arena a;
    struct err err = {0};
    struct buf out;
    arena_init(&a);
    buf_init(&out, 0);
    avro_schema_t theirs = their_schema(text);
    avro_value_iface_t *class = avro_generic_class_from_schema(theirs);
    const struct avro_schema *ours = avro_schema_parse(buf_str(text), &a, &err);
    if (ours == NULL) fail_msg("%s: %s", err.msg, text->p);
    struct avro_decoder *d = avro_decoder_new(ours, NULL, &err);
    if (d == NULL) fail_msg("%s: %s", err.msg, text->p);
    bool wide = false;
    for (size_t i = 0; i < avro_decoder_schema(d)->n; i++) wide = wide || has_wide_union(&avro_decoder_schema(d)->fields[i].type);
    for (size_t i = 0; i < avro_decoder_schema(d)->n; i++) { // a column that is a wide union itself
        const struct cols_type *t = &avro_decoder_schema(d)->fields[i].type;
        wide = wide || (t->kind == COLS_STRUCT && t->n_fields > 0 && t->fields[0].name[0] != 'f');
    }
    struct avro_encoder *e = wide ? NULL : avro_encoder_new(ours, avro_decoder_schema(d), &err);
    if (!wide && e == NULL) fail_msg("%s: %s", err.msg, text->p);
    struct cols_builder *b = cols_builder_new(avro_decoder_schema(d), 0);
    avro_value_t values[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        avro_generic_value_new(class, &values[i]);
        random_value(&values[i]);
        size_t n = write_value(&values[i], bytes);
        if (n > 1 && pick(3) == 0) { // cut: refused, and without a trace
            enum err_code code = avro_decode(d, str_n(bytes, pick(n)), b, &err);
            assert_int_equal(code, ERR_DATA);
        }
        if (avro_decode(d, str_n(bytes, n), b, &err) != ERR_OK) fail_msg("%s: %s", err.msg, text->p);
    }
    struct cols_batch *batch = cols_builder_finish(b);
    if (cols_batch_check(batch, &err) != ERR_OK) fail_msg("%s: %s", err.msg, text->p);
    for (size_t i = 0; i < ROWS; i++) {
        compare_row(&values[i], batch, i);
        if (e != NULL) {
            buf_clear(&out);
            if (avro_encode_row(e, batch, i, &out, &err) != ERR_OK) fail_msg("%s: %s", err.msg, text->p);
            read_back(class, &values[i], &out);
            ++*encoded;
        }
        avro_value_decref(&values[i]);
    }
    cols_batch_free(batch);
    cols_builder_free(b);
    avro_encoder_free(e);
    avro_decoder_free(d);
    avro_value_iface_decref(class);
    avro_schema_decref(theirs);
    arena_fini(&a);
    buf_fini(&out);
}

static void test_same_schema(void **state) {
    (void)state;
    char *bytes = mem_alloc(BYTES);
    size_t encoded = 0;
    for (int i = 0; i < SCHEMAS; i++) {
        struct buf text = random_schema();
        one_schema(&text, bytes, &encoded);
        buf_fini(&text);
    }
    assert_true(encoded > SCHEMAS * ROWS / 10);
    mem_free(bytes);
}

// Reader and writer differ: fields in another order, some left out, numbers promoted. Their resolving reader is the oracle.
static const char *const promoted[][3] = {{"int", "long", "double"},
                                          {"long", "float", "double"},
                                          {"float", "double", "double"},
                                          {"string", "string", "string"},
                                          {"boolean", "boolean", "boolean"}};

static void random_pair(struct buf *w, struct buf *r) {
    enum { N = 6 };
    size_t kind[N], order[N];
    buf_puts(w, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[");
    buf_puts(r, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[");
    for (size_t i = 0; i < N; i++) {
        kind[i] = pick(5);
        order[i] = i;
        const char *type = promoted[kind[i]][0];
        buf_printf(w, "%s{\"name\":\"f%zu\",\"type\":", i > 0 ? "," : "", i);
        if (kind[i] == 3) buf_puts(w, "{\"type\":\"array\",\"items\":\"string\"}}");
        else buf_printf(w, "\"%s\"}", type);
    }
    for (size_t i = N; i-- > 1;) { // shuffled
        size_t k = pick(i + 1), t = order[i];
        order[i] = order[k], order[k] = t;
    }
    for (size_t i = 0, n = 1 + pick(N); i < n; i++) {
        size_t f = order[i];
        buf_printf(r, "%s{\"name\":\"f%zu\",\"type\":", i > 0 ? "," : "", f);
        if (kind[f] == 3) buf_puts(r, "{\"type\":\"array\",\"items\":\"string\"}}");
        else buf_printf(r, "\"%s\"}", promoted[kind[f]][pick(3)]);
    }
    buf_puts(w, "]}");
    buf_puts(r, "]}");
}

static void one_pair(struct buf *w, struct buf *r, char *bytes) {
    struct arena a;
    struct err err = {0};
    arena_init(&a);
    avro_schema_t their_w = their_schema(w), their_r = their_schema(r);
    avro_value_iface_t *class = avro_generic_class_from_schema(their_w), *resolver = avro_resolved_reader_new(their_w, their_r);
    if (resolver == NULL) fail_msg("%s", avro_strerror());
    struct avro_decoder *d = avro_decoder_new(avro_schema_parse(buf_str(w), &a, NULL), avro_schema_parse(buf_str(r), &a, NULL), &err);
    if (d == NULL) fail_msg("%s: %.*s %.*s", err.msg, (int)w->n, w->p, (int)r->n, r->p);
    struct cols_builder *b = cols_builder_new(avro_decoder_schema(d), 0);
    avro_value_t values[ROWS], seen;
    for (size_t i = 0; i < ROWS; i++) {
        avro_generic_value_new(class, &values[i]);
        random_value(&values[i]);
        if (avro_decode(d, str_n(bytes, write_value(&values[i], bytes)), b, &err) != ERR_OK) fail_msg("%s", err.msg);
    }
    struct cols_batch *batch = cols_builder_finish(b);
    assert_int_equal(cols_batch_check(batch, &err), ERR_OK);
    avro_resolved_reader_new_value(resolver, &seen);
    for (size_t i = 0; i < ROWS; i++) {
        avro_resolved_reader_set_source(&seen, &values[i]);
        compare_row(&seen, batch, i);
        avro_value_decref(&values[i]);
    }
    avro_value_decref(&seen);
    cols_batch_free(batch);
    cols_builder_free(b);
    avro_decoder_free(d);
    avro_value_iface_decref(resolver);
    avro_value_iface_decref(class);
    avro_schema_decref(their_w);
    avro_schema_decref(their_r);
    arena_fini(&a);
}

static void test_resolution(void **state) {
    (void)state;
    char *bytes = mem_alloc(BYTES);
    for (int i = 0; i < SCHEMAS; i++) {
        struct buf w, r;
        buf_init(&w, 0);
        buf_init(&r, 0);
        random_pair(&w, &r);
        one_pair(&w, &r, bytes);
        buf_fini(&w);
        buf_fini(&r);
    }
    mem_free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_schema), cmocka_unit_test(test_resolution)};
    return cmocka_run_group_tests_name("schema oracle", tests, NULL, NULL);
}
