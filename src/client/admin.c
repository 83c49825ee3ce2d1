// SPDX-License-Identifier: Apache-2.0
// Administration of topics over librdkafka's Admin API. Each call opens a client, asks once and closes it.
#include <stdlib.h>
#include <string.h>

#include "client/rdkafka.h"
#include "topics/ask.h"

enum { WAIT_MS = 30000, TEXT_MAX = 512 };

static rd_kafka_t *open_admin(const struct client_target *at, struct err *err) {
    rd_kafka_conf_t *conf = client_rd_conf(at, NULL, 0, err);
    rd_kafka_t *rk = conf == NULL ? NULL : client_rd_new(RD_KAFKA_PRODUCER, conf, err);
    if (rk == NULL || client_rd_reach(rk, at, err) == ERR_OK) return rk;
    rd_kafka_destroy(rk);
    return NULL;
}

// Waits for the event of an admin call. NULL = failed.
static rd_kafka_event_t *answer(rd_kafka_queue_t *q, const struct client_target *at, struct err *err) {
    rd_kafka_event_t *ev = rd_kafka_queue_poll(q, WAIT_MS + 1000);
    if (ev == NULL) return err_set(err, ERR_TIMEOUT, "no answer from %s", at->brokers), NULL;
    rd_kafka_resp_err_t rc = rd_kafka_event_error(ev);
    if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) return ev;
    if (rc == RD_KAFKA_RESP_ERR__TIMED_OUT) err_set(err, ERR_UNAVAILABLE, "no broker answers at %s: is the server running?", at->brokers);
    else client_rd_error(err, rc, rd_kafka_event_error_string(ev));
    rd_kafka_event_destroy(ev);
    return NULL;
}

static enum err_code topic_result(const rd_kafka_topic_result_t *const *results, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t rc = rd_kafka_topic_result_error(results[i]);
        const char *text = rd_kafka_topic_result_error_string(results[i]);
        if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
        if (rc == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            return err_set(err, ERR_NO_TOPIC, "no topic '%s'", rd_kafka_topic_result_name(results[i]));
        client_rd_error(err, rc, text == NULL ? rd_kafka_err2str(rc) : text);
        return err_wrap(err, "topic '%s'", rd_kafka_topic_result_name(results[i]));
    }
    return ERR_OK;
}

struct call {
    rd_kafka_t *rk;
    rd_kafka_queue_t *q;
    rd_kafka_AdminOptions_t *options;
};

static enum err_code call_open(struct call *c, const struct client_target *at, rd_kafka_admin_op_t op, struct err *err) {
    char text[TEXT_MAX];
    *c = (struct call){.rk = open_admin(at, err)};
    if (c->rk == NULL) return err->code;
    c->q = rd_kafka_queue_new(c->rk);
    c->options = rd_kafka_AdminOptions_new(c->rk, op);
    rd_kafka_AdminOptions_set_request_timeout(c->options, WAIT_MS, text, sizeof text);
    return ERR_OK;
}

static void call_close(struct call *c) {
    rd_kafka_AdminOptions_destroy(c->options);
    rd_kafka_queue_destroy(c->q);
    rd_kafka_destroy(c->rk);
}

enum err_code client_topic_create(const struct client_target *at, const char *topic, int32_t partitions, const struct client_kv *configs, size_t n,
                                  struct err *err) {
    char text[TEXT_MAX];
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(topic, partitions, -1, text, sizeof text);
    if (t == NULL) return err_set(err, ERR_INVALID, "topic '%s': %s", topic, text);
    for (size_t i = 0; i < n; i++) rd_kafka_NewTopic_set_config(t, configs[i].name, configs[i].value);
    struct call c;
    enum err_code code = call_open(&c, at, RD_KAFKA_ADMIN_OP_CREATETOPICS, err);
    if (code == ERR_OK) {
        rd_kafka_CreateTopics(c.rk, &t, 1, c.options, c.q);
        rd_kafka_event_t *ev = answer(c.q, at, err);
        size_t count = 0;
        if (ev == NULL) code = err->code;
        else {
            const rd_kafka_topic_result_t **r = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(ev), &count);
            code = topic_result(r, count, err);
            rd_kafka_event_destroy(ev);
        }
        call_close(&c);
    }
    rd_kafka_NewTopic_destroy(t);
    return code;
}

