// SPDX-License-Identifier: Apache-2.0
// Latency of one SQL statement through the PostgreSQL door, by libpq: simple or prepared, one connection.
//
//   pg_bench --url=postgresql://… [--sql='select 1'] [--count=2000] [--prepared=0] [--pid=SERVER]
//
// One JSON line. One thread.
#include <libpq-fe.h>

#include "../bench/bench.h"

static void check(PGconn *c, PGresult *res) {
    ExecStatusType status = PQresultStatus(res);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) bench_die("%s", PQerrorMessage(c));
    PQclear(res);
}

int main(int argc, char **argv) {
    struct bench_args args = {argc, argv};
    const char *sql = bench_text(&args, "sql", "select 1");
    int64_t count = bench_number(&args, "count", 2000), pid = bench_number(&args, "pid", 0);
    bool prepared = bench_number(&args, "prepared", 0) != 0;
    int64_t from = bench_ns();
    PGconn *c = PQconnectdb(bench_text(&args, "url", "postgresql://millrace@127.0.0.1:5439/millrace"));
    if (PQstatus(c) != CONNECTION_OK) bench_die("%s", PQerrorMessage(c));
    check(c, PQexec(c, sql)); // the session is there when its first statement is done
    double connect_us = (double)(bench_ns() - from) / 1e3;
    if (prepared) check(c, PQprepare(c, "s", sql, 0, NULL));
    struct bench_samples s;
    bench_samples_init(&s, (size_t)count);
    double client = bench_cpu_self(), server = bench_cpu_of(pid);
    int64_t start = bench_ns();
    for (int64_t i = 0; i < count; i++) {
        from = bench_ns();
        check(c, prepared ? PQexecPrepared(c, "s", 0, NULL, NULL, NULL, 0) : PQexec(c, sql));
        bench_sample(&s, bench_ns() - from);
    }
    double seconds = (double)(bench_ns() - start) / 1e9;
    printf("{\"mode\":\"sql\",\"count\":%" PRId64 ",\"prepared\":%d,\"seconds\":%.3f,\"per_s\":%.0f,\"connect_us\":%.0f,\"client_cpu_s\":%.2f", count,
           prepared, seconds, (double)count / seconds, connect_us, bench_cpu_self() - client);
    if (pid > 0) printf(",\"server_cpu_s\":%.2f", bench_cpu_of(pid) - server);
    bench_print_samples("query_us", &s);
    puts("}");
    PQfinish(c);
    return 0;
}
