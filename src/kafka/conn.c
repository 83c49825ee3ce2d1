// SPDX-License-Identifier: Apache-2.0
// One connection: bytes in, frames cut, requests started in order, answers sent in order.
//
// Owner: the connection's loop; nothing here is touched by another thread. Requests of one connection are handled one after the other, as
// Kafka does; only Produce requests may be under way together, so that one fdatasync serves many, and they are appended and answered in order.
// Back-pressure: while a request cannot be started the socket is not read. Large frames are received straight into their own memory.
// Bad input closes this connection only, with a logged reason.
// With TLS the socket's bytes go through codec/tls on their way in and out; the rest is the same. A handshake is worked off as its bytes come, so
// it costs the loop the time of one signature.
#include "broker/share.h"
#include "kafka/conn.h"

#include <assert.h>

#include "base/log.h"
#include "base/metrics.h"
#include "kafka/admission.h"
#include "kafka/auth.h"
#include "kafka/features.h"
#include "kafka/gate.h"
#include "kafka/security.h"
#include "kafka/throttle.h"

enum { SPARE_MAX = 64, SPARE_BUF = 64 << 10, IOV_MAX_ = 64, ANSWER_MAX = 256 << 20 };

struct conn {
    struct conn *prev, *next, *next_dirty, *next_hungry;
    struct door_loop *home;
    struct sys_sock *sock; // NULL = closed, waits for its requests
    struct loop_watch watch;
    struct listener *listener;
    struct tls *tls; // NULL = plaintext
    bool tls_ready;  // its handshake is over
    bool refused;    // its handshake failed: what still comes is dropped until the peer has seen why, so that no reset overtakes the alert
    bool last;       // nothing is read any more, and it is closed when all has been sent
    struct conn_auth auth;
    char peer[64], host[64];
    char software[2][64]; // the client's name and version
    int64_t opened_us, last_us;
    struct kafka_req *head, *tail; // under way or not yet sent, in order
    size_t n_reqs, req_bytes;
    uint8_t size_bytes[4]; // of the frame that comes in
    size_t size_have;
    uint8_t *frame; // its memory
    size_t frame_size, frame_have, frame_cap;
    int64_t frame_us; // when it began
    uint8_t *stash; // bytes received behind a frame that could not be started yet
    size_t stash_n, stash_at;
    struct kafka_req *parked; // complete, waits for the requests before it
    uint64_t number;          // of connections that share sessions belong to; 0 = none asked
    bool pumping, dirty, hungry;
    bool muted; // over a quota: nothing is read or started until `unmute`
    struct loop_timer unmute;
};

// ---- requests -----------------------------------------------------------------------------------------------------------
struct kafka_door *kafka_req_door(struct kafka_req *q) { return q->conn->home->door; }
struct door_loop *kafka_req_home(struct kafka_req *q) { return q->conn->home; }
struct broker *kafka_req_broker(struct kafka_req *q) { return q->conn->home->door->broker; }
const struct kafka_config *kafka_req_config(const struct kafka_req *q) { return &q->conn->home->door->config; }
struct loop *kafka_req_loop(struct kafka_req *q) { return q->conn->home->loop; }
const char *kafka_req_peer(struct kafka_req *q) { return q->conn->peer; }
uint64_t kafka_req_connection(struct kafka_req *q) {
    struct conn *c = q->conn;
    if (c->number == 0) c->number = atomic_fetch_add(&c->home->door->last_number, 1) + 1;
    return c->number;
}
const char *kafka_req_host(const struct kafka_req *q) { return q->conn->host; }
const char *kafka_req_principal(const struct kafka_req *q) { return q->conn->auth.principal; }
const char *kafka_req_advertised_host(const struct kafka_req *q) { return q->conn->listener->advertised_host; }
int kafka_req_advertised_port(const struct kafka_req *q) {
    const struct listener *l = q->conn->listener;
    return l->advertised_port != 0 ? l->advertised_port : l->port;
}
const char *kafka_req_listener_name(const struct kafka_req *q) { return q->conn->listener->name; }
struct listener *kafka_req_listener(const struct kafka_req *q) { return q->conn->listener; }
struct security *kafka_req_security(const struct kafka_req *q) { return q->conn->home->door->security; }
struct quotas *kafka_req_quotas(struct kafka_req *q) { return q->conn->home->door->quotas; }
struct conn_auth *kafka_req_auth(struct kafka_req *q) { return &q->conn->auth; }
const char *kafka_req_software(const struct kafka_req *q, bool version) { return q->conn->software[version ? 1 : 0]; }
void kafka_req_set_software(struct kafka_req *q, struct str name, struct str version) {
    const struct str both[2] = {name, version};
    for (int i = 0; i < 2; i++) {
        size_t n = both[i].n < 63 ? both[i].n : 63;
        if (n > 0) memcpy(q->conn->software[i], both[i].p, n);
        q->conn->software[i][n] = 0;
    }
}
void kafka_req_close_after(struct kafka_req *q) { q->close_after = true; }

const char *kafka_req_name(struct kafka_req *q, struct str name) {
    if (name.p == NULL) return NULL;
    return memchr(name.p, 0, name.n) != NULL ? "" : arena_strndup(&q->arena, name.p, name.n);
}

