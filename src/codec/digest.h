// SPDX-License-Identifier: Apache-2.0
// Digests and message authentication (libcrypto), base64 and hexadecimal text. Pure, any thread.
#ifndef CODEC_DIGEST_H
#define CODEC_DIGEST_H

#include "base/buf.h"
#include "base/err.h"

void digest_md5(struct str in, uint8_t out[16]);
void digest_sha1(struct str in, uint8_t out[20]);
void digest_sha256(struct str in, uint8_t out[32]);
void digest_sha512(struct str in, uint8_t out[64]);
void digest_hmac_sha256(struct str key, struct str in, uint8_t out[32]);
void digest_hmac_sha512(struct str key, struct str in, uint8_t out[64]);
// PBKDF2 with HMAC-SHA-256 or -512 (RFC 8018; SCRAM's Hi). Takes its time: about 1 ms for 4,096 iterations.
void digest_pbkdf2_sha256(struct str password, struct str salt, int iterations, uint8_t out[32]);
void digest_pbkdf2_sha512(struct str password, struct str salt, int iterations, uint8_t out[64]);
// Compares without leaking by its time where the difference is.
bool digest_equal(const void *a, const void *b, size_t n);

void base64_encode(struct str in, struct buf *out);     // with padding
void base64url_encode(struct str in, struct buf *out);  // without padding, as in JWT
// Both alphabets, padding optional. ERR_PARSE; then `out` is as it was.
enum err_code base64_decode(struct str in, struct buf *out, struct err *err);
void hex_encode(struct str in, struct buf *out); // lower case
enum err_code hex_decode(struct str in, struct buf *out, struct err *err);

#endif
