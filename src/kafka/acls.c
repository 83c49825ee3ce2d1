// SPDX-License-Identifier: Apache-2.0
// CreateAcls, DescribeAcls, DeleteAcls. Who may ask is the gate's business (gates.c); here are the rules themselves.
//
// Rules lie in the broker's store (durable when answered) and, for checks, in the door's set. Changes run on the broker's pool, one at a time.
#include <assert.h>

#include "kafka/gate.h"
#include "kafka/security.h"

enum { CHANGES_MAX = 10000, TEXT_MAX = 4096 };

static const struct str no_authorizer = {"No Authorizer is configured.", 28};

static void answer(void *arg) { kafka_req_done(arg); }

static struct acl filter_of(int resource, struct str name, int pattern, struct str principal, struct str host, int operation, int permission) {
    return (struct acl){(int8_t)resource, (int8_t)pattern, (int8_t)operation, (int8_t)permission, name, principal, host};
}

static const struct str unknown_element = {"Unknown element in the filter.", 30};
static bool has_unknown(const struct acl *a) { return a->resource < 1 || a->pattern < 1 || a->operation < 1 || a->permission < 1; }

// ---- DescribeAcls -------------------------------------------------------------------------------------------------------
struct collecting {
    struct kafka_req *q;
    struct acl *p;
    size_t n, cap;
};

static void collect(void *arg, const struct acl *a) { // under the mutex: the texts are copied
    struct collecting *c = arg;
    if (c->n == c->cap) {
        size_t cap = c->cap == 0 ? 64 : c->cap * 2;
        struct acl *p = ARENA_ARRAY(&c->q->arena, struct acl, cap);
        if (c->n > 0) memcpy(p, c->p, c->n * sizeof *p);
        c->p = p;
        c->cap = cap;
    }
    c->p[c->n] = *a;
    c->p[c->n].name = arena_str(&c->q->arena, a->name);
    c->p[c->n].principal = arena_str(&c->q->arena, a->principal);
    c->p[c->n++].host = arena_str(&c->q->arena, a->host);
}

static void find(struct kafka_req *q, const struct acl *filter, struct collecting *c) {
    struct security *s = kafka_req_security(q);
    *c = (struct collecting){.q = q};
    sys_mutex_lock(&s->mutex);
    acl_set_each(&s->acls, filter, collect, c);
    sys_mutex_unlock(&s->mutex);
}

typedef struct kafka_describe_acls_response_resources described;

// Rules of one resource go together.
static void group_by_resource(struct kafka_req *q, const struct collecting *c) {
    struct kafka_describe_acls_response *res = q->res;
    struct map places; // resource -> described
    map_init(&places);
    res->resources.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_acls_response_resources, (int32_t)c->n);
    res->resources.n = 0;
    size_t *counts = ARENA_ARRAY(&q->arena, size_t, c->n + 1);
    described **of = ARENA_ARRAY(&q->arena, described *, c->n + 1);
    for (size_t i = 0; i < c->n; i++) {
        const struct acl *a = &c->p[i];
        struct str key = str_c(arena_printf(&q->arena, "%d %d %.*s", a->resource, a->pattern, STR_ARG(a->name)));
        of[i] = map_get(&places, key);
        if (of[i] == NULL) {
            of[i] = &res->resources.p[res->resources.n++];
            *of[i] = (described){.resource_type = a->resource, .resource_name = a->name, .pattern_type = a->pattern};
            map_put(&places, key, of[i]);
        }
        counts[of[i] - res->resources.p]++;
    }
    for (int32_t i = 0; i < res->resources.n; i++)
        res->resources.p[i].acls.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_acls_response_resources_acls, (int32_t)counts[i]);
    for (size_t i = 0; i < c->n; i++) {
        const struct acl *a = &c->p[i];
        struct kafka_describe_acls_response_resources_acls *to = &of[i]->acls.p[of[i]->acls.n++];
        to->principal = a->principal;
        to->host = a->host;
        to->operation = a->operation;
        to->permission_type = a->permission;
    }
    map_fini(&places);
}

void kafka_do_describe_acls(struct kafka_req *q) {
    const struct kafka_describe_acls_request *req = q->msg;
    struct kafka_describe_acls_response *res = q->res;
    struct collecting c;
    if (!q->authorizer) {
        res->error_code = KAFKA_SECURITY_DISABLED;
        res->error_message = no_authorizer;
        kafka_req_done(q);
        return;
    }
    struct acl f = filter_of(req->resource_type_filter, req->resource_name_filter, req->pattern_type_filter, req->principal_filter, req->host_filter,
                             req->operation, req->permission_type);
    if (has_unknown(&f)) {
        res->error_code = KAFKA_INVALID_REQUEST;
        res->error_message = unknown_element;
        kafka_req_done(q);
        return;
    }
    find(q, &f, &c);
    group_by_resource(q, &c);
    kafka_req_done(q);
}

