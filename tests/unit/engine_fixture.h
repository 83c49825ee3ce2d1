// SPDX-License-Identifier: Apache-2.0
// An engine over a lake and a broker in a temporary folder, and queries as text, for tests.
#ifndef UNIT_ENGINE_FIXTURE_H
#define UNIT_ENGINE_FIXTURE_H

#include <stdio.h>

#include "broker_fixture.h"
#include "engine/engine.h"
#include "lake/lake.h"
#include "topics/topics.h"

// A schema registry of a few texts: id = index + 1, the newest of any subject "x-value" is texts of subject x.
struct registry {
    struct {
        const char *subject, *text;
    } schemas[8];
    size_t n;
};

static inline enum err_code registry_get(void *self, int32_t id, struct arena *a, struct str *text, struct err *err) {
    struct registry *r = self;
    if (id < 1 || (size_t)id > r->n) return err_set(err, ERR_NOT_FOUND, "no schema with id %d", id);
    *text = arena_str(a, str_c(r->schemas[id - 1].text));
    return ERR_OK;
}

static inline enum err_code registry_latest(void *self, struct str subject, struct arena *a, int32_t *id, struct str *text, struct err *err) {
    struct registry *r = self;
    for (size_t i = r->n; i-- > 0;) {
        if (!str_eqc(subject, r->schemas[i].subject)) continue;
        *id = (int32_t)i + 1;
        return registry_get(self, *id, a, text, err);
    }
    return err_set(err, ERR_NOT_FOUND, "no subject");
}

struct engine_fixture {
    struct fixture *broker;
    struct registry registry;
    struct schema_source source;
    char *lake_dir, *spill_dir;
    struct lake *lake;
    struct topics *topics;
    struct engine *engine;
    struct engine_session *s;
};

static inline void engine_fixture_open(struct engine_fixture *f) {
    struct err err = {0};
    f->lake = lake_open(sys_real(), f->lake_dir, &err);
    if (f->lake == NULL) fail_msg("%s", err.msg);
    struct engine_config config = {.spill_dir = f->spill_dir, .memory_limit = 500 << 20, .threads = 2};
    f->engine = engine_open(sys_real(), &config, f->lake, f->topics = topics_local(f->broker->broker), &f->source, &err);
    if (f->engine == NULL) fail_msg("%s", err.msg);
    f->s = engine_session_open(f->engine, &err);
    if (f->s == NULL) fail_msg("%s", err.msg);
}

static inline void engine_fixture_close(struct engine_fixture *f) {
    engine_session_close(f->s);
    engine_close(f->engine);
    topics_close(f->topics);
    lake_close(f->lake);
}

static inline int engine_fixture_setup(void **state) {
    struct engine_fixture *f = MEM_NEW(struct engine_fixture);
    void *broker = NULL;
    if (fixture_setup(&broker) != 0) return -1;
    f->broker = broker;
    f->lake_dir = mem_printf("%s-lake", f->broker->dir);
    f->spill_dir = mem_printf("%s-spill", f->broker->dir);
    f->source = (struct schema_source){&f->registry, registry_get, registry_latest};
    engine_fixture_open(f);
    *state = f;
    return 0;
}

static inline int engine_fixture_teardown(void **state) {
    struct engine_fixture *f = *state;
    engine_fixture_close(f);
    sys_remove_tree(sys_real(), f->lake_dir, NULL);
    sys_remove_tree(sys_real(), f->spill_dir, NULL);
    mem_free(f->lake_dir);
    mem_free(f->spill_dir);
    void *broker = f->broker;
    mem_free(f);
    return fixture_teardown(&broker);
}

// All rows as text: columns joined by |, rows by newline; null is NULL.
static inline void rows_text(struct engine_result *r, struct buf *out, struct err *err) {
    struct cols_batch *b;
    while ((b = engine_result_next(r, err)) != NULL) {
        if (cols_batch_check(b, err) != ERR_OK) fail_msg("%s", err->msg);
        for (size_t i = 0; i < b->n; i++) {
            if (out->n > 0) buf_puts(out, "\n");
            for (size_t j = 0; j < b->schema->n; j++) {
                if (j > 0) buf_puts(out, "|");
                if (cols_is_valid(&b->columns[j], i)) cols_value_text(&b->columns[j], i, out);
                else buf_puts(out, "NULL");
            }
        }
        cols_batch_free(b);
    }
}

static inline void expect_in(struct engine_session *s, const char *sql, const char *want) {
    struct err err = {0};
    struct buf out;
    buf_init(&out, 0);
    struct engine_result *r = NULL;
    if (engine_script(s, str_c(sql), &r, &err) == ERR_OK) rows_text(r, &out, &err);
    if (err.code != ERR_OK) fail_msg("%s\n failed: %s", sql, err.msg);
    if (strcmp(buf_cstr(&out), want) != 0) fail_msg("%s\n got:\n%s\n want:\n%s", sql, buf_cstr(&out), want);
    engine_result_free(r);
    buf_fini(&out);
}

static inline void run_in(struct engine_session *s, const char *sql) {
    struct err err = {0};
    if (engine_script(s, str_c(sql), NULL, &err) != ERR_OK) fail_msg("%s\n failed: %s", sql, err.msg);
}

static inline struct err fails_in(struct engine_session *s, const char *sql, enum err_code code) {
    struct err err = {0};
    if (engine_script(s, str_c(sql), NULL, &err) == ERR_OK) fail_msg("%s\n did not fail", sql);
    if (err.code != code) fail_msg("%s\n failed with %s: %s", sql, err_info(err.code)->name, err.msg);
    return err;
}

#endif
