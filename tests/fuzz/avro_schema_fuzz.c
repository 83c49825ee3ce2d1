// SPDX-License-Identifier: Apache-2.0
// Any bytes as an Avro schema: its canonical form is a schema with the same fingerprint, it is compatible with itself, and a decoder can
// be made or is
// refused with a reason.
#include <assert.h>

#include "schema/avro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct arena a;
    struct err err = {0};
    arena_init(&a);
    const struct avro_schema *s = avro_schema_parse(str_n(data, n), &a, &err);
    if (s == NULL) {
        assert(err.code == ERR_PARSE || err.code == ERR_INVALID || err.code == ERR_TOO_LARGE);
        arena_fini(&a);
        return 0;
    }
    struct buf text;
    buf_init(&text, 0);
    avro_schema_canonical(s, &text);
    const struct avro_schema *again = avro_schema_parse(buf_str(&text), &a, &err);
    assert(again != NULL && avro_schema_fingerprint(s) == avro_schema_fingerprint(again));
    assert(avro_compatible(s, s, &a, NULL) == 0);
    struct avro_decoder *d = avro_decoder_new(s, NULL, &err);
    assert(d != NULL || err.code == ERR_NOT_SUPPORTED || err.code == ERR_TOO_LARGE);
    avro_decoder_free(d);
    buf_fini(&text);
    arena_fini(&a);
    return 0;
}
