// SPDX-License-Identifier: Apache-2.0
// The state machine of classic groups: members, rebalances, time-outs. See classic_group.h. Rules are those of Kafka's GroupCoordinator.
//
// A rebalance asks all members to join again (they learn of it by heartbeat). It ends when all have, or when the longest rebalance time-out
// of the members is over: dynamic members who did not come are dropped, static ones are kept until their session ends.
#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metrics.h"
#include "broker/classic_group.h"
#include "broker/consumer_protocol.h"
#include "broker/group_records.h"

static char *dup_or_null(const char *s) { return s == NULL ? NULL : mem_strdup(s); }

// ---- groups ---------------------------------------------------------------------------------------------------------

static struct classic_group *own(const struct group *g) { return g->own; }

struct classic_group *classic_find(const struct coordinator *c, const char *id) {
    struct group *g = group_find_type(c, id, &classic_group_ops);
    return g == NULL ? NULL : own(g);
}

void classic_own_new(struct group *head) {
    struct classic_group *g = MEM_NEW(struct classic_group);
    g->head = head;
    head->own = g;
    map_init(&g->members);
    map_init(&g->statics);
    map_init(&g->pending);
}

static void put_live(const struct group *head, struct group_records *r);

void classic_take_over(struct group *g) {
    struct group_records *r = group_records_new(g->coordinator);
    group_become(g, &classic_group_ops, r);
    classic_own_new(g);
    put_live(g, r);
    group_records_submit(r, g, NULL, NULL);
}

struct group *classic_head(struct coordinator *c, const char *id) {
    struct group *g = group_find(c, id);
    if (g != NULL) return g;
    g = group_make(c, id, &classic_group_ops);
    if (g != NULL) classic_own_new(g);
    return g;
}

struct classic_group *classic_make(struct coordinator *c, const char *id) {
    struct group *g = classic_head(c, id);
    return g == NULL || g->ops != &classic_group_ops ? NULL : own(g);
}

static void member_free(struct member *m);

static void drop_pending(struct classic_group *g) {
    while (g->pending.n > 0) {
        size_t it = 0;
        pending_remove(g, ((struct pending_member *)map_next(&g->pending, &it)->value)->id);
    }
}

void classic_dispose(struct classic_group *g, struct loop *l) {
    struct map_entry *e;
    loop_timer_cancel(l, &g->rebalance);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) member_free(e->value);
    drop_pending(g);
    map_fini(&g->members);
    map_fini(&g->statics);
    map_fini(&g->pending);
    mem_free(g->protocol_type);
    mem_free(g->protocol_name);
    mem_free(g->leader);
    mem_free(g);
}

static void free_own(struct group *head) { classic_dispose(own(head), head->coordinator->loop); }

static void stop(struct group *head) {
    struct classic_group *g = own(head);
    struct map_entry *e;
    loop_timer_cancel(head->coordinator->loop, &g->rebalance);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) member_remove(e->value, KAFKA_COORDINATOR_NOT_AVAILABLE);
    drop_pending(g);
    g->state = CLASSIC_EMPTY;
}

static const char *protocol_type(const struct group *g) { return own(g)->protocol_type == NULL ? "" : own(g)->protocol_type; }

static const char *state_name(const struct group *g) {
    static const char *const names[] = {"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"};
    return names[own(g)->state];
}

static bool has_members(const struct group *g) { return own(g)->state != CLASSIC_EMPTY || own(g)->pending.n > 0; }

static bool are_consumers(const struct classic_group *g) { return g->protocol_type != NULL && strcmp(g->protocol_type, "consumer") == 0; }

// Consumers' metadata tells their topics; what it says of other protocols is theirs alone.
static bool member_subscribes(const struct member *m, const char *topic) {
    struct consumer_subscription s;
    struct arena a;
    bool found = false;
    arena_init(&a);
    for (size_t i = 0; i < m->protocols.n && !found; i++) {
        if (!consumer_subscription_read(buf_str(&m->protocols.p[i].metadata), NULL, &a, &s)) continue;
        for (size_t t = 0; t < s.n_topics && !found; t++) found = strcmp(s.topics[t], topic) == 0;
        partition_set_fini(&s.owned);
    }
    arena_fini(&a);
    return found;
}

