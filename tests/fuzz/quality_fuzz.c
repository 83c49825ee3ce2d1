// SPDX-License-Identifier: Apache-2.0
// Any bytes as a Great Expectations suite: it is one, or an error says why.
#include <assert.h>

#include "quality/quality.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct err err = {0};
    struct quality_suite *s = quality_suite_parse(str_n(data, n), &err);
    if (s == NULL)
        assert(err.code == ERR_PARSE || err.code == ERR_INVALID || err.code == ERR_TOO_LARGE);
    else
        assert(quality_suite_name(s) != NULL && quality_suite_size(s) <= QUALITY_EXPECTATIONS_MAX);
    quality_suite_free(s);
    return 0;
}
