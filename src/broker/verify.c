// SPDX-License-Identifier: Apache-2.0
// The first batch of a transaction in a partition waits until the transaction coordinator says that the partition is in it (KIP-890), or
// has added it; the ones behind it go straight in, as the partition then knows the transaction.
//
// On the partition's loop, all of it. Batches of a producer stay in order: while its first one waits, the others queue behind it. An answer of
// the coordinator and the markers that it writes later come through the same queue of the loop, so a batch that was let in is in front of
// the marker of its transaction.
#include <stdio.h>

#include "broker/internal.h"
#include "broker/txn.h"

struct verifying {
    struct verifying *next;
    struct partition *partition; // held by the produces' references
    int64_t producer_id;
    struct broker_produce *first, *last;
    struct txn_add add;
    struct txn_partition what;
};

static struct verifying *find(struct partition *p, int64_t producer_id) {
    struct verifying *v = p->verifying;
    while (v != NULL && v->producer_id != producer_id) v = v->next;
    return v;
}

bool verify_joins(struct partition *p, struct broker_produce *r, int64_t producer_id) {
    struct verifying *v = producer_id < 0 ? NULL : find(p, producer_id);
    if (v == NULL) return false;
    r->next_ = NULL;
    v->last->next_ = r;
    v->last = r;
    return true;
}

// What a client of that version understands; a fenced producer is told as by the partition itself.
static int error_for(const struct verifying *v, enum broker_txn_level level) {
    int error = v->add.call.call.error != 0 ? v->add.call.call.error : v->what.error;
    switch (error) {
    case KAFKA_PRODUCER_FENCED: return KAFKA_INVALID_PRODUCER_EPOCH;
    case KAFKA_TRANSACTION_ABORTABLE: return level == BROKER_TXN_VERIFY ? KAFKA_INVALID_TXN_STATE : error;
    case KAFKA_CONCURRENT_TRANSACTIONS: return level == BROKER_TXN_ADD ? error : KAFKA_NOT_ENOUGH_REPLICAS;
    case KAFKA_COORDINATOR_NOT_AVAILABLE: return KAFKA_NOT_ENOUGH_REPLICAS;
    default: return error;
    }
}

static void verified(struct group_call *call) { // owner
    struct verifying *v = call->arg;
    struct partition *p = v->partition;
    struct verifying **at = &p->verifying;
    while (*at != v) at = &(*at)->next;
    *at = v->next;
    partition_ref(p);
    struct broker_produce *r = v->first;
    bool first = true;
    while (r != NULL) {
        struct broker_produce *next = r->next_;
        int error = error_for(v, r->txn_level);
        if (error == 0) partition_resume(p, r, first);
        else if (error == KAFKA_INVALID_TXN_STATE || error == KAFKA_TRANSACTION_ABORTABLE)
            partition_refuse(r, error, "the partition was not added to the transaction");
        else partition_refuse(r, error, "the transaction coordinator did not let this batch in");
        first = false;
        r = next;
    }
    partition_resumed(p);
    partition_unref(p);
    mem_free(v);
}

void verify_start(struct partition *p, struct broker_produce *r, const struct batch *b) {
    struct verifying *v = MEM_NEW(struct verifying);
    *v = (struct verifying){.next = p->verifying, .partition = p, .producer_id = b->producer_id, .first = r, .last = r};
    r->next_ = NULL;
    p->verifying = v;
    v->what = (struct txn_partition){.topic = p->topic_name, .partition = p->index};
    v->add = (struct txn_add){.transactional_id = r->transactional_id, .producer_id = b->producer_id, .producer_epoch = b->producer_epoch,
                              .partitions = &v->what, .n_partitions = 1, .verify = r->txn_level != BROKER_TXN_ADD};
    v->add.v2 = r->txn_level == BROKER_TXN_ADD;
    v->add.call.call = (struct group_call){.done = verified, .back = p->owner, .arg = v};
    txn_add(p->broker, &v->add);
}
