// SPDX-License-Identifier: Apache-2.0
// Inside kafka only: delegation tokens (KIP-48): an id and an HMAC with which SCRAM logs in as the token's owner, for a time.
//
// A token lies in the broker's store under its id, with the keys that SCRAM checks. The HMAC is made of the id and delegation.token.secret.key.
#ifndef KAFKA_TOKENS_H
#define KAFKA_TOKENS_H

#include "kafka/security.h"

struct token {
    struct str id, owner, requester; // principals, "User:alice"
    struct str *renewers;
    size_t n_renewers;
    int64_t issued_ms, expires_ms, max_ms;
    uint8_t hmac[64];
    struct scram_credential keys[2]; // SHA-256, SHA-512
};
// [any] A token that is still good, in the arena. False = there is none of that id, or it is over.
bool token_find(struct security *s, struct str id, int64_t now_ms, struct arena *a, struct token *out);

#endif
