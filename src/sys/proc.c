// SPDX-License-Identifier: Apache-2.0
// Child processes, their pipes, and signals of our own process.
//
// A child is started by vfork + exec: no copy of our page tables however large we are, and an exec that fails is reported by the
// call. All children are started by one thread that lives as long as the process, because the kernel's "kill me when my parent
// ends" means the thread that forked. The child gets default signal handling, an empty mask and no descriptor but 0, 1 and 2.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "sys/ops.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

extern char **environ;

struct spawn_failure {
    int error_number; // 0 = none
    int step;
};
enum { STEP_FORK, STEP_SET_UP, STEP_FOLDER, STEP_RUN };
static const char *const step_names[] = {"fork for", "set up", "change the folder for", "run"};

struct spawn_job {
    char *const *argv, *const *env;
    const char *cwd;
    int flags;
    int fds[3]; // what becomes 0, 1, 2
    pid_t parent;
    pid_t pid;     // answer; -1 = the fork failed
    int report[2]; // a pipe by which a child that cannot exec says why; closed by the exec
    struct spawn_failure failure;
    bool done;
};

static struct {
    pthread_once_t once;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct spawn_job *job; // one at a time
} spawner = {.once = PTHREAD_ONCE_INIT, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

// Runs in the child, on the parent's memory: only system calls from here to exec.
static void run_child(struct spawn_job *j) {
    struct spawn_failure failure = {.step = STEP_SET_UP};
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigaction(SIGPIPE, &dfl, NULL);
    setrlimit(RLIMIT_NOFILE, sys_real_nofile()); // programs that walk all descriptors would be slow with ours
    if ((j->flags & SYS_SPAWN_GROUP) && setpgid(0, 0) != 0) goto failed;
    if (j->flags & SYS_SPAWN_DIE_WITH_ME) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) goto failed;
        if (getppid() != j->parent) _exit(127); // it ended before that took effect
    }
    for (int i = 0; i < 3; i++)
        if (dup2(j->fds[i], i) < 0) goto failed;
    syscall(SYS_close_range, 3U, UINT_MAX, CLOSE_RANGE_CLOEXEC); // a library's descriptors must not leak; older kernels: best effort
    if (j->cwd != NULL) {
        failure.step = STEP_FOLDER;
        if (chdir(j->cwd) != 0) goto failed;
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    failure.step = STEP_RUN;
    execvpe(j->argv[0], j->argv, j->env);
failed:
    failure.error_number = errno;
    while (write(j->report[1], &failure, sizeof failure) < 0 && errno == EINTR) {
    }
    _exit(127);
}

static void start_child(struct spawn_job *j) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); // a handler must not run in the child on our memory
    pid_t pid = vfork();
    if (pid == 0) run_child(j);
    if (pid < 0) j->failure = (struct spawn_failure){errno, STEP_FORK};
    j->pid = pid;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    close(j->report[1]);
    ssize_t got = 0; // ends with nothing at the exec
    while (pid > 0 && (got = read(j->report[0], &j->failure, sizeof j->failure)) < 0 && errno == EINTR) {
    }
    if (pid > 0 && got != (ssize_t)sizeof j->failure) j->failure.error_number = 0;
    close(j->report[0]);
}

static void *spawner_run(void *arg) {
    (void)arg;
    pthread_setname_np(pthread_self(), "spawn");
    pthread_mutex_lock(&spawner.mutex);
    for (;;) {
        while (spawner.job == NULL || spawner.job->done) pthread_cond_wait(&spawner.changed, &spawner.mutex);
        struct spawn_job *j = spawner.job;
        start_child(j);
        j->done = true;
        pthread_cond_broadcast(&spawner.changed);
    }
    return NULL;
}

