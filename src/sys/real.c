// SPDX-License-Identifier: Apache-2.0
// The real system: its table, clock and random. One object for the process, any thread.
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

#include "sys/ops.h"

static int64_t read_clock(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t real_now_us(struct sys *s) { return (void)s, read_clock(CLOCK_REALTIME); }
static int64_t real_mono_us(struct sys *s) { return (void)s, read_clock(CLOCK_MONOTONIC); }

static void real_random(struct sys *s, void *p, size_t n) {
    (void)s;
    for (size_t done = 0; done < n;) {
        ssize_t got = getrandom((char *)p + done, n - done, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            perror("millrace: getrandom");
            abort(); // identifiers and tokens must never be guessable
        }
        done += (size_t)got;
    }
}

static void real_sleep_us(struct sys *s, int64_t us) {
    (void)s;
    if (us <= 0) return;
    struct timespec ts = {us / 1000000, (us % 1000000) * 1000};
    while (nanosleep(&ts, &ts) != 0 && errno == EINTR) {
    }
}

static const struct sys_ops real_ops = {
    .open = sys_real_open,
    .close = sys_real_close,
    .read_at = sys_real_read_at,
    .write_at = sys_real_write_at,
    .writev_at = sys_real_writev_at,
    .readv_at = sys_real_readv_at,
    .reserve = sys_real_reserve,
    .fdatasync = sys_real_fdatasync,
    .truncate = sys_real_truncate,
    .size = sys_real_size,
    .lock = sys_real_lock,
    .fd = sys_real_fd,
    .stat = sys_real_stat,
    .mkdir = sys_real_mkdir,
    .rename = sys_real_rename,
    .link = sys_real_link,
    .unlink = sys_real_unlink,
    .rmdir = sys_real_rmdir,
    .sync_dir = sys_real_sync_dir,
    .list_dir = sys_real_list_dir,
    .disk_size = sys_real_disk_size,
    .disk_free = sys_real_disk_free,
    .now_us = real_now_us,
    .mono_us = real_mono_us,
    .random = real_random,
    .sleep_us = real_sleep_us,
    .listen = sys_real_listen,
    .sock_port = sys_real_sock_port,
    .accept = sys_real_accept,
    .connect = sys_real_connect,
    .recv = sys_real_recv,
    .send = sys_real_send,
    .sendfile = sys_real_sendfile,
    .sock_close = sys_real_sock_close,
    .poll_new = sys_real_poll_new,
    .poll_free = sys_real_poll_free,
    .poll_sock = sys_real_poll_sock,
    .poll_fd = sys_real_poll_fd,
    .poll_wait = sys_real_poll_wait,
    .poll_wake = sys_real_poll_wake,
    .processes = true,
};

static struct rlimit nofile;
const struct rlimit *sys_real_nofile(void) { return &nofile; }

static void start(void) {
    signal(SIGPIPE, SIG_IGN); // a closed pipe or socket is an error value, not the end of the process
    if (getrlimit(RLIMIT_NOFILE, &nofile) != 0) nofile = (struct rlimit){1024, 1024};
    struct rlimit most = {nofile.rlim_max, nofile.rlim_max}; // every connection and every log segment is a descriptor
    setrlimit(RLIMIT_NOFILE, &most);
}

struct sys *sys_real(void) {
    static struct sys real = {&real_ops};
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
    return &real;
}
