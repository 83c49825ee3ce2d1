// SPDX-License-Identifier: Apache-2.0
// Building blocks of the scan's SQL: quoted names, literals that fit the column they are compared with, bounds, row conditions, cells.
// A literal never makes the whole scan fail: what cannot be compared with the column becomes an error of its expectation.
// All texts live in the run's arena. One thread: the run's.
#include "quality/internal.h"

const char *q_text(struct quality_run *r, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    char *out = arena_alloc(&r->arena, (size_t)n + 1);
    vsnprintf(out, (size_t)n + 1, fmt, again);
    va_end(again);
    return out;
}

static const char *take(struct quality_run *r, struct buf *b) {
    const char *out = arena_strndup(&r->arena, (const char *)b->p, b->n);
    buf_fini(b);
    return out;
}

const char *q_ident(struct quality_run *r, const char *name) {
    struct buf b;
    buf_init(&b, 0);
    sql_put_ident(&b, str_c(name));
    return take(r, &b);
}

static const char *q_string(struct quality_run *r, struct str s) {
    struct buf b;
    buf_init(&b, 0);
    sql_put_string(&b, s);
    return take(r, &b);
}

const char *q_and(struct quality_run *r, const char *a, const char *b) {
    if (a == NULL || b == NULL)
        return a != NULL ? a : b;
    return q_text(r, "(%s) and (%s)", a, b);
}

// ---- columns ----------------------------------------------------------------------------------------------------------------
int q_column(const struct quality_run *r, const char *name) {
    int i = cols_schema_find(r->columns, str_c(name));
    for (size_t k = 0; i < 0 && k < r->columns->n; k++)
        if (str_ieq(str_c(name), str_c(r->columns->fields[k].name)))
            i = (int)k;
    return i;
}

bool q_need_column(struct quality_run *r, struct quality_item *it, const char *name, const char **sql, const struct cols_type **type) {
    int i = name == NULL ? -1 : q_column(r, name);
    if (i < 0) {
        err_set(&it->err, ERR_NO_COLUMN, "Error: The column \"%.200s\" in BatchData does not exist.", name == NULL ? "" : name);
        return false;
    }
    *sql = q_ident(r, r->columns->fields[i].name);
    if (type != NULL)
        *type = &r->columns->fields[i].type;
    return true;
}

// ---- literals ---------------------------------------------------------------------------------------------------------------
static bool is_number(enum cols_kind k) { return (k >= COLS_INT8 && k <= COLS_DECIMAL); }

// 2024-01-02, 2024-01-02 03:04:05.678, with T and zone: what the engine casts without doubt.
static bool looks_like_time(struct str s) {
    size_t i = 0;
    static const char shape[] = "dddd-dd-dd";
    for (; i < sizeof shape - 1; i++)
        if (i >= s.n || (shape[i] == 'd' ? s.p[i] < '0' || s.p[i] > '9' : s.p[i] != shape[i]))
            return false;
    for (; i < s.n; i++)
        if (strchr("0123456789:.+-TZ ", s.p[i]) == NULL || s.p[i] == 0)
            return false;
    return s.n == 10 || s.n >= 16;
}

static const char *number_text(struct quality_run *r, const json_t *v) {
    struct buf b;
    buf_init(&b, 0);
    json_write(v, JSON_ENCODE_ANY | JSON_COMPACT, &b);
    return take(r, &b);
}

static const char *misfit(struct quality_item *it, const json_t *v, const struct cols_type *t) {
    err_set(
        &it->err, ERR_INVALID,
        "TypeError: Column values, min_value, and max_value must either be None or of the same type. (a %s cannot be compared with a %s column)",
        json_is_string(v)    ? "string"
        : json_is_boolean(v) ? "boolean"
                             : "number",
        cols_kind_name(t->kind));
    return NULL;
}

static const char *string_literal(struct quality_run *r, struct quality_item *it, const json_t *v, const struct cols_type *t) {
    struct str s = json_str(v);
    double d;
    if (t != NULL && is_number(t->kind))
        return str_to_double(s, &d) ? q_text(r, "cast(%s as double)", q_string(r, s)) : misfit(it, v, t);
    if (t != NULL && t->kind == COLS_BOOL)
        return str_ieq(s, STR("true")) || str_ieq(s, STR("false")) ? q_text(r, STR_FMT, STR_ARG(s)) : misfit(it, v, t);
    if (t != NULL && (t->kind == COLS_DATE || t->kind == COLS_TIMESTAMP)) {
        if (!looks_like_time(s)) {
            err_set(&it->err, ERR_INVALID, "\"%.60s\" is not a date or time that Millrace reads: write 2024-01-31 or 2024-01-31 12:00:00", s.p);
            return NULL;
        }
        return q_text(r, "cast(%s as %s)", q_string(r, s), t->kind == COLS_TIMESTAMP && t->tz ? "timestamptz" : "timestamp");
    }
    return q_string(r, s);
}