static void spawner_start(void) {
    pthread_t id;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); // signals are others' business
    if (pthread_create(&id, NULL, spawner_run, NULL) != 0) abort();
    pthread_detach(id);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void start_on_spawner(struct spawn_job *j) {
    pthread_once(&spawner.once, spawner_start);
    pthread_mutex_lock(&spawner.mutex);
    while (spawner.job != NULL) pthread_cond_wait(&spawner.changed, &spawner.mutex);
    spawner.job = j;
    pthread_cond_broadcast(&spawner.changed);
    while (!j->done) pthread_cond_wait(&spawner.changed, &spawner.mutex);
    spawner.job = NULL;
    pthread_cond_broadcast(&spawner.changed);
    pthread_mutex_unlock(&spawner.mutex);
}

// Descriptors of one spawn: [0..2] the child's ends, [3..5] ours. -1 = none.
struct ends {
    int child[3], ours[3], report[2];
};

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void close_ends(struct ends *e, bool ours) {
    if (e->child[2] == e->child[1]) e->child[2] = -1; // merged
    for (int i = 0; i < 3; i++) {
        close_fd(&e->child[i]);
        if (ours) close_fd(&e->ours[i]);
    }
}

// The child's ends are moved above 2, so that dup2 in the child never overwrites one that is still needed.
static int above_stdio(int fd) {
    if (fd < 0 || fd > 2) return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3), e = errno;
    close(fd);
    errno = e;
    return moved;
}

static int open_end(struct ends *e, int i, bool wanted) {
    if (!wanted) {
        e->child[i] = above_stdio(open("/dev/null", (i == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC));
        return e->child[i] < 0 ? -1 : 0;
    }
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return -1;
    e->child[i] = above_stdio(fds[i == 0 ? 0 : 1]);
    e->ours[i] = fds[i == 0 ? 1 : 0];
    if (e->child[i] < 0) return -1;
    return i == 0 ? 0 : fcntl(e->ours[i], F_SETFL, O_NONBLOCK);
}

static int open_ends(struct ends *e, int flags) {
    static const int wanted[3] = {SYS_SPAWN_STDIN, SYS_SPAWN_STDOUT, SYS_SPAWN_STDERR};
    for (int i = 0; i < 3; i++) {
        if (i == 2 && (flags & SYS_SPAWN_MERGE)) e->child[2] = e->child[1];
        else if (open_end(e, i, (flags & wanted[i]) != 0) != 0) return -1;
    }
    return 0;
}

static int open_report(struct ends *e) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return -1;
    e->report[0] = fds[0];
    e->report[1] = above_stdio(fds[1]);
    if (e->report[1] >= 0) return 0;
    int failed = errno;
    close(fds[0]);
    errno = failed;
    return -1;
}

enum err_code sys_spawn(struct sys *s, const char *const *argv, const char *const *env, const char *cwd, int flags, struct sys_proc *out,
                        struct err *err) {
    assert(argv != NULL && argv[0] != NULL);
    *out = (struct sys_proc){.pid = -1, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .pid_fd = -1};
    if (!s->ops->processes) return err_set(err, ERR_NOT_SUPPORTED, "the simulation has no processes");
    struct ends e = {{-1, -1, -1}, {-1, -1, -1}, {-1, -1}};
    if (open_ends(&e, flags) != 0 || open_report(&e) != 0) {
        int failed = errno;
        close_ends(&e, true);
        return err_errno(err, failed, "cannot make pipes for '%s'", argv[0]);
    }
    union { // exec takes pointers to non-const and does not write
        const char *const *from;
        char *const *to;
    } args = {argv}, vars = {env};
    struct spawn_job j = {.argv = args.to, .env = env == NULL ? environ : vars.to, .cwd = cwd, .flags = flags, .parent = getpid()};
    memcpy(j.fds, e.child, sizeof j.fds);
    memcpy(j.report, e.report, sizeof j.report);
    start_on_spawner(&j);
    close_ends(&e, j.failure.error_number != 0);
    if (j.failure.error_number != 0) {
        if (j.pid > 0) waitpid(j.pid, NULL, 0);
        return err_errno(err, j.failure.error_number, "cannot %s '%s'", step_names[j.failure.step], argv[0]);
    }
    *out = (struct sys_proc){j.pid, e.ours[0], e.ours[1], e.ours[2], (int)syscall(SYS_pidfd_open, j.pid, 0)};
    if (out->pid_fd >= 0) return ERR_OK;
    int failed = errno;
    kill(j.pid, SIGKILL);
    waitpid(j.pid, NULL, 0);
    close_ends(&e, true);
    *out = (struct sys_proc){.pid = -1, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .pid_fd = -1};
    return err_errno(err, failed, "cannot watch the process of '%s'", argv[0]);
}

