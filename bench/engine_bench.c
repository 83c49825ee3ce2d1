// SPDX-License-Identifier: Apache-2.0
// The engine's figures: latency of a small statement, rows out of a scan, a topic read as a table, a topic copied into a Delta table.
// Usage: engine_bench [events] (default 1,000,000). CPU times are of all threads.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ingest/ingest.h"
#include "log/batch.h"
#include "schema/avro.h"
#include "unit/engine_fixture.h"

static const char schema_text[] =
    "{\"type\":\"record\",\"name\":\"flight\",\"fields\":["
    "{\"name\":\"date\",\"type\":{\"type\":\"long\",\"logicalType\":\"local-timestamp-micros\"}},"
    "{\"name\":\"delay\",\"type\":\"long\"},{\"name\":\"distance\",\"type\":\"long\"},{\"name\":\"origin\",\"type\":\"string\"},"
    "{\"name\":\"destination\",\"type\":\"string\"}]}";

struct watch {
    int64_t wall, cpu;
};
static struct watch now(void) { return (struct watch){sys_mono_us(sys_real()), sys_cpu_us()}; }
static void report(const char *what, struct watch from, double n, const char *unit) {
    struct watch to = now();
    double wall = (double)(to.wall - from.wall), cpu = (double)(to.cpu - from.cpu);
    printf("%-34s %9.1f ms wall %9.1f ms CPU  %12.0f %s/s wall %12.0f per CPU second  peak RSS %lld MB\n", what, wall / 1e3, cpu / 1e3,
           n / wall * 1e6, unit, n / cpu * 1e6, (long long)(sys_peak_rss_bytes() >> 20));
}

static void put_varlong(struct buf *b, int64_t v) {
    uint64_t u = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    for (; u >= 128; u >>= 7) buf_put_u8(b, (uint8_t)(u | 128));
    buf_put_u8(b, (uint8_t)u);
}

static void put_text(struct buf *b, const char *s) {
    put_varlong(b, (int64_t)strlen(s));
    buf_puts(b, s);
}

static void put_flight(struct buf *b, uint64_t i) {
    static const char *const airports[] = {"ATL", "ORD", "DFW", "LAX", "DEN", "SFO", "JFK", "SEA",
                                           "MIA", "BOS", "PHX", "IAH", "MSP", "DTW", "CLT", "LAS"};
    uint64_t h = i * 0x9E3779B97F4A7C15ull;
    buf_clear(b);
    buf_put_u8(b, 0);
    buf_put_be32(b, 1);
    put_varlong(b, 978307200000000 + (int64_t)i * 5000000);
    put_varlong(b, (int64_t)(h >> 50 & 127) - 20);
    put_varlong(b, (int64_t)(h >> 40 & 2047) + 100);
    put_text(b, airports[h >> 60]);
    put_text(b, airports[h >> 56 & 15]);
}

static void produce(struct engine_fixture *f, size_t n) {
    struct buf out, value;
    buf_init(&out, 0);
    buf_init(&value, 0);
    for (size_t i = 0; i < n;) {
        struct batch_builder bb;
        buf_clear(&out);
        int64_t ms = 978307200000 + (int64_t)i;
        batch_begin(&bb, &out, ms);
        for (size_t j = 0; j < 5000 && i < n; j++, i++) {
            put_flight(&value, i);
            batch_add(&bb, ms, STR("ORD"), false, buf_str(&value), false, NULL, 0);
        }
        batch_end(&bb);
        struct broker_produce p = fixture_produce(f->broker, "flights", (int32_t)(i / 5000 % 6), buf_str(&out), false);
        if (p.kafka_error != 0) fail_msg("%s", p.message);
    }
    buf_fini(&out);
    buf_fini(&value);
}

static void small_statements(struct engine_fixture *f) {
    struct watch w = now();
    for (int i = 0; i < 2000; i++) run_in(f->s, "select 1");
    report("select 1, 2,000 times", w, 2000, "statements");
}

int main(int argc, char **argv) {
    void *state = NULL;
    int64_t n = 1000000;
    if (argc > 1) str_to_i64(str_c(argv[1]), &n);
    if (engine_fixture_setup(&state) != 0) return 1;
    struct engine_fixture *f = state;
    ingest_register(f->engine);
    f->registry.schemas[0].subject = "flights-value";
    f->registry.schemas[0].text = schema_text;
    f->registry.n = 1;
    small_statements(f);
    struct watch w = now();
    run_in(f->s, "select range as a, 'v' || range as b, range / 2 as c from range(3000000)");
    report("3 M rows x 3 columns out", w, 3e6, "rows");
    broker_topic_create(f->broker->broker, "flights", 6, NULL, 0, false, NULL, NULL, NULL);
    w = now();
    produce(f, (size_t)n);
    report("produce", w, (double)n, "events");
    w = now();
    run_in(f->s, "select count(*), max(delay) from topics.flights");
    report("topic: count, max(delay)", w, (double)n, "events");
    w = now();
    run_in(f->s, "select max(date), max(delay), max(distance), max(origin), max(destination) from topics.flights");
    report("topic: max of all five", w, (double)n, "events");
    run_in(f->s, "create schema bronze");
    w = now();
    run_in(f->s, "copy into bronze.flights from topic flights");
    report("copy into bronze.flights", w, (double)n, "events");
    w = now();
    run_in(f->s, "create table bronze.copy as select * from bronze.flights");
    report("create table as select *", w, (double)n, "rows");
    w = now();
    run_in(f->s, "select origin, avg(delay), median(delay) from bronze.flights group by origin");
    report("group by origin", w, (double)n, "rows");
    return engine_fixture_teardown(&state);
}
