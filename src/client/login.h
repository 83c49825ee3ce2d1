// SPDX-License-Identifier: Apache-2.0
// The client's side of PLAIN and SCRAM (RFC 4616, 5802): which bytes to send next. Pure; texts are the arena's.
#ifndef CLIENT_LOGIN_H
#define CLIENT_LOGIN_H

#include "client/security.h"

struct client_login {
    const struct client_security *who;
    struct arena *arena;
    int step;
    struct str nonce, first_bare, server_signature;
};
// `nonce`: random printable text without commas.
void client_login_init(struct client_login *c, const struct client_security *who, struct str nonce, struct arena *a);
// What to send after `challenge` (empty at first). *done: nothing, the server has proved who it is where the mechanism can. ERR_DENIED: it has not.
enum err_code client_login_step(struct client_login *c, struct str challenge, struct str *out, bool *done, struct err *err);

#endif
