// SPDX-License-Identifier: Apache-2.0
// Any bytes as a Delta log entry behind a good one: the replay ends with a snapshot or an error that says why; its files can be pruned.
#include <assert.h>

#include "lake/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char first_entry[] =
    "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n"
    "{\"metaData\":{\"id\":\"i\",\"schemaString\":\"{\\\"fields\\\":[{\\\"name\\\":\\\"i\\\",\\\"type\\\":\\\"long\\\"},{\\\"name\\\":\\\"s\\\","
    "\\\"type\\\":"
    "\\\"string\\\"},{\\\"name\\\":\\\"t\\\",\\\"type\\\":\\\"timestamp\\\"},{\\\"name\\\":\\\"d\\\",\\\"type\\\":\\\"decimal(10,2)\\\"}]}\","
    "\"partitionColumns\":[\"s\"],\"configuration\":{}}}\n";

static void prune(struct lake_snapshot *s) {
    static const char *const columns[] = {"i", "s", "t", "d"};
    struct lake_literal literals[] = {
        {LAKE_LITERAL_NUMBER, STR("5")}, {LAKE_LITERAL_STRING, STR("2024-01-31 10:00:00")}, {LAKE_LITERAL_BOOL, STR("true")}};
    size_t *out = mem_alloc((lake_snapshot_n_files(s) + 1) * sizeof *out);
    for (size_t c = 0; c < 4; c++)
        for (int op = LAKE_EQ; op <= LAKE_IS_NOT_NULL; op++) {
            struct lake_conjunct one = {str_c(columns[c]), (enum lake_op)op, literals, op >= LAKE_IS_NULL ? 0 : op == LAKE_IN ? 3 : 1};
            assert(lake_snapshot_prune(s, &one, 1, out) <= lake_snapshot_n_files(s));
        }
    mem_free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct lake_replay r;
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    if (lake_schema_from_json(str_n(data, n), &a, &err) == NULL)
        assert(err.code == ERR_CORRUPT || err.code == ERR_NOT_SUPPORTED || err.code == ERR_TOO_LARGE);
    arena_fini(&a);
    err_clear(&err);
    lake_replay_init(&r);
    bool ok = lake_replay_ndjson(&r, str_c(first_entry), "first", &err) == ERR_OK;
    assert(ok);
    ok = lake_replay_ndjson(&r, str_n(data, n), "second", &err) == ERR_OK;
    assert(ok || (err.code != ERR_OK && err.msg[0] != 0));
    struct lake_snapshot *s = ok ? lake_replay_finish(&r, "dir", 1, &err) : NULL;
    if (s != NULL && lake_check_readable(s, &err) == ERR_OK)
        prune(s);
    lake_snapshot_unref(s);
    lake_replay_fini(&r);
    return 0;
}
