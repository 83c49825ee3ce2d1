// SPDX-License-Identifier: Apache-2.0
// Tokens of the REST door: JWT with HMAC-SHA-256, as Airflow's simple auth manager gives them, and the users of http.users.
#ifndef HTTP_AUTH_H
#define HTTP_AUTH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "server/config.h"

struct sys;

enum { AUTH_KEY_BYTES = 32 };

struct auth {
    struct sys *sys;
    uint8_t key[AUTH_KEY_BYTES];
    bool all_admins;   // http.auth
    const char *users; // "name:password,..."; the configuration's
    int64_t token_seconds;
};

// Reads or makes DIR/token.key. ERR_CONFIG: all_admins on an address that others can reach, or no users.
enum err_code auth_init(struct auth *a, struct sys *s, const struct config *c, const char *dir, const char *host, struct err *err);
void auth_put_token(const struct auth *a, const char *user, struct buf *out);
// ERR_UNAUTHENTICATED with the reason; *user is in the arena.
enum err_code auth_check_token(const struct auth *a, struct str token, struct arena *arena, const char **user, struct err *err);
bool auth_password_ok(const struct auth *a, const char *user, const char *password);

#endif
