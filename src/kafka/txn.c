// SPDX-License-Identifier: Apache-2.0
// Transactions: InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit, WriteTxnMarkers, DescribeProducers,
// DescribeTransactions, ListTransactions. What they mean is the broker's affair (broker/txn.h); here requests become its calls.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "broker/groups.h"
#include "broker/producers.h"
#include "broker/txn.h"
#include "kafka/conn.h"

#define OFFSETS_TOPIC "__consumer_offsets"

static struct group_call call_of(struct kafka_req *q, void (*done)(struct group_call *call), void *arg) {
    return (struct group_call){.done = done, .back = kafka_req_loop(q), .arena = &q->arena, .arg = arg};
}

// Clients from before PRODUCER_FENCED know INVALID_PRODUCER_EPOCH only.
static int16_t fenced(int error, bool knows_fenced) {
    return (int16_t)(error == KAFKA_PRODUCER_FENCED && !knows_fenced ? KAFKA_INVALID_PRODUCER_EPOCH : error);
}

// ---- InitProducerId -------------------------------------------------------------------------------------------------

static void answer_init(struct kafka_req *q, int error, int64_t id, int16_t epoch) {
    struct kafka_init_producer_id_response *res = q->res;
    res->error_code = fenced(error, q->version >= 4);
    res->producer_id = error == 0 ? id : -1;
    res->producer_epoch = error == 0 ? epoch : -1;
    kafka_req_done(q);
}

static void id_ready(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct producer_id_init *init = q->state;
    answer_init(q, call->error, init->producer_id, init->producer_epoch);
}

static void txn_ready(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct txn_init *x = q->state;
    answer_init(q, call->error, x->out_id, x->out_epoch);
}

void kafka_do_init_producer_id(struct kafka_req *q) {
    const struct kafka_init_producer_id_request *req = q->msg;
    if (req->transactional_id.p == NULL) {
        struct producer_id_init *init = ARENA_NEW(&q->arena, struct producer_id_init);
        init->call = call_of(q, id_ready, q);
        q->state = init;
        broker_producer_id_init(kafka_req_broker(q), init);
        return;
    }
    struct txn_init *x = ARENA_NEW(&q->arena, struct txn_init);
    *x = (struct txn_init){.call.call = call_of(q, txn_ready, q), .transactional_id = kafka_req_name(q, req->transactional_id),
                           .timeout_ms = req->transaction_timeout_ms, .producer_id = req->producer_id, .producer_epoch = req->producer_epoch};
    q->state = x;
    txn_init(kafka_req_broker(q), x);
}

// ---- AddPartitionsToTxn, AddOffsetsToTxn ----------------------------------------------------------------------------

struct adding {
    size_t pending;
    size_t n;
    struct add_one {
        struct kafka_req *q;
        struct txn_add add;
    } *all;
};

static void put_partitions(struct kafka_req *q, struct txn_add *add, struct str topic, const int32_t *partitions, int32_t n) {
    const char *name = kafka_req_name(q, topic);
    for (int32_t i = 0; i < n; i++) add->partitions[add->n_partitions++] = (struct txn_partition){name, partitions[i], 0};
}

static int16_t error_of(const struct kafka_req *q, const struct txn_add *add, size_t at) {
    int error = add->call.call.error != 0 ? add->call.call.error : add->partitions[at].error;
    return fenced(error, q->version >= 2);
}