// ---- CreateAcls ---------------------------------------------------------------------------------------------------------
static const char *invalid(struct kafka_req *q, const char *what, int value) {
    bool match = value == ACL_MATCH && strcmp(what, "patternType") == 0;
    return arena_printf(&q->arena, "Invalid %s %s", what, value == ACL_ANY_RESOURCE ? "ANY" : match ? "MATCH" : "UNKNOWN"); // 1 is ANY of each
}

static const char *fault_of(struct kafka_req *q, const struct acl *a) {
    if (a->resource < ACL_TOPIC || a->resource > ACL_USER) return invalid(q, "resourceType", a->resource);
    if (a->pattern != ACL_LITERAL && a->pattern != ACL_PREFIXED) return invalid(q, "patternType", a->pattern);
    if (a->operation < ACL_ALL || a->operation >= ACL_OPERATION_END) return invalid(q, "operation", a->operation);
    if (a->permission != ACL_DENY && a->permission != ACL_ALLOW) return invalid(q, "permissionType", a->permission);
    if (a->name.n == 0) return "Invalid empty resource name";
    if (a->resource == ACL_CLUSTER && !str_eq(a->name, STR("kafka-cluster"))) return "The only valid name for the CLUSTER resource is kafka-cluster";
    struct str type, name;
    if (!str_cut(a->principal, ':', &type, &name) || type.n == 0)
        return arena_printf(&q->arena, "Could not parse principal from `%.*s` (%s)", (int)(a->principal.n < 200 ? a->principal.n : 200), a->principal.p,
                            a->principal.n > 0 && a->principal.p[0] == ':' ? "the principal type is empty"
                                                                           : "no colon is present separating the principal type from the principal name");
    if (a->host.n == 0) return "Host should not be empty";
    if (a->name.n > TEXT_MAX || a->principal.n > TEXT_MAX || a->host.n > TEXT_MAX) return "A name of more than 4096 bytes";
    return NULL;
}

static void create_all(void *arg) { // on the pool
    struct kafka_req *q = arg;
    struct security *s = kafka_req_security(q);
    const struct kafka_create_acls_request *req = q->msg;
    struct kafka_create_acls_response *res = q->res;
    struct store_change *changes = ARENA_ARRAY(&q->arena, struct store_change, req->creations.n);
    struct acl *acls = ARENA_ARRAY(&q->arena, struct acl, req->creations.n);
    size_t n = 0;
    for (int32_t i = 0; i < req->creations.n; i++) {
        const struct kafka_create_acls_request_creations *c = &req->creations.p[i];
        struct acl a = filter_of(c->resource_type, c->resource_name, c->resource_pattern_type, c->principal, c->host, c->operation, c->permission_type);
        const char *fault = fault_of(q, &a);
        if (fault != NULL) {
            res->results.p[i].error_code = KAFKA_INVALID_REQUEST;
            res->results.p[i].error_message = str_c(fault);
            continue;
        }
        acls[n] = a;
        changes[n++] = (struct store_change){STORE_ACL, acl_key(&a, &q->arena), STR(""), false};
    }
    struct err err = {0};
    sys_mutex_lock(&s->change);
    enum err_code code = n == 0 ? ERR_OK : store_apply(s->store, changes, n, &err);
    sys_mutex_lock(&s->mutex);
    for (size_t i = 0; i < n && code == ERR_OK; i++) acl_set_add(&s->acls, &acls[i]);
    sys_mutex_unlock(&s->mutex);
    sys_mutex_unlock(&s->change);
    for (int32_t i = 0; i < res->results.n && code != ERR_OK; i++) {
        if (res->results.p[i].error_code != 0) continue;
        res->results.p[i].error_code = (int16_t)err_info(code)->kafka;
        res->results.p[i].error_message = str_c(arena_strdup(&q->arena, err.msg));
    }
}

void kafka_do_create_acls(struct kafka_req *q) {
    const struct kafka_create_acls_request *req = q->msg;
    struct kafka_create_acls_response *res = q->res;
    res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_create_acls_response_results, req->creations.n);
    res->results.n = req->creations.n;
    for (int32_t i = 0; !q->authorizer && i < res->results.n; i++)
        res->results.p[i] = (struct kafka_create_acls_response_results){KAFKA_SECURITY_DISABLED, no_authorizer};
    if (!q->authorizer) kafka_req_done(q);
    else if (req->creations.n > CHANGES_MAX || !kafka_req_submit(q, create_all, answer)) kafka_req_reject(q, "too many administrative requests");
}

