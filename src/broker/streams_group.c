// SPDX-License-Identifier: Apache-2.0
// The state of streams groups: members, epochs, targets, reconciliation. See streams_group.h. All on the coordinator's loop, except loading.
#include "broker/streams_group.h"

#include <stdlib.h>

#include "base/log.h"
#include "broker/dynamic.h"

// ---- tasks ----------------------------------------------------------------------------------------------------------

void task_id(uint8_t out[16], size_t subtopology) {
    memset(out, 0, 16);
    for (size_t i = 0; i < 4; i++) out[15 - i] = (uint8_t)(subtopology >> (8 * i));
}

size_t task_subtopology(const struct topic_partition *t) {
    return ((size_t)t->topic[12] << 24) | ((size_t)t->topic[13] << 16) | ((size_t)t->topic[14] << 8) | t->topic[15];
}

void task_sets_fini(struct task_sets *s) {
    for (int i = 0; i < STREAMS_ROLES; i++) partition_set_fini(&s->of[i]);
}

void task_sets_copy(struct task_sets *to, const struct task_sets *from) {
    for (int i = 0; i < STREAMS_ROLES; i++) partition_set_copy(&to->of[i], &from->of[i]);
}

bool task_sets_equal(const struct task_sets *a, const struct task_sets *b) {
    for (int i = 0; i < STREAMS_ROLES; i++)
        if (!partition_set_equal(&a->of[i], &b->of[i])) return false;
    return true;
}

static void task_sets_move(struct task_sets *to, struct task_sets *from) {
    for (int i = 0; i < STREAMS_ROLES; i++) partition_set_move(&to->of[i], &from->of[i]);
}

static bool is_none(const struct task_sets *s) { return s->of[0].n == 0 && s->of[1].n == 0 && s->of[2].n == 0; }

// ---- members --------------------------------------------------------------------------------------------------------

struct streams_group *streams_find(const struct coordinator *c, const char *id) {
    struct group *g = group_find_type(c, id, &streams_group_ops);
    return g == NULL ? NULL : g->own;
}

struct streams_group *streams_group_new(struct group *head) {
    struct streams_group *g = MEM_NEW(struct streams_group);
    g->head = head;
    head->own = g;
    g->validated_epoch = g->described_epoch = g->undescribable_epoch = g->asking.epoch = -1;
    g->plan.status = STREAMS_MISSING_SOURCE_TOPICS;
    map_init(&g->members);
    map_init(&g->statics);
    arena_init(&g->arena);
    return g;
}

struct streams_member *streams_member_add(struct streams_group *g, const char *id) {
    struct streams_member *m = MEM_NEW(struct streams_member);
    m->group = g;
    m->id = mem_strdup(id);
    m->client_id = mem_strdup("");
    m->client_host = mem_strdup("");
    m->process_id = mem_strdup("");
    m->rebalance_ms = -1;
    map_put(&g->members, str_c(id), m);
    return m;
}

void streams_set_instance(struct streams_member *m, const char *instance_id) {
    struct map *statics = &m->group->statics;
    if (m->instance_id != NULL && map_getc(statics, m->instance_id) == m) map_remove(statics, str_c(m->instance_id));
    group_text_set(&m->instance_id, instance_id);
    if (m->instance_id != NULL) map_put(statics, str_c(m->instance_id), m);
}

void streams_member_rename(struct streams_member *m, const char *id, struct group_records *r) {
    struct streams_member *other = map_getc(&m->group->members, id);
    streams_delete_member(m->group, m->id, r);
    if (other != NULL) streams_member_leave(other, r);
    map_remove(&m->group->members, str_c(m->id));
    group_text_set(&m->id, id);
    map_put(&m->group->members, str_c(m->id), m);
    streams_offsets_drop(m); // the other one's
}

void streams_member_drop(struct streams_member *m) {
    struct streams_group *g = m->group;
    struct loop *loop = g->head->coordinator->loop;
    loop_timer_cancel(loop, &m->session);
    loop_timer_cancel(loop, &m->rebalance);
    task_sets_fini(&m->assigned);
    task_sets_fini(&m->revoking);
    task_sets_fini(&m->target);
    kvs_free(&m->tags);
    streams_offsets_drop(m);
    streams_set_instance(m, NULL);
    map_remove(&g->members, str_c(m->id));
    if (g->members.n == 0) g->head->empty_since_ms = coordinator_now_ms(g->head->coordinator);
    mem_free(m->id);
    mem_free(m->rack_id);
    mem_free(m->client_id);
    mem_free(m->client_host);
    mem_free(m->process_id);
    mem_free(m->endpoint_host);
    mem_free(m);
}

