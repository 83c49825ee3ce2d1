// SPDX-License-Identifier: Apache-2.0
// schema: Avro parsing and its errors, canonical form and fingerprints of the specification, resolution, compatibility messages, decoding
// of damaged data with roll-back, encoding of columns and back.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "codec/varint.h"
#include "schema/avro.h"

static uint64_t rng_state = 88172645463325252ull;
static uint64_t rnd(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    return rng_state ^= rng_state << 17;
}

static const struct avro_schema *parse(const char *text, struct arena *a) {
    struct err err = {0};
    const struct avro_schema *s = avro_schema_parse(str_c(text), a, &err);
    if (s == NULL) fail_msg("%s", err.msg);
    return s;
}

static void test_canonical(void **state) {
    (void)state;
    // Apache Avro's share/test/data/schema-tests.txt: schema, canonical form, CRC-64-AVRO as a signed number
    static const struct {
        const char *in, *canonical;
        int64_t fingerprint;
    } cases[] = {
        {"\"null\"", "\"null\"", 7195948357588979594},
        {"{\"type\":\"null\"}", "\"null\"", 7195948357588979594},
        {"\"boolean\"", "\"boolean\"", -6970731678124411036},
        {"\"int\"", "\"int\"", 8247732601305521295},
        {"\"long\"", "\"long\"", -3434872931120570953},
        {"\"float\"", "\"float\"", 5583340709985441680},
        {"\"double\"", "\"double\"", -8181574048448539266},
        {"\"bytes\"", "\"bytes\"", 5746618253357095269},
        {"\"string\"", "\"string\"", -8142146995180207161},
        {"[  ]", "[]", -1241056759729112623},
        {"[ \"int\"  ]", "[\"int\"]", -5232228896498058493},
        {"[ \"int\" , {\"type\":\"boolean\"} ]", "[\"int\",\"boolean\"]", 5392556393470105090},
        {"{\"fields\":[], \"type\":\"record\", \"name\":\"foo\"}", "{\"name\":\"foo\",\"type\":\"record\",\"fields\":[]}", -4824392279771201922},
        {"{\"fields\":[], \"type\":\"record\", \"name\":\"foo\", \"namespace\":\"x.y\"}",
         "{\"name\":\"x.y.foo\",\"type\":\"record\",\"fields\":[]}", 5916914534497305771},
        {"{\"fields\":[], \"type\":\"record\", \"name\":\"a.b.foo\", \"namespace\":\"x.y\"}",
         "{\"name\":\"a.b.foo\",\"type\":\"record\",\"fields\":[]}", -4616218487480524110},
        {"{\"fields\":[{\"type\":{\"type\":\"boolean\"}, \"name\":\"f1\"}], \"type\":\"record\", \"name\":\"foo\"}",
         "{\"name\":\"foo\",\"type\":\"record\",\"fields\":[{\"name\":\"f1\",\"type\":\"boolean\"}]}", 7843277075252814651},
        {"{\"type\":\"enum\", \"name\":\"foo\", \"symbols\":[\"A1\"]}", "{\"name\":\"foo\",\"type\":\"enum\",\"symbols\":[\"A1\"]}",
         -6342190197741309591},
        {"{\"name\":\"foo\",\"type\":\"fixed\",\"size\":15}", "{\"name\":\"foo\",\"type\":\"fixed\",\"size\":15}", 1756455273707447556},
        {"{ \"items\":{\"type\":\"null\"}, \"type\":\"array\"}", "{\"type\":\"array\",\"items\":\"null\"}", -589620603366471059},
        {"{ \"values\":\"string\", \"type\":\"map\"}", "{\"type\":\"map\",\"values\":\"string\"}", -8732877298790414990},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct buf b;
        arena_init(&a);
        buf_init(&b, 0);
        const struct avro_schema *s = parse(cases[i].in, &a);
        avro_schema_canonical(s, &b);
        assert_string_equal(buf_cstr(&b), cases[i].canonical);
        assert_true((int64_t)avro_schema_fingerprint(s) == cases[i].fingerprint);
        assert_non_null(avro_schema_parse(buf_str(&b), &a, NULL)); // the canonical form is a schema
        buf_fini(&b);
        arena_fini(&a);
    }
}

