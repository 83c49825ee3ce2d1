// SPDX-License-Identifier: Apache-2.0
// What is asked of partitions' logs beside produce and fetch: deleting records in front of an offset, sizes, the folder they are in.
#include "broker/internal.h"
#include "log/compact.h"

static enum err_code delete_in(struct partition *p, int64_t offset, int64_t *low, struct err *err) {
    if (!p->delete_old)
        return err_set(err, ERR_POLICY, "records of %s-%d cannot be deleted: cleanup.policy does not contain delete", p->topic_name, p->index);
    if (offset == BROKER_OFFSET_LATEST) offset = log_read_end(p->log);
    enum err_code code = log_delete_before(p->log, offset, err);
    if (code == ERR_OK) *low = log_start(p->log);
    return code;
}

enum err_code broker_delete_records(struct broker *b, const char *topic, int32_t partition, int64_t offset, int64_t *low, struct err *err) {
    if (broker_topic_internal(topic)) return err_set(err, ERR_TOPIC_NAME, "records of the internal topic %.260s cannot be deleted", topic);
    struct partition *p = partition_find(b, topic, partition);
    if (p == NULL) return err_set(err, ERR_NO_TOPIC, "no topic \"%.260s\" with a partition %d", topic, partition);
    enum err_code code = delete_in(p, offset, low, err);
    if (code == ERR_OK) loop_post(p->owner, partition_maintain, p); // segments wholly in front of it go
    else partition_unref(p);
    return code;
}

int64_t broker_producer_ids(struct broker *b) {
    struct partition **all;
    size_t n;
    int64_t ids = 0;
    partitions_all(b, &all, &n);
    for (size_t i = 0; i < n; i++) {
        ids += atomic_load_explicit(&all[i]->producers.count, memory_order_relaxed);
        partition_unref(all[i]);
    }
    mem_free(all);
    return ids;
}

bool broker_is_behind(struct broker *b, const char *topic, int32_t partition, int64_t offset, int64_t end) {
    struct partition *p = partition_find(b, topic, partition);
    bool behind = p != NULL && offset < end && !log_same_segment(p->log, offset, end);
    if (p != NULL) partition_unref(p);
    return behind;
}

int64_t broker_partition_bytes(struct broker *b, const char *topic, int32_t partition) {
    struct partition *p = partition_find(b, topic, partition);
    if (p == NULL) return -1;
    int64_t bytes = (int64_t)log_bytes(p->log);
    partition_unref(p);
    return bytes;
}

void broker_disk(struct broker *b, struct broker_disk *out) {
    *out = (struct broker_disk){.dir = b->dir, .total = sys_disk_size(b->sys, b->dir), .usable = sys_disk_free(b->sys, b->dir)};
}
