// SPDX-License-Identifier: Apache-2.0
// SQL tasks and the queries of Python tasks' hooks: a session each, on a worker. The loop cancels through x->session under x->mutex.
#include "flow/flow_int.h"

#include <stdio.h>

#include "base/log.h"
#include "engine/engine.h"

// ---- which connections are ours ------------------------------------------------------------------------------------------------
static bool is_loopback(const char *host) {
    return host == NULL || host[0] == '\0' || strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 || strncmp(host, "127.", 4) == 0;
}

enum err_code flow_sql_connection(struct flow *f, const char *conn_id, struct err *err) {
    if (conn_id == NULL) return err_set(err, ERR_INVALID, "a SQL task without conn_id");
    struct meta_stmt *st = meta_query(f->meta, err, "select type, host, schema from flow_connection where id = ?1", "s", conn_id);
    if (st == NULL) return err->code;
    enum err_code e = ERR_OK;
    int row = meta_step(st, err);
    if (row < 0) e = err->code;
    else if (row == 0)
        e = err_set(err, ERR_NOT_FOUND,
                    "connection '%s' is not defined: make it (type millrace, or postgres to this server), or use millrace_default", conn_id);
    else if (strcmp(meta_cstr(st, 0), "millrace") == 0) e = ERR_OK;
    else if (strcmp(meta_cstr(st, 0), "postgres") == 0 && is_loopback(meta_cstr(st, 1)) && (meta_is_null(st, 2) || str_eqc(meta_text(st, 2),
        "millrace"))) e = ERR_OK;
    else
        e = err_set(err, ERR_NOT_SUPPORTED,
                    "connection '%s' is of type '%s' to another server: SQL tasks run in Millrace itself only (type millrace, or postgres"
                    " on this machine to the database millrace)", conn_id,
                    meta_cstr(st, 0));
    meta_reset(st);
    return e;
}

// ---- running -------------------------------------------------------------------------------------------------------------------------
// Rows as a JSON array of arrays, at most `max`; *more = there were more. NULL = the query failed.
static bool rows_json(struct engine_result *r, size_t max, struct buf *out, bool *more, int64_t *n_rows, struct err *err) {
    *more = false;
    *n_rows = 0;
    buf_put_u8(out, '[');
    for (struct cols_batch *b; (b = engine_result_next(r, err)) != NULL; cols_batch_free(b)) {
        for (size_t i = 0; i < b->n; i++) {
            if ((size_t)*n_rows < max && !*more) {
                buf_puts(out, *n_rows > 0 ? ",[" : "[");
                for (size_t c = 0; c < b->schema->n; c++) {
                    if (c > 0) buf_put_u8(out, ',');
                    cols_value_json(&b->columns[c], i, out);
                }
                buf_put_u8(out, ']');
                if (out->failed) *more = true;
            } else {
                *more = true;
            }
            ++*n_rows;
        }
    }
    buf_put_u8(out, ']');
    return err->code == ERR_OK;
}

static void sql_work(void *arg) { // on a worker
    struct fexec *x = arg;
    struct err err = {0};
    struct engine_session *s = NULL;
    struct engine_result *r = NULL;
    x->code = flow_sql_connection(x->f, json_get_cstr(x->fields, "conn_id", NULL), &err);
    if (x->code == ERR_OK && x->f->engine == NULL) x->code = err_set(&err, ERR_NOT_SUPPORTED, "this process has no SQL engine");
    if (x->code == ERR_OK && (s = engine_session_open(x->f->engine, &err)) == NULL) x->code = err.code;
    if (s != NULL) {
        sys_mutex_lock(&x->mutex);
        bool cancelled = x->cancelled;
        x->session = s;
        sys_mutex_unlock(&x->mutex);
        x->code = cancelled ? err_set(&err, ERR_CANCELLED, "cancelled") : engine_script(s, str_c(x->sql), &r, &err);
        if (x->code == ERR_OK && r != NULL) {
            struct buf b;
            buf_init(&b, FLOW_XCOM_MAX);
            bool more = false;
            int64_t n = 0;
            if (!rows_json(r, FLOW_RESULT_ROWS, &b, &more, &n, &err)) x->code = err.code;
            flow_exec_log(x, "INFO", "%s: %lld rows", engine_result_tag(r), (long long)(engine_result_is_rows(r) ? n : engine_result_affected(r)));
            if (more) flow_exec_log(x, "WARNING", "the result has more than %d rows or %d bytes: it is not pushed to XCom", FLOW_RESULT_ROWS,
                                    FLOW_XCOM_MAX);
            else if (engine_result_is_rows(r)) x->result_json = mem_strdup(buf_cstr(&b));
            buf_fini(&b);
        }
        engine_result_free(r);
        sys_mutex_lock(&x->mutex);
        x->session = NULL;
        sys_mutex_unlock(&x->mutex);
        engine_session_close(s);
    }
    if (x->code != ERR_OK) x->error = err.position > 0 ? mem_printf("%s (at character %d)", err.msg, err.position) : mem_strdup(err.msg);
}

