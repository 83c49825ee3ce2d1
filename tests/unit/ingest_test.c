// SPDX-License-Identifier: Apache-2.0
// `copy into ... from topic ...`: rows and dead letters once and only once, also when a run dies between dead letters and commit; new schemas.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine_fixture.h"
#include "ingest/ingest.h"
#include "schema/avro.h"

#define RECORD(fields) "{\"type\":\"record\",\"name\":\"f\",\"fields\":[" fields "]}"
static const char v1[] = RECORD("{\"name\":\"origin\",\"type\":\"string\"},{\"name\":\"delay\",\"type\":\"long\"}");
static const char v2[] = RECORD("{\"name\":\"origin\",\"type\":\"string\"},{\"name\":\"delay\",\"type\":\"long\"},"
                                "{\"name\":\"note\",\"type\":[\"null\",\"string\"],\"default\":null}");
static const char v3[] = RECORD("{\"name\":\"origin\",\"type\":\"string\"},{\"name\":\"delay\",\"type\":\"string\"}");

static void put(struct engine_fixture *f, const char *topic, int32_t partition, const char *key, const void *value, size_t n) {
    struct broker_header h = {STR("trace"), STR("7")};
    struct broker_record r = {.key = str_c(key), .value = str_n(value, n), .value_null = value == NULL, .timestamp_ms = 1234,
        .headers = &h, .n_headers = 1};
    struct err err = {0};
    if (broker_append(f->broker->broker, topic, partition, &r, 1, NULL, &err) != ERR_OK) fail_msg("%s", err.msg);
}

static void put_row(struct engine_fixture *f, const char *topic, int32_t partition, int id, const char *json) {
    struct arena a;
    arena_init(&a);
    struct buf b;
    struct err err = {0};
    buf_init(&b, 0);
    buf_put_u8(&b, 0);
    buf_put_be32(&b, (uint32_t)id);
    const struct avro_schema *schema = avro_schema_parse(str_c(f->registry.schemas[id - 1].text), &a, &err);
    if (schema == NULL || avro_encode_json(schema, str_c(json), &b, &err) != ERR_OK) fail_msg("%s", err.msg);
    put(f, topic, partition, "key", b.p, b.n);
    buf_fini(&b);
    arena_fini(&a);
}

static int setup(void **state) {
    if (engine_fixture_setup(state) != 0) return -1;
    struct engine_fixture *f = *state;
    ingest_register(f->engine);
    return 0;
}

static void make_topic(struct engine_fixture *f, const char *topic, const char *subject, int32_t partitions, const char *text) {
    struct err err = {0};
    if (broker_topic_create(f->broker->broker, topic, partitions, NULL, 0, false, NULL, NULL, &err) != ERR_OK) fail_msg("%s", err.msg);
    f->registry.n = 0;
    f->registry.schemas[f->registry.n].subject = subject;
    f->registry.schemas[f->registry.n++].text = text;
}

static void add_schema(struct engine_fixture *f, const char *text) {
    f->registry.schemas[f->registry.n].subject = f->registry.schemas[0].subject;
    f->registry.schemas[f->registry.n++].text = text;
}

static void test_rows_and_dead_letters(void **state) {
    struct engine_fixture *f = *state;
    make_topic(f, "a", "a-value", 2, v1);
    put_row(f, "a", 0, 1, "{\"origin\":\"JFK\",\"delay\":5}");
    put_row(f, "a", 1, 1, "{\"origin\":\"LAX\",\"delay\":-1}");
    put(f, "a", 0, "b1", "\x01x", 2);                 // no header
    put(f, "a", 1, "b2", "\0\0\0\0\x63zz", 7);        // unknown schema
    put(f, "a", 0, "b3", "\0\0\0\0\x01\x06JF", 8);    // cut short
    put(f, "a", 0, "b4", NULL, 0);                    // null
    put_row(f, "a", 0, 1, "{\"origin\":\"SFO\",\"delay\":9}");
    expect_in(f->s, "copy into b.a from topic a with (dlq = 'a.dead')", "b.a|a|3|4|1|0");
    expect_in(f->s, "select origin, delay, _partition, _offset, epoch_ms(_timestamp), _key from b.a order by _partition, _offset",
              "JFK|5|0|0|1234|key\nSFO|9|0|4|1234|key\nLAX|-1|1|0|1234|key");
    expect_in(f->s, "select _headers['millrace.dlq.topic'], _headers['millrace.dlq.partition'], _headers['millrace.dlq.offset'], "
                    "_headers['millrace.dlq.schema_id'], _headers['trace'], _key, octet_length(_value), epoch_ms(_timestamp) from "
                        "topics.a.dead order by _key",
              "a|0|1|NULL|7|b1|2|1234\na|1|1|99|7|b2|7|1234\na|0|2|1|7|b3|8|1234\na|0|3|NULL|7|b4|NULL|1234");
    expect_in(f->s, "select count(*) from topics.a.dead where length(_headers['millrace.dlq.reason']) > 10", "4");
    expect_in(f->s, "copy into b.a from topic a with (dlq = 'a.dead')", "b.a|a|0|0|0|0"); // nothing new: no commit
    put_row(f, "a", 1, 1, "{\"origin\":\"SEA\",\"delay\":2}");
    put(f, "a", 1, "b5", "\x02", 1);
    expect_in(f->s, "copy into b.a from topic a with (dlq = 'a.dead')", "b.a|a|1|1|1|1");
    expect_in(f->s, "select count(*) from b.a union all select count(*) from topics.a.dead", "4\n5");
    fails_in(f->s, "copy into b.a from topic nix", ERR_NO_TOPIC);
    fails_in(f->s, "copy into b.a from topic a with (nix = 1)", ERR_INVALID);
    struct arena a;
    arena_init(&a);
    struct engine_described d;
    assert_int_equal(engine_describe(f->s, STR("copy into b.a from topic a"), &a, &d, NULL), ERR_OK);
    assert_int_equal(d.columns->n, 6);
    arena_fini(&a);
}

