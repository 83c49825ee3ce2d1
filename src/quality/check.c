// SPDX-License-Identifier: Apache-2.0
// The statement `check TABLE using 'suite.json'`: runs the suite over the table's newest version, keeps the failing rows in
// quarantine.<table>_checks, stores the result as a file, and says which expectations failed.
// Any worker thread; struct quality is read-only after opening. Durable: rows first, then the result file, then the answer.
#include "base/log.h"
#include "lake/lake.h"
#include "quality/internal.h"

struct quality {
    struct sys *sys;
    struct engine *engine;
    char *checks_dir, *suites_dir;
};

#define KEEP_SCHEMA "quarantine"

static const struct {
    const char *name;
    enum quality_format format;
} formats[] = {{"BOOLEAN_ONLY", QUALITY_BOOLEAN_ONLY}, {"BASIC", QUALITY_BASIC}, {"SUMMARY", QUALITY_SUMMARY}, {"COMPLETE", QUALITY_COMPLETE}};

enum err_code quality_run(struct quality *q, struct engine_session *s, const struct quality_suite *suite, const struct quality_target *target,
                          json_t **result, struct err *err) {
    return quality_run_then(q->sys, s, suite, target, NULL, NULL, result, err);
}

// ---- time -------------------------------------------------------------------------------------------------------------------
enum { TIME_TEXT_MAX = 40 };

// 2026-11-21T02:13:47.123456Z; for names of files with - instead of :
static void time_text(int64_t us, bool for_file, char out[TIME_TEXT_MAX]) {
    struct buf b;
    buf_init(&b, TIME_TEXT_MAX);
    cols_timestamp_text(us, true, true, &b);
    snprintf(out, TIME_TEXT_MAX, "%s", buf_cstr(&b));
    buf_fini(&b);
    for (char *p = out; for_file && *p != 0; p++)
        *p = *p == ':' ? '-' : *p;
}

// ---- rows kept --------------------------------------------------------------------------------------------------------------
struct after {
    struct quality *q;
    const char *schema, *table, *time;
    int64_t limit;
    char *kept_in; // "quarantine.flights_checks"; NULL = no rows kept
};

static void put_text(struct buf *b, const char *s) { sql_put_string(b, str_c(s)); }

// One SELECT of the failing rows of an item: which expectation, the value, and the whole row as JSON.
static void put_kept(struct quality_run *r, struct buf *sql, const struct quality_item *it, const struct after *a) {
    buf_puts(sql, sql->n > 0 ? " union all " : "");
    buf_puts(sql, "(select cast(");
    put_text(sql, a->time);
    buf_puts(sql, " as timestamptz) as checked_at, cast(");
    put_text(sql, r->target->name);
    buf_puts(sql, " as varchar) as table_name, cast(");
    put_text(sql, r->suite->name);
    buf_puts(sql, " as varchar) as suite, cast(");
    put_text(sql, quality_type_of(it->config));
    buf_puts(sql, " as varchar) as expectation, cast(");
    if (it->column != NULL)
        put_text(sql, it->column);
    else
        buf_puts(sql, "null");
    buf_printf(sql,
               " as varchar) as column_name, cast(%s as varchar) as value, cast(to_json(failing_row) as varchar) as row_json from (select * from "
               "%s limit %lld) failing_row)",
               it->value == NULL ? "null" : it->value, it->bad_rows, (long long)a->limit);
}

static enum err_code run_sql(struct quality_run *r, struct str sql, struct err *err) { return engine_script(r->session, sql, NULL, err); }

static enum err_code keep_rows(struct quality_run *r, struct after *a, struct err *err) {
    struct buf rows, sql;
    buf_init(&rows, SQL_TEXT_MAX);
    buf_init(&sql, SQL_TEXT_MAX);
    for (size_t i = 0; i < r->n_items && a->limit > 0; i++) {
        const struct quality_item *it = &r->items[i];
        if (it->err.code == ERR_OK && !it->success && it->unexpected > 0 && it->bad_rows != NULL)
            put_kept(r, &rows, it, a);
    }
    enum err_code code = rows.failed ? err_set(err, ERR_TOO_LARGE, "too many failing expectations to keep the rows of all") : ERR_OK;
    if (code == ERR_OK && rows.n > 0) {
        char *name = mem_printf("%s_checks", a->table);
        buf_puts(&sql, "create schema if not exists " KEEP_SCHEMA "; create or replace table " KEEP_SCHEMA ".");
        sql_put_ident(&sql, str_c(name));
        buf_puts(&sql, " as ");
        buf_put_str(&sql, buf_str(&rows));
        code = run_sql(r, buf_str(&sql), err);
        if (code == ERR_OK)
            a->kept_in = mem_printf(KEEP_SCHEMA ".%s", name);
        else
            err_wrap(err, "keeping the failing rows in " KEEP_SCHEMA ".%s", name);
        mem_free(name);
    }
    buf_fini(&rows);
    buf_fini(&sql);
    return code;
}

