// SPDX-License-Identifier: Apache-2.0
// Topologies of streams groups: copies, Kafka's record of them, and the plan: which topics are there, which internal ones are missing and with how
// many partitions they are made, how many tasks each subtopology has.
//
// A repartition topic without a number gets the largest number of partitions of the topics that feed it; what is to be joined must have equally
// many; a changelog has one for each task.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/streams_group.h"

// ---- copies ---------------------------------------------------------------------------------------------------------

static const char *const *copy_names(struct arena *a, const char *const *names, size_t n) {
    const char **out = ARENA_ARRAY(a, const char *, n + 1);
    for (size_t i = 0; i < n; i++) out[i] = arena_strdup(a, names[i]);
    return out;
}

static const struct streams_topic *copy_topics(struct arena *a, const struct streams_topic *t, size_t n) {
    struct streams_topic *out = ARENA_ARRAY(a, struct streams_topic, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct broker_kv *configs = ARENA_ARRAY(a, struct broker_kv, t[i].n_configs + 1);
        for (size_t k = 0; k < t[i].n_configs; k++)
            configs[k] = (struct broker_kv){arena_strdup(a, t[i].configs[k].name), arena_strdup(a, t[i].configs[k].value)};
        out[i] = t[i];
        out[i].name = arena_strdup(a, t[i].name);
        out[i].configs = configs;
    }
    return out;
}

static const int16_t *copy_indices(struct arena *a, const int16_t *p, size_t n) {
    int16_t *out = ARENA_ARRAY(a, int16_t, n + 1);
    if (n > 0) memcpy(out, p, n * sizeof *p);
    return out;
}

static int by_id(const void *a, const void *b) { return strcmp(((const struct streams_subtopology *)a)->id, ((const struct streams_subtopology *)b)->id); }

struct streams_topology *streams_topology_copy(struct arena *a, const struct streams_topology *t) {
    struct streams_topology *out = ARENA_NEW(a, struct streams_topology);
    struct streams_subtopology *subs = ARENA_ARRAY(a, struct streams_subtopology, t->n_subtopologies + 1);
    for (size_t i = 0; i < t->n_subtopologies; i++) {
        const struct streams_subtopology *s = &t->subtopologies[i];
        struct streams_copartition *cs = ARENA_ARRAY(a, struct streams_copartition, s->n_copartitions + 1);
        subs[i] = *s;
        subs[i].id = arena_strdup(a, s->id);
        subs[i].sources = copy_names(a, s->sources, s->n_sources);
        subs[i].repartition_sinks = copy_names(a, s->repartition_sinks, s->n_repartition_sinks);
        subs[i].changelogs = copy_topics(a, s->changelogs, s->n_changelogs);
        subs[i].repartition_sources = copy_topics(a, s->repartition_sources, s->n_repartition_sources);
        for (size_t k = 0; k < s->n_copartitions; k++) {
            cs[k] = s->copartitions[k];
            cs[k].sources = copy_indices(a, cs[k].sources, cs[k].n_sources);
            cs[k].repartition_sources = copy_indices(a, cs[k].repartition_sources, cs[k].n_repartition_sources);
        }
        subs[i].copartitions = cs;
    }
    qsort(subs, t->n_subtopologies, sizeof *subs, by_id);
    *out = (struct streams_topology){t->epoch, subs, t->n_subtopologies};
    return out;
}

const char *streams_topology_fault(const struct streams_topology *t, struct arena *a) {
    for (size_t i = 0; i < t->n_subtopologies; i++) {
        const struct streams_subtopology *s = &t->subtopologies[i];
        for (size_t k = 0; k < i; k++)
            if (strcmp(s->id, t->subtopologies[k].id) == 0) return arena_printf(a, "Subtopology %.100s is there twice.", s->id);
        for (size_t k = 0; k < s->n_changelogs; k++)
            if (s->changelogs[k].partitions != 0)
                return arena_printf(a, "Changelog topic %.200s must have an undefined partition count, but it is set to %d.", s->changelogs[k].name,
                                    s->changelogs[k].partitions);
        for (size_t k = 0; k < s->n_copartitions; k++) {
            const struct streams_copartition *c = &s->copartitions[k];
            for (size_t x = 0; x < c->n_sources; x++)
                if (c->sources[x] < 0 || (size_t)c->sources[x] >= s->n_sources) return "A copartition group names a source topic that is not there.";
            for (size_t x = 0; x < c->n_repartition_sources; x++)
                if (c->repartition_sources[x] < 0 || (size_t)c->repartition_sources[x] >= s->n_repartition_sources)
                    return "A copartition group names a repartition topic that is not there.";
        }
    }
    return NULL;
}

