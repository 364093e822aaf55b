/*
 * vmess_stream.c - the body of a VMess connection as a plain stream
 *
 *   ──►  sealed head | chunk | chunk | ... | empty chunk          ◄──  sealed answer | chunk | ... | empty chunk
 *
 *   chunk:  length 2, masked - or sealed, 2 + 16 | data, sealed | padding 0..63          length: of data, tag and padding
 *
 * Both masks come from one SHAKE128 stream per direction: first, where there is padding, its length, then the length's mask. An empty chunk
 * is the end; so is the end of the stream below between two chunks (many servers do no better), but not inside one. Without chunks the
 * body is raw.
 *
 * Datagrams. One chunk is one datagram; above, it has its length in front (2 bytes), so that borders survive. In the buffer that length
 * takes the place of the chunk's own.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/hash.h"
#include "core/layer.h"
#include "outbound/digest.h"
#include "outbound/shake.h"
#include "outbound/vmess.h"

#define SENT_MAX    16384 /* data and tag of a chunk of ours */
#define CHUNK_MAX   32768 /* of theirs */
#define PAD_MAX     63
#define CHUNK_EXTRA (18 + VMESS_TAG + PAD_MAX)
#define PIECES      64
#define UNKNOWN     UINT32_MAX

struct half { /* one direction */
    struct aead_key body, length;
    struct shake mask;
    uint8_t iv[16];
    uint16_t n, n_length; /* chunks so far: the nonces */
};

struct vmess {
    struct layer y;
    const struct vmess_user *user;
    bool *answered;
    struct vmess_request q;
    uint8_t *head; /* as it is before it is sealed, until it is */
    size_t head_len;
    uint8_t answer_key[16], answer_iv[16];
    int answer_len; /* -1: not known yet */
    bool open, ended;
    struct half tx, rx;
    uint32_t want, pad; /* of the chunk that comes next; want UNKNOWN: its length is not read yet */
};

static struct vmess *of(struct layer *y)
{
    return container_of(y, struct vmess, y);
}

static bool has(const struct vmess *k, uint8_t option)
{
    return k->q.options & option;
}

static size_t length_size(const struct vmess *k)
{
    return has(k, VMESS_AUTH_LENGTH) ? 2 + VMESS_TAG : 2;
}

static size_t tag_size(const struct vmess *k)
{
    return k->q.security == VMESS_NONE ? 0 : VMESS_TAG;
}

/* ---- keys of a direction ---- */

static int key_init(const struct vmess *k, struct aead_key *out, const uint8_t key[16])
{
    struct aead *alg = aead_get(k->q.security == VMESS_CHACHA ? AEAD_CHACHA20 : AEAD_AES_128_GCM);
    uint8_t wide[32];
    int r = 0;

    if (!alg)
        return -ERR_UNSUPPORTED;
    memcpy(wide, key, 16);
    if (k->q.security == VMESS_CHACHA)
        r = vmess_chacha_key(key, wide);
    aead_key_init(out, alg, wide);
    OPENSSL_cleanse(wide, sizeof(wide));
    return r;
}

/* The length's key is the request's in both directions. */
static int half_init(const struct vmess *k, struct half *h, const uint8_t key[16], const uint8_t iv[16])
{
    struct span label = { (const uint8_t *)"auth_len", 8 };
    uint8_t sub[32];
    int r;

    memcpy(h->iv, iv, 16);
    shake128_init(&h->mask, iv, 16);
    if ((r = key_init(k, &h->body, key)) == 0 && has(k, VMESS_AUTH_LENGTH) && (r = vmess_kdf(k->q.key, &label, 1, sub)) == 0)
        r = key_init(k, &h->length, sub);
    OPENSSL_cleanse(sub, sizeof(sub));
    return r;
}

static const uint8_t *nonce_of(uint16_t *count, const uint8_t iv[16], uint8_t nonce[12])
{
    nonce[0] = (uint8_t)(*count >> 8);
    nonce[1] = (uint8_t)*count;
    memcpy(nonce + 2, iv + 2, 10);
    ++*count;
    return nonce;
}

