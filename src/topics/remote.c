// SPDX-License-Identifier: Apache-2.0
// Topics of a Kafka cluster, through librdkafka, which finds leaders anew and tries again by itself.
//
// Reading: a `stream` is librdkafka's consumption of one partition, which fetches ahead; it is kept while its reader goes on and given up at
// the end of the partition, or when another needs its place. Two readers of one partition need two library handles, so there
// is a small list of them. What comes is put into record batches again (contiguous offsets in each), as the rooms above decode those.
// Writing: one idempotent producer with acks=all; a call waits for the reports of its own records. Transactions: read_committed.
//
// Any thread that may block. `mutex` guards the lists and is never held over the network; a busy stream belongs to the thread that reads.
// Memory: QUEUED_KB per open stream and handle, STREAMS_MAX streams.
#include <assert.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/vec.h"
#include "codec/digest.h"
#include "log/batch.h"
#include "sys/sys.h"
#include "topics/ask.h"
#include "topics/topics.h"

enum { STREAMS_MAX = 64, CALL_MS = 5000, TRIES_US = 60 * 1000000, PAUSE_US = 100000, TEXT_MAX = 512, REACH_MS = 10000, BATCH_BYTES = 1 << 20,
       TAKE_MAX = 4096, WAIT_MS = 500, HEADERS_MAX = 128 };
#define QUEUED_KB "16384"

struct session { // a consumer handle of the library
    rd_kafka_t *rk;
};

struct stream {
    struct session *session;
    rd_kafka_topic_t *topic;
    char *name;
    int32_t partition;
    int64_t next;  // offset that comes next
    uint64_t used; // larger = later
    bool busy;
};

struct remote {
    struct topics base;
    struct sys *sys;
    char *brokers, *cluster;
    struct broker_kv *settings;
    size_t n_settings;
    struct sys_mutex mutex;
    struct session *asker; // reads no topic: a question would wait on its connection behind a fetch that waits for records
    VEC(struct session *) sessions;
    VEC(struct stream *) streams;
    uint64_t clock;
    struct sys_mutex append; // one append at a time: the library hands reports to whoever polls
    rd_kafka_t *producer;    // made at the first append
};

static struct remote *remote_of(struct topics *t) { return (struct remote *)t; }

// ---- errors ---------------------------------------------------------------------------------------------------------------

static enum err_code fail(struct err *err, rd_kafka_resp_err_t code, const char *text) {
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR: return ERR_OK;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: return err_set(err, ERR_NO_TOPIC, "%s", text);
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: return err_set(err, ERR_EXISTS, "%s", text);
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET: return err_set(err, ERR_OFFSET_RANGE, "%s", text);
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR__INVALID_ARG: return err_set(err, ERR_CONFIG, "%s", text);
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE: return err_set(err, ERR_TOO_LARGE, "%s", text);
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION: return err_set(err, ERR_DENIED, "%s", text);
    default: return err_set(err, ERR_UNAVAILABLE, "Kafka: %s (%s)", text, rd_kafka_err2name(code));
    }
}

// A leader that died has a successor in seconds: these pass.
static bool passes(rd_kafka_resp_err_t code) {
    switch (code) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__WAIT_CACHE:
    case RD_KAFKA_RESP_ERR__PARTIAL:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH: return true;
    default: return false;
    }
}

struct patience {
    struct sys *sys;
    int64_t until;
};
static struct patience patience(const struct remote *r) { return (struct patience){r->sys, sys_mono_us(r->sys) + TRIES_US}; }
static bool again(const struct patience *p, rd_kafka_resp_err_t code) {
    if (!passes(code) || sys_mono_us(p->sys) >= p->until) return false;
    sys_sleep_us(p->sys, PAUSE_US);
    return true;
}

// ---- handles --------------------------------------------------------------------------------------------------------------

static void quiet(const rd_kafka_t *rk, int level, const char *fac, const char *text) {
    (void)rk, (void)level, (void)fac, (void)text; // what matters comes back as errors
}