static bool subscribes(const struct group *head, const char *topic) {
    const struct classic_group *g = own(head);
    struct map_entry *e;
    bool found = false;
    if (!are_consumers(g)) return false;
    for (size_t it = 0; !found && (e = map_next(&g->members, &it)) != NULL;) found = member_subscribes(e->value, topic);
    return found;
}

static int64_t ages_since(const struct group *head, int64_t commit_ms) { // KIP-211
    const struct classic_group *g = own(head);
    if (g->protocol_type == NULL || g->protocol_type[0] == '\0') return commit_ms; // no group of members
    if (g->state == CLASSIC_EMPTY) return commit_ms > head->empty_since_ms ? commit_ms : head->empty_since_ms;
    return g->state == CLASSIC_STABLE && are_consumers(g) ? commit_ms : -1;
}

static int check_delete_offsets(const struct group *head) {
    const struct classic_group *g = own(head);
    return g->state != CLASSIC_EMPTY && !are_consumers(g) ? KAFKA_NON_EMPTY_GROUP : 0;
}

static int check_commit(struct group *head, const struct group_commit *x) {
    const struct classic_group *g = own(head);
    bool by_member = x->generation >= 0 || (x->member_id != NULL && x->member_id[0] != '\0') || x->group_instance_id != NULL;
    bool in_txn = x->transactional_id != NULL; // an older producer says nothing of its consumer (before KIP-447)
    if (!by_member) return g->state == CLASSIC_EMPTY || in_txn ? 0 : KAFKA_UNKNOWN_MEMBER_ID;
    if (g->state == CLASSIC_EMPTY && x->generation < 0) return 0;
    struct member *m = x->group_instance_id != NULL ? map_getc(&g->statics, x->group_instance_id) : member_find(g, x->member_id);
    if (m == NULL) return KAFKA_UNKNOWN_MEMBER_ID;
    if (x->member_id == NULL || strcmp(m->id, x->member_id) != 0) return KAFKA_FENCED_INSTANCE_ID;
    if (x->generation != g->generation) return KAFKA_ILLEGAL_GENERATION;
    if (g->state == CLASSIC_COMPLETING && !in_txn) return KAFKA_REBALANCE_IN_PROGRESS;
    member_touch(m);
    return 0;
}

static int check_fetch(struct group *g, const char *member_id, int32_t member_epoch) { // as Kafka: anybody may
    (void)g;
    (void)member_id;
    (void)member_epoch;
    return 0;
}

// ---- records --------------------------------------------------------------------------------------------------------

static struct str metadata_of(const struct member *m, const char *protocol) {
    for (size_t i = 0; i < m->protocols.n && protocol != NULL; i++)
        if (strcmp(m->protocols.p[i].name, protocol) == 0) return buf_str(&m->protocols.p[i].metadata);
    return (struct str){"", 0};
}

// With its members once they have assignments: so they go on after a restart. Those of a rebalance that is not over would have to join again.
static void put_group(const struct group *head, struct group_records *r, bool members) {
    const struct classic_group *g = own(head);
    struct map_entry *e;
    put_string(group_records_key(r, 2), str_c(head->id));
    struct buf *v = group_records_value(r, 3);
    put_string(v, str_c(protocol_type(head)));
    buf_put_be32(v, (uint32_t)g->generation);
    put_nullable_string(v, members ? g->protocol_name : NULL);
    put_nullable_string(v, members ? g->leader : NULL);
    buf_put_be64(v, (uint64_t)(g->state == CLASSIC_EMPTY ? head->empty_since_ms : r->time_ms));
    buf_put_be32(v, members ? (uint32_t)g->members.n : 0);
    for (size_t it = 0; members && (e = map_next(&g->members, &it)) != NULL;) {
        const struct member *m = e->value;
        put_string(v, str_c(m->id));
        put_nullable_string(v, m->instance_id);
        put_string(v, str_c(m->client_id));
        put_string(v, str_c(m->client_host));
        buf_put_be32(v, (uint32_t)m->rebalance_ms);
        buf_put_be32(v, (uint32_t)m->session_ms);
        put_bytes(v, metadata_of(m, g->protocol_name));
        put_bytes(v, buf_str(&m->assignment));
    }
    group_records_put(r);
}

