// SPDX-License-Identifier: Apache-2.0
// A call to a coordinator that a test waits for: `call` of its struct is ask_on(&a, loop), then the function, then ask_end(&a).
#ifndef UNIT_ASK_H
#define UNIT_ASK_H

#include "broker/groups.h"

struct ask {
    struct arena arena;
    struct loop_event event;
};

static inline void ask_done(struct group_call *c) { loop_event_set(&((struct ask *)c->arg)->event); }

static inline struct group_call ask_on(struct ask *x, struct loop *back) {
    *x = (struct ask){0};
    arena_init(&x->arena);
    loop_event_init(&x->event);
    return (struct group_call){.done = ask_done, .back = back, .arena = &x->arena, .arg = x};
}

static inline void ask_end(struct ask *x) { // the answer is in its arena, which the caller frees
    loop_event_wait(&x->event);
    loop_event_fini(&x->event);
}

#endif