static rd_kafka_t *handle(const struct remote *r, rd_kafka_type_t type, const struct broker_kv *own, size_t n_own,
                          void (*on_report)(rd_kafka_t *, const rd_kafka_message_t *, void *), struct err *err) {
    char text[TEXT_MAX];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, quiet);
    if (on_report != NULL) rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    bool ok = rd_kafka_conf_set(conf, "bootstrap.servers", r->brokers, text, sizeof text) == RD_KAFKA_CONF_OK;
    for (size_t i = 0; i < r->n_settings && ok; i++)
        ok = rd_kafka_conf_set(conf, r->settings[i].name, r->settings[i].value, text, sizeof text) == RD_KAFKA_CONF_OK;
    for (size_t i = 0; i < n_own && ok; i++) ok = rd_kafka_conf_set(conf, own[i].name, own[i].value, text, sizeof text) == RD_KAFKA_CONF_OK;
    rd_kafka_t *rk = ok ? rd_kafka_new(type, conf, text, sizeof text) : NULL;
    if (rk != NULL) return rk;
    rd_kafka_conf_destroy(conf);
    err_set(err, ERR_CONFIG, "Kafka client: %s", text);
    return NULL;
}

static struct session *session_new(struct remote *r, struct err *err) {
    static const struct broker_kv own[] = {{"client.id", "millrace"},        {"group.id", "millrace"},       {"enable.auto.commit", "false"},
                                           {"enable.partition.eof", "true"}, {"auto.offset.reset", "error"}, {"isolation.level", "read_committed"},
                                           {"queued.max.messages.kbytes", QUEUED_KB}, {"allow.auto.create.topics", "false"},
                                           {"topic.metadata.refresh.interval.ms", "30000"}, {"check.crcs", "true"},
                                           {"socket.timeout.ms", "3000"}};
    rd_kafka_t *rk = handle(r, RD_KAFKA_CONSUMER, own, sizeof own / sizeof own[0], NULL, err);
    if (rk == NULL) return NULL;
    struct session *s = MEM_NEW(struct session);
    s->rk = rk;
    return s;
}

static void session_free(struct session *s) {
    if (s == NULL) return;
    rd_kafka_destroy(s->rk);
    mem_free(s);
}

static rd_kafka_t *asker(struct remote *r) { return r->asker->rk; }

// ---- topics ---------------------------------------------------------------------------------------------------------------

static void make_id(const struct remote *r, const char *name, uint8_t id[16]) {
    uint8_t sum[32];
    char *text = mem_printf("%s\n%s", r->cluster, name);
    digest_sha256(str_c(text), sum);
    memcpy(id, sum, 16);
    mem_free(text);
}

static void fill(const struct remote *r, const rd_kafka_metadata_topic_t *m, struct arena *a, struct broker_topic_info *out) {
    out->name = arena_strdup(a, m->topic);
    out->partitions = m->partition_cnt;
    out->internal = broker_topic_internal(m->topic);
    make_id(r, m->topic, out->id);
}

// Metadata of one topic, or of all (name NULL). rd_kafka_metadata_destroy it.
static enum err_code metadata(struct remote *r, const char *name, const rd_kafka_metadata_t **out, struct err *err) {
    struct patience p = patience(r);
    rd_kafka_resp_err_t code;
    do {
        rd_kafka_topic_t *topic = name == NULL ? NULL : rd_kafka_topic_new(asker(r), name, NULL);
        if (name != NULL && topic == NULL) return fail(err, rd_kafka_last_error(), rd_kafka_err2str(rd_kafka_last_error()));
        code = rd_kafka_metadata(asker(r), name == NULL, topic, out, CALL_MS);
        if (topic != NULL) rd_kafka_topic_destroy(topic);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR && name != NULL) {
            code = (*out)->topic_cnt == 1 ? (*out)->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
            if (code != RD_KAFKA_RESP_ERR_NO_ERROR) rd_kafka_metadata_destroy(*out);
        }
    } while (again(&p, code));
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) return err_set(err, ERR_NO_TOPIC, "topic '%s' does not exist", name);
    return fail(err, code, rd_kafka_err2str(code));
}

// The library asks the leader that it knows, dead or not: it learns of another by metadata.
static bool look_again(struct remote *r, const char *topic) {
    const rd_kafka_metadata_t *md;
    struct err ignored = {0};
    if (metadata(r, topic, &md, &ignored) == ERR_OK) rd_kafka_metadata_destroy(md);
    return true;
}

