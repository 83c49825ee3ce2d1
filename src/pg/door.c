// SPDX-License-Identifier: Apache-2.0
// The socket side of the PostgreSQL door. A connection belongs to one loop: it reads, cuts messages, and hands all whole messages that are
// there to a worker (one job per connection at a time); it sends what the worker wrote. Reading stops while IN_MAX bytes wait.
//
// Memory: a connection lives until its socket is closed, its job is done and its posts have run (`refs`, counted down on the loop only).
// Errors: malformed frames are logged and close only their connection.
#include "pg/door.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/vec.h"
#include "pg/conn.h"

enum {
    IN_MAX = 4 << 20,
    ACCEPT_PAUSE_US = 100000,
    STARTUP_US = 60 * 1000000, // from connecting to the whole start-up message, as PostgreSQL's authentication_timeout
    STALL_US = 60 * 1000000,   // a client that takes nothing for so long, while others wait for its worker, is closed
    READ_SIZE = 64 << 10
};
enum { SSL_REQUEST = 80877103, GSS_REQUEST = 80877104, CANCEL_REQUEST = 80877102 };

struct pg_conn {
    struct pg_door *door;
    struct loop *loop;
    struct sys_sock *sock; // NULL: closed
    struct loop_watch watch;
    struct loop_timer patience; // until the start-up message
    char peer[64];
    uint32_t pid, secret;
    struct buf in;   // loop
    bool started;    // the start-up message has been seen; loop
    bool busy;       // a job runs; loop
    bool quiet;      // reading is stopped; loop
    _Atomic int refs;
    struct buf work; // messages of the job under way; the worker's while busy
    struct pg_session *session;
    bool close_after; // the session said so; set by the worker before its job ends
    bool stalled;     // the client took nothing while others waited; likewise
    // between worker and loop
    struct sys_mutex mutex;
    struct sys_cond drained;
    struct buf out;
    size_t out_sent;
    bool gone;
    bool flush_posted;
};

struct pg_listener {
    struct loop_watch watch;
    struct loop_timer pause; // runs while accepting waits for descriptors
};

struct pg_door {
    struct pg_config config;
    struct engine *engine;
    struct sys *sys;
    struct pool *pool;
    struct loop **loops;
    size_t n_loops, next_loop;
    struct sys_sock *listener;
    struct pg_listener accept;
    int port;
    bool closing;
    struct sys_mutex mutex; // conns, closing
    struct sys_cond empty;
    VEC(struct pg_conn *) conns;
    uint32_t next_pid;
};

const struct pg_config *pg_conn_config(const struct pg_conn *c) { return &c->door->config; }
struct engine *pg_conn_engine(const struct pg_conn *c) { return c->door->engine; }
int pg_door_port(const struct pg_door *d) { return d->port; }

void pg_conn_key(const struct pg_conn *c, uint32_t *pid, uint32_t *secret) {
    *pid = c->pid;
    *secret = c->secret;
}

// ---- life and death -----------------------------------------------------------------------------------------------------

static void conn_unref(struct pg_conn *c) {
    if (atomic_fetch_sub(&c->refs, 1) > 1) return;
    struct pg_door *d = c->door;
    sys_mutex_lock(&d->mutex); // a cancel request of another loop may be looking at the session now
    struct pg_session *session = c->session;
    c->session = NULL;
    sys_mutex_unlock(&d->mutex);
    pg_session_free(session);
    buf_fini(&c->in);
    buf_fini(&c->work);
    buf_fini(&c->out);
    sys_cond_fini(&c->drained);
    sys_mutex_fini(&c->mutex);
    sys_mutex_lock(&d->mutex);
    for (size_t i = 0; i < d->conns.n; i++)
        if (d->conns.p[i] == c) {
            vec_remove(&d->conns, i);
            break;
        }
    metric_set(M_PG_CONNECTIONS, NULL, (int64_t)d->conns.n);
    if (d->conns.n == 0) sys_cond_broadcast(&d->empty);
    sys_mutex_unlock(&d->mutex);
    mem_free(c);
}

static void conn_close(struct pg_conn *c, const char *reason) {
    if (c->sock == NULL) return;
    if (reason != NULL) log_warn("pg", "connection closed", "peer", c->peer, "reason", reason, NULL);
    loop_timer_cancel(c->loop, &c->patience);
    if (c->watch.active) loop_unwatch(c->loop, &c->watch);
    sys_sock_close(c->sock);
    c->sock = NULL;
    sys_mutex_lock(&c->mutex);
    c->gone = true;
    sys_cond_broadcast(&c->drained);
    sys_mutex_unlock(&c->mutex);
    if (c->busy) pg_session_cancel(c->session);
    conn_unref(c);
}

// ---- sending ------------------------------------------------------------------------------------------------------------

