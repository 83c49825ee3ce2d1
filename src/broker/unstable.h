// SPDX-License-Identifier: Apache-2.0
// A partition's last stable offset: below it every transaction has ended, durably.
//
// The owner says where transactions begin and end, in front of the append that does so (so that no reader sees the data before the bound);
// any thread asks. Without an open transaction a question costs one atomic read. One mutex, held for a few instructions.
#ifndef BROKER_UNSTABLE_H
#define BROKER_UNSTABLE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"
#include "sys/sys.h"

struct unstable_txn {
    int64_t first, marker; // offsets; marker INT64_MAX = open
};

struct unstable {
    struct sys_mutex mutex;
    atomic_size_t n; // entries, those that ended but are not known to be durable included
    VEC(struct unstable_txn) txns; // by `first`; [head, n) count
    size_t head;
};

void unstable_init(struct unstable *u);
void unstable_fini(struct unstable *u);
void unstable_begin(struct unstable *u, int64_t first); // above every earlier one
void unstable_end(struct unstable *u, int64_t first, int64_t marker); // INT64_MAX takes it back
void unstable_cancel(struct unstable *u, int64_t first); // the append failed
int64_t unstable_first_open(struct unstable *u, int64_t except); // the first offset of the oldest open one but this; INT64_MAX = none
int64_t unstable_limit(struct unstable *u, int64_t durable_end); // the last stable offset

#endif
