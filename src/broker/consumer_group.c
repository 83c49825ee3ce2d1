// SPDX-License-Identifier: Apache-2.0
// The state of consumer groups: members, their subscriptions, who owns which partition, target assignments. See consumer_group.h.
//
// All on the coordinator's loop, except loading. A group owns its members, topics, regular expressions and owners' tables.
#include "broker/consumer_group.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/consumer_assignor.h"

// Kafka's own classes have short names, which members know them by.
static char *assignor_names(const char *list) {
    struct str rest = str_c(list), head;
    struct buf out = {0};
    for (bool more = true; more;) {
        more = str_cut(rest, ',', &head, &rest);
        head = str_trim(head);
        if (str_ends(head, STR(".UniformAssignor"))) head = STR("uniform");
        if (str_ends(head, STR(".RangeAssignor"))) head = STR("range");
        buf_printf(&out, "%s" STR_FMT, out.n > 0 ? "," : "", STR_ARG(head));
    }
    char *names = mem_strndup((const char *)out.p, out.n);
    buf_fini(&out);
    return names;
}

void consumer_limits_load(struct coordinator *c) {
    const struct broker *b = c->broker;
    const char *policy = configs_broker_text(b, "group.consumer.migration.policy");
    bool both = str_ieq(str_c(policy), STR("bidirectional"));
    c->consumer.heartbeat_ms = (int32_t)configs_broker_i64(b, "group.consumer.heartbeat.interval.ms", 5000);
    c->consumer.session_ms = (int32_t)configs_broker_i64(b, "group.consumer.session.timeout.ms", 45000);
    c->consumer.max_size = (int32_t)configs_broker_i64(b, "group.consumer.max.size", INT32_MAX);
    c->consumer.regex_refresh_ms = (int32_t)configs_broker_i64(b, "group.consumer.regex.refresh.interval.ms", 600000);
    c->consumer.upgrade = both || str_ieq(str_c(policy), STR("upgrade"));
    c->consumer.downgrade = both || str_ieq(str_c(policy), STR("downgrade"));
    mem_free(c->consumer.assignors);
    c->consumer.assignors = assignor_names(configs_broker_text(b, "group.consumer.assignors"));
}

static void names_fini(name_list *v) {
    for (size_t i = 0; i < v->n; i++) mem_free(v->p[i]);
    vec_fini(v);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void names_set(name_list *v, const char *const *names, size_t n) {
    names_fini(v);
    for (size_t i = 0; i < n; i++) vec_add(v, mem_strdup(names[i]));
    if (n > 1) qsort(v->p, v->n, sizeof *v->p, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < v->n; i++) {
        if (kept > 0 && strcmp(v->p[kept - 1], v->p[i]) == 0) mem_free(v->p[i]);
        else v->p[kept++] = v->p[i];
    }
    v->n = kept;
}

static bool names_equal(const name_list *a, const name_list *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->p[i], b->p[i]) != 0) return false;
    return true;
}

// ---- topics subscribed ----------------------------------------------------------------------------------------------

static void topic_look_up(const struct consumer_group *g, const char *name, struct consumer_topic *t) {
    struct broker_topic_info info;
    struct arena a;
    arena_init(&a);
    bool there = broker_topic_get(g->head->coordinator->broker, str_c(name), &a, &info);
    memset(t->id, 0, sizeof t->id);
    t->partitions = 0;
    if (there) {
        memcpy(t->id, info.id, sizeof t->id);
        t->partitions = info.partitions;
    }
    arena_fini(&a);
}

static void subscribe(struct consumer_group *g, const name_list *names) {
    for (size_t i = 0; i < names->n; i++) {
        struct consumer_topic *t = map_getc(&g->topics, names->p[i]);
        if (t == NULL) {
            t = MEM_NEW(struct consumer_topic);
            topic_look_up(g, names->p[i], t);
            map_put(&g->topics, str_c(names->p[i]), t);
        }
        t->subscribers++;
    }
}

static void unsubscribe(struct consumer_group *g, const name_list *names) {
    for (size_t i = 0; i < names->n; i++) {
        struct consumer_topic *t = map_getc(&g->topics, names->p[i]);
        assert(t != NULL && t->subscribers > 0);
        if (--t->subscribers > 0) continue;
        map_remove(&g->topics, str_c(names->p[i]));
        mem_free(t);
    }
}

