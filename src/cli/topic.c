// SPDX-License-Identifier: Apache-2.0
// `millrace topic`: list, create, describe, alter, delete topics of any Kafka.
#include <inttypes.h>
#include <string.h>

#include "cli/cluster.h"
#include "cli/topic.h"
#include "client/kafka.h"

enum { CONFIGS_MAX = 32 };

static enum err_code configs_of(struct cli *c, struct client_kv *out, size_t *n, struct err *err) {
    const char *given[CONFIGS_MAX];
    *n = cli_opt_all(c, "config", given, CONFIGS_MAX);
    for (size_t i = 0; i < *n; i++) {
        struct str name, value;
        if (!str_cut(str_c(given[i]), '=', &name, &value)) return err_set(err, ERR_INVALID, "--config %s: key=value is expected", given[i]);
        out[i] = (struct client_kv){arena_strndup(&c->arena, name.p, name.n), arena_strndup(&c->arena, value.p, value.n)};
    }
    return ERR_OK;
}

static enum err_code partitions_of(struct cli *c, int32_t otherwise, int32_t *out, struct err *err) {
    const char *text = cli_opt(c, "partitions");
    int64_t n = otherwise;
    if (text != NULL && (!str_to_i64(str_c(text), &n) || n < 1 || n > 10000))
        return err_set(err, ERR_INVALID, "--partitions %s: a number from 1 to 10000 is expected", text);
    *out = (int32_t)n;
    return ERR_OK;
}

static enum err_code run_list(struct cli *c, struct err *err) {
    static const char *const names[] = {"topic", "partitions", "records"};
    struct client_target at;
    struct client_topic *topics;
    size_t n;
    if (cli_target(c, &at, err) != ERR_OK || client_topic_list(&at, true, &c->arena, &topics, &n, err) != ERR_OK) return err->code;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, n * 3);
    for (size_t i = 0; i < n; i++) {
        cells[i * 3] = topics[i].name;
        cells[i * 3 + 1] = cli_number(c, topics[i].partitions);
        cells[i * 3 + 2] = cli_number(c, topics[i].records);
    }
    cli_print_rows(c, names, "tnn", 3, cells, n);
    return ERR_OK;
}

static enum err_code run_create(struct cli *c, struct err *err) {
    struct client_target at;
    struct client_kv configs[CONFIGS_MAX];
    size_t n;
    int32_t partitions;
    if (cli_target(c, &at, err) != ERR_OK || configs_of(c, configs, &n, err) != ERR_OK) return err->code;
    if (partitions_of(c, -1, &partitions, err) != ERR_OK) return err->code;
    if (client_topic_create(&at, c->args[0], partitions, configs, n, err) == ERR_OK) return ERR_OK;
    if (err->code != ERR_EXISTS || !cli_flag(c, "if-not-exists")) return err->code;
    err_clear(err);
    return ERR_OK;
}

static enum err_code run_delete(struct cli *c, struct err *err) {
    struct client_target at;
    if (cli_target(c, &at, err) != ERR_OK) return err->code;
    return client_topic_delete(&at, c->args[0], err);
}

static enum err_code run_alter(struct cli *c, struct err *err) {
    struct client_target at;
    struct client_kv configs[CONFIGS_MAX];
    size_t n;
    int32_t partitions;
    if (cli_target(c, &at, err) != ERR_OK || configs_of(c, configs, &n, err) != ERR_OK) return err->code;
    if (partitions_of(c, 0, &partitions, err) != ERR_OK) return err->code;
    if (n == 0 && partitions == 0) return err_set(err, ERR_INVALID, "nothing to change: say --config key=value or --partitions N");
    enum err_code code = n > 0 ? client_topic_alter(&at, c->args[0], configs, n, err) : ERR_OK;
    if (code == ERR_OK && partitions > 0) code = client_topic_grow(&at, c->args[0], partitions, err);
    return code;
}

