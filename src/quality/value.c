// SPDX-License-Identifier: Apache-2.0
// Expectations on one value: an aggregate of a column, the table's row count, its columns. Aggregates become cells of the scan, bounds are
// compared by the engine in the column's own type; what needs no rows is decided from the schema.
#include "quality/internal.h"
#include "quality/table.h"

enum { DISTINCT_SHOWN = 1000 };

static const json_t *kwarg(const struct quality_item *it, const char *key) {
    const json_t *v = json_object_get(it->kwargs, key);
    return json_is_null(v) ? NULL : v;
}

static const char *invalid(struct quality_item *it, const char *message) {
    err_set(&it->err, ERR_INVALID, "%s", message);
    return NULL;
}

static void observed(struct quality_item *it, bool success, json_t *value) {
    it->success = success;
    it->result = json_pack("{s:o}", "observed_value", value);
}

static bool is_number(const struct cols_type *t) { return t->kind >= COLS_INT8 && t->kind <= COLS_DECIMAL; }

// ---- aggregates -------------------------------------------------------------------------------------------------------------
static const struct {
    const char *sql;   // of %1$s
    bool of_numbers;   // only for numbers; else any type
    bool in_column_type; // bounds are of the column's type; else numbers
} aggregates[] = {
    [AGGREGATE_MAX] = {"max(%s)", false, true},
    [AGGREGATE_MIN] = {"min(%s)", false, true},
    [AGGREGATE_MEAN] = {"avg(%s)", true, false},
    [AGGREGATE_MEDIAN] = {"median(%s)", true, false},
    [AGGREGATE_SUM] = {"sum(%s)", true, false},
    [AGGREGATE_STDEV] = {"stddev_samp(%s)", true, false},
    [AGGREGATE_UNIQUE_COUNT] = {"count(distinct %s)", false, false},
    [AGGREGATE_UNIQUE_PROPORTION] = {"count(distinct %s)", false, false},
};

static const char *aggregate_sql(struct quality_run *r, struct quality_item *it) {
    struct str name;
    struct str rest;
    str_cut(str_c(aggregates[it->def->variant].sql), '%', &name, &rest); // rest = "s)"
    const char *value = q_aggregate(r, it, q_text(r, STR_FMT "%s)", STR_ARG(name), it->x));
    if (it->def->variant == AGGREGATE_UNIQUE_PROPORTION)
        value = q_text(r, "(%s / nullif(%s, 0))", value, q_aggregate(r, it, q_text(r, "count(%s)", it->x)));
    return value;
}

const char *value_aggregate(struct quality_run *r, struct quality_item *it) {
    static const struct cols_type number = {.kind = COLS_DOUBLE};
    bool of_numbers = aggregates[it->def->variant].of_numbers, in_column_type = aggregates[it->def->variant].in_column_type;
    if (of_numbers && !is_number(it->type)) {
        err_set(&it->err, ERR_INVALID, "the column must be numeric; \"%s\" is %s", it->column, cols_kind_name(it->type->kind));
        return NULL;
    }
    const char *value = aggregate_sql(r, it), *ok = q_between(r, it, value, in_column_type ? it->type : &number);
    if (ok == NULL)
        return NULL;
    q_cell_raw(r, it, q_text(r, "to_json(%s)", value));
    q_cell_raw(r, it, q_text(r, "(%s) is not null and (%s)", value, ok));
    return "";
}

void finish_aggregate(struct quality_run *r, struct quality_item *it) { observed(it, q_cell_true(r, it, 1), q_cell_json(r, it, 0)); }

