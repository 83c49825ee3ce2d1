// SPDX-License-Identifier: Apache-2.0
// Whole conversations with the Kafka door and a real broker behind it, over loopback and a folder in memory (/dev/shm): by the input, random
// requests of every advertised API and version from the field tables, a part of them with changed bytes, on two connections, answers read or
// not, connections cut in the middle. Afterwards a new client must be answered. The broker lives over many inputs and is made anew, from
// what its disk holds, every few hundred. The loop and the pool have threads of their own: what is found is found by the sanitizers. When there
// is no answer, or something takes five seconds, what each thread does is printed.
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <sanitizer/common_interface_defs.h>

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

// ---- what each thread does ------------------------------------------------------------------------------------------------------
enum { SLOW_S = 5 }; // what takes so long is told: before libFuzzer's own time-out of ten seconds, which shows one thread only

static void print_stack(int signal_number) { // of the thread that the signal was sent to
    (void)signal_number;
    int error = errno;
    __sanitizer_print_stack_trace();
    errno = error;
}

static void print_file(const char *thread, const char *what) {
    char path[128], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%.20s/%s", thread, what);
    FILE *f = fopen(path, "r");
    size_t n = f == NULL ? 0 : fread(text, 1, sizeof text - 1, f);
    if (f != NULL) fclose(f);
    while (n > 0 && text[n - 1] == '\n') n--;
    fprintf(stderr, "  %s: %.*s\n", what, (int)n, text);
}

// Twice, so that one sees who runs and who waits: the times in `stat` and `schedstat` move, and so do stacks.
static void print_threads(const char *why) {
    fprintf(stderr, "==== %s, after %d inputs ====\n", why, w.runs);
    struct sigaction act = {.sa_handler = print_stack, .sa_flags = SA_RESTART};
    sigaction(SIGUSR2, &act, NULL);
    for (int round = 0; round < 2; round++) {
        DIR *d = opendir("/proc/self/task");
        for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
            if (e->d_name[0] == '.') continue;
            fprintf(stderr, "---- thread %s\n", e->d_name);
            print_file(e->d_name, "comm");
            print_file(e->d_name, "wchan");
            print_file(e->d_name, "syscall");
            print_file(e->d_name, "stat");
            print_file(e->d_name, "schedstat");
            syscall(SYS_tgkill, getpid(), (int)strtol(e->d_name, NULL, 10), SIGUSR2);
            nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
        }
        if (d != NULL) closedir(d);
    }
    FILE *load = fopen("/proc/loadavg", "r");
    char text[128] = "";
    if (load != NULL && fgets(text, sizeof text, load) == NULL) text[0] = 0;
    if (load != NULL) fclose(load);
    fprintf(stderr, "==== load %s", text);
}

static void must(bool ok) {
    if (!ok) __builtin_trap();
}

// Watches what waits without an end.
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    const char *what; // NULL = nothing is under way
    int64_t turn;
    bool runs;
} watch = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void *watch_main(void *arg) {
    (void)arg;
    pthread_mutex_lock(&watch.mutex);
    for (;;) {
        while (watch.what == NULL) pthread_cond_wait(&watch.changed, &watch.mutex);
        int64_t turn = watch.turn;
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += SLOW_S;
        while (watch.what != NULL && watch.turn == turn && pthread_cond_timedwait(&watch.changed, &watch.mutex, &until) == 0) {}
        if (watch.what == NULL || watch.turn != turn) continue;
        print_threads(watch.what);
        while (watch.what != NULL && watch.turn == turn) pthread_cond_wait(&watch.changed, &watch.mutex);
    }
    return NULL;
}

static void watch_set(const char *what) {
    pthread_mutex_lock(&watch.mutex);
    pthread_t thread;
    if (!watch.runs) must(pthread_create(&thread, NULL, watch_main, NULL) == 0 && pthread_detach(thread) == 0);
    watch.runs = true;
    watch.what = what;
    watch.turn++;
    pthread_cond_broadcast(&watch.changed);
    pthread_mutex_unlock(&watch.mutex);
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
    watch_set("the world does not open");
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
    watch_set("the door does not close");
    kafka_door_close(w.door);
    watch_set("the broker does not close");
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
    int64_t until = sys_mono_us(w.sys) + us, left = us;
    sys_poll_sock(t->poll, t->sock, events, t, NULL);
    do { // a signal (libFuzzer's timer) ends a wait before its time
        if (sys_poll_wait(t->poll, &e, 1, left) > 0) return true;
        left = until - sys_mono_us(w.sys);
    } while (left > 0);
    return false;
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
    bool answered = send_all(&t, (const char *)ask, sizeof ask) && recv_all(&t, head, sizeof head) && head[7] == 7;
    if (!answered) print_threads("no answer to a new client, or its connection was closed");
    must(answered);
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
    watch_set("a conversation takes long");
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
    watch_set("no answer to a new client yet");
    must_answer();
    watch_set(NULL);
    return 0;
}