enum err_code client_topic_delete(const struct client_target *at, const char *topic, struct err *err) {
    struct call c;
    if (call_open(&c, at, RD_KAFKA_ADMIN_OP_DELETETOPICS, err) != ERR_OK) return err->code;
    rd_kafka_DeleteTopic_t *t = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_DeleteTopics(c.rk, &t, 1, c.options, c.q);
    rd_kafka_event_t *ev = answer(c.q, at, err);
    enum err_code code = ev == NULL ? err->code : ERR_OK;
    size_t count = 0;
    if (ev != NULL) {
        const rd_kafka_topic_result_t **r = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(ev), &count);
        code = topic_result(r, count, err);
        rd_kafka_event_destroy(ev);
    }
    rd_kafka_DeleteTopic_destroy(t);
    call_close(&c);
    return code;
}

enum err_code client_topic_grow(const struct client_target *at, const char *topic, int32_t partitions, struct err *err) {
    char text[TEXT_MAX];
    if (partitions < 1) return err_set(err, ERR_INVALID, "partitions: %d is not a number of partitions", partitions);
    rd_kafka_NewPartitions_t *t = rd_kafka_NewPartitions_new(topic, (size_t)partitions, text, sizeof text);
    if (t == NULL) return err_set(err, ERR_INVALID, "%s", text);
    struct call c;
    enum err_code code = call_open(&c, at, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, err);
    if (code == ERR_OK) {
        rd_kafka_CreatePartitions(c.rk, &t, 1, c.options, c.q);
        rd_kafka_event_t *ev = answer(c.q, at, err);
        size_t count = 0;
        code = ev == NULL ? err->code : ERR_OK;
        if (ev != NULL) {
            const rd_kafka_topic_result_t **r = rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(ev), &count);
            code = topic_result(r, count, err);
            rd_kafka_event_destroy(ev);
        }
        call_close(&c);
    }
    rd_kafka_NewPartitions_destroy(t);
    return code;
}

static enum err_code config_result(const rd_kafka_ConfigResource_t *const *resources, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t rc = rd_kafka_ConfigResource_error(resources[i]);
        const char *text = rd_kafka_ConfigResource_error_string(resources[i]);
        if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
        client_rd_error(err, rc, text == NULL ? rd_kafka_err2str(rc) : text);
        return err_wrap(err, "topic '%s'", rd_kafka_ConfigResource_name(resources[i]));
    }
    return ERR_OK;
}

static bool is_given(const struct client_kv *configs, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(configs[i].name, name) == 0) return true;
    return false;
}

// Debian 12's librdkafka has AlterConfigs, which replaces all of a topic's configs: so those set before go along.
enum err_code client_topic_alter(const struct client_target *at, const char *topic, const struct client_kv *configs, size_t n, struct err *err) {
    struct arena a;
    arena_init(&a);
    struct client_partition *partitions;
    struct client_topic_config *old;
    size_t n_partitions, n_old;
    enum err_code code = client_topic_describe(at, topic, &a, &partitions, &n_partitions, &old, &n_old, err);
    struct call c;
    if (code == ERR_OK) code = call_open(&c, at, RD_KAFKA_ADMIN_OP_ALTERCONFIGS, err);
    if (code == ERR_OK) {
        rd_kafka_ConfigResource_t *r = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
        for (size_t i = 0; i < n_old; i++)
            if (!old[i].is_default && old[i].value != NULL && !is_given(configs, n, old[i].name))
                rd_kafka_ConfigResource_set_config(r, old[i].name, old[i].value);
        for (size_t i = 0; i < n; i++) rd_kafka_ConfigResource_set_config(r, configs[i].name, configs[i].value);
        rd_kafka_AlterConfigs(c.rk, &r, 1, c.options, c.q);
        rd_kafka_event_t *ev = answer(c.q, at, err);
        size_t count = 0;
        code = ev == NULL ? err->code : ERR_OK;
        if (ev != NULL) {
            const rd_kafka_ConfigResource_t **rs = rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(ev), &count);
            code = config_result(rs, count, err);
            rd_kafka_event_destroy(ev);
        }
        rd_kafka_ConfigResource_destroy(r);
        call_close(&c);
    }
    arena_fini(&a);
    return code;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct client_topic *)a)->name, ((const struct client_topic *)b)->name);
}

static enum err_code watermarks(rd_kafka_t *rk, const char *topic, int32_t partition, int64_t *start, int64_t *high, struct err *err) {
    rd_kafka_resp_err_t rc = topics_ask_offset(rk, topic, partition, RD_KAFKA_OFFSET_BEGINNING, WAIT_MS, start);
    if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) rc = topics_ask_offset(rk, topic, partition, RD_KAFKA_OFFSET_END, WAIT_MS, high);
    if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) return ERR_OK;
    client_rd_error(err, rc, rd_kafka_err2str(rc));
    return err_wrap(err, "topic '%s' partition %d", topic, partition);
}

