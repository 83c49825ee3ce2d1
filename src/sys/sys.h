// SPDX-License-Identifier: Apache-2.0
// The operating system, behind one header: files, directories, clock, random, sockets, polling, processes, threads.
//
// Everything takes a `struct sys *`: sys_real() for the process, sys_sim_new() (sys/sim.h) in tests, where the disk forgets what was
// not synced, the n-th operation fails and the clock stands still. No other room calls the C library for these things.
// All functions may be called from any thread; one file or socket is used by one thread at a time unless said otherwise.
// Names of files are paths as given (relative to the process's folder); all are opened close-on-exec.
#ifndef SYS_SYS_H
#define SYS_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct sys;
struct sys *sys_real(void);

// ---- files ----------------------------------------------------------------------------------------------------------
struct sys_file;

enum sys_open_flags {
    SYS_READ = 1,
    SYS_WRITE = 2,
    SYS_CREATE = 4,    // make it if absent
    SYS_EXCLUSIVE = 8, // with SYS_CREATE: ERR_EXISTS if present
    SYS_TRUNCATE = 16,
    SYS_APPEND = 32,
    SYS_DIRECT = 64, // past the system's cache of file content, where the file system can; see SYS_BLOCK
};

// A file that was opened SYS_DIRECT is written in whole blocks: offset, length and memory are multiples of this. A write that does not begin
// or end at a record's end carries the neighbours' bytes and zeros. It is read best so too (what is not aligned is read through a copy), and
// what the system's cache has of it, from another handle, is written out first.
enum { SYS_BLOCK = 4096 };

struct sys_file *sys_open(struct sys *s, const char *path, int flags, struct err *err); // NULL = failed
void sys_close(struct sys_file *f);                                                     // no sync; f may be NULL
// Bytes read: less than n only at the end of the file (short reads are retried inside). -1 = failed. Safe from several threads.
int64_t sys_pread(struct sys_file *f, void *p, size_t n, uint64_t offset, struct err *err);
// Writes all n bytes or fails (then any part may have been written). Short writes are retried inside.
enum err_code sys_pwrite(struct sys_file *f, const void *p, size_t n, uint64_t offset, struct err *err);
struct sys_iov {
    const void *p;
    size_t n;
};
enum { SYS_IOV_MAX = 256 };
// Writes all pieces behind one another, at most SYS_IOV_MAX of them. `sync`: what this call wrote is durable when it returns (cheaper than a
// sync of its own); its failure is as final as a failed sync.
enum err_code sys_pwritev(struct sys_file *f, const struct sys_iov *iov, int n_iov, uint64_t offset, bool sync, struct err *err);
// Reads whole blocks into pieces of memory, one call for all of them. May be short anywhere; else as sys_pread.
int64_t sys_preadv(struct sys_file *f, const struct sys_iov *iov, int n_iov, uint64_t offset, struct err *err);
// Takes the disk space of [offset, offset + n) and makes the file that long; bytes that were not written are zeros. Moves no data. A write
// there does not meet a full disk. ERR_NO_SPACE; ERR_NOT_SUPPORTED by the file system.
enum err_code sys_reserve(struct sys_file *f, uint64_t offset, uint64_t n, struct err *err);
enum err_code sys_fdatasync(struct sys_file *f, struct err *err); // failure is ERR_SYNC_FAILED, and final
enum err_code sys_truncate(struct sys_file *f, uint64_t size, struct err *err);
int64_t sys_file_size(struct sys_file *f, struct err *err); // -1 = failed
// Whole-file advisory lock, held until close. ERR_LOCKED when another process has it.
enum err_code sys_lock(struct sys_file *f, struct err *err);
int sys_file_fd(struct sys_file *f); // for sendfile; -1 in the simulation

// Reads a whole file (at most max bytes: ERR_TOO_LARGE) into memory from mem_alloc, NUL-terminated; *n_out may be NULL.
char *sys_read_file(struct sys *s, const char *path, size_t max, size_t *n_out, struct err *err);
// Durably replaces a file: writes `path.tmp`, syncs, renames, syncs the directory.
enum err_code sys_write_file(struct sys *s, const char *path, struct str content, struct err *err);
// Durably creates a file that must not exist, with all its content or not at all (ERR_EXISTS when it does): writes a
// temporary name, syncs, links it exclusively to `path`, unlinks the temporary, syncs the directory.
enum err_code sys_create_file(struct sys *s, const char *path, struct str content, struct err *err);

