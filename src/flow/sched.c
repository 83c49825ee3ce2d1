// SPDX-License-Identifier: Apache-2.0
// The scheduler: task instances, runs, slots, schedules. Event-driven: the end of a task touches its direct downstream tasks (a counter each)
// and the head of the ready heap of its pool, and nothing else. The loop's thread; memory of runs lives from start to end of the run.
#include "flow/flow_int.h"

#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metrics.h"

bool flow_ti_ended(enum flow_ti_state s) {
    return s == FLOW_TI_SUCCESS || s == FLOW_TI_FAILED || s == FLOW_TI_SKIPPED || s == FLOW_TI_UPSTREAM_FAILED || s == FLOW_TI_REMOVED;
}

// ---- DAGs and pools ----------------------------------------------------------------------------------------------------------
struct fdag *flow_dag_find(struct flow *f, const char *dag_id) { return map_getc(&f->dags, dag_id); }

struct fdag *flow_dag_add(struct flow *f, const char *dag_id) {
    struct fdag *d = flow_dag_find(f, dag_id);
    if (d != NULL) return d;
    d = MEM_NEW(struct fdag);
    d->f = f;
    d->dag_id = mem_strdup(dag_id);
    d->file = mem_strdup("");
    d->last_automated_us = d->last_parsed_us = d->next_us = FLOW_NO_TIME;
    map_put(&f->dags, str_c(dag_id), d);
    return d;
}

struct fpool *flow_pool_find(struct flow *f, const char *name) { return map_getc(&f->pools, name); }

struct fpool *flow_pool_add(struct flow *f, const char *name, int slots) {
    struct fpool *p = flow_pool_find(f, name);
    if (p == NULL) {
        p = MEM_NEW(struct fpool);
        p->name = mem_strdup(name);
        map_put(&f->pools, str_c(name), p);
    }
    p->slots = slots;
    return p;
}

// ---- dirty -------------------------------------------------------------------------------------------------------------------
void flow_ti_mark(struct flow *f, struct fti *ti) {
    if (!ti->dirty) vec_add(&f->dirty_tis, ti);
    ti->dirty = true;
    flow_touch(f);
}

void flow_run_mark(struct flow *f, struct frun *r) {
    if (!r->dirty) vec_add(&f->dirty_runs, r);
    r->dirty = true;
    flow_touch(f);
}

void flow_dag_mark(struct flow *f, struct fdag *d) {
    if (!d->dirty) vec_add(&f->dirty_dags, d);
    d->dirty = true;
    flow_touch(f);
}

// ---- runs --------------------------------------------------------------------------------------------------------------------
struct frun *flow_run_find(struct fdag *d, const char *run_id) {
    for (size_t i = 0; i < d->runs.n; i++)
        if (strcmp(d->runs.p[i]->run_id, run_id) == 0) return d->runs.p[i];
    return NULL;
}

struct frun *flow_run_new(struct flow *f, struct fdag *d, struct fversion *v) {
    struct frun *r = MEM_NEW(struct frun);
    r->id = ++f->last_run_id;
    r->dag = d;
    r->version = v;
    v->refs++;
    r->state = FLOW_RUN_QUEUED;
    r->conf = mem_strdup("{}");
    r->logical_us = r->interval_start_us = r->interval_end_us = r->queued_us = r->start_us = r->end_us = r->decision_us = FLOW_NO_TIME;
    vec_add(&d->runs, r);
    vec_add(&f->all_runs, r);
    return r;
}

void flow_run_init_tis(struct flow *f, struct frun *r) {
    r->tis = mem_zalloc(sizeof *r->tis * (r->version->n + 1));
    for (size_t i = 0; i < r->version->n; i++) {
        struct fti *t = &r->tis[i];
        t->run = r;
        t->task = &r->version->tasks[i];
        t->max_tries = t->task->retries;
        t->start_us = t->end_us = t->queued_us = t->scheduled_us = t->first_start_us = t->next_us = FLOW_NO_TIME;
        uint8_t uuid[16];
        sys_uuid(f->sys, uuid);
        sys_uuid_text(uuid, t->uuid);
    }
    r->unfinished = r->version->n;
}

