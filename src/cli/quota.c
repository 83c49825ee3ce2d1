// SPDX-License-Identifier: Apache-2.0
// `millrace quota`: how much users, client ids and addresses may do at any Kafka (KIP-546).
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cluster.h"

enum { OPS_MAX = 32, EXACT = 0, DEFAULT = 1, ANY_OF_TYPE = 2 };
static const char *const types[] = {"user", "client-id", "ip"};
enum { N_TYPES = sizeof types / sizeof types[0] };

static const char *default_option(int i) {
    static const char *const names[] = {"user-default", "client-id-default", "ip-default"};
    return names[i];
}

static const char *entity_text(struct cli *c, const struct kafka_describe_client_quotas_response_entries *e) { // "user=alice client-id=<default>"
    const char *out = "";
    for (int32_t i = 0; i < e->entity.n; i++) {
        struct str name = e->entity.p[i].entity_name.p == NULL ? STR("<default>") : e->entity.p[i].entity_name;
        out = arena_printf(&c->arena, "%s%s%.*s=%.*s", out, i > 0 ? " " : "", (int)e->entity.p[i].entity_type.n, e->entity.p[i].entity_type.p, (int)name.n,
                           name.p);
    }
    return out;
}

static enum err_code run_list(struct cli *c, struct err *err) {
    static const char *const names[] = {"entity", "quota", "value"};
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    struct kafka_describe_client_quotas_request req;
    const struct kafka_describe_client_quotas_response *res;
    kafka_msg_init(&kafka_describe_client_quotas_request_m, &req);
    req.components.p = KAFKA_ELEMENTS(cluster_memory(k), kafka_describe_client_quotas_request_components, N_TYPES);
    for (int i = 0; i < N_TYPES; i++) {
        const char *name = cli_opt(c, types[i]);
        bool is_default = cli_flag(c, default_option(i));
        if (name == NULL && !is_default) continue;
        struct kafka_describe_client_quotas_request_components *f = &req.components.p[req.components.n++];
        f->entity_type = str_c(types[i]);
        f->match_type = is_default ? DEFAULT : *name == 0 ? ANY_OF_TYPE : EXACT;
        f->match = is_default || *name == 0 ? (struct str){NULL, 0} : str_c(name);
    }
    req.strict = cli_flag(c, "strict");
    enum err_code code = cluster_call(k, CLUSTER_ANY, KAFKA_API_DESCRIBE_CLIENT_QUOTAS, &req, &res, err);
    if (code == ERR_OK) code = cluster_error(res->error_code, res->error_message, err, "quotas");
    size_t n = 0, most = 0;
    for (int32_t i = 0; code == ERR_OK && i < res->entries.n; i++) most += (size_t)res->entries.p[i].values.n;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, most * 3);
    for (int32_t i = 0; code == ERR_OK && i < res->entries.n; i++)
        for (int32_t v = 0; v < res->entries.p[i].values.n; v++, n++) {
            cells[n * 3] = entity_text(c, &res->entries.p[i]);
            cells[n * 3 + 1] = cli_text(c, res->entries.p[i].values.p[v].key);
            cells[n * 3 + 2] = arena_printf(&c->arena, "%.15g", res->entries.p[i].values.p[v].value);
        }
    if (code == ERR_OK) cli_print_rows(c, names, "ttn", 3, cells, n);
    cluster_close(k);
    return code;
}

static enum err_code read_ops(struct cli *c, struct kafka_alter_client_quotas_request_entries *e, struct err *err) {
    const char *set[OPS_MAX];
    size_t n = cli_opt_all(c, "set", set, OPS_MAX);
    int32_t n_removed;
    struct str *removed = cli_list(c, "remove", &n_removed);
    e->ops.p = KAFKA_ELEMENTS(&c->arena, kafka_alter_client_quotas_request_entries_ops, (int32_t)n + n_removed);
    for (size_t i = 0; i < n; i++) {
        struct str key, value;
        char *end = NULL;
        bool ok = str_cut(str_c(set[i]), '=', &key, &value) && value.n > 0;
        double v = ok ? strtod(value.p, &end) : 0;
        if (!ok || *end != 0 || !isfinite(v) || v < 0)
            return err_set(err, ERR_INVALID, "--set %s: NAME=NUMBER is expected, such as producer_byte_rate=1048576", set[i]);
        e->ops.p[e->ops.n++] = (struct kafka_alter_client_quotas_request_entries_ops){key, v, false};
    }
    for (int32_t i = 0; i < n_removed; i++) e->ops.p[e->ops.n++] = (struct kafka_alter_client_quotas_request_entries_ops){removed[i], 0, true};
    return e->ops.n > 0 ? ERR_OK : err_set(err, ERR_INVALID, "nothing to change: say --set NAME=NUMBER or --remove NAME");
}

