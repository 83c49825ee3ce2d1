// SPDX-License-Identifier: Apache-2.0
// Workflows on the simulated disk, every operation as the last one: a run whose trigger was answered is there afterwards and ends; a task whose
// success was seen is a success for good and is not run again; XComs of a success are there; tries are numbered without gaps. The scheduler's
// thread and its workers are real, so the order of operations differs a little between runs: what must hold does not.
#include "crash/crash.h"

#include "flow/flow.h"
#include "meta/meta.h"
#include "unit/flow_stub_engine.h"

enum { RUNS = 2, TASKS = 4 };
#define WAIT_US (20 * 1000000LL)

struct seen {
    bool triggered[RUNS], variable;
    bool success[RUNS][TASKS]; // was answered by flow_ti_get
    int scripts;               // executed when the success was seen
};

static const char *const names[TASKS] = {"load", "left", "right", "join"};
static const char document[] =
    "{\"format\": 1, \"dag_id\": \"d\", \"display_name\": \"d\", \"fileloc\": \"/x/d.py\", \"schedule\": {\"type\": \"none\"},"
    " \"max_active_runs\": 1,"
    "\"tags\": [], \"owners\": [], \"params\": {}, \"tasks\": ["
    "{\"task_id\": \"load\", \"kind\": \"sql\", \"operator\": \"S\", \"upstream\": [], \"trigger_rule\": \"all_success\", \"retries\": 9,"
    " \"args\": {\"sql\": \"load\", \"conn_id\": \"millrace_default\", \"fetch\": \"all\"}},"
    "{\"task_id\": \"left\", \"kind\": \"sql\", \"operator\": \"S\", \"upstream\": [\"load\"], \"trigger_rule\": \"all_success\", \"retries\": 9,"
    " \"args\": {\"sql\": \"left\", \"conn_id\": \"millrace_default\", \"fetch\": \"all\"}},"
    "{\"task_id\": \"right\", \"kind\": \"empty\", \"operator\": \"E\", \"upstream\": [\"load\"], \"trigger_rule\": \"all_success\", \"retries\": 0},"
    "{\"task_id\": \"join\", \"kind\": \"sql\", \"operator\": \"S\", \"upstream\": [\"left\", \"right\"], \"trigger_rule\":"
    " \"all_success\", \"retries\": 9,"
    " \"args\": {\"sql\": \"join\", \"conn_id\": \"millrace_default\", \"fetch\": \"all\"}}]}";

static struct flow *open_flow(struct sys *s, struct meta **m, struct err *err) {
    sys_mkdirs(s, "/data", NULL);
    *m = meta_open(s, "/data/meta.db", NULL, 0, err);
    if (*m == NULL) return NULL;
    struct flow_config c = {.sys = s, .meta = *m, .data_dir = "/data", .engine = (struct engine *)m, .sql_workers = 2};
    struct flow *f = flow_open(&c, err);
    if (f == NULL) {
        meta_close(*m);
        *m = NULL;
    }
    return f;
}

static void close_flow(struct flow *f, struct meta *m) {
    flow_close(f);
    meta_close(m);
}

// The DAG as a parsed file would have left it.
static bool put_dag(struct meta *m, struct err *err) {
    if (meta_begin(m, err) != ERR_OK) return false;
    enum err_code e = meta_do(m, err,
                              "insert or ignore into flow_version(id, uuid, dag_id, number, hash, doc, source, created_us) values (1, 'u',"
                              " 'd', 1, 'h', ?1, x'', 1)",
                              "s", document);
    if (e == ERR_OK)
        e = meta_do(m, err,
                    "insert or ignore into flow_dag(dag_id, file, paused, stale, import_error, version_id) values ('d', '/x/d.py', 0, 0, 0, 1)", "");
    if (e == ERR_OK) return meta_commit(m, err) == ERR_OK;
    meta_rollback(m);
    return false;
}

static void look(struct flow *f, struct seen *seen) {
    struct arena a;
    arena_init(&a);
    for (int r = 0; r < RUNS; r++)
        for (int t = 0; t < TASKS; t++) {
            struct flow_ti ti;
            char run_id[16];
            snprintf(run_id, sizeof run_id, "r%d", r);
            if (flow_ti_get(f, "d", run_id, names[t], &a, &ti, NULL) == ERR_OK && ti.state == FLOW_TI_SUCCESS) seen->success[r][t] = true;
        }
    arena_fini(&a);
}

static void scenario(struct sys *s, void *state) {
    struct seen *seen = state;
    struct meta *m = NULL;
    struct err err = {0};
    sys_sim_auto_advance(s, false);
    struct flow *f = open_flow(s, &m, &err);
    bool ready = f != NULL && put_dag(m, &err);
    close_flow(f, m);
    if (!ready || (f = open_flow(s, &m, &err)) == NULL) return;
    struct arena a;
    arena_init(&a);
    if (flow_variable_put(f, &(struct flow_variable){"v", "1", NULL}, true, &err) == ERR_OK) seen->variable = true;
    for (int r = 0; r < RUNS && !sys_sim_crashed(s); r++) {
        char run_id[16];
        snprintf(run_id, sizeof run_id, "r%d", r);
        struct flow_trigger t = {.run_id = run_id, .logical_us = FLOW_NO_TIME, .interval_start_us = FLOW_NO_TIME, .interval_end_us = FLOW_NO_TIME,
                                 .run_after_us = FLOW_NO_TIME};
        struct flow_run run;
        // The answer after the commit is what counts; reading the run back may fail in the dying store.
        enum err_code e = flow_run_trigger(f, "d", &t, &a, &run, &err);
        if (e != ERR_OK) break;
        seen->triggered[r] = true;
        while (flow_run_wait(f, "d", run_id, 2000, &a, &run, &err) == ERR_TIMEOUT) {
            look(f, seen);
            struct flow_health h;
            flow_health(f, &a, &h);
            if (sys_sim_crashed(s) || !h.scheduler_ok) break;
        }
        look(f, seen);
    }
    arena_fini(&a);
    close_flow(f, m);
}

