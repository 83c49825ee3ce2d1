// SPDX-License-Identifier: Apache-2.0
// DescribeConfigs, IncrementalAlterConfigs, AlterConfigs, ListConfigResources: of topics, the broker, groups and client-metrics subscriptions.
// The tables of configs and their rules are the broker room's; loggers (loggers.c) are the process's.
#include "broker/dynamic.h"
#include "kafka/configs.h"
#include "kafka/conn.h"
#include "kafka/listener.h"

enum { TYPE_TOPIC = 2, TYPE_BROKER = 4, TYPE_LOGGER = 8, TYPE_CLIENT_METRICS = 16, TYPE_GROUP = 32 }; // of resources
enum { SOURCE_TOPIC = 1, CONFIG_LIST = 7 };

// A resource whose configs can be asked for and changed.
struct target {
    int type;
    enum broker_resource kind; // of all but topics
    const char *topic;
    struct str name;
    int own_source; // of what is set on it
};

typedef struct kafka_describe_configs_response_results describe_result;

static bool wanted(const struct kafka_describe_configs_request_resources *r, const char *name) {
    if (r->configuration_keys.n <= 0) return true; // null, and from some clients empty: all
    for (int32_t i = 0; i < r->configuration_keys.n; i++)
        if (str_eqc(r->configuration_keys.p[i], name)) return true;
    return false;
}

static void add_synonyms(struct kafka_req *q, const struct broker_config_entry *e, struct kafka_describe_configs_response_results_configs *c) {
    c->synonyms.n = (int32_t)e->n_synonyms;
    c->synonyms.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_configs_response_results_configs_synonyms, c->synonyms.n);
    for (int32_t i = 0; i < c->synonyms.n; i++) {
        const struct broker_config_synonym *s = &e->synonyms[i];
        c->synonyms.p[i] = (struct kafka_describe_configs_response_results_configs_synonyms){
            str_c(s->name), e->sensitive ? (struct str){NULL, 0} : str_c(s->value), (int8_t)s->source};
    }
}

static void fill_entries(struct kafka_req *q, const struct kafka_describe_configs_request_resources *r, describe_result *res,
                         const struct broker_config_entry *entries, size_t n) {
    const struct kafka_describe_configs_request *req = q->msg;
    res->configs.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_configs_response_results_configs, (int32_t)n);
    res->configs.n = 0;
    for (size_t i = 0; i < n; i++) {
        const struct broker_config_entry *e = &entries[i];
        if (!wanted(r, e->name)) continue;
        struct kafka_describe_configs_response_results_configs *c = &res->configs.p[res->configs.n++];
        c->name = str_c(e->name);
        c->value = e->sensitive ? (struct str){NULL, 0} : str_c(e->value);
        c->read_only = e->read_only;
        c->config_source = (int8_t)e->source;
        c->is_sensitive = e->sensitive;
        c->config_type = (int8_t)e->type;
        if (req->include_synonyms) add_synonyms(q, e, c);
        c->documentation = req->include_documentation ? str_c(e->doc) : (struct str){NULL, 0};
    }
}

// What a request's type and name mean. ERR_INVALID as Kafka says it.
static enum err_code find_target(struct kafka_req *q, int type, struct str name, bool describe, struct target *t, struct err *err) {
    int32_t node = kafka_req_config(q)->node_id;
    int64_t id;
    *t = (struct target){.type = type, .name = name};
    switch (type) {
    case TYPE_TOPIC:
        t->topic = kafka_req_name(q, name);
        t->own_source = SOURCE_TOPIC;
        return ERR_OK;
    case TYPE_BROKER:
        t->kind = name.n == 0 ? RESOURCE_BROKER_DEFAULT : RESOURCE_BROKER_SELF;
        t->own_source = name.n == 0 ? 3 : 2;
        if (name.n == 0) return ERR_OK;
        if (!str_to_i64(name, &id))
            return err_set(err, ERR_INVALID, "%s id must be an integer, but it is: " STR_FMT, describe ? "Broker" : "Node", STR_ARG(name));
        if (id != node)
            return err_set(err, ERR_INVALID, "Unexpected broker id, expected %d%s, but received " STR_FMT, node, describe ? " or empty string" : "",
                           STR_ARG(name));
        return ERR_OK;
    case TYPE_GROUP:
        t->kind = RESOURCE_GROUP;
        t->own_source = 8;
        return name.n == 0 ? err_set(err, ERR_INVALID, "Group name must not be empty") : ERR_OK;
    case TYPE_CLIENT_METRICS:
        t->kind = RESOURCE_CLIENT_METRICS;
        t->own_source = 7;
        return name.n == 0 ? err_set(err, ERR_INVALID, "Client metrics subscription name must not be empty") : ERR_OK;
    default: return err_set(err, ERR_INVALID, "Unknown resource type %d", type);
    }
}

