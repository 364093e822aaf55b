/*
 * pktstream.c - a datagram session over streams
 *
 *   send ──► no stream yet: dial, wait in the queue ──► frame in `out` ──► at the end of the turn one write for all
 *   stream ──► `in` ──► frames ──► on_packet
 *
 * A stream that takes no more makes `out` fill up; then datagrams are dropped, as a full socket would. A frame once in `out` is sent as a
 * whole. Whatever ends the stream ends the session; its user opens another.
 *
 * One destination per stream: the session is a list of such sessions, each for one destination, address or name, from which its replies
 * come.
 *
 * Memory: buffers are pooled and held only while something is in them.
 */
#include "outbound/pktstream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pool.h"
#include "outbound/pktq.h"

#define READS_MAX 16
#define SUBS_MAX  64
#define IN_MAX    (BUF_SIZE + BUF_EXTRA)

struct pktstream {
    struct pktsess p;
    struct outbound *o;
    const struct pkt_way *way;
    struct pkt_state st;
    struct dial dial;
    char *host; /* of dial.to */
    struct stream *s;
    struct pktq waiting;
    uint8_t *out, *in; /* pooled */
    uint32_t out_at, n_out, n_in;
    bool dialling, full, dead;
    struct job flush, again, reap;
};

static struct pktstream *of(struct pktsess *p)
{
    return container_of(p, struct pktstream, p);
}

/* Does it say something about the node? Not once it has worked: then it is one destination that cannot be reached. Nor is what a web server says
 * to strangers more than that they are. */
static bool says_something(const struct outbound *o, int err)
{
    if (err != -ERR_PROTO && err != -ERR_EARLY)
        return true;
    return !o->answered && !(err == -ERR_PROTO && o->last_err == -ERR_AUTH);
}

static void die(struct pktstream *u, int err)
{
    if (u->dead)
        return;
    u->dead = true;
    if (says_something(u->o, err))
        out_note_error(u->o, err);
    job_cancel(&u->again);
    job_cancel(&u->flush);
    if (u->s)
        u->s->on_ready = NULL;
    if (u->p.on_dead)
        u->p.on_dead(&u->p, err);
}

/* ---- out ---- */

static void push(struct pktstream *u)
{
    ssize_t w = 0;

    if (u->full)
        return;
    if (u->n_out && (w = stream_write(u->s, &(struct iovec){ u->out + u->out_at, u->n_out }, 1)) < 0) {
        die(u, (int)w);
        return;
    }
    u->out_at += (uint32_t)w;
    u->n_out -= (uint32_t)w;
    u->full = u->n_out > 0;
    if (u->n_out)
        return;
    buf_put(u->out);
    u->out = NULL;
}

static void on_flush(struct job *j)
{
    push(container_of(j, struct pktstream, flush));
}

static int want_out(struct pktstream *u, size_t room)
{
    if (!u->out) {
        if (!(u->out = buf_get()))
            return -ENOMEM;
        u->out_at = u->n_out = 0;
    }
    if (u->out_at && u->out_at + u->n_out + room > BUF_SIZE) {
        memmove(u->out, u->out + u->out_at, u->n_out);
        u->out_at = 0;
    }
    return u->out_at + u->n_out + room > BUF_SIZE ? -EAGAIN : 0;
}

static int send_framed(struct pktstream *u, const struct dest *to, const void *buf, size_t len)
{
    size_t n;
    int r;

    if (len > u->way->codec->most)
        return -EMSGSIZE;
    if ((r = want_out(u, len + PKT_FRAME_EXTRA)) < 0)
        return r;
    n = u->way->codec->put(&u->st, to, buf, len, u->out + u->out_at + u->n_out);
    u->n_out += (uint32_t)n;
    loop_defer(u->o->env->loop, &u->flush);
    return n ? 0 : -ERR_NAME;
}

static void send_waiting(void *arg, const struct dest *to, const void *buf, size_t len)
{
    send_framed(arg, to, buf, len);
}

/* ---- in ---- */

/* Delivers the frames that are whole. 0 or -err. */
static int parse(struct pktstream *u)
{
    struct rd all = rd_from(u->in, u->n_in);
    int r = 1;

    while (r > 0 && !u->dead && rd_left(&all)) {
        struct rd rd = all;
        struct sender from;
        struct span payload;
        struct dest who;

        if ((r = u->way->codec->get(&u->st, &rd, &from, &payload)) <= 0)
            break;
        u->o->answered = true;
        who = sender_dest(&from);
        if (payload.p && u->p.on_packet)
            u->p.on_packet(&u->p, &who, payload.p, payload.len);
        all = rd;
    }
    u->n_in = (uint32_t)rd_left(&all);
    memmove(u->in, all.p, u->n_in);
    return r < 0 ? r : u->n_in == IN_MAX ? -ERR_PROTO : 0; /* no frame is that long */
}

