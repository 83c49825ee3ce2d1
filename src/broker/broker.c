// SPDX-License-Identifier: Apache-2.0
// Opening and closing the broker, its clockwork, reads, and appends from inside the process.
//
// DIR/version names the layout; DIR/clean says that the last process closed all logs, and is removed (durably) before any is opened.
#include <assert.h>

#include "base/log.h"
#include "base/metrics.h"
#include "broker/cleaner.h"
#include "broker/features.h"
#include "broker/store.h"
#include "broker/validate.h"

enum { READERS = 2, READERS_QUEUE = 16384 }; // a connection has one read at most
enum { CHECKERS_MIN = 2, CHECKERS_MAX = 4, CHECKERS_QUEUE = 1024 };
enum { TICK_US = 1000 * 1000, PRODUCE_BYTES_DEFAULT = 64 << 20, PARTITIONS_DEFAULT = 10000 };
static const char version_text[] = "millrace-log 1\n";

// ---- open -----------------------------------------------------------------------------------------------------------

static enum err_code begin_features(struct broker *b, const struct broker_config *config, struct err *err) {
    char *path = mem_printf("%s/store", b->dir);
    enum err_code code = features_begin(b->sys, path, config->features, b->config.node_id, err);
    mem_free(path);
    return code == ERR_CONFIG && config->features_place != NULL ? err_wrap(err, "%s", config->features_place) : code;
}

static enum err_code check_version(struct broker *b, const struct broker_config *config, struct err *err) {
    char *path = mem_printf("%s/version", b->dir);
    enum err_code code = sys_mkdirs(b->sys, b->dir, err);
    if (code == ERR_OK && !sys_exists(b->sys, path)) {
        code = topics_create_file(b, err); // so that a directory with a version has a catalog, or was damaged
        if (code == ERR_OK) code = begin_features(b, config, err);
        if (code == ERR_OK) code = sys_write_file(b->sys, path, str_c(version_text), err);
    } else if (code == ERR_OK) {
        char *text = sys_read_file(b->sys, path, 4096, NULL, err);
        if (text == NULL) code = err->code;
        else if (strcmp(text, version_text) != 0)
            code = err_set(err, ERR_VERSION, "%s: the log was written by another version of Millrace; use that one, or another data directory", path);
        mem_free(text);
    }
    mem_free(path);
    return code;
}

static enum err_code take_clean_mark(struct broker *b, bool *clean, struct err *err) {
    char *path = mem_printf("%s/clean", b->dir);
    *clean = sys_exists(b->sys, path);
    enum err_code code = *clean ? sys_unlink(b->sys, path, err) : ERR_OK;
    if (code == ERR_OK && *clean) code = sys_sync_dir(b->sys, b->dir, err);
    mem_free(path);
    return code;
}

// A process that was killed may have made the directory without making it durable.
static enum err_code sync_parent(struct broker *b, struct err *err) {
    const char *slash = strrchr(b->dir, '/');
    char *parent = slash == NULL ? mem_strdup(".") : mem_strndup(b->dir, slash == b->dir ? 1 : (size_t)(slash - b->dir));
    enum err_code code = sys_sync_dir(b->sys, parent, err);
    mem_free(parent);
    return code;
}

static void tick(void *arg) {
    struct broker *b = arg;
    int64_t now = sys_mono_us(b->sys);
    bool retention = now - b->last_retention_us >= configs_broker_i64(b, "log.retention.check.interval.ms", 300000) * 1000;
    if (retention) b->last_retention_us = now;
    struct partition **all;
    size_t n;
    partitions_all(b, &all, &n);
    for (size_t i = 0; i < n; i++) {
        if (retention || log_needs_tidy(all[i]->log)) loop_post(all[i]->owner, partition_maintain, all[i]);
        else partition_unref(all[i]);
    }
    mem_free(all);
    cleaner_check(b->cleaner, false);
    log_cache_tick(b->cache);
    loop_timer_set(b->loops[0], &b->tick, TICK_US, tick, b);
}

