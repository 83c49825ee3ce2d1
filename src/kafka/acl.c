// SPDX-License-Identifier: Apache-2.0
// The rules are kept twice: all by their bytes, and by resource, so that a check looks at those of its name, of "*" and of its prefixes only.
#include "kafka/acl.h"

#include <assert.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/vec.h"

struct acl_rule {
    struct acl acl;
    char *bytes; // its key; the texts point into it
    struct acl_rule *next; // of the same resource
};

enum { NAME_MAX_ = 32767 };

// ---- bytes --------------------------------------------------------------------------------------------------------------
struct str acl_key(const struct acl *a, struct arena *arena) {
    struct buf b;
    buf_init(&b, 1 << 18);
    buf_put_u8(&b, (uint8_t)a->resource);
    buf_put_u8(&b, (uint8_t)a->pattern);
    buf_put_u8(&b, (uint8_t)a->operation);
    buf_put_u8(&b, (uint8_t)a->permission);
    const struct str texts[] = {a->name, a->principal, a->host};
    for (int i = 0; i < 3; i++) {
        assert(texts[i].n <= NAME_MAX_);
        buf_put_be16(&b, (uint16_t)texts[i].n);
        buf_put_str(&b, texts[i]);
    }
    struct str key = arena_str(arena, buf_str(&b));
    buf_fini(&b);
    return key;
}

bool acl_from_key(struct str key, struct acl *out) {
    struct rd r = rd_of(key.p, key.n);
    *out = (struct acl){0};
    out->resource = (int8_t)rd_u8(&r);
    out->pattern = (int8_t)rd_u8(&r);
    out->operation = (int8_t)rd_u8(&r);
    out->permission = (int8_t)rd_u8(&r);
    struct str *texts[] = {&out->name, &out->principal, &out->host};
    for (int i = 0; i < 3; i++) {
        size_t n = rd_be16(&r);
        const uint8_t *p = rd_bytes(&r, n);
        *texts[i] = str_n(p == NULL ? (const uint8_t *)"" : p, n);
    }
    return !r.failed && rd_left(&r) == 0 && (out->pattern == ACL_LITERAL || out->pattern == ACL_PREFIXED) &&
           (out->permission == ACL_DENY || out->permission == ACL_ALLOW);
}

// ---- the set ------------------------------------------------------------------------------------------------------------
void acl_set_init(struct acl_set *s) {
    *s = (struct acl_set){0};
    map_init(&s->all);
    map_init(&s->by_name);
}

void acl_set_fini(struct acl_set *s) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->all, &it)) != NULL;) {
        struct acl_rule *r = e->value;
        mem_free(r->bytes);
        mem_free(r);
    }
    map_fini(&s->all);
    map_fini(&s->by_name);
}

enum { PLACE_ROOM = 300 };
struct place { // key of by_name; on the stack for all sensible names
    char small[PLACE_ROOM], *p;
    size_t n;
};

static struct str place_of(struct place *k, int type, int pattern, struct str name) {
    k->n = name.n + 2;
    k->p = k->n <= sizeof k->small ? k->small : mem_alloc(k->n);
    k->p[0] = (char)type;
    k->p[1] = (char)pattern;
    if (name.n > 0) memcpy(k->p + 2, name.p, name.n);
    return str_n(k->p, k->n);
}
static void place_end(struct place *k) {
    if (k->p != k->small) mem_free(k->p);
}

static struct acl_rule *rules_of(const struct acl_set *s, int type, int pattern, struct str name) {
    struct place k;
    struct acl_rule *r = map_get(&s->by_name, place_of(&k, type, pattern, name));
    place_end(&k);
    return r;
}

bool acl_set_add(struct acl_set *s, const struct acl *a) {
    struct arena arena;
    arena_init(&arena);
    struct str key = acl_key(a, &arena);
    bool is_new = map_get(&s->all, key) == NULL;
    if (is_new) {
        struct acl_rule *r = MEM_NEW(struct acl_rule);
        r->bytes = mem_strndup(key.p, key.n);
        bool ok = acl_from_key(str_n(r->bytes, key.n), &r->acl);
        assert(ok);
        (void)ok;
        map_put(&s->all, key, r);
        struct place k;
        struct str place = place_of(&k, a->resource, a->pattern, a->name);
        r->next = map_get(&s->by_name, place);
        map_put(&s->by_name, place, r);
        place_end(&k);
        if (a->pattern == ACL_PREFIXED && a->name.n > s->prefix_max) s->prefix_max = a->name.n;
    }
    arena_fini(&arena);
    return is_new;
}

bool acl_set_remove(struct acl_set *s, const struct acl *a) {
    struct arena arena;
    arena_init(&arena);
    struct acl_rule *r = map_remove(&s->all, acl_key(a, &arena));
    arena_fini(&arena);
    if (r == NULL) return false;
    struct place k;
    struct str place = place_of(&k, r->acl.resource, r->acl.pattern, r->acl.name);
    struct acl_rule *first = map_get(&s->by_name, place);
    if (first == r) {
        if (r->next == NULL) map_remove(&s->by_name, place);
        else map_put(&s->by_name, place, r->next);
    } else {
        while (first->next != r) first = first->next;
        first->next = r->next;
    }
    place_end(&k);
    mem_free(r->bytes);
    mem_free(r);
    return true;
}

