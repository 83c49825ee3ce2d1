// SPDX-License-Identifier: Apache-2.0
// How a member of a consumer group comes to its target assignment: it gives up what is not its own any more and says so, then takes what is
// free, and waits for the rest. Until it has given up, it stays in its epoch; if that takes longer than its rebalance time-out, it is fenced.
#include "broker/consumer_group.h"

#include <stdlib.h>

static void gives_up_too_slowly(void *arg) { consumer_member_fence(arg, "rebalance timed out"); }

void consumer_rebalance_timer(struct consumer_member *m) {
    struct loop *loop = m->group->head->coordinator->loop;
    if (m->state != CONSUMER_UNREVOKED || m->classic) loop_timer_cancel(loop, &m->rebalance);
    else if (m->rebalance.heap_index == 0) loop_timer_set(loop, &m->rebalance, (int64_t)m->rebalance_ms * 1000, gives_up_too_slowly, m);
}

static void to_epoch(struct consumer_member *m, int32_t epoch) {
    m->previous_epoch = m->epoch;
    m->epoch = epoch;
}

static int by_id(const void *a, const void *b) { return memcmp(a, b, 16); }

// The part of a set whose topics the member subscribes. A regular expression that is not resolved yet matches nothing.
static void subscribed_part(struct partition_set *out, const struct consumer_member *m, const struct partition_set *s) {
    const struct consumer_regex *x = m->regex == NULL ? NULL : map_getc(&m->group->regexes, m->regex);
    size_t n = 0, more = x == NULL ? 0 : x->topics.n;
    uint8_t(*ids)[16] = mem_alloc((m->topics.n + more + 1) * sizeof *ids);
    for (size_t i = 0; i < m->topics.n + more; i++) {
        const struct consumer_topic *t = map_getc(&m->group->topics, i < m->topics.n ? m->topics.p[i] : x->topics.p[i - m->topics.n]);
        if (t != NULL && t->partitions > 0) memcpy(ids[n++], t->id, 16);
    }
    qsort(ids, n, sizeof *ids, by_id);
    out->n = 0;
    for (size_t i = 0, end; i < s->n; i = end) {
        end = partition_set_run(s, i);
        if (bsearch(s->p[i].topic, ids, n, sizeof *ids, by_id) == NULL) continue;
        for (size_t k = i; k < end; k++) vec_add(out, s->p[k]);
    }
    mem_free(ids);
}

// The target, as far as it is still what the member wants: an older one may have topics that it does not subscribe any more.
static void current_target(struct partition_set *out, const struct consumer_member *m) {
    const struct consumer_group *g = m->group;
    const struct consumer_regex *x = m->regex == NULL ? NULL : map_getc(&g->regexes, m->regex);
    if (g->epoch > g->assignment_epoch || (x != NULL && !x->resolved)) subscribed_part(out, m, &m->target);
    else partition_set_copy(out, &m->target);
}

static void step(struct consumer_member *m, const struct partition_set *owned) {
    const struct consumer_group *g = m->group;
    struct partition_set target = {0}, kept = {0}, revoking = {0}, wanted = {0}, none = {0};
    current_target(&target, m);
    partition_set_common(&kept, &m->assigned, &target);
    partition_set_minus(&revoking, &m->assigned, &kept);
    if (revoking.n > 0 && (owned == NULL || partition_set_meets(owned, &revoking))) {
        m->state = CONSUMER_UNREVOKED;
        to_epoch(m, m->epoch);
        consumer_own(m, &kept, &revoking);
        partition_set_fini(&target);
        return;
    }
    partition_set_minus(&wanted, &target, &kept);
    bool unreleased = false;
    size_t free = 0;
    consumer_own(m, &kept, &none); // its own revoked ones are free from here
    for (size_t i = 0; i < wanted.n; i++) {
        wanted.p[i].epoch = g->assignment_epoch;
        if (consumer_is_free(g, &wanted.p[i])) wanted.p[free++] = wanted.p[i];
        else unreleased = true;
    }
    wanted.n = free;
    partition_set_merge(&wanted, &m->assigned);
    none = (struct partition_set){0};
    consumer_own(m, &wanted, &none);
    m->state = unreleased ? CONSUMER_UNRELEASED : CONSUMER_STABLE;
    to_epoch(m, g->assignment_epoch);
    partition_set_fini(&revoking);
    partition_set_fini(&target);
}

// Between two targets: what the member does not subscribe any more it gives up now. False = it has none of that.
static bool shrink(struct consumer_member *m, const struct partition_set *owned) {
    struct partition_set kept = {0}, gone = {0}, revoking = {0};
    subscribed_part(&kept, m, &m->assigned);
    partition_set_minus(&gone, &m->assigned, &kept);
    bool any = gone.n > 0;
    if (any) {
        partition_set_copy(&revoking, &m->revoking);
        partition_set_merge(&revoking, &gone);
        if (owned == NULL || partition_set_meets(owned, &revoking)) m->state = CONSUMER_UNREVOKED;
        else partition_set_copy(&revoking, &m->revoking); // it has none of them, so what was being given up is none either
        to_epoch(m, m->epoch);
        consumer_own(m, &kept, &revoking);
    }
    partition_set_fini(&kept);
    partition_set_fini(&gone);
    partition_set_fini(&revoking);
    return any;
}

bool consumer_reconcile(struct consumer_member *m, const struct partition_set *owned, bool subscription_changed, struct group_records *r) {
    int32_t target = m->group->assignment_epoch, epoch = m->epoch, previous = m->previous_epoch;
    enum consumer_member_state state = m->state;
    switch (state) {
    case CONSUMER_STABLE:
        if (m->epoch != target) step(m, owned);
        else if (!subscription_changed || !shrink(m, owned)) return false;
        break;
    case CONSUMER_UNREVOKED: {
        if (owned == NULL || partition_set_meets(owned, &m->revoking)) {
            if (!subscription_changed || !shrink(m, owned)) return false;
            break;
        }
        struct partition_set assigned = {0}, none = {0};
        partition_set_move(&assigned, &m->assigned);
        consumer_own(m, &assigned, &none);
        step(m, owned);
        break;
    }
    case CONSUMER_UNRELEASED: {
        struct partition_set before = {0};
        partition_set_copy(&before, &m->assigned);
        step(m, owned);
        bool same = m->state == state && m->epoch == epoch && m->revoking.n == 0 && partition_set_equal(&before, &m->assigned);
        partition_set_fini(&before);
        if (same) { // nothing came free: nothing to write
            m->previous_epoch = previous;
            return false;
        }
        break;
    }
    }
    consumer_put_current(m, r);
    consumer_rebalance_timer(m);
    return true;
}

bool consumer_waits_for_others(const struct consumer_member *m) {
    struct partition_set wanted = {0};
    bool waits = false;
    partition_set_minus(&wanted, &m->target, &m->assigned);
    for (size_t i = 0; i < wanted.n && !waits; i++) waits = !consumer_is_free(m->group, &wanted.p[i]);
    partition_set_fini(&wanted);
    return waits;
}