static struct kafka_req *req_new(struct door_loop *dl) {
    struct kafka_req *q = dl->spare;
    if (q == NULL) {
        q = MEM_NEW(struct kafka_req);
        arena_init(&q->arena);
        kafka_out_init(&q->out, ANSWER_MAX);
        return q;
    }
    dl->spare = q->next;
    dl->n_spare--;
    return q;
}

static void req_free(struct door_loop *dl, struct kafka_req *q) {
    if (q->release != NULL) q->release(q);
    mem_free(q->frame);
    dl->frame_bytes -= q->frame_n;
    dl->freed |= q->frame_n > 0;
    if (dl->n_spare >= SPARE_MAX || q->out.buf.cap > SPARE_BUF || q->arena.used > SPARE_BUF) {
        arena_fini(&q->arena);
        kafka_out_fini(&q->out);
        mem_free(q);
        return;
    }
    struct arena arena = q->arena;
    struct kafka_out out = q->out;
    arena_reset(&arena);
    kafka_out_clear(&out);
    *q = (struct kafka_req){.arena = arena, .out = out, .next = dl->spare};
    dl->spare = q;
    dl->n_spare++;
}

static void conn_pump(struct conn *c);
static void conn_mark_dirty(struct conn *c);
static void feed_hungry(struct door_loop *dl);
static void send_now(struct conn *c);

static void conn_unmute(void *arg) {
    struct conn *c = arg;
    c->muted = false;
    conn_mark_dirty(c);
}

static void conn_mute(struct conn *c, int64_t ms) {
    struct loop *l = c->home->loop;
    if (ms <= 0 || (c->muted && c->unmute.due_us >= loop_now_us(l) + ms * 1000)) return;
    c->muted = true;
    loop_timer_set(l, &c->unmute, ms * 1000, conn_unmute, c);
}

static void count_version(struct door_loop *dl, int key, int version) { // written by this loop alone
    if (key < 0 || key >= CONN_API_KEYS || version < 0 || version >= CONN_API_VERSIONS) return;
    _Atomic uint64_t *n = &dl->requests[key][version];
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_relaxed);
}

void kafka_req_done(struct kafka_req *q) {
    assert(!q->done);
    q->cancel = NULL;
    q->done = true;
    struct conn *c = q->conn;
    if (quotas_active(c->home->door->quotas) && c->sock != NULL) conn_mute(c, throttle_answer(q));
    if (c->sock != NULL && !q->no_reply) {
        struct err err = {0};
        if (q->gate != NULL) gate_leave(q);
        const struct kafka_message *m = q->api->response;
        if (q->bare) {
            const struct kafka_sasl_authenticate_response *res = q->res;
            buf_put_be32(&q->out.buf, (uint32_t)res->auth_bytes.n);
            buf_put_str(&q->out.buf, res->auth_bytes);
        } else {
            kafka_frame_begin_response(&q->out, m, q->version, q->header.correlation_id);
            kafka_msg_encode(m, q->version, q->res, &q->out);
        }
        if (!q->bare && kafka_frame_end(&q->out, &err) != ERR_OK) {
            log_error("kafka", "response dropped", "api", q->api->name, "error", err.msg, NULL);
            q->no_reply = true;
            conn_close(c, "response too large");
        }
    }
    int64_t now = sys_mono_us(loop_sys(c->home->loop));
    metric_add(M_KAFKA_REQUESTS, q->api->name, 1);
    count_version(c->home, q->h->key, q->version);
    metric_observe_us(M_KAFKA_LATENCY, q->api->name, now - q->start_us);
    if (c->pumping) return;
    bool alone = c->sock != NULL && c->n_reqs == 1 && c->parked == NULL && c->stash == NULL && !c->dirty &&
                 c->home->hungry == NULL;
    if (alone) send_now(c); // q is gone after this
    else conn_mark_dirty(c);
}

void kafka_req_reject(struct kafka_req *q, const char *reason) {
    q->no_reply = true;
    q->cancel = NULL;
    conn_close(q->conn, reason);
    kafka_req_done(q);
}

bool kafka_req_overgrown(struct kafka_req *q) {
    if (q->arena.used <= ANSWER_MAX) return false;
    kafka_req_reject(q, "response too large");
    return true;
}

bool kafka_req_submit(struct kafka_req *q, loop_fn *work, loop_fn *done) {
    struct err err;
    return broker_submit(kafka_req_broker(q), work, q, kafka_req_loop(q), done, &err) == ERR_OK;
}

bool kafka_req_submit_read(struct kafka_req *q, loop_fn *work, loop_fn *done) {
    struct err err;
    return broker_submit_read(kafka_req_broker(q), work, q, kafka_req_loop(q), done, &err) == ERR_OK;
}

// ---- output -------------------------------------------------------------------------------------------------------------
static void add_iov(struct sys_iov *iov, int *n, size_t *skip, const void *p, size_t size) {
    if (*skip >= size) {
        *skip -= size;
        return;
    }
    if (*n < IOV_MAX_) iov[(*n)++] = (struct sys_iov){(const char *)p + *skip, size - *skip};
    *skip = 0;
}

