// SPDX-License-Identifier: Apache-2.0
// codec: unpacking piece by piece. The same bytes come out whatever the size of the pieces, an unpacker serves again whatever happened before,
// and its memory is bounded.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lz4frame.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/mem.h"
#include "codec/unpack.h"

enum { PLAIN = 300000, XERIAL_EMPTY = 16, RAW_SNAPPY = COMPRESS_COUNT, ZSTD_NO_SIZE, LZ4_LINKED, FORMS };

// Calls of the allocator, the libraries' too. The sanitizers have their own.
#ifndef __SANITIZE_ADDRESS__
#ifndef __SANITIZE_THREAD__
#define ALLOCATIONS_SEEN 1
#endif
#endif
#ifdef ALLOCATIONS_SEEN
static size_t allocations;
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n) {
    allocations++;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    allocations++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    allocations++;
    return __libc_realloc(p, n);
}
static size_t memory_in_use(void) {
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}
#endif

static uint64_t rng_state = 88172645463325252ull;
static uint64_t rnd(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    return rng_state ^= rng_state << 17;
}

static uint8_t plain[PLAIN];
static struct buf forms[FORMS]; // `plain` in each form

static enum compress_kind kind_of(int form) {
    return form == RAW_SNAPPY ? COMPRESS_SNAPPY : form == ZSTD_NO_SIZE ? COMPRESS_ZSTD : form == LZ4_LINKED ? COMPRESS_LZ4 : (enum compress_kind)form;
}

// As an LZ4 frame that states its length and whose blocks refer to those before them, or a zstd frame of unknown length with a window of 2^log bytes.
static void pack_linked(struct str in, struct buf *out) {
    LZ4F_preferences_t prefs = {.frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockLinked, .contentSize = in.n}};
    size_t bound = LZ4F_compressFrameBound(in.n, &prefs);
    assert_true(buf_reserve(out, bound));
    out->n += LZ4F_compressFrame(out->p + out->n, bound, in.p, in.n, &prefs);
}

static void pack_window(struct str in, int log, struct buf *out) {
    ZSTD_CCtx *c = ZSTD_createCCtx();
    assert_true(buf_reserve(out, ZSTD_compressBound(in.n) + 1000));
    ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, log);
    ZSTD_outBuffer to = {out->p, out->cap, out->n};
    ZSTD_inBuffer from = {in.p, in.n, 0}, end = {"", 0, 0};
    while (from.pos < from.size) assert_false(ZSTD_isError(ZSTD_compressStream2(c, &to, &from, ZSTD_e_continue)));
    assert_int_equal(ZSTD_compressStream2(c, &to, &end, ZSTD_e_end), 0);
    out->n = to.pos;
    ZSTD_freeCCtx(c);
}

static void pack(int form, struct str in, struct buf *out) {
    buf_init(out, 0);
    if (form < COMPRESS_COUNT) {
        assert_int_equal(compress_bytes((enum compress_kind)form, in, out, NULL), ERR_OK);
    } else if (form == RAW_SNAPPY) { // literals only: the length, then tag 63 with four bytes of length
        for (size_t n = in.n; buf_put_u8(out, (uint8_t)((n & 127) | (n > 127 ? 128 : 0))), n > 127;) n >>= 7;
        if (in.n == 0) return;
        uint32_t last = (uint32_t)in.n - 1;
        buf_put(out, (const uint8_t[]){63 << 2, (uint8_t)last, (uint8_t)(last >> 8), (uint8_t)(last >> 16), (uint8_t)(last >> 24)}, 5);
        buf_put_str(out, in);
    } else if (form == LZ4_LINKED) {
        pack_linked(in, out);
    } else {
        pack_window(in, 17, out);
    }
}

static int set_up(void **state) {
    (void)state;
    for (size_t i = 0; i < PLAIN; i++) // runs of text, noise and one byte
        plain[i] = i / 5000 % 3 == 0 ? (uint8_t)("flights from SFO to JFK"[rnd() % 23]) : i / 5000 % 3 == 1 ? (uint8_t)rnd() : 7;
    for (int form = 0; form < FORMS; form++) pack(form, str_n(plain, PLAIN), &forms[form]);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int form = 0; form < FORMS; form++) buf_fini(&forms[form]);
    return 0;
}

