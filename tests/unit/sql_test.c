// SPDX-License-Identifier: Apache-2.0
// Tokens, the splitter, own statements, and the scanner of table names with its conditions.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sql/sql.h"

static struct sql_statement parse(struct arena *a, const char *text) {
    struct sql_statement st;
    struct err err = {0};
    enum err_code code = sql_parse(str_c(text), a, &st, &err);
    if (code != ERR_OK) fail_msg("%s: %s", text, err.msg);
    return st;
}

static void test_tokens(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *tokens; // kind letter + text, joined by blanks
    } cases[] = {
        {"select 1", "w:select n:1"},
        {"a.b/*x /* y */ z*/+1.5e-3 -- end", "w:a o:. w:b o:+ n:1.5e-3"},
        {"'it''s' e'a\\'b' \"q\"\"q\" $$x'y$$ $t$a$$b$t$", "s:'it''s' s:e'a\\'b' q:\"q\"\"q\" s:$$x'y$$ s:$t$a$$b$t$"},
        {"$1 $name ? ::int", "p:$1 p:$name p:? o::: w:int"},
        {"a=-1", "w:a o:= o:- n:1"},
        {"a<=b||c->>'d'", "w:a o:<= w:b o:|| w:c o:->> s:'d'"},
        {".5+0x1F", "n:.5 o:+ n:0x1F"},
        {"x--y\n;z", "w:x o:; w:z"},
        {"naïve", "w:naïve"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sql_lexer l = {str_c(cases[i].text), 0};
        struct sql_token k;
        struct buf out;
        buf_init(&out, 0);
        for (;;) {
            assert_int_equal(sql_lex(&l, &k, NULL), ERR_OK);
            if (k.kind == SQL_TOKEN_END) break;
            if (out.n > 0) buf_puts(&out, " ");
            buf_printf(&out, "%c:", "ewqsnpo"[k.kind]);
            buf_put(&out, cases[i].text + k.at, k.n);
        }
        assert_string_equal(buf_cstr(&out), cases[i].tokens);
        buf_fini(&out);
    }
}

static void test_open_ends(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int position;
    } cases[] = {{"select 'a", 8}, {"select \"a", 8}, {"select /* a", 8}, {"select $x$ a $y$", 8}, {"select \x01", 8}, {"a; select 'b", 11}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        arena_init(&a);
        struct sql_statement st;
        struct err err = {0};
        size_t at = 0;
        while (sql_next(str_c(cases[i].text), &at, &a, &st, &err)) {}
        assert_int_equal(err.code, ERR_PARSE);
        assert_int_equal(err.position, cases[i].position);
        arena_fini(&a);
    }
}

static void test_splitting(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    const char *script = ";; -- nothing\n select ';' ; /* ; */ create schema if not exists gold;\n$$;$$ ; ";
    size_t at = 0;
    struct sql_statement st;
    struct err err = {0};
    assert_true(sql_next(str_c(script), &at, &a, &st, &err));
    assert_int_equal(st.kind, SQL_SELECT);
    assert_true(str_eqc(st.text, "select ';'"));
    assert_int_equal(st.at, strstr(script, "select") - script);
    assert_true(sql_next(str_c(script), &at, &a, &st, &err));
    assert_int_equal(st.kind, SQL_CREATE_SCHEMA);
    assert_true(st.if_not_exists && str_eqc(st.target.schema, "gold"));
    assert_true(sql_next(str_c(script), &at, &a, &st, &err));
    assert_int_equal(st.kind, SQL_OTHER);
    assert_false(sql_next(str_c(script), &at, &a, &st, &err));
    assert_int_equal(err.code, ERR_OK);
    assert_int_equal(sql_parse(STR("select 1; select 2"), &a, &st, &err), ERR_PARSE);
    assert_int_equal(err.position, 11);
    assert_int_equal(sql_parse(STR(" -- only this"), &a, &st, &err), ERR_OK);
    assert_int_equal(st.kind, SQL_EMPTY);
    arena_fini(&a);
}

