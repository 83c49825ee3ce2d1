// SPDX-License-Identifier: Apache-2.0
// Sources of /metrics: a scrape that waits inside one keeps no other scrape waiting, and a source that was removed is not inside any more.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>

#include "loop/loop.h"
#include "loop/metric_sources.h"

struct slow {
    struct loop_event entered, go;
    atomic_int calls, inside;
};

static void render_slow(void *arg, struct buf *out) { // the first call waits for `go`
    struct slow *s = arg;
    atomic_fetch_add(&s->inside, 1);
    if (atomic_fetch_add(&s->calls, 1) == 0) {
        loop_event_set(&s->entered);
        loop_event_wait(&s->go);
    }
    buf_puts(out, "slow 1\n");
    atomic_fetch_sub(&s->inside, 1);
}

static void render_quick(void *arg, struct buf *out) { buf_puts(out, arg); }

static void scrape(void *arg) { metric_sources_render(arg); }

static void remove_slow(void *arg) {
    metric_sources_remove(render_slow, arg);
    assert_int_equal(atomic_load(&((struct slow *)arg)->inside), 0);
}

static void test_sources(void **state) {
    (void)state;
    struct slow s = {0};
    struct buf first = {0}, second = {0}, last = {0};
    char text[] = "quick 2\n";
    loop_event_init(&s.entered);
    loop_event_init(&s.go);
    assert_true(metric_sources_add(render_slow, &s));
    assert_true(metric_sources_add(render_quick, text));
    struct sys_thread *waits = sys_thread_start("scrape", scrape, &first);
    loop_event_wait(&s.entered);
    metric_sources_render(&second); // beside the one that waits
    assert_string_equal(buf_cstr(&second), "slow 1\nquick 2\n");
    assert_int_equal(first.n, 0);
    struct sys_thread *leaves = sys_thread_start("remove", remove_slow, &s);
    loop_event_set(&s.go);
    sys_thread_join(leaves);
    sys_thread_join(waits);
    assert_string_equal(buf_cstr(&first), "slow 1\nquick 2\n");
    metric_sources_render(&last);
    assert_string_equal(buf_cstr(&last), "quick 2\n");
    metric_sources_remove(render_quick, text);
    loop_event_fini(&s.entered);
    loop_event_fini(&s.go);
    buf_fini(&first);
    buf_fini(&second);
    buf_fini(&last);
}

static void test_full(void **state) {
    (void)state;
    char text[METRIC_SOURCES_MAX + 1][4];
    struct buf out = {0};
    for (int i = 0; i < METRIC_SOURCES_MAX; i++) {
        text[i][0] = (char)('a' + i);
        text[i][1] = '\0';
        assert_true(metric_sources_add(render_quick, text[i]));
    }
    assert_false(metric_sources_add(render_quick, text[METRIC_SOURCES_MAX]));
    metric_sources_render(&out);
    assert_string_equal(buf_cstr(&out), "abcdefghijklmnop");
    for (int i = 0; i < METRIC_SOURCES_MAX; i++) metric_sources_remove(render_quick, text[i]);
    buf_fini(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sources), cmocka_unit_test(test_full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
