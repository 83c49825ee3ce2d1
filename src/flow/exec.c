// SPDX-License-Identifier: Apache-2.0
// Executions: one try of one task, from launch to outcome; its log file; what Python is told about it. The loop's thread. An execution whose
// task was cleared or ended from outside loses its task (x->ti = NULL) and only cleans up when its process or query has ended.
#include "flow/flow_int.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metrics.h"
#include "codec/digest.h"
#include "engine/engine.h"

static const uint64_t LOG_MAX = 256ULL << 20; // bytes of one try's log

// ---- logs --------------------------------------------------------------------------------------------------------------------
char *flow_log_path(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, int try_number) {
    return mem_printf("%s/tasklogs/dag_id=%s/run_id=%s/task_id=%s/attempt=%d.log", f->data_dir, dag_id, run_id, task_id, try_number);
}

static void make_parents(struct flow *f, char *path) { // no sync: a log may be lost with the power
    for (char *p = path + strlen(f->data_dir) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        sys_mkdir(f->sys, path, NULL);
        *p = '/';
    }
}

// A SQL task's worker logs too.
void flow_exec_append(struct fexec *x, const void *p, size_t n) {
    static const char cut[] = "\n--- the log has reached its maximum of 256 MiB; the rest is dropped ---\n";
    sys_mutex_lock(&x->mutex);
    if (x->log != NULL && x->log_size + n <= LOG_MAX) {
        if (sys_pwrite(x->log, p, n, x->log_size, NULL) == ERR_OK) x->log_size += n;
    } else if (x->log != NULL && x->log_size <= LOG_MAX) {
        sys_pwrite(x->log, cut, sizeof cut - 1, x->log_size, NULL);
        x->log_size = LOG_MAX + 1;
    }
    sys_mutex_unlock(&x->mutex);
}

void flow_exec_log(struct fexec *x, const char *level, const char *fmt, ...) {
    char iso[40];
    flow_iso(flow_now(x->f), iso);
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "[%.19s.%03d+0000] {millrace} %s - ", iso, iso[19] == '.' ? (iso[20] - '0') * 100 + (iso[21] - '0') * 10 + (iso[22] - '0') : 0,
               level);
    va_list ap;
    va_start(ap, fmt);
    char text[4096];
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_puts(&b, text);
    buf_put_u8(&b, '\n');
    flow_exec_append(x, b.p, b.n);
    buf_fini(&b);
}

static void open_log(struct fexec *x) {
    struct err err = {0};
    make_parents(x->f, x->log_path);
    bool again = x->ti->reschedules > 0; // the same try goes on
    x->log = sys_open(x->f->sys, x->log_path, SYS_WRITE | SYS_CREATE | (again ? 0 : SYS_TRUNCATE), &err);
    if (x->log == NULL) log_warn("flow", "task has no log file", "path", x->log_path, "error", err.msg, NULL);
    int64_t size = x->log == NULL ? 0 : sys_file_size(x->log, NULL);
    x->log_size = size > 0 ? (uint64_t)size : 0;
}

// ---- context -------------------------------------------------------------------------------------------------------------------
static void set_time(json_t *o, const char *key, int64_t us) { json_object_set_new(o, key, us == FLOW_NO_TIME ? json_null() : json_integer(us)); }

json_t *flow_run_context(const struct frun *r) {
    json_t *o = json_object();
    json_object_set_new(o, "dag_id", json_of_str(str_c(r->dag->dag_id)));
    json_object_set_new(o, "run_id", json_of_str(str_c(r->run_id)));
    json_object_set_new(o, "run_type", json_of_str(str_c(r->run_type)));
    json_object_set_new(o, "run_state", json_string(flow_run_state_name(r->state)));
    json_object_set_new(o, "triggered_by", r->triggered_by != NULL ? json_of_str(str_c(r->triggered_by)) : json_null());
    json_object_set_new(o, "note", r->note != NULL ? json_of_str(str_c(r->note)) : json_null());
    json_t *conf = json_parse(str_c(r->conf), NULL);
    json_object_set_new(o, "conf", conf != NULL ? conf : json_object());
    set_time(o, "logical_us", r->logical_us);
    set_time(o, "interval_start_us", r->interval_start_us);
    set_time(o, "interval_end_us", r->interval_end_us);
    set_time(o, "run_after_us", r->run_after_us);
    set_time(o, "run_start_us", r->start_us);
    return o;
}

