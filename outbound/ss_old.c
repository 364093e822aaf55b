/*
 * ss_old.c - Shadowsocks as it was before authentication
 *
 *   each direction:   IV | encrypted (address | bytes ...)          a datagram:   IV | encrypted (address | payload)
 *
 * The key is made of the password as for the edition after it. "none" is the same without IV and cipher. Nobody notices a changed byte, and
 * whoever recorded a flow may answer it with guesses: ss.c takes these methods only from a file of the user's own.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/hash.h"
#include "core/layer.h"
#include "outbound/headed.h"
#include "outbound/ss.h"

#define IV_MAX 24

enum kind { PLAIN, LIBRARY, CHACHA, XCHACHA, RC4_MD5 };

static const struct method {
    const char *evp; /* OpenSSL's name */
    uint8_t key_len, iv_len, kind;
} methods[] = {
    [SS_OLD_PLAIN] = { NULL, 0, 0, PLAIN },
    [SS_OLD_AES_128_CTR] = { "AES-128-CTR", 16, 16, LIBRARY },
    [SS_OLD_AES_192_CTR] = { "AES-192-CTR", 24, 16, LIBRARY },
    [SS_OLD_AES_256_CTR] = { "AES-256-CTR", 32, 16, LIBRARY },
    [SS_OLD_AES_128_CFB] = { "AES-128-CFB", 16, 16, LIBRARY },
    [SS_OLD_AES_192_CFB] = { "AES-192-CFB", 24, 16, LIBRARY },
    [SS_OLD_AES_256_CFB] = { "AES-256-CFB", 32, 16, LIBRARY },
    [SS_OLD_CHACHA20] = { "ChaCha20", 32, 8, CHACHA },
    [SS_OLD_CHACHA20_IETF] = { "ChaCha20", 32, 12, CHACHA },
    [SS_OLD_XCHACHA20] = { "ChaCha20", 32, 24, XCHACHA },
    [SS_OLD_RC4_MD5] = { NULL, 16, 16, RC4_MD5 },
};

static const struct method *method_of(const struct ss_key *k)
{
    return &methods[k->cipher->old];
}

uint8_t ss_old_key_len(enum ss_old m)
{
    return methods[m].key_len;
}

/* ---- RC4: OpenSSL has it in a module that must be loaded by a file ---- */

struct rc4 {
    uint8_t s[256], i, j;
};

static void rc4_init(struct rc4 *r, const uint8_t *key, size_t len)
{
    uint8_t j = 0, t;

    for (int i = 0; i < 256; i++)
        r->s[i] = (uint8_t)i;
    for (int i = 0; i < 256; i++) {
        j = (uint8_t)(j + r->s[i] + key[(size_t)i % len]);
        t = r->s[i];
        r->s[i] = r->s[j];
        r->s[j] = t;
    }
    r->i = r->j = 0;
}

static void rc4_run(struct rc4 *r, const uint8_t *in, size_t len, uint8_t *out)
{
    for (size_t n = 0; n < len; n++) {
        uint8_t a = r->s[++r->i], b = r->s[r->j = (uint8_t)(r->j + a)];

        r->s[r->i] = b;
        r->s[r->j] = a;
        out[n] = in[n] ^ r->s[(uint8_t)(a + b)];
    }
}

/* ---- directions ---- */

struct dir {
    bool ready;
    EVP_CIPHER_CTX *ctx; /* NULL: rc4, or nothing */
    struct rc4 rc4;
};

static void dir_fini(struct dir *d)
{
    EVP_CIPHER_CTX_free(d->ctx);
    OPENSSL_cleanse(d, sizeof(*d));
}

static int init_library(struct dir *d, const char *name, const uint8_t *key, const uint8_t *iv, bool encrypt)
{
    EVP_CIPHER *c = EVP_CIPHER_fetch(NULL, name, NULL);
    int ok = c && (d->ctx = EVP_CIPHER_CTX_new()) && EVP_CipherInit_ex(d->ctx, c, NULL, key, iv, encrypt) == 1;

    EVP_CIPHER_free(c);
    return ok ? 0 : -ENOMEM;
}

static int init_rc4(struct dir *d, const uint8_t *key, const uint8_t *iv)
{
    uint8_t both[32], sum[16];
    int ok;

    memcpy(both, key, 16);
    memcpy(both + 16, iv, 16);
    if ((ok = EVP_Q_digest(NULL, "MD5", NULL, both, sizeof(both), sum, NULL) == 1))
        rc4_init(&d->rc4, sum, sizeof(sum));
    OPENSSL_cleanse(both, sizeof(both));
    OPENSSL_cleanse(sum, sizeof(sum));
    return ok ? 0 : -ENOMEM;
}

static int dir_init(struct dir *d, const struct ss_key *k, const uint8_t *iv, bool encrypt)
{
    const struct method *m = method_of(k);
    uint8_t long_iv[16] = { 0 }, key[SS_KEY_MAX]; /* ChaCha20: a block counter of 0 in front */
    int r = 0;

    d->ready = true;
    memcpy(key, k->master, sizeof(key));
    if (m->kind == XCHACHA)
        hchacha20(k->master, iv, key);
    if (m->kind == XCHACHA || m->kind == CHACHA) {
        size_t n = m->kind == XCHACHA ? 8 : m->iv_len;

        memcpy(long_iv + 16 - n, iv + m->iv_len - n, n);
        iv = long_iv;
    }
    if (m->kind == RC4_MD5)
        r = init_rc4(d, key, iv);
    else if (m->kind != PLAIN)
        r = init_library(d, m->evp, key, iv, encrypt);
    OPENSSL_cleanse(key, sizeof(key));
    return r;
}

