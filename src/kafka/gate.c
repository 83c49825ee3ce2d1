// SPDX-License-Identifier: Apache-2.0
// The machinery of gate.h. Messages are walked by their field tables: responses mirror requests (topics with partitions, groups, resources), so one
// function makes an element with an error out of any request's element.
#include "kafka/gate.h"

#include <assert.h>

#include "base/log.h"

// ---- fields -------------------------------------------------------------------------------------------------------------
typedef KAFKA_ARRAY(char) any_array;

static any_array *array_at(void *owner, const struct kafka_field *f) { return (any_array *)((char *)owner + f->offset); }

static size_t size_of(const struct kafka_field *f) {
    switch ((enum kafka_type)f->type) {
    case KAFKA_BOOL: return sizeof(bool);
    case KAFKA_INT8: return 1;
    case KAFKA_INT16:
    case KAFKA_UINT16: return 2;
    case KAFKA_INT32: return 4;
    case KAFKA_INT64:
    case KAFKA_FLOAT64: return 8;
    case KAFKA_STRING:
    case KAFKA_BYTES:
    case KAFKA_RECORDS: return sizeof(struct str);
    case KAFKA_UUID: return sizeof(struct kafka_uuid);
    case KAFKA_STRUCT: return f->sub->size;
    }
    return 0;
}

static bool in_version(const struct kafka_field *f, int version) { return version >= f->min && version <= f->max; }

const struct kafka_field *gate_first_array(const struct kafka_struct *s, int version) {
    for (size_t i = 0; i < s->n; i++)
        if (s->fields[i].shape == KAFKA_SHAPE_ARRAY && in_version(&s->fields[i], version)) return &s->fields[i];
    return NULL;
}

const struct kafka_field *gate_field(const struct kafka_struct *s, const char *name) {
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->fields[i].name, name) == 0) return &s->fields[i];
    return NULL;
}

static bool named(const struct kafka_field *f, const char *a, const char *b) { return strcmp(f->name, a) == 0 || strcmp(f->name, b) == 0; }

// ---- elements with an error ---------------------------------------------------------------------------------------------
// The request's field that says the same as the response's.
static const struct kafka_field *counterpart(const struct kafka_struct *req, const struct kafka_field *f) {
    for (size_t i = 0; i < req->n; i++) {
        const struct kafka_field *r = &req->fields[i];
        if (r->shape != KAFKA_SHAPE_PLAIN || r->type != f->type) continue;
        if (strcmp(r->name, f->name) == 0) return r;
        bool partition = named(r, "partition", "partition_index") || strcmp(r->name, "index") == 0;
        if (f->type == KAFKA_INT32 && partition && (named(f, "partition", "partition_index") || named(f, "index", "partition_id"))) return r;
    }
    return NULL;
}

struct mirror {
    struct kafka_req *q;
    int error;
    bool silent; // no text
};

// The field's part in saying the error: code, text, and offsets and nodes that are none.
static void set_error(const struct mirror *m, const struct kafka_field *f, char *res) {
    int error = m->error;
    if (f->type == KAFKA_RECORDS) memcpy(res + f->offset, &STR(""), sizeof(struct str)); // null is taken for a parse error by librdkafka
    if (f->type == KAFKA_INT64 && (named(f, "base_offset", "high_watermark") || strcmp(f->name, "committed_offset") == 0))
        memcpy(res + f->offset, &(int64_t){-1}, sizeof(int64_t));
    if (m->q->h->key == KAFKA_API_FIND_COORDINATOR && f->type == KAFKA_INT32 && named(f, "node_id", "port"))
        memcpy(res + f->offset, &(int32_t){-1}, sizeof(int32_t));
    if (f->type == KAFKA_INT16 && named(f, "error_code", "partition_error_code")) memcpy(res + f->offset, &(int16_t){(int16_t)error}, sizeof(int16_t));
    if (m->silent || f->type != KAFKA_STRING || strcmp(f->name, "error_message") != 0) return;
    struct str text = str_c(kafka_error_text(error));
    memcpy(res + f->offset, &text, sizeof text);
}

static void mirror_array(const struct mirror *m, const struct kafka_field *from, const char *elements, int32_t n, const struct kafka_field *to, char *res);

