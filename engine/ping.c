/*
 * ping.c - true echo replies for destinations that go DIRECT
 *
 * The kernel's ping sockets (SOCK_DGRAM, IPPROTO_ICMP) need no privilege where net.ipv4.ping_group_range admits the worker's group; they put
 * in an identifier of their own, so one socket serves one (source, destination, identifier) of the application, for 10 s after the
 * last request. Where they are not allowed, or the destination is proxied, rejected or a fake address, the stack answers locally.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/private.h"

#define PINGS_MAX 256
#define PING_IDLE_MS 10000
#define ECHO_HEADER 8 /* type, code, checksum, identifier, sequence: RFC 792, RFC 4443 section 4.1 */

struct ping {
    struct list_head node;
    struct engine *eng;
    struct addr src, dst;
    uint8_t id[2];
    struct io io;
    struct timer idle;
    struct job reap;
};

static void reap(struct job *j)
{
    free(container_of(j, struct ping, reap));
}

static void ping_end(struct ping *p)
{
    list_del(&p->node);
    p->eng->ping.n--;
    timer_cancel(&p->idle);
    io_unwatch(&p->io);
    close(p->io.fd);
    loop_defer(p->eng->loop, &p->reap);
}

static void on_idle(struct timer *t)
{
    ping_end(container_of(t, struct ping, idle));
}

static void on_reply(struct io *io, uint32_t ready)
{
    struct ping *p = container_of(io, struct ping, io);
    uint8_t msg[65536];
    ssize_t n;

    for (int i = 0; i < 16 && (n = recv(io->fd, msg, sizeof(msg), 0)) >= ECHO_HEADER; i++) {
        memcpy(msg + 4, p->id, 2);
        stack_icmp_send(p->eng->stack, &p->dst, &p->src, msg, (size_t)n);
    }
}

static int ping_socket(const struct addr *dst)
{
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(&(struct endpoint){ *dst, 0 }, &ss);
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, dst->ver == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);

    if (fd < 0 || connect(fd, (struct sockaddr *)&ss, len) == 0)
        return fd < 0 ? -errno : fd;
    close(fd);
    return -errno;
}

static struct ping *ping_get(struct engine *e, const struct addr *src, const struct addr *dst, const uint8_t id[2])
{
    struct ping *p;
    int fd;

    list_each_safe(n, tmp, &e->ping.all) {
        p = container_of(n, struct ping, node);
        if (!memcmp(p->id, id, 2) && addr_eq(&p->src, src) && addr_eq(&p->dst, dst))
            return p;
    }
    if (e->ping.n >= PINGS_MAX || (fd = ping_socket(dst)) < 0)
        return NULL;
    if (!(p = calloc(1, sizeof(*p)))) {
        close(fd);
        return NULL;
    }
    *p = (struct ping){ .eng = e, .src = *src, .dst = *dst, .id = { id[0], id[1] }, .io.cb = on_reply, .idle.cb = on_idle, .reap.cb = reap };
    if (io_watch(e->loop, &p->io, fd, IO_READ) < 0) {
        close(fd);
        free(p);
        return NULL;
    }
    list_push(&e->ping.all, &p->node);
    e->ping.n++;
    return p;
}

static bool goes_direct(struct engine *e, const struct addr *src, const struct addr *dst)
{
    struct flow_meta m = { .via = FLOW_VIA_TUN, .src.ip = *src, .orig.ip = *dst, .dst.at.ip = *dst };
    struct rule_pos pos = { 0 };
    struct verdict v;

    return policy_decide(e->pol, e->mode, &m, &pos, &v) == NEED_NOTHING && v.action == OUT_DIRECT;
}

bool ping_sink(struct flow_sink *sk, const struct addr *src, const struct addr *dst, const void *icmp, size_t len)
{
    struct engine *e = container_of(sk, struct engine, sink);
    struct ping *p;

    if (!e->ping.possible || e->pol->profile->tun.disable_icmp_forwarding || len < ECHO_HEADER || dns_is_fake(e->dns, dst) ||
        !goes_direct(e, src, dst))
        return false;
    if (!(p = ping_get(e, src, dst, (const uint8_t *)icmp + 4)))
        return true; /* unreachable or too many: silence is the true answer */
    timer_set(e->loop, &p->idle, PING_IDLE_MS);
    if (send(p->io.fd, icmp, len, 0) < 0)
        log_dbg(LOG_ICMP, "echo not sent: %s", strerror(errno));
    return true;
}

void ping_init(struct engine *e)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);

    list_init(&e->ping.all);
    e->ping.possible = fd >= 0;
    if (fd >= 0)
        close(fd);
    else
        log_info(LOG_ICMP, "echo requests are answered locally: net.ipv4.ping_group_range does not admit group %u", (unsigned)getgid());
}

void ping_fini(struct engine *e)
{
    while (!list_empty(&e->ping.all))
        ping_end(container_of(list_first(&e->ping.all), struct ping, node));
}