static enum err_code run_describe(struct cli *c, struct err *err) {
    static const char *const part_names[] = {"partition", "start", "high_watermark", "records"}, *const config_names[] = {"config", "value", "source"};
    struct client_target at;
    struct client_partition *parts;
    struct client_topic_config *configs;
    size_t n_parts, n_configs, n = 0;
    if (cli_target(c, &at, err) != ERR_OK) return err->code;
    if (client_topic_describe(&at, c->args[0], &c->arena, &parts, &n_parts, &configs, &n_configs, err) != ERR_OK) return err->code;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, n_parts * 4 + n_configs * 3);
    bool want_configs = cli_flag(c, "configs");
    for (size_t i = 0; i < n_parts && !want_configs; i++) {
        cells[i * 4] = cli_number(c, parts[i].id);
        cells[i * 4 + 1] = cli_number(c, parts[i].start);
        cells[i * 4 + 2] = cli_number(c, parts[i].high_watermark);
        cells[i * 4 + 3] = cli_number(c, parts[i].high_watermark - parts[i].start);
    }
    if (!want_configs) {
        cli_print_rows(c, part_names, "nnnn", 4, cells, n_parts);
        return ERR_OK;
    }
    for (size_t i = 0; i < n_configs; i++) {
        if (configs[i].is_default && !cli_flag(c, "all")) continue;
        cells[n * 3] = configs[i].name;
        cells[n * 3 + 1] = configs[i].value;
        cells[n * 3 + 2] = configs[i].source;
        n++;
    }
    cli_print_rows(c, config_names, NULL, 3, cells, n);
    return ERR_OK;
}

#define CONFIG {"config", 'c', "KEY=VALUE", "a topic config, such as retention.ms=86400000; may be repeated"}

static const struct cli_option list_options[] = {CLI_BROKERS, {0}};
static const struct cli_option create_options[] = {
    {"partitions", 'p', "N", "number of partitions; else the broker's default"}, CONFIG, {"if-not-exists", 0, NULL, "succeed when it is there "
        "already"}, CLI_BROKERS, {0}};
static const struct cli_option alter_options[] = {{"partitions", 'p', "N", "grow to so many partitions"}, CONFIG, CLI_BROKERS, {0}};
static const struct cli_option describe_options[] = {
    {"configs", 0, NULL, "its configs instead of its partitions"}, {"all", 0, NULL, "with --configs: also those at their default"}, CLI_BROKERS, {0}};

static const struct cli_command list = {
    .name = "list", .args = "", .summary = "all topics with partitions and records", .options = list_options, .is_client = true,
    .examples = "millrace topic list\nmillrace topic list --brokers kafka.example.com:9092 --output json",
    .run = run_list};
static const struct cli_command create = {.name = "create", .args = "TOPIC", .summary = "make a topic", .options = create_options, .is_client = true,
    .min_args = 1, .max_args = 1, .examples = "millrace topic create orders --partitions 6 --config retention.ms=604800000", .run = run_create};
static const struct cli_command describe = {.name = "describe", .args = "TOPIC", .summary = "offsets of its partitions, or its configs",
    .options = describe_options, .is_client = true, .min_args = 1, .max_args = 1,
    .examples = "millrace topic describe orders\n# what was set; with --all also the defaults\nmillrace topic describe orders --configs --all",
    .run = run_describe};
static const struct cli_command alter = {.name = "alter", .args = "TOPIC", .summary = "change configs, add partitions", .options = alter_options,
    .is_client = true, .min_args = 1, .max_args = 1, .examples = "millrace topic alter orders --config retention.ms=3600000", .run = run_alter};
static const struct cli_command drop = {.name = "delete", .args = "TOPIC", .summary = "delete a topic and its events", .options = list_options,
    .is_client = true, .min_args = 1, .max_args = 1, .examples = "millrace topic delete orders",
    .run = run_delete};
static const struct cli_command *const subs[] = {&list, &create, &describe, &alter, &drop,
                                                   &cli_topic_offsets, &cli_topic_delete_records, &cli_topic_move, NULL};

const struct cli_command cli_topic;
const struct cli_command cli_topic = {
    .name = "topic",
    .args = "",
    .summary = "list, create, describe, alter, delete topics",
    .examples = "millrace topic list\nmillrace topic create orders --partitions 6\nmillrace topic describe orders --configs",
    .is_client = true,
    .subs = subs,
};