static void test_names(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    struct buf b;
    buf_init(&b, 0);
    const struct avro_schema *s =
        parse("{\"type\":\"record\",\"name\":\"Node\",\"namespace\":\"n.s\",\"aliases\":[\"Old\",\"x.Y\"],\"fields\":["
              "{\"name\":\"next\",\"type\":[\"null\",\"Node\"],\"default\":null},"
              "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"other.E\",\"symbols\":[\"A\",\"B\"],\"default\":\"B\"}},"
              "{\"name\":\"e2\",\"type\":\"other.E\",\"default\":\"A\"}]}",
              &a);
    avro_schema_canonical(s, &b);
    assert_string_equal(buf_cstr(&b), "{\"name\":\"n.s.Node\",\"type\":\"record\",\"fields\":[{\"name\":\"next\",\"type\":[\"null\",\"n.s.Node\"]},"
                                      "{\"name\":\"e\",\"type\":{\"name\":\"other.E\",\"type\":\"enum\",\"symbols\":[\"A\",\"B\"]}},"
                                      "{\"name\":\"e2\",\"type\":\"other.E\"}]}");
    assert_string_equal(s->aliases[0], "n.s.Old");
    assert_string_equal(s->aliases[1], "x.Y");
    assert_ptr_equal(s->fields[0].type->branches[1], s);
    struct err err;
    assert_null(avro_decoder_new(s, NULL, &err)); // a list as deep as the data has no columns
    assert_int_equal(err.code, ERR_NOT_SUPPORTED);
    struct str refs[] = {STR("{\"type\":\"fixed\",\"name\":\"k.Id\",\"size\":4}")};
    assert_non_null(avro_schema_parse_refs(STR("{\"type\":\"array\",\"items\":\"k.Id\"}"), refs, 1, &a, &err));
    assert_null(avro_schema_parse(STR("{\"type\":\"array\",\"items\":\"k.Id\"}"), &a, &err));
    assert_non_null(strstr(err.msg, "unknown type \"k.Id\""));
    buf_fini(&b);
    arena_fini(&a);
}

