// SPDX-License-Identifier: Apache-2.0
// How a client comes to a Kafka cluster: TLS and log-in, from a file of Kafka's client configs (client.properties).
//
// security.protocol, ssl.* (PEM), sasl.mechanism (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512), sasl.jaas.config. Keys of other families are not looked
// at; one of these that is not known here, or a value that is not supported, is ERR_CONFIG. Read-only once made.
#ifndef CLIENT_SECURITY_H
#define CLIENT_SECURITY_H

#include "base/err.h"
#include "base/mem.h"
#include "client/kafka.h"
#include "sys/sys.h"

enum client_mechanism { CLIENT_NO_LOGIN, CLIENT_PLAIN, CLIENT_SCRAM_SHA_256, CLIENT_SCRAM_SHA_512 };
enum { CLIENT_SECURITY_SETTINGS = 16 };

struct tls_context;
struct client_security {
    struct arena arena;
    struct tls_context *tls; // NULL = plaintext
    bool check_host;         // ssl.endpoint.identification.algorithm=https
    enum client_mechanism mechanism;
    const char *mechanism_name;
    struct str user, password;
    bool token; // user and password are a delegation token's id and HMAC
    struct client_kv rd[CLIENT_SECURITY_SETTINGS]; // the same in librdkafka's names
    size_t n_rd;
};
struct client_security *client_security_read(struct sys *s, const char *path, struct err *err);
void client_security_free(struct client_security *c);

#endif
