// SPDX-License-Identifier: Apache-2.0
// Configs changed while the broker runs: sources and synonyms, what topics inherit, refusals, restarts, groups, subscriptions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/dynamic.h"
#include "unit/broker_fixture.h"

static enum err_code set(struct fixture *f, enum broker_resource kind, const char *name, const char *config, const char *value, struct err *err) {
    struct broker_kv kv = {config, value};
    return broker_resource_alter(f->broker, kind, str_c(name), &kv, 1, false, err);
}

static const struct broker_config_entry *entry(const struct broker_config_entry *e, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(e[i].name, name) == 0) return &e[i];
    fail_msg("no config %s", name);
    return e;
}

static const struct broker_config_entry *described(struct fixture *f, struct arena *a, enum broker_resource kind, const char *name, const char *config) {
    struct broker_config_entry *e;
    size_t n = broker_resource_describe(f->broker, kind, str_c(name), a, &e);
    return entry(e, n, config);
}

static void assert_config(struct fixture *f, const char *config, const char *value, int source) {
    struct arena a;
    arena_init(&a);
    const struct broker_config_entry *e = described(f, &a, RESOURCE_BROKER_SELF, "1", config);
    assert_non_null(e);
    assert_string_equal(e->value, value);
    assert_int_equal(e->source, source);
    assert_int_equal(e->synonyms[0].source, source);
    arena_fini(&a);
}

// As with Kafka: it follows the one in hours, and tells none of its own.
static void assert_no_default(struct fixture *f, const char *name, int64_t in_force) {
    struct arena a;
    arena_init(&a);
    const struct broker_config_entry *e = described(f, &a, RESOURCE_BROKER_SELF, "1", name);
    assert_true(e->value == NULL && e->source == 5 && e->n_synonyms == 0);
    assert_int_equal(broker_config_i64(f->broker, name, -7), in_force);
    arena_fini(&a);
}

static void test_layers(void **state) {
    struct fixture *f = *state;
    struct err err = {0};
    assert_config(f, "log.segment.bytes", "1048576", 4); // the fixture gives it
    assert_no_default(f, "log.retention.ms", 604800000);
    assert_int_equal(set(f, RESOURCE_BROKER_DEFAULT, "", "log.retention.ms", "1000", &err), ERR_OK);
    assert_config(f, "log.retention.ms", "1000", 3);
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", "log.retention.ms", "2000", &err), ERR_OK);
    assert_config(f, "log.retention.ms", "2000", 2);
    assert_int_equal(broker_config_i64(f->broker, "log.retention.ms", -7), 2000);
    fixture_restart(f, true);
    assert_config(f, "log.retention.ms", "2000", 2);
    struct arena a;
    arena_init(&a);
    const struct broker_config_entry *e = described(f, &a, RESOURCE_BROKER_SELF, "1", "log.retention.ms");
    assert_int_equal(e->n_synonyms, 2);
    assert_false(e->read_only);
    assert_true(described(f, &a, RESOURCE_BROKER_SELF, "1", "node.id")->read_only);
    assert_true(described(f, &a, RESOURCE_BROKER_SELF, "1", "ssl.key.password")->sensitive);
    struct broker_config_entry *all;
    size_t n = broker_resource_describe(f->broker, RESOURCE_BROKER_SELF, STR("1"), &a, &all);
    assert_true(n > 340); // every one of Kafka's
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++) assert_string_not_equal(all[i].name, all[k].name);
    assert_int_equal(broker_resource_describe(f->broker, RESOURCE_BROKER_DEFAULT, STR(""), &a, &all), 1);
    assert_string_equal(all[0].value, "1000");
    arena_fini(&a);
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", "log.retention.ms", NULL, &err), ERR_OK);
    assert_int_equal(set(f, RESOURCE_BROKER_DEFAULT, "", "log.retention.ms", NULL, &err), ERR_OK);
    assert_no_default(f, "log.retention.ms", 604800000);
}

// Topics that do not set it themselves take the new value at once.
static void test_topics_inherit(void **state) {
    struct fixture *f = *state;
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    struct broker_kv own = {"max.message.bytes", "500"};
    assert_int_equal(broker_topic_create(f->broker, "own", 1, &own, 1, false, NULL, NULL, &err), ERR_OK);
    assert_int_equal(broker_topic_create(f->broker, "inherits", 1, NULL, 0, false, NULL, NULL, &err), ERR_OK);
    assert_int_equal(set(f, RESOURCE_BROKER_DEFAULT, "", "message.max.bytes", "100", &err), ERR_OK);
    char big[150] = "x";
    struct broker_record r = {.value = str_n(big, sizeof big), .key_null = true, .timestamp_ms = -1};
    int64_t offset;
    assert_int_equal(broker_append(f->broker, "inherits", 0, &r, 1, &offset, &err), ERR_TOO_LARGE);
    assert_int_equal(broker_append(f->broker, "own", 0, &r, 1, &offset, &err), ERR_OK);
    struct broker_config_entry *e;
    size_t n;
    assert_int_equal(broker_topic_configs(f->broker, "inherits", &a, &e, &n, &err), ERR_OK);
    const struct broker_config_entry *m = entry(e, n, "max.message.bytes");
    assert_string_equal(m->value, "100");
    assert_int_equal(m->source, 3);
    assert_string_equal(m->synonyms[0].name, "message.max.bytes");
    assert_int_equal(set(f, RESOURCE_BROKER_DEFAULT, "", "message.max.bytes", NULL, &err), ERR_OK);
    assert_int_equal(broker_append(f->broker, "inherits", 0, &r, 1, &offset, &err), ERR_OK);
    arena_fini(&a);
}