static void count(struct frun *r, const struct ftask *from, enum flow_ti_state s, int by) {
    for (uint32_t i = 0; i < from->n_down; i++) {
        struct flow_counts *c = &r->tis[from->down[i]].counts;
        if (s == FLOW_TI_SUCCESS) c->success += by;
        else if (s == FLOW_TI_FAILED) c->failed += by;
        else if (s == FLOW_TI_SKIPPED) c->skipped += by;
        else if (s == FLOW_TI_UPSTREAM_FAILED) c->upstream_failed += by;
        else c->removed += by;
        if (from->is_setup && s == FLOW_TI_SUCCESS) c->setup_success += by;
        if (from->is_setup && s == FLOW_TI_SKIPPED) c->setup_skipped += by;
    }
}

void flow_run_recount(struct frun *r) {
    r->unfinished = 0;
    for (size_t i = 0; i < r->version->n; i++) r->tis[i].counts = (struct flow_counts){0};
    for (size_t i = 0; i < r->version->n; i++) {
        struct fti *t = &r->tis[i];
        if (flow_ti_ended(t->state)) count(r, t->task, t->state, 1);
        else r->unfinished++;
    }
}

void flow_run_evaluate(struct flow *f, struct frun *r) {
    for (size_t i = 0; i < r->version->n; i++)
        if (r->tis[i].state == FLOW_TI_NONE) vec_add(&f->eval, &r->tis[i]);
    flow_touch(f);
}

// Ends a run from outside: what has not ended is skipped.
void flow_run_stop(struct flow *f, struct frun *r, enum flow_run_state state) {
    r->state = FLOW_RUN_QUEUED; // so that the last skipped task does not settle the run by itself
    for (size_t i = 0; i < r->version->n; i++)
        if (!flow_ti_ended(r->tis[i].state)) {
            bool at_work = r->tis[i].state == FLOW_TI_RUNNING || r->tis[i].state == FLOW_TI_QUEUED;
            flow_ti_finish(f, &r->tis[i], at_work && state == FLOW_RUN_FAILED ? FLOW_TI_FAILED : FLOW_TI_SKIPPED);
        }
    flow_run_end(f, r, state);
}

static void run_timeout(void *arg) {
    struct frun *r = arg;
    struct flow *f = r->dag->f;
    log_warn("flow", "run took longer than dagrun_timeout", "dag", r->dag->dag_id, "run", r->run_id, NULL);
    flow_run_stop(f, r, FLOW_RUN_FAILED);
}

void flow_run_arm_timeout(struct flow *f, struct frun *r) {
    if (r->version->dagrun_timeout_us == FLOW_NO_TIME || r->start_us == FLOW_NO_TIME) return;
    int64_t left = r->start_us + r->version->dagrun_timeout_us - flow_now(f);
    loop_timer_set(f->loop, &r->timer, left < 0 ? 0 : left, run_timeout, r);
}

static void run_start(struct flow *f, struct frun *r) {
    r->state = FLOW_RUN_RUNNING;
    if (r->start_us == FLOW_NO_TIME) r->start_us = flow_now(f);
    r->decision_us = r->start_us;
    flow_run_arm_timeout(f, r);
    flow_run_mark(f, r);
    if (r->version->n == 0) flow_run_end(f, r, FLOW_RUN_SUCCESS);
    flow_run_evaluate(f, r);
}

void flow_run_start_waiting(struct flow *f, struct fdag *d) {
    if (d->paused || d->latest == NULL || f->broken) return;
    int running = 0;
    for (size_t i = 0; i < d->runs.n; i++) running += d->runs.p[i]->state == FLOW_RUN_RUNNING;
    int64_t now = flow_now(f);
    for (size_t i = 0; i < d->runs.n && running < d->latest->max_active_runs; i++) {
        struct frun *r = d->runs.p[i];
        if (r->state != FLOW_RUN_QUEUED || r->run_after_us > now) continue;
        run_start(f, r);
        running += r->state == FLOW_RUN_RUNNING;
    }
}

// Looked at after the next commit: waiters are woken, and it is forgotten when it is not active.
void flow_run_review(struct flow *f, struct frun *r) {
    if (!r->in_review) vec_add(&f->ended, r);
    r->in_review = true;
}

