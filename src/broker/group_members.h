// SPDX-License-Identifier: Apache-2.0
// Inside the broker room: what members of consumer, share and streams groups have in common, and the calls about them: texts, refusals in Kafka's
// words, answers. Nothing here knows a type of group. On the coordinator's loop.
#ifndef BROKER_GROUP_MEMBERS_H
#define BROKER_GROUP_MEMBERS_H

#include "broker/coordinator.h"

// ---- texts that a member owns; NULL = none ----
char *group_strdup(const char *s); // NULL stays NULL
void group_text_set(char **at, const char *next);
bool group_text_update(char **at, const char *next); // NULL = as before; true = it is another one now
const char *group_text_copy(struct arena *a, const char *s); // NULL stays NULL

// ---- refusals: the text goes into the call, the code comes back ----
int group_say(struct group_call *call, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int group_unknown_member(struct group_call *call, const char *group, const char *member);
int group_unknown_instance(struct group_call *call, const char *instance);
int group_fenced_instance(struct group_call *call, const char *member, const char *instance, const char *owner);
int group_unreleased_instance(struct group_call *call, const char *member, const char *instance, const char *owner);
int group_is_full(struct group_call *call, const char *type /* "consumer" */, int64_t max);
int group_fenced_epoch(struct group_call *call, const char *type, int32_t said, int32_t epoch); // a member came with one that is not its own
void group_refuse(struct group_call *call, int error); // answers with the text that is in the call

// A group_records_fn: answers the call, which stands first in its struct, when its records are durable, or could not be made so.
void group_answer_durable(void *call, int error);

#endif
