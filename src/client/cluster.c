// SPDX-License-Identifier: Apache-2.0
// Connections to the nodes of a Kafka cluster, one request at a time on each. One thread; blocks with a time limit.
//
// A node is connected to when it is first asked; its ApiVersions answer gives the versions. Answers are decoded from frames that stay in the
// cluster's arena, since decoded strings point into them.
#include "client/cluster.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "client/link.h"
#include "client/login.h"
#include "codec/digest.h"

enum { ANSWER_US = 60 * 1000000, NONCE = 20, SESSION_PART = 850 /* of 1000 */, FRAME_MAX = 256 << 20, APIS = 128, HOST_MAX = 256,
       RETRIES = 50, RETRY_US = 100000 };

struct node {
    int32_t id; // -1 = a bootstrap address, of whom we do not know which one it is
    char host[HOST_MAX];
    int port;
    struct link *link; // NULL = not connected
    int64_t login_us;  // when to log in anew, 0 = never
    int16_t min[APIS], max[APIS]; // max -1 = not served
};

struct cluster {
    struct sys *sys;
    const struct client_security *security;
    struct arena arena;
    struct arena *answers; // &arena, or the caller's
    VEC(struct node *) nodes;
    struct node *any; // the one that answered first
    const struct kafka_metadata_response *metadata;
    int32_t correlation;
};

void cluster_answers_to(struct cluster *c, struct arena *a) { c->answers = a == NULL ? &c->arena : a; }
struct arena *cluster_memory(struct cluster *c) { return &c->arena; }
const struct kafka_metadata_response *cluster_nodes(const struct cluster *c) { return c->metadata; }

// ---- requests -----------------------------------------------------------------------------------------------------------

static void node_disconnect(struct node *n) {
    link_close(n->link);
    n->link = NULL;
}

// One request and its answer, on a connected node.
static enum err_code exchange(struct cluster *c, struct node *n, const struct kafka_api *api, int version, const void *req, void **res, struct err *err) {
    int64_t until = sys_mono_us(c->sys) + ANSWER_US;
    struct kafka_out out;
    kafka_out_init(&out, FRAME_MAX);
    out.splice_min = SIZE_MAX;
    int32_t id = ++c->correlation;
    kafka_frame_begin_request(&out, api, version, id, STR("millrace"));
    kafka_msg_encode(api->request, version, req, &out);
    enum err_code code = kafka_frame_end(&out, err);
    if (code == ERR_OK) code = link_send(n->link, buf_str(&out.buf), until, err);
    kafka_out_fini(&out);
    uint8_t head[4];
    if (code == ERR_OK) code = link_recv(n->link, head, sizeof head, until, err);
    if (code != ERR_OK) return code;
    uint32_t size = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
    if (size < 4 || size > FRAME_MAX) return err_set(err, ERR_PARSE, "%s:%d does not speak Kafka's protocol", n->host, n->port);
    uint8_t *frame = arena_alloc(c->answers, size);
    code = link_recv(n->link, frame, size, until, err);
    if (code != ERR_OK) return code;
    struct rd r = rd_of(frame, size);
    if ((int32_t)rd_be32(&r) != id) return err_set(err, ERR_PARSE, "%s:%d answered another request", n->host, n->port);
    if (version >= api->response->header_flexible) (void)rd_u8(&r); // tagged fields of the header: there are none
    *res = arena_alloc(c->answers, api->response->body->size);
    kafka_msg_init(api->response, *res);
    return kafka_msg_decode(api->response, version, &r, c->answers, *res, err);
}

// ---- nodes --------------------------------------------------------------------------------------------------------------

