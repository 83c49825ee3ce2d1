// SPDX-License-Identifier: Apache-2.0
// `millrace topic move`: a topic from one Kafka to another, offsets and groups included (client/move.h).
#include <inttypes.h>

#include "cli/cluster.h"
#include "cli/topic.h"
#include "client/move.h"

enum { LINE_US = 200000 };

struct shown {
    struct cli *c;
    int64_t last_us;
    bool tty;
};

static void show(void *arg, int64_t done, int64_t total) {
    struct shown *s = arg;
    int64_t now = sys_mono_us(s->c->sys);
    if (!s->tty || (now - s->last_us < LINE_US && done < total)) return;
    s->last_us = now;
    const char *line = arena_printf(&s->c->arena, "\r%s %" PRId64 " of %" PRId64 " offsets, %d %%%s", s->c->args[0], done, total,
                                    total > 0 ? (int)(done * 100 / total) : 100, done >= total ? "\n" : "");
    sys_stderr_write(str_c(line));
}

static enum err_code run_move(struct cli *c, struct err *err) {
    static const char *const names[] = {"topic", "partitions", "records", "bytes", "groups"};
    struct shown s = {.c = c, .tty = sys_is_tty(2)};
    struct move m = {.sys = c->sys, .to.brokers = cli_opt(c, "to"), .topic = c->args[0], .groups = !cli_flag(c, "no-groups"), .progress = show, .arg = &s};
    if (m.to.brokers == NULL) return err_set(err, ERR_INVALID, "where to? say --to HOST:PORT");
    if (cli_target(c, &m.from, err) != ERR_OK || cli_security(c, "to-command-config", 1, &m.to.security, err) != ERR_OK) return err->code;
    if (move_topic(&m, err) != ERR_OK) return err->code;
    if (m.n_groups_busy > 0) cli_note(c, "%d groups have members at %s: their offsets were left as they are there", m.n_groups_busy, m.to.brokers);
    const char *row[] = {m.topic, cli_number(c, m.partitions), cli_number(c, m.records), cli_number(c, m.bytes), cli_number(c, m.n_groups)};
    cli_print_rows(c, names, "tnnnn", 5, row, 1);
    return ERR_OK;
}

static const struct cli_option options[] = {{"to", 0, "HOST:PORT,...", "the Kafka that gets it"},
                                            {"no-groups", 0, NULL, "leave out where its groups stand"},
                                            {"brokers", 'b', "HOST:PORT,...", "the Kafka that has it; else this server's Kafka door"},
                                            CLI_COMMAND_CONFIG,
                                            {"to-command-config", 0, "FILE", "the same for the Kafka that gets it"},
                                            {0}};

const struct cli_command cli_topic_move = {
    .name = "move", .args = "TOPIC", .summary = "copy a topic to another Kafka: offsets, times, headers, configs, groups", .options = options,
    .is_client = true, .min_args = 1, .max_args = 1,
    .help = "The topic is made there when it is absent. Records keep their offsets; where an offset has no record, the destination has a transaction\n"
            "marker, which readers do not see. A move that was cut off goes on where it stopped. Stop the topic's producers first, and delete it here\n"
            "when all readers have gone over.",
    .examples = "millrace topic move orders --to kafka-1.example.com:9092",
    .run = run_move};
