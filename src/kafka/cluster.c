// SPDX-License-Identifier: Apache-2.0
// What administrators ask of a cluster, answered by a cluster of one: DescribeCluster, ElectLeaders, partition reassignments, DescribeQuorum,
// voters, unregistering, ListConfigResources. Nothing here changes anything: what would move data to another node is refused as Kafka refuses
// nodes that it does not know, and what is as it should be already succeeds. Who may ask is the gates' affair (gates.c).
#include "kafka/authorize.h"
#include "kafka/conn.h"

enum { ELECTION_PREFERRED = 0, ELECTION_UNCLEAN = 1 };

static int32_t partitions_of(struct kafka_req *q, struct str topic) { // 0 = no such topic
    struct broker_topic_info info;
    const char *name = kafka_req_name(q, topic);
    return name != NULL && broker_topic_get(kafka_req_broker(q), str_c(name), &q->arena, &info) ? info.partitions : 0;
}

// ---- DescribeCluster ------------------------------------------------------------------------------------------------------
enum { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };

void kafka_do_describe_cluster(struct kafka_req *q) {
    const struct kafka_config *config = kafka_req_config(q);
    const struct kafka_describe_cluster_request *req = q->msg;
    struct kafka_describe_cluster_response *res = q->res;
    res->cluster_id = str_c(config->cluster_id);
    res->controller_id = config->node_id;
    res->endpoint_type = req->endpoint_type;
    if (req->endpoint_type != ENDPOINT_BROKERS) {
        bool controllers = req->endpoint_type == ENDPOINT_CONTROLLERS;
        res->error_code = controllers ? KAFKA_MISMATCHED_ENDPOINT_TYPE : KAFKA_UNSUPPORTED_ENDPOINT_TYPE;
        res->error_message = controllers ? STR("The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER")
                                         : STR("Unsupported endpoint type");
        kafka_req_done(q);
        return;
    }
    struct kafka_describe_cluster_response_brokers *b = KAFKA_ELEMENTS(&q->arena, kafka_describe_cluster_response_brokers, 1);
    b->broker_id = config->node_id;
    b->host = str_c(kafka_req_advertised_host(q));
    b->port = kafka_req_advertised_port(q);
    res->brokers.p = b;
    res->brokers.n = 1;
    if (req->include_cluster_authorized_operations) res->cluster_authorized_operations = KAFKA_CLUSTER_OPERATIONS;
    kafka_req_done(q);
}

// ---- ElectLeaders: this node leads every partition already ----------------------------------------------------------------
typedef struct kafka_elect_leaders_response_replica_election_results_partition_result elect_result;

static void elect_one(struct kafka_req *q, struct str topic, int32_t partitions, int32_t index, elect_result *out) {
    out->partition_id = index;
    out->error_code = KAFKA_ELECTION_NOT_NEEDED;
    out->error_message = STR("Leader election not needed for topic partition.");
    if (index >= 0 && index < partitions) return;
    out->error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    out->error_message = partitions == 0 ? str_c(arena_printf(&q->arena, "No such topic as " STR_FMT, STR_ARG(topic)))
                                         : str_c(arena_printf(&q->arena, "No such partition as " STR_FMT "-%d", STR_ARG(topic), index));
}

void kafka_do_elect_leaders(struct kafka_req *q) {
    const struct kafka_elect_leaders_request *req = q->msg;
    struct kafka_elect_leaders_response *res = q->res;
    int32_t n = req->topic_partitions.n;
    bool known = req->election_type == ELECTION_PREFERRED || req->election_type == ELECTION_UNCLEAN;
    if (n <= 0) { // null: all partitions; those that need no election are not told
        kafka_req_done(q);
        return;
    }
    res->replica_election_results.p = KAFKA_ELEMENTS(&q->arena, kafka_elect_leaders_response_replica_election_results, n);
    res->replica_election_results.n = n;
    for (int32_t i = 0; i < n; i++) {
        const struct kafka_elect_leaders_request_topic_partitions *t = &req->topic_partitions.p[i];
        struct kafka_elect_leaders_response_replica_election_results *out = &res->replica_election_results.p[i];
        int32_t partitions = partitions_of(q, t->topic);
        out->topic = t->topic;
        out->partition_result.n = t->partitions.n;
        out->partition_result.p =
            KAFKA_ELEMENTS(&q->arena, kafka_elect_leaders_response_replica_election_results_partition_result, t->partitions.n);
        for (int32_t k = 0; k < t->partitions.n; k++) {
            elect_one(q, t->topic, partitions, t->partitions.p[k], &out->partition_result.p[k]);
            if (known) continue;
            out->partition_result.p[k].error_code = KAFKA_INVALID_REQUEST;
            out->partition_result.p[k].error_message = str_c(arena_printf(&q->arena, "Unknown election type %d", req->election_type));
        }
    }
    kafka_req_done(q);
}