static enum err_code learn_versions(struct cluster *c, struct node *n, struct err *err) {
    const struct kafka_api *api = kafka_api_find(KAFKA_API_API_VERSIONS);
    struct kafka_api_versions_request *req = arena_alloc(&c->arena, sizeof *req);
    kafka_msg_init(api->request, req);
    void *answer;
    enum err_code code = exchange(c, n, api, 0, req, &answer, err);
    if (code != ERR_OK) return code;
    const struct kafka_api_versions_response *res = answer;
    for (int i = 0; i < APIS; i++) n->max[i] = -1;
    for (int32_t i = 0; i < res->api_keys.n; i++) {
        const struct kafka_api_versions_response_api_keys *k = &res->api_keys.p[i];
        if (k->api_key < 0 || k->api_key >= APIS) continue;
        n->min[k->api_key] = k->min_version;
        n->max[k->api_key] = k->max_version;
    }
    // Behind these versions topics go by id; we go by name.
    static const struct {
        int api;
        int16_t last;
    } by_name[] = {{KAFKA_API_OFFSET_FETCH, 9}, {KAFKA_API_OFFSET_COMMIT, 9}, {KAFKA_API_FETCH, 12}, {KAFKA_API_PRODUCE, 12}};
    for (size_t i = 0; i < sizeof by_name / sizeof by_name[0]; i++)
        if (n->max[by_name[i].api] > by_name[i].last) n->max[by_name[i].api] = by_name[i].last;
    return ERR_OK;
}

static int version_of(const struct node *n, const struct kafka_api *a) { // -1 = not served
    int low = n->max[a->key] < 0 ? 0 : n->min[a->key], high = n->max[a->key];
    if (high > a->request->max) high = a->request->max;
    return high < low || high < a->request->min ? -1 : high;
}

static enum err_code choose_mechanism(struct cluster *c, struct node *n, struct err *err) {
    const struct kafka_api *api = kafka_api_find(KAFKA_API_SASL_HANDSHAKE);
    struct kafka_sasl_handshake_request req = {.mechanism = str_c(c->security->mechanism_name)};
    void *answer;
    if (exchange(c, n, api, 1, &req, &answer, err) != ERR_OK) return err->code;
    const struct kafka_sasl_handshake_response *res = answer;
    if (res->error_code == 0) return ERR_OK;
    struct buf b;
    buf_init(&b, 1 << 12);
    for (int32_t i = 0; i < res->mechanisms.n; i++) buf_printf(&b, "%s%.*s", i == 0 ? "" : ", ", STR_ARG(res->mechanisms.p[i]));
    err_set(err, ERR_DENIED, "log-in at %s:%d: %s is not enabled there; it has: %s", n->host, n->port, c->security->mechanism_name, buf_cstr(&b));
    buf_fini(&b);
    return err->code;
}

// Also anew on a connection whose session is about to end (KIP-368).
static enum err_code log_in(struct cluster *c, struct node *n, struct err *err) {
    const struct kafka_api *api = kafka_api_find(KAFKA_API_SASL_AUTHENTICATE);
    int version = version_of(n, api);
    if (version < 0) return err_set(err, ERR_DENIED, "%s:%d knows no log-in", n->host, n->port);
    if (choose_mechanism(c, n, err) != ERR_OK) return err->code;
    uint8_t random[NONCE];
    struct buf nonce;
    struct client_login login;
    sys_random(c->sys, random, sizeof random);
    buf_init(&nonce, NONCE * 2 + 1);
    hex_encode(str_n(random, sizeof random), &nonce);
    client_login_init(&login, c->security, arena_str(&c->arena, buf_str(&nonce)), &c->arena);
    buf_fini(&nonce);
    int64_t lifetime_ms = 0, began = sys_mono_us(c->sys);
    for (struct str challenge = {0};;) {
        struct kafka_sasl_authenticate_request req;
        bool done;
        if (client_login_step(&login, challenge, &req.auth_bytes, &done, err) != ERR_OK) return err_wrap(err, "log-in at %s:%d", n->host, n->port);
        if (done) break;
        void *answer;
        if (exchange(c, n, api, version, &req, &answer, err) != ERR_OK) return err->code;
        const struct kafka_sasl_authenticate_response *res = answer;
        if (res->error_code != 0) {
            cluster_error(res->error_code, res->error_message, err, "log-in at %s:%d", n->host, n->port);
            return err->code = ERR_DENIED;
        }
        challenge = res->auth_bytes;
        lifetime_ms = res->session_lifetime_ms;
    }
    n->login_us = lifetime_ms <= 0 ? 0 : began + lifetime_ms * SESSION_PART;
    return ERR_OK;
}

