// SPDX-License-Identifier: Apache-2.0
// The program's entry: looks the command up in the table and runs it.
#include <stdio.h>

int main(void) {
    fprintf(stderr, "millrace: no commands yet\n");
    return 2;
}
