// SPDX-License-Identifier: Apache-2.0
// Compaction against a model: random keys, deletions, codecs, transactions and producers are compacted again and again, and what a reader
// finds is compared with a plain table of what was written. The simulated disk.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/compress.h"
#include "codec/crc32c.h"
#include "log/compact.h"
#include "log/compact_map.h"
#include "sys/sim.h"

enum { KEYS = 40, RECORDS_MAX = 20000 };

struct written { // by offset
    int key;     // -1 = a marker
    bool deletion, aborted, transactional;
    int64_t time, producer;
};

struct model {
    struct sys *sys;
    struct log *log;
    struct written *all;
    int64_t end;
    uint64_t rng;
    int64_t now;
    int64_t open[3]; // first offset of an open transaction of producers 100..102; -1 = none
};

static const struct log_config config = {.segment_bytes = 4000, .retention_ms = -1, .retention_bytes = -1, .index_interval_bytes = 256};

static uint64_t next_random(struct model *m) {
    m->rng = m->rng * 6364136223846793005u + 1442695040888963407u;
    return m->rng >> 33;
}

static void open_model(struct model *m, uint64_t seed) {
    *m = (struct model){.sys = sys_sim_new(seed), .rng = seed * 7919 + 1, .now = 1000000, .open = {-1, -1, -1}};
    m->all = mem_zalloc(RECORDS_MAX * sizeof *m->all);
    struct err err = {0};
    m->log = log_open(m->sys, "t-0", &config, NULL, false, &err);
    if (m->log == NULL) fail_msg("%s", err.msg);
    assert_int_equal(sys_sync_dir(m->sys, ".", NULL), ERR_OK);
}

static void close_model(struct model *m) {
    assert_int_equal(log_close(m->log, NULL), ERR_OK);
    mem_free(m->all);
    sys_sim_free(m->sys);
}

static void seal(struct buf *b, int codec) { // compresses a batch that was built
    struct buf out = {0};
    buf_put(&out, b->p, BATCH_HEADER);
    assert_int_equal(compress_bytes((enum compress_kind)codec, str_n(b->p + BATCH_HEADER, b->n - BATCH_HEADER), &out, NULL), ERR_OK);
    out.p[22] |= (uint8_t)codec;
    buf_set_be32(&out, 8, (uint32_t)(out.n - BATCH_PREFIX));
    buf_set_be32(&out, 17, crc32c(0, out.p + 21, out.n - 21));
    buf_fini(b);
    *b = out;
}

static void put(struct model *m, struct buf *b) {
    struct log_appended a;
    assert_int_equal(log_append(m->log, buf_str(b), 0, &a, NULL), ERR_OK);
    assert_int_equal(a.base_offset, m->end);
    m->end = a.last_offset + 1;
    buf_fini(b);
}

static void write_marker(struct model *m, int64_t producer, bool commit) {
    struct buf b = {0}, key = {0}, value = {0};
    struct batch_builder bb;
    buf_put_be16(&key, 0);
    buf_put_be16(&key, commit);
    buf_put_be16(&value, 0);
    buf_put_be32(&value, 0);
    batch_begin(&bb, &b, m->now);
    bb.producer_id = producer;
    bb.producer_epoch = 0;
    bb.attributes = BATCH_ATTR_TRANSACTION | BATCH_ATTR_CONTROL;
    batch_add(&bb, m->now, buf_str(&key), false, buf_str(&value), false, NULL, 0);
    batch_end(&bb);
    m->all[m->end] = (struct written){.key = -1, .producer = producer, .time = m->now};
    int64_t first = m->open[producer - 100];
    for (int64_t o = first; !commit && first >= 0 && o < m->end; o++)
        if (m->all[o].producer == producer && m->all[o].transactional) m->all[o].aborted = true;
    m->open[producer - 100] = -1;
    put(m, &b);
    buf_fini(&key);
    buf_fini(&value);
}

