// SPDX-License-Identifier: Apache-2.0
// Inside kafka only: authorization of requests, in front of the handlers and behind them. Only with an authorizer; without one nothing here runs.
//
// Going in, the elements of a request (topics, groups, configs, ...) that the principal may not touch are taken out, so that a handler sees only what is
// allowed; going out, the response gets an element with the error for each of them, and what a response must not show is taken out. An API that
// has no rule in gates.c is refused. Loop of the connection; memory: the request's arena.
#ifndef KAFKA_GATE_H
#define KAFKA_GATE_H

#include "kafka/authorize.h"

struct gate_list { // elements taken out of an array
    const struct kafka_field *field; // of the request
    char *p;                         // copies
    int *errors;
    int32_t n;
};
struct gate_state { // of one request that is let in
    const struct gate *gate;
    struct gate_list out;
    struct gate_list *group_topics; // OffsetFetch: of each group
    const struct str *users; // AlterUserScramCredentials: whom it would have changed
    int32_t n_groups, n_users;
    bool all_topics;
};

// A rule: what is asked on the way in and done on the way out. All functions may be NULL.
struct gate {
    int16_t key;
    int (*whole)(struct kafka_req *q);                                      // Kafka error for the whole request; 0 = go on
    int (*each)(struct kafka_req *q, const void *element, struct str name); // Kafka error for one element of the first array; 0 = allowed
    void (*enter)(struct kafka_req *q);
    void (*leave)(struct kafka_req *q);
    enum acl_resource operations; // type whose *_authorized_operations are in the response's elements; 0 = none
};
const struct gate *gate_find(int api_key); // NULL = no rule

bool gate_enter(struct kafka_req *q); // false = answered
void gate_leave(struct kafka_req *q); // before the response is encoded

// ---- for rules: messages by their field tables ----------------------------------------------------------------------------
const struct kafka_field *gate_first_array(const struct kafka_struct *s, int version); // NULL = none
const struct kafka_field *gate_field(const struct kafka_struct *s, const char *name);  // NULL = none
// Takes out of the array what `each` denies.
void gate_filter(struct kafka_req *q, const struct kafka_field *f, void *owner, int (*each)(struct kafka_req *q, const void *e, struct str name),
                 struct gate_list *out);
// Appends an element with its error for each that was taken out, to the array field `to` of `owner`.
void gate_put_back(struct kafka_req *q, const struct gate_list *out, const struct kafka_field *to, void *owner);
// Fills a response with that error: at the top where the version has a place for it, else at each element of the request.
void gate_deny(struct kafka_req *q, int error);
void gate_refuse(struct kafka_req *q, int error, bool with_text); // the same; without a text for the error
// The name of a topic that an element means by name or id; p NULL = an unknown id.
struct str gate_topic_name(struct kafka_req *q, struct str name, const struct kafka_uuid *id);

#endif
