// SPDX-License-Identifier: Apache-2.0
// CreateDelegationToken, RenewDelegationToken, ExpireDelegationToken, DescribeDelegationToken.
//
// Making and changing tokens runs on the broker's pool (key derivation and a synced file); all is durable when answered. Tokens that are over are removed when
// one is made. Errors and who may what as Kafka's DelegationTokenManager and KafkaApis have them.
#include "kafka/tokens.h"

#include <assert.h>

#include "codec/digest.h"
#include "kafka/auth.h"
#include "kafka/authorize.h"

enum { RENEWERS_MAX = 1000, TEXT_MAX = 4096, TOKENS_MAX = 100000, TOKEN_ITERATIONS = 4096, SALT_BYTES = 16 };

static const int64_t no_time = -1;

// ---- bytes --------------------------------------------------------------------------------------------------------------
static void put_text(struct buf *b, struct str s) {
    buf_put_be16(b, (uint16_t)s.n);
    buf_put_str(b, s);
}
static struct str take_text(struct rd *r, struct arena *a) {
    size_t n = rd_be16(r);
    const uint8_t *p = rd_bytes(r, n);
    return p == NULL ? STR("") : arena_str(a, str_n(p, n));
}

static struct str token_bytes(const struct token *t, struct arena *a) {
    struct buf b;
    buf_init(&b, 8 << 20);
    buf_put_be64(&b, (uint64_t)t->issued_ms);
    buf_put_be64(&b, (uint64_t)t->expires_ms);
    buf_put_be64(&b, (uint64_t)t->max_ms);
    put_text(&b, t->owner);
    put_text(&b, t->requester);
    buf_put_be16(&b, (uint16_t)t->n_renewers);
    for (size_t i = 0; i < t->n_renewers; i++) put_text(&b, t->renewers[i]);
    buf_put(&b, t->hmac, sizeof t->hmac);
    for (int i = 0; i < 2; i++) {
        const struct scram_credential *c = &t->keys[i];
        put_text(&b, str_n(c->salt, c->salt_n));
        buf_put(&b, c->stored_key, scram_key_size(c->hash));
        buf_put(&b, c->server_key, scram_key_size(c->hash));
    }
    struct str s = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return s;
}

static bool take_keys(struct rd *r, enum scram_hash h, struct scram_credential *c) {
    *c = (struct scram_credential){.hash = h, .iterations = TOKEN_ITERATIONS, .salt_n = rd_be16(r)};
    const uint8_t *salt = rd_bytes(r, c->salt_n), *stored = rd_bytes(r, scram_key_size(h)), *server = rd_bytes(r, scram_key_size(h));
    if (r->failed || c->salt_n > SCRAM_SALT_MAX) return false;
    memcpy(c->salt, salt, c->salt_n);
    memcpy(c->stored_key, stored, scram_key_size(h));
    memcpy(c->server_key, server, scram_key_size(h));
    return true;
}

static bool token_of(struct str id, struct str value, struct arena *a, struct token *t) {
    struct rd r = rd_of(value.p, value.n);
    *t = (struct token){.id = arena_str(a, id)};
    t->issued_ms = (int64_t)rd_be64(&r);
    t->expires_ms = (int64_t)rd_be64(&r);
    t->max_ms = (int64_t)rd_be64(&r);
    t->owner = take_text(&r, a);
    t->requester = take_text(&r, a);
    t->n_renewers = rd_be16(&r);
    if (r.failed || t->n_renewers > RENEWERS_MAX) return false;
    t->renewers = ARENA_ARRAY(a, struct str, t->n_renewers + 1);
    for (size_t i = 0; i < t->n_renewers; i++) t->renewers[i] = take_text(&r, a);
    const uint8_t *hmac = rd_bytes(&r, sizeof t->hmac);
    if (hmac != NULL) memcpy(t->hmac, hmac, sizeof t->hmac);
    return hmac != NULL && take_keys(&r, SCRAM_SHA_256, &t->keys[0]) && take_keys(&r, SCRAM_SHA_512, &t->keys[1]) && rd_left(&r) == 0;
}

bool token_find(struct security *s, struct str id, int64_t now_ms, struct arena *a, struct token *out) {
    struct str value;
    if (s->token_secret == NULL || !store_get(s->store, STORE_TOKEN, id, a, &value) || !token_of(id, value, a, out)) return false;
    return now_ms < out->expires_ms && now_ms < out->max_ms;
}

// ---- questions ----------------------------------------------------------------------------------------------------------
static int64_t now_of(const struct kafka_req *q) { return sys_now_us(kafka_req_security(q)->sys) / 1000; }

