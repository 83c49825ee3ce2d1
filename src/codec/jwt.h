// SPDX-License-Identifier: Apache-2.0
// JSON web tokens (RFC 7519) checked against a JSON web key set (RFC 7517): RS256/384/512, PS256/384/512, ES256/384/512.
//
// A key set is read-only once made; any thread. Tokens without a signature ("none") and symmetric algorithms are never accepted: the key of
// another kind can not be used for what it is not (RFC 8725).
#ifndef CODEC_JWT_H
#define CODEC_JWT_H

#include "codec/json.h"

enum { JWT_TEXT_MAX = 64 << 10, JWKS_KEYS_MAX = 256 };

struct jwks;
struct jwks *jwks_parse(struct str text, struct err *err); // ERR_PARSE. Keys of kinds that we do not know are left out
void jwks_free(struct jwks *k);
size_t jwks_count(const struct jwks *k);

// The claims of a token whose signature is right, else NULL (ERR_PARSE: no token; ERR_UNAUTHENTICATED: unknown key or wrong signature). Claims are
// not looked at: times, issuer and audience are the caller's to check. Free with json_decref.
json_t *jwt_verify(const struct jwks *k, struct str token, struct err *err);
// The claims without any check, for tests and tools.
json_t *jwt_claims_unchecked(struct str token, struct err *err);

#endif
