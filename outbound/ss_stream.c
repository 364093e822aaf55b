/*
 * ss_stream.c - a stream of sealed chunks as a plain stream
 *
 *   each direction:   salt | (2022: heads) | sealed length (2 + 16) | sealed bytes (n + 16) | sealed length | ...
 *
 * The client's first chunk (2022: its second head) begins with the address block, in one piece with the first bytes it has to say.
 *
 * Chunks are opened straight into the caller's pieces; one that is longer than the room left is opened in place and handed out bit by bit.
 * Nothing is delivered before its tag was checked; what a wrong tag had written is zeroed. End of stream between chunks is a clean end,
 * inside one an error.
 *
 * Recordings. In 2022 an answer carries the request's salt. In the older edition a whole answer can be played again: a salt equal to our
 * own, or one that was heard before, is refused; 16,384 or more are remembered, 8 bytes each, once their first chunk opened.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/hash.h"
#include "core/layer.h"
#include "outbound/ss.h"

#define LENGTH_SIZE (2 + SS_TAG)

enum begun { BEFORE_SALT, BEFORE_HEAD, BEFORE_CHUNK, BEFORE_LENGTH };

struct ss_stream {
    struct layer y;
    const struct ss_key *key;
    bool *answered;
    struct ss_dir tx, rx;
    uint8_t salt[SS_KEY_MAX]; /* ours, once sent */
    uint64_t heard;           /* hash of theirs; 0: nothing to be remembered */
    uint8_t *head;            /* address block, until it is sealed */
    uint16_t head_len, want;  /* want: length of the chunk that comes next */
    uint8_t next;             /* enum begun: what is to be opened */
};

static struct pool streams = { .size = sizeof(struct ss_stream), .max_free = 1024 };

static struct ss_stream *of(struct layer *y)
{
    return container_of(y, struct ss_stream, y);
}

static size_t chunk_max(const struct ss_stream *k)
{
    return k->key->cipher->is_2022 ? UINT16_MAX : SS_CHUNK_MAX;
}

/* ---- salts that were heard ---- */

#define SLOTS 32768

static struct {
    uint64_t *now, *before; /* two generations, half full at most */
    uint32_t n;
} salts;

static uint64_t *find_slot(uint64_t *set, uint64_t hash)
{
    uint32_t i = (uint32_t)hash % SLOTS;

    while (set[i] && set[i] != hash)
        i = (i + 1) % SLOTS;
    return &set[i];
}

/* False: it was heard before. Without memory nothing is remembered. */
static bool remember(uint64_t hash)
{
    uint64_t *slot, *old;

    if (!salts.now && !(salts.now = calloc(SLOTS, sizeof(*salts.now))))
        return true;
    slot = find_slot(salts.now, hash);
    if (*slot || (salts.before && *find_slot(salts.before, hash)))
        return false;
    *slot = hash;
    if (++salts.n < SLOTS / 2)
        return true;
    old = salts.before;
    salts.before = salts.now;
    salts.now = old;
    salts.n = 0;
    if (old)
        memset(old, 0, SLOTS * sizeof(*old));
    return true;
}

/* ---- sealing ---- */

static int seal_salt(struct ss_stream *k)
{
    random_bytes(k->salt, k->key->len);
    memcpy(layer_free(&k->y), k->salt, k->key->len);
    layer_added(&k->y, k->key->len);
    return ss_dir_init(&k->tx, k->key, k->salt);
}

static void forget_head(struct ss_stream *k)
{
    free(k->head);
    k->head = NULL;
    k->head_len = 0;
}

/* Adds one chunk: the address block if it is still here, then as much of `from` as fits. */
static int seal_chunk(struct ss_stream *k, struct cursor *from)
{
    uint8_t *out = layer_free(&k->y), len[2];
    size_t room = layer_room(&k->y) - LENGTH_SIZE - SS_TAG, n;
    struct iovec piece[1 + SS_PIECES];
    int pieces, r;

    if (room > chunk_max(k))
        room = chunk_max(k);
    piece[0] = (struct iovec){ k->head, k->head_len };
    pieces = 1 + cursor_pieces(from, room - k->head_len, piece + 1, SS_PIECES, &n);
    cursor_skip(from, n);
    n += k->head_len;
    len[0] = (uint8_t)(n >> 8);
    len[1] = (uint8_t)n;
    if ((r = ss_seal(&k->tx, &(struct iovec){ len, 2 }, 1, out)) < 0 || (r = ss_seal(&k->tx, piece, pieces, out + LENGTH_SIZE)) < 0)
        return r;
    layer_added(&k->y, LENGTH_SIZE + n + SS_TAG);
    forget_head(k);
    return 0;
}

