// SPDX-License-Identifier: Apache-2.0
// One run of a suite: the table's columns, all expectations compiled into one SELECT of aggregates, the duplicates counted where there are
// any, samples of the unexpected rows in one more query, and the result.
// When the scan fails (a bad regular expression, a conversion that only the data shows), each expectation is asked alone, so that only
// the one at fault has an exception. One thread; memory: the run's arena.
#include "base/metrics.h"
#include "quality/internal.h"
#include "quality/table.h"

// ---- preparing --------------------------------------------------------------------------------------------------------------
// {"$PARAMETER": "name"} becomes the suite's parameter of that name.
static json_t *with_parameters(const json_t *v, const json_t *parameters, struct err *err) {
    const char *name = json_string_value(json_object_get(v, "$PARAMETER"));
    if (name != NULL) {
        const json_t *value = json_object_get(parameters, name);
        if (value == NULL)
            err_set(err, ERR_INVALID, "the suite parameter \"%.100s\" has no value", name);
        return value == NULL ? json_null() : json_deep_copy(value);
    }
    json_t *out = json_is_object(v) ? json_object() : json_is_array(v) ? json_array() : json_deep_copy(v), *child;
    const char *key;
    size_t i;
    json_object_foreach((json_t *)v, key, child) { json_object_set_new(out, key, with_parameters(child, parameters, err)); }
    json_array_foreach((json_t *)v, i, child) { json_array_append_new(out, with_parameters(child, parameters, err)); }
    return out;
}

static void compile_item(struct quality_run *r, struct quality_item *it) {
    const char *type = quality_type_of(it->config);
    const json_t *kwargs = json_object_get(it->config, "kwargs");
    it->kwargs = json_is_object(kwargs) ? with_parameters(kwargs, r->suite->parameters, &it->err) : json_object();
    it->def = quality_expectation_find(type);
    if (it->def == NULL)
        err_set(&it->err, ERR_NOT_SUPPORTED, "%.120s: Millrace does not evaluate this expectation", type);
    if (it->err.code != ERR_OK || !q_row_condition(r, it, &it->filter))
        return;
    it->column = json_get_cstr(it->kwargs, "column", NULL);
    bool of_schema = it->def->compile == value_nothing; // looks its column up itself, absent is an answer
    if (it->column != NULL && !of_schema && !q_need_column(r, it, it->column, &it->x, &it->type))
        return;
    bool one_column = it->def->shape == SHAPE_COLUMN_MAP || it->def->compile == map_null || it->def->compile == map_unique ||
                      it->def->compile == value_aggregate || it->def->compile == value_quantiles || it->def->compile == value_distinct ||
                      it->def->compile == value_most_common;
    if (one_column && it->column == NULL) {
        err_set(&it->err, ERR_INVALID, "kwargs has no column");
        return;
    }
    if ((it->def->shape == SHAPE_COLUMN_MAP ? map_column(r, it) : it->def->compile(r, it)) == NULL && it->err.code == ERR_OK)
        err_set(&it->err, ERR_INVALID, "the expectation cannot be evaluated");
}

// Takes back the cells of an item that turned out not to be evaluable.
static void compile_items(struct quality_run *r) {
    for (size_t i = 0; i < r->n_items; i++) {
        size_t before = r->select.n;
        compile_item(r, &r->items[i]);
        if (r->items[i].err.code != ERR_OK) {
            r->select.n = before;
            r->items[i].n_cells = 0;
        }
    }
}

// ---- the scan ---------------------------------------------------------------------------------------------------------------
struct cell_sink {
    struct quality_run *run;
    size_t first;
};

static enum err_code keep_cells(void *arg, const struct str *cells, size_t n, struct err *err) {
    (void)err;
    struct cell_sink *sink = arg;
    for (size_t i = 0; i < n; i++)
        sink->run->cells[sink->first + i] = cells[i].p == NULL ? (struct str){0} : arena_str(&sink->run->arena, cells[i]);
    return ERR_OK;
}

static enum err_code scan(struct quality_run *r, size_t first, size_t n, struct err *err) {
    if (n == 0)
        return ERR_OK;
    struct buf sql;
    struct cell_sink sink = {r, first};
    buf_init(&sql, SQL_TEXT_MAX);
    buf_puts(&sql, "select ");
    for (size_t i = 0; i < n; i++)
        buf_printf(&sql, "%scast(%s as varchar) as c%zu", i == 0 ? "" : ", ", r->select.p[first + i], i);
    buf_printf(&sql, " from " STR_FMT, STR_ARG(r->target->from));
    enum err_code code = sql.failed ? err_set(err, ERR_TOO_LARGE, "the suite makes a query of more than %d bytes", SQL_TEXT_MAX)
                                    : q_rows(r->session, buf_str(&sql), keep_cells, &sink, err);
    buf_fini(&sql);
    return code;
}

