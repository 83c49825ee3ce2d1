// SPDX-License-Identifier: Apache-2.0
// StreamsGroupHeartbeat and StreamsGroupDescribe (KIP-1071). A heartbeat changes the state in memory, writes what changed, and is answered when
// that is durable. Regular expressions of source topics are refused, as Kafka does.
#include <stdlib.h>

#include "base/log.h"
#include "broker/streams_group.h"

// ---- checks ---------------------------------------------------------------------------------------------------------

static int check_join(struct streams_heartbeat *h) {
    if (h->rebalance_timeout_ms == -1) return group_say(&h->call, KAFKA_INVALID_REQUEST, "RebalanceTimeoutMs must be provided in first request.");
    if (!h->owned.given || h->owned.n_active > 0) return group_say(&h->call, KAFKA_INVALID_REQUEST, "ActiveTasks must be empty when (re-)joining.");
    if (h->owned.n_standby > 0) return group_say(&h->call, KAFKA_INVALID_REQUEST, "StandbyTasks must be empty when (re-)joining.");
    if (h->owned.n_warmup > 0) return group_say(&h->call, KAFKA_INVALID_REQUEST, "WarmupTasks must be empty when (re-)joining.");
    if (h->topology == NULL) return group_say(&h->call, KAFKA_INVALID_REQUEST, "Topology must be non-null when (re-)joining.");
    return 0;
}

static int check_later(struct streams_heartbeat *h) {
    if (h->member_epoch == STREAMS_EPOCH_LEAVE_STATIC && h->group_instance_id == NULL)
        return group_say(&h->call, KAFKA_INVALID_REQUEST, "InstanceId can't be null.");
    if (h->member_epoch < STREAMS_EPOCH_LEAVE_STATIC)
        return group_say(&h->call, KAFKA_INVALID_REQUEST, "MemberEpoch is %d, but must be greater than or equal to -2.", h->member_epoch);
    if (h->owned.mixed) return group_say(&h->call, KAFKA_INVALID_REQUEST, "If one task-type is non-null, all must be non-null.");
    if (h->topology != NULL) return group_say(&h->call, KAFKA_INVALID_REQUEST, "Topology can only be provided when (re-)joining.");
    return 0;
}

static int check_request(struct streams_heartbeat *h) {
    if (group_text_blank(h->member_id)) return group_say(&h->call, KAFKA_INVALID_REQUEST, "MemberId can't be empty.");
    if (group_text_blank(h->group_id)) return group_say(&h->call, KAFKA_INVALID_REQUEST, "GroupId can't be empty.");
    if (h->group_instance_id != NULL && group_text_blank(h->group_instance_id)) return group_say(&h->call, KAFKA_INVALID_REQUEST, "InstanceId can't be empty.");
    if (h->rack_id != NULL && group_text_blank(h->rack_id)) return group_say(&h->call, KAFKA_INVALID_REQUEST, "RackId can't be empty.");
    if (h->source_regex) return group_say(&h->call, KAFKA_INVALID_REQUEST, "Regular expressions for source topics are not supported yet.");
    int error = h->member_epoch == STREAMS_EPOCH_JOIN ? check_join(h) : check_later(h);
    const char *fault = error == 0 && h->topology != NULL ? streams_topology_fault(h->topology, h->call.arena) : NULL;
    if (fault != NULL) return group_say(&h->call, KAFKA_STREAMS_INVALID_TOPOLOGY, "%s", fault);
    fault = error == 0 ? streams_offsets_fault(h) : NULL;
    return fault == NULL ? error : group_say(&h->call, KAFKA_INVALID_REQUEST, "%s", fault);
}

