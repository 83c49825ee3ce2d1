// SPDX-License-Identifier: Apache-2.0
// DescribeConfigs, IncrementalAlterConfigs and AlterConfigs, of topics and of the broker (describe only). The table of configs is the broker room's.
#include "kafka/conn.h"

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };
enum { SOURCE_TOPIC = 1, SOURCE_DEFAULT = 5, TYPE_LIST = 7 };

typedef struct kafka_describe_configs_response_results describe_result;

static bool wanted(const struct kafka_describe_configs_request_resources *r, const char *name) {
    if (r->configuration_keys.n <= 0) return true; // null, and from some clients empty: all
    for (int32_t i = 0; i < r->configuration_keys.n; i++)
        if (str_eqc(r->configuration_keys.p[i], name)) return true;
    return false;
}

static void add_synonyms(struct kafka_req *q, const struct broker_config_entry *e, struct kafka_describe_configs_response_results_configs *c) {
    c->synonyms.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_configs_response_results_configs_synonyms, 2);
    c->synonyms.n = 0;
    if (e->source != SOURCE_DEFAULT)
        c->synonyms.p[c->synonyms.n++] =
            (struct kafka_describe_configs_response_results_configs_synonyms){str_c(e->name), str_c(e->value), (int8_t)e->source};
    if (e->default_value != NULL || e->source == SOURCE_DEFAULT)
        c->synonyms.p[c->synonyms.n++] =
            (struct kafka_describe_configs_response_results_configs_synonyms){str_c(e->name), str_c(e->default_value), SOURCE_DEFAULT};
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
        if (req->include_documentation) c->documentation = str_c(e->doc);
    }
}

static void describe_one(struct kafka_req *q, const struct kafka_describe_configs_request_resources *r, describe_result *res) {
    struct broker_config_entry *entries = NULL;
    size_t n = 0;
    res->resource_type = r->resource_type;
    res->resource_name = r->resource_name;
    if (r->resource_type == RESOURCE_TOPIC) {
        struct err err = {0};
        const char *name = kafka_req_name(q, r->resource_name);
        enum err_code code = broker_topic_configs(kafka_req_broker(q), name, &q->arena, &entries, &n, &err);
        if (code == ERR_OK) {
            fill_entries(q, r, res, entries, n);
            return;
        }
        res->error_code = (int16_t)err_info(code)->kafka;
        res->error_message = str_c(arena_strdup(&q->arena, err.msg));
        return;
    }
    int64_t node;
    if (r->resource_type == RESOURCE_BROKER && r->resource_name.n == 0) return; // the cluster-wide dynamic configs: none
    if (r->resource_type == RESOURCE_BROKER && str_to_i64(r->resource_name, &node) && node == kafka_req_config(q)->node_id) {
        n = broker_configs(kafka_req_broker(q), &q->arena, &entries);
        fill_entries(q, r, res, entries, n);
        return;
    }
    res->error_code = KAFKA_INVALID_REQUEST;
    res->error_message = r->resource_type == RESOURCE_BROKER ? STR("no broker of that id") : STR("only topics and the broker have configs here");
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

static enum err_code change_of(struct kafka_req *q, const struct kafka_incremental_alter_configs_request_resources_configs *c,
                               const struct broker_config_entry *entries, size_t n, struct broker_kv *kv, struct err *err) {
    kv->name = arena_strndup(&q->arena, c->name.p, c->name.n);
    kv->value = NULL;
    if (c->config_operation == OP_DELETE) return ERR_OK;
    if (c->value.p == NULL) return err_set(err, ERR_INVALID, "config %s: null is not a value", kv->name);
    kv->value = arena_strndup(&q->arena, c->value.p, c->value.n);
    if (c->config_operation == OP_SET) return ERR_OK;
    if (c->config_operation != OP_APPEND && c->config_operation != OP_SUBTRACT)
        return err_set(err, ERR_INVALID, "config %s: unknown operation %d", kv->name, c->config_operation);
    for (size_t i = 0; i < n; i++) {
        if (!str_eqc(c->name, entries[i].name) || entries[i].type != TYPE_LIST) continue;
        kv->value = edit_list(&q->arena, entries[i].value == NULL ? "" : entries[i].value, c->value, c->config_operation == OP_APPEND);
        return ERR_OK;
    }
    return err_set(err, ERR_CONFIG, "config %s is not a list: it can be set, not appended to", kv->name);
}

static enum err_code alter_topic(struct kafka_req *q, const alter_resource *r, struct err *err) {
    const struct kafka_incremental_alter_configs_request *req = q->msg;
    const char *name = kafka_req_name(q, r->resource_name);
    struct broker_config_entry *entries;
    size_t n;
    enum err_code code = broker_topic_configs(kafka_req_broker(q), name, &q->arena, &entries, &n, err);
    if (code != ERR_OK) return code;
    struct broker_kv *changes = ARENA_ARRAY(&q->arena, struct broker_kv, r->configs.n);
    for (int32_t i = 0; i < r->configs.n; i++)
        if ((code = change_of(q, &r->configs.p[i], entries, n, &changes[i], err)) != ERR_OK) return code;
    return broker_topic_alter(kafka_req_broker(q), name, changes, (size_t)r->configs.n, req->validate_only, err);
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
        enum err_code code = ERR_OK;
        if (r->resource_type == RESOURCE_TOPIC) code = alter_topic(q, r, &err);
        else code = err_set(&err, ERR_INVALID, "only topics' configs can be changed while the server runs");
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

static enum err_code replace_topic(struct kafka_req *q, const replace_resource *r, struct err *err) {
    const struct kafka_alter_configs_request *req = q->msg;
    const char *name = kafka_req_name(q, r->resource_name);
    struct broker_config_entry *entries;
    size_t n_entries, n = 0;
    enum err_code code = broker_topic_configs(kafka_req_broker(q), name, &q->arena, &entries, &n_entries, err);
    if (code != ERR_OK) return code;
    struct broker_kv *changes = ARENA_ARRAY(&q->arena, struct broker_kv, n_entries + (size_t)r->configs.n);
    for (int32_t i = 0; i < r->configs.n; i++) {
        const struct kafka_alter_configs_request_resources_configs *c = &r->configs.p[i];
        const char *key = arena_strndup(&q->arena, c->name.p, c->name.n);
        if (c->value.p == NULL) return err_set(err, ERR_INVALID, "config %s: null is not a value", key);
        changes[n++] = (struct broker_kv){key, arena_strndup(&q->arena, c->value.p, c->value.n)};
    }
    for (size_t i = 0; i < n_entries; i++)
        if (entries[i].source == SOURCE_TOPIC && !given(r, entries[i].name)) changes[n++] = (struct broker_kv){entries[i].name, NULL};
    return broker_topic_alter(kafka_req_broker(q), name, changes, n, req->validate_only, err);
}

static void replace_all(void *arg) { // on the broker's pool
    struct kafka_req *q = arg;
    const struct kafka_alter_configs_request *req = q->msg;
    struct kafka_alter_configs_response *res = q->res;
    for (int32_t i = 0; i < req->resources.n; i++) {
        const replace_resource *r = &req->resources.p[i];
        struct err err = {0};
        enum err_code code = r->resource_type == RESOURCE_TOPIC
                                 ? replace_topic(q, r, &err)
                                 : err_set(&err, ERR_INVALID, "only topics' configs can be changed while the server runs");
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
    }
    if (!kafka_req_submit(q, replace_all, answer)) kafka_req_reject(q, "too many administrative requests");
}
