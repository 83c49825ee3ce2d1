// SPDX-License-Identifier: Apache-2.0
// Looks the command up, parses its options, runs it, and turns an error into a line on standard error and an exit code.
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>

#include "client/security.h"
#include "codec/json.h"

#define COMMAND(name) extern const struct cli_command cli_##name;
#include "cli/commands.def"
#undef COMMAND

const struct cli_command *const cli_commands[] = {
#define COMMAND(name) &cli_##name,
#include "cli/commands.def"
#undef COMMAND
    NULL,
};

static const struct cli_option common_options[] = {
    {"output", 'o', "table|json", "how results are written (table)"},
    {"help", 'h', NULL, "show this help"},
    {NULL, 0, NULL, NULL},
};
static const struct cli_option client_options[] = {
    {"data", 0, "DIR", "data directory of the server, whose addresses.json says where the doors are (MILLRACE_DATA, else data)"},
    {"server", 0, "ADDRESS", "address of the door, instead of --data"},
    {NULL, 0, NULL, NULL},
};

// ---- options ----------------------------------------------------------------------------------------------------------------

static const struct cli_option *find_in(const struct cli_option *options, struct str name, char letter) {
    for (; options != NULL && options->name != NULL; options++)
        if (letter != 0 ? options->letter == letter : str_eqc(name, options->name)) return options;
    return NULL;
}

static const struct cli_option *find_option(const struct cli_command *cmd, struct str name, char letter) {
    const struct cli_option *o = find_in(cmd->options, name, letter);
    if (o == NULL && cmd->is_client) o = find_in(client_options, name, letter);
    return o != NULL ? o : find_in(common_options, name, letter);
}

