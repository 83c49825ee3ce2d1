// SPDX-License-Identifier: Apache-2.0
// `millrace dags`: workflows over the REST API (Airflow's v2). A client: works against a real Airflow too, with --server and --token.
#include <inttypes.h>

#include "cli/cli.h"
#include "client/http.h"

enum { POLL_US = 200000, ROWS_MAX = 1000 };

static enum err_code connect_api(struct cli *c, struct client_http *h, struct err *err) {
    *h = (struct client_http){.token = cli_opt(c, "token")};
    return cli_address(c, "http", "http://127.0.0.1:8080", &h->base, err);
}

// "/api/v2/dags/ID/dagRuns/RUN": the parts are escaped. `b` and `d` may be NULL.
static const char *path_of(struct cli *c, const char *a, const char *b, const char *tail) {
    const char *dag = client_http_escape(&c->arena, a);
    if (b == NULL) return arena_printf(&c->arena, "/api/v2/dags/%s%s", dag, tail);
    return arena_printf(&c->arena, "/api/v2/dags/%s/dagRuns/%s%s", dag, client_http_escape(&c->arena, b), tail);
}

// A cell of a row: strings as they are, null as NULL, the rest as JSON. "a.b" looks into an object.
static const char *cell_of(struct cli *c, const json_t *row, const char *name) {
    const json_t *v = json_object_get(row, name);
    if (v == NULL || json_is_null(v)) return NULL;
    if (json_is_string(v)) return arena_strdup(&c->arena, json_string_value(v));
    if (json_is_real(v)) return arena_printf(&c->arena, "%.3f", json_real_value(v));
    return json_text(v, JSON_COMPACT | JSON_ENCODE_ANY, &c->arena).p;
}

// Prints chosen fields of the array `list` of the answer, or with --output json the array itself.
static void print_list(struct cli *c, const json_t *answer, const char *list, const char *const *names, size_t n_names) {
    const json_t *rows = json_object_get(answer, list);
    size_t n = json_array_size(rows);
    if (c->json) {
        cli_print(c, "%s", json_text(rows, JSON_INDENT(2), &c->arena).p);
        return;
    }
    const char **cells = ARENA_ARRAY(&c->arena, const char *, n * n_names + 1);
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < n_names; i++) cells[r * n_names + i] = cell_of(c, json_array_get(rows, r), names[i]);
    cli_print_rows(c, names, NULL, n_names, cells, n);
    int64_t total = json_get_i64(answer, "total_entries", (int64_t)n);
    if (total > (int64_t)n) cli_note(c, "(%zu of %" PRId64 ")", n, total);
}

static enum err_code get_list(struct cli *c, const char *path, const char *list, const char *const *names, size_t n_names, struct err *err) {
    struct client_http h;
    json_t *answer = NULL;
    enum err_code code = connect_api(c, &h, err);
    if (code == ERR_OK) code = client_http_json(&h, "GET", path, NULL, &answer, NULL, err);
    if (code == ERR_OK) print_list(c, answer, list, names, n_names);
    json_decref(answer);
    return code;
}
#define GET_LIST(c, path, list, err, ...) \
    get_list(c, path, list, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *), err)

static enum err_code run_list(struct cli *c, struct err *err) {
    return GET_LIST(c, "/api/v2/dags?limit=1000", "dags", err, "dag_id", "is_paused", "timetable_summary", "next_dagrun_run_after", "fileloc");
}

static enum err_code run_runs(struct cli *c, struct err *err) {
    const char *path = path_of(c, c->args[0], NULL, "/dagRuns?limit=100&order_by=-run_after");
    return GET_LIST(c, path, "dag_runs", err, "dag_run_id", "state", "run_type", "logical_date", "start_date", "end_date", "duration");
}