static void test_copy_from_topic(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    struct sql_statement st = parse(&a, "COPY INTO bronze.\"Flights\" FROM topic flights-v2.raw WITH (dlq = 'flights.dlq', batch_rows=5000);");
    assert_int_equal(st.kind, SQL_COPY_FROM_TOPIC);
    assert_true(str_eqc(st.target.schema, "bronze") && str_eqc(st.target.table, "Flights"));
    assert_true(str_eqc(st.topic, "flights-v2.raw"));
    assert_true(str_eqc(sql_option_get(&st, "DLQ"), "flights.dlq"));
    assert_true(str_eqc(sql_option_get(&st, "batch_rows"), "5000"));
    assert_null(sql_option_get(&st, "nothing").p);
    st = parse(&a, "copy into b.t from topic 'odd name'");
    assert_true(str_eqc(st.topic, "odd name"));
    struct err err = {0};
    assert_int_equal(sql_parse(STR("copy into b.t from topic x with (a 1)"), &a, &st, &err), ERR_PARSE);
    assert_int_equal(err.position, 36);
    assert_int_equal(sql_parse(STR("copy into b.t from"), &a, &st, &err), ERR_PARSE);
    assert_int_equal(sql_parse(STR("copy into a.b.c.d from topic x"), &a, &st, &err), ERR_PARSE);
    assert_int_equal(sql_parse(STR("copy b.t from 'x.csv'"), &a, &st, &err), ERR_OK);
    assert_int_equal(st.kind, SQL_OTHER);
    arena_fini(&a);
}

static void test_kinds(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum sql_kind kind;
        const char *table, *query;
    } cases[] = {
        {"check silver.flights using 'a/b.json'", SQL_CHECK, "flights", NULL},
        {"show topics", SQL_SHOW_TOPICS, NULL, NULL},
        {"show tables", SQL_SELECT, NULL, NULL},
        {"drop schema if exists s cascade", SQL_DROP_SCHEMA, NULL, NULL},
        {"create table if not exists s.t as select 1 as x", SQL_CREATE_TABLE_AS, "t", "select 1 as x"},
        {"create or replace table s.t as (select 1)", SQL_CREATE_TABLE_AS, "t", "(select 1)"},
        {"create table s.t (a int, b decimal(10,2))", SQL_CREATE_TABLE, "t", NULL},
        {"create temp table t as select 1", SQL_OTHER, NULL, NULL},
        {"drop table if exists s.t", SQL_DROP_TABLE, "t", NULL},
        {"insert into s.t select 1", SQL_INSERT, "t", "select 1"},
        {"insert into s.t (a, \"b\") values (1, 2)", SQL_INSERT, "t", "values (1, 2)"},
        {"insert into s.t (select 1)", SQL_INSERT, "t", "(select 1)"},
        {"insert overwrite table s.t with x as (select 1) from x", SQL_INSERT_OVERWRITE, "t", "with x as (select 1) from x"},
        {"delete from s.t where a > 1", SQL_DELETE, "t", NULL},
        {"truncate s.t", SQL_TRUNCATE, "t", NULL},
        {"update s.t set a = 1", SQL_UPDATE, "t", NULL},
        {"merge into s.t using x on true when matched then delete", SQL_MERGE, "t", NULL},
        {"begin", SQL_BEGIN, NULL, NULL},
        {"start transaction", SQL_BEGIN, NULL, NULL},
        {"end", SQL_COMMIT, NULL, NULL},
        {"rollback", SQL_ROLLBACK, NULL, NULL},
        {"set TimeZone = 'UTC'", SQL_SET, NULL, NULL},
        {"explain select 1", SQL_SELECT, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        arena_init(&a);
        struct sql_statement st = parse(&a, cases[i].text);
        if (st.kind != cases[i].kind) fail_msg("%s: kind %d", cases[i].text, st.kind);
        if (cases[i].table != NULL) assert_true(str_eqc(st.target.table, cases[i].table));
        if (cases[i].query != NULL) assert_true(str_eqc(st.query, cases[i].query));
        arena_fini(&a);
    }
    struct arena a;
    arena_init(&a);
    assert_true(str_eqc(parse(&a, "create table s.t ( a int, b decimal(10,2) )").definition, "a int, b decimal(10,2)"));
    assert_true(str_eqc(parse(&a, "delete from s.t where a > 1 ;").condition, "a > 1"));
    assert_int_equal(parse(&a, "insert into s.t (a, \"b c\") values (1, 2)").n_columns, 2);
    assert_true(parse(&a, "create temporary view v as select 1").temporary);
    assert_false(parse(&a, "create view temp as select 1").temporary);
    struct sql_statement st;
    assert_int_equal(sql_parse(STR("delete from s.t as x where x.a = 1"), &a, &st, NULL), ERR_PARSE); // never "all rows"
    arena_fini(&a);
}