// ---- a run that dies ------------------------------------------------------------------------------------------------------------

static struct engine_fixture *breaks; // looking up the schema with this id cancels the statement: dead letters are written, nothing is committed
static enum err_code breaking_get(void *self, int32_t id, struct arena *a, struct str *text, struct err *err) {
    if (breaks != NULL && id == 77) engine_cancel(breaks->s);
    return registry_get(self, id, a, text, err);
}

static void test_death_before_commit(void **state) {
    struct engine_fixture *f = *state;
    make_topic(f, "d", "d-value", 3, v1);
    for (int i = 0; i < 300; i++) {
        put_row(f, "d", i % 3, 1, "{\"origin\":\"JFK\",\"delay\":5}");
        if (i % 10 == 0) put(f, "d", i % 3, "bad", "\x01x", 2);
    }
    put(f, "d", 2, "bad", "\0\0\0\0\x4dzz", 7); // id 77
    engine_fixture_close(f);
    f->source.get = breaking_get;
    engine_fixture_open(f);
    ingest_register(f->engine);
    for (int round = 0; round < 3; round++) {
        breaks = f;
        fails_in(f->s, "copy into b.d from topic d", ERR_CANCELLED);
        breaks = NULL;
        if (round == 1) { // as after a restart of the process
            engine_fixture_close(f);
            fixture_restart(f->broker, false);
            engine_fixture_open(f);
            ingest_register(f->engine);
        }
    }
    fails_in(f->s, "select * from b.d", ERR_NO_TABLE);
    expect_in(f->s, "select count(*) > 0 from topics.d.dlq", "true"); // the runs that died did leave dead letters
    expect_in(f->s, "select rows from (select 1 as rows)", "1");
    run_in(f->s, "copy into b.d from topic d");
    expect_in(f->s, "select count(*), count(distinct (_partition, _offset)) from b.d", "300|300");
    expect_in(f->s, "select count(*), count(distinct (_headers['millrace.dlq.partition'], _headers['millrace.dlq.offset'])) from "
        "topics.d.dlq", "31|31");
    put(f, "d", 0, "bad", "\x01y", 2);
    breaks = f;
    put(f, "d", 0, "bad", "\0\0\0\0\x4dyy", 7);
    fails_in(f->s, "copy into b.d from topic d", ERR_CANCELLED);
    breaks = NULL;
    expect_in(f->s, "copy into b.d from topic d", "b.d|d|0|2|0|1");
    expect_in(f->s, "select count(*) from topics.d.dlq", "33");
    expect_in(f->s, "select count(*) from b.d", "300");
}

// An event that was a dead letter before brings headers of our names along; ours count.
static void test_dead_letter_again(void **state) {
    struct engine_fixture *f = *state;
    make_topic(f, "again", "again-value", 1, v1);
    struct broker_header h[] = {{STR("millrace.dlq.partition"), STR("0")}, {STR("millrace.dlq.offset"), STR("7")}};
    struct broker_record r = {.key = STR("k"), .value = STR("bad"), .timestamp_ms = 1, .headers = h, .n_headers = 2};
    assert_int_equal(broker_append(f->broker->broker, "again", 0, &r, 1, NULL, NULL), ERR_OK);
    put(f, "again", 0, "bad", "\0\0\0\0\x4dyy", 7);
    breaks = f;
    fails_in(f->s, "copy into b.again from topic again", ERR_CANCELLED); // the first one is written, being in a batch of its own
    breaks = NULL;
    expect_in(f->s, "select count(*) > 0 from topics.again.dlq", "true");
    run_in(f->s, "copy into b.again from topic again");
    expect_in(f->s, "select count(*) from topics.again.dlq", "2");
    fails_in(f->s, "copy into b.again from topic again with (dlq = 'again')", ERR_INVALID);
}

