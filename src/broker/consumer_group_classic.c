// SPDX-License-Identifier: Apache-2.0
// Members of a consumer group who speak the classic protocol, and the change of a whole group between the two protocols while members are in it.
//
// JoinGroup is a heartbeat that says what the member has (its metadata tells), SyncGroup fetches what it may have, Heartbeat tells it to join
// again when there is something new. Its generation is its member epoch. Once told to join, or having joined, it has its rebalance time-out to
// do the next step.
#include "broker/classic_group.h"
#include "broker/consumer_group.h"
#include "broker/consumer_protocol.h"

#include "base/log.h"

static struct broker *broker_of(const struct consumer_group *g) { return g->head->coordinator->broker; }

static void join_over(void *arg) { consumer_member_fence(arg, "did not join again in time"); }
static void sync_over(void *arg) { consumer_member_fence(arg, "did not ask for its assignment in time"); }

static void expect(struct consumer_member *m, struct loop_timer *t, loop_fn *fn) {
    int64_t ms = m->rebalance_ms < 0 ? m->session_ms : m->rebalance_ms;
    loop_timer_set(m->group->head->coordinator->loop, t, ms * 1000, fn, m);
}

static bool differs(const char *wanted, const char *have) { return wanted != NULL && (have == NULL || strcmp(wanted, have) != 0); }

static int find(struct consumer_group *g, const char *id, const char *instance_id, struct consumer_member **out) {
    struct consumer_member *m = instance_id != NULL ? map_getc(&g->statics, instance_id) : id == NULL ? NULL : consumer_member_find(g, id);
    *out = NULL;
    if (m == NULL) return KAFKA_UNKNOWN_MEMBER_ID;
    if (id == NULL || strcmp(m->id, id) != 0) return KAFKA_FENCED_INSTANCE_ID;
    *out = m;
    return 0;
}

static int find_classic(struct consumer_group *g, const char *id, const char *instance_id, int32_t generation, struct consumer_member **out) {
    int error = find(g, id, instance_id, out);
    if (error != 0) return error;
    if (!(*out)->classic) return KAFKA_UNKNOWN_MEMBER_ID;
    return generation == (*out)->epoch ? 0 : KAFKA_ILLEGAL_GENERATION;
}

// ---- join -----------------------------------------------------------------------------------------------------------

static void refuse(struct group_join *j, int error, const char *member_id) {
    j->generation = -1;
    j->protocol_name = NULL;
    j->leader = "";
    j->out_member_id = arena_strdup(j->call.arena, member_id);
    j->members = NULL;
    j->n_members = 0;
    coordinator_answer(&j->call, error, "");
}

static bool knows(const struct consumer_member *m, const char *protocol) {
    for (size_t i = 0; i < m->protocols.n; i++)
        if (strcmp(m->protocols.p[i].name, protocol) == 0) return true;
    return false;
}

static bool all_know(const struct consumer_group *g, const char *protocol, const char *except) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct consumer_member *m = e->value;
        if (m->classic && strcmp(m->id, except) != 0 && !knows(m, protocol)) return false;
    }
    return true;
}

static bool accepts(const struct consumer_group *g, const struct group_join *j) {
    if (strcmp(j->protocol_type, "consumer") != 0) return false;
    for (size_t i = 0; i < j->n_protocols; i++)
        if (all_know(g, j->protocols[i].name, j->member_id)) return true;
    return false;
}

static int join_member(struct consumer_group *g, struct group_join *j, const char *id, bool is_new, struct group_records *r,
                       struct consumer_member **out) {
    struct consumer_member *m = j->group_instance_id == NULL ? consumer_member_find(g, id) : map_getc(&g->statics, j->group_instance_id);
    *out = m;
    if (j->group_instance_id == NULL || (m == NULL && is_new)) {
        if (m == NULL) *out = consumer_member_add(g, id);
        return 0;
    }
    if (m == NULL) return KAFKA_UNKNOWN_MEMBER_ID;
    if (!is_new) return strcmp(m->id, id) == 0 ? 0 : KAFKA_FENCED_INSTANCE_ID;
    consumer_member_rename(m, id, r);
    m->epoch = m->previous_epoch = 0;
    m->state = CONSUMER_STABLE;
    struct partition_set assigned = {0}, none = {0};
    partition_set_move(&assigned, &m->assigned);
    partition_set_epoch(&assigned, 0);
    consumer_own(m, &assigned, &none);
    consumer_put_target(m, r);
    return 0;
}

