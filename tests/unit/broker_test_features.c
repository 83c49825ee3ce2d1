// SPDX-License-Identifier: Apache-2.0
// Features: what Kafka's controller allows and refuses, in its words; levels and epoch over restarts; what a new data directory begins with.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "broker/broker.h"
#include "broker/features.h"
#include "broker/store.h"
#include "unit/broker_fixture.h"

static enum err_code change_to(struct fixture *f, const char *name, int16_t level, int8_t change, bool validate_only, const char *message) {
    const struct broker_feature_update u = {str_c(name), level, change};
    struct err err = {0};
    enum err_code code = broker_features_update(f->broker, &u, 1, validate_only, &err);
    if (message != NULL) assert_string_equal(err.msg, message);
    return code;
}

static void check(struct fixture *f, int64_t epoch, int group, int transaction, int share, int streams, int metadata) {
    struct broker_feature_info all[FEATURES];
    assert_int_equal(broker_features(f->broker, all), epoch);
    assert_int_equal(all[FEATURE_GROUP].level, group);
    assert_int_equal(all[FEATURE_TRANSACTION].level, transaction);
    assert_int_equal(all[FEATURE_SHARE].level, share);
    assert_int_equal(all[FEATURE_STREAMS].level, streams);
    assert_int_equal(all[FEATURE_METADATA].level, metadata);
    for (int i = 0; i < FEATURES; i++) assert_int_equal(all[i].level, broker_feature_level(f->broker, (enum broker_feature)i));
}

static void test_levels(void **state) {
    struct fixture *f = *state;
    check(f, 1, 1, 2, 2, 1, 33);
    assert_int_equal(change_to(f, "group.version", 1, FEATURE_UPGRADE, false, ""), ERR_OK); // as it is
    check(f, 1, 1, 2, 2, 1, 33);
    assert_int_equal(change_to(f, "group.version", 0, FEATURE_SAFE_DOWNGRADE, true, ""), ERR_OK); // asked only
    check(f, 1, 1, 2, 2, 1, 33);
    assert_int_equal(change_to(f, "group.version", 0, FEATURE_SAFE_DOWNGRADE, false, ""), ERR_OK);
    assert_int_equal(change_to(f, "transaction.version", 1, FEATURE_UNSAFE_DOWNGRADE, false, ""), ERR_OK);
    check(f, 3, 0, 1, 2, 1, 33);
    const struct broker_feature_update two[] = {{STR("share.version"), 1, FEATURE_SAFE_DOWNGRADE}, {STR("group.version"), 1, FEATURE_UPGRADE}};
    assert_int_equal(broker_features_update(f->broker, two, 2, false, NULL), ERR_OK);
    check(f, 4, 1, 1, 1, 1, 33);
    fixture_restart(f, false);
    check(f, 4, 1, 1, 1, 1, 33);
}

static void test_refusals(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *name;
        int16_t level;
        int8_t change;
        const char *message;
    } cases[] = {
        {"group.version", 2, FEATURE_UPGRADE, "Invalid update version 2 for feature group.version. Local controller 1 only supports versions 0-1"},
        {"group.version", -1, FEATURE_UPGRADE, "Invalid update version -1 for feature group.version. A feature version cannot be less than 0."},
        {"group.version", 0, FEATURE_UPGRADE,
         "Invalid update version 0 for feature group.version. Can't downgrade the version of this feature without setting the upgrade type to either safe or "
         "unsafe downgrade."},
        {"group.version", 0, 0, "Invalid update version 0 for feature group.version. The controller does not support the given upgrade type."},
        {"group.version", 0, 4, "Invalid update version 0 for feature group.version. The controller does not support the given upgrade type."},
        {"kraft.version", 1, FEATURE_UPGRADE, "Invalid update version 1 for feature kraft.version. Local controller 1 does not support this feature."},
        {"no.such", 1, FEATURE_UPGRADE, "Invalid update version 1 for feature no.such. Local controller 1 does not support this feature."},
        {"no.such", 0, FEATURE_UPGRADE, "Invalid update version 0 for feature no.such. Feature no.such not found."},
        {"metadata.version", 34, FEATURE_UPGRADE, "Invalid update version 34 for feature metadata.version. Local controller 1 only supports versions 7-33"},
        {"metadata.version", 32, FEATURE_SAFE_DOWNGRADE,
         "Unsupported metadata.version downgrade from 33 to 32. Refusing to perform the requested downgrade because it might delete metadata information."},
        {"metadata.version", 7, FEATURE_UNSAFE_DOWNGRADE,
         "Unsupported metadata.version downgrade from 33 to 7. Unsafe metadata downgrade is not supported in this version."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int only = 0; only < 2; only++)
            assert_int_equal(change_to(f, cases[i].name, cases[i].level, cases[i].change, only == 1, cases[i].message), ERR_INVALID);
    const struct broker_feature_update two[] = {{STR("group.version"), 0, FEATURE_SAFE_DOWNGRADE}, {STR("share.version"), 9, FEATURE_UPGRADE}};
    assert_int_equal(broker_features_update(f->broker, two, 2, false, NULL), ERR_INVALID); // all or none
    assert_int_equal(change_to(f, "transaction.version", 1, FEATURE_SAFE_DOWNGRADE, false, ""), ERR_OK);
    assert_int_equal(change_to(f, "transaction.version", 2, FEATURE_SAFE_DOWNGRADE, false,
                               "Invalid update version 2 for feature transaction.version. Can't downgrade to a newer version."), ERR_INVALID);
    check(f, 2, 1, 1, 2, 1, 33);
}

