// SPDX-License-Identifier: Apache-2.0
// Descriptions of the topologies of streams groups (KIP-1331): asked of a member, kept in the broker's store, told by describe, taken away with
// the group. Kafka hands them to a plugin; here the broker keeps them itself when that config is set. All on the coordinator's loop; what syncs
// the store runs on the pool, one structure each, freed when it is back.
//
// A push is answered when the description and then the group's record with its topology epoch are durable. A crash between the two: the member
// is asked again. A description whose group is gone, because a push met the group's end, goes at the next start at the latest; one that is
// missing although the group's record speaks of it is found out by describe, and asked for anew.
#include "base/log.h"
#include "base/metrics.h"
#include "broker/store.h"
#include "broker/streams_group.h"

enum { ASK_FIRST_MS = 30 * 1000, ASK_LAST_MS = 3600 * 1000, EPOCH_N = 4 }; // the waits are Kafka's

static bool is_on(const struct coordinator *c) {
    return configs_broker_text(c->broker, "group.streams.topology.description.plugin.class")[0] != '\0';
}

static void count(const char *event, uint64_t n) { metric_add(M_STREAMS_DESCRIPTIONS, event, n); }

// ---- who is asked, and when -----------------------------------------------------------------------------------------

// Each asking for one topology makes the wait before the next twice as long.
void streams_asking_put_off(struct streams_asking *a, int32_t epoch, int64_t now_ms) {
    int64_t wait = a->epoch == epoch ? a->wait_ms * 2 : ASK_FIRST_MS;
    if (a->epoch > epoch) return; // late news of an older one
    a->epoch = epoch;
    a->wait_ms = wait > ASK_LAST_MS ? ASK_LAST_MS : wait;
    a->after_ms = now_ms + a->wait_ms;
}

bool streams_asking_due(struct streams_asking *a, int32_t epoch, int64_t now_ms) {
    if (a->epoch == epoch && now_ms < a->after_ms) return false;
    if (a->epoch > epoch) a->epoch = -1; // the group's topology is what counts
    streams_asking_put_off(a, epoch, now_ms);
    return true;
}

static void put_off(struct streams_group *g, int32_t epoch) {
    streams_asking_put_off(&g->asking, epoch, loop_now_us(g->head->coordinator->loop) / 1000);
}

bool streams_description_wanted(struct streams_group *g, const struct streams_heartbeat *h, const struct streams_member *m) {
    if (!h->knows_descriptions || !is_on(g->head->coordinator) || g->topology == NULL) return false;
    int32_t epoch = g->topology->epoch;
    if (epoch == g->described_epoch || epoch == g->undescribable_epoch || m->topology_epoch < epoch) return false;
    if (!streams_asking_due(&g->asking, epoch, loop_now_us(g->head->coordinator->loop) / 1000)) return false;
    log_info("broker", "a member is asked for the description of its topology", "group", g->head->id, "member", m->id, NULL);
    return true;
}

// ---- describe -------------------------------------------------------------------------------------------------------

void streams_description_fill(struct streams_group *g, struct streams_describe *d) {
    struct coordinator *c = g->head->coordinator;
    struct str value;
    d->description_status = STREAMS_DESCRIPTION_NOT_STORED;
    if (!is_on(c) || g->topology == NULL || g->described_epoch != g->topology->epoch) return;
    bool found = store_get(broker_store(c->broker), STORE_TOPOLOGY_DESCRIPTION, str_c(g->head->id), d->call.arena, &value);
    struct rd r = rd_of(value.p, found ? value.n : 0);
    int32_t epoch = (int32_t)rd_be32(&r);
    if (r.failed || epoch != g->topology->epoch) {
        g->described_epoch = -1;
        return;
    }
    d->description = str_n(value.p + EPOCH_N, value.n - EPOCH_N);
    d->description_status = STREAMS_DESCRIPTION_AVAILABLE;
    count("got", 1);
}

// ---- a push ---------------------------------------------------------------------------------------------------------

static int check_request(const struct coordinator *c, struct streams_description *d) {
    if (c->stopping) return group_say(&d->call, KAFKA_COORDINATOR_NOT_AVAILABLE, "The coordinator is stopping.");
    if (!is_on(c)) return group_say(&d->call, KAFKA_UNSUPPORTED_VERSION, "The broker has no streams group topology description plugin configured.");
    if (d->member_id[0] == '\0') return group_say(&d->call, KAFKA_INVALID_REQUEST, "MemberId can't be empty.");
    if (d->group_id[0] == '\0') return group_say(&d->call, KAFKA_INVALID_REQUEST, "GroupId can't be empty.");
    return 0;
}