// ---- the record -----------------------------------------------------------------------------------------------------

static void put_names(struct buf *out, const char *const *names, size_t n) {
    put_compact_count(out, n);
    for (size_t i = 0; i < n; i++) put_compact_string(out, str_c(names[i]));
}

static void put_topics(struct buf *out, const struct streams_topic *t, size_t n) {
    put_compact_count(out, n);
    for (size_t i = 0; i < n; i++) {
        put_compact_string(out, str_c(t[i].name));
        buf_put_be32(out, (uint32_t)t[i].partitions);
        buf_put_be16(out, (uint16_t)t[i].replication);
        put_compact_count(out, t[i].n_configs);
        for (size_t k = 0; k < t[i].n_configs; k++) {
            put_compact_string(out, str_c(t[i].configs[k].name));
            put_compact_string(out, str_c(t[i].configs[k].value));
            put_no_tags(out);
        }
        put_no_tags(out);
    }
}

static void put_indices(struct buf *out, const int16_t *p, size_t n) {
    put_compact_count(out, n);
    for (size_t i = 0; i < n; i++) buf_put_be16(out, (uint16_t)p[i]);
}

void streams_topology_put(struct buf *out, const struct streams_topology *t) {
    buf_put_be32(out, (uint32_t)t->epoch);
    put_compact_count(out, t->n_subtopologies);
    for (size_t i = 0; i < t->n_subtopologies; i++) {
        const struct streams_subtopology *s = &t->subtopologies[i];
        put_compact_string(out, str_c(s->id));
        put_names(out, s->sources, s->n_sources);
        put_compact_count(out, 0); // regular expressions
        put_topics(out, s->changelogs, s->n_changelogs);
        put_names(out, s->repartition_sinks, s->n_repartition_sinks);
        put_topics(out, s->repartition_sources, s->n_repartition_sources);
        put_compact_count(out, s->n_copartitions);
        for (size_t k = 0; k < s->n_copartitions; k++) {
            put_indices(out, s->copartitions[k].sources, s->copartitions[k].n_sources);
            put_compact_count(out, 0);
            put_indices(out, s->copartitions[k].repartition_sources, s->copartitions[k].n_repartition_sources);
            put_no_tags(out);
        }
        put_no_tags(out);
    }
    put_no_tags(out);
}

bool streams_topology_equal(const struct streams_topology *a, const struct streams_topology *b) {
    struct buf x = {0}, y = {0};
    streams_topology_put(&x, a);
    streams_topology_put(&y, b);
    bool same = str_eq(buf_str(&x), buf_str(&y));
    buf_fini(&x);
    buf_fini(&y);
    return same;
}

static const char *get_name(struct rd *r, struct arena *a) {
    struct str s = get_compact_string(r);
    return arena_strndup(a, s.p == NULL ? "" : s.p, s.n);
}

static const char *const *get_names(struct rd *r, struct arena *a, size_t *n) {
    *n = get_compact_count(r);
    const char **out = ARENA_ARRAY(a, const char *, *n + 1);
    for (size_t i = 0; i < *n; i++) out[i] = get_name(r, a);
    return out;
}

static const struct streams_topic *get_topics(struct rd *r, struct arena *a, size_t *n) {
    *n = get_compact_count(r);
    struct streams_topic *out = ARENA_ARRAY(a, struct streams_topic, *n + 1);
    for (size_t i = 0; i < *n; i++) {
        out[i].name = get_name(r, a);
        out[i].partitions = (int32_t)rd_be32(r);
        out[i].replication = (int16_t)rd_be16(r);
        out[i].n_configs = get_compact_count(r);
        struct broker_kv *configs = ARENA_ARRAY(a, struct broker_kv, out[i].n_configs + 1);
        for (size_t k = 0; k < out[i].n_configs; k++) {
            configs[k].name = get_name(r, a);
            configs[k].value = get_name(r, a);
            skip_tags(r);
        }
        out[i].configs = configs;
        skip_tags(r);
    }
    return out;
}

