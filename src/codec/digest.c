// SPDX-License-Identifier: Apache-2.0
// Digests over libcrypto's one-shot calls; base64 and hexadecimal by table.
#include "codec/digest.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

static void digest(const EVP_MD *md, struct str in, uint8_t *out) {
    int ok = EVP_Digest(in.n == 0 ? "" : in.p, in.n, out, NULL, md, NULL);
    assert(ok == 1);
    (void)ok;
}

static void hmac(const EVP_MD *md, struct str key, struct str in, uint8_t *out) {
    assert(key.n <= 1 << 20);
    const uint8_t *p = HMAC(md, key.n == 0 ? "" : key.p, (int)key.n, (const uint8_t *)(in.n == 0 ? "" : in.p), in.n, out, NULL);
    assert(p != NULL);
    (void)p;
}

void digest_md5(struct str in, uint8_t out[16]) { digest(EVP_md5(), in, out); }
void digest_sha1(struct str in, uint8_t out[20]) { digest(EVP_sha1(), in, out); }
void digest_sha256(struct str in, uint8_t out[32]) { digest(EVP_sha256(), in, out); }
void digest_sha512(struct str in, uint8_t out[64]) { digest(EVP_sha512(), in, out); }
void digest_hmac_sha256(struct str key, struct str in, uint8_t out[32]) { hmac(EVP_sha256(), key, in, out); }
void digest_hmac_sha512(struct str key, struct str in, uint8_t out[64]) { hmac(EVP_sha512(), key, in, out); }

static void pbkdf2(const EVP_MD *md, struct str password, struct str salt, int iterations, uint8_t *out, int n) {
    assert(password.n <= 1 << 20 && salt.n <= 1 << 20 && iterations > 0);
    int ok = PKCS5_PBKDF2_HMAC(password.n == 0 ? "" : password.p, (int)password.n, (const uint8_t *)(salt.n == 0 ? "" : salt.p), (int)salt.n,
                               iterations, md, n, out);
    assert(ok == 1);
    (void)ok;
}
void digest_pbkdf2_sha256(struct str password, struct str salt, int iterations, uint8_t out[32]) {
    pbkdf2(EVP_sha256(), password, salt, iterations, out, 32);
}
void digest_pbkdf2_sha512(struct str password, struct str salt, int iterations, uint8_t out[64]) {
    pbkdf2(EVP_sha512(), password, salt, iterations, out, 64);
}

bool digest_equal(const void *a, const void *b, size_t n) { return CRYPTO_memcmp(a, b, n) == 0; }

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode64(struct str in, const char *alphabet, bool padding, struct buf *out) {
    const uint8_t *p = (const uint8_t *)in.p;
    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0u);
        char c[4] = {alphabet[v >> 18], alphabet[v >> 12 & 63], alphabet[v >> 6 & 63], alphabet[v & 63]};
        size_t n = left >= 3 ? 4 : left + 1;
        buf_put(out, c, n);
        for (; padding && n < 4; n++) buf_put_u8(out, '=');
    }
}

void base64_encode(struct str in, struct buf *out) { encode64(in, standard, true, out); }
void base64url_encode(struct str in, struct buf *out) { encode64(in, url, false, out); }

static int value64(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

enum err_code base64_decode(struct str in, struct buf *out, struct err *err) {
    size_t n = in.n, start = out->n;
    while (n > 0 && in.n - n < 2 && in.p[n - 1] == '=') n--;
    if (n % 4 == 1 || (n < in.n && in.n % 4 != 0)) return err_set(err, ERR_PARSE, "base64 text has an impossible length");
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) {
        int d = value64(in.p[i]);
        if (d < 0) {
            out->n = start;
            return err_set(err, ERR_PARSE, "base64 text, character %zu: not of its alphabet", i + 1);
        }
        v = v << 6 | (uint32_t)d;
        if (i % 4 != 0) buf_put_u8(out, (uint8_t)(v >> (6 - i % 4 * 2))); // i % 4: 1 -> 4 bits over, 2 -> 2, 3 -> 0
    }
    return ERR_OK;
}

void hex_encode(struct str in, struct buf *out) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = (uint8_t)in.p[i];
        buf_put_u8(out, (uint8_t)digits[c >> 4]);
        buf_put_u8(out, (uint8_t)digits[c & 15]);
    }
}

static int value16(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum err_code hex_decode(struct str in, struct buf *out, struct err *err) {
    size_t start = out->n;
    if (in.n % 2 != 0) return err_set(err, ERR_PARSE, "hexadecimal text has an odd length");
    for (size_t i = 0; i < in.n; i += 2) {
        int a = value16(in.p[i]), b = value16(in.p[i + 1]);
        if (a < 0 || b < 0) {
            out->n = start;
            return err_set(err, ERR_PARSE, "hexadecimal text, character %zu: not a digit", i + 1);
        }
        buf_put_u8(out, (uint8_t)(a << 4 | b));
    }
    return ERR_OK;
}
