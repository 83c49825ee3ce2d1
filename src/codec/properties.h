// SPDX-License-Identifier: Apache-2.0
// Java's properties files: name and value by line (=, : or white space between), # and ! comments, lines that go on after a backslash, \uXXXX.
// Pure, any thread; names and values are NUL-terminated texts of the arena.
#ifndef CODEC_PROPERTIES_H
#define CODEC_PROPERTIES_H

#include "base/err.h"
#include "base/mem.h"

enum { PROPERTIES_TEXT_MAX = 1 << 20 };

struct property {
    const char *name, *value;
    int line;
    bool assigned; // there was an = or :
};
// Of a name that is written twice the last value counts. ERR_PARSE, ERR_TOO_LARGE.
enum err_code properties_parse(struct str text, struct arena *a, struct property **out, size_t *n, struct err *err);

#endif
