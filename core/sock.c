/*
 * sock.c - TCP and UDP sockets as stream and datagram session
 *
 * Interest follows need, because every change of it costs system calls:
 *   READ   is wanted from the first read that found nothing, and stays wanted; it is given up when an event comes that nobody waits for
 *   WRITE  is wanted after a write that fell short, and given up when it came true and the owner's next write did not fall short again
 * A read that got less than it asked for has emptied the socket: the next one answers "none now" without asking the kernel.
 *
 * A peer that vanishes says nothing. While a connection is busy the kernel is told to ask after four seconds of silence, and once a second it is
 * looked whether what was sent is acknowledged; nothing for ten seconds is the end (-ETIMEDOUT). A connection that is quiet is left to the
 * profile's keep-alive, and costs no wake-up. A peer that takes nothing more, and says so, may take its time.
 *
 * A bare socket never says FAILED: its error waits in the kernel for the next read or write, behind the bytes that came before it. The
 * kernel tells an error once and EOF or EPIPE afterwards, so the first one is remembered and repeated in their place.
 *
 * Memory: a stream is about 100 bytes, pooled, without a buffer; it is freed by a job, because its callback may be on the stack when it is
 * closed. UDP receives into one batch of buffers shared by all sessions, touched only as far as datagrams reach. A burst of datagrams to one peer is
 * sent, and received, many at a time (UDP_SEGMENT, UDP_GRO), which is worth several times the packets per CPU second.
 */
#include "core/sock.h"

#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/pool.h"

struct sock {
    struct stream s;
    struct io io;
    struct job reap;
    bool waits_read, waits_write;    /* somebody is to be told */
    bool drained;                    /* the last read emptied it */
    bool busy;                       /* bytes went by since it was last looked at; it is in `lively` */
    bool ending;                     /* shutdown() once it is connected */
    uint16_t keep_idle_s, keep_interval_s; /* the profile's, while others are set; idle 0: none are */
    int err;                         /* the first one the kernel told */
    uint32_t quiet, deaf;            /* seconds without bytes; without an acknowledgement of what is under way */
    struct list_head all, lively;
};
static_assert(sizeof(struct sock) <= 176, "10,000 idle flows must stay cheap");

static struct pool socks = { .size = sizeof(struct sock), .max_free = 1024 };

/* ---- peers that vanish ---- */

#define LOOK_MS    1000
#define QUIET_S    15 /* then it is not lively any more */
#define DEAF_S     9  /* then it is dead */
#define ASK_IDLE_S 4  /* keep-alive while it is lively: asked after 4, 6 and 8 seconds, dead after 10 */
#define ASK_NEXT_S 2

static struct {
    struct list_head all, lively;
    struct timer look;
    struct loop *loop;
} watch = { .all = { &watch.all, &watch.all }, .lively = { &watch.lively, &watch.lively } };

static int number_of(int fd, int level, int name)
{
    int v = 0;
    socklen_t len = sizeof(v);

    return getsockopt(fd, level, name, &v, &len) < 0 ? 0 : v;
}

static void keep_alive(int fd, int idle_s, int interval_s)
{
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
}

static void calm(struct sock *k)
{
    list_del(&k->lively);
    list_init(&k->lively);
    if (k->keep_idle_s)
        keep_alive(k->io.fd, k->keep_idle_s, k->keep_interval_s);
    k->keep_idle_s = 0;
}

/* It has been lively for a second, which most are not: worth some system calls. */
static void ask_soon(struct sock *k)
{
    if (k->keep_idle_s || !number_of(k->io.fd, SOL_SOCKET, SO_KEEPALIVE))
        return;
    k->keep_idle_s = (uint16_t)number_of(k->io.fd, IPPROTO_TCP, TCP_KEEPIDLE);
    k->keep_interval_s = (uint16_t)number_of(k->io.fd, IPPROTO_TCP, TCP_KEEPINTVL);
    if (k->keep_idle_s)
        keep_alive(k->io.fd, ASK_IDLE_S, ASK_NEXT_S);
}

/* Ends it: reads and writes say err from now on. */
static void give_up(struct sock *k, int err)
{
    if (!k->err)
        k->err = err;
    k->drained = false;
    shutdown(k->io.fd, SHUT_RDWR); /* whoever waits is told */
}

/* What is under way and is not acknowledged; who only waits for a window has nothing under way. */
static bool is_deaf(struct sock *k, const struct tcp_info *i)
{
    if (!i->tcpi_unacked || i->tcpi_last_ack_recv < k->deaf * LOOK_MS)
        k->deaf = 0;
    return i->tcpi_unacked && ++k->deaf > DEAF_S;
}

