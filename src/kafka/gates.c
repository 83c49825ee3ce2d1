// SPDX-License-Identifier: Apache-2.0
// Who may what, API by API, as Kafka's KafkaApis and ControllerApis ask it. One table; an API that is not in it is refused while there is an authorizer.
//
// Errors are per resource where Kafka has them so; whether a topic exists is not told to who may not describe it.
#include <assert.h>

#include "kafka/gate.h"

enum { KEY_GROUP = 0, KEY_TRANSACTION = 1 };                                                    // FindCoordinator
enum { CONFIG_TOPIC = 2, CONFIG_BROKER = 4, CONFIG_LOGGER = 8, CONFIG_METRICS = 16, CONFIG_GROUP = 32 }; // config resources

// ---- one question -------------------------------------------------------------------------------------------------------
static int topic(struct kafka_req *q, enum acl_operation op, struct str name) {
    if (name.p == NULL) return 0; // an id that nobody has: the handler says so
    return kafka_may(q, op, ACL_TOPIC, name) ? 0 : KAFKA_TOPIC_AUTHORIZATION_FAILED;
}
static int group(struct kafka_req *q, enum acl_operation op, struct str name) {
    return kafka_may(q, op, ACL_GROUP, name) ? 0 : KAFKA_GROUP_AUTHORIZATION_FAILED;
}
static int transaction(struct kafka_req *q, enum acl_operation op, struct str id) {
    return kafka_may(q, op, ACL_TRANSACTIONAL_ID, id) ? 0 : KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
}
static int cluster(struct kafka_req *q, enum acl_operation op) { return kafka_may_cluster(q, op) ? 0 : KAFKA_CLUSTER_AUTHORIZATION_FAILED; }

// Only those elements of a list of a response for which the condition holds, which speaks of element i. Null stays null.
#define KEEP_IF(list, i, condition)                                      \
    do {                                                                 \
        int32_t kept_ = 0;                                               \
        for (int32_t i = 0; i < (list).n; i++)                           \
            if (condition) (list).p[kept_++] = (list).p[i];              \
        if ((list).n > 0) (list).n = kept_;                              \
    } while (0)

#define EACH(kind, name, op) \
    static int name(struct kafka_req *q, const void *e, struct str n) { return (void)e, kind(q, op, n); }
EACH(topic, topic_read, ACL_READ)
EACH(topic, topic_write, ACL_WRITE)
EACH(topic, topic_describe, ACL_DESCRIBE)
EACH(topic, topic_alter, ACL_ALTER)
EACH(topic, topic_delete_records, ACL_DELETE)
EACH(group, groups_describe, ACL_DESCRIBE)
EACH(group, groups_delete, ACL_DELETE)
EACH(transaction, transactions_describe, ACL_DESCRIBE)

#define CLUSTER(name, op) \
    static int name(struct kafka_req *q) { return cluster(q, op); }
CLUSTER(cluster_alter, ACL_ALTER)
CLUSTER(cluster_describe, ACL_DESCRIBE)
CLUSTER(cluster_action, ACL_CLUSTER_ACTION)
CLUSTER(cluster_describe_configs, ACL_DESCRIBE_CONFIGS)
CLUSTER(cluster_alter_configs, ACL_ALTER_CONFIGS)
static int markers(struct kafka_req *q) { return kafka_may_cluster(q, ACL_ALTER) ? 0 : cluster(q, ACL_CLUSTER_ACTION); } // KIP-1037
static int epoch_each(struct kafka_req *q, const void *e, struct str name) { // a replica asks too
    return kafka_may_cluster(q, ACL_CLUSTER_ACTION) ? 0 : topic_describe(q, e, name);
}

// The field of that name at the request's top.
static struct str text_field(const struct kafka_req *q, const char *name) {
    const struct kafka_field *f = gate_field(q->api->request->body, name);
    struct str s = {NULL, 0};
    assert(f != NULL && f->type == KAFKA_STRING && f->shape == KAFKA_SHAPE_PLAIN);
    memcpy(&s, (const char *)q->msg + f->offset, sizeof s);
    return s;
}
static int the_group(struct kafka_req *q, enum acl_operation op) { return group(q, op, text_field(q, "group_id")); }
static int group_read(struct kafka_req *q) { return the_group(q, ACL_READ); }
static int group_delete(struct kafka_req *q) { return the_group(q, ACL_DELETE); }

