// SPDX-License-Identifier: Apache-2.0
// Broker and Kafka door without the rest of the server, for measuring and debugging the door: kafka_server DIR PORT [LOOPS [CONFIG=VALUE…]]
// Prints the port taken; stops cleanly at SIGTERM or SIGINT.
#include <stdio.h>

#include "base/log.h"
#include "broker/broker.h"
#include "kafka/door.h"

static struct loop_event stop;

static void on_stop(void *arg, int sig) {
    (void)arg, (void)sig;
    loop_event_set(&stop);
}
static void write_log(void *arg, enum log_level level, struct str line) {
    (void)arg, (void)level;
    sys_stderr_write(line);
}
static int64_t now(void *arg) { return sys_now_us(arg); }

int main(int argc, char **argv) {
    struct sys *s = sys_real();
    struct err err = {0};
    int64_t port = 0, n = 1;
    if (argc < 3 || !str_to_i64(str_c(argv[2]), &port) || (argc > 3 && !str_to_i64(str_c(argv[3]), &n)) || n < 1 || n > 16) {
        fprintf(stderr, "usage: kafka_server DIR PORT [LOOPS [CONFIG=VALUE...]]\n");
        return 2;
    }
    log_set_clock(now, s);
    log_set_sink(write_log, NULL);
    loop_event_init(&stop);
    sys_on_stop_signal(on_stop, NULL);
    struct loop *loops[16];
    for (int64_t i = 0; i < n; i++) {
        loops[i] = loop_new(s, "loop", &err);
        if (loops[i] == NULL) return fprintf(stderr, "%s\n", err.msg), 1;
        loop_start(loops[i]);
    }
    struct pool *pool = pool_new("disk", 2, 1024);
    struct broker_config bc = {.dir = argv[1], .node_id = 1, .default_partitions = 4, .auto_create_topics = true, .max_partitions = 10000,
                               .group_initial_rebalance_delay_ms = 0};
    struct broker_kv configs[64];
    for (int i = 4; i < argc && bc.n_configs < 64; i++) {
        struct str name, value;
        if (!str_cut(str_c(argv[i]), '=', &name, &value)) return fprintf(stderr, "%s: not CONFIG=VALUE\n", argv[i]), 2;
        configs[bc.n_configs++] = (struct broker_kv){mem_strndup(name.p, name.n), mem_strndup(value.p, value.n)}; // for the life of the process
    }
    bc.configs = configs;
    struct broker *broker = broker_open(s, &bc, loops, (size_t)n, pool, &err);
    if (broker == NULL) return fprintf(stderr, "%s\n", err.msg), 1;
    struct kafka_config kc = {.host = "127.0.0.1", .port = (int)port, .node_id = 1, .auto_create = true};
    struct kafka_door *door = kafka_door_open(loops, (size_t)n, broker, &kc, &err);
    if (door == NULL) return fprintf(stderr, "%s\n", err.msg), 1;
    printf("%d\n", kafka_door_port(door));
    fflush(stdout);
    loop_event_wait(&stop);
    kafka_door_close(door);
    broker_close(broker);
    pool_free(pool);
    for (int64_t i = 0; i < n; i++) loop_free(loops[i]);
    return 0;
}
