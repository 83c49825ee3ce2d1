// SPDX-License-Identifier: Apache-2.0
// Inside cli only: the subcommands of `millrace broker` that have a file of their own.
#ifndef CLI_BROKER_H
#define CLI_BROKER_H

#include "cli/cli.h"

extern const struct cli_command cli_broker_features, cli_broker_set_feature; // broker_features.c

#endif
