// SPDX-License-Identifier: Apache-2.0
// The configuration: every kind of value, the precedence of the sources, and messages that name key, place and mend.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/json.h"
#include "server/config.h"
#include "server/datadir.h"
#include "server/properties.h"
#include "server/version.h"
#include "sys/sys.h"

static void expect_bad(const char *key_is_value, const char *part) {
    struct config c;
    struct err err;
    config_init(&c);
    err_clear(&err);
    assert_int_equal(config_set_flag(&c, key_is_value, &err), ERR_CONFIG);
    if (strstr(err.msg, part) == NULL) fail_msg("\"%s\" is not in \"%s\"", part, err.msg);
    config_fini(&c);
}

static void expect_num(const char *key_is_value, enum config_id id, int64_t n) {
    struct config c;
    config_init(&c);
    assert_int_equal(config_set_flag(&c, key_is_value, NULL), ERR_OK);
    assert_int_equal(config_num(&c, id), n);
    config_fini(&c);
}

static enum err_code load_properties(const char *text, struct config *c, struct arena *a, struct properties *out, struct err *err) {
    char path[] = "/tmp/millrace-properties-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    enum err_code code = properties_load(sys_real(), path, c, a, out, err);
    unlink(path);
    return code;
}

static void test_kafkas_properties(void **state) {
    (void)state;
    struct config c;
    struct arena a = {0};
    struct properties p;
    config_init(&c);
    assert_int_equal(config_set_flag(&c, "broker.node_id=5", NULL), ERR_OK);
    assert_int_equal(load_properties("# ours\n\nnum.partitions = 3\r\nnode.id=7\nlog.retention.ms=1\nno.such.config=x\n!\nlog.retention.ms: 2", &c, &a, &p, NULL),
                     ERR_OK);
    assert_int_equal(p.n, 1);
    assert_string_equal(p.p[0].name, "log.retention.ms");
    assert_string_equal(p.p[0].value, "2");
    assert_non_null(strstr(p.places[0], "broker.properties=/"));
    assert_string_equal(strrchr(p.places[0], ':'), ":8"); // of the line that counts
    assert_string_equal(config_place(&c, CFG_BROKER_NODE_ID), "--set");
    assert_string_equal(strrchr(config_place(&c, CFG_BROKER_PARTITIONS), ':'), ":3");
    assert_string_equal(config_place(&c, CFG_BROKER_FEATURES), "default");
    assert_int_equal(config_num(&c, CFG_BROKER_PARTITIONS), 3);
    assert_int_equal(config_num(&c, CFG_BROKER_NODE_ID), 5); // the flag is stronger
    struct err err = {0};
    assert_int_equal(load_properties("a=1\nwhat", &c, &a, &p, &err), ERR_CONFIG);
    assert_non_null(strstr(err.msg, ":2: name=value"));
    assert_int_equal(load_properties("num.partitions=no", &c, &a, &p, &err), ERR_CONFIG);
    arena_fini(&a);
    config_fini(&c);
}

static void test_defaults_are_those_that_scripts_rely_on(void **state) {
    (void)state;
    struct config c;
    config_init(&c);
    assert_string_equal(config_text(&c, CFG_KAFKA_LISTEN), "127.0.0.1:9092");
    assert_string_equal(config_text(&c, CFG_REGISTRY_LISTEN), "127.0.0.1:8081");
    assert_string_equal(config_text(&c, CFG_SPARK_LISTEN), "127.0.0.1:15002");
    assert_string_equal(config_text(&c, CFG_PG_LISTEN), "127.0.0.1:5439");
    assert_string_equal(config_text(&c, CFG_HTTP_LISTEN), "127.0.0.1:8080");
    config_resolve(&c, "/srv/mill");
    assert_string_equal(config_text(&c, CFG_FLOW_DAGS), "/srv/mill/dags");
    config_fini(&c);
}

