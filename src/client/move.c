// SPDX-License-Identifier: Apache-2.0
// See move.h. Record batches go as they are where nothing is missing in them; small ones are put together. One idempotent producer id, one batch
// under way per partition: a batch that is sent again after a lost answer is known to the broker by its sequence number.
#include "client/move.h"

#include <inttypes.h>
#include <string.h>

#include "base/vec.h"
#include "client/cluster.h"
#include "client/groups.h"
#include "codec/compress.h"
#include "codec/crc32c.h"
#include "log/batch.h"

enum { FETCH_BYTES = 8 << 20, SMALL = 16 << 10, JOINED = 256 << 10, TRIES = 100, PAUSE_US = 200000, TIMEOUT_MS = 30000, MARKERS = 1000, FILL = 100000,
       HEADERS_MAX = 1024, TYPE_TOPIC = 2, SOURCE_TOPIC = 1 };
enum { AT_CRC = 17, AT_ATTRIBUTES = 21, AT_PRODUCER = 43, AT_EPOCH = 51, AT_SEQUENCE = 53 };

struct open_abort { // an aborted transaction that the reading is inside of
    int64_t producer;
};

struct mover {
    struct move *m;
    struct cluster *from, *to;
    struct str topic;
    struct arena arena; // of one round: answers of both clusters
    int64_t producer;
    int16_t epoch;
    // the partition under way
    int32_t partition, source_leader, leader, sequence;
    int64_t next, start, end; // next: offset at the destination
    struct buf joined; // small batches put together
    struct batch_builder bb;
    int32_t n_joined;
    VEC(struct open_abort) aborts;
    int64_t done, total;
};

static enum err_code about(struct mover *v, struct err *err) { return err_wrap(err, "%.*s-%d", (int)v->topic.n, v->topic.p, v->partition); }

static enum err_code find_leader(struct mover *v, struct cluster *c, int32_t *leader, struct err *err) {
    const struct kafka_metadata_response *md;
    if (cluster_topics(c, &v->topic, 1, &md, err) != ERR_OK) return err->code;
    for (int32_t i = 0; md->topics.n == 1 && i < md->topics.p[0].partitions.n; i++)
        if (md->topics.p[0].partitions.p[i].partition_index == v->partition) return *leader = md->topics.p[0].partitions.p[i].leader_id, ERR_OK;
    return err_set(err, ERR_NO_TOPIC, "no topic '%.*s' with a partition %d", (int)v->topic.n, v->topic.p, v->partition);
}

