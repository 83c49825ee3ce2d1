// SPDX-License-Identifier: Apache-2.0
// Data quality: suites read, the statement on a lake table with failing and passing suites, and Great Expectations' own test definitions
// (../shared/refdata, or GX_TEST_DEFINITIONS; skipped when absent) run through the engine and compared.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json.h"
#include "lake/lake.h"
#include "quality/quality.h"
#include "sql/sql.h"

static char dir[64], path[256];
static struct lake *lake;
static struct engine *engine;
static struct engine_session *session;
static struct quality *quality;

static const char *in_dir(const char *name) {
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int setup(void **state) {
    (void)state;
    struct err err = {0};
    snprintf(dir, sizeof dir, "/tmp/millrace-quality-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    lake = lake_open(sys_real(), in_dir("lake"), &err);
    char spill[128];
    snprintf(spill, sizeof spill, "%s/spill", dir);
    struct engine_config config = {.spill_dir = spill, .threads = 2};
    engine = lake == NULL ? NULL : engine_open(sys_real(), &config, lake, NULL, NULL, &err);
    session = engine == NULL ? NULL : engine_session_open(engine, &err);
    char checks[128], suites[128];
    snprintf(checks, sizeof checks, "%s/checks", dir);
    snprintf(suites, sizeof suites, "%s/suites", dir);
    quality = session == NULL ? NULL : quality_open(sys_real(), engine, &(struct quality_config){checks, suites}, &err);
    if (quality == NULL)
        print_message("%s\n", err.msg);
    return quality == NULL || sys_mkdirs(sys_real(), suites, &err) != ERR_OK;
}

static int teardown(void **state) {
    (void)state;
    engine_session_close(session);
    quality_close(quality);
    engine_close(engine);
    lake_close(lake);
    return sys_remove_tree(sys_real(), dir, NULL) != ERR_OK;
}

static void sql_ok(const char *sql) {
    struct err err = {0};
    if (engine_script(session, str_c(sql), NULL, &err) != ERR_OK)
        fail_msg("%s: %s", sql, err.msg);
}

static const char *scalar(const char *sql, struct arena *a) {
    struct err err = {0};
    struct str out = {0};
    if (engine_scalar(session, str_c(sql), a, &out, &err) != ERR_OK)
        fail_msg("%s: %s", sql, err.msg);
    return arena_strndup(a, out.p, out.n);
}

// ---- suites -----------------------------------------------------------------------------------------------------------------
static void test_suites(void **state) {
    (void)state;
    struct err err = {0};
    struct quality_suite *s =
        quality_suite_parse(STR("{\"expectation_suite_name\":\"old\",\"expectations\":[{\"expectation_type\":\"expect_table_row_count_to_equal\","
                                "\"kwargs\":{\"value\":1}}]}"),
                            &err);
    assert_non_null(s);
    assert_string_equal(quality_suite_name(s), "old");
    assert_int_equal(quality_suite_size(s), 1);
    quality_suite_free(s);
    static const struct {
        const char *text;
        enum err_code code;
    } bad[] = {
        {"{", ERR_PARSE},
        {"[]", ERR_INVALID},
        {"{\"name\":\"x\"}", ERR_INVALID},
        {"{\"expectations\":[{}]}", ERR_INVALID},
        {"{\"expectations\":[1]}", ERR_INVALID},
        {"{\"expectations\":[{\"type\":\"x\",\"kwargs\":[]}]}", ERR_INVALID},
        {"{\"expectations\":[{\"type\":\"x\",\"severity\":\"bad\"}]}", ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_null(quality_suite_parse(str_c(bad[i].text), &err));
        assert_int_equal(err.code, bad[i].code);
    }
    assert_true(quality_is_supported("expect_column_values_to_be_between"));
    assert_false(quality_is_supported("expect_column_kl_divergence_to_be_less_than"));
}

// ---- the statement ----------------------------------------------------------------------------------------------------------
static const char *const failing_suite =
    "{\"name\":\"flights\",\"expectations\":["
    "{\"type\":\"expect_column_values_to_not_be_null\",\"kwargs\":{\"column\":\"id\"}},"
    "{\"type\":\"expect_column_values_to_be_between\",\"kwargs\":{\"column\":\"delay\",\"min_value\":0,\"max_value\":100}},"
    "{\"type\":\"expect_column_values_to_be_unique\",\"kwargs\":{\"column\":\"id\"}},"
    "{\"type\":\"expect_column_values_to_match_regex\",\"kwargs\":{\"column\":\"code\",\"regex\":\"^[A-Z]{3}$\"},\"severity\":\"warning\"},"
    "{\"type\":\"expect_column_values_to_match_regex\",\"kwargs\":{\"column\":\"code\",\"regex\":\"(\"},\"severity\":\"info\"},"
    "{\"type\":\"expect_table_row_count_to_be_between\",\"kwargs\":{\"min_value\":5}}]}";

static void make_table(void) {
    sql_ok("create schema silver; create table silver.flights as select * from (values"
           " (1, 5, 'SEA', timestamp '2024-01-01 00:00:00'), (2, 500, 'LAX', timestamp '2024-01-02 00:00:00'),"
           " (3, -1, 'sfo', null), (3, 7, null, null), (4, null, 'JFK', null)) t(id, delay, code, left_at)");
}

static struct engine_result *run_check(const char *suite, const char *options, struct err *err) {
    struct buf b;
    buf_init(&b, 0);
    buf_puts(&b, "check silver.flights using ");
    sql_put_string(&b, str_c(suite));
    buf_puts(&b, options);
    struct engine_result *r = engine_query(session, buf_str(&b), NULL, 0, err);
    buf_fini(&b);
    return r;
}

static void test_check_fails(void **state) {
    (void)state;
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    make_table();
    assert_null(run_check(failing_suite, "", &err));
    assert_int_equal(err.code, ERR_CHECK_FAILED);
    assert_non_null(strstr(err.msg, "4 of 6 expectations of suite flights failed on silver.flights"));
    assert_non_null(strstr(err.msg, "expect_column_values_to_be_between(delay): 2 of 5 values unexpected"));
    assert_non_null(strstr(err.msg, "expect_column_values_to_be_unique(id): 2 of 5 values unexpected"));
    assert_null(strstr(err.msg, "match_regex")); // not critical
    assert_non_null(strstr(err.msg, "quarantine.flights_checks"));
    // The failing rows: two of delay, two of id, one of code.
    assert_string_equal(scalar("select cast(count(*) as varchar) from quarantine.flights_checks", &a), "5");
    assert_string_equal(scalar("select string_agg(value, ',' order by value) from quarantine.flights_checks where column_name = 'delay'", &a),
                        "-1,500");
    assert_string_equal(scalar("select row_json->>'code' from quarantine.flights_checks where value = '500'", &a), "LAX");
    // A second run replaces them.
    assert_null(run_check(failing_suite, " with (keep_rows = 1)", &err));
    assert_string_equal(scalar("select cast(count(*) as varchar) from quarantine.flights_checks", &a), "3");
    // The results are stored, in GX's form.
    struct sys_list files;
    assert_int_equal(sys_list_dir(sys_real(), in_dir("checks/silver.flights"), &files, &err), ERR_OK);
    assert_int_equal(files.n, 2);
    char name[512];
    snprintf(name, sizeof name, "%s/checks/silver.flights/%s", dir, files.names[0]);
    sys_list_free(&files);
    char *text = sys_read_file(sys_real(), name, 1 << 20, NULL, &err);
    json_t *j = json_parse(str_c(text), &err);
    mem_free(text);
    assert_non_null(j);
    assert_false(json_get_bool(j, "success", true));
    assert_int_equal(json_get_i64(json_object_get(j, "statistics"), "successful_expectations", -1), 2);
    const json_t *between = json_array_get(json_object_get(j, "results"), 1), *r = json_object_get(between, "result");
    assert_int_equal(json_get_i64(r, "element_count", -1), 5);
    assert_int_equal(json_get_i64(r, "missing_count", -1), 1);
    assert_int_equal(json_get_i64(r, "unexpected_count", -1), 2);
    assert_true(json_get_double(r, "unexpected_percent", 0) == 50.0);
    assert_true(json_get_double(r, "unexpected_percent_total", 0) == 40.0);
    assert_int_equal(json_array_size(json_object_get(r, "partial_unexpected_list")), 2);
    assert_int_equal(json_array_size(json_object_get(r, "partial_unexpected_counts")), 2);
    const json_t *bad_regex = json_array_get(json_object_get(j, "results"), 4);
    assert_true(json_get_bool(json_object_get(bad_regex, "exception_info"), "raised_exception", false));
    json_decref(j);
    arena_fini(&a);
}

static const char *const passing_suite =
    "{\"name\":\"ok\",\"expectations\":["
    "{\"type\":\"expect_column_values_to_be_between\",\"kwargs\":{\"column\":\"delay\",\"min_value\":0,\"max_value\":100,\"mostly\":0.5}},"
    "{\"type\":\"expect_column_max_to_be_between\",\"kwargs\":{\"column\":\"left_at\",\"min_value\":\"2024-01-01\",\"max_value\":\"2024-01-02 "
    "00:00:00\"}},"
    "{\"type\":\"expect_column_values_to_be_between\",\"kwargs\":{\"column\":\"delay\",\"max_value\":\"$PARAMETER\"},\"severity\":\"warning\"},"
    "{\"type\":\"expect_column_values_to_be_in_set\",\"kwargs\":{\"column\":\"code\",\"value_set\":{\"$PARAMETER\":\"codes\"},"
    "\"row_condition\":\"col(\\\"id\\\") < 3\",\"condition_parser\":\"great_expectations\"}}],"
    "\"suite_parameters\":{\"codes\":[\"SEA\",\"LAX\"]}}";

static void test_check_passes(void **state) {
    (void)state;
    struct err err = {0};
    make_table();
    struct engine_result *r = run_check(passing_suite, " with (result_format = 'BASIC')", &err);
    if (r == NULL)
        fail_msg("%s", err.msg);
    struct cols_batch *b = engine_result_next(r, &err);
    assert_non_null(b);
    assert_int_equal(b->n, 4);
    static const char *const success[] = {"true", "true", "false", "true"};
    for (size_t i = 0; i < 4; i++)
        assert_true(str_eqc(cols_str(&b->columns[3], i), success[i]));
    assert_true(str_eqc(cols_str(&b->columns[4], 0), "2"));
    cols_batch_free(b);
    engine_result_free(r);
    assert_false(lake_schema_exists(lake, "quarantine")); // nothing failed that has rows to keep
    // Files in the suites' folder are read, others are not.
    assert_null(run_check("../lake/x.json", "", &err));
    assert_int_equal(err.code, ERR_DENIED);
    assert_null(run_check("/etc/hostname", "", &err));
    assert_int_equal(err.code, ERR_DENIED);
    assert_null(run_check("absent.json", "", &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(sys_write_file(sys_real(), in_dir("suites/ok.json"), str_c(passing_suite), &err), ERR_OK);
    r = run_check("ok.json", "", &err);
    assert_non_null(r);
    engine_result_free(r);
    assert_null(run_check("ok.json", " with (speed = 'high')", &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_null(engine_query(session, STR("check silver.none using '{\"expectations\":[]}'"), NULL, 0, &err));
    assert_int_equal(err.code, ERR_NO_TABLE);
}

// ---- Great Expectations' own cases ------------------------------------------------------------------------------------------
static const char *definitions(void) {
    const char *env = sys_getenv("GX_TEST_DEFINITIONS");
    return env != NULL ? env : "../shared/refdata/gx_test_definitions";
}

static bool listed(const json_t *list, const char *const *names) {
    for (size_t i = 0; i < json_array_size(list); i++)
        for (size_t k = 0; names[k] != NULL; k++)
            if (strcmp(json_string_value(json_array_get(list, i)), names[k]) == 0)
                return true;
    return false;
}

static bool is_time_column(const json_t *set, const char *column) {
    static const char *const backends[] = {"postgresql", "spark", "sqlite"};
    for (size_t i = 0; i < 3; i++) {
        const char *type = json_get_cstr(json_object_get(json_object_get(set, "schemas"), backends[i]), column, NULL);
        if (type != NULL)
            return strcasecmp(type, "timestamp") == 0 || strcasecmp(type, "TimestampType") == 0;
    }
    return false;
}

static void put_value(struct buf *b, const json_t *v, bool as_text, bool time) {
    struct buf text;
    buf_init(&text, 0);
    if (json_is_string(v))
        buf_put_str(&text, json_str(v));
    else
        json_write(v, JSON_ENCODE_ANY, &text);
    if (json_is_null(v)) {
        buf_puts(b, "null");
    } else if (time) {
        buf_puts(b, "coalesce(try_strptime(");
        sql_put_string(b, buf_str(&text));
        buf_puts(b, ", '%b %d %Y %H:%M:%S'), try_cast(");
        sql_put_string(b, buf_str(&text));
        buf_puts(b, " as timestamp))");
    } else if (json_is_string(v) || as_text) {
        sql_put_string(b, buf_str(&text));
    } else {
        buf_put_str(b, buf_str(&text));
    }
    buf_fini(&text);
}

struct kinds {
    bool texts, numbers, reals, bools, nested;
};

static struct kinds kinds_of(const json_t *values) {
    struct kinds k = {0};
    for (size_t i = 0; i < json_array_size(values); i++) {
        const json_t *v = json_array_get(values, i);
        k.texts = k.texts || json_is_string(v);
        k.numbers = k.numbers || json_is_number(v);
        k.reals = k.reals || json_is_real(v);
        k.bools = k.bools || json_is_boolean(v);
        k.nested = k.nested || json_is_object(v) || json_is_array(v);
    }
    return k;
}

// A column's type: the backends' schema where it says something that the values do not.
static const char *type_of(const json_t *set, const char *column, struct kinds k, bool empty) {
    const char *declared = json_get_cstr(json_object_get(json_object_get(set, "schemas"), "postgresql"), column, "");
    bool nothing = !k.texts && !k.numbers && !k.bools;
    if (is_time_column(set, column))
        return "timestamp";
    if (k.texts || (k.bools && k.numbers) || (nothing && !empty))
        return "varchar";
    return k.reals || nothing ? "double" : k.bools ? "boolean" : strcmp(declared, "INTEGER") == 0 ? "integer" : "bigint";
}

// The data set as a temporary table "d". Columns that mix texts and numbers are taken from data_alt, GX's version for SQL. false: of a
// form that this test does not make.
static bool make_data(const json_t *set) {
    const json_t *data = json_object_get(set, "data"), *alt = json_object_get(set, "data_alt");
    struct buf b;
    const char *column;
    json_t *values;
    size_t n = 0;
    bool ok = json_is_object(data);
    buf_init(&b, 0);
    buf_puts(&b, "create or replace temp table d as select ");
    json_object_foreach((json_t *)data, column, values) {
        struct kinds k = kinds_of(values);
        if (k.texts && k.numbers && json_object_get(alt, column) != NULL)
            k = kinds_of(values = json_object_get(alt, column));
        const char *type = type_of(set, column, k, json_array_size(values) == 0);
        ok = ok && !k.nested;
        buf_printf(&b, "%sunnest(cast([", n++ == 0 ? "" : ", ");
        for (size_t i = 0; i < json_array_size(values); i++) {
            buf_puts(&b, i == 0 ? "" : ", ");
            put_value(&b, json_array_get(values, i), strcmp(type, "varchar") == 0, strcmp(type, "timestamp") == 0);
        }
        buf_printf(&b, "] as %s[])) as ", type);
        sql_put_ident(&b, str_c(column));
    }
    if (ok && n > 0)
        sql_ok(buf_cstr(&b));
    buf_fini(&b);
    return ok && n > 0;
}

static bool same(const json_t *a, const json_t *b, double tolerance) {
    if (json_is_number(a) && json_is_number(b)) {
        double x = json_number_value(a), y = json_number_value(b);
        return fabs(x - y) <= (tolerance > 0 ? tolerance : 1e-5 * (1 + fabs(y)));
    }
    if (json_is_array(a) && json_is_array(b)) { // as sets: GX sorts before it compares
        bool *used = mem_zalloc(json_array_size(b) + 1);
        bool all = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; i < json_array_size(a) && all; i++) {
            bool found = false;
            for (size_t k = 0; k < json_array_size(b) && !found; k++)
                if (!used[k] && same(json_array_get(a, i), json_array_get(b, k), tolerance))
                    found = used[k] = true;
            all = found;
        }
        mem_free(used);
        return all;
    }
    if (json_is_object(a) && json_is_object(b)) {
        const char *key;
        json_t *v;
        bool all = json_object_size(a) == json_object_size(b);
        json_object_foreach((json_t *)a, key, v) { all = all && same(v, json_object_get(b, key), tolerance); }
        return all;
    }
    if (json_is_string(a) && json_is_string(b)) { // times are written in more than one way
        const char *x = json_string_value(a), *y = json_string_value(b);
        return strcmp(x, y) == 0 || (strlen(x) >= 19 && strlen(y) >= 19 && strncmp(x, y, 10) == 0 && strncmp(x + 11, y + 11, 8) == 0);
    }
    return json_equal(a, b);
}

static bool case_passes(const json_t *test, const json_t *item, char why[160]) {
    const json_t *out = json_object_get(test, "out"), *result = json_object_get(item, "result");
    double tolerance = json_get_double(test, "tolerance", 0);
    bool raised = json_get_bool(json_object_get(item, "exception_info"), "raised_exception", false);
    snprintf(why, 160, "%.150s", json_get_cstr(json_object_get(item, "exception_info"), "exception_message", ""));
    if (json_object_get(out, "traceback_substring") != NULL || json_object_get(json_object_get(test, "error"), "traceback_substring") != NULL)
        return raised || json_object_get(out, "success") == NULL;
    if (json_object_get(out, "success") != NULL && json_get_bool(out, "success", false) != json_get_bool(item, "success", false))
        return false;
    const json_t *expected = json_object_get(out, "observed_value");
    if (expected != NULL && !same(json_object_get(result, "observed_value"), expected, tolerance)) {
        char *text = json_dumps(json_object_get(result, "observed_value"), JSON_ENCODE_ANY);
        snprintf(why, 160, "observed %.120s", text == NULL ? "" : text);
        free(text);
        return false;
    }
    expected = json_object_get(out, "unexpected_list");
    if (expected != NULL && !same(json_object_get(result, "unexpected_list"), expected, tolerance)) {
        char *text = json_dumps(json_object_get(result, "unexpected_list"), JSON_ENCODE_ANY);
        snprintf(why, 160, "unexpected %.120s", text == NULL ? "" : text);
        free(text);
        return false;
    }
    return true;
}

struct tally {
    int passed, failed, skipped;
};

static void run_case(const char *type, const json_t *test, struct tally *tally) {
    json_t *suite_json = json_pack("{s:s, s:[{s:s, s:O}]}", "name", "case", "expectations", "type", type, "kwargs", json_object_get(test, "in"));
    char *text = json_dumps(suite_json, 0);
    struct err err = {0};
    struct quality_suite *suite = quality_suite_parse(str_c(text), &err);
    struct quality_target target = {.from = STR("d"), .name = "d", .format = QUALITY_COMPLETE};
    json_t *result = NULL;
    char why[160] = "";
    bool ok = suite != NULL && quality_run(quality, session, suite, &target, &result, &err) == ERR_OK &&
              case_passes(test, json_array_get(json_object_get(result, "results"), 0), why);
    if (!ok)
        print_message("  differs: %s: %s %s%s\n", type, json_get_cstr(test, "title", ""), why, err.msg);
    tally->passed += ok;
    tally->failed += !ok;
    json_decref(result);
    quality_suite_free(suite);
    free(text);
    json_decref(suite_json);
}

static void run_file(const char *name, struct tally *tally) {
    // Backends whose meaning of a case is not that of an SQL engine with typed columns.
    static const char *const ours[] = {"postgresql", "sqlalchemy", "sqlite", NULL};
    static const char *const not_ours[] = {"postgresql", "sqlalchemy", NULL};
    struct err err = {0};
    char *text = sys_read_file(sys_real(), name, 8 << 20, NULL, &err);
    assert_non_null(text);
    json_t *j = json_loads(text, 0, NULL), *set, *test;
    mem_free(text);
    const char *type = json_get_cstr(j, "expectation_type", "");
    size_t i, k;
    json_array_foreach(json_object_get(j, "datasets"), i, set) {
        bool made = quality_is_supported(type) && make_data(set);
        json_array_foreach(json_object_get(set, "tests"), k, test) {
            const json_t *only = json_object_get(test, "only_for");
            if (!made || (only != NULL && !listed(only, ours)) || listed(json_object_get(test, "suppress_test_for"), not_ours))
                tally->skipped++;
            else
                run_case(type, test, tally);
        }
    }
    json_decref(j);
}

static void test_definitions(void **state) {
    (void)state;
    struct err err = {0};
    struct sys_list folders, files;
    struct tally tally = {0};
    if (sys_list_dir(sys_real(), definitions(), &folders, &err) != ERR_OK) {
        print_message("no %s: skipped\n", definitions());
        return; // not skip(): cmocka says "not ok" for it
    }
    for (size_t i = 0; i < folders.n; i++) {
        char folder[512], file[1024];
        snprintf(folder, sizeof folder, "%s/%s", definitions(), folders.names[i]);
        if (sys_list_dir(sys_real(), folder, &files, &err) != ERR_OK)
            continue;
        for (size_t k = 0; k < files.n; k++) {
            snprintf(file, sizeof file, "%s/%s", folder, files.names[k]);
            run_file(file, &tally);
        }
        sys_list_free(&files);
    }
    sys_list_free(&folders);
    print_message("GX test definitions: %d agree, %d differ, %d not for us\n", tally.passed, tally.failed, tally.skipped);
    assert_true(tally.passed >= 410);
    assert_true(tally.failed <= 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suites),
        cmocka_unit_test_setup_teardown(test_check_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check_passes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_definitions, setup, teardown),
    };
    return cmocka_run_group_tests_name("quality", tests, NULL, NULL);
}