// All of it in pieces, `all` being what came; each piece is taken out of the buffer that the next one goes to.
static enum err_code unpack(struct unpacker *u, enum compress_kind kind, struct str in, size_t about, struct buf *all) {
    struct buf piece;
    bool ended = false, whole_blocks = kind == COMPRESS_SNAPPY;
    enum err_code code = unpacker_begin(u, kind, in, NULL);
    buf_init(&piece, 0);
    buf_clear(all);
    while (code == ERR_OK && !ended) {
        buf_clear(&piece);
        code = unpacker_some(u, about, &piece, &ended, NULL);
        assert_true(whole_blocks || piece.n <= about);
        assert_true(code == ERR_OK || piece.n == 0);
        assert_true(code != ERR_OK || ended || piece.n > 0); // each call brings something
        buf_put(all, piece.p, piece.n);
    }
    buf_fini(&piece);
    return code;
}

static void is_plain(const struct buf *b, size_t times) {
    assert_int_equal(b->n, times * PLAIN);
    for (size_t i = 0; i < times; i++) assert_memory_equal(b->p + i * PLAIN, plain, PLAIN);
}

static void test_pieces(void **state) {
    (void)state;
    static const size_t abouts[] = {1, 7, 1000, 64 << 10, 128 << 10, SIZE_MAX}, sizes[] = {0, 1, 100, 32768, 65536, 131072, PLAIN};
    struct unpacker *u = unpacker_new();
    struct buf all;
    buf_init(&all, 0);
    for (int form = 0; form < FORMS; form++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct buf packed;
            pack(form, str_n(plain, sizes[i]), &packed);
            for (size_t k = 0; k < sizeof abouts / sizeof *abouts; k++) {
                assert_int_equal(unpack(u, kind_of(form), buf_str(&packed), abouts[k], &all), ERR_OK);
                assert_int_equal(all.n, sizes[i]);
                if (all.n > 0) assert_memory_equal(all.p, plain, all.n);
            }
            buf_fini(&packed);
        }
    }
    // what came stays in front of what comes
    for (int form = 0; form < FORMS; form++) {
        bool ended = false;
        buf_clear(&all);
        buf_puts(&all, "ab");
        assert_int_equal(unpacker_begin(u, kind_of(form), buf_str(&forms[form]), NULL), ERR_OK);
        while (!ended) assert_int_equal(unpacker_some(u, 5000, &all, &ended, NULL), ERR_OK);
        assert_int_equal(all.n, PLAIN + 2);
        assert_memory_equal(all.p, "ab", 2);
        assert_memory_equal(all.p + 2, plain, PLAIN);
        assert_int_equal(unpacker_some(u, 5000, &all, &ended, NULL), ERR_OK); // the end is told again
        assert_true(ended);
        assert_int_equal(all.n, PLAIN + 2);
    }
    buf_fini(&all);
    unpacker_free(u);
    unpacker_free(NULL);
}

