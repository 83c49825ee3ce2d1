// SPDX-License-Identifier: Apache-2.0
// Kafka client over librdkafka: works against any Kafka. Blocking; a handle is used by one thread.
#ifndef CLIENT_KAFKA_H
#define CLIENT_KAFKA_H

#include "base/err.h"
#include "base/mem.h"

struct client_kv {
    const char *name, *value;
};

// Where a cluster is and how to come in.
struct client_security; // client/security.h
struct client_target {
    const char *brokers; // "host:port,host:port"
    const struct client_security *security; // NULL: plaintext, no log-in
};

// ---- producer ---------------------------------------------------------------------------------------------------------
// Idempotent, acks=all, keys to partitions by murmur2 as Java's default partitioner. `settings` are librdkafka's and come last.
struct client_producer;
struct client_producer *client_producer_open(const struct client_target *at, const struct client_kv *settings, size_t n, struct err *err);
void client_producer_close(struct client_producer *p);
// Queues one record (copied); waits while the queue is full. timestamp_ms 0 = now. Fails when an earlier record failed for good.
enum err_code client_produce(struct client_producer *p, const char *topic, int32_t partition /* -1 = by key */, struct str key, bool key_null,
                             struct str value, int64_t timestamp_ms, struct err *err);
int64_t client_producer_waiting(struct client_producer *p); // records not yet acknowledged
// Waits up to timeout_ms for all records. ERR_TIMEOUT: some still wait; call again. Any record's failure is reported here.
enum err_code client_producer_flush(struct client_producer *p, int timeout_ms, struct err *err);

// ---- consumer ---------------------------------------------------------------------------------------------------------
struct client_message {
    const char *topic;
    int32_t partition;
    int64_t offset, timestamp_ms; // timestamp -1 = none
    struct str key, value;
    bool key_null, value_null;
};
enum { CLIENT_OFFSET_END = -1, CLIENT_OFFSET_BEGINNING = -2 };

struct client_consumer;
// group NULL: reads all partitions (or `partition` >= 0) from `offset` (or a special one above) without committing; else joins the group and commits.
struct client_consumer *client_consumer_open(const struct client_target *at, const char *topic, int32_t partition, int64_t offset, const char *group,
                                             const struct client_kv *settings, size_t n, struct err *err);
void client_consumer_close(struct client_consumer *c);
// true: *out is filled, its memory lives until the next call. false with err->code ERR_OK: none within timeout_ms, or `*at_end` (all partitions).
bool client_consume(struct client_consumer *c, int timeout_ms, struct client_message *out, bool *at_end, struct err *err);

// ---- administration -----------------------------------------------------------------------------------------------------
struct client_topic {
    const char *name;
    int32_t partitions;
    int64_t records; // sum of high watermark - start over partitions; -1 = not asked for
};
enum err_code client_topic_list(const struct client_target *at, bool with_records, struct arena *a, struct client_topic **out, size_t *n, struct err *err);
enum err_code client_topic_create(const struct client_target *at, const char *topic, int32_t partitions /* -1 = default */, const struct client_kv *configs,
                                  size_t n, struct err *err); // ERR_EXISTS
enum err_code client_topic_delete(const struct client_target *at, const char *topic, struct err *err);
enum err_code client_topic_grow(const struct client_target *at, const char *topic, int32_t partitions, struct err *err);
enum err_code client_topic_alter(const struct client_target *at, const char *topic, const struct client_kv *configs, size_t n, struct err *err);

struct client_topic_config {
    const char *name, *value, *source;
    bool is_default;
};
struct client_partition {
    int32_t id;
    int64_t start, high_watermark;
};
enum err_code client_topic_describe(const struct client_target *at, const char *topic, struct arena *a, struct client_partition **partitions,
                                    size_t *n_partitions, struct client_topic_config **configs, size_t *n_configs, struct err *err);

#endif
