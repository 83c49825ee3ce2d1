// SPDX-License-Identifier: Apache-2.0
// Calls of share groups: heartbeat and describe. Checks are in Kafka's order, with Kafka's texts. A heartbeat that joins waits until the state
// of the partitions it will get is initialized, so that its first answer has an assignment; all are answered when their records are durable.
#include <stdlib.h>

#include "broker/group_members.h"
#include "broker/share_group.h"

// ---- heartbeat ------------------------------------------------------------------------------------------------------

static const char *check(const struct share_heartbeat *h) {
    if (group_text_blank(h->member_id)) return "MemberId can't be empty.";
    if (group_text_blank(h->group_id)) return "GroupId can't be empty.";
    if (h->rack_id != NULL && group_text_blank(h->rack_id)) return "RackId can't be empty.";
    if (h->member_epoch == 0 && h->n_topics == 0) return "SubscribedTopicNames must be set in first request.";
    return h->member_epoch < -1 ? "MemberEpoch is invalid." : NULL;
}

static void fill_assignment(struct arena *a, const share_topics *from, struct share_topic_partitions **out, size_t *n) {
    *n = from->n;
    *out = ARENA_ARRAY(a, struct share_topic_partitions, from->n + 1);
    for (size_t i = 0; i < from->n; i++) {
        struct share_topic_partitions *x = &(*out)[i];
        memcpy(x->topic_id, from->p[i].id, 16);
        x->topic = arena_strdup(a, from->p[i].name);
        x->n_partitions = from->p[i].partitions.n;
        x->partitions = ARENA_ARRAY(a, int32_t, x->n_partitions + 1);
        if (x->n_partitions > 0) memcpy(x->partitions, from->p[i].partitions.p, x->n_partitions * sizeof *x->partitions);
    }
}

// The member takes its part of the newest assignment.
static void respond(struct share_heartbeat *h, struct share_member *m, struct group_records *r) {
    struct share_group *g = m->group;
    struct coordinator *c = g->head->coordinator;
    share_update_target(g, r);
    bool moved = !share_topics_equal(&m->assigned, &m->target);
    if (moved || m->epoch != g->assignment_epoch) {
        m->previous_epoch = m->epoch;
        m->epoch = g->assignment_epoch;
        if (moved) share_topics_copy(&m->assigned, &m->target);
        share_put_current(r, m);
    }
    h->out_epoch = m->epoch;
    h->interval_ms = share_config_of(c->share, g->head->id).heartbeat_ms;
    if (g->epoch > g->assignment_epoch) h->interval_ms = assignment_heartbeat_ms(assignment_wait_ms(g->head, &g->pace, "share"), h->interval_ms);
    h->with_assignment = h->member_epoch == 0 || h->topics != NULL || moved;
    if (h->with_assignment) fill_assignment(h->call.arena, &m->assigned, &h->assignment, &h->n_assignment);
    share_member_touch(m);
    group_records_submit(r, g->head, group_answer_durable, h);
}