bool consumer_set_topics(struct consumer_member *m, const char *const *names, size_t n) {
    name_list next = {0};
    names_set(&next, names, n);
    if (names_equal(&next, &m->topics)) {
        names_fini(&next);
        return false;
    }
    subscribe(m->group, &next);
    unsubscribe(m->group, &m->topics);
    names_fini(&m->topics);
    m->topics = next;
    return true;
}

void consumer_regex_resolved(struct consumer_group *g, struct consumer_regex *x, const char *const *names, size_t n, int64_t version, int64_t time) {
    name_list next = {0};
    names_set(&next, names, n);
    subscribe(g, &next);
    unsubscribe(g, &x->topics);
    names_fini(&x->topics);
    x->topics = next;
    x->resolved = true;
    x->version = version;
    x->time_ms = time;
}

bool consumer_regex_same(const struct consumer_regex *x, const char *const *names, size_t n) {
    name_list next = {0};
    names_set(&next, names, n);
    bool same = names_equal(&next, &x->topics);
    names_fini(&next);
    return same;
}

struct consumer_regex *consumer_regex_make(struct consumer_group *g, const char *text) {
    struct consumer_regex *x = map_getc(&g->regexes, text);
    if (x != NULL) return x;
    x = MEM_NEW(struct consumer_regex);
    x->text = mem_strdup(text);
    map_put(&g->regexes, str_c(text), x);
    return x;
}

void consumer_regex_drop(struct consumer_group *g, struct consumer_regex *x) {
    map_remove(&g->regexes, str_c(x->text));
    unsubscribe(g, &x->topics);
    names_fini(&x->topics);
    consumer_regex_rights_fini(x);
    mem_free(x->text);
    mem_free(x);
}

bool consumer_set_regex(struct consumer_member *m, const char *text) {
    if (text != NULL && text[0] == '\0') text = NULL;
    if (text == NULL ? m->regex == NULL : m->regex != NULL && strcmp(m->regex, text) == 0) return false;
    if (m->regex != NULL) ((struct consumer_regex *)map_getc(&m->group->regexes, m->regex))->members--;
    mem_free(m->regex);
    m->regex = group_strdup(text);
    if (text != NULL) consumer_regex_make(m->group, text)->members++;
    return true;
}

// FNV-1a; zero stands for "not known".
static uint64_t hash_more(uint64_t h, const void *p, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ ((const uint8_t *)p)[i]) * 0x100000001b3ULL;
    return h;
}

bool consumer_refresh_topics(struct consumer_group *g) {
    uint64_t sum = 0; // order does not matter
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->topics, &it)) != NULL;) {
        struct consumer_topic *t = e->value;
        topic_look_up(g, e->key, t);
        if (t->partitions == 0) continue;
        uint64_t h = hash_more(hash_more(0xcbf29ce484222325ULL, e->key, e->key_len), t->id, 16);
        sum += hash_more(h, &t->partitions, sizeof t->partitions);
    }
    bool changed = (int64_t)sum != g->metadata_hash;
    g->metadata_hash = (int64_t)sum;
    return changed;
}

// ---- owners ---------------------------------------------------------------------------------------------------------

static struct consumer_member **owner_of(struct consumer_group *g, const struct topic_partition *tp) {
    struct consumer_owners *o = map_get(&g->owners, str_n((const char *)tp->topic, 16));
    if (o == NULL) {
        o = MEM_NEW(struct consumer_owners);
        map_put(&g->owners, str_n((const char *)tp->topic, 16), o);
    }
    while (o->members.n <= (size_t)tp->partition) vec_add(&o->members, NULL);
    return &o->members.p[tp->partition];
}

bool consumer_is_free(const struct consumer_group *g, const struct topic_partition *tp) {
    const struct consumer_owners *o = map_get(&g->owners, str_n((const char *)tp->topic, 16));
    return o == NULL || (size_t)tp->partition >= o->members.n || o->members.p[tp->partition] == NULL;
}

static void release(struct consumer_member *m, const struct partition_set *s) {
    for (size_t i = 0; i < s->n; i++) {
        struct consumer_member **owner = owner_of(m->group, &s->p[i]);
        if (*owner == m) *owner = NULL;
    }
}

static void take(struct consumer_member *m, const struct partition_set *s) {
    for (size_t i = 0; i < s->n; i++) *owner_of(m->group, &s->p[i]) = m;
}

void consumer_own(struct consumer_member *m, struct partition_set *assigned, struct partition_set *revoking) {
    release(m, &m->assigned);
    release(m, &m->revoking);
    partition_set_move(&m->assigned, assigned);
    partition_set_move(&m->revoking, revoking);
    take(m, &m->assigned);
    take(m, &m->revoking);
}

