// SPDX-License-Identifier: Apache-2.0
// `millrace_source(handle)`: a table function over batches that a program inside hands over one after the other (struct engine_source).
//
// next() is called by DuckDB's threads, under a lock unless the source says that it may run concurrently; filling the vectors runs beside it. A
// source is opened before and closed after the one statement that names its handle. Memory: a batch is freed when its rows were handed over
// (vectors hold copies of long strings). Errors of next() end the statement; source_error has the original.
#include <stdio.h>

#include "engine/internal.h"

struct source_handle {
    struct engine_source *source;
    struct sys_mutex mutex; // around next(), and the fields below
    bool ended;
    struct err err;
};

struct scan { // bind data
    struct source_handle *h;
};

struct global_state {
    size_t n_columns;
    idx_t columns[]; // projected
};

struct local_state {
    struct cols_batch *batch;
    size_t at;
};

static struct source_handle *find(struct engine *e, uint64_t handle) {
    char key[24];
    snprintf(key, sizeof key, "%llu", (unsigned long long)handle);
    sys_mutex_lock(&e->mutex);
    struct source_handle *h = map_getc(&e->sources, key);
    sys_mutex_unlock(&e->mutex);
    return h;
}

uint64_t source_open(struct engine *e, struct engine_source *source) {
    struct source_handle *h = MEM_NEW(struct source_handle);
    h->source = source;
    sys_mutex_init(&h->mutex);
    char key[24];
    sys_mutex_lock(&e->mutex);
    uint64_t handle = ++e->next_source;
    snprintf(key, sizeof key, "%llu", (unsigned long long)handle);
    map_put(&e->sources, str_c(key), h);
    sys_mutex_unlock(&e->mutex);
    return handle;
}

void source_close(struct engine *e, uint64_t handle) {
    char key[24];
    snprintf(key, sizeof key, "%llu", (unsigned long long)handle);
    sys_mutex_lock(&e->mutex);
    struct source_handle *h = map_remove(&e->sources, str_c(key));
    sys_mutex_unlock(&e->mutex);
    sys_mutex_fini(&h->mutex);
    mem_free(h);
}

enum err_code source_error(struct engine *e, uint64_t handle, struct err *err) {
    struct source_handle *h = find(e, handle);
    sys_mutex_lock(&h->mutex);
    enum err_code code = h->err.code;
    if (code != ERR_OK && err != NULL) err_copy(err, &h->err);
    sys_mutex_unlock(&h->mutex);
    return code;
}

// ---- the table function -----------------------------------------------------------------------------------------------------

static void source_bind(duckdb_bind_info info) {
    struct engine *e = duckdb_bind_get_extra_info(info);
    duckdb_value v = duckdb_bind_get_parameter(info, 0);
    struct source_handle *h = find(e, duckdb_get_uint64(v));
    duckdb_destroy_value(&v);
    if (h == NULL) {
        duckdb_bind_set_error(info, "millrace_source: no such source");
        return;
    }
    const struct cols_schema *schema = h->source->schema;
    for (size_t i = 0; i < schema->n; i++) {
        duckdb_logical_type t = type_to_duck(&schema->fields[i].type);
        duckdb_bind_add_result_column(info, schema->fields[i].name, t);
        duckdb_destroy_logical_type(&t);
    }
    struct scan *scan = MEM_NEW(struct scan);
    scan->h = h;
    duckdb_bind_set_bind_data(info, scan, mem_free);
}

static void source_init(duckdb_init_info info) {
    struct engine *e = duckdb_init_get_extra_info(info);
    idx_t n = duckdb_init_get_column_count(info);
    struct global_state *g = mem_zalloc(sizeof *g + n * sizeof *g->columns);
    g->n_columns = n;
    for (idx_t i = 0; i < n; i++) g->columns[i] = duckdb_init_get_column_index(info, i);
    duckdb_init_set_init_data(info, g, mem_free);
    duckdb_init_set_max_threads(info, (idx_t)e->threads);
}

static void free_local(void *p) {
    struct local_state *l = p;
    cols_batch_free(l->batch);
    mem_free(l);
}

static void source_local_init(duckdb_init_info info) { duckdb_init_set_init_data(info, MEM_NEW(struct local_state), free_local); }

// The next batch with rows; NULL: the end, or failed (h->err).
static struct cols_batch *take_batch(struct source_handle *h) {
    bool concurrent = h->source->concurrent;
    struct cols_batch *b = NULL;
    sys_mutex_lock(&h->mutex);
    while (!h->ended) {
        struct err err = {0};
        if (concurrent) sys_mutex_unlock(&h->mutex);
        b = h->source->next(h->source->self, &err);
        if (concurrent) sys_mutex_lock(&h->mutex);
        if (b == NULL) {
            if (err.code != ERR_OK && h->err.code == ERR_OK) err_copy(&h->err, &err);
            h->ended = true;
        } else if (b->n > 0) {
            break;
        }
        cols_batch_free(b);
        b = NULL;
    }
    sys_mutex_unlock(&h->mutex);
    return b;
}

static bool source_failed(struct source_handle *h, char *text, size_t size) {
    sys_mutex_lock(&h->mutex);
    bool failed = h->err.code != ERR_OK;
    if (failed) snprintf(text, size, "%s", h->err.msg);
    sys_mutex_unlock(&h->mutex);
    return failed;
}

static void source_scan(duckdb_function_info info, duckdb_data_chunk chunk) {
    struct scan *scan = duckdb_function_get_bind_data(info);
    struct global_state *g = duckdb_function_get_init_data(info);
    struct local_state *l = duckdb_function_get_local_init_data(info);
    if (l->batch == NULL) {
        l->batch = take_batch(scan->h);
        l->at = 0;
    }
    if (l->batch == NULL) {
        char text[ERR_MSG_MAX];
        if (source_failed(scan->h, text, sizeof text)) duckdb_function_set_error(info, text);
        duckdb_data_chunk_set_size(chunk, 0);
        return;
    }
    size_t n = l->batch->n - l->at, max = duckdb_vector_size();
    if (n > max) n = max;
    for (size_t i = 0; i < g->n_columns; i++)
        if (g->columns[i] < l->batch->schema->n) vector_fill(duckdb_data_chunk_get_vector(chunk, i), &l->batch->columns[g->columns[i]], l->at, n);
    duckdb_data_chunk_set_size(chunk, n);
    l->at += n;
    if (l->at == l->batch->n) {
        cols_batch_free(l->batch);
        l->batch = NULL;
    }
}

enum err_code source_register(struct engine *e, duckdb_connection con, struct err *err) {
    duckdb_table_function f = duckdb_create_table_function();
    duckdb_logical_type t = duckdb_create_logical_type(DUCKDB_TYPE_UBIGINT);
    duckdb_table_function_set_name(f, "millrace_source");
    duckdb_table_function_add_parameter(f, t);
    duckdb_destroy_logical_type(&t);
    duckdb_table_function_set_extra_info(f, e, NULL);
    duckdb_table_function_set_bind(f, source_bind);
    duckdb_table_function_set_init(f, source_init);
    duckdb_table_function_set_local_init(f, source_local_init);
    duckdb_table_function_set_function(f, source_scan);
    duckdb_table_function_supports_projection_pushdown(f, true);
    duckdb_state state = duckdb_register_table_function(con, f);
    duckdb_destroy_table_function(&f);
    return state == DuckDBSuccess ? ERR_OK : err_set(err, ERR_INTERNAL, "millrace_source cannot be registered");
}