// Sends what can be sent. Takes the mutex only around the buffer's fields: the worker only appends.
static void conn_flush(struct pg_conn *c) {
    if (c->sock == NULL) return;
    struct err err = {0};
    sys_mutex_lock(&c->mutex);
    bool failed = false;
    while (c->out_sent < c->out.n) {
        struct sys_iov iov = {c->out.p + c->out_sent, c->out.n - c->out_sent};
        int64_t n = sys_sock_send(c->sock, &iov, 1, &err);
        if (n <= 0) {
            failed = n < 0 && err.code != ERR_BUSY;
            break;
        }
        c->out_sent += (size_t)n;
    }
    bool all = c->out_sent == c->out.n;
    if (all) buf_clear(&c->out), c->out_sent = 0;
    if (c->out.n - c->out_sent < PG_OUT_MAX) sys_cond_signal(&c->drained);
    sys_mutex_unlock(&c->mutex);
    if (failed) {
        conn_close(c, NULL);
        return;
    }
    loop_watch_change(c->loop, &c->watch, (c->quiet ? 0 : SYS_EV_READ) | (all ? 0 : SYS_EV_WRITE));
    if (!c->busy && c->close_after && all) conn_close(c, NULL);
}

static void flush_posted(void *arg) {
    struct pg_conn *c = arg;
    sys_mutex_lock(&c->mutex);
    c->flush_posted = false;
    sys_mutex_unlock(&c->mutex);
    conn_flush(c);
    conn_unref(c);
}

// Waits for room in `out`, under its mutex. false: the client is gone, or holds a worker that others wait for and takes nothing.
static bool wait_for_room(struct pg_conn *c) {
    while (!c->gone && !c->stalled && c->out.n - c->out_sent >= PG_OUT_MAX) {
        size_t before = c->out_sent;
        bool woken = sys_cond_wait_us(&c->drained, &c->mutex, STALL_US);
        c->stalled = !woken && c->out_sent == before && pool_waiting(c->door->pool) > 0;
    }
    return !c->gone && !c->stalled;
}

bool pg_conn_send(struct pg_conn *c, struct buf *b) {
    sys_mutex_lock(&c->mutex);
    bool alive = wait_for_room(c);
    if (alive) {
        if (c->out_sent > 0) buf_consume(&c->out, c->out_sent), c->out_sent = 0;
        buf_put(&c->out, b->p, b->n);
    }
    bool post = alive && !c->flush_posted;
    if (post) {
        c->flush_posted = true;
        atomic_fetch_add(&c->refs, 1);
    }
    sys_mutex_unlock(&c->mutex);
    buf_clear(b);
    if (post) loop_post(c->loop, flush_posted, c);
    return alive;
}

// ---- receiving ----------------------------------------------------------------------------------------------------------

static void conn_next(struct pg_conn *c);

static void job_run(void *arg) { // on a worker
    struct pg_conn *c = arg;
    if (!pg_session_handle(c->session, buf_str(&c->work))) c->close_after = true;
}

static void job_done(void *arg) { // on the loop
    struct pg_conn *c = arg;
    c->busy = false;
    buf_clear(&c->work);
    if (c->work.cap > IN_MAX) buf_fini(&c->work);
    if (c->stalled) conn_close(c, "takes no answers while others wait for a worker");
    conn_flush(c);
    if (c->sock != NULL && !c->close_after) conn_next(c);
    conn_unref(c);
}

static void cancel_request(struct pg_door *d, struct rd *r) {
    uint32_t pid = rd_be32(r), secret = rd_be32(r);
    if (r->failed) return;
    sys_mutex_lock(&d->mutex);
    for (size_t i = 0; i < d->conns.n; i++) {
        struct pg_conn *c = d->conns.p[i];
        if (c->pid == pid && c->secret == secret && c->session != NULL) pg_session_cancel(c->session);
    }
    sys_mutex_unlock(&d->mutex);
}

// The untyped packets before the log-in. Returns the length of the start-up message for the session; 0 = more bytes are needed or closed.
static size_t startup_length(struct pg_conn *c) {
    while (c->in.n >= 8) {
        struct rd r = rd_of(c->in.p, c->in.n);
        uint32_t len = rd_be32(&r), code = rd_be32(&r);
        if (len < 8 || len > PG_STARTUP_MAX) {
            conn_close(c, "the first packet is not PostgreSQL's start-up message");
            return 0;
        }
        if (c->in.n < len) return 0;
        if (code == SSL_REQUEST || code == GSS_REQUEST) {
            struct sys_iov no = {"N", 1};
            if (sys_sock_send(c->sock, &no, 1, NULL) != 1) return conn_close(c, NULL), (size_t)0;
            buf_consume(&c->in, len);
            continue;
        }
        if (code == CANCEL_REQUEST) {
            cancel_request(c->door, &r);
            conn_close(c, NULL);
            return 0;
        }
        c->started = true;
        loop_timer_cancel(c->loop, &c->patience);
        return len;
    }
    return 0;
}