// The same twice: the protocol has two shapes of the same thing.
static void answer_one_txn(struct kafka_req *q, const struct txn_add *add) {
    const struct kafka_add_partitions_to_txn_request *req = q->msg;
    struct kafka_add_partitions_to_txn_response *res = q->res;
    int32_t n = res->results_by_topic_v3_and_below.n = req->v3_and_below_topics.n;
    res->results_by_topic_v3_and_below.p = KAFKA_ELEMENTS(&q->arena, kafka_add_partitions_to_txn_response_results_by_topic_v3_and_below, n);
    size_t at = 0;
    for (int32_t t = 0; t < n; t++) {
        struct kafka_add_partitions_to_txn_response_results_by_topic_v3_and_below *out = &res->results_by_topic_v3_and_below.p[t];
        int32_t parts = out->results_by_partition.n = req->v3_and_below_topics.p[t].partitions.n;
        out->name = req->v3_and_below_topics.p[t].name;
        out->results_by_partition.p =
            KAFKA_ELEMENTS(&q->arena, kafka_add_partitions_to_txn_response_results_by_topic_v3_and_below_results_by_partition, parts);
        for (int32_t i = 0; i < parts; i++, at++) {
            out->results_by_partition.p[i].partition_index = add->partitions[at].partition;
            out->results_by_partition.p[i].partition_error_code = error_of(q, add, at);
        }
    }
}

static void answer_batched(struct kafka_req *q, const struct kafka_add_partitions_to_txn_request_transactions *txn, const struct txn_add *add,
                           struct kafka_add_partitions_to_txn_response_results_by_transaction *res) {
    int32_t n = res->topic_results.n = txn->topics.n;
    res->transactional_id = txn->transactional_id;
    res->topic_results.p = KAFKA_ELEMENTS(&q->arena, kafka_add_partitions_to_txn_response_results_by_transaction_topic_results, n);
    size_t at = 0;
    for (int32_t t = 0; t < n; t++) {
        struct kafka_add_partitions_to_txn_response_results_by_transaction_topic_results *out = &res->topic_results.p[t];
        int32_t parts = out->results_by_partition.n = txn->topics.p[t].partitions.n;
        out->name = txn->topics.p[t].name;
        out->results_by_partition.p =
            KAFKA_ELEMENTS(&q->arena, kafka_add_partitions_to_txn_response_results_by_transaction_topic_results_results_by_partition, parts);
        for (int32_t i = 0; i < parts; i++, at++) {
            out->results_by_partition.p[i].partition_index = add->partitions[at].partition;
            out->results_by_partition.p[i].partition_error_code = error_of(q, add, at);
        }
    }
}

static void answer_added(struct kafka_req *q) {
    const struct kafka_add_partitions_to_txn_request *req = q->msg;
    struct kafka_add_partitions_to_txn_response *res = q->res;
    const struct adding *s = q->state;
    if (q->version < 4) {
        answer_one_txn(q, &s->all[0].add);
    } else {
        res->results_by_transaction.n = (int32_t)s->n;
        res->results_by_transaction.p = KAFKA_ELEMENTS(&q->arena, kafka_add_partitions_to_txn_response_results_by_transaction, (int32_t)s->n);
        for (size_t i = 0; i < s->n; i++)
            answer_batched(q, &req->transactions.p[i], &s->all[i].add, &res->results_by_transaction.p[i]);
    }
    kafka_req_done(q);
}

static void one_added(struct group_call *call) {
    struct add_one *one = call->arg;
    struct adding *s = one->q->state;
    if (--s->pending == 0) answer_added(one->q);
}

static void fill_one_txn(struct kafka_req *q, struct txn_add *add) {
    const struct kafka_add_partitions_to_txn_request *req = q->msg;
    size_t n = 0;
    for (int32_t t = 0; t < req->v3_and_below_topics.n; t++) n += (size_t)req->v3_and_below_topics.p[t].partitions.n;
    *add = (struct txn_add){.transactional_id = kafka_req_name(q, req->v3_and_below_transactional_id), .producer_id = req->v3_and_below_producer_id,
                            .producer_epoch = req->v3_and_below_producer_epoch, .partitions = ARENA_ARRAY(&q->arena, struct txn_partition, n + 1)};
    for (int32_t t = 0; t < req->v3_and_below_topics.n; t++)
        put_partitions(q, add, req->v3_and_below_topics.p[t].name, req->v3_and_below_topics.p[t].partitions.p, req->v3_and_below_topics.p[t].partitions.n);
}

