// SPDX-License-Identifier: Apache-2.0
// Bash tasks: `bash -c` in its own process group, output to the log line by line, the last line as XCom. The loop's thread; nothing blocks.
// The environment is ours plus AIRFLOW_CTX_*, or the task's `env` (plus ours with append_env); env(1) puts it together.
#include "flow/flow_int.h"

#include <stdio.h>

enum { SIGNAL_BASE = 128 };

static void take_line(struct fexec *x, struct str line) {
    flow_exec_log(x, "INFO", STR_FMT, STR_ARG(line));
    mem_free(x->last_line);
    x->last_line = mem_strndup(line.p, line.n);
}

static void take_output(struct fexec *x, const char *p, size_t n) {
    buf_put(&x->line, p, n);
    if (x->line.failed) { // a line of a megabyte: written as it is
        flow_exec_append(x, p, n);
        buf_clear(&x->line);
        return;
    }
    size_t from = 0;
    for (size_t i = 0; i < x->line.n; i++)
        if (x->line.p[i] == '\n') {
            take_line(x, str_n(x->line.p + from, i - from));
            from = i + 1;
        }
    buf_consume(&x->line, from);
}

static bool skip_code(const struct fexec *x) {
    json_t *codes = json_object_get(json_object_get(x->ti->task->json, "args"), "skip_on_exit_code"), *v;
    size_t i;
    bool found = false;
    json_array_foreach(codes, i, v) found = found || json_integer_value(v) == x->exit_status;
    return found;
}

static void finished(struct fexec *x) {
    if (x->line.n > 0) take_line(x, buf_str(&x->line));
    buf_clear(&x->line);
    struct foutcome o = {.state = FLOW_TI_SUCCESS};
    char error[256];
    if (x->ti == NULL) {
        flow_exec_outcome(x, &o);
        return;
    }
    flow_exec_log(x, "INFO", "Command exited with return code %d", x->exit_status);
    if (x->timed_out) {
        o = (struct foutcome){.state = FLOW_TI_FAILED, .error = "execution_timeout is over"};
    } else if (x->exit_status != 0 && skip_code(x)) {
        flow_exec_log(x, "INFO", "Bash command returned exit code %d. Skipping.", x->exit_status);
        o.state = FLOW_TI_SKIPPED;
    } else if (x->exit_status != 0) {
        snprintf(error, sizeof error, "Bash command failed. The command returned a non-zero exit code %d.", x->exit_status);
        flow_exec_log(x, "ERROR", "%s", error);
        o = (struct foutcome){.state = FLOW_TI_FAILED, .error = error};
    } else if (x->ti->task->xcom_push) {
        struct buf b;
        buf_init(&b, 2 << 20);
        json_put_str(&b, str_c(x->last_line != NULL ? x->last_line : ""));
        flow_op_xcom(x->f, x->run->id, x->ti->task->id, "return_value", buf_cstr(&b));
        buf_fini(&b);
    }
    flow_exec_outcome(x, &o);
}

static bool drain(struct fexec *x) { // false = end of the output
    char p[65536];
    for (int i = 0; i < 64; i++) { // then others get a turn
        struct err err = {0};
        int64_t n = sys_fd_read(x->proc.stdout_fd, p, sizeof p, &err);
        if (n < 0) return err.code == ERR_BUSY;
        if (n == 0) return false;
        take_output(x, p, (size_t)n);
    }
    return true;
}

static void close_output(struct fexec *x) {
    if (!x->out_open) return;
    x->out_open = false;
    loop_unwatch(x->f->loop, &x->out_watch);
    sys_fd_close(x->proc.stdout_fd);
}

static void on_output(struct loop_watch *w, int events) {
    (void)events;
    struct fexec *x = w->arg;
    if (!drain(x)) close_output(x);
}

static void on_exit_of_child(struct loop_watch *w, int events) {
    (void)events;
    struct fexec *x = w->arg;
    struct loop_watch watch = *w;
    (void)watch;
    loop_unwatch(x->f->loop, &x->pid_watch);
    if (sys_proc_wait(&x->proc, &x->exit_status, NULL) != ERR_OK) x->exit_status = 255;
    x->proc_running = false;
    if (x->out_open) drain(x); // what is in the pipe; a background process that keeps it open is not waited for
    close_output(x);
    finished(x);
}

