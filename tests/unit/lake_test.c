// SPDX-License-Identifier: Apache-2.0
// The lake on real files: schemas as JSON, hand-written logs, commits and conflicts, pruning, checkpoints through DuckDB.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <duckdb.h>
#pragma GCC diagnostic pop

#include "base/buf.h"
#include "codec/json.h"
#include "lake/lake.h"

static char dir[64];
static struct lake *lake;

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/millrace-lake-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    struct err err;
    lake = lake_open(sys_real(), dir, &err);
    return lake == NULL || lake_create_schema(lake, "s", &err) != ERR_OK;
}

static int teardown(void **state) {
    (void)state;
    lake_close(lake);
    return sys_remove_tree(sys_real(), dir, NULL) != ERR_OK;
}

static void put_file(const char *name, const char *content) {
    char path[512];
    struct err err;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    char *slash = strrchr(path, '/');
    *slash = 0;
    assert_int_equal(sys_mkdirs(sys_real(), path, &err), ERR_OK);
    *slash = '/';
    assert_int_equal(sys_write_file(sys_real(), path, str_c(content), &err), ERR_OK);
}

static struct cols_field two_fields[] = {
    {"id", {.kind = COLS_INT64}, false},
    {"name", {.kind = COLS_STRING}, true},
};
static const struct cols_schema two_columns = {2, two_fields};

static struct lake_snapshot *snapshot(const char *table, int64_t version) {
    struct err err = {0};
    struct lake_snapshot *s = lake_table_snapshot(lake, "s", table, version, &err);
    if (s == NULL)
        print_message("%s\n", err.msg);
    assert_non_null(s);
    return s;
}

static void add_file(struct lake_txn *t, const char *path, int64_t rows) {
    lake_txn_add(t, &(struct lake_add){.path = path, .size = 100, .rows = rows});
}

static int64_t commit_ok(struct lake_txn *t) {
    struct err err = {0};
    int64_t version = -1;
    if (lake_txn_commit(t, &version, &err) != ERR_OK)
        fail_msg("%s", err.msg);
    lake_txn_free(t);
    return version;
}

static void create(const char *table) {
    struct lake_txn *t = lake_txn_begin(lake, "s", table, NULL, NULL);
    assert_int_equal(lake_txn_set_schema(t, &two_columns, NULL), ERR_OK);
    assert_int_equal(commit_ok(t), 0);
}

static int64_t append(const char *table, const char *path, int64_t rows) {
    struct lake_snapshot *s = snapshot(table, -1);
    struct lake_txn *t = lake_txn_begin(lake, "s", table, s, NULL);
    add_file(t, path, rows);
    lake_snapshot_unref(s);
    return commit_ok(t);
}

// ---- names, schemas, drops --------------------------------------------------------------------------------------------------
static void test_names(void **state) {
    (void)state;
    struct err err;
    static const char *const bad[] = {"", ".", "..", ".x", "a/b", "a\\b", " a", "a\"b", "a\nb", "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(lake_check_name(str_c(bad[i]), &err), ERR_INVALID);
    assert_int_equal(lake_check_name(STR("flights_2024-01.x"), &err), ERR_OK);
    assert_int_equal(lake_create_schema(lake, "s", &err), ERR_EXISTS);
    assert_int_equal(lake_create_schema(lake, "gold", &err), ERR_OK);
    struct sys_list list;
    assert_int_equal(lake_list_schemas(lake, &list, &err), ERR_OK);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.names[0], "gold");
    assert_string_equal(list.names[1], "s");
    sys_list_free(&list);
    assert_int_equal(lake_list_tables(lake, "none", &list, &err), ERR_NO_SCHEMA);
    create("t");
    assert_int_equal(lake_make_table_dir(lake, "s", "unborn", &err), ERR_OK);
    assert_int_equal(lake_list_tables(lake, "s", &list, &err), ERR_OK);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.names[0], "t");
    sys_list_free(&list);
    assert_int_equal(lake_drop_schema(lake, "s", &err), ERR_CONFLICT);
    assert_int_equal(lake_drop_table(lake, "s", "t", &err), ERR_OK);
    assert_int_equal(lake_drop_table(lake, "s", "t", &err), ERR_NO_TABLE);
    assert_null(lake_table_snapshot(lake, "s", "t", -1, &err));
    assert_int_equal(err.code, ERR_NO_TABLE);
    create("t"); // the cache must not remember the one dropped
    struct lake_snapshot *s = snapshot("t", -1);
    assert_int_equal(lake_snapshot_version(s), 0);
    lake_snapshot_unref(s);
    assert_int_equal(lake_drop_table(lake, "s", "t", &err), ERR_OK);
    assert_int_equal(lake_drop_schema(lake, "s", &err), ERR_OK);
    assert_int_equal(lake_drop_schema(lake, "s", &err), ERR_NO_SCHEMA);
}

