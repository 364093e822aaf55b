/*
 * tundev.c - opens the TUN device with every offload the kernel offers
 *
 *   full  checksums, TCP and UDP segmentation   Linux 6.2 or later
 *   tso   checksums, TCP segmentation           worth 5-8 times at MTU 1500
 *   csum  checksums
 *   none  bare packets                          no vnet header either
 *
 * A kernel that refuses a step gets the next lower one. The device is never persistent: it lives as long as its descriptor and the copies of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "platform/sys.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define NAMES 100 /* shunt0 .. shunt99 are tried */

static const char *const levels[] = { "none", "csum", "tso", "full" };

static int highest_level(void)
{
    const char *s = getenv("SHUNT_TUN_OFFLOAD");

    for (int i = 0; s && i < 4; i++)
        if (!strcmp(s, levels[i]))
            return i;
    return 3;
}

static void set_offload(struct tundev *t, int level)
{
    static const unsigned flags[] = { 0, TUN_F_CSUM, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
                                      TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6 };

    for (; level > 0; level--)
        if (ioctl(t->fd, TUNSETOFFLOAD, flags[level]) == 0)
            break;
    t->csum = level >= 1;
    t->tso = level >= 2;
    t->uso = level >= 3;
}

static int attach(struct tundev *t, const char *name, bool vnet)
{
    struct ifreq ifr = { 0 };

    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    ifr.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL | (vnet ? IFF_VNET_HDR : 0));
    if (ioctl(t->fd, TUNSETIFF, &ifr) < 0)
        return -errno;
    t->vnet_hdr = vnet;
    return 0;
}

int tundev_name(const char *want, char name[16], char *why)
{
    snprintf(name, 16, "%s", want);
    for (unsigned char i = 0; !*want && i < NAMES; i++) {
        snprintf(name, 16, "shunt%d", i);
        if (!if_nametoindex(name))
            return 0;
    }
    if (!if_nametoindex(name))
        return 0;
    snprintf(why, WHY_MAX, "the device name %s is taken; choose another tun.device, or leave it out", name);
    return -EBUSY;
}

int tundev_open(struct tundev *t, const char *name, char *why)
{
    int level = highest_level(), r;

    memset(t, 0, sizeof(*t));
    if ((t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0) {
        r = -errno;
        snprintf(why, WHY_MAX, "/dev/net/tun cannot be opened: %s%s", strerror(-r), r == -ENOENT || r == -ENODEV ? " (is the tun module loaded?)" : "");
        return r;
    }
    if ((r = attach(t, name, level > 0)) == -EINVAL && level > 0)
        r = attach(t, name, false);
    if (r < 0) {
        snprintf(why, WHY_MAX, "the TUN device %s cannot be made: %s", name, strerror(-r));
        close(t->fd);
        t->fd = -1;
        return r;
    }
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->index = (int)if_nametoindex(name);
    if (t->vnet_hdr)
        set_offload(t, level);
    return 0;
}
