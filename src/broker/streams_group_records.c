// SPDX-License-Identifier: Apache-2.0
// Streams groups in __consumer_offsets, in Kafka's own records (key versions 17, 19 to 23), and their replay. Tasks are stored under the names of
// their subtopologies; while one is loaded without its topology, which comes in front, they are left out.
#include <stdio.h>

#include "broker/streams_group.h"

static const char standbys_name[] = "num.standby.replicas", rack_tags_name[] = "rack.aware.assignment.tags";

static void put_config(struct buf *out, const char *name, const char *value) {
    put_compact_string(out, str_c(name));
    put_compact_string(out, str_c(value));
    put_no_tags(out);
}

// Tag 1, LastAssignmentConfigs: what the last assignment was made with.
static void put_configs(const struct streams_group *g, struct buf *v) {
    struct buf bytes = {0};
    char standbys[16];
    (void)snprintf(standbys, sizeof standbys, "%d", g->standbys);
    put_compact_count(&bytes, g->rack_tags == NULL ? 1 : 2);
    put_config(&bytes, standbys_name, standbys);
    if (g->rack_tags != NULL) put_config(&bytes, rack_tags_name, g->rack_tags);
    buf_put_uvarint(v, 1);
    buf_put_uvarint(v, (uint32_t)bytes.n);
    buf_put_str(v, buf_str(&bytes));
    buf_fini(&bytes);
}

void streams_put_group(const struct streams_group *g, struct group_records *r) {
    group_records_key_of(r, 17, g->head->id, NULL);
    struct buf *v = group_records_value(r, 0);
    buf_put_be32(v, (uint32_t)g->epoch);
    buf_put_be64(v, (uint64_t)g->metadata_hash);
    // Tags 0, 2, 3: ValidatedTopologyEpoch, StoredDescriptionTopologyEpoch, FailedDescriptionTopologyEpoch. In the order of the tags.
    const struct {
        uint32_t tag;
        int32_t epoch;
    } tags[] = {{0, g->validated_epoch}, {2, g->described_epoch}, {3, g->undescribable_epoch}};
    uint32_t n = 1;
    for (size_t i = 0; i < 3; i++) n += tags[i].epoch != -1;
    buf_put_uvarint(v, n);
    for (size_t i = 0; i < 3; i++) {
        if (i == 1) put_configs(g, v);
        if (tags[i].epoch == -1) continue;
        buf_put_uvarint(v, tags[i].tag);
        buf_put_uvarint(v, 4);
        buf_put_be32(v, (uint32_t)tags[i].epoch);
    }
    group_records_put(r);
}

void streams_put_member(const struct streams_member *m, struct group_records *r) {
    group_records_key_of(r, 19, m->group->head->id, m->id);
    struct buf *v = group_records_value(r, 0);
    put_compact_nullable(v, m->instance_id);
    put_compact_nullable(v, m->rack_id);
    put_compact_string(v, str_c(m->client_id));
    put_compact_string(v, str_c(m->client_host));
    buf_put_be32(v, (uint32_t)m->rebalance_ms);
    buf_put_be32(v, (uint32_t)m->topology_epoch);
    put_compact_string(v, str_c(m->process_id));
    if (m->endpoint_host == NULL) {
        buf_put_u8(v, 0xff); // null
    } else {
        buf_put_u8(v, 1);
        put_compact_string(v, str_c(m->endpoint_host));
        buf_put_be16(v, m->endpoint_port);
        put_no_tags(v);
    }
    put_compact_count(v, m->tags.n);
    for (size_t i = 0; i < m->tags.n; i++) {
        put_compact_string(v, str_c(m->tags.p[i].name));
        put_compact_string(v, str_c(m->tags.p[i].value));
        put_no_tags(v);
    }
    put_no_tags(v);
    group_records_put(r);
}

static void put_tasks(const struct streams_group *g, struct buf *v, const struct partition_set *s, bool with_epochs) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i = partition_set_run(s, i)) n++;
    put_compact_count(v, n);
    for (size_t i = 0, end; i < s->n; i = end) {
        end = partition_set_run(s, i);
        put_compact_string(v, str_c(g->topology->subtopologies[task_subtopology(&s->p[i])].id));
        partition_set_put_run(v, s, i, end, with_epochs);
    }
}

void streams_put_current(const struct streams_member *m, struct group_records *r) {
    group_records_key_of(r, 22, m->group->head->id, m->id);
    struct buf *v = group_records_value(r, 0);
    buf_put_be32(v, (uint32_t)m->epoch);
    buf_put_be32(v, (uint32_t)m->previous_epoch);
    buf_put_u8(v, (uint8_t)m->state);
    for (int i = 0; i < STREAMS_ROLES; i++) put_tasks(m->group, v, &m->assigned.of[i], i == STREAMS_ACTIVE);
    for (int i = 0; i < STREAMS_ROLES; i++) put_tasks(m->group, v, &m->revoking.of[i], i == STREAMS_ACTIVE);
    put_no_tags(v);
    group_records_put(r);
}

