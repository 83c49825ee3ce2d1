// SPDX-License-Identifier: Apache-2.0
// `millrace txn`: transactions of any Kafka: list, describe, who writes to a partition, find and abort those that hang (KIP-664).
#include <inttypes.h>
#include <string.h>

#include "cli/cluster.h"

static int64_t now_ms(const struct cli *c) { return sys_now_us(c->sys) / 1000; }

static enum err_code int_opt(struct cli *c, const char *name, int64_t otherwise, int64_t *out, struct err *err) {
    const char *text = cli_opt(c, name);
    *out = otherwise;
    return text == NULL || str_to_i64(str_c(text), out) ? ERR_OK : err_set(err, ERR_INVALID, "--%s %s: a number is expected", name, text);
}

// ---- list, describe -------------------------------------------------------------------------------------------------------

static enum err_code run_list(struct cli *c, struct err *err) {
    static const char *const names[] = {"transactional_id", "coordinator", "producer_id", "state"};
    struct kafka_list_transactions_request req;
    kafka_msg_init(&kafka_list_transactions_request_m, &req);
    const char *pattern = cli_opt(c, "pattern");
    if (int_opt(c, "older-than-ms", -1, &req.duration_filter, err) != ERR_OK) return err->code;
    if (pattern != NULL) req.transactional_id_pattern = str_c(pattern);
    req.state_filters.p = cli_list(c, "state", &req.state_filters.n);
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    const struct kafka_metadata_response *nodes = cluster_nodes(k);
    struct buf rows;
    buf_init(&rows, 64 << 20);
    size_t n = 0;
    enum err_code code = ERR_OK;
    for (int32_t b = 0; b < nodes->brokers.n && code == ERR_OK; b++) {
        const struct kafka_list_transactions_response *res;
        code = cluster_call(k, nodes->brokers.p[b].node_id, KAFKA_API_LIST_TRANSACTIONS, &req, &res, err);
        if (code == ERR_OK) code = cluster_error(res->error_code, (struct str){0}, err, "transactions of node %d", nodes->brokers.p[b].node_id);
        for (int32_t i = 0; code == ERR_OK && i < res->transaction_states.n; i++, n++) {
            const char *row[] = {cli_text(c, res->transaction_states.p[i].transactional_id), cli_number(c, nodes->brokers.p[b].node_id),
                                 cli_number(c, res->transaction_states.p[i].producer_id), cli_text(c, res->transaction_states.p[i].transaction_state)};
            buf_put(&rows, row, sizeof row);
        }
    }
    if (code == ERR_OK) cli_print_rows(c, names, "tnnt", 4, (const char *const *)(void *)rows.p, n);
    buf_fini(&rows);
    cluster_close(k);
    return code;
}

static enum err_code describe_one(struct cluster *k, struct str id, int32_t *node, const struct kafka_describe_transactions_response_transaction_states **out,
                                  struct err *err) {
    struct kafka_describe_transactions_request req;
    const struct kafka_describe_transactions_response *res;
    if (cluster_find(k, CLUSTER_TRANSACTION, id, node, err) != ERR_OK) return err->code;
    kafka_msg_init(&kafka_describe_transactions_request_m, &req);
    req.transactional_ids.p = &id;
    req.transactional_ids.n = 1;
    for (int i = 0;; i++) {
        if (cluster_call(k, *node, KAFKA_API_DESCRIBE_TRANSACTIONS, &req, &res, err) != ERR_OK) return err->code;
        if (res->transaction_states.n != 1) return err_set(err, ERR_PARSE, "the answer has %d transactions", res->transaction_states.n);
        *out = &res->transaction_states.p[0];
        if (!cluster_again(k, (*out)->error_code, i)) break;
    }
    return cluster_error((*out)->error_code, (struct str){0}, err, "transactional id '%.*s'", (int)id.n, id.p);
}

