// SPDX-License-Identifier: Apache-2.0
// Opening the partitions of all topics at start: on the pool's workers, several at a time, since each may have a tail to scan.
//
// Called while the broker is opened; blocks until all are there. Nobody else knows the partitions yet. A pool that takes no job is no reason
// to fail: the caller's thread opens them then. The first error in the order of the jobs is the one that is told, and what was opened is let go.
#include <stdatomic.h>

#include "broker/internal.h"
#include "broker/open_partitions.h"

enum { WORKERS = 8 };

struct opening {
    struct broker *broker;
    struct partition_job *jobs;
    size_t n;
    bool clean;
    atomic_size_t next;
    struct sys_mutex mutex;
    struct sys_cond cond;
    size_t running; // workers that were asked; under the mutex
};

static void open_some(struct opening *x) {
    for (size_t i; (i = atomic_fetch_add(&x->next, 1)) < x->n;) {
        struct partition_job *j = &x->jobs[i];
        j->partition = partition_open(x->broker, j->topic, j->index, j->id, j->settings, x->clean, &j->err);
    }
}

static void open_work(void *arg) { // on a worker
    struct opening *x = arg;
    open_some(x);
    sys_mutex_lock(&x->mutex);
    if (--x->running == 0) sys_cond_signal(&x->cond);
    sys_mutex_unlock(&x->mutex);
}

enum err_code partitions_open(struct broker *b, struct partition_job *jobs, size_t n, bool clean, struct err *err) {
    struct opening x = {.broker = b, .jobs = jobs, .n = n, .clean = clean};
    sys_mutex_init(&x.mutex);
    sys_cond_init(&x.cond);
    for (size_t i = 0; i < WORKERS && i < n && n > 1; i++) {
        sys_mutex_lock(&x.mutex);
        x.running++;
        sys_mutex_unlock(&x.mutex);
        if (pool_submit(b->pool, open_work, &x, NULL) == ERR_OK) continue;
        sys_mutex_lock(&x.mutex);
        x.running--;
        sys_mutex_unlock(&x.mutex);
        break;
    }
    sys_mutex_lock(&x.mutex);
    while (x.running > 0) sys_cond_wait(&x.cond, &x.mutex);
    sys_mutex_unlock(&x.mutex);
    open_some(&x); // what no worker took
    sys_cond_fini(&x.cond);
    sys_mutex_fini(&x.mutex);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        if (jobs[i].partition != NULL) continue;
        if (err != NULL) *err = jobs[i].err;
        code = jobs[i].err.code;
    }
    for (size_t i = 0; i < n && code != ERR_OK; i++) {
        if (jobs[i].partition != NULL) partition_unref(jobs[i].partition);
        jobs[i].partition = NULL;
    }
    return code;
}
