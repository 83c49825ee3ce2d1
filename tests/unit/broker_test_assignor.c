// SPDX-License-Identifier: Apache-2.0
// The server-side assignors over random groups: complete, exclusive, only what is subscribed, balanced, and sticky where that is promised.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/consumer_assignor.h"

enum { TOPICS = 6, MEMBERS = 12 };

struct world {
    struct assign_topic topics[TOPICS];
    struct assign_member members[MEMBERS];
    struct partition_set had[MEMBERS];
    uint32_t lists[MEMBERS][TOPICS];
    char ids[MEMBERS][16];
    size_t n_topics, n_members;
    bool same;
};

static uint32_t seed;
static uint32_t rnd(uint32_t n) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static void subscribe(struct world *w, size_t m) {
    w->members[m].topics = w->lists[m];
    w->members[m].n_topics = 0;
    for (uint32_t t = 0; t < w->n_topics; t++)
        if (w->same || rnd(3) > 0) w->lists[m][w->members[m].n_topics++] = t;
}

static void make(struct world *w, bool same) {
    *w = (struct world){.n_topics = 1 + rnd(TOPICS), .n_members = 1 + rnd(MEMBERS - 1), .same = same};
    for (size_t t = 0; t < w->n_topics; t++) w->topics[t] = (struct assign_topic){.id = {(uint8_t)(t + 1)}, .partitions = (int32_t)rnd(20)};
    for (size_t m = 0; m < MEMBERS; m++) {
        (void)snprintf(w->ids[m], sizeof w->ids[m], "m%02zu", m);
        w->members[m] = (struct assign_member){.id = w->ids[m], .current = &w->had[m]};
        subscribe(w, m);
    }
}

static void run(struct world *w, assignor_fn *fn) { // then `had` is the new assignment
    fn(w->topics, w->n_topics, w->members, w->n_members);
    for (size_t m = 0; m < w->n_members; m++) {
        partition_set_sort(&w->members[m].out);
        partition_set_move(&w->had[m], &w->members[m].out);
    }
}

static void end(struct world *w) {
    for (size_t m = 0; m < MEMBERS; m++) partition_set_fini(&w->had[m]);
}

static bool subscribes(const struct world *w, size_t m, size_t t) {
    for (size_t i = 0; i < w->members[m].n_topics; i++)
        if (w->members[m].topics[i] == t) return true;
    return false;
}

static int owner(const struct world *w, size_t t, int32_t p) {
    int found = -1;
    for (size_t m = 0; m < w->n_members; m++)
        for (size_t i = 0; i < w->had[m].n; i++) {
            if (w->had[m].p[i].topic[0] != t + 1 || w->had[m].p[i].partition != p) continue;
            assert_int_equal(found, -1); // exclusive
            found = (int)m;
        }
    return found;
}

static void check_complete(const struct world *w) {
    size_t total = 0, given = 0;
    for (size_t t = 0; t < w->n_topics; t++) {
        bool wanted = false;
        for (size_t m = 0; m < w->n_members; m++) wanted = wanted || subscribes(w, m, t);
        for (int32_t p = 0; p < w->topics[t].partitions; p++) {
            int m = owner(w, t, p);
            assert_int_equal(m >= 0, wanted);
            if (wanted) assert_true(subscribes(w, (size_t)m, t));
            total += wanted;
        }
    }
    for (size_t m = 0; m < w->n_members; m++) given += w->had[m].n;
    assert_int_equal(total, given);
}

static void check_balanced(const struct world *w) { // no partition could go to a member that has two fewer
    for (size_t m = 0; m < w->n_members; m++)
        for (size_t i = 0; i < w->had[m].n; i++)
            for (size_t o = 0; o < w->n_members; o++)
                if (subscribes(w, o, w->had[m].p[i].topic[0] - 1u)) assert_true(w->had[o].n + 1 >= w->had[m].n);
}

static size_t moved(const struct world *w, const struct partition_set *before, size_t n_before) {
    size_t kept = 0, total = 0;
    for (size_t m = 0; m < w->n_members; m++) {
        struct partition_set both = {0};
        if (m < n_before) partition_set_common(&both, &before[m], &w->had[m]);
        kept += both.n;
        total += w->had[m].n;
        partition_set_fini(&both);
    }
    return total - kept;
}

