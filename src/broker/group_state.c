// SPDX-License-Identifier: Apache-2.0
// The state machine of classic groups: members, rebalances, time-outs. See coordinator.h. Rules are those of Kafka's GroupCoordinator.
//
// A rebalance asks all members to join again (they learn of it by heartbeat). It ends when all have, or when the longest rebalance time-out
// of the members is over: dynamic members who did not come are dropped, static ones are kept until their session ends.
#include <assert.h>

#include "base/log.h"
#include "broker/coordinator.h"

static char *dup_or_null(const char *s) { return s == NULL ? NULL : mem_strdup(s); }

const char *group_state_name(enum group_state s) {
    static const char *const names[] = {"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"};
    return names[s];
}

// ---- groups ---------------------------------------------------------------------------------------------------------

struct group *group_find(struct coordinator *c, const char *id) { return map_getc(&c->groups, id); }

struct group *group_make(struct coordinator *c, const char *id) {
    struct group *g = group_find(c, id);
    if (g != NULL || c->groups.n >= GROUPS_MAX) return g;
    g = MEM_NEW(struct group);
    g->coordinator = c;
    g->id = mem_strdup(id);
    g->empty_since_ms = sys_now_us(c->broker->sys) / 1000;
    map_init(&g->members);
    map_init(&g->statics);
    map_init(&g->pending);
    map_init(&g->offsets);
    map_put(&c->groups, str_c(id), g);
    return g;
}

static void member_free(struct member *m);

// Nothing may wait in it any more.
void group_free(struct group *g) {
    struct map_entry *e;
    loop_timer_cancel(g->coordinator->loop, &g->rebalance);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) member_free(e->value);
    while (g->pending.n > 0) {
        size_t it = 0;
        e = map_next(&g->pending, &it);
        pending_remove(g, ((struct pending_member *)e->value)->id);
    }
    for (size_t it = 0; (e = map_next(&g->offsets, &it)) != NULL;) committed_free(e->value);
    map_remove(&g->coordinator->groups, str_c(g->id));
    map_fini(&g->members);
    map_fini(&g->statics);
    map_fini(&g->pending);
    map_fini(&g->offsets);
    mem_free(g->protocol_type);
    mem_free(g->protocol_name);
    mem_free(g->leader);
    mem_free(g->id);
    mem_free(g);
}

// ---- members --------------------------------------------------------------------------------------------------------

struct member *member_find(const struct group *g, const char *id) { return map_getc(&g->members, id); }

static void clear_protocols(struct member *m) {
    for (size_t i = 0; i < m->protocols.n; i++) {
        mem_free(m->protocols.p[i].name);
        buf_fini(&m->protocols.p[i].metadata);
    }
    m->protocols.n = 0;
}

void member_update(struct member *m, const struct group_join *j) {
    clear_protocols(m);
    for (size_t i = 0; i < j->n_protocols; i++) {
        struct member_protocol *p = vec_push(&m->protocols);
        p->name = mem_strdup(j->protocols[i].name);
        buf_init(&p->metadata, 0);
        buf_put_str(&p->metadata, j->protocols[i].metadata);
    }
    m->session_ms = j->session_timeout_ms;
    m->rebalance_ms = j->rebalance_timeout_ms < 0 ? j->session_timeout_ms : j->rebalance_timeout_ms;
}

bool member_matches(const struct member *m, const struct group_join *j) {
    if (m->protocols.n != j->n_protocols) return false;
    for (size_t i = 0; i < j->n_protocols; i++) {
        if (strcmp(m->protocols.p[i].name, j->protocols[i].name) != 0) return false;
        if (!str_eq(buf_str(&m->protocols.p[i].metadata), j->protocols[i].metadata)) return false;
    }
    return true;
}

