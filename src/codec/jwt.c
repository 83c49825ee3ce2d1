// SPDX-License-Identifier: Apache-2.0
// Tokens and key sets. Pure, any thread. All sizes of what comes from outside are checked before anything is decoded.
#include "codec/jwt.h"

#include <assert.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "codec/digest.h"

struct jwk {
    char *kid, *alg; // NULL = not said
    EVP_PKEY *key;
    int ec_bytes;    // of a coordinate; 0 = RSA
};
struct jwks {
    struct jwk *keys;
    size_t n;
};

struct algorithm {
    const char *name;
    const EVP_MD *(*md)(void);
    bool pss;
    int ec_bytes; // 0 = RSA
};
static const struct algorithm algorithms[] = {
    {"RS256", EVP_sha256, false, 0}, {"RS384", EVP_sha384, false, 0}, {"RS512", EVP_sha512, false, 0},
    {"PS256", EVP_sha256, true, 0},  {"PS384", EVP_sha384, true, 0},  {"PS512", EVP_sha512, true, 0},
    {"ES256", EVP_sha256, false, 32}, {"ES384", EVP_sha384, false, 48}, {"ES512", EVP_sha512, false, 66},
};

static const struct algorithm *algorithm_of(struct str name) {
    for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++)
        if (str_eqc(name, algorithms[i].name)) return &algorithms[i];
    return NULL;
}

// ---- key sets -----------------------------------------------------------------------------------------------------------
static bool decoded(const json_t *o, const char *name, size_t max, struct buf *out) {
    struct err err;
    buf_clear(out);
    struct str text = json_get_str(o, name);
    return text.n > 0 && text.n <= max * 2 && base64_decode(text, out, &err) == ERR_OK && out->n > 0 && out->n <= max;
}

static EVP_PKEY *build(const char *type, OSSL_PARAM_BLD *b) {
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    ERR_clear_error();
    return key;
}

static EVP_PKEY *rsa_key(const json_t *o) {
    enum { MODULUS_MIN = 256, MODULUS_MAX = 2048, EXPONENT_MAX = 8 }; // bytes
    struct buf n, e;
    buf_init(&n, 1 << 16);
    buf_init(&e, 1 << 16);
    EVP_PKEY *key = NULL;
    if (decoded(o, "n", MODULUS_MAX, &n) && n.n >= MODULUS_MIN && decoded(o, "e", EXPONENT_MAX, &e)) {
        BIGNUM *bn = BN_bin2bn(n.p, (int)n.n, NULL), *be = BN_bin2bn(e.p, (int)e.n, NULL);
        OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
        OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, bn);
        OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, be);
        key = build("RSA", b);
        OSSL_PARAM_BLD_free(b);
        BN_free(bn);
        BN_free(be);
    }
    buf_fini(&n);
    buf_fini(&e);
    return key;
}

static EVP_PKEY *ec_key(const json_t *o, int *bytes) {
    static const struct {
        const char *curve, *group;
        int bytes;
    } curves[] = {{"P-256", "prime256v1", 32}, {"P-384", "secp384r1", 48}, {"P-521", "secp521r1", 66}};
    struct str curve = json_get_str(o, "crv");
    EVP_PKEY *key = NULL;
    struct buf x, y, point;
    buf_init(&x, 1 << 12);
    buf_init(&y, 1 << 12);
    buf_init(&point, 1 << 12);
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        size_t size = (size_t)curves[i].bytes;
        if (!str_eqc(curve, curves[i].curve) || !decoded(o, "x", size, &x) || !decoded(o, "y", size, &y) || x.n != size || y.n != size) continue;
        buf_put_u8(&point, POINT_CONVERSION_UNCOMPRESSED);
        buf_put_str(&point, buf_str(&x));
        buf_put_str(&point, buf_str(&y));
        OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
        OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, curves[i].group, 0);
        OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point.p, point.n);
        key = build("EC", b); // refuses points that are not on the curve
        OSSL_PARAM_BLD_free(b);
        *bytes = curves[i].bytes;
    }
    buf_fini(&x);
    buf_fini(&y);
    buf_fini(&point);
    return key;
}

static char *text_or_null(struct str s) { return s.n == 0 ? NULL : mem_strndup(s.p, s.n); }

static void add_key(struct jwks *k, const json_t *o) {
    struct jwk key = {0};
    struct str type = json_get_str(o, "kty"), use = json_get_str(o, "use");
    if (use.n > 0 && !str_eq(use, STR("sig"))) return;
    if (str_eq(type, STR("RSA"))) key.key = rsa_key(o);
    else if (str_eq(type, STR("EC"))) key.key = ec_key(o, &key.ec_bytes);
    if (key.key == NULL) return;
    key.kid = text_or_null(json_get_str(o, "kid"));
    key.alg = text_or_null(json_get_str(o, "alg"));
    k->keys[k->n++] = key;
}

struct jwks *jwks_parse(struct str text, struct err *err) {
    json_t *o = json_parse(text, err);
    if (o == NULL) return NULL;
    const json_t *list = json_object_get(o, "keys");
    if (!json_is_array(list) || json_array_size(list) > JWKS_KEYS_MAX) {
        json_decref(o);
        err_set(err, ERR_PARSE, "no JSON web key set: an object with at most %d keys in \"keys\" is expected", JWKS_KEYS_MAX);
        return NULL;
    }
    struct jwks *k = MEM_NEW(struct jwks);
    k->keys = mem_zalloc((json_array_size(list) + 1) * sizeof *k->keys);
    for (size_t i = 0; i < json_array_size(list); i++) add_key(k, json_array_get(list, i));
    json_decref(o);
    return k;
}

