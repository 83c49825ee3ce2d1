// SPDX-License-Identifier: Apache-2.0
// Measures a broker that speaks Kafka's protocol, through librdkafka: throughput of produce and consume, latency at a fixed rate, transactions,
// the first record of a broker that starts.
//
//   kafka_bench produce|consume|latency|txn|first|drop --brokers=HOST:PORT --topic=NAME [--count=N] [--size=BYTES] [--partitions=N] [--codec=none]
//               [--linger=MS] [--in-flight=N] [--rate=N] [--seconds=N] [--warmup=N] [--records=N] [--flush-messages=N] [--pid=BROKER]
//
// first waits until something listens there, sends one record and says at which time of the monotonic clock each was so; --flush-messages is the
// config of that name of a topic that is made.
// txn commits --count transactions of --records records each (10), one after the other, and times each from begin to committed; the first tenth
// is not counted. One run prints one JSON line. acks=all always. A record begins with its number and the time it was due (8 bytes each); consume counts
// and adds the numbers, so that a lost or doubled record fails the run.
// Threads: the main thread sends; latency mode has one thread for delivery reports and one that consumes, each with its own samples.
#include <arpa/inet.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "../bench/bench.h"

enum { HEAD = 16, PAYLOAD_MAX = 1 << 20, WAIT_MS = 60000, BATCH = 4096 };

struct run {
    struct bench_args args;
    const char *mode, *brokers, *topic;
    int64_t count, size, partitions, rate, pid;
    char *payload; // random hexadecimal text, size bytes
};

struct latency {
    rd_kafka_t *producer, *consumer;
    struct bench_samples acks, arrivals;
    int64_t skip, total; // records that are not counted, all records
    int64_t start;       // when the first one was due
    int64_t read;        // the consuming thread's
    atomic_bool stop;
};

static _Atomic int64_t delivered, failed;

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) bench_die("%s", why);
}

static void set_number(rd_kafka_conf_t *conf, const char *name, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    set(conf, name, text);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
    (void)rk;
    struct latency *lat = opaque;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) atomic_fetch_add(&failed, 1);
    atomic_fetch_add(&delivered, 1);
    if (lat == NULL) return;
    int64_t head[2];
    memcpy(head, m->payload, HEAD);
    if (head[0] >= lat->skip) bench_sample(&lat->acks, bench_ns() - head[1]);
}

static rd_kafka_t *open_client(rd_kafka_type_t type, rd_kafka_conf_t *conf, const struct run *r) {
    char why[256];
    set(conf, "bootstrap.servers", r->brokers);
    set(conf, "client.id", "kafka_bench");
    set(conf, "broker.address.family", "v4");
    set(conf, "topic.metadata.refresh.fast.interval.ms", "10");
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);
    if (rk == NULL) bench_die("%s", why);
    return rk;
}

static rd_kafka_t *open_producer(const struct run *r, int64_t linger_ms, struct latency *lat, const char *transactional_id) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (transactional_id != NULL) set(conf, "transactional.id", transactional_id);
    set(conf, "acks", "all");
    set(conf, "compression.codec", bench_text(&r->args, "codec", "none"));
    set(conf, "batch.num.messages", "100000");
    set(conf, "queue.buffering.max.messages", "500000");
    set(conf, "queue.buffering.max.kbytes", "1048576");
    set_number(conf, "linger.ms", bench_number(&r->args, "linger", linger_ms));
    set_number(conf, "max.in.flight.requests.per.connection", bench_number(&r->args, "in-flight", 5));
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, lat);
    return open_client(RD_KAFKA_PRODUCER, conf, r);
}

static rd_kafka_t *open_consumer(const struct run *r) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "group.id", "kafka_bench"); // the library wants one; no group is joined
    set(conf, "enable.auto.commit", "false");
    set(conf, "queued.min.messages", "5000000"); // the default makes the client pause between fetches
    rd_kafka_t *rk = open_client(RD_KAFKA_CONSUMER, conf, r);
    rd_kafka_poll_set_consumer(rk);
    return rk;
}