// ---- quantiles --------------------------------------------------------------------------------------------------------------
const char *value_quantiles(struct quality_run *r, struct quality_item *it) {
    const json_t *ranges = kwarg(it, "quantile_ranges"), *quantiles = json_object_get(ranges, "quantiles"),
                 *values = json_object_get(ranges, "value_ranges");
    size_t n = json_array_size(quantiles), i;
    const char *list = NULL;
    json_t *v;
    if (n == 0 || n != json_array_size(values))
        return invalid(it, "ValueError: quantile_ranges must have lists quantiles and value_ranges of the same length");
    if (!is_number(it->type))
        return invalid(it, "the column must be numeric");
    json_array_foreach((json_t *)values, i, v) {
        const json_t *low = json_array_get(v, 0), *high = json_array_get(v, 1);
        if (json_array_size(v) != 2 || (json_is_number(low) && json_is_number(high) && json_number_value(low) > json_number_value(high)))
            return invalid(it, "ValueError: quantile_ranges must consist of ordered pairs");
    }
    json_array_foreach((json_t *)quantiles, i, v) {
        double q = json_is_number(v) ? json_number_value(v) : -1;
        if (!(q >= 0 && q <= 1))
            return invalid(it, "ValueError: quantiles must be numbers between 0 and 1");
        list = list == NULL ? q_text(r, "%.17g", q) : q_text(r, "%s, %.17g", list, q);
    }
    q_cell_raw(r, it, q_text(r, "to_json(%s)", q_aggregate(r, it, q_text(r, "quantile_disc(%s, [%s])", it->x, list))));
    return "";
}

void finish_quantiles(struct quality_run *r, struct quality_item *it) {
    const json_t *ranges = kwarg(it, "quantile_ranges");
    json_t *values = q_cell_json(r, it, 0), *details = json_array(), *range;
    size_t i;
    bool all = true;
    json_array_foreach(json_object_get(ranges, "value_ranges"), i, range) {
        const json_t *v = json_array_get(values, i), *low = json_array_get(range, 0), *high = json_array_get(range, 1);
        bool ok = json_is_number(v) && (!json_is_number(low) || json_number_value(v) >= json_number_value(low)) &&
                  (!json_is_number(high) || json_number_value(v) <= json_number_value(high));
        json_array_append_new(details, json_boolean(ok));
        all = all && ok;
    }
    observed(it, all, json_pack("{s:O, s:o}", "quantiles", json_object_get(ranges, "quantiles"), "values", values));
    json_object_set_new(it->result, "details", json_pack("{s:o}", "success_details", details));
}

// ---- distinct values --------------------------------------------------------------------------------------------------------
const char *value_distinct(struct quality_run *r, struct quality_item *it) {
    const json_t *set = kwarg(it, "value_set");
    if (set != NULL && !json_is_array(set))
        return invalid(it, "value_set must be a list");
    const char *in = set == NULL ? "true" : q_in_set(r, it, it->x, set, it->type);
    if (it->err.code != ERR_OK)
        return NULL;
    const char *count = q_text(r, "count(distinct %s)", it->x), *present = q_and(r, it->filter, q_text(r, "%s is not null", it->x));
    q_cell_raw(
        r, it,
        q_text(r, "to_json(list_slice(list_sort(%s), 1, %d))", q_text(r, "list(distinct %s) filter (where %s)", it->x, present), DISTINCT_SHOWN));
    q_cell(r, it, count, NULL);
    q_cell(r, it, count, in);
    return "";
}

// How many different values a set names.
static int64_t set_size(const json_t *set) {
    int64_t n = 0;
    for (size_t i = 0; i < json_array_size(set); i++) {
        const json_t *v = json_array_get(set, i);
        bool seen = json_is_null(v);
        for (size_t k = 0; k < i && !seen; k++) {
            const json_t *w = json_array_get(set, k);
            seen = json_equal(v, w) || (json_is_number(v) && json_is_number(w) && json_number_value(v) == json_number_value(w));
        }
        n += !seen;
    }
    return n;
}

void finish_distinct(struct quality_run *r, struct quality_item *it) {
    const json_t *set = kwarg(it, "value_set");
    int64_t distinct = q_cell_i64(r, it, 1), hits = q_cell_i64(r, it, 2), wanted = set_size(set);
    bool none_else = distinct == hits, all_there = hits == wanted;
    bool ok = it->def->variant == DISTINCT_IN_SET ? none_else : it->def->variant == DISTINCT_CONTAIN_SET ? all_there : none_else && all_there;
    json_t *values = q_cell_json(r, it, 0);
    observed(it, set == NULL || ok, json_is_null(values) ? json_array() : json_incref(values));
    json_decref(values);
    json_object_set_new(it->result, "details", json_pack("{s:I}", "distinct_count", (json_int_t)distinct));
}

