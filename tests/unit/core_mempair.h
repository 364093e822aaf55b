/*
 * core_mempair.h - two streams in memory that are each other's far end, with a temper
 *
 *   a ──write──► ring of b ──read──► b          and the same from b to a
 *
 * A temper says how an end behaves towards its owner: short reads and writes, "none now" and "full" out of whim, an error after n bytes,
 * and which of the optional ways (peek, reserve) it offers. Readiness is told by loop_next jobs, so it always comes from the loop.
 *
 * The ends check their user: nothing after close, no more consumed or committed than was lent, on_ready one-shot.
 */
#ifndef TESTS_CORE_MEMPAIR_H
#define TESTS_CORE_MEMPAIR_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/loop.h"
#include "core/stream.h"

struct temper {
    size_t cap;       /* bytes that may wait at this end; 0 = 64 KiB */
    size_t read_max;  /* at most so many bytes a read or peek; 0 = all */
    size_t write_max; /* at most so many bytes a write or reserve; 0 = all */
    unsigned
        again_every; /* one call of k finds nothing, or no room, though there is (by dice: a fixed beat could repeat for ever); 0 = never */
    size_t read_fails_at;  /* after so many bytes; 0 = never */
    size_t write_fails_at; /* after so many bytes; 0 = never */
    int err;               /* with what */
    int shutdown_err, flush_err;
    bool peek, reserve; /* offers the optional way */
};

struct memend {
    struct stream s;
    struct memend *far;
    struct loop *loop;
    struct temper t;
    uint8_t *ring;
    size_t cap, at, len; /* what waits at this end */
    bool eof;            /* behind it: the far end has shut */
    int err;             /* the far end has reset */
    unsigned waits;      /* STREAM_READABLE | WRITABLE: to be told */
    struct job tell;
    bool told_failed, closed, shut;
    int close_err;
    uint32_t mood;
    size_t n_read, n_written;
    size_t lent_out, lent_in; /* reserved, peeked */
    unsigned flushes, writes, flushes_after_shut;
    size_t written_before_flush;
};

struct mempair {
    struct memend a, b;
};

