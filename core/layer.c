/*
 * layer.c - the engine under every layer: batches, buffers, readiness, the end
 *
 * Writing. seal() fills an empty buffer with as much as fits, which goes down in one write; that repeats until all is taken or the stream
 * below is full. What it left of a batch stays: bytes sealed into it count as taken, and it is all that a layer ever holds.
 *
 * Reading. One read below fills a buffer, from which open() serves the caller:
 *
 *   in:  [ .... | opened in place, not yet read | .... | wire bytes | free ]
 *                ^plain_at, n_plain                     ^in_at, n_in
 *
 * A partial record of a few bytes waits in `few`, without a buffer.
 *
 * The end. Half-close is: everything out, the protocol's mark, FIN below - each as far as the layer wants it. close(0) makes up for the
 * mark and waits a while for the last bytes to be taken; close(err) does not.
 *
 * An error sticks. Callbacks go up only from the loop: from the stream below, or from a job when news arises inside a call from above.
 */
#include "core/layer.h"

#include <errno.h>
#include <string.h>

#define LINGER_MS 5000 /* how long bytes already taken may need after close */
#define PULLS_MAX 32   /* reads in a row that bring no plaintext, before others get their turn */
#define PIECES    64

static struct layer *of(struct stream *s)
{
    return container_of(s, struct layer, s);
}

static const struct layer_ops *ops_of(const struct layer *y)
{
    return container_of(y->s.ops, const struct layer_ops, stream);
}

static bool failed(const struct layer *y)
{
    return y->end && y->end != -STREAM_EOF;
}

static int fail(struct layer *y, int err)
{
    if (!failed(y))
        y->end = err;
    return y->end;
}

/* Writing has failed. If that was below, there may be something to read yet. */
static int fail_out(struct layer *y, int err)
{
    return y->cut ? err : fail(y, err);
}

static void tell_later(struct layer *y, unsigned what)
{
    y->later |= what;
    loop_next(y->loop, &y->turn);
}

/* ---- writing ---- */

/* What an error from below means: a peer that went without having said a word did not break in the middle of something. */
static int meaning(const struct layer *y, ssize_t err)
{
    return (err == -ECONNRESET || err == -EPIPE) && !y->heard && !y->raw_in ? -ERR_EARLY : (int)err;
}

static int cut(struct layer *y, ssize_t err)
{
    y->cut = (int)err;
    return meaning(y, err);
}

/* Sends what is sealed. 1: nothing is left; 0: the stream below is full; -err. */
static int flush(struct layer *y)
{
    ssize_t w;

    if (y->cut)
        return meaning(y, y->cut);
    if (!y->n_out)
        return 1;
    if (y->full)
        return 0;
    w = stream_write(y->down, &(struct iovec){ y->out + y->out_at, y->n_out }, 1);
    if (w < 0)
        return cut(y, w);
    y->out_at += (uint32_t)w;
    y->n_out -= (uint32_t)w;
    if (y->n_out) {
        y->full = true;
        return 0;
    }
    buf_put(y->out);
    y->out = NULL;
    return 1;
}

/* A buffer whose free part begins where layer_free() says. */
static int want_out(struct layer *y)
{
    if (!y->out) {
        if (!(y->out = buf_get()))
            return -ENOMEM;
        y->out_at = y->n_out = 0;
    }
    if (y->out_at) {
        memmove(y->out, y->out + y->out_at, y->n_out);
        y->out_at = 0;
    }
    return 0;
}

int layer_put(struct layer *y, const void *b, size_t n)
{
    int r;

    if ((r = want_out(y)) < 0)
        return r;
    if (n > BUF_SIZE - y->n_out)
        return -ENOBUFS;
    if (n)
        memcpy(layer_free(y), b, n);
    layer_added(y, n);
    return 0;
}

