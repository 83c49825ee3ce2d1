// SPDX-License-Identifier: Apache-2.0
// SCRAM users: AlterUserScramCredentials, DescribeUserScramCredentials, and looking one up when somebody logs in.
//
// A user's keys lie in the broker's store under the hash's number and the name; the store keeps all in memory, so looking up does not block.
// Altering syncs a file: on the broker's pool. All changes of a request are durable when it is answered; those of a user that is at fault are not made.
#include <assert.h>

#include "kafka/authorize.h"
#include "kafka/security.h"

enum { USER_MAX = 1024, SALTED_MAX = 1024, CHANGES_MAX = 5000 /* of one request */ };

typedef struct kafka_alter_user_scram_credentials_response_results alter_result;

static struct str key_of(struct arena *a, struct str user, int hash) {
    char *p = arena_alloc(a, user.n + 2);
    p[0] = (char)hash;
    if (user.n > 0) memcpy(p + 1, user.p, user.n);
    p[user.n + 1] = 0;
    return str_n(p, user.n + 1);
}

static struct str value_of(struct arena *a, const struct scram_credential *c) {
    struct buf b;
    buf_init(&b, 1 << 16);
    buf_put_be32(&b, (uint32_t)c->iterations);
    buf_put_be16(&b, (uint16_t)c->salt_n);
    buf_put(&b, c->salt, c->salt_n);
    buf_put(&b, c->stored_key, scram_key_size(c->hash));
    buf_put(&b, c->server_key, scram_key_size(c->hash));
    struct str value = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return value;
}

static bool read_value(struct str value, enum scram_hash h, struct scram_credential *c) {
    struct rd r = rd_of(value.p, value.n);
    *c = (struct scram_credential){.hash = h, .iterations = (int)rd_be32(&r)};
    c->salt_n = rd_be16(&r);
    const uint8_t *salt = rd_bytes(&r, c->salt_n), *stored = rd_bytes(&r, scram_key_size(h)), *server = rd_bytes(&r, scram_key_size(h));
    if (r.failed || rd_left(&r) != 0 || c->salt_n > SCRAM_SALT_MAX) return false;
    memcpy(c->salt, salt, c->salt_n);
    memcpy(c->stored_key, stored, scram_key_size(h));
    memcpy(c->server_key, server, scram_key_size(h));
    return true;
}

bool scram_user_find(struct security *s, struct str user, enum scram_hash h, struct arena *a, struct scram_credential *out) {
    struct str value;
    return store_get(s->store, STORE_SCRAM, key_of(a, user, (int)h), a, &value) && read_value(value, h, out);
}

// ---- AlterUserScramCredentials ------------------------------------------------------------------------------------------
struct altering {
    struct store_change *changes;
    int32_t *result_of; // of each change
    size_t n;
};

static alter_result *result_for(struct kafka_req *q, struct str user) {
    struct kafka_alter_user_scram_credentials_response *res = q->res;
    for (int32_t i = 0; i < res->results.n; i++)
        if (str_eq(res->results.p[i].user, user)) return &res->results.p[i];
    res->results.p[res->results.n].user = user;
    res->results.p[res->results.n].error_message = (struct str){NULL, 0};
    return &res->results.p[res->results.n++];
}

static void blame(alter_result *r, int error, struct str message) {
    if (r->error_code != 0) return; // the first counts
    r->error_code = (int16_t)error;
    r->error_message = message;
}

static bool good_hash(int mechanism) { return mechanism == SCRAM_SHA_256 || mechanism == SCRAM_SHA_512; }

static void add_change(struct kafka_req *q, struct altering *all, alter_result *r, struct str user, int mechanism, struct str value, bool remove) {
    const struct kafka_alter_user_scram_credentials_response *res = q->res;
    struct str key = key_of(&q->arena, user, mechanism);
    for (size_t i = 0; i < all->n; i++)
        if (str_eq(all->changes[i].key, key)) blame(r, KAFKA_DUPLICATE_RESOURCE, STR("A user credential cannot be altered twice in the same request"));
    all->result_of[all->n] = (int32_t)(r - res->results.p);
    all->changes[all->n++] = (struct store_change){STORE_SCRAM, key, value, remove};
}

