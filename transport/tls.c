/*
 * tls.c - TLS as a layer: OpenSSL, but the ciphertext is ours
 *
 *   caller ──SSL_write──► OpenSSL ──BIO──► layer's out ──► stream below
 *   caller ◄──SSL_read─── OpenSSL ◄─BIO─── one record ◄── layer's in ◄── stream below
 *
 * OpenSSL never sees a descriptor. It is fed exactly one complete record at a time, so whatever follows a record is still ours, unread,
 * when that record has been opened: a protocol that leaves TLS in mid-stream (Vision) can do so.
 *
 * One SSL_CTX serves all clients. What differs - name, ALPN, pin, client certificate, roots - is set on each connection from its
 * tls_client, which is small; so is the session to resume, of which the newest is kept.
 *
 * Certificates are checked by OpenSSL against the roots, or by us against a pin. The reason of a refusal becomes an error code of its own,
 * because "expired" and "another name" ask for different action.
 *
 * Memory: OpenSSL's buffers are released when empty, and so are the layer's; a connection that is open and idle holds about 10 KiB of
 * state.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/addr.h"
#include "core/layer.h"
#include "core/log.h"
#include "transport/transport.h"

#define RECORD       16384               /* most plaintext of one record */
#define RECORD_EXTRA 128                 /* header, padding, tag: at most that much more when we seal */
#define RECORD_MAX   (5 + RECORD + 2048) /* RFC 5246 section 6.2.3 */
#define PEM_MAX      (256u << 10)
#define PIN          32
#define SUITES       "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

struct tls_roots {
    X509_STORE *store;
};

struct tls_client {
    uint32_t refs;
    char *name;
    bool is_address, skip_verify, must_alpn, pinned;
    uint8_t pin[PIN];
    uint8_t *alpn; /* as on the wire: length and text each */
    unsigned n_alpn;
    X509 *cert;
    EVP_PKEY *key;
    struct stack_st_X509 *chain;
    X509_STORE *roots;
    SSL_SESSION *session;
};

struct tls {
    struct layer y;
    struct tls_client *client;
    SSL *ssl;
    size_t fed;  /* bytes of the record at the front of `in` that OpenSSL may have */
    bool begun;  /* we have spoken */
    bool heard;  /* so has the server */
    bool broken; /* something was not as it should be */
};

static struct tls_stats stats;
static SSL_CTX *context;
static BIO_METHOD *method;

static struct tls *of(struct layer *y)
{
    return container_of(y, struct tls, y);
}

/* ---- ciphertext in and out ---- */

static int bio_read(BIO *b, char *out, size_t n, size_t *got)
{
    struct tls *t = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    *got = n < t->fed ? n : t->fed;
    if (!*got) {
        BIO_set_retry_read(b);
        return 0;
    }
    memcpy(out, layer_wire(&t->y), *got);
    layer_eat(&t->y, *got);
    t->fed -= *got;
    return 1;
}

static int bio_write(BIO *b, const char *in, size_t n, size_t *put)
{
    struct tls *t = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    *put = n;
    return layer_put(&t->y, in, n) == 0;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *b)
{
    BIO_set_init(b, 1);
    return 1;
}

static BIO_METHOD *method_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "layer");

    if (m && BIO_meth_set_read_ex(m, bio_read) && BIO_meth_set_write_ex(m, bio_write) && BIO_meth_set_ctrl(m, bio_ctrl) &&
        BIO_meth_set_create(m, bio_create))
        return m;
    BIO_meth_free(m);
    return NULL;
}

/* ---- whom to trust ---- */

static bool is_pinned(const X509 *x, const uint8_t *pin)
{
    uint8_t d[EVP_MAX_MD_SIZE];
    unsigned len;

    return X509_digest(x, EVP_sha256(), d, &len) == 1 && len == PIN && !memcmp(d, pin, PIN);
}

