// SPDX-License-Identifier: Apache-2.0
// The event loop: a round runs what was posted, fires timers that are due, waits for readiness, and calls the watches.
//
// Owner: the loop's thread, except the queue of posts, which has a mutex. Posts are taken out in one swap per round, and only the first
// post into an empty queue wakes the loop, so a batch costs one wake. Timers and watches are the caller's structs: nothing is allocated
// per event.
#include "loop/loop.h"

#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/vec.h"

struct post {
    loop_fn *fn;
    void *arg;
};
typedef VEC(struct post) post_vec;

enum { EVENTS_MAX = 128 };

struct loop {
    struct sys *sys;
    struct sys_poll *poll;
    struct sys_thread *thread;
    char name[16];

    struct sys_mutex mutex; // guards the next five
    struct sys_cond not_full;
    post_vec queue;
    int waiting; // senders that wait for room
    bool stop, ended;

    post_vec running; // taken out of the queue; the loop's thread
    int64_t now_us;
    VEC(struct loop_timer *) heap; // by due time, then order
    uint64_t next_order;
    struct sys_event events[EVENTS_MAX];
    int n_events, next_event;
};

static _Thread_local struct loop *current;

struct loop *loop_current(void) { return current; }
struct sys *loop_sys(struct loop *l) { return l->sys; }
int64_t loop_now_us(struct loop *l) { return l->now_us; }

struct loop *loop_new(struct sys *s, const char *name, struct err *err) {
    struct sys_poll *poll = sys_poll_new(s, err);
    if (poll == NULL) return NULL;
    struct loop *l = MEM_NEW(struct loop);
    l->sys = s;
    l->poll = poll;
    snprintf(l->name, sizeof l->name, "%s", name);
    sys_mutex_init(&l->mutex);
    sys_cond_init(&l->not_full);
    l->now_us = sys_mono_us(s);
    return l;
}

// ---- posts ----------------------------------------------------------------------------------------------------------

void loop_post(struct loop *l, loop_fn *fn, void *arg) {
    sys_mutex_lock(&l->mutex);
    if (current == NULL) {
        l->waiting++;
        while (l->queue.n >= LOOP_QUEUE_MAX && !l->ended) sys_cond_wait(&l->not_full, &l->mutex);
        l->waiting--;
    }
    vec_add(&l->queue, ((struct post){fn, arg}));
    bool wake = l->queue.n == 1 && current != l;
    sys_mutex_unlock(&l->mutex);
    if (wake) sys_poll_wake(l->poll);
}

// Runs one batch of posts. Sets *ended when the loop was told to stop and nothing is left.
static bool run_posts(struct loop *l, bool *ended) {
    assert(l->running.n == 0);
    sys_mutex_lock(&l->mutex);
    post_vec batch = l->queue;
    l->queue = l->running;
    l->running = batch;
    if (l->waiting > 0) sys_cond_broadcast(&l->not_full);
    if (batch.n == 0 && l->stop) *ended = l->ended = true;
    sys_mutex_unlock(&l->mutex);
    for (size_t i = 0; i < l->running.n; i++) l->running.p[i].fn(l->running.p[i].arg);
    bool any = l->running.n > 0;
    l->running.n = 0;
    return any;
}

static bool has_posts(struct loop *l) {
    sys_mutex_lock(&l->mutex);
    bool any = l->queue.n > 0 || l->stop;
    sys_mutex_unlock(&l->mutex);
    return any;
}

// ---- timers: a binary heap of pointers; heap_index is the place + 1 ------------------------------------------------------

static bool before(const struct loop_timer *a, const struct loop_timer *b) {
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->order < b->order;
}

static void heap_place(struct loop *l, size_t i, struct loop_timer *t) {
    l->heap.p[i] = t;
    t->heap_index = i + 1;
}

static void heap_up(struct loop *l, size_t i, struct loop_timer *t) {
    for (; i > 0 && before(t, l->heap.p[(i - 1) / 2]); i = (i - 1) / 2) heap_place(l, i, l->heap.p[(i - 1) / 2]);
    heap_place(l, i, t);
}

static void heap_down(struct loop *l, size_t i, struct loop_timer *t) {
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= l->heap.n) break;
        if (child + 1 < l->heap.n && before(l->heap.p[child + 1], l->heap.p[child])) child++;
        if (!before(l->heap.p[child], t)) break;
        heap_place(l, i, l->heap.p[child]);
        i = child;
    }
    heap_place(l, i, t);
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t) {
    if (t->heap_index == 0) return;
    size_t i = t->heap_index - 1;
    assert(i < l->heap.n && l->heap.p[i] == t);
    t->heap_index = 0;
    struct loop_timer *last = l->heap.p[--l->heap.n];
    if (last == t) return;
    if (i > 0 && before(last, l->heap.p[(i - 1) / 2])) heap_up(l, i, last);
    else heap_down(l, i, last);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t delay_us, loop_fn *fn, void *arg) {
    loop_timer_cancel(l, t);
    int64_t now = sys_mono_us(l->sys);
    if (delay_us < 0) delay_us = 0;
    t->fn = fn;
    t->arg = arg;
    t->due_us = delay_us > INT64_MAX - now ? INT64_MAX : now + delay_us;
    t->order = l->next_order++;
    vec_push(&l->heap);
    heap_up(l, l->heap.n - 1, t);
}