static void fence(struct streams_member *m, const char *why) {
    struct group *head = m->group->head;
    struct group_records *r = group_records_new(head->coordinator);
    log_info("broker", "member of a streams group is fenced", "group", head->id, "member", m->id, "why", why, NULL);
    streams_member_leave(m, r);
    group_records_submit(r, head, NULL, NULL);
}

static void session_over(void *arg) { fence(arg, "session timed out"); }
static void rebalance_over(void *arg) { fence(arg, "rebalance timed out"); }

void streams_touch(struct streams_member *m) {
    const struct group *head = m->group->head;
    int64_t ms = group_config_i64(head, "streams.session.timeout.ms", 45000);
    loop_timer_set(head->coordinator->loop, &m->session, ms * 1000, session_over, m);
}

void streams_rebalance_timer(struct streams_member *m) {
    struct loop *loop = m->group->head->coordinator->loop;
    if (m->state != STREAMS_UNREVOKED) loop_timer_cancel(loop, &m->rebalance);
    else if (m->rebalance.heap_index == 0) loop_timer_set(loop, &m->rebalance, (int64_t)m->rebalance_ms * 1000, rebalance_over, m);
}

void streams_member_leave(struct streams_member *m, struct group_records *r) {
    struct streams_group *g = m->group;
    streams_delete_member(g, m->id, r);
    if (m->endpoint_host != NULL) g->endpoint_epoch++;
    streams_member_drop(m);
    if (g->members.n == 0) group_text_set(&g->shutdown_by, NULL);
    streams_bump(g, r);
}

// ---- topology and targets -------------------------------------------------------------------------------------------

int streams_subtopology(const struct streams_group *g, const char *id) {
    for (size_t i = 0; g->topology != NULL && i < g->topology->n_subtopologies; i++)
        if (strcmp(g->topology->subtopologies[i].id, id) == 0) return (int)i;
    return -1;
}

void streams_take_topology(struct streams_group *g, const struct streams_topology *t) {
    arena_reset(&g->arena);
    g->topology = streams_topology_copy(&g->arena, t);
}

struct creating {
    struct coordinator *coordinator;
    struct arena arena;
    const char *group_id;
    struct {
        const char *name;
        int32_t partitions;
        const struct broker_kv *configs;
        size_t n_configs;
    } *topics;
    size_t n;
};

static void create_on_pool(void *arg) {
    struct creating *w = arg;
    for (size_t i = 0; i < w->n; i++) {
        struct err err = {0};
        enum err_code code = broker_topic_create(w->coordinator->broker, w->topics[i].name, w->topics[i].partitions, w->topics[i].configs,
                                                 w->topics[i].n_configs, false, NULL, NULL, &err);
        if (code != ERR_OK && code != ERR_EXISTS)
            log_warn("broker", "internal topic of a streams group not made", "group", w->group_id, "topic", w->topics[i].name, "error", err.msg, NULL);
    }
}

static void created(void *arg) { // the group, if it is still there, heard of the topics themselves already
    struct creating *w = arg;
    struct coordinator *c = w->coordinator;
    map_remove(&c->creating, str_c(w->group_id));
    arena_fini(&w->arena);
    mem_free(w);
    coordinator_back(c);
}

