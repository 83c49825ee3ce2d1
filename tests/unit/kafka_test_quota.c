// SPDX-License-Identifier: Apache-2.0
// Quotas: Kafka's rate and throttle formulas, the order of the most specific, buckets of topic changes, addresses, refusals, restarts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "broker/store.h"
#include "kafka/quota.h"
#include "sys/sim.h"
#include "unit/kafka_stub_dynamic.h"

enum { SECOND = 1000000 };

struct fixture {
    struct sys *sys;
    struct store *store;
    struct quotas quotas;
};

static int setup(void **state) {
    struct fixture *f = MEM_NEW(struct fixture);
    f->sys = sys_sim_new(1);
    f->store = store_open(f->sys, "store", NULL);
    quotas_init(&f->quotas, NULL, f->store);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    quotas_fini(&f->quotas);
    store_close(f->store);
    sys_sim_free(f->sys);
    mem_free(f);
    return 0;
}

#define NAMED(s) ((struct quota_part){true, STR(s)})
#define ANY ((struct quota_part){true, {NULL, 0}})

static enum err_code set(struct fixture *f, struct quota_entity e, const char *key, double value) {
    struct err err = {0};
    struct quota_op op = {str_c(key), value, value == 0};
    return quotas_alter(&f->quotas, &e, &op, 1, false, &err);
}

// The numbers are those of Kafka's own ClientQuotaManagerTest: 10 windows of a second are full, the eleventh runs.
static void test_rate(void **state) {
    (void)state;
    struct quota_rate r;
    double elapsed;
    int64_t now = SECOND * 100;
    quota_rate_init(&r, 11, 1000, now);
    for (int i = 0; i < 10; i++) {
        quota_rate_record(&r, 400, now);
        now += SECOND;
    }
    assert_float_equal(quota_rate_value(&r, now, &elapsed), 400, 0.01);
    assert_int_equal(quota_rate_throttle(&r, 500, now), 0);
    now += SECOND / 2; // half a second: 10.5 seconds in all, 4000 + 2300 bytes = 600 a second
    quota_rate_record(&r, 2300, now);
    assert_float_equal(quota_rate_value(&r, now, &elapsed), 600, 0.01);
    assert_int_equal(quota_rate_throttle(&r, 500, now), 2100); // (600 - 500) / 500 * 10.5 s
    for (int i = 0; i < 12; i++) {
        quota_rate_record(&r, 0, now);
        now += SECOND;
    }
    assert_int_equal(quota_rate_throttle(&r, 500, now), 0);
    quota_rate_fini(&r);
}

static void test_order(void **state) {
    struct fixture *f = *state;
    struct str alice = STR("alice"), bob = STR("bob"), app = STR("app"), other = STR("other");
    assert_false(quotas_active(&f->quotas));
    assert_int_equal(quotas_record(&f->quotas, QUOTA_PRODUCE, alice, app, 1e12, SECOND), 0);
    assert_int_equal(set(f, (struct quota_entity){.client = ANY}, "consumer_byte_rate", 8), ERR_OK);
    assert_true(quotas_active(&f->quotas));
    assert_int_equal(quotas_fetch_max(&f->quotas, bob, other), 80);
    assert_int_equal(set(f, (struct quota_entity){.client = NAMED("app")}, "consumer_byte_rate", 7), ERR_OK);
    assert_int_equal(quotas_fetch_max(&f->quotas, bob, app), 70);
    assert_int_equal(set(f, (struct quota_entity){.user = ANY}, "consumer_byte_rate", 6), ERR_OK);
    assert_int_equal(quotas_fetch_max(&f->quotas, bob, app), 60);
    assert_int_equal(set(f, (struct quota_entity){.user = ANY, .client = ANY}, "consumer_byte_rate", 5), ERR_OK);
    assert_int_equal(quotas_fetch_max(&f->quotas, bob, app), 50);
    assert_int_equal(set(f, (struct quota_entity){.user = ANY, .client = NAMED("app")}, "consumer_byte_rate", 4), ERR_OK);
    assert_int_equal(quotas_fetch_max(&f->quotas, bob, app), 40);
    assert_int_equal(quotas_fetch_max(&f->quotas, bob, other), 50);
    assert_int_equal(set(f, (struct quota_entity){.user = NAMED("bob")}, "consumer_byte_rate", 3), ERR_OK);
    assert_int_equal(quotas_fetch_max(&f->quotas, bob, app), 30);
    assert_int_equal(quotas_fetch_max(&f->quotas, alice, app), 40);
    assert_int_equal(set(f, (struct quota_entity){.user = NAMED("bob"), .client = ANY}, "consumer_byte_rate", 2), ERR_OK);
    assert_int_equal(quotas_fetch_max(&f->quotas, bob, app), 20);
    assert_int_equal(set(f, (struct quota_entity){.user = NAMED("bob"), .client = NAMED("app")}, "consumer_byte_rate", 1), ERR_OK);
    assert_int_equal(quotas_fetch_max(&f->quotas, bob, app), 10);
    // Another kind of quota on the most specific entity hides nothing.
    assert_int_equal(set(f, (struct quota_entity){.user = NAMED("carl"), .client = NAMED("app")}, "producer_byte_rate", 1), ERR_OK);
    assert_int_equal(quotas_fetch_max(&f->quotas, STR("carl"), app), 40);
}

