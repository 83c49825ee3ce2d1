// SPDX-License-Identifier: Apache-2.0
// SCRAM's messages and arithmetic. Names as in RFC 5802, section 3.
#include "kafka/scram.h"

#include <assert.h>

#include "codec/digest.h"

static void hash(enum scram_hash h, struct str in, uint8_t *out) {
    if (h == SCRAM_SHA_256) digest_sha256(in, out);
    else digest_sha512(in, out);
}

static void hmac(enum scram_hash h, struct str key, struct str in, uint8_t *out) {
    if (h == SCRAM_SHA_256) digest_hmac_sha256(key, in, out);
    else digest_hmac_sha512(key, in, out);
}

void scram_credential_from_salted(enum scram_hash h, struct str salt, int iterations, struct str salted_password, struct scram_credential *out) {
    assert(salt.n <= SCRAM_SALT_MAX);
    uint8_t client_key[SCRAM_KEY_MAX];
    *out = (struct scram_credential){.hash = h, .iterations = iterations, .salt_n = salt.n};
    if (salt.n > 0) memcpy(out->salt, salt.p, salt.n);
    hmac(h, salted_password, STR("Client Key"), client_key);
    hash(h, str_n(client_key, scram_key_size(h)), out->stored_key);
    hmac(h, salted_password, STR("Server Key"), out->server_key);
}

void scram_credential_from_password(enum scram_hash h, struct str salt, int iterations, struct str password, struct scram_credential *out) {
    uint8_t salted[SCRAM_KEY_MAX];
    if (h == SCRAM_SHA_256) digest_pbkdf2_sha256(password, salt, iterations, salted);
    else digest_pbkdf2_sha512(password, salt, iterations, salted);
    scram_credential_from_salted(h, salt, iterations, str_n(salted, scram_key_size(h)), out);
}

// ---- messages -----------------------------------------------------------------------------------------------------------
// "n=..." off the front of `rest`: its value up to the next comma.
static bool take_attribute(struct str *rest, char name, struct str *value) {
    if (rest->n < 2 || rest->p[0] != name || rest->p[1] != '=') return false;
    str_cut(str_n(rest->p + 2, rest->n - 2), ',', value, rest);
    return true;
}

// =2C is a comma, =3D an equals sign; nothing else may follow an equals sign.
static bool decode_name(struct str in, struct arena *a, struct str *out) {
    char *p = arena_alloc(a, in.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] == 0) return false;
        if (in.p[i] != '=') {
            p[n++] = in.p[i];
            continue;
        }
        if (in.n - i < 3) return false;
        if (memcmp(in.p + i, "=2C", 3) == 0) p[n++] = ',';
        else if (memcmp(in.p + i, "=3D", 3) == 0) p[n++] = '=';
        else return false;
        i += 2;
    }
    p[n] = 0;
    *out = str_n(p, n);
    return n > 0 && str_utf8_ok(*out);
}

static bool nonce_ok(struct str nonce) {
    for (size_t i = 0; i < nonce.n; i++)
        if (nonce.p[i] < 0x21 || nonce.p[i] > 0x7e) return false;
    return nonce.n > 0;
}

static bool is_extension(struct str s) { // attr-val: a letter, "=", text
    bool letter = s.n >= 1 && ((s.p[0] >= 'a' && s.p[0] <= 'z') || (s.p[0] >= 'A' && s.p[0] <= 'Z'));
    return (letter && s.n >= 2 && s.p[1] == '=') || str_starts(s, STR("tokenauth="));
}

bool scram_parse_first(struct str message, struct arena *a, struct scram_first *out) {
    *out = (struct scram_first){0};
    if (message.n < 3 || message.n > SCRAM_MESSAGE_MAX || (message.p[0] != 'n' && message.p[0] != 'y') || message.p[1] != ',') return false;
    struct str rest = str_n(message.p + 2, message.n - 2), value;
    if (rest.p[0] == ',') rest = str_n(rest.p + 1, rest.n - 1);
    else if (!take_attribute(&rest, 'a', &value) || !decode_name(value, a, &out->authzid)) return false;
    if (rest.n == 0) return false;
    out->gs2_header = str_n(message.p, (size_t)(rest.p - message.p));
    out->bare = rest;
    if (!take_attribute(&rest, 'n', &value) || !decode_name(value, a, &out->user)) return false; // m=...: extensions that are demanded
    if (!take_attribute(&rest, 'r', &out->nonce) || !nonce_ok(out->nonce)) return false;
    while (rest.n > 0) {
        struct str one;
        str_cut(rest, ',', &one, &rest);
        if (!is_extension(one)) return false;
        if (str_eq(one, STR("tokenauth=true"))) out->token_auth = true;
    }
    return true;
}