static void look_at(struct sock *k)
{
    struct tcp_info i = { 0 };
    socklen_t len = sizeof(i);

    k->quiet = k->busy ? 0 : k->quiet + 1;
    k->busy = false;
    if (getsockopt(k->io.fd, IPPROTO_TCP, TCP_INFO, &i, &len) < 0) {
        calm(k);
    } else if (is_deaf(k, &i)) {
        calm(k);
        give_up(k, -ETIMEDOUT);
    } else if (k->quiet > QUIET_S && !i.tcpi_unacked) {
        calm(k);
    } else if (k->quiet == 0) {
        ask_soon(k);
    }
}

static void on_look(struct timer *t)
{
    list_each_safe (n, tmp, &watch.lively)
        look_at(container_of(n, struct sock, lively));
    if (!list_empty(&watch.lively))
        timer_set(watch.loop, t, LOOK_MS);
}

/* Bytes go by. */
static void stir(struct sock *k)
{
    k->busy = true;
    if (!list_empty(&k->lively))
        return;
    k->quiet = k->deaf = 0;
    list_push(&watch.lively, &k->lively);
    watch.loop = k->io.loop;
    watch.look.cb = on_look;
    if (!timer_armed(&watch.look))
        timer_set(watch.loop, &watch.look, LOOK_MS);
}

/* ---- a stream ---- */

static struct sock *of(struct stream *s)
{
    return container_of(s, struct sock, s);
}

static void on_io(struct io *io, uint32_t ready)
{
    struct sock *k = container_of(io, struct sock, io);
    unsigned what = 0;
    uint32_t drop = 0;

    if (ready & IO_READ) {
        k->drained = false;
        if (k->waits_read)
            what |= STREAM_READABLE;
        else
            drop |= IO_READ;
        k->waits_read = false;
    }
    if ((ready & IO_WRITE) && k->ending) {
        k->ending = false;
        shutdown(io->fd, SHUT_WR);
    }
    if (ready & IO_WRITE) {
        if (k->waits_write)
            what |= STREAM_WRITABLE;
        k->waits_write = false;
        drop |= IO_WRITE;
    }
    if (what)
        stream_ready(&k->s, what);
    if (k->waits_read || k->drained)
        drop &= ~(uint32_t)IO_READ;
    if (k->waits_write)
        drop &= ~(uint32_t)IO_WRITE;
    if (drop && io->handle) /* not closed meanwhile */
        io_want(io, io->want & ~drop);
}

/* What the peer said before may have come without our knowing yet. */
static int fail(struct sock *k, int err)
{
    k->drained = false;
    if (!k->err)
        k->err = -err;
    return k->err;
}

static ssize_t none_now(struct sock *k)
{
    k->waits_read = true;
    return io_want(&k->io, k->io.want | IO_READ);
}

static ssize_t sock_read(struct stream *s, const struct iovec *iov, int n)
{
    struct sock *k = of(s);
    ssize_t r;

    if (k->drained)
        return none_now(k);
    do
        r = readv(k->io.fd, iov, n);
    while (r < 0 && errno == EINTR);
    if (r > 0) {
        stir(k);
        if ((size_t)r < iov_total(iov, n)) {
            k->drained = true;
            io_want(&k->io, k->io.want | IO_READ);
        }
        return r;
    }
    if (r == 0)
        return k->err ? k->err : iov_total(iov, n) ? -STREAM_EOF : 0;
    return errno == EAGAIN ? none_now(k) : fail(k, errno);
}

static ssize_t full(struct sock *k, ssize_t taken)
{
    k->waits_write = true;
    io_want(&k->io, k->io.want | IO_WRITE);
    return taken;
}

static ssize_t sock_write(struct stream *s, const struct iovec *iov, int n)
{
    struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };
    struct sock *k = of(s);
    ssize_t r;

    if (!n)
        return 0;
    do
        r = sendmsg(k->io.fd, &m, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == EAGAIN ? full(k, 0) : fail(k, errno);
    stir(k);
    return (size_t)r < iov_total(iov, n) ? full(k, r) : r;
}

static bool is_connecting(int fd)
{
    struct tcp_info i = { 0 };
    socklen_t len = sizeof(i.tcpi_state);

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len) == 0 && i.tcpi_state == TCP_SYN_SENT;
}