static enum err_code bad_topic_name(const struct target *t, struct err *err) {
    return err_set(err, ERR_TOPIC_NAME, "topic name \"%.260s\": 1 to 249 letters, digits, '.', '_', '-'", t->topic);
}

// Of a topic whose configs are to be changed.
static enum err_code check_topic_name(const struct target *t, struct err *err) {
    if (t->type != TYPE_TOPIC || broker_topic_name_ok(t->topic)) return ERR_OK;
    return t->name.n == 0 ? err_set(err, ERR_INVALID, "Default topic resources are not allowed.") : bad_topic_name(t, err);
}

static enum err_code entries_of(struct kafka_req *q, const struct target *t, struct broker_config_entry **entries, size_t *n, struct err *err) {
    if (t->type == TYPE_TOPIC) return broker_topic_configs(kafka_req_broker(q), t->topic, &q->arena, entries, n, err);
    *n = broker_resource_describe(kafka_req_broker(q), t->kind, t->name, &q->arena, entries);
    return ERR_OK;
}

// Certificates of a listener: tried first, in force when it is answered; one change at a time, so that what was tried is what is kept.
static enum err_code alter_listeners(struct kafka_req *q, const struct target *t, const struct broker_kv *changes, size_t n, bool validate_only,
                                     struct err *err) {
    struct listeners *l = kafka_req_door(q)->listeners;
    struct sys *s = loop_sys(kafka_req_home(q)->loop);
    sys_mutex_lock(&l->alter);
    enum err_code code = broker_resource_alter(kafka_req_broker(q), t->kind, t->name, changes, n, true, err);
    if (code == ERR_OK) code = listeners_check(l, s, changes, n, err);
    if (code == ERR_OK && !validate_only) code = broker_resource_alter(kafka_req_broker(q), t->kind, t->name, changes, n, false, err);
    if (code == ERR_OK && !validate_only) (void)listeners_reload(l, s, true);
    sys_mutex_unlock(&l->alter);
    return code;
}

static enum err_code alter_target(struct kafka_req *q, const struct target *t, const struct broker_kv *changes, size_t n, bool validate_only,
                                  struct err *err) {
    if (t->type == TYPE_TOPIC) return broker_topic_alter(kafka_req_broker(q), t->topic, changes, n, validate_only, err);
    for (size_t i = 0; i < n && t->kind == RESOURCE_BROKER_SELF; i++)
        if (strncmp(changes[i].name, "listener.name.", 14) == 0) return alter_listeners(q, t, changes, n, validate_only, err);
    return broker_resource_alter(kafka_req_broker(q), t->kind, t->name, changes, n, validate_only, err);
}

static void describe_one(struct kafka_req *q, const struct kafka_describe_configs_request_resources *r, describe_result *res) {
    struct broker_config_entry *entries = NULL;
    struct target t;
    struct err err = {0};
    size_t n = 0;
    res->resource_type = r->resource_type;
    res->resource_name = r->resource_name;
    enum err_code code;
    if (r->resource_type == TYPE_LOGGER) code = loggers_describe(q, r->resource_name, &entries, &n, &err);
    else code = find_target(q, r->resource_type, r->resource_name, true, &t, &err);
    if (code == ERR_OK && r->resource_type == TYPE_TOPIC && !broker_topic_name_ok(t.topic)) code = bad_topic_name(&t, &err);
    if (code == ERR_OK && r->resource_type != TYPE_LOGGER) code = entries_of(q, &t, &entries, &n, &err);
    if (code == ERR_OK) {
        fill_entries(q, r, res, entries, n);
        return;
    }
    res->error_code = (int16_t)err_info(code)->kafka;
    res->error_message = str_c(arena_strdup(&q->arena, err.msg));
}

