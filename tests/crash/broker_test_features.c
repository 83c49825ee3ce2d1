// SPDX-License-Identifier: Apache-2.0
// The first start of a broker with every disk operation as the last one, and failing once: the start that comes to its end says which levels of
// features the directory begins with, all of them, whatever one before it was told.
#include "crash/broker_server.h"

#include "broker/features.h"

struct work {
    bool opened; // the first start did
};

static const char first[] = "group.version=0,streams.version=0", second[] = "transaction.version=1";

static bool has(struct broker *b, int group, int transaction, int streams) {
    return broker_feature_level(b, FEATURE_GROUP) == group && broker_feature_level(b, FEATURE_TRANSACTION) == transaction &&
           broker_feature_level(b, FEATURE_STREAMS) == streams;
}

static void scenario(struct sys *s, void *state) {
    struct work *w = state;
    struct server v = {0};
    w->opened = server_start(&v, s, NULL, 0, first);
    if (w->opened) assert_true(has(v.broker, 0, 2, 0));
    server_stop(&v);
}

static void verify(struct sys *s, void *state) {
    const struct work *w = state;
    bool firsts = false;
    for (int round = 0; round < 2; round++) { // what the second start found or made is there for the third
        struct server v = {0};
        if (!server_start(&v, s, NULL, 0, round == 0 ? second : NULL)) fail_msg("%s", why);
        bool ours = has(v.broker, 0, 2, 0), theirs = has(v.broker, 1, 1, 1);
        if (!ours && !theirs) fail_msg("levels of neither start, or of both");
        assert_true(ours || !w->opened);
        if (round == 0) firsts = ours;
        else assert_true(firsts == ours);
        server_stop(&v);
    }
}

static void test(void **state) {
    (void)state;
    static const struct crash_test t = {.seeds = 6, .state_size = sizeof(struct work), .scenario = scenario, .verify = verify, .kills = true, .faults = true};
    crash_try_all(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {crash_unit_test(test)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
