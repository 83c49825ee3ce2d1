// SPDX-License-Identifier: Apache-2.0
// The doors that `millrace server` opens: one table.
#ifndef CLI_DOORS_H
#define CLI_DOORS_H

#include "server/server.h"

struct door {
    const char *name;        // key in addresses.json
    const char *scheme;      // in front of host:port, "http://"; "" = none
    const char *suffix;      // behind it
    enum config_id listen;
    bool uses_flow; // closed before the workflows end; the others after them
    // Opens the door; *port becomes the one taken, and host (256 bytes) what was listened on if it was empty. The handle is for close. NULL = failed.
    void *(*open)(struct server *s, char *host, int *port, struct err *err);
    void (*close)(void *handle);
};

extern const struct door doors[];
extern const size_t n_doors;

#endif
