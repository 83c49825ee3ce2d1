// SPDX-License-Identifier: Apache-2.0
// Share sessions: what a member fetches, so that its requests say only what changed, and an epoch that finds lost and repeated requests.
// A session ends with its last request or with its connection, not with its membership. What it held is released.
#include "base/metrics.h"
#include "broker/share_inside.h"

static struct buf map_key(const char *group, const char *member) {
    struct buf key = {0};
    buf_puts(&key, group);
    buf_put_u8(&key, 0);
    buf_puts(&key, member);
    return key;
}

struct share_session *share_session_find(const struct share *s, const char *group, const char *member) {
    struct buf k = map_key(group, member);
    struct share_session *x = map_get(&s->sessions, buf_str(&k));
    buf_fini(&k);
    return x;
}

static void session_free(struct share *s, struct share_session *x) {
    struct buf k = map_key(x->group, x->member);
    map_remove(&s->sessions, buf_str(&k));
    buf_fini(&k);
    metric_add(M_SHARE_SESSIONS, NULL, -1);
    vec_fini(&x->parts);
    mem_free(x->group);
    mem_free(x->member);
    mem_free(x);
}

static struct share_session *session_new(struct share *s, const struct share_fetch *f) {
    struct share_session *x = MEM_NEW(struct share_session);
    x->group = mem_strdup(f->group_id);
    x->member = mem_strdup(f->member_id);
    x->owner = share_owner(f->member_id);
    x->connection = f->connection;
    struct buf k = map_key(f->group_id, f->member_id);
    map_put(&s->sessions, buf_str(&k), x);
    buf_fini(&k);
    metric_add(M_SHARE_SESSIONS, NULL, 1);
    return x;
}

static size_t find_part(const struct share_session *x, const uint8_t id[16], int32_t partition) {
    size_t i = 0;
    while (i < x->parts.n && (x->parts.p[i].partition != partition || memcmp(x->parts.p[i].topic_id, id, 16) != 0)) i++;
    return i;
}

static void update_parts(struct share_session *x, const struct share_fetch *f) {
    for (size_t i = 0; i < f->n_parts; i++) {
        const struct share_request_part *p = &f->parts[i];
        if (find_part(x, p->topic_id, p->partition) < x->parts.n) continue;
        struct share_session_part *to = vec_push(&x->parts);
        to->partition = p->partition;
        memcpy(to->topic_id, p->topic_id, 16);
    }
    for (size_t i = 0; i < f->n_forgotten; i++) {
        size_t at = find_part(x, f->forgotten[i].topic_id, f->forgotten[i].partition);
        if (at < x->parts.n) vec_remove(&x->parts, at);
    }
}

static int32_t next_epoch(int32_t epoch) { return epoch == INT32_MAX ? 1 : epoch + 1; }

int share_session_begin(struct share *s, struct share_fetch *f, struct share_session **out) {
    struct share_session *x = share_session_find(s, f->group_id, f->member_id);
    *out = x;
    if (f->session_epoch == SHARE_SESSION_FINAL) return x == NULL ? KAFKA_SHARE_SESSION_NOT_FOUND : 0;
    if (f->session_epoch == SHARE_SESSION_NEW) {
        for (size_t i = 0; i < f->n_parts; i++)
            if (f->parts[i].n_acks > 0) return KAFKA_INVALID_REQUEST; // nothing can be acknowledged yet
        if (x != NULL) session_free(s, x);
        if (s->sessions.n >= s->sessions_max) return KAFKA_SHARE_SESSION_LIMIT_REACHED;
        x = *out = session_new(s, f);
        x->epoch = 1;
        update_parts(x, f);
        return 0;
    }
    if (x == NULL) return KAFKA_SHARE_SESSION_NOT_FOUND;
    if (x->epoch != f->session_epoch) return KAFKA_INVALID_SHARE_SESSION_EPOCH;
    update_parts(x, f);
    x->epoch = next_epoch(x->epoch);
    return 0;
}

int share_session_acknowledge(struct share *s, const struct share_acknowledge *a, struct share_session **out) {
    struct share_session *x = share_session_find(s, a->group_id, a->member_id);
    *out = x;
    if (a->session_epoch == SHARE_SESSION_NEW) return KAFKA_INVALID_SHARE_SESSION_EPOCH;
    if (x == NULL) return KAFKA_SHARE_SESSION_NOT_FOUND;
    if (a->session_epoch == SHARE_SESSION_FINAL) return 0;
    if (x->epoch != a->session_epoch) return KAFKA_INVALID_SHARE_SESSION_EPOCH;
    x->epoch = next_epoch(x->epoch);
    return 0;
}

// ---- the end --------------------------------------------------------------------------------------------------------

struct releasing {
    size_t left;
    share_part_fn *fn;
    void *arg;
};

static void released_one(void *arg, int error, const char *message) {
    struct releasing *r = arg;
    (void)error; // what could not be released now is when its lock ends
    (void)message;
    if (--r->left > 0) return;
    if (r->fn != NULL) r->fn(r->arg, 0, NULL);
    mem_free(r);
}

static bool has_sessions(const struct share *s, const char *group) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->sessions, &it)) != NULL;)
        if (strcmp(((const struct share_session *)e->value)->group, group) == 0) return true;
    return false;
}

// A member may hold records of partitions that its session has forgotten: all of the group's are looked at.
void share_session_end(struct share *s, struct share_session *x, share_part_fn *fn, void *arg) {
    struct releasing *r = MEM_NEW(struct releasing);
    *r = (struct releasing){.left = 1, .fn = fn, .arg = arg};
    char *group = mem_strdup(x->group);
    uint64_t owner = x->owner;
    session_free(s, x);
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->parts, &it)) != NULL;) {
        struct share_part *p = e->value;
        if (strcmp(p->group, group) != 0) continue;
        r->left++;
        share_part_release(p, owner, released_one, r);
    }
    if (!has_sessions(s, group)) share_parts_leave(s, group, NULL); // when what was released is durable
    mem_free(group);
    released_one(r, 0, NULL);
}

struct closed_connection {
    struct share *share;
    uint64_t connection;
};

static void closed_on_loop(void *arg) {
    struct closed_connection *c = arg;
    struct share *s = c->share;
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->sessions, &it)) != NULL && !s->stopping;) {
        struct share_session *x = e->value;
        if (x->connection == c->connection) share_session_end(s, x, NULL, NULL);
    }
    mem_free(c);
}

void share_connection_closed(struct broker *b, uint64_t connection) {
    struct closed_connection *c = MEM_NEW(struct closed_connection);
    *c = (struct closed_connection){b->share, connection};
    loop_post(b->share->loop, closed_on_loop, c);
}

void share_sessions_free(struct share *s) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->sessions, &it)) != NULL;) session_free(s, e->value);
}