static void run_callbacks(struct flow *f, struct frun *r) {
    unsigned want = r->state == FLOW_RUN_SUCCESS ? FLOW_CB_SUCCESS : FLOW_CB_FAILURE;
    if (r->version->callbacks & want) flow_callback(f, r, NULL, r->state == FLOW_RUN_SUCCESS ? "success" : "failure", NULL);
}

void flow_run_end(struct flow *f, struct frun *r, enum flow_run_state state) {
    r->state = state;
    r->end_us = flow_now(f);
    loop_timer_cancel(f->loop, &r->timer);
    metric_add(M_FLOW_RUNS, flow_run_state_name(state), 1);
    log_info("flow", "run ended", "dag", r->dag->dag_id, "run", r->run_id, "state", flow_run_state_name(state), NULL);
    flow_run_mark(f, r);
    flow_run_review(f, r);
    struct fdag *d = r->dag;
    d->failed_in_a_row = state == FLOW_RUN_FAILED ? d->failed_in_a_row + 1 : 0;
    if (r->version->max_failed_runs > 0 && d->failed_in_a_row >= r->version->max_failed_runs && !d->paused) {
        d->paused = true;
        flow_event(f, "paused", d->dag_id, r->run_id, NULL, 0, "max_consecutive_failed_dag_runs was reached");
    }
    flow_dag_mark(f, d);
    run_callbacks(f, r);
}

// All tasks have ended: the leaves decide. Teardowns count only when told to.
static void run_settle(struct flow *f, struct frun *r) {
    bool failed = false;
    for (size_t i = 0; i < r->version->n; i++) {
        const struct ftask *t = &r->version->tasks[i];
        bool bad = r->tis[i].state == FLOW_TI_FAILED || r->tis[i].state == FLOW_TI_UPSTREAM_FAILED;
        bool leaf = true;
        for (uint32_t k = 0; k < t->n_down; k++) leaf = leaf && r->version->tasks[t->down[k]].is_teardown;
        if (t->is_teardown) leaf = t->teardown_fails_run;
        failed = failed || (bad && leaf);
    }
    flow_run_end(f, r, failed ? FLOW_RUN_FAILED : FLOW_RUN_SUCCESS);
}

static void run_free(struct flow *f, struct frun *r) {
    for (size_t i = 0; i < f->ended.n; i++) // it may have ended twice in a round, or be deleted before the round's end
        if (f->ended.p[i] == r) f->ended.p[i] = NULL;
    for (size_t i = 0; i < r->version->n; i++) {
        struct fti *t = &r->tis[i];
        loop_timer_cancel(f->loop, &t->timer);
        mem_free(t->rendered);
        mem_free(t->note);
        mem_free(t->skips);
    }
    char *strings[] = {r->run_id, r->run_type, r->triggered_by, r->user, r->note, r->conf};
    for (size_t i = 0; i < 6; i++) mem_free(strings[i]);
    loop_timer_cancel(f->loop, &r->timer);
    vec_fini(&r->blocked);
    mem_free(r->tis);
    flow_version_unref(r->version);
    mem_free(r);
}

void flow_run_forget(struct flow *f, struct frun *r) {
    struct fdag *d = r->dag;
    for (size_t i = 0; i < d->runs.n; i++)
        if (d->runs.p[i] == r) {
            vec_remove(&d->runs, i);
            break;
        }
    for (size_t i = d->waiting.n; i-- > 0;)
        if (d->waiting.p[i]->run == r) vec_remove(&d->waiting, i);
    r->gone = true;
    if (r->pins > 0) return;
    for (size_t i = 0; i < f->all_runs.n; i++)
        if (f->all_runs.p[i] == r) {
            f->all_runs.p[i] = f->all_runs.p[f->all_runs.n - 1];
            f->all_runs.n--;
            break;
        }
    run_free(f, r);
}

void flow_run_unpin(struct flow *f, struct frun *r) {
    r->pins--;
    if (r->gone && r->pins == 0) flow_run_forget(f, r);
}

// ---- task instances: the end of one -----------------------------------------------------------------------------------------------
static void ti_free_slot(struct flow *f, struct fti *ti) {
    if (ti->state != FLOW_TI_RUNNING && ti->state != FLOW_TI_QUEUED) return;
    struct fpool *p = flow_pool_find(f, ti->task->pool);
    if (p != NULL) p->used -= ti->task->pool_slots;
    f->running--;
    ti->run->running--;
    metric_set(M_FLOW_RUNNING, NULL, f->running);
}