static void expiry_tick(void *arg) {
    struct broker *b = arg;
    struct partition **all;
    size_t n;
    partitions_all(b, &all, &n);
    for (size_t i = 0; i < n; i++) loop_post(all[i]->owner, partition_expire, all[i]);
    mem_free(all);
    int64_t interval_ms = configs_broker_i64(b, "producer.id.expiration.check.interval.ms", 600000);
    loop_timer_set(b->loops[0], &b->expiry_tick, interval_ms * 1000, expiry_tick, b);
}

void broker_upkeep(struct broker *b) {
    struct partition **all;
    size_t n;
    partitions_all(b, &all, &n);
    for (size_t i = 0; i < n; i++) loop_post(all[i]->owner, partition_maintain, all[i]);
    mem_free(all);
    cleaner_check(b->cleaner, true);
    coordinator_upkeep(b->coordinator);
}

static void tick_start(void *arg) {
    struct broker *b = arg;
    loop_timer_set(b->loops[0], &b->tick, TICK_US, tick, b);
    expiry_tick(b);
}

static void free_broker(struct broker *b) {
    share_free(b->share);
    coordinator_free(b->coordinator);
    cleaner_free(b->cleaner);
    txn_free(b->txns);
    producer_ids_free(b->producer_ids);
    topics_free(b);
    for (size_t i = 0; i < b->stalled.n; i++) partition_unref(b->stalled.p[i]); // of topics that were deleted
    partitions_wait_gone(b);
    dynamic_free(b->dynamic);
    features_free(b->features);
    log_cache_free(b->cache);
    pool_free(b->readers);
    pool_free(b->checkers);
    produce_scanners_free(b);
    sys_mutex_fini(&b->scanners_mutex);
    sys_mutex_fini(&b->alive_mutex);
    sys_cond_fini(&b->all_gone);
    store_close(b->store);
    vec_fini(&b->stalled);
    kvs_free(&b->static_configs);
    sys_mutex_fini(&b->mutex);
    sys_mutex_fini(&b->change);
    sys_mutex_fini(&b->stalled_mutex);
    mem_free(b->loops);
    mem_free(b->dir);
    mem_free(b);
}

static void set_config(struct broker *b, const struct broker_config *config) {
    b->config = *config;
    if (b->config.produce_bytes_max == 0) b->config.produce_bytes_max = PRODUCE_BYTES_DEFAULT;
    if (b->config.max_partitions == 0) b->config.max_partitions = PARTITIONS_DEFAULT;
    b->config.dir = b->dir;
    b->config.configs = NULL; // kept in static_configs
    b->config.n_configs = 0;
    b->config.places = NULL;
    b->config.features = b->config.features_place = NULL;
}

static enum err_code open_store(struct broker *b, struct err *err) {
    char *path = mem_printf("%s/store", b->dir);
    b->store = store_open(b->sys, path, err);
    mem_free(path);
    if (b->store == NULL) return err->code;
    dynamic_open(b);
    b->features = features_open(b, err);
    return b->features == NULL ? err->code : ERR_OK;
}

struct stop {
    struct broker *broker;
    struct loop_event event;
};

static void tick_stop(void *arg) {
    struct stop *x = arg;
    loop_timer_cancel(x->broker->loops[0], &x->broker->tick);
    loop_timer_cancel(x->broker->loops[0], &x->broker->expiry_tick);
    loop_event_set(&x->event);
}