static void test_parse_errors(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
        enum err_code code;
    } cases[] = {
        {"{", "line 1", ERR_PARSE},
        {"\"strin\"", "unknown type", ERR_INVALID},
        {"{\"type\":\"record\",\"name\":\"r\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"b\",\"type\":{\"type\":\"array\"}}]}",
         "fields[1].type: an array needs \"items\"", ERR_INVALID},
        {"{\"type\":\"record\",\"name\":\"r\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"a\",\"type\":\"int\"}]}", "two fields",
         ERR_INVALID},
        {"{\"type\":\"record\",\"name\":\"r\",\"fields\":[{\"name\":\"a-b\",\"type\":\"int\"}]}", "a field needs a name", ERR_INVALID},
        {"{\"type\":\"record\",\"name\":\"r\",\"fields\":[{\"name\":\"a\",\"type\":\"int\",\"default\":\"x\"}]}", "default of the field \"a\"",
         ERR_INVALID},
        {"{\"type\":\"record\",\"name\":\"r\"}", "fields", ERR_INVALID},
        {"{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"A\"]}", "twice", ERR_INVALID},
        {"{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\"],\"default\":\"B\"}", "not a symbol", ERR_INVALID},
        {"{\"type\":\"fixed\",\"name\":\"f\"}", "size", ERR_INVALID},
        {"[\"int\",\"int\"]", "twice", ERR_INVALID},
        {"[\"int\",[\"null\"]]", "union", ERR_INVALID},
        {"{\"type\":\"record\",\"name\":\"int\",\"fields\":[]}", "primitive", ERR_INVALID},
        {"{\"type\":\"map\",\"values\":{\"type\":\"record\",\"name\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":{\"type\":\"fixed\","
                "\"name\":\"a\",\"size\":1}}]}}",
         "defined twice", ERR_INVALID},
        // a default that contains itself twice at each level
        {"{\"type\":\"record\",\"name\":\"A\",\"fields\":[{\"name\":\"l\",\"type\":\"A\",\"default\":{}},{\"name\":\"r\",\"type\":\"A\","
                "\"default\":{}}]}",
         "nested too deep", ERR_INVALID},
        {"12", "a type is", ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct err err = {0};
        arena_init(&a);
        assert_null(avro_schema_parse(str_c(cases[i].text), &a, &err));
        if (strstr(err.msg, cases[i].want) == NULL || err.code != cases[i].code) fail_msg("%s gave %s", cases[i].text, err.msg);
        arena_fini(&a);
    }
}

// ---- decoding ---------------------------------------------------------------------------------------------------------------------
// The row that `hex`-like bytes give through (writer, reader), as JSON; or the error's text.
static void decodes(const char *writer, const char *reader, const void *bytes, size_t n, const char *want) {
    struct arena a;
    struct err err = {0};
    struct buf out;
    arena_init(&a);
    buf_init(&out, 0);
    struct avro_decoder *d = avro_decoder_new(parse(writer, &a), reader == NULL ? NULL : parse(reader, &a), &err);
    arena_fini(&a); // the decoder needs neither schema
    if (d == NULL) {
        if (strstr(err.msg, want) == NULL) fail_msg("got %s, not %s", err.msg, want);
        buf_fini(&out);
        return;
    }
    struct cols_builder *b = cols_builder_new(avro_decoder_schema(d), 4);
    if (avro_decode(d, str_n(bytes, n), b, &err) != ERR_OK) buf_puts(&out, err.msg);
    struct cols_batch *batch = cols_builder_finish(b);
    if (cols_batch_check(batch, &err) != ERR_OK) fail_msg("%s", err.msg);
    if (batch->n > 0) cols_row_json(batch, 0, &out);
    if (strstr(buf_cstr(&out), want) == NULL) fail_msg("got %s, not %s", buf_cstr(&out), want);
    cols_batch_free(batch);
    cols_builder_free(b);
    avro_decoder_free(d);
    buf_fini(&out);
}
#define DECODES(w, r, bytes, want) decodes(w, r, bytes, sizeof bytes - 1, want)
#define RECORD(fields) "{\"type\":\"record\",\"name\":\"r\",\"fields\":[" fields "]}"
#define LOGICAL(type, logical) "{\"type\":\"" type "\",\"logicalType\":\"" logical "\"}"

static void test_decode_types(void **state) {
    (void)state;
    DECODES("\"int\"", NULL, "\x03", "{\"value\":-2}");
    DECODES(LOGICAL("int", "date"), NULL, "\x01", "\"1969-12-31\"");
    DECODES(LOGICAL("int", "time-millis"), NULL, "\xD0\x0F", "\"00:00:01\"");
    DECODES(LOGICAL("int", "time-millis"), NULL, "\x01", "within a day");
    DECODES(LOGICAL("long", "timestamp-millis"), NULL, "\x01", "\"1969-12-31T23:59:59.999Z\"");
    DECODES(LOGICAL("long", "local-timestamp-micros"), NULL, "\x02", "\"1970-01-01T00:00:00.000001\"");
    DECODES(LOGICAL("long", "timestamp-nanos"), NULL, "\x01", "\"1969-12-31T23:59:59.999999Z\"");
    DECODES(LOGICAL("long", "timestamp-millis"), NULL, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "out of range");
    DECODES(LOGICAL("string", "uuid"), NULL, "H550e8400-e29b-41d4-a716-446655440000", "550e8400");
    DECODES(LOGICAL("string", "uuid"), NULL, "\x02x", "no UUID");
    DECODES(LOGICAL("string", "nonsense"), NULL, "\x02x", "{\"value\":\"x\"}");
    DECODES("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4,\"scale\":2}", NULL, "\x04\xFB\x2E", "-12.34");
    DECODES("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4,\"scale\":2}", NULL, "\x06\x01\x00\x00", "more digits");
    DECODES("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4,\"scale\":2}", NULL, "\x24\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x7B",
            "1.23");
    DECODES("{\"type\":\"fixed\",\"name\":\"d\",\"size\":12,\"logicalType\":\"duration\"}", NULL, "\1\0\0\0\2\0\0\0\xE8\3\0\0",
            "1 month 2 days 00:00:01");
    DECODES("{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\"]}", NULL, "\x02", "\"B\"");
    DECODES("{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\"]}", NULL, "\x04", "index out of range");
    DECODES("{\"type\":\"array\",\"items\":\"int\"}", NULL, "\x03\x04\x02\x04\x02\x06\x00", "[1,2,3]"); // a block with its size
    DECODES("{\"type\":\"map\",\"values\":[\"null\",\"int\"]}", NULL, "\x04\x02p\x02\x06\x02q\x00\x00", "{\"p\":3,\"q\":null}");
    DECODES("[\"null\",\"string\"]", NULL, "\x02\x02x", "{\"value\":\"x\"}");
    DECODES("[\"null\",\"string\",\"long\"]", NULL, "\x04\x06", "{\"value\":{\"string\":null,\"long\":3}}");
    DECODES("[\"null\",\"string\",\"long\"]", NULL, "\x00", "{\"value\":null}");
    DECODES("[\"null\",\"string\",\"long\"]", NULL, "\x06", "branch out of range");

}

static void test_decode_bad(void **state) {
    (void)state;
    DECODES("\"int\"", NULL, "", "byte 0 of 0");
    DECODES("\"int\"", NULL, "\x02\x02", "left over");
    DECODES("\"int\"", NULL, "\xFF\xFF\xFF\xFF\x1F", "not valid");
    DECODES("\"boolean\"", NULL, "\x02", "neither 0 nor 1");
    DECODES("\"string\"", NULL, "\x02\xFF", "field value: a text that is not UTF-8");
    DECODES("\"string\"", NULL, "\x06" "ab", "end too early");
    DECODES("\"bytes\"", NULL, "\x01", "not valid");
    DECODES("{\"type\":\"array\",\"items\":\"null\"}", NULL, "\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "too many array");
    DECODES("{\"type\":\"array\",\"items\":\"null\"}", NULL, "\x80\x80\x20\x00", "more items than bytes");
    DECODES("{\"type\":\"array\",\"items\":\"null\"}", NULL, "\x06\x00", "[null,null,null]");
    DECODES("{\"type\":\"array\",\"items\":\"null\"}", NULL, "\x80\x80\x04\x80\x80\x04\x80\x80\x04\x00", "more items than bytes");
    DECODES(RECORD("{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"b\",\"type\":\"string\"}"), NULL, "\x02\x04x", "field b: ");
}

static void test_resolution(void **state) {
    (void)state;
    DECODES("\"int\"", "\"long\"", "\x03", "-2");
    DECODES("\"int\"", "\"double\"", "\x03", "-2");
    DECODES("\"long\"", "\"float\"", "\x03", "-2");
    DECODES("\"float\"", "\"double\"", "\0\0\x80\x3F", "1");
    DECODES("\"string\"", "\"bytes\"", "\x02" "a", "\"YQ==\"");
    DECODES("\"bytes\"", "\"string\"", "\x02\xFF", "UTF-8");
    DECODES("\"long\"", "\"int\"", "\x03", "long cannot be read as int");
    DECODES("[\"int\",\"string\"]", "\"string\"", "\x02\x02x", "{\"value\":\"x\"}");
    DECODES("[\"int\",\"string\"]", "\"string\"", "\x00\x02", "a value of type int, which the reader's schema does not take");
    DECODES("\"int\"", "[\"null\",\"string\",\"long\"]", "\x04", "{\"string\":null,\"long\":2}");
    DECODES("[\"string\",\"null\"]", "[\"null\",\"string\"]", "\x02", "{\"value\":null}");
    DECODES("[\"null\",\"int\"]", "[\"null\",\"string\"]", "\x00", "{\"value\":null}");
    DECODES("[\"null\",\"int\"]", "[\"null\",\"string\"]", "\x02\x02", "does not take");
    DECODES("{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\",\"C\"]}", "{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"C\",\"A\"]}",
            "\x02", "does not know");
    DECODES("{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\",\"C\"]}",
            "{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"C\",\"A\"],\"default\":\"A\"}", "\x02", "\"A\"");
    // fields: reordered, skipped (with a recursive type), renamed by alias, defaulted
    const char *w = RECORD(
        "{\"name\":\"a\",\"type\":\"int\"},"
        "{\"name\":\"gone\",\"type\":{\"type\":\"record\",\"name\":\"L\",\"fields\":[{\"name\":\"v\",\"type\":\"string\"},{\"name\":\"n\","
                "\"type\":[\"null\",\"L\"]},"
        "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":\"double\"}}]}},"
        "{\"name\":\"old\",\"type\":\"string\"}");
    const char *r = RECORD(
        "{\"name\":\"new\",\"type\":\"string\",\"aliases\":[\"old\"]},{\"name\":\"d\",\"type\":{\"type\":\"array\",\"items\":\"int\"},"
                "\"default\":[1,2]},"
        "{\"name\":\"a\",\"type\":\"long\"},{\"name\":\"b\",\"type\":\"bytes\",\"default\":\"\\u00ff\"}");
    DECODES(w, r, "\x0A" "\x02x\x02\x02y\x00\x00" "\x02\x02k12345678\x00" "\x04hi", "{\"new\":\"hi\",\"d\":[1,2],\"a\":5,\"b\":\"/w==\"}");
    DECODES(w, r, "\x0A" "\x02x\x02\x02y\x00\x00" "\x02\x02k1234567", "field gone");
    DECODES(RECORD("{\"name\":\"a\",\"type\":\"int\"}"), RECORD("{\"name\":\"b\",\"type\":\"int\"}"), "\x02", "no default");
}

static void flights_row(struct buf *b, uint64_t v, bool utf8) {
    buf_put_varint(b, (int64_t)v);
    buf_put_varint(b, (int32_t)(v % 500) - 20);
    buf_put_varint(b, (int64_t)v % 3000);
    buf_put_varint(b, 3);
    buf_puts(b, utf8 ? "SFO" : "\xFF\xFF\xFF");
    buf_put_varint(b, v % 2);
    if (v % 2 == 1) buf_put_varint(b, 3), buf_puts(b, "JFK");
}

static const char flights[] = RECORD("{\"name\":\"time\",\"type\":" LOGICAL(
    "long",
    "timestamp-micros") "},{\"name\":\"delay\",\"type\":\"int\"},"
                        "{\"name\":\"distance\",\"type\":\"int\"},{\"name\":\"origin\",\"type\":\"string\"},{\"name\":\"dest\","
                                "\"type\":[\"null\",\"string\"]}");

static void test_bad_among_good(void **state) {
    (void)state;
    struct arena a;
    struct err err;
    arena_init(&a);
    struct avro_decoder *d = avro_decoder_new(parse(flights, &a), NULL, &err);
    // the caller's further columns stand behind
    struct cols_schema wide = {6, ARENA_ARRAY(&a, struct cols_field, 6)};
    memcpy(wide.fields, avro_decoder_schema(d)->fields, 5 * sizeof *wide.fields);
    wide.fields[5] = (struct cols_field){"_offset", {.kind = COLS_INT64}, false};
    struct cols_builder *b = cols_builder_new(&wide, 10);
    struct buf datum;
    buf_init(&datum, 0);
    size_t good = 0, bad = 0;
    for (int64_t i = 0; i < 20000; i++) {
        buf_clear(&datum);
        bool fine = rnd() % 4 != 0, cut = rnd() % 2 == 0;
        flights_row(&datum, (uint64_t)i, fine || cut);
        size_t n = fine || !cut ? datum.n : rnd() % datum.n;
        enum err_code code = avro_decode_values(d, str_n(datum.p, n), b, &err);
        assert_int_equal(code, fine ? ERR_OK : ERR_DATA);
        if (code == ERR_OK) {
            cols_put_int(b, 5, i);
            cols_row_end(b);
        }
        good += fine, bad += !fine;
    }
    assert_true(bad > 1000);
    struct cols_batch *batch = cols_builder_finish(b);
    assert_int_equal(batch->n, good);
    assert_int_equal(cols_batch_check(batch, &err), ERR_OK);
    for (size_t i = 0; i < batch->n; i++) {
        int64_t at = ((int64_t *)batch->columns[5].values)[i];
        assert_true(((int64_t *)batch->columns[0].values)[i] == at);
        assert_int_equal(((int32_t *)batch->columns[1].values)[i], at % 500 - 20);
        assert_int_equal(cols_is_valid(&batch->columns[4], i), at % 2);
    }
    cols_batch_free(batch);
    cols_builder_free(b);
    avro_decoder_free(d);
    buf_fini(&datum);
    arena_fini(&a);
}

// ---- encoding -----------------------------------------------------------------------------------------------------------------------
static void test_encode_round_trip(void **state) { // columns -> derived schema -> data -> the same columns
    (void)state;
    struct arena a;
    struct err err;
    arena_init(&a);
    const char *text = RECORD(
        "{\"name\":\"b\",\"type\":[\"null\",\"boolean\"]},{\"name\":\"i\",\"type\":[\"null\",\"int\"]},{\"name\":\"l\",\"type\":\"long\"},"
        "{\"name\":\"f\",\"type\":\"float\"},{\"name\":\"d\",\"type\":[\"null\",\"double\"]},{\"name\":\"s\",\"type\":\"string\"},"
        "{\"name\":\"y\",\"type\":[\"null\",\"bytes\"]},{\"name\":\"dt\",\"type\":" LOGICAL(
            "int",
            "date") "},"
                    "{\"name\":\"tm\",\"type\":" LOGICAL("long", "time-micros") "},{\"name\":\"ts\",\"type\":" LOGICAL(
                        "long",
                        "timestamp-micros") "},"
                                            "{\"name\":\"lt\",\"type\":[\"null\"," LOGICAL("long", "local-timestamp-micros") "]},"
                                                    "{\"name\":\"u\",\"type\":" LOGICAL(
                                                "string",
                                                "uuid") "},"
                                                        "{\"name\":\"de\",\"type\":{\"type\":\"bytes\",\"logicalType\":\"decimal\","
                                                                "\"precision\":20,\"scale\":3}},"
                                                        "{\"name\":\"li\",\"type\":[\"null\",{\"type\":\"array\",\"items\":[\"null\",\"int\"]}]},"
                                                        "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":\"string\"}},"
                                                        "{\"name\":\"st\",\"type\":[\"null\","
                                                        "{\"type\":\"record\",\"name\":\"in\",\"fields\":[{\"name\":\"x\","
                                                                "\"type\":\"int\"},{\"name\":\"y\",\"type\":[\"null\",\"string\"]}]}]}");
    const struct avro_schema *s = parse(text, &a);
    struct avro_decoder *d = avro_decoder_new(s, NULL, &err);
    struct cols_builder *b = cols_builder_new(avro_decoder_schema(d), 4);
    const char *row =
        "{\"b\":true,\"i\":-5,\"l\":9007199254740993,\"f\":1.5,\"d\":null,\"s\":\"x\\u00e9\",\"y\":\"\\u0000\\u00ff\",\"dt\":19000,"
                "\"tm\":1,\"ts\":-1,\"lt\":5,"
        "\"u\":\"550e8400-e29b-41d4-a716-446655440000\",\"de\":\"\\u00ff\\u0085\",\"li\":[1,null,3],\"m\":{\"k\":\"v\"},\"st\":{\"x\":1,\"y\":null}}";
    const char *nulls = "{\"b\":null,\"i\":null,\"l\":1,\"f\":0,\"d\":0.1,\"s\":\"\",\"y\":null,\"dt\":0,\"tm\":0,\"ts\":0,\"lt\":null,"
                        "\"u\":\"550e8400-e29b-41d4-a716-446655440000\",\"de\":\"\",\"li\":null,\"m\":{},\"st\":null}";
    struct buf datum, out, again, schema_text;
    buf_init(&datum, 0);
    buf_init(&out, 0);
    buf_init(&again, 0);
    buf_init(&schema_text, 0);
    for (int i = 0; i < 2; i++) {
        buf_clear(&datum);
        if (avro_encode_json(s, str_c(i == 0 ? row : nulls), &datum, &err) != ERR_OK) fail_msg("%s", err.msg);
        if (avro_decode(d, buf_str(&datum), b, &err) != ERR_OK) fail_msg("%s", err.msg);
    }
    struct cols_batch *batch = cols_builder_finish(b);
    for (size_t i = 0; i < 2; i++) cols_row_json(batch, i, &out);
    assert_non_null(strstr(buf_cstr(&out), "\"de\":-0.123,\"li\":[1,null,3],\"m\":{\"k\":\"v\"},\"st\":{\"x\":1,\"y\":null}}{\"b\":null"));
    if (avro_schema_of_cols(avro_decoder_schema(d), "a.b.row", &schema_text, &err) != ERR_OK) fail_msg("%s", err.msg);
    const struct avro_schema *derived = parse(buf_cstr(&schema_text), &a);
    struct avro_encoder *e = avro_encoder_new(derived, avro_decoder_schema(d), &err);
    struct avro_decoder *d2 = avro_decoder_new(derived, NULL, &err);
    assert_non_null(e);
    struct cols_builder *b2 = cols_builder_new(avro_decoder_schema(d2), 4);
    for (size_t i = 0; i < 2; i++) {
        buf_clear(&datum);
        if (avro_encode_row(e, batch, i, &datum, &err) != ERR_OK) fail_msg("%s", err.msg);
        if (avro_decode(d2, buf_str(&datum), b2, &err) != ERR_OK) fail_msg("%s", err.msg);
    }
    struct cols_batch *batch2 = cols_builder_finish(b2);
    for (size_t i = 0; i < 2; i++) cols_row_json(batch2, i, &again);
    assert_string_equal(buf_cstr(&again), buf_cstr(&out));
    cols_batch_free(batch);
    cols_batch_free(batch2);
    cols_builder_free(b);
    cols_builder_free(b2);
    avro_encoder_free(e);
    avro_decoder_free(d);
    avro_decoder_free(d2);
    buf_fini(&datum);
    buf_fini(&out);
    buf_fini(&again);
    buf_fini(&schema_text);
    arena_fini(&a);
}

static void test_encode_nulls(void **state) { // the type null, alone and in lists; empty texts
    (void)state;
    struct arena a;
    struct err err;
    struct buf out;
    arena_init(&a);
    buf_init(&out, 0);
    const struct avro_schema *s = parse(RECORD("{\"name\":\"n\",\"type\":\"null\"},{\"name\":\"l\",\"type\":{\"type\":\"array\",\"items\":\"null\"}},"
                                               "{\"name\":\"s\",\"type\":\"string\"}"), &a);
    struct avro_decoder *d = avro_decoder_new(s, NULL, &err);
    struct avro_encoder *e = avro_encoder_new(s, avro_decoder_schema(d), &err);
    struct cols_builder *b = cols_builder_new(avro_decoder_schema(d), 1);
    assert_int_equal(avro_decode(d, STR("\x04\x00\x00"), b, &err), ERR_OK);
    struct cols_batch *batch = cols_builder_finish(b);
    assert_int_equal(cols_str(&batch->columns[2], 0).n, 0);
    assert_int_equal(avro_encode_row(e, batch, 0, &out, &err), ERR_OK);
    assert_int_equal(out.n, 3);
    assert_memory_equal(out.p, "\x04\x00\x00", 3);
    cols_batch_free(batch);
    cols_builder_free(b);
    avro_encoder_free(e);
    avro_decoder_free(d);
    buf_fini(&out);
    arena_fini(&a);
}

static void test_encode_errors(void **state) {
    (void)state;
    struct arena a;
    struct err err;
    arena_init(&a);
    struct cols_field f[] = {{"e", {.kind = COLS_STRING}, true}, {"n", {.kind = COLS_INT64}, true}};
    struct cols_schema cols = {2, f};
    const struct avro_schema *s =
        parse(RECORD("{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\"]}},{\"name\":\"n\",\"type\":\"int\"},"
                     "{\"name\":\"z\",\"type\":\"int\",\"default\":7}"),
              &a);
    struct avro_encoder *e = avro_encoder_new(s, &cols, &err);
    assert_non_null(e);
    struct cols_builder *b = cols_builder_new(&cols, 4);
    static const struct { const char *e; int64_t n; } rows[] = {{"A", 1}, {"B", 1}, {NULL, 1}, {"A", 1LL << 40}};
    for (size_t i = 0; i < 4; i++) {
        if (rows[i].e == NULL) cols_put_null(b, 0);
        else cols_put_bytes(b, 0, rows[i].e, 1);
        cols_put_int(b, 1, rows[i].n);
        cols_row_end(b);
    }
    struct cols_batch *batch = cols_builder_finish(b);
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(avro_encode_row(e, batch, 0, &out, &err), ERR_OK);
    assert_memory_equal(out.p, "\x00\x02\x0E", 3);
    assert_int_equal(avro_encode_row(e, batch, 1, &out, &err), ERR_DATA);
    assert_non_null(strstr(err.msg, "\"B\" is not a symbol"));
    assert_int_equal(avro_encode_row(e, batch, 2, &out, &err), ERR_DATA);
    assert_non_null(strstr(err.msg, "e is null"));
    assert_int_equal(avro_encode_row(e, batch, 3, &out, &err), ERR_DATA);
    assert_int_equal(out.n, 3);
    avro_encoder_free(e);
    assert_null(avro_encoder_new(parse(RECORD("{\"name\":\"e\",\"type\":\"int\"}"), &a), &cols, &err));
    assert_int_equal(err.code, ERR_INCOMPATIBLE);
    assert_null(avro_encoder_new(parse(RECORD("{\"name\":\"q\",\"type\":\"int\"}"), &a), &cols, &err));
    assert_non_null(strstr(err.msg, "no such column"));
    f[0].name = "not allowed";
    assert_int_equal(avro_schema_of_cols(&cols, "x", &out, &err), ERR_INVALID);
    cols_batch_free(batch);
    cols_builder_free(b);
    buf_fini(&out);
    arena_fini(&a);
}

// ---- compatibility ------------------------------------------------------------------------------------------------------------------
static void compat(const char *reader, const char *writer, const char *want) { // "TYPE path detail; ..."
    struct arena a;
    struct buf got;
    arena_init(&a);
    buf_init(&got, 0);
    struct avro_incompatibility *found;
    size_t n = avro_compatible(parse(reader, &a), parse(writer, &a), &a, &found);
    for (size_t i = 0; i < n; i++)
        buf_printf(&got, "%s%s %s %s", i > 0 ? "; " : "", avro_incompatibility_name(found[i].type), found[i].path, found[i].detail);
    assert_string_equal(buf_cstr(&got), want);
    buf_fini(&got);
    arena_fini(&a);
}

static void test_compatible(void **state) {
    (void)state;
    compat("\"long\"", "\"int\"", "");
    compat("\"int\"", "\"long\"", "TYPE_MISMATCH / reader type: INT not compatible with writer type: LONG");
    compat("\"string\"", "\"bytes\"", "");
    compat("[\"null\",\"int\"]", "\"int\"", "");
    compat("\"int\"", "[\"null\",\"int\"]", "TYPE_MISMATCH / reader type: INT not compatible with writer type: NULL");
    compat("[\"null\",\"int\"]", "[\"null\",\"string\"]", "MISSING_UNION_BRANCH /1 reader union lacking writer type: STRING");
    compat(RECORD("{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"b\",\"type\":\"int\"}"), RECORD("{\"name\":\"a\",\"type\":\"int\"}"),
           "READER_FIELD_MISSING_DEFAULT_VALUE /fields/1 b");
    compat(RECORD("{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"b\",\"type\":\"int\",\"default\":1}"),
           RECORD("{\"name\":\"a\",\"type\":\"int\"}"), "");
    compat(RECORD("{\"name\":\"a\",\"type\":\"string\"}"), RECORD("{\"name\":\"a\",\"type\":\"int\"}"),
           "TYPE_MISMATCH /fields/0/type reader type: STRING not compatible with writer type: INT");
    compat("{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\"]}", "{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\",\"C\"]}",
           "MISSING_ENUM_SYMBOLS /symbols [B, C]");
    compat("{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\"],\"default\":\"A\"}",
           "{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\"]}", "");
    compat("{\"type\":\"fixed\",\"name\":\"f\",\"size\":4}", "{\"type\":\"fixed\",\"name\":\"g\",\"size\":5}",
           "NAME_MISMATCH /name expected: g; FIXED_SIZE_MISMATCH /size expected: 5, found: 4");
    compat("{\"type\":\"fixed\",\"name\":\"f\",\"size\":4,\"aliases\":[\"g\"]}", "{\"type\":\"fixed\",\"name\":\"g\",\"size\":4}", "");
    const char *list = RECORD("{\"name\":\"v\",\"type\":\"%s\"},{\"name\":\"n\",\"type\":[\"null\",\"r\"]}");
    char r[200], w[200];
    snprintf(r, sizeof r, list, "int");
    snprintf(w, sizeof w, list, "string");
    compat(r, r, "");
    compat(r, w, "TYPE_MISMATCH /fields/0/type reader type: INT not compatible with writer type: STRING");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_parse_errors),   cmocka_unit_test(test_decode_types),
        cmocka_unit_test(test_decode_bad),     cmocka_unit_test(test_resolution),
        cmocka_unit_test(test_bad_among_good), cmocka_unit_test(test_encode_round_trip),
        cmocka_unit_test(test_encode_errors),  cmocka_unit_test(test_encode_nulls),
        cmocka_unit_test(test_compatible),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
