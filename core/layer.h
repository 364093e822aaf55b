/*
 * layer.h - what every stream on top of a stream shares
 *
 *   caller's pieces ──seal──► out ──► stream below        out: one batch that is sealed and not yet taken
 *   caller's pieces ◄──open── in  ◄── stream below        in:  wire bytes not yet opened, and plaintext not yet read
 *
 * A protocol says how its bytes look in a few functions that never wait and know no loop. Readiness, back-pressure, half-close, the time
 * that bytes already taken may need after close, and memory are the same for all and live here: a buffer is pooled and held only while
 * something is in it, so an idle layer has none.
 *
 * When the stream below takes no more bytes, a write says why, but reads go on: the peer may have said its reason, or its answer, before it
 * hung up. The error is the reader's, too, once nothing more is there.
 *
 * A layer that must talk first (a handshake) is on hold: it takes no bytes, reads by itself, and says WRITABLE once it is open or FAILED
 * when it will not be; any later call then returns the error. -ERR_EARLY: the peer hung up, or reset the
 * connection, without a word.
 */
#ifndef CORE_LAYER_H
#define CORE_LAYER_H

#include <stdbool.h>

#include "core/loop.h"
#include "core/pool.h"
#include "core/stream.h"

#define LAYER_FEW     72   /* bytes of a partial record that wait without a buffer */
#define LAYER_RESERVE 1024 /* of out: room that seal leaves for what open and bye have to say */
#define LAYER_IN_MAX  (BUF_SIZE + BUF_EXTRA)

struct layer;

/* What half-closing does: the end mark and FIN below; the end mark only (it tells the peer, or the peer takes FIN for the end of both
 * ways); nothing (the protocol has no such thing: the mark comes with close). */
enum layer_half { LAYER_FIN, LAYER_BYE, LAYER_NOTHING };

struct layer_ops {
    struct stream_ops stream; /* LAYER_STREAM("ss") */
    enum layer_half half;
    /* Takes bytes out of `from` and adds wire bytes to out, as long as there is layer_room(). With y->head set it adds, and clears, what
     * must go first, even when `from` is empty. It must get on, or set hold. 0 or -err. */
    int (*seal)(struct layer *y, struct cursor *from);
    /* Takes wire bytes (layer_wire(), layer_eat()) and gives plaintext: into `to`, or left in place by layer_lend(). `to` is empty while on
     * hold. 1: it got on; 0: it needs more bytes; -STREAM_EOF; -err. */
    int (*open)(struct layer *y, struct cursor *to);
    /* Adds the mark that ends our direction (layer_put()). 0 or -err. Optional. */
    int (*bye)(struct layer *y);
    /* The stream below has ended, n_in unopened bytes are left: -STREAM_EOF if that is in order. Optional: no bytes left is in order. */
    int (*eof)(struct layer *y);
    /* Wipes and frees. */
    void (*fini)(struct layer *y);
};

/* Embedded as the first member of the protocol's struct, which is zeroed when made. */
struct layer {
    struct stream s;
    struct stream *down; /* owns */
    struct loop *loop;
    int end;                    /* sticks: -STREAM_EOF or -err, behind plaintext that is still there */
    int cut;                    /* sticks: -err, why the stream below takes no more */
    uint8_t *out, *in;          /* pooled */
    uint32_t out_at, n_out;     /* sealed, not yet taken below */
    uint32_t in_at, n_in;       /* read below, not yet opened */
    uint32_t plain_at, n_plain; /* opened in place, not yet read */
    uint8_t few[LAYER_FEW], n_few;
    bool head;                     /* set by the protocol: something must go first */
    bool hold;                     /* by the protocol: nothing can be sealed now */
    bool raw_in, raw_out;          /* by the protocol: from now on bytes go through unchanged */
    bool heard;                    /* the peer has sent something */
    bool waits_read, waits_write;  /* somebody is to be told */
    bool full;                     /* the stream below said so and has not called back */
    bool flush_asked;              /* while on hold */
    bool shut, bye_done, fin_done; /* half-close: asked for, mark made, passed on */
    bool closing;
    unsigned later; /* news for the next turn */
    struct job turn, reap;
    struct timer linger;
};

#define LAYER_STREAM(name_)                                                                                                                \
    {                                                                                                                                      \
        .name = name_, .read = layer_read, .write = layer_write, .shutdown = layer_shutdown, .close = layer_close                          \
    }

/* Takes `down` over. y->head, hold and so on may be set before or after. */
void layer_init(struct layer *y, const struct layer_ops *ops, struct loop *l, struct stream *down);
/* For a layer that talks first: sets hold; open() is called at the end of the turn, without a byte, to begin. */
void layer_start(struct layer *y);
/* From a timer of the protocol: it is over, and whoever has the stream is told. Nothing, once it is over anyway. */
void layer_fail(struct layer *y, int err);

/* --- for the protocol's functions --- */

static inline size_t layer_room(const struct layer *y)
{
    return BUF_SIZE - LAYER_RESERVE > y->n_out ? BUF_SIZE - LAYER_RESERVE - y->n_out : 0;
}
/* Where seal writes; layer_added() says how much it wrote. Only while layer_room() allows it. */
static inline uint8_t *layer_free(const struct layer *y)
{
    return y->out + y->out_at + y->n_out;
}
static inline void layer_added(struct layer *y, size_t n)
{
    y->n_out += (uint32_t)n;
}
/* Adds bytes from anywhere: open, bye. 0, -ENOMEM, or -ENOBUFS when they do not fit. n 0: only makes layer_free() good for LAYER_RESERVE
 * bytes (in bye). */
int layer_put(struct layer *y, const void *b, size_t n);

/* The n_in wire bytes. */
static inline uint8_t *layer_wire(struct layer *y)
{
    return y->in ? y->in + y->in_at : y->few;
}
static inline void layer_eat(struct layer *y, size_t n)
{
    y->in_at += (uint32_t)n;
    y->n_in -= (uint32_t)n;
}
/* n bytes at `at`, which lie in the eaten part of in, are plaintext. Nothing may be lent already. */
static inline void layer_lend(struct layer *y, const uint8_t *at, size_t n)
{
    y->plain_at = (uint32_t)(at - y->in);
    y->n_plain = (uint32_t)n;
}

ssize_t layer_read(struct stream *s, const struct iovec *iov, int n);
ssize_t layer_write(struct stream *s, const struct iovec *iov, int n);
int layer_shutdown(struct stream *s);
void layer_close(struct stream *s, int err);

#endif