/* The chain up to one certificate of it, name and times. */
static int verify_up_to(X509_STORE_CTX *x, X509 *anchor)
{
    STACK_OF(X509) *only = sk_X509_new_null();
    int r = 0;

    if (only && sk_X509_push(only, anchor)) {
        X509_STORE_CTX_set0_trusted_stack(x, only);
        X509_STORE_CTX_set_flags(x, X509_V_FLAG_PARTIAL_CHAIN);
        r = X509_verify_cert(x);
    }
    sk_X509_free(only);
    return r;
}

static int verify_pin(X509_STORE_CTX *x, const uint8_t *pin)
{
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(x);

    if (is_pinned(X509_STORE_CTX_get0_cert(x), pin))
        return 1;
    for (int i = 0; i < sk_X509_num(sent); i++)
        if (is_pinned(sk_X509_value(sent, i), pin))
            return verify_up_to(x, sk_X509_value(sent, i));
    X509_STORE_CTX_set_error(x, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

static int verify(X509_STORE_CTX *x, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct tls *t = SSL_get_app_data(ssl);

    if (t->client->pinned)
        return verify_pin(x, t->client->pin);
    if (!t->client->skip_verify)
        return X509_verify_cert(x);
    stats.n_unverified++;
    return 1;
}

/* ---- what all connections share ---- */

static int keep_session(SSL *ssl, SSL_SESSION *s)
{
    struct tls *t = SSL_get_app_data(ssl);

    SSL_SESSION_free(t->client->session);
    t->client->session = s;
    return 1; /* it is ours now */
}

static SSL_CTX *context_new(void)
{
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());

    if (!c || SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) != 1 || SSL_CTX_set_ciphersuites(c, SUITES) != 1 ||
        SSL_CTX_set_default_verify_paths(c) != 1) {
        SSL_CTX_free(c);
        return NULL;
    }
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(c, verify, NULL);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c, keep_session);
    return c;
}

/* No file is read: start is quick, and behaves the same on every machine. */
static bool ready(void)
{
    if (!context && OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1)
        context = context_new();
    if (!method)
        method = method_new();
    return context && method;
}

void transport_trim(void)
{
    SSL_CTX_free(context);
    BIO_meth_free(method);
    context = NULL;
    method = NULL;
}

const struct tls_stats *tls_stats(void)
{
    return &stats;
}

/* ---- PEM, as text or as a file ---- */

static int complain(char why[TR_WHY], int err, const char *what, const char *how)
{
    snprintf(why, TR_WHY, "%s: %s", what, how);
    ERR_clear_error();
    return err;
}

static int read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r = 0;
    struct stat st;
    ssize_t n = -1;

    if (fd < 0 || fstat(fd, &st) < 0)
        r = -errno;
    else if (!S_ISREG(st.st_mode) || st.st_size > (off_t)size)
        r = -EFBIG;
    else if ((n = read(fd, text, size)) < 0)
        r = -errno;
    if (fd >= 0)
        close(fd);
    return r < 0 ? r : (int)n;
}

/* A BIO that owns a copy of the bytes. */
static BIO *pem_open(const char *text_or_path, const char *what, char why[TR_WHY])
{
    bool is_text = strstr(text_or_path, "-----BEGIN") != NULL;
    char *file = is_text ? NULL : malloc(PEM_MAX);
    int n = is_text ? (int)strlen(text_or_path) : file ? read_file(text_or_path, file, PEM_MAX) : -ENOMEM;
    BIO *b = n < 0 ? NULL : BIO_new(BIO_s_mem());

    if (b && n && BIO_write(b, is_text ? text_or_path : file, n) != n) {
        BIO_free(b);
        b = NULL;
    }
    if (!b)
        complain(why, 0, what, n < 0 ? err_str(n) : err_str(-ENOMEM));
    if (file && n > 0)
        OPENSSL_cleanse(file, (size_t)n);
    free(file);
    return b;
}