static void fill_batched(struct kafka_req *q, const struct kafka_add_partitions_to_txn_request_transactions *txn, struct txn_add *add) {
    size_t n = 0;
    for (int32_t t = 0; t < txn->topics.n; t++) n += (size_t)txn->topics.p[t].partitions.n;
    *add = (struct txn_add){.transactional_id = kafka_req_name(q, txn->transactional_id), .producer_id = txn->producer_id,
                            .producer_epoch = txn->producer_epoch, .verify = txn->verify_only,
                            .partitions = ARENA_ARRAY(&q->arena, struct txn_partition, n + 1)};
    for (int32_t t = 0; t < txn->topics.n; t++)
        put_partitions(q, add, txn->topics.p[t].name, txn->topics.p[t].partitions.p, txn->topics.p[t].partitions.n);
}

// Internal topics are nobody's to write, and with one that is refused none joins. True = refused.
static bool refuse_internal(struct kafka_req *q, struct txn_add *add) {
    bool any = false;
    for (size_t i = 0; i < add->n_partitions; i++) any = any || broker_topic_internal(add->partitions[i].topic);
    for (size_t i = 0; i < add->n_partitions && any; i++)
        add->partitions[i].error = broker_topic_internal(add->partitions[i].topic) ? KAFKA_TOPIC_AUTHORIZATION_FAILED : KAFKA_OPERATION_NOT_ATTEMPTED;
    if (any) answer_added(q);
    return any;
}

void kafka_do_add_partitions_to_txn(struct kafka_req *q) {
    const struct kafka_add_partitions_to_txn_request *req = q->msg;
    struct adding *s = ARENA_NEW(&q->arena, struct adding);
    size_t n = s->n = s->pending = q->version >= 4 ? (size_t)req->transactions.n : 1;
    s->all = ARENA_ARRAY(&q->arena, struct add_one, n + 1);
    q->state = s;
    for (size_t i = 0; i < n; i++) {
        struct add_one *one = &s->all[i];
        one->q = q;
        if (q->version >= 4) fill_batched(q, &req->transactions.p[i], &one->add);
        else fill_one_txn(q, &one->add);
        one->add.call.call = call_of(q, one_added, one);
    }
    if (n == 0) answer_added(q);
    if (q->version < 4 && refuse_internal(q, &s->all[0].add)) return;
    for (size_t i = 0; i < n; i++) txn_add(kafka_req_broker(q), &s->all[i].add); // the answers come later, by the loop
}

struct adding_offsets {
    struct txn_add add;
    struct txn_partition what;
};

static void offsets_added(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct kafka_add_offsets_to_txn_response *res = q->res;
    const struct adding_offsets *s = q->state;
    res->error_code = fenced(call->error != 0 ? call->error : s->what.error, q->version >= 2);
    kafka_req_done(q);
}

void kafka_do_add_offsets_to_txn(struct kafka_req *q) {
    const struct kafka_add_offsets_to_txn_request *req = q->msg;
    struct adding_offsets *s = ARENA_NEW(&q->arena, struct adding_offsets);
    *s = (struct adding_offsets){.what = {.topic = OFFSETS_TOPIC}};
    s->add = (struct txn_add){.call.call = call_of(q, offsets_added, q), .transactional_id = kafka_req_name(q, req->transactional_id),
                              .producer_id = req->producer_id, .producer_epoch = req->producer_epoch, .partitions = &s->what, .n_partitions = 1};
    q->state = s;
    txn_add(kafka_req_broker(q), &s->add);
}

// ---- EndTxn ---------------------------------------------------------------------------------------------------------

static void ended(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct kafka_end_txn_response *res = q->res;
    const struct txn_end *x = q->state;
    res->error_code = fenced(call->error, q->version >= 2);
    if (call->error == 0) {
        res->producer_id = x->out_id;
        res->producer_epoch = x->out_epoch;
    }
    kafka_req_done(q);
}

