// SPDX-License-Identifier: Apache-2.0
// The life of the share groups' machinery, the configs in force, and the share coordinator's state calls.
#include "base/metrics.h"
#include "broker/dynamic.h"
#include "broker/features.h"
#include "broker/share_inside.h"

// ---- configs --------------------------------------------------------------------------------------------------------

enum { SHARE_LETTERS = 2 }; // share.version of dead-letter queues

struct share_group_config share_config_of(const struct share *s, const char *group) {
    struct broker *b = s->broker;
    struct str g = str_c(group);
    return (struct share_group_config){
        .limits = {.max_count = (int16_t)broker_group_config_i64(b, g, "share.delivery.count.limit", 5),
                   .max_records = broker_group_config_i64(b, g, "share.partition.max.record.locks", 2000),
                   .lock_us = broker_group_config_i64(b, g, "share.record.lock.duration.ms", 30000) * 1000,
                   .dead_letters = broker_feature_level(b, FEATURE_SHARE) >= SHARE_LETTERS &&
                                   broker_group_config(b, g, "errors.deadletterqueue.topic.name")[0] != '\0'},
        .renew = strcmp(broker_group_config(b, g, "share.renew.acknowledge.enable"), "false") != 0,
        .read_committed = strcmp(broker_group_config(b, g, "share.isolation.level"), "read_committed") == 0,
        .session_ms = (int32_t)broker_group_config_i64(b, g, "share.session.timeout.ms", 45000),
        .heartbeat_ms = (int32_t)broker_group_config_i64(b, g, "share.heartbeat.interval.ms", 5000),
        .reset = broker_group_config(b, g, "share.auto.offset.reset"),
    };
}

// ---- state calls ----------------------------------------------------------------------------------------------------

struct state_write {
    struct share_write write;
    struct share_state *call;
    struct share_state_part *part;
};

static void state_part_ended(struct share_state *x) {
    if (--x->left_ == 0) coordinator_answer(&x->call, 0, "");
}

static void state_written(struct share_write *w) {
    struct state_write *sw = w->arg;
    sw->part->error = w->error;
    sw->part->message = w->error == 0 ? NULL : w->message;
    struct share_state *x = sw->call;
    mem_free(sw);
    state_part_ended(x);
}