static enum err_code take_option(struct cli *c, int argc, char **argv, int *i, struct err *err) {
    const char *arg = argv[*i];
    struct str name = {0}, value = {0};
    const struct cli_option *o;
    bool inline_value = false;
    if (arg[1] == '-') {
        inline_value = str_cut(str_c(arg + 2), '=', &name, &value);
        o = find_option(c->command, name, 0);
    } else {
        o = find_option(c->command, name, arg[1]);
        if (o != NULL && arg[2] != 0) inline_value = true, value = str_c(arg + 2);
    }
    if (o == NULL) return err_set(err, ERR_INVALID, "unknown option %.60s; see %s --help", arg, c->path);
    if (c->n_given == CLI_OPTIONS_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d options", CLI_OPTIONS_MAX);
    const char *text = NULL;
    if (o->value == NULL && inline_value) return err_set(err, ERR_INVALID, "option --%s takes no value", o->name);
    if (o->value != NULL) {
        if (inline_value) text = value.p;
        else if (*i + 1 < argc) text = argv[++*i];
        else return err_set(err, ERR_INVALID, "option --%s needs a value: --%s %s", o->name, o->name, o->value);
    }
    c->given[c->n_given].option = o;
    c->given[c->n_given++].value = text;
    return ERR_OK;
}

static enum err_code take_arguments(struct cli *c, int argc, char **argv, int from, struct err *err) {
    bool options_end = false;
    for (int i = from; i < argc; i++) {
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && argv[i][0] == '-' && argv[i][1] != 0) {
            enum err_code code = take_option(c, argc, argv, &i, err);
            if (code != ERR_OK) return code;
        } else {
            if (c->n_args == CLI_ARGS_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d arguments", CLI_ARGS_MAX);
            c->args[c->n_args++] = argv[i];
        }
    }
    const char *output = cli_opt(c, "output");
    if (output != NULL && strcmp(output, "json") != 0 && strcmp(output, "table") != 0 && strcmp(output, "markdown") != 0)
        return err_set(err, ERR_INVALID, "--output is table or json, not %.40s", output);
    c->json = output != NULL && strcmp(output, "json") == 0;
    if (cli_flag(c, "help")) return ERR_OK;
    if (c->n_args < c->command->min_args || c->n_args > c->command->max_args)
        return err_set(err, ERR_INVALID, "usage: %s %s; see %s --help", c->path, c->command->args, c->path);
    return ERR_OK;
}

const char *cli_opt(const struct cli *c, const char *name) {
    for (int i = c->n_given - 1; i >= 0; i--)
        if (strcmp(c->given[i].option->name, name) == 0) return c->given[i].value;
    return NULL;
}

size_t cli_opt_all(const struct cli *c, const char *name, const char **out, size_t max) {
    size_t n = 0;
    for (int i = 0; i < c->n_given; i++)
        if (strcmp(c->given[i].option->name, name) == 0 && n < max) out[n++] = c->given[i].value;
    return n;
}

bool cli_flag(const struct cli *c, const char *name) {
    for (int i = 0; i < c->n_given; i++)
        if (strcmp(c->given[i].option->name, name) == 0) return true;
    return false;
}

// ---- running ----------------------------------------------------------------------------------------------------------------

static const struct cli_command *find_command(const struct cli_command *const *table, const char *name) {
    for (; table != NULL && *table != NULL; table++)
        if (strcmp((*table)->name, name) == 0) return *table;
    return NULL;
}

// Steps down through subcommands; *from is the first argument that is not a command's name.
static enum err_code find_path(struct cli *c, int argc, char **argv, int *from, struct err *err) {
    const struct cli_command *const *table = cli_commands;
    snprintf(c->path, sizeof c->path, "millrace");
    while (*from < argc && argv[*from][0] != '-') {
        const struct cli_command *found = find_command(table, argv[*from]);
        if (found == NULL && c->command != NULL && c->command->run != NULL) break;
        if (found == NULL) return err_set(err, ERR_INVALID, "unknown command: %s %.60s; see %s --help", c->path, argv[*from], c->path);
        size_t n = strlen(c->path);
        snprintf(c->path + n, sizeof c->path - n, " %s", found->name);
        c->command = found;
        table = found->subs;
        ++*from;
    }
    return ERR_OK;
}

static void print_buf(struct buf *b) {
    sys_stdout_write(buf_str(b));
    buf_fini(b);
}

static enum err_code run(struct cli *c, int argc, char **argv, struct err *err) {
    int from = 1;
    enum err_code code = find_path(c, argc, argv, &from, err);
    if (code != ERR_OK) return code;
    struct buf out;
    buf_init(&out, 1 << 20);
    if (c->command == NULL) {
        const char *word = from < argc ? argv[from] : "";
        if (strcmp(word, "--version") == 0) return cli_version.run(c, err);
        cli_put_overview(&out);
        print_buf(&out);
        if (*word == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return ERR_OK;
        return err_set(err, ERR_INVALID, "unknown option %.60s", word);
    }
    code = take_arguments(c, argc, argv, from, err);
    if (code == ERR_OK && (cli_flag(c, "help") || c->command->run == NULL)) {
        cli_put_help(&out, c->path, c->command);
        print_buf(&out);
        return ERR_OK;
    }
    buf_fini(&out);
    return code == ERR_OK ? c->command->run(c, err) : code;
}

int cli_main(struct sys *s, int argc, char **argv) {
    struct cli *c = MEM_NEW(struct cli);
    struct err err;
    err_clear(&err);
    c->sys = s;
    enum err_code code = run(c, argc, argv, &err);
    if (code != ERR_OK) cli_note(c, "%s: %s", c->path, err.msg);
    for (size_t i = 0; i < sizeof c->security / sizeof c->security[0]; i++) client_security_free(c->security[i]);
    arena_fini(&c->arena);
    mem_free(c);
    return err_info(code)->exit_code;
}

// ---- help -------------------------------------------------------------------------------------------------------------------

// A letter that the command takes for an option of its own (`hiding`) is not shown for a common one.
static void put_options(struct buf *out, const struct cli_option *options, const struct cli_option *hiding) {
    for (; options != NULL && options->name != NULL; options++) {
        char left[64];
        bool letter = options->letter != 0 && find_in(hiding, (struct str){0}, options->letter) == NULL;
        snprintf(left, sizeof left, "%s%c%s--%s%s%s", letter ? "-" : "  ", letter ? options->letter : ' ', letter ? ", " : " ", options->name,
                 options->value != NULL ? " " : "", options->value != NULL ? options->value : "");
        buf_printf(out, "  %-28s %s\n", left, options->doc);
    }
}

static void put_subs(struct buf *out, const struct cli_command *const *subs) {
    int width = 12;
    for (size_t i = 0; subs[i] != NULL; i++)
        if ((int)strlen(subs[i]->name) > width) width = (int)strlen(subs[i]->name);
    for (; *subs != NULL; subs++) buf_printf(out, "  %-*s %s\n", width, (*subs)->name, (*subs)->summary);
}

static void put_indented(struct buf *out, const char *text) {
    struct str rest = str_c(text), line;
    while (rest.n > 0) {
        str_cut(rest, '\n', &line, &rest);
        buf_printf(out, "%s" STR_FMT "\n", line.n > 0 ? "  " : "", STR_ARG(line));
    }
}

void cli_put_help(struct buf *out, const char *path, const struct cli_command *cmd) {
    buf_printf(out, "%s: %s\n\nUsage: %s%s%s%s\n", path, cmd->summary, path, cmd->run == NULL ? " COMMAND" : "", *cmd->args != 0 ? " " : "",
               cmd->args);
    if (cmd->help != NULL) buf_printf(out, "\n%s\n", cmd->help);
    if (cmd->subs != NULL) {
        buf_puts(out, "\nCommands:\n");
        put_subs(out, cmd->subs);
    }
    if (cmd->examples != NULL) {
        buf_puts(out, "\nExamples:\n");
        put_indented(out, cmd->examples);
    }
    buf_puts(out, "\nOptions:\n");
    put_options(out, cmd->options, NULL);
    if (cmd->is_client) put_options(out, client_options, cmd->options);
    put_options(out, common_options, cmd->options);
}

void cli_put_overview(struct buf *out) {
    buf_puts(out, "millrace: the data platform in one program and one directory\n\nUsage: millrace COMMAND [ARGUMENTS]\n\nCommands:\n");
    put_subs(out, cli_commands);
    buf_puts(out, "\n`millrace COMMAND --help` teaches by example. To begin: millrace server --data DIR\n");
}

static void put_markdown_of(struct buf *out, const char *path, const struct cli_command *cmd, int depth) {
    char below[128];
    buf_printf(out, "%s %s\n\n```text\n", depth == 0 ? "##" : "###", path);
    cli_put_help(out, path, cmd);
    buf_puts(out, "```\n\n");
    for (const struct cli_command *const *s = cmd->subs; s != NULL && *s != NULL; s++) {
        snprintf(below, sizeof below, "%s %s", path, (*s)->name);
        put_markdown_of(out, below, *s, depth + 1);
    }
}

void cli_put_markdown(struct buf *out) {
    buf_puts(out, "# Commands\n\nGenerated from the tables in `src/cli/` by `millrace help --markdown`; do not edit.\n\n"
                  "Results go to standard output (`--output json` for programs), messages to standard error. Exit codes: 0 done, 1 a check or a task "
                  "failed, 2 bad usage, 3 not supported, 4 no such thing, 5 exists or conflicts, 6 not allowed, 65 bad data, 69 no server, 70 a bug, "
                  "74 input or output failed, 75 try again, 78 bad configuration.\n\n");
    for (const struct cli_command *const *c = cli_commands; *c != NULL; c++) {
        char path[64];
        snprintf(path, sizeof path, "millrace %s", (*c)->name);
        put_markdown_of(out, path, *c, 0);
    }
}
