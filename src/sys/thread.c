// SPDX-License-Identifier: Apache-2.0
// Threads, mutexes, conditions, and what the process knows about itself. Real in the simulation too.
// A failure of these is a bug or the end of the machine's means: they abort with a line on standard error.
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/sys.h"

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(struct sys_mutex), "mutex fits");
_Static_assert(sizeof(pthread_cond_t) <= sizeof(struct sys_cond), "condition fits");
_Static_assert(_Alignof(pthread_mutex_t) <= 8 && _Alignof(pthread_cond_t) <= 8, "alignment fits");

struct sys_thread {
    pthread_t id;
    char name[16];
    sys_thread_fn *fn;
    void *arg;
};

static void must(int rc, const char *what) {
    if (rc == 0) return;
    char text[128];
    fprintf(stderr, "millrace: %s: %s\n", what, strerror_r(rc, text, sizeof text));
    abort();
}

static void *run(void *arg) {
    struct sys_thread *t = arg;
    pthread_setname_np(pthread_self(), t->name);
    t->fn(t->arg);
    return NULL;
}

struct sys_thread *sys_thread_start(const char *name, sys_thread_fn *fn, void *arg) {
    struct sys_thread *t = MEM_NEW(struct sys_thread);
    snprintf(t->name, sizeof t->name, "%s", name); // the kernel keeps 15 bytes
    t->fn = fn;
    t->arg = arg;
    must(pthread_create(&t->id, NULL, run, t), "cannot start a thread");
    return t;
}

void sys_thread_join(struct sys_thread *t) {
    must(pthread_join(t->id, NULL), "cannot join a thread");
    mem_free(t);
}

static pthread_mutex_t *mutex_of(struct sys_mutex *m) { return (pthread_mutex_t *)(void *)m->opaque; }
static pthread_cond_t *cond_of(struct sys_cond *c) { return (pthread_cond_t *)(void *)c->opaque; }

void sys_mutex_init(struct sys_mutex *m) { must(pthread_mutex_init(mutex_of(m), NULL), "mutex init"); }
void sys_mutex_fini(struct sys_mutex *m) { must(pthread_mutex_destroy(mutex_of(m)), "mutex fini"); }
void sys_mutex_lock(struct sys_mutex *m) { must(pthread_mutex_lock(mutex_of(m)), "mutex lock"); }
void sys_mutex_unlock(struct sys_mutex *m) { must(pthread_mutex_unlock(mutex_of(m)), "mutex unlock"); }

void sys_cond_init(struct sys_cond *c) {
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    must(pthread_cond_init(cond_of(c), &a), "condition init");
    pthread_condattr_destroy(&a);
}

void sys_cond_fini(struct sys_cond *c) { must(pthread_cond_destroy(cond_of(c)), "condition fini"); }
void sys_cond_wait(struct sys_cond *c, struct sys_mutex *m) { must(pthread_cond_wait(cond_of(c), mutex_of(m)), "condition wait"); }
void sys_cond_signal(struct sys_cond *c) { must(pthread_cond_signal(cond_of(c)), "condition signal"); }
void sys_cond_broadcast(struct sys_cond *c) { must(pthread_cond_broadcast(cond_of(c)), "condition broadcast"); }

bool sys_cond_wait_us(struct sys_cond *c, struct sys_mutex *m, int64_t timeout_us) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    if (timeout_us < 0) timeout_us = 0;
    int64_t ns = (int64_t)ts.tv_nsec + timeout_us % 1000000 * 1000;
    ts.tv_sec += timeout_us / 1000000 + ns / 1000000000;
    ts.tv_nsec = ns % 1000000000;
    int rc = pthread_cond_timedwait(cond_of(c), mutex_of(m), &ts);
    if (rc == ETIMEDOUT) return false;
    must(rc, "condition wait");
    return true;
}

int sys_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

int64_t sys_getpid(void) { return getpid(); }
const char *sys_getenv(const char *name) { return getenv(name); }
bool sys_is_tty(int fd) { return isatty(fd) == 1; }

int64_t sys_rss_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL) return 0;
    long long total = 0, resident = 0;
    int n = fscanf(f, "%lld %lld", &total, &resident);
    fclose(f);
    return n == 2 ? (int64_t)resident * sysconf(_SC_PAGESIZE) : 0;
}

int64_t sys_peak_rss_bytes(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}

int64_t sys_cpu_us(void) {
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0) return 0;
    return ((int64_t)u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}