static int find_group(struct coordinator *c, struct streams_heartbeat *h, struct group_records *r, struct streams_group **out) {
    struct group *head = group_find(c, h->group_id);
    bool joins = h->member_epoch == 0;
    *out = NULL;
    if (head == NULL && !joins) return group_say(&h->call, KAFKA_GROUP_ID_NOT_FOUND, "Streams group %.200s not found.", h->group_id);
    if (head == NULL && (head = group_make(c, h->group_id, &streams_group_ops)) == NULL)
        return group_say(&h->call, KAFKA_COORDINATOR_NOT_AVAILABLE, "The coordinator takes no more groups.");
    if (head->own == NULL) (void)streams_group_new(head);
    if (head->ops != &streams_group_ops) {
        if (!joins || head->ops != &classic_group_ops || head->ops->has_members(head))
            return group_not_found(&h->call, h->group_id, head, &streams_group_ops);
        group_become(head, &streams_group_ops, r);
        (void)streams_group_new(head);
    }
    *out = head->own;
    return 0;
}

static void owned_sets(const struct streams_group *g, const struct streams_heartbeat *h, struct task_sets *out) {
    const struct streams_task *tasks[STREAMS_ROLES] = {h->owned.active, h->owned.standby, h->owned.warmup};
    size_t n[STREAMS_ROLES] = {h->owned.n_active, h->owned.n_standby, h->owned.n_warmup};
    for (int i = 0; i < STREAMS_ROLES; i++) {
        for (size_t k = 0; k < n[i]; k++) {
            int sub = streams_subtopology(g, tasks[i][k].subtopology);
            uint8_t id[16];
            task_id(id, sub < 0 ? 0 : (size_t)sub);
            if (sub >= 0 && tasks[i][k].partition >= 0) partition_set_add(&out->of[i], id, tasks[i][k].partition);
        }
        partition_set_sort(&out->of[i]);
    }
}

static bool is_within(const struct task_sets *a, const struct task_sets *b) {
    for (int i = 0; i < STREAMS_ROLES; i++)
        if (!partition_set_within(&a->of[i], &b->of[i])) return false;
    return true;
}

static int check_epoch(const struct streams_member *m, struct streams_heartbeat *h, const struct task_sets *owned) {
    if (h->member_epoch == m->epoch) return 0;
    if (h->member_epoch < m->epoch && h->member_epoch == m->previous_epoch && owned != NULL && is_within(owned, &m->assigned)) return 0;
    return group_fenced_epoch(&h->call, "streams", h->member_epoch, m->epoch);
}

static int new_member(struct streams_group *g, struct streams_heartbeat *h, struct streams_member **out) {
    int64_t max = configs_broker_i64(g->head->coordinator->broker, "group.streams.max.size", INT32_MAX);
    if ((int64_t)g->members.n >= max) return group_is_full(&h->call, "streams", max);
    *out = streams_member_add(g, h->member_id);
    return 0;
}

// One that left for a while and comes back, mostly under another id, finds its tasks as they were, and the group in the same epoch.
static int find_static(struct streams_group *g, struct streams_heartbeat *h, const struct task_sets *owned, struct group_records *r,
                       struct streams_member **out) {
    struct streams_member *m = map_getc(&g->statics, h->group_instance_id);
    bool is_its = m != NULL && strcmp(m->id, h->member_id) == 0;
    if (h->member_epoch != STREAMS_EPOCH_JOIN) {
        if (m == NULL) return group_unknown_instance(&h->call, h->group_instance_id);
        if (!is_its) return group_fenced_instance(&h->call, h->member_id, h->group_instance_id, m->id);
        *out = m;
        return check_epoch(m, h, owned);
    }
    if (m == NULL) {
        *out = map_getc(&g->members, h->member_id);
        return *out == NULL ? new_member(g, h, out) : 0;
    }
    if (!is_its && m->epoch != STREAMS_EPOCH_LEAVE_STATIC) return group_unreleased_instance(&h->call, h->member_id, h->group_instance_id, m->id);
    if (!is_its) {
        streams_member_rename(m, h->member_id, r);
        streams_put_target(m, r);
    }
    task_sets_fini(&m->revoking);
    m->state = STREAMS_STABLE;
    m->epoch = m->previous_epoch = 0;
    *out = m;
    return 0;
}