// Those set while we fire wait for the next round, so that a timer that sets itself again with no delay starves nobody.
static bool fire_timers(struct loop *l) {
    uint64_t limit = l->next_order;
    bool any = false;
    while (l->heap.n > 0 && l->heap.p[0]->due_us <= l->now_us && l->heap.p[0]->order < limit) {
        struct loop_timer *t = l->heap.p[0];
        loop_timer_cancel(l, t);
        t->fn(t->arg);
        any = true;
    }
    return any;
}

// ---- watches ----------------------------------------------------------------------------------------------------------

static enum err_code apply(struct loop *l, struct loop_watch *w, int events, struct err *err) {
    if (w->sock != NULL) return sys_poll_sock(l->poll, w->sock, events, w, err);
    return sys_poll_fd(l->poll, w->fd, events, w, err);
}

static enum err_code watch(struct loop *l, struct loop_watch *w, struct sys_sock *k, int fd, int events, loop_watch_fn *fn, void *arg,
                           struct err *err) {
    *w = (struct loop_watch){.fn = fn, .arg = arg, .sock = k, .fd = fd, .events = events};
    enum err_code code = events == 0 ? ERR_OK : apply(l, w, events, err);
    w->active = code == ERR_OK;
    return code;
}

enum err_code loop_watch_sock(struct loop *l, struct loop_watch *w, struct sys_sock *k, int events, loop_watch_fn *fn, void *arg,
                              struct err *err) {
    assert(k != NULL);
    return watch(l, w, k, -1, events, fn, arg, err);
}

enum err_code loop_watch_fd(struct loop *l, struct loop_watch *w, int fd, int events, loop_watch_fn *fn, void *arg, struct err *err) {
    assert(fd >= 0);
    return watch(l, w, NULL, fd, events, fn, arg, err);
}

void loop_watch_change(struct loop *l, struct loop_watch *w, int events) {
    assert(w->active);
    if (w->events == events) return;
    w->events = events;
    struct err err; // only the kernel's limit on watches can fail this; the connection then stays quiet until it is closed
    if (apply(l, w, events, &err) != ERR_OK) log_error("loop", "cannot change a watch", "loop", l->name, "error", err.msg, NULL);
}

void loop_unwatch(struct loop *l, struct loop_watch *w) {
    if (!w->active) return;
    w->active = false;
    if (w->events != 0) apply(l, w, 0, NULL);
    for (int i = l->next_event; i < l->n_events; i++) // it may be freed before its turn in this batch comes
        if (l->events[i].tag == w) l->events[i].tag = NULL;
}

static bool call_watches(struct loop *l) {
    bool any = false;
    for (l->next_event = 0; l->next_event < l->n_events;) {
        struct sys_event e = l->events[l->next_event++];
        struct loop_watch *w = e.tag;
        if (w == NULL || w->events == 0) continue;
        int events = e.events & (w->events | SYS_EV_CLOSED); // another callback may have made it quieter
        if (events == 0) continue;
        w->fn(w, events);
        any = true;
    }
    l->n_events = l->next_event = 0;
    return any;
}

// ---- rounds -------------------------------------------------------------------------------------------------------------

static int64_t wait_time(struct loop *l, int64_t max_us) {
    if (has_posts(l)) return 0;
    if (l->heap.n == 0) return max_us;
    int64_t left = l->heap.p[0]->due_us - sys_mono_us(l->sys);
    if (left < 0) left = 0;
    return max_us < 0 || left < max_us ? left : max_us;
}

static bool run_round(struct loop *l, int64_t max_wait_us, bool *ended) {
    l->n_events = sys_poll_wait(l->poll, l->events, EVENTS_MAX, wait_time(l, max_wait_us));
    l->now_us = sys_mono_us(l->sys);
    bool any = call_watches(l);
    any |= fire_timers(l);
    any |= run_posts(l, ended);
    return any;
}

void loop_run(struct loop *l) {
    assert(current == NULL);
    current = l;
    for (bool ended = false; !ended;) run_round(l, -1, &ended);
    current = NULL;
    sys_mutex_lock(&l->mutex);
    sys_cond_broadcast(&l->not_full);
    sys_mutex_unlock(&l->mutex);
}

bool loop_run_once(struct loop *l, int64_t timeout_us) {
    struct loop *outer = current;
    assert(outer == NULL);
    current = l;
    bool ended = false;
    bool any = run_round(l, timeout_us, &ended);
    current = outer;
    return any;
}

static void thread_main(void *arg) { loop_run(arg); }

void loop_start(struct loop *l) {
    assert(l->thread == NULL);
    l->thread = sys_thread_start(l->name, thread_main, l);
}

void loop_stop(struct loop *l) {
    sys_mutex_lock(&l->mutex);
    l->stop = true;
    sys_mutex_unlock(&l->mutex);
    sys_poll_wake(l->poll);
}

void loop_free(struct loop *l) {
    if (l == NULL) return;
    assert(current != l);
    if (l->thread != NULL) {
        loop_stop(l);
        sys_thread_join(l->thread);
    }
    struct loop *outer = current;
    current = l;
    for (bool ended = false; run_posts(l, &ended);) {
    }
    current = outer;
    vec_fini(&l->queue);
    vec_fini(&l->running);
    vec_fini(&l->heap);
    sys_poll_free(l->poll);
    sys_cond_fini(&l->not_full);
    sys_mutex_fini(&l->mutex);
    mem_free(l);
}
