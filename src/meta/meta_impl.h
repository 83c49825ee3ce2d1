// SPDX-License-Identifier: Apache-2.0
// Inside meta only: the store, its lock and its statements.
#ifndef META_IMPL_H
#define META_IMPL_H

#include "base/map.h"
#include "base/vec.h"
#include "meta/meta.h"
#include "meta/vfs.h"

struct meta {
    struct sys *sys;
    struct meta_vfs *vfs;
    sqlite3 *db;
    char *path;

    struct sys_mutex mutex; // guards owner and holds
    struct sys_cond released;
    const void *owner; // the thread that holds the store (address of a thread-local); NULL = nobody
    int holds;         // how many times

    // The holder's.
    int depth;         // of meta_begin
    bool doomed;       // the open transaction was rolled back already; why is in doom
    struct err doom;
    struct map cache;  // SQL text -> struct meta_stmt
    VEC(struct meta_stmt *) in_use;
};

struct meta_stmt {
    struct meta *meta;
    sqlite3_stmt *stmt;
    bool cached, busy;
    int bind_error; // SQLite's code of the first bind that failed
};

void meta_hold(struct meta *m);
void meta_release(struct meta *m);
// The error of a failed SQLite call, with the file operation's message where there is one. Notices a transaction that SQLite gave up.
enum err_code meta_error(struct meta *m, int rc, const char *doing, struct err *err);
enum err_code meta_check(struct meta *m, struct err *err); // may statements run now?
void meta_drop_statements(struct meta *m);

#endif