static struct broker *open_with(struct fixture *f, const char *features, struct err *err) {
    struct broker_config c = {.dir = f->dir, .node_id = 1, .default_partitions = 1, .max_partitions = 10000, .features = features};
    return broker_open(f->sys, &c, f->loops, 2, f->pool, err);
}

static void test_begin(void **state) {
    struct fixture *f = *state;
    static const char *const wrong[][2] = {
        {"group.version", "broker.features: what a new data directory begins with is written name=level,...: group.version"},
        {"group.version=x", "broker.features: what a new data directory begins with is written name=level,...: group.version=x"},
        {"group.version=2", "broker.features: Invalid update version 2 for feature group.version. Local controller 1 only supports versions 0-1"},
        {"metadata.version=21,eligible.leader.replicas.version=1", "broker.features: Invalid update version 1 for feature eligible.leader.replicas.version. eligible.leader.replicas.version could "
                                "not be set to 1 because it depends on metadata.version level 23"},
    };
    fixture_close(f, true);
    static const struct {
        const char *release;
        int group, transaction, share, streams, metadata;
    } releases[] = {{"metadata.version=21", 0, 0, 0, 0, 21}, {"metadata.version=25", 1, 2, 0, 0, 25}, {"metadata.version=33,streams.version=0", 1, 2, 2, 0, 33}};
    for (size_t i = 0; i < sizeof releases / sizeof *releases; i++) {
        assert_int_equal(sys_remove_tree(f->sys, f->dir, NULL), ERR_OK);
        f->broker = open_with(f, releases[i].release, NULL);
        assert_non_null(f->broker);
        check(f, 1, releases[i].group, releases[i].transaction, releases[i].share, releases[i].streams, releases[i].metadata);
        fixture_close(f, false);
    }
    assert_int_equal(sys_remove_tree(f->sys, f->dir, NULL), ERR_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct err err = {0};
        assert_null(open_with(f, wrong[i][0], &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_string_equal(err.msg, wrong[i][1]);
    }
    f->broker = open_with(f, "group.version=0,transaction.version=1,metadata.version=31", NULL);
    assert_non_null(f->broker);
    check(f, 1, 0, 1, 1, 1, 31); // what is not named is as in the release of that metadata.version
    fixture_close(f, false);
    f->broker = open_with(f, "group.version=1", NULL); // it is not new
    assert_non_null(f->broker);
    check(f, 1, 0, 1, 1, 1, 31);
    assert_int_equal(change_to(f, "metadata.version", 30, FEATURE_SAFE_DOWNGRADE, false, ""), ERR_OK); // 31 left Kafka's metadata log as it was
    assert_int_equal(change_to(f, "metadata.version", 29, FEATURE_SAFE_DOWNGRADE, false,
                               "Unsupported metadata.version downgrade from 30 to 29. Refusing to perform the requested downgrade because it might delete "
                               "metadata information."), ERR_INVALID);
    assert_int_equal(change_to(f, "metadata.version", 33, FEATURE_UPGRADE, false, ""), ERR_OK);
    check(f, 3, 0, 1, 1, 1, 33);
    assert_int_equal(change_to(f, "eligible.leader.replicas.version", 0, FEATURE_SAFE_DOWNGRADE, false, ""), ERR_OK);
    const struct store_change later = {STORE_FEATURE, STR("streams.version"), STR("9"), false};
    assert_int_equal(store_apply(broker_store(f->broker), &later, 1, NULL), ERR_OK);
    fixture_close(f, true);
    struct err err = {0};
    assert_null(open_with(f, NULL, &err)); // as a later version left it
    assert_int_equal(err.code, ERR_VERSION);
}

// As a start leaves it that was killed before its version file.
static void forget_version(struct fixture *f) {
    fixture_close(f, false);
    char *path = mem_printf("%s/version", f->dir);
    assert_int_equal(sys_unlink(f->sys, path, NULL), ERR_OK);
    mem_free(path);
}

static void test_begin_again(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *features;
        int group, transaction, share, streams;
    } starts[] = {{"group.version=0,streams.version=0", 0, 2, 2, 0}, {"transaction.version=1", 1, 1, 2, 1}, {"", 1, 2, 2, 1},
                  {"share.version=1", 1, 2, 1, 1},                   {NULL, 1, 2, 2, 1},                    {"group.version=0", 0, 2, 2, 1}};
    fixture_close(f, true);
    assert_int_equal(sys_remove_tree(f->sys, f->dir, NULL), ERR_OK);
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        if (i > 0) forget_version(f);
        f->broker = open_with(f, starts[i].features, NULL);
        assert_non_null(f->broker);
        check(f, 1, starts[i].group, starts[i].transaction, starts[i].share, starts[i].streams, 33);
    }
    assert_int_equal(change_to(f, "transaction.version", 1, FEATURE_SAFE_DOWNGRADE, false, ""), ERR_OK);
    forget_version(f); // a directory that was whole, and lost its file
    f->broker = open_with(f, "share.version=1", NULL);
    assert_non_null(f->broker);
    check(f, 2, 0, 1, 2, 1, 33);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_levels, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_begin, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_begin_again, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