static enum err_code remote_get(struct topics *t, struct str name, struct arena *a, struct broker_topic_info *out, struct err *err) {
    struct remote *r = remote_of(t);
    const rd_kafka_metadata_t *md;
    struct err own = {0};
    enum err_code code = metadata(r, arena_str(a, name).p, &md, err == NULL ? &own : err);
    if (code != ERR_OK) return code;
    fill(r, &md->topics[0], a, out);
    rd_kafka_metadata_destroy(md);
    return ERR_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct broker_topic_info *)a)->name, ((const struct broker_topic_info *)b)->name);
}

static enum err_code remote_list(struct topics *t, struct arena *a, struct broker_topic_info **out, size_t *n, struct err *err) {
    struct remote *r = remote_of(t);
    const rd_kafka_metadata_t *md;
    struct err own = {0};
    *n = 0;
    enum err_code code = metadata(r, NULL, &md, err == NULL ? &own : err);
    if (code != ERR_OK) return code;
    *out = ARENA_ARRAY(a, struct broker_topic_info, md->topic_cnt);
    for (int i = 0; i < md->topic_cnt; i++)
        if (md->topics[i].err == RD_KAFKA_RESP_ERR_NO_ERROR) fill(r, &md->topics[i], a, &(*out)[(*n)++]);
    rd_kafka_metadata_destroy(md);
    if (*n > 0) qsort(*out, *n, sizeof **out, by_name);
    return ERR_OK;
}

static enum err_code remote_create(struct topics *t, const char *name, int32_t partitions, const struct broker_kv *configs, size_t n_configs,
                                   struct err *err) {
    struct remote *r = remote_of(t);
    char text[TEXT_MAX];
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, partitions, -1, text, sizeof text);
    if (topic == NULL) return err_set(err, ERR_TOPIC_NAME, "topic '%s': %s", name, text);
    for (size_t i = 0; i < n_configs; i++) rd_kafka_NewTopic_set_config(topic, configs[i].name, configs[i].value);
    struct patience p = patience(r);
    rd_kafka_resp_err_t code;
    do {
        rd_kafka_queue_t *queue = rd_kafka_queue_new(asker(r));
        rd_kafka_CreateTopics(asker(r), &topic, 1, NULL, queue);
        rd_kafka_event_t *ev = rd_kafka_queue_poll(queue, TRIES_US / 1000);
        code = ev == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : rd_kafka_event_error(ev);
        size_t n = 0;
        const rd_kafka_topic_result_t **results = code != RD_KAFKA_RESP_ERR_NO_ERROR ? NULL
                                                  : rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(ev), &n);
        if (n == 1) code = rd_kafka_topic_result_error(results[0]);
        const char *why = n == 1 ? rd_kafka_topic_result_error_string(results[0]) : NULL;
        snprintf(text, sizeof text, "%s", why != NULL ? why : rd_kafka_err2str(code));
        if (ev != NULL) rd_kafka_event_destroy(ev);
        rd_kafka_queue_destroy(queue);
    } while (again(&p, code));
    rd_kafka_NewTopic_destroy(topic);
    if (fail(err, code, text) == ERR_OK) return ERR_OK;
    return err_wrap(err, "topic '%s'", name);
}

rd_kafka_resp_err_t topics_ask_offset(rd_kafka_t *rk, const char *topic, int32_t partition, int64_t at, int timeout_ms, int64_t *offset) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = at;
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(rk, list, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) code = list->elems[0].err;
    *offset = code != RD_KAFKA_RESP_ERR_NO_ERROR || list->elems[0].offset < 0 ? -1 : list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return code;
}

