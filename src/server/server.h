// SPDX-License-Identifier: Apache-2.0
// The assembly: opens the data directory and every room below the doors in order, and closes them in the opposite order.
//
// Filled by server_open and server_start_flow, then read-only for the doors, which take what they need. Pointers of rooms live until
// server_close. Doors are above this floor: `millrace server` (cli/) opens them between server_open and server_start_flow.
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "server/config.h"
#include "server/version.h"
#include "sys/sys.h"

struct broker;
struct broker_kv;
struct topics;
struct subjects;
struct lake;
struct engine;
struct quality;
struct flow;

enum { SERVER_LOOPS_MAX = 256, SERVER_ROOMS_MAX = 16 };

struct server {
    struct sys *sys;
    struct config config;
    char *dir; // the data directory
    char cluster_id[64]; // of its Kafka
    struct sys_file *lock;
    struct loop *loops[SERVER_LOOPS_MAX];
    size_t n_loops;
    struct pool *pool;
    struct broker *broker; // NULL: the topics are in an external Kafka
    struct topics *topics;
    struct arena properties; // of broker.properties
    const struct broker_kv *door_settings; // what is in it for the Kafka door
    size_t n_door_settings;
    struct subjects *subjects;
    struct lake *lake;
    struct engine *engine;
    struct quality *quality;
    struct flow *flow;      // take it with server_flow: it is opened after the doors
    struct sys_mutex mutex; // guards flow and flow_over
    struct sys_cond changed;
    bool flow_over;         // no flow will come, or it is closing
    bool opened[SERVER_ROOMS_MAX];
};

// Takes the config's content (the caller's struct is empty afterwards). Makes DIR when it is absent.
// ERR_LOCKED: another process has DIR (names its pid). ERR_VERSION: DIR is of another version, says what to do.
struct server *server_open(struct sys *s, const char *dir, struct config *config, struct err *err);
void server_close(struct server *s);
bool server_has_listeners(const struct server *s); // broker.properties names listeners of the Kafka door

// Workflows begin when the doors are open, since tasks use them: `api_url` is the REST door's address, NULL = there is none.
enum err_code server_start_flow(struct server *s, const char *api_url, struct err *err);
// To stop: server_flow gives NULL from now on, and who waits in it is woken. Any thread.
void server_begin_stop(struct server *s);
// After the REST door was closed, before the other doors, which tasks use: ends the workflows.
void server_stop_flow(struct server *s);
// Any thread that may block: waits while the server starts. NULL: it is stopping.
struct flow *server_flow(struct server *s);
struct flow *server_flow_now(struct server *s); // does not wait: NULL while starting too

// DIR/addresses.json, atomically. `names` and `addresses` are n pairs.
enum err_code server_write_addresses(struct server *s, const char *const *names, const char *const *addresses, size_t n, struct err *err);
void server_remove_addresses(struct server *s);

#endif
