// SPDX-License-Identifier: Apache-2.0
// `millrace config`: the values in force and where each came from, or what keys there are.
#include "server/config.h"

#include "cli/cli.h"
#include "cli/settings.h"

static enum err_code describe(struct cli *c) {
    const char *output = cli_opt(c, "output");
    if (output != NULL && strcmp(output, "markdown") == 0) {
        struct buf out;
        buf_init(&out, 1 << 20);
        config_put_markdown(&out);
        sys_stdout_write(buf_str(&out));
        buf_fini(&out);
        return ERR_OK;
    }
    static const char *const names[] = {"key", "kind", "default", "environment", "meaning"};
    const char **cells = ARENA_ARRAY(&c->arena, const char *, CONFIG_COUNT * 5);
    for (int i = 0; i < CONFIG_COUNT; i++) {
        const struct config_key *k = config_key((enum config_id)i);
        char env[64];
        config_env_name((enum config_id)i, env);
        const char *row[] = {k->key, k->choices != NULL ? k->choices : config_kind_name(k->kind), k->default_value, arena_strdup(&c->arena, env),
                             k->doc};
        memcpy(&cells[i * 5], row, sizeof row);
    }
    cli_print_rows(c, names, NULL, 5, cells, CONFIG_COUNT);
    return ERR_OK;
}

static enum err_code run_config(struct cli *c, struct err *err) {
    if (cli_flag(c, "describe")) return describe(c);
    struct config config;
    enum err_code code = settings_load(c, &config, err);
    if (code != ERR_OK) return code;
    static const char *const names[] = {"key", "value", "from"};
    const char *cells[CONFIG_COUNT * 3];
    for (int i = 0; i < CONFIG_COUNT; i++) {
        cells[i * 3] = config_key((enum config_id)i)->key;
        cells[i * 3 + 1] = i == CFG_HTTP_USERS && config.values[i].text[0] != 0 ? "(hidden)" : config.values[i].text; // holds passwords
        cells[i * 3 + 2] = config_source_name(config.values[i].source);
    }
    cli_print_rows(c, names, NULL, 3, cells, CONFIG_COUNT);
    config_fini(&config);
    return ERR_OK;
}

static const struct cli_option options[] = {
    {"describe", 0, NULL, "what keys there are, with kind, default and meaning (--output markdown gives docs/CONFIG.md)"},
    SETTINGS_OPTIONS,
    {NULL, 0, NULL, NULL},
};

const struct cli_command cli_config;
const struct cli_command cli_config = {
    .name = "config",
    .args = "",
    .summary = "show the configuration in force, or all keys",
    .help = "Values come, strongest first, from --set, from the environment (MILLRACE_KAFKA_LISTEN), from the YAML file, from the defaults.",
    .examples = "# what would a server with this file use?\nmillrace config --config millrace.yaml\n# every key with its meaning\nmillrace config "
                "--describe\n"
                "# is a value good?\nmillrace config --set kafka.listen=0.0.0.0:9092",
    .options = options,
    .run = run_config};
