// SPDX-License-Identifier: Apache-2.0
// Produce. The record batches stay where they were received; the broker checks them and writes them from there.
//
// acks=all and acks=1 are answered when the batches are durable, acks=0 not at all: after an error its connection is closed. One partition's failure
// is that partition's error code only.
#include <string.h>

#include "base/metrics.h"
#include "codec/compress.h"
#include "kafka/conn.h"
#include "log/batch.h"

typedef struct kafka_produce_response_responses_partition_responses partition_response;

struct part {
    struct broker_produce produce;
    struct producing *all;
    partition_response *res;
};
struct producing {
    struct kafka_req *q;
    size_t pending;
    const char *transactional_id; // NULL = none
    bool counted;                 // as waiting for the disk
};

static bool any_error(const struct kafka_produce_response *res) {
    for (int32_t t = 0; t < res->responses.n; t++)
        for (int32_t i = 0; i < res->responses.p[t].partition_responses.n; i++)
            if (res->responses.p[t].partition_responses.p[i].error_code != 0) return true;
    return false;
}

static void finish_one(struct producing *all) {
    if (--all->pending > 0) return;
    if (all->q->no_reply && any_error(all->q->res)) kafka_req_close_after(all->q); // acks=0 hears of no error: as Kafka does, the connection is closed
    if (all->counted) metric_add(M_KAFKA_PURGATORY, "Produce", -1);
    kafka_req_done(all->q);
}

static void list_record_errors(struct part *part, partition_response *res) {
    struct arena *a = &part->all->q->arena;
    struct broker_produce *p = &part->produce;
    res->record_errors.p = KAFKA_ELEMENTS(a, kafka_produce_response_responses_partition_responses_record_errors, (int32_t)p->n_record_errors);
    res->record_errors.n = (int32_t)p->n_record_errors;
    for (size_t i = 0; i < p->n_record_errors; i++) {
        res->record_errors.p[i].batch_index = p->record_errors[i].index;
        res->record_errors.p[i].batch_index_error_message = str_c(arena_strdup(a, p->record_errors[i].message));
    }
    mem_free(p->record_errors);
}

static void produced(struct broker_produce *p) {
    struct part *part = p->arg;
    partition_response *res = part->res;
    res->error_code = (int16_t)p->kafka_error;
    res->base_offset = p->kafka_error == 0 ? p->base_offset : -1;
    res->log_append_time_ms = p->log_append_time_ms;
    res->log_start_offset = p->log_start_offset;
    if (p->kafka_error != 0 && p->message[0] != 0) res->error_message = str_c(p->message);
    list_record_errors(part, res);
    finish_one(part->all);
}

// As Kafka looks: at the first batch of each partition, of which there may be one only.
bool kafka_produce_transactional(const struct kafka_produce_request *req) {
    enum { AT_ATTRIBUTES = 21 }; // two bytes
    for (int32_t t = 0; t < req->topic_data.n; t++)
        for (int32_t i = 0; i < req->topic_data.p[t].partition_data.n; i++) {
            struct str batch = req->topic_data.p[t].partition_data.p[i].records;
            if (batch.n > AT_ATTRIBUTES + 1 && (batch.p[AT_ATTRIBUTES + 1] & BATCH_ATTR_TRANSACTION) != 0) return true;
        }
    return false;
}

// Why the whole request is refused; 0 = it is not.
static int refusal(const struct kafka_produce_request *req, struct str *message) {
    if (req->transactional_id.p == NULL && kafka_produce_transactional(req)) {
        *message = STR("a transactional batch in a request without a transactional id");
        return KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    }
    if (req->acks < -1 || req->acks > 1) {
        *message = STR("acks must be -1, 0 or 1");
        return KAFKA_INVALID_REQUIRED_ACKS;
    }
    return 0;
}