static void put_live(const struct group *head, struct group_records *r) {
    const struct classic_group *g = own(head);
    put_group(head, r, g->protocol_name != NULL && (g->state == CLASSIC_STABLE || g->state == CLASSIC_PREPARING));
}

static void put_tombstones(const struct group *head, struct group_records *r) {
    put_string(group_records_key(r, 2), str_c(head->id));
    group_records_delete(r);
}

void classic_save(struct classic_group *g) {
    struct group_records *r = group_records_new(g->head->coordinator);
    put_live(g->head, r);
    group_records_submit(r, g->head, NULL, NULL);
}

// ---- replay ---------------------------------------------------------------------------------------------------------

static void replay_member(struct classic_group *g, struct rd *v, uint16_t version, const char *protocol) {
    struct str id = get_string(v), instance = version >= 3 ? get_string(v) : (struct str){NULL, 0}, client = get_string(v), host = get_string(v);
    int32_t rebalance_ms = version >= 1 ? (int32_t)rd_be32(v) : -1, session_ms = (int32_t)rd_be32(v);
    struct str metadata = get_bytes(v), assignment = get_bytes(v);
    if (v->failed || id.p == NULL) return;
    struct arena a;
    arena_init(&a);
    struct group_protocol one = {protocol, metadata.p == NULL ? (struct str){"", 0} : metadata};
    struct group_join j = {.group_instance_id = instance.p == NULL ? NULL : arena_strndup(&a, instance.p, instance.n),
                           .protocol_type = g->protocol_type == NULL ? "" : g->protocol_type,
                           .client_id = arena_strndup(&a, client.p == NULL ? "" : client.p, client.n),
                           .client_host = arena_strndup(&a, host.p == NULL ? "" : host.p, host.n)};
    char type[128];
    (void)snprintf(type, sizeof type, "%s", j.protocol_type); // member_add replaces it
    j.protocol_type = type;
    j.session_timeout_ms = session_ms;
    j.rebalance_timeout_ms = rebalance_ms;
    j.protocols = &one;
    j.n_protocols = protocol == NULL ? 0 : 1;
    struct member *m = member_add(g, arena_strndup(&a, id.p, id.n), &j);
    buf_put_str(&m->assignment, assignment);
    arena_fini(&a);
}

static bool replay_value(struct classic_group *g, struct rd *v) {
    struct map_entry *e;
    uint16_t version = rd_be16(v);
    struct str type = get_string(v);
    int32_t generation = (int32_t)rd_be32(v);
    struct str protocol = get_string(v), leader = get_string(v);
    int64_t since = version >= 2 ? (int64_t)rd_be64(v) : -1;
    uint32_t members = rd_be32(v);
    if (v->failed || version > 3) return false;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) member_remove(e->value, 0);
    mem_free(g->protocol_type);
    mem_free(g->protocol_name);
    mem_free(g->leader);
    g->protocol_type = type.n == 0 ? NULL : mem_strndup(type.p, type.n);
    g->protocol_name = protocol.p == NULL ? NULL : mem_strndup(protocol.p, protocol.n);
    g->leader = leader.p == NULL ? NULL : mem_strndup(leader.p, leader.n);
    g->generation = generation;
    for (uint32_t i = 0; i < members && !v->failed; i++) replay_member(g, v, version, g->protocol_name);
    g->state = g->members.n > 0 ? CLASSIC_STABLE : CLASSIC_EMPTY;
    if (since >= 0) g->head->empty_since_ms = since;
    return !v->failed;
}

bool classic_group_replay(struct coordinator *c, struct rd *key, struct rd *value);
bool classic_group_replay(struct coordinator *c, struct rd *key, struct rd *value) {
    struct str id = get_string(key);
    if (key->failed || id.p == NULL) return false;
    char *name = mem_strndup(id.p, id.n);
    struct group *head = group_find_type(c, name, &classic_group_ops);
    struct classic_group *g = value == NULL ? NULL : classic_make(c, name);
    mem_free(name);
    if (value != NULL) return g != NULL && replay_value(g, value);
    if (head == NULL) return true;
    if (head->offsets.n == 0) {
        group_free(head);
    } else { // its offsets live on
        free_own(head);
        classic_own_new(head);
    }
    return true;
}