// Tokens are for those who have said who they are, and not by a token.
static int refusal(struct kafka_req *q) {
    const struct listener *l = kafka_req_listener(q);
    if (kafka_req_security(q)->token_secret == NULL) return KAFKA_DELEGATION_TOKEN_AUTH_DISABLED;
    bool stranger = !l->sasl && (!l->tls || strcmp(kafka_req_principal(q), "User:ANONYMOUS") == 0);
    return stranger || kafka_req_auth(q)->by_token ? KAFKA_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED : 0;
}

static bool may_renew(const struct token *t, struct str who) {
    for (size_t i = 0; i < t->n_renewers; i++)
        if (str_eq(t->renewers[i], who)) return true;
    return str_eq(t->owner, who);
}

static void split(struct str principal, struct str *type, struct str *name) { str_cut(principal, ':', type, name); }

// ---- CreateDelegationToken ----------------------------------------------------------------------------------------------
struct creating {
    struct token token;
    struct str password; // base64 of the HMAC
};

struct sweep {
    struct arena *arena;
    int64_t now_ms;
    struct store_change *changes;
    size_t n, max;
};
static void collect_over(void *arg, struct str key, struct str value) {
    struct sweep *w = arg;
    struct rd r = rd_of(value.p, value.n);
    (void)rd_be64(&r);
    if (w->n < w->max && (int64_t)rd_be64(&r) < w->now_ms) w->changes[w->n++] = (struct store_change){STORE_TOKEN, arena_str(w->arena, key), STR(""), true};
}

static void create(void *arg) { // on the pool
    struct kafka_req *q = arg;
    struct creating *c = q->state;
    struct security *s = kafka_req_security(q);
    struct kafka_create_delegation_token_response *res = q->res;
    struct token *t = &c->token;
    struct err err = {0};
    for (int i = 0; i < 2; i++) {
        uint8_t salt[SALT_BYTES];
        sys_random(s->sys, salt, sizeof salt);
        scram_credential_from_password(i == 0 ? SCRAM_SHA_256 : SCRAM_SHA_512, str_n(salt, sizeof salt), TOKEN_ITERATIONS, c->password, &t->keys[i]);
    }
    sys_mutex_lock(&s->change);
    struct sweep w = {.arena = &q->arena, .now_ms = t->issued_ms, .max = store_count(s->store, STORE_TOKEN)};
    w.changes = ARENA_ARRAY(&q->arena, struct store_change, w.max + 1);
    store_each(s->store, STORE_TOKEN, collect_over, &w);
    w.changes[w.n++] = (struct store_change){STORE_TOKEN, t->id, token_bytes(t, &q->arena), false};
    enum err_code code = w.max - (w.n - 1) >= TOKENS_MAX ? err_set(&err, ERR_BUSY, "there are too many tokens") : store_apply(s->store, w.changes, w.n, &err);
    sys_mutex_unlock(&s->change);
    res->error_code = (int16_t)(code == ERR_OK ? 0 : err_info(code)->kafka);
}

static void created(void *arg) {
    struct kafka_req *q = arg;
    const struct creating *c = q->state;
    struct kafka_create_delegation_token_response *res = q->res;
    const struct token *t = &c->token;
    if (res->error_code == 0) {
        res->issue_timestamp_ms = t->issued_ms;
        res->expiry_timestamp_ms = t->expires_ms;
        res->max_timestamp_ms = t->max_ms;
        res->token_id = t->id;
        res->hmac = str_n(t->hmac, sizeof t->hmac);
    }
    kafka_req_done(q);
}

static int check_create(struct kafka_req *q, const struct kafka_create_delegation_token_request *req, struct str owner) {
    int error = refusal(q);
    if (error != 0) return error;
    if (req->renewers.n > RENEWERS_MAX || owner.n > TEXT_MAX) return KAFKA_INVALID_REQUEST;
    for (int32_t i = 0; i < req->renewers.n; i++)
        if (!str_eq(req->renewers.p[i].principal_type, STR("User")) || req->renewers.p[i].principal_name.n > TEXT_MAX) return KAFKA_INVALID_PRINCIPAL_TYPE;
    if (str_eqc(owner, kafka_req_principal(q))) return 0;
    bool may = q->authorizer && kafka_check(q, ACL_CREATE_TOKENS, ACL_USER, owner); // for others: only by a rule
    return may ? 0 : KAFKA_DELEGATION_TOKEN_AUTHORIZATION_FAILED;
}

