// SPDX-License-Identifier: Apache-2.0
// Event loops, one thread each, and the worker pool for what blocks.
//
// A loop owns what is registered with it: its callbacks run on the loop's thread only, one at a time, and must not block. Other threads talk to
// it with loop_post. Blocking work (fsync, DuckDB, object storage) goes to a pool of workers; the answer comes back as a post.
// Queues are bounded: loop_post never fails but makes a sender that is not a loop wait while the queue is over its maximum;
// pool_submit answers ERR_BUSY when full.
// What was posted always runs: a loop that is told to stop empties its queue first, and loop_free runs what came later on its caller's thread.
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "sys/sys.h"

struct loop;
typedef void loop_fn(void *arg);

enum { LOOP_QUEUE_MAX = 65536 };

struct loop *loop_new(struct sys *s, const char *name, struct err *err);
void loop_start(struct loop *l);      // on a thread of its own
void loop_run(struct loop *l);        // on the caller's thread, until loop_stop
bool loop_run_once(struct loop *l, int64_t timeout_us); // for tests: handles what is ready; false = nothing was
void loop_stop(struct loop *l);       // any thread; the loop ends when its queue is empty (timers and watches are not waited for)
void loop_free(struct loop *l);       // joins the thread
struct sys *loop_sys(struct loop *l);
struct loop *loop_current(void);      // the loop whose thread this is, or NULL
void loop_post(struct loop *l, loop_fn *fn, void *arg); // any thread; in order per sender
int64_t loop_now_us(struct loop *l);  // monotonic time when this round began

// Timers: run once after `delay_us`. The struct is the caller's and lives until it fired or was cancelled. Loop's thread only.
struct loop_timer {
    loop_fn *fn;
    void *arg;
    int64_t due_us;
    size_t heap_index; // 0 = not set. A struct starts zeroed
    uint64_t order;    // among those due at the same time: as set
};
void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t delay_us, loop_fn *fn, void *arg); // sets again if set
void loop_timer_cancel(struct loop *l, struct loop_timer *t);                                        // not set is fine

// Readiness of a socket or descriptor. The struct is the caller's; loop's thread only. Inside fn, unwatching and freeing is allowed,
// of any watch. Unwatch before the socket or descriptor is closed. SYS_EV_CLOSED comes unasked: read what is left, then close.
struct loop_watch;
typedef void loop_watch_fn(struct loop_watch *w, int events); // SYS_EV_*
struct loop_watch {
    loop_watch_fn *fn;
    void *arg;
    struct sys_sock *sock;
    int fd;
    int events;
    bool active;
};
enum err_code loop_watch_sock(struct loop *l, struct loop_watch *w, struct sys_sock *k, int events, loop_watch_fn *fn, void *arg,
                              struct err *err);
enum err_code loop_watch_fd(struct loop *l, struct loop_watch *w, int fd, int events, loop_watch_fn *fn, void *arg, struct err *err);
void loop_watch_change(struct loop *l, struct loop_watch *w, int events); // 0 = keep it registered but quiet
void loop_unwatch(struct loop *l, struct loop_watch *w);

// Workers.
struct pool;
struct pool *pool_new(const char *name, int threads, size_t queue_max);
void pool_free(struct pool *p); // waits for what is queued
size_t pool_waiting(struct pool *p); // jobs that no worker has taken yet; any thread
enum err_code pool_submit(struct pool *p, loop_fn *work, void *arg, struct err *err); // ERR_BUSY = queue full
// Runs work(arg) on a worker, then done(arg) on `back`.
enum err_code pool_submit_then(struct pool *p, loop_fn *work, void *arg, struct loop *back, loop_fn *done, struct err *err);

// A one-shot wait for threads that may block (HTTP handlers, workers, tests): the loop side calls loop_event_set.
struct loop_event {
    struct sys_mutex mutex;
    struct sys_cond cond;
    bool set;
};
void loop_event_init(struct loop_event *e);
void loop_event_set(struct loop_event *e);
void loop_event_wait(struct loop_event *e); // then loop_event_fini
bool loop_event_wait_us(struct loop_event *e, int64_t timeout_us);
void loop_event_fini(struct loop_event *e);

#endif
