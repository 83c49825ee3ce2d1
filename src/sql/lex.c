// SPDX-License-Identifier: Apache-2.0
// The tokenizer of PostgreSQL-like SQL, and the writing of names and strings.
//
// Pure; any thread; allocates nothing. Errors: ERR_PARSE with a 1-based byte position for what is opened and never closed, and for
// bytes that begin no token. Nothing is durable. Rules: https://www.postgresql.org/docs/current/sql-syntax-lexical.html
#include "base/str.h"
#include "sql/sql.h"

static bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }
static bool is_word_start(unsigned char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80; }
static bool is_word(unsigned char c) { return is_word_start(c) || is_digit(c) || c == '$'; }
static bool is_op(unsigned char c) { return c != 0 && strchr("+-*/<>=~!@#%^&|`?:", c) != NULL; }
static bool is_single(unsigned char c) { return c != 0 && strchr("()[]{},;.", c) != NULL; }

static unsigned char peek(const struct sql_lexer *l, size_t ahead) {
    return l->at + ahead < l->text.n ? (unsigned char)l->text.p[l->at + ahead] : 0;
}

static enum err_code open_error(size_t at, const char *what, struct err *err) {
    enum err_code code = err_set(err, ERR_PARSE, "%s is not closed", what);
    if (err != NULL) err->position = (int)at + 1;
    return code;
}

static enum err_code skip_block_comment(struct sql_lexer *l, struct err *err) {
    size_t start = l->at, depth = 0;
    do {
        if (l->at + 1 >= l->text.n) return open_error(start, "comment", err);
        if (peek(l, 0) == '/' && peek(l, 1) == '*') {
            depth++;
            l->at += 2;
        } else if (peek(l, 0) == '*' && peek(l, 1) == '/') {
            depth--;
            l->at += 2;
        } else {
            l->at++;
        }
    } while (depth > 0);
    return ERR_OK;
}

static enum err_code skip_blank(struct sql_lexer *l, struct err *err) {
    while (l->at < l->text.n) {
        unsigned char c = peek(l, 0);
        if (is_space(c)) {
            l->at++;
        } else if (c == '-' && peek(l, 1) == '-') {
            while (l->at < l->text.n && l->text.p[l->at] != '\n') l->at++;
        } else if (c == '/' && peek(l, 1) == '*') {
            enum err_code code = skip_block_comment(l, err);
            if (code != ERR_OK) return code;
        } else {
            break;
        }
    }
    return ERR_OK;
}

// From the opening quote behind the closing one; a doubled quote is part of the text, and with `escapes` a backslash takes the next byte.
static enum err_code skip_quoted(struct sql_lexer *l, char quote, bool escapes, struct err *err) {
    size_t start = l->at++;
    while (l->at < l->text.n) {
        char c = l->text.p[l->at++];
        if (escapes && c == '\\') {
            if (l->at < l->text.n) l->at++;
        } else if (c == quote) {
            if (l->at >= l->text.n || l->text.p[l->at] != quote) return ERR_OK;
            l->at++;
        }
    }
    return open_error(start, quote == '"' ? "quoted name" : "string", err);
}

// At a `$`: length of the opening `$tag$`, 0 = this is none.
static size_t dollar_tag(const struct sql_lexer *l) {
    size_t n = 1;
    if (is_digit(peek(l, 1))) return 0;
    while (is_word_start(peek(l, n)) || is_digit(peek(l, n))) n++;
    return peek(l, n) == '$' ? n + 1 : 0;
}

static enum err_code skip_dollar_string(struct sql_lexer *l, size_t tag, struct err *err) {
    size_t start = l->at;
    const char *open = l->text.p + l->at;
    l->at += tag;
    while (l->at + tag <= l->text.n) {
        if (l->text.p[l->at] == '$' && memcmp(l->text.p + l->at, open, tag) == 0) {
            l->at += tag;
            return ERR_OK;
        }
        l->at++;
    }
    return open_error(start, "dollar-quoted string", err);
}

