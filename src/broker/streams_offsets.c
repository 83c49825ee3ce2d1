// SPDX-License-Identifier: Apache-2.0
// How far the members of a streams group say that their tasks' state is, and where its changelogs end: for describe only, as in Kafka, which gives no
// warm-up tasks yet either. On the coordinator's loop, in memory only: after a restart it is not known until they say it again. A list replaces the
// one before; of tasks that the group does not have nothing is kept, so that a member's lists are bounded by the tasks.
#include <stdlib.h>

#include "broker/streams_group.h"

static int by_task(const void *x, const void *y) {
    const struct streams_task_offset *a = x, *b = y;
    int c = strcmp(a->subtopology, b->subtopology);
    return c != 0 ? c : (a->partition > b->partition) - (a->partition < b->partition);
}

static const char *duplicate(const struct streams_task_offsets *said, struct arena *a) {
    if (!said->given || said->n < 2) return NULL;
    struct streams_task_offset *all = ARENA_ARRAY(a, struct streams_task_offset, said->n);
    memcpy(all, said->p, said->n * sizeof *all);
    qsort(all, said->n, sizeof *all, by_task);
    for (size_t i = 1; i < said->n; i++)
        if (by_task(&all[i - 1], &all[i]) == 0)
            return arena_printf(a, "Task offsets contain a duplicate entry for subtopology %s and partition %d.", all[i].subtopology, all[i].partition);
    return NULL;
}

const char *streams_offsets_fault(const struct streams_heartbeat *h) {
    const char *fault = duplicate(&h->offsets, h->call.arena);
    return fault != NULL ? fault : duplicate(&h->end_offsets, h->call.arena);
}

static void take(struct streams_member *m, const struct streams_task_offsets *said, task_offsets *to) {
    const struct streams_group *g = m->group;
    if (!said->given) return;
    to->n = 0;
    for (size_t i = 0; g->plan.tasks != NULL && i < said->n; i++) {
        int sub = streams_subtopology(g, said->p[i].subtopology);
        if (sub < 0 || said->p[i].partition < 0 || said->p[i].partition >= g->plan.tasks[sub]) continue;
        vec_add(to, ((struct task_offset){(size_t)sub, said->p[i].partition, said->p[i].offset}));
    }
    if (to->n == 0) vec_fini(to);
}

void streams_offsets_take(struct streams_member *m, const struct streams_heartbeat *h) {
    take(m, &h->offsets, &m->offsets);
    take(m, &h->end_offsets, &m->end_offsets);
}

void streams_offsets_drop(struct streams_member *m) {
    vec_fini(&m->offsets);
    vec_fini(&m->end_offsets);
}

static struct streams_task_offsets told(const struct streams_group *g, const task_offsets *from, struct arena *a) {
    struct streams_task_offset *out = ARENA_ARRAY(a, struct streams_task_offset, from->n + 1);
    for (size_t i = 0; i < from->n; i++)
        out[i] = (struct streams_task_offset){arena_strdup(a, g->topology->subtopologies[from->p[i].subtopology].id), from->p[i].partition, from->p[i].offset};
    return (struct streams_task_offsets){true, out, from->n};
}

void streams_offsets_fill(const struct streams_member *m, struct arena *a, struct streams_member_info *out) {
    out->offsets = told(m->group, &m->offsets, a);
    out->end_offsets = told(m->group, &m->end_offsets, a);
}
