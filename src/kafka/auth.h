// SPDX-License-Identifier: Apache-2.0
// Inside kafka only: where a connection is on its way from stranger to principal. Owner: the connection's loop.
//
// On a SASL listener: ApiVersions and SaslHandshake, then tokens (in SaslAuthenticate requests, or bare after a handshake of version 0), then all
// APIs. A logged-in connection may begin anew with SaslHandshake (KIP-368) and must, when its session has a lifetime.
#ifndef KAFKA_AUTH_H
#define KAFKA_AUTH_H

#include "kafka/listener.h"

enum auth_state { AUTH_OPEN, AUTH_HANDSHAKE, AUTH_TOKENS, AUTH_BARE_TOKENS, AUTH_REFUSED };

struct conn_auth {
    enum auth_state state;
    char *principal; // "User:alice"
    struct sasl *sasl;
    bool again;      // re-authentication
    bool by_token;   // logged in with a delegation token
    int mechanism;   // of the last log-in; -1 = none yet
    int64_t again_us, ends_us; // monotonic: when the last re-authentication began, 0 = none yet; when the session ends, 0 = never
    struct loop_timer delay;   // of the answer to a refused log-in
    struct kafka_req *delayed;
};
void conn_auth_init(struct conn_auth *a, const struct listener *l);
void conn_auth_fini(struct conn_auth *a, struct loop *loop);
// Why a request of that API cannot be taken now; NULL = it can. Static texts.
const char *conn_auth_refusal(const struct conn_auth *a, int api_key, int64_t now_us);
// TLS is established: who is it? False = a certificate that no rule maps.
bool conn_auth_by_certificate(struct conn_auth *a, const struct listener *l, const struct tls *t);

#endif
