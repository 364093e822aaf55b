/*
 * tun2socks.h - packets of the TUN device <-> streams and datagrams
 *
 * The only folder that knows lwIP. One stack per process (lwIP is all globals). Reference: lwip-tun.
 */
#ifndef TUN2SOCKS_TUN2SOCKS_H
#define TUN2SOCKS_TUN2SOCKS_H

#include "core/loop.h"
#include "core/service.h"

struct stack;

struct stack_opts {
    struct loop *loop;
    int tun_fd;            /* non-blocking; the caller's, must outlive the stack */
    uint32_t mtu;
    bool vnet_hdr;         /* every packet has a virtio_net_hdr in front (10 bytes) */
    bool csum, tso, uso;   /* what TUNSETOFFLOAD accepted */
    struct cidr own4, own6; /* device address with host bits and prefix; ver 0 = none */
    struct flow_sink *sink; /* borrowed; outlives the stack */
    uint32_t max_flows;    /* bound on TCP flows */
    size_t budget;         /* bytes of buffers in all (rings and queued packets); 0 = 256 MiB */
};

/* 0 and *out, or -err. */
int stack_new(const struct stack_opts *o, struct stack **out);
/* Resets every live flow towards the application, then frees. Streams still held by others must be closed before. */
void stack_free(struct stack *st);

/* Sends one datagram to the application: from (the peer as the application knows it) to (the application's source). Fragments when larger than
 * the MTU. Drops, with 0, when the device is full. */
int stack_udp_send(struct stack *st, const struct endpoint *from, const struct endpoint *to, const void *buf, size_t len);
/* Tells a UDP source that dst refuses: ICMP port unreachable (err -ECONNREFUSED or -ERR_RULE), host/net unreachable. Rate-limited. */
void stack_udp_refuse(struct stack *st, const struct endpoint *src, const struct endpoint *dst, int err);
/* Gives an echo reply (whole ICMP message, its checksum is computed here) to the application. */
void stack_icmp_send(struct stack *st, const struct addr *from, const struct addr *to, const void *icmp, size_t len);

struct stack_stats {
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, dropped, malformed;
    uint32_t tcp_flows, held_syns, hot_flows;
    size_t buffers; /* bytes in rings and queued packets */
};
void stack_stats(const struct stack *st, struct stack_stats *out);

#endif
