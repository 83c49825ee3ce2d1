// SPDX-License-Identifier: Apache-2.0
// See authorize.h: from a request to its principal and host, and Kafka's sets of operations by type of resource.
#include "kafka/authorize.h"

#include "kafka/security.h"

bool kafka_check(const struct kafka_req *q, enum acl_operation op, enum acl_resource type, struct str name) {
    return security_may(kafka_req_security(q), str_c(kafka_req_principal(q)), str_c(kafka_req_host(q)), op, type, name);
}

bool kafka_check_any(const struct kafka_req *q, enum acl_operation op, enum acl_resource type) {
    return security_may_any(kafka_req_security(q), str_c(kafka_req_principal(q)), str_c(kafka_req_host(q)), op, type);
}

int32_t kafka_authorized_operations(const struct kafka_req *q, enum acl_resource type, struct str name) {
    static const struct {
        enum acl_resource type;
        enum acl_operation ops[9];
    } supported[] = { // Kafka's AclEntry.supportedOperations
        {ACL_TOPIC, {ACL_READ, ACL_WRITE, ACL_CREATE, ACL_DESCRIBE, ACL_DELETE, ACL_ALTER, ACL_DESCRIBE_CONFIGS, ACL_ALTER_CONFIGS}},
        {ACL_GROUP, {ACL_READ, ACL_DESCRIBE, ACL_DELETE, ACL_DESCRIBE_CONFIGS, ACL_ALTER_CONFIGS}},
        {ACL_CLUSTER,
         {ACL_CREATE, ACL_CLUSTER_ACTION, ACL_DESCRIBE_CONFIGS, ACL_ALTER_CONFIGS, ACL_IDEMPOTENT_WRITE, ACL_ALTER, ACL_DESCRIBE}},
        {ACL_TRANSACTIONAL_ID, {ACL_DESCRIBE, ACL_WRITE, ACL_TWO_PHASE_COMMIT}},
        {ACL_DELEGATION_TOKEN, {ACL_DESCRIBE}},
        {ACL_USER, {ACL_CREATE_TOKENS, ACL_DESCRIBE_TOKENS}},
    };
    uint32_t bits = 0;
    for (size_t i = 0; i < sizeof supported / sizeof *supported; i++)
        for (size_t k = 0; supported[i].type == type && k < 9 && supported[i].ops[k] != 0; k++)
            if (kafka_may(q, supported[i].ops[k], type, name)) bits |= 1u << supported[i].ops[k];
    return (int32_t)bits;
}
