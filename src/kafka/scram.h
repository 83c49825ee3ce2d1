// SPDX-License-Identifier: Apache-2.0
// SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, 7677), the server's side. Pure: no clock, no random, no store.
//
// A user is kept as salt, iterations, StoredKey and ServerKey: with these one can check a password but not log in.
#ifndef KAFKA_SCRAM_H
#define KAFKA_SCRAM_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

enum scram_hash { SCRAM_SHA_256 = 1, SCRAM_SHA_512 = 2 }; // numbers as in Kafka's messages
enum { SCRAM_MIN_ITERATIONS = 4096, SCRAM_MAX_ITERATIONS = 16384, SCRAM_SALT_MAX = 1024, SCRAM_KEY_MAX = 64, SCRAM_MESSAGE_MAX = 64 << 10 };

struct scram_credential {
    enum scram_hash hash;
    int iterations;
    uint8_t salt[SCRAM_SALT_MAX];
    size_t salt_n;
    uint8_t stored_key[SCRAM_KEY_MAX], server_key[SCRAM_KEY_MAX];
};

static inline size_t scram_key_size(enum scram_hash h) { return h == SCRAM_SHA_256 ? 32 : 64; }
// "SCRAM-SHA-256"
static inline const char *scram_name(enum scram_hash h) { return h == SCRAM_SHA_256 ? "SCRAM-SHA-256" : "SCRAM-SHA-512"; }

// Keys of a salted password, which the client has made with the salt and iterations.
void scram_credential_from_salted(enum scram_hash h, struct str salt, int iterations, struct str salted_password, struct scram_credential *out);
void scram_credential_from_password(enum scram_hash h, struct str salt, int iterations, struct str password, struct scram_credential *out);

// The client's first message, taken apart; all texts are the arena's.
struct scram_first {
    struct str gs2_header; // "n,," as it came
    struct str bare;       // what follows it
    struct str user;       // names decoded
    struct str authzid;    // p NULL = none
    struct str nonce;
    bool token_auth; // Kafka's extension: a delegation token's id and HMAC
};
bool scram_parse_first(struct str message, struct arena *a, struct scram_first *out);

struct scram_final {
    struct str without_proof;
    struct str channel_binding; // decoded
    struct str nonce;
    struct str proof;           // decoded
};
bool scram_parse_final(struct str message, struct arena *a, struct scram_final *out);

// "r=...,s=...,i=4096"
struct str scram_server_first(const struct scram_first *first, struct str server_nonce, const struct scram_credential *c, struct arena *a);
// Checks nonce, channel binding and proof. True: *answer is "v=...".
bool scram_check(const struct scram_first *first, struct str server_first, struct str server_nonce, const struct scram_final *final,
                 const struct scram_credential *c, struct arena *a, struct str *answer);

#endif
