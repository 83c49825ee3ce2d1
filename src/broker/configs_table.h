// SPDX-License-Identifier: Apache-2.0
// Rows of the tables of configs (configs.def, broker_configs.def, group_configs.def), and what the files that read them share.
#ifndef BROKER_CONFIGS_TABLE_H
#define BROKER_CONFIGS_TABLE_H

#include "broker/internal.h"

enum config_type { BOOLEAN = 1, STRING = 2, INT = 3, SHORT = 4, LONG = 5, DOUBLE = 6, LIST = 7, CLASS = 8, PASSWORD = 9 }; // as DescribeConfigs
enum config_use { USED, QUIET, FIXED, UNSHOWN }; // UNSHOWN: told only where it is set
enum config_source { SOURCE_TOPIC = 1, SOURCE_DYNAMIC = 2, SOURCE_DYNAMIC_DEFAULT = 3, SOURCE_STATIC = 4, SOURCE_DEFAULT = 5 };

struct config_row {
    const char *name;
    enum config_type type;
    const char *value; // NULL = none
    double min, max;
    const char *choices;
    enum config_use use;
    const char *broker_name;
    const char *doc;
};

const struct config_row *configs_broker_row(const char *name); // NULL = no such broker config
enum err_code configs_check_row(const struct config_row *row, const char *value, struct err *err);

// broker_dynamic.c: which of the broker's configs can be changed while it runs, and where.
enum config_dynamic { CONFIG_READ_ONLY, CONFIG_PER_BROKER, CONFIG_CLUSTER_WIDE };
enum config_dynamic configs_dynamic(const char *name);
bool configs_listener_only(const char *name); // it can be changed as a listener's only
bool configs_at_start(const char *name); // cannot be changed while the server runs, though Kafka can
// "listener.name.NAME.KEY" of a KEY that can be changed for one listener: the KEY in it. NULL = it is something else.
const char *configs_of_listener(const char *name);
bool configs_pattern_ok(struct str pattern); // of a client-metrics match: a regular expression

#endif
