// SPDX-License-Identifier: Apache-2.0
// Topics of this process's own broker, and the calls that lead to either kind. Any thread that may block; no state of its own.
#include "topics/topics.h"

struct local {
    struct topics base;
    struct broker *broker;
};

static struct broker *broker_of(struct topics *t) { return ((struct local *)t)->broker; }

static void local_close(struct topics *t) { mem_free(t); }

static enum err_code local_get(struct topics *t, struct str name, struct arena *a, struct broker_topic_info *out, struct err *err) {
    return broker_topic_get(broker_of(t), name, a, out) ? ERR_OK : err_set(err, ERR_NO_TOPIC, "topic '%.*s' does not exist", STR_ARG(name));
}

static enum err_code local_list(struct topics *t, struct arena *a, struct broker_topic_info **out, size_t *n, struct err *err) {
    (void)err;
    *n = broker_topic_list(broker_of(t), a, out);
    return ERR_OK;
}

static enum err_code local_create(struct topics *t, const char *name, int32_t partitions, const struct broker_kv *configs, size_t n, struct err *err) {
    return broker_topic_create(broker_of(t), name, partitions, configs, n, false, NULL, NULL, err);
}

static enum err_code local_offsets(struct topics *t, const char *topic, int32_t partition, struct broker_offsets *out, struct err *err) {
    return broker_offsets(broker_of(t), topic, partition, out, err);
}

static enum err_code local_read(struct topics *t, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, struct buf *out,
                                int64_t *next, struct broker_offsets *offsets, struct err *err) {
    return broker_read_plain(broker_of(t), topic, partition, offset, max_bytes, out, next, offsets, err);
}

static enum err_code local_offset_for_time(struct topics *t, const char *topic, int32_t partition, int64_t timestamp_ms, int64_t *offset,
                                           int64_t *found_ms, struct err *err) {
    return broker_offset_for_time(broker_of(t), topic, partition, timestamp_ms, offset, found_ms, err);
}

static enum err_code local_append(struct topics *t, const char *topic, int32_t partition, const struct broker_record *records, size_t n, int64_t *base,
                                  struct err *err) {
    return broker_append(broker_of(t), topic, partition, records, n, base, err);
}

static const struct topics_ops local_ops = {local_close, local_get, local_list, local_create, local_offsets, local_read, local_offset_for_time, local_append};

struct topics *topics_local(struct broker *b) {
    struct local *l = MEM_NEW(struct local);
    l->base.ops = &local_ops;
    l->broker = b;
    return &l->base;
}

// ---- to either kind -------------------------------------------------------------------------------------------------------

void topics_close(struct topics *t) {
    if (t != NULL) t->ops->close(t);
}
enum err_code topics_get(struct topics *t, struct str name, struct arena *a, struct broker_topic_info *out, struct err *err) {
    return t->ops->get(t, name, a, out, err);
}
enum err_code topics_list(struct topics *t, struct arena *a, struct broker_topic_info **out, size_t *n, struct err *err) {
    return t->ops->list(t, a, out, n, err);
}
enum err_code topics_create(struct topics *t, const char *name, int32_t partitions, const struct broker_kv *configs, size_t n_configs, struct err *err) {
    return t->ops->create(t, name, partitions, configs, n_configs, err);
}
enum err_code topics_offsets(struct topics *t, const char *topic, int32_t partition, struct broker_offsets *out, struct err *err) {
    return t->ops->offsets(t, topic, partition, out, err);
}
enum err_code topics_read(struct topics *t, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, struct buf *out, int64_t *next,
                          struct broker_offsets *offsets, struct err *err) {
    return t->ops->read(t, topic, partition, offset, max_bytes, out, next, offsets, err);
}
enum err_code topics_offset_for_time(struct topics *t, const char *topic, int32_t partition, int64_t timestamp_ms, int64_t *offset, int64_t *found_ms,
                                     struct err *err) {
    return t->ops->offset_for_time(t, topic, partition, timestamp_ms, offset, found_ms, err);
}
enum err_code topics_append(struct topics *t, const char *topic, int32_t partition, const struct broker_record *records, size_t n, int64_t *base,
                            struct err *err) {
    return t->ops->append(t, topic, partition, records, n, base, err);
}
