// SPDX-License-Identifier: Apache-2.0
// Key sets of tokens by URL: when they are fetched (time, failures, unknown keys), on a simulated clock; and that a door that closes waits for no
// key server.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codec/jwt.h"
#include "kafka/key_set.h"
#include "loop/loop.h"
#include "sys/sim.h"

static const char key_set[] = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";

static struct {
    atomic_int asked, given_up;
    bool refuses;
    struct loop_event *hangs; // set when a fetch hangs: until it is to stop
} server;

static enum err_code fetch(const char *url, int timeout_s, size_t max, const atomic_bool *stop, struct arena *a, struct str *out, struct err *err) {
    (void)url, (void)timeout_s, (void)max;
    atomic_fetch_add(&server.asked, 1);
    if (server.hangs != NULL) {
        loop_event_set(server.hangs);
        while (!atomic_load(stop)) sys_sleep_us(sys_real(), 1000);
        atomic_fetch_add(&server.given_up, 1);
        return err_set(err, ERR_CANCELLED, "given up");
    }
    if (server.refuses) return err_set(err, ERR_UNAVAILABLE, "nobody answers");
    *out = arena_str(a, str_c(key_set));
    return ERR_OK;
}

struct world {
    struct sys *sys;
    struct listeners all;
    struct listener two[2];
};

static void world_open(struct world *w) {
    struct err err = {0};
    memset(&server, 0, sizeof server);
    *w = (struct world){.sys = sys_sim_new(1)};
    w->all.p = w->two;
    w->all.n = 2;
    for (int i = 0; i < 2; i++) {
        w->two[i].name = "A";
        sys_mutex_init(&w->two[i].mutex);
        w->two[i].keys = (struct key_set){.url = "http://keys", .fetch = fetch, .refresh_ms = 3600000, .retry_ms = 100, .retry_max_ms = 10000, .stop = &w->all.closing};
        assert_int_equal(key_set_open(&w->two[i], w->sys, &err), ERR_OK);
    }
}

static void world_close(struct world *w) {
    for (int i = 0; i < 2; i++) {
        jwks_free(w->two[i].jwks);
        sys_mutex_fini(&w->two[i].mutex);
    }
    sys_sim_free(w->sys);
}

static int turn(struct world *w) { // as the door does now and then; how often the server was asked
    int before = atomic_load(&server.asked);
    if (key_sets_due(&w->all, sys_mono_us(w->sys))) key_sets_refresh(&w->all, w->sys);
    return atomic_load(&server.asked) - before;
}

static void after(struct world *w, int64_t ms) { sys_sim_advance(w->sys, ms * 1000); }

static void test_refresh(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    assert_int_equal(turn(&w), 0);
    after(&w, 3599999);
    assert_int_equal(turn(&w), 0);
    after(&w, 1);
    assert_int_equal(turn(&w), 2);
    server.refuses = true;
    after(&w, 3600000);
    assert_int_equal(turn(&w), 2);
    const struct jwks *kept = w.two[0].jwks;
    assert_non_null(kept);
    int64_t wait = 100;
    for (int i = 0; i < 9; i++) { // sooner and sooner less often
        after(&w, wait - 1);
        assert_int_equal(turn(&w), 0);
        after(&w, 1);
        assert_int_equal(turn(&w), 2);
        wait = wait * 2 < 10000 ? wait * 2 : 10000;
    }
    assert_ptr_equal(w.two[0].jwks, kept); // the old one stays in force
    server.refuses = false;
    after(&w, 10000);
    assert_int_equal(turn(&w), 2);
    assert_int_equal(turn(&w), 0);
    world_close(&w);
}

// A token with a key that is not there: fetched at once, however new the set is; then not for ten seconds, whatever comes.
static void test_unknown_key(void **state) {
    (void)state;
    struct world w;
    world_open(&w);
    key_set_lacks(&w.two[0], w.sys);
    assert_int_equal(turn(&w), 1); // this listener's only
    for (int i = 0; i < 99; i++) {
        key_set_lacks(&w.two[0], w.sys);
        assert_int_equal(turn(&w), 0);
        after(&w, 100);
    }
    after(&w, 100);
    key_set_lacks(&w.two[0], w.sys);
    assert_int_equal(turn(&w), 1);
    key_set_lacks(&w.two[1], w.sys); // each listener has its own time
    assert_int_equal(turn(&w), 1);
    server.refuses = true; // what failed is tried again as after any failure
    after(&w, 10000);
    key_set_lacks(&w.two[0], w.sys);
    assert_int_equal(turn(&w), 1);
    after(&w, 100);
    assert_int_equal(turn(&w), 1);
    world_close(&w);
}

static void refresh_all(void *arg) {
    struct world *w = arg;
    key_sets_refresh(&w->all, w->sys);
}

// The servers of both listeners hang: the first fetch is given up, the second is not begun, the sets stay.
static void test_closing(void **state) {
    (void)state;
    struct world w;
    struct loop_event hangs;
    struct sys_thread *thread;
    world_open(&w);
    const struct jwks *kept[2] = {w.two[0].jwks, w.two[1].jwks};
    loop_event_init(&hangs);
    server.hangs = &hangs;
    after(&w, 3600000);
    int before = atomic_load(&server.asked);
    thread = sys_thread_start("keys", refresh_all, &w);
    loop_event_wait(&hangs);
    atomic_store(&w.all.closing, true);
    sys_thread_join(thread);
    assert_int_equal(atomic_load(&server.asked) - before, 1);
    assert_int_equal(atomic_load(&server.given_up), 1);
    assert_ptr_equal(w.two[0].jwks, kept[0]);
    assert_ptr_equal(w.two[1].jwks, kept[1]);
    loop_event_fini(&hangs);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refresh), cmocka_unit_test(test_unknown_key), cmocka_unit_test(test_closing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