static int sock_shutdown(struct stream *s)
{
    struct sock *k = of(s);
    int r;

    if (is_connecting(k->io.fd)) { /* by fast open: shutdown() would take it back */
        k->ending = true;
        return io_want(&k->io, k->io.want | IO_WRITE);
    }
    r = shutdown(k->io.fd, SHUT_WR) < 0 ? errno : 0;

    if (r == ENOTCONN) { /* reset meanwhile */
        r = -sock_error(k->io.fd);
        return fail(k, r ? r : ECONNRESET);
    }
    return -r;
}

static void reap(struct job *j)
{
    pool_put(&socks, container_of(j, struct sock, reap));
}

static void sock_close(struct stream *s, int err)
{
    struct sock *k = of(s);
    struct loop *l = k->io.loop;
    struct linger reset = { 1, 0 };

    if (err)
        setsockopt(k->io.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    list_del(&k->all);
    list_del(&k->lively);
    if (list_empty(&watch.lively))
        timer_cancel(&watch.look);
    io_unwatch(&k->io);
    close(k->io.fd);
    s->on_ready = NULL;
    loop_defer(l, &k->reap);
}

static const struct stream_ops sock_ops = {
    .name = "tcp",
    .read = sock_read,
    .write = sock_write,
    .shutdown = sock_shutdown,
    .close = sock_close,
};

struct stream *sock_stream(struct loop *l, int fd)
{
    struct sock *k = pool_get(&socks);

    if (!k)
        return NULL;
    *k = (struct sock){ .s.ops = &sock_ops, .io.cb = on_io, .reap.cb = reap };
    if (io_watch(l, &k->io, fd, 0) < 0) {
        pool_put(&socks, k);
        return NULL;
    }
    list_push(&watch.all, &k->all);
    list_init(&k->lively);
    return &k->s;
}

/* ---- another network ---- */

static const char *interface_of(const struct ifaddrs *all, const struct addr *a)
{
    struct endpoint at;

    for (; all; all = all->ifa_next)
        if (all->ifa_addr && endpoint_from_sockaddr(all->ifa_addr, &at) == 0 && addr_eq(&at.ip, a))
            return all->ifa_name;
    return NULL;
}

bool sock_is_here(const struct addr *a)
{
    struct ifaddrs *all;
    bool here = addr_is_loopback(a);

    if (here || getifaddrs(&all) < 0)
        return here;
    here = interface_of(all, a) != NULL;
    freeifaddrs(all);
    return here;
}

/* The address that a new connection to `to` would have; false: there is no way. */
static bool source_for(const struct endpoint *to, struct endpoint *out)
{
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(to, &ss);
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return false;
    r = connect(fd, (struct sockaddr *)&ss, len);
    len = sizeof(ss);
    if (r == 0)
        r = getsockname(fd, (struct sockaddr *)&ss, &len);
    close(fd);
    return r == 0 && endpoint_from_sockaddr((struct sockaddr *)&ss, out) == 0;
}

static bool is_lost(int fd, const struct ifaddrs *all)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    struct endpoint own, peer, now;
    const char *by, *would;
    char bound[IF_NAMESIZE];

    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0 || endpoint_from_sockaddr((struct sockaddr *)&ss, &own) < 0)
        return false; /* a Unix socket */
    if (!(by = interface_of(all, &own.ip)))
        return !addr_is_loopback(&own.ip);
    len = sizeof(bound);
    if (number_of(fd, SOL_SOCKET, SO_MARK) || (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, bound, &len) == 0 && len))
        return false; /* it goes its own way */
    len = sizeof(ss);
    if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0 || endpoint_from_sockaddr((struct sockaddr *)&ss, &peer) < 0)
        return false;
    if (!source_for(&peer, &now)) /* no way now; one may come back */
        return false;
    would = interface_of(all, &now.ip);
    return would && strcmp(by, would) != 0;
}

unsigned sock_moved(void)
{
    struct ifaddrs *all;
    unsigned n = 0;

    if (getifaddrs(&all) < 0)
        return 0;
    list_each_safe (at, tmp, &watch.all) {
        struct sock *k = container_of(at, struct sock, all);

        if (!k->err && is_lost(k->io.fd, all)) {
            give_up(k, -ENETDOWN);
            n++;
        }
    }
    freeifaddrs(all);
    return n;
}

/* ---- making one ---- */

static struct {
    int (*fn)(void *arg, int fd, uint32_t mark);
    void *arg;
} marker;

void sock_marker(int (*fn)(void *arg, int fd, uint32_t mark), void *arg)
{
    marker.fn = fn;
    marker.arg = arg;
}

