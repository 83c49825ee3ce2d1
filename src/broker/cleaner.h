// SPDX-License-Identifier: Apache-2.0
// The log cleaner: see cleaner.c.
#ifndef BROKER_CLEANER_H
#define BROKER_CLEANER_H

#include "broker/internal.h"

struct cleaner *cleaner_new(struct broker *b);
void cleaner_free(struct cleaner *c);
void cleaner_check(struct cleaner *c, bool now); // [any] looks for work, unless it is at work, or did a moment ago (now: all the same)
void cleaner_stop(struct cleaner *c);            // blocks until it has ended; loops and pool run

#endif