static void req_iov(const struct kafka_req *q, struct sys_iov *iov, int *n) {
    size_t at = 0, skip = q->sent;
    const struct kafka_out *o = &q->out;
    for (size_t i = 0; i < o->splices.n && *n < IOV_MAX_; i++) {
        add_iov(iov, n, &skip, o->buf.p + at, o->splices.p[i].at - at);
        add_iov(iov, n, &skip, o->splices.p[i].bytes.p, o->splices.p[i].bytes.n);
        at = o->splices.p[i].at;
    }
    add_iov(iov, n, &skip, o->buf.p + at, o->buf.n - at);
}

static size_t req_size(const struct kafka_req *q) { return q->no_reply ? 0 : q->out.buf.n + q->out.spliced; }

static void pop_head(struct conn *c) {
    struct kafka_req *q = c->head;
    c->head = q->next;
    if (c->head == NULL) c->tail = NULL;
    c->n_reqs--;
    c->req_bytes -= q->frame_n;
    c->last |= q->close_after;
    req_free(c->home, q);
}

static void pop_sent(struct conn *c, size_t n) {
    while (c->head != NULL && c->head->done) {
        size_t left = req_size(c->head) - c->head->sent;
        if (n < left) {
            c->head->sent += n;
            return;
        }
        n -= left;
        pop_head(c);
    }
}

// ---- TLS ----------------------------------------------------------------------------------------------------------------
// Sends what is encrypted. ERR_BUSY: the socket takes no more now.
static enum err_code flush_tls(struct conn *c, struct err *err) {
    for (;;) {
        struct str out = tls_out(c->tls);
        if (out.n == 0) return ERR_OK;
        struct sys_iov iov = {out.p, out.n};
        int64_t sent = sys_sock_send(c->sock, &iov, 1, err);
        if (sent < 0) return err->code;
        c->last_us = loop_now_us(c->home->loop);
        tls_sent(c->tls, (size_t)sent);
    }
}

// Encrypts a piece of what is given and sends it: bytes taken. Short parts share a record.
static int64_t send_tls(struct conn *c, const struct sys_iov *iov, int n, struct err *err) {
    enum { RECORD = 16 << 10 };
    uint8_t gathered[RECORD];
    size_t have = 0, taken = 0;
    if (flush_tls(c, err) != ERR_OK) return -1;
    for (int i = 0; i < n && taken < CONN_TLS_PIECE; i++) {
        size_t part = iov[i].n < CONN_TLS_PIECE - taken ? iov[i].n : CONN_TLS_PIECE - taken;
        if (have > 0 && part > RECORD - have) {
            if (tls_write(c->tls, gathered, have, err) != ERR_OK) return -1;
            have = 0;
        }
        if (part > RECORD / 4) {
            if (have > 0 && tls_write(c->tls, gathered, have, err) != ERR_OK) return -1;
            have = 0;
            if (tls_write(c->tls, iov[i].p, part, err) != ERR_OK) return -1;
        } else {
            memcpy(gathered + have, iov[i].p, part);
            have += part;
        }
        taken += part;
    }
    if (have > 0 && tls_write(c->tls, gathered, have, err) != ERR_OK) return -1;
    enum err_code code = flush_tls(c, err);
    return code == ERR_OK || code == ERR_BUSY ? (int64_t)taken : -1;
}

// The first time that the handshake is over: who is it? False = closed.
static bool tls_established_now(struct conn *c) {
    c->tls_ready = true;
    if (conn_auth_by_certificate(&c->auth, c->listener, c->tls)) return true;
    conn_close(c, "no rule maps the certificate to a principal");
    return false;
}

// Plain bytes out of what the socket has, as sys_sock_recv says it. Fills as much of the room as one round of the socket gives.
static int64_t recv_tls(struct conn *c, uint8_t *to, size_t room, struct err *err) {
    struct door_loop *dl = c->home;
    size_t have = 0;
    int64_t n;
    bool received = false;
    for (;;) {
        n = tls_read(c->tls, to + have, room - have, err);
        if (n > 0 && (have += (size_t)n) < room) continue;
        if (have > 0 || n == 0 || err->code != ERR_BUSY || received) break;
        int64_t got = sys_sock_recv(c->sock, dl->cipher, sizeof dl->cipher, err);
        if (got <= 0) {
            n = got;
            break;
        }
        c->last_us = loop_now_us(dl->loop);
        received = true;
        tls_feed(c->tls, dl->cipher, (size_t)got);
    }
    tls_keep(c->tls);
    if (have > 0) return (int64_t)have;
    if (n < 0 && err->code != ERR_BUSY && !c->tls_ready) {
        log_warn("kafka", "TLS handshake failed", "peer", c->peer, "listener", c->listener->name, "error", err->msg, NULL);
        struct err ignored = {0};
        c->refused = flush_tls(c, &ignored) == ERR_OK && c->listener->security->failed_delay_ms > 0; // the alert
    }
    return n;
}

static void refusal_over(void *arg) { conn_close(arg, NULL); }