static enum err_code remote_offsets(struct topics *t, const char *topic, int32_t partition, struct broker_offsets *out, struct err *err) {
    struct remote *r = remote_of(t);
    struct patience p = patience(r);
    struct err own = {0};
    if (err == NULL) err = &own;
    rd_kafka_resp_err_t code;
    do {
        code = topics_ask_offset(asker(r), topic, partition, RD_KAFKA_OFFSET_BEGINNING, CALL_MS, &out->start);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            code = topics_ask_offset(asker(r), topic, partition, RD_KAFKA_OFFSET_END, CALL_MS, &out->high_watermark);
    } while (again(&p, code) && look_again(r, topic));
    out->end = out->stable = out->high_watermark;
    if (fail(err, code, rd_kafka_err2str(code)) == ERR_OK) return ERR_OK;
    return err_wrap(err, "topic '%s' partition %d", topic, partition);
}

static enum err_code remote_offset_for_time(struct topics *t, const char *topic, int32_t partition, int64_t timestamp_ms, int64_t *offset,
                                            int64_t *found_ms, struct err *err) {
    struct remote *r = remote_of(t);
    if (timestamp_ms < 0) return err_set(err, ERR_NOT_SUPPORTED, "only times can be looked for in an external Kafka");
    struct patience p = patience(r);
    rd_kafka_resp_err_t code;
    do code = topics_ask_offset(asker(r), topic, partition, timestamp_ms, CALL_MS, offset);
    while (again(&p, code) && look_again(r, topic));
    *found_ms = -1;
    return fail(err, code, rd_kafka_err2str(code)) == ERR_OK ? ERR_OK : err_wrap(err, "topic '%s' partition %d", topic, partition);
}

// ---- streams --------------------------------------------------------------------------------------------------------------

static void stream_free(struct stream *s) {
    if (s->topic != NULL) rd_kafka_consume_stop(s->topic, s->partition);
    if (s->topic != NULL) rd_kafka_topic_destroy(s->topic);
    mem_free(s->name);
    mem_free(s);
}

static void stream_forget(struct remote *r, const struct stream *s) { // under the mutex
    for (size_t i = 0; i < r->streams.n; i++) {
        if (r->streams.p[i] != s) continue;
        vec_remove(&r->streams, i);
        return;
    }
}

// The session in which nobody consumes this partition; NULL = none has it free. Under the mutex.
static struct session *free_session(struct remote *r, const char *topic, int32_t partition) {
    for (size_t i = 0; i < r->sessions.n; i++) {
        bool taken = false;
        for (size_t k = 0; k < r->streams.n && !taken; k++)
            taken = r->streams.p[k]->session == r->sessions.p[i] && r->streams.p[k]->partition == partition && strcmp(r->streams.p[k]->name, topic) == 0;
        if (!taken) return r->sessions.p[i];
    }
    return NULL;
}

// An idle stream of the partition: best one that goes on at the offset. Under the mutex.
static struct stream *idle_stream(struct remote *r, const char *topic, int32_t partition, int64_t offset) {
    struct stream *found = NULL;
    for (size_t i = 0; i < r->streams.n; i++) {
        struct stream *s = r->streams.p[i];
        if (s->busy || s->partition != partition || strcmp(s->name, topic) != 0) continue;
        if (found == NULL || s->next == offset) found = s;
    }
    return found;
}

static struct stream *oldest_idle(struct remote *r) {
    struct stream *oldest = NULL;
    for (size_t i = 0; i < r->streams.n; i++)
        if (!r->streams.p[i]->busy && (oldest == NULL || r->streams.p[i]->used < oldest->used)) oldest = r->streams.p[i];
    return oldest;
}

static enum err_code stream_start(struct stream *s, int64_t offset, struct err *err) {
    s->next = offset;
    s->topic = rd_kafka_topic_new(s->session->rk, s->name, NULL);
    if (s->topic != NULL && rd_kafka_consume_start(s->topic, s->partition, offset) == 0) return ERR_OK;
    rd_kafka_resp_err_t code = rd_kafka_last_error();
    if (s->topic != NULL) rd_kafka_topic_destroy(s->topic);
    s->topic = NULL;
    return fail(err, code, rd_kafka_err2str(code));
}

