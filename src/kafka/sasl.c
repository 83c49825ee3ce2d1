// SPDX-License-Identifier: Apache-2.0
// One state machine of at most two steps per mechanism.
//
// What is refused is refused in the same words whether the user is unknown or the password wrong, and SCRAM goes through both its steps for users
// that do not exist (with a salt that is always the same for a name), so that nobody learns who has an account.
#include "kafka/sasl.h"

#include <assert.h>

#include "codec/digest.h"
#include "codec/json.h"

enum { NONCE_BYTES = 24, USER_MAX = 1024 };

struct sasl {
    const struct sasl_server *server;
    enum sasl_mechanism mechanism;
    int step;
    struct arena arena; // of what lasts from step to step
    struct scram_first first;
    struct scram_credential credential;
    bool known, over;
    struct str server_first, server_nonce, user, refusal;
    int64_t expires_ms;
};

static const char *const names[SASL_N] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"};
const char *sasl_mechanism_name(enum sasl_mechanism m) { return names[m]; }
int sasl_mechanism_of(struct str name) {
    for (int i = 0; i < SASL_N; i++)
        if (str_eqc(name, names[i])) return i;
    return -1;
}

struct sasl *sasl_new(const struct sasl_server *server, enum sasl_mechanism m) {
    struct sasl *s = MEM_NEW(struct sasl);
    s->server = server;
    s->mechanism = m;
    s->expires_ms = -1;
    arena_init(&s->arena);
    return s;
}

void sasl_free(struct sasl *s) {
    if (s == NULL) return;
    arena_fini(&s->arena);
    mem_free(s);
}

enum sasl_mechanism sasl_which(const struct sasl *s) { return s->mechanism; }
struct str sasl_user(const struct sasl *s) { return s->user; }
int64_t sasl_expires_ms(const struct sasl *s) { return s->expires_ms; }
bool sasl_by_token(const struct sasl *s) { return s->first.token_auth; }

static enum sasl_result fail(struct err *err, const char *text) {
    err_set(err, ERR_UNAUTHENTICATED, "%s", text);
    return SASL_FAILED;
}

// ---- PLAIN --------------------------------------------------------------------------------------------------------------
bool sasl_plain_parse(struct str token, struct str *authzid, struct str *user, struct str *password) {
    struct str rest;
    if (!str_cut(token, 0, authzid, &rest) || !str_cut(rest, 0, user, password)) return false;
    return user->n > 0 && user->n <= USER_MAX && password->n > 0 && memchr(password->p, 0, password->n) == NULL && str_utf8_ok(*user);
}

static enum sasl_result plain_step(struct sasl *s, struct str token, struct err *err) {
    struct str authzid, user, password;
    if (!sasl_plain_parse(token, &authzid, &user, &password))
        return fail(err, "Invalid SASL/PLAIN response: expected an authorization id, a user name and a password");
    if (!s->server->plain_ok(s->server->arg, user, password)) return fail(err, "Authentication failed: Invalid username or password");
    if (authzid.n > 0 && !str_eq(authzid, user))
        return fail(err, "Authentication failed: Client requested an authorization id that is different from username");
    s->user = arena_str(&s->arena, user);
    return SASL_DONE;
}

// ---- SCRAM --------------------------------------------------------------------------------------------------------------
// Keys that nobody has, for a user that is not there.
static void unknown_user(struct sasl *s, enum scram_hash h) {
    uint8_t secret[32], salt[32];
    digest_sha256(STR("millrace scram salt of nobody"), secret);
    digest_hmac_sha256(str_n(secret, sizeof secret), s->first.user, salt);
    s->credential = (struct scram_credential){.hash = h, .iterations = SCRAM_MIN_ITERATIONS, .salt_n = 18};
    memcpy(s->credential.salt, salt, 18);
    s->server->random(s->server->arg, s->credential.stored_key, sizeof s->credential.stored_key);
}

static enum sasl_result scram_begin(struct sasl *s, struct str token, struct str *answer, struct err *err) {
    enum scram_hash h = s->mechanism == SASL_SCRAM_SHA_256 ? SCRAM_SHA_256 : SCRAM_SHA_512;
    if (!scram_parse_first(arena_str(&s->arena, token), &s->arena, &s->first)) return fail(err, "Invalid SCRAM client first message");
    const struct scram_first *f = &s->first;
    if (f->authzid.p != NULL && !str_eq(f->authzid, f->user))
        return fail(err, "Authentication failed: Client requested an authorization id that is different from username");
    s->known = f->user.n <= USER_MAX && s->server->scram_find(s->server->arg, f->user, h, f->token_auth, &s->arena, &s->credential, &s->user, &s->expires_ms);
    if (!s->known) unknown_user(s, h);
    if (!f->token_auth) s->user = f->user;
    uint8_t raw[NONCE_BYTES];
    struct buf b;
    buf_init(&b, 256);
    s->server->random(s->server->arg, raw, sizeof raw);
    base64url_encode(str_n(raw, sizeof raw), &b);
    s->server_nonce = arena_str(&s->arena, buf_str(&b));
    buf_fini(&b);
    *answer = s->server_first = scram_server_first(f, s->server_nonce, &s->credential, &s->arena);
    return SASL_MORE;
}

static enum sasl_result scram_end(struct sasl *s, struct str token, struct str *answer, struct err *err) {
    struct scram_final final;
    bool ok = scram_parse_final(arena_str(&s->arena, token), &s->arena, &final) &&
              scram_check(&s->first, s->server_first, s->server_nonce, &final, &s->credential, &s->arena, answer);
    if (ok && s->known) return SASL_DONE;
    err_set(err, ERR_UNAUTHENTICATED, "Authentication failed during authentication due to invalid credentials with SASL mechanism %s", names[s->mechanism]);
    return SASL_FAILED;
}

