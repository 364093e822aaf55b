/*
 * net.h - sockets in memory: a program that includes this asks the kernel for none
 *
 *   resolver, libuv, c-ares, played servers ──► socket(), sendmsg(), epoll_wait() ... of this file ──► queues of bytes
 *
 * The C library's functions are ours here, also for the libraries. So a scenario costs no system call, and what it meets depends on nothing
 * outside.
 *
 * TCP and UDP are as loopback has them: a connection that nobody accepts yet is there already; bytes sent before the end are read before
 * it; who closes with bytes unread, or with a linger of 0, resets; an error is told once, then it is the end. An address of IPv4 leads to
 * the socket with that port, whichever address it is; where there is none, it refuses. Of IPv6 nothing is ever heard.
 *
 * Descriptors of the kernel still work, but no epoll_wait() waits for them. Sockets do not block. A queue takes 128 KiB; its memory stays.
 * Included before everything else.
 */
#ifndef FUZZ_NET_H
#define FUZZ_NET_H

#ifdef _FEATURES_H
#error "net.h comes first"
#endif
#undef _FORTIFY_SOURCE /* __read_chk() and its like would ask the kernel */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/stream.h"

#define NET_FIRST 256 /* the kernel has no descriptor so high */
#define NET_SOCKS 512
#define NET_PORT  20000 /* plus the number of the socket: a port that nobody chose */
#define NET_ROOM  (1u << 17)

enum net_kind { NET_FREE, NET_UDP, NET_TCP, NET_LISTENER };

struct net_sock {
    enum net_kind kind;
    uint16_t port;
    struct sockaddr_in to;     /* connected to; family 0: to nobody */
    struct net_sock *peer;     /* TCP: NULL = none yet, or no more */
    struct net_sock *listener; /* that is to accept it */
    unsigned n_waiting;        /* for this one, to be accepted */
    bool connecting;           /* for ever */
    bool fin, shut;            /* nothing more comes; nothing more may be written */
    bool resets;               /* when it is closed */
    int err;                   /* the next call tells it */
    bool watched;
    struct epoll_event watch;
    /* what came; of UDP each datagram behind a struct net_head. The memory stays with the place. */
    uint8_t *in;
    size_t at, len;
};

struct net_head {
    uint16_t port, len;
};

static struct net_sock net_socks[NET_SOCKS];
static unsigned net_top; /* no socket is in use from here on */

static struct net_sock *net_of(int fd)
{
    return fd >= NET_FIRST && fd < NET_FIRST + NET_SOCKS && net_socks[fd - NET_FIRST].kind ? &net_socks[fd - NET_FIRST] : NULL;
}

static int net_fd(const struct net_sock *s)
{
    return NET_FIRST + (int)(s - net_socks);
}

/* Are n sockets open, and nothing in them that was not read? */
static bool net_is_idle(unsigned n)
{
    for (unsigned i = 0; i < net_top; i++) {
        n -= net_socks[i].kind != NET_FREE;
        if (net_socks[i].kind && net_socks[i].len)
            return false;
    }
    return !n;
}

static int net_fail(int err)
{
    errno = err;
    return -1;
}

/* ---- opening ---- */

static struct net_sock *net_new(enum net_kind kind)
{
    for (unsigned i = 0; i < NET_SOCKS; i++) {
        struct net_sock *s = &net_socks[i];

        if (s->kind)
            continue;
        *s = (struct net_sock){ .kind = kind, .in = s->in };
        if (!s->in && !(s->in = malloc(NET_ROOM)))
            return NULL;
        if (i >= net_top)
            net_top = i + 1;
        return s;
    }
    return NULL;
}

