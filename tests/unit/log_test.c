// SPDX-License-Identifier: Apache-2.0
// The log room on the real disk: batches, append and read, rolling, indexes, recovery, retention, search by time.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/compress.h"
#include "codec/crc32c.h"
#include "log/log.h"

static struct sys *sys;
static char dir[256];

static int setup(void **state) {
    (void)state;
    sys = sys_real();
    struct str base = str_c("/tmp");
    uint8_t id[16];
    char text[37];
    sys_uuid(sys, id);
    sys_uuid_text(id, text);
    struct buf b = {0};
    buf_printf(&b, STR_FMT "/millrace-log-%s", STR_ARG(base), text);
    assert_int_equal(sys_mkdirs(sys, buf_cstr(&b), NULL), ERR_OK);
    buf_puts(&b, "/p-0");
    (void)buf_cstr(&b);
    memcpy(dir, buf_cstr(&b), b.n + 1);
    buf_fini(&b);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char parent[256];
    memcpy(parent, dir, sizeof parent);
    parent[strlen(parent) - 4] = '\0';
    return sys_remove_tree(sys, parent, NULL) == ERR_OK ? 0 : -1;
}

static const struct log_config config = {.segment_bytes = 1 << 20, .retention_ms = -1, .retention_bytes = -1, .index_interval_bytes = 4096};

static void make(struct buf *out, int64_t time, int records, size_t value_size) {
    char value[2048];
    memset(value, 'v', sizeof value);
    assert_true(value_size <= sizeof value);
    struct batch_builder bb;
    batch_begin(&bb, out, time);
    for (int i = 0; i < records; i++) batch_add(&bb, time + i, STR("key"), false, str_n(value, value_size), false, NULL, 0);
    batch_end(&bb);
}

static struct log_appended append(struct log *l, int64_t time, int records, size_t value_size) {
    struct buf b = {0};
    make(&b, time, records, value_size);
    struct log_appended a;
    struct err err = {0};
    if (log_append(l, buf_str(&b), 0, &a, &err) != ERR_OK) fail_msg("%s", err.msg);
    buf_fini(&b);
    return a;
}

static struct log *open_log(const struct log_config *c, bool clean) {
    struct err err = {0};
    struct log *l = log_open(sys, dir, c, NULL, clean, &err);
    if (l == NULL) fail_msg("%s", err.msg);
    return l;
}

// Reads all from `from`, checks that offsets are contiguous, returns how many records.
static int64_t read_all(struct log *l, int64_t from, size_t max_bytes) {
    int64_t next = from, records = 0;
    bool first = true;
    struct buf b = {0};
    for (;;) {
        struct err err = {0};
        buf_clear(&b);
        if (log_read(l, next, max_bytes, &b, &err) != ERR_OK) fail_msg("%s", err.msg);
        if (b.n == 0) break;
        for (size_t at = 0; at < b.n;) {
            struct batch x;
            assert_int_equal(batch_read(b.p + at, b.n - at, &x), BATCH_OK);
            assert_true(batch_crc_ok(&x));
            if (first) assert_true(x.base_offset <= from && batch_last_offset(&x) >= from);
            else assert_int_equal(x.base_offset, next);
            first = false;
            records += batch_last_offset(&x) + 1 - next;
            next = batch_last_offset(&x) + 1;
            at += x.size;
        }
    }
    assert_int_equal(next, log_durable_end(l));
    buf_fini(&b);
    return records;
}

