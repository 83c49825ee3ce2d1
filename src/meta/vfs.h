// SPDX-License-Identifier: Apache-2.0
// Inside meta only: SQLite's files over sys.
#ifndef META_VFS_H
#define META_VFS_H

#include <sqlite3.h>

#include "sys/sys.h"

struct meta_vfs {
    sqlite3_vfs base;
    struct sys *sys;
    char name[40];
    struct err last;  // of the newest failed file operation: its message says more than SQLite's
    bool sync_failed; // final: from now on nothing is written
};

struct meta_vfs *meta_vfs_new(struct sys *s);
void meta_vfs_free(struct meta_vfs *v); // after the database is closed

#endif