// ---- topics -----------------------------------------------------------------------------------------------------------

static rd_kafka_resp_err_t admin_result(rd_kafka_queue_t *queue) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (event == NULL) bench_die("no answer from the broker");
    size_t n = 0;
    const rd_kafka_topic_result_t **results = NULL;
    const rd_kafka_CreateTopics_result_t *created = rd_kafka_event_CreateTopics_result(event);
    const rd_kafka_DeleteTopics_result_t *deleted = rd_kafka_event_DeleteTopics_result(event);
    if (created != NULL) results = rd_kafka_CreateTopics_result_topics(created, &n);
    else if (deleted != NULL) results = rd_kafka_DeleteTopics_result_topics(deleted, &n);
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) bench_die("%s", rd_kafka_event_error_string(event));
    rd_kafka_resp_err_t err = n == 1 ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR__FAIL;
    rd_kafka_event_destroy(event);
    return err;
}

static void make_topic(rd_kafka_t *rk, const struct run *r) {
    char why[256];
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(r->topic, (int)r->partitions, 1, why, sizeof why);
    if (topic == NULL) bench_die("%s", why);
    const char *flush = bench_text(&r->args, "flush-messages", NULL);
    if (flush != NULL && rd_kafka_NewTopic_set_config(topic, "flush.messages", flush) != RD_KAFKA_RESP_ERR_NO_ERROR) bench_die("flush.messages");
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, &topic, 1, NULL, queue);
    rd_kafka_resp_err_t err = admin_result(queue);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(topic);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR && err != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) bench_die("%s: %s", r->topic, rd_kafka_err2str(err));
}

static void drop_topic(const struct run *r) {
    rd_kafka_t *rk = open_producer(r, 0, NULL, NULL);
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(r->topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopics(rk, &topic, 1, NULL, queue);
    (void)admin_result(queue); // it may not be there
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy(topic);
    rd_kafka_destroy(rk);
}

// Waits until the topic can be written, so that the first record's delay is the broker's and not the look-up's.
static rd_kafka_topic_t *ready_topic(rd_kafka_t *rk, const struct run *r) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, r->topic, NULL);
    for (int64_t end = bench_ns() + (int64_t)WAIT_MS * 1000000;;) {
        const struct rd_kafka_metadata *md = NULL;
        bool ok = rd_kafka_metadata(rk, 0, topic, &md, WAIT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR && md->topic_cnt == 1 &&
                  md->topics[0].partition_cnt >= (int)r->partitions && md->topics[0].partitions[0].leader >= 0;
        if (md != NULL) rd_kafka_metadata_destroy(md);
        if (ok) return topic;
        if (bench_ns() > end) bench_die("topic %s does not become ready", r->topic);
        bench_sleep_until(bench_ns() + 5000000);
    }
}

// ---- produce ------------------------------------------------------------------------------------------------------------

static void send_record(rd_kafka_t *rk, rd_kafka_topic_t *topic, struct run *r, int64_t number, int64_t due) {
    int64_t head[2] = {number, due};
    memcpy(r->payload, head, HEAD);
    while (rd_kafka_produce(topic, (int32_t)(number % r->partitions), RD_KAFKA_MSG_F_COPY, r->payload, (size_t)r->size, NULL, 0, NULL) != 0) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) bench_die("produce: %s", rd_kafka_err2str(rd_kafka_last_error()));
        rd_kafka_poll(rk, 1);
    }
}

static void print_cpu(const struct run *r, double client, double broker) {
    printf(",\"client_cpu_s\":%.2f", bench_cpu_self() - client);
    if (r->pid > 0) printf(",\"broker_cpu_s\":%.2f", bench_cpu_of(r->pid) - broker);
}

static void print_rates(const struct run *r, int64_t bytes, int64_t ns) {
    double s = (double)ns / 1e9;
    printf("{\"mode\":\"%s\",\"count\":%" PRId64 ",\"seconds\":%.3f,\"msg_per_s\":%.0f,\"mb_per_s\":%.1f", r->mode, r->count, s,
           (double)r->count / s, (double)bytes / 1e6 / s);
}

