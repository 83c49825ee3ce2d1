// SPDX-License-Identifier: Apache-2.0
// Inside sys only: the table of operations that the real and the simulated system fill. sys.c dispatches to it and builds the rest
// (whole files, trees, retried short reads) from it, so that crash tests see every single step.
// A handle (file, socket, poll set) begins with its common part; the implementation's own struct embeds that first.
#ifndef SYS_OPS_H
#define SYS_OPS_H

#include "sys/sys.h"

struct sys_ops {
    // Files. read_at and write_at may be short.
    struct sys_file *(*open)(struct sys *s, const char *path, int flags, struct err *err);
    void (*close)(struct sys_file *f);
    int64_t (*read_at)(struct sys_file *f, void *p, size_t n, uint64_t offset, struct err *err);
    int64_t (*write_at)(struct sys_file *f, const void *p, size_t n, uint64_t offset, struct err *err);
    // NULL = write_at for each piece, then fdatasync. -1 of a synced write sets ERR_SYNC_FAILED or what write_at sets. May be short.
    int64_t (*writev_at)(struct sys_file *f, const struct sys_iov *iov, int n, uint64_t offset, bool sync, struct err *err);
    int64_t (*readv_at)(struct sys_file *f, const struct sys_iov *iov, int n, uint64_t offset, struct err *err); // NULL = read_at for each piece
    enum err_code (*reserve)(struct sys_file *f, uint64_t offset, uint64_t n, struct err *err);
    enum err_code (*fdatasync)(struct sys_file *f, struct err *err);
    enum err_code (*truncate)(struct sys_file *f, uint64_t size, struct err *err);
    int64_t (*size)(struct sys_file *f, struct err *err);
    enum err_code (*lock)(struct sys_file *f, struct err *err);
    int (*fd)(struct sys_file *f);
    // Directories. follow = false: of a symbolic link itself.
    enum err_code (*stat)(struct sys *s, const char *path, bool follow, struct sys_stat *out, struct err *err);
    enum err_code (*mkdir)(struct sys *s, const char *path, struct err *err);
    enum err_code (*rename)(struct sys *s, const char *from, const char *to, struct err *err);
    enum err_code (*link)(struct sys *s, const char *from, const char *to, struct err *err);
    enum err_code (*unlink)(struct sys *s, const char *path, struct err *err);
    enum err_code (*rmdir)(struct sys *s, const char *path, struct err *err);
    enum err_code (*sync_dir)(struct sys *s, const char *path, struct err *err);
    enum err_code (*list_dir)(struct sys *s, const char *path, struct sys_list *out, struct err *err); // any order
    int64_t (*disk_size)(struct sys *s, const char *path);
    int64_t (*disk_free)(struct sys *s, const char *path);
    // Clock and random.
    int64_t (*now_us)(struct sys *s);
    int64_t (*mono_us)(struct sys *s);
    void (*random)(struct sys *s, void *p, size_t n);
    void (*sleep_us)(struct sys *s, int64_t us);
    // Sockets.
    struct sys_sock *(*listen)(struct sys *s, const char *host, int port, struct err *err);
    int (*sock_port)(struct sys_sock *k);
    struct sys_sock *(*accept)(struct sys_sock *listener, char peer[64], struct err *err);
    struct sys_sock *(*connect)(struct sys *s, const char *host, int port, int timeout_ms, struct err *err);
    int64_t (*recv)(struct sys_sock *k, void *p, size_t n, struct err *err);
    int64_t (*send)(struct sys_sock *k, const struct sys_iov *iov, int n_iov, struct err *err);
    int64_t (*sendfile)(struct sys_sock *k, struct sys_file *f, uint64_t offset, size_t n, struct err *err);
    void (*sock_close)(struct sys_sock *k);
    // Readiness.
    struct sys_poll *(*poll_new)(struct sys *s, struct err *err);
    void (*poll_free)(struct sys_poll *p);
    enum err_code (*poll_sock)(struct sys_poll *p, struct sys_sock *k, int events, void *tag, struct err *err);
    enum err_code (*poll_fd)(struct sys_poll *p, int fd, int events, void *tag, struct err *err);
    int (*poll_wait)(struct sys_poll *p, struct sys_event *out, int max, int64_t timeout_us);
    void (*poll_wake)(struct sys_poll *p);
    bool processes; // sys_spawn works
};