void kafka_do_create_delegation_token(struct kafka_req *q) {
    const struct kafka_create_delegation_token_request *req = q->msg;
    struct kafka_create_delegation_token_response *res = q->res;
    struct security *s = kafka_req_security(q);
    struct str requester = str_c(kafka_req_principal(q)), owner = requester;
    if (q->version >= 3 && req->owner_principal_name.n > 0)
        owner = str_c(arena_printf(&q->arena, "%.*s:%.*s", STR_ARG(req->owner_principal_type), STR_ARG(req->owner_principal_name)));
    split(owner, &res->principal_type, &res->principal_name);
    split(requester, &res->token_requester_principal_type, &res->token_requester_principal_name);
    res->issue_timestamp_ms = res->expiry_timestamp_ms = res->max_timestamp_ms = no_time;
    res->error_code = (int16_t)check_create(q, req, owner);
    if (res->error_code != 0) {
        kafka_req_done(q);
        return;
    }
    struct creating *c = ARENA_NEW(&q->arena, struct creating);
    struct token *t = &c->token;
    uint8_t raw[16];
    struct buf b;
    buf_init(&b, 1024);
    sys_uuid(s->sys, raw);
    base64url_encode(str_n(raw, sizeof raw), &b);
    int64_t life = req->max_lifetime_ms <= 0 || req->max_lifetime_ms > s->token_max_ms ? s->token_max_ms : req->max_lifetime_ms, now = now_of(q);
    *t = (struct token){.id = arena_str(&q->arena, buf_str(&b)), .owner = owner, .requester = requester, .issued_ms = now, .max_ms = now + life};
    t->expires_ms = now + (s->token_expiry_ms < life ? s->token_expiry_ms : life);
    t->renewers = ARENA_ARRAY(&q->arena, struct str, req->renewers.n + 1);
    for (int32_t i = 0; i < req->renewers.n; i++)
        t->renewers[t->n_renewers++] = str_c(arena_printf(&q->arena, "User:%.*s", STR_ARG(req->renewers.p[i].principal_name)));
    digest_hmac_sha512(str_c(s->token_secret), t->id, t->hmac);
    buf_clear(&b);
    base64_encode(str_n(t->hmac, sizeof t->hmac), &b);
    c->password = arena_str(&q->arena, buf_str(&b));
    buf_fini(&b);
    q->state = c;
    if (!kafka_req_submit(q, create, created)) kafka_req_reject(q, "too many administrative requests");
}

// ---- RenewDelegationToken, ExpireDelegationToken ------------------------------------------------------------------------
struct finding {
    struct arena *arena;
    struct str hmac;
    struct token *found;
    bool any;
};
static void find_hmac(void *arg, struct str key, struct str value) {
    struct finding *f = arg;
    struct arena a = {0};
    struct token t;
    bool same = !f->any && token_of(key, value, &a, &t) && f->hmac.n == sizeof t.hmac && digest_equal(f->hmac.p, t.hmac, sizeof t.hmac);
    arena_fini(&a);
    if (same) f->any = token_of(key, value, f->arena, f->found);
}

// Gives a token another end: `period` from now, the default when it is negative; or removes it. Kafka error.
static int change_end(struct kafka_req *q, struct str hmac, int64_t period, bool remove, int64_t *ends_ms) {
    struct security *s = kafka_req_security(q);
    struct token t;
    struct finding f = {&q->arena, hmac, &t, false};
    struct err err = {0};
    int64_t now = now_of(q);
    int error = 0;
    sys_mutex_lock(&s->change);
    store_each(s->store, STORE_TOKEN, find_hmac, &f);
    if (!f.any) error = KAFKA_DELEGATION_TOKEN_NOT_FOUND;
    else if (!may_renew(&t, str_c(kafka_req_principal(q)))) error = KAFKA_DELEGATION_TOKEN_OWNER_MISMATCH;
    else if (!remove && (t.max_ms < now || t.expires_ms < now)) error = KAFKA_DELEGATION_TOKEN_EXPIRED;
    else {
        int64_t left = t.max_ms - now;
        if (period < 0) period = s->token_expiry_ms;
        t.expires_ms = *ends_ms = remove ? now : now + (period < left ? period : left);
        struct store_change change = {STORE_TOKEN, t.id, remove ? STR("") : token_bytes(&t, &q->arena), remove};
        enum err_code code = store_apply(s->store, &change, 1, &err);
        error = code == ERR_OK ? 0 : err_info(code)->kafka;
    }
    sys_mutex_unlock(&s->change);
    if (error != 0) *ends_ms = no_time;
    return error;
}