static void produce(struct run *r) {
    rd_kafka_t *rk = open_producer(r, 5, NULL, NULL);
    make_topic(rk, r);
    rd_kafka_topic_t *topic = ready_topic(rk, r);
    double client = bench_cpu_self(), broker = bench_cpu_of(r->pid);
    int64_t start = bench_ns();
    for (int64_t i = 0; i < r->count; i++) {
        send_record(rk, topic, r, i, start);
        if ((i & 1023) == 0) rd_kafka_poll(rk, 0);
    }
    while (atomic_load(&delivered) < r->count && bench_ns() - start < (int64_t)WAIT_MS * 2000000) rd_kafka_poll(rk, 10);
    int64_t took = bench_ns() - start;
    if (atomic_load(&delivered) < r->count || atomic_load(&failed) > 0)
        bench_die("%" PRId64 " of %" PRId64 " records answered, %" PRId64 " failed", atomic_load(&delivered), r->count, atomic_load(&failed));
    print_rates(r, r->count * r->size, took);
    print_cpu(r, client, broker);
    puts("}");
}

// ---- consume --------------------------------------------------------------------------------------------------------------

static void assign_all(rd_kafka_t *rk, const struct run *r, int64_t offset) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)r->partitions);
    for (int i = 0; i < (int)r->partitions; i++) rd_kafka_topic_partition_list_add(list, r->topic, i)->offset = offset;
    rd_kafka_resp_err_t err = rd_kafka_assign(rk, list);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) bench_die("assign: %s", rd_kafka_err2str(err));
    rd_kafka_topic_partition_list_destroy(list);
}

static int64_t number_of(const rd_kafka_message_t *m) {
    int64_t number;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) bench_die("consume: %s", rd_kafka_message_errstr(m));
    if (m->len < HEAD) bench_die("a record of %zu bytes is not ours", m->len);
    memcpy(&number, m->payload, sizeof number);
    return number;
}

static void consume(struct run *r) {
    static rd_kafka_message_t *batch[BATCH];
    rd_kafka_t *rk = open_consumer(r);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    (void)ready_topic(rk, r);
    double client = bench_cpu_self(), broker = bench_cpu_of(r->pid);
    int64_t start = bench_ns(), got = 0, bytes = 0, sum = 0;
    assign_all(rk, r, RD_KAFKA_OFFSET_BEGINNING);
    while (got < r->count) {
        size_t want = r->count - got < BATCH ? (size_t)(r->count - got) : BATCH; // the call waits for as many as it is asked for
        ssize_t n = rd_kafka_consume_batch_queue(queue, 1000, batch, want);
        if (n < 0 || bench_ns() - start > (int64_t)WAIT_MS * 2000000) bench_die("%" PRId64 " of %" PRId64 " records read", got, r->count);
        for (ssize_t i = 0; i < n; i++) {
            sum += number_of(batch[i]);
            bytes += (int64_t)batch[i]->len;
            rd_kafka_message_destroy(batch[i]);
        }
        got += n;
    }
    int64_t took = bench_ns() - start;
    if (got != r->count || sum != r->count * (r->count - 1) / 2) bench_die("records are missing or doubled");
    print_rates(r, bytes, took);
    print_cpu(r, client, broker);
    puts("}");
}

// ---- latency ---------------------------------------------------------------------------------------------------------------

static void *serve_reports(void *arg) {
    struct latency *lat = arg;
    while (!atomic_load(&lat->stop)) rd_kafka_poll(lat->producer, 100);
    return NULL;
}