static void take_deletions(struct kafka_req *q, struct altering *all) {
    const struct kafka_alter_user_scram_credentials_request *req = q->msg;
    for (int32_t i = 0; i < req->deletions.n; i++) {
        const struct kafka_alter_user_scram_credentials_request_deletions *d = &req->deletions.p[i];
        struct scram_credential c;
        alter_result *r = result_for(q, d->name);
        if (d->name.n == 0) blame(r, KAFKA_UNACCEPTABLE_CREDENTIAL, STR("Username must not be empty"));
        else if (!good_hash(d->mechanism)) blame(r, KAFKA_UNSUPPORTED_SASL_MECHANISM, STR("Unknown SCRAM mechanism"));
        else if (!scram_user_find(kafka_req_security(q), d->name, (enum scram_hash)d->mechanism, &q->arena, &c))
            blame(r, KAFKA_RESOURCE_NOT_FOUND, STR("Attempt to delete a user credential that does not exist"));
        add_change(q, all, r, d->name, d->mechanism, STR(""), true);
    }
}

static void take_upsertions(struct kafka_req *q, struct altering *all) {
    const struct kafka_alter_user_scram_credentials_request *req = q->msg;
    for (int32_t i = 0; i < req->upsertions.n; i++) {
        const struct kafka_alter_user_scram_credentials_request_upsertions *u = &req->upsertions.p[i];
        alter_result *r = result_for(q, u->name);
        struct str value = STR("");
        if (u->name.n == 0) blame(r, KAFKA_UNACCEPTABLE_CREDENTIAL, STR("Username must not be empty"));
        else if (u->name.n > USER_MAX || memchr(u->name.p, 0, u->name.n) != NULL)
            blame(r, KAFKA_UNACCEPTABLE_CREDENTIAL, STR("Username is too long, or has a NUL in it"));
        else if (!good_hash(u->mechanism)) blame(r, KAFKA_UNSUPPORTED_SASL_MECHANISM, STR("Unknown SCRAM mechanism"));
        else if (u->iterations < SCRAM_MIN_ITERATIONS) blame(r, KAFKA_UNACCEPTABLE_CREDENTIAL, STR("Too few iterations"));
        else if (u->iterations > SCRAM_MAX_ITERATIONS) blame(r, KAFKA_UNACCEPTABLE_CREDENTIAL, STR("Too many iterations"));
        else if (u->salt.n == 0 || u->salt.n > SCRAM_SALT_MAX) blame(r, KAFKA_UNACCEPTABLE_CREDENTIAL, STR("The salt must have from 1 to 1024 bytes"));
        else if (u->salted_password.n == 0 || u->salted_password.n > SALTED_MAX)
            blame(r, KAFKA_UNACCEPTABLE_CREDENTIAL, STR("The salted password must have from 1 to 1024 bytes"));
        else {
            struct scram_credential c;
            scram_credential_from_salted((enum scram_hash)u->mechanism, u->salt, u->iterations, u->salted_password, &c);
            value = value_of(&q->arena, &c);
        }
        add_change(q, all, r, u->name, u->mechanism, value, false);
    }
}

static void alter(void *arg) { // on the pool
    struct kafka_req *q = arg;
    struct security *s = kafka_req_security(q);
    const struct kafka_alter_user_scram_credentials_request *req = q->msg;
    struct kafka_alter_user_scram_credentials_response *res = q->res;
    struct altering all = {0};
    size_t max = (size_t)req->deletions.n + (size_t)req->upsertions.n, n = 0;
    all.changes = ARENA_ARRAY(&q->arena, struct store_change, max);
    all.result_of = ARENA_ARRAY(&q->arena, int32_t, max);
    sys_mutex_lock(&s->change);
    take_deletions(q, &all);
    take_upsertions(q, &all);
    for (size_t i = 0; i < all.n; i++)
        if (res->results.p[all.result_of[i]].error_code == 0) all.changes[n++] = all.changes[i];
    struct err err = {0};
    enum err_code code = n == 0 ? ERR_OK : store_apply(s->store, all.changes, n, &err);
    sys_mutex_unlock(&s->change);
    if (code == ERR_OK) return;
    for (int32_t i = 0; i < res->results.n; i++) blame(&res->results.p[i], err_info(code)->kafka, str_c(arena_strdup(&q->arena, err.msg)));
}

static void answer(void *arg) { kafka_req_done(arg); }

