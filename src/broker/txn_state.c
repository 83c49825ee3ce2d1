// SPDX-License-Identifier: Apache-2.0
// Transitions of a transactional id: see txn_state.h.
#include "broker/txn_state.h"

#include <assert.h>

#include "broker/kafka_error.h"

enum { V2 = 2 };

const char *txn_state_name(enum txn_state s) {
    static const char *const names[] = {"Empty",          "Ongoing",       "PrepareCommit", "PrepareAbort",
                                        "CompleteCommit", "CompleteAbort", "Dead",          "PrepareEpochFence"};
    return names[s];
}

void txn_meta_new(struct txn_meta *m, int64_t producer_id, int32_t timeout_ms, int64_t now) {
    *m = (struct txn_meta){.producer_id = producer_id, .previous_id = -1, .next_id = -1, .epoch = -1, .last_epoch = -1, .timeout_ms = timeout_ms,
                           .state = TXN_EMPTY, .start_ms = -1, .update_ms = now};
}

static bool is_prepared(const struct txn_meta *m) { return m->state == TXN_PREPARE_COMMIT || m->state == TXN_PREPARE_ABORT; }
static bool is_exhausted(int16_t epoch) { return epoch >= TXN_EPOCH_LAST; }

// ---- InitProducerId -------------------------------------------------------------------------------------------------

// A producer that says who it is must be the current one, or the one whose epochs ran out when the id was changed.
static bool may_init(const struct txn_meta *m, int64_t expected_id, int16_t expected_epoch) {
    return expected_id < 0 || m->epoch < 0 || expected_id == m->producer_id || (expected_id == m->previous_id && is_exhausted(expected_epoch));
}

// With a transaction open, who names an older epoch is not its producer: its request is late, and must not abort what a newer one does.
// (Kafka aborts it, and fences the request when it comes again.)
static bool is_late(const struct txn_meta *m, int64_t expected_id, int16_t expected_epoch) {
    return expected_id >= 0 && !(expected_id == m->producer_id && expected_epoch == m->epoch);
}

static int raise_epoch(const struct txn_meta *m, int64_t expected_id, int16_t expected_epoch, struct txn_meta *next) {
    if (expected_id < 0) {
        next->epoch = (int16_t)(m->epoch + 1);
        next->last_epoch = -1;
    } else if (m->epoch < 0 || expected_epoch == m->epoch) {
        next->epoch = (int16_t)(m->epoch + 1);
        next->last_epoch = m->epoch;
    } else if (expected_epoch != m->last_epoch) { // else a repeat: the epoch stays
        return KAFKA_PRODUCER_FENCED;
    }
    return 0;
}

int txn_next_init(const struct txn_meta *m, int64_t expected_id, int16_t expected_epoch, int32_t timeout_ms, int64_t new_id, int64_t now,
                  struct txn_meta *next) {
    if (!may_init(m, expected_id, expected_epoch)) return KAFKA_PRODUCER_FENCED;
    if (is_prepared(m)) return KAFKA_CONCURRENT_TRANSACTIONS;
    if (m->state == TXN_ONGOING) return is_late(m, expected_id, expected_epoch) ? KAFKA_PRODUCER_FENCED : TXN_ABORT_FIRST;
    *next = *m;
    next->state = TXN_EMPTY;
    next->timeout_ms = timeout_ms;
    next->start_ms = -1;
    next->update_ms = now;
    next->client_version = 0;
    next->previous_id = m->producer_id;
    next->next_id = -1;
    if (!is_exhausted(m->epoch) || (expected_id >= 0 && expected_epoch != m->epoch)) return raise_epoch(m, expected_id, expected_epoch, next);
    if (new_id < 0) return TXN_NEEDS_ID;
    next->producer_id = new_id;
    next->epoch = 0;
    next->last_epoch = expected_id >= 0 ? m->epoch : -1;
    return 0;
}

// ---- AddPartitionsToTxn, AddOffsetsToTxn ----------------------------------------------------------------------------

int txn_check_producer(const struct txn_meta *m, int64_t id, int16_t epoch) {
    if (m->producer_id != id) return KAFKA_INVALID_PRODUCER_ID_MAPPING;
    return m->epoch != epoch ? KAFKA_PRODUCER_FENCED : 0;
}

int txn_next_add(const struct txn_meta *m, int64_t id, int16_t epoch, bool v2, int64_t now, struct txn_meta *next) {
    int error = txn_check_producer(m, id, epoch);
    if (error != 0) return error;
    if (is_prepared(m)) return KAFKA_CONCURRENT_TRANSACTIONS;
    *next = *m;
    if (m->state != TXN_ONGOING) next->start_ms = now;
    next->state = TXN_ONGOING;
    next->update_ms = now;
    next->client_version = v2 ? V2 : 0;
    return 0;
}

