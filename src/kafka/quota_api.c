// SPDX-License-Identifier: Apache-2.0
// DescribeClientQuotas, AlterClientQuotas, and what quotas do to an answer: the time that it tells, and how long the connection is not read.
#include <math.h>

#include "kafka/authorize.h"
#include "kafka/throttle.h"

enum { MATCH_EXACT, MATCH_DEFAULT, MATCH_ANY };

// ---- describing -----------------------------------------------------------------------------------------------------------
typedef struct kafka_describe_client_quotas_request_components component;
typedef struct kafka_describe_client_quotas_response_entries entry;

struct describing {
    struct kafka_req *q;
    VEC(entry) entries;
};

static const struct quota_part *part_of(const struct quota_entity *e, struct str type) {
    if (str_eqc(type, "user")) return &e->user;
    if (str_eqc(type, "client-id")) return &e->client;
    return str_eqc(type, "ip") ? &e->ip : NULL;
}

static bool matches(const struct kafka_describe_client_quotas_request *req, const struct quota_entity *e) {
    int parts = e->user.set + e->client.set + e->ip.set;
    if (req->strict && parts != req->components.n) return false;
    for (int32_t i = 0; i < req->components.n; i++) {
        const component *c = &req->components.p[i];
        const struct quota_part *p = part_of(e, c->entity_type);
        if (p == NULL || !p->set) return false;
        if (c->match_type == MATCH_DEFAULT && p->name.p != NULL) return false;
        if (c->match_type == MATCH_EXACT && (p->name.p == NULL || !str_eq(p->name, c->match))) return false;
    }
    return true;
}

static void put_part(struct kafka_req *q, entry *out, const char *type, const struct quota_part *p) {
    if (!p->set) return;
    struct str name = p->name.p == NULL ? (struct str){NULL, 0} : arena_str(&q->arena, p->name);
    out->entity.p[out->entity.n++] = (struct kafka_describe_client_quotas_response_entries_entity){str_c(type), name};
}

static void describe_one(void *arg, const struct quota_entity *e, const double values[QUOTA_KEYS]) {
    struct describing *x = arg;
    struct kafka_req *q = x->q;
    if (!matches(q->msg, e)) return;
    entry *out = vec_push(&x->entries);
    *out = (entry){0};
    out->entity.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_client_quotas_response_entries_entity, 3);
    put_part(q, out, "user", &e->user);
    put_part(q, out, "client-id", &e->client);
    put_part(q, out, "ip", &e->ip);
    out->values.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_client_quotas_response_entries_values, QUOTA_KEYS);
    for (int i = 0; i < QUOTA_KEYS; i++)
        if (!isnan(values[i])) out->values.p[out->values.n++] = (struct kafka_describe_client_quotas_response_entries_values){str_c(quota_names[i]), values[i]};
}

static int check_filter(struct kafka_req *q, const char **message) {
    const struct kafka_describe_client_quotas_request *req = q->msg;
    bool seen[3] = {false, false, false};
    for (int32_t i = 0; i < req->components.n; i++) {
        const component *c = &req->components.p[i];
        int type = str_eqc(c->entity_type, "user") ? 0 : str_eqc(c->entity_type, "client-id") ? 1 : str_eqc(c->entity_type, "ip") ? 2 : -1;
        *message = "Invalid empty entity type.";
        if (c->entity_type.n == 0) return KAFKA_INVALID_REQUEST;
        *message = arena_printf(&q->arena, "Unsupported entity type " STR_FMT, STR_ARG(c->entity_type));
        if (type < 0) return KAFKA_UNSUPPORTED_VERSION;
        *message = arena_printf(&q->arena, "Entity type " STR_FMT " cannot appear more than once in the filter.", STR_ARG(c->entity_type));
        if (seen[type]) return KAFKA_INVALID_REQUEST;
        seen[type] = true;
        *message = arena_printf(&q->arena, "Unknown match type %d", c->match_type);
        if (c->match_type < MATCH_EXACT || c->match_type > MATCH_ANY) return KAFKA_INVALID_REQUEST;
        *message = "Request specified MATCH_TYPE_EXACT, but set match string to null.";
        if (c->match_type == MATCH_EXACT && c->match.p == NULL) return KAFKA_INVALID_REQUEST;
        *message = c->match_type == MATCH_DEFAULT ? "Request specified MATCH_TYPE_DEFAULT, but also specified a match string."
                                                  : "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.";
        if (c->match_type != MATCH_EXACT && c->match.p != NULL) return KAFKA_INVALID_REQUEST;
    }
    *message = "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component.";
    if (seen[2] && (seen[0] || seen[1])) return KAFKA_INVALID_REQUEST;
    *message = NULL;
    return 0;
}

