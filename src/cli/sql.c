// SPDX-License-Identifier: Apache-2.0
// `millrace sql`: statements at the PostgreSQL door, given with -c, from a file with -f, from standard input, or typed (with history).
#include <editline/readline.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "client/pg.h"
#include "sql/sql.h"

enum { SCRIPT_MAX = 16 << 20, CONTEXT = 60 };

static enum err_code print_result(void *arg, const struct client_pg_rows *rows, struct err *err) {
    struct cli *c = arg;
    (void)err;
    if (rows->n_cols > 0) cli_print_rows(c, rows->names, rows->kinds, rows->n_cols, rows->cells, rows->n_rows);
    else if (!c->json) cli_note(c, "%s", rows->tag);
    return ERR_OK;
}

static void print_notice(void *arg, const char *text) {
    struct cli *c = arg;
    struct str t = str_trim(str_c(text));
    cli_note(c, STR_FMT, STR_ARG(t));
}

// Puts the line that is at fault and a mark under the place behind the message.
static void show_position(struct err *err, const char *script) {
    if (err->position <= 0) return;
    size_t at = 0;
    for (int chars = 1; script[at] != 0 && chars < err->position; at++) chars += ((uint8_t)script[at + 1] & 0xC0) != 0x80;
    size_t from = at;
    while (from > 0 && script[from - 1] != '\n') from--;
    int line = 1;
    for (size_t i = 0; i < from; i++) line += script[i] == '\n';
    size_t n = strcspn(script + from, "\n"), mark = at - from;
    if (mark > CONTEXT) from += mark - CONTEXT, n -= mark - CONTEXT, mark = CONTEXT;
    if (n > 2 * CONTEXT) n = 2 * CONTEXT;
    int blanks = 0; // a mark under the character, whatever its bytes are
    for (size_t i = 0; i < mark; i++) blanks += ((uint8_t)script[from + i] & 0xC0) != 0x80;
    err_wrap(err, "line %d", line);
    size_t used = strlen(err->msg);
    struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "\n  %.*s\n  %*s^", (int)n, script + from, blanks, "");
    if (used + b.n < sizeof err->msg) memcpy(err->msg + used, buf_cstr(&b), b.n + 1);
    buf_fini(&b);
}

static enum err_code run_script(struct cli *c, struct client_pg *pg, const char *script, struct err *err) {
    enum err_code code = client_pg_run(pg, script, print_result, c, err);
    if (code != ERR_OK) show_position(err, script);
    return code;
}

static enum err_code read_stdin(struct cli *c, char **out, struct err *err) {
    struct buf b;
    buf_init(&b, SCRIPT_MAX);
    int64_t n = 0;
    while (!b.failed && buf_reserve(&b, 65536) && (n = sys_fd_read(0, b.p + b.n, 65536, err)) > 0) b.n += (size_t)n;
    if (b.failed) err_set(err, ERR_TOO_LARGE, "standard input holds more than %d MiB of SQL", SCRIPT_MAX >> 20);
    *out = arena_strndup(&c->arena, (const char *)b.p, b.n);
    enum err_code code = b.failed ? ERR_TOO_LARGE : n < 0 ? err->code : ERR_OK;
    buf_fini(&b);
    return code;
}

// Whether the text holds at least one whole statement: its last token is a semicolon.
static bool is_complete(const char *text) {
    struct sql_lexer l = {str_c(text), 0};
    struct sql_token t, last = {0};
    while (sql_lex(&l, &t, NULL) == ERR_OK) {
        if (t.kind == SQL_TOKEN_END) return last.n == 1 && text[last.at] == ';';
        last = t;
    }
    return false;
}

static const struct {
    const char *command, *sql;
} shortcuts[] = {
    {"\\dt", "select schemaname as schema, tablename as name from pg_catalog.pg_tables order by 1, 2"},
    {"\\dn", "select nspname as schema from pg_catalog.pg_namespace where nspname <> 'pg_catalog' order by 1"},
    {"\\topics", "show topics"},
};

