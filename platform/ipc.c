/*
 * ipc.c - fixed-size messages with descriptors, and the look at them before they are believed
 *
 *   worker's bytes ─► ipc_recv: size, no descriptors ─► ipc_check: type, then every field ─► the supervisor's table: is it expected now?
 *
 * A message is one packet, so there is nothing to reassemble and a short one is simply wrong. Messages are values; nothing here allocates.
 */
#include "platform/ipc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct msg ipc_msg(enum msg_type type)
{
    struct msg m;

    memset(&m, 0, sizeof(m));
    m.type = type;
    return m;
}

struct msg ipc_failed(int err, const char *why)
{
    struct msg m = ipc_msg(MSG_FAILED);

    m.failed.err = err;
    snprintf(m.failed.why, sizeof(m.failed.why), "%s", why);
    return m;
}

union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(int) * MSG_FDS)];
};

int ipc_send(int sock, const struct msg *m, const int *fds, int n)
{
    union control ctl = { 0 };
    struct iovec iov = { (void *)m, sizeof(*m) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t r;

    if (n) {
        struct cmsghdr *c = &ctl.align;

        h.msg_control = ctl.room;
        h.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)n);
    }
    do
        r = sendmsg(sock, &h, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static int take_fds(struct msghdr *h, int *fds)
{
    int n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)); /* at most MSG_FDS: the kernel fills no more than the length it was told, which is without padding */
        memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t)n);
    }
    return n;
}

int ipc_recv(int sock, struct msg *m, int *fds, int *n)
{
    union control ctl;
    struct iovec iov = { m, sizeof(*m) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = fds ? ctl.room : NULL, .msg_controllen = fds ? CMSG_LEN(sizeof(int) * MSG_FDS) : 0 };
    ssize_t r;

    if (fds)
        *n = 0;
    do
        r = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == ECONNRESET ? -EPIPE : -errno;
    if (fds)
        *n = take_fds(&h, fds);
    if (r == (ssize_t)sizeof(*m) && !(h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return 0;
    while (fds && *n)
        close(fds[--*n]);
    return r == 0 ? -EPIPE : -EBADMSG;
}

static bool fits(const struct cidr *c, int ver)
{
    return c->ip.ver == ver && c->len <= (ver == 4 ? 32 : 128);
}

/* An address a device can have, with room for a second one beside it. */
static bool is_host(const struct cidr *c, int ver)
{
    const struct addr *a = &c->ip;

    return fits(c, ver) && c->len >= 8 && !addr_is_unspecified(a) && !addr_is_loopback(a) && !addr_is_multicast(a) && !addr_is_link_local(a);
}

/* A pool of fake addresses: absent, or a network that can be routed. */
static bool is_pool(const struct cidr *c, int ver)
{
    return !c->ip.ver || (fits(c, ver) && c->len >= 7 && !addr_is_loopback(&c->ip) && !addr_is_multicast(&c->ip));
}

static bool is_bool(uint8_t b)
{
    return b <= 1;
}

/* A name that is safe in an nft rule and under /proc/sys; empty = choose one. */
static const char *check_device(const char *d, size_t size)
{
    size_t len = strnlen(d, size);

    if (len == size)
        return "the device name is longer than 15 bytes";
    if (!strcmp(d, ".") || !strcmp(d, "..") || !strcmp(d, "all") || !strcmp(d, "default") || !strcmp(d, "lo"))
        return "this device name has another meaning in the system";
    for (size_t i = 0; i < len; i++)
        if (d[i] <= ' ' || d[i] > '~' || strchr("/:%\\\"'{}()$;*", d[i]))
            return "the device name has a character that is not allowed";
    return NULL;
}

static const char *check_tun(const struct msg_tun *t)
{
    const char *wrong = check_device(t->device, sizeof(t->device));

    if (wrong)
        return wrong;
    if (t->mtu < 1280 || t->mtu > 65535)
        return "the MTU must be between 1280 and 65535";
    if (t->n_include > PLAT_MAX_ROUTES || t->n_exclude > PLAT_MAX_ROUTES)
        return "too many routes";
    if (!t->rule_prio || t->rule_prio > 32000)
        return "the first rule priority must be between 1 and 32000";
    if (!t->table || (t->table >= 253 && t->table <= 255))
        return "the routing table must not be one of the kernel's own";
    if (!is_host(&t->addr4, 4) || (t->addr6.ip.ver && !is_host(&t->addr6, 6)))
        return "the device address cannot be used";
    if (!is_pool(&t->fake4, 4) || !is_pool(&t->fake6, 6))
        return "the range of fake addresses cannot be used";
    if (!is_bool(t->auto_route) || !is_bool(t->strict_route) || !is_bool(t->ipv6) || !is_bool(t->dns_redirect))
        return "a flag is neither yes nor no";
    return NULL;
}

static const char *check_route(const struct msg_route *r)
{
    bool good = (fits(&r->net, 4) || fits(&r->net, 6)) && is_bool(r->exclude);

    return good ? NULL : "a route is out of bounds";
}

static const char *check_listen(const struct msg_listen *l)
{
    if (l->at.ip.ver != 4 && l->at.ip.ver != 6)
        return "it listens on no address";
    if (!l->at.port || l->at.port > 1023 || !is_bool(l->udp))
        return "it can open this port itself";
    return NULL;
}

static const char *check_mode(const struct msg_mode *m)
{
    return m->kept == 1 && m->mode < PLAT_MODES_MAX ? NULL : "there is no such mode";
}

const char *ipc_check(const struct msg *m)
{
    switch (m->type) {
    case MSG_TUN: return check_tun(&m->tun);
    case MSG_ROUTE: return check_route(&m->route);
    case MSG_OWNER: return m->owner.inode ? NULL : "a socket has a number";
    case MSG_LISTEN: return check_listen(&m->listen);
    case MSG_MODE: return check_mode(&m->mode);
    case MSG_READY:
    case MSG_PROBE:
    case MSG_KEPT:
    case MSG_AGAIN: return NULL;
    default: return "a worker does not say this";
    }
}