static enum err_code node_connect(struct cluster *c, struct node *n, struct err *err) {
    bool logs_in = c->security != NULL && c->security->mechanism != CLIENT_NO_LOGIN;
    enum err_code code = ERR_OK;
    if (n->link != NULL && (n->login_us == 0 || sys_mono_us(c->sys) < n->login_us)) return ERR_OK;
    struct arena *answers = c->answers;
    c->answers = &c->arena; // the caller may reset theirs
    if (n->link == NULL) {
        n->login_us = 0;
        n->link = link_open(c->sys, n->host, n->port, c->security, err);
        code = n->link == NULL ? err->code : learn_versions(c, n, err);
    }
    if (code == ERR_OK && logs_in) code = log_in(c, n, err);
    c->answers = answers;
    if (code != ERR_OK) node_disconnect(n);
    return code;
}

static struct node *node_add(struct cluster *c, int32_t id, struct str host, int port) {
    if (host.n >= HOST_MAX) return NULL;
    struct node *n = MEM_NEW(struct node);
    n->id = id;
    n->port = port;
    memcpy(n->host, host.p, host.n);
    vec_add(&c->nodes, n);
    return n;
}

static struct node *node_find(struct cluster *c, int32_t id, struct err *err) {
    if (id == CLUSTER_CONTROLLER) id = c->metadata->controller_id;
    if (id == CLUSTER_ANY || id < 0) return c->any;
    for (size_t i = 0; i < c->nodes.n; i++)
        if (c->nodes.p[i]->id == id) return c->nodes.p[i];
    const struct kafka_metadata_response *m = c->metadata;
    for (int32_t i = 0; i < m->brokers.n; i++)
        if (m->brokers.p[i].node_id == id) return node_add(c, id, m->brokers.p[i].host, m->brokers.p[i].port);
    err_set(err, ERR_UNAVAILABLE, "the cluster does not name node %d", id);
    return NULL;
}

int cluster_version(struct cluster *c, int32_t node, int api, struct err *err) {
    const struct kafka_api *a = kafka_api_find(api);
    struct node *n = node_find(c, node, err);
    if (n == NULL || node_connect(c, n, err) != ERR_OK) return -1;
    return version_of(n, a);
}

enum err_code cluster_call(struct cluster *c, int32_t node, int api, const void *req, void *res_out, struct err *err) {
    const struct kafka_api *a = kafka_api_find(api);
    err_clear(err);
    int version = cluster_version(c, node, api, err);
    if (version < 0 && err->code != ERR_OK) return err->code;
    struct node *n = node_find(c, node, err);
    if (version < 0) return err_set(err, ERR_NOT_SUPPORTED, "%s:%d does not serve %s", n->host, n->port, a->name);
    void *res = NULL;
    enum err_code code = exchange(c, n, a, version, req, &res, err);
    if (code != ERR_OK) node_disconnect(n);
    else memcpy(res_out, &res, sizeof res);
    return code;
}

// ---- opening ------------------------------------------------------------------------------------------------------------

static enum err_code read_nodes(struct cluster *c, struct err *err) {
    struct kafka_metadata_request req;
    kafka_msg_init(&kafka_metadata_request_m, &req);
    req.topics.n = 0;
    return cluster_call(c, CLUSTER_ANY, KAFKA_API_METADATA, &req, &c->metadata, err);
}

