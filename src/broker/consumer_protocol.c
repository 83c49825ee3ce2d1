// SPDX-License-Identifier: Apache-2.0
// Reading and writing of the consumers' own bytes in the classic protocol. Any thread.
#include "broker/consumer_protocol.h"

#include "broker/group_records.h"

static size_t get_count(struct rd *r) { // of an array with a plain int32 count; -1 = null
    int32_t n = (int32_t)rd_be32(r);
    if (n > 0 && (size_t)n > rd_left(r)) r->failed = true;
    return r->failed || n < 0 ? 0 : (size_t)n;
}

static void get_partitions(struct rd *r, struct broker *b, struct partition_set *out) {
    struct arena a;
    arena_init(&a);
    for (size_t topics = get_count(r); topics > 0 && !r->failed; topics--) {
        struct str name = get_string(r);
        struct broker_topic_info info;
        bool known = b != NULL && !r->failed && broker_topic_get(b, name, &a, &info);
        for (size_t n = get_count(r); n > 0 && !r->failed; n--) {
            int32_t partition = (int32_t)rd_be32(r);
            if (known && !r->failed && partition >= 0 && partition < info.partitions) partition_set_add(out, info.id, partition);
        }
    }
    partition_set_sort(out);
    arena_fini(&a);
}

bool consumer_subscription_read(struct str metadata, struct broker *b, struct arena *a, struct consumer_subscription *out) {
    struct rd r = rd_of(metadata.p, metadata.n);
    *out = (struct consumer_subscription){.version = (int16_t)rd_be16(&r)};
    if (r.failed || out->version < 0) return false;
    out->n_topics = get_count(&r);
    out->topics = ARENA_ARRAY(a, const char *, out->n_topics + 1);
    for (size_t i = 0; i < out->n_topics; i++) {
        struct str name = get_string(&r);
        out->topics[i] = arena_strndup(a, name.p == NULL ? "" : name.p, name.n);
    }
    (void)get_bytes(&r); // the assignor's own
    if (out->version >= 1) get_partitions(&r, b, &out->owned);
    if (out->version >= 2) (void)rd_be32(&r); // generation
    if (out->version >= 3) {
        struct str rack = get_string(&r);
        out->rack_id = rack.p == NULL ? NULL : arena_strndup(a, rack.p, rack.n);
    }
    if (!r.failed) return true;
    partition_set_fini(&out->owned);
    return false;
}

bool consumer_assignment_read(struct str assignment, struct broker *b, struct partition_set *out) {
    struct rd r = rd_of(assignment.p, assignment.n);
    if (assignment.n == 0) return true;
    int16_t version = (int16_t)rd_be16(&r);
    if (!r.failed && version >= 0) get_partitions(&r, b, out);
    if (!r.failed && version >= 0) return true;
    partition_set_fini(out);
    return false;
}

void consumer_assignment_write(struct broker *b, const struct partition_set *s, int version, struct buf *out) {
    struct arena a;
    uint32_t topics = 0;
    arena_init(&a);
    buf_put_be16(out, (uint16_t)version);
    size_t count_at = out->n;
    buf_put_be32(out, 0);
    for (size_t i = 0, end; i < s->n; i = end) {
        struct broker_topic_info info;
        end = partition_set_run(s, i);
        if (!broker_topic_get_id(b, s->p[i].topic, &a, &info)) continue;
        put_string(out, str_c(info.name));
        buf_put_be32(out, (uint32_t)(end - i));
        for (size_t k = i; k < end; k++) buf_put_be32(out, (uint32_t)s->p[k].partition);
        topics++;
    }
    buf_set_be32(out, count_at, topics);
    buf_put_be32(out, UINT32_MAX); // user data: null
    arena_fini(&a);
}
