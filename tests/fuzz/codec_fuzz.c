// SPDX-License-Identifier: Apache-2.0
// Any bytes as compressed data of each kind, as CSV, base64 and hexadecimal text; the first byte picks. Output stays inside its maximum,
// and what was read can be written and read again.
#include <assert.h>
#include <string.h>

#include "codec/compress.h"
#include "codec/csv.h"
#include "codec/digest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX = 1 << 20 };

static void check_compressed(int kind, struct str in) {
    struct buf out, packed, again;
    buf_init(&out, 0);
    buf_init(&packed, 0);
    buf_init(&again, 0);
    if (decompress_bytes((enum compress_kind)kind, in, MAX, &out, NULL) == ERR_OK) {
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