// A member that joins again is told of the tasks that it has, as they are: nothing of the group moves.
static int find_member(struct streams_group *g, struct streams_heartbeat *h, const struct task_sets *owned, struct group_records *r,
                       struct streams_member **out) {
    *out = NULL;
    if (h->group_instance_id != NULL) return find_static(g, h, owned, r, out);
    struct streams_member *m = map_getc(&g->members, h->member_id);
    bool joins = h->member_epoch == STREAMS_EPOCH_JOIN;
    *out = m;
    if (m != NULL) return joins ? 0 : check_epoch(m, h, owned);
    return joins ? new_member(g, h, out) : group_unknown_member(&h->call, h->group_id, h->member_id);
}

// ---- answers --------------------------------------------------------------------------------------------------------

static const struct streams_task *tasks_out(const struct streams_group *g, const struct partition_set *s, struct arena *a, size_t *n) {
    struct streams_task *out = ARENA_ARRAY(a, struct streams_task, s->n + 1);
    const char *id = NULL;
    for (size_t i = 0; i < s->n; i++) {
        if (i == 0 || memcmp(s->p[i].topic, s->p[i - 1].topic, 16) != 0) id = arena_strdup(a, g->topology->subtopologies[task_subtopology(&s->p[i])].id);
        out[i] = (struct streams_task){id, s->p[i].partition};
    }
    *n = s->n;
    return out;
}

static void tasks_of(const struct streams_group *g, const struct task_sets *s, struct arena *a, struct streams_tasks *out) {
    out->given = true;
    out->active = tasks_out(g, &s->of[STREAMS_ACTIVE], a, &out->n_active);
    out->standby = tasks_out(g, &s->of[STREAMS_STANDBY], a, &out->n_standby);
    out->warmup = tasks_out(g, &s->of[STREAMS_WARMUP], a, &out->n_warmup);
}

static int by_topic(const void *x, const void *y) {
    const struct group_partition *a = x, *b = y;
    int c = strcmp(a->topic, b->topic);
    return c != 0 ? c : (a->partition > b->partition) - (a->partition < b->partition);
}

// The partitions that a member's tasks read: for interactive queries.
static const struct group_partition *inputs(const struct streams_group *g, const struct partition_set *s, struct arena *a, size_t *n) {
    size_t room = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct streams_subtopology *sub = &g->topology->subtopologies[task_subtopology(&s->p[i])];
        room += sub->n_sources + sub->n_repartition_sources;
    }
    struct group_partition *out = ARENA_ARRAY(a, struct group_partition, room + 1);
    *n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct streams_subtopology *sub = &g->topology->subtopologies[task_subtopology(&s->p[i])];
        for (size_t k = 0; k < sub->n_sources + sub->n_repartition_sources; k++) {
            const char *name = k < sub->n_sources ? sub->sources[k] : sub->repartition_sources[k - sub->n_sources].name;
            struct broker_topic_info info;
            if (!broker_topic_get(g->head->coordinator->broker, str_c(name), a, &info) || s->p[i].partition >= info.partitions) continue;
            out[*n].topic = info.name;
            out[(*n)++].partition = s->p[i].partition;
        }
    }
    qsort(out, *n, sizeof *out, by_topic);
    return out;
}

static void fill_endpoints(const struct streams_group *g, struct streams_heartbeat *h) {
    struct arena *a = h->call.arena;
    struct map_entry *e;
    struct streams_endpoint_partitions *out = ARENA_ARRAY(a, struct streams_endpoint_partitions, g->members.n + 1);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct streams_member *m = e->value;
        if (m->endpoint_host == NULL) continue;
        struct streams_endpoint_partitions *x = &out[h->n_endpoints++];
        x->endpoint = (struct streams_endpoint){arena_strdup(a, m->endpoint_host), m->endpoint_port};
        x->active = inputs(g, &m->assigned.of[STREAMS_ACTIVE], a, &x->n_active);
        x->standby = inputs(g, &m->assigned.of[STREAMS_STANDBY], a, &x->n_standby);
    }
    h->endpoints = out;
    h->has_endpoints = true;
}

