// SPDX-License-Identifier: Apache-2.0
// The PostgreSQL door: frontend/backend protocol 3.0 (https://www.postgresql.org/docs/15/protocol.html) over the SQL engine.
//
// A connection belongs to one loop, which reads and writes its socket; what a message asks for runs on a worker of the door's own
// pool, one message after the other. A slow client makes its worker wait, and that worker makes its query wait.
#ifndef PG_DOOR_H
#define PG_DOOR_H

#include "base/err.h"
#include "engine/engine.h"
#include "loop/loop.h"

struct pg_config {
    const char *host;
    int port;            // 0 = a free one
    int max_connections; // more are refused with SQLSTATE 53300
    int workers;         // queries that run at once
    const char *database, *user;
};

struct pg_door;
struct pg_door *pg_door_open(struct sys *s, struct loop *const *loops, size_t n_loops, struct engine *engine, const struct pg_config *config,
                             struct err *err);
int pg_door_port(const struct pg_door *d);
// Cancels what runs, closes all connections, waits for the workers. The loops must still run; not from a loop.
void pg_door_close(struct pg_door *d);

#endif