void streams_put_target(const struct streams_member *m, struct group_records *r) {
    group_records_key_of(r, 21, m->group->head->id, m->id);
    struct buf *v = group_records_value(r, 0);
    for (int i = 0; i < STREAMS_ROLES; i++) put_tasks(m->group, v, &m->target.of[i], false);
    put_no_tags(v);
    group_records_put(r);
}

void streams_put_target_epoch(const struct streams_group *g, struct group_records *r) {
    group_records_key_of(r, 20, g->head->id, NULL);
    struct buf *v = group_records_value(r, 0);
    assignment_put(v, g->assignment_epoch, &g->pace);
    group_records_put(r);
}

void streams_put_topology(const struct streams_group *g, struct group_records *r) {
    group_records_key_of(r, 23, g->head->id, NULL);
    streams_topology_put(group_records_value(r, 0), g->topology);
    group_records_put(r);
}

void streams_delete_member(const struct streams_group *g, const char *id, struct group_records *r) {
    static const int kinds[] = {22, 21, 19};
    for (size_t i = 0; i < 3; i++) {
        group_records_key_of(r, kinds[i], g->head->id, id);
        group_records_delete(r);
    }
}

void streams_put_live(const struct group *head, struct group_records *r) {
    const struct streams_group *g = head->own;
    struct map_entry *e;
    if (g->topology != NULL) streams_put_topology(g, r);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) streams_put_member(e->value, r);
    streams_put_group(g, r);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) streams_put_target(e->value, r);
    streams_put_target_epoch(g, r);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) streams_put_current(e->value, r);
}

void streams_put_tombstones(const struct group *head, struct group_records *r) {
    static const int kinds[] = {20, 23, 17};
    const struct streams_group *g = head->own;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) streams_delete_member(g, e->key, r);
    for (size_t i = 0; i < 3; i++) {
        group_records_key_of(r, kinds[i], head->id, NULL);
        group_records_delete(r);
    }
}

// ---- replay ---------------------------------------------------------------------------------------------------------

typedef bool replay_fn(struct coordinator *c, struct rd *key, struct rd *value);
replay_fn streams_replay_group, streams_replay_member, streams_replay_target_epoch, streams_replay_target, streams_replay_current,
    streams_replay_topology;

static struct streams_group *group_of(struct coordinator *c, struct rd *key, bool make) {
    struct group *head = group_replay_head(c, key, &streams_group_ops, make);
    if (head == NULL) return NULL;
    return head->own == NULL ? streams_group_new(head) : head->own;
}

static struct streams_member *member_of(struct streams_group *g, struct rd *key, bool make) {
    struct str id = get_string(key);
    if (key->failed || id.p == NULL) return NULL;
    char *name = mem_strndup(id.p, id.n);
    struct streams_member *m = map_getc(&g->members, name);
    if (m == NULL && make) m = streams_member_add(g, name);
    mem_free(name);
    return m;
}

static void get_configs(struct rd *r, int32_t *standbys, struct str *rack_tags) {
    for (size_t n = get_compact_count(r); n > 0 && !r->failed; n--) {
        struct str name = get_compact_string(r), value = get_compact_string(r);
        int64_t number = 0;
        skip_tags(r);
        if (str_eqc(name, standbys_name) && str_to_i64(value, &number) && number >= 0 && number <= INT32_MAX) *standbys = (int32_t)number;
        if (str_eqc(name, rack_tags_name)) *rack_tags = value;
    }
}

static void replace(char **at, struct str s) {
    mem_free(*at);
    *at = s.p == NULL ? NULL : mem_strndup(s.p, s.n);
}

bool streams_replay_group(struct coordinator *c, struct rd *key, struct rd *value) {
    struct streams_group *g = group_of(c, key, value != NULL);
    if (value == NULL && g != NULL) group_replay_gone(g->head);
    if (value == NULL) return true;
    (void)rd_be16(value);
    int32_t epoch = (int32_t)rd_be32(value), validated = -1, described = -1, undescribable = -1, standbys = 0;
    struct str rack_tags = {0};
    int64_t hash = (int64_t)rd_be64(value);
    for (struct tags t = tags_begin(value); tags_next(&t, value);) {
        if (t.tag == 0) validated = (int32_t)rd_be32(&t.value);
        if (t.tag == 1) get_configs(&t.value, &standbys, &rack_tags);
        if (t.tag == 2) described = (int32_t)rd_be32(&t.value);
        if (t.tag == 3) undescribable = (int32_t)rd_be32(&t.value);
    }
    if (g == NULL || value->failed) return false;
    g->epoch = epoch;
    g->metadata_hash = hash;
    g->validated_epoch = validated;
    g->described_epoch = described;
    g->undescribable_epoch = undescribable;
    g->standbys = standbys;
    replace(&g->rack_tags, rack_tags);
    return true;
}

