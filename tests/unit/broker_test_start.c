// SPDX-License-Identifier: Apache-2.0
// What the broker refuses to start with: wrong values and values that contradict each other, told with the place where they were given.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "broker/broker.h"
#include "unit/broker_fixture.h"

enum { CONFIGS = 3 };

static struct broker *open_with(struct fixture *f, const struct broker_kv configs[CONFIGS], const char *const *places, const char *features, struct err *err) {
    size_t n = 0;
    while (n < CONFIGS && configs[n].name != NULL) n++;
    struct broker_config c = {.dir = f->dir, .node_id = 1, .default_partitions = 1, .max_partitions = 100, .configs = configs, .n_configs = n, .places = places,
                              .features = features, .features_place = "--set"};
    return broker_open(f->sys, &c, f->loops, 2, f->pool, err);
}

static void refused(struct fixture *f, const struct broker_kv configs[CONFIGS], const char *const *places, const char *features, const char *message) {
    struct err err = {0};
    assert_null(open_with(f, configs, places, features, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_string_equal(err.msg, message);
}

static void test_places(void **state) {
    struct fixture *f = *state;
    const struct broker_kv good = {"num.io.threads", "3"}, bad = {"message.max.bytes", "many"};
    fixture_close(f, true);
    assert_int_equal(sys_remove_tree(f->sys, f->dir, NULL), ERR_OK);
    refused(f, (const struct broker_kv[CONFIGS]){good, bad}, (const char *const[]){"server.properties:1", "server.properties:4"}, NULL,
            "server.properties:4: Invalid value many for configuration message.max.bytes: Not a number of type INT");
    refused(f, (const struct broker_kv[CONFIGS]){good, bad}, (const char *const[]){"server.properties:1", NULL}, NULL,
            "Invalid value many for configuration message.max.bytes: Not a number of type INT");
    refused(f, (const struct broker_kv[CONFIGS]){good}, (const char *const[]){"server.properties:1"}, "group.version=7",
            "--set: broker.features: Invalid update version 7 for feature group.version. Local controller 1 only supports versions 0-1");
}

static void test_relations(void **state) {
    struct fixture *f = *state;
    static const struct {
        struct broker_kv configs[CONFIGS];
        const char *const places[CONFIGS], *message;
    } cases[] = {
        {{{"group.consumer.heartbeat.interval.ms", "1000"}}, {"p:1"},
         "p:1: group.consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms: they are 1000 and 5000 (the "
         "default); change one of them"},
        {{{"group.consumer.min.heartbeat.interval.ms", "6000"}}, {"p:1"},
         "p:1: group.consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms: they are 5000 (the default) and "
         "6000; change one of them"},
        {{{"group.consumer.min.heartbeat.interval.ms", "7"}, {"group.consumer.max.heartbeat.interval.ms", "6"}}, {"p:1", "p:2"},
         "p:2: group.consumer.max.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms: they are 6 and 7, given at "
         "p:1; change one of them"},
        {{{"group.consumer.session.timeout.ms", "70000"}}, {NULL},
         "group.consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms: they are 70000 and 60000 (the default); "
         "change one of them"},
        {{{"group.consumer.min.session.timeout.ms", "5000"}, {"group.consumer.session.timeout.ms", "5000"}}, {"p:1", "p:2"},
         "p:2: group.consumer.heartbeat.interval.ms must be less than group.consumer.session.timeout.ms: they are 5000 (the default) and 5000; change one of "
         "them"},
        {{{"group.share.assignment.interval.ms", "15001"}}, {"p:1"},
         "p:1: group.share.assignment.interval.ms must be less than or equal to group.share.max.assignment.interval.ms: they are 15001 and 15000 (the "
         "default); change one of them"},
        {{{"group.share.max.share.sessions", "199"}}, {"p:1"},
         "p:1: group.share.max.share.sessions must be greater than or equal to group.share.max.size: they are 199 and 200 (the default); change one of them"},
        {{{"group.share.max.record.lock.duration.ms", "30000"}, {"group.share.record.lock.duration.ms", "30001"}}, {"p:1", "p:2"},
         "p:1: group.share.max.record.lock.duration.ms must be greater than or equal to group.share.record.lock.duration.ms: they are 30000 and 30001, given at "
         "p:2; change one of them"},
        {{{"group.streams.max.assignment.interval.ms", "999"}}, {"p:1"},
         "p:1: group.streams.assignment.interval.ms must be less than or equal to group.streams.max.assignment.interval.ms: they are 1000 (the default) and "
         "999; change one of them"},
        {{{"group.streams.num.standby.replicas", "3"}}, {"p:1"},
         "p:1: group.streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas: they are 3 and 2 (the default); change one "
         "of them"},
    };
    fixture_close(f, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refused(f, cases[i].configs, cases[i].places, NULL, cases[i].message);
    const struct broker_kv edges[CONFIGS] = {{"group.consumer.heartbeat.interval.ms", "15000"}, {"group.consumer.session.timeout.ms", "60000"},
                                             {"group.share.record.lock.duration.ms", "15000"}};
    f->broker = open_with(f, edges, NULL, NULL, NULL); // the bounds themselves
    assert_non_null(f->broker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_places, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_relations, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