// What Kafka asks of the bytes before it asks for the partition: one whole batch of format 2, in a codec that the request's version knows.
static int form_fault(const struct kafka_req *q, struct str batches, struct str *message) {
    struct batch b;
    enum batch_status status = batch_read(batches.p, batches.n, &b);
    if (status == BATCH_SHORT || status == BATCH_OLD) {
        *message = status == BATCH_SHORT ? STR("no whole record batch") : STR("records of formats older than 2 are refused");
        return KAFKA_INVALID_RECORD;
    }
    if (status != BATCH_OK) return 0; // the broker says what is wrong with it
    if (batches.n > b.size) {
        *message = STR("exactly one record batch is allowed for a partition");
        return KAFKA_INVALID_RECORD;
    }
    if (q->version >= 7 || batch_codec(&b) != COMPRESS_ZSTD) return 0;
    *message = STR("zstd is not allowed before version 7 of Produce");
    return KAFKA_UNSUPPORTED_COMPRESSION_TYPE;
}

static void produce_topic(struct producing *all, const struct kafka_produce_request_topic_data *topic,
                          struct kafka_produce_response_responses *res, int refused, struct str message) {
    struct kafka_req *q = all->q;
    const struct kafka_produce_request *req = q->msg;
    const char *name = NULL;
    struct broker_topic_info info;
    enum broker_txn_level level = q->version >= 12 ? BROKER_TXN_ADD : q->version == 11 ? BROKER_TXN_VERIFY_ABORTABLE : BROKER_TXN_VERIFY;
    if (q->version < 13) name = kafka_req_name(q, topic->name);
    else if (broker_topic_get_id(kafka_req_broker(q), topic->topic_id.b, &q->arena, &info)) name = info.name;
    bool internal = name != NULL && broker_topic_internal(name) && !str_eqc(q->header.client_id, "__admin_client");
    res->name = topic->name;
    res->topic_id = topic->topic_id;
    res->partition_responses.n = topic->partition_data.n;
    res->partition_responses.p = KAFKA_ELEMENTS(&q->arena, kafka_produce_response_responses_partition_responses, topic->partition_data.n);
    struct part *parts = ARENA_ARRAY(&q->arena, struct part, topic->partition_data.n);
    for (int32_t i = 0; i < topic->partition_data.n; i++) {
        const struct kafka_produce_request_topic_data_partition_data *data = &topic->partition_data.p[i];
        partition_response *r = &res->partition_responses.p[i];
        r->index = data->index;
        r->base_offset = -1;
        if (refused == 0 && internal) {
            r->error_code = KAFKA_INVALID_TOPIC_EXCEPTION;
            r->error_message = STR("clients may not write to internal topics");
            continue;
        }
        r->error_message = message;
        r->error_code = (int16_t)(refused != 0 ? refused : name == NULL ? KAFKA_UNKNOWN_TOPIC_ID : form_fault(q, data->records, &r->error_message));
        if (r->error_code != 0) continue;
        parts[i] = (struct part){.all = all, .res = r};
        // A transactional id: from version 12 on the produce itself adds the partition to the transaction (KIP-890).
        parts[i].produce = (struct broker_produce){.topic = name, .partition = data->index, .batches = data->records,
                                                   .wait_durable = req->acks != 0, .done = produced, .back = kafka_req_loop(q),
                                                   .list_errors = q->version >= 8, .arg = &parts[i],
                                                   .transactional_id = all->transactional_id, .txn_level = level};
        all->pending++;
        broker_produce(kafka_req_broker(q), &parts[i].produce);
    }
}

void kafka_do_produce(struct kafka_req *q) {
    const struct kafka_produce_request *req = q->msg;
    struct kafka_produce_response *res = q->res;
    struct producing *all = ARENA_NEW(&q->arena, struct producing);
    struct str message = {NULL, 0};
    int refused = refusal(req, &message);
    *all = (struct producing){.q = q, .pending = 1, .transactional_id = kafka_req_name(q, req->transactional_id)}; // one for this function
    q->no_reply = req->acks == 0;
    res->responses.n = req->topic_data.n;
    res->responses.p = KAFKA_ELEMENTS(&q->arena, kafka_produce_response_responses, req->topic_data.n);
    for (int32_t i = 0; i < req->topic_data.n; i++) produce_topic(all, &req->topic_data.p[i], &res->responses.p[i], refused, message);
    all->counted = req->acks != 0 && all->pending > 1;
    if (all->counted) metric_add(M_KAFKA_PURGATORY, "Produce", 1);
    finish_one(all);
}