void kafka_do_describe_client_quotas(struct kafka_req *q) {
    struct kafka_describe_client_quotas_response *res = q->res;
    const char *message = NULL;
    res->error_code = (int16_t)check_filter(q, &message);
    if (res->error_code != 0) {
        res->error_message = str_c(message);
        res->entries.n = -1;
        kafka_req_done(q);
        return;
    }
    struct describing x = {.q = q};
    quotas_each(kafka_req_quotas(q), describe_one, &x);
    res->entries.n = (int32_t)x.entries.n;
    res->entries.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_client_quotas_response_entries, res->entries.n);
    if (x.entries.n > 0) memcpy(res->entries.p, x.entries.p, x.entries.n * sizeof *x.entries.p);
    vec_fini(&x.entries);
    kafka_req_done(q);
}

// ---- altering -------------------------------------------------------------------------------------------------------------
typedef struct kafka_alter_client_quotas_request_entries alter_entry;

static enum err_code entity_of(const alter_entry *e, struct quota_entity *out, struct err *err) {
    *out = (struct quota_entity){0};
    for (int32_t i = 0; i < e->entity.n; i++) {
        struct str type = e->entity.p[i].entity_type;
        struct quota_part *p = (struct quota_part *)part_of(out, type);
        if (p == NULL) return err_set(err, ERR_INVALID, "Unhandled client quota entity type: " STR_FMT, STR_ARG(type));
        if (p->set) return err_set(err, ERR_INVALID, "Invalid client quota entity, duplicate entity entry " STR_FMT, STR_ARG(type));
        if (e->entity.p[i].entity_name.p != NULL && e->entity.p[i].entity_name.n == 0)
            return err_set(err, ERR_INVALID, "Empty " STR_FMT " not supported", STR_ARG(type));
        *p = (struct quota_part){true, e->entity.p[i].entity_name};
    }
    return ERR_OK;
}

static enum err_code alter_entry_(struct kafka_req *q, const alter_entry *e, bool validate_only, struct err *err) {
    struct quota_entity entity;
    enum err_code code = entity_of(e, &entity, err);
    if (code != ERR_OK) return code;
    struct quota_op *ops = ARENA_ARRAY(&q->arena, struct quota_op, e->ops.n);
    for (int32_t i = 0; i < e->ops.n; i++) ops[i] = (struct quota_op){e->ops.p[i].key, e->ops.p[i].value, e->ops.p[i].remove};
    return quotas_alter(kafka_req_quotas(q), &entity, ops, (size_t)e->ops.n, validate_only, err);
}

static bool same_entity(const alter_entry *a, const alter_entry *b) {
    int32_t same = 0;
    if (a->entity.n != b->entity.n) return false;
    for (int32_t i = 0; i < a->entity.n; i++)
        for (int32_t k = 0; k < b->entity.n; k++) {
            bool defaults = a->entity.p[i].entity_name.p == NULL && b->entity.p[k].entity_name.p == NULL;
            bool names = a->entity.p[i].entity_name.p != NULL && b->entity.p[k].entity_name.p != NULL;
            bool equal = defaults || (names && str_eq(a->entity.p[i].entity_name, b->entity.p[k].entity_name));
            same += equal && str_eq(a->entity.p[i].entity_type, b->entity.p[k].entity_type);
        }
    return same == a->entity.n;
}

