// SPDX-License-Identifier: Apache-2.0
// Runs a call to a group coordinator on a loop and waits for its answer. Include it behind the test's own
//
//   struct call { struct fixture *f; union { struct group_call call; ... }; struct arena arena; struct loop_event event; void (*fn)(struct call *c); ... };
//
// `fn` starts the call; its answer is in the arena, which the caller frees.
#ifndef UNIT_GROUP_CALL_H
#define UNIT_GROUP_CALL_H

static inline void call_done(struct group_call *c) { loop_event_set(&((struct call *)c->arg)->event); }
static inline void call_start(void *arg) { ((struct call *)arg)->fn(arg); }

// Does not wait for the answer: call_wait does.
static inline void call_begin(struct call *c, struct fixture *f, struct loop *loop, void (*fn)(struct call *c)) {
    c->f = f;
    c->fn = fn;
    arena_init(&c->arena);
    loop_event_init(&c->event);
    c->call.done = call_done;
    c->call.back = loop;
    c->call.arena = &c->arena;
    c->call.arg = c;
    loop_post(loop, call_start, c);
}

static inline int call_wait(struct call *c) {
    loop_event_wait(&c->event);
    loop_event_fini(&c->event);
    return c->call.error;
}

static inline int call_run(struct call *c, struct fixture *f, struct loop *loop, void (*fn)(struct call *c)) {
    call_begin(c, f, loop, fn);
    return call_wait(c);
}

#endif
