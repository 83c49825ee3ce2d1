// SPDX-License-Identifier: Apache-2.0
// What groups of all types have in common: the map of groups, list, delete, the coordinator's life.
// Every call is posted to the coordinator's loop and answered by a post to the caller's.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/dynamic.h"
#include "broker/group_records.h"
#include "broker/share_inside.h"
#include "broker/txn_offsets.h"

// ---- calls and answers ----------------------------------------------------------------------------------------------

static void answer_on_back(void *arg) {
    struct group_call *call = arg;
    call->done(call);
}

void coordinator_answer(struct group_call *call, int error, const char *message) {
    call->error = error;
    if (message != call->message) (void)snprintf(call->message, sizeof call->message, "%.*s", (int)sizeof call->message - 1, message);
    loop_post(call->back, answer_on_back, call);
}

void coordinator_submit(struct broker *b, struct group_call *call, loop_fn *fn) {
    call->self_[0] = b->coordinator;
    call->error = 0;
    call->message[0] = '\0';
    loop_post(b->coordinator->loop, fn, call); // `call` is the first field of every call's struct
}

struct coordinator *coordinator_of(const struct group_call *call) { return call->self_[0]; }

int64_t group_config_i64(const struct group *g, const char *name, int64_t otherwise) {
    return broker_group_config_i64(g->coordinator->broker, str_c(g->id), name, otherwise);
}

void coordinator_check_stopped(struct coordinator *c) {
    if (c->resolving > 0) return;
    if (c->ended != NULL) loop_event_set(c->ended);
    c->ended = NULL;
    if (c->stopped != NULL && c->writes == 0) loop_event_set(c->stopped);
}

void coordinator_back(struct coordinator *c) {
    c->resolving--;
    coordinator_check_stopped(c);
}

int64_t coordinator_now_ms(const struct coordinator *c) { return sys_now_us(c->broker->sys) / 1000; }

// ---- the map of groups ----------------------------------------------------------------------------------------------

struct group *group_find(const struct coordinator *c, const char *id) { return map_getc(&c->groups, id); }

struct group *group_find_type(const struct coordinator *c, const char *id, const struct group_ops *ops) {
    struct group *g = group_find(c, id);
    return g == NULL || g->ops != ops ? NULL : g;
}

struct group *group_make(struct coordinator *c, const char *id, const struct group_ops *ops) {
    assert(group_find(c, id) == NULL);
    if (c->groups.n >= GROUPS_MAX) return NULL;
    struct group *g = MEM_NEW(struct group);
    g->coordinator = c;
    g->id = mem_strdup(id);
    g->ops = ops;
    g->empty_since_ms = coordinator_now_ms(c);
    g->failures = c->failures;
    map_init(&g->offsets);
    map_put(&c->groups, str_c(id), g);
    return g;
}

void group_become(struct group *g, const struct group_ops *ops, struct group_records *r) {
    assert(r == NULL || !g->ops->has_members(g));
    if (r != NULL) g->ops->put_tombstones(g, r);
    g->ops->free_own(g);
    g->own = NULL;
    g->ops = ops;
}

void group_free(struct group *g) {
    if (g->own != NULL) g->ops->free_own(g);
    offsets_free(&g->offsets);
    if (group_find(g->coordinator, g->id) == g) map_remove(&g->coordinator->groups, str_c(g->id)); // else it was taken out before
    mem_free(g->id);
    mem_free(g);
}

int group_not_found(struct group_call *call, const char *id, const struct group *found, const struct group_ops *wanted) {
    if (id[0] == '\0' && wanted != &classic_group_ops) return KAFKA_INVALID_GROUP_ID;
    if (found == NULL) (void)snprintf(call->message, sizeof call->message, "Group %s not found.", id);
    else (void)snprintf(call->message, sizeof call->message, "Group %s is not %s.", id, wanted->what);
    return KAFKA_GROUP_ID_NOT_FOUND;
}

// ---- list, delete -----------------------------------------------------------------------------------------

static int by_group_id(const void *a, const void *b) {
    return strcmp(((const struct group_listed *)a)->group_id, ((const struct group_listed *)b)->group_id);
}

static bool is_among(const char *const *names, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (str_ieq(str_c(names[i]), str_c(name))) return true;
    return n == 0;
}

