// SPDX-License-Identifier: Apache-2.0
// Markers: the control batch that ends a transaction in each of its partitions, and DescribeProducers.
//
// A marker that a partition does not take now (its disk is full, it is offline) is tried again until it does: the decision is durable. A topic
// that was deleted needs none. A marker in the offsets topic also settles the transaction's committed offsets.
#include <stdio.h>

#include "base/log.h"
#include "broker/txn_coordinator.h"
#include "broker/txn_offsets.h"

enum { RETRY_US = 1000000 };

// ---- one marker -----------------------------------------------------------------------------------------------------

static void answer_on_back(void *arg) {
    struct group_call *call = arg;
    call->done(call);
}

static void marker_written(struct broker_produce *p) {
    struct txn_marker_write *x = p->arg;
    x->call.error = p->kafka_error;
    (void)snprintf(x->call.message, sizeof x->call.message, "%.*s", (int)sizeof x->call.message - 1, p->message);
    buf_fini(&x->bytes_);
    bool offsets = strcmp(x->topic, OFFSETS_TOPIC) == 0;
    if (offsets && p->kafka_error == 0) offsets_txn_ended(x->broker_->coordinator, x->producer_id, x->commit); // this is its loop
    if (loop_current() == x->call.back) x->call.done(&x->call);
    else loop_post(x->call.back, answer_on_back, &x->call);
}

void txn_write_marker(struct broker *b, struct txn_marker_write *x) {
    bool offsets = strcmp(x->topic, OFFSETS_TOPIC) == 0;
    x->broker_ = b;
    buf_init(&x->bytes_, 0);
    txn_marker_write(&x->bytes_, x->producer_id, x->producer_epoch, &(struct txn_marker){x->commit, x->coordinator_epoch}, sys_now_us(b->sys) / 1000);
    x->produce_ = (struct broker_produce){.topic = x->topic, .partition = x->partition, .batches = buf_str(&x->bytes_), .wait_durable = true,
                                          .origin = x->newer ? BROKER_MARKER_NEWER : BROKER_MARKER, .done = marker_written};
    x->produce_.back = offsets ? b->loops[0] : x->call.back;
    x->produce_.arg = x;
    broker_produce(b, &x->produce_);
}

// ---- all markers of a transaction -----------------------------------------------------------------------------------

struct part_marker {
    struct txn *txn;
    size_t part;
    struct txn_marker_write write;
};

static void send_again(void *arg) {
    struct txn *t = arg;
    txn_markers_send(t);
}

// The durable flag of a part now says that its marker is still to be written.
static void one_done(struct group_call *call) {
    struct part_marker *m = call->arg;
    struct txn *t = m->txn;
    struct txn_coordinator *c = t->coordinator;
    bool again = call->error == KAFKA_STORAGE_ERROR;
    if (again) t->stuck = true;
    else t->parts.p[m->part].durable = false;
    if (call->error != 0 && call->error != KAFKA_UNKNOWN_TOPIC_OR_PARTITION)
        log_warn("broker", again ? "marker not written, trying again" : "marker refused", "topic", t->parts.p[m->part].topic, "partition",
                 log_i64(t->parts.p[m->part].partition), "transactional id", t->id, "error", call->message, NULL);
    mem_free(m);
    c->under_way--;
    if (--t->markers == 0) {
        bool left = false;
        for (size_t i = 0; i < t->parts.n; i++) left = left || t->parts.p[i].durable;
        if (!left) txn_completed(t);
        else if (!c->stopping) {
            txn_answer_ended(t);
            txn_run_waiting(t); // they are told to come back later
            loop_timer_set(c->loop, &t->retry, RETRY_US, send_again, t);
        }
    }
    txn_quiet(c);
}

static void send_one(struct part_marker *m) {
    struct txn *t = m->txn;
    const struct txn_part *p = &t->parts.p[m->part];
    m->write = (struct txn_marker_write){.call = {.done = one_done, .back = t->coordinator->loop, .arg = m}, .topic = p->topic,
                                         .partition = p->partition, .producer_id = t->meta.producer_id, .producer_epoch = t->meta.epoch,
                                         .coordinator_epoch = BROKER_LEADER_EPOCH, .commit = t->meta.state == TXN_PREPARE_COMMIT};
    m->write.newer = t->meta.client_version >= 2;
    t->coordinator->under_way++;
    txn_write_marker(t->coordinator->broker, &m->write);
}

void txn_markers_send(struct txn *t) {
    size_t n = 0;
    bool first = !t->stuck;
    for (size_t i = 0; i < t->parts.n; i++) {
        if (first) t->parts.p[i].durable = true; // also those whose record was not: a marker too many does no harm
        n += t->parts.p[i].durable;
    }
    t->markers = n;
    if (n == 0) {
        txn_completed(t);
        return;
    }
    for (size_t i = 0; i < t->parts.n; i++) {
        if (!t->parts.p[i].durable) continue;
        struct part_marker *m = MEM_NEW(struct part_marker);
        *m = (struct part_marker){.txn = t, .part = i};
        send_one(m); // never answers from inside
    }
}

// ---- DescribeProducers ----------------------------------------------------------------------------------------------

static void list_on_owner(void *arg) {
    struct txn_producers *x = arg;
    struct partition *p = x->partition_;
    size_t n = p->producers.by_id.n;
    x->producers = mem_alloc((n + 1) * sizeof *x->producers);
    x->n_producers = producers_list(&p->producers, x->producers, n);
    partition_unref(p);
    loop_post(x->call.back, answer_on_back, &x->call);
}

void txn_describe_producers(struct broker *b, struct txn_producers *x) {
    struct partition *p = x->partition_ = partition_find(b, x->topic, x->partition);
    x->call.error = p == NULL ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : 0;
    x->producers = NULL;
    x->n_producers = 0;
    if (p == NULL) loop_post(x->call.back, answer_on_back, &x->call);
    else loop_post(p->owner, list_on_owner, x);
}