static void add_status(struct streams_heartbeat *h, int code, const char *detail) {
    h->statuses[h->n_statuses++] = (struct streams_status_info){code, arena_strdup(h->call.arena, detail)};
}

enum { REFUSED_NAMED = 20 }; // of the topics that may not be made

// Internal topics are made by whoever's heartbeat finds them missing, with its rights: all of them or none.
// What the status says of it, NULL = nothing.
static const char *create_internal(struct streams_group *g, const struct streams_heartbeat *h) {
    const char *refused = NULL;
    size_t named = 0;
    for (size_t i = 0; h->may_create != NULL && i < g->plan.missing.n && named < REFUSED_NAMED; i++) {
        const char *topic = g->plan.missing.p[i].topic->name;
        if (h->may_create(h, topic)) continue;
        refused = named++ == 0 ? topic : arena_printf(h->call.arena, "%s, %s", refused, topic);
    }
    if (refused == NULL) streams_create_missing(g);
    return refused == NULL ? NULL : arena_printf(h->call.arena, "%s; Unauthorized to CREATE on topics %s.", g->plan.detail, refused);
}

static void fill_statuses(struct streams_group *g, const struct streams_member *m, struct streams_heartbeat *h) {
    struct arena *a = h->call.arena;
    if (m->topology_epoch < g->topology->epoch)
        add_status(h, STREAMS_STALE_TOPOLOGY, arena_printf(a, "The member's topology epoch %d is behind the group's topology epoch %d.",
                                                           m->topology_epoch, g->topology->epoch));
    const char *refused = create_internal(g, h);
    if (g->plan.status >= 0) add_status(h, g->plan.status, refused != NULL ? refused : g->plan.detail);
    if (g->delay.heap_index != 0) add_status(h, STREAMS_ASSIGNMENT_DELAYED, "Assignment delayed due to the configured initial rebalance delay.");
    else if (g->epoch > g->assignment_epoch) add_status(h, STREAMS_ASSIGNMENT_DELAYED, "Assignment delayed due to the configured assignment interval.");
    if (g->shutdown_by != NULL)
        add_status(h, STREAMS_SHUTDOWN, arena_printf(a, "Streams group member %.100s encountered a fatal error and requested a shutdown for the "
                                                        "entire application.", g->shutdown_by));
}

// ---- leave ----------------------------------------------------------------------------------------------------------

static int find_leaver(struct streams_group *g, struct streams_heartbeat *h, struct streams_member **out) {
    *out = h->group_instance_id == NULL ? map_getc(&g->members, h->member_id) : map_getc(&g->statics, h->group_instance_id);
    if (*out == NULL && h->group_instance_id != NULL) return group_unknown_instance(&h->call, h->group_instance_id);
    if (*out == NULL) return group_unknown_member(&h->call, h->group_id, h->member_id);
    return strcmp((*out)->id, h->member_id) == 0 ? 0 : group_fenced_instance(&h->call, h->member_id, h->group_instance_id, (*out)->id);
}