struct member *member_add(struct group *g, const char *id, const struct group_join *j) {
    struct member *m = MEM_NEW(struct member);
    m->group = g;
    m->id = mem_strdup(id);
    m->instance_id = dup_or_null(j->group_instance_id);
    m->client_id = mem_strdup(j->client_id == NULL ? "" : j->client_id);
    m->client_host = mem_strdup(j->client_host == NULL ? "" : j->client_host);
    buf_init(&m->assignment, 0);
    member_update(m, j);
    if (g->members.n == 0) {
        mem_free(g->protocol_type);
        g->protocol_type = mem_strdup(j->protocol_type);
    }
    if (g->leader == NULL) g->leader = mem_strdup(id);
    map_put(&g->members, str_c(id), m);
    if (m->instance_id != NULL) map_put(&g->statics, str_c(m->instance_id), m);
    member_touch(m);
    return m;
}

static void member_free(struct member *m) {
    loop_timer_cancel(m->group->coordinator->loop, &m->session);
    clear_protocols(m);
    vec_fini(&m->protocols);
    buf_fini(&m->assignment);
    mem_free(m->id);
    mem_free(m->instance_id);
    mem_free(m->client_id);
    mem_free(m->client_host);
    mem_free(m);
}

void member_remove(struct member *m, int error) {
    struct group *g = m->group;
    if (m->joining != NULL) group_answer_join(m, m->joining, error, false);
    if (m->syncing != NULL) group_answer_sync(m, m->syncing, error);
    map_remove(&g->members, str_c(m->id));
    if (m->instance_id != NULL && map_getc(&g->statics, m->instance_id) == m) map_remove(&g->statics, str_c(m->instance_id));
    if (g->leader != NULL && strcmp(g->leader, m->id) == 0) {
        mem_free(g->leader);
        size_t it = 0;
        struct map_entry *e = map_next(&g->members, &it);
        g->leader = e == NULL ? NULL : mem_strdup(((struct member *)e->value)->id);
    }
    member_free(m);
}

static void session_over(void *arg) {
    struct member *m = arg;
    struct group *g = m->group;
    if (m->joining != NULL || m->syncing != NULL) { // waiting for us, not silent
        member_touch(m);
        return;
    }
    log_info("broker", "group member timed out", "group", g->id, "member", m->id, NULL);
    member_remove(m, KAFKA_UNKNOWN_MEMBER_ID);
    group_after_removal(g);
}

void member_touch(struct member *m) {
    loop_timer_set(m->group->coordinator->loop, &m->session, (int64_t)m->session_ms * 1000, session_over, m);
}

static void pending_over(void *arg) {
    struct pending_member *p = arg;
    struct group *g = p->group;
    pending_remove(g, p->id);
    if (g->state == GROUP_PREPARING) group_try_join(g);
}

void pending_add(struct group *g, const char *id, int32_t session_ms) {
    struct pending_member *p = MEM_NEW(struct pending_member);
    p->group = g;
    p->id = mem_strdup(id);
    map_put(&g->pending, str_c(id), p);
    loop_timer_set(g->coordinator->loop, &p->timer, (int64_t)session_ms * 1000, pending_over, p);
}

bool pending_remove(struct group *g, const char *id) {
    struct pending_member *p = map_remove(&g->pending, str_c(id));
    if (p == NULL) return false;
    loop_timer_cancel(g->coordinator->loop, &p->timer);
    mem_free(p->id);
    mem_free(p);
    return true;
}

// ---- protocols ------------------------------------------------------------------------------------------------------

static bool knows(const struct member *m, const char *protocol) {
    for (size_t i = 0; i < m->protocols.n; i++)
        if (strcmp(m->protocols.p[i].name, protocol) == 0) return true;
    return false;
}

static bool all_know(const struct group *g, const char *protocol) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;)
        if (!knows(e->value, protocol)) return false;
    return true;
}

bool group_accepts(const struct group *g, const struct group_join *j) {
    if (j->protocol_type == NULL || j->protocol_type[0] == '\0' || j->n_protocols == 0) return false;
    if (g == NULL || g->members.n == 0) return true;
    if (strcmp(g->protocol_type, j->protocol_type) != 0) return false;
    for (size_t i = 0; i < j->n_protocols; i++)
        if (all_know(g, j->protocols[i].name)) return true;
    return false;
}

