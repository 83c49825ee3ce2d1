// SPDX-License-Identifier: Apache-2.0
// The SQL engine: results of all types, errors with positions, lake tables and what changes them, pruning, topics, sources, cancelling.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/internal.h"
#include "engine_fixture.h"
#include "log/batch.h"
#include "schema/avro.h"
#include "sql/sql.h"

static void test_values(void **state) {
    struct engine_fixture *f = *state;
    static const struct {
        const char *sql, *want;
    } cases[] = {
        {"select 1, 'a', null, true, 1.5::double, 1.25::decimal(10,2)", "1|a|NULL|true|1.5|1.25"},
        {"select date '2001-02-03', timestamp '2001-02-03 04:05:06.789', timestamptz '2001-02-03 04:05:06+02', time '01:02:03'",
         "2001-02-03|2001-02-03 04:05:06.789|2001-02-03 02:05:06+00|01:02:03"},
        {"select timestamp_s '2001-02-03 04:05:06', timestamp_ms '1901-02-03 04:05:06.7', timestamp_ns '1901-02-03 04:05:06.123456789'",
         "2001-02-03 04:05:06|1901-02-03 04:05:06.7|1901-02-03 04:05:06.123456"},
        {"select 1::tinyint, 2::smallint, 3::bigint, 4::utinyint, 5::usmallint, 6::uinteger, 18446744073709551615::ubigint",
         "1|2|3|4|5|6|18446744073709551615"},
        {"select sum(x) from (values (1), (2)) t(x)", "3"},
        {"select -170141183460469231731687303715884105727::hugeint", "-170141183460469231731687303715884105727"},
        {"select 1.5::decimal(4,1), -2.5::decimal(9,2), 3.5::decimal(18,3), -4.5::decimal(38,4)", "1.5|-2.50|3.500|-4.5000"},
        {"select '00112233-4455-6677-8899-aabbccddeeff'::uuid", "00112233-4455-6677-8899-aabbccddeeff"},
        {"select [1, null, 3], [[1], []], {'a': 1, 'b': 'x'}, map{'k': 2}", "[1, NULL, 3]|[[1], []]|{'a': 1, 'b': x}|{k=2}"},
        {"select [1, 2]::int[2], 'b'::enum('a', 'b'), 'ab'::blob", "[1, 2]|b|\\x6162"},
        {"select x from (values (1), (null), (3)) t(x)", "1\nNULL\n3"},
        {"select [x, x + 1] from range(3) t(x)", "[0, 1]\n[1, 2]\n[2, 3]"},
        {"select case when x % 2 = 0 then {'v': x} end from range(3) t(x)", "{'v': 0}\nNULL\n{'v': 2}"},
        {"select 'a string longer than twelve bytes' || x from range(2) t(x)",
         "a string longer than twelve bytes0\na string longer than twelve bytes1"},
        {"select 1 where false", ""},
        {"select count(*), sum(x)::bigint, count(distinct x % 1000) from range(300000) t(x)", "300000|44999850000|1000"},
        {"select interval '1 month 2 days 3 seconds'", "1 month 2 days 00:00:03"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect_in(f->s, cases[i].sql, cases[i].want);
    fails_in(f->s, "select '1010'::bit", ERR_NOT_SUPPORTED);
}

static void test_batches(void **state) {
    struct engine_fixture *f = *state;
    struct err err = {0};
    struct engine_result *r = engine_query(f->s, STR("select x, case when x % 3 = 0 then 'n' || x end as s from range(200000) t(x)"), NULL, 0, &err);
    assert_non_null(r);
    assert_true(engine_result_is_rows(r));
    assert_string_equal(engine_result_tag(r), "SELECT");
    int64_t next = 0, nulls = 0, batches = 0;
    struct cols_batch *b;
    while ((b = engine_result_next(r, &err)) != NULL) {
        assert_int_equal(cols_batch_check(b, &err), ERR_OK);
        batches++;
        nulls += (int64_t)b->columns[1].n_null;
        for (size_t i = 0; i < b->n; i++) assert_int_equal(((const int64_t *)b->columns[0].values)[i], next++);
        cols_batch_free(b);
    }
    assert_int_equal(err.code, ERR_OK);
    assert_int_equal(next, 200000);
    assert_int_equal(nulls, 133333);
    assert_in_range(batches, 3, 4);
    assert_int_equal(engine_result_affected(r), 200000);
    engine_result_free(r);
}

static void test_errors(void **state) {
    struct engine_fixture *f = *state;
    static const struct {
        const char *sql;
        enum err_code code;
        int position;
    } cases[] = {
        {"selec 1", ERR_PARSE, 1},
        {"select foo from (select 1 as bar)", ERR_NO_COLUMN, 8},
        {"select 1;\n select nix from (select 2 as y)", ERR_NO_COLUMN, 19},
        {"select * from nowhere", ERR_NO_TABLE, 15},
        {"select * from no.where", ERR_NO_TABLE, 15},
        {"select 'x'::int", ERR_DATA, 0},
        {"select 9223372036854775807 + x from range(1, 3) t(x)", ERR_DATA, 0},
        {"select 'open", ERR_PARSE, 8},
        {"select nofunction(1)", ERR_NOT_FOUND, 8},
        {"insert into no.where select 1", ERR_NO_TABLE, 0},
        {"create table nos.t as select 1 as x", ERR_NO_SCHEMA, 0},
        {"create view v as select 1", ERR_NOT_SUPPORTED, 0},
        {"attach '/tmp/x.db' as y", ERR_NOT_SUPPORTED, 0},
        {"pragma enable_profiling", ERR_NOT_SUPPORTED, 0},
        {"select * from read_csv('/etc/passwd')", ERR_DENIED, 0},
        {"copy (select 1) to '/tmp/millrace-must-not-be'", ERR_DENIED, 0},
        {"set threads = 1", ERR_INVALID, 0},
        {"check a.b using 'x'", ERR_NOT_SUPPORTED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = fails_in(f->s, cases[i].sql, cases[i].code);
        if (cases[i].position > 0 && err.position != cases[i].position) fail_msg("%s: position %d: %s", cases[i].sql, err.position, err.msg);
    }
    expect_in(f->s, "select 1", "1"); // the session goes on
}

static void test_error_in_stream(void **state) {
    struct engine_fixture *f = *state;
    struct err err = {0};
    static const char sql[] = "select case when x < 290000 then x::varchar else 'bad' end::int from range(300000) t(x)";
    struct engine_result *r = engine_query(f->s, str_c(sql), NULL, 0, &err);
    struct cols_batch *b;
    if (r != NULL)
        while ((b = engine_result_next(r, &err)) != NULL) cols_batch_free(b);
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(strstr(err.msg, "bad"));
    engine_result_free(r);
}

static void test_params_and_describe(void **state) {
    struct engine_fixture *f = *state;
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    struct engine_param params[] = {{false, STR("41")}, {false, STR("x")}, {true, {NULL, 0}}};
    struct engine_result *r = engine_query(f->s, STR("select $1::int + 1, $2, $3::date"), params, 3, &err);
    assert_non_null(r);
    struct buf out;
    buf_init(&out, 0);
    rows_text(r, &out, &err);
    assert_string_equal(buf_cstr(&out), "42|x|NULL");
    buf_fini(&out);
    engine_result_free(r);
    assert_null(engine_query(f->s, STR("select $1::int"), NULL, 0, &err));
    assert_int_equal(err.code, ERR_INVALID);
    struct engine_described d;
    assert_int_equal(engine_describe(f->s, STR("select $1::int as a, 'x' as b, now() as c where 1 = $2::bigint"), &a, &d, &err), ERR_OK);
    assert_int_equal(d.n_params, 2);
    assert_int_equal(d.params[0].kind, COLS_INT32);
    assert_int_equal(d.params[1].kind, COLS_INT64);
    assert_int_equal(d.columns->n, 3);
    assert_string_equal(d.columns->fields[1].name, "b");
    assert_true(d.columns->fields[2].type.kind == COLS_TIMESTAMP && d.columns->fields[2].type.tz);
    assert_int_equal(engine_describe(f->s, STR("show topics"), &a, &d, &err), ERR_OK);
    assert_int_equal(d.columns->n, 3);
    struct str text;
    assert_int_equal(engine_scalar(f->s, STR("select 7 * 6"), &a, &text, &err), ERR_OK);
    assert_true(str_eqc(text, "42"));
    arena_fini(&a);
}

// One statement with parameters as text ("NULL": null).
static void expect_with(struct engine_fixture *f, const char *sql, const char *const *values, size_t n, const char *want) {
    struct engine_param params[8];
    struct err err = {0};
    struct buf out;
    for (size_t i = 0; i < n; i++) params[i] = (struct engine_param){strcmp(values[i], "NULL") == 0, str_c(values[i])};
    struct engine_result *r = engine_query(f->s, str_c(sql), params, n, &err);
    buf_init(&out, 0);
    if (r != NULL) rows_text(r, &out, &err);
    if (err.code != ERR_OK) fail_msg("%s: %s", sql, err.msg);
    if (strcmp(buf_cstr(&out), want) != 0) fail_msg("%s: %s", sql, buf_cstr(&out));
    buf_fini(&out);
    engine_result_free(r);
}

static void test_params_of_tables(void **state) {
    struct engine_fixture *f = *state;
    static const char *const row[] = {"7", "x", "2001-02-03", "2001-02-03 04:05:06+00", "1.50", "true", "2.5"}, *const one[] = {"7"}, *const date[] = {"2001-02-03"},
                             *const nulls[] = {"NULL", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL"}, *const text[] = {"x"};
    run_in(f->s, "create schema y; create table y.t (a int, b varchar, c date, d timestamptz, e decimal(10,2), f boolean, g double)");
    expect_with(f, "insert into y.t values ($1, $2, $3, $4, $5, $6, $7)", row, 7, "");
    expect_with(f, "insert into y.t select $1, $2, $3, $4, $5, $6, $7", nulls, 7, "");
    expect_with(f, "select * from y.t where a = $1", one, 1, "7|x|2001-02-03|2001-02-03 04:05:06+00|1.50|true|2.5");
    expect_with(f, "select a from y.t where a + 1 > $1 and a < $1 + 1", one, 1, "7");
    expect_with(f, "select a from y.t where c = $1 and d > $1", date, 1, "7");
    expect_with(f, "select a from y.t where b in ($1) and b like $1", text, 1, "7");
    expect_with(f, "select a from y.t limit $1", one, 1, "7\nNULL");
    expect_with(f, "select a from y.t where e < $1 and g < $1", one, 1, "7");
    expect_with(f, "select a from y.t where (a, b) = ($1, $2)", row, 2, "7");
    expect_with(f, "select coalesce(a, $1) from y.t order by 1", one, 1, "7\n7");
    expect_with(f, "select a from y.t where f = $1", row + 5, 1, "7");
    struct engine_described d;
    struct arena a;
    arena_init(&a);
    static const char *const described[] = {"select a from y.t where a < $1 + 1", "insert into y.t values ($1, $2, $3, $4, $5, $6, $7)", "select $1 || 'x'",
                                            "select coalesce(a, $1), $2 from y.t limit $3", "delete from y.t where a = $1"};
    for (size_t i = 0; i < sizeof described / sizeof *described; i++) {
        struct err err = {0};
        if (engine_describe(f->s, str_c(described[i]), &a, &d, &err) != ERR_OK) fail_msg("%s: %s", described[i], err.msg);
        assert_true(d.n_params > 0);
    }
    arena_fini(&a);
    expect_with(f, "delete from y.t where a = $1", one, 1, "");
    expect_in(f->s, "select count(*) from y.t", "1");
    run_in(f->s, "drop schema y cascade");
}

static size_t count_files(struct engine_fixture *f, const char *schema, const char *table) {
    struct arena a;
    struct sys_list l;
    size_t n = 0;
    arena_init(&a);
    assert_int_equal(sys_list_dir(sys_real(), lake_table_dir(f->lake, schema, table, &a), &l, NULL), ERR_OK);
    for (size_t i = 0; i < l.n; i++) n += str_ends(str_c(l.names[i]), STR(".parquet"));
    sys_list_free(&l);
    arena_fini(&a);
    return n;
}

static void test_tables(void **state) {
    struct engine_fixture *f = *state;
    run_in(f->s, "create schema s; create schema if not exists s");
    fails_in(f->s, "create schema s", ERR_EXISTS);
    run_in(f->s, "create table s.t as select range::int as a, 'v' || range as b, sum(range) over () as c from range(5)");
    expect_in(f->s, "select a, b, c from s.t order by a limit 2", "0|v0|10\n1|v1|10");
    expect_in(f->s, "select typeof(a), typeof(b), typeof(c) from s.t limit 1", "INTEGER|VARCHAR|DECIMAL(38,0)");
    fails_in(f->s, "create table s.t as select 1 as x", ERR_EXISTS);
    run_in(f->s, "create table if not exists s.t as select 1 as x");
    run_in(f->s, "insert into s.t values (10, 'ten', 1)");
    run_in(f->s, "insert into S.T (b, a) select 'eleven', 11");
    expect_in(f->s, "select * from s.t where a >= 10 order by a", "10|ten|1\n11|eleven|NULL");
    fails_in(f->s, "insert into s.t (nix) select 1", ERR_NO_COLUMN);
    fails_in(f->s, "insert into s.t select 1", ERR_INVALID);
    fails_in(f->s, "insert into s.t (a) select 'x'", ERR_DATA);
    assert_int_equal(fails_in(f->s, "create table s.u as select a, nix from s.t", ERR_NO_COLUMN).position, 31);
    assert_int_equal(fails_in(f->s, "select 1; insert into s.t (a) select y.nix from s.t as y", ERR_NO_COLUMN).position, 38);
    assert_int_equal(fails_in(f->s, "select x.a from s.t as x where x.nix = 1", ERR_NO_COLUMN).position, 32);
    assert_int_equal(count_files(f, "s", "t"), 3); // what failed left nothing
    expect_in(f->s, "select count(*), max(t.a), max(s.t.a) from s.t", "7|11|11");
    expect_in(f->s, "select x.a from s.t x join s.t as y using (a) where x.a > 9 order by 1", "10\n11");
    expect_in(f->s, "select count(*) from s.t version as of 0", "5");
    expect_in(f->s, "select count(*) from millrace.s.t", "7");
    run_in(f->s, "delete from s.t where a between 1 and 10");
    expect_in(f->s, "select a from s.t order by a", "0\n11");
    run_in(f->s, "insert overwrite s.t select a + 100, b, c from s.t where a > 0");
    expect_in(f->s, "select a, b from s.t", "111|eleven");
    fails_in(f->s, "create table s.twice as select 1 as x, 2 as X", ERR_INVALID);
    fails_in(f->s, "create table s.odd as select count(*) from s.t", ERR_INVALID);
    run_in(f->s, "create or replace table s.t as select a as other from s.t");
    expect_in(f->s, "select * from s.t", "111");
    run_in(f->s, "create table s.sorted as select range as x from range(300000) order by x desc; insert into s.sorted select 7 where "
        "false order by 1");
    expect_in(f->s, "select x from s.sorted limit 2", "299999\n299998");
    expect_in(f->s, "select count(*), count(distinct file_index) from s.sorted", "300000|1");
    run_in(f->s, "create table s.empty as select 1 as x, 'a' as y where false order by 1; drop table s.sorted");
    expect_in(f->s, "select count(*), max(y) from s.empty", "0|NULL");
    run_in(f->s, "drop table s.empty");
    run_in(f->s, "truncate s.t");
    expect_in(f->s, "select count(*), max(other) from s.t", "0|NULL");
    expect_in(f->s, "select count(*) from s.t version as of 0", "5");
    run_in(f->s, "drop table s.t; drop table if exists s.t");
    fails_in(f->s, "select * from s.t", ERR_NO_TABLE);
    fails_in(f->s, "drop table s.t", ERR_NO_TABLE);
    fails_in(f->s, "update s.t set a = 1", ERR_NOT_SUPPORTED);
    run_in(f->s, "drop schema s");
    fails_in(f->s, "drop schema s", ERR_NO_SCHEMA);
}

static void test_definitions(void **state) {
    struct engine_fixture *f = *state;
    run_in(f->s, "create schema d; create table d.t (a int, b decimal(10,2), c timestamptz, d varchar[], e struct(x int, y varchar))");
    expect_in(f->s, "select * from d.t", "");
    run_in(f->s, "insert into d.t values (1, 2.5, '2001-01-01 00:00:00+00', ['a', 'b'], {'x': 1, 'y': 'z'}), (null, null, null, null, null)");
    expect_in(f->s, "select * from d.t order by a", "1|2.50|2001-01-01 00:00:00+00|[a, b]|{'x': 1, 'y': z}\nNULL|NULL|NULL|NULL|NULL");
    fails_in(f->s, "create table d.u (a nosuchtype)", ERR_NOT_FOUND);
    fails_in(f->s, "create table d.u (a interval)", ERR_NOT_SUPPORTED);
    run_in(f->s, "create temp table tt as select 1 as x; insert into tt values (2); delete from tt where x = 1");
    expect_in(f->s, "select * from tt", "2");
    run_in(f->s, "create temp view tv as select count(*) as n from d.t");
    run_in(f->s, "insert into d.t (a) values (3)");
    expect_in(f->s, "select n from tv", "3"); // a view sees new rows
    run_in(f->s, "begin; insert into d.t (a) values (4); rollback");
    expect_in(f->s, "select count(*) from d.t", "4"); // each statement commits by itself
    run_in(f->s, "create table loose as select 1 as x");
    expect_in(f->s, "select * from main.loose; select * from loose", "1");
    run_in(f->s, "insert into loose values (2); delete from loose where x = 1; set search_path = 'd'; create table here as select 1 as x; "
        "insert into here values (5)");
    expect_in(f->s, "set search_path = 'main'; select sum(x) from d.here union all select max(x) from loose", "6\n2");
    fails_in(f->s, "insert into nosuch values (1)", ERR_NO_TABLE);
    run_in(f->s, "drop schema d cascade; drop table loose; drop table tt");
    fails_in(f->s, "select * from tt", ERR_NO_TABLE);
}

static void test_reopen(void **state) {
    struct engine_fixture *f = *state;
    run_in(f->s, "create schema r; create table r.t as select 1 as x");
    for (int i = 0; i < 12; i++) run_in(f->s, "insert into r.t select max(x) + 1 from r.t"); // over a checkpoint
    engine_fixture_close(f);
    engine_fixture_open(f);
    expect_in(f->s, "select count(*), min(x), max(x) from r.t", "13|1|13");
    expect_in(f->s, "select table_schema, table_name from information_schema.tables where table_schema = 'r'", "r|t");
    expect_in(f->s, "set search_path = 'r'; select count(*) from t", "13");
    run_in(f->s, "drop schema r cascade");
}

static size_t files_read(struct engine_fixture *f, const char *sql) {
    struct arena a;
    arena_init(&a);
    struct str text;
    char *query = mem_printf("select count(distinct file_index) from %s", sql);
    assert_int_equal(engine_scalar(f->s, str_c(query), &a, &text, NULL), ERR_OK);
    int64_t n = 0;
    assert_true(str_to_i64(text, &n));
    mem_free(query);
    arena_fini(&a);
    return (size_t)n;
}

// The table's only file loses its second half.
static void cut_short(struct engine_fixture *f, const char *schema, const char *table) {
    struct lake_snapshot *snap = lake_table_snapshot(f->lake, schema, table, -1, NULL);
    const struct lake_file *file = lake_snapshot_file(snap, 0);
    char *path = mem_printf("%s/%s", lake_snapshot_dir(snap), file->path);
    struct sys_file *h = sys_open(sys_real(), path, SYS_WRITE, NULL);
    assert_int_equal(sys_truncate(h, file->size / 2, NULL), ERR_OK);
    sys_close(h);
    mem_free(path);
    lake_snapshot_unref(snap);
}

// Files that the conditions rule out are not in the scan: a query that would fail on a row in them does not.
static void test_pruning(void **state) {
    struct engine_fixture *f = *state;
    run_in(f->s, "create schema p; create table p.t as select 1 as a, timestamptz '2001-01-01 00:00:00.0005+00' as t, 'a' as s, 1.5 as d");
    run_in(f->s, "insert into p.t values (5, '2001-02-01 00:00:00+00', 'm', 2.5), (6, '2001-02-02 00:00:00+00', 'n', 2.75)");
    run_in(f->s, "insert into p.t values (9, '2001-03-01 00:00:00.9999+00', 'z', 3.5)");
    assert_int_equal(files_read(f, "p.t"), 3);
    expect_in(f->s, "select a from p.t where a = 6 and d > 2.5", "6");
    expect_in(f->s, "select a from p.t where t > timestamptz '2001-03-01 00:00:00.999+00'", "9");
    expect_in(f->s, "select a from p.t where t >= '2001-01-01 00:00:00.0005+00' and t < '2001-01-01 00:00:00.001+00'", "1");
    expect_in(f->s, "select a from p.t where s between 'b' and 'y' order by a", "5\n6");
    struct lake_snapshot *snap = lake_table_snapshot(f->lake, "p", "t", -1, NULL);
    assert_int_equal(lake_snapshot_n_files(snap), 3);
    size_t out[3];
    static const struct {
        const char *column;
        enum lake_op op;
        enum lake_literal_kind kind;
        const char *literal;
        size_t files;
    } cases[] = {
        {"a", LAKE_EQ, LAKE_LITERAL_NUMBER, "6", 1},       {"a", LAKE_GT, LAKE_LITERAL_NUMBER, "1", 2},
        {"s", LAKE_LT, LAKE_LITERAL_STRING, "b", 1},       {"t", LAKE_GE, LAKE_LITERAL_STRING, "2001-02-15", 1},
        {"d", LAKE_LE, LAKE_LITERAL_NUMBER, "2.6", 2},     {"a", LAKE_EQ, LAKE_LITERAL_NUMBER, "7", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lake_literal l = {cases[i].kind, str_c(cases[i].literal)};
        struct lake_conjunct c = {str_c(cases[i].column), cases[i].op, &l, 1};
        size_t n = lake_snapshot_prune(snap, &c, 1, out);
        if (n != cases[i].files) fail_msg("%s: %zu files; %s", cases[i].column, n, lake_snapshot_file(snap, 0)->stats_json);
    }
    lake_snapshot_unref(snap);
    // The file of `z` is gone from disk: only queries that need it fail.
    snap = lake_table_snapshot(f->lake, "p", "t", -1, NULL);
    for (size_t i = 0; i < 3; i++) {
        const struct lake_file *file = lake_snapshot_file(snap, i);
        char *path = mem_printf("%s/%s", lake_snapshot_dir(snap), file->path);
        if (strstr(file->stats_json, "\"z\"") != NULL) assert_int_equal(sys_unlink(sys_real(), path, NULL), ERR_OK);
        mem_free(path);
    }
    lake_snapshot_unref(snap);
    expect_in(f->s, "select a from p.t where a < 9 order by a", "1\n5\n6");
    fails_in(f->s, "select a from p.t", ERR_IO);
    run_in(f->s, "create table p.cut as select range as x from range(1000)");
    cut_short(f, "p", "cut");
    fails_in(f->s, "select sum(x) from p.cut", ERR_CORRUPT);
    run_in(f->s, "drop schema p cascade");
}

// A partitioned table as other programs write it: the column is in the log, not in the files.
static void test_partitions(void **state) {
    struct engine_fixture *f = *state;
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    run_in(f->s, "create schema q");
    assert_int_equal(lake_make_table_dir(f->lake, "q", "t", &err), ERR_OK);
    const char *dir = lake_table_dir(f->lake, "q", "t", &a);
    struct cols_field fields[] = {{"day", {.kind = COLS_DATE}, true}, {"x", {.kind = COLS_INT32}, true}, {"kind", {.kind = COLS_STRING}, true}};
    struct cols_schema schema = {3, fields};
    static const char *const columns[] = {"day", "kind"}, *const values[][2] = {{"2001-01-01", "a"}, {"2001-01-02", NULL}};
    struct lake_txn *t = lake_txn_begin(f->lake, "q", "t", NULL, &err);
    assert_int_equal(lake_txn_set_schema(t, &schema, &err), ERR_OK);
    lake_txn_set_partition_columns(t, columns, 2);
    for (int i = 0; i < 2; i++) {
        struct engine_file *files;
        size_t n;
        const char *sql = i == 0 ? "select 1 as x union all select 2" : "select 3 as x";
        assert_int_equal(engine_write_parquet(f->s, str_c(sql), NULL, dir, &a, &files, &n, NULL, &err), ERR_OK);
        for (size_t j = 0; j < n; j++) {
            struct lake_add add = {files[j].path, files[j].size, files[j].rows, files[j].stats_json, values[i]};
            lake_txn_add(t, &add);
        }
    }
    assert_int_equal(lake_txn_commit(t, NULL, &err), ERR_OK);
    lake_txn_free(t);
    expect_in(f->s, "select * from q.t order by x", "2001-01-01|1|a\n2001-01-01|2|a\n2001-01-02|3|NULL");
    expect_in(f->s, "select x from q.t where day = date '2001-01-02'", "3");
    expect_in(f->s, "select x from q.t where kind is null and x > 0", "3");
    fails_in(f->s, "insert into q.t values (null, 1, 'b')", ERR_NOT_SUPPORTED);
    arena_fini(&a);
    run_in(f->s, "drop schema q cascade");
}

static void test_database_opened_again(void **state) {
    struct engine_fixture *f = *state;
    run_in(f->s, "create schema o; create table o.t as select 1 as x; create temp table own as select 2 as y");
    struct engine_session *other = engine_session_open(f->engine, NULL);
    struct duck_db *old = f->s->db;
    duck_break(f->engine, old); // as after an INTERNAL error
    assert_ptr_not_equal(f->engine->db, old);
    expect_in(f->s, "select x from o.t", "1");
    fails_in(f->s, "select * from own", ERR_NO_TABLE); // a session's own things are gone
    expect_in(other, "select table_name from information_schema.tables where table_schema = 'o'", "t");
    duck_break(f->engine, old); // somebody who comes late
    expect_in(other, "select x from o.t", "1");
    engine_session_close(other);
    run_in(f->s, "drop schema o cascade");
}

// Another engine (as another process) commits to the table: names with and without schema see it.
static void test_other_writer(void **state) {
    struct engine_fixture *f = *state;
    run_in(f->s, "create table seen as select 1 as x");
    struct lake *lake = lake_open(sys_real(), f->lake_dir, NULL);
    struct engine_config config = {.threads = 1};
    struct engine *e = engine_open(sys_real(), &config, lake, NULL, NULL, NULL);
    struct engine_session *s = engine_session_open(e, NULL);
    run_in(s, "insert into seen values (2)");
    engine_session_close(s);
    engine_close(e);
    lake_close(lake);
    expect_in(f->s, "select count(*) from main.seen", "2");
    expect_in(f->s, "select count(*) from seen", "2");
    run_in(f->s, "drop table seen");
}

// There is no database before somebody asks; then it shows what was there before, and what was made meanwhile.
static void test_opened_when_wanted(void **state) {
    struct engine_fixture *f = *state;
    run_in(f->s, "create schema w; create table w.before as select 1 as x");
    struct engine_config config = {.threads = 1};
    struct err err = {0};
    struct engine *e = engine_open(sys_real(), &config, f->lake, NULL, NULL, &err); // the lake's Parquet is its own from here
    assert_non_null(e);
    assert_null(e->db);
    run_in(f->s, "create table w.meanwhile as select 1 as x");
    assert_int_equal(engine_catalog_changed(e, "w", "meanwhile", &err), ERR_OK);
    assert_null(e->db);
    struct engine_session *s = engine_session_open(e, &err);
    assert_non_null(s);
    assert_non_null(e->db);
    expect_in(s, "select string_agg(table_name, ',' order by table_name) from information_schema.tables where table_schema = 'w'", "before,meanwhile");
    engine_session_close(s);
    engine_close(e);
    checkpoint_register(f->engine);
    run_in(f->s, "drop schema w cascade");
}

struct writer {
    struct engine_fixture *f;
    int n, failed;
};

static void write_rows(void *arg) {
    struct writer *w = arg;
    struct err err = {0};
    struct engine_session *s = engine_session_open(w->f->engine, &err);
    for (int i = 0; i < 8; i++) {
        char *sql = mem_printf("insert into many.t select %d, %d; create or replace table many.own%d as select count(*) as n from many.t; "
                               "select n from many.own%d, many.t limit 1; create temp table x%d as select * from many.t",
                               w->n, i, w->n, w->n, i);
        if (engine_script(s, str_c(sql), NULL, &err) != ERR_OK) {
            w->failed++;
            print_message("%s\n", err.msg);
        }
        mem_free(sql);
    }
    engine_session_close(s);
}

static void test_many_sessions(void **state) {
    struct engine_fixture *f = *state;
    struct writer w[4];
    struct sys_thread *t[4];
    run_in(f->s, "create schema many; create table many.t (who int, i int)");
    for (int i = 0; i < 4; i++) {
        w[i] = (struct writer){f, i, 0};
        t[i] = sys_thread_start("writer", write_rows, &w[i]);
    }
    for (int i = 0; i < 4; i++) sys_thread_join(t[i]);
    for (int i = 0; i < 4; i++) assert_int_equal(w[i].failed, 0);
    expect_in(f->s, "select count(*), count(distinct (who, i)) from many.t", "32|32");
    expect_in(f->s, "set search_path = 'many'; select count(*) from t", "32");
    run_in(f->s, "set search_path = 'main'; drop schema many cascade");
}

static void test_memory_limit(void **state) {
    struct engine_fixture *f = *state;
    struct engine_config config = {.spill_dir = f->spill_dir, .memory_limit = 80 << 20, .threads = 1};
    struct err err = {0};
    struct engine *e = engine_open(sys_real(), &config, NULL, NULL, NULL, &err);
    assert_non_null(e);
    struct engine_session *s = engine_session_open(e, &err);
    // A sort of more than the limit spills; a list of as much cannot.
    expect_in(s, "select count(*) from (select range as x, md5(range::varchar) || md5(range::varchar) as s from range(1500000) order by "
        "s) where x % 500000 = 0", "3");
    fails_in(s, "select len(list(s)) from (select md5(range::varchar) || md5(range::varchar) as s from range(3000000))", ERR_NO_MEMORY);
    expect_in(s, "select 1", "1");
    engine_session_close(s);
    engine_close(e);
}

// ---- sources ------------------------------------------------------------------------------------------------------------------

struct numbers {
    struct cols_schema schema;
    struct cols_field fields[3];
    int batches, fail_at;
};

static struct cols_batch *numbers_next(void *self, struct err *err) {
    struct numbers *n = self;
    if (n->batches == n->fail_at) {
        err_set(err, ERR_CORRUPT, "the source broke");
        return NULL;
    }
    if (n->batches-- == 0) return NULL;
    struct cols_builder *b = cols_builder_new(&n->schema, 5000);
    for (int64_t i = 0; i < 5000; i++) {
        cols_put_int(b, 0, i);
        if (i % 2 == 0) cols_put_null(b, 1);
        else cols_put_bytes(b, 1, "a longer string than fits in line", 33);
        cols_put_bool(b, 2, i % 3 == 0);
        cols_row_end(b);
    }
    struct cols_batch *out = cols_builder_finish(b);
    cols_builder_free(b);
    return out;
}

static void test_source(void **state) {
    struct engine_fixture *f = *state;
    struct numbers n = {.fields = {{"i", {.kind = COLS_INT64}, false}, {"s", {.kind = COLS_STRING}, true}, {"b", {.kind = COLS_BOOL}, false}},
                        .batches = 10,
                        .fail_at = -5};
    n.schema = (struct cols_schema){3, n.fields};
    struct engine_source source = {&n.schema, numbers_next, &n, false};
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    run_in(f->s, "create schema w");
    assert_int_equal(lake_make_table_dir(f->lake, "w", "t", &err), ERR_OK);
    const char *dir = lake_table_dir(f->lake, "w", "t", &a);
    struct engine_file *files;
    size_t n_files;
    struct cols_schema *schema;
    if (engine_write_parquet(f->s, STR("select *, 1 as one from source()"), &source, dir, &a, &files, &n_files, &schema, &err) != ERR_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(schema->n, 4);
    int64_t rows = 0;
    for (size_t i = 0; i < n_files; i++) rows += files[i].rows;
    assert_int_equal(rows, 50000);
    char *sql = mem_printf("select count(*), count(s), sum(i)::bigint, sum(b::int)::bigint, min(s), sum(one)::bigint from "
        "read_parquet('%s/*.parquet')", dir);
    expect_in(f->s, sql, "50000|25000|124975000|16670|a longer string than fits in line|50000");
    mem_free(sql);
    n.batches = 10;
    n.fail_at = 4;
    assert_int_equal(engine_write_parquet(f->s, STR("select * from source()"), &source, dir, &a, &files, &n_files, &schema, &err), ERR_CORRUPT);
    assert_string_equal(err.msg, "the source broke");
    arena_fini(&a);
    run_in(f->s, "drop schema w cascade");
}

// ---- topics -------------------------------------------------------------------------------------------------------------------

#define RECORD(fields) "{\"type\":\"record\",\"name\":\"f\",\"fields\":[" fields "]}"
static const char flight_v1[] = RECORD("{\"name\":\"origin\",\"type\":\"string\"},{\"name\":\"delay\",\"type\":\"long\"}");
static const char flight_v2[] = RECORD("{\"name\":\"origin\",\"type\":\"string\"},{\"name\":\"delay\",\"type\":\"long\"},"
                                       "{\"name\":\"note\",\"type\":[\"null\",\"string\"],\"default\":null}");

static void put_event(struct engine_fixture *f, const char *topic, int32_t partition, const char *key, const void *value, size_t n, int64_t ms) {
    struct broker_header headers[] = {{STR("h"), STR("1")}, {STR("h"), STR("2")}, {STR("bin"), STR("\xff")}};
    struct broker_record r = {.key = str_c(key), .value = str_n(value, n), .value_null = value == NULL, .timestamp_ms = ms,
        .headers = headers, .n_headers = 3};
    struct err err = {0};
    if (broker_append(f->broker->broker, topic, partition, &r, 1, NULL, &err) != ERR_OK) fail_msg("%s", err.msg);
}

static void put_row(struct engine_fixture *f, const char *topic, int32_t partition, int id, const char *json, int64_t ms) {
    struct arena a;
    arena_init(&a);
    struct buf b;
    buf_init(&b, 0);
    buf_put_u8(&b, 0);
    buf_put_be32(&b, (uint32_t)id);
    const struct avro_schema *schema = avro_schema_parse(str_c(f->registry.schemas[id - 1].text), &a, NULL);
    assert_int_equal(avro_encode_json(schema, str_c(json), &b, NULL), ERR_OK);
    put_event(f, topic, partition, "k", b.p, b.n, ms);
    buf_fini(&b);
    arena_fini(&a);
}

static void test_topics(void **state) {
    struct engine_fixture *f = *state;
    struct err err = {0};
    assert_int_equal(broker_topic_create(f->broker->broker, "flights", 2, NULL, 0, false, NULL, NULL, &err), ERR_OK);
    assert_int_equal(broker_topic_create(f->broker->broker, "raw.bytes", 1, NULL, 0, false, NULL, NULL, &err), ERR_OK);
    f->registry.schemas[0].subject = f->registry.schemas[1].subject = "flights-value";
    f->registry.schemas[0].text = flight_v1;
    f->registry.schemas[1].text = flight_v2;
    f->registry.n = 2;
    put_row(f, "flights", 0, 1, "{\"origin\":\"JFK\",\"delay\":5}", 1000);
    put_row(f, "flights", 1, 2, "{\"origin\":\"LAX\",\"delay\":-3,\"note\":null}", 2000);
    put_event(f, "flights", 1, "bad", "\x01garbage", 8, 3000);
    put_event(f, "flights", 1, "bad", "\0\0\0\0\x09zzz", 8, 4000);
    put_event(f, "flights", 1, "gone", NULL, 0, 5000);
    put_event(f, "raw.bytes", 0, "\xfe", "xyz", 3, 6000);
    expect_in(f->s, "select origin, delay, note, _partition, _offset, _timestamp, _key from topics.flights order by _partition, _offset",
              "JFK|5|NULL|0|0|1970-01-01 00:00:01+00|k\nLAX|-3|NULL|1|0|1970-01-01 00:00:02+00|k\n"
              "NULL|NULL|NULL|1|1|1970-01-01 00:00:03+00|bad\nNULL|NULL|NULL|1|2|1970-01-01 00:00:04+00|bad\n"
              "NULL|NULL|NULL|1|3|1970-01-01 00:00:05+00|gone");
    expect_in(f->s, "select _offset, _error from topics.flights where _error is not null order by 1",
              "1|not in the schema registry's wire format\n2|schema id 9: no schema with id 9");
    expect_in(f->s, "select delay from topics.flights where _partition = 1 and _offset >= 0 and _offset < 1", "-3");
    expect_in(f->s, "select count(*), max(flights.delay), max(topics.flights.origin) from topics.flights", "5|5|LAX");
    expect_in(f->s, "select _headers['h'], _headers['bin'] from topics.flights limit 1", "2|\\xff");
    expect_in(f->s, "select _value, _key, _headers from topics.\"raw.bytes\"", "\\x78797a|\\xfe|{h=2, bin=\\xff}");
    expect_in(f->s, "select _value::varchar from topics.raw.bytes", "xyz");
    expect_in(f->s, "show topics", "__consumer_offsets|1|0\nflights|2|5\nraw.bytes|1|1");
    expect_in(f->s, "select column_name, data_type from information_schema.columns where table_schema = 'topics' and table_name = "
        "'flights' and ordinal_position < 4",
              "origin|VARCHAR\ndelay|BIGINT\nnote|VARCHAR");
    expect_in(f->s, "select _key from topics.flights where _timestamp >= '1970-01-01 00:00:03+00' order by _offset", "bad\nbad\ngone");
    expect_in(f->s, "select _key from topics.flights where _timestamp > timestamptz '1970-01-01 01:00:04.9+01:00'", "gone");
    expect_in(f->s, "select count(*) from topics.flights where _timestamp >= '1980-01-01 00:00:00Z'", "0");
    expect_in(f->s, "select count(*) from topic_scan('flights', from_time_ms := 2000)", "4");
    struct arena a;
    arena_init(&a);
    struct engine_catalog c;
    assert_int_equal(engine_catalog_list(f->s, STR("topics"), STR("flights"), &a, &c, &err), ERR_OK);
    assert_int_equal(c.n_relations, 1);
    assert_int_equal(c.relations[0].kind, ENGINE_TOPIC);
    assert_int_equal(c.relations[0].rows, 5);
    assert_int_equal(c.relations[0].columns->n, 9);
    arena_fini(&a);
    fails_in(f->s, "select * from topics.nix", ERR_NO_TABLE);
    fails_in(f->s, "insert into topics.flights select 1", ERR_NOT_SUPPORTED);
    run_in(f->s, "create schema b; create table b.f as select * from topics.flights");
    expect_in(f->s, "select count(*), count(origin), count(_error) from b.f", "5|2|2");
    assert_int_equal(broker_topic_delete(f->broker->broker, "flights", &err), ERR_OK);
    expect_in(f->s, "select count(*) from information_schema.tables where table_name = 'flights' and table_schema = 'topics'", "0");
    run_in(f->s, "drop schema b cascade");
}

// A type that one field defines and another uses: wanting only the other does not lose it.
static void test_topic_with_named_types(void **state) {
    struct engine_fixture *f = *state;
    static const char text[] = RECORD("{\"name\":\"a\",\"type\":{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"X\",\"Y\"]}},"
                                      "{\"name\":\"b\",\"type\":\"e\"},{\"name\":\"c\",\"type\":{\"type\":\"array\",\"items\":\"long\"}}");
    struct err err = {0};
    assert_int_equal(broker_topic_create(f->broker->broker, "named", 1, NULL, 0, false, NULL, NULL, &err), ERR_OK);
    f->registry.n = 1;
    f->registry.schemas[0].subject = "named-value";
    f->registry.schemas[0].text = text;
    put_row(f, "named", 0, 1, "{\"a\":\"X\",\"b\":\"Y\",\"c\":[1,2]}", 1);
    expect_in(f->s, "select b from topics.named", "Y");
    expect_in(f->s, "select a from topics.named", "X");
    expect_in(f->s, "select c, a, b from topics.named", "[1, 2]|X|Y");
    expect_in(f->s, "select c from topics.named", "[1, 2]");
}

static void test_catalog(void **state) {
    struct engine_fixture *f = *state;
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    run_in(f->s, "create schema c; create table c.one as select 1 as x, 'y' as y; create temp table tmp1 as select 1.5::double as z");
    struct engine_catalog c;
    assert_int_equal(engine_catalog_list(f->s, STR(""), STR(""), &a, &c, &err), ERR_OK);
    bool one = false, tmp = false;
    for (size_t i = 0; i < c.n_relations; i++) {
        const struct engine_relation *r = &c.relations[i];
        if (strcmp(r->name, "one") == 0)
            one = r->kind == ENGINE_TABLE && r->columns->n == 2 && r->rows == 1 && r->bytes > 0 && strcmp(r->schema, "c") == 0;
        if (strcmp(r->name, "tmp1") == 0) tmp = r->kind == ENGINE_TEMP && r->columns->n == 1 && r->columns->fields[0].type.kind == COLS_DOUBLE;
    }
    assert_true(one && tmp);
    assert_int_equal(c.n_schemas, 3);
    assert_string_equal(c.schemas[0], "c");
    arena_fini(&a);
    run_in(f->s, "drop schema c cascade; drop table tmp1");
}

// ---- cancelling -----------------------------------------------------------------------------------------------------------------

struct canceller {
    struct engine_session *s;
    struct loop_event begin;
    bool stop;
};

static void cancel_thread(void *arg) {
    struct canceller *c = arg;
    loop_event_wait(&c->begin);
    while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) engine_cancel(c->s); // until it takes: the first may come before the statement runs
}

static void test_cancel(void **state) {
    struct engine_fixture *f = *state;
    struct canceller c = {.s = f->s};
    struct err err = {0};
    loop_event_init(&c.begin);
    struct sys_thread *t = sys_thread_start("cancel", cancel_thread, &c);
    loop_event_set(&c.begin);
    static const char sql[] = "select a.range + b.range as x from range(1000000) a, range(1000000) b where a.range + b.range < 0";
    struct engine_result *r = engine_query(f->s, str_c(sql), NULL, 0, &err);
    if (r != NULL) assert_null(engine_result_next(r, &err));
    __atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
    sys_thread_join(t);
    loop_event_fini(&c.begin);
    assert_int_equal(err.code, ERR_CANCELLED);
    engine_result_free(r);
    expect_in(f->s, "select 1", "1");
}

static struct engine_result *answer_check(void *arg, struct engine_session *s, const struct sql_statement *st, struct err *err) {
    (void)s;
    (void)st;
    (void)err;
    static const char *const names[] = {"answer"}, *const cells[] = {"yes", NULL};
    *(int *)arg += 1;
    return engine_result_text(names, 1, cells, 2, "CHECK", 2);
}

static void test_handlers_and_streams(void **state) {
    struct engine_fixture *f = *state;
    int calls = 0;
    engine_on_statement(f->engine, SQL_CHECK, answer_check, &calls);
    expect_in(f->s, "check a.b using 'x.json'", "yes\nNULL");
    assert_int_equal(calls, 1);
    struct err err = {0};
    struct engine_result *first = engine_query(f->s, STR("select * from range(1000000)"), NULL, 0, &err);
    expect_in(f->s, "select 1", "1"); // ends the stream
    assert_null(engine_result_next(first, &err));
    assert_int_equal(err.code, ERR_CLOSED);
    engine_result_free(first);
    expect_in(f->s, "", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),   cmocka_unit_test(test_batches),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_error_in_stream), cmocka_unit_test(test_params_and_describe),
        cmocka_unit_test(test_params_of_tables),
        cmocka_unit_test(test_tables),   cmocka_unit_test(test_definitions), cmocka_unit_test(test_reopen),
        cmocka_unit_test(test_partitions), cmocka_unit_test(test_database_opened_again), cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_other_writer), cmocka_unit_test(test_opened_when_wanted), cmocka_unit_test(test_many_sessions),
        cmocka_unit_test(test_pruning),  cmocka_unit_test(test_source),      cmocka_unit_test(test_topics),
        cmocka_unit_test(test_topic_with_named_types),
        cmocka_unit_test(test_catalog),  cmocka_unit_test(test_cancel),      cmocka_unit_test(test_handlers_and_streams),
    };
    return cmocka_run_group_tests_name("engine", tests, engine_fixture_setup, engine_fixture_teardown);
}