static void test_refusals(void **state) {
    struct fixture *f = *state;
    struct err err = {0};
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", "node.id", "2", &err), ERR_INVALID); // read-only
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", "no.such.config", "2", &err), ERR_INVALID);
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", "message.max.bytes", "-2", &err), ERR_INVALID);
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", "message.max.bytes", "many", &err), ERR_INVALID);
    assert_int_equal(set(f, RESOURCE_BROKER_DEFAULT, "", "ssl.keystore.type", "PEM", &err), ERR_INVALID); // one broker's
    struct broker_kv two[] = {{"message.max.bytes", "1000"}, {"log.retention.ms", "soon"}};
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_BROKER_SELF, STR("1"), two, 2, false, &err), ERR_INVALID);
    assert_config(f, "message.max.bytes", "1048588", 5); // nothing of it
    assert_int_equal(broker_resource_alter(f->broker, RESOURCE_BROKER_SELF, STR("1"), two, 1, true, &err), ERR_OK);
    assert_config(f, "message.max.bytes", "1048588", 5); // only validated
    assert_int_equal(set(f, RESOURCE_GROUP, "", "consumer.session.timeout.ms", "50000", &err), ERR_INVALID);
    assert_int_equal(set(f, RESOURCE_GROUP, "g", "session", "50000", &err), ERR_CONFIG);
    assert_int_equal(set(f, RESOURCE_GROUP, "g", "consumer.session.timeout.ms", "1000", &err), ERR_CONFIG); // below the broker's least
    assert_int_equal(set(f, RESOURCE_GROUP, "g", "share.isolation.level", "none", &err), ERR_CONFIG);
    assert_int_equal(set(f, RESOURCE_GROUP, "g", "share.auto.offset.reset", "by_duration:P1D", &err), ERR_OK);
    struct buf far;
    buf_init(&far, 0);
    buf_puts(&far, "by_duration:P");
    for (int i = 0; i < 200; i++) buf_puts(&far, "1000000000D"); // more than can be counted
    assert_int_equal(set(f, RESOURCE_GROUP, "g", "share.auto.offset.reset", buf_cstr(&far), &err), ERR_CONFIG);
    buf_fini(&far);
    assert_int_equal(set(f, RESOURCE_CLIENT_METRICS, "m", "interval.ms", "99", &err), ERR_INVALID);
    assert_int_equal(set(f, RESOURCE_CLIENT_METRICS, "m", "what", "99", &err), ERR_INVALID);
    assert_int_equal(set(f, RESOURCE_CLIENT_METRICS, "m", "interval.ms", "99", &err), ERR_INVALID);
    assert_int_equal(set(f, RESOURCE_CLIENT_METRICS, "m", "interval.ms", "bbb", &err), ERR_CONFIG);
    assert_int_equal(set(f, RESOURCE_CLIENT_METRICS, "m", "match", "client_id=a,colour=red", &err), ERR_CONFIG);
    assert_int_equal(set(f, RESOURCE_CLIENT_METRICS, "m", "match", "client_id=a[", &err), ERR_CONFIG);
}

// Limits of replication are no configs of a server's file: taken by a running broker, and told only then.
static void test_throttles(void **state) {
    struct fixture *f = *state;
    struct err err = {0};
    struct arena a;
    struct broker_config_entry *e;
    arena_init(&a);
    const char *config = "leader.replication.throttled.rate";
    size_t before = broker_resource_describe(f->broker, RESOURCE_BROKER_SELF, STR("1"), &a, &e);
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", config, "-1", &err), ERR_INVALID);
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", config, "1000", &err), ERR_OK);
    assert_int_equal(broker_resource_describe(f->broker, RESOURCE_BROKER_SELF, STR("1"), &a, &e), before + 1);
    assert_config(f, config, "1000", 2);
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", config, NULL, &err), ERR_OK);
    assert_int_equal(broker_resource_describe(f->broker, RESOURCE_BROKER_SELF, STR("1"), &a, &e), before);
    arena_fini(&a);
}

