// SPDX-License-Identifier: Apache-2.0
// CreateTopics, DeleteTopics, CreatePartitions. All sync files: the whole request is worked off on the broker's pool, then answered on the
// connection's loop. The request and its arena are the worker's while it runs.
#include "broker/dynamic.h"
#include "kafka/placement.h"
#include "kafka/throttle.h"

static void answer(void *arg) { kafka_req_done(arg); }

// Quotas of topic changes (KIP-599). Older versions do not know the error: they are let through and wait afterwards.
static bool over_quota(struct kafka_req *q, int64_t partitions, int strict_from, int16_t *error, struct str *message) {
    if (throttle_mutation(q, partitions, q->version >= strict_from)) return false;
    *error = KAFKA_THROTTLING_QUOTA_EXCEEDED;
    *message = STR("The throttling quota has been exceeded.");
    return true;
}

// A name that came twice is answered once.
#define DROP_REPEATS(list)                                                                                                                           \
    do {                                                                                                                                             \
        int32_t kept_ = 0;                                                                                                                           \
        for (int32_t i_ = 0; i_ < (list).n; i_++) {                                                                                                  \
            bool again_ = false;                                                                                                                     \
            for (int32_t k_ = 0; k_ < kept_ && !again_ && (list).n <= TOPICS_MAX; k_++) again_ = str_eq((list).p[k_].name, (list).p[i_].name);       \
            if (!again_) (list).p[kept_++] = (list).p[i_];                                                                                           \
        }                                                                                                                                            \
        (list).n = kept_;                                                                                                                            \
    } while (0)

enum { TOPICS_MAX = 2000 }; // of one administrative request: more are refused, the work is quadratic in one place

static struct str message_of(struct kafka_req *q, const struct err *err) { return str_c(arena_strdup(&q->arena, err->msg)); }

// ---- CreateTopics -------------------------------------------------------------------------------------------------------
typedef struct kafka_create_topics_request_topics create_request;
typedef struct kafka_create_topics_response_topics create_response;

static void describe_created(struct kafka_req *q, const char *name, create_response *res) { // version 5 and later
    struct broker_config_entry *entries;
    size_t n;
    struct err err;
    if (broker_topic_configs(kafka_req_broker(q), name, &q->arena, &entries, &n, &err) != ERR_OK) return;
    res->configs.p = KAFKA_ELEMENTS(&q->arena, kafka_create_topics_response_topics_configs, (int32_t)n);
    res->configs.n = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        struct kafka_create_topics_response_topics_configs *c = &res->configs.p[i];
        c->name = str_c(entries[i].name);
        c->value = str_c(entries[i].value);
        c->read_only = entries[i].read_only;
        c->config_source = (int8_t)entries[i].source;
        c->is_sensitive = entries[i].sensitive;
    }
}

static void create_one(struct kafka_req *q, const create_request *t, create_response *res) {
    const struct kafka_create_topics_request *req = q->msg;
    const char *message = NULL, *name = kafka_req_name(q, t->name);
    int32_t partitions;
    int error = placement_of_topic(q, t, &partitions, &message);
    if (error != 0) {
        res->error_code = (int16_t)error;
        res->error_message = str_c(message);
        return;
    }
    int64_t wanted = partitions > 0 ? partitions : broker_config_i64(kafka_req_broker(q), "num.partitions", 1);
    if (over_quota(q, wanted, 6, &res->error_code, &res->error_message)) return;
    size_t n = t->configs.n < 0 ? 0 : (size_t)t->configs.n;
    struct broker_kv *configs = ARENA_ARRAY(&q->arena, struct broker_kv, n);
    for (size_t i = 0; i < n; i++) {
        struct str v = t->configs.p[i].value;
        configs[i].name = arena_strndup(&q->arena, t->configs.p[i].name.p, t->configs.p[i].name.n);
        configs[i].value = v.p == NULL ? NULL : arena_strndup(&q->arena, v.p, v.n);
        if (v.p != NULL) continue;
        res->error_code = KAFKA_INVALID_CONFIG;
        res->error_message = str_c(arena_printf(&q->arena, "Null value not supported for topic configs: %s", configs[i].name));
        return;
    }
    struct err err = {0};
    struct broker_topic_info info = {0};
    enum err_code code = broker_topic_create(kafka_req_broker(q), name, partitions, configs, n, req->validate_only, &info, &q->arena, &err);
    if (code == ERR_NOT_SUPPORTED) code = ERR_CONFIG; // a config value; Kafka's code for "not supported" speaks of protocol versions
    res->error_code = (int16_t)(code == ERR_OK ? 0 : err_info(code)->kafka);
    if (code != ERR_OK) {
        res->error_message = message_of(q, &err);
        return;
    }
    memcpy(res->topic_id.b, info.id, sizeof res->topic_id.b);
    res->num_partitions = info.partitions;
    res->replication_factor = 1;
    if (req->validate_only) return;
    if (q->version >= 5) describe_created(q, name, res);
}

