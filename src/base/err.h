// SPDX-License-Identifier: Apache-2.0
// Errors: a code is returned, and a message goes into a struct that the caller supplies.
//
// Every function that can fail returns `enum err_code` (ERR_OK = 0) or a pointer (NULL = failed), and takes
// `struct err *err` as its last argument. `err` may be NULL: then only the code is kept.
// The table in errors.def says of each code whether a retry can help, whether it is final for the process, and what it is in Kafka's
// protocol, in HTTP, in SQLSTATE and as an exit code.
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum err_code {
#define ERROR(name, retriable, fatal, http, sqlstate, kafka, exit_code, text) ERR_##name,
#include "base/errors.def"
#undef ERROR
    ERR_COUNT
};

enum { ERR_MSG_MAX = 1024 };

struct err {
    enum err_code code;
    int position;          // 1-based character position in the text that was at fault (SQL), 0 = unknown
    char msg[ERR_MSG_MAX]; // always NUL-terminated; one line, says the place and the mend
};

struct err_info {
    const char *name; // "NOT_FOUND"
    bool retriable;   // the same call may succeed later
    bool fatal;       // the process or the store must stop acknowledging
    int http;
    const char *sqlstate;
    int kafka; // Kafka protocol error code
    int exit_code;
    const char *text; // what it means, for documentation
};

const struct err_info *err_info(enum err_code code);

// Sets *err (if not NULL) and returns `code`, so that `return err_set(err, ERR_X, "...", ...)` reads well.
enum err_code err_set(struct err *err, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
enum err_code err_vset(struct err *err, enum err_code code, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));

// From an errno value: picks the code (ENOSPC -> ERR_NO_SPACE, ENOENT -> ERR_NOT_FOUND, ...) and appends the system's text.
enum err_code err_errno(struct err *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// Puts "context: " in front of the message that is there. Returns err->code.
enum err_code err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void err_clear(struct err *err);
void err_copy(struct err *to, const struct err *from);

#endif