// Refs as text: name[@version][=alias]{conjuncts}, joined by blanks.
static void refs_text(const struct sql_statement *st, struct buf *out) {
    static const char *const ops[] = {"=", "!=", "<", "<=", ">", ">="};
    buf_clear(out);
    for (size_t i = 0; i < st->n_refs; i++) {
        const struct sql_ref *r = &st->refs[i];
        if (i > 0) buf_puts(out, " ");
        if (r->name.catalog.n > 0) buf_printf(out, STR_FMT ".", STR_ARG(r->name.catalog));
        if (r->name.schema.n > 0) buf_printf(out, STR_FMT ".", STR_ARG(r->name.schema));
        buf_put_str(out, r->name.table);
        if (r->version >= 0) buf_printf(out, "@%d", (int)r->version);
        if (r->alias.n > 0) buf_printf(out, "=" STR_FMT, STR_ARG(r->alias));
        for (size_t j = 0; j < r->n_conjuncts; j++) {
            const struct sql_conjunct *c = &r->conjuncts[j];
            buf_printf(out, "{" STR_FMT "%s%s" STR_FMT "}", STR_ARG(c->column), ops[c->op], c->string ? "'" : "", STR_ARG(c->literal));
        }
    }
}

static void test_refs(void **state) {
    (void)state;
    static const struct {
        const char *text, *refs;
    } cases[] = {
        {"select * from s.t", "s.t"},
        {"select * from s.t as x, c.s.u y join \"S\".\"V w\" on x.a = y.a", "s.t=x c.s.u=y S.V w"},
        {"select a from s.t where a > 5 and 'x' <= b and c between -1 and date '2001-01-01'", "s.t{a>5}{b>='x}{c>=-1}{c<='2001-01-01}"},
        {"select a from s.t where a > 5 or b = 1", "s.t"},
        {"select a from s.t where (a > 5 or b = 1) and c = 2", "s.t{c=2}"},
        {"select a from s.t where a > 5 + 1 and not b = 1 and f(c) = 1 and d = e and g = 1::int", "s.t"},
        {"select a from s.t where a not between 1 and 2 and b = 3", "s.t{b=3}"},
        {"select a from s.t where case when a = 1 and b = 2 then 1 end", "s.t"},
        {"select a from s.t x join s.u y using (k) where x.a = 1 and y.b <> 2 and c = 3", "s.t=x{a=1} s.u=y{b!=2}"},
        {"select a from s.t join s.u on true where t.a = 1 and s.u.b = 2", "s.t{a=1} s.u{b=2}"},
        {"select a from s.t x asof join s.u y on x.k >= y.k where y.b > 2", "s.t=x s.u=y"},
        {"select a from s.t, unnest([1,2]) where a = 1", "s.t"},
        {"select a from s.t x(b, c) where b = 1", "s.t=x"},
        {"select a from s.t where a = 1 union all select a from s.u where a = 2 order by 1", "s.t{a=1} s.u{a=2}"},
        {"with w as (select * from s.t where a = 1) select * from w join (select * from s.u where b = 2) q on true where q.c = 3",
         "s.t{a=1} w s.u{b=2}"},
        {"select * from (s.t join s.u on true) where a = 1", "s.t s.u"},
        {"select extract(year from s.t), substring(x from 2), a is distinct from b from s.u", "s.u"},
        {"select (select max(a) from s.u where u.k = 7) from s.t where a in (select b from s.v where b > 1)", "s.u{k=7} s.t s.v{b>1}"},
        {"from s.t", "s.t"},
        {"from s.t select a, b where a = 1", "s.t{a=1}"},
        {"select * from read_parquet('x') r, s.t version as of 7 z where z.a = 1", "s.t@7=z{a=1}"},
        {"select * from s.t for version as of 7", "s.t@7"},
        {"select count(*) filter (where x > 1) from s.t", "s.t"},
        {"select * from lateral (select 1), s.t", "s.t"},
        {"select * from (with w as (select 1) select * from w, s.t)", "w s.t"},
        {"insert into s.t select * from s.u where a = 1", "s.u{a=1}"},
        {"create table s.t as select * from s.u", "s.u"},
        {"explain analyze select * from s.t", "s.t"},
        {"select a from s.t where a >= $1 and b = '1' limit 5", "s.t{b='1}"},
        {"select s.a, t.b from s.t group by all having count(*) > 1", "s.t"},
        {"select 1 from s.t where a = 1 group by b having b = 2", "s.t{a=1}"},
        {"select 1 from s.t where a = 'it''s' and b = 1.5e3", "s.t{a='it's}{b=1.5e3}"},
        {"select {'a': 1}, [x for x in l if x > 1] from s.t", "s.t"},
        {"select 1 from 'file.parquet', s.t where a = 1", "s.t"},
        {"select a from t.x.y.z", ""},
        {")))select 1 from s.t((", ""},
    };
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        arena_init(&a);
        struct sql_statement st = parse(&a, cases[i].text);
        refs_text(&st, &out);
        if (strcmp(buf_cstr(&out), cases[i].refs) != 0) fail_msg("%s\n got  %s\n want %s", cases[i].text, buf_cstr(&out), cases[i].refs);
        arena_fini(&a);
    }
    buf_fini(&out);
}