// Nothing of the broker is on a loop any more, and the logs are closed: true = all of them as they should be.
static bool stop_all(struct broker *b) {
    struct stop x = {.broker = b};
    if (b->share != NULL) share_stop(b->share);
    if (b->txns != NULL) txn_stop(b->txns);
    coordinator_stop(b->coordinator);
    loop_event_init(&x.event);
    loop_post(b->loops[0], tick_stop, &x);
    loop_event_wait(&x.event);
    loop_event_fini(&x.event);
    cleaner_stop(b->cleaner);
    struct partition **all;
    size_t n;
    bool clean = true;
    partitions_all(b, &all, &n);
    for (size_t i = 0; i < n; i++) partition_quiesce(all[i]);
    pool_free(b->readers); // reading ahead
    b->readers = NULL;
    for (size_t i = 0; i < n; i++) {
        struct err err = {0};
        struct log *l = all[i]->log;
        all[i]->log = NULL;
        if (log_close(l, &err) != ERR_OK) {
            clean = false;
            log_error("broker", "log not closed cleanly", "topic", all[i]->topic_name, "error", err.msg, NULL);
        }
        partition_unref(all[i]);
    }
    mem_free(all);
    return clean;
}

struct store *broker_store(struct broker *b) { return b->store; }

struct broker *broker_open(struct sys *s, const struct broker_config *config, struct loop *const *loops, size_t n_loops, struct pool *pool,
                           struct err *err) {
    struct err local = {0};
    if (err == NULL) err = &local;
    assert(n_loops > 0);
    struct broker *b = MEM_NEW(struct broker);
    b->sys = s;
    b->dir = mem_strdup(config->dir);
    b->loops = mem_alloc(n_loops * sizeof *b->loops);
    memcpy(b->loops, loops, n_loops * sizeof *b->loops);
    b->n_loops = n_loops;
    b->pool = pool;
    b->readers = pool_new("read", READERS, READERS_QUEUE);
    b->checkers = pool_new("check", n_loops < CHECKERS_MIN ? CHECKERS_MIN : n_loops < CHECKERS_MAX ? (int)n_loops : CHECKERS_MAX, CHECKERS_QUEUE);
    sys_mutex_init(&b->scanners_mutex);
    sys_mutex_init(&b->alive_mutex);
    sys_cond_init(&b->all_gone);
    sys_mutex_init(&b->mutex);
    sys_mutex_init(&b->change);
    sys_mutex_init(&b->stalled_mutex);
    map_init(&b->topics);
    map_init(&b->topic_ids);
    set_config(b, config);
    b->cleaner = cleaner_new(b);
    bool clean = false;
    enum err_code code = configs_check_static(config, &b->static_configs, err);
    b->cache = log_cache_new((size_t)configs_broker_i64(b, "log.cache.bytes", 128 << 20));
    if (code == ERR_OK) code = check_version(b, config, err);
    if (code == ERR_OK) code = take_clean_mark(b, &clean, err);
    if (code == ERR_OK && !clean) code = sync_parent(b, err);
    if (code == ERR_OK) code = open_store(b, err);
    if (code == ERR_OK) code = topics_load(b, clean, err);
    if (code == ERR_OK) topics_spare(b);
    if (code == ERR_OK && (b->producer_ids = producer_ids_open(b, err)) == NULL) code = err->code;
    if (code == ERR_OK && (b->coordinator = coordinator_open(b, err)) == NULL) code = err->code;
    if (code == ERR_OK && (b->txns = txn_open(b, err)) == NULL) code = err->code;
    if (code == ERR_OK && (b->share = share_open(b, err)) == NULL) code = err->code;
    if (code != ERR_OK) {
        if (b->coordinator != NULL) (void)stop_all(b); // its loop knows it
        free_broker(b);
        return NULL;
    }
    b->last_retention_us = sys_mono_us(s);
    loop_post(b->loops[0], tick_start, b);
    log_info("broker", "open", "dir", b->dir, "topics", log_i64((int64_t)b->topics.n), "partitions", log_i64(b->n_partitions), "clean",
             clean ? "yes" : "no", NULL);
    return b;
}

// ---- close ----------------------------------------------------------------------------------------------------------