static void test_maximum_is_exact(void **state) {
    (void)state;
    struct unpacker *u = unpacker_new();
    for (int form = 0; form < FORMS; form++) {
        for (size_t room = PLAIN - 1; room <= PLAIN; room++) {
            struct buf out;
            struct err err = {0};
            bool ended = false;
            enum err_code code = ERR_OK;
            size_t before = 0;
            buf_init(&out, room + 2);
            buf_puts(&out, "ab");
            assert_int_equal(unpacker_begin(u, kind_of(form), buf_str(&forms[form]), NULL), ERR_OK);
            while (code == ERR_OK && !ended) {
                before = out.n;
                code = unpacker_some(u, 70000, &out, &ended, &err);
            }
            assert_int_equal(code, room == PLAIN ? ERR_OK : ERR_TOO_LARGE);
            if (room < PLAIN) assert_int_equal(out.n, before);
            if (room < PLAIN) assert_non_null(strstr(err.msg, "takes at most 300001 bytes"));
            assert_false(out.failed);
            assert_memory_equal(out.p + 2, plain, out.n - 2);
            out.n = 2;
            out.max = 0; // the default
            assert_int_equal(decompress_bytes(kind_of(form), buf_str(&forms[form]), room, &out, &err), code);
            assert_int_equal(out.n, room == PLAIN ? PLAIN + 2 : 2);
            if (room < PLAIN) assert_non_null(strstr(err.msg, "unpacks to more than 299999 bytes"));
            buf_fini(&out);
        }
        // a full buffer is a maximum only if it stays full: the rest comes when room is made
        struct buf out, all;
        bool ended = false;
        buf_init(&out, form == RAW_SNAPPY ? PLAIN : 40000);
        buf_init(&all, 0);
        assert_int_equal(unpacker_begin(u, kind_of(form), buf_str(&forms[form]), NULL), ERR_OK);
        while (!ended) {
            assert_int_equal(unpacker_some(u, 1 << 20, &out, &ended, NULL), ERR_OK);
            buf_put(&all, out.p, out.n);
            buf_clear(&out);
        }
        is_plain(&all, 1);
        buf_fini(&all);
        buf_fini(&out);
    }
    unpacker_free(u);
}

static void test_streams_behind_each_other(void **state) {
    (void)state;
    static const char skip[] = "\x5A\x2A\x4D\x18\x03\0\0\0xyz"; // a frame that lz4's and zstd's readers skip
    struct unpacker *u = unpacker_new();
    struct buf twice, all;
    buf_init(&twice, 0);
    buf_init(&all, 0);
    for (int form = COMPRESS_GZIP; form < FORMS; form++) {
        bool skips = kind_of(form) == COMPRESS_LZ4 || kind_of(form) == COMPRESS_ZSTD;
        if (form == RAW_SNAPPY) continue;
        buf_clear(&twice);
        if (skips) buf_put(&twice, skip, sizeof skip - 1);
        for (int i = 0; i < 3; i++) {
            buf_put_str(&twice, buf_str(&forms[form]));
            if (skips) buf_put(&twice, skip, sizeof skip - 1);
        }
        for (size_t about = 1; about <= 343 * 343; about *= 343) {
            assert_int_equal(unpack(u, kind_of(form), buf_str(&twice), about, &all), ERR_OK);
            is_plain(&all, 3);
        }
        buf_clear(&all);
        assert_int_equal(decompress_bytes(kind_of(form), buf_str(&twice), 3 * PLAIN, &all, NULL), ERR_OK);
        is_plain(&all, 3);
        buf_put_u8(&twice, 'x'); // no stream
        assert_int_equal(unpack(u, kind_of(form), buf_str(&twice), 5000, &all), ERR_CORRUPT);
        if (!skips) continue;
        assert_int_equal(unpack(u, kind_of(form), str_n(skip, sizeof skip - 1), 5000, &all), ERR_OK);
        assert_int_equal(all.n, 0);
    }
    buf_fini(&twice);
    buf_fini(&all);
    unpacker_free(u);
}

