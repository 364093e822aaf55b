/*
 * tundev.c - opens the TUN device with every offload the kernel offers
 *
 *   full  checksums, TCP and UDP segmentation   Linux 6.2 or later
 *   tso   checksums, TCP segmentation           worth 5-8 times at MTU 1500
 *   csum  checksums
 *   none  bare packets
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

#include "core/log.h"
#include "platform/sys.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static const char *const levels[] = { "none", "csum", "tso", "full" };

static int highest_level(void)
{
    const char *s = getenv("SHUNT_TUN_OFFLOAD");

    for (int i = 0; s && i < 4; i++)
        if (!strcmp(s, levels[i]))
            return i;
    return 3;
}

static int set_offload(struct tundev *t, int level)
{
    static const unsigned flags[] = { 0, TUN_F_CSUM, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
                                      TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6 };

    for (; level > 0; level--)
        if (ioctl(t->fd, TUNSETOFFLOAD, flags[level]) == 0)
            break;
    t->csum = level >= 1;
    t->tso = level >= 2;
    t->uso = level >= 3;
    return level;
}

static int attach(struct tundev *t, const char *name, bool vnet)
{
    struct ifreq ifr = { 0 };

    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    ifr.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL | (vnet ? IFF_VNET_HDR : 0));
    if (ioctl(t->fd, TUNSETIFF, &ifr) < 0)
        return -errno;
    snprintf(t->name, sizeof(t->name), "%s", ifr.ifr_name);
    t->vnet_hdr = vnet;
    return 0;
}

int tundev_open(struct tundev *t, const char *name, char why[256])
{
    int level = highest_level(), r;

    memset(t, 0, sizeof(*t));
    if (*name && if_nametoindex(name)) {
        snprintf(why, 256, "the device name %s is taken; choose another tun.device, or leave it out", name);
        return -EBUSY;
    }
    if ((t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0) {
        r = -errno;
        snprintf(why, 256, "/dev/net/tun cannot be opened: %s%s", strerror(-r), r == -ENOENT ? " (is the tun module loaded?)" : "");
        return r;
    }
    if ((r = attach(t, *name ? name : "shunt%d", level > 0)) < 0 && level > 0 && r != -EBUSY)
        r = attach(t, *name ? name : "shunt%d", false);
    if (r < 0) {
        snprintf(why, 256, "the TUN device %s cannot be made: %s", name, strerror(-r));
        close(t->fd);
        t->fd = -1;
        return r;
    }
    if (t->vnet_hdr)
        level = set_offload(t, level);
    log_dbg(LOG_PLAT, "device %s, offload %s", t->name, levels[t->vnet_hdr ? level : 0]);
    return 0;
}
