// SPDX-License-Identifier: Apache-2.0
// The assembly: opens the data directory and every room below the doors in order, and closes them in the opposite order.
//
// Filled by server_open and server_start_flow, then read-only for the doors, which take what they need. Pointers of rooms live until
// server_close. Doors are above this floor: `millrace server` (cli/) opens them between server_open and server_start_flow.
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"
#include "server/config.h"
#include "server/version.h"
#include "sys/sys.h"

enum { SERVER_LOOPS_MAX = 256 };

struct server {
    struct sys *sys;
    struct config config;
    char *dir; // the data directory
    struct sys_file *lock;
    struct loop *loops[SERVER_LOOPS_MAX];
    size_t n_loops;
    struct pool *pool;
    int64_t opened_us; // wall clock
    struct loop_event flow_ready;
    bool flow_over; // no flow will come
};

// Takes the config's content (the caller's struct is empty afterwards). Makes DIR when it is absent.
// ERR_LOCKED: another process has DIR (names its pid). ERR_VERSION: DIR is of another version, says what to do.
struct server *server_open(struct sys *s, const char *dir, struct config *config, struct err *err);
void server_close(struct server *s);

// DIR/addresses.json, atomically. `names` and `addresses` are n pairs.
enum err_code server_write_addresses(struct server *s, const char *const *names, const char *const *addresses, size_t n, struct err *err);
void server_remove_addresses(struct server *s);

#endif