static void skip_number(struct sql_lexer *l) {
    if (peek(l, 0) == '0' && (peek(l, 1) | 32) == 'x') l->at += 2;
    while (is_word(peek(l, 0)) || peek(l, 0) == '.') {
        bool exponent = (peek(l, 0) | 32) == 'e';
        l->at++;
        if (exponent && (peek(l, 0) == '-' || peek(l, 0) == '+') && is_digit(peek(l, 1))) l->at++;
    }
}

static void skip_operator(struct sql_lexer *l) {
    size_t first = l->at++;
    while (is_op(peek(l, 0))) {
        if (peek(l, 0) == '-' && peek(l, 1) == '-') break; // a comment begins
        if (peek(l, 0) == '/' && peek(l, 1) == '*') break;
        l->at++;
    }
    // PostgreSQL: an operator of more than one character does not end in + or - (`=-1` is `=` and `-1`).
    const char *p = l->text.p;
    while (l->at - first > 1 && (p[l->at - 1] == '-' || p[l->at - 1] == '+')) l->at--;
}

static enum err_code lex_dollar(struct sql_lexer *l, struct sql_token *out, struct err *err) {
    size_t tag = dollar_tag(l);
    if (tag > 0) {
        out->kind = SQL_TOKEN_STRING;
        return skip_dollar_string(l, tag, err);
    }
    out->kind = SQL_TOKEN_PARAM;
    l->at++;
    while (is_word_start(peek(l, 0)) || is_digit(peek(l, 0))) l->at++;
    return ERR_OK;
}

static enum err_code lex_token(struct sql_lexer *l, struct sql_token *out, struct err *err) {
    unsigned char c = peek(l, 0);
    if (c == '\'') {
        out->kind = SQL_TOKEN_STRING;
        return skip_quoted(l, '\'', false, err);
    }
    if ((c | 32) == 'e' && peek(l, 1) == '\'') {
        out->kind = SQL_TOKEN_STRING;
        l->at++;
        return skip_quoted(l, '\'', true, err);
    }
    if (c == '"') {
        out->kind = SQL_TOKEN_QUOTED;
        return skip_quoted(l, '"', false, err);
    }
    if (c == '$') return lex_dollar(l, out, err);
    if (is_word_start(c)) {
        out->kind = SQL_TOKEN_WORD;
        while (is_word(peek(l, 0))) l->at++;
    } else if (is_digit(c) || (c == '.' && is_digit(peek(l, 1)))) {
        out->kind = SQL_TOKEN_NUMBER;
        skip_number(l);
    } else if (is_single(c)) {
        out->kind = SQL_TOKEN_OP;
        l->at++;
    } else if (c == '?' && !is_op(peek(l, 1))) {
        out->kind = SQL_TOKEN_PARAM;
        l->at++;
    } else if (is_op(c)) {
        out->kind = SQL_TOKEN_OP;
        skip_operator(l);
    } else {
        enum err_code code = err_set(err, ERR_PARSE, "byte 0x%02x begins no token", c);
        if (err != NULL) err->position = (int)l->at + 1;
        return code;
    }
    return ERR_OK;
}

enum err_code sql_lex(struct sql_lexer *l, struct sql_token *out, struct err *err) {
    enum err_code code = skip_blank(l, err);
    *out = (struct sql_token){SQL_TOKEN_END, l->at, 0};
    if (code != ERR_OK || l->at >= l->text.n) return code;
    code = lex_token(l, out, err);
    out->n = l->at - out->at;
    return code;
}

static void put_quoted(struct buf *out, struct str s, char quote) {
    buf_put_u8(out, (uint8_t)quote);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == quote) buf_put_u8(out, (uint8_t)quote);
        buf_put_u8(out, (uint8_t)s.p[i]);
    }
    buf_put_u8(out, (uint8_t)quote);
}

void sql_put_ident(struct buf *out, struct str name) { put_quoted(out, name, '"'); }
void sql_put_string(struct buf *out, struct str value) { put_quoted(out, value, '\''); }