// ---- reassignments --------------------------------------------------------------------------------------------------------
typedef struct kafka_alter_partition_reassignments_request_topics_partitions reassign_part;
typedef struct kafka_alter_partition_reassignments_response_responses_partitions reassign_result;

static void refuse(reassign_result *out, int error, struct str message) {
    out->error_code = (int16_t)error;
    out->error_message = message;
}

static void reassign_one(struct kafka_req *q, struct str topic, int32_t partitions, const reassign_part *p, reassign_result *out) {
    int32_t node = kafka_req_config(q)->node_id;
    out->partition_index = p->partition_index;
    out->error_message = (struct str){NULL, 0};
    if (partitions == 0) {
        refuse(out, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, str_c(arena_printf(&q->arena, "Unable to find a topic named " STR_FMT ".", STR_ARG(topic))));
        return;
    }
    if (p->partition_index < 0 || p->partition_index >= partitions) {
        refuse(out, KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
               str_c(arena_printf(&q->arena, "Unable to find partition " STR_FMT ":%d.", STR_ARG(topic), p->partition_index)));
    } else if (p->replicas.n < 0) { // null: cancel
        refuse(out, KAFKA_NO_REASSIGNMENT_IN_PROGRESS, (struct str){NULL, 0});
    } else if (p->replicas.n == 0) {
        refuse(out, KAFKA_INVALID_REPLICA_ASSIGNMENT, STR("The manual partition assignment includes an empty replica list."));
    }
    for (int32_t i = 0; i < p->replicas.n && out->error_code == 0; i++) {
        int32_t id = p->replicas.p[i];
        char *message = NULL;
        if (id != node)
            message = arena_printf(&q->arena, "The manual partition assignment includes broker %d, but no such broker is registered.", id);
        else if (i > 0) message = arena_printf(&q->arena, "The manual partition assignment includes the broker %d more than once.", id);
        if (message == NULL) continue;
        refuse(out, KAFKA_INVALID_REPLICA_ASSIGNMENT, str_c(message));
    }
}

void kafka_do_alter_partition_reassignments(struct kafka_req *q) {
    const struct kafka_alter_partition_reassignments_request *req = q->msg;
    struct kafka_alter_partition_reassignments_response *res = q->res;
    if (req->topics.n > 0) { // else Kafka's own defaults
        res->allow_replication_factor_change = req->allow_replication_factor_change;
        res->error_message = (struct str){NULL, 0};
    }
    res->responses.n = req->topics.n;
    res->responses.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_partition_reassignments_response_responses, req->topics.n);
    for (int32_t i = 0; i < req->topics.n; i++) {
        const struct kafka_alter_partition_reassignments_request_topics *t = &req->topics.p[i];
        struct kafka_alter_partition_reassignments_response_responses *out = &res->responses.p[i];
        int32_t partitions = partitions_of(q, t->name);
        out->name = t->name;
        out->partitions.n = t->partitions.n;
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_partition_reassignments_response_responses_partitions, t->partitions.n);
        for (int32_t k = 0; k < t->partitions.n; k++) reassign_one(q, t->name, partitions, &t->partitions.p[k], &out->partitions.p[k]);
    }
    kafka_req_done(q);
}

void kafka_do_list_partition_reassignments(struct kafka_req *q) { // none is ever in progress
    struct kafka_list_partition_reassignments_response *res = q->res;
    res->error_message = (struct str){NULL, 0};
    kafka_req_done(q);
}

// ---- the quorum: this node is the controller, its only voter and its leader -----------------------------------------------
static void describe_metadata(struct kafka_req *q, struct kafka_describe_quorum_response_topics_partitions *p) {
    int64_t now = sys_now_us(loop_sys(kafka_req_loop(q))) / 1000;
    p->leader_id = kafka_req_config(q)->node_id;
    p->leader_epoch = 1;
    p->high_watermark = 0; // metadata is not kept in a log
    p->current_voters.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_quorum_response_topics_partitions_current_voters, 1);
    p->current_voters.n = 1;
    p->current_voters.p[0].replica_id = p->leader_id;
    p->current_voters.p[0].log_end_offset = 0;
    p->current_voters.p[0].last_fetch_timestamp = now;
    p->current_voters.p[0].last_caught_up_timestamp = now;
}

