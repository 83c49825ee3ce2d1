// SPDX-License-Identifier: Apache-2.0
// Inside of flow: what the scheduler's loop owns. Everything here is used on the loop's thread, unless a comment says otherwise.
//
// Way of a change: an event (a task ended, a trigger, a timer) changes structs in memory and marks them dirty; flow_touch() posts one flush,
// which writes all that is dirty in one transaction, commits, and only then starts tasks and answers callers. So one commit carries a task's
// end, its XComs and the start of what follows it, and nothing is started or acknowledged that is not durable.
#ifndef FLOW_FLOW_INT_H
#define FLOW_FLOW_INT_H

#include "base/map.h"
#include "base/vec.h"
#include "codec/json.h"
#include "flow/cron.h"
#include "flow/flow.h"
#include "flow/rules.h"
#include "loop/loop.h"
#include "meta/meta.h"

enum {
    FLOW_TASKS_MAX = 100000,   // tasks of one DAG
    FLOW_DAGS_MAX = 20000,
    FLOW_FILES_MAX = 20000,    // DAG files
    FLOW_FILE_MAX = 8 << 20,   // bytes of a DAG file or template file
    FLOW_FRAME_MAX = 64 << 20, // bytes of one message of the Python side
    FLOW_PARSERS = 2,          // files parsed at once
    FLOW_RESULT_ROWS = 1000,   // rows of a SQL task's result that become its XCom
    FLOW_CALL_ROWS = 10000,    // rows that a task's own query (hook) may fetch
    FLOW_KILL_GRACE_S = 5,     // between SIGTERM and SIGKILL
};

enum flow_kind { FLOW_KIND_PYTHON, FLOW_KIND_BASH, FLOW_KIND_SQL, FLOW_KIND_EMPTY };
enum flow_callback { FLOW_CB_FAILURE = 1, FLOW_CB_SUCCESS = 2, FLOW_CB_RETRY = 4, FLOW_CB_SKIPPED = 8 };

// A task as its version says. Strings are borrowed from the version's document.
struct ftask {
    const char *id, *operator_name, *pool, *queue;
    enum flow_kind kind;
    enum flow_rule rule;
    uint32_t index;
    uint32_t *up, *down; // indexes
    uint32_t n_up, n_down, n_up_setup;
    int retries, pool_slots, max_active_tis; // the last: 0 = no limit
    int64_t retry_delay_us, max_retry_delay_us, execution_timeout_us, weight; // *_us: 0 = none
    double retry_exponential;
    unsigned callbacks;
    bool depends_on_past, xcom_push, is_setup, is_teardown, teardown_fails_run, is_sensor;
    json_t *json; // borrowed
};

struct fdag;
struct fversion {
    int refs;
    int64_t id, created_us;
    int number;
    char uuid[37], hash[65];
    char *dag_id, *fileloc;
    json_t *doc;
    struct ftask *tasks;
    size_t n;
    struct map by_id;
    struct flow_schedule schedule;
    int64_t start_us, end_us, dagrun_timeout_us; // FLOW_NO_TIME
    int max_active_runs, max_active_tasks, max_failed_runs;
    unsigned callbacks;
    bool catchup, fail_fast, user_templates;
};

struct frun;
struct fexec;
struct fti {
    struct frun *run;
    const struct ftask *task;
    enum flow_ti_state state;
    int try_number, max_tries, reschedules;
    struct flow_counts counts; // upstream tasks by how they ended
    int64_t start_us, end_us, queued_us, scheduled_us, first_start_us, next_us, pid;
    char uuid[37];
    char *rendered, *note;
    char *skips; // what a branch decided to skip: JSON array of task ids; NULL = none
    struct loop_timer timer;
    struct fexec *exec;
    bool dirty, in_ready, waits_past;
};

