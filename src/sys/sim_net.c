// SPDX-License-Identifier: Apache-2.0
// Simulated stream sockets and poll sets: connected pairs with a bounded queue of bytes each way. By the seed, sends and receives move fewer
// bytes than asked for, ready sockets are reported in any order, and with a delay what was sent arrives later. All under the system's mutex.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "sys/sim_impl.h"

enum { PIPE_MAX = 64 << 10, BACKLOG_MAX = 128, FIRST_PORT = 40000 };

// A piece of what was sent: bytes up to `end` (counted from the connection's start) can be read from `at_us` on.
struct arrival {
    uint64_t end;
    int64_t at_us;
};

struct sim_sock {
    struct sys_sock base;
    bool listening, reset;
    int port, peer_port;
    struct sim_sock *peer; // NULL = the other side has closed
    VEC(struct sim_sock *) waiting; // listener: connected, not accepted
    struct buf in;                  // sent by the peer, not received yet
    uint64_t received;              // bytes taken from `in` so far
    VEC(struct arrival) arrivals;   // in order; empty = all of `in` is there
    int64_t closed_at_us;           // when the peer's close arrives; INT64_MAX = it has not closed
    struct sim_poll *poll;          // at most one
    int events;
    void *tag;
};

struct sim_poll {
    struct sys_poll base;
    bool woken;
};

void sim_net_init(struct sim *m, uint64_t seed) {
    m->net.rng.state = seed ^ 0x4E4554;
    m->net.next_port = FIRST_PORT;
}

void sim_net_fini(struct sim *m) {
    assert(m->net.socks.n == 0); // close what was opened
    vec_fini(&m->net.socks);
}

void sys_sim_net_delay(struct sys *s, int64_t min_us, int64_t max_us) {
    assert(min_us >= 0 && max_us >= min_us);
    struct sim *m = sim_of(s);
    sim_lock(m);
    m->net.delay_min = min_us;
    m->net.delay_max = max_us;
    sim_unlock(m);
}

void sys_sim_net_cut(struct sys *s) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    for (size_t i = 0; i < m->net.socks.n; i++) m->net.socks.p[i]->reset = !m->net.socks.p[i]->listening;
    sys_cond_broadcast(&m->changed);
    sim_unlock(m);
}

static int64_t arrival_time(struct sim *m, int64_t not_before) {
    int64_t span = m->net.delay_max - m->net.delay_min;
    int64_t at = m->mono_us + m->net.delay_min + (span > 0 ? (int64_t)sim_rng_below(&m->net.rng, (uint64_t)span + 1) : 0);
    return at > not_before ? at : not_before;
}

// Bytes that have arrived and can be received now.
static size_t readable(struct sim *m, struct sim_sock *k) {
    size_t n = k->in.n;
    for (size_t i = 0; i < k->arrivals.n; i++)
        if (k->arrivals.p[i].at_us > m->mono_us) {
            uint64_t begin = i == 0 ? k->received : k->arrivals.p[i - 1].end;
            return begin > k->received ? (size_t)(begin - k->received) : 0;
        }
    return n;
}

static bool at_end(struct sim *m, struct sim_sock *k) { return k->in.n == 0 && k->closed_at_us <= m->mono_us; }

static int readiness(struct sim *m, struct sim_sock *k) {
    if (k->reset) return SYS_EV_READ | SYS_EV_WRITE | SYS_EV_CLOSED;
    if (k->listening) return k->waiting.n > 0 ? SYS_EV_READ : 0;
    int events = 0;
    if (readable(m, k) > 0 || at_end(m, k)) events |= SYS_EV_READ;
    if (k->peer == NULL) return events | (k->closed_at_us <= m->mono_us ? SYS_EV_WRITE | SYS_EV_CLOSED : 0);
    if (k->peer->in.n < PIPE_MAX) events |= SYS_EV_WRITE;
    return events;
}

// When the next thing arrives at k that is under way now; INT64_MAX = nothing is.
static int64_t next_arrival(struct sim *m, struct sim_sock *k) {
    for (size_t i = 0; i < k->arrivals.n; i++)
        if (k->arrivals.p[i].at_us > m->mono_us) return k->arrivals.p[i].at_us;
    return k->closed_at_us > m->mono_us ? k->closed_at_us : INT64_MAX;
}

// ---- sockets ----------------------------------------------------------------------------------------------------------

static struct sim_sock *new_sock(struct sim *m) {
    struct sim_sock *k = MEM_NEW(struct sim_sock);
    k->base.sys = &m->base;
    k->closed_at_us = INT64_MAX;
    buf_init(&k->in, PIPE_MAX);
    vec_add(&m->net.socks, k);
    return k;
}

static struct sim_sock *find_listener(struct sim *m, int port) {
    for (size_t i = 0; i < m->net.socks.n; i++)
        if (m->net.socks.p[i]->listening && m->net.socks.p[i]->port == port) return m->net.socks.p[i];
    return NULL;
}

