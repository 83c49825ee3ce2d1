// SPDX-License-Identifier: Apache-2.0
// libpq behind client/pg.h. Results are whole in memory while they are handed out.
#include "client/pg.h"

#include <libpq-fe.h>
#include <string.h>

#include "base/mem.h"

struct client_pg {
    PGconn *conn;
    PGcancel *cancel;
    void (*notice)(void *arg, const char *text);
    void *notice_arg;
};

static void on_notice(void *arg, const char *text) {
    struct client_pg *c = arg;
    if (c->notice != NULL) c->notice(c->notice_arg, text);
}

static enum err_code code_of_state(const char *sqlstate) {
    for (int i = 1; sqlstate != NULL && i < ERR_COUNT; i++)
        if (strcmp(err_info((enum err_code)i)->sqlstate, sqlstate) == 0) return (enum err_code)i;
    return ERR_INVALID;
}

static enum err_code connection_error(PGconn *conn, enum err_code code, struct err *err) {
    struct str text = str_trim(str_c(PQerrorMessage(conn)));
    return err_set(err, code, STR_FMT, STR_ARG(text));
}

struct client_pg *client_pg_open(const char *url, struct err *err) {
    PGconn *conn = PQconnectdb(url);
    if (conn == NULL || PQstatus(conn) != CONNECTION_OK) {
        connection_error(conn, ERR_UNAVAILABLE, err);
        PQfinish(conn);
        return NULL;
    }
    struct client_pg *c = MEM_NEW(struct client_pg);
    c->conn = conn;
    c->cancel = PQgetCancel(conn);
    PQsetNoticeProcessor(conn, on_notice, c);
    return c;
}

void client_pg_close(struct client_pg *c) {
    if (c == NULL) return;
    PQfreeCancel(c->cancel);
    PQfinish(c->conn);
    mem_free(c);
}

void client_pg_on_notice(struct client_pg *c, void (*notice)(void *arg, const char *text), void *arg) {
    c->notice = notice;
    c->notice_arg = arg;
}

void client_pg_cancel(struct client_pg *c) {
    char text[256];
    if (c->cancel != NULL) PQcancel(c->cancel, text, sizeof text);
}

static enum err_code result_error(const PGresult *r, struct err *err) {
    const char *message = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY), *position = PQresultErrorField(r, PG_DIAG_STATEMENT_POSITION);
    enum err_code code = err_set(err, code_of_state(PQresultErrorField(r, PG_DIAG_SQLSTATE)), "%s", message == NULL ? PQresultErrorMessage(r) : message);
    int64_t at;
    if (err != NULL && position != NULL && str_to_i64(str_c(position), &at)) err->position = (int)at;
    return code;
}

static char kind_of(Oid type) {
    static const struct {
        Oid type;
        char kind;
    } kinds[] = {{16, 'b'}, {20, 'n'}, {21, 'n'}, {23, 'n'}, {26, 'n'}, {114, 'j'}, {700, 'n'}, {701, 'n'}, {1700, 'n'}, {3802, 'j'}}; // pg_type's oids
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].type == type) return kinds[i].kind;
    return 't';
}

static enum err_code hand_out(const PGresult *r, client_pg_fn *fn, void *arg, struct err *err) {
    struct arena a;
    arena_init(&a);
    struct client_pg_rows rows = {.n_cols = (size_t)PQnfields(r), .n_rows = (size_t)PQntuples(r), .tag = PQcmdStatus((PGresult *)(uintptr_t)r)};
    const char **names = ARENA_ARRAY(&a, const char *, rows.n_cols), **cells = ARENA_ARRAY(&a, const char *, rows.n_cols * rows.n_rows);
    char *kinds = arena_alloc(&a, rows.n_cols + 1);
    for (size_t i = 0; i < rows.n_cols; i++) names[i] = PQfname(r, (int)i), kinds[i] = kind_of(PQftype(r, (int)i));
    for (size_t i = 0; i < rows.n_rows; i++)
        for (size_t k = 0; k < rows.n_cols; k++)
            cells[i * rows.n_cols + k] = PQgetisnull(r, (int)i, (int)k) ? NULL : PQgetvalue(r, (int)i, (int)k);
    rows.names = names;
    rows.kinds = kinds;
    rows.cells = cells;
    enum err_code code = fn(arg, &rows, err);
    arena_fini(&a);
    return code;
}

enum err_code client_pg_run(struct client_pg *c, const char *script, client_pg_fn *fn, void *arg, struct err *err) {
    if (PQsendQuery(c->conn, script) == 0) return connection_error(c->conn, ERR_CLOSED, err);
    enum err_code code = ERR_OK;
    for (PGresult *r; (r = PQgetResult(c->conn)) != NULL; PQclear(r)) {
        ExecStatusType status = PQresultStatus(r);
        if (code != ERR_OK) continue;
        if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) code = hand_out(r, fn, arg, err);
        else if (status != PGRES_EMPTY_QUERY) code = result_error(r, err);
    }
    if (code == ERR_OK && PQstatus(c->conn) != CONNECTION_OK) code = connection_error(c->conn, ERR_CLOSED, err);
    return code;
}