// A stream that is ours and comes next to `offset`.
static struct stream *stream_take(struct remote *r, const char *topic, int32_t partition, int64_t offset, struct err *err) {
    struct stream *drop = NULL;
    struct session *fresh = NULL;
    sys_mutex_lock(&r->mutex);
    struct stream *s = idle_stream(r, topic, partition, offset);
    if (s != NULL && s->next != offset) { // elsewhere: begun anew, as a seek would wait for what is on its way
        stream_forget(r, s);
        drop = s;
        s = NULL;
    } else if (s == NULL && r->streams.n >= STREAMS_MAX && (drop = oldest_idle(r)) != NULL) {
        stream_forget(r, drop);
    }
    if (s != NULL) s->busy = true;
    sys_mutex_unlock(&r->mutex);
    if (drop != NULL) stream_free(drop);
    if (s != NULL) return s;
    s = MEM_NEW(struct stream);
    *s = (struct stream){.name = mem_strdup(topic), .partition = partition, .busy = true};
    sys_mutex_lock(&r->mutex);
    s->session = free_session(r, topic, partition);
    if (s->session != NULL) vec_add(&r->streams, s);
    sys_mutex_unlock(&r->mutex);
    if (s->session == NULL) {
        fresh = session_new(r, err);
        sys_mutex_lock(&r->mutex);
        if (fresh != NULL) vec_add(&r->sessions, fresh);
        if (fresh != NULL) vec_add(&r->streams, s);
        sys_mutex_unlock(&r->mutex);
        s->session = fresh;
    }
    if (s->session != NULL && stream_start(s, offset, err) == ERR_OK) return s;
    sys_mutex_lock(&r->mutex);
    stream_forget(r, s);
    sys_mutex_unlock(&r->mutex);
    stream_free(s);
    return NULL;
}

static void stream_give_back(struct remote *r, struct stream *s, bool keep) {
    sys_mutex_lock(&r->mutex);
    if (keep) {
        s->used = ++r->clock;
        s->busy = false;
    } else {
        stream_forget(r, s);
    }
    sys_mutex_unlock(&r->mutex);
    if (!keep) stream_free(s);
}

// ---- reading --------------------------------------------------------------------------------------------------------------

struct packer { // messages to batches
    struct buf *out;
    struct batch_builder bb;
    int64_t base, next; // offsets of the batch that is open; next -1 = none is
};

static void packer_close(struct packer *p) {
    if (p->next < 0) return;
    batch_end(&p->bb);
    if (!p->out->failed) batch_set_offset(p->out->p + p->bb.at, p->base, 0);
    p->next = -1;
}

static size_t headers_of(const rd_kafka_message_t *m, struct batch_header *out) {
    rd_kafka_headers_t *list;
    size_t n = 0;
    if (rd_kafka_message_headers(m, &list) != RD_KAFKA_RESP_ERR_NO_ERROR) return 0;
    const char *name;
    const void *value;
    size_t size;
    while (n < HEADERS_MAX && rd_kafka_header_get_all(list, n, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        out[n] = (struct batch_header){str_c(name), str_n(value, size), value == NULL};
        n++;
    }
    return n;
}

static void pack(struct packer *p, const rd_kafka_message_t *m) {
    struct batch_header headers[HEADERS_MAX];
    rd_kafka_timestamp_type_t type;
    int64_t time = rd_kafka_message_timestamp(m, &type);
    if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE) time = -1;
    if (p->next >= 0 && (p->next != m->offset || p->out->n - p->bb.at > BATCH_BYTES)) packer_close(p);
    if (p->next < 0) {
        batch_begin(&p->bb, p->out, time);
        p->base = p->next = m->offset;
    }
    size_t n = headers_of(m, headers);
    batch_add(&p->bb, time, str_n(m->key, m->key_len), m->key == NULL, str_n(m->payload, m->len), m->payload == NULL, headers, n);
    p->next++;
}