// ---- most common value ------------------------------------------------------------------------------------------------------
const char *value_most_common(struct quality_run *r, struct quality_item *it) {
    const json_t *set = kwarg(it, "value_set");
    if (!json_is_array(set))
        return invalid(it, "value_set must be a list");
    const char *in = q_in_set(r, it, "v", set, it->type);
    if (it->err.code != ERR_OK)
        return NULL;
    const char *where = q_and(r, it->filter, q_text(r, "%s is not null", it->x));
    const char *top = q_text(r, "(select %s as v, count(*) as n from " STR_FMT " where %s group by 1 qualify count(*) = max(count(*)) over ())",
                             it->x, STR_ARG(r->target->from), where);
    q_cell_raw(r, it, q_text(r, "(select to_json(list_slice(list(v order by v), 1, %d)) from %s)", DISTINCT_SHOWN, top));
    q_cell_raw(r, it, q_text(r, "(select count(*) from %s)", top));
    q_cell_raw(r, it, q_text(r, "(select count(*) filter (where %s) from %s)", in, top));
    return "";
}

void finish_most_common(struct quality_run *r, struct quality_item *it) {
    int64_t values = q_cell_i64(r, it, 1), hits = q_cell_i64(r, it, 2);
    bool ties_okay = json_get_bool(it->kwargs, "ties_okay", false);
    observed(it, ties_okay ? hits > 0 : values == 1 && hits == 1, q_cell_json(r, it, 0));
}

// ---- counts of rows and columns ---------------------------------------------------------------------------------------------
static bool is_whole(const json_t *v) { return json_is_integer(v) || (json_is_real(v) && json_real_value(v) == (double)(int64_t)json_real_value(v)); }

// kwargs value, or min_value and max_value, against a count. false with it->err set: they are no integers.
static bool count_fits(struct quality_item *it, int64_t count, bool *fits) {
    const json_t *value = kwarg(it, "value"), *min = kwarg(it, "min_value"), *max = kwarg(it, "max_value");
    if (it->def->variant == COUNT_EQUAL) {
        if (!is_whole(value))
            return invalid(it, "value is not a valid integer") != NULL;
        *fits = (double)count == json_number_value(value);
        return true;
    }
    if ((min != NULL && !is_whole(min)) || (max != NULL && !is_whole(max)))
        return invalid(it, "ValueError: min_value and max_value must be integers") != NULL;
    if (min != NULL && max != NULL && json_number_value(min) > json_number_value(max))
        return invalid(it, "ValueError: min_value cannot be greater than max_value; Minimum Threshold cannot be larger than Maximum Threshold") !=
               NULL;
    bool above = min == NULL || (json_get_bool(it->kwargs, "strict_min", false) ? (double)count > json_number_value(min)
                                                                                : (double)count >= json_number_value(min));
    bool below = max == NULL || (json_get_bool(it->kwargs, "strict_max", false) ? (double)count < json_number_value(max)
                                                                                : (double)count <= json_number_value(max));
    *fits = above && below;
    return true;
}

const char *value_row_count(struct quality_run *r, struct quality_item *it) {
    bool fits;
    q_cell(r, it, "count(*)", NULL);
    if (it->def->variant != COUNT_OTHER_TABLE)
        return count_fits(it, 0, &fits) ? "" : NULL;
    const char *other = json_string_value(kwarg(it, "other_table_name"));
    if (other == NULL)
        return invalid(it, "other_table_name must be a string");
    struct str schema, table;
    bool two = str_cut(str_c(other), '.', &schema, &table);
    const char *head = q_ident(r, arena_strndup(&r->arena, schema.p, schema.n));
    const char *name = two ? q_text(r, "%s.%s", head, q_ident(r, arena_strndup(&r->arena, table.p, table.n))) : head;
    q_cell_raw(r, it, q_text(r, "(select count(*) from %s)", name));
    return "";
}

void finish_row_count(struct quality_run *r, struct quality_item *it) {
    int64_t rows = q_cell_i64(r, it, 0);
    bool fits = false;
    if (it->def->variant == COUNT_OTHER_TABLE) {
        int64_t other = q_cell_i64(r, it, 1);
        observed(it, rows == other, json_pack("{s:I, s:I}", "self", (json_int_t)rows, "other", (json_int_t)other));
    } else if (count_fits(it, rows, &fits)) {
        observed(it, fits, json_integer(rows));
    }
}

const char *value_nothing(struct quality_run *r, struct quality_item *it) {
    (void)r;
    (void)it;
    return "";
}

void finish_column_count(struct quality_run *r, struct quality_item *it) {
    bool fits = false;
    if (count_fits(it, (int64_t)r->columns->n, &fits))
        observed(it, fits, json_integer((json_int_t)r->columns->n));
}

