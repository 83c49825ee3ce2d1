// SPDX-License-Identifier: Apache-2.0
// The store of small records: order, replacement, removal, limits, damage, a full disk.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "broker/store.h"
#include "sys/sim.h"

static void list(void *arg, struct str key, struct str value) {
    char *out = arg;
    size_t n = strlen(out);
    (void)snprintf(out + n, 1000 - n, "%.*s=%.*s ", STR_ARG(key), STR_ARG(value));
}

static void assert_listed(struct store *st, enum store_kind kind, const char *want) {
    char out[1000] = "";
    store_each(st, kind, list, out);
    assert_string_equal(out, want);
}

static void set(struct store *st, enum store_kind kind, const char *key, const char *value) {
    struct store_change c = {kind, str_c(key), str_c(value), value == NULL};
    assert_int_equal(store_apply(st, &c, 1, NULL), ERR_OK);
}

static void test_changes_and_reopening(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(1);
    struct err err = {0};
    struct store *st = store_open(s, "store", &err);
    assert_non_null(st);
    assert_false(sys_exists(s, "store")); // nothing kept, nothing made
    set(st, STORE_ACL, "b", "2");
    set(st, STORE_ACL, "a", "1");
    set(st, STORE_ACL, "c", "");
    set(st, STORE_QUOTA, "a", "quota");
    set(st, STORE_ACL, "b", "22");
    set(st, STORE_ACL, "nothing", NULL);
    assert_listed(st, STORE_ACL, "a=1 b=22 c= ");
    set(st, STORE_ACL, "a", NULL);
    store_close(st);
    st = store_open(s, "store", &err);
    assert_non_null(st);
    assert_listed(st, STORE_ACL, "b=22 c= ");
    assert_listed(st, STORE_QUOTA, "a=quota ");
    struct arena a;
    arena_init(&a);
    struct str v;
    assert_true(store_get(st, STORE_QUOTA, STR("a"), &a, &v));
    assert_true(str_eqc(v, "quota"));
    assert_false(store_get(st, STORE_QUOTA, STR("b"), &a, &v));
    arena_fini(&a);
    assert_int_equal(store_count(st, STORE_ACL), 2);
    store_close(st);
    sys_sim_free(s);
}

static void test_too_large(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(1);
    struct store *st = store_open(s, "store", NULL);
    char *big = mem_zalloc((1 << 20) + 1);
    struct store_change c[] = {{STORE_ACL, STR("a"), STR("1"), false}, {STORE_ACL, STR("b"), str_n(big, (1 << 20) + 1), false}};
    assert_int_equal(store_apply(st, c, 2, NULL), ERR_TOO_LARGE);
    assert_int_equal(store_count(st, STORE_ACL), 0); // all or nothing
    struct store_change many[17];
    for (int i = 0; i < 17; i++) many[i] = (struct store_change){STORE_ACL, str_n(big, (size_t)i), str_n(big, 1 << 20), false};
    assert_int_equal(store_apply(st, many, 17, NULL), ERR_TOO_LARGE);
    assert_int_equal(store_apply(st, many, 15, NULL), ERR_OK);
    assert_int_equal(store_count(st, STORE_ACL), 15);
    mem_free(big);
    store_close(st);
    sys_sim_free(s);
}

static void test_damage(void **state) {
    (void)state;
    for (uint64_t at = 0; at < 150; at++) {
        struct sys *s = sys_sim_new(1);
        struct err err = {0};
        struct store *st = store_open(s, "store", &err);
        set(st, STORE_ACL, "first", "an acknowledged one");
        set(st, STORE_ACL, "second", "another one");
        set(st, STORE_ACL, "last", "x");
        store_close(st);
        size_t size;
        mem_free(sys_read_file(s, "store", 1 << 20, &size, NULL));
        if (at < size) {
            sys_sim_corrupt(s, "store", at);
            st = store_open(s, "store", &err);
            bool last = at >= size - (12 + 10 + 5); // a damaged last change cannot be told from an unfinished one
            if (last) assert_listed(st, STORE_ACL, "first=an acknowledged one second=another one ");
            else assert_null(st);
            if (!last) assert_int_equal(err.code, ERR_CORRUPT);
            store_close(st);
        }
        sys_sim_free(s);
    }
}

static void test_full_disk(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(1);
    struct err err = {0};
    struct store *st = store_open(s, "store", &err);
    set(st, STORE_ACL, "a", "1");
    sys_sim_disk_size(s, 100);
    struct store_change c = {STORE_ACL, STR("b"), STR("a value that has no room on this small disk, and that is so by intention"), false};
    assert_int_equal(store_apply(st, &c, 1, &err), ERR_NO_SPACE);
    assert_listed(st, STORE_ACL, "a=1 ");
    store_close(st);
    st = store_open(s, "store", &err); // no room for a second file either
    assert_non_null(st);
    assert_listed(st, STORE_ACL, "a=1 ");
    sys_sim_disk_size(s, 0);
    assert_int_equal(store_apply(st, &c, 1, &err), ERR_OK); // and it goes on when there is
    store_close(st);
    st = store_open(s, "store", &err);
    assert_int_equal(store_count(st, STORE_ACL), 2);
    store_close(st);
    sys_sim_free(s);
}

// The file stays small when the same records change again and again.
static void test_rewriting(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(1);
    struct store *st = store_open(s, "store", NULL);
    char *pad = mem_zalloc(100000);
    for (int i = 0; i < 200; i++) {
        struct store_change c = {STORE_ACL, str_n(i % 2 == 0 ? "a" : "b", 1), str_n(pad, 100000), false};
        assert_int_equal(store_apply(st, &c, 1, NULL), ERR_OK);
        struct sys_stat stat;
        assert_int_equal(sys_stat(s, "store", &stat, NULL), ERR_OK);
        assert_true(stat.size < 1300000);
    }
    mem_free(pad);
    store_close(st);
    sys_sim_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes_and_reopening), cmocka_unit_test(test_too_large), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_full_disk),             cmocka_unit_test(test_rewriting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
