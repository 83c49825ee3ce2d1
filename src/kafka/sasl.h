// SPDX-License-Identifier: Apache-2.0
// SASL mechanisms, the server's side: tokens in, tokens out, who it is in the end. PLAIN (RFC 4616), SCRAM (RFC 5802), OAUTHBEARER (RFC 7628).
//
// A struct sasl is one authentication, of one connection's loop; it asks the callbacks of struct sasl_server, which are for any thread. Nothing
// here knows Kafka's messages. Passwords and tokens are never logged.
#ifndef KAFKA_SASL_H
#define KAFKA_SASL_H

#include "base/err.h"
#include "base/mem.h"
#include "kafka/scram.h"

enum sasl_mechanism { SASL_PLAIN, SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_512, SASL_OAUTHBEARER, SASL_N };
const char *sasl_mechanism_name(enum sasl_mechanism m); // "SCRAM-SHA-256"
int sasl_mechanism_of(struct str name);                 // -1 = none of these

struct jwks;
struct sasl_oauth { // sasl.oauthbearer.*; texts are the listener's
    const char *sub_claim, *scope_claim; // "sub", "scope"
    const char *issuer;                  // NULL = any
    const char *audiences;               // separated by commas; NULL = any
    int64_t skew_s;
};

struct sasl_server {
    void *arg;
    // The user's password for PLAIN; false = no such user.
    bool (*plain_ok)(void *arg, struct str user, struct str password);
    // A user's keys, or with `token` those of a delegation token's id (then *owner is whose it is, and *expires_ms when it ends). False = none.
    bool (*scram_find)(void *arg, struct str user, enum scram_hash h, bool token, struct arena *a, struct scram_credential *out, struct str *owner,
                       int64_t *expires_ms);
    // The claims of a token whose signature is right; NULL = refused, err says why. Free with json_decref.
    struct json_t *(*jwt_claims)(void *arg, struct str token, struct err *err);
    void (*random)(void *arg, void *p, size_t n);
    int64_t (*now_ms)(void *arg);
    struct sasl_oauth oauth;
};

struct sasl;
enum sasl_result { SASL_MORE, SASL_DONE, SASL_FAILED };

struct sasl *sasl_new(const struct sasl_server *server, enum sasl_mechanism m); // the server lives longer
void sasl_free(struct sasl *s);
// One token of the client. *answer (in the arena) goes back in any case but SASL_FAILED; then err->msg is what the client may be told.
enum sasl_result sasl_step(struct sasl *s, struct str token, struct arena *a, struct str *answer, struct err *err);
enum sasl_mechanism sasl_which(const struct sasl *s);
// After SASL_DONE. Texts are the struct's.
struct str sasl_user(const struct sasl *s);
int64_t sasl_expires_ms(const struct sasl *s); // wall clock; -1 = the credential has no end
bool sasl_by_token(const struct sasl *s);      // a delegation token was used

// The parsers, for tests and fuzzing.
bool sasl_plain_parse(struct str token, struct str *authzid, struct str *user, struct str *password);
bool sasl_oauth_parse(struct str token, struct str *authzid, struct str *bearer);
// Checks times, issuer, audience and names the user. False: err says why.
bool sasl_oauth_claims(const struct sasl_oauth *o, const struct json_t *claims, int64_t now_ms, struct str *user, int64_t *expires_ms, struct err *err);

#endif
