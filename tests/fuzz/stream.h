/*
 * stream.h - the stream below a layer, played by a fuzz target: hands the input out in portions, takes and forgets what is written
 */
#ifndef FUZZ_STREAM_H
#define FUZZ_STREAM_H

#include <stdlib.h>
#include <string.h>

#include "core/layer.h"
#include "core/log.h"
#include "tests/fuzz/fuzz.h"

struct fuzz_down {
    struct stream s;
    const uint8_t *p, *end;
    size_t portion;  /* bytes a read gives at most */
    char first[512]; /* handed out before them */
    size_t first_at;
    void (*heard)(struct fuzz_down *d, const char *text, size_t len); /* of what is written, if anybody wants to know */
};

#define FUZZ_PIECES 128 /* at most, of a long input: how each byte may come alone is seen with short ones */

static struct loop *fuzz_loop;

static ssize_t fuzz_read(struct stream *s, const struct iovec *iov, int n)
{
    struct fuzz_down *d = container_of(s, struct fuzz_down, s);
    size_t have = (size_t)(d->end - d->p);

    if (d->first[d->first_at]) {
        have = iov_copy(iov, n, &(struct iovec){ d->first + d->first_at, strlen(d->first + d->first_at) }, 1);
        d->first_at += have;
        return (ssize_t)have;
    }
    if (!have)
        return -STREAM_EOF;
    have = iov_copy(iov, n, &(struct iovec){ (void *)d->p, have < d->portion ? have : d->portion }, 1);
    d->p += have;
    return (ssize_t)have;
}

static ssize_t fuzz_write(struct stream *s, const struct iovec *iov, int n)
{
    struct fuzz_down *d = container_of(s, struct fuzz_down, s);

    if (n && d->heard)
        d->heard(d, iov->iov_base, iov->iov_len);
    return (ssize_t)iov_total(iov, n);
}

static int fuzz_shutdown(struct stream *s)
{
    return 0;
}

static void fuzz_close(struct stream *s, int err)
{
}

static const struct stream_ops fuzz_stream_ops = {
    .name = "fuzz", .read = fuzz_read, .write = fuzz_write, .shutdown = fuzz_shutdown, .close = fuzz_close
};

/* The first byte chooses the portion: 1, 2, ... 64 (more of a long input), or all. */
static inline void fuzz_down_init(struct fuzz_down *d, const uint8_t *data, size_t size)
{
    *d = (struct fuzz_down){ .s.ops = &fuzz_stream_ops, .p = data, .end = data + size, .portion = SIZE_MAX };
    if (!size)
        return;
    if (*data < 64)
        d->portion = *data + 1u + size / FUZZ_PIECES;
    d->p++;
}

/* Reads a layer to its end in reads of changing size, then closes it; nothing of it is left. */
static inline void fuzz_drain(struct stream *s)
{
    static uint8_t buf[70000];
    size_t size = 1;
    ssize_t n;

    for (int turns = 0; turns < 4; turns++) { /* jobs: a handshake begins in one */
        while ((n = stream_read(s, &(struct iovec){ buf, size }, 1)) > 0)
            size = size * 5 % 65537 + 1;
        if (n < 0)
            break;
        loop_turn(fuzz_loop, 0);
    }
    stream_close(s, -ERR_CLOSED);
    loop_turn(fuzz_loop, 0);
}

static inline void fuzz_stream_init(void)
{
    log_threshold = LOG_SILENT;
    fuzz_loop = loop_new();
    if (!fuzz_loop)
        abort();
}

#endif
