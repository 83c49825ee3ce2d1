// SPDX-License-Identifier: Apache-2.0
// SCRAM in three steps: name and nonce; proof of the password; check of the server's signature. Names as in RFC 5802, section 3.
#include "client/login.h"

#include "codec/digest.h"
#include "kafka/scram.h"

enum { ITERATIONS_MAX = 10000000, TEXT_MAX = 64 << 10 };

void client_login_init(struct client_login *c, const struct client_security *who, struct str nonce, struct arena *a) {
    *c = (struct client_login){.who = who, .arena = a, .nonce = nonce};
}

static struct str text_of(struct client_login *c, struct buf *b) {
    struct str s = arena_str(c->arena, buf_str(b));
    buf_fini(b);
    return s;
}

static struct str plain(struct client_login *c) {
    struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_put_u8(&b, 0);
    buf_put(&b, c->who->user.p, c->who->user.n);
    buf_put_u8(&b, 0);
    buf_put(&b, c->who->password.p, c->who->password.n);
    return text_of(c, &b);
}

static struct str first_message(struct client_login *c) {
    struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_puts(&b, "n,,n=");
    for (size_t i = 0; i < c->who->user.n; i++) {
        char one = c->who->user.p[i];
        if (one == '=') buf_puts(&b, "=3D");
        else if (one == ',') buf_puts(&b, "=2C");
        else buf_put(&b, &one, 1);
    }
    buf_printf(&b, ",r=%.*s%s", STR_ARG(c->nonce), c->who->token ? ",tokenauth=true" : "");
    struct str all = text_of(c, &b);
    c->first_bare = str_n(all.p + 3, all.n - 3);
    return all;
}

static bool attribute(struct str *rest, char name, struct str *value) {
    if (rest->n < 2 || rest->p[0] != name || rest->p[1] != '=') return false;
    str_cut(str_n(rest->p + 2, rest->n - 2), ',', value, rest);
    return true;
}

static bool decode64(struct client_login *c, struct str in, struct str *out) {
    struct buf b;
    struct err ignored = {0};
    buf_init(&b, TEXT_MAX);
    bool ok = base64_decode(in, &b, &ignored) == ERR_OK && b.n > 0;
    *out = ok ? arena_str(c->arena, buf_str(&b)) : (struct str){0};
    buf_fini(&b);
    return ok;
}

static enum err_code final_message(struct client_login *c, struct str server_first, struct str *out, struct err *err) {
    enum scram_hash h = c->who->mechanism == CLIENT_SCRAM_SHA_256 ? SCRAM_SHA_256 : SCRAM_SHA_512;
    size_t size = scram_key_size(h);
    struct str rest = server_first, nonce, salt64, count, salt;
    int64_t iterations;
    if (!attribute(&rest, 'r', &nonce) || !attribute(&rest, 's', &salt64) || !attribute(&rest, 'i', &count) || !decode64(c, salt64, &salt) ||
        salt.n > SCRAM_SALT_MAX || !str_to_i64(count, &iterations))
        return err_set(err, ERR_PARSE, "the broker's SCRAM message cannot be read");
    if (nonce.n <= c->nonce.n || memcmp(nonce.p, c->nonce.p, c->nonce.n) != 0) return err_set(err, ERR_DENIED, "the broker answered with another's nonce");
    if (iterations < SCRAM_MIN_ITERATIONS || iterations > ITERATIONS_MAX)
        return err_set(err, ERR_DENIED, "the broker asks for %lld SCRAM iterations, fewer than %d or too many", (long long)iterations, SCRAM_MIN_ITERATIONS);
    uint8_t salted[SCRAM_KEY_MAX], key[SCRAM_KEY_MAX], stored[SCRAM_KEY_MAX], signature[SCRAM_KEY_MAX], server[SCRAM_KEY_MAX];
    const bool is256 = h == SCRAM_SHA_256;
    void (*hmac)(struct str, struct str, uint8_t *) = is256 ? digest_hmac_sha256 : digest_hmac_sha512;
    (is256 ? digest_pbkdf2_sha256 : digest_pbkdf2_sha512)(c->who->password, salt, (int)iterations, salted);
    hmac(str_n(salted, size), STR("Client Key"), key);
    (is256 ? digest_sha256 : digest_sha512)(str_n(key, size), stored);
    const char *without = arena_printf(c->arena, "c=biws,r=%.*s", STR_ARG(nonce)); // biws: "n,,"
    struct str signed_text = str_c(arena_printf(c->arena, "%.*s,%.*s,%s", STR_ARG(c->first_bare), STR_ARG(server_first), without));
    hmac(str_n(stored, size), signed_text, signature);
    for (size_t i = 0; i < size; i++) key[i] ^= signature[i];
    hmac(str_n(salted, size), STR("Server Key"), stored);
    hmac(str_n(stored, size), signed_text, server);
    c->server_signature = arena_str(c->arena, str_n(server, size));
    struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_printf(&b, "%s,p=", without);
    base64_encode(str_n(key, size), &b);
    *out = text_of(c, &b);
    return ERR_OK;
}

static enum err_code check_server(struct client_login *c, struct str server_final, struct err *err) {
    struct str rest = server_final, value, signature;
    if (attribute(&rest, 'e', &value)) return err_set(err, ERR_DENIED, "%.*s", STR_ARG(value));
    bool same = attribute(&rest, 'v', &value) && decode64(c, value, &signature) && signature.n == c->server_signature.n &&
                digest_equal(signature.p, c->server_signature.p, signature.n);
    return same ? ERR_OK : err_set(err, ERR_DENIED, "the broker does not know the user's password: it is not who it should be");
}

enum err_code client_login_step(struct client_login *c, struct str challenge, struct str *out, bool *done, struct err *err) {
    int step = c->step++;
    *out = (struct str){0};
    *done = false;
    if (step == 0) {
        *out = c->who->mechanism == CLIENT_PLAIN ? plain(c) : first_message(c);
        return ERR_OK;
    }
    if (step == 1 && c->who->mechanism != CLIENT_PLAIN) return final_message(c, challenge, out, err);
    *done = true;
    return c->who->mechanism == CLIENT_PLAIN ? ERR_OK : check_server(c, challenge, err);
}
