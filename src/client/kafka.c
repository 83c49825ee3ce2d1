// SPDX-License-Identifier: Apache-2.0
// Producer and consumer over librdkafka (administration: admin.c). A handle and its queues belong to the thread that opened it.
//
// The producer asks for reports of failures only: what is neither failed nor waiting was acknowledged.
#include "client/kafka.h"

#include <stdio.h>
#include <string.h>

#include "client/rdkafka.h"
#include "client/security.h"

enum { TEXT_MAX = 512, RETRY_MS = 1, REACH_MS = 5000 };

enum err_code client_rd_error(struct err *err, rd_kafka_resp_err_t code, const char *text) {
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR: return ERR_OK;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE: return err_set(err, ERR_UNAVAILABLE, "%s", text);
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT: return err_set(err, ERR_TIMEOUT, "%s", text);
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: return err_set(err, ERR_EXISTS, "%s", text);
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: return err_set(err, ERR_NO_TOPIC, "%s", text);
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE: return err_set(err, ERR_TOO_LARGE, "%s", text);
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG: return err_set(err, ERR_CONFIG, "%s", text);
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE: return err_set(err, ERR_NOT_SUPPORTED, "%s", text);
    default: return err_set(err, ERR_INVALID, "%s (%s)", text, rd_kafka_err2name(code));
    }
}

// Where TLS and log-in say why they failed: events of the handle's own queue. The first of them.
static void take_reason(rd_kafka_t *rk, struct err *why) {
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(rk);
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(queue, 0)) != NULL) {
        rd_kafka_resp_err_t code = rd_kafka_event_error(event);
        bool tells = code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL;
        if (tells && why->code == ERR_OK) err_set(why, ERR_DENIED, "%s", rd_kafka_event_error_string(event));
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
}

enum err_code client_rd_reach(rd_kafka_t *rk, const struct client_target *at, struct err *err) {
    const rd_kafka_metadata_t *md;
    struct err why = {0};
    bool ok = rd_kafka_metadata(rk, 0, NULL, &md, REACH_MS) == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (ok) rd_kafka_metadata_destroy(md);
    if (ok) return ERR_OK;
    take_reason(rk, &why);
    if (why.code != ERR_OK) return err_set(err, why.code, "%s", why.msg);
    return err_set(err, ERR_UNAVAILABLE, "no broker answers at %s: is the server running?", at->brokers);
}

static void quiet(const rd_kafka_t *rk, int level, const char *fac, const char *text) {
    (void)rk, (void)level, (void)fac, (void)text; // what matters comes back as errors
}

rd_kafka_conf_t *client_rd_conf(const struct client_target *at, const struct client_kv *settings, size_t n, struct err *err) {
    char text[TEXT_MAX];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, quiet);
    bool ok = rd_kafka_conf_set(conf, "bootstrap.servers", at->brokers, text, sizeof text) == RD_KAFKA_CONF_OK;
    ok = ok && rd_kafka_conf_set(conf, "client.id", "millrace", text, sizeof text) == RD_KAFKA_CONF_OK;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR); // take_reason
    const struct client_security *security = at->security;
    if (security != NULL && security->token) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, ERR_NOT_SUPPORTED, "this command cannot log in with a delegation token"), NULL;
    }
    for (size_t i = 0; security != NULL && i < security->n_rd && ok; i++)
        ok = rd_kafka_conf_set(conf, security->rd[i].name, security->rd[i].value, text, sizeof text) == RD_KAFKA_CONF_OK;
    for (size_t i = 0; i < n && ok; i++) ok = rd_kafka_conf_set(conf, settings[i].name, settings[i].value, text, sizeof text) == RD_KAFKA_CONF_OK;
    if (ok) return conf;
    err_set(err, ERR_CONFIG, "%s", text);
    rd_kafka_conf_destroy(conf);
    return NULL;
}