static void mark_clean(struct broker *b) {
    struct err err = {0};
    char *path = mem_printf("%s/clean", b->dir);
    if (sys_write_file(b->sys, path, STR("all logs were closed\n"), &err) != ERR_OK)
        log_warn("broker", "no clean mark: the next start will scan", "error", err.msg, NULL);
    mem_free(path);
}

void broker_close(struct broker *b) {
    bool clean = stop_all(b);
    if (clean) mark_clean(b);
    log_info("broker", "closed", "clean", clean ? "yes" : "no", NULL);
    free_broker(b);
}

enum err_code broker_submit(struct broker *b, loop_fn *work, void *arg, struct loop *back, loop_fn *done, struct err *err) {
    return pool_submit_then(b->pool, work, arg, back, done, err);
}

// ---- read -----------------------------------------------------------------------------------------------------------

static enum err_code no_partition(const char *topic, int32_t partition, struct err *err) {
    return err_set(err, ERR_NO_TOPIC, "no topic \"%.260s\" with a partition %d", topic, partition);
}

static void get_offsets(struct partition *p, struct broker_offsets *out) {
    out->start = log_start(p->log);
    out->high_watermark = log_read_end(p->log);
    out->end = log_end(p->log);
    out->stable = partition_stable(p, out->high_watermark);
}

enum err_code broker_offsets(struct broker *b, const char *topic, int32_t partition, struct broker_offsets *out, struct err *err) {
    struct partition *p = partition_find(b, topic, partition);
    if (p == NULL) return no_partition(topic, partition, err);
    get_offsets(p, out);
    partition_unref(p);
    return ERR_OK;
}

enum err_code broker_read(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, struct buf *out,
                          struct broker_offsets *offsets, struct err *err) {
    struct partition *p = partition_find(b, topic, partition);
    if (p == NULL) return no_partition(topic, partition, err);
    size_t before = out->n;
    // A failed sync leaves the partition offline: what was durable before can still be read.
    enum err_code code = log_read(p->log, offset, max_bytes, out, err);
    if (offsets != NULL) get_offsets(p, offsets);
    if (out->n > before) metric_add(M_LOG_BYTES_OUT, p->topic_name, (int64_t)(out->n - before));
    partition_unref(p);
    return code;
}

enum err_code broker_read_view(struct broker *b, const char *topic, int32_t partition, int64_t offset, size_t max_bytes, bool may_block,
                               struct log_view *out, struct broker_offsets *offsets, struct err *err) {
    struct partition *p = partition_find(b, topic, partition);
    if (p == NULL) return no_partition(topic, partition, err);
    enum err_code code = log_read_records(p->log, offset, max_bytes, may_block, out, err);
    if (offsets != NULL) get_offsets(p, offsets);
    if (out->n > 0) metric_add(M_LOG_BYTES_OUT, p->topic_name, (int64_t)out->n);
    if (out->ahead) partition_read_ahead(p, out->next);
    partition_unref(p);
    return code;
}

enum err_code broker_submit_read(struct broker *b, loop_fn *work, void *arg, struct loop *back, loop_fn *done, struct err *err) {
    return pool_submit_then(b->readers, work, arg, back, done, err);
}

enum err_code broker_offset_for_time(struct broker *b, const char *topic, int32_t partition, int64_t timestamp_ms, int64_t *offset,
                                     int64_t *found_ms, struct err *err) {
    struct partition *p = partition_find(b, topic, partition);
    if (p == NULL) return no_partition(topic, partition, err);
    enum err_code code = ERR_OK;
    *found_ms = -1;
    switch (timestamp_ms) {
    case BROKER_OFFSET_LATEST: *offset = log_read_end(p->log); break;
    case BROKER_OFFSET_EARLIEST: *offset = log_start(p->log); break;
    case BROKER_OFFSET_MAX_TIMESTAMP: code = log_find_max_time(p->log, offset, found_ms, err); break;
    default: code = log_find_time(p->log, timestamp_ms, offset, found_ms, err);
    }
    partition_unref(p);
    return code;
}