static bool update(struct consumer_member *m, const struct group_join *j, const struct consumer_subscription *s) {
    consumer_protocols_fini(m);
    for (size_t i = 0; i < j->n_protocols; i++) {
        struct consumer_protocol *p = vec_push(&m->protocols);
        *p = (struct consumer_protocol){.name = mem_strdup(j->protocols[i].name)};
        buf_put_str(&p->metadata, j->protocols[i].metadata);
    }
    m->classic = true;
    m->session_ms = j->session_timeout_ms;
    m->rebalance_ms = j->rebalance_timeout_ms < 0 ? j->session_timeout_ms : j->rebalance_timeout_ms;
    if (j->group_instance_id != NULL) consumer_set_instance(m, j->group_instance_id);
    if (s->rack_id != NULL) group_text_set(&m->rack_id, s->rack_id);
    group_text_set(&m->assignor, NULL);
    group_text_set(&m->client_id, j->client_id == NULL ? "" : j->client_id);
    group_text_set(&m->client_host, j->client_host == NULL ? "" : j->client_host);
    bool regex = consumer_set_regex(m, NULL);
    return consumer_set_topics(m, s->topics, s->n_topics) || regex;
}

static void join_durable(void *arg, int error) {
    struct group_join *j = arg;
    if (error != 0) j->generation = -1;
    coordinator_answer(&j->call, error, "");
}

static void join_as(struct consumer_group *g, struct group_join *j, const char *id, bool is_new, const struct consumer_subscription *s) {
    struct group *head = g->head;
    struct group_records *r = group_records_new(head->coordinator);
    struct consumer_member *m;
    int error = join_member(g, j, id, is_new, r, &m);
    if (error != 0) {
        group_records_free(r);
        refuse(j, error, j->member_id);
        return;
    }
    bool was_modern = !m->classic && m->epoch >= 0 && is_new && j->group_instance_id != NULL;
    bool bump = update(m, j, s) || g->epoch == 0;
    consumer_put_member(m, r);
    if (bump) {
        consumer_regex_sweep(g, r);
        (void)consumer_refresh_topics(g);
        consumer_bump(g, r);
    }
    consumer_update_target(g, r);
    (void)consumer_reconcile(m, &s->owned, bump, r);
    struct loop *loop = head->coordinator->loop;
    loop_timer_cancel(loop, &m->join);
    loop_timer_cancel(loop, &m->rebalance);
    consumer_touch(m);
    expect(m, &m->sync, sync_over);
    j->generation = m->epoch;
    j->protocol_name = arena_strdup(j->call.arena, m->protocols.p[0].name);
    j->leader = "";
    j->out_member_id = arena_strdup(j->call.arena, m->id);
    j->members = NULL;
    j->n_members = 0;
    if (was_modern && consumer_may_downgrade(g, NULL)) consumer_downgrade(g, r, bump);
    group_records_submit(r, head, join_durable, j);
}

void consumer_join_classic(struct group *head, struct group_join *j) {
    struct consumer_group *g = head->own;
    struct coordinator *c = head->coordinator;
    bool is_new = j->member_id[0] == '\0';
    struct consumer_subscription s = {0};
    uint8_t uuid[16];
    char id[37];
    sys_uuid(c->broker->sys, uuid);
    sys_uuid_text(uuid, id);
    bool there = j->group_instance_id != NULL ? map_getc(&g->statics, j->group_instance_id) != NULL : consumer_member_find(g, j->member_id) != NULL;
    if (!there && (int64_t)g->members.n >= c->consumer.max_size) {
        refuse(j, KAFKA_GROUP_MAX_SIZE_REACHED, j->member_id);
    } else if (!accepts(g, j) || !consumer_subscription_read(j->protocols[0].metadata, c->broker, j->call.arena, &s)) {
        refuse(j, KAFKA_INCONSISTENT_GROUP_PROTOCOL, j->member_id);
    } else if (is_new && j->group_instance_id == NULL && j->require_member_id) {
        refuse(j, KAFKA_MEMBER_ID_REQUIRED, id);
    } else {
        join_as(g, j, is_new ? id : j->member_id, is_new, &s);
    }
    partition_set_fini(&s.owned);
}

// There is a newer target, or its join would compute one.
static bool has_news(const struct consumer_member *m) {
    const struct consumer_group *g = m->group;
    return m->epoch < g->assignment_epoch || (m->epoch < g->epoch && assignment_wait_ms(g->head, &g->pace, "consumer") == 0);
}

// ---- sync, heartbeat, leave -----------------------------------------------------------------------------------------

static void sync_durable(void *arg, int error) {
    struct group_sync *s = arg;
    if (error != 0) s->assignment = (struct str){"", 0};
    coordinator_answer(&s->call, error, "");
}

