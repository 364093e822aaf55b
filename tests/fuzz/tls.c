/*
 * tls.c - what a TLS server may say, before it has proved who it is and after
 *
 * What a handshake draws is made to repeat: one key share for all, the same random bytes. So our hello is the same every time, and what a
 * real server once answered to it is right every time; behind that the target seals records under the server's key as the input says.
 * Costly arithmetic is spared where its result is known: the key share, the shared secret, whether the server's signature is good.
 *
 *   size of the pieces | kind | then, by kind:
 *     even   bytes as they are
 *     odd    behind the server's flight: data | data as another kind of record | raw bytes | a flipped bit | close_notify
 */
#include <dlfcn.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "outbound/aead.h"
#include "tests/fuzz/says.h"
#include "transport/transport.h"

enum { CHANGE_CIPHER = 20, ALERT, HANDSHAKE, DATA }; /* kinds of records */

static struct {
    uint8_t bytes[4096]; /* from its hello to Finished */
    size_t n;
    uint8_t secret[32], key[32], iv[32]; /* of its records from then on */
} flight;
static uint8_t hello[2048]; /* ours */
static size_t n_hello;
static bool known; /* the arithmetic's results */
static int (*keep_session)(SSL *, SSL_SESSION *);
static bool kept;

/* ---- in place of the library's ---- */

/* The library's own. */
#define REAL(f) ((__typeof__(&f))dlsym(RTLD_NEXT, #f))

int RAND_bytes_ex(OSSL_LIB_CTX *lib, unsigned char *out, size_t n, unsigned strength)
{
    memset(out, 7, n);
    return 1;
}

int EVP_PKEY_keygen(EVP_PKEY_CTX *ctx, EVP_PKEY **out)
{
    __typeof__(&EVP_PKEY_keygen) real = REAL(EVP_PKEY_keygen);
    static EVP_PKEY *first;

    if (!EVP_PKEY_CTX_is_a(ctx, "X25519"))
        return real(ctx, out);
    if (!first && real(ctx, &first) != 1)
        return 0;
    *out = first;
    return EVP_PKEY_up_ref(first);
}

int EVP_PKEY_derive(EVP_PKEY_CTX *ctx, unsigned char *out, size_t *len)
{
    __typeof__(&EVP_PKEY_derive) real = REAL(EVP_PKEY_derive);
    static uint8_t first[32];

    if (!known) {
        int r = real(ctx, out, len);

        if (r == 1 && out)
            memcpy(first, out, sizeof(first));
        return r;
    }
    *len = sizeof(first);
    if (out)
        memcpy(out, first, sizeof(first));
    return 1;
}

int EVP_DigestVerify(EVP_MD_CTX *ctx, const unsigned char *sig, size_t n_sig, const unsigned char *data, size_t n)
{
    return known;
}

/* The first certificate in a flight that was good is remembered: nearly always the server's. */
X509 *d2i_X509(X509 **x, const unsigned char **der, long n)
{
    __typeof__(&d2i_X509) real = REAL(d2i_X509);
    static X509 *first;
    static uint8_t bytes[1024];
    static long n_bytes;
    const unsigned char *begin = *der;
    X509 *got;

    if (first && x && n == n_bytes && memcmp(begin, bytes, (size_t)n) == 0) {
        X509_free(*x);
        X509_up_ref(*x = first);
        *der += n;
        return first;
    }
    if ((got = real(x, der, n)) && known && !first && n <= (long)sizeof(bytes)) {
        memcpy(bytes, begin, (size_t)n);
        n_bytes = n;
        X509_up_ref(first = got);
    }
    return got;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    kept = true;
    return keep_session(ssl, session);
}

void SSL_CTX_sess_set_new_cb(SSL_CTX *ctx, int (*cb)(SSL *, SSL_SESSION *))
{
    __typeof__(&SSL_CTX_sess_set_new_cb) real = REAL(SSL_CTX_sess_set_new_cb);

    keep_session = cb;
    real(ctx, on_session);
}

/* ---- the server: once for real ---- */

static void on_secret(const SSL *ssl, const char *line)
{
    const char *hex = strrchr(line, ' ');

    if (strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) != 0)
        return;
    for (size_t i = 0; i < sizeof(flight.secret); i++)
        must(sscanf(hex + 1 + 2 * i, "%2hhx", &flight.secret[i]) == 1);
}

/* HKDF-Expand-Label of RFC 8446, section 7.1, for what fits into one digest. */
static void expand(const char *label, uint8_t n, uint8_t out[32])
{
    uint8_t info[64];
    int len = snprintf((char *)info, sizeof(info), "%c%c%ctls13 %s%c%c", 0, n, (int)(6 + strlen(label)), label, 0, 1);

    must(HMAC(EVP_sha256(), flight.secret, sizeof(flight.secret), info, (size_t)len, out, NULL) != NULL);
}

