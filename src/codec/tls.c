// SPDX-License-Identifier: Apache-2.0
// OpenSSL's state machine over a BIO of our own: it reads from bytes that were fed and writes to a buffer. One struct tls belongs to one
// thread; contexts are shared and read-only. Sizes: what waits to be sent is bounded by what callers give to tls_write at once.
#include "codec/tls.h"

#include <assert.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/mem.h"

enum { OUT_MAX = 64 << 20, OUT_KEEP = 64 << 10, ERROR_TEXT = 200 };

struct tls_context {
    SSL_CTX *ctx;
};

struct tls {
    SSL *ssl;
    struct str in;    // fed, not yet read
    uint8_t *kept;    // our copy of what `in` points to, or NULL
    struct buf out;
    size_t out_at;
    bool ended;
};

// ---- the BIO ------------------------------------------------------------------------------------------------------------
static int bio_read(BIO *b, char *p, int n) {
    struct tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (t->in.n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t part = t->in.n < (size_t)n ? t->in.n : (size_t)n;
    memcpy(p, t->in.p, part);
    t->in.p += part;
    t->in.n -= part;
    return (int)part;
}

static int bio_write(BIO *b, const char *p, int n) {
    struct tls *t = BIO_get_data(b);
    buf_put(&t->out, p, (size_t)n);
    return t->out.failed ? -1 : n;
}

static long bio_ctrl(BIO *b, int command, long number, void *p) {
    (void)b, (void)number, (void)p;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *method(void) {
    static BIO_METHOD *made; // set before the first connection: tls_context_new calls this
    if (made != NULL) return made;
    made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fed bytes");
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_ctrl(made, bio_ctrl);
    return made;
}

// ---- errors -------------------------------------------------------------------------------------------------------------
static enum err_code tls_error(struct err *err, enum err_code code, const char *what) {
    unsigned long e = ERR_peek_last_error();
    char text[ERROR_TEXT] = "";
    if (e != 0) {
        const char *reason = ERR_reason_error_string(e);
        if (reason != NULL) err_set(err, code, "%s: %s", what, reason);
        else {
            ERR_error_string_n(e, text, sizeof text);
            err_set(err, code, "%s: %s", what, text);
        }
    } else err_set(err, code, "%s", what);
    ERR_clear_error();
    return code;
}

// ---- contexts -----------------------------------------------------------------------------------------------------------
static int give_password(char *to, int n, int writing, void *arg) {
    (void)writing;
    const struct str *password = arg;
    if (password->p == NULL || password->n > (size_t)n) return -1;
    memcpy(to, password->p, password->n);
    return (int)password->n;
}

static BIO *bio_of(struct str s) { return BIO_new_mem_buf(s.n == 0 ? "" : s.p, (int)s.n); }
static bool is_pem(struct str s) { return s.n >= 11 && memmem(s.p, s.n, "-----BEGIN ", 11) != NULL; }

static enum err_code use_chain(SSL_CTX *ctx, struct str pem, struct err *err) {
    BIO *b = bio_of(pem);
    X509 *x = PEM_read_bio_X509_AUX(b, NULL, NULL, NULL);
    enum err_code code = ERR_OK;
    if (x == NULL || SSL_CTX_use_certificate(ctx, x) != 1) code = tls_error(err, ERR_CONFIG, "the certificate chain cannot be read");
    X509_free(x);
    while (code == ERR_OK && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)) != NULL)
        if (SSL_CTX_add0_chain_cert(ctx, x) != 1) {
            X509_free(x);
            code = tls_error(err, ERR_CONFIG, "the certificate chain cannot be used");
        }
    BIO_free(b);
    ERR_clear_error(); // the end of the text
    return code;
}

static enum err_code use_key(SSL_CTX *ctx, struct str pem, struct str password, struct err *err) {
    BIO *b = bio_of(pem);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(b, NULL, give_password, &password);
    BIO_free(b);
    enum err_code code = ERR_OK;
    if (key == NULL) code = tls_error(err, ERR_CONFIG, "the private key cannot be read (is ssl.key.password right?)");
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1) code = tls_error(err, ERR_CONFIG, "the private key cannot be used");
    EVP_PKEY_free(key);
    return code;
}

