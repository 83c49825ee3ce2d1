// SPDX-License-Identifier: Apache-2.0
// How a member of a consumer group comes to its target assignment: it gives up what is not its own any more and says so, then takes what is
// free, and waits for the rest. Until it has given up, it stays in its epoch; if that takes longer than its rebalance time-out, it is fenced.
#include "broker/consumer_group.h"

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

static void step(struct consumer_member *m, int32_t epoch, const struct partition_set *owned) {
    const struct consumer_group *g = m->group;
    struct partition_set kept = {0}, revoking = {0}, wanted = {0}, none = {0};
    partition_set_common(&kept, &m->assigned, &m->target);
    partition_set_minus(&revoking, &m->assigned, &kept);
    if (revoking.n > 0 && (owned == NULL || partition_set_meets(owned, &revoking))) {
        m->state = CONSUMER_UNREVOKED;
        to_epoch(m, epoch);
        consumer_own(m, &kept, &revoking);
        return;
    }
    partition_set_minus(&wanted, &m->target, &kept);
    bool unreleased = false;
    size_t free = 0;
    consumer_own(m, &kept, &none); // its own revoked ones are free from here
    for (size_t i = 0; i < wanted.n; i++) {
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
}

bool consumer_reconcile(struct consumer_member *m, const struct partition_set *owned, struct group_records *r) {
    int32_t target = m->group->assignment_epoch, epoch = m->epoch, previous = m->previous_epoch;
    enum consumer_member_state state = m->state;
    switch (state) {
    case CONSUMER_STABLE:
        if (m->epoch == target) return false;
        step(m, m->epoch, owned);
        break;
    case CONSUMER_UNREVOKED: {
        if (owned == NULL || partition_set_meets(owned, &m->revoking)) return false;
        struct partition_set assigned = {0}, none = {0};
        partition_set_move(&assigned, &m->assigned);
        consumer_own(m, &assigned, &none);
        step(m, m->epoch < target ? m->epoch + 1 : target, owned);
        break;
    }
    case CONSUMER_UNRELEASED: {
        struct partition_set before = {0};
        partition_set_copy(&before, &m->assigned);
        step(m, m->epoch, owned);
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
