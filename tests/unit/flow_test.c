// SPDX-License-Identifier: Apache-2.0
// Workflows: cron and timetables, trigger rules, and whole runs with real DAG files, the real warm interpreter, real bash and a stand-in for the
// SQL engine. Nothing sleeps: tests wait for ends of runs.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "codec/json.h"
#include "flow/cron.h"
#include "flow/flow.h"
#include "flow/rules.h"
#include "sys/sys.h"
#include "unit/flow_stub_engine.h"

#define SECOND 1000000LL
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

// ---- cron --------------------------------------------------------------------------------------------------------------------------
static struct cron cron_of(const char *s) {
    struct cron c;
    struct err err = {0};
    if (cron_parse(str_c(s), &c, &err) != ERR_OK) fail_msg("%s", err.msg);
    return c;
}

static void assert_next(const char *expr, const char *after, const char *want) {
    // times in the tests are ISO: found by asking flow_iso of the answer
    struct cron c = cron_of(expr);
    char got[40];
    int64_t t = 0, y, mo, d, h, mi;
    long long v[5];
    assert_int_equal(sscanf(after, "%lld-%lld-%lldT%lld:%lld", &v[0], &v[1], &v[2], &v[3], &v[4]), 5);
    y = v[0], mo = v[1], d = v[2], h = v[3], mi = v[4];
    static const int days[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t n = 0;
    for (int64_t k = 1970; k < y; k++) n += (k % 4 == 0 && k % 100 != 0) || k % 400 == 0 ? 366 : 365;
    n += days[mo - 1] + d - 1 + (mo > 2 && ((y % 4 == 0 && y % 100 != 0) || y % 400 == 0) ? 1 : 0);
    t = n * DAY + h * HOUR + mi * 60 * SECOND;
    flow_iso(cron_next(&c, t), got);
    got[16] = '\0';
    assert_string_equal(got, want);
}

static void test_cron_next(void **state) {
    (void)state;
    assert_next("* * * * *", "2026-11-21T02:30", "2026-11-21T02:31");
    assert_next("0 0 * * *", "2026-11-21T00:00", "2026-11-22T00:00");
    assert_next("0 0 * * *", "2026-12-31T23:59", "2027-01-01T00:00");
    assert_next("*/15 9-17 * * MON-FRI", "2026-11-20T17:50", "2026-11-23T09:00"); // 20 Nov 2026 is a Friday
    assert_next("30 4 1,15 * 5", "2026-11-16T00:00", "2026-11-20T04:30");         // day OR weekday
    assert_next("0 0 29 2 *", "2026-03-01T00:00", "2028-02-29T00:00");
    assert_next("0 12 * JAN-MAR,dec 7", "2026-11-21T00:00", "2026-12-06T12:00");
    assert_next("5-59/20 * * * *", "2026-11-21T02:25", "2026-11-21T02:45");
    assert_next("0 0 1 */3 *", "2026-11-21T00:00", "2027-01-01T00:00");
    struct cron never = cron_of("0 0 31 2 *");
    assert_true(cron_next(&never, 0) == CRON_NEVER);
    assert_true(cron_prev(&never, 0) == -CRON_NEVER);
}

static void test_cron_prev_is_the_inverse_of_next(void **state) {
    (void)state;
    static const char *const exprs[] = {"* * * * *", "7 3 * * *", "*/10 */5 1-7 * *", "0 0 * * 1", "59 23 31 12 *", "0 6 1 * 3"};
    uint64_t seed = 12345;
    for (size_t i = 0; i < sizeof exprs / sizeof exprs[0]; i++) {
        struct cron c = cron_of(exprs[i]);
        for (int k = 0; k < 200; k++) {
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
            int64_t t = (int64_t)(seed >> 12) % (60LL * 365 * DAY);
            int64_t next = cron_next(&c, t);
            assert_true(next > t);
            assert_true(cron_prev(&c, next) == next);
            int64_t prev = cron_prev(&c, next - 1);
            assert_true(prev <= t && cron_next(&c, prev) == next);
        }
    }
}

static void test_cron_refuses(void **state) {
    (void)state;
    static const char *const bad[] = {"", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "a * * * *", "5-1 * * * *",
                                      "*/0 * * * *", "* * * * * *", "1,,2 * * * *", "1- * * * *", "@daily"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct cron c;
        struct err err = {0};
        if (cron_parse(str_c(bad[i]), &c, &err) != ERR_INVALID) fail_msg("'%s' was taken", bad[i]);
        assert_true(err.msg[0] != '\0');
    }
}

static void test_timetables(void **state) {
    (void)state;
    const int64_t none = INT64_MIN, now = 20000 * DAY + 5 * HOUR;
    struct flow_schedule s = {.kind = FLOW_SCHEDULE_CRON, .cron = cron_of("0 0 * * *")};
    struct flow_restriction r = {none, none, false};
    struct flow_tick t;
    assert_true(flow_schedule_next(&s, &r, none, now, &t)); // no start date: the next tick
    assert_true(t.run_after_us == 20001 * DAY && t.logical_us == t.run_after_us && t.interval_start_us == t.interval_end_us);
    r.earliest_us = 19000 * DAY;
    assert_true(flow_schedule_next(&s, &r, none, now, &t)); // a start date in the past, no catchup: the tick that was last
    assert_true(t.run_after_us == 20000 * DAY);
    assert_true(flow_schedule_next(&s, &r, 20000 * DAY, now, &t));
    assert_true(t.run_after_us == 20001 * DAY);
    assert_true(flow_schedule_next(&s, &r, 19990 * DAY, now, &t)); // ten missed: only the newest
    assert_true(t.run_after_us == 20000 * DAY);
    r.catchup = true;
    assert_true(flow_schedule_next(&s, &r, 19990 * DAY, now, &t));
    assert_true(t.run_after_us == 19991 * DAY);
    assert_true(flow_schedule_next(&s, &r, none, now, &t));
    assert_true(t.run_after_us == 19000 * DAY);
    r.latest_us = 19990 * DAY;
    assert_false(flow_schedule_next(&s, &r, 19990 * DAY, now, &t));
    s.data_interval = true;
    r = (struct flow_restriction){19000 * DAY, none, false};
    assert_true(flow_schedule_next(&s, &r, none, now, &t)); // the newest interval that is over
    assert_true(t.logical_us == 19999 * DAY && t.run_after_us == 20000 * DAY && t.interval_end_us == 20000 * DAY);
    struct flow_schedule once = {.kind = FLOW_SCHEDULE_ONCE};
    r = (struct flow_restriction){none, none, false};
    assert_true(flow_schedule_next(&once, &r, none, now, &t));
    assert_false(flow_schedule_next(&once, &r, now, now, &t));
    struct flow_schedule delta = {.kind = FLOW_SCHEDULE_DELTA, .delta_us = HOUR};
    assert_true(flow_schedule_next(&delta, &r, now - HOUR / 2, now, &t));
    assert_true(t.run_after_us == now + HOUR / 2);
    s = (struct flow_schedule){.kind = FLOW_SCHEDULE_CRON, .cron = cron_of("0 0 * * *"), .run_immediately = true};
    assert_true(flow_schedule_next(&s, &r, none, now, &t));
    assert_true(t.run_after_us == 20000 * DAY);
    s.immediate_us = HOUR;
    assert_true(flow_schedule_next(&s, &r, none, now, &t)); // five hours ago is too long
    assert_true(t.run_after_us == 20001 * DAY);
}

// ---- rules -------------------------------------------------------------------------------------------------------------------------
// Per rule, of 2 upstream tasks: what it says for each pair of ends. s success, f failed, k skipped, u upstream_failed, - not ended.
static void test_rules(void **state) {
    (void)state;
    static const struct {
        const char *rule, *verdicts; // for: --, s-, f-, k-, u-, ss, sf, sk, su, ff, fk, fu, kk, ku, uu;  w wait, r run, s skip, u upstream_failed
    } table[] = {
        {"all_success", "wwusurusuuuusuu"},
        {"all_failed", "wswswssssrsrssr"},
        {"all_done", "wwwwwrrrrrrrrrr"},
        {"all_done_min_one_success", "wwwwwrrrruuusuu"},
        {"all_skipped", "wsswssssssssrss"},
        {"one_success", "wrwwwrrrruuusuu"},
        {"one_failed", "wwrwrsrsrrrrsrr"},
        {"one_done", "wrrwwrrrrrrrsss"},
        {"none_failed", "wwuwurururuurur"},
        {"none_failed_min_one_success", NULL},
        {"none_skipped", "wwwswrrsrrsrssr"},
        {"always", "rrrrrrrrrrrrrrr"},
    };
    static const char *const pairs[] = {"--", "s-", "f-", "k-", "u-", "ss", "sf", "sk", "su", "ff", "fk", "fu", "kk", "ku", "uu"};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        enum flow_rule rule;
        assert_true(flow_rule_parse(str_c(table[i].rule), &rule));
        for (size_t p = 0; p < 15; p++) {
            struct flow_counts c = {0};
            for (int k = 0; k < 2; k++) {
                char e = pairs[p][k];
                c.success += e == 's';
                c.failed += e == 'f';
                c.skipped += e == 'k';
                c.upstream_failed += e == 'u';
            }
            char want;
            bool bad = c.failed + c.upstream_failed > 0, over = pairs[p][1] != '-';
            if (strcmp(table[i].rule, "none_failed") == 0) want = bad ? 'u' : over ? 'r' : 'w';
            else if (table[i].verdicts == NULL) want = bad ? 'u' : c.skipped == 2 ? 's' : over ? 'r' : 'w';
            else want = table[i].verdicts[p];
            char got = "wrsu"[flow_rule_verdict(rule, 2, 0, &c)];
            if (got != want) fail_msg("%s with %s: %c, not %c", table[i].rule, pairs[p], got, want);
        }
        struct flow_counts none = {0};
        assert_int_equal(flow_rule_verdict(rule, 0, 0, &none), FLOW_RUN);
    }
    enum flow_rule rule;
    assert_false(flow_rule_parse(STR("all_good"), &rule));
}