// ---- results stored ---------------------------------------------------------------------------------------------------------
static void forget_old(struct quality *q, const char *dir) {
    struct sys_list names = {0};
    if (sys_list_dir(q->sys, dir, &names, NULL) == ERR_OK)
        for (size_t i = 0; i + QUALITY_RESULTS_KEPT < names.n; i++) { // names are times, sorted
            char *path = mem_printf("%s/%s", dir, names.names[i]);
            sys_unlink(q->sys, path, NULL);
            mem_free(path);
        }
    sys_list_free(&names);
}

static enum err_code store(struct quality *q, const struct after *a, const json_t *result, const char *file_time, struct err *err) {
    char *dir = mem_printf("%s/%s.%s", q->checks_dir, a->schema, a->table);
    char *path = mem_printf("%s/%s.json", dir, file_time);
    struct buf text;
    buf_init(&text, 0);
    json_write(result, JSON_INDENT(2), &text);
    buf_put_u8(&text, '\n');
    enum err_code code = sys_mkdirs(q->sys, dir, err);
    if (code == ERR_OK)
        code = sys_write_file(q->sys, path, buf_str(&text), err);
    if (code == ERR_OK)
        forget_old(q, dir);
    buf_fini(&text);
    mem_free(path);
    mem_free(dir);
    return code;
}

static enum err_code after_run(struct quality_run *r, json_t *result, void *arg, struct err *err) {
    struct after *a = arg;
    char file_time[TIME_TEXT_MAX], time[TIME_TEXT_MAX];
    int64_t now = sys_now_us(a->q->sys);
    time_text(now, false, time);
    time_text(now, true, file_time);
    a->time = time;
    enum err_code code = keep_rows(r, a, err);
    a->time = NULL;
    json_t *meta = json_object_get(result, "meta");
    json_object_set_new(meta, "validation_time", json_string(time));
    json_object_set_new(meta, "run_id", json_pack("{s:s, s:s}", "run_name", file_time, "run_time", time));
    json_object_set_new(meta, "kept_rows_table", a->kept_in == NULL ? json_null() : json_string(a->kept_in));
    return code == ERR_OK ? store(a->q, a, result, file_time, err) : code;
}

// ---- the verdict ------------------------------------------------------------------------------------------------------------
static const char *label_of(const json_t *config, const char **column) {
    const json_t *kwargs = json_object_get(config, "kwargs");
    *column = json_get_cstr(kwargs, "column", json_get_cstr(kwargs, "column_A", ""));
    return json_get_cstr(config, "type", "");
}

static void put_failure(struct buf *b, const json_t *item) {
    const char *column, *type = label_of(json_object_get(item, "expectation_config"), &column);
    const json_t *result = json_object_get(item, "result"), *observed = json_object_get(result, "observed_value"),
                 *exception = json_object_get(item, "exception_info");
    buf_printf(b, "%s%s(%s)", b->n > 0 ? "; " : "", type, column);
    if (json_get_bool(exception, "raised_exception", false)) {
        buf_printf(b, ": %.200s", json_get_cstr(exception, "exception_message", ""));
    } else if (json_object_get(result, "unexpected_count") != NULL) {
        buf_printf(b, ": %lld of %lld values unexpected", (long long)json_get_i64(result, "unexpected_count", 0),
                   (long long)json_get_i64(result, "element_count", 0));
    } else if (observed != NULL) {
        buf_puts(b, ": observed ");
        json_write(observed, JSON_COMPACT | JSON_ENCODE_ANY, b);
    }
}

