// SPDX-License-Identifier: Apache-2.0
// The simulation keeps its promises: what a power cut loses, keeps and tears; faults; clock; network. The crash tests of the other rooms
// are worth only as much as this.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "loop/loop.h"
#include "sys/sim.h"

enum { SEEDS = 300, SECTOR = 512 };

static bool reads_as(struct sys *s, const char *path, const char *want) {
    size_t n;
    char *p = sys_read_file(s, path, 1 << 20, &n, NULL);
    bool same = p != NULL && n == strlen(want) && memcmp(p, want, n) == 0;
    mem_free(p);
    return same;
}

// The same calls as on the real system give the same answers.
static void test_same_as_real(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(1);
    struct err err;
    assert_null(sys_open(s, "d/a", SYS_READ, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(sys_mkdirs(s, "/d/e/f", &err), ERR_OK);
    assert_int_equal(sys_mkdirs(s, "d/e/f/", &err), ERR_OK);
    assert_int_equal(sys_mkdir(s, "d", &err), ERR_EXISTS);
    struct sys_file *f = sys_open(s, "d/a", SYS_READ | SYS_WRITE | SYS_CREATE | SYS_EXCLUSIVE, &err);
    assert_non_null(f);
    assert_null(sys_open(s, "d/a", SYS_WRITE | SYS_CREATE | SYS_EXCLUSIVE, &err));
    assert_int_equal(err.code, ERR_EXISTS);
    assert_int_equal(sys_pwrite(f, "hello world", 11, 5, &err), ERR_OK);
    char got[32];
    assert_int_equal(sys_pread(f, got, sizeof got, 3, &err), 13);
    assert_memory_equal(got, "\0\0hello world", 13);
    assert_int_equal(sys_truncate(f, 7, &err), ERR_OK);
    assert_int_equal(sys_truncate(f, 9, &err), ERR_OK);
    assert_int_equal(sys_pread(f, got, sizeof got, 5, &err), 4);
    assert_memory_equal(got, "he\0\0", 4); // what was cut off does not come back
    assert_int_equal(sys_lock(f, &err), ERR_OK);
    struct sys_file *second = sys_open(s, "d/a", SYS_WRITE | SYS_APPEND, &err);
    assert_int_equal(sys_lock(second, &err), ERR_LOCKED);
    sys_close(f);
    assert_int_equal(sys_lock(second, &err), ERR_OK);
    assert_int_equal(sys_pwrite(second, "!", 1, 0, &err), ERR_OK);
    assert_int_equal(sys_file_size(second, &err), 10);
    assert_int_equal(sys_file_fd(second), -1);
    sys_close(second);
    assert_int_equal(sys_create_file(s, "d/c", STR("one"), &err), ERR_OK);
    assert_int_equal(sys_create_file(s, "d/c", STR("two"), &err), ERR_EXISTS);
    assert_int_equal(sys_write_file(s, "d/w", STR("three"), &err), ERR_OK);
    assert_int_equal(sys_rename(s, "d/w", "d/c", &err), ERR_OK);
    assert_true(reads_as(s, "d/c", "three"));
    assert_int_equal(sys_rename(s, "d/c", "d/e/c", &err), ERR_OK);
    assert_int_equal(sys_rename(s, "d/c", "d/x", &err), ERR_NOT_FOUND);
    assert_int_not_equal(sys_rmdir(s, "d/e", &err), ERR_OK);
    assert_int_not_equal(sys_unlink(s, "d/e", &err), ERR_OK);
    struct sys_list l;
    assert_int_equal(sys_list_dir(s, "d", &l, &err), ERR_OK);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.names[0], "a");
    assert_string_equal(l.names[1], "e");
    sys_list_free(&l);
    struct sys_stat st;
    assert_int_equal(sys_stat(s, "d/e", &st, &err), ERR_OK);
    assert_int_equal(st.type, SYS_TYPE_DIR);
    assert_int_equal(sys_remove_tree(s, "d", &err), ERR_OK);
    assert_false(sys_exists(s, "d"));
    sys_sim_free(s);
}

// A file of four sectors of 'o', durable; then all are overwritten with 'n' and not synced.
static void test_unsynced_bytes(void **state) {
    (void)state;
    int kept = 0, lost = 0, torn = 0, mixed = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sys *s = sys_sim_new(seed);
        char old[4 * SECTOR], new[4 * SECTOR], got[4 * SECTOR];
        memset(old, 'o', sizeof old);
        memset(new, 'n', sizeof new);
        assert_int_equal(sys_write_file(s, "f", str_n(old, sizeof old), NULL), ERR_OK);
        struct sys_file *f = sys_open(s, "f", SYS_READ | SYS_WRITE, NULL);
        assert_int_equal(sys_pwrite(f, new, sizeof new, 0, NULL), ERR_OK);
        assert_int_equal(sys_pread(f, got, sizeof got, 0, NULL), sizeof got);
        assert_memory_equal(got, new, sizeof got); // visible at once
        sys_sim_reboot(s);
        assert_int_equal(sys_pread(f, got, 1, 0, NULL), -1); // stale
        sys_close(f);
        f = sys_open(s, "f", SYS_READ, NULL);
        assert_int_equal(sys_pread(f, got, sizeof got, 0, NULL), sizeof got);
        int n_kept = 0, n_lost = 0;
        for (int i = 0; i < 4; i++) {
            const char *sector = got + i * SECTOR;
            size_t n = 0;
            while (n < SECTOR && sector[n] == 'n') n++;
            for (size_t k = n; k < SECTOR; k++) assert_int_equal(sector[k], 'o'); // torn once, the new part first
            if (n == SECTOR) n_kept++;
            else if (n == 0) n_lost++;
            else torn++;
        }
        if (n_kept == 4) kept++;
        if (n_lost == 4) lost++;
        if (n_kept > 0 && n_lost > 0) mixed++;
        sys_close(f);
        sys_sim_free(s);
    }
    assert_true(kept > SEEDS / 10 && lost > SEEDS / 10 && torn > SEEDS / 10 && mixed > SEEDS / 10);
}