static void leave(struct coordinator *c, struct streams_heartbeat *h) {
    struct streams_group *g = streams_find(c, h->group_id);
    struct streams_member *m = NULL;
    int error = g == NULL ? group_not_found(&h->call, h->group_id, group_find(c, h->group_id), &streams_group_ops) : find_leaver(g, h, &m);
    if (error != 0) {
        group_refuse(&h->call, error);
        return;
    }
    struct group_records *r = group_records_new(c);
    h->out_member_id = arena_strdup(h->call.arena, m->id);
    h->out_member_epoch = h->member_epoch;
    if (h->shutdown) group_text_set(&g->shutdown_by, m->id);
    if (h->member_epoch == STREAMS_EPOCH_LEAVE_STATIC) { // it comes back: nobody gets its tasks until its session is over
        task_sets_fini(&m->revoking);
        for (int i = 0; i < STREAMS_ROLES; i++) partition_set_epoch(&m->assigned.of[i], 0);
        m->state = STREAMS_STABLE;
        m->previous_epoch = m->epoch;
        m->epoch = STREAMS_EPOCH_LEAVE_STATIC;
        streams_rebalance_timer(m);
        streams_put_current(m, r);
    } else {
        streams_member_leave(m, r);
    }
    group_records_submit(r, g->head, group_answer_durable, h);
}

// ---- heartbeat ------------------------------------------------------------------------------------------------------

static bool has_tag(const struct streams_member *m, const struct broker_kv *tag) {
    for (size_t i = 0; i < m->tags.n; i++)
        if (strcmp(m->tags.p[i].name, tag->name) == 0 && strcmp(m->tags.p[i].value, tag->value) == 0) return true;
    return false;
}

static bool set_tags(struct streams_member *m, const struct streams_heartbeat *h) {
    bool same = h->tags == NULL || h->n_tags == m->tags.n;
    for (size_t i = 0; same && h->tags != NULL && i < h->n_tags; i++) same = has_tag(m, &h->tags[i]);
    if (same) return false;
    kvs_free(&m->tags);
    for (size_t i = 0; i < h->n_tags; i++) vec_add(&m->tags, ((struct topic_kv){mem_strdup(h->tags[i].name), mem_strdup(h->tags[i].value)}));
    return true;
}

struct change { // of what a member says of itself
    bool any, placing /* what the assignor looks at */, endpoint;
};

// Who joins says where it is reached, or that it is not; later a member may leave that out.
static bool set_endpoint(struct streams_member *m, const struct streams_heartbeat *h) {
    if (h->endpoint.host == NULL) {
        bool had = h->member_epoch == STREAMS_EPOCH_JOIN && m->endpoint_host != NULL;
        if (had) group_text_set(&m->endpoint_host, NULL);
        return had;
    }
    if (!group_text_update(&m->endpoint_host, h->endpoint.host) && m->endpoint_port == h->endpoint.port) return false;
    m->endpoint_port = h->endpoint.port;
    return true;
}

static struct change update_member(struct streams_member *m, const struct streams_heartbeat *h) {
    struct change c = {0};
    c.any |= group_text_update(&m->client_id, h->client_id);
    c.any |= group_text_update(&m->client_host, h->client_host);
    c.placing |= group_text_update(&m->rack_id, h->rack_id);
    c.placing |= group_text_update(&m->process_id, h->process_id);
    c.placing |= set_tags(m, h);
    if (h->group_instance_id != NULL && (m->instance_id == NULL || strcmp(m->instance_id, h->group_instance_id) != 0)) {
        streams_set_instance(m, h->group_instance_id);
        c.any = true;
    }
    c.endpoint = set_endpoint(m, h);
    if (h->rebalance_timeout_ms != -1 && m->rebalance_ms != h->rebalance_timeout_ms) {
        m->rebalance_ms = h->rebalance_timeout_ms;
        c.any = true;
    }
    if (h->topology != NULL && m->topology_epoch != h->topology->epoch) {
        m->topology_epoch = h->topology->epoch;
        c.placing = true;
    }
    c.any = c.any || c.placing || c.endpoint;
    return c;
}

// The first topology stays; a member may come with an older one, which makes it stale.
static bool is_older(const struct streams_group *g, const struct streams_heartbeat *h) {
    return h->topology == NULL || (g->topology != NULL && g->topology->epoch > h->topology->epoch);
}