/* There is nobody to ask for a passphrase. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    return -1;
}

static int load_key(struct tls_client *c, const char *source, char why[TR_WHY])
{
    BIO *b = pem_open(source, "private-key", why);

    if (!b)
        return -EINVAL;
    c->key = PEM_read_bio_PrivateKey(b, NULL, no_passphrase, NULL);
    BIO_free(b);
    if (!c->key)
        return complain(why, -EINVAL, "private-key", "there is no PEM key in it that can be read without a passphrase");
    if (X509_check_private_key(c->cert, c->key) != 1)
        return complain(why, -EINVAL, "private-key", "it does not belong to the certificate");
    return 0;
}

static int load_cert(struct tls_client *c, const char *source, char why[TR_WHY])
{
    BIO *b = pem_open(source, "certificate", why);
    X509 *x;

    if (!b)
        return -EINVAL;
    c->cert = PEM_read_bio_X509(b, NULL, no_passphrase, NULL);
    c->chain = sk_X509_new_null();
    while (c->cert && c->chain && (x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL)))
        if (!sk_X509_push(c->chain, x))
            X509_free(x);
    BIO_free(b);
    ERR_clear_error(); /* the one that ended the loop */
    return c->cert ? 0 : complain(why, -EINVAL, "certificate", "there is no PEM certificate in it");
}

/* ---- roots ---- */

static int add_roots(X509_STORE *store, const char *source, char why[TR_WHY])
{
    BIO *b = pem_open(source, "root certificate", why);
    unsigned n = 0;
    X509 *x;

    if (!b)
        return -EINVAL;
    for (; (x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL)); X509_free(x))
        n += X509_STORE_add_cert(store, x) == 1;
    BIO_free(b);
    ERR_clear_error();
    return n ? 0 : complain(why, -EINVAL, "root certificate", "there is no PEM certificate in it");
}

int tls_roots_new(const char *const *pem, unsigned n, struct tls_roots **out, char why[TR_WHY])
{
    struct tls_roots *r = calloc(1, sizeof(*r));
    int e = 0;

    if (!r || !ready() || !(r->store = X509_STORE_new()) || X509_STORE_set_default_paths(r->store) != 1)
        e = complain(why, -ENOMEM, "TLS", err_str(-ENOMEM));
    for (unsigned i = 0; i < n && !e; i++)
        e = add_roots(r->store, pem[i], why);
    if (e)
        tls_roots_free(r);
    else
        *out = r;
    return e;
}

void tls_roots_free(struct tls_roots *r)
{
    if (!r)
        return;
    X509_STORE_free(r->store);
    free(r);
}

/* ---- clients ---- */

static void client_put(struct tls_client *c)
{
    if (--c->refs)
        return;
    free(c->name);
    free(c->alpn);
    X509_free(c->cert);
    EVP_PKEY_free(c->key);
    sk_X509_pop_free(c->chain, X509_free);
    X509_STORE_free(c->roots);
    SSL_SESSION_free(c->session);
    free(c);
}

void tls_client_free(struct tls_client *c)
{
    if (c)
        client_put(c);
}

static int set_alpn(struct tls_client *c, const struct tls_config *cfg, char why[TR_WHY])
{
    size_t size = 0;

    for (unsigned i = 0; i < cfg->n_alpn; i++) {
        size_t len = strlen(cfg->alpn[i]);

        if (!len || len > 255)
            return complain(why, -EINVAL, "alpn", "a protocol name has 1 to 255 bytes");
        size += 1 + len;
    }
    if (size > UINT16_MAX - 2)
        return complain(why, -EINVAL, "alpn", "the list is too long");
    if (!(c->alpn = malloc(size + 1)))
        return complain(why, -ENOMEM, "alpn", err_str(-ENOMEM));
    for (unsigned i = 0; i < cfg->n_alpn; i++) {
        size_t len = strlen(cfg->alpn[i]);

        c->alpn[c->n_alpn++] = (uint8_t)len;
        memcpy(c->alpn + c->n_alpn, cfg->alpn[i], len);
        c->n_alpn += (unsigned)len;
    }
    c->must_alpn = cfg->must_alpn;
    return 0;
}