// After an end, in the middle, after each error: one unpacker through all kinds in a random order.
static void test_serves_again(void **state) {
    (void)state;
    struct unpacker *u = unpacker_new();
    struct buf all, small;
    bool ended = false;
    buf_init(&all, 0);
    buf_init(&small, 40000);
    assert_int_equal(unpacker_some(u, 1, &all, &ended, NULL), ERR_INTERNAL); // nothing has begun
    for (int i = 0; i < 1500; i++) {
        int form = (int)(rnd() % FORMS);
        struct buf *packed = &forms[form];
        switch (rnd() % 5) {
        case 0: // in the middle
            assert_int_equal(unpacker_begin(u, kind_of(form), buf_str(packed), NULL), ERR_OK);
            buf_clear(&all);
            for (int k = (int)(rnd() % 3); k > 0; k--) assert_int_equal(unpacker_some(u, 1 + rnd() % 90000, &all, &ended, NULL), ERR_OK);
            break;
        case 1: // cut short, which is the same with every further call
            if (form == COMPRESS_NONE) break;
            assert_int_equal(unpack(u, kind_of(form), str_n(packed->p, rnd() % (packed->n - 3)), 1 + rnd() % 90000, &all), ERR_CORRUPT);
            assert_int_equal(unpacker_some(u, 1, &all, &ended, NULL), ERR_CORRUPT);
            break;
        case 2: { // more than there is room for
            enum err_code code;
            buf_clear(&small);
            assert_int_equal(unpacker_begin(u, kind_of(form), buf_str(packed), NULL), ERR_OK);
            while ((code = unpacker_some(u, 1 + rnd() % 90000, &small, &ended, NULL)) == ERR_OK) assert_false(ended);
            assert_int_equal(code, ERR_TOO_LARGE);
            assert_false(small.failed);
            assert_int_equal(unpacker_some(u, 1, &all, &ended, NULL), ERR_TOO_LARGE); // room does not mend it
            break;
        }
        case 3: { // damaged: whatever comes, it ends
            struct buf copy;
            buf_init(&copy, 0);
            buf_put_str(&copy, buf_str(packed));
            for (int k = 0; k < 3; k++) copy.p[rnd() % (k == 0 ? 40 : copy.n)] = (uint8_t)rnd();
            (void)unpack(u, kind_of(form), buf_str(&copy), 1 + rnd() % 90000, &all);
            buf_fini(&copy);
            break;
        }
        default: assert_int_equal(unpacker_begin(u, COMPRESS_COUNT, STR("x"), NULL), ERR_NOT_SUPPORTED);
        }
        form = (int)(rnd() % FORMS);
        assert_int_equal(unpack(u, kind_of(form), buf_str(&forms[form]), 1 + rnd() % 90000, &all), ERR_OK);
        is_plain(&all, 1);
    }
    buf_fini(&all);
    buf_fini(&small);
    unpacker_free(u);
}

static void test_cut_everywhere(void **state) {
    (void)state;
    struct unpacker *u = unpacker_new();
    struct buf all, packed;
    buf_init(&all, 0);
    for (int form = COMPRESS_GZIP; form < FORMS; form++) {
        pack(form, str_n(plain, 200), &packed);
        for (size_t n = 0; n < packed.n; n++) {
            enum err_code want = form == COMPRESS_SNAPPY && n == XERIAL_EMPTY ? ERR_OK : ERR_CORRUPT;
            assert_int_equal(unpack(u, kind_of(form), str_n(packed.p, n), 1, &all), want);
            assert_int_equal(unpack(u, kind_of(form), str_n(packed.p, n), 1000, &all), want);
            buf_clear(&all);
            assert_int_equal(decompress_bytes(kind_of(form), str_n(packed.p, n), 1000, &all, NULL), want);
        }
        buf_fini(&packed);
        assert_int_equal(unpack(u, kind_of(form), (struct str){NULL, 0}, 1, &all), ERR_CORRUPT);
    }
    assert_int_equal(unpack(u, COMPRESS_NONE, (struct str){NULL, 0}, 1, &all), ERR_OK);
    buf_fini(&all);
    unpacker_free(u);
}

// One decision whatever the size of the pieces.
static void zstd_is(struct unpacker *u, struct str in, enum err_code want, size_t n) {
    struct buf all;
    buf_init(&all, 0);
    for (size_t about = 1; about <= 1 << 20; about *= 32) {
        assert_int_equal(unpack(u, COMPRESS_ZSTD, in, about, &all), want);
        if (want == ERR_OK) assert_int_equal(all.n, n);
    }
    buf_clear(&all);
    assert_int_equal(decompress_bytes(COMPRESS_ZSTD, in, 1 << 20, &all, NULL), want);
    assert_int_equal(all.n, want == ERR_OK ? n : 0);
    assert_true(all.cap <= 128 << 10); // what is claimed costs nothing
    buf_fini(&all);
}