void kafka_do_end_txn(struct kafka_req *q) {
    const struct kafka_end_txn_request *req = q->msg;
    struct txn_end *x = ARENA_NEW(&q->arena, struct txn_end);
    *x = (struct txn_end){.call.call = call_of(q, ended, q), .transactional_id = kafka_req_name(q, req->transactional_id), .producer_id = req->producer_id,
                          .producer_epoch = req->producer_epoch, .commit = req->committed, .v2 = q->version >= 5};
    q->state = x;
    txn_end(kafka_req_broker(q), x);
}

// ---- TxnOffsetCommit ------------------------------------------------------------------------------------------------

static void offsets_committed(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct kafka_txn_offset_commit_request *req = q->msg;
    struct kafka_txn_offset_commit_response *res = q->res;
    const struct group_commit *x = q->state;
    size_t at = 0;
    res->topics.n = req->topics.n;
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_txn_offset_commit_response_topics, req->topics.n);
    for (int32_t t = 0; t < req->topics.n; t++) {
        struct kafka_txn_offset_commit_response_topics *out = &res->topics.p[t];
        out->name = req->topics.p[t].name;
        out->topic_id = req->topics.p[t].topic_id;
        out->partitions.n = req->topics.p[t].partitions.n;
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_txn_offset_commit_response_topics_partitions, out->partitions.n);
        for (int32_t i = 0; i < out->partitions.n; i++, at++) {
            int error = x->offsets[at].error;
            if (error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION && x->offsets[at].topic[0] == '\0' && q->version >= 6) error = KAFKA_UNKNOWN_TOPIC_ID;
            if (q->version < 3 && error == KAFKA_UNKNOWN_MEMBER_ID) error = KAFKA_ILLEGAL_GENERATION;
            out->partitions.p[i].partition_index = req->topics.p[t].partitions.p[i].partition_index;
            out->partitions.p[i].error_code = (int16_t)error;
        }
    }
    kafka_req_done(q);
}

void kafka_do_txn_offset_commit(struct kafka_req *q) {
    const struct kafka_txn_offset_commit_request *req = q->msg;
    struct group_commit *x = ARENA_NEW(&q->arena, struct group_commit);
    size_t n = 0;
    for (int32_t t = 0; t < req->topics.n; t++) n += (size_t)req->topics.p[t].partitions.n;
    *x = (struct group_commit){.call = call_of(q, offsets_committed, q), .group_id = kafka_req_name(q, req->group_id),
                               .member_id = kafka_req_name(q, req->member_id), .group_instance_id = kafka_req_name(q, req->group_instance_id),
                               .generation = req->generation_id_or_member_epoch, .transactional_id = kafka_req_name(q, req->transactional_id),
                               .producer_id = req->producer_id, .producer_epoch = req->producer_epoch, .txn_adds = q->version >= 5};
    x->knows_abortable = q->version >= 4;
    x->knows_epochs = q->version >= 6;
    x->offsets = ARENA_ARRAY(&q->arena, struct group_offset, n + 1);
    for (int32_t t = 0; t < req->topics.n; t++) {
        const char *name = q->version < 6 ? kafka_req_name(q, req->topics.p[t].name) : "";
        struct broker_topic_info info;
        if (q->version >= 6 && broker_topic_get_id(kafka_req_broker(q), req->topics.p[t].topic_id.b, &q->arena, &info)) name = info.name;
        for (int32_t i = 0; i < req->topics.p[t].partitions.n; i++) {
            const struct kafka_txn_offset_commit_request_topics_partitions *p = &req->topics.p[t].partitions.p[i];
            x->offsets[x->n_offsets++] = (struct group_offset){.topic = name, .partition = p->partition_index, .offset = p->committed_offset,
                                                               .leader_epoch = p->committed_leader_epoch, .metadata = p->committed_metadata};
        }
    }
    q->state = x;
    txn_offsets_commit(kafka_req_broker(q), x);
}

