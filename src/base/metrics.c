// SPDX-License-Identifier: Apache-2.0
// Metric cells: per metric a bounded list of (label value, atomic numbers). Look-up takes a spin flag only when a new
// label value appears; readers walk an append-only list.
#include "base/metrics.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"

enum { BUCKETS = 13 };
static const int64_t bucket_us[BUCKETS] = {100,    250,    500,     1000,    2500,     5000,    10000,
                                           25000, 100000, 1000000, 10000000, 100000000, INT64_MAX};

struct cell {
    struct cell *next;
    char *label;
    _Atomic int64_t value; // counter, gauge, or the histogram's count
    _Atomic int64_t sum_us;
    _Atomic int64_t buckets[BUCKETS];
};

struct metric {
    enum metric_kind kind;
    const char *name, *label, *help;
    _Atomic(struct cell *) cells;
    atomic_flag adding;
    unsigned n;
};

static struct metric metrics[METRIC_COUNT] = {
#define METRIC(id, kind_, name_, label_, help_) \
    [M_##id] = {.kind = kind_, .name = name_, .label = label_, .help = help_, .adding = ATOMIC_FLAG_INIT},
#include "base/metrics.def"
#undef METRIC
};

static struct cell *cell_find(struct cell *c, const char *label) {
    while (c != NULL && strcmp(c->label, label) != 0) c = c->next;
    return c;
}

static struct cell *cell_of(struct metric *m, const char *label) {
    if (label == NULL) label = "";
    struct cell *c = cell_find(atomic_load_explicit(&m->cells, memory_order_acquire), label);
    if (c != NULL) return c;
    while (atomic_flag_test_and_set_explicit(&m->adding, memory_order_acquire)) {}
    if (m->n >= METRICS_LABELS_MAX) label = "other";
    c = cell_find(atomic_load(&m->cells), label);
    if (c == NULL) {
        c = MEM_NEW(struct cell);
        c->label = mem_strdup(label);
        c->next = atomic_load(&m->cells);
        atomic_store_explicit(&m->cells, c, memory_order_release);
        m->n++;
    }
    atomic_flag_clear_explicit(&m->adding, memory_order_release);
    return c;
}

void metric_add(enum metric_id id, const char *label, int64_t n) {
    atomic_fetch_add_explicit(&cell_of(&metrics[id], label)->value, n, memory_order_relaxed);
}

void metric_set(enum metric_id id, const char *label, int64_t v) {
    atomic_store_explicit(&cell_of(&metrics[id], label)->value, v, memory_order_relaxed);
}

void metric_observe_us(enum metric_id id, const char *label, int64_t us) {
    struct cell *c = cell_of(&metrics[id], label);
    int i = 0;
    while (us > bucket_us[i]) i++;
    atomic_fetch_add_explicit(&c->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->sum_us, us, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->value, 1, memory_order_relaxed);
}

int64_t metric_get(enum metric_id id, const char *label) {
    return atomic_load_explicit(&cell_of(&metrics[id], label)->value, memory_order_relaxed);
}

static void put_label(struct buf *out, const struct metric *m, const struct cell *c, const char *le) {
    if (m->label == NULL && le == NULL) return;
    buf_put_u8(out, '{');
    if (m->label != NULL) {
        buf_printf(out, "%s=\"", m->label);
        for (const char *p = c->label; *p != 0; p++) {
            if (*p == '"' || *p == '\\') buf_printf(out, "\\%c", *p);
            else if (*p == '\n') buf_puts(out, "\\n");
            else buf_put_u8(out, (uint8_t)*p);
        }
        buf_puts(out, le == NULL ? "\"" : "\",");
    }
    if (le != NULL) buf_printf(out, "le=\"%s\"", le);
    buf_put_u8(out, '}');
}

static void render_histogram(struct buf *out, const struct metric *m, struct cell *c) {
    int64_t cumulative = 0;
    for (int i = 0; i < BUCKETS; i++) {
        char le[32];
        struct buf b = {.p = NULL, .max = sizeof le};
        cumulative += atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
        if (i == BUCKETS - 1) buf_puts(&b, "+Inf");
        else buf_printf(&b, "%g", (double)bucket_us[i] / 1e6);
        buf_printf(out, "%s_bucket", m->name);
        put_label(out, m, c, buf_cstr(&b));
        buf_printf(out, " %" PRId64 "\n", cumulative);
        buf_fini(&b);
    }
    buf_printf(out, "%s_sum", m->name);
    put_label(out, m, c, NULL);
    buf_printf(out, " %.6f\n%s_count", (double)atomic_load(&c->sum_us) / 1e6, m->name);
    put_label(out, m, c, NULL);
    buf_printf(out, " %" PRId64 "\n", cumulative);
}

// The same numbers under the names that dashboards for Kafka know (those of Prometheus' JMX exporter).
static const struct {
    enum metric_id id;
    const char *name, *label;
} aliases[] = {
    {M_LOG_BYTES_IN, "kafka_server_brokertopicmetrics_bytesin_total", "topic"},
    {M_LOG_RECORDS_IN, "kafka_server_brokertopicmetrics_messagesin_total", "topic"},
    {M_LOG_BYTES_OUT, "kafka_server_brokertopicmetrics_bytesout_total", "topic"},
    {M_KAFKA_LATENCY, "kafka_network_requestmetrics_totaltimems", "request"},
    {M_LOG_SYNC_SECONDS, "kafka_log_logflushstats_logflushrateandtimems", NULL},
};

// Milliseconds below which that part of the observations lies: by straight lines within a bucket.
static double quantile_ms(struct cell *c, int64_t count, double part) {
    double rank = part * (double)count, below = 0;
    for (int i = 0; i < BUCKETS; i++) {
        double n = (double)atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
        if (n > 0 && below + n >= rank) {
            double low = i == 0 ? 0 : (double)bucket_us[i - 1], high = i == BUCKETS - 1 ? low : (double)bucket_us[i];
            return (low + (high - low) * (rank - below) / n) / 1000;
        }
        below += n;
    }
    return 0;
}

static void render_quantiles(struct buf *out, struct metric *alias, struct cell *c) {
    static const double parts[] = {0.5, 0.75, 0.95, 0.99, 0.999};
    int64_t count = 0;
    for (int i = 0; i < BUCKETS; i++) count += atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (alias->label != NULL) buf_printf(out, "%s{%s=\"%s\",quantile=\"%g\"}", alias->name, alias->label, c->label, parts[i]);
        else buf_printf(out, "%s{quantile=\"%g\"}", alias->name, parts[i]);
        buf_printf(out, " %.3f\n", quantile_ms(c, count, parts[i]));
    }
    buf_printf(out, "%s_count", alias->name);
    put_label(out, alias, c, NULL);
    buf_printf(out, " %" PRId64 "\n", count);
}

