/*
 * relay.c - pumps two streams into each other
 *
 * Each direction runs on its own:
 *
 *   from ──► to     read into to's reserved memory        socket -> lwIP's ring, cipher -> ring
 *                   write of from's lent pieces           lwIP's packets -> socket, -> cipher
 *                   read and write through a buffer       anything -> anything
 *
 * and stops when from has nothing, to is full, or the budget of the turn is used up (it then goes on in the next turn, after the others).
 * EOF is passed on as shutdown once everything was taken; the second EOF ends the relay. So does an error in reading. An error in writing ends
 * its direction only, and the relay as soon as the other one has nothing: a server that answers "too large" and hangs up is understood.
 *
 * A write that took less than it was given has found `to` full (stream.h: it will say WRITABLE), so nobody asks again. What `to` lent and
 * `from` had no bytes for is given back at once.
 *
 * The buffer is held only while `to` is full; an idle relay holds nothing.
 */
#include "core/relay.h"

#include <errno.h>
#include <string.h>

#include "core/pool.h"

#define PIECES 64

static void end(struct relay *r, int err)
{
    if (!r->running)
        return;
    r->running = false;
    r->err = err;
    loop_defer(r->loop, &r->end);
}

static void wait_for_other_half(struct relay *r)
{
    r->half_bytes = r->up.bytes + r->down.bytes;
    timer_set(r->loop, &r->half, RELAY_HALF_CLOSED_MS);
}

/* What one step of a direction came to. */
enum step { STEP_MOVED, STEP_NONE, STEP_FULL, STEP_EOF, STEP_FAILED };

/* A read that gave no bytes. */
static enum step unread(struct relay *r, ssize_t n)
{
    if (n == 0)
        return STEP_NONE;
    if (n == -STREAM_EOF)
        return STEP_EOF;
    end(r, (int)n);
    return STEP_FAILED;
}

static void cut_off(struct relay *r, struct relay_dir *d, int err)
{
    d->cut = err;
    loop_next(r->loop, &r->again); /* for the other direction */
    wait_for_other_half(r);
}

/* A write that took no bytes. */
static enum step unwritten(struct relay *r, struct relay_dir *d, ssize_t n)
{
    if (n == 0)
        return STEP_FULL;
    cut_off(r, d, n == -STREAM_EOF ? -EPIPE : (int)n);
    return STEP_FAILED;
}

/* Bytes that the writer did not take last time. */
static enum step write_kept(struct relay *r, struct relay_dir *d)
{
    struct iovec iov = { d->keep + d->keep_off, d->keep_len };
    ssize_t n = stream_write(d->to, &iov, 1);

    if (n <= 0)
        return unwritten(r, d, n);
    d->keep_off += (uint32_t)n;
    d->keep_len -= (uint32_t)n;
    if (d->keep_len)
        return STEP_FULL;
    buf_put(d->keep);
    d->keep = NULL;
    return STEP_MOVED;
}

static enum step into_reserved(struct relay *r, struct relay_dir *d, size_t *moved)
{
    struct iovec iov[4];
    int pieces = d->to->ops->reserve(d->to, iov, 4);
    ssize_t n;

    if (pieces <= 0)
        return unwritten(r, d, pieces);
    n = stream_read(d->from, iov, pieces);
    d->to->ops->commit(d->to, n > 0 ? (size_t)n : 0);
    if (n <= 0)
        return unread(r, n);
    *moved = (size_t)n;
    return STEP_MOVED;
}

static enum step from_lent(struct relay *r, struct relay_dir *d, size_t *moved)
{
    struct iovec iov[PIECES];
    int pieces = stream_peek(d->from, iov, PIECES);
    bool full;
    ssize_t n;

    if (pieces <= 0)
        return unread(r, pieces);
    if ((n = stream_write(d->to, iov, pieces)) <= 0)
        return unwritten(r, d, n);
    *moved = (size_t)n;
    full = (size_t)n < iov_total(iov, pieces);
    stream_consume(d->from, (size_t)n);
    return full ? STEP_FULL : STEP_MOVED;
}

static enum step through_buffer(struct relay *r, struct relay_dir *d, size_t *moved)
{
    uint8_t *b = buf_get();
    ssize_t n, w;

    if (!b)
        return unread(r, -ENOMEM);
    if ((n = stream_read(d->from, &(struct iovec){ b, BUF_SIZE }, 1)) <= 0) {
        buf_put(b);
        return unread(r, n);
    }
    *moved = (size_t)n;
    w = stream_write(d->to, &(struct iovec){ b, (size_t)n }, 1);
    if (w == n || w < 0) {
        buf_put(b);
        return w < 0 ? unwritten(r, d, w) : STEP_MOVED;
    }
    d->keep = b;
    d->keep_off = (uint32_t)w;
    d->keep_len = (uint32_t)(n - w);
    return STEP_FULL;
}

