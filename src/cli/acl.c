// SPDX-License-Identifier: Apache-2.0
// `millrace acl`: who may do what at any Kafka: list, add, remove rules, with the options of kafka-acls.
#include <string.h>

#include "cli/cluster.h"

// Numbers as in Kafka's protocol (AclOperation, ResourceType, PatternType, AclPermissionType).
struct name_row {
    const char *name;
    int8_t value;
};
static const struct name_row operations[] = {{"Any", 1}, {"All", 2}, {"Read", 3}, {"Write", 4}, {"Create", 5}, {"Delete", 6}, {"Alter", 7}, {"Describe", 8},
    {"ClusterAction", 9}, {"DescribeConfigs", 10}, {"AlterConfigs", 11}, {"IdempotentWrite", 12}, {"CreateTokens", 13}, {"DescribeTokens", 14},
    {"TwoPhaseCommit", 15}, {0}};
static const struct name_row patterns[] = {{"Any", 1}, {"Match", 2}, {"Literal", 3}, {"Prefixed", 4}, {0}};
static const struct name_row resources[] = {{"Topic", 2}, {"Group", 3}, {"Cluster", 4}, {"TransactionalId", 5}, {"DelegationToken", 6}, {"User", 7}, {0}};
static const struct name_row permissions[] = {{"Deny", 2}, {"Allow", 3}, {0}};
enum { ANY = 1, OP_READ = 3, OP_WRITE = 4, OP_CREATE = 5, OP_DESCRIBE = 8, OP_IDEMPOTENT = 12, OP_ALL = 2, PATTERN_LITERAL = 3, RES_TOPIC = 2, RES_GROUP = 3,
       RES_CLUSTER = 4, RES_TXN = 5, RES_TOKEN = 6, RES_USER = 7, DENY = 2, ALLOW = 3, RULES_MAX = 4096 };

static const char *name_of(const struct name_row *rows, int8_t value) {
    for (; rows->name != NULL; rows++)
        if (rows->value == value) return rows->name;
    return "?";
}

static bool value_of(const struct name_row *rows, struct str name, int8_t *out) {
    for (; rows->name != NULL; rows++)
        if (str_ieq(str_c(rows->name), name)) return *out = rows->value, true;
    return false;
}

// ---- what is meant --------------------------------------------------------------------------------------------------------

struct resource {
    int8_t type;
    struct str name;
};
struct wish { // all combinations of these
    struct resource resources[64];
    int32_t n_resources;
    int8_t pattern;
    struct {
        struct str name;
        int8_t permission;
    } principals[64];
    int32_t n_principals;
    struct str *allow_hosts, *deny_hosts;
    int32_t n_allow_hosts, n_deny_hosts;
    int8_t operations[16];
    int32_t n_operations;
};

static void add_resources(struct cli *c, struct wish *w, const char *option, int8_t type) {
    int32_t n;
    struct str *names = type == RES_USER ? cli_values(c, option, &n) : cli_list(c, option, &n);
    for (int32_t i = 0; i < n && w->n_resources < 64; i++) w->resources[w->n_resources++] = (struct resource){type, names[i]};
}

static enum err_code read_wish(struct cli *c, struct wish *w, struct err *err) {
    const char *pattern = cli_opt(c, "resource-pattern-type");
    *w = (struct wish){.pattern = PATTERN_LITERAL};
    add_resources(c, w, "topic", RES_TOPIC);
    add_resources(c, w, "group", RES_GROUP);
    add_resources(c, w, "transactional-id", RES_TXN);
    add_resources(c, w, "delegation-token", RES_TOKEN);
    add_resources(c, w, "user-principal", RES_USER);
    if (cli_flag(c, "cluster")) w->resources[w->n_resources++] = (struct resource){RES_CLUSTER, STR("kafka-cluster")};
    if (pattern != NULL && !value_of(patterns, str_c(pattern), &w->pattern))
        return err_set(err, ERR_INVALID, "--resource-pattern-type %s: literal, prefixed, match or any is expected", pattern);
    int32_t n;
    static const char *const who[] = {"deny-principal", "allow-principal"};
    for (int8_t p = 0; p < 2; p++) {
        struct str *names = cli_values(c, who[p], &n); // as kafka-acls: a name may have commas ("User:CN=a,O=b")
        for (int32_t i = 0; i < n && w->n_principals < 64; i++) {
            w->principals[w->n_principals].name = names[i];
            w->principals[w->n_principals++].permission = (int8_t)(DENY + p);
        }
    }
    w->allow_hosts = cli_list(c, "allow-host", &w->n_allow_hosts);
    w->deny_hosts = cli_list(c, "deny-host", &w->n_deny_hosts);
    struct str *ops = cli_list(c, "operation", &n);
    for (int32_t i = 0; i < n && w->n_operations < 16; i++)
        if (!value_of(operations, ops[i], &w->operations[w->n_operations++]))
            return err_set(err, ERR_INVALID, "--operation %.*s: no such operation; Read, Write, Create, Describe, ... are", (int)ops[i].n, ops[i].p);
    return ERR_OK;
}

