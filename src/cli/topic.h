// SPDX-License-Identifier: Apache-2.0
// Inside cli only: the subcommands of `millrace topic` that have files of their own.
#ifndef CLI_TOPIC_H
#define CLI_TOPIC_H

#include "cli/cli.h"

extern const struct cli_command cli_topic_move;           // topic_move.c
extern const struct cli_command cli_topic_delete_records; // topic_records.c
extern const struct cli_command cli_topic_offsets;

#endif