static uint16_t draw(struct half *h)
{
    uint8_t b[2];

    shake128_squeeze(&h->mask, b, 2);
    return (uint16_t)(b[0] << 8 | b[1]);
}

/* ---- sealing ---- */

static int put_length(struct vmess *k, size_t len, uint8_t *out)
{
    uint8_t nonce[12], b[2];

    if (has(k, VMESS_AUTH_LENGTH))
        len -= VMESS_TAG;
    else if (has(k, VMESS_MASK))
        len ^= draw(&k->tx);
    b[0] = (uint8_t)(len >> 8);
    b[1] = (uint8_t)len;
    if (has(k, VMESS_AUTH_LENGTH))
        return aead_seal(&k->tx.length, nonce_of(&k->tx.n_length, k->q.iv, nonce), NULL, &(struct iovec){ b, 2 }, 1, out);
    memcpy(out, b, 2);
    return 0;
}

/* The next n bytes of `from` as a chunk; 0 bytes are the end. */
static int seal_chunk(struct vmess *k, struct cursor *from, size_t n)
{
    size_t pad = has(k, VMESS_PADDING) ? draw(&k->tx) % (PAD_MAX + 1) : 0, tag = tag_size(k), at = length_size(k);
    uint8_t *out = layer_free(&k->y), nonce[12];
    struct iovec piece[PIECES];
    int pieces = cursor_pieces(from, n, piece, PIECES, &n), r;

    if ((r = put_length(k, n + tag + pad, out)) < 0)
        return r;
    if (tag)
        r = aead_seal(&k->tx.body, nonce_of(&k->tx.n, k->q.iv, nonce), NULL, piece, pieces, out + at);
    else
        iov_copy(&(struct iovec){ out + at, n }, 1, piece, pieces);
    if (pad)
        random_bytes(out + at + n + tag, pad);
    cursor_skip(from, n);
    layer_added(&k->y, at + n + tag + pad);
    return r;
}

/* Datagrams behind their lengths, each a chunk of its own; an empty one cannot be told from the end, and is left out. */
static int seal_datagrams(struct vmess *k, struct cursor *from)
{
    uint8_t len[2];
    size_t n;
    int r = 0;

    while (r == 0 && from->left) {
        struct cursor peek = *from;

        if (cursor_take(&peek, len, 2) < 2 || peek.left < (n = (size_t)(len[0] << 8 | len[1])) || n + VMESS_TAG > SENT_MAX)
            return -EMSGSIZE;
        if (layer_room(&k->y) < n + CHUNK_EXTRA)
            return 0;
        *from = peek;
        if (n)
            r = seal_chunk(k, from, n);
    }
    return r;
}

static int seal_head(struct vmess *k)
{
    uint8_t random[12];
    ssize_t n;

    random_bytes(random, sizeof(random));
    n = vmess_seal_head(k->user, (uint64_t)time(NULL), random, random + 4, k->head, k->head_len, layer_free(&k->y));
    if (n < 0)
        return (int)n;
    layer_added(&k->y, (size_t)n);
    OPENSSL_cleanse(k->head, k->head_len);
    free(k->head);
    k->head = NULL;
    return 0;
}

static int seal_some(struct layer *y, struct cursor *from)
{
    struct vmess *k = of(y);
    int r = y->head ? seal_head(k) : 0;

    y->head = false;
    if (r == 0 && !has(k, VMESS_CHUNKS)) {
        layer_added(y, cursor_take(from, layer_free(y), layer_room(y)));
        y->raw_out = true;
        return 0;
    }
    if (r == 0 && k->q.command == VMESS_UDP)
        return seal_datagrams(k, from);
    while (r == 0 && from->left && layer_room(y) > CHUNK_EXTRA) {
        size_t n = layer_room(y) - CHUNK_EXTRA, most = SENT_MAX - tag_size(k);

        r = seal_chunk(k, from, n < most ? n : most);
    }
    return r;
}