rd_kafka_t *client_rd_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct err *err) {
    char text[TEXT_MAX];
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);
    if (rk != NULL) return rk;
    rd_kafka_conf_destroy(conf);
    err_set(err, ERR_CONFIG, "%s", text);
    return NULL;
}

// ---- producer ---------------------------------------------------------------------------------------------------------

struct client_producer {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic; // of the last record: its look-up by name costs as much as the rest of the call
    struct err failed; // the first record that failed for good, or a fatal error
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *arg) {
    struct client_producer *p = arg;
    (void)rk;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR || p->failed.code != ERR_OK) return;
    client_rd_error(&p->failed, m->err, rd_kafka_err2str(m->err));
    err_wrap(&p->failed, "a record for %s was not written", rd_kafka_topic_name(m->rkt));
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *arg) {
    struct client_producer *p = arg;
    char text[TEXT_MAX];
    if (code == RD_KAFKA_RESP_ERR__FATAL) code = rd_kafka_fatal_error(rk, text, sizeof text), reason = text;
    else return; // a broker that is away, too: librdkafka tries again by itself, until message.timeout.ms is over for a record
    if (p->failed.code == ERR_OK) client_rd_error(&p->failed, (rd_kafka_resp_err_t)code, reason);
}

struct client_producer *client_producer_open(const struct client_target *at, const struct client_kv *settings, size_t n, struct err *err) {
    static const struct client_kv base[] = {
        {"enable.idempotence", "true"},     {"acks", "all"},           {"partitioner", "murmur2_random"}, {"delivery.report.only.error", "true"},
        {"linger.ms", "2"},                 {"batch.size", "1000000"}, {"batch.num.messages", "100000"},
        // A short queue stays in the processor's cache: measured, 20,000 small records take half the CPU time of 500,000.
        {"queue.buffering.max.messages", "20000"}, {"queue.buffering.max.kbytes", "262144"},
    };
    enum { N_BASE = sizeof base / sizeof *base, MORE_MAX = 64 };
    struct client_kv all[N_BASE + MORE_MAX];
    if (n > MORE_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d client settings", MORE_MAX), NULL;
    memcpy(all, base, sizeof base);
    if (n > 0) memcpy(all + N_BASE, settings, n * sizeof *settings);
    rd_kafka_conf_t *conf = client_rd_conf(at, all, N_BASE + n, err);
    if (conf == NULL) return NULL;
    struct client_producer *p = MEM_NEW(struct client_producer);
    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_error_cb(conf, on_error);
    p->rk = client_rd_new(RD_KAFKA_PRODUCER, conf, err);
    if (p->rk != NULL) return p;
    mem_free(p);
    return NULL;
}

void client_producer_close(struct client_producer *p) {
    if (p == NULL) return;
    if (p->topic != NULL) rd_kafka_topic_destroy(p->topic);
    rd_kafka_destroy(p->rk);
    mem_free(p);
}

static enum err_code producer_topic(struct client_producer *p, const char *name, struct err *err) {
    if (p->topic != NULL && strcmp(rd_kafka_topic_name(p->topic), name) == 0) return ERR_OK;
    if (p->topic != NULL) rd_kafka_topic_destroy(p->topic);
    p->topic = rd_kafka_topic_new(p->rk, name, NULL);
    if (p->topic != NULL) return ERR_OK;
    rd_kafka_resp_err_t code = rd_kafka_last_error();
    return client_rd_error(err, code, rd_kafka_err2str(code));
}

static enum err_code producer_failed(struct client_producer *p, struct err *err) {
    if (p->failed.code == ERR_OK) return ERR_OK;
    err_copy(err, &p->failed);
    return p->failed.code;
}

enum err_code client_produce(struct client_producer *p, const char *topic, int32_t partition, struct str key, bool key_null, struct str value,
                             int64_t timestamp_ms, struct err *err) {
    if (producer_topic(p, topic, err) != ERR_OK) return err == NULL ? ERR_INVALID : err->code;
    rd_kafka_vu_t vu[6] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = p->topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)value.p, value.n}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key_null ? NULL : (void *)(uintptr_t)key.p, key_null ? 0 : key.n}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = timestamp_ms},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
    };
    for (;;) {
        if (p->failed.code != ERR_OK) return producer_failed(p, err);
        rd_kafka_error_t *e = rd_kafka_produceva(p->rk, vu, 6);
        if (e == NULL) return ERR_OK;
        rd_kafka_resp_err_t code = rd_kafka_error_code(e);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) client_rd_error(err, code, rd_kafka_error_string(e));
        rd_kafka_error_destroy(e);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) return err == NULL ? ERR_INVALID : err->code;
        rd_kafka_poll(p->rk, RETRY_MS);
    }
}