static size_t votes_for(const struct group *g, const char *protocol) {
    size_t votes = 0;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct member *m = e->value;
        for (size_t i = 0; i < m->protocols.n; i++) { // its first one that all know
            if (!all_know(g, m->protocols.p[i].name)) continue;
            votes += strcmp(m->protocols.p[i].name, protocol) == 0 ? 1 : 0;
            break;
        }
    }
    return votes;
}

const char *group_choose(const struct group *g) {
    size_t it = 0, best = 0;
    struct map_entry *e = map_next(&g->members, &it);
    const char *chosen = NULL;
    const struct member *first = e == NULL ? NULL : e->value;
    for (size_t i = 0; first != NULL && i < first->protocols.n; i++) {
        const char *name = first->protocols.p[i].name;
        if (!all_know(g, name)) continue;
        size_t votes = first->protocols.n == 1 ? 1 : votes_for(g, name); // one candidate needs no vote
        if (votes <= best) continue;
        best = votes;
        chosen = name;
    }
    return chosen;
}

// ---- answers --------------------------------------------------------------------------------------------------------

static struct str metadata_of(const struct member *m, const char *protocol) {
    for (size_t i = 0; i < m->protocols.n && protocol != NULL; i++)
        if (strcmp(m->protocols.p[i].name, protocol) == 0) return buf_str(&m->protocols.p[i].metadata);
    return (struct str){"", 0};
}

static void list_members(const struct group *g, struct group_join *j) {
    struct arena *a = j->call.arena;
    struct group_joined_member *out = ARENA_ARRAY(a, struct group_joined_member, g->members.n);
    struct map_entry *e;
    j->members = out;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct member *m = e->value;
        out[j->n_members].member_id = arena_strdup(a, m->id);
        out[j->n_members].group_instance_id = m->instance_id == NULL ? NULL : arena_strdup(a, m->instance_id);
        out[j->n_members++].metadata = arena_str(a, metadata_of(m, g->protocol_name));
    }
}

void group_answer_join(struct member *m, struct group_join *j, int error, bool with_members) {
    struct group *g = m->group;
    struct arena *a = j->call.arena;
    if (m->joining == j) m->joining = NULL;
    j->generation = error == 0 ? g->generation : -1;
    j->protocol_name = error == 0 && g->protocol_name != NULL ? arena_strdup(a, g->protocol_name) : NULL;
    j->leader = error == 0 && g->leader != NULL ? arena_strdup(a, g->leader) : "";
    j->out_member_id = arena_strdup(a, m->id);
    j->protocol_type = g->protocol_type == NULL ? NULL : arena_strdup(a, g->protocol_type);
    j->members = NULL;
    j->n_members = 0;
    if (error == 0 && with_members) list_members(g, j);
    coordinator_answer(&j->call, error, "");
}

void group_answer_sync(struct member *m, struct group_sync *s, int error) {
    const struct group *g = m->group;
    struct arena *a = s->call.arena;
    if (m->syncing == s) m->syncing = NULL;
    s->out_protocol_type = g->protocol_type == NULL ? NULL : arena_strdup(a, g->protocol_type);
    s->out_protocol_name = g->protocol_name == NULL ? NULL : arena_strdup(a, g->protocol_name);
    s->assignment = error == 0 ? arena_str(a, buf_str(&m->assignment)) : (struct str){"", 0};
    coordinator_answer(&s->call, error, "");
}

// ---- rebalances -----------------------------------------------------------------------------------------------------

static void arm(struct group *g, int64_t ms, loop_fn *fn) { loop_timer_set(g->coordinator->loop, &g->rebalance, ms * 1000, fn, g); }

static int64_t longest_rebalance(const struct group *g) {
    int64_t ms = 0;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;)
        if (((struct member *)e->value)->rebalance_ms > ms) ms = ((struct member *)e->value)->rebalance_ms;
    return ms;
}

// A member who joined but never synced would hold up the others' assignment for ever.
static void syncs_over(void *arg) {
    struct group *g = arg;
    bool removed = false;
    struct map_entry *e;
    if (g->state != GROUP_COMPLETING) return;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        if (m->syncing != NULL) continue;
        member_remove(m, KAFKA_UNKNOWN_MEMBER_ID);
        removed = true;
    }
    if (removed) group_after_removal(g);
}