static int exit_code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

enum err_code sys_proc_wait(struct sys_proc *p, int *status, struct err *err) {
    assert(p->pid_fd >= 0); // waited for already?
    int st;
    pid_t got;
    do got = waitpid((pid_t)p->pid, &st, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0) return err_errno(err, errno, "cannot wait for process %lld", (long long)p->pid);
    sys_fd_close(p->pid_fd);
    p->pid_fd = -1;
    if (status != NULL) *status = exit_code_of(st);
    return ERR_OK;
}

bool sys_proc_try_wait(struct sys_proc *p, int *status) {
    assert(p->pid_fd >= 0);
    int st;
    pid_t got = waitpid((pid_t)p->pid, &st, WNOHANG);
    if (got != (pid_t)p->pid) return false;
    sys_fd_close(p->pid_fd);
    p->pid_fd = -1;
    if (status != NULL) *status = exit_code_of(st);
    return true;
}

// Only before the wait: a process that was waited for has given its number back. A group has its leader's number, and nobody else can
// make a group of that number, so trying the group first is safe without knowing how the child was started.
void sys_proc_kill(struct sys_proc *p, int sig) {
    if (p->pid_fd < 0) return;
    if (kill((pid_t)-p->pid, sig) != 0) kill((pid_t)p->pid, sig);
}

int64_t sys_fd_read(int fd, void *p, size_t n, struct err *err) {
    ssize_t got;
    do got = read(fd, p, n);
    while (got < 0 && errno == EINTR);
    if (got < 0) err_errno(err, errno, "cannot read from a pipe");
    return got;
}

int64_t sys_fd_write(int fd, const void *p, size_t n, struct err *err) {
    ssize_t put;
    do put = write(fd, p, n);
    while (put < 0 && errno == EINTR);
    if (put < 0) err_errno(err, errno, "cannot write to a pipe");
    return put;
}

void sys_fd_close(int fd) {
    if (fd >= 0) close(fd);
}

static void write_all(int fd, struct str s) {
    while (s.n > 0) {
        int64_t put = sys_fd_write(fd, s.p, s.n, NULL);
        if (put <= 0) return; // nobody is left to tell
        s.p += put;
        s.n -= (size_t)put;
    }
}
bool sys_program_path(char out[4096]) {
    ssize_t n = readlink("/proc/self/exe", out, 4095);
    out[n < 0 ? 0 : n] = 0;
    return n > 0 && n < 4095;
}

void sys_private_files(void) { umask(077); }

void sys_stdout_write(struct str s) { write_all(1, s); }
void sys_stderr_write(struct str s) { write_all(2, s); }

static struct {
    void (*fn)(void *arg, int sig);
    void *arg;
    sigset_t signals;
} stop;

static void *stop_run(void *arg) {
    (void)arg;
    pthread_setname_np(pthread_self(), "signals");
    for (int sig; sigwait(&stop.signals, &sig) == 0;) stop.fn(stop.arg, sig);
    return NULL;
}

void sys_on_stop_signal(void (*fn)(void *arg, int sig), void *arg) {
    assert(stop.fn == NULL); // once in a process
    stop.fn = fn;
    stop.arg = arg;
    sigemptyset(&stop.signals);
    sigaddset(&stop.signals, SIGTERM);
    sigaddset(&stop.signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop.signals, NULL);
    pthread_t id;
    if (pthread_create(&id, NULL, stop_run, NULL) != 0) abort();
    pthread_detach(id);
}
