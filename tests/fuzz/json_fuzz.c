// SPDX-License-Identifier: Apache-2.0
// Any bytes as JSON: what is read and written again is the same value.
#include <assert.h>

#include "codec/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct err err = {0};
    json_t *v = json_parse(str_n(data, n), &err);
    if (v == NULL) {
        assert(err.code == ERR_PARSE || err.code == ERR_TOO_LARGE);
        return 0;
    }
    static const size_t flags[] = {JSON_COMPACT, JSON_INDENT(2), JSON_SORT_KEYS};
    for (size_t i = 0; i < 3; i++) {
        struct buf out;
        buf_init(&out, 0);
        json_write(v, flags[i], &out);
        json_t *again = json_parse(buf_str(&out), &err);
        assert(again != NULL && json_equal(v, again));
        json_decref(again);
        buf_fini(&out);
    }
    json_decref(v);
    return 0;
}