// Appended bytes: the size may have grown without them (zeros), or not.
static void test_unsynced_append(void **state) {
    (void)state;
    int zeros = 0, shorter = 0, all = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sys *s = sys_sim_new(seed);
        assert_int_equal(sys_write_file(s, "f", STR("durable"), NULL), ERR_OK);
        struct sys_file *f = sys_open(s, "f", SYS_WRITE, NULL);
        char more[1500];
        memset(more, 'm', sizeof more);
        assert_int_equal(sys_pwrite(f, more, sizeof more, 7, NULL), ERR_OK);
        sys_close(f);
        sys_sim_reboot(s);
        size_t n;
        char *p = sys_read_file(s, "f", 10000, &n, NULL);
        assert_in_range(n, 7, 1507);
        assert_memory_equal(p, "durable", 7);
        bool has_zero = false;
        for (size_t i = 7; i < n; i++) {
            assert_true(p[i] == 'm' || p[i] == 0);
            has_zero |= p[i] == 0;
        }
        zeros += has_zero;
        shorter += n < 1507;
        all += n == 1507 && !has_zero;
        mem_free(p);
        sys_sim_free(s);
    }
    assert_true(zeros > SEEDS / 20 && shorter > SEEDS / 20 && all > SEEDS / 20);
}

static void test_synced_bytes_stay(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sys *s = sys_sim_new(seed);
        assert_int_equal(sys_write_file(s, "f", STR("12345678"), NULL), ERR_OK);
        struct sys_file *f = sys_open(s, "f", SYS_WRITE, NULL);
        assert_int_equal(sys_pwrite(f, "ab", 2, 2, NULL), ERR_OK);
        assert_int_equal(sys_truncate(f, 6, NULL), ERR_OK);
        assert_int_equal(sys_fdatasync(f, NULL), ERR_OK);
        sys_close(f);
        sys_sim_reboot(s);
        assert_true(reads_as(s, "f", "12ab56"));
        sys_sim_reboot(s); // and a second cut changes nothing
        assert_true(reads_as(s, "f", "12ab56"));
        sys_sim_free(s);
    }
}

