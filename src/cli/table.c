// SPDX-License-Identifier: Apache-2.0
// `millrace table` and `millrace check`: the lake's tables and data quality checks, over the PostgreSQL door.
#include <string.h>

#include "cli/cli.h"
#include "client/pg.h"
#include "codec/json.h"
#include "sql/sql.h"

static enum err_code print_rows(void *arg, const struct client_pg_rows *rows, struct err *err) {
    struct cli *c = arg;
    (void)err;
    if (rows->n_cols > 0) cli_print_rows(c, rows->names, rows->kinds, rows->n_cols, rows->cells, rows->n_rows);
    return ERR_OK;
}

static void print_notice(void *arg, const char *text) {
    struct str t = str_trim(str_c(text));
    cli_note(arg, STR_FMT, STR_ARG(t));
}

static enum err_code run(struct cli *c, struct buf *sql, struct err *err) {
    const char *url;
    struct client_pg *pg = NULL;
    if (cli_address(c, "pg", "postgresql://millrace@127.0.0.1:5439/millrace", &url, err) == ERR_OK) pg = client_pg_open(url, err);
    if (pg != NULL) {
        client_pg_on_notice(pg, print_notice, c);
        client_pg_run(pg, buf_cstr(sql), print_rows, c, err);
        client_pg_close(pg);
    }
    buf_fini(sql);
    return err->code;
}

// SCHEMA.TABLE as quoted names.
static enum err_code put_name(struct buf *b, const char *name, struct err *err) {
    struct str schema, table;
    if (!str_cut(str_c(name), '.', &schema, &table)) return err_set(err, ERR_INVALID, "%s: say SCHEMA.TABLE, as in bronze.flights", name);
    sql_put_ident(b, schema);
    buf_put_u8(b, '.');
    sql_put_ident(b, table);
    return ERR_OK;
}

static enum err_code run_list(struct cli *c, struct err *err) {
    struct buf b;
    buf_init(&b, 0);
    buf_puts(&b, "select n.nspname as schema, c.relname as table, c.relnatts as columns, c.reltuples::bigint as rows from pg_catalog.pg_class c "
                 "join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' and n.nspname not in ('topics', 'main', 'temp')");
    if (c->n_args > 0) {
        buf_puts(&b, " and n.nspname = ");
        sql_put_string(&b, str_c(c->args[0]));
    }
    buf_puts(&b, " order by 1, 2");
    return run(c, &b, err);
}

static enum err_code run_describe(struct cli *c, struct err *err) {
    struct buf b;
    buf_init(&b, 0);
    buf_puts(&b, "describe ");
    if (put_name(&b, c->args[0], err) == ERR_OK) return run(c, &b, err);
    buf_fini(&b);
    return err->code;
}

static enum err_code run_show(struct cli *c, struct err *err) {
    struct buf b;
    int64_t limit = 10;
    const char *text = cli_opt(c, "limit");
    if (text != NULL && (!str_to_i64(str_c(text), &limit) || limit < 0)) return err_set(err, ERR_INVALID, "--limit %s: a number is expected", text);
    buf_init(&b, 0);
    buf_puts(&b, "select * from ");
    if (put_name(&b, c->args[0], err) == ERR_OK) {
        buf_printf(&b, " limit %d", (int)limit);
        return run(c, &b, err);
    }
    buf_fini(&b);
    return err->code;
}

static enum err_code run_drop(struct cli *c, struct err *err) {
    struct buf b;
    buf_init(&b, 0);
    buf_puts(&b, "drop table ");
    if (put_name(&b, c->args[0], err) == ERR_OK) return run(c, &b, err);
    buf_fini(&b);
    return err->code;
}

static enum err_code run_check(struct cli *c, struct err *err) {
    struct buf b;
    buf_init(&b, 0);
    buf_puts(&b, "check ");
    char *suite = sys_read_file(c->sys, c->args[1], 4 << 20, NULL, err); // sent as text: the server need not see the file
    json_t *j = suite == NULL ? NULL : json_parse(str_c(suite), err);
    json_decref(j);
    if (suite != NULL && j == NULL) err_wrap(err, "%s is not a suite", c->args[1]);
    if (j != NULL && put_name(&b, c->args[0], err) == ERR_OK) {
        buf_puts(&b, " using ");
        sql_put_string(&b, str_trim(str_c(suite)));
        mem_free(suite);
        return run(c, &b, err);
    }
    mem_free(suite);
    buf_fini(&b);
    return err->code;
}

static const struct cli_option show_options[] = {{"limit", 'n', "ROWS", "so many rows; 10 by default"}, {0}};

static const struct cli_command list = {
    .name = "list", .args = "[SCHEMA]", .summary = "all tables of the lake", .is_client = true, .max_args = 1,
    .examples = "millrace table list\nmillrace table list gold --output json",
    .run = run_list};
static const struct cli_command describe = {
    .name = "describe", .args = "SCHEMA.TABLE", .summary = "its columns", .is_client = true, .min_args = 1, .max_args = 1,
    .examples = "millrace table describe silver.flights",
    .run = run_describe};
static const struct cli_command show = {.name = "show", .args = "SCHEMA.TABLE", .summary = "its first rows", .options = show_options, .is_client = true,
    .min_args = 1, .max_args = 1, .examples = "millrace table show gold.routes --limit 5 --output json",
    .run = run_show};
static const struct cli_command drop = {
    .name = "drop", .args = "SCHEMA.TABLE", .summary = "delete it and its files", .is_client = true, .min_args = 1, .max_args = 1,
    .examples = "millrace table drop bronze.old",
    .run = run_drop};
static const struct cli_command *const subs[] = {&list, &describe, &show, &drop, NULL};

const struct cli_command cli_table;
const struct cli_command cli_table = {
    .name = "table",
    .args = "",
    .summary = "list, describe, show, drop tables of the lake",
    .examples = "millrace table list\nmillrace table describe silver.flights\nmillrace table show gold.routes --limit 5",
    .is_client = true,
    .subs = subs,
};

const struct cli_command cli_check;
const struct cli_command cli_check = {
    .name = "check",
    .args = "SCHEMA.TABLE SUITE.json",
    .summary = "check a table against a Great Expectations suite",
    .help = "Runs all expectations in one scan and prints a row for each. When a critical one fails, the message says which and where the failing rows are,\n"
            "and the exit code is 1.",
    .examples = "millrace check silver.flights demo/suites/flights.json",
    .is_client = true,
    .min_args = 2,
    .max_args = 2,
    .run = run_check,
};
