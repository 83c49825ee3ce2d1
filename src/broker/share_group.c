// SPDX-License-Identifier: Apache-2.0
// Share groups as groups of the coordinator: see share_group.h. Calls of members are in share_group_calls.c.
#include "broker/share_group.h"

#include <assert.h>

#include "base/log.h"
#include "base/metrics.h"

static struct share_group *own(const struct group *g) { return g->own; }

// ---- groups and members ---------------------------------------------------------------------------------------------

struct share_group *share_group_find(const struct coordinator *c, const char *id) {
    struct group *g = group_find_type(c, id, &share_group_ops);
    return g == NULL ? NULL : own(g);
}

bool share_group_expects(const struct coordinator *c, const char *id, const char *topic) {
    const struct share_group *g = share_group_find(c, id);
    struct map_entry *e;
    for (size_t it = 0; g != NULL && (e = map_next(&g->members, &it)) != NULL;)
        if (share_member_subscribes(e->value, topic)) return true;
    return false;
}

struct share_group *share_group_make(struct coordinator *c, const char *id) {
    struct group *head = group_find(c, id);
    if (head != NULL) return head->ops == &share_group_ops ? own(head) : NULL;
    if (map_getc(&c->deleting, id) != NULL) return NULL; // what goes with that one would take the new one's state along
    head = group_make(c, id, &share_group_ops);
    if (head == NULL) return NULL;
    struct share_group *g = MEM_NEW(struct share_group);
    g->head = head;
    head->own = g;
    map_init(&g->members);
    return g;
}

struct share_member *share_member_new(struct share_group *g, const char *id) {
    struct share_member *m = MEM_NEW(struct share_member);
    m->group = g;
    m->id = mem_strdup(id);
    m->client_id = mem_strdup("");
    m->client_host = mem_strdup("");
    map_put(&g->members, str_c(id), m);
    metric_set(M_SHARE_MEMBERS, g->head->id, (int64_t)g->members.n);
    return m;
}

void share_member_free(struct share_member *m) {
    struct share_group *g = m->group;
    loop_timer_cancel(g->head->coordinator->loop, &m->session);
    map_remove(&g->members, str_c(m->id));
    metric_set(M_SHARE_MEMBERS, g->head->id, (int64_t)g->members.n);
    for (size_t i = 0; i < m->topics.n; i++) mem_free(m->topics.p[i]);
    vec_fini(&m->topics);
    share_topics_clear(&m->assigned);
    share_topics_clear(&m->target);
    mem_free(m->id);
    mem_free(m->rack_id);
    mem_free(m->client_id);
    mem_free(m->client_host);
    mem_free(m);
}

void share_group_changed(struct share_group *g, struct group_records *r) {
    g->epoch++;
    share_put_group(r, g);
    share_update_target(g, r);
}

void share_update_target(struct share_group *g, struct group_records *r) {
    if (g->epoch <= g->assignment_epoch || assignment_wait_ms(g->head, &g->pace, "share") > 0) return;
    size_t size = g->members.n;
    for (size_t i = 0; i < g->initialized.n; i++) size += g->initialized.p[i].partitions.n;
    share_assign(g);
    g->assignment_epoch = g->epoch;
    assignment_computed(g->head, &g->pace, size);
    share_put_target(r, g);
}

// ---- sessions -------------------------------------------------------------------------------------------------------

void share_member_remove(struct share_member *m, struct group_records *r) {
    struct share_group *g = m->group;
    struct coordinator *c = g->head->coordinator;
    share_put_member_tombstones(r, m);
    share_member_free(m); // its share session lives on: a consumer that closes leaves first, and acknowledges then
    if (g->members.n == 0) g->head->empty_since_ms = coordinator_now_ms(c);
    share_group_changed(g, r);
}

static void session_over(void *arg) {
    struct share_member *m = arg;
    struct group *head = m->group->head;
    struct group_records *r = group_records_new(head->coordinator);
    log_info("broker", "a member of a share group sent no heartbeat", "group", head->id, "member", m->id, NULL);
    share_member_remove(m, r);
    group_records_submit(r, head, NULL, NULL);
}

void share_member_touch(struct share_member *m) {
    struct coordinator *c = m->group->head->coordinator;
    int64_t ms = c->share == NULL ? 45000 : share_config_of(c->share, m->group->head->id).session_ms;
    loop_timer_set(c->loop, &m->session, ms * 1000, session_over, m);
}

// ---- state of partitions --------------------------------------------------------------------------------------------

struct share_round { // initializations of a group under way
    struct coordinator *coordinator;
    struct share_group *group; // NULL = it is gone
    size_t left;
    share_topics done, failed;
};
struct initialize {
    struct share_write write;
    struct share_round *round;
    char *group, *topic;
};

