// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: when a group's next assignment may be computed (KIP-1263), for consumer, share and streams groups alike.
//
// Changes of a group make new epochs at once; its assignment follows with the next heartbeat that finds `*.assignment.interval.ms` over since the
// last one, so that many changes cost one calculation. What was set, for the group or for the broker, is kept to the letter. By default
// small groups do not wait, as their assignment costs nothing: the wait grows with the square of members and partitions together (as many changes
// of so many members do cost), up to the whole interval at ten thousand.
#ifndef BROKER_ASSIGNMENT_PACE_H
#define BROKER_ASSIGNMENT_PACE_H

#include "broker/coordinator.h"

struct assignment_pace { // of one group
    int64_t at_ms; // wall clock: when the last assignment was computed; 0 = there is none, or it is not known. Stored with its epoch
    size_t size;   // members and partitions of it; 0 = computed before the start
};

// Milliseconds until the next assignment may be computed; 0 = now. `type` is "consumer", "share" or "streams".
int64_t assignment_wait_ms(const struct group *g, const struct assignment_pace *p, const char *type);
void assignment_computed(const struct group *g, struct assignment_pace *p, size_t size);
// What a heartbeat's answer asks for while an assignment waits: the end of the wait, not sooner than LEAST_MS, not later than usual.
int32_t assignment_heartbeat_ms(int64_t wait_ms, int32_t usual_ms);

// The value of the record of a target's epoch (key versions 6, 12, 20), and back.
void assignment_put(struct buf *value, int32_t epoch, const struct assignment_pace *p);
bool assignment_get(struct rd *value, int32_t *epoch, struct assignment_pace *p); // behind the version

#endif
