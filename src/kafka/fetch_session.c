// SPDX-License-Identifier: Apache-2.0
// The cache of fetch sessions; see fetch_session.h. Rules of eviction, epochs and of what is news are Kafka's.
#include "kafka/fetch_session.h"

#include "base/map.h"
#include "base/metrics.h"

enum { LEGACY = 0, INITIAL_EPOCH = 0, FINAL_EPOCH = -1 };

struct part {
    struct part *prev, *next; // in the order in which they are fetched
    struct kafka_uuid topic_id;
    char *topic; // before version 13; else NULL
    struct kafka_fetch_request_topics_partitions req;
    int64_t high_watermark, log_start; // as told last; -1 = not
};

struct session {
    int32_t id, epoch;
    bool uses_ids;
    int64_t used_us;
    struct map parts;
    struct part *first, *last;
};

struct fetch_sessions {
    struct sys *sys;
    struct sys_mutex mutex;
    struct map by_id;
    size_t slots, n_parts;
};

struct key {
    uint8_t bytes[16 + 4 + 256];
    size_t n;
};

static struct str key_of(struct key *k, bool uses_ids, const struct kafka_uuid *id, struct str topic, int32_t partition) {
    memcpy(k->bytes, &partition, 4);
    size_t n = uses_ids ? 16 : topic.n < 256 ? topic.n : 256;
    if (n > 0) memcpy(k->bytes + 4, uses_ids ? (const void *)id->b : topic.p, n);
    return str_n(k->bytes, n + 4);
}

static int32_t next_epoch(int32_t epoch) { return epoch < 0 ? FINAL_EPOCH : epoch == INT32_MAX ? 1 : epoch + 1; }

// ---- parts of a session (under the mutex) -------------------------------------------------------------------------------

static void unlink_part(struct session *s, struct part *p) {
    if (p->prev != NULL) p->prev->next = p->next;
    else s->first = p->next;
    if (p->next != NULL) p->next->prev = p->prev;
    else s->last = p->prev;
}

static void link_last(struct session *s, struct part *p) {
    p->prev = s->last;
    p->next = NULL;
    if (s->last != NULL) s->last->next = p;
    else s->first = p;
    s->last = p;
}

static void free_part(struct part *p) {
    mem_free(p->topic);
    mem_free(p);
}

static void set_part(struct fetch_sessions *all, struct session *s, const struct kafka_fetch_request_topics *t,
                     const struct kafka_fetch_request_topics_partitions *req) {
    struct key k;
    struct str key = key_of(&k, s->uses_ids, &t->topic_id, t->topic, req->partition);
    struct part *p = map_get(&s->parts, key);
    if (p == NULL) {
        if (all->n_parts >= FETCH_SESSION_PARTS) return; // the next full fetch names it again
        p = MEM_NEW(struct part);
        p->topic_id = t->topic_id;
        if (!s->uses_ids) p->topic = mem_strndup(t->topic.p, t->topic.n);
        p->high_watermark = p->log_start = -1;
        link_last(s, p);
        map_put(&s->parts, key, p);
        all->n_parts++;
    }
    p->req = *req;
}

static void forget_part(struct fetch_sessions *all, struct session *s, const struct kafka_fetch_request_forgotten_topics_data *t, int32_t partition) {
    struct key k;
    struct part *p = map_remove(&s->parts, key_of(&k, s->uses_ids, &t->topic_id, t->topic, partition));
    if (p == NULL) return;
    unlink_part(s, p);
    free_part(p);
    all->n_parts--;
}

// ---- the cache (under the mutex) ----------------------------------------------------------------------------------------

static struct session *find(struct fetch_sessions *all, int32_t id) { return map_get(&all->by_id, str_n(&id, sizeof id)); }

static void drop(struct fetch_sessions *all, struct session *s) {
    if (s == NULL) return;
    map_remove(&all->by_id, str_n(&s->id, sizeof s->id));
    all->n_parts -= s->parts.n;
    for (struct part *p = s->first, *next; p != NULL; p = next) {
        next = p->next;
        free_part(p);
    }
    map_fini(&s->parts);
    mem_free(s);
}