static bool stops_all(enum err_code code) {
    return code == ERR_CANCELLED || code == ERR_NO_TABLE || code == ERR_NO_SCHEMA || code == ERR_NO_MEMORY || code == ERR_NO_SPACE ||
           code == ERR_IO || code == ERR_CORRUPT || code == ERR_CLOSED || code == ERR_TIMEOUT || code == ERR_INTERNAL;
}

static enum err_code scan_all(struct quality_run *r, struct err *err) {
    struct err local = {0};
    r->cells = ARENA_ARRAY(&r->arena, struct str, r->select.n + 1);
    if (scan(r, 0, r->select.n, &local) == ERR_OK)
        return ERR_OK;
    for (size_t i = 0; i < r->n_items && !stops_all(local.code); i++) {
        struct quality_item *it = &r->items[i];
        struct err one = {0};
        if (it->n_cells > 0 && scan(r, it->first_cell, it->n_cells, &one) != ERR_OK) {
            it->err = one;
            if (stops_all(one.code))
                local = one;
        }
    }
    if (!stops_all(local.code))
        return ERR_OK;
    err_copy(err, &local);
    return local.code;
}

// ---- counts -----------------------------------------------------------------------------------------------------------------
static enum err_code count_bad_rows(struct quality_run *r, struct quality_item *it, struct err *err) {
    struct str text;
    const char *sql = q_text(r, "select cast(count(*) as varchar) from %s", it->bad_rows);
    enum err_code code = engine_scalar(r->session, str_c(sql), &r->arena, &text, err);
    if (code == ERR_OK && !str_to_i64(text, &it->unexpected))
        code = err_set(err, ERR_INTERNAL, "a count is not a number");
    return code;
}

static enum err_code finish_item(struct quality_run *r, struct quality_item *it, struct err *err) {
    if (it->err.code != ERR_OK)
        return ERR_OK;
    if (it->def->shape == SHAPE_VALUE) {
        it->def->finish(r, it);
        return ERR_OK;
    }
    int64_t present = q_cell_i64(r, it, 1), third = q_cell_i64(r, it, 2);
    it->elements = q_cell_i64(r, it, 0);
    it->missing = it->elements - present;
    it->unexpected = third;
    if (it->counted_apart) {
        it->unexpected = 0;
        if (third != present && count_bad_rows(r, it, err) != ERR_OK)
            return err->code;
    }
    quality_map_result(r, it);
    return ERR_OK;
}

// ---- samples ----------------------------------------------------------------------------------------------------------------
// Cells of a sample: item, 'l' (a value) or 'c' (a value and how often) or 'a' (of the complete list), the value as JSON, the count.
static enum err_code take_sample(void *arg, const struct str *cells, size_t n, struct err *err) {
    struct quality_run *r = arg;
    int64_t item = 0, count = 0;
    assert(n == 4);
    if (!str_to_i64(cells[0], &item) || item < 0 || (size_t)item >= r->n_items)
        return err_set(err, ERR_INTERNAL, "a sample of no expectation");
    json_t *result = r->items[item].result, *value = cells[2].p == NULL ? json_null() : json_loadb(cells[2].p, cells[2].n, JSON_DECODE_ANY, NULL);
    if (value == NULL)
        value = json_of_str(cells[2]);
    str_to_i64(cells[3], &count);
    if (cells[1].p[0] == 'c')
        json_array_append_new(json_object_get(result, "partial_unexpected_counts"),
                              json_pack("{s:o, s:I}", "value", value, "count", (json_int_t)count));
    else
        json_array_append_new(json_object_get(result, cells[1].p[0] == 'l' ? "partial_unexpected_list" : "unexpected_list"), value);
    return ERR_OK;
}

static void put_sample(struct quality_run *r, struct buf *sql, size_t i, char what) {
    const struct quality_item *it = &r->items[i];
    if (sql->n > 0)
        buf_puts(sql, " union all ");
    const char *value = it->def->shape == SHAPE_MAP && str_starts(str_c(it->value), STR("json_")) ? it->value : q_text(r, "to_json(%s)", it->value);
    buf_printf(sql, "(select '%zu', '%c', cast(%s as varchar), %s from %s%s limit %d)", i, what, value,
               what == 'c' ? "cast(count(*) as varchar)" : "''", it->bad_rows, what == 'c' ? " group by 3 order by count(*) desc, 3" : "",
               what == 'a' ? QUALITY_COMPLETE_LIST : QUALITY_PARTIAL_LIST);
}

