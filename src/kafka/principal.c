// SPDX-License-Identifier: Apache-2.0
// The rules' own syntax is cut here; what is between the slashes is a pattern of PCRE2, whose syntax holds Java's. A backslash takes the meaning from a
// slash. Matching has a bounded number of steps: a name for which a pattern would need more does not match.
#include "kafka/principal.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { RULES_MAX = 64, PATTERN_MAX = 4096, STEPS_MAX = 100000, HEAP_MAX_KIB = 1024, GROUPS = 10 };

static void skip_blank(struct str *s) {
    while (s->n > 0 && (s->p[0] == ' ' || s->p[0] == '\t' || s->p[0] == '\n' || s->p[0] == '\r')) *s = str_n(s->p + 1, s->n - 1);
}

// Up to the next slash that has no backslash before it; "\/" becomes "/", other backslashes stay (they are the pattern's).
static bool cut_slash(struct str *rest, struct arena *a, struct str *out) {
    char *p = arena_alloc(a, rest->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < rest->n; i++) {
        if (rest->p[i] == '/') {
            *out = str_n(p, n);
            p[n] = 0;
            *rest = str_n(rest->p + i + 1, rest->n - i - 1);
            return true;
        }
        if (rest->p[i] == '\\' && i + 1 < rest->n) {
            if (rest->p[i + 1] != '/') p[n++] = '\\';
            i++;
        }
        p[n++] = rest->p[i];
    }
    return false;
}

static pcre2_code *compile(struct str pattern, struct err *err) {
    int error = 0;
    PCRE2_SIZE at = 0;
    if (pattern.n > PATTERN_MAX) return err_set(err, ERR_CONFIG, "a pattern is longer than %d bytes", PATTERN_MAX), NULL;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
    if (code != NULL) return code;
    PCRE2_UCHAR why[120] = "";
    (void)pcre2_get_error_message(error, why, sizeof why);
    err_set(err, ERR_CONFIG, "pattern \"%.*s\", character %zu: %s", STR_ARG(pattern), (size_t)at + 1, (const char *)why);
    return NULL;
}

static bool matches(const pcre2_code *code, struct str name, struct str groups[GROUPS]) {
    pcre2_match_data *data = pcre2_match_data_create(GROUPS, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    bool ok = false;
    if (data != NULL && limits != NULL) {
        pcre2_set_match_limit(limits, STEPS_MAX);
        pcre2_set_heap_limit(limits, HEAP_MAX_KIB);
        int pairs = pcre2_match(code, (PCRE2_SPTR)name.p, name.n, 0, 0, data, limits);
        ok = pairs >= 0;
        if (pairs == 0) pairs = GROUPS; // the pattern has more groups
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(data);
        for (int i = 0; i < pairs; i++)
            groups[i] = at[2 * i] == PCRE2_UNSET ? STR("") : str_n(name.p + at[2 * i], at[2 * i + 1] - at[2 * i]);
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    return ok;
}

static enum err_code parse_rule(struct str *rest, struct arena *a, struct principal_rule *r, struct err *err) {
    struct str pattern;
    *r = (struct principal_rule){0};
    if (str_starts(*rest, STR("DEFAULT"))) {
        *rest = str_n(rest->p + 7, rest->n - 7);
        return ERR_OK;
    }
    if (!str_starts(*rest, STR("RULE:")))
        return err_set(err, ERR_CONFIG, "a rule is DEFAULT or RULE:pattern/replacement/, not \"%.*s\"", (int)(rest->n < 60 ? rest->n : 60), rest->p);
    *rest = str_n(rest->p + 5, rest->n - 5);
    if (!cut_slash(rest, a, &pattern) || !cut_slash(rest, a, &r->replacement))
        return err_set(err, ERR_CONFIG, "RULE: needs a slash behind the pattern and one behind the replacement");
    if (rest->n > 0 && (rest->p[0] == 'L' || rest->p[0] == 'U')) {
        r->change = rest->p[0];
        *rest = str_n(rest->p + 1, rest->n - 1);
    }
    r->pattern = compile(pattern, err);
    return r->pattern == NULL ? err->code : ERR_OK;
}

enum err_code principal_rules_parse(struct str text, struct arena *a, struct principal_rules *out, struct err *err) {
    struct err own;
    if (err == NULL) err = &own;
    struct str rest = text;
    *out = (struct principal_rules){.p = ARENA_ARRAY(a, struct principal_rule, RULES_MAX)};
    skip_blank(&rest);
    while (rest.n > 0) {
        if (out->n == RULES_MAX) return principal_rules_fini(out), err_set(err, ERR_CONFIG, "more than %d rules", RULES_MAX);
        if (parse_rule(&rest, a, &out->p[out->n], err) != ERR_OK) return principal_rules_fini(out), err->code;
        out->n++;
        skip_blank(&rest);
        if (rest.n == 0) break;
        if (rest.p[0] != ',') {
            principal_rules_fini(out);
            return err_set(err, ERR_CONFIG, "a comma is expected between rules, not \"%.*s\"", (int)(rest.n < 60 ? rest.n : 60), rest.p);
        }
        rest = str_n(rest.p + 1, rest.n - 1);
        skip_blank(&rest);
    }
    return ERR_OK;
}

void principal_rules_fini(struct principal_rules *r) {
    for (size_t i = 0; i < r->n; i++) pcre2_code_free(r->p[i].pattern);
    r->n = 0;
}

static void put_changed(struct buf *out, struct str s, char change) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (change == 'L' && c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if (change == 'U' && c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
        buf_put_u8(out, (uint8_t)c);
    }
}

static void put_replacement(const struct principal_rule *r, const struct str groups[GROUPS], struct buf *out) {
    for (size_t i = 0; i < r->replacement.n; i++) {
        char c = r->replacement.p[i], next = i + 1 < r->replacement.n ? r->replacement.p[i + 1] : 0;
        if (c == '$' && next >= '0' && next <= '9') put_changed(out, groups[next - '0'], r->change), i++;
        else if (c == '\\' && next != 0) put_changed(out, str_n(&r->replacement.p[++i], 1), r->change);
        else put_changed(out, str_n(&c, 1), r->change);
    }
}

bool principal_map(const struct principal_rules *r, struct str name, struct buf *out) {
    if (r->n == 0) {
        buf_put_str(out, name);
        return true;
    }
    for (size_t i = 0; i < r->n; i++) {
        struct str groups[GROUPS] = {{NULL, 0}};
        if (r->p[i].pattern == NULL) {
            buf_put_str(out, name);
            return true;
        }
        if (!matches(r->p[i].pattern, name, groups)) continue;
        put_replacement(&r->p[i], groups, out);
        return true;
    }
    return false;
}