static void test_ref_positions(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    struct sql_statement st = parse(&a, "  select * from \"s\" . t version as of 3 as x where 1=1");
    assert_int_equal(st.n_refs, 1);
    assert_true(str_eqc(str_n(st.text.p + st.refs[0].at, st.refs[0].n), "\"s\" . t version as of 3"));
    arena_fini(&a);
}

static void test_limits(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    struct sql_statement nul;
    struct err err = {0};
    assert_int_equal(sql_parse(STR("select 1 --\0\n + 1"), &a, &nul, &err), ERR_PARSE);
    assert_int_equal(err.position, 12);
    struct buf b;
    buf_init(&b, 0);
    for (int i = 0; i < SQL_DEPTH_MAX + 1; i++) buf_puts(&b, "(");
    struct sql_statement st;
    assert_int_equal(sql_parse(buf_str(&b), &a, &st, NULL), ERR_TOO_LARGE);
    buf_clear(&b);
    for (int i = 0; i < SQL_DEPTH_MAX; i++) buf_puts(&b, "(select * from ");
    assert_int_equal(sql_parse(buf_str(&b), &a, &st, NULL), ERR_OK);
    buf_fini(&b);
    arena_fini(&a);
}

static void test_writing(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    sql_put_ident(&b, STR("a\"b"));
    sql_put_string(&b, STR("it's"));
    assert_string_equal(buf_cstr(&b), "\"a\"\"b\"'it''s'");
    buf_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),        cmocka_unit_test(test_open_ends),  cmocka_unit_test(test_splitting),
        cmocka_unit_test(test_copy_from_topic), cmocka_unit_test(test_kinds),    cmocka_unit_test(test_refs),
        cmocka_unit_test(test_ref_positions), cmocka_unit_test(test_limits),     cmocka_unit_test(test_writing),
    };
    return cmocka_run_group_tests_name("sql", tests, NULL, NULL);
}
