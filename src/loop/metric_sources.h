// SPDX-License-Identifier: Apache-2.0
// Numbers that others keep and that /metrics shows behind those of base/metrics.def: each source appends its Prometheus text when it is asked.
//
// Any thread. No lock is held while a source is asked, so that one which waits (for a loop, say) keeps nobody else waiting: several scrapes may ask
// the same source at the same time. Memory: a table of METRIC_SOURCES_MAX for the whole process; more of them are not shown.
#ifndef LOOP_METRIC_SOURCES_H
#define LOOP_METRIC_SOURCES_H

#include <stdbool.h>

#include "base/buf.h"

enum { METRIC_SOURCES_MAX = 16 };
typedef void metric_source_fn(void *arg, struct buf *out);
bool metric_sources_add(metric_source_fn *fn, void *arg); // false = the table is full
void metric_sources_remove(metric_source_fn *fn, void *arg); // blocks while fn runs; when it returns, fn is not called again
void metric_sources_render(struct buf *out); // asks all

#endif