// Length of all whole messages at the front of `in`; closes the connection when one is malformed.
static size_t whole_messages(struct pg_conn *c) {
    size_t at = 0;
    while (c->in.n - at >= 5) {
        struct rd r = rd_of(c->in.p + at + 1, 4);
        uint32_t len = rd_be32(&r);
        if (len < 4 || len > PG_MESSAGE_MAX) {
            conn_close(c, "a message's length is not valid");
            return 0;
        }
        if (c->in.n - at < (size_t)len + 1) break;
        at += (size_t)len + 1;
    }
    return at;
}

// Starts a job when there are whole messages and none runs.
static void conn_next(struct pg_conn *c) {
    if (c->busy || c->sock == NULL) return;
    size_t n = c->started ? whole_messages(c) : startup_length(c);
    if (n > 0 && c->sock != NULL) {
        assert(c->work.n == 0);
        buf_put(&c->work, c->in.p, n);
        buf_consume(&c->in, n);
        c->busy = true;
        atomic_fetch_add(&c->refs, 1);
        struct err err = {0};
        if (pool_submit_then(c->door->pool, job_run, c, c->loop, job_done, &err) != ERR_OK) {
            c->busy = false;
            conn_close(c, err.msg);
            conn_unref(c);
            return;
        }
    }
    if (c->sock == NULL) return;
    bool quiet = c->busy && c->in.n >= IN_MAX;
    if (quiet == c->quiet) return;
    c->quiet = quiet;
    loop_watch_change(c->loop, &c->watch, quiet ? 0 : SYS_EV_READ);
}

static void conn_io(struct pg_conn *c, int events) {
    if ((events & SYS_EV_WRITE) != 0) conn_flush(c);
    if (c->sock == NULL || (events & (SYS_EV_READ | SYS_EV_CLOSED)) == 0) return;
    struct err err = {0};
    for (int round = 0; round < 16 && c->in.n < (size_t)PG_MESSAGE_MAX + READ_SIZE; round++) {
        if (!buf_reserve(&c->in, READ_SIZE)) break;
        int64_t n = sys_sock_recv(c->sock, c->in.p + c->in.n, c->in.cap - c->in.n, &err);
        if (n == 0 || (n < 0 && err.code != ERR_BUSY)) {
            conn_close(c, NULL);
            return;
        }
        if (n < 0) break;
        c->in.n += (size_t)n;
    }
    conn_next(c);
}

static void conn_ready(struct loop_watch *w, int events) {
    struct pg_conn *c = w->arg;
    atomic_fetch_add(&c->refs, 1); // what is handled may close it, and the loop's reference goes with that
    conn_io(c, events);
    conn_unref(c);
}

static void no_startup(void *arg) { conn_close(arg, "no start-up message came"); }

static void conn_start(void *arg) { // on the connection's loop
    struct pg_conn *c = arg;
    struct err err = {0};
    if (loop_watch_sock(c->loop, &c->watch, c->sock, SYS_EV_READ, conn_ready, c, &err) == ERR_OK) {
        loop_timer_set(c->loop, &c->patience, STARTUP_US, no_startup, c);
        return;
    }
    log_error("pg", "connection not watched", "reason", err.msg, NULL);
    conn_close(c, err.msg);
}

// ---- the door -----------------------------------------------------------------------------------------------------------

static void refuse(struct sys_sock *k) {
    struct buf b;
    buf_init(&b, 0);
    pg_put_error(&b, "FATAL", "53300", "sorry, too many clients already", "raise pg.connections_max", 0);
    struct sys_iov iov = {b.p, b.n};
    sys_sock_send(k, &iov, 1, NULL);
    sys_sock_close(k);
    buf_fini(&b);
}

static void accept_one(struct pg_door *d, struct sys_sock *k, const char *peer) {
    sys_mutex_lock(&d->mutex);
    bool full = d->closing || d->conns.n >= (size_t)d->config.max_connections;
    struct pg_conn *c = NULL;
    if (!full) {
        c = MEM_NEW(struct pg_conn);
        c->door = d;
        c->session = pg_session_new(c);
        c->loop = d->loops[d->next_loop++ % d->n_loops];
        c->pid = ++d->next_pid;
        c->secret = (uint32_t)sys_random_u64(d->sys);
        vec_add(&d->conns, c);
        metric_set(M_PG_CONNECTIONS, NULL, (int64_t)d->conns.n);
    }
    sys_mutex_unlock(&d->mutex);
    if (full) {
        refuse(k);
        return;
    }
    c->sock = k;
    memcpy(c->peer, peer, sizeof c->peer);
    atomic_init(&c->refs, 1);
    buf_init(&c->in, (size_t)PG_MESSAGE_MAX + 2 * (size_t)READ_SIZE + IN_MAX);
    buf_init(&c->work, 0);
    buf_init(&c->out, 0);
    sys_mutex_init(&c->mutex);
    sys_cond_init(&c->drained);
    loop_post(c->loop, conn_start, c);
}