static void *serve_arrivals(void *arg) {
    struct latency *lat = arg;
    while (!atomic_load(&lat->stop) && lat->read < lat->total) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(lat->consumer, 100);
        if (m == NULL) continue;
        int64_t now = bench_ns(), number = number_of(m), due;
        memcpy(&due, (const char *)m->payload + 8, sizeof due);
        if (due < lat->start) bench_die("the topic has records of another run");
        if (number >= lat->skip) bench_sample(&lat->arrivals, now - due);
        lat->read++;
        rd_kafka_message_destroy(m);
    }
    return NULL;
}

static void latency(struct run *r) {
    struct latency lat = {0};
    int64_t warm = bench_number(&r->args, "warmup", 2), seconds = bench_number(&r->args, "seconds", 5);
    lat.skip = warm * r->rate;
    lat.total = (warm + seconds) * r->rate;
    bench_samples_init(&lat.acks, (size_t)lat.total);
    bench_samples_init(&lat.arrivals, (size_t)lat.total);
    lat.producer = open_producer(r, 0, &lat, NULL);
    make_topic(lat.producer, r);
    rd_kafka_topic_t *topic = ready_topic(lat.producer, r);
    lat.consumer = open_consumer(r);
    (void)ready_topic(lat.consumer, r);
    assign_all(lat.consumer, r, RD_KAFKA_OFFSET_BEGINNING);
    int64_t start = lat.start = bench_ns();
    pthread_t reports, arrivals;
    if (pthread_create(&reports, NULL, serve_reports, &lat) != 0 || pthread_create(&arrivals, NULL, serve_arrivals, &lat) != 0)
        bench_die("no thread");
    double client = 0, broker = 0;
    for (int64_t i = 0; i < lat.total; i++) {
        int64_t due = start + i * 1000000000 / r->rate;
        if (i == lat.skip) {
            client = bench_cpu_self();
            broker = bench_cpu_of(r->pid);
        }
        if (bench_ns() < due) bench_sleep_until(due);
        send_record(lat.producer, topic, r, i, due);
    }
    for (int64_t end = bench_ns() + (int64_t)WAIT_MS * 1000000; atomic_load(&delivered) < lat.total && bench_ns() < end;)
        bench_sleep_until(bench_ns() + 1000000);
    printf("{\"mode\":\"latency\",\"rate\":%" PRId64 ",\"seconds\":%" PRId64, r->rate, seconds);
    print_cpu(r, client, broker);
    bench_sleep_until(bench_ns() + 200000000); // the last ones arrive
    atomic_store(&lat.stop, true);
    pthread_join(reports, NULL);
    pthread_join(arrivals, NULL);
    if (atomic_load(&failed) > 0 || atomic_load(&delivered) < lat.total || lat.read < lat.total)
        bench_die("%" PRId64 " sent, %" PRId64 " answered, %" PRId64 " failed, %" PRId64 " read", lat.total, atomic_load(&delivered),
                  atomic_load(&failed), lat.read);
    bench_print_samples("ack_us", &lat.acks);
    bench_print_samples("end_to_end_us", &lat.arrivals);
    puts("}");
}

// ---- transactions ----------------------------------------------------------------------------------------------------------

static void must(const char *what, rd_kafka_error_t *error) {
    if (error != NULL) bench_die("%s: %s", what, rd_kafka_error_string(error));
}

