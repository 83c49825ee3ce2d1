// SPDX-License-Identifier: Apache-2.0
// Any text as a cron expression (its next tick is later, and a tick) and as a DAG's serialized document (a graph whose edges fit, or an error).
#include <assert.h>

#include "flow/flow_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_cron(struct str text) {
    struct cron c;
    struct err err = {0};
    if (cron_parse(text, &c, &err) != ERR_OK) {
        assert(err.code == ERR_INVALID && err.msg[0] != '\0');
        return;
    }
    int64_t at = (int64_t)(str_hash(text) >> 12); // up to the year 2112
    int64_t next = cron_next(&c, at);
    if (next == CRON_NEVER) return;
    assert(next > at && cron_prev(&c, next) == next && cron_prev(&c, next - 1) <= at);
}

static void try_document(struct str text) {
    struct err err = {0};
    json_t *doc = json_parse(text, &err);
    if (doc == NULL) return;
    struct fversion *v = flow_version_parse(doc, &err);
    json_decref(doc);
    if (v == NULL) {
        assert(err.code == ERR_INVALID);
        return;
    }
    uint64_t up = 0, down = 0;
    for (size_t i = 0; i < v->n; i++) {
        assert(flow_version_task(v, v->tasks[i].id) == &v->tasks[i]);
        for (uint32_t k = 0; k < v->tasks[i].n_up; k++) assert(v->tasks[i].up[k] < v->n);
        up += v->tasks[i].n_up;
        down += v->tasks[i].n_down;
    }
    assert(up == down && v->max_active_runs > 0 && v->max_active_tasks > 0);
    flow_version_unref(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n > 0 && data[0] == '{') try_document(str_n(data, n));
    else try_cron(str_n(data, n));
    return 0;
}
