/*
 * ss_stream.c - a stream of sealed chunks as a plain stream
 *
 *   each direction:   salt | sealed length (2 + 16) | sealed bytes (n + 16) | sealed length | ...        n = 1..0x3FFF
 *
 * Writing. Pieces are sealed into a pooled buffer, as many chunks as fit, and go down in one write; that repeats until all is taken or the
 * stream below is full. What it left of a batch stays in the buffer: one batch is all a flow ever holds, and plaintext sealed into it counts
 * as taken. The very first batch begins with the salt and the address block, in the same chunk as the first bytes of the client.
 *
 * Reading. One read below fills a pooled buffer; chunks are opened from there straight into the caller's pieces. A chunk that is longer than
 * the room left is opened in place and handed out bit by bit:
 *
 *   in:  [ .... | opened, not yet read | (tag) | sealed, not yet opened | free ]
 *                ^plain, n_plain              ^at, n_in
 *
 * Nothing is delivered before its tag was checked; what a wrong tag had written is zeroed. End of stream between chunks is a clean end, inside
 * one an error. A salt equal to our own means that somebody plays our bytes back to us.
 *
 * Memory: an idle flow holds this struct and no buffer. A partial length or salt waits in `few`; only a partial chunk keeps a buffer.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/pool.h"
#include "outbound/ss.h"

#define LENGTH_SIZE (2 + SS_TAG)
#define FEW 40              /* >= a salt, >= a sealed length */
#define LINGER_MS 5000      /* how long bytes already taken may need after close */
#define PIECES 64           /* of one chunk; more make the chunk shorter */

struct ss_stream {
    struct stream s;
    struct stream *down;
    struct loop *loop;
    const struct ss_key *key;
    bool *answered;
    struct ss_dir tx, rx;
    uint8_t salt[SS_KEY_MAX]; /* ours, once sent */
    int err;                  /* sticks */

    uint8_t *head; /* address block, until it is sealed */
    uint8_t *out;  /* pooled: sealed, not yet taken below; NULL when all is gone */
    uint8_t *in;   /* pooled; NULL when nothing waits */
    uint32_t out_at, n_out, plain, n_plain, at, n_in;
    uint16_t head_len, want; /* want: length of the chunk that comes next; 0 = its length comes next */
    uint8_t few[FEW], n_few;

    bool waits_read, waits_write; /* somebody is to be told */
    bool full;                    /* the stream below said so and has not called back */
    bool shut, shut_done;         /* half-close: asked for, passed on */
    bool lingering;
    struct timer linger;
    struct job reap;
};

static struct pool streams = { .size = sizeof(struct ss_stream), .max_free = 1024 };

static struct ss_stream *of(struct stream *s)
{
    return container_of(s, struct ss_stream, s);
}

/* ---- the end ---- */

static void reap(struct job *j)
{
    struct ss_stream *k = container_of(j, struct ss_stream, reap);

    buf_put(k->in);
    buf_put(k->out);
    free(k->head);
    OPENSSL_cleanse(k->salt, sizeof(k->salt));
    pool_put(&streams, k);
}

static void end(struct ss_stream *k, int err)
{
    k->s.on_ready = NULL;
    k->lingering = false;
    timer_cancel(&k->linger);
    k->down->on_ready = NULL;
    stream_close(k->down, err);
    ss_dir_fini(&k->tx);
    ss_dir_fini(&k->rx);
    loop_defer(k->loop, &k->reap);
}

static void on_linger(struct timer *t)
{
    end(container_of(t, struct ss_stream, linger), -ETIMEDOUT);
}

static void ss_close(struct stream *s, int err)
{
    struct ss_stream *k = of(s);

    if (err || k->err || !k->n_out) {
        end(k, err);
        return;
    }
    s->on_ready = NULL;
    k->lingering = true;
    timer_set(k->loop, &k->linger, LINGER_MS);
}

/* ---- writing ---- */

/* Pieces of the caller, being used up. */
struct cursor {
    const struct iovec *iov;
    int n;
    size_t off, left;
};

static struct cursor cursor_from(const struct iovec *iov, int n)
{
    return (struct cursor){ iov, n, 0, iov_total(iov, n) };
}

/* Describes the next bytes, at most `max`, in at most `n` pieces, and moves on. Returns the number of pieces. */
static int cursor_take(struct cursor *c, size_t max, struct iovec *out, int n, size_t *len)
{
    int i = 0;

    for (*len = 0; i < n && *len < max && c->left;) {
        size_t here = c->iov->iov_len - c->off, m = here < max - *len ? here : max - *len;

        if (m)
            out[i++] = (struct iovec){ (char *)c->iov->iov_base + c->off, m };
        *len += m;
        c->left -= m;
        c->off += m;
        if (c->off == c->iov->iov_len) {
            c->iov++;
            c->off = 0;
        }
    }
    return i;
}