// ---- rules ----------------------------------------------------------------------------------------------------------------

typedef struct kafka_create_acls_request_creations rule;
struct rules {
    rule *p;
    int32_t n;
};

static enum err_code add_rule(struct rules *r, const struct wish *w, int8_t type, struct str name, int8_t operation, struct err *err) {
    static struct str everywhere[] = {{"*", 1}};
    for (int32_t i = 0; i < w->n_principals; i++) {
        bool allow = w->principals[i].permission == ALLOW;
        const struct str *hosts = allow ? w->allow_hosts : w->deny_hosts;
        int32_t n = allow ? w->n_allow_hosts : w->n_deny_hosts;
        if (n == 0) {
            hosts = everywhere;
            n = 1;
        }
        for (int32_t h = 0; h < n; h++) {
            if (r->n == RULES_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d rules at once", RULES_MAX);
            r->p[r->n++] = (rule){type, name, type == RES_CLUSTER ? (int8_t)PATTERN_LITERAL : w->pattern, w->principals[i].name, hosts[h], operation,
                                  w->principals[i].permission};
        }
    }
    return ERR_OK;
}

// What a producer or a consumer needs: as kafka-acls --producer, --consumer.
static enum err_code add_role(struct cli *c, struct rules *r, const struct wish *w, struct err *err) {
    bool producer = cli_flag(c, "producer"), consumer = cli_flag(c, "consumer");
    for (int32_t i = 0; i < w->n_resources; i++) {
        const struct resource *res = &w->resources[i];
        int8_t wanted[4];
        int n = 0;
        if (res->type == RES_TOPIC && producer) wanted[n++] = OP_WRITE, wanted[n++] = OP_CREATE;
        if (res->type == RES_TXN && producer) wanted[n++] = OP_WRITE;
        if ((res->type == RES_TOPIC || res->type == RES_GROUP) && consumer) wanted[n++] = OP_READ;
        if (n > 0 && res->type != RES_GROUP) wanted[n++] = OP_DESCRIBE;
        for (int k = 0; k < n; k++)
            if (add_rule(r, w, res->type, res->name, wanted[k], err) != ERR_OK) return err->code;
    }
    if (producer && cli_flag(c, "idempotent")) return add_rule(r, w, RES_CLUSTER, STR("kafka-cluster"), OP_IDEMPOTENT, err);
    return ERR_OK;
}

static enum err_code make_rules(struct cli *c, struct rules *r, struct err *err) {
    struct wish *w = ARENA_NEW(&c->arena, struct wish);
    if (read_wish(c, w, err) != ERR_OK) return err->code;
    if (w->n_resources == 0 && !cli_flag(c, "cluster"))
        return err_set(err, ERR_INVALID, "what about? say --topic, --group, --transactional-id, --cluster, --delegation-token or --user-principal");
    if (w->n_principals == 0) return err_set(err, ERR_INVALID, "who? say --allow-principal User:alice or --deny-principal User:bob");
    r->p = KAFKA_ELEMENTS(&c->arena, kafka_create_acls_request_creations, RULES_MAX);
    r->n = 0;
    if (cli_flag(c, "producer") || cli_flag(c, "consumer")) return add_role(c, r, w, err);
    if (w->n_operations == 0) w->operations[w->n_operations++] = OP_ALL;
    for (int32_t i = 0; i < w->n_resources; i++)
        for (int32_t k = 0; k < w->n_operations; k++)
            if (add_rule(r, w, w->resources[i].type, w->resources[i].name, w->operations[k], err) != ERR_OK) return err->code;
    return ERR_OK;
}

static const char *const columns[] = {"resource", "name", "pattern", "principal", "host", "operation", "permission"};

static void put_row(struct cli *c, const char **cells, int8_t type, struct str name, int8_t pattern, struct str principal, struct str host, int8_t operation,
                    int8_t permission) {
    const char *row[] = {name_of(resources, type), cli_text(c, name), name_of(patterns, pattern), cli_text(c, principal), cli_text(c, host),
                         name_of(operations, operation), name_of(permissions, permission)};
    memcpy(cells, row, sizeof row);
}

static enum err_code run_add(struct cli *c, struct err *err) {
    struct rules r;
    if (make_rules(c, &r, err) != ERR_OK) return err->code;
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    struct kafka_create_acls_request req;
    const struct kafka_create_acls_response *res;
    kafka_msg_init(&kafka_create_acls_request_m, &req);
    req.creations.p = r.p;
    req.creations.n = r.n;
    enum err_code code = cluster_call(k, CLUSTER_ANY, KAFKA_API_CREATE_ACLS, &req, &res, err);
    for (int32_t i = 0; code == ERR_OK && i < res->results.n; i++)
        code = cluster_error(res->results.p[i].error_code, res->results.p[i].error_message, err, "rule %d", i + 1);
    const char **cells = ARENA_ARRAY(&c->arena, const char *, (size_t)r.n * 7);
    for (int32_t i = 0; i < r.n; i++)
        put_row(c, &cells[i * 7], r.p[i].resource_type, r.p[i].resource_name, r.p[i].resource_pattern_type, r.p[i].principal, r.p[i].host,
                r.p[i].operation, r.p[i].permission_type);
    if (code == ERR_OK) cli_print_rows(c, columns, NULL, 7, cells, (size_t)r.n);
    cluster_close(k);
    return code;
}

static enum err_code run_remove(struct cli *c, struct err *err) {
    struct rules r;
    if (make_rules(c, &r, err) != ERR_OK) return err->code;
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    struct kafka_delete_acls_request req;
    const struct kafka_delete_acls_response *res;
    kafka_msg_init(&kafka_delete_acls_request_m, &req);
    req.filters.p = KAFKA_ELEMENTS(cluster_memory(k), kafka_delete_acls_request_filters, r.n);
    req.filters.n = r.n;
    for (int32_t i = 0; i < r.n; i++)
        req.filters.p[i] = (struct kafka_delete_acls_request_filters){r.p[i].resource_type, r.p[i].resource_name, r.p[i].resource_pattern_type,
                                                                      r.p[i].principal, r.p[i].host, r.p[i].operation, r.p[i].permission_type};
    enum err_code code = cluster_call(k, CLUSTER_ANY, KAFKA_API_DELETE_ACLS, &req, &res, err);
    size_t n = 0, most = 0;
    for (int32_t i = 0; code == ERR_OK && i < res->filter_results.n; i++) most += (size_t)res->filter_results.p[i].matching_acls.n;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, most * 7);
    for (int32_t i = 0; code == ERR_OK && i < res->filter_results.n; i++) {
        const struct kafka_delete_acls_response_filter_results *f = &res->filter_results.p[i];
        code = cluster_error(f->error_code, f->error_message, err, "filter %d", i + 1);
        for (int32_t m = 0; code == ERR_OK && m < f->matching_acls.n; m++, n++) {
            const struct kafka_delete_acls_response_filter_results_matching_acls *a = &f->matching_acls.p[m];
            code = cluster_error(a->error_code, a->error_message, err, "rule %zu", n + 1);
            put_row(c, &cells[n * 7], a->resource_type, a->resource_name, a->pattern_type, a->principal, a->host, a->operation, a->permission_type);
        }
    }
    if (code == ERR_OK) cli_print_rows(c, columns, NULL, 7, cells, n);
    cluster_close(k);
    return code;
}

