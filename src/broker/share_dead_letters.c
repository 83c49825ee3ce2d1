// SPDX-License-Identifier: Apache-2.0
// The dead-letter queue of a share group (KIP-1191): records whose delivery failed are written to a topic, with headers that say where they
// come from and why, and with their key and value where the group wants that.
//
// Such records are `archiving` in their share-partition and hold its start. A thread that reads from the disk checks the configs, makes the
// topic if it may, reads, and appends; what is durable there is then archived. So each has at least one dead letter, and more when the
// server ends between the two or the group's state cannot be written. No thread of the broker's pool does it: it waits for a sync of theirs.
// When it fails it is tried again some times, with growing pauses; then the records are archived without one, and the log says so: a queue
// that is not there must not stop the group. One job at a time for a share-partition; its memory is bounded by RECORDS_AT_ONCE and one batch,
// which may grow to PLAIN_BYTES_MAX.
#include <stdio.h>

#include "base/log.h"
#include "base/metrics.h"
#include "broker/dynamic.h"
#include "broker/share_inside.h"

enum { RECORDS_AT_ONCE = 500, READ_BYTES = 1 << 20, PLAIN_BYTES_MAX = 64 << 20, TRIES = 5, PAUSE_FIRST_MS = 1000, N_HEADERS = 6 };
enum outcome { WRITTEN, AGAIN, NEVER };

struct letters { // one job
    struct share *share;
    struct share_part *part;
    char *group, *topic;
    int32_t partition;
    share_deads dead;
    // on the worker
    const char *queue;
    int32_t queue_partition;
    bool copy;
    size_t written;
    enum outcome outcome;
    struct err err;
};
struct letter {
    int64_t offset;
    struct str key, value;
    bool key_null, value_null;
};
struct batch_of_letters {
    struct letters *job;
    const struct share_dead *dead;
    struct arena arena;
    VEC(struct letter) v;
    int64_t next; // the first offset that is in none yet
};

// ---- the queue ------------------------------------------------------------------------------------------------------

static enum outcome refuse(struct letters *x, const char *why) {
    (void)err_set(&x->err, ERR_CONFIG, "%s (queue %s)", why, x->queue);
    return NEVER;
}

// Is the topic a queue for dead letters? -1 = there is no such topic.
static int is_queue(struct letters *x) {
    struct arena a;
    struct broker_config_entry *configs;
    size_t n;
    int answer = 0;
    arena_init(&a);
    if (broker_topic_configs(x->share->broker, x->queue, &a, &configs, &n, NULL) != ERR_OK) answer = -1;
    for (size_t i = 0; answer == 0 && i < n; i++)
        if (strcmp(configs[i].name, "errors.deadletterqueue.group.enable") == 0) answer = configs[i].value != NULL && strcmp(configs[i].value, "true") == 0;
    arena_fini(&a);
    return answer;
}

static enum outcome make_queue(struct letters *x) {
    static const struct broker_kv configs[] = {{"errors.deadletterqueue.group.enable", "true"}, {"message.timestamp.type", "CreateTime"}};
    enum err_code code = broker_topic_create(x->share->broker, x->queue, -1, configs, 2, false, NULL, NULL, &x->err);
    return code == ERR_OK || code == ERR_EXISTS ? WRITTEN : code == ERR_CONFIG || code == ERR_TOPIC_NAME ? NEVER : AGAIN;
}

static enum outcome find_queue(struct letters *x) {
    struct broker *b = x->share->broker;
    struct str group = str_c(x->group);
    const char *prefix = broker_config_text(b, "errors.deadletterqueue.topic.name.prefix");
    x->queue = broker_group_config(b, group, "errors.deadletterqueue.topic.name");
    x->copy = strcmp(broker_group_config(b, group, "errors.deadletterqueue.copy.record.enable"), "true") == 0;
    if (x->queue[0] == '\0') return refuse(x, "the group has no dead-letter queue any more");
    if (strncmp(x->queue, "__", 2) == 0) return refuse(x, "a dead-letter queue's name may not begin with __");
    if (strncmp(x->queue, prefix, strlen(prefix)) != 0) return refuse(x, "the name does not begin with errors.deadletterqueue.topic.name.prefix");
    int there = is_queue(x);
    if (there == 0) return refuse(x, "the topic's errors.deadletterqueue.group.enable is false");
    if (there < 0 && strcmp(broker_config_text(b, "errors.deadletterqueue.auto.create.topics.enable"), "true") != 0)
        return refuse(x, "there is no such topic, and errors.deadletterqueue.auto.create.topics.enable is false");
    enum outcome made = there < 0 ? make_queue(x) : WRITTEN;
    if (made != WRITTEN) return made;
    struct arena a;
    struct broker_topic_info info;
    arena_init(&a);
    bool found = broker_topic_get(b, str_c(x->queue), &a, &info);
    if (found) x->queue_partition = x->partition % info.partitions;
    arena_fini(&a);
    return found ? WRITTEN : AGAIN;
}