static enum err_code run_describe(struct cli *c, struct err *err) {
    static const char *const names[] = {"transactional_id", "coordinator", "producer_id", "epoch", "state", "timeout_ms",
                                        "start_ms", "duration_ms", "partitions"};
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    const struct kafka_describe_transactions_response_transaction_states *t;
    int32_t node;
    enum err_code code = describe_one(k, str_c(c->args[0]), &node, &t, err);
    if (code == ERR_OK) {
        const char *parts = "";
        for (int32_t i = 0; i < t->topics.n; i++)
            for (int32_t p = 0; p < t->topics.p[i].partitions.n; p++)
                parts = arena_printf(&c->arena, "%s%s%.*s-%d", parts, *parts == 0 ? "" : " ", (int)t->topics.p[i].topic.n, t->topics.p[i].topic.p,
                                     t->topics.p[i].partitions.p[p]);
        bool open = t->transaction_start_time_ms >= 0;
        const char *row[] = {c->args[0], cli_number(c, node), cli_number(c, t->producer_id), cli_number(c, t->producer_epoch),
                             cli_text(c, t->transaction_state),
                             cli_number(c, t->transaction_timeout_ms), open ? cli_number(c, t->transaction_start_time_ms) : NULL,
                             open ? cli_number(c, now_ms(c) - t->transaction_start_time_ms) : NULL, *parts == 0 ? NULL : parts};
        cli_print_rows(c, names, "tnnntnnnt", 9, row, 1);
    }
    cluster_close(k);
    return code;
}

// ---- producers of partitions ------------------------------------------------------------------------------------------------

typedef struct kafka_describe_producers_response_topics_partitions_active_producers producer_row;
struct producer_list {
    const producer_row *p;
    int32_t n;
};

static enum err_code producers_of(struct cluster *k, struct str topic, int32_t partition, int32_t leader, struct producer_list *out, struct err *err) {
    struct kafka_describe_producers_request req;
    const struct kafka_describe_producers_response *res;
    kafka_msg_init(&kafka_describe_producers_request_m, &req);
    req.topics.p = KAFKA_ELEMENTS(cluster_memory(k), kafka_describe_producers_request_topics, 1);
    req.topics.n = 1;
    req.topics.p[0].name = topic;
    req.topics.p[0].partition_indexes.p = &partition;
    req.topics.p[0].partition_indexes.n = 1;
    if (cluster_call(k, leader, KAFKA_API_DESCRIBE_PRODUCERS, &req, &res, err) != ERR_OK) return err->code;
    if (res->topics.n != 1 || res->topics.p[0].partitions.n != 1) return err_set(err, ERR_PARSE, "the answer is about another partition");
    const struct kafka_describe_producers_response_topics_partitions *p = &res->topics.p[0].partitions.p[0];
    *out = (struct producer_list){p->active_producers.p, p->active_producers.n};
    return cluster_error(p->error_code, p->error_message, err, "%.*s-%d", (int)topic.n, topic.p, partition);
}

static enum err_code leader_of(struct cluster *k, struct str topic, int32_t partition, int32_t *leader, struct err *err) {
    const struct kafka_metadata_response *md;
    if (cluster_topics(k, &topic, 1, &md, err) != ERR_OK) return err->code;
    for (int32_t i = 0; md->topics.n > 0 && i < md->topics.p[0].partitions.n; i++)
        if (md->topics.p[0].partitions.p[i].partition_index == partition) return *leader = md->topics.p[0].partitions.p[i].leader_id, ERR_OK;
    return err_set(err, ERR_NO_TOPIC, "topic '%.*s' has no partition %d", (int)topic.n, topic.p, partition);
}

static enum err_code one_partition(struct cli *c, struct str *topic, int32_t *partition, struct err *err) {
    const char *name = cli_opt(c, "topic");
    int64_t p;
    if (name == NULL || cli_opt(c, "partition") == NULL) return err_set(err, ERR_INVALID, "which partition? say --topic TOPIC --partition N");
    if (int_opt(c, "partition", -1, &p, err) != ERR_OK) return err->code;
    if (p < 0 || p > INT32_MAX) return err_set(err, ERR_INVALID, "--partition %" PRId64 " is not a partition", p);
    *topic = str_c(name);
    *partition = (int32_t)p;
    return ERR_OK;
}