// ---- records ------------------------------------------------------------------------------------------------------------
static int produce_whole(struct kafka_req *q) {
    const struct kafka_produce_request *req = q->msg;
    if (req->transactional_id.p == NULL || !kafka_produce_transactional(req)) return 0; // without an id it is refused anyway
    int error = transaction(q, ACL_WRITE, req->transactional_id);
    if (error != 0 && req->acks == 0) q->no_reply = true, kafka_req_close_after(q);
    return error;
}
static void produce_enter(struct kafka_req *q) { // acks=0 hears of no error: as Kafka does, the connection is closed
    const struct kafka_produce_request *req = q->msg;
    if (req->acks == 0 && q->gate->out.n > 0) kafka_req_close_after(q);
}

static int fetch_each(struct kafka_req *q, const void *e, struct str name) {
    const struct kafka_fetch_request *req = q->msg;
    (void)e;
    if (req->replica_id < 0 || q->version >= 15) return topic(q, ACL_READ, name);
    return kafka_may_cluster(q, ACL_CLUSTER_ACTION) ? 0 : KAFKA_TOPIC_AUTHORIZATION_FAILED;
}

// A session goes on with topics that its first request named. When one of them may no longer be read, the session is over: the client names them anew.
static void fetch_leave(struct kafka_req *q) {
    const struct kafka_fetch_request *req = q->msg;
    struct kafka_fetch_response *res = q->res;
    if (req->session_id == 0) return;
    for (int32_t i = 0; i < res->responses.n - q->gate->out.n; i++) {
        const struct kafka_fetch_response_responses *t = &res->responses.p[i];
        if (topic(q, ACL_READ, gate_topic_name(q, t->topic, &t->topic_id)) == 0) continue;
        kafka_out_clear(&q->out); // records that were told to it
        res->responses.n = 0;
        res->session_id = 0;
        res->error_code = KAFKA_FETCH_SESSION_ID_NOT_FOUND;
        return;
    }
}

static void share_fetch_leave(struct kafka_req *q) {
    struct kafka_share_fetch_response *res = q->res;
    for (int32_t i = 0; i < res->responses.n - q->gate->out.n; i++) {
        if (topic(q, ACL_READ, gate_topic_name(q, STR(""), &res->responses.p[i].topic_id)) == 0) continue;
        kafka_out_clear(&q->out);
        res->responses.n = 0;
        res->error_code = KAFKA_SHARE_SESSION_NOT_FOUND;
        return;
    }
}

// ---- metadata -----------------------------------------------------------------------------------------------------------
// Where an element has an id, the handler goes by it, whatever the name beside it says: so the rights must.
static int metadata_whole(struct kafka_req *q) {
    struct kafka_metadata_request *req = q->msg;
    static const struct kafka_uuid none;
    for (int32_t i = 0; q->version >= 12 && i < req->topics.n; i++)
        if (memcmp(&req->topics.p[i].topic_id, &none, sizeof none) != 0) req->topics.p[i].name = (struct str){NULL, 0};
    return 0;
}

static int metadata_each(struct kafka_req *q, const void *e, struct str name) {
    const struct kafka_metadata_request *req = q->msg;
    const struct kafka_metadata_request_topics *t = e;
    struct broker_topic_info info;
    if (name.p == NULL) return 0;
    if (topic(q, ACL_DESCRIBE, name) != 0) return t->name.n == 0 ? KAFKA_UNKNOWN_TOPIC_ID : KAFKA_TOPIC_AUTHORIZATION_FAILED;
    bool creates = kafka_req_config(q)->auto_create && req->allow_auto_topic_creation;
    if (!creates || kafka_may_cluster(q, ACL_CREATE) || kafka_may(q, ACL_CREATE, ACL_TOPIC, name)) return 0;
    return broker_topic_get(kafka_req_broker(q), name, &q->arena, &info) ? 0 : KAFKA_TOPIC_AUTHORIZATION_FAILED;
}

static void metadata_enter(struct kafka_req *q) {
    struct kafka_metadata_request *req = q->msg;
    struct gate_state *s = q->gate;
    s->all_topics = req->topics.n < 0 || (q->version == 0 && req->topics.n == 0 && s->out.n == 0);
    if (q->version != 0 || req->topics.n != 0 || s->out.n == 0) return;
    req->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_metadata_request_topics, 1); // an empty list would mean all in version 0
    req->topics.n = 1;
    req->topics.p->name = STR("");
}

static void cluster_operations(struct kafka_req *q, int32_t *told) {
    if (*told == INT32_MIN) return; // not asked for
    *told = kafka_may_cluster(q, ACL_DESCRIBE) ? kafka_authorized_operations(q, ACL_CLUSTER, STR("kafka-cluster")) : 0;
}

