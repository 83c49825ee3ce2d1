// SPDX-License-Identifier: Apache-2.0
// ConsumerGroupHeartbeat and ConsumerGroupDescribe (KIP-848). Checks are in Kafka's order; a heartbeat's work is proportional to what changed.
// It changes the state in memory, writes what changed, and is answered when that is durable.
#include <stdlib.h>

#include "base/log.h"
#include "broker/classic_group.h"
#include "broker/consumer_assignor.h"
#include "broker/consumer_group.h"
#include "broker/dynamic.h"

// ---- checks ---------------------------------------------------------------------------------------------------------

static int check_join(struct consumer_heartbeat *h) {
    if (h->rebalance_timeout_ms == -1) return group_say(&h->call, KAFKA_INVALID_REQUEST, "RebalanceTimeoutMs must be provided in first request.");
    if (h->owned == NULL || h->n_owned > 0) return group_say(&h->call, KAFKA_INVALID_REQUEST, "TopicPartitions must be empty when (re-)joining.");
    if (h->topics != NULL || h->regex != NULL) return 0; // either may be empty: a member of the group that is subscribed to nothing yet
    return group_say(&h->call, KAFKA_INVALID_REQUEST, "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
}

static int check_assignor(const struct coordinator *c, struct consumer_heartbeat *h) {
    struct str rest = str_c(c->consumer.assignors), head;
    bool more = h->assignor != NULL, known = h->assignor == NULL;
    while (more && !known) {
        more = str_cut(rest, ',', &head, &rest);
        known = str_eq(str_trim(head), str_c(h->assignor));
    }
    if (known && (h->assignor == NULL || assignor_named(h->assignor) != NULL)) return 0;
    return group_say(&h->call, KAFKA_UNSUPPORTED_ASSIGNOR, "ServerAssignor %.40s is not supported. Supported assignors: %.60s.", h->assignor,
                     c->consumer.assignors);
}

// group.coordinator.rebalance.protocols names the consumer protocol, as it does unless somebody took it out.
static bool is_served(const struct coordinator *c) {
    struct str rest = str_c(broker_config_text(c->broker, "group.coordinator.rebalance.protocols")), head;
    for (bool more = true; more;) {
        more = str_cut(rest, ',', &head, &rest);
        if (str_eqc(str_trim(head), "consumer")) return true;
    }
    return false;
}

static int check_request(const struct coordinator *c, struct consumer_heartbeat *h) {
    if (!is_served(c)) return group_say(&h->call, KAFKA_UNSUPPORTED_VERSION, "group.coordinator.rebalance.protocols is without the consumer protocol.");
    bool no_id = h->member_id == NULL || group_text_blank(h->member_id);
    int error = 0;
    if (group_text_blank(h->group_id)) return group_say(&h->call, KAFKA_INVALID_REQUEST, "GroupId can't be empty.");
    if (no_id && (h->member_id_required || h->member_epoch != CONSUMER_EPOCH_JOIN))
        return group_say(&h->call, KAFKA_INVALID_REQUEST, "MemberId can't be empty.");
    if (h->group_instance_id != NULL && group_text_blank(h->group_instance_id)) return group_say(&h->call, KAFKA_INVALID_REQUEST, "InstanceId can't be empty.");
    if (h->rack_id != NULL && group_text_blank(h->rack_id)) return group_say(&h->call, KAFKA_INVALID_REQUEST, "RackId can't be empty.");
    if (h->member_epoch < CONSUMER_EPOCH_LEAVE_STATIC)
        return group_say(&h->call, KAFKA_INVALID_REQUEST, "MemberEpoch is %d, but must be greater than or equal to -2.", h->member_epoch);
    if (h->member_epoch == CONSUMER_EPOCH_LEAVE_STATIC && h->group_instance_id == NULL)
        return group_say(&h->call, KAFKA_INVALID_REQUEST, "InstanceId can't be null.");
    if (h->member_epoch == CONSUMER_EPOCH_JOIN) error = check_join(h);
    if (error == 0) error = check_assignor(c, h);
    if (error == 0 && h->regex != NULL && h->regex[0] != '\0' && !consumer_regex_ok(h->regex, h->call.message, sizeof h->call.message))
        error = KAFKA_INVALID_REGULAR_EXPRESSION;
    return error;
}

// ---- the group and the member ---------------------------------------------------------------------------------------

// A group of another type gives way when it is empty; a classic one may be upgraded while members are in it.
static int find_group(struct coordinator *c, struct consumer_heartbeat *h, struct group_records *r, struct consumer_group **out) {
    struct group *head = group_find(c, h->group_id);
    bool joins = h->member_epoch == CONSUMER_EPOCH_JOIN;
    *out = NULL;
    if (head == NULL && !joins) return group_say(&h->call, KAFKA_GROUP_ID_NOT_FOUND, "Consumer group %.200s not found.", h->group_id);
    if (head == NULL && (head = group_make(c, h->group_id, &consumer_group_ops)) == NULL)
        return group_say(&h->call, KAFKA_COORDINATOR_NOT_AVAILABLE, "The coordinator takes no more groups.");
    if (head->own == NULL) (void)consumer_group_new(head);
    if (head->ops != &consumer_group_ops) {
        if (joins && !head->ops->has_members(head) && !head->ops->keeps_empty) {
            group_become(head, &consumer_group_ops, r);
            (void)consumer_group_new(head);
        } else if (!joins || head->ops != &classic_group_ops || !consumer_upgrade(head, r)) {
            return group_not_found(&h->call, h->group_id, head, &consumer_group_ops);
        }
    }
    *out = head->own;
    return 0;
}

static int check_epoch(const struct consumer_member *m, struct consumer_heartbeat *h, const struct partition_set *owned) {
    if (h->member_epoch == m->epoch) return 0;
    // The answer that told of the new epoch may have been lost.
    if (h->member_epoch < m->epoch && h->member_epoch == m->previous_epoch && owned != NULL && partition_set_within(owned, &m->assigned)) return 0;
    return group_fenced_epoch(&h->call, "consumer", h->member_epoch, m->epoch);
}

// It says that it has nothing: what it had is free.
static void starts_anew(struct consumer_member *m) {
    struct partition_set none = {0}, no = {0};
    consumer_own(m, &none, &no);
    m->state = CONSUMER_STABLE;
    m->epoch = m->previous_epoch = 0;
}

static int join_static(struct consumer_group *g, struct consumer_heartbeat *h, const char *id, struct group_records *r,
                       struct consumer_member **out) {
    struct consumer_member *m = map_getc(&g->statics, h->group_instance_id);
    if (m == NULL) {
        *out = consumer_member_find(g, id);
        if (*out == NULL) *out = consumer_member_add(g, id);
        return 0;
    }
    if (!m->classic && m->epoch != CONSUMER_EPOCH_LEAVE_STATIC && strcmp(m->id, id) != 0)
        return group_unreleased_instance(&h->call, id, h->group_instance_id, m->id);
    if (strcmp(m->id, id) != 0) { // takes its place: assignment and target stay
        consumer_member_rename(m, id, r);
        consumer_put_member(m, r);
        consumer_put_target(m, r);
    }
    m->epoch = m->previous_epoch = 0;
    m->state = CONSUMER_STABLE;
    if (m->revoking.n > 0) { // it is not there to give them up: they are free
        struct partition_set assigned = {0}, none = {0};
        partition_set_move(&assigned, &m->assigned);
        consumer_own(m, &assigned, &none);
    }
    *out = m;
    return 0;
}

static int find_member(struct consumer_group *g, struct consumer_heartbeat *h, const char *id, const struct partition_set *owned,
                       struct group_records *r, struct consumer_member **out) {
    bool joins = h->member_epoch == CONSUMER_EPOCH_JOIN;
    *out = NULL;
    if (h->group_instance_id != NULL && joins) return join_static(g, h, id, r, out);
    if (h->group_instance_id != NULL) {
        struct consumer_member *m = map_getc(&g->statics, h->group_instance_id);
        if (m == NULL) return group_unknown_instance(&h->call, h->group_instance_id);
        if (strcmp(m->id, id) != 0) return group_fenced_instance(&h->call, id, h->group_instance_id, m->id);
        *out = m;
        return check_epoch(m, h, owned);
    }
    struct consumer_member *m = consumer_member_find(g, id);
    if (m == NULL && !joins) return group_unknown_member(&h->call, h->group_id, id);
    if (m == NULL) m = consumer_member_add(g, id);
    else if (!joins) *out = m;
    else if (m->epoch != 0) starts_anew(m);
    *out = m;
    return joins ? 0 : check_epoch(m, h, owned);
}

// ---- answers --------------------------------------------------------------------------------------------------------

static const struct group_partition *partitions_out(const struct partition_set *s, struct arena *a, size_t *n) {
    struct group_partition *out = ARENA_ARRAY(a, struct group_partition, s->n + 1);
    for (size_t i = 0; i < s->n; i++) {
        memcpy(out[i].topic_id, s->p[i].topic, 16);
        out[i].partition = s->p[i].partition;
    }
    *n = s->n;
    return out;
}

// ---- leave ----------------------------------------------------------------------------------------------------------

static void leave(struct coordinator *c, struct consumer_heartbeat *h) {
    struct group *head = group_find(c, h->group_id);
    struct consumer_group *g = consumer_find(c, h->group_id);
    if (g == NULL) {
        group_refuse(&h->call, group_not_found(&h->call, h->group_id, head, &consumer_group_ops));
        return;
    }
    struct consumer_member *m = h->group_instance_id == NULL ? consumer_member_find(g, h->member_id) : map_getc(&g->statics, h->group_instance_id);
    if (m == NULL) {
        group_refuse(&h->call, h->group_instance_id == NULL ? group_unknown_member(&h->call, h->group_id, h->member_id)
                                                            : group_unknown_instance(&h->call, h->group_instance_id));
        return;
    }
    if (strcmp(m->id, h->member_id) != 0) {
        group_refuse(&h->call, group_fenced_instance(&h->call, h->member_id, h->group_instance_id, m->id));
        return;
    }
    struct group_records *r = group_records_new(c);
    h->out_member_id = arena_strdup(h->call.arena, m->id);
    h->out_member_epoch = h->member_epoch;
    h->heartbeat_ms = 0;
    if (h->member_epoch == CONSUMER_EPOCH_LEAVE_STATIC) { // it comes back: nobody gets its partitions until its session is over
        struct partition_set assigned = {0}, none = {0};
        partition_set_move(&assigned, &m->assigned);
        partition_set_epoch(&assigned, 0); // whoever comes back has had them from the beginning
        consumer_own(m, &assigned, &none);
        m->state = CONSUMER_STABLE;
        m->previous_epoch = m->epoch;
        m->epoch = CONSUMER_EPOCH_LEAVE_STATIC;
        consumer_rebalance_timer(m);
        consumer_put_current(m, r);
    } else {
        consumer_member_leave(m, r);
    }
    group_records_submit(r, head, group_answer_durable, h);
}

// ---- heartbeat ------------------------------------------------------------------------------------------------------

// What the member says of itself. Bumps the group's epoch when its subscription is another one, or the group's assignor is now. True = the
// subscription is.
static bool update(struct consumer_group *g, struct consumer_member *m, const struct consumer_heartbeat *h, struct group_records *r) {
    bool changed = m->classic || m->epoch == 0, bump = g->epoch == 0;
    if (m->classic) {
        m->classic = false;
        consumer_protocols_fini(m);
        loop_timer_cancel(g->head->coordinator->loop, &m->join);
        loop_timer_cancel(g->head->coordinator->loop, &m->sync);
    }
    if (h->group_instance_id != NULL && (m->instance_id == NULL || strcmp(m->instance_id, h->group_instance_id) != 0)) {
        consumer_set_instance(m, h->group_instance_id);
        changed = true;
    }
    changed |= group_text_update(&m->rack_id, h->rack_id);
    const char *preferred = h->assignor == NULL ? NULL : consumer_assignor(g);
    if (group_text_update(&m->assignor, h->assignor)) {
        changed = true;
        bump = bump || strcmp(consumer_assignor(g), preferred) != 0;
    }
    changed |= group_text_update(&m->client_id, h->client_id);
    changed |= group_text_update(&m->client_host, h->client_host);
    if (h->rebalance_timeout_ms != -1 && h->rebalance_timeout_ms != m->rebalance_ms) {
        m->rebalance_ms = h->rebalance_timeout_ms;
        changed = true;
    }
    bool subscribed = h->topics != NULL && consumer_set_topics(m, h->topics, h->n_topics);
    if (subscribed) changed = bump = true;
    if (h->regex != NULL && consumer_set_regex(m, h->regex)) {
        const struct consumer_regex *x = m->regex == NULL ? NULL : map_getc(&g->regexes, m->regex);
        changed = subscribed = true;
        if (x == NULL || x->resolved) bump = true; // else the epoch goes up when its topics are known
        consumer_regex_sweep(g, r);
    }
    consumer_regex_used(m, &h->rights);
    if (changed) consumer_put_member(m, r);
    if (bump) {
        (void)consumer_refresh_topics(g);
        consumer_bump(g, r);
    }
    return subscribed;
}

static void owned_set(const struct consumer_heartbeat *h, struct partition_set *out) {
    for (size_t i = 0; i < h->n_owned; i++)
        if (h->owned[i].partition >= 0) partition_set_add(out, h->owned[i].topic_id, h->owned[i].partition);
    partition_set_sort(out);
}

static void beat(struct coordinator *c, struct consumer_heartbeat *h, struct consumer_group *g, const char *id, struct group_records *r) {
    struct partition_set owned = {0}, before = {0};
    struct consumer_member *m;
    owned_set(h, &owned);
    const struct partition_set *said = h->owned == NULL ? NULL : &owned;
    int error = 0;
    if ((int64_t)g->members.n >= c->consumer.max_size && consumer_member_find(g, id) == NULL && h->member_epoch == CONSUMER_EPOCH_JOIN &&
        (h->group_instance_id == NULL || map_getc(&g->statics, h->group_instance_id) == NULL))
        error = group_is_full(&h->call, "consumer", c->consumer.max_size);
    if (error == 0) error = find_member(g, h, id, said, r, &m);
    if (error != 0) {
        partition_set_fini(&owned);
        group_records_submit(r, g->head, NULL, NULL);
        group_refuse(&h->call, error);
        return;
    }
    bool joins = h->member_epoch == CONSUMER_EPOCH_JOIN;
    bool full = h->rebalance_timeout_ms != -1 && (h->topics != NULL || h->regex != NULL) && h->owned != NULL;
    partition_set_copy(&before, &m->assigned);
    bool subscribed = update(g, m, h, r);
    consumer_update_target(g, r);
    (void)consumer_reconcile(m, said, subscribed, r);
    consumer_touch(m);
    h->out_member_id = arena_strdup(h->call.arena, m->id);
    h->out_member_epoch = m->epoch;
    h->heartbeat_ms = consumer_next_heartbeat_ms(m);
    h->has_assignment = joins || full || !partition_set_equal(&before, &m->assigned);
    if (h->has_assignment) h->assignment = partitions_out(&m->assigned, h->call.arena, &h->n_assignment);
    partition_set_fini(&before);
    partition_set_fini(&owned);
    group_records_submit(r, g->head, group_answer_durable, h);
}

static void heartbeat_on_loop(void *arg) {
    struct consumer_heartbeat *h = arg;
    struct coordinator *c = coordinator_of(&h->call);
    struct consumer_group *g;
    uint8_t uuid[16];
    char id[37];
    h->has_assignment = false;
    h->n_assignment = 0;
    int error = c->stopping ? group_say(&h->call, KAFKA_COORDINATOR_NOT_AVAILABLE, "The coordinator is stopping.") : check_request(c, h);
    if (error != 0) {
        group_refuse(&h->call, error);
        return;
    }
    if (h->member_epoch < 0) {
        leave(c, h);
        return;
    }
    struct group_records *r = group_records_new(c);
    error = find_group(c, h, r, &g);
    if (error != 0) {
        group_records_free(r);
        group_refuse(&h->call, error);
        return;
    }
    sys_uuid(c->broker->sys, uuid);
    sys_uuid_text(uuid, id);
    beat(c, h, g, h->member_id[0] == '\0' ? id : h->member_id, r);
}

void group_consumer_heartbeat(struct broker *b, struct consumer_heartbeat *h) { coordinator_submit(b, &h->call, heartbeat_on_loop); }

// ---- describe -------------------------------------------------------------------------------------------------------

static const struct group_partition *named(struct broker *b, const struct partition_set *s, struct arena *a, size_t *n) {
    struct group_partition *out = (struct group_partition *)partitions_out(s, a, n);
    for (size_t i = 0, end; i < s->n; i = end) {
        struct broker_topic_info info;
        end = partition_set_run(s, i);
        const char *name = broker_topic_get_id(b, s->p[i].topic, a, &info) ? info.name : "";
        for (size_t k = i; k < end; k++) out[k].topic = name;
    }
    return out;
}

static void describe_member(struct broker *b, const struct consumer_member *m, struct arena *a, struct consumer_member_info *out) {
    *out = (struct consumer_member_info){.member_epoch = m->epoch, .n_topics = m->topics.n, .member_type = m->classic ? 0 : 1};
    out->member_id = group_text_copy(a, m->id);
    out->group_instance_id = group_text_copy(a, m->instance_id);
    out->rack_id = group_text_copy(a, m->rack_id);
    out->client_id = group_text_copy(a, m->client_id);
    out->client_host = group_text_copy(a, m->client_host);
    out->regex = group_text_copy(a, m->regex);
    const char **topics = ARENA_ARRAY(a, const char *, m->topics.n + 1);
    for (size_t i = 0; i < m->topics.n; i++) topics[i] = group_text_copy(a, m->topics.p[i]);
    out->topics = topics;
    out->assignment = named(b, &m->assigned, a, &out->n_assignment);
    out->target = named(b, &m->target, a, &out->n_target);
}

static void describe_on_loop(void *arg) {
    struct consumer_describe *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    const struct group *head = group_find(c, d->group_id);
    struct arena *a = d->call.arena;
    struct map_entry *e;
    d->state = d->assignor = "";
    d->members = NULL;
    d->n_members = 0;
    if (head == NULL || head->ops != &consumer_group_ops) {
        group_refuse(&d->call, group_not_found(&d->call, d->group_id, head, &consumer_group_ops));
        return;
    }
    const struct consumer_group *g = head->own;
    d->state = head->ops->state_name(head);
    d->assignor = consumer_assignor(g);
    d->group_epoch = g->epoch;
    d->assignment_epoch = g->assignment_epoch;
    d->members = ARENA_ARRAY(a, struct consumer_member_info, g->members.n + 1);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) describe_member(c->broker, e->value, a, &d->members[d->n_members++]);
    coordinator_answer(&d->call, 0, "");
}

void group_consumer_describe(struct broker *b, struct consumer_describe *d) { coordinator_submit(b, &d->call, describe_on_loop); }
