// SPDX-License-Identifier: Apache-2.0
// Loops, timers, watches, posts, worker pools.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/vec.h"
#include "loop/loop.h"

struct trace {
    struct loop *loop;
    char text[256];
    size_t n;
};

struct note {
    struct trace *trace;
    char letter;
    struct loop_timer timer;
};

static void write_note(void *arg) {
    struct note *note = arg;
    assert_ptr_equal(loop_current(), note->trace->loop);
    note->trace->text[note->trace->n++] = note->letter;
}

static void test_posts_in_order(void **state) {
    (void)state;
    struct trace t = {.loop = loop_new(sys_real(), "test", NULL)};
    struct note a = {&t, 'a', {0}}, b = {&t, 'b', {0}};
    assert_false(loop_run_once(t.loop, 0));
    loop_post(t.loop, write_note, &a);
    loop_post(t.loop, write_note, &b);
    loop_post(t.loop, write_note, &a);
    assert_true(loop_run_once(t.loop, -1));
    assert_string_equal(t.text, "aba");
    assert_null(loop_current());
    loop_post(t.loop, write_note, &b); // never lost: loop_free runs it
    loop_free(t.loop);
    assert_string_equal(t.text, "abab");
}

static void test_timers(void **state) {
    (void)state;
    struct trace t = {.loop = loop_new(sys_real(), "test", NULL)};
    struct note a = {&t, 'a', {0}}, b = {&t, 'b', {0}}, c = {&t, 'c', {0}}, d = {&t, 'd', {0}};
    loop_timer_set(t.loop, &d.timer, 3600000000, write_note, &d);
    loop_timer_set(t.loop, &c.timer, 3000, write_note, &c);
    loop_timer_set(t.loop, &b.timer, 2000, write_note, &b);
    loop_timer_set(t.loop, &a.timer, 3600000000, write_note, &a);
    loop_timer_set(t.loop, &a.timer, 1000, write_note, &a); // set again
    loop_timer_cancel(t.loop, &d.timer);
    loop_timer_cancel(t.loop, &d.timer);
    while (t.n < 3) loop_run_once(t.loop, 1000000);
    assert_string_equal(t.text, "abc");
    assert_int_equal(a.timer.heap_index, 0);
    assert_false(loop_run_once(t.loop, 0));
    loop_free(t.loop);
}

// Random sets and cancels: what fires is what was set last, in order of its due time.
static int64_t last_due;
static size_t fired;
static void check_due(void *arg) {
    struct loop_timer *timer = arg;
    assert_true(timer->due_us >= last_due);
    last_due = timer->due_us;
    fired++;
}

static void test_timer_heap(void **state) {
    (void)state;
    struct loop *l = loop_new(sys_real(), "test", NULL);
    enum { N = 1000 };
    static struct loop_timer timers[N];
    memset(timers, 0, sizeof timers);
    uint64_t seed = 42;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        struct loop_timer *timer = &timers[(seed >> 33) % N];
        if ((seed >> 20) % 3 == 0) loop_timer_cancel(l, timer);
        else loop_timer_set(l, timer, (int64_t)((seed >> 40) % 20000), check_due, timer);
    }
    size_t set = 0;
    for (int i = 0; i < N; i++) set += timers[i].heap_index != 0;
    assert_in_range(set, 400, 900);
    last_due = 0;
    fired = 0;
    while (fired < set) loop_run_once(l, 1000000);
    for (int i = 0; i < N; i++) assert_int_equal(timers[i].heap_index, 0);
    loop_free(l);
}

static void again(void *arg) {
    struct note *note = arg;
    write_note(note);
    loop_timer_set(note->trace->loop, &note->timer, 0, again, note);
}

