// SPDX-License-Identifier: Apache-2.0
// Formats log lines as logfmt and hands them to the sink. The settings are process-wide and set at start.
#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/buf.h"

static log_sink_fn *sink;
static void *sink_arg;
static log_clock_fn *clock_now;
static void *clock_arg;
static _Atomic int level_min = LOG_INFO;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_set_sink(log_sink_fn *fn, void *arg) { sink = fn, sink_arg = arg; }
void log_set_clock(log_clock_fn *fn, void *arg) { clock_now = fn, clock_arg = arg; }
void log_set_level(enum log_level level) { atomic_store(&level_min, (int)level); }
bool log_enabled(enum log_level level) { return sink != NULL && (int)level >= atomic_load(&level_min); }

bool log_level_parse(struct str s, enum log_level *out) {
    for (int i = 0; i < 4; i++)
        if (str_ieq(s, str_c(level_names[i]))) return *out = (enum log_level)i, true;
    return false;
}

static void put_time(struct buf *b) {
    int64_t us = clock_now == NULL ? 0 : clock_now(clock_arg);
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    gmtime_r(&s, &tm);
    buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
               tm.tm_sec, (int)(us % 1000000));
}

static void put_value(struct buf *b, const char *v) {
    bool plain = *v != 0;
    for (const char *p = v; *p != 0; p++)
        if (*p <= ' ' || *p == '"' || *p == '=' || *p == '\\' || (unsigned char)*p == 0x7F) plain = false;
    if (plain) {
        buf_puts(b, v);
        return;
    }
    buf_put_u8(b, '"');
    for (const char *p = v; *p != 0; p++) {
        if (*p == '"' || *p == '\\') buf_printf(b, "\\%c", *p);
        else if (*p == '\n') buf_puts(b, "\\n");
        else if ((unsigned char)*p < ' ' || (unsigned char)*p == 0x7F) buf_printf(b, "\\x%02x", (unsigned char)*p);
        else buf_put_u8(b, (uint8_t)*p);
    }
    buf_put_u8(b, '"');
}

void log_event(enum log_level level, const char *room, const char *msg, ...) {
    if (!log_enabled(level)) return;
    struct buf b;
    buf_init(&b, 16384);
    put_time(&b);
    buf_printf(&b, " %-5s %s ", level_names[level], room);
    put_value(&b, msg);
    va_list ap;
    va_start(ap, msg);
    for (const char *key; (key = va_arg(ap, const char *)) != NULL;) {
        const char *value = va_arg(ap, const char *);
        buf_printf(&b, " %s=", key);
        put_value(&b, value == NULL ? "" : value);
    }
    va_end(ap);
    b.failed = false; // a line that is too long is cut, not lost
    if (b.n == b.max) b.n--;
    buf_put_u8(&b, '\n');
    sink(sink_arg, level, buf_str(&b));
    buf_fini(&b);
}

static char *ring_slot(void) {
    static _Thread_local char ring[8][256];
    static _Thread_local unsigned next;
    return ring[next++ % 8];
}

const char *log_i64(int64_t v) {
    char *p = ring_slot();
    snprintf(p, 256, "%" PRId64, v);
    return p;
}

const char *log_str(struct str s) {
    char *p = ring_slot();
    size_t n = s.n < 255 ? s.n : 255;
    if (n > 0) memcpy(p, s.p, n);
    p[n] = 0;
    return p;
}
