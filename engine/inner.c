/*
 * inner.c - connections that we make for ourselves, as flows
 *
 *   thread   inner_open(host, port) ─► listening socket, its name        connect, bytes ...
 *                                         │ loop_post                      │
 *   loop                                  └──────► watch ─► accept ────────┴─► stream ─► tcp_inner(): name, rules, chain, relay
 *
 * So a download obeys the rules, may go by a proxy, is in the list of flows, and resolves its names as everybody's are resolved.
 *
 * The name is chosen by the kernel and told to nobody else; all the same, whoever connects is asked for its process, and only our own is
 * let in.
 *
 * A line is a listening socket, then a stream that hands everything on to the accepted socket and notes why it is refused. It outlives its
 * inner when it must: then it tells nobody.
 */
#include "engine/inner.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/sock.h"
#include "engine/private.h"

struct line {
    struct stream s;       /* what the flow sees */
    struct stream *sock;   /* NULL while listening */
    struct list_head node; /* inner.lines */
    struct inner *in;      /* NULL: it is over */
    struct loop *loop;
    struct io io;
    struct job job; /* begins; later: frees */
    int fd;         /* the listening one */
    uint16_t port;
    char host[HOST_MAX + 1];
};

/* ---- the stream ---- */

static struct line *of(struct stream *s)
{
    return container_of(s, struct line, s);
}

static void line_free(struct job *j)
{
    free(container_of(j, struct line, job));
}

static void free_later(struct line *l)
{
    l->job = (struct job){ .cb = line_free };
    loop_defer(l->loop, &l->job);
}

static void leave(struct line *l)
{
    struct inner *in = l->in;

    if (!in)
        return;
    pthread_mutex_lock(&in->lock);
    list_del(&l->node);
    pthread_mutex_unlock(&in->lock);
    l->in = NULL;
}

static ssize_t line_read(struct stream *s, const struct iovec *iov, int n)
{
    return stream_read(of(s)->sock, iov, n);
}

static ssize_t line_write(struct stream *s, const struct iovec *iov, int n)
{
    return stream_write(of(s)->sock, iov, n);
}

static int line_shutdown(struct stream *s)
{
    return stream_shutdown(of(s)->sock);
}

static void line_close(struct stream *s, int err)
{
    struct line *l = of(s);

    stream_close(l->sock, err);
    leave(l);
    free_later(l);
}

static void line_refuse(struct stream *s, int err)
{
    if (of(s)->in)
        atomic_store(&of(s)->in->failed, err);
    line_close(s, err);
}

static const struct stream_ops line_ops = {
    .name = "inner", .read = line_read, .write = line_write, .shutdown = line_shutdown, .close = line_close, .refuse = line_refuse
};

static void on_sock(struct stream *sock, unsigned what)
{
    stream_ready(&((struct line *)sock->owner)->s, what);
}

/* ---- from listening to a flow ---- */

static bool is_us(int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.pid == getpid();
}

static void begin_flow(struct line *l)
{
    struct inner *in = l->in;
    struct flow_meta m = { .net = FLOW_TCP, .via = FLOW_VIA_INNER, .dst = { .at.port = l->port } };

    if (addr_parse(l->host, &m.dst.at.ip) < 0) {
        m.dst.host = l->host;
        m.host_from = HOST_CLIENT;
    }
    m.orig = m.dst.at;
    l->s.ops = &line_ops;
    l->sock->owner = l;
    l->sock->on_ready = on_sock;
    tcp_inner(in->e, &l->s, &m, in->proxy, in->anywhere);
}

static void stop_listening(struct line *l)
{
    io_unwatch(&l->io);
    close(l->fd);
    l->fd = -1;
}

static void on_connection(struct io *io, uint32_t ready)
{
    struct line *l = container_of(io, struct line, io);
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (!is_us(fd)) {
        close(fd);
        return;
    }
    stop_listening(l);
    if ((l->sock = sock_stream(l->loop, fd))) {
        begin_flow(l);
        return;
    }
    close(fd);
    atomic_store(&l->in->failed, -ENOMEM);
    leave(l);
    free_later(l);
}

static void begin(struct job *j)
{
    struct line *l = container_of(j, struct line, job);

    l->io.cb = on_connection;
    if (l->in && io_watch(l->loop, &l->io, l->fd, IO_READ) == 0)
        return;
    if (l->in)
        atomic_store(&l->in->failed, -ENOMEM);
    close(l->fd);
    leave(l);
    free(l);
}

/* ---- from the outside ---- */

void inner_init(struct inner *in, struct engine *e, const char *proxy, bool anywhere)
{
    in->e = e;
    in->proxy = proxy;
    in->anywhere = anywhere;
    atomic_init(&in->failed, 0);
    pthread_mutex_init(&in->lock, NULL);
    list_init(&in->lines);
}

static int listen_anywhere(char name[INNER_NAME_MAX])
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    socklen_t len = sizeof(sa);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa.sun_family)) == 0 && listen(fd, 4) == 0 &&
        getsockname(fd, (struct sockaddr *)&sa, &len) == 0) {
        snprintf(name, INNER_NAME_MAX, "%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), sa.sun_path + 1);
        return fd;
    }
    err = -errno;
    close(fd);
    return err;
}

int inner_open(struct inner *in, const char *host, uint16_t port, char name[INNER_NAME_MAX])
{
    struct line *l = calloc(1, sizeof(*l));
    size_t len = strlen(host);

    if (!l)
        return -ENOMEM;
    if (len > 2 && *host == '[' && host[len - 1] == ']') { /* as urls write an IPv6 address */
        host++;
        len -= 2;
    }
    l->in = in;
    l->loop = in->e->loop;
    l->port = port;
    l->job.cb = begin;
    snprintf(l->host, sizeof(l->host), "%.*s", (int)len, host);
    if (len > HOST_MAX || (l->fd = listen_anywhere(name)) < 0) {
        int err = len > HOST_MAX ? -EINVAL : l->fd;

        free(l);
        return err;
    }
    atomic_store(&in->failed, 0);
    pthread_mutex_lock(&in->lock);
    list_append(&in->lines, &l->node);
    pthread_mutex_unlock(&in->lock);
    loop_post(l->loop, &l->job);
    return 0;
}

/* What listens is closed; what is on its way to the loop is told that it is over; what is a flow goes on alone. */
static void detach(struct line *l)
{
    leave(l);
    if (l->sock || !l->io.cb)
        return;
    stop_listening(l);
    free_later(l);
}

void inner_fini(struct inner *in)
{
    list_each_safe (n, tmp, &in->lines)
        detach(container_of(n, struct line, node));
    pthread_mutex_destroy(&in->lock);
}
