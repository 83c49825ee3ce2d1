// SPDX-License-Identifier: Apache-2.0
// Opening, closing, the round (work, flush, then act) and calls from other threads. flow_open and flow_close on any thread; the rest on the
// loop. When a flush fails, nothing of that round was acknowledged or started: all is thrown away and read again from the store.
#include "flow/flow_int.h"

#include <assert.h>
#include <stdio.h>

#include "base/log.h"

int64_t flow_now(struct flow *f) { return sys_now_us(f->sys); }

#define X(id, name) name,
static const char *const run_names[] = {FLOW_RUN_STATES(X)};
static const char *const ti_names[] = {FLOW_TI_STATES(X)};
#undef X
const char *flow_run_state_name(enum flow_run_state s) { return run_names[s]; }
const char *flow_ti_state_name(enum flow_ti_state s) { return ti_names[s]; }

bool flow_run_state_parse(struct str s, enum flow_run_state *out) {
    for (size_t i = 0; i < sizeof run_names / sizeof run_names[0]; i++)
        if (str_eqc(s, run_names[i])) {
            *out = (enum flow_run_state)i;
            return true;
        }
    return false;
}

bool flow_ti_state_parse(struct str s, enum flow_ti_state *out) {
    for (size_t i = 0; i < sizeof ti_names / sizeof ti_names[0]; i++)
        if (str_eqc(s, ti_names[i])) {
            *out = (enum flow_ti_state)i;
            return true;
        }
    return false;
}

void flow_event(struct flow *f, const char *event, const char *dag_id, const char *run_id, const char *task_id, int try_number, const char *extra) {
    const char *from[] = {event, dag_id, run_id, task_id, extra};
    struct fop o = {.kind = FOP_EVENT, .when_us = flow_now(f), .try_number = try_number};
    char **to[] = {&o.a, &o.b, &o.c, &o.d, &o.e};
    for (size_t i = 0; i < 5; i++) *to[i] = from[i] != NULL ? mem_strdup(from[i]) : NULL;
    vec_add(&f->ops, o);
    flow_touch(f);
}

// ---- the round -------------------------------------------------------------------------------------------------------------------
static void finish_calls(struct flow *f, const struct err *failed) {
    for (size_t i = 0; i < f->calls.n; i++) {
        struct fcall *c = f->calls.p[i];
        if (failed != NULL) {
            c->code = failed->code;
            err_copy(c->err, failed);
        }
        loop_event_set(&c->done);
    }
    f->calls.n = 0;
}

static void finish_runs(struct flow *f) {
    for (size_t i = 0; i < f->ended.n; i++) {
        struct frun *r = f->ended.p[i];
        if (r == NULL) continue; // freed since
        r->in_review = false;
        if (r->state == FLOW_RUN_QUEUED || r->state == FLOW_RUN_RUNNING) continue; // cleared in the same round
        for (size_t w = f->waits.n; w-- > 0;)
            if (f->waits.p[w].run == r->id) {
                loop_event_set(f->waits.p[w].event);
                vec_remove(&f->waits, w);
            }
        struct fdag *d = r->dag;
        if (!r->gone) flow_run_forget(f, r);
        flow_dag_schedule(d);
    }
    f->ended.n = 0;
}

static void forget_all(struct flow *f) {
    while (f->execs.n > 0 && f->execs.p[f->execs.n - 1]->ti != NULL) flow_exec_kill(f, f->execs.p[f->execs.n - 1]);
    for (size_t i = 0; i < f->execs.n; i++)
        if (f->execs.p[i]->ti != NULL) flow_exec_kill(f, f->execs.p[i]);
    f->eval.n = f->dirty_tis.n = f->dirty_runs.n = f->dirty_dags.n = f->ended.n = 0;
    for (size_t i = 0; i < f->launches.n; i++) f->launches.p[i]->run->pins--;
    f->launches.n = 0;
    flow_ops_clear(f);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&f->pools, &it)) != NULL;) {
        struct fpool *p = e->value;
        for (size_t i = 0; i < p->heap.n; i++) p->heap.p[i].ti->run->pins--;
        p->heap.n = 0;
        p->used = 0;
    }
    f->running = f->n_scheduled = 0;
    for (size_t i = f->all_runs.n; i-- > 0;)
        if (i < f->all_runs.n && !f->all_runs.p[i]->gone) flow_run_forget(f, f->all_runs.p[i]);
}

static void take_up(struct flow *f, bool restarted);

