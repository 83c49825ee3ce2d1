// SPDX-License-Identifier: Apache-2.0
// Any bytes as compressed data of each kind, whole and in pieces, as CSV, base64 and hexadecimal text; the first byte picks. Output stays
// inside its maximum, and what was read can be written and read again.
#include <assert.h>
#include <string.h>

#include "codec/compress.h"
#include "codec/csv.h"
#include "codec/digest.h"
#include "codec/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX = 1 << 20 };

// In pieces, by an unpacker that has seen all inputs before: what comes is what came in one go, or the same refusal. It is
// never freed.
static void check_pieces(int kind, struct str in, size_t about, enum err_code want, struct str whole) {
    static struct unpacker *u;
    if (u == NULL) u = unpacker_new();
    struct buf out;
    bool ended = false;
    buf_init(&out, MAX);
    enum err_code code = unpacker_begin(u, (enum compress_kind)kind, in, NULL);
    while (code == ERR_OK && !ended) {
        size_t before = out.n;
        code = unpacker_some(u, about, &out, &ended, NULL);
        assert(!out.failed && out.n <= MAX && (kind == COMPRESS_SNAPPY || out.n - before <= about));
        assert(code == ERR_OK ? ended || out.n > before : out.n == before);
    }
    assert(code == want);
    if (code == ERR_OK) assert(str_eq(buf_str(&out), whole));
    if (about == 7 && in.n % 2 == 0) { // left in its middle
        unpacker_begin(u, (enum compress_kind)kind, in, NULL);
        buf_clear(&out);
        (void)unpacker_some(u, 1 + in.n % 100, &out, &ended, NULL);
    }
    buf_fini(&out);
}

static void check_compressed(int kind, struct str in) {
    struct buf out, packed, again;
    buf_init(&out, 0);
    buf_init(&packed, 0);
    buf_init(&again, 0);
    enum err_code code = decompress_bytes((enum compress_kind)kind, in, MAX, &out, NULL);
    check_pieces(kind, in, 7, code, buf_str(&out));
    check_pieces(kind, in, 1000, code, buf_str(&out));
    check_pieces(kind, in, 128 << 10, code, buf_str(&out));
    if (code == ERR_OK) {
        assert(out.n <= MAX);
        assert(compress_bytes((enum compress_kind)kind, buf_str(&out), &packed, NULL) == ERR_OK);
        assert(decompress_bytes((enum compress_kind)kind, buf_str(&packed), out.n, &again, NULL) == ERR_OK);
        assert(str_eq(buf_str(&out), buf_str(&again)));
    } else {
        assert(out.n == 0);
    }
    buf_fini(&out);
    buf_fini(&packed);
    buf_fini(&again);
}

static void check_csv(struct str in) { // records written again read as the same records
    struct csv_reader r, r2;
    struct buf out;
    struct err err;
    buf_init(&out, 0);
    csv_init(&r, in, ',');
    while (csv_next(&r, &err)) {
        for (size_t i = 0; i < r.fields.n; i++) {
            if (i > 0) buf_put_u8(&out, ',');
            csv_put(&out, r.fields.p[i].text, ',');
        }
        buf_put_u8(&out, '\n');
    }
    csv_fini(&r);
    csv_init(&r, in, ',');
    csv_init(&r2, buf_str(&out), ',');
    while (csv_next(&r, &err)) {
        assert(csv_next(&r2, &err) && r.fields.n == r2.fields.n);
        for (size_t i = 0; i < r.fields.n; i++) assert(str_eq(r.fields.p[i].text, r2.fields.p[i].text));
    }
    csv_fini(&r);
    csv_fini(&r2);
    buf_fini(&out);
}

static void check_text(struct str in) {
    struct buf out, text, again;
    buf_init(&out, 0);
    buf_init(&text, 0);
    buf_init(&again, 0);
    if (base64_decode(in, &out, NULL) == ERR_OK) {
        base64_encode(buf_str(&out), &text);
        assert(base64_decode(buf_str(&text), &again, NULL) == ERR_OK && str_eq(buf_str(&out), buf_str(&again)));
    }
    buf_clear(&out);
    if (hex_decode(in, &out, NULL) == ERR_OK) assert(out.n * 2 == in.n);
    buf_fini(&out);
    buf_fini(&text);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    struct str in = str_n(data + 1, n - 1);
    int what = data[0] % 8;
    if (what < COMPRESS_COUNT) check_compressed(what, in);
    else if (what < 7) check_csv(in);
    else check_text(in);
    return 0;
}
