// SPDX-License-Identifier: Apache-2.0
// The calls of classic consumer groups: join, sync, heartbeat, leave. Every call is posted to the coordinator's loop and answered by a post to
// the caller's. Checks are in Kafka's order.
#include "broker/classic_group.h"
#include "broker/consumer_group.h"

// The member that a call names, or why it may not act: 0, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
static int find_member(const struct classic_group *g, const char *member_id, const char *instance_id, struct member **out) {
    *out = NULL;
    if (g == NULL || member_id == NULL) return KAFKA_UNKNOWN_MEMBER_ID;
    if (instance_id != NULL) {
        struct member *m = map_getc(&g->statics, instance_id);
        if (m == NULL) return KAFKA_UNKNOWN_MEMBER_ID;
        if (strcmp(m->id, member_id) != 0) return KAFKA_FENCED_INSTANCE_ID;
        *out = m;
        return 0;
    }
    *out = member_find(g, member_id);
    return *out == NULL ? KAFKA_UNKNOWN_MEMBER_ID : 0;
}

// ---- join -----------------------------------------------------------------------------------------------------------

static void refuse_join(struct group_join *j, int error, const char *member_id, const char *message) {
    j->generation = -1;
    j->protocol_name = NULL;
    j->leader = "";
    j->out_member_id = member_id == NULL ? "" : arena_strdup(j->call.arena, member_id);
    j->members = NULL;
    j->n_members = 0;
    coordinator_answer(&j->call, error, message);
}

static void join_waits(struct classic_group *g, struct member *m, struct group_join *j) {
    if (m->joining != NULL && m->joining != j) classic_answer_join(m, m->joining, KAFKA_UNKNOWN_MEMBER_ID, false);
    m->joining = j;
    classic_rebalance(g);
}

static void add_and_rebalance(struct classic_group *g, const char *id, struct group_join *j) {
    struct member *m = member_add(g, id, j);
    member_touch(m);
    if (g->state == CLASSIC_PREPARING && g->initial_delay) g->new_member = true;
    join_waits(g, m, j);
}

static void update_and_rebalance(struct classic_group *g, struct member *m, struct group_join *j) {
    member_update(m, j);
    member_touch(m);
    join_waits(g, m, j);
}

static char *new_member_id(const struct coordinator *c, const struct group_join *j) {
    uint8_t id[16];
    char text[37];
    sys_uuid(c->broker->sys, id);
    sys_uuid_text(id, text);
    return mem_printf("%.200s-%s", j->group_instance_id != NULL ? j->group_instance_id : j->client_id == NULL ? "" : j->client_id, text);
}

static void rename_member(struct classic_group *g, struct member *m, const char *id) {
    bool leads = g->leader != NULL && strcmp(g->leader, m->id) == 0;
    map_remove(&g->members, str_c(m->id));
    mem_free(m->id);
    m->id = mem_strdup(id);
    map_put(&g->members, str_c(id), m);
    if (!leads) return;
    mem_free(g->leader);
    g->leader = mem_strdup(id);
}

// A static member is back under a new id: its old self is fenced. In a stable group nothing else happens if the protocol stays the same.
static void replace_static(struct classic_group *g, struct member *m, const char *id, struct group_join *j) {
    if (m->joining != NULL) classic_answer_join(m, m->joining, KAFKA_FENCED_INSTANCE_ID, false);
    if (m->syncing != NULL) classic_answer_sync(m, m->syncing, KAFKA_FENCED_INSTANCE_ID);
    char *old_id = mem_strdup(m->id);
    bool led = g->leader != NULL && strcmp(g->leader, m->id) == 0;
    rename_member(g, m, id);
    member_update(m, j);
    member_touch(m);
    const char *protocol = classic_choose(g);
    bool same = g->state == CLASSIC_STABLE && protocol != NULL && strcmp(protocol, g->protocol_name) == 0;
    if (!same) {
        join_waits(g, m, j);
    } else {
        classic_save(g);
        j->skip_assignment = led && j->may_skip_assignment;
        // Older clients that led would assign anew, without members: they are told that somebody else leads.
        if (led && !j->may_skip_assignment) j->leader = arena_strdup(j->call.arena, old_id);
        classic_answer_join(m, j, 0, j->skip_assignment);
    }
    mem_free(old_id);
}

