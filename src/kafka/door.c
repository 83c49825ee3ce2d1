// SPDX-License-Identifier: Apache-2.0
// The door itself: listener, spreading connections over the loops, opening and closing.
//
// Accepting runs on the first loop; each connection then belongs to one loop (round robin). open and close are called from outside the loops
// and wait for them. Nothing here is durable.
#include "kafka/door.h"

#include <assert.h>

#include "base/log.h"
#include "base/metrics.h"
#include "broker/dynamic.h"
#include "broker/groups.h"
#include "kafka/admission.h"
#include "kafka/conn.h"
#include "kafka/door_metrics.h"
#include "kafka/fetch_session.h"
#include "kafka/key_set.h"
#include "kafka/quota.h"
#include "kafka/security.h"
#include "kafka/telemetry.h"
#include "loop/metric_sources.h"

enum { ACCEPT_PAUSE_US = 100000, CLOSE_WAIT_US = 5000000, SWEEP_US = 10000000, RELOAD_US = 10000000, KEYS_US = 500000 };

struct handover {
    struct door_loop *dl;
    struct listener *listener;
    struct sys_sock *sock;
    char peer[64];
};

static void take_over(void *arg) {
    struct handover *h = arg;
    conn_open(h->dl, h->listener, h->sock, h->peer);
    mem_free(h);
}

static void accept_one(struct kafka_door *d, struct listener *l, struct sys_sock *sock, const char peer[64]) {
    char host[64];
    conn_host_of(peer, host);
    const char *reason = atomic_fetch_add(&d->connections, 1) >= d->config.max_connections ? "too many connections" : admission_take(d->admission, host);
    if (reason != NULL) {
        atomic_fetch_sub(&d->connections, 1);
        log_warn("kafka", "connection closed", "peer", peer, "reason", reason, NULL);
        metric_add(M_KAFKA_REJECTED, reason, 1);
        sys_sock_close(sock);
        return;
    }
    struct handover *h = MEM_NEW(struct handover);
    *h = (struct handover){.dl = d->loops[d->next_loop], .listener = l, .sock = sock};
    memcpy(h->peer, peer, sizeof h->peer);
    d->next_loop = (d->next_loop + 1) % d->n_loops;
    if (h->dl->loop == loop_current()) take_over(h);
    else loop_post(h->dl->loop, take_over, h);
}

static void accept_again(void *arg) {
    struct listener *l = arg;
    loop_watch_change(l->door->loops[0]->loop, &l->watch, SYS_EV_READ);
}

static void accept_ready(struct loop_watch *w, int events) {
    (void)events;
    struct listener *l = w->arg;
    struct kafka_door *d = l->door;
    for (int i = 0; i < 64; i++) {
        char peer[64];
        struct err err = {0};
        int64_t wait_ms = admission_wait_ms(d->admission);
        if (wait_ms > 0) { // they wait in the listener's queue
            loop_watch_change(d->loops[0]->loop, w, 0);
            loop_timer_set(d->loops[0]->loop, &l->pause, (wait_ms > 1000 ? 1000 : wait_ms) * 1000, accept_again, l);
            return;
        }
        struct sys_sock *sock = sys_accept(l->sock, peer, &err);
        if (sock != NULL) {
            accept_one(d, l, sock, peer);
            continue;
        }
        if (err.code == ERR_BUSY) return;
        log_error("kafka", "cannot accept connections, trying again", "error", err.msg, NULL); // out of descriptors, most likely
        loop_watch_change(d->loops[0]->loop, w, 0);
        loop_timer_set(d->loops[0]->loop, &l->pause, ACCEPT_PAUSE_US, accept_again, l);
        return;
    }
}

struct opening {
    struct kafka_door *d;
    struct err *err;
    enum err_code code;
    struct loop_event ready;
};

