// SPDX-License-Identifier: Apache-2.0
// Share-partitions in memory: loading, storing changes, locks that run out, waking those who wait.
#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/metrics.h"
#include "broker/dynamic.h"
#include "broker/share_group.h"

static struct buf map_key(const char *group, const uint8_t id[16], int32_t partition) {
    struct buf key = {0};
    buf_put(&key, id, 16);
    buf_put_be32(&key, (uint32_t)partition);
    buf_puts(&key, group);
    return key;
}

uint64_t share_owner(const char *member) {
    uint64_t h = 14695981039346656037u;
    for (const char *c = member; *c != '\0'; c++) h = (h ^ (uint8_t)*c) * 1099511628211u;
    h ^= h >> 29;
    return h == 0 ? 1 : h;
}

static int64_t now_us(const struct share_part *p) { return sys_mono_us(p->share->broker->sys); }

// The configs may have changed.
static void look_at_limits(struct share_part *p) {
    uint64_t version = broker_config_version(p->share->broker);
    if (p->config_version == version) return;
    p->config_version = version;
    p->runs.limits = share_config_of(p->share, p->group).limits;
}

struct share_part *share_part_find(const struct share *s, const char *group, const uint8_t topic_id[16], int32_t partition) {
    struct buf k = map_key(group, topic_id, partition);
    struct share_part *p = map_get(&s->parts, buf_str(&k));
    buf_fini(&k);
    if (p != NULL) look_at_limits(p);
    return p;
}

// ---- loading --------------------------------------------------------------------------------------------------------

int64_t share_duration_ms(const char *text) {
    const char *c = text;
    int64_t total = 0;
    bool time = false, any = false;
    if (*c++ != 'P') return -1;
    for (; *c != '\0'; c++) {
        if (*c == 'T' && !time) {
            time = true;
            continue;
        }
        char *end;
        if (*c < '0' || *c > '9') return -1;
        double n = strtod(c, &end);
        if (!(n <= 1e9)) return -1;
        int64_t unit = *end == 'D' && !time ? 86400000 : *end == 'H' && time ? 3600000 : *end == 'M' && time ? 60000 : *end == 'S' && time ? 1000 : -1;
        if (unit < 0 || total > INT64_MAX / 2) return -1;
        total += (int64_t)(n * (double)unit);
        any = true;
        c = end;
    }
    return any ? total : -1;
}

static enum err_code first_offset(struct share_part *p, const char *reset, int64_t *out, struct err *err) {
    struct broker *b = p->share->broker;
    int64_t found;
    if (strcmp(reset, "earliest") == 0) return broker_offset_for_time(b, p->topic, p->partition, BROKER_OFFSET_EARLIEST, out, &found, err);
    if (strncmp(reset, "by_duration:", 12) == 0) {
        int64_t ago = share_duration_ms(reset + 12);
        enum err_code code = broker_offset_for_time(b, p->topic, p->partition, sys_now_us(b->sys) / 1000 - (ago < 0 ? 0 : ago), out, &found, err);
        if (code != ERR_OK || *out >= 0) return code;
    }
    return broker_offset_for_time(b, p->topic, p->partition, BROKER_OFFSET_LATEST, out, &found, err);
}

static void part_free(struct share_part *p) {
    if (p->dead && !p->share->stopping) share_fetches_look(p->share, p->group); // they may load it anew
    struct buf k = map_key(p->group, p->topic_id, p->partition);
    map_remove(&p->share->parts, buf_str(&k));
    buf_fini(&k);
    loop_timer_cancel(p->share->loop, &p->locks);
    loop_timer_cancel(p->share->loop, &p->letters_timer);
    metric_add(M_SHARE_PARTITIONS, NULL, -1);
    share_runs_fini(&p->runs);
    mem_free(p->group);
    mem_free(p->topic);
    mem_free(p);
}

static void maybe_free(struct share_part *p) {
    if (p->leaving && p->changes == 0 && p->waits == NULL) part_free(p);
}