void consumer_sync_classic(struct group *head, struct group_sync *s) {
    struct consumer_group *g = head->own;
    struct consumer_member *m;
    int error = find_classic(g, s->member_id, s->group_instance_id, s->generation, &m);
    if (error == 0 && (differs(s->protocol_type, "consumer") || differs(s->protocol_name, m->protocols.p[0].name)))
        error = KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    if (error == 0 && has_news(m) && m->state != CONSUMER_UNREVOKED) {
        error = KAFKA_REBALANCE_IN_PROGRESS;
        if (m->join.heap_index == 0) expect(m, &m->join, join_over);
    }
    s->out_protocol_type = s->out_protocol_name = NULL;
    s->assignment = (struct str){"", 0};
    if (error != 0) {
        coordinator_answer(&s->call, error, "");
        return;
    }
    struct buf assignment = {0};
    struct rd version = rd_of(m->protocols.p[0].metadata.p, m->protocols.p[0].metadata.n);
    consumer_assignment_write(broker_of(g), &m->assigned, rd_be16(&version), &assignment);
    s->assignment = arena_str(s->call.arena, buf_str(&assignment));
    buf_fini(&assignment);
    s->out_protocol_type = "consumer";
    s->out_protocol_name = arena_strdup(s->call.arena, m->protocols.p[0].name);
    loop_timer_cancel(head->coordinator->loop, &m->sync);
    consumer_touch(m);
    group_records_submit(group_records_new(head->coordinator), head, sync_durable, s);
}

void consumer_heartbeat_classic(struct group *head, struct group_heartbeat *h) {
    struct consumer_group *g = head->own;
    struct consumer_member *m;
    int error = find_classic(g, h->member_id, h->group_instance_id, h->generation, &m);
    if (error == 0) {
        consumer_touch(m);
        if (has_news(m) || m->state == CONSUMER_UNREVOKED || (m->state == CONSUMER_UNRELEASED && !consumer_waits_for_others(m))) {
            error = KAFKA_REBALANCE_IN_PROGRESS;
            if (m->join.heap_index == 0) expect(m, &m->join, join_over);
        }
    }
    coordinator_answer(&h->call, error, "");
}

int consumer_leave_classic(struct group *head, const struct group_leaver *l) {
    struct consumer_group *g = head->own;
    struct consumer_member *m;
    bool by_instance = l->group_instance_id != NULL && l->member_id[0] == '\0';
    if (by_instance) m = map_getc(&g->statics, l->group_instance_id);
    int error = by_instance ? (m == NULL ? KAFKA_UNKNOWN_MEMBER_ID : 0) : find(g, l->member_id, l->group_instance_id, &m);
    if (error != 0) return error;
    struct group_records *r = group_records_new(head->coordinator);
    consumer_member_leave(m, r);
    group_records_submit(r, head, NULL, NULL);
    return 0;
}

// ---- upgrade --------------------------------------------------------------------------------------------------------

static const struct member_protocol *spoken(const struct classic_group *g, const struct member *m) {
    for (size_t i = 0; i < m->protocols.n; i++)
        if (g->protocol_name != NULL && strcmp(m->protocols.p[i].name, g->protocol_name) == 0) return &m->protocols.p[i];
    return m->protocols.n == 0 ? NULL : &m->protocols.p[0];
}

static bool all_are_consumers(const struct classic_group *g, struct arena *a) {
    struct map_entry *e;
    if (g->protocol_type == NULL || strcmp(g->protocol_type, "consumer") != 0) return false;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct member_protocol *p = spoken(g, e->value);
        struct consumer_subscription s;
        if (p == NULL || !consumer_subscription_read(buf_str(&p->metadata), NULL, a, &s)) return false;
    }
    return true;
}

static void upgrade_member(struct consumer_group *to, const struct classic_group *g, const struct member *from, struct arena *a) {
    struct consumer_subscription s = {0};
    struct partition_set assigned = {0}, none = {0};
    struct consumer_member *m = consumer_member_add(to, from->id);
    const struct member_protocol *p0 = spoken(g, from);
    if (p0 != NULL) (void)consumer_subscription_read(buf_str(&p0->metadata), NULL, a, &s);
    consumer_set_instance(m, from->instance_id);
    group_text_set(&m->rack_id, s.rack_id);
    group_text_set(&m->client_id, from->client_id);
    group_text_set(&m->client_host, from->client_host);
    (void)consumer_set_topics(m, s.topics, s.n_topics);
    m->classic = true;
    m->session_ms = from->session_ms;
    m->rebalance_ms = from->rebalance_ms;
    m->epoch = m->previous_epoch = g->generation;
    for (size_t i = 0; i < from->protocols.n; i++) {
        struct consumer_protocol *p = vec_push(&m->protocols);
        *p = (struct consumer_protocol){.name = mem_strdup(from->protocols.p[i].name)};
        buf_put_str(&p->metadata, buf_str(&from->protocols.p[i].metadata));
    }
    (void)consumer_assignment_read(buf_str(&from->assignment), broker_of(to), &assigned);
    size_t kept = 0; // an assignor of the clients may have given one to two
    for (size_t i = 0; i < assigned.n; i++)
        if (consumer_is_free(to, &assigned.p[i])) assigned.p[kept++] = assigned.p[i];
    assigned.n = kept;
    for (size_t i = 0; i < assigned.n; i++) assigned.p[i].epoch = g->generation;
    partition_set_copy(&m->target, &assigned);
    consumer_own(m, &assigned, &none);
}

