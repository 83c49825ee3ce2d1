// SPDX-License-Identifier: Apache-2.0
// Any bytes as YAML: a value that can be written as JSON and read again, or an error with a place.
#include <assert.h>
#include <string.h>

#include "codec/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct err err = {0};
    json_t *v = yaml_parse_all(str_n(data, n), &err);
    if (v == NULL) {
        assert(err.code == ERR_PARSE || err.code == ERR_TOO_LARGE);
        assert(strstr(err.msg, "line ") != NULL);
        return 0;
    }
    struct buf out;
    buf_init(&out, 0);
    json_write(v, JSON_COMPACT, &out);
    json_t *again = json_parse(buf_str(&out), &err);
    assert(again != NULL && json_equal(v, again));
    json_decref(again);
    json_decref(v);
    buf_fini(&out);
    return 0;
}
