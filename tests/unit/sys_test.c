// SPDX-License-Identifier: Apache-2.0
// The real system: files, directories, sockets, poll sets, threads, processes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sys/sys.h"

static char dir[64];

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/millrace-sys-XXXXXX");
    return mkdtemp(dir) == NULL;
}
static int teardown(void **state) {
    (void)state;
    return sys_remove_tree(sys_real(), dir, NULL) != ERR_OK || sys_exists(sys_real(), dir);
}

static const char *in_dir(const char *name) {
    static char paths[8][256];
    static unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, 256, "%s/%s", dir, name);
    return p;
}

static void test_file(void **state) {
    (void)state;
    struct sys *s = sys_real();
    struct err err;
    assert_null(sys_open(s, in_dir("absent"), SYS_READ, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    struct sys_file *f = sys_open(s, in_dir("a"), SYS_READ | SYS_WRITE | SYS_CREATE | SYS_EXCLUSIVE, &err);
    assert_non_null(f);
    assert_null(sys_open(s, in_dir("a"), SYS_WRITE | SYS_CREATE | SYS_EXCLUSIVE, &err));
    assert_int_equal(err.code, ERR_EXISTS);
    assert_int_equal(sys_pwrite(f, "hello world", 11, 5, &err), ERR_OK);
    assert_int_equal(sys_file_size(f, &err), 16);
    char got[32];
    assert_int_equal(sys_pread(f, got, sizeof got, 3, &err), 13);
    assert_memory_equal(got, "\0\0hello world", 13);
    assert_int_equal(sys_pread(f, got, sizeof got, 99, &err), 0);
    assert_int_equal(sys_truncate(f, 7, &err), ERR_OK);
    assert_int_equal(sys_fdatasync(f, &err), ERR_OK);
    assert_int_equal(sys_lock(f, &err), ERR_OK);
    struct sys_file *second = sys_open(s, in_dir("a"), SYS_WRITE, &err);
    assert_int_equal(sys_lock(second, &err), ERR_LOCKED);
    sys_close(f);
    assert_int_equal(sys_lock(second, &err), ERR_OK);
    sys_close(second);
    sys_close(NULL);
    struct sys_stat st;
    assert_int_equal(sys_stat(s, in_dir("a"), &st, &err), ERR_OK);
    assert_int_equal(st.size, 7);
    assert_int_equal(st.type, SYS_TYPE_FILE);
    assert_true(st.mtime_us > 1700000000000000 && st.mtime_us <= sys_now_us(s) + 1000000);
}

static void test_append(void **state) {
    (void)state;
    struct sys *s = sys_real();
    for (int i = 0; i < 2; i++) {
        struct sys_file *f = sys_open(s, in_dir("log"), SYS_WRITE | SYS_CREATE | SYS_APPEND, NULL);
        assert_int_equal(sys_pwrite(f, "ab", 2, 0, NULL), ERR_OK);
        sys_close(f);
    }
    size_t n;
    char *p = sys_read_file(s, in_dir("log"), 100, &n, NULL);
    assert_int_equal(n, 4);
    assert_string_equal(p, "abab");
    mem_free(p);
}

static void test_whole_files(void **state) {
    (void)state;
    struct sys *s = sys_real();
    struct err err;
    assert_int_equal(sys_write_file(s, in_dir("w"), STR("one"), &err), ERR_OK);
    assert_int_equal(sys_write_file(s, in_dir("w"), STR(""), &err), ERR_OK);
    size_t n = 9;
    char *p = sys_read_file(s, in_dir("w"), 0, &n, &err);
    assert_non_null(p);
    assert_int_equal(n, 0);
    mem_free(p);
    char big[10000];
    memset(big, 'x', sizeof big);
    assert_int_equal(sys_write_file(s, in_dir("w"), str_n(big, sizeof big), &err), ERR_OK);
    p = sys_read_file(s, in_dir("w"), sizeof big, &n, &err);
    assert_non_null(p);
    assert_int_equal(n, sizeof big);
    assert_memory_equal(p, big, n);
    mem_free(p);
    assert_null(sys_read_file(s, in_dir("w"), sizeof big - 1, &n, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_int_equal(sys_create_file(s, in_dir("c"), STR("first"), &err), ERR_OK);
    assert_int_equal(sys_create_file(s, in_dir("c"), STR("second"), &err), ERR_EXISTS);
    p = sys_read_file(s, in_dir("c"), 100, NULL, &err);
    assert_string_equal(p, "first");
    mem_free(p);
    struct sys_list l; // no temporary name stays
    assert_int_equal(sys_list_dir(s, dir, &l, &err), ERR_OK);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.names[0], "c");
    assert_string_equal(l.names[1], "w");
    sys_list_free(&l);
    p = sys_read_file(s, "/proc/self/stat", 4096, &n, &err); // size 0, content not
    assert_non_null(p);
    assert_true(n > 10);
    mem_free(p);
}

static void test_directories(void **state) {
    (void)state;
    struct sys *s = sys_real();
    struct err err;
    assert_int_equal(sys_mkdirs(s, in_dir("x/y/z/"), &err), ERR_OK);
    assert_int_equal(sys_mkdirs(s, in_dir("x/y/z"), &err), ERR_OK);
    assert_int_equal(sys_mkdir(s, in_dir("x"), &err), ERR_EXISTS);
    assert_int_equal(sys_write_file(s, in_dir("x/f"), STR("1"), &err), ERR_OK);
    assert_int_equal(sys_mkdirs(s, in_dir("x/f"), &err), ERR_EXISTS);
    assert_int_equal(sys_rename(s, in_dir("x/f"), in_dir("x/y/g"), &err), ERR_OK);
    assert_int_equal(sys_link(s, in_dir("x/y/g"), in_dir("x/h"), &err), ERR_OK);
    assert_int_equal(sys_link(s, in_dir("x/y/g"), in_dir("x/h"), &err), ERR_EXISTS);
    assert_int_equal(sys_unlink(s, in_dir("x/h"), &err), ERR_OK);
    assert_int_equal(sys_unlink(s, in_dir("x/h"), &err), ERR_NOT_FOUND);
    assert_int_equal(sys_sync_dir(s, in_dir("x"), &err), ERR_OK);
    assert_int_not_equal(sys_rmdir(s, in_dir("x"), &err), ERR_OK);
    char outside[] = "/tmp/millrace-kept-XXXXXX"; // a link out of the tree is removed, what it names is not
    assert_non_null(mkdtemp(outside));
    char cmd[256];
    snprintf(cmd, sizeof cmd, "ln -s %s %s", outside, in_dir("x/out"));
    assert_int_equal(system(cmd), 0);
    assert_int_equal(sys_remove_tree(s, in_dir("x"), &err), ERR_OK);
    assert_false(sys_exists(s, in_dir("x")));
    assert_true(sys_exists(s, outside));
    assert_int_equal(sys_rmdir(s, outside, &err), ERR_OK);
    assert_int_equal(sys_remove_tree(s, in_dir("x"), &err), ERR_OK);
    struct sys_stat st;
    assert_int_equal(sys_stat(s, in_dir("x"), &st, &err), ERR_NOT_FOUND);
    assert_true(sys_disk_free(s, dir) > 0);
}

static void test_uuid(void **state) {
    (void)state;
    uint8_t a[16], b[16];
    sys_uuid(sys_real(), a);
    sys_uuid(sys_real(), b);
    assert_memory_not_equal(a, b, 16);
    char text[37];
    sys_uuid_text(a, text);
    assert_int_equal(strlen(text), 36);
    assert_int_equal(text[14], '4');
    assert_non_null(strchr("89ab", text[19]));
    static const uint8_t known[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10};
    sys_uuid_text(known, text);
    assert_string_equal(text, "01234567-89ab-cdef-fedc-ba9876543210");
}

static int64_t recv_wait(struct sys_poll *p, struct sys_sock *k, void *buf, size_t n) {
    struct err err;
    for (;;) {
        int64_t got = sys_sock_recv(k, buf, n, &err);
        if (got >= 0 || err.code != ERR_BUSY) return got;
        assert_int_equal(sys_poll_sock(p, k, SYS_EV_READ, k, &err), ERR_OK);
        struct sys_event ev[4];
        sys_poll_wait(p, ev, 4, 5000000);
    }
}

static void test_sockets(void **state) {
    (void)state;
    struct sys *s = sys_real();
    struct err err;
    struct sys_sock *l = sys_listen(s, "127.0.0.1", 0, &err);
    assert_non_null(l);
    int port = sys_sock_port(l);
    assert_true(port > 0);
    assert_null(sys_listen(s, "127.0.0.1", port, &err));
    assert_int_equal(err.code, ERR_EXISTS);
    assert_null(sys_accept(l, NULL, &err));
    assert_int_equal(err.code, ERR_BUSY);
    struct sys_sock *c = sys_connect(s, "localhost", port, 1000, &err);
    assert_non_null(c);
    struct sys_poll *p = sys_poll_new(s, &err);
    struct sys_event ev[4];
    assert_int_equal(sys_poll_sock(p, l, SYS_EV_READ, l, &err), ERR_OK);
    assert_int_equal(sys_poll_wait(p, ev, 4, 5000000), 1);
    assert_ptr_equal(ev[0].tag, l);
    char peer[64];
    struct sys_sock *a = sys_accept(l, peer, &err);
    assert_non_null(a);
    assert_memory_equal(peer, "127.0.0.1:", 10);
    assert_int_equal(sys_poll_sock(p, l, 0, l, &err), ERR_OK);
    struct sys_iov iov[2] = {{"hel", 3}, {"lo", 2}};
    assert_int_equal(sys_sock_send(c, iov, 2, &err), 5);
    char got[16];
    assert_int_equal(recv_wait(p, a, got, sizeof got), 5);
    assert_memory_equal(got, "hello", 5);
    assert_int_equal(sys_sock_recv(a, got, sizeof got, &err), -1);
    assert_int_equal(err.code, ERR_BUSY);
    assert_int_equal(sys_write_file(s, in_dir("sf"), STR("0123456789"), &err), ERR_OK);
    struct sys_file *f = sys_open(s, in_dir("sf"), SYS_READ, &err);
    assert_int_equal(sys_sock_sendfile(a, f, 4, 3, &err), 3);
    sys_close(f);
    assert_int_equal(recv_wait(p, c, got, sizeof got), 3);
    assert_memory_equal(got, "456", 3);
    sys_sock_close(c);
    assert_int_equal(recv_wait(p, a, got, sizeof got), 0);
    sys_sock_close(a);
    sys_sock_close(l);
    sys_poll_free(p);
    assert_null(sys_connect(s, "127.0.0.1", port, 1000, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_null(sys_connect(s, "no such host.invalid", port, 1000, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
}

static void test_send_would_block(void **state) {
    (void)state;
    struct sys *s = sys_real();
    struct err err;
    struct sys_sock *l = sys_listen(s, "127.0.0.1", 0, &err);
    struct sys_sock *c = sys_connect(s, "127.0.0.1", sys_sock_port(l), 1000, &err);
    static char block[65536];
    struct sys_iov iov = {block, sizeof block};
    int64_t sent = 0, n;
    while ((n = sys_sock_send(c, &iov, 1, &err)) >= 0) sent += n;
    assert_int_equal(err.code, ERR_BUSY);
    assert_true(sent > 0);
    sys_sock_close(l); // resets the connection that nobody accepted
    struct sys_poll *p = sys_poll_new(s, &err);
    assert_int_equal(sys_poll_sock(p, c, SYS_EV_WRITE, c, &err), ERR_OK);
    struct sys_event ev;
    assert_int_equal(sys_poll_wait(p, &ev, 1, 5000000), 1);
    assert_true(ev.events & SYS_EV_CLOSED);
    while ((n = sys_sock_send(c, &iov, 1, &err)) >= 0) {
    }
    assert_int_equal(err.code, ERR_CLOSED); // and no SIGPIPE
    sys_sock_close(c);
    sys_poll_free(p);
}

static void wake_later(void *arg) { sys_poll_wake(arg); }

static void test_poll_wake(void **state) {
    (void)state;
    struct sys_poll *p = sys_poll_new(sys_real(), NULL);
    struct sys_event ev;
    assert_int_equal(sys_poll_wait(p, &ev, 1, 1000), 0);
    for (int i = 0; i < 100; i++) {
        struct sys_thread *t = sys_thread_start("waker with a long name", wake_later, p);
        assert_int_equal(sys_poll_wait(p, &ev, 1, -1), 0);
        sys_thread_join(t);
    }
    sys_poll_wake(p); // before the wait counts as well
    sys_poll_wake(p);
    assert_int_equal(sys_poll_wait(p, &ev, 1, -1), 0);
    sys_poll_free(p);
}

struct box {
    struct sys_mutex mutex;
    struct sys_cond cond;
    int value;
};

static void add_many(void *arg) {
    struct box *b = arg;
    for (int i = 0; i < 10000; i++) {
        sys_mutex_lock(&b->mutex);
        b->value++;
        sys_cond_signal(&b->cond);
        sys_mutex_unlock(&b->mutex);
    }
}

static void test_threads(void **state) {
    (void)state;
    struct box b = {.value = 0};
    sys_mutex_init(&b.mutex);
    sys_cond_init(&b.cond);
    struct sys_thread *t[4];
    for (int i = 0; i < 4; i++) t[i] = sys_thread_start("add", add_many, &b);
    sys_mutex_lock(&b.mutex);
    while (b.value < 40000) sys_cond_wait(&b.cond, &b.mutex);
    assert_false(sys_cond_wait_us(&b.cond, &b.mutex, 1000));
    sys_mutex_unlock(&b.mutex);
    for (int i = 0; i < 4; i++) sys_thread_join(t[i]);
    sys_cond_fini(&b.cond);
    sys_mutex_fini(&b.mutex);
    assert_true(sys_cpu_count() >= 1);
    assert_true(sys_rss_bytes() > 100000);
    assert_true(sys_peak_rss_bytes() >= 100000);
    assert_true(sys_cpu_us() > 0);
}

// Reads a pipe to its end with a poll set.
static size_t read_all(int fd, char *to, size_t max) {
    struct sys_poll *p = sys_poll_new(sys_real(), NULL);
    assert_int_equal(sys_poll_fd(p, fd, SYS_EV_READ, p, NULL), ERR_OK);
    size_t n = 0;
    for (;;) {
        struct err err;
        int64_t got = sys_fd_read(fd, to + n, max - n, &err);
        if (got == 0) break;
        if (got > 0) n += (size_t)got;
        else {
            assert_int_equal(err.code, ERR_BUSY);
            struct sys_event ev;
            assert_int_equal(sys_poll_wait(p, &ev, 1, 10000000), 1);
        }
    }
    sys_poll_free(p);
    return n;
}

static void test_spawn(void **state) {
    (void)state;
    struct sys *s = sys_real();
    struct err err;
    struct sys_proc p;
    const char *const cat[] = {"sh", "-c", "pwd; echo $MILL >&2; cat; exit 7", NULL};
    const char *const env[] = {"MILL=race", "PATH=/usr/bin:/bin", NULL};
    assert_int_equal(sys_spawn(s, cat, env, dir, SYS_SPAWN_STDIN | SYS_SPAWN_STDOUT | SYS_SPAWN_MERGE, &p, &err), ERR_OK);
    assert_int_equal(p.stderr_fd, -1);
    assert_int_equal(sys_fd_write(p.stdin_fd, "in\n", 3, &err), 3);
    sys_fd_close(p.stdin_fd);
    char got[512], want[512];
    size_t n = read_all(p.stdout_fd, got, sizeof got);
    int len = snprintf(want, sizeof want, "%s\nrace\nin\n", dir);
    assert_int_equal(n, len);
    assert_memory_equal(got, want, n);
    sys_fd_close(p.stdout_fd);
    int status = -1;
    assert_int_equal(sys_proc_wait(&p, &status, &err), ERR_OK);
    assert_int_equal(status, 7);
    assert_int_equal(p.pid_fd, -1);
    sys_proc_kill(&p, SIGKILL); // after the wait: nothing
    const char *const none[] = {"no-such-program-here", NULL};
    assert_int_equal(sys_spawn(s, none, NULL, NULL, 0, &p, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "no-such-program-here"));
    const char *const ok[] = {"true", NULL};
    assert_int_equal(sys_spawn(s, ok, NULL, "/no/such/folder", 0, &p, &err), ERR_NOT_FOUND);
}

// A child sees no descriptor but 0, 1, 2, whatever we or a library hold open, no signal is blocked, and SIGPIPE
// not ignored as with us.
static void test_spawn_clean(void **state) {
    (void)state;
    FILE *leak = fopen("/dev/null", "r"); // without close-on-exec
    assert_non_null(leak);
    sigset_t term, old;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, &old);
    const char *const argv[] = {"sh", "-c", "ls /proc/$$/fd; exec grep -E 'Sig(Blk|Ign)' /proc/self/status", NULL};
    struct sys_proc p;
    assert_int_equal(sys_spawn(sys_real(), argv, NULL, NULL, SYS_SPAWN_STDOUT | SYS_SPAWN_STDERR, &p, NULL), ERR_OK);
    char got[512];
    size_t n = read_all(p.stdout_fd, got, sizeof got - 1);
    got[n] = 0;
    static const char want[] = "0\n1\n2\nSigBlk:\t0000000000000000\nSigIgn:\t";
    assert_memory_equal(got, want, sizeof want - 1);
    unsigned long long ignored = strtoull(got + sizeof want - 1, NULL, 16); // what the test's own parent ignored stays so
    assert_int_equal(ignored & 1ull << (SIGPIPE - 1), 0);
    sys_fd_close(p.stdout_fd);
    sys_fd_close(p.stderr_fd);
    int status = -1;
    assert_int_equal(sys_proc_wait(&p, &status, NULL), ERR_OK);
    assert_int_equal(status, 0);
    sigprocmask(SIG_SETMASK, &old, NULL);
    fclose(leak);
}

static void test_spawn_kill_group(void **state) {
    (void)state;
    // The grandchild holds the pipe open: only killing the whole group ends it.
    const char *const argv[] = {"sh", "-c", "sleep 1000 & echo up; wait", NULL};
    struct sys_proc p;
    assert_int_equal(sys_spawn(sys_real(), argv, NULL, NULL, SYS_SPAWN_STDOUT | SYS_SPAWN_GROUP | SYS_SPAWN_DIE_WITH_ME, &p, NULL), ERR_OK);
    struct sys_poll *poll = sys_poll_new(sys_real(), NULL);
    assert_int_equal(sys_poll_fd(poll, p.stdout_fd, SYS_EV_READ, &p, NULL), ERR_OK);
    struct sys_event ev;
    assert_int_equal(sys_poll_wait(poll, &ev, 1, 10000000), 1);
    int status;
    assert_false(sys_proc_try_wait(&p, &status));
    assert_int_equal(sys_poll_fd(poll, p.stdout_fd, 0, NULL, NULL), ERR_OK);
    assert_int_equal(sys_poll_fd(poll, p.pid_fd, SYS_EV_READ, &ev, NULL), ERR_OK);
    sys_proc_kill(&p, SIGKILL);
    assert_int_equal(sys_poll_wait(poll, &ev, 1, 10000000), 1); // the process has ended
    assert_true(sys_proc_try_wait(&p, &status));
    assert_int_equal(status, 128 + SIGKILL);
    char got[64];
    assert_int_equal(read_all(p.stdout_fd, got, sizeof got), 3); // returns only when the grandchild is gone too
    sys_fd_close(p.stdout_fd);
    sys_poll_free(poll);
}

static void spawn_from_thread(void *arg) {
    const char *const argv[] = {"cat", NULL};
    assert_int_equal(sys_spawn(sys_real(), argv, NULL, NULL, SYS_SPAWN_STDIN | SYS_SPAWN_STDOUT | SYS_SPAWN_DIE_WITH_ME, arg, NULL), ERR_OK);
}

static void test_spawn_outlives_thread(void **state) {
    (void)state;
    struct sys_proc p;
    sys_thread_join(sys_thread_start("spawner", spawn_from_thread, &p));
    assert_int_equal(sys_fd_write(p.stdin_fd, "still here", 10, NULL), 10);
    sys_fd_close(p.stdin_fd);
    char got[64];
    assert_int_equal(read_all(p.stdout_fd, got, sizeof got), 10);
    sys_fd_close(p.stdout_fd);
    int status = -1;
    assert_int_equal(sys_proc_wait(&p, &status, NULL), ERR_OK);
    assert_int_equal(status, 0);
}

struct stop_seen {
    int sig;
    struct sys_poll *poll;
};

static void on_stop(void *arg, int sig) {
    struct stop_seen *seen = arg;
    seen->sig = sig;
    sys_poll_wake(seen->poll);
}

static void test_stop_signal(void **state) {
    (void)state;
    static struct stop_seen seen;
    seen.poll = sys_poll_new(sys_real(), NULL);
    sys_on_stop_signal(on_stop, &seen);
    kill((pid_t)sys_getpid(), SIGTERM);
    struct sys_event ev;
    assert_int_equal(sys_poll_wait(seen.poll, &ev, 1, -1), 0);
    assert_int_equal(seen.sig, SIGTERM);
    sys_poll_free(seen.poll);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_append, setup, teardown),
        cmocka_unit_test_setup_teardown(test_whole_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directories, setup, teardown),
        cmocka_unit_test(test_uuid),
        cmocka_unit_test_setup_teardown(test_sockets, setup, teardown),
        cmocka_unit_test(test_send_would_block),
        cmocka_unit_test(test_poll_wake),
        cmocka_unit_test(test_threads),
        cmocka_unit_test_setup_teardown(test_spawn, setup, teardown),
        cmocka_unit_test(test_spawn_clean),
        cmocka_unit_test(test_spawn_kill_group),
        cmocka_unit_test(test_spawn_outlives_thread),
        cmocka_unit_test(test_stop_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