static void accept_again(void *arg) {
    struct pg_door *d = arg;
    loop_watch_change(d->loops[0], &d->accept.watch, SYS_EV_READ);
}

static void accept_ready(struct loop_watch *w, int events) {
    struct pg_door *d = w->arg;
    (void)events;
    for (int i = 0; i < 64; i++) {
        char peer[64];
        struct err err = {0};
        struct sys_sock *k = sys_accept(d->listener, peer, &err);
        if (k == NULL) {
            if (err.code == ERR_BUSY) return;
            log_error("pg", "cannot accept connections, trying again", "error", err.msg, NULL); // out of descriptors, most likely
            loop_watch_change(d->loops[0], &d->accept.watch, 0);
            loop_timer_set(d->loops[0], &d->accept.pause, ACCEPT_PAUSE_US, accept_again, d);
            return;
        }
        accept_one(d, k, peer);
    }
}

static void listen_on_loop(void *arg) {
    struct pg_door *d = arg;
    struct err err = {0};
    if (loop_watch_sock(d->loops[0], &d->accept.watch, d->listener, SYS_EV_READ, accept_ready, d, &err) != ERR_OK)
        log_error("pg", "listener not watched", "reason", err.msg, NULL);
}

struct pg_door *pg_door_open(struct sys *s, struct loop *const *loops, size_t n_loops, struct engine *engine, const struct pg_config *config,
                             struct err *err) {
    assert(n_loops > 0 && config->workers > 0 && config->max_connections > 0);
    struct sys_sock *listener = sys_listen(s, config->host, config->port, err);
    if (listener == NULL) {
        err_wrap(err, "pg.listen %s:%d", config->host, config->port);
        return NULL;
    }
    struct pg_door *d = MEM_NEW(struct pg_door);
    d->config = *config;
    d->engine = engine;
    d->sys = s;
    d->listener = listener;
    d->port = sys_sock_port(listener);
    d->loops = mem_alloc(n_loops * sizeof *loops);
    memcpy(d->loops, loops, n_loops * sizeof *loops);
    d->n_loops = n_loops;
    d->pool = pool_new("pg", config->workers, (size_t)config->max_connections + 1);
    sys_mutex_init(&d->mutex);
    sys_cond_init(&d->empty);
    loop_post(loops[0], listen_on_loop, d);
    return d;
}

struct closing {
    struct pg_door *door;
    struct loop *loop;
    struct loop_event done;
};

static void stop_listening(void *arg) {
    struct closing *k = arg;
    loop_timer_cancel(k->loop, &k->door->accept.pause);
    if (k->door->accept.watch.active) loop_unwatch(k->loop, &k->door->accept.watch);
    loop_event_set(&k->done);
}

static void close_conns_of_loop(void *arg) {
    struct closing *k = arg;
    struct pg_door *d = k->door;
    for (;;) { // conn_close takes the connection out of the list when nothing else holds it
        struct pg_conn *open = NULL;
        sys_mutex_lock(&d->mutex);
        for (size_t i = 0; i < d->conns.n && open == NULL; i++)
            if (d->conns.p[i]->loop == k->loop && d->conns.p[i]->sock != NULL) open = d->conns.p[i];
        sys_mutex_unlock(&d->mutex);
        if (open == NULL) break;
        conn_close(open, NULL);
    }
    loop_event_set(&k->done);
}

static void on_loop_and_wait(struct pg_door *d, struct loop *l, loop_fn *fn) {
    struct closing k = {.door = d, .loop = l};
    loop_event_init(&k.done);
    loop_post(l, fn, &k);
    loop_event_wait(&k.done);
    loop_event_fini(&k.done);
}

void pg_door_close(struct pg_door *d) {
    if (d == NULL) return;
    sys_mutex_lock(&d->mutex);
    d->closing = true;
    sys_mutex_unlock(&d->mutex);
    on_loop_and_wait(d, d->loops[0], stop_listening);
    sys_sock_close(d->listener);
    for (size_t i = 0; i < d->n_loops; i++) on_loop_and_wait(d, d->loops[i], close_conns_of_loop);
    sys_mutex_lock(&d->mutex);
    while (d->conns.n > 0) sys_cond_wait(&d->empty, &d->mutex);
    sys_mutex_unlock(&d->mutex);
    pool_free(d->pool);
    vec_fini(&d->conns);
    sys_cond_fini(&d->empty);
    sys_mutex_fini(&d->mutex);
    mem_free(d->loops);
    mem_free(d);
}