// Their sessions begin with the start: nobody could report while there was no broker.
static void loaded(struct group *head) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&own(head)->members, &it)) != NULL;) member_touch(e->value);
}

const struct group_ops classic_group_ops = {
    .type = GROUP_CLASSIC,
    .name = "Classic",
    .what = "a classic group",
    .protocol_type = protocol_type,
    .state_name = state_name,
    .has_members = has_members,
    .subscribes = subscribes,
    .ages_since = ages_since,
    .check_delete_offsets = check_delete_offsets,
    .check_commit = check_commit,
    .check_fetch = check_fetch,
    .put_live = put_live,
    .put_tombstones = put_tombstones,
    .loaded = loaded,
    .stop = stop,
    .free_own = free_own,
};

// ---- members --------------------------------------------------------------------------------------------------------

struct member *member_find(const struct classic_group *g, const char *id) { return map_getc(&g->members, id); }

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

struct member *member_add(struct classic_group *g, const char *id, const struct group_join *j) {
    struct member *m = MEM_NEW(struct member);
    metric_add(M_KAFKA_PURGATORY, "Heartbeat", 1);
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
    return m;
}

static void member_free(struct member *m) {
    loop_timer_cancel(m->group->head->coordinator->loop, &m->session);
    clear_protocols(m);
    vec_fini(&m->protocols);
    buf_fini(&m->assignment);
    mem_free(m->id);
    mem_free(m->instance_id);
    mem_free(m->client_id);
    mem_free(m->client_host);
    mem_free(m);
    metric_add(M_KAFKA_PURGATORY, "Heartbeat", -1);
}

void member_remove(struct member *m, int error) {
    struct classic_group *g = m->group;
    if (m->joining != NULL) classic_answer_join(m, m->joining, error, false);
    if (m->syncing != NULL) classic_answer_sync(m, m->syncing, error);
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
    struct classic_group *g = m->group;
    if (m->joining != NULL || m->syncing != NULL) { // waiting for us, not silent
        member_touch(m);
        return;
    }
    log_info("broker", "group member timed out", "group", g->head->id, "member", m->id, NULL);
    member_remove(m, KAFKA_UNKNOWN_MEMBER_ID);
    classic_after_removal(g);
}

void member_touch(struct member *m) {
    loop_timer_set(m->group->head->coordinator->loop, &m->session, (int64_t)m->session_ms * 1000, session_over, m);
}

static void pending_over(void *arg) {
    struct pending_member *p = arg;
    struct classic_group *g = p->group;
    pending_remove(g, p->id);
    if (g->state == CLASSIC_PREPARING) classic_try_join(g);
}

void pending_add(struct classic_group *g, const char *id, int32_t session_ms) {
    struct pending_member *p = MEM_NEW(struct pending_member);
    p->group = g;
    p->id = mem_strdup(id);
    map_put(&g->pending, str_c(id), p);
    loop_timer_set(g->head->coordinator->loop, &p->timer, (int64_t)session_ms * 1000, pending_over, p);
}

bool pending_remove(struct classic_group *g, const char *id) {
    struct pending_member *p = map_remove(&g->pending, str_c(id));
    if (p == NULL) return false;
    loop_timer_cancel(g->head->coordinator->loop, &p->timer);
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

static bool all_know(const struct classic_group *g, const char *protocol) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;)
        if (!knows(e->value, protocol)) return false;
    return true;
}

bool classic_accepts(const struct classic_group *g, const struct group_join *j) {
    if (j->protocol_type == NULL || j->protocol_type[0] == '\0' || j->n_protocols == 0) return false;
    if (g == NULL || g->members.n == 0) return true;
    if (strcmp(g->protocol_type, j->protocol_type) != 0) return false;
    for (size_t i = 0; i < j->n_protocols; i++)
        if (all_know(g, j->protocols[i].name)) return true;
    return false;
}