void flow_dag_wake(struct flow *f, struct fdag *d) { // an end may let those go on that wait for others of the DAG
    for (size_t i = 0; i < d->waiting.n; i++) {
        d->waiting.p[i]->waits_past = false;
        vec_add(&f->eval, d->waiting.p[i]);
    }
    d->waiting.n = 0;
}

static void run_unblock(struct flow *f, struct frun *r);

// Leaves the state that it is in (slot, timer, execution); the caller sets the new one.
static void ti_leave(struct flow *f, struct fti *ti) {
    loop_timer_cancel(f->loop, &ti->timer);
    if (ti->exec != NULL) flow_exec_kill(f, ti->exec);
    if (ti->state == FLOW_TI_SCHEDULED) metric_set(M_FLOW_QUEUED, NULL, --f->n_scheduled);
    ti_free_slot(f, ti);
}

static void fail_fast(struct flow *f, struct frun *r) {
    for (size_t i = 0; i < r->version->n; i++)
        if (!flow_ti_ended(r->tis[i].state) && !r->version->tasks[i].is_teardown)
            flow_ti_finish(f, &r->tis[i], r->tis[i].state == FLOW_TI_RUNNING ? FLOW_TI_FAILED : FLOW_TI_SKIPPED);
}

void flow_ti_finish(struct flow *f, struct fti *ti, enum flow_ti_state state) {
    struct frun *r = ti->run;
    if (flow_ti_ended(ti->state)) return;
    bool had_slot = ti->state == FLOW_TI_RUNNING || ti->state == FLOW_TI_QUEUED;
    ti_leave(f, ti);
    ti->state = state;
    ti->end_us = flow_now(f);
    if (ti->start_us == FLOW_NO_TIME) ti->start_us = ti->end_us;
    if (ti->try_number > 0) {
        struct fop o = {.kind = FOP_TRY, .run = r->id, .try_number = ti->try_number, .a = mem_strdup(ti->task->id), .row = *ti};
        memcpy(o.uuid, ti->uuid, sizeof o.uuid);
        vec_add(&f->ops, o);
    }
    flow_ti_mark(f, ti);
    metric_add(M_FLOW_TASKS, flow_ti_state_name(state), 1);
    count(r, ti->task, state, 1);
    for (uint32_t i = 0; i < ti->task->n_down; i++) vec_add(&f->eval, &r->tis[ti->task->down[i]]);
    if (had_slot) run_unblock(f, r);
    flow_dag_wake(f, r->dag);
    assert(r->unfinished > 0);
    r->unfinished--;
    if (state == FLOW_TI_FAILED && r->version->fail_fast && r->unfinished > 0) fail_fast(f, r);
    if (r->unfinished == 0 && r->state == FLOW_RUN_RUNNING) run_settle(f, r);
}

void flow_ti_pause(struct flow *f, struct fti *ti, enum flow_ti_state state, int64_t next_us) {
    assert(ti->exec == NULL);
    ti_leave(f, ti);
    ti->state = state;
    ti->next_us = next_us;
    ti->end_us = flow_now(f);
    flow_ti_mark(f, ti);
    flow_ti_arm(f, ti);
    run_unblock(f, ti->run);
    flow_dag_wake(f, ti->run->dag);
}

void flow_ti_clear(struct flow *f, struct fti *ti) {
    struct frun *r = ti->run;
    if (flow_ti_ended(ti->state)) {
        count(r, ti->task, ti->state, -1);
        r->unfinished++;
    } else {
        ti_leave(f, ti);
    }
    ti->state = FLOW_TI_NONE;
    ti->max_tries = ti->try_number + ti->task->retries;
    ti->start_us = ti->end_us = ti->queued_us = ti->scheduled_us = ti->first_start_us = ti->next_us = FLOW_NO_TIME;
    ti->reschedules = 0;
    mem_free(ti->skips);
    ti->skips = NULL;
    flow_ti_mark(f, ti);
}

