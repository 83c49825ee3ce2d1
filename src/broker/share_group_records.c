// SPDX-License-Identifier: Apache-2.0
// The records of share groups in __consumer_offsets, in Kafka's formats, and their replay at the start.
// Key versions: 10 member, 11 group, 12 epoch of the target assignment, 13 target of a member, 14 current assignment of a member, 15 which
// partitions have state.
#include "broker/share_group.h"

enum { KEY_MEMBER = 10, KEY_GROUP, KEY_TARGET_EPOCH, KEY_TARGET, KEY_CURRENT, KEY_STATE, STATE_STABLE = 0 };

static void put_topics(struct buf *v, const share_topics *t, bool with_names) {
    put_compact_count(v, t->n);
    for (size_t i = 0; i < t->n; i++) {
        buf_put(v, t->p[i].id, 16);
        if (with_names) put_compact_string(v, str_c(t->p[i].name));
        put_compact_count(v, t->p[i].partitions.n);
        for (size_t k = 0; k < t->p[i].partitions.n; k++) buf_put_be32(v, (uint32_t)t->p[i].partitions.p[k]);
        put_no_tags(v);
    }
}

static void member_key(struct group_records *r, int version, const struct share_member *m) {
    struct buf *k = group_records_key(r, version);
    put_string(k, str_c(m->group->head->id));
    put_string(k, str_c(m->id));
}

static void group_key(struct group_records *r, int version, const struct share_group *g) { put_string(group_records_key(r, version), str_c(g->head->id)); }

void share_put_member(struct group_records *r, const struct share_member *m) {
    member_key(r, KEY_MEMBER, m);
    struct buf *v = group_records_value(r, 0);
    put_compact_nullable(v, m->rack_id);
    put_compact_string(v, str_c(m->client_id));
    put_compact_string(v, str_c(m->client_host));
    put_compact_count(v, m->topics.n);
    for (size_t i = 0; i < m->topics.n; i++) put_compact_string(v, str_c(m->topics.p[i]));
    put_no_tags(v);
    group_records_put(r);
}

void share_put_group(struct group_records *r, const struct share_group *g) {
    group_key(r, KEY_GROUP, g);
    struct buf *v = group_records_value(r, 0);
    buf_put_be32(v, (uint32_t)g->epoch);
    buf_put_be64(v, 0); // the hash of the topics' metadata: changes of topics are heard of here
    put_no_tags(v);
    group_records_put(r);
}

void share_put_target(struct group_records *r, const struct share_group *g) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct share_member *m = e->value;
        member_key(r, KEY_TARGET, m);
        struct buf *v = group_records_value(r, 0);
        put_topics(v, &m->target, false);
        put_no_tags(v);
        group_records_put(r);
    }
    group_key(r, KEY_TARGET_EPOCH, g);
    struct buf *v = group_records_value(r, 0);
    assignment_put(v, g->assignment_epoch, &g->pace);
    group_records_put(r);
}

void share_put_current(struct group_records *r, const struct share_member *m) {
    member_key(r, KEY_CURRENT, m);
    struct buf *v = group_records_value(r, 0);
    buf_put_be32(v, (uint32_t)m->epoch);
    buf_put_be32(v, (uint32_t)m->previous_epoch);
    buf_put_u8(v, STATE_STABLE);
    put_topics(v, &m->assigned, false);
    put_no_tags(v);
    group_records_put(r);
}

void share_put_state(struct group_records *r, const struct share_group *g) {
    group_key(r, KEY_STATE, g);
    struct buf *v = group_records_value(r, 0);
    put_compact_count(v, 0); // initializing: asked again after a crash
    put_topics(v, &g->initialized, true);
    put_compact_count(v, 0); // deleting
    put_no_tags(v);
    group_records_put(r);
}

void share_put_member_tombstones(struct group_records *r, const struct share_member *m) {
    static const int kinds[] = {KEY_CURRENT, KEY_TARGET, KEY_MEMBER};
    for (size_t i = 0; i < 3; i++) {
        member_key(r, kinds[i], m);
        group_records_delete(r);
    }
}

void share_put_all(struct group_records *r, const struct share_group *g) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) share_put_member(r, e->value);
    share_put_group(r, g);
    share_put_target(r, g);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) share_put_current(r, e->value);
    if (g->initialized.n > 0) share_put_state(r, g);
}

void share_put_group_tombstones(struct group_records *r, const struct share_group *g) {
    struct map_entry *e;
    static const int kinds[] = {KEY_STATE, KEY_TARGET_EPOCH, KEY_GROUP};
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) share_put_member_tombstones(r, e->value);
    for (size_t i = 0; i < 3; i++) {
        group_key(r, kinds[i], g);
        group_records_delete(r);
    }
}

// ---- replay ---------------------------------------------------------------------------------------------------------

static void get_topics(struct rd *v, bool with_names, share_topics *out) {
    size_t n = get_compact_count(v);
    share_topics_clear(out);
    for (size_t i = 0; i < n && !v->failed; i++) {
        uint8_t id[16] = {0};
        const uint8_t *p = rd_bytes(v, 16);
        if (p != NULL) memcpy(id, p, 16);
        struct str name = with_names ? get_compact_string(v) : STR("");
        char *text = mem_strndup(name.p == NULL ? "" : name.p, name.n);
        size_t m = get_compact_count(v);
        for (size_t k = 0; k < m && !v->failed; k++) share_topics_add(out, id, text, (int32_t)rd_be32(v));
        mem_free(text);
        skip_tags(v);
    }
}

