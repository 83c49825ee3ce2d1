// SPDX-License-Identifier: Apache-2.0
// Map expectations: a condition that each value (pair, record) meets or not. Here is the SQL of the conditions; the counting is the same
// for all of them. Meanings are Great Expectations' (great_expectations/expectations/core, 1.2): nulls are left out before the test, a
// condition that is null counts as not met.
#include "quality/internal.h"
#include "quality/table.h"

static const char *invalid(struct quality_item *it, const char *message) {
    err_set(&it->err, ERR_INVALID, "%s", message);
    return NULL;
}

static const json_t *kwarg(const struct quality_item *it, const char *key) {
    const json_t *v = json_object_get(it->kwargs, key);
    return json_is_null(v) ? NULL : v;
}

static const char *string_of(struct quality_run *r, const json_t *v) {
    struct buf b;
    buf_init(&b, 0);
    sql_put_string(&b, json_str(v));
    const char *out = arena_strndup(&r->arena, (const char *)b.p, b.n);
    buf_fini(&b);
    return out;
}

static bool is_text(const struct quality_item *it) { return it->type->kind == COLS_STRING; }

// The column as text, for patterns; only texts have them.
static const char *text_only(struct quality_item *it, const char *what) {
    if (is_text(it))
        return it->x;
    err_set(&it->err, ERR_INVALID, "%s needs a string column; \"%s\" is %s", what, it->column, cols_kind_name(it->type->kind));
    return NULL;
}

// ---- one column -------------------------------------------------------------------------------------------------------------
const char *map_between(struct quality_run *r, struct quality_item *it) {
    const json_t *min = kwarg(it, "min_value"), *max = kwarg(it, "max_value");
    if (min == NULL && max == NULL)
        return invalid(it, "min_value and max_value cannot both be None");
    if (json_is_number(min) && json_is_number(max) && json_number_value(min) > json_number_value(max))
        return invalid(it, "ValueError: min_value cannot be greater than max_value");
    return q_between(r, it, it->x, it->type);
}

const char *map_in_set(struct quality_run *r, struct quality_item *it) {
    const json_t *set = kwarg(it, "value_set");
    if (it->def->variant == 1) { // not in set
        if (!json_is_array(set))
            return invalid(it, "argument of type 'NoneType' is not iterable: value_set must be a list");
        const char *in = q_in_set(r, it, it->x, set, it->type);
        return it->err.code != ERR_OK ? NULL : q_text(r, "not (%s)", in);
    }
    if (set == NULL)
        return "true"; // GX: without a set every value passes
    if (!json_is_array(set))
        return invalid(it, "value_set must be a list");
    const char *in = q_in_set(r, it, it->x, set, it->type);
    return it->err.code != ERR_OK ? NULL : in;
}

const char *map_regex(struct quality_run *r, struct quality_item *it) {
    const json_t *regex = kwarg(it, "regex");
    if (!json_is_string(regex))
        return invalid(it, "regex must be a string");
    if (text_only(it, "matching a regular expression") == NULL)
        return NULL;
    return q_text(r, "%sregexp_matches(%s, %s)", it->def->variant == 1 ? "not " : "", it->x, string_of(r, regex));
}

// A list of patterns: any of them, all of them, or none. `format` makes one condition of x and a pattern.
static const char *pattern_list(struct quality_run *r, struct quality_item *it, const char *key, bool like) {
    const json_t *list = kwarg(it, key);
    const char *on = json_get_cstr(it->kwargs, "match_on", "any"), *out = NULL;
    bool none = it->def->variant == 1, all = str_eqc(str_c(on), "all");
    size_t i;
    json_t *v;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return invalid(it, "a list of patterns is needed");
    if (!all && !str_eqc(str_c(on), "any"))
        return invalid(it, "match_on must be either 'any' or 'all'.");
    if (text_only(it, "matching a pattern") == NULL)
        return NULL;
    json_array_foreach((json_t *)list, i, v) {
        if (!json_is_string(v))
            return invalid(it, "a pattern must be a string");
        const char *one = like ? q_text(r, "%s like %s", it->x, string_of(r, v)) : q_text(r, "regexp_matches(%s, %s)", it->x, string_of(r, v));
        out = out == NULL ? one : q_text(r, "(%s) %s (%s)", out, all && !none ? "and" : "or", one);
    }
    return none ? q_text(r, "not (%s)", out) : out;
}
const char *map_regex_list(struct quality_run *r, struct quality_item *it) { return pattern_list(r, it, "regex_list", false); }
const char *map_like_list(struct quality_run *r, struct quality_item *it) { return pattern_list(r, it, "like_pattern_list", true); }