// Room for a session of n partitions: one that nobody has used for two minutes goes, else the smallest, if it is smaller than the new one.
static bool make_room(struct fetch_sessions *all, size_t n, int64_t now) {
    if (all->n_parts + n > FETCH_SESSION_PARTS) return false;
    if (all->by_id.n < all->slots) return true;
    struct session *oldest = NULL, *smallest = NULL;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&all->by_id, &it)) != NULL;) {
        struct session *s = e->value;
        if (oldest == NULL || s->used_us < oldest->used_us) oldest = s;
        if (smallest == NULL || s->parts.n < smallest->parts.n) smallest = s;
    }
    if (oldest == NULL) return false;
    struct session *goes = now - oldest->used_us > FETCH_SESSION_STALE_US ? oldest : smallest->parts.n < n ? smallest : NULL;
    if (goes == NULL) return false;
    drop(all, goes);
    metric_add(M_FETCH_SESSION_EVICTIONS, NULL, 1);
    return true;
}

static struct session *make_session(struct fetch_sessions *all, bool uses_ids, int64_t now) {
    struct session *s = MEM_NEW(struct session);
    do s->id = (int32_t)(sys_random_u64(all->sys) & 0x7fffffff);
    while (s->id == LEGACY || find(all, s->id) != NULL);
    s->epoch = next_epoch(INITIAL_EPOCH);
    s->uses_ids = uses_ids;
    s->used_us = now;
    map_init(&s->parts);
    map_put(&all->by_id, str_n(&s->id, sizeof s->id), s);
    return s;
}

struct fetch_sessions *fetch_sessions_new(struct sys *s, int64_t slots) {
    struct fetch_sessions *all = MEM_NEW(struct fetch_sessions);
    all->sys = s;
    all->slots = slots < 0 ? 0 : (size_t)slots;
    sys_mutex_init(&all->mutex);
    map_init(&all->by_id);
    return all;
}

void fetch_sessions_free(struct fetch_sessions *all) {
    if (all == NULL) return;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&all->by_id, &it)) != NULL;) drop(all, e->value);
    map_fini(&all->by_id);
    sys_mutex_fini(&all->mutex);
    mem_free(all);
}

size_t fetch_sessions_count(struct fetch_sessions *all) {
    sys_mutex_lock(&all->mutex);
    size_t n = all->by_id.n;
    sys_mutex_unlock(&all->mutex);
    return n;
}

size_t fetch_sessions_parts(struct fetch_sessions *all) {
    sys_mutex_lock(&all->mutex);
    size_t n = all->n_parts;
    sys_mutex_unlock(&all->mutex);
    return n;
}

// ---- a request ----------------------------------------------------------------------------------------------------------

static bool same_topic(const struct session *s, const struct part *a, const struct part *b) {
    return s->uses_ids ? memcmp(a->topic_id.b, b->topic_id.b, 16) == 0 : strcmp(a->topic, b->topic) == 0;
}

// The session's list as if the request had named it; neighbours of one topic together.
static void list_parts(const struct session *s, struct kafka_fetch_request *req, struct arena *a) {
    req->topics.p = KAFKA_ELEMENTS(a, kafka_fetch_request_topics, (int32_t)s->parts.n);
    req->topics.n = 0;
    for (const struct part *p = s->first; p != NULL;) {
        int32_t n = 0;
        for (const struct part *x = p; x != NULL && same_topic(s, p, x); x = x->next) n++;
        struct kafka_fetch_request_topics *t = &req->topics.p[req->topics.n++];
        t->topic_id = p->topic_id;
        if (p->topic != NULL) t->topic = str_c(arena_strdup(a, p->topic));
        t->partitions.p = KAFKA_ELEMENTS(a, kafka_fetch_request_topics_partitions, n);
        t->partitions.n = n;
        for (int32_t i = 0; i < n; i++, p = p->next) t->partitions.p[i] = p->req;
    }
}

static void update(struct fetch_sessions *all, struct session *s, const struct kafka_fetch_request *req) {
    for (int32_t t = 0; t < req->topics.n; t++)
        for (int32_t i = 0; i < req->topics.p[t].partitions.n; i++) set_part(all, s, &req->topics.p[t], &req->topics.p[t].partitions.p[i]);
    for (int32_t t = 0; t < req->forgotten_topics_data.n; t++)
        for (int32_t i = 0; i < req->forgotten_topics_data.p[t].partitions.n; i++)
            forget_part(all, s, &req->forgotten_topics_data.p[t], req->forgotten_topics_data.p[t].partitions.p[i]);
}

static bool is_full(const struct kafka_fetch_request *req) { return req->session_epoch == INITIAL_EPOCH || req->session_epoch == FINAL_EPOCH; }