int64_t client_producer_waiting(struct client_producer *p) {
    rd_kafka_poll(p->rk, 0);
    return rd_kafka_outq_len(p->rk);
}

enum err_code client_producer_flush(struct client_producer *p, int timeout_ms, struct err *err) {
    rd_kafka_resp_err_t rc = rd_kafka_flush(p->rk, timeout_ms);
    enum err_code code = producer_failed(p, err);
    if (code != ERR_OK || rc == RD_KAFKA_RESP_ERR_NO_ERROR) return code;
    return err_set(err, ERR_TIMEOUT, "%d records are not acknowledged yet", rd_kafka_outq_len(p->rk));
}

// ---- consumer ---------------------------------------------------------------------------------------------------------

struct client_consumer {
    rd_kafka_t *rk;
    rd_kafka_message_t *last;
    bool *ended; // by partition: its end was reached and nothing came since
    int32_t n_ended;
};

static void set_ended(struct client_consumer *c, int32_t partition, bool yes) {
    if (partition >= c->n_ended) {
        int32_t n = partition + 16;
        c->ended = mem_realloc(c->ended, (size_t)n * sizeof *c->ended);
        for (int32_t i = c->n_ended; i < n; i++) c->ended[i] = false;
        c->n_ended = n;
    }
    c->ended[partition] = yes;
}

// Whether all partitions that this consumer has now, by itself or from its group, are read to their end.
static bool all_ended(const struct client_consumer *c) {
    rd_kafka_topic_partition_list_t *list;
    if (rd_kafka_assignment(c->rk, &list) != RD_KAFKA_RESP_ERR_NO_ERROR) return false;
    bool all = list->cnt > 0;
    for (int i = 0; i < list->cnt && all; i++) all = list->elems[i].partition < c->n_ended && c->ended[list->elems[i].partition];
    rd_kafka_topic_partition_list_destroy(list);
    return all;
}

// Also tells that there is no such topic: a group would wait for it for ever.
static enum err_code count_partitions(struct client_consumer *c, const char *topic, int32_t partition, int32_t *n, struct err *err) {
    const rd_kafka_metadata_t *md;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(c->rk, topic, NULL);
    rd_kafka_resp_err_t rc = rd_kafka_metadata(c->rk, 0, rkt, &md, 10000);
    rd_kafka_topic_destroy(rkt);
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR) return client_rd_error(err, rc, rd_kafka_err2str(rc));
    enum err_code code = ERR_OK;
    *n = md->topic_cnt == 1 ? md->topics[0].partition_cnt : 0;
    if (md->topic_cnt == 1 && md->topics[0].err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) code = err_set(err, ERR_NO_TOPIC, "there is none");
    else if (md->topic_cnt == 1 && md->topics[0].err != RD_KAFKA_RESP_ERR_NO_ERROR)
        code = client_rd_error(err, md->topics[0].err, rd_kafka_err2str(md->topics[0].err));
    else if (partition >= *n) code = err_set(err, ERR_NO_TOPIC, "topic '%s' has %d partitions, there is no %d", topic, *n, partition);
    rd_kafka_metadata_destroy(md);
    return code == ERR_OK ? ERR_OK : err_wrap(err, "topic '%s'", topic);
}