static enum err_code use_pkcs12(SSL_CTX *ctx, struct str store, struct str password, struct err *err) {
    BIO *b = bio_of(store);
    PKCS12 *p = d2i_PKCS12_bio(b, NULL);
    BIO_free(b);
    if (p == NULL) return tls_error(err, ERR_CONFIG, "the key store is neither PEM nor PKCS #12 (convert a JKS file with keytool)");
    EVP_PKEY *key = NULL;
    X509 *x = NULL;
    STACK_OF(X509) *more = NULL;
    char *text = mem_strndup(password.p == NULL ? "" : password.p, password.n);
    int ok = PKCS12_parse(p, text, &key, &x, &more);
    mem_free(text);
    PKCS12_free(p);
    enum err_code code = ERR_OK;
    if (ok != 1 || key == NULL || x == NULL) code = tls_error(err, ERR_CONFIG, "the PKCS #12 key store cannot be opened (is its password right?)");
    else if (SSL_CTX_use_cert_and_key(ctx, x, key, more, 1) != 1) code = tls_error(err, ERR_CONFIG, "the key store cannot be used");
    EVP_PKEY_free(key);
    X509_free(x);
    sk_X509_pop_free(more, X509_free);
    return code;
}

static enum err_code trust_pem(SSL_CTX *ctx, struct str pem, size_t *n, struct err *err) {
    BIO *b = bio_of(pem);
    X509 *x;
    enum err_code code = ERR_OK;
    while (code == ERR_OK && (x = PEM_read_bio_X509_AUX(b, NULL, NULL, NULL)) != NULL) {
        if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) != 1 || SSL_CTX_add_client_CA(ctx, x) != 1)
            code = tls_error(err, ERR_CONFIG, "a trusted certificate cannot be used");
        X509_free(x);
        ++*n;
    }
    BIO_free(b);
    ERR_clear_error();
    return code;
}

static enum err_code trust_pkcs12(SSL_CTX *ctx, struct str store, struct str password, size_t *n, struct err *err) {
    BIO *b = bio_of(store);
    PKCS12 *p = d2i_PKCS12_bio(b, NULL);
    BIO_free(b);
    EVP_PKEY *key = NULL;
    X509 *x = NULL;
    STACK_OF(X509) *all = NULL;
    char *text = mem_strndup(password.p == NULL ? "" : password.p, password.n);
    bool ok = p != NULL && PKCS12_parse(p, text, &key, &x, &all) == 1;
    mem_free(text);
    PKCS12_free(p);
    enum err_code code = ok ? ERR_OK : tls_error(err, ERR_CONFIG, "the trust store is neither PEM nor a PKCS #12 file of that password");
    for (int i = 0; ok && i < sk_X509_num(all); i++) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), sk_X509_value(all, i));
        SSL_CTX_add_client_CA(ctx, sk_X509_value(all, i));
        ++*n;
    }
    EVP_PKEY_free(key);
    X509_free(x);
    sk_X509_pop_free(all, X509_free);
    return code;
}

static int version_of(int v) { return v == 12 ? TLS1_2_VERSION : v == 13 ? TLS1_3_VERSION : 0; }

static enum err_code set_options(SSL_CTX *ctx, const struct tls_settings *s, struct err *err) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); // tickets only: nothing is kept per client
    int min = s->min_version == 0 ? TLS1_2_VERSION : version_of(s->min_version);
    if (SSL_CTX_set_min_proto_version(ctx, min) != 1 || SSL_CTX_set_max_proto_version(ctx, version_of(s->max_version)) != 1)
        return tls_error(err, ERR_CONFIG, "the TLS versions cannot be set");
    if (s->ciphers != NULL && SSL_CTX_set_cipher_list(ctx, s->ciphers) != 1) return tls_error(err, ERR_CONFIG, "the list of TLS 1.2 ciphers");
    if (s->suites != NULL && SSL_CTX_set_ciphersuites(ctx, s->suites) != 1) return tls_error(err, ERR_CONFIG, "the list of TLS 1.3 cipher suites");
    return ERR_OK;
}