static int check_part(struct share *s, const struct share_state *x, struct share_state_part *p) {
    struct arena a;
    struct broker_topic_info info;
    if (x->group_id[0] == '\0' || p->partition < 0) {
        p->message = x->group_id[0] == '\0' ? "Group id must be specified and non-empty." : "The partition id cannot be a negative number.";
        return KAFKA_INVALID_REQUEST;
    }
    arena_init(&a);
    bool known = broker_topic_get_id(s->broker, p->topic_id, &a, &info) && p->partition < info.partitions;
    arena_fini(&a);
    return known || x->kind == SHARE_STATE_DELETE ? 0 : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

static void read_state(struct share *s, const struct share_state *x, struct share_state_part *p, const struct share_key *key) {
    const struct share_stored *e;
    p->error = share_store_read(s->store, key, p->leader_epoch, &e, &p->message);
    if (x->kind == SHARE_STATE_SUMMARY && e == NULL && p->error == KAFKA_INVALID_REQUEST) { // there is none: no error
        p->error = 0;
        p->message = NULL;
        p->start = p->complete = -1;
        p->state_epoch = p->leader_epoch = 0;
    }
    if (e == NULL) return;
    p->state_epoch = e->state_epoch;
    p->leader_epoch = e->leader_epoch;
    p->start = e->start;
    p->complete = e->complete;
    p->message = NULL;
    struct share_range *ranges = ARENA_ARRAY(x->call.arena, struct share_range, e->ranges.n + 1);
    if (e->ranges.n > 0) memcpy(ranges, e->ranges.p, e->ranges.n * sizeof *ranges);
    p->ranges = ranges;
    p->n_ranges = e->ranges.n;
}

static void state_part(struct share *s, struct share_state *x, struct share_state_part *p) {
    struct share_key key = {.group = x->group_id, .partition = p->partition};
    memcpy(key.topic_id, p->topic_id, 16);
    p->message = NULL;
    p->error = check_part(s, x, p);
    if (p->error != 0) return;
    if (x->kind == SHARE_STATE_READ || x->kind == SHARE_STATE_SUMMARY) {
        read_state(s, x, p, &key);
        return;
    }
    struct state_write *sw = MEM_NEW(struct state_write);
    *sw = (struct state_write){.call = x, .part = p};
    sw->write = (struct share_write){.key = key, .state_epoch = p->state_epoch, .leader_epoch = p->leader_epoch, .start = p->start,
                                     .complete = p->complete, .ranges = p->ranges, .n_ranges = p->n_ranges, .done = state_written, .arg = sw};
    sw->write.kind = x->kind == SHARE_STATE_WRITE ? SHARE_WRITE_UPDATE : x->kind == SHARE_STATE_DELETE ? SHARE_WRITE_DELETE : SHARE_WRITE_INITIALIZE;
    x->left_++;
    share_part_die(s, &key);
    share_store_write(s->store, &sw->write);
}

static void state_on_loop(void *arg) {
    struct share_state *x = arg;
    struct share *s = x->call.self_[0];
    x->left_ = 1;
    for (size_t i = 0; i < x->n_parts; i++) {
        if (s->stopping) x->parts[i].error = KAFKA_COORDINATOR_NOT_AVAILABLE;
        else state_part(s, x, &x->parts[i]);
    }
    state_part_ended(x);
}

void share_state(struct broker *b, struct share_state *x) {
    x->call.self_[0] = b->share;
    x->call.error = 0;
    x->call.message[0] = '\0';
    loop_post(b->share->loop, state_on_loop, x);
}

// ---- topics ---------------------------------------------------------------------------------------------------------

struct forgetting {
    struct share_write write;
    share_part_fn *fn;
    void *arg;
};

static void forgotten(struct share_write *w) {
    struct forgetting *x = w->arg;
    if (x->fn != NULL) x->fn(x->arg, w->error, w->message);
    mem_free((char *)(uintptr_t)w->key.group);
    mem_free(x);
}

void share_state_forget(struct share *s, const struct share_key *key, share_part_fn *fn, void *arg) {
    struct forgetting *x = MEM_NEW(struct forgetting);
    *x = (struct forgetting){.fn = fn, .arg = arg};
    x->write = (struct share_write){.kind = SHARE_WRITE_DELETE, .key = *key, .done = forgotten, .arg = x};
    x->write.key.group = mem_strdup(key->group);
    share_part_die(s, key);
    share_store_write(s->store, &x->write);
}

static struct share_key key_of(const struct share_stored *e) {
    struct share_key key = {.group = e->group, .partition = e->partition};
    memcpy(key.topic_id, e->topic_id, 16);
    return key;
}

void share_topic_changed(struct share *s) {
    struct arena a;
    struct broker_topic_info info;
    const struct share_stored *e;
    arena_init(&a);
    for (size_t it = 0; (e = share_store_next(s->store, &it)) != NULL && !s->stopping;) {
        arena_reset(&a);
        if (e->queue_first != NULL || e->snapshotting || broker_topic_get_id(s->broker, e->topic_id, &a, &info)) continue;
        struct share_key key = key_of(e);
        share_state_forget(s, &key, NULL, NULL);
    }
    arena_fini(&a);
}

// ---- life -----------------------------------------------------------------------------------------------------------

static void gauge(struct share *s) {
    struct map_entry *e;
    struct map sums;
    map_init(&sums);
    for (size_t it = 0; (e = map_next(&s->parts, &it)) != NULL;) {
        const struct share_part *p = e->value;
        int64_t have = (int64_t)(intptr_t)map_getc(&sums, p->group);
        map_put(&sums, str_c(p->group), (void *)(intptr_t)((have == 0 ? 1 : have) + share_runs_in_flight(&p->runs)));
    }
    for (size_t it = 0; (e = map_next(&sums, &it)) != NULL;) metric_set(M_SHARE_IN_FLIGHT, e->key, (int64_t)(intptr_t)e->value - 1);
    map_fini(&sums);
}

static void tick(void *arg) {
    enum { TICK_US = 5 * 1000 * 1000 };
    struct share *s = arg;
    int64_t now = sys_mono_us(s->broker->sys);
    gauge(s);
    if (now - s->upkeep_us >= configs_broker_i64(s->broker, "share.coordinator.state.topic.prune.interval.ms", 300000) * 1000) {
        s->upkeep_us = now;
        share_store_upkeep(s->store);
    }
    loop_timer_set(s->loop, &s->tick, TICK_US, tick, s);
}

static void start_on_loop(void *arg) {
    struct share *s = arg;
    s->coordinator->share = s;
    share_topic_changed(s); // deletions that were cut short by a crash
    s->upkeep_us = sys_mono_us(s->broker->sys);
    tick(s);
}

struct share *share_open(struct broker *b, struct err *err) {
    struct share *s = MEM_NEW(struct share);
    s->broker = b;
    s->coordinator = b->coordinator;
    s->loop = b->loops[0];
    map_init(&s->parts);
    map_init(&s->sessions);
    map_init(&s->fetches);
    s->sessions_max = (size_t)configs_broker_i64(b, "group.share.max.share.sessions", 2000);
    s->store = share_store_open(b, err);
    if (s->store == NULL) {
        mem_free(s);
        return NULL;
    }
    loop_post(s->loop, start_on_loop, s);
    return s;
}

struct stopping {
    struct share *share;
    struct loop_event event;
};

void share_check_stopped(struct share *s) {
    if (s->idle && s->reads == 0) loop_event_set(s->stopped);
}

static void is_idle(void *arg) {
    struct share *s = arg;
    s->idle = true;
    share_check_stopped(s);
}

static void stop_on_loop(void *arg) {
    struct stopping *x = arg;
    struct share *s = x->share;
    struct map_entry *e;
    s->stopping = true;
    s->stopped = &x->event;
    loop_timer_cancel(s->loop, &s->tick);
    for (size_t it = 0; (e = map_next(&s->parts, &it)) != NULL;) {
        loop_timer_cancel(s->loop, &((struct share_part *)e->value)->locks);
        loop_timer_cancel(s->loop, &((struct share_part *)e->value)->letters_timer);
    }
    share_fetches_stop(s);
    share_store_when_idle(s->store, is_idle, s);
}

static void nothing(void *arg) { loop_event_set(arg); }

void share_stop(struct share *s) {
    struct stopping x = {.share = s};
    loop_event_init(&x.event);
    loop_post(s->loop, stop_on_loop, &x);
    loop_event_wait(&x.event);
    loop_event_fini(&x.event);
    struct loop_event last; // what was posted meanwhile has run: acknowledgements end in posts
    loop_event_init(&last);
    loop_post(s->loop, nothing, &last);
    loop_event_wait(&last);
    loop_event_fini(&last);
}

void share_free(struct share *s) {
    if (s == NULL) return;
    share_sessions_free(s);
    share_parts_leave(s, NULL, NULL);
    share_store_free(s->store);
    map_fini(&s->parts);
    map_fini(&s->sessions);
    map_fini(&s->fetches);
    mem_free(s);
}
