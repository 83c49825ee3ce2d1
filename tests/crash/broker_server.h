// SPDX-License-Identifier: Apache-2.0
// A broker on the simulated disk with one loop and one worker, for crash tests of the broker room.
//
// server_start may fail, as any operation may be the last one: `why` has the reason, and server_stop is called all the same.
#ifndef CRASH_BROKER_SERVER_H
#define CRASH_BROKER_SERVER_H

#include "broker/broker.h"
#include "crash.h"

struct server {
    struct loop *loop;
    struct pool *pool;
    struct broker *broker; // NULL = it did not open
};

static char why[ERR_MSG_MAX];

// `features`: those that a new directory begins with, or NULL.
static inline bool server_start(struct server *v, struct sys *s, const struct broker_kv *configs, size_t n, const char *features) {
    struct err err = {0};
    struct broker_config c = {.dir = "log", .node_id = 1, .default_partitions = 1, .max_partitions = 100, .configs = configs, .n_configs = n, .features = features};
    v->pool = pool_new("crash", 1, 50);
    v->loop = loop_new(s, "crash", &err);
    loop_start(v->loop);
    v->broker = broker_open(s, &c, &v->loop, 1, v->pool, &err);
    memcpy(why, err.msg, sizeof why);
    return v->broker != NULL;
}

static inline void server_stop(struct server *v) {
    if (v->broker != NULL) broker_close(v->broker);
    loop_stop(v->loop);
    loop_free(v->loop);
    pool_free(v->pool);
    *v = (struct server){0};
}

#endif