bool consumer_upgrade(struct group *head, struct group_records *r) {
    struct coordinator *c = head->coordinator;
    struct classic_group *from = head->own;
    struct map_entry *e;
    struct arena a;
    arena_init(&a);
    bool may = c->consumer.upgrade && (int64_t)from->members.n <= c->consumer.max_size && all_are_consumers(from, &a);
    if (may) {
        log_info("broker", "classic group becomes a consumer group", "group", head->id, NULL);
        bool settled = from->state == CLASSIC_STABLE;
        for (size_t it = 0; (e = map_next(&from->members, &it)) != NULL;) {
            struct member *m = e->value;
            if (m->joining != NULL) classic_answer_join(m, m->joining, KAFKA_REBALANCE_IN_PROGRESS, false);
            if (m->syncing != NULL) classic_answer_sync(m, m->syncing, KAFKA_REBALANCE_IN_PROGRESS);
        }
        head->ops->put_tombstones(head, r);
        head->own = NULL;
        head->ops = &consumer_group_ops;
        struct consumer_group *g = consumer_group_new(head);
        g->epoch = g->assignment_epoch = from->generation;
        for (size_t it = 0; (e = map_next(&from->members, &it)) != NULL;) upgrade_member(g, from, e->value, &a);
        (void)consumer_refresh_topics(g);
        for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
            consumer_touch(e->value);
            if (!settled) expect(e->value, &((struct consumer_member *)e->value)->join, join_over);
        }
        consumer_put_live(head, r);
        classic_dispose(from, c->loop);
    }
    arena_fini(&a);
    return may;
}

// ---- downgrade ------------------------------------------------------------------------------------------------------

bool consumer_may_downgrade(const struct consumer_group *g, const struct consumer_member *except) {
    const struct coordinator *c = g->head->coordinator;
    struct map_entry *e;
    size_t left = 0;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct consumer_member *m = e->value;
        if (m == except) continue;
        if (!m->classic) return false;
        left++;
    }
    // When a classic member goes, the group was downgraded before, or must not be.
    return left > 0 && (int64_t)left <= c->max_size && c->consumer.downgrade && (except == NULL || !except->classic);
}

static void downgrade_member(struct classic_group *to, struct consumer_group *g, const struct consumer_member *from) {
    struct group_protocol *protocols = mem_zalloc((from->protocols.n + 1) * sizeof *protocols);
    for (size_t i = 0; i < from->protocols.n; i++)
        protocols[i] = (struct group_protocol){from->protocols.p[i].name, buf_str(&from->protocols.p[i].metadata)};
    struct group_join j = {.group_instance_id = from->instance_id, .protocol_type = "consumer", .client_id = from->client_id};
    j.client_host = from->client_host;
    j.session_timeout_ms = from->session_ms;
    j.rebalance_timeout_ms = from->rebalance_ms;
    j.protocols = protocols;
    j.n_protocols = from->protocols.n;
    struct member *m = member_add(to, from->id, &j);
    member_touch(m);
    struct rd version = rd_of(from->protocols.p[0].metadata.p, from->protocols.p[0].metadata.n);
    consumer_assignment_write(broker_of(g), &from->assigned, rd_be16(&version), &m->assignment);
    mem_free(protocols);
}

void consumer_downgrade(struct consumer_group *g, struct group_records *r, bool rebalance) {
    struct group *head = g->head;
    struct map_entry *e;
    log_info("broker", "consumer group becomes a classic group", "group", head->id, NULL);
    consumer_put_tombstones(head, r);
    head->own = NULL;
    head->ops = &classic_group_ops;
    classic_own_new(head);
    struct classic_group *to = head->own;
    to->generation = g->epoch;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) downgrade_member(to, g, e->value);
    to->state = CLASSIC_STABLE;
    const char *protocol = classic_choose(to);
    to->protocol_name = protocol == NULL ? NULL : mem_strdup(protocol);
    head->ops->put_live(head, r);
    head->own = g; // to free it
    consumer_group_ops.free_own(head);
    head->own = to;
    if (rebalance) classic_rebalance(to);
}