static const int16_t *get_indices(struct rd *r, struct arena *a, size_t *n) {
    *n = get_compact_count(r);
    int16_t *out = ARENA_ARRAY(a, int16_t, *n + 1);
    for (size_t i = 0; i < *n; i++) out[i] = (int16_t)rd_be16(r);
    return out;
}

struct streams_topology *streams_topology_get(struct rd *r, struct arena *a) {
    struct streams_topology *t = ARENA_NEW(a, struct streams_topology);
    t->epoch = (int32_t)rd_be32(r);
    t->n_subtopologies = get_compact_count(r);
    struct streams_subtopology *subs = ARENA_ARRAY(a, struct streams_subtopology, t->n_subtopologies + 1);
    for (size_t i = 0; i < t->n_subtopologies && !r->failed; i++) {
        struct streams_subtopology *s = &subs[i];
        size_t regexes;
        s->id = get_name(r, a);
        s->sources = get_names(r, a, &s->n_sources);
        (void)get_names(r, a, &regexes);
        s->changelogs = get_topics(r, a, &s->n_changelogs);
        s->repartition_sinks = get_names(r, a, &s->n_repartition_sinks);
        s->repartition_sources = get_topics(r, a, &s->n_repartition_sources);
        s->n_copartitions = get_compact_count(r);
        struct streams_copartition *cs = ARENA_ARRAY(a, struct streams_copartition, s->n_copartitions + 1);
        for (size_t k = 0; k < s->n_copartitions; k++) {
            cs[k].sources = get_indices(r, a, &cs[k].n_sources);
            (void)get_indices(r, a, &regexes);
            cs[k].repartition_sources = get_indices(r, a, &cs[k].n_repartition_sources);
            skip_tags(r);
        }
        s->copartitions = cs;
        skip_tags(r);
    }
    t->subtopologies = subs;
    return r->failed || streams_topology_fault(t, a) != NULL ? NULL : t;
}

// ---- the plan -------------------------------------------------------------------------------------------------------

struct planning {
    struct broker *broker;
    const struct streams_topology *t;
    struct streams_plan *out;
    struct map wanted; // name of a repartition topic -> its number of partitions, as decided; as a pointer
    struct arena arena;
};

void streams_plan_fini(struct streams_plan *p) {
    mem_free(p->tasks);
    vec_fini(&p->missing);
    *p = (struct streams_plan){.status = STREAMS_MISSING_SOURCE_TOPICS};
}

