// SPDX-License-Identifier: Apache-2.0
// codec: known answers, round trips with random data, refusal of damaged and oversized input.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "codec/compress.h"
#include "codec/crc32c.h"
#include "codec/csv.h"
#include "codec/digest.h"
#include "codec/json.h"
#include "codec/varint.h"
#include "codec/yaml.h"

static uint64_t rng_state = 88172645463325252ull;
static uint64_t rnd(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    return rng_state ^= rng_state << 17;
}

static void test_crc32c(void **state) {
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(crc32c_soft(0, "123456789", 9), 0xE3069283u);
    uint8_t zeros[32] = {0};
    assert_int_equal(crc32c(0, zeros, 32), 0x8A9136AAu); // RFC 3720 B.4
    size_t n = 70000;
    uint8_t *p = mem_alloc(n);
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)rnd();
    for (int i = 0; i < 300; i++) {
        size_t at = rnd() % 64, len = i < 100 ? (size_t)i * 17 : rnd() % (n - at);
        uint32_t want = crc32c_soft(0, p + at, len);
        assert_int_equal(crc32c(0, p + at, len), want);
        size_t cut = len == 0 ? 0 : rnd() % len;
        assert_int_equal(crc32c(crc32c(0, p + at, cut), p + at + cut, len - cut), want);
    }
    mem_free(p);
}

static void test_varint(void **state) {
    (void)state;
    for (int i = 0; i < 20000; i++) {
        int64_t v = (int64_t)(rnd() >> (rnd() % 64));
        if (rnd() & 1) v = -v;
        if (i == 0) v = INT64_MIN;
        if (i == 1) v = INT64_MAX;
        struct buf b;
        buf_init(&b, 0);
        buf_put_varint(&b, v);
        buf_put_uvarint(&b, (uint64_t)v);
        assert_int_equal(b.n, varint_size(v) + uvarint_size((uint64_t)v));
        struct rd r = rd_of(b.p, b.n);
        assert_true(rd_varint(&r) == v);
        assert_true(rd_uvarint(&r) == (uint64_t)v);
        assert_false(r.failed);
        assert_int_equal(rd_left(&r), 0);
        r = rd_of(b.p, varint_size(v) - 1);
        rd_varint(&r);
        assert_true(r.failed);
        buf_clear(&b);
        buf_put_varint(&b, (int32_t)v);
        r = rd_of(b.p, b.n);
        assert_int_equal(rd_varint32(&r), (int32_t)v);
        assert_false(r.failed);
        buf_fini(&b);
    }
    const uint8_t long64[] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02}, long32[] = {0xFF, 0xFF, 0xFF, 0xFF, 0x1F};
    struct rd r = rd_of(long64, sizeof long64);
    rd_uvarint(&r);
    assert_true(r.failed);
    r = rd_of(long32, sizeof long32);
    rd_uvarint32(&r);
    assert_true(r.failed);
}

static void fill(uint8_t *p, size_t n, int how) { // random, text-like, constant
    for (size_t i = 0; i < n; i++) p[i] = how == 0 ? (uint8_t)rnd() : how == 1 ? (uint8_t)("flights from SFO to JFK"[rnd() % 23]) : 7;
}

static void test_compress_round_trip(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 32768, 32769, 300000};
    for (int kind = 0; kind < COMPRESS_COUNT; kind++) {
        assert_int_equal(compress_kind_of(str_c(compress_name(kind))), kind);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t n = sizes[i];
            uint8_t *p = mem_alloc(n);
            fill(p, n, (int)(i % 3));
            struct buf packed, out;
            struct err err;
            buf_init(&packed, 0);
            buf_init(&out, 0);
            buf_puts(&packed, "##");
            assert_int_equal(compress_bytes((enum compress_kind)kind, str_n(p, n), &packed, &err), ERR_OK);
            struct str in = str_n(packed.p + 2, packed.n - 2);
            buf_puts(&out, "ab");
            assert_int_equal(decompress_bytes((enum compress_kind)kind, in, n, &out, &err), ERR_OK);
            assert_int_equal(out.n, n + 2);
            assert_memory_equal(out.p + 2, p, n);
            out.n = 2;
            if (n > 1) { // one byte too few is allowed
                assert_int_equal(decompress_bytes((enum compress_kind)kind, in, n - 1, &out, &err), ERR_TOO_LARGE);
                assert_int_equal(out.n, 2);
            }
            if (kind != COMPRESS_NONE && n > 0) {
                assert_int_equal(decompress_bytes((enum compress_kind)kind, str_n(in.p, in.n - 3), n, &out, &err), ERR_CORRUPT);
                assert_int_equal(out.n, 2);
            }
            buf_fini(&packed);
            buf_fini(&out);
            mem_free(p);
        }
    }
    assert_null(compress_name(COMPRESS_COUNT));
    assert_int_equal(compress_kind_of(STR("brotli")), -1);
}

