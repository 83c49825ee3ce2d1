// SPDX-License-Identifier: Apache-2.0
// Inside kafka only: what the handlers of groups' APIs have in common. A call lives in its request's arena and is answered on its loop.
#ifndef KAFKA_GROUP_REQUESTS_H
#define KAFKA_GROUP_REQUESTS_H

#include "broker/groups.h"
#include "kafka/conn.h"

enum { KAFKA_GROUP_OPERATIONS = 3400 }; // authorized operations of a group without an authorizer: read, delete, describe, and its configs

struct group_call kafka_group_call_of(struct kafka_req *q, void (*done)(struct group_call *c)); // arg: the request
struct str kafka_group_message(struct kafka_req *q, const struct group_call *c); // of an error, in the request's arena; null when there is none
const char *kafka_group_client_id(struct kafka_req *q);   // "" when the request has none
const char *kafka_group_client_host(struct kafka_req *q); // "/127.0.0.1", as Java prints an address
const char *kafka_group_name(struct kafka_req *q, struct str s); // "" for null
const char *const *kafka_group_names(struct kafka_req *q, const struct str *p, int32_t n, size_t *out_n); // NULL for a null array

#endif