// ---- whole runs ----------------------------------------------------------------------------------------------------------------------
struct fixture {
    struct flow *f;
    char dir[128];
    struct arena a;
    struct err err;
};

static void write_file(const char *dir, const char *name, const char *text) {
    char path[512];
    struct err err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (sys_write_file(sys_real(), path, str_c(text), &err) != ERR_OK) fail_msg("%s", err.msg);
}

static void start(struct fixture *x) {
    struct flow_config c = {.data_dir = x->dir, .python_dir = "python", .engine = (struct engine *)x, .scan_seconds = 3600};
    x->f = flow_open(&c, &x->err);
    if (x->f == NULL) fail_msg("%s", x->err.msg);
}

static int setup(void **state) {
    struct fixture *x = MEM_NEW(struct fixture);
    arena_init(&x->a);
    snprintf(x->dir, sizeof x->dir, "/tmp/flow_test_%lld_%llu", (long long)sys_getpid(),
             (unsigned long long)(sys_random_u64(sys_real()) % 100000000));
    char dags[160];
    snprintf(dags, sizeof dags, "%s/dags", x->dir);
    assert_int_equal(sys_mkdirs(sys_real(), dags, NULL), ERR_OK);
    *state = x;
    return 0;
}

static int teardown(void **state) {
    struct fixture *x = *state;
    flow_close(x->f);
    sys_remove_tree(sys_real(), x->dir, NULL);
    arena_fini(&x->a);
    mem_free(x);
    return 0;
}

