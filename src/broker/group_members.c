// SPDX-License-Identifier: Apache-2.0
// See group_members.h.
#include "broker/group_members.h"

#include <stdarg.h>
#include <stdio.h>

char *group_strdup(const char *s) { return s == NULL ? NULL : mem_strdup(s); }

void group_text_set(char **at, const char *next) {
    char *copy = group_strdup(next); // `next` may be what is there
    mem_free(*at);
    *at = copy;
}

bool group_text_update(char **at, const char *next) {
    if (next == NULL || (*at != NULL && strcmp(*at, next) == 0)) return false;
    group_text_set(at, next);
    return true;
}

const char *group_text_copy(struct arena *a, const char *s) { return s == NULL ? NULL : arena_strdup(a, s); }

int group_say(struct group_call *call, int error, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(call->message, sizeof call->message, fmt, ap);
    va_end(ap);
    return error;
}

int group_unknown_member(struct group_call *call, const char *group, const char *member) {
    return group_say(call, KAFKA_UNKNOWN_MEMBER_ID, "Member %.60s is not a member of group %.200s.", member, group);
}

int group_unknown_instance(struct group_call *call, const char *instance) {
    return group_say(call, KAFKA_UNKNOWN_MEMBER_ID, "Instance id %.200s is unknown.", instance);
}

int group_fenced_instance(struct group_call *call, const char *member, const char *instance, const char *owner) {
    return group_say(call, KAFKA_FENCED_INSTANCE_ID, "Static member %.60s with instance id %.100s was fenced by member %.60s.", member, instance, owner);
}

int group_unreleased_instance(struct group_call *call, const char *member, const char *instance, const char *owner) {
    return group_say(call, KAFKA_UNRELEASED_INSTANCE_ID,
                     "Static member %.60s with instance id %.100s cannot join the group because the instance id is owned by %.60s member.", member,
                     instance, owner);
}

int group_is_full(struct group_call *call, const char *type, int64_t max) {
    return group_say(call, KAFKA_GROUP_MAX_SIZE_REACHED, "The %s group has reached its maximum capacity of %lld members.", type, (long long)max);
}

int group_fenced_epoch(struct group_call *call, const char *type, int32_t said, int32_t epoch) {
    return group_say(call, KAFKA_FENCED_MEMBER_EPOCH,
                     "The %s group member has a %s member epoch (%d) than the one known by the group coordinator (%d). "
                     "The member must abandon all its partitions and rejoin.", type, said > epoch ? "greater" : "smaller", said, epoch);
}

void group_refuse(struct group_call *call, int error) { coordinator_answer(call, error, call->message); }

void group_answer_durable(void *call, int error) {
    coordinator_answer(call, error, error != 0 ? "The coordinator could not store the state of the group." : "");
}
