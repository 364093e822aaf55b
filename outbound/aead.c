/*
 * aead.c - authenticated encryption by OpenSSL, and XChaCha20-Poly1305 out of ChaCha20-Poly1305
 *
 *   XChaCha20: key, nonce[0..16) ──HChaCha20──► another key, used with 0000 | nonce[16..24)
 *
 * Algorithms are fetched from OpenSSL once and kept for the life of the process, and so are two contexts for each: keying one costs less
 * than the kilobyte it would take in every flow. Keys are wiped when a direction ends.
 */
#include "outbound/aead.h"

#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "core/err.h"

static struct aead algorithms[AEAD_N] = {
    [AEAD_AES_128_GCM] = { "AES-128-GCM", 16, 12 },     [AEAD_AES_192_GCM] = { "AES-192-GCM", 24, 12 },
    [AEAD_AES_256_GCM] = { "AES-256-GCM", 32, 12 },     [AEAD_CHACHA20] = { "ChaCha20-Poly1305", 32, 12 },
    [AEAD_XCHACHA20] = { "ChaCha20-Poly1305", 32, 24 },
};

struct aead *aead_get(enum aead_id id)
{
    struct aead *a = &algorithms[id];

    if (!a->cipher) {
        OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL); /* no file is read: start is quick, and behaves the same on every machine */
        a->cipher = EVP_CIPHER_fetch(NULL, a->evp, NULL);
    }
    if (!a->seal && a->cipher)
        a->seal = EVP_CIPHER_CTX_new();
    if (!a->open && a->cipher)
        a->open = EVP_CIPHER_CTX_new();
    return a->seal && a->open ? a : NULL;
}

void aead_key_init(struct aead_key *k, struct aead *alg, const uint8_t *key)
{
    aead_key_fini(k);
    k->alg = alg;
    memcpy(k->key, key, alg->key_len);
}

void aead_key_fini(struct aead_key *k)
{
    if (!k->alg)
        return;
    if (k->alg->seal_for == k)
        k->alg->seal_for = NULL;
    if (k->alg->open_for == k)
        k->alg->open_for = NULL;
    OPENSSL_cleanse(k->key, sizeof(k->key));
    k->alg = NULL;
}

/* ---- XChaCha20 ---- */

static uint32_t rol(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void quarter(uint32_t s[16], int a, int b, int c, int d)
{
    s[a] += s[b];
    s[d] = rol(s[d] ^ s[a], 16);
    s[c] += s[d];
    s[b] = rol(s[b] ^ s[c], 12);
    s[a] += s[b];
    s[d] = rol(s[d] ^ s[a], 8);
    s[c] += s[d];
    s[b] = rol(s[b] ^ s[c], 7);
}

void hchacha20(const uint8_t key[32], const uint8_t nonce[16], uint8_t out[32])
{
    uint32_t s[16];

    memcpy(s, "expand 32-byte k", 16);
    memcpy(s + 4, key, 32);
    memcpy(s + 12, nonce, 16);
    for (int i = 0; i < 16; i++)
        s[i] = le32toh(s[i]);
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 4; k++)
            quarter(s, k, k + 4, k + 8, k + 12);
        for (int k = 0; k < 4; k++)
            quarter(s, k, 4 + (k + 1) % 4, 8 + (k + 2) % 4, 12 + (k + 3) % 4);
    }
    for (int i = 0; i < 16; i++)
        s[i] = htole32(s[i]);
    memcpy(out, s, 16);
    memcpy(out + 16, s + 12, 16);
    OPENSSL_cleanse(s, sizeof(s));
}

/* ---- seal, open ---- */