static void write_batch(struct model *m, int64_t producer) {
    struct buf b = {0};
    struct batch_builder bb;
    bool transactional = producer >= 100;
    int n = (int)(next_random(m) % 5) + 1;
    batch_begin(&bb, &b, m->now);
    bb.producer_id = producer;
    bb.producer_epoch = producer < 0 ? -1 : 0;
    bb.base_sequence = producer < 0 ? -1 : (int32_t)(m->end % 100000);
    if (transactional) bb.attributes = BATCH_ATTR_TRANSACTION;
    if (transactional && m->open[producer - 100] < 0) m->open[producer - 100] = m->end;
    for (int i = 0; i < n; i++) {
        char key[16], value[64];
        struct written *w = &m->all[m->end + i];
        *w = (struct written){.key = (int)(next_random(m) % KEYS), .deletion = next_random(m) % 6 == 0, .transactional = transactional};
        w->time = m->now + i;
        w->producer = producer;
        snprintf(key, sizeof key, "key-%d", w->key);
        snprintf(value, sizeof value, "value-%lld-%d", (long long)m->end + i, w->key);
        batch_add(&bb, w->time, str_c(key), false, w->deletion ? (struct str){NULL, 0} : str_c(value), w->deletion, NULL, 0);
    }
    batch_end(&bb);
    int codec = (int)(next_random(m) % (2 * COMPRESS_COUNT));
    if (codec > 0 && codec < COMPRESS_COUNT) seal(&b, codec);
    put(m, &b);
    m->now += 10;
}

static void write_some(struct model *m, int batches, bool transactions) {
    for (int i = 0; i < batches && m->end + 10 < RECORDS_MAX; i++) {
        uint64_t what = next_random(m) % 8;
        if (transactions && what < 3) write_batch(m, 100 + (int64_t)what);
        else if (transactions && what == 3 && m->open[i % 3] >= 0) write_marker(m, 100 + i % 3, next_random(m) % 2 == 0);
        else write_batch(m, what == 4 ? 7 : -1);
    }
    assert_int_equal(log_sync(m->log, NULL), ERR_OK);
    log_tidy(m->log);
}

static struct log_compaction_stats compact(struct model *m, int64_t retention, size_t map_bytes, const struct log_producer_last *last, size_t n) {
    struct log_compaction_config c = {.now_ms = m->now, .delete_retention_ms = retention, .map_bytes = map_bytes, .step_bytes = 700};
    struct log_compaction_stats stats;
    struct err err = {0};
    c.producers = last;
    c.n_producers = n;
    struct log_compaction *x = log_compaction_begin(m->log, &c);
    for (bool more = true; more;)
        if (log_compaction_step(x, &more, &err) != ERR_OK) fail_msg("%s", err.msg);
    log_compaction_end(x, &stats);
    return stats;
}

// Reads the whole log, checks every record against what was written, and notes in `seen` which offsets are there.
static void read_log(struct model *m, bool *seen) {
    struct buf b = {0};
    int64_t at = log_start(m->log), before = -1;
    memset(seen, 0, (size_t)m->end);
    while (at < m->end) {
        struct err err = {0};
        buf_clear(&b);
        if (log_read(m->log, at, 1 + next_random(m) % 3000, &b, &err) != ERR_OK) fail_msg("%s", err.msg);
        assert_true(b.n > 0);
        struct batch x;
        for (size_t pos = 0; pos < b.n; pos += x.size) {
            struct batch_iter it;
            struct batch_record r;
            assert_int_equal(batch_read(b.p + pos, b.n - pos, &x), BATCH_OK);
            assert_true(batch_crc_ok(&x) && x.base_offset > before && batch_last_offset(&x) >= at);
            assert_int_equal(batch_iter_init(&it, &x, 0, &err), ERR_OK);
            int32_t n = 0;
            for (; batch_iter_next(&it, &r, &err) == 1; n++) {
                const struct written *w = &m->all[r.offset];
                char want[64];
                assert_true(r.offset > before && r.offset <= batch_last_offset(&x));
                before = r.offset;
                seen[r.offset] = true;
                assert_int_equal(r.timestamp, w->time);
                assert_true(r.timestamp <= x.max_timestamp);
                assert_int_equal(x.producer_id, w->producer);
                if (w->key < 0) continue;
                snprintf(want, sizeof want, "key-%d", w->key);
                assert_true(str_eqc(r.key, want));
                snprintf(want, sizeof want, "value-%lld-%d", (long long)r.offset, w->key);
                assert_true(r.value_null == w->deletion && (w->deletion || str_eqc(r.value, want)));
            }
            assert_int_equal(n, x.count);
            batch_iter_fini(&it);
            before = batch_last_offset(&x);
            at = before + 1;
        }
    }
    buf_fini(&b);
}

