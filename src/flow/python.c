// SPDX-License-Identifier: Apache-2.0
// The link to the warm interpreter (python/millrace_worker): frames of JSON over its standard input and output. Answers are handled on the
// loop; commands are written by a thread of their own, since a pipe may be full. It is started by the first job (a DAG file to read, a task, a
// template): who has none pays for none. When the interpreter ends, what it ran has failed, and it is started again after a second.
#include "flow/flow_int.h"

#include <stdio.h>

#include "base/log.h"

enum { HOPELESS = 4 }; // starts in a row that failed: then what needs Python fails at once
enum { SEND_MAX = 4096 }; // messages that wait; more are a bug or a dead interpreter: they are refused

struct pylink {
    struct flow *f;
    struct sys_proc proc;
    struct loop_watch out_watch, err_watch;
    struct loop_timer restart;
    struct buf in;
    bool err_open;
    char last_words[400]; // the last line on its standard error
    bool running, ready, stopping;
    int64_t started_us;
    int fails;
    struct sys_thread *writer;
    struct sys_mutex mutex; // of what follows: shared with the writer
    struct sys_cond more;
    VEC(struct buf) queue;
    bool writer_stop;
};

// ---- writing --------------------------------------------------------------------------------------------------------------------
static void write_frame(int fd, const struct buf *b) {
    for (size_t at = 0; at < b->n;) {
        int64_t n = sys_fd_write(fd, b->p + at, b->n - at, NULL);
        if (n <= 0) return; // it has ended: the loop will see that too
        at += (size_t)n;
    }
}

static void writer_run(void *arg) {
    struct pylink *l = arg;
    for (;;) {
        sys_mutex_lock(&l->mutex);
        while (l->queue.n == 0 && !l->writer_stop) sys_cond_wait(&l->more, &l->mutex);
        if (l->writer_stop) {
            sys_mutex_unlock(&l->mutex);
            return;
        }
        struct buf b = l->queue.p[0];
        vec_remove(&l->queue, 0);
        sys_mutex_unlock(&l->mutex);
        write_frame(l->proc.stdin_fd, &b);
        buf_fini(&b);
    }
}

static void start_or_say(struct pylink *l);

// Not started yet, and nothing failed: the first job starts it.
static bool idle(const struct pylink *l) { return !l->running && l->fails == 0 && !l->stopping; }

void flow_python_send(struct flow *f, json_t *m) {
    struct pylink *l = f->py;
    struct buf b;
    buf_init(&b, FLOW_FRAME_MAX);
    buf_put_be32(&b, 0);
    json_write(m, JSON_COMPACT, &b);
    buf_set_be32(&b, 0, (uint32_t)(b.n - 4));
    const char *op = json_get_cstr(m, "op", "");
    bool job = strcmp(op, "run") == 0 || strcmp(op, "render") == 0 || strcmp(op, "parse") == 0;
    bool sent = false;
    if (job && l != NULL && idle(l)) start_or_say(l);
    if (l != NULL && !b.failed && (l->running || (job && l->fails < HOPELESS))) { // jobs wait for an interpreter that is being started again
        sys_mutex_lock(&l->mutex);
        if (l->queue.n < SEND_MAX) {
            vec_add(&l->queue, b);
            sent = true;
            sys_cond_signal(&l->more);
        }
        sys_mutex_unlock(&l->mutex);
    }
    int64_t id = json_get_i64(m, "id", 0);
    json_decref(m);
    if (sent) return;
    buf_fini(&b);
    if (!job) return;
    struct fexec *x = flow_exec_find(f, id);
    if (x == NULL) return; // a parse: looked at again when the interpreter is there
    flow_exec_log(x, "ERROR", "the Python interpreter is not running: %s", f->problem[0] != '\0' ? f->problem : "it is being started again");
    x->python = false;
    flow_exec_outcome(x, &(struct foutcome){.state = FLOW_TI_FAILED, .lost = true, .error = "the Python interpreter is not running"});
}