// More than fit in one append, in large batches.
static void test_many_dead_letters(void **state) {
    struct engine_fixture *f = *state;
    enum { N = 1700 };
    make_topic(f, "many", "many-value", 1, v1);
    char *big = mem_zalloc(200000);
    big[0] = 1;
    put(f, "many", 0, "big", big, 200000);
    struct broker_record *r = mem_zalloc(N * sizeof *r);
    for (int i = 0; i < N; i++) r[i] = (struct broker_record){.key = STR("k"), .value = STR("no header at all"), .timestamp_ms = i};
    assert_int_equal(broker_append(f->broker->broker, "many", 0, r, N, NULL, NULL), ERR_OK);
    for (int i = 0; i < 10; i++) put(f, "many", 0, "big", big, 200000);
    put_row(f, "many", 0, 1, "{\"origin\":\"JFK\",\"delay\":5}");
    expect_in(f->s, "copy into b.many from topic many", "b.many|many|1|1711|1|0");
    expect_in(f->s, "select count(*), count(distinct _headers['millrace.dlq.offset']), sum(octet_length(_value)) from topics.many.dlq",
              "1711|1711|2227200");
    mem_free(big);
    mem_free(r);
}

// ---- schemas --------------------------------------------------------------------------------------------------------------------

static void test_new_schemas(void **state) {
    struct engine_fixture *f = *state;
    make_topic(f, "s", "s-value", 1, v1);
    put_row(f, "s", 0, 1, "{\"origin\":\"JFK\",\"delay\":5}");
    run_in(f->s, "copy into b.s from topic s");
    add_schema(f, v2);
    put_row(f, "s", 0, 2, "{\"origin\":\"LAX\",\"delay\":6,\"note\":null}");
    put_row(f, "s", 0, 1, "{\"origin\":\"SEA\",\"delay\":7}"); // an old producer
    expect_in(f->s, "copy into b.s from topic s", "b.s|s|2|0|1|1");
    expect_in(f->s, "select origin, delay, note, _offset from b.s order by _offset", "JFK|5|NULL|0\nLAX|6|NULL|1\nSEA|7|NULL|2");
    expect_in(f->s, "select count(*) from b.s version as of 0", "1");
    add_schema(f, v3);
    put_row(f, "s", 0, 3, "{\"origin\":\"BOS\",\"delay\":\"x\"}");
    fails_in(f->s, "copy into b.s from topic s", ERR_INCOMPATIBLE);
    expect_in(f->s, "select count(*) from b.s", "3");
    struct err err = {0};
    assert_int_equal(broker_topic_create(f->broker->broker, "none", 1, NULL, 0, false, NULL, NULL, &err), ERR_OK);
    put(f, "none", 0, "k", "v", 1);
    fails_in(f->s, "copy into b.none from topic none", ERR_NOT_FOUND); // no schema
}

static void test_topic_made_again(void **state) {
    struct engine_fixture *f = *state;
    make_topic(f, "m", "m-value", 1, v1);
    put_row(f, "m", 0, 1, "{\"origin\":\"JFK\",\"delay\":1}");
    put_row(f, "m", 0, 1, "{\"origin\":\"JFK\",\"delay\":2}");
    put(f, "m", 0, "bad", "x", 1);
    run_in(f->s, "copy into b.m from topic m");
    struct err err = {0};
    assert_int_equal(broker_topic_delete(f->broker->broker, "m", &err), ERR_OK);
    make_topic(f, "m", "m-value", 1, v1);
    put_row(f, "m", 0, 1, "{\"origin\":\"LAX\",\"delay\":3}");
    for (int i = 0; i < 3; i++) put(f, "m", 0, "bad", "y", 1); // one of them with the offset that the old topic's dead letter had
    expect_in(f->s, "copy into b.m from topic m", "b.m|m|1|3|1|1"); // its offsets begin again: it is another topic
    expect_in(f->s, "select count(*), count(distinct _headers['millrace.dlq.topic_id']) from topics.m.dlq", "4|2");
    expect_in(f->s, "select delay from b.m order by delay", "1\n2\n3");
}

static const char *remade; // looking up the schema with id 78 deletes this topic and makes it again
static struct broker *remaking;
static enum err_code remaking_get(void *self, int32_t id, struct arena *a, struct str *text, struct err *err) {
    if (remade != NULL && id == 78) {
        assert_int_equal(broker_topic_delete(remaking, remade, err), ERR_OK);
        assert_int_equal(broker_topic_create(remaking, remade, 1, NULL, 0, false, NULL, NULL, err), ERR_OK);
        remade = NULL;
    }
    return registry_get(self, id, a, text, err);
}