// The newest record of each key that is not aborted must be there (a deletion may be gone when `gone`); below `clean` nothing else may.
static void check(struct model *m, int64_t clean, bool deletions_gone) {
    bool *seen = mem_zalloc((size_t)m->end + 1);
    int64_t newest[KEYS];
    read_log(m, seen);
    memset(newest, -1, sizeof newest);
    for (int64_t o = 0; o < m->end; o++)
        if (m->all[o].key >= 0 && !m->all[o].aborted) newest[m->all[o].key] = o;
    for (int k = 0; k < KEYS; k++)
        if (newest[k] >= 0 && !seen[newest[k]] && !(deletions_gone && m->all[newest[k]].deletion)) fail_msg("key %d: newest record %lld is gone", k, (long long)newest[k]);
    int64_t newest_clean[KEYS];
    memset(newest_clean, -1, sizeof newest_clean);
    for (int64_t o = 0; o < clean; o++)
        if (m->all[o].key >= 0 && !m->all[o].aborted) newest_clean[m->all[o].key] = o;
    for (int64_t o = log_start(m->log); o < clean; o++) {
        const struct written *w = &m->all[o];
        if (seen[o] && w->key >= 0 && newest_clean[w->key] != o) fail_msg("offset %lld of key %d (%s) should be gone", (long long)o, w->key, w->aborted ? "aborted" : "old");
    }
    for (int64_t o = clean; o < m->end; o++) assert_true(seen[o]);
    mem_free(seen);
}

static int64_t clean_below(struct model *m) {
    struct log_dirt d;
    log_dirt(m->log, m->now, 0, false, &d);
    return d.first_dirty;
}

static void run(uint64_t seed, bool transactions, size_t map_bytes) {
    struct model m;
    open_model(&m, seed);
    for (int round = 0; round < 8; round++) {
        write_some(&m, 120, transactions);
        struct log_dirt before, after;
        log_dirt(m.log, m.now, 0, true, &before);
        assert_true(before.dirty_bytes > 0);
        assert_true(before.earliest_ms > 0);
        struct log_compaction_stats stats = compact(&m, 1LL << 50, map_bytes, NULL, 0);
        assert_true(stats.records_kept <= stats.records_read);
        log_dirt(m.log, m.now, 0, false, &after);
        assert_true(after.first_dirty >= before.first_dirty);
        if (!transactions && map_bytes == 0) {
            assert_int_equal(after.dirty_bytes, 0);
            assert_int_equal(after.first_dirty, before.upper);
            assert_true(after.clean_bytes < 6000); // 40 keys
        }
        check(&m, after.first_dirty, false);
        if (round % 3 == 2) { // opened again, with its gaps
            struct err err = {0};
            bool clean = round == 5;
            if (clean) assert_int_equal(log_close(m.log, NULL), ERR_OK);
            else log_discard(m.log);
            m.log = log_open(m.sys, "t-0", &config, NULL, clean, &err);
            if (m.log == NULL) fail_msg("%s", err.msg);
            assert_int_equal(log_end(m.log), m.end);
            assert_int_equal(clean_below(&m), after.first_dirty);
            check(&m, after.first_dirty, false);
        }
    }
    close_model(&m);
}

static void test_model(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) run(seed, false, 0);
}

static void test_model_transactions(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) run(seed, true, 0);
}

// A deletion stays delete.retention.ms after it was first compacted, then it goes, with the next compaction that has work to do.
static void test_deletions(void **state) {
    (void)state;
    struct model m;
    open_model(&m, 77);
    write_some(&m, 200, false);
    compact(&m, 5000, 0, NULL, 0);
    check(&m, clean_below(&m), false);
    int64_t first = clean_below(&m);
    m.now += 4000;
    write_some(&m, 30, false);
    compact(&m, 5000, 0, NULL, 0);
    check(&m, clean_below(&m), false);
    m.now += 8000;
    write_some(&m, 30, false);
    compact(&m, 5000, 0, NULL, 0);
    check(&m, clean_below(&m), true);
    bool *seen = mem_zalloc((size_t)m.end + 1);
    read_log(&m, seen);
    for (int64_t o = 0; o < first; o++) assert_false(seen[o] && m.all[o].deletion);
    mem_free(seen);
    close_model(&m);
}