static void add_dag(struct fixture *x, const char *name, const char *text) {
    char dags[160];
    snprintf(dags, sizeof dags, "%s/dags", x->dir);
    write_file(dags, name, text);
    if (x->f == NULL) start(x);
    if (flow_rescan(x->f, 60 * SECOND, &x->err) != ERR_OK) fail_msg("%s", x->err.msg);
}

static struct flow_run run_dag(struct fixture *x, const char *dag_id, const char *conf, const char *want) {
    struct flow_trigger t = {.conf_json = conf, .logical_us = FLOW_NO_TIME, .interval_start_us = FLOW_NO_TIME, .interval_end_us = FLOW_NO_TIME,
                             .run_after_us = FLOW_NO_TIME};
    struct flow_run r;
    if (flow_run_trigger(x->f, dag_id, &t, &x->a, &r, &x->err) != ERR_OK) fail_msg("%s", x->err.msg);
    if (flow_run_wait(x->f, dag_id, r.run_id, 60 * SECOND, &x->a, &r, &x->err) != ERR_OK) fail_msg("%s", x->err.msg);
    if (want != NULL && strcmp(flow_run_state_name(r.state), want) != 0) {
        struct flow_ti *tis;
        size_t n;
        struct flow_ti_filter w = {.dag_id = dag_id, .run_id = r.run_id};
        flow_tis(x->f, &w, NULL, &x->a, &tis, &n, NULL, NULL);
        for (size_t i = 0; i < n; i++) {
            struct str text = {0};
            uint64_t next;
            bool end;
            flow_log(x->f, dag_id, r.run_id, tis[i].task_id, tis[i].try_number, 0, &x->a, &text, &next, &end, NULL);
            print_message("%s %s\n" STR_FMT "\n", tis[i].task_id, flow_ti_state_name(tis[i].state), STR_ARG(text));
        }
        fail_msg("run of %s ended as %s", dag_id, flow_run_state_name(r.state));
    }
    return r;
}

static struct flow_ti ti_of(struct fixture *x, const struct flow_run *r, const char *task_id) {
    struct flow_ti t;
    if (flow_ti_get(x->f, r->dag_id, r->run_id, task_id, &x->a, &t, &x->err) != ERR_OK) fail_msg("%s", x->err.msg);
    return t;
}
#define assert_state(x, r, task, want) assert_string_equal(flow_ti_state_name(ti_of((x), (r), (task)).state), (want))

static const char *log_of(struct fixture *x, const struct flow_run *r, const char *task_id, int try_number) {
    struct str text = {0};
    uint64_t next;
    bool end;
    if (flow_log(x->f, r->dag_id, r->run_id, task_id, try_number, 0, &x->a, &text, &next, &end, &x->err) != ERR_OK) fail_msg("%s", x->err.msg);
    assert_true(end);
    return arena_str(&x->a, text).p;
}

static const char *xcom_of(struct fixture *x, const struct flow_run *r, const char *task_id, const char *key) {
    struct flow_xcom v;
    if (flow_xcom_get(x->f, r->dag_id, r->run_id, task_id, key, &x->a, &v, &x->err) != ERR_OK) fail_msg("%s", x->err.msg);
    return v.value_json;
}

static const char basic[] =
    "from datetime import timedelta\n"
    "from airflow.sdk import dag, task\n"
    "from airflow.providers.standard.operators.bash import BashOperator\n"
    "from airflow.providers.standard.operators.empty import EmptyOperator\n"
    "from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator\n"
    "@dag(schedule=None, params={'n': 3}, doc_md='d', tags=['t1', 't2'])\n"
    "def basic():\n"
    "    @task\n"
    "    def numbers() -> dict:\n"
    "        print('hello from python')\n"
    "        return {'a': 1, 'b': [2, 3]}\n"
    "    @task\n"
    "    def add(x, y, params=None, ti=None):\n"
    "        ti.xcom_push(key='extra', value={'try': ti.try_number})\n"
    "        return x + sum(y) + params['n']\n"
    "    n = numbers()\n"
    "    total = add(n['a'], n['b'])\n"
    "    b = BashOperator(task_id='sh', bash_command=\"echo run {{ run_id }}; echo last {{ params.n }}\")\n"
    "    j = BashOperator(task_id='jinja', bash_command=\"echo {{ ti.xcom_pull(task_ids='add') * 2 }} {{ params.n | int + 1 }}\")\n"
    "    s = SQLExecuteQueryOperator(task_id='sql', conn_id='millrace_default', sql='q.sql')\n"
    "    e = EmptyOperator(task_id='end')\n"
    "    total >> [b, j, s] >> e\n"
    "basic()\n";