static int check_topology(const struct streams_group *g, struct streams_heartbeat *h) {
    if (g->topology == NULL && h->topology == NULL) // the end came before it was on the disk: who joins anew brings it
        return group_say(&h->call, KAFKA_FENCED_MEMBER_EPOCH, "The topology of group %.200s is not known: the member must rejoin.", h->group_id);
    if (is_older(g, h) || g->topology == NULL || streams_topology_equal(g->topology, streams_topology_copy(h->call.arena, h->topology))) return 0;
    return group_say(&h->call, KAFKA_INVALID_REQUEST, "Topology updates are not supported yet.");
}

static void take_topology(struct streams_group *g, const struct streams_heartbeat *h, struct group_records *r) {
    if (is_older(g, h) || g->topology != NULL) return;
    streams_take_topology(g, h->topology);
    streams_put_topology(g, r);
}

static void delay_over(void *arg) { // the next heartbeat assigns
    struct streams_group *g = arg;
    struct group_records *r = group_records_new(g->head->coordinator);
    streams_bump(g, r);
    group_records_submit(r, g->head, NULL, NULL);
}

static void begin_delay(struct streams_group *g) {
    int64_t ms = group_config_i64(g->head, "streams.initial.rebalance.delay.ms", 3000);
    if (ms > 0) loop_timer_set(g->head->coordinator->loop, &g->delay, ms * 1000, delay_over, g);
}

static void beat(struct streams_group *g, struct streams_heartbeat *h, struct streams_member *m, bool is_new, const struct task_sets *owned,
                 struct group_records *r) {
    struct task_sets before = {0};
    struct group *head = g->head;
    bool joins = h->member_epoch == STREAMS_EPOCH_JOIN;
    if (is_new && g->members.n == 1 && g->delay.heap_index == 0) begin_delay(g);
    task_sets_copy(&before, &m->assigned);
    struct change change = update_member(m, h);
    if (change.any || m->epoch == 0) streams_put_member(m, r); // 0: a new one, or a static one that has another id now
    // Who joins again as it was moves nothing. Of static members only what the assignor looks at counts.
    bool bump = g->epoch == 0 || is_new || change.placing || (change.any && h->group_instance_id == NULL);
    // Topics tell by themselves when they change; while some are missing, each heartbeat looks.
    if ((joins || g->plan.status >= 0) && streams_replan(g)) bump = true;
    streams_offsets_take(m, h);
    if (streams_take_configs(g)) bump = true;
    if (bump) streams_bump(g, r);
    streams_update_target(g, r);
    (void)streams_reconcile(m, owned, r);
    streams_touch(m);
    if (h->shutdown) group_text_set(&g->shutdown_by, m->id);
    bool changed = !task_sets_equal(&before, &m->assigned);
    if (change.endpoint || (changed && m->endpoint_host != NULL)) g->endpoint_epoch++;
    h->out_member_id = arena_strdup(h->call.arena, m->id);
    h->out_member_epoch = m->epoch;
    h->heartbeat_ms = (int32_t)group_config_i64(head, "streams.heartbeat.interval.ms", 5000);
    if (g->epoch > g->assignment_epoch) h->heartbeat_ms = assignment_heartbeat_ms(assignment_wait_ms(head, &g->pace, "streams"), h->heartbeat_ms);
    h->out_endpoint_epoch = g->endpoint_epoch;
    if (joins || changed) tasks_of(g, &m->assigned, h->call.arena, &h->tasks);
    if (g->endpoint_epoch != h->endpoint_epoch) fill_endpoints(g, h);
    fill_statuses(g, m, h);
    h->description_required = streams_description_wanted(g, h, m);
    task_sets_fini(&before);
    group_records_submit(r, head, group_answer_durable, h);
}

