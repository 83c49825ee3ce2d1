// SPDX-License-Identifier: Apache-2.0
// Files past the system's cache: whole blocks in pieces, reserved room, reads of any shape, on the real system and on the simulated one; and what
// the simulation makes of short and torn writes of blocks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sys/sim.h"

enum { MAP = 2 << 20, DIRECT = SYS_READ | SYS_WRITE | SYS_CREATE | SYS_DIRECT };

static void fill(uint8_t *p, size_t n, int from) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)((size_t)from + i / SYS_BLOCK);
}

static void use(struct sys *s, const char *path) {
    struct err err = {0};
    uint8_t *m = sys_map_memory(MAP);
    assert_int_equal((uintptr_t)m % MAP, 0);
    struct sys_file *f = sys_open(s, path, DIRECT | SYS_EXCLUSIVE, &err);
    if (f == NULL) fail_msg("%s", err.msg);
    enum err_code code = sys_reserve(f, 0, 10 * SYS_BLOCK, &err);
    assert_true(code == ERR_OK || code == ERR_NOT_SUPPORTED);
    if (code == ERR_OK) assert_int_equal(sys_file_size(f, NULL), 10 * SYS_BLOCK);
    fill(m, 6 * SYS_BLOCK, 1);
    struct sys_iov iov[] = {{m, SYS_BLOCK}, {m + 4 * SYS_BLOCK, 2 * SYS_BLOCK}, {m + 2 * SYS_BLOCK, SYS_BLOCK}};
    assert_int_equal(sys_pwritev(f, iov, 3, SYS_BLOCK, true, &err), ERR_OK); // blocks 1..4 hold 1, 5, 6, 3
    assert_int_equal(sys_pwritev(f, iov, 1, 6 * SYS_BLOCK, false, &err), ERR_OK);
    assert_int_equal(sys_fdatasync(f, &err), ERR_OK);
    memset(m, 9, MAP);
    assert_int_equal(sys_pread(f, m, 8 * SYS_BLOCK, 0, &err), code == ERR_OK ? 8 * SYS_BLOCK : 7 * SYS_BLOCK);
    static const uint8_t want[] = {0, 1, 5, 6, 3, 0, 1};
    for (size_t i = 0; i < sizeof want; i++) {
        assert_int_equal(m[i * SYS_BLOCK], want[i]);
        assert_int_equal(m[i * SYS_BLOCK + SYS_BLOCK - 1], want[i]);
    }
    uint8_t odd[SYS_BLOCK + 100];
    assert_int_equal(sys_pread(f, odd, sizeof odd, 2 * SYS_BLOCK - 50, &err), sizeof odd); // of any shape: through a copy
    assert_int_equal(odd[49], 1);
    assert_int_equal(odd[50], 5);
    assert_int_equal(odd[sizeof odd - 51], 5);
    assert_int_equal(odd[sizeof odd - 50], 6);
    assert_int_equal(sys_truncate(f, 4 * SYS_BLOCK + 10, &err), ERR_OK);
    assert_int_equal(sys_pread(f, odd, 100, 4 * SYS_BLOCK - 5, &err), 15);
    assert_int_equal(odd[4], 6);
    assert_int_equal(odd[14], 3);
    assert_int_equal(sys_pread(f, m, 4 * SYS_BLOCK, 3 * SYS_BLOCK, &err), SYS_BLOCK + 10);
    assert_int_equal(sys_pread(f, odd, 10, 5 * SYS_BLOCK, &err), 0);
    sys_close(f);
    sys_unmap_memory(m, MAP);
}

static void test_real(void **state) {
    (void)state;
    char dir[] = "/tmp/millrace-direct-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/f", dir);
    use(sys_real(), path);
    assert_int_equal(sys_remove_tree(sys_real(), dir, NULL), ERR_OK);
    char shm[] = "/dev/shm/millrace-direct-XXXXXX"; // in memory: with or without direct access, it works
    if (mkdtemp(shm) == NULL) return;
    snprintf(path, sizeof path, "%s/f", shm);
    use(sys_real(), path);
    assert_int_equal(sys_remove_tree(sys_real(), shm, NULL), ERR_OK);
}

static void test_sim(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(1);
    use(s, "f");
    for (int i = 1; i < 8; i++) { // short ones are finished, and stay whole blocks
        struct sys *t = sys_sim_new((uint64_t)i);
        sys_sim_fail_at(t, (uint64_t)i, SYS_SIM_SHORT);
        sys_sim_fail_read_at(t, (uint64_t)i, SYS_SIM_SHORT);
        use(t, "f");
        sys_sim_free(t);
    }
    sys_sim_disk_size(s, 4 * SYS_BLOCK + 10 + SYS_BLOCK);
    struct err err = {0};
    struct sys_file *f = sys_open(s, "f", DIRECT, &err);
    assert_int_equal(sys_reserve(f, 0, 8 * SYS_BLOCK, &err), ERR_NO_SPACE);
    assert_int_equal(sys_file_size(f, NULL), 4 * SYS_BLOCK + 10);
    assert_int_equal(sys_reserve(f, 0, 5 * SYS_BLOCK, &err), ERR_OK);
    sys_close(f);
    sys_sim_free(s);
}

// A block is written again with more bytes in it, and the power goes: what was durable in it is there, whatever was torn.
static void test_rewritten_block(void **state) {
    (void)state;
    int torn = 0;
    uint8_t *m = sys_map_memory(MAP);
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct sys *s = sys_sim_new(seed);
        struct err err = {0};
        struct sys_file *f = sys_open(s, "f", DIRECT, &err);
        struct sys_iov iov = {m, SYS_BLOCK};
        memset(m, 0, SYS_BLOCK);
        memset(m, 'a', 700);
        assert_int_equal(sys_pwritev(f, &iov, 1, 0, true, &err), ERR_OK);
        assert_int_equal(sys_sync_dir(s, ".", &err), ERR_OK);
        memset(m + 700, 'b', 2000);
        if (seed % 2 == 0) sys_sim_crash_at(s, sys_sim_ops(s) + 1 + seed / 2 % 2);
        (void)sys_pwritev(f, &iov, 1, 0, seed % 3 == 0, &err);
        sys_close(f);
        sys_sim_reboot(s);
        size_t n = 0;
        char *got = sys_read_file(s, "f", 1 << 20, &n, &err);
        assert_int_equal(n, SYS_BLOCK);
        for (size_t i = 0; i < 700; i++) assert_int_equal(got[i], 'a');
        size_t b = 0;
        for (size_t i = 700; i < 2700; i++) b += got[i] == 'b';
        torn += b > 0 && b < 2000;
        mem_free(got);
        sys_sim_free(s);
    }
    assert_true(torn > 20);
    sys_unmap_memory(m, MAP);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_real), cmocka_unit_test(test_sim), cmocka_unit_test(test_rewritten_block)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
