// SPDX-License-Identifier: Apache-2.0
// The transaction coordinator: see txn.h for the calls, txn_state.h for the rules, txn_coordinator.h for what it holds.
//
// Owner: broker.loops[0]. A call computes the next state, writes it, and is answered when it is durable. What a call finds in the middle of
// another change waits in the txn's queue and is run anew from its beginning. Ongoing and Complete* are taken on in memory when their record is
// written: nobody is told before it is durable, and a record that is lost in a crash is followed by none that counts on it.
#include "broker/txn.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/txn_coordinator.h"



static int64_t now_ms(const struct txn_coordinator *c) { return sys_now_us(c->broker->sys) / 1000; }

// ---- calls ----------------------------------------------------------------------------------------------------------

static void answer_on_back(void *arg) {
    struct group_call *call = arg;
    call->done(call);
}

static void answer(struct txn_call *x, int error) {
    x->call.error = error;
    x->call.message[0] = '\0';
    loop_post(x->call.back, answer_on_back, &x->call);
}

static void run_on_loop(void *arg) {
    struct txn_call *x = arg;
    struct txn_coordinator *c = x->call.self_[0];
    if (c->stopping) answer(x, KAFKA_COORDINATOR_NOT_AVAILABLE);
    else x->run_(c, x);
}

static void submit(struct broker *b, struct txn_call *x, void (*run)(struct txn_coordinator *c, struct txn_call *x)) {
    x->call.self_[0] = b->txns;
    x->run_ = run;
    loop_post(b->txns->loop, run_on_loop, x);
}

static void push(struct txn_call **first, struct txn_call **last, struct txn_call *x) {
    x->next_ = NULL;
    if (*first == NULL) *first = x;
    else (*last)->next_ = x;
    *last = x;
}

static void run_all(struct txn_coordinator *c, struct txn_call *x) {
    while (x != NULL) {
        struct txn_call *next = x->next_;
        if (c->stopping) answer(x, KAFKA_COORDINATOR_NOT_AVAILABLE);
        else x->run_(c, x);
        x = next;
    }
}

static void refuse_all(struct txn_call *x, int error) {
    while (x != NULL) {
        struct txn_call *next = x->next_;
        answer(x, error);
        x = next;
    }
}

static void wait_on(struct txn *t, struct txn_call *x) {
    if (t->stuck) answer(x, KAFKA_CONCURRENT_TRANSACTIONS);
    else push(&t->waiting_first, &t->waiting_last, x);
}

static struct txn_call *take_waiting(struct txn *t) {
    struct txn_call *x = t->waiting_first;
    t->waiting_first = t->waiting_last = NULL;
    return x;
}

void txn_run_waiting(struct txn *t) { run_all(t->coordinator, take_waiting(t)); } // t may be gone then

// ---- the ids --------------------------------------------------------------------------------------------------------

struct txn *txn_find(struct txn_coordinator *c, const char *id) { return id == NULL ? NULL : map_getc(&c->txns, id); }

struct txn *txn_make(struct txn_coordinator *c, const char *id, const struct txn_meta *m) {
    if (c->txns.n >= TXN_IDS_MAX) return NULL;
    struct txn *t = MEM_NEW(struct txn);
    t->coordinator = c;
    t->id = mem_strdup(id);
    t->meta = *m;
    map_put(&c->txns, str_c(id), t);
    return t;
}

static void clear_parts(struct txn *t) {
    for (size_t i = 0; i < t->parts.n; i++) mem_free(t->parts.p[i].topic);
    t->parts.n = 0;
}

void txn_drop(struct txn *t) {
    map_remove(&t->coordinator->txns, str_c(t->id));
    clear_parts(t);
    vec_fini(&t->parts);
    mem_free(t->id);
    mem_free(t);
}

static struct txn_part *find_part(struct txn *t, struct str topic, int32_t partition) {
    for (size_t i = 0; i < t->parts.n; i++)
        if (t->parts.p[i].partition == partition && str_eqc(topic, t->parts.p[i].topic)) return &t->parts.p[i];
    return NULL;
}