// ---- writing --------------------------------------------------------------------------------------------------------

static struct str number(struct arena *a, int64_t n) {
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)n);
    return str_c(arena_strdup(a, text));
}

// Names and texts are Kafka's: programs that read dead letters look for them.
static struct broker_record record_of(const struct batch_of_letters *w, struct arena *a, const struct letter *l) {
    const char *why = w->dead->rejected ? "Offset rejected by client." : "Offset delivery count exceeded the threshold.";
    struct broker_header *h = ARENA_ARRAY(a, struct broker_header, N_HEADERS);
    h[0] = (struct broker_header){STR("__dlq.errors.topic"), str_c(w->job->topic)};
    h[1] = (struct broker_header){STR("__dlq.errors.partition"), number(a, w->job->partition)};
    h[2] = (struct broker_header){STR("__dlq.errors.offset"), number(a, l->offset)};
    h[3] = (struct broker_header){STR("__dlq.errors.group"), str_c(w->job->group)};
    h[4] = (struct broker_header){STR("__dlq.errors.delivery.count"), number(a, w->dead->count)};
    h[5] = (struct broker_header){STR("__dlq.errors.message"), str_c(why)};
    return (struct broker_record){.key = l->key, .value = l->value, .key_null = l->key_null, .value_null = l->value_null, .timestamp_ms = -1,
                                  .headers = h, .n_headers = N_HEADERS};
}

// In halves when they are too large for one batch. One that is too large by itself is lost, as the log says.
static enum outcome append(struct batch_of_letters *w, size_t from, size_t to) {
    struct letters *x = w->job;
    struct arena a;
    if (from == to) return WRITTEN;
    arena_init(&a);
    struct broker_record *records = ARENA_ARRAY(&a, struct broker_record, to - from);
    for (size_t i = from; i < to; i++) records[i - from] = record_of(w, &a, &w->v.p[i]);
    enum err_code code = broker_append(x->share->broker, x->queue, x->queue_partition, records, to - from, NULL, &x->err);
    arena_fini(&a);
    if (code == ERR_OK) x->written += to - from;
    if (code == ERR_OK) return WRITTEN;
    if (code != ERR_TOO_LARGE) return AGAIN;
    if (to - from > 1) {
        enum outcome first = append(w, from, from + (to - from) / 2);
        return first == WRITTEN ? append(w, from + (to - from) / 2, to) : first;
    }
    log_error("broker", "a dead letter is larger than the queue takes", "group", x->group, "topic", x->topic, "queue", x->queue, NULL);
    return WRITTEN;
}

static enum outcome flush(struct batch_of_letters *w) {
    enum outcome outcome = append(w, 0, w->v.n);
    w->v.n = 0;
    arena_reset(&w->arena);
    return outcome;
}

static void fill_until(struct batch_of_letters *w, int64_t end) { // their records are not copied, or are gone
    for (; w->next < end; w->next++) vec_add(&w->v, ((struct letter){.offset = w->next, .key_null = true, .value_null = true}));
}

