// SPDX-License-Identifier: Apache-2.0
// The log level as Kafka's tools see it: one logger, "root", of the resource type BROKER_LOGGER. A change lasts until the process ends, as in Kafka.
#include "base/log.h"
#include "kafka/configs.h"

static const char *const names[] = {[LOG_DEBUG] = "DEBUG", [LOG_INFO] = "INFO", [LOG_WARN] = "WARN", [LOG_ERROR] = "ERROR"};

static enum err_code check_node(struct kafka_req *q, struct str node, struct err *err) {
    int64_t id;
    int32_t ours = kafka_req_config(q)->node_id;
    if (node.n == 0) return err_set(err, ERR_INVALID, "Broker id must not be empty");
    if (!str_to_i64(node, &id)) return err_set(err, ERR_INVALID, "Node id must be an integer, but it is: " STR_FMT, STR_ARG(node));
    return id == ours ? ERR_OK : err_set(err, ERR_INVALID, "Unexpected broker id, expected %d but received " STR_FMT, ours, STR_ARG(node));
}

static const char *level_now(void) {
    int level = LOG_DEBUG;
    while (level < LOG_ERROR && !log_enabled((enum log_level)level)) level++;
    return names[level];
}

enum err_code loggers_describe(struct kafka_req *q, struct str node, struct broker_config_entry **entries, size_t *n, struct err *err) {
    enum { STRING = 2, DYNAMIC_LOGGER = 6 };
    enum err_code code = check_node(q, node, err);
    if (code != ERR_OK) return code;
    *entries = ARENA_ARRAY(&q->arena, struct broker_config_entry, 1);
    (*entries)[0] = (struct broker_config_entry){.name = "root", .value = level_now(), .source = DYNAMIC_LOGGER, .type = STRING, .doc = "log.level"};
    *n = 1;
    return ERR_OK;
}

static enum err_code level_of(struct str text, enum log_level *out, struct err *err) {
    if (str_eqc(text, "TRACE")) *out = LOG_DEBUG; // the finest there is
    else if (str_eqc(text, "FATAL")) *out = LOG_ERROR;
    else {
        for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
            if (str_eqc(text, names[i])) {
                *out = (enum log_level)i;
                return ERR_OK;
            }
        return err_set(err, ERR_CONFIG,
                       "Cannot set the log level of root to " STR_FMT " as it is not a supported log level. Valid log levels are DEBUG, ERROR, "
                       "FATAL, INFO, TRACE, WARN",
                       STR_ARG(text));
    }
    return ERR_OK;
}

enum err_code loggers_alter(struct kafka_req *q, const struct kafka_incremental_alter_configs_request_resources *r, bool validate_only,
                            struct err *err) {
    enum { SET, DELETE };
    enum err_code code = check_node(q, r->resource_name, err);
    enum log_level level = LOG_INFO;
    for (int32_t i = 0; i < r->configs.n && code == ERR_OK; i++) {
        const struct kafka_incremental_alter_configs_request_resources_configs *c = &r->configs.p[i];
        if (!str_eqc(c->name, "root")) code = err_set(err, ERR_CONFIG, "Logger " STR_FMT " does not exist!", STR_ARG(c->name));
        else if (c->config_operation == DELETE)
            code = err_set(err, ERR_INVALID, "Removing the log level of the root logger is not allowed");
        else if (c->config_operation != SET)
            code = err_set(err, ERR_INVALID, "%s operation is not allowed for the BROKER_LOGGER resource", c->config_operation == 2 ? "APPEND" : "SUBTRACT");
        else code = level_of(c->value, &level, err);
    }
    if (code == ERR_OK && !validate_only && r->configs.n > 0) log_set_level(level);
    return code;
}