static void test_timer_without_delay_starves_nobody(void **state) {
    (void)state;
    struct trace t = {.loop = loop_new(sys_real(), "test", NULL)};
    struct note a = {&t, 'a', {0}}, b = {&t, 'b', {0}};
    loop_timer_set(t.loop, &a.timer, 0, again, &a);
    loop_post(t.loop, write_note, &b);
    assert_true(loop_run_once(t.loop, 0));
    assert_string_equal(t.text, "ab");
    assert_true(loop_run_once(t.loop, 0));
    assert_string_equal(t.text, "aba");
    loop_timer_cancel(t.loop, &a.timer);
    loop_free(t.loop);
}

// ---- watches: two connections become ready in one round; the first to be called closes both --------------------------------

struct conn {
    struct loop *loop;
    struct loop_watch watch;
    struct sys_sock *sock;
    struct conn *other;
    int *calls;
};

static void close_both(struct loop_watch *w, int events) {
    struct conn *c = w->arg, *other = c->other;
    assert_true(events & SYS_EV_READ);
    ++*c->calls;
    struct conn *both[2] = {c, other};
    for (int i = 0; i < 2; i++) {
        loop_unwatch(both[i]->loop, &both[i]->watch);
        sys_sock_close(both[i]->sock);
        mem_free(both[i]);
    }
}

static void test_unwatch_within_a_batch(void **state) {
    (void)state;
    struct sys *s = sys_real();
    struct loop *l = loop_new(s, "test", NULL);
    struct sys_sock *listener = sys_listen(s, "127.0.0.1", 0, NULL), *client[2];
    struct conn *c[2];
    int calls = 0;
    for (int i = 0; i < 2; i++) {
        client[i] = sys_connect(s, "127.0.0.1", sys_sock_port(listener), 1000, NULL);
        c[i] = MEM_NEW(struct conn);
        *c[i] = (struct conn){.loop = l, .sock = sys_accept(listener, NULL, NULL), .calls = &calls};
        assert_non_null(c[i]->sock);
        assert_int_equal(loop_watch_sock(l, &c[i]->watch, c[i]->sock, SYS_EV_READ, close_both, c[i], NULL), ERR_OK);
    }
    c[0]->other = c[1], c[1]->other = c[0];
    for (int i = 0; i < 2; i++) assert_int_equal(sys_sock_send(client[i], &(struct sys_iov){"x", 1}, 1, NULL), 1);
    while (calls == 0) loop_run_once(l, 1000000);
    loop_run_once(l, 0);
    assert_int_equal(calls, 1);
    for (int i = 0; i < 2; i++) sys_sock_close(client[i]);
    sys_sock_close(listener);
    loop_free(l);
}

static void count_call(struct loop_watch *w, int events) {
    (void)events;
    ++*(int *)w->arg;
}

static void test_quiet_watch(void **state) {
    (void)state;
    struct sys *s = sys_real();
    struct loop *l = loop_new(s, "test", NULL);
    struct sys_sock *listener = sys_listen(s, "127.0.0.1", 0, NULL);
    struct sys_sock *client = sys_connect(s, "127.0.0.1", sys_sock_port(listener), 1000, NULL);
    int calls = 0;
    struct loop_watch w;
    assert_int_equal(loop_watch_sock(l, &w, listener, 0, count_call, &calls, NULL), ERR_OK);
    assert_false(loop_run_once(l, 0));
    loop_watch_change(l, &w, SYS_EV_READ);
    assert_true(loop_run_once(l, 1000000));
    loop_watch_change(l, &w, 0);
    assert_false(loop_run_once(l, 0));
    loop_watch_change(l, &w, SYS_EV_READ);
    assert_true(loop_run_once(l, 1000000));
    loop_unwatch(l, &w);
    loop_unwatch(l, &w);
    assert_false(loop_run_once(l, 0));
    assert_int_equal(calls, 2);
    sys_sock_close(client);
    sys_sock_close(listener);
    loop_free(l);
}

// ---- threads ----------------------------------------------------------------------------------------------------------

enum { SENDERS = 4, PER_SENDER = 100000 }; // more than the queue holds

