// SPDX-License-Identifier: Apache-2.0
// Trigger rules: from how the direct upstream tasks ended, whether a task runs. Pure. The rules are Airflow's (ti_deps/deps/trigger_rule_dep.py).
#ifndef FLOW_RULES_H
#define FLOW_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define FLOW_RULES(X)                                                                                                                   \
    X(ALL_SUCCESS, "all_success") X(ALL_FAILED, "all_failed") X(ALL_DONE, "all_done") X(ALL_DONE_MIN_ONE_SUCCESS,                         \
        "all_done_min_one_success")                                                                                                       \
    X(ALL_DONE_SETUP_SUCCESS, "all_done_setup_success") X(ALL_SKIPPED, "all_skipped") X(ONE_SUCCESS, "one_success")                     \
    X(ONE_FAILED, "one_failed") X(ONE_DONE, "one_done") X(NONE_FAILED, "none_failed")                                                  \
    X(NONE_FAILED_MIN_ONE_SUCCESS, "none_failed_min_one_success") X(NONE_SKIPPED, "none_skipped") X(ALWAYS, "always")
enum flow_rule {
#define X(id, name) FLOW_RULE_##id,
    FLOW_RULES(X)
#undef X
    FLOW_RULE_COUNT
};

struct flow_counts {
    uint32_t success, failed, skipped, upstream_failed, removed;
    uint32_t setup_success, setup_skipped; // of those, the set-up tasks
};
enum flow_verdict { FLOW_WAIT, FLOW_RUN, FLOW_SKIP, FLOW_UPSTREAM_FAILED };

bool flow_rule_parse(struct str name, enum flow_rule *out);
// n: direct upstream tasks, of which n_setup are set-up tasks.
enum flow_verdict flow_rule_verdict(enum flow_rule rule, uint32_t n, uint32_t n_setup, const struct flow_counts *c);

#endif