// ---- names and types of columns ---------------------------------------------------------------------------------------------
static bool list_has(const json_t *list, const char *name) {
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)list, i, v) {
        if (str_eqc(json_str(v), name))
            return true;
    }
    return false;
}

static json_t *column_names(const struct quality_run *r) {
    json_t *names = json_array();
    for (size_t i = 0; i < r->columns->n; i++)
        json_array_append_new(names, json_string(r->columns->fields[i].name));
    return names;
}

static void finish_ordered(struct quality_run *r, struct quality_item *it) {
    const json_t *wanted = kwarg(it, "column_list");
    json_t *names = column_names(r);
    bool same = wanted == NULL || json_equal(wanted, names);
    json_t *mismatched = json_array();
    size_t n = json_array_size(wanted) > r->columns->n ? json_array_size(wanted) : r->columns->n;
    for (size_t i = 0; i < n && !same; i++) {
        const char *expected = json_string_value(json_array_get(wanted, i)), *found = json_string_value(json_array_get(names, i));
        if (!str_eq(str_c(expected), str_c(found)))
            json_array_append_new(mismatched,
                                  json_pack("{s:I, s:s?, s:s?}", "Expected Column Position", (json_int_t)i, "Expected", expected, "Found", found));
    }
    observed(it, same, names);
    if (!same)
        json_object_set_new(it->result, "details", json_pack("{s:O}", "mismatched", mismatched));
    json_decref(mismatched);
}

static void finish_set(struct quality_run *r, struct quality_item *it) {
    const json_t *wanted = kwarg(it, "column_set");
    json_t *names = column_names(r), *unexpected = json_array(), *missing = json_array(), *mismatched = json_object(), *v;
    size_t i;
    json_array_foreach(names, i, v) {
        if (!list_has(wanted, json_string_value(v)))
            json_array_append(unexpected, v);
    }
    json_array_foreach((json_t *)wanted, i, v) {
        if (json_is_string(v) && !list_has(names, json_string_value(v)))
            json_array_append(missing, v);
    }
    bool exact = json_get_bool(it->kwargs, "exact_match", true);
    bool ok = json_array_size(missing) == 0 && (!exact || json_array_size(unexpected) == 0);
    if (json_array_size(unexpected) > 0)
        json_object_set(mismatched, "unexpected", unexpected);
    if (json_array_size(missing) > 0)
        json_object_set(mismatched, "missing", missing);
    json_decref(unexpected);
    json_decref(missing);
    observed(it, ok, names);
    json_object_set_new(it->result, "details", json_pack("{s:o}", "mismatched", mismatched));
}

static void finish_exists(struct quality_run *r, struct quality_item *it) {
    const char *name = json_get_cstr(it->kwargs, "column", "");
    const json_t *index = kwarg(it, "column_index");
    int at = q_column(r, name);
    it->success = at >= 0 && (index == NULL || json_integer_value(index) == at);
    it->result = json_object();
}

// Names of one type in the languages that suites come from: SQL, Spark, SQLAlchemy, pandas, Delta.
static const struct {
    enum cols_kind kind;
    const char *names; // space-separated, upper case
} type_names[] = {
    {COLS_BOOL, " BOOL BOOLEAN BOOLEANTYPE "},
    {COLS_INT8, " TINYINT INT1 INT8 INT BYTE BYTETYPE "},
    {COLS_INT16, " SMALLINT INT2 INT16 INT SHORT SHORTTYPE "},
    {COLS_INT32, " INTEGER INT INT4 INT32 INTEGERTYPE "},
    {COLS_INT64, " BIGINT BIGINTEGER INT8 INT64 INT LONG LONGTYPE "},
    {COLS_FLOAT, " FLOAT REAL FLOAT4 FLOAT32 FLOATTYPE "},
    {COLS_DOUBLE, " DOUBLE DOUBLE_PRECISION FLOAT FLOAT8 FLOAT64 DOUBLETYPE "},
    {COLS_DECIMAL, " DECIMAL NUMERIC DECIMALTYPE "},
    {COLS_DATE, " DATE DATETYPE "},
    {COLS_TIME, " TIME "},
    {COLS_TIMESTAMP, " TIMESTAMP DATETIME TIMESTAMPTYPE TIMESTAMPNTZTYPE TIMESTAMPTZ DATETIME64[NS] TIMESTAMP_NTZ "},
    {COLS_UUID, " UUID "},
    {COLS_STRING, " VARCHAR TEXT STRING STR CHAR STRINGTYPE OBJECT "},
    {COLS_BYTES, " BLOB BYTEA BYTES BINARY VARBINARY BINARYTYPE "},
    {COLS_LIST, " LIST ARRAY ARRAYTYPE "},
    {COLS_STRUCT, " STRUCT ROW STRUCTTYPE "},
    {COLS_MAP, " MAP MAPTYPE "},
};