static enum err_code list_one(struct cluster *k, const struct resource *about, int8_t pattern, struct str principal,
                              const struct kafka_describe_acls_response **res, struct err *err) {
    struct kafka_describe_acls_request req;
    kafka_msg_init(&kafka_describe_acls_request_m, &req);
    req.resource_type_filter = about->type;
    req.resource_name_filter = about->name;
    req.pattern_type_filter = pattern;
    req.principal_filter = principal;
    req.host_filter = (struct str){NULL, 0};
    req.operation = ANY;
    req.permission_type = ANY;
    if (cluster_call(k, CLUSTER_ANY, KAFKA_API_DESCRIBE_ACLS, &req, res, err) != ERR_OK) return err->code;
    return cluster_error((*res)->error_code, (*res)->error_message, err, "rules");
}

static enum err_code run_list(struct cli *c, struct err *err) {
    struct wish *w = ARENA_NEW(&c->arena, struct wish);
    if (read_wish(c, w, err) != ERR_OK) return err->code;
    if (cli_opt(c, "resource-pattern-type") == NULL) w->pattern = ANY;
    if (w->n_resources == 0) w->resources[w->n_resources++] = (struct resource){ANY, {NULL, 0}};
    int32_t n_principals;
    struct str *principals = cli_values(c, "principal", &n_principals);
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, RULES_MAX * 7);
    size_t n = 0;
    enum err_code code = ERR_OK;
    for (int32_t i = 0; i < w->n_resources && code == ERR_OK; i++)
        for (int32_t p = 0; p < (n_principals == 0 ? 1 : n_principals) && code == ERR_OK; p++) {
            const struct kafka_describe_acls_response *res;
            code = list_one(k, &w->resources[i], w->pattern, n_principals == 0 ? (struct str){NULL, 0} : principals[p], &res, err);
            for (int32_t x = 0; code == ERR_OK && x < res->resources.n; x++)
                for (int32_t a = 0; a < res->resources.p[x].acls.n; a++) {
                    const struct kafka_describe_acls_response_resources *r = &res->resources.p[x];
                    if (n == RULES_MAX) return cluster_close(k), err_set(err, ERR_TOO_LARGE, "more than %d rules: name a resource or a principal", RULES_MAX);
                    put_row(c, &cells[n++ * 7], r->resource_type, r->resource_name, r->pattern_type, r->acls.p[a].principal, r->acls.p[a].host,
                            r->acls.p[a].operation, r->acls.p[a].permission_type);
                }
        }
    if (code == ERR_OK) cli_print_rows(c, columns, NULL, 7, cells, n);
    cluster_close(k);
    return code;
}

