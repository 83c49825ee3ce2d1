// SPDX-License-Identifier: Apache-2.0
// Inside the pg room: the state of one session, and what its parts offer each other. Owned by the worker that runs the
// session's job; `engine` may be read from any thread (cancel).
#ifndef PG_SESSION_H
#define PG_SESSION_H

#include <stdatomic.h>

#include "base/map.h"
#include "pg/conn.h"
#include "sql/sql.h"

struct pg_session {
    struct pg_conn *conn;
    _Atomic(struct engine_session *) engine; // NULL before the log-in
    struct buf out;
    char status;   // of ReadyForQuery: I idle, T in a transaction block, E in a failed one
    int writes;    // statements committed inside the transaction block
    bool skip;     // after an error in the extended protocol, until Sync
    struct map prepared; // name -> struct prepared
    struct map portals;  // name -> struct portal
    struct map settings; // name -> char *: what SET changed
    bool catalog_ready;
    uint64_t catalog_hash; // of the catalog that the temporary tables show
};

void pg_session_forget_prepared(struct pg_session *s, struct str name); // n = 0: all

// ---- run.c: statements ---------------------------------------------------------------------------------------------------
// Runs one statement: transaction words and settings here, all else by the engine. oids: declared types of parameters.
struct engine_result *pg_run(struct pg_session *s, struct str sql, const uint32_t *oids, size_t n_oids, const struct engine_param *params,
                             size_t n_params, struct err *err);
enum err_code pg_describe(struct pg_session *s, struct str sql, const uint32_t *oids, size_t n_oids, struct arena *a,
                          struct engine_described *out, struct err *err);

// ---- settings.c ----------------------------------------------------------------------------------------------------------
void pg_settings_report(struct pg_session *s);                                    // ParameterStatus of all that are reported
void pg_settings_start(struct pg_session *s, struct str name, struct str value);  // from the start-up message
const char *pg_settings_get(struct pg_session *s, struct str name);               // NULL = not one of PostgreSQL's that we know
// ERR_NOT_SUPPORTED for values whose effect we do not have. `value` n = 0 and p = NULL: back to the default.
enum err_code pg_settings_set(struct pg_session *s, struct str name, struct str value, struct err *err);
struct engine_result *pg_settings_all(struct pg_session *s);
void pg_settings_fini(struct pg_session *s);

#endif