/* An interface, since Linux 5.7, needs no privilege; a mark does. */
int sock_leave_by(int fd, const struct sock_way *w, const struct addr *to)
{
    int r = !w->mark ? 0 : marker.fn ? marker.fn(marker.arg, fd, w->mark) : -EPERM;

    if (r < 0 || !w->interface || addr_is_loopback(to) || addr_is_link_local(to) || addr_is_multicast(to))
        return r;
    return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, w->interface, (socklen_t)strlen(w->interface) + 1) < 0 ? -errno : 0;
}

#define KEEP_MAX_S 32767 /* what the kernel takes */

static void set_tcp(int fd, const struct sock_opts *o)
{
    int one = 1, probes = 3;
    int idle = (int)(o->keep_idle_s < KEEP_MAX_S ? o->keep_idle_s : KEEP_MAX_S);
    int interval = (int)(o->keep_interval_s < KEEP_MAX_S ? o->keep_interval_s : KEEP_MAX_S);

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (o->fast_open)
        setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one));
    if (!idle)
        return;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    if (interval)
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
}

static int tcp_socket(int family, bool multipath)
{
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, fd = multipath ? socket(family, type, IPPROTO_MPTCP) : -1;

    if (fd < 0) /* a kernel without it is no reason not to connect */
        fd = socket(family, type, 0);
    return fd < 0 ? -errno : fd;
}

int sock_connect(const struct endpoint *to, const struct sock_opts *opts)
{
    static const struct sock_opts none;
    const struct sock_opts *o = opts ? opts : &none;
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(to, &ss);
    int fd = tcp_socket(ss.ss_family, o->multipath), r;

    if (fd < 0)
        return fd;
    set_tcp(fd, o);
    if ((r = sock_leave_by(fd, &o->way, &to->ip)) == 0 && connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS)
        r = -errno;
    if (r < 0)
        close(fd);
    return r < 0 ? r : fd;
}

int sock_probe(const struct addr *to, const struct sock_way *way)
{
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(&(struct endpoint){ *to, 9 }, &ss);
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return -errno;
    if ((r = sock_leave_by(fd, way, to)) == 0 && connect(fd, (struct sockaddr *)&ss, len) < 0)
        r = -errno;
    close(fd);
    return r;
}

int sock_error(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? -errno : -err;
}

/* ---- datagrams ---- */

#define BATCH    16
#define DATAGRAM 65536

/* Address space for a batch; a page becomes memory when a datagram reaches it. Lives until sock_trim(). */
static uint8_t *batch;

static uint8_t *batch_get(void)
{
    if (!batch) {
        void *p = mmap(NULL, (size_t)BATCH * DATAGRAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        batch = p == MAP_FAILED ? NULL : p;
    }
    return batch;
}

/* Room for the one control message that comes with datagrams put together. */
union gro_room {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(int))];
};

struct udp;
struct udp_io {
    struct io io;
    struct udp *udp;
};

struct udp {
    struct pktsess p;
    struct loop *loop;
    struct udp_io v4, v6;
    struct endpoint peer; /* connected: only this one */
    struct sock_way way;
    bool connected, closed, dead;
    struct job reap;
};

/* Errors that concern one datagram (mostly ICMP answers to an older one) or pass by: the session goes on. */
static bool is_soft(int err)
{
    static const int soft[] = {
        EAGAIN,   EINTR,  ENOMEM,   ENOBUFS, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN,
        ENETDOWN, ENONET, EMSGSIZE, EPROTO,  ENOPROTOOPT,  EOPNOTSUPP,   EACCES,      EPERM,
    };

    for (size_t i = 0; i < sizeof(soft) / sizeof(soft[0]); i++)
        if (err == soft[i])
            return true;
    return false;
}

static void stop_io(struct udp_io *x)
{
    if (x->io.handle)
        io_want(&x->io, 0);
}

static void die(struct udp *u, int err)
{
    if (u->dead)
        return;
    u->dead = true;
    stop_io(&u->v4);
    stop_io(&u->v6);
    if (u->p.on_dead)
        u->p.on_dead(&u->p, err);
}

/* How long each of the datagrams is that the kernel put together (UDP_GRO); all of it when it is only one. */
static size_t piece_of(struct mmsghdr *m)
{
    uint16_t size = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m->msg_hdr); c; c = CMSG_NXTHDR(&m->msg_hdr, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
            memcpy(&size, CMSG_DATA(c), sizeof(size));
    return size ? size : m->msg_len;
}