static int load(struct share_part *p, const struct share_stored *e, const char **message) {
    struct share_group_config c = share_config_of(p->share, p->group);
    struct err err = {0};
    struct broker_offsets offsets = {0};
    int64_t start = e->start;
    enum err_code code = broker_offsets(p->share->broker, p->topic, p->partition, &offsets, &err);
    if (code == ERR_OK && start < 0) code = first_offset(p, c.reset, &start, &err);
    if (code != ERR_OK) {
        *message = "The share-partition could not be loaded.";
        return err_info(code)->kafka;
    }
    p->state_epoch = e->state_epoch;
    share_runs_init(&p->runs, start, &c.limits);
    if (e->start >= 0 && !share_runs_load(&p->runs, e->ranges.p, e->ranges.n)) {
        log_error("broker", "the stored state of a share-partition contradicts itself", "group", p->group, "topic", p->topic, NULL);
        *message = "The stored state of the share-partition contradicts itself.";
        return KAFKA_UNKNOWN_SERVER_ERROR;
    }
    share_runs_log_start(&p->runs, offsets.start);
    return 0;
}

static void begun(void *arg, int error, const char *message) {
    struct share_part *p = arg;
    (void)message;
    p->beginning = false;
    if (error == 0 || p->dead) return; // dead: others gave it a state meanwhile
    p->unbegun = p->dead = p->leaving = true;
}

// "earliest" finds the same records at the next load; a later end of the log would leave out what is given until then, or was waited for.
static void begin(struct share_part *p, const struct share_stored *e) {
    share_ranges none = {0};
    if (e->start >= 0 || strcmp(share_config_of(p->share, p->group).reset, "earliest") == 0) return;
    p->beginning = true;
    share_part_store(p, 0, &none, begun, p);
}

struct share_part *share_part_get(struct share *s, const char *group, const uint8_t topic_id[16], int32_t partition, int *error, const char **message) {
    struct share_part *p = share_part_find(s, group, topic_id, partition);
    *error = 0;
    *message = NULL;
    if (p != NULL && p->dead) return NULL; // until its last write has ended
    if (p != NULL) {
        p->leaving = false;
        return p;
    }
    struct arena a;
    struct broker_topic_info info;
    arena_init(&a);
    bool known = broker_topic_get_id(s->broker, topic_id, &a, &info);
    struct share_key key = {.group = group, .partition = partition};
    memcpy(key.topic_id, topic_id, 16);
    const struct share_stored *e = share_store_find(s->store, &key);
    if (!known) *error = KAFKA_UNKNOWN_TOPIC_ID;
    else if (partition < 0 || partition >= info.partitions) *error = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    else if (e == NULL && !share_group_expects(s->coordinator, group, info.name)) *error = KAFKA_UNKNOWN_SERVER_ERROR;
    if (known && *error == KAFKA_UNKNOWN_SERVER_ERROR) *message = "Read operation on uninitialized share partition not allowed.";
    if (*error == 0 && e != NULL) {
        p = MEM_NEW(struct share_part);
        p->share = s;
        p->group = mem_strdup(group);
        p->topic = mem_strdup(info.name);
        memcpy(p->topic_id, topic_id, 16);
        p->partition = partition;
        struct buf k = map_key(group, topic_id, partition);
        map_put(&s->parts, buf_str(&k), p);
        buf_fini(&k);
        metric_add(M_SHARE_PARTITIONS, NULL, 1);
        *error = load(p, e, message);
        if (*error != 0) {
            part_free(p);
            p = NULL;
        } else {
            share_dead_letters_start(p); // those that a restart has cut short
            begin(p, e);
        }
    }
    arena_fini(&a);
    return p;
}

void share_part_hold(struct share_part *p) { p->changes++; }

void share_part_let_go(struct share_part *p) {
    p->changes--;
    maybe_free(p);
}

void share_part_leave(struct share_part *p) {
    p->leaving = true;
    share_part_wake(p);
    maybe_free(p);
}

void share_parts_leave(struct share *s, const char *group, const uint8_t *topic_id) {
    struct map_entry *e;
    for (size_t it = 0; (e = map_next(&s->parts, &it)) != NULL;) {
        struct share_part *p = e->value;
        if ((group == NULL || strcmp(p->group, group) == 0) && (topic_id == NULL || memcmp(p->topic_id, topic_id, 16) == 0)) share_part_leave(p);
    }
}