void txn_put_part(struct txn *t, struct str topic, int32_t partition, bool durable) {
    struct txn_part *p = find_part(t, topic, partition);
    if (p == NULL) vec_add(&t->parts, ((struct txn_part){mem_strndup(topic.p, topic.n), partition, durable}));
}

static bool is_prepared(const struct txn *t) { return t->meta.state == TXN_PREPARE_COMMIT || t->meta.state == TXN_PREPARE_ABORT; }
static bool is_changing(const struct txn *t) { return t->pending || t->expired || is_prepared(t); }
static bool is_id(const char *id) { return id != NULL && id[0] != '\0'; }

// ---- producer ids and the topic: what a call may have to wait for first ------------------------------------------------

static void run_id_waiters(struct txn_coordinator *c) {
    struct txn_call *x = c->id_first;
    c->id_first = c->id_last = NULL;
    run_all(c, x);
}

static void id_ready(struct group_call *call) {
    struct txn_coordinator *c = call->arg;
    c->fetching_id = false;
    c->under_way--;
    if (call->error == 0) {
        c->spare_id = c->id_init.producer_id;
        run_id_waiters(c);
    } else {
        struct txn_call *x = c->id_first;
        c->id_first = c->id_last = NULL;
        refuse_all(x, KAFKA_COORDINATOR_NOT_AVAILABLE);
    }
    txn_quiet(c);
}

static void wait_for_id(struct txn_coordinator *c, struct txn_call *x) {
    push(&c->id_first, &c->id_last, x);
    if (c->fetching_id) return;
    c->fetching_id = true;
    c->under_way++;
    c->id_init = (struct producer_id_init){.call = {.done = id_ready, .back = c->loop, .arg = c}};
    broker_producer_id_init(c->broker, &c->id_init);
}

static void make_topic(void *arg) { // on a worker
    static const struct broker_kv configs[] = {
        {"cleanup.policy", "compact"}, {"compression.type", "producer"}, {"max.message.bytes", "104857600"}, {"segment.bytes", "104857600"}};
    struct txn_coordinator *c = arg;
    struct err err = {0};
    c->topic_code = broker_topic_create(c->broker, TXN_TOPIC, 1, configs, 4, false, NULL, NULL, &err);
    if (c->topic_code == ERR_EXISTS) c->topic_code = ERR_OK;
    if (c->topic_code != ERR_OK) log_error("broker", "topic not created", "topic", TXN_TOPIC, "error", err.msg, NULL);
}

static void topic_made(void *arg) {
    struct txn_coordinator *c = arg;
    c->making_topic = false;
    c->under_way--;
    c->topic_exists = c->topic_code == ERR_OK;
    struct txn_call *x = c->id_first;
    c->id_first = c->id_last = NULL;
    if (c->topic_exists) run_all(c, x);
    else refuse_all(x, KAFKA_COORDINATOR_NOT_AVAILABLE);
    txn_quiet(c);
}

// False = x waits for the topic, which the first transactional producer makes.
static bool have_topic(struct txn_coordinator *c, struct txn_call *x) {
    if (c->topic_exists) return true;
    push(&c->id_first, &c->id_last, x);
    if (c->making_topic) return false;
    c->making_topic = true;
    c->under_way++;
    if (broker_submit(c->broker, make_topic, c, c->loop, topic_made, NULL) == ERR_OK) return false;
    c->topic_code = ERR_BUSY;
    topic_made(c);
    return false;
}

// ---- InitProducerId -------------------------------------------------------------------------------------------------

static void init_done(struct txn_write *w, int error) {
    struct txn *t = w->txn;
    struct txn_init *x = (struct txn_init *)w->call;
    t->pending = false;
    if (error == 0) {
        t->meta = w->next;
        x->out_id = t->meta.producer_id;
        x->out_epoch = t->meta.epoch;
    }
    answer(&x->call, error);
    txn_run_waiting(t);
}

static void fence_done(struct txn_write *w, int error) {
    struct txn *t = w->txn;
    t->pending = false;
    if (error == 0) {
        t->meta = w->next;
        txn_markers_send(t);
    } else {
        refuse_all(take_waiting(t), KAFKA_CONCURRENT_TRANSACTIONS);
    }
}