static void mirror_struct(const struct mirror *m, const struct kafka_struct *from, const char *req, const struct kafka_struct *to, char *res) {
    bool array_done = false;
    for (size_t i = 0; i < to->n; i++) {
        const struct kafka_field *f = &to->fields[i];
        if (!in_version(f, m->q->version)) continue;
        if (f->shape == KAFKA_SHAPE_PLAIN) {
            const struct kafka_field *r = from == NULL ? NULL : counterpart(from, f);
            if (r != NULL && f->type != KAFKA_STRUCT) memcpy(res + f->offset, req + r->offset, size_of(f));
            set_error(m, f, res);
        } else if (f->shape == KAFKA_SHAPE_ARRAY && f->type == KAFKA_STRUCT && !array_done && from != NULL) {
            const struct kafka_field *r = gate_first_array(from, m->q->version);
            array_done = true;
            if (r == NULL) continue;
            any_array a;
            memcpy(&a, req + r->offset, sizeof a);
            mirror_array(m, r, a.p, a.n, f, res);
        }
    }
}

// An element that is only a name or a number: the response's first field of that type.
static void mirror_scalar(const struct mirror *m, const struct kafka_field *from, const char *element, const struct kafka_struct *to, char *res) {
    bool done = false;
    for (size_t i = 0; i < to->n; i++) {
        const struct kafka_field *f = &to->fields[i];
        set_error(m, f, res);
        if (done || f->shape != KAFKA_SHAPE_PLAIN || f->type != from->type || strcmp(f->name, "error_message") == 0) continue;
        memcpy(res + f->offset, element, size_of(f));
        done = true;
    }
}

static void append(const struct mirror *m, const struct kafka_field *from, const char *element, const struct kafka_struct *to, char *res) {
    if (from->type == KAFKA_STRUCT) mirror_struct(m, from->sub, element, to, res);
    else mirror_scalar(m, from, element, to, res);
}

static void mirror_array(const struct mirror *m, const struct kafka_field *from, const char *elements, int32_t n, const struct kafka_field *to, char *res) {
    any_array *a = array_at(res, to);
    int32_t old = a->n > 0 ? a->n : 0;
    if (n <= 0) return;
    char *p = kafka_struct_array(&m->q->arena, to->sub, old + n);
    if (old > 0) memcpy(p, a->p, to->sub->size * (size_t)old);
    for (int32_t i = 0; i < n; i++) append(m, from, elements + size_of(from) * (size_t)i, to->sub, p + to->sub->size * (size_t)(old + i));
    a->p = p;
    a->n = old + n;
}

void gate_put_back(struct kafka_req *q, const struct gate_list *out, const struct kafka_field *to, void *owner) {
    if (out->n == 0 || to == NULL) return;
    any_array *a = array_at(owner, to);
    int32_t old = a->n > 0 ? a->n : 0;
    char *p = kafka_struct_array(&q->arena, to->sub, old + out->n);
    if (old > 0) memcpy(p, a->p, to->sub->size * (size_t)old);
    for (int32_t i = 0; i < out->n; i++) {
        const struct mirror m = {q, out->errors[i], false};
        append(&m, out->field, out->p + size_of(out->field) * (size_t)i, to->sub, p + to->sub->size * (size_t)(old + i));
    }
    a->p = p;
    a->n = old + out->n;
}

void gate_deny(struct kafka_req *q, int error) { gate_refuse(q, error, true); }

void gate_refuse(struct kafka_req *q, int error, bool with_text) {
    const struct mirror m = {q, error, !with_text};
    const struct kafka_struct *to = q->api->response->body;
    const struct kafka_field *top = gate_field(to, "error_code");
    bool at_top = top != NULL && in_version(top, q->version);
    mirror_struct(&m, at_top ? NULL : q->api->request->body, q->msg, to, q->res);
}

// ---- taking out ---------------------------------------------------------------------------------------------------------
static struct str name_of(struct kafka_req *q, const struct kafka_field *f, const char *element) {
    static const char *const names[] = {"name", "topic", "topic_name", "resource_name", "group_id"};
    struct str name = {NULL, 0};
    if (f->type == KAFKA_STRING) memcpy(&name, element, sizeof name);
    if (f->type != KAFKA_STRUCT) return name;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct kafka_field *n = gate_field(f->sub, names[i]);
        if (n == NULL || n->type != KAFKA_STRING) continue;
        memcpy(&name, element + n->offset, sizeof name);
        break;
    }
    const struct kafka_field *id = gate_field(f->sub, "topic_id");
    if (name.n > 0 || id == NULL || !in_version(id, q->version)) return name;
    struct kafka_uuid uuid;
    memcpy(&uuid, element + id->offset, sizeof uuid);
    return gate_topic_name(q, name, &uuid);
}

