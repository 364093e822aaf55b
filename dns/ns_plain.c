/*
 * ns_plain.c - a name server asked by UDP and TCP, with c-ares
 *
 *   UDP, 1.5 s ──► UDP again, 1.5 s ──► TCP, 2 s          a truncated answer is asked for again by TCP (c-ares does that)
 *
 * c-ares sends our wire messages, and of what comes it takes only what has the address, the id and the question that it waits for. A
 * channel keeps its UDP socket, and so its source port, while queries are under way; to be hard to guess a channel is given up after
 * CHANNEL_QUERIES of them: it answers what it has and goes.
 *
 * A server that does not understand EDNS says FORMERR; it is asked again without, then and later.
 *
 * c-ares cannot take one query back: a cancelled one runs to its end with nobody to tell.
 */
#include <ares.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/hash.h"
#include "core/sock.h"
#include "dns/private.h"

#define TRY_MS          1500
#define TCP_MS          2000
#define UDP_TRIES       2
#define CHANNEL_QUERIES 64
#define RUNNING_MAX     512 /* of one server */

struct watch {
    struct list_head node;
    struct io io;
    struct channel *ch;
    struct job reap;
};

/* Queries by one protocol, until the channel has served its time. */
struct channel {
    struct list_head node; /* plain.channels */
    struct plain *p;
    struct loop *loop;
    ares_channel ares;
    struct addr at;
    char interface[IF_NAMESIZE]; /* to leave by; "" = any */
    uint32_t mark;
    int err; /* why its newest socket cannot leave; c-ares would say "refused" */
    bool tcp, gone;
    unsigned sent, running;
    struct list_head watches;
    struct timer timer;
    struct job reap;
};

struct plain {
    struct ns s;
    struct list_head channels, sends;
    struct channel *udp, *tcp; /* the ones that take queries; NULL = none yet */
    unsigned running;
    bool no_edns;
};

/* A question under way. Lives until c-ares has called back. */
struct send {
    struct list_head node; /* plain.sends */
    struct plain *p;       /* NULL: the server is gone */
    struct ns_ask *q;      /* NULL: cancelled */
    struct channel *ch;
    int tries;
    bool edns;
    struct job job;
    int err;
    uint8_t *msg;
    size_t len;
};

/* ---- c-ares on our loop ---- */

static void rearm(struct channel *ch)
{
    struct timeval tv, *next = ch->gone ? NULL : ares_timeout(ch->ares, NULL, &tv);

    if (next)
        timer_set(ch->loop, &ch->timer, (uint64_t)next->tv_sec * 1000 + (uint64_t)next->tv_usec / 1000 + 1);
    else
        timer_cancel(&ch->timer);
}

static void on_timer(struct timer *t)
{
    struct channel *ch = container_of(t, struct channel, timer);

    ares_process_fd(ch->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    rearm(ch);
}

static void on_io(struct io *io, uint32_t ready)
{
    struct channel *ch = container_of(io, struct watch, io)->ch;

    ares_process_fd(ch->ares, ready & IO_READ ? io->fd : ARES_SOCKET_BAD, ready & IO_WRITE ? io->fd : ARES_SOCKET_BAD);
    rearm(ch);
}

static void reap_watch(struct job *j)
{
    free(container_of(j, struct watch, reap));
}

static struct watch *watch_of(struct channel *ch, int fd)
{
    list_each_safe (n, tmp, &ch->watches) {
        struct watch *w = container_of(n, struct watch, node);

        if (w->io.fd == fd)
            return w;
    }
    return NULL;
}

static void watch_new(struct channel *ch, int fd, uint32_t want)
{
    struct watch *w = calloc(1, sizeof(*w));

    if (!w)
        return; /* the query times out */
    w->ch = ch;
    w->io.cb = on_io;
    w->reap.cb = reap_watch;
    if (io_watch(ch->loop, &w->io, fd, want) < 0)
        free(w);
    else
        list_append(&ch->watches, &w->node);
}

static void on_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct channel *ch = arg;
    struct watch *w = watch_of(ch, fd);
    uint32_t want = (readable ? IO_READ : 0) | (writable ? IO_WRITE : 0);

    if (!w && want)
        watch_new(ch, fd, want);
    if (!w)
        return;
    if (want) {
        io_want(&w->io, want);
        return;
    }
    io_unwatch(&w->io);
    list_del(&w->node);
    loop_defer(ch->loop, &w->reap);
}

/* ---- channels ---- */

