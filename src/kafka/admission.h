// SPDX-License-Identifier: Apache-2.0
// Which connections are let in: max.connections, max.connections.per.ip with its overrides, max.connection.creation.rate, and the quota
// connection_creation_rate of an address (KIP-612). The broker configs may change while the server runs; those that are open stay.
//
// Taking is the accepting loop's, giving back any loop's: one mutex around the counts of addresses.
#ifndef KAFKA_ADMISSION_H
#define KAFKA_ADMISSION_H

#include "base/map.h"
#include "kafka/conn.h"
#include "kafka/quota.h"

struct admission {
    struct kafka_door *door;
    struct sys_mutex mutex;
    struct map addresses; // host -> struct address_count
    // of the accepting loop
    uint64_t version; // of the broker's configs that the fields below were read at
    int64_t max, max_per_ip, rate_max;
    char *overrides;
    struct quota_rate rate; // over all addresses
};

void admission_init(struct admission *a, struct kafka_door *d);
void admission_fini(struct admission *a);
// For how many milliseconds nobody is to be accepted: the maximum is reached, or they come too fast. 0 = go on.
int64_t admission_wait_ms(struct admission *a);
// One more from that host, which is counted. NULL, or why it is closed.
const char *admission_take(struct admission *a, const char *host);
void admission_give(struct admission *a, const char *host);
void conn_host_of(const char *peer, char out[64]); // "127.0.0.1" of "127.0.0.1:9092"

#endif
