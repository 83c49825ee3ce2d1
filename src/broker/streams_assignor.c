// SPDX-License-Identifier: Apache-2.0
// The assignor of streams groups ("sticky"): active tasks as evenly as can be, at the member that had them, or had their state as a stand-by,
// one partition after the other, so that each member has its share of every subtopology and of the state;
// stand-by tasks of stateful subtopologies on other processes than the active one, at whom had them before, else where there is least to do.
#include <assert.h>
#include <stdlib.h>

#include "broker/streams_group.h"

struct assigning {
    struct streams_group *g;
    struct streams_member **members;
    struct task_sets *out;
    size_t n_members, n_tasks;
    struct topic_partition *tasks; // by partition, then subtopology
    int32_t *owners;               // of the active tasks; -1 = nobody
    size_t *active, *load;         // of each member: active tasks, and all
};

static bool has(const struct partition_set *s, const struct topic_partition *t) {
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = topic_partition_cmp(&s->p[mid], t);
        if (c == 0) return true;
        if (c < 0) low = mid + 1;
        else high = mid;
    }
    return false;
}

static void take(struct assigning *w, size_t task, size_t m) {
    w->owners[task] = (int32_t)m;
    w->active[m]++;
    w->load[m]++;
}

// Members who had the task in this role keep it, up to `quota` each and one more for `extras` of them.
static void keep(struct assigning *w, int role, size_t quota, size_t *extras) {
    for (size_t m = 0; m < w->n_members; m++)
        for (size_t t = 0; t < w->n_tasks; t++) {
            if (w->owners[t] >= 0 || !has(&w->members[m]->target.of[role], &w->tasks[t])) continue;
            if (w->active[m] > quota || (w->active[m] == quota && *extras == 0)) continue;
            if (w->active[m] == quota) (*extras)--;
            take(w, t, m);
        }
}

static void give_rest(struct assigning *w) {
    for (size_t t = 0; t < w->n_tasks; t++) {
        if (w->owners[t] >= 0) continue;
        size_t best = 0;
        for (size_t m = 1; m < w->n_members; m++)
            if (w->active[m] < w->active[best]) best = m;
        take(w, t, best);
    }
}

static bool same_process(const struct streams_member *a, const struct streams_member *b) {
    return a == b || (a->process_id != NULL && b->process_id != NULL && strcmp(a->process_id, b->process_id) == 0);
}

static bool may_stand_by(const struct assigning *w, size_t t, size_t m) {
    if (same_process(w->members[m], w->members[w->owners[t]])) return false;
    for (size_t o = 0; o < w->n_members; o++)
        if (same_process(w->members[m], w->members[o]) && has(&w->out[o].of[STREAMS_STANDBY], &w->tasks[t])) return false;
    return true;
}

static void stand_by(struct assigning *w, size_t t) {
    size_t best = SIZE_MAX;
    bool best_had = false;
    for (size_t m = 0; m < w->n_members; m++) {
        if (!may_stand_by(w, t, m)) continue;
        bool had = has(&w->members[m]->target.of[STREAMS_STANDBY], &w->tasks[t]) || has(&w->members[m]->target.of[STREAMS_ACTIVE], &w->tasks[t]);
        if (best != SIZE_MAX && (best_had > had || (best_had == had && w->load[best] <= w->load[m]))) continue;
        best = m;
        best_had = had;
    }
    if (best == SIZE_MAX) return; // fewer processes than replicas
    partition_set_add(&w->out[best].of[STREAMS_STANDBY], w->tasks[t].topic, w->tasks[t].partition);
    partition_set_sort(&w->out[best].of[STREAMS_STANDBY]);
    w->load[best]++;
}

static void list_tasks(struct assigning *w) {
    const struct streams_group *g = w->g;
    size_t n = 0;
    int32_t most = 0;
    for (size_t s = 0; s < g->topology->n_subtopologies; s++) {
        n += (size_t)g->plan.tasks[s];
        if (g->plan.tasks[s] > most) most = g->plan.tasks[s];
    }
    w->tasks = mem_zalloc((n + 1) * sizeof *w->tasks);
    w->owners = mem_alloc((n + 1) * sizeof *w->owners);
    for (int32_t p = 0; p < most; p++)
        for (size_t s = 0; s < g->topology->n_subtopologies; s++) {
            if (p >= g->plan.tasks[s]) continue;
            task_id(w->tasks[w->n_tasks].topic, s);
            w->owners[w->n_tasks] = -1;
            w->tasks[w->n_tasks++].partition = p;
        }
}

void streams_assign(struct streams_group *g, struct task_sets *out, int32_t standbys) {
    struct assigning w = {.g = g, .out = out};
    struct map_entry *e;
    if (g->members.n == 0 || g->plan.tasks == NULL) return;
    w.members = mem_zalloc((g->members.n + 1) * sizeof *w.members);
    w.active = mem_zalloc((g->members.n + 1) * sizeof *w.active);
    w.load = mem_zalloc((g->members.n + 1) * sizeof *w.load);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) w.members[w.n_members++] = e->value;
    list_tasks(&w);
    size_t quota = w.n_tasks / w.n_members, extras = w.n_tasks % w.n_members;
    keep(&w, STREAMS_ACTIVE, quota, &extras);
    keep(&w, STREAMS_STANDBY, quota, &extras);
    give_rest(&w);
    for (size_t t = 0; t < w.n_tasks; t++) {
        assert(w.owners[t] >= 0);
        partition_set_add(&out[w.owners[t]].of[STREAMS_ACTIVE], w.tasks[t].topic, w.tasks[t].partition);
    }
    for (size_t m = 0; m < w.n_members; m++) partition_set_sort(&out[m].of[STREAMS_ACTIVE]);
    for (int32_t i = 0; i < standbys; i++)
        for (size_t t = 0; t < w.n_tasks; t++)
            if (g->topology->subtopologies[task_subtopology(&w.tasks[t])].n_changelogs > 0) stand_by(&w, t);
    mem_free(w.members);
    mem_free(w.active);
    mem_free(w.load);
    mem_free(w.tasks);
    mem_free(w.owners);
}