int socket(int family, int type, int protocol)
{
    struct net_sock *s = net_new((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_DGRAM ? NET_UDP : NET_TCP);

    return s ? net_fd(s) : net_fail(EMFILE);
}

static struct net_sock *net_at(enum net_kind kind, uint16_t port)
{
    unsigned own = (unsigned)port - NET_PORT; /* most have the port of their place */

    if (own < net_top && net_socks[own].kind == kind && net_socks[own].port == port)
        return &net_socks[own];
    for (unsigned i = 0; i < net_top; i++)
        if (net_socks[i].kind == kind && net_socks[i].port == port)
            return &net_socks[i];
    return NULL;
}

static void net_name(struct net_sock *s, uint16_t port)
{
    if (!s->port)
        s->port = port ? port : (uint16_t)(NET_PORT + (s - net_socks));
}

int bind(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
    struct net_sock *s = net_of(fd);

    if (!s)
        return net_fail(EBADF);
    net_name(s, ntohs(((const struct sockaddr_in *)addr.__sockaddr__)->sin_port));
    return 0;
}

int listen(int fd, int n)
{
    struct net_sock *s = net_of(fd);

    if (!s)
        return net_fail(EBADF);
    s->kind = NET_LISTENER;
    return 0;
}

static void net_connect(struct net_sock *s)
{
    struct net_sock *l = net_at(NET_LISTENER, ntohs(s->to.sin_port)), *peer;

    if (s->to.sin_family != AF_INET) {
        s->connecting = true;
        return;
    }
    if (!l || !(peer = net_new(NET_TCP))) {
        s->err = ECONNREFUSED;
        s->fin = s->shut = true;
        return;
    }
    peer->listener = l;
    l->n_waiting++;
    peer->peer = s;
    s->peer = peer;
}

int connect(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
    struct net_sock *s = net_of(fd);

    if (!s)
        return net_fail(EBADF);
    net_name(s, 0);
    memcpy(&s->to, addr.__sockaddr__, sizeof(s->to));
    if (s->kind == NET_UDP)
        return 0;
    net_connect(s);
    return net_fail(EINPROGRESS);
}

int accept4(int fd, __SOCKADDR_ARG addr, socklen_t *len, int flags)
{
    struct net_sock *l = net_of(fd), *s = net_socks;

    if (!l || !l->n_waiting)
        return net_fail(l ? EAGAIN : EBADF);
    while (s->kind != NET_TCP || s->listener != l)
        s++;
    s->listener = NULL;
    l->n_waiting--;
    return net_fd(s);
}

/* ---- closing ---- */

static void net_end(struct net_sock *s, int err)
{
    s->peer = NULL;
    s->fin = true;
    s->err = err;
    s->shut |= err != 0;
}

int close(int fd)
{
    struct net_sock *s = net_of(fd);

    if (!s)
        return (int)syscall(SYS_close, fd);
    if (s->peer)
        net_end(s->peer, s->resets || s->len ? ECONNRESET : 0);
    s->kind = NET_FREE;
    while (net_top && !net_socks[net_top - 1].kind)
        net_top--;
    return 0;
}

int shutdown(int fd, int how)
{
    struct net_sock *s = net_of(fd);

    if (!s || !s->peer)
        return net_fail(s ? ENOTCONN : EBADF);
    s->shut = true;
    s->peer->fin = true;
    return 0;
}

/* ---- what came ---- */

static bool net_has_room(const struct net_sock *s, size_t n)
{
    return s->len + n <= NET_ROOM;
}

static void net_put(struct net_sock *s, const void *data, size_t n)
{
    if (s->at + s->len + n > NET_ROOM) {
        memmove(s->in, s->in + s->at, s->len);
        s->at = 0;
    }
    memcpy(s->in + s->at + s->len, data, n);
    s->len += n;
}

static void net_take(struct net_sock *s, size_t n)
{
    s->len -= n;
    s->at = s->len ? s->at + n : 0;
}

static ssize_t net_error(struct net_sock *s)
{
    int err = s->err;

    s->err = 0;
    return net_fail(err);
}

static ssize_t net_read(struct net_sock *s, const struct iovec *iov, int n)
{
    size_t got = iov_copy(iov, n, &(struct iovec){ s->in + s->at, s->len }, 1);

    if (!s->len && s->err)
        return net_error(s);
    if (!s->len && !s->fin)
        return net_fail(EAGAIN);
    net_take(s, got);
    return (ssize_t)got;
}

static ssize_t net_receive(struct net_sock *s, const struct iovec *iov, int n, struct sockaddr_in *from)
{
    struct net_head h;
    size_t got;

    if (!s->len)
        return net_fail(EAGAIN);
    memcpy(&h, s->in + s->at, sizeof(h));
    net_take(s, sizeof(h));
    got = iov_copy(iov, n, &(struct iovec){ s->in + s->at, h.len }, 1);
    net_take(s, h.len);
    *from = s->to.sin_family ? s->to : (struct sockaddr_in){ AF_INET, htons(h.port), { htonl(INADDR_LOOPBACK) }, { 0 } };
    return (ssize_t)got;
}

static ssize_t net_in(struct net_sock *s, const struct iovec *iov, int n, struct sockaddr_in *from)
{
    struct sockaddr_in any;

    return s->kind == NET_UDP ? net_receive(s, iov, n, from ? from : &any) : net_read(s, iov, n);
}

ssize_t readv(int fd, const struct iovec *iov, int n)
{
    struct net_sock *s = net_of(fd);

    return s ? net_in(s, iov, n, NULL) : syscall(SYS_readv, fd, iov, n);
}

ssize_t read(int fd, void *buf, size_t len)
{
    return readv(fd, &(struct iovec){ buf, len }, 1);
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
    return readv(fd, &(struct iovec){ buf, len }, 1);
}

ssize_t recvfrom(int fd, void *buf, size_t len, int flags, __SOCKADDR_ARG addr, socklen_t *addr_len)
{
    struct net_sock *s = net_of(fd);
    struct sockaddr_in from;
    ssize_t n = s ? net_in(s, &(struct iovec){ buf, len }, 1, &from) : net_fail(EBADF);

    if (n >= 0 && addr.__sockaddr__) {
        memcpy(addr.__sockaddr__, &from, *addr_len < sizeof(from) ? *addr_len : sizeof(from));
        *addr_len = sizeof(from);
    }
    return n;
}

/* ---- what goes ---- */

/* A peer that is gone answers the first bytes with a reset. */
static ssize_t net_write(struct net_sock *s, const struct iovec *iov, int n)
{
    size_t len = iov_total(iov, n), room = s->peer ? NET_ROOM - s->peer->len : 0, done = 0;

    if (s->err)
        return net_error(s);
    if (s->shut)
        return net_fail(EPIPE);
    if (s->connecting || (s->peer && !room))
        return net_fail(EAGAIN);
    if (!s->peer)
        net_end(s, EPIPE);
    for (int i = 0; i < n && s->peer; i++) {
        size_t part = iov[i].iov_len < room - done ? iov[i].iov_len : room - done;

        net_put(s->peer, iov[i].iov_base, part);
        done += part;
    }
    return (ssize_t)(s->peer ? done : len);
}

/* What has no room is lost. */
static ssize_t net_send(struct net_sock *s, const struct iovec *iov, int n, const struct sockaddr_in *to)
{
    struct net_head h = { .len = (uint16_t)iov_total(iov, n) };
    struct net_sock *peer = to->sin_family == AF_INET ? net_at(NET_UDP, ntohs(to->sin_port)) : NULL;

    net_name(s, 0);
    h.port = s->port;
    if (!peer || !net_has_room(peer, sizeof(h) + h.len) || (peer->to.sin_family && peer->to.sin_port != htons(s->port)))
        return h.len;
    net_put(peer, &h, sizeof(h));
    for (int i = 0; i < n; i++)
        net_put(peer, iov[i].iov_base, iov[i].iov_len);
    return h.len;
}

static ssize_t net_out(struct net_sock *s, const struct iovec *iov, int n, const struct sockaddr_in *to)
{
    if (s->kind == NET_UDP)
        return iov_total(iov, n) <= UINT16_MAX ? net_send(s, iov, n, to ? to : &s->to) : net_fail(EMSGSIZE);
    return net_write(s, iov, n);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
    struct net_sock *s = net_of(fd);

    return s ? net_out(s, iov, n, NULL) : syscall(SYS_writev, fd, iov, n);
}

ssize_t write(int fd, const void *buf, size_t len)
{
    return writev(fd, &(struct iovec){ (void *)buf, len }, 1);
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
    return writev(fd, &(struct iovec){ (void *)buf, len }, 1);
}

ssize_t sendto(int fd, const void *buf, size_t len, int flags, __CONST_SOCKADDR_ARG addr, socklen_t addr_len)
{
    struct net_sock *s = net_of(fd);

    return s ? net_out(s, &(struct iovec){ (void *)buf, len }, 1, (const struct sockaddr_in *)addr.__sockaddr__) : net_fail(EBADF);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct net_sock *s = net_of(fd);

    return s ? net_out(s, m->msg_iov, (int)m->msg_iovlen, m->msg_name) : net_fail(EBADF);
}

/* ---- options ---- */

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    struct net_sock *s = net_of(fd);

    if (!s)
        return net_fail(EBADF);
    if (level == SOL_SOCKET && name == SO_LINGER)
        s->resets = ((const struct linger *)value)->l_onoff && !((const struct linger *)value)->l_linger;
    return 0;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    struct net_sock *s = net_of(fd);

    if (!s || level != SOL_SOCKET || name != SO_ERROR)
        return net_fail(s ? ENOPROTOOPT : EBADF);
    memcpy(value, &s->err, sizeof(s->err));
    s->err = 0;
    return 0;
}

