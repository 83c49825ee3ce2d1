// SPDX-License-Identifier: Apache-2.0
// The log's block cache: reads by reference, memory given up and read again, the bound, views that outlive their blocks, exposure before the
// sync, damage, reading ahead, and readers beside a writer in little memory.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/metrics.h"
#include "log/log.h"
#include "sys/sys.h"

static struct sys *sys;
static char dir[256];
static struct log_cache *cache;
static const struct log_config config = {.segment_bytes = 8 << 20, .retention_ms = -1, .retention_bytes = -1, .index_interval_bytes = 4096};
enum { CACHE_BYTES = 4 << 20 };

static int setup(void **state) {
    (void)state;
    sys = sys_real();
    uint8_t id[16];
    char text[37];
    sys_uuid(sys, id);
    sys_uuid_text(id, text);
    snprintf(dir, sizeof dir, "/tmp/millrace-cache-%s", text);
    metrics_reset();
    cache = log_cache_new(CACHE_BYTES);
    return sys_mkdir(sys, dir, NULL) == ERR_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    log_cache_free(cache);
    return sys_remove_tree(sys, dir, NULL) == ERR_OK ? 0 : -1;
}

static struct log *open_log(const char *name) {
    struct err err = {0};
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    struct log *l = log_open_cached(sys, cache, path, &config, NULL, false, &err);
    if (l == NULL) fail_msg("%s", err.msg);
    return l;
}

// One batch of one record, which says its offset all over.
static void append(struct log *l, size_t size) {
    struct buf b = {0};
    struct batch_builder bb;
    struct log_appended a;
    struct err err = {0};
    char *value = mem_alloc(size);
    buf_init(&b, 0);
    memset(value, 'a' + (int)(log_end(l) % 26), size);
    batch_begin(&bb, &b, 1000 + log_end(l));
    batch_add(&bb, 1000 + log_end(l), STR(""), true, str_n(value, size), false, NULL, 0);
    batch_end(&bb);
    if (log_append(l, buf_str(&b), 0, &a, &err) != ERR_OK) fail_msg("%s", err.msg);
    mem_free(value);
    buf_fini(&b);
}

static void put(struct log *l, size_t size) {
    struct err err = {0};
    append(l, size);
    if (log_sync(l, &err) != ERR_OK) fail_msg("%s", err.msg);
}

// Checks batches in a row that may lie in pieces; returns the offset behind them.
static int64_t check_view(const struct log_view *v, int64_t next) {
    struct buf b = {0};
    buf_init(&b, 0);
    for (size_t i = 0; i < v->pieces.n; i++) buf_put_str(&b, v->pieces.p[i].bytes);
    assert_int_equal(b.n, v->n);
    struct batch x;
    for (size_t at = 0; at < b.n; at += x.size) {
        assert_int_equal(batch_read(b.p + at, b.n - at, &x), BATCH_OK);
        assert_true(batch_crc_ok(&x));
        assert_int_equal(x.base_offset, next);
        assert_int_equal(b.p[at + x.size - 2], 'a' + (int)(next % 26));
        next++;
    }
    assert_int_equal(v->next, next);
    buf_fini(&b);
    return next;
}

static int64_t read_some(struct log *l, int64_t from, size_t max, bool may_block) { // -1 = busy
    struct log_view v = {0};
    struct err err = {0};
    enum err_code code = log_read_view(l, from, max, may_block, &v, &err);
    if (code == ERR_BUSY) {
        assert_false(may_block);
        return -1;
    }
    if (code != ERR_OK) fail_msg("%s", err.msg);
    int64_t next = check_view(&v, from);
    log_view_release(&v);
    return next;
}

static void forget(void) {
    for (int i = 0; i < 3; i++) log_cache_tick(cache);
}

