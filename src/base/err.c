// SPDX-License-Identifier: Apache-2.0
// The table of error codes, and the few functions that fill a caller's struct err. No state, any thread.
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct err_info infos[ERR_COUNT] = {
#define ERROR(name, retriable, fatal, http, sqlstate, kafka, exit_code, text) \
    [ERR_##name] = {#name, retriable, fatal, http, sqlstate, kafka, exit_code, text},
#include "base/errors.def"
#undef ERROR
};

const struct err_info *err_info(enum err_code code) {
    assert((unsigned)code < ERR_COUNT);
    return &infos[code];
}

enum err_code err_vset(struct err *err, enum err_code code, const char *fmt, va_list ap) {
    if (err == NULL) return code;
    err->code = code;
    err->position = 0;
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    return code;
}

enum err_code err_set(struct err *err, enum err_code code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    err_vset(err, code, fmt, ap);
    va_end(ap);
    return code;
}

static enum err_code code_of_errno(int errnum) {
    switch (errnum) {
    case ENOENT: return ERR_NOT_FOUND;
    case EEXIST: return ERR_EXISTS;
    case ENOSPC:
    case EDQUOT: return ERR_NO_SPACE;
    case EACCES:
    case EPERM:
    case EROFS: return ERR_DENIED;
    case ENOMEM: return ERR_NO_MEMORY;
    case EAGAIN: return ERR_BUSY;
    case ETIMEDOUT: return ERR_TIMEOUT;
    case ECONNREFUSED:
    case EHOSTUNREACH: return ERR_UNAVAILABLE;
    case EPIPE:
    case ECONNRESET: return ERR_CLOSED;
    default: return ERR_IO;
    }
}

enum err_code err_errno(struct err *err, int errnum, const char *fmt, ...) {
    enum err_code code = code_of_errno(errnum);
    if (err == NULL) return code;
    va_list ap;
    va_start(ap, fmt);
    err_vset(err, code, fmt, ap);
    va_end(ap);
    size_t n = strlen(err->msg);
    char text[128];
    snprintf(err->msg + n, sizeof err->msg - n, ": %s", strerror_r(errnum, text, sizeof text));
    return code;
}

enum err_code err_wrap(struct err *err, const char *fmt, ...) {
    if (err == NULL) return ERR_INTERNAL;
    char old[ERR_MSG_MAX];
    memcpy(old, err->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    size_t n = strlen(err->msg);
    snprintf(err->msg + n, sizeof err->msg - n, ": %s", old);
    return err->code;
}

void err_clear(struct err *err) {
    if (err == NULL) return;
    err->code = ERR_OK;
    err->position = 0;
    err->msg[0] = 0;
}

void err_copy(struct err *to, const struct err *from) {
    if (to != NULL) *to = *from;
}
