// SPDX-License-Identifier: Apache-2.0
// Crash tests of the log: every operation of append, roll, sync, tidy, retain and close as the last one, or failing once.
//
// What a record holds is made from its offset, so that a lost, doubled or misplaced one is seen. The caller's state counts records; after
// recovery it must equal the log's end, whatever snapshots were lost.
#include "crash.h"

#include "log/log.h"

static const struct log_config config = {.segment_bytes = 6000, .retention_ms = -1, .retention_bytes = -1, .index_interval_bytes = 512, .point_bytes = 1500};
static const char dir[] = "t-0";
static struct log_cache *cache;

static void forget_all(void) { // memory of what is on disk: what comes next is read again
    for (int i = 0; i < 3; i++) log_cache_tick(cache);
}

struct tally {
    int64_t records;
};
static void tally_save(void *arg, struct buf *out) { buf_put(out, arg, sizeof(struct tally)); }
static bool tally_load(void *arg, struct str s) {
    if (s.n != sizeof(struct tally)) return false;
    memcpy(arg, s.p, s.n);
    return true;
}
static void tally_batch(void *arg, const struct batch *b) { ((struct tally *)arg)->records += b->count; }

struct my {
    int64_t acknowledged, appended, dropped_below; // offsets
    bool opened;
};

static struct str payload(int64_t offset, char out[900]) {
    size_t n = (size_t)(offset * 7919 % 800) + 20;
    memset(out, 'a' + (int)(offset % 26), n);
    snprintf(out, 20, "%019lld", (long long)offset);
    return str_n(out, n);
}

static void build(struct buf *b, int64_t offset) {
    struct batch_builder bb;
    char value[900];
    int n = (int)(offset % 3) + 1;
    buf_clear(b);
    batch_begin(&bb, b, 1000 + offset);
    for (int i = 0; i < n; i++) batch_add(&bb, 1000 + offset + i, STR(""), true, payload(offset + i, value), false, NULL, 0);
    batch_end(&bb);
}

static enum err_code append(struct log *l, struct tally *t, struct my *m) {
    struct buf b = {0};
    struct log_appended a;
    build(&b, log_end(l));
    enum err_code code = log_append(l, buf_str(&b), 0, &a, NULL);
    if (code == ERR_NO_SPACE) code = log_append(l, buf_str(&b), 0, &a, NULL); // there is room again: it must work
    if (code == ERR_OK) {
        t->records += a.last_offset - a.base_offset + 1;
        m->appended = a.last_offset + 1;
    }
    buf_fini(&b);
    return code;
}

static enum err_code sync(struct log *l, struct my *m) {
    int64_t end = log_end(l);
    enum err_code code = log_sync(l, NULL);
    if (code == ERR_OK) {
        assert_true(log_durable_end(l) >= end);
        m->acknowledged = end;
    }
    return code;
}

static struct log *open_log(struct sys *s, struct tally *t, bool clean, struct err *err) {
    struct log_state st = {t, tally_save, tally_load, tally_batch, NULL};
    *t = (struct tally){0};
    struct log *l = log_open_cached(s, cache, dir, &config, &st, clean, err);
    if (l == NULL || sys_sync_dir(s, ".", err) == ERR_OK) return l;
    log_discard(l);
    return NULL;
}

static bool work(struct sys *s, struct my *m, bool clean, int rounds, bool retain, bool *closed) {
    struct tally t;
    struct err err = {0};
    struct log *l = open_log(s, &t, clean, &err);
    if (l == NULL) return false;
    enum err_code code = ERR_OK;
    for (int i = 0; i < rounds && code == ERR_OK; i++) {
        for (int k = 0; k <= i % 4 && code == ERR_OK; k++) code = append(l, &t, m);
        if (code == ERR_OK && i % 4 == 2) code = log_roll(l, NULL); // closed before it was synced
        if (code == ERR_OK && i % 3 != 1) code = sync(l, m);
        if (i % 5 == 4 || log_point_ready(l)) log_tidy(l);
        if (i % 6 == 5) log_roll_due(l); // takes a point too, when there is something new
        if (i % 3 == 2 || i % 4 == 1) forget_all(); // the last block's head is not in memory when it is written again
        if (i % 4 != 3) continue;
        struct buf b = {0}; // or comes from the disk
        (void)log_read(l, log_durable_end(l) - (i % 2), 1, &b, NULL);
        buf_fini(&b);
    }
    if (code == ERR_OK && retain) {
        log_tidy(l);
        int64_t before = m->acknowledged / 2;
        if (before > m->dropped_below) m->dropped_below = before;
        (void)log_retain(l, 0, before, NULL);
    }
    if (code != ERR_OK) {
        log_discard(l);
        return false;
    }
    int64_t end = log_end(l);
    *closed = log_close(l, NULL) == ERR_OK;
    if (*closed) m->acknowledged = end;
    return *closed;
}

static void scenario(struct sys *s, void *state) {
    struct my *m = state;
    bool closed = false;
    if (work(s, m, false, 8, false, &closed) && work(s, m, closed, 8, true, &closed)) work(s, m, closed, 4, true, &closed);
}

static void recover(struct sys *s, void *state) {
    (void)state;
    struct tally t;
    struct err err = {0};
    struct log *l = open_log(s, &t, false, &err);
    if (l != NULL) (void)log_close(l, NULL);
}