static enum err_code assign_all(struct client_consumer *c, const char *topic, int32_t partition, int64_t offset, struct err *err) {
    int32_t n;
    enum err_code code = count_partitions(c, topic, partition, &n, err);
    if (code != ERR_OK) return code;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
    for (int32_t i = 0; i < n; i++)
        if (partition < 0 || partition == i) rd_kafka_topic_partition_list_add(list, topic, i)->offset = offset;
    rd_kafka_resp_err_t rc = rd_kafka_assign(c->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return rc == RD_KAFKA_RESP_ERR_NO_ERROR ? ERR_OK : client_rd_error(err, rc, rd_kafka_err2str(rc));
}

static enum err_code subscribe(struct client_consumer *c, const char *topic, struct err *err) {
    int32_t n;
    enum err_code code = count_partitions(c, topic, -1, &n, err);
    if (code != ERR_OK) return code;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, -1);
    rd_kafka_resp_err_t rc = rd_kafka_subscribe(c->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return rc == RD_KAFKA_RESP_ERR_NO_ERROR ? ERR_OK : client_rd_error(err, rc, rd_kafka_err2str(rc));
}

struct client_consumer *client_consumer_open(const struct client_target *at, const char *topic, int32_t partition, int64_t offset, const char *group,
                                             const struct client_kv *settings, size_t n, struct err *err) {
    enum { MORE_MAX = 64 };
    struct client_kv all[4 + MORE_MAX] = {
        {"group.id", group == NULL ? "millrace-consume" : group},
        {"enable.auto.commit", group == NULL ? "false" : "true"},
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", offset == CLIENT_OFFSET_END ? "latest" : "earliest"},
    };
    if (n > MORE_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d client settings", MORE_MAX), NULL;
    if (n > 0) memcpy(all + 4, settings, n * sizeof *settings);
    rd_kafka_conf_t *conf = client_rd_conf(at, all, 4 + n, err);
    if (conf == NULL) return NULL;
    struct client_consumer *c = MEM_NEW(struct client_consumer);
    c->rk = client_rd_new(RD_KAFKA_CONSUMER, conf, err);
    if (c->rk == NULL) {
        mem_free(c);
        return NULL;
    }
    bool reached = client_rd_reach(c->rk, at, err) == ERR_OK;
    rd_kafka_poll_set_consumer(c->rk);
    if (reached && (group == NULL ? assign_all(c, topic, partition, offset, err) : subscribe(c, topic, err)) == ERR_OK)
        return c;
    client_consumer_close(c);
    return NULL;
}

void client_consumer_close(struct client_consumer *c) {
    if (c == NULL) return;
    if (c->last != NULL) rd_kafka_message_destroy(c->last);
    rd_kafka_consumer_close(c->rk);
    rd_kafka_destroy(c->rk);
    mem_free(c->ended);
    mem_free(c);
}

bool client_consume(struct client_consumer *c, int timeout_ms, struct client_message *out, bool *at_end, struct err *err) {
    if (c->last != NULL) rd_kafka_message_destroy(c->last);
    c->last = rd_kafka_consumer_poll(c->rk, timeout_ms);
    err_clear(err);
    *at_end = false;
    const rd_kafka_message_t *m = c->last;
    if (m == NULL) return false;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        set_ended(c, m->partition, true);
        *at_end = all_ended(c);
        return false;
    }
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        client_rd_error(err, m->err, rd_kafka_message_errstr(m));
        return false;
    }
    set_ended(c, m->partition, false);
    rd_kafka_timestamp_type_t type;
    int64_t timestamp = rd_kafka_message_timestamp(m, &type);
    *out = (struct client_message){.topic = rd_kafka_topic_name(m->rkt),
                                   .partition = m->partition,
                                   .offset = m->offset,
                                   .timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : timestamp,
                                   .key = str_n(m->key, m->key_len),
                                   .value = str_n(m->payload, m->len),
                                   .key_null = m->key == NULL,
                                   .value_null = m->payload == NULL};
    return true;
}
