// SPDX-License-Identifier: Apache-2.0
// Any bytes as Avro data of several schemas (the first byte picks writer and reader): a row that reads is a sound batch, and, encoded and read
// again, the same row; one that does not leaves the builder as it was.
#include <assert.h>
#include <string.h>

#include "schema/avro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define RECORD(fields) "{\"type\":\"record\",\"name\":\"r\",\"fields\":[" fields "]}"
#define FIELD(name, type) "{\"name\":\"" name "\",\"type\":" type "}"
#define LOGICAL(type, logical) "{\"type\":\"" type "\",\"logicalType\":\"" logical "\"}"
#define LIST "{\"type\":\"record\",\"name\":\"L\",\"fields\":[" FIELD("v", "\"string\"") "," FIELD("n", "[\"null\",\"L\"]") "]}"

static const char *const pairs[][2] = {
    // writer, reader (NULL = the same)
    {RECORD(FIELD("t", LOGICAL("long", "timestamp-micros")) "," FIELD("d", "\"int\"") "," FIELD("o", "\"string\"") "," FIELD(
         "e", "[\"null\",\"string\"]") "," FIELD("b", "\"boolean\"")),
     NULL},
    {RECORD(FIELD("l", "{\"type\":\"array\",\"items\":{\"type\":\"map\",\"values\":[\"null\",\"long\"]}}") "," FIELD(
         "z", "{\"type\":\"array\",\"items\":\"null\"}")),
     NULL},
    {RECORD(FIELD("m", "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":20,\"scale\":3}") "," FIELD(
         "u", LOGICAL("string",
                      "uuid")) "," FIELD("i",
                                         "{\"type\":\"fixed\",\"name\":\"f\",\"size\":12,\"logicalType\":\"duration\"}") "," FIELD("y",
                                                                                                                                   "\"bytes\"")),
     NULL},
    {RECORD(FIELD("w", "[\"null\",\"int\",\"string\",{\"type\":\"array\",\"items\":\"double\"}]") "," FIELD(
         "e", "{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\"]}")),
     NULL},
    {RECORD(FIELD("a", "\"int\"") "," FIELD("gone", LIST) "," FIELD("c", "[\"int\",\"string\"]")),
     RECORD("{\"name\":\"n\",\"type\":{\"type\":\"array\",\"items\":\"int\"},\"default\":[1,2]}," FIELD("c", "\"string\"") "," FIELD(
         "a", "\"double\""))},
};
enum { PAIRS = sizeof pairs / sizeof *pairs };

static struct pair {
    struct arena arena;
    struct avro_decoder *decoder;
    struct avro_encoder *encoder; // NULL: writer and reader differ, or a union that is not written back alike
} made[PAIRS];

static void make(size_t i) {
    struct pair *p = &made[i];
    arena_init(&p->arena);
    const struct avro_schema *w = avro_schema_parse(str_c(pairs[i][0]), &p->arena, NULL);
    const struct avro_schema *r = pairs[i][1] == NULL ? NULL : avro_schema_parse(str_c(pairs[i][1]), &p->arena, NULL);
    assert(w != NULL && (pairs[i][1] == NULL || r != NULL));
    p->decoder = avro_decoder_new(w, r, NULL);
    assert(p->decoder != NULL);
    if (i < 3) p->encoder = avro_encoder_new(w, avro_decoder_schema(p->decoder), NULL);
    assert(i >= 3 || p->encoder != NULL);
}

static void check_again(const struct pair *p, const struct cols_batch *batch) {
    struct buf bytes, before, after;
    struct err err = {0};
    buf_init(&bytes, 0);
    buf_init(&before, 0);
    buf_init(&after, 0);
    assert(avro_encode_row(p->encoder, batch, 0, &bytes, &err) == ERR_OK);
    struct cols_builder *b = cols_builder_new(avro_decoder_schema(p->decoder), 1);
    enum err_code code = avro_decode(p->decoder, buf_str(&bytes), b, &err);
    // nulls that came in several blocks go out as one, which may be more than is taken
    assert(code == ERR_OK || (code == ERR_DATA && strstr(err.msg, "more items than bytes") != NULL));
    struct cols_batch *again = cols_builder_finish(b);
    if (code == ERR_OK) {
        cols_row_json(batch, 0, &before);
        cols_row_json(again, 0, &after);
        assert(str_eq(buf_str(&before), buf_str(&after)));
    }
    cols_batch_free(again);
    cols_builder_free(b);
    buf_fini(&bytes);
    buf_fini(&before);
    buf_fini(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    size_t i = data[0] % PAIRS;
    struct pair *p = &made[i];
    if (p->decoder == NULL) make(i);
    struct err err = {0};
    struct cols_builder *b = cols_builder_new(avro_decoder_schema(p->decoder), 1);
    enum err_code code = avro_decode(p->decoder, str_n(data + 1, n - 1), b, &err);
    assert(code == ERR_OK || code == ERR_DATA || code == ERR_TOO_LARGE);
    struct cols_batch *batch = cols_builder_finish(b);
    assert(cols_batch_check(batch, &err) == ERR_OK);
    assert(batch->n == (code == ERR_OK));
    if (batch->n > 0 && p->encoder != NULL) check_again(p, batch);
    cols_batch_free(batch);
    cols_builder_free(b);
    return 0;
}