static void test_compress_damaged(void **state) {
    (void)state;
    uint8_t plain[5000];
    fill(plain, sizeof plain, 1);
    struct buf packed, out;
    buf_init(&packed, 0);
    buf_init(&out, 0);
    for (int kind = 1; kind < COMPRESS_COUNT; kind++) {
        buf_clear(&packed);
        compress_bytes((enum compress_kind)kind, str_n(plain, sizeof plain), &packed, NULL);
        for (int i = 0; i < 500; i++) { // must end, within bounds, whatever comes out
            uint8_t *copy = mem_alloc(packed.n);
            memcpy(copy, packed.p, packed.n);
            for (int k = 0; k < 3; k++) copy[rnd() % packed.n] = (uint8_t)rnd();
            buf_clear(&out);
            decompress_bytes((enum compress_kind)kind, str_n(copy, rnd() % packed.n), 100000, &out, NULL);
            assert_true(out.n <= 100000);
            mem_free(copy);
        }
    }
    // raw snappy, and a raw block that claims 4 GB
    const char raw[] = "\x03\x08" "abc";
    buf_clear(&out);
    assert_int_equal(decompress_bytes(COMPRESS_SNAPPY, str_n(raw, 5), 3, &out, NULL), ERR_OK);
    assert_memory_equal(out.p, "abc", 3);
    assert_int_equal(decompress_bytes(COMPRESS_SNAPPY, str_n("\xFF\xFF\xFF\xFF\x0F", 5), SIZE_MAX / 4, &out, NULL), ERR_CORRUPT);
    buf_fini(&packed);
    buf_fini(&out);
}

