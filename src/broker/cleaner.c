// SPDX-License-Identifier: Apache-2.0
// The log cleaner: compacts the partitions of compacted topics, the filthiest first, one at a time, beside everything else.
//
// Every log.cleaner.backoff.ms a worker looks at all compacted partitions; one whose share of new bytes is above min.cleanable.dirty.ratio, or whose
// oldest new record is older than max.compaction.lag.ms, is compacted in steps of 1 MiB; after each the pool's other jobs have their turn
// (and with log.cleaner.io.max.bytes.per.second there is a pause). Memory: log.cleaner.dedupe.buffer.size. A partition whose bytes are
// damaged is left alone until the server is started again, as in Kafka.
// Who has the turn (`running`) goes worker -> owner's loop -> worker ... -> owner's loop -> worker; broker_close waits until nobody has it.
#include <assert.h>

#include "base/log.h"
#include "base/metrics.h"
#include "broker/cleaner.h"
#include "log/compact.h"

enum { STEP_BYTES = 1 << 20, FRUITLESS_PAUSE_US = 60 * 1000 * 1000 };

struct cleaner {
    struct broker *broker;
    struct sys_mutex mutex;
    struct sys_cond idle;
    bool running, stopping; // under the mutex
    int64_t next_us;        // not before this time; under the mutex
    // of the one that is being compacted
    struct partition *partition; // with a reference
    struct log_compaction *compaction;
    int64_t started_us, first_dirty;
    double bytes_per_second;
    uint64_t step_bytes;
    struct loop_timer pause; // on the owner's loop
    struct err err;
    enum err_code code;
};

struct cleaner *cleaner_new(struct broker *b) {
    struct cleaner *c = MEM_NEW(struct cleaner);
    c->broker = b;
    sys_mutex_init(&c->mutex);
    sys_cond_init(&c->idle);
    return c;
}

void cleaner_free(struct cleaner *c) {
    if (c == NULL) return;
    assert(!c->running);
    sys_mutex_fini(&c->mutex);
    sys_cond_fini(&c->idle);
    mem_free(c);
}

static bool is_stopping(struct cleaner *c) {
    sys_mutex_lock(&c->mutex);
    bool stopping = c->stopping;
    sys_mutex_unlock(&c->mutex);
    return stopping;
}

static void give_turn_back(struct cleaner *c, int64_t pause_us) {
    sys_mutex_lock(&c->mutex);
    c->running = false;
    c->next_us = sys_mono_us(c->broker->sys) + pause_us;
    sys_cond_broadcast(&c->idle);
    sys_mutex_unlock(&c->mutex);
}

static int64_t backoff_us(const struct cleaner *c) { return configs_broker_i64(c->broker, "log.cleaner.backoff.ms", 15000) * 1000; }

// ---- which one ------------------------------------------------------------------------------------------------------

// How much it wants it: 0 = not at all, above 1 = its records are too old to wait.
static double urgency(struct partition *p, int64_t now) {
    if (!p->compact || p->deleted || p->closing || p->uncleanable || sys_mono_us(p->broker->sys) < p->clean_not_before_us) return 0;
    struct log_dirt d;
    int64_t max_lag = p->max_compaction_lag_ms;
    log_dirt(p->log, now, p->min_compaction_lag_ms, max_lag < INT64_MAX, &d);
    if (d.dirty_bytes == 0) return 0;
    double ratio = (double)d.dirty_bytes / (double)(d.dirty_bytes + d.clean_bytes);
    if (max_lag < INT64_MAX && d.earliest_ms > 0 && now - d.earliest_ms > max_lag) return 1 + ratio;
    return ratio > (double)p->min_dirty_ppm / 1e6 ? ratio : 0;
}

static void begin_on_owner(void *arg);

static void choose_work(void *arg) { // on a worker; has the turn
    struct cleaner *c = arg;
    struct partition **all, *best = NULL;
    size_t n;
    double most = 0;
    int64_t now = sys_now_us(c->broker->sys) / 1000;
    partitions_all(c->broker, &all, &n);
    for (size_t i = 0; i < n; i++) {
        double u = is_stopping(c) ? 0 : urgency(all[i], now);
        struct partition *loser = u > most ? best : all[i];
        if (u > most) {
            most = u;
            best = all[i];
        }
        if (loser != NULL) partition_unref(loser);
    }
    mem_free(all);
    if (best == NULL) {
        give_turn_back(c, backoff_us(c));
        return;
    }
    c->partition = best;
    loop_post(best->owner, begin_on_owner, c);
}

// ---- one compaction -------------------------------------------------------------------------------------------------

static void step_work(void *arg);

static void end_on_owner(void *arg) {
    struct cleaner *c = arg;
    struct partition *p = c->partition;
    c->partition = NULL;
    p->cleaning = false;
    partition_check_closed(p);
    partition_unref(p);
    if (!is_stopping(c) && pool_submit(c->broker->pool, choose_work, c, NULL) == ERR_OK) return; // the next one
    give_turn_back(c, backoff_us(c));
}

static void submit_step(void *arg) { // owner
    struct cleaner *c = arg;
    if (pool_submit(c->broker->pool, step_work, c, NULL) != ERR_OK) loop_timer_set(c->partition->owner, &c->pause, 10000, submit_step, c);
}