// As connection.failed.authentication.delay.ms says: the peer has that long to read the alert and go.
static int64_t drop_refused(struct conn *c) {
    struct err err = {0};
    int64_t n = sys_sock_recv(c->sock, c->home->scratch, CONN_SCRATCH, &err);
    if (n < 0 && err.code == ERR_BUSY) return 0;
    if (n <= 0) conn_close(c, NULL);
    return n;
}

static void refuse_handshake(struct conn *c) {
    metric_add(M_KAFKA_REJECTED, "TLS handshake failed", 1);
    loop_timer_set(c->home->loop, &c->unmute, c->listener->security->failed_delay_ms * 1000, refusal_over, c);
}

// Sends what is ready, in order. False = the connection is closed now.
static bool conn_send(struct conn *c) {
    for (;;) {
        struct sys_iov iov[IOV_MAX_];
        int n = 0;
        size_t total = 0;
        for (struct kafka_req *q = c->head; q != NULL && q->done && n < IOV_MAX_; q = q->next)
            if (!q->no_reply) req_iov(q, iov, &n);
        for (int i = 0; i < n; i++) total += iov[i].n;
        struct err err = {0};
        if (total == 0) {
            if (c->tls != NULL && flush_tls(c, &err) != ERR_OK && err.code != ERR_BUSY) {
                conn_close(c, NULL);
                return false;
            }
            break;
        }
        int64_t sent = c->tls == NULL ? sys_sock_send(c->sock, iov, n, &err) : send_tls(c, iov, n, &err);
        if (sent < 0) {
            if (err.code == ERR_BUSY) break;
            conn_close(c, NULL);
            return false;
        }
        c->last_us = loop_now_us(c->home->loop);
        pop_sent(c, (size_t)sent);
        if (c->tls == NULL ? (size_t)sent < total : tls_out(c->tls).n > 0) break;
    }
    pop_sent(c, 0); // answers without bytes (acks=0)
    if (!c->last || (c->tls != NULL && tls_out(c->tls).n > 0)) return true;
    conn_close(c, NULL);
    return false;
}

static void watch_what_matters(struct conn *c);

// The only request of a quiet connection is answered without waiting for the round's end: nothing could be gathered with it.
static void send_now(struct conn *c) {
    if (conn_send(c)) watch_what_matters(c);
}

static void conn_free(struct conn *c) {
    struct door_loop *dl = c->home;
    if (c->prev != NULL) c->prev->next = c->next;
    else dl->conns = c->next;
    if (c->next != NULL) c->next->prev = c->prev;
    conn_auth_fini(&c->auth, dl->loop);
    mem_free(c);
    dl->n_conns--;
    if (dl->closing && dl->n_conns == 0) loop_event_set(&dl->closed);
}

static void drain_closed(struct conn *c) { // after close: drop what is done, free when nothing is left
    struct kafka_req **at = &c->head;
    while (*at != NULL) {
        struct kafka_req *q = *at;
        if (!q->done) {
            at = &q->next;
            continue;
        }
        *at = q->next;
        c->n_reqs--;
        req_free(c->home, q);
    }
    if (c->head == NULL && !c->dirty) conn_free(c);
}

// Answers that become ready during one round of the loop leave together: one writev per connection and round.
static void flush_dirty(void *arg) {
    struct door_loop *dl = arg;
    dl->flush_posted = false;
    while (dl->dirty != NULL) {
        struct conn *c = dl->dirty;
        dl->dirty = c->next_dirty;
        c->dirty = false;
        if (c->sock == NULL) drain_closed(c);
        else conn_pump(c);
    }
    if (dl->hungry != NULL && dl->freed) feed_hungry(dl);
}

static void conn_mark_dirty(struct conn *c) {
    if (c->dirty) return;
    struct door_loop *dl = c->home;
    c->dirty = true;
    c->next_dirty = dl->dirty;
    dl->dirty = c;
    if (dl->flush_posted) return;
    dl->flush_posted = true;
    loop_post(dl->loop, flush_dirty, dl);
}

// ---- closing --------------------------------------------------------------------------------------------------------------
static void drop_input(struct conn *c) {
    struct door_loop *dl = c->home;
    mem_free(c->frame);
    if (c->frame_cap > 0) dl->frame_bytes -= c->frame_size;
    dl->freed |= c->frame_cap > 0;
    mem_free(c->stash);
    c->frame = c->stash = NULL;
    c->frame_cap = c->stash_n = c->stash_at = 0;
    if (c->parked != NULL) req_free(dl, c->parked);
    c->parked = NULL;
    for (struct conn **at = &dl->hungry; c->hungry && *at != NULL; at = &(*at)->next_hungry) {
        if (*at != c) continue;
        *at = c->next_hungry;
        break;
    }
    c->hungry = false;
}