static void test_uniform(void **state) {
    (void)state;
    for (uint32_t round = 0; round < 3000; round++) {
        struct world w;
        struct partition_set before[MEMBERS] = {{0}};
        seed = round;
        make(&w, round % 2 == 0);
        run(&w, assign_uniform);
        check_complete(&w);
        check_balanced(&w);
        for (size_t m = 0; m < w.n_members; m++) partition_set_copy(&before[m], &w.had[m]);
        run(&w, assign_uniform); // nothing changed: nothing moves
        assert_int_equal(moved(&w, before, w.n_members), 0);
        size_t n = w.n_members, largest = 0;
        w.n_members++; // one comes: the others give up no more than it gets
        run(&w, assign_uniform);
        check_complete(&w);
        check_balanced(&w);
        if (w.same) assert_int_equal(moved(&w, before, n), w.had[n].n);
        for (size_t m = 0; m < w.n_members; m++) partition_set_copy(&before[m], &w.had[m]);
        largest = w.had[n].n;
        w.n_members--; // and goes again: only what it had moves
        partition_set_fini(&w.had[n]);
        run(&w, assign_uniform);
        check_complete(&w);
        check_balanced(&w);
        if (w.same) assert_int_equal(moved(&w, before, n), largest);
        for (size_t m = 0; m < MEMBERS; m++) partition_set_fini(&before[m]);
        end(&w);
    }
}

static void test_range(void **state) {
    (void)state;
    for (uint32_t round = 0; round < 1000; round++) {
        struct world w;
        seed = round;
        make(&w, round % 2 == 0);
        run(&w, assign_range);
        check_complete(&w);
        for (size_t m = 0; m < w.n_members; m++)
            for (size_t i = 1; i < w.had[m].n; i++) // neighbours
                if (w.had[m].p[i].topic[0] == w.had[m].p[i - 1].topic[0]) assert_int_equal(w.had[m].p[i].partition, w.had[m].p[i - 1].partition + 1);
        end(&w);
    }
    struct world w;
    seed = 1;
    make(&w, true);
    w.n_topics = 2;
    w.n_members = 2;
    w.topics[0] = (struct assign_topic){.id = {1}, .partitions = 3};
    w.topics[1] = (struct assign_topic){.id = {2}, .partitions = 3};
    for (size_t m = 0; m < 2; m++) subscribe(&w, m);
    w.members[1].instance_id = "static"; // comes first
    run(&w, assign_range);
    assert_int_equal(w.had[1].n, 4); // the same numbers of both topics
    assert_int_equal(w.had[0].n, 2);
    assert_int_equal(w.had[0].p[0].partition, 2);
    assert_int_equal(w.had[0].p[1].partition, 2);
    end(&w);
}

static void test_sets(void **state) {
    (void)state;
    for (uint32_t round = 0; round < 500; round++) {
        struct partition_set a = {0}, b = {0}, common = {0}, minus = {0}, both = {0};
        seed = round;
        for (uint32_t i = rnd(20); i > 0; i--) partition_set_add(&a, (uint8_t[16]){(uint8_t)rnd(3)}, (int32_t)rnd(6));
        for (uint32_t i = rnd(20); i > 0; i--) partition_set_add(&b, (uint8_t[16]){(uint8_t)rnd(3)}, (int32_t)rnd(6));
        partition_set_sort(&a);
        partition_set_sort(&b);
        partition_set_common(&common, &a, &b);
        partition_set_minus(&minus, &a, &b);
        assert_int_equal(common.n + minus.n, a.n);
        assert_true(partition_set_within(&common, &a) && partition_set_within(&common, &b));
        assert_int_equal(partition_set_meets(&a, &b), common.n > 0);
        assert_false(partition_set_meets(&minus, &b));
        partition_set_copy(&both, &minus);
        partition_set_merge(&both, &common);
        assert_true(partition_set_equal(&both, &a));
        struct buf bytes = {0};
        for (size_t i = 0; i < a.n; i++) a.p[i].epoch = (int32_t)rnd(9);
        for (int with = 0; with < 2; with++) {
            buf_clear(&bytes);
            partition_set_put(&bytes, &a, with == 1);
            struct rd r = rd_of(bytes.p, bytes.n);
            partition_set_get(&r, &both, 77);
            assert_true(!r.failed && rd_left(&r) == 0 && partition_set_equal(&both, &a));
            for (size_t i = 0; i < a.n; i++) {
                assert_int_equal(both.p[i].epoch, with == 1 ? a.p[i].epoch : 77);
                assert_ptr_equal(partition_set_find(&both, &a.p[i]), &both.p[i]);
            }
            for (size_t i = 0; i < minus.n; i++) assert_null(partition_set_find(&b, &minus.p[i]));
        }
        partition_set_common(&both, &a, &b);
        for (size_t i = 0; i < both.n; i++) assert_int_equal(both.p[i].epoch, partition_set_find(&a, &both.p[i])->epoch);
        buf_fini(&bytes);
        partition_set_fini(&a), partition_set_fini(&b), partition_set_fini(&common), partition_set_fini(&minus), partition_set_fini(&both);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sets), cmocka_unit_test(test_uniform), cmocka_unit_test(test_range)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