static void add_all(share_topics *to, const share_topics *from) {
    for (size_t i = 0; i < from->n; i++)
        for (size_t k = 0; k < from->p[i].partitions.n; k++) share_topics_add(to, from->p[i].id, from->p[i].name, from->p[i].partitions.p[k]);
}

static void retry_due(void *arg) {
    struct share_group *g = arg;
    share_topics_clear(&g->failed);
    (void)share_group_initialize(g);
}

static void retry_later(struct share_group *g) {
    const struct broker *b = g->head->coordinator->broker;
    int64_t ms = configs_broker_i64(b, "group.share.initialize.retry.interval.ms", 30000), least = configs_broker_i64(b, "offsets.commit.timeout.ms", 5000);
    if (g->retry.heap_index == 0) loop_timer_set(g->head->coordinator->loop, &g->retry, (ms < least ? least : ms) * 1000, retry_due, g);
}

static void round_ended(struct share_round *x) {
    struct share_group *g = x->group;
    if (g != NULL) {
        g->round = NULL;
        bool any = x->done.n > 0;
        add_all(&g->initialized, &x->done);
        add_all(&g->failed, &x->failed);
        if (x->failed.n > 0 && !x->coordinator->stopping) retry_later(g);
        if (any) {
            struct group_records *r = group_records_new(x->coordinator);
            share_put_state(r, g);
            share_group_changed(g, r);
            group_records_submit(r, g->head, NULL, NULL);
        }
        share_heartbeats_ready(g);
        if (any && x->coordinator->share != NULL) share_fetches_look(x->coordinator->share, g->head->id);
    }
    share_topics_clear(&x->done);
    share_topics_clear(&x->failed);
    mem_free(x);
}

static void initialized(struct share_write *w) {
    struct initialize *x = w->arg;
    struct share_round *round = x->round;
    share_topics_add(w->error == 0 ? &round->done : &round->failed, w->key.topic_id, x->topic, w->key.partition);
    if (w->error != 0)
        log_warn("broker", "the state of a share-partition was not initialized", "group", x->group, "topic", x->topic, "error", w->message, NULL);
    mem_free(x->group);
    mem_free(x->topic);
    mem_free(x);
    if (--round->left == 0) round_ended(round);
}

static void initialize_one(struct share_group *g, struct share_round *round, const struct broker_topic_info *t, int32_t partition, int64_t start) {
    struct share *s = g->head->coordinator->share;
    struct initialize *x = MEM_NEW(struct initialize);
    x->round = round;
    x->group = mem_strdup(g->head->id);
    x->topic = mem_strdup(t->name);
    x->write = (struct share_write){.kind = SHARE_WRITE_INITIALIZE, .state_epoch = g->epoch, .leader_epoch = BROKER_LEADER_EPOCH, .start = start,
                                    .done = initialized, .arg = x};
    x->write.key = (struct share_key){.group = x->group, .partition = partition};
    memcpy(x->write.key.topic_id, t->id, 16);
    const struct share_stored *e = share_store_find(s->store, &x->write.key);
    if (e != NULL && e->state_epoch > x->write.state_epoch) x->write.state_epoch = e->state_epoch; // of a group of this name before
    share_part_die(s, &x->write.key);
    round->left++;
    share_store_write(s->store, &x->write);
}

static void initialize_topic(struct share_group *g, struct share_round *round, const char *topic, struct arena *a) {
    struct broker_topic_info t;
    if (!broker_topic_get(g->head->coordinator->broker, str_c(topic), a, &t)) return;
    // A partition that comes to a topic which the group reads is read from its beginning (KIP-1282), else share.auto.offset.reset decides.
    int64_t start = share_topics_find(&g->initialized, t.id) != NULL ? 0 : -1;
    for (int32_t p = 0; p < t.partitions; p++)
        if (!share_topics_has(&g->initialized, t.id, p) && !share_topics_has(&g->failed, t.id, p)) initialize_one(g, round, &t, p, start);
}

bool share_group_initialize(struct share_group *g) {
    struct coordinator *c = g->head->coordinator;
    struct arena a;
    struct map topics;
    struct map_entry *e;
    if (g->round != NULL) return true; // when it ends those who wait look again
    if (c->share == NULL || c->share->stopping) return false;
    arena_init(&a);
    map_init(&topics);
    struct share_round *round = MEM_NEW(struct share_round);
    *round = (struct share_round){.coordinator = c, .group = g, .left = 1};
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct share_member *m = e->value;
        for (size_t i = 0; i < m->topics.n; i++)
            if (map_put(&topics, str_c(m->topics.p[i]), m) == NULL) initialize_topic(g, round, m->topics.p[i], &a);
    }
    map_fini(&topics);
    arena_fini(&a);
    bool any = --round->left > 0;
    if (any) g->round = round;
    else mem_free(round);
    return any;
}

