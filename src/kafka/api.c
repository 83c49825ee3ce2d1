// SPDX-License-Identifier: Apache-2.0
// The APIs that this door implements, with the versions it advertises; ApiVersions itself and FindCoordinator.
//
// Only what is in the tables (handlers.def, broker/features.def) is advertised. Traps that the ranges follow:
// Produce from 0, JoinGroup from 0 and FindCoordinator from 0 are what librdkafka before 2.11 wants to see before it compresses or joins a group
// (KAFKA-18659, KAFKA-19444); Produce 0-2 are refused on use, as Kafka does.
#include "kafka/authorize.h"
#include "kafka/conn.h"
#include "kafka/features.h"

const struct kafka_handler kafka_handlers[] = {
#define KAFKA_HANDLER(api, min, max, name, pipelined) {KAFKA_API_##api, min, max, kafka_do_##name, pipelined},
#include "kafka/handlers.def"
#undef KAFKA_HANDLER
};
const size_t kafka_handlers_n = sizeof kafka_handlers / sizeof kafka_handlers[0];

// v5: whom the client believes to be talking to. Another cluster or node: it is to ask its bootstrap servers again (KIP-1242).
static bool is_misrouted(struct kafka_req *q) {
    const struct kafka_api_versions_request *req = q->msg;
    const struct kafka_config *config = kafka_req_config(q);
    if (q->version < 5) return false;
    return (req->cluster_id.p != NULL && !str_eqc(req->cluster_id, config->cluster_id)) || (req->node_id >= 0 && req->node_id != config->node_id);
}

// Letters and digits, with '-' and '.' between them (KIP-511).
static bool is_software_text(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!plain && (i == 0 || i == s.n - 1 || (c != '-' && c != '.'))) return false;
    }
    return s.n > 0;
}

void kafka_do_api_versions(struct kafka_req *q) {
    struct kafka_api_versions_response *res = q->res;
    res->api_keys.p = KAFKA_ELEMENTS(&q->arena, kafka_api_versions_response_api_keys, (int32_t)kafka_handlers_n);
    if (q->header.api_version != q->version) { // too new: version 0, and only the range of this very API (KIP-511)
        res->error_code = KAFKA_UNSUPPORTED_VERSION;
        res->api_keys.p[0] = (struct kafka_api_versions_response_api_keys){q->h->key, q->h->min, q->h->max};
        res->api_keys.n = 1;
        kafka_req_done(q);
        return;
    }
    const struct kafka_api_versions_request *req = q->msg;
    if (q->version >= 3 && (!is_software_text(req->client_software_name) || !is_software_text(req->client_software_version))) {
        res->error_code = KAFKA_INVALID_REQUEST;
        res->api_keys.n = 0;
        kafka_req_done(q);
        return;
    }
    if (is_misrouted(q)) {
        res->error_code = KAFKA_REBOOTSTRAP_REQUIRED;
        kafka_req_done(q);
        return;
    }
    for (size_t i = 0; i < kafka_handlers_n; i++) {
        const struct kafka_handler *h = &kafka_handlers[i];
        res->api_keys.p[i] = (struct kafka_api_versions_response_api_keys){h->key, h->min, h->max};
    }
    res->api_keys.n = (int32_t)kafka_handlers_n;
    if (q->version >= 3) kafka_req_set_software(q, req->client_software_name, req->client_software_version);
    if (q->version >= 3) kafka_put_features(q, res);
    kafka_req_done(q);
}

enum { KEY_SHARE = 2 };

// Of all groups and transactional ids we are the coordinator.
static int coordinator_error(int key_type, int version, struct str *message) {
    enum { GROUP = 0, TRANSACTION = 1 };
    *message = version < 4 ? STR("NONE") : STR(""); // Kafka's words for none
    if (key_type == GROUP || key_type == TRANSACTION || key_type == KEY_SHARE) return 0;
    *message = STR("Millrace does not support this type of coordinator");
    return KAFKA_INVALID_REQUEST;
}

// "group:topic id:partition", the id in Kafka's base64.
static bool is_share_key(struct str key) {
    int64_t partition;
    size_t at = key.n;
    while (at > 0 && key.p[at - 1] != ':') at--;
    if (at < 25 || key.p[at - 24] != ':' || !str_to_i64(str_n(key.p + at, key.n - at), &partition)) return false;
    for (size_t i = at - 23; i < at - 1; i++) {
        char c = key.p[i];
        bool known = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
        if (!known) return false;
    }
    return true;
}

void kafka_do_find_coordinator(struct kafka_req *q) {
    const struct kafka_config *config = kafka_req_config(q);
    const struct kafka_find_coordinator_request *req = q->msg;
    struct kafka_find_coordinator_response *res = q->res;
    struct str message;
    int error = coordinator_error(req->key_type, q->version, &message);
    if (req->key_type == KEY_SHARE && q->version < 6) {
        error = KAFKA_INVALID_REQUEST;
        message = STR("share coordinators are asked for from version 6 on");
    }
    int32_t node = error == 0 ? config->node_id : -1, port = error == 0 ? kafka_req_advertised_port(q) : -1;
    struct str host = error == 0 ? str_c(kafka_req_advertised_host(q)) : STR("");
    if (q->version < 4) {
        res->error_code = (int16_t)error;
        res->error_message = message;
        res->node_id = node;
        res->host = host;
        res->port = port;
        kafka_req_done(q);
        return;
    }
    res->coordinators.p = KAFKA_ELEMENTS(&q->arena, kafka_find_coordinator_response_coordinators, req->coordinator_keys.n);
    res->coordinators.n = req->coordinator_keys.n;
    for (int32_t i = 0; i < req->coordinator_keys.n; i++)
        res->coordinators.p[i] = (struct kafka_find_coordinator_response_coordinators){
            .key = req->coordinator_keys.p[i], .node_id = node, .host = host, .port = port, .error_code = (int16_t)error, .error_message = message};
    for (int32_t i = 0; i < req->coordinator_keys.n && req->key_type == KEY_SHARE && error == 0; i++) {
        if (is_share_key(req->coordinator_keys.p[i])) continue;
        res->coordinators.p[i] = (struct kafka_find_coordinator_response_coordinators){
            .key = req->coordinator_keys.p[i], .node_id = -1, .host = STR(""), .port = -1, .error_code = KAFKA_INVALID_REQUEST};
        res->coordinators.p[i].error_message = STR("The share coordinator's key is not group:topicId:partition.");
    }
    kafka_req_done(q);
}
