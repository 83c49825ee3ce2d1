// SPDX-License-Identifier: Apache-2.0
// Workflows: DAG files (Airflow 3's), their versions, runs and task instances, an event-driven scheduler, and what tasks use (XCom,
// variables, connections, pools). States, rules and names are Airflow 3's.
//
// One loop thread owns all of it; every function here may be called from any other thread that may block (HTTP handlers, workers, tests):
// it asks the loop and waits. Results are plain structs in the caller's arena. Times are microseconds since 1970 UTC; FLOW_NO_TIME = null.
// Strings: NULL = null. *_json strings are JSON text. What a function has answered is durable.
#ifndef FLOW_FLOW_H
#define FLOW_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

struct flow;
struct sys;
struct engine;
struct meta;

#define FLOW_NO_TIME INT64_MIN

enum {
    FLOW_LIST_MAX = 10000,          // rows in one answer
    FLOW_CONF_MAX = 1 << 20,        // bytes of a run's conf
    FLOW_XCOM_MAX = 4 << 20,        // bytes of one XCom value
    FLOW_LOG_READ_MAX = 4 << 20,    // bytes of one flow_log answer
    FLOW_PARALLELISM_MAX = 256,
};

struct flow_config {
    struct sys *sys;         // NULL = sys_real()
    struct engine *engine;   // for SQL tasks; NULL = they fail with a clear message
    struct meta *meta;       // the store, shared with others; NULL = data_dir/meta.db is opened here
    const char *data_dir;    // tasklogs/ and (without meta) meta.db are in it
    const char *dags_dir;    // NULL = data_dir/dags
    const char *python;      // interpreter; NULL = /usr/bin/python3
    const char *python_dir;  // folder that holds the packages `airflow` and `millrace_worker` (the tree's python/); NULL = no Python: no DAG files
    const char *addresses;   // path of addresses.json, given to tasks as MILLRACE_ADDRESSES; NULL = none
    const char *api_url;     // given to tasks as MILLRACE_URL; NULL = none
    int parallelism;         // tasks at once; 0 = 16
    int sql_workers;         // SQL tasks at once; 0 = 4
    int scan_seconds;        // between looks at the DAG folder; 0 = 5
    int parse_timeout_seconds; // 0 = 30
    bool paused_at_creation; // new DAGs start paused unless their file says otherwise
};

// Opens the store (migrates, marks what a dead server left running), starts the loop and returns at once: Python starts and the folder is
// read afterwards. ERR_VERSION, ERR_CORRUPT, ERR_IO.
struct flow *flow_open(const struct flow_config *config, struct err *err);
// Stops: running tasks are ended (their tries count as lost and are run again at the next start), children killed. f may be NULL.
void flow_close(struct flow *f);

// ---- states and kinds (the names are the REST API's) -------------------------------------------------------------------------
#define FLOW_RUN_STATES(X) X(QUEUED, "queued") X(RUNNING, "running") X(SUCCESS, "success") X(FAILED, "failed")
#define FLOW_TI_STATES(X)                                                                                                              \
    X(NONE, "none") X(REMOVED, "removed") X(SCHEDULED, "scheduled") X(QUEUED, "queued") X(RUNNING, "running") X(SUCCESS, "success")   \
    X(RESTARTING, "restarting") X(FAILED, "failed") X(UP_FOR_RETRY, "up_for_retry") X(UP_FOR_RESCHEDULE, "up_for_reschedule")          \
    X(UPSTREAM_FAILED, "upstream_failed") X(SKIPPED, "skipped")
enum flow_run_state {
#define X(id, name) FLOW_RUN_##id,
    FLOW_RUN_STATES(X)
#undef X
};
enum flow_ti_state {
#define X(id, name) FLOW_TI_##id,
    FLOW_TI_STATES(X)
#undef X
    FLOW_TI_STATE_COUNT
};
const char *flow_run_state_name(enum flow_run_state s);
const char *flow_ti_state_name(enum flow_ti_state s); // FLOW_TI_NONE: "none" (the REST API's null)
bool flow_run_state_parse(struct str s, enum flow_run_state *out);
bool flow_ti_state_parse(struct str s, enum flow_ti_state *out);