static void metadata_leave(struct kafka_req *q) {
    struct kafka_metadata_response *res = q->res;
    if (q->version == 0) KEEP_IF(res->topics, i, res->topics.p[i].name.n > 0);
    if (q->gate->all_topics) KEEP_IF(res->topics, i, topic(q, ACL_DESCRIBE, res->topics.p[i].name) == 0);
    cluster_operations(q, &res->cluster_authorized_operations);
}

static void cluster_leave(struct kafka_req *q) { // DescribeCluster
    cluster_operations(q, &((struct kafka_describe_cluster_response *)q->res)->cluster_authorized_operations);
}

// ---- topics -------------------------------------------------------------------------------------------------------------
static int create_each(struct kafka_req *q, const void *e, struct str name) {
    return kafka_may_cluster(q, ACL_CREATE) ? ((void)e, 0) : topic(q, ACL_CREATE, name);
}
static void create_leave(struct kafka_req *q) { // the configs of a new topic are for who may describe configs
    struct kafka_create_topics_response *res = q->res;
    for (int32_t i = 0; i < res->topics.n; i++) {
        struct kafka_create_topics_response_topics *t = &res->topics.p[i];
        if (t->error_code != 0 || topic(q, ACL_DESCRIBE_CONFIGS, t->name) == 0) continue;
        t->configs.p = NULL;
        t->configs.n = -1;
        t->num_partitions = -1;
        t->replication_factor = -1;
        t->topic_config_error_code = KAFKA_TOPIC_AUTHORIZATION_FAILED;
    }
}
static int delete_each(struct kafka_req *q, const void *e, struct str name) {
    if (kafka_may_cluster(q, ACL_DELETE)) return 0;
    int error = topic(q, ACL_DESCRIBE, name);
    return error != 0 ? ((void)e, error) : topic(q, ACL_DELETE, name);
}

// ---- configs ------------------------------------------------------------------------------------------------------------
static int config_of(struct kafka_req *q, int type, struct str name, enum acl_operation op) {
    if (type == CONFIG_TOPIC) return topic(q, op, name);
    if (type == CONFIG_GROUP) return group(q, op, name);
    return cluster(q, op);
}
static int describe_config(struct kafka_req *q, const void *e, struct str name) {
    return config_of(q, ((const struct kafka_describe_configs_request_resources *)e)->resource_type, name, ACL_DESCRIBE_CONFIGS);
}
static int alter_config(struct kafka_req *q, const void *e, struct str name) {
    return config_of(q, ((const struct kafka_alter_configs_request_resources *)e)->resource_type, name, ACL_ALTER_CONFIGS);
}
static int incremental_config(struct kafka_req *q, const void *e, struct str name) {
    return config_of(q, ((const struct kafka_incremental_alter_configs_request_resources *)e)->resource_type, name, ACL_ALTER_CONFIGS);
}

// ---- groups -------------------------------------------------------------------------------------------------------------
static int coordinator_for(struct kafka_req *q, int type, struct str key) {
    if (type == KEY_GROUP) return group(q, ACL_DESCRIBE, key);
    return type == KEY_TRANSACTION ? transaction(q, ACL_DESCRIBE, key) : cluster(q, ACL_CLUSTER_ACTION);
}
static int coordinator_whole(struct kafka_req *q) {
    const struct kafka_find_coordinator_request *req = q->msg;
    return q->version < 4 ? coordinator_for(q, req->key_type, req->key) : 0;
}
static int coordinator_each(struct kafka_req *q, const void *e, struct str key) {
    return (void)e, coordinator_for(q, ((const struct kafka_find_coordinator_request *)q->msg)->key_type, key);
}

static void list_groups_leave(struct kafka_req *q) {
    struct kafka_list_groups_response *res = q->res;
    if (kafka_may_cluster(q, ACL_DESCRIBE)) return;
    KEEP_IF(res->groups, i, group(q, ACL_DESCRIBE, res->groups.p[i].group_id) == 0);
}

// Of a member's heartbeat: the topics that it wants must be its to describe.
static int describable(struct kafka_req *q, const struct str *names, int32_t n) {
    int error = 0;
    for (int32_t i = 0; i < n && error == 0; i++) error = topic(q, ACL_DESCRIBE, names[i]);
    return error;
}
// The same for lists whose elements have the name in a field; the messages have many types of them.
#define FIRST_REFUSED(q, error, list, field) \
    for (int32_t t_ = 0; t_ < (list).n && (error) == 0; t_++) (error) = topic((q), ACL_DESCRIBE, (list).p[t_].field)
