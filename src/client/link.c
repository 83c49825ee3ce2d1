// SPDX-License-Identifier: Apache-2.0
// A socket, a poll for it, and TLS between them and the caller. What TLS has not used of a received piece stays in `piece`, which tls_feed borrows.
#include "client/link.h"

#include "codec/tls.h"

enum { CONNECT_MS = 5000, HANDSHAKE_US = 10 * 1000000, PIECE = 64 << 10 };

struct link {
    struct sys *sys;
    const char *host;
    int port;
    struct sys_sock *sock;
    struct sys_poll *poll;
    struct tls *tls; // NULL = plaintext
    uint8_t piece[PIECE];
};

static enum err_code wait_for(struct link *l, int events, int64_t until, struct err *err) {
    int64_t left = until - sys_mono_us(l->sys);
    struct sys_event ev;
    if (sys_poll_sock(l->poll, l->sock, events, l, err) != ERR_OK) return err->code;
    if (left > 0 && sys_poll_wait(l->poll, &ev, 1, left) > 0) return ERR_OK;
    if (left > 0) return ERR_OK; // woken for nothing: the caller tries again
    return err_set(err, ERR_TIMEOUT, "no answer from %s:%d", l->host, l->port);
}

static enum err_code send_all(struct link *l, struct str bytes, int64_t until, struct err *err) {
    while (bytes.n > 0) {
        struct sys_iov iov = {bytes.p, bytes.n};
        int64_t sent = sys_sock_send(l->sock, &iov, 1, err);
        if (sent < 0 && err->code != ERR_BUSY) return err->code;
        if (sent < 0 && wait_for(l, SYS_EV_WRITE, until, err) != ERR_OK) return err->code;
        if (sent > 0) bytes = str_n(bytes.p + sent, bytes.n - (size_t)sent);
    }
    return ERR_OK;
}

// What came, at least one byte.
static int64_t recv_some(struct link *l, uint8_t *p, size_t size, int64_t until, struct err *err) {
    for (;;) {
        int64_t got = sys_sock_recv(l->sock, p, size, err);
        if (got > 0) return got;
        if (got == 0) err_set(err, ERR_CLOSED, "%s:%d closed the connection", l->host, l->port);
        else if (err->code == ERR_BUSY && wait_for(l, SYS_EV_READ, until, err) == ERR_OK) continue;
        return -1;
    }
}

// ---- TLS ----------------------------------------------------------------------------------------------------------------
static enum err_code flush(struct link *l, int64_t until, struct err *err) {
    struct str out = tls_out(l->tls);
    if (send_all(l, out, until, err) != ERR_OK) return err->code;
    if (out.n > 0) tls_sent(l->tls, out.n);
    return ERR_OK;
}

// One call of tls_read, with the bytes that it asks for. 0 = it got on without plain bytes.
static int64_t read_step(struct link *l, uint8_t *p, size_t size, int64_t until, struct err *err) {
    struct err why = {0}, ignored = {0};
    int64_t got = tls_read(l->tls, p, size, &why);
    enum err_code sent = flush(l, until, got < 0 && why.code != ERR_BUSY ? &ignored : err); // an alert, too
    if (got == 0) err_set(err, ERR_CLOSED, "%s:%d closed the connection", l->host, l->port);
    else if (got < 0 && why.code != ERR_BUSY) err_set(err, ERR_DENIED, "%s:%d: %s", l->host, l->port, why.msg); // an alert may come late
    if (got == 0 || (got < 0 && why.code != ERR_BUSY) || sent != ERR_OK) return -1;
    return got > 0 ? got : 0;
}

static enum err_code feed(struct link *l, int64_t until, struct err *err) {
    int64_t n = recv_some(l, l->piece, sizeof l->piece, until, err);
    if (n < 0) return err->code;
    tls_feed(l->tls, l->piece, (size_t)n);
    return ERR_OK;
}

static enum err_code handshake(struct link *l, struct err *err) {
    int64_t until = sys_mono_us(l->sys) + HANDSHAKE_US;
    uint8_t none[1];
    enum err_code code = ERR_OK;
    while (code == ERR_OK && !tls_established(l->tls)) {
        if (read_step(l, none, 0, until, err) < 0) code = err->code;
        else if (!tls_established(l->tls)) code = feed(l, until, err);
    }
    return code;
}

// ---- the calls ------------------------------------------------------------------------------------------------------------
struct link *link_open(struct sys *s, const char *host, int port, const struct client_security *security, struct err *err) {
    struct link *l = MEM_NEW(struct link);
    *l = (struct link){.sys = s, .host = host, .port = port};
    l->sock = sys_connect(s, host, port, CONNECT_MS, err);
    l->poll = l->sock == NULL ? NULL : sys_poll_new(s, err);
    bool ok = l->poll != NULL;
    if (ok && security != NULL && security->tls != NULL) {
        l->tls = tls_client_new(security->tls, host, security->check_host);
        ok = handshake(l, err) == ERR_OK;
    }
    if (ok) return l;
    link_close(l);
    return NULL;
}

void link_close(struct link *l) {
    if (l == NULL) return;
    struct err ignored = {0};
    if (l->tls != NULL) {
        tls_end(l->tls);
        (void)flush(l, 0, &ignored); // as much as goes out at once
        tls_free(l->tls);
    }
    if (l->poll != NULL) sys_poll_free(l->poll);
    if (l->sock != NULL) sys_sock_close(l->sock);
    mem_free(l);
}

enum err_code link_send(struct link *l, struct str bytes, int64_t until_us, struct err *err) {
    if (l->tls == NULL) return send_all(l, bytes, until_us, err);
    enum { STEP = 1 << 20 }; // what waits encrypted is no more
    while (bytes.n > 0) {
        size_t n = bytes.n < STEP ? bytes.n : STEP;
        if (tls_write(l->tls, bytes.p, n, err) != ERR_OK || flush(l, until_us, err) != ERR_OK) return err->code;
        bytes = str_n(bytes.p + n, bytes.n - n);
    }
    return ERR_OK;
}

enum err_code link_recv(struct link *l, uint8_t *p, size_t size, int64_t until_us, struct err *err) {
    for (size_t have = 0; have < size;) {
        int64_t got = l->tls == NULL ? recv_some(l, p + have, size - have, until_us, err) : read_step(l, p + have, size - have, until_us, err);
        if (got < 0) return err->code;
        have += (size_t)got;
        if (got == 0 && feed(l, until_us, err) != ERR_OK) return err->code;
    }
    return ERR_OK;
}