// ---- WriteTxnMarkers ------------------------------------------------------------------------------------------------

struct marking {
    size_t pending;
};

struct mark_one {
    struct kafka_req *q;
    struct txn_marker_write write;
    struct kafka_write_txn_markers_response_markers_topics_partitions *res;
};

static void finish_marking(struct kafka_req *q) {
    struct marking *s = q->state;
    if (--s->pending == 0) kafka_req_done(q);
}

static void marked(struct group_call *call) {
    struct mark_one *one = call->arg;
    one->res->error_code = (int16_t)call->error;
    finish_marking(one->q);
}

static void mark_topic(struct kafka_req *q, const struct kafka_write_txn_markers_request_markers *m,
                       const struct kafka_write_txn_markers_request_markers_topics *topic, struct kafka_write_txn_markers_response_markers_topics *res) {
    struct marking *s = q->state;
    int32_t n = topic->partition_indexes.n;
    const char *name = kafka_req_name(q, topic->name);
    res->name = topic->name;
    res->partitions.n = n;
    res->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_write_txn_markers_response_markers_topics_partitions, n);
    for (int32_t i = 0; i < n; i++) {
        struct mark_one *one = ARENA_NEW(&q->arena, struct mark_one);
        one->q = q;
        one->res = &res->partitions.p[i];
        one->res->partition_index = topic->partition_indexes.p[i];
        one->write = (struct txn_marker_write){.call = call_of(q, marked, one), .topic = name, .partition = topic->partition_indexes.p[i],
                                               .producer_id = m->producer_id, .producer_epoch = m->producer_epoch,
                                               .coordinator_epoch = m->coordinator_epoch, .commit = m->transaction_result,
                                               .newer = m->transaction_version >= 2};
        s->pending++;
        txn_write_marker(kafka_req_broker(q), &one->write);
    }
}

void kafka_do_write_txn_markers(struct kafka_req *q) {
    const struct kafka_write_txn_markers_request *req = q->msg;
    struct kafka_write_txn_markers_response *res = q->res;
    struct marking *s = ARENA_NEW(&q->arena, struct marking);
    s->pending = 1; // for this function
    q->state = s;
    res->markers.n = req->markers.n;
    res->markers.p = KAFKA_ELEMENTS(&q->arena, kafka_write_txn_markers_response_markers, req->markers.n);
    for (int32_t i = 0; i < req->markers.n; i++) {
        const struct kafka_write_txn_markers_request_markers *m = &req->markers.p[i];
        struct kafka_write_txn_markers_response_markers *out = &res->markers.p[i];
        out->producer_id = m->producer_id;
        out->topics.n = m->topics.n;
        out->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_write_txn_markers_response_markers_topics, m->topics.n);
        for (int32_t t = 0; t < m->topics.n; t++) mark_topic(q, m, &m->topics.p[t], &out->topics.p[t]);
    }
    finish_marking(q);
}

// ---- DescribeProducers ----------------------------------------------------------------------------------------------

struct describe_one {
    struct kafka_req *q;
    struct txn_producers call;
    struct kafka_describe_producers_response_topics_partitions *res;
};

static void producers_described(struct group_call *call) {
    struct describe_one *one = call->arg;
    struct kafka_describe_producers_response_topics_partitions *res = one->res;
    res->error_code = (int16_t)call->error;
    res->active_producers.n = (int32_t)one->call.n_producers;
    res->active_producers.p =
        KAFKA_ELEMENTS(&one->q->arena, kafka_describe_producers_response_topics_partitions_active_producers, res->active_producers.n);
    for (int32_t i = 0; i < res->active_producers.n; i++) {
        const struct producer_info *p = &one->call.producers[i];
        res->active_producers.p[i] = (struct kafka_describe_producers_response_topics_partitions_active_producers){
            p->producer_id, p->epoch, p->last_sequence, p->last_timestamp, p->coordinator_epoch, p->txn_first};
    }
    mem_free(one->call.producers);
    finish_marking(one->q);
}