static int check_member(struct coordinator *c, struct streams_description *d, struct streams_group **out) {
    const struct group *head = group_find(c, d->group_id);
    if (head == NULL || head->ops != &streams_group_ops) return group_not_found(&d->call, d->group_id, head, &streams_group_ops);
    struct streams_group *g = *out = head->own;
    int32_t epoch = g->topology == NULL ? -1 : g->topology->epoch;
    if (map_getc(&g->members, d->member_id) == NULL) return group_unknown_member(&d->call, d->group_id, d->member_id);
    if (d->topology_epoch != epoch)
        return group_say(&d->call, KAFKA_INVALID_REQUEST, "Topology epoch %d does not match the group's current topology epoch %d.", d->topology_epoch,
                         epoch);
    return d->fault == NULL ? 0 : group_say(&d->call, KAFKA_INVALID_REQUEST, "%s", d->fault);
}

static void recorded(void *arg, int error) { // of one that is kept
    struct streams_description *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    struct streams_group *g = streams_find(c, d->group_id);
    if (error != 0 && g != NULL) put_off(g, d->topology_epoch);
    count(error == 0 ? "set" : "not set", 1);
    group_answer_durable(d, error);
}

static void recorded_refusal(void *arg, int error) { // for good
    struct streams_description *d = arg;
    count("not set", 1);
    if (error != 0) group_answer_durable(d, error);
    else group_refuse(&d->call, KAFKA_STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED);
}

static void record(struct streams_group *g, struct streams_description *d, group_records_fn *fn) {
    struct group_records *r = group_records_new(g->head->coordinator);
    g->asking.epoch = -1;
    streams_put_group(g, r);
    group_records_submit(r, g->head, fn, d);
}

static void store_on_pool(void *arg) {
    struct streams_description *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    struct err err = {0};
    struct buf value;
    buf_init(&value, STREAMS_DESCRIPTION_MAX + EPOCH_N);
    buf_put_be32(&value, (uint32_t)d->topology_epoch);
    buf_put_str(&value, d->description);
    const struct store_change change = {STORE_TOPOLOGY_DESCRIPTION, str_c(d->group_id), buf_str(&value), false};
    d->code = store_apply(broker_store(c->broker), &change, 1, &err);
    if (d->code != ERR_OK) {
        (void)group_say(&d->call, 0, "The broker could not store the topology description.");
        log_warn("broker", "a topology description was not stored", "group", d->group_id, "error", err.msg, NULL);
    }
    buf_fini(&value);
}

static void forget_orphan(struct coordinator *c, const char *id);

static void stored(void *arg) {
    struct streams_description *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    struct group *head = group_find(c, d->group_id);
    bool ended = head == NULL || head->ops != &streams_group_ops;
    if (ended || d->code != ERR_OK) c->description_bytes -= d->description.n;
    if (ended) {
        if (d->code == ERR_OK) forget_orphan(c, d->group_id);
        group_refuse(&d->call, group_not_found(&d->call, d->group_id, head, &streams_group_ops));
    } else if (d->code != ERR_OK) {
        put_off(head->own, d->topology_epoch);
        count("not set", 1);
        group_refuse(&d->call, KAFKA_STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED);
    } else {
        struct streams_group *g = head->own;
        c->description_bytes -= g->description_n; // the one that it replaces
        g->description_n = d->description.n;
        g->described_epoch = d->topology_epoch;
        record(g, d, recorded);
    }
    coordinator_back(c);
}

static void update_on_loop(void *arg) {
    struct streams_description *d = arg;
    struct coordinator *c = coordinator_of(&d->call);
    struct streams_group *g = NULL;
    int error = check_request(c, d);
    if (error == 0) error = check_member(c, d, &g);
    if (error != 0) {
        group_refuse(&d->call, error);
        return;
    }
    if (d->description.n > STREAMS_DESCRIPTION_MAX) { // it will be so whoever sends it
        (void)group_say(&d->call, 0, "The topology description has %zu bytes, more than %d.", d->description.n, STREAMS_DESCRIPTION_MAX);
        g->undescribable_epoch = d->topology_epoch;
        record(g, d, recorded_refusal);
        return;
    }
    struct err err = {0};
    // Its room is taken now, so that pushes at one time keep the bound together; the one that it replaces is given back when it is stored.
    bool room = c->description_bytes - g->description_n + d->description.n <= STREAMS_DESCRIPTIONS_MAX;
    if (room && broker_submit(c->broker, store_on_pool, d, c->loop, stored, &err) == ERR_OK) {
        c->resolving++;
        c->description_bytes += d->description.n;
        return;
    }
    put_off(g, d->topology_epoch);
    count("not set", 1);
    const char *why = room ? "The broker is too busy to store the topology description." : "The topology descriptions of all groups take too much room.";
    group_refuse(&d->call, group_say(&d->call, KAFKA_STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED, "%s", why));
}