void flow_bash_stop(struct fexec *x) {
    close_output(x);
    if (x->proc_running) {
        loop_unwatch(x->f->loop, &x->pid_watch);
        sys_proc_kill(&x->proc, 9);
        sys_proc_wait(&x->proc, NULL, NULL);
        x->proc_running = false;
    }
}

// argv of env(1): its variables are arena strings.
static const char **make_argv(struct fexec *x, struct arena *a, const char *command) {
    struct flow *f = x->f;
    json_t *args = json_object_get(x->ti->task->json, "args"), *env = json_object_get(x->fields, "env"), *v;
    bool own = json_is_object(env) && !json_get_bool(args, "append_env", false);
    size_t n = 0;
    const char **argv = ARENA_ARRAY(a, const char *, json_object_size(env) + 24);
    argv[n++] = "env";
    if (own) argv[n++] = "-i";
    const char *key;
    json_object_foreach(env, key, v) argv[n++] = arena_printf(a, "%s=%s", key, json_string_value(v) != NULL ? json_string_value(v) : "");
    argv[n++] = arena_printf(a, "AIRFLOW_CTX_DAG_ID=%s", x->run->dag->dag_id);
    argv[n++] = arena_printf(a, "AIRFLOW_CTX_TASK_ID=%s", x->ti->task->id);
    argv[n++] = arena_printf(a, "AIRFLOW_CTX_DAG_RUN_ID=%s", x->run->run_id);
    argv[n++] = arena_printf(a, "AIRFLOW_CTX_TRY_NUMBER=%d", x->try_number);
    argv[n++] = arena_printf(a, "AIRFLOW_CTX_DAG_OWNER=%s", json_get_cstr(x->ti->task->json, "owner", "airflow"));
    if (x->run->logical_us != FLOW_NO_TIME) {
        char iso[40];
        flow_iso(x->run->logical_us, iso);
        argv[n++] = arena_printf(a, "AIRFLOW_CTX_LOGICAL_DATE=%s", iso);
    }
    argv[n++] = arena_printf(a, "MILLRACE_DATA=%s", f->data_dir);
    argv[n++] = arena_printf(a, "MILLRACE_DAGS=%s", f->dags_dir);
    if (f->addresses != NULL) argv[n++] = arena_printf(a, "MILLRACE_ADDRESSES=%s", f->addresses);
    if (f->api_url != NULL) argv[n++] = arena_printf(a, "MILLRACE_URL=%s", f->api_url);
    argv[n++] = "bash";
    argv[n++] = "-c";
    argv[n++] = command;
    return argv;
}

void flow_bash_start(struct fexec *x) {
    struct flow *f = x->f;
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    const char *command = json_get_cstr(x->fields, "bash_command", ""), *cwd = json_get_cstr(x->fields, "cwd", NULL);
    if (cwd == NULL || cwd[0] == '\0') {
        x->tmp_dir = mem_printf("%s/tasktmp/%lld", f->data_dir, (long long)x->id);
        if (sys_mkdir(f->sys, x->tmp_dir, &err) == ERR_NOT_FOUND) {
            char *parent = mem_printf("%s/tasktmp", f->data_dir);
            sys_mkdir(f->sys, parent, NULL);
            mem_free(parent);
            sys_mkdir(f->sys, x->tmp_dir, &err);
        }
        cwd = x->tmp_dir;
    }
    flow_exec_log(x, "INFO", "Running command: bash -c %s", command);
    const char **argv = make_argv(x, &a, command);
    enum err_code e = sys_spawn(f->sys, argv, NULL, cwd, SYS_SPAWN_STDOUT | SYS_SPAWN_MERGE | SYS_SPAWN_GROUP | SYS_SPAWN_DIE_WITH_ME, &x->proc,
                                &err);
    arena_fini(&a);
    if (e == ERR_OK) {
        x->proc_running = x->out_open = true;
        x->ti->pid = x->proc.pid;
        e = loop_watch_fd(f->loop, &x->out_watch, x->proc.stdout_fd, SYS_EV_READ, on_output, x, &err);
        if (e == ERR_OK) e = loop_watch_fd(f->loop, &x->pid_watch, x->proc.pid_fd, SYS_EV_READ, on_exit_of_child, x, &err);
    }
    if (e == ERR_OK) return;
    flow_exec_log(x, "ERROR", "%s", err.msg);
    flow_exec_outcome(x, &(struct foutcome){.state = FLOW_TI_FAILED, .error = err.msg});
}