// The run that is meant: the argument, or the newest when there is none.
static enum err_code which_run(struct cli *c, const struct client_http *h, int arg, const char **out, struct err *err) {
    if (c->n_args > arg && strcmp(c->args[arg], "latest") != 0) {
        *out = c->args[arg];
        return ERR_OK;
    }
    json_t *answer = NULL;
    enum err_code code = client_http_json(h, "GET", path_of(c, c->args[0], NULL, "/dagRuns?limit=1&order_by=-run_after"), NULL, &answer, NULL, err);
    const char *id = code == ERR_OK ? json_get_cstr(json_array_get(json_object_get(answer, "dag_runs"), 0), "dag_run_id", NULL) : NULL;
    if (code == ERR_OK && id == NULL) code = err_set(err, ERR_NOT_FOUND, "dag %s has no run yet", c->args[0]);
    if (id != NULL) *out = arena_strdup(&c->arena, id);
    json_decref(answer);
    return code;
}

static enum err_code run_tasks(struct cli *c, struct err *err) {
    struct client_http h;
    const char *run = NULL;
    enum err_code code = connect_api(c, &h, err);
    if (code == ERR_OK) code = which_run(c, &h, 1, &run, err);
    if (code != ERR_OK) return code;
    return GET_LIST(c, path_of(c, c->args[0], run, "/taskInstances?limit=1000"), "task_instances", err, "task_id", "state", "operator", "try_number",
                    "start_date", "end_date", "duration");
}

static enum err_code run_errors(struct cli *c, struct err *err) {
    return GET_LIST(c, "/api/v2/importErrors?limit=1000", "import_errors", err, "filename", "timestamp", "stack_trace");
}

static enum err_code set_paused(struct cli *c, bool paused, struct err *err) {
    struct client_http h;
    json_t *body = json_pack("{s:b}", "is_paused", (int)paused), *answer = NULL;
    enum err_code code = connect_api(c, &h, err);
    if (code == ERR_OK) code = client_http_json(&h, "PATCH", path_of(c, c->args[0], NULL, ""), body, &answer, NULL, err);
    if (code == ERR_OK) cli_print(c, "%s is %s", c->args[0], paused ? "paused" : "not paused");
    json_decref(body);
    json_decref(answer);
    return code;
}
static enum err_code run_pause(struct cli *c, struct err *err) { return set_paused(c, true, err); }
static enum err_code run_unpause(struct cli *c, struct err *err) { return set_paused(c, false, err); }

// ---- trigger ----------------------------------------------------------------------------------------------------------------------

static enum err_code trigger_body(struct cli *c, json_t **body, struct err *err) {
    const char *conf = cli_opt(c, "conf"), *date = cli_opt(c, "logical-date"), *id = cli_opt(c, "run-id");
    *body = json_object();
    if (conf != NULL) {
        json_t *j = json_parse(str_c(conf), err);
        if (j == NULL) {
            err_wrap(err, "--conf");
            return err->code;
        }
        json_object_set_new(*body, "conf", j);
    }
    json_object_set_new(*body, "logical_date", date == NULL ? json_null() : json_string(date));
    if (id != NULL) json_object_set_new(*body, "dag_run_id", json_string(id));
    return ERR_OK;
}

// Prints each task's state as it changes, until the run has ended.
static enum err_code watch_run(struct cli *c, const struct client_http *h, const char *dag, const char *run, struct err *err) {
    json_t *seen = json_object();
    for (;;) {
        json_t *answer = NULL, *tasks = NULL;
        enum err_code code = client_http_json(h, "GET", path_of(c, dag, run, ""), NULL, &answer, NULL, err);
        if (code == ERR_OK) code = client_http_json(h, "GET", path_of(c, dag, run, "/taskInstances?limit=1000"), NULL, &tasks, NULL, err);
        size_t i;
        json_t *t;
        json_array_foreach(json_object_get(tasks, "task_instances"), i, t) {
            const char *id = json_get_cstr(t, "task_id", ""), *state = json_get_cstr(t, "state", NULL);
            const char *before = json_get_cstr(seen, id, NULL);
            if (state == NULL || (before != NULL && strcmp(before, state) == 0)) continue;
            json_object_set_new(seen, id, json_string(state));
            cli_note(c, "%-32s %s", id, state);
        }
        const char *state = json_get_cstr(answer, "state", "");
        bool good = strcmp(state, "success") == 0, bad = strcmp(state, "failed") == 0;
        json_decref(tasks);
        json_decref(answer);
        if (code != ERR_OK || good || bad) {
            json_decref(seen);
            return bad && code == ERR_OK ? err_set(err, ERR_TASK_FAILED, "run %s of %s failed; see millrace dags tasks %s '%s'", run, dag, dag, run)
                                         : code;
        }
        sys_sleep_us(c->sys, POLL_US);
    }
}