static void join_new(struct coordinator *c, struct classic_group *g, struct group_join *j) {
    struct member *m = j->group_instance_id == NULL ? NULL : map_getc(&g->statics, j->group_instance_id);
    char *id = new_member_id(c, j);
    if (m != NULL) {
        replace_static(g, m, id, j);
    } else if (j->group_instance_id == NULL && j->require_member_id) {
        pending_add(g, id, j->session_timeout_ms);
        refuse_join(j, KAFKA_MEMBER_ID_REQUIRED, id, "join again with this member id");
    } else {
        add_and_rebalance(g, id, j);
    }
    mem_free(id);
}

static void join_known(struct classic_group *g, struct member *m, struct group_join *j) {
    bool same = member_matches(m, j), leads = g->leader != NULL && strcmp(g->leader, m->id) == 0;
    switch (g->state) {
    case CLASSIC_EMPTY: refuse_join(j, KAFKA_UNKNOWN_MEMBER_ID, j->member_id, ""); return; // has no members
    case CLASSIC_PREPARING: update_and_rebalance(g, m, j); return;
    case CLASSIC_COMPLETING: // its answer got lost
        if (same) {
            member_touch(m);
            classic_answer_join(m, j, 0, leads);
        } else {
            update_and_rebalance(g, m, j);
        }
        return;
    case CLASSIC_STABLE: // a leader who joins wants a rebalance: its topics changed
        if (same && !leads) {
            member_touch(m);
            classic_answer_join(m, j, 0, false);
        } else {
            update_and_rebalance(g, m, j);
        }
        return;
    }
}

static void join_with_id(struct classic_group *g, struct group_join *j) {
    struct member *m = NULL;
    if (j->group_instance_id == NULL && pending_remove(g, j->member_id)) {
        add_and_rebalance(g, j->member_id, j);
        return;
    }
    int error = find_member(g, j->member_id, j->group_instance_id, &m);
    if (error != 0) refuse_join(j, error, j->member_id, "");
    else join_known(g, m, j);
}

// There is a group of another type. An empty one gives way; true = answered.
static bool join_other_type(struct group *g, struct group_join *j) {
    bool members = g->ops->has_members(g);
    if (g->ops == &consumer_group_ops && members) {
        consumer_join_classic(g, j);
    } else if (members || g->ops->keeps_empty) {
        refuse_join(j, KAFKA_INCONSISTENT_GROUP_PROTOCOL, "", "the group is of another type");
    } else if (j->member_id[0] != '\0') {
        refuse_join(j, KAFKA_UNKNOWN_MEMBER_ID, j->member_id, "");
    } else {
        classic_take_over(g);
        return false;
    }
    return true;
}

static void join_on_loop(void *arg) {
    struct group_join *j = arg;
    struct coordinator *c = coordinator_of(&j->call);
    j->skip_assignment = false;
    j->leader = NULL;
    j->protocol_type = j->protocol_type == NULL ? "" : j->protocol_type;
    bool is_new = j->member_id[0] == '\0';
    if (j->group_id[0] == '\0') {
        refuse_join(j, KAFKA_INVALID_GROUP_ID, j->member_id, "the group id is empty");
        return;
    }
    if (j->session_timeout_ms < c->session_min_ms || j->session_timeout_ms > c->session_max_ms) {
        refuse_join(j, KAFKA_INVALID_SESSION_TIMEOUT, j->member_id, "session time-out outside group.min/max.session.timeout.ms");
        return;
    }
    if (c->stopping) {
        refuse_join(j, KAFKA_COORDINATOR_NOT_AVAILABLE, j->member_id, "the coordinator is stopping");
        return;
    }
    struct group *head = group_find(c, j->group_id);
    if (head != NULL && head->ops != &classic_group_ops && join_other_type(head, j)) return;
    struct classic_group *g = classic_find(c, j->group_id);
    if (g == NULL && !is_new) {
        refuse_join(j, KAFKA_UNKNOWN_MEMBER_ID, j->member_id, "");
    } else if (!classic_accepts(g, j) && !(g != NULL && g->members.n == 1 && !is_new && member_find(g, j->member_id) != NULL && j->n_protocols > 0)) {
        refuse_join(j, KAFKA_INCONSISTENT_GROUP_PROTOCOL, j->member_id, "no protocol in common with the group");
    } else if (g == NULL && (g = classic_make(c, j->group_id)) == NULL) {
        refuse_join(j, KAFKA_COORDINATOR_NOT_AVAILABLE, j->member_id, "the coordinator takes no more groups");
    } else if (is_new && (int64_t)(g->members.n + g->pending.n) >= c->max_size) {
        refuse_join(j, KAFKA_GROUP_MAX_SIZE_REACHED, "", "");
    } else if (is_new) {
        join_new(c, g, j);
    } else {
        join_with_id(g, j);
    }
}