void streams_create_missing(struct streams_group *g) {
    struct coordinator *c = g->head->coordinator;
    if (map_getc(&c->creating, g->head->id) != NULL || g->plan.missing.n == 0 || c->stopping) return;
    struct creating *w = MEM_NEW(struct creating);
    arena_init(&w->arena);
    w->coordinator = c;
    w->group_id = arena_strdup(&w->arena, g->head->id);
    w->topics = arena_zalloc(&w->arena, sizeof *w->topics * g->plan.missing.n);
    for (size_t i = 0; i < g->plan.missing.n; i++) {
        const struct streams_topic *t = g->plan.missing.p[i].topic;
        struct broker_kv *configs = ARENA_ARRAY(&w->arena, struct broker_kv, t->n_configs + 1);
        for (size_t k = 0; k < t->n_configs; k++)
            configs[k] = (struct broker_kv){arena_strdup(&w->arena, t->configs[k].name), arena_strdup(&w->arena, t->configs[k].value)};
        w->topics[w->n].name = arena_strdup(&w->arena, t->name);
        w->topics[w->n].partitions = g->plan.missing.p[i].partitions;
        w->topics[w->n].configs = configs;
        w->topics[w->n++].n_configs = t->n_configs;
    }
    struct err err = {0};
    if (broker_submit(c->broker, create_on_pool, w, c->loop, created, &err) == ERR_OK) {
        map_put(&c->creating, str_c(w->group_id), w);
        c->resolving++;
        return;
    }
    arena_fini(&w->arena); // the pool's queue is full: the next heartbeat tries again
    mem_free(w);
}

// Kafka counts the tags too, although its assignor does not look at them either.
bool streams_take_configs(struct streams_group *g) {
    int32_t standbys = (int32_t)group_config_i64(g->head, "streams.num.standby.replicas", 0);
    const char *tags = broker_group_config(g->head->coordinator->broker, str_c(g->head->id), "streams.rack.aware.assignment.tags");
    bool same = standbys == g->standbys && strcmp(tags, g->rack_tags == NULL ? "" : g->rack_tags) == 0;
    g->standbys = standbys;
    if (!same) group_text_set(&g->rack_tags, tags[0] == '\0' ? NULL : tags);
    return !same;
}

bool streams_replan(struct streams_group *g) {
    if (g->topology == NULL) return false;
    streams_plan_fini(&g->plan);
    streams_plan_make(g->head->coordinator->broker, g->topology, &g->plan);
    int32_t validated = g->plan.status < 0 ? g->topology->epoch : -1;
    bool changed = g->plan.hash != g->metadata_hash || validated != g->validated_epoch;
    g->metadata_hash = g->plan.hash;
    g->validated_epoch = validated;
    return changed;
}

void streams_bump(struct streams_group *g, struct group_records *r) {
    g->epoch++;
    streams_put_group(g, r);
}

void streams_update_target(struct streams_group *g, struct group_records *r) {
    struct map_entry *e;
    size_t i = 0;
    if (g->epoch <= g->assignment_epoch || assignment_wait_ms(g->head, &g->pace, "streams") > 0) return;
    struct task_sets *out = mem_zalloc((g->members.n + 1) * sizeof *out);
    bool assigns = g->delay.heap_index == 0; // else nobody gets anything yet
    size_t size = g->members.n;
    if (assigns) streams_assign(g, out, g->standbys);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL; i++) {
        struct streams_member *m = e->value;
        if (!task_sets_equal(&m->target, &out[i])) {
            task_sets_move(&m->target, &out[i]);
            streams_put_target(m, r);
        }
        task_sets_fini(&out[i]);
    }
    mem_free(out);
    g->assignment_epoch = g->epoch;
    for (size_t t = 0; g->plan.tasks != NULL && t < g->topology->n_subtopologies; t++) size += (size_t)g->plan.tasks[t];
    if (assigns) assignment_computed(g->head, &g->pace, size);
    streams_put_target_epoch(g, r);
}

// ---- reconciliation -------------------------------------------------------------------------------------------------

static bool has(const struct partition_set *s, const struct topic_partition *t) {
    struct partition_set one = {(struct topic_partition *)t, 1, 1};
    return partition_set_meets(s, &one);
}

// Whether another member, or one in the same process in another role, still has the task. One process keeps a task's state in one place. So a member
// that just gave a task up in one role takes it in another with its next heartbeat, when the state has been closed, as Kafka's coordinator has it.
static bool is_taken(const struct streams_member *m, const struct topic_partition *t, int role) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&m->group->members, &it)) != NULL;) {
        const struct streams_member *o = e->value;
        bool near = o == m || (m->process_id[0] != '\0' && strcmp(o->process_id, m->process_id) == 0);
        for (int i = 0; i < STREAMS_ROLES; i++) {
            if (!near && (i != STREAMS_ACTIVE || role != STREAMS_ACTIVE)) continue;
            if (has(&o->assigned.of[i], t) || has(&o->revoking.of[i], t)) return true;
        }
    }
    return false;
}