static int write_raw(struct layer *y, struct cursor *from)
{
    struct iovec piece[PIECES];
    size_t len;
    ssize_t w = stream_write(y->down, piece, cursor_pieces(from, SIZE_MAX, piece, PIECES, &len));

    if (w < 0)
        return cut(y, w);
    cursor_skip(from, (size_t)w);
    y->full = (size_t)w < len;
    return !y->full;
}

/* Batch after batch. 1: all is below; 0: the stream below is full, or the protocol holds; -err. */
static int send(struct layer *y, struct cursor *from)
{
    int r;

    while ((r = flush(y)) > 0 && !y->hold && (y->head || from->left)) {
        if (y->raw_out && !y->head)
            r = write_raw(y, from);
        else if ((r = want_out(y)) == 0)
            r = ops_of(y)->seal(y, from);
        if (r < 0 || y->full)
            break;
    }
    return r;
}

ssize_t layer_write(struct stream *s, const struct iovec *iov, int n)
{
    struct layer *y = of(s);
    struct cursor from = cursor_from(iov, n);
    size_t total = from.left;
    ssize_t r;

    if (failed(y))
        return y->end;
    if (y->shut)
        return -EPIPE;
    if (y->hold) {
        y->waits_write |= total > 0;
        y->flush_asked |= !n;
        return 0;
    }
    if ((r = send(y, &from)) > 0 && !n && (r = stream_write(y->down, NULL, 0)) < 0)
        r = cut(y, r);
    if (y->hold)
        tell_later(y, STREAM_READABLE); /* what it waits for is to be read, whether anybody reads or not */
    if (r < 0)
        return fail_out(y, (int)r);
    if (total)
        y->waits_write = from.left > 0;
    return (ssize_t)(total - from.left);
}

/* ---- reading ---- */

static int restore_few(struct layer *y)
{
    if (!y->n_few)
        return 0;
    if (!(y->in = buf_get()))
        return -ENOMEM;
    memcpy(y->in, y->few, y->n_few);
    y->in_at = 0;
    y->n_in = y->n_few;
    y->n_few = 0;
    return 0;
}

/* Gives the buffer back when nothing, or next to nothing, is in it. */
static void settle(struct layer *y)
{
    if (!y->in || y->n_plain || y->n_in > LAYER_FEW)
        return;
    memcpy(y->few, y->in + y->in_at, y->n_in);
    y->n_few = (uint8_t)y->n_in;
    y->n_in = 0;
    buf_put(y->in);
    y->in = NULL;
}

static int eof(struct layer *y)
{
    if (ops_of(y)->eof)
        return ops_of(y)->eof(y);
    if (y->hold)
        return -ERR_EARLY;
    return y->n_in ? -ERR_PROTO : -STREAM_EOF;
}

/* Reads below behind what is there. Bytes, 0, or -err. */
static ssize_t pull(struct layer *y)
{
    ssize_t n;

    if (!y->in) {
        if (!(y->in = buf_get()))
            return -ENOMEM;
        y->in_at = 0;
    }
    if (y->in_at) {
        memmove(y->in, y->in + y->in_at, y->n_in);
        y->in_at = 0;
    }
    if (y->n_in == LAYER_IN_MAX)
        return -ERR_PROTO; /* no record is that long */
    n = stream_read(y->down, &(struct iovec){ y->in + y->n_in, LAYER_IN_MAX - y->n_in }, 1);
    if (n > 0) {
        y->heard = true;
        y->n_in += (uint32_t)n;
    }
    return n == -STREAM_EOF ? eof(y) : n < 0 ? meaning(y, n) : n;
}

static void take_plain(struct layer *y, struct cursor *to)
{
    size_t n;

    if (y->raw_in && !y->n_plain && y->n_in) {
        y->plain_at = y->in_at;
        y->n_plain = y->n_in;
        y->n_in = 0;
    }
    if (!y->n_plain)
        return;
    n = cursor_give(to, y->in + y->plain_at, y->n_plain);
    y->plain_at += (uint32_t)n;
    y->n_plain -= (uint32_t)n;
}

