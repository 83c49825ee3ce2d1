// SPDX-License-Identifier: Apache-2.0
// File pruning by Delta's per-file statistics and partition values: which files may hold rows for which all conjuncts are true.
//
// Every doubt keeps the file. Values and literals are made intervals on one of two scales: numbers (long double: int64 is exact in it;
// dates and times are microseconds) or bytes. An interval is wider than the value where the statistics are known to be rounded
// (Spark cuts timestamps to milliseconds and strings to a prefix) or a literal's time zone is the session's.
// Pure; any thread. Statistics are parsed per call: only files that a conjunct's column can decide about.
#include <float.h>

#include "lake/internal.h"

#define DAY_US (86400LL * 1000000)
#define ZONE_US (15LL * 3600 * 1000000) // no time zone is further from UTC

struct interval {
    bool bytes;          // lo_text, hi_text; else lo, hi
    long double lo, hi;  // inclusive
    struct str lo_text, hi_text;
};

// ---- dates and times --------------------------------------------------------------------------------------------------------
static bool digits(const char **p, const char *end, int n, int64_t *out) {
    *out = 0;
    for (int i = 0; i < n; i++, ++*p) {
        if (*p >= end || **p < '0' || **p > '9')
            return false;
        *out = *out * 10 + (**p - '0');
    }
    return true;
}