void share_part_die(struct share *s, const struct share_key *key) {
    struct share_part *p = share_part_find(s, key->group, key->topic_id, key->partition);
    if (p == NULL) return;
    p->dead = true;
    share_part_leave(p);
}

// ---- waking ---------------------------------------------------------------------------------------------------------

void share_part_wake(struct share_part *p) {
    for (struct share_wait *w = p->waits; w != NULL; w = w->next) {
        w->known = false;
        share_fetching_wake(w->fetching);
    }
}

void share_part_log_start(struct share_part *p, int64_t log_start) { share_runs_log_start(&p->runs, log_start); }

// ---- changes --------------------------------------------------------------------------------------------------------

struct part_change {
    struct share_write write;
    struct share_part *part;
    share_ranges ranges;
    uint64_t change;
    share_part_fn *fn;
    void *arg;
};

static void change_stored(struct share_write *w) {
    struct part_change *x = w->arg;
    struct share_part *p = x->part;
    if (x->change != 0 && w->error == 0) share_runs_commit(&p->runs, x->change);
    else if (x->change != 0) share_runs_rollback(&p->runs, x->change, now_us(p));
    bool fenced = w->error == KAFKA_FENCED_STATE_EPOCH || w->error == KAFKA_FENCED_LEADER_EPOCH;
    if (fenced || w->error == KAFKA_INVALID_REQUEST) p->dead = p->leaving = true; // others changed the state, or deleted it: read it anew
    int error = fenced ? KAFKA_NOT_LEADER_OR_FOLLOWER : w->error == KAFKA_INVALID_REQUEST ? KAFKA_UNKNOWN_SERVER_ERROR : w->error;
    if (x->fn != NULL) x->fn(x->arg, error, w->message);
    if (!p->share->stopping) share_part_rearm(p);
    share_part_wake(p);
    if (w->error == 0) share_dead_letters_start(p); // else they are not stored: share_dead_letters.c tries again
    share_part_let_go(p);
    vec_fini(&x->ranges);
    mem_free(x);
}

void share_part_store(struct share_part *p, uint64_t change, share_ranges *ranges, share_part_fn *fn, void *arg) {
    struct part_change *x = MEM_NEW(struct part_change);
    *x = (struct part_change){.part = p, .ranges = *ranges, .change = change, .fn = fn, .arg = arg};
    *ranges = (share_ranges){0};
    x->write = (struct share_write){.kind = SHARE_WRITE_UPDATE, .state_epoch = p->state_epoch, .leader_epoch = BROKER_LEADER_EPOCH,
                                    .start = p->runs.start, .complete = p->beginning ? -1 : (int32_t)p->runs.complete, .ranges = x->ranges.p,
                                    .n_ranges = x->ranges.n, .done = change_stored, .arg = x};
    x->write.key = (struct share_key){.group = p->group, .partition = p->partition};
    memcpy(x->write.key.topic_id, p->topic_id, 16);
    p->changes++;
    share_store_write(p->share->store, &x->write);
}

void share_part_release(struct share_part *p, uint64_t owner, share_part_fn *fn, void *arg) {
    share_ranges ranges = {0};
    uint64_t change = share_runs_release(&p->runs, owner, &ranges);
    if (change != 0) {
        share_part_store(p, change, &ranges, fn, arg);
        return;
    }
    vec_fini(&ranges);
    if (fn != NULL) fn(arg, 0, NULL);
}

// ---- locks ----------------------------------------------------------------------------------------------------------

static void locks_over(void *arg) {
    struct share_part *p = arg;
    share_ranges ranges = {0};
    look_at_limits(p);
    int64_t records = share_runs_expire(&p->runs, now_us(p), &ranges);
    if (records > 0) {
        metric_add(M_SHARE_LOCK_TIMEOUTS, p->group, records);
        share_part_store(p, 0, &ranges, NULL, NULL);
        share_part_wake(p);
    }
    vec_fini(&ranges);
    share_part_rearm(p);
}

void share_part_rearm(struct share_part *p) {
    if (p->runs.lock_first_us == INT64_MAX) {
        loop_timer_cancel(p->share->loop, &p->locks);
        return;
    }
    int64_t delay = p->runs.lock_first_us - now_us(p);
    loop_timer_set(p->share->loop, &p->locks, delay < 0 ? 0 : delay, locks_over, p);
}