void conn_close(struct conn *c, const char *reason) {
    if (c->sock == NULL) return;
    struct door_loop *dl = c->home;
    if (reason != NULL) {
        log_warn("kafka", "connection closed", "peer", c->peer, "reason", reason, NULL);
        metric_add(M_KAFKA_REJECTED, reason, 1);
    }
    loop_unwatch(dl->loop, &c->watch);
    loop_timer_cancel(dl->loop, &c->unmute);
    if (c->tls != NULL) {
        struct err ignored = {0};
        tls_end(c->tls);
        flush_tls(c, &ignored);
        tls_free(c->tls);
        c->tls = NULL;
    }
    sys_sock_close(c->sock);
    c->sock = NULL;
    atomic_fetch_sub(&dl->door->connections, 1);
    admission_give(dl->door->admission, c->host);
    metric_add(M_KAFKA_CONNECTIONS, NULL, -1);
    metric_add(M_KAFKA_LISTENER_CONNECTIONS, c->listener->name, -1);
    drop_input(c);
    for (struct kafka_req *q = c->head, *next; q != NULL; q = next) {
        next = q->next;
        if (!q->done && q->cancel != NULL) q->cancel(q);
    }
    if (c->number != 0) share_connection_closed(dl->door->broker, c->number);
    conn_mark_dirty(c); // freed from there, never under the caller's feet
}

void conn_close_quiet(struct door_loop *dl) {
    for (struct conn *c = dl->conns, *next; c != NULL; c = next) {
        next = c->next;
        if (c->head == NULL) conn_close(c, NULL);
    }
}

void conn_close_all(struct door_loop *dl) {
    dl->closing = true;
    loop_timer_cancel(dl->loop, &dl->sweep);
    loop_timer_cancel(dl->loop, &dl->slow);
    for (struct conn *c = dl->conns, *next; c != NULL; c = next) {
        next = c->next;
        conn_close(c, NULL);
    }
    if (dl->n_conns == 0) loop_event_set(&dl->closed);
}

void conn_sweep(struct door_loop *dl) {
    int64_t now = loop_now_us(dl->loop);
    for (struct conn *c = dl->conns, *next; c != NULL; c = next) {
        next = c->next;
        bool waiting = c->head != NULL && !c->head->done; // the broker has it, not the client
        if (c->sock == NULL) continue;
        bool stranger = (c->tls != NULL && !c->tls_ready) || (c->listener->sasl && c->auth.state != AUTH_OPEN && !c->auth.again);
        if (stranger && now - c->opened_us > CONN_LOGIN_US) {
            conn_close(c, "not logged in in time");
            continue;
        }
        if (waiting) continue;
        if (c->frame_cap > 0 && now - c->last_us > CONN_STALL_US) { // it holds memory that others may want
            conn_close(c, "stalled in the middle of a request");
        } else if (now - c->last_us > dl->door->config.idle_us) {
            log_debug("kafka", "idle connection closed", "peer", c->peer, NULL);
            conn_close(c, NULL);
        }
    }
}

// ---- requests in ------------------------------------------------------------------------------------------------------------
static const struct kafka_handler *find_handler(int key) {
    for (size_t i = 0; i < kafka_handlers_n; i++)
        if (kafka_handlers[i].key == key) return &kafka_handlers[i];
    return NULL;
}

// A complete frame becomes a request (or the connection is closed: NULL). Takes the memory.
static struct kafka_req *req_parse(struct conn *c, uint8_t *frame, size_t n) {
    struct kafka_req *q = req_new(c->home);
    q->conn = c;
    q->authorizer = c->home->door->has_authorizer;
    q->frame = frame;
    q->frame_n = n;
    q->start_us = sys_mono_us(loop_sys(c->home->loop));
    struct rd r = rd_of(frame, n);
    struct err err = {0};
    const char *reason = NULL;
    if (kafka_header_decode(&r, &q->header, &err) != ERR_OK) reason = "bad request header";
    else if ((reason = conn_auth_refusal(&c->auth, q->header.api_key, q->start_us)) != NULL) {}
    else if ((q->h = find_handler(q->header.api_key)) == NULL) reason = "API not supported";
    if (reason == NULL) {
        q->api = kafka_api_find(q->header.api_key);
        q->version = q->header.api_version;
        bool known = q->version >= q->h->min && q->version <= q->h->max;
        if (q->h->key == KAFKA_API_API_VERSIONS && !known) q->version = 0; // KIP-511: answered in version 0
        else if (!known || q->version < q->api->request->min) reason = "API version not supported";
        q->res = arena_alloc(&q->arena, q->api->response->body->size);
        kafka_msg_init(q->api->response, q->res);
        q->msg = arena_alloc(&q->arena, q->api->request->body->size);
        kafka_msg_init(q->api->request, q->msg);
        if (reason == NULL && known && kafka_msg_decode(q->api->request, q->version, &r, &q->arena, q->msg, &err) != ERR_OK)
            reason = "malformed request";
    }
    if (reason == NULL) return q;
    log_warn("kafka", "bad request", "peer", c->peer, "api", log_i64(q->header.api_key), "version", log_i64(q->header.api_version), "detail",
             err.msg, NULL);
    req_free(c->home, q);
    conn_close(c, reason);
    return NULL;
}