static void ti_timer(void *arg) {
    struct fti *ti = arg;
    struct flow *f = ti->run->dag->f;
    if (ti->state != FLOW_TI_UP_FOR_RETRY && ti->state != FLOW_TI_UP_FOR_RESCHEDULE) return;
    vec_add(&f->eval, ti);
    flow_touch(f);
}

void flow_ti_arm(struct flow *f, struct fti *ti) {
    int64_t left = ti->next_us - flow_now(f);
    loop_timer_set(f->loop, &ti->timer, left < 0 ? 0 : left, ti_timer, ti);
}

// ---- slots -----------------------------------------------------------------------------------------------------------------------
static bool before(const struct ready *a, const struct ready *b) {
    if (a->weight != b->weight) return a->weight > b->weight;
    if (a->run_after != b->run_after) return a->run_after < b->run_after;
    return a->seq < b->seq;
}

static void heap_push(struct fpool *p, struct ready e) {
    vec_add(&p->heap, e);
    for (size_t i = p->heap.n - 1; i > 0 && before(&p->heap.p[i], &p->heap.p[(i - 1) / 2]); i = (i - 1) / 2) {
        struct ready t = p->heap.p[i];
        p->heap.p[i] = p->heap.p[(i - 1) / 2];
        p->heap.p[(i - 1) / 2] = t;
    }
}

static void heap_pop(struct fpool *p) {
    p->heap.p[0] = *vec_last(&p->heap);
    p->heap.n--;
    for (size_t i = 0;;) {
        size_t best = i;
        for (size_t c = 2 * i + 1; c <= 2 * i + 2 && c < p->heap.n; c++)
            if (before(&p->heap.p[c], &p->heap.p[best])) best = c;
        if (best == i) return;
        struct ready t = p->heap.p[i];
        p->heap.p[i] = p->heap.p[best];
        p->heap.p[best] = t;
        i = best;
    }
}

static void ready_push(struct flow *f, struct fti *ti) {
    struct fpool *p = flow_pool_find(f, ti->task->pool);
    if (p == NULL || ti->in_ready) return; // no such pool: stays scheduled until it is made
    ti->in_ready = true;
    ti->run->pins++;
    heap_push(p, (struct ready){ti->task->weight, ti->run->run_after_us, ++f->seq, ti});
}

static void run_unblock(struct flow *f, struct frun *r) {
    for (size_t i = 0; i < r->blocked.n; i++)
        if (r->blocked.p[i]->state == FLOW_TI_SCHEDULED) ready_push(f, r->blocked.p[i]);
    r->blocked.n = 0;
}

static int running_of_task(const struct fdag *d, const char *task_id) {
    int n = 0;
    for (size_t i = 0; i < d->runs.n; i++) {
        const struct ftask *t = flow_version_task(d->runs.p[i]->version, task_id);
        if (t == NULL || d->runs.p[i]->tis == NULL) continue;
        enum flow_ti_state s = d->runs.p[i]->tis[t->index].state;
        n += s == FLOW_TI_RUNNING || s == FLOW_TI_QUEUED;
    }
    return n;
}

static void ti_launch(struct flow *f, struct fpool *p, struct fti *ti) {
    struct frun *r = ti->run;
    p->used += ti->task->pool_slots;
    f->running++;
    r->running++;
    metric_set(M_FLOW_QUEUED, NULL, --f->n_scheduled);
    metric_set(M_FLOW_RUNNING, NULL, f->running);
    ti->queued_us = ti->start_us = flow_now(f);
    if (ti->reschedules == 0) ti->first_start_us = ti->start_us;
    ti->end_us = FLOW_NO_TIME;
    if (ti->reschedules == 0 || ti->try_number == 0) ti->try_number++;
    ti->state = FLOW_TI_RUNNING;
    r->pins++; // given to the execution
    vec_add(&f->ops, ((struct fop){.kind = FOP_XCOM_CLEAR, .run = r->id, .a = mem_strdup(ti->task->id)}));
    vec_add(&f->launches, ti);
    flow_ti_mark(f, ti);
}