static void reload(void *arg) {
    struct flow *f = arg;
    struct err err = {0};
    forget_all(f);
    enum err_code e = flow_store_load(f, &err);
    if (e != ERR_OK) {
        snprintf(f->problem, sizeof f->problem, "the store cannot be read: %s", err.msg);
        if (!err_info(e)->fatal) loop_timer_set(f->loop, &f->reload_timer, 5 * 1000000LL, reload, f);
        return;
    }
    f->broken = false;
    f->problem[0] = '\0';
    log_info("flow", "the store works again", NULL);
    take_up(f, true);
}

static void flush_failed(struct flow *f, const struct err *err) {
    log_error("flow", "the store did not take a change; nothing of it counts", "error", err->msg, NULL);
    snprintf(f->problem, sizeof f->problem, "the store: %s", err->msg);
    f->broken = true;
    finish_calls(f, err);
    if (!err_info(err->code)->fatal) loop_timer_set(f->loop, &f->reload_timer, 1000000LL, reload, f);
}

static bool has_dirt(const struct flow *f) { return f->dirty_dags.n + f->dirty_runs.n + f->dirty_tis.n + f->ops.n > 0; }

static void flush(void *arg) {
    struct flow *f = arg;
    struct err err = {0};
    f->flush_posted = false;
    if (f->broken) {
        err_set(&err, ERR_UNAVAILABLE, "workflows stand still: %s", f->problem);
        finish_calls(f, &err);
        return;
    }
    f->in_flush = true;
    for (int rounds = 0; rounds < 1000; rounds++) {
        flow_work(f);
        if (has_dirt(f) && flow_store_flush(f, &err) != ERR_OK) {
            f->in_flush = false;
            flush_failed(f, &err);
            return;
        }
        finish_calls(f, NULL);
        finish_runs(f);
        for (size_t i = 0; i < f->launches.n; i++) {
            struct fti *ti = f->launches.p[i];
            struct frun *r = ti->run;
            if (ti->state == FLOW_TI_RUNNING && ti->exec == NULL && !r->gone && !f->closing) flow_exec_start(f, ti);
            else flow_run_unpin(f, r);
        }
        f->launches.n = 0;
        if (!has_dirt(f) && f->eval.n == 0) break;
    }
    f->in_flush = false;
    f->heartbeat_us = flow_now(f);
    if (has_dirt(f) || f->eval.n > 0) flow_touch(f); // others get a turn
}

void flow_touch(struct flow *f) {
    if (f->flush_posted || f->in_flush || f->loop == NULL) return;
    f->flush_posted = true;
    loop_post(f->loop, flush, f);
}

// ---- calls -----------------------------------------------------------------------------------------------------------------------
static void run_call(void *arg) {
    struct fcall *c = arg;
    struct flow *f = c->f;
    if (f->closing) c->code = err_set(c->err, ERR_CLOSED, "workflows are being stopped");
    else if (f->broken && !c->reads) c->code = err_set(c->err, ERR_UNAVAILABLE, "workflows stand still: %s", f->problem);
    else c->code = c->fn(c, c->err);
    if (c->code == ERR_OK && !f->broken) {
        vec_add(&f->calls, c);
        flow_touch(f);
        return;
    }
    loop_event_set(&c->done);
}

static enum err_code call(struct flow *f, bool reads, enum err_code (*fn)(struct fcall *c, struct err *err), const void *in, void *out,
                          struct arena *a, struct err *err) {
    assert(loop_current() != f->loop); // it would wait for itself
    struct err own = {0};
    struct fcall c = {.f = f, .fn = fn, .in = in, .out = out, .a = a, .err = err != NULL ? err : &own, .reads = reads};
    err_clear(c.err);
    loop_event_init(&c.done);
    loop_post(f->loop, run_call, &c);
    loop_event_wait(&c.done);
    loop_event_fini(&c.done);
    return c.code;
}

struct sync {
    loop_fn *fn;
    void *arg;
    struct loop_event done;
};

static void run_sync(void *arg) {
    struct sync *s = arg;
    s->fn(s->arg);
    loop_event_set(&s->done);
}

void flow_on_loop(struct flow *f, loop_fn *fn, void *arg) {
    struct sync s = {.fn = fn, .arg = arg};
    loop_event_init(&s.done);
    loop_post(f->loop, run_sync, &s);
    loop_event_wait(&s.done);
    loop_event_fini(&s.done);
}

enum err_code flow_call(struct flow *f, enum err_code (*fn)(struct fcall *c, struct err *err), const void *in, void *out, struct arena *a,
                        struct err *err) {
    return call(f, false, fn, in, out, a, err);
}

enum err_code flow_ask(struct flow *f, enum err_code (*fn)(struct fcall *c, struct err *err), const void *in, void *out, struct arena *a,
                       struct err *err) {
    return call(f, true, fn, in, out, a, err);
}