#define FIRST_REFUSED_OF_SUBTOPOLOGY(q, error, s)                                                                                    \
    do {                                                                                                                             \
        (error) = describable((q), (s)->source_topics.p, (s)->source_topics.n);                                                      \
        if ((error) == 0) (error) = describable((q), (s)->repartition_sink_topics.p, (s)->repartition_sink_topics.n);                \
        FIRST_REFUSED(q, error, (s)->repartition_source_topics, name);                                                               \
        FIRST_REFUSED(q, error, (s)->state_changelog_topics, name);                                                                  \
    } while (0)

static int subscription(struct kafka_req *q, const struct str *names, int32_t n) {
    int error = group_read(q);
    return error != 0 ? error : describable(q, names, n);
}
static int consumer_heartbeat(struct kafka_req *q) {
    const struct kafka_consumer_group_heartbeat_request *req = q->msg;
    return subscription(q, req->subscribed_topic_names.p, req->subscribed_topic_names.n);
}
static int share_heartbeat(struct kafka_req *q) {
    const struct kafka_share_group_heartbeat_request *req = q->msg;
    return subscription(q, req->subscribed_topic_names.p, req->subscribed_topic_names.n);
}

static int streams_heartbeat(struct kafka_req *q) {
    const struct kafka_streams_group_heartbeat_request *req = q->msg;
    int error = group_read(q);
    for (int32_t i = 0; req->topology != NULL && i < req->topology->subtopologies.n && error == 0; i++) {
        const struct kafka_streams_group_heartbeat_request_topology_subtopologies *s = &req->topology->subtopologies.p[i];
        FIRST_REFUSED_OF_SUBTOPOLOGY(q, error, s);
    }
    return error;
}

// Topics of a group that the principal may not describe: the group is not shown.
#define HIDE(q, element, g, error)                                                                                       \
    do {                                                                                                                 \
        struct element *blank_ = KAFKA_ELEMENTS(&(q)->arena, element, 1);                                                \
        blank_->group_id = (g)->group_id;                                                                                \
        blank_->error_code = (int16_t)(error);                                                                           \
        blank_->error_message = STR("The described group uses topics that the client is not authorized to describe.");   \
        *(g) = *blank_;                                                                                                  \
    } while (0)
static void consumer_describe_leave(struct kafka_req *q) {
    struct kafka_consumer_group_describe_response *res = q->res;
    for (int32_t i = 0; i < res->groups.n; i++) {
        struct kafka_consumer_group_describe_response_groups *g = &res->groups.p[i];
        int error = 0;
        for (int32_t m = 0; m < g->members.n && error == 0; m++) {
            error = describable(q, g->members.p[m].subscribed_topic_names.p, g->members.p[m].subscribed_topic_names.n);
            FIRST_REFUSED(q, error, g->members.p[m].assignment.topic_partitions, topic_name);
            FIRST_REFUSED(q, error, g->members.p[m].target_assignment.topic_partitions, topic_name);
        }
        if (error != 0) HIDE(q, kafka_consumer_group_describe_response_groups, g, error);
    }
}
static void share_describe_leave(struct kafka_req *q) {
    struct kafka_share_group_describe_response *res = q->res;
    for (int32_t i = 0; i < res->groups.n; i++) {
        struct kafka_share_group_describe_response_groups *g = &res->groups.p[i];
        int error = 0;
        for (int32_t m = 0; m < g->members.n && error == 0; m++) {
            error = describable(q, g->members.p[m].subscribed_topic_names.p, g->members.p[m].subscribed_topic_names.n);
            FIRST_REFUSED(q, error, g->members.p[m].assignment.topic_partitions, topic_name);
        }
        if (error != 0) HIDE(q, kafka_share_group_describe_response_groups, g, error);
    }
}
static void streams_describe_leave(struct kafka_req *q) {
    struct kafka_streams_group_describe_response *res = q->res;
    for (int32_t i = 0; i < res->groups.n; i++) {
        struct kafka_streams_group_describe_response_groups *g = &res->groups.p[i];
        int error = 0;
        for (int32_t k = 0; g->topology != NULL && k < g->topology->subtopologies.n && error == 0; k++) {
            const struct kafka_streams_group_describe_response_groups_topology_subtopologies *s = &g->topology->subtopologies.p[k];
            FIRST_REFUSED_OF_SUBTOPOLOGY(q, error, s);
        }
        if (error != 0) HIDE(q, kafka_streams_group_describe_response_groups, g, error);
    }
}

