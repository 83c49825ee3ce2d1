// SPDX-License-Identifier: Apache-2.0
// Inside kafka only: key sets of tokens that an HTTP server gives (sasl.oauthbearer.jwks.endpoint.url=http… or https…).
//
// Fetched when the door opens, which fails when it cannot be had; then by a worker: every sasl.oauthbearer.jwks.endpoint.refresh.ms, after a failure
// sooner (the retry.backoff configs; the old set stays in force), and at once when a token names a key that the set does not have, but not more
// often than every ten seconds for that. A loop only looks at a time; logins go on meanwhile with the set that is there. A door that closes
// waits for no key server: listeners.closing.
#ifndef KAFKA_KEY_SET_H
#define KAFKA_KEY_SET_H

#include "kafka/listener.h"

// Takes the place of k->jwks. [block]
enum err_code key_set_open(struct listener *k, struct sys *s, struct err *err);
bool key_sets_due(const struct listeners *l, int64_t now_us); // monotonic
void key_sets_refresh(struct listeners *l, struct sys *s);    // those that are due [block]
void key_set_lacks(struct listener *k, struct sys *s);        // a token's key is not there

#endif