void flow_python_reply(struct flow *f, int64_t id, int64_t seq, json_t *value, const char *error) {
    json_t *m = json_object();
    json_object_set_new(m, "op", json_string("reply"));
    json_object_set_new(m, "id", json_integer(id));
    json_object_set_new(m, "seq", json_integer(seq));
    json_object_set_new(m, "ok", json_boolean(error == NULL));
    if (error != NULL) json_object_set_new(m, "error", json_of_str(str_c(error)));
    json_object_set_new(m, "value", value != NULL ? value : json_null());
    flow_python_send(f, m);
}

// ---- calls of tasks ----------------------------------------------------------------------------------------------------------------
struct pycall {
    struct flow *f;
    struct fexec *x; // NULL: a parse
    const json_t *args;
    int64_t id, seq;
};

static void reply_row_text(struct pycall *c, const char *sql, const char *a) {
    struct err err = {0};
    struct meta_stmt *st = meta_query(c->f->meta, &err, sql, "s", a);
    json_t *v = NULL;
    if (st != NULL && meta_step(st, &err) == 1 && !meta_is_null(st, 0)) v = json_of_str(meta_text(st, 0));
    meta_reset(st);
    flow_python_reply(c->f, c->id, c->seq, v, err.code == ERR_OK ? NULL : err.msg);
}

static void flush_if_pending(struct flow *f) { // a reader must see what was pushed a moment ago
    if (f->ops.n > 0 || f->dirty_runs.n > 0) flow_store_flush(f, &(struct err){0});
}

static void call_xcom_get(struct pycall *c) {
    flush_if_pending(c->f);
    struct err err = {0};
    struct meta_stmt *st = meta_query(c->f->meta, &err,
                                      "select x.value from flow_xcom x join flow_run r on r.id = x.run where r.dag_id = ?1 and r.run_id ="
                                      " ?2 and x.task_id = ?3"
                                      " and x.key = ?4",
                                      "ssss", json_get_cstr(c->args, "dag_id", ""), json_get_cstr(c->args, "run_id", ""),
                                      json_get_cstr(c->args, "task_id", ""), json_get_cstr(c->args, "key", ""));
    json_t *v = NULL;
    if (st != NULL && meta_step(st, &err) == 1) v = json_of_str(meta_text(st, 0));
    meta_reset(st);
    flow_python_reply(c->f, c->id, c->seq, v, err.code == ERR_OK ? NULL : err.msg);
}

static void call_xcom_set(struct pycall *c) {
    struct str value = json_get_str(c->args, "value");
    if (value.n > FLOW_XCOM_MAX) {
        flow_python_reply(c->f, c->id, c->seq, NULL, "the XCom value is larger than 4 MiB: write it to a table or a file and push its name");
        return;
    }
    if (c->x != NULL && c->x->ti != NULL) {
        flow_op_xcom(c->f, c->x->run->id, c->x->ti->task->id, json_get_cstr(c->args, "key", ""), value.p);
        flow_touch(c->f);
    }
    flow_python_reply(c->f, c->id, c->seq, NULL, NULL);
}

static void call_var_get(struct pycall *c) { reply_row_text(c, "select value from flow_variable where key = ?1", json_get_cstr(c->args, "key", "")); }

static void call_var_set(struct pycall *c) {
    struct err err = {0};
    meta_do(c->f->meta, &err, "insert or replace into flow_variable values (?1, ?2, ?3)", "sss", json_get_cstr(c->args, "key", ""),
            json_get_cstr(c->args, "value", ""), json_get_cstr(c->args, "description", NULL));
    flow_python_reply(c->f, c->id, c->seq, NULL, err.code == ERR_OK ? NULL : err.msg);
}

static void call_var_delete(struct pycall *c) {
    struct err err = {0};
    meta_do(c->f->meta, &err, "delete from flow_variable where key = ?1", "s", json_get_cstr(c->args, "key", ""));
    flow_python_reply(c->f, c->id, c->seq, NULL, err.code == ERR_OK ? NULL : err.msg);
}