int getsockname(int fd, __SOCKADDR_ARG addr, socklen_t *len)
{
    struct net_sock *s = net_of(fd);

    if (!s)
        return net_fail(EBADF);
    *(struct sockaddr_in *)addr.__sockaddr__ = (struct sockaddr_in){ AF_INET, htons(s->port), { htonl(INADDR_LOOPBACK) }, { 0 } };
    *len = sizeof(struct sockaddr_in);
    return 0;
}

int ioctl(int fd, unsigned long what, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, what);
    arg = va_arg(ap, void *);
    va_end(ap);
    return net_of(fd) ? 0 : (int)syscall(SYS_ioctl, fd, what, arg);
}

int fcntl(int fd, int what, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, what);
    arg = va_arg(ap, void *);
    va_end(ap);
    return net_of(fd) ? 0 : (int)syscall(SYS_fcntl, fd, what, arg);
}

/* ---- waiting ---- */

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *e)
{
    struct net_sock *s = net_of(fd);

    if (!s)
        return (int)syscall(SYS_epoll_ctl, epfd, op, fd, e);
    if (s->watched != (op != EPOLL_CTL_ADD))
        return net_fail(s->watched ? EEXIST : ENOENT);
    s->watched = op != EPOLL_CTL_DEL;
    if (s->watched)
        s->watch = *e;
    return 0;
}

