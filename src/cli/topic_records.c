// SPDX-License-Identifier: Apache-2.0
// `millrace topic delete-records` and `millrace topic offsets`: the begin of a topic's partitions, and offsets by time.
#include <inttypes.h>
#include <string.h>

#include "cli/cluster.h"
#include "cli/topic.h"
#include "client/groups.h"
#include "cols/cols.h"

enum { TIMEOUT_MS = 30000 };

// The partitions that --partition names; all of the topic when nothing is said.
static enum err_code partitions_of(struct cli *c, struct cluster *k, const struct kafka_metadata_response_topics **topic, bool **wanted, struct err *err) {
    struct str name = str_c(c->args[0]);
    const struct kafka_metadata_response *md;
    int32_t n;
    struct str *given = cli_list(c, "partition", &n);
    if (cluster_topics(k, &name, 1, &md, err) != ERR_OK) return err->code;
    *topic = &md->topics.p[0];
    *wanted = ARENA_ARRAY(&c->arena, bool, (*topic)->partitions.n + 1);
    for (int32_t i = 0; i < (*topic)->partitions.n; i++) (*wanted)[i] = n == 0;
    for (int32_t i = 0; i < n; i++) {
        int64_t p;
        if (!str_to_i64(given[i], &p) || p < 0 || p >= (*topic)->partitions.n)
            return err_set(err, ERR_NO_TOPIC, "topic '%s' has no partition %.*s", c->args[0], (int)given[i].n, given[i].p);
        (*wanted)[p] = true;
    }
    return ERR_OK;
}

// ---- delete-records -------------------------------------------------------------------------------------------------------

static enum err_code delete_one(struct cluster *k, struct str topic, const struct kafka_metadata_response_topics_partitions *p, int64_t before, int64_t *low,
                                struct err *err) {
    struct kafka_delete_records_request req;
    const struct kafka_delete_records_response *res;
    kafka_msg_init(&kafka_delete_records_request_m, &req);
    req.timeout_ms = TIMEOUT_MS;
    req.topics.p = KAFKA_ELEMENTS(cluster_memory(k), kafka_delete_records_request_topics, 1);
    req.topics.n = 1;
    req.topics.p[0].name = topic;
    req.topics.p[0].partitions.p = KAFKA_ELEMENTS(cluster_memory(k), kafka_delete_records_request_topics_partitions, 1);
    req.topics.p[0].partitions.n = 1;
    req.topics.p[0].partitions.p[0].partition_index = p->partition_index;
    req.topics.p[0].partitions.p[0].offset = before;
    if (cluster_call(k, p->leader_id, KAFKA_API_DELETE_RECORDS, &req, &res, err) != ERR_OK) return err->code;
    if (res->topics.n != 1 || res->topics.p[0].partitions.n != 1) return err_set(err, ERR_PARSE, "the answer is about another partition");
    *low = res->topics.p[0].partitions.p[0].low_watermark;
    return cluster_error(res->topics.p[0].partitions.p[0].error_code, (struct str){0}, err, "%.*s-%d", (int)topic.n, topic.p, p->partition_index);
}

static enum err_code run_delete_records(struct cli *c, struct err *err) {
    static const char *const names[] = {"partition", "low_watermark"};
    const char *text = cli_opt(c, "before");
    int64_t before = -1;
    if (text == NULL || (strcmp(text, "end") != 0 && (!str_to_i64(str_c(text), &before) || before < 0)))
        return err_set(err, ERR_INVALID, "up to where? say --before OFFSET, or --before end for all that is there now");
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    const struct kafka_metadata_response_topics *topic;
    bool *wanted;
    enum err_code code = partitions_of(c, k, &topic, &wanted, err);
    size_t n = 0;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, code == ERR_OK ? (size_t)topic->partitions.n * 2 : 1);
    for (int32_t i = 0; code == ERR_OK && i < topic->partitions.n; i++) {
        int64_t low = -1;
        if (!wanted[i]) continue;
        code = delete_one(k, topic->name, &topic->partitions.p[i], before, &low, err);
        cells[n * 2] = cli_number(c, i);
        cells[n++ * 2 + 1] = code == ERR_OK ? cli_number(c, low) : NULL;
    }
    if (code == ERR_OK) cli_print_rows(c, names, "nn", 2, cells, n);
    cluster_close(k);
    return code;
}

