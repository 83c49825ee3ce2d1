// SPDX-License-Identifier: Apache-2.0
// A source of /metrics (base/metrics.h): partitions, fetch sessions, under the names of Kafka's dashboards. Any thread.
#ifndef KAFKA_DOOR_METRICS_H
#define KAFKA_DOOR_METRICS_H

#include "kafka/conn.h"

void door_metrics_render(void *door, struct buf *out);

#endif
