// SPDX-License-Identifier: Apache-2.0
// Whole conversations with the Kafka door and a real broker behind it, over loopback and a folder in memory (/dev/shm): by the input, random
// requests of every advertised API and version from the field tables, a part of them with changed bytes, on two connections, answers read or
// not, connections cut in the middle. Afterwards a new client must be answered. The broker lives over many inputs and is made anew, from
// what its disk holds, every few hundred. The loop and the pool have threads of their own: what is found is found by the sanitizers.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "broker/broker.h"
#include "kafka/conn.h"
#include "kafka/door.h"
#include "kafka/messages.h"
#include "base/mem.h"
#include "sys/sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REQUESTS_MAX = 24, RUNS_PER_BROKER = 300, RUNS_PER_DISK = 1500, ANSWER_MAX = 64 << 20 };

static struct {
    struct sys *sys;
    char dir[64];
    struct loop *loop;
    struct pool *pool;
    struct broker *broker;
    struct kafka_door *door;
    int port, runs;
} w;

static void must(bool ok) {
    if (!ok) __builtin_trap();
}
static void drop_log(void *arg, enum log_level level, struct str line) { (void)arg, (void)level, (void)line; }

static void remove_dir(void) {
    if (w.dir[0] != 0) sys_remove_tree(w.sys, w.dir, NULL);
    w.dir[0] = 0;
}

static void world_open(void) {
    static const struct broker_kv configs[] = {{"log.segment.bytes", "1048576"}, {"group.min.session.timeout.ms", "50"}};
    struct broker_config bc = {.dir = w.dir, .node_id = 1, .default_partitions = 2, .auto_create_topics = true, .max_partitions = 200};
    bc.configs = configs;
    bc.n_configs = sizeof configs / sizeof configs[0];
    log_set_sink(drop_log, NULL);
    w.sys = sys_real();
    if (w.dir[0] == 0) {
        memcpy(w.dir, "/dev/shm/millrace-fuzz-XXXXXX", 30);
        must(mkdtemp(w.dir) != NULL);
        atexit(remove_dir);
    }
    w.loop = loop_new(w.sys, "fuzz", NULL);
    loop_start(w.loop);
    w.pool = pool_new("fuzz", 2, 1000);
    w.broker = broker_open(w.sys, &bc, &w.loop, 1, w.pool, NULL);
    must(w.broker != NULL);
    struct kafka_config kc = {.host = "127.0.0.1", .node_id = 1, .auto_create = true, .max_request_bytes = 4 << 20, .frame_bytes_max = 64 << 20};
    w.door = kafka_door_open(&w.loop, 1, w.broker, &kc, NULL);
    must(w.door != NULL);
    w.port = kafka_door_port(w.door);
}

static void world_close(bool disk_too) {
    kafka_door_close(w.door);
    broker_close(w.broker);
    pool_free(w.pool);
    loop_free(w.loop);
    if (disk_too) remove_dir();
}

// ---- a client -----------------------------------------------------------------------------------------------------------------
struct talk {
    struct sys_sock *sock;
    struct sys_poll *poll;
};

static bool wait_for(struct talk *t, int events, int64_t us) {
    struct sys_event e;
    sys_poll_sock(t->poll, t->sock, events, t, NULL);
    return sys_poll_wait(t->poll, &e, 1, us) > 0;
}

static bool send_all(struct talk *t, const char *p, size_t n) {
    for (int idle = 0; n > 0 && idle < 200;) {
        struct err err = {0};
        struct sys_iov iov = {(void *)(uintptr_t)p, n};
        int64_t put = sys_sock_send(t->sock, &iov, 1, &err);
        if (put < 0 && err.code != ERR_BUSY) return false;
        if (put > 0) p += put, n -= (size_t)put, idle = 0;
        else if (!wait_for(t, SYS_EV_READ | SYS_EV_WRITE, 1000)) idle++; // the door holds back, or waits for us to read
        else {
            char some[4096];
            int64_t got = sys_sock_recv(t->sock, some, sizeof some, &err);
            if (got == 0 || (got < 0 && err.code != ERR_BUSY)) return false;
        }
    }
    return n == 0;
}

