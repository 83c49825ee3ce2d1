// SPDX-License-Identifier: Apache-2.0
// Is a produce fit to be appended, and in which form: see validate.c.
#ifndef BROKER_VALIDATE_H
#define BROKER_VALIDATE_H

#include "broker/internal.h"

struct checked {
    struct batch first;
    size_t n;
    int64_t records;
    bool has_producer;
    struct str batches; // to be appended: the request's own bytes, or `own`
    struct buf own;     // recompressed
    int kafka_error;
    char why[256];
};
// Owner's loop. False: kafka_error and why say it, and r->record_errors when r->list_errors. Then and later: produce_checked_fini.
bool produce_check(struct partition *p, struct broker_produce *r, struct checked *c);
void produce_checked_fini(struct checked *c);

#endif