static void test_whom_it_counts_for(void **state) {
    struct fixture *f = *state;
    assert_int_equal(set(f, (struct quota_entity){.user = ANY}, "producer_byte_rate", 100), ERR_OK);
    assert_int_equal(quotas_record(&f->quotas, QUOTA_PRODUCE, STR("alice"), STR("a"), 1000, SECOND), 0);
    assert_true(quotas_record(&f->quotas, QUOTA_PRODUCE, STR("alice"), STR("b"), 1000, SECOND) > 0); // all her clients together
    assert_int_equal(quotas_record(&f->quotas, QUOTA_PRODUCE, STR("bob"), STR("b"), 1000, SECOND), 0); // each user alone
    assert_int_equal(quotas_record_fetch(&f->quotas, STR("alice"), STR("a"), 1e9, SECOND), 0); // no quota of that kind
    assert_int_equal(set(f, (struct quota_entity){.user = ANY}, "consumer_byte_rate", 100), ERR_OK);
    assert_true(quotas_record_fetch(&f->quotas, STR("alice"), STR("a"), 5000, SECOND) > 0);
    assert_int_equal(quotas_record_fetch(&f->quotas, STR("alice"), STR("a"), 1000, SECOND), 0); // what was not sent was not counted
    assert_int_equal(set(f, (struct quota_entity){.user = ANY}, "request_percentage", 1), ERR_OK);
    assert_int_equal(quotas_record(&f->quotas, QUOTA_REQUEST, STR("alice"), STR("a"), 100000, SECOND), 1000); // one window at most
}

static void test_topic_changes(void **state) {
    struct fixture *f = *state;
    int64_t ms, now = SECOND;
    struct str u = STR("u"), c = STR("c");
    assert_int_equal(set(f, (struct quota_entity){.user = NAMED("u")}, "controller_mutation_rate", 1), ERR_OK);
    assert_true(quotas_mutate(&f->quotas, u, c, 20, true, now, &ms)); // a full bucket of 11 lets a large one through
    assert_int_equal(ms, 0);
    assert_false(quotas_mutate(&f->quotas, u, c, 1, true, now, &ms)); // and is then 9 short
    assert_int_equal(ms, 9000);
    now += 8 * SECOND;
    assert_false(quotas_mutate(&f->quotas, u, c, 1, true, now, &ms));
    assert_int_equal(ms, 1000);
    assert_true(quotas_mutate(&f->quotas, u, c, 1, false, now, &ms)); // old versions are let through and wait
    assert_int_equal(ms, 2000);
    now += 2 * SECOND;
    assert_true(quotas_mutate(&f->quotas, u, c, 1, true, now, &ms));
}