static void make_file(struct sys *s, const char *path) {
    struct sys_file *f = sys_open(s, path, SYS_WRITE | SYS_CREATE, NULL);
    assert_non_null(f);
    assert_int_equal(sys_fdatasync(f, NULL), ERR_OK);
    sys_close(f);
}

// Names without a sync of their folder: a prefix of the changes survives.
static void test_unsynced_names(void **state) {
    (void)state;
    int survivors[4] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sys *s = sys_sim_new(seed);
        make_file(s, "a");
        make_file(s, "b");
        make_file(s, "c");
        sys_sim_reboot(s);
        bool a = sys_exists(s, "a"), b = sys_exists(s, "b"), c = sys_exists(s, "c");
        assert_true(a || !b);
        assert_true(b || !c);
        survivors[a + b + c]++;
        sys_sim_free(s);
    }
    for (int i = 0; i < 4; i++) assert_true(survivors[i] > 10);
}

static void test_unsynced_rename(void **state) {
    (void)state;
    int done = 0, undone = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sys *s = sys_sim_new(seed);
        assert_int_equal(sys_write_file(s, "to", STR("old"), NULL), ERR_OK);
        assert_int_equal(sys_write_file(s, "from", STR("new"), NULL), ERR_OK);
        assert_int_equal(sys_rename(s, "from", "to", NULL), ERR_OK);
        sys_sim_reboot(s);
        bool renamed = reads_as(s, "to", "new");
        assert_true(renamed || reads_as(s, "to", "old"));
        assert_true(sys_exists(s, "from") == !renamed); // never half
        done += renamed, undone += !renamed;
        assert_int_equal(sys_write_file(s, "from", STR("new"), NULL), ERR_OK);
        assert_int_equal(sys_rename(s, "from", "to", NULL), ERR_OK);
        assert_int_equal(sys_sync_dir(s, "/", NULL), ERR_OK);
        sys_sim_reboot(s);
        assert_true(reads_as(s, "to", "new"));
        assert_false(sys_exists(s, "from"));
        sys_sim_free(s);
    }
    assert_true(done > SEEDS / 10 && undone > SEEDS / 10);
}

// Between folders: never lost, whichever folder is synced.
static void test_rename_between_folders(void **state) {
    (void)state;
    int both = 0, moved = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sys *s = sys_sim_new(seed);
        assert_int_equal(sys_mkdirs(s, "x", NULL), ERR_OK);
        assert_int_equal(sys_mkdirs(s, "y", NULL), ERR_OK);
        assert_int_equal(sys_write_file(s, "x/f", STR("content"), NULL), ERR_OK);
        assert_int_equal(sys_rename(s, "x/f", "y/g", NULL), ERR_OK);
        if (seed % 3 == 1) assert_int_equal(sys_sync_dir(s, "x", NULL), ERR_OK);
        if (seed % 3 == 2) assert_int_equal(sys_sync_dir(s, "y", NULL), ERR_OK);
        sys_sim_reboot(s);
        bool old = reads_as(s, "x/f", "content"), new = reads_as(s, "y/g", "content");
        assert_true(old || new);
        if (seed % 3 == 1) assert_true(new && !old);
        if (seed % 3 == 2) assert_true(new);
        both += old && new, moved += new && !old;
        sys_sim_free(s);
    }
    assert_true(both > 10 && moved > 10);
}