static void test_values_by_kind(void **state) {
    (void)state;
    expect_num("engine.memory_limit=512MB", CFG_ENGINE_MEMORY_LIMIT, 512000000);
    expect_num("engine.memory_limit = 2 GiB", CFG_ENGINE_MEMORY_LIMIT, 2LL << 30);
    expect_num("engine.memory_limit=12345", CFG_ENGINE_MEMORY_LIMIT, 12345);
    expect_num("broker.auto_create_topics=no", CFG_BROKER_AUTO_CREATE, 0);
    expect_num("flow.parallelism=32", CFG_FLOW_PARALLELISM, 32);
    expect_bad("engine.memory_limit=2 parsecs", "must be a size, not \"2 parsecs\"");
    expect_bad("engine.memory_limit=99999999999TB", "must be a size");
    expect_bad("flow.parallelism=0", "must be from 1 to 256, not 0");
    expect_bad("flow.parallelism=4x", "must be a whole number");
    expect_bad("log.level=loud", "must be one of debug|info|warn|error, not \"loud\"");
    expect_bad("broker.auto_create_topics=maybe", "must be a true or false");
    expect_bad("kafka.listen=9092", "must be a host:port or off");
    expect_bad("kafka.listen=host:99999", "must be a host:port or off");
    expect_bad("kafka.listen=::1:80", "must be a host:port or off");
    expect_bad("kafka.listen", "write key=value");
}

static void test_listen(void **state) {
    (void)state;
    struct config c;
    char host[256];
    int port;
    config_init(&c);
    assert_true(config_listen(&c, CFG_KAFKA_LISTEN, host, &port));
    assert_string_equal(host, "127.0.0.1");
    assert_int_equal(port, 9092);
    assert_int_equal(config_set_flag(&c, "kafka.listen=[::1]:0", NULL), ERR_OK);
    assert_true(config_listen(&c, CFG_KAFKA_LISTEN, host, &port));
    assert_string_equal(host, "::1");
    assert_int_equal(port, 0);
    assert_int_equal(config_set_flag(&c, "kafka.listen=off", NULL), ERR_OK);
    assert_false(config_listen(&c, CFG_KAFKA_LISTEN, host, &port));
    config_fini(&c);
}

static void test_unknown_keys_name_the_nearest(void **state) {
    (void)state;
    expect_bad("kafka.listn=x", "did you mean kafka.listen?");
    expect_bad("flow.paralelism=3", "did you mean flow.parallelism?");
    expect_bad("engine.memory=3", "--set: unknown key engine.memory; did you mean engine.memory_limit?");
    expect_bad("zzzz=3", "--set: unknown key zzzz; millrace config --describe lists all"); // nothing is near
    expect_bad("=3", "unknown key ;");
}

static void load(struct config *c, struct sys *s, const char *yaml, enum err_code want, const char *part) {
    struct err err;
    err_clear(&err);
    assert_int_equal(sys_write_file(s, "m.yaml", str_c(yaml), NULL), ERR_OK);
    assert_int_equal(config_load_file(c, s, "m.yaml", &err), want);
    if (part != NULL && strstr(err.msg, part) == NULL) fail_msg("\"%s\" is not in \"%s\"", part, err.msg);
}