static bool try_address(struct cluster *c, struct str address, struct err *err) {
    struct str host = address, port = {0};
    int64_t number = 9092;
    if (address.n > 0 && address.p[0] == '[') { // [::1]:9092
        const char *end = memchr(address.p, ']', address.n);
        if (end == NULL) return err_set(err, ERR_INVALID, "'%.*s': host:port is expected", (int)address.n, address.p), false;
        host = str_n(address.p + 1, (size_t)(end - address.p) - 1);
        port = str_n(end + 1, address.n - (size_t)(end + 1 - address.p));
        if (port.n > 0 && port.p[0] == ':') port = str_n(port.p + 1, port.n - 1);
    } else {
        (void)str_cut(address, ':', &host, &port);
    }
    if (port.n > 0 && (!str_to_i64(port, &number) || number < 1 || number > 65535))
        return err_set(err, ERR_INVALID, "'%.*s': host:port is expected", (int)address.n, address.p), false;
    struct node *n = node_add(c, -1, host, (int)number);
    if (n == NULL || node_connect(c, n, err) != ERR_OK) return false;
    c->any = n;
    return read_nodes(c, err) == ERR_OK;
}

struct cluster *cluster_open(struct sys *s, const struct client_target *at, struct err *err) {
    struct cluster *c = MEM_NEW(struct cluster);
    c->sys = s;
    c->security = at->security;
    arena_init(&c->arena);
    c->answers = &c->arena;
    struct str rest = str_c(at->brokers), address;
    bool found = false;
    while (!found && rest.n > 0) {
        struct str after = {0};
        if (!str_cut(rest, ',', &address, &after)) address = rest;
        rest = after;
        found = try_address(c, address, err);
    }
    if (found) return c;
    struct err why = {0};
    if (err != NULL) err_copy(&why, err);
    if (why.code != ERR_INVALID && why.code != ERR_DENIED)
        err_set(err, ERR_UNAVAILABLE, "no broker answers at %s: is the server running? (%s)", at->brokers, why.msg);
    cluster_close(c);
    return NULL;
}

void cluster_close(struct cluster *c) {
    if (c == NULL) return;
    for (size_t i = 0; i < c->nodes.n; i++) {
        node_disconnect(c->nodes.p[i]);
        mem_free(c->nodes.p[i]);
    }
    vec_fini(&c->nodes);
    arena_fini(&c->arena);
    mem_free(c);
}

// ---- where things are -----------------------------------------------------------------------------------------------------

bool cluster_again(struct cluster *c, int code, int attempt) {
    bool soon = code == KAFKA_COORDINATOR_NOT_AVAILABLE || code == KAFKA_COORDINATOR_LOAD_IN_PROGRESS || code == KAFKA_NOT_COORDINATOR;
    if (!soon || attempt == RETRIES) return false;
    sys_sleep_us(c->sys, RETRY_US);
    return true;
}

// A cluster that has just started may not have its coordinators' topics yet.
enum err_code cluster_find(struct cluster *c, enum cluster_coordinator type, struct str key, int32_t *node, struct err *err) {
    for (int i = 0;; i++) {
        struct kafka_find_coordinator_request req;
        const struct kafka_find_coordinator_response *res;
        kafka_msg_init(&kafka_find_coordinator_request_m, &req);
        req.key = key;
        req.key_type = (int8_t)type;
        req.coordinator_keys.p = &key;
        req.coordinator_keys.n = 1;
        if (cluster_call(c, CLUSTER_ANY, KAFKA_API_FIND_COORDINATOR, &req, &res, err) != ERR_OK) return err->code;
        bool listed = res->coordinators.n > 0;
        int code = listed ? res->coordinators.p[0].error_code : res->error_code;
        *node = listed ? res->coordinators.p[0].node_id : res->node_id;
        if (code == 0) return ERR_OK;
        if (!cluster_again(c, code, i))
            return cluster_error(code, listed ? res->coordinators.p[0].error_message : res->error_message, err, "coordinator of '%.*s'", (int)key.n, key.p);
    }
}