json_t *flow_ti_context(const struct fti *ti) {
    json_t *o = flow_run_context(ti->run);
    json_object_set_new(o, "task_id", json_of_str(str_c(ti->task->id)));
    json_object_set_new(o, "ti_id", json_string(ti->uuid));
    json_object_set_new(o, "try_number", json_integer(ti->try_number));
    json_object_set_new(o, "max_tries", json_integer(ti->max_tries));
    json_object_set_new(o, "reschedules", json_integer(ti->reschedules));
    json_object_set_new(o, "state", json_string(flow_ti_state_name(ti->state)));
    set_time(o, "start_us", ti->start_us);
    set_time(o, "first_start_us", ti->first_start_us);
    return o;
}

// ---- start -----------------------------------------------------------------------------------------------------------------------
static void timed_out(void *arg);

static void fail_at_start(struct fexec *x, const struct err *err) {
    flow_exec_log(x, "ERROR", "%s", err->msg);
    struct foutcome o = {.state = FLOW_TI_FAILED, .error = err->msg};
    flow_exec_outcome(x, &o);
}

static void send_to_python(struct fexec *x, const char *op) {
    struct flow *f = x->f;
    json_t *m = json_object();
    json_object_set_new(m, "op", json_string(op));
    json_object_set_new(m, "id", json_integer(x->id));
    json_object_set_new(m, "file", json_of_str(str_c(x->run->version->fileloc)));
    json_object_set_new(m, "log", json_of_str(str_c(x->log_path)));
    json_object_set_new(m, "ctx", flow_ti_context(x->ti));
    if (strcmp(op, "render") == 0) json_object_set_new(m, "timeout", json_integer(30));
    flow_python_send(f, m);
}

void flow_exec_run_rendered(struct fexec *x) {
    struct arena a;
    arena_init(&a);
    struct str text = x->fields != NULL ? json_text(x->fields, JSON_COMPACT, &a) : STR("{}");
    mem_free(x->ti->rendered);
    x->ti->rendered = text.n <= 64 * 1024 ? mem_strndup(text.p, text.n) : mem_strdup("{}");
    arena_fini(&a);
    if (x->kind == FLOW_KIND_SQL) flow_sql_start(x);
    else if (x->kind == FLOW_KIND_BASH) flow_bash_start(x);
    else flow_exec_outcome(x, &(struct foutcome){.state = FLOW_TI_SUCCESS});
}

void flow_exec_start(struct flow *f, struct fti *ti) {
    struct fexec *x = MEM_NEW(struct fexec);
    x->f = f;
    x->ti = ti;
    x->run = ti->run; // the launch has pinned it
    x->id = ++f->exec_id;
    x->try_number = ti->try_number;
    x->kind = ti->task->kind;
    x->proc.pid = -1;
    x->proc.pid_fd = -1;
    x->t0_us = sys_mono_us(f->sys);
    sys_mutex_init(&x->mutex);
    buf_init(&x->line, 1 << 20);
    ti->exec = x;
    vec_add(&f->execs, x);
    x->log_path = flow_log_path(f, ti->run->dag->dag_id, ti->run->run_id, ti->task->id, ti->try_number);
    open_log(x);
    if (ti->task->execution_timeout_us > 0) {
        int64_t grace = x->kind == FLOW_KIND_PYTHON ? 10 * 1000000LL : 0; // Python ends itself first
        loop_timer_set(f->loop, &x->timeout, ti->task->execution_timeout_us + grace, timed_out, x);
    }
    if (x->kind == FLOW_KIND_PYTHON) {
        x->python = true;
        send_to_python(x, "run");
        return;
    }
    struct err err = {0};
    bool needs_python = false;
    if (flow_render(x, &needs_python, &err) != ERR_OK) {
        fail_at_start(x, &err);
    } else if (needs_python) {
        x->python = true;
        send_to_python(x, "render");
    } else {
        flow_exec_run_rendered(x);
    }
}