// A table that was dropped, and made again under its name, is not the one that a writer has read.
static void test_dropped_meanwhile(void **state) {
    (void)state;
    struct err err = {0};
    create("t");
    for (int i = 0; i < 3; i++)
        append("t", "a.parquet", 1);
    struct lake_snapshot *old = snapshot("t", -1);
    struct lake_txn *t[2];
    for (int i = 0; i < 2; i++) {
        t[i] = lake_txn_begin(lake, "s", "t", old, NULL);
        add_file(t[i], "b.parquet", 1);
    }
    lake_snapshot_unref(old);
    assert_int_equal(lake_drop_table(lake, "s", "t", &err), ERR_OK);
    assert_int_equal(lake_txn_commit(t[0], NULL, &err), ERR_CONFLICT);
    assert_false(lake_table_exists(lake, "s", "t"));
    create("t");
    assert_int_equal(lake_txn_commit(t[1], NULL, &err), ERR_CONFLICT);
    assert_int_equal(append("t", "c.parquet", 1), 1);
    lake_close(lake); // no entry behind a gap
    lake = lake_open(sys_real(), dir, &err);
    struct lake_snapshot *s = snapshot("t", -1);
    assert_int_equal(lake_snapshot_version(s), 1);
    assert_int_equal(lake_snapshot_rows(s), 1);
    lake_snapshot_unref(s);
    for (int i = 0; i < 2; i++)
        lake_txn_free(t[i]);
    // Made and dropped by another while our first files were written: they are gone.
    assert_int_equal(lake_make_table_dir(lake, "s", "u", &err), ERR_OK);
    struct lake_txn *first = lake_txn_begin(lake, "s", "u", NULL, NULL);
    assert_int_equal(lake_txn_set_schema(first, &two_columns, NULL), ERR_OK);
    add_file(first, "d.parquet", 1);
    create("u");
    assert_int_equal(lake_drop_table(lake, "s", "u", &err), ERR_OK);
    assert_int_equal(lake_txn_commit(first, NULL, &err), ERR_CONFLICT);
    lake_txn_free(first);
    assert_false(lake_table_exists(lake, "s", "u"));
}

static void test_schema_json(void **state) {
    (void)state;
    struct arena a;
    struct buf b;
    struct err err;
    arena_init(&a);
    buf_init(&b, 0);
    static const char json[] =
        "{\"type\":\"struct\",\"fields\":["
        "{\"name\":\"a\",\"type\":\"long\",\"nullable\":false,\"metadata\":{}},"
        "{\"name\":\"d\",\"type\":\"decimal(10,2)\",\"nullable\":true,\"metadata\":{}},"
        "{\"name\":\"t\",\"type\":\"timestamp\",\"nullable\":true,\"metadata\":{}},"
        "{\"name\":\"n\",\"type\":\"timestamp_ntz\",\"nullable\":true,\"metadata\":{}},"
        "{\"name\":\"l\",\"type\":{\"type\":\"array\",\"elementType\":\"string\",\"containsNull\":true},\"nullable\":true,\"metadata\":{}},"
        "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"keyType\":\"string\",\"valueType\":\"integer\",\"valueContainsNull\":false},\"nullable\":"
        "true,\"metadata\":{}},"
        "{\"name\":\"s\",\"type\":{\"type\":\"struct\",\"fields\":[{\"name\":\"x\",\"type\":\"boolean\",\"nullable\":true,\"metadata\":{}}]},"
        "\"nullable\":true,\"metadata\":{}}"
        "]}";
    struct cols_schema *s = lake_schema_from_json(str_c(json), &a, &err);
    assert_non_null(s);
    assert_int_equal(s->n, 7);
    assert_int_equal(s->fields[1].type.precision, 10);
    assert_true(s->fields[2].type.tz);
    assert_false(s->fields[3].type.tz);
    assert_int_equal(lake_schema_to_json(s, &b, &err), ERR_OK);
    assert_string_equal(buf_cstr(&b), json);
    assert_null(lake_schema_from_json(STR("{\"type\":\"struct\",\"fields\":[{\"name\":\"v\",\"type\":\"variant\"}]}"), &a, &err));
    assert_int_equal(err.code, ERR_NOT_SUPPORTED);
    assert_null(lake_schema_from_json(STR("{\"fields\":[{\"type\":\"long\"}]}"), &a, &err));
    assert_int_equal(err.code, ERR_CORRUPT);

    struct cols_field odd[] = {{"u", {.kind = COLS_UINT64}, true}, {"k", {.kind = COLS_UUID}, true}, {"w", {.kind = COLS_UINT8}, true}};
    struct cols_schema *stored = lake_storable_schema(&(struct cols_schema){3, odd}, &a, &err);
    assert_int_equal(stored->fields[0].type.kind, COLS_DECIMAL);
    assert_int_equal(stored->fields[0].type.precision, 20);
    assert_int_equal(stored->fields[1].type.kind, COLS_STRING);
    assert_int_equal(stored->fields[2].type.kind, COLS_INT16);
    odd[0].type.kind = COLS_TIME;
    assert_null(lake_storable_schema(&(struct cols_schema){3, odd}, &a, &err));
    assert_int_equal(err.code, ERR_NOT_SUPPORTED);
    assert_int_equal(lake_schema_to_json(&(struct cols_schema){3, odd}, &b, &err), ERR_NOT_SUPPORTED);
    buf_fini(&b);
    arena_fini(&a);
}

// ---- reading ----------------------------------------------------------------------------------------------------------------
#define LOG0                                                                                                                                  \
    "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n"                                                                         \
    "{\"metaData\":{\"id\":\"u-1\",\"format\":{\"provider\":\"parquet\",\"options\":{}},\"schemaString\":\"{\\\"type\\\":\\\"struct\\\","     \
    "\\\"fields\\\":[{\\\"name\\\":\\\"id\\\",\\\"type\\\":\\\"long\\\",\\\"nullable\\\":true,\\\"metadata\\\":{}},{\\\"name\\\":\\\"p\\\"," \
    "\\\"type\\\":\\\"string\\\",\\\"nullable\\\":true,\\\"metadata\\\":{}}]}\",\"partitionColumns\":[\"p\"],\"configuration\":{\"k\":\"v\"}}}\n"