void kafka_do_describe_configs(struct kafka_req *q) {
    const struct kafka_describe_configs_request *req = q->msg;
    struct kafka_describe_configs_response *res = q->res;
    res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_configs_response_results, req->resources.n);
    res->results.n = req->resources.n;
    for (int32_t i = 0; i < req->resources.n; i++) describe_one(q, &req->resources.p[i], &res->results.p[i]);
    kafka_req_done(q);
}

// ---- IncrementalAlterConfigs --------------------------------------------------------------------------------------------
enum { OP_SET, OP_DELETE, OP_APPEND, OP_SUBTRACT };
typedef struct kafka_incremental_alter_configs_request_resources alter_resource;
typedef struct kafka_incremental_alter_configs_response_responses alter_result;

static bool list_has(struct str list, struct str item) {
    struct str head;
    while (list.n > 0) {
        str_cut(list, ',', &head, &list);
        if (str_eq(str_trim(head), item)) return true;
    }
    return false;
}

// `list` with the items of `change` added, or taken out.
static const char *edit_list(struct arena *a, const char *list, struct str change, bool append) {
    struct buf out;
    buf_init(&out, 1 << 16);
    struct str rest = append ? change : str_c(list), head;
    if (append) buf_puts(&out, list);
    while (rest.n > 0) {
        str_cut(rest, ',', &head, &rest);
        head = str_trim(head);
        if (head.n == 0 || list_has(append ? str_c(list) : change, head)) continue;
        if (out.n > 0) buf_put_u8(&out, ',');
        buf_put_str(&out, head);
    }
    const char *text = arena_strdup(a, buf_cstr(&out));
    buf_fini(&out);
    return text;
}

enum { CHANGES_MAX = 2000 }; // of one resource in one request: the search for repeats is quadratic

#define REFUSE_REPEATS(list, err)                                                                                                                \
    do {                                                                                                                                         \
        if ((list).n > CHANGES_MAX) return err_set((err), ERR_INVALID, "at most %d configs of a resource in one request", CHANGES_MAX);           \
        for (int32_t i_ = 0; i_ < (list).n; i_++)                                                                                                \
            for (int32_t k_ = 0; k_ < i_; k_++)                                                                                                  \
                if (str_eq((list).p[i_].name, (list).p[k_].name)) return err_set((err), ERR_INVALID, "Error due to duplicate config keys");      \
    } while (0)

static enum err_code change_of(struct kafka_req *q, const struct kafka_incremental_alter_configs_request_resources_configs *c,
                               const struct broker_config_entry *entries, size_t n, struct broker_kv *kv, struct err *err) {
    kv->name = arena_strndup(&q->arena, c->name.p, c->name.n);
    kv->value = NULL;
    if (c->config_operation == OP_DELETE) return ERR_OK;
    if (c->value.p == NULL) return err_set(err, ERR_INVALID, "Null value not supported for : %s", kv->name);
    kv->value = arena_strndup(&q->arena, c->value.p, c->value.n);
    if (c->config_operation == OP_SET) return ERR_OK;
    if (c->config_operation != OP_APPEND && c->config_operation != OP_SUBTRACT)
        return err_set(err, ERR_INVALID, "config %s: unknown operation %d", kv->name, c->config_operation);
    for (size_t i = 0; i < n; i++) {
        if (!str_eqc(c->name, entries[i].name) || entries[i].type != CONFIG_LIST) continue;
        kv->value = edit_list(&q->arena, entries[i].value == NULL ? "" : entries[i].value, c->value, c->config_operation == OP_APPEND);
        return ERR_OK;
    }
    return err_set(err, ERR_CONFIG, "config %s is not a list: it can be set, not appended to", kv->name);
}

static enum err_code alter_one(struct kafka_req *q, const alter_resource *r, struct err *err) {
    const struct kafka_incremental_alter_configs_request *req = q->msg;
    struct broker_config_entry *entries;
    struct target t;
    size_t n;
    REFUSE_REPEATS(r->configs, err);
    if (r->resource_type == TYPE_LOGGER) return loggers_alter(q, r, req->validate_only, err);
    enum err_code code = find_target(q, r->resource_type, r->resource_name, false, &t, err);
    if (code == ERR_OK) code = check_topic_name(&t, err);
    if (code == ERR_OK) code = entries_of(q, &t, &entries, &n, err);
    if (code != ERR_OK) return code;
    struct broker_kv *changes = ARENA_ARRAY(&q->arena, struct broker_kv, r->configs.n);
    for (int32_t i = 0; i < r->configs.n; i++)
        if ((code = change_of(q, &r->configs.p[i], entries, n, &changes[i], err)) != ERR_OK) return code;
    return alter_target(q, &t, changes, (size_t)r->configs.n, req->validate_only, err);
}

