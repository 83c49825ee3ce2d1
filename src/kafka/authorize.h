// SPDX-License-Identifier: Apache-2.0
// What a handler asks before it does anything: may this connection's principal do that? One line, one branch when there is no authorizer.
//
//     if (!kafka_may(q, ACL_READ, ACL_TOPIC, name)) error = KAFKA_TOPIC_AUTHORIZATION_FAILED;
//
// Any thread, while the request lives. The rules change at any time; two questions of one request may see different ones.
#ifndef KAFKA_AUTHORIZE_H
#define KAFKA_AUTHORIZE_H

#include "kafka/acl.h"
#include "kafka/conn.h"

static inline bool kafka_has_authorizer(const struct kafka_req *q) { return q->authorizer; }
bool kafka_check(const struct kafka_req *q, enum acl_operation op, enum acl_resource type, struct str name);
bool kafka_check_any(const struct kafka_req *q, enum acl_operation op, enum acl_resource type);

static inline bool kafka_may(const struct kafka_req *q, enum acl_operation op, enum acl_resource type, struct str name) {
    return !kafka_has_authorizer(q) || kafka_check(q, op, type, name);
}
static inline bool kafka_may_cluster(const struct kafka_req *q, enum acl_operation op) {
    return !kafka_has_authorizer(q) || kafka_check(q, op, ACL_CLUSTER, STR("kafka-cluster"));
}
// For any name of the type at all (idempotent producers: any topic that may be written).
static inline bool kafka_may_any(const struct kafka_req *q, enum acl_operation op, enum acl_resource type) {
    return !kafka_has_authorizer(q) || kafka_check_any(q, op, type);
}
// The bits of *_authorized_operations: all operations that the type of resource knows and the principal may.
int32_t kafka_authorized_operations(const struct kafka_req *q, enum acl_resource type, struct str name);

#endif