// ---- directories ----------------------------------------------------------------------------------------------------
enum sys_type { SYS_TYPE_FILE, SYS_TYPE_DIR, SYS_TYPE_OTHER };

struct sys_stat {
    enum sys_type type;
    uint64_t size;
    int64_t mtime_us;
};

enum err_code sys_stat(struct sys *s, const char *path, struct sys_stat *out, struct err *err); // ERR_NOT_FOUND
bool sys_exists(struct sys *s, const char *path);
enum err_code sys_mkdir(struct sys *s, const char *path, struct err *err);    // ERR_EXISTS
enum err_code sys_mkdirs(struct sys *s, const char *path, struct err *err);   // with parents, durably; present is fine
enum err_code sys_rename(struct sys *s, const char *from, const char *to, struct err *err);
enum err_code sys_link(struct sys *s, const char *from, const char *to, struct err *err); // ERR_EXISTS
enum err_code sys_unlink(struct sys *s, const char *path, struct err *err);   // ERR_NOT_FOUND
enum err_code sys_rmdir(struct sys *s, const char *path, struct err *err);
enum err_code sys_remove_tree(struct sys *s, const char *path, struct err *err); // absent is fine
enum err_code sys_sync_dir(struct sys *s, const char *path, struct err *err); // makes creations, renames, removals in it durable

// Names in a directory, sorted bytewise, without "." and "..". Free with sys_list_free.
struct sys_list {
    char **names;
    size_t n;
};
enum err_code sys_list_dir(struct sys *s, const char *path, struct sys_list *out, struct err *err);
void sys_list_free(struct sys_list *l);
int64_t sys_disk_size(struct sys *s, const char *path); // of the file system, bytes; -1 = unknown
int64_t sys_disk_free(struct sys *s, const char *path); // bytes; -1 = unknown

// ---- clock and random -------------------------------------------------------------------------------------------------
int64_t sys_now_us(struct sys *s);  // wall clock, microseconds since 1970 UTC
int64_t sys_mono_us(struct sys *s); // monotonic
void sys_random(struct sys *s, void *p, size_t n);
uint64_t sys_random_u64(struct sys *s);
void sys_uuid(struct sys *s, uint8_t out[16]);          // version 4
void sys_uuid_text(const uint8_t uuid[16], char out[37]); // 8-4-4-4-12, lower case

// ---- sockets ------------------------------------------------------------------------------------------------------------
// Stream sockets over TCP; non-blocking. -1 with ERR_BUSY (would block) is not an error but "wait for readiness".
struct sys_sock;

struct sys_sock *sys_listen(struct sys *s, const char *host, int port, struct err *err); // port 0 = a free one. ERR_EXISTS: in use
int sys_sock_port(struct sys_sock *k);                                                   // own port
// NULL: err->code ERR_BUSY = none waiting; ERR_NO_MEMORY = too many open files: the listener stays ready, so pause it for a while.
struct sys_sock *sys_accept(struct sys_sock *listener, char peer[64], struct err *err);
struct sys_sock *sys_connect(struct sys *s, const char *host, int port, int timeout_ms, struct err *err); // blocks up to timeout
int64_t sys_sock_recv(struct sys_sock *k, void *p, size_t n, struct err *err);                            // 0 = peer closed
int64_t sys_sock_send(struct sys_sock *k, const struct sys_iov *iov, int n_iov, struct err *err); // bytes taken, may be fewer
// Sends bytes of a file without copying them through user space. Bytes taken, may be fewer; -1 ERR_NOT_SUPPORTED in the simulation.
int64_t sys_sock_sendfile(struct sys_sock *k, struct sys_file *f, uint64_t offset, size_t n, struct err *err);
void sys_sock_close(struct sys_sock *k);

// ---- readiness ----------------------------------------------------------------------------------------------------------
// A poll set (epoll). One owner thread, except sys_poll_wake.
struct sys_poll;
// Level-triggered. CLOSED (an error, or both ways closed) comes unasked, and what was received before can still be read. A peer that only
// stopped sending is READ, and the read answers 0.
enum sys_events { SYS_EV_READ = 1, SYS_EV_WRITE = 2, SYS_EV_CLOSED = 4 };
struct sys_event {
    void *tag;
    int events;
};
struct sys_poll *sys_poll_new(struct sys *s, struct err *err);
void sys_poll_free(struct sys_poll *p);
enum err_code sys_poll_sock(struct sys_poll *p, struct sys_sock *k, int events, void *tag, struct err *err); // add or change; events 0 = remove
enum err_code sys_poll_fd(struct sys_poll *p, int fd, int events, void *tag, struct err *err); // pipes of processes; events 0 = remove
// Waits at most timeout_us (-1 = for ever) and fills up to `max` events. Returns how many; 0 = time-out or woken.
int sys_poll_wait(struct sys_poll *p, struct sys_event *out, int max, int64_t timeout_us);
void sys_poll_wake(struct sys_poll *p); // any thread: makes the current or next wait return