// ---- start -----------------------------------------------------------------------------------------------------------------------
// What a dead server left in a running state: an orderly stop does not count as a try, a crash does (Airflow: heartbeat lost).
static void take_up_ti(struct flow *f, struct fti *ti) {
    if (ti->state == FLOW_TI_RESTARTING) {
        ti->state = FLOW_TI_NONE;
        ti->max_tries++;
        ti->reschedules = 0;
        flow_ti_mark(f, ti);
    } else if (ti->state == FLOW_TI_SCHEDULED || ti->state == FLOW_TI_QUEUED) {
        ti->state = FLOW_TI_NONE;
    } else if (ti->state == FLOW_TI_RUNNING) {
        struct fop o = {.kind = FOP_TRY, .run = ti->run->id, .try_number = ti->try_number, .a = mem_strdup(ti->task->id), .row = *ti};
        memcpy(o.uuid, ti->uuid, sizeof o.uuid);
        o.row.state = FLOW_TI_FAILED;
        o.row.end_us = flow_now(f);
        vec_add(&f->ops, o);
        flow_event(f, "lost", ti->run->dag->dag_id, ti->run->run_id, ti->task->id, ti->try_number, "the server ended while the task was running");
        ti->reschedules = 0;
        if (ti->try_number > ti->max_tries) {
            ti->state = FLOW_TI_NONE; // counted as unfinished: ends as failed below
            flow_ti_finish(f, ti, FLOW_TI_FAILED);
            return;
        }
        ti->state = FLOW_TI_UP_FOR_RETRY;
        ti->next_us = flow_now(f) + ti->task->retry_delay_us;
        flow_ti_mark(f, ti);
    }
    if (ti->state == FLOW_TI_UP_FOR_RETRY || ti->state == FLOW_TI_UP_FOR_RESCHEDULE) flow_ti_arm(f, ti);
}

static void take_up(struct flow *f, bool restarted) {
    (void)restarted;
    for (size_t i = 0; i < f->all_runs.n; i++) {
        struct frun *r = f->all_runs.p[i];
        if (r->state != FLOW_RUN_RUNNING || r->gone) continue;
        for (size_t k = 0; k < r->version->n; k++) take_up_ti(f, &r->tis[k]);
        if (r->state == FLOW_RUN_RUNNING && r->unfinished == 0 && r->end_us == FLOW_NO_TIME) flow_run_end(f, r, FLOW_RUN_FAILED);
        if (r->state == FLOW_RUN_RUNNING) flow_run_arm_timeout(f, r); // counts from its start, before the restart
        flow_run_evaluate(f, r);
    }
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&f->dags, &it)) != NULL;) flow_dag_schedule(e->value);
    flow_touch(f);
}

static void begin(void *arg) {
    struct flow *f = arg;
    struct err err = {0};
    f->heartbeat_us = flow_now(f);
    if (flow_python_open(f, &err) != ERR_OK) {
        snprintf(f->problem, sizeof f->problem, "%s", err.msg);
        log_warn("flow", "no Python: DAG files are not read", "error", err.msg, NULL);
    }
    take_up(f, false);
    if (f->py != NULL) flow_scan(f);
}

static char *dup_or(const char *s, const char *otherwise) { return s != NULL ? mem_strdup(s) : otherwise != NULL ? mem_strdup(otherwise) : NULL; }

static int or_default(int v, int otherwise, int max) { return v <= 0 ? otherwise : v > max ? max : v; }

static void free_all(struct flow *f) {
    struct map_entry *e;
    flow_scan_free(f);
    for (size_t it = 0; (e = map_next(&f->dags, &it)) != NULL;) {
        struct fdag *d = e->value;
        flow_version_unref(d->latest);
        mem_free(d->dag_id);
        mem_free(d->file);
        vec_fini(&d->runs);
        vec_fini(&d->waiting);
        mem_free(d);
    }
    for (size_t it = 0; (e = map_next(&f->pools, &it)) != NULL;) {
        struct fpool *p = e->value;
        mem_free(p->name);
        vec_fini(&p->heap);
        mem_free(p);
    }
    map_fini(&f->dags);
    map_fini(&f->pools);
    flow_ops_clear(f);
    vec_fini(&f->ops);
    vec_fini(&f->all_runs);
    vec_fini(&f->eval);
    vec_fini(&f->dirty_tis);
    vec_fini(&f->dirty_runs);
    vec_fini(&f->dirty_dags);
    vec_fini(&f->launches);
    vec_fini(&f->calls);
    vec_fini(&f->waits);
    vec_fini(&f->ended);
    vec_fini(&f->scan_calls);
    vec_fini(&f->execs);
    if (f->own_meta) meta_close(f->meta);
    char *strings[] = {f->data_dir, f->dags_dir, f->python, f->python_dir, f->addresses, f->api_url};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) mem_free(strings[i]);
    mem_free(f);
}

