// SPDX-License-Identifier: Apache-2.0
// Parquet for the lake's checkpoints: the lake says what to read and write in SQL, the engine runs it on a connection of its own.
//
// Called by the lake from any thread that may block, also while a session is committing. Nothing is kept between calls.
#include "engine/internal.h"

static enum err_code checkpoint_run(void *self, struct str sql, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    struct engine *e = self;
    struct engine_session *s = session_open(e, true, err);
    if (s == NULL) return err->code;
    char *text = mem_strndup(sql.p, sql.n);
    enum err_code code = duck_run(s->con, text, err);
    mem_free(text);
    engine_session_close(s);
    return code;
}

static enum err_code give_rows(struct engine_result *r, lake_text_fn *row, void *arg, struct err *err) {
    struct cols_batch *b;
    enum err_code code = ERR_OK;
    while (code == ERR_OK && (b = engine_result_next(r, err)) != NULL) {
        if (b->schema->n != 1 || b->schema->fields[0].type.kind != COLS_STRING)
            code = err_set(err, ERR_INTERNAL, "a checkpoint query yields no text");
        for (size_t i = 0; i < b->n && code == ERR_OK; i++)
            if (cols_is_valid(&b->columns[0], i)) code = row(arg, cols_str(&b->columns[0], i), err);
        cols_batch_free(b);
    }
    return code != ERR_OK ? code : err->code;
}

static enum err_code checkpoint_rows(void *self, struct str sql, lake_text_fn *row, void *arg, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    err_clear(err);
    struct engine_session *s = session_open(self, true, err);
    if (s == NULL) return err->code;
    char *text = mem_strndup(sql.p, sql.n);
    struct rewritten plain = {.text = str_c(text)};
    struct engine_result *r = result_stream(s, &plain, NULL, 0, NULL, err);
    enum err_code code = r != NULL ? give_rows(r, row, arg, err) : err->code;
    engine_result_free(r);
    mem_free(text);
    engine_session_close(s);
    return code;
}

void checkpoint_register(struct engine *e) {
    struct lake_parquet p = {.self = e, .run = checkpoint_run, .rows = checkpoint_rows};
    lake_set_parquet(e->lake, &p);
}