// ---- lists --------------------------------------------------------------------------------------------------------------------
struct flow_page {
    int64_t limit, offset; // limit 0 = 100, at most FLOW_LIST_MAX
    const char *order_by;  // a field's REST name, "-" in front = descending; NULL = natural order. ERR_INVALID when unknown
};

// ---- DAGs ---------------------------------------------------------------------------------------------------------------------
struct flow_dag {
    const char *dag_id, *display_name, *description, *fileloc, *relative_fileloc, *timetable_summary, *timetable_description, *timezone;
    const char *doc_md;
    const char **tags, **owners;
    size_t n_tags, n_owners;
    bool is_paused, is_stale, has_import_errors, catchup, has_task_concurrency_limits, render_native;
    int max_active_runs, max_active_tasks, active_runs, max_consecutive_failed_runs;
    int64_t last_parsed_us, last_parse_duration_us, last_expired_us;
    int64_t next_logical_us, next_interval_start_us, next_interval_end_us, next_run_after_us;
    int64_t start_us, end_us, dagrun_timeout_us; // the last: duration, FLOW_NO_TIME = none
    const char *params_json, *default_args_json; // objects
    int64_t version_id;
    int version_number;
    const char *version_uuid;
    int64_t version_created_us;
};
struct flow_dag_filter {
    const char *dag_id_pattern; // SQL LIKE pattern without escapes, "%" any; NULL = all
    const char *tag;            // NULL = any
    int paused;                 // -1 = any, 0, 1
    bool with_stale;            // also those whose file has gone
};
enum err_code flow_dags(struct flow *f, const struct flow_dag_filter *filter, const struct flow_page *page, struct arena *a, struct flow_dag **out,
                        size_t *n, int64_t *total, struct err *err);
enum err_code flow_dag_get(struct flow *f, const char *dag_id, struct arena *a, struct flow_dag *out, struct err *err); // ERR_NOT_FOUND
enum err_code flow_dag_pause(struct flow *f, const char *dag_id, bool paused, struct err *err);
enum err_code flow_dag_delete(struct flow *f, const char *dag_id, struct err *err); // runs and history; comes back when its file is parsed again

struct flow_task {
    const char *task_id, *display_name, *operator_name, *class_module, *class_name, *owner, *pool, *queue, *trigger_rule, *weight_rule, *doc_md;
    const char *group_id;     // "" = the root group
    const char **upstream, **downstream, **template_fields;
    size_t n_upstream, n_downstream, n_template_fields;
    int retries, pool_slots;
    int64_t priority_weight, retry_delay_us, execution_timeout_us, start_us, end_us; // FLOW_NO_TIME = none
    double retry_exponential; // 0 = no, else the multiplier
    bool depends_on_past, wait_for_downstream, is_setup, is_teardown, is_sensor;
    const char *params_json;
};
// version 0 = newest. ERR_NOT_FOUND.
enum err_code flow_dag_tasks(struct flow *f, const char *dag_id, int version, struct arena *a, struct flow_task **out, size_t *n, struct err *err);

struct flow_version {
    int64_t id;
    const char *uuid;
    const char *dag_id;
    int number; // from 1
    int64_t created_us;
};
enum err_code flow_dag_versions(struct flow *f, const char *dag_id, const struct flow_page *page, struct arena *a, struct flow_version **out,
                                size_t *n, int64_t *total, struct err *err);
enum err_code flow_dag_source(struct flow *f, const char *dag_id, int version, struct arena *a, struct str *source, int *number, struct err *err);
enum err_code flow_dag_json(struct flow *f, const char *dag_id, int version, struct arena *a, struct str *json, struct err *err); // as serialized

struct flow_import_error {
    int64_t id, timestamp_us;
    const char *filename, *stack_trace;
};
enum err_code flow_import_errors(struct flow *f, const struct flow_page *page, struct arena *a, struct flow_import_error **out, size_t *n,
                                 int64_t *total, struct err *err);
// Looks at the folder now and waits until what changed is parsed, at most timeout_us. ERR_TIMEOUT.
enum err_code flow_rescan(struct flow *f, int64_t timeout_us, struct err *err);