static void deliver(struct udp *u, struct mmsghdr *m)
{
    struct dest from = { .at = u->peer };
    const uint8_t *data = m->msg_hdr.msg_iov->iov_base;
    size_t piece = piece_of(m), left = m->msg_len;

    if (m->msg_hdr.msg_flags & MSG_TRUNC)
        return;
    if (!u->connected && endpoint_from_sockaddr(m->msg_hdr.msg_name, &from.at) < 0)
        return;
    do {
        size_t n = left < piece ? left : piece;

        if (u->p.on_packet)
            u->p.on_packet(&u->p, &from, data, n);
        data += n;
        left -= n;
    } while (left && !u->closed);
}

static void on_datagrams(struct io *io, uint32_t ready)
{
    struct udp *u = container_of(io, struct udp_io, io)->udp;
    struct sockaddr_storage ss[BATCH];
    struct mmsghdr m[BATCH];
    struct iovec iov[BATCH];
    union gro_room room[BATCH];
    uint8_t *mem = batch_get();
    int n;

    if (!mem) { /* no memory: the datagram is lost, the session is not */
        recv(io->fd, &ss, 1, 0);
        return;
    }
    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){ mem + (size_t)i * DATAGRAM, DATAGRAM };
        m[i].msg_hdr = (struct msghdr){ .msg_name = &ss[i], .msg_namelen = sizeof(ss[i]), .msg_iov = &iov[i], .msg_iovlen = 1,
                                        .msg_control = room[i].bytes, .msg_controllen = sizeof(room[i].bytes) };
    }
    n = recvmmsg(io->fd, m, BATCH, 0, NULL);
    if (n < 0 && !is_soft(errno))
        die(u, -errno);
    for (int i = 0; i < n && !u->closed; i++)
        deliver(u, &m[i]);
}

static int udp_open(struct udp *u, struct udp_io *x, const struct addr *to)
{
    int family = to->ver == 6 ? AF_INET6 : AF_INET, fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, r;

    if (fd < 0)
        return -errno;
    if ((r = sock_leave_by(fd, &u->way, to)) < 0) {
        close(fd);
        return r;
    }
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    setsockopt(fd, SOL_UDP, UDP_GRO, &one, sizeof(one)); /* an older kernel gives them one by one */
    x->udp = u;
    x->io.cb = on_datagrams;
    if ((r = io_watch(u->loop, &x->io, fd, IO_READ)) < 0)
        close(fd);
    return r;
}

/* ---- trains: what goes to one peer within a turn leaves in one system call (UDP_SEGMENT) ---- */

#define TRAIN_MAX 64 /* what every kernel takes */

/* The first datagram goes out at once, so that a lone one waits for nothing and its error is known; those of its size that follow in the same turn ride together. One train
 * is open at a time, because a burst comes flow by flow. */
static struct {
    struct udp_io *io; /* NULL: none is open */
    struct sockaddr_storage to;
    socklen_t to_len;
    size_t each, len;
    unsigned n;
    uint8_t *mem; /* pooled; while something rides */
    struct job end;
} train;

static int send_one(struct udp_io *x, const struct sockaddr_storage *to, socklen_t to_len, const void *buf, size_t len)
{
    for (int i = 0; i < 2; i++) { /* the first error may be the ICMP answer to an older datagram */
        if (sendto(x->io.fd, buf, len, MSG_NOSIGNAL, to_len ? (const struct sockaddr *)to : NULL, to_len) >= 0)
            return 0;
        if (errno != ECONNREFUSED)
            break;
    }
    return -errno;
}

static bool send_train(void)
{
    struct iovec iov = { train.mem, train.len };
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
    } room = { 0 };
    struct msghdr m = { .msg_name = train.to_len ? &train.to : NULL, .msg_namelen = train.to_len, .msg_iov = &iov, .msg_iovlen = 1,
                        .msg_control = room.bytes, .msg_controllen = sizeof(room.bytes) };
    uint16_t each = (uint16_t)train.each;

    room.align.cmsg_level = SOL_UDP;
    room.align.cmsg_type = UDP_SEGMENT;
    room.align.cmsg_len = CMSG_LEN(sizeof(each));
    memcpy(CMSG_DATA(&room.align), &each, sizeof(each));
    return sendmsg(train.io->io.fd, &m, MSG_NOSIGNAL) >= 0;
}

/* Sends what rides. One by one where the kernel does not take a train (too old, or a datagram that needs fragments) or has no room for all of it; errors are those of
 * datagrams that were taken already, so the next one that goes out at once will meet them. */
