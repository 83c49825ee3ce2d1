// SPDX-License-Identifier: Apache-2.0
// SaslHandshake, SaslAuthenticate, and the states between them. All on the connection's loop; nothing here blocks: a step costs some HMACs or the
// check of one signature (at most 0.2 ms).
#include "kafka/auth.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/metrics.h"
#include "kafka/conn.h"
#include "kafka/security.h"

enum { AGAIN_MIN_US = 1000000 }; // no re-authentication more than once a second on one connection; a short token may ask for the first one at any time

static const char anonymous[] = "User:ANONYMOUS";

void conn_auth_init(struct conn_auth *a, const struct listener *l) {
    *a = (struct conn_auth){.state = l->sasl ? AUTH_HANDSHAKE : AUTH_OPEN, .mechanism = -1};
    a->principal = mem_strdup(anonymous);
}

void conn_auth_fini(struct conn_auth *a, struct loop *loop) {
    loop_timer_cancel(loop, &a->delay);
    sasl_free(a->sasl);
    a->sasl = NULL;
    mem_free(a->principal);
    a->principal = NULL;
}

const char *conn_auth_refusal(const struct conn_auth *a, int api_key, int64_t now_us) {
    switch (a->state) {
    case AUTH_OPEN:
        if (a->ends_us != 0 && now_us > a->ends_us && api_key != KAFKA_API_SASL_HANDSHAKE) return "session expired without re-authentication";
        return NULL;
    case AUTH_HANDSHAKE: return api_key == KAFKA_API_API_VERSIONS || api_key == KAFKA_API_SASL_HANDSHAKE ? NULL : "unexpected request during SASL handshake";
    case AUTH_TOKENS: return api_key == KAFKA_API_SASL_AUTHENTICATE ? NULL : "unexpected request during SASL authentication";
    case AUTH_BARE_TOKENS:
    case AUTH_REFUSED: break;
    }
    return "request after a refused log-in";
}

bool conn_auth_by_certificate(struct conn_auth *a, const struct listener *l, const struct tls *t) {
    struct buf subject, name;
    if (l->sasl) return true; // SASL says who it is
    buf_init(&subject, 1 << 16);
    buf_init(&name, 1 << 16);
    bool ok = true;
    if (tls_peer_subject(t, &subject)) {
        ok = principal_map(&l->rules, buf_str(&subject), &name) && name.n > 0;
        if (ok) {
            mem_free(a->principal);
            a->principal = mem_printf("User:%s", buf_cstr(&name));
        } else log_warn("kafka", "no rule of ssl.principal.mapping.rules fits the certificate", "subject", buf_cstr(&subject), NULL);
    }
    buf_fini(&subject);
    buf_fini(&name);
    return ok;
}

// ---- refusing -----------------------------------------------------------------------------------------------------------
static void answer_late(void *arg) {
    struct conn_auth *a = arg;
    struct kafka_req *q = a->delayed;
    a->delayed = NULL;
    kafka_req_done(q); // closes when it has been sent
}

static void answer_now(struct kafka_req *q) {
    struct conn_auth *a = kafka_req_auth(q);
    loop_timer_cancel(kafka_req_loop(q), &a->delay);
    a->delayed = NULL;
    kafka_req_done(q);
}

// The answer is there: it is sent after a while, then the connection is closed. Guessing passwords shall take its time.
static void refuse(struct kafka_req *q, const char *reason) {
    struct conn_auth *a = kafka_req_auth(q);
    const struct listener *l = kafka_req_listener(q);
    log_warn("kafka", "log-in refused", "peer", kafka_req_peer(q), "listener", l->name, "reason", reason, NULL);
    metric_add(M_KAFKA_REJECTED, "log-in refused", 1);
    a->state = AUTH_REFUSED;
    kafka_req_close_after(q);
    if (q->bare) q->no_reply = true; // bare tokens have no way to say an error
    a->delayed = q;
    q->cancel = answer_now;
    loop_timer_set(kafka_req_loop(q), &a->delay, l->security->failed_delay_ms * 1000, answer_late, a);
}