static void reap_channel(struct job *j)
{
    struct channel *ch = container_of(j, struct channel, reap);

    ares_destroy(ch->ares);
    timer_cancel(&ch->timer);
    free(ch);
}

/* Takes no more queries; goes when the last has its answer, at the end of a turn (c-ares may be on the stack). */
static void channel_retire(struct channel *ch)
{
    struct plain *p = ch->p;

    if (p->udp == ch)
        p->udp = NULL;
    if (p->tcp == ch)
        p->tcp = NULL;
    if (ch->running || ch->gone)
        return;
    ch->gone = true;
    list_del(&ch->node);
    loop_defer(ch->loop, &ch->reap);
}

static int on_socket(ares_socket_t fd, int type, void *arg)
{
    struct channel *ch = arg;
    struct sock_way way = { *ch->interface ? ch->interface : NULL, ch->mark };

    ch->err = sock_leave_by(fd, &way, &ch->at);
    return ch->err < 0 ? -1 : 0;
}

static int open_ares(struct channel *ch)
{
    struct sock_way way = ns_way(&ch->p->s);

    /* no server, no domain: all is said, so no file of the system is read */
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS | ARES_OPT_EDNSPSZ |
               ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_NDOTS | ARES_OPT_SORTLIST;
    struct ares_options o = { .timeout = ch->tcp ? TCP_MS : TRY_MS,
                              .tries = 1,
                              .lookups = (char *)"b",
                              .ednspsz = DNS_UDP_MAX,
                              .sock_state_cb = on_state,
                              .sock_state_cb_data = ch };
    struct endpoint at = { ch->at, ch->p->s.spec.port };
    char text[ENDPOINT_STRLEN];

    /* EDNS: it takes datagrams up to our size; NOCHECKRESP: SERVFAIL is an answer, and what to do about it our business */
    o.flags = ARES_FLAG_NOALIASES | ARES_FLAG_NOSEARCH | ARES_FLAG_EDNS | ARES_FLAG_NOCHECKRESP |
              (ch->tcp ? ARES_FLAG_USEVC | ARES_FLAG_STAYOPEN : 0);
    if (ares_init_options(&ch->ares, &o, mask) != ARES_SUCCESS)
        return -ENOMEM;
    snprintf(ch->interface, sizeof(ch->interface), "%s", way.interface ? way.interface : "");
    ch->mark = way.mark;
    ares_set_socket_configure_callback(ch->ares, on_socket, ch);
    if (ares_set_servers_ports_csv(ch->ares, endpoint_str(&at, text)) == ARES_SUCCESS)
        return 0;
    ares_destroy(ch->ares);
    return -EINVAL;
}

static int channel_open(struct plain *p, bool tcp, struct channel **out)
{
    struct channel *ch = calloc(1, sizeof(*ch));
    int r;

    if (!ch)
        return -ENOMEM;
    ch->p = p;
    ch->loop = p->s.d->loop;
    ch->at = p->s.addr[0];
    ch->tcp = tcp;
    ch->timer.cb = on_timer;
    ch->reap.cb = reap_channel;
    list_init(&ch->watches);
    if ((r = open_ares(ch)) < 0) {
        free(ch);
        return r;
    }
    list_append(&p->channels, &ch->node);
    *out = ch;
    return 0;
}

/* ---- a question ---- */

static void on_answer(void *arg, int status, int timeouts, unsigned char *msg, int len);

/* The server's name may have another address by now, the profile another interface or mark. */
static bool is_current(const struct channel *ch)
{
    struct sock_way way = ns_way(&ch->p->s);

    return addr_eq(&ch->at, &ch->p->s.addr[0]) && ch->mark == way.mark && !strcmp(ch->interface, way.interface ? way.interface : "");
}

static int send_on(struct send *s, bool tcp)
{
    struct channel **at = tcp ? &s->p->tcp : &s->p->udp, *ch;
    uint8_t query[DNS_QUERY_MAX];
    size_t len;
    int r;

    if (*at && !is_current(*at))
        channel_retire(*at);
    if (!*at && (r = channel_open(s->p, tcp, at)) < 0)
        return r;
    ch = s->ch = *at;
    ch->sent++;
    ch->running++;
    s->edns = !s->p->no_edns;
    len = ns_query(s->q, 0, 0, query);
    random_bytes(query, 2); /* the id: nobody may guess it */
    if (!s->edns) {
        len = DNS_HEADER + s->q->key->len + 4u;
        put16(query + 10, 0);
    }
    if (ch->sent >= CHANNEL_QUERIES && !tcp)
        channel_retire(ch);
    ares_send(ch->ares, query, (int)len, on_answer, s);
    rearm(ch);
    return 0;
}

