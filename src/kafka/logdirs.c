// SPDX-License-Identifier: Apache-2.0
// DescribeLogDirs and AlterReplicaLogDirs: there is one folder, and every replica is in it.
#include "kafka/conn.h"

typedef struct kafka_describe_log_dirs_response_results_topics dir_topic;

// ---- DescribeLogDirs ------------------------------------------------------------------------------------------------------
// The partitions of `topic` that are asked for (all = NULL) and exist.
static void describe_topic(struct kafka_req *q, const struct broker_topic_info *info, const struct kafka_describe_log_dirs_request_topics *asked,
                           dir_topic *out) {
    int32_t n = asked == NULL ? info->partitions : asked->partitions.n;
    out->name = str_c(info->name);
    out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_log_dirs_response_results_topics_partitions, n);
    out->partitions.n = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t index = asked == NULL ? i : asked->partitions.p[i];
        int64_t bytes = broker_partition_bytes(kafka_req_broker(q), info->name, index);
        if (bytes < 0) continue;
        struct kafka_describe_log_dirs_response_results_topics_partitions *p = &out->partitions.p[out->partitions.n++];
        p->partition_index = index;
        p->partition_size = bytes;
    }
}

static void describe_dir(void *arg) { // asks the file system, which may block
    struct kafka_req *q = arg;
    const struct kafka_describe_log_dirs_request *req = q->msg;
    struct kafka_describe_log_dirs_response *res = q->res;
    struct kafka_describe_log_dirs_response_results *r = res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_log_dirs_response_results, 1);
    struct broker_disk disk;
    struct broker_topic_info *list = NULL;
    res->results.n = 1;
    broker_disk(kafka_req_broker(q), &disk);
    r->log_dir = str_c(disk.dir);
    r->total_bytes = disk.total;
    r->usable_bytes = disk.usable;
    bool all = req->topics.n < 0;
    int32_t n = all ? (int32_t)broker_topic_list(kafka_req_broker(q), &q->arena, &list) : req->topics.n;
    r->topics.p = KAFKA_ELEMENTS(&q->arena, kafka_describe_log_dirs_response_results_topics, n);
    r->topics.n = 0;
    for (int32_t i = 0; i < n; i++) {
        struct broker_topic_info one;
        if (!all && !broker_topic_get(kafka_req_broker(q), req->topics.p[i].topic, &q->arena, &one)) continue;
        dir_topic *out = &r->topics.p[r->topics.n];
        describe_topic(q, all ? &list[i] : &one, all ? NULL : &req->topics.p[i], out);
        if (out->partitions.n > 0) r->topics.n++;
    }
}

static void answer(void *arg) { kafka_req_done(arg); }

void kafka_do_describe_log_dirs(struct kafka_req *q) {
    if (!kafka_req_submit(q, describe_dir, answer)) kafka_req_reject(q, "too many administrative requests");
}

// ---- AlterReplicaLogDirs --------------------------------------------------------------------------------------------------
// To the folder where it is: done. To another: Kafka's answer for one that is not in log.dirs.
static int16_t move_one(struct kafka_req *q, struct str path, struct str topic, int32_t partition) {
    struct broker_disk disk;
    broker_disk(kafka_req_broker(q), &disk);
    if (!str_eqc(path, disk.dir)) return KAFKA_LOG_DIR_NOT_FOUND;
    return broker_partition_bytes(kafka_req_broker(q), kafka_req_name(q, topic), partition) < 0 ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : 0;
}

static void move_all(void *arg) {
    struct kafka_req *q = arg;
    const struct kafka_alter_replica_log_dirs_request *req = q->msg;
    struct kafka_alter_replica_log_dirs_response *res = q->res;
    int32_t topics = 0, at = 0;
    for (int32_t d = 0; d < req->dirs.n; d++) topics += req->dirs.p[d].topics.n;
    res->results.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_replica_log_dirs_response_results, topics);
    res->results.n = topics;
    for (int32_t d = 0; d < req->dirs.n; d++)
        for (int32_t t = 0; t < req->dirs.p[d].topics.n; t++) {
            const struct kafka_alter_replica_log_dirs_request_dirs_topics *topic = &req->dirs.p[d].topics.p[t];
            struct kafka_alter_replica_log_dirs_response_results *out = &res->results.p[at++];
            out->topic_name = topic->name;
            out->partitions.n = topic->partitions.n;
            out->partitions.p = KAFKA_ELEMENTS(&q->arena, kafka_alter_replica_log_dirs_response_results_partitions, topic->partitions.n);
            for (int32_t i = 0; i < topic->partitions.n; i++) {
                out->partitions.p[i].partition_index = topic->partitions.p[i];
                out->partitions.p[i].error_code = move_one(q, req->dirs.p[d].path, topic->name, topic->partitions.p[i]);
            }
        }
}

void kafka_do_alter_replica_log_dirs(struct kafka_req *q) {
    if (!kafka_req_submit(q, move_all, answer)) kafka_req_reject(q, "too many administrative requests");
}
