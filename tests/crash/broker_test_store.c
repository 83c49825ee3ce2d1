// SPDX-License-Identifier: Apache-2.0
// The store of small records with every disk operation as the last one, and with every operation failing once: an acknowledged change is there
// whole, one under way wholly or not at all, nothing else.
#include "crash/crash.h"

#include "broker/store.h"

enum { STEPS = 12, ROUNDS = 3, BIG = 700 << 10 };

struct work {
    int64_t acknowledged, tried;
};

// Step n sets the counter, writes record n and its shadow in another kind, and removes record n - 3. Some are large, so that the file is
// rewritten in the middle.
static enum err_code step(struct store *st, int64_t n, char *pad, struct err *err) {
    char key[32], old[32], count[32];
    (void)snprintf(key, sizeof key, "record-%03lld", (long long)n);
    (void)snprintf(old, sizeof old, "record-%03lld", (long long)n - 3);
    (void)snprintf(count, sizeof count, "%lld", (long long)n);
    memset(pad, (int)('a' + n % 26), BIG);
    struct str value = str_n(pad, n % 3 == 0 ? BIG : 900);
    struct store_change c[] = {
        {STORE_FEATURE, STR("count"), str_c(count), false},
        {STORE_QUOTA, str_c(key), value, false},
        {STORE_ACL, str_c(key), str_n(pad, 3), false},
        {STORE_QUOTA, str_c(old), STR(""), true},
    };
    return store_apply(st, c, 4, err);
}

static int64_t count_of(struct store *st) {
    struct arena a;
    struct str v = {NULL, 0};
    int64_t n = 0;
    arena_init(&a);
    if (store_get(st, STORE_FEATURE, STR("count"), &a, &v)) assert_true(str_to_i64(v, &n));
    arena_fini(&a);
    return n;
}

static void scenario(struct sys *s, void *state) {
    struct work *w = state;
    if (sys_mkdirs(s, "d", NULL) != ERR_OK) return;
    char *pad = mem_alloc(BIG);
    enum err_code code = ERR_OK;
    for (int round = 0; round < ROUNDS && code == ERR_OK; round++) {
        struct err err = {0};
        struct store *st = store_open(s, "d/store", &err);
        if (st == NULL) break;
        for (int i = 0; i < STEPS / ROUNDS && code == ERR_OK; i++) {
            w->tried = w->acknowledged + 1;
            code = step(st, w->tried, pad, &err);
            if (code == ERR_OK) w->acknowledged = w->tried;
            assert_int_equal(count_of(st), w->acknowledged); // memory never runs ahead of the disk
            if (code == ERR_SYNC_FAILED) assert_int_equal(step(st, w->tried, pad, &err), ERR_SYNC_FAILED); // final
        }
        store_close(st);
    }
    mem_free(pad);
}

static void recover(struct sys *s, void *state) {
    (void)state;
    if (sys_exists(s, "d")) store_close(store_open(s, "d/store", NULL));
}

struct seen {
    int64_t first, n;
};

static void see_quota(void *arg, struct str key, struct str value) {
    struct seen *x = arg;
    int64_t n;
    assert_true(str_starts(key, STR("record-")));
    assert_true(str_to_i64(str_n(key.p + 7, key.n - 7), &n));
    assert_int_equal(n, x->first + x->n);
    x->n++;
    assert_int_equal(value.n, n % 3 == 0 ? BIG : 900);
    for (size_t i = 0; i < value.n; i++) assert_int_equal(value.p[i], 'a' + n % 26);
}

static void check_state(struct store *st, int64_t n) {
    struct seen x = {n > 3 ? n - 2 : 1, 0};
    store_each(st, STORE_QUOTA, see_quota, &x);
    assert_int_equal(x.n, n > 3 ? 3 : n);
    assert_int_equal(store_count(st, STORE_ACL), n);
}

static void verify(struct sys *s, void *state) {
    struct work *w = state;
    struct err err = {0};
    char *pad = mem_alloc(BIG);
    assert_int_equal(sys_mkdirs(s, "d", NULL), ERR_OK);
    struct store *st = store_open(s, "d/store", &err);
    if (st == NULL) fail_msg("%s", err.msg);
    int64_t n = count_of(st);
    assert_in_range(n, w->acknowledged, w->tried);
    check_state(st, n);
    assert_int_equal(step(st, n + 1, pad, &err), ERR_OK); // and it works on
    store_close(st);
    sys_sim_reboot(s);
    st = store_open(s, "d/store", &err);
    assert_non_null(st);
    assert_int_equal(count_of(st), n + 1);
    check_state(st, n + 1);
    store_close(st);
    mem_free(pad);
}

static void test_every_operation(void **state) {
    (void)state;
    static const struct crash_test t = {
        .seeds = 2, .state_size = sizeof(struct work), .scenario = scenario, .recover = recover, .verify = verify, .kills = true, .faults = true};
    crash_try_all(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {crash_unit_test(test_every_operation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