static void test_run_of_every_kind(void **state) {
    struct fixture *x = *state;
    char dags[160];
    snprintf(dags, sizeof dags, "%s/dags", x->dir);
    write_file(dags, "q.sql", "select '{{ params.n }}' as n -- {{ dag.dag_id }}\n");
    add_dag(x, "basic.py", basic);
    struct flow_run r = run_dag(x, "basic", "{\"n\": 40}", "success");
    assert_string_equal(xcom_of(x, &r, "numbers", "return_value"), "{\"a\": 1, \"b\": [2, 3]}");
    assert_string_equal(xcom_of(x, &r, "numbers", "b"), "[2, 3]"); // -> dict: one XCom per key
    assert_string_equal(xcom_of(x, &r, "add", "return_value"), "46");
    assert_string_equal(xcom_of(x, &r, "add", "extra"), "{\"try\": 1}");
    assert_string_equal(xcom_of(x, &r, "sh", "return_value"), "\"last 40\"");
    assert_string_equal(xcom_of(x, &r, "jinja", "return_value"), "\"92 41\"");
    assert_string_equal(xcom_of(x, &r, "sql", "return_value"), "[[\"ok\"]]");
    assert_string_equal(stub_last_sql, "select '40' as n -- basic");
    assert_non_null(strstr(log_of(x, &r, "numbers", 1), "hello from python"));
    assert_non_null(strstr(log_of(x, &r, "sh", 1), r.run_id));
    assert_state(x, &r, "end", "success");
    struct flow_dag d;
    assert_int_equal(flow_dag_get(x->f, "basic", &x->a, &d, &x->err), ERR_OK);
    assert_int_equal(d.n_tags, 2);
    assert_string_equal(d.relative_fileloc, "basic.py");
    struct flow_task *tasks;
    size_t n;
    assert_int_equal(flow_dag_tasks(x->f, "basic", 0, &x->a, &tasks, &n, &x->err), ERR_OK);
    assert_int_equal(n, 6);
}

static const char branches[] =
    "from datetime import timedelta\n"
    "from airflow.sdk import DAG, task, TriggerRule\n"
    "from airflow.providers.standard.operators.bash import BashOperator\n"
    "from airflow.providers.standard.operators.empty import EmptyOperator\n"
    "with DAG('branches', schedule=None):\n"
    "    @task.branch\n"
    "    def pick():\n"
    "        return 'left'\n"
    "    left, right = EmptyOperator(task_id='left'), BashOperator(task_id='right', bash_command='true')\n"
    "    right2 = EmptyOperator(task_id='right2')\n"
    "    join = EmptyOperator(task_id='join', trigger_rule='none_failed_min_one_success')\n"
    "    pick() >> [left, right]\n"
    "    right >> right2\n"
    "    [left, right2] >> join\n"
    "    skip = BashOperator(task_id='skip', bash_command='exit 99')\n"
    "    after_skip = EmptyOperator(task_id='after_skip')\n"
    "    skip >> after_skip\n"
    "    @task.short_circuit\n"
    "    def stop():\n"
    "        return False\n"
    "    a, b = EmptyOperator(task_id='a'), EmptyOperator(task_id='b', trigger_rule=TriggerRule.ALL_DONE)\n"
    "    stop() >> a >> b\n";

static void test_branches_and_skips(void **state) {
    struct fixture *x = *state;
    add_dag(x, "branches.py", branches);
    struct flow_run r = run_dag(x, "branches", NULL, "success");
    assert_state(x, &r, "left", "success");
    assert_state(x, &r, "right", "skipped");
    assert_state(x, &r, "right2", "skipped");
    assert_state(x, &r, "join", "success");
    assert_state(x, &r, "skip", "skipped");
    assert_state(x, &r, "after_skip", "skipped");
    assert_state(x, &r, "a", "skipped");
    assert_state(x, &r, "b", "skipped"); // short circuit passes over trigger rules
    const char *ids[] = {"right"};
    struct flow_clear c = {.run_id = r.run_id, .task_ids = ids, .n_task_ids = 1, .include_downstream = true, .start_us = FLOW_NO_TIME,
        .end_us = FLOW_NO_TIME};
    struct flow_ti *cleared;
    size_t n;
    assert_int_equal(flow_clear(x->f, "branches", &c, &x->a, &cleared, &n, &x->err), ERR_OK);
    assert_int_equal(n, 3);
    assert_int_equal(flow_run_wait(x->f, "branches", r.run_id, 60 * SECOND, &x->a, &r, &x->err), ERR_OK);
    assert_state(x, &r, "right", "skipped"); // the branch's word still holds
    assert_state(x, &r, "join", "success");
}

static const char failures[] =
    "from datetime import timedelta\n"
    "from airflow.sdk import DAG, task\n"
    "from airflow.exceptions import AirflowFailException, AirflowSkipException\n"
    "from airflow.providers.standard.operators.bash import BashOperator\n"
    "from airflow.providers.standard.operators.empty import EmptyOperator\n"
    "from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator\n"
    "with DAG('failures', schedule=None, default_args={'retries': 1, 'retry_delay': timedelta(milliseconds=20)}):\n"
    "    ok = BashOperator(task_id='second_time', bash_command='test $AIRFLOW_CTX_TRY_NUMBER = 2')\n"
    "    bad = BashOperator(task_id='bad', bash_command='echo oh; exit 3')\n"
    "    sql = SQLExecuteQueryOperator(task_id='sql', sql='fail')\n"
    "    slow = SQLExecuteQueryOperator(task_id='slow', sql='slow', execution_timeout=timedelta(milliseconds=50), retries=0)\n"
    "    sleep = BashOperator(task_id='sleep', bash_command='sleep 600', execution_timeout=timedelta(milliseconds=50), retries=0)\n"
    "    @task\n"
    "    def final():\n"
    "        raise AirflowFailException('no more')\n"
    "    @task(execution_timeout=timedelta(milliseconds=50), retries=0)\n"
    "    def loop():\n"
    "        while True: pass\n"
    "    @task(retries=0)\n"
    "    def dies():\n"
    "        import os, signal\n"
    "        os.kill(os.getpid(), signal.SIGKILL)\n"
    "    @task\n"
    "    def skips():\n"
    "        raise AirflowSkipException('not today')\n"
    "    @task(trigger_rule='one_failed')\n"
    "    def alarm(): return 'rang'\n"
    "    never = EmptyOperator(task_id='never')\n"
    "    no_conn = SQLExecuteQueryOperator(task_id='no_conn', sql='select 1', conn_id='absent', retries=0)\n"
    "    missing = SQLExecuteQueryOperator(task_id='missing', sql='absent.sql', retries=0)\n"
    "    bad >> [never, alarm()]\n"
    "    final(); loop(); dies(); skips()\n";

