// SPDX-License-Identifier: Apache-2.0
// One partition on its loop: check, append, group-committed sync, answers, back-pressure; and the waits of long polls.
//
// A produce is checked and written at once (one pwrite) and then waits in `pending`; one sync runs at a time on the pool, and what is written
// meanwhile gathers for the next; the worker that syncs answers what became durable, straight to the loops that asked.
// Bytes that are not durable count against produce_bytes_max over all partitions; above it produces wait unwritten
// in `stalled` and are taken up again when any sync has finished. So does one that takes long to check, which a worker does, and what
// comes behind it: produces of a partition stay in order. A failed sync fails all that wait, and all that comes.
#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metrics.h"
#include "broker/internal.h"
#include "broker/validate.h"

struct produce_own { // lives in broker_produce.self_
    struct partition *partition; // a reference
    int64_t need;                // durable end that answers it
    enum err_code code;          // what broker_append gives its caller
    bool verified;               // the transaction coordinator knows of it
    bool resumed;                // it waited for the coordinator: what is stalled came after it
    bool checking;               // a worker looks at its bytes; the owner's
    struct checked *checked;     // found good before; NULL = not looked at
};
static_assert(sizeof(struct produce_own) <= sizeof(((struct broker_produce *)0)->self_), "broker_produce.self_ is too small");

static struct produce_own *own_of(struct broker_produce *r) { return (struct produce_own *)(void *)r->self_; }

struct wait_token { // outlives its broker_wait, so that an answer under way can be taken back
    struct broker_wait *wait; // touched on wait->back only; NULL = removed
    struct partition *partition; // with a reference; NULL = there is no such partition
    bool committed;
    bool queued;                 // in the partition's list; under its wait_mutex
    struct loop *back;
    int64_t offset;
    struct wait_token *prev, *next;
};

// ---- life -----------------------------------------------------------------------------------------------------------

static void state_save(void *arg, struct buf *out) { producers_save(&((struct partition *)arg)->producers, out); }
static int64_t clock_ms(const struct partition *p) { return sys_now_us(p->broker->sys) / 1000; }
static bool state_load(void *arg, struct str s) {
    struct partition *p = arg;
    return producers_load(&p->producers, s, clock_ms(p));
}
static void state_batch(void *arg, const struct batch *b) {
    struct partition *p = arg;
    producers_note(&p->producers, b, clock_ms(p));
}

// Found out before the marker ends the transaction in `producers`.
static bool state_aborted(void *arg, const struct batch *b, struct log_aborted *out) {
    struct partition *p = arg;
    struct txn_marker m;
    int64_t first = producers_txn_first(&p->producers, b->producer_id);
    if (first < 0 || !txn_marker_read(b, &m) || m.commit) return false;
    // While the log is being opened nobody else is there, and `unstable` is not filled yet.
    int64_t open = p->log == NULL ? producers_first_open(&p->producers, b->producer_id) : unstable_first_open(&p->unstable, first);
    int64_t last = batch_last_offset(b);
    *out = (struct log_aborted){b->producer_id, first, last, open < last + 1 ? open : last + 1};
    return true;
}

void partition_settings(struct partition *p, const struct topic_setting_values *v) {
    p->compact = v->compact;
    p->delete_old = v->delete_old;
    p->append_time = v->append_time;
    p->max_message_bytes = v->max_message_bytes;
    p->max_decompressed_bytes = v->max_decompressed_bytes;
    p->flush_messages = v->flush_messages;
    p->flush_ms = v->flush_ms;
    p->compression = v->compression;
    p->compression_level = v->compression_level;
    p->segment_bytes = v->log.segment_bytes;
    p->timestamp_after_max_ms = v->timestamp_after_max_ms;
    p->timestamp_before_max_ms = v->timestamp_before_max_ms;
    p->min_compaction_lag_ms = v->min_compaction_lag_ms;
    p->max_compaction_lag_ms = v->max_compaction_lag_ms;
    p->delete_retention_ms = v->delete_retention_ms;
    p->min_dirty_ppm = v->min_dirty_ppm;
    if (p->log != NULL) log_configure(p->log, &v->log);
}

static void count_partition(struct broker *b, int by) {
    sys_mutex_lock(&b->alive_mutex);
    b->alive += by;
    if (b->alive == 0) sys_cond_broadcast(&b->all_gone); // inside: the broker may go as soon as the mutex is free
    sys_mutex_unlock(&b->alive_mutex);
}

void partitions_wait_gone(struct broker *b) {
    sys_mutex_lock(&b->alive_mutex);
    while (b->alive > 0) sys_cond_wait(&b->all_gone, &b->alive_mutex);
    sys_mutex_unlock(&b->alive_mutex);
}

