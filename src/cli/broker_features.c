// SPDX-License-Identifier: Apache-2.0
// `millrace broker features` and `set-feature`: the features of any Kafka, what its brokers can, and the levels that hold.
#include <string.h>

#include "cli/broker.h"
#include "cli/cluster.h"

static enum err_code run_features(struct cli *c, struct err *err) {
    static const char *const names[] = {"feature", "lowest", "highest", "finalized", "epoch"};
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    struct kafka_api_versions_request req;
    const struct kafka_api_versions_response *res;
    kafka_msg_init(&kafka_api_versions_request_m, &req);
    req.client_software_name = req.client_software_version = STR("millrace");
    enum err_code code = cluster_call(k, CLUSTER_ANY, KAFKA_API_API_VERSIONS, &req, &res, err);
    size_t n = code == ERR_OK ? (size_t)res->supported_features.n : 0;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, n * 5);
    for (size_t i = 0; i < n; i++) {
        const struct kafka_api_versions_response_supported_features *f = &res->supported_features.p[i];
        const char *level = cli_number(c, 0); // what is off is not told
        for (int32_t x = 0; x < res->finalized_features.n; x++)
            if (str_eq(res->finalized_features.p[x].name, f->name)) level = cli_number(c, res->finalized_features.p[x].max_version_level);
        const char *row[] = {cli_text(c, f->name), cli_number(c, f->min_version), cli_number(c, f->max_version), level,
                             cli_number_or_null(c, res->finalized_features_epoch)};
        memcpy(&cells[i * 5], row, sizeof row);
    }
    if (code == ERR_OK) cli_print_rows(c, names, "tnnnn", 5, cells, n);
    cluster_close(k);
    return code;
}

static enum err_code read_updates(struct cli *c, struct kafka_update_features_request *req, struct err *err) {
    enum { UPGRADE = 1, SAFE_DOWNGRADE = 2, UNSAFE_DOWNGRADE = 3 };
    int8_t type = cli_flag(c, "unsafe") ? UNSAFE_DOWNGRADE : cli_flag(c, "downgrade") ? SAFE_DOWNGRADE : UPGRADE;
    req->feature_updates.p = KAFKA_ELEMENTS(&c->arena, kafka_update_features_request_feature_updates, c->n_args);
    req->feature_updates.n = c->n_args;
    for (int i = 0; i < c->n_args; i++) {
        const char *equals = strchr(c->args[i], '=');
        int64_t level;
        if (equals == NULL || !str_to_i64(str_c(equals + 1), &level) || level < 0 || level > INT16_MAX)
            return err_set(err, ERR_INVALID, "'%s' is not FEATURE=LEVEL", c->args[i]);
        req->feature_updates.p[i] = (struct kafka_update_features_request_feature_updates){
            .feature = str_n(c->args[i], (size_t)(equals - c->args[i])), .max_version_level = (int16_t)level, .upgrade_type = type,
            .allow_downgrade = type != UPGRADE};
    }
    return ERR_OK;
}

static enum err_code run_set_feature(struct cli *c, struct err *err) {
    struct kafka_update_features_request req;
    const struct kafka_update_features_response *res;
    kafka_msg_init(&kafka_update_features_request_m, &req);
    if (read_updates(c, &req, err) != ERR_OK) return err->code;
    req.validate_only = cli_flag(c, "validate-only");
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    enum err_code code = cluster_call(k, CLUSTER_CONTROLLER, KAFKA_API_UPDATE_FEATURES, &req, &res, err);
    if (code == ERR_OK) code = cluster_error(res->error_code, res->error_message, err, "features");
    for (int32_t i = 0; code == ERR_OK && i < res->results.n; i++)
        code = cluster_error(res->results.p[i].error_code, res->results.p[i].error_message, err, STR_FMT, STR_ARG(res->results.p[i].feature));
    cluster_close(k);
    return code;
}

static const struct cli_option features_options[] = {CLI_BROKERS, {0}};
static const struct cli_option set_options[] = {{"downgrade", 0, NULL, "to a lower level, where nothing can be lost"},
                                                {"unsafe", 0, NULL, "to a lower level, whatever may be lost"},
                                                {"validate-only", 0, NULL, "only say whether it would be done"},
                                                CLI_BROKERS,
                                                {0}};
const struct cli_command cli_broker_features = {.name = "features", .args = "", .summary = "features and their levels", .options = features_options,
    .is_client = true, .examples = "millrace broker features", .run = run_features};
const struct cli_command cli_broker_set_feature = {.name = "set-feature", .args = "FEATURE=LEVEL...", .summary = "upgrade or downgrade features",
    .options = set_options, .is_client = true, .min_args = 1, .max_args = 64,
    .examples = "millrace broker set-feature share.version=2\nmillrace broker set-feature group.version=0 --downgrade", .run = run_set_feature};
