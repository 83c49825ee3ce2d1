// SPDX-License-Identifier: Apache-2.0
// Shared by share_runs.c and share_acquire.c alone.
#ifndef BROKER_SHARE_RUNS_INSIDE_H
#define BROKER_SHARE_RUNS_INSIDE_H

#include "broker/share_runs.h"

size_t share_runs_find(const struct share_runs *r, int64_t offset); // the first run that ends at or behind `offset`; v.n = none
void share_runs_insert(struct share_runs *r, size_t at, const struct share_run *run); // indexes may shift: look them up again
// The piece of the run at index i that lies in first to last becomes a run of its own; its index. Those of others may shift.
size_t share_runs_cut(struct share_runs *r, size_t i, int64_t first, int64_t last);
void share_runs_advance(struct share_runs *r);

#endif
