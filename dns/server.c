/*
 * server.c - where queries come from: the redirect's sockets on loopback, dns.listen, DNS over TCP from the TUN
 *
 * UDP: up to 64 queries by one system call; their answers, and those that come from name servers in the same turn, go out by one system
 * call at its end. In a storm of queries the loop pauses between its turns (loop_moved), so that many come at a time. Almost all of an
 * answer's cost is the kernel's way from socket to socket, so those of one client (the C library asks for both families at once) go that
 * way as one, and are taken apart where they arrive. A socket that is bound to no address tells which one was asked, and answers from there.
 *
 * TCP and streams: two bytes of length before each message, several queries at once, answers in any order, 10 s of patience; a connection's
 * answers wait in its own small buffer, and one that does not read its answers is closed.
 *
 * The batches are memory of the program, one of each kind, and touched only as far as they are used.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/sock.h"
#include "dns/private.h"

#define BATCH     64
#define CLIENTS   128 /* of a batch, with room between them; a power of two */
#define ROUNDS    4 /* batches of one socket in a turn */
#define QUERY_MAX 4096
#define CONNS_MAX 128
#define IDLE_MS   10000
#define OUT_MAX   (128u << 10)
#define AT_ONCE   60000 /* bytes of datagrams that go as one */
#define WEIGHT    (LOOP_BULK_MIN / 3 + 1) /* bytes that a query counts: three in a turn are bulk, one program's two (A, AAAA) are not */

struct listener {
    struct list_head node;
    struct dns *d;
    struct io io;
    bool tcp, ours, anywhere; /* ours: to be closed by us; anywhere: bound to no address */
    struct job flush;
};

struct conn {
    struct list_head node;
    struct dns *d;
    struct stream *s;
    uint8_t in[2 + QUERY_MAX];
    size_t in_len;
    uint8_t *out;
    size_t out_len, out_cap;
    unsigned asked;    /* queries whose answers are still to come */
    bool closing, eof; /* eof: it says no more, and waits for answers */
    struct timer idle;
    struct job reap;
};

/* ---- UDP ---- */