static void test_tail(void **state) {
    (void)state;
    struct log *l = open_log("t");
    append(l, 100);
    assert_int_equal(read_some(l, 0, 1000, false), 0); // not durable: not to be seen
    put(l, 100);
    assert_int_equal(read_some(l, 0, 1000, false), 2);
    struct log_view v = {0};
    assert_int_equal(log_read_view(l, 1, 1000, false, &v, NULL), ERR_OK);
    for (int i = 0; i < 300; i++) put(l, 700); // over many blocks, and past what one stream keeps
    for (int i = 0; i < 100; i++) put(l, 100000);
    assert_int_equal(check_view(&v, 1), 2); // what was held did not change
    log_view_release(&v);
    assert_int_equal(read_some(l, 401, 1 << 20, false), 402);
    assert_int_equal(metric_get(M_LOG_CACHE_MISSES, NULL), 0);
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

static void test_idle(void **state) {
    (void)state;
    struct log *l = open_log("t");
    for (int i = 0; i < 10; i++) put(l, 1000);
    assert_true(metric_get(M_LOG_CACHE_BYTES, NULL) > 0);
    forget();
    assert_int_equal(metric_get(M_LOG_CACHE_BYTES, NULL), 0);
    assert_int_equal(read_some(l, 3, 1 << 20, false), -1);
    put(l, 1000); // behind bytes that are no longer in memory, into the same block of the disk
    assert_int_equal(read_some(l, 10, 1 << 20, true), 11);
    assert_int_equal(read_some(l, 3, 1 << 20, true), 11);
    assert_int_equal(read_some(l, 0, 1 << 20, true), 11);
    assert_int_equal(read_some(l, 0, 1 << 20, false), 11);
    forget();
    assert_int_equal(read_some(l, 0, 1 << 20, true), 11); // loaded, and appended to
    put(l, 1000);
    forget();
    log_discard(l);
    l = open_log("t");
    assert_int_equal(log_end(l), 12);
    assert_int_equal(read_some(l, 0, 1 << 20, true), 12);
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

static void test_bound(void **state) {
    (void)state;
    enum { LOGS = 3, BATCHES = 150 };
    struct log *l[LOGS];
    char name[16];
    for (int k = 0; k < LOGS; k++) {
        snprintf(name, sizeof name, "t%d", k);
        l[k] = open_log(name);
    }
    for (int i = 0; i < BATCHES; i++)
        for (int k = 0; k < LOGS; k++) put(l[k], 30000 + (size_t)(i * 7919 % 90000));
    assert_true(metric_get(M_LOG_CACHE_BYTES, NULL) <= CACHE_BYTES);
    for (int k = 0; k < LOGS; k++)
        for (int64_t at = 0; at < BATCHES;) at = read_some(l[k], at, 300000, true);
    assert_true(metric_get(M_LOG_CACHE_BYTES, NULL) <= CACHE_BYTES);
    for (int k = 0; k < LOGS; k++) log_discard(l[k]);
}

static void test_dropped_under_a_view(void **state) {
    (void)state;
    struct log *l = open_log("t");
    for (int i = 0; i < 20; i++) put(l, 50000);
    struct log_view v = {0};
    assert_int_equal(log_read_view(l, 2, 500000, true, &v, NULL), ERR_OK);
    assert_int_equal(log_roll(l, NULL), ERR_OK);
    put(l, 50000);
    log_tidy(l);
    assert_int_equal(log_retain(l, 0, 20, NULL), 1);
    for (int i = 0; i < 200; i++) put(l, 50000);
    check_view(&v, 2);
    log_view_release(&v);
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

static void test_expose(void **state) {
    (void)state;
    struct log *l = open_log("t");
    put(l, 100);
    append(l, 100);
    assert_int_equal(log_read_end(l), 1);
    assert_int_equal(read_some(l, 1, 1000, false), 1);
    assert_int_equal(log_write(l, NULL), ERR_OK);
    assert_int_equal(log_read_end(l), 2);
    assert_int_equal(log_durable_end(l), 1);
    assert_int_equal(read_some(l, 0, 1000, false), 2);
    assert_true(log_needs_sync(l));
    append(l, 100);
    assert_int_equal(log_write(l, NULL), ERR_OK);
    assert_int_equal(log_durable_end(l), 1);
    log_discard(l); // the process ended: what was handed to the disk is there
    l = open_log("t");
    assert_int_equal(log_end(l), 3);
    append(l, 5000);
    assert_int_equal(log_write(l, NULL), ERR_OK);
    put(l, 5000);
    assert_int_equal(log_durable_end(l), 5);
    assert_int_equal(read_some(l, 0, 100000, true), 5);
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

static void test_damage(void **state) {
    (void)state;
    struct log *l = open_log("t");
    for (int i = 0; i < 30; i++) put(l, 10000);
    forget();
    char path[300];
    snprintf(path, sizeof path, "%s/t/00000000000000000000.log", dir);
    struct sys_file *f = sys_open(sys, path, SYS_READ | SYS_WRITE, NULL);
    assert_non_null(f);
    assert_int_equal(sys_pwrite(f, "#", 1, 155000, NULL), ERR_OK); // in the 16th batch
    assert_int_equal(sys_fdatasync(f, NULL), ERR_OK);
    sys_close(f);
    assert_int_equal(read_some(l, 0, 1 << 20, true), 15); // up to the damage
    struct log_view v = {0};
    struct err err = {0};
    assert_int_equal(log_read_view(l, 15, 1 << 20, true, &v, &err), ERR_CORRUPT);
    assert_int_equal(v.pieces.n, 0);
    assert_int_equal(log_read_view(l, 15, 1 << 20, false, &v, &err), ERR_CORRUPT); // in memory, and still known as bad
    assert_int_equal(read_some(l, 16, 1 << 20, true), 30);
    assert_int_equal(read_some(l, 0, 1 << 20, false), 15);
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

static void test_ahead(void **state) {
    (void)state;
    struct log *l = open_log("t");
    for (int i = 0; i < 60; i++) put(l, 100000); // 6 MB
    forget();
    struct log_view v = {0};
    assert_int_equal(log_read_view(l, 0, 500000, true, &v, NULL), ERR_OK);
    assert_false(v.ahead); // nobody knows yet that it is a reader in a row
    int64_t next = check_view(&v, 0);
    log_view_release(&v);
    assert_int_equal(log_read_view(l, next, 500000, true, &v, NULL), ERR_OK);
    assert_true(v.ahead);
    next = check_view(&v, next);
    log_view_release(&v);
    log_read_ahead(l, next);
    int64_t end = next + 25; // 2.5 MB of the at least 3 that were read
    while (next < end) {
        next = read_some(l, next, 500000, false);
        assert_true(next > 0);
    }
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

// ---- readers beside a writer ----------------------------------------------------------------------------------------

enum { BESIDE = 1500 };
static struct {
    struct log *log;
    atomic_bool done;
} beside;

static void sync_thread(void *arg) {
    (void)arg;
    while (!atomic_load(&beside.done) || log_needs_sync(beside.log)) assert_int_equal(log_sync(beside.log, NULL), ERR_OK);
}

static void read_thread(void *arg) {
    size_t max = (size_t)(uintptr_t)arg;
    for (int64_t at = 0; at < BESIDE;) {
        int64_t next = read_some(beside.log, at, max, false);
        if (next < 0) next = read_some(beside.log, at, max, true);
        assert_true(next >= at);
        at = next;
    }
}

static void tick_thread(void *arg) {
    (void)arg;
    while (!atomic_load(&beside.done)) {
        log_cache_tick(cache);
        sys_sleep_us(sys, 500);
    }
}

static void test_beside(void **state) {
    (void)state;
    beside.log = open_log("t");
    atomic_store(&beside.done, false);
    struct sys_thread *t[] = {sys_thread_start("sync", sync_thread, NULL), sys_thread_start("read", read_thread, (void *)(uintptr_t)3000),
                              sys_thread_start("read", read_thread, (void *)(uintptr_t)200000), sys_thread_start("tick", tick_thread, NULL)};
    for (int i = 0; i < BESIDE; i++) append(beside.log, i % 50 == 0 ? 150000 : 300 + (size_t)(i * 7919 % 5000));
    while (log_durable_end(beside.log) < BESIDE) sys_sleep_us(sys, 100);
    sys_thread_join(t[1]);
    sys_thread_join(t[2]);
    atomic_store(&beside.done, true);
    sys_thread_join(t[0]);
    sys_thread_join(t[3]);
    assert_int_equal(log_close(beside.log, NULL), ERR_OK);
}

int main(void) {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {T(test_tail), T(test_idle), T(test_bound), T(test_dropped_under_a_view), T(test_expose), T(test_damage),
                                       T(test_ahead), T(test_beside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