/* Sends what is sealed. 1: nothing is left; 0: the stream below is full; -err. */
static int flush(struct ss_stream *k)
{
    ssize_t w;

    if (!k->n_out)
        return 1;
    if (k->full)
        return 0;
    w = stream_write(k->down, &(struct iovec){ k->out + k->out_at, k->n_out }, 1);
    if (w < 0)
        return (int)w;
    k->out_at += (uint32_t)w;
    k->n_out -= (uint32_t)w;
    if (k->n_out) {
        k->full = true;
        return 0;
    }
    buf_put(k->out);
    k->out = NULL;
    return 1;
}

static int seal_salt(struct ss_stream *k)
{
    uint8_t len = k->key->cipher->key_len;

    random_bytes(k->salt, len);
    memcpy(k->out, k->salt, len);
    k->n_out = len;
    return ss_dir_init(&k->tx, k->key, k->salt);
}

/* Adds one chunk: the address block if it is still here, then as much of `from` as fits. */
static int seal_chunk(struct ss_stream *k, struct cursor *from)
{
    uint8_t *out = k->out + k->n_out, len[2];
    size_t room = BUF_SIZE - k->n_out - LENGTH_SIZE - SS_TAG, n;
    struct iovec piece[1 + PIECES];
    int pieces, r;

    if (room > SS_CHUNK_MAX)
        room = SS_CHUNK_MAX;
    piece[0] = (struct iovec){ k->head, k->head_len };
    pieces = 1 + cursor_take(from, room - k->head_len, piece + 1, PIECES, &n);
    n += k->head_len;
    len[0] = (uint8_t)(n >> 8);
    len[1] = (uint8_t)n;
    if ((r = ss_seal(&k->tx, &(struct iovec){ len, 2 }, 1, out)) < 0)
        return r;
    if ((r = ss_seal(&k->tx, k->head ? piece : piece + 1, k->head ? pieces : pieces - 1, out + LENGTH_SIZE)) < 0)
        return r;
    k->n_out += (uint32_t)(LENGTH_SIZE + n + SS_TAG);
    free(k->head);
    k->head = NULL;
    k->head_len = 0;
    return 0;
}

/* Fills the empty buffer with chunks. */
static int seal_batch(struct ss_stream *k, struct cursor *from)
{
    int r = 0;

    if (!(k->out = buf_get()))
        return -ENOMEM;
    k->out_at = k->n_out = 0;
    if (!k->tx.cipher)
        r = seal_salt(k);
    while (r == 0 && (k->head || from->left) && k->n_out + LENGTH_SIZE + SS_TAG + 1024 < BUF_SIZE)
        r = seal_chunk(k, from);
    return r;
}

static int fail(struct ss_stream *k, int err)
{
    k->err = err;
    return err;
}

static ssize_t ss_write(struct stream *s, const struct iovec *iov, int n)
{
    struct ss_stream *k = of(s);
    struct cursor from = cursor_from(iov, n);
    size_t total = from.left;
    int r;

    if (k->err)
        return k->err;
    if (k->shut)
        return -EPIPE;
    while ((r = flush(k)) > 0 && (k->head || from.left))
        if ((r = seal_batch(k, &from)) < 0)
            break;
    if (r < 0)
        return fail(k, r);
    if (total)
        k->waits_write = from.left > 0;
    return (ssize_t)(total - from.left);
}

static int pass_shutdown(struct ss_stream *k)
{
    if (k->shut_done)
        return 0;
    k->shut_done = true;
    return stream_shutdown(k->down);
}

static int ss_shutdown(struct stream *s)
{
    struct ss_stream *k = of(s);
    ssize_t r;

    if (k->err)
        return k->err;
    if ((r = k->shut ? 0 : ss_write(s, NULL, 0)) < 0) /* an address block that nobody had bytes for goes out alone */
        return (int)r;
    k->shut = true;
    return k->n_out ? 0 : pass_shutdown(k);
}

/* ---- reading ---- */

static int buffer(struct ss_stream *k)
{
    if (k->in)
        return 0;
    if (!(k->in = buf_get()))
        return -ENOMEM;
    memcpy(k->in, k->few, k->n_few);
    k->at = 0;
    k->n_in = k->n_few;
    k->n_few = 0;
    return 0;
}

/* Reads below behind what is there. Bytes, 0, or -err. */
static ssize_t pull(struct ss_stream *k)
{
    ssize_t n;

    if (k->at) {
        memmove(k->in, k->in + k->at, k->n_in);
        k->at = 0;
    }
    n = stream_read(k->down, &(struct iovec){ k->in + k->n_in, BUF_SIZE - k->n_in }, 1);
    if (n > 0)
        k->n_in += (uint32_t)n;
    else if (n == 0)
        k->waits_read = true;
    else if (n == -STREAM_EOF && (k->n_in || k->want))
        n = -ERR_PROTO;
    return n;
}

/* Gives the buffer back when nothing, or next to nothing, is in it. */
static void settle(struct ss_stream *k)
{
    if (!k->in || k->n_plain || k->n_in > FEW)
        return;
    memcpy(k->few, k->in + k->at, k->n_in);
    k->n_few = (uint8_t)k->n_in;
    k->n_in = 0;
    buf_put(k->in);
    k->in = NULL;
}