static void render_aliases(struct buf *out) {
    static const char *const kinds[] = {"counter", "gauge", "summary"};
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        struct metric *m = &metrics[aliases[i].id], alias = {.name = aliases[i].name, .label = aliases[i].label};
        struct cell *c = atomic_load_explicit(&m->cells, memory_order_acquire);
        if (c != NULL) buf_printf(out, "# TYPE %s %s\n", alias.name, kinds[m->kind]);
        for (; c != NULL; c = c->next) {
            if (m->kind == METRIC_HISTOGRAM) {
                render_quantiles(out, &alias, c);
                continue;
            }
            buf_puts(out, alias.name);
            put_label(out, &alias, c, NULL);
            buf_printf(out, " %" PRId64 "\n", atomic_load_explicit(&c->value, memory_order_relaxed));
        }
    }
}

void metrics_render(struct buf *out) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (int i = 0; i < METRIC_COUNT; i++) {
        struct metric *m = &metrics[i];
        if (m->label == NULL && m->kind != METRIC_HISTOGRAM) cell_of(m, NULL); // shown from the start, as 0
        struct cell *c = atomic_load_explicit(&m->cells, memory_order_acquire);
        if (c == NULL) continue;
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, kinds[m->kind]);
        for (; c != NULL; c = c->next) {
            if (m->kind == METRIC_HISTOGRAM) {
                render_histogram(out, m, c);
                continue;
            }
            buf_puts(out, m->name);
            put_label(out, m, c, NULL);
            buf_printf(out, " %" PRId64 "\n", atomic_load_explicit(&c->value, memory_order_relaxed));
        }
    }
    render_aliases(out);
}

void metrics_reset(void) {
    for (int i = 0; i < METRIC_COUNT; i++)
        for (struct cell *c = atomic_load(&metrics[i].cells); c != NULL; c = c->next) {
            atomic_store(&c->value, 0);
            atomic_store(&c->sum_us, 0);
            for (int k = 0; k < BUCKETS; k++) atomic_store(&c->buckets[k], 0);
        }
}