// ---- runs ---------------------------------------------------------------------------------------------------------------------
struct flow_run {
    int64_t id;
    const char *dag_id, *run_id, *run_type, *triggered_by, *user, *note;
    enum flow_run_state state;
    int64_t logical_us, interval_start_us, interval_end_us, run_after_us, queued_us, start_us, end_us, last_decision_us;
    const char *conf_json; // an object
    struct flow_version version;
};
struct flow_trigger {
    const char *run_id;       // NULL = made up as Airflow does
    const char *conf_json;    // NULL = {}
    const char *note, *user;
    const char *triggered_by; // "rest_api", "cli", "ui"; NULL = "rest_api"
    int64_t logical_us;       // FLOW_NO_TIME = none
    int64_t interval_start_us, interval_end_us, run_after_us; // FLOW_NO_TIME = derived
};
// ERR_NOT_FOUND, ERR_EXISTS (run id or logical date taken), ERR_INVALID (conf, params that break their schema).
enum err_code flow_run_trigger(struct flow *f, const char *dag_id, const struct flow_trigger *t, struct arena *a, struct flow_run *out,
                               struct err *err);
struct flow_run_filter {
    const char *dag_id; // NULL or "~" = all
    const char *run_id_pattern;
    const char *const *states; // names
    size_t n_states;
    const char *run_type;
    int64_t logical_gte_us, logical_lte_us, run_after_gte_us, run_after_lte_us, start_gte_us, start_lte_us, end_gte_us,
        end_lte_us; // FLOW_NO_TIME = open
};
void flow_run_filter_init(struct flow_run_filter *filter);
enum err_code flow_runs(struct flow *f, const struct flow_run_filter *filter, const struct flow_page *page, struct arena *a, struct flow_run **out,
                        size_t *n, int64_t *total, struct err *err);
enum err_code flow_run_get(struct flow *f, const char *dag_id, const char *run_id, struct arena *a, struct flow_run *out, struct err *err);
// Waits until the run has ended or the time is over (ERR_TIMEOUT; *out is filled then too).
enum err_code flow_run_wait(struct flow *f, const char *dag_id, const char *run_id, int64_t timeout_us, struct arena *a, struct flow_run *out,
                            struct err *err);
// "success" and "failed" end a run (running tasks are ended, the others set as Airflow does), "queued" runs it again.
enum err_code flow_run_set_state(struct flow *f, const char *dag_id, const char *run_id, enum flow_run_state state, struct err *err);
enum err_code flow_run_set_note(struct flow *f, const char *dag_id, const char *run_id, const char *note, struct err *err);
enum err_code flow_run_delete(struct flow *f, const char *dag_id, const char *run_id, struct err *err);

// ---- task instances ----------------------------------------------------------------------------------------------------------------
struct flow_ti {
    const char *id; // UUID
    const char *dag_id, *run_id, *task_id, *operator_name, *pool, *queue, *hostname, *note;
    enum flow_ti_state state;
    int try_number, max_tries, pool_slots;
    int64_t priority_weight, pid; // pid 0 = none
    int64_t logical_us, run_after_us, start_us, end_us, queued_us, scheduled_us;
    const char *rendered_json; // an object: template field -> value
    struct flow_version version;
};
struct flow_ti_filter {
    const char *dag_id, *run_id; // NULL or "~" = all
    const char *task_id;         // NULL = all
    const char *const *states;   // names; "none" too
    size_t n_states;
};
enum err_code flow_tis(struct flow *f, const struct flow_ti_filter *filter, const struct flow_page *page, struct arena *a, struct flow_ti **out,
                       size_t *n, int64_t *total, struct err *err);
enum err_code flow_ti_get(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, struct arena *a, struct flow_ti *out,
                          struct err *err);
// Every try, the last one included, oldest first. Same struct: state, try_number, times, pid are the try's.
enum err_code flow_ti_tries(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, struct arena *a, struct flow_ti **out,
                            size_t *n, struct err *err);
// success, failed, skipped: downstream tasks follow.
enum err_code flow_ti_set_state(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, enum flow_ti_state state,
                                struct err *err);
enum err_code flow_ti_set_note(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const char *note, struct err *err);

struct flow_clear {
    const char *run_id;           // NULL = all runs of the DAG (within the dates)
    const char *const *task_ids;  // none = all
    size_t n_task_ids;
    bool dry_run, only_failed, only_running, include_upstream, include_downstream, include_future, include_past, reset_runs;
    int64_t start_us, end_us;     // of the logical date; FLOW_NO_TIME = open
};
// The instances cleared (or that would be), as they were before.
enum err_code flow_clear(struct flow *f, const char *dag_id, const struct flow_clear *c, struct arena *a, struct flow_ti **out, size_t *n,
                         struct err *err);