/* Room for where a datagram came to, or leaves from, and for the length of the datagrams that go as one. */
union control {
    char v4[CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
    char v6[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
    struct cmsghdr align;
};

/* Queries. */
static struct {
    struct mmsghdr msg[BATCH];
    struct iovec iov[BATCH];
    struct sockaddr_storage peer[BATCH];
    union control control[BATCH];
    uint8_t data[BATCH][QUERY_MAX];
} in;

/* Answers, and how they leave: each message takes a stretch of `order`. */
struct parcel {
    struct parcel *next, *last; /* of the same client; last counts in its first one only */
    struct sockaddr_storage peer;
    socklen_t peer_len;
    struct addr from; /* ver 0: the socket's own address */
    uint16_t len;
    bool packed;
    uint8_t data[DNS_UDP_MAX];
};
static struct {
    struct parcel parcel[BATCH];
    unsigned n;
    struct parcel *firsts[CLIENTS]; /* by client; NULL = none */
    struct listener *of;            /* whose */
    struct mmsghdr msg[BATCH];
    struct iovec order[BATCH];
    struct parcel *whose[BATCH]; /* of order */
    union control control[BATCH];
    unsigned n_msgs, n_order;
    bool one_by_one; /* this kernel or way out cannot do otherwise */
} out;

/* Its bytes. */
static void *add_control(struct msghdr *m, int level, int type, size_t len)
{
    struct cmsghdr *c = (struct cmsghdr *)(void *)((char *)m->msg_control + m->msg_controllen);

    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(len);
    memset(CMSG_DATA(c), 0, CMSG_SPACE(len) - CMSG_LEN(0));
    m->msg_controllen += CMSG_SPACE(len);
    return CMSG_DATA(c);
}

/* The answer leaves from the address that was asked. */
static void set_source(struct msghdr *m, const struct addr *a)
{
    if (a->ver == 4) {
        struct in_pktinfo *i = add_control(m, IPPROTO_IP, IP_PKTINFO, sizeof(*i));

        memcpy(&i->ipi_spec_dst, a->b, 4);
    } else if (a->ver == 6) {
        struct in6_pktinfo *i = add_control(m, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(*i));

        memcpy(&i->ipi6_addr, a->b, 16);
    }
}

static bool same_way(const struct parcel *a, const struct parcel *b)
{
    return a->peer_len == b->peer_len && !memcmp(&a->peer, &b->peer, a->peer_len) && addr_eq(&a->from, &b->from);
}

/* p stands behind the last one of its client, or is its first. */
static void join_client(struct parcel *p, const struct endpoint *client)
{
    uint32_t w[4], at;
    struct parcel *first;

    memcpy(w, client->ip.b, sizeof(w));
    at = ((w[0] ^ w[1] ^ w[2] ^ w[3]) + client->port) * 0x9e3779b1u >> 16;
    while ((first = out.firsts[at % CLIENTS]) && !same_way(first, p))
        at++;
    if (first)
        first->last = first->last->next = p;
    else
        out.firsts[at % CLIENTS] = p->last = p;
    p->next = NULL;
}

static void pack(struct parcel *p)
{
    p->packed = true;
    out.whose[out.n_order] = p;
    out.order[out.n_order++] = (struct iovec){ p->data, p->len };
}

/* From first on: the longest answer that waits for its client, and all that are as long; one that is shorter may be the last. */
static unsigned pack_for(struct parcel *first)
{
    struct parcel *shorter = NULL;
    unsigned n = 0, longest = 0;

    for (struct parcel *p = first; p; p = p->next)
        if (!p->packed && p->len > longest)
            longest = p->len;
    for (struct parcel *p = first; p && (n + 1) * longest < AT_ONCE; p = p->next) {
        if (p->packed)
            continue;
        if (p->len < longest) {
            shorter = p;
            continue;
        }
        pack(p);
        n++;
        if (out.one_by_one)
            return n;
    }
    if (shorter)
        pack(shorter);
    return n + !!shorter;
}

static void add_message(struct parcel *first)
{
    unsigned i = out.n_msgs++, at = out.n_order, n = pack_for(first);
    struct msghdr *m = &out.msg[i].msg_hdr;
    uint16_t len = (uint16_t)out.order[at].iov_len;

    *m = (struct msghdr){
        .msg_name = &first->peer, .msg_namelen = first->peer_len, .msg_iov = &out.order[at], .msg_iovlen = n, .msg_control = &out.control[i]
    };
    set_source(m, &first->from);
    if (n > 1)
        memcpy(add_control(m, SOL_UDP, UDP_SEGMENT, sizeof(len)), &len, sizeof(len));
    if (!m->msg_controllen)
        m->msg_control = NULL;
}

static void pack_all(void)
{
    out.n_msgs = out.n_order = 0;
    for (struct parcel *p = out.parcel; p < out.parcel + out.n; p++)
        while (!p->packed)
            add_message(p);
}

/* Not as one, then: what is in the messages from this one on is packed anew. */
static void take_apart(const struct mmsghdr *from)
{
    out.one_by_one = true;
    for (unsigned i = (unsigned)(from->msg_hdr.msg_iov - out.order); i < out.n_order; i++)
        out.whose[i]->packed = false;
    pack_all();
}

/* Was it that they were to go as one? Devices and packet filters have their own reasons. */
static bool about_size(int err)
{
    return err == EIO || err == EINVAL || err == EMSGSIZE || err == EOPNOTSUPP;
}

static void flush_out(void)
{
    unsigned done = 0;
    int n;

    pack_all();
    while (done < out.n_msgs && (n = sendmmsg(out.of->io.fd, out.msg + done, out.n_msgs - done, MSG_NOSIGNAL | MSG_DONTWAIT)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && about_size(errno) && out.msg[done].msg_hdr.msg_iovlen > 1) {
            take_apart(&out.msg[done]);
            done = 0;
            continue;
        }
        done += n > 0 ? (unsigned)n : 1; /* one that cannot be sent is left out: its client asks again */
    }
    memset(out.firsts, 0, sizeof(out.firsts));
    out.n = 0;
    out.of = NULL;
}

static void on_flush(struct job *j)
{
    if (out.of == container_of(j, struct listener, flush))
        flush_out();
}

static void udp_reply(void *arg, const struct endpoint *client, const struct endpoint *server, const void *msg, size_t len,
                      const struct dns_answered *by)
{
    struct listener *l = arg;
    struct parcel *p;

    if (!len || len > DNS_UDP_MAX)
        return;
    if (out.n == BATCH || (out.n && out.of != l))
        flush_out();
    p = &out.parcel[out.n++];
    out.of = l;
    p->peer_len = endpoint_to_sockaddr(client, &p->peer);
    p->from = server->ip;
    p->len = (uint16_t)len;
    p->packed = false;
    memcpy(p->data, msg, len);
    join_client(p, client);
    loop_defer(l->d->loop, &l->flush);
}

static struct addr address_asked(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
            return addr_v4((const uint8_t *)&((struct in_pktinfo *)(void *)CMSG_DATA(c))->ipi_spec_dst);
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
            return addr_v6((const uint8_t *)&((struct in6_pktinfo *)(void *)CMSG_DATA(c))->ipi6_addr);
    }
    return (struct addr){ 0 };
}

static void prepare_in(bool with_info)
{
    for (unsigned i = 0; i < BATCH; i++) {
        in.iov[i] = (struct iovec){ in.data[i], QUERY_MAX };
        in.msg[i].msg_hdr =
            (struct msghdr){ .msg_name = &in.peer[i], .msg_namelen = sizeof(in.peer[i]), .msg_iov = &in.iov[i], .msg_iovlen = 1 };
        if (with_info) {
            in.msg[i].msg_hdr.msg_control = &in.control[i];
            in.msg[i].msg_hdr.msg_controllen = sizeof(in.control[i]);
        }
    }
}

static void serve(struct listener *l, struct mmsghdr *m, const uint8_t *query, const struct dns_client *c)
{
    struct endpoint from, to = { 0 };

    if (m->msg_hdr.msg_flags & MSG_TRUNC || endpoint_from_sockaddr(m->msg_hdr.msg_name, &from) < 0)
        return;
    if (l->anywhere)
        to.ip = address_asked(&m->msg_hdr);
    dns_query(l->d, query, m->msg_len, c, &from, &to);
}

static void on_udp(struct io *io, uint32_t ready)
{
    struct listener *l = container_of(io, struct listener, io);
    struct dns_client c = { .reply = udp_reply, .arg = l };
    int n = BATCH;

    for (int round = 0; round < ROUNDS && n == BATCH; round++) {
        prepare_in(l->anywhere);
        n = recvmmsg(io->fd, in.msg, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < n; i++)
            serve(l, &in.msg[i], in.data[i], &c);
        if (n > 0)
            loop_moved(l->d->loop, (size_t)n * WEIGHT);
    }
}

/* ---- streams ---- */

static void conn_reap(struct job *j)
{
    struct conn *c = container_of(j, struct conn, reap);

    free(c->out);
    free(c);
}

static void conn_close(struct conn *c, int err)
{
    if (c->closing)
        return;
    c->closing = true;
    timer_cancel(&c->idle);
    stream_close(c->s, err);
    c->s = NULL;
    list_del(&c->node);
    c->d->n_conns--;
    /* answers that are still to come find `closing`; the record goes with the last of them */
    c->reap.cb = conn_reap;
    if (!c->asked)
        loop_defer(c->d->loop, &c->reap);
}

static void conn_write(struct conn *c)
{
    while (c->out_len && !c->closing) {
        ssize_t n = stream_write(c->s, &(struct iovec){ c->out, c->out_len }, 1);

        if (n < 0) {
            conn_close(c, (int)n);
            return;
        }
        if (n == 0)
            return;
        c->out_len -= (size_t)n;
        memmove(c->out, c->out + n, c->out_len);
    }
    if (c->out_len || c->closing)
        return;
    free(c->out); /* an idle connection holds no answer buffer */
    c->out = NULL;
    c->out_cap = 0;
    if (c->eof && !c->asked)
        conn_close(c, 0);
}

static void conn_reply(void *arg, const struct endpoint *client, const struct endpoint *server, const void *msg, size_t len,
                       const struct dns_answered *by)
{
    struct conn *c = arg;
    uint8_t *more;

    c->asked--;
    if (c->closing) {
        if (!c->asked)
            loop_defer(c->d->loop, &c->reap);
        return;
    }
    if (!len)
        return;
    if (c->out_len + 2 + len > OUT_MAX)
        return; /* does not read its answers; the idle timer ends it */
    if (c->out_len + 2 + len > c->out_cap) {
        if (!(more = realloc(c->out, c->out_len + 2 + len)))
            return;
        c->out = more;
        c->out_cap = c->out_len + 2 + len;
    }
    c->out[c->out_len++] = (uint8_t)(len >> 8);
    c->out[c->out_len++] = (uint8_t)len;
    memcpy(c->out + c->out_len, msg, len);
    c->out_len += len;
    timer_set(c->d->loop, &c->idle, IDLE_MS);
    conn_write(c);
}

/* One query may go unanswered (junk): then the connection is of no use. */
static bool conn_take(struct conn *c)
{
    size_t len = (size_t)c->in[0] << 8 | c->in[1];
    unsigned before = c->asked, pending = c->d->n_pending;

    if (c->in_len < 2 || c->in_len < 2 + len)
        return false;
    c->asked++;
    dns_query(c->d, c->in + 2, len, &(struct dns_client){ .reply = conn_reply, .arg = c }, NULL, NULL);
    if (c->asked > before && c->d->n_pending == pending) { /* nobody will answer it */
        c->asked--;
        conn_close(c, -EBADMSG);
        return false;
    }
    c->in_len -= 2 + len;
    memmove(c->in, c->in + 2 + len, c->in_len);
    return !c->closing;
}

static void conn_read(struct conn *c)
{
    ssize_t n = 0;

    for (int i = 0; i < 64 && !c->closing; i++) {
        while (conn_take(c))
            ;
        if (c->closing)
            return;
        if (c->in_len >= 2 && (((size_t)c->in[0] << 8 | c->in[1]) > QUERY_MAX)) {
            conn_close(c, -EMSGSIZE);
            return;
        }
        if ((n = stream_read(c->s, &(struct iovec){ c->in + c->in_len, sizeof(c->in) - c->in_len }, 1)) <= 0)
            break;
        c->in_len += (size_t)n;
        timer_set(c->d->loop, &c->idle, IDLE_MS);
    }
    c->eof = n == -STREAM_EOF;
    if (n < 0 && (!c->eof || (!c->asked && !c->out_len)))
        conn_close(c, c->eof ? 0 : (int)n);
}

static void on_conn(struct stream *s, unsigned what)
{
    struct conn *c = s->owner;

    if (what & STREAM_FAILED) {
        conn_close(c, -ECONNRESET);
        return;
    }
    if (what & STREAM_WRITABLE)
        conn_write(c);
    if (what & STREAM_READABLE && !c->closing)
        conn_read(c);
}

static void on_idle(struct timer *t)
{
    conn_close(container_of(t, struct conn, idle), 0);
}

static void on_first(struct job *j)
{
    conn_read(container_of(j, struct conn, reap));
}

void dns_serve_stream(struct dns *d, struct stream *s)
{
    struct conn *c = d->n_conns < CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;

    if (!c) {
        stream_close(s, -ENOMEM);
        return;
    }
    c->d = d;
    c->s = s;
    c->idle.cb = on_idle;
    c->reap.cb = on_first; /* bytes may be there already: looked at in a job, not inside this call */
    s->on_ready = on_conn;
    s->owner = c;
    list_append(&d->conns, &c->node);
    d->n_conns++;
    timer_set(d->loop, &c->idle, IDLE_MS);
    loop_defer(d->loop, &c->reap);
}

static void on_accept(struct io *io, uint32_t ready)
{
    struct listener *l = container_of(io, struct listener, io);

    for (int i = 0; i < 16; i++) {
        int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct stream *s;

        if (fd < 0)
            return;
        if ((s = sock_stream(l->d->loop, fd)))
            dns_serve_stream(l->d, s);
        else
            close(fd);
    }
}

/* ---- sockets ---- */

static int listen_on(struct dns *d, int fd, bool tcp, bool ours, bool anywhere)
{
    struct listener *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->d = d;
    l->tcp = tcp;
    l->ours = ours;
    l->anywhere = anywhere;
    l->io.cb = tcp ? on_accept : on_udp;
    l->flush.cb = on_flush;
    if ((r = io_watch(d->loop, &l->io, fd, IO_READ)) < 0) {
        free(l);
        return r;
    }
    list_append(&d->listeners, &l->node);
    return 0;
}

int dns_serve_fds(struct dns *d, const int *udp, int n_udp, const int *tcp, int n_tcp)
{
    int r = 0;

    for (int i = 0; i < n_udp && !r; i++)
        r = listen_on(d, udp[i], false, false, false);
    for (int i = 0; i < n_tcp && !r; i++)
        r = listen_on(d, tcp[i], true, false, false);
    return r;
}

static void listener_close(struct listener *l)
{
    if (out.of == l)
        flush_out();
    job_cancel(&l->flush);
    list_del(&l->node);
    io_unwatch(&l->io);
    if (l->ours)
        close(l->io.fd);
    free(l);
}

/* ---- dns.listen ---- */

static int open_listen(const struct endpoint *at, int type)
{
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(at, &ss);
    int fd = socket(ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, r;

    if (fd < 0)
        return -errno;
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (at->ip.ver == 6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&ss, len) == 0 && (type == SOCK_DGRAM || listen(fd, 64) == 0))
        return fd;
    r = -errno;
    close(fd);
    return r;
}

static void stop_listening(struct dns *d)
{
    list_each_safe (n, tmp, &d->listeners)
        if (container_of(n, struct listener, node)->ours)
            listener_close(container_of(n, struct listener, node));
    free(d->listen_text);
    d->listen_text = NULL;
}

static int take_socket(struct dns *d, const struct endpoint *at, bool tcp, int fd)
{
    bool anywhere = addr_is_unspecified(&at->ip);
    int v4 = at->ip.ver == 4, one = 1, r;

    if (anywhere && !tcp) /* the answer must come from the address that was asked */
        setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, &one, sizeof(one));
    if ((r = listen_on(d, fd, tcp, true, anywhere)) < 0)
        close(fd);
    return r;
}