static size_t votes_for(const struct classic_group *g, const char *protocol) {
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

const char *classic_choose(const struct classic_group *g) {
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

static void list_members(const struct classic_group *g, struct group_join *j) {
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

void classic_answer_join(struct member *m, struct group_join *j, int error, bool with_members) {
    struct classic_group *g = m->group;
    struct arena *a = j->call.arena;
    if (m->joining == j) m->joining = NULL;
    j->generation = error == 0 ? g->generation : -1;
    j->protocol_name = error == 0 && g->protocol_name != NULL ? arena_strdup(a, g->protocol_name) : NULL;
    if (j->leader == NULL) j->leader = error == 0 && g->leader != NULL ? arena_strdup(a, g->leader) : "";
    j->out_member_id = arena_strdup(a, m->id);
    j->protocol_type = g->protocol_type == NULL ? NULL : arena_strdup(a, g->protocol_type);
    j->members = NULL;
    j->n_members = 0;
    if (error == 0 && with_members) list_members(g, j);
    coordinator_answer(&j->call, error, "");
}

void classic_answer_sync(struct member *m, struct group_sync *s, int error) {
    const struct classic_group *g = m->group;
    struct arena *a = s->call.arena;
    if (m->syncing == s) m->syncing = NULL;
    s->out_protocol_type = g->protocol_type == NULL ? NULL : arena_strdup(a, g->protocol_type);
    s->out_protocol_name = g->protocol_name == NULL ? NULL : arena_strdup(a, g->protocol_name);
    s->assignment = error == 0 ? arena_str(a, buf_str(&m->assignment)) : (struct str){"", 0};
    coordinator_answer(&s->call, error, "");
}

// ---- rebalances -----------------------------------------------------------------------------------------------------

static void arm(struct classic_group *g, int64_t ms, loop_fn *fn) { loop_timer_set(g->head->coordinator->loop, &g->rebalance, ms * 1000, fn, g); }

static int64_t longest_rebalance(const struct classic_group *g) {
    int64_t ms = 0;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;)
        if (((struct member *)e->value)->rebalance_ms > ms) ms = ((struct member *)e->value)->rebalance_ms;
    return ms;
}

// A member who joined but never synced would hold up the others' assignment for ever.
static void syncs_over(void *arg) {
    struct classic_group *g = arg;
    bool removed = false;
    struct map_entry *e;
    if (g->state != CLASSIC_COMPLETING) return;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        if (m->syncing != NULL) continue;
        member_remove(m, KAFKA_UNKNOWN_MEMBER_ID);
        removed = true;
    }
    if (removed) classic_after_removal(g);
}

static bool elect_joined_leader(struct classic_group *g) {
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

static void complete_join(struct classic_group *g) {
    struct map_entry *e;
    g->initial_delay = false;
    loop_timer_cancel(g->head->coordinator->loop, &g->rebalance);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        if (m->joining == NULL && m->instance_id == NULL) member_remove(m, KAFKA_UNKNOWN_MEMBER_ID);
    }
    if (g->members.n > 0 && !elect_joined_leader(g)) { // only static members, none of them here yet
        arm(g, longest_rebalance(g), join_over);
        return;
    }
    g->generation = g->generation == INT32_MAX ? 1 : g->generation + 1;
    g->saving = false;
    mem_free(g->protocol_name);
    g->protocol_name = NULL;
    if (g->members.n == 0) {
        g->state = CLASSIC_EMPTY;
        g->head->empty_since_ms = sys_now_us(g->head->coordinator->broker->sys) / 1000;
        classic_save(g);
        return;
    }
    const char *protocol = classic_choose(g);
    assert(protocol != NULL); // classic_accepts saw to it
    g->protocol_name = mem_strdup(protocol);
    g->state = CLASSIC_COMPLETING;
    log_info("broker", "group rebalanced", "group", g->head->id, "generation", log_i64(g->generation), "members", log_i64((int64_t)g->members.n), NULL);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        buf_clear(&m->assignment);
        if (m->joining != NULL) classic_answer_join(m, m->joining, 0, strcmp(m->id, g->leader) == 0);
        member_touch(m);
    }
    arm(g, longest_rebalance(g), syncs_over);
}