static bool passes(int code) {
    return code == KAFKA_NOT_LEADER_OR_FOLLOWER || code == KAFKA_LEADER_NOT_AVAILABLE || code == KAFKA_REQUEST_TIMED_OUT || code == KAFKA_NOT_ENOUGH_REPLICAS ||
           code == KAFKA_NOT_ENOUGH_REPLICAS_AFTER_APPEND || code == KAFKA_FENCED_LEADER_EPOCH || code == KAFKA_UNKNOWN_LEADER_EPOCH ||
           code == KAFKA_KAFKA_STORAGE_ERROR || code == KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

// ---- writing --------------------------------------------------------------------------------------------------------------

static void put_be(uint8_t *p, uint64_t v, int n) {
    for (int i = n - 1; i >= 0; i--, v >>= 8) p[i] = (uint8_t)v;
}

// Ours: producer, sequence, no transaction.
static void stamp(struct mover *v, uint8_t *p, size_t size) {
    p[AT_ATTRIBUTES + 1] = (uint8_t)(p[AT_ATTRIBUTES + 1] & ~BATCH_ATTR_TRANSACTION);
    put_be(p + AT_PRODUCER, (uint64_t)v->producer, 8);
    put_be(p + AT_EPOCH, (uint64_t)v->epoch, 2);
    put_be(p + AT_SEQUENCE, (uint64_t)v->sequence, 4);
    put_be(p + AT_CRC, crc32c(0, p + AT_ATTRIBUTES, size - AT_ATTRIBUTES), 4);
}

static enum err_code send_once(struct mover *v, struct str bytes, int64_t *base, int *kafka, struct str *text, struct err *err) {
    struct kafka_produce_request req;
    const struct kafka_produce_response *res;
    kafka_msg_init(&kafka_produce_request_m, &req);
    req.transactional_id = (struct str){NULL, 0};
    req.acks = -1;
    req.timeout_ms = TIMEOUT_MS;
    req.topic_data.p = KAFKA_ELEMENTS(&v->arena, kafka_produce_request_topic_data, 1);
    req.topic_data.n = 1;
    req.topic_data.p[0].name = v->topic;
    req.topic_data.p[0].partition_data.p = KAFKA_ELEMENTS(&v->arena, kafka_produce_request_topic_data_partition_data, 1);
    req.topic_data.p[0].partition_data.n = 1;
    req.topic_data.p[0].partition_data.p[0].index = v->partition;
    req.topic_data.p[0].partition_data.p[0].records = bytes;
    if (cluster_call(v->to, v->leader, KAFKA_API_PRODUCE, &req, &res, err) != ERR_OK) return err->code;
    if (res->responses.n != 1 || res->responses.p[0].partition_responses.n != 1) return err_set(err, ERR_PARSE, "the answer is about something else");
    *kafka = res->responses.p[0].partition_responses.p[0].error_code;
    *base = res->responses.p[0].partition_responses.p[0].base_offset;
    *text = res->responses.p[0].partition_responses.p[0].error_message;
    return ERR_OK;
}

// One batch whose first record has offset v->next.
static enum err_code send_batch(struct mover *v, uint8_t *p, size_t size, int32_t count, struct err *err) {
    stamp(v, p, size);
    int64_t base = -1;
    int kafka = 0;
    struct str text = {NULL, 0};
    for (int i = 0;; i++) {
        enum err_code code = send_once(v, str_n(p, size), &base, &kafka, &text, err);
        bool again = code == ERR_OK ? passes(kafka) : err_info(code)->retriable;
        if (!again || i == TRIES) {
            if (code != ERR_OK) return about(v, err);
            break;
        }
        sys_sleep_us(v->m->sys, PAUSE_US);
        struct err ignored = {0};
        (void)find_leader(v, v->to, &v->leader, &ignored); // unknown for now: the next round asks again
    }
    if (cluster_error(kafka, text, err, "%.*s-%d at %s", (int)v->topic.n, v->topic.p, v->partition, v->m->to.brokers) != ERR_OK) return err->code;
    if (base != v->next) {
        err_set(err, ERR_CONFLICT, "offset %" PRId64 " became %" PRId64 ": somebody else writes to the topic at %s", v->next, base, v->m->to.brokers);
        return about(v, err);
    }
    v->next += count;
    v->sequence = (int32_t)(((int64_t)v->sequence + count) & INT32_MAX);
    v->m->records += count;
    v->m->bytes += (int64_t)size;
    return ERR_OK;
}

static enum err_code flush(struct mover *v, struct err *err) {
    if (v->n_joined == 0) return ERR_OK;
    batch_end(&v->bb);
    int32_t n = v->n_joined;
    v->n_joined = 0;
    enum err_code code = send_batch(v, v->joined.p, v->joined.n, n, err);
    buf_clear(&v->joined);
    return code;
}

static int64_t joined_next(const struct mover *v) { return v->next + v->n_joined; }

// n offsets without a record: a transaction marker each.
static enum err_code fill(struct mover *v, int64_t n, struct err *err) {
    if (flush(v, err) != ERR_OK) return err->code;
    while (n > 0) {
        int32_t now = n > MARKERS ? (int32_t)MARKERS : (int32_t)n;
        struct kafka_write_txn_markers_request req;
        const struct kafka_write_txn_markers_response *res;
        kafka_msg_init(&kafka_write_txn_markers_request_m, &req);
        req.markers.p = KAFKA_ELEMENTS(&v->arena, kafka_write_txn_markers_request_markers, now);
        req.markers.n = now;
        for (int32_t i = 0; i < now; i++) {
            struct kafka_write_txn_markers_request_markers *k = &req.markers.p[i];
            k->producer_id = v->producer;
            k->producer_epoch = v->epoch;
            k->topics.p = KAFKA_ELEMENTS(&v->arena, kafka_write_txn_markers_request_markers_topics, 1);
            k->topics.n = 1;
            k->topics.p[0].name = v->topic;
            k->topics.p[0].partition_indexes.p = &v->partition;
            k->topics.p[0].partition_indexes.n = 1;
        }
        if (cluster_call(v->to, v->leader, KAFKA_API_WRITE_TXN_MARKERS, &req, &res, err) != ERR_OK) return about(v, err);
        for (int32_t i = 0; i < res->markers.n; i++)
            for (int32_t t = 0; t < res->markers.p[i].topics.n; t++)
                for (int32_t p = 0; p < res->markers.p[i].topics.p[t].partitions.n; p++)
                    if (cluster_error(res->markers.p[i].topics.p[t].partitions.p[p].error_code, (struct str){0}, err, "a marker in place of offset %" PRId64,
                                      v->next + i) != ERR_OK)
                        return about(v, err);
        v->next += now;
        n -= now;
    }
    return ERR_OK;
}

static enum err_code fill_to(struct mover *v, int64_t offset, struct err *err) {
    int64_t n = offset - joined_next(v);
    return n > 0 ? fill(v, n, err) : ERR_OK;
}

// ---- what lies in front of the start ----------------------------------------------------------------------------------------

static enum err_code delete_before(struct mover *v, int64_t offset, struct err *err) {
    struct kafka_delete_records_request req;
    const struct kafka_delete_records_response *res;
    kafka_msg_init(&kafka_delete_records_request_m, &req);
    req.timeout_ms = TIMEOUT_MS;
    req.topics.p = KAFKA_ELEMENTS(&v->arena, kafka_delete_records_request_topics, 1);
    req.topics.n = 1;
    req.topics.p[0].name = v->topic;
    req.topics.p[0].partitions.p = KAFKA_ELEMENTS(&v->arena, kafka_delete_records_request_topics_partitions, 1);
    req.topics.p[0].partitions.n = 1;
    req.topics.p[0].partitions.p[0].partition_index = v->partition;
    req.topics.p[0].partitions.p[0].offset = offset;
    if (cluster_call(v->to, v->leader, KAFKA_API_DELETE_RECORDS, &req, &res, err) != ERR_OK) return about(v, err);
    if (res->topics.n != 1 || res->topics.p[0].partitions.n != 1) return err_set(err, ERR_PARSE, "the answer is about something else");
    return cluster_error(res->topics.p[0].partitions.p[0].error_code, (struct str){0}, err, "deleting what is in front of %.*s-%d", (int)v->topic.n, v->topic.p,
                         v->partition);
}

// Empty records up to the start, compressed to next to nothing.
static enum err_code fill_front(struct mover *v, struct err *err) {
    struct buf plain, out;
    buf_init(&plain, 64 << 20);
    buf_init(&out, 64 << 20);
    enum err_code code = ERR_OK;
    while (v->next < v->start && code == ERR_OK) {
        int32_t n = v->start - v->next > FILL ? (int32_t)FILL : (int32_t)(v->start - v->next);
        struct batch_builder bb;
        buf_clear(&plain);
        buf_clear(&out);
        batch_begin(&bb, &plain, sys_now_us(v->m->sys) / 1000);
        for (int32_t i = 0; i < n; i++) batch_add(&bb, bb.base_timestamp, STR(""), false, (struct str){NULL, 0}, true, NULL, 0);
        bb.attributes = COMPRESS_GZIP;
        batch_end(&bb);
        buf_put(&out, plain.p, BATCH_HEADER);
        code = compress_bytes(COMPRESS_GZIP, str_n(plain.p + BATCH_HEADER, plain.n - BATCH_HEADER), &out, err);
        if (code != ERR_OK) break;
        put_be(out.p + 8, out.n - BATCH_PREFIX, 4);
        code = send_batch(v, out.p, out.n, n, err);
        v->m->records -= n; // they are nobody's
        arena_reset(&v->arena);
    }
    buf_fini(&plain);
    buf_fini(&out);
    return code == ERR_OK ? delete_before(v, v->start, err) : code;
}

// ---- reading --------------------------------------------------------------------------------------------------------------

static enum err_code join(struct mover *v, const struct batch_record *r, struct err *err) {
    struct batch_header headers[HEADERS_MAX];
    size_t n = 0;
    struct str rest = r->headers;
    if (r->offset > joined_next(v) && fill_to(v, r->offset, err) != ERR_OK) return err->code;
    while (n < HEADERS_MAX && batch_header_next(&rest, &headers[n])) n++;
    if (rest.n > 0) return err_set(err, ERR_TOO_LARGE, "offset %" PRId64 " has more than %d headers", r->offset, HEADERS_MAX);
    if (v->n_joined == 0) batch_begin(&v->bb, &v->joined, r->timestamp);
    batch_add(&v->bb, r->timestamp, r->key, r->key_null, r->value, r->value_null, headers, n);
    v->n_joined++;
    return v->joined.n >= JOINED ? flush(v, err) : ERR_OK;
}

static enum err_code join_batch(struct mover *v, const struct batch *b, struct err *err) {
    struct batch_iter it;
    struct batch_record r;
    if (batch_iter_init(&it, b, 0, err) != ERR_OK) return err->code;
    int more = 0;
    enum err_code code = ERR_OK;
    while (code == ERR_OK && (more = batch_iter_next(&it, &r, err)) == 1)
        if (r.offset >= joined_next(v) && r.offset < v->end) code = join(v, &r, err);
    batch_iter_fini(&it);
    return more < 0 ? err->code : code;
}

static enum err_code pass_batch(struct mover *v, const struct batch *b, struct err *err) {
    bool whole = b->count == b->last_offset_delta + 1 && b->base_offset >= joined_next(v) && batch_last_offset(b) < v->end;
    if (!whole || b->size < SMALL || (b->attributes & BATCH_ATTR_APPEND_TIME) != 0) return join_batch(v, b, err);
    if (fill_to(v, b->base_offset, err) != ERR_OK || flush(v, err) != ERR_OK) return err->code;
    return send_batch(v, (uint8_t *)(uintptr_t)b->p, b->size, b->count, err); // the frame is ours
}

typedef struct kafka_fetch_response_responses_partitions fetched;

static void drop_abort(struct mover *v, int64_t producer) {
    for (size_t i = 0; i < v->aborts.n; i++)
        if (v->aborts.p[i].producer == producer) {
            vec_remove(&v->aborts, i);
            return;
        }
}

static bool is_aborted(const struct mover *v, int64_t producer) {
    for (size_t i = 0; i < v->aborts.n; i++)
        if (v->aborts.p[i].producer == producer) return true;
    return false;
}

static void begin_aborts(struct mover *v, const fetched *f, int64_t upto, bool *begun) {
    for (int32_t i = 0; i < f->aborted_transactions.n; i++) {
        if (begun[i] || f->aborted_transactions.p[i].first_offset > upto) continue;
        begun[i] = true;
        if (!is_aborted(v, f->aborted_transactions.p[i].producer_id))
            vec_add(&v->aborts, ((struct open_abort){f->aborted_transactions.p[i].producer_id}));
    }
}

// The batches of one answer. *at = offset to fetch from next.
static enum err_code take(struct mover *v, const fetched *f, int64_t *at, struct err *err) {
    bool *begun = ARENA_ARRAY(&v->arena, bool, f->aborted_transactions.n + 1);
    v->aborts.n = 0; // the answer says anew which are open
    for (size_t pos = 0; pos < f->records.n && *at < v->end;) {
        struct batch b;
        if (batch_read(f->records.p + pos, f->records.n - pos, &b) != BATCH_OK) break; // cut off by the size: fetched again
        if (!batch_crc_ok(&b)) return err_set(err, ERR_CORRUPT, "offset %" PRId64 " of %s: wrong CRC", b.base_offset, v->m->from.brokers);
        pos += b.size;
        bool control = (b.attributes & BATCH_ATTR_CONTROL) != 0;
        begin_aborts(v, f, batch_last_offset(&b), begun);
        if (control) drop_abort(v, b.producer_id);
        bool skip = control || ((b.attributes & BATCH_ATTR_TRANSACTION) != 0 && is_aborted(v, b.producer_id)) || b.count == 0;
        if (!skip && batch_last_offset(&b) >= joined_next(v) && pass_batch(v, &b, err) != ERR_OK) return err->code;
        *at = batch_last_offset(&b) + 1;
    }
    return ERR_OK;
}

static enum err_code fetch(struct mover *v, int64_t at, const fetched **out, struct err *err) {
    struct kafka_fetch_request req;
    const struct kafka_fetch_response *res;
    kafka_msg_init(&kafka_fetch_request_m, &req);
    req.replica_id = -1;
    req.max_wait_ms = 500;
    req.min_bytes = 1;
    req.max_bytes = FETCH_BYTES;
    req.isolation_level = 1;
    req.session_epoch = -1;
    req.topics.p = KAFKA_ELEMENTS(&v->arena, kafka_fetch_request_topics, 1);
    req.topics.n = 1;
    req.topics.p[0].topic = v->topic;
    req.topics.p[0].partitions.p = KAFKA_ELEMENTS(&v->arena, kafka_fetch_request_topics_partitions, 1);
    req.topics.p[0].partitions.n = 1;
    req.topics.p[0].partitions.p[0].partition = v->partition;
    req.topics.p[0].partitions.p[0].current_leader_epoch = -1;
    req.topics.p[0].partitions.p[0].last_fetched_epoch = -1;
    req.topics.p[0].partitions.p[0].log_start_offset = -1;
    req.topics.p[0].partitions.p[0].fetch_offset = at;
    req.topics.p[0].partitions.p[0].partition_max_bytes = FETCH_BYTES;
    for (int i = 0;; i++) {
        enum err_code code = cluster_call(v->from, v->source_leader, KAFKA_API_FETCH, &req, &res, err);
        int kafka = code != ERR_OK ? 0 : res->error_code != 0 ? res->error_code : res->responses.n == 1 && res->responses.p[0].partitions.n == 1
                    ? res->responses.p[0].partitions.p[0].error_code : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        bool again = code == ERR_OK ? passes(kafka) : err_info(code)->retriable;
        if (!again || i == TRIES) {
            if (code == ERR_OK) code = cluster_error(kafka, (struct str){0}, err, "reading %.*s-%d", (int)v->topic.n, v->topic.p, v->partition);
            if (code == ERR_OK) *out = &res->responses.p[0].partitions.p[0];
            return code;
        }
        sys_sleep_us(v->m->sys, PAUSE_US);
        struct err ignored = {0};
        (void)find_leader(v, v->from, &v->source_leader, &ignored);
    }
}

static enum err_code move_partition(struct mover *v, struct err *err) {
    if (find_leader(v, v->from, &v->source_leader, err) != ERR_OK || find_leader(v, v->to, &v->leader, err) != ERR_OK) return err->code;
    v->sequence = 0;
    if (v->next < v->start && fill_front(v, err) != ERR_OK) return err->code;
    for (int64_t at = v->next; at < v->end;) {
        const fetched *f;
        int64_t before = at;
        if (fetch(v, at, &f, err) != ERR_OK || take(v, f, &at, err) != ERR_OK) return err->code;
        arena_reset(&v->arena);
        v->done += (at < v->end ? at : v->end) - before;
        if (v->m->progress != NULL) v->m->progress(v->m->arg, v->done, v->total);
        if (at == before && f->last_stable_offset <= at) break; // compacted away up to the end
    }
    if (fill_to(v, v->end, err) != ERR_OK) return err->code;
    return flush(v, err);
}

// ---- topic and configs ------------------------------------------------------------------------------------------------------

struct configs {
    struct kafka_create_topics_request_topics_configs *p;
    int32_t n;
};

static enum err_code read_configs(struct mover *v, struct configs *out, bool *append_time, struct err *err) {
    struct kafka_describe_configs_request req;
    const struct kafka_describe_configs_response *res;
    struct arena *a = cluster_memory(v->from);
    kafka_msg_init(&kafka_describe_configs_request_m, &req);
    req.resources.p = KAFKA_ELEMENTS(a, kafka_describe_configs_request_resources, 1);
    req.resources.n = 1;
    req.resources.p[0].resource_type = TYPE_TOPIC;
    req.resources.p[0].resource_name = v->topic;
    req.resources.p[0].configuration_keys.n = -1;
    if (cluster_call(v->from, CLUSTER_ANY, KAFKA_API_DESCRIBE_CONFIGS, &req, &res, err) != ERR_OK) return err->code;
    if (res->results.n != 1) return err_set(err, ERR_PARSE, "the answer is about something else");
    if (cluster_error(res->results.p[0].error_code, res->results.p[0].error_message, err, "configs of '%.*s'", (int)v->topic.n, v->topic.p) != ERR_OK)
        return err->code;
    out->p = KAFKA_ELEMENTS(a, kafka_create_topics_request_topics_configs, res->results.p[0].configs.n);
    *append_time = false;
    for (int32_t i = 0; i < res->results.p[0].configs.n; i++) {
        const struct kafka_describe_configs_response_results_configs *c = &res->results.p[0].configs.p[i];
        if (c->config_source != SOURCE_TOPIC) continue;
        if (str_eqc(c->name, "message.timestamp.type")) *append_time = str_eqc(c->value, "LogAppendTime"); // set at the end: it would overwrite the times
        else out->p[out->n++] = (struct kafka_create_topics_request_topics_configs){c->name, c->value};
    }
    return ERR_OK;
}

static enum err_code create(struct mover *v, int32_t partitions, const struct configs *configs, struct err *err) {
    struct kafka_create_topics_request req;
    const struct kafka_create_topics_response *res;
    kafka_msg_init(&kafka_create_topics_request_m, &req);
    req.timeout_ms = TIMEOUT_MS;
    req.topics.p = KAFKA_ELEMENTS(cluster_memory(v->to), kafka_create_topics_request_topics, 1);
    req.topics.n = 1;
    req.topics.p[0].name = v->topic;
    req.topics.p[0].num_partitions = partitions;
    req.topics.p[0].replication_factor = -1;
    req.topics.p[0].configs.p = configs->p;
    req.topics.p[0].configs.n = configs->n;
    if (cluster_call(v->to, CLUSTER_CONTROLLER, KAFKA_API_CREATE_TOPICS, &req, &res, err) != ERR_OK) return err->code;
    if (res->topics.n != 1) return err_set(err, ERR_PARSE, "the answer is about something else");
    return cluster_error(res->topics.p[0].error_code, res->topics.p[0].error_message, err, "topic '%.*s' at %s", (int)v->topic.n, v->topic.p, v->m->to.brokers);
}

static enum err_code set_append_time(struct mover *v, struct err *err) {
    struct kafka_incremental_alter_configs_request req;
    const struct kafka_incremental_alter_configs_response *res;
    struct kafka_incremental_alter_configs_request_resources_configs change = {STR("message.timestamp.type"), 0, STR("LogAppendTime")};
    kafka_msg_init(&kafka_incremental_alter_configs_request_m, &req);
    req.resources.p = KAFKA_ELEMENTS(cluster_memory(v->to), kafka_incremental_alter_configs_request_resources, 1);
    req.resources.n = 1;
    req.resources.p[0].resource_type = TYPE_TOPIC;
    req.resources.p[0].resource_name = v->topic;
    req.resources.p[0].configs.p = &change;
    req.resources.p[0].configs.n = 1;
    if (cluster_call(v->to, CLUSTER_ANY, KAFKA_API_INCREMENTAL_ALTER_CONFIGS, &req, &res, err) != ERR_OK) return err->code;
    if (res->responses.n != 1) return err_set(err, ERR_PARSE, "the answer is about something else");
    return cluster_error(res->responses.p[0].error_code, res->responses.p[0].error_message, err, "configs of '%.*s'", (int)v->topic.n, v->topic.p);
}

static enum err_code producer_id(struct mover *v, struct err *err) {
    struct kafka_init_producer_id_request req;
    const struct kafka_init_producer_id_response *res;
    kafka_msg_init(&kafka_init_producer_id_request_m, &req);
    req.transactional_id = (struct str){NULL, 0};
    req.transaction_timeout_ms = TIMEOUT_MS;
    req.producer_id = req.producer_epoch = -1;
    for (int i = 0;; i++) {
        if (cluster_call(v->to, CLUSTER_ANY, KAFKA_API_INIT_PRODUCER_ID, &req, &res, err) != ERR_OK) return err->code;
        if (!cluster_again(v->to, res->error_code, i)) break;
    }
    v->producer = res->producer_id;
    v->epoch = res->producer_epoch;
    return cluster_error(res->error_code, (struct str){0}, err, "a producer id of %s", v->m->to.brokers);
}

// A topic that was just made needs a moment until all its partitions have leaders.
static enum err_code wait_leaders(struct mover *v, int32_t partitions, struct err *err) {
    for (int i = 0;; i++) {
        const struct kafka_metadata_response *md;
        err_clear(err);
        enum err_code code = cluster_topics(v->to, &v->topic, 1, &md, err);
        int32_t led = 0;
        for (int32_t p = 0; code == ERR_OK && md->topics.n == 1 && p < md->topics.p[0].partitions.n; p++) led += md->topics.p[0].partitions.p[p].leader_id >= 0;
        if (led >= partitions) return ERR_OK;
        if (i == TRIES && code == ERR_OK)
            code = err_set(err, ERR_TIMEOUT, "topic '%.*s' at %s has no leaders", (int)v->topic.n, v->topic.p, v->m->to.brokers);
        if (i == TRIES) return code;
        sys_sleep_us(v->m->sys, PAUSE_US);
    }
}

// ---- groups ---------------------------------------------------------------------------------------------------------------

static enum err_code move_group(struct mover *v, const struct group_row *row, struct err *err) {
    struct group_detail here, there;
    struct group_offset_row *rows;
    size_t n, kept = 0;
    if (groups_describe(v->from, row->id, &here, err) != ERR_OK || groups_offsets(v->from, &here, &rows, &n, err) != ERR_OK) return err->code;
    for (size_t i = 0; i < n; i++)
        if (str_eq(rows[i].topic, v->topic) && rows[i].offset >= 0) rows[kept++] = rows[i];
    if (kept == 0) return ERR_OK;
    enum err_code code = groups_describe(v->to, row->id, &there, err);
    if (code == ERR_NOT_FOUND) {
        err_clear(err);
        there = (struct group_detail){.row = {.id = row->id, .type = STR("classic"), .state = STR("Empty")}};
        code = cluster_find(v->to, CLUSTER_GROUP, row->id, &there.row.coordinator, err);
    }
    if (code != ERR_OK) return code;
    if (there.n_members > 0) {
        v->m->n_groups_busy++;
        return ERR_OK;
    }
    v->m->n_groups++;
    return groups_commit(v->to, &there, rows, kept, err);
}

static enum err_code move_groups(struct mover *v, struct err *err) {
    struct group_row *rows;
    size_t n;
    if (groups_list(v->from, NULL, 0, NULL, 0, &rows, &n, err) != ERR_OK) return err->code;
    for (size_t i = 0; i < n; i++) {
        bool plain = str_ieq(rows[i].type, STR("classic")) || str_ieq(rows[i].type, STR("consumer")); // others' state is more than offsets
        if (plain && move_group(v, &rows[i], err) != ERR_OK) return err->code;
    }
    return ERR_OK;
}

// ---- the whole ------------------------------------------------------------------------------------------------------------

static enum err_code ends_of(struct sys *s, struct cluster *c, struct str topic, int32_t n, int64_t which, int64_t *out, struct err *err) {
    struct offset_query *q = ARENA_ARRAY(cluster_memory(c), struct offset_query, n);
    for (int32_t i = 0; i < n; i++) q[i] = (struct offset_query){.topic = topic, .partition = i, .timestamp = which};
    bool soon = true;
    for (int k = 0; soon && k < TRIES; k++) { // leaders of a topic that was just made may not know it yet
        if (k > 0) sys_sleep_us(s, PAUSE_US);
        if (cluster_list_offsets(c, q, (size_t)n, err) != ERR_OK) return err->code;
        soon = false;
        for (int32_t i = 0; i < n; i++) soon = soon || passes(q[i].error);
    }
    for (int32_t i = 0; i < n; i++) {
        if (cluster_error(q[i].error, (struct str){0}, err, "%.*s-%d", (int)topic.n, topic.p, i) != ERR_OK) return err->code;
        out[i] = q[i].offset;
    }
    return ERR_OK;
}

static enum err_code move_all(struct mover *v, struct err *err) {
    const struct kafka_metadata_response *md;
    struct configs configs = {0};
    bool append_time = false;
    if (cluster_topics(v->from, &v->topic, 1, &md, err) != ERR_OK || read_configs(v, &configs, &append_time, err) != ERR_OK) return err->code;
    int32_t n = v->m->partitions = md->topics.p[0].partitions.n;
    enum err_code code = create(v, n, &configs, err);
    if (code == ERR_EXISTS) err_clear(err); // goes on with what is there
    else if (code != ERR_OK) return code;
    if (wait_leaders(v, n, err) != ERR_OK || producer_id(v, err) != ERR_OK) return err->code;
    int64_t *starts = ARENA_ARRAY(cluster_memory(v->from), int64_t, n * 3), *ends = starts + n, *to_ends = ends + n;
    if (ends_of(v->m->sys, v->from, v->topic, n, -2, starts, err) != ERR_OK || ends_of(v->m->sys, v->from, v->topic, n, -1, ends, err) != ERR_OK ||
        ends_of(v->m->sys, v->to, v->topic, n, -1, to_ends, err) != ERR_OK)
        return err->code;
    for (int32_t i = 0; i < n; i++) {
        if (to_ends[i] > ends[i])
            return err_set(err, ERR_CONFLICT, "%.*s-%d ends at %" PRId64 " here and at %" PRId64 " there: it is another topic", (int)v->topic.n, v->topic.p, i,
                           ends[i], to_ends[i]);
        v->total += ends[i] - (to_ends[i] > starts[i] ? to_ends[i] : starts[i]);
    }
    cluster_answers_to(v->from, &v->arena);
    cluster_answers_to(v->to, &v->arena);
    for (int32_t i = 0; i < n; i++) {
        v->partition = i;
        v->start = starts[i];
        v->end = ends[i];
        v->next = to_ends[i];
        code = move_partition(v, err);
        arena_reset(&v->arena);
        if (code != ERR_OK) return code;
    }
    cluster_answers_to(v->from, NULL);
    cluster_answers_to(v->to, NULL);
    if (append_time && set_append_time(v, err) != ERR_OK) return err->code;
    return v->m->groups ? move_groups(v, err) : ERR_OK;
}

enum err_code move_topic(struct move *m, struct err *err) {
    struct mover v = {.m = m, .topic = str_c(m->topic)};
    arena_init(&v.arena);
    buf_init(&v.joined, 128 << 20);
    v.from = cluster_open(m->sys, &m->from, err);
    v.to = v.from == NULL ? NULL : cluster_open(m->sys, &m->to, err);
    enum err_code code = v.to == NULL ? err->code : ERR_OK;
    if (code == ERR_OK && str_eq(cluster_nodes(v.from)->cluster_id, cluster_nodes(v.to)->cluster_id))
        code = err_set(err, ERR_INVALID, "%s and %s are the same cluster", m->from.brokers, m->to.brokers);
    if (code == ERR_OK) code = move_all(&v, err);
    cluster_close(v.from);
    cluster_close(v.to);
    vec_fini(&v.aborts);
    buf_fini(&v.joined);
    arena_fini(&v.arena);
    return code;
}
