// SPDX-License-Identifier: Apache-2.0
// Inside cli only: the subcommand of `millrace topic` that has a file of its own.
#ifndef CLI_TOPIC_H
#define CLI_TOPIC_H

#include "cli/cli.h"

extern const struct cli_command cli_topic_move; // topic_move.c

#endif