static void fence_and_abort(struct txn *t) {
    struct txn_meta next;
    txn_next_fence(&t->meta, now_ms(t->coordinator), &next);
    t->pending = true;
    txn_record_write(t, &next, false, fence_done, NULL);
}

static int check_init(const struct txn_coordinator *c, const struct txn_init *x) {
    if (!is_id(x->transactional_id) || strlen(x->transactional_id) > INT16_MAX) return KAFKA_INVALID_REQUEST;
    if ((x->producer_id < 0) != (x->producer_epoch < 0)) return KAFKA_INVALID_REQUEST;
    return x->timeout_ms <= 0 || x->timeout_ms > c->max_timeout_ms ? KAFKA_INVALID_TRANSACTION_TIMEOUT : 0;
}

static void run_init(struct txn_coordinator *c, struct txn_call *call) {
    struct txn_init *x = (struct txn_init *)call;
    x->out_id = -1;
    x->out_epoch = -1;
    int error = check_init(c, x);
    if (error != 0) {
        answer(call, error);
        return;
    }
    if (!have_topic(c, call)) return;
    struct txn *t = txn_find(c, x->transactional_id);
    if (t == NULL && c->spare_id < 0) {
        wait_for_id(c, call);
        return;
    }
    if (t == NULL) {
        struct txn_meta m;
        txn_meta_new(&m, c->spare_id, x->timeout_ms, now_ms(c));
        t = txn_make(c, x->transactional_id, &m);
        if (t != NULL) c->spare_id = -1;
    }
    if (t == NULL) {
        answer(call, KAFKA_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    if (is_changing(t) || t->adding > 0) {
        wait_on(t, call);
        return;
    }
    struct txn_meta next;
    error = txn_next_init(&t->meta, x->producer_id, x->producer_epoch, x->timeout_ms, c->spare_id, now_ms(c), &next);
    if (error == TXN_NEEDS_ID) {
        wait_for_id(c, call);
    } else if (error == TXN_ABORT_FIRST) { // and come back when that is over
        wait_on(t, call);
        fence_and_abort(t);
    } else if (error != 0) {
        answer(call, error);
    } else {
        if (next.producer_id == c->spare_id) c->spare_id = -1;
        t->pending = true;
        txn_record_write(t, &next, false, init_done, call);
    }
}

void txn_init(struct broker *b, struct txn_init *x) { submit(b, &x->call, run_init); }

// ---- AddPartitionsToTxn ---------------------------------------------------------------------------------------------

static void answer_add(struct txn_add *x, int error) {
    for (size_t i = 0; i < x->n_partitions && error != 0; i++) x->partitions[i].error = error;
    answer(&x->call, error);
}

static void add_done(struct txn_write *w, int error) {
    struct txn *t = w->txn;
    t->adding--;
    for (size_t i = 0; i < w->n_parts && error == 0; i++) t->parts.p[i].durable = true; // the list only grows meanwhile
    answer_add((struct txn_add *)w->call, error);
    if (t->adding == 0) txn_run_waiting(t);
}

static void verify(struct txn *t, struct txn_add *x) {
    if (is_prepared(t)) {
        answer_add(x, KAFKA_CONCURRENT_TRANSACTIONS);
        return;
    }
    for (size_t i = 0; i < x->n_partitions; i++) {
        const struct txn_part *p = find_part(t, str_c(x->partitions[i].topic), x->partitions[i].partition);
        x->partitions[i].error = p != NULL && p->durable ? 0 : KAFKA_TRANSACTION_ABORTABLE;
    }
    answer(&x->call, 0);
}

// All or nothing: with an unknown one among them the others are not attempted.
static bool all_known(struct txn_coordinator *c, struct txn_add *x) {
    size_t known = 0;
    for (size_t i = 0; i < x->n_partitions; i++) {
        struct partition *p = partition_find(c->broker, x->partitions[i].topic, x->partitions[i].partition);
        x->partitions[i].error = p == NULL ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : 0;
        if (p == NULL) continue;
        partition_unref(p);
        known++;
    }
    for (size_t i = 0; i < x->n_partitions && known < x->n_partitions; i++)
        if (x->partitions[i].error == 0) x->partitions[i].error = KAFKA_OPERATION_NOT_ATTEMPTED;
    return known == x->n_partitions;
}

static bool has_all(struct txn *t, const struct txn_add *x) {
    bool all = t->meta.state == TXN_ONGOING;
    for (size_t i = 0; i < x->n_partitions && all; i++) {
        const struct txn_part *p = find_part(t, str_c(x->partitions[i].topic), x->partitions[i].partition);
        all = p != NULL && p->durable;
    }
    return all;
}

static void run_add(struct txn_coordinator *c, struct txn_call *call) {
    struct txn_add *x = (struct txn_add *)call;
    struct txn *t = txn_find(c, x->transactional_id);
    int error = !is_id(x->transactional_id) ? KAFKA_INVALID_REQUEST : t == NULL ? KAFKA_INVALID_PRODUCER_ID_MAPPING : 0;
    if (error == 0) error = txn_check_producer(&t->meta, x->producer_id, x->producer_epoch);
    if (error == 0 && x->verify) {
        verify(t, x);
        return;
    }
    if (error == 0 && is_changing(t)) {
        wait_on(t, call);
        return;
    }
    struct txn_meta next;
    if (error == 0) error = txn_next_add(&t->meta, x->producer_id, x->producer_epoch, x->v2, now_ms(c), &next);
    if (error == 0 && t->parts.n + x->n_partitions > TXN_PARTITIONS_MAX) error = KAFKA_INVALID_REQUEST;
    if (error != 0) {
        answer_add(x, error);
        return;
    }
    if (!all_known(c, x) || has_all(t, x)) {
        answer(call, 0);
        return;
    }
    t->meta = next;
    for (size_t i = 0; i < x->n_partitions; i++) txn_put_part(t, str_c(x->partitions[i].topic), x->partitions[i].partition, false);
    t->adding++;
    txn_record_write(t, &next, false, add_done, call);
}

void txn_add(struct broker *b, struct txn_add *x) {
    for (size_t i = 0; i < x->n_partitions; i++) x->partitions[i].error = 0;
    submit(b, &x->call, run_add);
}

// ---- EndTxn ---------------------------------------------------------------------------------------------------------

static void set_end(struct txn_end *x, const struct txn_meta *m) {
    x->out_id = m->next_id >= 0 ? m->next_id : m->producer_id;
    x->out_epoch = m->next_id >= 0 ? 0 : m->epoch;
}

static void end_done(struct txn_write *w, int error) {
    struct txn *t = w->txn;
    struct txn_end *x = (struct txn_end *)w->call;
    t->pending = false;
    if (error == 0) {
        t->meta = w->next;
        set_end(x, &t->meta);
        t->ended = &x->call;
        txn_markers_send(t);
    } else {
        answer(&x->call, error);
        txn_run_waiting(t);
    }
}

void txn_answer_ended(struct txn *t) {
    if (t->ended != NULL) answer(t->ended, 0);
    t->ended = NULL;
}

static void run_end(struct txn_coordinator *c, struct txn_call *call) {
    struct txn_end *x = (struct txn_end *)call;
    struct txn *t = txn_find(c, x->transactional_id);
    x->out_id = -1;
    x->out_epoch = -1;
    if (!is_id(x->transactional_id) || t == NULL) {
        answer(call, !is_id(x->transactional_id) ? KAFKA_INVALID_REQUEST : KAFKA_INVALID_PRODUCER_ID_MAPPING);
        return;
    }
    if (t->pending || t->expired || t->adding > 0) {
        wait_on(t, call);
        return;
    }
    struct txn_meta next;
    bool repeat = false;
    int error = txn_next_end(&t->meta, x->producer_id, x->producer_epoch, x->commit, x->v2, c->spare_id, now_ms(c), &next, &repeat);
    if (error == TXN_NEEDS_ID) {
        wait_for_id(c, call);
    } else if (error == KAFKA_CONCURRENT_TRANSACTIONS) {
        wait_on(t, call);
    } else if (error != 0 || repeat) {
        if (error == 0) set_end(x, &next);
        answer(call, error);
    } else {
        if (next.next_id == c->spare_id) c->spare_id = -1;
        t->pending = true;
        txn_record_write(t, &next, false, end_done, call);
    }
}

void txn_end(struct broker *b, struct txn_end *x) { submit(b, &x->call, run_end); }

static void complete_done(struct txn_write *w, int error) { // on an error a restart writes the markers once more, which changes nothing
    (void)w;
    (void)error;
}

void txn_completed(struct txn *t) {
    struct txn_meta next;
    txn_next_complete(&t->meta, now_ms(t->coordinator), &next);
    t->meta = next;
    t->stuck = false;
    clear_parts(t);
    txn_record_write(t, &next, false, complete_done, NULL);
    txn_answer_ended(t);
    txn_run_waiting(t);
}

// ---- DescribeTransactions, ListTransactions ---------------------------------------------------------------------------

static int by_partition(const void *a, const void *b) {
    const struct txn_partition *x = a, *y = b;
    int topic = strcmp(x->topic, y->topic);
    return topic != 0 ? topic : x->partition < y->partition ? -1 : x->partition > y->partition;
}

static void run_describe(struct txn_coordinator *c, struct txn_call *call) {
    struct txn_describe *x = (struct txn_describe *)call;
    struct arena *a = x->call.call.arena;
    const struct txn *t = txn_find(c, x->transactional_id);
    if (!is_id(x->transactional_id) || t == NULL || t->expired) {
        answer(call, !is_id(x->transactional_id) ? KAFKA_INVALID_REQUEST : KAFKA_TRANSACTIONAL_ID_NOT_FOUND);
        return;
    }
    x->state = txn_state_name(t->meta.state);
    x->timeout_ms = t->meta.timeout_ms;
    x->start_ms = t->meta.start_ms;
    x->producer_id = t->meta.producer_id;
    x->producer_epoch = t->meta.epoch;
    x->partitions = ARENA_ARRAY(a, struct txn_partition, t->parts.n + 1);
    x->n_partitions = t->parts.n;
    for (size_t i = 0; i < t->parts.n; i++)
        x->partitions[i] = (struct txn_partition){arena_strdup(a, t->parts.p[i].topic), t->parts.p[i].partition, 0};
    qsort(x->partitions, x->n_partitions, sizeof *x->partitions, by_partition);
    answer(call, 0);
}

void txn_describe(struct broker *b, struct txn_describe *x) { submit(b, &x->call, run_describe); }

static int by_id(const void *a, const void *b) {
    return strcmp(((const struct txn_listed *)a)->transactional_id, ((const struct txn_listed *)b)->transactional_id);
}

static void run_list(struct txn_coordinator *c, struct txn_call *call) {
    struct txn_list *x = (struct txn_list *)call;
    struct arena *a = x->call.call.arena;
    struct map_entry *e;
    int64_t now = now_ms(c);
    x->txns = ARENA_ARRAY(a, struct txn_listed, c->txns.n + 1);
    x->n_txns = 0;
    for (size_t it = 0; (e = map_next(&c->txns, &it)) != NULL;) {
        const struct txn *t = e->value;
        x->txns[x->n_txns++] =
            (struct txn_listed){arena_strdup(a, t->id), txn_state_name(t->meta.state), t->meta.producer_id, t->meta.start_ms, now};
    }
    qsort(x->txns, x->n_txns, sizeof *x->txns, by_id);
    answer(call, 0);
}

void txn_list(struct broker *b, struct txn_list *x) { submit(b, &x->call, run_list); }

const char *txn_state_named(struct str name) {
    for (int s = TXN_EMPTY; s <= TXN_PREPARE_EPOCH_FENCE; s++)
        if (str_eqc(name, txn_state_name((enum txn_state)s))) return txn_state_name((enum txn_state)s);
    return NULL;
}

// ---- time -----------------------------------------------------------------------------------------------------------

static void expire_done(struct txn_write *w, int error) {
    struct txn *t = w->txn;
    struct txn_call *x = take_waiting(t);
    t->expired = false;
    if (error == 0) txn_drop(t);
    run_all(w->coordinator, x);
}

static void look_at(struct txn_coordinator *c, struct txn *t, int64_t now, bool expire) {
    if (is_changing(t) || t->adding > 0) return;
    if (t->meta.state == TXN_ONGOING) {
        if (now - t->meta.start_ms <= t->meta.timeout_ms) return;
        log_info("broker", "transaction aborted at its time-out", "transactional id", t->id, "timeout ms", log_i64(t->meta.timeout_ms), NULL);
        fence_and_abort(t);
    } else if (expire && now - t->meta.update_ms > c->expiration_ms) {
        t->expired = true;
        txn_record_write(t, &t->meta, true, expire_done, NULL);
    }
}

static void tick(void *arg) {
    struct txn_coordinator *c = arg;
    int64_t mono = sys_mono_us(c->broker->sys);
    bool expire = mono - c->expired_at_us >= c->expire_interval_ms * 1000;
    if (expire) c->expired_at_us = mono;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->txns, &it)) != NULL;) look_at(c, e->value, now_ms(c), expire);
    loop_timer_set(c->loop, &c->tick, c->abort_interval_ms * 1000, tick, c);
}

