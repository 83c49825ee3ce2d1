// SPDX-License-Identifier: Apache-2.0
// Calls to the broker of a crash test that wait for their answer.
#ifndef CRASH_BROKER_ASK_H
#define CRASH_BROKER_ASK_H

#include "broker_server.h"
#include "unit/ask.h"

static inline struct group_call ask_begin(struct ask *x, struct server *v) { return ask_on(x, v->loop); }

static inline void ask_close(struct ask *x) { // nothing of the answer is read from its arena any more
    ask_end(x);
    arena_fini(&x->arena);
}

struct put {
    struct broker *broker;
    struct broker_produce *produce;
    struct loop_event event;
};
static inline void put_done(struct broker_produce *p) { loop_event_set(&((struct put *)p->arg)->event); }
static inline void put_start(void *arg) { broker_produce(((struct put *)arg)->broker, ((struct put *)arg)->produce); }

static inline int server_produce(struct server *v, struct broker_produce *p) { // p: what is produced; its error
    struct put x = {.broker = v->broker, .produce = p};
    p->done = put_done;
    p->back = v->loop;
    p->arg = &x;
    loop_event_init(&x.event);
    loop_post(v->loop, put_start, &x);
    loop_event_wait(&x.event);
    loop_event_fini(&x.event);
    return p->kafka_error;
}

#endif
