// SPDX-License-Identifier: Apache-2.0
// PostgreSQL's system catalog for tools that ask it (psql's \d, JDBC's metadata): temporary tables, views and macros of the session, made
// when first asked for, and the rewriting of names to them.
#ifndef PG_CATALOG_H
#define PG_CATALOG_H

#include "pg/session.h"

// Appends `sql` with parameters cast to their declared types and names of the system catalog replaced by ours. *catalog: some were.
enum err_code pg_catalog_rewrite(struct str sql, const uint32_t *oids, size_t n_oids, struct buf *out, bool *catalog, struct err *err);
// Makes the session's catalog tables, or brings them up to date.
enum err_code pg_catalog_refresh(struct pg_session *s, struct err *err);
void pg_catalog_fini(struct pg_session *s);

#endif