// ---- members --------------------------------------------------------------------------------------------------------

struct consumer_group *consumer_find(const struct coordinator *c, const char *id) {
    struct group *g = group_find_type(c, id, &consumer_group_ops);
    return g == NULL ? NULL : g->own;
}

struct consumer_group *consumer_group_new(struct group *head) {
    struct consumer_group *g = MEM_NEW(struct consumer_group);
    g->head = head;
    head->own = g;
    map_init(&g->members);
    map_init(&g->statics);
    map_init(&g->topics);
    map_init(&g->regexes);
    map_init(&g->owners);
    return g;
}

struct consumer_member *consumer_member_find(const struct consumer_group *g, const char *id) { return map_getc(&g->members, id); }

struct consumer_member *consumer_member_add(struct consumer_group *g, const char *id) {
    struct consumer_member *m = MEM_NEW(struct consumer_member);
    m->group = g;
    m->id = mem_strdup(id);
    m->client_id = mem_strdup("");
    m->client_host = mem_strdup("");
    m->rebalance_ms = -1;
    map_put(&g->members, str_c(id), m);
    return m;
}

void consumer_set_instance(struct consumer_member *m, const char *instance_id) {
    struct map *statics = &m->group->statics;
    if (m->instance_id != NULL && map_getc(statics, m->instance_id) == m) map_remove(statics, str_c(m->instance_id));
    char *next = group_strdup(instance_id);
    mem_free(m->instance_id);
    m->instance_id = next;
    if (next != NULL) map_put(statics, str_c(next), m);
}

void consumer_member_rename(struct consumer_member *m, const char *id, struct group_records *r) {
    struct consumer_group *g = m->group;
    struct consumer_member *other = consumer_member_find(g, id);
    consumer_delete_member(g, m->id, r);
    if (other != NULL) {
        consumer_delete_member(g, id, r);
        consumer_member_drop(other);
        consumer_regex_sweep(g, r);
        (void)consumer_refresh_topics(g);
        consumer_bump(g, r);
    }
    map_remove(&g->members, str_c(m->id));
    group_text_set(&m->id, id);
    map_put(&g->members, str_c(id), m);
}

void consumer_protocols_fini(struct consumer_member *m) {
    for (size_t i = 0; i < m->protocols.n; i++) {
        mem_free(m->protocols.p[i].name);
        buf_fini(&m->protocols.p[i].metadata);
    }
    vec_fini(&m->protocols);
}

void consumer_member_drop(struct consumer_member *m) {
    struct consumer_group *g = m->group;
    struct loop *loop = g->head->coordinator->loop;
    struct partition_set none = {0}, no = {0};
    loop_timer_cancel(loop, &m->session);
    loop_timer_cancel(loop, &m->rebalance);
    loop_timer_cancel(loop, &m->join);
    loop_timer_cancel(loop, &m->sync);
    consumer_own(m, &none, &no);
    partition_set_fini(&m->target);
    consumer_set_instance(m, NULL);
    (void)consumer_set_regex(m, NULL);
    unsubscribe(g, &m->topics);
    names_fini(&m->topics);
    consumer_protocols_fini(m);
    map_remove(&g->members, str_c(m->id));
    if (g->members.n == 0) g->head->empty_since_ms = coordinator_now_ms(g->head->coordinator);
    mem_free(m->id);
    mem_free(m->rack_id);
    mem_free(m->client_id);
    mem_free(m->client_host);
    mem_free(m->assignor);
    mem_free(m);
}

int32_t consumer_session_ms(const struct consumer_member *m) {
    const struct group *g = m->group->head;
    return m->classic ? m->session_ms : (int32_t)group_config_i64(g, "consumer.session.timeout.ms", g->coordinator->consumer.session_ms);
}

// A member learns of its assignment by its heartbeats. While a group finds its shape, which takes two or three of them, they are asked for more
// often: at a tenth of the interval, from when the group changed until one interval later, and until this member is where it should be.
int32_t consumer_next_heartbeat_ms(const struct consumer_member *m) {
    enum { OFTEN = 10, LEAST_MS = 100 };
    const struct consumer_group *g = m->group;
    const struct coordinator *c = g->head->coordinator;
    int32_t ms = (int32_t)group_config_i64(g->head, "consumer.heartbeat.interval.ms", c->consumer.heartbeat_ms);
    if (g->epoch > g->assignment_epoch && m->state == CONSUMER_STABLE) return assignment_heartbeat_ms(assignment_wait_ms(g->head, &g->pace, "consumer"), ms);
    const struct consumer_regex *x = m->regex == NULL ? NULL : map_getc(&g->regexes, m->regex);
    bool changed = (g->changed_us > 0 && loop_now_us(c->loop) - g->changed_us < (int64_t)ms * 1000) || (x != NULL && !x->resolved);
    if (!changed && m->state == CONSUMER_STABLE && m->epoch == g->assignment_epoch) return ms;
    int32_t often = ms / OFTEN < LEAST_MS ? LEAST_MS : ms / OFTEN;
    return often < ms ? often : ms;
}