static enum step step(struct relay *r, struct relay_dir *d, size_t *moved)
{
    *moved = 0;
    if (d->keep)
        return write_kept(r, d);
    if (d->eof)
        return STEP_EOF;
    if (d->to->ops->reserve)
        return into_reserved(r, d, moved);
    if (d->from->ops->peek)
        return from_lent(r, d, moved);
    return through_buffer(r, d, moved);
}

static void pass_eof(struct relay *r, struct relay_dir *d)
{
    int e;

    d->eof = true;
    if (d->shut)
        return;
    d->shut = true;
    if ((e = stream_shutdown(d->to)) < 0)
        cut_off(r, d, e);
    else if (r->up.shut && r->down.shut)
        end(r, 0);
    else
        wait_for_other_half(r);
}

static void pump(struct relay *r, struct relay_dir *d)
{
    const struct relay_dir *back = d == &r->up ? &r->down : &r->up;
    size_t total = 0, moved;
    enum step s = STEP_MOVED;

    if (d->cut)
        return;
    while (r->running && s == STEP_MOVED && total < RELAY_BUDGET) {
        s = step(r, d, &moved);
        total += moved;
    }
    d->bytes += total;
    loop_moved(r->loop, total);
    if (total && r->progress)
        r->progress(r, d == &r->up ? (unsigned)total : 0, d == &r->down ? (unsigned)total : 0);
    if (!r->running)
        return;
    if (back->cut && (s == STEP_NONE || s == STEP_EOF || s == STEP_FAILED))
        end(r, back->cut);
    else if (s == STEP_EOF)
        pass_eof(r, d);
    else if (s == STEP_MOVED)
        loop_next(r->loop, &r->again);
}

static void on_again(struct job *j)
{
    struct relay *r = container_of(j, struct relay, again);

    pump(r, &r->up);
    if (r->running)
        pump(r, &r->down);
}

static void on_ready(struct relay *r, unsigned what, struct relay_dir *out, struct relay_dir *in)
{
    if (!r->running)
        return;
    if (what & (STREAM_READABLE | STREAM_FAILED))
        pump(r, out);
    if (r->running && (what & (STREAM_WRITABLE | STREAM_FAILED)))
        pump(r, in);
    if (what & STREAM_FAILED)
        end(r, -ECONNRESET); /* unless a pump met the true reason */
}

static void on_local(struct stream *s, unsigned what)
{
    struct relay *r = s->owner;

    on_ready(r, what, &r->up, &r->down);
}

static void on_remote(struct stream *s, unsigned what)
{
    struct relay *r = s->owner;

    on_ready(r, what, &r->down, &r->up);
}

static void on_half(struct timer *t)
{
    struct relay *r = container_of(t, struct relay, half);

    if (r->up.bytes + r->down.bytes == r->half_bytes)
        end(r, -ETIMEDOUT);
    else
        wait_for_other_half(r);
}

static void on_end(struct job *j)
{
    struct relay *r = container_of(j, struct relay, end);

    relay_stop(r);
    r->done(r, r->err);
}

/* The first turn: client bytes that are there ride with the protocol header, then the header goes in any case (a shutdown took it too). */
static void on_first(struct job *j)
{
    struct relay *r = container_of(j, struct relay, first);
    ssize_t n;

    pump(r, &r->up);
    if (r->running && !r->up.shut && !r->up.cut && (n = stream_write(r->up.to, NULL, 0)) < 0)
        cut_off(r, &r->up, (int)n);
    if (r->running)
        pump(r, &r->down);
}

void relay_start(struct relay *r, struct loop *l, struct stream *local, struct stream *remote, void (*done)(struct relay *, int))
{
    r->loop = l;
    r->up = (struct relay_dir){ .from = local, .to = remote };
    r->down = (struct relay_dir){ .from = remote, .to = local };
    r->done = done;
    r->running = true;
    r->err = 0;
    r->half.cb = on_half;
    r->again.cb = on_again;
    r->end.cb = on_end;
    r->first.cb = on_first;
    local->owner = remote->owner = r;
    local->on_ready = on_local;
    remote->on_ready = on_remote;
    loop_defer(l, &r->first);
}

void relay_stop(struct relay *r)
{
    r->running = false;
    timer_cancel(&r->half);
    job_cancel(&r->again);
    job_cancel(&r->end);
    job_cancel(&r->first);
    if (r->up.keep)
        buf_put(r->up.keep);
    if (r->down.keep)
        buf_put(r->down.keep);
    r->up.keep = r->down.keep = NULL;
    if (!r->up.from)
        return;
    r->up.from->on_ready = NULL;
    r->down.from->on_ready = NULL;
    r->up.from = r->down.from = NULL; /* the owner closes them now; stopping twice is harmless */
}
