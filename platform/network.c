/*
 * network.c - is this another network than before?
 *
 * The kernel tells of every link, address and route that comes or goes, also of those that are renewed every few minutes and those of our
 * own device. So what is told is only a reason to look: addresses of this machine and default routes, but for loopback, the link's own and
 * our device. When they add up to something else than before, the network is another one.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/hash.h"
#include "platform/platform.h"

#define SETTLE_MS 500 /* changes come in bursts */

/* ---- what there is, as a number; the order does not count ---- */

static bool counts(const struct plat_network *n, const char *device)
{
    return strcmp(device, "lo") != 0 && strcmp(device, n->own) != 0;
}

static uint64_t hash_text(const char *device, const void *more, size_t len)
{
    return hash_bytes(device, strlen(device)) * 31 + hash_bytes(more, len);
}

static uint64_t addresses(const struct plat_network *n)
{
    struct ifaddrs *all;
    uint64_t sum = 0;

    if (getifaddrs(&all) < 0)
        return 0;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        struct endpoint at;

        if (!i->ifa_addr || !counts(n, i->ifa_name) || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
            continue;
        endpoint_from_sockaddr(i->ifa_addr, &at);
        if (!addr_is_link_local(&at.ip))
            sum += hash_text(i->ifa_name, at.ip.b, addr_len(&at.ip));
    }
    freeifaddrs(all);
    return sum;
}

static uint64_t default_routes(const struct plat_network *n)
{
    char line[256], device[64], to[40], via[40], mask[40];
    uint64_t sum = 0;
    FILE *f = fopen("/proc/net/route", "re");

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%63s %39s %39s %*s %*s %*s %*s %39s", device, to, via, mask) == 4 && !strcmp(to, "00000000") && !strcmp(mask, to) &&
            counts(n, device))
            sum += hash_text(device, via, strlen(via));
    if (f)
        fclose(f);
    f = fopen("/proc/net/ipv6_route", "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%39s %39s %*s %*s %39s %*s %*s %*s %*s %63s", to, mask, via, device) == 4 && strspn(to, "0") == 32 &&
            !strcmp(mask, "00") && counts(n, device))
            sum += hash_text(device, via, strlen(via));
    if (f)
        fclose(f);
    return sum;
}

static uint64_t look(const struct plat_network *n)
{
    return addresses(n) + default_routes(n);
}

/* ---- when ---- */

static void on_settled(struct timer *t)
{
    struct plat_network *n = container_of(t, struct plat_network, settle);
    uint64_t now = look(n);
    bool other = now != n->seen;

    n->seen = now;
    if (other)
        n->changed(n);
}

static void on_told(struct io *io, uint32_t ready)
{
    struct plat_network *n = container_of(io, struct plat_network, io);
    char any[8192];

    while (recv(io->fd, any, sizeof(any), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
        ;
    if (!timer_armed(&n->settle))
        timer_set(n->loop, &n->settle, SETTLE_MS);
}

int plat_network_watch(struct plat_network *n, struct loop *l, const char *own)
{
    struct sockaddr_nl sa = { .nl_family = AF_NETLINK,
                              .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE), r = 0;

    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        r = -errno;
    n->loop = l;
    n->io.cb = on_told;
    n->settle.cb = on_settled;
    snprintf(n->own, sizeof(n->own), "%s", own);
    if (r == 0)
        r = io_watch(l, &n->io, fd, IO_READ);
    if (r < 0 && fd >= 0)
        close(fd);
    n->watching = r == 0;
    n->seen = look(n);
    return r;
}

void plat_network_unwatch(struct plat_network *n)
{
    if (!n->watching)
        return;
    timer_cancel(&n->settle);
    io_unwatch(&n->io);
    close(n->io.fd);
    n->watching = false;
}
