/*
 * ss_aead.c - Shadowsocks keys, sealing and opening
 *
 *   password --MD5 chain--> master key (per node) --HKDF-SHA1 with the salt--> subkey (per direction of a flow, per datagram)
 *
 * A nonce is a counter from 0, 12 bytes little endian. Key derivation and nonce: SIP004; vectors in tests/unit/outbound_ss.c.
 *
 * Algorithms are fetched from OpenSSL once and kept for the life of the process, and so are two contexts per method: keying one costs less
 * than the kilobyte it would take in every flow. Keys are wiped when a direction ends.
 */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <string.h>
#include <strings.h>

#include "outbound/ss.h"

static struct ss_cipher ciphers[] = {
    { "aes-128-gcm", "AEAD_AES_128_GCM", "AES-128-GCM", .key_len = 16 },
    { "aes-192-gcm", "AEAD_AES_192_GCM", "AES-192-GCM", .key_len = 24 },
    { "aes-256-gcm", "AEAD_AES_256_GCM", "AES-256-GCM", .key_len = 32 },
    { "chacha20-ietf-poly1305", "AEAD_CHACHA20_POLY1305", "ChaCha20-Poly1305", "chacha20-poly1305", 32 },
};
#define N_CIPHERS (sizeof(ciphers) / sizeof(ciphers[0]))
#define NONCE 12

static EVP_MD *md5;
static EVP_KDF_CTX *hkdf;

static EVP_KDF_CTX *hkdf_new(void)
{
    OSSL_PARAM fixed[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA1", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (char *)"ss-subkey", 9),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;

    EVP_KDF_free(kdf);
    if (ctx && EVP_KDF_CTX_set_params(ctx, fixed) != 1) {
        EVP_KDF_CTX_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

static bool digests_ready(void)
{
    if (!md5) {
        OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL); /* no file is read: start is quick, and behaves the same on every machine */
        md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    }
    if (!hkdf)
        hkdf = hkdf_new();
    return md5 && hkdf;
}

static bool cipher_ready(struct ss_cipher *c)
{
    if (!c->cipher)
        c->cipher = EVP_CIPHER_fetch(NULL, c->evp, NULL);
    if (!c->seal && c->cipher)
        c->seal = EVP_CIPHER_CTX_new();
    if (!c->open && c->cipher)
        c->open = EVP_CIPHER_CTX_new();
    return c->seal && c->open;
}

struct ss_cipher *ss_cipher_find(const char *name)
{
    for (size_t i = 0; i < N_CIPHERS; i++)
        if (!strcasecmp(name, ciphers[i].name) || !strcasecmp(name, ciphers[i].alias) || (ciphers[i].v2ray && !strcasecmp(name, ciphers[i].v2ray)))
            return digests_ready() && cipher_ready(&ciphers[i]) ? &ciphers[i] : NULL;
    return NULL;
}

/* ---- keys ---- */

int ss_key_init(struct ss_key *k, struct ss_cipher *c, const char *password)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t d[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int ok = ctx != NULL;

    k->cipher = c;
    for (size_t at = 0; ok && at < c->key_len; at += len) {
        ok = EVP_DigestInit_ex(ctx, md5, NULL) == 1 && EVP_DigestUpdate(ctx, d, len) == 1 &&
             EVP_DigestUpdate(ctx, password, strlen(password)) == 1 && EVP_DigestFinal_ex(ctx, d, &len) == 1;
        if (ok)
            memcpy(k->master + at, d, c->key_len - at < len ? c->key_len - at : len);
    }
    EVP_MD_CTX_free(ctx);
    OPENSSL_cleanse(d, sizeof(d));
    return ok ? 0 : -ERR_UNSUPPORTED;
}

int ss_dir_init(struct ss_dir *d, const struct ss_key *k, const uint8_t *salt)
{
    size_t len = k->cipher->key_len;
    OSSL_PARAM these[] = {
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)k->master, len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, len),
        OSSL_PARAM_construct_end(),
    };

    ss_dir_fini(d);
    if (EVP_KDF_derive(hkdf, d->key, len, these) != 1)
        return -ENOMEM;
    d->cipher = k->cipher;
    d->counter = 0;
    return 0;
}

void ss_dir_fini(struct ss_dir *d)
{
    if (!d->cipher)
        return;
    if (d->cipher->seal_for == d)
        d->cipher->seal_for = NULL;
    if (d->cipher->open_for == d)
        d->cipher->open_for = NULL;
    OPENSSL_cleanse(d->key, sizeof(d->key));
    d->cipher = NULL;
}

static void next_nonce(struct ss_dir *d, uint8_t nonce[NONCE])
{
    uint64_t c = d->counter++;

    for (int i = 0; i < 8; i++)
        nonce[i] = (uint8_t)(c >> (8 * i));
    memset(nonce + 8, 0, 4);
}

/* ---- seal, open ---- */

static bool begin_seal(struct ss_dir *d)
{
    struct ss_cipher *c = d->cipher;
    bool keyed = c->seal_for == d;
    uint8_t nonce[NONCE];

    next_nonce(d, nonce);
    c->seal_for = d;
    return EVP_EncryptInit_ex(c->seal, keyed ? NULL : c->cipher, NULL, keyed ? NULL : d->key, nonce) == 1;
}

int ss_seal(struct ss_dir *d, const struct iovec *in, int n, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = d->cipher->seal;
    int len;

    if (!begin_seal(d))
        return -ERR_PROTO;
    for (int i = 0; i < n; i++) {
        if (EVP_EncryptUpdate(ctx, out, &len, in[i].iov_base, (int)in[i].iov_len) != 1)
            return -ERR_PROTO;
        out += len;
    }
    if (EVP_EncryptFinal_ex(ctx, out, &len) != 1 || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SS_TAG, out) != 1)
        return -ERR_PROTO;
    return 0;
}

static bool begin_open(struct ss_dir *d)
{
    struct ss_cipher *c = d->cipher;
    bool keyed = c->open_for == d;
    uint8_t nonce[NONCE];

    next_nonce(d, nonce);
    c->open_for = d;
    return EVP_DecryptInit_ex(c->open, keyed ? NULL : c->cipher, NULL, keyed ? NULL : d->key, nonce) == 1;
}

static bool opens(struct ss_dir *d, const uint8_t *in, size_t len, const struct iovec *out, int n)
{
    EVP_CIPHER_CTX *ctx = d->cipher->open;
    const uint8_t *tag = in + len;
    uint8_t rest[16];
    int got;

    if (!begin_open(d))
        return false;
    for (int i = 0; i < n; i++) {
        if (EVP_DecryptUpdate(ctx, out[i].iov_base, &got, in, (int)out[i].iov_len) != 1)
            return false;
        in += out[i].iov_len;
    }
    return EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SS_TAG, (void *)tag) == 1 && EVP_DecryptFinal_ex(ctx, rest, &got) == 1;
}

int ss_open(struct ss_dir *d, const uint8_t *in, size_t len, const struct iovec *out, int n)
{
    if (opens(d, in, len, out, n))
        return 0;
    for (int i = 0; i < n; i++)
        memset(out[i].iov_base, 0, out[i].iov_len); /* nobody gets to see what did not authenticate */
    return -ERR_AUTH;
}