/* Opens what is there, as long as it gets on and somebody wants it. 0 or -err. */
static int digest(struct layer *y, struct cursor *to)
{
    int r = 1;

    while (r > 0) {
        take_plain(y, to);
        if (y->raw_in || y->n_plain || (!to->left && !y->hold))
            return 0;
        r = ops_of(y)->open(y, to);
    }
    return r;
}

/* What is there, then, if that was nothing, what reads below bring. 0 or -err. */
static int fill(struct layer *y, struct cursor *to)
{
    size_t room = to->left;
    ssize_t r;

    if ((r = restore_few(y)) < 0)
        return (int)r;
    for (int pulls = 0;; pulls++) {
        if ((r = digest(y, to)) < 0 || to->left < room || (!to->left && !y->hold))
            return (int)r;
        if (pulls == PULLS_MAX) {
            tell_later(y, STREAM_READABLE);
            return 0;
        }
        if ((r = pull(y)) <= 0)
            return (int)r;
    }
}

/* On hold, and writing has failed: the reason, as the peer has it if he said so. */
static int last_words(struct layer *y, struct cursor *to, int w)
{
    int r = fill(y, to);

    return r < 0 ? r : w;
}

/* fill, and what follows from it: the protocol may have to answer. An answer that cannot be sent is the next writer's problem: there may be
 * bytes to read yet. While the protocol is on hold there is no such writer. True: the protocol is open now. */
static bool advance(struct layer *y, struct cursor *to)
{
    bool held = y->hold;
    int r = fill(y, to), w = flush(y);

    if (held && r >= 0 && w < 0)
        r = last_words(y, to, w);
    settle(y);
    if (r < 0)
        fail(y, r);
    return held && !y->hold;
}

ssize_t layer_read(struct stream *s, const struct iovec *iov, int n)
{
    struct layer *y = of(s);
    struct cursor to = cursor_from(iov, n);
    size_t room = to.left;
    ssize_t r;

    if (y->end && !y->n_plain)
        return y->end;
    if (!room)
        return 0;
    if (y->raw_in && !y->n_plain && !y->n_in && !y->n_few) {
        if ((r = stream_read(y->down, iov, n)) == 0)
            r = meaning(y, y->cut);
        y->waits_read |= r == 0;
        return r;
    }
    if (y->end)
        take_plain(y, &to);
    else if (advance(y, &to))
        tell_later(y, STREAM_WRITABLE);
    if (to.left < room)
        return (ssize_t)(room - to.left);
    y->waits_read = true;
    return !y->end && y->cut ? fail(y, meaning(y, y->cut)) : y->end;
}

/* ---- the end ---- */

static void reap(struct job *j)
{
    struct layer *y = container_of(j, struct layer, reap);

    buf_put(y->in);
    buf_put(y->out);
    ops_of(y)->fini(y);
}

static void end(struct layer *y, int err)
{
    y->s.on_ready = NULL;
    y->closing = false;
    timer_cancel(&y->linger);
    job_cancel(&y->turn);
    y->down->on_ready = NULL;
    stream_close(y->down, err);
    loop_defer(y->loop, &y->reap);
}

/* What is owed behind the last byte: the protocol's head if nobody had bytes for it, its mark, FIN. 1: done; 0: later; -err. */
static int wind_up(struct layer *y)
{
    const struct layer_ops *o = ops_of(y);
    struct cursor none = { 0 };
    int r;

    if (y->hold)
        return 0;
    if ((r = send(y, &none)) <= 0)
        return r;
    if (!y->bye_done && (y->closing || o->half != LAYER_NOTHING)) {
        y->bye_done = true;
        if (o->bye && ((r = o->bye(y)) < 0 || (r = flush(y)) <= 0))
            return r;
    }
    if (!y->closing && o->half == LAYER_FIN && !y->fin_done) {
        y->fin_done = true;
        if ((r = stream_shutdown(y->down)) < 0)
            r = cut(y, r);
    }
    return r < 0 ? r : 1;
}