static void test_unsynced_removal_and_link(void **state) {
    (void)state;
    int back = 0, linked = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sys *s = sys_sim_new(seed);
        assert_int_equal(sys_write_file(s, "f", STR("content"), NULL), ERR_OK);
        assert_int_equal(sys_link(s, "f", "g", NULL), ERR_OK);
        assert_int_equal(sys_unlink(s, "f", NULL), ERR_OK);
        sys_sim_reboot(s);
        bool f = reads_as(s, "f", "content"), g = reads_as(s, "g", "content");
        assert_true(f || g);
        back += f, linked += g;
        assert_int_equal(sys_remove_tree(s, "f", NULL), ERR_OK);
        assert_int_equal(sys_remove_tree(s, "g", NULL), ERR_OK);
        assert_int_equal(sys_sync_dir(s, "/", NULL), ERR_OK);
        sys_sim_reboot(s);
        assert_false(sys_exists(s, "f") || sys_exists(s, "g"));
        sys_sim_free(s);
    }
    assert_true(back > SEEDS / 10 && linked > SEEDS / 10);
}

// The helpers that promise durability keep it at every operation: the old content or the new one, and after success the new one.
static void test_write_file_is_atomic(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        bool finished = false;
        for (uint64_t op = 1; !finished; op++) {
            struct sys *s = sys_sim_new(seed);
            assert_int_equal(sys_write_file(s, "f", STR("old"), NULL), ERR_OK);
            sys_sim_crash_at(s, sys_sim_ops(s) + op);
            finished = sys_write_file(s, "f", STR("new and longer"), NULL) == ERR_OK;
            assert_int_equal(sys_sim_crashed(s), !finished);
            sys_sim_reboot(s);
            assert_true(reads_as(s, "f", "new and longer") || (!finished && reads_as(s, "f", "old")));
            sys_sim_crash_at(s, sys_sim_ops(s) + op);
            bool created = sys_create_file(s, "c", STR("whole"), NULL) == ERR_OK;
            sys_sim_reboot(s);
            assert_true(reads_as(s, "c", "whole") || (!created && !sys_exists(s, "c")));
            sys_sim_crash_at(s, sys_sim_ops(s) + op);
            bool made = sys_mkdirs(s, "p/q/r", NULL) == ERR_OK;
            sys_sim_reboot(s);
            assert_true(sys_exists(s, "p/q/r") || !made);
            finished = finished && created && made;
            sys_sim_free(s);
        }
    }
}

