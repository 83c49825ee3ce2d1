// SPDX-License-Identifier: Apache-2.0
// Inside the pg room: what the socket side (door.c, on a loop) and the query side (session.c, on a worker) share of a connection.
#ifndef PG_CONN_H
#define PG_CONN_H

#include "base/buf.h"
#include "pg/door.h"

struct pg_conn;
struct pg_session;

enum {
    PG_MESSAGE_MAX = 64 << 20, // one message of a client
    PG_STARTUP_MAX = 10000,    // before the log-in, as PostgreSQL
    PG_OUT_MAX = 1 << 20,      // unsent bytes above which the worker waits for the client
};

// ---- door.c, for the query side ----------------------------------------------------------------------------------------
// Hands bytes to the client and empties `b`. Waits while more than PG_OUT_MAX are unsent. false: the client is gone.
bool pg_conn_send(struct pg_conn *c, struct buf *b);
const struct pg_config *pg_conn_config(const struct pg_conn *c);
struct engine *pg_conn_engine(const struct pg_conn *c);
void pg_conn_key(const struct pg_conn *c, uint32_t *pid, uint32_t *secret); // for BackendKeyData

// ---- session.c, for the socket side ------------------------------------------------------------------------------------
struct pg_session *pg_session_new(struct pg_conn *c);
void pg_session_free(struct pg_session *s); // on a worker or at the end
// Handles whole messages (the first one of a connection is the start-up message, without a type byte). false: close the connection.
bool pg_session_handle(struct pg_session *s, struct str messages);
void pg_session_cancel(struct pg_session *s); // any thread

// ---- wire.c ----------------------------------------------------------------------------------------------------------------
// Writers of messages: begin returns where the length goes, end fills it in.
size_t pg_begin(struct buf *b, char type);
void pg_end(struct buf *b, size_t at);
void pg_put_cstr(struct buf *b, const char *s);
void pg_put_error(struct buf *b, const char *severity, const char *sqlstate, const char *message, const char *hint, int position);
void pg_put_err(struct buf *b, const struct err *err, bool position_known);
void pg_put_parameter(struct buf *b, const char *name, const char *value);

#endif
