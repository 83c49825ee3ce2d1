// SPDX-License-Identifier: Apache-2.0
// The worker pool: threads that take jobs from one bounded ring, in order. And the one-shot event that blocking threads wait for.
#include <assert.h>
#include <stdio.h>

#include "base/mem.h"
#include "loop/loop.h"

struct job {
    loop_fn *work;
    void *arg;
    struct loop *back; // NULL = nobody is told
    loop_fn *done;
};

struct pool {
    struct sys_mutex mutex; // guards all below but the threads
    struct sys_cond not_empty;
    struct job *ring;
    size_t head, n, max;
    bool stop;
    char name[16];
    int n_threads;
    struct sys_thread *threads[];
};

static void worker(void *arg) {
    struct pool *p = arg;
    sys_mutex_lock(&p->mutex);
    for (;;) {
        while (p->n == 0 && !p->stop) sys_cond_wait(&p->not_empty, &p->mutex);
        if (p->n == 0) break;
        struct job j = p->ring[p->head];
        p->head = (p->head + 1) % p->max;
        p->n--;
        sys_mutex_unlock(&p->mutex);
        j.work(j.arg);
        if (j.back != NULL) loop_post(j.back, j.done, j.arg);
        sys_mutex_lock(&p->mutex);
    }
    sys_mutex_unlock(&p->mutex);
}

struct pool *pool_new(const char *name, int threads, size_t queue_max) {
    assert(threads > 0 && queue_max > 0);
    struct pool *p = mem_zalloc(sizeof *p + (size_t)threads * sizeof p->threads[0]);
    snprintf(p->name, sizeof p->name, "%s", name);
    sys_mutex_init(&p->mutex);
    sys_cond_init(&p->not_empty);
    p->max = queue_max;
    p->ring = mem_zalloc(queue_max * sizeof *p->ring);
    p->n_threads = threads;
    for (int i = 0; i < threads; i++) p->threads[i] = sys_thread_start(p->name, worker, p);
    return p;
}

void pool_free(struct pool *p) {
    if (p == NULL) return;
    sys_mutex_lock(&p->mutex);
    p->stop = true;
    sys_cond_broadcast(&p->not_empty);
    sys_mutex_unlock(&p->mutex);
    for (int i = 0; i < p->n_threads; i++) sys_thread_join(p->threads[i]);
    assert(p->n == 0);
    mem_free(p->ring);
    sys_cond_fini(&p->not_empty);
    sys_mutex_fini(&p->mutex);
    mem_free(p);
}

size_t pool_waiting(struct pool *p) {
    sys_mutex_lock(&p->mutex);
    size_t n = p->n;
    sys_mutex_unlock(&p->mutex);
    return n;
}

enum err_code pool_submit_then(struct pool *p, loop_fn *work, void *arg, struct loop *back, loop_fn *done, struct err *err) {
    assert((back == NULL) == (done == NULL));
    sys_mutex_lock(&p->mutex);
    bool full = p->n == p->max;
    if (!full) {
        p->ring[(p->head + p->n) % p->max] = (struct job){work, arg, back, done};
        p->n++;
    }
    sys_mutex_unlock(&p->mutex);
    if (!full) sys_cond_signal(&p->not_empty); // outside: the one that wakes would at once wait for the mutex
    if (full) return err_set(err, ERR_BUSY, "the worker queue '%s' is full (%zu jobs); try again", p->name, p->max);
    return ERR_OK;
}

enum err_code pool_submit(struct pool *p, loop_fn *work, void *arg, struct err *err) {
    return pool_submit_then(p, work, arg, NULL, NULL, err);
}

// ---- loop_event -----------------------------------------------------------------------------------------------------

void loop_event_init(struct loop_event *e) {
    sys_mutex_init(&e->mutex);
    sys_cond_init(&e->cond);
    e->set = false;
}

void loop_event_fini(struct loop_event *e) {
    sys_cond_fini(&e->cond);
    sys_mutex_fini(&e->mutex);
}

void loop_event_set(struct loop_event *e) {
    sys_mutex_lock(&e->mutex);
    e->set = true;
    sys_cond_broadcast(&e->cond); // inside the lock: the waiter may end the struct as soon as it has the lock again
    sys_mutex_unlock(&e->mutex);
}

void loop_event_wait(struct loop_event *e) {
    sys_mutex_lock(&e->mutex);
    while (!e->set) sys_cond_wait(&e->cond, &e->mutex);
    sys_mutex_unlock(&e->mutex);
}

bool loop_event_wait_us(struct loop_event *e, int64_t timeout_us) {
    int64_t deadline = sys_mono_us(sys_real()) + timeout_us;
    sys_mutex_lock(&e->mutex);
    while (!e->set) {
        int64_t left = deadline - sys_mono_us(sys_real());
        if (left <= 0 || !sys_cond_wait_us(&e->cond, &e->mutex, left)) break;
    }
    bool set = e->set;
    sys_mutex_unlock(&e->mutex);
    return set;
}
