// SPDX-License-Identifier: Apache-2.0
// `millrace broker`: the nodes of any Kafka, and the configs of whatever has some: brokers, topics, groups, client metrics, loggers.
#include <stdlib.h>
#include <string.h>

#include "cli/broker.h"
#include "cli/cluster.h"

// Numbers of the protocol: ConfigResource.Type, ConfigSource, AlterConfigOp.
static const struct {
    const char *option;
    int8_t type;
} kinds[] = {{"broker", 4}, {"topic", 2}, {"group", 32}, {"client-metrics", 16}, {"logger", 8}};
enum { N_KINDS = sizeof kinds / sizeof kinds[0], OP_SET = 0, OP_DELETE = 1, OP_APPEND = 2, OP_SUBTRACT = 3, VALUES_MAX = 64 };
static const char *const sources[] = {"unknown", "topic", "broker", "cluster", "static", "default", "logger", "client-metrics", "group"};
enum { SOURCE_STATIC = 4, SOURCE_DEFAULT = 5, SOURCE_LOGGER = 6, N_SOURCES = sizeof sources / sizeof sources[0] };

// ---- nodes ----------------------------------------------------------------------------------------------------------------

static enum err_code run_list(struct cli *c, struct err *err) {
    static const char *const names[] = {"id", "host", "port", "rack", "controller"};
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    const struct kafka_metadata_response *m = cluster_nodes(k);
    const char **cells = ARENA_ARRAY(&c->arena, const char *, (size_t)m->brokers.n * 5);
    for (int32_t i = 0; i < m->brokers.n; i++) {
        const char *row[] = {cli_number(c, m->brokers.p[i].node_id), cli_text(c, m->brokers.p[i].host), cli_number(c, m->brokers.p[i].port),
                             cli_text(c, m->brokers.p[i].rack), m->brokers.p[i].node_id == m->controller_id ? "true" : "false"};
        memcpy(&cells[i * 5], row, sizeof row);
    }
    cli_print_rows(c, names, "ntntb", 5, cells, (size_t)m->brokers.n);
    cluster_close(k);
    return ERR_OK;
}

// ---- configs --------------------------------------------------------------------------------------------------------------

struct target {
    int8_t type;
    struct str name; // "" = the cluster-wide default of brokers
    int32_t node;    // who is asked
};

static enum err_code target_of(struct cli *c, struct target *t, struct err *err) {
    int given = 0;
    for (int i = 0; i < N_KINDS; i++) {
        const char *name = cli_opt(c, kinds[i].option);
        if (name == NULL) continue;
        given++;
        *t = (struct target){kinds[i].type, str_c(name), CLUSTER_ANY};
    }
    if (cli_flag(c, "broker-default")) {
        given++;
        *t = (struct target){kinds[0].type, STR(""), CLUSTER_ANY};
    }
    if (given != 1)
        return err_set(err, ERR_INVALID, "whose configs? say one of --broker ID, --broker-default, --topic, --group, --client-metrics, --logger ID");
    int64_t id;
    if ((t->type == 4 || t->type == 8) && t->name.n > 0) { // a broker answers for itself
        if (!str_to_i64(t->name, &id) || id < 0 || id > INT32_MAX) return err_set(err, ERR_INVALID, "%.*s is not a broker's id", (int)t->name.n, t->name.p);
        t->node = (int32_t)id;
    }
    return ERR_OK;
}

static bool is_set(int source) { return source != SOURCE_DEFAULT && source != SOURCE_STATIC && source != SOURCE_LOGGER; }