enum { TEXT_MAX = 200 }; // of a name in a message

static struct str duplicate_text(struct kafka_req *q, const alter_entry *e) {
    const char *parts = "";
    for (int32_t i = 0; i < e->entity.n; i++) {
        struct str type = e->entity.p[i].entity_type, name = e->entity.p[i].entity_name;
        if (name.p == NULL) name = STR("null");
        parts = arena_printf(&q->arena, "%s%s%.*s=%.*s", parts, i == 0 ? "" : ", ", (int)(type.n < TEXT_MAX ? type.n : TEXT_MAX), type.p,
                             (int)(name.n < TEXT_MAX ? name.n : TEXT_MAX), name.p);
    }
    return str_c(arena_printf(&q->arena, "Ignoring duplicate entity ClientQuotaEntity(entries={%s})", parts));
}

enum { ENTRIES_MAX = 2000, PARTS_MAX = 3 }; // of one request: the search for repeats is quadratic; of one entity

// An entity that comes twice is answered once, and nothing of it is done. For each entry: whether it is a second one.
static const bool *refuse_repeats(struct kafka_req *q) {
    const struct kafka_alter_client_quotas_request *req = q->msg;
    struct kafka_alter_client_quotas_response *res = q->res;
    bool *again = ARENA_ARRAY(&q->arena, bool, req->entries.n + 1);
    for (int32_t i = 0; i < req->entries.n && req->entries.n <= ENTRIES_MAX; i++)
        for (int32_t k = 0; k < i; k++) {
            if (req->entries.p[i].entity.n > PARTS_MAX || !same_entity(&req->entries.p[i], &req->entries.p[k])) continue;
            again[i] = true;
            res->entries.p[i].error_code = res->entries.p[k].error_code = KAFKA_INVALID_REQUEST;
            res->entries.p[k].error_message = duplicate_text(q, &req->entries.p[k]);
        }
    return again;
}

static void alter_all(void *arg) { // on the broker's pool
    struct kafka_req *q = arg;
    const struct kafka_alter_client_quotas_request *req = q->msg;
    struct kafka_alter_client_quotas_response *res = q->res;
    const bool *again = refuse_repeats(q);
    int32_t kept = 0;
    for (int32_t i = 0; i < req->entries.n; i++) {
        struct err err = {0};
        struct kafka_alter_client_quotas_response_entries *out = &res->entries.p[i];
        if (out->error_code != 0) continue;
        enum err_code code = alter_entry_(q, &req->entries.p[i], req->validate_only, &err);
        if (code == ERR_OK) continue;
        out->error_code = (int16_t)err_info(code)->kafka;
        out->error_message = str_c(arena_strdup(&q->arena, err.msg));
    }
    for (int32_t i = 0; i < res->entries.n; i++)
        if (!again[i]) res->entries.p[kept++] = res->entries.p[i];
    res->entries.n = kept;
}

static void alter_done(void *arg) { kafka_req_done(arg); }

void kafka_do_alter_client_quotas(struct kafka_req *q) {
    const struct kafka_alter_client_quotas_request *req = q->msg;
    struct kafka_alter_client_quotas_response *res = q->res;
    res->entries.n = req->entries.n;
    res->entries.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_client_quotas_response_entries, req->entries.n);
    for (int32_t i = 0; i < req->entries.n; i++) {
        const alter_entry *e = &req->entries.p[i];
        struct kafka_alter_client_quotas_response_entries *out = &res->entries.p[i];
        out->error_message = (struct str){NULL, 0};
        out->entity.n = e->entity.n;
        out->entity.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_client_quotas_response_entries_entity, e->entity.n);
        for (int32_t k = 0; k < e->entity.n; k++)
            out->entity.p[k] = (struct kafka_alter_client_quotas_response_entries_entity){e->entity.p[k].entity_type, e->entity.p[k].entity_name};
    }
    if (!kafka_req_submit(q, alter_all, alter_done)) kafka_req_reject(q, "too many administrative requests");
}