static struct str copy_of(struct arena *a, struct str s) {
    char *p = ARENA_ARRAY(a, char, s.n + 1);
    if (s.n > 0) memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

static void take_batch(struct batch_of_letters *w, const struct batch *b) {
    struct batch_iter it;
    struct batch_record r;
    if ((b->attributes & BATCH_ATTR_CONTROL) != 0 || batch_iter_init(&it, b, PLAIN_BYTES_MAX, NULL) != ERR_OK) return;
    while (batch_iter_next(&it, &r, NULL) == 1) {
        if (r.offset < w->next || r.offset > w->dead->last) continue;
        fill_until(w, r.offset);
        vec_add(&w->v, ((struct letter){r.offset, copy_of(&w->arena, r.key), copy_of(&w->arena, r.value), r.key_null, r.value_null}));
        w->next = r.offset + 1;
    }
    batch_iter_fini(&it);
}

// Some records from w->next on; at least one offset more is done with, or it failed.
static enum outcome copy_some(struct batch_of_letters *w) {
    struct letters *x = w->job;
    struct buf data = {0};
    struct batch b;
    int64_t from = w->next, behind = w->dead->last + 1;
    enum outcome outcome = WRITTEN;
    enum err_code code = broker_read(x->share->broker, x->topic, x->partition, from, READ_BYTES, &data, NULL, &x->err);
    if (code != ERR_OK && code != ERR_OFFSET_RANGE && code != ERR_NO_TOPIC) outcome = AGAIN;
    for (size_t at = 0; outcome == WRITTEN && at < data.n && w->next < behind; at += b.size) {
        if (batch_read(data.p + at, data.n - at, &b) != BATCH_OK) break;
        take_batch(w, &b); // one at a time: it may be large when it is not compressed any more
        int64_t end = batch_last_offset(&b) + 1;
        fill_until(w, end < behind ? end : behind);
        outcome = flush(w);
    }
    buf_fini(&data);
    if (outcome == WRITTEN && w->next == from) fill_until(w, behind); // they are gone from the log
    return outcome;
}

static enum outcome write_range(struct letters *x, const struct share_dead *dead) {
    struct batch_of_letters w = {.job = x, .dead = dead, .next = dead->first};
    enum outcome outcome = WRITTEN;
    arena_init(&w.arena);
    while (outcome == WRITTEN && x->copy && w.next <= dead->last) outcome = copy_some(&w);
    fill_until(&w, dead->last + 1);
    if (outcome == WRITTEN) outcome = flush(&w);
    vec_fini(&w.v);
    arena_fini(&w.arena);
    return outcome;
}

static void work(void *arg) {
    struct letters *x = arg;
    x->outcome = find_queue(x);
    for (size_t i = 0; i < x->dead.n && x->outcome == WRITTEN; i++) x->outcome = write_range(x, &x->dead.p[i]);
}

// ---- the job --------------------------------------------------------------------------------------------------------

static void pause_over(void *arg) {
    struct share_part *p = arg;
    p->letters_running = false;
    share_dead_letters_start(p);
}

static void start_later(struct share_part *p, int doublings) {
    p->letters_running = true;
    loop_timer_set(p->share->loop, &p->letters_timer, (int64_t)PAUSE_FIRST_MS * 1000 << doublings, pause_over, p);
}

// Not stored: the same letters are written once more, after the longest pause.
static void archived(void *arg, int error, const char *message) {
    struct share_part *p = arg;
    if (error == 0 || p->dead || p->share->stopping || p->letters_running) return;
    log_warn("broker", "dead letters are written, and the share group's state is not", "group", p->group, "topic", p->topic, "error",
             message == NULL ? "" : message, NULL);
    start_later(p, TRIES);
}

static void archive(struct letters *x) {
    struct share_part *p = x->part;
    share_ranges ranges = {0};
    uint64_t change = share_runs_archive(&p->runs, &x->dead, &ranges);
    if (change != 0) share_part_store(p, change, &ranges, archived, p);
    vec_fini(&ranges);
}

static void free_letters(struct letters *x) {
    vec_fini(&x->dead);
    mem_free(x->group);
    mem_free(x->topic);
    mem_free(x);
}

static void work_done(void *arg) {
    struct letters *x = arg;
    struct share_part *p = x->part;
    struct share *s = x->share;
    p->letters_running = false;
    metric_add(M_SHARE_DEAD_LETTERS, x->group, (int64_t)x->written);
    if (x->outcome == AGAIN && ++p->letters_failed < TRIES) {
        if (!s->stopping) start_later(p, p->letters_failed - 1);
    } else if (!s->stopping && !p->dead) {
        if (x->outcome != WRITTEN)
            log_error("broker", "records of a share group were not written to its dead-letter queue", "group", x->group, "topic", x->topic, "error",
                      x->err.msg, NULL);
        p->letters_failed = 0;
        archive(x);
        share_dead_letters_start(p);
    }
    free_letters(x);
    s->reads--;
    share_part_let_go(p);
    share_check_stopped(s);
}

void share_dead_letters_start(struct share_part *p) {
    struct share *s = p->share;
    if (p->letters_running || p->dead || s->stopping || !p->runs.maybe_dead) return;
    share_deads dead = {0};
    share_runs_dead(&p->runs, RECORDS_AT_ONCE, &dead);
    if (dead.n == 0) return;
    struct letters *x = MEM_NEW(struct letters);
    *x = (struct letters){.share = s, .part = p, .group = mem_strdup(p->group), .topic = mem_strdup(p->topic), .partition = p->partition, .dead = dead};
    p->letters_running = true;
    share_part_hold(p);
    s->reads++;
    if (broker_submit_read(s->broker, work, x, s->loop, work_done, &x->err) == ERR_OK) return;
    x->outcome = AGAIN;
    work_done(x);
}
