/*
 * outbound_fake.h - the stream below a layer, played by a test: hands out prepared bytes in prepared portions, takes as much as it is told to
 */
#ifndef TESTS_OUTBOUND_FAKE_H
#define TESTS_OUTBOUND_FAKE_H

#include <string.h>

#include "core/loop.h"
#include "core/stream.h"

#define FAKE_SIZE (1u << 20)

/* One at a time: the memory is shared. */
static uint8_t fake_memory[2][FAKE_SIZE];

struct fake {
    struct stream s;
    uint8_t *in, *out;
    size_t n_in, in_at, n_out;
    size_t portion; /* bytes a read gives at most; 0 = all */
    size_t room;    /* bytes that writes may still put */
    bool eof;       /* after in */
    unsigned writes, shutdowns;
    bool closed, short_write;
    int close_err;
};

static inline ssize_t fake_read(struct stream *s, const struct iovec *iov, int n)
{
    struct fake *f = container_of(s, struct fake, s);
    size_t have = f->n_in - f->in_at, got;

    if (f->portion && have > f->portion)
        have = f->portion;
    if (!have) {
        return f->eof ? -STREAM_EOF : 0;
    }
    got = iov_copy(iov, n, &(struct iovec){ f->in + f->in_at, have }, 1);
    f->in_at += got;
    return (ssize_t)got;
}

static inline ssize_t fake_write(struct stream *s, const struct iovec *iov, int n)
{
    struct fake *f = container_of(s, struct fake, s);
    size_t room = f->room < FAKE_SIZE - f->n_out ? f->room : FAKE_SIZE - f->n_out;
    size_t got = iov_copy(&(struct iovec){ f->out + f->n_out, room }, 1, iov, n);

    f->writes += n > 0; /* a flush writes nothing */
    f->n_out += got;
    f->room -= got;
    f->short_write = got < iov_total(iov, n);
    return (ssize_t)got;
}

static inline int fake_shutdown(struct stream *s)
{
    container_of(s, struct fake, s)->shutdowns++;
    return 0;
}

static inline void fake_close(struct stream *s, int err)
{
    struct fake *f = container_of(s, struct fake, s);

    f->closed = true;
    f->close_err = err;
}

static const struct stream_ops fake_ops = {
    .name = "fake", .read = fake_read, .write = fake_write, .shutdown = fake_shutdown, .close = fake_close,
};

static inline void fake_init(struct fake *f)
{
    *f = (struct fake){ .s.ops = &fake_ops,
                         .in = fake_memory[0], .out = fake_memory[1], .room = FAKE_SIZE };
}

static inline void fake_feed(struct fake *f, const void *b, size_t n)
{
    memcpy(f->in + f->n_in, b, n);
    f->n_in += n;
}

#endif