static void test_groups_and_subscriptions(void **state) {
    struct fixture *f = *state;
    struct err err = {0};
    struct arena a;
    struct str *names;
    arena_init(&a);
    assert_int_equal(broker_group_config_i64(f->broker, STR("g"), "consumer.session.timeout.ms", -1), 45000);
    assert_int_equal(set(f, RESOURCE_GROUP, "g", "consumer.session.timeout.ms", "50000", &err), ERR_OK);
    assert_int_equal(broker_group_config_i64(f->broker, STR("g"), "consumer.session.timeout.ms", -1), 50000);
    assert_int_equal(broker_group_config_i64(f->broker, STR("h"), "consumer.session.timeout.ms", -1), 45000);
    assert_int_equal(set(f, RESOURCE_CLIENT_METRICS, "m", "metrics", "org.apache.kafka.producer.,x", &err), ERR_OK);
    fixture_restart(f, false);
    assert_int_equal(broker_group_config_i64(f->broker, STR("g"), "consumer.session.timeout.ms", -1), 50000);
    const struct broker_config_entry *e = described(f, &a, RESOURCE_GROUP, "g", "consumer.session.timeout.ms");
    assert_int_equal(e->source, 8);
    e = described(f, &a, RESOURCE_CLIENT_METRICS, "m", "metrics");
    assert_string_equal(e->value, "org.apache.kafka.producer.,x");
    assert_int_equal(e->source, 7);
    assert_int_equal(broker_resource_names(f->broker, RESOURCE_CLIENT_METRICS, &a, &names), 1);
    assert_int_equal(set(f, RESOURCE_CLIENT_METRICS, "m", "metrics", NULL, &err), ERR_OK); // nothing left: gone
    assert_int_equal(broker_resource_names(f->broker, RESOURCE_CLIENT_METRICS, &a, &names), 0);
    arena_fini(&a);
}

// A group's config comes from the group, from this broker, from all brokers, from the start or is the default: each level is told.
static void test_group_synonyms(void **state) {
    struct fixture *f = *state;
    struct err err = {0};
    struct arena a;
    arena_init(&a);
    const char *config = "consumer.assignment.interval.ms", *above = "group.consumer.assignment.interval.ms";
    const struct broker_config_entry *e = described(f, &a, RESOURCE_GROUP, "g", config);
    assert_int_equal(e->n_synonyms, 1);
    assert_string_equal(e->synonyms[0].name, above);
    assert_int_equal(e->source, 5);
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", above, "1500", &err), ERR_OK);
    assert_int_equal(set(f, RESOURCE_BROKER_DEFAULT, "", above, "2000", &err), ERR_OK);
    e = described(f, &a, RESOURCE_GROUP, "g", config);
    assert_string_equal(e->value, "1500");
    assert_int_equal(e->source, 2);
    assert_int_equal(set(f, RESOURCE_GROUP, "g", config, "3000", &err), ERR_OK);
    e = described(f, &a, RESOURCE_GROUP, "g", config);
    assert_string_equal(e->value, "3000");
    static const int sources[] = {8, 2, 3, 5};
    assert_int_equal(e->n_synonyms, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(e->synonyms[i].source, sources[i]);
        assert_string_equal(e->synonyms[i].name, i == 0 ? config : above);
    }
    e = described(f, &a, RESOURCE_GROUP, "g", "share.auto.offset.reset"); // no broker config above it
    assert_int_equal(e->n_synonyms, 1);
    assert_string_equal(e->synonyms[0].name, "share.auto.offset.reset");
    arena_fini(&a);
}

// Each config has one row. The limits of groups are read when the broker opens, and so refused while it runs, as Kafka refuses them.
static void test_one_row_each(void **state) {
    struct fixture *f = *state;
    struct arena a;
    struct broker_config_entry *e;
    struct err err = {0};
    arena_init(&a);
    size_t n = broker_resource_describe(f->broker, RESOURCE_BROKER_SELF, STR("1"), &a, &e);
    assert_true(n > 300);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(e[i].name, e[k].name) == 0) fail_msg("%s has two rows", e[i].name);
    static const char *const store = "listener.name.ssl.ssl.keystore.location";
    assert_int_equal(set(f, RESOURCE_BROKER_DEFAULT, "", store, "a.pem", &err), ERR_INVALID); // one broker's
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", "ssl.keystore.location", "a.pem", &err), ERR_INVALID); // one listener's
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", "listener.name..ssl.keystore.location", "a.pem", &err), ERR_INVALID);
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", "listener.name.ssl.listeners", "a.pem", &err), ERR_INVALID);
    static const char *const fixed[] = {"group.consumer.max.size", "group.consumer.assignors", "group.max.size", "group.streams.max.size"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        assert_true(entry(e, n, fixed[i])->read_only);
        assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", fixed[i], "7", &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, "Cannot update these configs dynamically"));
    }
    assert_int_equal(set(f, RESOURCE_BROKER_SELF, "1", "group.consumer.assignment.interval.ms", "7", &err), ERR_OK);
    arena_fini(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layers, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_topics_inherit, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_throttles, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_groups_and_subscriptions, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_one_row_each, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_group_synonyms, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