static int configure(struct tls_client *c, const struct tls_config *cfg, char why[TR_WHY])
{
    struct addr ip;
    int r;

    if (!ready() || (cfg->name && !(c->name = strdup(cfg->name))))
        return complain(why, -ENOMEM, "TLS", err_str(-ENOMEM));
    if (!cfg->name && !cfg->skip_verify && !cfg->pin)
        return complain(why, -EINVAL, "TLS", "there is no name to look for in the server's certificate");
    c->is_address = c->name && addr_parse(c->name, &ip) == 0;
    c->skip_verify = cfg->skip_verify;
    if ((c->pinned = cfg->pin != NULL))
        memcpy(c->pin, cfg->pin, PIN);
    if (cfg->roots && X509_STORE_up_ref(cfg->roots->store))
        c->roots = cfg->roots->store;
    if ((r = set_alpn(c, cfg, why)) < 0 || !cfg->cert)
        return r;
    if ((r = load_cert(c, cfg->cert, why)) < 0)
        return r;
    return load_key(c, cfg->key ? cfg->key : cfg->cert, why);
}

int tls_client_new(const struct tls_config *cfg, struct tls_client **out, char why[TR_WHY])
{
    struct tls_client *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return complain(why, -ENOMEM, "TLS", err_str(-ENOMEM));
    c->refs = 1;
    if ((r = configure(c, cfg, why)) < 0)
        client_put(c);
    else
        *out = c;
    return r;
}

/* ---- what went wrong ---- */

static const struct {
    long x509;
    int err;
} cert_errors[] = {
    { X509_V_ERR_HOSTNAME_MISMATCH, -ERR_CERT_NAME },
    { X509_V_ERR_IP_ADDRESS_MISMATCH, -ERR_CERT_NAME },
    { X509_V_ERR_CERT_HAS_EXPIRED, -ERR_CERT_EXPIRED },
    { X509_V_ERR_CERT_NOT_YET_VALID, -ERR_CERT_EARLY },
    { X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, -ERR_CERT_SELF },
    { X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, -ERR_CERT_ISSUER },
    { X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, -ERR_CERT_ISSUER },
    { X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, -ERR_CERT_ISSUER },
    { X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, -ERR_CERT_ISSUER },
    { X509_V_ERR_INVALID_PURPOSE, -ERR_CERT_PURPOSE },
    { X509_V_ERR_APPLICATION_VERIFICATION, -ERR_CERT_PIN },
};

static const struct {
    int reason, err;
} tls_errors[] = {
    { SSL_R_WRONG_VERSION_NUMBER, -ERR_TLS_PLAIN },
    { SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, -ERR_AUTH },
    { SSL_R_TLSV1_UNRECOGNIZED_NAME, -ERR_TLS_NAME },
    { SSL_R_UNSUPPORTED_PROTOCOL, -ERR_TLS_VERSION },
    { SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, -ERR_TLS_VERSION },
    { SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, -ERR_TLS_VERSION },
    { SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY, -ERR_TLS_VERSION },
    { SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, -ERR_TLS_CLIENT },
    { SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, -ERR_TLS_CLIENT },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, -ERR_TLS_CLIENT },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, -ERR_TLS_CLIENT },
    { SSL_R_TLSV1_ALERT_UNKNOWN_CA, -ERR_TLS_CLIENT },
    { SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, -ERR_TLS_CLIENT },
    { SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, -ERR_TLS_ALPN },
};

static int cert_error(long x509)
{
    for (size_t i = 0; i < sizeof(cert_errors) / sizeof(cert_errors[0]); i++)
        if (cert_errors[i].x509 == x509)
            return cert_errors[i].err;
    return -ERR_CERT;
}