// ---- SaslHandshake ------------------------------------------------------------------------------------------------------
void kafka_do_sasl_handshake(struct kafka_req *q) {
    const struct kafka_sasl_handshake_request *req = q->msg;
    struct kafka_sasl_handshake_response *res = q->res;
    struct conn_auth *a = kafka_req_auth(q);
    const struct listener *l = kafka_req_listener(q);
    int64_t now = sys_mono_us(loop_sys(kafka_req_loop(q)));
    bool again = a->state == AUTH_OPEN && l->sasl && a->ends_us != 0 && q->version >= 1 && (a->again_us == 0 || now - a->again_us >= AGAIN_MIN_US);
    if (a->state != AUTH_HANDSHAKE && !again) {
        res->error_code = KAFKA_ILLEGAL_SASL_STATE;
        kafka_req_done(q);
        return;
    }
    res->mechanisms.p = ARENA_ARRAY(&q->arena, struct str, SASL_N);
    res->mechanisms.n = 0;
    for (int m = 0; m < SASL_N; m++)
        if (l->mechanisms[m]) res->mechanisms.p[res->mechanisms.n++] = str_c(sasl_mechanism_name((enum sasl_mechanism)m));
    int m = sasl_mechanism_of(req->mechanism);
    if (m < 0 || !l->mechanisms[m] || (again && m != a->mechanism)) {
        res->error_code = KAFKA_UNSUPPORTED_SASL_MECHANISM;
        refuse(q, again ? "another mechanism than before" : "mechanism not enabled");
        return;
    }
    sasl_free(a->sasl);
    a->sasl = sasl_new(&l->server, (enum sasl_mechanism)m);
    a->again = again;
    if (again) a->again_us = now;
    a->state = q->version == 0 ? AUTH_BARE_TOKENS : AUTH_TOKENS;
    kafka_req_done(q);
}

// ---- SaslAuthenticate ---------------------------------------------------------------------------------------------------
// How long the session may last in ms, as KIP-368: the least of the credential's rest and connections.max.reauth.ms; 0 = for ever.
static int64_t session_ms(const struct listener *l, const struct sasl *s) {
    int64_t max = l->max_reauth_ms[sasl_which(s)], ends = sasl_expires_ms(s);
    if (ends < 0) return max;
    int64_t left = ends - l->server.now_ms(l->server.arg);
    if (left < 1) left = 1;
    return max == 0 || left < max ? left : max;
}

static void log_in(struct kafka_req *q, struct kafka_sasl_authenticate_response *res) {
    struct conn_auth *a = kafka_req_auth(q);
    const struct listener *l = kafka_req_listener(q);
    char *principal = mem_printf("User:%.*s", STR_ARG(sasl_user(a->sasl)));
    if (a->again && strcmp(principal, a->principal) != 0) {
        char *said = mem_printf("Cannot change principals during re-authentication from User.%s: User.%s", a->principal + 5, principal + 5);
        mem_free(principal);
        res->error_code = KAFKA_SASL_AUTHENTICATION_FAILED;
        res->error_message = str_c(arena_strdup(&q->arena, said));
        mem_free(said);
        res->auth_bytes = STR("");
        refuse(q, "another principal than before");
        return;
    }
    int64_t now = sys_mono_us(loop_sys(kafka_req_loop(q))), lasts = session_ms(l, a->sasl);
    a->ends_us = lasts > 0 ? now + lasts * 1000 : 0; // a token's end counts without connections.max.reauth.ms too
    res->session_lifetime_ms = lasts;
    mem_free(a->principal);
    a->principal = principal;
    a->mechanism = (int)sasl_which(a->sasl);
    a->by_token = sasl_by_token(a->sasl);
    sasl_free(a->sasl);
    a->sasl = NULL;
    a->state = AUTH_OPEN;
    log_debug("kafka", "logged in", "peer", kafka_req_peer(q), "principal", principal, "listener", l->name, NULL);
    kafka_req_done(q);
}

void kafka_do_sasl_authenticate(struct kafka_req *q) {
    const struct kafka_sasl_authenticate_request *req = q->msg;
    struct kafka_sasl_authenticate_response *res = q->res;
    struct conn_auth *a = kafka_req_auth(q);
    struct err err = {0};
    if (a->state != AUTH_TOKENS && a->state != AUTH_BARE_TOKENS) {
        res->error_code = KAFKA_ILLEGAL_SASL_STATE;
        res->error_message = STR("SaslAuthenticate request received after successful authentication");
        kafka_req_done(q);
        return;
    }
    switch (sasl_step(a->sasl, req->auth_bytes, &q->arena, &res->auth_bytes, &err)) {
    case SASL_MORE: kafka_req_done(q); return;
    case SASL_DONE: log_in(q, res); return;
    case SASL_FAILED: break;
    }
    res->auth_bytes = STR("");
    res->error_code = KAFKA_SASL_AUTHENTICATION_FAILED;
    res->error_message = str_c(arena_strdup(&q->arena, err.msg));
    refuse(q, err.msg);
}
