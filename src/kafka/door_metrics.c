// SPDX-License-Identifier: Apache-2.0
// What /metrics says of partitions, the cluster of one and fetch sessions, under the names of Kafka's dashboards. Computed when asked, on the
// asking thread, from the broker's [any] calls; at most PARTITIONS_MAX partitions are told.
#include "kafka/door_metrics.h"

#include "kafka/fetch_session.h"

enum { PARTITIONS_MAX = 2000 };

static void put_offsets(struct buf *start, struct buf *end, const char *topic, int32_t partition, const struct broker_offsets *o) {
    buf_printf(start, "kafka_log_log_logstartoffset{topic=\"%s\",partition=\"%d\"} %lld\n", topic, partition, (long long)o->start);
    buf_printf(end, "kafka_log_log_logendoffset{topic=\"%s\",partition=\"%d\"} %lld\n", topic, partition, (long long)o->end);
}

void door_metrics_render(void *door, struct buf *out) {
    struct kafka_door *d = door;
    struct arena a;
    struct buf start, end;
    struct broker_topic_info *topics;
    int64_t partitions = 0;
    arena_init(&a);
    buf_init(&start, 0);
    buf_init(&end, 0);
    size_t n = broker_topic_list(d->broker, &a, &topics);
    for (size_t i = 0; i < n; i++)
        for (int32_t k = 0; k < topics[i].partitions; k++, partitions++) {
            struct broker_offsets o;
            if (partitions < PARTITIONS_MAX && broker_offsets(d->broker, topics[i].name, k, &o, NULL) == ERR_OK)
                put_offsets(&start, &end, topics[i].name, k, &o);
        }
    buf_puts(out, "# TYPE kafka_log_log_logstartoffset gauge\n");
    buf_put_str(out, buf_str(&start));
    buf_puts(out, "# TYPE kafka_log_log_logendoffset gauge\n");
    buf_put_str(out, buf_str(&end));
    const struct {
        const char *name;
        int64_t value;
    } gauges[] = {{"kafka_server_replicamanager_partitioncount", partitions},
                  {"kafka_server_replicamanager_leadercount", partitions},
                  {"kafka_server_replicamanager_underreplicatedpartitions", 0}, // one copy is all that is wanted
                  {"kafka_controller_kafkacontroller_activecontrollercount", 1},
                  {"kafka_server_fetchsessioncache_numincrementalfetchsessions", (int64_t)fetch_sessions_count(d->sessions)},
                  {"kafka_server_fetchsessioncache_numincrementalfetchpartitionscached", (int64_t)fetch_sessions_parts(d->sessions)}};
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        buf_printf(out, "# TYPE %s gauge\n%s %lld\n", gauges[i].name, gauges[i].name, (long long)gauges[i].value);
    buf_fini(&start);
    buf_fini(&end);
    arena_fini(&a);
}
