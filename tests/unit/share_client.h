// SPDX-License-Identifier: Apache-2.0
// A member of share groups for tests, over broker/share.h: calls that block until they are answered on `loop`.
#ifndef UNIT_SHARE_CLIENT_H
#define UNIT_SHARE_CLIENT_H

#include <string.h>

#include "broker/share.h"

enum { SHARE_CLIENT_ACQUIRED = 64 };

struct share_client {
    struct broker *broker;
    struct loop *loop;
    const char *group, *member, *host; // host NULL = "/127.0.0.1"
    uint8_t topic_id[16];
    const char *topic;
    int32_t epoch, session; // of the group, of the share session
    uint64_t connection;
    int32_t max_bytes; // of a fetch; 0 = 1 MiB, -1 = none
    // of the last answers
    int32_t assigned[64];
    size_t n_assigned;
    struct share_acquired acquired[SHARE_CLIENT_ACQUIRED];
    size_t n_acquired;
    int64_t records;
    size_t bytes;
    char message[200];
};

struct share_client_call {
    struct broker *broker;
    struct group_call *call;
    void (*fn)(struct share_client_call *x);
    void *arg;
    struct arena arena;
    struct loop_event event;
};

static inline void share_client_done(struct group_call *c) { loop_event_set(&((struct share_client_call *)c->arg)->event); }
static inline void share_client_start(void *arg) {
    struct share_client_call *x = arg;
    x->fn(x);
}
static inline void share_client_go(struct share_client *c, struct share_client_call *x, struct group_call *call, void (*fn)(struct share_client_call *), void *arg) {
    *x = (struct share_client_call){.broker = c->broker, .call = call, .fn = fn, .arg = arg};
    arena_init(&x->arena);
    loop_event_init(&x->event);
    *call = (struct group_call){.done = share_client_done, .back = c->loop, .arena = &x->arena, .arg = x};
    loop_post(c->loop, share_client_start, x);
}
static inline int share_client_end(struct share_client *c, struct share_client_call *x) { // the arena is the caller's to end
    loop_event_wait(&x->event);
    loop_event_fini(&x->event);
    memcpy(c->message, x->call->message, sizeof c->message);
    return x->call->error;
}

static inline void share_client_do_heartbeat(struct share_client_call *x) { share_heartbeat(x->broker, x->arg); }
static inline void share_client_do_fetch(struct share_client_call *x) { share_fetch(x->broker, x->arg); }
static inline void share_client_do_acknowledge(struct share_client_call *x) { share_acknowledge(x->broker, x->arg); }
static inline void share_client_do_offsets(struct share_client_call *x) { share_offsets(x->broker, x->arg); }
static inline void share_client_do_describe(struct share_client_call *x) { share_describe(x->broker, x->arg); }

static inline int share_client_heartbeat(struct share_client *c, int32_t epoch, bool subscribe) {
    struct share_client_call x;
    struct share_heartbeat h = {.group_id = c->group, .member_id = c->member, .client_id = "test", .client_host = c->host == NULL ? "/127.0.0.1" : c->host, .member_epoch = epoch};
    if (subscribe) h.topics = &c->topic, h.n_topics = 1;
    share_client_go(c, &x, &h.call, share_client_do_heartbeat, &h);
    int error = share_client_end(c, &x);
    if (error == 0) {
        c->epoch = h.out_epoch;
        if (h.with_assignment) c->n_assigned = 0;
        for (size_t i = 0; i < h.n_assignment; i++)
            for (size_t k = 0; k < h.assignment[i].n_partitions && c->n_assigned < 64; k++) c->assigned[c->n_assigned++] = h.assignment[i].partitions[k];
    }
    arena_fini(&x.arena);
    return error;
}

// With `acks`, they ride along. Counts the session's epoch on.
static inline int share_client_fetch(struct share_client *c, int32_t partition, int32_t max_records, bool record_limit, int32_t wait_ms) {
    struct share_client_call x;
    struct share_request_part part = {.partition = partition};
    struct share_fetch f = {.group_id = c->group, .member_id = c->member, .connection = c->connection, .session_epoch = c->session, .max_wait_ms = wait_ms,
                            .min_bytes = 1, .max_bytes = 1 << 20, .max_records = max_records, .batch_size = max_records, .record_limit = record_limit,
                            .parts = &part, .n_parts = 1};
    memcpy(part.topic_id, c->topic_id, 16);
    if (c->max_bytes != 0) f.max_bytes = c->max_bytes < 0 ? 0 : c->max_bytes;
    share_client_go(c, &x, &f.call, share_client_do_fetch, &f);
    int error = share_client_end(c, &x);
    c->n_acquired = 0;
    c->records = 0;
    c->bytes = 0;
    for (size_t i = 0; i < f.n_out; i++) {
        if (error == 0) error = f.out[i].error;
        c->bytes += f.out[i].records.n;
        for (size_t k = 0; k < f.out[i].acquired.n && c->n_acquired < SHARE_CLIENT_ACQUIRED; k++) {
            c->acquired[c->n_acquired++] = f.out[i].acquired.p[k];
            c->records += f.out[i].acquired.p[k].last - f.out[i].acquired.p[k].first + 1;
        }
        buf_fini(&f.out[i].records);
        vec_fini(&f.out[i].acquired);
    }
    if (f.call.error == 0) c->session++;
    arena_fini(&x.arena);
    return error;
}

static inline int share_client_acknowledge(struct share_client *c, int32_t partition, int64_t first, int64_t last, int8_t type) {
    struct share_client_call x;
    struct share_ack ack = {first, last, &type, 1};
    struct share_request_part part = {.partition = partition, .acks = &ack, .n_acks = 1};
    struct share_acknowledge a = {.group_id = c->group, .member_id = c->member, .session_epoch = c->session, .parts = &part, .n_parts = 1, .is_renew = true};
    memcpy(part.topic_id, c->topic_id, 16);
    share_client_go(c, &x, &a.call, share_client_do_acknowledge, &a);
    int error = share_client_end(c, &x);
    if (error == 0) {
        error = a.out[0].ack_error;
        c->session++;
    }
    arena_fini(&x.arena);
    return error;
}

static inline int share_client_leave_session(struct share_client *c) {
    struct share_client_call x;
    struct share_acknowledge a = {.group_id = c->group, .member_id = c->member, .session_epoch = SHARE_SESSION_FINAL};
    share_client_go(c, &x, &a.call, share_client_do_acknowledge, &a);
    int error = share_client_end(c, &x);
    c->session = 0;
    arena_fini(&x.arena);
    return error;
}

// `one` is filled in place.
static inline int share_client_offsets(struct share_client *c, enum share_offsets_kind kind, struct share_offset *one) {
    struct share_client_call x;
    struct share_offsets o = {.kind = kind, .group_id = c->group, .offsets = one, .n_offsets = 1};
    share_client_go(c, &x, &o.call, share_client_do_offsets, &o);
    int error = share_client_end(c, &x);
    arena_fini(&x.arena);
    return error;
}

#endif
