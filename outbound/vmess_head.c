/*
 * vmess_head.c - VMess keys and heads
 *
 *   request:  id 16 | sealed length 2 + 16 | nonce 8 | sealed head n + 16
 *   id:       one AES block: time 8, random 4, CRC-32 of both              under a key of the user
 *   head:     01 | body iv 16 | body key 16 | check | options | pad length, security | 0 | command | address | pad | FNV-1a 4
 *   answer:   sealed length 2 + 16 | sealed (check, option, command, length M, M bytes) + 16
 *
 * Every key and nonce comes from the KDF: an HMAC whose hash is an HMAC whose hash is ..., one level for each part of the path.
 *
 * Pure: bytes in, bytes out; time and randomness are arguments.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "outbound/digest.h"
#include "outbound/vmess.h"

#define LEVELS 4 /* the fixed label and three parts */

/* ---- sums ---- */

static uint32_t crc32(const uint8_t *b, size_t n)
{
    uint32_t c = ~0u;

    for (size_t i = 0; i < n; i++) {
        c ^= b[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xEDB88320u : 0);
    }
    return ~c;
}

static uint32_t fnv1a(const uint8_t *b, size_t n)
{
    uint32_t h = 0x811c9dc5;

    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x01000193;
    return h;
}

static uint8_t *put_be(uint8_t *out, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
    return out + bytes;
}

/* ---- the key derivation ---- */

/* HMAC of in under path[level], with the level below as its hash; below level 0 lies SHA-256. */
static int nested(const struct span *path, int level, const uint8_t *in, size_t n, uint8_t out[32])
{
    uint8_t b[64 * LEVELS + 64];
    int r;

    if (level < 0)
        return digest(DIGEST_SHA256, in, n, NULL, 0, out);
    memset(b, 0x36, 64);
    for (size_t i = 0; i < path[level].len; i++)
        b[i] ^= path[level].p[i];
    memcpy(b + 64, in, n);
    if ((r = nested(path, level - 1, b, 64 + n, out)) < 0)
        return r;
    memset(b, 0x5c, 64);
    for (size_t i = 0; i < path[level].len; i++)
        b[i] ^= path[level].p[i];
    memcpy(b + 64, out, 32);
    r = nested(path, level - 1, b, 64 + 32, out);
    OPENSSL_cleanse(b, sizeof(b));
    return r;
}

static struct span text(const char *s)
{
    return (struct span){ (const uint8_t *)s, strlen(s) };
}

int vmess_kdf(const uint8_t key[16], const struct span *path, int n, uint8_t out[32])
{
    struct span all[LEVELS] = { text("VMess AEAD KDF") };

    memcpy(all + 1, path, (size_t)n * sizeof(*path));
    return nested(all, n, key, 16, out);
}

int vmess_user_init(struct vmess_user *u, const uint8_t uuid[16])
{
    static const char salt[] = "c48619fe-8f02-49e0-b9e9-edf763e17e21";
    struct span label = text("AES Auth ID Encryption");
    uint8_t out[32];
    int r;

    if ((r = digest(DIGEST_MD5, uuid, 16, salt, sizeof(salt) - 1, u->cmd_key)) < 0 || (r = vmess_kdf(u->cmd_key, &label, 1, out)) < 0)
        return r;
    memcpy(u->auth_key, out, 16);
    OPENSSL_cleanse(out, sizeof(out));
    return 0;
}

int vmess_chacha_key(const uint8_t key[16], uint8_t out[32])
{
    int r = digest(DIGEST_MD5, key, 16, NULL, 0, out);

    return r < 0 ? r : digest(DIGEST_MD5, out, 16, NULL, 0, out + 16);
}

/* ---- addresses ---- */

size_t vmess_put_addr(uint8_t out[VMESS_ADDR_MAX], const struct dest *to)
{
    uint8_t a[ATYP_MAX];
    size_t n = atyp_put(a, to);

    if (!n)
        return 0;
    memcpy(out, a + n - 2, 2);
    out[2] = a[0] == ATYP_V4 ? 1 : a[0] == ATYP_NAME ? 2 : 3;
    memcpy(out + 3, a + 1, n - 3);
    return n;
}

void vmess_get_addr(struct rd *r, struct endpoint *at, struct span *name)
{
    uint16_t port = rd_be16(r);
    uint8_t type = rd_u8(r);
    struct span b = rd_span(r, type == 1 ? 4 : type == 3 ? 16 : type == 2 ? rd_u8(r) : SIZE_MAX);

    *at = (struct endpoint){ .port = port };
    *name = (struct span){ r->p, 0 };
    if (!rd_ok(r) || !b.len)
        r->bad = true;
    else if (type == 1)
        at->ip = addr_v4(b.p);
    else if (type == 3)
        at->ip = addr_v6(b.p);
    else
        *name = b;
}

/* ---- the request ---- */