static void dispatch_pool(struct flow *f, struct fpool *p) {
    while (p->heap.n > 0 && f->running < f->parallelism) {
        struct fti *ti = p->heap.p[0].ti;
        bool fits = p->slots < 0 || p->used + ti->task->pool_slots <= p->slots;
        bool wanted = ti->state == FLOW_TI_SCHEDULED && !ti->run->gone && ti->run->state == FLOW_RUN_RUNNING;
        if (wanted && !fits) return; // what comes first waits for room: nothing small overtakes it for ever
        heap_pop(p);
        ti->in_ready = false;
        struct frun *r = ti->run;
        if (!wanted) {
        } else if (r->running >= (size_t)r->version->max_active_tasks) {
            vec_add(&r->blocked, ti);
        } else if (ti->task->max_active_tis > 0 && running_of_task(r->dag, ti->task->id) >= ti->task->max_active_tis) {
            vec_add(&r->dag->waiting, ti);
        } else {
            ti_launch(f, p, ti);
        }
        flow_run_unpin(f, r);
    }
}

// ---- may it run? -------------------------------------------------------------------------------------------------------------------
static bool skipped_by_branch(const struct fti *ti) {
    for (uint32_t i = 0; i < ti->task->n_up; i++) {
        const struct fti *up = &ti->run->tis[ti->task->up[i]];
        if (up->skips == NULL || up->state != FLOW_TI_SUCCESS) continue;
        json_t *list = json_parse(str_c(up->skips), NULL), *v;
        bool found = false;
        size_t k;
        json_array_foreach(list, k, v) found = found || str_eqc(json_str(v), ti->task->id);
        json_decref(list);
        if (found) return true;
    }
    return false;
}

// depends_on_past: the run before this one (by logical date) must have the task ended well.
static bool past_ok(struct flow *f, const struct fti *ti) {
    const struct frun *r = ti->run;
    if (r->logical_us == FLOW_NO_TIME) return true;
    struct meta_stmt *st = meta_query(f->meta, NULL,
                                      "select id from flow_run where dag_id = ?1 and logical_us < ?2 order by logical_us desc limit 1", "si",
                                      r->dag->dag_id, r->logical_us);
    if (st == NULL) return false;
    int64_t prev = meta_step(st, NULL) == 1 ? meta_int(st, 0) : 0;
    meta_reset(st);
    if (prev == 0) return true;
    for (size_t i = 0; i < f->all_runs.n; i++)
        if (f->all_runs.p[i]->id == prev) {
            const struct ftask *t = flow_version_task(f->all_runs.p[i]->version, ti->task->id);
            enum flow_ti_state s = t == NULL ? FLOW_TI_SUCCESS : f->all_runs.p[i]->tis[t->index].state;
            return s == FLOW_TI_SUCCESS || s == FLOW_TI_SKIPPED;
        }
    return meta_get_int(f->meta, NULL, 0,
                        "select not exists (select 1 from flow_ti where run = ?1 and task_id = ?2 and state not in ('success', 'skipped'))",
                        "is", prev, ti->task->id) != 0;
}

static void ti_schedule(struct flow *f, struct fti *ti) {
    if (ti->task->kind == FLOW_KIND_EMPTY && ti->task->callbacks == 0) { // nothing to run: no slot, no process
        ti->start_us = ti->queued_us = ti->scheduled_us = flow_now(f);
        ti->try_number++;
        flow_ti_finish(f, ti, FLOW_TI_SUCCESS);
        return;
    }
    ti->state = FLOW_TI_SCHEDULED;
    ti->scheduled_us = flow_now(f);
    metric_set(M_FLOW_QUEUED, NULL, ++f->n_scheduled);
    flow_ti_mark(f, ti);
    ready_push(f, ti);
}

