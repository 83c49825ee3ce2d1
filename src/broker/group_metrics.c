// SPDX-License-Identifier: Apache-2.0
// Groups in /metrics: lag and committed offset of each group and partition, groups by type and state, members. Under the names that dashboards for
// Kafka's exporters ask for. Nothing is counted while nobody asks: the text is made on the coordinator's loop when /metrics is read.
#include <inttypes.h>

#include "broker/group_records.h"
#include "loop/metric_sources.h"

enum { LINES_MAX = 100000 }; // partitions told of; the sums tell of all

struct asking {
    struct coordinator *coordinator;
    struct buf *out;
    struct loop_event event;
};

static void put_text(struct buf *out, const char *s) { // a label's value
    for (; *s != '\0'; s++) {
        if (*s == '\\' || *s == '"') buf_put_u8(out, '\\');
        if (*s == '\n') buf_puts(out, "\\n");
        else buf_put_u8(out, (uint8_t)*s);
    }
}

static void put_line(struct buf *out, const char *name, const char *group, const struct committed *o, int64_t value) {
    buf_printf(out, "%s{consumergroup=\"", name);
    put_text(out, group);
    if (o != NULL) buf_printf(out, "\",topic=\"%s\",partition=\"%d", o->topic, o->partition); // a topic's name needs no escapes
    buf_printf(out, "\"} %" PRId64 "\n", value);
}

static int64_t lag_of(struct coordinator *c, const struct committed *o) { // -1 = the partition is gone
    struct broker_offsets at;
    if (broker_offsets(c->broker, o->topic, o->partition, &at, NULL) != ERR_OK) return -1;
    return at.high_watermark > o->offset ? at.high_watermark - o->offset : 0;
}

static void put_head(struct buf *out, const char *name, const char *help) { buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name); }

static void put_partitions(struct coordinator *c, struct buf *lags, struct buf *offsets, struct buf *sums) {
    struct map_entry *e, *oe;
    size_t lines = 0;
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) {
        const struct group *g = e->value;
        int64_t sum = 0;
        for (size_t ot = 0; (oe = map_next(&g->offsets, &ot)) != NULL;) {
            const struct committed *o = oe->value;
            int64_t lag = lag_of(c, o);
            if (lag < 0) continue;
            sum += lag;
            if (++lines > LINES_MAX) continue;
            put_line(lags, "kafka_consumergroup_lag", g->id, o, lag);
            put_line(offsets, "kafka_consumergroup_current_offset", g->id, o, o->offset);
        }
        if (g->offsets.n > 0) put_line(sums, "kafka_consumergroup_lag_sum", g->id, NULL, sum);
    }
}

struct count {
    const char *type, *state;
    int64_t groups;
};

static void put_counts(struct coordinator *c, struct buf *out) {
    VEC(struct count) counts = {0};
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&c->groups, &it)) != NULL;) {
        const struct group *g = e->value;
        const char *state = g->ops->state_name(g);
        size_t i = 0;
        while (i < counts.n && (counts.p[i].type != g->ops->name || strcmp(counts.p[i].state, state) != 0)) i++;
        if (i == counts.n) vec_add(&counts, ((struct count){g->ops->name, state, 0}));
        counts.p[i].groups++;
    }
    put_head(out, "millrace_groups", "groups by type and state");
    for (size_t i = 0; i < counts.n; i++)
        buf_printf(out, "millrace_groups{type=\"%s\",state=\"%s\"} %" PRId64 "\n", counts.p[i].type, counts.p[i].state, counts.p[i].groups);
    vec_fini(&counts);
}

static void render_on_loop(void *arg) {
    struct asking *x = arg;
    struct coordinator *c = x->coordinator;
    struct buf offsets = {0}, sums = {0};
    put_counts(c, x->out);
    put_head(x->out, "kafka_consumergroup_lag", "records between the committed offset and the end of the partition");
    put_partitions(c, x->out, &offsets, &sums);
    put_head(x->out, "kafka_consumergroup_current_offset", "committed offset");
    buf_put_str(x->out, buf_str(&offsets));
    put_head(x->out, "kafka_consumergroup_lag_sum", "lag of a group over its partitions");
    buf_put_str(x->out, buf_str(&sums));
    buf_fini(&offsets);
    buf_fini(&sums);
    loop_event_set(&x->event);
}

static void render(void *arg, struct buf *out) {
    struct asking x = {.coordinator = arg, .out = out};
    if (loop_current() != NULL) return; // it might wait for itself
    loop_event_init(&x.event);
    loop_post(x.coordinator->loop, render_on_loop, &x);
    loop_event_wait(&x.event);
    loop_event_fini(&x.event);
}

void group_metrics_open(struct coordinator *c) { (void)metric_sources_add(render, c); }
void group_metrics_close(struct coordinator *c) { metric_sources_remove(render, c); }
