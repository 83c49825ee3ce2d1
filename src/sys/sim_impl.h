// SPDX-License-Identifier: Apache-2.0
// Inside sys only: what the parts of the simulation share. One mutex guards all of it.
#ifndef SYS_SIM_IMPL_H
#define SYS_SIM_IMPL_H

#include "base/map.h"
#include "base/vec.h"
#include "sys/ops.h"
#include "sys/sim.h"

enum { SIM_SECTOR = 512 };

struct sim_rng {
    uint64_t state;
};
uint64_t sim_rng_next(struct sim_rng *r);
uint64_t sim_rng_below(struct sim_rng *r, uint64_t n); // 0 .. n-1; n > 0

struct sim_inode;
struct sim_file;
struct sim_sock;
struct sim_poll;

struct sim_fault {
    uint64_t op;
    enum sys_sim_fault kind;
};
typedef VEC(struct sim_fault) sim_fault_vec;

struct sim_disk {
    struct sim_rng fate; // decides what survives
    uint64_t ops, reads, crash_at, next_id, limit;
    bool crashed;
    sim_fault_vec faults, read_faults;
    VEC(struct sim_inode *) inodes; // in order of creation; inodes.p[0] is the root
    VEC(struct sim_file *) files;   // open
    size_t sweep_at;                // so many inodes: look for dead ones
};

struct sim_net {
    struct sim_rng rng;
    int64_t delay_min, delay_max;
    int next_port;
    VEC(struct sim_sock *) socks; // all that are open, listeners too
};

struct sim {
    struct sys base;
    struct sys_mutex mutex;
    struct sys_cond changed; // something became ready, or the clock moved
    struct sim_rng rng;      // sys_random
    int64_t now_us, mono_us;
    bool auto_advance;
    struct sim_disk disk;
    struct sim_net net;
};

static inline struct sim *sim_of(struct sys *s) { return (struct sim *)s; }
static inline void sim_lock(struct sim *m) { sys_mutex_lock(&m->mutex); }
static inline void sim_unlock(struct sim *m) { sys_mutex_unlock(&m->mutex); }
void sim_advance_locked(struct sim *m, int64_t us);

// sim_data.c: bytes of one file, as seen and as durable. The disk's lock is held.
struct sim_data {
    uint8_t *now, *safe; // seen; on the platter
    size_t size, safe_size, cap, safe_cap;
    uint8_t *dirty; // per sector of `now` or `safe`: written since the last sync
    size_t dirty_cap;
    bool size_dirty;
};
void sim_data_fini(struct sim_data *d);
void sim_data_write(struct sim_data *d, const void *p, size_t n, size_t offset);
void sim_data_truncate(struct sim_data *d, size_t size);
void sim_data_sync(struct sim_data *d);
void sim_data_sync_failed(struct sim_data *d, struct sim_rng *fate); // some sectors reach the platter, the others are forgotten
void sim_data_power_cut(struct sim_data *d, struct sim_rng *fate);
void sim_data_flip(struct sim_data *d, size_t offset);

// sim_disk.c
void sim_disk_init(struct sim *m, uint64_t seed);
void sim_disk_fini(struct sim *m);
struct sys_file *sim_open(struct sys *s, const char *path, int flags, struct err *err);
void sim_close(struct sys_file *f);
int64_t sim_read_at(struct sys_file *f, void *p, size_t n, uint64_t offset, struct err *err);
int64_t sim_write_at(struct sys_file *f, const void *p, size_t n, uint64_t offset, struct err *err);
enum err_code sim_reserve(struct sys_file *f, uint64_t offset, uint64_t n, struct err *err);
enum err_code sim_fdatasync(struct sys_file *f, struct err *err);
enum err_code sim_truncate(struct sys_file *f, uint64_t size, struct err *err);
int64_t sim_size(struct sys_file *f, struct err *err);
enum err_code sim_lock_file(struct sys_file *f, struct err *err);
int sim_fd(struct sys_file *f);
enum err_code sim_stat(struct sys *s, const char *path, bool follow, struct sys_stat *out, struct err *err);
enum err_code sim_mkdir(struct sys *s, const char *path, struct err *err);
enum err_code sim_rename(struct sys *s, const char *from, const char *to, struct err *err);
enum err_code sim_link(struct sys *s, const char *from, const char *to, struct err *err);
enum err_code sim_unlink(struct sys *s, const char *path, struct err *err);
enum err_code sim_rmdir(struct sys *s, const char *path, struct err *err);
enum err_code sim_sync_dir(struct sys *s, const char *path, struct err *err);
enum err_code sim_list_dir(struct sys *s, const char *path, struct sys_list *out, struct err *err);
int64_t sim_disk_size(struct sys *s, const char *path);
int64_t sim_disk_free(struct sys *s, const char *path);

// sim_net.c
void sim_net_init(struct sim *m, uint64_t seed);
void sim_net_fini(struct sim *m);
struct sys_sock *sim_listen(struct sys *s, const char *host, int port, struct err *err);
int sim_sock_port(struct sys_sock *k);
struct sys_sock *sim_accept(struct sys_sock *listener, char peer[64], struct err *err);
struct sys_sock *sim_connect(struct sys *s, const char *host, int port, int timeout_ms, struct err *err);
int64_t sim_recv(struct sys_sock *k, void *p, size_t n, struct err *err);
int64_t sim_send(struct sys_sock *k, const struct sys_iov *iov, int n_iov, struct err *err);
int64_t sim_sendfile(struct sys_sock *k, struct sys_file *f, uint64_t offset, size_t n, struct err *err);
void sim_sock_close(struct sys_sock *k);
struct sys_poll *sim_poll_new(struct sys *s, struct err *err);
void sim_poll_free(struct sys_poll *p);
enum err_code sim_poll_sock(struct sys_poll *p, struct sys_sock *k, int events, void *tag, struct err *err);
enum err_code sim_poll_fd(struct sys_poll *p, int fd, int events, void *tag, struct err *err);
int sim_poll_wait(struct sys_poll *p, struct sys_event *out, int max, int64_t timeout_us);
void sim_poll_wake(struct sys_poll *p);

#endif
