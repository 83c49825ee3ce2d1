// SPDX-License-Identifier: Apache-2.0
// Fetch sessions: full and incremental fetches, forgotten partitions, epochs, what is news, eviction, bounds.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kafka/fetch_session.h"
#include "sys/sim.h"

enum { V = 12, SECOND = 1000000 };

struct fixture {
    struct sys *sys;
    struct fetch_sessions *all;
    struct arena a;
    struct kafka_fetch_request req;
    struct kafka_fetch_response res;
};

static int setup(void **state) {
    struct fixture *f = MEM_NEW(struct fixture);
    f->sys = sys_sim_new(1);
    f->all = fetch_sessions_new(f->sys, 2);
    arena_init(&f->a);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    assert_true(fetch_sessions_count(f->all) <= 2);
    fetch_sessions_free(f->all);
    arena_fini(&f->a);
    sys_sim_free(f->sys);
    mem_free(f);
    return 0;
}

// A request for partitions 0 .. n - 1 of topic "t".
static void ask(struct fixture *f, int32_t id, int32_t epoch, int32_t n) {
    kafka_msg_init(&kafka_fetch_request_m, &f->req);
    f->req.session_id = id;
    f->req.session_epoch = epoch;
    f->req.topics.p = KAFKA_ELEMENTS(&f->a, kafka_fetch_request_topics, 1);
    f->req.topics.n = n > 0 ? 1 : 0;
    f->req.topics.p[0].topic = STR("t");
    f->req.topics.p[0].partitions.p = KAFKA_ELEMENTS(&f->a, kafka_fetch_request_topics_partitions, n);
    f->req.topics.p[0].partitions.n = n;
    for (int32_t i = 0; i < n; i++) f->req.topics.p[0].partitions.p[i].partition = i;
}

static int32_t asked(const struct fixture *f) {
    int32_t n = 0;
    for (int32_t t = 0; t < f->req.topics.n; t++) n += f->req.topics.p[t].partitions.n;
    return n;
}

// Answers every partition that is asked for with that high watermark; partition 0 has records when asked to.
static void answer(struct fixture *f, int64_t high_watermark, bool records, int error_of_1) {
    kafka_msg_init(&kafka_fetch_response_m, &f->res);
    f->res.responses.p = KAFKA_ELEMENTS(&f->a, kafka_fetch_response_responses, f->req.topics.n);
    f->res.responses.n = f->req.topics.n;
    for (int32_t t = 0; t < f->req.topics.n; t++) {
        struct kafka_fetch_response_responses *out = &f->res.responses.p[t];
        int32_t n = f->req.topics.p[t].partitions.n;
        out->topic = f->req.topics.p[t].topic;
        out->partitions.p = KAFKA_ELEMENTS(&f->a, kafka_fetch_response_responses_partitions, n);
        out->partitions.n = n;
        for (int32_t i = 0; i < n; i++) {
            int32_t index = f->req.topics.p[t].partitions.p[i].partition;
            out->partitions.p[i].partition_index = index;
            out->partitions.p[i].high_watermark = high_watermark;
            out->partitions.p[i].log_start_offset = 0;
            if (index == 0 && records) out->partitions.p[i].records = STR("a batch");
            if (index == 1) out->partitions.p[i].error_code = (int16_t)error_of_1;
        }
    }
    fetch_session_end(f->all, &f->req, V, &f->res);
}

static int32_t answered(const struct fixture *f) {
    int32_t n = 0;
    for (int32_t t = 0; t < f->res.responses.n; t++) n += f->res.responses.p[t].partitions.n;
    return n;
}

static int32_t begin(struct fixture *f, int32_t n) {
    ask(f, 0, 0, n);
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0);
    answer(f, 10, false, 0);
    assert_int_equal(answered(f), n); // a full answer
    return f->res.session_id;
}

