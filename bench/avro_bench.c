// SPDX-License-Identifier: Apache-2.0
// Avro decoding and encoding of flights-like records (5 fields), one core. Prints records and MB per second, one line each.
#include <stdio.h>

#include "base/vec.h"
#include "codec/varint.h"
#include "schema/avro.h"
#include "sys/sys.h"

enum { ROWS = 100000, ROUNDS = 30 };

#define OPTIONAL(name, type) "{\"name\":\"" name "\",\"type\":[\"null\"," type "]}"
static const char schema_text[] = "{\"type\":\"record\",\"name\":\"flight\",\"fields\":["
    OPTIONAL("time", "{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}") ","
    OPTIONAL("delay", "\"int\"") "," OPTIONAL("distance", "\"int\"") ","
    OPTIONAL("origin", "\"string\"") "," OPTIONAL("destination", "\"string\"") "]}";

static void put_row(struct buf *b, uint32_t i) {
    static const char airports[] = "SFOJFKLAXORDATLDENPHXSEA";
    buf_put_varint(b, 1);
    buf_put_varint(b, INT64_C(978307200000000) + i * INT64_C(60000000));
    buf_put_varint(b, 1);
    buf_put_varint(b, (int32_t)(i * 7919 % 400) - 30);
    buf_put_varint(b, 1);
    buf_put_varint(b, i * 104729 % 2800);
    for (uint32_t k = 0; k < 2; k++) {
        buf_put_varint(b, 1);
        buf_put_varint(b, 3);
        buf_put(b, airports + (i * (31 + k) % 8) * 3, 3);
    }
}

static void report(const char *what, double seconds, size_t bytes) {
    double n = (double)ROWS * ROUNDS;
    printf("%s: %.2f M records/s, %.0f MB/s, %.0f ns/record\n", what, n / seconds / 1e6, (double)bytes * ROUNDS / seconds / 1e6, seconds * 1e9 / n);
}

int main(void) {
    struct arena a;
    struct err err = {0};
    struct buf data, out;
    VEC(size_t) at = {0};
    arena_init(&a);
    buf_init(&data, 0);
    buf_init(&out, 0);
    for (uint32_t i = 0; i < ROWS; i++) {
        vec_add(&at, data.n);
        put_row(&data, i);
    }
    vec_add(&at, data.n);
    const struct avro_schema *s = avro_schema_parse(str_c(schema_text), &a, &err);
    struct avro_decoder *d = s == NULL ? NULL : avro_decoder_new(s, NULL, &err);
    struct avro_encoder *e = d == NULL ? NULL : avro_encoder_new(s, avro_decoder_schema(d), &err);
    if (e == NULL) return fprintf(stderr, "%s\n", err.msg), 1;
    struct cols_builder *b = cols_builder_new(avro_decoder_schema(d), ROWS);
    struct cols_batch *batch = NULL;
    int64_t start = sys_mono_us(sys_real());
    for (int round = 0; round < ROUNDS; round++) {
        cols_batch_free(batch);
        for (size_t i = 0; i < ROWS; i++)
            if (avro_decode(d, str_n(data.p + at.p[i], at.p[i + 1] - at.p[i]), b, &err) != ERR_OK) return fprintf(stderr, "%s\n", err.msg), 1;
        batch = cols_builder_finish(b);
    }
    report("avro decode", (double)(sys_mono_us(sys_real()) - start) / 1e6, data.n);
    start = sys_mono_us(sys_real());
    for (int round = 0; round < ROUNDS; round++) {
        buf_clear(&out);
        for (size_t i = 0; i < ROWS; i++)
            if (avro_encode_row(e, batch, i, &out, &err) != ERR_OK) return fprintf(stderr, "%s\n", err.msg), 1;
    }
    report("avro encode", (double)(sys_mono_us(sys_real()) - start) / 1e6, data.n);
    if (out.n != data.n) return fprintf(stderr, "encoded %zu bytes, not %zu\n", out.n, data.n), 1;
    cols_batch_free(batch);
    cols_builder_free(b);
    avro_encoder_free(e);
    avro_decoder_free(d);
    buf_fini(&data);
    buf_fini(&out);
    vec_fini(&at);
    arena_fini(&a);
    return 0;
}