// Certificates and key sets may have changed: a worker looks.
static void reload_files(void *arg) {
    struct kafka_door *d = arg;
    listeners_reload(d->listeners, loop_sys(d->loops[0]->loop), false);
}
static void reloaded(void *arg) { atomic_store(&((struct kafka_door *)arg)->reloading, false); }

static void reload_time(void *arg) {
    struct kafka_door *d = arg;
    struct err err;
    loop_timer_set(d->loops[0]->loop, &d->reload, RELOAD_US, reload_time, d);
    if (atomic_exchange(&d->reloading, true)) return;
    if (broker_submit(d->broker, reload_files, d, d->loops[0]->loop, reloaded, &err) != ERR_OK) atomic_store(&d->reloading, false);
}

// Key sets from elsewhere: a worker fetches those that are due, beside the files so that a slow answer does not hold up certificates.
static void fetch_keys(void *arg) {
    struct kafka_door *d = arg;
    key_sets_refresh(d->listeners, loop_sys(d->loops[0]->loop));
}
static void keys_fetched(void *arg) { atomic_store(&((struct kafka_door *)arg)->fetching, false); }

static void keys_time(void *arg) {
    struct kafka_door *d = arg;
    struct loop *loop = d->loops[0]->loop;
    struct err err;
    loop_timer_set(loop, &d->keys, KEYS_US, keys_time, d);
    if (!key_sets_due(d->listeners, sys_mono_us(loop_sys(loop))) || atomic_exchange(&d->fetching, true)) return;
    if (broker_submit(d->broker, fetch_keys, d, loop, keys_fetched, &err) != ERR_OK) atomic_store(&d->fetching, false);
}

void kafka_door_reload(struct kafka_door *d) { listeners_reload(d->listeners, loop_sys(d->loops[0]->loop), true); }

static void start_listening(void *arg) {
    struct opening *o = arg;
    struct kafka_door *d = o->d;
    struct loop *loop = d->loops[0]->loop;
    bool files = false, keys = false;
    for (size_t i = 0; i < d->listeners->n && o->code == ERR_OK; i++) {
        struct listener *l = &d->listeners->p[i];
        o->code = loop_watch_sock(loop, &l->watch, l->sock, SYS_EV_READ, accept_ready, l, o->err);
        files |= l->n_files > 0 || l->tls; // it may be given files later
        keys |= l->keys.url != NULL;
    }
    if (files) loop_timer_set(loop, &d->reload, RELOAD_US, reload_time, d);
    if (keys) loop_timer_set(loop, &d->keys, KEYS_US, keys_time, d);
    loop_event_set(&o->ready);
}

// Binds all listeners. What is bound already when one fails is closed by the caller.
static enum err_code bind_all(struct kafka_door *d, struct sys *s, struct err *err) {
    for (size_t i = 0; i < d->listeners->n; i++) {
        struct listener *l = &d->listeners->p[i];
        l->door = d;
        l->sock = sys_listen(s, l->host, l->port, err);
        if (l->sock == NULL) return err_wrap(err, "listener %s", l->name);
        l->port = sys_sock_port(l->sock);
    }
    return ERR_OK;
}

static void unbind_all(struct listeners *all) {
    for (size_t i = 0; i < all->n; i++) {
        if (all->p[i].sock != NULL) sys_sock_close(all->p[i].sock);
        all->p[i].sock = NULL;
    }
}

static void sweep(void *arg) {
    struct door_loop *dl = arg;
    conn_sweep(dl);
    int64_t every = dl->door->config.idle_us / 2 < SWEEP_US ? dl->door->config.idle_us / 2 : SWEEP_US;
    loop_timer_set(dl->loop, &dl->sweep, every, sweep, dl);
}