int layer_shutdown(struct stream *s)
{
    struct layer *y = of(s);
    int r;

    if (failed(y))
        return y->end;
    y->shut = true;
    r = wind_up(y);
    return r < 0 ? fail_out(y, r) : 0;
}

static void on_linger(struct timer *t)
{
    end(container_of(t, struct layer, linger), -ETIMEDOUT);
}

void layer_close(struct stream *s, int err)
{
    struct layer *y = of(s);
    int r;

    s->on_ready = NULL;
    if (err || y->hold || failed(y)) {
        end(y, err);
        return;
    }
    y->closing = true;
    y->head = false; /* nothing was said: nothing needs to be */
    if ((r = wind_up(y)) != 0) {
        end(y, r < 0 ? r : 0);
        return;
    }
    timer_set(y->loop, &y->linger, LINGER_MS);
}

static void go_on_closing(struct layer *y, unsigned what)
{
    int r = what & STREAM_FAILED ? -ECONNRESET : wind_up(y);

    if (r)
        end(y, r < 0 ? r : 0);
}

/* ---- news, from the stream below or from ourselves ---- */

/* There is room, or the protocol is open now. True: whoever writes may go on. */
static bool drained(struct layer *y)
{
    struct cursor none = { 0 };
    int r;

    if (failed(y))
        return false;
    if (y->shut && !y->hold)
        r = wind_up(y);
    else if (y->flush_asked && !y->hold)
        r = send(y, &none);
    else
        r = flush(y);
    if (r > 0)
        y->flush_asked = false;
    if (r < 0 && y->hold)
        fail(y, last_words(y, &none, r));
    else if (r < 0)
        fail_out(y, r);
    return (r > 0 || y->cut) && !y->hold;
}

static void news(struct layer *y, unsigned what)
{
    struct cursor none = { 0 };
    unsigned tell = what & STREAM_FAILED;
    int before = y->end;

    if (y->hold && (what & (STREAM_READABLE | STREAM_FAILED)) && !before && advance(y, &none))
        what |= STREAM_WRITABLE;
    if ((what & STREAM_WRITABLE) && drained(y) && y->waits_write) {
        y->waits_write = false;
        tell |= STREAM_WRITABLE;
    }
    if ((what & STREAM_READABLE) && y->waits_read) {
        y->waits_read = false;
        tell |= STREAM_READABLE;
    }
    if (failed(y) && !before)
        tell |= STREAM_FAILED;
    if (tell)
        stream_ready(&y->s, tell);
}

static void on_down(struct stream *down, unsigned what)
{
    struct layer *y = down->owner;

    if (what & STREAM_WRITABLE)
        y->full = false;
    if (y->closing)
        go_on_closing(y, what);
    else
        news(y, what);
}

static void on_turn(struct job *j)
{
    struct layer *y = container_of(j, struct layer, turn);
    unsigned what = y->later;

    y->later = 0;
    news(y, what);
}

void layer_init(struct layer *y, const struct layer_ops *ops, struct loop *l, struct stream *down)
{
    y->s.ops = &ops->stream;
    y->down = down;
    y->loop = l;
    y->turn.cb = on_turn;
    y->reap.cb = reap;
    y->linger.cb = on_linger;
    down->owner = y;
    down->on_ready = on_down;
}

void layer_start(struct layer *y)
{
    y->hold = y->waits_write = true;
    y->later = STREAM_READABLE;
    loop_defer(y->loop, &y->turn);
}

void layer_fail(struct layer *y, int err)
{
    unsigned what = STREAM_FAILED | (y->waits_read ? STREAM_READABLE : 0);

    if (failed(y) || y->closing)
        return;
    fail(y, err);
    y->waits_read = y->waits_write = false;
    stream_ready(&y->s, what);
}
