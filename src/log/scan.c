// SPDX-License-Identifier: Apache-2.0
// The pass over records: see scan.h. On the way of each produce, so one-byte numbers are the fast case, and only the current piece of unpacked
// records is in memory. Format: Kafka's record, version 2 (length, attributes, time and offset from the batch's, key, value, headers).
#include "log/scan.h"

#include "codec/unpack.h"
#include "codec/varint.h"

enum { PIECE = 128 << 10, WINDOW_KEPT = 1 << 20, WHOLE_MAX = 1 << 20 };

struct batch_scanner {
    struct unpacker *unpacker;
    struct buf window; // unpacked, not yet looked at
};

// ---- one record -----------------------------------------------------------------------------------------------------

static inline bool take_length(const uint8_t **p, const uint8_t *end, int32_t *out) {
    uint32_t v = 0;
    const uint8_t *q = uvarint_read32(*p, end, &v);
    if (q == NULL) return false;
    *p = q;
    *out = unzigzag32(v);
    return true;
}

// Skips what a length stands in front of; the length stays in *n. Below zero is null.
static inline bool skip_blob(const uint8_t **p, const uint8_t *end, bool may_be_null, int32_t *n) {
    if (!take_length(p, end, n) || *n > end - *p || (*n < 0 && !may_be_null)) return false;
    if (*n > 0) *p += *n;
    return true;
}

static inline bool skip_headers(const uint8_t **p, const uint8_t *end) {
    int32_t headers, n;
    if (!take_length(p, end, &headers) || headers < 0) return false;
    for (; headers > 0; headers--)
        if (!skip_blob(p, end, false, &n) || !skip_blob(p, end, true, &n)) return false;
    return true;
}

static inline bool scan_record(const struct batch *b, const uint8_t *p, const uint8_t *end, int32_t index, struct batch_scan *s) {
    uint64_t time = 0;
    int32_t offset, key, value;
    if (p == end) return false;
    p++; // attributes
    p = uvarint_read64(p, end, &time);
    if (p == NULL || !take_length(&p, end, &offset) || !skip_blob(&p, end, true, &key) || !skip_blob(&p, end, true, &value)) return false;
    int64_t ms = (int64_t)((uint64_t)b->base_timestamp + (uint64_t)unzigzag64(time));
    if (ms > s->max_timestamp) s->max_timestamp = ms;
    if (ms < s->min_timestamp && ms != -1) s->min_timestamp = ms;
    s->key_missing |= key < 0;
    s->in_order &= offset == index;
    return skip_headers(&p, end) && p == end;
}

// ---- many -----------------------------------------------------------------------------------------------------------

struct cursor {
    const uint8_t *p, *end;
    int32_t index; // of the record at p
    size_t want;   // bytes that the one at p has, when they are not all there; 0 = not known
};

// Reads the records that are whole; false = malformed.
static bool scan_whole(const struct batch *b, struct cursor *c, struct batch_scan *s) {
    for (c->want = 0; c->index < b->count; c->index++) {
        const uint8_t *p = c->p;
        int32_t size;
        if (!take_length(&p, c->end, &size)) return c->end - c->p < VARINT_MAX32;
        if (size < 0) return false;
        if (size > c->end - p) {
            c->want = (size_t)size + (size_t)(p - c->p);
            return true;
        }
        if (!scan_record(b, p, p + size, c->index, s)) return false;
        if (size > s->largest) s->largest = size;
        c->p = p + size;
    }
    return true;
}

static void scan_begin(struct batch_scan *s) { *s = (struct batch_scan){.max_timestamp = -1, .min_timestamp = INT64_MAX, .in_order = true}; }

enum batch_scan_end batch_scan(const struct batch *b, struct batch_scan *out) {
    struct cursor c = {.p = b->p + BATCH_HEADER, .end = b->p + b->size};
    scan_begin(out);
    out->plain = c.end - c.p;
    return scan_whole(b, &c, out) && c.index == b->count && c.p == c.end ? BATCH_SCAN_OK : BATCH_SCAN_MALFORMED;
}

// ---- packed ---------------------------------------------------------------------------------------------------------

struct batch_scanner *batch_scanner_new(void) {
    struct batch_scanner *x = MEM_NEW(struct batch_scanner);
    x->unpacker = unpacker_new();
    buf_init(&x->window, (size_t)BATCH_RECORD_MAX + PIECE);
    return x;
}

void batch_scanner_free(struct batch_scanner *x) {
    if (x == NULL) return;
    unpacker_free(x->unpacker);
    buf_fini(&x->window);
    mem_free(x);
}

// What zstd is asked for first: it is faster when all fits.
static size_t first_piece(const struct batch *b) {
    if (batch_codec(b) != COMPRESS_ZSTD) return PIECE;
    size_t n = unpack_guess(COMPRESS_ZSTD, str_n(b->p + BATCH_HEADER, b->size - BATCH_HEADER));
    return n > PIECE && n <= WHOLE_MAX ? n : PIECE;
}

