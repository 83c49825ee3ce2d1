// SPDX-License-Identifier: Apache-2.0
// What commands print, and where their server is. One thread.
#include <stdarg.h>
#include <stdio.h>

#include "cli/cli.h"
#include "codec/json.h"

enum { ADDRESSES_MAX = 1 << 16 };

static size_t text_width(const char *s) { // code points; good enough for a column's width
    size_t n = 0;
    for (; *s != 0; s++) n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

static bool is_number(const char *s) { // as JSON writes one
    if (*s == '-') s++;
    if (*s < '0' || *s > '9' || (*s == '0' && s[1] >= '0' && s[1] <= '9')) return false;
    return s[strspn(s, "0123456789.eE+-")] == 0;
}

// kind: 't' text, 'n' number, 'b' boolean, 'j' JSON. What is not of its kind (NaN) is written as text.
static void put_json_cell(struct buf *b, const char *cell, char kind) {
    if (cell == NULL) buf_puts(b, "null");
    else if (kind == 'j' || (kind == 'n' && is_number(cell))) buf_puts(b, cell);
    else if (kind == 'b') buf_puts(b, *cell == 't' ? "true" : "false");
    else json_put_str(b, str_c(cell));
}

static void put_json_rows(struct buf *b, const char *const *names, const char *kinds, size_t n_cols, const char *const *cells, size_t n_rows) {
    buf_puts(b, "[");
    for (size_t r = 0; r < n_rows; r++) {
        buf_puts(b, r == 0 ? "\n  {" : ",\n  {");
        for (size_t i = 0; i < n_cols; i++) {
            const char *cell = cells[r * n_cols + i];
            buf_puts(b, i == 0 ? "" : ", ");
            json_put_str(b, str_c(names[i]));
            buf_puts(b, ": ");
            put_json_cell(b, cell, kinds == NULL ? 't' : kinds[i]);
        }
        buf_puts(b, "}");
    }
    buf_puts(b, n_rows > 0 ? "\n]\n" : "]\n");
}

static void put_table_rows(struct arena *a, struct buf *b, const char *const *names, size_t n_cols, const char *const *cells, size_t n_rows) {
    size_t *widths = ARENA_ARRAY(a, size_t, n_cols);
    for (size_t i = 0; i < n_cols; i++) {
        widths[i] = text_width(names[i]);
        for (size_t r = 0; r < n_rows; r++) {
            const char *cell = cells[r * n_cols + i];
            size_t w = cell == NULL ? 0 : text_width(cell);
            if (w > widths[i]) widths[i] = w;
        }
    }
    for (size_t r = 0; r <= n_rows; r++) {
        for (size_t i = 0; i < n_cols; i++) {
            const char *cell = r == 0 ? names[i] : cells[(r - 1) * n_cols + i];
            if (cell == NULL) cell = "";
            buf_puts(b, cell);
            if (i + 1 == n_cols) break;
            for (size_t pad = text_width(cell); pad < widths[i] + 2; pad++) buf_put_u8(b, ' ');
        }
        buf_put_u8(b, '\n');
    }
}

void cli_print_rows(const struct cli *c, const char *const *names, const char *kinds, size_t n_cols, const char *const *cells, size_t n_rows) {
    struct buf b;
    struct arena a;
    buf_init(&b, 0);
    arena_init(&a);
    if (c->json) put_json_rows(&b, names, kinds, n_cols, cells, n_rows);
    else put_table_rows(&a, &b, names, n_cols, cells, n_rows);
    sys_stdout_write(buf_str(&b));
    arena_fini(&a);
    buf_fini(&b);
}

static char *format(const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *text = mem_alloc((size_t)n + 2);
    vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    text[n] = '\n';
    text[n + 1] = 0;
    return text;
}

void cli_print(const struct cli *c, const char *fmt, ...) {
    (void)c;
    va_list ap;
    va_start(ap, fmt);
    char *text = format(fmt, ap);
    va_end(ap);
    sys_stdout_write(str_c(text));
    mem_free(text);
}

void cli_note(const struct cli *c, const char *fmt, ...) {
    (void)c;
    va_list ap;
    va_start(ap, fmt);
    char *text = format(fmt, ap);
    va_end(ap);
    sys_stderr_write(str_c(text));
    mem_free(text);
}

const char *cli_data_dir(struct cli *c) {
    const char *dir = cli_opt(c, "data");
    if (dir == NULL) dir = sys_getenv("MILLRACE_DATA");
    return dir != NULL && *dir != 0 ? dir : "data";
}

enum err_code cli_address(struct cli *c, const char *door, const char *otherwise, const char **out, struct err *err) {
    const char *given = cli_opt(c, "server");
    if (given != NULL) {
        *out = given;
        return ERR_OK;
    }
    const char *dir = cli_data_dir(c);
    char *path = mem_printf("%s/addresses.json", dir);
    size_t n;
    char *text = sys_read_file(c->sys, path, ADDRESSES_MAX, &n, NULL);
    json_t *j = text == NULL ? NULL : json_parse(str_n(text, n), NULL);
    const char *found = j == NULL ? NULL : json_get_cstr(j, door, NULL);
    enum err_code code = ERR_OK;
    if (found != NULL) *out = arena_strdup(&c->arena, found);
    else if (text != NULL) code = err_set(err, ERR_UNAVAILABLE, "the server of %s has no %s door (%s)", dir, door, path);
    else if (cli_opt(c, "data") != NULL)
        code = err_set(err, ERR_UNAVAILABLE, "no server runs on %s: there is no %s; start it with millrace server --data %s", dir, path, dir);
    else *out = otherwise;
    json_decref(j);
    mem_free(text);
    mem_free(path);
    return code;
}