void group_join(struct broker *b, struct group_join *j) { coordinator_submit(b, &j->call, join_on_loop); }

// ---- sync -----------------------------------------------------------------------------------------------------------

static void refuse_sync(struct group_sync *s, int error) {
    s->out_protocol_type = s->out_protocol_name = NULL;
    s->assignment = (struct str){"", 0};
    coordinator_answer(&s->call, error, "");
}

static void take_assignments(struct classic_group *g, const struct group_sync *s) {
    for (size_t i = 0; i < s->n_assignments; i++) {
        struct member *m = member_find(g, s->assignments[i].member_id);
        if (m == NULL) continue;
        buf_clear(&m->assignment);
        buf_put_str(&m->assignment, s->assignments[i].assignment);
    }
}

static bool protocol_differs(const char *wanted, const char *have) { return wanted != NULL && (have == NULL || strcmp(wanted, have) != 0); }

static int check_sync(const struct classic_group *g, const struct group_sync *s, struct member **m) {
    int error = find_member(g, s->member_id, s->group_instance_id, m);
    if (error != 0) return error;
    if (s->generation != g->generation) return KAFKA_ILLEGAL_GENERATION;
    if (protocol_differs(s->protocol_type, g->protocol_type) || protocol_differs(s->protocol_name, g->protocol_name))
        return KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    return g->state == CLASSIC_PREPARING ? KAFKA_REBALANCE_IN_PROGRESS : g->state == CLASSIC_EMPTY ? KAFKA_UNKNOWN_MEMBER_ID : 0;
}

static void sync_on_loop(void *arg) {
    struct group_sync *s = arg;
    struct group *head = group_find(coordinator_of(&s->call), s->group_id);
    if (head != NULL && head->ops == &consumer_group_ops) {
        consumer_sync_classic(head, s);
        return;
    }
    struct classic_group *g = classic_find(coordinator_of(&s->call), s->group_id);
    struct member *m = NULL;
    int error = s->group_id[0] == '\0' ? KAFKA_INVALID_GROUP_ID : check_sync(g, s, &m);
    if (error != 0) {
        refuse_sync(s, error);
        return;
    }
    member_touch(m);
    if (g->state == CLASSIC_STABLE) {
        classic_answer_sync(m, s, 0);
        return;
    }
    if (m->syncing != NULL) classic_answer_sync(m, m->syncing, KAFKA_UNKNOWN_MEMBER_ID); // asked twice: the older one is given up
    m->syncing = s;
    if (strcmp(m->id, g->leader) != 0 || g->saving) return;
    take_assignments(g, s);
    classic_save_assignments(g);
}

void group_sync(struct broker *b, struct group_sync *s) { coordinator_submit(b, &s->call, sync_on_loop); }

// ---- heartbeat, leave -----------------------------------------------------------------------------------------------

static void heartbeat_on_loop(void *arg) {
    struct group_heartbeat *h = arg;
    struct group *head = group_find(coordinator_of(&h->call), h->group_id);
    if (head != NULL && head->ops == &consumer_group_ops) {
        consumer_heartbeat_classic(head, h);
        return;
    }
    struct classic_group *g = classic_find(coordinator_of(&h->call), h->group_id);
    struct member *m = NULL;
    int error = h->group_id[0] == '\0' ? KAFKA_INVALID_GROUP_ID : find_member(g, h->member_id, h->group_instance_id, &m);
    if (error == 0 && h->generation != g->generation) error = KAFKA_ILLEGAL_GENERATION;
    if (error == 0) {
        member_touch(m);
        if (g->state == CLASSIC_PREPARING) error = KAFKA_REBALANCE_IN_PROGRESS;
    }
    coordinator_answer(&h->call, error, "");
}