// ---- OAUTHBEARER --------------------------------------------------------------------------------------------------------
// gs2-header kvsep *(key "=" value kvsep) kvsep, with kvsep = 0x01.
bool sasl_oauth_parse(struct str token, struct str *authzid, struct str *bearer) {
    struct str head, rest, one;
    *authzid = *bearer = (struct str){NULL, 0};
    if (token.n > SCRAM_MESSAGE_MAX || !str_cut(token, 1, &head, &rest) || !str_starts(head, STR("n,")) || !str_ends(head, STR(","))) return false;
    if (head.n > 3) {
        if (head.n < 6 || memcmp(head.p + 2, "a=", 2) != 0) return false;
        *authzid = str_n(head.p + 4, head.n - 5);
    }
    bool ended = false;
    while (rest.n > 0) {
        if (!str_cut(rest, 1, &one, &rest)) return false;
        if (one.n == 0) {
            ended = rest.n == 0;
            break;
        }
        struct str key, value, scheme, text;
        if (!str_cut(one, '=', &key, &value)) return false;
        if (!str_eq(key, STR("auth"))) continue; // extensions
        if (bearer->p != NULL || !str_cut(value, ' ', &scheme, &text) || !str_ieq(scheme, STR("bearer"))) return false;
        *bearer = str_trim(text);
    }
    return ended && bearer->n > 0;
}

static bool audience_ok(const char *wanted, const json_t *aud) {
    struct str rest = str_c(wanted), one;
    while (rest.n > 0) {
        str_cut(rest, ',', &one, &rest);
        one = str_trim(one);
        if (one.n > 0 && str_eq(json_str(aud), one)) return true;
        for (size_t i = 0; one.n > 0 && json_is_array(aud) && i < json_array_size(aud); i++)
            if (str_eq(json_str(json_array_get(aud, i)), one)) return true;
    }
    return false;
}

static bool number_claim(const json_t *claims, const char *name, double *out) {
    const json_t *v = json_object_get(claims, name);
    if (!json_is_number(v)) return false;
    *out = json_number_value(v);
    return *out > -1e12 && *out < 1e12;
}

bool sasl_oauth_claims(const struct sasl_oauth *o, const json_t *claims, int64_t now_ms, struct str *user, int64_t *expires_ms, struct err *err) {
    double now = (double)now_ms / 1000, skew = (double)o->skew_s, exp, at;
    const char *why = NULL;
    *user = json_get_str(claims, o->sub_claim);
    if (!number_claim(claims, "exp", &exp)) why = "the token has no expiration time (exp)";
    else if (exp + skew <= now) why = "the token is no longer good (exp)";
    else if (number_claim(claims, "nbf", &at) && at - skew > now) why = "the token is not yet good (nbf)";
    else if (number_claim(claims, "iat", &at) && at - skew > now) why = "the token was issued in the future (iat)";
    else if (o->issuer != NULL && !str_eqc(json_get_str(claims, "iss"), o->issuer)) why = "the token's issuer (iss) is not the one expected";
    else if (o->audiences != NULL && !audience_ok(o->audiences, json_object_get(claims, "aud"))) why = "the token is for another audience (aud)";
    else if (user->n == 0 || user->n > USER_MAX || memchr(user->p, 0, user->n) != NULL) why = "the token names no subject";
    if (why == NULL) {
        *expires_ms = (int64_t)(exp * 1000);
        return true;
    }
    err_set(err, ERR_UNAUTHENTICATED, "%s", why);
    return false;
}

static enum sasl_result oauth_step(struct sasl *s, struct str token, struct arena *a, struct str *answer, struct err *err) {
    struct str authzid, bearer, user;
    if (!sasl_oauth_parse(token, &authzid, &bearer)) return fail(err, "Invalid OAUTHBEARER client first message");
    json_t *claims = s->server->jwt_claims(s->server->arg, bearer, err);
    bool ok = claims != NULL && sasl_oauth_claims(&s->server->oauth, claims, s->server->now_ms(s->server->arg), &user, &s->expires_ms, err);
    if (ok && authzid.n > 0 && !str_eq(authzid, user)) {
        err_set(err, ERR_UNAUTHENTICATED, "Authentication failed: Client requested an authorization id that is different from the token's principal name");
        ok = false;
    }
    if (ok) s->user = arena_str(&s->arena, user);
    json_decref(claims);
    if (ok) return SASL_DONE;
    *answer = str_c(arena_strdup(a, "{\"status\":\"invalid_token\"}")); // RFC 7628, 3.2.2: the client answers with one byte, then it is over
    s->refusal = str_c(arena_strdup(&s->arena, err->msg));
    return SASL_MORE;
}

// ---- all ----------------------------------------------------------------------------------------------------------------
enum sasl_result sasl_step(struct sasl *s, struct str token, struct arena *a, struct str *answer, struct err *err) {
    int step = s->step++;
    *answer = STR("");
    assert(!s->over);
    enum sasl_result r = SASL_FAILED;
    switch (s->mechanism) {
    case SASL_PLAIN: r = plain_step(s, token, err); break;
    case SASL_SCRAM_SHA_256:
    case SASL_SCRAM_SHA_512: r = step == 0 ? scram_begin(s, token, answer, err) : scram_end(s, token, answer, err); break;
    case SASL_OAUTHBEARER: r = step == 0 ? oauth_step(s, token, a, answer, err) : fail(err, s->refusal.p); break;
    case SASL_N: break;
    }
    s->over = r != SASL_MORE;
    if (answer->n > 0) *answer = arena_str(a, *answer); // it outlives the struct
    return r;
}
