// SPDX-License-Identifier: Apache-2.0
// A file of Kafka broker configs in the form of Kafka's server.properties (key broker.properties), for who comes from Kafka.
//
// Read at start by one thread. What is read lives in the caller's arena.
#ifndef SERVER_PROPERTIES_H
#define SERVER_PROPERTIES_H

#include "broker/broker.h"
#include "server/config.h"

struct properties {
    struct broker_kv *p; // the broker's
    const char **places; // of each of them: "broker.properties=FILE:LINE"
    size_t n;
    struct broker_kv *door; // the Kafka door's: listeners, TLS, SASL, authorization
    size_t n_door;
};

// In the form of Java's properties (codec/properties.h); the last line of a name counts. Names that the broker does not know are logged and
// left out, as Kafka does. What has a key of ours (num.partitions: broker.partitions) sets that key, unless it was set elsewhere, and is
// not in `out`. ERR_CONFIG names the file and the line.
enum err_code properties_load(struct sys *s, const char *path, struct config *c, struct arena *a, struct properties *out, struct err *err);

// A file of the same form, all of its names as they are. `key` is the config key that names it, for messages.
enum err_code properties_read(struct sys *s, const char *key, const char *path, struct arena *a, struct properties *out, struct err *err);

#endif