static void fails(struct streams_plan *p, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void fails(struct streams_plan *p, int status, const char *format, ...) {
    if (p->status >= 0) return; // the first one counts
    p->status = status;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(p->detail, sizeof p->detail, format, args);
    va_end(args);
}

static int32_t there(struct planning *w, const char *name) { // 0 = there is no such topic
    struct broker_topic_info info;
    if (!broker_topic_get(w->broker, str_c(name), &w->arena, &info)) return 0;
    return info.partitions;
}

static int32_t wanted(const struct planning *w, const char *name) { return (int32_t)(intptr_t)map_getc(&w->wanted, name); }
static void want(struct planning *w, const char *name, int32_t n) { map_put(&w->wanted, str_c(name), (void *)(intptr_t)n); }

static int32_t largest_input(struct planning *w, const struct streams_subtopology *s) { // 0 = not all are known yet
    int32_t most = 0;
    for (size_t i = 0; i < s->n_sources + s->n_repartition_sources; i++) {
        int32_t n = i < s->n_sources ? there(w, s->sources[i]) : wanted(w, s->repartition_sources[i - s->n_sources].name);
        if (n == 0) return 0;
        if (n > most) most = n;
    }
    return most;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

// All that are missing, by name: "a, b".
static void join_names(struct buf *text, const char **names, size_t n) {
    if (n > 1) qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0) buf_printf(text, "%s%s", i == 0 ? "" : ", ", names[i]);
}

static bool find_sources(struct planning *w) {
    VEC(const char *) missing = {0};
    struct buf text;
    buf_init(&text, 0);
    for (size_t i = 0; i < w->t->n_subtopologies; i++)
        for (size_t k = 0; k < w->t->subtopologies[i].n_sources; k++) {
            const char *name = w->t->subtopologies[i].sources[k];
            if (there(w, name) == 0 && wanted(w, name) == 0) vec_add(&missing, name);
        }
    join_names(&text, missing.p, missing.n);
    if (missing.n > 0) fails(w->out, STREAMS_MISSING_SOURCE_TOPICS, "Source topics %.900s are missing.", buf_cstr(&text));
    buf_fini(&text);
    vec_fini(&missing);
    return w->out->status < 0;
}

static void fails_missing(struct streams_plan *out) {
    const char **names = mem_alloc(out->missing.n * sizeof *names);
    struct buf text;
    buf_init(&text, 0);
    for (size_t i = 0; i < out->missing.n; i++) names[i] = out->missing.p[i].topic->name;
    join_names(&text, names, out->missing.n);
    fails(out, STREAMS_MISSING_INTERNAL_TOPICS, "Internal topics are missing: %s", buf_cstr(&text));
    buf_fini(&text);
    mem_free(names);
}

// Each round decides at least one more, or no round will.
static void size_repartitions(struct planning *w) {
    for (size_t i = 0; i < w->t->n_subtopologies; i++)
        for (size_t k = 0; k < w->t->subtopologies[i].n_repartition_sources; k++) {
            const struct streams_topic *t = &w->t->subtopologies[i].repartition_sources[k];
            if (t->partitions > 0) want(w, t->name, t->partitions);
        }
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < w->t->n_subtopologies; i++) {
            const struct streams_subtopology *s = &w->t->subtopologies[i];
            int32_t n = largest_input(w, s);
            for (size_t k = 0; n > 0 && k < s->n_repartition_sinks; k++) {
                if (wanted(w, s->repartition_sinks[k]) > 0) continue;
                want(w, s->repartition_sinks[k], n);
                more = true;
            }
        }
    }
}

static bool is_fixed(const struct streams_topic *t) { return t->partitions > 0; }

struct counted { // a topic that is joined with others, and how many partitions it has or shall have
    const char *name;
    int32_t partitions;
};

static int by_name(const void *a, const void *b) { return strcmp(((const struct counted *)a)->name, ((const struct counted *)b)->name); }

// As Kafka says it, for applications look for these words: "[{a=2, b=3}]", sorted by name.
static void fails_unlike(struct planning *w, struct counted *topics, size_t n) {
    struct buf text;
    buf_init(&text, 0);
    qsort(topics, n, sizeof *topics, by_name);
    for (size_t i = 0; i < n; i++) buf_printf(&text, "%s%s=%d", i == 0 ? "" : ", ", topics[i].name, topics[i].partitions);
    fails(w->out, STREAMS_INCORRECTLY_PARTITIONED, "Following topics do not have the same number of partitions: [{%.*s}]", (int)text.n, text.p);
    buf_fini(&text);
}

static int32_t common_count(struct planning *w, struct counted *topics, size_t n) { // 0 = there is none, or no topic
    for (size_t i = 1; i < n; i++)
        if (topics[i].partitions != topics[0].partitions) {
            fails_unlike(w, topics, n);
            return 0;
        }
    return n == 0 ? 0 : topics[0].partitions;
}

