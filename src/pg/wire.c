// SPDX-License-Identifier: Apache-2.0
// Messages to the client: framing, errors and notices, parameter status. Pure writers into the caller's buffer.
#include "pg/conn.h"

#include <string.h>

size_t pg_begin(struct buf *b, char type) {
    buf_put_u8(b, (uint8_t)type);
    buf_put_be32(b, 0);
    return b->n - 4;
}

void pg_end(struct buf *b, size_t at) {
    if (!b->failed) buf_set_be32(b, at, (uint32_t)(b->n - at));
}

void pg_put_cstr(struct buf *b, const char *s) { buf_put(b, s, strlen(s) + 1); }

static void put_field(struct buf *b, char code, const char *text) {
    if (text == NULL) return;
    buf_put_u8(b, (uint8_t)code);
    pg_put_cstr(b, text);
}

void pg_put_error(struct buf *b, const char *severity, const char *sqlstate, const char *message, const char *hint, int position) {
    bool notice = strcmp(severity, "NOTICE") == 0 || strcmp(severity, "WARNING") == 0;
    size_t at = pg_begin(b, notice ? 'N' : 'E');
    put_field(b, 'S', severity);
    put_field(b, 'V', severity);
    put_field(b, 'C', sqlstate);
    put_field(b, 'M', message);
    put_field(b, 'H', hint);
    if (position > 0) buf_printf(b, "P%d", position), buf_put_u8(b, 0);
    buf_put_u8(b, 0);
    pg_end(b, at);
}

void pg_put_err(struct buf *b, const struct err *err, bool position_known) {
    const struct err_info *info = err_info(err->code);
    pg_put_error(b, info->fatal ? "FATAL" : "ERROR", info->sqlstate, err->msg, NULL, position_known ? err->position : 0);
}

void pg_put_parameter(struct buf *b, const char *name, const char *value) {
    size_t at = pg_begin(b, 'S');
    pg_put_cstr(b, name);
    pg_put_cstr(b, value);
    pg_end(b, at);
}
