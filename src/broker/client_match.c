// SPDX-License-Identifier: Apache-2.0
// The patterns of client-metrics subscriptions (`match`): PCRE2, whose syntax holds Java's; a match covers the whole text, as in Kafka. Pure, any thread;
// nothing is kept. Matching has a bounded number of steps: a text for which a pattern would need more does not match. Patterns are compiled when a
// subscription is set and when a client is matched with the subscriptions, not for each push.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "broker/configs_table.h"
#include "broker/dynamic.h"

enum { PATTERN_MAX = 4096, STEPS_MAX = 100000, HEAP_MAX_KIB = 1024 };

static pcre2_code *compile(struct str pattern) { // NULL = it is none
    int error;
    PCRE2_SIZE at;
    uint32_t options = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C;
    return pattern.n > PATTERN_MAX ? NULL : pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, options, &error, &at, NULL);
}

bool configs_pattern_ok(struct str pattern) {
    pcre2_code *code = compile(pattern);
    pcre2_code_free(code);
    return code != NULL;
}

bool broker_pattern_matches(const char *pattern, const char *text) {
    pcre2_code *code = compile(str_c(pattern));
    pcre2_match_data *data = code == NULL ? NULL : pcre2_match_data_create_from_pattern(code, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    bool ok = false;
    if (data != NULL && limits != NULL) {
        pcre2_set_match_limit(limits, STEPS_MAX);
        pcre2_set_heap_limit(limits, HEAP_MAX_KIB);
        ok = pcre2_match(code, (PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, 0, data, limits) >= 0;
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return ok;
}
