// SPDX-License-Identifier: Apache-2.0
// DeleteRecords and OffsetForLeaderEpoch. Deleting syncs a small file per partition, so it runs on the broker's pool.
#include "kafka/conn.h"

enum { LOW_WATERMARK_NONE = -1, EPOCH_NONE = -1, OFFSET_NONE = -1 };

static void answer(void *arg) { kafka_req_done(arg); }

// ---- DeleteRecords ------------------------------------------------------------------------------------------------------
static void delete_all(void *arg) {
    struct kafka_req *q = arg;
    const struct kafka_delete_records_request *req = q->msg;
    struct kafka_delete_records_response *res = q->res;
    for (int32_t t = 0; t < req->topics.n; t++) {
        const char *name = kafka_req_name(q, req->topics.p[t].name);
        for (int32_t i = 0; i < req->topics.p[t].partitions.n; i++) {
            const struct kafka_delete_records_request_topics_partitions *p = &req->topics.p[t].partitions.p[i];
            struct kafka_delete_records_response_topics_partitions *out = &res->topics.p[t].partitions.p[i];
            struct err err = {0};
            int64_t low = LOW_WATERMARK_NONE;
            enum err_code code = broker_delete_records(kafka_req_broker(q), name, p->partition_index, p->offset, &low, &err);
            out->partition_index = p->partition_index;
            out->low_watermark = low;
            out->error_code = (int16_t)(code == ERR_OK ? 0 : err_info(code)->kafka);
        }
    }
}

void kafka_do_delete_records(struct kafka_req *q) {
    const struct kafka_delete_records_request *req = q->msg;
    struct kafka_delete_records_response *res = q->res;
    res->topics.n = req->topics.n;
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_delete_records_response_topics, req->topics.n);
    for (int32_t t = 0; t < req->topics.n; t++) {
        res->topics.p[t].name = req->topics.p[t].name;
        res->topics.p[t].partitions.n = req->topics.p[t].partitions.n;
        res->topics.p[t].partitions.p =
            KAFKA_ELEMENTS(&q->arena, kafka_delete_records_response_topics_partitions, req->topics.p[t].partitions.n);
    }
    if (!kafka_req_submit(q, delete_all, answer)) kafka_req_reject(q, "too many administrative requests");
}

// ---- OffsetForLeaderEpoch: there is one epoch, and it ends where the log does ----------------------------------------------
static void epoch_one(struct kafka_req *q, const char *topic, const struct kafka_offset_for_leader_epoch_request_topics_partitions *p,
                      struct kafka_offset_for_leader_epoch_response_topics_partitions *out) {
    struct broker_offsets offsets;
    struct err err = {0};
    out->partition = p->partition;
    out->leader_epoch = EPOCH_NONE;
    out->end_offset = OFFSET_NONE;
    enum err_code code = broker_offsets(kafka_req_broker(q), topic, p->partition, &offsets, &err);
    if (code != ERR_OK) out->error_code = (int16_t)err_info(code)->kafka;
    else out->error_code = (int16_t)kafka_check_leader_epoch(p->current_leader_epoch);
    if (out->error_code != 0 || p->leader_epoch != BROKER_LEADER_EPOCH) return; // an epoch that never was has no end
    out->leader_epoch = BROKER_LEADER_EPOCH;
    out->end_offset = offsets.high_watermark;
}

int kafka_check_leader_epoch(int32_t current) {
    if (current > BROKER_LEADER_EPOCH) return KAFKA_UNKNOWN_LEADER_EPOCH;
    return current >= 0 && current < BROKER_LEADER_EPOCH ? KAFKA_FENCED_LEADER_EPOCH : 0; // -1: the client does not know it
}

void kafka_do_offset_for_leader_epoch(struct kafka_req *q) {
    const struct kafka_offset_for_leader_epoch_request *req = q->msg;
    struct kafka_offset_for_leader_epoch_response *res = q->res;
    res->topics.n = req->topics.n;
    res->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_for_leader_epoch_response_topics, req->topics.n);
    for (int32_t t = 0; t < req->topics.n; t++) {
        const struct kafka_offset_for_leader_epoch_request_topics *topic = &req->topics.p[t];
        struct kafka_offset_for_leader_epoch_response_topics *out = &res->topics.p[t];
        const char *name = kafka_req_name(q, topic->topic);
        out->topic = topic->topic;
        out->partitions.n = topic->partitions.n;
        out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_offset_for_leader_epoch_response_topics_partitions, topic->partitions.n);
        for (int32_t i = 0; i < topic->partitions.n; i++) epoch_one(q, name, &topic->partitions.p[i], &out->partitions.p[i]);
    }
    kafka_req_done(q);
}
