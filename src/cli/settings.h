// SPDX-License-Identifier: Apache-2.0
// The options --config and --set, shared by the commands that need a whole configuration.
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include "cli/cli.h"
#include "server/config.h"

#define SETTINGS_OPTIONS \
    {"config", 0, "FILE", "YAML file of configuration keys"}, { "set", 0, "KEY=VALUE", "one configuration key; may be repeated" }

// Defaults, file, environment, flags. On success the caller calls config_fini.
enum err_code settings_load(struct cli *c, struct config *out, struct err *err);

#endif