static enum err_code run_configs(struct cli *c, struct err *err) {
    static const char *const names[] = {"config", "value", "source", "read_only"};
    struct target t;
    if (target_of(c, &t, err) != ERR_OK) return err->code;
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    struct kafka_describe_configs_request req;
    const struct kafka_describe_configs_response *res;
    kafka_msg_init(&kafka_describe_configs_request_m, &req);
    req.resources.p = KAFKA_ELEMENTS(cluster_memory(k), kafka_describe_configs_request_resources, 1);
    req.resources.n = 1;
    req.resources.p[0].resource_type = t.type;
    req.resources.p[0].resource_name = t.name;
    req.resources.p[0].configuration_keys.n = -1;
    enum err_code code = cluster_call(k, t.node, KAFKA_API_DESCRIBE_CONFIGS, &req, &res, err);
    if (code == ERR_OK && res->results.n != 1) code = err_set(err, ERR_PARSE, "the answer has %d resources", res->results.n);
    if (code == ERR_OK) code = cluster_error(res->results.p[0].error_code, res->results.p[0].error_message, err, "configs");
    size_t n = 0, most = code == ERR_OK ? (size_t)res->results.p[0].configs.n : 0;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, most * 4);
    for (size_t i = 0; i < most; i++) {
        const struct kafka_describe_configs_response_results_configs *f = &res->results.p[0].configs.p[i];
        if (!is_set(f->config_source) && !cli_flag(c, "all") && t.type != 8) continue;
        const char *row[] = {cli_text(c, f->name), f->is_sensitive ? "(hidden)" : f->value.p == NULL ? NULL : arena_strndup(&c->arena, f->value.p, f->value.n),
                             f->config_source >= 0 && f->config_source < N_SOURCES ? sources[f->config_source] : "unknown", f->read_only ? "true" : "false"};
        memcpy(&cells[n++ * 4], row, sizeof row);
    }
    if (code == ERR_OK) cli_print_rows(c, names, "tttb", 4, cells, n);
    cluster_close(k);
    return code;
}

typedef struct kafka_incremental_alter_configs_request_resources_configs change;

static enum err_code read_changes(struct cli *c, change **out, int32_t *n, struct err *err) {
    static const struct {
        const char *option;
        int8_t op;
    } ops[] = {{"set", OP_SET}, {"append", OP_APPEND}, {"subtract", OP_SUBTRACT}};
    int32_t n_deleted;
    struct str *deleted = cli_list(c, "delete", &n_deleted);
    *out = KAFKA_ELEMENTS(&c->arena, kafka_incremental_alter_configs_request_resources_configs, VALUES_MAX * 3 + n_deleted);
    *n = 0;
    for (size_t o = 0; o < sizeof ops / sizeof ops[0]; o++) {
        const char *given[VALUES_MAX];
        size_t count = cli_opt_all(c, ops[o].option, given, VALUES_MAX);
        for (size_t i = 0; i < count; i++) {
            struct str name, value;
            if (!str_cut(str_c(given[i]), '=', &name, &value)) return err_set(err, ERR_INVALID, "--%s %s: KEY=VALUE is expected", ops[o].option, given[i]);
            (*out)[(*n)++] = (change){name, ops[o].op, value};
        }
    }
    for (int32_t i = 0; i < n_deleted; i++) (*out)[(*n)++] = (change){deleted[i], OP_DELETE, {NULL, 0}};
    return *n > 0 ? ERR_OK : err_set(err, ERR_INVALID, "nothing to change: say --set KEY=VALUE, --delete KEY, --append KEY=VALUE or --subtract KEY=VALUE");
}

static enum err_code run_alter(struct cli *c, struct err *err) {
    struct target t;
    struct kafka_incremental_alter_configs_request req;
    const struct kafka_incremental_alter_configs_response *res;
    kafka_msg_init(&kafka_incremental_alter_configs_request_m, &req);
    if (target_of(c, &t, err) != ERR_OK) return err->code;
    req.resources.p = KAFKA_ELEMENTS(&c->arena, kafka_incremental_alter_configs_request_resources, 1);
    req.resources.n = 1;
    req.resources.p[0].resource_type = t.type;
    req.resources.p[0].resource_name = t.name;
    if (read_changes(c, &req.resources.p[0].configs.p, &req.resources.p[0].configs.n, err) != ERR_OK) return err->code;
    req.validate_only = cli_flag(c, "validate-only");
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    enum err_code code = cluster_call(k, t.node, KAFKA_API_INCREMENTAL_ALTER_CONFIGS, &req, &res, err);
    for (int32_t i = 0; code == ERR_OK && i < res->responses.n; i++)
        code = cluster_error(res->responses.p[i].error_code, res->responses.p[i].error_message, err, "configs");
    cluster_close(k);
    return code;
}

// ---- disks ----------------------------------------------------------------------------------------------------------------

