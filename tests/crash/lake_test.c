// SPDX-License-Identifier: Apache-2.0
// The lake on a disk that forgets: every disk operation of a scenario as the last one before a power cut, every operation failing once,
// and two writers on one disk. Held: a commit that was acknowledged is there, once; one that was not is there whole or not at all; and an
// application that looks at its version before it tries again ends with the same table as one that was never disturbed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash/crash.h"
#include "lake/lake.h"

enum { STEPS = 13, OVERWRITE_AT = 6, SEEDS = 4 };

static struct cols_field fields[] = {{"id", {.kind = COLS_INT64}, true}};
static const struct cols_schema columns = {1, fields};

// ---- checkpoints without an engine: "Parquet" is the file of actions itself, copied unsynced, as DuckDB's COPY leaves it ------------------
static bool quoted_after(struct str sql, const char *mark, char out[256]) {
    char *text = mem_strndup(sql.p, sql.n);
    const char *at = strstr(text, mark);
    const char *end = at == NULL ? NULL : strchr(at + strlen(mark), '\'');
    bool ok = end != NULL && (size_t)(end - at) < 256;
    if (ok)
        snprintf(out, 256, "%.*s", (int)(end - at - (long)strlen(mark)), at + strlen(mark));
    mem_free(text);
    return ok;
}

static enum err_code fake_run(void *self, struct str sql, struct err *err) {
    char from[256], to[256];
    assert_true(quoted_after(sql, "read_json('", from));
    assert_true(quoted_after(sql, " to '", to));
    size_t n;
    struct err local = {0};
    char *text = sys_read_file(self, from, 1 << 20, &n, &local);
    struct sys_file *f = text == NULL ? NULL : sys_open(self, to, SYS_WRITE | SYS_CREATE | SYS_TRUNCATE, &local);
    if (f != NULL)
        sys_pwrite(f, text, n, 0, &local);
    sys_close(f);
    mem_free(text);
    err_copy(err, &local);
    return local.code;
}

static enum err_code fake_rows(void *self, struct str sql, lake_text_fn *row, void *arg, struct err *err) {
    char from[256];
    assert_true(quoted_after(sql, "read_parquet('", from));
    struct err local = {0};
    size_t n;
    char *text = sys_read_file(self, from, 1 << 20, &n, &local);
    struct str rest = str_n(text, text == NULL ? 0 : n), line, tail;
    while (rest.n > 0 && local.code == ERR_OK) {
        str_cut(rest, '\n', &line, &tail);
        rest = tail;
        row(arg, line, &local);
    }
    mem_free(text);
    err_copy(err, &local);
    return local.code;
}

static struct lake *open_lake(struct sys *s, struct err *err) {
    struct lake *l = lake_open(s, "lake", err);
    if (l != NULL)
        lake_set_parquet(l, &(struct lake_parquet){s, fake_run, fake_rows});
    return l;
}

// ---- the scenario -----------------------------------------------------------------------------------------------------------
// Step 0 makes the table, step i adds file i and the application's version i; step OVERWRITE_AT removes what was there. Begins behind the
// last step that the table knows of. *acknowledged = the last step that was answered with success.
static enum err_code one_step(struct lake *l, int step, struct lake_snapshot *base, struct err *err) {
    struct lake_txn *t = lake_txn_begin(l, "s", "t", base, err);
    if (step == 0)
        lake_txn_set_schema(t, &columns, err);
    if (step == OVERWRITE_AT)
        lake_txn_remove_all(t);
    char path[16];
    snprintf(path, sizeof path, "f%d", step);
    if (step > 0)
        lake_txn_add(t, &(struct lake_add){.path = path, .size = 1, .rows = step});
    lake_txn_set_app(t, "job", step);
    enum err_code code = lake_txn_commit(t, NULL, err);
    lake_txn_free(t);
    return code;
}

