// SPDX-License-Identifier: Apache-2.0
// The program's entry: the command table does the rest.
#include "cli/cli.h"

int main(int argc, char **argv) { return cli_main(sys_real(), argc, argv); }