struct sys_sock *sim_listen(struct sys *s, const char *host, int port, struct err *err) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    struct sim_sock *k = NULL;
    if (port != 0 && find_listener(m, port) != NULL) {
        err_set(err, ERR_EXISTS, "another process listens at %s:%d already", host, port);
    } else {
        k = new_sock(m);
        k->listening = true;
        k->port = port != 0 ? port : m->net.next_port++;
    }
    sim_unlock(m);
    return k == NULL ? NULL : &k->base;
}

int sim_sock_port(struct sys_sock *k) { return ((struct sim_sock *)k)->port; }

struct sys_sock *sim_accept(struct sys_sock *base, char peer[64], struct err *err) {
    struct sim_sock *l = (struct sim_sock *)base, *k = NULL;
    struct sim *m = sim_of(base->sys);
    assert(l->listening);
    sim_lock(m);
    if (l->waiting.n == 0) {
        err_set(err, ERR_BUSY, "no connection waits");
    } else {
        k = l->waiting.p[0];
        vec_remove(&l->waiting, 0);
        if (peer != NULL) snprintf(peer, 64, "127.0.0.1:%d", k->peer_port);
    }
    sim_unlock(m);
    return k == NULL ? NULL : &k->base;
}

struct sys_sock *sim_connect(struct sys *s, const char *host, int port, int timeout_ms, struct err *err) {
    (void)timeout_ms;
    struct sim *m = sim_of(s);
    sim_lock(m);
    struct sim_sock *l = find_listener(m, port), *k = NULL;
    if (l == NULL || l->waiting.n >= BACKLOG_MAX) {
        err_set(err, ERR_UNAVAILABLE, "cannot connect to %s:%d: nobody listens", host, port);
    } else {
        k = new_sock(m);
        struct sim_sock *other = new_sock(m);
        k->port = other->peer_port = m->net.next_port++;
        k->peer_port = other->port = port;
        k->peer = other;
        other->peer = k;
        vec_add(&l->waiting, other);
        sys_cond_broadcast(&m->changed);
    }
    sim_unlock(m);
    return k == NULL ? NULL : &k->base;
}

// Mostly all, sometimes a part: both paths are taken often.
static size_t some_of(struct sim *m, size_t n) {
    if (n <= 1 || sim_rng_below(&m->net.rng, 2) == 0) return n;
    return 1 + (size_t)sim_rng_below(&m->net.rng, n);
}

int64_t sim_recv(struct sys_sock *base, void *p, size_t n, struct err *err) {
    struct sim_sock *k = (struct sim_sock *)base;
    struct sim *m = sim_of(base->sys);
    assert(!k->listening);
    sim_lock(m);
    int64_t got = -1;
    size_t there = readable(m, k);
    if (k->reset) err_set(err, ERR_CLOSED, "cannot receive: the connection was reset (simulated)");
    else if (there == 0 && at_end(m, k)) got = 0;
    else if (there == 0) err_set(err, ERR_BUSY, "nothing to receive yet");
    else {
        got = (int64_t)some_of(m, there < n ? there : n);
        memcpy(p, k->in.p, (size_t)got);
        buf_consume(&k->in, (size_t)got);
        k->received += (uint64_t)got;
        while (k->arrivals.n > 0 && k->arrivals.p[0].end <= k->received) vec_remove(&k->arrivals, 0);
        sys_cond_broadcast(&m->changed); // room for the sender
    }
    sim_unlock(m);
    return got;
}

static size_t put_bytes(struct sim_sock *to, const struct sys_iov *iov, int n_iov, size_t max) {
    size_t done = 0;
    for (int i = 0; i < n_iov && done < max; i++) {
        size_t part = iov[i].n < max - done ? iov[i].n : max - done;
        if (part > 0) buf_put(&to->in, iov[i].p, part);
        done += part;
    }
    assert(!to->in.failed);
    return done;
}

int64_t sim_send(struct sys_sock *base, const struct sys_iov *iov, int n_iov, struct err *err) {
    struct sim_sock *k = (struct sim_sock *)base;
    struct sim *m = sim_of(base->sys);
    assert(!k->listening);
    sim_lock(m);
    struct sim_sock *to = k->peer;
    size_t total = 0;
    for (int i = 0; i < n_iov; i++) total += iov[i].n;
    int64_t put = -1;
    if (k->reset || (to == NULL && k->closed_at_us <= m->mono_us)) err_set(err, ERR_CLOSED, "cannot send: the peer has closed");
    else if (to == NULL || total == 0) put = (int64_t)total; // its close is still under way: what we send is lost
    else if (to->in.n >= PIPE_MAX) err_set(err, ERR_BUSY, "the peer does not read");
    else {
        size_t room = PIPE_MAX - to->in.n;
        put = (int64_t)put_bytes(to, iov, n_iov, some_of(m, total < room ? total : room));
        if (m->net.delay_max > 0) {
            int64_t last = to->arrivals.n > 0 ? vec_last(&to->arrivals)->at_us : 0;
            vec_add(&to->arrivals, ((struct arrival){to->received + to->in.n, arrival_time(m, last)}));
        }
        sys_cond_broadcast(&m->changed);
    }
    sim_unlock(m);
    return put;
}

