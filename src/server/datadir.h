// SPDX-License-Identifier: Apache-2.0
// The data directory: made, locked, and checked for its version.
#ifndef SERVER_DATADIR_H
#define SERVER_DATADIR_H

#include "base/err.h"
#include "sys/sys.h"

// Returns the lock, held until sys_close. NULL: ERR_LOCKED (names the other process), ERR_VERSION (says what to do), ERR_IO.
struct sys_file *datadir_open(struct sys *s, const char *dir, struct err *err);

enum { CLUSTER_ID_SIZE = 64 };
// Which Kafka cluster this directory is: random, made once (DIR/cluster_id), NUL-terminated.
enum err_code datadir_cluster_id(struct sys *s, const char *dir, char out[CLUSTER_ID_SIZE], struct err *err);

#endif