static int say_goodbye(struct layer *y)
{
    struct vmess *k = of(y);
    struct cursor none = { 0 };
    int r;

    if (!has(k, VMESS_CHUNKS))
        return 0;
    if ((r = layer_put(y, NULL, 0)) < 0)
        return r;
    return seal_chunk(k, &none, 0);
}

/* ---- opening ---- */

static int open_answer(struct vmess *k)
{
    struct layer *y = &k->y;
    int r;

    if (k->answer_len < 0) {
        if (y->n_in < 2 + VMESS_TAG)
            return 0;
        if ((r = vmess_answer_length(k->answer_key, k->answer_iv, layer_wire(y))) < 0)
            return r;
        if (r > VMESS_ANSWER_MAX)
            return -ERR_PROTO;
        layer_eat(y, 2 + VMESS_TAG);
        k->answer_len = r;
    }
    if (y->n_in < (size_t)k->answer_len + VMESS_TAG)
        return 0;
    if ((r = vmess_answer(k->answer_key, k->answer_iv, layer_wire(y), (size_t)k->answer_len, k->q.check)) < 0)
        return r;
    layer_eat(y, (size_t)k->answer_len + VMESS_TAG);
    k->open = *k->answered = true;
    y->raw_in = !has(k, VMESS_CHUNKS);
    return 1;
}

/* The length of the next chunk; it stays in the buffer until the chunk is there. */
static int open_length(struct vmess *k)
{
    const uint8_t *in = layer_wire(&k->y);
    uint8_t nonce[12], b[2];
    uint32_t len;
    int r;

    if (k->y.n_in < length_size(k))
        return 0;
    k->pad = has(k, VMESS_PADDING) ? draw(&k->rx) % (PAD_MAX + 1) : 0;
    if (has(k, VMESS_AUTH_LENGTH)) {
        if ((r = aead_open(&k->rx.length, nonce_of(&k->rx.n_length, k->q.iv, nonce), NULL, in, 2, &(struct iovec){ b, 2 }, 1)) < 0)
            return r;
        len = (uint32_t)(b[0] << 8 | b[1]) + VMESS_TAG;
    } else {
        len = (uint32_t)(in[0] << 8 | in[1]);
        if (has(k, VMESS_MASK))
            len ^= draw(&k->rx);
    }
    if (len > CHUNK_MAX || len < tag_size(k) + k->pad)
        return -ERR_PROTO;
    k->want = len;
    return 1;
}

static int open_data(struct vmess *k, const uint8_t *in, size_t n, const struct iovec *piece, int pieces)
{
    uint8_t nonce[12];

    if (tag_size(k))
        return aead_open(&k->rx.body, nonce_of(&k->rx.n, k->answer_iv, nonce), NULL, in, n, piece, pieces);
    if (pieces != 1 || piece->iov_base != in)
        iov_copy(piece, pieces, &(struct iovec){ (void *)in, n }, 1);
    return 0;
}

/* Into the caller's pieces if it fits, else in place. A datagram has its length in front. */
static int deliver(struct vmess *k, uint8_t *in, size_t n, struct cursor *to)
{
    size_t before = k->q.command == VMESS_UDP ? 2 : 0, room = 0;
    uint8_t len[2] = { (uint8_t)(n >> 8), (uint8_t)n };
    struct iovec piece[PIECES];
    struct cursor after = *to;
    int pieces = 0, r;

    if (to->left >= before + n) {
        cursor_give(&after, len, before);
        pieces = cursor_pieces(&after, n, piece, PIECES, &room);
    }
    if (room == n) {
        if ((r = open_data(k, in, n, piece, pieces)) < 0)
            return r;
        cursor_skip(&after, n);
        *to = after;
        return 1;
    }
    if ((r = open_data(k, in, n, &(struct iovec){ in, n }, 1)) < 0)
        return r;
    memcpy(in - before, len, before);
    layer_lend(&k->y, in - before, before + n);
    return 1;
}

