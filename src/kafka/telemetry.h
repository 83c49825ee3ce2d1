// SPDX-License-Identifier: Apache-2.0
// Client telemetry (KIP-714): which clients are to push which metrics, and what they pushed, shown under /metrics.
//
// One struct for the door, one mutex. Subscriptions are the broker's dynamic configs (resource client-metrics). Bounds: TELEMETRY_CLIENTS clients are
// remembered, TELEMETRY_SERIES numbers shown; what has no room is dropped and counted. A client's numbers go after three
// intervals of silence (at least a minute).
#ifndef KAFKA_TELEMETRY_H
#define KAFKA_TELEMETRY_H

#include "base/map.h"
#include "kafka/conn.h"

enum { TELEMETRY_CLIENTS = 16384, TELEMETRY_SERIES = 10000 };

struct telemetry {
    struct broker *broker;
    struct sys *sys;
    struct sys_mutex mutex;
    struct map clients; // instance id -> struct telemetry_client
    struct map series;  // text of the series -> struct telemetry_series
};

void telemetry_init(struct telemetry *t, struct broker *b, struct sys *s);
void telemetry_fini(struct telemetry *t);
void telemetry_render(void *telemetry, struct buf *out); // Prometheus text

#endif
