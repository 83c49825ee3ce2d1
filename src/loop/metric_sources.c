// SPDX-License-Identifier: Apache-2.0
// The table of metric sources: see metric_sources.h. It is made at the first use and lives as long as the process.
#include "loop/metric_sources.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "sys/sys.h"

struct source {
    metric_source_fn *fn; // NULL = free; not before nobody asks it
    void *arg;
    int asking; // scrapes that are inside fn
    bool leaving;
};

struct table {
    struct sys_mutex mutex;
    struct sys_cond asked; // somebody came out of a source
    struct source sources[METRIC_SOURCES_MAX];
};

static _Atomic(struct table *) made;

static struct table *table(void) {
    struct table *t = atomic_load(&made), *mine = NULL;
    if (t != NULL) return t;
    mine = MEM_NEW(struct table);
    sys_mutex_init(&mine->mutex);
    sys_cond_init(&mine->asked);
    if (atomic_compare_exchange_strong(&made, &t, mine)) return mine;
    sys_cond_fini(&mine->asked); // another one was quicker
    sys_mutex_fini(&mine->mutex);
    mem_free(mine);
    return t;
}

static struct source *find(struct table *t, metric_source_fn *fn, void *arg) { // under the mutex
    for (int i = 0; i < METRIC_SOURCES_MAX; i++)
        if (t->sources[i].fn == fn && t->sources[i].arg == arg && !t->sources[i].leaving) return &t->sources[i];
    return NULL;
}

bool metric_sources_add(metric_source_fn *fn, void *arg) {
    struct table *t = table();
    sys_mutex_lock(&t->mutex);
    struct source *s = find(t, NULL, NULL);
    if (s != NULL) *s = (struct source){.fn = fn, .arg = arg};
    sys_mutex_unlock(&t->mutex);
    return s != NULL;
}

void metric_sources_remove(metric_source_fn *fn, void *arg) {
    struct table *t = table();
    sys_mutex_lock(&t->mutex);
    struct source *s = find(t, fn, arg);
    if (s != NULL) {
        s->leaving = true;
        while (s->asking > 0) sys_cond_wait(&t->asked, &t->mutex);
        *s = (struct source){0};
    }
    sys_mutex_unlock(&t->mutex);
}

void metric_sources_render(struct buf *out) {
    struct table *t = table();
    sys_mutex_lock(&t->mutex);
    for (int i = 0; i < METRIC_SOURCES_MAX; i++) {
        struct source *s = &t->sources[i];
        if (s->fn == NULL || s->leaving) continue;
        s->asking++;
        sys_mutex_unlock(&t->mutex);
        s->fn(s->arg, out);
        sys_mutex_lock(&t->mutex);
        if (--s->asking == 0) sys_cond_broadcast(&t->asked);
    }
    sys_mutex_unlock(&t->mutex);
}