static enum err_code run_alter(struct cli *c, struct err *err) {
    struct kafka_alter_client_quotas_request req;
    const struct kafka_alter_client_quotas_response *res;
    kafka_msg_init(&kafka_alter_client_quotas_request_m, &req);
    struct kafka_alter_client_quotas_request_entries *e = KAFKA_ELEMENTS(&c->arena, kafka_alter_client_quotas_request_entries, 1);
    e->entity.p = KAFKA_ELEMENTS(&c->arena, kafka_alter_client_quotas_request_entries_entity, N_TYPES);
    for (int i = 0; i < N_TYPES; i++) {
        const char *name = cli_opt(c, types[i]);
        bool is_default = cli_flag(c, default_option(i));
        if (name == NULL && !is_default) continue;
        struct str whose = is_default ? (struct str){NULL, 0} : str_c(name);
        e->entity.p[e->entity.n++] = (struct kafka_alter_client_quotas_request_entries_entity){str_c(types[i]), whose};
    }
    if (e->entity.n == 0) return err_set(err, ERR_INVALID, "whose? say --user NAME, --client-id NAME, --ip ADDRESS or one of the --...-default");
    if (read_ops(c, e, err) != ERR_OK) return err->code;
    req.entries.p = e;
    req.entries.n = 1;
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    enum err_code code = cluster_call(k, CLUSTER_ANY, KAFKA_API_ALTER_CLIENT_QUOTAS, &req, &res, err);
    for (int32_t i = 0; code == ERR_OK && i < res->entries.n; i++)
        code = cluster_error(res->entries.p[i].error_code, res->entries.p[i].error_message, err, "quota");
    cluster_close(k);
    return code;
}

#define WHOSE                                                                                                                                       \
    {"user", 'u', "NAME", "a user"}, {"user-default", 0, NULL, "all users that have none of their own"}, {"client-id", 'c', "NAME", "a client id"}, \
        {"client-id-default", 0, NULL, "all client ids that have none of their own"}, {"ip", 0, "ADDRESS", "an address"},                           \
        {"ip-default", 0, NULL, "all addresses that have none of their own"}

static const struct cli_option list_options[] = {WHOSE, {"strict", 0, NULL, "only entities of exactly these kinds"}, CLI_BROKERS, {0}};
static const struct cli_option alter_options[] = {
    WHOSE,
    {"set", 's', "NAME=NUMBER", "producer_byte_rate, consumer_byte_rate (bytes a second), request_percentage, controller_mutation_rate, "
        "connection_creation_rate (with --ip); may be repeated"},
    {"remove", 0, "NAME,...", "quotas that shall be no more"},
    CLI_BROKERS,
    {0}};

static const struct cli_command list = {.name = "list", .args = "", .summary = "the quotas, all or some", .options = list_options, .is_client = true,
    .examples = "millrace quota list\nmillrace quota list --user alice", .run = run_list};
static const struct cli_command alter = {.name = "alter", .args = "", .summary = "set and remove quotas", .options = alter_options, .is_client = true,
    .examples = "millrace quota alter --user alice --set producer_byte_rate=1048576\n"
                "millrace quota alter --user alice --client-id etl --set request_percentage=50\n"
                "millrace quota alter --user-default --remove consumer_byte_rate",
    .run = run_alter};
static const struct cli_command *const subs[] = {&list, &alter, NULL};

const struct cli_command cli_quota;
const struct cli_command cli_quota = {.name = "quota", .args = "", .summary = "list and set limits of users and clients", .is_client = true, .subs = subs,
    .examples = "millrace quota list\nmillrace quota alter --user alice --set producer_byte_rate=1048576"};
