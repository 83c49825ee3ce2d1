// SPDX-License-Identifier: Apache-2.0
// The table of doors: how each is opened and closed, and how its address is written.
#include "cli/doors.h"

#include "http/door.h"

static void *open_http(struct server *s, const char *host, int port, int *taken, struct err *err) {
    struct http_door *d = http_door_open(s, host, port, err);
    if (d != NULL) *taken = http_door_port(d);
    return d;
}
static void close_http(void *d) { http_door_close(d); }

// In the order of opening; closed the other way round.
const struct door doors[] = {
    {"http", "http://", "", CFG_HTTP_LISTEN, open_http, close_http},
};
const size_t n_doors = sizeof doors / sizeof *doors;
