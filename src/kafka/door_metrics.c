// SPDX-License-Identifier: Apache-2.0
// What /metrics says of partitions, requests by version, the cluster of one and fetch sessions, under the names of Kafka's dashboards. Computed
// when asked, on the asking thread, from the broker's [any] calls and the loops' counters; at most PARTITIONS_MAX partitions are told.
#include "kafka/door_metrics.h"

#include <inttypes.h>

#include "kafka/fetch_session.h"

enum { PARTITIONS_MAX = 2000 };

enum { LOG_START, LOG_END, LOG_SIZE, LOG_METRICS };
static const char *const log_metrics[LOG_METRICS] = {"kafka_log_log_logstartoffset", "kafka_log_log_logendoffset", "kafka_log_log_size"};

static void put_partition(struct broker *b, struct buf out[LOG_METRICS], const char *topic, int32_t partition) {
    struct broker_offsets o;
    if (broker_offsets(b, topic, partition, &o, NULL) != ERR_OK) return;
    const int64_t values[LOG_METRICS] = {o.start, o.end, broker_partition_bytes(b, topic, partition)};
    for (int i = 0; i < LOG_METRICS; i++)
        buf_printf(&out[i], "%s{topic=\"%s\",partition=\"%d\"} %" PRId64 "\n", log_metrics[i], topic, partition, values[i]);
}

static void put_requests(const struct kafka_door *d, struct buf *out) {
    buf_puts(out, "# TYPE kafka_network_requestmetrics_requests_total counter\n");
    for (size_t i = 0; i < kafka_handlers_n; i++)
        for (int version = 0; version < CONN_API_VERSIONS; version++) {
            int key = kafka_handlers[i].key;
            uint64_t n = 0;
            for (size_t l = 0; key < CONN_API_KEYS && l < d->n_loops; l++)
                n += atomic_load_explicit(&d->loops[l]->requests[key][version], memory_order_relaxed);
            if (n == 0) continue;
            buf_printf(out, "kafka_network_requestmetrics_requests_total{request=\"%s\",version=\"%d\"} %" PRIu64 "\n",
                       kafka_api_find(key)->name, version, n);
        }
}

void door_metrics_render(void *door, struct buf *out) {
    struct kafka_door *d = door;
    struct arena a;
    struct buf logs[LOG_METRICS] = {{0}};
    struct broker_topic_info *topics;
    int64_t partitions = 0;
    arena_init(&a);
    size_t n = broker_topic_list(d->broker, &a, &topics);
    for (size_t i = 0; i < n; i++)
        for (int32_t k = 0; k < topics[i].partitions; k++, partitions++)
            if (partitions < PARTITIONS_MAX) put_partition(d->broker, logs, topics[i].name, k);
    for (int i = 0; i < LOG_METRICS; i++) {
        buf_printf(out, "# TYPE %s gauge\n", log_metrics[i]);
        buf_put_str(out, buf_str(&logs[i]));
        buf_fini(&logs[i]);
    }
    put_requests(d, out);
    const struct {
        const char *name;
        int64_t value;
    } gauges[] = {{"kafka_server_replicamanager_partitioncount", partitions},
                  {"kafka_server_replicamanager_leadercount", partitions},
                  {"kafka_server_replicamanager_produceridcount", broker_producer_ids(d->broker)},
                  {"kafka_server_replicamanager_underreplicatedpartitions", 0}, // one copy is all that is wanted
                  {"kafka_controller_kafkacontroller_activecontrollercount", 1},
                  {"kafka_server_fetchsessioncache_numincrementalfetchsessions", (int64_t)fetch_sessions_count(d->sessions)},
                  {"kafka_server_fetchsessioncache_numincrementalfetchpartitionscached", (int64_t)fetch_sessions_parts(d->sessions)}};
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        buf_printf(out, "# TYPE %s gauge\n%s %lld\n", gauges[i].name, gauges[i].name, (long long)gauges[i].value);
    arena_fini(&a);
}