static void partition_free(struct partition *p) {
    struct broker *b = p->broker;
    producers_fini(&p->producers);
    unstable_fini(&p->unstable);
    sys_mutex_fini(&p->wait_mutex);
    sys_mutex_fini(&p->sync_mutex);
    mem_free(p->topic_name);
    mem_free(p);
    count_partition(b, -1);
}

static void find_open(struct partition *p) { // transactions that the last process left
    size_t n = 0;
    int64_t *firsts = producers_all_open(&p->producers, &n);
    for (size_t i = 0; i < n; i++) unstable_begin(&p->unstable, firsts[i]);
    mem_free(firsts);
}

struct partition *partition_open(struct broker *b, const char *topic, int32_t index, const uint8_t id[16],
                                 const struct topic_setting_values *v, bool clean, struct err *err) {
    struct partition *p = MEM_NEW(struct partition);
    p->broker = b;
    count_partition(b, 1);
    p->topic_name = mem_strdup(topic);
    p->index = index;
    atomic_init(&p->refs, 1);
    p->owner = b->loops[((size_t)id[0] + (size_t)id[1] * 256 + (size_t)index) % b->n_loops];
    producers_init(&p->producers);
    unstable_init(&p->unstable);
    sys_mutex_init(&p->sync_mutex);
    sys_mutex_init(&p->wait_mutex);
    partition_settings(p, v);
    char *dir = mem_printf("%s/%s-%d", b->dir, topic, index);
    struct log_state state = {p, state_save, state_load, state_batch, state_aborted};
    p->log = log_open_cached(b->sys, b->cache, dir, &v->log, &state, clean, err);
    mem_free(dir);
    if (p->log != NULL) {
        find_open(p);
        return p;
    }
    partition_free(p);
    return NULL;
}

void partition_ref(struct partition *p) { atomic_fetch_add(&p->refs, 1); }

void partition_unref(struct partition *p) {
    int before = atomic_fetch_sub(&p->refs, 1);
    assert(before > 0);
    if (before != 1) return;
    if (p->log != NULL) log_discard(p->log); // deleted, or closed before
    partition_free(p);
}

// ---- answers --------------------------------------------------------------------------------------------------------

static void answer_on_back(void *arg) {
    struct broker_produce *r = arg;
    r->done(r);
}

static void free_check(struct checked *c) {
    if (c == NULL) return;
    produce_checked_fini(c);
    mem_free(c);
}

static void answer(struct broker_produce *r, bool may_call) {
    struct partition *p = own_of(r)->partition;
    free_check(own_of(r)->checked);
    own_of(r)->checked = NULL;
    bool here = may_call && r->back == p->owner;
    own_of(r)->partition = NULL;
    if (here) r->done(r);
    else loop_post(r->back, answer_on_back, r);
    partition_unref(p);
}

static void refuse(struct broker_produce *r, int kafka_error, enum err_code code, const char *text, bool may_call) {
    r->kafka_error = kafka_error;
    own_of(r)->code = code;
    r->base_offset = -1;
    (void)snprintf(r->message, sizeof r->message, "%.*s", (int)sizeof r->message - 1, text);
    answer(r, may_call);
}

static void push(struct broker_produce **first, struct broker_produce **last, struct broker_produce *r) {
    r->next_ = NULL;
    if (*first == NULL) *first = r;
    else (*last)->next_ = r;
    *last = r;
}

static struct broker_produce *pop(struct broker_produce **first) {
    struct broker_produce *r = *first;
    *first = r->next_;
    return r;
}

// ---- produce --------------------------------------------------------------------------------------------------------

static void sync_start(struct partition *p);

// flush.messages and flush.ms of the topic: acknowledged and seen when it is written, synced later.
static bool is_relaxed(const struct partition *p) { return p->flush_messages > 1; }
static int64_t acknowledged_end(struct partition *p) { return is_relaxed(p) ? log_read_end(p->log) : log_durable_end(p->log); }
static bool wants_sync(struct partition *p) {
    return !is_relaxed(p) || p->flush_due || log_end(p->log) - log_durable_end(p->log) >= p->flush_messages;
}

static void flush_now(void *arg) { // owner; has a reference
    struct partition *p = arg;
    p->flush_due = true;
    sync_start(p);
    partition_unref(p);
}

static void flush_later(struct partition *p) {
    if (!is_relaxed(p) || p->flush_ms == INT64_MAX || p->flush.heap_index != 0 || p->closing) return;
    int64_t max = INT64_MAX / 4000;
    partition_ref(p);
    loop_timer_set(p->owner, &p->flush, (p->flush_ms < max ? p->flush_ms : max) * 1000, flush_now, p);
}