/* Puts key and nonce into a context; a key that is in there already stays. */
static bool prepare(struct aead_key *k, const uint8_t *nonce, EVP_CIPHER_CTX *ctx, const void **in_there, int encrypt)
{
    struct aead *a = k->alg;
    uint8_t derived[32], short_nonce[12] = { 0 };
    const uint8_t *key = *in_there == k ? NULL : k->key;
    bool ok;

    *in_there = k;
    if (a->nonce_len == AEAD_NONCE_MAX) {
        hchacha20(k->key, nonce, derived);
        memcpy(short_nonce + 4, nonce + 16, 8);
        nonce = short_nonce;
        key = derived;
        *in_there = NULL;
    }
    ok = EVP_CipherInit_ex(ctx, key ? a->cipher : NULL, NULL, key, nonce, encrypt) == 1;
    if (key == derived)
        OPENSSL_cleanse(derived, sizeof(derived));
    return ok;
}

static bool add_aad(EVP_CIPHER_CTX *ctx, const struct aead_data *aad)
{
    int len;

    return !aad || EVP_CipherUpdate(ctx, NULL, &len, aad->p, (int)aad->len) == 1;
}

int aead_seal(struct aead_key *k, const uint8_t *nonce, const struct aead_data *aad, const struct iovec *in, int n, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = k->alg->seal;
    int len;

    if (!prepare(k, nonce, ctx, &k->alg->seal_for, 1) || !add_aad(ctx, aad))
        return -ERR_PROTO;
    for (int i = 0; i < n; i++) {
        if (in[i].iov_len && EVP_EncryptUpdate(ctx, out, &len, in[i].iov_base, (int)in[i].iov_len) != 1)
            return -ERR_PROTO;
        out += in[i].iov_len;
    }
    if (EVP_EncryptFinal_ex(ctx, out, &len) != 1 || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG, out) != 1)
        return -ERR_PROTO;
    return 0;
}

static bool opens(struct aead_key *k, const uint8_t *nonce, const struct aead_data *aad, const uint8_t *in, size_t len,
                  const struct iovec *out, int n)
{
    EVP_CIPHER_CTX *ctx = k->alg->open;
    const uint8_t *tag = in + len;
    uint8_t rest[16];
    int got;

    if (!prepare(k, nonce, ctx, &k->alg->open_for, 0) || !add_aad(ctx, aad))
        return false;
    for (int i = 0; i < n; i++) {
        if (out[i].iov_len && EVP_DecryptUpdate(ctx, out[i].iov_base, &got, in, (int)out[i].iov_len) != 1)
            return false;
        in += out[i].iov_len;
    }
    return EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG, (void *)tag) == 1 && EVP_DecryptFinal_ex(ctx, rest, &got) == 1;
}

int aead_open(struct aead_key *k, const uint8_t *nonce, const struct aead_data *aad, const uint8_t *in, size_t len, const struct iovec *out,
              int n)
{
    if (opens(k, nonce, aad, in, len, out, n))
        return 0;
    for (int i = 0; i < n; i++)
        if (out[i].iov_len)
            memset(out[i].iov_base, 0, out[i].iov_len); /* nobody gets to see what did not authenticate */
    return -ERR_AUTH;
}

/* ---- one block ---- */

int aes_block(const uint8_t *key, size_t key_len, bool encrypt, const uint8_t in[16], uint8_t out[16])
{
    static EVP_CIPHER_CTX *ctx;
    const EVP_CIPHER *cipher = key_len == 16 ? EVP_aes_128_ecb() : key_len == 24 ? EVP_aes_192_ecb() : EVP_aes_256_ecb();
    uint8_t block[16];
    int len;

    if (!ctx && !(ctx = EVP_CIPHER_CTX_new()))
        return -ENOMEM;
    if (EVP_CipherInit_ex(ctx, cipher, NULL, key, NULL, encrypt) != 1 || EVP_CIPHER_CTX_set_padding(ctx, 0) != 1 ||
        EVP_CipherUpdate(ctx, block, &len, in, 16) != 1)
        return -ENOMEM;
    memcpy(out, block, 16);
    OPENSSL_cleanse(block, sizeof(block));
    return 0;
}
