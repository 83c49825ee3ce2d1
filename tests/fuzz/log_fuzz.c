// SPDX-License-Identifier: Apache-2.0
// Record batches and log files over arbitrary bytes. The first byte picks what they are: a batch as a producer sends it (size and CRC made right,
// so that the records are reached), or the files that a log finds when it is opened, which must then read, append and open again.
#include <assert.h>
#include <string.h>

#include "codec/crc32c.h"
#include "log/log.h"
#include "log/scan.h"
#include "sys/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct batch *b) {
    struct batch_iter it;
    struct batch_record r;
    struct batch_header h;
    volatile size_t seen = 0;
    if (batch_iter_init(&it, b, 1 << 20, NULL) == ERR_OK)
        while (batch_iter_next(&it, &r, NULL) == 1) {
            struct str rest = r.headers;
            while (batch_header_next(&rest, &h)) seen = seen + h.key.n + h.value.n;
            seen = seen + r.key.n + r.value.n;
            if (r.offset < b->base_offset || r.offset > batch_last_offset(b)) __builtin_trap();
        }
    batch_iter_fini(&it);
}

// What the scan finds good the iterator finds as well, all of it; numbered anew it stays good.
static void scan(const struct batch *b) {
    static struct batch_scanner *scanner; // serves for all inputs, as a broker's does
    struct batch_scan s;
    struct batch_iter it;
    struct batch_record r;
    int64_t max = -1, n = 0;
    if (scanner == NULL) scanner = batch_scanner_new();
    enum batch_scan_end end = batch_codec(b) == 0 ? batch_scan(b, &s) : batch_scan_packed(scanner, b, 1 << 20, &s, NULL);
    if (end != BATCH_SCAN_OK || b->last_offset_delta != b->count - 1 || (b->attributes & BATCH_ATTR_APPEND_TIME) != 0) return;
    if (batch_iter_init(&it, b, 2 << 20, NULL) != ERR_OK) __builtin_trap();
    if (!s.in_order) {
        struct buf renumbered = {0};
        batch_renumber(str_n(it.rd.p, rd_left(&it.rd)), b->count, &renumbered);
        batch_iter_fini(&it);
        it = (struct batch_iter){.batch = b, .left = b->count, .plain = renumbered};
        it.rd = rd_of(renumbered.p, renumbered.n);
    }
    for (; batch_iter_next(&it, &r, NULL) == 1; n++) {
        if (r.timestamp > max) max = r.timestamp;
        if (r.offset != b->base_offset + n) __builtin_trap();
    }
    if (n != b->count || rd_left(&it.rd) > 0 || max != s.max_timestamp) __builtin_trap();
    batch_iter_fini(&it);
}

static void one_batch(const uint8_t *data, size_t size) {
    struct buf copy = {0};
    struct batch b;
    buf_put(&copy, data, size);
    if (size >= BATCH_HEADER) {
        buf_set_be32(&copy, 8, (uint32_t)(size - BATCH_PREFIX));
        copy.p[16] = 2;
        buf_set_be32(&copy, 17, crc32c(0, copy.p + 21, size - 21));
    }
    if (batch_read(copy.p, copy.n, &b) == BATCH_OK) {
        if (!batch_crc_ok(&b)) __builtin_trap();
        walk(&b);
        scan(&b);
    }
    buf_fini(&copy);
}

static void put_file(struct sys *s, const char *path, struct str bytes) {
    struct sys_file *f = sys_open(s, path, SYS_WRITE | SYS_CREATE, NULL);
    assert(f != NULL);
    (void)sys_pwrite(f, bytes.p, bytes.n, 0, NULL);
    sys_close(f);
}

static void use(struct log *l) {
    struct buf out = {0}, fresh = {0};
    struct batch_builder bb;
    struct log_appended a;
    int64_t at = log_start(l), end = log_durable_end(l), found, time;
    if (at > end) __builtin_trap();
    while (at < end) {
        buf_clear(&out);
        struct batch b;
        if (log_read(l, at, 4096, &out, NULL) != ERR_OK || out.n == 0) break; // damage inside a closed segment
        for (size_t pos = 0; pos < out.n; pos += b.size) {
            if (batch_read(out.p + pos, out.n - pos, &b) != BATCH_OK || batch_last_offset(&b) < at) __builtin_trap();
            at = batch_last_offset(&b) + 1;
        }
    }
    (void)log_find_time(l, 1000, &found, &time, NULL);
    (void)log_find_max_time(l, &found, &time, NULL);
    batch_begin(&bb, &fresh, 1000);
    batch_add(&bb, 1000, STR("k"), false, STR("v"), false, NULL, 0);
    batch_end(&bb);
    if (end < INT64_MAX - 1 && log_append(l, buf_str(&fresh), 0, &a, NULL) == ERR_OK && a.base_offset != end) __builtin_trap();
    buf_fini(&out);
    buf_fini(&fresh);
}

static bool load(void *arg, struct str s) { return (void)arg, s.n % 2 == 0; }
static void save(void *arg, struct buf *out) { buf_puts(out, arg); }
static void batch(void *arg, const struct batch *b) { (void)arg, (void)b; }

// The bytes are divided among two segments and the index of the first, or a snapshot.
static void files(const uint8_t *data, size_t size) {
    static const struct log_config config = {.segment_bytes = 1 << 20, .retention_ms = -1, .retention_bytes = -1, .index_interval_bytes = 64};
    static char state[] = "state";
    struct log_state st = {state, save, load, batch, NULL};
    struct sys *s = sys_sim_new(1);
    size_t third = size / 3;
    (void)sys_mkdir(s, "p", NULL);
    put_file(s, "p/partition.meta", STR("millrace-partition 1\n"));
    put_file(s, "p/00000000000000000000.log", str_n(data, third));
    put_file(s, "p/00000000000000000000.index", str_n(data + third, third));
    put_file(s, "p/00000000000000000000.snapshot", str_n(data + third, third));
    put_file(s, "p/00000000000000000001.log", str_n(data + 2 * third, size - 2 * third));
    for (int round = 0; round < 2; round++) {
        struct log *l = log_open(s, "p", &config, &st, round == 1, NULL);
        if (l == NULL) break;
        use(l);
        if (log_close(l, NULL) != ERR_OK) __builtin_trap();
    }
    sys_sim_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    if (data[0] % 2 == 0) one_batch(data + 1, size - 1);
    else files(data + 1, size - 1);
    return 0;
}