// ---- OffsetFetch: groups, and topics in each -------------------------------------------------------------------------------
// The topics of each group that may not be described, taken out.
#define FILTER_GROUPS(q, req, group_table)                                                                                                  \
    do {                                                                                                                                    \
        const struct kafka_field *topics_ = gate_field(&(group_table), "topics");                                                           \
        (q)->gate->n_groups = (req)->groups.n;                                                                                              \
        (q)->gate->group_topics = ARENA_ARRAY(&(q)->arena, struct gate_list, (req)->groups.n);                                              \
        for (int32_t i_ = 0; i_ < (req)->groups.n; i_++)                                                                                    \
            gate_filter((q), topics_, &(req)->groups.p[i_], topic_describe, &(q)->gate->group_topics[i_]);                                  \
    } while (0)

static int offset_fetch_whole(struct kafka_req *q) {
    return q->version >= 8 ? 0 : group(q, ACL_DESCRIBE, text_field(q, "group_id"));
}
static int offset_fetch_each(struct kafka_req *q, const void *e, struct str name) {
    return q->version >= 8 ? groups_describe(q, e, name) : topic_describe(q, e, name);
}
static void offset_fetch_enter(struct kafka_req *q) {
    struct kafka_offset_fetch_request *req = q->msg;
    struct gate_state *s = q->gate;
    s->all_topics = q->version < 8 && req->topics.n < 0;
    if (q->version < 8) return;
    FILTER_GROUPS(q, req, kafka_offset_fetch_request_groups_s);
}
static void offset_fetch_leave(struct kafka_req *q) {
    const struct kafka_offset_fetch_request *req = q->msg;
    struct kafka_offset_fetch_response *res = q->res;
    const struct gate_state *s = q->gate;
    if (s->all_topics) KEEP_IF(res->topics, i, topic(q, ACL_DESCRIBE, res->topics.p[i].name) == 0);
    const struct kafka_field *topics = gate_field(&kafka_offset_fetch_response_groups_s, "topics");
    for (int32_t i = 0; i < s->n_groups && i < res->groups.n; i++) {
        struct kafka_offset_fetch_response_groups *g = &res->groups.p[i];
        if (req->groups.p[i].topics.n < 0)
            KEEP_IF(g->topics, t, topic(q, ACL_DESCRIBE, gate_topic_name(q, g->topics.p[t].name, &g->topics.p[t].topic_id)) == 0);
        if (g->error_code == 0) gate_put_back(q, &s->group_topics[i], topics, g);
    }
}

// ---- DescribeShareGroupOffsets: groups, and topics in each --------------------------------------------------------------------
static void share_offsets_enter(struct kafka_req *q) {
    struct kafka_describe_share_group_offsets_request *req = q->msg;
    FILTER_GROUPS(q, req, kafka_describe_share_group_offsets_request_groups_s);
}
static void share_offsets_leave(struct kafka_req *q) {
    const struct kafka_describe_share_group_offsets_request *req = q->msg;
    struct kafka_describe_share_group_offsets_response *res = q->res;
    const struct kafka_field *topics = gate_field(&kafka_describe_share_group_offsets_response_groups_s, "topics");
    for (int32_t i = 0; i < q->gate->n_groups && i < res->groups.n; i++) {
        struct kafka_describe_share_group_offsets_response_groups *g = &res->groups.p[i];
        if (req->groups.p[i].topics.n < 0) KEEP_IF(g->topics, t, topic(q, ACL_DESCRIBE, g->topics.p[t].topic_name) == 0);
        if (g->error_code == 0) gate_put_back(q, &q->gate->group_topics[i], topics, g);
    }
}

// ---- producers and transactions --------------------------------------------------------------------------------------------
static int init_producer(struct kafka_req *q) {
    const struct kafka_init_producer_id_request *req = q->msg;
    if (req->transactional_id.p == NULL)
        return kafka_may_cluster(q, ACL_IDEMPOTENT_WRITE) || kafka_may_any(q, ACL_WRITE, ACL_TOPIC) ? 0 : KAFKA_CLUSTER_AUTHORIZATION_FAILED;
    int error = transaction(q, ACL_WRITE, req->transactional_id);
    return error != 0 || !req->enable2_pc ? error : transaction(q, ACL_TWO_PHASE_COMMIT, req->transactional_id);
}
static int the_transaction(struct kafka_req *q) { return transaction(q, ACL_WRITE, text_field(q, "transactional_id")); }
static int transaction_and_group(struct kafka_req *q) {
    int error = the_transaction(q);
    return error != 0 ? error : group_read(q);
}