void kafka_do_describe_producers(struct kafka_req *q) {
    const struct kafka_describe_producers_request *req = q->msg;
    struct kafka_describe_producers_response *res = q->res;
    struct marking *s = ARENA_NEW(&q->arena, struct marking);
    s->pending = 1;
    q->state = s;
    res->topics.n = req->topics.n;
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_producers_response_topics, req->topics.n);
    for (int32_t t = 0; t < req->topics.n; t++) {
        const struct kafka_describe_producers_request_topics *topic = &req->topics.p[t];
        struct kafka_describe_producers_response_topics *out = &res->topics.p[t];
        const char *name = kafka_req_name(q, topic->name);
        out->name = topic->name;
        out->partitions.n = topic->partition_indexes.n;
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_producers_response_topics_partitions, out->partitions.n);
        for (int32_t i = 0; i < out->partitions.n; i++) {
            struct describe_one *one = ARENA_NEW(&q->arena, struct describe_one);
            out->partitions.p[i].partition_index = topic->partition_indexes.p[i];
            *one = (struct describe_one){.q = q, .res = &out->partitions.p[i]};
            one->call = (struct txn_producers){.call = call_of(q, producers_described, one), .topic = name, .partition = topic->partition_indexes.p[i]};
            s->pending++;
            txn_describe_producers(kafka_req_broker(q), &one->call);
        }
    }
    finish_marking(q);
}

// ---- DescribeTransactions -------------------------------------------------------------------------------------------

struct describing {
    int32_t at;
    struct txn_describe call;
};

static void next_describe(struct kafka_req *q);

static void fill_described(struct kafka_req *q, const struct txn_describe *d, struct kafka_describe_transactions_response_transaction_states *out) {
    out->error_code = (int16_t)d->call.call.error;
    if (out->error_code != 0) return;
    out->transaction_state = str_c(d->state);
    out->transaction_timeout_ms = d->timeout_ms;
    out->transaction_start_time_ms = d->start_ms;
    out->producer_id = d->producer_id;
    out->producer_epoch = d->producer_epoch;
    out->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_transactions_response_transaction_states_topics, (int32_t)d->n_partitions);
    for (size_t i = 0, end; i < d->n_partitions; i = end) {
        for (end = i + 1; end < d->n_partitions && strcmp(d->partitions[end].topic, d->partitions[i].topic) == 0;) end++;
        struct kafka_describe_transactions_response_transaction_states_topics *t = &out->topics.p[out->topics.n++];
        t->topic = str_c(d->partitions[i].topic);
        t->partitions.p = ARENA_ARRAY(&q->arena, int32_t, end - i);
        for (size_t k = i; k < end; k++) t->partitions.p[t->partitions.n++] = d->partitions[k].partition;
    }
}

static void described(struct group_call *call) {
    struct kafka_req *q = call->arg;
    struct kafka_describe_transactions_response *res = q->res;
    struct describing *s = q->state;
    fill_described(q, &s->call, &res->transaction_states.p[s->at]);
    s->at++;
    next_describe(q);
}

static void next_describe(struct kafka_req *q) {
    const struct kafka_describe_transactions_request *req = q->msg;
    struct kafka_describe_transactions_response *res = q->res;
    struct describing *s = q->state;
    if (s->at == req->transactional_ids.n) {
        kafka_req_done(q);
        return;
    }
    if (kafka_req_overgrown(q)) return;
    res->transaction_states.p[s->at].transactional_id = req->transactional_ids.p[s->at];
    s->call = (struct txn_describe){.call.call = call_of(q, described, q), .transactional_id = kafka_req_name(q, req->transactional_ids.p[s->at])};
    txn_describe(kafka_req_broker(q), &s->call);
}