static bool type_is_called(const struct cols_type *t, const char *name) {
    char wanted[64];
    size_t n = 1;
    wanted[0] = ' ';
    for (; *name != 0 && *name != '(' && n < sizeof wanted - 2; name++)
        wanted[n++] = *name >= 'a' && *name <= 'z' ? (char)(*name - 32) : *name == ' ' ? '_' : *name;
    wanted[n++] = ' ';
    wanted[n] = 0;
    for (size_t i = 0; i < sizeof type_names / sizeof type_names[0]; i++)
        if (type_names[i].kind == t->kind && strstr(type_names[i].names, wanted) != NULL)
            return true;
    return false;
}

static void finish_type(struct quality_run *r, struct quality_item *it) {
    const char *x;
    const struct cols_type *t;
    if (!q_need_column(r, it, json_get_cstr(it->kwargs, "column", NULL), &x, &t))
        return;
    const json_t *list = kwarg(it, "type_list");
    bool ok = it->def->variant == COLUMN_TYPES && list == NULL;
    if (it->def->variant == COLUMN_TYPE)
        ok = type_is_called(t, json_get_cstr(it->kwargs, "type_", ""));
    for (size_t i = 0; i < json_array_size(list) && !ok; i++)
        ok = json_is_string(json_array_get(list, i)) && type_is_called(t, json_string_value(json_array_get(list, i)));
    struct buf b;
    buf_init(&b, 0);
    cols_type_text(t, &b);
    observed(it, ok, json_of_str(buf_str(&b)));
    buf_fini(&b);
}

void finish_columns(struct quality_run *r, struct quality_item *it) {
    static void (*const by_variant[])(struct quality_run *, struct quality_item *) = {
        [COLUMNS_ORDERED] = finish_ordered, [COLUMNS_SET] = finish_set,    [COLUMN_EXISTS] = finish_exists,
        [COLUMN_TYPE] = finish_type,        [COLUMN_TYPES] = finish_type,
    };
    by_variant[it->def->variant](r, it);
}

// ---- a query of the user's --------------------------------------------------------------------------------------------------
// {batch} stands for the
// table. No row may come back.
const char *value_query(struct quality_run *r, struct quality_item *it) {
    struct str text = json_get_str(it->kwargs, "unexpected_rows_query");
    struct buf b;
    struct sql_statement parsed;
    struct err err = {0};
    if (text.p == NULL)
        return invalid(it, "unexpected_rows_query must be a string");
    buf_init(&b, 0);
    for (size_t i = 0; i < text.n; i++) {
        if (str_starts((struct str){text.p + i, text.n - i}, STR("{batch}"))) {
            buf_put_str(&b, r->target->from);
            i += strlen("{batch}") - 1;
        } else {
            buf_put_u8(&b, (uint8_t)text.p[i]);
        }
    }
    char *sql = arena_strndup(&r->arena, (const char *)b.p, b.n);
    buf_fini(&b);
    if (sql_parse(str_c(sql), &r->arena, &parsed, &err) != ERR_OK || parsed.kind != SQL_SELECT)
        return invalid(it, err.code != ERR_OK ? err.msg : "unexpected_rows_query must be a SELECT");
    q_cell_raw(r, it, q_text(r, "(select count(*) from (" STR_FMT "))", STR_ARG(parsed.text)));
    it->bad_rows = q_text(r, "(" STR_FMT ") q", STR_ARG(parsed.text));
    return "";
}

void finish_query(struct quality_run *r, struct quality_item *it) {
    it->unexpected = q_cell_i64(r, it, 0);
    observed(it, it->unexpected == 0, json_sprintf("%lld unexpected row%s", (long long)it->unexpected, it->unexpected == 1 ? "" : "s"));
}