struct sender {
    struct loop *loop;
    int sent, seen; // seen: on the loop's thread
};

static void count_one(void *arg) {
    struct sender *s = arg;
    s->seen++;
}

static void send_many(void *arg) {
    struct sender *s = arg;
    for (int i = 0; i < PER_SENDER; i++) loop_post(s->loop, count_one, s);
}

static void test_many_senders(void **state) {
    (void)state;
    struct loop *l = loop_new(sys_real(), "test", NULL);
    struct sender senders[SENDERS];
    struct sys_thread *threads[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.loop = l};
        threads[i] = sys_thread_start("sender", send_many, &senders[i]);
    }
    loop_start(l);
    for (int i = 0; i < SENDERS; i++) sys_thread_join(threads[i]);
    loop_free(l);
    for (int i = 0; i < SENDERS; i++) assert_int_equal(senders[i].seen, PER_SENDER);
}

struct job {
    struct loop *loop;
    struct loop_event *event;
    bool worked, done;
    int *left;
};

static void work(void *arg) {
    struct job *j = arg;
    assert_null(loop_current());
    j->worked = true;
}

static void done(void *arg) {
    struct job *j = arg;
    assert_ptr_equal(loop_current(), j->loop);
    assert_true(j->worked);
    j->done = true;
    if (--*j->left == 0) loop_event_set(j->event);
}

static void test_pool(void **state) {
    (void)state;
    struct loop *l = loop_new(sys_real(), "test", NULL);
    loop_start(l);
    struct pool *p = pool_new("workers", 3, 1000);
    struct loop_event event;
    loop_event_init(&event);
    assert_false(loop_event_wait_us(&event, 1000));
    enum { N = 500 };
    static struct job jobs[N];
    int left = N;
    for (int i = 0; i < N; i++) {
        jobs[i] = (struct job){.loop = l, .event = &event, .left = &left};
        assert_int_equal(pool_submit_then(p, work, &jobs[i], l, done, NULL), ERR_OK);
    }
    loop_event_wait(&event);
    assert_true(loop_event_wait_us(&event, 0));
    loop_event_fini(&event);
    for (int i = 0; i < N; i++) assert_true(jobs[i].done);
    pool_free(p);
    loop_free(l);
}

static void hold(void *arg) { loop_event_wait(arg); }
static void nothing(void *arg) { ++*(int *)arg; }

static void test_pool_full(void **state) {
    (void)state;
    struct pool *p = pool_new("workers", 1, 2);
    struct loop_event event;
    loop_event_init(&event);
    struct err err = {0};
    int ran = 0, accepted = 0;
    assert_int_equal(pool_submit(p, hold, &event, &err), ERR_OK);
    while (pool_submit(p, nothing, &ran, &err) == ERR_OK) accepted++;
    assert_int_equal(err.code, ERR_BUSY);
    assert_in_range(accepted, 1, 2); // 2 when the worker had taken the first already
    loop_event_set(&event);
    pool_free(p);
    assert_int_equal(ran, accepted);
    loop_event_fini(&event);
}

static void stop_it(void *arg) { loop_stop(arg); }

static void test_run_until_stop(void **state) {
    (void)state;
    struct trace t = {.loop = loop_new(sys_real(), "test", NULL)};
    struct note a = {&t, 'a', {0}};
    loop_post(t.loop, stop_it, t.loop);
    loop_post(t.loop, write_note, &a); // queued before the end: runs
    loop_run(t.loop);
    assert_string_equal(t.text, "a");
    loop_free(t.loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posts_in_order),
        cmocka_unit_test(test_timers),
        cmocka_unit_test(test_timer_heap),
        cmocka_unit_test(test_timer_without_delay_starves_nobody),
        cmocka_unit_test(test_unwatch_within_a_batch),
        cmocka_unit_test(test_quiet_watch),
        cmocka_unit_test(test_many_senders),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_pool_full),
        cmocka_unit_test(test_run_until_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