static int by_topic(const void *a, const void *b) {
    return str_cmp(((const struct kafka_metadata_response_topics *)a)->name, ((const struct kafka_metadata_response_topics *)b)->name);
}
static int by_index(const void *a, const void *b) {
    int32_t x = ((const struct kafka_metadata_response_topics_partitions *)a)->partition_index;
    int32_t y = ((const struct kafka_metadata_response_topics_partitions *)b)->partition_index;
    return (x > y) - (x < y);
}

enum err_code cluster_topics(struct cluster *c, const struct str *names, int32_t n, const struct kafka_metadata_response **out, struct err *err) {
    struct kafka_metadata_request req;
    struct kafka_metadata_response *res;
    kafka_msg_init(&kafka_metadata_request_m, &req);
    req.allow_auto_topic_creation = false;
    req.topics.n = n;
    if (n > 0) req.topics.p = KAFKA_ELEMENTS(&c->arena, kafka_metadata_request_topics, n);
    for (int32_t i = 0; i < n; i++) req.topics.p[i].name = names[i];
    if (cluster_call(c, CLUSTER_ANY, KAFKA_API_METADATA, &req, &res, err) != ERR_OK) return err->code;
    for (int32_t i = 0; i < res->topics.n; i++) {
        struct kafka_metadata_response_topics *t = &res->topics.p[i];
        if (t->error_code == KAFKA_UNKNOWN_TOPIC_OR_PARTITION) return err_set(err, ERR_NO_TOPIC, "no topic '%.*s'", (int)t->name.n, t->name.p);
        if (t->error_code != 0) return cluster_error(t->error_code, (struct str){0}, err, "topic '%.*s'", (int)t->name.n, t->name.p);
        if (t->partitions.n > 0) qsort(t->partitions.p, (size_t)t->partitions.n, sizeof *t->partitions.p, by_index);
    }
    if (res->topics.n > 0) qsort(res->topics.p, (size_t)res->topics.n, sizeof *res->topics.p, by_topic);
    *out = res;
    return ERR_OK;
}

// ---- errors ---------------------------------------------------------------------------------------------------------------

static enum err_code code_of(int kafka) {
    switch (kafka) {
    case KAFKA_UNKNOWN_TOPIC_OR_PARTITION: return ERR_NO_TOPIC;
    case KAFKA_GROUP_ID_NOT_FOUND:
    case KAFKA_RESOURCE_NOT_FOUND:
    case KAFKA_TRANSACTIONAL_ID_NOT_FOUND: return ERR_NOT_FOUND;
    case KAFKA_TOPIC_ALREADY_EXISTS: return ERR_EXISTS;
    case KAFKA_UNSUPPORTED_VERSION: return ERR_NOT_SUPPORTED;
    case KAFKA_INVALID_CONFIG: return ERR_CONFIG;
    case KAFKA_REQUEST_TIMED_OUT: return ERR_TIMEOUT;
    case KAFKA_NON_EMPTY_GROUP:
    case KAFKA_GROUP_SUBSCRIBED_TO_TOPIC: return ERR_CONFLICT;
    case KAFKA_TOPIC_AUTHORIZATION_FAILED:
    case KAFKA_GROUP_AUTHORIZATION_FAILED:
    case KAFKA_CLUSTER_AUTHORIZATION_FAILED:
    case KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED: return ERR_DENIED;
    default: return ERR_INVALID;
    }
}

enum err_code cluster_error(int code, struct str text, struct err *err, const char *what, ...) {
    if (code == 0) return ERR_OK;
    if (text.n == 0) text = str_c(kafka_error_text(code));
    struct err context = {0};
    va_list ap;
    va_start(ap, what);
    (void)err_vset(&context, ERR_INVALID, what, ap);
    va_end(ap);
    return err_set(err, code_of(code), "%s: %.*s (%s)", context.msg, (int)text.n, text.p, kafka_error_name(code));
}