static enum err_code use_own(SSL_CTX *ctx, const struct tls_settings *s, struct err *err) { // certificate and key
    enum err_code code;
    if (s->store.p != NULL && !is_pem(s->store)) code = use_pkcs12(ctx, s->store, s->key_password, err);
    else {
        code = use_chain(ctx, s->store.p != NULL ? s->store : s->chain, err);
        if (code == ERR_OK) code = use_key(ctx, s->store.p != NULL ? s->store : s->key, s->key_password, err);
    }
    if (code == ERR_OK && SSL_CTX_check_private_key(ctx) != 1) code = tls_error(err, ERR_CONFIG, "the private key is not the certificate's");
    return code;
}

static enum err_code trust(SSL_CTX *ctx, const struct tls_settings *s, size_t *n, struct err *err) {
    if (s->trusted.p == NULL) return ERR_OK;
    return is_pem(s->trusted) ? trust_pem(ctx, s->trusted, n, err) : trust_pkcs12(ctx, s->trusted, s->trusted_password, n, err);
}

static enum err_code set_up_server(SSL_CTX *ctx, const struct tls_settings *s, struct err *err) {
    size_t trusted = 0;
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"millrace", 8);
    if (set_options(ctx, s, err) != ERR_OK || use_own(ctx, s, err) != ERR_OK || trust(ctx, s, &trusted, err) != ERR_OK) return err->code;
    if (s->client_auth != TLS_CLIENT_NONE && trusted == 0)
        return err_set(err, ERR_CONFIG, "clients' certificates are asked for, but there is no trusted certificate to check them with");
    int verify = s->client_auth == TLS_CLIENT_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
    if (s->client_auth == TLS_CLIENT_REQUIRED) verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, verify, NULL);
    return ERR_OK;
}

static enum err_code set_up_client(SSL_CTX *ctx, const struct tls_settings *s, struct err *err) {
    size_t trusted = 0;
    bool own = s->store.p != NULL || s->chain.p != NULL || s->key.p != NULL;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (set_options(ctx, s, err) != ERR_OK || (own && use_own(ctx, s, err) != ERR_OK) || trust(ctx, s, &trusted, err) != ERR_OK) return err->code;
    if (s->trusted.p != NULL && trusted == 0) return err_set(err, ERR_CONFIG, "the trust store has no certificate");
    if (s->trusted.p == NULL && SSL_CTX_set_default_verify_paths(ctx) != 1) return tls_error(err, ERR_CONFIG, "the system's authorities");
    return ERR_OK;
}

static struct tls_context *context_new(const SSL_METHOD *kind, enum err_code (*set_up)(SSL_CTX *, const struct tls_settings *, struct err *),
                                       const struct tls_settings *s, struct err *err) {
    method();
    SSL_CTX *ctx = SSL_CTX_new(kind);
    if (ctx == NULL) {
        tls_error(err, ERR_NO_MEMORY, "TLS cannot be started");
        return NULL;
    }
    if (set_up(ctx, s, err) != ERR_OK) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    struct tls_context *c = MEM_NEW(struct tls_context);
    c->ctx = ctx;
    return c;
}

struct tls_context *tls_context_new(const struct tls_settings *s, struct err *err) { return context_new(TLS_server_method(), set_up_server, s, err); }
struct tls_context *tls_client_context_new(const struct tls_settings *s, struct err *err) {
    return context_new(TLS_client_method(), set_up_client, s, err);
}

void tls_context_free(struct tls_context *c) {
    if (c == NULL) return;
    SSL_CTX_free(c->ctx);
    mem_free(c);
}

// ---- connections --------------------------------------------------------------------------------------------------------
static struct tls *connection_new(struct tls_context *c) {
    struct tls *t = MEM_NEW(struct tls);
    buf_init(&t->out, OUT_MAX);
    t->ssl = SSL_new(c->ctx);
    BIO *b = BIO_new(method());
    assert(t->ssl != NULL && b != NULL);
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    SSL_set_bio(t->ssl, b, b);
    return t;
}

struct tls *tls_new(struct tls_context *c) {
    struct tls *t = connection_new(c);
    SSL_set_accept_state(t->ssl);
    return t;
}

