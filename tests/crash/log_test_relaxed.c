// SPDX-License-Identifier: Apache-2.0
// Crash tests of logs that do not wait for the disk (log_write): what was written survives the end of the process, what was synced the end of the
// power, and what is left is a prefix of what was appended.
#include "crash.h"

#include "log/log.h"

static const struct log_config config = {.segment_bytes = 3000, .retention_ms = -1, .retention_bytes = -1, .index_interval_bytes = 256};
enum { BATCHES = 40 };

struct my {
    int64_t written, synced; // offsets
};

static enum err_code append(struct log *l) {
    struct buf b = {0};
    struct batch_builder bb;
    struct log_appended a;
    int64_t at = log_end(l);
    char value[200];
    memset(value, 'a' + (int)(at % 26), sizeof value);
    batch_begin(&bb, &b, 1000 + at);
    batch_add(&bb, 1000 + at, STR(""), true, str_n(value, (size_t)(at * 37 % 150) + 20), false, NULL, 0);
    batch_end(&bb);
    enum err_code code = log_append(l, buf_str(&b), 0, &a, NULL);
    buf_fini(&b);
    return code;
}

static struct log *open_log(struct sys *s) {
    struct log *l = log_open(s, "t-0", &config, NULL, false, NULL);
    if (l == NULL || sys_sync_dir(s, ".", NULL) == ERR_OK) return l;
    log_discard(l);
    return NULL;
}

static void scenario(struct sys *s, void *state) {
    struct my *m = state;
    struct log *l = open_log(s);
    if (l == NULL) return;
    for (int i = 0; i < BATCHES; i++) {
        enum err_code code = append(l);
        if (code == ERR_NO_SPACE) continue;
        if (code != ERR_OK) break;
        int64_t end = log_end(l);
        code = i % 7 == 6 ? log_sync(l, NULL) : log_write(l, NULL);
        if (code != ERR_OK) break;
        assert_int_equal(log_read_end(l), end);
        m->written = end;
        if (i % 7 == 6) m->synced = end;
        assert_int_equal(log_durable_end(l), m->synced);
        if (i % 10 == 9) log_tidy(l);
    }
    log_discard(l);
}

static void verify(struct sys *s, void *state) {
    struct my *m = state;
    struct log *l = open_log(s);
    struct buf b = {0};
    assert_non_null(l);
    int64_t end = log_end(l), next = 0;
    assert_true(end >= m->synced && end <= BATCHES);
    if (crash_now.kind == CRASH_KILL) assert_true(end >= m->written);
    assert_int_equal(log_read_end(l), end);
    while (next < end) {
        struct batch x;
        buf_clear(&b);
        assert_int_equal(log_read(l, next, 1, &b, NULL), ERR_OK);
        assert_int_equal(batch_read(b.p, b.n, &x), BATCH_OK);
        assert_true(x.base_offset == next && b.p[b.n - 2] == 'a' + (int)(next % 26));
        next++;
    }
    buf_fini(&b);
    assert_int_equal(append(l), ERR_OK);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    log_discard(l);
}

static void test_crash(void **x) {
    (void)x;
    static const struct crash_test t = {
        .seeds = 10, .state_size = sizeof(struct my), .scenario = scenario, .verify = verify, .kills = true, .faults = true};
    crash_try_all(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {crash_unit_test(test_crash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