// ---- offsets --------------------------------------------------------------------------------------------------------------

static enum err_code time_of(struct cli *c, int64_t *out, struct err *err) {
    static const struct {
        const char *name;
        int64_t value;
    } special[] = {{"latest", -1}, {"earliest", -2}, {"max-timestamp", -3}};
    const char *text = cli_opt(c, "time");
    *out = -1;
    if (text == NULL) return ERR_OK;
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        if (strcmp(text, special[i].name) == 0) return *out = special[i].value, ERR_OK;
    if (str_to_i64(str_c(text), out)) return ERR_OK;
    if (!cols_timestamp_parse(str_c(text), out, NULL))
        return err_set(err, ERR_INVALID, "--time %s: latest, earliest, max-timestamp, milliseconds or a time such as 2026-01-31T13:45:00Z is expected", text);
    *out /= 1000;
    return ERR_OK;
}

static enum err_code run_offsets(struct cli *c, struct err *err) {
    static const char *const names[] = {"partition", "offset", "timestamp_ms"};
    int64_t when;
    if (time_of(c, &when, err) != ERR_OK) return err->code;
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    const struct kafka_metadata_response_topics *topic;
    bool *wanted;
    enum err_code code = partitions_of(c, k, &topic, &wanted, err);
    size_t n = 0;
    struct offset_query *q = ARENA_ARRAY(&c->arena, struct offset_query, code == ERR_OK ? topic->partitions.n + 1 : 1);
    for (int32_t i = 0; code == ERR_OK && i < topic->partitions.n; i++)
        if (wanted[i]) q[n++] = (struct offset_query){.topic = topic->name, .partition = i, .timestamp = when};
    if (code == ERR_OK) code = cluster_list_offsets(k, q, n, err);
    const char **cells = ARENA_ARRAY(&c->arena, const char *, n * 3 + 1);
    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        code = cluster_error(q[i].error, (struct str){0}, err, "%s-%d", c->args[0], q[i].partition);
        const char *row[] = {cli_number(c, q[i].partition), cli_number_or_null(c, q[i].offset), cli_number_or_null(c, q[i].found_ms)};
        memcpy(&cells[i * 3], row, sizeof row);
    }
    if (code == ERR_OK) cli_print_rows(c, names, "nnn", 3, cells, n);
    cluster_close(k);
    return code;
}

#define PARTITION {"partition", 'p', "N,...", "only these partitions"}
static const struct cli_option delete_options[] = {{"before", 0, "OFFSET", "records below it go; end: all that is there now"}, PARTITION, CLI_BROKERS, {0}};
static const struct cli_option offsets_options[] = {
    {"time", 't', "TIME", "latest (when nothing is said), earliest, max-timestamp, or the first record at or after a time"}, PARTITION, CLI_BROKERS, {0}};

const struct cli_command cli_topic_delete_records = {
    .name = "delete-records", .args = "TOPIC", .summary = "move the begin of its partitions forward", .options = delete_options, .is_client = true,
    .min_args = 1, .max_args = 1,
    .examples = "millrace topic delete-records orders --partition 0 --before 1000\nmillrace topic delete-records orders --before end",
    .run = run_delete_records};
const struct cli_command cli_topic_offsets = {
    .name = "offsets", .args = "TOPIC", .summary = "offsets of its partitions at a time", .options = offsets_options, .is_client = true, .min_args = 1,
    .max_args = 1, .examples = "millrace topic offsets orders --time earliest\nmillrace topic offsets orders --time 2026-01-31T00:00:00Z", .run = run_offsets};