// A SASL token without a header (after SaslHandshake 0) becomes a SaslAuthenticate request. Takes the memory.
static struct kafka_req *bare_token(struct conn *c, uint8_t *frame, size_t n) {
    struct kafka_req *q = req_new(c->home);
    q->conn = c;
    q->authorizer = c->home->door->has_authorizer;
    q->frame = frame;
    q->frame_n = n;
    q->start_us = sys_mono_us(loop_sys(c->home->loop));
    q->header.api_key = KAFKA_API_SASL_AUTHENTICATE;
    q->h = find_handler(KAFKA_API_SASL_AUTHENTICATE);
    q->api = kafka_api_find(KAFKA_API_SASL_AUTHENTICATE);
    q->res = arena_alloc(&q->arena, q->api->response->body->size);
    kafka_msg_init(q->api->response, q->res);
    q->msg = arena_alloc(&q->arena, q->api->request->body->size);
    kafka_msg_init(q->api->request, q->msg);
    ((struct kafka_sasl_authenticate_request *)q->msg)->auth_bytes = str_n(frame, n);
    q->bare = true;
    return q;
}

static bool may_start(const struct conn *c, const struct kafka_req *q) {
    if (c->muted) return false;
    if (c->head == NULL) return true;
    return q->h->pipelined && c->tail->h == q->h && c->n_reqs < CONN_PIPELINE_MAX && c->req_bytes + q->frame_n <= CONN_PIPELINE_BYTES;
}

// Passwords and keys are nobody's to read in a log.
static bool has_secrets(int key) {
    return key == KAFKA_API_SASL_AUTHENTICATE || key == KAFKA_API_ALTER_CONFIGS || key == KAFKA_API_INCREMENTAL_ALTER_CONFIGS ||
           key == KAFKA_API_ALTER_USER_SCRAM_CREDENTIALS || key == KAFKA_API_RENEW_DELEGATION_TOKEN || key == KAFKA_API_EXPIRE_DELEGATION_TOKEN;
}

static void req_start(struct conn *c, struct kafka_req *q) {
    q->next = NULL;
    if (c->tail != NULL) c->tail->next = q;
    else c->head = q;
    c->tail = q;
    c->n_reqs++;
    c->req_bytes += q->frame_n;
    if (log_enabled(LOG_DEBUG) && !has_secrets(q->h->key)) {
        struct buf b;
        buf_init(&b, 1 << 16);
        kafka_msg_print(q->api->request, q->version, q->msg, 2000, &b);
        log_debug("kafka", "request", "peer", c->peer, "api", q->api->name, "version", log_i64(q->version), "body", buf_cstr(&b), NULL);
        buf_fini(&b);
    }
    if (q->h->key >= KAFKA_FEATURES_FROM && !kafka_features_enter(q)) return;
    if (q->authorizer && !gate_enter(q)) return;
    if (!quotas_active(c->home->door->quotas)) {
        q->h->fn(q);
        return;
    }
    struct sys *sys = loop_sys(c->home->loop);
    q->busy_from_us = sys_mono_us(sys);
    q->h->fn(q); // answers are not sent, and q is not freed, before the round ends
    if (q->done) return;
    q->busy_us = sys_mono_us(sys) - q->busy_from_us;
    q->busy_from_us = 0;
}