// Takes what has come, waiting for the first. *end: nothing is left in the partition.
static enum err_code take(struct remote *r, struct stream *s, size_t max_bytes, struct buf *out, bool *end, struct err *err) {
    rd_kafka_message_t *list[TAKE_MAX];
    struct packer p = {.out = out, .next = -1};
    size_t from = out->n;
    enum err_code code = ERR_OK;
    struct patience until = patience(r);
    *end = false;
    while (code == ERR_OK && !*end && out->n - from < max_bytes) {
        bool first = out->n == from;
        ssize_t n = rd_kafka_consume_batch(s->topic, s->partition, first ? WAIT_MS : 0, list, TAKE_MAX);
        if (n <= 0 && !first) break;
        if (n <= 0 && sys_mono_us(r->sys) > until.until) code = err_set(err, ERR_TIMEOUT, "Kafka: nothing came within a minute");
        for (ssize_t i = 0; i < n; i++) {
            const rd_kafka_message_t *m = list[i];
            if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                *end = true; // behind markers too, which are no records
                if (m->offset > s->next) s->next = m->offset;
            }
            else if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                pack(&p, m);
                s->next = m->offset + 1;
                *end = false; // more came behind an end
            } else if (!passes(m->err) && code == ERR_OK) code = fail(err, m->err, rd_kafka_message_errstr(m));
            rd_kafka_message_destroy(list[i]);
        }
    }
    packer_close(&p);
    if (out->failed) code = err_set(err, ERR_TOO_LARGE, "a read of a partition is larger than its buffer's maximum");
    return code;
}

static enum err_code remote_read(struct topics *t, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, struct buf *out,
                                 int64_t *next, struct broker_offsets *offsets, struct err *err) {
    struct remote *r = remote_of(t);
    struct err own = {0};
    if (err == NULL) err = &own;
    struct stream *s = stream_take(r, topic, partition, offset, err);
    enum err_code code = err->code;
    bool end = false;
    *next = offset;
    if (s != NULL) {
        code = take(r, s, max_bytes, out, &end, err);
        *next = s->next;
        stream_give_back(r, s, code == ERR_OK && !end);
    }
    if (offsets != NULL) { // where the topic is now says why an offset is not there
        struct err ignored = {0};
        *offsets = (struct broker_offsets){offset, offset, offset, offset};
        struct broker_offsets now;
        if (code == ERR_OFFSET_RANGE && remote_offsets(t, topic, partition, &now, &ignored) == ERR_OK) *offsets = now;
    }
    return code == ERR_OK ? ERR_OK : err_wrap(err, "topic '%s' partition %d", topic, partition);
}

// ---- writing --------------------------------------------------------------------------------------------------------------

struct append {
    size_t waiting;
    int64_t last; // largest offset that was given
    rd_kafka_resp_err_t failed;
};

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
    (void)rk, (void)opaque;
    struct append *a = m->_private;
    a->waiting--;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) a->failed = m->err;
    else if (m->offset > a->last) a->last = m->offset;
}

static rd_kafka_t *producer_of(struct remote *r, struct err *err) { // under `append`
    static const struct broker_kv own[] = {{"client.id", "millrace"}, {"enable.idempotence", "true"}, {"acks", "all"}, {"linger.ms", "0"},
                                           {"message.max.bytes", "104857600"}, {"queue.buffering.max.messages", "1000000"},
                                           {"queue.buffering.max.kbytes", "1048576"}};
    if (r->producer == NULL) r->producer = handle(r, RD_KAFKA_PRODUCER, own, sizeof own / sizeof own[0], on_report, err);
    return r->producer;
}

static rd_kafka_resp_err_t send_record(rd_kafka_t *rk, const char *topic, int32_t partition, const struct broker_record *rec, struct append *a) {
    rd_kafka_headers_t *headers = rec->n_headers == 0 ? NULL : rd_kafka_headers_new(rec->n_headers);
    for (size_t i = 0; i < rec->n_headers; i++)
        rd_kafka_header_add(headers, rec->headers[i].key.p, (ssize_t)rec->headers[i].key.n, rec->headers[i].value.p, (ssize_t)rec->headers[i].value.n);
    rd_kafka_vu_t vu[8] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {rec->value_null ? NULL : (void *)(uintptr_t)rec->value.p, rec->value_null ? 0 : rec->value.n}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {rec->key_null ? NULL : (void *)(uintptr_t)rec->key.p, rec->key_null ? 0 : rec->key.n}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = rec->timestamp_ms < 0 ? 0 : rec->timestamp_ms},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = a},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    rd_kafka_error_t *e = rd_kafka_produceva(rk, vu, headers == NULL ? 7 : 8);
    if (e == NULL) return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t code = rd_kafka_error_code(e);
    rd_kafka_error_destroy(e);
    if (headers != NULL) rd_kafka_headers_destroy(headers);
    return code;
}