static enum err_code run_trigger(struct cli *c, struct err *err) {
    struct client_http h;
    json_t *body = NULL, *answer = NULL;
    enum err_code code = connect_api(c, &h, err);
    if (code == ERR_OK) code = trigger_body(c, &body, err);
    if (code == ERR_OK) code = client_http_json(&h, "POST", path_of(c, c->args[0], NULL, "/dagRuns"), body, &answer, NULL, err);
    const char *run = code == ERR_OK ? arena_strdup(&c->arena, json_get_cstr(answer, "dag_run_id", "")) : NULL;
    if (run != NULL && c->json) cli_print(c, "%s", json_text(answer, JSON_INDENT(2), &c->arena).p);
    else if (run != NULL) cli_print(c, "%s", run);
    json_decref(body);
    json_decref(answer);
    return run != NULL && cli_flag(c, "wait") ? watch_run(c, &h, c->args[0], run, err) : code;
}

// ---- logs -------------------------------------------------------------------------------------------------------------------------

static enum err_code run_logs(struct cli *c, struct err *err) {
    struct client_http h;
    const char *run = NULL, *task = c->args[c->n_args - 1], *given = cli_opt(c, "try");
    int64_t number = 0;
    json_t *ti = NULL, *answer = NULL;
    if (given != NULL && !str_to_i64(str_c(given), &number)) return err_set(err, ERR_INVALID, "--try must be a number");
    c->n_args--; // DAG_ID [RUN_ID]
    enum err_code code = connect_api(c, &h, err);
    if (code == ERR_OK) code = which_run(c, &h, 1, &run, err);
    if (code != ERR_OK) return code;
    const char *path = path_of(c, c->args[0], run, arena_printf(&c->arena, "/taskInstances/%s", client_http_escape(&c->arena, task)));
    if (number == 0) code = client_http_json(&h, "GET", path, NULL, &ti, NULL, err);
    if (number == 0) number = json_get_i64(ti, "try_number", 1);
    json_decref(ti);
    const char *token = NULL;
    while (code == ERR_OK) {
        const char *url =
            arena_printf(&c->arena, "%s/logs/%" PRId64 "%s%s", path, number, token == NULL ? "" : "?token=", token == NULL ? "" : token);
        code = client_http_json(&h, "GET", url, NULL, &answer, NULL, err);
        if (code != ERR_OK) break;
        size_t i, n = json_array_size(json_object_get(answer, "content"));
        json_t *line;
        json_array_foreach(json_object_get(answer, "content"), i, line) {
            const char *time = json_get_cstr(line, "timestamp", NULL);
            if (c->json) cli_print(c, "%s", json_text(line, JSON_COMPACT, &c->arena).p);
            else cli_print(c, "%s%s%s", time == NULL ? "" : time, time == NULL ? "" : " ", json_get_cstr(line, "event", ""));
        }
        const char *next = json_get_cstr(answer, "continuation_token", NULL);
        token = next == NULL ? NULL : arena_strdup(&c->arena, next);
        json_decref(answer);
        if (token == NULL || (n == 0 && !cli_flag(c, "follow"))) break; // what there is has been shown
        if (n == 0) sys_sleep_us(c->sys, POLL_US);
    }
    return code;
}