void kafka_do_describe_quorum(struct kafka_req *q) {
    const struct kafka_describe_quorum_request *req = q->msg;
    struct kafka_describe_quorum_response *res = q->res;
    res->topics.n = req->topics.n;
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_quorum_response_topics, req->topics.n);
    bool right = req->topics.n == 1 && str_eqc(req->topics.p[0].topic_name, "__cluster_metadata") && req->topics.p[0].partitions.n == 1 &&
                 req->topics.p[0].partitions.p[0].partition_index == 0;
    for (int32_t i = 0; i < req->topics.n; i++) {
        const struct kafka_describe_quorum_request_topics *t = &req->topics.p[i];
        struct kafka_describe_quorum_response_topics *out = &res->topics.p[i];
        out->topic_name = t->topic_name;
        out->partitions.n = t->partitions.n;
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_quorum_response_topics_partitions, t->partitions.n);
        for (int32_t k = 0; k < t->partitions.n; k++) {
            out->partitions.p[k].partition_index = t->partitions.p[k].partition_index;
            if (right) describe_metadata(q, &out->partitions.p[k]);
            else out->partitions.p[k].error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        }
    }
    res->nodes.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_quorum_response_nodes, 1);
    res->nodes.n = right ? 1 : 0;
    res->nodes.p[0].node_id = kafka_req_config(q)->node_id;
    res->nodes.p[0].listeners.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_quorum_response_nodes_listeners, 1);
    res->nodes.p[0].listeners.n = 1;
    res->nodes.p[0].listeners.p[0] = (struct kafka_describe_quorum_response_nodes_listeners){
        str_c(kafka_req_listener_name(q)), str_c(kafka_req_advertised_host(q)), (uint16_t)kafka_req_advertised_port(q)};
    kafka_req_done(q);
}

// Voters are not changed: the error for it, and its text.
static int16_t voter_refusal(struct kafka_req *q, struct str cluster_id, const char *doing, struct str *message) {
    if (cluster_id.p != NULL && !str_eqc(cluster_id, kafka_req_config(q)->cluster_id)) {
        *message = STR("The cluster id is another cluster's.");
        return KAFKA_INCONSISTENT_CLUSTER_ID;
    }
    *message = str_c(arena_printf(&q->arena, "Cluster doesn't support %s voter because the kraft.version feature is 0", doing));
    return KAFKA_UNSUPPORTED_VERSION;
}

void kafka_do_add_raft_voter(struct kafka_req *q) {
    const struct kafka_add_raft_voter_request *req = q->msg;
    struct kafka_add_raft_voter_response *res = q->res;
    res->error_code = voter_refusal(q, req->cluster_id, "adding", &res->error_message);
    kafka_req_done(q);
}

void kafka_do_remove_raft_voter(struct kafka_req *q) {
    const struct kafka_remove_raft_voter_request *req = q->msg;
    struct kafka_remove_raft_voter_response *res = q->res;
    res->error_code = voter_refusal(q, req->cluster_id, "removing", &res->error_message);
    kafka_req_done(q);
}

// The only node stays. `unknown`: the error for any other id.
static int16_t unregister_refusal(struct kafka_req *q, int32_t id, int unknown, const char *what, const char *what_id, struct str *message) {
    bool self = id == kafka_req_config(q)->node_id;
    *message = str_c(self ? arena_printf(&q->arena, "The only %s of the cluster cannot be unregistered.", what)
                          : arena_printf(&q->arena, "%s ID %d is not currently registered", what_id, id));
    return (int16_t)(self ? KAFKA_INVALID_REQUEST : unknown);
}

void kafka_do_unregister_broker(struct kafka_req *q) {
    const struct kafka_unregister_broker_request *req = q->msg;
    struct kafka_unregister_broker_response *res = q->res;
    res->error_code = unregister_refusal(q, req->broker_id, KAFKA_BROKER_ID_NOT_REGISTERED, "broker", "Broker", &res->error_message);
    kafka_req_done(q);
}

void kafka_do_unregister_controller(struct kafka_req *q) {
    const struct kafka_unregister_controller_request *req = q->msg;
    struct kafka_unregister_controller_response *res = q->res;
    res->error_code = unregister_refusal(q, req->controller_id, KAFKA_CONTROLLER_ID_NOT_REGISTERED, "controller", "Controller", &res->error_message);
    kafka_req_done(q);
}
