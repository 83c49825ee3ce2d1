// SPDX-License-Identifier: Apache-2.0
// Commands: one table of them (commands.def), one file per command, each a struct cli_command that says its options, its help and what to run.
//
// From the tables come the parser, `--help`, `millrace help` and docs/CLI.md. One thread. Results go to standard output (a table, or
// JSON with --output json), errors to standard error with the exit code of their kind (base/errors.def).
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "sys/sys.h"

enum { CLI_OPTIONS_MAX = 64, CLI_ARGS_MAX = 1024 };

struct cli;
typedef enum err_code cli_run_fn(struct cli *c, struct err *err);

struct cli_option {
    const char *name;  // "config": written --config
    char letter;       // 'c' for -c; 0 = none
    const char *value; // what the value is called in help: "FILE"; NULL = a flag without a value
    const char *doc;
};

struct cli_command {
    const char *name;
    const char *args;     // "DAG_ID [RUN_ID]"; "" = none
    const char *summary;  // one line
    const char *help;     // paragraphs; may be NULL
    const char *examples; // lines: a comment line "# ..." then the command; may be NULL
    const struct cli_option *options; // ended by name NULL; may be NULL. --help and --output are always there
    bool is_client;       // also --data and --server: where the server is
    int min_args, max_args;
    cli_run_fn *run;                        // NULL: only subcommands
    const struct cli_command *const *subs;  // ended by NULL; may be NULL
};

struct cli {
    struct sys *sys;
    const struct cli_command *command; // the one that runs
    char path[128];                    // "millrace dags trigger"
    const char *args[CLI_ARGS_MAX];
    int n_args;
    struct {
        const struct cli_option *option;
        const char *value;
    } given[CLI_OPTIONS_MAX]; // in order
    int n_given;
    bool json; // --output json
    struct arena arena; // of the process
    struct client_security *security[2]; // what --command-config and the like named; freed at the end
};

extern const struct cli_command *const cli_commands[]; // ended by NULL

const char *cli_opt(const struct cli *c, const char *name); // the last value given, NULL = not given
size_t cli_opt_all(const struct cli *c, const char *name, const char **out, size_t max);
bool cli_flag(const struct cli *c, const char *name);

// argv as main got it. Returns the exit code.
int cli_main(struct sys *s, int argc, char **argv);

// A result of text cells: prints a table with headings, or with --output json an array of objects. cells[row * n_cols + col], NULL = null.
// `kinds`: a letter per column for JSON: 't' text, 'n' number, 'b' boolean (t, f), 'j' JSON. NULL: all are text.
void cli_print_rows(const struct cli *c, const char *const *names, const char *kinds, size_t n_cols,
                    const char *const *cells, size_t n_rows);
void cli_print(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_note(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3))); // to standard error

// Where the server's door is: --server, else addresses.json in --data (or MILLRACE_DATA, or ./data), else `otherwise`.
// `door` is a key of addresses.json: "http". Copied into the command's arena. ERR_UNAVAILABLE: --data was given and no server runs there.
enum err_code cli_address(struct cli *c, const char *door, const char *otherwise, const char **out, struct err *err);
const char *cli_data_dir(struct cli *c); // --data, MILLRACE_DATA or "data"

void cli_put_help(struct buf *out, const char *path, const struct cli_command *cmd);
void cli_put_overview(struct buf *out);
void cli_put_markdown(struct buf *out); // docs/CLI.md

#endif