struct str gate_topic_name(struct kafka_req *q, struct str name, const struct kafka_uuid *id) {
    struct broker_topic_info info;
    if (name.n > 0) return name;
    return broker_topic_get_id(kafka_req_broker(q), id->b, &q->arena, &info) ? str_c(info.name) : (struct str){NULL, 0};
}

void gate_filter(struct kafka_req *q, const struct kafka_field *f, void *owner, int (*each)(struct kafka_req *q, const void *e, struct str name),
                 struct gate_list *out) {
    any_array *a = array_at(owner, f);
    size_t size = size_of(f);
    int32_t kept = 0;
    *out = (struct gate_list){.field = f};
    for (int32_t i = 0; i < a->n; i++) {
        char *e = a->p + size * (size_t)i;
        int error = each(q, e, name_of(q, f, e));
        if (error == 0) {
            if (kept != i) memcpy(a->p + size * (size_t)kept, e, size);
            kept++;
            continue;
        }
        if (out->p == NULL) {
            out->p = arena_alloc(&q->arena, size * (size_t)a->n);
            out->errors = ARENA_ARRAY(&q->arena, int, a->n);
        }
        memcpy(out->p + size * (size_t)out->n, e, size);
        out->errors[out->n++] = error;
    }
    if (a->n > 0) a->n = kept; // null stays null
}

// ---- in and out ---------------------------------------------------------------------------------------------------------
bool gate_enter(struct kafka_req *q) {
    const struct gate *g = gate_find(q->h->key);
    if (g == NULL) {
        log_error("kafka", "an API without a rule of authorization is refused", "api", q->api->name, NULL);
        kafka_req_reject(q, "API without a rule of authorization");
        return false;
    }
    int error = g->whole == NULL ? 0 : g->whole(q);
    if (error != 0) {
        log_debug("kafka", "denied", "principal", kafka_req_principal(q), "host", kafka_req_host(q), "api", q->api->name, NULL);
        gate_deny(q, error);
        kafka_req_done(q);
        return false;
    }
    if (g->each == NULL && g->enter == NULL && g->leave == NULL && g->operations == 0) return true;
    struct gate_state *s = ARENA_NEW(&q->arena, struct gate_state);
    s->gate = g;
    q->gate = s;
    const struct kafka_field *f = g->each == NULL ? NULL : gate_first_array(q->api->request->body, q->version);
    if (f != NULL) gate_filter(q, f, q->msg, g->each, &s->out);
    if (g->enter != NULL) g->enter(q);
    return true;
}

// What the principal may do with each element, where the handler has said what can be done at all.
static void own_operations(struct kafka_req *q, enum acl_resource type) {
    const struct kafka_field *list = gate_first_array(q->api->response->body, q->version);
    if (list != NULL && list->type == KAFKA_STRUCT && strcmp(list->name, "brokers") == 0) list = gate_field(q->api->response->body, "topics");
    if (list == NULL || list->type != KAFKA_STRUCT) return;
    const struct kafka_field *ops = gate_field(list->sub, "authorized_operations");
    if (ops == NULL) ops = gate_field(list->sub, "topic_authorized_operations");
    if (ops == NULL || !in_version(ops, q->version)) return;
    any_array *a = array_at(q->res, list);
    for (int32_t i = 0; i < a->n; i++) {
        char *e = a->p + list->sub->size * (size_t)i;
        int32_t value;
        memcpy(&value, e + ops->offset, sizeof value);
        if (value == INT32_MIN) continue; // not asked for
        value = kafka_authorized_operations(q, type, name_of(q, list, e));
        memcpy(e + ops->offset, &value, sizeof value);
    }
}

// An error of the whole answer: nothing is told of single elements.
static bool failed(struct kafka_req *q) {
    const struct kafka_field *top = gate_field(q->api->response->body, "error_code");
    int16_t error = 0;
    if (top != NULL && in_version(top, q->version)) memcpy(&error, (const char *)q->res + top->offset, sizeof error);
    return error != 0;
}

void gate_leave(struct kafka_req *q) {
    struct gate_state *s = q->gate;
    const struct gate *g = s->gate;
    if (g->operations != 0) own_operations(q, g->operations);
    if (s->out.n > 0 && !failed(q)) {
        const struct kafka_field *to = gate_first_array(q->api->response->body, q->version);
        if (to != NULL && strcmp(to->name, "brokers") == 0) to = gate_field(q->api->response->body, "topics");
        gate_put_back(q, &s->out, to, q->res);
    }
    if (g->leave != NULL) g->leave(q);
    q->gate = NULL;
}
