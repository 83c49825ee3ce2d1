// SPDX-License-Identifier: Apache-2.0
// A stand-in for the SQL engine, for tests of workflows: every script succeeds with one row ('ok'), "fail" fails, "slow" waits for a cancel.
// Included by one source of a test program, where these definitions take the place of the library's.
#ifndef TESTS_FLOW_STUB_ENGINE_H
#define TESTS_FLOW_STUB_ENGINE_H

#include <string.h>

#include "engine/engine.h"
#include "loop/loop.h"

struct engine_session {
    struct loop_event cancelled;
};
struct engine_result {
    struct arena a;
    struct cols_builder *b;
    bool given;
};

static struct cols_field stub_fields[] = {{.name = "answer", .type = {.kind = COLS_STRING}, .nullable = true}};
static const struct cols_schema stub_schema = {1, stub_fields};
static char stub_last_sql[4096];
static bool stub_lock;
static int stub_scripts;

struct engine_session *engine_session_open(struct engine *e, struct err *err) {
    (void)e, (void)err;
    struct engine_session *s = MEM_NEW(struct engine_session);
    loop_event_init(&s->cancelled);
    return s;
}
void engine_session_close(struct engine_session *s) {
    loop_event_fini(&s->cancelled);
    mem_free(s);
}
void engine_cancel(struct engine_session *s) { loop_event_set(&s->cancelled); }

enum err_code engine_script(struct engine_session *s, struct str sql, struct engine_result **last, struct err *err) {
    __atomic_add_fetch(&stub_scripts, 1, __ATOMIC_RELAXED);
    while (__atomic_test_and_set(&stub_lock, __ATOMIC_ACQUIRE)) continue; // workers run side by side
    snprintf(stub_last_sql, sizeof stub_last_sql, STR_FMT, STR_ARG(sql));
    __atomic_clear(&stub_lock, __ATOMIC_RELEASE);
    if (str_starts(sql, STR("fail"))) return err_set(err, ERR_PARSE, "syntax error at or near \"fail\"");
    if (str_starts(sql, STR("slow"))) {
        loop_event_wait(&s->cancelled);
        return err_set(err, ERR_CANCELLED, "cancelled");
    }
    struct engine_result *r = MEM_NEW(struct engine_result);
    r->b = cols_builder_new(&stub_schema, 1);
    cols_put_bytes(r->b, 0, "ok", 2);
    cols_row_end(r->b);
    *last = r;
    return ERR_OK;
}
const struct cols_schema *engine_result_schema(const struct engine_result *r) {
    (void)r;
    return &stub_schema;
}
const char *engine_result_tag(const struct engine_result *r) {
    (void)r;
    return "SELECT";
}
bool engine_result_is_rows(const struct engine_result *r) { return r != NULL; }
int64_t engine_result_affected(const struct engine_result *r) {
    (void)r;
    return -1;
}
struct cols_batch *engine_result_next(struct engine_result *r, struct err *err) {
    (void)err;
    if (r->given) return NULL;
    r->given = true;
    return cols_builder_finish(r->b);
}
void engine_result_free(struct engine_result *r) {
    if (r == NULL) return;
    cols_builder_free(r->b);
    mem_free(r);
}

#endif