static enum err_code remote_append(struct topics *t, const char *topic, int32_t partition, const struct broker_record *records, size_t n, int64_t *base,
                                   struct err *err) {
    struct remote *r = remote_of(t);
    struct append a = {.last = -1};
    sys_mutex_lock(&r->append);
    rd_kafka_t *rk = producer_of(r, err);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (size_t i = 0; rk != NULL && i < n && code == RD_KAFKA_RESP_ERR_NO_ERROR;) {
        code = send_record(rk, topic, partition, &records[i], &a);
        if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            rd_kafka_poll(rk, WAIT_MS);
            code = RD_KAFKA_RESP_ERR_NO_ERROR;
            continue;
        }
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) break;
        a.waiting++;
        i++;
    }
    while (rk != NULL && a.waiting > 0) rd_kafka_poll(rk, WAIT_MS); // ends: message.timeout.ms is finite
    if (rk != NULL && code == RD_KAFKA_RESP_ERR_NO_ERROR) code = a.failed;
    char text[TEXT_MAX];
    if (rk != NULL && rd_kafka_fatal_error(rk, text, sizeof text) != RD_KAFKA_RESP_ERR_NO_ERROR) { // the next append begins with a new one
        rd_kafka_destroy(rk);
        r->producer = NULL;
    }
    sys_mutex_unlock(&r->append);
    if (rk == NULL) return err == NULL ? ERR_CONFIG : err->code;
    if (base != NULL) *base = a.last + 1 - (int64_t)n;
    return fail(err, code, rd_kafka_err2str(code)) == ERR_OK ? ERR_OK : err_wrap(err, "topic '%s' partition %d", topic, partition);
}

// ---- life -----------------------------------------------------------------------------------------------------------------

static void remote_close(struct topics *t) {
    struct remote *r = remote_of(t);
    for (size_t i = 0; i < r->streams.n; i++) {
        assert(!r->streams.p[i]->busy);
        stream_free(r->streams.p[i]);
    }
    for (size_t i = 0; i < r->sessions.n; i++) session_free(r->sessions.p[i]);
    session_free(r->asker);
    if (r->producer != NULL) rd_kafka_destroy(r->producer);
    vec_fini(&r->streams);
    vec_fini(&r->sessions);
    for (size_t i = 0; i < r->n_settings; i++) {
        mem_free((void *)(uintptr_t)r->settings[i].name);
        mem_free((void *)(uintptr_t)r->settings[i].value);
    }
    mem_free(r->settings);
    mem_free(r->brokers);
    mem_free(r->cluster);
    sys_mutex_fini(&r->append);
    sys_mutex_fini(&r->mutex);
    mem_free(r);
}

static const struct topics_ops remote_ops = {remote_close,   remote_get,  remote_list,           remote_create,
                                             remote_offsets, remote_read, remote_offset_for_time, remote_append};

struct topics *topics_remote(struct sys *s, const struct topics_cluster *c, struct err *err) {
    struct remote *r = MEM_NEW(struct remote);
    r->base.ops = &remote_ops;
    r->sys = s;
    r->brokers = mem_strdup(c->brokers);
    r->settings = mem_zalloc((c->n_settings + 1) * sizeof *r->settings);
    for (; r->n_settings < c->n_settings; r->n_settings++)
        r->settings[r->n_settings] = (struct broker_kv){mem_strdup(c->settings[r->n_settings].name), mem_strdup(c->settings[r->n_settings].value)};
    sys_mutex_init(&r->mutex);
    sys_mutex_init(&r->append);
    r->asker = session_new(r, err);
    char *cluster = r->asker == NULL ? NULL : rd_kafka_clusterid(asker(r), REACH_MS);
    if (cluster != NULL) {
        r->cluster = mem_strdup(cluster);
        rd_kafka_mem_free(asker(r), cluster);
        return &r->base;
    }
    if (r->asker != NULL) err_set(err, ERR_UNAVAILABLE, "no Kafka broker answers at %s", c->brokers);
    remote_close(&r->base);
    return NULL;
}
