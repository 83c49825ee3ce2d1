// SPDX-License-Identifier: Apache-2.0
// The schema registry's REST door, compatible with Confluent's: what serializers, kcat and registry tools talk to.
//
// Threads: httpd's; handlers block on subjects/. Memory: per request. Durability: subjects/.
#ifndef REGISTRY_DOOR_H
#define REGISTRY_DOOR_H

#include <stddef.h>

#include "base/err.h"

struct subjects;
struct registry_door;

struct registry_config {
    const char *host;
    int port;            // 0 = a free one
    size_t body_max;     // 0 = 16 MiB
    int connections_max; // 0 = 256
};

struct registry_door *registry_door_open(struct subjects *s, const struct registry_config *config, struct err *err); // ERR_EXISTS: port in use
void registry_door_close(struct registry_door *d); // waits for requests that run; d may be NULL
int registry_door_port(const struct registry_door *d);

#endif