// ---- EndTxn ---------------------------------------------------------------------------------------------------------

static void prepare(const struct txn_meta *m, bool commit, bool raise, int64_t now, struct txn_meta *next) {
    *next = *m;
    next->state = commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT;
    next->update_ms = now;
    if (m->state != TXN_ONGOING) next->start_ms = now;
    if (!raise) return;
    assert(m->epoch < INT16_MAX);
    next->epoch = (int16_t)(m->epoch + 1);
    next->last_epoch = m->epoch;
}

void txn_next_fence(const struct txn_meta *m, int64_t now, struct txn_meta *next) {
    assert(m->state == TXN_ONGOING);
    prepare(m, false, true, now, next);
    next->client_version = V2;
}

void txn_next_complete(const struct txn_meta *m, int64_t now, struct txn_meta *next) {
    assert(is_prepared(m));
    *next = *m;
    next->state = m->state == TXN_PREPARE_COMMIT ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT;
    next->update_ms = now;
    if (m->next_id < 0) return;
    next->previous_id = m->producer_id;
    next->producer_id = m->next_id;
    next->next_id = -1;
    next->last_epoch = m->epoch;
    next->epoch = 0;
}

// How the epoch of an EndTxn relates to the state. Before V2 it is the current one or a fenced one; what comes again is known by the state. With
// V2 the same epoch means the transaction that is open, and the one before means the transaction that ended: a repeat.
enum end_fit { END_FENCED, END_CURRENT, END_REPEAT };

static enum end_fit fit(const struct txn_meta *m, int64_t id, int16_t epoch, bool v2) {
    bool current = m->producer_id == id && epoch == m->epoch;
    if (!v2) return current ? END_CURRENT : END_FENCED;
    bool raised = m->client_version >= V2 && m->producer_id == id && m->epoch == epoch + 1;
    bool rotated = m->client_version >= V2 && m->previous_id == id && epoch == TXN_EPOCH_LAST && m->epoch == 0;
    switch (m->state) {
    case TXN_PREPARE_COMMIT:
    case TXN_PREPARE_ABORT: return raised ? END_REPEAT : END_FENCED;
    case TXN_COMPLETE_COMMIT:
    case TXN_COMPLETE_ABORT:
        if (raised || rotated) return END_REPEAT;
        break;
    default: break;
    }
    return current ? END_CURRENT : END_FENCED;
}

// A transaction is to end: the next state. With V2 the epoch is raised, and its last one brings a new producer id.
static int end_now(const struct txn_meta *m, bool commit, bool v2, int64_t new_id, int64_t now, struct txn_meta *next) {
    bool rotate = v2 && is_exhausted(m->epoch);
    if (rotate && new_id < 0) return TXN_NEEDS_ID;
    prepare(m, commit, v2, now, next);
    next->client_version = v2 ? V2 : 0;
    next->next_id = rotate ? new_id : -1;
    return 0;
}

int txn_next_end(const struct txn_meta *m, int64_t id, int16_t epoch, bool commit, bool v2, int64_t new_id, int64_t now, struct txn_meta *next,
                 bool *repeat) {
    enum end_fit f = fit(m, id, epoch, v2);
    *repeat = false;
    *next = *m;
    if (m->producer_id != id && f != END_REPEAT) return KAFKA_INVALID_PRODUCER_ID_MAPPING;
    if (f == END_FENCED) return KAFKA_PRODUCER_FENCED;
    switch (m->state) {
    case TXN_ONGOING: return end_now(m, commit, v2, new_id, now, next);
    case TXN_PREPARE_COMMIT: return commit ? KAFKA_CONCURRENT_TRANSACTIONS : KAFKA_INVALID_TXN_STATE;
    case TXN_PREPARE_ABORT: return commit ? KAFKA_INVALID_TXN_STATE : KAFKA_CONCURRENT_TRANSACTIONS;
    case TXN_COMPLETE_COMMIT:
    case TXN_COMPLETE_ABORT:
        *repeat = (f == END_REPEAT || !v2) && commit == (m->state == TXN_COMPLETE_COMMIT);
        if (*repeat) return 0;
        if (f == END_REPEAT || !v2) return KAFKA_INVALID_TXN_STATE;
        break;
    default: break;
    }
    // Nothing was added. A V2 client that gives such a transaction up gets its new epoch all the same.
    return v2 && !commit && m->epoch >= 0 ? end_now(m, false, true, new_id, now, next) : KAFKA_INVALID_TXN_STATE;
}