static void test_after_the_crash(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(3);
    struct err err;
    struct sys_file *f = sys_open(s, "f", SYS_READ | SYS_WRITE | SYS_CREATE, &err);
    assert_int_equal(sys_sim_ops(s), 1);
    sys_sim_crash_at(s, 3);
    assert_int_equal(sys_pwrite(f, "x", 1, 0, &err), ERR_OK);
    assert_false(sys_sim_crashed(s));
    assert_int_equal(sys_fdatasync(f, &err), ERR_SYNC_FAILED);
    assert_true(sys_sim_crashed(s));
    char c;
    assert_int_equal(sys_pread(f, &c, 1, 0, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_int_equal(sys_pwrite(f, "x", 1, 0, &err), ERR_IO);
    assert_int_equal(sys_mkdir(s, "d", &err), ERR_IO);
    assert_null(sys_open(s, "f", SYS_READ, &err));
    assert_int_equal(sys_stat(s, "f", &(struct sys_stat){0}, &err), ERR_IO);
    assert_int_equal(sys_sim_ops(s), 3);
    sys_sim_reboot(s);
    assert_int_equal(sys_pwrite(f, "x", 1, 0, &err), ERR_IO); // stale
    sys_close(f);
    assert_int_equal(sys_mkdir(s, "d", &err), ERR_OK);
    sys_sim_free(s);
}

// A process that is killed leaves all it wrote to its successor, and none of that is durable yet.
static void test_kill(void **state) {
    (void)state;
    int lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sys *s = sys_sim_new(seed);
        struct err err;
        struct sys_file *f = sys_open(s, "f", SYS_WRITE | SYS_CREATE, &err);
        assert_int_equal(sys_lock(f, &err), ERR_OK);
        assert_int_equal(sys_pwrite(f, "abc", 3, 0, &err), ERR_OK);
        sys_sim_crash_at(s, sys_sim_ops(s) + 1);
        assert_int_equal(sys_mkdir(s, "d", &err), ERR_IO);
        sys_sim_kill(s);
        assert_true(reads_as(s, "f", "abc"));
        assert_int_equal(sys_fdatasync(f, &err), ERR_SYNC_FAILED); // stale
        struct sys_file *g = sys_open(s, "f", SYS_WRITE, &err);
        assert_int_equal(sys_lock(g, &err), ERR_OK);
        sys_close(f);
        assert_int_equal(sys_lock(g, &err), ERR_OK); // the stale one's end did not take the lock along
        sys_close(g);
        sys_sim_reboot(s);
        lost += !reads_as(s, "f", "abc");
        sys_sim_free(s);
    }
    assert_in_range(lost, SEEDS / 4, SEEDS * 9 / 10);
}

static void test_faults(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(5);
    struct err err;
    struct sys_file *f = sys_open(s, "f", SYS_READ | SYS_WRITE | SYS_CREATE, &err);
    sys_sim_fail_at(s, 2, SYS_SIM_EIO);
    sys_sim_fail_at(s, 4, SYS_SIM_ENOSPC);
    sys_sim_fail_at(s, 5, SYS_SIM_SHORT);
    assert_int_equal(sys_pwrite(f, "abcdefgh", 8, 0, &err), ERR_IO);
    assert_int_equal(sys_pwrite(f, "abcdefgh", 8, 0, &err), ERR_OK);
    assert_int_equal(sys_pwrite(f, "abcdefgh", 8, 8, &err), ERR_NO_SPACE);
    uint64_t before = sys_sim_ops(s);
    char big[4096] = {0};
    assert_int_equal(sys_pwrite(f, big, sizeof big, 8, &err), ERR_OK); // short, and tried again
    assert_int_equal(sys_sim_ops(s), before + 2);
    sys_sim_fail_read_at(s, 1, SYS_SIM_SHORT);
    sys_sim_fail_read_at(s, 3, SYS_SIM_EIO);
    char got[8];
    assert_int_equal(sys_pread(f, got, 8, 0, &err), 8);
    assert_int_equal(sys_sim_reads(s), 2);
    assert_memory_equal(got, "abcdefgh", 8);
    assert_int_equal(sys_pread(f, got, 8, 0, &err), -1);
    assert_int_equal(sys_pread(f, got, 8, 0, &err), 8);
    sys_sim_fail_at(s, 1, SYS_SIM_FSYNC); // waits for the next sync
    assert_int_equal(sys_truncate(f, 8, &err), ERR_OK);
    assert_int_equal(sys_fdatasync(f, &err), ERR_SYNC_FAILED);
    assert_int_equal(sys_fdatasync(f, &err), ERR_OK);
    sys_sim_fail_at(s, 1, SYS_SIM_FSYNC);
    assert_int_equal(sys_sync_dir(s, "/", &err), ERR_SYNC_FAILED);
    sys_close(f);
    sys_sim_free(s);
}

// After a failed sync a later one that succeeds does not bring the bytes back: that is why a failed sync is final.
static void test_failed_sync_forgets(void **state) {
    (void)state;
    int lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sys *s = sys_sim_new(seed);
        assert_int_equal(sys_write_file(s, "f", STR("old"), NULL), ERR_OK);
        struct sys_file *f = sys_open(s, "f", SYS_WRITE, NULL);
        assert_int_equal(sys_pwrite(f, "new", 3, 0, NULL), ERR_OK);
        sys_sim_fail_at(s, 1, SYS_SIM_FSYNC);
        assert_int_equal(sys_fdatasync(f, NULL), ERR_SYNC_FAILED);
        assert_true(reads_as(s, "f", "new"));
        assert_int_equal(sys_fdatasync(f, NULL), ERR_OK);
        sys_close(f);
        sys_sim_reboot(s);
        bool is_lost = reads_as(s, "f", "old");
        assert_true(is_lost || reads_as(s, "f", "new"));
        lost += is_lost;
        sys_sim_free(s);
    }
    assert_in_range(lost, SEEDS / 4, SEEDS * 3 / 4);
}