static void create_all(void *arg) {
    struct kafka_req *q = arg;
    const struct kafka_create_topics_request *req = q->msg;
    struct kafka_create_topics_response *res = q->res;
    for (int32_t i = 0; i < req->topics.n; i++) {
        create_response *r = &res->topics.p[i];
        for (int32_t k = 0; k < req->topics.n; k++) {
            if (k == i || !str_eq(req->topics.p[k].name, req->topics.p[i].name)) continue;
            r->error_code = KAFKA_INVALID_REQUEST;
            r->error_message = STR("Duplicate topic name.");
            break;
        }
        if (r->error_code == 0) create_one(q, &req->topics.p[i], r);
    }
    DROP_REPEATS(res->topics);
}

static void submit(struct kafka_req *q, loop_fn *work) {
    if (!kafka_req_submit(q, work, answer)) kafka_req_reject(q, "too many administrative requests");
}

void kafka_do_create_topics(struct kafka_req *q) {
    const struct kafka_create_topics_request *req = q->msg;
    struct kafka_create_topics_response *res = q->res;
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_create_topics_response_topics, req->topics.n);
    res->topics.n = req->topics.n;
    for (int32_t i = 0; i < req->topics.n; i++) {
        create_response *r = &res->topics.p[i];
        r->name = req->topics.p[i].name;
        r->num_partitions = -1;
        r->replication_factor = -1;
        r->error_message = (struct str){NULL, 0};
        if (req->topics.n > TOPICS_MAX) r->error_code = KAFKA_POLICY_VIOLATION;
    }
    if (req->topics.n > TOPICS_MAX) kafka_req_done(q);
    else submit(q, create_all);
}

// ---- DeleteTopics ---------------------------------------------------------------------------------------------------------
typedef struct kafka_delete_topics_response_responses delete_response;

static bool id_is_zero(const struct kafka_uuid *id) {
    static const struct kafka_uuid zero;
    return memcmp(id, &zero, sizeof zero) == 0;
}

static void name_fault(delete_response *r) {
    bool named = r->name.p != NULL, identified = !id_is_zero(&r->topic_id);
    if (named != identified) return;
    r->error_code = KAFKA_INVALID_REQUEST;
    r->error_message = named ? STR("You may not specify both topic name and topic id.") : STR("Neither topic name nor id were specified.");
}

static bool same_topic(const delete_response *a, const delete_response *b) {
    if (a->name.p != NULL || b->name.p != NULL) return a->name.p != NULL && b->name.p != NULL && str_eq(a->name, b->name);
    return memcmp(&a->topic_id, &b->topic_id, sizeof a->topic_id) == 0 && !id_is_zero(&a->topic_id);
}

// What came twice is refused and answered once.
static void refuse_repeats(struct kafka_delete_topics_response *res) {
    int32_t kept = 0;
    for (int32_t i = 0; i < res->responses.n; i++) {
        delete_response *r = &res->responses.p[i], *earlier = NULL;
        for (int32_t k = 0; k < kept && earlier == NULL; k++)
            if (same_topic(&res->responses.p[k], r)) earlier = &res->responses.p[k];
        if (earlier == NULL) {
            res->responses.p[kept++] = *r;
        } else if (earlier->error_code == 0) {
            earlier->error_code = KAFKA_INVALID_REQUEST;
            earlier->error_message = r->name.p != NULL ? STR("Duplicate topic name.") : STR("Duplicate topic id.");
        }
    }
    res->responses.n = kept;
}

static const char *configs_delete_enabled(struct kafka_req *q) {
    struct broker_config_entry *e;
    size_t n = broker_configs(kafka_req_broker(q), &q->arena, &e);
    for (size_t i = 0; i < n; i++)
        if (strcmp(e[i].name, "delete.topic.enable") == 0) return e[i].value;
    return "true";
}