static void complain(const struct endpoint *at, bool tcp, int r)
{
    char text[ENDPOINT_STRLEN];

    log_warn(LOG_DNS, "dns.listen: %s (%s): %s", endpoint_str(at, text), tcp ? "TCP" : "UDP", strerror(-r));
}

static int serve_at(struct dns *d, const struct endpoint *at)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        int fd = open_listen(at, tcp ? SOCK_STREAM : SOCK_DGRAM), r = fd;

        if ((fd == -EACCES || fd == -EPERM) && d->privileged)
            r = d->privileged(d->privileged_arg, at, !tcp);
        else if (fd >= 0)
            r = take_socket(d, at, tcp, fd);
        if (r < 0) {
            complain(at, tcp, r);
            return r;
        }
    }
    return 0;
}

void dns_listening(struct dns *d, const struct endpoint *at, bool udp, int fd)
{
    struct endpoint wanted[2];
    unsigned n = cfg_listen_parse(d->listen_text, wanted), i = 0;

    while (i < n && !endpoint_eq(&wanted[i], at))
        i++;
    if (fd >= 0 && i == n) { /* a reload came in between */
        close(fd);
        return;
    }
    if (fd >= 0)
        fd = take_socket(d, at, !udp, fd);
    if (fd < 0)
        complain(at, !udp, fd);
}

int dns_serve_listen(struct dns *d, const char *text)
{
    struct endpoint at[2];
    unsigned n = cfg_listen_parse(text, at);
    int r = n || !text ? 0 : -EINVAL;

    if (text && d->listen_text && !strcmp(text, d->listen_text))
        return 0;
    stop_listening(d);
    if (r < 0)
        log_warn(LOG_DNS, "dns.listen: \"%s\" is not ADDRESS:PORT", text);
    if (!n || !(d->listen_text = strdup(text)))
        return r;
    for (unsigned i = 0; i < n && !r; i++)
        r = serve_at(d, &at[i]);
    if (r < 0) /* so that the next reload tries again */
        stop_listening(d);
    return r;
}

void server_init(struct dns *d)
{
    list_init(&d->listeners);
    list_init(&d->conns);
    list_init(&d->pending);
}

void server_fini(struct dns *d)
{
    pending_drop_all(d);
    for (struct list_head *n; (n = list_first(&d->conns));) {
        struct conn *c = container_of(n, struct conn, node);

        conn_close(c, -ECANCELED);
    }
    while (!list_empty(&d->listeners))
        listener_close(container_of(list_first(&d->listeners), struct listener, node));
    free(d->listen_text);
}
