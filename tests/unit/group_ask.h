// SPDX-License-Identifier: Apache-2.0
// A call to a group coordinator that a test waits for.
#ifndef UNIT_GROUP_ASK_H
#define UNIT_GROUP_ASK_H

#include "unit/broker_fixture.h"

struct ask {
    struct fixture *f;
    struct arena arena;
    struct loop_event event;
};

static inline void ask_done(struct group_call *c) { loop_event_set(&((struct ask *)c->arg)->event); }

static inline struct group_call ask_begin(struct ask *x, struct fixture *f) {
    *x = (struct ask){.f = f};
    arena_init(&x->arena);
    loop_event_init(&x->event);
    return (struct group_call){.done = ask_done, .back = f->loops[1], .arena = &x->arena, .arg = x};
}
static inline void ask_end(struct ask *x) { // the answer is in its arena, which the caller frees
    loop_event_wait(&x->event);
    loop_event_fini(&x->event);
}

#endif