static uint32_t net_ready(const struct net_sock *s)
{
    bool out = !s->peer || net_has_room(s->peer, 1);

    switch (s->kind) {
    case NET_FREE: return 0;
    case NET_UDP: return (s->len ? EPOLLIN : 0) | EPOLLOUT;
    case NET_LISTENER: return s->n_waiting ? EPOLLIN : 0;
    case NET_TCP: break;
    }
    if (s->connecting)
        return 0;
    return (s->len || s->fin ? EPOLLIN : 0) | (s->fin ? EPOLLRDHUP : 0) | (out ? EPOLLOUT : 0) | (s->err ? EPOLLERR : 0) |
           (s->fin && s->shut ? EPOLLHUP : 0);
}

int epoll_wait(int epfd, struct epoll_event *out, int max, int timeout)
{
    int n = 0;

    for (unsigned i = 0; i < net_top && n < max; i++) {
        const struct net_sock *s = &net_socks[i];
        uint32_t what = s->watched ? net_ready(s) & (s->watch.events | EPOLLERR | EPOLLHUP) : 0;

        if (what)
            out[n++] = (struct epoll_event){ what, s->watch.data };
    }
    return n;
}

int epoll_pwait(int epfd, struct epoll_event *out, int max, int timeout, const sigset_t *mask)
{
    return epoll_wait(epfd, out, max, timeout);
}

#endif