static void test_disk_full(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(7);
    struct err err;
    sys_sim_disk_size(s, 1000);
    char big[900] = {0};
    assert_int_equal(sys_write_file(s, "a", str_n(big, 900), &err), ERR_OK);
    assert_int_equal(sys_disk_free(s, "/"), 100);
    assert_int_equal(sys_write_file(s, "b", str_n(big, 200), &err), ERR_NO_SPACE);
    assert_false(sys_exists(s, "b"));
    assert_false(sys_exists(s, "b.tmp")); // and gives the space back
    assert_int_equal(sys_write_file(s, "b", str_n(big, 100), &err), ERR_OK);
    assert_int_equal(sys_unlink(s, "a", &err), ERR_OK);
    assert_int_equal(sys_write_file(s, "c", str_n(big, 900), &err), ERR_OK);
    struct sys_file *f = sys_open(s, "c", SYS_WRITE, &err); // an open file keeps its space without a name
    assert_int_equal(sys_unlink(s, "c", &err), ERR_OK);
    assert_int_equal(sys_disk_free(s, "/"), 0);
    sys_close(f);
    assert_int_equal(sys_disk_free(s, "/"), 900);
    sys_sim_free(s);
}

static void test_corrupt(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(9);
    assert_int_equal(sys_write_file(s, "f", STR("abc"), NULL), ERR_OK);
    sys_sim_corrupt(s, "f", 1);
    assert_true(reads_as(s, "f", "arc"));
    sys_sim_reboot(s);
    assert_true(reads_as(s, "f", "arc"));
    sys_sim_free(s);
}