// Days since 1970 of a proleptic Gregorian date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
static int64_t days_of(int64_t y, int64_t m, int64_t d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1, doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

struct moment {
    int64_t us;
    bool has_time, has_zone;
    int fraction_digits;
};

static bool parse_zone(const char **p, const char *end, struct moment *out) {
    if (*p < end && (**p == 'Z' || **p == 'z')) {
        ++*p;
        out->has_zone = true;
        return true;
    }
    if (*p < end && (**p == '+' || **p == '-')) {
        int64_t sign = **p == '-' ? -1 : 1, hours, minutes = 0;
        ++*p;
        if (!digits(p, end, 2, &hours))
            return false;
        if (*p < end && **p == ':')
            ++*p;
        if (*p < end && !digits(p, end, 2, &minutes))
            return false;
        out->us -= sign * (hours * 60 + minutes) * 60 * 1000000;
        out->has_zone = true;
    }
    return true;
}

// YYYY-MM-DD, or with [ T]HH:MM[:SS[.ffffff]][Z|+HH[:MM]]. Anything else is false.
static bool parse_moment(struct str s, struct moment *out) {
    s = str_trim(s);
    const char *p = s.p, *end = s.p + s.n;
    int64_t y, mo, d, h = 0, mi = 0, sec = 0, micros = 0;
    *out = (struct moment){0};
    if (!digits(&p, end, 4, &y) || p >= end || *p++ != '-' || !digits(&p, end, 2, &mo) || p >= end || *p++ != '-' || !digits(&p, end, 2, &d))
        return false;
    if (mo < 1 || mo > 12 || d < 1 || d > 31)
        return false;
    if (p < end && (*p == ' ' || *p == 'T')) {
        p++;
        out->has_time = true;
        if (!digits(&p, end, 2, &h) || p >= end || *p++ != ':' || !digits(&p, end, 2, &mi))
            return false;
        if (p < end && *p == ':') {
            p++;
            if (!digits(&p, end, 2, &sec))
                return false;
        }
        if (p < end && *p == '.') {
            int64_t scale = 100000;
            for (p++; p < end && *p >= '0' && *p <= '9'; p++, scale /= 10, out->fraction_digits++)
                micros += (*p - '0') * scale; // digits behind the sixth count for nothing
        }
    }
    out->us = days_of(y, mo, d) * DAY_US + ((h * 60 + mi) * 60 + sec) * 1000000 + micros;
    return parse_zone(&p, end, out) && p == end && h < 24 && mi < 60 && sec < 60;
}

// ---- values -----------------------------------------------------------------------------------------------------------------
static bool is_integer_kind(enum cols_kind k) { return k == COLS_INT8 || k == COLS_INT16 || k == COLS_INT32 || k == COLS_INT64; }
static bool is_number_kind(enum cols_kind k) { return is_integer_kind(k) || k == COLS_FLOAT || k == COLS_DOUBLE || k == COLS_DECIMAL; }

static bool parse_number(struct str s, long double *out) {
    int64_t i;
    double d;
    if (str_to_i64(s, &i)) {
        *out = (long double)i;
        return true;
    }
    if (!str_to_double(s, &d) || !(d <= DBL_MAX && d >= -DBL_MAX))
        return false;
    *out = (long double)d;
    return true;
}

static void widen(struct interval *v, long double by) {
    v->lo -= by;
    v->hi += by;
}

// The rounding of decimal text to binary, or of float to shortest text, is much smaller than these.
static void widen_number(struct interval *v, enum cols_kind kind) {
    long double size = v->hi < 0 ? -v->hi : v->hi;
    if (kind == COLS_FLOAT)
        widen(v, size * 1e-6L);
    else if (kind != COLS_DOUBLE && !is_integer_kind(kind))
        widen(v, size * 1e-15L);
}

// A text from a partition value as a value of the type. false = cannot be told.
static bool value_of_text(const struct cols_type *t, struct str s, struct interval *out) {
    *out = (struct interval){0};
    struct moment m;
    if (is_number_kind(t->kind)) {
        if (!parse_number(s, &out->lo))
            return false;
        out->hi = out->lo;
        widen_number(out, t->kind);
        return true;
    }
    switch (t->kind) {
    case COLS_STRING:
        out->bytes = true;
        out->lo_text = out->hi_text = s;
        return true;
    case COLS_BOOL:
        out->lo = out->hi = str_ieq(s, STR("true")) ? 1 : 0;
        return str_ieq(s, STR("true")) || str_ieq(s, STR("false"));
    case COLS_DATE:
    case COLS_TIMESTAMP:
        if (!parse_moment(s, &m))
            return false;
        out->lo = (long double)m.us;
        out->hi = out->lo + (m.fraction_digits > 0 && m.fraction_digits <= 3 ? 999 : 0); // cut to milliseconds: up to 999 us more
        if (t->tz && !m.has_zone && t->kind == COLS_TIMESTAMP)
            widen(out, (long double)ZONE_US); // a writer's partition value in its own zone
        return true;
    default:
        return false;
    }
}

static bool value_of_json(const struct cols_type *t, const json_t *j, struct interval *out) {
    *out = (struct interval){0};
    if (json_is_integer(j) && is_number_kind(t->kind))
        out->lo = out->hi = (long double)json_integer_value(j);
    else if (json_is_real(j) && is_number_kind(t->kind))
        out->lo = out->hi = (long double)json_real_value(j);
    else if (json_is_boolean(j) && t->kind == COLS_BOOL)
        out->lo = out->hi = json_is_true(j) ? 1 : 0;
    else
        return json_is_string(j) && !is_number_kind(t->kind) && value_of_text(t, json_str(j), out);
    widen_number(out, t->kind);
    return true;
}

static bool literal_of(const struct cols_type *t, const struct lake_literal *lit, struct interval *out) {
    *out = (struct interval){0};
    struct moment m;
    if (is_number_kind(t->kind)) {
        // A string compared with an integer column is cast by the engine, which rounds: only whole numbers are sure.
        int64_t whole;
        if (lit->kind == LAKE_LITERAL_BOOL || (lit->kind == LAKE_LITERAL_STRING && !str_to_i64(lit->text, &whole)) ||
            !parse_number(lit->text, &out->lo))
            return false;
        out->hi = out->lo;
        widen_number(out, t->kind);
        return true;
    }
    if (t->kind == COLS_BOOL)
        return lit->kind == LAKE_LITERAL_BOOL && value_of_text(t, lit->text, out);
    if (lit->kind != LAKE_LITERAL_STRING)
        return false;
    if (t->kind != COLS_DATE && t->kind != COLS_TIMESTAMP)
        return value_of_text(t, lit->text, out);
    if (!parse_moment(lit->text, &m))
        return false;
    out->lo = out->hi = (long double)m.us;
    if (t->kind == COLS_DATE && m.has_time)
        out->lo -= (long double)DAY_US; // the engine may compare as dates (cut) or as timestamps
    if ((t->kind == COLS_TIMESTAMP && t->tz != m.has_zone) || (t->kind == COLS_DATE && m.has_zone))
        widen(out, (long double)ZONE_US);
    return true;
}

// ---- deciding ---------------------------------------------------------------------------------------------------------------
static int compare_low(const struct interval *a, const struct interval *b) { // a's low end with b's high end
    return a->bytes ? str_cmp(a->lo_text, b->hi_text) : a->lo < b->hi ? -1 : a->lo > b->hi;
}
static int compare_high(const struct interval *a, const struct interval *b) { // a's high end with b's low end
    return a->bytes ? str_cmp(a->hi_text, b->lo_text) : a->hi < b->lo ? -1 : a->hi > b->lo;
}

// Can `value op literal` be true for a value within the file's interval?
static bool may_be_true(enum lake_op op, const struct cols_type *t, const struct interval *file, const struct interval *lit) {
    bool floating = t->kind == COLS_FLOAT || t->kind == COLS_DOUBLE; // NaN, greater than all, is in no statistics
    bool strict = is_integer_kind(t->kind); // elsewhere rounding may hide the difference
    switch (op) {
    case LAKE_EQ:
    case LAKE_IN:
        return compare_low(file, lit) <= 0 && compare_high(file, lit) >= 0;
    case LAKE_LT:
        return strict ? compare_low(file, lit) < 0 : compare_low(file, lit) <= 0;
    case LAKE_LE:
        return compare_low(file, lit) <= 0;
    case LAKE_GT:
        return floating || (strict ? compare_high(file, lit) > 0 : compare_high(file, lit) >= 0);
    case LAKE_GE:
        return floating || compare_high(file, lit) >= 0;
    case LAKE_NE: // only a file of one integer can be ruled out
        return !(is_integer_kind(t->kind) && file->lo == file->hi && lit->lo == lit->hi && file->lo == lit->lo);
    case LAKE_IS_NULL:
    case LAKE_IS_NOT_NULL:
        break;
    }
    return true;
}

struct column_facts {
    bool known_range, known_nulls;
    struct interval range;
    bool any_null, any_value; // meaningful with known_nulls
};

static struct column_facts facts_of(const struct lake_snapshot *s, const struct lake_file *f, const json_t *stats, const struct cols_field *field) {
    struct column_facts facts = {0};
    const struct lake_text_list *partitions = &s->meta->partition_columns;
    for (size_t i = 0; i < partitions->n; i++) {
        if (!str_eqc(str_c(field->name), partitions->p[i]))
            continue;
        const char *value = f->partition_values == NULL ? NULL : f->partition_values[i];
        facts.known_nulls = f->partition_values != NULL;
        facts.any_null = value == NULL;
        facts.any_value = value != NULL;
        facts.known_range = value != NULL && value_of_text(&field->type, str_c(value), &facts.range);
        return facts;
    }
    const json_t *rows = json_object_get(stats, "numRecords"), *nulls = json_object_get(json_object_get(stats, "nullCount"), field->name);
    if (json_is_integer(rows) && json_is_integer(nulls)) {
        facts.known_nulls = true;
        facts.any_null = json_integer_value(nulls) > 0;
        facts.any_value = json_integer_value(nulls) < json_integer_value(rows);
    }
    struct interval low, high;
    const json_t *min = json_object_get(json_object_get(stats, "minValues"), field->name);
    const json_t *max = json_object_get(json_object_get(stats, "maxValues"), field->name);
    if (min != NULL && max != NULL && value_of_json(&field->type, min, &low) && value_of_json(&field->type, max, &high) && low.bytes == high.bytes) {
        facts.known_range = true;
        facts.range = (struct interval){.bytes = low.bytes, .lo = low.lo, .hi = high.hi, .lo_text = low.lo_text, .hi_text = high.hi_text};
    }
    return facts;
}

static bool may_hold(const struct column_facts *facts, const struct cols_field *field, const struct lake_conjunct *c) {
    if (c->op == LAKE_IS_NULL)
        return !facts->known_nulls || facts->any_null;
    if (facts->known_nulls && !facts->any_value)
        return false; // only nulls, or no rows: no comparison is true
    if (c->op == LAKE_IS_NOT_NULL || !facts->known_range)
        return true;
    for (size_t i = 0; i < c->n_literals; i++) {
        struct interval lit;
        if (!literal_of(&field->type, &c->literals[i], &lit) || lit.bytes != facts->range.bytes ||
            may_be_true(c->op, &field->type, &facts->range, &lit))
            return true;
    }
    return c->n_literals == 0;
}

size_t lake_snapshot_prune(struct lake_snapshot *s, const struct lake_conjunct *conjuncts, size_t n, size_t *out) {
    const struct cols_schema *schema = s->meta->schema;
    size_t kept = 0;
    bool useful = false;
    for (size_t c = 0; c < n; c++)
        useful = useful || cols_schema_find(schema, conjuncts[c].column) >= 0;
    for (size_t i = 0; i < s->n_files; i++) {
        const struct lake_file *f = &s->files[i]->file;
        json_t *stats = useful && f->stats_json != NULL ? json_loads(f->stats_json, 0, NULL) : NULL;
        bool keep = true;
        for (size_t c = 0; keep && c < n; c++) {
            int column = cols_schema_find(schema, conjuncts[c].column);
            if (column < 0)
                continue;
            const struct cols_field *field = &schema->fields[column];
            struct column_facts facts = facts_of(s, f, stats, field);
            keep = may_hold(&facts, field, &conjuncts[c]);
        }
        json_decref(stats);
        if (keep)
            out[kept++] = i;
    }
    return kept;
}