static int64_t check_batches(const struct buf *b, int64_t next) {
    struct batch x;
    for (size_t at = 0; at < b->n; at += x.size) {
        struct batch_iter it;
        struct batch_record r;
        char value[900];
        assert_int_equal(batch_read(b->p + at, b->n - at, &x), BATCH_OK);
        assert_int_equal(x.base_offset, next);
        assert_int_equal(batch_iter_init(&it, &x, 0, NULL), ERR_OK);
        while (batch_iter_next(&it, &r, NULL) == 1) {
            assert_int_equal(r.offset, next);
            assert_true(str_eq(r.value, payload(next, value)));
            next++;
        }
        batch_iter_fini(&it);
        assert_int_equal(next, batch_last_offset(&x) + 1);
    }
    return next;
}

static void check_content(struct log *l, const struct my *m) {
    struct err err = {0};
    int64_t next = log_start(l), end = log_end(l);
    assert_true(next <= m->dropped_below || next == 0);
    if (end < m->acknowledged) fail_msg("acknowledged up to %lld, found %lld", (long long)m->acknowledged, (long long)end);
    assert_int_equal(log_durable_end(l), end);
    struct buf b = {0};
    while (next < end) {
        buf_clear(&b);
        if (log_read(l, next, 3000, &b, &err) != ERR_OK) fail_msg("%s", err.msg);
        assert_true(b.n > 0);
        next = check_batches(&b, next);
    }
    buf_fini(&b);
}

static void verify(struct sys *s, void *state) {
    struct my *m = state;
    struct tally t;
    for (int round = 0; round < 3; round++) { // works on after recovery, and what it then acknowledges is there after the next power cut
        struct err err = {0};
        struct log *l = open_log(s, &t, false, &err);
        if (l == NULL) fail_msg("%s", err.msg);
        check_content(l, m);
        assert_int_equal(t.records, log_end(l));
        m->acknowledged = log_end(l); // it was shown to readers
        for (int i = 0; i < 5; i++) assert_int_equal(append(l, &t, m), ERR_OK);
        assert_int_equal(sync(l, m), ERR_OK);
        if (round == 1) log_tidy(l); // a recovery point
        assert_int_equal(append(l, &t, m), ERR_OK); // not acknowledged
        log_discard(l);
        sys_sim_reboot(s);
    }
}

static void test_crash(void **x) {
    (void)x;
    static const struct crash_test t = {
        .seeds = 15, .state_size = sizeof(struct my), .scenario = scenario, .recover = recover, .verify = verify, .kills = true, .faults = true};
    crash_try_all(&t);
}

// The disk fills up: appends are refused without a trace, and work again when there is room.
static void test_disk_full(void **x) {
    (void)x;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct sys *s = sys_sim_new(seed);
        struct my m = {0};
        struct tally t;
        struct err err = {0};
        struct log *l = open_log(s, &t, false, &err);
        assert_non_null(l);
        int refused = 0;
        sys_sim_disk_size(s, 20000 + seed * 97);
        for (int i = 0; i < 100; i++) {
            struct buf b = {0};
            struct log_appended a;
            build(&b, log_end(l));
            enum err_code code = log_append(l, buf_str(&b), 0, &a, &err);
            if (code == ERR_OK) t.records += a.last_offset - a.base_offset + 1;
            else assert_int_equal(code, ERR_NO_SPACE);
            refused += code != ERR_OK;
            buf_fini(&b);
            if (i % 7 == 0) assert_int_equal(sync(l, &m), ERR_OK);
        }
        assert_true(refused > 0);
        assert_false(log_offline(l));
        sys_sim_disk_size(s, 0);
        assert_int_equal(append(l, &t, &m), ERR_OK);
        assert_int_equal(sync(l, &m), ERR_OK);
        check_content(l, &m);
        log_discard(l);
        sys_sim_reboot(s);
        verify(s, &m);
        sys_sim_free(s);
    }
}

// A failed sync is final: nothing is acknowledged any more, what was durable can be read.
static void test_failed_sync(void **x) {
    (void)x;
    struct sys *s = sys_sim_new(5);
    struct my m = {0};
    struct tally t;
    struct err err = {0};
    struct log *l = open_log(s, &t, false, &err);
    assert_non_null(l);
    assert_int_equal(append(l, &t, &m), ERR_OK);
    assert_int_equal(sync(l, &m), ERR_OK);
    int64_t durable = log_durable_end(l);
    assert_int_equal(append(l, &t, &m), ERR_OK);
    sys_sim_fail_at(s, sys_sim_ops(s) + 1, SYS_SIM_FSYNC);
    assert_int_equal(log_sync(l, &err), ERR_SYNC_FAILED);
    assert_true(log_offline(l));
    assert_int_equal(log_durable_end(l), durable);
    assert_int_equal(log_sync(l, &err), ERR_OFFLINE);
    assert_int_equal(append(l, &t, &m), ERR_OFFLINE);
    struct buf b = {0};
    assert_int_equal(log_read(l, 0, 10000, &b, &err), ERR_OK);
    assert_int_equal(check_batches(&b, 0), durable);
    buf_fini(&b);
    assert_int_not_equal(log_close(l, &err), ERR_OK);
    // Only the process starts anew: the cache still shows the bytes that the failed sync forgot. What recovery shows must be made durable.
    sys_sim_kill(s);
    l = open_log(s, &t, false, &err);
    assert_non_null(l);
    m.acknowledged = log_end(l);
    log_discard(l);
    sys_sim_reboot(s);
    verify(s, &m);
    sys_sim_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {crash_unit_test(test_crash), crash_unit_test(test_disk_full), crash_unit_test(test_failed_sync)};
    cache = log_cache_new(4 << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_cache_free(cache);
    return failed;
}
