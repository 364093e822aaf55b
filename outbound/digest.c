/*
 * digest.c - short digests by OpenSSL: fetched once, one context for all
 */
#include "outbound/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "core/err.h"

static const char *const names[DIGEST_N] = { "MD5", "SHA224", "SHA256" };
static EVP_MD *kinds[DIGEST_N];
static EVP_MD_CTX *ctx;

static const EVP_MD *get(enum digest id)
{
    if (!kinds[id]) {
        OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL); /* no file is read: start is quick, and behaves the same on every machine */
        kinds[id] = EVP_MD_fetch(NULL, names[id], NULL);
    }
    if (!ctx)
        ctx = EVP_MD_CTX_new();
    return ctx ? kinds[id] : NULL;
}

int digest(enum digest id, const void *b, size_t n, const void *more, size_t m, uint8_t *out)
{
    const EVP_MD *md = get(id);

    if (!md || EVP_DigestInit_ex(ctx, md, NULL) != 1 || EVP_DigestUpdate(ctx, b, n) != 1 || (more && EVP_DigestUpdate(ctx, more, m) != 1) ||
        EVP_DigestFinal_ex(ctx, out, NULL) != 1)
        return -ERR_UNSUPPORTED;
    return 0;
}
