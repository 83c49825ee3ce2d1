// SPDX-License-Identifier: Apache-2.0
// Trigger rules as one table of small functions. Pure, any thread.
#include "flow/rules.h"

#include <assert.h>
#include <stddef.h>

struct ask {
    uint32_t n, n_setup, done, bad; // bad: failed and upstream_failed
    const struct flow_counts *c;
};

static bool over(const struct ask *q) { return q->done >= q->n; }
static enum flow_verdict when(bool ready) { return ready ? FLOW_RUN : FLOW_WAIT; }

static enum flow_verdict all_success(const struct ask *q) {
    if (q->bad > 0) return FLOW_UPSTREAM_FAILED;
    if (q->c->skipped > 0) return FLOW_SKIP;
    return when(q->c->success + q->c->removed >= q->n);
}
static enum flow_verdict all_failed(const struct ask *q) {
    if (q->c->success > 0 || q->c->skipped > 0) return FLOW_SKIP;
    return when(q->bad >= q->n);
}
static enum flow_verdict all_done(const struct ask *q) { return when(over(q)); }
static enum flow_verdict all_done_min_one_success(const struct ask *q) {
    if (!over(q)) return FLOW_WAIT;
    if (q->c->success > 0 || q->n == 0) return FLOW_RUN;
    return q->c->skipped >= q->n ? FLOW_SKIP : FLOW_UPSTREAM_FAILED;
}
static enum flow_verdict all_done_setup_success(const struct ask *q) {
    if (!over(q)) return FLOW_WAIT;
    if (q->n_setup == 0 || q->c->setup_success > 0) return FLOW_RUN;
    return q->c->setup_skipped >= q->n_setup ? FLOW_SKIP : FLOW_UPSTREAM_FAILED;
}
static enum flow_verdict all_skipped(const struct ask *q) {
    if (q->c->success > 0 || q->bad > 0) return FLOW_SKIP;
    return when(q->c->skipped >= q->n);
}
static enum flow_verdict one_success(const struct ask *q) {
    if (q->c->success > 0) return FLOW_RUN;
    if (!over(q)) return FLOW_WAIT;
    return q->c->skipped >= q->n ? FLOW_SKIP : FLOW_UPSTREAM_FAILED;
}
static enum flow_verdict one_failed(const struct ask *q) {
    if (q->bad > 0) return FLOW_RUN;
    return over(q) ? FLOW_SKIP : FLOW_WAIT;
}
static enum flow_verdict one_done(const struct ask *q) {
    if (q->c->success > 0 || q->c->failed > 0) return FLOW_RUN;
    return over(q) ? FLOW_SKIP : FLOW_WAIT;
}
static enum flow_verdict none_failed(const struct ask *q) { return q->bad > 0 ? FLOW_UPSTREAM_FAILED : when(over(q)); }
static enum flow_verdict none_failed_min_one_success(const struct ask *q) {
    if (q->bad > 0) return FLOW_UPSTREAM_FAILED;
    if (q->n > 0 && q->c->skipped >= q->n) return FLOW_SKIP;
    return when(over(q));
}
static enum flow_verdict none_skipped(const struct ask *q) { return q->c->skipped > 0 ? FLOW_SKIP : when(over(q)); }
static enum flow_verdict always(const struct ask *q) {
    (void)q;
    return FLOW_RUN;
}

static const struct {
    const char *name;
    enum flow_verdict (*fn)(const struct ask *q);
} rules[FLOW_RULE_COUNT] = {
    [FLOW_RULE_ALL_SUCCESS] = {"all_success", all_success},
    [FLOW_RULE_ALL_FAILED] = {"all_failed", all_failed},
    [FLOW_RULE_ALL_DONE] = {"all_done", all_done},
    [FLOW_RULE_ALL_DONE_MIN_ONE_SUCCESS] = {"all_done_min_one_success", all_done_min_one_success},
    [FLOW_RULE_ALL_DONE_SETUP_SUCCESS] = {"all_done_setup_success", all_done_setup_success},
    [FLOW_RULE_ALL_SKIPPED] = {"all_skipped", all_skipped},
    [FLOW_RULE_ONE_SUCCESS] = {"one_success", one_success},
    [FLOW_RULE_ONE_FAILED] = {"one_failed", one_failed},
    [FLOW_RULE_ONE_DONE] = {"one_done", one_done},
    [FLOW_RULE_NONE_FAILED] = {"none_failed", none_failed},
    [FLOW_RULE_NONE_FAILED_MIN_ONE_SUCCESS] = {"none_failed_min_one_success", none_failed_min_one_success},
    [FLOW_RULE_NONE_SKIPPED] = {"none_skipped", none_skipped},
    [FLOW_RULE_ALWAYS] = {"always", always},
};

bool flow_rule_parse(struct str name, enum flow_rule *out) {
    for (size_t i = 0; i < FLOW_RULE_COUNT; i++)
        if (str_eqc(name, rules[i].name)) {
            *out = (enum flow_rule)i;
            return true;
        }
    return false;
}

enum flow_verdict flow_rule_verdict(enum flow_rule rule, uint32_t n, uint32_t n_setup, const struct flow_counts *c) {
    assert(rule < FLOW_RULE_COUNT);
    if (n == 0) return FLOW_RUN;
    struct ask q = {n, n_setup, c->success + c->failed + c->skipped + c->upstream_failed + c->removed, c->failed + c->upstream_failed, c};
    return rules[rule].fn(&q);
}
