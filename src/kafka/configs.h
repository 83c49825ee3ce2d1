// SPDX-License-Identifier: Apache-2.0
// What configs.c and loggers.c share: the process's log levels as configs of a resource (BROKER_LOGGER).
#ifndef KAFKA_CONFIGS_H
#define KAFKA_CONFIGS_H

#include "kafka/conn.h"

enum err_code loggers_describe(struct kafka_req *q, struct str node, struct broker_config_entry **entries, size_t *n, struct err *err);
enum err_code loggers_alter(struct kafka_req *q, const struct kafka_incremental_alter_configs_request_resources *r, bool validate_only,
                            struct err *err);

#endif