static const uint8_t *eat(struct ss_stream *k, size_t n)
{
    const uint8_t *p = k->in + k->at;

    k->at += (uint32_t)n;
    k->n_in -= (uint32_t)n;
    return p;
}

static int open_salt(struct ss_stream *k)
{
    size_t len = k->key->cipher->key_len;
    const uint8_t *salt;

    if (k->n_in < len)
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

    if (k->n_in < LENGTH_SIZE)
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
    uint32_t len = k->want, start = k->at;
    struct iovec piece[PIECES];
    struct cursor before = *to;
    const uint8_t *in;
    size_t taken = 0;
    int n = 0, r;

    if (k->n_in < len + SS_TAG)
        return 0;
    in = eat(k, len + SS_TAG);
    k->want = 0;
    if (to->left >= len)
        n = cursor_take(to, len, piece, PIECES, &taken);
    if (taken == len) {
        r = ss_open(&k->rx, in, len, piece, n);
    } else {
        *to = before;
        r = ss_open(&k->rx, in, len, &(struct iovec){ k->in + start, len }, 1);
        k->plain = start;
        k->n_plain = r < 0 ? 0 : len;
    }
    if (r < 0)
        *to = before;
    return r < 0 ? r : 1;
}

/* 1: one step further; 0: more bytes are needed; -err. */
static int open_next(struct ss_stream *k, struct cursor *to)
{
    if (!k->rx.cipher)
        return open_salt(k);
    if (!k->want)
        return open_length(k);
    return open_chunk(k, to);
}

static void take_plain(struct ss_stream *k, struct cursor *to)
{
    struct iovec piece;
    size_t n;

    while (k->n_plain && to->left) {
        cursor_take(to, k->n_plain, &piece, 1, &n);
        memcpy(piece.iov_base, k->in + k->plain, n);
        k->plain += (uint32_t)n;
        k->n_plain -= (uint32_t)n;
    }
}

/* Everything that is there, then, if that was nothing, what one or more reads below bring. */
static ssize_t fill(struct ss_stream *k, struct cursor *to)
{
    size_t room = to->left;
    ssize_t r;

    if ((r = buffer(k)) < 0)
        return r;
    for (;;) {
        do {
            take_plain(k, to);
            r = to->left ? open_next(k, to) : 0;
        } while (r > 0);
        if (to->left < room || r < 0 || (r = pull(k)) <= 0)
            return r;
    }
}

static ssize_t ss_read(struct stream *s, const struct iovec *iov, int n)
{
    struct ss_stream *k = of(s);
    struct cursor to = cursor_from(iov, n);
    size_t room = to.left;
    ssize_t r;

    if (k->err && !k->n_plain)
        return k->err;
    if (!room)
        return 0;
    r = fill(k, &to);
    if (r < 0 && r != -STREAM_EOF)
        k->err = (int)r;
    settle(k);
    return to.left < room ? (ssize_t)(room - to.left) : r;
}

/* ---- the stream below calls ---- */

/* There is room again. True: whoever writes may go on. */
static bool drained(struct ss_stream *k)
{
    int r = k->err ? 0 : flush(k);

    if (r > 0 && k->shut)
        r = pass_shutdown(k) < 0 ? -EPIPE : 1;
    if (r < 0)
        fail(k, r);
    return r > 0;
}

static void on_down(struct stream *down, unsigned what)
{
    struct ss_stream *k = down->owner;
    unsigned tell = 0;

    if (what & STREAM_WRITABLE) {
        k->full = false;
        if (drained(k) && k->waits_write) {
            k->waits_write = false;
            tell |= STREAM_WRITABLE;
        }
    }
    if (k->lingering) {
        if (!k->n_out || k->err || (what & STREAM_FAILED))
            end(k, k->n_out ? -ECONNRESET : 0);
        return;
    }
    if ((what & STREAM_READABLE) && k->waits_read) {
        k->waits_read = false;
        tell |= STREAM_READABLE;
    }
    if (k->err || (what & STREAM_FAILED))
        tell |= STREAM_FAILED;
    if (tell)
        stream_ready(&k->s, tell);
}

static const struct stream_ops ss_stream_ops = {
    .name = "ss", .read = ss_read, .write = ss_write, .shutdown = ss_shutdown, .close = ss_close,
};

struct stream *ss_stream_new(struct loop *l, const struct ss_key *key, struct stream *down, const uint8_t *head, size_t head_len, bool *answered)
{
    struct ss_stream *k = pool_get(&streams);

    if (!k)
        return NULL;
    *k = (struct ss_stream){ .s.ops = &ss_stream_ops, .loop = l, .key = key, .down = down, .answered = answered,
                             .linger.cb = on_linger, .reap.cb = reap, .head_len = (uint16_t)head_len };
    if (!(k->head = malloc(head_len))) {
        pool_put(&streams, k);
        return NULL;
    }
    memcpy(k->head, head, head_len);
    down->owner = k;
    down->on_ready = on_down;
    return &k->s;
}

void ss_stream_trim(void)
{
    pool_fini(&streams);
}