static enum err_code run_producers(struct cli *c, struct err *err) {
    static const char *const names[] = {"producer_id", "epoch", "last_sequence", "last_timestamp_ms", "coordinator_epoch", "transaction_start_offset"};
    struct str topic;
    int32_t partition, leader;
    struct producer_list list;
    if (one_partition(c, &topic, &partition, err) != ERR_OK) return err->code;
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    enum err_code code = leader_of(k, topic, partition, &leader, err);
    if (code == ERR_OK) code = producers_of(k, topic, partition, leader, &list, err);
    if (code == ERR_OK) {
        const char **cells = ARENA_ARRAY(&c->arena, const char *, (size_t)list.n * 6);
        for (int32_t i = 0; i < list.n; i++) {
            const producer_row *p = &list.p[i];
            const char *row[] = {cli_number(c, p->producer_id), cli_number(c, p->producer_epoch), cli_number(c, p->last_sequence),
                                 cli_number(c, p->last_timestamp),
                                 cli_number_or_null(c, p->coordinator_epoch), cli_number_or_null(c, p->current_txn_start_offset)};
            memcpy(&cells[i * 6], row, sizeof row);
        }
        cli_print_rows(c, names, "nnnnnn", 6, cells, (size_t)list.n);
    }
    cluster_close(k);
    return code;
}

// ---- those that hang --------------------------------------------------------------------------------------------------------

// Transactional ids of a producer id at any coordinator; NULL text: none knows it.
static enum err_code id_of_producer(struct cluster *k, int64_t producer_id, struct str *id, struct str *state, struct err *err) {
    const struct kafka_metadata_response *nodes = cluster_nodes(k);
    struct kafka_list_transactions_request req;
    *id = *state = (struct str){NULL, 0};
    kafka_msg_init(&kafka_list_transactions_request_m, &req);
    req.producer_id_filters.p = &producer_id;
    req.producer_id_filters.n = 1;
    for (int32_t b = 0; b < nodes->brokers.n; b++) {
        const struct kafka_list_transactions_response *res;
        if (cluster_call(k, nodes->brokers.p[b].node_id, KAFKA_API_LIST_TRANSACTIONS, &req, &res, err) != ERR_OK) return err->code;
        if (cluster_error(res->error_code, (struct str){0}, err, "transactions of node %d", nodes->brokers.p[b].node_id) != ERR_OK) return err->code;
        for (int32_t i = 0; i < res->transaction_states.n; i++) {
            *id = res->transaction_states.p[i].transactional_id;
            *state = res->transaction_states.p[i].transaction_state;
        }
    }
    return ERR_OK;
}

// A partition's open transaction hangs when no coordinator has a transaction of this producer that includes the partition.
static enum err_code hangs(struct cluster *k, const producer_row *p, struct str topic, int32_t partition, struct str *id, bool *out, struct err *err) {
    struct str state;
    *out = true;
    if (id_of_producer(k, p->producer_id, id, &state, err) != ERR_OK) return err->code;
    if (id->p == NULL) return ERR_OK;
    const struct kafka_describe_transactions_response_transaction_states *t;
    int32_t node;
    if (describe_one(k, *id, &node, &t, err) != ERR_OK) return err->code;
    for (int32_t i = 0; i < t->topics.n; i++)
        for (int32_t n = 0; n < t->topics.p[i].partitions.n; n++)
            if (str_eq(t->topics.p[i].topic, topic) && t->topics.p[i].partitions.p[n] == partition) *out = false;
    return ERR_OK;
}