static enum err_code run_scenario(struct sys *s, int *acknowledged, struct err *err) {
    struct lake *l = open_lake(s, err);
    if (l == NULL)
        return err->code;
    enum err_code code = ERR_OK;
    if (!lake_schema_exists(l, "s"))
        code = lake_create_schema(l, "s", err);
    while (code == ERR_OK && *acknowledged < STEPS) {
        struct err local = {0};
        struct lake_snapshot *base = lake_table_snapshot(l, "s", "t", -1, &local);
        if (base == NULL && local.code != ERR_NO_TABLE) {
            err_copy(err, &local);
            code = local.code;
            break;
        }
        int next = base == NULL ? 0 : (int)lake_snapshot_app_version(base, "job") + 1;
        if (next <= *acknowledged)
            fail_msg("step %d was acknowledged, but the table is at %d", *acknowledged, next - 1);
        if (next <= STEPS)
            code = one_step(l, next, base, err);
        if (code == ERR_OK)
            *acknowledged = next <= STEPS ? next : STEPS;
        lake_snapshot_unref(base);
    }
    lake_close(l);
    return code;
}

static void check_final(struct sys *s) {
    struct err err = {0};
    struct lake *l = open_lake(s, &err);
    assert_non_null(l);
    struct lake_snapshot *t = lake_table_snapshot(l, "s", "t", -1, &err);
    if (t == NULL)
        fail_msg("%s", err.msg);
    assert_int_equal(lake_snapshot_version(t), STEPS); // no step twice
    assert_int_equal(lake_snapshot_app_version(t, "job"), STEPS);
    assert_int_equal(lake_snapshot_n_files(t), STEPS - OVERWRITE_AT + 1);
    for (int i = OVERWRITE_AT; i <= STEPS; i++) {
        char path[16];
        snprintf(path, sizeof path, "f%d", i);
        assert_string_equal(lake_snapshot_file(t, (size_t)(i - OVERWRITE_AT))->path, path);
    }
    lake_snapshot_unref(t);
    lake_close(l);
}

static uint64_t count_ops(uint64_t seed) {
    struct sys *s = sys_sim_new(seed);
    int acknowledged = -1;
    struct err err = {0};
    if (run_scenario(s, &acknowledged, &err) != ERR_OK)
        fail_msg("%s", err.msg);
    uint64_t ops = sys_sim_ops(s); // of the scenario alone
    check_final(s);
    sys_sim_free(s);
    return ops;
}

static void test_power_cut(void **state) {
    (void)state;
    uint64_t ops = count_ops(1);
    assert_true(ops > STEPS * 4);
    uint64_t first = crash_env("CRASH_FIRST") == 0 ? 1 : crash_env("CRASH_FIRST"), runs = 0, cut = 0;
    time_t until = time(NULL) + (time_t)crash_env("CRASH_SECONDS");
    for (uint64_t seed = first; seed < first + SEEDS || time(NULL) < until; seed++)
        for (uint64_t op = 1; op <= ops; op++) {
            struct sys *s = sys_sim_new(seed * 1000 + op);
            int acknowledged = -1;
            struct err err = {0};
            sys_sim_crash_at(s, op);
            run_scenario(s, &acknowledged, &err);
            cut += sys_sim_crashed(s), runs++;
            sys_sim_reboot(s);
            sys_sim_crash_at(s, 0);
            err_clear(&err);
            if (run_scenario(s, &acknowledged, &err) != ERR_OK)
                fail_msg("seed %d, power cut at operation %d: %s", (int)seed, (int)op, err.msg);
            check_final(s);
            sys_sim_free(s);
        }
    assert_int_equal(cut, runs);
}

// Without a power cut: one operation fails, the application looks and tries again.
static void test_failures(void **state) {
    (void)state;
    static const enum sys_sim_fault faults[] = {SYS_SIM_EIO, SYS_SIM_ENOSPC, SYS_SIM_SHORT, SYS_SIM_FSYNC};
    uint64_t ops = count_ops(2);
    int failed = 0;
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++)
        for (uint64_t op = 1; op <= ops; op++) {
            struct sys *s = sys_sim_new(op);
            int acknowledged = -1;
            struct err err = {0};
            sys_sim_fail_at(s, op, faults[f]);
            enum err_code code = run_scenario(s, &acknowledged, &err);
            if (code != ERR_OK) {
                failed++;
                assert_true(err.msg[0] != 0);
                err_clear(&err);
                if (run_scenario(s, &acknowledged, &err) != ERR_OK)
                    fail_msg("fault %d at operation %d: %s", (int)f, (int)op, err.msg);
            }
            check_final(s);
            sys_sim_free(s);
        }
    assert_true(failed > STEPS); // the faults did reach the commits
}

