// SPDX-License-Identifier: Apache-2.0
// Structured logging: one line per event, `time level room msg key=value ...` (logfmt). Any thread.
//
// base makes no system calls: the process sets a sink (where lines go) and a clock at start; without them nothing is written.
// Usage: log_info("broker", "topic created", "topic", name, "partitions", log_i64(n), NULL)   -- key, value pairs of C strings, NULL-ended.
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

typedef void log_sink_fn(void *arg, enum log_level level, struct str line); // line ends with \n
typedef int64_t log_clock_fn(void *arg);                                    // microseconds since 1970, UTC

void log_set_sink(log_sink_fn *sink, void *arg);
void log_set_clock(log_clock_fn *clock, void *arg);
void log_set_level(enum log_level level);
bool log_level_parse(struct str s, enum log_level *out);
bool log_enabled(enum log_level level);

void log_event(enum log_level level, const char *room, const char *msg, ...) __attribute__((sentinel));
#define log_debug(...) (log_enabled(LOG_DEBUG) ? log_event(LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...) log_event(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_event(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_event(LOG_ERROR, __VA_ARGS__)

// A number as text for one log call (a small ring of buffers per thread: at most 8 in one call).
const char *log_i64(int64_t v);
const char *log_str(struct str s); // at most 255 bytes of it

#endif