void group_streams_description(struct broker *b, struct streams_description *d) { coordinator_submit(b, &d->call, update_on_loop); }

// ---- taking away ----------------------------------------------------------------------------------------------------

struct forgetting {
    struct coordinator *coordinator;
    VEC(char *) ids;
    bool group; // one that is there and waits for it
    loop_fn *done;
    void *arg;
    enum err_code result, *code;
};

static void forget_on_pool(void *arg) {
    struct forgetting *w = arg;
    struct err err = {0};
    for (size_t i = 0; i < w->ids.n && w->result == ERR_OK; i++) {
        const struct store_change change = {.kind = STORE_TOPOLOGY_DESCRIPTION, .key = str_c(w->ids.p[i]), .remove = true};
        w->result = store_apply(broker_store(w->coordinator->broker), &change, 1, &err);
        if (w->result != ERR_OK) log_warn("broker", "a topology description was not removed", "group", w->ids.p[i], "error", err.msg, NULL);
    }
}

static void free_forgetting(struct forgetting *w) {
    for (size_t i = 0; i < w->ids.n; i++) mem_free(w->ids.p[i]);
    vec_fini(&w->ids);
    mem_free(w);
}

static void forgotten(void *arg) {
    struct forgetting *w = arg;
    struct coordinator *c = w->coordinator;
    struct streams_group *g = w->group ? streams_find(c, w->ids.p[0]) : NULL;
    if (g != NULL) g->forgetting = false;
    if (g != NULL && w->result == ERR_OK) {
        c->description_bytes -= g->description_n;
        g->description_n = 0;
        g->described_epoch = -1;
    }
    count(w->result == ERR_OK ? "deleted" : "not deleted", w->result == ERR_OK ? w->ids.n : 1);
    if (w->code != NULL) *w->code = w->result;
    if (w->done != NULL) w->done(w->arg);
    free_forgetting(w);
    coordinator_back(c);
}

static bool submit(struct forgetting *w) {
    struct err err = {0};
    if (w->ids.n > 0 && broker_submit(w->coordinator->broker, forget_on_pool, w, w->coordinator->loop, forgotten, &err) == ERR_OK) {
        w->coordinator->resolving++;
        return true;
    }
    free_forgetting(w); // the pool's queue is full: later, or at the next start
    return false;
}

static void forget_orphan(struct coordinator *c, const char *id) {
    struct forgetting *w = MEM_NEW(struct forgetting);
    w->coordinator = c;
    vec_add(&w->ids, mem_strdup(id));
    (void)submit(w);
}

bool streams_description_forget(struct group *head, loop_fn *done, void *arg, enum err_code *code) {
    struct streams_group *g = head->own;
    if (g->description_n == 0 || (g->forgetting && done == NULL)) return false;
    struct forgetting *w = MEM_NEW(struct forgetting);
    *w = (struct forgetting){.coordinator = head->coordinator, .group = true, .done = done, .arg = arg, .code = code};
    vec_add(&w->ids, mem_strdup(head->id));
    g->forgetting = true;
    return submit(w) || (g->forgetting = false);
}

void streams_description_drop(struct streams_group *g) {
    struct coordinator *c = g->head->coordinator;
    if (g->description_n > 0 && !c->stopping) forget_orphan(c, g->head->id);
    c->description_bytes -= g->description_n;
    g->description_n = 0;
}

struct loading {
    struct coordinator *coordinator;
    struct forgetting *orphans;
};

static void load_one(void *arg, struct str key, struct str value) {
    struct loading *l = arg;
    char *id = mem_strndup(key.p, key.n);
    struct streams_group *g = streams_find(l->coordinator, id);
    if (g == NULL) {
        vec_add(&l->orphans->ids, id);
        return;
    }
    mem_free(id);
    g->description_n = value.n > EPOCH_N ? value.n - EPOCH_N : 0;
    l->coordinator->description_bytes += g->description_n;
}

void streams_descriptions_loaded(struct coordinator *c) {
    struct map_entry *e;
    struct loading l = {c, MEM_NEW(struct forgetting)};
    l.orphans->coordinator = c;
    store_each(broker_store(c->broker), STORE_TOPOLOGY_DESCRIPTION, load_one, &l);
    (void)submit(l.orphans);
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) {
        const struct group *head = e->value;
        struct streams_group *g = head->ops == &streams_group_ops ? head->own : NULL;
        if (g != NULL && g->description_n == 0) g->described_epoch = -1;
    }
}
