// SPDX-License-Identifier: Apache-2.0
// Is a produce fit to be appended, and in which form: see validate.c.
#ifndef BROKER_VALIDATE_H
#define BROKER_VALIDATE_H

#include "broker/internal.h"

enum check_end {
    CHECK_GOOD,
    CHECK_BAD,    // kafka_error and why say it, and r->record_errors when r->list_errors
    CHECK_LONGER, // than a loop has time for: to be made again, without `soon`, on a worker. Nothing else is known
};
struct checked {
    enum check_end end;
    struct batch first;
    size_t n;
    int64_t records;
    bool has_producer;
    int64_t append_time; // that the batches were given; -1 = the records' own times count
    bool renumber;      // offsets in a batch were not 0, 1, 2 …
    struct str batches; // to be appended: the request's own bytes, or `own`
    struct buf own;     // packed anew
    int kafka_error;
    char why[640];
};
// Any thread, one at a time for a produce: it changes the request's bytes. Answers c->end. After each call: produce_checked_fini.
enum check_end produce_check(struct partition *p, struct broker_produce *r, bool soon, struct checked *c);
void produce_checked_fini(struct checked *c);
bool produce_check_is_long(const struct partition *p, const struct broker_produce *r); // a loop need not try
void produce_scanners_free(struct broker *b);

#endif