static bool decode64(struct str in, struct arena *a, struct str *out) {
    struct buf b;
    struct err err;
    buf_init(&b, SCRAM_MESSAGE_MAX);
    bool ok = base64_decode(in, &b, &err) == ERR_OK && !b.failed;
    buf_cstr(&b);
    if (ok) *out = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return ok;
}

bool scram_parse_final(struct str message, struct arena *a, struct scram_final *out) {
    *out = (struct scram_final){0};
    if (message.n > SCRAM_MESSAGE_MAX) return false;
    struct str rest = message, value, one;
    if (!take_attribute(&rest, 'c', &value) || !decode64(value, a, &out->channel_binding)) return false;
    if (!take_attribute(&rest, 'r', &out->nonce)) return false;
    while (rest.n > 0) {
        const char *here = rest.p;
        str_cut(rest, ',', &one, &rest);
        if (str_starts(one, STR("p="))) {
            if (rest.n > 0 || here == message.p) return false; // the proof is the last
            out->without_proof = str_n(message.p, (size_t)(here - 1 - message.p));
            return decode64(str_n(one.p + 2, one.n - 2), a, &out->proof);
        }
        if (!is_extension(one)) return false;
    }
    return false;
}

struct str scram_server_first(const struct scram_first *first, struct str server_nonce, const struct scram_credential *c, struct arena *a) {
    struct buf salt;
    buf_init(&salt, SCRAM_SALT_MAX * 2);
    base64_encode(str_n(c->salt, c->salt_n), &salt);
    const char *text = arena_printf(a, "r=%.*s%.*s,s=%s,i=%d", STR_ARG(first->nonce), STR_ARG(server_nonce), buf_cstr(&salt), c->iterations);
    buf_fini(&salt);
    return str_c(text);
}

// librdkafka before 2.6.1 puts its own nonce in front of the whole one again. Apache Kafka lets that pass since 3.8.1: the server's part is there.
static bool ends_with(struct str whole, struct str head, struct str tail) {
    if (whole.n < head.n + tail.n) return false;
    const char *end = whole.p + whole.n - tail.n;
    return memcmp(end - head.n, head.p, head.n) == 0 && memcmp(end, tail.p, tail.n) == 0;
}

bool scram_check(const struct scram_first *first, struct str server_first, struct str server_nonce, const struct scram_final *final,
                 const struct scram_credential *c, struct arena *a, struct str *answer) {
    size_t n = scram_key_size(c->hash);
    if (!str_eq(final->channel_binding, first->gs2_header) || !ends_with(final->nonce, first->nonce, server_nonce) || final->proof.n != n) return false;
    struct str message = str_c(arena_printf(a, "%.*s,%.*s,%.*s", STR_ARG(first->bare), STR_ARG(server_first), STR_ARG(final->without_proof)));
    uint8_t client_signature[SCRAM_KEY_MAX], client_key[SCRAM_KEY_MAX], stored_key[SCRAM_KEY_MAX], server_signature[SCRAM_KEY_MAX];
    hmac(c->hash, str_n(c->stored_key, n), message, client_signature);
    for (size_t i = 0; i < n; i++) client_key[i] = client_signature[i] ^ (uint8_t)final->proof.p[i];
    hash(c->hash, str_n(client_key, n), stored_key);
    if (!digest_equal(stored_key, c->stored_key, n)) return false;
    hmac(c->hash, str_n(c->server_key, n), message, server_signature);
    struct buf b;
    buf_init(&b, 1 << 12);
    buf_puts(&b, "v=");
    base64_encode(str_n(server_signature, n), &b);
    *answer = str_c(arena_strdup(a, buf_cstr(&b)));
    buf_fini(&b);
    return true;
}
