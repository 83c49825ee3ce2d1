// SPDX-License-Identifier: Apache-2.0
// Access control lists: a set of rules and what follows from them, as Kafka's StandardAuthorizer says. Pure, no locks: the owner guards it.
//
// Numbers are Kafka's own (AclOperation, ResourceType, PatternType, AclPermissionType), so that they go through messages unchanged.
#ifndef KAFKA_ACL_H
#define KAFKA_ACL_H

#include "base/map.h"
#include "base/mem.h"

enum acl_resource {
    ACL_ANY_RESOURCE = 1, ACL_TOPIC, ACL_GROUP, ACL_CLUSTER, ACL_TRANSACTIONAL_ID, ACL_DELEGATION_TOKEN, ACL_USER,
};
enum acl_pattern { ACL_ANY_PATTERN = 1, ACL_MATCH, ACL_LITERAL, ACL_PREFIXED };
enum acl_operation {
    ACL_ANY_OPERATION = 1, ACL_ALL, ACL_READ, ACL_WRITE, ACL_CREATE, ACL_DELETE, ACL_ALTER, ACL_DESCRIBE, ACL_CLUSTER_ACTION, ACL_DESCRIBE_CONFIGS,
    ACL_ALTER_CONFIGS, ACL_IDEMPOTENT_WRITE, ACL_CREATE_TOKENS, ACL_DESCRIBE_TOKENS, ACL_TWO_PHASE_COMMIT, ACL_OPERATION_END,
};
enum acl_permission { ACL_ANY_PERMISSION = 1, ACL_DENY, ACL_ALLOW };

struct acl { // of a filter: a name, principal or host with p NULL is any, and the enums may be ANY (the pattern MATCH)
    int8_t resource, pattern, operation, permission;
    struct str name, principal, host;
};

struct acl_set {
    struct map all;      // key (acl_key) -> struct acl_rule
    struct map by_name;  // resource, pattern, name -> its rules
    size_t prefix_max;   // longest prefixed name ever added
};
void acl_set_init(struct acl_set *s);
void acl_set_fini(struct acl_set *s);
bool acl_set_add(struct acl_set *s, const struct acl *a); // copies; false = it is there
bool acl_set_remove(struct acl_set *s, const struct acl *a);
// Calls fn for each rule that the filter matches; the rule is the set's, which fn does not change.
void acl_set_each(const struct acl_set *s, const struct acl *filter, void (*fn)(void *arg, const struct acl *a), void *arg);

enum acl_verdict {
    ACL_NO_RULES, // no rule is about this resource: allow.everyone.if.no.acl.found decides
    ACL_DENIED,
    ACL_ALLOWED,
};
enum acl_verdict acl_set_check(const struct acl_set *s, struct str principal, struct str host, enum acl_operation op, enum acl_resource type,
                               struct str name);
// Whether there is any name of that type for which it would be allowed.
bool acl_set_check_any(const struct acl_set *s, struct str principal, struct str host, enum acl_operation op, enum acl_resource type);

// A rule as bytes that name it, and back. False = not such bytes.
struct str acl_key(const struct acl *a, struct arena *arena);
bool acl_from_key(struct str key, struct acl *out); // texts point into key

#endif