static bool gave_up(const struct task_sets *revoking, const struct task_sets *owned) {
    if (is_none(revoking)) return true;
    for (int i = 0; owned != NULL && i < STREAMS_ROLES; i++)
        if (partition_set_meets(&owned->of[i], &revoking->of[i])) return false;
    return owned != NULL;
}

static void step(struct streams_member *m, const struct task_sets *owned) {
    struct task_sets kept = {0}, revoking = {0};
    bool unreleased = false;
    for (int i = 0; i < STREAMS_ROLES; i++) {
        partition_set_common(&kept.of[i], &m->assigned.of[i], &m->target.of[i]);
        partition_set_minus(&revoking.of[i], &m->assigned.of[i], &kept.of[i]);
    }
    m->previous_epoch = m->epoch;
    if (!gave_up(&revoking, owned)) {
        m->state = STREAMS_UNREVOKED;
        task_sets_move(&m->assigned, &kept);
        task_sets_move(&m->revoking, &revoking);
        return;
    }
    task_sets_fini(&revoking);
    for (int i = 0; i < STREAMS_ROLES; i++) {
        struct partition_set wanted = {0};
        size_t free = 0;
        partition_set_minus(&wanted, &m->target.of[i], &kept.of[i]);
        for (size_t k = 0; k < wanted.n; k++) {
            if (!is_taken(m, &wanted.p[k], i)) wanted.p[free++] = wanted.p[k];
            else unreleased = true;
        }
        wanted.n = free;
        for (size_t k = 0; k < wanted.n; k++) wanted.p[k].epoch = m->group->assignment_epoch;
        partition_set_merge(&kept.of[i], &wanted);
        partition_set_fini(&wanted);
    }
    task_sets_move(&m->assigned, &kept);
    task_sets_fini(&m->revoking); // until here it counted as the member's
    m->state = unreleased ? STREAMS_UNRELEASED : STREAMS_STABLE;
    m->epoch = m->group->assignment_epoch;
}

bool streams_reconcile(struct streams_member *m, const struct task_sets *owned, struct group_records *r) {
    int32_t target = m->group->assignment_epoch, epoch = m->epoch, previous = m->previous_epoch;
    enum streams_member_state state = m->state;
    struct task_sets before = {0};
    if (state == STREAMS_STABLE && epoch == target) return false;
    if (state == STREAMS_UNREVOKED && !gave_up(&m->revoking, owned)) return false;
    task_sets_copy(&before, &m->assigned);
    step(m, owned);
    bool same = m->state == state && m->epoch == epoch && is_none(&m->revoking) && task_sets_equal(&before, &m->assigned);
    task_sets_fini(&before);
    if (same) {
        m->previous_epoch = previous;
        return false;
    }
    streams_put_current(m, r);
    streams_rebalance_timer(m);
    return true;
}

// ---- what all types of groups do ------------------------------------------------------------------------------------

static struct streams_group *own(const struct group *g) { return g->own; }

static const char *protocol_type(const struct group *g) {
    (void)g;
    return "streams";
}

static const char *state_name(const struct group *head) {
    const struct streams_group *g = own(head);
    struct map_entry *e;
    if (g->members.n == 0) return "Empty";
    if (g->plan.status >= 0) return "NotReady";
    if (g->epoch > g->assignment_epoch) return "Assigning";
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct streams_member *m = e->value;
        if (m->state != STREAMS_STABLE || m->epoch != g->assignment_epoch) return "Reconciling";
    }
    return "Stable";
}

static bool has_members(const struct group *g) { return own(g)->members.n > 0; }

// The subtopology that reads a topic; -1 = none.
static int source_of(const struct streams_group *g, const char *topic) {
    for (size_t i = 0; g->topology != NULL && i < g->topology->n_subtopologies; i++) {
        const struct streams_subtopology *s = &g->topology->subtopologies[i];
        for (size_t k = 0; k < s->n_sources; k++)
            if (strcmp(s->sources[k], topic) == 0) return (int)i;
        for (size_t k = 0; k < s->n_repartition_sources; k++)
            if (strcmp(s->repartition_sources[k].name, topic) == 0) return (int)i;
    }
    return -1;
}

static bool subscribes(const struct group *head, const char *topic) { return has_members(head) && source_of(own(head), topic) >= 0; }