static void heartbeat_on_loop(void *arg) {
    struct streams_heartbeat *h = arg;
    struct coordinator *c = coordinator_of(&h->call);
    struct streams_group *g = NULL;
    struct streams_member *m = NULL;
    int error = c->stopping ? group_say(&h->call, KAFKA_COORDINATOR_NOT_AVAILABLE, "The coordinator is stopping.") : check_request(h);
    if (error != 0) {
        group_refuse(&h->call, error);
        return;
    }
    if (h->member_epoch < 0) {
        leave(c, h);
        return;
    }
    struct group_records *r = group_records_new(c);
    struct task_sets owned = {0};
    error = find_group(c, h, r, &g);
    size_t members = g == NULL ? 0 : g->members.n;
    if (error == 0) owned_sets(g, h, &owned);
    const struct task_sets *said = h->owned.given ? &owned : NULL;
    if (error == 0) error = check_topology(g, h);
    if (error == 0) error = find_member(g, h, said, r, &m);
    if (error == 0) {
        take_topology(g, h, r);
        beat(g, h, m, g->members.n > members, said, r);
    } else {
        group_records_submit(r, g == NULL ? NULL : g->head, NULL, NULL);
        group_refuse(&h->call, error);
    }
    task_sets_fini(&owned);
}

void group_streams_heartbeat(struct broker *b, struct streams_heartbeat *h) {
    h->tasks = (struct streams_tasks){0};
    h->n_statuses = 0;
    h->description_required = false;
    h->has_endpoints = false;
    h->n_endpoints = 0;
    coordinator_submit(b, &h->call, heartbeat_on_loop);
}

// ---- describe -------------------------------------------------------------------------------------------------------

static void describe_member(const struct streams_member *m, struct arena *a, struct streams_member_info *out) {
    struct broker_kv *tags = ARENA_ARRAY(a, struct broker_kv, m->tags.n + 1);
    *out = (struct streams_member_info){.member_epoch = m->epoch, .topology_epoch = m->topology_epoch, .tags = tags, .n_tags = m->tags.n};
    for (size_t i = 0; i < m->tags.n; i++) tags[i] = (struct broker_kv){group_text_copy(a, m->tags.p[i].name), group_text_copy(a, m->tags.p[i].value)};
    out->member_id = group_text_copy(a, m->id);
    out->group_instance_id = group_text_copy(a, m->instance_id);
    out->rack_id = group_text_copy(a, m->rack_id);
    out->client_id = group_text_copy(a, m->client_id);
    out->client_host = group_text_copy(a, m->client_host);
    out->process_id = group_text_copy(a, m->process_id);
    out->endpoint = (struct streams_endpoint){group_text_copy(a, m->endpoint_host), m->endpoint_port};
    tasks_of(m->group, &m->assigned, a, &out->assignment);
    tasks_of(m->group, &m->target, a, &out->target);
    streams_offsets_fill(m, a, out);
}

static void describe_on_loop(void *arg) {
    struct streams_describe *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    const struct group *head = group_find(c, d->group_id);
    struct arena *a = d->call.arena;
    struct map_entry *e;
    d->state = "";
    d->topology = NULL;
    d->members = NULL;
    d->description_status = STREAMS_DESCRIPTION_NOT_REQUESTED;
    d->n_members = 0;
    if (head == NULL || head->ops != &streams_group_ops) {
        group_refuse(&d->call, group_not_found(&d->call, d->group_id, head, &streams_group_ops));
        return;
    }
    struct streams_group *g = head->own;
    d->state = head->ops->state_name(head);
    d->group_epoch = g->epoch;
    d->assignment_epoch = g->assignment_epoch;
    if (g->topology != NULL) d->topology = streams_topology_copy(a, g->topology);
    if (d->with_description) streams_description_fill(g, d);
    d->members = ARENA_ARRAY(a, struct streams_member_info, g->members.n + 1);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) describe_member(e->value, a, &d->members[d->n_members++]);
    coordinator_answer(&d->call, 0, "");
}

void group_streams_describe(struct broker *b, struct streams_describe *d) { coordinator_submit(b, &d->call, describe_on_loop); }