static void door_free(struct kafka_door *d) {
    for (size_t i = 0; i < d->n_loops; i++) {
        struct door_loop *dl = d->loops[i];
        for (struct kafka_req *q = dl->spare, *next; q != NULL; q = next) {
            next = q->next;
            arena_fini(&q->arena);
            kafka_out_fini(&q->out);
            mem_free(q);
        }
        loop_event_fini(&dl->closed);
        mem_free(dl);
    }
    loop_event_fini(&d->listener_closed);
    listeners_fini(d->listeners);
    admission_fini(d->admission);
    mem_free(d->admission);
    telemetry_fini(d->telemetry);
    mem_free(d->telemetry);
    fetch_sessions_free(d->sessions);
    quotas_fini(d->quotas);
    mem_free(d->quotas);
    security_fini(d->security);
    mem_free(d->listeners);
    mem_free(d->security);
    mem_free(d->loops);
    mem_free((char *)d->config.host);
    mem_free((char *)d->config.advertised_host);
    mem_free((char *)d->config.cluster_id);
    mem_free(d);
}

static struct kafka_config own_config(const struct kafka_config *from) {
    struct kafka_config c = *from;
    c.host = from->host == NULL ? NULL : mem_strdup(from->host);
    c.advertised_host = from->advertised_host == NULL ? NULL : mem_strdup(from->advertised_host);
    c.cluster_id = mem_strdup(from->cluster_id != NULL ? from->cluster_id : "millrace");
    if (c.max_request_bytes == 0) c.max_request_bytes = (size_t)100 << 20;
    if (c.frame_bytes_max == 0) c.frame_bytes_max = CONN_LOOP_BYTES;
    if (c.max_connections == 0) c.max_connections = 10000;
    if (c.idle_us == 0) c.idle_us = (int64_t)600 * 1000000;
    return c;
}

// The settings become listeners that are bound, or nothing stays.
static struct kafka_door *door_new(struct sys *s, struct broker *broker, const struct kafka_config *config, struct err *err) {
    struct security *security = MEM_NEW(struct security);
    struct listeners *listeners = MEM_NEW(struct listeners);
    struct kafka_door *d = MEM_NEW(struct kafka_door);
    bool secured = security_init(security, s, broker_store(broker), config, err) == ERR_OK;
    if (secured && listeners_init(listeners, s, broker, config, security, err) == ERR_OK) {
        d->listeners = listeners;
        d->security = security;
        d->has_authorizer = security->authorizer;
        if (bind_all(d, s, err) == ERR_OK) return d;
        unbind_all(listeners);
        listeners_fini(listeners);
    }
    if (secured) security_fini(security);
    mem_free(security);
    mem_free(listeners);
    mem_free(d);
    return NULL;
}

struct kafka_door *kafka_door_open(struct loop *const *loops, size_t n_loops, struct broker *broker, const struct kafka_config *config,
                                   struct err *err) {
    assert(n_loops > 0 && broker != NULL && loop_current() == NULL);
    struct kafka_door *d = door_new(loop_sys(loops[0]), broker, config, err);
    if (d == NULL) return NULL;
    d->config = own_config(config);
    int64_t idle_ms = broker_config_i64(broker, "connections.max.idle.ms", 600000);
    if (config->idle_us == 0) d->config.idle_us = idle_ms <= 0 ? INT64_MAX / 2 : idle_ms * 1000;
    d->broker = broker;
    d->quotas = MEM_NEW(struct quotas);
    quotas_init(d->quotas, broker, d->security->store);
    d->telemetry = MEM_NEW(struct telemetry);
    telemetry_init(d->telemetry, broker, loop_sys(loops[0]));
    d->sessions = fetch_sessions_new(loop_sys(loops[0]), broker_config_i64(broker, "max.incremental.fetch.session.cache.slots", 1000));
    d->fetch_max = (size_t)broker_config_i64(broker, "fetch.max.bytes", 55 << 20);
    d->n_loops = n_loops;
    d->loops = mem_alloc(n_loops * sizeof *d->loops);
    loop_event_init(&d->listener_closed);
    for (size_t i = 0; i < n_loops; i++) {
        d->loops[i] = MEM_NEW(struct door_loop);
        d->loops[i]->door = d;
        d->loops[i]->loop = loops[i];
        loop_event_init(&d->loops[i]->closed);
        loop_post(loops[i], sweep, d->loops[i]);
    }
    d->admission = MEM_NEW(struct admission);
    admission_init(d->admission, d);
    (void)metric_sources_add(door_metrics_render, d);
    struct opening o = {.d = d, .err = err};
    loop_event_init(&o.ready);
    loop_post(loops[0], start_listening, &o);
    loop_event_wait(&o.ready);
    loop_event_fini(&o.ready);
    if (o.code == ERR_OK) return d;
    kafka_door_close(d);
    return NULL;
}