static void session_over(void *arg) { consumer_member_fence(arg, "session timed out"); }

void consumer_touch(struct consumer_member *m) {
    loop_timer_set(m->group->head->coordinator->loop, &m->session, (int64_t)consumer_session_ms(m) * 1000, session_over, m);
}

// Regular expressions that nobody uses any more.
void consumer_regex_sweep(struct consumer_group *g, struct group_records *r) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->regexes, &it)) != NULL;) {
        struct consumer_regex *x = e->value;
        if (x->members > 0) continue;
        if (x->resolved) consumer_delete_regex(g, x->text, r);
        consumer_regex_drop(g, x);
    }
}

void consumer_member_leave(struct consumer_member *m, struct group_records *r) {
    struct consumer_group *g = m->group;
    bool downgrade = consumer_may_downgrade(g, m);
    log_info("broker", "member leaves a consumer group", "group", g->head->id, "member", m->id, NULL);
    consumer_delete_member(g, m->id, r);
    consumer_member_drop(m);
    consumer_regex_sweep(g, r);
    if (downgrade) {
        consumer_downgrade(g, r, true);
        return;
    }
    (void)consumer_refresh_topics(g);
    consumer_bump(g, r);
}

void consumer_member_fence(struct consumer_member *m, const char *why) {
    struct group *head = m->group->head;
    struct group_records *r = group_records_new(head->coordinator);
    log_info("broker", "member of a consumer group is fenced", "group", head->id, "member", m->id, "why", why, NULL);
    consumer_member_leave(m, r);
    group_records_submit(r, head, NULL, NULL);
}

// ---- epochs and targets ---------------------------------------------------------------------------------------------

void consumer_bump(struct consumer_group *g, struct group_records *r) {
    g->epoch++;
    g->changed_us = loop_now_us(g->head->coordinator->loop);
    consumer_put_epoch(g, r);
}

static bool is_offered(const struct consumer_group *g, const char *name) {
    struct str rest = str_c(g->head->coordinator->consumer.assignors), head;
    bool more = true;
    while (more) {
        more = str_cut(rest, ',', &head, &rest);
        if (str_eq(str_trim(head), str_c(name))) return true;
    }
    return false;
}

const char *consumer_assignor(const struct consumer_group *g) {
    static const char *const names[] = {"uniform", "range"};
    struct str first, rest;
    size_t votes[2] = {0};
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct consumer_member *m = e->value;
        for (size_t i = 0; i < 2 && m->assignor != NULL; i++) votes[i] += strcmp(m->assignor, names[i]) == 0 && is_offered(g, names[i]);
    }
    if (votes[0] + votes[1] > 0) return names[votes[1] > votes[0]];
    (void)str_cut(str_c(g->head->coordinator->consumer.assignors), ',', &first, &rest);
    return names[str_eq(str_trim(first), STR("range"))];
}

struct known_topic {
    const char *name;
    const struct consumer_topic *topic;
};

static int by_topic_id(const void *a, const void *b) {
    return memcmp(((const struct known_topic *)a)->topic->id, ((const struct known_topic *)b)->topic->id, 16);
}

struct target_work {
    struct known_topic *known; // sorted by id; those that exist
    struct assign_topic *topics;
    struct assign_member *members;
    struct consumer_member **who;
    size_t n_topics, n_members;
    struct map index; // name -> index + 1
    VEC(uint32_t *) lists;
};

