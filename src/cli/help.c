// SPDX-License-Identifier: Apache-2.0
// `millrace help`: the overview, or all of it as docs/CLI.md.
#include "cli/cli.h"

static enum err_code run_help(struct cli *c, struct err *err) {
    struct buf out;
    buf_init(&out, 1 << 22);
    enum err_code code = ERR_OK;
    if (cli_flag(c, "markdown")) {
        cli_put_markdown(&out);
    } else if (c->n_args == 0) {
        cli_put_overview(&out);
    } else {
        code = err_set(err, ERR_INVALID, "unknown command %.60s; see millrace help", c->args[0]);
        for (const struct cli_command *const *p = cli_commands; *p != NULL; p++) {
            if (strcmp((*p)->name, c->args[0]) != 0) continue;
            char *path = mem_printf("millrace %s", (*p)->name);
            cli_put_help(&out, path, *p);
            mem_free(path);
            code = ERR_OK;
        }
    }
    sys_stdout_write(buf_str(&out));
    buf_fini(&out);
    return code;
}

static const struct cli_option options[] = {
    {"markdown", 0, NULL, "all commands as a Markdown page: docs/CLI.md"},
    {NULL, 0, NULL, NULL},
};

const struct cli_command cli_help;
const struct cli_command cli_help = {.name = "help",
                                     .args = "[COMMAND]",
                                     .summary = "show what commands there are, or one of them",
                                     .examples = "millrace help\nmillrace help server\nmillrace help --markdown > docs/CLI.md",
                                     .options = options,
                                     .max_args = 1,
                                     .run = run_help};