// Markers go when their records are gone and the horizon has passed; a live producer's last batch stays as an empty one.
static void test_producers(void **state) {
    (void)state;
    struct model m;
    open_model(&m, 5);
    write_batch(&m, 7); // the only one of producer 7
    int64_t last = m.end - 1;
    write_batch(&m, 100);
    write_marker(&m, 100, false);
    int64_t marker = m.end - 1;
    bool *seen = mem_zalloc(RECORDS_MAX);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 150; i++) write_batch(&m, -1);
        write_some(&m, 0, false);
        struct log_producer_last p = {7, last, 0};
        compact(&m, 1000, 0, &p, 1);
        read_log(&m, seen);
        assert_false(seen[last]); // its keys were written again
        assert_int_equal(seen[marker], round < 2); // round 0: records there; 1: horizon set; then past
        struct buf b = {0};
        struct batch x;
        assert_int_equal(log_read(m.log, last, 1, &b, NULL), ERR_OK);
        assert_int_equal(batch_read(b.p, b.n, &x), BATCH_OK);
        assert_true(x.producer_id == 7 && batch_last_offset(&x) == last && x.count == 0);
        buf_fini(&b);
        m.now += 2000;
    }
    mem_free(seen);
    close_model(&m);
}

// Each compacted segment keeps its last batch, with no record in it: clients are not given such ones alone.
static void test_empty_batches(void **state) {
    (void)state;
    struct model m;
    open_model(&m, 6);
    write_batch(&m, -1);
    for (int i = 0; i < 600; i++) { // the same few keys, over many segments
        m.rng = 99;
        write_batch(&m, -1);
    }
    write_some(&m, 0, false);
    struct log_compaction_stats stats = compact(&m, 1000, 0, NULL, 0);
    assert_true(stats.segments_after > 10);
    int empty = 0;
    for (int64_t at = log_start(m.log); at < m.end;) {
        struct log_view here = {0}, records = {0};
        assert_int_equal(log_read_view(m.log, at, 1000, true, &here, NULL), ERR_OK);
        assert_int_equal(log_read_records(m.log, at, 1000, true, &records, NULL), ERR_OK);
        empty += here.empty;
        assert_true(here.n > 0 && records.n > 0 && !records.empty && records.next >= here.next);
        at = here.next;
        log_view_release(&here);
        log_view_release(&records);
    }
    assert_true(empty > 10);
    close_model(&m);
}

// A table of keys that is too small takes a part of the log at a time.
static void test_small_map(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(1);
    struct compact_map map;
    compact_map_init(&map, s, 50000);
    char key[20];
    int n = 0;
    for (; snprintf(key, sizeof key, "%d", n) > 0 && compact_map_put(&map, str_c(key), n); n++) {
    }
    assert_int_equal(n, 1024 * 2 / 4 * 3);
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(compact_map_get(&map, str_c(key)), i);
        assert_true(compact_map_put(&map, str_c(key), i + 1));
    }
    assert_int_equal(compact_map_get(&map, STR("other")), -1);
    assert_int_equal(compact_map_room(&map), 0);
    compact_map_fini(&map);
    sys_sim_free(s);
}

static void test_lag(void **state) {
    (void)state;
    struct model m;
    open_model(&m, 9);
    write_some(&m, 200, false);
    int64_t middle = m.end, then = m.now;
    m.now += 1000000;
    write_some(&m, 200, false);
    struct log_dirt d;
    log_dirt(m.log, m.now, m.now - then - 100000, false, &d);
    assert_true(d.upper <= middle && d.dirty_bytes > 0);
    struct log_compaction_config c = {.now_ms = m.now, .min_lag_ms = m.now - then - 100000};
    struct log_compaction *x = log_compaction_begin(m.log, &c);
    for (bool more = true; more;) assert_int_equal(log_compaction_step(x, &more, NULL), ERR_OK);
    log_compaction_end(x, NULL);
    assert_int_equal(clean_below(&m), d.upper);
    check(&m, d.upper, true);
    close_model(&m);
}

