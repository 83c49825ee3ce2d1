// SPDX-License-Identifier: Apache-2.0
// A call to a group coordinator that a test with a fixture waits for.
#ifndef UNIT_GROUP_ASK_H
#define UNIT_GROUP_ASK_H

#include "unit/ask.h"
#include "unit/broker_fixture.h"

static inline struct group_call ask_begin(struct ask *x, struct fixture *f) { return ask_on(x, f->loops[1]); }

#endif
