// SPDX-License-Identifier: Apache-2.0
// One pass over the text, a logical line at a time.
#include "codec/properties.h"

#include "base/buf.h"

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\f'; }

struct reader {
    const char *p, *end;
    int line;
};

static void skip_blanks(struct reader *r) {
    while (r->p < r->end && is_blank(*r->p)) r->p++;
}

static bool at_line_end(const struct reader *r) { return r->p == r->end || *r->p == '\n' || *r->p == '\r'; }

static void next_line(struct reader *r) {
    if (r->p < r->end && *r->p == '\r') r->p++;
    if (r->p < r->end && *r->p == '\n') r->p++;
    r->line++;
}

static void put_utf8(struct buf *b, unsigned c) {
    if (c < 0x80) buf_put_u8(b, (uint8_t)c);
    else if (c < 0x800) buf_put_u8(b, (uint8_t)(0xc0 | c >> 6)), buf_put_u8(b, (uint8_t)(0x80 | (c & 63)));
    else buf_put_u8(b, (uint8_t)(0xe0 | c >> 12)), buf_put_u8(b, (uint8_t)(0x80 | (c >> 6 & 63))), buf_put_u8(b, (uint8_t)(0x80 | (c & 63)));
}

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

// Behind a backslash.
static bool take_escape(struct reader *r, struct buf *b) {
    if (at_line_end(r)) { // the line goes on
        if (r->p < r->end) next_line(r);
        skip_blanks(r);
        return true;
    }
    char c = *r->p++;
    unsigned v = 0;
    switch (c) {
    case 'n': buf_put_u8(b, '\n'); return true;
    case 't': buf_put_u8(b, '\t'); return true;
    case 'r': buf_put_u8(b, '\r'); return true;
    case 'f': buf_put_u8(b, '\f'); return true;
    case 'u':
        for (int i = 0; i < 4; i++) {
            int d = r->p < r->end ? hex_digit(*r->p++) : -1;
            if (d < 0) return false;
            v = v << 4 | (unsigned)d;
        }
        if (v == 0 || (v >= 0xd800 && v < 0xe000)) return false; // surrogates: nobody's password
        put_utf8(b, v);
        return true;
    default: buf_put_u8(b, (uint8_t)c); return true;
    }
}

static bool take_text(struct reader *r, bool name, struct buf *b) {
    while (!at_line_end(r)) {
        char c = *r->p;
        if (name && (c == '=' || c == ':' || is_blank(c))) return true;
        if (c == 0) return false;
        r->p++;
        if (c != '\\') buf_put_u8(b, (uint8_t)c);
        else if (!take_escape(r, b)) return false;
    }
    return true;
}

static void put_property(struct property *list, size_t *n, const char *name, const char *value, int line, bool assigned) {
    for (size_t i = 0; i < *n; i++) {
        if (strcmp(list[i].name, name) != 0) continue;
        list[i].value = value;
        list[i].line = line;
        list[i].assigned = assigned;
        return;
    }
    list[(*n)++] = (struct property){name, value, line, assigned};
}

enum err_code properties_parse(struct str text, struct arena *a, struct property **out, size_t *n, struct err *err) {
    *n = 0;
    if (text.n > PROPERTIES_TEXT_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d bytes", PROPERTIES_TEXT_MAX);
    size_t lines = 1;
    for (size_t i = 0; i < text.n; i++) lines += text.p[i] == '\n' || text.p[i] == '\r';
    enum { LINES_MAX = 20000 };
    if (lines > LINES_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d lines", LINES_MAX);
    *out = ARENA_ARRAY(a, struct property, lines);
    struct reader r = {text.p, text.p + text.n, 1};
    struct buf name, value;
    buf_init(&name, PROPERTIES_TEXT_MAX * 2);
    buf_init(&value, PROPERTIES_TEXT_MAX * 2);
    bool ok = true;
    while (ok && r.p < r.end) {
        int line = r.line;
        buf_clear(&name);
        buf_clear(&value);
        skip_blanks(&r);
        if (at_line_end(&r)) {
            next_line(&r);
            continue;
        }
        if (*r.p == '#' || *r.p == '!') {
            while (!at_line_end(&r)) r.p++;
            next_line(&r);
            continue;
        }
        ok = take_text(&r, true, &name);
        skip_blanks(&r);
        bool assigned = r.p < r.end && (*r.p == '=' || *r.p == ':');
        if (assigned) r.p++;
        skip_blanks(&r);
        ok = ok && take_text(&r, false, &value);
        buf_cstr(&name), buf_cstr(&value); // so that there is memory, though nothing may be in it
        struct str v = str_trim(buf_str(&value)); // Java keeps blanks at the end; nobody means them
        put_property(*out, n, arena_strndup(a, (const char *)name.p, name.n), arena_strndup(a, v.p, v.n), line, assigned);
        if (!ok) err_set(err, ERR_PARSE, "line %d: a NUL byte or an impossible \\u escape", r.line);
        next_line(&r);
    }
    buf_fini(&name);
    buf_fini(&value);
    return ok ? ERR_OK : ERR_PARSE;
}