static void test_addresses(void **state) {
    struct fixture *f = *state;
    assert_int_equal(quotas_connection(&f->quotas, STR("10.0.0.1"), SECOND), 0);
    assert_int_equal(set(f, (struct quota_entity){.ip = ANY}, "connection_creation_rate", 1), ERR_OK);
    assert_false(quotas_active(&f->quotas)); // requests are not concerned
    for (int i = 0; i < 10; i++) assert_int_equal(quotas_connection(&f->quotas, STR("10.0.0.1"), SECOND), 0);
    assert_true(quotas_connection(&f->quotas, STR("10.0.0.1"), SECOND) > 0);
    assert_int_equal(quotas_connection(&f->quotas, STR("10.0.0.2"), SECOND), 0);
    assert_int_equal(set(f, (struct quota_entity){.ip = NAMED("10.0.0.1")}, "connection_creation_rate", 100), ERR_OK);
    assert_int_equal(quotas_connection(&f->quotas, STR("10.0.0.1"), SECOND), 0);
}

static void test_refusals(void **state) {
    struct fixture *f = *state;
    struct quota_entity user = {.user = NAMED("u")};
    assert_int_equal(set(f, (struct quota_entity){0}, "producer_byte_rate", 1), ERR_INVALID);
    assert_int_equal(set(f, (struct quota_entity){.user = ANY, .ip = ANY}, "producer_byte_rate", 1), ERR_INVALID);
    static const char *const addresses[] = {"1.2.3.4", "255.255.255.255", "::1", "::", "1::", "2001:db8::7", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4"};
    static const char *const no_addresses[] = {"host", "", "1.2.3", "1.2.3.4.5", "1.2.3.4.5.6", "1.2.3.256", "1..3.4", "1.2.3.4.", "-1.2.3.4", ".", ":", ":::", "1:",
                                               ":1", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8", "12345::", "g::", "::1.2.3", "1.2.3.4::"};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        assert_int_equal(set(f, (struct quota_entity){.ip = {true, str_c(addresses[i])}}, "connection_creation_rate", 1), ERR_OK);
    for (size_t i = 0; i < sizeof no_addresses / sizeof *no_addresses; i++)
        assert_int_equal(set(f, (struct quota_entity){.ip = {true, str_c(no_addresses[i])}}, "connection_creation_rate", 1), ERR_INVALID);
    assert_int_equal(set(f, (struct quota_entity){.ip = ANY}, "producer_byte_rate", 1), ERR_INVALID);
    assert_int_equal(set(f, user, "connection_creation_rate", 1), ERR_INVALID);
    assert_int_equal(set(f, user, "speed", 1), ERR_INVALID);
    assert_int_equal(set(f, user, "producer_byte_rate", -1), ERR_INVALID);
    assert_int_equal(set(f, user, "producer_byte_rate", NAN), ERR_INVALID);
    assert_int_equal(set(f, user, "producer_byte_rate", 1.5), ERR_INVALID);
    assert_int_equal(set(f, user, "request_percentage", 1.5), ERR_OK);
}

static void count(void *arg, const struct quota_entity *e, const double values[QUOTA_KEYS]) {
    int *n = arg;
    (*n)++;
    assert_true(e->user.set && e->client.set && !e->ip.set);
    assert_true(str_eqc(e->user.name, "a\nb=c"));
    assert_null(e->client.name.p);
    assert_float_equal(values[QUOTA_PRODUCE], 12345, 0);
    assert_true(isnan(values[QUOTA_FETCH]));
}

static void test_restart(void **state) {
    struct fixture *f = *state;
    int n = 0;
    struct quota_entity e = {.user = NAMED("a\nb=c"), .client = ANY};
    assert_int_equal(set(f, e, "producer_byte_rate", 12345), ERR_OK);
    assert_int_equal(set(f, (struct quota_entity){.user = NAMED("gone")}, "producer_byte_rate", 1), ERR_OK);
    assert_int_equal(set(f, (struct quota_entity){.user = NAMED("gone")}, "producer_byte_rate", 0), ERR_OK);
    quotas_fini(&f->quotas);
    store_close(f->store);
    f->store = store_open(f->sys, "store", NULL);
    quotas_init(&f->quotas, NULL, f->store);
    assert_true(quotas_active(&f->quotas));
    quotas_each(&f->quotas, count, &n);
    assert_int_equal(n, 1);
    assert_int_equal(set(f, e, "producer_byte_rate", 0), ERR_OK);
    assert_false(quotas_active(&f->quotas));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_whom_it_counts_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_topic_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