struct sys {
    const struct sys_ops *ops;
};
struct sys_file {
    struct sys *sys;
    bool direct;
};
struct sys_sock {
    struct sys *sys;
};
struct sys_poll {
    struct sys *sys;
};

// Our limit on open files before sys_real() raised it to the hard limit: children get it back.
struct rlimit;
const struct rlimit *sys_real_nofile(void);

// What real_file.c, real_net.c and real_poll.c offer to the table in real.c.
struct sys_file *sys_real_open(struct sys *s, const char *path, int flags, struct err *err);
void sys_real_close(struct sys_file *f);
int64_t sys_real_read_at(struct sys_file *f, void *p, size_t n, uint64_t offset, struct err *err);
int64_t sys_real_write_at(struct sys_file *f, const void *p, size_t n, uint64_t offset, struct err *err);
int64_t sys_real_writev_at(struct sys_file *f, const struct sys_iov *iov, int n, uint64_t offset, bool sync, struct err *err);
int64_t sys_real_readv_at(struct sys_file *f, const struct sys_iov *iov, int n, uint64_t offset, struct err *err);
enum err_code sys_real_reserve(struct sys_file *f, uint64_t offset, uint64_t n, struct err *err);
enum err_code sys_real_fdatasync(struct sys_file *f, struct err *err);
enum err_code sys_real_truncate(struct sys_file *f, uint64_t size, struct err *err);
int64_t sys_real_size(struct sys_file *f, struct err *err);
enum err_code sys_real_lock(struct sys_file *f, struct err *err);
int sys_real_fd(struct sys_file *f);
enum err_code sys_real_stat(struct sys *s, const char *path, bool follow, struct sys_stat *out, struct err *err);
enum err_code sys_real_mkdir(struct sys *s, const char *path, struct err *err);
enum err_code sys_real_rename(struct sys *s, const char *from, const char *to, struct err *err);
enum err_code sys_real_link(struct sys *s, const char *from, const char *to, struct err *err);
enum err_code sys_real_unlink(struct sys *s, const char *path, struct err *err);
enum err_code sys_real_rmdir(struct sys *s, const char *path, struct err *err);
enum err_code sys_real_sync_dir(struct sys *s, const char *path, struct err *err);
enum err_code sys_real_list_dir(struct sys *s, const char *path, struct sys_list *out, struct err *err);
int64_t sys_real_disk_size(struct sys *s, const char *path);
int64_t sys_real_disk_free(struct sys *s, const char *path);

struct sys_sock *sys_real_listen(struct sys *s, const char *host, int port, struct err *err);
int sys_real_sock_port(struct sys_sock *k);
struct sys_sock *sys_real_accept(struct sys_sock *listener, char peer[64], struct err *err);
struct sys_sock *sys_real_connect(struct sys *s, const char *host, int port, int timeout_ms, struct err *err);
int64_t sys_real_recv(struct sys_sock *k, void *p, size_t n, struct err *err);
int64_t sys_real_send(struct sys_sock *k, const struct sys_iov *iov, int n_iov, struct err *err);
int64_t sys_real_sendfile(struct sys_sock *k, struct sys_file *f, uint64_t offset, size_t n, struct err *err);
void sys_real_sock_close(struct sys_sock *k);
int sys_real_sock_fd(struct sys_sock *k);

struct sys_poll *sys_real_poll_new(struct sys *s, struct err *err);
void sys_real_poll_free(struct sys_poll *p);
enum err_code sys_real_poll_sock(struct sys_poll *p, struct sys_sock *k, int events, void *tag, struct err *err);
enum err_code sys_real_poll_fd(struct sys_poll *p, int fd, int events, void *tag, struct err *err);
int sys_real_poll_wait(struct sys_poll *p, struct sys_event *out, int max, int64_t timeout_us);
void sys_real_poll_wake(struct sys_poll *p);

#endif
