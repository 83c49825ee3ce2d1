// SPDX-License-Identifier: Apache-2.0
// The table of doors: how each is opened and closed, and how its address is written.
#include "cli/doors.h"

#include <stdio.h>

#include "base/log.h"
#include "client/http.h"
#include "http/door.h"
#include "kafka/door.h"
#include "pg/door.h"
#include "registry/door.h"

static enum err_code fetch_text(const char *url, int timeout_s, size_t max, const atomic_bool *stop, struct arena *a, struct str *out, struct err *err) {
    const struct client_http h = {.base = url, .timeout_s = timeout_s, .max = max, .stop = stop};
    return client_http_text(&h, "GET", "", (struct str){NULL, 0}, NULL, "application/json", a, out, NULL, err);
}

static void *open_kafka(struct server *s, char *host, int *port, struct err *err) {
    char advertised_host[256];
    struct kafka_config c = {.host = host[0] == 0 ? NULL : host,
                             .port = *port,
                             .max_request_bytes = (size_t)config_num(&s->config, CFG_KAFKA_REQUEST_MAX),
                             .max_connections = (int)config_num(&s->config, CFG_KAFKA_CONNECTIONS_MAX),
                             .node_id = (int32_t)config_num(&s->config, CFG_BROKER_NODE_ID),
                             .auto_create = config_bool(&s->config, CFG_BROKER_AUTO_CREATE),
                             .cluster_id = s->cluster_id,
                             .fetch = fetch_text,
                             .settings = s->door_settings,
                             .n_settings = s->n_door_settings,
                             .allow_anonymous = config_bool(&s->config, CFG_KAFKA_ALLOW_ANONYMOUS)};
    const char *advertised = config_text(&s->config, CFG_KAFKA_ADVERTISED);
    if (*advertised != 0) {
        if (!listen_parse(str_c(advertised), advertised_host, &c.advertised_port)) {
            err_set(err, ERR_CONFIG, "kafka.advertised must be host:port, not \"%.60s\"", advertised);
            return NULL;
        }
        c.advertised_host = advertised_host;
    }
    struct kafka_door *d = kafka_door_open(s->loops, s->n_loops, s->broker, &c, err);
    if (d == NULL) return NULL;
    *port = kafka_door_port(d);
    if (host[0] == 0) snprintf(host, 256, "%s", kafka_door_host(d));
    const char *name, *protocol, *at;
    int taken;
    for (size_t i = 0; kafka_door_listener(d, i, &name, &protocol, &at, &taken); i++)
        log_info("kafka", "listener open", "name", name, "protocol", protocol, "host", at, "port", log_i64(taken), NULL);
    return d;
}
static void close_kafka(void *d) { kafka_door_close(d); }

static void *open_pg(struct server *s, char *host, int *port, struct err *err) {
    struct pg_config c = {.host = host,
                          .port = *port,
                          .max_connections = (int)config_num(&s->config, CFG_PG_CONNECTIONS_MAX),
                          .workers = (int)config_num(&s->config, CFG_PG_WORKERS),
                          .database = "millrace",
                          .user = "millrace"};
    struct pg_door *d = pg_door_open(s->sys, s->loops, s->n_loops, s->engine, &c, err);
    if (d != NULL) *port = pg_door_port(d);
    return d;
}
static void close_pg(void *d) { pg_door_close(d); }

static void *open_registry(struct server *s, char *host, int *port, struct err *err) {
    struct registry_config c = {.host = host,
                                .port = *port,
                                .body_max = (size_t)config_num(&s->config, CFG_HTTP_BODY_MAX),
                                .connections_max = (int)config_num(&s->config, CFG_REGISTRY_CONNECTIONS_MAX)};
    struct registry_door *d = registry_door_open(s->subjects, &c, err);
    if (d != NULL) *port = registry_door_port(d);
    return d;
}
static void close_registry(void *d) { registry_door_close(d); }

static void *open_http(struct server *s, char *host, int *port, struct err *err) {
    struct http_door *d = http_door_open(s, host, *port, err);
    if (d != NULL) *port = http_door_port(d);
    return d;
}
static void close_http(void *d) { http_door_close(d); }

// In the order of opening; closed the other way round.
const struct door doors[] = {
    {"kafka", "", "", CFG_KAFKA_LISTEN, false, open_kafka, close_kafka},
    {"pg", "postgresql://millrace@", "/millrace", CFG_PG_LISTEN, false, open_pg, close_pg},
    {"registry", "http://", "", CFG_REGISTRY_LISTEN, false, open_registry, close_registry},
    {"http", "http://", "", CFG_HTTP_LISTEN, true, open_http, close_http},
};
const size_t n_doors = sizeof doors / sizeof *doors;