// ---- life -----------------------------------------------------------------------------------------------------------

static void start_on_loop(void *arg) {
    struct txn_coordinator *c = arg;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->txns, &it)) != NULL;) {
        struct txn *t = e->value;
        if (is_prepared(t)) txn_markers_send(t); // decided before a crash
    }
    loop_timer_set(c->loop, &c->tick, c->abort_interval_ms * 1000, tick, c);
}

struct txn_coordinator *txn_open(struct broker *b, struct err *err) {
    struct txn_coordinator *c = MEM_NEW(struct txn_coordinator);
    c->broker = b;
    c->loop = b->loops[0];
    c->spare_id = -1;
    map_init(&c->txns);
    c->max_timeout_ms = configs_broker_i64(b, "transaction.max.timeout.ms", 900000);
    c->expiration_ms = configs_broker_i64(b, "transactional.id.expiration.ms", 604800000);
    c->abort_interval_ms = configs_broker_i64(b, "transaction.abort.timed.out.transaction.cleanup.interval.ms", 10000);
    c->expire_interval_ms = configs_broker_i64(b, "transaction.remove.expired.transaction.cleanup.interval.ms", 3600000);
    c->expired_at_us = sys_mono_us(b->sys);
    if (txn_records_load(c, err) == ERR_OK) {
        loop_post(c->loop, start_on_loop, c);
        return c;
    }
    txn_free(c);
    return NULL;
}

