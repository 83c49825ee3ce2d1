// SPDX-License-Identifier: Apache-2.0
// Measures how fast a broker hands out one partition to a client that does next to nothing: Fetch requests one after the other over one
// connection, the records' batches counted by their headers and not opened. What librdkafka takes to parse records is not in it.
//
//   fetch_bench --brokers=HOST:PORT --topic=NAME [--partition=0] [--max-bytes=1048576] [--count=RECORDS] [--rounds=1] [--pid=BROKER]
//
// Reads from offset 0 until --count records were there, --rounds times, and prints one JSON line. A gap or a wrong count fails the run.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "../bench/bench.h"

enum { FETCH = 1, VERSION = 4, ANSWER_MAX = 64 << 20, BATCH_HEADER = 61 };

struct client {
    int fd;
    uint8_t *answer;
};

static void put(uint8_t **p, uint64_t v, int bytes) {
    while (bytes-- > 0) *(*p)++ = (uint8_t)(v >> (8 * bytes));
}

static void put_text(uint8_t **p, const char *s) {
    put(p, strlen(s), 2);
    memcpy(*p, s, strlen(s));
    *p += strlen(s);
}

static uint64_t get(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | p[i];
    return v;
}

static int dial(const char *brokers) {
    char host[64] = {0};
    const char *colon = strrchr(brokers, ':');
    if (colon == NULL || (size_t)(colon - brokers) >= sizeof host) bench_die("--brokers wants one HOST:PORT");
    memcpy(host, brokers, (size_t)(colon - brokers));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        bench_die("cannot connect to %s", brokers);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void receive(struct client *c, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t got = recv(c->fd, c->answer + at, n - at, MSG_WAITALL);
        if (got <= 0) bench_die("the broker closed the connection");
        at += (size_t)got;
    }
}

// One Fetch; the batches of the answer, and their bytes in *n.
static const uint8_t *fetch(struct client *c, const char *topic, int64_t partition, int64_t offset, int64_t max_bytes, size_t *n) {
    uint8_t request[512], *p = request + 4;
    if (strlen(topic) > 300) bench_die("the topic's name is too long");
    put(&p, FETCH, 2), put(&p, VERSION, 2), put(&p, 1, 4), put_text(&p, "fetch_bench");
    put(&p, UINT32_MAX, 4), put(&p, 500, 4), put(&p, 1, 4), put(&p, ANSWER_MAX - 4096, 4), put(&p, 0, 1); // no replica, 0.5 s, 1 byte, any, uncommitted
    put(&p, 1, 4), put_text(&p, topic), put(&p, 1, 4), put(&p, (uint64_t)partition, 4), put(&p, (uint64_t)offset, 8), put(&p, (uint64_t)max_bytes, 4);
    uint8_t *size = request;
    put(&size, (uint64_t)(p - request - 4), 4);
    if (send(c->fd, request, (size_t)(p - request), MSG_NOSIGNAL) != p - request) bench_die("the broker takes no request");
    receive(c, 4);
    size_t all = get(c->answer, 4);
    if (all > ANSWER_MAX) bench_die("an answer of %zu bytes", all);
    receive(c, all);
    size_t at = 4 + 4 + 4 + 2 + strlen(topic) + 4 + 4; // correlation, throttle, topics, name, partitions, partition
    if (all < at + 2 + 16 + 8) bench_die("a short answer");
    if (get(c->answer + at, 2) != 0) bench_die("error %d", (int)get(c->answer + at, 2));
    at += 2 + 16; // high watermark, last stable offset
    int32_t aborted = (int32_t)get(c->answer + at, 4);
    at += 4 + (aborted > 0 ? (size_t)aborted * 16 : 0);
    *n = all < at + 4 ? 0 : (size_t)get(c->answer + at, 4);
    if (*n > all - at - 4) bench_die("a short answer");
    return c->answer + at + 4;
}

static int64_t round_of(struct client *c, const char *topic, int64_t partition, int64_t count, int64_t max_bytes, int64_t *bytes) {
    int64_t requests = 0, next = 0, records = 0;
    for (; records < count; requests++) {
        size_t n = 0;
        const uint8_t *p = fetch(c, topic, partition, next, max_bytes, &n);
        for (size_t at = 0; at + BATCH_HEADER <= n;) {
            int64_t base = (int64_t)get(p + at, 8);
            size_t size = 12 + (size_t)get(p + at + 8, 4);
            if (at + size > n) break; // Kafka may cut the last one
            if (base != next) bench_die("offset %" PRId64 " where %" PRId64 " was due", base, next);
            next = base + (int64_t)get(p + at + 23, 4) + 1;
            records += (int64_t)get(p + at + 57, 4);
            *bytes += (int64_t)size;
            at += size;
        }
    }
    if (records != count) bench_die("%" PRId64 " records of %" PRId64, records, count);
    return requests;
}

int main(int argc, char **argv) {
    struct bench_args a = {argc, argv};
    const char *topic = bench_text(&a, "topic", "bench");
    int64_t count = bench_number(&a, "count", 1000000), rounds = bench_number(&a, "rounds", 1), pid = bench_number(&a, "pid", 0);
    int64_t max_bytes = bench_number(&a, "max-bytes", 1 << 20), requests = 0, bytes = 0;
    struct client c = {dial(bench_text(&a, "brokers", "127.0.0.1:9092")), bench_alloc(ANSWER_MAX)};
    double client = bench_cpu_self(), broker = bench_cpu_of(pid);
    int64_t start = bench_ns();
    for (int64_t i = 0; i < rounds; i++) requests += round_of(&c, topic, bench_number(&a, "partition", 0), count, max_bytes, &bytes);
    double s = (double)(bench_ns() - start) / 1e9;
    printf("{\"mode\":\"fetch\",\"count\":%" PRId64 ",\"rounds\":%" PRId64 ",\"requests\":%" PRId64 ",\"seconds\":%.3f,\"mb_per_s\":%.1f,\"client_cpu_s\":%.2f",
           count, rounds, requests, s, (double)bytes / 1e6 / s, bench_cpu_self() - client);
    if (pid > 0) printf(",\"broker_cpu_s\":%.2f,\"broker_ms_per_gb\":%.1f", bench_cpu_of(pid) - broker, (bench_cpu_of(pid) - broker) * 1e12 / (double)bytes);
    puts("}");
    return 0;
}