static void check_run(struct flow *f, struct seen *seen, int r, struct arena *a) {
    struct flow_run run;
    struct err err = {0};
    char run_id[16];
    snprintf(run_id, sizeof run_id, "r%d", r);
    enum err_code e = flow_run_get(f, "d", run_id, a, &run, &err);
    if (e == ERR_NOT_FOUND && !seen->triggered[r]) return;
    if (e != ERR_OK) fail_msg("run %s is lost: %s", run_id, err.msg);
    if (flow_run_wait(f, "d", run_id, WAIT_US, a, &run, &err) != ERR_OK) fail_msg("run %s: %s", run_id, err.msg);
    assert_int_equal(run.state, FLOW_RUN_SUCCESS);
    for (int t = 0; t < TASKS; t++) {
        struct flow_ti ti, *tries;
        struct flow_xcom x;
        size_t n;
        assert_int_equal(flow_ti_get(f, "d", run_id, names[t], a, &ti, &err), ERR_OK);
        assert_int_equal(ti.state, FLOW_TI_SUCCESS);
        assert_int_equal(flow_ti_tries(f, "d", run_id, names[t], a, &tries, &n, &err), ERR_OK);
        int success = 0;
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(tries[i].try_number, i + 1);
            success += tries[i].state == FLOW_TI_SUCCESS;
        }
        assert_int_equal(n, ti.try_number);
        assert_int_equal(success, 1);
        if (t != 2 && flow_xcom_get(f, "d", run_id, names[t], "return_value", a, &x, &err) != ERR_OK) fail_msg("%s: %s", names[t], err.msg);
    }
}

// After the restart no task runs again whose success had been seen: the stand-in engine counts what it runs.
static int missing_sql(const struct seen *seen) {
    int n = 0;
    for (int r = 0; r < RUNS; r++)
        for (int t = 0; t < TASKS; t++) n += t != 2 && !seen->success[r][t];
    return n;
}

static void verify(struct sys *s, void *state) {
    struct seen *seen = state;
    struct meta *m = NULL;
    struct err err = {0};
    int before = __atomic_load_n(&stub_scripts, __ATOMIC_RELAXED);
    struct flow *f = open_flow(s, &m, &err);
    if (f == NULL) fail_msg("%s", err.msg);
    struct arena a;
    arena_init(&a);
    for (int r = 0; r < RUNS; r++) check_run(f, seen, r, &a);
    struct flow_variable v;
    if (seen->variable) assert_int_equal(flow_variable_get(f, "v", &a, &v, &err), ERR_OK);
    int ran = __atomic_load_n(&stub_scripts, __ATOMIC_RELAXED) - before;
    if (ran > missing_sql(seen)) fail_msg("%d tasks ran after the restart, at most %d had not been seen to succeed", ran, missing_sql(seen));
    arena_fini(&a);
    close_flow(f, m);
}

static void test_every_operation_as_the_last(void **x) {
    (void)x;
    static const struct crash_test t = {.seeds = 6, .state_size = sizeof(struct seen), .scenario = scenario, .verify = verify, .kills = true,
        .faults = true, .step = 3};
    crash_try_all(&t);
}

static bool is_final(struct flow *f) { // a sync has failed: that one needs a restart, by design
    return flow_variable_put(f, &(struct flow_variable){"probe", "1", NULL}, false, NULL) == ERR_SYNC_FAILED;
}

// A full disk or an I/O error once, at every operation: no restart is needed. What failed was answered as failed; asked again, it runs to its end.
static void test_goes_on_when_there_is_room_again(void **x) {
    (void)x;
    static const enum sys_sim_fault faults[] = {SYS_SIM_ENOSPC, SYS_SIM_EIO};
    int refused = 0, final = 0;
    for (uint64_t k = 1; k < 120; k++) {
        struct sys *s = sys_sim_new(k);
        struct meta *m = NULL;
        struct err err = {0};
        sys_sim_auto_advance(s, true);
        struct flow *f = open_flow(s, &m, &err);
        assert_true(f != NULL && put_dag(m, &err));
        close_flow(f, m);
        f = open_flow(s, &m, &err);
        assert_non_null(f);
        sys_sim_fail_at(s, sys_sim_ops(s) + k, faults[k % 2]);
        struct arena a;
        arena_init(&a);
        struct flow_trigger t = {.run_id = "r0", .logical_us = FLOW_NO_TIME, .interval_start_us = FLOW_NO_TIME, .interval_end_us = FLOW_NO_TIME,
                                 .run_after_us = FLOW_NO_TIME};
        struct flow_run run;
        enum err_code e;
        while ((e = flow_run_trigger(f, "d", &t, &a, &run, &err)) != ERR_OK && e != ERR_EXISTS && !is_final(f)) refused++;
        while (!is_final(f) && flow_run_wait(f, "d", "r0", 20000, &a, &run, &err) != ERR_OK) continue;
        struct seen seen = {.triggered = {true}};
        if (is_final(f)) final++;
        else check_run(f, &seen, 0, &a);
        arena_fini(&a);
        close_flow(f, m);
        sys_sim_free(s);
    }
    assert_true(refused > 0); // else no fault has hit a commit
    assert_true(final < 60);  // else hardly any was tried
}

int main(void) {
    const struct CMUnitTest tests[] = {crash_unit_test(test_every_operation_as_the_last), cmocka_unit_test(test_goes_on_when_there_is_room_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
