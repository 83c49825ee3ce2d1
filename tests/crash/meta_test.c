// SPDX-License-Identifier: Apache-2.0
// The metadata store with every disk operation as the last one: committed rows survive, none is doubled, no transaction is half there.
#include "crash/crash.h"

#include "meta/meta.h"

// One transaction adds a row to `a` and one to `b`, and counts itself in `n`; every third is rolled back on purpose.
static const struct meta_migration steps[] = {
    {1, "create table a (id integer primary key, pad blob); create table n (n integer); insert into n values (0)"},
    {2, "create table b (id integer primary key, pad blob)"},
};

struct work {
    int64_t acknowledged, tried; // newest id
};

enum { TRANSACTIONS = 14 };

static enum err_code add(struct meta *m, int64_t id, struct err *err) {
    enum err_code code = meta_begin(m, err);
    if (code != ERR_OK) return code;
    char pad[3000];
    memset(pad, (int)('a' + id % 26), sizeof pad);
    code = meta_do(m, err, "insert into a values (?, ?)", "ib", id, str_n(pad, sizeof pad));
    if (code == ERR_OK) code = meta_do(m, err, "insert into b values (?, ?)", "ib", id, str_n(pad, sizeof pad));
    if (code == ERR_OK) code = meta_do(m, err, "update n set n = n + 1", "");
    if (code == ERR_OK) return meta_commit(m, err);
    meta_rollback(m);
    return code;
}

static void work(struct sys *s, void *state) {
    struct work *w = state;
    struct err err;
    struct meta *m = meta_open(s, "d/meta.db", steps, 2, &err);
    if (m == NULL) return;
    enum err_code code = meta_exec(m, "pragma wal_autocheckpoint = 12", &err); // so that copying the log happens in the middle
    for (int64_t id = 1; id <= TRANSACTIONS && code == ERR_OK; id++) {
        w->tried = id;
        code = add(m, id, &err);
        if (code == ERR_OK) w->acknowledged = id;
        if (code == ERR_OK && id % 3 == 0) {
            code = meta_begin(m, &err);
            if (code == ERR_OK) {
                meta_do(m, &err, "insert into a values (?, null)", "i", id + 1000);
                meta_rollback(m);
            }
        }
    }
    meta_close(m);
}

static void scenario(struct sys *s, void *state) {
    if (sys_mkdirs(s, "d", NULL) == ERR_OK) work(s, state);
}

static void recover(struct sys *s, void *state) {
    (void)state;
    if (sys_exists(s, "d")) meta_close(meta_open(s, "d/meta.db", steps, 2, NULL));
}

static int64_t ask(struct meta *m, const char *sql) {
    struct err err = {0};
    int64_t v = meta_get_int(m, &err, -1, sql, "");
    assert_int_equal(err.code, ERR_OK);
    return v;
}

static void verify(struct sys *s, void *state) {
    struct work *w = state;
    assert_int_equal(sys_mkdirs(s, "d", NULL), ERR_OK);
    struct err err;
    struct meta *m = meta_open(s, "d/meta.db", steps, 2, &err);
    assert_non_null(m);
    int64_t n = ask(m, "select n from n");
    assert_in_range(n, w->acknowledged, w->tried);
    assert_int_equal(ask(m, "select count(*) from a"), n);
    assert_int_equal(ask(m, "select coalesce(max(id), 0) from a"), n);
    assert_int_equal(ask(m, "select count(*) from a join b on a.id = b.id and a.pad = b.pad and length(a.pad) = 3000"), n);
    struct meta_stmt *st = meta_query(m, &err, "pragma integrity_check", "");
    assert_int_equal(meta_step(st, &err), 1);
    assert_string_equal(meta_cstr(st, 0), "ok");
    meta_reset(st);
    assert_int_equal(add(m, n + 1, &err), ERR_OK); // and it works on
    assert_int_equal(ask(m, "select n from n"), n + 1);
    meta_close(m);
    sys_sim_reboot(s);
    m = meta_open(s, "d/meta.db", steps, 2, &err);
    assert_non_null(m);
    assert_int_equal(ask(m, "select count(*) from a"), n + 1);
    meta_close(m);
}

static void test_every_operation(void **state) {
    (void)state;
    static const struct crash_test t = {
        .seeds = 4, .state_size = sizeof(struct work), .scenario = scenario, .recover = recover, .verify = verify, .kills = true, .faults = true};
    crash_try_all(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {crash_unit_test(test_every_operation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
