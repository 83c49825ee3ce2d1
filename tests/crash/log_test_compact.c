// SPDX-License-Identifier: Apache-2.0
// Crash tests of compaction and DeleteRecords: every operation as the last one, or failing once. Afterwards every acknowledged record is there
// but for those that compaction may drop: older ones of a key that has a newer, durable one below what was compacted.
#include "crash.h"

#include "log/compact.h"

static const struct log_config config = {.segment_bytes = 1500, .retention_ms = -1, .retention_bytes = -1, .index_interval_bytes = 256};
static const char dir[] = "t-0";
enum { KEYS = 7, OFFSETS_MAX = 4096 };

struct my {
    int64_t acknowledged, compacted; // compaction may have seen what is below `compacted`
    int64_t start_least, start_most; // DeleteRecords: the last one that was answered, the last one that was tried
};

// The key is made from the offset, so a record says where it belongs.
static int key_of(int64_t offset) { return (int)(((uint64_t)offset * 2654435761u >> 7) % KEYS); }

static struct log *open_log(struct sys *s, bool clean) {
    struct log *l = log_open(s, dir, &config, NULL, clean, NULL);
    if (l == NULL || sys_sync_dir(s, ".", NULL) == ERR_OK) return l;
    log_discard(l);
    return NULL;
}

static enum err_code append(struct log *l) {
    struct buf b = {0};
    struct batch_builder bb;
    struct log_appended a;
    int64_t at = log_end(l);
    batch_begin(&bb, &b, 1000 + at);
    for (int i = 0; i <= at % 3; i++) {
        char key[16], value[80];
        snprintf(key, sizeof key, "k%d", key_of(at + i));
        snprintf(value, sizeof value, "%060lld", (long long)(at + i));
        batch_add(&bb, 1000 + at + i, str_c(key), false, str_c(value), false, NULL, 0);
    }
    batch_end(&bb);
    enum err_code code = log_append(l, buf_str(&b), 0, &a, NULL);
    if (code == ERR_NO_SPACE) code = log_append(l, buf_str(&b), 0, &a, NULL);
    buf_fini(&b);
    return code;
}

static enum err_code fill(struct log *l, struct my *m, int batches) {
    enum err_code code = ERR_OK;
    for (int i = 0; i < batches && code == ERR_OK; i++) code = append(l);
    int64_t end = log_end(l);
    if (code == ERR_OK) code = log_sync(l, NULL);
    if (code == ERR_OK) m->acknowledged = end;
    return code;
}

static void compact(struct log *l, struct my *m) {
    struct log_dirt d;
    log_dirt(l, 1 << 20, 0, false, &d);
    if (d.upper > m->compacted) m->compacted = d.upper;
    struct log_compaction_config c = {.now_ms = 1 << 20, .delete_retention_ms = 1000};
    struct log_compaction *x = log_compaction_begin(l, &c);
    for (bool more = true; more;)
        if (log_compaction_step(x, &more, NULL) != ERR_OK) break; // the log is as it was
    log_compaction_end(x, NULL);
}

static void check(struct log *l, const struct my *m) {
    static bool seen[OFFSETS_MAX];
    struct buf b = {0};
    struct err err = {0};
    int64_t at = log_start(l), end = log_end(l), next = -1;
    memset(seen, 0, sizeof seen);
    assert_true(end < OFFSETS_MAX && end >= m->acknowledged);
    assert_true(at >= m->start_least && at <= m->start_most);
    while (at < end) {
        buf_clear(&b);
        if (log_read(l, at, 600, &b, &err) != ERR_OK) fail_msg("%s", err.msg);
        assert_true(b.n > 0);
        struct batch x;
        for (size_t pos = 0; pos < b.n; pos += x.size, at = batch_last_offset(&x) + 1) {
            struct batch_iter it;
            struct batch_record r;
            assert_int_equal(batch_read(b.p + pos, b.n - pos, &x), BATCH_OK);
            assert_int_equal(batch_iter_init(&it, &x, 0, NULL), ERR_OK);
            while (batch_iter_next(&it, &r, NULL) == 1) {
                int64_t value = 0;
                assert_true(r.offset > next && str_to_i64(r.value, &value));
                assert_int_equal(value, r.offset);
                assert_int_equal(r.key.p[1], '0' + key_of(r.offset));
                seen[r.offset] = true;
                next = r.offset;
            }
            batch_iter_fini(&it);
        }
    }
    buf_fini(&b);
    bool newer[KEYS] = {0};
    for (int64_t o = end - 1; o >= log_start(l); o--) {
        bool may_be_gone = o < m->compacted && newer[key_of(o)];
        if (!seen[o] && !may_be_gone) fail_msg("offset %lld is lost (start %lld, compacted %lld, end %lld)", (long long)o, (long long)log_start(l), (long long)m->compacted, (long long)end);
        newer[key_of(o)] |= o < m->compacted;
    }
}