static int by_index(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void add_indices(const struct target_work *w, const name_list *names, uint32_t *out, size_t *n) {
    for (size_t i = 0; i < names->n; i++) {
        const struct known_topic *k = map_getc(&w->index, names->p[i]);
        if (k != NULL) out[(*n)++] = (uint32_t)(k - w->known);
    }
}

static void list_topics(struct target_work *w, const struct consumer_member *m, struct assign_member *out) {
    const struct consumer_regex *x = m->regex == NULL ? NULL : map_getc(&m->group->regexes, m->regex);
    size_t room = m->topics.n + (x == NULL ? 0 : x->topics.n), n = 0, kept = 0;
    uint32_t *list = mem_alloc((room + 1) * sizeof *list);
    add_indices(w, &m->topics, list, &n);
    if (x != NULL) add_indices(w, &x->topics, list, &n);
    qsort(list, n, sizeof *list, by_index);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || list[kept - 1] != list[i]) list[kept++] = list[i];
    vec_add(&w->lists, list);
    out->topics = list;
    out->n_topics = kept;
}

static void target_init(struct target_work *w, struct consumer_group *g) {
    struct map_entry *e;
    *w = (struct target_work){0};
    map_init(&w->index);
    w->known = mem_zalloc((g->topics.n + 1) * sizeof *w->known);
    w->topics = mem_zalloc((g->topics.n + 1) * sizeof *w->topics);
    w->members = mem_zalloc((g->members.n + 1) * sizeof *w->members);
    w->who = mem_zalloc((g->members.n + 1) * sizeof *w->who);
    for (size_t it = 0; (e = map_next(&g->topics, &it)) != NULL;)
        if (((struct consumer_topic *)e->value)->partitions > 0) w->known[w->n_topics++] = (struct known_topic){e->key, e->value};
    qsort(w->known, w->n_topics, sizeof *w->known, by_topic_id);
    for (size_t t = 0; t < w->n_topics; t++) {
        memcpy(w->topics[t].id, w->known[t].topic->id, 16);
        w->topics[t].partitions = w->known[t].topic->partitions;
        map_put(&w->index, str_c(w->known[t].name), &w->known[t]);
    }
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct consumer_member *m = e->value;
        w->who[w->n_members] = m;
        w->members[w->n_members] = (struct assign_member){.id = m->id, .instance_id = m->instance_id, .current = &m->target};
        list_topics(w, m, &w->members[w->n_members++]);
    }
}

void consumer_update_target(struct consumer_group *g, struct group_records *r) {
    if (g->epoch <= g->assignment_epoch || assignment_wait_ms(g->head, &g->pace, "consumer") > 0) return;
    struct target_work w;
    size_t size = g->members.n;
    target_init(&w, g);
    assignor_named(consumer_assignor(g))(w.topics, w.n_topics, w.members, w.n_members);
    for (size_t i = 0; i < w.n_members; i++) {
        struct consumer_member *m = w.who[i];
        partition_set_sort(&w.members[i].out);
        if (!partition_set_equal(&m->target, &w.members[i].out)) {
            partition_set_move(&m->target, &w.members[i].out);
            consumer_put_target(m, r);
        }
        partition_set_fini(&w.members[i].out);
    }
    g->assignment_epoch = g->epoch;
    for (size_t i = 0; i < w.n_topics; i++) size += (size_t)w.topics[i].partitions;
    assignment_computed(g->head, &g->pace, size);
    consumer_put_target_epoch(g, r);
    for (size_t i = 0; i < w.lists.n; i++) mem_free(w.lists.p[i]);
    vec_fini(&w.lists);
    map_fini(&w.index);
    mem_free(w.known);
    mem_free(w.topics);
    mem_free(w.members);
    mem_free(w.who);
}

// ---- what all types of groups do ------------------------------------------------------------------------------------

static struct consumer_group *own(const struct group *g) { return g->own; }

static const char *protocol_type(const struct group *g) {
    (void)g;
    return "consumer";
}

static const char *state_name(const struct group *head) {
    const struct consumer_group *g = own(head);
    struct map_entry *e;
    if (g->members.n == 0) return "Empty";
    if (g->epoch > g->assignment_epoch) return "Assigning";
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        const struct consumer_member *m = e->value;
        if (m->state != CONSUMER_STABLE || m->epoch != g->assignment_epoch) return "Reconciling";
    }
    return "Stable";
}

static bool has_members(const struct group *g) { return own(g)->members.n > 0; }
static bool subscribes(const struct group *g, const char *topic) { return map_getc(&own(g)->topics, topic) != NULL; }

static int64_t ages_since(const struct group *g, int64_t commit_ms) {
    (void)g;
    return commit_ms;
}

static int stale(const struct consumer_member *m) { return m->classic ? KAFKA_ILLEGAL_GENERATION : KAFKA_STALE_MEMBER_EPOCH; }

