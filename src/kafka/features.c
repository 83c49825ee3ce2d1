// SPDX-License-Identifier: Apache-2.0
// Features: their levels in ApiVersions, UpdateFeatures, and the APIs of groups whose type is off. On a request's loop; a change syncs the
// broker's store, so it runs on the pool. What a level means elsewhere: broker/features.h.
#include "broker/features.h"
#include "kafka/authorize.h"
#include "kafka/features.h"
#include "kafka/gate.h"

// ---- ApiVersions ----------------------------------------------------------------------------------------------------

// Before v4 clients cannot read a lowest version of 0, so those features are left out there (KAFKA-17011); their finalized level is told.
void kafka_put_features(struct kafka_req *q, struct kafka_api_versions_response *res) {
    struct broker_feature_info all[FEATURES];
    res->finalized_features_epoch = broker_features(kafka_req_broker(q), all);
    res->supported_features.p = KAFKA_ELEMENTS(&q->arena, kafka_api_versions_response_supported_features, FEATURES);
    res->finalized_features.p = KAFKA_ELEMENTS(&q->arena, kafka_api_versions_response_finalized_features, FEATURES);
    for (int i = 0; i < FEATURES; i++) {
        const struct broker_feature_info *f = &all[i];
        if (f->min > 0 || q->version >= 4)
            res->supported_features.p[res->supported_features.n++] =
                (struct kafka_api_versions_response_supported_features){str_c(f->name), f->min, f->max};
        if (f->level > 0)
            res->finalized_features.p[res->finalized_features.n++] =
                (struct kafka_api_versions_response_finalized_features){str_c(f->name), f->level, f->level};
    }
}

// ---- UpdateFeatures -------------------------------------------------------------------------------------------------

struct updating {
    struct broker_feature_update *updates;
    bool validate_only;
    struct err err;
};

static void update(void *arg) {
    struct kafka_req *q = arg;
    struct updating *u = q->state;
    const struct kafka_update_features_request *req = q->msg;
    (void)broker_features_update(kafka_req_broker(q), u->updates, (size_t)req->feature_updates.n, u->validate_only, &u->err);
}

// All or none, so an error is told for all, at the top. Before version 2 each feature has a result when all is well, with Kafka's word for that.
static void updated(void *arg) {
    struct kafka_req *q = arg;
    const struct updating *u = q->state;
    const struct kafka_update_features_request *req = q->msg;
    struct kafka_update_features_response *res = q->res;
    enum err_code code = u->err.code;
    const char *why = "The update failed for all features since the following feature had an error: ";
    res->error_message = (struct str){NULL, 0};
    res->error_code = (int16_t)(code == ERR_OK ? 0 : code == ERR_INVALID ? KAFKA_INVALID_UPDATE_VERSION : KAFKA_FEATURE_UPDATE_FAILED);
    if (code != ERR_OK) res->error_message = str_c(arena_printf(&q->arena, "%s%s", code == ERR_INVALID ? why : "", u->err.msg));
    int32_t n = q->version < 2 && code == ERR_OK ? req->feature_updates.n : 0;
    res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_update_features_response_results, n);
    res->results.n = n;
    for (int32_t i = 0; i < n; i++)
        res->results.p[i] = (struct kafka_update_features_response_results){req->feature_updates.p[i].feature, 0, STR("NONE")};
    kafka_req_done(q);
}

void kafka_do_update_features(struct kafka_req *q) {
    const struct kafka_update_features_request *req = q->msg;
    struct updating *u = ARENA_NEW(&q->arena, struct updating);
    struct kafka_update_features_response *res = q->res;
    res->error_message = (struct str){NULL, 0};
    u->updates = ARENA_ARRAY(&q->arena, struct broker_feature_update, req->feature_updates.n + 1);
    u->validate_only = q->version >= 1 && req->validate_only;
    for (int32_t i = 0; i < req->feature_updates.n; i++) {
        const struct kafka_update_features_request_feature_updates *f = &req->feature_updates.p[i];
        int8_t change = q->version >= 1 ? f->upgrade_type : f->allow_downgrade ? FEATURE_SAFE_DOWNGRADE : FEATURE_UPGRADE;
        u->updates[i] = (struct broker_feature_update){f->feature, f->max_version_level, change};
    }
    q->state = u;
    if (kafka_req_submit(q, update, updated)) return;
    (void)err_set(&u->err, ERR_BUSY, "the broker is too busy");
    updated(q);
}

// ---- what is off ----------------------------------------------------------------------------------------------------

static const struct {
    int16_t key;
    enum broker_feature feature;
    bool with_text; // as Kafka
} needs[] = {
    {KAFKA_API_CONSUMER_GROUP_HEARTBEAT, FEATURE_GROUP, false},
    {KAFKA_API_CONSUMER_GROUP_DESCRIBE, FEATURE_GROUP, false},
    {KAFKA_API_SHARE_GROUP_HEARTBEAT, FEATURE_SHARE, false},
    {KAFKA_API_SHARE_GROUP_DESCRIBE, FEATURE_SHARE, false},
    {KAFKA_API_SHARE_FETCH, FEATURE_SHARE, false},
    {KAFKA_API_SHARE_ACKNOWLEDGE, FEATURE_SHARE, false},
    {KAFKA_API_DESCRIBE_SHARE_GROUP_OFFSETS, FEATURE_SHARE, false},
    {KAFKA_API_ALTER_SHARE_GROUP_OFFSETS, FEATURE_SHARE, true},
    {KAFKA_API_DELETE_SHARE_GROUP_OFFSETS, FEATURE_SHARE, true},
    {KAFKA_API_STREAMS_GROUP_HEARTBEAT, FEATURE_STREAMS, false},
    {KAFKA_API_STREAMS_GROUP_DESCRIBE, FEATURE_STREAMS, false},
    {KAFKA_API_STREAMS_GROUP_TOPOLOGY_DESCRIPTION_UPDATE, FEATURE_STREAMS, false},
};

bool kafka_features_enter(struct kafka_req *q) {
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        if (needs[i].key != q->h->key || broker_feature_level(kafka_req_broker(q), needs[i].feature) > 0) continue;
        gate_refuse(q, KAFKA_UNSUPPORTED_VERSION, needs[i].with_text);
        kafka_req_done(q);
        return false;
    }
    return true;
}