const char *q_literal(struct quality_run *r, struct quality_item *it, const json_t *v, const struct cols_type *t) {
    if (json_is_null(v))
        return "null";
    if (json_is_string(v))
        return string_literal(r, it, v, t);
    if (json_is_boolean(v))
        return t == NULL || t->kind == COLS_BOOL ? (json_is_true(v) ? "true" : "false")
               : is_number(t->kind)              ? (json_is_true(v) ? "1" : "0")
                                                 : misfit(it, v, t);
    if (json_is_number(v))
        return t == NULL || is_number(t->kind) ? number_text(r, v)
               : t->kind == COLS_BOOL          ? (json_number_value(v) != 0 ? "true" : "false")
                                               : misfit(it, v, t);
    err_set(&it->err, ERR_INVALID, "a list or an object cannot be compared with a value");
    return NULL;
}

const char *q_in_set(struct quality_run *r, struct quality_item *it, const char *x, const json_t *set, const struct cols_type *t) {
    struct buf b;
    size_t i, n = 0;
    json_t *v;
    buf_init(&b, 0);
    buf_printf(&b, "%s in (", x);
    json_array_foreach((json_t *)set, i, v) {
        struct quality_item scratch = {0}; // a value that does not fit the column equals none of its values
        const char *literal = json_is_null(v) ? NULL : q_literal(r, &scratch, v, t);
        if (literal == NULL && t != NULL && (t->kind == COLS_DATE || t->kind == COLS_TIMESTAMP) && json_is_string(v))
            it->err = scratch.err; // but a date that we cannot read is the suite's fault
        if (literal != NULL)
            buf_printf(&b, "%s%s", n++ == 0 ? "" : ", ", literal);
    }
    buf_puts(&b, ")");
    if (n == 0) {
        buf_clear(&b);
        buf_puts(&b, "false");
    }
    return take(r, &b);
}

const char *q_between(struct quality_run *r, struct quality_item *it, const char *x, const struct cols_type *t) {
    static const struct {
        const char *key, *strict, *op, *strict_op;
    } ends[] = {{"min_value", "strict_min", ">=", ">"}, {"max_value", "strict_max", "<=", "<"}};
    const char *out = NULL;
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_object_get(it->kwargs, ends[i].key);
        if (v == NULL || json_is_null(v))
            continue;
        const char *literal = q_literal(r, it, v, t);
        if (literal == NULL)
            return NULL;
        out = q_and(r, out, q_text(r, "%s %s %s", x, json_get_bool(it->kwargs, ends[i].strict, false) ? ends[i].strict_op : ends[i].op, literal));
    }
    return out == NULL ? "true" : out;
}

// ---- row conditions ---------------------------------------------------------------------------------------------------------
static bool condition_error(struct quality_item *it, struct str text) {
    err_set(&it->err, ERR_NOT_SUPPORTED,
            "row_condition: Millrace reads col(\"name\") with ==, !=, <, <=, >, >=, .notNull(), .notnull() or .isNull(), not: %.200s", text.p);
    return false;
}

static bool cut_prefix(struct str *s, const char *prefix) {
    if (!str_starts(*s, str_c(prefix)))
        return false;
    *s = str_trim((struct str){s->p + strlen(prefix), s->n - strlen(prefix)});
    return true;
}