static void test_failures_and_retries(void **state) {
    struct fixture *x = *state;
    add_dag(x, "failures.py", failures);
    struct flow_run r = run_dag(x, "failures", NULL, "failed");
    static const struct {
        const char *task, *state, *text;
        int tries;
    } want[] = {{"second_time", "success", "return code 0", 2},  {"bad", "failed", "return code 3", 2},
                {"sql", "failed", "syntax error", 2},            {"slow", "failed", "execution_timeout", 1},
                {"sleep", "failed", "execution_timeout", 1},     {"final", "failed", "no more", 1},
                {"loop", "failed", "execution_timeout", 1},      {"dies", "failed", "signal 9", 1},
                {"skips", "skipped", "not today", 1},            {"never", "upstream_failed", NULL, 0},
                {"alarm", "success", "rang", 1},                 {"no_conn", "failed", "'absent' is not defined", 1},
                {"missing", "failed", "'absent.sql' was not found", 1}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct flow_ti t = ti_of(x, &r, want[i].task), *tries;
        size_t n;
        if (strcmp(flow_ti_state_name(t.state), want[i].state) != 0 || t.try_number != want[i].tries)
            fail_msg("%s: %s after %d tries\n%s", want[i].task, flow_ti_state_name(t.state), t.try_number, log_of(x, &r, want[i].task, t.try_number));
        if (want[i].text != NULL && strstr(log_of(x, &r, want[i].task, t.try_number), want[i].text) == NULL)
            fail_msg("%s: log is\n%s", want[i].task, log_of(x, &r, want[i].task, t.try_number));
        assert_int_equal(flow_ti_tries(x->f, "failures", r.run_id, want[i].task, &x->a, &tries, &n, &x->err), ERR_OK);
        assert_int_equal(n, want[i].tries);
    }
}

static const char sensors[] =
    "import os\n"
    "from airflow.sdk import DAG, task, PokeReturnValue\n"
    "with DAG('sensors', schedule=None):\n"
    "    @task.sensor(poke_interval=0.01, timeout=30, mode='reschedule')\n"
    "    def again(ti=None):\n"
    "        return PokeReturnValue(ti.reschedule_count >= 2, {'asked': ti.reschedule_count + 1})\n"
    "    @task.sensor(poke_interval=0.01, timeout=30)\n"
    "    def poke(ti=None, seen=[]):\n"
    "        seen.append(1)\n"
    "        return len(seen) > 2\n"
    "    @task.sensor(poke_interval=0.01, timeout=0.03)\n"
    "    def late():\n"
    "        return False\n"
    "    @task.sensor(poke_interval=0.01, timeout=0.03, soft_fail=True)\n"
    "    def soft():\n"
    "        return False\n"
    "    again(); poke(); late(); soft()\n";

static void test_sensors(void **state) {
    struct fixture *x = *state;
    add_dag(x, "sensors.py", sensors);
    struct flow_run r = run_dag(x, "sensors", NULL, "failed");
    assert_state(x, &r, "again", "success");
    assert_string_equal(xcom_of(x, &r, "again", "return_value"), "{\"asked\": 3}");
    assert_int_equal(ti_of(x, &r, "again").try_number, 1);
    assert_state(x, &r, "poke", "success");
    assert_state(x, &r, "late", "failed");
    assert_state(x, &r, "soft", "skipped");
}

