/*
 * private.h - what the files of tun2socks/ share
 */
#ifndef TUN2SOCKS_PRIVATE_H
#define TUN2SOCKS_PRIVATE_H

#include <linux/virtio_net.h>
#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>

#include "core/list.h"
#include "core/map.h"
#include "core/pool.h"
#include "tun2socks/frag.h"
#include "tun2socks/packet.h"
#include "tun2socks/tun2socks.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5 /* Linux 6.2 */
#endif

#define VNET_HEADER 10
#define RX_IP 16    /* the IP header stands here in a receive buffer, the virtio header before it */
#define RX_ROOM 65600

/* One packet read from the device. lwIP may keep it (as a pbuf) until its bytes are consumed. */
struct rxbuf {
    struct pbuf_custom pc;
    uint8_t data[RX_IP + RX_ROOM];
};

/* A piece of a flow's send ring: filled by the upstream, lent to lwIP, freed when acknowledged. With segmentation offload it goes out as one segment; nearer to
 * 64 KiB lwIP 2.1.3 fails to allocate one. */
#define CHUNK_BYTES 65000
struct chunk {
    struct chunk *next;
    uint32_t size, filled, acked; /* size: CHUNK_BYTES, or less when memory is short */
    uint8_t data[];
};

/* Allows rate a second, with a burst of as many. */
struct bucket {
    uint32_t rate, left;
    uint64_t sec;
};

/* Datagrams of one size from one peer to one program that wait for the end of the turn (udp.c). */
struct udp_train {
    struct endpoint from, to;
    uint32_t each, len, n; /* each 0: none is open */
    uint8_t *mem;          /* pooled; while something rides */
    struct job end;
};

struct tcp_flow;

struct stack {
    struct loop *loop;
    struct flow_sink *sink;
    struct io tun;
    uint32_t mtu;
    bool vnet, csum, tso, uso;
    struct cidr own4, own6;
    uint32_t max_flows, n_flows, n_held;
    size_t budget, buffers;

    struct netif netif;
    struct tcp_pcb *listener;
    uint8_t ext_id;
    struct map flows;
    struct list_head all;   /* every tcp flow */
    struct list_head hot;   /* pcbs that want the timer */
    struct list_head dirty; /* flows with news for their owner */
    uint32_t n_hot;
    struct timer tick;
    struct job flush;
    struct tcp_flow *current; /* between enter and leave */
    struct tcp_flow *opening; /* whose SYN lwIP is looking at */
    bool in_timer, in_batch;

    struct pool rx, chunks;
    struct frags frags;
    struct udp_train train;
    struct bucket resets, errors;
    uint16_t ip_id;
    struct stack_stats stats;
};

extern struct stack *the_stack; /* lwIP is all globals, so there is one */

bool bucket_take(struct stack *st, struct bucket *b);

/* Writes one packet. csum_start 0: the packet is complete; else the checksum at csum_start + csum_offset is left to the kernel (only with st->csum), and a
 * gso_size cuts it. */
void tun_write(struct stack *st, struct iovec *iov, int n, uint16_t csum_start, uint16_t csum_offset, uint8_t gso_type, uint16_t gso_size,
               uint16_t header_len);

/* tcp.c */
int tcp_glue_init(struct stack *st);
void tcp_glue_fini(struct stack *st);
/* Takes b over. */
void tcp_packet(struct stack *st, struct rxbuf *b, const struct packet *p);
void tcp_flush(struct stack *st);
/* What the application announced whose segment is on its way out. */
uint16_t tcp_peer_mss(struct stack *st, const struct endpoint *app, const struct endpoint *peer);

/* udp.c */
void udp_packet(struct stack *st, const struct packet *p, uint16_t gso_size);
void udp_train_end(struct stack *st); /* sends what waits; harmless when nothing does */

/* icmp.c */
void icmp_packet(struct stack *st, const struct packet *p);
/* Tells src that dst cannot be had, quoting a packet that began with `quote`. err: -ECONNREFUSED, -ERR_RULE, -ENETUNREACH, -EACCES, other = host unreachable. */
void icmp_error(struct stack *st, const struct addr *src, const struct addr *dst, const uint8_t *quote, uint32_t quote_len, int err);

#endif