static void put_result(struct kafka_req *q, enum err_code code, const struct err *err, int16_t *error, struct str *message) {
    if (code == ERR_OK) return;
    if (code == ERR_NOT_SUPPORTED) code = ERR_CONFIG; // Kafka's code for "not supported" speaks of protocol versions
    *error = (int16_t)err_info(code)->kafka;
    *message = str_c(arena_strdup(&q->arena, err->msg));
}

static void alter_all(void *arg) { // on the broker's pool
    struct kafka_req *q = arg;
    const struct kafka_incremental_alter_configs_request *req = q->msg;
    struct kafka_incremental_alter_configs_response *res = q->res;
    for (int32_t i = 0; i < req->resources.n; i++) {
        const alter_resource *r = &req->resources.p[i];
        alter_result *out = &res->responses.p[i];
        struct err err = {0};
        bool twice = false;
        for (int32_t k = 0; k < req->resources.n; k++)
            twice |= k != i && req->resources.p[k].resource_type == r->resource_type && str_eq(req->resources.p[k].resource_name, r->resource_name);
        enum err_code code = twice ? err_set(&err, ERR_INVALID, "Each resource must appear at most once.") : alter_one(q, r, &err);
        put_result(q, code, &err, &out->error_code, &out->error_message);
    }
}

static void answer(void *arg) { kafka_req_done(arg); }

void kafka_do_incremental_alter_configs(struct kafka_req *q) {
    const struct kafka_incremental_alter_configs_request *req = q->msg;
    struct kafka_incremental_alter_configs_response *res = q->res;
    res->responses.p = KAFKA_ELEMENTS(&q->arena, kafka_incremental_alter_configs_response_responses, req->resources.n);
    res->responses.n = req->resources.n;
    for (int32_t i = 0; i < req->resources.n; i++) {
        res->responses.p[i].resource_type = req->resources.p[i].resource_type;
        res->responses.p[i].resource_name = req->resources.p[i].resource_name;
        res->responses.p[i].error_message = (struct str){NULL, 0};
    }
    if (!kafka_req_submit(q, alter_all, answer)) kafka_req_reject(q, "too many administrative requests");
}

// ---- AlterConfigs: what older clients have. The configs given replace all that the topic has of its own -----------------
typedef struct kafka_alter_configs_request_resources replace_resource;

static bool given(const replace_resource *r, const char *name) {
    for (int32_t i = 0; i < r->configs.n; i++)
        if (str_eqc(r->configs.p[i].name, name)) return true;
    return false;
}

static enum err_code replace_one(struct kafka_req *q, const replace_resource *r, struct err *err) {
    const struct kafka_alter_configs_request *req = q->msg;
    struct broker_config_entry *entries;
    struct target t;
    size_t n_entries, n = 0;
    REFUSE_REPEATS(r->configs, err);
    enum err_code code = find_target(q, r->resource_type, r->resource_name, false, &t, err);
    if (code == ERR_OK) code = check_topic_name(&t, err);
    if (code == ERR_OK) code = entries_of(q, &t, &entries, &n_entries, err);
    if (code != ERR_OK) return code;
    struct broker_kv *changes = ARENA_ARRAY(&q->arena, struct broker_kv, n_entries + (size_t)r->configs.n);
    for (int32_t i = 0; i < r->configs.n; i++) {
        const struct kafka_alter_configs_request_resources_configs *c = &r->configs.p[i];
        const char *key = arena_strndup(&q->arena, c->name.p, c->name.n);
        if (c->value.p == NULL) return err_set(err, ERR_INVALID, "Null value not supported for : %s", key);
        changes[n++] = (struct broker_kv){key, arena_strndup(&q->arena, c->value.p, c->value.n)};
    }
    for (size_t i = 0; i < n_entries; i++)
        if (entries[i].source == t.own_source && !given(r, entries[i].name)) changes[n++] = (struct broker_kv){entries[i].name, NULL};
    return alter_target(q, &t, changes, n, req->validate_only, err);
}