const char *map_like(struct quality_run *r, struct quality_item *it) {
    const json_t *pattern = kwarg(it, "like_pattern");
    if (!json_is_string(pattern))
        return invalid(it, "like_pattern must be a string");
    if (text_only(it, "matching a pattern") == NULL)
        return NULL;
    return q_text(r, "%s%s like %s", it->def->variant == 1 ? "not " : "", it->x, string_of(r, pattern));
}

const char *map_length(struct quality_run *r, struct quality_item *it) {
    static const struct cols_type number = {.kind = COLS_INT64};
    if (!is_text(it)) {
        err_set(&it->err, ERR_INVALID, "TypeError: object of type '%s' has no len()", cols_kind_name(it->type->kind));
        return NULL;
    }
    const char *length = q_text(r, "length(%s)", it->x);
    if (it->def->variant == 1) { // equal
        const json_t *value = kwarg(it, "value");
        return json_is_number(value) ? q_text(r, "%s = %s", length, q_literal(r, it, value, &number)) : invalid(it, "value must be an integer");
    }
    const json_t *ends[] = {kwarg(it, "min_value"), kwarg(it, "max_value")};
    if (ends[0] == NULL && ends[1] == NULL)
        return invalid(it, "min_value and max_value cannot both be None");
    for (size_t i = 0; i < 2; i++)
        if (ends[i] != NULL && !(json_is_number(ends[i]) && json_number_value(ends[i]) == (double)(int64_t)json_number_value(ends[i])))
            return invalid(it, "min_value and max_value must be integers");
    return q_between(r, it, length, &number);
}

const char *map_json_parseable(struct quality_run *r, struct quality_item *it) {
    return text_only(it, "parsing JSON") == NULL ? NULL : q_text(r, "json_valid(%s)", it->x);
}

const char *map_strftime(struct quality_run *r, struct quality_item *it) {
    const json_t *format = kwarg(it, "strftime_format");
    if (!json_is_string(format))
        return invalid(it, "strftime_format must be a string");
    if (!is_text(it))
        return invalid(it, "TypeError: Values passed to expect_column_values_to_match_strftime_format must be of type string.");
    // What the engine's strptime and Python's have in common.
    for (const char *p = json_string_value(format); *p != 0; p++)
        if (*p == '%' && (p[1] == 0 || strchr("aAwdbBmyYHIpMSfzZjUW%", *++p) == NULL))
            return invalid(it, "ValueError: Unable to use provided strftime_format.");
    return q_text(r, "try_strptime(%s, %s) is not null", it->x, string_of(r, format));
}

const char *map_z_score(struct quality_run *r, struct quality_item *it) {
    const json_t *threshold = kwarg(it, "threshold");
    if (!json_is_number(threshold))
        return invalid(it, "threshold must be a number");
    bool both = json_get_bool(it->kwargs, "double_sided", false);
    const char *where = it->filter == NULL ? "" : q_text(r, " where %s", it->filter);
    const char *z = q_text(r, "(%s - (select avg(%s) from " STR_FMT "%s)) / nullif((select stddev_samp(%s) from " STR_FMT "%s), 0)", it->x, it->x,
                           STR_ARG(r->target->from), where, it->x, STR_ARG(r->target->from), where);
    return q_text(r, both ? "abs(%s) < %s" : "%s < %s", z, q_literal(r, it, threshold, NULL));
}

// ---- whole rows -------------------------------------------------------------------------------------------------------------
static const char *from_where(struct quality_run *r, const char *condition) {
    return q_text(r, STR_FMT " where %s", STR_ARG(r->target->from), condition);
}

