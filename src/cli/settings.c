// SPDX-License-Identifier: Apache-2.0
// Gathers a configuration from a command's options and the environment.
#include "cli/settings.h"

extern char **environ;

enum err_code settings_load(struct cli *c, struct config *out, struct err *err) {
    const char *sets[CLI_OPTIONS_MAX];
    size_t n = cli_opt_all(c, "set", sets, CLI_OPTIONS_MAX);
    const char *file = cli_opt(c, "config");
    config_init(out);
    enum err_code code = file == NULL ? ERR_OK : config_load_file(out, c->sys, file, err);
    if (code == ERR_OK) code = config_load_env(out, (const char *const *)environ, err);
    for (size_t i = 0; i < n && code == ERR_OK; i++) code = config_set_flag(out, sets[i], err);
    if (code != ERR_OK) config_fini(out);
    return code;
}