#define RESOURCES                                                                                                                   \
    {"topic", 't', "TOPIC,...", "about topics; '*' is all of them"}, {"group", 'g', "GROUP,...", "about groups"},                   \
        {"transactional-id", 0, "ID,...", "about transactional ids"}, {"cluster", 0, NULL, "about the cluster"},                    \
        {"delegation-token", 0, "TOKEN,...", "about delegation tokens"}, {"user-principal", 0, "USER", "about a user, for their tokens"}, \
        {"resource-pattern-type", 0, "TYPE", "literal (what is taken when nothing is said), prefixed; for list also match, any"}

#define WHO                                                                                                          \
    {"allow-principal", 0, "User:NAME", "who may; may be given several times"},                                   \
        {"deny-principal", 0, "User:NAME", "who may not; may be given several times"},                               \
        {"allow-host", 0, "ADDRESS,...", "from where they may; everywhere when nothing is said"},                    \
        {"deny-host", 0, "ADDRESS,...", "from where they may not"},                                                  \
        {"operation", 'o', "NAME,...", "Read, Write, Create, Describe, ...; All when nothing is said"},              \
        {"producer", 0, NULL, "what a producer needs for --topic (and --transactional-id)"},                         \
        {"consumer", 0, NULL, "what a consumer needs for --topic and --group"}, {"idempotent", 0, NULL, "with --producer: also for brokers before 3.0"}

static const struct cli_option change_options[] = {RESOURCES, WHO, CLI_BROKERS, {0}};
static const struct cli_option list_options[] = {
    RESOURCES, {"principal", 0, "User:NAME", "only rules for these; may be given several times"}, CLI_BROKERS, {0}};

static const struct cli_command list = {.name = "list", .args = "", .summary = "the rules, all or some", .options = list_options, .is_client = true,
    .examples = "millrace acl list\nmillrace acl list --topic orders --resource-pattern-type match", .run = run_list};
static const struct cli_command add = {.name = "add", .args = "", .summary = "add rules", .options = change_options, .is_client = true,
    .examples = "millrace acl add --allow-principal User:alice --operation Read,Describe --topic orders\n"
                "millrace acl add --allow-principal User:app --consumer --topic orders --group billing\n"
                "millrace acl add --allow-principal User:etl --producer --topic raw. --resource-pattern-type prefixed\n"
                "millrace acl add --allow-principal 'User:CN=billing,O=Example' --operation Read --topic orders",
    .run = run_add};
static const struct cli_command drop = {.name = "remove", .args = "", .summary = "remove rules; shows which", .options = change_options, .is_client = true,
    .examples = "millrace acl remove --allow-principal User:alice --operation Read --topic orders", .run = run_remove};
static const struct cli_command *const subs[] = {&list, &add, &drop, NULL};

const struct cli_command cli_acl;
const struct cli_command cli_acl = {.name = "acl", .args = "", .summary = "list, add, remove access rules", .is_client = true, .subs = subs,
    .examples = "millrace acl list\nmillrace acl add --allow-principal User:alice --consumer --topic orders --group billing"};