static void flush_cancel(struct partition *p) {
    if (p->flush.heap_index == 0) return;
    loop_timer_cancel(p->owner, &p->flush);
    partition_unref(p);
}

static bool produce_now(struct partition *p, struct broker_produce *r, bool may_call);

static void produce_appended(struct partition *p, struct broker_produce *r, int64_t base, int64_t last, bool may_call) {
    r->kafka_error = 0;
    r->message[0] = '\0';
    r->base_offset = base;
    r->log_start_offset = log_start(p->log);
    own_of(r)->need = last + 1;
    // Asked under the mutex: a sync publishes first and takes what waits second, so nothing slips in between and waits for the next one.
    sys_mutex_lock(&p->sync_mutex);
    bool waits = r->wait_durable && acknowledged_end(p) < last + 1;
    if (waits) push(&p->pending_first, &p->pending_last, r);
    sys_mutex_unlock(&p->sync_mutex);
    if (!waits) answer(r, may_call);
}

static bool is_full(const struct broker *b) { return atomic_load(&b->undurable_bytes) >= b->config.produce_bytes_max; }

static void stall_register(struct partition *p) {
    struct broker *b = p->broker;
    if (p->stall_registered) return;
    p->stall_registered = true;
    partition_ref(p);
    sys_mutex_lock(&b->stalled_mutex);
    vec_add(&b->stalled, p);
    sys_mutex_unlock(&b->stalled_mutex);
    // The sync that made room may have ended between the check and now: then nobody else would come.
    if (!is_full(b)) broker_wake_stalled(b);
}

static void bytes_gone(struct broker *b, uint64_t bytes) { // durable, or given up
    if (atomic_fetch_sub(&b->undurable_bytes, bytes) - bytes < b->config.produce_bytes_max) broker_wake_stalled(b);
}

// Takes up what is stalled, as far as it can be: the check of the first one or the room for it lets the others wait. Some at a time: there they are
// looked at as well.
static void take_stalled(struct partition *p) {
    enum { SOME = 32 };
    for (int n = 0; p->stalled_first != NULL && !own_of(p->stalled_first)->checking; n++) {
        if (!p->deleted && p->check_retry.heap_index != 0) break;
        if (!p->deleted && (n == SOME || is_full(p->broker))) {
            stall_register(p);
            break;
        }
        (void)produce_now(p, pop(&p->stalled_first), true);
    }
    sync_start(p);
}

static void unstall(void *arg) { // owner; takes over a reference
    struct partition *p = arg;
    p->stall_registered = false;
    take_stalled(p);
    partition_unref(p);
}

// Behind those that were resumed before it, in front of all others.
static void stall_resumed(struct partition *p, struct broker_produce *r) {
    struct broker_produce **at = &p->stalled_first;
    while (*at != NULL && own_of(*at)->resumed) at = &(*at)->next_;
    r->next_ = *at;
    *at = r;
    if (r->next_ == NULL) p->stalled_last = r;
}

// ---- checks that take long ------------------------------------------------------------------------------------------

static void check_work(void *arg) { // on a worker
    struct broker_produce *r = arg;
    struct checked *c = own_of(r)->checked;
    (void)produce_check(own_of(r)->partition, r, false, c);
}

static void check_done(void *arg) { // owner; takes over a reference
    struct broker_produce *r = arg;
    struct partition *p = own_of(r)->partition;
    own_of(r)->checking = false;
    take_stalled(p);
    partition_unref(p);
}

static void check_again(void *arg) { // owner; takes over a reference
    struct partition *p = arg;
    take_stalled(p);
    partition_unref(p);
}

// The workers' queue is full: soon again.
static void check_wait(struct partition *p) {
    if (p->check_retry.heap_index != 0) return;
    partition_ref(p);
    loop_timer_set(p->owner, &p->check_retry, 1000, check_again, p);
}

// It stays in `stalled`, where it is, until it was checked; false = the workers' queue is full.
static bool check_later(struct partition *p, struct broker_produce *r) {
    own_of(r)->checked = MEM_NEW(struct checked);
    own_of(r)->checking = true;
    partition_ref(p);
    if (pool_submit_then(p->broker->checkers, check_work, r, p->owner, check_done, NULL) == ERR_OK) return true;
    own_of(r)->checking = false;
    mem_free(own_of(r)->checked);
    own_of(r)->checked = NULL;
    partition_unref(p);
    return false;
}