// What is joined has equally many partitions: repartition topics without a number of their own follow the others.
static void copartition(struct planning *w, const struct streams_subtopology *s, const struct streams_copartition *c) {
    struct counted *sources = ARENA_ARRAY(&w->arena, struct counted, c->n_sources + 1);
    struct counted *set = ARENA_ARRAY(&w->arena, struct counted, c->n_repartition_sources + 1);
    size_t n_set = 0;
    int32_t most = 0;
    for (size_t i = 0; i < c->n_sources; i++) sources[i] = (struct counted){s->sources[c->sources[i]], there(w, s->sources[c->sources[i]])};
    for (size_t i = 0; i < c->n_repartition_sources; i++) {
        const struct streams_topic *t = &s->repartition_sources[c->repartition_sources[i]];
        if (is_fixed(t)) set[n_set++] = (struct counted){t->name, t->partitions};
        if (wanted(w, t->name) > most) most = wanted(w, t->name);
    }
    int32_t fixed = common_count(w, sources, c->n_sources);
    for (size_t i = 0; i < n_set && fixed != 0; i++)
        if (set[i].partitions != fixed)
            fails(w->out, STREAMS_INCORRECTLY_PARTITIONED,
                  "Number of partitions [%d] of repartition topic [%s] doesn't match number of partitions [%d] of the source topic.", set[i].partitions,
                  set[i].name, fixed);
    if (fixed == 0) fixed = common_count(w, set, n_set);
    for (size_t i = 0; i < c->n_repartition_sources; i++) {
        const struct streams_topic *t = &s->repartition_sources[c->repartition_sources[i]];
        if (!is_fixed(t)) want(w, t->name, fixed != 0 ? fixed : most);
    }
}

static void need(struct planning *w, const struct streams_topic *t, int32_t partitions) {
    int32_t n = there(w, t->name);
    if (n == 0) vec_add(&w->out->missing, ((struct streams_missing){t, partitions}));
    else if (n != partitions) fails(w->out, STREAMS_INCORRECTLY_PARTITIONED, "Existing internal topic has another number of partitions: %s", t->name);
}

static void hash_topic(struct planning *w, const char *name) {
    struct broker_topic_info info;
    if (!broker_topic_get(w->broker, str_c(name), &w->arena, &info)) return;
    uint64_t h = 0xcbf29ce484222325ULL;
    for (const char *c = name; *c != '\0'; c++) h = (h ^ (uint8_t)*c) * 0x100000001b3ULL;
    for (size_t i = 0; i < 16; i++) h = (h ^ info.id[i]) * 0x100000001b3ULL;
    w->out->hash = (int64_t)((uint64_t)w->out->hash + (h ^ (uint64_t)info.partitions) * 0x100000001b3ULL); // in any order
}

static void size_tasks(struct planning *w) {
    w->out->tasks = mem_zalloc((w->t->n_subtopologies + 1) * sizeof *w->out->tasks);
    for (size_t i = 0; i < w->t->n_subtopologies; i++) {
        const struct streams_subtopology *s = &w->t->subtopologies[i];
        int32_t n = largest_input(w, s);
        if (n == 0) fails(w->out, STREAMS_MISSING_SOURCE_TOPICS, "Number of partitions cannot be told for subtopology %s", s->id);
        w->out->tasks[i] = n;
        for (size_t k = 0; k < s->n_repartition_sources; k++) need(w, &s->repartition_sources[k], wanted(w, s->repartition_sources[k].name));
        for (size_t k = 0; k < s->n_changelogs; k++) need(w, &s->changelogs[k], n);
        for (size_t k = 0; k < s->n_sources; k++) hash_topic(w, s->sources[k]);
        for (size_t k = 0; k < s->n_repartition_sources; k++) hash_topic(w, s->repartition_sources[k].name);
        for (size_t k = 0; k < s->n_changelogs; k++) hash_topic(w, s->changelogs[k].name);
    }
}

void streams_plan_make(struct broker *b, const struct streams_topology *t, struct streams_plan *out) {
    struct planning w = {.broker = b, .t = t, .out = out};
    *out = (struct streams_plan){.status = -1};
    arena_init(&w.arena);
    map_init(&w.wanted);
    if (find_sources(&w)) {
        size_repartitions(&w);
        for (size_t i = 0; i < t->n_subtopologies; i++)
            for (size_t k = 0; k < t->subtopologies[i].n_copartitions; k++) copartition(&w, &t->subtopologies[i], &t->subtopologies[i].copartitions[k]);
        size_tasks(&w);
    }
    if (out->status < 0 && out->missing.n > 0) fails_missing(out);
    if (out->status >= 0) {
        mem_free(out->tasks);
        out->tasks = NULL;
        if (out->status != STREAMS_MISSING_INTERNAL_TOPICS) out->missing.n = 0;
    }
    map_fini(&w.wanted);
    arena_fini(&w.arena);
}