static enum err_code take_samples(struct quality_run *r, struct err *err) {
    if (r->target->format == QUALITY_BOOLEAN_ONLY)
        return ERR_OK;
    struct buf sql;
    buf_init(&sql, SQL_TEXT_MAX);
    for (size_t i = 0; i < r->n_items; i++) {
        const struct quality_item *it = &r->items[i];
        if (it->err.code != ERR_OK || it->unexpected == 0 || it->value == NULL)
            continue;
        put_sample(r, &sql, i, 'l');
        if (r->target->format >= QUALITY_SUMMARY)
            put_sample(r, &sql, i, 'c');
        if (r->target->format == QUALITY_COMPLETE)
            put_sample(r, &sql, i, 'a');
    }
    enum err_code code = ERR_OK;
    if (sql.failed)
        code = err_set(err, ERR_TOO_LARGE, "too many failing expectations to show samples of all");
    else if (sql.n > 0)
        code = q_rows(r->session, buf_str(&sql), take_sample, r, err);
    buf_fini(&sql);
    return code;
}

// ---- the result -------------------------------------------------------------------------------------------------------------
static json_t *run_json(struct quality_run *r) {
    json_t *results = json_array();
    int64_t good = 0;
    for (size_t i = 0; i < r->n_items; i++) {
        const struct quality_item *it = &r->items[i];
        bool ok = it->success && it->err.code == ERR_OK;
        good += ok;
        metric_add(M_CHECKS, it->err.code != ERR_OK ? "error" : ok ? "success" : "failure", 1);
        json_array_append_new(results, quality_item_json(r, &r->items[i]));
    }
    int64_t n = (int64_t)r->n_items;
    int64_t now = sys_now_us(r->sys);
    json_t *parameters = r->suite->parameters == NULL ? json_object() : json_deep_copy(r->suite->parameters);
    return json_pack("{s:b, s:o, s:s, s:o, s:{s:I, s:I, s:I, s:o}, s:{s:s, s:s, s:I}, s:n}", "success", good == n, "results", results, "suite_name",
                     r->suite->name, "suite_parameters", parameters, "statistics", "evaluated_expectations", (json_int_t)n,
                     "successful_expectations", (json_int_t)good, "unsuccessful_expectations", (json_int_t)(n - good), "success_percent",
                     n == 0 ? json_null() : json_real((double)good * 100.0 / (double)n), "meta", "engine", "Millrace", "table", r->target->name,
                     "validation_time_us", (json_int_t)now, "id");
}

static void run_fini(struct quality_run *r) {
    for (size_t i = 0; i < r->n_items; i++) {
        json_decref(r->items[i].kwargs);
        json_decref(r->items[i].result);
    }
    vec_fini(&r->select);
    arena_fini(&r->arena);
}

static enum err_code run_all(struct quality_run *r, struct err *err) {
    struct engine_described described = {0};
    const char *sql = q_text(r, "select * from " STR_FMT, STR_ARG(r->target->from));
    enum err_code code = engine_describe(r->session, str_c(sql), &r->arena, &described, err);
    if (code != ERR_OK)
        return code;
    r->columns = described.columns;
    r->n_items = r->suite->expectations.n;
    r->items = ARENA_ARRAY(&r->arena, struct quality_item, r->n_items + 1);
    for (size_t i = 0; i < r->n_items; i++)
        r->items[i].config = r->suite->expectations.p[i];
    compile_items(r);
    code = scan_all(r, err);
    for (size_t i = 0; i < r->n_items && code == ERR_OK; i++)
        code = finish_item(r, &r->items[i], err);
    return code == ERR_OK ? take_samples(r, err) : code;
}

enum err_code quality_run_then(struct sys *sys, struct engine_session *s, const struct quality_suite *suite, const struct quality_target *target,
                               quality_after_fn *after, void *arg, json_t **result, struct err *err) {
    struct err local = {0};
    struct quality_run r = {.sys = sys, .session = s, .suite = suite, .target = target};
    arena_init(&r.arena);
    *result = NULL;
    run_all(&r, &local);
    if (local.code == ERR_OK) {
        *result = run_json(&r);
        if (after != NULL)
            after(&r, *result, arg, &local);
    }
    run_fini(&r);
    if (local.code != ERR_OK)
        err_copy(err, &local);
    return local.code;
}
