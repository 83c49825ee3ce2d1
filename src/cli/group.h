// SPDX-License-Identifier: Apache-2.0
// Inside cli only: the subcommand of `millrace group` that has a file of its own.
#ifndef CLI_GROUP_H
#define CLI_GROUP_H

#include "cli/cli.h"

extern const struct cli_command cli_group_reset; // group_reset.c

#endif