void jwks_free(struct jwks *k) {
    if (k == NULL) return;
    for (size_t i = 0; i < k->n; i++) {
        mem_free(k->keys[i].kid);
        mem_free(k->keys[i].alg);
        EVP_PKEY_free(k->keys[i].key);
    }
    mem_free(k->keys);
    mem_free(k);
}

size_t jwks_count(const struct jwks *k) { return k->n; }

// ---- tokens -------------------------------------------------------------------------------------------------------------
struct parts {
    struct str signed_text, header, claims, signature;
};

static bool cut_token(struct str token, struct parts *p) {
    struct str rest;
    if (token.n > JWT_TEXT_MAX || !str_cut(token, '.', &p->header, &rest) || !str_cut(rest, '.', &p->claims, &p->signature)) return false;
    if (p->header.n == 0 || p->claims.n == 0 || memchr(p->signature.p, '.', p->signature.n) != NULL) return false;
    p->signed_text = str_n(token.p, p->header.n + 1 + p->claims.n);
    return true;
}

static json_t *part_json(struct str part, struct err *err) {
    struct buf b;
    buf_init(&b, JWT_TEXT_MAX);
    json_t *o = base64_decode(part, &b, err) == ERR_OK ? json_parse(buf_str(&b), err) : NULL;
    buf_fini(&b);
    if (o == NULL || json_is_object(o)) return o;
    json_decref(o);
    err_set(err, ERR_PARSE, "a part of the token is not a JSON object");
    return NULL;
}

json_t *jwt_claims_unchecked(struct str token, struct err *err) {
    struct parts p;
    if (!cut_token(token, &p)) {
        err_set(err, ERR_PARSE, "not a signed JSON web token of three parts");
        return NULL;
    }
    return part_json(p.claims, err);
}

// JWS has r and s behind each other, OpenSSL wants them in DER.
static unsigned char *ec_signature(struct str raw, int bytes, int *n) {
    if (raw.n != (size_t)bytes * 2) return NULL;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn((const uint8_t *)raw.p, bytes, NULL), *s = BN_bin2bn((const uint8_t *)raw.p + bytes, bytes, NULL);
    ECDSA_SIG_set0(sig, r, s);
    unsigned char *der = NULL;
    *n = i2d_ECDSA_SIG(sig, &der);
    ECDSA_SIG_free(sig);
    return *n > 0 ? der : NULL;
}

static bool signature_ok(const struct jwk *key, const struct algorithm *a, struct str text, struct str raw) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    const unsigned char *sig = (const unsigned char *)raw.p;
    unsigned char *der = NULL;
    int n = (int)raw.n;
    bool ok = EVP_DigestVerifyInit(ctx, &pctx, a->md(), NULL, key->key) == 1;
    if (ok && a->pss)
        ok = EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 && EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
    if (ok && a->ec_bytes > 0) sig = der = ec_signature(raw, a->ec_bytes, &n);
    ok = ok && sig != NULL && EVP_DigestVerify(ctx, sig, (size_t)n, (const unsigned char *)text.p, text.n) == 1;
    OPENSSL_free(der);
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

static bool key_fits(const struct jwk *key, const struct algorithm *a, struct str kid) {
    if (key->ec_bytes != a->ec_bytes || (key->alg != NULL && strcmp(key->alg, a->name) != 0)) return false;
    return kid.n == 0 || key->kid == NULL || str_eqc(kid, key->kid);
}

static bool any_key_signed(const struct jwks *k, const struct parts *p, const json_t *header, struct err *err) {
    const struct algorithm *a = algorithm_of(json_get_str(header, "alg"));
    if (a == NULL || json_object_get(header, "crit") != NULL) {
        err_set(err, ERR_UNAUTHENTICATED, "the token's algorithm is not one of RS, PS or ES with 256, 384 or 512");
        return false;
    }
    struct buf sig;
    buf_init(&sig, JWT_TEXT_MAX);
    bool ok = false, fits = false;
    if (p->signature.n > 0 && base64_decode(p->signature, &sig, err) == ERR_OK)
        for (size_t i = 0; i < k->n && !ok; i++) {
            if (!key_fits(&k->keys[i], a, json_get_str(header, "kid"))) continue;
            fits = true;
            ok = signature_ok(&k->keys[i], a, p->signed_text, buf_str(&sig));
        }
    buf_fini(&sig);
    if (!ok && fits) err_set(err, ERR_UNAUTHENTICATED, "the token's signature is wrong");
    else if (!ok) err_set(err, ERR_NOT_FOUND, "no key of the key set is the token's");
    return ok;
}

json_t *jwt_verify(const struct jwks *k, struct str token, struct err *err) {
    struct parts p;
    if (!cut_token(token, &p)) {
        err_set(err, ERR_PARSE, "not a signed JSON web token of three parts");
        return NULL;
    }
    json_t *header = part_json(p.header, err);
    if (header == NULL) return NULL;
    bool ok = any_key_signed(k, &p, header, err);
    json_decref(header);
    return ok ? part_json(p.claims, err) : NULL;
}