// All or nothing: when one topic may not be written, no partition joins the transaction.
static int add_partitions(struct kafka_req *q) {
    struct kafka_add_partitions_to_txn_request *req = q->msg;
    if (q->version >= 4) return cluster(q, ACL_CLUSTER_ACTION); // between brokers
    return transaction(q, ACL_WRITE, req->v3_and_below_transactional_id);
}
static int not_attempted(struct kafka_req *q, const void *e, struct str name) {
    return (void)q, (void)e, (void)name, KAFKA_OPERATION_NOT_ATTEMPTED;
}
static int add_partitions_each(struct kafka_req *q, const void *e, struct str name) { return q->version >= 4 ? 0 : topic_write(q, e, name); }
static void add_partitions_enter(struct kafka_req *q) {
    struct gate_state *s = q->gate;
    if (s->out.n == 0) return;
    s->group_topics = ARENA_NEW(&q->arena, struct gate_list); // those that were good
    gate_filter(q, s->out.field, q->msg, not_attempted, s->group_topics);
}
static void add_partitions_leave(struct kafka_req *q) {
    struct kafka_add_partitions_to_txn_response *res = q->res;
    const struct gate_state *s = q->gate;
    if (s->group_topics == NULL) return;
    res->results_by_topic_v3_and_below.n = 0;
    const struct kafka_field *to = gate_field(q->api->response->body, "results_by_topic_v3_and_below");
    gate_put_back(q, &s->out, to, res);
    gate_put_back(q, s->group_topics, to, res);
}

static void list_transactions_leave(struct kafka_req *q) {
    struct kafka_list_transactions_response *res = q->res;
    KEEP_IF(res->transaction_states, i, transaction(q, ACL_DESCRIBE, res->transaction_states.p[i].transactional_id) == 0);
}
static void describe_transactions_leave(struct kafka_req *q) {
    struct kafka_describe_transactions_response *res = q->res;
    for (int32_t i = 0; i < res->transaction_states.n; i++) {
        struct kafka_describe_transactions_response_transaction_states *t = &res->transaction_states.p[i];
        KEEP_IF(t->topics, k, topic(q, ACL_DESCRIBE, t->topics.p[k].topic) == 0);
    }
}

// ---- AlterUserScramCredentials: nothing of it is done, and each user is told so, once -----------------------------------------
static void scram_enter(struct kafka_req *q) {
    struct kafka_alter_user_scram_credentials_request *req = q->msg;
    int32_t n = 0;
    if (kafka_may_cluster(q, ACL_ALTER)) return;
    struct str *users = ARENA_ARRAY(&q->arena, struct str, req->deletions.n + req->upsertions.n + 1);
    for (int32_t i = 0; i < req->deletions.n; i++) users[n++] = req->deletions.p[i].name;
    for (int32_t i = 0; i < req->upsertions.n; i++) users[n++] = req->upsertions.p[i].name;
    q->gate->users = users;
    q->gate->n_users = n;
    req->deletions.n = req->upsertions.n = 0;
}
static void scram_leave(struct kafka_req *q) {
    struct kafka_alter_user_scram_credentials_response *res = q->res;
    struct map told; // by name
    map_init(&told);
    if (q->gate->n_users > 0) res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_user_scram_credentials_response_results, q->gate->n_users);
    for (int32_t i = 0; i < q->gate->n_users; i++) {
        struct str user = q->gate->users[i];
        if (map_put(&told, user, q) != NULL) continue;
        struct kafka_alter_user_scram_credentials_response_results *r = &res->results.p[res->results.n++];
        r->user = user;
        r->error_code = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
        r->error_message = STR("Cluster authorization failed.");
    }
    map_fini(&told);
}

static void topic_partitions_leave(struct kafka_req *q) { // DescribeTopicPartitions of all topics shows those that may be described
    struct kafka_describe_topic_partitions_response *res = q->res;
    if (q->gate->all_topics) KEEP_IF(res->topics, i, topic(q, ACL_DESCRIBE, res->topics.p[i].name) == 0);
}
static void topic_partitions_enter(struct kafka_req *q) {
    q->gate->all_topics = ((const struct kafka_describe_topic_partitions_request *)q->msg)->topics.n == 0 && q->gate->out.n == 0;
}

