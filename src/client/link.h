// SPDX-License-Identifier: Apache-2.0
// A connection to one address, with TLS or without: bytes out, bytes in, each with a time limit. Blocking, one thread.
#ifndef CLIENT_LINK_H
#define CLIENT_LINK_H

#include "client/security.h"

struct link;
// security NULL or without TLS: plaintext. ERR_DENIED: the TLS handshake failed. `host` must live as long as the link.
struct link *link_open(struct sys *s, const char *host, int port, const struct client_security *security, struct err *err);
void link_close(struct link *l);
enum err_code link_send(struct link *l, struct str bytes, int64_t until_us, struct err *err);
enum err_code link_recv(struct link *l, uint8_t *p, size_t size, int64_t until_us, struct err *err); // all of it

#endif
