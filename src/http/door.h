// SPDX-License-Identifier: Apache-2.0
// The REST door: Airflow's REST API v2, log-in, health, Prometheus metrics.
//
// Threads: httpd's; handlers block on the rooms below. Memory: per request. Nothing here is durable but DIR/token.key.
#ifndef HTTP_DOOR_H
#define HTTP_DOOR_H

#include "base/err.h"

struct server;
struct http_door;

struct http_door *http_door_open(struct server *s, const char *host, int port, struct err *err); // ERR_EXISTS: port in use
void http_door_close(struct http_door *d);                                                        // waits for requests that run
int http_door_port(const struct http_door *d);

#endif