static void train_end(void)
{
    size_t at = 0;

    if (!train.io)
        return;
    if (train.n && (train.n == 1 || !send_train()))
        for (; at < train.len; at += train.each)
            if (send_one(train.io, &train.to, train.to_len, train.mem + at, train.len - at < train.each ? train.len - at : train.each) == -EAGAIN)
                break;
    if (train.mem)
        buf_put(train.mem);
    job_cancel(&train.end);
    train.io = NULL;
    train.mem = NULL;
}

static void on_train_end(struct job *j)
{
    train_end();
}

static void train_begin(struct udp_io *x, const struct sockaddr_storage *to, socklen_t to_len, size_t each)
{
    train.io = x;
    train.to = *to;
    train.to_len = to_len;
    train.each = each;
    train.len = train.n = 0;
    train.end.cb = on_train_end;
    loop_defer(x->udp->loop, &train.end);
}

static bool train_takes(struct udp_io *x, const struct sockaddr_storage *to, socklen_t to_len, const void *buf, size_t len)
{
    if (train.io != x || !len || len > train.each || train.len + len > BUF_SIZE - 64 || train.to_len != to_len || memcmp(&train.to, to, to_len))
        return false;
    if (!train.mem && !(train.mem = buf_get()))
        return false;
    memcpy(train.mem + train.len, buf, len);
    train.len += len;
    if (++train.n == TRAIN_MAX || len < train.each) /* a shorter one can only be the last */
        train_end();
    return true;
}

static int udp_send(struct pktsess *p, const struct dest *to, const void *buf, size_t len)
{
    struct udp *u = container_of(p, struct udp, p);
    const struct endpoint *at = u->connected ? &u->peer : &to->at;
    struct udp_io *x = at->ip.ver == 6 ? &u->v6 : &u->v4;
    struct sockaddr_storage ss = { 0 };
    socklen_t ss_len;
    int r;

    if (u->dead)
        return -ERR_CLOSED;
    if (!addr_is_set(&at->ip))
        return -ERR_NAME;
    if (!x->io.handle && (r = udp_open(u, x, &at->ip)) < 0)
        return r;
    ss_len = u->connected ? 0 : endpoint_to_sockaddr(at, &ss);
    if (train_takes(x, &ss, ss_len, buf, len))
        return 0;
    train_end(); /* what waits goes first */
    if ((r = send_one(x, &ss, ss_len, buf, len)) == 0)
        train_begin(x, &ss, ss_len, len);
    return r;
}

static void udp_reap(struct job *j)
{
    free(container_of(j, struct udp, reap));
}

static void udp_io_close(struct udp_io *x)
{
    if (!x->io.handle)
        return;
    io_unwatch(&x->io);
    close(x->io.fd);
}

static void udp_close(struct pktsess *p)
{
    struct udp *u = container_of(p, struct udp, p);

    u->closed = true;
    if (train.io == &u->v4 || train.io == &u->v6)
        train_end();
    udp_io_close(&u->v4);
    udp_io_close(&u->v6);
    loop_defer(u->loop, &u->reap);
}

static const struct pkt_ops udp_ops = { .name = "udp", .send = udp_send, .close = udp_close };

struct pktsess *sock_udp(struct loop *l, const struct sock_way *way)
{
    struct udp *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->p.ops = &udp_ops;
    u->loop = l;
    if (way)
        u->way = *way;
    u->reap.cb = udp_reap;
    return &u->p;
}

int sock_udp_connected(struct loop *l, const struct endpoint *peer, const struct sock_way *way, struct pktsess **out)
{
    struct pktsess *p = sock_udp(l, way);
    struct udp *u = p ? container_of(p, struct udp, p) : NULL;
    struct udp_io *x;
    struct sockaddr_storage ss;
    int r;

    if (!u)
        return -ENOMEM;
    x = peer->ip.ver == 6 ? &u->v6 : &u->v4;
    if ((r = udp_open(u, x, &peer->ip)) == 0 && connect(x->io.fd, (struct sockaddr *)&ss, endpoint_to_sockaddr(peer, &ss)) < 0)
        r = -errno;
    if (r < 0) {
        udp_close(p);
        return r;
    }
    u->peer = *peer;
    u->connected = true;
    *out = p;
    return 0;
}

void sock_trim(void)
{
    pool_fini(&socks);
    if (batch)
        munmap(batch, (size_t)BATCH * DATAGRAM);
    batch = NULL;
}