// ---- appends from inside --------------------------------------------------------------------------------------------

struct inside {
    struct broker_produce produce;
    struct partition *partition;
    struct loop_event event;
};

static void inside_done(struct broker_produce *r) { loop_event_set(&((struct inside *)r->arg)->event); }

static void inside_start(void *arg) {
    struct inside *x = arg;
    partition_produce(x->partition, &x->produce);
}

static void build(struct buf *out, const struct broker_record *records, size_t n, int64_t now) {
    struct batch_builder bb;
    VEC(struct batch_header) headers = {0};
    int64_t first = records[0].timestamp_ms < 0 ? now : records[0].timestamp_ms;
    batch_begin(&bb, out, first);
    for (size_t i = 0; i < n; i++) {
        const struct broker_record *r = &records[i];
        headers.n = 0;
        for (size_t k = 0; k < r->n_headers; k++) vec_add(&headers, ((struct batch_header){r->headers[k].key, r->headers[k].value, false}));
        batch_add(&bb, r->timestamp_ms < 0 ? now : r->timestamp_ms, r->key, r->key_null, r->value, r->value_null, headers.p, headers.n);
    }
    batch_end(&bb);
    vec_fini(&headers);
}

enum err_code broker_append(struct broker *b, const char *topic, int32_t partition, const struct broker_record *records, size_t n,
                            int64_t *base_offset, struct err *err) {
    assert(n > 0 && loop_current() == NULL); // it blocks
    struct inside x = {0};
    x.partition = partition_find(b, topic, partition);
    if (x.partition == NULL) return no_partition(topic, partition, err);
    struct buf bytes;
    buf_init(&bytes, BATCH_SIZE_MAX);
    build(&bytes, records, n, sys_now_us(b->sys) / 1000);
    enum err_code code = ERR_OK;
    if (bytes.failed) {
        code = err_set(err, ERR_TOO_LARGE, "%zu records in one append are larger than 1 GiB", n);
        partition_unref(x.partition);
    } else {
        x.produce = (struct broker_produce){.topic = topic, .partition = partition, .batches = buf_str(&bytes), .wait_durable = true};
        x.produce.done = inside_done;
        x.produce.back = x.partition->owner;
        x.produce.arg = &x;
        loop_event_init(&x.event);
        loop_post(x.partition->owner, inside_start, &x);
        loop_event_wait(&x.event);
        loop_event_fini(&x.event);
        if (base_offset != NULL) *base_offset = x.produce.base_offset;
        if (x.produce.kafka_error != 0) {
            code = broker_produce_code(&x.produce);
            err_set(err, code, "topic %s, partition %d: %s", topic, partition, x.produce.message);
        }
    }
    buf_fini(&bytes);
    return code;
}

// ---- Kafka's default partitioner ------------------------------------------------------------------------------------

static uint32_t murmur2(struct str s) {
    const uint32_t m = 0x5bd1e995;
    const uint8_t *p = (const uint8_t *)s.p;
    uint32_t h = 0x9747b28cu ^ (uint32_t)s.n;
    size_t n = s.n;
    for (; n >= 4; n -= 4, p += 4) {
        uint32_t k = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        k *= m;
        k ^= k >> 24;
        k *= m;
        h *= m;
        h ^= k;
    }
    if (n >= 3) h ^= (uint32_t)p[2] << 16;
    if (n >= 2) h ^= (uint32_t)p[1] << 8;
    if (n >= 1) {
        h ^= p[0];
        h *= m;
    }
    h ^= h >> 13;
    h *= m;
    return h ^ h >> 15;
}

int32_t broker_partition_of(struct str key, int32_t partitions) {
    assert(partitions > 0);
    return (int32_t)((murmur2(key) & 0x7fffffff) % (uint32_t)partitions);
}
