// SPDX-License-Identifier: Apache-2.0
// `millrace group`: groups of any Kafka, of every type; their members, their lag, and where they go on. Resetting offsets: group_reset.c.
#include <string.h>

#include "cli/cluster.h"
#include "cli/group.h"
#include "client/groups.h"

static const char *const states_known[] = {"PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty", "Assigning", "Reconciling", "NotReady"};
static const char *const types_known[] = {"classic", "consumer", "share", "streams"};

// A word that no broker knows is a slip of the pen, and no group would be listed.
static enum err_code check_words(const char *option, const struct str *words, int32_t n, const char *const *known, size_t n_known, struct err *err) {
    for (int32_t i = 0; i < n; i++) {
        struct buf all = {0};
        bool found = false;
        for (size_t k = 0; k < n_known; k++) {
            found = found || str_ieq(words[i], str_c(known[k]));
            buf_printf(&all, "%s%s", k == 0 ? "" : ", ", known[k]);
        }
        if (!found) err_set(err, ERR_INVALID, "--%s " STR_FMT ": there are %s", option, STR_ARG(words[i]), buf_cstr(&all));
        buf_fini(&all);
        if (!found) return err->code;
    }
    return ERR_OK;
}

static enum err_code run_list(struct cli *c, struct err *err) {
    static const char *const names[] = {"group", "type", "state", "protocol"};
    struct group_row *rows;
    size_t n = 0;
    int32_t n_states, n_types;
    struct str *states = cli_list(c, "state", &n_states), *types = cli_list(c, "type", &n_types);
    if (check_words("state", states, n_states, states_known, sizeof states_known / sizeof *states_known, err) != ERR_OK) return err->code;
    if (check_words("type", types, n_types, types_known, sizeof types_known / sizeof *types_known, err) != ERR_OK) return err->code;
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    enum err_code code = groups_list(k, states, n_states, types, n_types, &rows, &n, err);
    const char **cells = ARENA_ARRAY(&c->arena, const char *, n * 4);
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        cells[i * 4] = cli_text(c, rows[i].id);
        cells[i * 4 + 1] = cli_text(c, rows[i].type);
        cells[i * 4 + 2] = cli_text(c, rows[i].state);
        cells[i * 4 + 3] = cli_text(c, rows[i].protocol_type);
    }
    if (code == ERR_OK) cli_print_rows(c, names, NULL, 4, cells, n);
    cluster_close(k);
    return code;
}

static void print_state(struct cli *c, const struct group_detail *g) {
    static const char *const names[] = {"group", "type", "state", "assignor", "coordinator", "members", "epoch", "assignment_epoch"};
    const char *cells[] = {cli_text(c, g->row.id), cli_text(c, g->row.type), cli_text(c, g->row.state), cli_text(c, g->assignor),
                           cli_number(c, g->row.coordinator), cli_number(c, (int64_t)g->n_members), cli_number_or_null(c, g->epoch),
                           cli_number_or_null(c, g->assignment_epoch)};
    cli_print_rows(c, names, "ttttnnnn", 8, cells, 1);
}

static const char *parts_text(struct cli *c, const struct group_member_row *m) { // "orders(0,1) flights(3)"
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < m->n_parts; i++) {
        bool same = i > 0 && str_eq(m->parts[i].topic, m->parts[i - 1].topic);
        if (!same) {
            buf_puts(&b, i > 0 ? ") " : "");
            buf_put_str(&b, m->parts[i].topic);
        }
        buf_printf(&b, "%s%d", same ? "," : "(", m->parts[i].partition);
    }
    if (m->n_parts > 0) buf_puts(&b, ")");
    const char *text = cli_text(c, buf_str(&b));
    buf_fini(&b);
    return text;
}

static void print_members(struct cli *c, const struct group_detail *g) {
    static const char *const names[] = {"member", "instance", "host", "client", "epoch", "partitions", "assignment"};
    const char **cells = ARENA_ARRAY(&c->arena, const char *, g->n_members * 7);
    for (size_t i = 0; i < g->n_members; i++) {
        const struct group_member_row *m = &g->members[i];
        const char *row[] = {cli_text(c, m->id), cli_text(c, m->instance), cli_text(c, m->host), cli_text(c, m->client_id), cli_number_or_null(c, m->epoch),
                             cli_number(c, (int64_t)m->n_parts), parts_text(c, m)};
        memcpy(&cells[i * 7], row, sizeof row);
    }
    cli_print_rows(c, names, "ttttnnt", 7, cells, g->n_members);
}

static enum err_code print_offsets(struct cli *c, struct cluster *k, const struct group_detail *g, struct err *err) {
    static const char *const names[] = {"topic", "partition", "current_offset", "log_end_offset", "lag", "member", "host", "client"};
    struct group_offset_row *rows;
    size_t n;
    if (groups_offsets(k, g, &rows, &n, err) != ERR_OK) return err->code;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, n * 8);
    for (size_t i = 0; i < n; i++) {
        const struct group_member_row none = {0}, *m = rows[i].member == NULL ? &none : rows[i].member;
        const char *row[] = {cli_text(c, rows[i].topic), cli_number(c, rows[i].partition), cli_number_or_null(c, rows[i].offset),
                             cli_number_or_null(c, rows[i].end), cli_number_or_null(c, rows[i].lag), cli_text(c, m->id), cli_text(c, m->host),
                             cli_text(c, m->client_id)};
        memcpy(&cells[i * 8], row, sizeof row);
    }
    cli_print_rows(c, names, "tnnnnttt", 8, cells, n);
    return ERR_OK;
}

