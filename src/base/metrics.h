// SPDX-License-Identifier: Apache-2.0
// The metrics registry: each metric is one line of metrics.def; here are the atomic cells and the Prometheus text.
// Any thread. Label values are bounded: at most METRICS_LABELS_MAX per metric, then they are counted under "other".
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdint.h>

#include "base/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum metric_id {
#define METRIC(id, kind, name, label, help) M_##id,
#include "base/metrics.def"
#undef METRIC
    METRIC_COUNT
};

enum { METRICS_LABELS_MAX = 1024 };

// label_value: NULL for a metric without a label.
void metric_add(enum metric_id id, const char *label_value, int64_t n); // counter or gauge
void metric_set(enum metric_id id, const char *label_value, int64_t v); // gauge
void metric_observe_us(enum metric_id id, const char *label_value, int64_t micros); // histogram; buckets 100 us .. 100 s
int64_t metric_get(enum metric_id id, const char *label_value);         // for tests
void metrics_render(struct buf *out);                                   // Prometheus text format 0.0.4; loop/metric_sources.h has more
void metrics_reset(void);                                               // for tests

#endif
