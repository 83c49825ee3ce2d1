// SPDX-License-Identifier: Apache-2.0
// What the commands over a Kafka cluster share: where it is, names and numbers as cells.
#ifndef CLI_CLUSTER_H
#define CLI_CLUSTER_H

#include "cli/cli.h"
#include "client/cluster.h"

#define CLI_COMMAND_CONFIG {"command-config", 0, "FILE", "TLS and log-in, as in Kafka's client.properties"}
#define CLI_BROKERS {"brokers", 'b', "HOST:PORT,...", "any Kafka; else this server's Kafka door"}, CLI_COMMAND_CONFIG

// --brokers, else the server's Kafka door; --command-config.
enum err_code cli_target(struct cli *c, struct client_target *out, struct err *err);
enum err_code cli_security(struct cli *c, const char *option, int slot, const struct client_security **out, struct err *err);
struct cluster *cli_cluster(struct cli *c, struct err *err);                  // opened; cluster_close it
const char *cli_number(struct cli *c, int64_t v);
const char *cli_number_or_null(struct cli *c, int64_t v); // NULL for negative ones: unknown
const char *cli_text(struct cli *c, struct str s);        // NULL for null or empty
// Values of an option that may be given several times, each a list with commas. In the command's arena.
struct str *cli_list(struct cli *c, const char *option, int32_t *n);
struct str *cli_values(struct cli *c, const char *option, int32_t *n); // the same, each one value, whatever is in it
// TOPIC or TOPIC:0,1,2 of --topic. partitions NULL: all.
struct cli_topic_spec {
    struct str topic;
    int32_t *partitions;
    int32_t n;
};
enum err_code cli_topic_specs(struct cli *c, struct cli_topic_spec **out, size_t *n, struct err *err);

#endif
