// SPDX-License-Identifier: Apache-2.0
// The metadata store: statements, transactions, migrations, the lock between threads.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "meta/meta.h"
#include "sys/sim.h"

static const struct meta_migration first[] = {{1, "create table t (id integer primary key, name text unique, x real, raw blob)"}};

struct fixture {
    struct sys *sys;
    struct meta *meta;
};

static int setup(void **state) {
    struct fixture *f = MEM_NEW(struct fixture);
    f->sys = sys_sim_new(1);
    f->meta = meta_open(f->sys, "meta.db", first, 1, NULL);
    *state = f;
    return f->meta == NULL;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    meta_close(f->meta);
    sys_sim_free(f->sys);
    mem_free(f);
    return 0;
}

static int64_t count(struct meta *m) {
    struct err err = {0};
    int64_t n = meta_get_int(m, &err, -1, "select count(*) from t", "");
    assert_int_equal(err.code, ERR_OK);
    return n;
}

static void test_values(void **state) {
    struct meta *m = ((struct fixture *)*state)->meta;
    struct err err;
    struct meta_stmt *st = meta_prepare(m, "insert into t (id, name, x, raw) values (?, ?, ?, ?)", &err);
    assert_non_null(st);
    meta_bind_int(st, 1, INT64_MIN);
    meta_bind_text(st, 2, STR("na\0me\xc3\xa9"));
    meta_bind_double(st, 3, 0.1);
    meta_bind_blob(st, 4, "\0\1\2", 3);
    assert_int_equal(meta_run(st, &err), ERR_OK);
    assert_int_equal(meta_do(m, &err, "insert into t (id, name, x, raw) values (?, ?, ?, ?)", "isdb", INT64_MAX, "", -1.5, str_n("", 0)), ERR_OK);
    assert_int_equal(meta_changes(m), 1);
    assert_int_equal(meta_last_id(m), INT64_MAX);
    assert_int_equal(meta_do(m, &err, "insert into t (id, name, x, raw) values (?, ?, ?, ?)", "isnS", (int64_t)0, NULL, (struct str){0}), ERR_OK);
    st = meta_query(m, &err, "select id, name, x, raw from t order by id", "");
    assert_non_null(st);
    assert_int_equal(meta_step(st, &err), 1);
    assert_true(meta_int(st, 0) == INT64_MIN);
    assert_true(str_eq(meta_text(st, 1), STR("na\0me\xc3\xa9")));
    assert_true(meta_double(st, 2) == 0.1);
    assert_true(str_eq(meta_blob(st, 3), STR("\0\1\2")));
    assert_int_equal(meta_step(st, &err), 1);
    assert_true(meta_is_null(st, 1) && meta_is_null(st, 2) && meta_is_null(st, 3));
    assert_null(meta_text(st, 1).p);
    assert_null(meta_blob(st, 3).p);
    assert_int_equal(meta_step(st, &err), 1);
    assert_true(meta_int(st, 0) == INT64_MAX);
    assert_string_equal(meta_cstr(st, 1), "");
    assert_non_null(meta_blob(st, 3).p);
    assert_int_equal(meta_blob(st, 3).n, 0);
    assert_int_equal(meta_step(st, &err), 0);
    meta_reset(st);
    meta_reset(NULL);
}

