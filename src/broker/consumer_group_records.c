// SPDX-License-Identifier: Apache-2.0
// Consumer groups in __consumer_offsets, in Kafka's own records (key versions 3 to 8 and 16), and their replay.
//
// A record of a member may come before or behind that of its group, as compaction leaves them: each makes what it needs.
#include "broker/consumer_group.h"

enum { TAG_HASH = 0 };    // of the group's record: MetadataHash
enum { TAG_CLASSIC = 0 }; // of a member's: ClassicMemberMetadata

void consumer_put_epoch(const struct consumer_group *g, struct group_records *r) {
    group_records_key_of(r, 3, g->head->id, NULL);
    struct buf *v = group_records_value(r, 0);
    buf_put_be32(v, (uint32_t)g->epoch);
    if (g->metadata_hash == 0) {
        put_no_tags(v);
    } else {
        put_one_tag(v, TAG_HASH, 8);
        buf_put_be64(v, (uint64_t)g->metadata_hash);
    }
    group_records_put(r);
}

static void put_classic(struct buf *v, const struct consumer_member *m) {
    struct buf tag = {0};
    buf_put_u8(&tag, 1); // not null
    buf_put_be32(&tag, (uint32_t)m->session_ms);
    put_compact_count(&tag, m->protocols.n);
    for (size_t i = 0; i < m->protocols.n; i++) {
        put_compact_string(&tag, str_c(m->protocols.p[i].name));
        put_compact_string(&tag, buf_str(&m->protocols.p[i].metadata)); // compact bytes look the same
        put_no_tags(&tag);
    }
    put_no_tags(&tag);
    put_one_tag(v, TAG_CLASSIC, tag.n);
    buf_put_str(v, buf_str(&tag));
    buf_fini(&tag);
}

void consumer_put_member(const struct consumer_member *m, struct group_records *r) {
    group_records_key_of(r, 5, m->group->head->id, m->id);
    struct buf *v = group_records_value(r, 0);
    put_compact_nullable(v, m->instance_id);
    put_compact_nullable(v, m->rack_id);
    put_compact_string(v, str_c(m->client_id));
    put_compact_string(v, str_c(m->client_host));
    put_compact_count(v, m->topics.n);
    for (size_t i = 0; i < m->topics.n; i++) put_compact_string(v, str_c(m->topics.p[i]));
    put_compact_nullable(v, m->regex);
    buf_put_be32(v, (uint32_t)m->rebalance_ms);
    put_compact_nullable(v, m->assignor);
    if (m->classic) put_classic(v, m);
    else put_no_tags(v);
    group_records_put(r);
}

void consumer_put_current(const struct consumer_member *m, struct group_records *r) {
    group_records_key_of(r, 8, m->group->head->id, m->id);
    struct buf *v = group_records_value(r, 0);
    buf_put_be32(v, (uint32_t)m->epoch);
    buf_put_be32(v, (uint32_t)m->previous_epoch);
    buf_put_u8(v, (uint8_t)m->state);
    partition_set_put(v, &m->assigned, true);
    partition_set_put(v, &m->revoking, true);
    put_no_tags(v);
    group_records_put(r);
}

void consumer_put_target(const struct consumer_member *m, struct group_records *r) {
    group_records_key_of(r, 7, m->group->head->id, m->id);
    struct buf *v = group_records_value(r, 0);
    partition_set_put(v, &m->target, false);
    put_no_tags(v);
    group_records_put(r);
}

void consumer_put_target_epoch(const struct consumer_group *g, struct group_records *r) {
    group_records_key_of(r, 6, g->head->id, NULL);
    struct buf *v = group_records_value(r, 0);
    assignment_put(v, g->assignment_epoch, &g->pace);
    group_records_put(r);
}

void consumer_put_regex(const struct consumer_group *g, const struct consumer_regex *x, struct group_records *r) {
    group_records_key_of(r, 16, g->head->id, x->text);
    struct buf *v = group_records_value(r, 0);
    put_compact_count(v, x->topics.n);
    for (size_t i = 0; i < x->topics.n; i++) put_compact_string(v, str_c(x->topics.p[i]));
    buf_put_be64(v, (uint64_t)x->version);
    buf_put_be64(v, (uint64_t)x->time_ms);
    put_no_tags(v);
    group_records_put(r);
}

void consumer_delete_regex(const struct consumer_group *g, const char *text, struct group_records *r) {
    group_records_key_of(r, 16, g->head->id, text);
    group_records_delete(r);
}