static void test_incremental(void **state) {
    struct fixture *f = *state;
    int32_t id = begin(f, 3);
    assert_true(id > 0);
    ask(f, id, 1, 0); // nothing changed
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0);
    assert_int_equal(asked(f), 3);
    answer(f, 10, false, 0);
    assert_int_equal(answered(f), 0); // no news
    assert_int_equal(f->res.session_id, id);
    ask(f, id, 2, 0);
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0);
    answer(f, 10, true, KAFKA_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(answered(f), 2); // records of 0, the error of 1
    ask(f, id, 3, 0);
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0);
    assert_int_equal(f->req.topics.p[0].partitions.p[2].partition, 0); // had its turn
    answer(f, 10, false, 0);
    assert_int_equal(answered(f), 1); // 1 is well again, and says so once
    ask(f, id, 4, 4);                 // one more partition, and an offset that moved
    f->req.topics.p[0].partitions.p[2].fetch_offset = 77;
    f->req.forgotten_topics_data.p = KAFKA_ELEMENTS(&f->a, kafka_fetch_request_forgotten_topics_data, 1);
    f->req.forgotten_topics_data.n = 1;
    f->req.forgotten_topics_data.p[0].topic = STR("t");
    int32_t one = 1;
    f->req.forgotten_topics_data.p[0].partitions.p = &one;
    f->req.forgotten_topics_data.p[0].partitions.n = 1;
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0);
    assert_int_equal(asked(f), 3);
    for (int32_t i = 0; i < 3; i++) {
        const struct kafka_fetch_request_topics_partitions *p = &f->req.topics.p[0].partitions.p[i];
        assert_int_not_equal(p->partition, 1);
        assert_int_equal(p->fetch_offset, p->partition == 2 ? 77 : 0);
    }
    answer(f, 11, false, 0);
    assert_int_equal(answered(f), 3);
    assert_int_equal(fetch_sessions_parts(f->all), 3);
}

static void test_errors(void **state) {
    struct fixture *f = *state;
    int32_t id = begin(f, 2);
    ask(f, id + 1, 1, 0);
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    ask(f, id, 2, 0);
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), KAFKA_INVALID_FETCH_SESSION_EPOCH);
    ask(f, id, 1, 0);
    assert_int_equal(fetch_session_begin(f->all, &f->req, 13, &f->a), KAFKA_FETCH_SESSION_TOPIC_ID_ERROR);
    ask(f, id, 1, 0);
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0);
    struct kafka_fetch_request first = f->req;
    ask(f, id, 2, 0); // the same session from elsewhere, while the first is under way
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0);
    f->req = first;
    answer(f, 10, true, 0);
    assert_int_equal(f->res.error_code, KAFKA_INVALID_FETCH_SESSION_EPOCH);
    assert_int_equal(answered(f), 0);
}

static void test_ends(void **state) {
    struct fixture *f = *state;
    int32_t id = begin(f, 2);
    ask(f, id, -1, 2); // the last fetch of the session
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0);
    answer(f, 10, false, 0);
    assert_int_equal(f->res.session_id, 0);
    assert_int_equal(fetch_sessions_count(f->all), 0);
    assert_int_equal(fetch_sessions_parts(f->all), 0);
    ask(f, 0, -1, 2); // who wants none gets none
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0);
    answer(f, 10, false, 0);
    assert_int_equal(f->res.session_id, 0);
    assert_int_equal(answered(f), 2);
    id = begin(f, 2);
    ask(f, id, 0, 3); // a full fetch replaces the session
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0);
    answer(f, 10, false, 0);
    assert_true(f->res.session_id > 0);
    assert_int_equal(fetch_sessions_count(f->all), 1);
    assert_int_equal(fetch_sessions_parts(f->all), 3);
}

static void test_eviction(void **state) {
    struct fixture *f = *state;
    int32_t two = begin(f, 2), three = begin(f, 3);
    assert_true(two > 0 && three > 0);
    assert_int_equal(begin(f, 2), 0); // the smallest is not smaller than it
    int32_t five = begin(f, 5);       // but than this
    assert_true(five > 0);
    ask(f, two, 1, 0);
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    sys_sim_advance(f->sys, 121 * (int64_t)SECOND);
    ask(f, three, 1, 0);
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), 0); // used
    answer(f, 10, false, 0);
    assert_true(begin(f, 1) > 0); // takes the place of the one that nobody used for two minutes, however large
    ask(f, five, 1, 0);
    assert_int_equal(fetch_session_begin(f->all, &f->req, V, &f->a), KAFKA_FETCH_SESSION_ID_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_incremental, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eviction, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
