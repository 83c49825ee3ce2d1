// SPDX-License-Identifier: Apache-2.0
// `millrace version`
#include "server/version.h"

#include "cli/cli.h"

static enum err_code run_version(struct cli *c, struct err *err) {
    (void)err;
    if (c->json)
        cli_print(c, "{\"version\": \"%s\", \"airflow_api\": \"%s\", \"data_version\": %d}", MILLRACE_VERSION, MILLRACE_AIRFLOW_VERSION,
                  DATA_VERSION);
    else cli_print(c, "millrace %s", MILLRACE_VERSION);
    return ERR_OK;
}

const struct cli_command cli_version;
const struct cli_command cli_version = {
    .name = "version", .args = "", .summary = "show the version", .examples = "millrace version\nmillrace version --output json", .run = run_version};
