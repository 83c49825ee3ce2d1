// SPDX-License-Identifier: Apache-2.0
// The simulated system: its table, clocks and random. One mutex per system; any thread.
#include <assert.h>
#include <string.h>

#include "sys/sim_impl.h"

enum { START_SECONDS = 1767225600 }; // 2026-01-01T00:00:00Z

// splitmix64: small, good enough to choose fates, and the same everywhere.
uint64_t sim_rng_next(struct sim_rng *r) {
    uint64_t z = r->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t sim_rng_below(struct sim_rng *r, uint64_t n) {
    assert(n > 0);
    return sim_rng_next(r) % n;
}

static int64_t sim_now_us(struct sys *s) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    int64_t us = m->now_us;
    sim_unlock(m);
    return us;
}

static int64_t sim_mono_us(struct sys *s) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    int64_t us = m->mono_us;
    sim_unlock(m);
    return us;
}

static void sim_random(struct sys *s, void *p, size_t n) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    for (size_t done = 0; done < n;) {
        uint64_t v = sim_rng_next(&m->rng);
        size_t part = n - done < sizeof v ? n - done : sizeof v;
        memcpy((char *)p + done, &v, part);
        done += part;
    }
    sim_unlock(m);
}

void sim_advance_locked(struct sim *m, int64_t us) {
    assert(us >= 0);
    m->now_us += us;
    m->mono_us += us;
    sys_cond_broadcast(&m->changed);
}

void sys_sim_advance(struct sys *s, int64_t us) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    sim_advance_locked(m, us);
    sim_unlock(m);
}

static void sim_sleep_us(struct sys *s, int64_t us) {
    if (us > 0) sys_sim_advance(s, us);
}

void sys_sim_set_now(struct sys *s, int64_t us) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    m->now_us = us;
    sim_unlock(m);
}

void sys_sim_auto_advance(struct sys *s, bool on) {
    struct sim *m = sim_of(s);
    sim_lock(m);
    m->auto_advance = on;
    sys_cond_broadcast(&m->changed);
    sim_unlock(m);
}

static const struct sys_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .read_at = sim_read_at,
    .write_at = sim_write_at,
    .reserve = sim_reserve,
    .fdatasync = sim_fdatasync,
    .truncate = sim_truncate,
    .size = sim_size,
    .lock = sim_lock_file,
    .fd = sim_fd,
    .stat = sim_stat,
    .mkdir = sim_mkdir,
    .rename = sim_rename,
    .link = sim_link,
    .unlink = sim_unlink,
    .rmdir = sim_rmdir,
    .sync_dir = sim_sync_dir,
    .list_dir = sim_list_dir,
    .disk_size = sim_disk_size,
    .disk_free = sim_disk_free,
    .now_us = sim_now_us,
    .mono_us = sim_mono_us,
    .random = sim_random,
    .sleep_us = sim_sleep_us,
    .listen = sim_listen,
    .sock_port = sim_sock_port,
    .accept = sim_accept,
    .connect = sim_connect,
    .recv = sim_recv,
    .send = sim_send,
    .sendfile = sim_sendfile,
    .sock_close = sim_sock_close,
    .poll_new = sim_poll_new,
    .poll_free = sim_poll_free,
    .poll_sock = sim_poll_sock,
    .poll_fd = sim_poll_fd,
    .poll_wait = sim_poll_wait,
    .poll_wake = sim_poll_wake,
    .processes = false,
};

struct sys *sys_sim_new(uint64_t seed) {
    struct sim *m = MEM_NEW(struct sim);
    m->base.ops = &sim_ops;
    sys_mutex_init(&m->mutex);
    sys_cond_init(&m->changed);
    m->rng.state = seed ^ 0x52414E44; // each use has a stream of its own: a room that asks for one more random number does not
    m->now_us = (int64_t)START_SECONDS * 1000000; // change which sectors survive
    m->mono_us = 1000000;
    sim_disk_init(m, seed);
    sim_net_init(m, seed);
    return &m->base;
}

void sys_sim_free(struct sys *s) {
    if (s == NULL) return;
    struct sim *m = sim_of(s);
    sim_net_fini(m);
    sim_disk_fini(m);
    sys_cond_fini(&m->changed);
    sys_mutex_fini(&m->mutex);
    mem_free(m);
}