static void call_conn_get(struct pycall *c) {
    static const char *const names[] = {"conn_id", "conn_type", "host", "login", "password", "schema", "extra", "description"};
    struct err err = {0};
    struct meta_stmt *st = meta_query(c->f->meta, &err,
                                      "select id, type, host, login, password, schema, extra, description, port from flow_connection where id = ?1",
                                      "s", json_get_cstr(c->args, "conn_id", ""));
    json_t *v = NULL;
    if (st != NULL && meta_step(st, &err) == 1) {
        v = json_object();
        for (int i = 0; i < 8; i++) json_object_set_new(v, names[i], meta_is_null(st, i) ? json_null() : json_of_str(meta_text(st, i)));
        json_object_set_new(v, "port", meta_is_null(st, 8) ? json_null() : json_integer(meta_int(st, 8)));
    }
    meta_reset(st);
    flow_python_reply(c->f, c->id, c->seq, v, err.code == ERR_OK ? NULL : err.msg);
}

static void call_sql(struct pycall *c) {
    flow_sql_call(c->f, c->id, c->seq, json_get_cstr(c->args, "conn_id", ""), json_get_cstr(c->args, "sql", ""));
}

static void call_task_states(struct pycall *c) {
    json_t *o = json_object(), *want = json_object_get(c->args, "task_ids"), *w;
    for (size_t i = 0; c->x != NULL && c->x->ti != NULL && i < c->x->run->version->n; i++) {
        const struct fti *t = &c->x->run->tis[i];
        bool wanted = !json_is_array(want);
        size_t k;
        json_array_foreach(want, k, w) wanted = wanted || str_eqc(json_str(w), t->task->id);
        if (wanted) json_object_set_new(o, t->task->id, t->state == FLOW_TI_NONE ? json_null() : json_string(flow_ti_state_name(t->state)));
    }
    flow_python_reply(c->f, c->id, c->seq, o, NULL);
}

static void call_prev_success(struct pycall *c) {
    static const char *const names[] = {"interval_start_us", "interval_end_us", "start_us", "end_us"};
    json_t *o = json_object();
    struct err err = {0};
    if (c->x != NULL && c->x->run->logical_us != FLOW_NO_TIME) {
        struct meta_stmt *st = meta_query(c->f->meta, &err,
                                          "select interval_start_us, interval_end_us, start_us, end_us from flow_run where dag_id = ?1 and"
                                          " state = 'success'"
                                          " and logical_us < ?2 order by logical_us desc limit 1",
                                          "si", c->x->run->dag->dag_id, c->x->run->logical_us);
        if (st != NULL && meta_step(st, &err) == 1)
            for (int i = 0; i < 4; i++) json_object_set_new(o, names[i], meta_is_null(st, i) ? json_null() : json_integer(meta_int(st, i)));
        meta_reset(st);
    }
    flow_python_reply(c->f, c->id, c->seq, o, err.code == ERR_OK ? NULL : err.msg);
}

static const struct {
    const char *name;
    void (*fn)(struct pycall *c);
} calls[] = {
    {"xcom_get", call_xcom_get}, {"xcom_set", call_xcom_set}, {"var_get", call_var_get}, {"var_set", call_var_set}, {"var_delete", call_var_delete},
    {"conn_get", call_conn_get}, {"sql", call_sql}, {"task_states", call_task_states}, {"prev_success", call_prev_success},
};

static void on_call(struct flow *f, const json_t *m) {
    int64_t id = json_get_i64(m, "id", 0);
    struct pycall c = {f, flow_exec_find(f, id), json_object_get(m, "args"), id, json_get_i64(m, "seq", 0)};
    const char *method = json_get_cstr(m, "method", "");
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (strcmp(calls[i].name, method) == 0) {
            calls[i].fn(&c);
            return;
        }
    flow_python_reply(f, id, c.seq, NULL, "the server does not know this call");
}

// ---- outcomes ----------------------------------------------------------------------------------------------------------------------
static void take_xcoms(struct fexec *x, const json_t *list) {
    size_t i;
    json_t *pair;
    json_array_foreach(list, i, pair) {
        struct str key = json_str(json_array_get(pair, 0)), value = json_str(json_array_get(pair, 1));
        if (key.p != NULL && value.p != NULL && value.n <= FLOW_XCOM_MAX) flow_op_xcom(x->f, x->run->id, x->ti->task->id, key.p, value.p);
        else flow_exec_log(x, "WARNING", "an XCom value larger than 4 MiB was not kept");
    }
}