bool streams_replay_member(struct coordinator *c, struct rd *key, struct rd *value) {
    struct streams_group *g = group_of(c, key, value != NULL);
    struct streams_member *m = g == NULL ? NULL : member_of(g, key, value != NULL);
    if (value == NULL) {
        if (m != NULL) streams_member_drop(m);
        return true;
    }
    if (m == NULL) return false;
    (void)rd_be16(value);
    char *instance = NULL;
    replace(&instance, get_compact_string(value));
    streams_set_instance(m, instance);
    mem_free(instance);
    replace(&m->rack_id, get_compact_string(value));
    struct str client = get_compact_string(value), host = get_compact_string(value);
    replace(&m->client_id, client.p == NULL ? STR("") : client);
    replace(&m->client_host, host.p == NULL ? STR("") : host);
    m->rebalance_ms = (int32_t)rd_be32(value);
    m->topology_epoch = (int32_t)rd_be32(value);
    struct str process = get_compact_string(value);
    replace(&m->process_id, process.p == NULL ? STR("") : process);
    if (rd_u8(value) == 1) {
        replace(&m->endpoint_host, get_compact_string(value));
        m->endpoint_port = rd_be16(value);
        skip_tags(value);
    }
    kvs_free(&m->tags);
    for (size_t n = get_compact_count(value); n > 0 && !value->failed; n--) {
        struct str name = get_compact_string(value), text = get_compact_string(value);
        skip_tags(value);
        vec_add(&m->tags, ((struct topic_kv){mem_strndup(name.p == NULL ? "" : name.p, name.n), mem_strndup(text.p == NULL ? "" : text.p, text.n)}));
    }
    return !value->failed;
}

bool streams_replay_target_epoch(struct coordinator *c, struct rd *key, struct rd *value) {
    struct streams_group *g = group_of(c, key, value != NULL);
    if (value == NULL) return true;
    (void)rd_be16(value);
    return g != NULL && assignment_get(value, &g->assignment_epoch, &g->pace);
}

static void get_tasks(const struct streams_group *g, struct rd *r, struct partition_set *out, int32_t epoch) {
    out->n = 0;
    for (size_t n = get_compact_count(r); n > 0 && !r->failed; n--) {
        struct str id = get_compact_string(r);
        char *name = mem_strndup(id.p == NULL ? "" : id.p, id.n);
        int index = streams_subtopology(g, name);
        uint8_t task[16];
        mem_free(name);
        task_id(task, index < 0 ? 0 : (size_t)index);
        partition_set_get_run(r, out, index < 0 ? NULL : task, epoch);
    }
    partition_set_sort(out);
}

bool streams_replay_target(struct coordinator *c, struct rd *key, struct rd *value) {
    struct streams_group *g = group_of(c, key, value != NULL);
    struct streams_member *m = g == NULL ? NULL : member_of(g, key, value != NULL);
    if (value == NULL) {
        if (m != NULL) task_sets_fini(&m->target);
        return true;
    }
    if (m == NULL) return false;
    (void)rd_be16(value);
    for (int i = 0; i < STREAMS_ROLES; i++) get_tasks(g, value, &m->target.of[i], 0);
    return !value->failed;
}

bool streams_replay_current(struct coordinator *c, struct rd *key, struct rd *value) {
    struct streams_group *g = group_of(c, key, value != NULL);
    struct streams_member *m = g == NULL ? NULL : member_of(g, key, value != NULL);
    if (value == NULL) {
        if (m == NULL) return true;
        task_sets_fini(&m->assigned);
        task_sets_fini(&m->revoking);
        m->epoch = -1;
        return true;
    }
    if (m == NULL) return false;
    (void)rd_be16(value);
    m->epoch = (int32_t)rd_be32(value);
    m->previous_epoch = (int32_t)rd_be32(value);
    uint8_t state = rd_u8(value);
    m->state = state <= STREAMS_UNRELEASED ? (enum streams_member_state)state : STREAMS_UNRELEASED;
    for (int i = 0; i < STREAMS_ROLES; i++) get_tasks(g, value, &m->assigned.of[i], m->epoch < 0 ? 0 : m->epoch);
    for (int i = 0; i < STREAMS_ROLES; i++) get_tasks(g, value, &m->revoking.of[i], m->epoch < 0 ? 0 : m->epoch);
    return !value->failed;
}

bool streams_replay_topology(struct coordinator *c, struct rd *key, struct rd *value) {
    struct streams_group *g = group_of(c, key, value != NULL);
    if (value == NULL) return true;
    if (g == NULL) return false;
    struct arena a;
    arena_init(&a);
    (void)rd_be16(value);
    struct streams_topology *t = streams_topology_get(value, &a);
    if (t != NULL) streams_take_topology(g, t);
    arena_fini(&a);
    return t != NULL;
}
