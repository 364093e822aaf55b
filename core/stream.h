/*
 * stream.h - the byte stream every protocol speaks
 *
 * Readable bytes are lent, never pushed; back-pressure is simply not reading. A stream has two ways to be read, and a
 * consumer may use either:
 *
 *   peek + consume   the stream lends pieces of its own memory (lwIP pbufs, plaintext of a record)
 *   read             the stream fills the caller's memory (a socket into a ring, a cipher into a ring)
 *
 * and two ways to be written:
 *
 *   write            the stream takes bytes out of the caller's pieces
 *   reserve + commit the stream lends its own free memory to be filled (lwIP's send ring)
 *
 * So a byte on its way from a socket into lwIP, or from lwIP into a socket, is never copied in between.
 *
 * Readiness is one-shot: on_ready(READABLE) is called once after a read or peek returned 0 and bytes (or EOF, or an
 * error) are there; on_ready(WRITABLE) once after a write or reserve fell short and there is room again. on_ready is
 * called by the loop only, never from inside a call on the same stream. A stream whose error nobody asked for
 * reports STREAM_FAILED; every later call on it returns that error. on_ready may be NULL: events are then not lost, the
 * next on_ready owner must try once by itself.
 *
 * A layer (ss, tls, ...) is a stream that owns the stream below it and closes it in its own close.
 */
#ifndef CORE_STREAM_H
#define CORE_STREAM_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "core/err.h"

enum { STREAM_READABLE = 1, STREAM_WRITABLE = 2, STREAM_FAILED = 4 };

struct stream;

struct stream_ops {
    const char *name; /* "lwip", "tcp", "ss" */

    /* Lends up to max pieces of readable bytes; returns how many, 0 = none now, -STREAM_EOF, or -err. The pieces stay
     * valid until consume, read or close; peeking again may lend the same. NULL: the stream only knows read. */
    int (*peek)(struct stream *s, struct iovec *iov, int max);
    /* To be told READABLE when there is more than peek lends now, or the end. Optional; for who looks at bytes before he takes them. */
    void (*more)(struct stream *s);
    /* Gives the first n lent bytes back. */
    void (*consume)(struct stream *s, size_t n);
    /* Fills the caller's pieces; bytes read (maybe fewer), 0 = none now, -STREAM_EOF, or -err. Required. */
    ssize_t (*read)(struct stream *s, const struct iovec *iov, int n);

    /* Takes bytes; returns how many (maybe fewer), 0 = full, or -err. write(s, NULL, 0) flushes a pending protocol
     * header (server-speaks-first). Required. */
    ssize_t (*write)(struct stream *s, const struct iovec *iov, int n);
    /* Lends up to max pieces of free memory; returns how many, 0 = full, or -err. Optional, with commit. */
    int (*reserve)(struct stream *s, struct iovec *iov, int max);
    /* The first n reserved bytes are filled: send them. The rest is given back, so n 0 only gives back. */
    void (*commit)(struct stream *s, size_t n);

    /* No more bytes from us: half-close after what was taken. 0 or -err. */
    int (*shutdown)(struct stream *s);
    /* Both ways, now; s is gone for the caller. err 0: in order, bytes already taken are still delivered; otherwise the
     * peer sees a reset where the transport has one. */
    void (*close)(struct stream *s, int err);

    /* For a stream that is held before its opening is answered (a SYN from the TUN; a CONNECT request). Optional both.
     * accept: the peer may talk now; idempotent; 0 or -err. refuse ends the stream like close and tells the peer why:
     * -ECONNREFUSED (RST), -ENETUNREACH, -EHOSTUNREACH, -EACCES, -ETIMEDOUT, -ERR_RULE (RST), -ERR_DROP (silence). */
    int (*accept)(struct stream *s);
    void (*refuse)(struct stream *s, int err);
};

struct stream {
    const struct stream_ops *ops;
    void (*on_ready)(struct stream *s, unsigned what);
    void *owner;
};

static inline int stream_peek(struct stream *s, struct iovec *iov, int max)
{
    return s->ops->peek(s, iov, max);
}
static inline void stream_more(struct stream *s)
{
    if (s->ops->more)
        s->ops->more(s);
}
static inline void stream_consume(struct stream *s, size_t n)
{
    s->ops->consume(s, n);
}
static inline ssize_t stream_read(struct stream *s, const struct iovec *iov, int n)
{
    return s->ops->read(s, iov, n);
}
static inline ssize_t stream_write(struct stream *s, const struct iovec *iov, int n)
{
    return s->ops->write(s, iov, n);
}
static inline int stream_shutdown(struct stream *s)
{
    return s->ops->shutdown(s);
}
static inline void stream_close(struct stream *s, int err)
{
    s->ops->close(s, err);
}
static inline int stream_accept(struct stream *s)
{
    return s->ops->accept ? s->ops->accept(s) : 0;
}
static inline void stream_refuse(struct stream *s, int err)
{
    if (s->ops->refuse)
        s->ops->refuse(s, err);
    else
        s->ops->close(s, err);
}

/* Tells the owner, if there is one. Only from the loop (a descriptor, timer or job callback). */
static inline void stream_ready(struct stream *s, unsigned what)
{
    if (s->on_ready)
        s->on_ready(s, what);
}

/* Advances an array of pieces by n bytes; returns the new count, *iov and the first piece are updated. */
int iov_skip(struct iovec **iov, int cnt, size_t n);
size_t iov_total(const struct iovec *iov, int cnt);
/* Copies between pieces; bytes copied. */
size_t iov_copy(const struct iovec *dst, int nd, const struct iovec *src, int ns);

/* A caller's pieces, being used up from the front. The pieces must live as long as the cursor. */
struct cursor {
    const struct iovec *iov;
    size_t off, left; /* into the first piece; bytes in all */
};

struct cursor cursor_from(const struct iovec *iov, int n);
/* Describes the next bytes, at most max of them in at most n pieces, without moving. Returns the number of pieces, *len their bytes. */
int cursor_pieces(const struct cursor *c, size_t max, struct iovec *out, int n, size_t *len);
/* Moves on by n <= left bytes. */
void cursor_skip(struct cursor *c, size_t n);
/* Copies out of the pieces (into them) and moves on; bytes copied: n or what was left. */
size_t cursor_take(struct cursor *c, void *out, size_t n);
size_t cursor_give(struct cursor *c, const void *in, size_t n);

#endif