void broker_wake_stalled(struct broker *b) {
    enum { SOME = 64 };
    struct partition *some[SOME];
    for (size_t n = SOME; n == SOME;) {
        sys_mutex_lock(&b->stalled_mutex);
        for (n = 0; n < SOME && b->stalled.n > 0; n++) some[n] = b->stalled.p[--b->stalled.n];
        sys_mutex_unlock(&b->stalled_mutex);
        for (size_t i = 0; i < n; i++) loop_post(some[i]->owner, unstall, some[i]); // outside: a worker may have to wait for room there
    }
}

static enum producer_verdict verdict_on(struct partition *p, struct broker_produce *r, const struct batch *b, int64_t *base, int64_t *last) {
    struct txn_marker m;
    switch (r->origin) {
    case BROKER_FROM_COORDINATOR: return PRODUCER_APPEND;
    case BROKER_MARKER:
    case BROKER_MARKER_NEWER:
        if (!txn_marker_read(b, &m)) return PRODUCER_FENCED;
        return producers_check_marker(&p->producers, b, &m, r->origin == BROKER_MARKER_NEWER);
    case BROKER_FROM_CLIENT: break;
    }
    return producers_check(&p->producers, b, own_of(r)->verified, base, last);
}

// For when the coordinator will have answered.
static void keep_check(struct broker_produce *r, struct checked **c) {
    own_of(r)->checked = *c;
    *c = NULL;
}

// Answers repeats and refusals of idempotent producers; false = it is to be appended.
static bool answer_sequence(struct partition *p, struct broker_produce *r, struct checked **c, bool may_call) {
    const struct batch *b = &(*c)->first;
    int64_t base = -1, last = -1;
    if (b->producer_id < 0) return false;
    switch (verdict_on(p, r, b, &base, &last)) {
    case PRODUCER_APPEND: return false;
    case PRODUCER_UNVERIFIED:
        keep_check(r, c);
        verify_start(p, r, b);
        return true;
    case PRODUCER_IN_TXN:
        refuse(r, KAFKA_INVALID_TXN_STATE, ERR_CONFLICT, "this producer has a transaction open here: only transactional writes", may_call);
        return true;
    case PRODUCER_COORDINATOR_OLD:
        refuse(r, KAFKA_TRANSACTION_COORDINATOR_FENCED, ERR_CONFLICT, "a newer transaction coordinator has written", may_call);
        return true;
    case PRODUCER_REPEAT: // written before; when its sync failed there will be no other one
        if (log_offline(p->log) && acknowledged_end(p) <= last)
            refuse(r, KAFKA_STORAGE_ERROR, ERR_OFFLINE, "the partition is offline after a failed sync", may_call);
        else produce_appended(p, r, base, last, may_call);
        return true;
    case PRODUCER_FENCED:
        refuse(r, KAFKA_INVALID_PRODUCER_EPOCH, ERR_CONFLICT, "a newer epoch of this producer has written", may_call);
        return true;
    case PRODUCER_GAP:
        refuse(r, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER, ERR_CONFLICT, "sequence number is not the next one of this producer", may_call);
        return true;
    }
    return false;
}

// Says where a transaction begins or ends, before its batch can become durable: readers of committed data go by it. After the append failed,
// `undo` takes it back.
static void bound_stable(struct partition *p, const struct batch *b, bool undo) {
    int64_t at = log_end(p->log);
    if (b->producer_id < 0 || (b->attributes & BATCH_ATTR_TRANSACTION) == 0) return;
    int64_t first = producers_txn_first(&p->producers, b->producer_id);
    if ((b->attributes & BATCH_ATTR_CONTROL) != 0) {
        if (first >= 0) unstable_end(&p->unstable, first, undo ? INT64_MAX : at);
    } else if (first < 0) {
        if (undo) unstable_cancel(&p->unstable, at);
        else unstable_begin(&p->unstable, at);
    }
}

// True when bytes were written. Takes *kept when the produce waits for the coordinator.
static bool append_checked(struct partition *p, struct broker_produce *r, struct checked **kept, bool may_call) {
    struct checked *c = *kept;
    r->log_append_time_ms = c->append_time;
    if (p->verifying != NULL && r->origin == BROKER_FROM_CLIENT && verify_joins(p, r, c->first.producer_id)) {
        keep_check(r, kept);
        return false;
    }
    if (answer_sequence(p, r, kept, may_call)) return false;
    bound_stable(p, &c->first, false);
    struct log_appended a;
    struct err err = {0};
    enum err_code code = log_append(p->log, c->batches, BROKER_LEADER_EPOCH, &a, &err);
    if (code != ERR_OK) {
        bound_stable(p, &c->first, true);
        if (code == ERR_NO_SPACE) log_warn("broker", "not written: the disk is full", "topic", p->topic_name, "error", err.msg, NULL);
        refuse(r, code == ERR_TOO_LARGE ? KAFKA_MESSAGE_TOO_LARGE : KAFKA_STORAGE_ERROR, code, err.msg, may_call);
        return false;
    }
    if (c->has_producer) {
        c->first.base_offset = a.base_offset;
        producers_note(&p->producers, &c->first, clock_ms(p));
    }
    sys_mutex_lock(&p->sync_mutex);
    p->dirty_bytes += a.bytes;
    sys_mutex_unlock(&p->sync_mutex);
    atomic_fetch_add(&p->broker->undurable_bytes, a.bytes);
    metric_add(M_LOG_BYTES_IN, p->topic_name, (int64_t)a.bytes);
    metric_add(M_LOG_RECORDS_IN, p->topic_name, c->records);
    flush_later(p);
    produce_appended(p, r, a.base_offset, a.last_offset, may_call);
    return true;
}

