/*
 * transport_tlspeer.h - the TLS server at the far end, played with OpenSSL's own memory BIOs, and certificates of every sort
 */
#ifndef TESTS_TRANSPORT_TLSPEER_H
#define TESTS_TRANSPORT_TLSPEER_H

#include "core_talker.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <time.h>

/* ---- certificates ---- */

struct ident {
    EVP_PKEY *key;
    X509 *cert;
};

struct ident_spec {
    const char *name;  /* common name */
    const char *san;   /* "DNS:...,IP:..."; NULL = none */
    const char *usage; /* extended key usage; NULL = none */
    bool ca;
    long from_s, to_s; /* relative to now; 0, 0 = an hour ago to a day from now */
};

static inline void ident_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *e;

    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* issuer NULL: signed by itself. */
static inline struct ident ident_new(const struct ident_spec *s, const struct ident *issuer)
{
    struct ident id = { EVP_EC_gen("P-256"), X509_new() };
    X509 *x = id.cert;
    static long serial = 1000;

    assert_true(id.key && x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), s->from_s || s->to_s ? s->from_s : -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), s->from_s || s->to_s ? s->to_s : 86400);
    X509_set_pubkey(x, id.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)s->name, -1, -1, 0);
    X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer->cert) : X509_get_subject_name(x));
    ident_ext(x, issuer ? issuer->cert : x, NID_basic_constraints, s->ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (s->san)
        ident_ext(x, x, NID_subject_alt_name, s->san);
    if (s->usage)
        ident_ext(x, x, NID_ext_key_usage, s->usage);
    assert_true(X509_sign(x, issuer ? issuer->key : id.key, EVP_sha256()) > 0);
    return id;
}

static inline void ident_free(struct ident *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
    *id = (struct ident){ 0 };
}

static inline char *bio_text(BIO *b)
{
    char *p, *text;
    long n = BIO_get_mem_data(b, &p);

    text = strndup(p, (size_t)n);
    BIO_free(b);
    return text;
}

static inline char *ident_cert_pem(const struct ident *id)
{
    BIO *b = BIO_new(BIO_s_mem());

    PEM_write_bio_X509(b, id->cert);
    return bio_text(b);
}

static inline char *ident_key_pem(const struct ident *id)
{
    BIO *b = BIO_new(BIO_s_mem());

    PEM_write_bio_PrivateKey(b, id->key, NULL, NULL, 0, NULL, NULL);
    return bio_text(b);
}

static inline void ident_pin(const struct ident *id, uint8_t pin[32])
{
    unsigned len;

    X509_digest(id->cert, EVP_sha256(), pin, &len);
}

/* ---- the server ---- */

struct tlspeer {
    SSL *ssl;
    BIO *in, *out; /* what came, what is to go; the SSL's */
    struct stream *s;
    struct pattern rx, tx;
    size_t send, piece; /* to send in all; bytes per record, 0 = 16384 */
    bool finish;        /* close_notify when all is sent */
    bool notified;      /* sent it */
    bool eof;           /* got it */
    bool up;
    int err; /* of the stream */
    unsigned long ssl_err;
};

static inline SSL_CTX *tlspeer_ctx(const struct ident *id, int version)
{
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());

    assert_non_null(c);
    assert_int_equal(SSL_CTX_use_certificate(c, id->cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(c, id->key), 1);
    if (version) {
        SSL_CTX_set_min_proto_version(c, version);
        SSL_CTX_set_max_proto_version(c, version);
    }
    return c;
}

static inline void tlspeer_init(struct tlspeer *p, SSL_CTX *c, struct stream *s)
{
    *p = (struct tlspeer){ .ssl = SSL_new(c), .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem()), .s = s };
    assert_true(p->ssl && p->in && p->out);
    BIO_set_mem_eof_return(p->in, -1);
    SSL_set_bio(p->ssl, p->in, p->out);
    SSL_set_accept_state(p->ssl);
    SSL_set_mode(p->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    s->on_ready = NULL; /* it looks every turn */
}

static inline void tlspeer_fini(struct tlspeer *p)
{
    SSL_free(p->ssl);
    p->ssl = NULL;
}

static inline void tlspeer_pull(struct tlspeer *p)
{
    uint8_t b[4096];
    ssize_t n;

    while (!p->err && (n = stream_read(p->s, &(struct iovec){ b, sizeof(b) }, 1)) != 0) {
        if (n < 0)
            p->err = (int)n;
        else
            assert_int_equal(BIO_write(p->in, b, (int)n), n);
    }
}

static inline void tlspeer_push(struct tlspeer *p)
{
    char *b;
    long n;

    while (p->err != -ECONNRESET && (n = BIO_get_mem_data(p->out, &b)) > 0) {
        uint8_t gone[4096];
        ssize_t w = stream_write(p->s, &(struct iovec){ b, (size_t)n < sizeof(gone) ? (size_t)n : sizeof(gone) }, 1);

        if (w <= 0)
            return;
        assert_int_equal(BIO_read(p->out, gone, (int)w), w);
    }
}

static inline void tlspeer_talk(struct tlspeer *p)
{
    static uint8_t b[16384];
    int n;

    while ((n = SSL_read(p->ssl, b, sizeof(b))) > 0)
        pattern_check(&p->rx, b, (size_t)n);
    if (SSL_get_error(p->ssl, n) == SSL_ERROR_ZERO_RETURN)
        p->eof = true;
    else if (SSL_get_error(p->ssl, n) == SSL_ERROR_SSL && !p->ssl_err)
        p->ssl_err = ERR_peek_error();
    while (p->tx.at < p->send && BIO_ctrl_pending(p->out) < 65536) {
        size_t k = mem_min(p->send - p->tx.at, p->piece ? p->piece : sizeof(b));

        pattern_fill(&p->tx, b, k);
        assert_int_equal(SSL_write(p->ssl, b, (int)k), k);
        p->tx.at += k;
    }
    if (p->finish && !p->notified && p->tx.at == p->send) {
        SSL_shutdown(p->ssl);
        p->notified = true;
    }
}

/* Looks for news, answers. */
static inline void tlspeer_turn(struct tlspeer *p)
{
    int r;

    ERR_clear_error();
    tlspeer_pull(p);
    if (!p->up && (r = SSL_do_handshake(p->ssl)) != 1) {
        if (SSL_get_error(p->ssl, r) != SSL_ERROR_WANT_READ && !p->ssl_err)
            p->ssl_err = ERR_peek_error();
    } else {
        p->up = true;
        tlspeer_talk(p);
    }
    tlspeer_push(p);
    ERR_clear_error();
}

#endif
