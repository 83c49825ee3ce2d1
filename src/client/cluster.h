// SPDX-License-Identifier: Apache-2.0
// A Kafka cluster as an administrator sees it: any API of the field tables (kafka/messages.h), asked of the node that answers for it.
//
// For what Debian's librdkafka has no call for. Blocking, one thread. Requests are the caller's plain structs; answers live in the
// cluster's memory until cluster_close. The version of an API is the highest that both sides know.
#ifndef CLIENT_CLUSTER_H
#define CLIENT_CLUSTER_H

#include "base/err.h"
#include "base/mem.h"
#include "client/kafka.h"
#include "kafka/messages.h"
#include "sys/sys.h"

enum { CLUSTER_ANY = -1, CLUSTER_CONTROLLER = -2 }; // in place of a node's id
enum cluster_coordinator { CLUSTER_GROUP = 0, CLUSTER_TRANSACTION = 1, CLUSTER_SHARE = 2 };

struct cluster;
// ERR_UNAVAILABLE: none of the brokers answers within some seconds. ERR_DENIED: TLS or the log-in failed. What `at` points to is borrowed.
struct cluster *cluster_open(struct sys *s, const struct client_target *at, struct err *err);
void cluster_close(struct cluster *c);
struct arena *cluster_memory(struct cluster *c); // for requests: freed by cluster_close
// Where answers go from now on: an arena of the caller, who may reset it between calls. NULL: the cluster's memory.
void cluster_answers_to(struct cluster *c, struct arena *a);
const struct kafka_metadata_response *cluster_nodes(const struct cluster *c); // brokers, controller, cluster id; no topics

// The version that `node` would be asked in; -1 = it does not serve the API.
int cluster_version(struct cluster *c, int32_t node, int api, struct err *err);
// Asks and waits. *res is the API's response struct. ERR_NOT_SUPPORTED: the node does not serve the API. What Kafka's error codes inside the
// answer say is the caller's business (cluster_error).
enum err_code cluster_call(struct cluster *c, int32_t node, int api, const void *req, void *res_out, struct err *err);
// The node that answers for a group or a transactional id.
enum err_code cluster_find(struct cluster *c, enum cluster_coordinator type, struct str key, int32_t *node, struct err *err);
// A coordinator that has just got its job may not know it yet. True: waited a moment, ask again.
bool cluster_again(struct cluster *c, int code, int attempt);
// Metadata of topics (n = -1: all), with the leaders of their partitions, sorted by name and index. ERR_NO_TOPIC names the one that is not there.
enum err_code cluster_topics(struct cluster *c, const struct str *names, int32_t n, const struct kafka_metadata_response **out, struct err *err);

// A Kafka error code as an error of ours: "what: KAFKA'S_NAME: text". code 0 = ERR_OK. `text` may be empty: then Kafka's own.
enum err_code cluster_error(int code, struct str text, struct err *err, const char *what, ...) __attribute__((format(printf, 4, 5)));

#endif