// What a branch skips: kept with the task, and done at once where the task is waiting.
static void take_skips(struct fexec *x, const json_t *list) {
    struct fti *ti = x->ti;
    if (json_array_size(list) == 0) return;
    struct arena a;
    arena_init(&a);
    mem_free(ti->skips);
    ti->skips = mem_strdup(json_text(list, JSON_COMPACT, &a).p);
    arena_fini(&a);
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        const struct ftask *t = flow_version_task(x->run->version, json_string_value(v) != NULL ? json_string_value(v) : "");
        if (t != NULL && x->run->tis[t->index].state == FLOW_TI_NONE) flow_ti_finish(x->f, &x->run->tis[t->index], FLOW_TI_SKIPPED);
    }
}

static void take_rendered(struct fexec *x, const json_t *fields) {
    if (!json_is_object(fields)) return;
    struct arena a;
    arena_init(&a);
    struct str text = json_text(fields, JSON_COMPACT, &a);
    mem_free(x->ti->rendered);
    x->ti->rendered = text.n <= 256 * 1024 ? mem_strndup(text.p, text.n) : mem_strdup("{}");
    arena_fini(&a);
}

static void render_done(struct fexec *x, const json_t *o) {
    x->python = false;
    x->log_size = (uint64_t)(x->log != NULL ? sys_file_size(x->log, NULL) : 0); // the child has written too
    if (strcmp(json_get_cstr(o, "state", ""), "success") != 0) {
        flow_exec_outcome(x, &(struct foutcome){.state = FLOW_TI_FAILED, .error = json_get_cstr(o, "error", "the templates could not be rendered")});
        return;
    }
    x->fields = json_incref(json_object_get(o, "fields"));
    if (x->ti != NULL) flow_exec_run_rendered(x);
    else flow_exec_outcome(x, &(struct foutcome){.state = FLOW_TI_FAILED});
}

static void on_done(struct flow *f, const json_t *m) {
    const json_t *o = json_object_get(m, "outcome");
    int64_t id = json_get_i64(m, "id", 0);
    struct fexec *x = flow_exec_find(f, id);
    if (x == NULL) {
        flow_scan_parsed(f, id, o);
        return;
    }
    if (x->kind != FLOW_KIND_PYTHON) {
        render_done(x, o);
        return;
    }
    x->python = false;
    x->log_size = (uint64_t)(x->log != NULL ? sys_file_size(x->log, NULL) : 0);
    const char *state = json_get_cstr(o, "state", "failed");
    struct foutcome out = {.state = FLOW_TI_FAILED, .error = json_get_cstr(o, "error", NULL), .no_retry = json_get_bool(o, "no_retry", false),
                           .lost = json_get_bool(o, "crashed", false)};
    if (out.lost && x->ti != NULL) flow_exec_log(x, "ERROR", "Task failed: %s", out.error);
    if (x->ti != NULL) take_rendered(x, json_object_get(o, "rendered"));
    if (strcmp(state, "skipped") == 0) out.state = FLOW_TI_SKIPPED;
    if (strcmp(state, "reschedule") == 0) {
        out.state = FLOW_TI_UP_FOR_RESCHEDULE;
        out.at_us = json_get_i64(o, "at_us", flow_now(f));
    }
    if (strcmp(state, "success") == 0) {
        out.state = FLOW_TI_SUCCESS;
        if (x->ti != NULL) {
            take_xcoms(x, json_object_get(o, "xcoms"));
            take_skips(x, json_object_get(o, "skip"));
        }
    }
    flow_exec_outcome(x, &out);
}