static void test_json(void **state) {
    (void)state;
    struct err err;
    json_t *v = json_parse(STR("{\"b\": 1, \"a\": [1.5, \"x\\u00e9\", null, true], \"i\": 3.0}"), &err);
    assert_non_null(v);
    struct buf b;
    buf_init(&b, 0);
    json_write(v, JSON_COMPACT, &b);
    assert_string_equal(buf_cstr(&b), "{\"b\":1,\"a\":[1.5,\"x\xC3\xA9\",null,true],\"i\":3.0}");
    buf_clear(&b);
    json_write(v, JSON_INDENT(2) | JSON_SORT_KEYS, &b);
    assert_string_equal(buf_cstr(&b), "{\n  \"a\": [\n    1.5,\n    \"x\xC3\xA9\",\n    null,\n    true\n  ],\n  \"b\": 1,\n  \"i\": 3.0\n}");
    assert_int_equal(json_get_i64(v, "i", -1), 3);
    assert_int_equal(json_get_i64(v, "a", -1), -1);
    assert_int_equal(json_get_i64(v, "zz", 9), 9);
    json_decref(v);
    v = json_parse(STR("[0.1, 1e300, -0.0, 5e-324, 1e21, {}, [], 123456789012345680.0]"), &err);
    buf_clear(&b);
    json_write(v, JSON_COMPACT, &b);
    assert_string_equal(buf_cstr(&b), "[0.1,1e+300,-0.0,4.94065645841247e-324,1e+21,{},[],1.2345678901234568e+17]");
    json_decref(v);
    assert_null(json_parse(STR("{\n  \"a\": [1, 2,]\n}"), &err));
    assert_int_equal(err.code, ERR_PARSE);
    assert_non_null(strstr(err.msg, "line 2"));
    assert_true(err.position > 5);
    assert_null(json_parse(STR(""), &err));
    char deep[JSON_DEPTH_MAX * 2 + 4];
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_null(json_parse(str_n(deep, (JSON_DEPTH_MAX + 1) * 2), &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    json_decref(json_parse(str_n(deep + 1, JSON_DEPTH_MAX * 2), &err));
    assert_int_equal(err.code, ERR_TOO_LARGE); // untouched by success
    buf_clear(&b);
    json_put_str(&b, str_n("a\"b\\\n\x01\xC3\xA9\xFF" "z", 10));
    assert_string_equal(buf_cstr(&b), "\"a\\\"b\\\\\\n\\u0001\xC3\xA9\xEF\xBF\xBDz\"");
    buf_fini(&b);
}

static void yaml_is(const char *yaml, const char *json) {
    struct err err = {0};
    json_t *v = yaml_parse(str_c(yaml), &err);
    if (v == NULL) fail_msg("%s", err.msg);
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    assert_string_equal(text, json);
    free(text);
    json_decref(v);
}

static void test_yaml(void **state) {
    (void)state;
    yaml_is("", "null");
    yaml_is("a: 1\nb: [x, 'y', \"1\", 0x1F, 0o17, -2.5e3, ~, true, no, .5]\n",
            "{\"a\":1,\"b\":[\"x\",\"y\",\"1\",31,15,-2500.0,null,true,\"no\",0.5]}");
    yaml_is("base: &b {k: 1, l: 2}\nuse:\n  l: 3\n  <<: *b\n", "{\"base\":{\"k\":1,\"l\":2},\"use\":{\"l\":3,\"k\":1}}");
    yaml_is("007: x\ntrue: y\n1.10: z", "{\"007\":\"x\",\"true\":\"y\",\"1.10\":\"z\"}");
    yaml_is("t: |\n  two\n  lines\nv: !!str 12\nd: 2024-01-02\nw: 1_000",
            "{\"t\":\"two\\nlines\\n\",\"v\":\"12\",\"d\":\"2024-01-02\",\"w\":\"1_000\"}");
    struct err err;
    json_t *all = yaml_parse_all(STR("a\n---\n- 1\n---\n"), &err);
    assert_int_equal(json_array_size(all), 3);
    json_decref(all);
    assert_null(yaml_parse(STR("a: 1\nb: [1, 2\nc: 3\n"), &err));
    assert_int_equal(err.code, ERR_PARSE);
    assert_non_null(strstr(err.msg, "line 3"));
    assert_null(yaml_parse(STR("a: 1\na: 2\n"), &err));
    assert_non_null(strstr(err.msg, "line 2"));
    assert_null(yaml_parse(STR("a: &x [*x]\n"), &err));
    assert_null(yaml_parse(STR("? [1]\n: 2\n"), &err));
    assert_null(yaml_parse(STR("\xFF\xFE\xFF"), &err));
    char bomb[2000] = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n", line[120];
    for (int i = 1; i < 12; i++) {
        snprintf(line, sizeof line, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1,
                 i - 1, i - 1);
        memcpy(bomb + strlen(bomb), line, strlen(line) + 1);
    }
    assert_null(yaml_parse(str_c(bomb), &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    char deep[YAML_DEPTH_MAX + 2];
    memset(deep, '[', sizeof deep);
    assert_null(yaml_parse(str_n(deep, sizeof deep), &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
}

static void text_of(void (*fn)(struct str, struct buf *), const char *in, const char *want) {
    struct buf b;
    buf_init(&b, 0);
    fn(str_c(in), &b);
    assert_string_equal(buf_cstr(&b), want);
    buf_fini(&b);
}

static void test_digest(void **state) {
    (void)state;
    uint8_t d[64];
    struct buf b;
    buf_init(&b, 0);
    digest_sha256(STR("abc"), d);
    hex_encode(str_n(d, 32), &b);
    assert_string_equal(buf_cstr(&b), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    buf_clear(&b);
    digest_hmac_sha256(STR("Jefe"), STR("what do ya want for nothing?"), d); // RFC 4231 case 2
    hex_encode(str_n(d, 32), &b);
    assert_string_equal(buf_cstr(&b), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    buf_clear(&b);
    digest_md5(STR(""), d);
    hex_encode(str_n(d, 16), &b);
    assert_string_equal(buf_cstr(&b), "d41d8cd98f00b204e9800998ecf8427e");
    text_of(base64_encode, "fo", "Zm8=");
    text_of(base64_encode, "foobar", "Zm9vYmFy");
    text_of(base64url_encode, "~~~??", "fn5-Pz8");
    for (int i = 0; i < 200; i++) {
        uint8_t raw[70];
        size_t n = rnd() % sizeof raw;
        fill(raw, n, 0);
        struct buf e, back;
        buf_init(&e, 0);
        buf_init(&back, 0);
        (i % 3 == 0 ? hex_encode : i % 3 == 1 ? base64_encode : base64url_encode)(str_n(raw, n), &e);
        assert_int_equal((i % 3 == 0 ? hex_decode : base64_decode)(buf_str(&e), &back, NULL), ERR_OK);
        assert_int_equal(back.n, n);
        if (n > 0) assert_memory_equal(back.p, raw, n);
        buf_fini(&e);
        buf_fini(&back);
    }
    buf_clear(&b);
    assert_int_equal(base64_decode(STR("Zm9v!mFy"), &b, NULL), ERR_PARSE);
    assert_int_equal(base64_decode(STR("Zm9vY"), &b, NULL), ERR_PARSE);
    assert_int_equal(hex_decode(STR("0g"), &b, NULL), ERR_PARSE);
    assert_int_equal(b.n, 0);
    buf_fini(&b);
}

static void test_csv(void **state) {
    (void)state;
    struct csv_reader r;
    struct err err;
    csv_init(&r, STR("\xEF\xBB\xBF" "a,\"b \"\"x\"\"\",,\"\"\r\n1,\"two\nlines\",3\n\n4"), ',');
    assert_true(csv_next(&r, &err));
    assert_int_equal(r.fields.n, 4);
    assert_true(str_eqc(r.fields.p[1].text, "b \"x\""));
    assert_false(r.fields.p[2].quoted);
    assert_true(r.fields.p[3].quoted);
    assert_true(csv_next(&r, &err));
    assert_int_equal(r.line, 2);
    assert_true(str_eqc(r.fields.p[1].text, "two\nlines"));
    assert_true(csv_next(&r, &err)); // the empty line: one empty field
    assert_int_equal(r.line, 4);
    assert_int_equal(r.fields.n, 1);
    assert_true(csv_next(&r, &err));
    assert_true(str_eqc(r.fields.p[0].text, "4"));
    assert_false(csv_next(&r, &err));
    assert_int_equal(err.code, ERR_OK);
    csv_fini(&r);
    csv_init(&r, STR("a\n\"b"), ',');
    assert_true(csv_next(&r, &err));
    assert_false(csv_next(&r, &err));
    assert_int_equal(err.code, ERR_PARSE);
    assert_non_null(strstr(err.msg, "line 2"));
    csv_fini(&r);
    struct buf b;
    buf_init(&b, 0);
    csv_put(&b, STR("a,\"b\""), ',');
    assert_string_equal(buf_cstr(&b), "\"a,\"\"b\"\"\"");
    buf_clear(&b);
    csv_put(&b, STR("\xEF\xBB\xBFx"), ','); // not a byte order mark when it is read again
    csv_init(&r, buf_str(&b), ',');
    assert_true(csv_next(&r, &err));
    assert_int_equal(r.fields.p[0].text.n, 4);
    csv_fini(&r);
    buf_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c), cmocka_unit_test(test_varint), cmocka_unit_test(test_compress_round_trip),
        cmocka_unit_test(test_compress_damaged), cmocka_unit_test(test_json), cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_digest), cmocka_unit_test(test_csv),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
