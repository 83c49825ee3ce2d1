// SPDX-License-Identifier: Apache-2.0
// Sorted sets of partitions. See partition_set.h.
#include "broker/partition_set.h"

#include <stdlib.h>

#include "broker/group_records.h"

enum { TAG_EPOCHS = 0 }; // AssignmentEpochs

void partition_set_fini(struct partition_set *s) { vec_fini(s); }

void partition_set_add(struct partition_set *s, const uint8_t topic[16], int32_t partition) {
    struct topic_partition *tp = vec_push(s);
    memcpy(tp->topic, topic, sizeof tp->topic);
    tp->partition = partition;
    tp->epoch = 0;
}

static int compare(const void *a, const void *b) { return topic_partition_cmp(a, b); }

void partition_set_sort(struct partition_set *s) {
    bool sorted = true;
    for (size_t i = 1; i < s->n && sorted; i++) sorted = topic_partition_cmp(&s->p[i - 1], &s->p[i]) < 0;
    if (sorted) return;
    qsort(s->p, s->n, sizeof *s->p, compare);
    size_t kept = 1;
    for (size_t i = 1; i < s->n; i++)
        if (topic_partition_cmp(&s->p[kept - 1], &s->p[i]) != 0) s->p[kept++] = s->p[i];
    s->n = kept;
}

void partition_set_copy(struct partition_set *to, const struct partition_set *from) {
    vec_reserve(to, from->n);
    if (from->n > 0) memcpy(to->p, from->p, from->n * sizeof *from->p);
    to->n = from->n;
}

void partition_set_move(struct partition_set *to, struct partition_set *from) {
    partition_set_fini(to);
    *to = *from;
    *from = (struct partition_set){0};
}

bool partition_set_equal(const struct partition_set *a, const struct partition_set *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (topic_partition_cmp(&a->p[i], &b->p[i]) != 0) return false;
    return true;
}

bool partition_set_within(const struct partition_set *a, const struct partition_set *b) {
    size_t k = 0;
    for (size_t i = 0; i < a->n; i++) {
        while (k < b->n && topic_partition_cmp(&b->p[k], &a->p[i]) < 0) k++;
        if (k == b->n || topic_partition_cmp(&b->p[k], &a->p[i]) != 0) return false;
    }
    return true;
}

bool partition_set_meets(const struct partition_set *a, const struct partition_set *b) {
    for (size_t i = 0, k = 0; i < a->n && k < b->n;) {
        int c = topic_partition_cmp(&a->p[i], &b->p[k]);
        if (c == 0) return true;
        if (c < 0) i++;
        else k++;
    }
    return false;
}

static void select_from(struct partition_set *out, const struct partition_set *a, const struct partition_set *b, bool in_both) {
    size_t k = 0;
    out->n = 0;
    for (size_t i = 0; i < a->n; i++) {
        while (k < b->n && topic_partition_cmp(&b->p[k], &a->p[i]) < 0) k++;
        bool found = k < b->n && topic_partition_cmp(&b->p[k], &a->p[i]) == 0;
        if (found == in_both) vec_add(out, a->p[i]);
    }
}

void partition_set_common(struct partition_set *out, const struct partition_set *a, const struct partition_set *b) { select_from(out, a, b, true); }
void partition_set_minus(struct partition_set *out, const struct partition_set *a, const struct partition_set *b) { select_from(out, a, b, false); }

void partition_set_merge(struct partition_set *into, const struct partition_set *from) {
    if (from->n == 0) return;
    vec_reserve(into, into->n + from->n);
    memcpy(into->p + into->n, from->p, from->n * sizeof *from->p);
    into->n += from->n;
    partition_set_sort(into);
}

size_t partition_set_run(const struct partition_set *s, size_t at) {
    size_t end = at;
    while (end < s->n && memcmp(s->p[end].topic, s->p[at].topic, 16) == 0) end++;
    return end;
}

const struct topic_partition *partition_set_find(const struct partition_set *s, const struct topic_partition *tp) {
    return s->n == 0 ? NULL : bsearch(tp, s->p, s->n, sizeof *s->p, compare);
}

void partition_set_epoch(struct partition_set *s, int32_t epoch) {
    for (size_t i = 0; i < s->n; i++) s->p[i].epoch = epoch;
}

void partition_set_put_run(struct buf *out, const struct partition_set *s, size_t at, size_t end, bool with_epochs) {
    put_compact_count(out, end - at);
    for (size_t k = at; k < end; k++) buf_put_be32(out, (uint32_t)s->p[k].partition);
    if (!with_epochs) {
        put_no_tags(out);
        return;
    }
    struct buf tag = {0};
    put_compact_count(&tag, end - at);
    for (size_t k = at; k < end; k++) buf_put_be32(&tag, (uint32_t)s->p[k].epoch);
    put_one_tag(out, TAG_EPOCHS, tag.n);
    buf_put_str(out, buf_str(&tag));
    buf_fini(&tag);
}

void partition_set_put(struct buf *out, const struct partition_set *s, bool with_epochs) {
    size_t topics = 0;
    for (size_t i = 0; i < s->n; i = partition_set_run(s, i)) topics++;
    put_compact_count(out, topics);
    for (size_t i = 0, end; i < s->n; i = end) {
        end = partition_set_run(s, i);
        buf_put(out, s->p[i].topic, 16);
        partition_set_put_run(out, s, i, end, with_epochs);
    }
}

void partition_set_get_run(struct rd *r, struct partition_set *out, const uint8_t topic[16], int32_t epoch) {
    size_t first = out->n;
    for (size_t n = get_compact_count(r); n > 0 && !r->failed; n--) {
        int32_t partition = (int32_t)rd_be32(r);
        if (r->failed || topic == NULL) continue;
        partition_set_add(out, topic, partition);
        vec_last(out)->epoch = epoch;
    }
    for (struct tags t = tags_begin(r); tags_next(&t, r);) {
        size_t n = t.tag != TAG_EPOCHS ? 0 : get_compact_count(&t.value);
        for (size_t i = 0; i < n && first + i < out->n; i++) out->p[first + i].epoch = (int32_t)rd_be32(&t.value);
        if (t.value.failed) r->failed = true;
    }
}

void partition_set_get(struct rd *r, struct partition_set *out, int32_t epoch) {
    out->n = 0;
    for (size_t topics = get_compact_count(r); topics > 0 && !r->failed; topics--) {
        const uint8_t *id = rd_bytes(r, 16);
        partition_set_get_run(r, out, id, epoch);
    }
    partition_set_sort(out);
}