// ---- the table: API, whole, each, enter, leave, type of the operations shown ------------------------------------------------
#define GATE(api, ...) {KAFKA_API_##api, __VA_ARGS__}
static const struct gate gates[] = {
    GATE(PRODUCE, produce_whole, topic_write, produce_enter, NULL, 0),
    GATE(FETCH, NULL, fetch_each, NULL, fetch_leave, 0),
    GATE(LIST_OFFSETS, NULL, topic_describe, NULL, NULL, 0),
    GATE(METADATA, metadata_whole, metadata_each, metadata_enter, metadata_leave, ACL_TOPIC),
    GATE(OFFSET_COMMIT, group_read, topic_read, NULL, NULL, 0),
    GATE(OFFSET_FETCH, offset_fetch_whole, offset_fetch_each, offset_fetch_enter, offset_fetch_leave, 0),
    GATE(FIND_COORDINATOR, coordinator_whole, coordinator_each, NULL, NULL, 0),
    GATE(JOIN_GROUP, group_read, NULL, NULL, NULL, 0),
    GATE(HEARTBEAT, group_read, NULL, NULL, NULL, 0),
    GATE(LEAVE_GROUP, group_read, NULL, NULL, NULL, 0),
    GATE(SYNC_GROUP, group_read, NULL, NULL, NULL, 0),
    GATE(DESCRIBE_GROUPS, NULL, groups_describe, NULL, NULL, ACL_GROUP),
    GATE(LIST_GROUPS, NULL, NULL, NULL, list_groups_leave, 0),
    GATE(SASL_HANDSHAKE, NULL, NULL, NULL, NULL, 0),
    GATE(API_VERSIONS, NULL, NULL, NULL, NULL, 0),
    GATE(CREATE_TOPICS, NULL, create_each, NULL, create_leave, 0),
    GATE(DELETE_TOPICS, NULL, delete_each, NULL, NULL, 0),
    GATE(DELETE_RECORDS, NULL, topic_delete_records, NULL, NULL, 0),
    GATE(INIT_PRODUCER_ID, init_producer, NULL, NULL, NULL, 0),
    GATE(OFFSET_FOR_LEADER_EPOCH, NULL, epoch_each, NULL, NULL, 0),
    GATE(ADD_PARTITIONS_TO_TXN, add_partitions, add_partitions_each, add_partitions_enter, add_partitions_leave, 0),
    GATE(ADD_OFFSETS_TO_TXN, transaction_and_group, NULL, NULL, NULL, 0),
    GATE(END_TXN, the_transaction, NULL, NULL, NULL, 0),
    GATE(WRITE_TXN_MARKERS, markers, NULL, NULL, NULL, 0),
    GATE(TXN_OFFSET_COMMIT, transaction_and_group, topic_read, NULL, NULL, 0),
    GATE(DESCRIBE_ACLS, cluster_describe, NULL, NULL, NULL, 0),
    GATE(CREATE_ACLS, cluster_alter, NULL, NULL, NULL, 0),
    GATE(DELETE_ACLS, cluster_alter, NULL, NULL, NULL, 0),
    GATE(DESCRIBE_CONFIGS, NULL, describe_config, NULL, NULL, 0),
    GATE(ALTER_CONFIGS, NULL, alter_config, NULL, NULL, 0),
    GATE(ALTER_REPLICA_LOG_DIRS, cluster_alter, NULL, NULL, NULL, 0),
    GATE(DESCRIBE_LOG_DIRS, cluster_describe, NULL, NULL, NULL, 0),
    GATE(SASL_AUTHENTICATE, NULL, NULL, NULL, NULL, 0),
    GATE(CREATE_PARTITIONS, NULL, topic_alter, NULL, NULL, 0),
    GATE(CREATE_DELEGATION_TOKEN, NULL, NULL, NULL, NULL, 0), // the handlers ask: owners, renewers, requesters
    GATE(RENEW_DELEGATION_TOKEN, NULL, NULL, NULL, NULL, 0),
    GATE(EXPIRE_DELEGATION_TOKEN, NULL, NULL, NULL, NULL, 0),
    GATE(DESCRIBE_DELEGATION_TOKEN, NULL, NULL, NULL, NULL, 0),
    GATE(DELETE_GROUPS, NULL, groups_delete, NULL, NULL, 0),
    GATE(ELECT_LEADERS, cluster_alter, NULL, NULL, NULL, 0),
    GATE(INCREMENTAL_ALTER_CONFIGS, NULL, incremental_config, NULL, NULL, 0),
    GATE(ALTER_PARTITION_REASSIGNMENTS, cluster_alter, NULL, NULL, NULL, 0),
    GATE(LIST_PARTITION_REASSIGNMENTS, cluster_describe, NULL, NULL, NULL, 0),
    GATE(OFFSET_DELETE, group_delete, topic_read, NULL, NULL, 0),
    GATE(DESCRIBE_CLIENT_QUOTAS, cluster_describe_configs, NULL, NULL, NULL, 0),
    GATE(ALTER_CLIENT_QUOTAS, cluster_alter_configs, NULL, NULL, NULL, 0),
    GATE(DESCRIBE_USER_SCRAM_CREDENTIALS, cluster_describe, NULL, NULL, NULL, 0),
    GATE(ALTER_USER_SCRAM_CREDENTIALS, NULL, NULL, scram_enter, scram_leave, 0),
    GATE(DESCRIBE_QUORUM, cluster_describe, NULL, NULL, NULL, 0),
    GATE(UPDATE_FEATURES, cluster_alter, NULL, NULL, NULL, 0),
    GATE(DESCRIBE_CLUSTER, NULL, NULL, NULL, cluster_leave, 0),
    GATE(DESCRIBE_PRODUCERS, NULL, topic_read, NULL, NULL, 0),
    GATE(UNREGISTER_BROKER, cluster_alter, NULL, NULL, NULL, 0),
    GATE(DESCRIBE_TRANSACTIONS, NULL, transactions_describe, NULL, describe_transactions_leave, 0),
    GATE(LIST_TRANSACTIONS, NULL, NULL, NULL, list_transactions_leave, 0),
    GATE(CONSUMER_GROUP_HEARTBEAT, consumer_heartbeat, NULL, NULL, NULL, 0),
    GATE(CONSUMER_GROUP_DESCRIBE, NULL, groups_describe, NULL, consumer_describe_leave, ACL_GROUP),
    GATE(GET_TELEMETRY_SUBSCRIPTIONS, NULL, NULL, NULL, NULL, 0),
    GATE(PUSH_TELEMETRY, NULL, NULL, NULL, NULL, 0),
    GATE(LIST_CONFIG_RESOURCES, cluster_describe_configs, NULL, NULL, NULL, 0),
    GATE(DESCRIBE_TOPIC_PARTITIONS, NULL, topic_describe, topic_partitions_enter, topic_partitions_leave, ACL_TOPIC),
    GATE(SHARE_GROUP_HEARTBEAT, share_heartbeat, NULL, NULL, NULL, 0),
    GATE(SHARE_GROUP_DESCRIBE, NULL, groups_describe, NULL, share_describe_leave, ACL_GROUP),
    GATE(SHARE_FETCH, group_read, topic_read, NULL, share_fetch_leave, 0),
    GATE(SHARE_ACKNOWLEDGE, group_read, topic_read, NULL, NULL, 0),
    GATE(ADD_RAFT_VOTER, cluster_alter, NULL, NULL, NULL, 0),
    GATE(REMOVE_RAFT_VOTER, cluster_alter, NULL, NULL, NULL, 0),
    GATE(INITIALIZE_SHARE_GROUP_STATE, cluster_action, NULL, NULL, NULL, 0),
    GATE(READ_SHARE_GROUP_STATE, cluster_action, NULL, NULL, NULL, 0),
    GATE(WRITE_SHARE_GROUP_STATE, cluster_action, NULL, NULL, NULL, 0),
    GATE(DELETE_SHARE_GROUP_STATE, cluster_action, NULL, NULL, NULL, 0),
    GATE(READ_SHARE_GROUP_STATE_SUMMARY, cluster_action, NULL, NULL, NULL, 0),
    GATE(STREAMS_GROUP_HEARTBEAT, streams_heartbeat, NULL, NULL, NULL, 0),
    GATE(STREAMS_GROUP_DESCRIBE, NULL, groups_describe, NULL, streams_describe_leave, ACL_GROUP),
    GATE(DESCRIBE_SHARE_GROUP_OFFSETS, NULL, groups_describe, share_offsets_enter, share_offsets_leave, 0),
    GATE(ALTER_SHARE_GROUP_OFFSETS, group_read, topic_read, NULL, NULL, 0),
    GATE(DELETE_SHARE_GROUP_OFFSETS, group_delete, topic_read, NULL, NULL, 0),
    GATE(STREAMS_GROUP_TOPOLOGY_DESCRIPTION_UPDATE, group_read, NULL, NULL, NULL, 0),
    GATE(UNREGISTER_CONTROLLER, cluster_alter, NULL, NULL, NULL, 0),
};
#undef GATE

const struct gate *gate_find(int api_key) {
    for (size_t i = 0; i < sizeof gates / sizeof *gates; i++)
        if (gates[i].key == api_key) return &gates[i];
    return NULL;
}
