// SPDX-License-Identifier: Apache-2.0
// RFC 4180, as written by spreadsheets and DuckDB: fields in quotes may hold separators, line ends and doubled quotes; lines end with LF, CRLF
// or CR. The unescaped fields of one record lie behind each other in one buf, so a record costs no allocation once that is large enough.
#include "codec/csv.h"

#include <string.h>

void csv_init(struct csv_reader *r, struct str text, char sep) {
    *r = (struct csv_reader){.in = text, .sep = sep, .next_line = 1};
    if (str_starts(text, STR("\xEF\xBB\xBF"))) r->at = 3;
    buf_init(&r->text, CSV_RECORD_MAX);
}

void csv_fini(struct csv_reader *r) {
    buf_fini(&r->text);
    vec_fini(&r->fields);
    vec_fini(&r->starts);
}

static bool fail(struct csv_reader *r, struct err *err, enum err_code code, const char *what) {
    err_set(err, code, "CSV, line %lld: %s", (long long)r->line, what);
    return false;
}

// The text behind an opening quote, up to behind the closing one. false = it never closes.
static bool quoted(struct csv_reader *r) {
    for (;;) {
        const char *from = r->in.p + r->at;
        const char *q = memchr(from, '"', r->in.n - r->at);
        if (q == NULL) return false;
        for (const char *c = from; c < q; c++)
            if (*c == '\n') r->next_line++;
        buf_put(&r->text, from, (size_t)(q - from));
        r->at += (size_t)(q - from) + 1;
        if (r->at >= r->in.n || r->in.p[r->at] != '"') return true;
        buf_put_u8(&r->text, '"');
        r->at++;
    }
}

static bool at_line_end(const struct csv_reader *r) { return r->at >= r->in.n || r->in.p[r->at] == '\n' || r->in.p[r->at] == '\r'; }

static void line_end(struct csv_reader *r) {
    if (r->at < r->in.n && r->in.p[r->at] == '\r') r->at++;
    if (r->at < r->in.n && r->in.p[r->at] == '\n') r->at++;
    r->next_line++;
}

bool csv_next(struct csv_reader *r, struct err *err) {
    err_clear(err);
    r->fields.n = r->starts.n = 0;
    buf_clear(&r->text);
    if (r->at >= r->in.n) return false;
    r->line = r->next_line;
    for (;;) {
        if (r->fields.n == CSV_FIELDS_MAX) return fail(r, err, ERR_TOO_LARGE, "too many fields");
        vec_add(&r->starts, r->text.n);
        bool q = r->at < r->in.n && r->in.p[r->at] == '"';
        if (q) {
            r->at++;
            if (!quoted(r)) return fail(r, err, ERR_PARSE, "a quote is not closed");
            if (!at_line_end(r) && r->in.p[r->at] != r->sep) return fail(r, err, ERR_PARSE, "text behind a closing quote");
        } else {
            size_t from = r->at;
            while (!at_line_end(r) && r->in.p[r->at] != r->sep) r->at++;
            buf_put(&r->text, r->in.p + from, r->at - from);
        }
        vec_add(&r->fields, ((struct csv_field){{NULL, 0}, q}));
        if (at_line_end(r)) break;
        r->at++; // the separator
    }
    line_end(r);
    if (r->text.failed) return fail(r, err, ERR_TOO_LARGE, "the record is too long");
    for (size_t i = 0; i < r->fields.n; i++) { // now that the text does not move any more
        size_t end = i + 1 < r->fields.n ? r->starts.p[i + 1] : r->text.n;
        r->fields.p[i].text = str_n(r->text.p == NULL ? (const uint8_t *)"" : r->text.p + r->starts.p[i], end - r->starts.p[i]);
    }
    return true;
}

void csv_put(struct buf *out, struct str f, char sep) {
    bool quote = f.n == 0 || str_starts(f, STR("\xEF\xBB\xBF")); // else a file could begin with what is taken for a byte order mark
    for (size_t i = 0; i < f.n && !quote; i++) quote = f.p[i] == '"' || f.p[i] == sep || f.p[i] == '\n' || f.p[i] == '\r';
    if (!quote) {
        buf_put_str(out, f);
        return;
    }
    buf_put_u8(out, '"');
    for (size_t i = 0; i < f.n; i++) {
        if (f.p[i] == '"') buf_put_u8(out, '"');
        buf_put_u8(out, (uint8_t)f.p[i]);
    }
    buf_put_u8(out, '"');
}