// ---- ends -------------------------------------------------------------------------------------------------------------------------
static void kill_hard(void *arg) {
    struct fexec *x = arg;
    if (x->proc_running) sys_proc_kill(&x->proc, 9);
    if (x->python) flow_python_send(x->f, json_pack("{s:s,s:I,s:i}", "op", "kill", "id", (json_int_t)x->id, "sig", 9));
}

static void end_softly(struct fexec *x) {
    struct flow *f = x->f;
    if (x->proc_running) sys_proc_kill(&x->proc, 15);
    if (x->python) flow_python_send(f, json_pack("{s:s,s:I,s:i}", "op", "kill", "id", (json_int_t)x->id, "sig", 15));
    sys_mutex_lock(&x->mutex);
    x->cancelled = true;
    if (x->session != NULL) engine_cancel(x->session);
    sys_mutex_unlock(&x->mutex);
    loop_timer_set(f->loop, &x->kill, FLOW_KILL_GRACE_S * 1000000LL, kill_hard, x);
}

static void timed_out(void *arg) {
    struct fexec *x = arg;
    x->timed_out = true;
    flow_exec_log(x, "ERROR", "execution_timeout is over; the task is ended");
    end_softly(x);
}

void flow_exec_kill(struct flow *f, struct fexec *x) {
    (void)f;
    if (x->ti != NULL) x->ti->exec = NULL;
    x->ti = NULL;
    flow_exec_log(x, "WARNING", "The task was ended from outside");
    loop_timer_cancel(x->f->loop, &x->timeout);
    end_softly(x);
}

static void exec_free(struct fexec *x) {
    struct flow *f = x->f;
    loop_timer_cancel(f->loop, &x->timeout);
    loop_timer_cancel(f->loop, &x->kill);
    flow_bash_stop(x);
    sys_close(x->log);
    if (x->tmp_dir != NULL) sys_remove_tree(f->sys, x->tmp_dir, NULL);
    char *strings[] = {x->log_path, x->last_line, x->tmp_dir, x->sql, x->result_json, x->error};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) mem_free(strings[i]);
    buf_fini(&x->line);
    json_decref(x->fields);
    sys_mutex_fini(&x->mutex);
    for (size_t i = 0; i < f->execs.n; i++)
        if (f->execs.p[i] == x) {
            f->execs.p[i] = f->execs.p[f->execs.n - 1];
            f->execs.n--;
            break;
        }
    struct frun *r = x->run;
    mem_free(x);
    flow_run_unpin(f, r);
}

struct fexec *flow_exec_find(struct flow *f, int64_t id) { // as many as run at once: bounded by parallelism
    for (size_t i = 0; i < f->execs.n; i++)
        if (f->execs.p[i]->id == id) return f->execs.p[i];
    return NULL;
}

// Airflow's rule: the delay, doubled per try when exponential, spread by a hash of the try, at most max_retry_delay.
static int64_t retry_delay(const struct fti *ti) {
    const struct ftask *t = ti->task;
    if (t->retry_exponential <= 0) return t->retry_delay_us;
    double d = (double)t->retry_delay_us;
    for (int i = 1; i < ti->try_number && d < 86400e6; i++) d *= t->retry_exponential;
    if (d > 86400e6) d = 86400e6; // Airflow's MAX_RETRY_DELAY: a day
    uint8_t h[20];
    char *key = mem_printf("%s#%s#%lld#%d", ti->run->dag->dag_id, t->id, (long long)ti->run->logical_us, ti->try_number);
    digest_sha1(str_c(key), h);
    mem_free(key);
    d += d * ((double)(h[0] << 8 | h[1]) / 65536.0);
    if (t->max_retry_delay_us > 0 && d > (double)t->max_retry_delay_us) d = (double)t->max_retry_delay_us;
    return (int64_t)d;
}