// Two lakes (as two processes) on one disk: each begins on what it saw, then both commit; a power cut in between.
static void test_two_writers(void **state) {
    (void)state;
    for (uint64_t op = 0; op < 120; op++) {
        struct sys *s = sys_sim_new(op + 7);
        struct err err = {0};
        int acknowledged[2] = {-1, -1};
        struct lake *l[2] = {open_lake(s, &err), open_lake(s, &err)};
        assert_int_equal(lake_create_schema(l[0], "s", &err), ERR_OK);
        assert_int_equal(one_step(l[0], 0, NULL, &err), ERR_OK);
        sys_sim_crash_at(s, op == 0 ? 0 : sys_sim_ops(s) + op);
        for (int round = 1; round <= 12 && !sys_sim_crashed(s); round++) {
            struct lake_txn *t[2] = {NULL, NULL};
            for (int w = 0; w < 2; w++) {
                struct lake_snapshot *base = lake_table_snapshot(l[w], "s", "t", -1, NULL);
                char path[32], app[32];
                if (base == NULL)
                    continue;
                snprintf(path, sizeof path, "w%d-%d", w, round);
                snprintf(app, sizeof app, "writer%d", w);
                t[w] = lake_txn_begin(l[w], "s", "t", base, NULL);
                lake_txn_add(t[w], &(struct lake_add){.path = path, .size = 1, .rows = 1});
                lake_txn_set_app(t[w], app, round);
                lake_snapshot_unref(base);
            }
            for (int w = 0; w < 2; w++) {
                int who = (w + round) % 2;
                if (t[who] != NULL && lake_txn_commit(t[who], NULL, &err) == ERR_OK)
                    acknowledged[who] = round;
            }
            lake_txn_free(t[0]);
            lake_txn_free(t[1]);
        }
        lake_close(l[0]);
        lake_close(l[1]);
        if (op == 0)
            assert_int_equal(acknowledged[0] + acknowledged[1], 24);
        else
            sys_sim_reboot(s);
        sys_sim_crash_at(s, 0);
        struct lake *after = open_lake(s, &err);
        struct lake_snapshot *snap = lake_table_snapshot(after, "s", "t", -1, &err);
        if (snap == NULL)
            fail_msg("power cut at operation %d: %s", (int)op, err.msg);
        int64_t first = lake_snapshot_app_version(snap, "writer0"), second = lake_snapshot_app_version(snap, "writer1");
        assert_true(first >= acknowledged[0] && second >= acknowledged[1]);
        // Files = versions: nothing lost between, nothing doubled.
        int64_t rows = (first < 0 ? 0 : first) + (second < 0 ? 0 : second);
        assert_int_equal(lake_snapshot_rows(snap), rows);
        assert_int_equal(lake_snapshot_version(snap), rows);
        lake_snapshot_unref(snap);
        lake_close(after);
        sys_sim_free(s);
    }
}

// A drop is all or nothing, and what is dropped does not come back.
static void test_drop(void **state) {
    (void)state;
    for (uint64_t op = 1; op < 60; op++) {
        struct sys *s = sys_sim_new(op);
        struct err err = {0};
        int acknowledged = -1;
        assert_int_equal(run_scenario(s, &acknowledged, &err), ERR_OK);
        struct lake *l = open_lake(s, &err);
        sys_sim_crash_at(s, sys_sim_ops(s) + op);
        bool dropped = lake_drop_table(l, "s", "t", &err) == ERR_OK;
        bool crashed = sys_sim_crashed(s);
        lake_close(l);
        sys_sim_reboot(s);
        sys_sim_crash_at(s, 0);
        l = open_lake(s, &err);
        bool there = lake_table_exists(l, "s", "t");
        assert_false(dropped && there);
        lake_close(l);
        if (there)
            check_final(s);
        sys_sim_free(s);
        if (!crashed)
            break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cut),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_two_writers),
        cmocka_unit_test(test_drop),
    };
    return cmocka_run_group_tests_name("lake crash", tests, NULL, NULL);
}