// Looks at it now, or has a worker do so, as soon as one can: then it is the first in `stalled`, and the result is NULL.
static struct checked *check_now(struct partition *p, struct broker_produce *r) {
    if (!produce_check_is_long(p, r)) {
        struct checked *c = MEM_NEW(struct checked);
        if (produce_check(p, r, true, c) != CHECK_LONGER) return c;
        free_check(c);
    }
    if (!check_later(p, r)) check_wait(p);
    r->next_ = p->stalled_first;
    p->stalled_first = r;
    if (r->next_ == NULL) p->stalled_last = r;
    return NULL;
}

static bool produce_now(struct partition *p, struct broker_produce *r, bool may_call) {
    if (p->deleted) {
        refuse(r, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, ERR_NO_TOPIC, "the topic was deleted", may_call);
        return false;
    }
    struct checked *c = own_of(r)->checked != NULL ? own_of(r)->checked : check_now(p, r);
    if (c == NULL) return false;
    own_of(r)->checked = NULL; // ours: `r` may be answered and gone before the end
    bool written = false;
    if (c->end == CHECK_GOOD) {
        written = append_checked(p, r, &c, may_call);
    } else {
        bool large = c->kafka_error == KAFKA_MESSAGE_TOO_LARGE || c->kafka_error == KAFKA_RECORD_LIST_TOO_LARGE;
        refuse(r, c->kafka_error, large ? ERR_TOO_LARGE : ERR_INVALID, c->why, may_call);
    }
    free_check(c);
    return written;
}

void partition_produce(struct partition *p, struct broker_produce *r) {
    *own_of(r) = (struct produce_own){.partition = p, .code = ERR_OK};
    r->log_append_time_ms = -1;
    r->log_start_offset = -1;
    bool first = p->stalled_first == NULL, full = is_full(p->broker);
    if (p->deleted || (first && !full)) {
        partition_ref(p); // the one that `r` has goes with the answer
        if (produce_now(p, r, false)) sync_start(p);
        partition_unref(p);
        return;
    }
    push(&p->stalled_first, &p->stalled_last, r);
    if (first) stall_register(p);
    else if (!full && produce_check_is_long(p, r)) (void)check_later(p, r); // beside the one in front
}

void partition_resume(struct partition *p, struct broker_produce *r, bool verified) {
    own_of(r)->verified = verified;
    own_of(r)->resumed = true;
    bool behind = p->stalled_first != NULL && own_of(p->stalled_first)->resumed;
    if (p->deleted || (!behind && !is_full(p->broker))) {
        (void)produce_now(p, r, true);
        return;
    }
    stall_resumed(p, r);
    stall_register(p);
}

void partition_refuse(struct broker_produce *r, int kafka_error, const char *text) { refuse(r, kafka_error, ERR_CONFLICT, text, true); }
void partition_resumed(struct partition *p) { sync_start(p); }

static void produce_on_owner(void *arg) {
    struct broker_produce *r = arg;
    partition_produce(own_of(r)->partition, r);
}

void broker_produce(struct broker *b, struct broker_produce *r) {
    struct partition *p = partition_find(b, r->topic, r->partition);
    if (p == NULL) {
        r->kafka_error = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        own_of(r)->code = ERR_NO_TOPIC;
        r->base_offset = r->log_append_time_ms = r->log_start_offset = -1;
        (void)snprintf(r->message, sizeof r->message, "no such topic or partition");
        loop_post(r->back, answer_on_back, r);
        return;
    }
    own_of(r)->partition = p;
    // A marker always goes through the queue: what the coordinator let in before it is in there too.
    bool marker = r->origin == BROKER_MARKER || r->origin == BROKER_MARKER_NEWER;
    if (loop_current() == p->owner && !marker) partition_produce(p, r);
    else loop_post(p->owner, produce_on_owner, r);
}