// The log of one try from byte `offset` on, at most FLOW_LOG_READ_MAX bytes; *end = the try has ended and this is all.
enum err_code flow_log(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, int try_number, uint64_t offset, struct arena *a,
                       struct str *text, uint64_t *next_offset, bool *end, struct err *err);

// ---- XCom ----------------------------------------------------------------------------------------------------------------------------
struct flow_xcom {
    const char *dag_id, *run_id, *task_id, *key, *value_json; // value NULL in lists
    int64_t timestamp_us, logical_us, run_after_us;
};
enum err_code flow_xcoms(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const struct flow_page *page, struct arena *a,
                         struct flow_xcom **out, size_t *n, int64_t *total, struct err *err);
enum err_code flow_xcom_get(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const char *key, struct arena *a,
                            struct flow_xcom *out, struct err *err);
enum err_code flow_xcom_set(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const char *key, const char *value_json,
                            struct err *err);
enum err_code flow_xcom_delete(struct flow *f, const char *dag_id, const char *run_id, const char *task_id, const char *key, struct err *err);

// ---- variables, connections, pools --------------------------------------------------------------------------------------------------------
struct flow_variable {
    const char *key, *value, *description;
};
enum err_code flow_variables(struct flow *f, const char *pattern, const struct flow_page *page, struct arena *a, struct flow_variable **out,
                             size_t *n,
                             int64_t *total, struct err *err);
enum err_code flow_variable_get(struct flow *f, const char *key, struct arena *a, struct flow_variable *out, struct err *err);
enum err_code flow_variable_put(struct flow *f, const struct flow_variable *v, bool must_be_new, struct err *err); // ERR_EXISTS
enum err_code flow_variable_delete(struct flow *f, const char *key, struct err *err);

struct flow_connection {
    const char *id, *type, *host, *login, *password, *schema, *extra, *description;
    int port; // 0 = none
};
enum err_code flow_connections(struct flow *f, const char *pattern, const struct flow_page *page, struct arena *a, struct flow_connection **out,
                               size_t *n, int64_t *total, struct err *err);
enum err_code flow_connection_get(struct flow *f, const char *id, struct arena *a, struct flow_connection *out, struct err *err);
enum err_code flow_connection_put(struct flow *f, const struct flow_connection *c, bool must_be_new, struct err *err);
enum err_code flow_connection_delete(struct flow *f, const char *id, struct err *err);

struct flow_pool {
    const char *name, *description;
    int slots; // -1 = unlimited
    bool include_deferred;
    int running, queued, scheduled, open; // slots in use now; open -1 = unlimited
};
enum err_code flow_pools(struct flow *f, const char *pattern, const struct flow_page *page, struct arena *a, struct flow_pool **out, size_t *n,
                         int64_t *total, struct err *err);
enum err_code flow_pool_get(struct flow *f, const char *name, struct arena *a, struct flow_pool *out, struct err *err);
enum err_code flow_pool_put(struct flow *f, const struct flow_pool *p, bool must_be_new, struct err *err);
enum err_code flow_pool_delete(struct flow *f, const char *name, struct err *err); // not default_pool: ERR_INVALID

// ---- what happened, health -----------------------------------------------------------------------------------------------------------------
struct flow_event {
    int64_t id, when_us, logical_us;
    const char *event, *dag_id, *run_id, *task_id, *owner, *extra;
    int try_number; // 0 = none
};
struct flow_event_filter {
    const char *dag_id, *run_id, *task_id, *event; // NULL = any
};
enum err_code flow_events(struct flow *f, const struct flow_event_filter *filter, const struct flow_page *page, struct arena *a,
                          struct flow_event **out,
                          size_t *n, int64_t *total, struct err *err);
enum err_code flow_event_get(struct flow *f, int64_t id, struct arena *a, struct flow_event *out, struct err *err);

struct flow_health {
    bool scheduler_ok, python_ok; // python_ok: the warm interpreter answers, or nothing has asked for it yet
    int64_t heartbeat_us, parser_heartbeat_us;
    int queued, running;
    const char *problem; // NULL = none; why something is not well
};
void flow_health(struct flow *f, struct arena *a, struct flow_health *out);

#endif