static void test_same_seed_same_fate(void **state) {
    (void)state;
    char got[2][3000];
    size_t n[2];
    for (int run = 0; run < 2; run++) {
        struct sys *s = sys_sim_new(11);
        make_file(s, "f");
        sys_sync_dir(s, "/", NULL);
        struct sys_file *f = sys_open(s, "f", SYS_WRITE, NULL);
        memset(got[run], 'z', sizeof got[run]);
        sys_pwrite(f, got[run], sizeof got[run], 0, NULL);
        sys_close(f);
        sys_sim_reboot(s);
        f = sys_open(s, "f", SYS_READ, NULL);
        n[run] = (size_t)sys_pread(f, got[run], sizeof got[run], 0, NULL);
        sys_close(f);
        sys_sim_free(s);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(got[0], got[1], n[0]);
}

// Many files come and go: memory of dead ones is given back (the sanitizer and this count would tell).
static void test_many_files(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(13);
    for (int i = 0; i < 5000; i++) {
        char path[32];
        snprintf(path, sizeof path, "f%d", i);
        assert_int_equal(sys_write_file(s, path, STR("x"), NULL), ERR_OK);
        if (i >= 10) {
            snprintf(path, sizeof path, "f%d", i - 10);
            assert_int_equal(sys_unlink(s, path, NULL), ERR_OK);
        }
    }
    struct sys_list l;
    assert_int_equal(sys_list_dir(s, "/", &l, NULL), ERR_OK);
    assert_int_equal(l.n, 10);
    sys_list_free(&l);
    assert_int_equal(sys_sync_dir(s, "/", NULL), ERR_OK);
    sys_sim_reboot(s);
    assert_true(reads_as(s, "f4995", "x"));
    sys_sim_free(s);
}

// ---- clock and network --------------------------------------------------------------------------------------------------------

static void set_true(void *arg) { *(bool *)arg = true; }

static void test_clock(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(15);
    int64_t now = sys_now_us(s), mono = sys_mono_us(s);
    assert_int_equal(now, 1767225600000000);
    assert_int_equal(sys_now_us(s), now);
    sys_sim_advance(s, 5);
    sys_sleep_us(s, 10);
    assert_int_equal(sys_now_us(s), now + 15);
    assert_int_equal(sys_mono_us(s), mono + 15);
    sys_sim_set_now(s, 7);
    assert_int_equal(sys_now_us(s), 7);
    assert_int_equal(sys_mono_us(s), mono + 15);
    struct loop *l = loop_new(s, "sim", NULL);
    struct loop_timer timer = {0};
    bool fired = false;
    loop_timer_set(l, &timer, 1000, set_true, &fired);
    loop_run_once(l, 0);
    assert_false(fired);
    sys_sim_advance(s, 999);
    loop_run_once(l, 0);
    assert_false(fired);
    sys_sim_advance(s, 1);
    loop_run_once(l, 0);
    assert_true(fired);
    fired = false;
    loop_timer_set(l, &timer, 3600000000, set_true, &fired);
    sys_sim_auto_advance(s, true); // an hour passes at once
    loop_run_once(l, -1);
    assert_true(fired);
    loop_free(l);
    sys_sim_free(s);
}

// Sends 100,000 bytes over a connection with a loop at each end; the receiver sees them in order, in many parts.
struct transfer {
    struct sys_sock *sock;
    struct loop *loop;
    struct loop_watch watch;
    size_t done, parts;
    bool closed;
};
enum { TRANSFER = 100000 };

static void send_some(struct loop_watch *w, int events) {
    struct transfer *t = w->arg;
    (void)events;
    uint8_t bytes[7000];
    size_t n = TRANSFER - t->done < sizeof bytes ? TRANSFER - t->done : sizeof bytes;
    if (n == 0) {
        loop_unwatch(t->loop, w);
        sys_sock_close(t->sock);
        t->closed = true;
        return;
    }
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)((t->done + i) % 251);
    struct err err;
    int64_t put = sys_sock_send(t->sock, &(struct sys_iov){bytes, n}, 1, &err);
    if (put < 0) assert_int_equal(err.code, ERR_BUSY);
    else t->done += (size_t)put;
}

static void receive_some(struct loop_watch *w, int events) {
    struct transfer *t = w->arg;
    (void)events;
    uint8_t bytes[5000];
    struct err err;
    int64_t got = sys_sock_recv(t->sock, bytes, sizeof bytes, &err);
    assert_true(got >= 0 || err.code == ERR_BUSY);
    for (int64_t i = 0; i < got; i++) assert_int_equal(bytes[i], (t->done + (size_t)i) % 251);
    if (got > 0) t->done += (size_t)got, t->parts++;
    if (got == 0) {
        loop_unwatch(t->loop, w);
        sys_sock_close(t->sock);
        t->closed = true;
    }
}