enum err_code broker_produce_code(struct broker_produce *r) { return own_of(r)->code; }

// ---- sync -----------------------------------------------------------------------------------------------------------

void partition_check_closed(struct partition *p) {
    sys_mutex_lock(&p->sync_mutex);
    bool running = p->sync_running;
    sys_mutex_unlock(&p->sync_mutex);
    if (!p->closing || running || p->maintenance_running || p->cleaning || p->closed == NULL) return;
    struct loop_event *e = p->closed;
    p->closed = NULL;
    loop_event_set(e);
}

// All that waits, or what became durable up to `end`.
static struct broker_produce *take_pending(struct partition *p, int64_t end) {
    struct broker_produce *first = NULL, *last = NULL;
    sys_mutex_lock(&p->sync_mutex);
    while (p->pending_first != NULL && own_of(p->pending_first)->need <= end) push(&first, &last, pop(&p->pending_first));
    sys_mutex_unlock(&p->sync_mutex);
    return first;
}

static void forget_bytes(struct partition *p) {
    sys_mutex_lock(&p->sync_mutex);
    uint64_t bytes = p->dirty_bytes + p->syncing_bytes;
    p->dirty_bytes = p->syncing_bytes = 0;
    sys_mutex_unlock(&p->sync_mutex);
    bytes_gone(p->broker, bytes);
}

// There will be no further sync: nothing that waits for one can be acknowledged.
static void fail_pending(struct partition *p, enum err_code code, const char *why, bool may_call) {
    forget_bytes(p);
    for (struct broker_produce *r = take_pending(p, INT64_MAX); r != NULL;) refuse(pop(&r), KAFKA_STORAGE_ERROR, code, why, may_call);
}

static void sync_failed(void *arg) { // owner; takes over the reference of the sync
    struct partition *p = arg;
    fail_pending(p, p->sync_code, p->sync_err.msg, true);
    partition_wait_fire(p, log_read_end(p->log));
    sys_mutex_lock(&p->sync_mutex);
    p->sync_running = false;
    sys_mutex_unlock(&p->sync_mutex);
    sync_start(p);
    partition_check_closed(p);
    partition_unref(p);
}

static void sync_ended(void *arg) { // owner; takes over the reference of the sync
    struct partition *p = arg;
    partition_check_closed(p);
    partition_unref(p);
}

static void tidy_now(void *partition);

enum sync_end { SYNC_ENDED, SYNC_AGAIN, SYNC_FAILED };

// One sync and its answers. SYNC_AGAIN: something was appended meanwhile, and the worker keeps the turn. After SYNC_ENDED another worker may
// have it, and the broker may close: only the reference is left.
static enum sync_end sync_once(struct partition *p) {
    struct broker *b = p->broker;
    sys_mutex_lock(&p->sync_mutex);
    uint64_t bytes = p->syncing_bytes = p->dirty_bytes;
    p->dirty_bytes = 0;
    sys_mutex_unlock(&p->sync_mutex);
    bool sync = wants_sync(p);
    if (sync) p->flush_due = false;
    p->sync_code = sync ? log_sync(p->log, &p->sync_err) : log_write(p->log, &p->sync_err);
    if (p->sync_code != ERR_OK) return SYNC_FAILED;
    if (sync && log_point_ready(p->log)) {
        partition_ref(p);
        loop_post(p->owner, tidy_now, p);
    }
    for (struct broker_produce *r = take_pending(p, acknowledged_end(p)); r != NULL;) answer(pop(&r), false);
    partition_wait_fire(p, log_read_end(p->log));
    bytes_gone(b, bytes);
    sys_mutex_lock(&p->sync_mutex);
    p->syncing_bytes = 0;
    // Bytes are counted after they were appended: they may be durable already, and then the next turn only takes them off.
    bool again = !p->deleted && (p->dirty_bytes > 0 || (wants_sync(p) && log_needs_sync(p->log)));
    p->sync_running = again;
    sys_mutex_unlock(&p->sync_mutex);
    return again ? SYNC_AGAIN : SYNC_ENDED;
}

static void sync_work(void *arg) { // on a worker; has the reference of the sync
    enum { TURNS = 16 }; // then other jobs of the pool have theirs
    struct partition *p = arg;
    enum sync_end end;
    for (int turn = 1; (end = sync_once(p)) == SYNC_AGAIN; turn++)
        if (turn >= TURNS && pool_submit(p->broker->pool, sync_work, p, NULL) == ERR_OK) return;
    if (end == SYNC_FAILED) loop_post(p->owner, sync_failed, p);
    else if (p->closing) loop_post(p->owner, sync_ended, p);
    else partition_unref(p);
}