static bool recv_all(struct talk *t, void *p, size_t n) {
    for (size_t at = 0; at < n;) {
        struct err err = {0};
        int64_t got = sys_sock_recv(t->sock, (char *)p + at, n - at, &err);
        if (got > 0) at += (size_t)got;
        else if (got == 0 || err.code != ERR_BUSY) return false;
        else if (!wait_for(t, SYS_EV_READ, 10000000)) return false;
    }
    return true;
}

static struct talk talk_open(void) {
    struct talk t = {.sock = sys_connect(w.sys, "127.0.0.1", w.port, 1000, NULL), .poll = sys_poll_new(w.sys, NULL)};
    must(t.sock != NULL && t.poll != NULL);
    return t;
}
static void talk_close(struct talk *t) {
    sys_poll_sock(t->poll, t->sock, 0, NULL, NULL);
    sys_sock_close(t->sock);
    sys_poll_free(t->poll);
}

static void request_random(uint64_t *seed, const uint8_t **data, size_t *left, struct buf *to) {
    struct arena a = {0};
    if ((*seed = *seed * 6364136223846793005u + 1442695040888963407u) == 0) *seed = 1;
    uint64_t pick = *seed;
    const struct kafka_handler *h = &kafka_handlers[(pick >> 33) % kafka_handlers_n];
    const struct kafka_api *api = kafka_api_find(h->key);
    int version = h->min + (int)((pick >> 20) % (uint64_t)(h->max - h->min + 1));
    if (version < api->request->min) version = api->request->min; // Produce is advertised from 0 and has no fields before 3
    void *msg = arena_zalloc(&a, api->request->body->size);
    kafka_msg_random(api->request, version, seed, &a, msg);
    struct kafka_out o;
    kafka_out_init(&o, 8 << 20);
    o.splice_min = SIZE_MAX;
    kafka_frame_begin_request(&o, api, version, (int32_t)pick, STR("fuzz"));
    kafka_msg_encode(api->request, version, msg, &o);
    if (kafka_frame_end(&o, NULL) == ERR_OK) {
        size_t from = to->n;
        buf_put(to, o.buf.p, o.buf.n);
        for (int i = 0; i < 3 && (pick >> 60) % 3 == 0 && *left >= 3; i++, *data += 3, *left -= 3) // change bytes behind the length
            to->p[from + 4 + ((size_t)(*data)[0] << 8 | (*data)[1]) % (to->n - from - 4)] = (char)(*data)[2];
    }
    kafka_out_fini(&o);
    arena_fini(&a);
}

// The door is well: a new client is answered.
static void must_answer(void) {
    static const uint8_t ask[] = {0, 0, 0, 14, 0, 18, 0, 0, 0, 0, 0, 7, 0, 4, 'f', 'u', 'z', 'z'};
    struct talk t = talk_open();
    uint8_t head[8];
    must(send_all(&t, (const char *)ask, sizeof ask) && recv_all(&t, head, sizeof head) && head[7] == 7);
    talk_close(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 9) return 0;
    if (w.runs > 0 && w.runs % RUNS_PER_BROKER == 0) world_close(w.runs % RUNS_PER_DISK == 0), w.door = NULL;
    if (w.door == NULL) world_open();
    w.runs++;
    uint64_t seed;
    memcpy(&seed, data, 8);
    int n = 1 + data[8] % REQUESTS_MAX;
    data += 9, size -= 9;
    struct talk t[2] = {talk_open(), talk_open()};
    bool open[2] = {true, true};
    for (int i = 0; i < n; i++) {
        struct buf b = {0};
        request_random(&seed, &data, &size, &b);
        int which = (int)(seed >> 40) & 1;
        size_t part = (seed >> 50) % 16 == 0 ? b.n / 2 : b.n; // now and then only a half comes
        if (open[which]) open[which] = send_all(&t[which], (const char *)b.p, part) && part == b.n;
        buf_fini(&b);
        if (open[which] && (seed >> 47) % 2 == 0) wait_for(&t[which], SYS_EV_READ, 200);
    }
    talk_close(&t[0]);
    talk_close(&t[1]);
    must_answer();
    return 0;
}