// Sets what the counting needs: rows of `domain` for which `ok` is not true are unexpected.
static const char *count_rows(struct quality_run *r, struct quality_item *it, const char *domain, const char *ok, const char *value) {
    if (ok == NULL || it->err.code != ERR_OK)
        return NULL;
    const char *bad = q_and(r, domain, q_text(r, "not coalesce(%s, false)", ok));
    it->domain = domain;
    it->value = value;
    it->bad_rows = from_where(r, q_and(r, it->filter, bad));
    q_cell(r, it, "count(*)", NULL);
    q_cell(r, it, "count(*)", domain);
    q_cell(r, it, "count(*)", bad);
    return "";
}

// Duplicates of a key: with count and distinct count equal there are none, and no second query is made.
static const char *count_duplicates(struct quality_run *r, struct quality_item *it, const char *domain, const char *key, const char *value) {
    it->domain = domain;
    it->value = value;
    it->counted_apart = true;
    const char *where = q_and(r, it->filter, domain);
    it->bad_rows = q_text(r, "(select * from " STR_FMT "%s%s qualify count(*) over (partition by %s) > 1) q", STR_ARG(r->target->from),
                          where == NULL ? "" : " where ", where == NULL ? "" : where, key);
    q_cell(r, it, "count(*)", NULL);
    q_cell(r, it, "count(*)", domain);
    q_cell(r, it, q_text(r, "count(distinct %s)", key), domain);
    return "";
}

const char *map_null(struct quality_run *r, struct quality_item *it) {
    return count_rows(r, it, NULL, q_text(r, "%s is %snull", it->x, it->def->variant == 1 ? "not " : ""), it->x);
}

const char *map_unique(struct quality_run *r, struct quality_item *it) {
    return count_duplicates(r, it, q_text(r, "%s is not null", it->x), it->x, it->x);
}

// The usual shape: nulls are missing, the condition is on the rest.
const char *map_column(struct quality_run *r, struct quality_item *it) {
    const char *ok = it->def->compile(r, it);
    return count_rows(r, it, q_text(r, "%s is not null", it->x), ok, it->x);
}

// Which rows a rule over several columns looks at: kwargs.ignore_row_if.
static bool rows_to_look_at(struct quality_run *r, struct quality_item *it, const char *const *x, size_t n, const char *standard,
                            const char **domain) {
    const char *rule = json_get_cstr(it->kwargs, "ignore_row_if", standard);
    struct str s = str_c(rule);
    bool all = str_eqc(s, "all_values_are_missing") || str_eqc(s, "both_values_are_missing");
    bool any = str_eqc(s, "any_value_is_missing") || str_eqc(s, "either_value_is_missing");
    *domain = NULL;
    for (size_t i = 0; i < n && (all || any); i++)
        *domain = *domain == NULL ? q_text(r, "%s is not null", x[i]) : q_text(r, "%s %s %s is not null", *domain, all ? "or" : "and", x[i]);
    if (!all && !any && !str_eqc(s, "never") && !str_eqc(s, "neither")) {
        err_set(&it->err, ERR_INVALID, "ignore_row_if: unknown value \"%.60s\"", rule);
        return false;
    }
    return true;
}

static bool pair_columns(struct quality_run *r, struct quality_item *it, const char *x[2], const struct cols_type *t[2]) {
    return q_need_column(r, it, json_get_cstr(it->kwargs, "column_A", NULL), &x[0], &t[0]) &&
           q_need_column(r, it, json_get_cstr(it->kwargs, "column_B", NULL), &x[1], &t[1]);
}

static bool comparable(const struct cols_type *a, const struct cols_type *b) {
    bool number_a = a->kind >= COLS_INT8 && a->kind <= COLS_DECIMAL, number_b = b->kind >= COLS_INT8 && b->kind <= COLS_DECIMAL;
    bool time_a = a->kind == COLS_DATE || a->kind == COLS_TIMESTAMP, time_b = b->kind == COLS_DATE || b->kind == COLS_TIMESTAMP;
    return a->kind == b->kind || (number_a && number_b) || (time_a && time_b);
}