static void on_frame(struct pylink *l, struct str text) {
    struct flow *f = l->f;
    struct err err = {0};
    json_t *m = json_parse(text, &err);
    const char *op = json_get_cstr(m, "op", "");
    if (m == NULL) {
        log_error("flow", "the Python side sent what is no JSON", "error", err.msg, NULL);
    } else if (strcmp(op, "ready") == 0) {
        l->ready = true;
        f->problem[0] = '\0';
        log_info("flow", "Python is ready", "version", json_get_cstr(m, "python", "?"), "after_ms",
                 log_i64((sys_mono_us(f->sys) - l->started_us) / 1000), NULL);
    } else if (strcmp(op, "started") == 0) {
        struct fexec *x = flow_exec_find(f, json_get_i64(m, "id", 0));
        if (x != NULL && x->ti != NULL) x->ti->pid = json_get_i64(m, "pid", 0);
    } else if (strcmp(op, "call") == 0) {
        on_call(f, m);
    } else if (strcmp(op, "done") == 0) {
        on_done(f, m);
    }
    json_decref(m);
}

// ---- the process -------------------------------------------------------------------------------------------------------------------
static void link_lost(struct pylink *l, const char *why);

static void on_output(struct loop_watch *w, int events) {
    (void)events;
    struct pylink *l = w->arg;
    char p[65536];
    struct err err = {0};
    int64_t n = sys_fd_read(l->proc.stdout_fd, p, sizeof p, &err);
    if (n < 0 && err.code == ERR_BUSY) return;
    if (n <= 0) {
        link_lost(l, "it has ended");
        return;
    }
    buf_put(&l->in, p, (size_t)n);
    size_t at = 0;
    while (l->running && l->in.n - at >= 4) {
        struct rd r = rd_of(l->in.p + at, 4);
        size_t len = rd_be32(&r);
        if (len > FLOW_FRAME_MAX) {
            link_lost(l, "it sent a message that is too large");
            return;
        }
        if (l->in.n - at < 4 + len) break;
        on_frame(l, str_n(l->in.p + at + 4, len));
        at += 4 + len;
    }
    buf_consume(&l->in, at);
}

static void close_stderr(struct pylink *l) {
    if (!l->err_open) return;
    l->err_open = false;
    loop_unwatch(l->f->loop, &l->err_watch);
    sys_fd_close(l->proc.stderr_fd);
}

static void read_stderr(struct pylink *l) {
    char p[4096];
    int64_t n;
    struct err err = {0};
    while ((n = sys_fd_read(l->proc.stderr_fd, p, sizeof p, &err)) > 0)
        for (struct str line, rest = str_n(p, (size_t)n); rest.n > 0;) {
            bool cut = str_cut(rest, '\n', &line, &rest);
            line = str_trim(line);
            if (line.n == 0) continue;
            snprintf(l->last_words, sizeof l->last_words, STR_FMT, STR_ARG(str_n(line.p, line.n < 399 ? line.n : 399)));
            log_warn("flow", "Python", "says", l->last_words, NULL);
            if (!cut) break;
        }
    if (n == 0 || err.code != ERR_BUSY) close_stderr(l);
}

static void on_stderr(struct loop_watch *w, int events) {
    (void)events;
    read_stderr(w->arg);
}

static void end_process(struct pylink *l) {
    if (!l->running) return;
    l->running = l->ready = false;
    loop_unwatch(l->f->loop, &l->out_watch);
    if (l->err_open) read_stderr(l);
    close_stderr(l);
    sys_mutex_lock(&l->mutex);
    l->writer_stop = true;
    sys_cond_signal(&l->more);
    sys_mutex_unlock(&l->mutex);
    sys_proc_kill(&l->proc, 9); // before the join: a writer that is stuck in a full pipe gets free
    sys_proc_wait(&l->proc, NULL, NULL);
    sys_thread_join(l->writer);
    sys_fd_close(l->proc.stdin_fd);
    sys_fd_close(l->proc.stdout_fd);
    for (size_t i = 0; i < l->queue.n; i++) buf_fini(&l->queue.p[i]);
    l->queue.n = 0;
    buf_clear(&l->in);
}

static void restart(void *arg) { start_or_say(arg); }