static enum err_code topics_of(rd_kafka_t *rk, const rd_kafka_metadata_t *md, bool with_records, struct arena *a, struct client_topic *out,
                               struct err *err) {
    for (int i = 0; i < md->topic_cnt; i++) {
        out[i] = (struct client_topic){arena_strdup(a, md->topics[i].topic), md->topics[i].partition_cnt, with_records ? 0 : -1};
        for (int32_t k = 0; with_records && k < out[i].partitions; k++) {
            int64_t start, high;
            if (watermarks(rk, out[i].name, k, &start, &high, err) != ERR_OK) return err->code;
            out[i].records += high - start;
        }
    }
    return ERR_OK;
}

enum err_code client_topic_list(const struct client_target *at, bool with_records, struct arena *a, struct client_topic **out, size_t *n, struct err *err) {
    rd_kafka_t *rk = open_admin(at, err);
    if (rk == NULL) return err->code;
    const rd_kafka_metadata_t *md;
    rd_kafka_resp_err_t rc = rd_kafka_metadata(rk, 1, NULL, &md, WAIT_MS);
    enum err_code code = ERR_OK;
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR) {
        client_rd_error(err, rc, rd_kafka_err2str(rc));
        code = err_wrap(err, "%s", at->brokers);
    } else {
        *n = (size_t)md->topic_cnt;
        *out = ARENA_ARRAY(a, struct client_topic, *n);
        code = topics_of(rk, md, with_records, a, *out, err);
        if (*n > 0) qsort(*out, *n, sizeof **out, by_name);
        rd_kafka_metadata_destroy(md);
    }
    rd_kafka_destroy(rk);
    return code;
}

static const char *source_name(rd_kafka_ConfigSource_t source) {
    switch (source) {
    case RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG: return "topic";
    case RD_KAFKA_CONFIG_SOURCE_STATIC_BROKER_CONFIG: return "broker";
    case RD_KAFKA_CONFIG_SOURCE_DEFAULT_CONFIG: return "default";
    default: return "other";
    }
}

static enum err_code describe_configs(const struct client_target *at, const char *topic, struct arena *a, struct client_topic_config **out, size_t *n,
                                      struct err *err) {
    struct call c;
    if (call_open(&c, at, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, err) != ERR_OK) return err->code;
    rd_kafka_ConfigResource_t *r = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_DescribeConfigs(c.rk, &r, 1, c.options, c.q);
    rd_kafka_event_t *ev = answer(c.q, at, err);
    enum err_code code = ev == NULL ? err->code : ERR_OK;
    if (ev != NULL) {
        size_t count = 0;
        const rd_kafka_ConfigResource_t **rs = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(ev), &count);
        code = config_result(rs, count, err);
        const rd_kafka_ConfigEntry_t **entries = code == ERR_OK ? rd_kafka_ConfigResource_configs(rs[0], n) : NULL;
        if (entries == NULL) *n = 0;
        *out = ARENA_ARRAY(a, struct client_topic_config, *n);
        for (size_t i = 0; i < *n; i++) {
            const char *value = rd_kafka_ConfigEntry_value(entries[i]);
            rd_kafka_ConfigSource_t source = rd_kafka_ConfigEntry_source(entries[i]);
            (*out)[i] = (struct client_topic_config){arena_strdup(a, rd_kafka_ConfigEntry_name(entries[i])), value == NULL ? NULL : arena_strdup(a, value),
                                                     source_name(source), source != RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG};
        }
        rd_kafka_event_destroy(ev);
    }
    rd_kafka_ConfigResource_destroy(r);
    call_close(&c);
    return code;
}

enum err_code client_topic_describe(const struct client_target *at, const char *topic, struct arena *a, struct client_partition **partitions,
                                    size_t *n_partitions, struct client_topic_config **configs, size_t *n_configs, struct err *err) {
    enum err_code code = describe_configs(at, topic, a, configs, n_configs, err);
    if (code != ERR_OK) return code;
    struct client_topic *topics;
    size_t n;
    code = client_topic_list(at, false, a, &topics, &n, err);
    *n_partitions = 0;
    for (size_t i = 0; i < n && code == ERR_OK; i++)
        if (strcmp(topics[i].name, topic) == 0) *n_partitions = (size_t)topics[i].partitions;
    rd_kafka_t *rk = code == ERR_OK ? open_admin(at, err) : NULL;
    if (rk == NULL) return err->code;
    *partitions = ARENA_ARRAY(a, struct client_partition, *n_partitions);
    for (size_t i = 0; i < *n_partitions && code == ERR_OK; i++) {
        struct client_partition *p = &(*partitions)[i];
        p->id = (int32_t)i;
        code = watermarks(rk, topic, p->id, &p->start, &p->high_watermark, err);
    }
    rd_kafka_destroy(rk);
    return code;
}