/* 2022: identity headers, the fixed head, and the head with the address and the first bytes; padding where there are none. */
static int seal_heads(struct ss_stream *k, struct cursor *from)
{
    size_t room = layer_room(&k->y) - SS22_HEAD_MAX(k->key), n;
    struct iovec piece[SS_PIECES];
    int pieces = cursor_pieces(from, room, piece, SS_PIECES, &n);
    uint16_t dice = 0;
    ssize_t r;

    if (!n) {
        random_bytes(&dice, sizeof(dice));
        dice = (uint16_t)(1 + dice % SS22_PAD_MAX);
    }
    cursor_skip(from, n);
    r = ss22_request(&k->tx, k->key, k->salt, (uint64_t)time(NULL), &(struct span){ k->head, k->head_len }, dice, piece, pieces,
                     layer_free(&k->y));
    if (r < 0)
        return (int)r;
    layer_added(&k->y, (size_t)r);
    forget_head(k);
    return 0;
}

static int seal_some(struct layer *y, struct cursor *from)
{
    struct ss_stream *k = of(y);
    int r = 0;

    if (y->head) {
        y->head = false;
        r = seal_salt(k);
        if (r == 0 && k->key->cipher->is_2022)
            r = seal_heads(k, from);
    }
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
    size_t len = k->key->len;
    const uint8_t *salt;

    if (k->y.n_in < len)
        return 0;
    salt = eat(k, len);
    if (ss_dir_ready(&k->tx) && !CRYPTO_memcmp(salt, k->salt, len))
        return -ERR_AUTH;
    if (ss_dir_init(&k->rx, k->key, salt) < 0)
        return -ENOMEM;
    k->heard = k->key->cipher->is_2022 ? 0 : hash_bytes(salt, len) | 1;
    k->next = k->key->cipher->is_2022 ? BEFORE_HEAD : BEFORE_LENGTH;
    return 1;
}

static int open_head(struct ss_stream *k)
{
    size_t len = SS22_ANSWER(k->key);
    int r;

    if (k->y.n_in < len)
        return 0;
    if (!ss_dir_ready(&k->tx)) /* an answer to nothing */
        return -ERR_PROTO;
    if ((r = ss22_answer(&k->rx, k->key, eat(k, len), k->salt, (uint64_t)time(NULL), &k->want)) < 0)
        return r;
    *k->answered = true;
    k->next = BEFORE_CHUNK;
    return 1;
}

static int open_length(struct ss_stream *k)
{
    uint8_t len[2];
    int r;

    if (k->y.n_in < LENGTH_SIZE)
        return 0;
    if ((r = ss_open(&k->rx, eat(k, LENGTH_SIZE), 2, &(struct iovec){ len, 2 }, 1)) < 0)
        return r;
    if (k->heard && !remember(k->heard))
        return -ERR_AUTH;
    k->heard = 0;
    *k->answered = true;
    k->want = (uint16_t)(len[0] << 8 | len[1]);
    k->next = BEFORE_CHUNK;
    return k->want && k->want <= chunk_max(k) ? 1 : -ERR_PROTO;
}

/* Into the caller's pieces if it fits, else in place. */
static int open_chunk(struct ss_stream *k, struct cursor *to)
{
    struct iovec piece[SS_PIECES];
    size_t len = k->want, room = 0;
    const uint8_t *in;
    int n = 0, r;

    if (k->y.n_in < len + SS_TAG)
        return 0;
    in = eat(k, len + SS_TAG);
    k->next = BEFORE_LENGTH;
    if (to->left >= len)
        n = cursor_pieces(to, len, piece, SS_PIECES, &room);
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

    switch (k->next) {
    case BEFORE_SALT: return open_salt(k);
    case BEFORE_HEAD: return open_head(k);
    case BEFORE_LENGTH: return open_length(k);
    default: return open_chunk(k, to);
    }
}

/* Nothing at all is not how an answer ends, but how a server that said nothing does: the relay gets its EOF. */
static int at_eof(struct layer *y)
{
    struct ss_stream *k = of(y);

    return !y->n_in && (k->next == BEFORE_SALT || k->next == BEFORE_LENGTH) ? -STREAM_EOF : -ERR_PROTO;
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
    struct ss_stream *k;

    if (key->cipher->old)
        return ss_old_stream_new(l, key, down, head, head_len);
    if (!(k = pool_get(&streams)))
        return NULL;
    *k = (struct ss_stream){ .y.head = true, .key = key, .answered = answered, .head_len = (uint16_t)head_len };
    if (head_len && !(k->head = malloc(head_len))) {
        pool_put(&streams, k);
        return NULL;
    }
    if (head_len)
        memcpy(k->head, head, head_len);
    layer_init(&k->y, &ss_stream_ops, l, down);
    return &k->y.s;
}

void ss_stream_trim(void)
{
    pool_fini(&streams);
    free(salts.now);
    free(salts.before);
    salts.now = salts.before = NULL;
    salts.n = 0;
}