static int tls_error(int reason)
{
    for (size_t i = 0; i < sizeof(tls_errors) / sizeof(tls_errors[0]); i++)
        if (tls_errors[i].reason == reason)
            return tls_errors[i].err;
    return -ERR_TLS;
}

/* OpenSSL has failed: says why in the log, returns our code for it. */
static int broken(struct tls *t)
{
    unsigned long e = ERR_peek_error();
    bool refused = ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    long x509 = SSL_get_verify_result(t->ssl);
    const char *why = refused ? X509_verify_cert_error_string(x509) : ERR_reason_error_string(e);

    t->broken = true;
    log_dbg(LOG_OUT, "tls: %s: %s", t->client->name ? t->client->name : "no name", why ? why : "no reason");
    return refused ? cert_error(x509) : tls_error(ERR_GET_REASON(e));
}

/* ---- the handshake ---- */

static int on_open(struct tls *t)
{
    const unsigned char *alpn;
    unsigned len;

    SSL_get0_alpn_selected(t->ssl, &alpn, &len);
    if (t->client->must_alpn && !len)
        return -ERR_TLS_ALPN;
    stats.n_done++;
    stats.n_resumed += SSL_session_reused(t->ssl) == 1;
    t->y.hold = false;
    return 1;
}

static int shake(struct tls *t)
{
    int r;

    t->begun = true;
    ERR_clear_error();
    r = SSL_do_handshake(t->ssl);
    if (r == 1)
        r = on_open(t);
    else
        r = SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_READ ? 1 : broken(t);
    if (r < 0) {
        stats.n_failed++;
        SSL_SESSION_free(t->client->session); /* should it be the reason, the next try does without */
        t->client->session = NULL;
    }
    return r;
}

/* ---- records ---- */

/* The next record, if it is there as a whole. */
static int feed(struct tls *t)
{
    const uint8_t *h = layer_wire(&t->y);
    size_t len;

    if (t->y.n_in < 5)
        return 0;
    len = 5 + (size_t)(h[3] << 8 | h[4]);
    if (h[0] < SSL3_RT_CHANGE_CIPHER_SPEC || h[0] > SSL3_RT_APPLICATION_DATA || h[1] != SSL3_VERSION_MAJOR || len > RECORD_MAX)
        return t->heard ? -ERR_PROTO : -ERR_TLS_PLAIN;
    t->heard = true;
    if (t->y.n_in < len)
        return 0;
    t->fed = len;
    return 1;
}

static int take(struct tls *t, struct cursor *to)
{
    struct iovec piece;
    size_t len, got;

    cursor_pieces(to, SIZE_MAX, &piece, 1, &len);
    ERR_clear_error();
    if (SSL_read_ex(t->ssl, piece.iov_base, len, &got) == 1) {
        cursor_skip(to, got);
        return 1;
    }
    switch (SSL_get_error(t->ssl, 0)) {
    case SSL_ERROR_WANT_READ: return 1; /* a record that carried none */
    case SSL_ERROR_ZERO_RETURN: return -STREAM_EOF;
    default: return broken(t);
    }
}

static int tls_open(struct layer *y, struct cursor *to)
{
    struct tls *t = of(y);
    int r;

    if (!t->begun)
        return shake(t);
    if (!t->fed && (y->hold || !SSL_pending(t->ssl)) && (r = feed(t)) <= 0)
        return r;
    return y->hold ? shake(t) : take(t, to);
}

/* The next bytes in one piece, as many as make a full record; small pieces are gathered. */
static struct iovec next_record(struct cursor *from, size_t max, uint8_t gather[RECORD])
{
    struct iovec piece;
    size_t len;

    cursor_pieces(from, max, &piece, 1, &len);
    if (len < max && len < from->left)
        return (struct iovec){ gather, cursor_take(from, gather, max) };
    cursor_skip(from, len);
    return piece;
}