static void test_replay(void **state) {
    (void)state;
    put_file(
        "s/h/_delta_log/00000000000000000000.json", LOG0
        "{\"add\":{\"path\":\"p=a%20b/one.parquet\",\"partitionValues\":{\"p\":\"a b\"},\"size\":10,\"modificationTime\":1,\"dataChange\":true,"
        "\"stats\":\"{\\\"numRecords\\\":3}\"}}\n{\"txn\":{\"appId\":\"x\",\"version\":7}}\n");
    put_file("s/h/_delta_log/00000000000000000001.json",
             "{\"commitInfo\":{\"timestamp\":1700000000123}}\n"
             "{\"add\":{\"path\":\"two.parquet\",\"partitionValues\":{\"p\":null},\"size\":20,\"modificationTime\":2,\"dataChange\":true}}\n"
             "{\"remove\":{\"path\":\"p=a%20b/one.parquet\",\"deletionTimestamp\":5,\"dataChange\":true}}\n{\"unknownAction\":{}}\n");
    struct lake_snapshot *s0 = snapshot("h", 0), *s1 = snapshot("h", -1);
    assert_int_equal(lake_snapshot_n_files(s0), 1);
    assert_string_equal(lake_snapshot_file(s0, 0)->path, "p=a b/one.parquet");
    assert_string_equal(lake_snapshot_file(s0, 0)->partition_values[0], "a b");
    assert_int_equal(lake_snapshot_rows(s0), 3);
    assert_int_equal(lake_snapshot_app_version(s0, "x"), 7);
    assert_int_equal(lake_snapshot_app_version(s0, "y"), -1);
    assert_string_equal(lake_snapshot_config(s0, "k"), "v");
    assert_string_equal(lake_snapshot_partition_column(s0, 0), "p");
    assert_int_equal(lake_snapshot_version(s1), 1);
    assert_int_equal(lake_snapshot_n_files(s1), 1);
    assert_string_equal(lake_snapshot_file(s1, 0)->path, "two.parquet");
    assert_null(lake_snapshot_file(s1, 0)->partition_values[0]);
    assert_int_equal(lake_snapshot_rows(s1), -1);
    assert_int_equal(lake_snapshot_bytes(s1), 20);
    assert_int_equal(lake_snapshot_time_us(s1), 1700000000123000);
    // Another program commits: the cached snapshot is brought up to date, the old one stays as it was.
    put_file("s/h/_delta_log/00000000000000000002.json", "{\"add\":{\"path\":\"p=a%20b/one.parquet\",\"partitionValues\":{\"p\":\"a "
                                                         "b\"},\"size\":11,\"modificationTime\":3,\"dataChange\":true}}\n");
    struct lake_snapshot *s2 = snapshot("h", -1);
    assert_int_equal(lake_snapshot_n_files(s2), 2);
    assert_int_equal(lake_snapshot_n_files(s1), 1);
    struct err err;
    assert_null(lake_table_snapshot(lake, "s", "h", 9, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_null(lake_table_snapshot(lake, "s", "none", -1, &err));
    assert_int_equal(err.code, ERR_NO_TABLE);
    lake_snapshot_unref(s0);
    lake_snapshot_unref(s1);
    lake_snapshot_unref(s2);
}

static void test_bad_logs(void **state) {
    (void)state;
    struct err err;
    static const struct {
        const char *log;
        enum err_code code;
    } cases[] = {
        {"{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n", ERR_CORRUPT}, // no metaData
        {LOG0 "{\"add\":{\"path\":\"x\"", ERR_CORRUPT},                                    // cut short
        {LOG0 "{\"add\":{\"size\":1}}\n", ERR_CORRUPT},
        {LOG0 "[1]\n", ERR_CORRUPT},
        {LOG0 "{\"protocol\":{\"minReaderVersion\":4,\"minWriterVersion\":7}}\n", ERR_NOT_SUPPORTED},
        {LOG0 "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"typeWidening\"],\"writerFeatures\":[]}}\n",
         ERR_NOT_SUPPORTED},
        {LOG0 "{\"add\":{\"path\":\"x\",\"size\":1,\"deletionVector\":{\"storageType\":\"u\"}}}\n", ERR_NOT_SUPPORTED},
        // As Spark deletes one row: the file with its vector comes, the file without goes, in any order.
        {LOG0 "{\"add\":{\"path\":\"x\",\"size\":1}}\n{\"add\":{\"path\":\"x\",\"size\":1,\"deletionVector\":{\"storageType\":\"u\","
              "\"pathOrInlineDv\":\"ab\",\"offset\":1}}}\n{\"remove\":{\"path\":\"x\"}}\n",
         ERR_NOT_SUPPORTED},
        {"{\"protocol\":{\"minReaderVersion\":2,\"minWriterVersion\":5}}\n{\"metaData\":{\"id\":\"i\",\"schemaString\":\"{\\\"fields\\\":[]}\","
         "\"configuration\":{\"delta.columnMapping.mode\":\"name\"}}}\n",
         ERR_NOT_SUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char table[16], path[64];
        snprintf(table, sizeof table, "bad%zu", i);
        snprintf(path, sizeof path, "s/%s/_delta_log/00000000000000000000.json", table);
        put_file(path, cases[i].log);
        err_clear(&err);
        assert_null(lake_table_snapshot(lake, "s", table, -1, &err));
        assert_int_equal(err.code, cases[i].code);
        assert_true(err.msg[0] != 0);
    }
    put_file("s/gap/_delta_log/00000000000000000000.json", LOG0);
    put_file("s/gap/_delta_log/00000000000000000002.json", "{\"txn\":{\"appId\":\"x\",\"version\":7}}\n");
    assert_null(lake_table_snapshot(lake, "s", "gap", -1, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
}

// ---- committing -------------------------------------------------------------------------------------------------------------
static void test_commit(void **state) {
    (void)state;
    struct err err;
    create("t");
    assert_int_equal(append("t", "a.parquet", 5), 1);
    assert_int_equal(append("t", "odd name+ü%.parquet", 6), 2);
    struct lake_snapshot *s = snapshot("t", -1);
    assert_int_equal(lake_snapshot_n_files(s), 2);
    assert_int_equal(lake_snapshot_rows(s), 11);
    assert_string_equal(lake_snapshot_file(s, 1)->path, "odd name+ü%.parquet");
    assert_int_equal(lake_snapshot_schema(s)->n, 2);
    assert_false(lake_snapshot_schema(s)->fields[0].nullable);

    struct lake_txn *t = lake_txn_begin(lake, "s", "t", s, NULL);
    lake_txn_remove_all(t);
    add_file(t, "b.parquet", 2);
    lake_txn_set_app(t, "job", 41);
    lake_txn_set_config(t, "owner", "me");
    lake_txn_set_info(t, "WRITE", "{\"mode\":\"Overwrite\",\"partitionBy\":[]}");
    assert_int_equal(commit_ok(t), 3);
    struct lake_snapshot *s3 = snapshot("t", -1);
    assert_int_equal(lake_snapshot_n_files(s3), 1);
    assert_int_equal(lake_snapshot_rows(s3), 2);
    assert_int_equal(lake_snapshot_app_version(s3, "job"), 41);
    assert_string_equal(lake_snapshot_config(s3, "owner"), "me");
    assert_string_equal(lake_snapshot_id(s3), lake_snapshot_id(s));
    lake_snapshot_unref(s3);
    lake_snapshot_unref(s);
    s = snapshot("t", 2); // time travel
    assert_int_equal(lake_snapshot_rows(s), 11);
    lake_snapshot_unref(s);

    // Two creators: the second is told.
    t = lake_txn_begin(lake, "s", "t", NULL, NULL);
    assert_int_equal(lake_txn_commit(t, NULL, &err), ERR_INVALID);
    assert_int_equal(lake_txn_set_schema(t, &two_columns, &err), ERR_OK);
    assert_int_equal(lake_txn_commit(t, NULL, &err), ERR_CONFLICT);
    lake_txn_free(t);
    t = lake_txn_begin(lake, "nowhere", "t", NULL, NULL);
    assert_int_equal(lake_txn_set_schema(t, &two_columns, &err), ERR_OK);
    assert_int_equal(lake_txn_commit(t, NULL, &err), ERR_NO_SCHEMA);
    lake_txn_free(t);
}

// Two transactions on the same base; the first commits, then the second, which must end with `expected`.
typedef void build_fn(struct lake_txn *t);
static void append_one(struct lake_txn *t) { add_file(t, "x1.parquet", 1); }
static void append_two(struct lake_txn *t) { add_file(t, "x2.parquet", 1); }
static void overwrite(struct lake_txn *t) {
    lake_txn_remove_all(t);
    add_file(t, "x3.parquet", 1);
}
static void remove_a(struct lake_txn *t) { lake_txn_remove(t, "a.parquet"); }
static void remove_b(struct lake_txn *t) { lake_txn_remove(t, "b.parquet"); }
static void app_one(struct lake_txn *t) {
    append_one(t);
    lake_txn_set_app(t, "app", 1);
}
static void app_other(struct lake_txn *t) {
    append_two(t);
    lake_txn_set_app(t, "other", 1);
}
static void read_and_append(struct lake_txn *t) {
    append_two(t);
    lake_txn_depends_on_table(t);
}
static void set_config(struct lake_txn *t) { lake_txn_set_config(t, "k", "v"); }

static void test_conflicts(void **state) {
    (void)state;
    static const struct {
        build_fn *first, *second;
        enum err_code expected;
        int64_t rows; // afterwards; the table begins with a and b of 10 rows each
    } cases[] = {
        {append_one, append_two, ERR_OK, 22},          {append_one, overwrite, ERR_CONFLICT, 21}, {overwrite, append_two, ERR_OK, 2},
        {overwrite, overwrite, ERR_CONFLICT, 1},       {remove_a, remove_a, ERR_CONFLICT, 10},   {remove_a, remove_b, ERR_OK, 0},
        {remove_a, append_two, ERR_OK, 11},            {app_one, app_one, ERR_CONFLICT, 21},     {app_one, app_other, ERR_OK, 22},
        {append_one, read_and_append, ERR_CONFLICT, 21}, {remove_a, read_and_append, ERR_CONFLICT, 10}, {set_config, append_two, ERR_CONFLICT, 20},
        {append_one, set_config, ERR_OK, 21},          {append_one, remove_a, ERR_OK, 11},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char table[16];
        struct err err = {0};
        snprintf(table, sizeof table, "c%zu", i);
        create(table);
        append(table, "a.parquet", 10);
        append(table, "b.parquet", 10);
        struct lake_snapshot *base = snapshot(table, -1);
        struct lake_txn *first = lake_txn_begin(lake, "s", table, base, NULL), *second = lake_txn_begin(lake, "s", table, base, NULL);
        cases[i].first(first);
        cases[i].second(second);
        assert_int_equal(commit_ok(first), 3);
        int64_t version = -1;
        assert_int_equal(lake_txn_commit(second, &version, &err), cases[i].expected);
        lake_txn_free(second);
        if (cases[i].expected == ERR_OK)
            assert_int_equal(version, 4);
        struct lake_snapshot *after = snapshot(table, -1);
        assert_int_equal(lake_snapshot_rows(after), cases[i].rows);
        lake_snapshot_unref(after);
        lake_snapshot_unref(base);
    }
}

// Real threads, two of them on a lake of their own: every commit is there once.
enum { WRITERS = 4, COMMITS = 25 };
struct writer {
    struct lake *lake;
    int number;
    enum err_code code;
};

static void write_many(void *arg) {
    struct writer *w = arg;
    for (int i = 0; i < COMMITS && w->code == ERR_OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "w%d-%d", w->number, i);
        struct lake_snapshot *base = lake_table_snapshot(w->lake, "s", "many", -1, NULL);
        struct lake_txn *t = base == NULL ? NULL : lake_txn_begin(w->lake, "s", "many", base, NULL);
        w->code = ERR_INTERNAL;
        if (t != NULL) {
            add_file(t, name, 1);
            w->code = lake_txn_commit(t, NULL, NULL);
        }
        lake_txn_free(t);
        lake_snapshot_unref(base);
    }
}

static void test_many_writers(void **state) {
    (void)state;
    struct err err;
    create("many");
    struct lake *other = lake_open(sys_real(), dir, &err);
    struct writer writers[WRITERS];
    struct sys_thread *threads[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){i % 2 == 0 ? lake : other, i, ERR_OK};
        threads[i] = sys_thread_start("writer", write_many, &writers[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        sys_thread_join(threads[i]);
        assert_int_equal(writers[i].code, ERR_OK);
    }
    lake_close(other);
    struct lake_snapshot *s = snapshot("many", -1);
    assert_int_equal(lake_snapshot_version(s), WRITERS * COMMITS);
    assert_int_equal(lake_snapshot_rows(s), WRITERS * COMMITS);
    lake_snapshot_unref(s);
}

static void test_schema_change(void **state) {
    (void)state;
    put_file("s/m/_delta_log/00000000000000000000.json",
             "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n"
             "{\"metaData\":{\"id\":\"u-1\",\"format\":{\"provider\":\"parquet\",\"options\":{}},\"schemaString\":\"{\\\"type\\\":\\\"struct\\\","
             "\\\"fields\\\":"
             "[{\\\"name\\\":\\\"id\\\",\\\"type\\\":\\\"long\\\",\\\"nullable\\\":true,\\\"metadata\\\":{\\\"comment\\\":\\\"key\\\"}}]}\","
             "\"partitionColumns\":[],\"configuration\":{}}}\n");
    struct lake_snapshot *s = snapshot("m", -1);
    struct cols_field wider[] = {{"id", {.kind = COLS_INT64}, true}, {"at", {.kind = COLS_TIMESTAMP, .tz = false}, true}};
    struct lake_txn *t = lake_txn_begin(lake, "s", "m", s, NULL);
    assert_int_equal(lake_txn_set_schema(t, &(struct cols_schema){2, wider}, NULL), ERR_OK);
    commit_ok(t);
    lake_snapshot_unref(s);
    s = snapshot("m", -1);
    assert_int_equal(lake_snapshot_schema(s)->n, 2);
    assert_non_null(strstr(lake_snapshot_schema_json(s), "\"comment\":\"key\""));
    lake_snapshot_unref(s);
    // timestamp_ntz needs the table feature, and the features that version 2 stood for are then named.
    char path[256];
    snprintf(path, sizeof path, "%s/s/m/_delta_log/00000000000000000001.json", dir);
    char *text = sys_read_file(sys_real(), path, 1 << 20, NULL, NULL);
    assert_non_null(strstr(text, "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"timestampNtz\"],"
                                 "\"writerFeatures\":[\"appendOnly\",\"invariants\",\"timestampNtz\"]}}"));
    mem_free(text);
}

static void test_not_writable(void **state) {
    (void)state;
    static const struct {
        const char *extra; // a second metaData's configuration
        enum err_code append, remove;
    } cases[] = {
        {"\"delta.appendOnly\":\"true\"", ERR_OK, ERR_DENIED},
        {"\"delta.enableChangeDataFeed\":\"true\"", ERR_OK, ERR_NOT_SUPPORTED},
        {"\"delta.constraints.positive\":\"id > 0\"", ERR_NOT_SUPPORTED, ERR_NOT_SUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char table[16], path[64], text[2048];
        snprintf(table, sizeof table, "w%zu", i);
        snprintf(path, sizeof path, "s/%s/_delta_log/00000000000000000000.json", table);
        snprintf(text, sizeof text,
                 "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":4}}\n{\"metaData\":{\"id\":\"i\",\"schemaString\":\"{\\\"fields\\\":[{"
                 "\\\"name\\\":"
                 "\\\"id\\\",\\\"type\\\":\\\"long\\\"}]}\",\"partitionColumns\":[],\"configuration\":{%s}}}\n"
                 "{\"add\":{\"path\":\"a.parquet\",\"size\":1,\"partitionValues\":{},\"dataChange\":true}}\n",
                 cases[i].extra);
        put_file(path, text);
        struct lake_snapshot *s = snapshot(table, -1);
        struct lake_txn *t = lake_txn_begin(lake, "s", table, s, NULL);
        add_file(t, "b.parquet", 1);
        assert_int_equal(lake_txn_commit(t, NULL, NULL), cases[i].append);
        lake_txn_free(t);
        t = lake_txn_begin(lake, "s", table, s, NULL);
        lake_txn_remove_all(t);
        assert_int_equal(lake_txn_commit(t, NULL, NULL), cases[i].remove);
        lake_txn_free(t);
        lake_snapshot_unref(s);
    }
}

// ---- pruning ----------------------------------------------------------------------------------------------------------------
static struct cols_field prune_fields[] = {
    {"i", {.kind = COLS_INT64}, true},
    {"s", {.kind = COLS_STRING}, true},
    {"d", {.kind = COLS_DATE}, true},
    {"t", {.kind = COLS_TIMESTAMP, .tz = true}, true},
    {"n", {.kind = COLS_TIMESTAMP}, true},
    {"f", {.kind = COLS_DOUBLE}, true},
    {"b", {.kind = COLS_BOOL}, true},
};

static size_t prune(struct lake_snapshot *s, const char *column, enum lake_op op, enum lake_literal_kind kind, const char *text) {
    struct lake_literal lit = {kind, str_c(text)};
    struct lake_conjunct c = {str_c(column), op, &lit, text == NULL ? 0 : 1};
    size_t out[8];
    return lake_snapshot_prune(s, &c, 1, out);
}

static void test_prune(void **state) {
    (void)state;
    assert_int_equal(lake_make_table_dir(lake, "s", "p", NULL), ERR_OK);
    struct lake_txn *t = lake_txn_begin(lake, "s", "p", NULL, NULL);
    assert_int_equal(lake_txn_set_schema(t, &(struct cols_schema){7, prune_fields}, NULL), ERR_OK);
    lake_txn_add(t, &(struct lake_add){.path = "a",
                                       .size = 1,
                                       .rows = 4,
                                       .stats_json = "{\"numRecords\":4,\"minValues\":{\"i\":1,\"s\":\"apple\",\"d\":\"2024-01-01\",\"t\":\"2024-"
                                                     "01-01T00:00:00.123Z\",\"n\":\"2024-01-01 00:00:00\",\"f\":1.5,\"b\":false},"
                                                     "\"maxValues\":{\"i\":10,\"s\":\"kiwi\",\"d\":\"2024-01-31\",\"t\":\"2024-01-31T00:00:00."
                                                     "123Z\",\"n\":\"2024-01-31 00:00:00\",\"f\":2.5,\"b\":false},"
                                                     "\"nullCount\":{\"i\":0,\"s\":1,\"d\":0,\"t\":0,\"n\":0,\"f\":0,\"b\":0}}"});
    lake_txn_add(t, &(struct lake_add){.path = "b",
                                       .size = 1,
                                       .rows = 2,
                                       .stats_json =
                                           "{\"numRecords\":2,\"minValues\":{\"i\":20},\"maxValues\":{\"i\":20},\"nullCount\":{\"i\":0,\"s\":2}}"});
    lake_txn_add(t, &(struct lake_add){.path = "c", .size = 1, .rows = 2}); // without statistics: never pruned
    commit_ok(t);
    struct lake_snapshot *s = snapshot("p", -1);
    static const struct {
        const char *column;
        enum lake_op op;
        enum lake_literal_kind kind;
        const char *text;
        size_t files; // kept of a, b, c
    } cases[] = {
        {"i", LAKE_EQ, LAKE_LITERAL_NUMBER, "5", 2},
        {"i", LAKE_EQ, LAKE_LITERAL_NUMBER, "15", 1},
        {"i", LAKE_EQ, LAKE_LITERAL_STRING, "15", 1},
        {"i", LAKE_EQ, LAKE_LITERAL_STRING, "1e1", 3},
        {"i", LAKE_GT, LAKE_LITERAL_NUMBER, "10", 2},
        {"i", LAKE_GE, LAKE_LITERAL_NUMBER, "10", 3},
        {"i", LAKE_LT, LAKE_LITERAL_NUMBER, "1", 1},
        {"i", LAKE_LE, LAKE_LITERAL_NUMBER, "1", 2},
        {"i", LAKE_NE, LAKE_LITERAL_NUMBER, "20", 2},
        {"i", LAKE_GT, LAKE_LITERAL_NUMBER, "20.5", 1},
        {"i", LAKE_IS_NULL, 0, NULL, 1},
        {"i", LAKE_IS_NOT_NULL, 0, NULL, 3},
        {"s", LAKE_IS_NULL, 0, NULL, 3},
        {"s", LAKE_IS_NOT_NULL, 0, NULL, 2},
        {"s", LAKE_EQ, LAKE_LITERAL_STRING, "banana", 2},
        {"s", LAKE_EQ, LAKE_LITERAL_STRING, "zebra", 1},
        {"s", LAKE_EQ, LAKE_LITERAL_NUMBER, "5", 2},
        {"s", LAKE_LT, LAKE_LITERAL_STRING, "apple", 2},
        {"d", LAKE_EQ, LAKE_LITERAL_STRING, "2024-01-15", 3},
        {"d", LAKE_GT, LAKE_LITERAL_STRING, "2024-02-01", 2},
        {"d", LAKE_EQ, LAKE_LITERAL_STRING, "soon", 3},
        {"d", LAKE_LT, LAKE_LITERAL_STRING, "2024-01-01", 3},
        {"d", LAKE_LT, LAKE_LITERAL_STRING, "2023-12-31", 2},
        {"t", LAKE_GT, LAKE_LITERAL_STRING, "2024-01-31T00:00:00.123500Z", 3},
        {"t", LAKE_GT, LAKE_LITERAL_STRING, "2024-01-31T00:00:00.125Z", 2},
        {"t", LAKE_GT, LAKE_LITERAL_STRING, "2024-01-31 10:00:00", 3},
        {"t", LAKE_GT, LAKE_LITERAL_STRING, "2024-01-31 16:00:00", 2},
        {"t", LAKE_GT, LAKE_LITERAL_STRING, "2024-01-31 03:00:00+02", 2},
        {"n", LAKE_GT, LAKE_LITERAL_STRING, "2024-01-31 00:00:01", 2},
        {"n", LAKE_EQ, LAKE_LITERAL_STRING, "2024-01-31", 3},
        {"f", LAKE_GT, LAKE_LITERAL_NUMBER, "100", 3},
        {"f", LAKE_LT, LAKE_LITERAL_NUMBER, "1", 2},
        {"b", LAKE_EQ, LAKE_LITERAL_BOOL, "true", 2},
        {"none", LAKE_EQ, LAKE_LITERAL_NUMBER, "1", 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t kept = prune(s, cases[i].column, cases[i].op, cases[i].kind, cases[i].text);
        if (kept != cases[i].files)
            fail_msg("%s op %d %s: kept %zu, not %zu", cases[i].column, cases[i].op, cases[i].text, kept, cases[i].files);
    }
    struct lake_literal list[] = {{LAKE_LITERAL_NUMBER, STR("15")}, {LAKE_LITERAL_NUMBER, STR("20")}};
    struct lake_conjunct both[] = {{STR("i"), LAKE_IN, list, 2}, {STR("i"), LAKE_GE, list, 1}};
    size_t out[8];
    assert_int_equal(lake_snapshot_prune(s, both, 2, out), 2);
    assert_int_equal(out[0], 1);
    assert_int_equal(out[1], 2);
    lake_snapshot_unref(s);
}

static void test_prune_partitions(void **state) {
    (void)state;
    put_file("s/part/_delta_log/00000000000000000000.json",
             LOG0 "{\"add\":{\"path\":\"a\",\"partitionValues\":{\"p\":\"x\"},\"size\":1,\"dataChange\":true}}\n"
                  "{\"add\":{\"path\":\"b\",\"partitionValues\":{\"p\":null},\"size\":1,\"dataChange\":true}}\n");
    struct lake_snapshot *s = snapshot("part", -1);
    assert_int_equal(prune(s, "p", LAKE_EQ, LAKE_LITERAL_STRING, "x"), 1);
    assert_int_equal(prune(s, "p", LAKE_EQ, LAKE_LITERAL_STRING, "y"), 0);
    assert_int_equal(prune(s, "p", LAKE_IS_NULL, 0, NULL), 1);
    assert_int_equal(prune(s, "p", LAKE_IS_NOT_NULL, 0, NULL), 1);
    lake_snapshot_unref(s);
}

// ---- checkpoints ------------------------------------------------------------------------------------------------------------
struct duck {
    duckdb_database db;
    duckdb_connection con;
};

static enum err_code duck_query(struct duck *d, struct str sql, duckdb_result *out, struct err *err) {
    char *text = mem_strndup(sql.p, sql.n);
    duckdb_state state = duckdb_query(d->con, text, out);
    mem_free(text);
    if (state == DuckDBSuccess)
        return ERR_OK;
    err_set(err, ERR_INTERNAL, "%s", duckdb_result_error(out));
    duckdb_destroy_result(out);
    return ERR_INTERNAL;
}

static enum err_code duck_run(void *self, struct str sql, struct err *err) {
    duckdb_result r;
    enum err_code code = duck_query(self, sql, &r, err);
    if (code == ERR_OK)
        duckdb_destroy_result(&r);
    return code;
}

static enum err_code duck_rows(void *self, struct str sql, lake_text_fn *row, void *arg, struct err *err) {
    duckdb_result r;
    enum err_code code = duck_query(self, sql, &r, err);
    if (code != ERR_OK)
        return code;
    for (idx_t i = 0; i < duckdb_row_count(&r) && code == ERR_OK; i++) {
        char *text = duckdb_value_varchar(&r, 0, i);
        code = row(arg, str_c(text), err);
        duckdb_free(text);
    }
    duckdb_destroy_result(&r);
    return code;
}

static void with_duck(struct duck *d) {
    assert_int_equal(duckdb_open(NULL, &d->db), DuckDBSuccess);
    assert_int_equal(duckdb_connect(d->db, &d->con), DuckDBSuccess);
    lake_set_parquet(lake, &(struct lake_parquet){d, duck_run, duck_rows});
}

static void without_duck(struct duck *d) {
    lake_set_parquet(lake, NULL);
    duckdb_disconnect(&d->con);
    duckdb_close(&d->db);
}

static void reopen(const struct lake_parquet *p) {
    struct err err;
    lake_close(lake);
    lake = lake_open(sys_real(), dir, &err);
    lake_set_parquet(lake, p);
}

static void test_checkpoint(void **state) {
    (void)state;
    struct duck d;
    struct err err = {0};
    with_duck(&d);
    create("t");
    for (int i = 1; i <= 12; i++) {
        char path[32];
        snprintf(path, sizeof path, "it's %d.parquet", i);
        struct lake_snapshot *s = snapshot("t", -1);
        struct lake_txn *t = lake_txn_begin(lake, "s", "t", s, NULL);
        if (i == 5)
            lake_txn_remove_all(t);
        add_file(t, path, i);
        lake_txn_set_app(t, "app", i);
        lake_txn_set_config(t, "k", i == 7 ? NULL : "v");
        assert_int_equal(commit_ok(t), i);
        lake_snapshot_unref(s);
    }
    char path[256];
    snprintf(path, sizeof path, "%s/s/t/_delta_log/_last_checkpoint", dir);
    char *text = sys_read_file(sys_real(), path, 4096, NULL, &err);
    assert_non_null(text);
    assert_non_null(strstr(text, "\"version\":10"));
    mem_free(text);
    // The commits before it are no longer needed, and nothing of the writing is left behind.
    for (int i = 0; i <= 10; i++) {
        snprintf(path, sizeof path, "%s/s/t/_delta_log/%020d.json", dir, i);
        assert_int_equal(sys_unlink(sys_real(), path, &err), ERR_OK);
    }
    struct sys_list names;
    snprintf(path, sizeof path, "%s/s/t/_delta_log", dir);
    assert_int_equal(sys_list_dir(sys_real(), path, &names, &err), ERR_OK);
    assert_int_equal(names.n, 4); // checkpoint, two commits, _last_checkpoint
    sys_list_free(&names);
    reopen(&(struct lake_parquet){&d, duck_run, duck_rows});
    struct lake_snapshot *s = snapshot("t", -1);
    assert_int_equal(lake_snapshot_version(s), 12);
    assert_int_equal(lake_snapshot_n_files(s), 8);
    assert_int_equal(lake_snapshot_rows(s), 5 + 6 + 7 + 8 + 9 + 10 + 11 + 12);
    assert_string_equal(lake_snapshot_file(s, 0)->path, "it's 5.parquet");
    assert_int_equal(lake_snapshot_app_version(s, "app"), 12);
    assert_string_equal(lake_snapshot_config(s, "k"), "v");
    assert_int_equal(lake_snapshot_schema(s)->n, 2);
    lake_snapshot_unref(s);
    assert_null(lake_table_snapshot(lake, "s", "t", 4, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    // Without the engine, a log that begins with a checkpoint cannot be read, and says so.
    reopen(NULL);
    assert_null(lake_table_snapshot(lake, "s", "t", -1, &err));
    assert_int_equal(err.code, ERR_NOT_SUPPORTED);
    without_duck(&d);
}

// A damaged checkpoint is passed over when the commits are there.
static void test_checkpoint_damaged(void **state) {
    (void)state;
    struct duck d;
    with_duck(&d);
    create("t");
    for (int i = 1; i <= 10; i++) {
        char path[32];
        snprintf(path, sizeof path, "%d.parquet", i);
        append("t", path, 1);
    }
    put_file("s/t/_delta_log/00000000000000000010.checkpoint.parquet", "PAR1 this is none");
    reopen(&(struct lake_parquet){&d, duck_run, duck_rows});
    struct lake_snapshot *s = snapshot("t", -1);
    assert_int_equal(lake_snapshot_rows(s), 10);
    lake_snapshot_unref(s);
    without_duck(&d);
}

// V2 (JSON with a sidecar) and multi-part checkpoints of other writers.
static void test_checkpoint_kinds(void **state) {
    (void)state;
    struct duck d;
    struct err err = {0};
    char sql[2048];
    with_duck(&d);
    put_file("s/v2/_delta_log/00000000000000000003.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json",
             "{\"checkpointMetadata\":{\"version\":3}}\n"
             "{\"sidecar\":{\"path\":\"side.parquet\",\"sizeInBytes\":1,\"modificationTime\":1}}\n"
             "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"v2Checkpoint\"],\"writerFeatures\":["
             "\"v2Checkpoint\"]}}\n"
             "{\"metaData\":{\"id\":\"i\",\"schemaString\":\"{\\\"fields\\\":[]}\",\"partitionColumns\":[],\"configuration\":{}}}\n");
    put_file("s/v2/_delta_log/_sidecars/x", "");
    snprintf(sql, sizeof sql,
             "copy (select {path: 'a.parquet', \"size\": 7} as add) to '%s/s/v2/_delta_log/_sidecars/side.parquet' (format parquet)", dir);
    assert_int_equal(duck_run(&d, str_c(sql), &err), ERR_OK);
    struct lake_snapshot *s = snapshot("v2", -1);
    assert_int_equal(lake_snapshot_version(s), 3);
    assert_int_equal(lake_snapshot_n_files(s), 1);
    lake_snapshot_unref(s);

    put_file("s/mp/_delta_log/00000000000000000004.json", "{\"add\":{\"path\":\"c.parquet\",\"size\":1}}\n");
    snprintf(sql, sizeof sql,
             "copy (select {path: 'a.parquet', \"size\": 7, stats_parsed: {numRecords: 4}} as add, null::struct(\"minReaderVersion\" int) as "
             "protocol) to"
             " '%s/s/mp/_delta_log/00000000000000000003.checkpoint.0000000001.0000000002.parquet' (format parquet);"
             "copy (select {\"minReaderVersion\": 1, \"minWriterVersion\": 2} as protocol, {id: 'i', \"schemaString\": '{\"fields\":[]}'} as "
             "\"metaData\") to"
             " '%s/s/mp/_delta_log/00000000000000000003.checkpoint.0000000002.0000000002.parquet' (format parquet)",
             dir, dir);
    assert_int_equal(duck_run(&d, str_c(sql), &err), ERR_OK);
    s = snapshot("mp", -1);
    assert_int_equal(lake_snapshot_version(s), 4);
    assert_int_equal(lake_snapshot_n_files(s), 2);
    assert_int_equal(lake_snapshot_file(s, 0)->rows, 4);
    lake_snapshot_unref(s);
    without_duck(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dropped_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_schema_json, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_logs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflicts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_writers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_schema_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_writable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune_partitions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_kinds, setup, teardown),
    };
    return cmocka_run_group_tests_name("lake", tests, NULL, NULL);
}