static enum err_code run_log_dirs(struct cli *c, struct err *err) {
    static const char *const names[] = {"broker", "dir", "topic", "partition", "bytes"};
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    struct kafka_describe_log_dirs_request req;
    kafka_msg_init(&kafka_describe_log_dirs_request_m, &req);
    req.topics.n = -1;
    const struct kafka_metadata_response *nodes = cluster_nodes(k);
    int32_t n_only;
    struct str *only = cli_list(c, "topic", &n_only);
    struct buf rows;
    buf_init(&rows, 64 << 20);
    size_t n = 0;
    enum err_code code = ERR_OK;
    for (int32_t b = 0; b < nodes->brokers.n && code == ERR_OK; b++) {
        const struct kafka_describe_log_dirs_response *res;
        code = cluster_call(k, nodes->brokers.p[b].node_id, KAFKA_API_DESCRIBE_LOG_DIRS, &req, &res, err);
        if (code == ERR_OK) code = cluster_error(res->error_code, (struct str){0}, err, "folders of broker %d", nodes->brokers.p[b].node_id);
        for (int32_t d = 0; code == ERR_OK && d < res->results.n; d++)
            for (int32_t t = 0; t < res->results.p[d].topics.n; t++)
                for (int32_t p = 0; p < res->results.p[d].topics.p[t].partitions.n; p++) {
                    const struct kafka_describe_log_dirs_response_results_topics *topic = &res->results.p[d].topics.p[t];
                    bool wanted = n_only == 0;
                    for (int32_t i = 0; i < n_only; i++) wanted = wanted || str_eq(only[i], topic->name);
                    if (!wanted) continue;
                    const char *row[] = {cli_number(c, nodes->brokers.p[b].node_id), cli_text(c, res->results.p[d].log_dir), cli_text(c, topic->name),
                                         cli_number(c, topic->partitions.p[p].partition_index), cli_number(c, topic->partitions.p[p].partition_size)};
                    buf_put(&rows, row, sizeof row);
                    n++;
                }
    }
    if (code == ERR_OK) cli_print_rows(c, names, "nttnn", 5, (const char *const *)(void *)rows.p, n);
    buf_fini(&rows);
    cluster_close(k);
    return code;
}

#define WHOSE                                                                                                                                    \
    {"broker", 0, "ID", "of this broker"}, \
        {"broker-default", 0, NULL, "of all brokers that have none of their own"}, \
        {"topic", 't', "TOPIC", "of a topic"}, \
        {"group", 'g', "GROUP", "of a group"}, {"client-metrics", 0, "NAME", "of a subscription to clients' metrics"},                            \
        {"logger", 0, "ID", "log levels of a broker"}

static const struct cli_option list_options[] = {CLI_BROKERS, {0}};
static const struct cli_option configs_options[] = {WHOSE, {"all", 'a', NULL, "also what nobody set"}, CLI_BROKERS, {0}};
static const struct cli_option alter_options[] = {WHOSE,
                                                  {"set", 's', "KEY=VALUE", "set it; may be repeated"},
                                                  {"delete", 'd', "KEY,...", "back to the default"},
                                                  {"append", 0, "KEY=VALUE", "add to a list"},
                                                  {"subtract", 0, "KEY=VALUE", "take from a list"},
                                                  {"validate-only", 0, NULL, "only say whether it would be accepted"},
                                                  CLI_BROKERS,
                                                  {0}};
static const struct cli_option dirs_options[] = {{"topic", 't', "TOPIC,...", "only these topics"}, CLI_BROKERS, {0}};

static const struct cli_command list = {.name = "list", .args = "", .summary = "the nodes of the cluster", .options = list_options, .is_client = true,
    .examples = "millrace broker list", .run = run_list};
static const struct cli_command configs = {.name = "configs", .args = "", .summary = "configs of a broker, topic, group, ...", .options = configs_options,
    .is_client = true, .examples = "millrace broker configs --broker 1 --all\nmillrace broker configs --group billing", .run = run_configs};
static const struct cli_command alter = {.name = "alter", .args = "", .summary = "change configs while it runs", .options = alter_options, .is_client = true,
    .examples = "millrace broker alter --broker-default --set log.retention.ms=86400000\n"
                "millrace broker alter --group billing --set consumer.session.timeout.ms=60000",
    .run = run_alter};
static const struct cli_command dirs = {.name = "log-dirs", .args = "", .summary = "bytes of each partition on disk", .options = dirs_options,
    .is_client = true, .examples = "millrace broker log-dirs --topic orders", .run = run_log_dirs};
static const struct cli_command *const subs[] = {&list, &cli_broker_features, &cli_broker_set_feature, &configs, &alter, &dirs, NULL};

const struct cli_command cli_broker;
const struct cli_command cli_broker = {.name = "broker", .args = "", .summary = "nodes, configs, features, disks of a Kafka", .is_client = true, .subs = subs,
    .examples = "millrace broker list\nmillrace broker configs --broker 1 --all"};