static enum err_code run_hanging(struct cli *c, struct err *err) {
    static const char *const names[] = {"topic", "partition", "producer_id", "epoch", "coordinator_epoch", "start_offset",
                                        "last_timestamp_ms", "transactional_id"};
    int64_t minutes;
    if (int_opt(c, "max-transaction-timeout", 15, &minutes, err) != ERR_OK) return err->code;
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    const char *only = cli_opt(c, "topic");
    struct str name = str_c(only == NULL ? "" : only);
    const struct kafka_metadata_response *md;
    enum err_code code = cluster_topics(k, &name, only == NULL ? -1 : 1, &md, err);
    struct buf rows;
    buf_init(&rows, 64 << 20);
    size_t n = 0;
    for (int32_t t = 0; code == ERR_OK && t < md->topics.n; t++)
        for (int32_t i = 0; code == ERR_OK && i < md->topics.p[t].partitions.n; i++) {
            struct producer_list list = {0};
            int32_t partition = md->topics.p[t].partitions.p[i].partition_index;
            code = producers_of(k, md->topics.p[t].name, partition, md->topics.p[t].partitions.p[i].leader_id, &list, err);
            for (int32_t x = 0; code == ERR_OK && x < list.n; x++) {
                const producer_row *p = &list.p[x];
                struct str id;
                bool is = false;
                if (p->current_txn_start_offset < 0 || now_ms(c) - p->last_timestamp < minutes * 60000) continue;
                code = hangs(k, p, md->topics.p[t].name, partition, &id, &is, err);
                if (code != ERR_OK || !is) continue;
                const char *row[] = {cli_text(c, md->topics.p[t].name), cli_number(c, partition), cli_number(c, p->producer_id),
                                     cli_number(c, p->producer_epoch), cli_number(c, p->coordinator_epoch), cli_number(c, p->current_txn_start_offset),
                                     cli_number(c, p->last_timestamp),
                                     cli_text(c, id)};
                buf_put(&rows, row, sizeof row);
                n++;
            }
        }
    if (code == ERR_OK) cli_print_rows(c, names, "tnnnnnnt", 8, (const char *const *)(void *)rows.p, n);
    buf_fini(&rows);
    cluster_close(k);
    return code;
}

static enum err_code run_abort(struct cli *c, struct err *err) {
    struct str topic;
    int32_t partition, leader;
    int64_t start, producer = -1, epoch, coordinator_epoch;
    if (one_partition(c, &topic, &partition, err) != ERR_OK || int_opt(c, "start-offset", -1, &start, err) != ERR_OK ||
        int_opt(c, "producer-id", -1, &producer, err) != ERR_OK || int_opt(c, "producer-epoch", -1, &epoch, err) != ERR_OK ||
        int_opt(c, "coordinator-epoch", -1, &coordinator_epoch, err) != ERR_OK)
        return err->code;
    if (start < 0 && (producer < 0 || epoch < 0))
        return err_set(err, ERR_INVALID, "which transaction? say --start-offset N, or --producer-id N --producer-epoch N --coordinator-epoch N");
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    struct producer_list list = {0};
    enum err_code code = leader_of(k, topic, partition, &leader, err);
    if (code == ERR_OK && start >= 0) code = producers_of(k, topic, partition, leader, &list, err);
    bool found = start < 0;
    for (int32_t i = 0; code == ERR_OK && i < list.n && !found; i++) {
        if (list.p[i].current_txn_start_offset != start) continue;
        found = true;
        producer = list.p[i].producer_id;
        epoch = list.p[i].producer_epoch;
        coordinator_epoch = list.p[i].coordinator_epoch;
    }
    if (code == ERR_OK && !found)
        code = err_set(err, ERR_NOT_FOUND, "no open transaction begins at offset %" PRId64 " of %.*s-%d", start, (int)topic.n, topic.p, partition);
    if (code == ERR_OK) {
        struct kafka_write_txn_markers_request req;
        const struct kafka_write_txn_markers_response *res;
        kafka_msg_init(&kafka_write_txn_markers_request_m, &req);
        req.markers.p = KAFKA_ELEMENTS(cluster_memory(k), kafka_write_txn_markers_request_markers, 1);
        req.markers.n = 1;
        req.markers.p[0].producer_id = producer;
        req.markers.p[0].producer_epoch = (int16_t)epoch;
        req.markers.p[0].coordinator_epoch = coordinator_epoch < 0 ? 0 : (int32_t)coordinator_epoch; // -1: no marker was ever written
        req.markers.p[0].topics.p = KAFKA_ELEMENTS(cluster_memory(k), kafka_write_txn_markers_request_markers_topics, 1);
        req.markers.p[0].topics.n = 1;
        req.markers.p[0].topics.p[0].name = topic;
        req.markers.p[0].topics.p[0].partition_indexes.p = &partition;
        req.markers.p[0].topics.p[0].partition_indexes.n = 1;
        code = cluster_call(k, leader, KAFKA_API_WRITE_TXN_MARKERS, &req, &res, err);
        if (code == ERR_OK && res->markers.n == 1 && res->markers.p[0].topics.n == 1 && res->markers.p[0].topics.p[0].partitions.n == 1)
            code = cluster_error(res->markers.p[0].topics.p[0].partitions.p[0].error_code, (struct str){0}, err, "%.*s-%d", (int)topic.n, topic.p, partition);
    }
    cluster_close(k);
    return code;
}