static void link_lost(struct pylink *l, const char *why) {
    struct flow *f = l->f;
    bool was_ready = l->ready;
    end_process(l);
    if (l->stopping) return;
    l->fails = was_ready ? 1 : l->fails + 1;
    snprintf(f->problem, sizeof f->problem, "the Python interpreter (%s -m millrace_worker): %s: %s", f->python, why, l->last_words);
    log_error("flow", "Python is lost", "why", why, "restart", log_i64(l->fails), NULL);
    for (size_t i = f->execs.n; i-- > 0;) {
        if (i >= f->execs.n) continue;
        struct fexec *x = f->execs.p[i];
        if (!x->python) continue;
        x->python = false;
        flow_exec_log(x, "ERROR", "the Python interpreter has ended");
        flow_exec_outcome(x, &(struct foutcome){.state = FLOW_TI_FAILED, .lost = true, .error = "the Python interpreter has ended"});
    }
    flow_scan_python_lost(f);
    int64_t delay = l->fails > 5 ? 60 * 1000000LL : 1000000LL * l->fails;
    loop_timer_set(f->loop, &l->restart, delay, restart, l);
}

static enum err_code start(struct pylink *l, struct err *err) {
    struct flow *f = l->f;
    struct arena a;
    arena_init(&a);
    const char *argv[16];
    size_t n = 0;
    argv[n++] = "env";
    argv[n++] = arena_printf(&a, "PYTHONPATH=%s", f->python_dir);
    argv[n++] = "PYTHONDONTWRITEBYTECODE=1";
    argv[n++] = arena_printf(&a, "MILLRACE_DAGS=%s", f->dags_dir);
    argv[n++] = arena_printf(&a, "MILLRACE_DATA=%s", f->data_dir);
    if (f->addresses != NULL) argv[n++] = arena_printf(&a, "MILLRACE_ADDRESSES=%s", f->addresses);
    if (f->api_url != NULL) argv[n++] = arena_printf(&a, "MILLRACE_URL=%s", f->api_url);
    argv[n++] = f->python;
    argv[n++] = "-s";
    argv[n++] = "-m";
    argv[n++] = "millrace_worker";
    argv[n] = NULL;
    l->started_us = sys_mono_us(f->sys);
    enum err_code e = sys_spawn(f->sys, argv, NULL, NULL,
                                SYS_SPAWN_STDIN | SYS_SPAWN_STDOUT | SYS_SPAWN_STDERR | SYS_SPAWN_GROUP | SYS_SPAWN_DIE_WITH_ME, &l->proc, err);
    arena_fini(&a);
    if (e != ERR_OK) return e;
    l->running = l->err_open = true;
    l->writer_stop = false;
    l->last_words[0] = '\0';
    l->writer = sys_thread_start("flow-python", writer_run, l);
    e = loop_watch_fd(f->loop, &l->err_watch, l->proc.stderr_fd, SYS_EV_READ, on_stderr, l, err);
    return e != ERR_OK ? e : loop_watch_fd(f->loop, &l->out_watch, l->proc.stdout_fd, SYS_EV_READ, on_output, l, err);
}

static void start_or_say(struct pylink *l) {
    struct err err = {0};
    if (start(l, &err) == ERR_OK) return;
    snprintf(l->f->problem, sizeof l->f->problem, "%s", err.msg);
    log_error("flow", "Python cannot be started", "error", err.msg, NULL);
    if (l->fails < HOPELESS) l->fails = HOPELESS; // further jobs fail at once
}

enum err_code flow_python_open(struct flow *f, struct err *err) {
    if (f->python_dir == NULL) return err_set(err, ERR_CONFIG, "no folder of Python packages: DAG files are not read");
    struct pylink *l = f->py = MEM_NEW(struct pylink);
    l->f = f;
    sys_mutex_init(&l->mutex);
    sys_cond_init(&l->more);
    buf_init(&l->in, FLOW_FRAME_MAX + (1 << 20));
    return ERR_OK;
}

bool flow_python_ok(const struct flow *f) { return f->py != NULL && (f->py->ready || idle(f->py)); }

void flow_python_stop(struct flow *f) {
    struct pylink *l = f->py;
    if (l == NULL) return;
    l->stopping = true;
    loop_timer_cancel(f->loop, &l->restart);
    end_process(l);
    vec_fini(&l->queue);
    buf_fini(&l->in);
    sys_mutex_fini(&l->mutex);
    sys_cond_fini(&l->more);
    mem_free(l);
    f->py = NULL;
}