static int open_chunk(struct vmess *k, struct cursor *to)
{
    size_t head = length_size(k), n = k->want - k->pad - tag_size(k);
    uint8_t *in = layer_wire(&k->y) + head;
    int r;

    if (k->y.n_in < head + k->want)
        return 0;
    layer_eat(&k->y, head + k->want);
    k->want = UNKNOWN;
    if (n)
        return deliver(k, in, n, to);
    if ((r = open_data(k, in, 0, NULL, 0)) < 0)
        return r;
    k->ended = true;
    return -STREAM_EOF;
}

static int open_next(struct layer *y, struct cursor *to)
{
    struct vmess *k = of(y);

    if (!k->open)
        return open_answer(k);
    return k->want == UNKNOWN ? open_length(k) : open_chunk(k, to);
}

/* Between two chunks it is the end, with the mark or without: many servers leave it out. */
static int at_eof(struct layer *y)
{
    const struct vmess *k = of(y);

    if (k->open && !y->n_in && k->want == UNKNOWN)
        return -STREAM_EOF;
    return k->answer_len >= 0 || y->n_in ? -ERR_PROTO : -ERR_EARLY;
}

static void half_fini(struct half *h)
{
    aead_key_fini(&h->body);
    aead_key_fini(&h->length);
}

static void fini(struct layer *y)
{
    struct vmess *k = of(y);

    half_fini(&k->tx);
    half_fini(&k->rx);
    if (k->head)
        OPENSSL_cleanse(k->head, k->head_len);
    free(k->head);
    OPENSSL_cleanse(k, sizeof(*k));
    free(k);
}

#define OPS(half_)                                                                                                                         \
    {                                                                                                                                      \
        .stream = LAYER_STREAM("vmess"), .half = half_, .seal = seal_some, .open = open_next, .bye = say_goodbye, .eof = at_eof,           \
        .fini = fini                                                                                                                       \
    }
static const struct layer_ops chunk_ops = OPS(LAYER_BYE), raw_ops = OPS(LAYER_FIN);

/* Draws what is random, writes the head, derives all keys. */
static int prepare(struct vmess *k, const struct vmess_options *how, const struct dest *to)
{
    uint8_t random[16 + 16 + 1 + 16], head[VMESS_PLAIN_MAX];
    ssize_t n;
    int r;

    random_bytes(random, sizeof(random));
    k->q = (struct vmess_request){ .check = random[32],
                                   .options = how->options,
                                   .security = how->security,
                                   .command = how->command,
                                   .pad = random + 33,
                                   .n_pad = random[48] & 15,
                                   .to = *to };
    memcpy(k->q.iv, random, 16);
    memcpy(k->q.key, random + 16, 16);
    if ((n = vmess_plain_head(&k->q, head)) < 0)
        return (int)n;
    if (!(k->head = malloc((size_t)n)))
        return -ENOMEM;
    memcpy(k->head, head, (size_t)n);
    k->head_len = (size_t)n;
    k->q.pad = NULL; /* nothing of the caller's is kept */
    k->q.to = (struct dest){ 0 };
    if ((r = vmess_answer_keys(&k->q, k->answer_key, k->answer_iv)) < 0 || (r = half_init(k, &k->tx, k->q.key, k->q.iv)) < 0)
        return r;
    OPENSSL_cleanse(random, sizeof(random));
    OPENSSL_cleanse(head, sizeof(head));
    return half_init(k, &k->rx, k->answer_key, k->answer_iv);
}

int vmess_stream_new(struct loop *l, const struct vmess_user *user, const struct vmess_options *how, const struct dest *to,
                     struct stream *down, bool *answered, struct stream **up)
{
    struct vmess *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return -ENOMEM;
    k->user = user;
    k->answered = answered;
    k->answer_len = -1;
    k->want = UNKNOWN;
    if ((r = prepare(k, how, to)) < 0) {
        fini(&k->y);
        return r;
    }
    layer_init(&k->y, how->options & VMESS_CHUNKS ? &chunk_ops : &raw_ops, l, down);
    k->y.head = true;
    *up = &k->y.s;
    return 0;
}