static void list_on_loop(void *arg) {
    struct group_list *l = arg;
    struct coordinator *c = coordinator_of(&l->call);
    struct arena *a = l->call.arena;
    struct map_entry *e;
    l->groups = ARENA_ARRAY(a, struct group_listed, c->groups.n + 1);
    l->n_groups = 0;
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) {
        const struct group *g = e->value;
        const char *state = g->ops->state_name(g), *type = g->ops->name;
        if (!is_among(l->states, l->n_states, state) || !is_among(l->types, l->n_types, type)) continue;
        l->groups[l->n_groups++] = (struct group_listed){arena_strdup(a, g->id), arena_strdup(a, g->ops->protocol_type(g)), state, type};
    }
    qsort(l->groups, l->n_groups, sizeof *l->groups, by_group_id);
    coordinator_answer(&l->call, 0, "");
}

void group_list(struct broker *b, struct group_list *l) { coordinator_submit(b, &l->call, list_on_loop); }

static void delete_ready(void *arg, int error);
static void delete_forgotten(void *arg);

// After a failed write the group is there again, as it is on the disk: the caller may delete it once more. (Offsets only, when somebody made a
// new group of that name meanwhile.)
static void delete_deleted(void *arg, int error) {
    struct group_delete *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    bool back = error != 0 && group_find(c, d->group_id) == NULL;
    if (error != 0) offsets_forget_gone(d->group); // of topics that were deleted meanwhile
    if (error == 0) offsets_forget_group(c, d->group_id, d->order);
    else if (!back) offsets_put_back(c, d->group_id, &d->group->offsets);
    if (error == 0 && d->group->ops->deleted != NULL) d->group->ops->deleted(d->group);
    d->group->deleting = false;
    if (map_getc(&c->deleting, d->group_id) == d->group) map_remove(&c->deleting, str_c(d->group_id));
    if (back) map_put(&c->groups, str_c(d->group->id), d->group);
    else group_free(d->group);
    coordinator_answer(&d->call, error, "");
}

static void delete_on_loop(void *arg) {
    struct group_delete *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    // Commits that are under way first: else they would write behind the tombstones.
    group_records_submit(group_records_new(c), group_find(c, d->group_id), delete_ready, d);
}

static void delete_ready(void *arg, int write_error) {
    struct group_delete *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    struct group *g = group_find(c, d->group_id);
    (void)write_error; // of others
    if (g != NULL && g->ops->forget != NULL && !g->ops->has_members(g) && !c->stopping && g->ops->forget(g, delete_forgotten, d, &d->code)) return;
    if (g == NULL || g->ops->has_members(g) || c->stopping) {
        int error = g == NULL ? KAFKA_GROUP_ID_NOT_FOUND : KAFKA_NON_EMPTY_GROUP;
        coordinator_answer(&d->call, c->stopping ? KAFKA_COORDINATOR_NOT_AVAILABLE : error, "");
        return;
    }
    struct group_records *r = group_records_new(c);
    offsets_put_tombstones(g, r);
    g->ops->put_tombstones(g, r);
    d->group = map_remove(&c->groups, str_c(g->id));
    g->deleting = true;
    map_put(&c->deleting, str_c(g->id), g);
    d->group->ops->stop(d->group);
    if (d->group->ops->deleting != NULL) d->group->ops->deleting(d->group);
    d->order = c->submitted + 1;
    group_records_submit(r, NULL, delete_deleted, d); // there is a record at least: the group's own
}

static void delete_forgotten(void *arg) {
    struct group_delete *d = arg;
    if (d->code == ERR_OK) delete_ready(d, 0);
    else coordinator_answer(&d->call, KAFKA_GROUP_DELETION_FAILED, "The broker could not delete what it keeps beside the group.");
}

void group_delete(struct broker *b, struct group_delete *d) { coordinator_submit(b, &d->call, delete_on_loop); }

// ---- the coordinator's life -----------------------------------------------------------------------------------------

static void tick(void *arg) {
    struct coordinator *c = arg;
    offsets_expire(c);
    loop_timer_set(c->loop, &c->tick, c->offsets_check_us, tick, c);
}

static void upkeep_on_loop(void *arg) { offsets_expire(arg); }
void coordinator_upkeep(struct coordinator *c) { loop_post(c->loop, upkeep_on_loop, c); }

static void tick_start(void *arg) {
    struct coordinator *c = arg;
    loop_timer_set(c->loop, &c->tick, c->offsets_check_us, tick, c);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) {
        struct group *g = e->value;
        if (g->ops->loaded != NULL) g->ops->loaded(g);
    }
    streams_descriptions_loaded(c);
    offsets_forget_topics(c, NULL); // of topics whose deletion was cut short by a crash
}