static void test_files_with_errors(void **state) {
    struct fixture *x = *state;
    add_dag(x, "good.py", "from airflow.sdk import DAG\nwith DAG('good', schedule='@daily'): pass\n");
    add_dag(x, "syntax.py", "from airflow.sdk import DAG\ndef (\n");
    add_dag(x, "cycle.py",
            "from airflow.sdk import DAG\nfrom airflow.operators.empty import EmptyOperator\nwith DAG('cycle', schedule=None):\n"
            "    a, b = EmptyOperator(task_id='a'), EmptyOperator(task_id='b')\n    a >> b >> a\n");
    add_dag(x, "asset.py", "from airflow.sdk import DAG, Asset\n");
    add_dag(x, "cron.py", "from airflow.sdk import DAG\nDAG('cron', schedule='61 * * * *')\nd = DAG('cron2', schedule='61 * * * *')\n");
    add_dag(x, "dies.py", "import os\nfrom airflow.sdk import DAG\nos._exit(3)\n");
    add_dag(x, "no_dag.py", "import nothing_of_the_kind\n");
    struct flow_import_error *e;
    size_t n;
    int64_t total;
    assert_int_equal(flow_import_errors(x->f, &(struct flow_page){.order_by = "filename"}, &x->a, &e, &n, &total, &x->err), ERR_OK);
    static const struct {
        const char *file, *text;
    } want[] = {{"/asset.py", "docs/LIMITS.md"}, {"/cron.py", "is not a minute"}, {"/cycle.py", "a -> b -> a"}, {"/dies.py", "exit code 3"},
                {"/syntax.py", "SyntaxError"}};
    assert_int_equal(n, 5);
    for (size_t i = 0; i < n; i++)
        if (strstr(e[i].filename, want[i].file) == NULL || strstr(e[i].stack_trace, want[i].text) == NULL)
            fail_msg("%s: %s", e[i].filename, e[i].stack_trace);
    run_dag(x, "good", NULL, "success");
    add_dag(x, "syntax.py", "from airflow.sdk import DAG\nwith DAG('mended', schedule=None): pass\n");
    run_dag(x, "mended", NULL, "success");
    struct flow_dag *dags;
    assert_int_equal(flow_dags(x->f, NULL, NULL, &x->a, &dags, &n, &total, &x->err), ERR_OK);
    assert_int_equal(n, 2);
    assert_true(dags[0].next_run_after_us > sys_now_us(sys_real()));
}

static void test_state_survives(void **state) {
    struct fixture *x = *state;
    add_dag(x, "basic.py",
            "from airflow.sdk import DAG\nfrom airflow.operators.bash import BashOperator\nwith DAG('keeps', schedule=None):\n"
            "    a = BashOperator(task_id='a', bash_command='echo {{ var.value.x }}')\n    b = BashOperator(task_id='b', bash_command=\"{{"
            " params.b | default('true') }}\")\n"
            "    a >> b\n");
    assert_int_equal(flow_variable_put(x->f, &(struct flow_variable){"x", "value of x", NULL}, true, &x->err), ERR_OK);
    assert_int_equal(flow_variable_put(x->f, &(struct flow_variable){"x", "2", NULL}, true, &x->err), ERR_EXISTS);
    struct flow_run r = run_dag(x, "keeps", "{\"b\": \"exit 1\"}", "failed"), again;
    flow_close(x->f);
    start(x);
    assert_int_equal(flow_run_get(x->f, "keeps", r.run_id, &x->a, &again, &x->err), ERR_OK);
    assert_int_equal(again.state, FLOW_RUN_FAILED);
    assert_string_equal(xcom_of(x, &r, "a", "return_value"), "\"value of x\"");
    struct flow_clear c = {.run_id = r.run_id, .only_failed = true, .start_us = FLOW_NO_TIME, .end_us = FLOW_NO_TIME};
    struct flow_ti *cleared;
    size_t n;
    assert_int_equal(flow_clear(x->f, "keeps", &c, &x->a, &cleared, &n, &x->err), ERR_OK);
    assert_int_equal(n, 1);
    assert_string_equal(cleared[0].task_id, "b");
    assert_int_equal(flow_run_wait(x->f, "keeps", r.run_id, 60 * SECOND, &x->a, &again, &x->err), ERR_OK);
    assert_int_equal(ti_of(x, &r, "b").try_number, 2);
    assert_int_equal(ti_of(x, &r, "a").try_number, 1);
}

// A run's time goes on while the server is down.
static void test_run_timeout_survives(void **state) {
    struct fixture *x = *state;
    add_dag(x, "late.py",
            "from datetime import timedelta\nfrom airflow.sdk import DAG\nfrom airflow.operators.bash import BashOperator\n"
            "with DAG('late', schedule=None, dagrun_timeout=timedelta(seconds=2)):\n"
            "    BashOperator(task_id='a', bash_command='sleep 3600', retries=9)\n");
    struct flow_trigger t = {.logical_us = FLOW_NO_TIME, .interval_start_us = FLOW_NO_TIME, .interval_end_us = FLOW_NO_TIME,
                             .run_after_us = FLOW_NO_TIME};
    struct flow_run r;
    assert_int_equal(flow_run_trigger(x->f, "late", &t, &x->a, &r, &x->err), ERR_OK);
    while (r.state == FLOW_RUN_QUEUED) assert_int_equal(flow_run_get(x->f, "late", r.run_id, &x->a, &r, &x->err), ERR_OK);
    assert_int_equal(r.state, FLOW_RUN_RUNNING);
    flow_close(x->f);
    start(x);
    assert_int_equal(flow_run_wait(x->f, "late", r.run_id, 30 * SECOND, &x->a, &r, &x->err), ERR_OK);
    assert_int_equal(r.state, FLOW_RUN_FAILED);
}

