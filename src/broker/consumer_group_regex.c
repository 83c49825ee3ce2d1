// SPDX-License-Identifier: Apache-2.0
// Regular expressions of subscriptions: matched against the names of all topics on the pool, the result taken over on the loop. They are
// resolved when a member brings a new one, when topics come and go, and from time to time. Only topics count that the member who last came with
// the expression may describe; after a start nobody has come yet, and what was stored stands until somebody does.
//
// A match covers the whole name, as in Kafka. PCRE2 is asked for what RE2 knows in linear time by limits on steps and memory: an expression that
// passes them matches nothing, and the log says so.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>

#include "base/log.h"
#include "broker/consumer_group.h"

enum { MATCH_STEPS = 100000, MATCH_HEAP_KIB = 1024, PATTERN_MAX = 32767 };

static pcre2_code *compile(const char *text, char *why, size_t why_n) {
    int error = 0;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *x = pcre2_compile_context_create(NULL);
    pcre2_code *code = NULL;
    if (x != NULL) {
        pcre2_set_max_pattern_length(x, PATTERN_MAX);
        code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C,
                             &error, &at, x);
    }
    pcre2_compile_context_free(x);
    if (code == NULL && why != NULL) {
        PCRE2_UCHAR message[120] = "no memory";
        if (error != 0) (void)pcre2_get_error_message(error, message, sizeof message);
        (void)snprintf(why, why_n, "SubscribedTopicRegex `%.60s` is not a valid regular expression: %.60s.", text, (const char *)message);
    }
    return code;
}

bool consumer_regex_ok(const char *text, char *why, size_t why_n) {
    pcre2_code *code = compile(text, why, why_n);
    pcre2_code_free(code);
    return code != NULL;
}

// ---- resolving ------------------------------------------------------------------------------------------------------

struct resolving {
    struct coordinator *coordinator;
    struct arena arena;
    const char *group_id;
    const char **texts;
    struct topic_rights *rights;
    struct resolved {
        const char **topics;
        size_t n;
    } *results;
    size_t n;
    int64_t version;
};

static bool may_see(const struct topic_rights *r, const char *topic) {
    return r->may_describe == NULL || r->may_describe(r->authorizer, r->principal, r->host, topic);
}

static bool matches(const pcre2_code *code, pcre2_match_data *data, pcre2_match_context *limits, const char *name) {
    int rc = pcre2_match(code, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, data, limits);
    if (rc < PCRE2_ERROR_PARTIAL) log_warn("broker", "a subscription's regular expression takes too long", "topic", name, NULL);
    return rc >= 0;
}

static void resolve_on_pool(void *arg) {
    struct resolving *w = arg;
    struct broker_topic_info *topics;
    size_t n = broker_topic_list(w->coordinator->broker, &w->arena, &topics);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    w->results = ARENA_ARRAY(&w->arena, struct resolved, w->n);
    if (limits == NULL) return;
    pcre2_set_match_limit(limits, MATCH_STEPS);
    pcre2_set_heap_limit(limits, MATCH_HEAP_KIB);
    for (size_t i = 0; i < w->n; i++) {
        pcre2_code *code = compile(w->texts[i], NULL, 0);
        pcre2_match_data *data = code == NULL ? NULL : pcre2_match_data_create_from_pattern(code, NULL);
        w->results[i].topics = ARENA_ARRAY(&w->arena, const char *, n + 1);
        for (size_t t = 0; data != NULL && t < n; t++)
            if (!topics[t].internal && matches(code, data, limits, topics[t].name) && may_see(&w->rights[i], topics[t].name))
                w->results[i].topics[w->results[i].n++] = topics[t].name;
        pcre2_match_data_free(data);
        pcre2_code_free(code);
    }
    pcre2_match_context_free(limits);
}

static void refresh_due(void *arg) { consumer_resolve(arg); }