struct frun {
    int64_t id;
    struct fdag *dag;
    struct fversion *version;
    char *run_id, *run_type, *triggered_by, *user, *note, *conf;
    enum flow_run_state state;
    int64_t logical_us, interval_start_us, interval_end_us, run_after_us, queued_us, start_us, end_us, decision_us;
    struct fti *tis; // one per task of the version
    size_t unfinished, running;
    VEC(struct fti *) blocked; // scheduled, but the run has max_active_tasks running
    struct loop_timer timer;   // dagrun_timeout
    int pins;                  // ready-heap entries and executions that point here
    bool dirty, is_new, gone, in_review;
};

struct fdag {
    char *dag_id, *file;
    bool paused, stale, import_error, dirty;
    struct fversion *latest;
    VEC(struct frun *) runs; // queued and running, oldest first
    VEC(struct fti *) waiting; // blocked by max_active_tis_per_dag or by the past
    int64_t last_automated_us; // run_after of the newest scheduled run; FLOW_NO_TIME = none
    int64_t last_parsed_us, parse_us;
    int64_t next_us; // run_after of the next scheduled run; FLOW_NO_TIME = none
    int failed_in_a_row;
    struct loop_timer timer;
    struct flow *f;
};

struct ready {
    int64_t weight, run_after;
    uint64_t seq;
    struct fti *ti;
};
struct fpool {
    char *name;
    int slots, used; // slots -1 = unlimited
    VEC(struct ready) heap;
};

// A write that belongs into the next commit, beside the dirty rows. Strings are owned.
enum fop_kind { FOP_XCOM_SET, FOP_XCOM_CLEAR, FOP_TRY, FOP_EVENT, FOP_PAUSE, FOP_RUN_DELETE, FOP_DAG_DELETE };
struct fop {
    enum fop_kind kind;
    int64_t run, when_us;
    int try_number;
    char *a, *b, *c, *d, *e;
    struct fti row; // FOP_TRY: state, times, pid
    char uuid[37];
};

// A call from another thread: fn runs on the loop; the caller wakes when what it changed is durable.
struct fcall {
    struct flow *f;
    enum err_code (*fn)(struct fcall *c, struct err *err);
    const void *in;
    void *out;
    struct arena *a;
    struct err *err;
    enum err_code code;
    struct loop_event done;
    bool reads; // changes nothing: allowed while the store does not work
};

struct fwait { // flow_run_wait
    int64_t run;
    struct loop_event *event;
};

struct ffile {
    char *path;
    int64_t mtime_us, size;
    bool seen, parsing, again, parsed;
    int64_t parse_id;
};

struct pylink; // python.c

struct flow {
    struct sys *sys;
    struct engine *engine;
    struct loop *loop;
    struct pool *pool; // SQL tasks, folder scans
    struct meta *meta;
    bool own_meta;
    char *data_dir, *dags_dir, *python, *python_dir, *addresses, *api_url;
    int parallelism, parse_timeout_s;
    int64_t scan_us;
    bool paused_at_creation, closing, broken, flush_posted, in_flush, loaded;
    char problem[ERR_MSG_MAX + 640];
    int64_t heartbeat_us, parser_heartbeat_us;

    struct map dags;  // dag_id -> fdag
    struct map pools; // name -> fpool
    struct map files; // path -> ffile
    VEC(struct frun *) all_runs; // in memory
    VEC(struct fti *) eval;   // to be looked at: an upstream has ended, or the run has started
    VEC(struct fti *) dirty_tis;
    VEC(struct frun *) dirty_runs;
    VEC(struct fdag *) dirty_dags;
    VEC(struct fop) ops;
    VEC(struct fti *) launches;
    VEC(struct fcall *) calls; // wait for the commit
    VEC(struct fwait) waits;
    VEC(struct frun *) ended; // ended in this round: wake waiters, callbacks, forget
    int running, n_scheduled, n_exec;
    uint64_t seq;
    int64_t exec_id, last_version_id, last_run_id;

