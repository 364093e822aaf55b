/*
 * ss_aead.c - Shadowsocks keys, sealing and opening under a counter
 *
 *   2017: password --MD5 chain--> master key (per node) --HKDF-SHA1 with the salt--> subkey (per direction of a flow, per datagram)
 *   2022: password = base64 of the master key           --BLAKE3 with the salt-----> subkey
 *
 * A nonce is a counter from 0, little endian, as long as the cipher's nonce. Vectors in tests/unit/outbound_ss.c.
 */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base64.h"
#include "outbound/blake3.h"
#include "outbound/ss.h"

static const struct ss_cipher ciphers[] = {
    { "aes-128-gcm", "AEAD_AES_128_GCM", NULL, AEAD_AES_128_GCM, false, false },
    { "aes-192-gcm", "AEAD_AES_192_GCM", NULL, AEAD_AES_192_GCM, false, false },
    { "aes-256-gcm", "AEAD_AES_256_GCM", NULL, AEAD_AES_256_GCM, false, false },
    { "chacha20-ietf-poly1305", "AEAD_CHACHA20_POLY1305", "chacha20-poly1305", AEAD_CHACHA20, false, false },
    { "xchacha20-ietf-poly1305", "AEAD_XCHACHA20_POLY1305", "xchacha20-poly1305", AEAD_XCHACHA20, false, false },
    { "2022-blake3-aes-128-gcm", NULL, NULL, AEAD_AES_128_GCM, true, true },
    { "2022-blake3-aes-256-gcm", NULL, NULL, AEAD_AES_256_GCM, true, true },
    { "2022-blake3-chacha20-poly1305", NULL, NULL, AEAD_CHACHA20, true, false },
    { "none", "plain", "dummy", .old = SS_OLD_PLAIN },
    { "aes-128-ctr", .old = SS_OLD_AES_128_CTR },
    { "aes-192-ctr", .old = SS_OLD_AES_192_CTR },
    { "aes-256-ctr", .old = SS_OLD_AES_256_CTR },
    { "aes-128-cfb", .old = SS_OLD_AES_128_CFB },
    { "aes-192-cfb", .old = SS_OLD_AES_192_CFB },
    { "aes-256-cfb", .old = SS_OLD_AES_256_CFB },
    { "chacha20", .old = SS_OLD_CHACHA20 },
    { "chacha20-ietf", .old = SS_OLD_CHACHA20_IETF },
    { "xchacha20", .old = SS_OLD_XCHACHA20 },
    { "rc4-md5", .old = SS_OLD_RC4_MD5 },
};
#define N_CIPHERS (sizeof(ciphers) / sizeof(ciphers[0]))

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

static bool is_called(const struct ss_cipher *c, const char *name)
{
    return !strcasecmp(name, c->name) || (c->alias && !strcasecmp(name, c->alias)) || (c->v2ray && !strcasecmp(name, c->v2ray));
}

const struct ss_cipher *ss_cipher_find(const char *name)
{
    for (size_t i = 0; i < N_CIPHERS; i++)
        if (is_called(&ciphers[i], name))
            return digests_ready() && (ciphers[i].old || aead_get(ciphers[i].aead)) ? &ciphers[i] : NULL;
    return NULL;
}

const struct ss_cipher *ss_cipher_at(size_t i)
{
    return i < N_CIPHERS ? &ciphers[i] : NULL;
}

/* ---- keys ---- */

static int from_password(struct ss_key *k, const char *password)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t d[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int ok = ctx != NULL;

    for (size_t at = 0; ok && at < k->len; at += len) {
        ok = EVP_DigestInit_ex(ctx, md5, NULL) == 1 && EVP_DigestUpdate(ctx, d, len) == 1 &&
             EVP_DigestUpdate(ctx, password, strlen(password)) == 1 && EVP_DigestFinal_ex(ctx, d, &len) == 1;
        if (ok)
            memcpy(k->master + at, d, k->len - at < len ? k->len - at : len);
    }
    EVP_MD_CTX_free(ctx);
    OPENSSL_cleanse(d, sizeof(d));
    return ok ? 0 : -ERR_UNSUPPORTED;
}

