// SPDX-License-Identifier: Apache-2.0
// Reads the part of OpenTelemetry's metrics (OTLP protobuf, MetricsData) that Kafka clients send: gauges and sums of numbers with attributes.
// Pure, any thread. Histograms and what else there is are passed over.
#ifndef KAFKA_OTLP_H
#define KAFKA_OTLP_H

#include "base/buf.h"
#include "base/err.h"

struct otlp_point {
    struct str name;      // borrowed from the input
    bool sum, delta;      // a counter; what came since the last one, not since the beginning
    double value;
    struct str labels[8]; // name, value, name, value, ...; the first four attributes that are strings
    size_t n_labels;      // of `labels`
};
// Calls fn for every data point. ERR_PARSE: not such a message (points before the fault were given).
enum err_code otlp_read(struct str bytes, void (*fn)(void *arg, const struct otlp_point *p), void *arg, struct err *err);

#endif