static size_t n_parquet(struct engine_fixture *f, const char *table) {
    char *path = mem_printf("%s/b/%s", f->lake_dir, table);
    struct sys_list names = {0};
    assert_int_equal(sys_list_dir(sys_real(), path, &names, NULL), ERR_OK);
    size_t n = 0;
    for (size_t i = 0; i < names.n; i++) n += str_ends(str_c(names.names[i]), STR(".parquet"));
    sys_list_free(&names);
    mem_free(path);
    return n;
}

// While a copy reads: nothing of the old one is committed under its name, and the new one is copied from its begin.
static void test_topic_made_again_meanwhile(void **state) {
    struct engine_fixture *f = *state;
    make_topic(f, "w", "w-value", 1, v1);
    put_row(f, "w", 0, 1, "{\"origin\":\"JFK\",\"delay\":1}");
    run_in(f->s, "copy into b.w from topic w");
    put_row(f, "w", 0, 1, "{\"origin\":\"JFK\",\"delay\":2}");
    put(f, "w", 0, "bad", "\0\0\0\0\x4ezz", 7); // id 78
    engine_fixture_close(f);
    f->source.get = remaking_get;
    engine_fixture_open(f);
    ingest_register(f->engine);
    remaking = f->broker->broker;
    remade = "w";
    fails_in(f->s, "copy into b.w from topic w", ERR_CONFLICT);
    assert_int_equal(n_parquet(f, "w"), 1); // what was written for nothing is gone
    put_row(f, "w", 0, 1, "{\"origin\":\"LAX\",\"delay\":3}");
    put(f, "w", 0, "bad", "x", 1);
    put(f, "w", 0, "bad", "y", 1); // offset 2, as the dead letter of the old topic
    run_in(f->s, "copy into b.w from topic w");
    expect_in(f->s, "select delay from b.w order by delay", "1\n3");
    expect_in(f->s, "select count(*) from topics.w.dlq", "3");
}

static void test_names_without_case(void **state) {
    struct engine_fixture *f = *state;
    make_topic(f, "c", "c-value", 1, v1);
    put_row(f, "c", 0, 1, "{\"origin\":\"JFK\",\"delay\":1}");
    expect_in(f->s, "copy into c.Case from topic c", "c.Case|c|1|0|1|0");
    put_row(f, "c", 0, 1, "{\"origin\":\"JFK\",\"delay\":2}");
    expect_in(f->s, "copy into C.CASE from topic c", "c.Case|c|1|0|1|1");
    expect_in(f->s, "select count(*) from c.case", "2");
    fails_in(f->s, "copy into nix.t from topic nix", ERR_NO_TOPIC);
    assert_false(lake_schema_exists(f->lake, "nix"));
}

// The log is older than the table: what comes next must not be taken for copied.
static void test_topic_behind_table(void **state) {
    struct engine_fixture *f = *state;
    make_topic(f, "o", "o-value", 1, v1);
    put_row(f, "o", 0, 1, "{\"origin\":\"JFK\",\"delay\":1}");
    run_in(f->s, "copy into b.o from topic o");
    struct arena a;
    arena_init(&a);
    struct broker_topic_info info;
    struct err err = {0};
    char id[37];
    assert_true(broker_topic_get(f->broker->broker, STR("o"), &a, &info));
    sys_uuid_text(info.id, id);
    struct lake_snapshot *s = lake_table_snapshot(f->lake, "b", "o", -1, &err);
    assert_non_null(s);
    struct lake_txn *t = lake_txn_begin(f->lake, "b", "o", s, &err);
    lake_txn_set_app(t, arena_printf(&a, "millrace/%s/0", id), 9);
    assert_int_equal(lake_txn_commit(t, NULL, &err), ERR_OK);
    lake_txn_free(t);
    lake_snapshot_unref(s);
    arena_fini(&a);
    fails_in(f->s, "copy into b.o from topic o", ERR_OFFSET_RANGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_and_dead_letters),
        cmocka_unit_test(test_death_before_commit),
        cmocka_unit_test(test_many_dead_letters),
        cmocka_unit_test(test_new_schemas),
        cmocka_unit_test(test_topic_made_again),
        cmocka_unit_test(test_dead_letter_again),
        cmocka_unit_test(test_topic_made_again_meanwhile),
        cmocka_unit_test(test_topic_behind_table),
        cmocka_unit_test(test_names_without_case),
    };
    return cmocka_run_group_tests_name("ingest", tests, setup, engine_fixture_teardown);
}