static void transactions(struct run *r) {
    int64_t records = bench_number(&r->args, "records", 10), warm = r->count / 10, start = 0, sent = 0;
    double client = 0, broker = 0;
    struct bench_samples commits;
    bench_samples_init(&commits, (size_t)r->count);
    rd_kafka_t *rk = open_producer(r, 0, NULL, r->topic);
    make_topic(rk, r);
    must("init_transactions", rd_kafka_init_transactions(rk, WAIT_MS));
    rd_kafka_topic_t *topic = ready_topic(rk, r);
    for (int64_t i = -warm; i < r->count; i++) {
        int64_t began = bench_ns();
        if (i == 0) {
            start = began;
            client = bench_cpu_self();
            broker = bench_cpu_of(r->pid);
        }
        must("begin_transaction", rd_kafka_begin_transaction(rk));
        for (int64_t k = 0; k < records; k++, sent++) send_record(rk, topic, r, sent, began);
        must("commit_transaction", rd_kafka_commit_transaction(rk, WAIT_MS));
        if (i >= 0) bench_sample(&commits, bench_ns() - began);
    }
    int64_t took = bench_ns() - start;
    rd_kafka_poll(rk, 0);
    if (atomic_load(&delivered) != sent || atomic_load(&failed) > 0)
        bench_die("%" PRId64 " of %" PRId64 " records answered, %" PRId64 " failed", atomic_load(&delivered), sent, atomic_load(&failed));
    double s = (double)took / 1e9;
    printf("{\"mode\":\"txn\",\"count\":%" PRId64 ",\"records\":%" PRId64 ",\"seconds\":%.3f,\"txn_per_s\":%.1f", r->count, records, s,
           (double)r->count / s);
    print_cpu(r, client, broker);
    bench_print_samples("commit_us", &commits);
    puts("}");
}

// ---- a broker that starts ----------------------------------------------------------------------------------------------------

static bool accepts(const char *brokers) {
    char host[64] = {0};
    const char *colon = strrchr(brokers, ':');
    if (colon == NULL || (size_t)(colon - brokers) >= sizeof host) bench_die("--brokers wants one HOST:PORT");
    memcpy(host, brokers, (size_t)(colon - brokers));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) bench_die("%s is no IPv4 address", host);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

static void first(struct run *r) {
    int64_t give_up = bench_ns() + (int64_t)WAIT_MS * 1000000;
    puts("waiting"); // who starts the broker reads this first
    fflush(stdout);
    while (!accepts(r->brokers)) {
        if (bench_ns() > give_up) bench_die("nothing listens on %s", r->brokers);
        bench_sleep_until(bench_ns() + 200000);
    }
    int64_t port = bench_ns();
    rd_kafka_t *rk = open_producer(r, 0, NULL, NULL);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, r->topic, NULL); // made on the way where it is not there
    send_record(rk, topic, r, 0, port);
    while (atomic_load(&delivered) == 0 && bench_ns() < give_up) rd_kafka_poll(rk, 1);
    if (atomic_load(&delivered) == 0 || atomic_load(&failed) > 0) bench_die("the first record was not acknowledged");
    printf("{\"mode\":\"first\",\"port_ns\":%" PRId64 ",\"acknowledged_ns\":%" PRId64 "}\n", port, bench_ns());
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*fn)(struct run *r);
    } modes[] = {{"produce", produce}, {"consume", consume}, {"latency", latency}, {"txn", transactions}, {"first", first}};
    struct run r = {.args = {argc, argv}, .mode = argc > 1 ? argv[1] : ""};
    r.brokers = bench_text(&r.args, "brokers", "127.0.0.1:9092");
    r.topic = bench_text(&r.args, "topic", "bench");
    r.count = bench_number(&r.args, "count", 1000000);
    r.size = bench_number(&r.args, "size", 100);
    r.partitions = bench_number(&r.args, "partitions", 1);
    r.rate = bench_number(&r.args, "rate", 1000);
    r.pid = bench_number(&r.args, "pid", 0);
    if (r.size < HEAD || r.size > PAYLOAD_MAX || r.count < 1 || r.partitions < 1 || r.rate < 1) bench_die("an option is out of range");
    r.payload = bench_alloc((size_t)r.size + 1);
    uint64_t x = 88172645463325252u;
    for (int64_t i = 0; i < r.size; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17; // xorshift
        r.payload[i] = "0123456789abcdef"[x >> 60];
    }
    if (strcmp(r.mode, "drop") == 0) return drop_topic(&r), 0;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(r.mode, modes[i].name) != 0) continue;
        modes[i].fn(&r);
        fflush(stdout);
        _exit(0); // what librdkafka would still tidy up is nobody's time
    }
    bench_die("usage: kafka_bench produce|consume|latency|txn|first|drop --brokers=HOST:PORT --topic=NAME [--name=value]…");
}