static void transfer(uint64_t seed, int64_t delay_max) {
    struct sys *s = sys_sim_new(seed);
    sys_sim_auto_advance(s, true);
    sys_sim_net_delay(s, 0, delay_max);
    int64_t begin = sys_mono_us(s);
    struct loop *l = loop_new(s, "sim", NULL);
    struct sys_sock *listener = sys_listen(s, "127.0.0.1", 0, NULL);
    struct err err;
    assert_null(sys_listen(s, "127.0.0.1", sys_sock_port(listener), &err));
    assert_int_equal(err.code, ERR_EXISTS);
    assert_null(sys_accept(listener, NULL, &err));
    assert_int_equal(err.code, ERR_BUSY);
    struct transfer a = {.loop = l, .sock = sys_connect(s, "127.0.0.1", sys_sock_port(listener), 0, NULL)};
    struct transfer b = {.loop = l, .sock = sys_accept(listener, NULL, NULL)};
    loop_watch_sock(l, &a.watch, a.sock, SYS_EV_WRITE, send_some, &a, NULL);
    loop_watch_sock(l, &b.watch, b.sock, SYS_EV_READ, receive_some, &b, NULL);
    while (!b.closed) loop_run_once(l, -1);
    assert_true(a.closed);
    assert_int_equal(b.done, TRANSFER);
    assert_true(b.parts > TRANSFER / 5000);
    if (delay_max > 0) assert_true(sys_mono_us(s) > begin);
    sys_sock_close(listener);
    assert_null(sys_connect(s, "127.0.0.1", 1, 0, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    loop_free(l);
    sys_sim_free(s);
}

static void test_network(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) transfer(seed, 0);
    for (uint64_t seed = 0; seed < 20; seed++) transfer(seed, 2000);
}

// Two connections, one byte each, sent in turn: with a delay the second may arrive first.
static void test_network_order(void **state) {
    (void)state;
    int swapped = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct sys *s = sys_sim_new(seed);
        sys_sim_net_delay(s, 10, 1000);
        sys_sim_auto_advance(s, true);
        struct sys_sock *listener = sys_listen(s, "h", 9, NULL), *c[2], *d[2];
        struct sys_poll *p = sys_poll_new(s, NULL);
        for (int i = 0; i < 2; i++) {
            c[i] = sys_connect(s, "h", 9, 0, NULL);
            d[i] = sys_accept(listener, NULL, NULL);
            assert_int_equal(sys_sock_send(c[i], &(struct sys_iov){"x", 1}, 1, NULL), 1);
            sys_poll_sock(p, d[i], SYS_EV_READ, d[i], NULL);
        }
        struct sys_event ev;
        char x;
        struct err err;
        assert_int_equal(sys_sock_recv(d[0], &x, 1, &err), -1);
        assert_int_equal(err.code, ERR_BUSY);
        assert_int_equal(sys_poll_wait(p, &ev, 1, -1), 1);
        swapped += ev.tag == d[1];
        assert_int_equal(sys_sock_recv(ev.tag, &x, 1, &err), 1);
        sys_sim_net_cut(s);
        assert_int_equal(sys_sock_recv(ev.tag, &x, 1, &err), -1);
        assert_int_equal(err.code, ERR_CLOSED);
        sys_poll_free(p);
        for (int i = 0; i < 2; i++) sys_sock_close(c[i]), sys_sock_close(d[i]);
        sys_sock_close(listener);
        sys_sim_free(s);
    }
    assert_in_range(swapped, 20, 80);
}

// The loop and the pool run on a simulated system with real threads: wakes cross them.
static void work(void *arg) { (void)arg; }
static void tell(void *arg) { loop_event_set(arg); }
static void test_threads(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(17);
    struct loop *l = loop_new(s, "sim", NULL);
    struct pool *p = pool_new("sim", 2, 10);
    loop_start(l);
    for (int i = 0; i < 200; i++) {
        struct loop_event e;
        loop_event_init(&e);
        assert_int_equal(pool_submit_then(p, work, &e, l, tell, NULL), ERR_OK);
        loop_event_wait(&e);
        loop_event_fini(&e);
    }
    pool_free(p);
    loop_free(l);
    sys_sim_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_real),
        cmocka_unit_test(test_unsynced_bytes),
        cmocka_unit_test(test_unsynced_append),
        cmocka_unit_test(test_synced_bytes_stay),
        cmocka_unit_test(test_unsynced_names),
        cmocka_unit_test(test_unsynced_rename),
        cmocka_unit_test(test_rename_between_folders),
        cmocka_unit_test(test_unsynced_removal_and_link),
        cmocka_unit_test(test_write_file_is_atomic),
        cmocka_unit_test(test_after_the_crash),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_failed_sync_forgets),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_corrupt),
        cmocka_unit_test(test_same_seed_same_fate),
        cmocka_unit_test(test_many_files),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_network_order),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