static SSL_CTX *server_new(void)
{
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();

    must(c && key && x && X509_set_pubkey(x, key) && X509_gmtime_adj(X509_getm_notBefore(x), 0) &&
         X509_gmtime_adj(X509_getm_notAfter(x), 86400) && X509_sign(x, key, EVP_sha256()));
    must(SSL_CTX_use_certificate(c, x) && SSL_CTX_use_PrivateKey(c, key) && SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256"));
    SSL_CTX_set_keylog_callback(c, on_secret);
    X509_free(x);
    EVP_PKEY_free(key);
    return c;
}

static void answer(void)
{
    SSL_CTX *c = server_new();
    SSL *ssl = SSL_new(c);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

    must(ssl && in && out && BIO_write(in, hello, (int)n_hello) == (int)n_hello);
    SSL_set_bio(ssl, in, out);
    SSL_accept(ssl);
    flight.n = (size_t)BIO_read(out, flight.bytes, sizeof(flight.bytes));
    must(flight.n < sizeof(flight.bytes));
    SSL_free(ssl);
    SSL_CTX_free(c);
    expand("key", 16, flight.key);
    expand("iv", 12, flight.iv);
}

/* ---- and then as the input says ---- */

struct server {
    struct aead_key key;
    uint16_t n; /* records so far */
};

static void record(struct server *v, uint8_t kind, struct span body)
{
    struct iovec inner[] = { { (void *)body.p, body.len }, { &kind, 1 } };
    size_t len = body.len + 1 + AEAD_TAG;
    uint8_t head[] = { DATA, 3, 3, (uint8_t)(len >> 8), (uint8_t)len }, nonce[12];

    memcpy(nonce, flight.iv, sizeof(nonce));
    nonce[10] ^= (uint8_t)(v->n >> 8);
    nonce[11] ^= (uint8_t)v->n;
    v->n++;
    says_add(head, sizeof(head));
    must(aead_seal(&v->key, nonce, &(struct aead_data){ head, sizeof(head) }, inner, 2, says.wire + says.n_wire) == 0);
    says.n_wire += len;
    if (kind == DATA && body.len)
        says_plain(body.p, body.len);
    else
        says.doubt |= !says.ended;
}

static void step(struct server *v, struct rd *r)
{
    static const uint8_t close_notify[] = { 1, 0 }, kinds[] = { ALERT, HANDSHAKE, CHANGE_CIPHER, DATA };
    uint8_t op = rd_u8(r);

    switch (op % 8) {
    case 0: says_raw(r); break;
    case 1: says_flip(r, op >> 5); break;
    case 2:
        says.ended = true;
        record(v, ALERT, (struct span){ close_notify, 2 });
        break;
    case 3: record(v, kinds[op >> 6], rd_span(r, rd_u8(r))); break;
    default: record(v, DATA, rd_span(r, rd_u8(r)));
    }
}

static void serve(struct rd *r)
{
    struct server v = { 0 };

    says_begin();
    says_add(flight.bytes, flight.n);
    aead_key_init(&v.key, aead_get(AEAD_AES_128_GCM), flight.key);
    while (says_more(r))
        step(&v, r);
    aead_key_fini(&v.key);
}

/* ---- the client ---- */

static void hear(struct fuzz_down *d, const char *text, size_t len)
{
    if (n_hello + len > sizeof(hello))
        return;
    memcpy(hello + n_hello, text, len);
    n_hello += len;
}

/* A new client after one that has a session: who resumes says another hello. */
static void run(struct fuzz_down *down, bool served)
{
    static struct tls_client *clients[2];
    struct tls_client **client = &clients[served];
    struct stream *s;
    char why[TR_WHY];

    if (!*client)
        must(tls_client_new(&(struct tls_config){ .name = "test.example", .skip_verify = served }, client, why) == 0);
    must(tls_start(*client, fuzz_loop, &down->s, &s) == 0);
    loop_turn(fuzz_loop, 0);
    if (served)
        says_check(s, true);
    else
        fuzz_drain(s);
    if (kept) {
        tls_client_free(*client);
        *client = NULL;
        kept = false;
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct fuzz_down down;

    fuzz_stream_init();
    fuzz_down_init(&down, (const uint8_t *)"", 0);
    down.heard = hear;
    run(&down, false);
    answer();
    known = true;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_from(data, size);
    struct fuzz_down down;
    uint8_t kind;

    rd_skip(&r, 1);
    kind = rd_u8(&r);
    fuzz_down_init(&down, data, size);
    down.p = r.p;
    if (kind & 1) {
        serve(&r);
        down.p = says.wire;
        down.end = says.wire + says.n_wire;
    }
    run(&down, kind & 1);
    return 0;
}
