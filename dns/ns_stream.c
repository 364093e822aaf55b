/*
 * ns_stream.c - a name server asked over a stream (RFC 7766, RFC 7858): TCP by another way, or TLS
 *
 *   [length | message] [length | message] ... ──►      answers in any order, told apart by an id of ours
 *
 * TLS hides who is asked about only if lengths tell nothing, so queries are padded to a multiple of 128 (RFC 8467). A connection holds
 * buffers only while bytes are in them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "dns/ns_conn.h"

#define READS_MAX 64 /* of one connection in a turn */

struct stream_conn {
    struct conn c;
    struct stream *s;
    uint8_t *in, *out; /* owns */
    size_t in_len, in_cap, out_len, out_cap;
    struct job more; /* it has more to read than one turn may take */
};

static struct stream_conn *of(const struct conn *c)
{
    return container_of(c, struct stream_conn, c);
}

/* ---- writing ---- */

static void conn_write(struct stream_conn *k)
{
    while (k->out_len) {
        ssize_t n = stream_write(k->s, &(struct iovec){ k->out, k->out_len }, 1);

        if (n <= 0) {
            if (n < 0)
                conn_fail(&k->c, (int)n);
            return;
        }
        k->out_len -= (size_t)n;
        memmove(k->out, k->out + n, k->out_len);
    }
    free(k->out);
    k->out = NULL;
    k->out_cap = 0;
}

static struct turn *turn_of(const struct conn *c, uint16_t id)
{
    list_each_safe (n, tmp, &c->turns) {
        struct turn *t = container_of(n, struct turn, node);

        if (t->id == id)
            return t;
    }
    return NULL;
}

static uint16_t fresh_id(const struct conn *c)
{
    uint16_t id;

    do
        random_bytes(&id, sizeof(id));
    while (!id || turn_of(c, id)); /* one that is about to be sent has 0 */
    return id;
}

static int stream_put(struct conn *c, struct turn *t)
{
    struct stream_conn *k = of(c);
    uint8_t *at = conn_room(&k->out, k->out_len, &k->out_cap, 2 + DNS_QUERY_MAX);
    size_t len;

    if (!at)
        return -ENOMEM;
    t->id = 0;
    t->id = fresh_id(c);
    len = ns_query(t->q, t->id, c->cs->s.spec.kind == NS_TLS ? 128 : 0, at + 2);
    put16(at, (unsigned)len);
    k->out_len += 2 + len;
    return 0;
}

static void stream_flush(struct conn *c)
{
    conn_write(of(c));
}

/* An answer that comes is nobody's. */
static void stream_drop(struct turn *t)
{
}

/* ---- reading ---- */

static void take_messages(struct stream_conn *k)
{
    size_t at = 0;

    while (k->in_len - at >= 2 && k->in_len - at >= 2u + get16(k->in + at)) {
        uint8_t *msg = k->in + at + 2;
        size_t len = get16(k->in + at);
        struct turn *t = len >= DNS_HEADER ? turn_of(&k->c, get16(msg)) : NULL;

        at += 2 + len;
        if (t) /* else nobody waits for it any more */
            turn_end(t, 0, msg, len);
    }
    k->in_len -= at;
    memmove(k->in, k->in + at, k->in_len);
}

static void conn_read(struct stream_conn *k)
{
    struct loop *l = k->c.cs->s.d->loop;
    ssize_t n = 1;

    for (int i = 0; i < READS_MAX && n > 0; i++) {
        size_t want = k->in_len >= 2 ? 2u + get16(k->in) - k->in_len : 1024;
        uint8_t *at = conn_room(&k->in, k->in_len, &k->in_cap, want);

        n = at ? stream_read(k->s, &(struct iovec){ at, want }, 1) : -ENOMEM;
        if (n > 0) {
            k->in_len += (size_t)n;
            k->c.heard = true;
            k->c.since_ms = loop_now(l);
            take_messages(k);
        }
    }
    if (n > 0)
        loop_next(l, &k->more);
    else if (n < 0)
        conn_fail(&k->c, n == -STREAM_EOF ? 0 : (int)n);
    if (!k->in_len) {
        free(k->in);
        k->in = NULL;
        k->in_cap = 0;
    }
}

/* Whoever gets an answer may let go of the server. */
static void read_guarded(struct stream_conn *k)
{
    struct ns *ns = &k->c.cs->s;

    ns->refs++;
    conn_read(k);
    ns_put(ns);
}

static void on_more(struct job *j)
{
    struct stream_conn *k = container_of(j, struct stream_conn, more);

    if (!k->c.ending)
        read_guarded(k);
}

static void on_ready(struct stream *s, unsigned what)
{
    struct stream_conn *k = s->owner;

    if (what & STREAM_FAILED)
        conn_fail(&k->c, -ECONNRESET);
    if (what & STREAM_WRITABLE && !k->c.ending)
        conn_write(k);
    if (what & STREAM_READABLE && !k->c.ending)
        read_guarded(k);
}

/* ---- the kind ---- */

static int stream_open(struct conn *c, struct stream *s)
{
    struct stream_conn *k = of(c);

    k->s = s;
    k->more.cb = on_more;
    s->on_ready = on_ready;
    s->owner = k;
    loop_defer(c->cs->s.d->loop, &k->more); /* nothing is there; it asks to be told */
    return 0;
}

static unsigned stream_conn_room(const struct conn *c)
{
    return UINT16_MAX;
}

static void stream_conn_close(struct conn *c)
{
    struct stream_conn *k = of(c);

    job_cancel(&k->more);
    stream_close(k->s, c->err);
    free(k->in);
    free(k->out);
}

static const struct conn_ops stream_ops = {
    sizeof(struct stream_conn), stream_open, stream_conn_room, stream_put, stream_flush, stream_drop, stream_conn_close,
};

struct ns *ns_stream_new(void)
{
    return conn_ns_new(&stream_ops);
}
