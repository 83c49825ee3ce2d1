// SPDX-License-Identifier: Apache-2.0
// See assignment_pace.h. On the coordinator's loop; nothing here allocates, fails, or is durable by itself.
#include "broker/assignment_pace.h"

#include <stdio.h>

#include "broker/dynamic.h"
#include "broker/group_records.h"

enum { TAG_TIMESTAMP = 0 }; // AssignmentTimestamp
enum { LARGE = 10000 /* members and partitions */, LEAST_MS = 100 };

static int64_t bound(const struct group *g, const char *type, const char *which, int64_t otherwise) {
    char name[64];
    (void)snprintf(name, sizeof name, "group.%s.%s.assignment.interval.ms", type, which);
    return configs_broker_i64(g->coordinator->broker, name, otherwise);
}

// What was set, brought between the broker's bounds, as Kafka does when these were moved behind its back.
static int64_t interval_ms(const struct group *g, const char *type, size_t size) {
    char name[64];
    (void)snprintf(name, sizeof name, "%s.assignment.interval.ms", type);
    int64_t ms = group_config_i64(g, name, 1000);
    if (size < LARGE && !broker_group_config_is_set(g->coordinator->broker, str_c(g->id), name))
        return ms * (int64_t)(size * size) / ((int64_t)LARGE * LARGE);
    int64_t least = bound(g, type, "min", 0), most = bound(g, type, "max", 15000);
    return ms < least ? least : ms > most ? most : ms;
}

int64_t assignment_wait_ms(const struct group *g, const struct assignment_pace *p, const char *type) {
    if (p->at_ms == 0) return 0;
    int64_t interval = interval_ms(g, type, p->size), since = coordinator_now_ms(g->coordinator) - p->at_ms;
    return since < 0 || since >= interval ? 0 : interval - since; // since < 0: the clock was set back
}

void assignment_computed(const struct group *g, struct assignment_pace *p, size_t size) {
    *p = (struct assignment_pace){.at_ms = coordinator_now_ms(g->coordinator), .size = size};
}

int32_t assignment_heartbeat_ms(int64_t wait_ms, int32_t usual_ms) {
    int64_t ms = wait_ms < LEAST_MS ? LEAST_MS : wait_ms;
    return ms < usual_ms ? (int32_t)ms : usual_ms;
}

void assignment_put(struct buf *value, int32_t epoch, const struct assignment_pace *p) {
    buf_put_be32(value, (uint32_t)epoch);
    if (p->at_ms == 0) {
        put_no_tags(value);
        return;
    }
    put_one_tag(value, TAG_TIMESTAMP, 8);
    buf_put_be64(value, (uint64_t)p->at_ms);
}

bool assignment_get(struct rd *value, int32_t *epoch, struct assignment_pace *p) {
    int32_t e = (int32_t)rd_be32(value);
    int64_t at = 0;
    for (struct tags t = tags_begin(value); tags_next(&t, value);)
        if (t.tag == TAG_TIMESTAMP) at = (int64_t)rd_be64(&t.value);
    if (value->failed) return false;
    *epoch = e;
    *p = (struct assignment_pace){.at_ms = at};
    return true;
}