static void answer(void *arg) { kafka_req_done(arg); }

static void renew(void *arg) { // on the pool
    struct kafka_req *q = arg;
    const struct kafka_renew_delegation_token_request *req = q->msg;
    struct kafka_renew_delegation_token_response *res = q->res;
    res->error_code = (int16_t)change_end(q, req->hmac, req->renew_period_ms, false, &res->expiry_timestamp_ms);
}
static void expire(void *arg) { // on the pool
    struct kafka_req *q = arg;
    const struct kafka_expire_delegation_token_request *req = q->msg;
    struct kafka_expire_delegation_token_response *res = q->res;
    res->error_code = (int16_t)change_end(q, req->hmac, req->expiry_time_period_ms, req->expiry_time_period_ms < 0, &res->expiry_timestamp_ms);
}

static void change(struct kafka_req *q, loop_fn *work, int16_t *error_code) {
    *error_code = (int16_t)refusal(q);
    if (*error_code != 0) kafka_req_done(q);
    else if (!kafka_req_submit(q, work, answer)) kafka_req_reject(q, "too many administrative requests");
}
void kafka_do_renew_delegation_token(struct kafka_req *q) {
    struct kafka_renew_delegation_token_response *res = q->res;
    res->expiry_timestamp_ms = no_time;
    change(q, renew, &res->error_code);
}
void kafka_do_expire_delegation_token(struct kafka_req *q) {
    struct kafka_expire_delegation_token_response *res = q->res;
    res->expiry_timestamp_ms = no_time;
    change(q, expire, &res->error_code);
}

// ---- DescribeDelegationToken --------------------------------------------------------------------------------------------
struct listing {
    struct kafka_req *q;
    int64_t now_ms;
    int32_t max;
};

static bool may_see(struct kafka_req *q, const struct token *t) {
    struct str who = str_c(kafka_req_principal(q));
    if (may_renew(t, who) || str_eq(t->requester, who)) return true;
    return q->authorizer && (kafka_check(q, ACL_DESCRIBE, ACL_DELEGATION_TOKEN, t->id) || kafka_check(q, ACL_DESCRIBE_TOKENS, ACL_USER, t->owner));
}

static bool owner_wanted(const struct kafka_describe_delegation_token_request *req, const struct token *t) {
    struct str type, name;
    split(t->owner, &type, &name);
    for (int32_t i = 0; i < req->owners.n; i++)
        if (str_eq(req->owners.p[i].principal_type, type) && str_eq(req->owners.p[i].principal_name, name)) return true;
    return req->owners.n < 0;
}

static void describe_one(void *arg, struct str key, struct str value) {
    struct listing *l = arg;
    struct kafka_req *q = l->q;
    struct kafka_describe_delegation_token_response *res = q->res;
    struct token *t = ARENA_NEW(&q->arena, struct token);
    if (res->tokens.n == l->max || !token_of(key, value, &q->arena, t) || t->expires_ms < l->now_ms || !owner_wanted(q->msg, t) || !may_see(q, t)) return;
    struct kafka_describe_delegation_token_response_tokens *to = &res->tokens.p[res->tokens.n++];
    split(t->owner, &to->principal_type, &to->principal_name);
    split(t->requester, &to->token_requester_principal_type, &to->token_requester_principal_name);
    to->issue_timestamp = t->issued_ms;
    to->expiry_timestamp = t->expires_ms;
    to->max_timestamp = t->max_ms;
    to->token_id = t->id;
    to->hmac = str_n(t->hmac, sizeof t->hmac);
    to->renewers.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_delegation_token_response_tokens_renewers, (int32_t)t->n_renewers);
    to->renewers.n = (int32_t)t->n_renewers;
    for (size_t i = 0; i < t->n_renewers; i++) split(t->renewers[i], &to->renewers.p[i].principal_type, &to->renewers.p[i].principal_name);
}

void kafka_do_describe_delegation_token(struct kafka_req *q) {
    const struct kafka_describe_delegation_token_request *req = q->msg;
    struct kafka_describe_delegation_token_response *res = q->res;
    struct security *s = kafka_req_security(q);
    res->error_code = (int16_t)refusal(q);
    if (res->error_code == 0 && req->owners.n != 0) { // no owner named: no token
        struct listing l = {.q = q, .now_ms = now_of(q), .max = (int32_t)store_count(s->store, STORE_TOKEN)};
        res->tokens.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_delegation_token_response_tokens, l.max);
        res->tokens.n = 0;
        store_each(s->store, STORE_TOKEN, describe_one, &l);
    }
    kafka_req_done(q);
}
