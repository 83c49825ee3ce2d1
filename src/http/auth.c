// SPDX-License-Identifier: Apache-2.0
// JWT: base64url(header).base64url(claims).base64url(HMAC). Only HS256 with our own key is accepted: the header's alg is not trusted,
// it must be byte for byte the one that we write. Any thread after auth_init. Durable: the key, so that tokens outlive a restart.
#include "http/auth.h"

#include "codec/digest.h"
#include "codec/json.h"
#include "httpd/httpd.h"
#include "sys/sys.h"

enum { TOKEN_MAX = 4096 };
static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";

static enum err_code load_key(struct auth *a, const char *dir, struct err *err) {
    char *path = mem_printf("%s/token.key", dir);
    enum err_code code = ERR_OK;
    size_t n = 0;
    char *text = sys_exists(a->sys, path) ? sys_read_file(a->sys, path, AUTH_KEY_BYTES, &n, err) : NULL;
    if (text != NULL && n == AUTH_KEY_BYTES) {
        memcpy(a->key, text, n);
    } else { // none yet, or damaged: tokens given before are void
        sys_random(a->sys, a->key, sizeof a->key);
        code = sys_write_file(a->sys, path, str_n(a->key, sizeof a->key), err);
    }
    mem_free(text);
    mem_free(path);
    return code;
}

// Signatures are by a key of the users, too: who is taken out of http.users, or got a token when none was asked for, must log in again.
static void bind_key_to_users(struct auth *a) {
    char *users = mem_printf("%s:%s", a->all_admins ? "all_admins" : "users", a->all_admins ? "" : a->users);
    uint8_t bound[AUTH_KEY_BYTES];
    digest_hmac_sha256(str_n(a->key, sizeof a->key), str_c(users), bound);
    memcpy(a->key, bound, sizeof bound);
    mem_free(users);
}

enum err_code auth_init(struct auth *a, struct sys *s, const struct config *c, const char *dir, const char *host, struct err *err) {
    *a = (struct auth){.sys = s,
                       .all_admins = strcmp(config_text(c, CFG_HTTP_AUTH), "all_admins") == 0,
                       .users = config_text(c, CFG_HTTP_USERS),
                       .token_seconds = config_num(c, CFG_HTTP_TOKEN_SECONDS)};
    if (a->all_admins && !httpd_is_loopback(str_c(host)))
        return err_set(err, ERR_CONFIG, "http.listen=%s can be reached by others: set http.auth=users and http.users=name:password", host);
    if (!a->all_admins && *a->users == 0) return err_set(err, ERR_CONFIG, "http.auth=users needs http.users=name:password");
    enum err_code code = load_key(a, dir, err);
    if (code == ERR_OK) bind_key_to_users(a);
    return code;
}

static void put_signature(const struct auth *a, struct str signed_part, struct buf *out) {
    uint8_t mac[32];
    digest_hmac_sha256(str_n(a->key, sizeof a->key), signed_part, mac);
    base64url_encode(str_n(mac, sizeof mac), out);
}

void auth_put_token(const struct auth *a, const char *user, struct buf *out) {
    int64_t now = sys_now_us(a->sys) / 1000000;
    struct buf claims, token, signature;
    buf_init(&claims, TOKEN_MAX);
    buf_init(&token, TOKEN_MAX);
    buf_init(&signature, TOKEN_MAX);
    buf_puts(&claims, "{\"sub\":");
    json_put_str(&claims, str_c(user));
    buf_printf(&claims, ",\"role\":\"ADMIN\",\"iss\":\"millrace\",\"iat\":%lld,\"nbf\":%lld,\"exp\":%lld}", (long long)now, (long long)now,
               (long long)(now + a->token_seconds));
    base64url_encode(str_n(header, sizeof header - 1), &token);
    buf_put_u8(&token, '.');
    base64url_encode(buf_str(&claims), &token);
    put_signature(a, buf_str(&token), &signature);
    buf_put_str(out, buf_str(&token));
    buf_put_u8(out, '.');
    buf_put_str(out, buf_str(&signature));
    buf_fini(&signature);
    buf_fini(&token);
    buf_fini(&claims);
}

static enum err_code check_claims(const struct auth *a, struct str claims64, struct arena *arena, const char **user, struct err *err) {
    struct buf text;
    buf_init(&text, TOKEN_MAX);
    json_t *claims = base64_decode(claims64, &text, err) == ERR_OK ? json_parse(buf_str(&text), err) : NULL;
    buf_fini(&text);
    if (claims == NULL) return err_set(err, ERR_UNAUTHENTICATED, "the token cannot be read");
    int64_t expires = json_get_i64(claims, "exp", 0);
    *user = arena_strdup(arena, json_get_cstr(claims, "sub", ""));
    json_decref(claims);
    if (expires <= sys_now_us(a->sys) / 1000000) return err_set(err, ERR_UNAUTHENTICATED, "the token has expired; get a new one at /auth/token");
    return ERR_OK;
}

enum err_code auth_check_token(const struct auth *a, struct str token, struct arena *arena, const char **user, struct err *err) {
    struct str head, rest, claims, mac;
    struct buf expected;
    if (token.n > TOKEN_MAX || !str_cut(token, '.', &head, &rest) || !str_cut(rest, '.', &claims, &mac))
        return err_set(err, ERR_UNAUTHENTICATED, "the token is not a JWT");
    buf_init(&expected, TOKEN_MAX);
    base64url_encode(str_n(header, sizeof header - 1), &expected);
    bool ok = str_eq(head, buf_str(&expected));
    buf_clear(&expected);
    put_signature(a, str_n(token.p, head.n + 1 + claims.n), &expected);
    ok = ok && mac.n == expected.n && digest_equal(mac.p, expected.p, mac.n);
    buf_fini(&expected);
    if (!ok) return err_set(err, ERR_UNAUTHENTICATED, "the token's signature is not ours; get a new one at /auth/token");
    return check_claims(a, claims, arena, user, err);
}

bool auth_password_ok(const struct auth *a, const char *user, const char *password) {
    uint8_t want[32], got[32];
    struct str rest = str_c(a->users), one, name, secret;
    bool ok = false;
    digest_sha256(str_c(password), got);
    while (rest.n > 0) {
        str_cut(rest, ',', &one, &rest);
        if (!str_cut(str_trim(one), ':', &name, &secret)) continue;
        digest_sha256(secret, want);
        bool same = digest_equal(want, got, sizeof want);
        if (str_eqc(name, user) && same) ok = true;
    }
    return ok;
}