void consumer_delete_member(const struct consumer_group *g, const char *id, struct group_records *r) {
    static const int kinds[] = {8, 7, 5};
    for (size_t i = 0; i < 3; i++) {
        group_records_key_of(r, kinds[i], g->head->id, id);
        group_records_delete(r);
    }
}

void consumer_put_live(const struct group *head, struct group_records *r) {
    const struct consumer_group *g = head->own;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) consumer_put_member(e->value, r);
    for (size_t it = 0; (e = map_next(&g->regexes, &it)) != NULL;)
        if (((struct consumer_regex *)e->value)->resolved) consumer_put_regex(g, e->value, r);
    consumer_put_epoch(g, r);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) consumer_put_target(e->value, r);
    consumer_put_target_epoch(g, r);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) consumer_put_current(e->value, r);
}

void consumer_put_tombstones(const struct group *head, struct group_records *r) {
    const struct consumer_group *g = head->own;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) consumer_delete_member(g, e->key, r);
    for (size_t it = 0; (e = map_next(&g->regexes, &it)) != NULL;) consumer_delete_regex(g, e->key, r);
    group_records_key_of(r, 6, head->id, NULL);
    group_records_delete(r);
    group_records_key_of(r, 3, head->id, NULL);
    group_records_delete(r);
}

// ---- replay ---------------------------------------------------------------------------------------------------------

typedef bool replay_fn(struct coordinator *c, struct rd *key, struct rd *value);
replay_fn consumer_replay_epoch, consumer_replay_nothing, consumer_replay_member, consumer_replay_target_epoch, consumer_replay_target,
    consumer_replay_current, consumer_replay_regex;

static char *text_of(struct str s) { return s.p == NULL ? NULL : mem_strndup(s.p, s.n); }

static struct consumer_group *group_of(struct coordinator *c, struct rd *key, bool make) {
    struct group *head = group_replay_head(c, key, &consumer_group_ops, make);
    if (head == NULL) return NULL;
    return head->own == NULL ? consumer_group_new(head) : head->own;
}

static struct consumer_member *member_of(struct consumer_group *g, struct rd *key, bool make) {
    struct str id = get_string(key);
    if (key->failed || id.p == NULL) return NULL;
    char *name = mem_strndup(id.p, id.n);
    struct consumer_member *m = consumer_member_find(g, name);
    if (m == NULL && make) m = consumer_member_add(g, name);
    mem_free(name);
    return m;
}

bool consumer_replay_nothing(struct coordinator *c, struct rd *key, struct rd *value) {
    (void)c, (void)key, (void)value;
    return true;
}

bool consumer_replay_epoch(struct coordinator *c, struct rd *key, struct rd *value) {
    struct consumer_group *g = group_of(c, key, value != NULL);
    if (value == NULL) {
        if (g == NULL) return true;
        group_replay_gone(g->head);
        return true;
    }
    (void)rd_be16(value);
    int32_t epoch = (int32_t)rd_be32(value);
    int64_t hash = 0;
    for (struct tags t = tags_begin(value); tags_next(&t, value);)
        if (t.tag == TAG_HASH) hash = (int64_t)rd_be64(&t.value);
    if (g == NULL || value->failed) return false;
    g->epoch = epoch;
    g->metadata_hash = hash;
    return true;
}

static void read_names(struct rd *r, struct arena *a, const char ***out, size_t *n) {
    *n = get_compact_count(r);
    *out = ARENA_ARRAY(a, const char *, *n + 1);
    for (size_t i = 0; i < *n; i++) {
        struct str s = get_compact_string(r);
        (*out)[i] = arena_strndup(a, s.p == NULL ? "" : s.p, s.n);
    }
}

static void read_classic(struct rd *r, struct consumer_member *m) {
    if (rd_u8(r) != 1) return;
    m->classic = true;
    m->session_ms = (int32_t)rd_be32(r);
    for (size_t n = get_compact_count(r); n > 0 && !r->failed; n--) {
        struct str name = get_compact_string(r), metadata = get_compact_string(r);
        skip_tags(r);
        struct consumer_protocol *p = vec_push(&m->protocols);
        *p = (struct consumer_protocol){.name = mem_strndup(name.p == NULL ? "" : name.p, name.n)};
        buf_put_str(&p->metadata, metadata);
    }
    skip_tags(r);
}

static void replace(char **at, struct str s) {
    mem_free(*at);
    *at = text_of(s);
}