int kafka_door_port(const struct kafka_door *d) { return d->listeners->p[0].port; }
const char *kafka_door_host(const struct kafka_door *d) { return d->listeners->p[0].host; }
bool kafka_door_listener(const struct kafka_door *d, size_t i, const char **name, const char **protocol, const char **host, int *port) {
    if (i >= d->listeners->n) return false;
    const struct listener *l = &d->listeners->p[i];
    *name = l->name;
    *protocol = listener_protocol(l);
    *host = l->host;
    *port = l->port;
    return true;
}

static void stop_listening(void *arg) {
    struct kafka_door *d = arg;
    loop_timer_cancel(d->loops[0]->loop, &d->reload);
    loop_timer_cancel(d->loops[0]->loop, &d->keys);
    for (size_t i = 0; i < d->listeners->n; i++) {
        struct listener *l = &d->listeners->p[i];
        loop_timer_cancel(d->loops[0]->loop, &l->pause);
        if (l->watch.active) loop_unwatch(d->loops[0]->loop, &l->watch);
    }
    unbind_all(d->listeners);
    loop_event_set(&d->listener_closed);
}

static void close_quiet(void *arg) { conn_close_quiet(arg); }
static void close_loop(void *arg) { conn_close_all(arg); }
static void set_event(void *arg) { loop_event_set(arg); }

// What was posted to the loops before is done when this returns.
static void wait_for_loops(const struct kafka_door *d) {
    for (size_t i = 0; i < d->n_loops; i++) {
        struct loop_event done;
        loop_event_init(&done);
        loop_post(d->loops[i]->loop, set_event, &done);
        loop_event_wait(&done);
        loop_event_fini(&done);
    }
}

void kafka_door_close(struct kafka_door *d) {
    if (d == NULL) return;
    atomic_store(&d->listeners->closing, true);
    metric_sources_remove(door_metrics_render, d); // the broker may be closed next, whatever becomes of us
    loop_post(d->loops[0]->loop, stop_listening, d);
    loop_event_wait(&d->listener_closed);
    // A Java client whose fetch breaks off first takes its leader for gone, and goes to its other connections and back to its bootstrap addresses;
    // when those went before, it waits its backoff.
    for (size_t i = 0; i < d->n_loops; i++) loop_post(d->loops[i]->loop, close_quiet, d->loops[i]);
    wait_for_loops(d);
    for (size_t i = 0; i < d->n_loops; i++) loop_post(d->loops[i]->loop, close_loop, d->loops[i]);
    groups_stop(d->broker); // a join may wait for minutes
    bool all = true;
    for (size_t i = 0; i < d->n_loops; i++) all &= loop_event_wait_us(&d->loops[i]->closed, CLOSE_WAIT_US);
    if (all) wait_for_loops(d); // what they still do with our memory is over after this
    // a worker still reads files or fetches keys for us
    while (all && (atomic_load(&d->reloading) || atomic_load(&d->fetching))) sys_sleep_us(loop_sys(d->loops[0]->loop), 1000);
    if (all) door_free(d);
    else log_warn("kafka", "requests still under way in the broker", NULL); // they still point here: the memory is left to the process's end
}