static void sync_retry(void *arg) {
    struct partition *p = arg;
    sync_start(p);
    partition_unref(p);
}

static void sync_start(struct partition *p) {
    if (p->deleted || p->retry.heap_index != 0) return;
    bool offline = log_offline(p->log);
    sys_mutex_lock(&p->sync_mutex);
    bool start = !p->sync_running && !offline && (p->dirty_bytes > 0 || (wants_sync(p) && log_needs_sync(p->log))), fail = !p->sync_running && offline;
    p->sync_running = p->sync_running || start;
    sys_mutex_unlock(&p->sync_mutex);
    if (fail) fail_pending(p, ERR_OFFLINE, "the partition is offline after a failed write or sync", false);
    if (!start) return;
    partition_ref(p);
    if (pool_submit(p->broker->pool, sync_work, p, NULL) == ERR_OK) return;
    sys_mutex_lock(&p->sync_mutex);
    p->sync_running = false; // the pool's queue is full: soon again
    sys_mutex_unlock(&p->sync_mutex);
    loop_timer_set(p->owner, &p->retry, 1000, sync_retry, p);
}

// ---- reading ahead --------------------------------------------------------------------------------------------------

static void ahead_work(void *arg) { // on a reader; has a reference
    struct partition *p = arg;
    log_read_ahead(p->log, atomic_load(&p->ahead_at));
    atomic_store(&p->ahead_running, false);
    partition_unref(p);
}

void partition_read_ahead(struct partition *p, int64_t offset) {
    enum { BUSY = 64 }; // readers that wait come first
    if (p->closing || pool_waiting(p->broker->readers) > BUSY || atomic_exchange(&p->ahead_running, true)) return;
    atomic_store(&p->ahead_at, offset);
    partition_ref(p);
    if (pool_submit(p->broker->readers, ahead_work, p, NULL) == ERR_OK) return;
    atomic_store(&p->ahead_running, false);
    partition_unref(p);
}

// ---- upkeep ---------------------------------------------------------------------------------------------------------

static void maintain_work(void *arg) { // on a worker
    struct partition *p = arg;
    struct err err = {0};
    log_tidy(p->log);
    if (!p->deleted) (void)log_retain(p->log, clock_ms(p), p->trim_before, &err);
    if (err.code != ERR_OK) log_warn("broker", "retention failed", "topic", p->topic_name, "error", err.msg, NULL);
}

static void maintain_done(void *arg) { // owner
    struct partition *p = arg;
    p->maintenance_running = false;
    partition_check_closed(p);
    partition_unref(p);
}

static void maintain_start(struct partition *p) { // the reference goes along
    p->maintenance_running = true;
    if (pool_submit_then(p->broker->pool, maintain_work, p, p->owner, maintain_done, NULL) == ERR_OK) return;
    p->maintenance_running = false;
    partition_unref(p);
}

void partition_expire(void *arg) {
    struct partition *p = arg;
    int64_t idle = configs_broker_i64(p->broker, "producer.id.expiration.ms", 86400000);
    if (!p->deleted && !p->closing) (void)producers_expire(&p->producers, clock_ms(p) - idle);
    partition_unref(p);
}

void partition_maintain(void *arg) {
    struct partition *p = arg;
    if (p->deleted || p->closing || p->maintenance_running || log_offline(p->log)) {
        partition_unref(p);
        return;
    }
    log_roll_due(p->log);
    p->flush_due = true;
    sync_start(p); // a new segment's file is to be made durable
    maintain_start(p);
}

static void tidy_now(void *arg) { // owner: a recovery point is to be written: upkeep before its time
    struct partition *p = arg;
    if (p->deleted || p->closing || p->maintenance_running || log_offline(p->log)) partition_unref(p);
    else maintain_start(p);
}

// ---- the end --------------------------------------------------------------------------------------------------------

struct farewell {
    struct partition *partition;
    struct loop_event event;
};

static void delete_on_owner(void *arg) {
    struct farewell *f = arg;
    struct partition *p = f->partition;
    p->deleted = true;
    flush_cancel(p);
    for (struct broker_produce *r = take_pending(p, INT64_MAX); r != NULL;)
        refuse(pop(&r), KAFKA_UNKNOWN_TOPIC_OR_PARTITION, ERR_NO_TOPIC, "the topic was deleted", true);
    take_stalled(p);
    sys_mutex_lock(&p->sync_mutex);
    uint64_t bytes = p->dirty_bytes; // those of a running sync are the worker's
    p->dirty_bytes = 0;
    sys_mutex_unlock(&p->sync_mutex);
    bytes_gone(p->broker, bytes);
    partition_wait_fire(p, INT64_MAX);
    loop_event_set(&f->event);
}