static struct share_group *replay_group(struct coordinator *c, struct rd *key, bool make, char **member) {
    struct str id = get_string(key), m = member == NULL ? STR("") : get_string(key);
    if (key->failed || id.p == NULL || m.p == NULL) return NULL;
    char *name = mem_strndup(id.p, id.n);
    struct share_group *g = make ? share_group_make(c, name) : share_group_find(c, name);
    mem_free(name);
    if (member != NULL && g != NULL) *member = mem_strndup(m.p, m.n);
    return g;
}

bool share_member_replay(struct coordinator *c, struct rd *key, struct rd *value);
bool share_member_replay(struct coordinator *c, struct rd *key, struct rd *value) {
    char *id = NULL;
    struct share_group *g = replay_group(c, key, value != NULL, &id);
    if (g == NULL) return value == NULL && !key->failed;
    struct share_member *m = map_getc(&g->members, id);
    if (value == NULL) {
        if (m != NULL) share_member_free(m);
        mem_free(id);
        return true;
    }
    if (m == NULL) m = share_member_new(g, id);
    mem_free(id);
    (void)rd_be16(value);
    struct str rack = get_compact_string(value), client = get_compact_string(value), host = get_compact_string(value);
    mem_free(m->rack_id);
    mem_free(m->client_id);
    mem_free(m->client_host);
    m->rack_id = rack.p == NULL ? NULL : mem_strndup(rack.p, rack.n);
    m->client_id = mem_strndup(client.p == NULL ? "" : client.p, client.n);
    m->client_host = mem_strndup(host.p == NULL ? "" : host.p, host.n);
    for (size_t i = 0; i < m->topics.n; i++) mem_free(m->topics.p[i]);
    m->topics.n = 0;
    for (size_t n = get_compact_count(value); n > 0 && !value->failed; n--) {
        struct str t = get_compact_string(value);
        vec_add(&m->topics, mem_strndup(t.p == NULL ? "" : t.p, t.n));
    }
    return !value->failed;
}

bool share_group_replay(struct coordinator *c, struct rd *key, struct rd *value);
bool share_group_replay(struct coordinator *c, struct rd *key, struct rd *value) {
    struct share_group *g = replay_group(c, key, value != NULL, NULL);
    if (g == NULL) return value == NULL && !key->failed;
    if (value == NULL) {
        group_free(g->head);
        return true;
    }
    (void)rd_be16(value);
    g->epoch = (int32_t)rd_be32(value);
    return !value->failed;
}

bool share_target_epoch_replay(struct coordinator *c, struct rd *key, struct rd *value);
bool share_target_epoch_replay(struct coordinator *c, struct rd *key, struct rd *value) {
    struct share_group *g = replay_group(c, key, value != NULL, NULL);
    if (g == NULL || value == NULL) return value == NULL && !key->failed;
    (void)rd_be16(value);
    return assignment_get(value, &g->assignment_epoch, &g->pace);
}

// With `make` the member is made: after a compaction what it has may stand in front of its own record, if that was written anew.
static struct share_member *replay_member(struct coordinator *c, struct rd *key, bool make) {
    char *id = NULL;
    struct share_group *g = replay_group(c, key, make, &id);
    struct share_member *m = g == NULL ? NULL : map_getc(&g->members, id);
    if (g != NULL && m == NULL && make) m = share_member_new(g, id);
    mem_free(id);
    return m;
}

bool share_target_replay(struct coordinator *c, struct rd *key, struct rd *value);
bool share_target_replay(struct coordinator *c, struct rd *key, struct rd *value) {
    struct share_member *m = replay_member(c, key, value != NULL);
    if (m == NULL || value == NULL) return value == NULL && !key->failed;
    (void)rd_be16(value);
    get_topics(value, false, &m->target);
    return !value->failed;
}

bool share_current_replay(struct coordinator *c, struct rd *key, struct rd *value);
bool share_current_replay(struct coordinator *c, struct rd *key, struct rd *value) {
    struct share_member *m = replay_member(c, key, value != NULL);
    if (m == NULL || value == NULL) return value == NULL && !key->failed;
    (void)rd_be16(value);
    m->epoch = (int32_t)rd_be32(value);
    m->previous_epoch = (int32_t)rd_be32(value);
    (void)rd_u8(value);
    get_topics(value, false, &m->assigned);
    return !value->failed;
}

bool share_state_replay(struct coordinator *c, struct rd *key, struct rd *value);
bool share_state_replay(struct coordinator *c, struct rd *key, struct rd *value) {
    struct share_group *g = replay_group(c, key, value != NULL, NULL);
    if (g == NULL || value == NULL) return value == NULL && !key->failed;
    (void)rd_be16(value);
    share_topics initializing = {0};
    get_topics(value, true, &initializing);
    share_topics_clear(&initializing);
    get_topics(value, true, &g->initialized);
    return !value->failed;
}