static void test_batch(void **state) {
    (void)state;
    struct buf b = {0};
    struct batch_builder bb;
    struct batch_header headers[2] = {{STR("h1"), STR("x"), false}, {STR("h2"), {NULL, 0}, true}};
    batch_begin(&bb, &b, 1000);
    batch_add(&bb, 1000, STR("k"), false, STR("value"), false, headers, 2);
    batch_add(&bb, 990, STR(""), true, STR(""), true, NULL, 0);
    batch_add(&bb, 5000, STR(""), false, STR(""), false, NULL, 0);
    batch_end(&bb);
    struct batch x;
    assert_int_equal(batch_read(b.p, b.n, &x), BATCH_OK);
    assert_true(batch_crc_ok(&x));
    assert_int_equal(x.count, 3);
    assert_int_equal(x.max_timestamp, 5000);
    assert_int_equal(x.producer_id, -1);
    batch_set_offset(b.p, 70, 3);
    assert_int_equal(batch_read(b.p, b.n, &x), BATCH_OK);
    assert_true(batch_crc_ok(&x));
    struct batch_iter it;
    struct batch_record r;
    assert_int_equal(batch_iter_init(&it, &x, 0, NULL), ERR_OK);
    assert_int_equal(batch_iter_next(&it, &r, NULL), 1);
    assert_int_equal(r.offset, 70);
    assert_true(str_eqc(r.value, "value") && str_eqc(r.key, "k") && r.n_headers == 2);
    struct batch_header h;
    struct str rest = r.headers;
    assert_true(batch_header_next(&rest, &h) && str_eqc(h.key, "h1") && str_eqc(h.value, "x"));
    assert_true(batch_header_next(&rest, &h) && str_eqc(h.key, "h2") && h.value_null);
    assert_false(batch_header_next(&rest, &h));
    assert_int_equal(rest.n, 0);
    assert_int_equal(batch_iter_next(&it, &r, NULL), 1);
    assert_true(r.key_null && r.value_null && r.timestamp == 990 && r.offset == 71);
    assert_int_equal(batch_iter_next(&it, &r, NULL), 1);
    assert_true(!r.key_null && !r.value_null && r.timestamp == 5000);
    assert_int_equal(batch_iter_next(&it, &r, NULL), 0);
    batch_iter_fini(&it);
    batch_set_append_time(b.p, b.n, 77777);
    assert_int_equal(batch_read(b.p, b.n, &x), BATCH_OK);
    assert_true(batch_crc_ok(&x) && x.max_timestamp == 77777 && (x.attributes & BATCH_ATTR_APPEND_TIME) != 0);
    for (size_t n = 0; n < b.n; n++) assert_int_equal(batch_read(b.p, n, &x), BATCH_SHORT);
    b.p[b.n - 1] ^= 1;
    assert_int_equal(batch_read(b.p, b.n, &x), BATCH_OK);
    assert_false(batch_crc_ok(&x));
    buf_fini(&b);
}

// Replaces the records of an uncompressed batch by their compressed form.
static void compress_batch(struct buf *b, enum compress_kind kind) {
    struct buf out = {0};
    buf_put(&out, b->p, BATCH_HEADER);
    assert_int_equal(compress_bytes(kind, str_n(b->p + BATCH_HEADER, b->n - BATCH_HEADER), &out, NULL), ERR_OK);
    out.p[22] |= (uint8_t)kind;
    buf_set_be32(&out, 8, (uint32_t)(out.n - BATCH_PREFIX));
    buf_set_be32(&out, 17, crc32c(0, out.p + 21, out.n - 21));
    buf_fini(b);
    *b = out;
}

static void test_batch_compressed(void **state) {
    (void)state;
    for (int kind = COMPRESS_GZIP; kind < COMPRESS_COUNT; kind++) {
        struct buf b = {0};
        make(&b, 1000, 20, 100);
        compress_batch(&b, (enum compress_kind)kind);
        struct batch x;
        assert_int_equal(batch_read(b.p, b.n, &x), BATCH_OK);
        assert_true(batch_crc_ok(&x) && x.size < 600);
        struct batch_iter it;
        struct batch_record r;
        assert_int_equal(batch_iter_init(&it, &x, 0, NULL), ERR_OK);
        int n = 0;
        for (; batch_iter_next(&it, &r, NULL) == 1; n++) assert_true(r.offset == n && r.value.n == 100 && str_eqc(r.key, "key"));
        assert_int_equal(n, 20);
        batch_iter_fini(&it);
        struct err err = {0};
        assert_int_equal(batch_iter_init(&it, &x, 64, &err), ERR_TOO_LARGE);
        batch_iter_fini(&it);
        buf_fini(&b);
    }
}