static void test_zstd_heads(void **state) {
    (void)state;
    struct unpacker *u = unpacker_new();
    char one[] = "\x28\xB5\x2F\xFD\x00\x88\x09\0\0x", // a window of 128 MiB, one byte as it is
        many[] = "\x28\xB5\x2F\xFD\x40\x88\0\0\x03\x08\0x"; // the same, the length stated: 256 times the same byte
    zstd_is(u, str_n(one, 10), ERR_OK, 1);
    zstd_is(u, str_n(many, 12), ERR_OK, 256);
    one[5] = many[5] = (char)0x89; // an eighth more
    zstd_is(u, str_n(one, 10), ERR_CORRUPT, 0);
    zstd_is(u, str_n(many, 12), ERR_CORRUPT, 0);
    one[5] = many[5] = (char)0x90;
    zstd_is(u, str_n(one, 10), ERR_CORRUPT, 0);
    zstd_is(u, str_n(many, 12), ERR_CORRUPT, 0);
    zstd_is(u, str_n("\x28\xB5\x2F\xFD\xA0\0\0\0\x04\x03\x08\0x", 13), ERR_CORRUPT, 0); // one segment of 64 MiB is claimed
    zstd_is(u, str_n("\x28\xB5\x2F\xFD\xA0\0\0\0\x40\x03\x08\0x", 13), ERR_CORRUPT, 0); // one of 1 GiB
    zstd_is(u, str_n("\x27\xB5\x2F\xFD\x00\x88\x09\0\0x", 10), ERR_CORRUPT, 0);         // version 0.7 of the format
    unpacker_free(u);
}

// One segment of 130 MiB, all of it there: refused as well when there is room for it at once.
static void test_zstd_large_segment(void **state) {
    (void)state;
    enum { BLOCKS = 130 * 8 }; // of 128 KiB of the same byte
    struct unpacker *u = unpacker_new();
    struct buf in, out;
    bool ended;
    buf_init(&in, 0);
    buf_init(&out, 0);
    buf_put(&in, "\x28\xB5\x2F\xFD\xA0\0\0\x20\x08", 9);
    for (int i = 0; i < BLOCKS; i++) buf_put(&in, i < BLOCKS - 1 ? "\x02\0\x10x" : "\x03\0\x10x", 4);
    assert_true(buf_reserve(&out, 140 << 20));
    assert_int_equal(unpacker_begin(u, COMPRESS_ZSTD, buf_str(&in), NULL), ERR_OK);
    assert_int_equal(unpacker_some(u, SIZE_MAX, &out, &ended, NULL), ERR_CORRUPT);
    in.p[8] = 4; // 66 MiB are stated
    assert_int_equal(unpacker_begin(u, COMPRESS_ZSTD, buf_str(&in), NULL), ERR_OK);
    assert_int_equal(unpacker_some(u, SIZE_MAX, &out, &ended, NULL), ERR_CORRUPT);
    buf_fini(&in);
    buf_fini(&out);
    unpacker_free(u);
}

static void test_snappy_claims(void **state) {
    (void)state;
    struct unpacker *u = unpacker_new();
    struct buf out;
    bool ended;
    buf_init(&out, 0);
    assert_int_equal(unpacker_begin(u, COMPRESS_SNAPPY, str_n("\x80\x80\x80\x10xyz", 7), NULL), ERR_OK); // 32 MiB out of three bytes
    assert_int_equal(unpacker_some(u, 1, &out, &ended, NULL), ERR_CORRUPT);
    assert_int_equal(unpacker_begin(u, COMPRESS_SNAPPY, str_n("\xE8\x07xyz", 5), NULL), ERR_OK); // 1,000
    assert_int_equal(unpacker_some(u, 1, &out, &ended, NULL), ERR_CORRUPT);
    assert_int_equal(out.cap, 0);
    // the best that the format can do: 64 bytes out of three, again and again
    struct buf packed;
    buf_init(&packed, 0);
    buf_put(&packed, "\x81\x80\x04\0a", 5); // 65537 bytes; an "a"
    for (int i = 0; i < 1024; i++) buf_put(&packed, "\xFE\x01\0", 3);
    assert_int_equal(unpack(u, COMPRESS_SNAPPY, buf_str(&packed), 1, &out), ERR_OK);
    assert_int_equal(out.n, 65537);
    for (size_t i = 0; i < out.n; i++) assert_int_equal(out.p[i], 'a');
    buf_fini(&packed);
    buf_fini(&out);
    unpacker_free(u);
}