static void test_delete_before(void **state) {
    (void)state;
    struct model m;
    struct err err = {0};
    struct buf b = {0};
    open_model(&m, 3);
    write_some(&m, 100, false);
    int64_t at = m.end / 2 + 1;
    assert_int_equal(log_delete_before(m.log, m.end + 1, &err), ERR_OFFSET_RANGE);
    assert_int_equal(log_delete_before(m.log, at, &err), ERR_OK);
    assert_int_equal(log_start(m.log), at);
    assert_int_equal(log_delete_before(m.log, at - 5, &err), ERR_OK);
    assert_int_equal(log_start(m.log), at); // never back
    assert_int_equal(log_read(m.log, at - 1, 100, &b, &err), ERR_OFFSET_RANGE);
    assert_int_equal(log_read(m.log, at, 100, &b, &err), ERR_OK);
    int64_t offset, found;
    assert_int_equal(log_find_time(m.log, 0, &offset, &found, &err), ERR_OK);
    assert_int_equal(offset, at);
    uint64_t bytes = log_bytes(m.log);
    assert_true(log_retain(m.log, m.now, 0, &err) > 0);
    assert_true(log_bytes(m.log) < bytes);
    log_discard(m.log);
    sys_sim_reboot(m.sys);
    m.log = log_open(m.sys, "t-0", &config, NULL, false, &err);
    assert_non_null(m.log);
    assert_int_equal(log_start(m.log), at);
    assert_int_equal(log_delete_before(m.log, m.end, &err), ERR_OK); // all of it
    assert_int_equal(log_start(m.log), m.end);
    b.n = 0;
    assert_int_equal(log_read(m.log, m.end, 100, &b, &err), ERR_OK);
    assert_int_equal(b.n, 0);
    buf_fini(&b);
    close_model(&m);
}

// segment.jitter.ms and segment.index.bytes close segments earlier.
static void test_roll(void **state) {
    (void)state;
    struct sys *s = sys_sim_new(4);
    struct err err = {0};
    struct log_config c = {.segment_bytes = 1 << 20, .segment_ms = 10000, .retention_ms = -1, .retention_bytes = -1, .index_interval_bytes = 100};
    c.segment_jitter_ms = 9000;
    struct log *l = log_open(s, "t-0", &c, NULL, false, &err);
    assert_non_null(l);
    struct log_dirt d;
    int early = 0;
    for (int i = 0; i < 30; i++) { // half a segment's time goes by: with jitter some are due
        struct buf b = {0};
        struct batch_builder bb;
        struct log_appended a;
        batch_begin(&bb, &b, 1000);
        batch_add(&bb, 1000, STR("k"), false, STR("v"), false, NULL, 0);
        batch_end(&bb);
        assert_int_equal(log_append(l, buf_str(&b), 0, &a, &err), ERR_OK);
        sys_sim_advance(s, 5500000);
        log_roll_due(l);
        assert_int_equal(log_sync(l, &err), ERR_OK);
        log_tidy(l);
        log_dirt(l, 0, 0, false, &d);
        early += d.dirty_bytes == log_bytes(l);
        buf_fini(&b);
    }
    if (early <= 15 || early >= 30) fail_msg("%d segments were closed", early);
    c.segment_jitter_ms = 0;
    c.segment_ms = 0;
    c.segment_index_bytes = 80;
    log_configure(l, &c);
    assert_int_equal(log_roll(l, &err), ERR_OK);
    log_dirt(l, 0, 0, false, &d);
    uint64_t before = d.dirty_bytes;
    for (int i = 0; i < 40; i++) {
        struct buf b = {0};
        struct batch_builder bb;
        struct log_appended a;
        batch_begin(&bb, &b, 1000);
        batch_add(&bb, 1000, STR("k"), false, STR("a value that makes the batch longer than one hundred bytes: .........................."), false, NULL, 0);
        batch_end(&bb);
        assert_int_equal(log_append(l, buf_str(&b), 0, &a, &err), ERR_OK);
        buf_fini(&b);
    }
    assert_int_equal(log_sync(l, &err), ERR_OK);
    log_tidy(l);
    log_dirt(l, 0, 0, false, &d);
    assert_true(d.dirty_bytes > before + 2000); // three segments of ten entries
    assert_int_equal(log_close(l, &err), ERR_OK);
    sys_sim_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),     cmocka_unit_test(test_model_transactions), cmocka_unit_test(test_deletions), cmocka_unit_test(test_producers),
        cmocka_unit_test(test_small_map), cmocka_unit_test(test_lag),                cmocka_unit_test(test_delete_before),
        cmocka_unit_test(test_roll),      cmocka_unit_test(test_empty_batches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