static int tls_seal(struct layer *y, struct cursor *from)
{
    struct tls *t = of(y);
    uint8_t gather[RECORD];
    size_t room, put;
    int r = 0;

    while (from->left && (room = layer_room(y)) > 2 * RECORD_EXTRA && r == 0) {
        size_t max = room - RECORD_EXTRA < RECORD ? room - RECORD_EXTRA : RECORD;
        struct iovec piece = next_record(from, max, gather);

        ERR_clear_error();
        if (SSL_write_ex(t->ssl, piece.iov_base, piece.iov_len, &put) != 1)
            r = broken(t);
        if (piece.iov_base == gather)
            OPENSSL_cleanse(gather, piece.iov_len);
    }
    return r;
}

static int tls_bye(struct layer *y)
{
    SSL_shutdown(of(y)->ssl);
    ERR_clear_error();
    return 0;
}

static int tls_eof(struct layer *y)
{
    struct tls *t = of(y);

    if (y->hold)
        return t->heard ? -ERR_TLS : -ERR_EARLY;
    return y->n_in ? -ERR_PROTO : -STREAM_EOF;
}

static void tls_fini(struct layer *y)
{
    struct tls *t = of(y);

    if (!t->broken) /* else the session would not be resumed: a connection may end without close_notify (RFC 8446 section 6.1) */
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(t->ssl);
    client_put(t->client);
    free(t);
}

static const struct layer_ops tls_ops = {
    .stream = LAYER_STREAM("tls"),
    .half = LAYER_BYE,
    .seal = tls_seal,
    .open = tls_open,
    .bye = tls_bye,
    .eof = tls_eof,
    .fini = tls_fini,
};

/* ---- a connection ---- */

static bool set_name(SSL *ssl, const struct tls_client *c)
{
    if (!c->name)
        return true;
    if (c->is_address)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), c->name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, c->name) == 1 && SSL_set1_host(ssl, c->name) == 1;
}

static bool set_up(SSL *ssl, const struct tls_client *c)
{
    if (!set_name(ssl, c))
        return false;
    if (c->n_alpn && SSL_set_alpn_protos(ssl, c->alpn, c->n_alpn) != 0)
        return false;
    if (c->cert && SSL_use_cert_and_key(ssl, c->cert, c->key, c->chain, 1) != 1)
        return false;
    if (c->roots && SSL_set1_verify_cert_store(ssl, c->roots) != 1)
        return false;
    return !c->session || !SSL_SESSION_is_resumable(c->session) || SSL_set_session(ssl, c->session) == 1;
}

static SSL *ssl_new(struct tls *t)
{
    SSL *ssl = SSL_new(context);
    BIO *bio = BIO_new(method);

    if (!ssl || !bio || !set_up(ssl, t->client)) {
        BIO_free(bio);
        SSL_free(ssl);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(bio, t);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, t);
    SSL_set_connect_state(ssl);
    return ssl;
}

int tls_start(struct tls_client *c, struct loop *l, struct stream *down, struct stream **up)
{
    struct tls *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->client = c;
    if (!ready() || !(t->ssl = ssl_new(t))) {
        free(t);
        return -ENOMEM;
    }
    c->refs++;
    layer_init(&t->y, &tls_ops, l, down);
    layer_start(&t->y);
    *up = &t->y.s;
    return 0;
}

void tls_info(const struct stream *s, struct tls_info *out)
{
    const struct tls *t = container_of(s, const struct tls, y.s);
    const unsigned char *alpn;
    unsigned len;

    SSL_get0_alpn_selected(t->ssl, &alpn, &len);
    *out = (struct tls_info){ .version = SSL_get_version(t->ssl),
                              .cipher = SSL_get_cipher_name(t->ssl),
                              .resumed = SSL_session_reused(t->ssl) == 1,
                              .verified = t->client->pinned || !t->client->skip_verify };
    if (len)
        memcpy(out->alpn, alpn, len < sizeof(out->alpn) ? len : sizeof(out->alpn) - 1);
}