void share_heartbeats_ready(struct share_group *g) {
    for (size_t i = 0; i < g->waiting.n; i++) {
        struct share_heartbeat *h = g->waiting.p[i];
        struct share_member *m = map_getc(&g->members, h->member_id);
        if (m == NULL) group_refuse(&h->call, group_unknown_member(&h->call, h->group_id, h->member_id));
        else respond(h, m, group_records_new(g->head->coordinator));
    }
    g->waiting.n = 0;
    (void)share_group_initialize(g); // what others subscribed to meanwhile
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool set_topics(struct share_member *m, const struct share_heartbeat *h) {
    VEC(char *) want = {0};
    for (size_t i = 0; i < h->n_topics; i++) vec_add(&want, mem_strdup(h->topics[i]));
    if (want.n > 0) qsort(want.p, want.n, sizeof *want.p, by_name);
    size_t n = 0;
    for (size_t i = 0; i < want.n; i++) {
        if (n > 0 && strcmp(want.p[n - 1], want.p[i]) == 0) mem_free(want.p[i]);
        else want.p[n++] = want.p[i];
    }
    want.n = n;
    bool same = m->topics.n == want.n;
    for (size_t i = 0; i < want.n && same; i++) same = strcmp(m->topics.p[i], want.p[i]) == 0;
    for (size_t i = 0; i < m->topics.n; i++) mem_free(m->topics.p[i]);
    vec_fini(&m->topics);
    m->topics.p = want.p;
    m->topics.n = want.n;
    m->topics.cap = want.cap;
    return !same;
}

static void beat(struct share_heartbeat *h, struct share_group *g, struct share_member *m, bool joined) {
    struct group_records *r = group_records_new(g->head->coordinator);
    bool changed = joined;
    changed |= group_text_update(&m->client_id, h->client_id);
    changed |= group_text_update(&m->client_host, h->client_host);
    changed |= group_text_update(&m->rack_id, h->rack_id);
    bool topics = h->topics != NULL && set_topics(m, h);
    if (changed || topics) share_put_member(r, m);
    if (joined || topics) {
        share_group_changed(g, r);
        if (share_group_initialize(g) && h->member_epoch == 0) {
            share_member_touch(m);
            group_records_submit(r, g->head, NULL, NULL);
            vec_add(&g->waiting, h);
            return;
        }
    }
    respond(h, m, r);
}

static int check_epoch(struct share_heartbeat *h, const struct share_member *m) {
    if (h->member_epoch == 0 || h->member_epoch == m->epoch || (h->member_epoch < m->epoch && h->member_epoch == m->previous_epoch)) return 0;
    return group_fenced_epoch(&h->call, "share", h->member_epoch, m->epoch);
}

static void leave(struct share_heartbeat *h, struct share_member *m) {
    struct group *head = m->group->head;
    struct group_records *r = group_records_new(head->coordinator);
    share_member_remove(m, r);
    h->out_epoch = -1;
    group_records_submit(r, head, group_answer_durable, h);
}

static int find_group(struct coordinator *c, struct share_heartbeat *h, struct share_group **out) {
    const struct group *found = group_find(c, h->group_id);
    *out = h->member_epoch == 0 ? share_group_make(c, h->group_id) : share_group_find(c, h->group_id);
    if (*out != NULL) return 0;
    if (h->member_epoch == 0 && found == NULL)
        return group_say(&h->call, KAFKA_COORDINATOR_NOT_AVAILABLE, "The coordinator takes no new group of this name now.");
    return group_not_found(&h->call, h->group_id, found, &share_group_ops);
}

// *out stays NULL for one that may join.
static int find_member(struct share_group *g, struct share_heartbeat *h, struct share_member **out) {
    *out = map_getc(&g->members, h->member_id);
    if (*out != NULL) return h->member_epoch == -1 ? 0 : check_epoch(h, *out);
    if (h->member_epoch != 0) return group_unknown_member(&h->call, h->group_id, h->member_id);
    int64_t max = configs_broker_i64(g->head->coordinator->broker, "group.share.max.size", 200);
    return (int64_t)g->members.n < max ? 0 : group_is_full(&h->call, "share", max);
}

static void beat_on_loop(void *arg) {
    struct share_heartbeat *h = arg;
    struct coordinator *c = coordinator_of(&h->call);
    struct share_group *g;
    struct share_member *m;
    const char *why = check(h);
    int error = why != NULL ? group_say(&h->call, KAFKA_INVALID_REQUEST, "%s", why) : 0;
    if (error == 0 && (c->stopping || c->share == NULL || c->share->stopping)) error = KAFKA_COORDINATOR_NOT_AVAILABLE;
    if (error == 0) error = find_group(c, h, &g);
    if (error == 0) error = find_member(g, h, &m);
    if (error != 0) group_refuse(&h->call, error);
    else if (h->member_epoch == -1) leave(h, m);
    else if (m == NULL) beat(h, g, share_member_new(g, h->member_id), true);
    else beat(h, g, m, false);
}

void share_heartbeat(struct broker *b, struct share_heartbeat *h) { coordinator_submit(b, &h->call, beat_on_loop); }

// ---- describe -------------------------------------------------------------------------------------------------------

static void describe_member(const struct share_member *m, struct arena *a, struct share_member_info *out) {
    out->member_id = arena_strdup(a, m->id);
    out->rack_id = m->rack_id == NULL ? NULL : arena_strdup(a, m->rack_id);
    out->client_id = arena_strdup(a, m->client_id);
    out->client_host = arena_strdup(a, m->client_host);
    out->epoch = m->epoch;
    out->topics = ARENA_ARRAY(a, const char *, m->topics.n + 1);
    for (out->n_topics = 0; out->n_topics < m->topics.n; out->n_topics++) out->topics[out->n_topics] = arena_strdup(a, m->topics.p[out->n_topics]);
    fill_assignment(a, &m->assigned, &out->assignment, &out->n_assignment);
    for (size_t i = 0; i < out->n_assignment; i++) {
        struct broker_topic_info t; // the current assignment is stored without names
        if (broker_topic_get_id(m->group->head->coordinator->broker, out->assignment[i].topic_id, a, &t)) out->assignment[i].topic = t.name;
    }
}

static void describe_on_loop(void *arg) {
    struct share_describe *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    struct arena *a = d->call.arena;
    const struct share_group *g = share_group_find(c, d->group_id);
    struct map_entry *e;
    d->state = "Dead";
    if (g == NULL) {
        group_refuse(&d->call, group_not_found(&d->call, d->group_id, group_find(c, d->group_id), &share_group_ops));
        return;
    }
    d->state = g->head->ops->state_name(g->head);
    d->epoch = g->epoch;
    d->assignment_epoch = g->assignment_epoch;
    d->members = ARENA_ARRAY(a, struct share_member_info, g->members.n + 1);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) describe_member(e->value, a, &d->members[d->n_members++]);
    coordinator_answer(&d->call, 0, "");
}

void share_describe(struct broker *b, struct share_describe *d) { coordinator_submit(b, &d->call, describe_on_loop); }