enum { NAMED_WAIT_MS = 3000 }; // as long as Kafka waits for anybody by default

static void join_over(void *arg) {
    struct classic_group *g = arg;
    if (g->state != CLASSIC_PREPARING) return;
    bool named = g->pending.n > 0 && g->head->coordinator->initial_pending; // an id was given, and its owner has yet to come with it, or has died
    bool more = g->new_member || named;
    if (!g->new_member && named && g->initial_left_ms > NAMED_WAIT_MS) g->initial_left_ms = NAMED_WAIT_MS;
    if (g->initial_delay && more && g->initial_left_ms > 0) { // somebody came meanwhile: wait for more like him
        int64_t delay = g->head->coordinator->initial_delay_ms;
        if (delay > g->initial_left_ms) delay = g->initial_left_ms;
        g->initial_left_ms -= delay;
        g->new_member = false;
        arm(g, delay, join_over);
        return;
    }
    complete_join(g);
}

void classic_try_join(struct classic_group *g) {
    if (g->state != CLASSIC_PREPARING || g->initial_delay || g->pending.n > 0) return;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;)
        if (((struct member *)e->value)->joining == NULL) return;
    complete_join(g);
}

void classic_rebalance(struct classic_group *g) {
    struct map_entry *e;
    if (g->state == CLASSIC_PREPARING) {
        classic_try_join(g);
        return;
    }
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        if (m->syncing != NULL) classic_answer_sync(m, m->syncing, KAFKA_REBALANCE_IN_PROGRESS);
    }
    int64_t longest = longest_rebalance(g);
    g->initial_delay = g->state == CLASSIC_EMPTY;
    g->state = CLASSIC_PREPARING;
    g->new_member = false;
    if (g->initial_delay) {
        int64_t delay = g->head->coordinator->initial_delay_ms;
        g->initial_left_ms = longest > delay ? longest - delay : 0;
        arm(g, delay, join_over);
        return;
    }
    arm(g, longest, join_over);
    classic_try_join(g);
}

void classic_after_removal(struct classic_group *g) {
    if (g->state == CLASSIC_STABLE || g->state == CLASSIC_COMPLETING) classic_rebalance(g);
    else if (g->state == CLASSIC_PREPARING && !g->initial_delay) classic_try_join(g);
    else if (g->state == CLASSIC_PREPARING && g->members.n == 0 && g->pending.n == 0) complete_join(g);
}

// ---- the leader's assignments ---------------------------------------------------------------------------------------

struct saving {
    struct coordinator *coordinator;
    char *group_id;
    int32_t generation;
};

static void stable(struct classic_group *g) {
    struct map_entry *e;
    g->state = CLASSIC_STABLE;
    loop_timer_cancel(g->head->coordinator->loop, &g->rebalance);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        if (m->syncing == NULL) continue;
        classic_answer_sync(m, m->syncing, 0);
        member_touch(m);
    }
}

// As Kafka: nobody gets an assignment that is not stored; all are told to begin again.
static void not_saved(struct classic_group *g) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct member *m = e->value;
        buf_clear(&m->assignment);
        if (m->syncing != NULL) classic_answer_sync(m, m->syncing, KAFKA_COORDINATOR_NOT_AVAILABLE);
    }
    classic_rebalance(g);
}

static void saved(void *arg, int error) {
    struct saving *s = arg;
    struct classic_group *g = classic_find(s->coordinator, s->group_id);
    if (g != NULL && g->saving && g->generation == s->generation) {
        g->saving = false;
        if (g->state == CLASSIC_COMPLETING && error == 0) stable(g);
        else if (g->state == CLASSIC_COMPLETING) not_saved(g);
    }
    mem_free(s->group_id);
    mem_free(s);
}

void classic_save_assignments(struct classic_group *g) {
    struct saving *s = MEM_NEW(struct saving);
    struct group_records *r = group_records_new(g->head->coordinator);
    *s = (struct saving){g->head->coordinator, mem_strdup(g->head->id), g->generation};
    g->saving = true;
    put_group(g->head, r, true);
    group_records_submit(r, g->head, saved, s);
}