struct tls *tls_client_new(struct tls_context *c, const char *host, bool check_host) {
    struct tls *t = connection_new(c);
    X509_VERIFY_PARAM *checks = SSL_get0_param(t->ssl);
    SSL_set_connect_state(t->ssl);
    bool is_address = X509_VERIFY_PARAM_set1_ip_asc(checks, host) == 1;
    if (!is_address) SSL_set_tlsext_host_name(t->ssl, host);
    if (!check_host) X509_VERIFY_PARAM_set1_ip(checks, NULL, 0);
    else if (!is_address) {
        X509_VERIFY_PARAM_set_hostflags(checks, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        bool set = X509_VERIFY_PARAM_set1_host(checks, host, 0) == 1;
        assert(set), (void)set;
    }
    ERR_clear_error();
    return t;
}

void tls_free(struct tls *t) {
    if (t == NULL) return;
    SSL_free(t->ssl);
    buf_fini(&t->out);
    mem_free(t->kept);
    mem_free(t);
}

void tls_feed(struct tls *t, const void *p, size_t n) {
    assert(t->in.n == 0);
    mem_free(t->kept);
    t->kept = NULL;
    t->in = str_n(p, n);
}

void tls_keep(struct tls *t) {
    if (t->in.n == 0) {
        mem_free(t->kept);
        t->kept = NULL;
        return;
    }
    if (t->kept != NULL) return; // it is ours already
    t->kept = mem_alloc(t->in.n);
    memcpy(t->kept, t->in.p, t->in.n);
    t->in.p = (const char *)t->kept;
}

bool tls_holds_input(const struct tls *t) { return !t->ended && (t->in.n > 0 || SSL_pending(t->ssl) > 0); }

int64_t tls_read(struct tls *t, void *p, size_t n, struct err *err) {
    ERR_clear_error();
    size_t got = 0;
    if (SSL_read_ex(t->ssl, p, n, &got) == 1) return (int64_t)got;
    switch (SSL_get_error(t->ssl, 0)) {
    case SSL_ERROR_ZERO_RETURN: t->ended = true; return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: err_set(err, ERR_BUSY, "more bytes are needed"); return -1;
    default: break;
    }
    bool before = !SSL_is_init_finished(t->ssl);
    t->ended = true;
    bool unverified = ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    tls_error(err, ERR_CLOSED, before ? "TLS handshake failed" : "TLS failed");
    long why = SSL_get_verify_result(t->ssl);
    if (unverified && why != X509_V_OK) err_set(err, ERR_CLOSED, "TLS handshake failed: certificate verify failed: %s", X509_verify_cert_error_string(why));
    return -1;
}

enum err_code tls_write(struct tls *t, const void *p, size_t n, struct err *err) {
    ERR_clear_error();
    for (size_t at = 0; at < n;) {
        size_t put = 0;
        if (SSL_write_ex(t->ssl, (const uint8_t *)p + at, n - at, &put) != 1) return tls_error(err, ERR_CLOSED, "TLS cannot send");
        at += put;
    }
    return ERR_OK;
}

void tls_end(struct tls *t) {
    ERR_clear_error();
    if (SSL_is_init_finished(t->ssl)) SSL_shutdown(t->ssl);
    ERR_clear_error();
}

struct str tls_out(const struct tls *t) { return str_n(t->out.p + t->out_at, t->out.n - t->out_at); }

void tls_sent(struct tls *t, size_t n) {
    t->out_at += n;
    assert(t->out_at <= t->out.n);
    if (t->out_at < t->out.n) return;
    t->out_at = 0;
    if (t->out.cap > OUT_KEEP) {
        buf_fini(&t->out);
        buf_init(&t->out, OUT_MAX);
    } else buf_clear(&t->out);
}

bool tls_established(const struct tls *t) { return SSL_is_init_finished(t->ssl); }
const char *tls_version(const struct tls *t) { return SSL_get_version(t->ssl); }

bool tls_peer_subject(const struct tls *t, struct buf *out) {
    X509 *x = SSL_get1_peer_certificate(t->ssl);
    if (x == NULL) return false;
    BIO *b = BIO_new(BIO_s_mem());
    X509_NAME_print_ex(b, X509_get_subject_name(x), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    char *text;
    long n = BIO_get_mem_data(b, &text);
    if (n > 0) buf_put(out, text, (size_t)n);
    BIO_free(b);
    X509_free(x);
    return true;
}
