// SPDX-License-Identifier: Apache-2.0
// Client of the PostgreSQL door (or any PostgreSQL) over libpq. Blocking; a handle is used by one thread.
#ifndef CLIENT_PG_H
#define CLIENT_PG_H

#include "base/err.h"
#include "base/str.h"

struct client_pg;
struct client_pg *client_pg_open(const char *url, struct err *err); // "postgresql://user@host:port/database". ERR_UNAVAILABLE
void client_pg_close(struct client_pg *c);

struct client_pg_rows { // lives during the call
    const char *const *names;
    const char *kinds; // a letter per column: 'n' number, 'b' boolean (t, f), 'j' JSON, 't' all others
    size_t n_cols;
    const char *const *cells; // cells[row * n_cols + col]; NULL = null
    size_t n_rows;
    const char *tag; // "SELECT 5"
};
typedef enum err_code client_pg_fn(void *arg, const struct client_pg_rows *rows, struct err *err);
// Runs a script and hands out each statement's result (n_cols 0: no rows). Stops at the first error; err->position counts in the script. `notice` (or NULL)
// gets the server's notices, one line each.
enum err_code client_pg_run(struct client_pg *c, const char *script, client_pg_fn *fn, void *arg, struct err *err);
void client_pg_on_notice(struct client_pg *c, void (*notice)(void *arg, const char *text), void *arg);
void client_pg_cancel(struct client_pg *c); // any thread: what runs ends with an error

#endif