static const struct cli_option list_options[] = {{"state", 0, "STATE,...", "only these: Ongoing, PrepareCommit, CompleteCommit, ..."},
                                                 {"older-than-ms", 0, "N", "only those that have run for so long"},
                                                 {"pattern", 0, "REGEX", "only transactional ids that match"},
                                                 CLI_BROKERS,
                                                 {0}};
static const struct cli_option describe_options[] = {CLI_BROKERS, {0}};
#define PARTITION {"topic", 't', "TOPIC", "the topic"}, {"partition", 'p', "N", "its partition"}
static const struct cli_option producers_options[] = {PARTITION, CLI_BROKERS, {0}};
static const struct cli_option hanging_options[] = {
    {"topic", 't', "TOPIC", "only this topic"},
    {"max-transaction-timeout", 0, "MINUTES", "only transactions older than the longest that may run; else 15"},
    CLI_BROKERS,
    {0}};
static const struct cli_option abort_options[] = {PARTITION,
                                                  {"start-offset", 0, "N", "where the transaction begins in the partition"},
                                                  {"producer-id", 0, "N", "or its producer,"},
                                                  {"producer-epoch", 0, "N", "the producer's epoch,"},
                                                  {"coordinator-epoch", 0, "N", "and the coordinator's"},
                                                  CLI_BROKERS,
                                                  {0}};

static const struct cli_command list = {.name = "list", .args = "", .summary = "all transactional ids and their state", .options = list_options,
    .is_client = true, .examples = "millrace txn list --state Ongoing", .run = run_list};
static const struct cli_command describe = {.name = "describe", .args = "ID", .summary = "the transaction of a transactional id", .options = describe_options,
    .is_client = true, .min_args = 1, .max_args = 1, .examples = "millrace txn describe etl-1", .run = run_describe};
static const struct cli_command producers = {.name = "producers", .args = "", .summary = "who writes to a partition", .options = producers_options,
    .is_client = true, .examples = "millrace txn producers --topic orders --partition 0", .run = run_producers};
static const struct cli_command hanging = {.name = "find-hanging", .args = "", .summary = "open transactions that no coordinator knows",
    .options = hanging_options, .is_client = true,
    .examples = "millrace txn find-hanging\nmillrace txn find-hanging --topic orders --max-transaction-timeout 60", .run = run_hanging};
static const struct cli_command stop = {.name = "abort", .args = "", .summary = "end one that hangs: readers go on", .options = abort_options,
    .is_client = true, .examples = "millrace txn abort --topic orders --partition 0 --start-offset 1234", .run = run_abort};
static const struct cli_command *const subs[] = {&list, &describe, &producers, &hanging, &stop, NULL};

const struct cli_command cli_txn;
const struct cli_command cli_txn = {.name = "txn", .args = "", .summary = "list, describe, abort transactions", .is_client = true, .subs = subs,
    .examples = "millrace txn list\nmillrace txn find-hanging"};