static void test_refusals(void **state) {
    struct fixture *x = *state;
    add_dag(x, "p.py", "from airflow.sdk import DAG, Param\nwith DAG('p', schedule=None, params={'n': Param(1, type='integer')}): pass\n");
    struct flow_trigger t = {.logical_us = FLOW_NO_TIME, .interval_start_us = FLOW_NO_TIME, .interval_end_us = FLOW_NO_TIME,
        .run_after_us = FLOW_NO_TIME};
    struct flow_run r;
    assert_int_equal(flow_run_trigger(x->f, "absent", &t, &x->a, &r, &x->err), ERR_NOT_FOUND);
    t.conf_json = "{\"n\": \"many\"}";
    assert_int_equal(flow_run_trigger(x->f, "p", &t, &x->a, &r, &x->err), ERR_INVALID);
    t.conf_json = "[1]";
    assert_int_equal(flow_run_trigger(x->f, "p", &t, &x->a, &r, &x->err), ERR_INVALID);
    t.conf_json = NULL;
    t.run_id = "../../etc";
    assert_int_equal(flow_run_trigger(x->f, "p", &t, &x->a, &r, &x->err), ERR_INVALID);
    t.run_id = "mine";
    t.logical_us = 20000 * DAY;
    assert_int_equal(flow_run_trigger(x->f, "p", &t, &x->a, &r, &x->err), ERR_OK);
    assert_int_equal(flow_run_trigger(x->f, "p", &t, &x->a, &r, &x->err), ERR_EXISTS);
    t.run_id = "other";
    assert_int_equal(flow_run_trigger(x->f, "p", &t, &x->a, &r, &x->err), ERR_EXISTS); // the logical date
    assert_int_equal(flow_run_delete(x->f, "p", "mine", &x->err), ERR_OK);
    assert_int_equal(flow_run_get(x->f, "p", "mine", &x->a, &r, &x->err), ERR_NOT_FOUND);
    assert_int_equal(flow_pool_delete(x->f, "default_pool", &x->err), ERR_INVALID);
    assert_int_equal(flow_variable_delete(x->f, "absent", &x->err), ERR_NOT_FOUND);
}

static void test_slots(void **state) {
    struct fixture *x = *state;
    start(x);
    assert_int_equal(flow_pool_put(x->f, &(struct flow_pool){.name = "one", .slots = 1}, true, &x->err), ERR_OK);
    add_dag(x, "slots.py",
            "from airflow.sdk import DAG\nfrom airflow.operators.bash import BashOperator\nwith DAG('slots', schedule=None):\n"
            "    for i in range(6):\n        BashOperator(task_id=f't{i}', pool='one', priority_weight=i, bash_command='true')\n");
    struct flow_run r = run_dag(x, "slots", NULL, "success");
    int64_t end = 0;
    for (int i = 5; i >= 0; i--) { // one after the other, by weight
        char id[16];
        snprintf(id, sizeof id, "t%d", i);
        struct flow_ti t = ti_of(x, &r, id);
        assert_true(t.start_us >= end);
        end = t.end_us;
    }
    struct flow_pool p;
    assert_int_equal(flow_pool_get(x->f, "one", &x->a, &p, &x->err), ERR_OK);
    assert_int_equal(p.running, 0);
    assert_int_equal(p.open, 1);
}

static void test_long_chain_of_empty_tasks(void **state) {
    struct fixture *x = *state;
    add_dag(x, "chain.py",
            "from airflow.sdk import DAG, chain\nfrom airflow.operators.empty import EmptyOperator\nwith DAG('chain', schedule=None):\n"
            "    chain(*[EmptyOperator(task_id=f't{i}') for i in range(5000)])\n");
    struct flow_run r = run_dag(x, "chain", NULL, "success");
    assert_state(x, &r, "t4999", "success");
}

static void test_callbacks_setup_and_teardown(void **state) {
    struct fixture *x = *state;
    char text[2048], path[200];
    snprintf(path, sizeof path, "%s/called", x->dir);
    snprintf(text, sizeof text,
             "from airflow.sdk import DAG, task, setup, teardown\nfrom airflow.operators.bash import BashOperator\n"
             "def note(what):\n    def f(context):\n        open('%s', 'a').write(what + ' ' + context['dag_run'].run_id + '\\n')\n    return f\n"
             "with DAG('calls', schedule=None, on_failure_callback=note('dag')):\n"
             "    s = BashOperator(task_id='make', bash_command='true').as_setup()\n"
             "    w = BashOperator(task_id='work', bash_command='exit 1', on_failure_callback=note('task'))\n"
             "    t = BashOperator(task_id='clean', bash_command='true').as_teardown(setups=s)\n"
             "    s >> w >> t\n",
             path);
    add_dag(x, "calls.py", text);
    struct flow_run r = run_dag(x, "calls", NULL, "failed");
    assert_state(x, &r, "clean", "success");
    // A run of another DAG goes through the same interpreter after the callbacks were sent; its end says that they have been started; the files
    // are complete when a rescan after it has been answered.
    for (int i = 0; i < 200; i++) {
        char *said = sys_read_file(sys_real(), path, 65536, NULL, NULL);
        bool both = said != NULL && strstr(said, "task ") != NULL && strstr(said, "dag ") != NULL;
        mem_free(said);
        if (both) return;
        add_dag(x, "other.py", "from airflow.sdk import DAG\n");
    }
    fail_msg("the callbacks were not called");
}

// ---- many hands: random changes from several threads while tasks run; in the end all is at rest and adds up --------------------------
static const char hands_dag[] =
    "from datetime import timedelta\n"
    "from airflow.sdk import DAG, task\n"
    "from airflow.operators.bash import BashOperator\n"
    "from airflow.operators.empty import EmptyOperator\n"
    "from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator\n"
    "for n in ('h0', 'h1'):\n"
    "    with DAG(n, schedule=None, max_active_runs=3, max_active_tasks=2, default_args={'retries': 1, 'retry_delay': timedelta(0)}):\n"
    "        a = EmptyOperator(task_id='a')\n"
    "        b = BashOperator(task_id='b', bash_command='sleep 0.01')\n"
    "        c = SQLExecuteQueryOperator(task_id='c', sql='select 1')\n"
    "        d = BashOperator(task_id='d', bash_command='exit 1', max_active_tis_per_dag=1)\n"
    "        e = BashOperator(task_id='e', bash_command='true', trigger_rule='all_done')\n"
    "        @task\n"
    "        def f(): return 1\n"
    "        a >> [b, c, d] >> e >> f()\n";