void share_group_forget_state(struct share_group *g) {
    struct share *s = g->head->coordinator->share;
    for (size_t i = 0; i < g->initialized.n && s != NULL; i++)
        for (size_t k = 0; k < g->initialized.p[i].partitions.n; k++) {
            struct share_key key = {.group = g->head->id, .partition = g->initialized.p[i].partitions.p[k]};
            memcpy(key.topic_id, g->initialized.p[i].id, 16);
            share_state_forget(s, &key, NULL, NULL);
        }
}

// ---- the functions of the type --------------------------------------------------------------------------------------

static const char *protocol_type(const struct group *g) {
    (void)g;
    return "share";
}

static bool has_members(const struct group *g) { return own(g)->members.n > 0; }
static const char *state_name(const struct group *g) { return has_members(g) ? "Stable" : "Empty"; }

static bool subscribes(const struct group *g, const char *topic) {
    (void)g;
    (void)topic;
    return false; // it has no committed offsets
}

static int check_commit(struct group *g, const struct group_commit *x) {
    (void)g;
    (void)x;
    return KAFKA_GROUP_ID_NOT_FOUND;
}

static int check_fetch(struct group *g, const char *member_id, int32_t member_epoch) {
    (void)g;
    (void)member_id;
    (void)member_epoch;
    return KAFKA_GROUP_ID_NOT_FOUND;
}

static void put_live(const struct group *g, struct group_records *r) { share_put_all(r, own(g)); }

static void put_tombstones(const struct group *g, struct group_records *r) { share_put_group_tombstones(r, own(g)); }

static void leave_round(struct share_group *g) {
    if (g->round != NULL) g->round->group = NULL;
    g->round = NULL;
    loop_timer_cancel(g->head->coordinator->loop, &g->retry);
    share_topics_clear(&g->failed);
}

static void deleting(struct group *g) { leave_round(own(g)); }
static void deleted(struct group *g) { share_group_forget_state(own(g)); } // not before: the group could still come back

static bool drop_missing_topics(struct share_group *g) {
    struct arena a;
    struct broker_topic_info t;
    bool dropped = false;
    arena_init(&a);
    for (size_t i = 0; i < g->initialized.n;) {
        arena_reset(&a);
        if (broker_topic_get_id(g->head->coordinator->broker, g->initialized.p[i].id, &a, &t)) {
            i++;
            continue;
        }
        mem_free(g->initialized.p[i].name);
        vec_fini(&g->initialized.p[i].partitions);
        vec_remove(&g->initialized, i);
        dropped = true;
    }
    arena_fini(&a);
    return dropped;
}

static int check_delete_offsets(const struct group *head) { // it has none of that kind: theirs are DeleteShareGroupOffsets'
    (void)head;
    return KAFKA_GROUP_ID_NOT_FOUND;
}

static void topics_changed(struct group *head, const char *topic) {
    struct share_group *g = own(head);
    (void)topic;
    if (drop_missing_topics(g)) {
        struct group_records *r = group_records_new(head->coordinator);
        share_put_state(r, g);
        share_group_changed(g, r);
        group_records_submit(r, head, NULL, NULL);
    }
    (void)share_group_initialize(g);
}

static void loaded(struct group *head) { // members have their sessions anew
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&own(head)->members, &it)) != NULL;) share_member_touch(e->value);
    if (own(head)->members.n > 0) retry_later(own(head)); // initializations that the end cut short
}

static void stop(struct group *head) {
    struct share_group *g = own(head);
    struct map_entry *e;
    loop_timer_cancel(head->coordinator->loop, &g->retry);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) loop_timer_cancel(head->coordinator->loop, &((struct share_member *)e->value)->session);
    for (size_t i = 0; i < g->waiting.n; i++) coordinator_answer(&g->waiting.p[i]->call, KAFKA_COORDINATOR_NOT_AVAILABLE, "");
    g->waiting.n = 0;
}

static void free_own(struct group *head) {
    struct share_group *g = own(head);
    struct map_entry *e;
    leave_round(g);
    for (size_t i = 0; i < g->waiting.n; i++) coordinator_answer(&g->waiting.p[i]->call, KAFKA_COORDINATOR_NOT_AVAILABLE, "");
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) share_member_free(e->value);
    map_fini(&g->members);
    share_topics_clear(&g->initialized);
    vec_fini(&g->waiting);
    mem_free(g);
}

const struct group_ops share_group_ops = {
    .type = GROUP_SHARE,
    .name = "Share",
    .what = "a share group",
    .keeps_empty = true,
    .protocol_type = protocol_type,
    .state_name = state_name,
    .has_members = has_members,
    .subscribes = subscribes,
    .check_commit = check_commit,
    .check_delete_offsets = check_delete_offsets,
    .check_fetch = check_fetch,
    .put_live = put_live,
    .put_tombstones = put_tombstones,
    .deleting = deleting,
    .deleted = deleted,
    .topics_changed = topics_changed,
    .loaded = loaded,
    .stop = stop,
    .free_own = free_own,
};