    struct pylink *py;
    struct loop_timer scan_timer, reload_timer;
    bool scanning, scan_again, scanned_once;
    int parsing;
    VEC(struct fcall *) scan_calls; // wait until all is parsed
    VEC(struct fexec *) execs;
};

// flow.c
void flow_touch(struct flow *f); // something is dirty: write it soon
enum err_code flow_call(struct flow *f, enum err_code (*fn)(struct fcall *c, struct err *err), const void *in, void *out, struct arena *a,
                        struct err *err);
void flow_on_loop(struct flow *f, loop_fn *fn, void *arg); // runs fn(arg) there and waits for its end
int64_t flow_now(struct flow *f); // wall clock, us
void flow_event(struct flow *f, const char *event, const char *dag_id, const char *run_id, const char *task_id, int try_number, const char *extra);

enum err_code flow_ask(struct flow *f, enum err_code (*fn)(struct fcall *c, struct err *err), const void *in, void *out, struct arena *a,
                       struct err *err); // the same for what changes nothing

// doc.c: the serialized document -> version. ERR_INVALID with the reason.
struct fversion *flow_version_parse(json_t *doc, struct err *err); // takes a reference of doc; refs = 1
void flow_version_unref(struct fversion *v);
struct ftask *flow_version_task(const struct fversion *v, const char *task_id); // NULL = none

// store.c
enum err_code flow_store_open(struct flow *f, struct err *err);
enum err_code flow_store_load(struct flow *f, struct err *err); // DAGs, pools, active runs into memory
struct frun *flow_store_load_run(struct flow *f, const char *dag_id, const char *run_id, struct err *err); // a run that is not in memory; NULL
enum err_code flow_store_flush(struct flow *f, struct err *err); // writes and commits what is dirty
enum err_code flow_store_version_add(struct flow *f, struct fdag *d, struct fversion *v, struct str source, struct err *err);
void flow_ops_clear(struct flow *f);
void flow_op_xcom(struct flow *f, int64_t run, const char *task_id, const char *key, const char *value_json);

// sched.c
struct fdag *flow_dag_find(struct flow *f, const char *dag_id);
struct fdag *flow_dag_add(struct flow *f, const char *dag_id);
void flow_dag_schedule(struct fdag *d); // sets the timer of the next scheduled run
struct frun *flow_run_find(struct fdag *d, const char *run_id); // in memory
struct frun *flow_run_new(struct flow *f, struct fdag *d, struct fversion *v); // linked into d->runs and all_runs
void flow_run_init_tis(struct flow *f, struct frun *r);
void flow_run_start_waiting(struct flow *f, struct fdag *d);
void flow_run_recount(struct frun *r); // counters from the tis' states
void flow_run_arm_timeout(struct flow *f, struct frun *r); // dagrun_timeout, from the start of the run
void flow_run_evaluate(struct flow *f, struct frun *r); // all tis that can be
void flow_run_end(struct flow *f, struct frun *r, enum flow_run_state state);
void flow_run_review(struct flow *f, struct frun *r);
void flow_run_mark(struct flow *f, struct frun *r);
void flow_run_forget(struct flow *f, struct frun *r); // frees it when nothing points to it
void flow_ti_mark(struct flow *f, struct fti *ti);
void flow_ti_finish(struct flow *f, struct fti *ti, enum flow_ti_state state);
void flow_ti_clear(struct flow *f, struct fti *ti);
void flow_ti_pause(struct flow *f, struct fti *ti, enum flow_ti_state state, int64_t next_us); // up_for_retry, up_for_reschedule
void flow_run_stop(struct flow *f, struct frun *r, enum flow_run_state state);
void flow_run_unpin(struct flow *f, struct frun *r);
void flow_dag_wake(struct flow *f, struct fdag *d); // those that wait for others of the DAG are looked at again
void flow_dag_mark(struct flow *f, struct fdag *d);
void flow_ti_arm(struct flow *f, struct fti *ti); // sets the timer of up_for_retry and up_for_reschedule
void flow_work(struct flow *f); // evaluates and dispatches until nothing more can be
struct fpool *flow_pool_find(struct flow *f, const char *name);
struct fpool *flow_pool_add(struct flow *f, const char *name, int slots);
bool flow_ti_ended(enum flow_ti_state s);

