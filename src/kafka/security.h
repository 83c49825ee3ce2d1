// SPDX-License-Identifier: Apache-2.0
// Inside kafka only: who may what. Super users, the rules of the authorizer, SCRAM users, delegation tokens.
//
// What is durable lies in the broker's store; here are the rules and keys in the form that checks need, guarded by one mutex that is held for
// microseconds. Changes are made by workers: the store first (durable), then here.
#ifndef KAFKA_SECURITY_H
#define KAFKA_SECURITY_H

#include "broker/store.h"
#include "kafka/acl.h"
#include "kafka/listener.h"

struct security {
    struct sys *sys;
    struct store *store;
    bool authorizer;       // authorizer.class.name is set
    bool allow_if_no_acl;  // allow.everyone.if.no.acl.found
    struct str *super_users; // "User:admin"
    size_t n_super_users;
    int64_t failed_delay_ms; // connection.failed.authentication.delay.ms
    size_t sasl_receive_max; // sasl.server.max.receive.size
    const char *token_secret; // delegation.token.secret.key; NULL = no delegation tokens
    int64_t token_max_ms, token_expiry_ms;
    struct sys_mutex change; // one change of the store at a time
    struct sys_mutex mutex;  // guards acls
    struct acl_set acls;
    struct arena arena;
};

enum err_code security_init(struct security *s, struct sys *sys, struct store *store, const struct kafka_config *config, struct err *err);
void security_fini(struct security *s);
void security_sasl_server(struct listener *k); // sets the callbacks of k->server

// "User:alice" may op on that? Host as text, without a port.
bool security_may(struct security *s, struct str principal, struct str host, enum acl_operation op, enum acl_resource type, struct str name);
bool security_may_any(struct security *s, struct str principal, struct str host, enum acl_operation op, enum acl_resource type);

// SCRAM users. [any] false = none of that name.
bool scram_user_find(struct security *s, struct str user, enum scram_hash h, struct arena *a, struct scram_credential *out);

#endif
