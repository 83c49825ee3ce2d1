// SPDX-License-Identifier: Apache-2.0
// The data directory: made, locked, and checked for its version.
#ifndef SERVER_DATADIR_H
#define SERVER_DATADIR_H

#include "base/err.h"
#include "sys/sys.h"

// Returns the lock, held until sys_close. NULL: ERR_LOCKED (names the other process), ERR_VERSION (says what to do), ERR_IO.
struct sys_file *datadir_open(struct sys *s, const char *dir, struct err *err);

#endif