/* in and out may be the same. 0 or -ERR_PROTO (the library failed). */
static int dir_run(struct dir *d, const struct method *m, const uint8_t *in, size_t len, uint8_t *out)
{
    int n;

    if (m->kind == RC4_MD5)
        rc4_run(&d->rc4, in, len, out);
    else if (m->kind != PLAIN)
        return EVP_CipherUpdate(d->ctx, out, &n, in, (int)len) == 1 ? 0 : -ERR_PROTO;
    else if (out != in)
        memmove(out, in, len);
    return 0;
}

/* ---- streams ---- */

struct old_stream {
    struct layer y;
    const struct ss_key *key;
    struct dir tx, rx;
    size_t head_len;
    uint8_t head[];
};

static struct old_stream *of(struct layer *y)
{
    return container_of(y, struct old_stream, y);
}

static int seal_bytes(struct old_stream *k, const void *b, size_t n)
{
    int r = dir_run(&k->tx, method_of(k->key), b, n, layer_free(&k->y));

    if (r == 0)
        layer_added(&k->y, n);
    return r;
}

static int seal_head(struct old_stream *k)
{
    size_t len = method_of(k->key)->iv_len;
    uint8_t *iv = layer_free(&k->y);
    int r;

    random_bytes(iv, len);
    layer_added(&k->y, len);
    k->y.head = false;
    if ((r = dir_init(&k->tx, k->key, iv, true)) < 0)
        return r;
    return seal_bytes(k, k->head, k->head_len);
}

static int seal(struct layer *y, struct cursor *from)
{
    struct old_stream *k = of(y);
    struct iovec piece;
    size_t n;
    int r = y->head ? seal_head(k) : 0;

    while (r == 0 && layer_room(y) && cursor_pieces(from, layer_room(y), &piece, 1, &n)) {
        r = seal_bytes(k, piece.iov_base, n);
        cursor_skip(from, n);
    }
    return r;
}

static int open_some(struct layer *y, struct cursor *to)
{
    struct old_stream *k = of(y);
    size_t iv_len = method_of(k->key)->iv_len, n;
    struct iovec piece;
    int r;

    if (!k->rx.ready) {
        if (y->n_in < iv_len)
            return 0;
        r = dir_init(&k->rx, k->key, layer_wire(y), false);
        layer_eat(y, iv_len);
        return r < 0 ? r : 1;
    }
    if (!y->n_in || !cursor_pieces(to, y->n_in, &piece, 1, &n))
        return 0;
    r = dir_run(&k->rx, method_of(k->key), layer_wire(y), n, piece.iov_base);
    layer_eat(y, n);
    cursor_skip(to, n);
    return r < 0 ? r : 1;
}

static void fini(struct layer *y)
{
    struct old_stream *k = of(y);

    dir_fini(&k->tx);
    dir_fini(&k->rx);
    free(k);
}

static const struct layer_ops old_ops = {
    .stream = LAYER_STREAM("ss"), .half = LAYER_FIN, .seal = seal, .open = open_some, .fini = fini
};

struct stream *ss_old_stream_new(struct loop *l, const struct ss_key *key, struct stream *down, const uint8_t *head, size_t head_len)
{
    struct old_stream *k;
    struct stream *up;

    if (method_of(key)->kind == PLAIN)
        return headed_new(l, head, head_len, NULL, NULL, down, &up) < 0 ? NULL : up;
    if (!(k = calloc(1, sizeof(*k) + head_len)))
        return NULL;
    k->key = key;
    k->head_len = head_len;
    if (head_len)
        memcpy(k->head, head, head_len);
    k->y.head = true;
    layer_init(&k->y, &old_ops, l, down);
    return &k->y.s;
}

/* ---- datagrams ---- */

ssize_t ss_old_udp_seal(const struct ss_key *k, const uint8_t *iv, const struct dest *to, const void *buf, size_t len, uint8_t *out)
{
    const struct method *m = method_of(k);
    uint8_t head[ATYP_MAX], *at = out + m->iv_len;
    size_t head_len = atyp_put(head, to);
    struct dir d = { 0 };
    int r;

    if (!head_len)
        return -ERR_NAME;
    if (m->iv_len + head_len + len > SS_DATAGRAM_MAX)
        return -EMSGSIZE;
    memcpy(out, iv, m->iv_len);
    if ((r = dir_init(&d, k, out, true)) == 0 && (r = dir_run(&d, m, head, head_len, at)) == 0 && len)
        r = dir_run(&d, m, buf, len, at + head_len);
    dir_fini(&d);
    return r < 0 ? r : (ssize_t)(m->iv_len + head_len + len);
}

int ss_old_udp_open(const struct ss_key *k, const uint8_t *buf, size_t len, uint8_t *out, struct sender *from, struct span *payload)
{
    const struct method *m = method_of(k);
    struct rd r = rd_from(buf, len);
    struct span iv = rd_span(&r, m->iv_len), rest = rd_span(&r, rd_left(&r));
    struct dir d = { 0 };
    int err;

    if (!rd_ok(&r) || !rest.len)
        return -ERR_PROTO;
    if ((err = dir_init(&d, k, iv.p, false)) == 0)
        err = dir_run(&d, m, rest.p, rest.len, out);
    dir_fini(&d);
    if (err < 0)
        return err;
    r = rd_from(out, rest.len);
    sender_get(&r, from);
    if (!rd_ok(&r))
        return -ERR_PROTO;
    *payload = rd_span(&r, rd_left(&r));
    return 0;
}
