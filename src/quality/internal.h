// SPDX-License-Identifier: Apache-2.0
// What the files of quality/ share: one expectation under evaluation, one run, the table of expectation types. Not for other rooms.
#ifndef QUALITY_INTERNAL_H
#define QUALITY_INTERNAL_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/vec.h"
#include "quality/quality.h"
#include "sql/sql.h"

struct quality_suite {
    json_t *json;
    const char *name;
    const json_t *parameters; // suite_parameters; may be NULL
    VEC(const json_t *) expectations;
};
const char *quality_type_of(const json_t *expectation);
const char *quality_severity_of(const json_t *expectation); // "critical", "warning", "info"

struct quality_run;
struct quality_item;

enum quality_shape { SHAPE_COLUMN_MAP, SHAPE_MAP, SHAPE_VALUE };

struct quality_expectation {
    const char *type;
    enum quality_shape shape;
    // Fills the item's SQL. SHAPE_COLUMN_MAP: returns the condition that a value must meet, in terms of it->x; SHAPE_MAP: sets domain, bad
    // and value itself; SHAPE_VALUE: asks for cells. NULL with it->err set = cannot be evaluated.
    const char *(*compile)(struct quality_run *r, struct quality_item *it);
    // SHAPE_VALUE: reads the cells, sets success and result.
    void (*finish)(struct quality_run *r, struct quality_item *it);
    int variant; // tells expectations with the same functions apart
};
const struct quality_expectation *quality_expectation_find(const char *type);

struct quality_item {
    const struct quality_expectation *def; // NULL = not supported
    const json_t *config;
    json_t *kwargs; // with parameters put in
    struct err err; // code != ERR_OK: it cannot be evaluated (exception_info)
    const char *column; // kwargs.column, as the table spells it; NULL = none
    const struct cols_type *type;
    const char *x;      // the column as SQL
    const char *filter; // row_condition as SQL; NULL = all rows
    // Map expectations:
    const char *domain;   // condition of rows that count (not missing); NULL = all
    const char *bad_rows; // what stands behind FROM (and WHERE) to get the unexpected rows
    const char *value;    // SQL of what is shown of an unexpected row
    bool counted_apart;   // cells hold count and distinct count: the unexpected are counted by a query of their own when these differ
    size_t first_cell, n_cells;
    int64_t elements, missing, unexpected;
    bool success;
    json_t *result;
};

struct quality_run {
    struct sys *sys;
    struct engine_session *session;
    const struct quality_suite *suite;
    const struct quality_target *target;
    struct arena arena;
    struct cols_schema *columns; // of the table
    struct quality_item *items;
    size_t n_items;
    VEC(const char *) select; // expressions of the scan
    struct str *cells;        // their values; p = NULL: null
};

// ---- sql.c: building blocks. All texts live in the run's arena.
const char *q_text(struct quality_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *q_ident(struct quality_run *r, const char *name);
// A JSON value as a literal to compare with a value of type t (NULL: as it comes). NULL = cannot be; it->err says why.
const char *q_literal(struct quality_run *r, struct quality_item *it, const json_t *v, const struct cols_type *t);
// "x in (...)"; "false" for an empty set. Values that no value of the type can equal are left out.
const char *q_in_set(struct quality_run *r, struct quality_item *it, const char *x, const json_t *set, const struct cols_type *t);
// Bounds from kwargs min_value, max_value, strict_min, strict_max: "x >= 1 and x < 9". "true" when there is none.
const char *q_between(struct quality_run *r, struct quality_item *it, const char *x, const struct cols_type *t);
const char *q_and(struct quality_run *r, const char *a, const char *b); // either may be NULL
// row_condition to SQL. false: it->err is set.
bool q_row_condition(struct quality_run *r, struct quality_item *it, const char **out);
// Adds an aggregate over the rows that the item's filter (and `condition`, may be NULL) lets through to the scan.
void q_cell(struct quality_run *r, struct quality_item *it, const char *aggregate, const char *condition);
// The same for an expression over several aggregates, which the caller has filtered.
void q_cell_raw(struct quality_run *r, struct quality_item *it, const char *expression);
// An aggregate with the item's filter, for use inside expressions.
const char *q_aggregate(struct quality_run *r, struct quality_item *it, const char *aggregate);
int64_t q_cell_i64(const struct quality_run *r, const struct quality_item *it, size_t i); // 0 when null
bool q_cell_true(const struct quality_run *r, const struct quality_item *it, size_t i);   // "true"
json_t *q_cell_json(const struct quality_run *r, const struct quality_item *it, size_t i); // a JSON text; null when null
int q_column(const struct quality_run *r, const char *name); // -1 = absent
bool q_need_column(struct quality_run *r, struct quality_item *it, const char *name, const char **sql, const struct cols_type **type);

// A result's rows as texts: fn is called with the cells of each row. Every column must be text.
typedef enum err_code q_row_fn(void *arg, const struct str *cells, size_t n, struct err *err);
enum err_code q_rows(struct engine_session *s, struct str sql, q_row_fn *fn, void *arg, struct err *err);

// ---- result.c
json_t *quality_item_json(struct quality_run *r, struct quality_item *it);
void quality_map_result(struct quality_run *r, struct quality_item *it); // counts to success and result

// ---- run.c: runs the suite; `after` (NULL = none) sees the items and the result before the run's memory is freed.
typedef enum err_code quality_after_fn(struct quality_run *r, json_t *result, void *arg, struct err *err);
enum err_code quality_run_then(struct sys *sys, struct engine_session *s, const struct quality_suite *suite, const struct quality_target *target,
                               quality_after_fn *after, void *arg, json_t **result, struct err *err);

#endif