static ssize_t pull(struct pktstream *u)
{
    ssize_t n;
    int r;

    if (!u->in && !(u->in = buf_get()))
        return -ENOMEM;
    n = stream_read(u->s, &(struct iovec){ u->in + u->n_in, IN_MAX - u->n_in }, 1);
    if (n == -STREAM_EOF)
        return u->n_in ? -ERR_PROTO : -ECONNRESET;
    if (n > 0) {
        u->n_in += (uint32_t)n;
        if ((r = parse(u)) < 0)
            n = r;
    }
    if (!u->n_in) {
        buf_put(u->in);
        u->in = NULL;
    }
    return n;
}

static void read_some(struct pktstream *u)
{
    ssize_t n = 1;

    for (int i = 0; i < READS_MAX && n > 0 && !u->dead; i++)
        n = pull(u);
    if (n < 0)
        die(u, n == -STREAM_EOF ? -ECONNRESET : (int)n); /* the end, said by a frame */
    else if (n > 0 && !u->dead)
        loop_next(u->o->env->loop, &u->again);
}

static void on_again(struct job *j)
{
    read_some(container_of(j, struct pktstream, again));
}

static void on_ready(struct stream *s, unsigned what)
{
    struct pktstream *u = s->owner;

    if (what & STREAM_WRITABLE)
        u->full = false;
    if (what & (STREAM_WRITABLE | STREAM_FAILED))
        push(u);
    if (!u->dead && (what & (STREAM_READABLE | STREAM_FAILED)))
        read_some(u);
}

/* ---- the stream ---- */

/* Who answers where an answer does not say: the destination. */
static struct sender peer_of(const struct dest *to)
{
    struct sender s = { .at = to->at };

    if (!addr_is_set(&to->at.ip) && to->host)
        snprintf(s.host, sizeof(s.host), "%s", to->host);
    return s;
}

static void on_dialled(struct dial *d, struct stream *s, int err)
{
    struct pktstream *u = container_of(d, struct pktstream, dial);

    u->dialling = false;
    if (err) {
        die(u, err);
        return;
    }
    u->s = s;
    s->owner = u;
    s->on_ready = on_ready;
    pktq_flush(&u->waiting, send_waiting, u);
    push(u);
    if (!u->dead)
        read_some(u);
}

static int start_dial(struct pktstream *u, const struct dest *first)
{
    const char *host = u->way->host ? u->way->host : first->host;
    int r;

    if (host && !u->host && !(u->host = strdup(host)))
        return -ENOMEM;
    u->dial = (struct dial){ .to = { .host = u->host }, .done = on_dialled };
    if (!u->way->host)
        u->dial.to.at = first->at;
    u->st.peer = peer_of(first);
    r = u->way->dial(u->o, &u->dial, u->way->command);
    u->dialling = r == 0;
    return r;
}

static int pktstream_send(struct pktsess *p, const struct dest *to, const void *buf, size_t len)
{
    struct pktstream *u = of(p);
    int r;

    if (u->dead)
        return -ENOTCONN;
    if (u->way->codec->no_name && !addr_is_set(&to->at.ip))
        return -ERR_NAME;
    if (u->s)
        return send_framed(u, to, buf, len);
    if (!u->dialling && (r = start_dial(u, to)) < 0)
        return r;
    return pktq_add(&u->waiting, to, buf, len);
}

static void reap(struct job *j)
{
    struct pktstream *u = container_of(j, struct pktstream, reap);

    buf_put(u->out);
    buf_put(u->in); /* not before: who closes may have been called while frames are taken from it */
    free(u->host);
    free(u);
}

static void pktstream_close(struct pktsess *p)
{
    struct pktstream *u = of(p);

    u->p.on_packet = NULL;
    u->p.on_dead = NULL;
    if (!u->dead && u->s)
        push(u);
    if (u->dialling)
        u->way->cancel(u->o, &u->dial);
    job_cancel(&u->flush);
    job_cancel(&u->again);
    if (u->s) {
        u->s->on_ready = NULL;
        stream_close(u->s, u->dead ? -ERR_CLOSED : 0);
    }
    u->dead = true;
    pktq_fini(&u->waiting);
    loop_defer(u->o->env->loop, &u->reap);
}

static const struct pkt_ops stream_ops = { .name = "stream", .send = pktstream_send, .close = pktstream_close };