static enum err_code verdict(const json_t *result, const struct after *a, const struct quality_suite *suite, struct err *err) {
    struct buf critical;
    size_t i, n_failed = 0, n_critical = 0;
    json_t *item;
    buf_init(&critical, ERR_MSG_MAX * 4);
    json_array_foreach(json_object_get(result, "results"), i, item) {
        if (json_get_bool(item, "success", false))
            continue;
        n_failed++;
        if (!str_eqc(json_get_str(json_object_get(item, "expectation_config"), "severity"), "critical"))
            continue;
        n_critical++;
        put_failure(&critical, item);
    }
    enum err_code code = ERR_OK;
    if (n_critical > 0)
        code = err_set(err, ERR_CHECK_FAILED, "%zu of %zu expectations of suite %.60s failed on %s.%s%s%s: %.700s", n_failed, suite->expectations.n,
                       suite->name, a->schema, a->table, a->kept_in == NULL ? "" : "; failing rows are in ", a->kept_in == NULL ? "" : a->kept_in,
                       buf_cstr(&critical));
    buf_fini(&critical);
    return code;
}

enum err_code quality_check(struct quality *q, struct engine_session *s, const char *schema, const char *table, const struct quality_suite *suite,
                            const struct quality_check_options *options, json_t **result, struct err *err) {
    struct buf from;
    struct after a = {.q = q, .schema = schema, .table = table, .limit = options->keep_rows};
    *result = NULL;
    struct lake_snapshot *snapshot = lake_table_snapshot(engine_lake(q->engine), schema, table, -1, err);
    if (snapshot == NULL)
        return err != NULL ? err->code : ERR_NO_TABLE;
    int64_t version = lake_snapshot_version(snapshot);
    lake_snapshot_unref(snapshot);
    buf_init(&from, 4096);
    sql_put_ident(&from, str_c(schema));
    buf_put_u8(&from, '.');
    sql_put_ident(&from, str_c(table));
    buf_printf(&from, " version as of %lld", (long long)version); // all queries of the check see the same rows
    char *name = mem_printf("%s.%s", schema, table);
    struct quality_target target = {.from = buf_str(&from), .name = name, .format = options->format};
    enum err_code code = quality_run_then(q->sys, s, suite, &target, after_run, &a, result, err);
    if (code == ERR_OK)
        code = verdict(*result, &a, suite, err);
    const json_t *statistics = json_object_get(*result, "statistics");
    log_info("quality", "checked", "table", name, "suite", suite->name, "version", log_i64(version), "failed",
             log_i64(json_get_i64(statistics, "unsuccessful_expectations", -1)), NULL);
    mem_free(name);
    mem_free(a.kept_in);
    buf_fini(&from);
    return code;
}

// ---- the statement ----------------------------------------------------------------------------------------------------------
// A suite named in SQL: JSON in place (it begins with a brace), or a .json file, with suites_dir only inside of it.
static char *suite_text(struct quality *q, struct str file, struct err *err) {
    struct str s = str_trim(file), dir = str_c(q->suites_dir);
    if (s.n > 0 && s.p[0] == '{')
        return mem_strndup(s.p, s.n);
    char *name = mem_strndup(s.p, s.n), *text = NULL;
    char *path = name[0] == '/' || dir.n == 0 ? mem_strdup(name) : mem_printf("%s/%s", q->suites_dir, name);
    bool inside = name[0] != '/' || (str_starts(s, dir) && s.n > dir.n && s.p[dir.n] == '/');
    if (dir.n > 0 && (!inside || strstr(name, "..") != NULL))
        err_set(err, ERR_DENIED, "suite files are read from %s only, not %s", q->suites_dir, name);
    else if (!str_ends(s, STR(".json")))
        err_set(err, ERR_DENIED, "a suite is a .json file, not %s", name);
    else
        text = sys_read_file(q->sys, path, QUALITY_SUITE_MAX, NULL, err);
    mem_free(path);
    mem_free(name);
    return text;
}