// exec.c
struct foutcome {
    enum flow_ti_state state; // SUCCESS, FAILED, SKIPPED, UP_FOR_RESCHEDULE
    bool no_retry, lost;      // lost: not the task's fault (server stopped)
    int64_t at_us;            // of the reschedule
    const char *error;
};
struct fexec {
    struct flow *f;
    struct fti *ti; // NULL: nobody wants the outcome any more
    struct frun *run;
    int64_t id;
    int try_number;
    enum flow_kind kind;
    char *log_path;
    struct sys_file *log;
    uint64_t log_size;
    struct buf line; // bash: the line that is coming in
    char *last_line;
    struct sys_proc proc;
    struct loop_watch out_watch, pid_watch;
    bool out_open, proc_running, timed_out, python, cancelled;
    int exit_status;
    char *tmp_dir;
    struct loop_timer timeout, kill;
    struct sys_mutex mutex; // of session
    struct engine_session *session;
    bool render_done;
    char *sql, *result_json, *error; // SQL: text, rows as JSON, what went wrong
    enum err_code code;
    json_t *fields; // rendered template fields
    int64_t t0_us;
};
void flow_exec_start(struct flow *f, struct fti *ti);
void flow_exec_kill(struct flow *f, struct fexec *x);   // forget the outcome and end it
void flow_exec_outcome(struct fexec *x, const struct foutcome *o); // ends and frees x
void flow_exec_log(struct fexec *x, const char *level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void flow_exec_run_rendered(struct fexec *x);
void flow_exec_append(struct fexec *x, const void *p, size_t n);
char *flow_log_path(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, int try_number);
json_t *flow_ti_context(const struct fti *ti); // for Python
json_t *flow_run_context(const struct frun *r);
void flow_bash_start(struct fexec *x);
void flow_bash_stop(struct fexec *x);
void flow_sql_start(struct fexec *x);
void flow_callback(struct flow *f, struct frun *r, const struct fti *ti, const char *which, const char *error);
// Runs SQL for a Python task (hook) on a worker, then answers it. text and conn_id are copied.
void flow_sql_call(struct flow *f, int64_t py_id, int64_t seq, const char *conn_id, const char *sql);
// ERR_INVALID with the mend when a task may not use that connection in-process. Any thread.
enum err_code flow_sql_connection(struct flow *f, const char *conn_id, struct err *err);

// template.c: fills {{ ... }} of known variables. False = needs Jinja2.
bool flow_template(struct flow *f, const struct fti *ti, struct str text, struct buf *out);
// The task's template fields rendered here when possible; *needs_python otherwise. ERR_NOT_FOUND: a template file.
enum err_code flow_render(struct fexec *x, bool *needs_python, struct err *err);

// python.c
enum err_code flow_python_open(struct flow *f, struct err *err); // starts nothing yet: the first job does
void flow_python_stop(struct flow *f);
bool flow_python_ok(const struct flow *f); // it answers, or nothing has asked for it yet
void flow_python_send(struct flow *f, json_t *message); // takes the reference
void flow_python_reply(struct flow *f, int64_t id, int64_t seq, json_t *value, const char *error); // takes value
struct fexec *flow_exec_find(struct flow *f, int64_t id);

// scan.c
void flow_scan(struct flow *f); // now; again when one is under way
void flow_scan_parsed(struct flow *f, int64_t id, const json_t *outcome);
void flow_scan_python_lost(struct flow *f);
void flow_scan_free(struct flow *f);

#endif