// ---- bytes in -----------------------------------------------------------------------------------------------------------------
// The size in front of a frame. False = the connection was closed.
static bool begin_frame(struct conn *c) {
    const uint8_t *b = c->size_bytes;
    int32_t size = (int32_t)((uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
    const char *reason = NULL;
    bool stranger = c->listener->sasl && c->auth.state != AUTH_OPEN;
    size_t max = stranger ? c->home->door->security->sasl_receive_max : c->home->door->config.max_request_bytes;
    int32_t min = c->auth.state == AUTH_BARE_TOKENS ? 1 : 8;
    if (b[0] == 0x16 && b[1] == 3) reason = "TLS on a plaintext port";
    else if (memcmp(b, "GET ", 4) == 0 || memcmp(b, "POST", 4) == 0 || memcmp(b, "HEAD", 4) == 0) reason = "HTTP on the Kafka port";
    else if (size < min) reason = "frame size too small";
    else if ((size_t)size > max) reason = "frame too large";
    if (reason != NULL) {
        conn_close(c, reason);
        return false;
    }
    c->frame_size = (size_t)size;
    c->frame_have = 0;
    return true;
}

// Room for more of the frame. The whole size is reserved when it begins, so that what has begun can always end; the memory itself is taken in
// steps as bytes come in, so that a claim alone takes none. False = the loop's other frames leave no room: we go on when one is answered.
static void close_slow(void *arg);
static bool frame_room(struct conn *c) {
    if (c->frame_have < c->frame_cap) return true;
    struct door_loop *dl = c->home;
    if (c->frame_cap == 0) {
        if (dl->frame_bytes > 0 && dl->frame_bytes + c->frame_size > dl->door->config.frame_bytes_max) {
            if (c->hungry) return false;
            c->hungry = true;
            c->next_hungry = dl->hungry;
            dl->hungry = c;
            if (dl->slow.heap_index == 0 && !dl->closing) loop_timer_set(dl->loop, &dl->slow, CONN_SLOW_US / 5, close_slow, dl);
            return false;
        }
        dl->frame_bytes += c->frame_size;
        c->frame_us = loop_now_us(dl->loop);
    }
    size_t cap = c->frame_cap == 0 ? CONN_FRAME_STEP : c->frame_cap * 2;
    if (cap > c->frame_size) cap = c->frame_size;
    c->frame = mem_realloc(c->frame, cap);
    c->frame_cap = cap;
    return true;
}

// Others wait for memory that requests which trickle in have reserved: those go.
static void close_slow(void *arg) {
    struct door_loop *dl = arg;
    int64_t now = loop_now_us(dl->loop);
    if (dl->hungry == NULL) return;
    for (struct conn *c = dl->conns, *next; c != NULL; c = next) {
        next = c->next;
        if (c->sock == NULL || c->frame_cap == 0 || c->muted || c->stash != NULL || now - c->frame_us < CONN_SLOW_US) continue;
        if ((int64_t)c->frame_have < (now - c->frame_us) / 1000000 * CONN_SLOW_RATE) conn_close(c, "too slow while others wait for memory");
    }
    if (dl->hungry != NULL && dl->freed) feed_hungry(dl);
    if (dl->hungry != NULL) loop_timer_set(dl->loop, &dl->slow, CONN_SLOW_US / 5, close_slow, dl);
}

static void feed_hungry(struct door_loop *dl) {
    struct conn *list = dl->hungry;
    dl->hungry = NULL;
    dl->freed = false;
    while (list != NULL) {
        struct conn *c = list;
        list = c->next_hungry;
        c->hungry = false;
        conn_mark_dirty(c);
    }
}

// The frame is complete: start it or park it. False = the connection was closed.
static bool end_frame(struct conn *c) {
    uint8_t *frame = c->frame;
    size_t n = c->frame_size;
    c->frame = NULL;
    c->frame_cap = c->size_have = 0;
    struct kafka_req *q = c->auth.state == AUTH_BARE_TOKENS ? bare_token(c, frame, n) : req_parse(c, frame, n);
    if (q == NULL) return false;
    if (may_start(c, q)) req_start(c, q);
    else c->parked = q;
    return c->sock != NULL;
}

// Cuts bytes into frames; returns how many were used. Stops at a parked request, at want of memory, or when closed.
static size_t take_bytes(struct conn *c, const uint8_t *p, size_t n) {
    size_t used = 0;
    while (c->sock != NULL && c->parked == NULL && used < n) {
        if (c->size_have < 4) {
            c->size_bytes[c->size_have++] = p[used++];
            if (c->size_have == 4 && !begin_frame(c)) break;
            continue;
        }
        if (!frame_room(c)) break;
        size_t part = c->frame_cap - c->frame_have;
        if (part > n - used) part = n - used;
        memcpy(c->frame + c->frame_have, p + used, part);
        c->frame_have += part;
        used += part;
        if (c->frame_have == c->frame_size && !end_frame(c)) break;
    }
    return used;
}

static void keep_rest(struct conn *c, const uint8_t *p, size_t n) {
    if (n == 0 || c->sock == NULL) return;
    assert(c->stash == NULL);
    c->stash = mem_alloc(n);
    memcpy(c->stash, p, n);
    c->stash_n = n;
    c->stash_at = 0;
}

static void take_stash(struct conn *c) {
    if (c->stash == NULL) return;
    uint8_t *stash = c->stash;
    size_t n = c->stash_n, at = c->stash_at;
    c->stash = NULL; // closing inside frees what the connection has
    size_t used = take_bytes(c, stash + at, n - at);
    if (c->sock == NULL || at + used == n) {
        mem_free(stash);
        return;
    }
    c->stash = stash;
    c->stash_n = n;
    c->stash_at = at + used;
}

// One receive. Returns bytes, 0 = nothing now, -1 = closed.
static int64_t receive(struct conn *c) {
    struct door_loop *dl = c->home;
    struct err err = {0};
    if (c->refused) return drop_refused(c);
    bool direct = c->size_have == 4 && c->frame_size - c->frame_have >= CONN_SCRATCH / 4;
    if (direct && !frame_room(c)) return 0;
    uint8_t *to = direct ? c->frame + c->frame_have : dl->scratch;
    size_t room = direct ? c->frame_cap - c->frame_have : CONN_SCRATCH;
    int64_t n = c->tls == NULL ? sys_sock_recv(c->sock, to, room, &err) : recv_tls(c, to, room, &err);
    if (c->tls != NULL && !c->tls_ready && tls_established(c->tls) && !tls_established_now(c)) return -1;
    if (n < 0 && err.code == ERR_BUSY) return 0;
    if (c->refused) {
        refuse_handshake(c);
        return 0;
    }
    if (n <= 0) {
        bool middle = n == 0 && (c->size_have > 0 || c->parked != NULL);
        bool handshake = c->tls != NULL && !c->tls_ready && n < 0;
        conn_close(c, middle ? "closed in the middle of a request" : handshake ? "TLS handshake failed" : NULL);
        return -1;
    }
    c->last_us = loop_now_us(dl->loop);
    if (!direct) {
        size_t used = take_bytes(c, dl->scratch, (size_t)n);
        keep_rest(c, dl->scratch + used, (size_t)n - used);
        return c->sock == NULL ? -1 : n < CONN_SCRATCH ? 0 : n;
    }
    c->frame_have += (size_t)n;
    if (c->frame_have == c->frame_size && !end_frame(c)) return -1;
    return n;
}

static bool may_read(const struct conn *c) {
    if (c->tls != NULL && tls_out(c->tls).n > CONN_TLS_OUT_MAX) return false; // it asks and does not read
    return !c->last && !c->muted && c->parked == NULL && c->stash == NULL && !c->hungry;
}

static void watch_what_matters(struct conn *c) {
    bool unsent = (c->head != NULL && c->head->done) || (c->tls != NULL && tls_out(c->tls).n > 0);
    int events = (may_read(c) ? SYS_EV_READ : 0) | (unsent ? SYS_EV_WRITE : 0);
    if (events != c->watch.events) loop_watch_change(c->home->loop, &c->watch, events);
}

// Everything that can be done now: start what waited, cut stashed bytes, read, send; then say what to be woken for.
static void pump_round(struct conn *c, bool readable) {
    if (c->parked != NULL && may_start(c, c->parked)) {
        struct kafka_req *q = c->parked;
        c->parked = NULL;
        req_start(c, q);
    }
    if (c->sock != NULL && c->parked == NULL && !c->muted) take_stash(c);
    size_t total = 0;
    readable |= c->tls != NULL && tls_holds_input(c->tls); // the socket does not tell of what we have taken from it already
    while (readable && c->sock != NULL && may_read(c) && total < CONN_READ_ROUND) {
        int64_t n = receive(c);
        if (n <= 0) break;
        total += (size_t)n;
    }
}

static void conn_pump_events(struct conn *c, bool readable) {
    struct door_loop *dl = c->home;
    assert(!c->pumping);
    c->pumping = true;
    for (;;) {
        pump_round(c, readable);
        if (c->sock == NULL || !conn_send(c)) break;
        readable = false;
        bool more = (c->parked != NULL && may_start(c, c->parked)) || (c->parked == NULL && c->stash != NULL && !c->hungry && !c->muted);
        if (!more) break;
    }
    c->pumping = false;
    if (dl->hungry != NULL && dl->freed) feed_hungry(dl);
    if (c->sock == NULL) {
        conn_mark_dirty(c);
        return;
    }
    watch_what_matters(c);
    if (c->tls != NULL && may_read(c) && tls_holds_input(c->tls)) conn_mark_dirty(c); // more than one round takes
}

static void conn_pump(struct conn *c) { conn_pump_events(c, false); }

static void conn_ready(struct loop_watch *w, int events) {
    struct conn *c = w->arg;
    if ((events & SYS_EV_CLOSED) != 0 && !may_read(c)) { // the peer is gone while we do not read: nobody waits for the answers
        conn_close(c, NULL);
        return;
    }
    conn_pump_events(c, (events & (SYS_EV_READ | SYS_EV_CLOSED)) != 0);
}

// "127.0.0.1" of "127.0.0.1:9092", "::1" of "[::1]:9092"; an IPv4 address inside of an IPv6 one is itself.
void conn_host_of(const char *peer, char out[64]) {
    struct str s = str_c(peer);
    while (s.n > 0 && s.p[s.n - 1] != ':') s.n--;
    if (s.n > 0) s.n--;
    if (s.n >= 2 && s.p[0] == '[') s = str_n(s.p + 1, s.n - 2);
    if (str_starts(s, STR("::ffff:")) && memchr(s.p, '.', s.n) != NULL) s = str_n(s.p + 7, s.n - 7);
    if (s.n > 63) s.n = 63;
    memcpy(out, s.p, s.n);
    out[s.n] = 0;
}

void conn_open(struct door_loop *dl, struct listener *l, struct sys_sock *sock, const char *peer) {
    struct err err = {0};
    struct conn *c = MEM_NEW(struct conn);
    c->home = dl;
    c->sock = sock;
    size_t n = strlen(peer);
    if (n >= sizeof c->peer) n = sizeof c->peer - 1;
    memcpy(c->peer, peer, n);
    conn_host_of(c->peer, c->host);
    c->listener = l;
    c->opened_us = c->last_us = loop_now_us(dl->loop);
    conn_auth_init(&c->auth, l);
    if (dl->closing || loop_watch_sock(dl->loop, &c->watch, sock, SYS_EV_READ, conn_ready, c, &err) != ERR_OK) {
        if (!dl->closing) log_error("kafka", "cannot watch a connection", "peer", peer, "error", err.msg, NULL);
        sys_sock_close(sock);
        atomic_fetch_sub(&dl->door->connections, 1);
        admission_give(dl->door->admission, c->host);
        conn_auth_fini(&c->auth, dl->loop);
        mem_free(c);
        return;
    }
    if (l->tls) c->tls = listener_tls(l);
    c->next = dl->conns;
    if (c->next != NULL) c->next->prev = c;
    dl->conns = c;
    dl->n_conns++;
    metric_add(M_KAFKA_CONNECTIONS, NULL, 1);
    metric_add(M_KAFKA_LISTENER_CONNECTIONS, l->name, 1);
}