static void test_inflate(void **state) {
    (void)state;
    struct buf packed, out;
    buf_init(&packed, 0);
    buf_init(&out, 0);
    assert_int_equal(deflate_bytes(str_n(plain, PLAIN), &packed, NULL), ERR_OK);
    assert_int_equal(inflate_bytes(buf_str(&packed), PLAIN, &out, NULL), ERR_OK);
    is_plain(&out, 1);
    out.n = 3;
    assert_int_equal(inflate_bytes(buf_str(&packed), PLAIN - 1, &out, NULL), ERR_TOO_LARGE);
    assert_int_equal(inflate_bytes(str_n(packed.p, packed.n - 1), PLAIN, &out, NULL), ERR_CORRUPT);
    assert_true(buf_reserve(&packed, packed.n)); // it stays where it is
    buf_put_str(&packed, buf_str(&packed));      // two of them are one too many
    assert_int_equal(inflate_bytes(buf_str(&packed), 2 * PLAIN, &out, NULL), ERR_CORRUPT);
    assert_int_equal(inflate_bytes(buf_str(&packed), PLAIN - 1, &out, NULL), ERR_TOO_LARGE); // the first fault counts
    assert_int_equal(out.n, 3);
    buf_fini(&packed);
    buf_fini(&out);
}

#ifdef ALLOCATIONS_SEEN
// Once each kind was there, no input costs an allocation; a large window is given back at the end, at an error and at the next beginning.
static void test_memory(void **state) {
    (void)state;
    enum { LARGE = 20 << 20, ABOUT = 128 << 10 };
    struct unpacker *u = unpacker_new();
    struct buf out, large;
    bool ended;
    buf_init(&out, 0);
    for (int round = 0; round < 4; round++) {
        allocations = 0;
        for (int form = 0; form < FORMS; form++) {
            ended = false;
            assert_int_equal(unpacker_begin(u, kind_of(form), buf_str(&forms[form]), NULL), ERR_OK);
            for (buf_clear(&out); !ended; buf_clear(&out)) assert_int_equal(unpacker_some(u, ABOUT, &out, &ended, NULL), ERR_OK);
        }
        if (round == 0) assert_true(allocations > 0);
        if (round > 1) assert_int_equal(allocations, 0);
    }
    uint8_t *p = mem_zalloc(LARGE);
    memcpy(p, plain, PLAIN);
    buf_init(&large, 0);
    pack_window(str_n(p, LARGE), 24, &large);
    size_t before = memory_in_use(), window = 16 << 20;
    for (int how = 0; how < 3; how++) {
        ended = false;
        struct str in = str_n(large.p, how == 1 ? large.n - 1 : large.n);
        enum err_code code = unpacker_begin(u, COMPRESS_ZSTD, in, NULL);
        for (int i = 0; code == ERR_OK && !ended && (how != 2 || i < 3); i++) {
            buf_clear(&out);
            code = unpacker_some(u, ABOUT, &out, &ended, NULL);
            if (i == 2) assert_true(memory_in_use() > before + window / 2);
        }
        assert_int_equal(code, how == 1 ? ERR_CORRUPT : ERR_OK);
        if (how == 2) assert_int_equal(unpacker_begin(u, COMPRESS_GZIP, STR("x"), NULL), ERR_OK);
        assert_true(memory_in_use() < before + window / 2);
    }
    buf_fini(&large);
    buf_fini(&out);
    mem_free(p);
    unpacker_free(u);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),       cmocka_unit_test(test_maximum_is_exact), cmocka_unit_test(test_streams_behind_each_other),
        cmocka_unit_test(test_serves_again), cmocka_unit_test(test_cut_everywhere),   cmocka_unit_test(test_zstd_heads),
        cmocka_unit_test(test_zstd_large_segment), cmocka_unit_test(test_snappy_claims), cmocka_unit_test(test_inflate),
#ifdef ALLOCATIONS_SEEN
        cmocka_unit_test(test_memory),
#endif
    };
    return cmocka_run_group_tests_name("codec_unpack", tests, set_up, tear_down);
}