// A commit of an older epoch is as good as one of today for what the member has had since then (KIP-1251). Topics that are not there are
// answered one by one.
static bool has_had(const struct consumer_member *m, const struct group_commit *x) {
    for (size_t i = 0; i < x->n_offsets; i++) {
        struct topic_partition tp = {.partition = x->offsets[i].partition};
        if (!topics_id(m->group->head->coordinator->broker, x->offsets[i].topic, tp.partition, tp.topic)) continue;
        const struct topic_partition *has = partition_set_find(&m->assigned, &tp);
        if (has == NULL) has = partition_set_find(&m->revoking, &tp);
        if (has == NULL || x->generation < has->epoch) return false;
    }
    return true;
}

static int check_commit(struct group *head, const struct group_commit *x) {
    const struct consumer_group *g = own(head);
    if (x->generation < 0 && g->members.n == 0) return 0; // an admin client
    bool in_txn = x->transactional_id != NULL; // its epochs are generations to it
    if (in_txn && group_commit_is_anonymous(x)) return 0;
    const struct consumer_member *m = x->member_id == NULL ? NULL : consumer_member_find(g, x->member_id);
    if (m == NULL) return KAFKA_UNKNOWN_MEMBER_ID;
    if (!m->classic && !in_txn && !x->knows_epochs) return KAFKA_UNSUPPORTED_VERSION;
    if (x->generation == m->epoch || (x->generation < m->epoch && has_had(m, x))) return 0;
    return in_txn ? KAFKA_ILLEGAL_GENERATION : stale(m);
}

static int check_fetch(struct group *head, const char *member_id, int32_t member_epoch) {
    const struct consumer_member *m = consumer_member_find(own(head), member_id);
    return m == NULL ? KAFKA_UNKNOWN_MEMBER_ID : member_epoch == m->epoch ? 0 : stale(m);
}

static void free_own(struct group *head) {
    struct consumer_group *g = own(head);
    struct map_entry *e;
    loop_timer_cancel(head->coordinator->loop, &g->refresh);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) consumer_member_drop(e->value);
    for (size_t it = 0; (e = map_next(&g->regexes, &it)) != NULL;) consumer_regex_drop(g, e->value);
    for (size_t it = 0; (e = map_next(&g->topics, &it)) != NULL;) mem_free(e->value);
    for (size_t it = 0; (e = map_next(&g->owners, &it)) != NULL;) {
        struct consumer_owners *o = e->value;
        vec_fini(&o->members);
        mem_free(o);
    }
    map_fini(&g->members);
    map_fini(&g->statics);
    map_fini(&g->topics);
    map_fini(&g->regexes);
    map_fini(&g->owners);
    mem_free(g);
}

static void stop(struct group *head) { // members stay as they are in the log: they go on after the start
    struct consumer_group *g = own(head);
    struct map_entry *e;
    loop_timer_cancel(head->coordinator->loop, &g->refresh);
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct consumer_member *m = e->value;
        loop_timer_cancel(head->coordinator->loop, &m->session);
        loop_timer_cancel(head->coordinator->loop, &m->rebalance);
        loop_timer_cancel(head->coordinator->loop, &m->join);
        loop_timer_cancel(head->coordinator->loop, &m->sync);
    }
}

static void topics_changed(struct group *head, const char *topic) {
    struct consumer_group *g = own(head);
    if (g->members.n == 0) return;
    if (g->regexes.n > 0) consumer_resolve(g);
    if (topic != NULL && map_getc(&g->topics, topic) == NULL) return;
    if (!consumer_refresh_topics(g)) return;
    struct group_records *r = group_records_new(head->coordinator);
    consumer_bump(g, r);
    group_records_submit(r, head, NULL, NULL);
}

static void loaded(struct group *head) {
    struct consumer_group *g = own(head);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&g->members, &it)) != NULL;) {
        struct consumer_member *m = e->value;
        consumer_touch(m);
        consumer_rebalance_timer(m);
    }
    topics_changed(head, NULL);
}

const struct group_ops consumer_group_ops = {
    .type = GROUP_CONSUMER,
    .name = "Consumer",
    .what = "a consumer group",
    .protocol_type = protocol_type,
    .state_name = state_name,
    .has_members = has_members,
    .subscribes = subscribes,
    .ages_since = ages_since,
    .check_commit = check_commit,
    .check_fetch = check_fetch,
    .put_live = consumer_put_live,
    .put_tombstones = consumer_put_tombstones,
    .topics_changed = topics_changed,
    .loaded = loaded,
    .stop = stop,
    .free_own = free_own,
};