// ---- the tables -------------------------------------------------------------------------------------------------------------------

#define TOKEN_OPTION {"token", 0, "TOKEN", "Bearer token from /auth/token, when the server wants a log-in"}
static const struct cli_option plain_options[] = {TOKEN_OPTION, {NULL, 0, NULL, NULL}};
static const struct cli_option trigger_options[] = {
    {"conf", 'c', "JSON", "the run's conf: an object whose values override the DAG's params"},
    {"logical-date", 0, "TIME", "like 2026-01-31T00:00:00Z (none)"},
    {"run-id", 0, "ID", "the run's id (made up)"},
    {"wait", 'w', NULL, "show the tasks' states until the run has ended; exit code 1 when it failed"},
    TOKEN_OPTION,
    {NULL, 0, NULL, NULL},
};
static const struct cli_option log_options[] = {
    {"try", 't', "N", "which try (the last)"},
    {"follow", 'f', NULL, "go on until the try has ended"},
    TOKEN_OPTION,
    {NULL, 0, NULL, NULL},
};

#define SUB(ident, ...) \
    static const struct cli_command ident = {.is_client = true, __VA_ARGS__}
SUB(cmd_list, .name = "list", .args = "", .summary = "list the DAGs", .examples = "millrace dags list", .options = plain_options, .run = run_list);
SUB(cmd_trigger, .name = "trigger", .args = "DAG_ID", .summary = "start a run", .options = trigger_options, .min_args = 1, .max_args = 1,
    .run = run_trigger, .examples = "millrace dags trigger flights --wait\nmillrace dags trigger flights --conf '{\"topic\": \"flights\"}'");
SUB(cmd_runs, .name = "runs", .args = "DAG_ID", .summary = "list a DAG's runs, the newest first", .options = plain_options, .min_args = 1,
    .max_args = 1, .run = run_runs, .examples = "millrace dags runs flights");
SUB(cmd_tasks, .name = "tasks", .args = "DAG_ID [RUN_ID]", .summary = "list the tasks of a run (the newest run)", .options = plain_options,
    .min_args = 1, .max_args = 2, .run = run_tasks, .examples = "millrace dags tasks flights");
SUB(cmd_logs, .name = "logs", .args = "DAG_ID [RUN_ID] TASK_ID", .summary = "show a task's log (of the newest run)", .options = log_options,
    .min_args = 2, .max_args = 3, .run = run_logs, .examples = "millrace dags logs flights bronze\nmillrace dags logs flights latest bronze --try 1");
SUB(cmd_pause, .name = "pause", .args = "DAG_ID", .summary = "stop a DAG's schedule", .options = plain_options, .min_args = 1, .max_args = 1,
    .run = run_pause, .examples = "millrace dags pause flights");
SUB(cmd_unpause, .name = "unpause", .args = "DAG_ID", .summary = "start a DAG's schedule", .options = plain_options, .min_args = 1, .max_args = 1,
    .run = run_unpause, .examples = "millrace dags unpause flights");
SUB(cmd_errors, .name = "errors", .args = "", .summary = "list the DAG files that could not be read, and why", .options = plain_options,
    .run = run_errors, .examples = "millrace dags errors");

static const struct cli_command *const subs[] = {&cmd_list, &cmd_trigger, &cmd_runs,    &cmd_tasks, &cmd_logs,
                                                 &cmd_pause, &cmd_unpause, &cmd_errors, NULL};

const struct cli_command cli_dags;
const struct cli_command cli_dags = {
    .name = "dags",
    .args = "",
    .summary = "list, start and watch workflows",
    .help = "DAG files are Airflow 3's, in the folder flow.dags (DIR/dags). These commands use the REST API at /api/v2.",
    .examples = "millrace dags list\nmillrace dags trigger flights --wait\nmillrace dags tasks flights\nmillrace dags logs flights bronze",
    .subs = subs};