// How much to unpack next: a piece, or towards a record that is larger, doubling what has proved to be there.
static size_t next_piece(const struct batch_scanner *x, size_t want) {
    size_t missing = want > x->window.n ? want - x->window.n : 0;
    size_t most = x->window.n > PIECE ? x->window.n : PIECE;
    return missing < PIECE ? PIECE : missing < most ? missing : most;
}

static enum batch_scan_end scan_pieces(struct batch_scanner *x, const struct batch *b, size_t max_plain, struct batch_scan *s, struct err *err) {
    struct cursor c = {0};
    size_t piece = first_piece(b);
    for (bool ended = false; !ended; piece = next_piece(x, c.want)) {
        size_t before = x->window.n;
        enum err_code code = unpacker_some(x->unpacker, piece, &x->window, &ended, err);
        if (code != ERR_OK) return code == ERR_TOO_LARGE ? BATCH_SCAN_TOO_LARGE : BATCH_SCAN_UNREADABLE;
        s->plain += (int64_t)(x->window.n - before);
        if ((uint64_t)s->plain > max_plain) return BATCH_SCAN_LONGER;
        if (x->window.n == 0) continue;
        c.p = x->window.p;
        c.end = c.p + x->window.n;
        if (!scan_whole(b, &c, s) || (c.index == b->count && c.p != c.end)) return BATCH_SCAN_MALFORMED;
        if (c.want > BATCH_RECORD_MAX) {
            err_set(err, ERR_TOO_LARGE, "a record of more than %d bytes", BATCH_RECORD_MAX);
            return BATCH_SCAN_TOO_LARGE;
        }
        buf_consume(&x->window, (size_t)(c.p - x->window.p));
    }
    return c.index == b->count && x->window.n == 0 ? BATCH_SCAN_OK : BATCH_SCAN_MALFORMED;
}

// Kafka's readers know one LZ4 frame of independent blocks without a dictionary, and see nothing behind it: what they could not read is not to be
// stored for them. Only the frame's outline is looked at (LZ4 frame format 1.6): its checksums and blocks are the library's to check.
static bool is_one_frame(struct str packed) {
    enum { VERSION_1_INDEPENDENT = 0x60, KIND = 0xE3, BLOCK_SUMS = 0x10, CONTENT_SIZE = 8, CONTENT_SUM = 4, STORED = 1 << 7 };
    struct rd r = rd_of(packed.p, packed.n);
    bool magic = rd_be32(&r) == 0x04224D18;
    uint8_t flags = rd_u8(&r);
    (void)rd_bytes(&r, 1 + ((flags & CONTENT_SIZE) != 0 ? 8 : 0) + 1); // sizes of blocks, of the content; checksum of this head
    for (uint32_t n = 1; n != 0 && !r.failed;) {
        const uint8_t *p = rd_bytes(&r, 4);
        if (p == NULL) break;
        n = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)(p[3] & ~STORED) << 24;
        if (n > 0) (void)rd_bytes(&r, (size_t)n + ((flags & BLOCK_SUMS) != 0 ? 4 : 0));
    }
    if ((flags & CONTENT_SUM) != 0) (void)rd_be32(&r);
    return magic && (flags & KIND) == VERSION_1_INDEPENDENT && !r.failed && rd_left(&r) == 0;
}

enum batch_scan_end batch_scan_packed(struct batch_scanner *x, const struct batch *b, size_t max_plain, struct batch_scan *out, struct err *err) {
    scan_begin(out);
    buf_clear(&x->window);
    struct str packed = str_n(b->p + BATCH_HEADER, b->size - BATCH_HEADER);
    if (batch_codec(b) == COMPRESS_LZ4 && !is_one_frame(packed)) {
        err_set(err, ERR_CORRUPT, "lz4 data is damaged: not one whole frame of independent blocks without a dictionary");
        return BATCH_SCAN_UNREADABLE;
    }
    if (packed.n == 0 && batch_codec(b) == COMPRESS_ZSTD) return BATCH_SCAN_MALFORMED; // a stream of no frames
    if (unpacker_begin(x->unpacker, (enum compress_kind)batch_codec(b), packed, err) != ERR_OK) return BATCH_SCAN_UNREADABLE;
    enum batch_scan_end end = scan_pieces(x, b, max_plain, out, err);
    if (x->window.cap > WINDOW_KEPT) {
        buf_fini(&x->window);
        buf_init(&x->window, (size_t)BATCH_RECORD_MAX + PIECE);
    }
    return end;
}

// ---- renumbering ----------------------------------------------------------------------------------------------------

void batch_renumber(struct str records, int32_t count, struct buf *out) {
    const uint8_t *p = (const uint8_t *)records.p, *end = p + records.n;
    for (int32_t i = 0; i < count; i++) {
        int32_t size = 0, offset = 0;
        uint64_t time = 0;
        if (!take_length(&p, end, &size)) return;
        const uint8_t *at = uvarint_read64(p + 1, end, &time), *rest = at;
        if (at == NULL || !take_length(&rest, end, &offset)) return;
        size_t head = (size_t)(at - p), tail = (size_t)size - (size_t)(rest - p);
        buf_put_varint(out, (int64_t)(head + varint_size(i) + tail));
        buf_put(out, p, head);
        buf_put_varint(out, i);
        buf_put(out, rest, tail);
        p += size;
    }
}