static void take_over(struct consumer_group *g, const struct resolving *w) {
    struct coordinator *c = w->coordinator;
    struct group_records *r = group_records_new(c);
    bool changed = false;
    for (size_t i = 0; i < w->n; i++) {
        struct consumer_regex *x = map_getc(&g->regexes, w->texts[i]);
        if (x == NULL || (x->resolved && consumer_regex_same(x, w->results[i].topics, w->results[i].n))) continue;
        consumer_regex_resolved(g, x, w->results[i].topics, w->results[i].n, w->version, coordinator_now_ms(c));
        consumer_put_regex(g, x, r);
        changed = true;
    }
    if (changed) {
        (void)consumer_refresh_topics(g);
        consumer_bump(g, r);
    }
    group_records_submit(r, g->head, NULL, NULL);
    loop_timer_set(c->loop, &g->refresh, (int64_t)c->consumer.regex_refresh_ms * 1000, refresh_due, g);
}

static void resolved(void *arg) {
    struct resolving *w = arg;
    struct coordinator *c = w->coordinator;
    struct consumer_group *g = consumer_find(c, w->group_id);
    if (g != NULL && !c->stopping) {
        g->resolving = false;
        if (w->results != NULL) take_over(g, w);
        if (g->resolve_again) consumer_resolve(g);
    }
    arena_fini(&w->arena);
    mem_free(w);
    coordinator_back(c);
}

static void add_text(struct resolving *w, const struct consumer_regex *x) {
    if (!x->known) return;
    const struct topic_rights *r = &x->rights;
    w->rights[w->n] = (struct topic_rights){r->may_describe, r->authorizer, r->principal == NULL ? NULL : arena_strdup(&w->arena, r->principal),
                                            r->host == NULL ? NULL : arena_strdup(&w->arena, r->host)};
    w->texts[w->n++] = arena_strdup(&w->arena, x->text);
}

void consumer_resolve(struct consumer_group *g) {
    struct coordinator *c = g->head->coordinator;
    g->resolve_again = g->resolving;
    if (g->resolving || g->regexes.n == 0 || c->stopping) return;
    struct resolving *w = MEM_NEW(struct resolving);
    struct map_entry *e;
    struct err err = {0};
    arena_init(&w->arena);
    w->coordinator = c;
    w->group_id = arena_strdup(&w->arena, g->head->id);
    w->texts = ARENA_ARRAY(&w->arena, const char *, g->regexes.n);
    w->rights = ARENA_ARRAY(&w->arena, struct topic_rights, g->regexes.n);
    w->version = coordinator_now_ms(c);
    for (size_t it = 0; (e = map_next(&g->regexes, &it)) != NULL;) add_text(w, e->value);
    if (w->n > 0 && broker_submit(c->broker, resolve_on_pool, w, c->loop, resolved, &err) == ERR_OK) {
        g->resolving = true;
        c->resolving++;
        return;
    }
    if (w->n > 0) loop_timer_set(c->loop, &g->refresh, 1000000, refresh_due, g); // the pool's queue is full
    arena_fini(&w->arena);
    mem_free(w);
}

// ---- whose they are -------------------------------------------------------------------------------------------------

void consumer_regex_rights_fini(struct consumer_regex *x) {
    mem_free((char *)(uintptr_t)x->rights.principal);
    mem_free((char *)(uintptr_t)x->rights.host);
    x->rights = (struct topic_rights){0};
    x->known = false;
}

static bool same_text(const char *a, const char *b) { return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0; }

void consumer_regex_used(struct consumer_member *m, const struct topic_rights *rights) {
    struct consumer_regex *x = m->regex == NULL ? NULL : map_getc(&m->group->regexes, m->regex);
    if (x == NULL) return;
    bool known = x->known;
    if (!known || x->rights.may_describe != rights->may_describe || !same_text(x->rights.principal, rights->principal) ||
        !same_text(x->rights.host, rights->host)) {
        consumer_regex_rights_fini(x);
        x->rights = (struct topic_rights){rights->may_describe, rights->authorizer, group_strdup(rights->principal), group_strdup(rights->host)};
        x->known = true;
    }
    if (!known) consumer_resolve(m->group);
}