// ---- threads --------------------------------------------------------------------------------------------------------------
struct sys_thread;
typedef void sys_thread_fn(void *arg);
struct sys_thread *sys_thread_start(const char *name, sys_thread_fn *fn, void *arg);
void sys_thread_join(struct sys_thread *t); // frees it

struct sys_mutex {
    _Alignas(8) unsigned char opaque[64];
};
struct sys_cond {
    _Alignas(8) unsigned char opaque[64];
};
void sys_mutex_init(struct sys_mutex *m);
void sys_mutex_fini(struct sys_mutex *m);
void sys_mutex_lock(struct sys_mutex *m);
void sys_mutex_unlock(struct sys_mutex *m);
void sys_cond_init(struct sys_cond *c);
void sys_cond_fini(struct sys_cond *c);
void sys_cond_wait(struct sys_cond *c, struct sys_mutex *m);
bool sys_cond_wait_us(struct sys_cond *c, struct sys_mutex *m, int64_t timeout_us); // false = timed out
void sys_cond_signal(struct sys_cond *c);
void sys_cond_broadcast(struct sys_cond *c);
int sys_cpu_count(void);
void sys_sleep_us(struct sys *s, int64_t us);

// ---- processes --------------------------------------------------------------------------------------------------------------
// A child with pipes on its standard input, output and error (those asked for; others go to /dev/null).
struct sys_proc {
    int64_t pid;
    int stdin_fd, stdout_fd, stderr_fd; // -1 = not asked for; parent's ends; stdout and stderr non-blocking
    int pid_fd;                         // becomes readable in a poll set when the child has ended
};
enum sys_spawn_flags {
    SYS_SPAWN_STDIN = 1,
    SYS_SPAWN_STDOUT = 2,
    SYS_SPAWN_STDERR = 4,
    SYS_SPAWN_MERGE = 8,        // stderr into stdout's pipe
    SYS_SPAWN_GROUP = 16,       // own process group: sys_proc_kill reaches its children too
    SYS_SPAWN_DIE_WITH_ME = 32, // SIGKILL when our process ends (the calling thread may end before)
};
// argv and env end with NULL; env NULL = ours; cwd NULL = ours. Looks argv[0] up in our PATH. ERR_NOT_FOUND: no such program or cwd.
// The child has descriptors 0, 1, 2 only, default signals, and the limit on open files that we were started with.
enum err_code sys_spawn(struct sys *s, const char *const *argv, const char *const *env, const char *cwd, int flags, struct sys_proc *out,
                        struct err *err);
enum err_code sys_proc_wait(struct sys_proc *p, int *status, struct err *err); // blocks; exit code, or 128 + signal; closes pid_fd
bool sys_proc_try_wait(struct sys_proc *p, int *status);                       // false = still running
void sys_proc_kill(struct sys_proc *p, int sig); // its whole group with SYS_SPAWN_GROUP; nothing once it was waited for
int64_t sys_fd_read(int fd, void *p, size_t n, struct err *err);        // 0 = end; -1 with ERR_BUSY = nothing yet
int64_t sys_fd_write(int fd, const void *p, size_t n, struct err *err); // as above
void sys_fd_close(int fd);
int64_t sys_getpid(void);
const char *sys_getenv(const char *name); // NULL = not set
// Waits for SIGTERM or SIGINT: blocks them in all threads started later, then calls fn(arg, signal) on a thread of its own.
void sys_on_stop_signal(void (*fn)(void *arg, int sig), void *arg);
bool sys_is_tty(int fd);
// Zeroed memory for input and output, aligned to 2 MiB and on huge pages where there are any; n is a multiple of that. Never NULL.
void *sys_map_memory(size_t n);
void sys_unmap_memory(void *p, size_t n);
int64_t sys_rss_bytes(void);      // of this process, now
int64_t sys_peak_rss_bytes(void); // since it started
int64_t sys_cpu_us(void);         // user + system time of this process
bool sys_program_path(char out[4096]); // of the file that this process runs; false = not known
void sys_private_files(void);         // what this process and its children make is for their user only
void sys_stdout_write(struct str s); // standard output, whole
void sys_stderr_write(struct str s);

#endif