static void pause_on_owner(void *arg) {
    struct cleaner *c = arg;
    int64_t us = (int64_t)((double)c->step_bytes / c->bytes_per_second * 1e6);
    loop_timer_set(c->partition->owner, &c->pause, us, submit_step, c);
}

static void report(struct cleaner *c, const struct log_compaction_stats *s) {
    struct partition *p = c->partition;
    metric_add(M_LOG_COMPACTIONS, NULL, 1);
    metric_add(M_LOG_COMPACTION_BYTES_IN, NULL, (int64_t)s->bytes_read);
    metric_add(M_LOG_COMPACTION_BYTES_OUT, NULL, (int64_t)s->bytes_written);
    if (c->code == ERR_OK) {
        log_info("broker", "compacted", "topic", p->topic_name, "partition", log_i64(p->index), "records", log_i64(s->records_read), "kept",
                 log_i64(s->records_kept), "bytes written", log_i64((int64_t)s->bytes_written), "ms",
                 log_i64((sys_mono_us(c->broker->sys) - c->started_us) / 1000), NULL);
        return;
    }
    if (c->code == ERR_CORRUPT || c->code == ERR_TOO_LARGE || c->code == ERR_NOT_SUPPORTED) p->uncleanable = true;
    if (c->code != ERR_CLOSED)
        log_warn("broker", p->uncleanable ? "cannot be compacted; it is left alone until the next start" : "not compacted, later again", "topic",
                 p->topic_name, "partition", log_i64(p->index), "error", c->err.msg, NULL);
}

static int64_t first_dirty(struct partition *p) {
    struct log_dirt d;
    log_dirt(p->log, 0, 0, false, &d);
    return d.first_dirty;
}

static void step_work(void *arg) { // on a worker; has the turn
    struct cleaner *c = arg;
    struct partition *p = c->partition;
    bool more = false, stop = p->deleted || p->closing || is_stopping(c);
    c->code = stop ? ERR_CLOSED : log_compaction_step(c->compaction, &more, &c->err);
    if (c->code == ERR_OK && more) {
        if (c->bytes_per_second > 0) loop_post(p->owner, pause_on_owner, c);
        else if (pool_submit(c->broker->pool, step_work, c, NULL) != ERR_OK) loop_post(p->owner, submit_step, c);
        return;
    }
    struct log_compaction_stats stats;
    log_compaction_end(c->compaction, &stats);
    c->compaction = NULL;
    // A full disk, or a transaction that nobody ends: others come first, and this one later.
    int64_t pause = c->code == ERR_OK ? backoff_us(c) : FRUITLESS_PAUSE_US;
    if (first_dirty(p) <= c->first_dirty) p->clean_not_before_us = sys_mono_us(c->broker->sys) + pause;
    report(c, &stats);
    loop_post(p->owner, end_on_owner, c);
}

static void begin_on_owner(void *arg) {
    struct cleaner *c = arg;
    struct partition *p = c->partition;
    struct broker *b = c->broker;
    double rate = configs_broker_double(b, "log.cleaner.io.max.bytes.per.second", 0);
    c->bytes_per_second = rate > 1e12 ? 0 : rate;
    c->step_bytes = c->bytes_per_second > 0 && c->bytes_per_second < STEP_BYTES ? (uint64_t)c->bytes_per_second + 1 : STEP_BYTES;
    c->started_us = sys_mono_us(b->sys);
    err_clear(&c->err);
    c->code = ERR_CLOSED;
    p->cleaning = true;
    if (p->deleted || p->closing) {
        end_on_owner(c);
        return;
    }
    struct log_compaction_config config = {.now_ms = sys_now_us(b->sys) / 1000, .step_bytes = c->step_bytes};
    config.min_lag_ms = p->min_compaction_lag_ms;
    config.delete_retention_ms = p->delete_retention_ms;
    config.map_bytes = (size_t)configs_broker_i64(b, "log.cleaner.dedupe.buffer.size", 128 << 20);
    struct log_producer_last *producers = producers_last(&p->producers, &config.n_producers);
    config.producers = producers;
    c->first_dirty = first_dirty(p);
    c->compaction = log_compaction_begin(p->log, &config);
    mem_free(producers);
    submit_step(c);
}

// ---- the turn -------------------------------------------------------------------------------------------------------

void cleaner_check(struct cleaner *c, bool now) {
    if (strcmp(configs_broker_text(c->broker, "log.cleaner.enable"), "true") != 0) return;
    sys_mutex_lock(&c->mutex);
    bool start = !c->running && !c->stopping && (now || sys_mono_us(c->broker->sys) >= c->next_us);
    c->running = c->running || start;
    sys_mutex_unlock(&c->mutex);
    if (start && pool_submit(c->broker->pool, choose_work, c, NULL) != ERR_OK) give_turn_back(c, 0);
}

void cleaner_stop(struct cleaner *c) {
    sys_mutex_lock(&c->mutex);
    c->stopping = true;
    while (c->running) sys_cond_wait(&c->idle, &c->mutex);
    sys_mutex_unlock(&c->mutex);
}