static bool work(struct sys *s, struct my *m, bool clean, bool *closed) {
    struct log *l = open_log(s, clean);
    if (l == NULL) return false;
    bool ok = true;
    for (int round = 0; round < 3 && ok; round++) {
        ok = fill(l, m, 18) == ERR_OK;
        log_tidy(l);
        if (ok) compact(l, m);
        if (ok && !log_offline(l) && !sys_sim_crashed(s)) check(l, m); // also while files are not in their places
    }
    if (ok) {
        m->start_most = m->acknowledged / 3 > m->start_most ? m->acknowledged / 3 : m->start_most;
        if (log_delete_before(l, m->acknowledged / 3, NULL) == ERR_OK) m->start_least = m->acknowledged / 3;
        (void)log_retain(l, 0, 0, NULL);
    }
    if (!ok) {
        log_discard(l);
        return false;
    }
    *closed = log_close(l, NULL) == ERR_OK;
    return *closed;
}

static void scenario(struct sys *s, void *state) {
    struct my *m = state;
    bool closed = false;
    if (work(s, m, false, &closed)) work(s, m, closed, &closed);
}

static void recover(struct sys *s, void *state) {
    (void)state;
    struct log *l = open_log(s, false);
    if (l != NULL) (void)log_close(l, NULL);
}

static void verify(struct sys *s, void *state) {
    struct my *m = state;
    for (int round = 0; round < 2; round++) {
        struct log *l = open_log(s, false);
        assert_non_null(l);
        check(l, m);
        m->acknowledged = log_end(l);
        assert_int_equal(fill(l, m, 18), ERR_OK);
        log_tidy(l);
        compact(l, m);
        check(l, m);
        struct log_dirt d;
        log_dirt(l, 1 << 20, 0, false, &d);
        assert_int_equal(d.dirty_bytes, 0);
        (void)log_retain(l, 0, 0, NULL);
        log_discard(l);
        struct sys_list names;
        assert_int_equal(sys_list_dir(s, dir, &names, NULL), ERR_OK);
        for (size_t i = 0; i < names.n; i++) assert_false(str_ends(str_c(names.names[i]), STR(".cleaned")) || strcmp(names.names[i], "swap") == 0);
        sys_list_free(&names);
        sys_sim_reboot(s);
    }
}

static void test_crash(void **x) {
    (void)x;
    static const struct crash_test t = {
        .seeds = 6, .state_size = sizeof(struct my), .scenario = scenario, .recover = recover, .verify = verify, .kills = true, .faults = true};
    crash_try_all(&t);
}

// The disk is full while compaction writes: it gives up without a trace, and works when there is room again.
static void test_disk_full(void **x) {
    (void)x;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sys *s = sys_sim_new(seed);
        struct my m = {0};
        struct log *l = open_log(s, false);
        assert_non_null(l);
        assert_int_equal(fill(l, &m, 60), ERR_OK);
        log_tidy(l);
        sys_sim_disk_size(s, 1);
        uint64_t bytes = log_bytes(l);
        compact(l, &m);
        assert_int_equal(log_bytes(l), bytes);
        assert_false(log_offline(l));
        check(l, &m);
        sys_sim_disk_size(s, 0);
        compact(l, &m);
        assert_true(log_bytes(l) < bytes);
        check(l, &m);
        log_discard(l);
        sys_sim_reboot(s);
        verify(s, &m);
        sys_sim_free(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {crash_unit_test(test_crash), crash_unit_test(test_disk_full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
