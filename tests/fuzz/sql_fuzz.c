// SPDX-License-Identifier: Apache-2.0
// Any bytes as SQL: every statement ends, lies inside the text, and so do the tables that it names.
#include <assert.h>

#include "sql/sql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct str text = str_n(data, n);
    struct arena a;
    arena_init(&a);
    struct sql_statement st;
    struct err err = {0};
    size_t at = 0, before = 0;
    while (sql_next(text, &at, &a, &st, &err)) {
        assert(at > before && at <= n);
        before = at;
        assert(st.at + st.text.n <= n);
        for (size_t i = 0; i < st.n_refs; i++) {
            assert(st.refs[i].n > 0 && st.refs[i].at + st.refs[i].n <= st.text.n);
            if (i > 0) assert(st.refs[i].at >= st.refs[i - 1].at + st.refs[i - 1].n);
        }
    }
    assert(err.code == ERR_OK || err.code == ERR_PARSE || err.code == ERR_TOO_LARGE);
    arena_fini(&a);
    return 0;
}