static const char *pair_set(struct quality_run *r, struct quality_item *it, const char *x[2], const struct cols_type *t[2]) {
    const json_t *set = kwarg(it, "value_pairs_set");
    const char *out = "false";
    size_t i;
    json_t *pair;
    if (set == NULL)
        return "true";
    json_array_foreach((json_t *)set, i, pair) {
        struct quality_item scratch = {0};
        if (!json_is_array(pair) || json_array_size(pair) != 2)
            return invalid(it, "value_pairs_set must be a list of pairs");
        const char *one = NULL;
        for (size_t k = 0; k < 2; k++) {
            const char *literal = q_literal(r, &scratch, json_array_get(pair, k), t[k]);
            one = literal == NULL ? "false" : q_and(r, one, q_text(r, "%s is not distinct from %s", x[k], literal));
        }
        out = q_text(r, "%s or (%s)", out, one);
    }
    return out;
}

const char *map_pair(struct quality_run *r, struct quality_item *it) {
    const char *x[2], *domain;
    const struct cols_type *t[2];
    if (!pair_columns(r, it, x, t) || !rows_to_look_at(r, it, x, 2, "both_values_are_missing", &domain))
        return NULL;
    bool like = comparable(t[0], t[1]);
    const char *ok;
    if (it->def->variant == PAIR_IN_SET)
        ok = pair_set(r, it, x, t);
    else if (it->def->variant == PAIR_EQUAL) // values of different types are not equal, as in Python
        ok = like ? q_text(r, "%s = %s", x[0], x[1]) : "false";
    else if (!like)
        return invalid(it, "the two columns cannot be compared: their types differ");
    else
        ok = q_text(r, "%s %s %s", x[0], json_get_bool(it->kwargs, "or_equal", false) ? ">=" : ">", x[1]);
    return count_rows(r, it, domain, ok, q_text(r, "json_array(%s, %s)", x[0], x[1]));
}

// Every two of the columns differ (a null is a value here; two nulls are the same).
static const char *differing(struct quality_run *r, const char *const *x, size_t n, bool cast) {
    const char *out = NULL;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            out = q_and(r, out,
                        cast ? q_text(r, "cast(%s as varchar) is distinct from cast(%s as varchar)", x[k], x[i])
                             : q_text(r, "%s is distinct from %s", x[k], x[i]));
    return out == NULL ? "true" : out;
}

static const char *joined(struct quality_run *r, const char *const *x, size_t n, const char *separator) {
    const char *out = x[0];
    for (size_t i = 1; i < n; i++)
        out = q_text(r, "%s%s%s", out, separator, x[i]);
    return out;
}

const char *map_columns(struct quality_run *r, struct quality_item *it) {
    enum { COLUMNS_MAX = 64 };
    const json_t *list = kwarg(it, "column_list");
    const char *x[COLUMNS_MAX], *pairs[COLUMNS_MAX], *domain;
    const struct cols_type *t[COLUMNS_MAX];
    size_t n = json_array_size(list);
    bool cast = false;
    if (n < 1 || n > COLUMNS_MAX)
        return invalid(it, "column_list must name 1 to 64 columns");
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!q_need_column(r, it, name, &x[i], &t[i]))
            return NULL;
        struct buf key;
        buf_init(&key, 0);
        sql_put_string(&key, str_c(name));
        pairs[i] = q_text(r, STR_FMT ", %s", STR_ARG(buf_str(&key)), x[i]);
        buf_fini(&key);
        cast = cast || !comparable(t[0], t[i]);
    }
    if (!rows_to_look_at(r, it, x, n, "all_values_are_missing", &domain))
        return NULL;
    const char *value = q_text(r, "json_object(%s)", joined(r, pairs, n, ", "));
    if (it->def->variant == COLUMNS_UNIQUE)
        return count_duplicates(r, it, domain, n == 1 ? x[0] : q_text(r, "row(%s)", joined(r, x, n, ", ")), value);
    if (it->def->variant == COLUMNS_DIFFER)
        return count_rows(r, it, domain, differing(r, x, n, cast), value);
    if (!json_is_number(kwarg(it, "sum_total")))
        return invalid(it, "sum_total must be a number");
    return count_rows(r, it, domain, q_text(r, "%s = %s", joined(r, x, n, " + "), q_literal(r, it, kwarg(it, "sum_total"), NULL)), value);
}