static bool elect_joined_leader(struct group *g) {
    struct member *leader = g->leader == NULL ? NULL : member_find(g, g->leader);
    if (leader != NULL && leader->joining != NULL) return true;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct member *m = e->value;
        if (m->joining == NULL) continue;
        mem_free(g->leader);
        g->leader = mem_strdup(m->id);
        return true;
    }
    return false;
}

static void join_over(void *arg);

static void complete_join(struct group *g) {
    struct map_entry *e;
    g->initial_delay = false;
    loop_timer_cancel(g->coordinator->loop, &g->rebalance);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        if (m->joining == NULL && m->instance_id == NULL) member_remove(m, KAFKA_UNKNOWN_MEMBER_ID);
    }
    if (g->members.n > 0 && !elect_joined_leader(g)) { // only static members, none of them here yet
        arm(g, longest_rebalance(g), join_over);
        return;
    }
    g->generation = g->generation == INT32_MAX ? 1 : g->generation + 1;
    mem_free(g->protocol_name);
    g->protocol_name = NULL;
    if (g->members.n == 0) {
        g->state = GROUP_EMPTY;
        g->empty_since_ms = sys_now_us(g->coordinator->broker->sys) / 1000;
        offsets_save_group(g);
        return;
    }
    const char *protocol = group_choose(g);
    assert(protocol != NULL); // group_accepts saw to it
    g->protocol_name = mem_strdup(protocol);
    g->state = GROUP_COMPLETING;
    log_info("broker", "group rebalanced", "group", g->id, "generation", log_i64(g->generation), "members", log_i64((int64_t)g->members.n), NULL);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        buf_clear(&m->assignment);
        if (m->joining != NULL) group_answer_join(m, m->joining, 0, strcmp(m->id, g->leader) == 0);
        member_touch(m);
    }
    arm(g, longest_rebalance(g), syncs_over);
}

static void join_over(void *arg) {
    struct group *g = arg;
    if (g->state != GROUP_PREPARING) return;
    if (g->initial_delay && g->new_member && g->initial_left_ms > 0) { // somebody came meanwhile: wait for more like him
        int64_t delay = g->coordinator->initial_delay_ms;
        if (delay > g->initial_left_ms) delay = g->initial_left_ms;
        g->initial_left_ms -= delay;
        g->new_member = false;
        arm(g, delay, join_over);
        return;
    }
    complete_join(g);
}

void group_try_join(struct group *g) {
    if (g->state != GROUP_PREPARING || g->initial_delay || g->pending.n > 0) return;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;)
        if (((struct member *)e->value)->joining == NULL) return;
    complete_join(g);
}

void group_rebalance(struct group *g) {
    struct map_entry *e;
    if (g->state == GROUP_PREPARING) {
        group_try_join(g);
        return;
    }
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        if (m->syncing != NULL) group_answer_sync(m, m->syncing, KAFKA_REBALANCE_IN_PROGRESS);
    }
    int64_t longest = longest_rebalance(g);
    g->initial_delay = g->state == GROUP_EMPTY && g->coordinator->initial_delay_ms > 0;
    g->state = GROUP_PREPARING;
    g->new_member = false;
    if (g->initial_delay) {
        int64_t delay = g->coordinator->initial_delay_ms;
        g->initial_left_ms = longest > delay ? longest - delay : 0;
        arm(g, delay, join_over);
        return;
    }
    arm(g, longest, join_over);
    group_try_join(g);
}

void group_after_removal(struct group *g) {
    if (g->state == GROUP_STABLE || g->state == GROUP_COMPLETING) group_rebalance(g);
    else if (g->state == GROUP_PREPARING && !g->initial_delay) group_try_join(g);
    else if (g->state == GROUP_PREPARING && g->members.n == 0 && g->pending.n == 0) complete_join(g);
}

void group_stable(struct group *g) {
    struct map_entry *e;
    g->state = GROUP_STABLE;
    loop_timer_cancel(g->coordinator->loop, &g->rebalance);
    offsets_save_group(g);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        if (m->syncing == NULL) continue;
        group_answer_sync(m, m->syncing, 0);
        member_touch(m);
    }
}