ssize_t vmess_plain_head(const struct vmess_request *q, uint8_t out[VMESS_PLAIN_MAX])
{
    uint8_t *at = out;
    size_t n = 0;

    *at++ = 1;
    at = (uint8_t *)memcpy(at, q->iv, 16) + 16;
    at = (uint8_t *)memcpy(at, q->key, 16) + 16;
    *at++ = q->check;
    *at++ = q->options;
    *at++ = (uint8_t)(q->n_pad << 4 | q->security);
    *at++ = 0;
    *at++ = q->command;
    if (q->command != VMESS_MUX && !(n = vmess_put_addr(at, &q->to)))
        return -ERR_NAME;
    at += n;
    if (q->n_pad)
        memcpy(at, q->pad, q->n_pad);
    at += q->n_pad;
    at = put_be(at, fnv1a(out, (size_t)(at - out)), 4);
    return at - out;
}

/* Seals a piece of the head: key and nonce come from the KDF under two labels. */
static int seal_part(const struct vmess_user *u, const char *key_label, const char *nonce_label, const uint8_t *id, const uint8_t *nonce,
                     const void *in, size_t n, uint8_t *out)
{
    struct span path[3] = { text(key_label), { id, 16 }, { nonce, 8 } };
    struct aead_data aad = { id, 16 };
    struct aead_key k = { 0 };
    struct aead *gcm = aead_get(AEAD_AES_128_GCM);
    uint8_t key[32], iv[32];
    int r;

    if (!gcm || (r = vmess_kdf(u->cmd_key, path, 3, key)) < 0)
        return -ERR_UNSUPPORTED;
    path[0] = text(nonce_label);
    if ((r = vmess_kdf(u->cmd_key, path, 3, iv)) < 0)
        return r;
    aead_key_init(&k, gcm, key);
    r = aead_seal(&k, iv, &aad, &(struct iovec){ (void *)in, n }, 1, out);
    aead_key_fini(&k);
    OPENSSL_cleanse(key, sizeof(key));
    return r;
}

ssize_t vmess_seal_head(const struct vmess_user *u, uint64_t now, const uint8_t random[4], const uint8_t nonce[8], const uint8_t *plain,
                        size_t n, uint8_t out[VMESS_HEAD_MAX])
{
    uint8_t id[16], len[2];
    int r;

    memcpy(put_be(id, now, 8), random, 4);
    put_be(id + 12, crc32(id, 12), 4);
    if ((r = aes_block(u->auth_key, 16, true, id, out)) < 0)
        return r;
    put_be(len, n, 2);
    if ((r = seal_part(u, "VMess Header AEAD Key_Length", "VMess Header AEAD Nonce_Length", out, nonce, len, 2, out + 16)) < 0)
        return r;
    memcpy(out + 34, nonce, 8);
    if ((r = seal_part(u, "VMess Header AEAD Key", "VMess Header AEAD Nonce", out, nonce, plain, n, out + 42)) < 0)
        return r;
    return (ssize_t)(42 + n + VMESS_TAG);
}

/* ---- the answer ---- */

int vmess_answer_keys(const struct vmess_request *q, uint8_t key[16], uint8_t iv[16])
{
    uint8_t sum[32];
    int r = digest(DIGEST_SHA256, q->key, 16, NULL, 0, sum);

    memcpy(key, sum, 16);
    if (r == 0)
        r = digest(DIGEST_SHA256, q->iv, 16, NULL, 0, sum);
    memcpy(iv, sum, 16);
    OPENSSL_cleanse(sum, sizeof(sum));
    return r;
}

static int open_part(const uint8_t key[16], const uint8_t iv[16], const char *key_label, const char *iv_label, const uint8_t *in, size_t n,
                     uint8_t *out)
{
    struct span key_path = text(key_label), iv_path = text(iv_label);
    struct aead *gcm = aead_get(AEAD_AES_128_GCM);
    struct aead_key k = { 0 };
    uint8_t sub[32], nonce[32];
    int r;

    if (!gcm || vmess_kdf(key, &key_path, 1, sub) < 0 || vmess_kdf(iv, &iv_path, 1, nonce) < 0)
        return -ERR_UNSUPPORTED;
    aead_key_init(&k, gcm, sub);
    r = aead_open(&k, nonce, NULL, in, n, &(struct iovec){ out, n }, 1);
    aead_key_fini(&k);
    OPENSSL_cleanse(sub, sizeof(sub));
    return r;
}

int vmess_answer_length(const uint8_t key[16], const uint8_t iv[16], const uint8_t *in)
{
    uint8_t len[2];
    int r = open_part(key, iv, "AEAD Resp Header Len Key", "AEAD Resp Header Len IV", in, 2, len);

    return r < 0 ? r : len[0] << 8 | len[1];
}

int vmess_answer(const uint8_t key[16], const uint8_t iv[16], const uint8_t *in, size_t n, uint8_t check)
{
    uint8_t head[VMESS_ANSWER_MAX];
    struct rd rd = rd_from(head, n);
    uint8_t got;
    int r;

    if (n > sizeof(head))
        return -ERR_PROTO;
    if ((r = open_part(key, iv, "AEAD Resp Header Key", "AEAD Resp Header IV", in, n, head)) < 0)
        return r;
    got = rd_u8(&rd);
    rd_skip(&rd, 2); /* option, command: of dynamic ports, which nobody has any more */
    rd_skip(&rd, rd_u8(&rd));
    if (!rd_ok(&rd))
        return -ERR_PROTO;
    return got == check ? 0 : -ERR_AUTH;
}