static void test_file_and_precedence(void **state) {
    (void)state;
    struct sys *s = sys_real();
    struct config c;
    config_init(&c);
    static const char *const env[] = {"HOME=/", "MILLRACE_LOG_LEVEL=warn", "MILLRACE_FLOW_PARALLELISM=3", NULL};
    assert_int_equal(config_set_flag(&c, "flow.parallelism=5", NULL), ERR_OK); // the order of loading does not matter
    assert_int_equal(config_load_env(&c, env, NULL), ERR_OK);
    load(&c, s, "kafka:\n  listen: 127.0.0.1:1\nlog.level: error\nflow: {parallelism: 2, scan_seconds: 7}\nbroker.auto_create_topics: false\n",
         ERR_OK, NULL);
    assert_string_equal(config_text(&c, CFG_KAFKA_LISTEN), "127.0.0.1:1");
    assert_string_equal(config_text(&c, CFG_LOG_LEVEL), "warn");
    assert_int_equal(config_num(&c, CFG_FLOW_PARALLELISM), 5);
    assert_int_equal(config_num(&c, CFG_FLOW_SCAN_SECONDS), 7);
    assert_false(config_bool(&c, CFG_BROKER_AUTO_CREATE));
    assert_int_equal(c.values[CFG_KAFKA_LISTEN].source, CONFIG_FROM_FILE);
    assert_int_equal(c.values[CFG_LOG_LEVEL].source, CONFIG_FROM_ENV);
    load(&c, s, "", ERR_OK, NULL);
    load(&c, s, "kafka:\n  listne: x\n", ERR_CONFIG, "m.yaml: unknown key kafka.listne; did you mean kafka.listen?");
    load(&c, s, "flow:\n  parallelism: many\n", ERR_CONFIG, "m.yaml: flow.parallelism must be a whole number, not \"many\"");
    load(&c, s, "flow: [1, 2]\n", ERR_CONFIG, "m.yaml: unknown key flow");
    load(&c, s, "flow: {\n", ERR_CONFIG, "line 2, column 1");
    load(&c, s, "just text\n", ERR_CONFIG, "a mapping of keys to values is expected");
    struct err err;
    static const char *const bad_env[] = {"MILLRACE_FLOW_PARALLELISM=no", NULL};
    assert_int_equal(config_load_env(&c, bad_env, &err), ERR_CONFIG);
    assert_non_null(strstr(err.msg, "environment MILLRACE_FLOW_PARALLELISM: flow.parallelism"));
    assert_int_equal(config_load_file(&c, s, "absent.yaml", &err), ERR_CONFIG);
    assert_non_null(strstr(err.msg, "absent.yaml"));
    config_fini(&c);
}

static void test_data_directory(void **state) {
    (void)state;
    struct sys *s = sys_real();
    struct err err;
    err_clear(&err);
    struct sys_file *lock = datadir_open(s, "a/b", &err);
    assert_non_null(lock);
    assert_null(datadir_open(s, "a/b", &err)); // while it is locked
    assert_int_equal(err.code, ERR_LOCKED);
    char *who = mem_printf("a/b is used by another millrace, process %d", (int)getpid());
    assert_non_null(strstr(err.msg, who));
    mem_free(who);
    sys_close(lock);
    lock = datadir_open(s, "a/b", &err); // again: it is ours
    assert_non_null(lock);
    sys_close(lock);
    assert_int_equal(sys_write_file(s, "a/b/version", STR("999\n"), &err), ERR_OK);
    assert_null(datadir_open(s, "a/b", &err));
    assert_int_equal(err.code, ERR_VERSION);
    assert_non_null(strstr(err.msg, "a/b is of layout version 999"));
    assert_non_null(strstr(err.msg, "use a newer millrace"));
    assert_int_equal(sys_write_file(s, "a/b/version", STR("x"), &err), ERR_OK);
    assert_null(datadir_open(s, "a/b", &err));
    assert_int_equal(err.code, ERR_VERSION);
    assert_int_equal(sys_mkdirs(s, "c/log", &err), ERR_OK); // data of something else
    assert_null(datadir_open(s, "c", &err));
    assert_int_equal(err.code, ERR_VERSION);
}

static char folder[] = "/tmp/config_test_XXXXXX";

static int enter_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int remove_folder(void **state) {
    (void)state;
    return chdir("/") != 0 || sys_remove_tree(sys_real(), folder, NULL) != ERR_OK;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_those_that_scripts_rely_on),
        cmocka_unit_test(test_kafkas_properties), cmocka_unit_test(test_values_by_kind), cmocka_unit_test(test_listen),
        cmocka_unit_test(test_unknown_keys_name_the_nearest),           cmocka_unit_test(test_file_and_precedence),
        cmocka_unit_test(test_data_directory),
    };
    return cmocka_run_group_tests_name("config", tests, enter_folder, remove_folder);
}