static void try_ended(struct flow *f, struct fti *ti, enum flow_ti_state state) {
    struct fop o = {.kind = FOP_TRY, .run = ti->run->id, .try_number = ti->try_number, .a = mem_strdup(ti->task->id), .row = *ti};
    memcpy(o.uuid, ti->uuid, sizeof o.uuid);
    o.row.state = state;
    o.row.end_us = flow_now(f);
    vec_add(&f->ops, o);
}

static void task_callbacks(struct flow *f, struct fti *ti, bool crashed, const char *error) {
    static const struct {
        enum flow_ti_state state;
        unsigned bit;
        const char *which;
    } table[] = {{FLOW_TI_SUCCESS, FLOW_CB_SUCCESS, "success"}, {FLOW_TI_FAILED, FLOW_CB_FAILURE, "failure"},
                 {FLOW_TI_UP_FOR_RETRY, FLOW_CB_RETRY, "retry"}, {FLOW_TI_SKIPPED, FLOW_CB_SKIPPED, "skipped"}};
    if (ti->task->kind == FLOW_KIND_PYTHON && !crashed) return; // its own process has called them
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].state == ti->state && (ti->task->callbacks & table[i].bit)) flow_callback(f, ti->run, ti, table[i].which, error);
}

static void ti_failed(struct flow *f, struct fti *ti, const struct foutcome *o) {
    ti->reschedules = 0;
    flow_event(f, "failed", ti->run->dag->dag_id, ti->run->run_id, ti->task->id, ti->try_number, o->error);
    if (o->no_retry || ti->try_number > ti->max_tries || ti->run->state != FLOW_RUN_RUNNING) {
        flow_ti_finish(f, ti, FLOW_TI_FAILED);
        return;
    }
    try_ended(f, ti, FLOW_TI_FAILED);
    metric_add(M_FLOW_TASKS, "up_for_retry", 1);
    flow_ti_pause(f, ti, FLOW_TI_UP_FOR_RETRY, flow_now(f) + retry_delay(ti));
}

void flow_exec_outcome(struct fexec *x, const struct foutcome *o) {
    struct flow *f = x->f;
    struct fti *ti = x->ti;
    if (ti != NULL && !f->closing) {
        ti->exec = NULL;
        x->ti = NULL;
        flow_exec_log(x, "INFO", "Task ended: %s, after %.3f s", flow_ti_state_name(o->state), (double)(sys_mono_us(f->sys) - x->t0_us) / 1e6);
        if (o->state == FLOW_TI_UP_FOR_RESCHEDULE) {
            ti->reschedules++;
            flow_ti_pause(f, ti, FLOW_TI_UP_FOR_RESCHEDULE, o->at_us);
        } else if (o->state == FLOW_TI_FAILED) {
            ti_failed(f, ti, o);
        } else {
            ti->reschedules = 0;
            flow_ti_finish(f, ti, o->state);
        }
        task_callbacks(f, ti, o->lost, o->error);
    }
    exec_free(x);
}

// ---- callbacks ----------------------------------------------------------------------------------------------------------------------
void flow_callback(struct flow *f, struct frun *r, const struct fti *ti, const char *which, const char *error) {
    char *path = ti != NULL ? flow_log_path(f, r->dag->dag_id, r->run_id, ti->task->id, ti->try_number)
                            : mem_printf("%s/tasklogs/dag_id=%s/run_id=%s/callbacks.log", f->data_dir, r->dag->dag_id, r->run_id);
    make_parents(f, path);
    json_t *m = json_object();
    json_object_set_new(m, "op", json_string("callback"));
    json_object_set_new(m, "id", json_integer(++f->exec_id));
    json_object_set_new(m, "file", json_of_str(str_c(r->version->fileloc)));
    json_object_set_new(m, "log", json_of_str(str_c(path)));
    json_object_set_new(m, "ctx", ti != NULL ? flow_ti_context(ti) : flow_run_context(r));
    json_object_set_new(m, "which", json_string(which));
    json_object_set_new(m, "timeout", json_integer(60));
    if (error != NULL) json_object_set_new(m, "error", json_of_str(str_c(error)));
    if (ti == NULL) json_object_set_new(m, "reason", json_string(r->state == FLOW_RUN_SUCCESS ? "success" : "task_failure"));
    flow_python_send(f, m);
    mem_free(path);
}
