/*
 * dns_ways.h - ways out for name servers, played by a test: they connect straight to loopback, or refuse, or never answer, or ask for a
 * name first
 */
#ifndef TESTS_DNS_WAYS_H
#define TESTS_DNS_WAYS_H

#include "core/err.h"
#include "tests/unit/dns_world.h"

struct ways_world {
    struct dialer d;
    struct loop *loop;
    struct resolver *res; /* with lookup_first: whom to ask */
    const char *lookup_first;
    int refuse; /* dial() fails with this, from the loop */
    bool hang;  /* ... never comes to an end */
    unsigned n_dials, n_cancelled;
    char via[4096]; /* "Proxy; -; ..." */
    uint8_t depth;  /* of the last dial */
    char host[256]; /* that it was told; "" = none */
};

struct way {
    struct ways_world *w;
    struct dial *dial; /* NULL: cancelled */
    struct lookup lookup;
    struct io io;
    struct job job;
    bool looking;
    int err;
};

static inline void way_end(struct way *y, struct stream *s, int err)
{
    struct dial *d = y->dial;

    free(y);
    d->priv = NULL;
    d->done(d, s, err);
}

static inline void way_on_job(struct job *j)
{
    struct way *y = container_of(j, struct way, job);

    way_end(y, NULL, y->err);
}

static inline void way_on_io(struct io *io, uint32_t ready)
{
    struct way *y = container_of(io, struct way, io);
    int fd = io->fd, err = sock_error(fd);

    io_unwatch(io);
    if (err)
        close(fd);
    way_end(y, err ? NULL : sock_stream(y->w->loop, fd), err);
}

static inline void way_connect(struct way *y)
{
    int fd = sock_connect(&y->dial->to.at, NULL);

    y->io.cb = way_on_io;
    if (fd < 0 || io_watch(y->w->loop, &y->io, fd, IO_WRITE) < 0)
        abort();
}

static inline void way_on_lookup(struct lookup *l, int err)
{
    struct way *y = container_of(l, struct way, lookup);

    y->looking = false;
    if (err)
        way_end(y, NULL, err);
    else
        way_connect(y);
}

static inline int ways_dial(struct dialer *dl, const char *via, struct dial *d)
{
    struct ways_world *w = container_of(dl, struct ways_world, d);
    struct way *y = calloc(1, sizeof(*y));
    size_t at = strlen(w->via);
    int r;

    w->n_dials++;
    w->depth = d->meta->depth;
    snprintf(w->via + at, sizeof(w->via) - at, "%s%s", at ? "; " : "", via ? via : "-");
    snprintf(w->host, sizeof(w->host), "%s", d->to.host ? d->to.host : "");
    y->w = w;
    y->dial = d;
    y->job.cb = way_on_job;
    d->priv = y;
    if (w->hang)
        return 0;
    if (w->refuse) {
        y->err = w->refuse;
        loop_defer(w->loop, &y->job);
        return 0;
    }
    if (!w->lookup_first) {
        way_connect(y);
        return 0;
    }
    y->lookup = (struct lookup){ .host = w->lookup_first, .why = LOOKUP_SERVER, .depth = d->meta->depth, .done = way_on_lookup };
    if ((r = w->res->lookup(w->res, &y->lookup)) < 0) {
        free(y);
        d->priv = NULL;
        return r;
    }
    y->looking = true;
    return 0;
}

static inline void ways_cancel(struct dialer *dl, struct dial *d)
{
    struct ways_world *w = container_of(dl, struct ways_world, d);
    struct way *y = d->priv;

    w->n_cancelled++;
    if (!y)
        return;
    job_cancel(&y->job);
    if (y->looking)
        w->res->cancel(w->res, &y->lookup);
    if (y->io.handle) {
        int fd = y->io.fd;

        io_unwatch(&y->io);
        close(fd);
    }
    d->priv = NULL;
    free(y);
}

static inline void ways_open(struct ways_world *w, struct dns_world *dw)
{
    memset(w, 0, sizeof(*w));
    w->d = (struct dialer){ ways_dial, ways_cancel };
    w->loop = dw->loop;
    dw->opts.ways = &w->d;
}

#endif