static void test_append_read(void **state) {
    (void)state;
    struct log *l = open_log(&config, true);
    struct buf b = {0};
    assert_int_equal(log_read(l, 0, 1000, &b, NULL), ERR_OK);
    assert_int_equal(b.n, 0);
    int64_t total = 0;
    for (int i = 0; i < 3000; i++) {
        struct log_appended a = append(l, 1000 + i, 1 + i % 7, (size_t)(i * 37 % 1500));
        assert_int_equal(a.base_offset, total);
        total = a.last_offset + 1;
    }
    assert_int_equal(log_durable_end(l), 0);
    assert_int_equal(log_read(l, 0, 1000, &b, NULL), ERR_OK);
    assert_int_equal(b.n, 0); // nothing is durable yet
    assert_int_equal(log_read(l, 1, 1000, &b, NULL), ERR_OFFSET_RANGE);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    assert_int_equal(log_durable_end(l), total);
    assert_int_equal(read_all(l, 0, 1 << 20), total);
    assert_int_equal(read_all(l, 0, 1), total);       // one batch at a time
    assert_int_equal(read_all(l, 0, 10000), total);
    for (int64_t from = 0; from < total; from += 97) assert_int_equal(read_all(l, from, 1 << 22), total - from); // also inside batches
    assert_int_equal(log_read(l, total + 1, 1000, &b, NULL), ERR_OFFSET_RANGE);
    assert_int_equal(log_read(l, -1, 1000, &b, NULL), ERR_OFFSET_RANGE);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    l = open_log(&config, true); // indexes come from files
    assert_int_equal(log_end(l), total);
    for (int64_t from = total; from > 0; from -= 1111) assert_int_equal(read_all(l, from, 1 << 22), total - from);
    append(l, 1, 5, 10);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    l = open_log(&config, false);
    assert_int_equal(read_all(l, 0, 1 << 20), total + 5);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    buf_fini(&b);
}

static void write_at(const char *name, int64_t offset, const void *p, size_t n) { // offset < 0: from the end
    struct buf path = {0};
    buf_printf(&path, "%s/%s", dir, name);
    struct sys_file *f = sys_open(sys, buf_cstr(&path), SYS_READ | SYS_WRITE | SYS_CREATE, NULL);
    assert_non_null(f);
    if (offset < 0) offset += sys_file_size(f, NULL) + 1;
    assert_int_equal(sys_pwrite(f, p, n, (uint64_t)offset, NULL), ERR_OK);
    sys_close(f);
    buf_fini(&path);
}

static void remove_file(const char *name) {
    struct buf path = {0};
    buf_printf(&path, "%s/%s", dir, name);
    assert_int_equal(sys_unlink(sys, buf_cstr(&path), NULL), ERR_OK);
    buf_fini(&path);
}