void kafka_do_describe_transactions(struct kafka_req *q) {
    const struct kafka_describe_transactions_request *req = q->msg;
    struct kafka_describe_transactions_response *res = q->res;
    res->transaction_states.n = req->transactional_ids.n;
    res->transaction_states.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_transactions_response_transaction_states, req->transactional_ids.n);
    q->state = ARENA_NEW(&q->arena, struct describing);
    next_describe(q);
}

// ---- ListTransactions -----------------------------------------------------------------------------------------------

struct listing {
    struct txn_list call;
    pcre2_code *pattern; // NULL = any id
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

static bool fits(const struct listing *s, const char *id) { // the whole id, as Kafka; one that takes too long to find out does not
    return s->pattern == NULL || pcre2_match(s->pattern, (PCRE2_SPTR)id, strlen(id), 0, 0, s->match, s->limits) >= 0;
}

static bool is_wanted(const struct kafka_list_transactions_request *req, const struct listing *s, const struct txn_listed *t) {
    bool wanted = req->state_filters.n == 0;
    if (strcmp(t->state, "Dead") == 0) return false;
    for (int32_t i = 0; i < req->state_filters.n && !wanted; i++) wanted = str_eqc(req->state_filters.p[i], t->state);
    bool by_id = req->producer_id_filters.n == 0;
    for (int32_t i = 0; i < req->producer_id_filters.n && !by_id; i++) by_id = req->producer_id_filters.p[i] == t->producer_id;
    if (req->duration_filter >= 0 && (t->start_ms < 0 || t->now_ms - t->start_ms <= req->duration_filter)) return false;
    return wanted && by_id && fits(s, t->transactional_id);
}

static void listed(struct group_call *call) {
    struct kafka_req *q = call->arg;
    const struct kafka_list_transactions_request *req = q->msg;
    struct kafka_list_transactions_response *res = q->res;
    struct listing *s = q->state;
    res->error_code = (int16_t)call->error;
    size_t n = call->error == 0 ? s->call.n_txns : 0;
    res->transaction_states.p = KAFKA_ELEMENTS(&q->arena, kafka_list_transactions_response_transaction_states, (int32_t)n);
    for (size_t i = 0; i < n; i++) {
        const struct txn_listed *t = &s->call.txns[i];
        if (!is_wanted(req, s, t)) continue;
        res->transaction_states.p[res->transaction_states.n++] = (struct kafka_list_transactions_response_transaction_states){
            str_c(t->transactional_id), t->producer_id, str_c(t->state)};
    }
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    pcre2_code_free(s->pattern);
    kafka_req_done(q);
}

void kafka_do_list_transactions(struct kafka_req *q) {
    const struct kafka_list_transactions_request *req = q->msg;
    struct kafka_list_transactions_response *res = q->res;
    struct listing *s = ARENA_NEW(&q->arena, struct listing);
    q->state = s;
    res->unknown_state_filters.p = ARENA_ARRAY(&q->arena, struct str, req->state_filters.n + 1);
    for (int32_t i = 0; i < req->state_filters.n; i++)
        if (txn_state_named(req->state_filters.p[i]) == NULL) res->unknown_state_filters.p[res->unknown_state_filters.n++] = req->state_filters.p[i];
    struct str pattern = req->transactional_id_pattern;
    if (pattern.n > 0) {
        enum { STEPS_MAX = 10000 };
        const uint32_t options = PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C;
        int code = 0;
        PCRE2_SIZE at = 0;
        s->pattern = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, options, &code, &at, NULL);
        if (s->pattern == NULL) {
            res->error_code = KAFKA_INVALID_REGULAR_EXPRESSION;
            kafka_req_done(q);
            return;
        }
        s->match = pcre2_match_data_create_from_pattern(s->pattern, NULL);
        s->limits = pcre2_match_context_create(NULL);
        if (s->limits != NULL) pcre2_set_match_limit(s->limits, STEPS_MAX);
    }
    s->call.call.call = call_of(q, listed, q);
    txn_list(kafka_req_broker(q), &s->call);
}