bool consumer_replay_member(struct coordinator *c, struct rd *key, struct rd *value) {
    struct consumer_group *g = group_of(c, key, value != NULL);
    struct consumer_member *m = g == NULL ? NULL : member_of(g, key, value != NULL);
    if (value == NULL) {
        if (m != NULL) consumer_member_drop(m);
        return true;
    }
    if (m == NULL) return false;
    struct arena a;
    const char **topics;
    size_t n;
    arena_init(&a);
    (void)rd_be16(value);
    char *instance = text_of(get_compact_string(value));
    consumer_set_instance(m, instance);
    mem_free(instance);
    replace(&m->rack_id, get_compact_string(value));
    struct str client_id = get_compact_string(value), client_host = get_compact_string(value);
    replace(&m->client_id, client_id.p == NULL ? STR("") : client_id);
    replace(&m->client_host, client_host.p == NULL ? STR("") : client_host);
    read_names(value, &a, &topics, &n);
    (void)consumer_set_topics(m, topics, n);
    char *regex = text_of(get_compact_string(value));
    (void)consumer_set_regex(m, regex);
    mem_free(regex);
    m->rebalance_ms = (int32_t)rd_be32(value);
    replace(&m->assignor, get_compact_string(value));
    m->classic = false;
    consumer_protocols_fini(m);
    for (struct tags t = tags_begin(value); tags_next(&t, value);)
        if (t.tag == TAG_CLASSIC) read_classic(&t.value, m);
    arena_fini(&a);
    return !value->failed;
}

bool consumer_replay_target_epoch(struct coordinator *c, struct rd *key, struct rd *value) {
    struct consumer_group *g = group_of(c, key, value != NULL);
    if (value == NULL) return true;
    (void)rd_be16(value);
    return g != NULL && assignment_get(value, &g->assignment_epoch, &g->pace);
}

// Kafka may write a target before its member's own record; for us a member is one with its record, which comes first.
bool consumer_replay_target(struct coordinator *c, struct rd *key, struct rd *value) {
    struct consumer_group *g = group_of(c, key, value != NULL);
    struct consumer_member *m = g == NULL ? NULL : member_of(g, key, value != NULL);
    if (value == NULL) {
        if (m != NULL) partition_set_fini(&m->target);
        return true;
    }
    if (m == NULL) return false;
    (void)rd_be16(value);
    partition_set_get(value, &m->target, 0);
    return !value->failed;
}

bool consumer_replay_current(struct coordinator *c, struct rd *key, struct rd *value) {
    struct consumer_group *g = group_of(c, key, value != NULL);
    struct consumer_member *m = g == NULL ? NULL : member_of(g, key, value != NULL);
    struct partition_set assigned = {0}, revoking = {0};
    if (value == NULL) {
        if (m == NULL) return true;
        consumer_own(m, &assigned, &revoking);
        m->epoch = -1;
        return true;
    }
    if (m == NULL) return false;
    (void)rd_be16(value);
    m->epoch = (int32_t)rd_be32(value);
    m->previous_epoch = (int32_t)rd_be32(value);
    uint8_t state = rd_u8(value);
    m->state = state <= CONSUMER_UNRELEASED ? (enum consumer_member_state)state : CONSUMER_UNRELEASED;
    int32_t epoch = m->epoch < 0 ? 0 : m->epoch; // where none are stored
    partition_set_get(value, &assigned, epoch);
    partition_set_get(value, &revoking, epoch);
    consumer_own(m, &assigned, &revoking);
    return !value->failed;
}

bool consumer_replay_regex(struct coordinator *c, struct rd *key, struct rd *value) {
    struct consumer_group *g = group_of(c, key, value != NULL);
    struct str text = get_string(key);
    if (key->failed || text.p == NULL) return false;
    if (g == NULL) return value == NULL;
    char *name = mem_strndup(text.p, text.n);
    struct consumer_regex *x = value == NULL ? map_getc(&g->regexes, name) : consumer_regex_make(g, name);
    mem_free(name);
    if (value == NULL) {
        if (x != NULL && x->members == 0) consumer_regex_drop(g, x);
        return true;
    }
    struct arena a;
    const char **topics;
    size_t n;
    arena_init(&a);
    (void)rd_be16(value);
    read_names(value, &a, &topics, &n);
    int64_t version = (int64_t)rd_be64(value), time = (int64_t)rd_be64(value);
    if (!value->failed) consumer_regex_resolved(g, x, topics, n, version, time);
    arena_fini(&a);
    return !value->failed;
}