static struct pktstream *stream_new(struct outbound *o, const struct pkt_way *w)
{
    struct pktstream *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->p.ops = &stream_ops;
    u->o = o;
    u->way = w;
    u->flush.cb = on_flush;
    u->again.cb = on_again;
    u->reap.cb = reap;
    return u;
}

/* ---- one destination per stream ---- */

struct pktmany {
    struct pktsess p;
    struct outbound *o;
    const struct pkt_way *way;
    struct list_head subs; /* used last first */
    unsigned n_subs;
    struct job reap;
};

struct sub {
    struct list_head node;
    struct pktmany *many;
    struct pktsess *p;
    struct dest to;
    bool dead;
    struct job reap;
    char host[];
};

static void sub_reap(struct job *j)
{
    free(container_of(j, struct sub, reap));
}

static void sub_close(struct sub *s)
{
    list_del(&s->node);
    s->many->n_subs--;
    pkt_close(s->p);
    loop_defer(s->many->o->env->loop, &s->reap);
}

static void on_sub_packet(struct pktsess *p, const struct dest *from, const void *buf, size_t len)
{
    struct pktmany *m = ((struct sub *)p->owner)->many;

    if (m->p.on_packet)
        m->p.on_packet(&m->p, from, buf, len);
}

/* A destination that ends leaves the others alone; the last one takes the session with it. */
static void on_sub_dead(struct pktsess *p, int err)
{
    struct sub *s = p->owner;
    struct pktmany *m = s->many;

    s->dead = true;
    if (m->n_subs == 1 && m->p.on_dead)
        m->p.on_dead(&m->p, err);
}

static bool is_to(const struct sub *s, const struct dest *to)
{
    if (s->to.host || to->host)
        return s->to.host && to->host && s->to.at.port == to->at.port && !strcmp(s->to.host, to->host);
    return endpoint_eq(&s->to.at, &to->at);
}

static struct sub *sub_find(struct pktmany *m, const struct dest *to)
{
    list_each_safe (n, tmp, &m->subs) {
        struct sub *s = container_of(n, struct sub, node);

        if (s->dead)
            sub_close(s); /* another one then */
        else if (is_to(s, to))
            return s;
    }
    return NULL;
}

static struct sub *sub_new(struct pktmany *m, const struct dest *to)
{
    size_t len = to->host ? strlen(to->host) + 1 : 0;
    struct sub *s = calloc(1, sizeof(*s) + len);
    struct pktstream *u = s ? stream_new(m->o, m->way) : NULL;

    if (!u) {
        free(s);
        return NULL;
    }
    if (m->n_subs >= SUBS_MAX)
        sub_close(container_of(m->subs.prev, struct sub, node));
    s->many = m;
    s->to = *to;
    if (len)
        s->to.host = memcpy(s->host, to->host, len);
    s->reap.cb = sub_reap;
    s->p = &u->p;
    u->p.owner = s;
    u->p.on_packet = on_sub_packet;
    u->p.on_dead = on_sub_dead;
    list_push(&m->subs, &s->node);
    m->n_subs++;
    return s;
}

static int pktmany_send(struct pktsess *p, const struct dest *to, const void *buf, size_t len)
{
    struct pktmany *m = container_of(p, struct pktmany, p);
    struct sub *s = sub_find(m, to);

    if (!s && !(s = sub_new(m, to)))
        return -ENOMEM;
    list_del(&s->node);
    list_push(&m->subs, &s->node);
    return pkt_send(s->p, to, buf, len);
}

static void many_reap(struct job *j)
{
    free(container_of(j, struct pktmany, reap));
}

static void pktmany_close(struct pktsess *p)
{
    struct pktmany *m = container_of(p, struct pktmany, p);

    while (!list_empty(&m->subs))
        sub_close(container_of(m->subs.next, struct sub, node));
    loop_defer(m->o->env->loop, &m->reap);
}

static const struct pkt_ops many_ops = { .name = "streams", .send = pktmany_send, .close = pktmany_close };

int pktstream_open(struct outbound *o, const struct pkt_way *w, struct pktsess **out)
{
    struct pktstream *u = w->codec->to_one ? NULL : stream_new(o, w);
    struct pktmany *m = w->codec->to_one ? calloc(1, sizeof(*m)) : NULL;

    if (!u && !m)
        return -ENOMEM;
    if (u && w->codec->no_name)
        return named_open(o, &u->p, LOOKUP_RULES, out);
    if (u) {
        *out = &u->p;
        return 0;
    }
    m->p.ops = &many_ops;
    m->o = o;
    m->way = w;
    m->reap.cb = many_reap;
    list_init(&m->subs);
    *out = &m->p;
    return 0;
}
