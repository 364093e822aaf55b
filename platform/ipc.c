/*
 * ipc.c - fixed-size messages with descriptors; and the look at them before they are believed
 */
#include "platform/ipc.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int ipc_send(int sock, const struct msg *m, const int *fds, int n)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * MSG_FDS)];
    } ctl = { 0 };
    struct iovec iov = { (void *)m, sizeof(*m) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (n) {
        h.msg_control = ctl.room;
        h.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)n);
    }
    return sendmsg(sock, &h, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int ipc_recv(int sock, struct msg *m, int fds[MSG_FDS], int *n)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * MSG_FDS)];
    } ctl;
    struct iovec iov = { m, sizeof(*m) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.room, .msg_controllen = sizeof(ctl.room) };
    ssize_t r;

    *n = 0;
    do
        r = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == ECONNRESET ? -EPIPE : -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            *n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t)*n);
        }
    }
    if (r == 0)
        return -EPIPE;
    if (r == (ssize_t)sizeof(*m) && !(h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return 0;
    while (*n)
        close(fds[--*n]);
    return -EBADMSG;
}

bool ipc_check_cidr(const struct cidr *c)
{
    return c->ip.ver == 0 || (c->ip.ver == 4 && c->len <= 32) || (c->ip.ver == 6 && c->len <= 128);
}

const char *ipc_check_tun(const struct msg *m)
{
    const char *d = m->tun.device;
    size_t len = strnlen(d, sizeof(m->tun.device));

    if (len == sizeof(m->tun.device))
        return "the device name is longer than 15 bytes";
    for (size_t i = 0; i < len; i++)
        if (d[i] <= ' ' || d[i] > '~' || strchr("/:%\"{};*", d[i]))
            return "the device name has a character that is not allowed";
    if (m->tun.mtu < 1280 || m->tun.mtu > 65535)
        return "the MTU must be between 1280 and 65535";
    if (m->tun.n_include > PLAT_MAX_ROUTES || m->tun.n_exclude > PLAT_MAX_ROUTES)
        return "too many routes";
    if (!m->tun.rule_prio || m->tun.rule_prio > 32000 || !m->tun.table || (m->tun.table >= 253 && m->tun.table <= 255))
        return "the rule priority must be 1..32000 and the table none of the kernel's own";
    if (m->tun.addr4.ip.ver != 4 || !ipc_check_cidr(&m->tun.addr4) || (m->tun.addr6.ip.ver && m->tun.addr6.ip.ver != 6) ||
        !ipc_check_cidr(&m->tun.addr6) || !ipc_check_cidr(&m->tun.fake4) || !ipc_check_cidr(&m->tun.fake6))
        return "an address is out of bounds";
    return NULL;
}
