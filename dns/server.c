/*
 * server.c - where queries come from: the redirect's sockets on loopback, dns.listen, DNS over TCP from the TUN
 *
 * UDP in batches (recvmmsg). TCP and streams: two bytes of length before each message, several queries at once, answers in any order, 10 s
 * of patience; a connection's answers wait in its own small buffer, and one that does not read its answers is closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/sock.h"
#include "dns/private.h"

#define BATCH     32
#define QUERY_MAX 4096
#define CONNS_MAX 128
#define IDLE_MS   10000
#define OUT_MAX   (128u << 10)

struct listener {
    struct list_head node;
    struct dns *d;
    struct io io;
    bool tcp, ours; /* ours: to be closed by us */
};

struct conn {
    struct list_head node;
    struct dns *d;
    struct stream *s;
    uint8_t in[2 + QUERY_MAX];
    size_t in_len;
    uint8_t *out;
    size_t out_len, out_cap;
    unsigned asked; /* queries whose answers are still to come */
    bool closing;
    struct timer idle;
    struct job reap;
};

/* ---- UDP ---- */

static void udp_reply(void *arg, const struct endpoint *client, const struct endpoint *server, const void *msg, size_t len)
{
    struct listener *l = arg;
    struct sockaddr_storage ss;
    socklen_t n = endpoint_to_sockaddr(client, &ss);

    sendto(l->io.fd, msg, len, MSG_NOSIGNAL, (struct sockaddr *)&ss, n);
}

static void on_udp(struct io *io, uint32_t ready)
{
    static uint8_t mem[BATCH][QUERY_MAX];
    struct listener *l = container_of(io, struct listener, io);
    struct sockaddr_storage ss[BATCH];
    struct mmsghdr m[BATCH];
    struct iovec iov[BATCH];
    struct dns_client c = { udp_reply, l };
    int n;

    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){ mem[i], QUERY_MAX };
        m[i].msg_hdr = (struct msghdr){ .msg_name = &ss[i], .msg_namelen = sizeof(ss[i]), .msg_iov = &iov[i], .msg_iovlen = 1 };
    }
    n = recvmmsg(io->fd, m, BATCH, 0, NULL);
    for (int i = 0; i < n; i++) {
        struct endpoint from, to = { 0 };

        if (endpoint_from_sockaddr((struct sockaddr *)&ss[i], &from) == 0 && !(m[i].msg_hdr.msg_flags & MSG_TRUNC))
            dns_query(l->d, mem[i], m[i].msg_len, &c, &from, &to);
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
    if (!c->out_len && !c->closing) { /* an idle connection holds no answer buffer */
        free(c->out);
        c->out = NULL;
        c->out_cap = 0;
    }
}

static void conn_reply(void *arg, const struct endpoint *client, const struct endpoint *server, const void *msg, size_t len)
{
    struct conn *c = arg;
    uint8_t *more;

    c->asked--;
    if (c->closing) {
        if (!c->asked)
            loop_defer(c->d->loop, &c->reap);
        return;
    }
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
    dns_query(c->d, c->in + 2, len, &(struct dns_client){ conn_reply, c }, NULL, NULL);
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
    if (n < 0 && (n != -STREAM_EOF || (!c->asked && !c->out_len)))
        conn_close(c, n == -STREAM_EOF ? 0 : (int)n);
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

static int listen_on(struct dns *d, int fd, bool tcp, bool ours)
{
    struct listener *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->d = d;
    l->tcp = tcp;
    l->ours = ours;
    l->io.cb = tcp ? on_accept : on_udp;
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
        r = listen_on(d, udp[i], false, false);
    for (int i = 0; i < n_tcp && !r; i++)
        r = listen_on(d, tcp[i], true, false);
    return r;
}

static int open_listen(const struct endpoint *at, int type)
{
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(at, &ss);
    int fd = socket(ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&ss, len) == 0 && (type == SOCK_DGRAM || listen(fd, 64) == 0))
        return fd;
    close(fd);
    return -errno;
}

int dns_serve_listen(struct dns *d, const char *text)
{
    char host[HOST_MAX + 1];
    struct endpoint at = { 0 };
    const char *addr = *text == ':' ? "0.0.0.0" : host;

    if (*text == ':' ? (at.port = (uint16_t)strtoul(text + 1, NULL, 10)) == 0 : hostport_split(text, host, &at.port) < 0 || !at.port)
        at.port = 0;
    if (!at.port || addr_parse(*text != ':' && !strcmp(host, "localhost") ? "127.0.0.1" : addr, &at.ip) < 0) {
        log_warn(LOG_DNS, "dns.listen: \"%s\" is not ADDRESS:PORT", text);
        return -EINVAL;
    }
    for (int i = 0; i < 2; i++) {
        int fd = open_listen(&at, i ? SOCK_STREAM : SOCK_DGRAM), r = fd < 0 ? fd : listen_on(d, fd, i, true);

        if (r < 0) {
            log_warn(LOG_DNS, "dns.listen: %s (%s): %s", text, i ? "TCP" : "UDP", strerror(-r));
            if (fd >= 0)
                close(fd);
            return r;
        }
    }
    return 0;
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

        c->asked = 0; /* nothing pending is left to answer it */
        conn_close(c, -ECANCELED);
    }
    for (struct list_head *n; (n = list_first(&d->listeners));) {
        struct listener *l = container_of(n, struct listener, node);

        list_del(n);
        io_unwatch(&l->io);
        if (l->ours)
            close(l->io.fd);
        free(l);
    }
}