void kafka_do_alter_user_scram_credentials(struct kafka_req *q) {
    const struct kafka_alter_user_scram_credentials_request *req = q->msg;
    struct kafka_alter_user_scram_credentials_response *res = q->res;
    if (req->deletions.n > CHANGES_MAX || req->upsertions.n > CHANGES_MAX) {
        kafka_req_reject(q, "too many users in one request");
        return;
    }
    res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_user_scram_credentials_response_results, req->deletions.n + req->upsertions.n);
    res->results.n = 0;
    if (!kafka_req_submit(q, alter, answer)) kafka_req_reject(q, "too many administrative requests");
}

// ---- DescribeUserScramCredentials ---------------------------------------------------------------------------------------
struct listing {
    struct kafka_req *q;
    size_t n, max;
    struct {
        struct str user;
        int hash, iterations;
    } *found;
};

static void collect(void *arg, struct str key, struct str value) {
    struct listing *l = arg;
    struct scram_credential c;
    int hash = key.n < 2 ? 0 : key.p[0];
    if (!good_hash(hash) || l->n == l->max || !read_value(value, (enum scram_hash)hash, &c)) return;
    l->found[l->n].user = arena_str(&l->q->arena, str_n(key.p + 1, key.n - 1));
    l->found[l->n].hash = hash;
    l->found[l->n++].iterations = c.iterations;
}

typedef struct kafka_describe_user_scram_credentials_response_results describe_result;

static void describe_user(struct kafka_req *q, struct str user, describe_result *r) {
    r->user = user;
    r->credential_infos.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_user_scram_credentials_response_results_credential_infos, 2);
    r->credential_infos.n = 0;
    for (int h = SCRAM_SHA_256; h <= SCRAM_SHA_512; h++) {
        struct scram_credential c;
        if (!scram_user_find(kafka_req_security(q), user, (enum scram_hash)h, &q->arena, &c)) continue;
        r->credential_infos.p[r->credential_infos.n].mechanism = (int8_t)h;
        r->credential_infos.p[r->credential_infos.n++].iterations = c.iterations;
    }
    if (r->credential_infos.n > 0) return;
    r->error_code = KAFKA_RESOURCE_NOT_FOUND;
    r->error_message = str_c(arena_printf(&q->arena, "Attempt to describe a user credential that does not exist: %.*s", STR_ARG(user)));
}

static void describe_all(struct kafka_req *q) {
    struct kafka_describe_user_scram_credentials_response *res = q->res;
    struct security *s = kafka_req_security(q);
    struct listing l = {.q = q, .max = store_count(s->store, STORE_SCRAM)};
    l.found = arena_zalloc(&q->arena, sizeof *l.found * (l.max + 1));
    store_each(s->store, STORE_SCRAM, collect, &l);
    res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_user_scram_credentials_response_results, (int32_t)l.n);
    res->results.n = 0;
    for (size_t i = 0; i < l.n; i++) { // by hash, then by name: the users of SHA-512 alone come last
        struct scram_credential c;
        bool twice = l.found[i].hash == SCRAM_SHA_512 && scram_user_find(s, l.found[i].user, SCRAM_SHA_256, &q->arena, &c);
        if (!twice) describe_user(q, l.found[i].user, &res->results.p[res->results.n++]);
    }
}

void kafka_do_describe_user_scram_credentials(struct kafka_req *q) {
    const struct kafka_describe_user_scram_credentials_request *req = q->msg;
    struct kafka_describe_user_scram_credentials_response *res = q->res;
    if (req->users.n <= 0) {
        describe_all(q);
        kafka_req_done(q);
        return;
    }
    res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_user_scram_credentials_response_results, req->users.n);
    res->results.n = 0;
    struct map seen; // name -> how often
    map_init(&seen);
    for (int32_t i = 0; i < req->users.n; i++) {
        struct str user = req->users.p[i].name;
        describe_result *r = map_get(&seen, user);
        if (r == NULL) {
            r = &res->results.p[res->results.n++];
            map_put(&seen, user, r);
            describe_user(q, user, r);
            continue;
        }
        r->error_code = KAFKA_DUPLICATE_RESOURCE;
        r->error_message = str_c(arena_printf(&q->arena, "Cannot describe SCRAM credentials for the same user twice in a single request: %.*s", STR_ARG(user)));
        r->credential_infos.n = 0;
    }
    map_fini(&seen);
    kafka_req_done(q);
}