struct flow *flow_open(const struct flow_config *c, struct err *err) {
    assert(c->data_dir != NULL);
    struct err own = {0};
    if (err == NULL) err = &own;
    struct flow *f = MEM_NEW(struct flow);
    f->sys = c->sys != NULL ? c->sys : sys_real();
    f->engine = c->engine;
    f->data_dir = mem_strdup(c->data_dir);
    f->dags_dir = c->dags_dir != NULL ? mem_strdup(c->dags_dir) : mem_printf("%s/dags", c->data_dir);
    f->python = dup_or(c->python, "/usr/bin/python3");
    f->python_dir = dup_or(c->python_dir, NULL);
    f->addresses = dup_or(c->addresses, NULL);
    f->api_url = dup_or(c->api_url, NULL);
    f->parallelism = or_default(c->parallelism, 16, FLOW_PARALLELISM_MAX);
    f->scan_us = or_default(c->scan_seconds, 5, 86400) * 1000000LL;
    f->parse_timeout_s = or_default(c->parse_timeout_seconds, 30, 3600);
    f->paused_at_creation = c->paused_at_creation;
    map_init(&f->dags);
    map_init(&f->pools);
    map_init(&f->files);
    f->meta = c->meta;
    if (f->meta == NULL) {
        char *path = mem_printf("%s/meta.db", c->data_dir);
        f->meta = meta_open(f->sys, path, NULL, 0, err);
        f->own_meta = true;
        mem_free(path);
    }
    if (f->meta == NULL || flow_store_open(f, err) != ERR_OK) goto failed;
    f->loop = loop_new(f->sys, "flow", err);
    if (f->loop == NULL) goto failed;
    if (flow_store_load(f, err) != ERR_OK) goto failed;
    f->pool = pool_new("flow-work", or_default(c->sql_workers, 4, 64) + 1, 1024);
    loop_post(f->loop, begin, f);
    loop_start(f->loop);
    return f;
failed:
    f->closing = true;
    if (f->loop != NULL) {
        forget_all(f);
        loop_free(f->loop);
    }
    f->loop = NULL;
    free_all(f);
    return NULL;
}

// ---- stop ------------------------------------------------------------------------------------------------------------------------
static void stop(void *arg) {
    struct flow *f = arg;
    struct err err = {0};
    for (size_t i = 0; i < f->execs.n; i++) {
        struct fti *ti = f->execs.p[i]->ti;
        if (ti == NULL) continue;
        ti->state = FLOW_TI_RESTARTING;
        flow_ti_mark(f, ti);
    }
    f->flush_posted = true; // no more rounds
    if (!f->broken && has_dirt(f) && flow_store_flush(f, &err) != ERR_OK)
        log_error("flow", "the last changes were not stored", "error", err.msg, NULL);
    f->closing = true;
    struct err closed = {0};
    err_set(&closed, ERR_CLOSED, "workflows are being stopped");
    finish_calls(f, &closed);
    for (size_t i = 0; i < f->waits.n; i++) loop_event_set(f->waits.p[i].event);
    f->waits.n = 0;
    for (size_t i = 0; i < f->scan_calls.n; i++) {
        f->scan_calls.p[i]->code = err_set(f->scan_calls.p[i]->err, ERR_CLOSED, "workflows are being stopped");
        loop_event_set(&f->scan_calls.p[i]->done);
    }
    f->scan_calls.n = 0;
    for (size_t i = 0; i < f->execs.n; i++)
        if (f->execs.p[i]->ti != NULL) flow_exec_kill(f, f->execs.p[i]);
    for (size_t i = f->execs.n; i-- > 0;) { // SQL ends by itself: its worker answers
        if (i >= f->execs.n) continue;
        struct fexec *x = f->execs.p[i];
        bool on_worker = x->kind == FLOW_KIND_SQL && !x->python;
        x->python = false;
        if (!on_worker) flow_exec_outcome(x, &(struct foutcome){.state = FLOW_TI_FAILED});
    }
    loop_timer_cancel(f->loop, &f->scan_timer);
    loop_timer_cancel(f->loop, &f->reload_timer);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&f->dags, &it)) != NULL;) loop_timer_cancel(f->loop, &((struct fdag *)e->value)->timer);
    flow_python_stop(f);
}

static void stop_rest(void *arg) { forget_all(arg); }

void flow_close(struct flow *f) {
    if (f == NULL) return;
    flow_on_loop(f, stop, f);
    pool_free(f->pool); // waits for the workers; their answers are posted before stop_rest
    flow_on_loop(f, stop_rest, f);
    loop_free(f->loop);
    f->loop = NULL;
    free_all(f);
}