static void quiesce_on_owner(void *arg) {
    struct farewell *f = arg;
    struct partition *p = f->partition;
    p->closing = true;
    p->closed = &f->event;
    flush_cancel(p);
    partition_wait_fire(p, INT64_MAX);
    if (p->retry.heap_index != 0) {
        loop_timer_cancel(p->owner, &p->retry);
        partition_unref(p);
    }
    partition_check_closed(p);
}

static void say_farewell(struct partition *p, loop_fn *fn) {
    struct farewell f = {.partition = p};
    assert(loop_current() == NULL); // it would wait for itself
    loop_event_init(&f.event);
    loop_post(p->owner, fn, &f);
    loop_event_wait(&f.event);
    loop_event_fini(&f.event);
}

void partition_delete(struct partition *p) { say_farewell(p, delete_on_owner); }
void partition_quiesce(struct partition *p) { say_farewell(p, quiesce_on_owner); }

// ---- waits ----------------------------------------------------------------------------------------------------------

static void token_free(struct wait_token *t) {
    if (t->partition != NULL) partition_unref(t->partition);
    mem_free(t);
}

static void wait_answer(void *arg) { // on `back`
    struct wait_token *t = arg;
    struct broker_wait *w = t->wait;
    token_free(t);
    if (w == NULL) return;
    w->self_[0] = NULL;
    w->fn(w);
}

static void unlink_token(struct partition *p, struct wait_token *t) {
    if (t->prev != NULL) t->prev->next = t->next;
    else p->waits = t->next;
    if (t->next != NULL) t->next->prev = t->prev;
    t->queued = false;
}

int64_t partition_stable(struct partition *p, int64_t durable_end) { return unstable_limit(&p->unstable, durable_end); }

void partition_wait_fire(struct partition *p, int64_t durable_end) {
    int64_t stable = durable_end == INT64_MAX ? INT64_MAX : partition_stable(p, durable_end);
    struct wait_token *fired = NULL;
    sys_mutex_lock(&p->wait_mutex);
    for (struct wait_token *t = p->waits, *next; t != NULL; t = next) {
        next = t->next;
        if (t->offset >= (t->committed ? stable : durable_end)) continue;
        unlink_token(p, t);
        t->next = fired;
        fired = t;
    }
    sys_mutex_unlock(&p->wait_mutex);
    while (fired != NULL) { // outside the mutex: a worker may have to wait for room in a loop's queue
        struct wait_token *t = fired;
        fired = t->next;
        loop_post(t->back, wait_answer, t);
    }
}

void broker_wait_add(struct broker *b, const char *topic, int32_t partition, int64_t offset, struct broker_wait *w) {
    struct wait_token *t = MEM_NEW(struct wait_token);
    *t = (struct wait_token){.wait = w, .back = w->back, .offset = offset, .committed = w->committed};
    w->self_[0] = t;
    struct partition *p = t->partition = partition_find(b, topic, partition);
    bool queued = false;
    if (p != NULL) {
        sys_mutex_lock(&p->wait_mutex);
        // The sync publishes first and looks at the list second, so nothing slips between these two.
        int64_t end = log_read_end(p->log);
        queued = t->queued = !p->deleted && !p->closing && (w->committed ? partition_stable(p, end) : end) <= offset;
        if (queued) {
            t->next = p->waits;
            if (p->waits != NULL) p->waits->prev = t;
            p->waits = t;
        }
        sys_mutex_unlock(&p->wait_mutex);
    }
    if (!queued) loop_post(w->back, wait_answer, t); // t may be queued and gone by now: only the local says
}

bool broker_wait_soon(const struct broker_wait *w) {
    const struct wait_token *t = w->self_[0];
    struct partition *p = t == NULL ? NULL : t->partition;
    if (p == NULL) return false;
    sys_mutex_lock(&p->wait_mutex);
    bool soon = !t->queued;
    sys_mutex_unlock(&p->wait_mutex);
    if (soon) return true;
    sys_mutex_lock(&p->sync_mutex);
    soon = p->sync_running;
    sys_mutex_unlock(&p->sync_mutex);
    return soon;
}

void broker_wait_remove(struct broker *b, struct broker_wait *w) {
    (void)b;
    struct wait_token *t = w->self_[0];
    if (t == NULL) return; // fired
    w->self_[0] = NULL;
    t->wait = NULL;
    struct partition *p = t->partition;
    bool queued = false;
    if (p != NULL) {
        sys_mutex_lock(&p->wait_mutex);
        queued = t->queued;
        if (queued) unlink_token(p, t);
        sys_mutex_unlock(&p->wait_mutex);
    }
    if (queued) token_free(t); // else the answer is under way and frees it
}