struct hand {
    struct fixture *x;
    int number;
};

static void do_something(struct flow *f, const char *dag, const char *run_id, uint64_t r, struct arena *a) {
    static const char *const tasks[] = {"a", "b", "c", "d", "e", "f"};
    struct flow_trigger t = {.run_id = run_id, .logical_us = FLOW_NO_TIME, .interval_start_us = FLOW_NO_TIME, .interval_end_us = FLOW_NO_TIME,
                             .run_after_us = FLOW_NO_TIME};
    struct flow_clear c = {.run_id = run_id, .task_ids = &tasks[r / 16 % 6], .n_task_ids = 1, .include_downstream = r & 1024, .include_upstream = r & 2048,
                           .start_us = FLOW_NO_TIME, .end_us = FLOW_NO_TIME};
    struct flow_run run;
    struct flow_ti *tis;
    size_t n;
    switch (r % 12) {
    case 0: case 1: case 2: case 3: flow_run_trigger(f, dag, &t, a, &run, NULL); break;
    case 4: case 5: flow_clear(f, dag, &c, a, &tis, &n, NULL); break;
    case 6: flow_run_set_state(f, dag, run_id, r & 16 ? FLOW_RUN_FAILED : FLOW_RUN_SUCCESS, NULL); break;
    case 7: flow_run_set_state(f, dag, run_id, FLOW_RUN_QUEUED, NULL); break;
    case 8: flow_run_delete(f, dag, run_id, NULL); break;
    case 9: flow_ti_set_state(f, dag, run_id, tasks[r / 16 % 6], r & 512 ? FLOW_TI_SUCCESS : FLOW_TI_FAILED, NULL); break;
    case 10: flow_dag_pause(f, dag, r & 16, NULL); break;
    default: flow_run_wait(f, dag, run_id, 5000, a, &run, NULL); break;
    }
}

static void hand_run(void *arg) {
    struct hand *h = arg;
    uint64_t seed = 77 + (uint64_t)h->number;
    for (int i = 0; i < 150; i++) {
        struct arena a;
        char run_id[16];
        arena_init(&a);
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        uint64_t r = seed >> 20;
        snprintf(run_id, sizeof run_id, "r%d", (int)(r >> 30) % 6);
        do_something(h->x->f, r & (1 << 25) ? "h0" : "h1", run_id, r, &a);
        arena_fini(&a);
    }
}

static void test_many_hands(void **state) {
    struct fixture *x = *state;
    add_dag(x, "hands.py", hands_dag);
    struct hand hands[4];
    struct sys_thread *threads[4];
    for (int i = 0; i < 4; i++) {
        hands[i] = (struct hand){x, i};
        threads[i] = sys_thread_start("hand", hand_run, &hands[i]);
    }
    for (int i = 0; i < 4; i++) sys_thread_join(threads[i]);
    for (int d = 0; d < 2; d++) assert_int_equal(flow_dag_pause(x->f, d ? "h1" : "h0", false, &x->err), ERR_OK);
    struct flow_run_filter w;
    struct flow_run *runs;
    size_t n;
    flow_run_filter_init(&w);
    assert_int_equal(flow_runs(x->f, &w, NULL, &x->a, &runs, &n, NULL, &x->err), ERR_OK);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        struct flow_run r;
        if (flow_run_wait(x->f, runs[i].dag_id, runs[i].run_id, 60 * SECOND, &x->a, &r, &x->err) != ERR_OK) {
            struct flow_ti *tis;
            size_t k;
            struct flow_ti_filter tw = {.dag_id = runs[i].dag_id, .run_id = runs[i].run_id};
            flow_tis(x->f, &tw, NULL, &x->a, &tis, &k, NULL, NULL);
            for (size_t j = 0; j < k; j++) print_message("%s %s\n", tis[j].task_id, flow_ti_state_name(tis[j].state));
            fail_msg("%s %s: %s", runs[i].dag_id, runs[i].run_id, x->err.msg);
        }
    }
    struct flow_ti *tis;
    struct flow_ti_filter tw = {.dag_id = "~"};
    assert_int_equal(flow_tis(x->f, &tw, &(struct flow_page){.limit = 1000}, &x->a, &tis, &n, NULL, &x->err), ERR_OK);
    for (size_t i = 0; i < n; i++)
        assert_true(tis[i].state == FLOW_TI_SUCCESS || tis[i].state == FLOW_TI_FAILED || tis[i].state == FLOW_TI_SKIPPED ||
                    tis[i].state == FLOW_TI_UPSTREAM_FAILED);
    struct flow_pool p;
    struct flow_health health;
    assert_int_equal(flow_pool_get(x->f, "default_pool", &x->a, &p, &x->err), ERR_OK);
    assert_int_equal(p.running, 0);
    assert_int_equal(p.scheduled, 0);
    flow_health(x->f, &x->a, &health);
    assert_int_equal(health.running, 0);
    assert_int_equal(health.queued, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cron_next),
        cmocka_unit_test(test_cron_prev_is_the_inverse_of_next),
        cmocka_unit_test(test_cron_refuses),
        cmocka_unit_test(test_timetables),
        cmocka_unit_test(test_rules),
        cmocka_unit_test_setup_teardown(test_run_of_every_kind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_branches_and_skips, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures_and_retries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sensors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files_with_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_state_survives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_run_timeout_survives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_chain_of_empty_tasks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_callbacks_setup_and_teardown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_hands, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