int64_t sim_sendfile(struct sys_sock *k, struct sys_file *f, uint64_t offset, size_t n, struct err *err) {
    (void)k, (void)f, (void)offset, (void)n;
    err_set(err, ERR_NOT_SUPPORTED, "the simulation has no sendfile");
    return -1;
}

static void close_locked(struct sim *m, struct sim_sock *k) {
    for (size_t i = 0; i < k->waiting.n; i++) close_locked(m, k->waiting.p[i]);
    if (k->peer != NULL) {
        struct sim_sock *other = k->peer;
        other->peer = NULL;
        other->closed_at_us = arrival_time(m, other->arrivals.n > 0 ? vec_last(&other->arrivals)->at_us : 0);
        if (k->in.n > 0) other->reset = true; // closed with bytes unread: as TCP does
    }
    for (size_t i = 0; i < m->net.socks.n; i++) {
        if (m->net.socks.p[i] != k) continue;
        vec_remove(&m->net.socks, i);
        break;
    }
    vec_fini(&k->waiting);
    vec_fini(&k->arrivals);
    buf_fini(&k->in);
    mem_free(k);
}

void sim_sock_close(struct sys_sock *base) {
    struct sim *m = sim_of(base->sys);
    sim_lock(m);
    close_locked(m, (struct sim_sock *)base);
    sys_cond_broadcast(&m->changed);
    sim_unlock(m);
}

// ---- poll sets ----------------------------------------------------------------------------------------------------------

struct sys_poll *sim_poll_new(struct sys *s, struct err *err) {
    (void)err;
    struct sim_poll *p = MEM_NEW(struct sim_poll);
    p->base.sys = s;
    return &p->base;
}

void sim_poll_free(struct sys_poll *base) {
    struct sim_poll *p = (struct sim_poll *)base;
    struct sim *m = sim_of(base->sys);
    sim_lock(m);
    for (size_t i = 0; i < m->net.socks.n; i++)
        if (m->net.socks.p[i]->poll == p) m->net.socks.p[i]->poll = NULL;
    sim_unlock(m);
    mem_free(p);
}

enum err_code sim_poll_sock(struct sys_poll *base, struct sys_sock *sock, int events, void *tag, struct err *err) {
    (void)err;
    struct sim_poll *p = (struct sim_poll *)base;
    struct sim_sock *k = (struct sim_sock *)sock;
    struct sim *m = sim_of(base->sys);
    sim_lock(m);
    assert(k->poll == NULL || k->poll == p);
    k->poll = events == 0 ? NULL : p;
    k->events = events;
    k->tag = tag;
    sim_unlock(m);
    return ERR_OK;
}

enum err_code sim_poll_fd(struct sys_poll *p, int fd, int events, void *tag, struct err *err) {
    (void)p, (void)tag;
    if (events == 0) return ERR_OK;
    return err_set(err, ERR_NOT_SUPPORTED, "the simulation has no descriptors (%d)", fd);
}

static int collect(struct sim *m, struct sim_poll *p, struct sys_event *out, int max) {
    size_t n = m->net.socks.n, start = n == 0 ? 0 : (size_t)sim_rng_below(&m->net.rng, n);
    int filled = 0;
    for (size_t i = 0; i < n && filled < max; i++) {
        struct sim_sock *k = m->net.socks.p[(start + i) % n];
        if (k->poll != p) continue;
        int events = readiness(m, k) & (k->events | SYS_EV_CLOSED);
        if (events != 0) out[filled++] = (struct sys_event){k->tag, events};
    }
    return filled;
}

static int64_t next_event_at(struct sim *m, struct sim_poll *p, int64_t deadline) {
    for (size_t i = 0; i < m->net.socks.n; i++) {
        if (m->net.socks.p[i]->poll != p) continue;
        int64_t at = next_arrival(m, m->net.socks.p[i]);
        if (at < deadline) deadline = at;
    }
    return deadline;
}

int sim_poll_wait(struct sys_poll *base, struct sys_event *out, int max, int64_t timeout_us) {
    struct sim_poll *p = (struct sim_poll *)base;
    struct sim *m = sim_of(base->sys);
    sim_lock(m);
    int64_t deadline = timeout_us < 0 || timeout_us > INT64_MAX - m->mono_us ? INT64_MAX : m->mono_us + timeout_us;
    int n;
    for (;;) {
        n = collect(m, p, out, max);
        if (n > 0 || p->woken || m->mono_us >= deadline) break;
        int64_t next = next_event_at(m, p, deadline);
        if (m->auto_advance && next != INT64_MAX) sim_advance_locked(m, next - m->mono_us);
        else sys_cond_wait(&m->changed, &m->mutex);
    }
    p->woken = false;
    sim_unlock(m);
    return n;
}

void sim_poll_wake(struct sys_poll *base) {
    struct sim *m = sim_of(base->sys);
    sim_lock(m);
    ((struct sim_poll *)base)->woken = true;
    sys_cond_broadcast(&m->changed);
    sim_unlock(m);
}