static unsigned count(const char *s, char c)
{
    unsigned n = 0;

    while ((s = strchr(s, c))) {
        n++;
        s++;
    }
    return n;
}

/* "key:key:key": all but the last are relays'. */
static int from_base64(struct ss_key *k, const char *password)
{
    k->n_relays = count(password, ':');
    if (k->n_relays > (k->cipher->relays ? SS_RELAYS_MAX : 0))
        return -EINVAL;
    if (k->n_relays && !(k->relays = calloc(k->n_relays, sizeof(*k->relays))))
        return -ENOMEM;
    for (unsigned i = 0; i <= k->n_relays; i++) {
        uint8_t *key = i < k->n_relays ? k->relays[i].key : k->master;
        size_t len = strcspn(password, ":");

        if (base64_decode(password, len, key, SS_KEY_MAX) != k->len)
            return -EINVAL;
        if (i)
            blake3_hash(key, k->len, k->relays[i - 1].next, 16);
        password += len + 1;
    }
    return 0;
}

int ss_key_init(struct ss_key *k, const struct ss_cipher *c, const char *password)
{
    int r;

    *k = (struct ss_key){ .cipher = c, .aead = c->old ? NULL : aead_get(c->aead) };
    if (!k->aead && !c->old)
        return -ERR_UNSUPPORTED;
    k->len = c->old ? ss_old_key_len(c->old) : k->aead->key_len;
    if ((r = c->is_2022 ? from_base64(k, password) : from_password(k, password)) < 0)
        ss_key_fini(k);
    return r;
}

void ss_key_fini(struct ss_key *k)
{
    if (k->relays)
        OPENSSL_cleanse(k->relays, k->n_relays * sizeof(*k->relays));
    free(k->relays);
    OPENSSL_cleanse(k, sizeof(*k));
}

/* ---- directions ---- */

static bool derive_2017(const struct ss_key *k, const uint8_t *salt, uint8_t *out)
{
    OSSL_PARAM these[] = {
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)k->master, k->len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, k->len),
        OSSL_PARAM_construct_end(),
    };

    return EVP_KDF_derive(hkdf, out, k->len, these) == 1;
}

static bool derive_2022(const struct ss_key *k, const uint8_t *salt, uint8_t *out)
{
    uint8_t both[2 * SS_KEY_MAX];

    memcpy(both, k->master, k->len);
    memcpy(both + k->len, salt, k->len);
    blake3_derive("shadowsocks 2022 session subkey", both, 2u * k->len, out, k->len);
    OPENSSL_cleanse(both, sizeof(both));
    return true;
}

int ss_dir_init(struct ss_dir *d, const struct ss_key *k, const uint8_t *salt)
{
    uint8_t subkey[SS_KEY_MAX];

    if (!(k->cipher->is_2022 ? derive_2022 : derive_2017)(k, salt, subkey))
        return -ENOMEM;
    aead_key_init(&d->key, k->aead, subkey);
    d->counter = 0;
    OPENSSL_cleanse(subkey, sizeof(subkey));
    return 0;
}

void ss_dir_fini(struct ss_dir *d)
{
    aead_key_fini(&d->key);
}

static const uint8_t *next_nonce(struct ss_dir *d, uint8_t nonce[AEAD_NONCE_MAX])
{
    uint64_t c = d->counter++;

    memset(nonce, 0, AEAD_NONCE_MAX);
    for (int i = 0; i < 8; i++)
        nonce[i] = (uint8_t)(c >> (8 * i));
    return nonce;
}

int ss_seal(struct ss_dir *d, const struct iovec *in, int n, uint8_t *out)
{
    uint8_t nonce[AEAD_NONCE_MAX];

    return aead_seal(&d->key, next_nonce(d, nonce), NULL, in, n, out);
}

int ss_open(struct ss_dir *d, const uint8_t *in, size_t len, const struct iovec *out, int n)
{
    uint8_t nonce[AEAD_NONCE_MAX];

    return aead_open(&d->key, next_nonce(d, nonce), NULL, in, len, out, n);
}