/* xorshift: the same run every time */
static inline uint32_t dice(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static inline struct memend *mem_of(struct stream *s)
{
    return container_of(s, struct memend, s);
}

static inline void mem_tell_later(struct memend *e)
{
    loop_next(e->loop, &e->tell);
}

static inline void mem_tell(struct job *j)
{
    struct memend *e = container_of(j, struct memend, tell);
    unsigned what = 0;

    if (e->closed)
        return;
    if (e->len || e->eof || e->err)
        what |= STREAM_READABLE;
    if (e->far->closed || e->far->len < e->far->cap || e->err)
        what |= STREAM_WRITABLE;
    what &= e->waits;
    e->waits &= ~what;
    if (e->err && !what && !e->told_failed) {
        e->told_failed = true;
        what = STREAM_FAILED;
    }
    if (what)
        stream_ready(&e->s, what);
}

static inline bool mem_whim(struct memend *e)
{
    return e->t.again_every && dice(&e->mood) % e->t.again_every == 0;
}

static inline size_t mem_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Bytes that may be read now, or 0, -STREAM_EOF, -err. */
static inline ssize_t mem_can_read(struct memend *e)
{
    size_t n = e->len;

    assert_false(e->closed);
    assert_int_equal(e->lent_in, 0);
    if (e->t.read_fails_at && e->n_read >= e->t.read_fails_at)
        return e->t.err;
    if (e->err)
        return e->err;
    if (!n && e->eof)
        return -STREAM_EOF;
    if (!n || mem_whim(e)) {
        e->waits |= STREAM_READABLE;
        if (n)
            mem_tell_later(e);
        return 0;
    }
    if (e->t.read_max)
        n = mem_min(n, e->t.read_max);
    if (e->t.read_fails_at)
        n = mem_min(n, e->t.read_fails_at - e->n_read);
    return (ssize_t)n;
}

/* Room at the far end, or 0, -err. */
static inline ssize_t mem_can_write(struct memend *e)
{
    size_t n = e->far->cap - e->far->len;

    assert_false(e->closed);
    assert_int_equal(e->lent_out, 0);
    if (e->t.write_fails_at && e->n_written >= e->t.write_fails_at)
        return e->t.err;
    if (e->err)
        return e->err;
    if (e->shut || e->far->closed)
        return -EPIPE;
    if (!n || mem_whim(e)) {
        e->waits |= STREAM_WRITABLE;
        if (n)
            mem_tell_later(e);
        return 0;
    }
    if (e->t.write_max)
        n = mem_min(n, e->t.write_max);
    if (e->t.write_fails_at)
        n = mem_min(n, e->t.write_fails_at - e->n_written);
    return (ssize_t)n;
}

/* A stretch of a ring as at most two pieces. */
static inline int mem_pieces(struct memend *e, size_t at, size_t n, struct iovec *iov)
{
    size_t first;

    at %= e->cap;
    first = mem_min(n, e->cap - at);
    iov[0] = (struct iovec){ e->ring + at, first };
    iov[1] = (struct iovec){ e->ring, n - first };
    return n - first ? 2 : 1;
}

static inline void mem_eat(struct memend *e, size_t n)
{
    assert_true(n <= e->len);
    e->at = (e->at + n) % e->cap;
    e->len -= n;
    e->n_read += n;
    if (n && e->far->waits & STREAM_WRITABLE)
        mem_tell_later(e->far);
}

static inline void mem_add(struct memend *e, size_t n)
{
    e->far->len += n;
    e->n_written += n;
    if (n && e->far->waits & STREAM_READABLE)
        mem_tell_later(e->far);
}

static inline int mem_peek(struct stream *s, struct iovec *iov, int max)
{
    struct memend *e = mem_of(s);
    ssize_t n;

    e->lent_in = 0; /* peeking again lends the same */
    if ((n = mem_can_read(e)) <= 0)
        return (int)n;
    assert_true(max >= 2);
    e->lent_in = (size_t)n;
    return mem_pieces(e, e->at, (size_t)n, iov);
}

static inline void mem_consume(struct stream *s, size_t n)
{
    struct memend *e = mem_of(s);

    assert_true(n <= e->lent_in);
    e->lent_in = 0;
    mem_eat(e, n);
}

static inline ssize_t mem_read(struct stream *s, const struct iovec *iov, int cnt)
{
    struct memend *e = mem_of(s);
    struct iovec from[2];
    ssize_t n;

    e->lent_in = 0;
    if ((n = mem_can_read(e)) <= 0)
        return n;
    n = (ssize_t)iov_copy(iov, cnt, from, mem_pieces(e, e->at, (size_t)n, from));
    mem_eat(e, (size_t)n);
    return n;
}

static inline ssize_t mem_write(struct stream *s, const struct iovec *iov, int cnt)
{
    struct memend *e = mem_of(s);
    struct iovec to[2];
    size_t want = iov_total(iov, cnt);
    ssize_t n;

    if (!cnt) {
        assert_false(e->closed);
        e->flushes++;
        e->written_before_flush = e->n_written;
        e->flushes_after_shut += e->shut;
        return e->shut ? -EPIPE : e->t.flush_err;
    }
    e->writes++;
    if ((n = mem_can_write(e)) <= 0)
        return n;
    n = (ssize_t)iov_copy(to, mem_pieces(e->far, e->far->at + e->far->len, (size_t)n, to), iov, cnt);
    mem_add(e, (size_t)n);
    if ((size_t)n < want) {
        e->waits |= STREAM_WRITABLE;
        mem_tell_later(e);
    }
    return n;
}

static inline int mem_reserve(struct stream *s, struct iovec *iov, int max)
{
    struct memend *e = mem_of(s);
    ssize_t n;

    e->lent_out = 0; /* reserving again lends the same */
    if ((n = mem_can_write(e)) <= 0)
        return (int)n;
    assert_true(max >= 2);
    e->lent_out = (size_t)n;
    return mem_pieces(e->far, e->far->at + e->far->len, (size_t)n, iov);
}

static inline void mem_commit(struct stream *s, size_t n)
{
    struct memend *e = mem_of(s);

    assert_true(n <= e->lent_out);
    e->lent_out = 0;
    mem_add(e, n);
}

static inline int mem_shutdown(struct stream *s)
{
    struct memend *e = mem_of(s);

    assert_false(e->closed);
    if (e->err || e->t.shutdown_err)
        return e->err ? e->err : e->t.shutdown_err;
    e->shut = e->far->eof = true;
    mem_tell_later(e->far);
    return 0;
}

static inline void mem_close(struct stream *s, int err)
{
    struct memend *e = mem_of(s);

    assert_false(e->closed);
    e->closed = true;
    e->close_err = err;
    e->s.on_ready = NULL;
    e->far->eof = true;
    if (err)
        e->far->err = -ECONNRESET;
    mem_tell_later(e->far);
}

#define MEM_OPS(p, c, r, m)                                                                                                                \
    {                                                                                                                                      \
        .name = "mem", .peek = p, .consume = c, .read = mem_read, .write = mem_write, .reserve = r, .commit = m, .shutdown = mem_shutdown, \
        .close = mem_close                                                                                                                 \
    }
static const struct stream_ops mem_ops[2][2] = {
    { MEM_OPS(NULL, NULL, NULL, NULL), MEM_OPS(NULL, NULL, mem_reserve, mem_commit) },
    { MEM_OPS(mem_peek, mem_consume, NULL, NULL), MEM_OPS(mem_peek, mem_consume, mem_reserve, mem_commit) },
};

static inline void mem_end_init(struct memend *e, struct memend *far, struct loop *l, const struct temper *t)
{
    *e = (struct memend){ .far = far, .loop = l, .tell.cb = mem_tell, .mood = 1 };
    if (t)
        e->t = *t;
    e->cap = e->t.cap ? e->t.cap : 65536;
    e->ring = malloc(e->cap);
    assert_non_null(e->ring);
    e->s.ops = &mem_ops[e->t.peek][e->t.reserve];
}

/* b gets the temper, a is patient. (In relay tests a is the application, b what the relay sees.) */
static inline struct mempair *mempair_new(struct loop *l, const struct temper *t)
{
    struct mempair *p = malloc(sizeof(*p));

    assert_non_null(p);
    mem_end_init(&p->a, &p->b, l, NULL);
    mem_end_init(&p->b, &p->a, l, t);
    return p;
}

static inline void mempair_free(struct mempair *p)
{
    job_cancel(&p->a.tell);
    job_cancel(&p->b.tell);
    free(p->a.ring);
    free(p->b.ring);
    free(p);
}

/* ---- bytes that know their place ---- */

static inline uint8_t pattern_at(uint32_t seed, size_t i)
{
    uint32_t x = seed + (uint32_t)i * 2654435761u;

    return (uint8_t)(x >> 24 ^ x >> 11);
}

struct pattern {
    uint32_t seed;
    size_t at;
};

static inline void pattern_fill(const struct pattern *p, uint8_t *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = pattern_at(p->seed, p->at + i);
}

static inline void pattern_check(struct pattern *p, const uint8_t *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (buf[i] != pattern_at(p->seed, p->at + i))
            fail_msg("byte %zu is wrong", p->at + i);
    p->at += n;
}

#endif