static void push_result(struct fexec *x) {
    const char *fetch = json_get_cstr(json_object_get(x->ti->task->json, "args"), "fetch", "all");
    if (!x->ti->task->xcom_push || x->result_json == NULL || strcmp(fetch, "none") == 0) return;
    if (strcmp(fetch, "all") == 0) {
        flow_op_xcom(x->f, x->run->id, x->ti->task->id, "return_value", x->result_json);
        return;
    }
    json_t *rows = json_parse(str_c(x->result_json), NULL);
    if (json_array_size(rows) > 0) {
        struct arena a;
        arena_init(&a);
        flow_op_xcom(x->f, x->run->id, x->ti->task->id, "return_value", json_text(json_array_get(rows, 0), JSON_COMPACT, &a).p);
        arena_fini(&a);
    }
    json_decref(rows);
}

static void sql_done(void *arg) {
    struct fexec *x = arg;
    struct foutcome o = {.state = FLOW_TI_SUCCESS};
    if (x->ti != NULL && x->code != ERR_OK) {
        flow_exec_log(x, "ERROR", "%s", x->error);
        o = (struct foutcome){.state = FLOW_TI_FAILED, .error = x->timed_out ? "execution_timeout is over" : x->error};
    } else if (x->ti != NULL) {
        push_result(x);
    }
    flow_exec_outcome(x, &o);
}

// The text of the field: a string, or a list of statements.
static char *sql_text(const json_t *v) {
    struct buf b;
    buf_init(&b, FLOW_FILE_MAX);
    size_t i;
    json_t *s;
    buf_put_str(&b, json_str(v));
    json_array_foreach(v, i, s) {
        buf_put_str(&b, json_str(s));
        buf_puts(&b, ";\n");
    }
    char *text = mem_strdup(buf_cstr(&b));
    buf_fini(&b);
    return text;
}

void flow_sql_start(struct fexec *x) {
    struct err err = {0};
    x->sql = sql_text(json_object_get(x->fields, "sql"));
    flow_exec_log(x, "INFO", "Running statement: %s", x->sql);
    if (pool_submit_then(x->f->pool, sql_work, x, x->f->loop, sql_done, &err) == ERR_OK) return;
    flow_exec_log(x, "ERROR", "%s", err.msg);
    flow_exec_outcome(x, &(struct foutcome){.state = FLOW_TI_FAILED, .error = err.msg});
}

// ---- queries of Python tasks ------------------------------------------------------------------------------------------------------------
struct sqlcall {
    struct flow *f;
    int64_t py_id, seq;
    char *conn_id, *sql;
    struct buf json;
    struct err err;
};

static void call_work(void *arg) {
    struct sqlcall *c = arg;
    struct engine_result *r = NULL;
    if (flow_sql_connection(c->f, c->conn_id, &c->err) != ERR_OK) return;
    if (c->f->engine == NULL) {
        err_set(&c->err, ERR_NOT_SUPPORTED, "this process has no SQL engine");
        return;
    }
    struct engine_session *s = engine_session_open(c->f->engine, &c->err);
    if (s == NULL) return;
    if (engine_script(s, str_c(c->sql), &r, &c->err) == ERR_OK) {
        bool more = false;
        int64_t n = 0;
        buf_puts(&c->json, "{\"columns\":[");
        const struct cols_schema *schema = r != NULL ? engine_result_schema(r) : NULL;
        for (size_t i = 0; schema != NULL && i < schema->n; i++) {
            if (i > 0) buf_put_u8(&c->json, ',');
            json_put_str(&c->json, str_c(schema->fields[i].name));
        }
        buf_puts(&c->json, "],\"rows\":");
        if (r == NULL) buf_puts(&c->json, "[]");
        else if (rows_json(r, FLOW_CALL_ROWS, &c->json, &more, &n, &c->err) && more)
            err_set(&c->err, ERR_TOO_LARGE, "the query has more than %d rows or too many bytes for a task", FLOW_CALL_ROWS);
        buf_puts(&c->json, "}");
    }
    engine_result_free(r);
    engine_session_close(s);
}

static void call_done(void *arg) {
    struct sqlcall *c = arg;
    json_t *v = c->err.code == ERR_OK ? json_parse(buf_str(&c->json), &c->err) : NULL;
    flow_python_reply(c->f, c->py_id, c->seq, v, c->err.code == ERR_OK ? NULL : c->err.msg);
    mem_free(c->conn_id);
    mem_free(c->sql);
    buf_fini(&c->json);
    mem_free(c);
}

void flow_sql_call(struct flow *f, int64_t py_id, int64_t seq, const char *conn_id, const char *sql) {
    struct sqlcall *c = MEM_NEW(struct sqlcall);
    c->f = f;
    c->py_id = py_id;
    c->seq = seq;
    c->conn_id = mem_strdup(conn_id);
    c->sql = mem_strdup(sql);
    buf_init(&c->json, 16 << 20);
    if (pool_submit_then(f->pool, call_work, c, f->loop, call_done, &c->err) != ERR_OK) call_done(c);
}
