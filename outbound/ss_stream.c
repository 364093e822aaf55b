/*
 * ss_stream.c - a stream of sealed chunks as a plain stream
 *
 *   each direction:   salt | sealed length (2 + 16) | sealed bytes (n + 16) | sealed length | ...        n = 1..0x3FFF
 *
 * The client's first chunk begins with the address block, in one piece with the first bytes it has to say.
 *
 * Chunks are opened straight into the caller's pieces; one that is longer than the room left is opened in place and handed out bit by bit.
 * Nothing is delivered before its tag was checked; what a wrong tag had written is zeroed. End of stream between chunks is a clean end,
 * inside one an error. A salt equal to our own means that somebody plays our bytes back to us.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/layer.h"
#include "outbound/ss.h"

#define LENGTH_SIZE (2 + SS_TAG)
#define PIECES      64 /* of one chunk; more make the chunk shorter */

struct ss_stream {
    struct layer y;
    const struct ss_key *key;
    bool *answered;
    struct ss_dir tx, rx;
    uint8_t salt[SS_KEY_MAX]; /* ours, once sent */
    uint8_t *head;            /* address block, until it is sealed */
    uint16_t head_len, want;  /* want: length of the chunk that comes next; 0 = its length comes next */
};

static struct pool streams = { .size = sizeof(struct ss_stream), .max_free = 1024 };

static struct ss_stream *of(struct layer *y)
{
    return container_of(y, struct ss_stream, y);
}

/* ---- sealing ---- */

static int seal_salt(struct ss_stream *k)
{
    uint8_t len = k->key->cipher->key_len;

    random_bytes(k->salt, len);
    memcpy(layer_free(&k->y), k->salt, len);
    layer_added(&k->y, len);
    return ss_dir_init(&k->tx, k->key, k->salt);
}

/* Adds one chunk: the address block if it is still here, then as much of `from` as fits. */
static int seal_chunk(struct ss_stream *k, struct cursor *from)
{
    uint8_t *out = layer_free(&k->y), len[2];
    size_t room = layer_room(&k->y) - LENGTH_SIZE - SS_TAG, n;
    struct iovec piece[1 + PIECES];
    int pieces, r;

    if (room > SS_CHUNK_MAX)
        room = SS_CHUNK_MAX;
    piece[0] = (struct iovec){ k->head, k->head_len };
    pieces = 1 + cursor_pieces(from, room - k->head_len, piece + 1, PIECES, &n);
    cursor_skip(from, n);
    n += k->head_len;
    len[0] = (uint8_t)(n >> 8);
    len[1] = (uint8_t)n;
    if ((r = ss_seal(&k->tx, &(struct iovec){ len, 2 }, 1, out)) < 0)
        return r;
    if ((r = ss_seal(&k->tx, k->head ? piece : piece + 1, k->head ? pieces : pieces - 1, out + LENGTH_SIZE)) < 0)
        return r;
    layer_added(&k->y, LENGTH_SIZE + n + SS_TAG);
    free(k->head);
    k->head = NULL;
    k->head_len = 0;
    return 0;
}

static int seal_some(struct layer *y, struct cursor *from)
{
    struct ss_stream *k = of(y);
    int r = k->tx.cipher ? 0 : seal_salt(k);

    y->head = false;
    while (r == 0 && (k->head || from->left) && layer_room(y) > LENGTH_SIZE + SS_TAG + 1024)
        r = seal_chunk(k, from);
    return r;
}

/* ---- opening ---- */

static const uint8_t *eat(struct ss_stream *k, size_t n)
{
    const uint8_t *p = layer_wire(&k->y);

    layer_eat(&k->y, n);
    return p;
}

static int open_salt(struct ss_stream *k)
{
    size_t len = k->key->cipher->key_len;
    const uint8_t *salt;

    if (k->y.n_in < len)
        return 0;
    salt = eat(k, len);
    if (k->tx.cipher && !CRYPTO_memcmp(salt, k->salt, len))
        return -ERR_AUTH;
    return ss_dir_init(&k->rx, k->key, salt) < 0 ? -ENOMEM : 1;
}

static int open_length(struct ss_stream *k)
{
    uint8_t len[2];
    int r;

    if (k->y.n_in < LENGTH_SIZE)
        return 0;
    if ((r = ss_open(&k->rx, eat(k, LENGTH_SIZE), 2, &(struct iovec){ len, 2 }, 1)) < 0)
        return r;
    *k->answered = true;
    k->want = (uint16_t)(len[0] << 8 | len[1]);
    return k->want && k->want <= SS_CHUNK_MAX ? 1 : -ERR_PROTO;
}

/* Into the caller's pieces if it fits, else in place. */
static int open_chunk(struct ss_stream *k, struct cursor *to)
{
    struct iovec piece[PIECES];
    size_t len = k->want, room = 0;
    const uint8_t *in;
    int n = 0, r;

    if (k->y.n_in < len + SS_TAG)
        return 0;
    in = eat(k, len + SS_TAG);
    k->want = 0;
    if (to->left >= len)
        n = cursor_pieces(to, len, piece, PIECES, &room);
    if (room == len) {
        if ((r = ss_open(&k->rx, in, len, piece, n)) == 0)
            cursor_skip(to, len);
    } else if ((r = ss_open(&k->rx, in, len, &(struct iovec){ (void *)in, len }, 1)) == 0) {
        layer_lend(&k->y, in, len);
    }
    return r < 0 ? r : 1;
}

static int open_next(struct layer *y, struct cursor *to)
{
    struct ss_stream *k = of(y);

    if (!k->rx.cipher)
        return open_salt(k);
    if (!k->want)
        return open_length(k);
    return open_chunk(k, to);
}

static int at_eof(struct layer *y)
{
    return y->n_in || of(y)->want ? -ERR_PROTO : -STREAM_EOF;
}

static void fini(struct layer *y)
{
    struct ss_stream *k = of(y);

    ss_dir_fini(&k->tx);
    ss_dir_fini(&k->rx);
    free(k->head);
    OPENSSL_cleanse(k->salt, sizeof(k->salt));
    pool_put(&streams, k);
}

static const struct layer_ops ss_stream_ops = {
    .stream = LAYER_STREAM("ss"), .half = LAYER_FIN, .seal = seal_some, .open = open_next, .eof = at_eof, .fini = fini
};

struct stream *ss_stream_new(struct loop *l, const struct ss_key *key, struct stream *down, const uint8_t *head, size_t head_len,
                             bool *answered)
{
    struct ss_stream *k = pool_get(&streams);

    if (!k)
        return NULL;
    *k = (struct ss_stream){ .y.head = true, .key = key, .answered = answered, .head_len = (uint16_t)head_len };
    if (!(k->head = malloc(head_len))) {
        pool_put(&streams, k);
        return NULL;
    }
    memcpy(k->head, head, head_len);
    layer_init(&k->y, &ss_stream_ops, l, down);
    return &k->y.s;
}

void ss_stream_trim(void)
{
    pool_fini(&streams);
}