static int64_t ages_since(const struct group *g, int64_t commit_ms) {
    (void)g;
    return commit_ms;
}

// A commit of an older epoch is as good as one of today for the tasks that the member has had since then (KIP-1251). Topics that are not there
// are answered one by one.
static bool has_had(const struct streams_member *m, const struct group_commit *x) {
    for (size_t i = 0; i < x->n_offsets; i++) {
        struct topic_partition task = {.partition = x->offsets[i].partition};
        uint8_t id[16];
        if (!topics_id(m->group->head->coordinator->broker, x->offsets[i].topic, task.partition, id)) continue;
        int sub = source_of(m->group, x->offsets[i].topic);
        if (sub < 0) return false;
        task_id(task.topic, (size_t)sub);
        const struct topic_partition *has = partition_set_find(&m->assigned.of[STREAMS_ACTIVE], &task);
        if (has == NULL) has = partition_set_find(&m->revoking.of[STREAMS_ACTIVE], &task);
        if (has == NULL || x->generation < has->epoch) return false;
    }
    return true;
}

static int check_commit(struct group *head, const struct group_commit *x) {
    const struct streams_group *g = own(head);
    if (x->generation < 0 && g->members.n == 0) return 0;
    bool in_txn = x->transactional_id != NULL; // its epochs are generations to it
    if (in_txn && group_commit_is_anonymous(x)) return 0;
    const struct streams_member *m = x->member_id == NULL ? NULL : map_getc(&g->members, x->member_id);
    if (m == NULL) return KAFKA_UNKNOWN_MEMBER_ID;
    if (!in_txn && !x->knows_epochs) return KAFKA_UNSUPPORTED_VERSION;
    if (x->generation == m->epoch || (x->generation < m->epoch && has_had(m, x))) return 0;
    return in_txn ? KAFKA_ILLEGAL_GENERATION : KAFKA_STALE_MEMBER_EPOCH;
}

static int check_fetch(struct group *head, const char *member_id, int32_t member_epoch) {
    const struct streams_member *m = map_getc(&own(head)->members, member_id);
    return m == NULL ? KAFKA_UNKNOWN_MEMBER_ID : m->epoch == member_epoch ? 0 : KAFKA_STALE_MEMBER_EPOCH;
}

static void free_own(struct group *head) {
    struct streams_group *g = own(head);
    struct map_entry *e;
    streams_description_drop(g);
    loop_timer_cancel(head->coordinator->loop, &g->delay);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) streams_member_drop(e->value);
    map_fini(&g->members);
    map_fini(&g->statics);
    streams_plan_fini(&g->plan);
    arena_fini(&g->arena);
    mem_free(g->shutdown_by);
    mem_free(g->rack_tags);
    mem_free(g);
}

static void stop(struct group *head) {
    struct streams_group *g = own(head);
    struct map_entry *e;
    loop_timer_cancel(head->coordinator->loop, &g->delay);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct streams_member *m = e->value;
        loop_timer_cancel(head->coordinator->loop, &m->session);
        loop_timer_cancel(head->coordinator->loop, &m->rebalance);
    }
}

static void topics_changed(struct group *head, const char *topic) {
    struct streams_group *g = own(head);
    (void)topic;
    if (g->members.n == 0 || !streams_replan(g)) return;
    struct group_records *r = group_records_new(head->coordinator);
    streams_bump(g, r);
    group_records_submit(r, head, NULL, NULL);
}

static void loaded(struct group *head) {
    struct streams_group *g = own(head);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct streams_member *m = e->value;
        streams_touch(m);
        streams_rebalance_timer(m);
    }
    topics_changed(head, NULL);
}

const struct group_ops streams_group_ops = {
    .type = GROUP_STREAMS,
    .name = "Streams",
    .what = "a streams group",
    .protocol_type = protocol_type,
    .state_name = state_name,
    .has_members = has_members,
    .subscribes = subscribes,
    .ages_since = ages_since,
    .check_commit = check_commit,
    .check_fetch = check_fetch,
    .put_live = streams_put_live,
    .put_tombstones = streams_put_tombstones,
    .topics_changed = topics_changed,
    .loaded = loaded,
    .forget = streams_description_forget,
    .stop = stop,
    .free_own = free_own,
};