void txn_quiet(struct txn_coordinator *c) {
    if (c->stopped == NULL || c->under_way > 0) return;
    struct loop_event *e = c->stopped;
    c->stopped = NULL;
    loop_event_set(e);
}

struct stopping {
    struct txn_coordinator *coordinator;
    struct loop_event event;
};

static void stop_on_loop(void *arg) {
    struct stopping *s = arg;
    struct txn_coordinator *c = s->coordinator;
    struct map_entry *e;
    c->stopping = true;
    loop_timer_cancel(c->loop, &c->tick);
    for (size_t it = 0; (e = map_next(&c->txns, &it)) != NULL;) {
        struct txn *t = e->value;
        loop_timer_cancel(c->loop, &t->retry);
        txn_answer_ended(t);
        refuse_all(take_waiting(t), KAFKA_COORDINATOR_NOT_AVAILABLE);
    }
    c->stopped = &s->event;
    txn_quiet(c);
}

void txn_stop(struct txn_coordinator *c) {
    struct stopping s = {.coordinator = c};
    loop_event_init(&s.event);
    loop_post(c->loop, stop_on_loop, &s);
    loop_event_wait(&s.event);
    loop_event_fini(&s.event);
}

void txn_free(struct txn_coordinator *c) {
    if (c == NULL) return;
    while (c->txns.n > 0) {
        size_t it = 0;
        txn_drop(map_next(&c->txns, &it)->value);
    }
    map_fini(&c->txns);
    mem_free(c);
}
