/*
 * core_talker.h - whoever uses a stream: sends a pattern, checks another, acts only when told to
 *
 * It writes and reads in pieces of every size until the stream says "full" or "none now", and then waits for on_ready, so an event that a
 * stream forgets to tell ends the test.
 */
#ifndef TESTS_CORE_TALKER_H
#define TESTS_CORE_TALKER_H

#include "core_mempair.h"

#define TALK_PIECE 40000

struct talker {
    struct stream *s;
    struct pattern out, in;
    size_t send; /* bytes to send in all */
    bool finish; /* shut down after that */
    size_t max;  /* bytes of one call at most; 0 = TALK_PIECE */
    bool quiet;  /* does not read */
    bool shut, eof, opened;
    int err;
    unsigned n_ready;
    uint32_t mood;
};

static inline size_t talk_size(struct talker *t)
{
    size_t max = t->max ? t->max : TALK_PIECE, d = dice(&t->mood);

    return 1 + (d % 4 ? d % 997 % max : d % max);
}

static inline void talk_fail(struct talker *t, ssize_t r)
{
    if (!t->err)
        t->err = (int)r;
}

static inline void talk_out(struct talker *t)
{
    static uint8_t buf[TALK_PIECE];

    while (!t->err && t->out.at < t->send) {
        size_t n = mem_min(talk_size(t), t->send - t->out.at), half = n / 3;
        struct iovec iov[3] = { { buf, half }, { buf, 0 }, { buf + half, n - half } };
        ssize_t w;

        pattern_fill(&t->out, buf, n);
        if ((w = stream_write(t->s, iov, 3)) < 0) {
            talk_fail(t, w);
            return;
        }
        assert_true((size_t)w <= n);
        t->out.at += (size_t)w;
        if ((size_t)w < n)
            return;
    }
    if (!t->err && t->finish && !t->shut) {
        int r;

        t->shut = true;
        if ((r = stream_shutdown(t->s)) < 0)
            talk_fail(t, r);
    }
}

static inline void talk_in(struct talker *t)
{
    static uint8_t buf[TALK_PIECE];

    while (!t->err && !t->eof && !t->quiet) {
        size_t n = talk_size(t), half = n / 2;
        struct iovec iov[2] = { { buf, half }, { buf + half, n - half } };
        ssize_t r = stream_read(t->s, iov, 2);

        if (r == 0)
            return;
        if (r == -STREAM_EOF)
            t->eof = true;
        else if (r < 0)
            talk_fail(t, r);
        else
            pattern_check(&t->in, buf, (size_t)r);
    }
}

static inline void talk_ready(struct stream *s, unsigned what)
{
    struct talker *t = s->owner;

    t->n_ready++;
    t->opened |= (what & STREAM_WRITABLE) != 0;
    if (what & (STREAM_WRITABLE | STREAM_FAILED))
        talk_out(t);
    if (what & (STREAM_READABLE | STREAM_FAILED))
        talk_in(t);
}

/* Takes the stream as its own for now. seed: what it sends; far: what its far end sends. */
static inline void talk_init(struct talker *t, struct stream *s, uint32_t seed, uint32_t far, size_t send)
{
    *t = (struct talker){ .s = s, .out.seed = seed, .in.seed = far, .send = send, .mood = seed * 2654435761u | 1 };
    s->owner = t;
    s->on_ready = talk_ready;
}

static inline void talk_start(struct talker *t)
{
    talk_out(t);
    talk_in(t);
}

/* Turns until both have what the other sent (and EOF where the other finishes), or one fails. */
static inline bool talk_through(struct loop *l, struct talker *a, struct talker *b)
{
    for (int i = 0; i < 200000; i++) {
        if (a->err || b->err || (a->in.at == b->send && b->in.at == a->send && a->eof == b->finish && b->eof == a->finish))
            return !a->err && !b->err;
        loop_turn(l, 0);
    }
    return false;
}

#endif
