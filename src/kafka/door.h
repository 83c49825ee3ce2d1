// SPDX-License-Identifier: Apache-2.0
// The Kafka door: listens, speaks the protocol, calls the broker. See README.md.
//
// Connections are spread over the loops, each owned by one. open and close are called from a thread that may block, not from a loop.
#ifndef KAFKA_DOOR_H
#define KAFKA_DOOR_H

#include <stdatomic.h>

#include "broker/broker.h"
#include "loop/loop.h"

struct kafka_door;

// GET of a text at a http or https address, into the arena. [block]
// At most `max` bytes: ERR_TOO_LARGE. Gives up soon after `stop` becomes true.
typedef enum err_code kafka_fetch(const char *url, int timeout_s, size_t max, const atomic_bool *stop, struct arena *a, struct str *out, struct err *err);

struct kafka_config {
    const char *host;            // to listen on, "127.0.0.1": the listener PLAINTEXT. NULL = only those of the settings
    int port;                    // 0 = a free one
    const char *advertised_host; // told to clients; NULL = host
    int advertised_port;         // 0 = the port listened on
    size_t max_request_bytes;    // 0 = 100 MiB (socket.request.max.bytes)
    size_t frame_bytes_max;      // 0 = 512 MiB: requests received and not yet answered, per loop; above it reading waits
    int max_connections;         // 0 = 10,000; further ones are closed at once
    int64_t idle_us;             // 0 = 10 minutes (connections.max.idle.ms)
    const struct broker_kv *settings; // Kafka's own configs of listeners, TLS, SASL and authorization (docs/SECURITY.md)
    size_t n_settings;
    bool allow_anonymous; // listeners without authentication may be at addresses other than loopback
    const char *cluster_id;      // NULL = "millrace"
    int32_t node_id;             // 1
    kafka_fetch *fetch;          // for key sets of tokens; NULL = files only
    bool auto_create;            // auto.create.topics.enable: Metadata creates topics where the client allows it
};

// ERR_EXISTS: a port is in use. ERR_CONFIG: the address to tell clients is a wildcard, a listener is open to the world, a setting is wrong.
// The settings' texts must live as long as the door.
struct kafka_door *kafka_door_open(struct loop *const *loops, size_t n_loops, struct broker *broker, const struct kafka_config *config,
                                   struct err *err);
int kafka_door_port(const struct kafka_door *d); // of the first listener
const char *kafka_door_host(const struct kafka_door *d);
// The n-th listener's name and address, for who shows them; false = there are fewer.
bool kafka_door_listener(const struct kafka_door *d, size_t i, const char **name, const char **protocol, const char **host, int *port);
void kafka_door_reload(struct kafka_door *d); // [block] reads certificates and key sets again now; their change is seen every 10 s anyway
// Stops listening, closes all connections, ends the groups' members (groups_stop), waits for requests that the broker still holds.
// The loops must still run; the broker is closed after this.
void kafka_door_close(struct kafka_door *d);

#endif
