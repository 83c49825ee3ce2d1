// SPDX-License-Identifier: Apache-2.0
// Topics, wherever they are: this process's broker, or any Kafka cluster outside. What the rooms above need of a log, and no more.
//
// All functions may be called from any thread that may block, and block: over the local broker for the disk, over a cluster for the network
// (at most a minute: a cluster whose leader has just died needs some seconds to have another).
// Records are handed out as Kafka's record batches (log/batch.h). Over a cluster, batches are made anew of what its client library
// delivers: committed records only, and offsets may have gaps.
#ifndef TOPICS_TOPICS_H
#define TOPICS_TOPICS_H

#include "broker/broker.h"

struct topics;

struct topics *topics_local(struct broker *b); // the broker is the caller's and outlives it
struct topics_cluster {
    const char *brokers; // "host:port,host:port"
    const struct broker_kv *settings; // of librdkafka: security.protocol, sasl.mechanism, ...
    size_t n_settings;
};
// ERR_UNAVAILABLE: no broker of the list answers. ERR_CONFIG names the setting.
struct topics *topics_remote(struct sys *s, const struct topics_cluster *c, struct err *err);
void topics_close(struct topics *t);

// Of a cluster, `id` is made of the cluster's id and the name: a topic that is deleted and made again keeps it.
enum err_code topics_get(struct topics *t, struct str name, struct arena *a, struct broker_topic_info *out, struct err *err); // ERR_NO_TOPIC
enum err_code topics_list(struct topics *t, struct arena *a, struct broker_topic_info **out, size_t *n, struct err *err);     // sorted by name
enum err_code topics_create(struct topics *t, const char *name, int32_t partitions, const struct broker_kv *configs, size_t n_configs,
                            struct err *err); // ERR_EXISTS
enum err_code topics_offsets(struct topics *t, const char *topic, int32_t partition, struct broker_offsets *out, struct err *err); // ERR_NO_TOPIC
// As broker_read_plain: committed records only; *next is the offset to go on with, `offset` itself when there is nothing to the end.
enum err_code topics_read(struct topics *t, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, struct buf *out, int64_t *next,
                          struct broker_offsets *offsets, struct err *err);
enum err_code topics_offset_for_time(struct topics *t, const char *topic, int32_t partition, int64_t timestamp_ms, int64_t *offset, int64_t *found_ms,
                                     struct err *err); // offset -1 = none as late
// n records to one partition, durable when it returns (in a cluster: by acks=all). In a cluster some may be there when it fails.
// *base + n is the offset behind the last of them.
enum err_code topics_append(struct topics *t, const char *topic, int32_t partition, const struct broker_record *records, size_t n, int64_t *base,
                            struct err *err);

// ---- what an implementation gives ------------------------------------------------------------------------------------------
struct topics_ops {
    void (*close)(struct topics *t);
    enum err_code (*get)(struct topics *t, struct str name, struct arena *a, struct broker_topic_info *out, struct err *err);
    enum err_code (*list)(struct topics *t, struct arena *a, struct broker_topic_info **out, size_t *n, struct err *err);
    enum err_code (*create)(struct topics *t, const char *name, int32_t partitions, const struct broker_kv *configs, size_t n_configs, struct err *err);
    enum err_code (*offsets)(struct topics *t, const char *topic, int32_t partition, struct broker_offsets *out, struct err *err);
    enum err_code (*read)(struct topics *t, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, struct buf *out,
                          int64_t *next, struct broker_offsets *offsets, struct err *err);
    enum err_code (*offset_for_time)(struct topics *t, const char *topic, int32_t partition, int64_t timestamp_ms, int64_t *offset, int64_t *found_ms,
                                     struct err *err);
    enum err_code (*append)(struct topics *t, const char *topic, int32_t partition, const struct broker_record *records, size_t n, int64_t *base,
                            struct err *err);
};
struct topics {
    const struct topics_ops *ops;
};

#endif