static bool text_fits(struct str filter, struct str text) { return filter.p == NULL || str_eq(filter, text); }

static bool resource_fits(const struct acl *f, const struct acl *a) {
    if (f->resource != ACL_ANY_RESOURCE && f->resource != a->resource) return false;
    if (f->pattern != ACL_ANY_PATTERN && f->pattern != ACL_MATCH && f->pattern != a->pattern) return false;
    if (f->pattern != ACL_MATCH || f->name.p == NULL) return text_fits(f->name, a->name);
    if (a->pattern == ACL_PREFIXED) return str_starts(f->name, a->name);
    return str_eq(f->name, a->name) || str_eq(a->name, STR("*"));
}

static bool fits(const struct acl *f, const struct acl *a) {
    return resource_fits(f, a) && text_fits(f->principal, a->principal) && text_fits(f->host, a->host) &&
           (f->operation == ACL_ANY_OPERATION || f->operation == a->operation) &&
           (f->permission == ACL_ANY_PERMISSION || f->permission == a->permission);
}

void acl_set_each(const struct acl_set *s, const struct acl *filter, void (*fn)(void *arg, const struct acl *a), void *arg) {
    const struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->all, &it)) != NULL;) {
        const struct acl_rule *r = e->value;
        if (fits(filter, &r->acl)) fn(arg, &r->acl);
    }
}

// ---- checks -------------------------------------------------------------------------------------------------------------
static bool who_fits(const struct acl *a, struct str principal, struct str host) {
    return (str_eq(a->principal, STR("User:*")) || str_eq(a->principal, principal)) && (str_eq(a->host, STR("*")) || str_eq(a->host, host));
}

// Who may read, write, delete or alter may describe; denying one of these denies no more than that.
static bool operation_fits(const struct acl *a, enum acl_operation op) {
    if (a->operation == ACL_ALL || a->operation == (int8_t)op) return true;
    if (a->permission != ACL_ALLOW) return false;
    if (op == ACL_DESCRIBE) return a->operation == ACL_READ || a->operation == ACL_WRITE || a->operation == ACL_DELETE || a->operation == ACL_ALTER;
    return op == ACL_DESCRIBE_CONFIGS && a->operation == ACL_ALTER_CONFIGS;
}

struct checking {
    struct str principal, host;
    enum acl_operation op;
    bool any, allowed, denied;
};

static void look(struct checking *c, const struct acl_rule *r) {
    for (; r != NULL && !c->denied; r = r->next) {
        c->any = true;
        if (!who_fits(&r->acl, c->principal, c->host) || !operation_fits(&r->acl, c->op)) continue;
        if (r->acl.permission == ACL_DENY) c->denied = true;
        else c->allowed = true;
    }
}

enum acl_verdict acl_set_check(const struct acl_set *s, struct str principal, struct str host, enum acl_operation op, enum acl_resource type,
                               struct str name) {
    struct checking c = {.principal = principal, .host = host, .op = op};
    look(&c, rules_of(s, type, ACL_LITERAL, name));
    if (!str_eq(name, STR("*"))) look(&c, rules_of(s, type, ACL_LITERAL, STR("*")));
    size_t max = s->prefix_max < name.n ? s->prefix_max : name.n;
    for (size_t n = 1; n <= max && !c.denied; n++) look(&c, rules_of(s, type, ACL_PREFIXED, str_n(name.p, n)));
    return c.denied ? ACL_DENIED : c.allowed ? ACL_ALLOWED : c.any ? ACL_DENIED : ACL_NO_RULES;
}

// Is there a denial that covers all that this allowing rule allows?
static bool covered(const struct acl_set *s, const struct acl *allow, const struct checking *c) {
    struct checking d = {.principal = c->principal, .host = c->host, .op = c->op};
    look(&d, rules_of(s, allow->resource, ACL_LITERAL, STR("*")));
    if (allow->pattern == ACL_LITERAL) look(&d, rules_of(s, allow->resource, ACL_LITERAL, allow->name));
    bool all_names = allow->pattern == ACL_LITERAL && str_eq(allow->name, STR("*"));
    for (size_t n = 1; n <= allow->name.n && !d.denied && !all_names; n++)
        look(&d, rules_of(s, allow->resource, ACL_PREFIXED, str_n(allow->name.p, n)));
    return d.denied;
}

bool acl_set_check_any(const struct acl_set *s, struct str principal, struct str host, enum acl_operation op, enum acl_resource type) {
    const struct map_entry *e;
    struct checking c = {.principal = principal, .host = host, .op = op};
    for (size_t it = 0; (e = map_next(&s->all, &it)) != NULL;) {
        const struct acl *a = &((const struct acl_rule *)e->value)->acl;
        if (a->resource != (int8_t)type || a->permission != ACL_ALLOW || !who_fits(a, principal, host) || !operation_fits(a, op)) continue;
        if (!covered(s, a, &c)) return true;
    }
    return false;
}