static void replace_all(void *arg) { // on the broker's pool
    struct kafka_req *q = arg;
    const struct kafka_alter_configs_request *req = q->msg;
    struct kafka_alter_configs_response *res = q->res;
    for (int32_t i = 0; i < req->resources.n; i++) {
        const replace_resource *r = &req->resources.p[i];
        struct err err = {0};
        enum err_code code = replace_one(q, r, &err);
        put_result(q, code, &err, &res->responses.p[i].error_code, &res->responses.p[i].error_message);
    }
}

void kafka_do_alter_configs(struct kafka_req *q) {
    const struct kafka_alter_configs_request *req = q->msg;
    struct kafka_alter_configs_response *res = q->res;
    res->responses.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_configs_response_responses, req->resources.n);
    res->responses.n = req->resources.n;
    for (int32_t i = 0; i < req->resources.n; i++) {
        res->responses.p[i].resource_type = req->resources.p[i].resource_type;
        res->responses.p[i].resource_name = req->resources.p[i].resource_name;
        res->responses.p[i].error_message = (struct str){NULL, 0};
    }
    if (!kafka_req_submit(q, replace_all, answer)) kafka_req_reject(q, "too many administrative requests");
}

// ---- ListConfigResources (in version 0: ListClientMetricsResources) -----------------------------------------------------
typedef struct kafka_list_config_resources_response_config_resources listed;

static void add_listed(struct kafka_list_config_resources_response *res, int type, struct str name) {
    res->config_resources.p[res->config_resources.n++] = (listed){name, (int8_t)type};
}

static bool asked(const struct kafka_req *q, int type) {
    const struct kafka_list_config_resources_request *req = q->msg;
    if (q->version == 0) return type == TYPE_CLIENT_METRICS;
    for (int32_t i = 0; i < req->resource_types.n; i++)
        if (req->resource_types.p[i] == type) return true;
    return req->resource_types.n == 0; // none: all
}

static bool listable(int type) {
    return type == TYPE_TOPIC || type == TYPE_BROKER || type == TYPE_LOGGER || type == TYPE_CLIENT_METRICS || type == TYPE_GROUP;
}

void kafka_do_list_config_resources(struct kafka_req *q) {
    const struct kafka_list_config_resources_request *req = q->msg;
    struct kafka_list_config_resources_response *res = q->res;
    struct broker *b = kafka_req_broker(q);
    for (int32_t i = 0; q->version > 0 && i < req->resource_types.n; i++)
        if (!listable(req->resource_types.p[i])) res->error_code = KAFKA_UNSUPPORTED_VERSION;
    if (res->error_code != 0) {
        kafka_req_done(q);
        return;
    }
    struct broker_topic_info *topics = NULL;
    struct str *groups, *metrics, node = str_c(arena_printf(&q->arena, "%d", kafka_req_config(q)->node_id));
    size_t n_topics = asked(q, TYPE_TOPIC) ? broker_topic_list(b, &q->arena, &topics) : 0;
    size_t n_groups = broker_resource_names(b, RESOURCE_GROUP, &q->arena, &groups);
    size_t n_metrics = broker_resource_names(b, RESOURCE_CLIENT_METRICS, &q->arena, &metrics);
    res->config_resources.p =
        KAFKA_ELEMENTS(&q->arena, kafka_list_config_resources_response_config_resources, (int32_t)(n_topics + n_groups + n_metrics + 2));
    res->config_resources.n = 0;
    for (size_t i = 0; i < n_topics; i++) add_listed(res, TYPE_TOPIC, str_c(topics[i].name));
    if (asked(q, TYPE_BROKER)) add_listed(res, TYPE_BROKER, node);
    if (asked(q, TYPE_LOGGER)) add_listed(res, TYPE_LOGGER, node);
    for (size_t i = 0; asked(q, TYPE_CLIENT_METRICS) && i < n_metrics; i++) add_listed(res, TYPE_CLIENT_METRICS, metrics[i]);
    for (size_t i = 0; asked(q, TYPE_GROUP) && i < n_groups; i++) add_listed(res, TYPE_GROUP, groups[i]);
    kafka_req_done(q);
}