static void delete_one(struct kafka_req *q, struct kafka_delete_topics_response_responses *r) {
    struct err err = {0};
    struct broker_topic_info info;
    const char *name = NULL;
    if (r->error_code != 0) return;
    if (strcmp(configs_delete_enabled(q), "true") != 0) {
        r->error_code = q->version >= 3 ? KAFKA_TOPIC_DELETION_DISABLED : KAFKA_INVALID_REQUEST;
        r->error_message = STR("Topic deletion is disabled.");
        return;
    }
    if (r->name.p != NULL) {
        name = kafka_req_name(q, r->name);
        if (broker_topic_get(kafka_req_broker(q), r->name, &q->arena, &info)) memcpy(r->topic_id.b, info.id, sizeof r->topic_id.b);
    } else if (broker_topic_get_id(kafka_req_broker(q), r->topic_id.b, &q->arena, &info)) {
        name = info.name;
        r->name = str_c(info.name);
    } else {
        r->error_code = KAFKA_UNKNOWN_TOPIC_ID;
        r->error_message = STR("This server does not host this topic ID.");
        return;
    }
    if (broker_topic_get(kafka_req_broker(q), str_c(name), &q->arena, &info) && over_quota(q, info.partitions, 5, &r->error_code, &r->error_message))
        return;
    enum err_code code = broker_topic_delete(kafka_req_broker(q), name, &err);
    r->error_code = (int16_t)(code == ERR_OK ? 0 : err_info(code)->kafka);
    if (code != ERR_OK) r->error_message = message_of(q, &err);
}

static void delete_all(void *arg) {
    struct kafka_req *q = arg;
    struct kafka_delete_topics_response *res = q->res;
    for (int32_t i = 0; i < res->responses.n; i++) delete_one(q, &res->responses.p[i]);
}

void kafka_do_delete_topics(struct kafka_req *q) {
    const struct kafka_delete_topics_request *req = q->msg;
    struct kafka_delete_topics_response *res = q->res;
    bool by_id = q->version >= 6;
    int32_t n = by_id ? req->topics.n : req->topic_names.n;
    res->responses.p = KAFKA_ELEMENTS(&q->arena, kafka_delete_topics_response_responses, n);
    res->responses.n = n;
    for (int32_t i = 0; i < n; i++) {
        res->responses.p[i].name = by_id ? req->topics.p[i].name : req->topic_names.p[i];
        if (by_id) res->responses.p[i].topic_id = req->topics.p[i].topic_id;
        name_fault(&res->responses.p[i]);
    }
    if (n <= TOPICS_MAX) refuse_repeats(res);
    submit(q, delete_all);
}

// ---- CreatePartitions -------------------------------------------------------------------------------------------------------
static void grow_one(struct kafka_req *q, const struct kafka_create_partitions_request_topics *t,
                     struct kafka_create_partitions_response_results *r) {
    const struct kafka_create_partitions_request *req = q->msg;
    struct err err = {0};
    const char *name = kafka_req_name(q, t->name), *message = NULL;
    struct broker_topic_info info;
    bool exists = broker_topic_get(kafka_req_broker(q), str_c(name), &q->arena, &info);
    if (exists && (r->error_code = (int16_t)placement_of_growth(q, t, info.partitions, &message)) != 0) {
        r->error_message = str_c(message);
        return;
    }
    if (exists && over_quota(q, t->count - info.partitions, 3, &r->error_code, &r->error_message)) return;
    enum err_code code = broker_topic_grow(kafka_req_broker(q), name, t->count, req->validate_only, &err);
    r->error_code = (int16_t)(code == ERR_OK ? 0 : err_info(code)->kafka);
    if (code != ERR_OK) r->error_message = message_of(q, &err);
}

static void grow_all(void *arg) {
    struct kafka_req *q = arg;
    const struct kafka_create_partitions_request *req = q->msg;
    struct kafka_create_partitions_response *res = q->res;
    for (int32_t i = 0; i < req->topics.n; i++) {
        bool twice = false;
        for (int32_t k = 0; k < req->topics.n && !twice && req->topics.n <= TOPICS_MAX; k++)
            twice = k != i && str_eq(req->topics.p[k].name, req->topics.p[i].name);
        if (!twice) grow_one(q, &req->topics.p[i], &res->results.p[i]);
        if (!twice) continue;
        res->results.p[i].error_code = KAFKA_INVALID_REQUEST;
        res->results.p[i].error_message = STR("Duplicate topic name.");
    }
    DROP_REPEATS(res->results);
}

void kafka_do_create_partitions(struct kafka_req *q) {
    const struct kafka_create_partitions_request *req = q->msg;
    struct kafka_create_partitions_response *res = q->res;
    res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_create_partitions_response_results, req->topics.n);
    res->results.n = req->topics.n;
    for (int32_t i = 0; i < req->topics.n; i++) res->results.p[i].name = req->topics.p[i].name;
    submit(q, grow_all);
}