static bool read_options(const struct sql_statement *st, struct quality_check_options *out, struct err *err) {
    *out = (struct quality_check_options){.format = QUALITY_SUMMARY, .keep_rows = QUALITY_KEEP_ROWS};
    for (size_t i = 0; i < st->n_options; i++) {
        struct str key = st->options[i].key, value = st->options[i].value;
        bool known = false;
        if (str_ieq(key, STR("keep_rows")))
            known = str_to_i64(value, &out->keep_rows) && out->keep_rows >= 0 && out->keep_rows <= 1000000;
        for (size_t f = 0; f < sizeof formats / sizeof formats[0] && str_ieq(key, STR("result_format")); f++)
            if (str_ieq(value, str_c(formats[f].name))) {
                out->format = formats[f].format;
                known = true;
            }
        if (!known) {
            err_set(err, ERR_INVALID,
                    "check: option " STR_FMT " = " STR_FMT
                    " is not known (result_format = BOOLEAN_ONLY, BASIC, SUMMARY or COMPLETE; keep_rows = 0 to 1000000)",
                    STR_ARG(key), STR_ARG(value));
            return false;
        }
    }
    return true;
}

enum { OUT_COLUMNS = 7 };
static const char *const out_columns[OUT_COLUMNS] = {"expectation",      "column_name",        "severity",      "success",
                                                     "unexpected_count", "unexpected_percent", "observed_value"};

static const char *json_cell(struct arena *a, const json_t *v) {
    if (v == NULL || json_is_null(v))
        return NULL;
    return json_is_string(v) ? arena_strdup(a, json_string_value(v)) : json_text(v, JSON_COMPACT | JSON_ENCODE_ANY, a).p;
}

static struct engine_result *rows_of(const json_t *result, struct arena *a) {
    const json_t *list = json_object_get(result, "results");
    size_t n = json_array_size(list);
    const char **cells = ARENA_ARRAY(a, const char *, n * OUT_COLUMNS + 1);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i), *config = json_object_get(item, "expectation_config"), *r = json_object_get(item, "result");
        const json_t *exception = json_object_get(json_object_get(item, "exception_info"), "exception_message");
        const char **row = cells + i * OUT_COLUMNS, *column;
        row[0] = arena_strdup(a, label_of(config, &column));
        row[1] = column[0] == 0 ? NULL : arena_strdup(a, column);
        row[2] = json_cell(a, json_object_get(config, "severity"));
        row[3] = json_get_bool(item, "success", false) ? "true" : "false";
        row[4] = json_cell(a, json_object_get(r, "unexpected_count"));
        row[5] = json_cell(a, json_object_get(r, "unexpected_percent"));
        row[6] = json_cell(a, json_is_string(exception) ? exception : json_object_get(r, "observed_value"));
    }
    return engine_result_text(out_columns, OUT_COLUMNS, cells, n, "CHECK", -1);
}

static struct engine_result *on_check(void *arg, struct engine_session *s, const struct sql_statement *st, struct err *err) {
    struct quality *q = arg;
    struct quality_check_options options;
    struct engine_result *out = NULL;
    json_t *result = NULL;
    if (!read_options(st, &options, err))
        return NULL;
    char *text = suite_text(q, st->file, err);
    struct quality_suite *suite = text == NULL ? NULL : quality_suite_parse(str_c(text), err);
    if (suite != NULL) {
        struct arena a;
        arena_init(&a);
        char *schema = st->target.schema.n == 0 ? "main" : arena_strndup(&a, st->target.schema.p, st->target.schema.n);
        char *table = arena_strndup(&a, st->target.table.p, st->target.table.n);
        if (quality_check(q, s, schema, table, suite, &options, &result, err) == ERR_OK)
            out = rows_of(result, &a);
        arena_fini(&a);
    }
    json_decref(result);
    quality_suite_free(suite);
    mem_free(text);
    return out;
}

struct quality *quality_open(struct sys *s, struct engine *e, const struct quality_config *config, struct err *err) {
    if (sys_mkdirs(s, config->checks_dir, err) != ERR_OK)
        return NULL;
    struct quality *q = MEM_NEW(struct quality);
    q->sys = s;
    q->engine = e;
    q->checks_dir = mem_strdup(config->checks_dir);
    q->suites_dir = config->suites_dir == NULL ? NULL : mem_strdup(config->suites_dir);
    engine_on_statement(e, SQL_CHECK, on_check, q);
    return q;
}

void quality_close(struct quality *q) {
    if (q == NULL)
        return;
    mem_free(q->checks_dir);
    mem_free(q->suites_dir);
    mem_free(q);
}