static enum err_code print_topology(struct cli *c, struct cluster *k, const struct group_detail *g, struct err *err) {
    static const char *const names[] = {"subtopology", "node", "type", "topics", "stores", "successors"};
    struct group_node_row *rows;
    size_t n;
    if (groups_topology(k, g, &rows, &n, err) != ERR_OK) return err->code;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, n * 6);
    for (size_t i = 0; i < n; i++) {
        const char *row[] = {cli_text(c, rows[i].subtopology), cli_text(c, rows[i].name), cli_text(c, rows[i].type), cli_text(c, rows[i].topics),
                             cli_text(c, rows[i].stores), cli_text(c, rows[i].successors)};
        memcpy(&cells[i * 6], row, sizeof row);
    }
    cli_print_rows(c, names, NULL, 6, cells, n);
    return ERR_OK;
}

static enum err_code run_describe(struct cli *c, struct err *err) {
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    struct group_detail g;
    enum err_code code = groups_describe(k, str_c(c->args[0]), &g, err);
    if (code == ERR_OK && cli_flag(c, "state")) print_state(c, &g);
    else if (code == ERR_OK && cli_flag(c, "members")) print_members(c, &g);
    else if (code == ERR_OK && cli_flag(c, "topology")) code = print_topology(c, k, &g, err);
    else if (code == ERR_OK) code = print_offsets(c, k, &g, err);
    cluster_close(k);
    return code;
}

static enum err_code run_delete(struct cli *c, struct err *err) {
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    enum err_code code = ERR_OK;
    for (int i = 0; i < c->n_args && code == ERR_OK; i++) code = groups_delete(k, str_c(c->args[i]), err);
    cluster_close(k);
    return code;
}

static enum err_code run_delete_offsets(struct cli *c, struct err *err) {
    struct cli_topic_spec *specs;
    size_t n;
    if (cli_topic_specs(c, &specs, &n, err) != ERR_OK) return err->code;
    if (n == 0) return err_set(err, ERR_INVALID, "whose offsets? say --topic TOPIC or --topic TOPIC:0,1");
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    struct group_detail g;
    enum err_code code = groups_describe(k, str_c(c->args[0]), &g, err);
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        if (specs[i].partitions == NULL) code = groups_forget(k, &g, specs[i].topic, -1, err);
        for (int32_t p = 0; p < specs[i].n && code == ERR_OK; p++) code = groups_forget(k, &g, specs[i].topic, specs[i].partitions[p], err);
    }
    cluster_close(k);
    return code;
}

static const struct cli_option list_options[] = {{"state", 0, "STATE,...", "only groups in these states: Stable, Empty, ..."},
                                                 {"type", 0, "TYPE,...", "only groups of these types: classic, consumer, share, streams"},
                                                 CLI_BROKERS,
                                                 {0}};
static const struct cli_option describe_options[] = {
    {"offsets", 0, NULL, "where it stands in each partition, and its lag (what is shown when nothing is said)"},
    {"members", 0, NULL, "its members and what they are assigned"},
    {"state", 0, NULL, "its state, assignor, coordinator"},
    {"topology", 0, NULL, "of a streams group: the nodes of its topology, where its description is stored"},
    CLI_BROKERS,
    {0}};
static const struct cli_option delete_options[] = {CLI_BROKERS, {0}};
static const struct cli_option delete_offsets_options[] = {
    {"topic", 't', "TOPIC[:0,1]", "a topic, or some of its partitions; may be repeated"}, CLI_BROKERS, {0}};

static const struct cli_command list = {.name = "list", .args = "", .summary = "all groups with their type and state", .options = list_options,
    .is_client = true, .examples = "millrace group list\nmillrace group list --type consumer,share --state Stable", .run = run_list};
static const struct cli_command describe = {.name = "describe", .args = "GROUP", .summary = "its offsets and lag, its members, its state, or its topology",
    .options = describe_options, .is_client = true, .min_args = 1, .max_args = 1,
    .examples = "millrace group describe billing\nmillrace group describe billing --members --output json", .run = run_describe};
static const struct cli_command drop = {.name = "delete", .args = "GROUP...", .summary = "delete groups that have no members", .options = delete_options,
    .is_client = true, .min_args = 1, .max_args = CLI_ARGS_MAX, .examples = "millrace group delete billing", .run = run_delete};
static const struct cli_command delete_offsets = {.name = "delete-offsets", .args = "GROUP", .summary = "forget what it has committed of a topic",
    .options = delete_offsets_options, .is_client = true, .min_args = 1, .max_args = 1,
    .examples = "millrace group delete-offsets billing --topic orders\nmillrace group delete-offsets billing --topic orders:0,1", .run = run_delete_offsets};
static const struct cli_command *const subs[] = {&list, &describe, &cli_group_reset, &delete_offsets, &drop, NULL};

const struct cli_command cli_group;
const struct cli_command cli_group = {
    .name = "group",
    .args = "",
    .summary = "list, describe, reset, delete groups of consumers",
    .examples = "millrace group list\nmillrace group describe billing\nmillrace group reset-offsets billing --all-topics --to-earliest --execute",
    .is_client = true,
    .subs = subs,
};