// col("name") OP literal, of GX's own condition language; also "name OP literal" as pandas' query has it.
bool q_row_condition(struct quality_run *r, struct quality_item *it, const char **out) {
    static const char *const ops[][2] = {{"==", "="}, {"!=", "<>"}, {"<=", "<="}, {">=", ">="}, {"<", "<"}, {">", ">"}};
    struct str text = str_trim(json_get_str(it->kwargs, "row_condition")), s = text;
    *out = NULL;
    if (s.n == 0)
        return true;
    struct str name = {0};
    if (cut_prefix(&s, "col(")) {
        char quote = s.n > 0 ? s.p[0] : 0;
        struct str rest;
        if ((quote != '"' && quote != '\'') || !str_cut((struct str){s.p + 1, s.n - 1}, quote, &name, &rest) || !cut_prefix(&rest, ")"))
            return condition_error(it, text);
        s = rest;
    } else {
        size_t n = 0;
        while (n < s.n && strchr("=!<> .", s.p[n]) == NULL)
            n++;
        name = (struct str){s.p, n};
        s = str_trim((struct str){s.p + n, s.n - n});
    }
    const char *x;
    const struct cols_type *t;
    if (!q_need_column(r, it, arena_strndup(&r->arena, name.p, name.n), &x, &t))
        return false;
    if (str_eqc(s, ".notNull()") || str_eqc(s, ".notnull()") || str_eqc(s, ".isNull()")) {
        *out = q_text(r, "%s is %snull", x, str_eqc(s, ".isNull()") ? "" : "not ");
        return true;
    }
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (cut_prefix(&s, ops[i][0])) {
            bool quoted = s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0];
            struct str inner = quoted ? (struct str){s.p + 1, s.n - 2} : s;
            if (quoted && memchr(inner.p, s.p[0], inner.n) != NULL)
                return condition_error(it, text);
            json_t *v = quoted ? json_of_str(inner) : json_loadb(inner.p, inner.n, JSON_DECODE_ANY, NULL);
            const char *literal = v == NULL || json_is_null(v) ? NULL : q_literal(r, it, v, t);
            json_decref(v);
            if (literal == NULL)
                return it->err.code == ERR_OK ? condition_error(it, text) : false;
            *out = q_text(r, "%s %s %s", x, ops[i][1], literal);
            return true;
        }
    return condition_error(it, text);
}

// ---- cells ------------------------------------------------------------------------------------------------------------------
static const char *filtered(struct quality_run *r, const char *aggregate, const char *condition) {
    return condition == NULL ? aggregate : q_text(r, "%s filter (where %s)", aggregate, condition);
}

void q_cell_raw(struct quality_run *r, struct quality_item *it, const char *expression) {
    if (it->n_cells == 0)
        it->first_cell = r->select.n;
    assert(it->first_cell + it->n_cells == r->select.n); // an item's cells lie together
    vec_add(&r->select, expression);
    it->n_cells++;
}

void q_cell(struct quality_run *r, struct quality_item *it, const char *aggregate, const char *condition) {
    q_cell_raw(r, it, filtered(r, aggregate, q_and(r, it->filter, condition)));
}

const char *q_aggregate(struct quality_run *r, struct quality_item *it, const char *aggregate) { return filtered(r, aggregate, it->filter); }

static struct str cell(const struct quality_run *r, const struct quality_item *it, size_t i) {
    assert(i < it->n_cells);
    return r->cells[it->first_cell + i];
}

int64_t q_cell_i64(const struct quality_run *r, const struct quality_item *it, size_t i) {
    int64_t v = 0;
    return str_to_i64(cell(r, it, i), &v) ? v : 0;
}

bool q_cell_true(const struct quality_run *r, const struct quality_item *it, size_t i) { return str_eqc(cell(r, it, i), "true"); }

json_t *q_cell_json(const struct quality_run *r, const struct quality_item *it, size_t i) {
    struct str s = cell(r, it, i);
    json_t *v = s.p == NULL ? NULL : json_loadb(s.p, s.n, JSON_DECODE_ANY, NULL);
    return v != NULL ? v : s.p == NULL ? json_null() : json_of_str(s);
}

// ---- queries ----------------------------------------------------------------------------------------------------------------
enum err_code q_rows(struct engine_session *s, struct str sql, q_row_fn *fn, void *arg, struct err *err) {
    struct err local = {0};
    struct engine_result *result = engine_query(s, sql, NULL, 0, &local);
    struct cols_batch *batch = NULL;
    VEC(struct str) cells = {0};
    while (result != NULL && local.code == ERR_OK && (batch = engine_result_next(result, &local)) != NULL) {
        size_t columns = batch->schema->n;
        vec_reserve(&cells, columns + 1);
        for (size_t row = 0; row < batch->n && local.code == ERR_OK; row++) {
            for (size_t c = 0; c < columns; c++)
                cells.p[c] = cols_is_valid(&batch->columns[c], row) ? cols_str(&batch->columns[c], row) : (struct str){0};
            fn(arg, cells.p, columns, &local);
        }
        cols_batch_free(batch);
    }
    engine_result_free(result);
    vec_fini(&cells);
    if (local.code != ERR_OK)
        err_copy(err, &local);
    return local.code;
}