// ---- DeleteAcls ---------------------------------------------------------------------------------------------------------
typedef struct kafka_delete_acls_response_filter_results deleted;

static enum err_code delete_matching(struct kafka_req *q, const struct acl *filter, deleted *res, struct err *err) {
    struct security *s = kafka_req_security(q);
    struct collecting c;
    find(q, filter, &c);
    if (c.n > CHANGES_MAX) return err_set(err, ERR_TOO_LARGE, "the filter matches more than %d rules", CHANGES_MAX);
    struct store_change *changes = ARENA_ARRAY(&q->arena, struct store_change, c.n + 1);
    for (size_t i = 0; i < c.n; i++) changes[i] = (struct store_change){STORE_ACL, acl_key(&c.p[i], &q->arena), STR(""), true};
    enum err_code code = c.n == 0 ? ERR_OK : store_apply(s->store, changes, c.n, err);
    if (code != ERR_OK) return code;
    sys_mutex_lock(&s->mutex);
    for (size_t i = 0; i < c.n; i++) acl_set_remove(&s->acls, &c.p[i]);
    sys_mutex_unlock(&s->mutex);
    res->matching_acls.p = KAFKA_ELEMENTS(&q->arena, kafka_delete_acls_response_filter_results_matching_acls, (int32_t)c.n);
    res->matching_acls.n = (int32_t)c.n;
    for (size_t i = 0; i < c.n; i++) {
        struct kafka_delete_acls_response_filter_results_matching_acls *to = &res->matching_acls.p[i];
        to->error_message = (struct str){NULL, 0};
        to->resource_type = c.p[i].resource;
        to->resource_name = c.p[i].name;
        to->pattern_type = c.p[i].pattern;
        to->principal = c.p[i].principal;
        to->host = c.p[i].host;
        to->operation = c.p[i].operation;
        to->permission_type = c.p[i].permission;
    }
    return ERR_OK;
}

static const char *filter_fault(const struct acl *a) {
    if (a->resource < ACL_ANY_RESOURCE || a->resource > ACL_USER || a->pattern < ACL_ANY_PATTERN || a->pattern > ACL_PREFIXED)
        return "Unknown patternFilter.";
    if (a->operation < ACL_ANY_OPERATION || a->operation >= ACL_OPERATION_END || a->permission < ACL_ANY_PERMISSION || a->permission > ACL_ALLOW)
        return "Unknown entryFilter.";
    return NULL;
}

static void delete_all(void *arg) { // on the pool
    struct kafka_req *q = arg;
    struct security *s = kafka_req_security(q);
    const struct kafka_delete_acls_request *req = q->msg;
    struct kafka_delete_acls_response *res = q->res;
    sys_mutex_lock(&s->change);
    for (int32_t i = 0; i < req->filters.n; i++) {
        const struct kafka_delete_acls_request_filters *f = &req->filters.p[i];
        deleted *out = &res->filter_results.p[i];
        struct acl a = filter_of(f->resource_type_filter, f->resource_name_filter, f->pattern_type_filter, f->principal_filter, f->host_filter,
                                 f->operation, f->permission_type);
        struct err err = {0};
        enum err_code code = ERR_OK;
        const char *fault = filter_fault(&a);
        if (fault != NULL) code = err_set(&err, ERR_INVALID, "%s", fault);
        else code = delete_matching(q, &a, out, &err);
        out->error_message = (struct str){NULL, 0};
        if (code == ERR_OK) continue;
        out->error_code = (int16_t)err_info(code)->kafka;
        out->error_message = str_c(arena_strdup(&q->arena, err.msg));
    }
    sys_mutex_unlock(&s->change);
}

void kafka_do_delete_acls(struct kafka_req *q) {
    const struct kafka_delete_acls_request *req = q->msg;
    struct kafka_delete_acls_response *res = q->res;
    res->filter_results.p = KAFKA_ELEMENTS(&q->arena, kafka_delete_acls_response_filter_results, req->filters.n);
    res->filter_results.n = req->filters.n;
    for (int32_t i = 0; !q->authorizer && i < req->filters.n; i++) {
        res->filter_results.p[i].error_code = KAFKA_SECURITY_DISABLED;
        res->filter_results.p[i].error_message = no_authorizer;
    }
    if (!q->authorizer) kafka_req_done(q);
    else if (!kafka_req_submit(q, delete_all, answer)) kafka_req_reject(q, "too many administrative requests");
}