static void ti_evaluate(struct flow *f, struct fti *ti) {
    struct frun *r = ti->run;
    if (r->state != FLOW_RUN_RUNNING || f->closing) return;
    if (ti->state == FLOW_TI_SCHEDULED) {
        ready_push(f, ti);
        return;
    }
    bool again = ti->state == FLOW_TI_UP_FOR_RETRY || ti->state == FLOW_TI_UP_FOR_RESCHEDULE;
    if (again && ti->next_us > flow_now(f)) {
        flow_ti_arm(f, ti);
        return;
    }
    if (!again && ti->state != FLOW_TI_NONE) return;
    if (r->dag->paused) { // Airflow: nothing of a paused DAG is started
        vec_add(&r->dag->waiting, ti);
        return;
    }
    enum flow_verdict v = flow_rule_verdict(ti->task->rule, ti->task->n_up, ti->task->n_up_setup, &ti->counts);
    if (again && v != FLOW_RUN) v = FLOW_RUN; // it was started once: the rule held then
    if (v == FLOW_RUN && !again && skipped_by_branch(ti)) v = FLOW_SKIP;
    if (v == FLOW_SKIP) flow_ti_finish(f, ti, FLOW_TI_SKIPPED);
    if (v == FLOW_UPSTREAM_FAILED) flow_ti_finish(f, ti, FLOW_TI_UPSTREAM_FAILED);
    if (v != FLOW_RUN) return;
    if (ti->task->depends_on_past && !again && !past_ok(f, ti)) {
        if (!ti->waits_past) vec_add(&r->dag->waiting, ti);
        ti->waits_past = true;
        return;
    }
    ti_schedule(f, ti);
}

void flow_work(struct flow *f) {
    for (size_t i = 0; i < f->eval.n; i++) ti_evaluate(f, f->eval.p[i]); // grows while it runs
    f->eval.n = 0;
    if (f->closing || f->broken) return;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&f->pools, &it)) != NULL;) dispatch_pool(f, e->value);
}

// ---- schedules -----------------------------------------------------------------------------------------------------------------------
static bool next_tick(const struct fdag *d, int64_t now, struct flow_tick *out) {
    const struct fversion *v = d->latest;
    struct flow_restriction r = {v->start_us, v->end_us, v->catchup};
    return flow_schedule_next(&v->schedule, &r, d->last_automated_us, now, out);
}

static int active_runs(const struct fdag *d) {
    int n = 0;
    for (size_t i = 0; i < d->runs.n; i++) n += d->runs.p[i]->state == FLOW_RUN_QUEUED || d->runs.p[i]->state == FLOW_RUN_RUNNING;
    return n;
}

static void scheduled_run(struct flow *f, struct fdag *d, const struct flow_tick *t) {
    char iso[40], run_id[64];
    flow_iso(t->run_after_us, iso);
    snprintf(run_id, sizeof run_id, "scheduled__%s", iso);
    d->last_automated_us = t->run_after_us;
    flow_dag_mark(f, d);
    if (meta_get_int(f->meta, NULL, 0, "select count(*) from flow_run where dag_id = ?1 and (run_id = ?2 or logical_us = ?3)", "ssi", d->dag_id,
                     run_id,
                     t->logical_us) > 0 ||
        flow_run_find(d, run_id) != NULL)
        return; // a manual run has taken that logical date
    struct frun *r = flow_run_new(f, d, d->latest);
    r->run_id = mem_strdup(run_id);
    r->run_type = mem_strdup("scheduled");
    r->triggered_by = mem_strdup("timetable");
    r->logical_us = t->logical_us;
    r->interval_start_us = t->interval_start_us;
    r->interval_end_us = t->interval_end_us;
    r->run_after_us = t->run_after_us;
    r->queued_us = flow_now(f);
    r->is_new = true;
    flow_run_init_tis(f, r);
    flow_run_mark(f, r);
}

static void dag_timer(void *arg) {
    struct fdag *d = arg;
    flow_dag_schedule(d);
    flow_touch(d->f);
}

// Makes the runs that are due and sets the timer for the next. Called when anything changes that it depends on.
void flow_dag_schedule(struct fdag *d) {
    struct flow *f = d->f;
    loop_timer_cancel(f->loop, &d->timer);
    d->next_us = FLOW_NO_TIME;
    if (d->latest == NULL || d->stale || f->closing || f->broken) return;
    int64_t now = flow_now(f);
    struct flow_tick t;
    bool due = next_tick(d, now, &t);
    while (due && t.run_after_us <= now && !d->paused && active_runs(d) < d->latest->max_active_runs) {
        scheduled_run(f, d, &t);
        due = next_tick(d, now, &t);
    }
    if (due) d->next_us = t.run_after_us;
    if (due && t.run_after_us > now && !d->paused) {
        int64_t delay = t.run_after_us - now, hour = 3600 * 1000000LL; // the wall clock may be set: look again every hour
        loop_timer_set(f->loop, &d->timer, delay < hour ? delay : hour, dag_timer, d);
    }
    flow_run_start_waiting(f, d);
}