void group_heartbeat(struct broker *b, struct group_heartbeat *h) { coordinator_submit(b, &h->call, heartbeat_on_loop); }

static int leave_one(struct classic_group *g, const struct group_leaver *l) {
    struct member *m = NULL;
    if (l->group_instance_id != NULL && l->member_id[0] == '\0') {
        m = map_getc(&g->statics, l->group_instance_id);
        if (m == NULL) return KAFKA_UNKNOWN_MEMBER_ID;
    } else {
        if (l->group_instance_id == NULL && pending_remove(g, l->member_id)) return 0;
        int error = find_member(g, l->member_id, l->group_instance_id, &m);
        if (error != 0) return error;
    }
    member_remove(m, KAFKA_UNKNOWN_MEMBER_ID);
    return 0;
}

static void leave_on_loop(void *arg) {
    struct group_leave *l = arg;
    bool left = false;
    if (l->group_id[0] == '\0') {
        coordinator_answer(&l->call, KAFKA_INVALID_GROUP_ID, "");
        return;
    }
    for (size_t i = 0; i < l->n_members; i++) {
        struct group *head = group_find(coordinator_of(&l->call), l->group_id); // a leaving member may change the group's type
        struct group_leaver *x = &l->members[i];
        if (head != NULL && head->ops == &consumer_group_ops) x->error = consumer_leave_classic(head, x);
        else if (head == NULL || head->ops != &classic_group_ops) x->error = KAFKA_UNKNOWN_MEMBER_ID;
        else x->error = leave_one(head->own, x);
        left = left || x->error == 0;
    }
    struct classic_group *g = classic_find(coordinator_of(&l->call), l->group_id);
    if (left && g != NULL) classic_after_removal(g);
    coordinator_answer(&l->call, 0, "");
}

void group_leave(struct broker *b, struct group_leave *l) { coordinator_submit(b, &l->call, leave_on_loop); }

// ---- describe -------------------------------------------------------------------------------------------------------

static void describe_member(const struct member *m, struct arena *a, struct group_member_info *out) {
    const struct classic_group *g = m->group;
    *out = (struct group_member_info){.member_id = arena_strdup(a, m->id), .client_id = arena_strdup(a, m->client_id)};
    out->client_host = arena_strdup(a, m->client_host);
    out->group_instance_id = m->instance_id == NULL ? NULL : arena_strdup(a, m->instance_id);
    out->metadata = out->assignment = (struct str){"", 0};
    if (g->state != CLASSIC_STABLE) return; // as Kafka: only then do they belong together
    for (size_t i = 0; i < m->protocols.n; i++)
        if (strcmp(m->protocols.p[i].name, g->protocol_name) == 0) out->metadata = arena_str(a, buf_str(&m->protocols.p[i].metadata));
    out->assignment = arena_str(a, buf_str(&m->assignment));
}

static void describe_on_loop(void *arg) {
    struct group_describe *d = arg;
    const struct group *head = group_find(coordinator_of(&d->call), d->group_id);
    struct arena *a = d->call.arena;
    d->state = "Dead";
    d->protocol_type = d->protocol = "";
    d->members = NULL;
    d->n_members = 0;
    if (head == NULL || head->ops != &classic_group_ops) {
        int error = group_not_found(&d->call, d->group_id, head, &classic_group_ops);
        coordinator_answer(&d->call, error, arena_strdup(a, d->call.message));
        return;
    }
    const struct classic_group *g = head->own;
    d->state = head->ops->state_name(head);
    d->protocol_type = arena_strdup(a, head->ops->protocol_type(head));
    if (g->state == CLASSIC_STABLE && g->protocol_name != NULL) d->protocol = arena_strdup(a, g->protocol_name);
    d->members = ARENA_ARRAY(a, struct group_member_info, g->members.n + 1);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) describe_member(e->value, a, &d->members[d->n_members++]);
    coordinator_answer(&d->call, 0, "");
}

void group_describe(struct broker *b, struct group_describe *d) { coordinator_submit(b, &d->call, describe_on_loop); }