static void test_errors(void **state) {
    struct meta *m = ((struct fixture *)*state)->meta;
    struct err err;
    assert_int_equal(meta_do(m, &err, "insert into t (id, name) values (?, ?)", "is", (int64_t)1, "a"), ERR_OK);
    assert_int_equal(meta_do(m, &err, "insert into t (id, name) values (?, ?)", "is", (int64_t)2, "a"), ERR_EXISTS);
    assert_int_equal(meta_do(m, &err, "insert into t (id, name) values (?, ?)", "is", (int64_t)1, "b"), ERR_EXISTS);
    assert_null(meta_prepare(m, "select nonsense from t", &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_non_null(strstr(err.msg, "nonsense"));
    assert_null(meta_prepare(m, "select 1; select 2", &err));
    assert_int_equal(meta_exec(m, "insert into absent values (1)", &err), ERR_INTERNAL);
    assert_int_equal(meta_exec(m, "create table c (x check (x > 0)); insert into c values (-1)", &err), ERR_DATA);
    struct meta_stmt *st = meta_prepare(m, "select ?", &err);
    meta_bind_int(st, 2, 1);
    assert_int_equal(meta_step(st, &err), -1);
    assert_int_equal(err.code, ERR_INTERNAL);
    meta_reset(st);
    char *big = mem_zalloc(META_VALUE_MAX + 1);
    st = meta_prepare(m, "select ?", &err);
    meta_bind_blob(st, 1, big, META_VALUE_MAX + 1);
    assert_int_equal(meta_step(st, &err), -1);
    assert_int_equal(err.code, ERR_TOO_LARGE);
    meta_reset(st);
    mem_free(big);
    assert_int_equal(count(m), 1);
    assert_int_equal(meta_get_int(m, &err, 7, "select x from t", ""), 7); // null
    assert_int_equal(meta_get_int(m, &err, 8, "select x from t where false", ""), 8);
}

static void insert(struct meta *m, int64_t id) {
    assert_int_equal(meta_do(m, NULL, "insert into t (id) values (?)", "i", id), ERR_OK);
}

static void test_transactions(void **state) {
    struct meta *m = ((struct fixture *)*state)->meta;
    struct err err;
    assert_int_equal(meta_begin(m, &err), ERR_OK);
    insert(m, 1);
    meta_rollback(m);
    assert_int_equal(count(m), 0);
    assert_int_equal(meta_begin(m, &err), ERR_OK);
    insert(m, 1);
    assert_int_equal(meta_begin(m, &err), ERR_OK);
    insert(m, 2);
    assert_int_equal(meta_commit(m, &err), ERR_OK);
    assert_int_equal(meta_commit(m, &err), ERR_OK);
    assert_int_equal(count(m), 2);
    assert_int_equal(meta_begin(m, &err), ERR_OK); // an inner rollback undoes all, and what follows does not run outside
    insert(m, 3);
    assert_int_equal(meta_begin(m, &err), ERR_OK);
    insert(m, 4);
    meta_rollback(m);
    assert_int_equal(meta_do(m, &err, "insert into t (id) values (5)", ""), ERR_CONFLICT);
    assert_int_equal(meta_exec(m, "insert into t (id) values (6)", &err), ERR_CONFLICT);
    assert_int_equal(meta_commit(m, &err), ERR_CONFLICT);
    assert_int_equal(count(m), 2);
    insert(m, 7); // and then all is well again
    assert_int_equal(count(m), 3);
}

// A failed statement inside of a transaction does not end it; a full disk does, and then nothing of it stays.
static void test_failures_in_transactions(void **state) {
    struct fixture *f = *state;
    struct meta *m = f->meta;
    struct err err;
    assert_int_equal(meta_begin(m, &err), ERR_OK);
    insert(m, 1);
    assert_int_equal(meta_do(m, &err, "insert into t (id) values (1)", ""), ERR_EXISTS);
    insert(m, 2);
    assert_int_equal(meta_commit(m, &err), ERR_OK);
    assert_int_equal(count(m), 2);
    char *big = mem_zalloc(1 << 20);
    sys_sim_disk_size(f->sys, 300000);
    assert_int_equal(meta_begin(m, &err), ERR_OK);
    insert(m, 3);
    enum err_code code = meta_do(m, &err, "insert into t (id, raw) values (4, ?)", "b", str_n(big, 1 << 20));
    if (code == ERR_OK) code = meta_commit(m, &err); // pages may stay in memory until the commit
    else meta_rollback(m);
    assert_int_equal(code, ERR_NO_SPACE);
    sys_sim_disk_size(f->sys, 0);
    assert_int_equal(count(m), 2);
    insert(m, 5);
    meta_close(m);
    f->meta = m = meta_open(f->sys, "meta.db", first, 1, &err);
    assert_int_equal(count(m), 3);
    mem_free(big);
}

static void test_nested_statements(void **state) {
    struct meta *m = ((struct fixture *)*state)->meta;
    struct err err;
    for (int64_t i = 1; i <= 3; i++) insert(m, i);
    static const char *const sql = "select id from t where id > ? order by id";
    struct meta_stmt *a = meta_query(m, &err, sql, "i", (int64_t)0), *b;
    int pairs = 0;
    while (meta_step(a, &err) == 1) {
        b = meta_query(m, &err, sql, "i", meta_int(a, 0));
        assert_ptr_not_equal(a, b);
        while (meta_step(b, &err) == 1) pairs++;
        meta_reset(b);
    }
    meta_reset(a);
    assert_int_equal(pairs, 3);
    assert_ptr_equal(b = meta_prepare(m, sql, &err), a); // the cache gives the first again
    meta_reset(b);
    for (int i = 0; i < META_CACHE_MAX * 2; i++) { // more texts than the cache holds
        char text[64];
        snprintf(text, sizeof text, "select %d", i);
        assert_int_equal(meta_get_int(m, &err, -1, text, ""), i);
    }
}

static void test_migrations(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(2);
    struct err err;
    static const struct meta_migration steps[] = {
        {1, "create table a (x integer)"},
        {2, "insert into a values (1); insert into a values (2)"},
        {5, "alter table a add column y text default 'z'"},
    };
    struct meta *m = meta_open(s, "m.db", steps, 1, &err);
    assert_non_null(m);
    meta_close(m);
    m = meta_open(s, "m.db", steps, 3, &err);
    assert_non_null(m);
    assert_int_equal(meta_get_int(m, &err, -1, "select count(*) from a where y = 'z'", ""), 2);
    meta_close(m);
    m = meta_open(s, "m.db", steps, 3, &err); // not again
    assert_int_equal(meta_get_int(m, &err, -1, "select count(*) from a", ""), 2);
    static const struct meta_migration other[] = {{1, "create table b (x)"}, {2, "create table c (x); nonsense"}};
    assert_int_equal(meta_migrate(m, "other", other, 1, &err), ERR_OK);
    assert_int_equal(meta_migrate(m, "other", other, 2, &err), ERR_INTERNAL);
    assert_non_null(strstr(err.msg, "migration 2 of 'other'"));
    assert_int_equal(meta_get_int(m, &err, -1, "select count(*) from sqlite_master where name in ('b', 'c')", ""), 1); // all or nothing
    assert_int_equal(meta_get_int(m, &err, -1, "select version from meta_versions where name = 'other'", ""), 1);
    meta_close(m);
    assert_null(meta_open(s, "m.db", steps, 2, &err));
    assert_int_equal(err.code, ERR_VERSION);
    sys_sim_free(s);
}

static void test_open_errors(void **state) {
    struct fixture *f = *state;
    struct err err;
    assert_null(meta_open(f->sys, "meta.db", first, 1, &err));
    assert_int_equal(err.code, ERR_LOCKED);
    assert_null(meta_open(f->sys, "postgresql://localhost/x", first, 1, &err));
    assert_int_equal(err.code, ERR_NOT_SUPPORTED);
    assert_null(meta_open(f->sys, "absent/meta.db", first, 1, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    char junk[4096];
    memset(junk, 'j', sizeof junk);
    assert_int_equal(sys_write_file(f->sys, "junk.db", str_n(junk, sizeof junk), NULL), ERR_OK);
    assert_null(meta_open(f->sys, "junk.db", first, 1, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
}

static void test_failed_sync_is_final(void **state) {
    struct fixture *f = *state;
    struct err err;
    insert(f->meta, 1);
    sys_sim_fail_at(f->sys, 1, SYS_SIM_FSYNC);
    assert_int_equal(meta_do(f->meta, &err, "insert into t (id) values (2)", ""), ERR_SYNC_FAILED);
    uint64_t ops = sys_sim_ops(f->sys);
    assert_int_equal(meta_do(f->meta, &err, "insert into t (id) values (3)", ""), ERR_SYNC_FAILED);
    assert_int_equal(meta_begin(f->meta, &err), ERR_SYNC_FAILED);
    meta_close(f->meta);
    assert_int_equal(sys_sim_ops(f->sys), ops); // nothing was touched any more
    f->meta = meta_open(f->sys, "meta.db", first, 1, &err);
    assert_non_null(f->meta);
    int64_t n = count(f->meta);
    assert_in_range(n, 1, 2);
    insert(f->meta, 9);
    sys_sim_reboot(f->sys); // what was acknowledged after the recovery does not hang on what the failed sync lost
    meta_close(f->meta);
    f->meta = meta_open(f->sys, "meta.db", first, 1, &err);
    assert_int_equal(count(f->meta), n + 1);
}

// Four threads transfer within transactions; the sum never changes for who looks.
static void add_rows(void *arg) {
    struct meta *m = arg;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(meta_begin(m, NULL), ERR_OK);
        int64_t n = count(m);
        assert_int_equal(n % 2, 0);
        insert(m, n);
        insert(m, n + 1);
        assert_int_equal(meta_commit(m, NULL), ERR_OK);
        assert_int_equal(count(m) % 2, 0);
    }
}

static void test_threads(void **state) {
    struct meta *m = ((struct fixture *)*state)->meta;
    struct sys_thread *t[4];
    for (int i = 0; i < 4; i++) t[i] = sys_thread_start("meta", add_rows, m);
    for (int i = 0; i < 4; i++) sys_thread_join(t[i]);
    assert_int_equal(count(m), 400);
}

static void test_real_files(void **state) {
    (void)state;
    struct sys *s = sys_real();
    char dir[] = "/tmp/millrace-meta-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path = mem_printf("%s/meta.db", dir);
    struct err err;
    struct meta *m = meta_open(s, path, first, 1, &err);
    assert_non_null(m);
    for (int64_t i = 0; i < 100; i++) insert(m, i);
    assert_null(meta_open(s, path, first, 1, &err));
    assert_int_equal(err.code, ERR_LOCKED);
    meta_close(m);
    m = meta_open(s, path, first, 1, &err);
    assert_int_equal(count(m), 100);
    meta_close(m);
    struct sys_list l; // the log is copied and gone
    assert_int_equal(sys_list_dir(s, dir, &l, &err), ERR_OK);
    assert_int_equal(l.n, 1);
    sys_list_free(&l);
    mem_free(path);
    assert_int_equal(sys_remove_tree(s, dir, &err), ERR_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transactions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures_in_transactions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nested_statements, setup, teardown),
        cmocka_unit_test(test_migrations),
        cmocka_unit_test_setup_teardown(test_open_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_sync_is_final, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test(test_real_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