static const char *expand(const char *line) {
    for (size_t i = 0; i < sizeof shortcuts / sizeof *shortcuts; i++)
        if (str_eqc(str_trim(str_c(line)), shortcuts[i].command)) return shortcuts[i].sql;
    return line;
}

static void type_and_run(struct cli *c, struct client_pg *pg) {
    struct err err = {0};
    const char *home = sys_getenv("HOME");
    const char *history = arena_printf(&c->arena, "%s/.millrace_history", home == NULL ? "." : home);
    using_history();
    read_history(history);
    cli_note(c, "Statements end with a semicolon. \\dt lists tables, \\dn schemas, \\topics topics; \\q or Ctrl-D leaves.");
    struct buf text;
    buf_init(&text, SCRIPT_MAX);
    for (char *line; (line = readline(text.n == 0 ? "millrace> " : "       -> ")) != NULL; free(line)) {
        if (text.n == 0 && str_eqc(str_trim(str_c(line)), "\\q")) break;
        const char *given = text.n == 0 ? expand(line) : line;
        buf_puts(&text, given);
        buf_put_u8(&text, '\n');
        if (str_trim(buf_str(&text)).n == 0) buf_clear(&text);
        if (given == line && !is_complete(buf_cstr(&text))) continue;
        if (text.n > 0) add_history(buf_cstr(&text));
        if (run_script(c, pg, buf_cstr(&text), &err) != ERR_OK) cli_note(c, "error: %s", err.msg);
        buf_clear(&text);
        if (err.code == ERR_CLOSED) break;
        err_clear(&err);
    }
    write_history(history);
    buf_fini(&text);
}

static enum err_code run_sql(struct cli *c, struct err *err) {
    const char *url, *command = cli_opt(c, "command"), *file = cli_opt(c, "file");
    if (cli_address(c, "pg", "postgresql://millrace@127.0.0.1:5439/millrace", &url, err) != ERR_OK) return err->code;
    if (cli_opt(c, "url") != NULL) url = cli_opt(c, "url");
    char *script = NULL;
    enum err_code code = ERR_OK;
    if (command != NULL) {
        script = arena_strdup(&c->arena, command);
    } else if (file != NULL) {
        script = sys_read_file(c->sys, file, SCRIPT_MAX, NULL, err);
        if (script == NULL) return err->code;
    } else if (!sys_is_tty(0)) {
        code = read_stdin(c, &script, err);
    }
    struct client_pg *pg = code == ERR_OK ? client_pg_open(url, err) : NULL;
    if (pg == NULL) return err->code;
    client_pg_on_notice(pg, print_notice, c);
    if (script != NULL) code = run_script(c, pg, script, err);
    else type_and_run(c, pg);
    client_pg_close(pg);
    if (file != NULL && command == NULL) mem_free(script);
    return code;
}

static const struct cli_option options[] = {
    {"command", 'c', "SQL", "run this and leave"},
    {"file", 'f', "FILE", "run the file's statements and leave"},
    {"url", 0, "URL", "any PostgreSQL: postgresql://user@host:port/database"},
    {0},
};

const struct cli_command cli_sql;
const struct cli_command cli_sql = {
    .name = "sql",
    .args = "",
    .summary = "run SQL, typed, given or from a file",
    .help = "Without -c and -f reads statements from standard input; on a terminal with history and editing. Tables of the lake are SCHEMA.TABLE,\n"
            "topics are topics.NAME, files are read_parquet('...'), read_csv('...'), read_json('...').",
    .examples = "millrace sql\n"
                "millrace sql -c 'select origin, count(*) from silver.flights group by 1 order by 2 desc limit 5'\n"
                "# events of a topic, with their place\n"
                "millrace sql -c 'select _partition, _offset, * from topics.flights limit 3'\n"
                "# a topic's new events into a table\n"
                "millrace sql -c 'copy into bronze.flights from topic flights'",
    .options = options,
    .is_client = true,
    .run = run_sql,
};