static void test_recover_torn(void **state) {
    (void)state;
    struct log *l = open_log(&config, true);
    for (int i = 0; i < 100; i++) append(l, i, 2, 300);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    const char *name = "00000000000000000000.log";
    write_at(name, -1, "torn tail that is no batch", 26);
    l = open_log(&config, false);
    assert_int_equal(read_all(l, 0, 1 << 20), 200);
    append(l, 5, 1, 10);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    write_at(name, 50000, "X", 1); // damage inside: everything behind is cut, since the close was not clean
    l = open_log(&config, false);
    int64_t end = log_end(l);
    assert_true(end > 100 && end < 200);
    assert_int_equal(read_all(l, 0, 1 << 20), end);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    l = open_log(&config, false);
    assert_int_equal(log_end(l), end);
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

static int64_t file_size(const char *name) {
    struct buf path = {0};
    struct sys_stat st;
    buf_printf(&path, "%s/%s", dir, name);
    assert_int_equal(sys_stat(sys, buf_cstr(&path), &st, NULL), ERR_OK);
    buf_fini(&path);
    return (int64_t)st.size;
}

// A recovery point inside the active segment: behind it the first bad byte is the end, in front of it nothing is cut.
static void test_recovery_point(void **state) {
    (void)state;
    const char *name = "00000000000000000000.log", *point = "00000000000000000000.point";
    struct log_config small = config;
    small.point_bytes = 20000;
    struct log *l = open_log(&small, true);
    for (int i = 0; i < 100; i++) append(l, i, 2, 300); // a point at about 20000, and one at 40000
    assert_false(log_point_ready(l)); // nothing is durable
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    assert_true(log_point_ready(l) && log_needs_tidy(l));
    log_tidy(l);
    assert_false(log_point_ready(l));
    assert_true(file_size(point) > 64);
    append(l, 1000, 2, 300); // not synced: what lies behind the bytes that are written does not count
    int64_t bytes = (int64_t)log_bytes(l);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    log_discard(l); // as after kill -9
    write_at(name, 3000, "X", 1);
    l = open_log(&small, false); // in front: nothing is cut, and a reader is told
    assert_int_equal(log_end(l), 202);
    assert_int_equal((int64_t)log_bytes(l), bytes);
    struct buf b = {0};
    struct err err = {0};
    assert_int_equal(log_read(l, 8, 10, &b, &err), ERR_CORRUPT);
    buf_fini(&b);
    assert_int_equal(read_all(l, 40, 1 << 20), 162); // the index of the point leads past it
    int64_t offset, found;
    assert_int_equal(log_find_max_time(l, &offset, &found, NULL), ERR_OK);
    assert_int_equal(found, 1001);
    log_discard(l);
    write_at(name, bytes - 100, "X", 1); // behind: cut
    l = open_log(&small, false);
    assert_int_equal(log_end(l), 200);
    assert_true((int64_t)log_bytes(l) < bytes);
    log_discard(l);
    // shorter than what was durable: those offsets are not given away again
    struct buf path = {0};
    buf_printf(&path, "%s/%s", dir, name);
    struct sys_file *f = sys_open(sys, buf_cstr(&path), SYS_READ | SYS_WRITE, NULL);
    assert_int_equal(sys_truncate(f, 20000, NULL), ERR_OK);
    sys_close(f);
    buf_fini(&path);
    l = open_log(&small, false);
    int64_t end = log_end(l);
    assert_true(end > 40 && end < 200);
    assert_int_equal(log_read(l, end - 1, 10, &b, &err), ERR_CORRUPT);
    buf_fini(&b);
    append(l, 7, 2, 300);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    assert_int_equal(read_all(l, end, 1 << 20), 2);
    log_discard(l);
    write_at(point, 70, "?", 1); // damaged: the whole segment is scanned, up to the damage
    l = open_log(&small, false);
    end = log_end(l);
    assert_true(end > 0 && end < 20);
    assert_int_equal(read_all(l, 0, 1 << 20), end);
    assert_int_equal(log_roll(l, NULL), ERR_OK); // the index takes its place
    append(l, 8, 2, 300);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    log_tidy(l);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    struct sys_list names;
    assert_int_equal(sys_list_dir(sys, dir, &names, NULL), ERR_OK);
    for (size_t i = 0; i < names.n; i++) assert_false(str_ends(str_c(names.names[i]), STR(".point")));
    sys_list_free(&names);
}

// Room that small appends reserve behind them: given back by a roll and a close, and found again after a power cut.
static void test_reserved_room(void **state) {
    (void)state;
    const char *name = "00000000000000000000.log";
    struct log *l = open_log(&config, true);
    for (int i = 0; i < 10; i++) append(l, i, 2, 100);
    int64_t bytes = (int64_t)log_bytes(l);
    assert_true(file_size(name) > bytes);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    assert_int_equal(read_all(l, 0, 1 << 20), 20);
    log_discard(l); // as after kill -9
    l = open_log(&config, false);
    assert_int_equal(log_end(l), 20);
    assert_int_equal((int64_t)log_bytes(l), bytes);
    assert_int_equal(file_size(name), bytes);
    append(l, 1, 2, 100);
    assert_int_equal(log_roll(l, NULL), ERR_OK);
    bytes = (int64_t)log_bytes(l);
    append(l, 2, 2, 100);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    assert_true(file_size(name) > bytes); // until log_tidy
    assert_true(file_size("00000000000000000022.log") > (int64_t)log_bytes(l) - bytes);
    log_discard(l); // the room was not given back: nothing behind may be lost
    l = open_log(&config, false);
    assert_int_equal(log_end(l), 24);
    assert_int_equal(read_all(l, 0, 1 << 20), 24);
    assert_int_equal(file_size(name), bytes);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    l = open_log(&config, true);
    assert_int_equal(log_end(l), 24);
    append(l, 1, 100, 1000);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    assert_int_equal(log_roll(l, NULL), ERR_OK);
    assert_true(file_size("00000000000000000022.log") + bytes > (int64_t)log_bytes(l));
    log_tidy(l);
    assert_true(file_size("00000000000000000022.log") + bytes == (int64_t)log_bytes(l));
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

static void test_closed_segments(void **state) {
    (void)state;
    struct log_config small = config;
    small.segment_bytes = 20000;
    struct log *l = open_log(&small, true);
    for (int i = 0; i < 300; i++) append(l, i, 2, 300);
    assert_true(log_needs_sync(l));
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    assert_false(log_needs_sync(l));
    assert_true(log_needs_tidy(l));
    log_tidy(l);
    assert_false(log_needs_tidy(l));
    assert_int_equal(log_close(l, NULL), ERR_OK);
    remove_file("00000000000000000000.index"); // missing, damaged head, damaged entries: rebuilt
    struct sys_list names;
    assert_int_equal(sys_list_dir(sys, dir, &names, NULL), ERR_OK);
    int indexes = 0;
    for (size_t i = 0; i < names.n; i++) {
        if (!str_ends(str_c(names.names[i]), STR(".index"))) continue;
        indexes++;
        if (indexes == 1) write_at(names.names[i], 10, "?", 1);
        if (indexes == 2) write_at(names.names[i], 70, "?", 1);
    }
    assert_true(indexes > 5);
    // A bit flip in a closed segment must not cut what follows: acknowledged data.
    write_at("00000000000000000000.log", 1000, "?", 1);
    l = open_log(&small, false);
    assert_int_equal(log_end(l), 600);
    assert_int_equal(read_all(l, 100, 1 << 20), 500);
    struct buf b = {0};
    struct err err = {0};
    assert_int_equal(log_read(l, 2, 10, &b, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "00000000000000000000.log"));
    buf_fini(&b);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    sys_list_free(&names);
}

static void test_retention(void **state) {
    (void)state;
    struct log_config small = config;
    small.segment_bytes = 20000;
    struct log *l = open_log(&small, true);
    for (int i = 0; i < 300; i++) append(l, 1000000 + i * 1000, 2, 300);
    assert_int_equal(log_retain(l, 1 << 30, 600, NULL), 0); // not durable: stays
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    assert_int_equal(log_retain(l, INT64_MAX, 0, NULL), 0);
    small.retention_ms = 100000;
    log_configure(l, &small);
    assert_true(log_retain(l, 1000000 + 200 * 1000, 0, NULL) > 0);
    int64_t start = log_start(l);
    assert_true(start > 100 && start <= 200);
    assert_int_equal(read_all(l, start, 1 << 20), 600 - start);
    struct buf b = {0};
    assert_int_equal(log_read(l, start - 1, 100, &b, NULL), ERR_OFFSET_RANGE);
    small.retention_ms = -1;
    small.retention_bytes = 50000;
    log_configure(l, &small);
    assert_true(log_retain(l, 0, 0, NULL) > 0);
    assert_true(log_bytes(l) >= 50000 && log_bytes(l) < 70000);
    small.retention_ms = 1; // the active segment is closed so that it can go
    log_configure(l, &small);
    log_roll_due(l);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    assert_true(log_retain(l, INT64_MAX, 0, NULL) > 0);
    assert_int_equal(log_bytes(l), 0);
    assert_int_equal(log_start(l), 600);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    l = open_log(&small, false);
    assert_int_equal(log_start(l), 600);
    assert_int_equal(append(l, 1, 1, 1).base_offset, 600);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    buf_fini(&b);
}

// The folder's name may be another log's by now: the workers of the old one make and remove nothing there.
static void test_abandoned(void **state) {
    (void)state;
    struct log_config small = config;
    small.segment_bytes = 20000;
    struct log *old = open_log(&small, true);
    for (int i = 0; i < 200; i++) append(old, 1000 + i, 2, 300);
    assert_int_equal(log_sync(old, NULL), ERR_OK);
    assert_true(log_needs_tidy(old));
    log_abandon(old);
    assert_int_equal(sys_remove_tree(sys, dir, NULL), ERR_OK);
    struct log *l = open_log(&small, true);
    append(l, 5000, 1, 300);
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    log_tidy(old);
    assert_int_equal(log_retain(old, INT64_MAX, 300, NULL), 0);
    log_discard(old);
    struct sys_list names = {0};
    assert_int_equal(sys_list_dir(sys, dir, &names, NULL), ERR_OK);
    assert_int_equal(names.n, 2); // partition.meta and the segment
    sys_list_free(&names);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    l = open_log(&small, false);
    assert_int_equal(read_all(l, 0, 1 << 20), 1);
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

static void test_find_time(void **state) {
    (void)state;
    struct log_config small = config;
    small.segment_bytes = 20000;
    struct log *l = open_log(&small, true);
    for (int i = 0; i < 300; i++) append(l, 1000 + i * 10, 3, 300); // times 1000+10i .. +2
    int64_t offset, found;
    assert_int_equal(log_find_time(l, 0, &offset, &found, NULL), ERR_OK);
    assert_int_equal(offset, -1); // nothing durable
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    for (int reopened = 0; reopened < 2; reopened++) {
        for (int64_t i = 0; i < 300; i++) {
            assert_int_equal(log_find_time(l, 1000 + i * 10 + 1, &offset, &found, NULL), ERR_OK);
            assert_int_equal(offset, i * 3 + 1);
            assert_int_equal(found, 1000 + i * 10 + 1);
        }
        assert_int_equal(log_find_time(l, 1000 + 300 * 10, &offset, &found, NULL), ERR_OK);
        assert_int_equal(offset, -1);
        assert_int_equal(log_find_max_time(l, &offset, &found, NULL), ERR_OK);
        assert_int_equal(offset, 899);
        assert_int_equal(found, 1000 + 299 * 10 + 2);
        assert_int_equal(log_close(l, NULL), ERR_OK);
        l = open_log(&small, true);
    }
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

// The caller's state: here the number of batches and the sum of their counts.
struct tally {
    int64_t batches, records;
    int loads;
};
static void tally_save(void *arg, struct buf *out) { buf_put(out, arg, 16); }
static bool tally_load(void *arg, struct str s) {
    struct tally *t = arg;
    if (s.n != 16) return false;
    memcpy(t, s.p, 16);
    t->loads++;
    return true;
}
static void tally_batch(void *arg, const struct batch *b) {
    struct tally *t = arg;
    t->batches++;
    t->records += b->count;
}

static void test_state(void **state) {
    (void)state;
    struct log_config small = config;
    small.segment_bytes = 20000;
    struct tally t = {0};
    struct log_state st = {&t, tally_save, tally_load, tally_batch, NULL};
    struct log *l = log_open(sys, dir, &small, &st, true, NULL);
    assert_non_null(l);
    for (int i = 0; i < 200; i++) {
        append(l, i, 1 + i % 3, 300);
        t.batches++;
        t.records += 1 + i % 3;
    }
    int64_t records = t.records;
    assert_int_equal(log_sync(l, NULL), ERR_OK);
    log_tidy(l);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    for (int clean = 1; clean >= 0; clean--) {
        t = (struct tally){0};
        l = log_open(sys, dir, &small, &st, clean == 1, NULL);
        assert_non_null(l);
        assert_int_equal(t.batches, 200);
        assert_int_equal(t.records, records);
        assert_int_equal(t.loads, 1);
        assert_int_equal(log_close(l, NULL), ERR_OK);
    }
    struct sys_list names;
    assert_int_equal(sys_list_dir(sys, dir, &names, NULL), ERR_OK);
    for (size_t i = 0; i < names.n; i++)
        if (str_ends(str_c(names.names[i]), STR(".snapshot"))) remove_file(names.names[i]);
    sys_list_free(&names);
    t = (struct tally){0};
    l = log_open(sys, dir, &small, &st, false, NULL);
    assert_true(t.batches == 200 && t.records == records && t.loads == 0);
    assert_int_equal(log_close(l, NULL), ERR_OK);
}

static void test_version(void **state) {
    (void)state;
    struct log *l = open_log(&config, true);
    append(l, 1, 1, 1);
    assert_int_equal(log_close(l, NULL), ERR_OK);
    write_at("partition.meta", 0, "millrace-partition 9\n", 21);
    struct err err = {0};
    assert_null(log_open(sys, dir, &config, NULL, true, &err));
    assert_int_equal(err.code, ERR_VERSION);
    assert_non_null(strstr(err.msg, dir));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_batch_compressed),
        cmocka_unit_test_setup_teardown(test_append_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recover_torn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recovery_point, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closed_segments, setup, teardown), cmocka_unit_test_setup_teardown(test_reserved_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retention, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abandoned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_find_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_version, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