static int ares_to_err(int status)
{
    switch (status) {
    case ARES_ETIMEOUT: return -ETIMEDOUT;
    case ARES_ECONNREFUSED: return -ECONNREFUSED;
    case ARES_EDESTRUCTION:
    case ARES_ECANCELLED: return -ECANCELED;
    case ARES_ENOMEM: return -ENOMEM;
    default: return -EBADMSG;
    }
}

static void send_free(struct send *s)
{
    if (s->p)
        s->p->running--;
    list_del(&s->node);
    free(s->msg);
    free(s);
}

/* Again by UDP, then by TCP. true: it is under way. */
static bool try_again(struct send *s)
{
    bool tcp = s->p->s.spec.kind == NS_TCP;

    if (!s->err && s->edns && s->len >= DNS_HEADER && (s->msg[3] & 15) == RC_FORMERR)
        s->p->no_edns = true;
    else if (s->err != -ETIMEDOUT && s->err != -ECONNREFUSED)
        return false;
    if (++s->tries > UDP_TRIES || (tcp && s->tries > 1))
        return false;
    free(s->msg);
    s->msg = NULL;
    s->err = 0;
    return send_on(s, tcp || s->tries == UDP_TRIES) == 0;
}

static void on_done(struct job *j)
{
    struct send *s = container_of(j, struct send, job);
    struct ns_ask *q = s->q;

    if (!q) {
        send_free(s);
        return;
    }
    if (try_again(s))
        return;
    q->priv = NULL;
    if (s->err && s->p->s.n_addr > 1) { /* the next address of its name has the next try */
        struct addr first = s->p->s.addr[0];

        memmove(s->p->s.addr, s->p->s.addr + 1, (size_t)(s->p->s.n_addr - 1) * sizeof(first));
        s->p->s.addr[s->p->s.n_addr - 1] = first;
    }
    ns_answer(q, s->err, s->msg, s->len);
    send_free(s);
}

/* c-ares may call this from within ares_send(), so the rest is for the end of the turn. */
static void on_answer(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
    struct send *s = arg;
    struct channel *ch = s->ch;

    ch->running--;
    s->err = status == ARES_SUCCESS ? 0 : status == ARES_ECONNREFUSED && ch->err ? ch->err : ares_to_err(status);
    if (!s->err && !(s->msg = malloc((size_t)len)))
        s->err = -ENOMEM;
    if (!s->err) {
        memcpy(s->msg, msg, (size_t)len);
        s->len = (size_t)len;
    }
    if (!ch->gone && ch->p && ch->p->udp != ch && ch->p->tcp != ch)
        channel_retire(ch);
    loop_defer(ch->loop, &s->job);
}

static int plain_ask(struct ns *ns, struct ns_ask *q)
{
    struct plain *p = container_of(ns, struct plain, s);
    struct send *s;
    int r;

    if (p->running >= RUNNING_MAX)
        return -ERR_LIMIT;
    if (!(s = calloc(1, sizeof(*s))))
        return -ENOMEM;
    s->p = p;
    s->q = q;
    s->job.cb = on_done;
    if ((r = send_on(s, ns->spec.kind == NS_TCP)) < 0) {
        free(s);
        return r;
    }
    list_append(&p->sends, &s->node);
    p->running++;
    q->priv = s;
    return 0;
}

static void plain_cancel(struct ns *ns, struct ns_ask *q)
{
    struct send *s = q->priv;

    s->q = NULL;
    q->priv = NULL;
}

/* What still runs ends now, with nobody to tell. */
static void plain_close(struct ns *ns)
{
    struct plain *p = container_of(ns, struct plain, s);

    list_each_safe (n, tmp, &p->channels) {
        struct channel *ch = container_of(n, struct channel, node);

        ares_cancel(ch->ares); /* on_answer() for each, which defers the rest */
        channel_retire(ch);
    }
    list_each_safe (n, tmp, &p->sends) {
        container_of(n, struct send, node)->p = NULL;
        list_del(n);
    }
    free(p);
}

static const struct ns_ops plain_ops = { plain_ask, plain_cancel, plain_close };

struct ns *ns_plain_new(void)
{
    struct plain *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->s.ops = &plain_ops;
    list_init(&p->channels);
    list_init(&p->sends);
    return &p->s;
}