// Kafka waits 3 s, and again while members come. By default the first rebalance begins here when nobody came for a moment: members that start
// together come together, and one that is alone has no one to wait for. With 0 the moment is shorter, but still there: whoever comes just after a
// generation was made waits for a heartbeat of its members (3 s), in Kafka too. Any other value is kept to the letter.
static int64_t initial_delay(const struct broker *b, bool *pending) {
    enum { MOMENT_MS = 200, SHORT_MOMENT_MS = 50 };
    const char *name = "group.initial.rebalance.delay.ms";
    int64_t set = configs_broker_is_set(b, name) ? configs_broker_i64(b, name, 3000) : -1;
    *pending = set <= 0;
    return set < 0 ? MOMENT_MS : set == 0 ? SHORT_MOMENT_MS : set;
}

struct coordinator *coordinator_open(struct broker *b, struct err *err) {
    struct coordinator *c = MEM_NEW(struct coordinator);
    c->broker = b;
    c->loop = b->loops[0];
    map_init(&c->groups);
    map_init(&c->deleting);
    map_init(&c->creating);
    map_init(&c->txn_pending);
    c->initial_delay_ms = initial_delay(b, &c->initial_pending);
    c->session_min_ms = configs_broker_i64(b, "group.min.session.timeout.ms", 6000);
    c->session_max_ms = configs_broker_i64(b, "group.max.session.timeout.ms", 1800000);
    c->offsets_check_us = configs_broker_i64(b, "offsets.retention.check.interval.ms", 600000) * 1000;
    c->offsets_retention_ms = configs_broker_i64(b, "offsets.retention.minutes", 10080) * 60000;
    c->max_size = (int32_t)configs_broker_i64(b, "group.max.size", INT32_MAX);
    c->metadata_max = (int32_t)configs_broker_i64(b, "offset.metadata.max.bytes", GROUP_METADATA_MAX);
    consumer_limits_load(c);
    if (group_records_load(c, err) == ERR_OK) {
        loop_post(c->loop, tick_start, c);
        group_metrics_open(c);
        return c;
    }
    coordinator_free(c);
    return NULL;
}

// Ends all members: those who wait are told to look for a coordinator again.
static void end_members(struct coordinator *c) {
    struct map_entry *e;
    c->stopping = true;
    loop_timer_cancel(c->loop, &c->tick);
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) ((struct group *)e->value)->ops->stop(e->value);
}

static void topics_changed(struct coordinator *c, const char *topic) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL && !c->stopping;) {
        struct group *g = e->value;
        if (g->ops->topics_changed != NULL) g->ops->topics_changed(g, topic);
    }
    if (c->share != NULL && !c->stopping) share_topic_changed(c->share);
}

struct change {
    struct coordinator *coordinator;
    char *topic;
};

static void change_on_loop(void *arg) {
    struct change *x = arg;
    topics_changed(x->coordinator, x->topic);
    mem_free(x->topic);
    mem_free(x);
}

void coordinator_topic_changed(struct coordinator *c, const char *topic) {
    if (c == NULL) return; // its own topic, while it opens
    struct change *x = MEM_NEW(struct change);
    *x = (struct change){c, mem_strdup(topic)};
    loop_post(c->loop, change_on_loop, x);
}

struct stopping {
    struct coordinator *coordinator;
    struct loop_event event;
};

static void stop_on_loop(void *arg) {
    struct stopping *s = arg;
    struct coordinator *c = s->coordinator;
    end_members(c);
    c->stopped = &s->event;
    coordinator_check_stopped(c);
}

static void end_on_loop(void *arg) {
    struct stopping *s = arg;
    end_members(s->coordinator);
    s->coordinator->ended = &s->event;
    coordinator_check_stopped(s->coordinator);
}

static void stop_with(struct coordinator *c, loop_fn *fn) {
    struct stopping s = {.coordinator = c};
    loop_event_init(&s.event);
    loop_post(c->loop, fn, &s);
    loop_event_wait(&s.event);
    loop_event_fini(&s.event);
}

void coordinator_stop(struct coordinator *c) {
    group_metrics_close(c);
    stop_with(c, stop_on_loop);
}
void groups_stop(struct broker *b) { stop_with(b->coordinator, end_on_loop); }

// After coordinator_stop, or before the loop heard of it.
void coordinator_free(struct coordinator *c) {
    if (c == NULL) return;
    while (c->groups.n > 0) {
        size_t it = 0;
        group_free(map_next(&c->groups, &it)->value);
    }
    map_fini(&c->groups);
    map_fini(&c->deleting);
    map_fini(&c->creating);
    mem_free(c->consumer.assignors);
    txn_offsets_free(c);
    mem_free(c);
}