int fetch_session_begin(struct fetch_sessions *all, struct kafka_fetch_request *req, int version, struct arena *a) {
    int error = 0;
    if (version < 7 || (req->session_id == LEGACY && req->session_epoch == FINAL_EPOCH)) return 0;
    sys_mutex_lock(&all->mutex);
    struct session *s = find(all, req->session_id);
    if (is_full(req)) {
        drop(all, s); // a full fetch ends the session that it names
    } else if (s == NULL) {
        error = KAFKA_FETCH_SESSION_ID_NOT_FOUND;
    } else if (s->epoch != req->session_epoch) {
        error = KAFKA_INVALID_FETCH_SESSION_EPOCH;
    } else if (s->uses_ids != (version >= 13)) {
        error = KAFKA_FETCH_SESSION_TOPIC_ID_ERROR;
    } else {
        update(all, s, req);
        s->epoch = next_epoch(s->epoch);
        s->used_us = sys_mono_us(all->sys);
        list_parts(s, req, a);
        if (s->parts.n == 0) {
            drop(all, s);
            req->session_id = LEGACY; // answered without one
            req->session_epoch = FINAL_EPOCH;
        }
    }
    sys_mutex_unlock(&all->mutex);
    return error;
}

// ---- an answer ----------------------------------------------------------------------------------------------------------
typedef struct kafka_fetch_response_responses_partitions answer;

static bool is_news(struct session *s, struct part *p, const answer *r) {
    bool news = r->records.n > 0 || r->error_code != 0 || p->high_watermark != r->high_watermark || p->log_start != r->log_start_offset ||
                r->preferred_read_replica >= 0 || r->diverging_epoch.epoch >= 0;
    p->high_watermark = r->error_code != 0 ? -1 : r->high_watermark; // an error is told again until it is over
    p->log_start = r->log_start_offset;
    if (r->records.n > 0) { // those that had their turn go to the end
        unlink_part(s, p);
        link_last(s, p);
    }
    return news;
}

static void thin_out(struct session *s, struct kafka_fetch_response *res) {
    struct key k;
    int32_t topics = 0;
    for (int32_t t = 0; t < res->responses.n; t++) {
        struct kafka_fetch_response_responses *topic = &res->responses.p[t];
        int32_t n = 0;
        for (int32_t i = 0; i < topic->partitions.n; i++) {
            const answer *r = &topic->partitions.p[i];
            struct part *p = map_get(&s->parts, key_of(&k, s->uses_ids, &topic->topic_id, topic->topic, r->partition_index));
            if (p == NULL || is_news(s, p, r)) topic->partitions.p[n++] = *r;
        }
        topic->partitions.n = n;
        if (n > 0) res->responses.p[topics++] = *topic;
    }
    res->responses.n = topics;
}

static void begin_session(struct fetch_sessions *all, const struct kafka_fetch_request *req, bool uses_ids, struct kafka_fetch_response *res) {
    int64_t now = sys_mono_us(all->sys);
    size_t n = 0;
    struct key k;
    for (int32_t t = 0; t < req->topics.n; t++) n += (size_t)req->topics.p[t].partitions.n;
    if (!make_room(all, n, now)) return;
    struct session *s = make_session(all, uses_ids, now);
    for (int32_t t = 0; t < req->topics.n; t++)
        for (int32_t i = 0; i < req->topics.p[t].partitions.n; i++) set_part(all, s, &req->topics.p[t], &req->topics.p[t].partitions.p[i]);
    for (int32_t t = 0; t < res->responses.n; t++)
        for (int32_t i = 0; i < res->responses.p[t].partitions.n; i++) {
            const answer *r = &res->responses.p[t].partitions.p[i];
            struct part *p = map_get(&s->parts, key_of(&k, uses_ids, &res->responses.p[t].topic_id, res->responses.p[t].topic, r->partition_index));
            if (p == NULL) continue;
            p->high_watermark = r->high_watermark;
            p->log_start = r->log_start_offset;
        }
    res->session_id = s->id;
}

void fetch_session_end(struct fetch_sessions *all, const struct kafka_fetch_request *req, int version, struct kafka_fetch_response *res) {
    if (version < 7 || req->session_epoch == FINAL_EPOCH) return; // none wanted
    sys_mutex_lock(&all->mutex);
    if (req->session_epoch == INITIAL_EPOCH) {
        begin_session(all, req, version >= 13, res);
    } else {
        struct session *s = find(all, req->session_id);
        res->session_id = req->session_id;
        if (s == NULL || s->epoch != next_epoch(req->session_epoch)) {
            res->error_code = KAFKA_INVALID_FETCH_SESSION_EPOCH;
            res->responses.n = 0;
        } else {
            thin_out(s, res);
        }
    }
    sys_mutex_unlock(&all->mutex);
}
